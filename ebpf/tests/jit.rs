//! Machine code and the referee in step: after every slice the same state, memory and calls.
#![cfg(all(unix, target_arch = "x86_64"))]
#![allow(unsafe_code)] // It vouches for accesses of programs that are right by the way they are made.

mod support;

#[path = "support/jit.rs"]
mod jit;
#[path = "support/sides.rs"]
mod sides;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use ebpf::isa::Slot;
use ebpf::jit::{Compiled, JitError, Job, Target, run_proved};
use ebpf::limits::{CODE_SLOTS_MAX, STACK_BYTES};
use ebpf::{
    AccessPlan, Allowed, Engine, Fault, FaultKind, HelperResult, HelperSpec, Host, Isolation,
    Memory, NoHost, Outcome, Program, RegionId, State, asm, check, run_planned,
};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use proptest::prelude::*;
use sides::{HELPERS, Side, Slices, any_slot, cases, damaged, in_step, slices};
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

/// Runs a text both ways and gives how it ended.
fn both(text: &str, budget: u64) -> Outcome {
    let slots = asm::assemble(text).expect("the text assembles");
    let checked = check(&slots, &[0], HELPERS).expect("the code passes the check");
    let program = Program::new(&slots, &checked, scratch(0));
    let mut outcomes = Vec::new();
    for how in GUARDED {
        for slice in [0, 1, 7, u32::MAX] {
            let outcome = compare(&program, how, &[1; 64], budget, &vec![slice]);
            outcomes.push(outcome.unwrap_or_else(|why| panic!("{text}: {why}")));
        }
    }
    assert!(outcomes.iter().all(|outcome| *outcome == outcomes[0]));
    outcomes[0]
}

#[test]
fn ends_of_every_kind_agree() {
    let fault = |pc, kind| Outcome::Fault(Fault { pc, kind });
    let deep = "call local +1\nexit\ncall local -1\nexit";
    assert_eq!(
        both("call 3\nexit", 1000),
        Outcome::Killed { pc: 0, reason: 9 }
    );
    assert_eq!(both(deep, 1000), fault(2, FaultKind::CallDepth));
    // The last call there is room for, and the first there is not, each just not paid for.
    for budget in 0..20 {
        both(deep, budget);
    }
    assert_eq!(
        both("mov r0, 3\nja -1\nexit", 9),
        Outcome::OutOfBudget { pc: 1 }
    );
    assert_eq!(both("call 1\nexit", 17), Outcome::OutOfBudget { pc: 0 });
    assert_eq!(
        both("call 2\nmov r2, 5\nexit", 100),
        Outcome::Exit { r0: -5_i64 as u64 }
    );
    assert_eq!(both("exit", 0), Outcome::OutOfBudget { pc: 0 });
    for text in [
        "ldxb r0, [r1+64]\nexit",
        "mov r2, r1\nadd r2, 60\nstxdw [r2], r3\nexit",
        "lock add [r1+60], r2\nexit",
    ] {
        let outcome = both(text, 1000).to_string();
        assert!(
            outcome.ends_with("outside a region of 64 bytes"),
            "{outcome}"
        );
    }
    let outcome = both("lddw r1, 0x200000008\nstb [r1], 1\nexit", 1000).to_string();
    assert!(outcome.ends_with("which may only be read"), "{outcome}");
    let outcome = both("stb [r10+0], 1\nexit", 1000).to_string();
    assert!(
        outcome.ends_with("outside a region of 4096 bytes"),
        "{outcome}"
    );
}

/// What flags say of one way to an instruction is not taken for granted on another.
#[test]
fn flags_are_not_carried_over_labels() {
    let text = "mov r0, 1\nmov r2, 5\nmov r3, 1\njeq r3, 1, +1\nsub r2, 5\njeq r2, 0, +1\n\
                mov r0, 7\nexit";
    assert_eq!(both(text, 100), Outcome::Exit { r0: 7 });
    let text = "mov r0, 1\nmov r2, 5\nmov r3, 2\njeq r3, 1, +1\nsub r2, 5\njeq r2, 0, +1\n\
                mov r0, 7\nexit";
    assert_eq!(both(text, 100), Outcome::Exit { r0: 1 });
}

