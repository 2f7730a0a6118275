//! The proof as a job: states flow through the program until nothing new turns up.
//!
//! Where nothing leads back, one pass over the points in their order is all. Else:
//! first upwards, with widening at loop heads, until what is known at each point holds however it
//! is reached. Then the same ways are gone again three times from what was found: each pass
//! starts afresh from the entries and takes over from the one before only what came back to loop
//! heads. So it knows at least as much, and what was lost by widening is found again. The last
//! pass is the only one that tells. In a loop a mistake comes back as a state of which little is
//! known, and then more is wrong before it than it itself; so of what the last pass finds it tells
//! what was wrong first on the way up.
//!
//! A function is looked at once for each way of calls that leads to it (a *context*).

use core::ops::DerefMut;

use heapless::Vec;

use super::canary::{Rule, is_out};
use super::environment::Environment;
use super::flow::{Flow, decode, successors};
use super::found::Found;
use super::refusal::{Refusal, RefusalKind};
use super::state::{Join, State, Trail};
use super::transfer::{Seen, Transfer};
use super::value::Value;
use super::verified::{Guard, ProofId, Unbounded, Verified};
use crate::access::{Access, AccessPlan};
use crate::check::Checked;
use crate::image::EntryKind;
use crate::instruction::{Instruction, Register};
use crate::limits::{CODE_SLOTS_MAX, CONTEXTS_MAX, FRAMES_MAX, KEPT_MAX, WORK_MAX};
use crate::memory::RegionId;

/// A place for what is known at one point. The caller provides them; they hold nothing between
/// jobs.
#[derive(Clone, Debug)]
pub struct Kept(State);

impl Kept {
    /// An empty place.
    pub const EMPTY: Kept = Kept(State::EMPTY);
}

/// How far a job is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to do.
    More,
    /// It is done and the program proved: [`Verifier::verified`] shows it, [`Verifier::take`]
    /// takes it away.
    Proved,
    /// It is done and the program refused.
    Refused(Refusal),
}

/// The passes, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// There is no job.
    Idle,
    /// There was one, and the program is proved.
    Proved,
    /// Looks where code goes.
    Explore,
    /// Upwards.
    Ascend,
    /// Collects what comes back to loop heads.
    Collect,
    /// Finds again what was lost.
    Narrow(u8),
    /// Tells.
    Report,
    /// Writes down what was found, from this slot on.
    Conclude(u32),
}

/// A way of calls to a function.
#[derive(Clone, Copy, Debug)]
struct Context {
    /// The context it is called from; its own number for an entry.
    parent: u8,
    depth: u8,
    entry: EntryKind,
    /// The call, or the entry's first slot.
    pc: u32,
    /// The start of the block that the call is in.
    leader: u32,
}

/// What a kept state is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Free,
    /// What is known at a point.
    Enter,
    /// What came back to a loop head.
    Back,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    role: Role,
    pending: bool,
    context: u8,
    /// Another one of the same point was there when it came.
    apart: bool,
    /// How often it changed.
    changes: u8,
    pc: u32,
}

const FREE: Entry = Entry {
    role: Role::Free,
    pending: false,
    context: 0,
    apart: false,
    changes: 0,
    pc: 0,
};

/// Where the state at hand is.
#[derive(Clone, Copy, Debug)]
struct At {
    context: u8,
    leader: u32,
    pc: u32,
}

/// Joins at a loop head before numbers are widened, and before they are given up.
const CHANGES_PLAIN: u8 = 1;
const CHANGES_WIDENED: u8 = 12;
const NARROW_PASSES: u8 = 2;
/// Mistakes of the way up that are kept.
const WRONG_MAX: usize = 4;
/// States of one point that are kept apart.
const SPLITS_MAX: usize = 4;

/// Entries that are looked through in a unit of work.
const WORK_ENTRIES: u32 = 64;

/// What it takes to choose the thresholds of a loop, in units of work.
const WORK_THRESHOLDS: u32 = 4;

/// What it takes to join registers, in units of work.
const WORK_JOIN: u32 = 4;
/// Places on the stack that are joined for one unit; that are told of what was learnt of their value; and that
/// are copied.
const WORK_CELLS_JOINED: u32 = 2;
const WORK_CELLS_TOLD: u32 = 4;
const WORK_CELLS_COPIED: u32 = 16;

