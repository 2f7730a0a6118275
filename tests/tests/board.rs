//! The board under the agent, as clients see it: PERST# brings a drive back and nothing is lost, a
//! dead drive still tells how it fares, a hot one gets half, and a LED shows that it works.

use client::Ticket;
use client::session::Reply;
use dpu_firmware::board::Board;
use host_sim::board::SimulatedBoard;
use nvme_model::driver::{DriverState, FailReason};
use nvme_model::model::{
    Commands, Fault, MemoryStore, ModelConfig, NamespaceConfig, Sideband, Thermal, When,
};
use outboard_tests::faults_support::{Peer, Progress, Random, TINY, World};
use protocol::Status;
use protocol::message::{
    DriveHealth, DriveState, FlushRequest, HealthSource, ManagementState, OpenRequest, ReadRequest,
    StatsRequest, WriteRequest,
};

const BLOCK_BYTES: u32 = 512;
const BLOCKS: u64 = 512;
const SECOND_US: u64 = 1_000_000;
const MINUTE_US: u64 = 60 * SECOND_US;

struct Bench {
    world: World<SimulatedBoard>,
    peer: Peer,
    object: u32,
    side: Sideband,
}

fn model() -> ModelConfig {
    let store = MemoryStore::new(BLOCKS * u64::from(BLOCK_BYTES));
    ModelConfig {
        namespaces: vec![NamespaceConfig::new(store, BLOCK_BYTES)],
        queues: 1,
        ready_timeout_500ms: 4,
        read_latency_us: 80,
        write_latency_us: 80,
        jitter_us: 40,
        ..ModelConfig::default()
    }
}

impl Bench {
    fn new(model: ModelConfig, seed: u64) -> Bench {
        let whole = |side: &Sideband| SimulatedBoard::new(Some(side.clone()));
        Bench::on(World::on_board(model, TINY, seed, whole))
    }

    /// A client in that world, with all of namespace 1 open.
    fn on(mut world: World<SimulatedBoard>) -> Bench {
        let mut peer = world.connect();
        let open = OpenRequest {
            namespace: 1,
            offset: 0,
            length: None,
        };
        let reply = peer.must(&mut world, &open, &[]);
        let object = reply.decode::<OpenRequest>().expect("a reply").object;
        let side = world.agent.device_mut().sideband();
        Bench {
            world,
            peer,
            object,
            side,
        }
    }

    fn read(&mut self, block: u64) -> Ticket {
        let read = ReadRequest {
            object: self.object,
            offset: block * u64::from(BLOCK_BYTES),
            length: BLOCK_BYTES,
        };
        self.peer.submit(&read, &[]).expect("credit")
    }

    fn write(&mut self, block: u64, value: u8) -> Ticket {
        let write = WriteRequest {
            object: self.object,
            offset: block * u64::from(BLOCK_BYTES),
        };
        let bytes = [value; BLOCK_BYTES as usize];
        self.peer.submit(&write, &bytes).expect("credit")
    }

    fn flush(&mut self) -> Ticket {
        let flush = FlushRequest {
            object: self.object,
        };
        self.peer.submit(&flush, &[]).expect("credit")
    }

    /// The replies to all of these, each exactly once.
    fn replies(&mut self, tickets: &[Ticket], within_us: u64) -> Vec<Reply> {
        self.peer.replies(&mut self.world, tickets, within_us)
    }

    fn statuses(&mut self, tickets: &[Ticket]) -> Vec<Status> {
        let replies = self.replies(tickets, MINUTE_US);
        replies.iter().map(|reply| reply.status).collect()
    }

    fn health(&mut self) -> DriveHealth {
        let reply = self.peer.must(&mut self.world, &StatsRequest {}, &[]);
        reply.decode::<StatsRequest>().expect("a reply").drive
    }

    /// The drive loses a command for good and sticks in the reset that this costs.
    fn stick(&mut self, opcode: Commands, nth: u64) {
        let faults = self.world.agent.device_mut().faults_mut();
        faults.add(opcode, When::Nth(nth), Fault::Drop);
        faults.stuck_ready = true;
    }

    fn beyond_reset(&mut self) {
        self.world.agent.device_mut().faults_mut().beyond_reset = true;
    }

    fn holds_nothing(&self) {
        let held = [("connections", 1), ("objects", 1)];
        assert_eq!(self.world.held(), held);
        assert_eq!(self.world.agent.driver().unfinished(), 0);
    }
}

