//! Helpers keep to what the verifier is told of them: a proof is worth no more than that.

use dpu_firmware::helpers::{HELPERS, HelperHost, MAP_UPDATE_ELEM, ReadPlan, SIGNATURES};
use dpu_firmware::maps::{ProgramMaps, put_values};
use dpu_firmware::objects::Object;
use ebpf::maps::{BPF_F_RDONLY_PROG, HashSeed};
use ebpf::verifier::{Argument, HelperSignature, Length, Returns};
use ebpf::{
    EntryKind, HelperResult, Host, Image, ImageBuilder, MapIndex, MapKind, MapSpec, Memory,
    RegionId,
};
use nvme_model::driver::NamespaceId;
use proptest::prelude::*;
use zerocopy::IntoBytes;

const SCRATCH_BYTES: usize = 512;
const REPLY_BYTES: usize = 64;
const ARGS_BYTES: usize = 32;

const OBJECT: Object = Object {
    namespace: NamespaceId(1),
    start_bytes: 8192,
    length_bytes: 1 << 20,
    block_bytes: 512,
};

/// The regions, filled with bytes that a needle may be found in.
#[derive(Clone, PartialEq, Debug)]
struct Regions {
    context: [u8; 64],
    args: [u8; ARGS_BYTES],
    reply: [u8; REPLY_BYTES],
    scratch: [u8; SCRATCH_BYTES],
}

impl Regions {
    fn new(seed: u8) -> Regions {
        let byte = |at: usize| (at as u8).wrapping_mul(seed) & 3;
        Regions {
            context: core::array::from_fn(byte),
            args: core::array::from_fn(byte),
            reply: core::array::from_fn(byte),
            scratch: core::array::from_fn(byte),
        }
    }

    fn memory(&mut self) -> Memory<'_> {
        Memory::new()
            .with_read(RegionId::Context, &self.context)
            .with_read(RegionId::Arguments, &self.args)
            .with_write(RegionId::Reply, &mut self.reply)
            .with_write(RegionId::Scratch, &mut self.scratch)
    }
}

const VALUE_BYTES: u32 = 12;
const STRIDE: u32 = 16;
const ENTRIES: u32 = 4;

/// A map of each kind, and one that programs may only read.
fn maps() -> ProgramMaps {
    let mut image = ImageBuilder::new().entry(EntryKind::Call, 0).code(&[0x95]);
    let kinds = MapKind::ALL.map(|kind| (kind, 0));
    for (kind, flags) in kinds
        .into_iter()
        .chain([(MapKind::Array, BPF_F_RDONLY_PROG)])
    {
        let spec = MapSpec {
            kind: kind as u32,
            key_bytes: 4,
            value_bytes: VALUE_BYTES,
            entries_max: ENTRIES,
            flags,
            initial_bytes: 0,
        };
        image = image.map(spec, &[]);
    }
    let image = image.build().expect("it is an image");
    let mut maps = ProgramMaps::empty(0);
    let image = Image::parse(&image).expect("it is an image");
    maps.keep(&image).expect("they fit");
    maps
}

/// Addresses in and around the regions, lengths, maps, and anything.
fn argument() -> impl Strategy<Value = u64> {
    let region = prop_oneof![
        Just(RegionId::Context),
        Just(RegionId::Arguments),
        Just(RegionId::Reply),
        Just(RegionId::Scratch),
        Just(RegionId::Data),
        (0..5_u32).prop_map(|map| RegionId::Map(MapIndex::new(map).unwrap())),
    ];
    prop_oneof![
        4 => (0..5_u32).prop_map(|map| MapIndex::new(map).unwrap().handle()),
        4 => (region, 0..600_u32).prop_map(|(region, at)| Memory::address(region, at)),
        4 => 0..80_u64,
        1 => Just(4096),
        1 => any::<u64>(),
        1 => any::<u32>().prop_map(u64::from),
    ]
}

fn bytes(length: Length, args: &[u64; 5]) -> u64 {
    match length {
        Length::Argument { index, unit } => {
            u64::from(args[usize::from(index)] as u32) * u64::from(unit)
        }
        Length::Bytes(bytes) => u64::from(bytes),
    }
}

