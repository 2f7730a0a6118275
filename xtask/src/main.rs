//! The tasks of the Outboard workspace: `cargo xtask <task>`.
//!
//! A task is one file here. Errors are sentences, printed once, by `main`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod aarch64;
mod board;
mod firmware;
mod fuzz;
mod harness;
mod nostd;
mod packages;
mod programs;
mod shell;
mod test;
mod totals;

// How the objects are built. By path and not as a dependency, because the crate `programs` embeds
// the objects: a new one has to be built before that crate can be.
#[path = "../../programs/src/recipe.rs"]
#[allow(unreachable_pub)]
mod recipe;

/// What a task gives: nothing, or a sentence on what went wrong.
type Outcome<T = ()> = Result<T, String>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The tasks of the Outboard workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compile the C programs into programs/objects
    Programs {
        /// Only see whether the objects are those of their sources; change nothing
        #[arg(long)]
        check: bool,
    },
    /// Everything: formatting, lints, documentation, programs, tests, bare-metal builds and tests
    Test {
        /// Leave out what is built for aarch64: bare metal, and the engines' tests there
        #[arg(long)]
        host_only: bool,
    },
    /// Build the no_std crates for aarch64-unknown-none, and lint the packages that are for it alone
    Nostd,
    /// Build the firmware of the board qemu-virt, print its sizes, and hold it to its limits
    Firmware,
    /// Build the firmware, boot it in QEMU, and have a client at it
    Board {
        /// Seconds of the soak: clients that come, use everything and go, some of them badly
        #[arg(long, value_name = "SECONDS", default_value_t = board::SOAK_S)]
        soak: u32,
    },
    /// Test the engines on aarch64, under qemu-user where this machine is another
    Aarch64,
    /// Programs by chance through the verifier and every engine, and through verifiers that lack a
    /// rule, which must be found out
    Harness {
        /// How long to go on
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Which programs
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How many programs at most
        #[arg(long)]
        programs: Option<u64>,
        /// Print the result as one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Fuzz: one target of fuzz/, or each of them in turn
    Fuzz {
        /// Name of the target; all if none is given
        target: Option<String>,
        /// How long to fuzz each target
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Run the target once, with the bytes of this file
        #[arg(long, requires = "target")]
        input: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().task {
        Task::Programs { check } => programs::run(check),
        Task::Test { host_only } => test::run(host_only),
        Task::Nostd => nostd::run(),
        Task::Firmware => firmware::run().map(drop),
        Task::Board { soak } => board::run(soak, &mut totals::Totals::default()),
        Task::Aarch64 => aarch64::run(&mut totals::Totals::default()),
        Task::Harness {
            seconds,
            seed,
            programs,
            json,
        } => harness::run(seconds, seed, programs, json),
        Task::Fuzz {
            target,
            seconds,
            input,
        } => fuzz::run(target.as_deref(), seconds, input.as_deref()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            eprintln!("xtask: {sentence}");
            ExitCode::FAILURE
        }
    }
}
