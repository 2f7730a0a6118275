//! With any one rule taken out, there is a program that is proved and must not be; the referee
//! sees it.
#![allow(unsafe_code)] // What is proved without a rule is run by the referee alone.

use ebpf::abi::MAP_SIGNATURES;
use ebpf::limits::{KEPT_MAX, STACK_BYTES};
use ebpf::verifier::canary::{Rule, without};
use ebpf::verifier::{
    Argument, ContextLayout, ContextPointer, Environment, HelperSignature, Kept, Length, Returns,
    Verified, Verifier,
};
use ebpf::{
    EntryKind, FaultKind, HelperResult, HelperSpec, Host, ImageHeader, MapIndex, MapSpec, Memory,
    Outcome, RegionId, Resources, State, asm, check_with, run_planned,
};

const fn pointer(offset: u32, region: RegionId, end: bool) -> ContextPointer {
    ContextPointer {
        offset,
        region,
        end,
    }
}

const CONTEXT: ContextLayout = ContextLayout {
    bytes: 64,
    pointers: &[
        pointer(0, RegionId::Arguments, false),
        pointer(16, RegionId::Data, false),
        pointer(24, RegionId::Data, true),
    ],
};

const ARGS_BYTES: u32 = 64;
const DATA_BYTES: u32 = 24;
const SCRATCH_BYTES: u32 = STACK_BYTES as u32;
const LOOKUP: u32 = 1;
const COPY: u32 = 17;

const SPECS: [HelperSpec; 2] = [
    HelperSpec {
        id: LOOKUP,
        name: "bpf_map_lookup_elem",
        length_arg: None,
    },
    HelperSpec {
        id: COPY,
        name: "copy",
        length_arg: Some(2),
    },
];

const THIRD: Length = Length::Argument { index: 2, unit: 1 };

static SIGNATURES: [HelperSignature; 2] = [
    MAP_SIGNATURES[0],
    HelperSignature {
        id: COPY,
        arguments: [
            Argument::Write(THIRD),
            Argument::Read {
                length: THIRD,
                pointers: false,
            },
            Argument::Number,
            Argument::Unused,
            Argument::Unused,
        ],
        returns: Returns::Number { min: -1, max: 0 },
    },
];

const MAP: MapSpec = MapSpec {
    kind: 1,
    key_bytes: 8,
    value_bytes: 16,
    entries_max: 4,
    flags: 0,
    initial_bytes: 0,
};
const MAP_BYTES: u32 = MAP.value_bytes * MAP.entries_max;

