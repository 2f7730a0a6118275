//! The loop and its arithmetic over a world with a virtual clock.

use rusqlite::Connection;

use super::*;
use crate::demo::drive;
use crate::demo::plan::plan;
use crate::demo::virtual_world::{HEADERS, Virtual};

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
        Virtual::new(self.file.clone(), self.table.table)
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
        let setup = Setup {
            database: &self.database,
            table: &self.table,
            keys: &keys,
            lanes,
            rounds: 5,
        };
        let worlds = Worlds {
            wanted: world,
            quiet: &mut self.world(),
            checked: &mut self.world(),
        };
        run(worlds, &setup, watch)
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
        let alone = calibration.alone;
        assert!(near(alone.round_trip_ns, 100_000.0), "{calibration:?}");
        assert!(near(alone.read_ns, 10_000.0), "{calibration:?}");
        assert_eq!(calibration.engine.execute_ns, 2_500.0);
        // Nothing is shared in this world: each of the lanes has its turn at once.
        let share = lanes as f64;
        assert!(near(calibration.processor.round_trip_ns * share, 100_000.0));
        assert!(near(
            calibration.processor.remote_read_ns * share,
            110_000.0
        ));
        assert!(near(calibration.processor.read_ns * share, 10_000.0));
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
    assert!(told.is_sorted() && told.iter().all(|&done| done <= 2000));
    assert!(told.iter().any(|&done| done > 1800));
    let stopped = fixture.run_watched(&mut fixture.world(), 8, &mut |_, _| false);
    assert!(matches!(stopped, Err(RunError::Stopped)));
}

#[test]
fn no_keys_no_outcome() {
    let fixture = Fixture::new();
    let setup = Setup {
        database: &fixture.database,
        table: &fixture.table,
        keys: &[],
        lanes: 1,
        rounds: 1,
    };
    let worlds = Worlds {
        wanted: &mut fixture.world(),
        quiet: &mut fixture.world(),
        checked: &mut fixture.world(),
    };
    let refused = run(worlds, &setup, &mut |_, _| true);
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
