//! Contestants that take turns within one run, round after round.
//!
//! The machine's speed may change from one second to the next, so nobody is measured in one go: each
//! figure is the median of its rounds, and all share what happens to the machine.

use std::io::Write;
use std::time::Duration;

use super::BenchError;
use crate::cli::{BenchOutput, Exit};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::report::{BenchLine, BenchReport};

/// Rounds of everything.
const ROUNDS: u32 = 5;

/// What one turn gave: figures by their metrics.
pub(super) type Figures = Vec<(&'static str, f64)>;

/// A turn of so much time.
pub(super) type Run = Box<dyn FnMut(Duration) -> Result<Figures, String>>;

/// One thing that is measured again and again.
pub(super) struct Contestant {
    case: String,
    who: String,
    /// Or why it does not take part.
    run: Result<Run, String>,
    rounds: Vec<Figures>,
}

impl Contestant {
    /// `who` in `case`, who runs or is skipped for a reason.
    pub(super) fn new(case: &str, who: &str, run: Result<Run, String>) -> Contestant {
        Contestant {
            case: case.to_string(),
            who: who.to_string(),
            run,
            rounds: Vec::new(),
        }
    }

    /// A line for each metric, the median of all rounds.
    fn lines(&self, bench: &str) -> Vec<BenchLine> {
        if let Err(why) = &self.run {
            return vec![BenchLine::skipped(bench, &self.case, &self.who, why)];
        }
        let metrics = self.rounds.first().into_iter().flatten();
        let line = |(index, (metric, _)): (usize, &(&'static str, f64))| {
            let all = self.rounds.iter().filter_map(|round| round.get(index));
            let value = median(all.map(|(_, value)| *value).collect());
            BenchLine::measured(bench, &self.case, &self.who, metric, value)
        };
        metrics.enumerate().map(line).collect()
    }
}

/// The median, the upper one of two; NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Has the contestants take turns, `time` each over all rounds, and prints what came of it.
///
/// # Errors
///
/// [`BenchError`], where one of them fails or nothing can be printed.
pub(super) fn race(
    bench: &str,
    mut contestants: Vec<Contestant>,
    time: Duration,
    output: &BenchOutput,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, BenchError> {
    let count = contestants.len() as u64;
    let mut progress = Progress::new(output.json);
    progress.start("racing", u64::from(ROUNDS) * count);
    for round in 0..ROUNDS {
        for (at, contestant) in contestants.iter_mut().enumerate() {
            if interrupt.requested() {
                return Ok(Exit::Interrupted);
            }
            if let Ok(run) = &mut contestant.run {
                let figures = run(time / ROUNDS).map_err(BenchError::World)?;
                contestant.rounds.push(figures);
            }
            progress.at(u64::from(round) * count + at as u64 + 1);
        }
    }
    progress.finish();
    let mut report = BenchReport::new(out, output.json);
    for line in contestants.iter().flat_map(|it| it.lines(bench)) {
        report.add(line)?;
    }
    report.finish()?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::BenchOutput;

    #[test]
    fn everybody_has_a_turn_in_each_round_and_the_median_counts() {
        let mut round = 0.0;
        let run: Run = Box::new(move |time| {
            round += 1.0;
            assert_eq!(time, Duration::from_millis(2));
            Ok(vec![("ops_per_s", round), ("doorbells_per_op", -round)])
        });
        let contestants = vec![
            Contestant::new("one", "us", Ok(run)),
            Contestant::new("one", "them", Err("not installed".to_string())),
        ];
        let output = BenchOutput {
            json: true,
            case: String::new(),
        };
        let mut out = Vec::new();
        let time = Duration::from_millis(10);
        race("b", contestants, time, &output, &Interrupt::new(), &mut out).expect("it runs");
        let text = String::from_utf8(out).expect("it is text");
        assert_eq!(
            text,
            "{\"bench\":\"b\",\"case\":\"one\",\"who\":\"us\",\"metric\":\"ops_per_s\",\"value\":3.0}\n\
             {\"bench\":\"b\",\"case\":\"one\",\"who\":\"us\",\"metric\":\"doorbells_per_op\",\"value\":-3.0}\n\
             {\"bench\":\"b\",\"case\":\"one\",\"who\":\"them\",\"skipped\":\"not installed\"}\n"
        );
    }
}
