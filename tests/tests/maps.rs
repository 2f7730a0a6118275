//! Maps and globals end to end: programs that keep them, clients that look at them, and who may not.

use client::linker;
use dpu_firmware::limits::{MAP_CLASS_BYTES, SMALL};
use ebpf::limits::MAP_KEY_BYTES_MAX;
use ebpf::maps::BPF_F_RDONLY_PROG;
use ebpf::{MapKind, MapSpec};
use host_sim::random::Random;
use outboard_tests::world::{
    Image, Neighbour, PeerId, Settings, TINY, World, frame, image, pattern,
};
use programs::crc_cache::{BLOCK_BYTES, CrcCacheArgs, CrcCacheReply};
use programs::tally::{FIRST_TICKET, KEYS_MAX, TallyArgs, TallyReply};
use protocol::checksum::crc32c;
use protocol::limits::{MAP_ENTRIES_BYTES_MAX, MAP_PIECE_BYTES_MAX};
use protocol::message::{
    AttachRequest, CallRequest, DetachRequest, LoadPieceRequest, MapDeleteRequest, MapDumpRequest,
    MapGetRequest, MapSetRequest, MapSummary, MapsRequest,
};
use protocol::{ErrorBody, Kind, Status};
use std::collections::{BTreeMap, HashMap};

const ANY: u64 = 0;
const NOEXIST: u64 = 1;
const EXIST: u64 = 2;

fn spec(kind: MapKind, key_bytes: u32, value_bytes: u32, entries_max: u32) -> MapSpec {
    MapSpec {
        kind: kind as u32,
        key_bytes,
        value_bytes,
        entries_max,
        ..MapSpec::default()
    }
}

/// A key and its value.
type Entry = (Vec<u8>, Vec<u8>);

/// An instance of a connection, and its maps.
#[derive(Clone, Copy)]
struct Instance {
    peer: PeerId,
    id: u32,
}

impl Instance {
    fn of_shipped(world: &mut World, peer: PeerId, name: &str, objects: &[u32]) -> Instance {
        let object = programs::find(name).expect("it is shipped").object;
        let linked = linker::link(object).expect("it links");
        let program = world.load(peer, name, &linked.image);
        let id = world.attach(peer, program, objects);
        Instance { peer, id }
    }

    fn of_image(world: &mut World, peer: PeerId, name: &str, image: &Image) -> Instance {
        let program = world.load(peer, name, &image.build());
        let id = world.attach(peer, program, &[]);
        Instance { peer, id }
    }

    fn maps(self, world: &mut World) -> Vec<MapSummary> {
        let reply = world.ask(self.peer, &MapsRequest { instance: self.id }, &[]);
        reply.decode::<MapsRequest>().expect("maps").maps.to_vec()
    }

    /// All entries, and how many replies they came in.
    fn dump(self, world: &mut World, map: u32) -> (Vec<Entry>, usize) {
        let summary = self.maps(world)[map as usize];
        let (key_bytes, value_bytes) = (summary.key_bytes as usize, summary.value_bytes as usize);
        let (mut found, mut cursor, mut replies) = (Vec::<Entry>::new(), 0, 0);
        loop {
            let request = MapDumpRequest {
                instance: self.id,
                map,
                cursor,
            };
            let reply = world.ask(self.peer, &request, &[]);
            let page = reply.decode::<MapDumpRequest>().expect("a page");
            assert!(page.entries.len() <= MAP_ENTRIES_BYTES_MAX);
            replies += 1;
            if value_bytes <= MAP_PIECE_BYTES_MAX {
                assert_eq!(page.offset, 0);
                for entry in page.entries.chunks(key_bytes + value_bytes) {
                    let (key, value) = entry.split_at(key_bytes);
                    found.push((key.to_vec(), value.to_vec()));
                }
            } else if !page.entries.is_empty() {
                let (key, piece) = page.entries.split_at(key_bytes);
                if page.offset == 0 {
                    found.push((key.to_vec(), Vec::new()));
                }
                let (of, value) = found.last_mut().expect("it was begun");
                assert_eq!((&of[..], value.len()), (key, page.offset as usize));
                value.extend_from_slice(piece);
            }
            match page.next {
                Some(next) => {
                    assert!(next > cursor);
                    cursor = next;
                }
                None => return (found, replies),
            }
        }
    }

