//! Every request about drives, done and refused: open, close, read, write, flush, cancel, info,
//! stats, and in which order answers come.

use outboard_tests::world::{
    Image, NamespaceSettings, Settings, TINY, World, checked_frame, forged_header, frame, open_of,
    pattern, read_of,
};
use protocol::message::{
    CallRequest, CancelRequest, CloseRequest, FlushRequest, InfoRequest, OpenRequest, ReadRequest,
    StatsRequest, WriteRequest,
};
use protocol::{ErrorBody, Features, Flags, Kind, Status};

const MIB: u64 = 1 << 20;

#[test]
fn an_object_is_a_range_of_a_namespace() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    for (namespace, offset, length, got) in [
        (1, 0, None, 4 * MIB),
        (1, 8192, None, 4 * MIB - 8192),
        (1, 8192, Some(4096), 4096),
        (1, 4 * MIB - 4096, Some(4096), 4096),
        (2, 512, Some(1536), 1536),
    ] {
        let request = open_of(namespace, offset, length);
        let reply = world.ask(peer, &request, &[]);
        let opened = reply.decode::<OpenRequest>().unwrap();
        assert_eq!(opened.length, got);
        assert_eq!(opened.block_bytes, if namespace == 1 { 4096 } else { 512 });
        let bytes = world.read(peer, opened.object, 0, 512);
        assert_eq!(bytes, pattern(namespace, offset, 512));
        // Not a byte beyond it, though the namespace goes on.
        let beyond = read_of(opened.object, got - 1, 2);
        assert_eq!(world.ask(peer, &beyond, &[]).status, Status::OutOfRange);
    }
    world.end();
}

#[test]
fn what_cannot_be_opened_is_named() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let misaligned = |block_bytes| ErrorBody::Misaligned { block_bytes };
    let range = |got| ErrorBody::Limit {
        limit: 4 * MIB,
        got,
    };
    for (namespace, offset, length, status, detail) in [
        (0, 0, None, Status::NoSuchNamespace, ErrorBody::None),
        (3, 0, None, Status::NoSuchNamespace, ErrorBody::None),
        (u32::MAX, 0, None, Status::NoSuchNamespace, ErrorBody::None),
        (
            1,
            0,
            Some(4 * MIB + 4096),
            Status::OutOfRange,
            range(4 * MIB + 4096),
        ),
        (1, 4 * MIB, None, Status::OutOfRange, range(4 * MIB)),
        (1, 4096, Some(0), Status::OutOfRange, range(4096)),
        (1, u64::MAX, Some(4096), Status::OutOfRange, ErrorBody::None),
        (1, u64::MAX, None, Status::OutOfRange, range(u64::MAX)),
        (1, 512, Some(4096), Status::Misaligned, misaligned(4096)),
        (1, 0, Some(512), Status::Misaligned, misaligned(4096)),
        (2, 256, Some(512), Status::Misaligned, misaligned(512)),
    ] {
        let request = open_of(namespace, offset, length);
        let reply = world.ask(peer, &request, &[]);
        assert_eq!((reply.status, reply.detail()), (status, detail));
    }
    assert_eq!(world.used("objects"), 0);
    world.end();
}

#[test]
fn reads_of_any_alignment_and_length_bring_the_bytes_that_are_there() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    for namespace in [1, 2] {
        // An object that does not begin with the namespace.
        let object = world.open(peer, namespace, 64 * 1024, None);
        for (offset, length) in [
            (0, 4096),
            (0, 1),
            (4095, 1),
            (4095, 2),
            (511, 2),
            (512, 512),
            (1, 4096),
            (77_777, 10_001),
            (0, 131_072),
            (4096, 131_072),
            // Ragged at both ends and just within the greatest transfer.
            (1, 131_070),
        ] {
            let bytes = world.read(peer, object, offset, length);
            let right = pattern(namespace, 64 * 1024 + offset, length as usize);
            assert!(bytes == right, "{length} bytes at {offset} of {namespace}");
        }
    }
    world.end();
}

