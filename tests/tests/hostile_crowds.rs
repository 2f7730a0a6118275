//! Clients that each keep the rules and together want everything there is: a newcomer still gets
//! what every connection is promised, at once.

use outboard_tests::world::{Image, PeerId, Settings, TINY, World, image, pattern, sha256};
use protocol::message::{
    AttachRequest, CallRequest, DetachRequest, LoadPieceRequest, LoadRequest, OpenRequest,
    ReadRequest,
};
use protocol::{Features, Status};

/// How long a newcomer may wait for one thing, virtual time.
const AT_ONCE_US: u64 = 100_000;

/// Connections that want more than there is.
const CROWD: usize = 16;

/// Keeps a connection busy until it has so many credits.
fn grow(world: &mut World, peer: PeerId, object: u32, wanted: usize) {
    let read = ReadRequest {
        object,
        offset: 0,
        length: 1,
    };
    for _ in 0..2 * wanted {
        while world.try_submit(peer, &read, &[]).is_ok() {}
        let window = world.session(peer).in_flight();
        world.until("the answers", |world| world.session(peer).in_flight() == 0);
        while world.session(peer).next_reply().is_some() {}
        if window >= wanted {
            return;
        }
    }
    panic!("credits do not grow to {wanted}");
}

/// A crowd of connections over namespace 1, each with many credits.
fn crowd(world: &mut World) -> Vec<(PeerId, u32)> {
    (0..CROWD)
        .map(|_| {
            let peer = world.connect();
            let object = world.open(peer, 1, 0, None);
            grow(world, peer, object, 64);
            (peer, object)
        })
        .collect()
}

fn leave(world: &mut World, crowd: Vec<(PeerId, u32)>) {
    for (peer, _) in crowd {
        world.abort(peer);
    }
    world.end();
}

#[test]
fn greedy_readers_leave_everybody_a_read_of_the_greatest_size() {
    let mut world = World::new(Settings::default());
    let crowd = crowd(&mut world);
    for &(peer, object) in &crowd {
        world.set_reading(peer, false);
        let read = ReadRequest {
            object,
            offset: 0,
            length: 131_072,
        };
        while world.try_submit(peer, &read, &[]).is_ok() {}
        // One after the other, so that the first take the most.
        world.advance(5_000);
    }
    let newcomer = world.connect();
    let object = world.open(newcomer, 1, 0, None);
    for round in 0..20 {
        let from_us = world.now_us();
        let bytes = world.read(newcomer, object, round * 4096, 131_072);
        assert!(bytes == pattern(1, round * 4096, 131_072));
        assert!(world.now_us() < from_us + AT_ONCE_US, "it was kept waiting");
    }
    assert_eq!(world.count("connections_stalled"), 0, "the crowd is there");
    leave(&mut world, crowd);
}

#[test]
fn replies_that_nobody_reads_leave_everybody_a_call_of_the_greatest_size() {
    let mut world = World::new(Settings::default());
    let crowd = crowd(&mut world);
    // 80 KiB of scratch and 64 KiB of reply: two slabs of the greatest class.
    let long = image("mov r0, 65536\nexit")
        .scratch(81_920)
        .reply_max(65_536);
    let program = world.load(crowd[0].0, "long", &long.build());
    for &(peer, _) in &crowd {
        let instance = world.attach(peer, program, &[]);
        world.set_reading(peer, false);
        while world
            .try_submit(peer, &CallRequest { instance }, &[])
            .is_ok()
        {}
        world.advance(5_000);
    }
    let newcomer = world.connect();
    let instance = world.attach(newcomer, program, &[]);
    for _ in 0..20 {
        let from_us = world.now_us();
        let (reply, bytes) = world.call(newcomer, instance, &[]);
        assert_eq!((reply.result, bytes.len()), (65_536, 65_536));
        assert!(world.now_us() < from_us + AT_ONCE_US, "it was kept waiting");
    }
    assert_eq!(world.count("connections_stalled"), 0, "the crowd is there");
    leave(&mut world, crowd);
}

