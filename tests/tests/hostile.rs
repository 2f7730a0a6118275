//! Peers that break the rules of the wire, each beside a neighbour that keeps them: the neighbour
//! is answered rightly all along, and in the end the agent holds nothing.

use host_sim::random::Random;
use outboard_tests::world::{
    Ended, Frame, Image, Neighbour, PeerId, Settings, World, checked_frame, encoded, forged_header,
    frame, pattern, read_of, sha256,
};
use protocol::message::{
    AttachReply, AttachRequest, CallRequest, CancelRequest, InfoRequest, LoadPieceRequest,
    LoadReply, LoadRequest, WriteRequest,
};
use protocol::{AgentHello, ClientHello, Features, Flags, Header, Kind, RequestId, Status};

/// Lets a peer send `bytes` after the hellos and expects to be told `status` and then FIN.
fn closes_with(world: &mut World, bytes: &[u8], status: Status) -> Vec<Frame> {
    let raw = world.greet_raw();
    world.send(raw, bytes);
    let frames = last_words(world, raw);
    let notice = frames.last().expect("it is told why");
    assert_eq!(notice.header.kind, Kind::Notice);
    assert_eq!(notice.header.status, status);
    frames
}

/// All that a peer is sent until the agent closes.
fn last_words(world: &mut World, raw: PeerId) -> Vec<Frame> {
    world.until("the agent to close", |world| world.ended(raw).is_some());
    world.rest();
    let frames = world.take_frames(raw);
    assert!(world.received(raw).is_empty(), "half a frame");
    assert_eq!(world.ended(raw), Some(Ended::Finished), "FIN, no RST");
    world.close(raw);
    world.until("both to have closed", |world| {
        world.ended(raw) == Some(Ended::Gone) || world.used("connections") == 1
    });
    frames
}

fn info(id: u64) -> Vec<u8> {
    frame(Kind::Info, id, &InfoRequest {}, &[])
}

#[test]
fn breaches_close_with_their_status() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    let mut crc = info(1);
    crc[9] ^= 1;
    let reply = encoded(
        &mut Header::reply(Kind::Info, RequestId(1), Status::Ok, 1),
        &InfoRequest {},
        &[],
    );
    let more = forged_header(Kind::Info.0, Flags::MORE.0, 0, 1, 0);
    let same_id = [info(5), info(5)].concat();
    let with = |status, credits| {
        let mut header = Header {
            status,
            credits,
            ..Header::request(Kind::Info, RequestId(1))
        };
        encoded(&mut header, &InfoRequest {}, &[])
    };
    let cancel_with_payload = forged_header(Kind::Cancel.0, 0, 0, 1, 5);
    let cases: [(&str, Vec<u8>, Status); 15] = [
        (
            "no magic",
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            Status::BadMagic,
        ),
        ("no magic, one byte", vec![0], Status::BadMagic),
        ("a flipped bit", crc, Status::BadHeaderCrc),
        (
            "a body of 4097 bytes",
            forged_header(Kind::Info.0, 0, 4097, 1, 0).to_vec(),
            Status::BodyTooLong,
        ),
        (
            "a body of 65535 bytes",
            forged_header(Kind::Info.0, 0, u16::MAX, 1, 0).to_vec(),
            Status::BodyTooLong,
        ),
        (
            "a payload of 32769 bytes",
            forged_header(Kind::Write.0, 0, 0, 1, 32_769).to_vec(),
            Status::PayloadTooLong,
        ),
        (
            "a payload of 4 GiB",
            forged_header(Kind::Write.0, 0, 0, 1, u32::MAX).to_vec(),
            Status::PayloadTooLong,
        ),
        (
            "unknown flags",
            forged_header(Kind::Info.0, 0x80, 0, 1, 0).to_vec(),
            Status::BadFlags,
        ),
        ("MORE on a request", more.to_vec(), Status::BadFlags),
        (
            "a request with a status",
            with(Status::TooLarge, 0),
            Status::BadFlags,
        ),
        (
            "a request with credits",
            with(Status::Ok, 1),
            Status::BadFlags,
        ),
        ("a reply", reply, Status::BadFlags),
        ("the id of before", same_id, Status::IdNotRising),
        ("id 0", info(0), Status::IdNotRising),
        (
            "a cancel with a payload",
            cancel_with_payload.to_vec(),
            Status::BadFlags,
        ),
    ];
    for (what, bytes, status) in cases {
        println!("{what}");
        closes_with(&mut world, &bytes, status);
        neighbour.is_well(&mut world);
    }
    assert_eq!(world.count("connections_refused"), 15);
    world.end();
}

