//! Many connections with much in flight: everything is answered once and rightly, credits are
//! honoured, nobody is starved, a full agent pushes back, and in the end all pools are idle.

use std::collections::HashMap;

use client::session::{SubmitError, Ticket};
use dpu_firmware::limits::{Limits, SMALL};
use host_sim::random::Random;
use outboard_tests::world::{
    Ended, Image, NamespaceSettings, PeerId, Settings, TINY, World, pattern, read_of,
};
use protocol::message::{CallRequest, FlushRequest, InfoRequest, WriteRequest};
use protocol::{Features, Status};

/// What a reply must be.
enum Expected {
    Bytes(Vec<u8>),
    Written(u64),
    Flushed,
}

/// One connection that keeps as much in flight as it is let.
struct Worker {
    peer: PeerId,
    object: u32,
    /// Its own part of the drive, of which it alone writes.
    own: u32,
    own_blocks: Vec<u8>,
    reader: u32,
    left: u32,
    expected: HashMap<Ticket, Expected>,
    answered: u32,
    most_in_flight: usize,
    blocks_under_way: u64,
}

const OWN_BLOCKS: u64 = 64;

impl Worker {
    fn new(world: &mut World, number: u64, requests: u32) -> Worker {
        let features = if number.is_multiple_of(3) {
            Features::PAYLOAD_CRC
        } else {
            Features::NONE
        };
        let peer = world.connect_with(features);
        let object = world.open(peer, 1, 0, Some(2 << 20));
        let start = (2 << 20) + number * OWN_BLOCKS * 512;
        let own = world.open(peer, 1, start, Some(OWN_BLOCKS * 512));
        let program = world.load(peer, "reader", &Image::reader().build());
        let reader = world.attach(peer, program, &[object]);
        Worker {
            peer,
            object,
            own,
            own_blocks: vec![0; OWN_BLOCKS as usize],
            reader,
            left: requests,
            expected: HashMap::new(),
            answered: 0,
            most_in_flight: 0,
            blocks_under_way: 0,
        }
    }

    /// Submits what there is credit for.
    fn submit(&mut self, world: &mut World, random: &mut Random) {
        while self.left > 0 {
            let offset = random.below((2 << 20) - 140_000);
            let length = match random.below(20) {
                0 => 1 + random.below(131_000) as u32 / 2,
                1..5 => 4096,
                _ => 1 + random.below(2_000) as u32,
            };
            let bytes = || Expected::Bytes(pattern(1, offset, length as usize));
            let submitted = match random.below(8) {
                0..5 => {
                    let object = self.object;
                    let read = read_of(object, offset, length);
                    world
                        .try_submit(self.peer, &read, &[])
                        .map(|it| (it, bytes()))
                }
                5 => {
                    // A block that no other write is under way to.
                    let block = (0..OWN_BLOCKS).find(|it| self.blocks_under_way >> it & 1 == 0);
                    let Some(block) = block else { return };
                    let mark = self.own_blocks[block as usize].wrapping_add(1);
                    let offset = block * 512;
                    let object = self.own;
                    let write = WriteRequest { object, offset };
                    let done = world.try_submit(self.peer, &write, &[mark; 512]);
                    if done.is_ok() {
                        self.own_blocks[block as usize] = mark;
                        self.blocks_under_way |= 1 << block;
                    }
                    done.map(|it| (it, Expected::Written(block)))
                }
                6 => {
                    let instance = self.reader;
                    let length = length.min(65_536);
                    let args = Image::reader_args(offset, length);
                    let call = world.try_submit(self.peer, &CallRequest { instance }, &args);
                    let bytes = Expected::Bytes(pattern(1, offset, length as usize));
                    call.map(|it| (it, bytes))
                }
                _ => {
                    let object = self.own;
                    let flush = world.try_submit(self.peer, &FlushRequest { object }, &[]);
                    flush.map(|it| (it, Expected::Flushed))
                }
            };
            match submitted {
                Ok((ticket, expected)) => {
                    self.left -= 1;
                    assert!(self.expected.insert(ticket, expected).is_none());
                }
                Err(SubmitError::NoCredit) => break,
                Err(error) => panic!("{error}"),
            }
            self.most_in_flight = self.most_in_flight.max(self.expected.len());
        }
    }

