//! The measurement: both ways and the parts in turn, round after round, then the check.
//!
//! The keys are cut into rounds. In each, every kind of operation has its turn: pushdown, remote,
//! and the parts of [`super::calibration`]. A machine that changes its speed from one tenth of a
//! second to the next then does so to all of them alike; who goes first rotates. A first,
//! uncounted round warms caches.

use std::fmt;

use super::answers::{Answer, Answers};
use super::calibration::{Calibration, PlaceSamples, Rounds, Samples};
use super::calls;
use super::check::Reference;
use super::drive::{Job, Sample, Stopped, drive};
use super::jobs::{Ping, Pushdown, Remote};
use super::world::{Failure, World};
use crate::report::Latencies;
use crate::sqlite::{Database, Table, TableInfo};

/// Rounds by default: at 10 000 keys, 500 lookups each.
pub const ROUNDS: usize = 20;

/// Mismatches kept to be shown.
const EXAMPLES_MAX: usize = 10;

/// What to measure.
pub struct Setup<'a> {
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
    /// The agent did not answer the smallest request.
    #[error("measuring the round trip: {0}")]
    Ping(Failure),
    /// The drive could not be read by itself.
    #[error("reading the drive outside the agent: {0}")]
    Reads(Failure),
    /// The program could not be run by itself.
    #[error("running the program outside the agent: {0}")]
    Execute(Failure),
    /// The measured parts give no expectation.
    #[error("the parts gave nothing to calculate with: the clock did not move")]
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

/// Looks all keys up both ways in `world`, checks every answer, measures the parts.
///
/// `watch` is told how many lookups of how many are done (both ways count); `false` stops.
pub fn run<W: World>(
    worlds: Worlds<'_, W>,
    setup: &Setup<'_>,
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
    let mut run = Run {
        worlds,
        table: &setup.table.table,
        lanes,
        reference: Reference::new(setup.database, setup.table)?,
        watch,
        done: None,
        total: 2 * setup.keys.len() as u64,
        answers: Default::default(),
    };
    run.round(0, &setup.keys[..round_keys], &mut Tally::default())?;
    run.done = Some(0);
    let mut tally = Tally::default();
    for (round, keys) in setup.keys.chunks(round_keys).enumerate() {
        run.round(round, keys, &mut tally)?;
        run.check(keys, &mut tally)?;
    }
    Ok(Outcome {
        calibration: Calibration::of(lanes, &tally.remote.sample, &tally.samples)
            .ok_or(RunError::Calibration)?,
        pushdown: tally.pushdown,
        remote: tally.remote,
        mismatches: tally.mismatches,
        examples: tally.examples,
        depth: tally.depth,
    })
}

/// The worlds of a measurement.
pub struct Worlds<'w, W> {
    /// The one that was asked for.
    pub wanted: &'w mut W,
    /// One like it without added delays.
    pub quiet: &'w mut W,
    /// One like that, whose agent runs programs in the interpreter that checks every access.
    pub checked: &'w mut W,
}

/// What the rounds add up to.
#[derive(Default)]
struct Tally {
    pushdown: WayOutcome,
    remote: WayOutcome,
    samples: Samples,
    mismatches: u64,
    examples: Vec<Example>,
    depth: u32,
}

/// How operations are run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the world, as many at a time as there are lanes.
    Busy,
    /// In the world, one at a time.
    Alone,
    /// In the world without delays, as many at a time as there are lanes.
    Quiet,
    /// The same in the one with the checked interpreter.
    Checked,
}

impl<W> Worlds<'_, W> {
    /// The world of a place and how many operations are in flight there, of so many lanes.
    fn at(&mut self, place: Place, lanes: usize) -> (&mut W, usize) {
        match place {
            Place::Busy => (self.wanted, lanes),
            Place::Alone => (self.wanted, 1),
            Place::Quiet => (self.quiet, lanes),
            Place::Checked => (self.checked, lanes),
        }
    }
}

/// A run under way.
struct Run<'r, W> {
    worlds: Worlds<'r, W>,
    table: &'r Table,
    lanes: usize,
    reference: Reference<'r>,
    watch: &'r mut dyn FnMut(u64, u64) -> bool,
    /// Lookups done; `None` as long as they do not count.
    done: Option<u64>,
    total: u64,
    /// Pushdown's and remote's of the current round, and those that nobody looks at.
    answers: [Answers; 3],
}

