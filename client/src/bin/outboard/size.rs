//! Numbers of bytes, and ranges of namespaces, as they are typed.

/// `4096`, `0x1000`, `4K`, `1MiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let digits_end = if text.starts_with("0x") {
        text.len()
    } else {
        text.find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(text.len())
    };
    let (digits, unit) = text.split_at(digits_end);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(format!("{unit:?} is no unit of size; K, M, G and T are")),
    };
    number(digits)?
        .checked_mul(1 << shift)
        .ok_or_else(|| "this is too large".to_owned())
}

/// A number, decimal or with `0x`; underscores may group its digits.
pub(crate) fn number(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "");
    let parsed = match plain.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => plain.parse(),
    };
    parsed.map_err(|_| format!("{text:?} is no number of at most 64 bits"))
}

/// A number as its low 64 bits: one that may be negative, as an i64 is.
pub(crate) fn signed(text: &str) -> Result<u64, String> {
    let negative = text.strip_prefix('-').and_then(|text| number(text).ok());
    match negative {
        Some(number) if number <= 1 << 63 => Ok(number.wrapping_neg()),
        _ => number(text),
    }
}

/// A range of a namespace, `NAMESPACE[:OFFSET[:LENGTH]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) namespace: u32,
    pub(crate) offset: u64,
    pub(crate) length: Option<u64>,
}

pub(crate) fn range(text: &str) -> Result<Range, String> {
    let mut parts = text.splitn(3, ':');
    let namespace = parts.next().unwrap_or_default();
    let namespace = namespace.parse().map_err(|_| {
        format!("{namespace:?} is no namespace number; write NAMESPACE[:OFFSET[:LENGTH]]")
    })?;
    let offset = parts.next().map_or(Ok(0), bytes)?;
    let length = parts.next().map(bytes).transpose()?;
    Ok(Range {
        namespace,
        offset,
        length,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("0x10"), Ok(16));
        assert_eq!(bytes("4k"), Ok(4096));
        assert_eq!(bytes("1_000"), Ok(1000));
        assert_eq!(bytes("2GiB"), Ok(2 << 30));
        for wrong in [
            "",
            "K",
            "4 K",
            "4X",
            "-1",
            "99999999999999999999",
            "99999999999G",
            "4ä",
        ] {
            assert!(bytes(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn negative_numbers() {
        assert_eq!(signed("-1"), Ok(u64::MAX));
        assert_eq!(signed("-0x8000_0000_0000_0000"), Ok(1 << 63));
        assert_eq!(signed("18446744073709551615"), Ok(u64::MAX));
        for wrong in ["-", "--1", "-9223372036854775809", "x"] {
            assert!(signed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ranges() {
        assert_eq!(
            range("1"),
            Ok(Range {
                namespace: 1,
                offset: 0,
                length: None
            })
        );
        let wanted = Range {
            namespace: 2,
            offset: 4096,
            length: Some(1 << 20),
        };
        assert_eq!(range("2:4K:1M"), Ok(wanted));
        for wrong in ["", "x", "1:", "1:2:3:4", "1:x"] {
            assert!(range(wrong).is_err(), "{wrong:?}");
        }
    }
}
