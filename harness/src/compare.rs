//! A case is run by everybody, and everybody is compared.
#![allow(unsafe_code)] // It runs proved programs, with what they were proved for.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use ebpf::limits::{CODE_SLOTS_MAX, KEPT_MAX};
use ebpf::verifier::{Argument, Kept, Verifier};
use ebpf::{
    Access, AccessPlan, FaultKind, Memory, Outcome, Program, RegionId, Right, State, check,
    check_with, verifier,
};

use crate::arena::{Arena, Layout, Shift, map_region};
use crate::case::Case;
use crate::engine::{self, Engine};
use crate::helpers::{Call, Helpers, SIGNATURES};
use crate::setting::{MAPS, Setting};
use crate::stub::{self, STUB_SLOTS};

/// What became of a program before it ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// The check refused it; it did not run.
    Malformed(check::RefusalKind),
    /// The verifier refused it; it ran with every access guarded.
    Refused(verifier::RefusalKind),
    /// It was proved.
    Accepted {
        /// Accesses that run without a check.
        proved: u32,
        /// Accesses that are checked.
        guarded: u32,
    },
}

/// What a case came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ran {
    /// What became of it before it ran.
    pub standing: Standing,
    /// How it ended, if it ran.
    pub outcome: Option<Outcome>,
    /// Units of the meter that all runs paid together.
    pub paid: u64,
    /// What could not be found out of leaks, and was tried.
    pub inconclusive: bool,
}

/// Something that must not be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// An access faulted that was proved, or a proved program did what none does.
    Disproved {
        /// How it ended.
        outcome: Outcome,
    },
    /// An engine did not take a program.
    Declined {
        /// Which.
        engine: &'static str,
        /// Why.
        why: &'static str,
    },
    /// An engine did something else than the referee.
    Differs {
        /// Which.
        engine: &'static str,
        /// The slice, from 0.
        slice: usize,
        /// What was different.
        what: Difference,
    },
    /// What a proved program left behind depends on what it cannot know.
    Leaks {
        /// How it shows.
        what: &'static str,
    },
}

/// What was different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Difference {
    /// How the slice ended.
    Outcome {
        /// Of the referee.
        expected: Outcome,
        /// Of the engine.
        found: Outcome,
    },
    /// A register, or what else a state shows.
    State {
        /// Which.
        what: &'static str,
        /// Of the referee.
        expected: u64,
        /// Of the engine.
        found: u64,
    },
    /// A helper call: its number from 0.
    Call(usize),
    /// Memory.
    Memory {
        /// Where.
        region: &'static str,
        /// Which byte of it.
        byte: usize,
    },
}

impl Finding {
    /// True if two findings are likely of one cause.
    #[must_use]
    pub fn is_like(&self, other: &Finding) -> bool {
        match (self, other) {
            (Finding::Differs { engine, .. }, Finding::Differs { engine: same, .. }) => {
                engine == same
            }
            (one, another) => core::mem::discriminant(one) == core::mem::discriminant(another),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Disproved { outcome } => write!(f, "what was proved is not so: {outcome}"),
            Finding::Declined { engine, why } => write!(f, "{engine} does not run it: {why}"),
            Finding::Differs {
                engine,
                slice,
                what,
            } => {
                write!(
                    f,
                    "{engine} differs from the referee in slice {slice}: {what}"
                )
            }
            Finding::Leaks { what } => write!(f, "it was proved, and {what}"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Outcome { expected, found } => {
                write!(
                    f,
                    "\u{201c}{found}\u{201d} and not \u{201c}{expected}\u{201d}"
                )
            }
            Difference::State {
                what,
                expected,
                found,
            } => write!(f, "{what} is {found:#x} and not {expected:#x}"),
            Difference::Call(number) => write!(f, "helper call {number} is another"),
            Difference::Memory { region, byte } => write!(f, "byte {byte} of {region}"),
        }
    }
}

/// What the referee did in a slice.
#[derive(Clone, Debug)]
struct Slice {
    outcome: Outcome,
    state: State,
}

/// What everybody is held against.
#[derive(Default)]
struct Record {
    slices: Vec<Slice>,
    calls: Vec<Call>,
    digest: u64,
    arena: Arena,
}

/// Everything that cases need, kept from one to the next.
pub struct Harness {
    verifier: Verifier<Box<[Kept]>>,
    engines: Vec<Box<dyn Engine>>,
    guarded: Box<AccessPlan>,
    initial: Arena,
    arena: Arena,
    shifted: Arena,
    stubbed: Vec<u64>,
    calls: Vec<Call>,
    record: Record,
}

impl Default for Harness {
    fn default() -> Self {
        Harness::new()
    }
}

impl Harness {
    /// One with all engines that need nothing of the platform.
    #[must_use]
    pub fn new() -> Harness {
        Harness::with([])
    }

