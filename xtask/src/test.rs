//! `test`: everything that must hold before a change goes in, in one command.
//!
//! All stages run, also after one has failed, so that one run tells all there is to mend. The last
//! line has the totals: tests passed, and tests failed plus other stages that failed.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::totals::Totals;
use crate::{Outcome, nostd, packages, programs, shell};

/// A stage that ran.
struct Stage {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

/// The task.
pub(crate) fn run(host_only: bool) -> Outcome {
    let started = Instant::now();
    let mut stages = Vec::new();
    let mut totals = Totals::default();
    let mut stage = |name: &'static str, work: &mut dyn FnMut() -> Outcome| {
        println!("\n=== {name} [{}]", clock(started.elapsed()));
        let began = Instant::now();
        let outcome = work();
        if let Err(sentence) = &outcome {
            println!("{name} failed: {sentence}");
        }
        stages.push(Stage {
            name,
            took: began.elapsed(),
            outcome,
        });
    };

    stage("packages", &mut || {
        packages::ensure(&[packages::CC, packages::CLANG])
    });
    stage("formatting", &mut || {
        shell::run(shell::cargo().args(["fmt", "--all", "--check"]))
    });
    if shell::has(packages::CLANG.program) {
        stage("programs", &mut || programs::run(true));
    } else {
        println!("\n(programs not compiled: there is no clang)");
    }
    stage("lints", &mut || shell::run(&mut lints()));
    stage("documentation", &mut || shell::run(&mut documentation()));
    stage("tests", &mut || tests(&mut totals));
    if host_only {
        println!("\n(bare-metal builds left out: --host-only)");
    } else {
        stage("bare-metal builds", &mut nostd::run);
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

/// Runs the tests of the workspace and counts them. Of tests that pass, only the sums are printed.
fn tests(totals: &mut Totals) -> Outcome {
    let mut cargo = shell::cargo();
    cargo
        .args(["test", "--workspace", "--no-fail-fast", "--locked"])
        .stdout(Stdio::piped());
    let mut child = cargo
        .spawn()
        .map_err(|error| shell::cannot_run(&cargo, &error))?;
    let stdout = child.stdout.take().expect("it is piped");
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.map_err(|error| format!("cannot read what cargo test says: {error}"))?;
        let line = String::from_utf8_lossy(&line);
        totals.add_line(&line);
        let is_quiet = line.is_empty()
            || line.starts_with("running ")
            || (line.starts_with("test ") && line.ends_with(" ... ok"));
        if !is_quiet {
            println!("{line}");
        }
    }
    let status = child
        .wait()
        .map_err(|error| shell::cannot_run(&cargo, &error))?;
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
    } in stages
    {
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("{name:<20} {word:<7} {}", clock(*took));
        if let Err(sentence) = outcome {
            println!("    {sentence}");
            // Tests that failed are counted already; a stage that did not get that far is not.
            failures += u64::from(*name != "tests" || totals.failed == 0);
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
