//! The loop that keeps a number of operations in flight.
//!
//! Pushdown lookups, remote lookups and the requests that calibrate them are all driven by this one
//! loop, so that what is compared differs in nothing but the requests. An operation is one or more
//! requests in turn on one lane; when it ends, the next one starts there.

use super::world::{Failure, World};
use crate::report::Latencies;

/// Operations between two looks at the watch.
const OPERATIONS_A_LOOK: u64 = 64;

/// What an operation asks of the world next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Bytes of the database.
    Read {
        /// Offset in the object.
        offset: u64,
        /// Bytes.
        length: u32,
    },
    /// The program's answer.
    Call {
        /// Its arguments.
        args: &'a [u8],
    },
    /// Any answer at all.
    Ping,
}

/// Operations of one kind, as many at a time as there are lanes.
pub trait Job {
    /// Starts operation `index` on `lane`.
    fn start(&mut self, lane: usize, index: usize);

    /// What the operation on `lane` needs now; `None` once it has ended.
    fn request(&self, lane: usize) -> Option<Request<'_>>;

    /// Gives the operation on `lane` what it asked for.
    fn done(&mut self, lane: usize, result: Result<&[u8], Failure>, instructions: u64);
}

/// What was measured of a number of operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Operations that ended.
    pub operations: u64,
    /// From the first submission to the last end.
    pub elapsed_ns: u64,
    /// Requests, each of which crosses the network and comes back.
    pub round_trips: u64,
    /// Bytes on the wire, in both directions.
    pub wire_bytes: u64,
    /// What the agent's meter counted.
    pub instructions: u64,
}

impl Sample {
    /// Adds what was measured of further operations.
    pub fn add(&mut self, other: &Sample) {
        self.operations += other.operations;
        self.elapsed_ns += other.elapsed_ns;
        self.round_trips += other.round_trips;
        self.wire_bytes += other.wire_bytes;
        self.instructions += other.instructions;
    }

    /// Operations a second.
    pub fn ops_per_s(&self) -> f64 {
        self.operations as f64 * 1e9 / self.elapsed_ns as f64
    }

    /// Requests for each operation.
    pub fn round_trips_per_op(&self) -> f64 {
        self.per_op(self.round_trips)
    }

    /// Bytes on the wire for each operation.
    pub fn bytes_per_op(&self) -> f64 {
        self.per_op(self.wire_bytes)
    }

    /// Instructions for each operation.
    pub fn instructions_per_op(&self) -> f64 {
        self.per_op(self.instructions)
    }

    fn per_op(&self, sum: u64) -> f64 {
        sum as f64 / self.operations as f64
    }
}

/// The watch said stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Runs `operations` operations of `job` on `lanes` lanes.
///
/// Each one's latency goes to `latencies`. `watch` is told now and then how many have ended;
/// `false` stops at once, with operations still in flight.
pub fn drive<W: World + ?Sized, J: Job>(
    world: &mut W,
    job: &mut J,
    operations: usize,
    lanes: usize,
    latencies: &mut Latencies,
    watch: &mut dyn FnMut(u64) -> bool,
) -> Result<Sample, Stopped> {
    let lanes = lanes.clamp(1, operations.max(1));
    let wire_before = world.wire_counters().bytes();
    let start_ns = world.now_ns();
    let mut pass = Pass {
        operations,
        next: 0,
        in_flight: 0,
        started_ns: vec![0; lanes],
        round_trips: 0,
        ended: 0,
    };
    let mut instructions = 0;
    for lane in 0..lanes {
        pass.feed(world, job, lane, latencies);
    }
    while pass.in_flight > 0 {
        let done = world.next_done();
        let lane = done.lane;
        instructions += done.instructions;
        job.done(lane, done.result, done.instructions);
        if pass.submit(world, job, lane) {
            continue;
        }
        pass.in_flight -= 1;
        pass.ended += 1;
        latencies.record(world.now_ns().saturating_sub(pass.started_ns[lane]));
        if pass.ended.is_multiple_of(OPERATIONS_A_LOOK) && !watch(pass.ended) {
            return Err(Stopped);
        }
        pass.feed(world, job, lane, latencies);
    }
    Ok(Sample {
        operations: pass.ended,
        elapsed_ns: world.now_ns().saturating_sub(start_ns),
        round_trips: pass.round_trips,
        wire_bytes: world.wire_counters().bytes().saturating_sub(wire_before),
        instructions,
    })
}

/// One run of the loop.
struct Pass {
    operations: usize,
    next: usize,
    in_flight: usize,
    started_ns: Vec<u64>,
    round_trips: u64,
    ended: u64,
}

impl Pass {
    /// Starts the next operation on a free lane, if one is left.
    fn feed<W: World + ?Sized, J: Job>(
        &mut self,
        world: &mut W,
        job: &mut J,
        lane: usize,
        latencies: &mut Latencies,
    ) {
        while self.next < self.operations {
            self.started_ns[lane] = world.now_ns();
            job.start(lane, self.next);
            self.next += 1;
            if self.submit(world, job, lane) {
                self.in_flight += 1;
                return;
            }
            // It had nothing to ask.
            latencies.record(0);
            self.ended += 1;
        }
    }

    /// Submits what the operation on `lane` needs; `false` if it has ended.
    fn submit<W: World + ?Sized, J: Job>(&mut self, world: &mut W, job: &J, lane: usize) -> bool {
        match job.request(lane) {
            None => return false,
            Some(Request::Read { offset, length }) => world.submit_read(lane, offset, length),
            Some(Request::Call { args }) => world.submit_call(lane, args),
            Some(Request::Ping) => world.submit_ping(lane),
        }
        self.round_trips += 1;
        true
    }
}