#[test]
fn programs_that_do_not_end_leave_everybody_an_invocation() {
    let mut world = World::new(Settings::default());
    let crowd = crowd(&mut world);
    let program = world.load(crowd[0].0, "endless", &Image::endless().build());
    for &(peer, _) in &crowd {
        let instance = world.attach(peer, program, &[]);
        while world
            .try_submit(peer, &CallRequest { instance }, &[])
            .is_ok()
        {}
    }
    world.advance(200);
    assert!(world.used("invocations") > 300, "they run");
    let newcomer = world.connect();
    let object = world.open(newcomer, 1, 0, None);
    let program = world.load(newcomer, "reader", &Image::reader().build());
    let reader = world.attach(newcomer, program, &[object]);
    for round in 0..20 {
        let before = world.count("turns");
        let (_, bytes) = world.call(newcomer, reader, &Image::reader_args(round, 100));
        assert!(bytes == pattern(1, round, 100));
        let turns = world.count("turns") - before;
        assert!(turns < 100, "it waited {turns} turns");
    }
    leave(&mut world, crowd);
}

#[test]
fn the_tables_hold_something_for_everybody() {
    let mut world = World::new(Settings::default());
    let owner = world.connect();
    let program = world.load(owner, "endless", &Image::endless().build());
    let open = OpenRequest {
        namespace: 1,
        offset: 0,
        length: None,
    };
    let mut greedy = Vec::new();
    for _ in 0..40 {
        let peer = world.connect();
        while world.ask(peer, &open, &[]).status == Status::Ok {}
        let attach = AttachRequest {
            program,
            objects: Default::default(),
            instruction_budget: 0,
            read_budget: 0,
        };
        while world.ask(peer, &attach, &[]).status == Status::Ok {}
        greedy.push((peer, 0));
    }
    let newcomer = world.connect();
    for _ in 0..8 {
        world.open(newcomer, 1, 0, None);
    }
    for _ in 0..4 {
        world.attach(newcomer, program, &[]);
    }
    assert_eq!(
        world.ask(newcomer, &open, &[]).status,
        Status::PoolExhausted
    );
    let guess = DetachRequest { instance: 1 << 16 };
    assert_eq!(
        world.ask(newcomer, &guess, &[]).status,
        Status::NoSuchInstance,
        "another's"
    );
    world.abort(newcomer);
    world.abort(owner);
    leave(&mut world, greedy);
}

/// A world with hardly anything.
fn tiny() -> World {
    World::new(Settings {
        limits: TINY,
        ..Settings::default()
    })
}

#[test]
fn an_upload_buffer_that_is_not_used_gives_way() {
    let mut world = tiny();
    let image = Image::echo().build();
    let begin = |world: &mut World, peer: PeerId| {
        let load = LoadRequest {
            name: "echo",
            total_bytes: image.len() as u32,
            sha256: sha256(&image),
            strict: false,
        };
        world.ask(peer, &load, &[]).status
    };
    let piece = |world: &mut World, peer: PeerId, offset: u32, bytes: &[u8]| {
        world.ask(peer, &LoadPieceRequest { offset }, bytes).status
    };
    let (first, second) = (world.connect(), world.connect());
    assert_eq!(begin(&mut world, first), Status::Ok);
    assert_eq!(begin(&mut world, second), Status::PoolExhausted);
    // Unused for more than a second.
    world.advance(1_500_000);
    assert_eq!(begin(&mut world, second), Status::Ok);
    assert_eq!(piece(&mut world, first, 0, &image), Status::NoUpload);
    // A byte now and then keeps it for half a minute, not longer.
    let mut turned_away = 0;
    for offset in 0..70_u32 {
        world.advance(500_000);
        if begin(&mut world, first) == Status::Ok {
            break;
        }
        turned_away += 1;
        let at = offset as usize;
        let byte = &image[at..at + 1];
        assert_eq!(piece(&mut world, second, offset, byte), Status::Ok);
    }
    assert!((55..65).contains(&turned_away), "{turned_away}");
    assert_eq!(piece(&mut world, first, 0, &image), Status::Ok);
    assert_eq!(world.used("programs"), 1);
    world.end();
}

#[test]
fn who_says_nothing_gives_way_when_it_is_crowded() {
    let mut world = tiny();
    let silent: Vec<_> = (0..TINY.connections).map(|_| world.connect_raw()).collect();
    let from_us = world.now_us();
    let late = world.begin_session(Features::NONE);
    world.until("the late one to get in", |world| {
        world.session(late).is_open()
    });
    let took_us = world.now_us() - from_us;
    assert!(took_us < 4_500_000, "it took {took_us} us");
    for peer in silent {
        world.close(peer);
    }
    world.end();
}
