//! Durations on the command line: `100us`, `1.5ms`, `2s`.

use std::time::Duration;

/// Longest duration taken: an hour.
const DURATION_MAX: Duration = Duration::from_secs(3600);

/// What a number may be followed by, with the nanoseconds of each.
const UNITS: [(&str, f64); 5] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// No unit follows the number.
    #[error("give a unit: 100us, 1.5ms or 2s")]
    Unit,
    /// What stands before the unit is no number.
    #[error("{0:?} is not a number: give a duration like 100us, 1.5ms or 2s")]
    Number(String),
    /// Over an hour.
    #[error("that is longer than an hour")]
    TooLong,
}

/// Reads a duration. `0` needs no unit. For clap: `value_parser = duration::parse`.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let end = text
        .rfind(|c: char| c.is_ascii_digit() || c == '.')
        .map_or(0, |at| at + 1);
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    let Some(&(_, unit_ns)) = UNITS.iter().find(|(name, _)| *name == unit) else {
        return Err(DurationError::Unit);
    };
    let wrong = || DurationError::Number(number.to_string());
    if !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(wrong());
    }
    let nanoseconds = number.parse::<f64>().map_err(|_| wrong())? * unit_ns;
    if nanoseconds > DURATION_MAX.as_nanos() as f64 {
        return Err(DurationError::TooLong);
    }
    Ok(Duration::from_nanos(nanoseconds.round() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let us = Duration::from_micros;
        assert_eq!(parse("100us"), Ok(us(100)));
        assert_eq!(parse(" 80 µs "), Ok(us(80)));
        assert_eq!(parse("1.5ms"), Ok(us(1500)));
        assert_eq!(parse("2s"), Ok(us(2_000_000)));
        assert_eq!(parse("250ns"), Ok(Duration::from_nanos(250)));
        assert_eq!(parse("0"), Ok(Duration::ZERO));
        assert_eq!(parse("0us"), Ok(Duration::ZERO));
    }

    #[test]
    fn what_is_none() {
        assert_eq!(parse("100"), Err(DurationError::Unit));
        assert_eq!(parse(""), Err(DurationError::Unit));
        assert_eq!(parse("100 hours"), Err(DurationError::Unit));
        assert_eq!(parse("us"), Err(DurationError::Number(String::new())));
        assert_eq!(parse("-1us"), Err(DurationError::Number("-1".into())));
        assert_eq!(parse("1.2.3us"), Err(DurationError::Number("1.2.3".into())));
        assert_eq!(parse("1e3s"), Err(DurationError::Number("1e3".into())));
        assert_eq!(parse("inf s"), Err(DurationError::Unit));
        assert_eq!(parse("3601s"), Err(DurationError::TooLong));
        let long = format!("{}us", "9".repeat(400));
        assert_eq!(parse(&long), Err(DurationError::TooLong));
    }
}