/// Each way an access can be allowed, at the edges of every region, with either right.
#[test]
fn guarded_accesses_touch_what_they_may() {
    let sizes = [("b", 1_u64), ("h", 2), ("w", 4), ("dw", 8)];
    let regions = [
        RegionId::Arguments,
        RegionId::Scratch,
        RegionId::Stack,
        RegionId::Data,
    ];
    for allowed in [
        Allowed::Any,
        Allowed::Numbers,
        Allowed::Only(RegionId::Scratch),
        Allowed::Only(RegionId::Arguments),
        Allowed::Only(RegionId::Stack),
    ] {
        for (size, bytes) in sizes {
            for access in [
                format!("ldx{size} r0, [r1-3]"),
                format!("stx{size} [r1-3], r2"),
                format!("stx{size} [r1-3], r10"),
                format!("st{size} [r1-3], 7"),
            ] {
                let slots = asm::assemble(&format!("{access}\nexit")).expect("it assembles");
                let checked = check(&slots, &[0], &[]).expect("it passes");
                let program = Program::new(&slots, &checked, 0);
                let plan = guarding(allowed);
                for isolation in [Isolation::Alone, Isolation::Shared] {
                    let store = jit::compile(&program, &plan, isolation).expect("it compiles");
                    let compiled = store.get().expect("it was compiled");
                    for region in regions {
                        let len = match region {
                            RegionId::Arguments => 24,
                            RegionId::Scratch => 64,
                            _ => STACK_BYTES as u64,
                        };
                        for offset in [
                            -1,
                            0,
                            len as i64 - bytes as i64,
                            len as i64 - bytes as i64 + 1,
                        ] {
                            let start = Memory::address(region, 0).wrapping_add_signed(offset + 3);
                            agree_from(&program, &plan, &compiled, start, &access);
                        }
                    }
                    for start in [0, 3, u64::MAX, 1 << 63, 23_u64 << 32 | 3, 24 << 32 | 3] {
                        agree_from(&program, &plan, &compiled, start, &access);
                    }
                }
            }
        }
    }
}

/// A plan for the first slot.
fn guarding(allowed: Allowed) -> AccessPlan {
    let mut plan = AccessPlan::all_guarded();
    plan.guard(0, allowed);
    plan
}

/// Runs from an address in r1 both ways.
fn agree_from(
    program: &Program<'_>,
    plan: &AccessPlan,
    compiled: &Compiled<'_>,
    start: u64,
    text: &str,
) {
    let side = || {
        let mut side = Side::new(program, &[9; 64], 100);
        side.state = State::start(program, 0, start, 0x1122_3344_5566_7788, 100);
        side
    };
    let (mut ours, mut theirs) = (side(), side());
    let outcome = ours.run(|s, m, h| compiled.run(s, m, h, 100));
    let expected = theirs.run(|s, m, h| run_planned(program, plan, s, m, h, 100));
    assert_eq!(outcome, expected, "{text} from {start:#x}");
    assert!(ours.state == theirs.state, "{text} from {start:#x}");
    assert!(ours.scratch == theirs.scratch && ours.stack == theirs.stack);
}

#[test]
fn a_host_without_a_helper_is_no_surprise() {
    let slots = asm::assemble("mov r1, 1\ncall 3\nexit").expect("it assembles");
    let checked = check(&slots, &[0], HELPERS).expect("it passes");
    let program = Program::new(&slots, &checked, scratch(0));
    let plan = AccessPlan::all_guarded();
    let store = jit::compile(&program, &plan, Isolation::Alone).expect("it compiles");
    let compiled = store.get().expect("it was compiled");
    let mut state = State::start(&program, 0, 0, 0, 100);
    let outcome = compiled.run(&mut state, &mut Memory::new(), &mut NoHost, 100);
    let kind = FaultKind::UnknownHelper { helper: 3 };
    assert_eq!(outcome, Outcome::Fault(Fault { pc: 1, kind }));
    let again = compiled.run(&mut state, &mut Memory::new(), &mut NoHost, 100);
    assert_eq!(again, outcome);
    assert_eq!(compiled.name(), "jit");
}