impl<W: World> Run<'_, W> {
    /// One round: everything in turn. What is run alone takes its time, so a tenth must do.
    fn round(&mut self, round: usize, keys: &[i64], tally: &mut Tally) -> Result<(), RunError> {
        const TURNS: usize = 10;
        let few = &keys[..keys.len().div_ceil(10)];
        let Tally {
            pushdown,
            remote,
            samples,
            depth,
            ..
        } = tally;
        for turn in 0..TURNS {
            match (turn + round) % TURNS {
                0 => {
                    let latencies = &mut pushdown.latencies;
                    let sample = self.pushdown(Place::Busy, 0, keys, latencies)?;
                    pushdown.sample.add(&sample);
                    self.count(keys);
                }
                1 => {
                    let latencies = &mut remote.latencies;
                    let (sample, levels) = self.remote(Place::Busy, 1, keys, latencies, None)?;
                    remote.sample.add(&sample);
                    *depth = levels.max(*depth);
                    self.count(keys);
                }
                2 => self.remote_parts(Place::Quiet, keys, &mut samples.busy)?,
                3 => self.remote_parts(Place::Alone, few, &mut samples.alone)?,
                4 => self.ping(Place::Quiet, keys, &mut samples.busy.ping)?,
                5 => self.ping(Place::Alone, few, &mut samples.alone.ping)?,
                6 => self.execute(Place::Quiet, few, &mut samples.engine.execute)?,
                7 => self.execute(Place::Checked, few, &mut samples.checked.execute)?,
                8 => self.pushdown_cost(Place::Quiet, keys, &mut samples.engine.pushdown)?,
                _ => self.pushdown_cost(Place::Checked, keys, &mut samples.checked.pushdown)?,
            }
        }
        Ok(())
    }

    fn count(&mut self, keys: &[i64]) {
        self.done = self.done.map(|done| done + keys.len() as u64);
    }

    /// Lookups whose answers go to that slot.
    fn pushdown(
        &mut self,
        place: Place,
        slot: usize,
        keys: &[i64],
        latencies: &mut Latencies,
    ) -> Result<Sample, RunError> {
        let mut answers = std::mem::take(&mut self.answers[slot]);
        let mut job = Pushdown::new(self.table, keys, self.lanes, &mut answers);
        let sample = self.drive(place, &mut job, keys.len(), latencies);
        self.answers[slot] = answers;
        sample
    }

    /// What lookups that nobody looks at take of the processor: without delays there is nothing
    /// else to wait for.
    fn pushdown_cost(
        &mut self,
        place: Place,
        keys: &[i64],
        rounds: &mut Rounds,
    ) -> Result<(), RunError> {
        let sample = self.pushdown(place, 2, keys, &mut Latencies::new())?;
        rounds.add(sample.elapsed_ns, sample.operations);
        Ok(())
    }

    /// Lookups whose answers go to that slot: the sample, and the most levels that one went down.
    /// What they read is added to `reads`, where that is wanted.
    fn remote(
        &mut self,
        place: Place,
        slot: usize,
        keys: &[i64],
        latencies: &mut Latencies,
        reads: Option<&mut Vec<(u64, u32)>>,
    ) -> Result<(Sample, u32), RunError> {
        let mut answers = std::mem::take(&mut self.answers[slot]);
        let mut job = Remote::new(self.table, keys, self.lanes, &mut answers, reads);
        let sample = self.drive(place, &mut job, keys.len(), latencies);
        let levels = job.levels;
        self.answers[slot] = answers;
        Ok((sample?, levels))
    }

    /// Lookups that nobody looks at, and what they read once more without an agent.
    fn remote_parts(
        &mut self,
        place: Place,
        keys: &[i64],
        samples: &mut PlaceSamples,
    ) -> Result<(), RunError> {
        let mut reads = Vec::new();
        let (sample, _) = self.remote(place, 2, keys, &mut Latencies::new(), Some(&mut reads))?;
        let PlaceSamples {
            remote_read, read, ..
        } = samples;
        remote_read.add(sample.elapsed_ns, sample.round_trips);
        let (world, lanes) = self.place(place);
        let elapsed_ns = world.reads_ns(&reads, lanes).map_err(RunError::Reads)?;
        read.add(elapsed_ns, reads.len() as u64);
        Ok(())
    }

    /// As many of the smallest requests as there are keys.
    fn ping(&mut self, place: Place, keys: &[i64], rounds: &mut Rounds) -> Result<(), RunError> {
        let mut job = Ping::new(self.lanes);
        let sample = self.drive(place, &mut job, keys.len(), &mut Latencies::new())?;
        if let Some(failure) = job.failure {
            return Err(RunError::Ping(failure));
        }
        rounds.add(sample.elapsed_ns, sample.operations);
        Ok(())
    }

    /// The program by itself. Rows that are not there are answers too.
    fn execute(&mut self, place: Place, keys: &[i64], rounds: &mut Rounds) -> Result<(), RunError> {
        let table = self.table;
        let (world, _) = self.place(place);
        let mut elapsed_ns = 0;
        let mut args = Vec::new();
        for &rowid in keys {
            calls::lookup(table, rowid, &mut args);
            elapsed_ns += world.execute_ns(&args).map_err(RunError::Execute)?;
        }
        rounds.add(elapsed_ns, keys.len() as u64);
        Ok(())
    }

    /// The world and how many operations are in flight there.
    fn place(&mut self, place: Place) -> (&mut W, usize) {
        self.worlds.at(place, self.lanes)
    }

    fn drive<J: Job>(
        &mut self,
        place: Place,
        job: &mut J,
        count: usize,
        latencies: &mut Latencies,
    ) -> Result<Sample, RunError> {
        let counts = place == Place::Busy;
        let (done, total, watch) = (self.done, self.total, &mut self.watch);
        let mut tell = |ended: u64| {
            let ended = if counts { ended } else { 0 };
            watch(done.map_or(0, |done| done + ended), total)
        };
        let (world, lanes) = self.worlds.at(place, self.lanes);
        Ok(drive(world, job, count, lanes, latencies, &mut tell)?)
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
