//! The loop and its arithmetic over a world with a virtual clock.
//!
//! The world answers reads from a real SQLite file and lookups by walking it, so that the answers
//! are real; its network, drive and program are durations. It says nothing about the agent.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rusqlite::Connection;

use super::*;
use crate::demo::calls::ShippedCalls;
use crate::demo::plan::plan;
use crate::demo::world::{Done, WireCounters};
use crate::demo::{chain, drive};
use crate::sqlite::{Step, Table, Walk};

/// Bytes of a packet besides what it carries.
const HEADERS: u64 = 72;

struct Virtual {
    file: Vec<u8>,
    chain: Vec<u8>,
    table: Table,
    now_ns: u64,
    round_trip_ns: u64,
    read_ns: u64,
    instruction_ns: u64,
    wire: WireCounters,
    /// (when, order of submission, lane)
    ends: BinaryHeap<Reverse<(u64, u64, usize)>>,
    results: Vec<(Result<Vec<u8>, Failure>, u64)>,
    submitted: u64,
    /// Every so many lookups the answer has a changed byte; 0 never.
    lie_every: u64,
    /// Every so many reads fail; 0 never.
    fail_every: u64,
}

impl Virtual {
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

    fn submit_call(&mut self, lane: usize, instance: Instance, args: &[u8]) {
        self.wire.bytes_to_agent += HEADERS + args.len() as u64;
        let word = |at: usize| u32::from_le_bytes(args[at..at + 4].try_into().unwrap());
        // Each program: 10 instructions to start, 20 for a read, and what it does besides.
        let (reads, work, mut result) = match instance {
            Instance::Lookup => {
                let (reads, result) = self.lookup(args);
                (reads, 500, result)
            }
            Instance::Chase => {
                let mut offset = u64::from(word(0)) as usize;
                for _ in 0..word(8) {
                    let cell = self.chain[offset..offset + 8].try_into().unwrap();
                    offset = u64::from_le_bytes(cell) as usize;
                }
                (u64::from(word(8)), 0, Ok(vec![0; 16]))
            }
            Instance::Spin => (0, u64::from(word(0)) * 3, Ok(Vec::new())),
        };
        if self.lie_every > 0 && self.submitted.is_multiple_of(self.lie_every) {
            if let (Instance::Lookup, Ok(record)) = (instance, &mut result) {
                *record.last_mut().unwrap() ^= 1;
            }
        }
        let time = self.round_trip_ns + reads * self.read_ns + work * self.instruction_ns;
        self.end(lane, time, result, 10 + 20 * reads + work);
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

/// A table of 3000 rows with even rowids, three levels deep at 512-byte pages.
struct Fixture {
    _folder: tempfile::TempDir,
    database: Database,
    table: TableInfo,
    file: Vec<u8>,
}

impl Fixture {
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA page_size = 512; CREATE TABLE t (id INTEGER PRIMARY KEY, a TEXT); \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
                 INSERT INTO t SELECT i * 2, 'row ' || i FROM n;",
            )
            .unwrap();
        drop(connection);
        let database = Database::open(&path).unwrap();
        let table = database.table(None).unwrap();
        let file = std::fs::read(&path).unwrap();
        Fixture {
            _folder: folder,
            database,
            table,
            file,
        }
    }

    fn world(&self) -> Virtual {
        let mut cells = Vec::new();
        chain::write(&mut cells, 64, 512, 1).unwrap();
        Virtual {
            file: self.file.clone(),
            chain: cells,
            table: self.table.table,
            now_ns: 0,
            round_trip_ns: 100_000,
            read_ns: 10_000,
            instruction_ns: 5,
            wire: WireCounters::default(),
            ends: BinaryHeap::new(),
            results: Vec::new(),
            submitted: 0,
            lie_every: 0,
            fail_every: 0,
        }
    }

    fn run(&self, world: &mut Virtual, lanes: usize) -> Result<Outcome, RunError> {
        self.run_watched(world, lanes, &mut |_, _| true)
    }