/// What of scratch and reply the signature lets the helper write.
fn writable(signature: &HelperSignature, args: &[u64; 5]) -> Vec<(u64, u64)> {
    let arguments = signature.arguments.iter().zip(args);
    arguments
        .filter_map(|(argument, &value)| match argument {
            Argument::Write(length) => Some((value, bytes(*length, args))),
            _ => None,
        })
        .collect()
}

/// Takes what may have been written out of the comparison.
fn forget(regions: &mut Regions, ranges: &[(u64, u64)]) {
    for &(address, length) in ranges {
        let mut memory = regions.memory();
        if let Ok(bytes) = memory.write(address, length as usize) {
            bytes.fill(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn helpers_keep_to_their_signatures(
        which in 0..SIGNATURES.len(),
        args in proptest::array::uniform5(argument()),
        seed in 1..255_u8,
    ) {
        let signature = &SIGNATURES[which];
        let mut regions = Regions::new(seed);
        let mut before = regions.clone();
        let (mut random, mut plan) = (u64::from(seed), ReadPlan::new());
        let objects = [Some(OBJECT), None];
        let program_maps = maps();
        let mut words = vec![0_u64; program_maps.bytes() / 8];
        let slab = words.as_mut_bytes();
        program_maps.lay_out(slab, || HashSeed([seed; 16]));
        let mut views = program_maps.open(slab);
        let mut memory = regions.memory();
        put_values(&mut memory, &mut views);
        let mut host = HelperHost {
            objects: &objects,
            maps: &mut views,
            now_us: 1 << 60,
            random: &mut random,
            plan: &mut plan,
        };
        // One key is there.
        if let Ok(first) = memory.write(Memory::address(RegionId::Scratch, 0), 4) {
            first.copy_from_slice(&[1, 0, 0, 0]);
        }
        let first = Memory::address(RegionId::Scratch, 0);
        for map in 0..3 {
            let map = MapIndex::new(map).unwrap().handle();
            let put = host.call(MAP_UPDATE_ELEM, [map, first, first, 0, 0], &mut memory);
            prop_assert_eq!(put, HelperResult::Return(0));
        }
        before.scratch[..4].copy_from_slice(&[1, 0, 0, 0]);
        let read_only = RegionId::Map(MapIndex::new(3).unwrap());
        let result = host.call(signature.id, args, &mut memory);
        prop_assert!(memory.region(read_only).iter().all(|&byte| byte == 0));

        let ranges = writable(signature, &args);
        forget(&mut before, &ranges);
        let mut after = regions.clone();
        forget(&mut after, &ranges);
        prop_assert_eq!(before, after, "it wrote where it may not");
        match result {
            HelperResult::Return(value) => match signature.returns {
                Returns::Number { min, max } => {
                    prop_assert!((min..=max).contains(&value), "{value} is none of {min} to {max}");
                }
                Returns::MapValue(argument) => {
                    let map = MapIndex::of_handle(args[usize::from(argument)]);
                    let is_there = map.is_some_and(|map| {
                        let places = (0..ENTRIES).map(|at| at * STRIDE);
                        places
                            .map(|at| Memory::address(RegionId::Map(map), at).cast_signed())
                            .any(|place| place == value)
                    });
                    prop_assert!(value == 0 || is_there, "{value:#x} is no value's address");
                }
            },
            HelperResult::Wait => {
                // What the drive will write lies in scratch; the agent answers 0 or an errno.
                prop_assert!(!plan.is_empty());
                for read in &plan {
                    let end = read.scratch_offset as usize + read.placed.length_bytes as usize;
                    prop_assert!(end <= SCRATCH_BYTES);
                }
                let Returns::Number { min, max } = signature.returns else {
                    return Err(TestCaseError::fail("it returns no number"));
                };
                prop_assert!(min <= -4095 && max >= 0);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

#[test]
fn every_helper_has_a_signature() {
    for helper in &HELPERS {
        let of_it = SIGNATURES.iter().filter(|it| it.id == helper.id);
        assert_eq!(of_it.count(), 1, "{}", helper.name);
    }
}
