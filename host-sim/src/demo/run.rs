//! The measurement: both ways and the probes in turn, round after round, then the check.
//!
//! The keys are cut into rounds. In each, every kind of operation has its turn: pushdown, remote,
//! and the probes of [`super::calibration`]. A machine that changes its speed from one tenth of a
//! second to the next then does so to all of them alike; who goes first rotates. A first,
//! uncounted round warms caches and tells how many hops and instructions the probes should have.

use std::fmt;

use super::answers::{Answer, Answers};
use super::calibration::{Calibration, ChaseSample, Samples};
use super::calls::Calls;
use super::check::Reference;
use super::drive::{Job, Sample, Stopped, drive};
use super::jobs::{Probe, Pushdown, Remote};
use super::world::{Failure, Instance, World};
use crate::report::Latencies;
use crate::sqlite::{Database, TableInfo};

/// Rounds by default: at 10 000 keys, 500 lookups each.
pub const ROUNDS: usize = 20;

/// Mismatches kept to be shown.
const EXAMPLES_MAX: usize = 10;

/// Rounds of the short loop from which the cost of one is learned.
const SPIN_ROUNDS_TRIED: u32 = 64;

/// Least instructions of the long loop: enough to stand out from the rest of a call.
const SPIN_INSTRUCTIONS_MIN: f64 = 2_000.0;

/// What to measure.
pub struct Setup<'a, C: ?Sized> {
    /// The file that is on the drive.
    pub database: &'a Database,
    /// The table looked up in.
    pub table: &'a TableInfo,
    /// The keys, in the order in which they are looked up.
    pub keys: &'a [i64],
    /// Lookups in flight.
    pub lanes: usize,
    /// Rounds that the keys are cut into.
    pub rounds: usize,
    /// How the programs want their arguments.
    pub calls: &'a C,
}

/// One of the two ways to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By a program on the DPU.
    Pushdown,
    /// By reads over the network.
    Remote,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Pushdown => "pushdown",
            Way::Remote => "remote reads",
        })
    }
}

/// What was measured of one way.
#[derive(Clone, Debug, Default)]
pub struct WayOutcome {
    /// All its lookups.
    pub sample: Sample,
    /// Their latencies, from the first submission to the last answer.
    pub latencies: Latencies,
    /// Answers that SQLite disagrees with, failures included.
    pub mismatches: u64,
}

/// An answer that SQLite disagrees with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The key.
    pub rowid: i64,
    /// Which way gave it.
    pub way: Way,
    /// What is wrong, in a sentence.
    pub why: String,
}

/// Everything that was measured and checked.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Lookups by pushdown.
    pub pushdown: WayOutcome,
    /// Lookups by remote reads.
    pub remote: WayOutcome,
    /// Keys for which at least one way disagreed with SQLite.
    pub mismatches: u64,
    /// The first mismatches.
    pub examples: Vec<Example>,
    /// Levels of the table's B-tree.
    pub depth: u32,
    /// The parts of a lookup.
    pub calibration: Calibration,
}

impl Outcome {
    /// Lookups a second by pushdown over those by remote reads.
    pub fn ratio(&self) -> f64 {
        self.pushdown.sample.ops_per_s() / self.remote.sample.ops_per_s()
    }
}

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The watch said stop.
    #[error("stopped")]
    Stopped,
    /// There is nothing to look up.
    #[error("there are no keys to look up")]
    NoKeys,
    /// A probe failed.
    #[error("calling {program}: {failure}")]
    Probe {
        /// The program.
        program: &'static str,
        /// Why.
        failure: Failure,
    },
    /// The measured parts give no expectation.
    #[error("the probes gave nothing to calculate with: the clock did not move")]
    Calibration,
    /// SQLite could not answer.
    #[error("SQLite says: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl From<Stopped> for RunError {
    fn from(_: Stopped) -> RunError {
        RunError::Stopped
    }
}

