//! Every request about programs, done and refused: load, attach, call, detach, unload, list.

use dpu_firmware::limits::{Limits, SMALL};
use outboard_tests::world::{Image, PeerId, Settings, TINY, World, frame, image, pattern, sha256};
use protocol::message::{
    AttachRequest, CallRequest, CloseRequest, DetachRequest, LoadPieceRequest, LoadRequest,
    ProgramsRequest, StatsRequest, UnloadRequest,
};
use protocol::{ErrorBody, Kind, Status};

/// An image that differs from others by its number.
fn numbered(number: u32) -> Vec<u8> {
    image(&format!("mov r0, 0\nmov r1, {number}\nexit")).build()
}

fn begin(world: &mut World, peer: PeerId, name: &str, image: &[u8]) -> Status {
    let request = LoadRequest {
        name,
        total_bytes: image.len() as u32,
        sha256: sha256(image),
        strict: false,
    };
    world.ask(peer, &request, &[]).status
}

#[test]
fn an_image_arrives_whole_in_pieces_of_any_size() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    // Longer than a frame's payload: many instructions that do nothing.
    let text = "mov r1, 1\n".repeat(4_090) + "mov r0, 7\nexit";
    let long = image(&text).build();
    assert!(long.len() > 32_000);
    for piece_bytes in [32_768, 10_007, 4_096] {
        let name = format!("long-{piece_bytes}");
        let reply = world.upload(peer, &name, &long, sha256(&long), piece_bytes);
        assert_eq!(reply.status, Status::Ok, "{}", reply.detail());
        let loaded = reply.decode::<LoadPieceRequest>().unwrap();
        let instance = world.attach(peer, loaded.program.unwrap(), &[]);
        assert_eq!(world.call(peer, instance, &[]).0.result, 7);
    }
    let short = numbered(5);
    for piece_bytes in [1, 7, short.len()] {
        let name = format!("short-{piece_bytes}");
        let reply = world.upload(peer, &name, &short, sha256(&short), piece_bytes);
        assert_eq!(reply.status, Status::Ok, "pieces of {piece_bytes}");
    }
    assert_eq!(world.used("programs"), 6);
    assert_eq!(world.used("uploads"), 0);
    world.end();
}

#[test]
fn an_upload_that_breaks_off_can_be_begun_anew() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let image = Image::echo().build();
    let piece = LoadPieceRequest { offset: 0 };
    assert_eq!(
        world.ask(peer, &piece, &image).status,
        Status::NoUpload,
        "nothing was announced"
    );
    // Announced with another digest.
    let reply = world.upload(peer, "echo", &image, [7; 32], 50);
    assert_eq!(reply.status, Status::DigestMismatch);
    assert_eq!(world.used("uploads"), 0);
    // A piece from elsewhere, an empty one, and one too long: the upload goes on all the same.
    assert_eq!(begin(&mut world, peer, "echo", &image), Status::Ok);
    assert_eq!(
        begin(&mut world, peer, "other", &image),
        Status::UploadInProgress
    );
    assert_eq!(world.ask(peer, &piece, &image[..50]).status, Status::Ok);
    for (offset, bytes) in [(0, &image[..50]), (51, &image[51..60]), (50, &[])] {
        let reply = world.ask(peer, &LoadPieceRequest { offset }, bytes);
        assert_eq!(reply.status, Status::BadOffset);
        let got = offset.into();
        assert_eq!(reply.detail(), ErrorBody::Limit { limit: 50, got });
    }
    let mut longer = image[50..].to_vec();
    longer.push(0);
    let rest = LoadPieceRequest { offset: 50 };
    assert_eq!(world.ask(peer, &rest, &longer).status, Status::BadOffset);
    let reply = world.ask(peer, &rest, &image[50..]);
    assert!(
        reply
            .decode::<LoadPieceRequest>()
            .unwrap()
            .program
            .is_some()
    );
    world.end();
}

#[test]
fn what_cannot_be_loaded_is_refused_at_once() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let too_long = "n".repeat(33);
    for (name, total_bytes, status) in [
        ("", 100, Status::BadBody),
        (too_long.as_str(), 100, Status::BadBody),
        ("two words", 100, Status::BadBody),
        ("süß", 100, Status::BadBody),
        ("empty", 0, Status::BadBody),
        ("huge", 65_537, Status::TooLarge),
        ("huge", u32::MAX, Status::TooLarge),
    ] {
        let request = LoadRequest {
            name,
            total_bytes,
            sha256: [0; 32],
            strict: false,
        };
        let reply = world.ask(peer, &request, &[]);
        assert_eq!(reply.status, status, "{name:?}, {total_bytes} bytes");
    }
    assert_eq!(world.used("uploads"), 0);
    world.end();
}

