//! A world with a virtual clock, for testing the arithmetic of what runs over worlds.
//!
//! It answers reads from a real SQLite file and lookups by walking it, so that the answers are
//! real; its network, drive and program are durations. It says nothing about the agent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::world::{Done, Failure, WireCounters, World};
use crate::sqlite::{Step, Table, Walk};

/// Bytes of a packet besides what it carries.
pub(super) const HEADERS: u64 = 72;

pub(super) struct Virtual {
    file: Vec<u8>,
    table: Table,
    now_ns: u64,
    round_trip_ns: u64,
    read_ns: u64,
    execute_ns: u64,
    wire: WireCounters,
    /// (when, order of submission, lane)
    ends: BinaryHeap<Reverse<(u64, u64, usize)>>,
    results: Vec<(Result<Vec<u8>, Failure>, u64)>,
    submitted: u64,
    /// Every so many lookups the answer has a changed byte; 0 never.
    pub(super) lie_every: u64,
    /// Every so many reads fail; 0 never.
    pub(super) fail_every: u64,
}

impl Virtual {
    /// 100 µs a round trip, 10 µs a read, 2.5 µs in the program.
    pub(super) fn new(file: Vec<u8>, table: Table) -> Virtual {
        Virtual {
            file,
            table,
            now_ns: 0,
            round_trip_ns: 100_000,
            read_ns: 10_000,
            execute_ns: 2_500,
            wire: WireCounters::default(),
            ends: BinaryHeap::new(),
            results: Vec::new(),
            submitted: 0,
            lie_every: 0,
            fail_every: 0,
        }
    }

    fn end(&mut self, lane: usize, after_ns: u64, result: Result<Vec<u8>, Failure>, cost: u64) {
        self.submitted += 1;
        self.ends
            .push(Reverse((self.now_ns + after_ns, self.submitted, lane)));
        if self.results.len() <= lane {
            self.results.resize(lane + 1, (Ok(Vec::new()), 0));
        }
        self.wire.bytes_to_client += HEADERS + result.as_ref().map_or(0, |r| r.len() as u64);
        self.results[lane] = (result, cost);
    }

    fn lookup(&self, args: &[u8]) -> (u64, Result<Vec<u8>, Failure>) {
        let rowid = i64::from_le_bytes(args[..8].try_into().unwrap());
        let mut walk = Walk::start(rowid, &self.table);
        let mut reads = 0;
        while let Step::Read { offset, length } = walk.next() {
            walk.supply(&self.file[offset as usize..][..length as usize]);
            reads += 1;
        }
        match walk.next() {
            Step::Found => (reads, Ok(walk.record().to_vec())),
            _ => (reads, Err(Failure::Errno(-2))),
        }
    }
}

impl World for Virtual {
    fn now_ns(&self) -> u64 {
        self.now_ns
    }

    fn submit_read(&mut self, lane: usize, offset: u64, length: u32) {
        self.wire.bytes_to_agent += HEADERS;
        let fails = self.fail_every > 0 && self.submitted.is_multiple_of(self.fail_every);
        let bytes = self.file[offset as usize..][..length as usize].to_vec();
        let lost = Failure::Refused("the connection was lost".into());
        let result = if fails { Err(lost) } else { Ok(bytes) };
        self.end(lane, self.round_trip_ns + self.read_ns, result, 0);
    }

    fn submit_call(&mut self, lane: usize, args: &[u8]) {
        self.wire.bytes_to_agent += HEADERS + args.len() as u64;
        let (reads, mut result) = self.lookup(args);
        let lies = self.lie_every > 0 && self.submitted.is_multiple_of(self.lie_every);
        if let (true, Ok(record)) = (lies, &mut result) {
            *record.last_mut().unwrap() ^= 1;
        }
        let time = self.round_trip_ns + reads * self.read_ns + self.execute_ns;
        self.end(lane, time, result, 500);
    }

    fn submit_ping(&mut self, lane: usize) {
        self.wire.bytes_to_agent += HEADERS;
        self.end(lane, self.round_trip_ns, Ok(Vec::new()), 0);
    }

    fn execute_ns(&mut self, _args: &[u8]) -> Result<u64, Failure> {
        Ok(self.execute_ns)
    }

    fn reads_ns(&mut self, reads: &[(u64, u32)], in_flight: usize) -> Result<u64, Failure> {
        Ok(reads.len() as u64 * self.read_ns / in_flight as u64)
    }

    fn next_done(&mut self) -> Done<'_> {
        let Reverse((at, _, lane)) = self.ends.pop().expect("an operation is in flight");
        self.now_ns = self.now_ns.max(at);
        let (result, instructions) = &self.results[lane];
        let result = match result {
            Ok(bytes) => Ok(&bytes[..]),
            Err(failure) => Err(failure.clone()),
        };
        Done {
            lane,
            result,
            instructions: *instructions,
        }
    }

    fn wire_counters(&self) -> WireCounters {
        self.wire
    }
}