#[test]
fn reads_that_cannot_be_are_refused() {
    let mut world = World::new(Settings::default());
    let (peer, object) = world.connect_to(1);
    let limit = |got| ErrorBody::Limit {
        limit: 131_072,
        got,
    };
    let outside = |got| ErrorBody::Limit {
        limit: 4 * MIB,
        got,
    };
    for (object, offset, length, status, detail) in [
        (object, 0, 0, Status::OutOfRange, outside(0)),
        (object, 4 * MIB, 1, Status::OutOfRange, outside(4 * MIB + 1)),
        (object, 0, 131_073, Status::TooLarge, limit(131_073)),
        (
            object,
            0,
            u32::MAX,
            Status::TooLarge,
            limit(u32::MAX.into()),
        ),
        // Fits, but the blocks that cover it do not.
        (object, 1, 131_072, Status::TooLarge, limit(135_168)),
        (object, u64::MAX, 1, Status::OutOfRange, outside(u64::MAX)),
        (object + 1, 0, 1, Status::NoSuchObject, ErrorBody::None),
        (0, 0, 1, Status::NoSuchObject, ErrorBody::None),
        (u32::MAX, 0, 1, Status::NoSuchObject, ErrorBody::None),
    ] {
        let request = read_of(object, offset, length);
        let reply = world.ask(peer, &request, &[]);
        assert_eq!((reply.status, reply.detail()), (status, detail));
        assert!(reply.payload.is_empty());
    }
    world.end();
}

#[test]
fn what_was_written_is_read_by_everybody() {
    let mut world = World::new(Settings::default());
    let (writer, reader) = (world.connect(), world.connect_with(Features::PAYLOAD_CRC));
    for (namespace, block) in [(1, 4096_u64), (2, 512)] {
        let object = world.open(writer, namespace, 8192, None);
        let other = world.open(reader, namespace, 0, None);
        for (index, blocks) in [1, 2, 32_768 / block].into_iter().enumerate() {
            let offset = (3 + 100 * index as u64) * block;
            let length = (blocks * block) as usize;
            let bytes = pattern(7, offset, length);
            world.write(writer, object, offset, &bytes);
            // The same place, named from the start of the namespace, and its neighbours.
            let start = 8192 + offset - block;
            let around = length as u32 + 2 * block as u32;
            let found = world.read(reader, other, start, around);
            let mut right = pattern(namespace, start, around as usize);
            right[block as usize..][..length].copy_from_slice(&bytes);
            assert!(found == right, "{blocks} blocks of namespace {namespace}");
        }
    }
    world.end();
}

#[test]
fn writes_that_cannot_be_change_nothing() {
    let mut world = World::new(Settings {
        mdts: 2,
        ..Settings::default()
    });
    let peer = world.connect();
    assert_eq!(world.session(peer).terms().unwrap().io_bytes_max, 16_384);
    let object = world.open(peer, 1, 0, Some(64 * 4096));
    let misaligned = ErrorBody::Misaligned { block_bytes: 4096 };
    for (object, offset, length, status, detail) in [
        (object, 0, 0, Status::Misaligned, misaligned.clone()),
        (object, 0, 512, Status::Misaligned, misaligned.clone()),
        (object, 512, 4096, Status::Misaligned, misaligned),
        (
            object,
            0,
            20_480,
            Status::TooLarge,
            ErrorBody::Limit {
                limit: 16_384,
                got: 20_480,
            },
        ),
        (
            object,
            63 * 4096,
            8192,
            Status::OutOfRange,
            ErrorBody::Limit {
                limit: 64 * 4096,
                got: 65 * 4096,
            },
        ),
        (
            object,
            u64::MAX - 4095,
            4096,
            Status::OutOfRange,
            ErrorBody::Limit {
                limit: 64 * 4096,
                got: u64::MAX,
            },
        ),
        (99, 0, 4096, Status::NoSuchObject, ErrorBody::None),
    ] {
        let reply = world.ask(peer, &WriteRequest { object, offset }, &vec![0xee; length]);
        assert_eq!((reply.status, reply.detail()), (status, detail));
    }
    assert_eq!(world.count("bytes_written"), 0);
    let found: Vec<u8> = (0..16)
        .flat_map(|at| world.read(peer, object, at * 16_384, 16_384))
        .collect();
    assert!(found == pattern(1, 0, 64 * 4096));
    world.end();
}

