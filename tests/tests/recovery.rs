//! Whatever the drive does, each request is answered once, rightly, and nothing is lost by it.

use client::Ticket;
use nvme_model::driver::{DriverState, FailReason};
use nvme_model::model::{Commands, Fault, MemoryStore, ModelConfig, NamespaceConfig, When};
use nvme_model::spec::{IoOpcode, StatusCode};
use outboard_tests::faults_support::{Peer, Progress, Random, TINY, World};
use protocol::message::{
    AttachRequest, CallRequest, FlushRequest, InfoRequest, LoadPieceRequest, LoadRequest,
    OpenRequest, ReadRequest, WriteRequest,
};
use protocol::{ErrorBody, Status};
use sha2::{Digest, Sha256};

const BLOCK_BYTES: u32 = 512;
const BLOCKS: u64 = 512;
const CELLS: u32 = 64;
const SECOND_US: u64 = 1_000_000;
const MINUTE_US: u64 = 60 * SECOND_US;

/// Where writes of these tests go; the chain that programs follow lies before it.
const SPARE: u64 = 400;

struct Bench {
    world: World,
    peer: Peer,
    object: u32,
    instance: u32,
}

impl Bench {
    fn new() -> Bench {
        Bench::over(1)
    }

    /// Over one of two namespaces that are alike.
    fn over(namespace: u32) -> Bench {
        let chain = programs::chase::build(CELLS, BLOCK_BYTES, 9);
        let mut disk = vec![0; (BLOCKS * u64::from(BLOCK_BYTES)) as usize];
        disk[..chain.len()].copy_from_slice(&chain);
        let store = || MemoryStore::from_bytes(disk.clone());
        let alike = || NamespaceConfig::new(store(), BLOCK_BYTES);
        let model = ModelConfig {
            namespaces: vec![alike(), alike()],
            queues: 1,
            ready_timeout_500ms: 4,
            read_latency_us: 80,
            write_latency_us: 80,
            jitter_us: 40,
            ..ModelConfig::default()
        };
        let mut world = World::new(model, TINY, 3);
        let mut peer = world.connect();
        let open = OpenRequest {
            namespace,
            offset: 0,
            length: None,
        };
        let reply = peer.must(&mut world, &open, &[]);
        let object = reply.decode::<OpenRequest>().expect("a reply").object;
        let instance = attach(&mut world, &mut peer, object);
        Bench {
            world,
            peer,
            object,
            instance,
        }
    }

    fn fault(&mut self, commands: Commands, when: When, fault: Fault) {
        let faults = self.world.agent.device_mut().faults_mut();
        faults.add(commands, when, fault);
    }

    fn read(&mut self) -> Ticket {
        let read = ReadRequest {
            object: self.object,
            offset: 0,
            length: 2 * BLOCK_BYTES,
        };
        self.peer.submit(&read, &[]).expect("credit")
    }

    fn write(&mut self) -> Ticket {
        let write = WriteRequest {
            object: self.object,
            offset: SPARE * u64::from(BLOCK_BYTES),
        };
        self.peer.submit(&write, &[7; 1024]).expect("credit")
    }

    fn flush(&mut self) -> Ticket {
        let flush = FlushRequest {
            object: self.object,
        };
        self.peer.submit(&flush, &[]).expect("credit")
    }

    fn call(&mut self) -> Ticket {
        let call = CallRequest {
            instance: self.instance,
        };
        let args = programs::chase::ChaseArgs {
            start: 0,
            hops: 5,
            stride: BLOCK_BYTES,
        };
        self.peer.submit(&call, &args.to_bytes()).expect("credit")
    }

    /// The replies to all of these, each exactly once, in their order.
    fn replies(&mut self, tickets: &[Ticket], within_us: u64) -> Vec<client::Reply> {
        self.peer.replies(&mut self.world, tickets, within_us)
    }

    fn statuses(&mut self, tickets: &[Ticket], within_us: u64) -> Vec<Status> {
        let replies = self.replies(tickets, within_us);
        replies.iter().map(|reply| reply.status).collect()
    }

    /// One of each kind, all at once.
    fn one_of_each(&mut self) -> [Ticket; 4] {
        [self.read(), self.write(), self.flush(), self.call()]
    }

    /// The drive works and the agent holds nothing but the one connection's own.
    fn is_well(&mut self) {
        self.world.agent.device_mut().faults_mut().clear();
        let tickets = self.one_of_each();
        assert_eq!(self.statuses(&tickets, MINUTE_US), [Status::Ok; 4]);
        self.holds_nothing();
        assert_eq!(self.world.agent.device_mut().dma_violations(), 0);
    }