#[test]
fn a_damaged_payload_is_not_written() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    for flip in [0, 4095] {
        let (raw, object) = world.greet_raw_and_open();
        let request = WriteRequest { object, offset: 0 };
        let mut bytes = checked_frame(Kind::Write, 2, &request, &[0xee; 4096]);
        let at = bytes.len() - 4096 + flip;
        bytes[at] ^= 0x10;
        world.send(raw, &bytes);
        let frames = last_words(&mut world, raw);
        assert_eq!(frames.last().unwrap().header.status, Status::BadPayloadCrc);
        neighbour.is_well(&mut world);
    }
    assert_eq!(world.count("bytes_written"), 0);
    let bytes = world.read(neighbour.peer(), neighbour.object(), 0, 4096);
    assert!(bytes == pattern(1, 0, 4096));
    world.end();
}

#[test]
fn more_than_was_granted_closes_after_what_was_granted_is_answered() {
    let mut world = World::new(Settings {
        read_latency_us: 100_000,
        ..Settings::default()
    });
    let mut neighbour = Neighbour::new(&mut world);
    // Requests: eight are granted, and none of these is answered before the ninth comes.
    let (raw, object) = world.greet_raw_and_open();
    let read = read_of(object, 0, 512);
    let nine: Vec<u8> = (2..=10)
        .flat_map(|id| frame(Kind::Read, id, &read, &[]))
        .collect();
    world.send(raw, &nine);
    let frames = last_words(&mut world, raw);
    assert_eq!(frames.len(), 9);
    let mut ids: Vec<_> = frames[..8].iter().map(|it| it.header.request.0).collect();
    ids.sort_unstable();
    assert_eq!(ids, (2..=9).collect::<Vec<_>>(), "each has its one reply");
    assert_eq!(frames[8].header.status, Status::OverCredit);
    assert_eq!(frames[8].header.request.0, 10);
    neighbour.is_well(&mut world);

    // Bytes: 128 KiB are granted; the fifth payload is beyond.
    let (raw, object) = world.greet_raw_and_open();
    let write = WriteRequest {
        object,
        offset: 2 << 20,
    };
    let five: Vec<u8> = (2..=6)
        .flat_map(|id| frame(Kind::Write, id, &write, &[id as u8; 32_768]))
        .collect();
    // Slower at the drive than on the wire.
    let delay = nvme_model::model::Fault::Delay(1_000_000);
    let writes = nvme_model::model::Commands::IoOpcode(1);
    let every = nvme_model::model::When::Every(1);
    world
        .machine()
        .drive()
        .faults_mut()
        .add(writes, every, delay);
    world.send(raw, &five);
    let frames = last_words(&mut world, raw);
    assert_eq!(frames.last().unwrap().header.status, Status::OverCredit);
    assert_eq!(frames.len(), 5);
    neighbour.is_well(&mut world);
    world.end();
}