#[test]
fn a_flush_answers_with_the_epoch_that_writes_have() {
    let mut world = World::new(Settings::default());
    let (peer, object) = world.connect_to(2);
    let epoch = world.session(peer).terms().unwrap().drive_epoch;
    let reply = world.ask(peer, &WriteRequest { object, offset: 0 }, &[1; 512]);
    assert_eq!(reply.decode::<WriteRequest>().unwrap().drive_epoch, epoch);
    let reply = world.ask(peer, &FlushRequest { object }, &[]);
    assert_eq!(reply.decode::<FlushRequest>().unwrap().drive_epoch, epoch);
    assert_eq!(world.count("flushes_sent"), 1);
    let object = object + 1;
    let reply = world.ask(peer, &FlushRequest { object }, &[]);
    assert_eq!(reply.status, Status::NoSuchObject);
    assert_eq!(world.count("flushes_sent"), 1);
    world.end();
}

#[test]
fn flushes_that_come_together_share_a_command() {
    let mut world = World::new(Settings {
        write_latency_us: 5_000,
        ..Settings::default()
    });
    let peers: Vec<_> = (0..4).map(|_| world.connect()).collect();
    let objects: Vec<_> = peers.iter().map(|&it| world.open(it, 1, 0, None)).collect();
    let flush_all = |world: &mut World| {
        let asked: Vec<_> = peers
            .iter()
            .zip(&objects)
            .map(|(&peer, &object)| (peer, world.submit(peer, &FlushRequest { object }, &[])))
            .collect();
        world.advance(1_000);
        asked
    };
    // The first is at the drive when the rest come: they may not join it.
    let first = world.submit(peers[0], &FlushRequest { object: objects[0] }, &[]);
    world.advance(1_000);
    let mut asked = flush_all(&mut world);
    asked.push((peers[0], first));
    for (peer, ticket) in asked {
        assert_eq!(world.reply(peer, ticket).status, Status::Ok);
    }
    assert_eq!(world.count("flushes_sent"), 2);
    assert_eq!(world.count("flushes_joined"), 5);
    world.end();
}

#[test]
fn an_object_belongs_to_its_connection_and_ends_with_it() {
    let mut world = World::new(Settings::default());
    let (owner, other) = (world.connect(), world.connect());
    let object = world.open(owner, 1, 0, None);
    let read = read_of(object, 0, 512);
    for reply in [
        world.ask(other, &read, &[]),
        world.ask(other, &WriteRequest { object, offset: 0 }, &[0; 4096]),
        world.ask(other, &FlushRequest { object }, &[]),
        world.ask(other, &CloseRequest { object }, &[]),
    ] {
        assert_eq!(reply.status, Status::NoSuchObject);
    }
    assert_eq!(world.read(owner, object, 0, 512), pattern(1, 0, 512));
    let close = CloseRequest { object };
    assert_eq!(world.ask(owner, &close, &[]).status, Status::Ok);
    assert_eq!(world.ask(owner, &read, &[]).status, Status::NoSuchObject);
    assert_eq!(world.ask(owner, &close, &[]).status, Status::NoSuchObject);
    // Its slot serves again; the old id names nothing in it.
    let again = world.open(owner, 2, 0, None);
    assert_ne!(again, object);
    assert_eq!(world.ask(owner, &read, &[]).status, Status::NoSuchObject);
    world.close(owner);
    world.until("the objects to go", |world| world.used("objects") == 0);
    world.end();
}

#[test]
fn objects_have_an_end_in_number() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    for _ in 0..64 {
        world.open(peer, 1, 0, None);
    }
    let open = open_of(1, 0, None);
    assert_eq!(world.ask(peer, &open, &[]).status, Status::TooLarge);
    // Others are not kept from theirs.
    let other = world.connect();
    world.open(other, 1, 0, None);
    world.end();

    let mut world = World::new(Settings {
        limits: TINY,
        ..Settings::default()
    });
    let peer = world.connect();
    for _ in 0..TINY.objects {
        world.open(peer, 1, 0, None);
    }
    assert_eq!(world.ask(peer, &open, &[]).status, Status::PoolExhausted);
    world.end();
}