#[test]
fn a_name_belongs_to_its_bytes() {
    let mut world = World::new(Settings::default());
    let (one, other) = (world.connect(), world.connect());
    let program = world.load(one, "name", &numbered(1));
    assert_eq!(world.load(other, "name", &numbered(1)), program);
    let reply = world.try_load(other, "name", &numbered(2));
    assert_eq!(reply.status, Status::NameTaken);
    // Everybody may use it, and it outlives who brought it.
    world.close(one);
    world.until("the connection to go", |world| {
        world.used("connections") == 1
    });
    world.attach(other, program, &[]);
    assert_eq!(world.used("programs"), 1);
    world.end();
}

#[test]
fn an_upload_ends_with_its_connection() {
    let mut world = World::new(Settings {
        limits: TINY,
        ..Settings::default()
    });
    for reset in [false, true] {
        let (peer, other) = (world.connect(), world.connect());
        let image = numbered(1);
        assert_eq!(begin(&mut world, peer, "one", &image), Status::Ok);
        world.ask(peer, &LoadPieceRequest { offset: 0 }, &image[..9]);
        // The one buffer there is.
        assert_eq!(
            begin(&mut world, other, "two", &image),
            Status::PoolExhausted
        );
        if reset {
            world.abort(peer);
        } else {
            world.close(peer);
        }
        world.until("the upload to go", |world| world.used("uploads") == 0);
        assert_eq!(begin(&mut world, other, "two", &image), Status::Ok);
        world.close(other);
        world.until("both to go", |world| world.used("connections") == 0);
    }
    world.end();
}

#[test]
fn an_upload_ends_after_thirty_idle_seconds() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let image = numbered(1);
    assert_eq!(begin(&mut world, peer, "one", &image), Status::Ok);
    for offset in 0..3 {
        world.advance(29_000_000);
        let piece = &image[offset as usize..][..1];
        let reply = world.ask(peer, &LoadPieceRequest { offset }, piece);
        assert_eq!(reply.status, Status::Ok, "each piece keeps it alive");
    }
    world.advance(31_000_000);
    assert_eq!(world.used("uploads"), 0);
    let reply = world.ask(peer, &LoadPieceRequest { offset: 3 }, &image[3..]);
    assert_eq!(reply.status, Status::NoUpload);
    assert_eq!(begin(&mut world, peer, "one", &image), Status::Ok);
    world.end();
}

#[test]
fn a_piece_that_stops_half_way_loses_its_upload_and_not_the_connection() {
    let mut world = World::new(Settings::default());
    let raw = world.greet_raw();
    let image = numbered(1);
    let load = LoadRequest {
        name: "one",
        total_bytes: image.len() as u32,
        sha256: sha256(&image),
        strict: false,
    };
    world.send(raw, &frame(Kind::Load, 1, &load, &[]));
    assert_eq!(world.next_frames(raw)[0].header.status, Status::Ok);
    let piece = frame(Kind::LoadPiece, 2, &LoadPieceRequest { offset: 0 }, &image);
    let (now, later) = piece.split_at(piece.len() - 20);
    world.send(raw, now);
    world.advance(31_000_000);
    assert_eq!(world.used("uploads"), 0);
    let frames = world.take_frames(raw);
    assert_eq!(frames[0].header.status, Status::Cancelled);
    // Another upload may begin before the rest of the piece is here; it gets none of it.
    world.send(raw, later);
    let mut load_again = frame(Kind::Load, 3, &load, &[]);
    load_again.extend(frame(
        Kind::LoadPiece,
        4,
        &LoadPieceRequest { offset: 0 },
        &image,
    ));
    world.send(raw, &load_again);
    let mut statuses = Vec::new();
    world.until("both replies", |world| {
        let frames = world.take_frames(raw);
        statuses.extend(frames.iter().map(|it| it.header.status));
        statuses.len() == 2
    });
    assert_eq!(statuses, [Status::Ok, Status::Ok]);
    assert_eq!(world.used("programs"), 1);
    world.end();
}