#[test]
fn a_frame_may_come_a_byte_at_a_time() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    let raw = world.connect_raw();
    for byte in ClientHello::new(Features::NONE).encode() {
        world.send(raw, &[byte]);
        world.rest();
    }
    world.take_received(raw, 64);
    let object = world.open_raw(raw);
    let write = WriteRequest { object, offset: 0 };
    let payload = pattern(9, 0, 4096);
    for byte in checked_frame(Kind::Write, 2, &write, &payload) {
        world.send(raw, &[byte]);
        world.rest();
    }
    let frames = world.next_frames(raw);
    assert_eq!(frames[0].header.status, Status::Ok);
    let found = world.read(neighbour.peer(), neighbour.object(), 0, 4096);
    assert!(found == payload);
    neighbour.is_well(&mut world);
    world.end();
}

#[test]
fn a_hello_that_does_not_come_is_not_waited_for() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    let hello = ClientHello::new(Features::NONE).encode();
    let silent: Vec<_> = [0, 1, 63]
        .map(|bytes| {
            let raw = world.connect_raw();
            world.send(raw, &hello[..bytes]);
            raw
        })
        .into();
    world.advance(4_900_000);
    neighbour.is_well(&mut world);
    for &raw in &silent {
        assert_eq!(world.ended(raw), None, "five seconds are not over");
    }
    world.advance(1_000_000);
    for raw in silent {
        assert_eq!(world.ended(raw), Some(Ended::Finished));
        let words = world.received(raw).try_into().expect("a hello, no more");
        let status = AgentHello::parse(words).unwrap().status;
        assert_eq!(status, Status::IdleTimeout);
    }
    neighbour.is_well(&mut world);
    world.end();
}

#[test]
fn a_hello_that_is_none_is_refused() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    let good = ClientHello::new(Features::NONE);
    let mut damaged = good.encode();
    damaged[20] ^= 1;
    let newer = ClientHello {
        version_min: 2,
        version_max: 9,
        features: Features::NONE,
    };
    for (bytes, status) in [
        (b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), Status::HelloExpected),
        (info(1), Status::HelloExpected),
        (b"OUTBOARX".to_vec(), Status::HelloExpected),
        (damaged.to_vec(), Status::BadHeaderCrc),
        (newer.encode().to_vec(), Status::VersionMismatch),
    ] {
        let raw = world.connect_raw();
        world.send(raw, &bytes);
        world.until("the agent to close", |world| world.ended(raw).is_some());
        world.rest();
        let words = world.received(raw).try_into().expect("a hello, no more");
        assert_eq!(AgentHello::parse(words).unwrap().status, status);
        neighbour.is_well(&mut world);
    }
    world.end();
}

#[test]
fn a_closed_peer_that_never_closes_is_let_go() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    // One is told off, one says no hello: neither ever answers the agent's FIN.
    let told_off = world.greet_raw();
    world.send(told_off, &[0]);
    let silent = world.connect_raw();
    world.advance(7_000_000);
    assert_eq!(world.ended(told_off), Some(Ended::Finished));
    assert_eq!(world.ended(silent), Some(Ended::Finished));
    world.advance(11_000_000);
    assert_eq!(world.used("connections"), 1, "they hold their slots");
    neighbour.is_well(&mut world);
    world.end();
}

#[test]
fn after_its_fin_a_client_still_gets_its_answers() {
    let mut world = World::new(Settings {
        read_latency_us: 50_000,
        ..Settings::default()
    });
    let mut neighbour = Neighbour::new(&mut world);
    let (raw, object) = world.greet_raw_and_open();
    let read = read_of(object, 4096, 70_000);
    world.send(raw, &frame(Kind::Read, 2, &read, &[]));
    // And half a frame, which never becomes a request.
    world.send(raw, &info(3)[..20]);
    world.close(raw);
    world.until("the agent to close", |world| world.ended(raw).is_some());
    world.rest();
    let frames = world.take_frames(raw);
    let bytes: Vec<u8> = frames.iter().flat_map(|it| it.payload.clone()).collect();
    assert!(bytes == pattern(1, 4096, 70_000));
    assert!(frames.iter().all(|it| it.header.request.0 == 2));
    neighbour.is_well(&mut world);

    // FIN in the middle of a payload.
    let (raw, object) = world.greet_raw_and_open();
    let request = WriteRequest { object, offset: 0 };
    let write = frame(Kind::Write, 2, &request, &[1; 8192]);
    world.send(raw, &write[..5000]);
    world.close(raw);
    world.until("the agent to close", |world| world.ended(raw).is_some());
    world.rest();
    let frames = world.take_frames(raw);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].header.status, Status::Cancelled);
    assert_eq!(world.count("bytes_written"), 0);
    neighbour.is_well(&mut world);
    world.end();
}

