//! `fuzz`: builds the targets of `fuzz/` with libFuzzer and runs them for a while.
//!
//! The folder is laid out for cargo-fuzz and works with it, but does not need it: what cargo-fuzz
//! adds to a build is the handful of compiler flags below. With nightly the address sanitizer
//! watches too; the toolchain in use does without.

use std::fs;
use std::path::{Path, PathBuf};

use crate::shell::{self, cargo, io, of_toolchain, root, target_folder};
use crate::{Outcome, packages};

/// What makes a build one that libFuzzer can steer.
const COVERAGE_FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "-Cdebug-assertions",
    "--cfg=fuzzing",
];
const SANITIZER_FLAG: &str = "-Zsanitizer=address";

/// The task.
pub(crate) fn run(target: Option<&str>, seconds: u32, input: Option<&Path>) -> Outcome {
    let all = targets()?;
    let chosen = match target {
        None => all,
        Some(name) if all.iter().any(|other| other == name) => vec![name.to_owned()],
        Some(name) => {
            return Err(format!(
                "there is no fuzz target {name}, there are: {}",
                all.join(", ")
            ));
        }
    };
    packages::ensure(&[packages::CC, packages::CXX])?;

    let nightly = shell::has_nightly();
    let mut compiler = if nightly {
        of_toolchain("nightly", "rustc")
    } else {
        shell::command("rustc")
    };
    let version = shell::output(compiler.arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.ok_or("rustc does not say what machine this is")?;
    for name in &chosen {
        build(name, host, nightly)?;
    }
    for name in &chosen {
        if let Some(input) = input {
            let mut once = shell::command(&program(name, host).to_string_lossy());
            shell::run(once.arg(input))?;
            continue;
        }
        println!("\n=== fuzzing {name} for {seconds} s");
        fuzz(name, host, seconds)?;
    }
    Ok(())
}

/// The names of all targets, in order.
fn targets() -> Outcome<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in io(fs::read_dir(&folder), "read", &folder)? {
        let path = io(entry, "read", &folder)?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    names.sort();
    Ok(names)
}

/// Builds one target. The host is named as target, so that build scripts get none of the flags.
fn build(name: &str, host: &str, nightly: bool) -> Outcome {
    let mut flags = COVERAGE_FLAGS.to_vec();
    let mut build = if nightly {
        of_toolchain("nightly", "cargo")
    } else {
        cargo()
    };
    if nightly {
        flags.push(SANITIZER_FLAG);
    } else {
        println!("there is no nightly: fuzzing without the address sanitizer");
    }
    build.args(["build", "--release", "--manifest-path", "fuzz/Cargo.toml"]);
    build
        .args(["--bin", name, "--target", host, "--target-dir"])
        .arg(build_folder());
    build.env("RUSTFLAGS", flags.join(" "));
    shell::run(&mut build)
}

fn build_folder() -> PathBuf {
    target_folder().join("fuzz")
}

/// The fuzzer that was built for a target.
fn program(name: &str, host: &str) -> PathBuf {
    build_folder().join(host).join("release").join(name)
}

/// Runs one target. What it finds on its way goes to `corpus-new`; an input that fails is kept.
fn fuzz(name: &str, host: &str, seconds: u32) -> Outcome {
    let fuzz = root().join("fuzz");
    let found = fuzz.join("corpus-new").join(name);
    let corpus = fuzz.join("corpus").join(name);
    let artifacts = fuzz.join("artifacts").join(name);
    for folder in [&found, &corpus, &artifacts] {
        io(fs::create_dir_all(folder), "make", folder)?;
    }
    let mut run = shell::command(&program(name, host).to_string_lossy());
    run.current_dir(&fuzz);
    run.arg(format!("-max_total_time={seconds}"));
    run.arg(format!("-artifact_prefix={}/", artifacts.display()));
    run.args(["-timeout=10", "-print_final_stats=1"]);
    run.arg(&found).arg(&corpus);
    shell::run(&mut run).map_err(|_| {
        format!(
            "{name} failed. Its input was written to {}; `cargo xtask fuzz {name} --input FILE` \
             runs it again",
            artifacts.display()
        )
    })
}