#[test]
fn perst_brings_a_stuck_drive_back_and_every_request_is_answered() {
    let mut bench = Bench::new(model(), 1);
    let epoch = bench.world.agent.drive_epoch();
    let wrote = bench.write(7, 0xa5);
    assert_eq!(bench.statuses(&[wrote]), [Status::Ok]);
    bench.stick(Commands::Io, 2);
    let tickets = [
        bench.read(7),
        bench.write(8, 0x5a),
        bench.read(9),
        bench.flush(),
    ];
    let started_us = bench.world.now_us;
    let replies = bench.replies(&tickets, MINUTE_US);
    assert!(replies.iter().all(|reply| reply.status == Status::Ok));
    assert_eq!(replies[0].payload, [0xa5; BLOCK_BYTES as usize]);
    // Eight seconds, two for the abort, two of CAP.TO, then the pulse.
    let took_us = bench.world.now_us - started_us;
    let expected_us = 12 * SECOND_US + 200_000..13 * SECOND_US;
    assert!(expected_us.contains(&took_us), "{took_us} µs");
    assert_eq!(bench.side.perst_pulses(), 1);
    let read = bench.read(8);
    let read = bench.replies(&[read], MINUTE_US).remove(0);
    assert_eq!(read.payload, [0x5a; BLOCK_BYTES as usize]);
    let driver = bench.world.agent.driver().counters();
    assert_eq!((driver.pages_quarantined, driver.outside_resets), (0, 1));
    assert_eq!(bench.world.agent.counters().perst_pulses, 1);
    assert_eq!(bench.world.agent.drive_epoch(), epoch, "no power was lost");
    assert_eq!(bench.world.agent.device_mut().dma_violations(), 0);
    bench.holds_nothing();
}

#[test]
fn without_a_pin_a_stuck_drive_fails_and_keeps_its_pages() {
    let pinless = |side: &Sideband| SimulatedBoard {
        perst: None,
        ..SimulatedBoard::new(Some(side.clone()))
    };
    let mut bench = Bench::on(World::on_board(model(), TINY, 1, pinless));
    bench.stick(Commands::Io, 1);
    let tickets = [bench.read(1), bench.write(2, 2)];
    let statuses = bench.statuses(&tickets);
    assert!(statuses.contains(&Status::DriveFailed), "{statuses:?}");
    let state = bench.world.drive_state();
    assert_eq!(state, DriverState::Failed(FailReason::ResetStuck));
    assert!(bench.world.agent.driver().counters().pages_quarantined > 0);
    assert_eq!(bench.side.perst_pulses(), 0);
}

/// PERST# does not help: one pulse, then everything is answered, and no page comes back.
#[test]
fn a_drive_that_perst_cannot_help_is_given_up_after_one_pulse() {
    for gone in [false, true] {
        let mut bench = Bench::new(model(), 1);
        bench.beyond_reset();
        if gone {
            let faults = bench.world.agent.device_mut().faults_mut();
            faults.add(Commands::Io, When::Nth(1), Fault::Gone);
        } else {
            bench.stick(Commands::Io, 1);
        }
        let tickets = [bench.read(1), bench.write(2, 2), bench.flush()];
        let statuses = bench.statuses(&tickets);
        assert!(statuses.contains(&Status::DriveFailed), "{statuses:?}");
        let state = bench.world.drive_state();
        assert_eq!(state, DriverState::Failed(FailReason::ResetInVain));
        bench.world.advance(30 * MINUTE_US);
        assert_eq!(bench.side.perst_pulses(), 1);
        let late = bench.read(3);
        assert_eq!(bench.statuses(&[late]), [Status::DriveFailed]);
        if gone {
            let kept = bench.world.agent.driver().counters().pages_quarantined;
            assert!(kept > 0);
        }
        bench.holds_nothing();
    }
}

#[test]
fn a_drive_that_left_the_bus_comes_back_with_perst() {
    for nth in 1..=4 {
        let mut bench = Bench::new(model(), nth);
        let faults = bench.world.agent.device_mut().faults_mut();
        faults.add(Commands::Io, When::Nth(nth), Fault::Gone);
        let tickets = [
            bench.read(1),
            bench.write(2, 2),
            bench.flush(),
            bench.read(3),
        ];
        assert_eq!(bench.statuses(&tickets), [Status::Ok; 4], "{nth}");
        assert_eq!(bench.side.perst_pulses(), 1);
        bench.holds_nothing();
    }
}

