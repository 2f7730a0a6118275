//! `aarch64`: builds the engines' tests for aarch64, and runs them under qemu-user.
//!
//! The binary (`tests/aarch64/`) is built for bare metal and speaks to Linux itself, so it needs no
//! C library for aarch64. It is in no workspace of ours, so that its formatting is
//! looked at here.

use std::env::consts;

use crate::nostd::{self, TARGET};
use crate::shell::{self, cargo, command};
use crate::totals::Totals;
use crate::{Outcome, packages};

pub(crate) const MANIFEST: &str = "tests/aarch64/Cargo.toml";
const BINARY: &str = "outboard-tests-aarch64";

/// The task, which adds what it counts to `totals`.
pub(crate) fn run(totals: &mut Totals) -> Outcome {
    shell::run(cargo().args(["fmt", "--check", "--manifest-path", MANIFEST]))?;
    let mut way = nostd::way()?;
    way.build.args(["--release", "--manifest-path", MANIFEST]);
    shell::run(&mut way.build)?;

    let binary = way.folder.join(TARGET).join("release").join(BINARY);
    let mut tests = if consts::ARCH == "aarch64" && consts::OS == "linux" {
        command(&binary.to_string_lossy())
    } else {
        packages::ensure(&[packages::QEMU_AARCH64])?;
        let mut qemu = command(packages::QEMU_AARCH64.program);
        qemu.arg(&binary);
        qemu
    };
    let before = *totals;
    let status = totals.run(&mut tests)?;
    match (totals.passed - before.passed, totals.failed - before.failed) {
        (_, failed @ 1..) => Err(format!("{failed} tests failed")),
        _ if !status.success() => Err(format!("the tests for aarch64: {status}")),
        (0, _) => Err("no test ran".to_owned()),
        _ => Ok(()),
    }
}