/// Loops that share a head, which might all have a copy of it: they need no more memory than the large
/// board gives to a program.
#[test]
fn loops_without_number_fit() {
    let head = "again: add r1, 1\nadd r2, 3\nadd r3, 5\nadd r4, 7\njgt r1, 1000, +3000\n";
    let body = "jeq r1, 7, +1\nja again\n".repeat(1900);
    let text = format!("{head}{body}exit").replace("ja again", "ja AGAIN");
    // Labels are for people; here is where each jump leads.
    let mut slots = Vec::new();
    for line in text.replace("again: ", "").lines() {
        let back = -(slots.len() as i32) - 1;
        let line = line
            .replace("AGAIN", &back.to_string())
            .replace("+3000", "+3800");
        slots.extend(asm::assemble(&line).expect("it assembles"));
    }
    let checked = check(&slots, &[0], &[]).expect("it passes");
    let program = Program::new(&slots, &checked, scratch(0));
    let mut store = jit::store(112 * 1024);
    let made = store.compile(&program, &AccessPlan::all_guarded(), Isolation::Shared);
    assert!(made.is_ok(), "{made:?}");
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let checked = check(&[0x95; 3], &[0], &[]).expect("it passes");
    let plan = AccessPlan::all_guarded();
    let compile = |slots: &[u64], bytes: usize, entries: usize| {
        let program = Program::new(slots, &checked, 0);
        let mut job = Job::new(&program, Isolation::Alone, Target::X86_64)?;
        let (mut area, mut table) = (vec![0; bytes], vec![0; entries]);
        let layout = job.step(&program, &plan, &mut area, &mut table, u32::MAX)?;
        Ok(layout.expect("all was done at once").code_bytes())
    };
    let whole = compile(&[0x95; 3], 4096, 4).expect("it compiles");
    assert_eq!(compile(&[0x95; 3], whole, 4), Ok(whole));
    let needed = whole;
    assert_eq!(
        compile(&[0x95; 3], whole - 1, 4),
        Err(JitError::AreaTooSmall { needed })
    );
    assert_eq!(
        JitError::AreaTooSmall { needed: 9 }.to_string(),
        "the area is too small for 9 bytes of code"
    );
    assert_eq!(
        compile(&[0x95; 3], 4096, 3),
        Err(JitError::TableTooSmall { needed: 4 })
    );
    let long = vec![0x95; CODE_SLOTS_MAX + 1];
    assert_eq!(
        compile(&long, 1 << 20, long.len() + 1),
        Err(JitError::TooLong)
    );
    for (slots, expected) in [
        (
            vec![Slot::new(0x05, 0, 0, 2, 0).0, 0x95],
            JitError::JumpOutside { pc: 0 },
        ),
        (
            vec![Slot::new(0x05, 0, 0, -2, 0).0, 0x95],
            JitError::JumpOutside { pc: 0 },
        ),
        (
            vec![Slot::new(0x06, 0, 0, 0, i32::MAX).0, 0x95],
            JitError::JumpOutside { pc: 0 },
        ),
        (
            vec![Slot::new(0x15, 0, 0, i16::MIN, 0).0, 0x95],
            JitError::JumpOutside { pc: 0 },
        ),
        (
            vec![Slot::new(0x18, 1, 0, 0, 1).0, 0x95],
            JitError::WideWithoutHalf { pc: 0 },
        ),
        (
            vec![
                Slot::new(0x05, 0, 0, 1, 0).0,
                Slot::new(0x18, 1, 0, 0, 1).0,
                0,
                0x95,
            ],
            JitError::JumpInsideWide { pc: 0 },
        ),
    ] {
        assert_eq!(compile(&slots, 4096, 8), Err(expected));
    }
    // One behind the last is where control falls off.
    assert!(compile(&[Slot::new(0x05, 0, 0, 1, 0).0, 0x95], 4096, 3).is_ok());
    assert!(compile(&[], 4096, 1).is_ok());
}

