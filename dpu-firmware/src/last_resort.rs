//! The last rung of recovery: PERST#, pulsed once, when the driver can do no more.
//!
//! ```text
//! Ready ─▶ Asserted ─▶ Training ─▶ Returning ─▶ Proving ─▶ Ready
//!              │            │           │           │
//!              └────────────┴──▶ Over ◀─┴───────────┘
//! ```
//!
//! One enum and one function, [`LastResort::step`], which touches nothing: it says what is to be done,
//! and the agent does that in `upkeep.rs`. The times: PERST# stays asserted for 100 ms, since that is what
//! a board gives power to settle (T_PVPERL, PCIe CEM §2.2) and is far above the 100 µs that the
//! reference clock (T_PERST-CLK) and the pin itself (T_PERST) need; nothing may be asked of the drive
//! for 100 ms after that (PCIe Base §6.6.1; `Board::restore_drive` has what is more at above 5 GT/s), and
//! it may not be held broken before 1 s is over since the reset (ibid.): it gets 1.1 s. A drive
//! that needs the last resort again within ten minutes is given up.

use crate::limits::{
    PERST_ASK_INTERVAL_US, PERST_ASSERTED_US, PERST_PROVING_US, PERST_RETURN_US, PERST_TRAINING_US,
};

/// Where the last resort is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastResort {
    /// It was not needed, or not lately.
    Ready,
    /// PERST# is asserted.
    Asserted { until_us: u64 },
    /// PERST# is deasserted and the link comes up.
    Training { until_us: u64 },
    /// The drive is asked whether it answers.
    Returning { ask_us: u64, until_us: u64 },
    /// The drive is back; if it fails now, it has failed.
    Proving { until_us: u64 },
    /// It did not help.
    Over,
}

/// What the driver makes of its drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drive {
    /// It runs.
    Runs,
    /// Only PERST# can help.
    Waits,
    /// It is out of service.
    Failed,
    /// It is on the way.
    Other,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Happened {
    /// A turn came.
    Turn(Drive),
    /// The pin could not be moved.
    PinFailed,
    /// The board was asked to restore the drive, with this result.
    Restored(bool),
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Nothing before [`LastResort::due_us`].
    Nothing,
    /// Assert PERST#: the one pulse.
    Assert,
    /// Deassert it.
    Deassert,
    /// Have the board restore the drive, and say how that went.
    Restore,
    /// Start the driver anew.
    Restart,
    /// Tell the driver that no help comes.
    GiveUp,
    /// The drive has proved itself: there may be another pulse.
    Rearm,
}

impl LastResort {
    /// The whole of it.
    pub(crate) fn step(self, happened: Happened, now_us: u64) -> (LastResort, Act) {
        use LastResort::{Asserted, Over, Proving, Ready, Returning, Training};
        let after = |us: u64| now_us.saturating_add(us);
        match (self, happened) {
            (Ready, Happened::Turn(Drive::Waits)) => {
                let until_us = after(PERST_ASSERTED_US);
                (Asserted { until_us }, Act::Assert)
            }
            (Asserted { until_us }, Happened::Turn(_)) if now_us >= until_us => {
                let until_us = after(PERST_TRAINING_US);
                (Training { until_us }, Act::Deassert)
            }
            (Asserted { .. } | Training { .. }, Happened::PinFailed) => (Over, Act::GiveUp),
            (Training { until_us }, Happened::Turn(_)) if now_us >= until_us => {
                let (ask_us, until_us) = (after(PERST_ASK_INTERVAL_US), after(PERST_RETURN_US));
                (Returning { ask_us, until_us }, Act::Restore)
            }
            (Returning { ask_us, until_us }, Happened::Turn(_)) if now_us >= ask_us => {
                let ask_us = after(PERST_ASK_INTERVAL_US);
                (Returning { ask_us, until_us }, Act::Restore)
            }
            (Returning { .. }, Happened::Restored(true)) => {
                let until_us = after(PERST_PROVING_US);
                (Proving { until_us }, Act::Restart)
            }
            (Returning { until_us, .. }, Happened::Restored(false)) if now_us >= until_us => {
                (Over, Act::GiveUp)
            }
            (Proving { .. }, Happened::Turn(Drive::Failed)) => (Over, Act::Nothing),
            (Proving { until_us }, Happened::Turn(Drive::Runs)) if now_us >= until_us => {
                (Ready, Act::Rearm)
            }
            (state, _) => (state, Act::Nothing),
        }
    }