/// The verifier: its memory, and the job it is at.
///
/// `K` is `&mut [Kept]` or `Box<[Kept]>`, as a rule of [`KEPT_MAX`] places; more are not used.
/// It copies the code when a job starts and works on its copy alone, so that what it proves is
/// what it hands out.
#[derive(Debug)]
pub struct Verifier<K> {
    kept: K,
    job: Job,
}

#[derive(Debug)]
struct Job {
    phase: Phase,
    /// The program, and from its proof on all that was found.
    program: Verified,
    flow: Flow,
    contexts: Vec<Context, CONTEXTS_MAX>,
    entries: [Entry; KEPT_MAX],
    /// No entry from this one on is in use.
    used: usize,
    at: Option<At>,
    /// Units of work of the piece at hand.
    work: u32,
    /// Units of work of the job so far, but for that piece.
    spent: u32,
    state: State,
    /// Of the jump that is taken, while the other way is looked at.
    branched: State,
    found: [Found; CODE_SLOTS_MAX],
    /// What was wrong on the way up, each place once, in that order.
    wrong: Vec<Refusal, WRONG_MAX>,
    /// What is wrong in the last pass, and its place in that order: the first one so far.
    refusal: Option<(usize, Refusal)>,
    /// The states of the last pass, each before an instruction.
    #[cfg(test)]
    trace: std::vec::Vec<(u32, State)>,
}

#[cfg(test)]
impl<K> Verifier<K> {
    /// What was known before each instruction when it was last told of.
    pub(super) fn trace(&self) -> &[(u32, State)] {
        &self.job.trace
    }
}

impl<K: DerefMut<Target = [Kept]>> Verifier<K> {
    /// A verifier without a job.
    pub const fn new(kept: K) -> Verifier<K> {
        Verifier {
            kept,
            job: Job {
                phase: Phase::Idle,
                program: Verified::EMPTY,
                flow: Flow::EMPTY,
                contexts: Vec::new(),
                entries: [FREE; KEPT_MAX],
                used: 0,
                at: None,
                work: 0,
                spent: 0,
                state: State::EMPTY,
                branched: State::EMPTY,
                found: [Found::NOTHING; CODE_SLOTS_MAX],
                wrong: Vec::new(),
                refusal: None,
                #[cfg(test)]
                trace: std::vec::Vec::new(),
            },
        }
    }

    /// Begins a job: `slots` is code that passed the check with `checked` as the result, entered
    /// at `entries`. They are copied, which is all that is done at once; a job that was under way
    /// is dropped.
    ///
    /// # Errors
    /// The code or an entry is not what was checked.
    pub fn start(
        &mut self,
        slots: &[u64],
        checked: &Checked,
        entries: impl IntoIterator<Item = (EntryKind, u32)>,
        environment: Environment,
    ) -> Result<(), Refusal> {
        self.job.phase = Phase::Idle;
        self.job.prepare(slots, checked, entries, environment)?;
        self.job.phase = Phase::Explore;
        Ok(())
    }

    /// Goes on with the job for a turn of `budget` units of work, each about what an instruction
    /// takes that computes; at least one piece of work is done, and the last one may overdraw by
    /// what it takes to join two states. Without a job there is always more to do.
    pub fn step(&mut self, budget: u32) -> Progress {
        let mut spent = 0_u32;
        loop {
            match self.job.phase {
                Phase::Idle => return Progress::More,
                Phase::Proved => return Progress::Proved,
                _ if spent >= budget.max(1) => return Progress::More,
                _ => {}
            }
            self.job.work = 1;
            if let Err(refusal) = self.job.step(&mut self.kept) {
                self.job.phase = Phase::Idle;
                let first = self.job.refusal.take();
                return Progress::Refused(first.map_or(refusal, |(_, first)| first));
            }
            spent = spent.saturating_add(self.job.work);
            self.job.spent = self.job.spent.saturating_add(self.job.work);
        }
    }

    /// What the last job proved, until it is taken away or another one starts.
    #[must_use]
    pub fn verified(&self) -> Option<&Verified> {
        (self.job.phase == Phase::Proved).then_some(&self.job.program)
    }

    /// Puts what the last job proved in the place of `place`; `false` if there is nothing, and
    /// then `place` stays what it is.
    #[must_use]
    pub fn take(&mut self, place: &mut Verified) -> bool {
        let Some(verified) = self.verified() else {
            return false;
        };
        place.copy_from(verified);
        self.job.phase = Phase::Idle;
        true
    }