#[test]
fn the_store_has_an_end_and_begins_again_after_unload() {
    let mut world = World::new(Settings {
        limits: TINY,
        ..Settings::default()
    });
    let peer = world.connect();
    let first = world.load(peer, "one", &numbered(1));
    world.load(peer, "two", &numbered(2));
    let reply = world.try_load(peer, "three", &numbered(3));
    assert_eq!(reply.status, Status::PoolExhausted);
    let unload = UnloadRequest { program: first };
    assert_eq!(world.ask(peer, &unload, &[]).status, Status::Ok);
    assert_eq!(
        world.ask(peer, &unload, &[]).status,
        Status::NoSuchProgram,
        "it is gone"
    );
    let third = world.load(peer, "three", &numbered(3));
    assert_ne!(third, first);
    assert_eq!(world.ask(peer, &unload, &[]).status, Status::NoSuchProgram);
    let request = AttachRequest {
        program: first,
        objects: [].into_iter().collect(),
        instruction_budget: 0,
        read_budget: 0,
    };
    assert_eq!(world.ask(peer, &request, &[]).status, Status::NoSuchProgram);
    world.end();
}

#[test]
fn the_list_has_every_program_once_in_order_of_id() {
    let mut world = World::new(Settings {
        limits: Limits {
            programs: 128,
            ..SMALL
        },
        ..Settings::default()
    });
    let peer = world.connect();
    let mut ids: Vec<u32> = (0..70)
        .map(|number| world.load(peer, &format!("p{number}"), &numbered(number)))
        .collect();
    // Slots that were used before, at the start, in the middle and at a page's end.
    for index in [0, 31, 40] {
        let program = ids[index];
        world.ask(peer, &UnloadRequest { program }, &[]);
        ids[index] = world.load(peer, &format!("q{index}"), &numbered(1000));
    }
    let instance = world.attach(peer, ids[40], &[]);
    world.call(peer, instance, &[]);
    let mut listed: Vec<(u32, String, u32, u64)> = Vec::new();
    let mut pages = Vec::new();
    loop {
        let after = listed.last().map_or(0, |&(id, ..)| id);
        let reply = world.ask(peer, &ProgramsRequest { after }, &[]);
        let page = reply.decode::<ProgramsRequest>().unwrap();
        pages.push(page.programs.len());
        for it in &page.programs {
            listed.push((it.program, it.name.to_owned(), it.instances, it.calls));
        }
        if !page.more {
            break;
        }
    }
    assert_eq!(pages, [32, 32, 6]);
    assert!(listed.is_sorted_by(|a, b| a.0 < b.0), "ids rise");
    ids.sort_unstable();
    assert_eq!(listed.iter().map(|it| it.0).collect::<Vec<_>>(), ids);
    let called = listed.iter().find(|it| it.1 == "q40").unwrap();
    assert_eq!((called.2, called.3), (1, 1));
    let reply = world.ask(peer, &ProgramsRequest { after: u32::MAX }, &[]);
    let page = reply.decode::<ProgramsRequest>().unwrap();
    assert!(page.programs.is_empty() && !page.more);
    world.end();
}

#[test]
fn attach_checks_what_it_is_given() {
    let mut world = World::new(Settings::default());
    let (peer, other) = (world.connect(), world.connect());
    let object = world.open(peer, 1, 0, None);
    let foreign = world.open(other, 1, 0, None);
    let program = world.load(peer, "reader", &Image::reader().build());
    let attach = |objects: &[u32], instruction_budget, read_budget| AttachRequest {
        program,
        objects: objects.iter().copied().collect(),
        instruction_budget,
        read_budget,
    };
    let limit = |limit, got| ErrorBody::Limit { limit, got };
    for (request, status, detail) in [
        (attach(&[], 0, 0), Status::BadBody, None),
        (attach(&[foreign], 0, 0), Status::NoSuchObject, None),
        (attach(&[object, 9], 0, 0), Status::NoSuchObject, None),
        (
            attach(&[object], 100_000_001, 0),
            Status::TooLarge,
            Some(limit(100_000_000, 100_000_001)),
        ),
        (
            attach(&[object], 0, 100_001),
            Status::TooLarge,
            Some(limit(100_000, 100_001)),
        ),
        (
            AttachRequest {
                program: program + 1,
                ..attach(&[object], 0, 0)
            },
            Status::NoSuchProgram,
            None,
        ),
    ] {
        let reply = world.ask(peer, &request, &[]);
        assert_eq!(reply.status, status);
        if let Some(detail) = detail {
            assert_eq!(reply.detail(), detail);
        }
    }
    assert_eq!(world.used("instances"), 0);
    // One object under several numbers is fine.
    world.attach(peer, program, &[object; 8]);
    world.end();
}

