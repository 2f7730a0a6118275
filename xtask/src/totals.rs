//! Counts tests in what `cargo test` prints.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitStatus, Stdio};

use crate::Outcome;
use crate::shell;

/// How many tests passed, failed and were left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl Totals {
    /// Adds a line of the form `test result: ok. 3 passed; 0 failed; 1 ignored; …`; says whether
    /// it was one.
    pub(crate) fn add_line(&mut self, line: &str) -> bool {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else {
            return false;
        };
        let words: Vec<&str> = result
            .split([' ', ';', '.'])
            .filter(|w| !w.is_empty())
            .collect();
        for pair in words.windows(2) {
            let Ok(count) = pair[0].parse::<u64>() else {
                continue;
            };
            match pair[1] {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
        true
    }

    /// Runs tests and counts them. Of tests that pass, only the sums are printed.
    pub(crate) fn run(&mut self, tests: &mut Command) -> Outcome<ExitStatus> {
        let cannot = |error: &_, tests: &Command| shell::cannot_run(tests, error);
        let mut child = match tests.stdout(Stdio::piped()).spawn() {
            Ok(child) => child,
            Err(error) => return Err(cannot(&error, tests)),
        };
        let stdout = child.stdout.take().expect("it is piped");
        for line in BufReader::new(stdout).split(b'\n') {
            let line = line.map_err(|error| format!("cannot read what a test says: {error}"))?;
            let line = String::from_utf8_lossy(&line);
            self.add_line(&line);
            let is_quiet = line.is_empty()
                || line.starts_with("running ")
                || (line.starts_with("test ") && line.ends_with(" ... ok"));
            if !is_quiet {
                println!("{line}");
            }
        }
        child.wait().map_err(|error| cannot(&error, tests))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up() {
        let mut totals = Totals::default();
        let lines = [
            ("running 4 tests", false),
            ("test a ... ok", false),
            (
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.50s",
                true,
            ),
            (
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
                true,
            ),
        ];
        for (line, is_result) in lines {
            assert_eq!(totals.add_line(line), is_result, "{line}");
        }
        assert_eq!(
            totals,
            Totals {
                passed: 15,
                failed: 2,
                ignored: 1
            }
        );
    }
}
