//! Maps against references: a `HashMap`, a list in the order of use, a vector.

use std::collections::{BTreeSet, HashMap};

use ebpf::MapSpec;
use ebpf::limits::{MAP_BYTES_MAX, MAP_CHAIN_MAX, MAP_KEY_BYTES_MAX, MAPS_MAX};
use ebpf::maps::{
    BPF_ANY, BPF_EXIST, BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG, BPF_NOEXIST, HashSeed, Keys, Map,
    MapError, MapKind, MapOpError, MapShape, bytes_needed, bytes_needed_all,
};
use proptest::prelude::*;
use siphasher::sip::SipHasher13;

const SEED: HashSeed = HashSeed(*b"a seed of a test");
/// What lies before and behind a map's memory, and must stay.
const CANARY: u8 = 0xa5;
const CANARY_BYTES: usize = 16;

/// Memory that starts at a multiple of 8, with a canary on either side.
#[derive(Clone)]
struct Pool {
    bytes: Vec<u8>,
    len: usize,
}

impl Pool {
    fn new(len: usize) -> Pool {
        let bytes = vec![CANARY; len + 2 * CANARY_BYTES + 8];
        Pool { bytes, len }
    }

    fn of(spec: &MapSpec) -> Pool {
        Pool::new(bytes_needed(spec).expect("the declaration can be met"))
    }

    fn start(&self) -> usize {
        let misaligned = (self.bytes.as_ptr().addr() + CANARY_BYTES) % 8;
        CANARY_BYTES + (8 - misaligned) % 8
    }

    fn memory(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.bytes[start..start + self.len]
    }

    fn map(&mut self, spec: &MapSpec) -> Map<'_> {
        Map::open(spec, self.memory()).expect("it was laid out")
    }

    fn laid_out(spec: &MapSpec, initial: &[u8]) -> Pool {
        let mut pool = Pool::of(spec);
        Map::new(spec, initial, SEED, pool.memory()).expect("it can be laid out");
        pool
    }

    /// A copy elsewhere may start at another remainder; its memory does not.
    fn copy(&self) -> Pool {
        let mut copy = Pool::new(self.len);
        let start = self.start();
        copy.memory()
            .copy_from_slice(&self.bytes[start..start + self.len]);
        copy
    }

    fn check_canaries(&self) {
        let start = self.start();
        let outside = [&self.bytes[..start], &self.bytes[start + self.len..]];
        assert!(outside.concat().iter().all(|&byte| byte == CANARY));
    }
}

fn spec(kind: MapKind, key_bytes: u32, value_bytes: u32, entries_max: u32) -> MapSpec {
    MapSpec {
        kind: kind as u32,
        key_bytes,
        value_bytes,
        entries_max,
        flags: 0,
        initial_bytes: 0,
    }
}

/// What can be done to a map.
#[derive(Clone, Debug)]
enum Op {
    Lookup(Vec<u8>),
    Peek(Vec<u8>),
    Update(Vec<u8>, u8, u64),
    Delete(Vec<u8>),
    /// A program writes over a value that it has found.
    Scribble(Vec<u8>, u8),
}

/// The reference: values by key, and the keys in the order of use, the newest last.
#[derive(Clone, Default)]
struct Model {
    is_lru: bool,
    entries_max: usize,
    values: HashMap<Vec<u8>, Vec<u8>>,
    order: Vec<Vec<u8>>,
}

impl Model {
    fn of(spec: &MapSpec) -> Model {
        Model {
            is_lru: spec.kind == MapKind::LruHash as u32,
            entries_max: spec.entries_max as usize,
            ..Model::default()
        }
    }

    fn touch(&mut self, key: &[u8]) {
        self.order.retain(|other| other != key);
        self.order.push(key.to_vec());
    }

    fn lookup(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        let value = self.values.get(key).cloned()?;
        self.touch(key);
        Some(value)
    }

    fn update(&mut self, key: &[u8], value: Vec<u8>, flags: u64) -> Result<(), i32> {
        if flags > 2 {
            return Err(-22);
        }
        match (self.values.contains_key(key), flags) {
            (true, BPF_NOEXIST) => return Err(-17),
            (false, BPF_EXIST) => return Err(-2),
            (false, _) if self.values.len() == self.entries_max => {
                if !self.is_lru {
                    return Err(-7);
                }
                let oldest = self.order.remove(0);
                self.values.remove(&oldest);
            }
            _ => {}
        }
        self.touch(key);
        self.values.insert(key.to_vec(), value);
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), i32> {
        self.order.retain(|other| other != key);
        self.values.remove(key).map(|_| ()).ok_or(-2)
    }
}

