//! `test`: everything that must hold before a change goes in, in one command.
//!
//! All stages run, also after one has failed, so that one run tells all there is to mend. The last
//! line has the totals: tests passed, and tests failed plus other stages that failed.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::totals::Totals;
use crate::{Outcome, aarch64, board, harness, nostd, packages, programs, shell};

/// A stage that ran.
struct Stage {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
    /// It failed by tests that are in the totals.
    is_counted: bool,
}

/// The task.
pub(crate) fn run(host_only: bool) -> Outcome {
    let started = Instant::now();
    let mut stages = Vec::new();
    let mut totals = Totals::default();
    let mut stage = |name: &'static str, work: &mut dyn FnMut(&mut Totals) -> Outcome| {
        println!("\n=== {name} [{}]", clock(started.elapsed()));
        let (began, failed) = (Instant::now(), totals.failed);
        let outcome = work(&mut totals);
        if let Err(sentence) = &outcome {
            println!("{name} failed: {sentence}");
        }
        stages.push(Stage {
            name,
            took: began.elapsed(),
            outcome,
            is_counted: totals.failed > failed,
        });
    };

    stage("packages", &mut |_| {
        // QEMU's drive is driven from this machine, so its tests run with --host-only too.
        packages::ensure(&[packages::CC, packages::CLANG, packages::QEMU_SYSTEM_AARCH64])
    });
    stage("formatting", &mut |_| {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
    });
    if shell::has(packages::CLANG.program) {
        stage("programs", &mut |_| programs::run(true));
    } else {
        println!("\n(programs not compiled: there is no clang)");
    }
    stage("lints", &mut |_| shell::run(&mut lints()));
    stage("documentation", &mut |_| shell::run(&mut documentation()));
    stage("tests", &mut tests);
    stage("engines by chance", &mut |_| harness::stage());
    if host_only {
        println!("\n(what is built for aarch64 is left out: --host-only)");
    } else {
        stage("bare-metal builds", &mut |_| nostd::run());
        stage("aarch64 tests", &mut aarch64::run);
        stage("board tests", &mut |totals| {
            board::run(board::SOAK_S, totals)
        });
    }
    summary(&stages, totals, started.elapsed())
}

fn lints() -> Command {
    let mut cargo = shell::cargo();
    cargo.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--locked",
    ]);
    cargo.args(["--", "-D", "warnings"]);
    cargo
}

fn documentation() -> Command {
    let mut cargo = shell::cargo();
    cargo.args([
        "doc",
        "--workspace",
        "--no-deps",
        "--all-features",
        "--locked",
    ]);
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    cargo
}

/// Runs the tests of the workspace and counts them.
fn tests(totals: &mut Totals) -> Outcome {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--workspace", "--no-fail-fast", "--locked"]);
    let status = totals.run(&mut cargo)?;
    match totals {
        Totals { failed: 1.., .. } => Err(format!("{} tests failed", totals.failed)),
        _ if !status.success() => Err(format!("`cargo test --workspace`: {status}")),
        Totals { passed: 0, .. } => Err("no test ran".to_owned()),
        _ => Ok(()),
    }
}

/// Prints what happened, and gives the outcome of it all.
fn summary(stages: &[Stage], totals: Totals, took: Duration) -> Outcome {
    println!("\n=== summary [{}]", clock(took));
    let mut failures = totals.failed;
    for Stage {
        name,
        took,
        outcome,
        is_counted,
    } in stages
    {
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{name:<20} {word:<7} {}", clock(*took));
        if let Err(sentence) = outcome {
            println!("    {sentence}");
            // Tests that failed are counted already; a stage that did not get that far is not.
            failures += u64::from(!is_counted);
        }
    }
    if totals.ignored > 0 {
        println!("{} tests ignored", totals.ignored);
    }
    println!("{} passed, {failures} failed", totals.passed);
    if failures == 0 {
        Ok(())
    } else {
        Err("not all is well, see above".to_owned())
    }
}

/// Minutes and seconds.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}
