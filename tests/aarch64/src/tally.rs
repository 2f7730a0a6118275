//! Counts what passed and what failed, and says so as `cargo test` does.

use alloc::string::String;

use crate::say;

/// What has been seen so far.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
}

impl Tally {
    /// Notes the outcome of one case.
    pub(crate) fn note(&mut self, name: &str, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(why) => {
                self.failed += 1;
                say!("test {name} ... FAILED\n{why}");
            }
        }
    }

    /// Prints the sums, and gives the status to end with.
    pub(crate) fn finish(&self) -> usize {
        let Tally { passed, failed } = self;
        let is_good = *failed == 0 && *passed > 0;
        let word = if is_good { "ok" } else { "FAILED" };
        say!("test result: {word}. {passed} passed; {failed} failed; 0 ignored");
        usize::from(!is_good)
    }
}
