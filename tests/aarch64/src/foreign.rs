//! States that belong to another program: what comes of them is of no use, and of no harm.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use ebpf::jit::{JitStore, table_for};
use ebpf::limits::CODE_SLOTS_MAX;
use ebpf::{
    AccessPlan, Engine, HelperResult, Host, Isolation, Memory, Outcome, Program, State, check_with,
};
use harness::Case;
use harness::arena::{Arena, Layout, Shift};

use crate::code::Pages;
use crate::engines::CODE_BYTES;
use crate::say;
use crate::tally::Tally;

/// Pairs of programs.
const PAIRS: u64 = 400;
const BUDGET: u64 = 5_000;

/// Helpers of which every second waits.
struct Waiting(bool);

impl Host for Waiting {
    fn call(&mut self, _: u32, _: [u64; 5], _: &mut Memory<'_>) -> HelperResult {
        self.0 = !self.0;
        if self.0 {
            HelperResult::Wait
        } else {
            HelperResult::Return(1)
        }
    }
}

/// Pauses each program somewhere, and goes on from there in the code of another.
pub(crate) fn run(tally: &mut Tally) {
    let pages = Pages::new(CODE_BYTES).expect("there are pages");
    let mut jit = JitStore::new(pages);
    let mut before: Vec<State> = Vec::new();
    let mut case = Case::new();
    let mut states = 0;
    for number in 0..PAIRS {
        case.choose(3, number, &[]);
        let outcome = one(&mut jit, &case, &mut before);
        states += outcome.as_ref().copied().unwrap_or(0);
        let name = format!("states foreign to program {number}");
        tally.note(&name, outcome.map(|_| ()));
    }
    assert!(states > 1000, "only {states} states");
    say!("{states} states run as another program");
}

/// Runs the states in a program's code, and puts some of its own in their place. Gives how many
/// it ran.
fn one(
    jit: &mut JitStore<Pages, { table_for(CODE_SLOTS_MAX) }>,
    case: &Case,
    states: &mut Vec<State>,
) -> Result<usize, String> {
    let (setting, slots) = (&case.setting, case.slots.as_slice());
    let resources = setting.resources(0);
    let Ok(checked) = check_with(slots, &[setting.entry], setting.helpers(), &resources) else {
        return Ok(0);
    };
    let layout = Layout::new(setting, Shift::NONE);
    let mut arena = Arena::default();
    arena.lay_out(setting, &layout);
    let (mut memory, _) = arena.memory(&layout);
    let program = Program::new(slots, &checked, layout.scratch());
    let plan = AccessPlan::all_guarded();
    jit.compile(&program, &plan, Isolation::Shared)
        .map_err(|why| format!("it cannot be compiled: {why}"))?;
    let compiled = jit.get().ok_or("it was compiled, and is not there")?;
    let mut host = Waiting(false);
    let mut to_end = |mut state: State| -> Result<(), String> {
        for _ in 0..2 * BUDGET {
            state.resume(0);
            if compiled
                .run(&mut state, &mut memory, &mut host, 100)
                .is_end()
            {
                return Ok(());
            }
        }
        Err(String::from("it does not end"))
    };
    let ran = states.len();
    for state in states.drain(..) {
        to_end(state)?;
    }
    // States of its own: at each pause of the referee's.
    let mut state = State::start(&program, setting.entry, layout.context(), 0, BUDGET);
    let mut host = Waiting(false);
    while states.len() < 20 {
        match ebpf::run(&program, &mut state, &mut memory, &mut host, 2) {
            Outcome::Yielded | Outcome::Waiting => states.push(state.clone()),
            _ => break,
        }
        state.resume(0);
    }
    Ok(ran)
}