/// Does the same to both; they agree on what comes of it.
fn apply(map: &mut Map<'_>, model: &mut Model, op: &Op) {
    let value_bytes = map.shape().value_bytes();
    match op {
        Op::Lookup(key) => {
            let offset = map.lookup(key);
            let found = offset.map(|at| map.value(at).expect("a value lies there").to_vec());
            assert_eq!(found, model.lookup(key), "{op:?}");
        }
        Op::Peek(key) => {
            let offset = map.peek(key);
            let found = offset.map(|at| map.value(at).expect("a value lies there"));
            assert_eq!(found, model.values.get(key).map(Vec::as_slice), "{op:?}");
        }
        Op::Update(key, fill, flags) => {
            let value = vec![*fill; value_bytes];
            let done = map.update(key, &value, *flags).map_err(|e| e.errno());
            assert_eq!(done, model.update(key, value, *flags), "{op:?}");
        }
        Op::Delete(key) => {
            let done = map.delete(key).map_err(|e| e.errno());
            assert_eq!(done, model.delete(key), "{op:?}");
        }
        Op::Scribble(key, fill) => {
            if let Some(at) = map.peek(key) {
                map.value_mut(at).expect("a value lies there").fill(*fill);
            }
            if let Some(value) = model.values.get_mut(key) {
                value.fill(*fill);
            }
        }
    }
    assert_eq!(map.len() as usize, model.values.len(), "after {op:?}");
}

fn walk(map: &Map<'_>) -> Vec<Vec<u8>> {
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut next = vec![0; map.shape().key_bytes()];
    while map
        .next_key(keys.last().map(Vec::as_slice), &mut next)
        .is_ok()
    {
        keys.push(next.clone());
        assert!(keys.len() <= map.len() as usize, "the walk ends");
    }
    keys
}

/// They hold the same.
fn compare(map: &Map<'_>, model: &Model) {
    let keys = walk(map);
    assert_eq!(keys.len(), model.values.len());
    for key in keys {
        let value = map.peek(&key).and_then(|at| map.value(at));
        assert_eq!(value, model.values.get(&key).map(Vec::as_slice));
    }
}

fn key_of(number: u16, key_bytes: u32) -> Vec<u8> {
    let mut key = vec![0x55; key_bytes as usize];
    for (byte, part) in key.iter_mut().rev().zip(number.to_le_bytes()) {
        *byte = part;
    }
    key
}

fn op(key_bytes: u32, keys: u16) -> impl Strategy<Value = Op> {
    let key = (0..keys).prop_map(move |number| key_of(number, key_bytes));
    (key, any::<u8>(), 0..4_u64, 0..10_u8).prop_map(|(key, fill, flags, which)| match which {
        0 | 1 => Op::Lookup(key),
        2 => Op::Peek(key),
        3 | 4 => Op::Delete(key),
        5 => Op::Scribble(key, fill),
        6 => Op::Update(key, fill, flags),
        _ => Op::Update(key, fill, BPF_ANY),
    })
}