/// A state may come from another program; then it finds faults at worst.
#[test]
fn the_state_of_another_program_is_no_danger() {
    let long = "exit\n".repeat(31) + "call local -32\nexit";
    let slots = asm::assemble(&long).expect("it assembles");
    let checked = check(&slots, &[31], &[]).expect("it passes");
    let program = Program::new(&slots, &checked, 0);
    let fresh = State::start(&program, 31, 0, 0, 1000);
    let mut inside = fresh.clone();
    let mut stack = [0; STACK_BYTES];
    let mut memory = Memory::new().with_write(RegionId::Stack, &mut stack);
    let outcome = ebpf::run(&program, &mut inside, &mut memory, &mut NoHost, 2);
    assert_eq!(outcome, Outcome::Yielded);
    assert_eq!((inside.pc(), inside.depth()), (0, 1));

    let fault = |pc, kind| Outcome::Fault(Fault { pc, kind });
    let plan = AccessPlan::all_guarded();
    // Programs without calls, and with one.
    for text in ["exit", "ja +2\ncall local +2\nexit\nexit\nexit"] {
        let slots = asm::assemble(text).expect("it assembles");
        let checked = check(&slots, &[0], &[]).expect("it passes");
        let program = Program::new(&slots, &checked, 0);
        let store = jit::compile(&program, &plan, Isolation::Alone).expect("it compiles");
        let compiled = store.get().expect("it was compiled");
        // Its frame leads to slot 32.
        let outcome = compiled.run(&mut inside.clone(), &mut memory, &mut NoHost, 40);
        assert_eq!(outcome, fault(32, FaultKind::FellOff), "{text}");
        // Its next slot is 31.
        let outcome = compiled.run(&mut fresh.clone(), &mut memory, &mut NoHost, 40);
        assert_eq!(outcome, fault(31, FaultKind::NoFunction { target: 31 }));
    }
    // And where no code begins.
    let wide = "mov r0, 0\nlddw r0, 1\nexit";
    let slots = asm::assemble(wide).expect("it assembles");
    let checked = check(&slots, &[0], &[]).expect("it passes");
    let program = Program::new(&slots, &checked, 0);
    let store = jit::compile(&program, &plan, Isolation::Alone).expect("it compiles");
    let compiled = store.get().expect("it was compiled");
    let back = asm::assemble("ja +2\nexit\nexit\nja -2\nexit").expect("it assembles");
    let checked = check(&back, &[0], &[]).expect("it passes");
    let jumping = Program::new(&back, &checked, 0);
    let mut late = State::start(&jumping, 0, 0, 0, 1000);
    let outcome = ebpf::run(&jumping, &mut late, &mut memory, &mut NoHost, 5);
    assert_eq!((outcome, late.pc()), (Outcome::Yielded, 2));
    let outcome = compiled.run(&mut late, &mut memory, &mut NoHost, 40);
    assert!(outcome.to_string().contains("no code begins"), "{outcome}");
}

#[test]
fn what_is_proved_is_not_run_as_if_it_were_not() {
    let slots = asm::assemble("ldxb r0, [r1]\nexit").expect("it assembles");
    let checked = check(&slots, &[0], &[]).expect("it passes");
    let program = Program::new(&slots, &checked, 0);
    // SAFETY: nobody runs it as proved.
    let plan = unsafe { plan::by_base(&slots) };
    let store = jit::compile(&program, &plan, Isolation::Alone).expect("it compiles");
    let compiled = store.get().expect("it was compiled");
    assert!(compiled.has_proofs());
    let mut state = State::start(&program, 0, 0, 0, 100);
    let outcome = compiled.run(&mut state, &mut Memory::new(), &mut NoHost, 100);
    let words = outcome.to_string();
    assert!(words.contains("this engine cannot run it"), "{words}");
}

