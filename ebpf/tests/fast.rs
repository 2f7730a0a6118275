//! The decoded form and the referee in step: after every slice the same state, memory and calls.
#![allow(unsafe_code)] // It vouches for accesses of programs that are right by the way they are made.

mod support;

#[path = "support/sides.rs"]
mod sides;

use ebpf::fast::{DecodeError, DecodedStore, run_proved};
use ebpf::isa::Slot;
use ebpf::limits::{CODE_SLOTS_MAX, STACK_BYTES};
use ebpf::{
    AccessPlan, Decoded, Engine, Fault, FaultKind, Isolation, Memory, NoHost, Op, Outcome, Program,
    RegionId, State, asm, check, run_decoded,
};
use proptest::prelude::*;
use sides::{HELPERS, Side, Slices, any_slot, cases, damaged, in_step, slices};
use support::generate::{MEMORY_BYTES, Set, program};
use support::{area, plan, scratch};

/// How the decoded side is run.
#[derive(Clone, Copy, Debug)]
enum How {
    Guarded(Isolation),
    /// Only for programs that are right by the way they are made.
    Proved(Isolation),
}

const HOWS: [How; 4] = [
    How::Guarded(Isolation::Alone),
    How::Guarded(Isolation::Shared),
    How::Proved(Isolation::Alone),
    How::Proved(Isolation::Shared),
];

/// Runs both and gives how they ended.
fn compare(
    program: &Program<'_>,
    how: How,
    memory: &[u8],
    budget: u64,
    slices: &Slices,
) -> Result<Outcome, TestCaseError> {
    let mut area = area(program);
    let (plan, isolation) = match how {
        How::Guarded(isolation) => (AccessPlan::all_guarded(), isolation),
        // SAFETY: the generator makes no other accesses.
        How::Proved(isolation) => (unsafe { plan::by_base(program.slots()) }, isolation),
    };
    let decoded = Decoded::new(program, &plan, isolation, &mut area)
        .map_err(|why| TestCaseError::fail(why.to_string()))?;
    in_step(
        program,
        memory,
        budget,
        slices,
        || format!("{how:?}\n{}", asm::disassemble(program.slots())),
        |state, memory, host, slice| match how {
            How::Guarded(_) => decoded.run(state, memory, host, slice),
            // SAFETY: the plan was made for this program, which was started as the generator
            // expects, over the regions it expects.
            How::Proved(_) => unsafe { run_proved(&decoded, state, memory, host, slice) },
        },
        |state, memory, host, slice| ebpf::run(program, state, memory, host, slice),
    )
}