#[test]
fn instances_have_an_end_in_number() {
    let mut world = World::new(Settings {
        limits: TINY,
        ..Settings::default()
    });
    let (peer, other) = (world.connect(), world.connect());
    let program = world.load(peer, "echo", &Image::echo().build());
    let mut last = 0;
    for _ in 0..4 {
        last = world.attach(peer, program, &[]);
    }
    let request = AttachRequest {
        program,
        objects: [].into_iter().collect(),
        instruction_budget: 0,
        read_budget: 0,
    };
    assert_eq!(
        world.ask(other, &request, &[]).status,
        Status::PoolExhausted
    );
    let detach = DetachRequest { instance: last };
    assert_eq!(
        world.ask(other, &detach, &[]).status,
        Status::NoSuchInstance
    );
    assert_eq!(world.ask(peer, &detach, &[]).status, Status::Ok);
    assert_eq!(world.ask(peer, &detach, &[]).status, Status::NoSuchInstance);
    assert_eq!(world.ask(other, &request, &[]).status, Status::Ok);
    world.end();
}

#[test]
fn arguments_and_replies_arrive_as_they_were_sent() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let echo = Image::echo().args_max(4096).reply_max(4096).build();
    let program = world.load(peer, "echo", &echo);
    let instance = world.attach(peer, program, &[]);
    // To the byte around what fits a request's slot, and around pages.
    for length in [0, 1, 63, 127, 128, 129, 1000, 4095, 4096] {
        let args = pattern(3, length as u64, length);
        let (reply, bytes) = world.call(peer, instance, &args);
        assert_eq!(reply.result as usize, length);
        assert!(bytes == args, "{length} bytes");
    }
    let reply = world.try_call(peer, instance, &[0; 4097]);
    assert_eq!(reply.status, Status::ArgumentsTooLong);
    let (limit, got) = (4096, 4097);
    assert_eq!(reply.detail(), ErrorBody::Limit { limit, got });
    world.end();
}

/// What `text` makes of its arguments, whose address it finds in r6.
fn result_of(world: &mut World, peer: PeerId, text: &str, args: &[u8]) -> i64 {
    let image = Image::result_of(&format!("ldxdw r6, [r9]\n{text}")).build();
    let program = world.load(peer, "result", &image);
    let instance = world.attach(peer, program, &[]);
    let (_, bytes) = world.call(peer, instance, args);
    world.ask(peer, &DetachRequest { instance }, &[]);
    world.ask(peer, &UnloadRequest { program }, &[]);
    i64::from_le_bytes(bytes.try_into().unwrap())
}