#[test]
fn info_tells_of_the_drive_and_the_limits() {
    let block = |bytes: usize, block_bytes| NamespaceSettings {
        bytes: vec![0; bytes],
        block_bytes,
    };
    let mut world = World::new(Settings {
        namespaces: vec![block(8192, 512), block(1 << 20, 4096), block(2048, 1024)],
        ..Settings::default()
    });
    let peer = world.connect();
    world.advance(3_000_000);
    let reply = world.ask(peer, &InfoRequest {}, &[]);
    let info = reply.decode::<InfoRequest>().unwrap();
    let found: Vec<_> = info
        .namespaces
        .iter()
        .map(|it| (it.id, it.blocks, it.block_bytes))
        .collect();
    assert_eq!(found, [(1, 16, 512), (2, 256, 4096), (3, 2, 1024)]);
    assert_eq!(info.serial.trim_end(), "OUTBOARD0001");
    assert_eq!(info.board, "host-sim");
    assert_eq!(info.limits.connections, 64);
    assert_eq!(info.limits.credits, 128);
    assert_eq!(info.limits.io_bytes, 131_072);
    assert!((3_000_000..4_000_000).contains(&info.uptime_us));
    assert_eq!(
        info.drive_epoch,
        world.session(peer).terms().unwrap().drive_epoch
    );
    world.end();
}

#[test]
fn stats_count_what_happened() {
    let mut world = World::new(Settings::default());
    let (peer, object) = world.connect_to(1);
    world.read(peer, object, 100, 1000);
    world.write(peer, object, 0, &[0; 8192]);
    let reply = world.ask(peer, &StatsRequest {}, &[]);
    let stats = reply.decode::<StatsRequest>().unwrap();
    let count = |name: &str| {
        let counter = stats.counters.iter().find(|it| it.name == name);
        counter.unwrap_or_else(|| panic!("no counter {name}")).value
    };
    assert_eq!(count("bytes_read"), 1000);
    assert_eq!(count("bytes_written"), 8192);
    assert_eq!(count("requests"), 4);
    assert_eq!(count("connections_opened"), 1);
    assert_eq!(count("nvme_timeouts"), 0);
    let pool = |name: &str| {
        let pool = stats.pools.iter().find(|it| it.name == name).unwrap();
        (pool.used, pool.peak)
    };
    assert_eq!(pool("connections"), (1, 1));
    assert_eq!(pool("objects"), (1, 1));
    assert_eq!(pool("data_pages"), (0, 2));
    // Stats itself is the one request in flight.
    assert_eq!(pool("requests"), (1, 1));
    world.end();
}

#[test]
fn answers_come_as_they_are_ready() {
    let mut world = World::new(Settings {
        read_latency_us: 10_000,
        write_latency_us: 2_000,
        ..Settings::default()
    });
    let (peer, object) = world.connect_to(1);
    let read = read_of(object, 0, 131_072);
    let read = world.submit(peer, &read, &[]);
    let offset = 1 << 20;
    let write = world.submit(peer, &WriteRequest { object, offset }, &[7; 4096]);
    let info = world.submit(peer, &InfoRequest {}, &[]);
    let mut order = Vec::new();
    world.until("three replies", |world| {
        while let Some(reply) = world.session(peer).next_reply() {
            assert_eq!(reply.status, Status::Ok);
            order.push(reply.ticket);
        }
        order.len() == 3
    });
    assert_eq!(order, [info, write, read]);
    world.end();
}

