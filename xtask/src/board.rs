//! `board`: builds the firmware, boots it in QEMU, and has a client at it.
//!
//! The tests are those of `host-sim/tests/board.rs`, one of which is a soak of any length. One of them boots a second
//! image, which has the driver's exercise in it.

use crate::shell::cargo;
use crate::totals::Totals;
use crate::{Outcome, firmware, packages};

/// How long the soak lasts where nothing is said.
pub(crate) const SOAK_S: u32 = 10;

/// The task, which adds what it counts to `totals`.
pub(crate) fn run(soak_s: u32, totals: &mut Totals) -> Outcome {
    packages::ensure(&[packages::QEMU_SYSTEM_AARCH64])?;
    let elf = firmware::run()?;
    let exercise = firmware::exercise()?;
    let mut tests = cargo();
    tests.args(["test", "--locked", "-p", "host-sim", "--test", "board"]);
    tests.args(["--features", "firmware"]);
    // One machine at a time: each has a processor to itself.
    tests.args(["--", "--nocapture", "--test-threads=1"]);
    tests.env("OUTBOARD_FIRMWARE", elf);
    tests.env("OUTBOARD_EXERCISE", exercise);
    tests.env("OUTBOARD_SOAK_S", soak_s.to_string());
    let before = *totals;
    let status = totals.run(&mut tests)?;
    match (totals.passed - before.passed, totals.failed - before.failed) {
        (_, failed @ 1..) => Err(format!("{failed} tests failed")),
        _ if !status.success() => Err(format!("the tests on the board: {status}")),
        (0, _) => Err("no test ran".to_owned()),
        _ => Ok(()),
    }
}