    /// Begins a job and brings it to its end.
    ///
    /// # Errors
    /// Why the program was refused.
    pub fn verify(
        &mut self,
        slots: &[u64],
        checked: &Checked,
        entries: impl IntoIterator<Item = (EntryKind, u32)>,
        environment: Environment,
    ) -> Result<&Verified, Refusal> {
        self.start(slots, checked, entries, environment)?;
        // Each pass takes a bounded number of steps, so this ends.
        loop {
            match self.step(u32::MAX) {
                Progress::More => {}
                Progress::Proved => return Ok(&self.job.program),
                Progress::Refused(refusal) => return Err(refusal),
            }
        }
    }
}

impl Job {
    fn prepare(
        &mut self,
        slots: &[u64],
        checked: &Checked,
        entries: impl IntoIterator<Item = (EntryKind, u32)>,
        environment: Environment,
    ) -> Result<(), Refusal> {
        let not_checked = |pc| Refusal::new(pc, RefusalKind::NotChecked, &Trail::new());
        let program = &mut self.program;
        let place = program.slots.get_mut(..slots.len());
        let place = place.filter(|it| it.len() == checked.slots() as usize);
        place.ok_or(not_checked(0))?.copy_from_slice(slots);
        program.checked.clone_from(checked);
        program.environment = environment;
        program.entries.clear();
        for (entry, pc) in entries {
            let known = checked.function_at(pc).is_some();
            let place = program.entries.push((entry, pc));
            if !known || place.is_err() {
                return Err(not_checked(pc));
            }
        }
        program.steps = 0;
        program.guards.clear();
        self.spent = 0;
        self.at = None;
        #[cfg(test)]
        self.trace.clear();
        self.found.fill(Found::NOTHING);
        self.wrong.clear();
        self.refusal = None;
        self.entries.fill(FREE);
        self.contexts.clear();
        self.flow.start(checked, environment.sizes());
        for index in 0..self.program.entries.len() {
            let (entry, pc) = self.program.entries[index];
            let context = Context {
                parent: self.contexts.len() as u8,
                depth: 0,
                entry,
                pc,
                leader: pc,
            };
            self.add_context(context, pc)?;
        }
        Ok(())
    }

    /// One step of looking where code goes, before the first pass.
    fn explore(&mut self, kept: &mut [Kept]) -> Result<(), Refusal> {
        let entries = self.program.entries.iter().map(|entry| entry.1);
        let known = self
            .flow
            .step(self.program.code(), &self.program.checked, entries)?;
        if !known {
            return Ok(());
        }
        // Where nothing leads back, one pass knows all there is to know.
        let first = if self.flow.has_loops() {
            Phase::Ascend
        } else {
            Phase::Report
        };
        self.start_pass(first, kept)
    }

    fn add_context(&mut self, context: Context, pc: u32) -> Result<u8, Refusal> {
        let number = self.contexts.len() as u8;
        let full = |_| Refusal::new(pc, RefusalKind::TooManyContexts, &self.state.trail);
        self.contexts.push(context).map_err(full)?;
        Ok(number)
    }

    /// The first states of a pass: those at the entries, and what it takes over.
    fn start_pass(&mut self, phase: Phase, kept: &mut [Kept]) -> Result<(), Refusal> {
        self.phase = phase;
        if !matches!(phase, Phase::Collect) {
            let back = |it: &Entry| it.role == Role::Back;
            let last = self.entries.iter().rposition(back);
            self.used = last.map_or(0, |index| index + 1);
        }
        for entry in &mut self.entries {
            *entry = match (phase, entry.role) {
                // All that was found is looked at once more.
                (Phase::Collect, Role::Enter) => Entry {
                    pending: true,
                    ..*entry
                },
                // What came back is where the next pass begins.
                (Phase::Narrow(_) | Phase::Report, Role::Back) => Entry {
                    role: Role::Enter,
                    pending: true,
                    ..*entry
                },
                _ => FREE,
            };
        }
        for number in 0..self.contexts.len() {
            let context = self.contexts[number];
            if usize::from(context.parent) != number {
                continue;
            }
            self.state.copy_from(&State::EMPTY);
            let start = super::scalar::Scalar::constant(0);
            if let Some(r1) = Register::new(1) {
                self.state.set(r1, Value::pointer(RegionId::Context, start));
            }
            self.push(number as u8, context.pc, false, kept, false)?;
        }
        Ok(())
    }

