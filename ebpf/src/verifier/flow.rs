//! Where code goes: blocks, where ways meet, which jumps lead back.
//!
//! It is found out in steps of one instruction or one block each, stage by stage.

use super::refusal::{Refusal, RefusalKind};
use super::state::Trail;
use crate::check::Checked;
use crate::instruction::{Condition, Instruction, Operand};
use crate::limits::{CODE_SLOTS_MAX, FUNCTIONS_MAX, THRESHOLDS_MAX};

/// What is said of a slot.
mod mark {
    /// A block starts here.
    pub(super) const LEADER: u8 = 1;
    /// It has been seen from the start of its function.
    pub(super) const REACHED: u8 = 2;
    /// A way leads here.
    pub(super) const ENTERED: u8 = 4;
    /// More than one way leads here.
    pub(super) const MEETING: u8 = 8;
    /// A way leads back here.
    pub(super) const LOOP: u8 = 16;
    /// A function starts here.
    pub(super) const FUNCTION: u8 = 64;
    /// It is in a loop.
    pub(super) const LOOPED: u8 = 32;
}

/// What there is to know about the ways through a program.
#[derive(Debug)]
pub(super) struct Flow {
    marks: [u8; CODE_SLOTS_MAX],
    /// Of a leader: its rank in reverse post order; a way to one that is not higher leads back.
    ranks: [u16; CODE_SLOTS_MAX],
    /// Leaders on the way, and which successor of each comes next.
    path: [(u16, u8); CODE_SLOTS_MAX],
    /// Leaders by falling rank, function by function.
    order: [u16; CODE_SLOTS_MAX],
    ranked: u16,
    /// Of a leader: the last instruction of its block.
    ends: [u16; CODE_SLOTS_MAX],
    /// Of a loop head: the highest rank of a block that leads back to it.
    loop_ends: [u16; CODE_SLOTS_MAX],
    /// By rising number; each with the rank of the block that compares with it.
    thresholds: heapless::Vec<(i64, Option<u16>), THRESHOLDS_MAX>,
    slots: u32,
    stage: Stage,
    /// The instruction, leader or function that comes next in the stage.
    at: u32,
    /// The leader of the block at hand, or how long the path is.
    other: u32,
    /// The rank of the next block that is left on the path.
    rank_next: u16,
    /// By function, those that it calls.
    calls: [u64; FUNCTIONS_MAX],
}

/// What is found out, in order; but what an idle verifier has comes first, so that it is all zeros and
/// not 60 KiB of constants in a firmware.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Done,
    Leaders,
    Ends,
    Ranks,
    Meetings,
    Loops,
    Thresholds,
    Reached,
    Calls,
}

/// Bounds at which numbers in one loop stop for a while.
pub(super) type Thresholds = heapless::Vec<i64, THRESHOLDS_MAX>;

/// Where an instruction leads within its function; a call leads behind itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Successors {
    /// Where a jump leads.
    pub(super) jump: Option<u32>,
    /// The instruction behind.
    pub(super) next: Option<u32>,
}

impl Flow {
    pub(super) const EMPTY: Flow = Flow {
        marks: [0; CODE_SLOTS_MAX],
        ranks: [0; CODE_SLOTS_MAX],
        path: [(0, 0); CODE_SLOTS_MAX],
        order: [0; CODE_SLOTS_MAX],
        ranked: 0,
        ends: [0; CODE_SLOTS_MAX],
        loop_ends: [0; CODE_SLOTS_MAX],
        thresholds: heapless::Vec::new(),
        slots: 0,
        stage: Stage::Done,
        at: 0,
        other: 0,
        rank_next: 0,
        calls: [0; FUNCTIONS_MAX],
    };

