//! Every engine in step with the referee: after each slice the same state, memory and calls.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use ebpf::jit::{JitStore, table_for};
use ebpf::limits::{CODE_SLOTS_MAX, STACK_BYTES};
use ebpf::{
    AccessPlan, Decoded, Engine, Host, Isolation, Memory, Op, Outcome, Program, RegionId, State,
};

use crate::code::Pages;

/// Room for the engines, taken once.
pub(crate) struct Engines {
    ops: Vec<Op>,
    jit: JitStore<Pages, { table_for(CODE_SLOTS_MAX) }>,
    plan: AccessPlan,
}

/// Enough for the code of any program.
const CODE_BYTES: usize = 1 << 20;

impl Engines {
    pub(crate) fn new() -> Engines {
        let pages = Pages::new(CODE_BYTES).expect("there are pages");
        Engines {
            ops: vec![Op::EMPTY; Decoded::ops_for(CODE_SLOTS_MAX)],
            jit: JitStore::new(pages),
            plan: AccessPlan::all_guarded(),
        }
    }
}

/// What an invocation has to itself.
struct Side<H> {
    state: State,
    scratch: Vec<u8>,
    stack: Vec<u8>,
    host: H,
}

/// Read-only bytes that every program has as its arguments.
const ARGUMENTS: [u8; 24] = [0xa5; 24];

impl<H: Host + Clone> Side<H> {
    fn new(program: &Program<'_>, memory: &[u8], budget: u64, host: H) -> Side<H> {
        let r1 = if memory.is_empty() {
            0
        } else {
            Memory::address(RegionId::Scratch, 0)
        };
        Side {
            state: State::start(program, 0, r1, memory.len() as u64, budget),
            scratch: memory.to_vec(),
            stack: vec![7; STACK_BYTES],
            host,
        }
    }

    fn run(&mut self, run: impl FnOnce(&mut State, &mut Memory<'_>, &mut H) -> Outcome) -> Outcome {
        let mut memory = Memory::new()
            .with_read(RegionId::Arguments, &ARGUMENTS)
            .with_write(RegionId::Scratch, &mut self.scratch)
            .with_write(RegionId::Stack, &mut self.stack);
        run(&mut self.state, &mut memory, &mut self.host)
    }
}

/// Runs a program in the referee and in every other engine, in these slices, the last of them for
/// ever, and gives how it ended. A sentence if they do not agree.
pub(crate) fn compare<H: Host + Clone + PartialEq>(
    engines: &mut Engines,
    program: &Program<'_>,
    memory: &[u8],
    budget: u64,
    slices: &[u32],
    host: H,
) -> Result<Outcome, String> {
    let Engines { ops, jit, plan } = engines;
    let mut outcome = Outcome::Yielded;
    for isolation in [Isolation::Alone, Isolation::Shared] {
        let decoded = Decoded::new(program, plan, isolation, ops)
            .map_err(|why| format!("it cannot be decoded: {why}"))?;
        jit.compile(program, plan, isolation)
            .map_err(|why| format!("it cannot be compiled: {why}"))?;
        let compiled = jit.get().ok_or("it was compiled, and is not there")?;
        let side = || Side::new(program, memory, budget, host.clone());
        in_step(side(), side(), program, slices, &decoded)
            .map_err(|why| format!("the decoded form, {isolation:?}: {why}"))?;
        outcome = in_step(side(), side(), program, slices, &compiled)
            .map_err(|why| format!("machine code, {isolation:?}: {why}"))?;
    }
    Ok(outcome)
}

/// Runs two sides to their end, one in the referee.
fn in_step<H: Host + Clone + PartialEq>(
    mut referee: Side<H>,
    mut ours: Side<H>,
    program: &Program<'_>,
    slices: &[u32],
    engine: &impl Engine,
) -> Result<Outcome, String> {
    let last = slices.last().copied().unwrap_or(u32::MAX);
    let mut slices = slices.iter().copied();
    loop {
        let slice = slices.next().unwrap_or(last);
        let expected =
            referee.run(|state, memory, host| ebpf::run(program, state, memory, host, slice));
        let outcome = ours.run(|state, memory, host| engine.run(state, memory, host, slice));
        if outcome != expected {
            return Err(format!("the referee says {expected:?}, it {outcome:?}"));
        }
        if ours.state != referee.state {
            let (theirs, ours) = (&referee.state, &ours.state);
            return Err(format!("the referee's state is {theirs:?}, its {ours:?}"));
        }
        if ours.scratch != referee.scratch || ours.stack != referee.stack {
            return Err(String::from("their memory differs"));
        }
        if ours.host != referee.host {
            return Err(String::from("their calls differ"));
        }
        if outcome.is_end() {
            return Ok(outcome);
        }
        ours.state.resume(-5);
        referee.state.resume(-5);
    }
}