    /// One piece of work: an instruction, or the choice of the next point.
    fn step(&mut self, kept: &mut [Kept]) -> Result<(), Refusal> {
        match self.phase {
            Phase::Idle | Phase::Proved => return Ok(()),
            Phase::Explore => return self.explore(kept),
            Phase::Conclude(pc) => {
                self.conclude(pc);
                return Ok(());
            }
            _ => {}
        }
        if let Some(at) = self.at {
            return self.interpret(at, kept);
        }
        if let Some(index) = self.next_pending() {
            self.pick(index, kept);
            return Ok(());
        }
        let next = match self.phase {
            Phase::Ascend => Phase::Collect,
            Phase::Collect => Phase::Narrow(1),
            Phase::Narrow(pass) if pass < NARROW_PASSES => Phase::Narrow(pass + 1),
            Phase::Narrow(_) => Phase::Report,
            _ => {
                if let Some((_, refusal)) = self.refusal.take() {
                    return Err(refusal);
                }
                self.phase = Phase::Conclude(0);
                return Ok(());
            }
        };
        self.start_pass(next, kept)
    }

    /// The pending point that nothing pending leads to: in the deepest function, the first one.
    fn next_pending(&mut self) -> Option<usize> {
        self.look_through();
        let used = self.entries.get(..self.used).unwrap_or_default();
        let pending = used.iter().enumerate().filter(|(_, it)| it.pending);
        let order = |(_, entry): &(usize, &Entry)| {
            let depth = self.contexts.get(usize::from(entry.context));
            let depth = depth.map_or(0, |context| context.depth);
            (u8::MAX - depth, entry.context, self.flow.rank_of(entry.pc))
        };
        pending.min_by_key(order).map(|(index, _)| index)
    }

    /// Counts the work of looking through the entries.
    fn look_through(&mut self) {
        self.work += self.used as u32 / WORK_ENTRIES;
    }

    fn pick(&mut self, index: usize, kept: &[Kept]) {
        let (Some(entry), Some(kept)) = (self.entries.get_mut(index), kept.get(index)) else {
            return;
        };
        self.work += kept.0.stack.cells.len() as u32 / WORK_CELLS_COPIED;
        self.state.copy_from(&kept.0);
        self.at = Some(At {
            context: entry.context,
            leader: entry.pc,
            pc: entry.pc,
        });
        entry.pending = false;
        // Only on the way up is a point come to again, and only in loops.
        if !(self.phase == Phase::Ascend && self.flow.is_kept(entry.pc)) {
            *entry = FREE;
        }
    }