    /// Takes replies and compares them.
    fn collect(&mut self, world: &mut World) {
        assert_eq!(world.session(self.peer).ended(), None);
        while let Some(reply) = world.session(self.peer).next_reply() {
            assert_eq!(reply.status, Status::Ok, "{}", reply.detail());
            match self.expected.remove(&reply.ticket) {
                Some(Expected::Bytes(right)) => assert!(reply.payload == right),
                Some(Expected::Written(block)) => self.blocks_under_way &= !(1 << block),
                Some(Expected::Flushed) => {}
                None => panic!("answered twice"),
            }
            self.answered += 1;
            world.session(self.peer).recycle(reply);
        }
    }

    fn is_done(&self) -> bool {
        self.left == 0 && self.expected.is_empty()
    }

    /// What it wrote is there, and nobody else wrote into it.
    fn check_own(&mut self, world: &mut World) {
        let found = world.read(self.peer, self.own, 0, OWN_BLOCKS as u32 * 512);
        for (block, (found, mark)) in found.chunks(512).zip(&self.own_blocks).enumerate() {
            if *mark > 0 {
                assert!(found.iter().all(|byte| byte == mark), "block {block}");
            }
        }
    }
}

fn drive(world: &mut World, workers: &mut [Worker], seed: u64) {
    let mut random = Random::new(seed);
    world.until("everything to be answered", |world| {
        let mut done = true;
        for worker in &mut *workers {
            worker.collect(world);
            worker.submit(world, &mut random);
            done &= worker.is_done();
        }
        done
    });
}

fn settings(limits: Limits, seed: u64) -> Settings {
    Settings {
        namespaces: vec![NamespaceSettings {
            bytes: pattern(1, 0, 4 << 20),
            block_bytes: 512,
        }],
        limits,
        jitter_us: 60,
        wire_delay_us: 25,
        seed,
        far_connections: limits.connections,
        ..Settings::default()
    }
}

#[test]
fn thousands_in_flight_are_answered_once_and_rightly() {
    let limits = Limits {
        connections: 256,
        requests: 256 * 8 + 32 * 128,
        data_pages: 256 * 32 + 2_048,
        ..SMALL
    };
    // A drive so slow that all of it waits there.
    let mut world = World::new(Settings {
        read_latency_us: 3_000,
        write_latency_us: 2_000,
        ..settings(limits, 3)
    });
    // Hundreds that only are there.
    let idle: Vec<_> = (0..200).map(|_| world.connect()).collect();
    let mut workers: Vec<_> = (0..32).map(|it| Worker::new(&mut world, it, 600)).collect();
    drive(&mut world, &mut workers, 3);
    let together: usize = workers.iter().map(|it| it.most_in_flight).sum();
    assert!(together >= 32 * 100, "only {together} in flight at best");
    for worker in &mut workers {
        assert_eq!(worker.answered, 600);
        assert!(worker.most_in_flight <= 128, "more than anybody is granted");
        worker.check_own(&mut world);
    }
    assert_eq!(world.used("requests"), 0);
    assert_eq!(world.used("invocations"), 0);
    assert_eq!(world.used("data_pages"), 0);
    assert_eq!(world.used("connections"), 232);
    assert_eq!(world.count("connections_refused"), 0, "credit was kept");
    for &peer in &idle {
        assert_eq!(world.ask(peer, &InfoRequest {}, &[]).status, Status::Ok);
    }
    world.end();
}

#[test]
fn an_agent_with_hardly_anything_answers_all_the_same() {
    for seed in 0..3 {
        let limits = Limits {
            programs: 3,
            objects: 32,
            instances: 8,
            ..TINY
        };
        let mut world = World::new(settings(limits, seed));
        let mut workers: Vec<_> = (0..8).map(|it| Worker::new(&mut world, it, 250)).collect();
        drive(&mut world, &mut workers, seed);
        for worker in &mut workers {
            assert_eq!(worker.answered, 250);
            worker.check_own(&mut world);
        }
        // All there was of what calls need was in use at some time.
        let mut pools = world.machine().agent().pools();
        let (_, _, peak, total) = pools.find(|it| it.0 == "slabs_80k").unwrap();
        assert_eq!(peak, total);
        drop(pools);
        world.end();
    }
}

