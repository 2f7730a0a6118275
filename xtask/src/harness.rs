//! `harness`: programs by chance through the verifier and every engine; see the crate `harness`.

use crate::Outcome;
use crate::shell::{self, cargo};

/// Runs the harness for a while.
pub(crate) fn run(seconds: u32, seed: u64, programs: Option<u64>, json: bool) -> Outcome {
    let mut command = cargo();
    command.args(["run", "--release", "--locked", "-q", "-p", "harness", "--"]);
    command.args([
        "--seconds",
        &seconds.to_string(),
        "--seed",
        &seed.to_string(),
    ]);
    if let Some(programs) = programs {
        command.args(["--programs", &programs.to_string()]);
    }
    if json {
        command.arg("--json");
    }
    shell::run(&mut command)
}

/// Takes one rule after another out of the verifier, and sees that the harness misses it.
pub(crate) fn canary() -> Outcome {
    let mut command = cargo();
    command.args(["test", "--release", "--locked", "-q", "-p", "harness"]);
    command.args(["--features", "canary", "--test", "canary"]);
    shell::run(&mut command)
}

/// Both, as long as every change is held against.
pub(crate) fn stage() -> Outcome {
    run(SECONDS, 1, None, false)?;
    canary()
}

/// Seconds of a fixed seed.
const SECONDS: u32 = 60;