    /// Lets the state at hand, or the one that branched off, flow to a point.
    fn push(
        &mut self,
        context: u8,
        pc: u32,
        back: bool,
        kept: &mut [Kept],
        branched: bool,
    ) -> Result<(), Refusal> {
        let collects = matches!(self.phase, Phase::Collect | Phase::Narrow(_));
        let role = match (self.phase, back) {
            (_, true) if is_out(Rule::Loop) => return Ok(()),
            (Phase::Report, true) => return Ok(()),
            // It is there already, and was found to hold.
            (Phase::Collect, false) if self.flow.is_kept(pc) => return Ok(()),
            (_, true) if collects => Role::Back,
            _ => Role::Enter,
        };
        self.look_through();
        let state = if branched {
            &self.branched
        } else {
            &self.state
        };
        let used = self.entries.get(..self.used).unwrap_or_default();
        let same = |it: &Entry| it.role == role && it.context == context && it.pc == pc;
        let known = used.iter().zip(kept.iter()).enumerate();
        let mut known = known.filter(|(_, (entry, _))| same(entry)).peekable();
        let is_known = known.peek().is_some();
        // What differs by a constant is kept apart where few are, and where no loop comes by.
        let splits =
            role == Role::Enter && !self.flow.is_loop(pc) && self.used < KEPT_MAX / 2 && is_known;
        let joined = if splits {
            let (mut count, mut last, mut agreeing) = (0, None, None);
            for (index, (_, place)) in known {
                (count, last) = (count + 1, Some(index));
                if place.0.agrees(state) {
                    agreeing = Some(index);
                    break;
                }
            }
            agreeing.or(last.filter(|_| count >= SPLITS_MAX))
        } else {
            known.next().map(|(index, _)| index)
        };
        if let Some(index) = joined {
            let (Some(entry), Some(place)) = (self.entries.get_mut(index), kept.get_mut(index))
            else {
                return Ok(());
            };
            let widens = self.phase == Phase::Ascend && self.flow.is_loop(pc);
            let thresholds;
            let how = match entry.changes {
                _ if !widens => Join::Plain,
                0..CHANGES_PLAIN => Join::Plain,
                CHANGES_PLAIN..CHANGES_WIDENED => {
                    self.work += WORK_THRESHOLDS;
                    thresholds = self.flow.thresholds(pc);
                    Join::Widen(&thresholds)
                }
                _ => Join::GiveUp,
            };
            self.work += WORK_JOIN + state.stack.cells.len() as u32 / WORK_CELLS_JOINED;
            if place.0.join(state, how) {
                entry.changes = entry.changes.saturating_add(1);
                entry.pending = role == Role::Enter;
            }
            return Ok(());
        }
        let places = self.entries.iter().take(kept.len());
        let free = places.into_iter().position(|it| it.role == Role::Free);
        let free = free.or_else(|| self.make_room(kept));
        let state = if branched {
            &self.branched
        } else {
            &self.state
        };
        self.used = self.used.max(free.map_or(0, |index| index + 1));
        let free =
            free.and_then(|index| Some((self.entries.get_mut(index)?, kept.get_mut(index)?)));
        let Some((entry, place)) = free else {
            let kept = kept.len().min(KEPT_MAX) as u32;
            let why = RefusalKind::TooManyStates { kept };
            return Err(Refusal::new(pc, why, &self.state.trail));
        };
        *entry = Entry {
            role,
            pending: role == Role::Enter,
            context,
            apart: is_known,
            changes: 0,
            pc,
        };
        self.work += state.stack.cells.len() as u32 / WORK_CELLS_COPIED;
        place.0.copy_from(state);
        Ok(())
    }

    /// Joins two states of one point that were kept apart; the place that gets free.
    fn make_room(&mut self, kept: &mut [Kept]) -> Option<usize> {
        let len = self.entries.len().min(kept.len());
        for index in 0..len {
            let entry = self.entries[index];
            if !entry.apart {
                continue;
            }
            self.look_through();
            let same =
                |it: &Entry| (it.role, it.context, it.pc) == (entry.role, entry.context, entry.pc);
            let others = self.entries.iter().take(len).enumerate();
            let mut others = others.filter(|(other, it)| *other != index && same(it));
            let Some((other, _)) = others.next() else {
                self.entries[index].apart = false;
                continue;
            };
            let (first, second) = (index.min(other), index.max(other));
            let (places, rest) = kept.split_at_mut(second);
            let (place, from) = (places.get_mut(first)?, rest.first()?);
            self.work += WORK_JOIN + from.0.stack.cells.len() as u32 / WORK_CELLS_JOINED;
            let changed = place.0.join(&from.0, Join::Plain);
            // What either still had to do, both have.
            let pending = self.entries[first].pending || self.entries[second].pending;
            self.entries[first].pending = changed || pending;
            self.entries[second] = FREE;
            return Some(second);
        }
        None
    }

    /// Goes on at a point: there, or later if other ways lead there too.
    fn go(&mut self, at: At, pc: u32, kept: &mut [Kept]) -> Result<(), Refusal> {
        if !self.flow.is_leader(pc) {
            self.at = Some(At { pc, ..at });
        } else if self.flow.is_meeting(pc) {
            let back = self.is_back(at.leader, pc);
            self.at = None;
            self.push(at.context, pc, back, kept, false)?;
        } else {
            self.at = Some(At {
                leader: pc,
                pc,
                ..at
            });
        }
        Ok(())
    }

    fn is_back(&self, leader: u32, target: u32) -> bool {
        self.flow.rank_of(target) <= self.flow.rank_of(leader)
    }