/// A second failure within ten minutes is final; later there is another pulse.
#[test]
fn the_last_resort_has_to_prove_itself() {
    for (pause_us, expected) in [
        (MINUTE_US, Status::DriveFailed),
        (11 * MINUTE_US, Status::Ok),
    ] {
        let mut bench = Bench::new(model(), 3);
        for round in 0..2 {
            let faults = bench.world.agent.device_mut().faults_mut();
            faults.add(Commands::Io, When::Nth(1), Fault::Gone);
            let ticket = bench.read(round);
            let status = bench.statuses(&[ticket])[0];
            let wanted = if round == 0 { Status::Ok } else { expected };
            assert_eq!(status, wanted, "round {round}, {pause_us} µs between");
            bench.world.advance(pause_us);
        }
    }
}

/// Drives that stick, go, hang and lose commands at random, with a pin that helps or does not: every
/// request is answered once, what was acknowledged is there, and no page is lost.
#[test]
fn whatever_fails_nothing_is_lost() {
    let mut pulses = 0;
    for seed in 0..30 {
        let mut random = Random(seed);
        let mut bench = Bench::new(model(), seed);
        let mut held = [0_u8; 8];
        let helps = random.below(4) > 0;
        for round in 0..6_u8 {
            let nth = 1 + random.below(6);
            let faults = bench.world.agent.device_mut().faults_mut();
            faults.beyond_reset = !helps;
            match random.below(4) {
                0 => faults.add(Commands::Io, When::Nth(nth), Fault::Gone),
                1 => {
                    faults.add(Commands::Io, When::Nth(nth), Fault::Drop);
                    faults.stuck_ready = true;
                }
                2 => faults.add(Commands::Io, When::Nth(nth), Fault::Fatal),
                _ => {}
            }
            let block = random.below(8);
            let value = round + 1;
            let write = bench.write(block, value);
            let status = bench.statuses(&[write])[0];
            let tickets: Vec<Ticket> = (0..8).map(|block| bench.read(block)).collect();
            let reads = bench.replies(&tickets, 2 * MINUTE_US);
            if status == Status::Ok {
                held[block as usize] = value;
            }
            for (read, (at, value)) in reads.iter().zip(held.iter().enumerate()) {
                let fine = matches!(read.status, Status::Ok | Status::DriveFailed);
                let doubtful = status != Status::Ok && at as u64 == block;
                assert!(fine || doubtful, "seed {seed}: {}", read.status);
                if read.status == Status::Ok && !doubtful {
                    assert_eq!(read.payload, [*value; BLOCK_BYTES as usize], "seed {seed}");
                }
            }
            bench.world.advance(random.below(12) * MINUTE_US);
        }
        pulses += bench.side.perst_pulses();
        assert_eq!(bench.world.agent.device_mut().dma_violations(), 0);
        bench.holds_nothing();
    }
    assert!(pulses > 15, "{pulses}");
}

#[test]
fn health_is_told_by_smart_and_by_the_bus_when_the_drive_is_dead() {
    let mut bench = Bench::new(model(), 1);
    bench.world.agent.device_mut().set_used_percent(7);
    bench.world.agent.device_mut().set_temperature(320);
    bench.world.advance(11 * SECOND_US);
    let well = bench.health();
    assert_eq!(
        (well.state, well.source),
        (DriveState::Running, HealthSource::Smart)
    );
    assert_eq!((well.temperature_celsius, well.warnings), (Some(47), 0));
    assert_eq!(
        (well.used_percent, well.spare_percent),
        (Some(7), Some(100))
    );
    assert!(well.age_us.expect("told") < 11 * SECOND_US);
    assert_eq!(well.management, ManagementState::NotAsked);

    bench.beyond_reset();
    bench.world.agent.device_mut().faults_mut().gone = true;
    bench.world.agent.device_mut().set_temperature(350);
    bench.world.advance(20 * SECOND_US);
    let dead = bench.health();
    assert_eq!(
        (dead.state, dead.source),
        (DriveState::Failed, HealthSource::Management)
    );
    assert_eq!((dead.temperature_celsius, dead.warnings), (Some(77), 0b10));
    assert_eq!((dead.used_percent, dead.spare_percent), (Some(7), None));
    assert!(dead.age_us.expect("told") <= 10 * SECOND_US);
    let before = bench.world.agent.counters().management_reads;
    bench.world.advance(100 * SECOND_US);
    let reads = bench.world.agent.counters().management_reads - before;
    assert!((9..=11).contains(&reads), "{reads} in 100 s");

    bench.world.agent.board_mut().management.damage = 1;
    bench.world.advance(11 * SECOND_US);
    let damaged = bench.health();
    assert_eq!(damaged.management, ManagementState::BadChecksum);
    assert_eq!(
        damaged.source,
        HealthSource::Management,
        "what was told stays"
    );
    assert!(damaged.age_us > dead.age_us);
    bench.world.agent.board_mut().management.drive = None;
    bench.world.advance(11 * SECOND_US);
    assert_eq!(bench.health().management, ManagementState::NoAcknowledge);
}