    fn get(self, world: &mut World, map: u32, key: &[u8]) -> Result<Vec<u8>, Status> {
        let mut value = Vec::new();
        loop {
            let request = MapGetRequest {
                instance: self.id,
                map,
                offset: value.len() as u32,
                key,
            };
            let reply = world.ask(self.peer, &request, &[]);
            let Ok(piece) = reply.decode::<MapGetRequest<'_>>() else {
                return Err(reply.status);
            };
            value.extend_from_slice(piece.value);
            assert!(!piece.value.is_empty() && piece.value.len() <= MAP_PIECE_BYTES_MAX);
            if value.len() == piece.value_bytes as usize {
                return Ok(value);
            }
        }
    }

    fn set(self, world: &mut World, map: u32, key: &[u8], value: &[u8], flags: u64) -> Status {
        self.set_part(world, map, key, None, value, flags)
    }

    fn set_part(
        self,
        world: &mut World,
        map: u32,
        key: &[u8],
        offset: Option<u32>,
        value: &[u8],
        flags: u64,
    ) -> Status {
        let request = MapSetRequest {
            instance: self.id,
            map,
            flags,
            offset,
            key,
            value,
        };
        world.ask(self.peer, &request, &[]).status
    }

    fn delete(self, world: &mut World, map: u32, key: &[u8]) -> Status {
        let request = MapDeleteRequest {
            instance: self.id,
            map,
            key,
        };
        world.ask(self.peer, &request, &[]).status
    }

    fn detach(self, world: &mut World) {
        let reply = world.ask(self.peer, &DetachRequest { instance: self.id }, &[]);
        assert_eq!(reply.status, Status::Ok);
    }

    fn tally(self, world: &mut World, key: u64, amount: u64) -> TallyReply {
        let args = TallyArgs { key, amount }.to_bytes();
        let (_, reply) = world.call(self.peer, self.id, &args);
        TallyReply::from_bytes(&reply).expect("a reply")
    }
}

/// The numbers that `tally`'s maps have in its image.
fn tally_map(name: &str) -> u32 {
    let linked = linker::link(programs::TALLY).expect("it links");
    let place = linked.maps.iter().position(|(it, _)| it == name);
    place.unwrap_or_else(|| panic!("no map {name}")) as u32
}

fn number(bytes: &[u8]) -> u64 {
    let mut all = [0; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(all)
}

#[test]
fn what_a_program_counts_its_client_sees() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let instance = Instance::of_shipped(&mut world, peer, "tally", &[]);
    let (amounts, sizes, below) = (
        tally_map("amounts"),
        tally_map("sizes"),
        tally_map(".rodata"),
    );
    let maps = instance.maps(&mut world);
    assert_eq!(maps.len(), 5);
    let hash = maps[amounts as usize];
    assert_eq!(
        (hash.kind, hash.key_bytes, hash.value_bytes, hash.entries),
        (1, 8, 16, 0)
    );
    assert_eq!(u64::from(hash.entries_max), KEYS_MAX);
    assert_eq!(maps[below as usize].flags, BPF_F_RDONLY_PROG);

    let mut random = Random::new(5);
    let (mut totals, mut by_size) = (BTreeMap::new(), [0_u64; 5]);
    for call in 0..300 {
        let (key, amount) = (random.below(40), random.below(20_000));
        let entry = totals.entry(key).or_insert((0_u64, 0_u64));
        *entry = (entry.0 + amount, entry.1 + 1);
        let reply = instance.tally(&mut world, key, amount);
        assert_eq!((reply.total, reply.times), *entry);
        assert_eq!(
            (reply.ticket, reply.calls),
            (FIRST_TICKET + call, call as u32 + 1)
        );
        by_size[reply.size as usize] += 1;
    }
    let (entries, replies) = instance.dump(&mut world, amounts);
    let dumped: BTreeMap<u64, (u64, u64)> = entries
        .iter()
        .map(|(key, value)| (number(key), (number(&value[..8]), number(&value[8..]))))
        .collect();
    assert_eq!((dumped.len(), dumped), (entries.len(), totals.clone()));
    assert_eq!(replies, 1);
    assert_eq!(
        instance.maps(&mut world)[amounts as usize].entries,
        totals.len() as u32
    );
    let (entries, _) = instance.dump(&mut world, sizes);
    for (index, (key, value)) in entries.iter().enumerate() {
        assert_eq!((number(key), number(value)), (index as u64, by_size[index]));
    }
    let key = 7_u64.to_le_bytes();
    let value = instance
        .get(&mut world, amounts, &key)
        .expect("it was counted");
    assert_eq!(number(&value[..8]), totals[&7].0);
    instance.detach(&mut world);
    world.end();
}

