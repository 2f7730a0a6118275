//! `host-sim bench engine`: what engines make of the same C functions.
//!
//! Everybody works on the same bytes with the same key, in turn, round after round: 16 buffers and
//! a new key each time, because a branch predictor learns one buffer by heart. Each figure is the
//! median of its runs. Before the race everybody is held against native code over every buffer; a
//! wrong result is an error.
//!
//! | who | |
//! |---|---|
//! | `native` | the C function, compiled at -O2 by this machine's compiler |
//! | `interpreter-checked` | the referee: every access is checked |
//! | `interpreter` | the interpreter of the decoded form: proved accesses unchecked but masked |
//! | `interpreter-unmasked` | the same for a single tenant, without masks |
//! | `jit`, `jit-unmasked` | machine code of ours, likewise |
//! | `rbpf-interpreter`, `rbpf-jit` | rbpf 0.4.1 |
//! | `wasmi-fuel` | wasmi 2.0.0 over the same C as WebAssembly, counting fuel |
//! | `kernel-jit` | Linux, by `BPF_PROG_TEST_RUN`, where it is permitted |
//!
//! Ours run a program as an upload becomes one: linked, checked, proved, entered by `dpu/call`
//! with its bytes in scratch, metered, in slices. The time is that of an invocation; to put the
//! bytes into place is not counted for anybody.
//!
//! The C and how it is built are in `bench/engine/`.

mod kernel;
mod native;
mod ours;
mod rivals;
mod workload;

use std::io::{self, Write};
use std::time::{Duration, Instant};

use ebpf::Isolation;

use crate::cli::{EngineBenchArgs, Exit};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::random::Random;
use crate::report::{BenchLine, BenchReport};
use ours::Proved;
use workload::Workload;

/// Buffers that runs rotate through.
const BUFFERS: usize = 16;

/// Rounds over all buffers, at least.
const ROUNDS_MIN: u32 = 3;

/// The bench's name in its lines.
const BENCH: &str = "engine";

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A workload cannot be prepared, or somebody fails or is wrong.
    #[error("{case}: {why}")]
    Case {
        /// Which workload.
        case: String,
        /// Why.
        why: String,
    },
    /// No workload is called so.
    #[error("no case's name contains {0:?}")]
    NoCase(String),
    /// Printing failed.
    #[error("cannot print the result: {0}")]
    Print(#[from] io::Error),
}

/// What a run gave, and how long it took.
#[derive(Clone, Copy, Debug)]
struct Answer {
    result: u64,
    took: Duration,
}

type Run = Box<dyn FnMut(&[u8], u64) -> Result<Answer, String>>;

/// Somebody who can do a workload.
struct Contender {
    who: &'static str,
    /// Or why not.
    run: Result<Run, String>,
    times_ns: Vec<f64>,
}

impl Contender {
    fn new(
        who: &'static str,
        run: impl FnMut(&[u8], u64) -> Result<Answer, String> + 'static,
    ) -> Contender {
        Contender {
            who,
            run: Ok(Box::new(run)),
            times_ns: Vec::new(),
        }
    }

    /// One who is left out if he cannot be had.
    fn or_skipped(who: &'static str, contender: Result<Contender, String>) -> Contender {
        contender.unwrap_or_else(|why| Contender {
            who,
            run: Err(why),
            times_ns: Vec::new(),
        })
    }

    fn median_ns(&mut self) -> Option<f64> {
        self.times_ns.sort_by(f64::total_cmp);
        self.times_ns.get(self.times_ns.len() / 2).copied()
    }
}

/// Everybody, for a workload. A further engine of ours is one line.
fn contenders(workload: &Workload, proved: &Proved) -> Result<Vec<Contender>, String> {
    Ok(vec![
        rivals::native(workload),
        ours::checked(proved),
        ours::interpreter("interpreter", Isolation::Shared, proved)?,
        ours::interpreter("interpreter-unmasked", Isolation::Alone, proved)?,
        ours::jit("jit", Isolation::Shared, proved)?,
        ours::jit("jit-unmasked", Isolation::Alone, proved)?,
        rivals::rbpf(workload, false)?,
        Contender::or_skipped("rbpf-jit", rivals::rbpf(workload, true)),
        rivals::wasmi(workload)?,
        Contender::or_skipped("kernel-jit", kernel::kernel(workload)),
    ])
}