#[test]
fn a_connection_more_than_there_are_waits_and_harms_nobody() {
    let mut world = World::new(Settings {
        limits: TINY,
        ..Settings::default()
    });
    let peers: Vec<_> = (0..8).map(|_| world.connect()).collect();
    let late = world.begin_session(Features::NONE);
    world.advance(3_000_000);
    assert!(!world.session(late).is_open());
    for &peer in &peers {
        assert_eq!(world.ask(peer, &InfoRequest {}, &[]).status, Status::Ok);
    }
    world.close(peers[3]);
    world.until("the late one to get in", |world| {
        world.session(late).is_open()
    });
    world.end();
}

#[test]
fn many_small_writes_stay_within_the_byte_credit() {
    // Each costs a page of it: 32 at a time, however many requests are granted.
    let mut world = World::new(Settings {
        write_latency_us: 1_000,
        ..Settings::default()
    });
    let (peer, object) = world.connect_to(2);
    let (mut sent, mut answered, mut most) = (0_u64, 0, 0);
    world.until("all writes", |world| {
        while let Some(reply) = world.session(peer).next_reply() {
            assert_eq!(reply.status, Status::Ok);
            answered += 1;
        }
        assert_eq!(world.session(peer).ended(), None);
        while sent < 500 {
            let offset = sent * 512;
            let write = WriteRequest { object, offset };
            match world.try_submit(peer, &write, &[sent as u8; 512]) {
                Ok(_) => sent += 1,
                Err(SubmitError::NoCredit) => break,
                Err(error) => panic!("{error}"),
            }
        }
        most = most.max(world.session(peer).in_flight());
        answered == 500
    });
    assert_eq!(most, 32);
    world.end();
}

/// Grows a connection's credits to the greatest by being busy.
fn grow(world: &mut World, peer: PeerId, object: u32, wanted: u32) {
    let read = read_of(object, 0, 1);
    for _ in 0..2 * wanted {
        while world.try_submit(peer, &read, &[]).is_ok() {}
        let window = world.session(peer).in_flight() as u32;
        world.until("the answers", |world| world.session(peer).in_flight() == 0);
        while let Some(reply) = world.session(peer).next_reply() {
            assert_eq!(reply.status, Status::Ok);
        }
        if window >= wanted {
            return;
        }
    }
    panic!("credits do not grow to {wanted}");
}

#[test]
fn who_does_not_read_spends_his_own_and_is_reset() {
    let mut world = World::new(Settings::default());
    let victim = world.connect();
    let object = world.open(victim, 1, 0, None);
    let program = world.load(victim, "reader", &Image::reader().build());
    let reader = world.attach(victim, program, &[object]);
    // Several that ask for as much as they may and read nothing of it.
    let greedy: Vec<_> = (0..3)
        .map(|_| {
            let (peer, object) = world.connect_to(1);
            let instance = world.attach(peer, program, &[object]);
            grow(&mut world, peer, object, 128);
            world.set_reading(peer, false);
            let read = read_of(object, 0, 131_072);
            while world.try_submit(peer, &read, &[]).is_ok() {
                let args = Image::reader_args(0, 65_536);
                let _ = world.try_submit(peer, &CallRequest { instance }, &args);
            }
            assert_eq!(world.session(peer).in_flight(), 128);
            peer
        })
        .collect();
    let since_us = world.now_us();
    world.advance(500_000);
    for round in 0..80 {
        let before_us = world.now_us();
        let bytes = world.read(victim, object, round * 4096, 65_536);
        assert!(bytes == pattern(1, round * 4096, 65_536));
        let (_, bytes) = world.call(victim, reader, &Image::reader_args(round, 2_000));
        assert!(bytes == pattern(1, round, 2_000));
        let took_us = world.now_us() - before_us;
        assert!(took_us < 10_000, "round {round} took {took_us} us");
        world.advance(100_000);
    }
    assert!(world.now_us() < since_us + 9_500_000);
    assert_eq!(world.count("connections_stalled"), 0);
    world.advance(5_000_000);
    assert_eq!(world.count("connections_stalled"), 3);
    for peer in greedy {
        assert_eq!(world.ended(peer), Some(Ended::Gone));
        world.set_reading(peer, true);
    }
    world.until("all to be given back", |world| world.used("requests") == 0);
    assert_eq!(world.used("connections"), 1);
    assert_eq!(world.used("data_pages"), 0);
    assert_eq!(world.used("slabs_80k"), 0);
    world.end();
}