#[test]
fn what_a_client_sets_the_program_finds() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let instance = Instance::of_shipped(&mut world, peer, "tally", &[]);
    let amounts = tally_map("amounts");
    let key = 9_u64.to_le_bytes();
    let value = |total: u64, times: u64| [total.to_le_bytes(), times.to_le_bytes()].concat();
    let world = &mut world;
    assert_eq!(
        instance.set(world, amounts, &key, &value(70, 3), EXIST),
        Status::NoSuchEntry
    );
    assert_eq!(
        instance.set(world, amounts, &key, &value(70, 3), NOEXIST),
        Status::Ok
    );
    assert_eq!(
        instance.set(world, amounts, &key, &value(1, 1), NOEXIST),
        Status::EntryExists
    );
    let reply = instance.tally(world, 9, 5);
    assert_eq!((reply.total, reply.times), (75, 4));
    // A part of a value, and a part of one that is new: the rest of it is zero.
    assert_eq!(
        instance.set_part(world, amounts, &key, Some(8), &100_u64.to_le_bytes(), EXIST),
        Status::Ok
    );
    assert_eq!(instance.get(world, amounts, &key), Ok(value(75, 100)));
    let other = 10_u64.to_le_bytes();
    assert_eq!(
        instance.set_part(world, amounts, &other, Some(14), &[1], ANY),
        Status::Ok
    );
    assert_eq!(
        instance.get(world, amounts, &other),
        Ok(value(0, 1 << 48)),
        "what an entry before it left there is gone"
    );
    assert_eq!(instance.delete(world, amounts, &key), Status::Ok);
    assert_eq!(instance.delete(world, amounts, &key), Status::NoSuchEntry);
    assert_eq!(instance.get(world, amounts, &key), Err(Status::NoSuchEntry));
    assert_eq!(instance.tally(world, 9, 5).total, 5);

    // Globals: a counter of .data, and a table that the program itself may only read.
    let (data, below) = (tally_map(".data"), tally_map(".rodata"));
    assert_eq!(
        instance.set(world, data, &[0; 4], &77_u64.to_le_bytes(), ANY),
        Status::Ok
    );
    assert_eq!(instance.tally(world, 1, 50).ticket, 77);
    assert_eq!(instance.tally(world, 1, 50).size, 1);
    assert_eq!(
        instance.set_part(world, below, &[0; 4], Some(0), &60_u64.to_le_bytes(), ANY),
        Status::Ok
    );
    assert_eq!(instance.tally(world, 1, 50).size, 0);
    // Full is full, for the client too.
    let there = u64::from(instance.maps(world)[amounts as usize].entries);
    for more in 0..KEYS_MAX {
        let key = (100 + more).to_le_bytes();
        let status = instance.set(world, amounts, &key, &value(0, 0), ANY);
        let is_room = there + more < KEYS_MAX;
        let expected = if is_room { Status::Ok } else { Status::MapFull };
        assert_eq!(status, expected, "{more} more than {there}");
    }
    assert_eq!(
        instance.set(world, amounts, &[0xff; 8], &value(0, 0), ANY),
        Status::MapFull
    );
    world.end();
}

#[test]
fn maps_are_the_instances_own_and_begin_anew_with_each() {
    let mut world = World::new(Settings::default());
    let (one, other) = (world.connect(), world.connect());
    let first = Instance::of_shipped(&mut world, one, "tally", &[]);
    let second = Instance::of_shipped(&mut world, one, "tally", &[]);
    let third = Instance::of_shipped(&mut world, other, "tally", &[]);
    assert_eq!(world.used("maps_4k") + world.used("maps_32k"), 3);
    for call in 1..=3 {
        assert_eq!(first.tally(&mut world, 5, 1).calls, call);
    }
    for instance in [second, third] {
        let reply = instance.tally(&mut world, 5, 1);
        assert_eq!(
            (reply.calls, reply.total, reply.ticket),
            (1, 1, FIRST_TICKET)
        );
    }
    // Nobody else gets at them, by whatever request.
    let stolen = Instance {
        peer: other,
        id: first.id,
    };
    let requests = [
        world.ask(other, &MapsRequest { instance: first.id }, &[]),
        world.ask(
            other,
            &MapDumpRequest {
                instance: first.id,
                map: 0,
                cursor: 0,
            },
            &[],
        ),
    ];
    for reply in requests {
        assert_eq!(reply.status, Status::NoSuchInstance);
    }
    let key = 5_u64.to_le_bytes();
    assert_eq!(stolen.get(&mut world, 0, &key), Err(Status::NoSuchInstance));
    assert_eq!(
        stolen.set(&mut world, 0, &key, &[0; 16], ANY),
        Status::NoSuchInstance
    );
    assert_eq!(stolen.delete(&mut world, 0, &key), Status::NoSuchInstance);

    // They end with the instance, and the next one begins as the program has it.
    first.detach(&mut world);
    let reply = world.ask(one, &MapsRequest { instance: first.id }, &[]);
    assert_eq!(reply.status, Status::NoSuchInstance);
    let again = Instance::of_shipped(&mut world, one, "tally", &[]);
    let reply = again.tally(&mut world, 5, 1);
    assert_eq!(
        (reply.calls, reply.total, reply.ticket),
        (1, 1, FIRST_TICKET)
    );
    world.end();
}

