//! Numbers as people read them.

/// `value` to three significant digits or the whole part, in groups: `1 234 567`, `12.3`,
/// `0.0457`; `–` for what is no number.
pub fn plain(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_string();
    }
    let size = value.abs();
    // Where rounding would carry into the next digit group, the next group's form is right.
    let decimals = match size {
        _ if size >= 99.95 || size == 0.0 => 0,
        _ if size >= 9.995 => 1,
        _ if size >= 0.9995 => 2,
        _ if size >= 0.1 => 3,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    match text.split_once('.') {
        None => grouped(&text),
        Some(_) => text,
    }
}

/// A count, in groups of three digits: `10 000`.
pub fn whole(count: u64) -> String {
    grouped(&count.to_string())
}

/// Puts a space between groups of three digits, from five digits on.
fn grouped(digits: &str) -> String {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", digits),
    };
    if digits.len() < 5 {
        return format!("{sign}{digits}");
    }
    let mut text = String::from(sign);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Microseconds as a duration: `850 ns`, `12.3 µs`, `4.50 ms`, `2.00 s`.
pub fn microseconds(us: f64) -> String {
    match us.abs() {
        size if size < 0.9995 => format!("{} ns", plain((us * 1000.0).round())),
        size if size < 999.5 => format!("{} µs", plain(us)),
        size if size < 999_500.0 => format!("{} ms", plain(us / 1e3)),
        _ => format!("{} s", plain(us / 1e6)),
    }
}

/// Bytes with a binary unit: `512 B`, `4.00 KiB`, `24.4 MiB`.
pub fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut unit = 0;
    while value.abs() >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", plain(value), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(plain(0.0), "0");
        assert_eq!(plain(1_234_567.4), "1 234 567");
        assert_eq!(plain(-12_345.0), "-12 345");
        assert_eq!(plain(9999.0), "9999");
        assert_eq!(plain(99.96), "100");
        assert_eq!(plain(12.34), "12.3");
        assert_eq!(plain(3.0), "3.00");
        assert_eq!(plain(0.5), "0.500");
        assert_eq!(plain(0.04567), "0.0457");
        assert_eq!(plain(f64::NAN), "–");
        assert_eq!(plain(f64::INFINITY), "–");
        assert_eq!(
            (whole(1), whole(u64::MAX)),
            ("1".into(), "18 446 744 073 709 551 615".into())
        );
    }

    #[test]
    fn units() {
        assert_eq!(microseconds(0.85), "850 ns");
        assert_eq!(microseconds(12.345), "12.3 µs");
        assert_eq!(microseconds(4500.0), "4.50 ms");
        assert_eq!(microseconds(2_000_000.0), "2.00 s");
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(4096.0), "4.00 KiB");
        assert_eq!(bytes(25_600_000.0), "24.4 MiB");
    }
}