/// Sends everything a client can have under way, each at some stage.
fn all_under_way(world: &mut World, raw: PeerId) {
    let object = world.open_raw(raw);
    let image = Image::endless().build();
    let load = LoadRequest {
        name: "endless",
        total_bytes: image.len() as u32,
        sha256: sha256(&image),
        strict: false,
    };
    world.send(raw, &frame(Kind::Load, 2, &load, &[]));
    world.send(
        raw,
        &frame(Kind::LoadPiece, 3, &LoadPieceRequest { offset: 0 }, &image),
    );
    let mut loaded = None;
    world.until("the program", |world| {
        for frame in world.take_frames(raw) {
            if frame.header.request.0 == 3 {
                loaded = frame.decode::<LoadReply>().program;
            }
        }
        loaded.is_some()
    });
    let attach = AttachRequest {
        program: loaded.unwrap(),
        objects: [].into_iter().collect(),
        instruction_budget: 0,
        read_budget: 0,
    };
    world.send(raw, &frame(Kind::Attach, 4, &attach, &[]));
    let reply = world.next_frames(raw).remove(0);
    let attached: AttachReply = reply.decode();
    let read = read_of(object, 0, 131_072);
    let call = CallRequest {
        instance: attached.instance,
    };
    let write = WriteRequest {
        object,
        offset: 3 << 20,
    };
    // An upload that is not finished, a call that runs, reads and a write at the drive, a flush,
    // and a payload of which half is here.
    world.send(raw, &frame(Kind::Load, 5, &load, &[]));
    world.send(raw, &frame(Kind::Call, 6, &call, &[]));
    world.send(raw, &frame(Kind::Read, 7, &read, &[]));
    world.send(raw, &frame(Kind::Read, 8, &read, &[]));
    world.send(raw, &frame(Kind::Write, 9, &write, &[1; 4096]));
    let flush = protocol::message::FlushRequest { object };
    world.send(raw, &frame(Kind::Flush, 10, &flush, &[]));
    let half = frame(Kind::Write, 11, &write, &[2; 32_768]);
    world.send(raw, &half[..10_000]);
    world.advance(2_000);
    assert_eq!(world.used("requests"), 6);
    assert_eq!(world.used("invocations"), 1);
    assert_eq!(world.used("uploads"), 1);
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    let mut world = World::new(Settings {
        read_latency_us: 200_000,
        write_latency_us: 200_000,
        ..Settings::default()
    });
    let mut neighbour = Neighbour::new(&mut world);
    let others = |world: &mut World| {
        let pools = ["connections", "requests", "data_pages", "invocations"];
        let more = ["objects", "instances", "uploads", "bounce_pages"];
        pools
            .into_iter()
            .chain(more)
            .map(|it| world.used(it))
            .collect::<Vec<_>>()
    };
    let before = others(&mut world);
    for way in ["RST", "FIN", "garbage"] {
        let raw = world.greet_raw();
        all_under_way(&mut world, raw);
        match way {
            "RST" => world.abort(raw),
            "FIN" => world.close(raw),
            _ => {
                // The rest of the payload, and then nonsense.
                world.send(raw, &[3; 40_000]);
                world.until("the agent to close", |world| world.ended(raw).is_some());
                world.close(raw);
            }
        }
        if way == "FIN" {
            // The endless call is its own to wait for: its budget ends it.
            world.until("the agent to close", |world| world.ended(raw).is_some());
        }
        neighbour.is_well(&mut world);
        let until_us = world.now_us() + 20_000_000;
        world.until("everything to be given back", |world| {
            assert!(world.now_us() < until_us, "{way}: {:?}", world.not_idle());
            others(world) == before
        });
    }
    world.end();
}