#[test]
fn calls_of_one_instance_share_its_maps_while_they_wait_for_the_drive() {
    let mut world = World::new(Settings {
        read_latency_us: 300,
        jitter_us: 200,
        ..Settings::default()
    });
    let mut neighbour = Neighbour::new(&mut world);
    let (peer, object) = world.connect_to(1);
    let instance = Instance::of_shipped(&mut world, peer, "crc_cache", &[object]);
    let mut random = Random::new(11);
    let (mut asked, mut hits, mut misses, mut together) = (0, 0, 0, 0);
    for _ in 0..60 {
        // Several at once, of which some want the same block.
        let calls: Vec<_> = (0..8)
            .map(|_| {
                let block = random.below(30);
                let offset = block * BLOCK_BYTES as u64;
                let args = CrcCacheArgs { offset, version: 0 }.to_bytes();
                let request = CallRequest {
                    instance: instance.id,
                };
                (offset, world.submit(peer, &request, &args))
            })
            .collect();
        world.until("some to be waited for", |world| {
            together = together.max(world.used("invocations"));
            together > 1
        });
        for (offset, ticket) in calls {
            let reply = world.reply(peer, ticket);
            assert_eq!(reply.status, Status::Ok, "{}", reply.detail());
            let reply = CrcCacheReply::from_bytes(&reply.payload).expect("a reply");
            assert_eq!(reply.crc, crc32c(&pattern(1, offset, BLOCK_BYTES)));
            asked += 1;
            hits += u32::from(reply.was_there);
            misses += u32::from(!reply.was_there);
        }
        neighbour.is_well(&mut world);
    }
    assert!(together > 2, "{together} at once");
    assert!(misses > 30, "some blocks were read by two at once");
    let linked = linker::link(programs::CRC_CACHE).expect("it links");
    let bss = linked.maps.iter().position(|(name, _)| name == ".bss");
    let counts = instance
        .get(&mut world, bss.expect("it has one") as u32, &[0; 4])
        .expect("globals are there");
    assert_eq!(number(&counts[..4]), u64::from(hits));
    assert_eq!(number(&counts[4..]), u64::from(misses));
    assert_eq!(hits + misses, asked);
    let (entries, _) = instance.dump(&mut world, 0);
    assert_eq!(entries.len(), 30);
    for (key, value) in entries {
        let block = pattern(1, number(&key), BLOCK_BYTES);
        assert_eq!(number(&value[4..]), u64::from(crc32c(&block)));
    }
    world.end();
}

/// Calls a helper with the key and value of the arguments and replies with what it returned:
/// `u32 helper, u32 flags, 8 bytes of key, 8 bytes of value`.
fn helper_caller(map: MapSpec, initial: &[u8]) -> Image {
    image(
        "mov r9, r1
         ldxdw r6, [r1]
         ldxdw r2, [r6+8]
         stxdw [r10-8], r2
         ldxdw r2, [r6+16]
         stxdw [r10-16], r2
         ldxw r7, [r6]
         ldxw r4, [r6+4]
         lddw r1, map0
         mov r2, r10
         add r2, -8
         mov r3, r10
         add r3, -16
         jeq r7, 2, update
         jeq r7, 3, delete
         call 1
         jeq r0, 0, none
         ldxdw r0, [r0]
         ja out
         none: lddw r0, 0x6e6f6e65
         ja out
         update: call 2
         ja out
         delete: call 3
         out: ldxdw r1, [r9+8]
         stxdw [r1], r0
         mov r0, 8
         exit",
    )
    .map(map, initial)
}

fn helper_args(helper: u32, flags: u32, key: u64, value: u64) -> [u8; 24] {
    let mut args = [0; 24];
    args[..4].copy_from_slice(&helper.to_le_bytes());
    args[4..8].copy_from_slice(&flags.to_le_bytes());
    args[8..16].copy_from_slice(&key.to_le_bytes());
    args[16..].copy_from_slice(&value.to_le_bytes());
    args
}

#[test]
fn helpers_return_what_linux_returns() {
    const NONE: i64 = 0x6e6f_6e65;
    let (lookup, update, delete) = (1, 2, 3);
    let hash = [
        (lookup, 0, 1, 0, NONE),
        (delete, 0, 1, 0, -2),
        (update, 2, 1, 5, -2),
        (update, 0, 1, 5, 0),
        (lookup, 0, 1, 0, 5),
        (update, 1, 1, 6, -17),
        (update, 2, 1, 6, 0),
        (lookup, 0, 1, 0, 6),
        (update, 3, 1, 7, -22),
        (update, 4, 1, 7, -22),
        (update, 1, 2, 8, 0),
        (update, 0, 3, 9, -7),
        (delete, 0, 2, 0, 0),
        (delete, 0, 2, 0, -2),
        (update, 0, 3, 9, 0),
        (lookup, 0, 3, 0, 9),
    ];
    let lru = [
        (update, 0, 1, 5, 0),
        (update, 0, 2, 6, 0),
        (lookup, 0, 1, 0, 5),
        (update, 0, 3, 7, 0),
        (lookup, 0, 2, 0, NONE),
        (lookup, 0, 1, 0, 5),
        (update, 2, 2, 1, -2),
    ];
    let array = [
        (lookup, 0, 1, 0, 0),
        (update, 0, 1, 5, 0),
        (lookup, 0, 1, 0, 5),
        (update, 1, 1, 5, -17),
        (update, 2, 1, 6, 0),
        (update, 0, 2, 6, -7),
        (lookup, 0, 2, 0, NONE),
        (delete, 0, 1, 0, -22),
        (update, 7, 1, 0, -22),
    ];
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    for (name, kind, key_bytes, steps) in [
        ("hash", MapKind::Hash, 8, &hash[..]),
        ("lru", MapKind::LruHash, 8, &lru[..]),
        ("array", MapKind::Array, 4, &array[..]),
    ] {
        let image = helper_caller(spec(kind, key_bytes, 8, 2), &[]);
        let instance = Instance::of_image(&mut world, peer, name, &image);
        for (step, &(helper, flags, key, value, expected)) in steps.iter().enumerate() {
            let args = helper_args(helper, flags, key, value);
            let (_, reply) = world.call(peer, instance.id, &args);
            let found = number(&reply).cast_signed();
            assert_eq!(found, expected, "{name}, step {step}");
        }
    }
    world.end();
}