/// A few instructions that compilers put together, of registers that coincide as chance has it. r6
/// is scratch and r9 counts; neither is written.
fn idiom() -> impl Strategy<Value = String> {
    let any = || prop::sample::select(vec![0, 1, 2, 3, 4, 5, 7, 8]);
    let one_of = |all: &[&'static str]| prop::sample::select(all.to_vec());
    let test = || one_of(&["jeq", "jne", "jlt", "jge", "jslt", "jsgt", "jset"]);
    let half = || one_of(&["", "32"]);
    let choice = (
        test(),
        half(),
        any(),
        any(),
        half(),
        any(),
        any(),
        -2..3_i32,
        0..4_u8,
    );
    let choice = choice.prop_map(|(test, half, a, b, moved, c, d, number, form)| {
        let second = if form & 1 == 0 {
            format!("r{b}")
        } else {
            number.to_string()
        };
        let value = if form & 2 == 0 {
            format!("r{d}")
        } else {
            number.to_string()
        };
        format!("{test}{half} r{a}, {second}, +1\nmov{moved} r{c}, {value}\n")
    });
    let copy = (half(), half(), any(), any(), any(), 0..64_u32, 0..7_usize).prop_map(
        |(moved, half, a, b, c, number, what)| {
            let second = match what {
                0 | 1 => format!("add{half} r{a}, r{c}"),
                2 => format!("add{half} r{a}, {number}"),
                3 => format!("and{half} r{a}, {number}"),
                4 => format!("lsh{half} r{a}, {}", number % 32),
                5 => format!("or{half} r{a}, r{c}"),
                _ => format!("sub{half} r{a}, r{c}"),
            };
            format!("mov{moved} r{a}, r{b}\n{second}\n")
        },
    );
    let width = || one_of(&["b", "h", "w", "dw"]);
    let distinct = || (any(), any()).prop_filter("two registers", |(a, b)| a != b);
    let load = (distinct(), any(), any(), width(), 0..3_u8, test(), 0..8_u8).prop_map(
        |((y, z), x, w, width, scale, test, offset)| {
            let index = format!("and r{x}, 3\n");
            let scaled = match scale {
                0 => format!("mov r{y}, r{x}\nlsh r{y}, 2\nmov r{z}, r6\nadd r{z}, r{y}\n"),
                _ if x == z => format!("mov r{y}, r{x}\nmov r{z}, r6\nadd r{z}, r{y}\n"),
                _ => format!("mov r{z}, r6\nadd r{z}, r{x}\n"),
            };
            let test = match scale {
                0 => format!("{test} r{w}, r{x}, +1\nmov32 r{y}, r{x}\n"),
                1 => format!("{test} r{w}, 5, +1\nadd r{w}, 3\n"),
                _ => String::new(),
            };
            format!("{index}{scaled}ldx{width} r{w}, [r{z}+{offset}]\n{test}")
        },
    );
    let single = (any(), any(), 0..6_usize, half()).prop_map(|(a, b, what, half)| match what {
        0 => format!("add{half} r{a}, r{b}\n"),
        1 => format!("xor r{a}, r{b}\n"),
        2 => format!("lsh{half} r{a}, 7\n"),
        3 => format!("mul r{a}, r{b}\n"),
        4 => format!("rsh32 r{a}, 1\n"),
        _ => format!("add{half} r{a}, -3\nja +0\n"),
    });
    prop_oneof![choice, copy, load, single]
}

/// Idioms in a loop, at whose end two ways lead back, and each costs what it should.
fn idioms() -> impl Strategy<Value = Vec<u64>> {
    let body = prop::collection::vec(idiom(), 1..14);
    let end = prop::sample::select(vec!["jlt r1, r2", "jne32 r3, 0", "jslt32 r4, 0"]);
    (body, end, prop::bool::ANY).prop_map(|(body, end, apart)| {
        let end = if apart {
            format!("{end}, again\nmov32 r5, r3\nja again\n")
        } else {
            "add r1, 16\nja again\n".to_string()
        };
        let text = format!(
            "mov r6, r1\nmov r9, 9\nmov r0, 1\nldxdw r2, [r6]\nldxw r3, [r6+4]\nldxb r4, [r6+1]\n\
             mov r5, 77\nmov r7, -1\nmov r8, r2\n\
             again:\nsub r9, 1\njeq r9, 0, done\n{}{end}done:\nadd r0, r5\nexit",
            body.concat()
        );
        asm::assemble(&text).expect("it assembles")
    })
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
        for how in HOWS {
            let outcome = compare(&program, how, &memory, 1 << 40, &slices)?;
            prop_assert!(matches!(outcome, Outcome::Exit { .. }), "{}", outcome);
        }
        // And so with a budget that does not suffice, or just so.
        let mut whole = Side::new(&program, &memory, 1 << 40);
        while !whole.run(|s, m, h| ebpf::run(&program, s, m, h, u32::MAX)).is_end() {
            whole.state.resume(-5);
        }
        let budget = whole.state.spent() * share / 100;
        for how in HOWS {
            compare(&program, how, &memory, budget, &slices)?;
        }
    }

    /// What compilers put together, and what is executed together, with slices that end anywhere.
    #[test]
    fn idioms_agree(
        slots in idioms(),
        memory in prop::collection::vec(any::<u8>(), MEMORY_BYTES),
        slices in slices(),
        budget in 0..600_u64,
    ) {
        let checked = check(&slots, &[0], HELPERS).expect("generated code passes the check");
        let program = Program::new(&slots, &checked, scratch(0));
        for how in HOWS {
            let outcome = compare(&program, how, &memory, 1 << 40, &slices)?;
            prop_assert!(matches!(outcome, Outcome::Exit { .. }), "{}", outcome);
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
        for how in [HOWS[0], HOWS[1]] {
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
            for how in [HOWS[0], HOWS[1]] {
                compare(&program, how, &memory, budget, &slices)?;
            }
        }
    }

    /// Whatever is not checked is refused, or ends.
    #[test]
    fn whatever_is_not_checked_ends(
        slots in prop_oneof![prop::collection::vec(any_slot(), 0..12), damaged()],
        memory in prop::collection::vec(any::<u8>(), 8..MEMORY_BYTES),
        slice in 0..100_u32,
        start in (0..60_u32, 0..3000_u64),
    ) {
        let other = check(&[0x95; 40], &[0, 3, 7, 20], &[]).expect("it passes");
        let program = Program::new(&slots, &other, scratch(0));
        let mut area = area(&program);
        let plan = AccessPlan::all_guarded();
        if let Ok(decoded) = Decoded::new(&program, &plan, Isolation::Shared, &mut area) {
            let mut side = Side::new(&program, &memory, start.1);
            side.state = State::start(&program, start.0, scratch(0), 8, start.1);
            let mut runs = 0;
            while !side.run(|s, m, h| run_decoded(&decoded, s, m, h, slice)).is_end() {
                prop_assert!(side.state.spent() <= start.1);
                side.state.resume(0);
                runs += 1;
                prop_assert!(runs <= start.1);
            }
        }
    }
}

/// Runs a text on both and gives how it ended.
fn both(text: &str, budget: u64) -> Outcome {
    let slots = asm::assemble(text).expect("the text assembles");
    let checked = check(&slots, &[0], HELPERS).expect("the code passes the check");
    let program = Program::new(&slots, &checked, scratch(0));
    let mut outcomes = Vec::new();
    for how in [HOWS[0], HOWS[1]] {
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
    ] {
        let outcome = both(text, 1000);
        assert!(
            outcome
                .to_string()
                .ends_with("outside a region of 64 bytes"),
            "{outcome}"
        );
    }
    let outcome = both("lddw r1, 0x200000008\nstb [r1], 1\nexit", 1000);
    assert!(
        outcome.to_string().ends_with("which may only be read"),
        "{outcome}"
    );
}

#[test]
fn a_host_without_a_helper_is_no_surprise() {
    let slots = asm::assemble("mov r1, 1\ncall 3\nexit").expect("it assembles");
    let checked = check(&slots, &[0], HELPERS).expect("it passes");
    let program = Program::new(&slots, &checked, scratch(0));
    let mut area = area(&program);
    let plan = AccessPlan::all_guarded();
    let decoded = Decoded::new(&program, &plan, Isolation::Alone, &mut area).expect("it decodes");
    let mut state = State::start(&program, 0, 0, 0, 100);
    let outcome = decoded.run(&mut state, &mut Memory::new(), &mut NoHost, 100);
    let kind = FaultKind::UnknownHelper { helper: 3 };
    assert_eq!(outcome, Outcome::Fault(Fault { pc: 1, kind }));
    assert_eq!(
        decoded.run(&mut state, &mut Memory::new(), &mut NoHost, 100),
        outcome
    );
}

#[test]
fn what_cannot_be_decoded_is_refused() {
    let checked = check(&[0x95; 3], &[0], &[]).expect("it passes");
    let plan = AccessPlan::all_guarded();
    let decode = |slots: &[u64], room: usize| {
        let mut area = vec![Op::EMPTY; room];
        let program = Program::new(slots, &checked, 0);
        Decoded::new(&program, &plan, Isolation::Alone, &mut area).map(|decoded| decoded.slots())
    };
    assert_eq!(decode(&[0x95; 3], 4), Ok(3));
    assert_eq!(
        decode(&[0x95; 3], 3),
        Err(DecodeError::AreaTooSmall { needed: 4 })
    );
    let long = vec![0x95; CODE_SLOTS_MAX + 1];
    assert_eq!(decode(&long, long.len() + 1), Err(DecodeError::TooLong));
    for slots in [
        vec![Slot::new(0x05, 0, 0, 1, 0).0, 0x95],
        vec![Slot::new(0x05, 0, 0, -2, 0).0, 0x95],
        vec![Slot::new(0x06, 0, 0, 0, i32::MAX).0, 0x95],
        vec![Slot::new(0x15, 0, 0, i16::MIN, 0).0, 0x95],
    ] {
        // One behind the last is the sentinel, which faults when it is reached.
        let found = decode(&slots, 3);
        let expected = if slots[0] == Slot::new(0x05, 0, 0, 1, 0).0 {
            Ok(2)
        } else {
            Err(DecodeError::JumpOutside { pc: 0 })
        };
        assert_eq!(found, expected);
    }
    let wide = [Slot::new(0x18, 1, 0, 0, 1).0, 0x95];
    assert_eq!(
        decode(&wide, 3),
        Err(DecodeError::WideWithoutHalf { pc: 0 })
    );
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

    let short = [0x95];
    let checked = check(&short, &[0], &[]).expect("it passes");
    let program = Program::new(&short, &checked, 0);
    let mut area = area(&program);
    let plan = AccessPlan::all_guarded();
    let decoded = Decoded::new(&program, &plan, Isolation::Alone, &mut area).expect("it decodes");
    let fault = |pc, kind| Outcome::Fault(Fault { pc, kind });
    // Its frame leads to slot 32.
    let outcome = decoded.run(&mut inside, &mut memory, &mut NoHost, 40);
    assert_eq!(outcome, fault(32, FaultKind::FellOff));
    // Its next slot is 31.
    let outcome = decoded.run(&mut fresh.clone(), &mut memory, &mut NoHost, 40);
    assert_eq!(outcome, fault(31, FaultKind::NoFunction { target: 31 }));
    let jump = "ja +30\n".to_owned() + &"exit\n".repeat(30) + "ja -2\nexit";
    let slots = asm::assemble(&jump).expect("it assembles");
    let checked = check(&slots, &[0], &[]).expect("it passes");
    let program = Program::new(&slots, &checked, 0);
    let mut late = State::start(&program, 0, 0, 0, 1000);
    let outcome = ebpf::run(&program, &mut late, &mut memory, &mut NoHost, 34);
    assert_eq!((outcome, late.pc()), (Outcome::Yielded, 30));
    let outcome = decoded.run(&mut late, &mut memory, &mut NoHost, 40);
    assert_eq!(outcome, fault(30, FaultKind::FellOff));
}

#[test]
fn what_is_proved_is_not_run_as_if_it_were_not() {
    let slots = asm::assemble("ldxb r0, [r1]\nexit").expect("it assembles");
    let checked = check(&slots, &[0], &[]).expect("it passes");
    let program = Program::new(&slots, &checked, 0);
    let mut area = area(&program);
    // SAFETY: nobody runs it as proved.
    let plan = unsafe { plan::by_base(&slots) };
    let decoded = Decoded::new(&program, &plan, Isolation::Alone, &mut area).expect("it decodes");
    assert!(decoded.has_proofs());
    let mut state = State::start(&program, 0, 0, 0, 100);
    let outcome = decoded.run(&mut state, &mut Memory::new(), &mut NoHost, 100);
    assert!(
        outcome.to_string().contains("this engine cannot run it"),
        "{outcome}"
    );
}

#[test]
fn a_store_lends_what_was_decoded_last() {
    let checked = check(&[0x95; 3], &[0], &[]).expect("it passes");
    let plan = AccessPlan::all_guarded();
    let mut store = DecodedStore::<4>::new();
    assert!(store.get().is_none());
    for text in ["mov r0, 1\nexit", "mov r0, 2\nadd r0, 5\nexit"] {
        let slots = asm::assemble(text).expect("it assembles");
        let program = Program::new(&slots, &checked, 0);
        store
            .decode(&program, &plan, Isolation::Shared)
            .expect("it decodes");
        let decoded = store.get().expect("it is there");
        assert_eq!(decoded.slots() as usize, slots.len());
        let mut side = Side::new(&program, &[], 100);
        let mut referee = Side::new(&program, &[], 100);
        let outcome = side.run(|s, m, h| decoded.run(s, m, h, 100));
        assert_eq!(
            outcome,
            referee.run(|s, m, h| ebpf::run(&program, s, m, h, 100))
        );
        assert!(matches!(outcome, Outcome::Exit { .. }));
    }
    let long = Program::new(&[0x95; 4], &checked, 0);
    let refused = store.decode(&long, &plan, Isolation::Alone);
    assert_eq!(refused, Err(DecodeError::AreaTooSmall { needed: 5 }));
    assert!(store.get().is_none());
}

/// The stack does not grow with what is executed: one that held a return address for each
/// operation would be gone after some thousands.
#[test]
fn operations_leave_nothing_on_the_stack() {
    let run = || {
        // Each kind of handler in a loop: arithmetic, accesses, calls and returns, wide loads.
        let text = "mov r6, r1\nmov r7, 300000\nagain:\nmov r1, 7\ncall local +10\n\
                    ldxdw r3, [r6]\nstxdw [r6+8], r3\nlock add [r6], r7\nstb [r6+15], 1\n\
                    sdiv r3, 3\nsub r7, 1\njeq r7, 0, +1\nja again\nldxdw r0, [r6]\nexit\n\
                    lddw r4, scratch+8\nadd r4, r1\nexit";
        let slots = asm::assemble(text).expect("it assembles");
        let checked = check(&slots, &[0], &[]).expect("it passes");
        let program = Program::new(&slots, &checked, scratch(0));
        support::run_guarded(
            &program,
            Isolation::Shared,
            &[0; 24],
            1 << 40,
            u32::MAX,
            &mut NoHost,
            0,
        )
        .outcome
    };
    let thread = std::thread::Builder::new()
        .stack_size(512 * 1024)
        .spawn(run);
    let outcome = thread
        .expect("there are threads")
        .join()
        .expect("it does not panic");
    let sum = (1..=300_000_u64).sum();
    assert_eq!(outcome, Outcome::Exit { r0: sum });
}