/// A store lends what was compiled last, in however many steps.
#[test]
fn steps_make_the_same_code() {
    let texts = [
        "mov r0, 1\nexit",
        include_str!("../examples/programs/varint.asm"),
    ];
    for text in texts {
        let slots = asm::assemble(text).expect("it assembles");
        let checked = check(&slots, &[0], &[]).expect("it passes");
        let program = Program::new(&slots, &checked, scratch(0));
        let plan = AccessPlan::all_guarded();
        let at_once = jit::compile(&program, &plan, Isolation::Shared).expect("it compiles");
        let mut store = jit::store(64 * 1024);
        let mut job = store.begin(&program, Isolation::Shared).expect("it begins");
        assert!(store.get().is_none());
        let mut steps = 1;
        // SAFETY: the job began here, with this program.
        while !unsafe { store.step(&mut job, &program, &plan, 3) }.expect("it compiles") {
            assert!(store.get().is_none());
            steps += 1;
        }
        assert!(steps <= 7 * slots.len() / 3 + 8, "{steps} steps");
        let (one, other) = (at_once.get().unwrap(), store.get().unwrap());
        assert_eq!(one.code_bytes(), other.code_bytes());
        let len = one.code_bytes();
        assert!(at_once.memory().bytes()[..len] == store.memory().bytes()[..len]);
    }
    let mut store = jit::store(4096);
    let slots = vec![0x95; 4000];
    let checked = check(&slots, &[0], &[]).expect("it passes");
    let program = Program::new(&slots, &checked, 0);
    let refused = store.compile(&program, &AccessPlan::all_guarded(), Isolation::Alone);
    assert!(matches!(refused, Err(JitError::AreaTooSmall { .. })));
    assert!(store.get().is_none());
}

/// The native stack does not grow with calls of the program's.
#[test]
fn calls_leave_nothing_on_the_stack() {
    let run = || {
        let text = "mov r6, r1\nmov r7, 300000\nagain:\nmov r1, 7\ncall local +5\n\
                    sub r7, 1\nadd r0, r7\nstxdw [r6], r0\njne r7, 0, again\nexit\n\
                    lddw r4, scratch+8\nadd r4, r1\nexit";
        let slots = asm::assemble(text).expect("it assembles");
        let checked = check(&slots, &[0], &[]).expect("it passes");
        let program = Program::new(&slots, &checked, scratch(0));
        let plan = AccessPlan::all_guarded();
        let store = jit::compile(&program, &plan, Isolation::Shared).expect("it compiles");
        let compiled = store.get().expect("it was compiled");
        support::run_in(&program, &[0; 24], 1 << 40, 0, |state, memory| {
            compiled.run(state, memory, &mut NoHost, u32::MAX)
        })
        .outcome
    };
    let thread = std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(run);
    let outcome = thread
        .expect("there are threads")
        .join()
        .expect("it does not panic");
    let sum = (0..300_000_u64).sum();
    assert_eq!(outcome, Outcome::Exit { r0: sum });
}

/// What the emitter writes, seen by a decoder that knows nothing of it.
struct Listing {
    instructions: Vec<Instruction>,
}

impl Listing {
    fn new(code: &[u8]) -> Listing {
        let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
        Listing {
            instructions: decoder.iter().collect(),
        }
    }