#[test]
fn what_is_read_only_programs_cannot_write() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let table = MapSpec {
        flags: BPF_F_RDONLY_PROG,
        ..spec(MapKind::Array, 4, 8, 1)
    };
    let reader = Image::result_of("lddw r1, map0+0\nldxdw r0, [r1]").map(table, &[7; 8]);
    let instance = Instance::of_image(&mut world, peer, "reader", &reader);
    let (_, reply) = world.call(peer, instance.id, &[]);
    assert_eq!(reply, [7; 8]);
    for (name, writer) in [
        (
            "store",
            image("lddw r1, map0+0\nstdw [r1], 1\nmov r0, 0\nexit"),
        ),
        (
            "update",
            image(
                "stdw [r10-8], 0\nlddw r1, map0\nmov r2, r10\nadd r2, -8\nmov r3, r2\nmov r4, 0\n\
                 call 2\nmov r0, 0\nexit",
            ),
        ),
    ] {
        let reply = world.try_load(peer, name, &writer.map(table, &[]).build());
        assert_eq!(
            reply.status,
            Status::ProgramRefused,
            "{name}: {}",
            reply.detail()
        );
    }
    world.end();
}

#[test]
fn maps_that_cannot_be_had_are_refused_when_loaded() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    let peer = world.connect();
    let nothing = || image("mov r0, 0\nexit");
    let per_instance = MAP_CLASS_BYTES[MAP_CLASS_BYTES.len() - 1] as u32;
    let initial = vec![1; SMALL.initial_bytes + 1];
    let cases = [
        (
            nothing().map(spec(MapKind::Array, 4, per_instance, 1), &[]),
            "the maps and globals take",
        ),
        (
            nothing()
                .map(spec(MapKind::Hash, 8, 8, 4096), &[])
                .map(spec(MapKind::LruHash, 8, 24, 4096), &[]),
            "an instance has 262144 at most",
        ),
        (
            nothing().map(spec(MapKind::Array, 4, 8192, 1), &initial),
            "initial values of globals are 4097 bytes",
        ),
    ];
    for (number, (image, words)) in cases.into_iter().enumerate() {
        let reply = world.try_load(peer, &format!("large-{number}"), &image.build());
        assert_eq!(reply.status, Status::TooLarge, "{words}");
        assert!(
            reply.detail().to_string().contains(words),
            "{}",
            reply.detail()
        );
        neighbour.is_well(&mut world);
    }
    // What no linker makes: an image whose map is of another type.
    let mut bytes = nothing().map(spec(MapKind::Hash, 4, 4, 4), &[]).build();
    for kind in [0, 3, 5, 6, 12, 27, u32::MAX] {
        bytes[72..76].copy_from_slice(&kind.to_le_bytes());
        let reply = world.try_load(peer, "other", &bytes);
        assert_eq!(reply.status, Status::BadImage);
        assert!(reply.detail().to_string().contains("no maps of type"));
    }
    assert_eq!(world.used("programs"), 1, "the neighbour's");
    // As large as can be is taken.
    let largest = nothing().map(spec(MapKind::Array, 4, per_instance - 64, 1), &[]);
    Instance::of_image(&mut world, peer, "largest", &largest);
    assert_eq!(world.used("maps_256k"), 1);
    world.end();
}

#[test]
fn long_values_and_many_entries_come_in_pieces() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let key_bytes = MAP_KEY_BYTES_MAX as usize;
    let long = 2 * MAP_PIECE_BYTES_MAX + 100;
    let image = image("mov r0, 0\nexit")
        .map(spec(MapKind::Hash, key_bytes as u32, long as u32, 5), &[])
        .map(spec(MapKind::Array, 4, 100, 1000), &[9; 100]);
    let instance = Instance::of_image(&mut world, peer, "pieces", &image);
    let world = &mut world;
    let key = |n: u8| vec![n; key_bytes];
    let value = |n: u8| -> Vec<u8> { (0..long).map(|at| (at as u8).wrapping_mul(n)).collect() };
    for n in 1..=3 {
        for (at, piece) in value(n).chunks(MAP_PIECE_BYTES_MAX).enumerate() {
            let (offset, flags) = (
                at * MAP_PIECE_BYTES_MAX,
                if at == 0 { NOEXIST } else { EXIST },
            );
            let status = instance.set_part(world, 0, &key(n), Some(offset as u32), piece, flags);
            assert_eq!(status, Status::Ok);
        }
        assert_eq!(instance.get(world, 0, &key(n)), Ok(value(n)));
    }
    let (mut entries, replies) = instance.dump(world, 0);
    entries.sort();
    let expected: Vec<_> = (1..=3).map(|n| (key(n), value(n))).collect();
    assert!(entries == expected);
    assert_eq!(replies, 3 * 3 + 1);

    let (entries, replies) = instance.dump(world, 1);
    assert_eq!(entries.len(), 1000);
    assert_eq!(
        (&entries[0].1[..], &entries[1].1[..]),
        (&[9; 100][..], &[0; 100][..])
    );
    assert!(
        entries
            .iter()
            .enumerate()
            .all(|(at, (key, _))| number(key) == at as u64)
    );
    assert_eq!(replies, 1000_usize.div_ceil(MAP_ENTRIES_BYTES_MAX / 104));
    world.end();
}