    /// Begins to look at a program.
    pub(super) fn start(&mut self, checked: &Checked, sizes: impl Iterator<Item = u32>) {
        self.marks.fill(0);
        self.ranks.fill(0);
        self.loop_ends.fill(0);
        self.calls.fill(0);
        self.ranked = 0;
        self.slots = checked.slots();
        self.thresholds.clear();
        self.add_threshold(0, None);
        for size in sizes {
            self.add_threshold(i64::from(size), None);
        }
        for function in checked.functions() {
            self.set(function.start, mark::LEADER | mark::FUNCTION);
        }
        self.enter(Stage::Leaders);
    }

    /// Goes on by one instruction or block; true when all is known. Every function must be one of
    /// `entries` or be called from one that is reached.
    pub(super) fn step(
        &mut self,
        slots: &[u64],
        checked: &Checked,
        entries: impl Iterator<Item = u32>,
    ) -> Result<bool, Refusal> {
        match self.stage {
            Stage::Leaders => self.find_leader(slots),
            Stage::Ends => self.find_end(slots),
            Stage::Ranks => self.rank(slots, checked),
            Stage::Meetings => self.find_meetings(slots),
            Stage::Loops => self.find_looped(),
            Stage::Thresholds => self.collect_threshold(slots),
            Stage::Reached => self.check_reached(slots)?,
            Stage::Calls => self.check_called(slots, checked, entries)?,
            Stage::Done => {}
        }
        Ok(self.stage == Stage::Done)
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        (self.at, self.other) = (0, 0);
    }

    pub(super) fn is_leader(&self, pc: u32) -> bool {
        self.has(pc, mark::LEADER)
    }

    /// True if more than one way leads there.
    pub(super) fn is_meeting(&self, pc: u32) -> bool {
        self.has(pc, mark::MEETING)
    }

    pub(super) fn is_loop(&self, pc: u32) -> bool {
        self.has(pc, mark::LOOP)
    }

    /// True if more than one way leads there, and it may be come to again.
    pub(super) fn is_kept(&self, pc: u32) -> bool {
        self.has(pc, mark::MEETING) && self.has(pc, mark::LOOPED)
    }

    /// True if anything leads back.
    pub(super) fn has_loops(&self) -> bool {
        self.marks.iter().any(|marks| marks & mark::LOOP != 0)
    }

    pub(super) fn rank_of(&self, pc: u32) -> u16 {
        self.ranks.get(pc as usize).copied().unwrap_or(0)
    }

    /// The thresholds of a loop: what is compared with in it, and the sizes of regions.
    pub(super) fn thresholds(&self, head: u32) -> Thresholds {
        // The blocks of a loop have ranks from its head's to that of the last one leading back.
        let end = self.loop_ends.get(head as usize).copied().unwrap_or(0);
        let inside = |rank: u16| self.rank_of(head) <= rank && rank <= end;
        let of_loop = self.thresholds.iter().filter(|it| it.1.is_none_or(inside));
        // As many as there are in all, so they fit.
        of_loop.map(|&(number, _)| number).collect()
    }

    fn has(&self, pc: u32, mark: u8) -> bool {
        self.marks.get(pc as usize).is_some_and(|it| it & mark != 0)
    }

    fn set(&mut self, pc: u32, mark: u8) {
        if let Some(marks) = self.marks.get_mut(pc as usize) {
            *marks |= mark;
        }
    }

    fn find_leader(&mut self, slots: &[u64]) {
        let pc = self.at;
        let Some(instruction) = decode(slots, pc) else {
            return self.enter(Stage::Ends);
        };
        let to = successors(pc, &instruction);
        if let Some(target) = to.jump {
            self.set(target, mark::LEADER);
        }
        // A block ends behind what goes elsewhere.
        if to.jump.is_some() || matches!(instruction, Instruction::CallLocal { .. }) {
            let behind = to.next.unwrap_or(pc + 1);
            self.set(behind, mark::LEADER);
        }
        self.at += instruction.slots() as u32;
    }