#[test]
fn a_request_at_the_drive_ends_before_it_is_cancelled() {
    let mut world = World::new(Settings {
        read_latency_us: 1_000_000,
        write_latency_us: 1_000_000,
        ..Settings::default()
    });
    let (peer, object) = world.connect_to(1);
    let read = read_of(object, 0, 4096);
    let read = world.submit(peer, &read, &[]);
    let write = world.submit(peer, &WriteRequest { object, offset: 0 }, &[9; 4096]);
    let flush = world.submit(peer, &FlushRequest { object }, &[]);
    world.advance(1_000);
    for ticket in [read, write, flush] {
        world.cancel(peer, ticket);
    }
    world.advance(1_000);
    assert_eq!(world.session(peer).in_flight(), 3, "the drive has them");
    let reply = world.reply(peer, read);
    assert_eq!(reply.status, Status::Cancelled);
    assert!(reply.payload.is_empty());
    // A write at the drive is never cancelled.
    assert_eq!(world.reply(peer, write).status, Status::Ok);
    assert_eq!(world.reply(peer, flush).status, Status::Ok);
    assert_eq!(world.count("cancels"), 3);
    assert_eq!(world.read(peer, object, 0, 4096), [9; 4096]);
    world.end();
}

#[test]
fn what_waits_is_cancelled_at_once() {
    let mut world = World::new(Settings {
        limits: TINY,
        read_latency_us: 1_000_000,
        ..Settings::default()
    });
    let (peer, object) = world.connect_to(1);
    let read = read_of(object, 0, 131_072);
    // The first has all the pages there are for reads but two.
    let held = world.submit(peer, &read, &[]);
    let waiting = world.submit(peer, &read, &[]);
    world.advance(1_000);
    world.cancel(peer, waiting);
    world.advance(1_000);
    let reply = world.session(peer).take_reply(waiting).expect("at once");
    assert_eq!(reply.status, Status::Cancelled);
    assert_eq!(world.reply(peer, held).status, Status::Ok);

    let endless = world.load(peer, "endless", &Image::endless().build());
    let instance = world.attach(peer, endless, &[]);
    let call = CallRequest { instance };
    let calls: Vec<_> = (0..3).map(|_| world.submit(peer, &call, &[])).collect();
    world.advance(1_000);
    assert_eq!(world.used("invocations"), 2, "one connection's share");
    world.cancel(peer, calls[2]);
    world.advance(1_000);
    let reply = world.session(peer).take_reply(calls[2]).expect("at once");
    assert_eq!(reply.status, Status::Cancelled);
    // Those that run end at their next slice.
    for &ticket in &calls[..2] {
        world.cancel(peer, ticket);
    }
    world.advance(1_000);
    for &ticket in &calls[..2] {
        let reply = world.session(peer).take_reply(ticket).expect("soon");
        assert_eq!(reply.status, Status::Cancelled);
    }
    assert_eq!(world.used("invocations"), 0);
    world.end();
}

#[test]
fn a_program_at_the_drive_is_cancelled_when_the_drive_has_answered() {
    let mut world = World::new(Settings {
        read_latency_us: 1_000_000,
        ..Settings::default()
    });
    let (peer, object) = world.connect_to(1);
    let reader = world.load(peer, "reader", &Image::reader().build());
    let instance = world.attach(peer, reader, &[object]);
    let args = Image::reader_args(5, 60_000);
    let call = world.submit(peer, &CallRequest { instance }, &args);
    world.advance(1_000);
    world.cancel(peer, call);
    world.advance(1_000);
    assert_eq!(world.used("invocations"), 1, "its scratch is at the drive");
    assert_eq!(world.reply(peer, call).status, Status::Cancelled);
    let (_, bytes) = world.call(peer, instance, &args);
    assert!(bytes == pattern(1, 5, 60_000));
    world.end();
}

#[test]
fn a_cancel_of_nothing_is_counted_and_harms_nobody() {
    let mut world = World::new(Settings {
        read_latency_us: 100_000,
        ..Settings::default()
    });
    let victim = world.connect();
    let object = world.open(victim, 1, 0, None);
    let read = read_of(object, 0, 512);
    let ticket = world.submit(victim, &read, &[]);
    world.advance(1_000);
    let raw = world.greet_raw();
    for (id, request) in [(1, 0), (2, 2), (3, u64::MAX), (4, ticket.request().0)] {
        let bytes = frame(Kind::Cancel, id, &CancelRequest { request }, &[]);
        world.send(raw, &bytes);
    }
    // A body that does not decode names nothing either.
    let mut bad = forged_header(Kind::Cancel.0, 0, 1, 5, 0).to_vec();
    bad.push(0xff);
    world.send(raw, &bad);
    world.send(raw, &frame(Kind::Info, 6, &InfoRequest {}, &[]));
    let frames = world.next_frames(raw);
    assert_eq!(frames.len(), 1, "a cancel has no reply");
    assert_eq!(frames[0].header.request.0, 6);
    assert_eq!(world.count("cancels_unknown"), 5);
    assert_eq!(world.reply(victim, ticket).status, Status::Ok);
    world.end();
}

