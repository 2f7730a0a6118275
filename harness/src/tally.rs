//! What many cases came to, in numbers.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

use ebpf::Outcome;

use crate::compare::{Ran, Standing};

/// The sums.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    /// Cases.
    pub programs: u64,
    /// Programs that were proved.
    pub accepted: u64,
    /// Programs that the verifier refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// Programs that the check refused, by reason.
    pub malformed: BTreeMap<String, u64>,
    /// How those that ran ended.
    pub ended: BTreeMap<&'static str, u64>,
    /// Accesses that were proved.
    pub proved: u64,
    /// Accesses that were guarded, of programs that were proved.
    pub guarded: u64,
    /// Proved programs of which running them elsewhere told something.
    pub shifted: u64,
    /// Units of the meter that all runs paid.
    pub paid: u64,
}

impl Tally {
    /// Counts a case.
    pub fn add(&mut self, ran: &Ran) {
        self.programs += 1;
        self.paid += ran.paid;
        match &ran.standing {
            Standing::Malformed(why) => count(&mut self.malformed, &format!("{why:?}")),
            Standing::Refused(why) => count(&mut self.refused, &format!("{why:?}")),
            Standing::Accepted { proved, guarded } => {
                self.accepted += 1;
                self.proved += u64::from(*proved);
                self.guarded += u64::from(*guarded);
                self.shifted += u64::from(!ran.inconclusive);
            }
        }
        if let Some(outcome) = ran.outcome {
            let word = match outcome {
                Outcome::Exit { .. } => "returned",
                Outcome::OutOfBudget { .. } => "out of budget",
                Outcome::Fault(_) => "fault",
                Outcome::Killed { .. } => "killed",
                Outcome::Waiting | Outcome::Yielded => "not ended",
            };
            *self.ended.entry(word).or_default() += 1;
        }
    }

    /// Programs that the verifier refused.
    #[must_use]
    pub fn refused_in_all(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Programs that the check refused.
    #[must_use]
    pub fn malformed_in_all(&self) -> u64 {
        self.malformed.values().sum()
    }
}

/// Counts a reason by its first word.
fn count(reasons: &mut BTreeMap<String, u64>, why: &str) {
    let word = why.split([' ', '(']).next().unwrap_or(why);
    match reasons.get_mut(word) {
        Some(number) => *number += 1,
        None => {
            reasons.insert(word.to_string(), 1);
        }
    }
}
