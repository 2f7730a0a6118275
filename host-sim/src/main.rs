//! `host-sim`: the Outboard agent on a laptop.

use std::io::{Write, stderr, stdout};
use std::process::ExitCode;

use clap::Parser;
use host_sim::cli::{Bench, BenchArgs, Cli, Command, Exit, OnArg};
use host_sim::demo::{on_board, simulated};
use host_sim::interrupt::Interrupt;
use host_sim::{bare_metal, bench, demo, log_lines, serve};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let interrupt = match Interrupt::on_signals() {
        Ok(interrupt) => interrupt,
        Err(error) => return fail(Exit::Failed, &format!("cannot listen for Ctrl-C: {error}")),
    };
    let mut out = stdout();
    let ended = match cli.command {
        Command::Board(args) => bare_metal::command(&args, &interrupt, &mut out)
            .map_err(|error| (Exit::Failed, error.to_string())),
        Command::Demo(args) if args.on == OnArg::Board => on_board::boot_for(&args, &interrupt)
            .map_err(|sentence| (Exit::Failed, sentence))
            .and_then(|boot| {
                let open = |spec: &_| on_board::open(spec, &boot);
                demo::command(&args, &interrupt, &mut out, open).map_err(|error| {
                    let exit = match interrupt.requested() {
                        true => Exit::Interrupted,
                        false => error.exit(),
                    };
                    (exit, error.to_string())
                })
            }),
        Command::Demo(args) => demo::command(&args, &interrupt, &mut out, simulated::open)
            .map_err(|error| (error.exit(), error.to_string())),
        Command::Serve(args) => {
            log_lines::show(args.log.into());
            serve::command(&args, &interrupt, &mut out)
                .map_err(|error| (Exit::Failed, error.to_string()))
        }
        Command::Bench(BenchArgs {
            bench: Bench::Wire(args),
        }) => bench::wire_race::command(&args, &interrupt, &mut out)
            .map_err(|error| (Exit::Failed, error.to_string())),
        Command::Bench(BenchArgs {
            bench: Bench::Block(args),
        }) => bench::block::command(&args, &interrupt, &mut out)
            .map_err(|error| (Exit::Failed, error.to_string())),
        Command::Bench(BenchArgs {
            bench: Bench::Engine(args),
        }) => bench::engine::command(&args, &interrupt, &mut out)
            .map_err(|error| (Exit::Failed, error.to_string())),
    };
    match ended {
        Ok(exit) => exit.into(),
        Err((exit, sentence)) => fail(exit, &sentence),
    }
}

fn fail(exit: Exit, sentence: &str) -> ExitCode {
    // Who reads it may be gone, and the exit status says it too.
    let _ = writeln!(stderr(), "host-sim: {sentence}");
    exit.into()
}
