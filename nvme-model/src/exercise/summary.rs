//! What an exercise did, as numbers, and as a line of text that a board can say and a host can read.

use core::fmt;
use core::str::FromStr;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Operations that succeeded.
    pub operations: u64,
    /// Blocks read and found to be right.
    pub blocks_checked: u64,
    /// Most operations in flight at once.
    pub in_flight_max: usize,
    /// Whether Compare was there to be used.
    pub compared: bool,
    /// Whether Write Zeroes was there to be used.
    pub zeroed: bool,
    /// Operations issued again after the reset.
    pub reissued: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            operations,
            blocks_checked,
            in_flight_max,
            compared,
            zeroed,
            reissued,
        } = self;
        write!(
            f,
            "operations={operations} blocks_checked={blocks_checked} in_flight_max={in_flight_max} "
        )?;
        write!(f, "compared={compared} zeroed={zeroed} reissued={reissued}")
    }
}

impl Summary {
    /// Reads what `Display` writes; `None` if it is anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Summary> {
        let words = &mut text.split(' ');
        let summary = Summary {
            operations: value(words.next(), "operations=")?,
            blocks_checked: value(words.next(), "blocks_checked=")?,
            in_flight_max: value(words.next(), "in_flight_max=")?,
            compared: value(words.next(), "compared=")?,
            zeroed: value(words.next(), "zeroed=")?,
            reissued: value(words.next(), "reissued=")?,
        };
        words.next().is_none().then_some(summary)
    }
}

fn value<T: FromStr>(word: Option<&str>, name: &str) -> Option<T> {
    word?.strip_prefix(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read() {
        let summary = Summary {
            operations: u64::MAX,
            blocks_checked: 2,
            in_flight_max: 3,
            compared: true,
            zeroed: false,
            reissued: 0,
        };
        let text = summary.to_string();
        assert_eq!(Summary::parse(&text), Some(summary));
        assert_eq!(Summary::parse(&text[..text.len() - 1]), None);
        assert_eq!(Summary::parse(&(text + " more=1")), None);
        assert_eq!(Summary::parse(""), None);
    }
}