#[test]
fn a_kind_from_the_future_is_answered_and_skipped() {
    let mut world = World::new(Settings::default());
    let raw = world.greet_raw();
    let mut bytes = forged_header(0x55, 0, 3, 1, 10_000).to_vec();
    bytes.extend_from_slice(&[1; 3 + 10_000]);
    bytes.extend_from_slice(&frame(Kind::Info, 2, &InfoRequest {}, &[]));
    world.send(raw, &bytes);
    let mut frames = Vec::new();
    world.until("two replies", |world| {
        frames.extend(world.take_frames(raw));
        frames.len() == 2
    });
    assert_eq!(frames[0].header.status, Status::UnknownKind);
    assert_eq!(frames[0].header.kind, Kind(0x55 | 0x80));
    assert_eq!(frames[1].header.status, Status::Ok);
    world.end();
}

#[test]
fn a_body_that_does_not_decode_is_an_error_of_that_request_alone() {
    let mut world = World::new(Settings::default());
    let raw = world.greet_raw();
    let kinds = [
        Kind::Open,
        Kind::Close,
        Kind::Read,
        Kind::Write,
        Kind::Flush,
        Kind::Load,
        Kind::LoadPiece,
        Kind::Attach,
        Kind::Detach,
        Kind::Call,
        Kind::Unload,
        Kind::Stats,
        Kind::Info,
        Kind::Programs,
    ];
    let mut id = 0;
    for kind in kinds {
        // Varints that never end, and bytes left over.
        for body in [&[0xff; 40][..], &[0; 300]] {
            id += 1;
            let mut bytes = forged_header(kind.0, 0, body.len() as u16, id, 0).to_vec();
            bytes.extend_from_slice(body);
            world.send(raw, &bytes);
            let frames = world.next_frames(raw);
            assert_eq!(frames[0].header.status, Status::BadBody, "{kind:?}");
            assert_eq!(frames[0].header.credits, 1);
        }
    }
    // A payload where none belongs.
    world.send(raw, &frame(Kind::Info, id + 1, &InfoRequest {}, &[1; 9]));
    let frames = world.next_frames(raw);
    assert_eq!(frames[0].header.status, Status::BadBody);
    world.end();
}

#[test]
fn replies_with_checksums_are_frames_of_a_page() {
    let mut world = World::new(Settings::default());
    // By the hello for all of the connection, or by a request for itself.
    for (features, make, sums) in [
        (Features::PAYLOAD_CRC, frame as Make, 3),
        (Features::NONE, checked_frame, 3),
        (Features::NONE, frame, 0),
    ] {
        let raw = world.greet_raw_with(features);
        let object = world.open_raw(raw);
        world.send(
            raw,
            &make(Kind::Read, 2, &read_of(object, 1000, 10_000), &[]),
        );
        let (mut payload, mut ended, mut checked) = (Vec::new(), false, 0);
        world.until("the whole reply", |world| {
            // `take_frames` checks the sums.
            for frame in world.take_frames(raw) {
                assert_eq!(frame.header.request.0, 2);
                checked += u32::from(frame.header.flags.contains(Flags::PAYLOAD_CRC));
                ended = !frame.header.more_follows();
                payload.extend(frame.payload);
            }
            ended
        });
        assert!(payload == pattern(1, 1000, 10_000));
        assert_eq!(checked, sums, "3096, 4096 and 2808 bytes");
    }
    world.end();
}

/// How a request becomes bytes.
type Make = fn(Kind, u64, &ReadRequest, &[u8]) -> Vec<u8>;