    /// True if every instruction is one, nothing goes elsewhere than to the start of one, and what
    /// is touched is by way of registers only.
    fn check(&self, code: &[u8], table: &[u32]) -> Result<(), TestCaseError> {
        let starts: HashSet<u64> = self.instructions.iter().map(Instruction::ip).collect();
        for instruction in &self.instructions {
            prop_assert!(!instruction.is_invalid(), "at {:#x}", instruction.ip());
            let jumps = instruction.is_jcc_short_or_near() || instruction.is_jmp_short_or_near();
            if jumps {
                let target = instruction.near_branch_target();
                prop_assert!(
                    starts.contains(&target),
                    "{instruction} at {:#x}",
                    instruction.ip()
                );
            }
            let indirect = instruction.flow_control() == FlowControl::IndirectBranch;
            prop_assert!(!indirect || instruction.op0_kind() == OpKind::Register);
            let known = matches!(
                instruction.flow_control(),
                FlowControl::Next
                    | FlowControl::ConditionalBranch
                    | FlowControl::UnconditionalBranch
                    | FlowControl::IndirectBranch
                    | FlowControl::Return
                    | FlowControl::Interrupt
            );
            prop_assert!(known, "{instruction}");
            prop_assert!(instruction.memory_base() != Register::RIP);
        }
        for &entry in table {
            prop_assert!(starts.contains(&u64::from(entry)), "{entry:#x}");
        }
        let last = self.instructions.last().map_or(0, Instruction::next_ip);
        prop_assert_eq!(last as usize, code.len());
        Ok(())
    }
}

/// A plan by chance: what is known of each slot in turn.
fn by_tags(tags: &[u8]) -> AccessPlan {
    let mut plan = AccessPlan::all_guarded();
    for (pc, tag) in (0..).zip(tags) {
        match tag {
            0 => {}
            1 => plan.guard(pc, Allowed::Numbers),
            2 => plan.guard(pc, Allowed::Only(RegionId::Scratch)),
            // SAFETY: nothing that is compiled with it is run.
            _ => unsafe { plan.assume(pc, RegionId::Stack) },
        }
    }
    plan
}

/// Where memory is shared, each access at an offset that varies has a conditional move for what the
/// processor speculates about it; others have none.
#[test]
fn what_varies_is_masked_where_memory_is_shared() {
    let moves = |text: &str, isolation, prove: bool| {
        let slots = asm::assemble(&format!("{text}\nexit")).expect("it assembles");
        let checked = check(&slots, &[0], &[]).expect("it passes");
        let program = Program::new(&slots, &checked, 0);
        let mut plan = AccessPlan::all_guarded();
        if prove {
            // SAFETY: it is not run.
            plan = unsafe { plan::by_base(&slots) };
        }
        let store = jit::compile(&program, &plan, isolation).expect("it compiles");
        let code = &store.memory().bytes()[..store.get().expect("it is there").code_bytes()];
        let listing = Listing::new(code);
        let named = listing
            .instructions
            .iter()
            .map(|it| format!("{:?}", it.mnemonic()));
        named.filter(|name| name.starts_with("Cmov")).count()
    };
    for (text, proved, guarded) in [
        ("ldxdw r0, [r1+8]", 1, 2),
        ("ldxsb r0, [r1]", 1, 2),
        ("stxb [r1+8], r2", 1, 2),
        ("stw [r1], 2", 1, 2),
        ("lock fetch add [r1], r2", 1, 2),
        ("ldxdw r0, [r10-8]", 0, 2),
        ("stxdw [r10-8], r2", 0, 2),
    ] {
        assert_eq!(moves(text, Isolation::Alone, true), 0, "{text}");
        assert_eq!(moves(text, Isolation::Alone, false), 0, "{text}");
        assert_eq!(moves(text, Isolation::Shared, true), proved, "{text}");
        assert_eq!(moves(text, Isolation::Shared, false), guarded, "{text}");
    }
}

/// Bytes behind the area that must stay as they are.
const GUARD: usize = 64;