    /// One instruction.
    fn interpret(&mut self, at: At, kept: &mut [Kept]) -> Result<(), Refusal> {
        self.program.steps += 1;
        if self.spent > WORK_MAX {
            let why = RefusalKind::TooManySteps;
            return Err(Refusal::new(at.pc, why, &self.state.trail));
        }
        let Some(instruction) = decode(self.program.code(), at.pc) else {
            let why = RefusalKind::NotChecked;
            return Err(Refusal::new(at.pc, why, &self.state.trail));
        };
        #[cfg(test)]
        if self.phase == Phase::Report {
            self.trace.push((at.pc, self.state.clone()));
        }
        let to = successors(at.pc, &instruction);
        match instruction {
            Instruction::Jump { .. } => match to.jump {
                Some(target) => self.go(at, target, kept),
                None => Ok(()),
            },
            Instruction::JumpIf { .. } => self.branch(at, &instruction, kept),
            Instruction::CallLocal { offset } => {
                let target = (i64::from(at.pc) + 1 + i64::from(offset)) as u32;
                self.call(at, target, kept)
            }
            Instruction::Exit => self.exit(at, kept),
            _ => {
                let stops = self.transfer(at, false, |transfer| {
                    transfer.apply(&instruction);
                    transfer.stops
                })?;
                match to.next {
                    Some(next) if !stops => self.go(at, next, kept),
                    _ => {
                        self.at = None;
                        Ok(())
                    }
                }
            }
        }
    }