    /// One with these engines too.
    #[must_use]
    pub fn with(more: impl IntoIterator<Item = Box<dyn Engine>>) -> Harness {
        let mut harness = Harness::without_engines();
        harness.engines = engine::all();
        harness.engines.extend(more);
        harness
    }

    /// One with none but the referee, which trusts no proof.
    #[must_use]
    pub fn without_engines() -> Harness {
        Harness {
            verifier: Verifier::new(vec![Kept::EMPTY; KEPT_MAX].into_boxed_slice()),
            engines: Vec::new(),
            guarded: Box::new(AccessPlan::all_guarded()),
            initial: Arena::default(),
            arena: Arena::default(),
            shifted: Arena::default(),
            stubbed: Vec::new(),
            calls: Vec::new(),
            record: Record::default(),
        }
    }

    /// The names of the engines that are compared.
    pub fn engines(&self) -> impl Iterator<Item = &'static str> {
        self.engines.iter().map(|engine| engine.name())
    }

    /// Runs a case.
    ///
    /// # Errors
    /// What must not be.
    pub fn run(&mut self, case: &Case) -> Result<Ran, Finding> {
        let (setting, slots) = (&case.setting, case.slots.as_slice());
        let resources = setting.resources(0);
        let checked = match check_with(slots, &[setting.entry], setting.helpers(), &resources) {
            Ok(checked) => checked,
            Err(refusal) => {
                return Ok(Ran {
                    standing: Standing::Malformed(refusal.why),
                    outcome: None,
                    paid: 0,
                    inconclusive: false,
                });
            }
        };
        let layout = Layout::new(setting, Shift::NONE);
        self.initial.lay_out(setting, &layout);
        let Harness {
            verifier, engines, ..
        } = self;
        let entries = [(setting.kind, setting.entry)];
        let verified = verifier.verify(slots, &checked, entries, setting.environment());
        let (plan, standing) = match &verified {
            Ok(verified) => {
                let (proved, guarded) = (verified.proved(), verified.guarded());
                (verified.plan(), Standing::Accepted { proved, guarded })
            }
            Err(refusal) => (&*self.guarded, Standing::Refused(refusal.why)),
        };
        let mut run = Run {
            setting,
            layout: &layout,
            program: Program::new(slots, &checked, layout.scratch()),
            plan,
            initial: &self.initial,
            record: &mut self.record,
            calls: &mut self.calls,
            paid: 0,
        };
        let outcome = run.referee();
        let mut inconclusive = false;
        if verified.is_ok() {
            run.judge(outcome)?;
        }
        for engine in engines.iter_mut() {
            run.engine(engine.as_mut(), &mut self.arena)?;
        }
        run.relay(engines, &mut self.arena)?;
        if verified.is_ok() {
            inconclusive = !run.elsewhere(&mut self.shifted, &mut self.stubbed, outcome)?;
        }
        Ok(Ran {
            standing,
            outcome: Some(outcome),
            paid: run.paid,
            inconclusive,
        })
    }
}