/// A rule, and a program that is wrong where the rule is not kept. At 40 of the context is the
/// number 200. A lookup finds the last value of the map by key 6, and nothing by others.
#[rustfmt::skip]
const WITNESSES: [(Rule, &str); Rule::ALL.len()] = [
    (Rule::End,
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; and r3, 15; add r2, r3; ldxdw r0, [r2+49]; exit"),
    (Rule::Start,
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; and r3, 15; sub r2, r3; ldxb r0, [r2]; exit"),
    (Rule::Join,
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; mov r4, r3; and r4, 7; jne r3, 200, +1; add r4, 200; add r2, r4; \
         ldxb r0, [r2]; exit"),
    (Rule::Loop,
        "ldxdw r2, [r1]; mov r3, 0; l: ldxb r0, [r2]; add r2, 1; add r3, 1; jlt r3, 100, l; exit"),
    (Rule::Branch,
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; mov r0, 0; jle r3, 63, +2; add r2, r3; ldxb r0, [r2]; exit"),
    (Rule::Half,
        "ldxdw r2, [r1]; lddw r3, 0x100000000; add32 r3, 0; rsh r3, 32; sub r3, 1; add r2, r3; ldxb r0, [r2]; exit"),
    (Rule::Relation,
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; ldxw r5, [r1+40]; mov r4, r3; sub r4, r5; mov r0, 0; jgt r4, 63, +2; \
         add r2, r3; ldxb r0, [r2]; exit"),
    (Rule::Store,
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; stdw [r10-16], 1; stdw [r10-8], 1; mov r4, r10; and r3, 8; add r4, r3; \
         stb [r4-16], 200; ldxdw r3, [r10-8]; add r2, r3; ldxb r0, [r2]; exit"),
    (Rule::Null,
        "stdw [r10-8], 5; lddw r1, map 0; mov r2, r10; add r2, -8; call 1; ldxdw r0, [r0]; exit"),
    (Rule::Slack,
        "ldxdw r2, [r1+16]; ldxw r4, [r1+40]; and r4, 1; add r2, r4; ldxdw r0, [r2+8]; add r2, 20; ldxdw r0, [r2]; exit"),
    (Rule::Apart,
        "ldxb r7, [r1+41]; ldxw r9, [r1+40]; stdw [r10-8], 6; lddw r1, map 0; mov r2, r10; add r2, -8; call 1; \
         jeq r0, 0, out; jeq r9, 0, other; mov r6, r0; mov r8, r7; add r6, r8; jne r8, 0, out; ja both; \
         other: lddw r1, map 0; mov r2, r10; add r2, -8; call 1; mov r6, r0; mov r8, r0; \
         both: jeq r6, 0, out; ldxdw r0, [r8]; out: mov r0, 0; exit"),
    (Rule::Value,
        "stdw [r10-8], 6; lddw r1, map 0; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; mov r1, r10; \
         add r1, -16; mov r2, r0; add r2, 9; mov r3, 8; call 17; ldxdw r0, [r10-16]; exit; out: mov r0, 0; exit"),
    // A number is copied to where an address was put aside: the stack is what comes behind scratch.
    (Rule::Tag,
        "lddw r6, scratch+0; ldxw r8, [r1+40]; stxdw [r6+4088], r8; stxdw [r10-8], r6; lddw r7, 0x100000000; \
         mov r1, r6; add r1, r7; mov r2, r6; mov r3, 4096; call 17; ldxdw r1, [r10-8]; ldxdw r0, [r1]; exit"),
];

fn environment() -> Environment {
    let header = ImageHeader {
        args_max: ARGS_BYTES,
        scratch_bytes: SCRATCH_BYTES,
        ..ImageHeader::default()
    };
    Environment::new(&header, CONTEXT, &SIGNATURES)
        .with_maps([MAP])
        .expect("such a map can be")
}

fn prove(text: &str) -> Option<Verified> {
    let slots = asm::assemble(&text.replace(';', "\n")).expect("it assembles");
    let resources = Resources {
        scratch_bytes: SCRATCH_BYTES,
        maps: 1,
    };
    let checked = check_with(&slots, &[0], &SPECS, &resources).expect("it passes the check");
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
    let entries = [(EntryKind::Scan, 0)];
    let verified = verifier.verify(&slots, &checked, entries, environment());
    verified.ok().cloned()
}

/// Finds one value, and copies what is there.
struct Plain;

impl Host for Plain {
    fn call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult {
        if helper == COPY {
            let copied = memory.copy(args[0], args[1], args[2] as usize);
            return HelperResult::Return(copied.map_or(-1, |()| 0));
        }
        let is_found = memory.read(args[1], 8) == Ok(&6_u64.to_le_bytes());
        let last = Memory::address(map_region(), MAP_BYTES - MAP.value_bytes);
        HelperResult::Return(if is_found { last as i64 } else { 0 })
    }
}

fn map_region() -> RegionId {
    RegionId::Map(MapIndex::new(0).expect("there is a first map"))
}

/// Runs a program on a stack that holds that everywhere.
fn run(verified: &Verified, stack: u8) -> Outcome {
    let mut context = [0; 64];
    let mut put = |at: usize, number: u64| {
        context[at..at + 8].copy_from_slice(&number.to_le_bytes());
    };
    put(0, Memory::address(RegionId::Arguments, 0));
    put(16, Memory::address(RegionId::Data, 0));
    put(24, Memory::address(RegionId::Data, DATA_BYTES));
    put(40, 200);
    let (args, data) = ([0; ARGS_BYTES as usize], [0; DATA_BYTES as usize]);
    let mut stack = [stack; STACK_BYTES];
    let mut scratch = [0; SCRATCH_BYTES as usize];
    let mut values = [7; MAP_BYTES as usize];
    let mut memory = Memory::new()
        .with_read(RegionId::Context, &context)
        .with_read(RegionId::Arguments, &args)
        .with_read(RegionId::Data, &data)
        .with_write(map_region(), &mut values)
        .with_write(RegionId::Scratch, &mut scratch)
        .with_write(RegionId::Stack, &mut stack);
    let mut state = State::start_verified(verified, EntryKind::Scan, 1000).expect("it has one");
    let (program, plan) = (verified.program(), verified.plan());
    run_planned(&program, plan, &mut state, &mut memory, &mut Plain, 1000)
}

fn is_disproved(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fault(fault) if matches!(fault.kind, FaultKind::Disproved(_)))
}

/// How a program goes wrong: what was proved is not so, or what it returns is what the stack
/// happened to hold.
fn wrong_end(verified: &Verified) -> Option<Outcome> {
    let (one, other) = (run(verified, 0xa5), run(verified, 0x5a));
    (is_disproved(one) || one != other).then_some(one)
}

#[test]
fn every_rule_is_missed() {
    for (number, (rule, text)) in (1_u8..).zip(WITNESSES) {
        assert_eq!(Rule::numbered(number), Some(rule));
        // SAFETY: the referee trusts nobody.
        let wrong = unsafe { without(rule, || prove(text)) };
        let Some(wrong) = wrong else {
            panic!("{rule:?}: {text}\nis refused all the same");
        };
        let end = wrong_end(&wrong);
        assert!(end.is_some(), "{rule:?}: {text}\n{}", run(&wrong, 0xa5));
        // With the rule, it is refused, or what went wrong is guarded.
        if let Some(right) = prove(text) {
            assert!(right.guarded() > 0, "{rule:?}: {text}");
            assert!(wrong_end(&right).is_none(), "{rule:?}: {text}");
        }
    }
}
