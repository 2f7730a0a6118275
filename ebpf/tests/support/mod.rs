//! What several of the tests share: running a program to its end over plain memory.
#![allow(dead_code, unreachable_pub, missing_docs)]

pub mod cases;
pub mod generate;
pub mod plan;
pub mod reference;

use ebpf::limits::STACK_BYTES;
use ebpf::{
    AccessPlan, Decoded, Engine, Host, Isolation, Memory, NoHost, Op, Outcome, Program, RegionId,
    State, check,
};

/// All there is to say about a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    pub outcome: Outcome,
    pub spent: u64,
    pub memory: Vec<u8>,
    pub stack: Vec<u8>,
    pub registers: [u64; 11],
    pub pc: u32,
}

/// Checks and runs code from slot 0, `memory` as writable scratch in r1 and its length in r2,
/// the budget in one slice.
pub fn run_with<H: Host>(slots: &[u64], memory: &[u8], budget: u64, host: &mut H) -> Ran {
    let checked = check(slots, &[0], host.helpers()).expect("the code passes the check");
    run_program(
        &Program::new(slots, &checked, scratch(0)),
        memory,
        budget,
        u32::MAX,
        host,
        0,
    )
}

/// Runs a program in the referee, in slices, giving a waiting helper `resumed` as its result.
pub fn run_program<H: Host>(
    program: &Program<'_>,
    memory: &[u8],
    budget: u64,
    slice: u32,
    host: &mut H,
    resumed: i64,
) -> Ran {
    let run = |state: &mut State, regions: &mut Memory<'_>| {
        ebpf::run(program, state, regions, host, slice)
    };
    run_in(program, memory, budget, resumed, run)
}

/// As [`run_program`], decoded without any proof.
pub fn run_guarded<H: Host>(
    program: &Program<'_>,
    isolation: Isolation,
    memory: &[u8],
    budget: u64,
    slice: u32,
    host: &mut H,
    resumed: i64,
) -> Ran {
    let mut area = area(program);
    let plan = AccessPlan::all_guarded();
    let decoded = Decoded::new(program, &plan, isolation, &mut area).expect("it decodes");
    let run =
        |state: &mut State, regions: &mut Memory<'_>| decoded.run(state, regions, host, slice);
    run_in(program, memory, budget, resumed, run)
}

/// Room to decode a program into.
pub fn area(program: &Program<'_>) -> Vec<Op> {
    vec![Op::EMPTY; Decoded::ops_for(program.slots().len())]
}

/// Runs a program by a function, again and again until it ends.
pub fn run_in(
    program: &Program<'_>,
    memory: &[u8],
    budget: u64,
    resumed: i64,
    mut run: impl FnMut(&mut State, &mut Memory<'_>) -> Outcome,
) -> Ran {
    let mut scratch_bytes = memory.to_vec();
    let mut stack = vec![0; STACK_BYTES];
    let r1 = if memory.is_empty() { 0 } else { scratch(0) };
    let mut state = State::start(program, 0, r1, memory.len() as u64, budget);
    let outcome = loop {
        let mut regions = Memory::new()
            .with_write(RegionId::Scratch, &mut scratch_bytes)
            .with_write(RegionId::Stack, &mut stack);
        match run(&mut state, &mut regions) {
            Outcome::Waiting => state.resume(resumed),
            Outcome::Yielded => {}
            outcome => break outcome,
        }
    };
    Ran {
        outcome,
        spent: state.spent(),
        memory: scratch_bytes,
        stack,
        registers: state.registers(),
        pc: state.pc(),
    }
}

/// Assembles, checks and runs a text without helpers, with plenty of budget.
pub fn run_text(text: &str, memory: &[u8]) -> Ran {
    let slots = ebpf::asm::assemble(text).expect("the text assembles");
    run_with(&slots, memory, 1_000_000, &mut NoHost)
}

/// An address in scratch.
pub const fn scratch(offset: u32) -> u64 {
    Memory::address(RegionId::Scratch, offset)
}