fn scene() -> impl Strategy<Value = (MapSpec, Vec<Op>)> {
    let kind = prop_oneof![Just(MapKind::Hash), Just(MapKind::LruHash)];
    let key_bytes = prop_oneof![1..20_u32, Just(MAP_KEY_BYTES_MAX)];
    (kind, key_bytes, 1..30_u32, 1..70_u32).prop_flat_map(
        |(kind, key_bytes, value_bytes, entries_max)| {
            let spec = spec(kind, key_bytes, value_bytes, entries_max);
            let keys = (entries_max * 2).min(1 << (8 * key_bytes.min(2))) as u16;
            let ops = prop::collection::vec(op(key_bytes, keys), 0..300);
            (Just(spec), ops)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hash_maps_do_what_the_references_do((spec, ops) in scene()) {
        let mut pool = Pool::laid_out(&spec, &[]);
        let mut model = Model::of(&spec);
        for (step, op) in ops.iter().enumerate() {
            let mut map = pool.map(&spec);
            apply(&mut map, &mut model, op);
            if step % 16 == 0 {
                compare(&map, &model);
            }
        }
        compare(&pool.map(&spec), &model);
        pool.check_canaries();
    }

    #[test]
    fn arrays_do_what_a_vector_does(
        entries_max in 1..50_u32,
        value_bytes in 1..20_u32,
        initial in prop::collection::vec(any::<u8>(), 0..200),
        ops in prop::collection::vec((0..60_u32, any::<u8>(), 0..4_u64, any::<bool>()), 0..100),
    ) {
        let all = (entries_max * value_bytes) as usize;
        let initial = &initial[..initial.len().min(all)];
        let spec = MapSpec {
            initial_bytes: initial.len() as u32,
            ..spec(MapKind::Array, 4, value_bytes, entries_max)
        };
        let mut model = initial.to_vec();
        model.resize(all, 0);
        let mut model: Vec<Vec<u8>> = model.chunks(value_bytes as usize).map(<[u8]>::to_vec).collect();
        let mut pool = Pool::laid_out(&spec, initial);
        let mut map = pool.map(&spec);
        for (index, fill, flags, is_update) in ops {
            let key = index.to_le_bytes();
            let value = vec![fill; value_bytes as usize];
            let is_there = index < entries_max;
            if is_update {
                let expected = match flags {
                    3.. => Err(-22),
                    _ if !is_there => Err(-7),
                    BPF_NOEXIST => Err(-17),
                    _ => Ok(()),
                };
                prop_assert_eq!(map.update(&key, &value, flags).map_err(|e| e.errno()), expected);
                if expected.is_ok() {
                    model[index as usize] = value;
                }
            } else {
                let stride = value_bytes.next_multiple_of(8);
                prop_assert_eq!(map.lookup(&key), is_there.then_some(index * stride));
                prop_assert_eq!(map.delete(&key), Err(MapOpError::ArrayDelete));
            }
        }
        let keys: Vec<Vec<u8>> = (0..entries_max).map(|index| index.to_le_bytes().to_vec()).collect();
        prop_assert_eq!(walk(&map), keys);
        for (index, value) in model.iter().enumerate() {
            let at = map.peek(&(index as u32).to_le_bytes()).unwrap();
            prop_assert_eq!(map.value(at), Some(&value[..]));
        }
        pool.check_canaries();
    }

    #[test]
    fn programs_reach_values_only((spec, ops) in scene(), garbage in any::<[u8; 32]>()) {
        let mut pool = Pool::laid_out(&spec, &[]);
        let mut model = Model::of(&spec);
        for op in ops {
            let (_, values) = pool.map(&spec).split();
            for (byte, garbage) in values.iter_mut().zip(garbage.iter().cycle()) {
                *byte = *garbage;
            }
            let mut map = pool.map(&spec);
            // What the values are is the program's affair; which there are is not.
            let keys: BTreeSet<Vec<u8>> = walk(&map).into_iter().collect();
            prop_assert_eq!(keys, model.values.keys().cloned().collect::<BTreeSet<_>>());
            match &op {
                Op::Lookup(key) => {
                    prop_assert_eq!(map.lookup(key).is_some(), model.lookup(key).is_some());
                }
                Op::Peek(_) | Op::Scribble(..) => {}
                Op::Update(..) | Op::Delete(_) => apply(&mut map, &mut model, &op),
            }
        }
    }

    #[test]
    fn any_declaration_is_met_or_refused(
        kind in prop_oneof![4 => prop::sample::select(&[1, 2, 9][..]), 1 => any::<u32>()],
        key_bytes in prop_oneof![3 => Just(4), 3 => 0..10_u32, 1 => any::<u32>()],
        value_bytes in prop_oneof![3 => 0..100_u32, 1 => any::<u32>()],
        entries_max in prop_oneof![3 => 0..100_u32, 1 => any::<u32>()],
        flags in prop_oneof![3 => Just(0), 1 => any::<u32>()],
        initial_bytes in prop_oneof![3 => Just(0), 1 => 0..200_u32, 1 => any::<u32>()],
    ) {
        let spec = MapSpec { kind, key_bytes, value_bytes, entries_max, flags, initial_bytes };
        match bytes_needed(&spec) {
            Ok(bytes) => {
                prop_assert!(bytes <= 5 * MAP_BYTES_MAX as usize);
                prop_assert!(bytes.is_multiple_of(8));
                let pool = Pool::laid_out(&spec, &vec![1; initial_bytes as usize]);
                pool.check_canaries();
                let mut short = Pool::new(bytes - 1);
                let initial = vec![1; initial_bytes as usize];
                let refused = Map::new(&spec, &initial, SEED, short.memory()).unwrap_err();
                prop_assert_eq!(refused, MapError::Memory { needed: bytes, found: bytes - 1 });
                prop_assert!(short.memory().iter().all(|&byte| byte == CANARY), "nothing is written");
            }
            Err(error) => {
                let mut pool = Pool::new(64);
                let refused = Map::new(&spec, &[], SEED, pool.memory()).unwrap_err();
                prop_assert_eq!(refused, error);
            }
        }
    }

    #[test]
    fn damaged_bookkeeping_neither_panics_nor_hangs(
        (spec, ops) in scene(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
    ) {
        let mut pool = Pool::laid_out(&spec, &[]);
        let half = ops.len() / 2;
        let mut model = Model::of(&spec);
        for op in &ops[..half] {
            apply(&mut pool.map(&spec), &mut model, op);
        }
        let region = pool.map(&spec).shape().region_bytes();
        // The magic and the declaration stay, or there would be no map to open.
        let behind = &mut pool.memory()[region + 28..];
        for (at, byte) in damage {
            behind[at.index(behind.len())] = byte;
        }
        let mut map = pool.map(&spec);
        let value = vec![1; map.shape().value_bytes()];
        let mut next = vec![0; map.shape().key_bytes()];
        for op in &ops[half..] {
            let (Op::Lookup(key) | Op::Peek(key) | Op::Delete(key) | Op::Update(key, ..)
            | Op::Scribble(key, _)) = op;
            if let Some(at) = map.lookup(key) {
                prop_assert!(map.value(at).is_some(), "still within the values");
            }
            let _ = map.update(key, &value, BPF_ANY);
            let _ = map.next_key(Some(key), &mut next);
            let _ = map.delete(key);
        }
        pool.check_canaries();
    }
}

/// Every sequence of so many operations.
fn explore(pool: &mut Pool, spec: &MapSpec, model: &Model, ops: &[Op], depth: usize) -> u64 {
    compare(&pool.map(spec), model);
    if depth == 0 {
        return 1;
    }
    let mut sequences = 0;
    for op in ops {
        let (mut pool, mut model) = (pool.copy(), model.clone());
        apply(&mut pool.map(spec), &mut model, op);
        sequences += explore(&mut pool, spec, &model, ops, depth - 1);
    }
    sequences
}

#[test]
fn every_short_sequence_on_small_maps_agrees() {
    let mut sequences = 0;
    for (keys, depth) in [(2, 5), (3, 4)] {
        let mut ops = Vec::new();
        for key in 0..keys {
            let key = key_of(key, 2);
            for flags in [BPF_ANY, BPF_NOEXIST, BPF_EXIST] {
                ops.push(Op::Update(key.clone(), 7 + flags as u8, flags));
            }
            ops.extend([Op::Lookup(key.clone()), Op::Delete(key)]);
        }
        for kind in [MapKind::Hash, MapKind::LruHash] {
            for entries_max in 1..=3 {
                let spec = spec(kind, 2, 3, entries_max);
                let mut pool = Pool::laid_out(&spec, &[]);
                sequences += explore(&mut pool, &spec, &Model::of(&spec), &ops, depth);
            }
        }
    }
    assert_eq!(sequences, 6 * (100_000 + 50_625));
}

#[test]
fn a_map_of_the_largest_size_holds_what_it_says() {
    for kind in [MapKind::Hash, MapKind::LruHash] {
        let entries = MAP_BYTES_MAX / 8;
        let spec = spec(kind, 4, 8, entries);
        let mut pool = Pool::laid_out(&spec, &[]);
        let mut map = pool.map(&spec);
        for round in 0..2_u32 {
            for index in 0..entries {
                let value = [round as u8; 8];
                map.update(&index.to_le_bytes(), &value, BPF_ANY).unwrap();
            }
        }
        assert_eq!(map.len(), entries);
        let more = map.update(&entries.to_le_bytes(), &[9; 8], BPF_ANY);
        if kind == MapKind::Hash {
            assert_eq!(more, Err(MapOpError::Full));
        } else {
            assert_eq!(more, Ok(()));
            assert_eq!(map.peek(&0_u32.to_le_bytes()), None, "used longest ago");
        }
        assert_eq!(walk(&map).len() as u32, entries);
        let mut offsets = BTreeSet::new();
        for key in walk(&map) {
            let at = map.peek(&key).unwrap();
            assert!(at.is_multiple_of(8) && offsets.insert(at));
        }
        pool.check_canaries();
    }
}

#[test]
fn no_map_takes_more_than_four_and_a_half_times_the_limit() {
    let limit = MAP_BYTES_MAX as usize;
    let mut most = 0;
    for kind in MapKind::ALL {
        for key_bytes in 1..=MAP_KEY_BYTES_MAX {
            for value_bytes in [1, 8, 9, 64, 4096, MAP_BYTES_MAX] {
                let stride = value_bytes.next_multiple_of(8);
                let entries_max = (MAP_BYTES_MAX / stride).min(MAP_BYTES_MAX / key_bytes);
                let spec = spec(kind, key_bytes, value_bytes, entries_max);
                most = most.max(bytes_needed(&spec).unwrap_or(0));
            }
        }
    }
    // Values, keys, two words of links and hash and two of order, a bucket; a bit; the header.
    let entries = limit / 8;
    assert_eq!(
        most,
        limit + 8 * entries + 16 * entries + 4 * entries + entries / 8 + 64
    );
}

/// Keys that lie in one bucket of a map of 64 entries under a seed.
fn colliding(seed: HashSeed, keys: usize) -> Vec<[u8; 4]> {
    let in_bucket_0 = |key: &[u8; 4]| {
        let hash = SipHasher13::new_with_key(&seed.0).hash(key);
        ((hash ^ (hash >> 32)) as u32).is_multiple_of(64)
    };
    let all = (0_u32..).map(u32::to_le_bytes);
    all.filter(in_bucket_0).take(keys).collect()
}

#[test]
fn who_knows_the_seed_gains_no_long_chain() {
    let keys = colliding(SEED, MAP_CHAIN_MAX + 3);
    let spec = spec(MapKind::Hash, 4, 1, 64);
    let mut pool = Pool::laid_out(&spec, &[]);
    let mut map = pool.map(&spec);
    for (index, key) in keys.iter().enumerate() {
        let expected = if index < MAP_CHAIN_MAX {
            Ok(())
        } else {
            Err(MapOpError::Crowded)
        };
        assert_eq!(map.update(key, &[1], BPF_ANY), expected, "{index}");
    }
    assert_eq!(map.len() as usize, MAP_CHAIN_MAX);
    assert_eq!(MapOpError::Crowded.errno(), -7);
    map.update(&keys[0], &[2], BPF_EXIST).expect("it is there");
    map.delete(&keys[5]).expect("it is there");
    let last = &keys[MAP_CHAIN_MAX];
    map.update(last, &[1], BPF_ANY)
        .expect("there is room again");
    let mut pool = Pool::of(&spec);
    let other = HashSeed([1; 16]);
    let mut map = Map::new(&spec, &[], other, pool.memory()).unwrap();
    for key in keys {
        map.update(&key, &[1], BPF_ANY)
            .expect("no chain is long under another seed");
    }
}

#[test]
fn a_crowded_lru_map_forgets_the_chain_s_oldest() {
    let keys = colliding(SEED, MAP_CHAIN_MAX + 1);
    let stranger = (0_u32..)
        .map(u32::to_le_bytes)
        .find(|key| !keys.contains(key))
        .unwrap();
    let spec = spec(MapKind::LruHash, 4, 1, 64);
    let mut pool = Pool::laid_out(&spec, &[]);
    let mut map = pool.map(&spec);
    map.update(&stranger, &[1], BPF_ANY).unwrap();
    for key in &keys[..MAP_CHAIN_MAX] {
        map.update(key, &[1], BPF_ANY).unwrap();
    }
    assert!(map.lookup(&keys[0]).is_some(), "now used last");
    map.update(&keys[MAP_CHAIN_MAX], &[1], BPF_ANY).unwrap();
    assert_eq!(map.peek(&keys[1]), None, "the oldest of the chain");
    assert!(map.peek(&keys[0]).is_some());
    assert!(map.peek(&stranger).is_some(), "older, and in no one's way");
    assert_eq!(map.len() as usize, MAP_CHAIN_MAX + 1);
}

#[test]
fn hostile_declarations_are_refused_by_name() {
    let good = spec(MapKind::Hash, 4, 8, 16);
    let limit = |what, value, max: u32| MapError::Limit {
        what,
        value,
        max: u64::from(max),
    };
    let (key, value) = ("the bytes of a key", "the bytes of a value");
    let values = "the bytes of all values, each rounded up to 8,";
    let huge = u64::from(u32::MAX);
    let cases = [
        (MapSpec { kind: 0, ..good }, MapError::Kind { kind: 0 }),
        (MapSpec { kind: 3, ..good }, MapError::Kind { kind: 3 }),
        (
            MapSpec {
                kind: 9,
                flags: 1 | 1 << 7,
                ..good
            },
            MapError::Flags {
                kind: MapKind::LruHash,
                flags: 1,
            },
        ),
        (
            MapSpec {
                flags: u32::MAX,
                ..good
            },
            MapError::Flags {
                kind: MapKind::Hash,
                flags: !(BPF_F_NO_PREALLOC | BPF_F_RDONLY_PROG),
            },
        ),
        (
            MapSpec {
                key_bytes: 0,
                ..good
            },
            MapError::Zero { what: key },
        ),
        (
            MapSpec {
                value_bytes: 0,
                ..good
            },
            MapError::Zero { what: value },
        ),
        (
            MapSpec {
                entries_max: 0,
                ..good
            },
            MapError::Zero {
                what: "the number of entries",
            },
        ),
        (
            MapSpec {
                kind: 2,
                key_bytes: 8,
                ..good
            },
            MapError::ArrayKey { found: 8 },
        ),
        (
            MapSpec {
                key_bytes: MAP_KEY_BYTES_MAX + 1,
                ..good
            },
            limit(key, 513, MAP_KEY_BYTES_MAX),
        ),
        (
            MapSpec {
                key_bytes: u32::MAX,
                ..good
            },
            limit(key, huge, MAP_KEY_BYTES_MAX),
        ),
        (
            MapSpec {
                key_bytes: 512,
                entries_max: 2049,
                ..good
            },
            limit("the bytes of all keys", 512 * 2049, MAP_BYTES_MAX),
        ),
        (
            MapSpec {
                key_bytes: 1,
                value_bytes: 1,
                entries_max: MAP_BYTES_MAX / 8 + 1,
                ..good
            },
            limit(values, u64::from(MAP_BYTES_MAX) + 8, MAP_BYTES_MAX),
        ),
        (
            MapSpec {
                value_bytes: u32::MAX,
                ..good
            },
            limit(values, (huge + 1) * 16, MAP_BYTES_MAX),
        ),
        (
            MapSpec {
                initial_bytes: 1,
                ..good
            },
            limit("the initial bytes", 1, 0),
        ),
        (
            MapSpec {
                kind: 2,
                initial_bytes: 129,
                ..good
            },
            limit("the initial bytes", 129, 128),
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(bytes_needed(&spec), Err(expected), "{spec:?}");
    }
}

#[test]
fn a_program_s_maps_are_counted() {
    let one = spec(MapKind::LruHash, 3, 5, 7);
    let bytes = bytes_needed(&one).unwrap();
    let maps = |count| std::iter::repeat_n(one, count);
    assert_eq!(bytes_needed_all(maps(MAPS_MAX)), Ok(MAPS_MAX * bytes));
    assert_eq!(bytes_needed_all(maps(MAPS_MAX + 1)), Err(MapError::Count));
}

#[test]
fn memory_is_looked_at_before_it_is_taken() {
    let spec = spec(MapKind::Array, 4, 8, 2);
    let mut pool = Pool::new(bytes_needed(&spec).unwrap() + 1);
    let opened = Map::open(&spec, pool.memory()).unwrap_err();
    assert_eq!(opened, MapError::NotLaidOut);
    let askew = Map::new(&spec, &[], SEED, &mut pool.memory()[1..]).unwrap_err();
    assert_eq!(askew, MapError::Misaligned);
    let initial = Map::new(&spec, &[1], SEED, pool.memory()).unwrap_err();
    assert_eq!(
        initial,
        MapError::InitialLength {
            declared: 0,
            found: 1
        }
    );
    Map::new(&spec, &[], SEED, pool.memory()).unwrap();
    assert_eq!(
        pool.memory().last(),
        Some(&CANARY),
        "not needed, not touched"
    );
    let other = MapSpec {
        flags: BPF_F_RDONLY_PROG,
        ..spec
    };
    let opened = Map::open(&other, pool.memory()).unwrap_err();
    assert_eq!(opened, MapError::NotLaidOut);
    assert!(pool.map(&spec).shape().programs_may_write());
}

#[test]
fn walks_start_over_where_linux_does() {
    let spec = spec(MapKind::Hash, 1, 1, 70);
    let mut pool = Pool::laid_out(&spec, &[]);
    let mut map = pool.map(&spec);
    let mut next = [0];
    assert_eq!(map.next_key(None, &mut next), Err(MapOpError::NoEntry));
    for key in 0..70_u8 {
        map.update(&[key], &[key], BPF_ANY).unwrap();
    }
    map.next_key(Some(&[64]), &mut next).unwrap();
    assert_eq!(next, [65], "the order is that of the places");
    map.delete(&[65]).unwrap();
    map.next_key(Some(&[64]), &mut next).unwrap();
    assert_eq!(next, [66]);
    map.next_key(Some(&[65]), &mut next).unwrap();
    assert_eq!(next, [0], "the key is gone");
    assert_eq!(
        map.next_key(Some(&[69]), &mut next),
        Err(MapOpError::NoEntry)
    );
    let error = MapOpError::KeyBytes {
        needed: 1,
        found: 2,
    };
    assert_eq!(map.next_key(Some(&[0, 0]), &mut next), Err(error));
    assert_eq!(map.next_key(None, &mut [0, 0]), Err(error));
    let array = self::spec(MapKind::Array, 4, 1, 3);
    let mut pool = Pool::laid_out(&array, &[]);
    let map = pool.map(&array);
    let mut next = [0xff; 4];
    map.next_key(Some(&[3, 0, 0, 0]), &mut next).unwrap();
    assert_eq!(next, [0; 4], "beyond the array");
    let last = map.next_key(Some(&[2, 0, 0, 0]), &mut next);
    assert_eq!(last, Err(MapOpError::NoEntry));
}

#[test]
fn keys_values_and_offsets_of_other_lengths_are_refused() {
    let spec = spec(MapKind::LruHash, 2, 3, 4);
    let mut pool = Pool::laid_out(&spec, &[]);
    let mut map = pool.map(&spec);
    map.update(&[1, 2], &[1, 2, 3], BPF_ANY).unwrap();
    let key = MapOpError::KeyBytes {
        needed: 2,
        found: 3,
    };
    assert_eq!(map.update(&[0; 3], &[0; 3], BPF_ANY), Err(key));
    assert_eq!(map.delete(&[0; 3]), Err(key));
    assert_eq!(map.lookup(&[1]), None);
    let value = MapOpError::ValueBytes {
        needed: 3,
        found: 8,
    };
    assert_eq!(map.update(&[1, 2], &[0; 8], BPF_ANY), Err(value));
    let flags = MapOpError::Flags { flags: 1 << 32 };
    assert_eq!(map.update(&[1, 2], &[0; 3], 1 << 32), Err(flags));
    assert_eq!(map.value(0), Some(&[1, 2, 3][..]));
    assert_eq!(map.value(1), None, "no value starts there");
    assert_eq!(map.value(32), None, "beyond the last");
    assert_eq!(map.value(u32::MAX - 7), None);
}

#[test]
fn errors_are_sentences_with_linux_s_numbers() {
    let operations = [
        (MapOpError::NoEntry, -2, "there is no such entry"),
        (
            MapOpError::Exists,
            -17,
            "there is an entry of that key already",
        ),
        (MapOpError::Full, -7, "the map is full"),
        (
            MapOpError::Index {
                index: 9,
                entries: 4,
            },
            -7,
            "there is no entry 9 in an array of 4",
        ),
        (
            MapOpError::Crowded,
            -7,
            "32 other keys share this key's bucket, which is the most",
        ),
        (
            MapOpError::Flags { flags: 3 },
            -22,
            "0x3 is none of the flags ANY (0), NOEXIST (1) and EXIST (2)",
        ),
        (
            MapOpError::KeyBytes {
                needed: 4,
                found: 8,
            },
            -22,
            "the map's keys have 4 bytes, and this one has 8",
        ),
        (
            MapOpError::ValueBytes {
                needed: 4,
                found: 8,
            },
            -22,
            "the map's values have 4 bytes, and this one has 8",
        ),
        (
            MapOpError::ArrayDelete,
            -22,
            "nothing can be deleted from an array",
        ),
    ];
    for (error, errno, text) in operations {
        assert_eq!((error.errno(), error.to_string().as_str()), (errno, text));
    }
    let declarations = [
        (
            MapError::Kind { kind: 3 },
            "there are no maps of type 3, only hash (1), array (2) and LRU hash (9)",
        ),
        (
            MapError::Flags {
                kind: MapKind::LruHash,
                flags: 1,
            },
            "a map of type LRU hash cannot have the flags 0x1",
        ),
        (
            MapError::Zero {
                what: "the bytes of a key",
            },
            "the bytes of a key of a map may not be 0",
        ),
        (
            MapError::ArrayKey { found: 8 },
            "the key of an array has 4 bytes, and this one has 8",
        ),
        (
            MapError::Limit {
                what: "the initial bytes",
                value: 9,
                max: 8,
            },
            "the initial bytes of a map are 9, and 8 is the most there may be",
        ),
        (MapError::Count, "a program may have 16 maps and no more"),
        (
            MapError::InitialLength {
                declared: 2,
                found: 1,
            },
            "1 initial bytes came with a map that declares 2",
        ),
        (
            MapError::Memory {
                needed: 8,
                found: 7,
            },
            "the map takes 8 bytes of memory, and there are 7",
        ),
        (
            MapError::Misaligned,
            "the memory for a map must start at a multiple of 8",
        ),
        (
            MapError::NotLaidOut,
            "the memory holds no map of this declaration",
        ),
    ];
    for (error, text) in declarations {
        assert_eq!(error.to_string(), text);
    }
}

#[test]
fn a_seed_is_not_shown() {
    let spec = spec(MapKind::Hash, 2, 3, 4);
    let mut pool = Pool::laid_out(&spec, &[]);
    let (keys, _) = pool.map(&spec).split();
    let shown = format!("{keys:?} {SEED:?}");
    assert!(shown.ends_with("len: 0, .. } HashSeed(..)"), "{shown}");
    assert!(!shown.contains(&format!("{:?}", SEED.0)), "{shown}");
}

#[test]
fn a_map_in_two_halves_is_the_map() {
    for kind in MapKind::ALL {
        let spec = spec(kind, 4, 12, 10);
        let mut pool = Pool::laid_out(&spec, &[]);
        let shape = MapShape::of(&spec).unwrap();
        assert_eq!(shape.bytes_needed(), pool.len);
        let (values, behind) = shape.split(pool.memory()).unwrap();
        assert_eq!(values.len(), shape.region_bytes());
        let mut keys = Keys::over(shape, behind);
        let at = keys.place(&7_u32.to_le_bytes(), BPF_ANY).unwrap() as usize;
        values[at..at + 12].fill(9);
        assert_eq!(keys.lookup(&7_u32.to_le_bytes()), Some(at as u32));
        let map = pool.map(&spec);
        let offset = map.peek(&7_u32.to_le_bytes()).unwrap();
        assert_eq!(map.value(offset), Some(&[9; 12][..]));
        assert!(matches!(
            shape.split(&mut pool.memory()[..64]),
            Err(MapError::Memory { .. })
        ));
        // Bytes that no map was laid out in.
        for fill in [0, 0xff] {
            let mut rubbish = vec![fill; 50];
            let mut keys = Keys::over(shape, &mut rubbish);
            let _ = keys.place(&3_u32.to_le_bytes(), BPF_ANY);
            let _ = keys.lookup(&3_u32.to_le_bytes());
            let _ = keys.delete(&3_u32.to_le_bytes());
            let _ = keys.entry_from(0, &mut [0; 4]);
        }
    }
}

#[test]
fn a_walk_by_places_finds_what_stays() {
    for kind in MapKind::ALL {
        let spec = spec(kind, 4, 8, 100);
        let mut pool = Pool::laid_out(&spec, &[]);
        let (mut key, mut found) = ([0; 4], BTreeSet::new());
        let mut map = pool.map(&spec);
        if kind != MapKind::Array {
            for key in 0..90_u32 {
                map.update(&key.to_le_bytes(), &[key as u8; 8], BPF_ANY)
                    .unwrap();
            }
        }
        let (mut keys, _) = map.split();
        let (mut place, mut steps) = (0, 0);
        while let Some((at, offset)) = keys.entry_from(place, &mut key) {
            assert!(at >= place && keys.peek(&key) == Some(offset));
            let number = u32::from_le_bytes(key);
            assert!(found.insert(number));
            // The one at hand goes, and one that was not there comes.
            if number % 3 == 0 && kind != MapKind::Array {
                keys.delete(&key).unwrap();
                keys.place(&(1000 + number).to_le_bytes(), BPF_ANY).unwrap();
            }
            place = at + 1;
            steps += 1;
            assert!(steps <= 100);
        }
        let there = if kind == MapKind::Array { 100 } else { 90 };
        assert!((0..there).all(|key| found.contains(&key)), "{kind:?}");
        assert_eq!(keys.entry_from(u32::MAX, &mut key), None);
        assert_eq!(keys.entry_from(0, &mut [0; 5]), None, "no key of this map");
    }
}