    fn holds_nothing(&mut self) {
        let held = [("connections", 1), ("objects", 1), ("instances", 1)];
        assert_eq!(self.world.held(), held);
        assert_eq!(self.world.agent.driver().unfinished(), 0);
    }

    fn counters(&self) -> nvme_model::driver::DriverCounters {
        self.world.agent.driver().counters().clone()
    }
}

fn attach(world: &mut World, peer: &mut Peer, object: u32) -> u32 {
    let image = client::linker::link(programs::CHASE)
        .expect("an image")
        .image;
    let load = LoadRequest {
        name: "chase",
        total_bytes: image.len() as u32,
        sha256: Sha256::digest(&image).into(),
        strict: false,
    };
    peer.must(world, &load, &[]);
    let loaded = peer.must(world, &LoadPieceRequest { offset: 0 }, &image);
    let loaded = loaded.decode::<LoadPieceRequest>().expect("a reply");
    let attach = AttachRequest {
        program: loaded.program.expect("accepted"),
        objects: [object].into_iter().collect(),
        instruction_budget: 0,
        read_budget: 0,
    };
    let attached = peer.must(world, &attach, &[]);
    attached
        .decode::<AttachRequest>()
        .expect("a reply")
        .instance
}

/// After a reset a namespace may be gone. Whoever waits for it is told, and nobody waits behind him.
#[test]
fn a_namespace_that_is_gone_after_a_reset_is_told_of() {
    let mut bench = Bench::over(2);
    bench.fault(Commands::Io, When::Nth(3), Fault::Fatal);
    bench.world.agent.device_mut().faults_mut().detached = 1;
    // Of these some are at the drive when it fails, and some wait.
    let tickets: Vec<Ticket> = (0..2).flat_map(|_| bench.one_of_each()).collect();
    let statuses = bench.statuses(&tickets, MINUTE_US);
    for (at, status) in statuses.iter().enumerate() {
        let is_call = at % 4 == 3;
        assert!(
            match *status {
                Status::NoSuchNamespace | Status::DriveError | Status::OutcomeUnknown => true,
                // The program gives back that it could not read.
                Status::ProgramErrno => is_call,
                _ => false,
            },
            "{at}: {status:?}"
        );
    }
    let later = bench.one_of_each();
    let gone = Status::NoSuchNamespace;
    assert_eq!(
        bench.statuses(&later, MINUTE_US),
        [gone, gone, gone, Status::ProgramErrno]
    );
    bench.holds_nothing();
    // The other one is there, for others.
    let open = OpenRequest {
        namespace: 1,
        offset: 0,
        length: None,
    };
    bench.peer.must(&mut bench.world, &open, &[]);
}

/// A command that nobody can abort costs a reset, and everything under way is done again.
#[test]
fn a_dropped_command_is_issued_again_after_a_reset() {
    for opcode in [IoOpcode::READ, IoOpcode::WRITE, IoOpcode::FLUSH] {
        let mut bench = Bench::new();
        let epoch = bench.world.agent.drive_epoch();
        bench.fault(Commands::IoOpcode(opcode.0), When::Nth(1), Fault::Drop);
        let tickets = bench.one_of_each();
        let started_us = bench.world.now_us;
        assert_eq!(bench.statuses(&tickets, MINUTE_US), [Status::Ok; 4]);
        let took_us = bench.world.now_us - started_us;
        assert!(
            (10 * SECOND_US..12 * SECOND_US).contains(&took_us),
            "{took_us} µs"
        );
        let counters = bench.counters();
        assert_eq!((counters.aborts, counters.resets), (1, 1));
        assert!(counters.reissued >= 1);
        assert_eq!(bench.world.agent.drive_epoch(), epoch, "no power was lost");
        bench.is_well();
    }
}

/// One that can be aborted is answered so, and costs nobody else anything.
#[test]
fn a_hanging_command_is_aborted_alone() {
    let mut bench = Bench::new();
    bench.fault(
        Commands::IoOpcode(IoOpcode::WRITE.0),
        When::Nth(1),
        Fault::Hang,
    );
    let tickets = bench.one_of_each();
    let expected = [Status::Ok, Status::DriveError, Status::Ok, Status::Ok];
    assert_eq!(bench.statuses(&tickets, MINUTE_US), expected);
    assert_eq!((bench.counters().aborts, bench.counters().resets), (1, 0));
    bench.is_well();
}