#[test]
fn a_client_that_vanishes_in_the_middle_of_a_reply_leaves_nothing_behind() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    let (peer, object) = world.connect_to(1);
    let program = world.load(peer, "neighbour", &Image::reader().build());
    let instance = world.attach(peer, program, &[object]);
    world.set_reading(peer, false);
    let read = read_of(object, 0, 131_072);
    for _ in 0..4 {
        world.submit(peer, &read, &[]);
        world.submit(
            peer,
            &CallRequest { instance },
            &Image::reader_args(0, 65_536),
        );
    }
    world.advance(5_000_000);
    assert_eq!(world.used("requests"), 8, "they wait to be sent");
    neighbour.is_well(&mut world);
    world.abort(peer);
    world.until("all to be given back", |world| {
        world.used("connections") == 1 && world.used("data_pages") == 0
    });
    assert_eq!(world.used("slabs_80k"), 0);
    world.end();
}

#[test]
fn who_is_flooded_by_one_still_serves_the_other() {
    const CANCELS: u64 = 50_000;
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    // Cancels cost no credit, so nothing but the wire holds them up.
    let raw = world.greet_raw();
    let flood: Vec<u8> = (1..=CANCELS)
        .flat_map(|id| frame(Kind::Cancel, id, &CancelRequest { request: 0 }, &[]))
        .collect();
    world.send(raw, &flood);
    world.until("the flood", |world| world.count("cancels_unknown") > 0);
    neighbour.is_well(&mut world);
    assert!(
        world.count("cancels_unknown") < CANCELS,
        "it was kept waiting"
    );
    world.until("the end of the flood", |world| {
        world.count("cancels_unknown") == CANCELS
    });
    world.end();
}

#[test]
fn random_bytes_do_no_harm() {
    let mut world = World::new(Settings {
        far_connections: 512,
        ..Settings::default()
    });
    let mut neighbour = Neighbour::new(&mut world);
    let mut random = Random::new(11);
    for round in 0..200 {
        let raw = if round % 4 == 0 {
            world.connect_raw()
        } else {
            world.greet_raw()
        };
        let mut bytes = Vec::new();
        let mut id = 0;
        for _ in 0..random.below(12) {
            id += random.below(3);
            // Well-formed heads with random kinds and bodies get furthest.
            let kind = random.below(18) as u8;
            let body: Vec<u8> = (0..random.below(24))
                .map(|_| (random.next_u64() >> random.below(60)) as u8)
                .collect();
            let payload = random.below(300) * random.below(2);
            let flags = if random.below(8) == 0 { 2 } else { 0 };
            bytes.extend(forged_header(
                kind,
                flags,
                body.len() as u16,
                id,
                payload as u32,
            ));
            bytes.extend(body);
            bytes.extend((0..payload).map(|_| random.next_u64() as u8));
        }
        let tail = random.below(100);
        bytes.extend((0..tail).map(|_| random.next_u64() as u8));
        if !bytes.is_empty() && random.below(3) == 0 {
            let at = random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << random.below(8);
        }
        for part in bytes.chunks(1 + random.below(200) as usize) {
            world.send(raw, part);
            world.rest();
        }
        match random.below(3) {
            0 => world.abort(raw),
            1 => world.close(raw),
            // It just stays.
            _ => {}
        }
        if round % 8 == 0 {
            neighbour.is_well(&mut world);
        }
        // What stays is closed now and then, or all connections would be taken.
        if round % 40 == 39 {
            neighbour.is_well(&mut world);
            world.close_all_but(neighbour.peer());
            world.until("the rest to go", |world| world.used("connections") == 1);
        }
    }
    assert_eq!(world.count("bytes_written"), 0, "no write was well-formed");
    world.end();
}