/// Looks all keys up both ways, checks every answer, measures the parts.
///
/// `watch` is told how many lookups of how many are done (both ways count); `false` stops.
pub fn run<W: World + ?Sized, C: Calls + ?Sized>(
    world: &mut W,
    setup: &Setup<'_, C>,
    watch: &mut dyn FnMut(u64, u64) -> bool,
) -> Result<Outcome, RunError> {
    if setup.keys.is_empty() {
        return Err(RunError::NoKeys);
    }
    let round_keys = setup
        .keys
        .len()
        .div_ceil(setup.rounds.clamp(1, setup.keys.len()));
    let lanes = setup.lanes.clamp(1, round_keys);
    let reference = Reference::new(setup.database, setup.table)?;
    let total = 2 * setup.keys.len() as u64;
    let mut run = Run {
        world,
        setup,
        lanes,
        reference,
        watch,
        done: None,
        total,
        answers: [Answers::default(), Answers::default()],
        turn: 0,
    };
    let mut probes = run.warm_up(&setup.keys[..round_keys])?;
    let mut tally = Tally::default();
    for (round, keys) in setup.keys.chunks(round_keys).enumerate() {
        run.round(round, keys, &mut tally, &mut probes)?;
    }
    let samples = Samples {
        lanes,
        reads_per_lookup: tally.remote.sample.round_trips_per_op(),
        lookup: tally.pushdown.sample,
        chase: probes.chase.to_vec(),
        spin: probes.spin.iter().map(|spin| spin.sample).collect(),
    };
    Ok(Outcome {
        calibration: Calibration::of(&samples).ok_or(RunError::Calibration)?,
        pushdown: tally.pushdown,
        remote: tally.remote,
        mismatches: tally.mismatches,
        examples: tally.examples,
        depth: tally.depth,
    })
}

/// What the rounds add up to.
#[derive(Default)]
struct Tally {
    pushdown: WayOutcome,
    remote: WayOutcome,
    mismatches: u64,
    examples: Vec<Example>,
    depth: u32,
}

/// The probes, and what was measured of each.
struct Probes {
    chase: [ChaseSample; 3],
    spin: [SpinSample; 2],
}

/// Calls of `spin` with so many rounds.
struct SpinSample {
    rounds: u32,
    sample: Sample,
}

/// A run under way.
struct Run<'r, W: ?Sized, C: ?Sized> {
    world: &'r mut W,
    setup: &'r Setup<'r, C>,
    lanes: usize,
    reference: Reference<'r>,
    watch: &'r mut dyn FnMut(u64, u64) -> bool,
    /// Lookups done; `None` as long as they do not count.
    done: Option<u64>,
    total: u64,
    /// Pushdown's and remote's of the current round.
    answers: [Answers; 2],
    /// Chases so far: each starts at another cell.
    turn: u64,
}