#[test]
fn helpers_give_what_dpu_h_says() {
    const ENOENT: i64 = -2;
    const EFAULT: i64 = -14;
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let args = b"abcabdabdabdxyz";
    let find = |hay: u32, needle: u32, length: u32| {
        format!(
            "mov r1, r6\nmov r2, {hay}\nmov r3, r6\nadd r3, {needle}\nmov r4, {length}\ncall 0x100b"
        )
    };
    let compare = |a: u32, b: u32, length: u32| {
        format!("mov r1, r6\nadd r1, {a}\nmov r2, r6\nadd r2, {b}\nmov r3, {length}\ncall 0x1009")
    };
    for (text, result) in [
        (find(9, 9, 3), 3),
        (find(9, 12, 3), ENOENT),
        (find(9, 0, 9), 0),
        (find(9, 5, 0), 0),
        (find(0, 5, 0), 0),
        // A needle longer than the hay is found nowhere, and must be the program's all the same.
        (find(2, 0, 3), ENOENT),
        (find(0, 0, 64), ENOENT),
        (find(0, 0, 65), EFAULT),
        (find(65, 0, 1), EFAULT),
        (compare(0, 3, 2), 0),
        (compare(0, 3, 3), -1),
        (compare(3, 0, 3), 1),
        (compare(0, 3, 0), 0),
        // Copies overlap.
        (
            "lddw r1, scratch\nmov r2, r6\nmov r3, 9\ncall 0x100a\n\
             lddw r1, scratch+1\nlddw r2, scratch\nmov r3, 8\ncall 0x100a\n\
             lddw r1, scratch+1\nldxdw r0, [r1]"
                .into(),
            i64::from_le_bytes(*b"abcabdab"),
        ),
    ] {
        assert_eq!(result_of(&mut world, peer, &text, args), result, "{text}");
    }

    // The check value of the catalogue, at once and in two pieces.
    let whole = "mov r1, 0\nmov r2, r6\nmov r3, 9\ncall 0x100c";
    let pieces = "mov r1, 0\nmov r2, r6\nmov r3, 5\ncall 0x100c\n\
                  mov r1, r0\nmov r2, r6\nadd r2, 5\nmov r3, 4\ncall 0x100c";
    for text in [whole, pieces] {
        let sum = result_of(&mut world, peer, text, b"123456789");
        assert_eq!(sum, 0xe306_9283, "{text}");
    }

    // The clock stands still in a slice and is the agent's.
    let twice = "call 5\nmov r7, r0\ncall 5\nsub r0, r7";
    assert_eq!(result_of(&mut world, peer, twice, &[]), 0);
    let before_us = world.now_us() as i64;
    let clock_us = result_of(&mut world, peer, "call 5", &[]) / 1_000;
    assert!((before_us..=world.now_us() as i64).contains(&clock_us));

    // Random numbers have 32 bits, and are others in each call and each invocation.
    let both = "call 7\nmov r7, r0\ncall 7\nlsh r0, 32\nor r0, r7";
    let numbers: Vec<u64> = (0..2)
        .map(|_| result_of(&mut world, peer, both, &[]) as u64)
        .flat_map(|both| [both >> 32, both & 0xffff_ffff])
        .collect();
    for (index, number) in numbers.iter().enumerate() {
        assert!(!numbers[..index].contains(number), "{numbers:?}");
    }
    world.end();
}

#[test]
fn a_program_reads_its_object_and_no_other() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let program = world.load(peer, "reader", &Image::reader().build());
    for (namespace, start, bytes) in [(1, 40_960, 81_920), (2, 512, 100_352)] {
        let object = world.open(peer, namespace, start, Some(bytes));
        let instance = world.attach(peer, program, &[object]);
        for (offset, length) in [
            (0, 1),
            (0, 65_536),
            (1, 65_535),
            (4095, 2),
            (511, 514),
            (7, 20_000),
            (bytes - 1, 1),
        ] {
            let args = Image::reader_args(offset, length);
            let (reply, found) = world.call(peer, instance, &args);
            let right = pattern(namespace, start + offset, length as usize);
            assert!(found == right, "{length} bytes at {offset}");
            assert!(reply.reads >= 1 && reply.instructions > 0);
        }
        for (offset, length, errno) in [
            (bytes, 1, -34),
            (bytes - 1, 2, -34),
            (u64::MAX, 1, -34),
            (0, 65_537, -14),
            (0, 1 << 30, -34),
        ] {
            let reply = world.try_call(peer, instance, &Image::reader_args(offset, length));
            assert_eq!(reply.status, Status::ProgramErrno);
            assert_eq!(
                reply.detail(),
                ErrorBody::Errno(errno),
                "{length} at {offset}"
            );
        }
        // Closed since: the program is told so.
        world.ask(peer, &CloseRequest { object }, &[]);
        let reply = world.try_call(peer, instance, &Image::reader_args(0, 1));
        assert_eq!(reply.detail(), ErrorBody::Errno(-9));
    }
    world.end();
}

#[test]
fn a_long_read_of_a_program_goes_in_commands_the_drive_takes() {
    let mut world = World::new(Settings {
        mdts: 1,
        ..Settings::default()
    });
    let (peer, object) = world.connect_to(1);
    let program = world.load(peer, "reader", &Image::reader().build());
    let instance = world.attach(peer, program, &[object]);
    let (reply, found) = world.call(peer, instance, &Image::reader_args(4096, 65_536));
    assert!(found == pattern(1, 4096, 65_536));
    assert_eq!(reply.reads, 8, "of 8 KiB each");
    // A budget of fewer ends it, by name.
    let poor = world.attach_with(peer, program, &[object], 0, 7);
    let reply = world.try_call(peer, poor, &Image::reader_args(4096, 65_536));
    assert_eq!(reply.status, Status::OutOfReads);
    assert_eq!(reply.detail(), ErrorBody::Limit { limit: 7, got: 8 });
    let enough = world.attach_with(peer, program, &[object], 0, 8);
    world.call(peer, enough, &Image::reader_args(4096, 65_536));
    world.end();
}