#[test]
fn a_program_whose_read_fails_sees_eio() {
    let commands = Commands::IoOpcode(IoOpcode::READ.0);
    let errors = [
        Fault::Status(StatusCode::UNRECOVERED_READ_ERROR.into()),
        Fault::Hang,
    ];
    for fault in errors {
        let mut bench = Bench::new();
        bench.fault(commands, When::Nth(3), fault);
        let ticket = bench.call();
        let reply = bench.replies(&[ticket], MINUTE_US).remove(0);
        assert_eq!(reply.status, Status::ProgramErrno);
        assert_eq!(reply.detail(), ErrorBody::Errno(-5));
        bench.is_well();
    }
}

#[test]
fn a_status_error_is_told_as_the_drive_put_it() {
    let media = StatusCode::UNRECOVERED_READ_ERROR;
    let other = StatusCode::INTERNAL_ERROR;
    for (code, expected) in [(media, Status::MediaError), (other, Status::DriveError)] {
        let mut bench = Bench::new();
        bench.fault(Commands::Io, When::Every(1), Fault::Status(code.into()));
        let tickets = [bench.read(), bench.write(), bench.flush()];
        for reply in bench.replies(&tickets, MINUTE_US) {
            assert_eq!(reply.status, expected);
            let ErrorBody::Drive { status } = reply.detail() else {
                panic!("{:?}", reply.detail());
            };
            assert_eq!(status & 0x7ff, code.0);
        }
        bench.is_well();
    }
}

#[test]
fn what_is_only_late_is_waited_for() {
    let mut bench = Bench::new();
    bench.fault(Commands::Io, When::Every(2), Fault::Delay(7 * SECOND_US));
    let tickets = bench.one_of_each();
    assert_eq!(bench.statuses(&tickets, 2 * MINUTE_US), [Status::Ok; 4]);
    assert_eq!(bench.counters().timeouts, 0);
    bench.is_well();
}

/// Completions of nothing are counted and change nothing.
#[test]
fn false_completions_are_no_answers() {
    let mut counted = 0;
    for fault in [
        Fault::DuplicateCompletion,
        Fault::StaleCompletion,
        Fault::ForgedCompletion,
        Fault::WrongCommandId(0x4000),
    ] {
        let mut bench = Bench::new();
        bench.fault(Commands::Io, When::Nth(2), fault);
        bench.fault(Commands::Io, When::Nth(5), fault);
        for _ in 0..4 {
            let tickets = bench.one_of_each();
            assert_eq!(
                bench.statuses(&tickets, MINUTE_US),
                [Status::Ok; 4],
                "{fault:?}"
            );
        }
        let counters = bench.counters();
        let false_ones = counters.stale_completions + counters.unknown_completions;
        assert!(false_ones >= 1, "{fault:?}: {counters:?}");
        counted += false_ones;
        bench.is_well();
    }
    assert!(counted >= 6, "{counted}");
}

/// CSTS.CFS goes straight to a reset, without waiting for any deadline.
#[test]
fn a_fatal_status_is_reset_at_once() {
    let mut bench = Bench::new();
    bench.fault(Commands::Io, When::Nth(2), Fault::Fatal);
    let tickets = bench.one_of_each();
    let started_us = bench.world.now_us;
    assert_eq!(bench.statuses(&tickets, MINUTE_US), [Status::Ok; 4]);
    assert!(bench.world.now_us - started_us < SECOND_US);
    assert_eq!((bench.counters().aborts, bench.counters().resets), (0, 1));
    bench.is_well();
}

/// With the drive lost for good: everything is told so, at once, and connections live on.
fn is_out_of_service(bench: &mut Bench) {
    let started_us = bench.world.now_us;
    let tickets = [bench.read(), bench.write(), bench.flush()];
    assert_eq!(
        bench.statuses(&tickets, SECOND_US),
        [Status::DriveFailed; 3]
    );
    // A program sees −EIO, or where its memory went with the drive there is none to run it in.
    for _ in 0..8 {
        let ticket = bench.call();
        let reply = bench.replies(&[ticket], SECOND_US).remove(0);
        let told = match reply.status {
            Status::ProgramErrno => reply.detail() == ErrorBody::Errno(-5),
            status => status == Status::DriveFailed,
        };
        assert!(told, "{} {:?}", reply.status, reply.detail());
    }
    bench.peer.must(&mut bench.world, &InfoRequest {}, &[]);
    let mut newer = bench.world.connect();
    newer.must(&mut bench.world, &InfoRequest {}, &[]);
    assert!(bench.world.now_us - started_us < SECOND_US);
    bench.world.far.abort(newer.id);
    bench.world.advance(SECOND_US);
    bench.holds_nothing();
}