/// Reads of one client, eight at a time, for so long; how many were answered.
fn reads_in(bench: &mut Bench, us: u64) -> u64 {
    let before = bench.world.agent.counters().drive_completions;
    let until_us = bench.world.now_us + us;
    let mut under_way = 0;
    let Bench {
        world,
        peer,
        object,
        ..
    } = bench;
    let read = ReadRequest {
        object: *object,
        offset: 0,
        length: BLOCK_BYTES,
    };
    world.run(until_us, |world| {
        let mut moved = peer.pump(world);
        while peer.session.next_reply().is_some() {
            under_way -= 1;
        }
        while under_way < 8 && world.now_us < until_us && peer.submit(&read, &[]).is_ok() {
            under_way += 1;
            moved = true;
        }
        Progress::of(false, moved)
    });
    world.run(until_us + SECOND_US, |world| {
        let moved = peer.pump(world);
        while peer.session.next_reply().is_some() {
            under_way -= 1;
        }
        Progress::of(under_way == 0, moved)
    });
    bench.world.agent.counters().drive_completions - before
}

#[test]
fn a_hot_drive_gets_half_until_it_was_cool_for_half_a_minute() {
    let mut bench = Bench::new(model(), 1);
    let full = reads_in(&mut bench, SECOND_US);
    // The event tells of it at once, not the next reading.
    bench.world.agent.device_mut().set_temperature(350);
    bench.world.advance(10_000);
    let hot = bench.health();
    assert!(hot.throttled);
    assert_eq!((hot.warnings, hot.temperature_celsius), (0b10, Some(77)));
    let half = reads_in(&mut bench, SECOND_US);
    let ratio = half as f64 / full as f64;
    assert!((0.45..0.55).contains(&ratio), "{half} of {full} reads");
    bench.world.agent.device_mut().set_temperature(320);
    bench.world.advance(25 * SECOND_US);
    assert!(bench.health().throttled, "not cool for long enough");
    bench.world.advance(20 * SECOND_US);
    assert!(!bench.health().throttled);
    let again = reads_in(&mut bench, SECOND_US);
    assert!(again * 10 > full * 9, "{again} of {full}");
    assert_eq!(bench.world.agent.counters().throttles, 1);
}

#[test]
fn a_drive_that_heats_by_itself_is_throttled_and_cools() {
    let thermal = Thermal {
        command_microkelvin: 4_000,
        kib_microkelvin: 0,
        time_constant_ms: 1_000,
        ..Thermal::default()
    };
    let mut bench = Bench::new(
        ModelConfig {
            thermal: Some(thermal),
            read_latency_us: 800,
            ..model()
        },
        1,
    );
    reads_in(&mut bench, 6 * SECOND_US);
    assert_eq!(bench.world.agent.counters().throttles, 1);
    let peak = bench.health().temperature_celsius.expect("told");
    assert!(peak >= 69, "{peak} °C");
    bench.world.advance(60 * SECOND_US);
    let cool = bench.health();
    assert!(!cool.throttled);
    assert_eq!((cool.warnings, cool.temperature_celsius), (0, Some(35)));
}

#[test]
fn the_led_blinks_with_work_and_is_dark_without() {
    let mut bench = Bench::new(model(), 1);
    bench.world.advance(SECOND_US);
    let before = bench.world.agent.board_mut().led.changes();
    assert!(!bench.world.agent.board().led.is_lit());
    reads_in(&mut bench, SECOND_US);
    bench.world.advance(SECOND_US);
    let led = &bench.world.agent.board().led;
    let changes = led.changes() - before;
    assert!((9..=12).contains(&changes), "{changes} in a second");
    assert!(!led.is_lit());
    bench.world.advance(MINUTE_US);
    let led = bench.world.agent.board_mut();
    assert!(led.led().is_some() && led.led.changes() == before + changes);
}