/// Runs the bench and prints it.
///
/// # Errors
///
/// [`BenchError`].
pub fn command(
    args: &EngineBenchArgs,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, BenchError> {
    let mut report = BenchReport::new(out, args.output.json);
    let mut medians = Medians::default();
    let wanted = |workload: &&Workload| workload.name.contains(&args.output.case);
    let workloads = workload::all();
    if !workloads.iter().any(|workload| wanted(&workload)) {
        return Err(BenchError::NoCase(args.output.case.clone()));
    }
    for workload in workloads.iter().filter(wanted) {
        let wrong = |why: String| BenchError::Case {
            case: workload.name.to_string(),
            why,
        };
        let proved = Proved::new(workload.program).map_err(wrong)?;
        let mut contenders = contenders(workload, &proved).map_err(wrong)?;
        if !race(workload, &mut contenders, args, interrupt).map_err(wrong)? {
            return Ok(Exit::Interrupted);
        }
        for contender in &mut contenders {
            report.add(line(workload, contender))?;
        }
        medians.add(&mut contenders);
        let (proved, guarded) = proved.accesses();
        for (metric, count) in [("accesses_proved", proved), ("accesses_guarded", guarded)] {
            let value = f64::from(count);
            report.add(BenchLine::measured(
                BENCH,
                workload.name,
                "verifier",
                metric,
                value,
            ))?;
        }
    }
    for line in medians.ratios() {
        report.add(line)?;
    }
    report.finish()?;
    Ok(Exit::Success)
}

fn line(workload: &Workload, contender: &mut Contender) -> BenchLine {
    let who = contender.who;
    match (contender.median_ns(), &contender.run) {
        (Some(ns), _) => BenchLine::measured(BENCH, workload.name, who, "ns_per_run", ns),
        (None, Err(why)) => BenchLine::skipped(BENCH, workload.name, who, why),
        (None, Ok(_)) => BenchLine::skipped(BENCH, workload.name, who, "it did not run"),
    }
}

/// Runs everybody in turn; `false` if it was interrupted.
fn race(
    workload: &Workload,
    contenders: &mut [Contender],
    args: &EngineBenchArgs,
    interrupt: &Interrupt,
) -> Result<bool, String> {
    let mut random = Random::new(args.seed);
    let buffers: Vec<Vec<u8>> = (0..BUFFERS).map(|_| workload.buffer(&mut random)).collect();
    let mut progress = Progress::new(args.output.json);
    let total = args.time.as_millis() as u64;
    progress.start(workload.name, total);
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    // The first round only compares; how long it takes is not taken down.
    let mut round = 0;
    let mut started = Instant::now();
    while round <= ROUNDS_MIN || started.elapsed() < args.time {
        for buffer in &buffers {
            if interrupt.requested() {
                return Ok(false);
            }
            // Nobody always comes behind the same neighbour.
            random.shuffle(&mut order);
            let key = workload.key(&mut random);
            turn(contenders, &order, buffer, key, round > 0)?;
        }
        if round == 0 {
            started = Instant::now();
        }
        round += 1;
        progress.at((started.elapsed().as_millis() as u64).min(total));
    }
    progress.finish();
    Ok(true)
}

/// Everybody once, over the same bytes.
fn turn(
    contenders: &mut [Contender],
    order: &[usize],
    bytes: &[u8],
    key: u64,
    counts: bool,
) -> Result<(), String> {
    let mut results = Vec::with_capacity(order.len());
    for &index in order {
        let contender = &mut contenders[index];
        let Ok(run) = &mut contender.run else {
            continue;
        };
        let answer = run(bytes, key).map_err(|why| format!("{}: {why}", contender.who))?;
        results.push((contender.who, answer.result));
        if counts {
            contender.times_ns.push(answer.took.as_nanos() as f64);
        }
    }
    let native = results.iter().find(|(who, _)| *who == "native");
    let &(_, expected) = native.ok_or("there is no native code to compare with")?;
    match results.iter().find(|(_, result)| *result != expected) {
        None => Ok(()),
        Some((who, found)) => Err(format!("{who} gives {found:#x}, native code {expected:#x}")),
    }
}

/// The medians of all workloads, for what is asked of them together.
#[derive(Default)]
struct Medians {
    /// Of each workload, who has which.
    all: Vec<Vec<(&'static str, f64)>>,
}

/// Of whom it is printed how many times as fast as whom he is, the masks on: over all workloads,
/// and on the one where it is least.
const RATIOS: [(&str, &str); 10] = [
    ("interpreter-checked", "rbpf-interpreter"),
    ("interpreter", "rbpf-interpreter"),
    ("interpreter-unmasked", "rbpf-interpreter"),
    ("interpreter", "wasmi-fuel"),
    ("interpreter-unmasked", "wasmi-fuel"),
    ("jit", "native"),
    ("jit-unmasked", "native"),
    ("jit", "rbpf-jit"),
    ("jit", "kernel-jit"),
    ("jit", "interpreter-checked"),
];

impl Medians {
    fn add(&mut self, contenders: &mut [Contender]) {
        let medians = contenders
            .iter_mut()
            .filter_map(|contender| Some((contender.who, contender.median_ns()?)));
        self.all.push(medians.collect());
    }

    /// The logarithms of one's time over another's, for all workloads that both did.
    fn logs(&self, over: &str, under: &str) -> Vec<f64> {
        let log = |all: &[(&str, f64)], wanted: &str| {
            let found = all.iter().find(|(who, _)| *who == wanted);
            found.map(|(_, ns)| ns.ln())
        };
        let pairs = self.all.iter();
        pairs
            .filter_map(|all| Some(log(all, over)? - log(all, under)?))
            .collect()
    }

    fn ratios(&self) -> Vec<BenchLine> {
        let mut lines = Vec::new();
        for (who, rival) in RATIOS {
            let logs = self.logs(rival, who);
            if logs.is_empty() {
                continue;
            }
            let metric = format!("times_as_fast_as_{}", rival.replace('-', "_"));
            let mean = (logs.iter().sum::<f64>() / logs.len() as f64).exp();
            let least = logs.into_iter().fold(f64::INFINITY, f64::min).exp();
            for (case, value) in [("geomean", mean), ("least", least)] {
                lines.push(BenchLine::measured(BENCH, case, who, &metric, value));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::bench::Figure;

    /// Everybody who can be had gives native code's results, for many keys and all buffers.
    #[test]
    fn everybody_agrees_with_native_code() {
        for workload in workload::all() {
            let proved = Proved::new(workload.program).unwrap();
            let mut contenders = contenders(&workload, &proved).unwrap();
            let order: Vec<usize> = (0..contenders.len()).collect();
            let mut random = Random::new(3);
            let mut results = Vec::new();
            for _ in 0..BUFFERS {
                let (buffer, key) = (workload.buffer(&mut random), workload.key(&mut random));
                turn(&mut contenders, &order, &buffer, key, true).unwrap();
                results.push(
                    rivals::native(&workload).run.unwrap()(&buffer, key)
                        .unwrap()
                        .result,
                );
            }
            results.sort_unstable();
            results.dedup();
            assert_eq!(
                results.len(),
                BUFFERS,
                "{}: it depends on the data",
                workload.name
            );
            assert!(
                contenders
                    .iter()
                    .filter(|it| it.times_ns.len() == BUFFERS)
                    .count()
                    >= 6
            );
            assert_eq!(
                proved.accesses().1,
                0,
                "{}: nothing is guarded",
                workload.name
            );
        }
    }

    #[test]
    fn a_wrong_result_is_an_error() {
        let answer = |result| {
            move |_: &[u8], _: u64| {
                let took = Duration::from_nanos(1);
                Ok(Answer { result, took })
            }
        };
        let mut contenders = [
            Contender::new("native", answer(1)),
            Contender::new("jit", answer(2)),
        ];
        let error = turn(&mut contenders, &[1, 0], &[], 0, true).unwrap_err();
        assert_eq!(error, "jit gives 0x2, native code 0x1");
    }

    #[test]
    fn ratios_are_geometric_means_and_minima() {
        let all = vec![
            vec![("native", 8.0), ("jit", 2.0)],
            vec![("native", 1.0), ("jit", 1.0)],
            vec![("native", 1.0)],
        ];
        let medians = Medians { all };
        let metric = "times_as_fast_as_native";
        let line = |case, value| BenchLine::measured("engine", case, "jit", metric, value);
        let found = medians.ratios();
        let rounded = found.iter().map(|line| match &line.figure {
            Figure::Measured { value, .. } => value.round(),
            Figure::Skipped { .. } => 0.0,
        });
        assert_eq!(rounded.collect::<Vec<_>>(), [2.0, 1.0]);
        assert_eq!(
            (found[0].case.as_str(), found[0].who.as_str()),
            ("geomean", "jit")
        );
        assert_eq!(found[1], line("least", 1.0));
    }
}
