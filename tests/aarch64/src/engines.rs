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
pub(crate) const CODE_BYTES: usize = 1 << 20;

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
    fn new(start: &Start<'_>, entry: u32, host: H) -> Side<H> {
        let Start {
            program,
            memory,
            budget,
            ..
        } = *start;
        let r1 = if memory.is_empty() {
            0
        } else {
            Memory::address(RegionId::Scratch, 0)
        };
        Side {
            state: State::start(program, entry, r1, memory.len() as u64, budget),
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

/// What is run.
#[derive(Clone, Copy)]
pub(crate) struct Start<'a> {
    pub(crate) program: &'a Program<'a>,
    /// Where it is entered, each time with everything as at first.
    pub(crate) entries: &'a [u32],
    /// Its scratch, whose address it is given in r1, and the length in r2.
    pub(crate) memory: &'a [u8],
    pub(crate) budget: u64,
    /// Slices, the last of them for ever.
    pub(crate) slices: &'a [u32],
    /// With whom it shares memory, in turn.
    pub(crate) isolations: &'a [Isolation],
}

/// Runs a program in the referee and in every other engine, and gives how it ended last. A
/// sentence if they do not agree.
pub(crate) fn compare<H: Host + Clone + PartialEq>(
    engines: &mut Engines,
    start: &Start<'_>,
    host: H,
) -> Result<Outcome, String> {
    let program = start.program;
    let Engines { ops, jit, plan } = engines;
    let mut outcome = Outcome::Yielded;
    for &isolation in start.isolations {
        let decoded = Decoded::new(program, plan, isolation, ops)
            .map_err(|why| format!("it cannot be decoded: {why}"))?;
        jit.compile(program, plan, isolation)
            .map_err(|why| format!("it cannot be compiled: {why}"))?;
        let compiled = jit.get().ok_or("it was compiled, and is not there")?;
        for &entry in start.entries {
            let side = || Side::new(start, entry, host.clone());
            in_step(side(), side(), start, &decoded)
                .map_err(|why| format!("{entry}: the decoded form, {isolation:?}: {why}"))?;
            outcome = in_step(side(), side(), start, &compiled)
                .map_err(|why| format!("{entry}: machine code, {isolation:?}: {why}"))?;
        }
    }
    Ok(outcome)
}

/// Runs two sides to their end, one in the referee.
fn in_step<H: Host + Clone + PartialEq>(
    mut referee: Side<H>,
    mut ours: Side<H>,
    start: &Start<'_>,
    engine: &impl Engine,
) -> Result<Outcome, String> {
    let Start {
        program, slices, ..
    } = *start;
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