#[test]
fn a_dump_that_others_change_meanwhile_has_what_stays_once() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let image = image("mov r0, 0\nexit").map(spec(MapKind::LruHash, 8, 100, 500), &[]);
    let instance = Instance::of_image(&mut world, peer, "changing", &image);
    let world = &mut world;
    let mut random = Random::new(3);
    for key in 0..500_u64 {
        let status = instance.set(world, 0, &key.to_le_bytes(), &[key as u8; 100], ANY);
        assert_eq!(status, Status::Ok);
    }
    let (mut seen, mut cursor) = (HashMap::<u64, usize>::new(), Some(0));
    while let Some(from) = cursor {
        let request = MapDumpRequest {
            instance: instance.id,
            map: 0,
            cursor: from,
        };
        let reply = world.ask(peer, &request, &[]);
        let page = reply.decode::<MapDumpRequest>().expect("a page");
        cursor = page.next;
        for entry in page.entries.chunks(108) {
            *seen.entry(number(&entry[..8])).or_default() += 1;
        }
        // Odd keys go, and others come in their place.
        for _ in 0..20 {
            let key = random.below(250) * 2 + 1;
            instance.delete(world, 0, &key.to_le_bytes());
            let other = 1000 + random.below(1 << 40);
            let status = instance.set(world, 0, &other.to_le_bytes(), &[0; 100], NOEXIST);
            assert_eq!(status, Status::Ok);
        }
    }
    for key in (0..500).step_by(2) {
        let there = instance.get(world, 0, &u64::to_le_bytes(key)).is_ok();
        assert!(!there || seen.get(&key) == Some(&1), "{key}");
    }
    assert!(seen.len() > 400);
    world.end();
}

#[test]
fn requests_that_make_no_sense_are_answered_with_what_is_wrong() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    let peer = world.connect();
    let instance = Instance::of_shipped(&mut world, peer, "tally", &[]);
    let plain = Instance::of_image(&mut world, peer, "plain", &Image::echo());
    let amounts = tally_map("amounts");
    let world = &mut world;
    assert_eq!(plain.maps(world), []);
    assert_eq!(plain.get(world, 0, &[0; 8]), Err(Status::NoSuchMap));
    let key = [1; 8];
    for map in [5, 16, 255, u32::MAX] {
        assert_eq!(instance.get(world, map, &key), Err(Status::NoSuchMap));
        assert_eq!(
            instance.set(world, map, &key, &[0; 16], ANY),
            Status::NoSuchMap
        );
        assert_eq!(instance.delete(world, map, &key), Status::NoSuchMap);
    }
    let long = [7; 3000];
    for length in [0, 1, 4, 7, 9, 16, 512, 600] {
        let key = &long[..length];
        assert_eq!(instance.get(world, amounts, key), Err(Status::BadBody));
        assert_eq!(
            instance.set(world, amounts, key, &[0; 16], ANY),
            Status::BadBody
        );
        assert_eq!(instance.delete(world, amounts, key), Status::BadBody);
    }
    for length in [0, 8, 15, 17, 3000] {
        let status = instance.set(world, amounts, &key, &long[..length], ANY);
        assert_eq!(status, Status::BadBody, "{length} bytes");
    }
    for (offset, length) in [(0, 17), (16, 1), (15, 2), (u32::MAX, 1), (u32::MAX, 16)] {
        let value = &long[..length];
        let status = instance.set_part(world, amounts, &key, Some(offset), value, ANY);
        assert_eq!(status, Status::OutOfRange, "{length} bytes at {offset}");
    }
    for flags in [3, 4, 8, u64::MAX] {
        let status = instance.set(world, amounts, &key, &[0; 16], flags);
        assert_eq!(status, Status::BadBody, "flags {flags}");
    }
    assert_eq!(instance.maps(world)[amounts as usize].entries, 0);
    let sizes = tally_map("sizes");
    let outside = 5_u32.to_le_bytes();
    assert_eq!(
        instance.get(world, sizes, &outside),
        Err(Status::OutOfRange)
    );
    assert_eq!(
        instance.set(world, sizes, &outside, &[0; 8], ANY),
        Status::OutOfRange
    );
    assert_eq!(instance.delete(world, sizes, &[0; 4]), Status::NotSupported);
    let request = MapGetRequest {
        instance: instance.id,
        map: sizes,
        offset: 8,
        key: &[0; 4],
    };
    assert_eq!(world.ask(peer, &request, &[]).status, Status::OutOfRange);
    let place = |place: u64, offset: u64| place << 32 | offset;
    for cursor in [
        1,
        8,
        place(0, 3072),
        place(3, 1),
        place(101, 0),
        place(u64::from(u32::MAX), 0),
        u64::from(u32::MAX),
        u64::MAX,
    ] {
        let request = MapDumpRequest {
            instance: instance.id,
            map: amounts,
            cursor,
        };
        let reply = world.ask(peer, &request, &[]);
        assert_eq!(reply.status, Status::OutOfRange, "cursor {cursor:#x}");
        assert!(matches!(reply.detail(), ErrorBody::Limit { got, .. } if got == cursor));
    }
    let behind = MapDumpRequest {
        instance: instance.id,
        map: amounts,
        cursor: place(100, 0),
    };
    let reply = world.ask(peer, &behind, &[]);
    let page = reply.decode::<MapDumpRequest>().expect("an empty page");
    assert_eq!((page.next, page.entries), (None, &[][..]));
    neighbour.is_well(world);
    world.end();
}