    fn run_watched(
        &self,
        world: &mut Virtual,
        lanes: usize,
        watch: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<Outcome, RunError> {
        let keys = plan(&self.database, &self.table, 1000, 10, 1).unwrap().keys;
        let calls = ShippedCalls {
            table: self.table.table,
            cell_bytes: 512,
            cells: 64,
        };
        let setup = Setup {
            database: &self.database,
            table: &self.table,
            keys: &keys,
            lanes,
            rounds: 5,
            calls: &calls,
        };
        run(world, &setup, watch)
    }
}

#[test]
fn figures_are_those_of_the_world() {
    let fixture = Fixture::new();
    for lanes in [1, 8, 40] {
        let mut world = fixture.world();
        let outcome = fixture.run(&mut world, lanes).unwrap();
        let depth = outcome.depth;
        assert!(depth >= 3, "{depth} levels");
        let reads = f64::from(depth);
        assert_eq!((outcome.mismatches, outcome.examples.len()), (0, 0));
        let (pushdown, remote) = (&outcome.pushdown, &outcome.remote);
        assert_eq!(pushdown.sample.round_trips_per_op(), 1.0);
        assert_eq!(remote.sample.round_trips_per_op(), reads);
        assert_eq!(
            remote.sample.bytes_per_op(),
            reads * (2 * HEADERS + 512) as f64
        );
        let lookup_us = 100.0 + 10.0 * reads + 2.5;
        let near = |got: f64, wanted: f64| (got - wanted).abs() <= wanted / 500.0;
        assert!(
            near(pushdown.latencies.p50_us(), lookup_us),
            "{}",
            pushdown.latencies.p50_us()
        );
        assert!(near(remote.latencies.p99_us(), 110.0 * reads));
        // 200 lookups a round divide evenly among the lanes: no lane is ever idle.
        assert!(near(
            pushdown.sample.ops_per_s(),
            lanes as f64 * 1e6 / lookup_us
        ));
        let calibration = &outcome.calibration;
        assert!(
            near(calibration.round_trip_ns, 100_000.0),
            "{calibration:?}"
        );
        assert!(near(calibration.read_ns, 10_000.0), "{calibration:?}");
        assert!(near(calibration.execute_ns, 2_500.0), "{calibration:?}");
        assert!(
            near(outcome.ratio(), calibration.expected_ratio()),
            "{calibration:?}"
        );
        assert!(near(outcome.ratio(), 110.0 * reads / lookup_us));
    }
}

#[test]
fn changed_answers_are_mismatches() {
    let fixture = Fixture::new();
    let mut world = fixture.world();
    world.lie_every = 7;
    let outcome = fixture.run(&mut world, 8).unwrap();
    assert!(
        outcome.pushdown.mismatches > 50,
        "{}",
        outcome.pushdown.mismatches
    );
    assert_eq!(outcome.remote.mismatches, 0);
    assert_eq!(outcome.mismatches, outcome.pushdown.mismatches);
    assert_eq!(outcome.examples.len(), EXAMPLES_MAX);
    assert!(
        outcome.examples[0].why.starts_with("column a is"),
        "{:?}",
        outcome.examples[0]
    );
}

#[test]
fn failed_reads_are_mismatches() {
    let fixture = Fixture::new();
    let mut world = fixture.world();
    world.fail_every = 50;
    let outcome = fixture.run(&mut world, 8).unwrap();
    assert!(
        outcome.remote.mismatches > 10,
        "{}",
        outcome.remote.mismatches
    );
    assert_eq!(outcome.pushdown.mismatches, 0);
    assert_eq!(outcome.examples[0].why, "the connection was lost");
}

#[test]
fn progress_is_told_and_can_stop() {
    let fixture = Fixture::new();
    let mut told = Vec::new();
    let mut watch = |done: u64, total: u64| {
        told.push(done);
        assert_eq!(total, 2000);
        true
    };
    fixture
        .run_watched(&mut fixture.world(), 8, &mut watch)
        .unwrap();
    assert!(told.iter().all(|&done| done <= 2000));
    assert!(told.iter().any(|&done| done > 1800));
    let stopped = fixture.run_watched(&mut fixture.world(), 8, &mut |_, _| false);
    assert!(matches!(stopped, Err(RunError::Stopped)));
}

#[test]
fn no_keys_no_outcome() {
    let fixture = Fixture::new();
    let calls = ShippedCalls {
        table: fixture.table.table,
        cell_bytes: 512,
        cells: 64,
    };
    let setup = Setup {
        database: &fixture.database,
        table: &fixture.table,
        keys: &[],
        lanes: 1,
        rounds: 1,
        calls: &calls,
    };
    let refused = run(&mut fixture.world(), &setup, &mut |_, _| true);
    assert!(matches!(refused, Err(RunError::NoKeys)));
}

/// Operations that have nothing to ask end without a round trip.
#[test]
fn an_empty_operation_ends_at_once() {
    struct Empty;
    impl drive::Job for Empty {
        fn start(&mut self, _: usize, _: usize) {}
        fn request(&self, _: usize) -> Option<drive::Request<'_>> {
            None
        }
        fn done(&mut self, _: usize, _: Result<&[u8], Failure>, _: u64) {}
    }
    let mut latencies = Latencies::new();
    let mut world = Fixture::new().world();
    let sample =
        drive::drive(&mut world, &mut Empty, 10, 3, &mut latencies, &mut |_| true).unwrap();
    assert_eq!(
        (sample.operations, sample.round_trips, latencies.len()),
        (10, 0, 10)
    );
}
