//! The meter's figures on programs whose cost was worked out by hand.

mod support;

use ebpf::{
    HelperResult, HelperSpec, Host, Memory, NoHost, Outcome, Program, State, asm, check, run,
};
use support::{run_program, run_text, run_with};

fn spent(text: &str) -> u64 {
    let ran = run_text(text, &[]);
    assert!(
        matches!(ran.outcome, Outcome::Exit { .. }),
        "{}",
        ran.outcome
    );
    ran.spent
}

#[test]
fn an_entry_pays_its_function() {
    assert_eq!(spent("exit"), 1);
    assert_eq!(spent("mov r0, 1\nexit"), 2);
    // A wide load is two slots, and what is jumped over is paid all the same.
    assert_eq!(spent("lddw r0, 1\nja +1\nmov r0, 2\nexit"), 5);
}

#[test]
fn a_jump_back_pays_as_far_as_it_goes() {
    // 4 slots; the jump from 2 to 1 is taken twice, for 2 each.
    assert_eq!(
        spent("mov r1, 3\nagain:\nsub r1, 1\njne r1, 0, again\nexit"),
        4 + 2 * 2
    );
    // A long jump pays the same.
    let text = "mov r1, 1\nagain:\nja32 on\nback:\nexit\non:\nja32 back";
    // 4 slots (0 to 3), and from 3 back to 2 is 2.
    assert_eq!(spent(text), 4 + 2);
    // A jump to itself pays 1 each time.
    assert_eq!(
        with_budget("ja -1", 10),
        (Outcome::OutOfBudget { pc: 0 }, 10, 0)
    );
}

#[test]
fn a_local_call_pays_the_callee_s_function() {
    // The entry is 3 slots, f is 2.
    assert_eq!(
        spent("call local f\ncall local f\nexit\nf:\nmov r0, 1\nexit"),
        3 + 2 * 2
    );
    // Recursion: f is 6 slots and is entered 4 times; the entry is 3.
    let text = "mov r1, 3\ncall local f\nexit\n\
                f:\nmov r0, 0\njeq r1, 0, done\nsub r1, 1\ncall local f\nadd r0, 1\ndone:\nexit";
    assert_eq!(spent(text), 3 + 6 * 4);
}

const HELPERS: &[HelperSpec] = &[
    HelperSpec {
        id: 1,
        name: "free",
        length_arg: None,
    },
    HelperSpec {
        id: 2,
        name: "sized",
        length_arg: Some(1),
    },
    HelperSpec {
        id: 3,
        name: "waits",
        length_arg: None,
    },
];

/// Counts its calls.
#[derive(Default)]
struct Counting(u32);

impl Host for Counting {
    fn call(&mut self, helper: u32, _: [u64; 5], _: &mut Memory<'_>) -> HelperResult {
        self.0 += 1;
        if helper == 3 {
            HelperResult::Wait
        } else {
            HelperResult::Return(-1)
        }
    }

    fn helpers(&self) -> &[HelperSpec] {
        HELPERS
    }
}

#[test]
fn helpers_pay_for_their_length() {
    let cost = |text: &str| {
        let ran = run_with(
            &asm::assemble(text).unwrap(),
            &[],
            1 << 40,
            &mut Counting::default(),
        );
        assert!(matches!(ran.outcome, Outcome::Exit { .. }));
        ran.spent
    };
    assert_eq!(cost("call 1\nexit"), 2 + 16);
    assert_eq!(cost("mov r2, 4096\ncall 2\nexit"), 3 + 16 + 128);
    assert_eq!(cost("mov r2, 31\ncall 2\nexit"), 3 + 16);
    // The length is 32 bits wide, so what lies above does not count.
    assert_eq!(cost("lddw r2, 0x700000020\ncall 2\nexit"), 4 + 16 + 1);
    assert_eq!(cost("mov32 r2, -1\ncall 2\nexit"), 3 + 16 + 0x07ff_ffff);
}

/// Runs with a budget and tells the outcome and what was spent.
fn with_budget(text: &str, budget: u64) -> (Outcome, u64, u32) {
    let mut host = Counting::default();
    let ran = run_with(&asm::assemble(text).unwrap(), &[], budget, &mut host);
    (ran.outcome, ran.spent, host.0)
}

#[test]
fn what_cannot_be_paid_is_not_done() {
    let out = |pc| Outcome::OutOfBudget { pc };
    // The entry.
    assert_eq!(with_budget("mov r0, 1\nexit", 1), (out(0), 0, 0));
    assert_eq!(
        with_budget("mov r0, 1\nexit", 2),
        (Outcome::Exit { r0: 1 }, 2, 0)
    );
    // A jump back: 4, then 2 and 2.
    let text = "mov r1, 3\nagain:\nsub r1, 1\njne r1, 0, again\nexit";
    assert_eq!(with_budget(text, 7), (out(2), 6, 0));
    assert_eq!(with_budget(text, 8), (Outcome::Exit { r0: 0 }, 8, 0));
    // A local call.
    let text = "call local f\nexit\nf:\nmov r0, 1\nexit";
    assert_eq!(with_budget(text, 3), (out(0), 2, 0));
    assert_eq!(with_budget(text, 4), (Outcome::Exit { r0: 1 }, 4, 0));
    // A helper, which is not called then.
    let text = "mov r2, 64\ncall 2\nexit";
    assert_eq!(with_budget(text, 20), (out(1), 3, 0));
    assert_eq!(
        with_budget(text, 21),
        (Outcome::Exit { r0: u64::MAX }, 21, 1)
    );
}