/// The runs of one case.
struct Run<'a> {
    setting: &'a Setting,
    layout: &'a Layout,
    program: Program<'a>,
    plan: &'a AccessPlan,
    initial: &'a Arena,
    record: &'a mut Record,
    calls: &'a mut Vec<Call>,
    paid: u64,
}

impl Run<'_> {
    fn start(&self) -> State {
        let Setting { entry, budget, .. } = *self.setting;
        State::start(&self.program, entry, self.layout.context(), 0, budget)
    }

    /// The referee's run, which is taken down.
    fn referee(&mut self) -> Outcome {
        let mut state = self.start();
        let Record {
            slices,
            calls,
            digest,
            arena,
        } = &mut *self.record;
        slices.clear();
        arena.copy(self.initial);
        let (mut memory, keys) = arena.memory(self.layout);
        let buffer = core::mem::take(calls);
        let mut host = Helpers::new(self.setting.seed, self.layout.shift(), keys, buffer);
        let outcome = loop {
            let slice = self.setting.slices.slice(slices.len() as u32);
            let (program, plan) = (&self.program, self.plan);
            let outcome =
                ebpf::run_planned(program, plan, &mut state, &mut memory, &mut host, slice);
            slices.push(Slice {
                outcome,
                state: state.clone(),
            });
            if !go_on(outcome, &mut state, &mut memory, &mut host) {
                break outcome;
            }
        };
        self.paid += state.spent();
        *digest = host.digest();
        *calls = host.into_calls();
        outcome
    }

    /// What a proved program may not come to.
    fn judge(&self, outcome: Outcome) -> Result<(), Finding> {
        let Outcome::Fault(fault) = outcome else {
            return Ok(());
        };
        let guarded = matches!(self.plan.at(fault.pc), Access::Guarded(_));
        match fault.kind {
            FaultKind::Access(_) if guarded => Ok(()),
            _ => Err(Finding::Disproved { outcome }),
        }
    }

    fn engine(&mut self, engine: &mut dyn Engine, arena: &mut Arena) -> Result<(), Finding> {
        let name = engine.name();
        let prepared = engine.prepare(&self.program, self.plan);
        prepared.map_err(|why| Finding::Declined { engine: name, why })?;
        self.compare(name, arena, |_, state, memory, host, slice| {
            // SAFETY: it is the program and the plan that were prepared, the state is at its start
            // and is run as no other program; the memory has the regions that the proof is of. If
            // the verifier is wrong, the referee found no access on the very same way that was.
            unsafe { engine.run(state, memory, host, slice) }
        })
    }

    /// All engines and the referee in turn, each going on where another paused.
    fn relay(&mut self, engines: &mut [Box<dyn Engine>], arena: &mut Arena) -> Result<(), Finding> {
        if self.record.slices.len() < 2 || engines.is_empty() {
            return Ok(());
        }
        let (program, plan) = (self.program, self.plan);
        self.compare(
            "all in turn",
            arena,
            |number, state, memory, host, slice| {
                match engines.get_mut(number % (engines.len() + 1)) {
                    // SAFETY: as above; every engine continues any other's states.
                    Some(engine) => unsafe { engine.run(state, memory, host, slice) },
                    None => ebpf::run_planned(&program, plan, state, memory, host, slice),
                }
            },
        )
    }

    fn compare(
        &mut self,
        engine: &'static str,
        arena: &mut Arena,
        mut run: impl FnMut(usize, &mut State, &mut Memory<'_>, &mut Helpers<'_>, u32) -> Outcome,
    ) -> Result<(), Finding> {
        let mut state = self.start();
        arena.copy(self.initial);
        let (mut memory, keys) = arena.memory(self.layout);
        let buffer = core::mem::take(self.calls);
        let mut host = Helpers::new(self.setting.seed, self.layout.shift(), keys, buffer);
        let differs = |slice, what| Finding::Differs {
            engine,
            slice,
            what,
        };
        for (number, expected) in self.record.slices.iter().enumerate() {
            let slice = self.setting.slices.slice(number as u32);
            let found = run(number, &mut state, &mut memory, &mut host, slice);
            if found != expected.outcome {
                let expected = expected.outcome;
                return Err(differs(number, Difference::Outcome { expected, found }));
            }
            if let Some(what) = state_difference(&expected.state, &state) {
                return Err(differs(number, what));
            }
            let _ = go_on(found, &mut state, &mut memory, &mut host);
        }
        self.paid += state.spent();
        *self.calls = host.into_calls();
        let last = self.record.slices.len().saturating_sub(1);
        if *self.calls != self.record.calls {
            let mut pairs = self.calls.iter().zip(&self.record.calls);
            let first = pairs.position(|(mine, theirs)| mine != theirs);
            let number = first.unwrap_or(self.calls.len().min(self.record.calls.len()));
            return Err(differs(last, Difference::Call(number)));
        }
        if !arena.is_same(&self.record.arena) {
            let place = arena.difference(&self.record.arena, self.layout);
            let (region, byte) = place.unwrap_or(("its length", 0));
            return Err(differs(last, Difference::Memory { region, byte }));
        }
        Ok(())
    }

    /// The referee once more, from another frame, with other addresses, other rubbish in registers
    /// and on the stack. True if that tells something.
    fn elsewhere(
        &mut self,
        arena: &mut Arena,
        code: &mut Vec<u64>,
        expected: Outcome,
    ) -> Result<bool, Finding> {
        let ends = matches!(expected, Outcome::Exit { .. } | Outcome::Killed { .. });
        let slots = self.program.slots();
        if !ends || slots.len() + STUB_SLOTS as usize > CODE_SLOTS_MAX {
            return Ok(false);
        }
        let (setting, shift) = (self.setting, Shift::OTHER);
        stub::write(slots, setting.entry, shift.first_map, setting.seed, code);
        let starts = [0, STUB_SLOTS, STUB_SLOTS + setting.entry];
        let resources = setting.resources(shift.first_map);
        let Ok(checked) = check_with(code, &starts, setting.helpers(), &resources) else {
            return Ok(false);
        };
        let layout = Layout::new(setting, shift);
        arena.translate(setting, &layout, self.layout, self.initial);
        let (mut memory, keys) = arena.memory(&layout);
        let mut host = Helpers::new(setting.seed, shift, keys, core::mem::take(self.calls));
        let program = Program::new(code, &checked, layout.scratch());
        let mut state = State::start(&program, 0, layout.context(), 0, 2 * setting.budget + 200);
        let outcome = loop {
            let outcome = ebpf::run(&program, &mut state, &mut memory, &mut host, u32::MAX);
            if !go_on(outcome, &mut state, &mut memory, &mut host) {
                break outcome;
            }
        };
        self.paid += state.spent();
        let digest = host.digest();
        *self.calls = host.into_calls();
        let what = match (expected, outcome) {
            (Outcome::Exit { r0: one }, Outcome::Exit { r0: other }) if one != other => {
                "its result depends on addresses or on what was never written"
            }
            (Outcome::Exit { .. }, Outcome::Exit { .. }) => "",
            (Outcome::Killed { reason: one, .. }, Outcome::Killed { reason: other, .. })
                if one == other =>
            {
                ""
            }
            (_, Outcome::Fault(fault)) if is_of_the_stub(fault.kind) => return Ok(false),
            _ => "how it ends depends on addresses or on what was never written",
        };
        let what = match what {
            "" if digest != self.record.digest => {
                "what helpers are given depends on addresses or on what was never written"
            }
            "" if !self.layout.same_outside(&self.record.arena, &layout, arena) => {
                "what it leaves in memory depends on addresses or on what was never written"
            }
            "" => return Ok(true),
            what => what,
        };
        // What it does with addresses may be more than a shift can follow.
        let (memory, _) = arena.memory(&layout);
        if stub::may_touch_bits_of_addresses(slots) || self.wandered(&memory, shift) {
            return Ok(false);
        }
        Err(Finding::Leaks { what })
    }

    /// True if a helper was given an address that a number had moved out of its region, to where nothing
    /// is, here or there: what the helper says of that may depend on addresses though nothing leaks.
    fn wandered(&mut self, memory_there: &Memory<'_>, shift: Shift) -> bool {
        let (memory_here, _) = self.record.arena.memory(self.layout);
        let pairs = self.record.calls.iter().zip(&*self.calls);
        pairs.into_iter().any(|(here, there)| {
            let signature = SIGNATURES.iter().find(|it| it.id == here.helper);
            let is_buffer = |index: usize| {
                signature.is_some_and(|it| {
                    !matches!(
                        it.arguments[index],
                        Argument::Unused | Argument::Number | Argument::Map { .. }
                    )
                })
            };
            (0..5).any(|index| {
                let (here, there) = (here.args[index], there.args[index]);
                is_buffer(index)
                    && there != translated(here).unwrap_or(!there)
                    && !is_in_a_region(&memory_here, Shift::NONE, here)
                    && !is_in_a_region(memory_there, shift, there)
            })
        })
    }
}