#[test]
fn bodies_of_any_bytes_are_answered() {
    let mut world = World::new(Settings::default());
    let mut neighbour = Neighbour::new(&mut world);
    let (raw, _) = world.greet_raw_and_open();
    let mut random = Random::new(17);
    let mut id = 10;
    for round in 0..300 {
        for kind in [
            Kind::Maps,
            Kind::MapDump,
            Kind::MapGet,
            Kind::MapSet,
            Kind::MapDelete,
        ] {
            let length = random.below(if round % 10 == 0 { 4000 } else { 24 }) as usize;
            let body: Vec<u8> = (0..length)
                .map(|_| {
                    if random.below(2) == 0 {
                        random.below(4) as u8
                    } else {
                        random.below(256) as u8
                    }
                })
                .collect();
            let mut header = protocol::Header::request(kind, protocol::RequestId(id));
            header.body_bytes = body.len() as u16;
            world.send(raw, &[&header.encode()[..], &body].concat());
            let reply = world.next_frames(raw).remove(0);
            assert_eq!(reply.header.request.0, id);
            assert_ne!(reply.header.status, Status::Ok);
            id += 1;
        }
    }
    // A payload belongs to none of them.
    let asked = MapsRequest { instance: 1 };
    world.send(raw, &frame(Kind::Maps, id, &asked, b"more"));
    let reply = world.next_frames(raw).remove(0);
    assert_eq!(reply.header.status, Status::BadBody);
    neighbour.is_well(&mut world);
    world.end();
}

#[test]
fn what_is_gone_before_its_answer_is_sent_is_said_to_be() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let instance = Instance::of_shipped(&mut world, peer, "tally", &[]);
    instance.tally(&mut world, 1, 1);
    let amounts = tally_map("amounts");
    let key = 1_u64.to_le_bytes();
    let get = MapGetRequest {
        instance: instance.id,
        map: amounts,
        offset: 0,
        key: &key,
    };
    let delete = MapDeleteRequest {
        instance: instance.id,
        map: amounts,
        key: &key,
    };
    let dump = MapDumpRequest {
        instance: instance.id,
        map: amounts,
        cursor: 0,
    };
    let detach = DetachRequest {
        instance: instance.id,
    };
    // All in one go: the agent reads them in one turn, and answers afterwards.
    let tickets = [
        world.submit(peer, &get, &[]),
        world.submit(peer, &delete, &[]),
    ];
    assert_eq!(world.reply(peer, tickets[0]).status, Status::NoSuchEntry);
    assert_eq!(world.reply(peer, tickets[1]).status, Status::Ok);
    let tickets = [
        world.submit(peer, &dump, &[]),
        world.submit(
            peer,
            &MapsRequest {
                instance: instance.id,
            },
            &[],
        ),
        world.submit(peer, &detach, &[]),
    ];
    assert_eq!(world.reply(peer, tickets[0]).status, Status::NoSuchInstance);
    assert_eq!(world.reply(peer, tickets[1]).status, Status::NoSuchInstance);
    assert_eq!(world.reply(peer, tickets[2]).status, Status::Ok);
    world.end();
}

#[test]
fn memory_of_maps_is_shared_out_and_comes_back() {
    let mut world = World::new(Settings {
        limits: dpu_firmware::limits::Limits {
            map_slabs: [20, 4, 1],
            instances: 40,
            ..TINY
        },
        ..Settings::default()
    });
    let (greedy, other) = (world.connect(), world.connect());
    // 4 KiB and a little: a slab of 32.
    let image = image("mov r0, 0\nexit").map(spec(MapKind::Array, 4, 4096, 1), &[]);
    let program = world.load(greedy, "p", &image.build());
    let attach = AttachRequest {
        program,
        objects: [].into_iter().collect(),
        instruction_budget: 0,
        read_budget: 0,
    };
    let mut held = Vec::new();
    loop {
        let reply = world.ask(greedy, &attach, &[]);
        match reply.decode::<AttachRequest>() {
            Ok(attached) => held.push(attached.instance),
            Err(_) => {
                assert_eq!(reply.status, Status::PoolExhausted);
                break;
            }
        }
    }
    assert_eq!((held.len(), world.used("maps_32k")), (2, 2), "half of them");
    assert_eq!(world.used("instances"), 2, "nothing is left of what failed");
    // Others still get theirs.
    let reply = world.ask(other, &attach, &[]);
    assert_eq!(reply.status, Status::Ok);
    assert_eq!(world.used("maps_32k"), 3);
    let detached = DetachRequest { instance: held[0] };
    assert_eq!(world.ask(greedy, &detached, &[]).status, Status::Ok);
    assert_eq!(world.used("maps_32k"), 2);
    // A connection that is lost gives back what it has.
    world.abort(greedy);
    world.until("it to be gone", |world| world.used("connections") == 1);
    assert_eq!(world.used("maps_32k"), 1);
    for _ in 0..50 {
        let peer = world.connect();
        assert_eq!(world.ask(peer, &attach, &[]).status, Status::Ok);
        world.close(peer);
        world.until("it to be gone", |world| world.used("connections") == 1);
    }
    world.end();
}