impl<W: World + ?Sized, C: Calls + ?Sized> Run<'_, W, C> {
    /// An uncounted round of everything, from which the probes are sized.
    fn warm_up(&mut self, keys: &[i64]) -> Result<Probes, RunError> {
        let mut ignored = Latencies::new();
        let lookup = self.pushdown(keys, &mut ignored)?;
        let (remote, _) = self.remote(keys, &mut ignored)?;
        self.done = Some(0);
        let operations = keys.len();
        let start = self.spin(0, operations)?.instructions_per_op();
        let tried = self
            .spin(SPIN_ROUNDS_TRIED, operations)?
            .instructions_per_op();
        let per_round = ((tried - start) / f64::from(SPIN_ROUNDS_TRIED)).max(1.0);
        let wanted = lookup.instructions_per_op().max(SPIN_INSTRUCTIONS_MIN);
        let reads = (remote.round_trips_per_op().round() as u32).max(1);
        self.chase(2 * reads, operations)?;
        let chase = |hops| ChaseSample {
            hops,
            sample: Sample::default(),
        };
        let spin = |rounds| SpinSample {
            rounds,
            sample: Sample::default(),
        };
        Ok(Probes {
            chase: [chase(0), chase(reads), chase(2 * reads)],
            spin: [spin(0), spin((wanted / per_round).ceil() as u32)],
        })
    }

    /// One round: everything in turn, then the check.
    fn round(
        &mut self,
        round: usize,
        keys: &[i64],
        tally: &mut Tally,
        probes: &mut Probes,
    ) -> Result<(), RunError> {
        const TURNS: usize = 7;
        for turn in 0..TURNS {
            match (turn + round) % TURNS {
                0 => {
                    let way = &mut tally.pushdown;
                    way.sample.add(&self.pushdown(keys, &mut way.latencies)?);
                }
                1 => {
                    let way = &mut tally.remote;
                    let (sample, depth) = self.remote(keys, &mut way.latencies)?;
                    way.sample.add(&sample);
                    tally.depth = tally.depth.max(depth);
                }
                probe @ 2..5 => {
                    let chase = &mut probes.chase[probe - 2];
                    chase.sample.add(&self.chase(chase.hops, keys.len())?);
                }
                probe => {
                    let spin = &mut probes.spin[probe - 5];
                    spin.sample.add(&self.spin(spin.rounds, keys.len())?);
                }
            }
        }
        self.check(keys, tally)
    }

    fn pushdown(&mut self, keys: &[i64], latencies: &mut Latencies) -> Result<Sample, RunError> {
        let mut answers = std::mem::take(&mut self.answers[0]);
        let mut job = Pushdown::new(self.setup.calls, keys, self.lanes, &mut answers);
        let sample = self.lookups(&mut job, keys.len(), latencies);
        self.answers[0] = answers;
        sample
    }

    /// The sample, and the most levels that a lookup went down.
    fn remote(
        &mut self,
        keys: &[i64],
        latencies: &mut Latencies,
    ) -> Result<(Sample, u32), RunError> {
        let mut answers = std::mem::take(&mut self.answers[1]);
        let mut job = Remote::new(&self.setup.table.table, keys, self.lanes, &mut answers);
        let sample = self.lookups(&mut job, keys.len(), latencies);
        let levels = job.levels;
        self.answers[1] = answers;
        Ok((sample?, levels))
    }

    fn lookups<J: Job>(
        &mut self,
        job: &mut J,
        count: usize,
        latencies: &mut Latencies,
    ) -> Result<Sample, RunError> {
        let (done, total) = (self.done, self.total);
        let watch = &mut self.watch;
        let mut tell = |ended: u64| watch(done.map_or(0, |done| done + ended), total);
        let sample = drive(self.world, job, count, self.lanes, latencies, &mut tell)?;
        self.done = done.map(|done| done + count as u64);
        Ok(sample)
    }

    fn chase(&mut self, hops: u32, operations: usize) -> Result<Sample, RunError> {
        let (calls, first) = (self.setup.calls, self.turn);
        self.turn += operations as u64;
        self.probe("chase", Instance::Chase, operations, |index, args| {
            calls.chase(hops, first + index as u64, args);
        })
    }

    fn spin(&mut self, rounds: u32, operations: usize) -> Result<Sample, RunError> {
        let calls = self.setup.calls;
        self.probe("spin", Instance::Spin, operations, |_, args| {
            calls.spin(rounds, args)
        })
    }

    fn probe(
        &mut self,
        program: &'static str,
        instance: Instance,
        operations: usize,
        fill: impl Fn(usize, &mut Vec<u8>),
    ) -> Result<Sample, RunError> {
        let mut job = Probe::new(instance, self.lanes, fill);
        let mut ignored = Latencies::new();
        let (done, total) = (self.done.unwrap_or(0), self.total);
        let watch = &mut self.watch;
        let mut tell = |_: u64| watch(done, total);
        let sample = drive(
            self.world,
            &mut job,
            operations,
            self.lanes,
            &mut ignored,
            &mut tell,
        )?;
        match job.failure {
            None => Ok(sample),
            Some(failure) => Err(RunError::Probe { program, failure }),
        }
    }

    /// Compares both ways' answers with SQLite's.
    fn check(&mut self, keys: &[i64], tally: &mut Tally) -> Result<(), RunError> {
        for (index, &rowid) in keys.iter().enumerate() {
            let mut wrong = false;
            for (way, answers) in [Way::Pushdown, Way::Remote].into_iter().zip(&self.answers) {
                let Some(why) = disagreement(&mut self.reference, rowid, answers.get(index))?
                else {
                    continue;
                };
                wrong = true;
                match way {
                    Way::Pushdown => tally.pushdown.mismatches += 1,
                    Way::Remote => tally.remote.mismatches += 1,
                }
                if tally.examples.len() < EXAMPLES_MAX {
                    tally.examples.push(Example { rowid, way, why });
                }
            }
            tally.mismatches += u64::from(wrong);
        }
        Ok(())
    }
}

/// What SQLite has against an answer.
fn disagreement(
    reference: &mut Reference<'_>,
    rowid: i64,
    answer: Answer<'_>,
) -> rusqlite::Result<Option<String>> {
    let record = match answer {
        Answer::Failed(why) => return Ok(Some(why.to_string())),
        Answer::Missing => None,
        Answer::Record(record) => Some(record),
    };
    Ok(reference
        .check(rowid, record)?
        .err()
        .map(|mismatch| mismatch.to_string()))
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
