//! Machine code and the referee in step: after every slice the same state, memory and calls.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(unsafe_code)] // It vouches for accesses of programs that are right by the way they are made.

mod support;

#[path = "support/jit.rs"]
mod jit;
#[path = "support/sides.rs"]
mod sides;

use std::path::{Path, PathBuf};

use ebpf::jit::{Compiled, JitError, Job, Target, run_proved};
use ebpf::{
    AccessPlan, Engine, HelperResult, HelperSpec, Host, Isolation, Memory, Outcome, Program, State,
    asm, check, run_planned,
};
use proptest::prelude::*;
use sides::{HELPERS, Side, Slices, Tracing, any_slot, cases, damaged, in_step, slices};
use support::cases::Case;
use support::generate::{MEMORY_BYTES, Set, program};
use support::{plan, scratch};

/// How a program is compiled and run.
#[derive(Clone, Copy, Debug)]
enum How {
    Guarded(Isolation),
    /// Only for programs that are right by the way they are made.
    Proved(Isolation),
}

const GUARDED: [How; 2] = [
    How::Guarded(Isolation::Alone),
    How::Guarded(Isolation::Shared),
];
const ALL: [How; 4] = [
    GUARDED[0],
    GUARDED[1],
    How::Proved(Isolation::Alone),
    How::Proved(Isolation::Shared),
];

/// Runs compiled code.
fn run(
    how: How,
    compiled: &Compiled<'_>,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut impl Host,
    slice: u32,
) -> Outcome {
    match how {
        How::Guarded(_) => compiled.run(state, memory, host, slice),
        // SAFETY: the plan was made for this program, which was started as the generator expects,
        // over the regions it expects.
        How::Proved(_) => unsafe { run_proved(compiled, state, memory, host, slice) },
    }
}

/// Runs both and gives how they ended.
fn compare(
    program: &Program<'_>,
    how: How,
    memory: &[u8],
    budget: u64,
    slices: &Slices,
) -> Result<Outcome, TestCaseError> {
    let (plan, isolation) = match how {
        How::Guarded(isolation) => (AccessPlan::all_guarded(), isolation),
        // SAFETY: the generator makes no other accesses.
        How::Proved(isolation) => (unsafe { plan::by_base(program.slots()) }, isolation),
    };
    let store = jit::compile(program, &plan, isolation)
        .map_err(|why| TestCaseError::fail(why.to_string()))?;
    let compiled = store.get().expect("it was compiled");
    in_step(
        program,
        memory,
        budget,
        slices,
        || format!("{how:?}\n{}", asm::disassemble(program.slots())),
        |state, memory, host, slice| run(how, &compiled, state, memory, host, slice),
        |state, memory, host, slice| run_planned(program, &plan, state, memory, host, slice),
    )
}

proptest! {
    #![proptest_config(cases(1500))]

    /// Programs that are right, proved and not.
    #[test]
    fn right_programs_agree(
        slots in program(Set::Full),
        memory in prop::collection::vec(any::<u8>(), MEMORY_BYTES),
        slices in slices(),
        share in 0..150_u64,
    ) {
        let checked = check(&slots, &[0], HELPERS).expect("generated code passes the check");
        let program = Program::new(&slots, &checked, scratch(0));
        for how in ALL {
            let outcome = compare(&program, how, &memory, 1 << 40, &slices)?;
            prop_assert!(matches!(outcome, Outcome::Exit { .. }), "{}", outcome);
        }
        // And so with a budget that does not suffice, or just so.
        let mut whole = Side::new(&program, &memory, 1 << 40);
        while !whole.run(|s, m, h| ebpf::run(&program, s, m, h, u32::MAX)).is_end() {
            whole.state.resume(-5);
        }
        let budget = whole.state.spent() * share / 100;
        for how in ALL {
            compare(&program, how, &memory, budget, &slices)?;
        }
    }

    /// Programs whose accesses go astray, into other regions, over ends, with the wrong right.
    #[test]
    fn stray_programs_agree(
        slots in program(Set::Stray),
        memory in prop::collection::vec(any::<u8>(), 8..MEMORY_BYTES),
        slices in slices(),
    ) {
        let checked = check(&slots, &[0], HELPERS).expect("generated code passes the check");
        let program = Program::new(&slots, &checked, scratch(0));
        for how in GUARDED {
            compare(&program, how, &memory, 1 << 40, &slices)?;
        }
    }
}

proptest! {
    #![proptest_config(cases(6000))]

    /// Whatever the check lets through.
    #[test]
    fn whatever_is_checked_agrees(
        slots in prop_oneof![prop::collection::vec(any_slot(), 1..12), damaged()],
        memory in prop::collection::vec(any::<u8>(), 8..MEMORY_BYTES),
        slices in slices(),
        budget in 0..3000_u64,
    ) {
        if let Ok(checked) = check(&slots, &[0], HELPERS) {
            let program = Program::new(&slots, &checked, scratch(0));
            for how in GUARDED {
                compare(&program, how, &memory, budget, &slices)?;
            }
        }
    }
}

/// The helpers that cases may call: number 5 is the one that may unwind, and does not.
struct CaseHost;

impl Host for CaseHost {
    fn call(&mut self, helper: u32, args: [u64; 5], _: &mut Memory<'_>) -> HelperResult {
        match helper {
            5 => HelperResult::Return(args[0] as i64),
            _ => HelperResult::Unknown,
        }
    }

    fn helpers(&self) -> &[HelperSpec] {
        &[HelperSpec {
            id: 5,
            name: "unwind",
            length_arg: None,
        }]
    }
}

/// Every case that passes the check, with both isolations, as the referee has it. That the referee
/// is right is the affair of another test.
fn run_cases(folder: &Path) -> Option<usize> {
    let mut ran = 0;
    for case in Case::folder(folder)? {
        let slots = match &case.asm {
            Some(text) => asm::assemble(text).unwrap_or_default(),
            None => case.raw.clone(),
        };
        let Ok(checked) = check(&slots, &[0], CaseHost.helpers()) else {
            continue;
        };
        let program = Program::new(&slots, &checked, scratch(0));
        let plan = AccessPlan::all_guarded();
        let (budget, host) = (1_000_000, &mut CaseHost);
        let referee = support::run_program(&program, &case.memory, budget, u32::MAX, host, 0);
        for isolation in [Isolation::Alone, Isolation::Shared] {
            let store = jit::compile(&program, &plan, isolation).expect("it compiles");
            let compiled = store.get().expect("it was compiled");
            for slice in [u32::MAX, 1] {
                let host = &mut CaseHost;
                let run = |state: &mut State, regions: &mut Memory<'_>| {
                    compiled.run(state, regions, host, slice)
                };
                let ours = support::run_in(&program, &case.memory, budget, 0, run);
                assert_eq!(ours, referee, "{}", case.name);
            }
        }
        match (referee.outcome, case.result) {
            (Outcome::Exit { r0 }, Some(result)) => assert_eq!(r0, result, "{}", case.name),
            (_, Some(_)) => panic!("{}: {}", case.name, referee.outcome),
            (_, None) => {}
        }
        ran += 1;
    }
    Some(ran)
}

#[test]
fn our_own_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let ran = run_cases(&folder).expect("our own cases are there");
    assert!(ran >= 20, "only {ran} cases");
}

#[test]
fn the_public_cases() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/bpf");
    let folder = std::env::var_os("OUTBOARD_CONFORMANCE").map_or(default, PathBuf::from);
    match run_cases(&folder) {
        Some(ran) => println!("{ran} public cases"),
        None => println!("no public cases: {} is absent", folder.display()),
    }
}