    fn find_end(&mut self, slots: &[u64]) {
        let pc = self.at;
        let Some(instruction) = decode(slots, pc) else {
            return self.enter(Stage::Ranks);
        };
        if self.is_leader(pc) {
            self.other = pc;
        }
        if let Some(end) = self.ends.get_mut(self.other as usize) {
            *end = pc as u16;
        }
        self.at += instruction.slots() as u32;
    }

    /// The last instruction of the block that starts at `leader`, and where it leads.
    fn block_end(&self, slots: &[u64], leader: u32) -> Option<(Instruction, Successors)> {
        let end = u32::from(*self.ends.get(leader as usize)?);
        let instruction = decode(slots, end)?;
        Some((instruction, successors(end, &instruction)))
    }

    /// Ranks the blocks of each function in reverse post order of a walk into the depth.
    fn rank(&mut self, slots: &[u64], checked: &Checked) {
        let len = self.other as usize;
        if len == 0 {
            let Some(function) = checked.functions().get(self.at as usize) else {
                return self.enter(Stage::Meetings);
            };
            // Ranks fall from the highest there can be, so that the last one ranked is the lowest.
            self.rank_next = u16::MAX;
            self.path[0] = (function.start as u16, 0);
            self.set(function.start, mark::REACHED);
            (self.at, self.other) = (self.at + 1, 1);
            return;
        }
        let (leader, turn) = self.path[len - 1];
        let end = self.block_end(slots, u32::from(leader));
        let to = end.map_or([None; 2], |(_, to)| [to.next, to.jump]);
        let Some(&successor) = to.get(usize::from(turn)) else {
            self.ranks[usize::from(leader)] = self.rank_next;
            if let Some(place) = self.order.get_mut(usize::from(self.ranked)) {
                *place = leader;
                self.ranked += 1;
            }
            self.rank_next -= 1;
            self.other -= 1;
            return;
        };
        self.path[len - 1].1 += 1;
        if let Some(next) = successor
            && !self.has(next, mark::REACHED)
            && len < self.path.len()
        {
            self.set(next, mark::REACHED);
            self.path[len] = (next as u16, 0);
            self.other += 1;
        }
    }

    fn find_meetings(&mut self, slots: &[u64]) {
        let leader = self.at;
        if leader >= self.slots {
            return self.enter(Stage::Loops);
        }
        self.at += 1;
        if !self.has(leader, mark::REACHED) {
            return;
        }
        let Some((end, to)) = self.block_end(slots, leader) else {
            return;
        };
        let call = matches!(end, Instruction::CallLocal { .. });
        for target in [to.jump, to.next].into_iter().flatten() {
            // Each exit of a function comes back behind its call.
            if self.has(target, mark::ENTERED) || call {
                self.set(target, mark::MEETING);
            }
            self.set(target, mark::ENTERED);
            if self.rank_of(target) <= self.rank_of(leader) {
                self.set(target, mark::MEETING | mark::LOOP);
                let rank = self.rank_of(leader);
                if let Some(known) = self.loop_ends.get_mut(target as usize) {
                    *known = (*known).max(rank);
                }
            }
        }
    }

    /// Blocks from a loop's head to the last one that leads back, by rank.
    fn find_looped(&mut self) {
        let Some(index) = u32::from(self.ranked).checked_sub(self.at + 1) else {
            return self.enter(Stage::Thresholds);
        };
        self.at += 1;
        let leader = u32::from(self.order.get(index as usize).copied().unwrap_or(0));
        let rank = self.rank_of(leader);
        // The lowest rank of a function is its start's, and no loop reaches out of it.
        if self.has(leader, mark::FUNCTION) {
            self.other = 0;
        }
        let end = self.loop_ends.get(leader as usize).copied().unwrap_or(0);
        self.other = self.other.max(u32::from(end));
        if u32::from(rank) <= self.other {
            self.set(leader, mark::LOOPED);
        }
    }