#[test]
fn a_device_that_is_gone_fails_every_request() {
    // Whichever command it is that finds out.
    for nth in 1..=6 {
        let mut bench = Bench::new();
        bench.fault(Commands::Io, When::Nth(nth), Fault::Gone);
        let mut tickets = bench.one_of_each().to_vec();
        tickets.extend([bench.call(), bench.read()]);
        for reply in bench.replies(&tickets, MINUTE_US) {
            let fine = [Status::Ok, Status::DriveFailed, Status::ProgramErrno];
            assert!(fine.contains(&reply.status), "{nth}: {}", reply.status);
        }
        let state = bench.world.drive_state();
        assert_eq!(state, DriverState::Failed(FailReason::Gone));
        is_out_of_service(&mut bench);
    }
}

#[test]
fn a_reset_that_never_ends_keeps_memory_and_fails_every_request() {
    for opcode in [IoOpcode::READ, IoOpcode::WRITE, IoOpcode::FLUSH] {
        let mut bench = Bench::new();
        bench.fault(Commands::IoOpcode(opcode.0), When::Every(1), Fault::Drop);
        bench.world.agent.device_mut().faults_mut().stuck_ready = true;
        let tickets = bench.one_of_each();
        for reply in bench.replies(&tickets, MINUTE_US) {
            let fine = [Status::Ok, Status::DriveFailed, Status::ProgramErrno];
            assert!(fine.contains(&reply.status), "{opcode:?}: {}", reply.status);
        }
        let state = bench.world.drive_state();
        assert_eq!(state, DriverState::Failed(FailReason::ResetStuck));
        let kept = bench.counters().pages_quarantined;
        assert_eq!(kept > 0, opcode != IoOpcode::FLUSH, "a flush has no memory");
        is_out_of_service(&mut bench);
    }
}

/// However much memory a lost drive keeps, later clients are answered.
#[test]
fn a_lost_drive_can_keep_every_slab() {
    let mut bench = Bench::new();
    bench.fault(Commands::Io, When::Every(1), Fault::Drop);
    let tickets: Vec<Ticket> = (0..8).map(|_| bench.call()).collect();
    bench.world.advance(SECOND_US);
    bench.world.agent.device_mut().faults_mut().gone = true;
    for reply in bench.replies(&tickets, MINUTE_US) {
        let fine = [Status::DriveFailed, Status::ProgramErrno];
        assert!(fine.contains(&reply.status), "{}", reply.status);
    }
    assert!(bench.counters().pages_quarantined > 0);
    is_out_of_service(&mut bench);
}

#[test]
fn three_resets_in_a_minute_are_one_too_many() {
    let mut bench = Bench::new();
    for round in 1..=3 {
        bench.fault(Commands::Io, When::Nth(1), Fault::Fatal);
        let tickets = bench.one_of_each();
        let statuses = bench.statuses(&tickets, MINUTE_US);
        if round < 3 {
            assert_eq!(statuses, [Status::Ok; 4], "{round}");
            continue;
        }
        assert_eq!(statuses[..3], [Status::DriveFailed; 3]);
        assert_eq!(statuses[3], Status::ProgramErrno);
    }
    let state = bench.world.drive_state();
    assert!(
        matches!(state, DriverState::Failed(FailReason::TooManyResets(_))),
        "{state:?}"
    );
    // The reset itself went well, so nothing stays behind.
    assert_eq!(bench.counters().pages_quarantined, 0);
    is_out_of_service(&mut bench);
}

#[test]
fn resets_with_a_minute_between_them_are_borne() {
    let mut bench = Bench::new();
    for _ in 0..6 {
        bench.fault(Commands::Io, When::Nth(1), Fault::Fatal);
        let tickets = bench.one_of_each();
        assert_eq!(bench.statuses(&tickets, MINUTE_US), [Status::Ok; 4]);
        bench.world.advance(MINUTE_US / 2 + SECOND_US);
    }
    bench.is_well();
}

/// A client that goes in the midst of a recovery takes everything it had with it.
#[test]
fn a_client_lost_during_recovery_leaves_nothing() {
    let faults = [Fault::Drop, Fault::Hang, Fault::Fatal];
    for (seed, fault) in (0..30).zip(faults.into_iter().cycle()) {
        let mut random = Random(seed);
        let mut bench = Bench::new();
        let nth = 1 + random.below(4);
        bench.fault(Commands::Io, When::Nth(nth), fault);
        let _tickets = bench.one_of_each();
        let Bench { world, peer, .. } = &mut bench;
        let until_us = world.now_us + random.below(11 * SECOND_US);
        world.run(until_us, |world| Progress::of(false, peer.pump(world)));
        world.far.abort(peer.id);
        world.advance(30 * SECOND_US);
        assert_eq!(world.held(), [], "seed {seed}");
        let mut next = world.connect();
        next.must(world, &InfoRequest {}, &[]);
    }
}