/// True if an address is one of a region's bytes, or right behind them.
fn is_in_a_region(memory: &Memory<'_>, shift: Shift, address: u64) -> bool {
    let inside = |region| address as u32 >= shift.of(region);
    RegionId::of(address).is_some_and(inside) && memory.locate(address, 0, Right::Read).is_ok()
}

/// True for a fault that the stub's frame can be blamed for: there is one frame less, and less
/// stack below.
fn is_of_the_stub(kind: FaultKind) -> bool {
    match kind {
        FaultKind::CallDepth => true,
        FaultKind::Access(access) => {
            let bytes = ebpf::limits::FRAME_BYTES as u64;
            RegionId::of(access.address.wrapping_add(bytes)) == Some(RegionId::Stack)
        }
        _ => false,
    }
}

/// What an address is elsewhere; `None` where there is no telling.
fn translated(address: u64) -> Option<u64> {
    let region = RegionId::of(address)?;
    Some(match region {
        RegionId::Stack => address.wrapping_sub(ebpf::limits::FRAME_BYTES as u64),
        RegionId::Map(index) => {
            let number = (index.get() as usize).min(MAPS.len());
            let region = map_region(Shift::OTHER, number)?;
            Memory::address(region, address as u32)
        }
        region => address.wrapping_add(u64::from(Shift::OTHER.of(region))),
    })
}