proptest! {
    #![proptest_config(cases(6000))]

    /// Whatever slots there are, checked or not: the compiler comes to an end, keeps to its area, and
    /// what it made are instructions that lead to each other. And whatever is run of it ends.
    #[test]
    fn whatever_is_not_checked_keeps_to_its_area(
        slots in prop_oneof![prop::collection::vec(any_slot(), 0..12), damaged()],
        memory in prop::collection::vec(any::<u8>(), 8..MEMORY_BYTES),
        slice in 0..100_u32,
        start in (0..60_u32, 0..3000_u64),
        bytes in 0..3000_usize,
        tags in prop::collection::vec(0..4_u8, 12),
    ) {
        let other = check(&[0x95; 40], &[0, 3, 7, 20], &[]).expect("it passes");
        let program = Program::new(&slots, &other, scratch(0));
        let plan = by_tags(&tags);
        let mut job = Job::new(&program, Isolation::Shared, Target::X86_64).expect("it is short");
        let mut area = vec![0xa5; bytes + GUARD];
        let mut table = vec![0; slots.len() + 1];
        let made = job.step(&program, &plan, &mut area[..bytes], &mut table, u32::MAX);
        prop_assert!(area[bytes..].iter().all(|&byte| byte == 0xa5));
        if let Ok(Some(layout)) = made {
            Listing::new(&area[..layout.code_bytes()]).check(&area[..layout.code_bytes()], &table)?;
        } else if let Err(JitError::AreaTooSmall { needed }) = made {
            prop_assert!(needed > bytes);
        } else if let Err(JitError::Inconsistent { pc }) = made {
            prop_assert!(false, "at {}", pc);
        }
        let guarded = AccessPlan::all_guarded();
        if let Ok(store) = jit::compile(&program, &guarded, Isolation::Shared) {
            let compiled = store.get().expect("it was compiled");
            let mut side = Side::new(&program, &memory, start.1);
            side.state = State::start(&program, start.0, scratch(0), 8, start.1);
            let mut runs = 0;
            while !side.run(|s, m, h| compiled.run(s, m, h, slice)).is_end() {
                prop_assert!(side.state.spent() <= start.1);
                side.state.resume(0);
                runs += 1;
                prop_assert!(runs <= start.1);
            }
        }
    }
}

/// Registers of idioms: few, so that they coincide.
fn few() -> impl Strategy<Value = u8> {
    0..5_u8
}

/// A number that matters somewhere.
fn telling() -> impl Strategy<Value = i32> {
    prop_oneof![
        4 => prop::sample::select(vec![-128, -2, -1, 0, 1, 2, 127, 128, 255, 0xffff, i32::MIN, i32::MAX]),
        1 => any::<i32>(),
    ]
}

/// One operation on registers: an opcode of arithmetic and what goes with it.
fn operation() -> impl Strategy<Value = u64> {
    let codes = prop::sample::select(vec![
        0x00, 0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0_u8,
    ]);
    let src = prop_oneof![6 => few(), 1 => Just(10)];
    let class = prop::sample::select(vec![4, 7_u8]);
    (codes, class, any::<bool>(), few(), src, telling()).prop_map(
        |(code, class, by_register, dst, src, imm)| {
            if by_register {
                Slot::new(code | class | 8, dst, src, 0, 0).0
            } else {
                Slot::new(code | class, dst, 0, 0, imm).0
            }
        },
    )
}

