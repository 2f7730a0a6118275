//! The activity LED: it blinks while the drive completes commands, and is dark when it does not.

use crate::limits::LED_INTERVAL_US;

/// The LED, and what it is about to do.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    lit: bool,
    /// When it may change next.
    change_us: u64,
    /// Commands completed when it was last changed.
    seen: u64,
}

impl Activity {
    /// What the LED is to show from now on, if that changes. `completed` only rises.
    pub(crate) const fn turn(&mut self, completed: u64, now_us: u64) -> Option<bool> {
        if now_us < self.change_us || (!self.lit && completed == self.seen) {
            return None;
        }
        // Lit it goes out, busy or not: one that stays on says no more than one that is off.
        self.lit = !self.lit;
        self.seen = completed;
        self.change_us = now_us.saturating_add(LED_INTERVAL_US);
        Some(self.lit)
    }

    /// When a turn is needed for it: to put it out, or to light it for what it could not show yet.
    pub(crate) const fn due_us(&self, completed: u64) -> Option<u64> {
        if self.lit || completed != self.seen {
            Some(self.change_us)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_blinks_ten_changes_a_second_and_goes_out() {
        let mut led = Activity::default();
        let mut changes = Vec::new();
        for ms in 0..3_000_u64 {
            // A command a millisecond, for a second.
            if let Some(lit) = led.turn(ms.min(1_000), ms * 1_000) {
                changes.push((ms, lit));
            }
        }
        assert_eq!(changes[..3], [(1, true), (101, false), (201, true)]);
        assert!(changes.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 100));
        let (last, lit) = changes[changes.len() - 1];
        assert!(!lit && last <= 1_200, "{changes:?}");
        assert_eq!(led.due_us(1_000), None, "dark, it needs no turn");
    }

    #[test]
    fn one_command_is_seen() {
        let mut led = Activity::default();
        assert_eq!(led.turn(0, 5), None);
        assert_eq!(led.turn(1, 10), Some(true));
        assert_eq!(led.due_us(1), Some(100_010));
        assert_eq!(led.turn(2, 50_000), None);
        assert_eq!(led.turn(2, 100_010), Some(false));
        assert_eq!(
            led.turn(2, 300_000),
            None,
            "what was done while lit was shown"
        );
        assert_eq!(led.due_us(2), None);
    }
}