#[test]
fn an_instance_in_use_keeps_its_maps() {
    let mut world = World::new(Settings::default());
    let (peer, object) = world.connect_to(1);
    let instance = Instance::of_shipped(&mut world, peer, "crc_cache", &[object]);
    let args = CrcCacheArgs {
        offset: 0,
        version: 0,
    };
    let call = CallRequest {
        instance: instance.id,
    };
    let ticket = world.submit(peer, &call, &args.to_bytes());
    let detach = DetachRequest {
        instance: instance.id,
    };
    let detached = world.submit(peer, &detach, &[]);
    assert_eq!(world.reply(peer, detached).status, Status::InUse);
    assert_eq!(world.reply(peer, ticket).status, Status::Ok);
    // A client that goes while its program waits: all comes back.
    world.submit(peer, &call, &args.to_bytes());
    world.abort(peer);
    world.end();
}

#[test]
fn what_one_tenant_kept_the_next_does_not_find() {
    let mut world = World::new(Settings {
        limits: dpu_firmware::limits::Limits {
            map_slabs: [1, 1, 1],
            ..TINY
        },
        ..Settings::default()
    });
    let fill = Image::result_of("mov r0, 0").map(spec(MapKind::Hash, 8, 64, 20), &[]);
    let look = Image::result_of("mov r0, 0").map(spec(MapKind::Array, 4, 3000, 1), &[]);
    for round in 0..3 {
        let peer = world.connect();
        let name = format!("fill-{round}");
        let instance = Instance::of_image(&mut world, peer, "fill", &fill);
        for key in 0..20_u64 {
            instance.set(&mut world, 0, &key.to_le_bytes(), &[0xee; 64], ANY);
        }
        instance.detach(&mut world);
        world.close(peer);
        world.until("it to be gone", |world| world.used("connections") == 0);
        let peer = world.connect();
        let instance = Instance::of_image(&mut world, peer, "look", &look);
        assert_eq!(
            instance.get(&mut world, 0, &[0; 4]),
            Ok(vec![0; 3000]),
            "{name}"
        );
        world.close(peer);
        world.until("it to be gone", |world| world.used("connections") == 0);
    }
    world.end();
}

#[test]
fn laying_out_maps_holds_up_no_turn_for_long() {
    let mut world = World::new(Settings {
        limits: dpu_firmware::limits::Limits {
            map_slabs: [4, 4, 40],
            ..SMALL
        },
        ..Settings::default()
    });
    let peer = world.connect();
    let image = image("mov r0, 0\nexit").map(spec(MapKind::Array, 4, 250_000, 1), &[]);
    let program = world.load(peer, "large", &image.build());
    let attach = AttachRequest {
        program,
        objects: [].into_iter().collect(),
        instruction_budget: 0,
        read_budget: 0,
    };
    let tickets: Vec<_> = (0..8).map(|_| world.submit(peer, &attach, &[])).collect();
    let (mut before, mut most) = (0, 0);
    world.until("all to be attached", |world| {
        let now = world.used("instances");
        most = most.max(now - before);
        before = now;
        now == 8
    });
    assert_eq!(most, 1, "instances laid out in one turn");
    for ticket in tickets {
        assert_eq!(world.reply(peer, ticket).status, Status::Ok);
    }
    world.end();
}

#[test]
fn a_loaded_program_is_another_where_its_initial_bytes_are() {
    let mut world = World::new(Settings::default());
    let peer = world.connect();
    let table = spec(MapKind::Array, 4, 8, 1);
    let reads =
        |value: u8| Image::result_of("lddw r1, map0+0\nldxdw r0, [r1]").map(table, &[value; 8]);
    for value in 1..=3 {
        // In the place of the one before, whose maps and bytes must not stay.
        let instance = Instance::of_image(&mut world, peer, "table", &reads(value));
        assert_eq!(world.call(peer, instance.id, &[]).1, [value; 8]);
        let reply = world.try_load(peer, "table", &reads(value + 1).build());
        assert_eq!(reply.status, Status::NameTaken);
        let reply = world.try_load(peer, "table", &reads(value).build());
        let program = reply.decode::<LoadPieceRequest>().unwrap().program.unwrap();
        instance.detach(&mut world);
        let unload = protocol::message::UnloadRequest { program };
        assert_eq!(world.ask(peer, &unload, &[]).status, Status::Ok);
    }
    let instance = Instance::of_image(&mut world, peer, "table", &Image::result_of("mov r0, 4"));
    assert_eq!(instance.maps(&mut world), []);
    world.end();
}
