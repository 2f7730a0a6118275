//! The interpreter and rbpf 0.4.1 on the same programs: results and memory agree.
//!
//! Generated programs keep clear of what rbpf is known to do otherwise; each of these is pinned
//! below, so that a version that does better is noticed:
//!
//! - no atomics, `sdiv`, `smod`, `movsx`, `bswap`, sign-extending loads, `gotol`: it refuses them
//!   or takes them for something else;
//! - 64-bit unsigned comparisons extend an immediate with zeros;
//! - a 32-bit remainder by zero leaves the upper half;
//! - negating the smallest number panics where overflow is checked;
//! - its stack is 512 bytes in all, two frames of 256;
//! - it runs no helper of ours, and knows no budget: it sees a program only after the interpreter
//!   has brought it to its end.

mod support;

use ebpf::{
    Engine, FaultKind, Memory, NoHost, Outcome, Program, RbpfEngine, RegionId, State, asm, check,
};
use proptest::prelude::*;
use support::generate::{MEMORY_BYTES, Set, program};
use support::{run_program, scratch};

const BUDGET: u64 = 100_000;

/// Runs in rbpf; nothing may be run here that might not end.
fn run_rbpf(slots: &[u64], memory: &[u8]) -> (Outcome, Vec<u8>) {
    let checked = check(slots, &[0], &[]).expect("the code passes the check");
    let program = Program::new(slots, &checked, scratch(0));
    let mut bytes = memory.to_vec();
    let mut state = State::start(&program, 0, scratch(0), 0, 0);
    let mut regions = Memory::new().with_write(RegionId::Scratch, &mut bytes);
    let outcome = RbpfEngine(program).run(&mut state, &mut regions, &mut NoHost, 0);
    (outcome, bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn results_and_memory_agree(
        slots in program(Set::Rbpf),
        memory in prop::collection::vec(any::<u8>(), MEMORY_BYTES),
    ) {
        let checked = check(&slots, &[0], &[]).expect("generated code passes the check");
        let program = Program::new(&slots, &checked, scratch(0));
        let ours = run_program(&program, &memory, BUDGET, 1000, &mut NoHost, 0);
        prop_assert!(matches!(ours.outcome, Outcome::Exit { .. }), "{}", ours.outcome);
        let (outcome, bytes) = run_rbpf(&slots, &memory);
        prop_assert_eq!(ours.outcome, outcome, "\n{}", asm::disassemble(&slots));
        prop_assert_eq!(ours.memory, bytes, "\n{}", asm::disassemble(&slots));
    }
}

/// What both make of a text, as r0.
fn both(text: &str) -> (u64, Option<u64>) {
    let slots = asm::assemble(text).expect("the text assembles");
    let ours = support::run_text(text, &[0; 16]);
    let Outcome::Exit { r0 } = ours.outcome else {
        panic!("{text}: {}", ours.outcome)
    };
    match run_rbpf(&slots, &[0; 16]).0 {
        Outcome::Exit { r0: theirs } => (r0, Some(theirs)),
        Outcome::Fault(fault) => {
            assert!(matches!(fault.kind, FaultKind::Engine { .. }));
            (r0, None)
        }
        outcome => panic!("{text}: {outcome}"),
    }
}

#[test]
fn where_rbpf_differs() {
    for (text, ours, theirs) in [
        (
            "mov r0, -8\nsdiv r0, 2\nexit",
            -4_i64 as u64,
            Some(0x7fff_ffff_ffff_fffc),
        ),
        ("mov r0, -7\nsmod r0, 2\nexit", u64::MAX, Some(1)),
        (
            "mov r1, 0x80\nmovsx864 r0, r1\nexit",
            -128_i64 as u64,
            Some(0x80),
        ),
        (
            "mov r1, -1\nmov r0, 1\njeq r1, -1, +1\nmov r0, 0\nexit",
            1,
            Some(0),
        ),
        (
            "lddw r0, 0x500000003\nmod32 r0, 0\nexit",
            3,
            Some(0x5_0000_0003),
        ),
        ("mov r0, 1\nbswap16 r0\nexit", 0x100, None),
        ("mov r0, 1\nlock add [r1], r0\nexit", 1, None),
        ("ldxsb r0, [r1]\nexit", 0, None),
        ("mov r0, 2\ngotol +0\nexit", 2, None),
    ] {
        assert_eq!(both(text), (ours, theirs), "{text}");
    }
}

#[test]
fn rbpf_is_not_asked_for_what_it_cannot_do() {
    let run = |slots: &[u64], r1: u64| {
        let checked = check(&[0x95], &[0], &[]).unwrap();
        let program = Program::new(slots, &checked, 0);
        let mut state = State::start(&program, 0, r1, 0, 0);
        let outcome = RbpfEngine(program).run(&mut state, &mut Memory::new(), &mut NoHost, 0);
        outcome.to_string()
    };
    let text = |text: &str| asm::assemble(text).unwrap();
    for (slots, why) in [
        (text("call 1\nexit"), "the program calls a helper"),
        (
            text("lddw r1, scratch+0\nexit"),
            "the program loads a linked address",
        ),
        (
            text("exit\njeq r0, 0, -1"),
            "the last instruction is neither an exit nor a jump",
        ),
        (vec![0xff, 0x95], "the program is malformed"),
        (text("ldxb r0, [r1]\nexit"), "it reports an error"),
    ] {
        let expected = format!("instruction 0: this engine cannot run it: {why}");
        assert_eq!(run(&slots, 0), expected);
    }
    assert!(run(&[0x95], 5).ends_with("r1 is not the start of a region"));
}
