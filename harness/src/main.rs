//! `harness`: programs by chance through the verifier and every engine, for as long as one likes.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use ebpf::asm::disassemble;
use harness::code;
use harness::minimise::minimise;
use harness::tally::Tally;
use harness::{Case, Finding, Harness};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

const EXIT_HELP: &str = "\
A case is named by the seed and its number: `--seed S --first N --programs 1 --show` shows it.

Exit status:
  0    nothing was found
  1    it could not be run
  3    engines disagree, or a proof is wrong; the smallest program that shows it is printed
  130  interrupted by Ctrl-C or SIGTERM, nothing found so far";

/// Programs by chance through the verifier and every engine, which must agree.
#[derive(Parser)]
#[command(name = "harness", after_help = EXIT_HELP)]
struct Arguments {
    /// How long to go on; without end if neither this nor --programs is given.
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,

    /// How many programs to try.
    #[arg(long, value_name = "COUNT")]
    programs: Option<u64>,

    /// Which programs.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,

    /// The number of the first.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    first: u64,

    /// Print each program, and what became of it.
    #[arg(long)]
    show: bool,

    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// A finding, and the case that shows it.
struct Found {
    number: u64,
    case: Case,
    finding: Finding,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("harness: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<u8, Box<dyn Error>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second one ends it at once.
        flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))?;
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    let mut harness = code::with_machine_code()?;
    let mut case = Case::new();
    let mut tally = Tally::default();
    let mut found = None;
    let started = Instant::now();
    let end = arguments.seconds.map(Duration::from_secs);
    let last = arguments
        .programs
        .map(|count| arguments.first.saturating_add(count));
    let mut number = arguments.first;
    while last.is_none_or(|last| number < last) && !interrupted.load(Ordering::Relaxed) {
        if number.is_multiple_of(256) && end.is_some_and(|end| started.elapsed() >= end) {
            break;
        }
        case.choose(arguments.seed, number, &[]);
        let ran = harness.run(&case);
        if arguments.show {
            println!("{}", story(&case));
            println!("{ran:?}\n");
        }
        match ran {
            Ok(ran) => tally.add(&ran),
            Err(finding) => {
                tally.programs += 1;
                let (case, finding) = minimise(&mut harness, &case, &finding);
                found = Some(Found {
                    number,
                    case,
                    finding,
                });
                break;
            }
        }
        number += 1;
    }
    let took = started.elapsed().as_secs_f64();
    let out = io::stdout().lock();
    if arguments.json {
        print_json(out, arguments, &harness, &tally, found.as_ref(), took)?;
    } else {
        print_text(out, arguments, &harness, &tally, found.as_ref(), took)?;
    }
    Ok(match found {
        Some(_) => 3,
        None if interrupted.load(Ordering::Relaxed) => 130,
        None => 0,
    })
}

/// The program and its setting as text.
fn story(case: &Case) -> String {
    format!("{:#?}\n{}", case.setting, disassemble(&case.slots))
}

fn print_text(
    mut out: impl Write,
    arguments: &Arguments,
    harness: &Harness,
    tally: &Tally,
    found: Option<&Found>,
    took: f64,
) -> io::Result<()> {
    let (programs, seed) = (tally.programs, arguments.seed);
    let rate = programs as f64 / took;
    writeln!(
        out,
        "{programs} programs of seed {seed} in {took:.1} s, {rate:.0} a second"
    )?;
    let engines: Vec<_> = harness.engines().collect();
    writeln!(out, "engines beside the referee: {}", engines.join(", "))?;
    writeln!(out, "{} accepted", tally.accepted)?;
    let (proved, guarded) = (tally.proved, tally.guarded);
    writeln!(out, "    {proved} accesses proved, {guarded} guarded")?;
    writeln!(out, "    {} run with other addresses too", tally.shifted)?;
    for (title, reasons) in [
        ("refused by the verifier", &tally.refused),
        ("refused by the check", &tally.malformed),
    ] {
        writeln!(out, "{} {title}", reasons.values().sum::<u64>())?;
        let mut reasons: Vec<_> = reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| u64::MAX - **count);
        for (why, count) in reasons {
            writeln!(out, "    {count:>9} {why}")?;
        }
    }
    for (how, count) in &tally.ended {
        writeln!(out, "{count} ended: {how}")?;
    }
    writeln!(out, "{} units of the meter were paid", tally.paid)?;
    match found {
        None => writeln!(out, "no disagreement"),
        Some(found) => {
            writeln!(
                out,
                "\nprogram {} of seed {seed}: {}",
                found.number, found.finding
            )?;
            writeln!(out, "the smallest one like it:\n{}", story(&found.case))
        }
    }
}

fn print_json(
    mut out: impl Write,
    arguments: &Arguments,
    harness: &Harness,
    tally: &Tally,
    found: Option<&Found>,
    took: f64,
) -> io::Result<()> {
    let disagreements: Vec<Value> = found
        .iter()
        .map(|found| {
            json!({
                "program": found.number,
                "what": found.finding.to_string(),
                "setting": format!("{:?}", found.case.setting),
                "assembly": disassemble(&found.case.slots),
            })
        })
        .collect();
    let result = json!({
        "seed": arguments.seed,
        "first": arguments.first,
        "programs": tally.programs,
        "seconds": took,
        "programs_per_s": tally.programs as f64 / took,
        "engines": harness.engines().collect::<Vec<_>>(),
        "accepted": tally.accepted,
        "accesses_proved": tally.proved,
        "accesses_guarded": tally.guarded,
        "run_elsewhere": tally.shifted,
        "refused": tally.refused,
        "malformed": tally.malformed,
        "ended": tally.ended,
        "units_paid": tally.paid,
        "disagreements": disagreements,
    });
    writeln!(out, "{result}")
}