#[test]
fn who_reads_slowly_is_not_reset() {
    let mut world = World::new(Settings::default());
    let (peer, object) = world.connect_to(1);
    world.set_reading(peer, false);
    let read = read_of(object, 0, 131_072);
    for _ in 0..8 {
        world.submit(peer, &read, &[]);
    }
    // A little every few seconds is progress.
    for _ in 0..10 {
        world.advance(8_000_000);
        world.set_reading(peer, true);
        world.advance(10);
        world.set_reading(peer, false);
    }
    assert_eq!(world.count("connections_stalled"), 0);
    world.set_reading(peer, true);
    world.until("the answers", |world| world.session(peer).in_flight() == 0);
    world.end();
}

#[test]
fn looping_programs_cost_others_a_bounded_number_of_turns() {
    let turns_of_a_call = |loopers: usize| {
        let mut world = World::new(Settings::default());
        let victim = world.connect();
        let object = world.open(victim, 1, 0, None);
        let program = world.load(victim, "reader", &Image::reader().build());
        let reader = world.attach(victim, program, &[object]);
        let endless = world.load(victim, "endless", &Image::endless().build());
        let mut peers = Vec::new();
        for _ in 0..loopers {
            let peer = world.connect();
            let instance = world.attach(peer, endless, &[]);
            for _ in 0..8 {
                world.submit(peer, &CallRequest { instance }, &[]);
            }
            peers.push(peer);
        }
        world.advance(50);
        assert_eq!(world.used("invocations"), loopers * 8);
        let mut most = 0;
        for round in 0..10 {
            let before = world.count("turns");
            let (_, bytes) = world.call(victim, reader, &Image::reader_args(round, 100));
            assert!(bytes == pattern(1, round, 100));
            most = most.max(world.count("turns") - before);
        }
        assert_eq!(world.used("invocations"), loopers * 8, "they run on");
        // After a FIN they would be waited for.
        for peer in peers {
            world.abort(peer);
        }
        world.end();
        most
    };
    let alone = turns_of_a_call(0);
    // One connection's programs share one slice a turn with everybody's first.
    let beside_one = turns_of_a_call(1);
    let beside_many = turns_of_a_call(40);
    assert!(
        beside_one <= alone + 40,
        "{alone} turns alone, {beside_one} beside a loop"
    );
    assert!(
        beside_many <= alone + 80,
        "{alone} turns alone, {beside_many} beside many"
    );
}

#[test]
fn a_request_alone_takes_the_time_of_the_drive_and_the_wire() {
    for (wire_delay_us, read_latency_us) in [(0, 0), (0, 80), (25, 80), (500, 3_000)] {
        let mut world = World::new(Settings {
            wire_delay_us,
            read_latency_us,
            ..Settings::default()
        });
        let (peer, object) = world.connect_to(1);
        let program = world.load(peer, "reader", &Image::reader().build());
        let reader = world.attach(peer, program, &[object]);
        for round in 0..20 {
            let least_us = 2 * wire_delay_us + read_latency_us;
            let from_us = world.now_us();
            world.read(peer, object, round * 4096, 4096);
            let read_us = world.now_us() - from_us;
            // A microsecond for each pass that something moves in.
            assert!(
                (least_us..least_us + 30).contains(&read_us),
                "a read: {read_us} us"
            );
            let from_us = world.now_us();
            world.call(peer, reader, &Image::reader_args(round * 4096, 4096));
            let call_us = world.now_us() - from_us;
            assert!(
                (least_us..least_us + 30).contains(&call_us),
                "a call: {call_us} us"
            );
            world.advance(1_234);
        }
        world.end();
    }
}