#[test]
fn results_beyond_the_rules_have_a_status() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    for (result, status) in [
        ("0", Status::Ok),
        ("64", Status::Ok),
        ("65", Status::BadResult),
        ("0x7fffffff", Status::BadResult),
        ("-1", Status::ProgramErrno),
        ("-4095", Status::ProgramErrno),
        ("-4096", Status::BadResult),
        ("-2147483648", Status::BadResult),
    ] {
        let code = image(&format!("mov r0, {result}\nexit")).build();
        let program = world.load(peer, &format!("r{result}"), &code);
        let instance = world.attach(peer, program, &[]);
        let reply = world.try_call(peer, instance, &[]);
        assert_eq!(reply.status, status, "{result}");
        if status == Status::Ok {
            // Nobody wrote there: no other tenant's bytes are in it.
            assert!(reply.payload.iter().all(|&byte| byte == 0));
        }
    }
    // The upper half of r0 means nothing.
    let code = image("lddw r0, 0xffffffff00000003\nexit").build();
    let program = world.load(peer, "wide", &code);
    let instance = world.attach(peer, program, &[]);
    assert_eq!(world.call(peer, instance, &[]).0.result, 3);
    world.end();
}

#[test]
fn what_is_in_use_is_neither_detached_nor_unloaded() {
    let mut world = World::new(Settings::default());
    let (peer, other) = (world.connect(), world.connect());
    let program = world.load(peer, "endless", &Image::endless().build());
    let instance = world.attach(peer, program, &[]);
    let call = world.submit(peer, &CallRequest { instance }, &[]);
    let (detach, unload) = (DetachRequest { instance }, UnloadRequest { program });
    assert_eq!(world.ask(peer, &detach, &[]).status, Status::InUse);
    assert_eq!(world.ask(other, &unload, &[]).status, Status::InUse);
    let foreign = world.ask(other, &CallRequest { instance }, &[]);
    assert_eq!(foreign.status, Status::NoSuchInstance);
    world.cancel(peer, call);
    assert_eq!(world.reply(peer, call).status, Status::Cancelled);
    assert_eq!(world.ask(other, &unload, &[]).status, Status::InUse);
    assert_eq!(world.ask(peer, &detach, &[]).status, Status::Ok);
    assert_eq!(world.ask(other, &unload, &[]).status, Status::Ok);
    let gone = world.ask(peer, &CallRequest { instance }, &[]);
    assert_eq!(gone.status, Status::NoSuchInstance);
    let reply = world.ask(peer, &StatsRequest {}, &[]);
    let stats = reply.decode::<StatsRequest>().unwrap();
    let used = |name| stats.pools.iter().find(|it| it.name == name).unwrap().used;
    assert_eq!((used("programs"), used("instances")), (0, 0));
    world.end();
}

#[test]
fn scratch_of_one_tenant_is_empty_to_the_next() {
    let mut world = World::new(Settings {
        limits: TINY,
        ..Settings::default()
    });
    // Replies with the first eight bytes of scratch and of its own reply as it found them, then
    // fills both with its arguments.
    let probe = image(
        "ldxdw r6, [r1]
         ldxdw r7, [r1+8]
         lddw r8, scratch
         ldxdw r2, [r7+8]
         ldxdw r3, [r8]
         ldxdw r4, [r6]
         stxdw [r8], r4
         stxdw [r7+8], r4
         stxdw [r7], r3
         stxdw [r7+16], r2
         mov r0, 24
         exit",
    )
    .args_max(8)
    .scratch(4096)
    .build();
    let mut seen = Vec::new();
    for round in 0..6_u8 {
        let peer = world.connect();
        let program = world.load(peer, "probe", &probe);
        let instance = world.attach(peer, program, &[]);
        for _ in 0..4 {
            let (_, bytes) = world.call(peer, instance, &[0xa0 + round; 8]);
            seen.extend_from_slice(&bytes[..8]);
            seen.extend_from_slice(&bytes[16..]);
            let own = |&byte: &u8| byte == 0 || byte == 0xa0 + round;
            assert!(seen.iter().all(own), "round {round}: {seen:x?}");
        }
        seen.clear();
        world.close(peer);
        world.until("it to go", |world| world.used("connections") == 0);
    }
    world.end();
}