/// Ends a wait, if that is what the run came back for; `false` if it is over.
fn go_on(
    outcome: Outcome,
    state: &mut State,
    memory: &mut Memory<'_>,
    host: &mut Helpers<'_>,
) -> bool {
    match outcome {
        Outcome::Waiting => {
            let answer = host.finish(memory);
            state.resume(answer);
            true
        }
        Outcome::Yielded => true,
        _ => false,
    }
}

/// What two states show of themselves, and where it differs.
fn state_difference(expected: &State, found: &State) -> Option<Difference> {
    const NAMES: [&str; 11] = [
        "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10",
    ];
    let difference = |what, expected, found| Difference::State {
        what,
        expected,
        found,
    };
    if expected == found {
        return None;
    }
    let registers = expected.registers().into_iter().zip(found.registers());
    for (name, (expected, found)) in NAMES.into_iter().zip(registers) {
        if expected != found {
            return Some(difference(name, expected, found));
        }
    }
    let shown = [
        ("the meter", expected.spent(), found.spent()),
        ("the slot", u64::from(expected.pc()), u64::from(found.pc())),
        (
            "the depth",
            u64::from(expected.depth()),
            u64::from(found.depth()),
        ),
        (
            "whether it waits",
            u64::from(expected.is_waiting()),
            u64::from(found.is_waiting()),
        ),
    ];
    let mut shown = shown.into_iter();
    let (what, expected, found) = shown.find(|(_, expected, found)| expected != found)?;
    Some(difference(what, expected, found))
}