#[test]
fn a_call_that_is_not_paid_leaves_no_frame() {
    let slots = asm::assemble("mov r6, 4\ncall local f\nexit\nf:\nmov r6, 5\nexit").unwrap();
    let checked = check(&slots, &[0], &[]).unwrap();
    let program = Program::new(&slots, &checked, 0);
    let ran = run_program(&program, &[], 4, 100, &mut NoHost, 0);
    assert_eq!(ran.outcome, Outcome::OutOfBudget { pc: 1 });
    assert_eq!((ran.pc, ran.registers[6]), (1, 4));
    assert_eq!(
        ran.registers[10],
        ebpf::Memory::address(ebpf::RegionId::Stack, 4096)
    );
}

#[test]
fn a_slice_of_nothing_makes_progress() {
    let slots = asm::assemble("mov r1, 3\nagain:\nsub r1, 1\njne r1, 0, again\nexit").unwrap();
    let checked = check(&slots, &[0], &[]).unwrap();
    let program = Program::new(&slots, &checked, 0);
    let mut state = State::start(&program, 0, 0, 0, 1000);
    let mut step = || {
        let outcome = run(&program, &mut state, &mut Memory::new(), &mut NoHost, 0);
        (outcome, state.spent(), state.pc())
    };
    // The entry is paid, then a jump each time; nothing is paid for the way to the exit.
    assert_eq!(step(), (Outcome::Yielded, 4, 0));
    assert_eq!(step(), (Outcome::Yielded, 6, 1));
    assert_eq!(step(), (Outcome::Yielded, 8, 1));
    assert_eq!(step(), (Outcome::Exit { r0: 0 }, 8, 3));
}

#[test]
fn a_slice_bounds_a_run() {
    // An endless loop of 1000 slots: a run pays at most its slice and one charge.
    let body = "mov r0, 1\n".repeat(999);
    let slots = asm::assemble(&format!("{body}ja -1000\nexit")).unwrap();
    let checked = check(&slots, &[0], &[]).unwrap();
    let program = Program::new(&slots, &checked, 0);
    let mut state = State::start(&program, 0, 0, 0, 1_000_000);
    let mut before = 0;
    loop {
        match run(&program, &mut state, &mut Memory::new(), &mut NoHost, 2500) {
            Outcome::Yielded => {}
            outcome => break assert_eq!(outcome, Outcome::OutOfBudget { pc: 999 }),
        }
        let paid = state.spent() - before;
        assert!((2501..=3501).contains(&paid), "{paid}");
        before = state.spent();
    }
    assert_eq!(state.spent() + state.left(), 1_000_000);
}

#[test]
fn waiting_costs_nothing_and_brings_r0() {
    let slots = asm::assemble("mov r6, 40\ncall 3\nadd r0, r6\nexit").unwrap();
    let checked = check(&slots, &[0], HELPERS).unwrap();
    let program = Program::new(&slots, &checked, 0);
    let mut state = State::start(&program, 0, 0, 0, 1000);
    let (mut memory, mut host) = (Memory::new(), Counting::default());
    for _ in 0..3 {
        assert_eq!(
            run(&program, &mut state, &mut memory, &mut host, 100),
            Outcome::Waiting
        );
        assert_eq!((state.pc(), state.spent(), host.0), (1, 4 + 16, 1));
        assert!(state.is_waiting() && state.ended().is_none());
    }
    let kept = state.clone();
    state.resume(2);
    state.resume(3);
    let outcome = run(&program, &mut state, &mut memory, &mut host, 100);
    assert_eq!((outcome, state.spent()), (Outcome::Exit { r0: 42 }, 20));
    assert!(!state.is_waiting() && state.ended() == Some(outcome));
    let mut again = kept;
    again.resume(-41);
    let outcome = run(&program, &mut again, &mut memory, &mut host, 100);
    assert_eq!(outcome, Outcome::Exit { r0: u64::MAX });
}

#[test]
fn a_helper_that_overdraws_the_slice_yields_behind_it() {
    let slots = asm::assemble("mov r2, 3200\ncall 2\nmov r7, 1\nexit").unwrap();
    let checked = check(&slots, &[0], HELPERS).unwrap();
    let program = Program::new(&slots, &checked, 0);
    let mut state = State::start(&program, 0, 0, 0, 1000);
    let (mut memory, mut host) = (Memory::new(), Counting::default());
    assert_eq!(
        run(&program, &mut state, &mut memory, &mut host, 50),
        Outcome::Yielded
    );
    assert_eq!((state.pc(), state.spent(), host.0), (2, 4 + 116, 1));
    let outcome = run(&program, &mut state, &mut memory, &mut host, 50);
    assert_eq!((outcome, host.0), (Outcome::Exit { r0: u64::MAX }, 1));
}
