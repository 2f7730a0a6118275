//! With any one rule taken out, there is a program that is proved and must not be; the referee
//! sees it.
#![allow(unsafe_code)] // What is proved without a rule is run by the referee alone.

use ebpf::abi::MAP_SIGNATURES;
use ebpf::limits::{KEPT_MAX, STACK_BYTES};
use ebpf::verifier::canary::{Rule, without};
use ebpf::verifier::{ContextLayout, ContextPointer, Environment, Kept, Verified, Verifier};
use ebpf::{
    EntryKind, FaultKind, HelperResult, HelperSpec, Host, ImageHeader, MapSpec, Memory, Outcome,
    RegionId, Resources, State, asm, check_with, run_planned,
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
const SPECS: [HelperSpec; 1] = [HelperSpec {
    id: 1,
    name: "bpf_map_lookup_elem",
    length_arg: None,
}];

/// A rule, and a program that is wrong where the rule is not kept. At 40 of the context is the
/// number 200.
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
];

fn environment() -> Environment {
    let header = ImageHeader {
        args_max: ARGS_BYTES,
        ..ImageHeader::default()
    };
    let map = MapSpec {
        kind: 1,
        key_bytes: 8,
        value_bytes: 16,
        entries_max: 4,
        ..MapSpec::default()
    };
    Environment::new(&header, CONTEXT, &MAP_SIGNATURES)
        .with_maps([map])
        .expect("such a map can be")
}

fn prove(text: &str) -> Option<Verified> {
    let slots = asm::assemble(&text.replace(';', "\n")).expect("it assembles");
    let resources = Resources {
        scratch_bytes: 0,
        maps: 1,
    };
    let checked = check_with(&slots, &[0], &SPECS, &resources).expect("it passes the check");
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
    let entries = [(EntryKind::Scan, 0)];
    let verified = verifier.verify(&slots, &checked, entries, environment());
    verified.ok().cloned()
}

/// Finds nothing in any map.
struct Nothing;

impl Host for Nothing {
    fn call(&mut self, _: u32, _: [u64; 5], _: &mut Memory<'_>) -> HelperResult {
        HelperResult::Return(0)
    }
}

fn run(verified: &Verified) -> Outcome {
    let mut context = [0; 64];
    let mut put = |at: usize, number: u64| {
        context[at..at + 8].copy_from_slice(&number.to_le_bytes());
    };
    put(0, Memory::address(RegionId::Arguments, 0));
    put(16, Memory::address(RegionId::Data, 0));
    put(24, Memory::address(RegionId::Data, DATA_BYTES));
    put(40, 200);
    let (args, data) = ([0; ARGS_BYTES as usize], [0; DATA_BYTES as usize]);
    let mut stack = [0xa5; STACK_BYTES];
    let mut memory = Memory::new()
        .with_read(RegionId::Context, &context)
        .with_read(RegionId::Arguments, &args)
        .with_read(RegionId::Data, &data)
        .with_write(RegionId::Stack, &mut stack);
    let mut state = State::start_verified(verified, EntryKind::Scan, 1000).expect("it has one");
    let (program, plan) = (verified.program(), verified.plan());
    run_planned(&program, plan, &mut state, &mut memory, &mut Nothing, 1000)
}

fn is_disproved(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Fault(fault) if matches!(fault.kind, FaultKind::Disproved(_)))
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
        let outcome = run(&wrong);
        assert!(is_disproved(outcome), "{rule:?}: {text}\n{outcome}");
        // With the rule, it is refused, or what went wrong is guarded.
        if let Some(right) = prove(text) {
            assert!(right.guarded() > 0, "{rule:?}: {text}");
            assert!(!is_disproved(run(&right)), "{rule:?}: {text}");
        }
    }
}
