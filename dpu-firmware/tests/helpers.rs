//! Helpers keep to what the verifier is told of them: a proof is worth no more than that.

use dpu_firmware::helpers::{HELPERS, HelperHost, ReadPlan, SIGNATURES};
use dpu_firmware::objects::Object;
use ebpf::verifier::{Argument, HelperSignature, Length, Returns};
use ebpf::{HelperResult, Host, Memory, RegionId};
use nvme_model::driver::NamespaceId;
use proptest::prelude::*;

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

/// Addresses in and around the regions, lengths, and anything.
fn argument() -> impl Strategy<Value = u64> {
    let region = prop_oneof![
        Just(RegionId::Context),
        Just(RegionId::Arguments),
        Just(RegionId::Reply),
        Just(RegionId::Scratch),
        Just(RegionId::Data),
    ];
    prop_oneof![
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
        let mut host = HelperHost {
            objects: &objects,
            now_us: 1 << 60,
            random: &mut random,
            plan: &mut plan,
        };
        let result = host.call(signature.id, args, &mut regions.memory());

        let ranges = writable(signature, &args);
        forget(&mut before, &ranges);
        let mut after = regions.clone();
        forget(&mut after, &ranges);
        prop_assert_eq!(before, after, "it wrote where it may not");
        match result {
            HelperResult::Return(value) => {
                let Returns::Number { min, max } = signature.returns else {
                    return Err(TestCaseError::fail("it returns no number"));
                };
                prop_assert!((min..=max).contains(&value), "{value} is none of {min} to {max}");
            }
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