    /// Does something to the state at hand, or to the one that branched off. The last pass tells
    /// of what is wrong, and of what was found.
    fn transfer<R>(
        &mut self,
        at: At,
        branched: bool,
        act: impl FnOnce(&mut Transfer<'_>) -> R,
    ) -> Result<R, Refusal> {
        let state = if branched {
            &mut self.branched
        } else {
            &mut self.state
        };
        let context = self.contexts.get(usize::from(at.context));
        let Some(context) = context else {
            return Err(Refusal::new(at.pc, RefusalKind::NotChecked, &state.trail));
        };
        let environment = &self.program.environment;
        let mut transfer = Transfer {
            state,
            environment,
            entry: context.entry,
            pc: at.pc,
            refusal: None,
            seen: None,
            stops: false,
        };
        let result = act(&mut transfer);
        let (refusal, seen) = (transfer.refusal, transfer.seen);
        if let Some(refusal) = refusal {
            match self.phase {
                Phase::Ascend if self.wrong.iter().all(|it| it.pc != at.pc) => {
                    // Of more than are kept, the order is that of the last pass.
                    let _ = self.wrong.push(refusal);
                }
                Phase::Report => self.tell(refusal)?,
                _ => {}
            }
        } else if self.phase == Phase::Report
            && let Some(seen) = seen
        {
            self.record(at.pc, &seen).map_err(|why| {
                let trail = if branched {
                    &self.branched.trail
                } else {
                    &self.state.trail
                };
                let mut refusal = Refusal::new(at.pc, why, trail);
                refusal.register = Some((seen.register, seen.value.known()));
                refusal
            })?;
        }
        Ok(result)
    }

    /// Something is wrong in the last pass: it is told of at once if it was wrong first on the way
    /// up too, else when the pass has come to its end.
    fn tell(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        let order = self.wrong.iter().position(|it| it.pc == refusal.pc);
        let refusal = match order.and_then(|order| self.wrong.get(order)) {
            // It is what the mistake itself left behind.
            Some(first) if follows(refusal.why) && !follows(first.why) => first.clone(),
            _ => refusal,
        };
        let order = order.unwrap_or(self.wrong.len());
        if order == 0 {
            self.refusal = None;
            return Err(refusal);
        }
        if self
            .refusal
            .as_ref()
            .is_none_or(|(known, _)| order < *known)
        {
            self.refusal = Some((order, refusal));
        }
        Ok(())
    }

    fn branch(
        &mut self,
        at: At,
        instruction: &Instruction,
        kept: &mut [Kept],
    ) -> Result<(), Refusal> {
        let Instruction::JumpIf {
            width,
            condition,
            dst,
            src,
            ..
        } = *instruction
        else {
            return Ok(());
        };
        let to = successors(at.pc, instruction);
        let cells = self.state.stack.cells.len() as u32;
        self.work += cells / WORK_CELLS_COPIED + cells / WORK_CELLS_TOLD;
        self.branched.copy_from(&self.state);
        self.branched.note_jump(at.pc);
        let taken = self.transfer(at, true, |transfer| {
            transfer.branch(width, condition, dst, src, true)
        })?;
        let passed = self.transfer(at, false, |transfer| {
            transfer.branch(width, condition, dst, src, false)
        })?;
        if taken && let Some(target) = to.jump {
            let back = self.is_back(at.leader, target);
            self.push(at.context, target, back, kept, true)?;
        }
        self.at = None;
        match to.next {
            Some(next) if passed => self.go(at, next, kept),
            _ => Ok(()),
        }
    }

    fn call(&mut self, at: At, target: u32, kept: &mut [Kept]) -> Result<(), Refusal> {
        let Some(caller) = self.contexts.get(usize::from(at.context)).copied() else {
            return Ok(());
        };
        if usize::from(caller.depth) + 1 >= FRAMES_MAX {
            let why = RefusalKind::CallDepth;
            return Err(Refusal::new(at.pc, why, &self.state.trail));
        }
        let known = (0_u8..).zip(&self.contexts).find(|(number, context)| {
            context.pc == at.pc && context.parent == at.context && *number != context.parent
        });
        let number = match known.map(|(number, _)| number) {
            Some(number) => number,
            None => {
                let context = Context {
                    parent: at.context,
                    depth: caller.depth + 1,
                    entry: caller.entry,
                    pc: at.pc,
                    leader: at.leader,
                };
                self.add_context(context, at.pc)?
            }
        };
        self.state.note_jump(at.pc);
        self.transfer(at, false, |transfer| {
            if transfer.state.enter_function().is_err() {
                transfer.refuse(RefusalKind::TooManyCells, None);
            }
        })?;
        self.at = None;
        self.push(number, target, false, kept, false)
    }

    fn exit(&mut self, at: At, kept: &mut [Kept]) -> Result<(), Refusal> {
        self.at = None;
        let Some(context) = self.contexts.get(usize::from(at.context)).copied() else {
            return Ok(());
        };
        if context.parent == at.context {
            return self.transfer(at, false, |transfer| transfer.result());
        }
        self.state.leave_function();
        let back = self.is_back(context.leader, context.pc + 1);
        self.push(context.parent, context.pc + 1, back, kept, false)
    }

    fn record(&mut self, pc: u32, seen: &Seen) -> Result<(), RefusalKind> {
        let Some(found) = self.found.get_mut(pc as usize) else {
            return Ok(());
        };
        let region = seen.region;
        if !seen.proved {
            self.work += self.state.stack.cells.len() as u32 / WORK_CELLS_TOLD;
        }
        let was_guarded = found.is_guarded();
        found
            .add(region, seen.proved)
            .map_err(|_| RefusalKind::SeveralRegions { region })?;
        if found.is_guarded() && !was_guarded {
            // They are counted however many there are.
            let _ = self.program.guards.push(Guard {
                pc,
                register: seen.register,
                region,
                at: seen.at,
                len: seen.len,
                bytes: seen.bytes,
                why: if seen.proved {
                    Unbounded::SeveralRegions
                } else {
                    seen.why
                },
            });
        }
        Ok(())
    }

    /// Writes down what was found of the access at a slot, and goes on behind it.
    fn conclude(&mut self, pc: u32) {
        let program = &mut self.program;
        if pc == 0 {
            program.plan = AccessPlan::all_guarded();
            (program.proved, program.guarded, program.unreached) = (0, 0, 0);
        }
        let Some(instruction) = decode(program.code(), pc) else {
            program.id = ProofId::fresh();
            self.phase = Phase::Proved;
            return;
        };
        if is_access(&instruction) {
            let found = self.found.get(pc as usize).copied();
            let found = found.unwrap_or(Found::NOTHING);
            found.note(&mut program.plan, pc);
            match found.access() {
                Some(Access::Proved(_)) => program.proved += 1,
                Some(Access::Guarded(_)) => program.guarded += 1,
                None => program.unreached += 1,
            }
        }
        self.phase = Phase::Conclude(pc + instruction.slots() as u32);
    }
}

/// True for what is wrong where little is known, as behind another mistake.
const fn follows(why: RefusalKind) -> bool {
    matches!(
        why,
        RefusalKind::Unusable
            | RefusalKind::StackNotWritten { .. }
            | RefusalKind::StackPlaceUnknown
    )
}

const fn is_access(instruction: &Instruction) -> bool {
    matches!(
        instruction,
        Instruction::Load { .. } | Instruction::Store { .. } | Instruction::Atomic { .. }
    )
}