    /// When something is to be done by itself.
    pub(crate) const fn due_us(self) -> Option<u64> {
        match self {
            LastResort::Asserted { until_us } | LastResort::Training { until_us } => Some(until_us),
            LastResort::Returning { ask_us, .. } => Some(ask_us),
            // Whenever a turn comes after that; none is needed for it.
            LastResort::Proving { .. } | LastResort::Ready | LastResort::Over => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Steps with the answers that a board gives, until a turn is over.
    fn turn(state: LastResort, drive: Drive, back: bool, now_us: u64) -> (LastResort, Vec<Act>) {
        let (mut state, mut acts) = (state, Vec::new());
        let mut happened = Happened::Turn(drive);
        loop {
            let (next, act) = state.step(happened, now_us);
            state = next;
            acts.push(act);
            match act {
                Act::Restore => happened = Happened::Restored(back),
                _ => return (state, acts),
            }
        }
    }

    #[test]
    fn one_pulse_by_the_clock() {
        let mut state = LastResort::Ready;
        let mut log = Vec::new();
        for now_us in (0..400_000).step_by(1_000) {
            let (next, acts) = turn(state, Drive::Waits, now_us >= 250_000, now_us);
            state = next;
            let acts = acts.into_iter().filter(|act| *act != Act::Nothing);
            log.extend(acts.map(|act| (now_us / 1_000, act)));
        }
        let restores = (200..250).step_by(10).map(|ms| (ms, Act::Restore));
        let mut expected = vec![(0, Act::Assert), (100, Act::Deassert)];
        expected.extend(restores);
        expected.extend([(250, Act::Restore), (250, Act::Restart)]);
        assert_eq!(log, expected);
    }

    #[test]
    fn a_drive_that_does_not_answer_in_a_second_is_given_up() {
        let returning = LastResort::Returning {
            ask_us: 5,
            until_us: 1_000_000,
        };
        let (state, acts) = turn(returning, Drive::Waits, false, 999_999);
        assert_eq!(acts, [Act::Restore, Act::Nothing]);
        let (state, acts) = turn(state, Drive::Waits, false, 1_010_000);
        assert_eq!(
            (state, acts),
            (LastResort::Over, vec![Act::Restore, Act::GiveUp])
        );
    }

    proptest! {
        /// Whatever happens when: PERST# is low for 100 ms at least, nothing is asked of the drive for
        /// 100 ms after that, and there is one pulse between two times that the drive proved itself.
        #[test]
        fn the_order_and_the_times_are_kept(
            steps in prop::collection::vec((0_u64..700_000_000, 0_usize..4, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let (mut state, mut now_us) = (LastResort::Ready, 0);
            let (mut low_us, mut high_us, mut armed) = (None, None, true);
            for (pause, drive, back, short) in steps {
                now_us += if short { pause / 1_000_000 } else { pause / 100 };
                let drive = [Drive::Runs, Drive::Waits, Drive::Failed, Drive::Other][drive];
                let (next, acts) = turn(state, drive, back, now_us);
                for act in acts {
                    match act {
                        Act::Assert => {
                            prop_assert!(armed && low_us.is_none());
                            (low_us, high_us, armed) = (Some(now_us), None, false);
                        }
                        Act::Deassert => {
                            let low_us = low_us.take().expect("it was asserted");
                            prop_assert!(now_us >= low_us + 100_000);
                            high_us = Some(now_us);
                        }
                        Act::Restore | Act::Restart => {
                            let high_us = high_us.expect("it was deasserted");
                            prop_assert!(now_us >= high_us + 100_000);
                        }
                        Act::Rearm => armed = true,
                        Act::GiveUp | Act::Nothing => {}
                    }
                }
                prop_assert_eq!(low_us.is_some(), matches!(next, LastResort::Asserted { .. }));
                state = next;
            }
        }
    }
}