    /// A number that a program compares with, and its neighbours: where loops end.
    fn collect_threshold(&mut self, slots: &[u64]) {
        let pc = self.at;
        let Some(instruction) = decode(slots, pc) else {
            return self.enter(Stage::Reached);
        };
        if self.is_leader(pc) {
            self.other = u32::from(self.rank_of(pc));
        }
        if let Instruction::JumpIf {
            condition,
            src: Operand::Immediate(number),
            ..
        } = instruction
            && condition != Condition::AnyBit
        {
            self.add_threshold(i64::from(number), Some(self.other as u16));
        }
        self.at += instruction.slots() as u32;
    }

    /// The code of a function that its start does not lead to is never reached.
    fn check_reached(&mut self, slots: &[u64]) -> Result<(), Refusal> {
        let pc = self.at;
        let Some(instruction) = decode(slots, pc) else {
            self.enter(Stage::Calls);
            return Ok(());
        };
        if self.is_leader(pc) {
            self.other = u32::from(self.has(pc, mark::REACHED));
        }
        if self.other == 0 {
            return Err(Refusal::new(pc, RefusalKind::Unreachable, &Trail::new()));
        }
        // Behind an exit a block begins, or nothing leads there.
        if matches!(instruction, Instruction::Exit) {
            self.other = 0;
        }
        self.at += instruction.slots() as u32;
        Ok(())
    }

    /// Every function is an entry or is called from one that is reached.
    fn check_called(
        &mut self,
        slots: &[u64],
        checked: &Checked,
        entries: impl Iterator<Item = u32>,
    ) -> Result<(), Refusal> {
        let functions = checked.functions();
        let index_of = |start: u32| functions.iter().position(|it| it.start == start);
        let bit = |start: u32| index_of(start).map_or(0, |index| 1_u64 << (index % 64));
        let pc = self.at;
        if let Some(instruction) = decode(slots, pc) {
            // At the start of a function, it is the one at hand.
            self.other = index_of(pc).map_or(self.other, |index| index as u32);
            if let Instruction::CallLocal { offset } = instruction
                && let Some(calls) = self.calls.get_mut(self.other as usize)
            {
                *calls |= bit((i64::from(pc) + 1 + i64::from(offset)) as u32);
            }
            self.at += instruction.slots() as u32;
            return Ok(());
        }
        let mut reached = entries.fold(0, |all, entry| all | bit(entry));
        for _ in functions {
            for (index, calls) in self.calls.iter().enumerate() {
                if reached >> index & 1 != 0 {
                    reached |= calls;
                }
            }
        }
        for (index, function) in functions.iter().enumerate() {
            if reached >> (index % 64) & 1 == 0 {
                let why = RefusalKind::Unreachable;
                return Err(Refusal::new(function.start, why, &Trail::new()));
            }
        }
        self.enter(Stage::Done);
        Ok(())
    }

    fn add_threshold(&mut self, number: i64, rank: Option<u16>) {
        for near in [number - 1, number, number + 1] {
            if let Err(index) = self.thresholds.binary_search(&(near, rank)) {
                // With too many of them, numbers grow in fewer steps.
                let _ = self.thresholds.insert(index, (near, rank));
            }
        }
    }
}

const _: () = assert!(FUNCTIONS_MAX <= 64, "a bit for each function");

/// The instruction at a slot.
pub(super) fn decode(slots: &[u64], pc: u32) -> Option<Instruction> {
    let slot = *slots.get(pc as usize)?;
    Instruction::decode(slot, slots.get(pc as usize + 1).copied()).ok()
}

/// Where an instruction leads. The targets of checked code lie inside it.
pub(super) fn successors(pc: u32, instruction: &Instruction) -> Successors {
    let target = |offset: i32| (i64::from(pc) + 1 + i64::from(offset)) as u32;
    let behind = Some(pc + instruction.slots() as u32);
    let (jump, next) = match *instruction {
        Instruction::Jump { offset, .. } => (Some(target(offset)), None),
        Instruction::JumpIf { offset, .. } => (Some(target(i32::from(offset))), behind),
        Instruction::Exit => (None, None),
        _ => (None, behind),
    };
    Successors { jump, next }
}