/// Instructions in an order that the compiler looks for, or just misses.
fn idiom() -> impl Strategy<Value = Vec<u64>> {
    let reg = |opcode: u8, dst: u8, src: u8| Slot::new(opcode, dst, src, 0, 0).0;
    let imm = |opcode: u8, dst: u8, imm: i32| Slot::new(opcode, dst, 0, 0, imm).0;
    let width = prop::sample::select(vec![4, 7_u8]);
    let count = prop_oneof![prop::sample::select(vec![8, 16, 24, 32, 48, 56]), 0..64_i32];
    let sum = (width.clone(), few(), few(), few(), telling(), any::<bool>()).prop_map(
        move |(width, a, b, c, number, by_register)| {
            let add = if by_register {
                reg(0x08 | width, a, c)
            } else {
                imm(width, a, number)
            };
            vec![reg(0xb8 | width, a, b), add]
        },
    );
    let shifts = (width.clone(), few(), few(), count, any::<(bool, bool)>()).prop_map(
        move |(width, a, b, count, (moves, signed))| {
            let count = if width == 4 { count & 31 } else { count };
            let mut slots = vec![reg(0xb8 | width, a, b)];
            slots.truncate(usize::from(moves));
            slots.push(imm(0x60 | width, a, count));
            let right = if signed { 0xc0 } else { 0x70 };
            slots.push(imm(right | width, a, count));
            slots
        },
    );
    let scaled = (prop::array::uniform4(few()), 0..5_i32, any::<bool>()).prop_map(
        move |([a, b, c, d], count, whole)| {
            let slots = [
                reg(0xbf, a, b),
                imm(0x67, a, count),
                reg(0xbf, c, d),
                reg(0x0f, c, a),
            ];
            if whole {
                slots.to_vec()
            } else {
                slots[1..3]
                    .iter()
                    .copied()
                    .chain([reg(0x0f, a, d)])
                    .collect()
            }
        },
    );
    prop_oneof![sum, shifts, scaled, operation().prop_map(|slot| vec![slot])]
}

/// A conditional jump, without its distance.
fn question() -> impl Strategy<Value = Slot> {
    let codes = prop::sample::select(vec![
        0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0_u8,
    ]);
    let class = prop::sample::select(vec![5, 6_u8]);
    let src = prop_oneof![6 => few(), 1 => Just(10)];
    (codes, class, any::<bool>(), few(), src, telling()).prop_map(
        |(code, class, by_register, dst, src, imm)| {
            if by_register {
                Slot::new(code | class | 8, dst, src, 0, 0)
            } else {
                Slot::new(code | class, dst, 0, 0, imm)
            }
        },
    )
}

/// A question, operations, the same question again (or nearly), operations, and perhaps a jump back.
fn asked_twice() -> impl Strategy<Value = Vec<u64>> {
    let operations = || prop::collection::vec(operation(), 0..4);
    let parts = (
        question(),
        operations(),
        operations(),
        operations(),
        operations(),
    );
    (parts, -12..4_i16, any::<(bool, bool)>()).prop_map(
        |((question, before, first, second, behind), distance, (same, back))| {
            let jump = |question: Slot, offset: i16| {
                question.0 & !0xffff_0000 | u64::from(offset as u16) << 16
            };
            let mut slots = before;
            slots.push(jump(question, first.len() as i16));
            slots.extend(first);
            slots.extend(second);
            let again = if same {
                question
            } else {
                Slot(question.0 ^ 0x100)
            };
            let distance = distance.clamp(-(slots.len() as i16) - 1, behind.len() as i16);
            slots.push(jump(again, distance));
            slots.extend(behind);
            if back {
                let distance = (-3_i16).max(-(slots.len() as i16) - 1);
                slots.push(Slot::new(0x05, 0, 0, distance, 0).0);
            }
            slots
        },
    )
}

proptest! {
    #![proptest_config(cases(6000))]

    /// What the compiler makes fewer instructions of.
    #[test]
    fn idioms_agree(
        numbers in prop::collection::vec(prop_oneof![any::<u64>(), telling().prop_map(|n| n as u64)], 5),
        parts in prop::collection::vec(prop_oneof![2 => idiom(), 1 => asked_twice()], 1..6),
        slices in slices(),
        budget in 0..600_u64,
    ) {
        let load = |(dst, &number): (u8, &u64)| {
            let low = Slot::new(0x18, dst, 0, 0, number as i32).0;
            [low, number & 0xffff_ffff_0000_0000]
        };
        let mut slots: Vec<u64> = (0..).zip(&numbers).flat_map(load).collect();
        slots.extend(parts.concat());
        slots.push(0x95);
        let checked = check(&slots, &[0], HELPERS);
        prop_assume!(checked.is_ok());
        let checked = checked.expect("it passes");
        let program = Program::new(&slots, &checked, scratch(0));
        compare(&program, GUARDED[1], &[1; 64], budget, &slices)?;
    }
}
