//! Where code goes: blocks, where ways meet, which jumps lead back.

use super::refusal::{Refusal, RefusalKind};
use super::state::Trail;
use crate::check::{Checked, Function};
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
}

/// What there is to know about the ways through a program.
#[derive(Debug)]
pub(super) struct Flow {
    marks: [u8; CODE_SLOTS_MAX],
    /// Of a leader: its rank in reverse post order; a way to one that is not higher leads back.
    ranks: [u16; CODE_SLOTS_MAX],
    /// Leaders on the way, and which successor of each comes next.
    path: [(u16, u8); CODE_SLOTS_MAX],
    /// Of a loop head: the highest rank of a block that leads back to it.
    loop_ends: [u16; CODE_SLOTS_MAX],
    /// By rising number; each with the rank of the block that compares with it.
    thresholds: heapless::Vec<(i64, Option<u16>), THRESHOLDS_MAX>,
    slots: u32,
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
        loop_ends: [0; CODE_SLOTS_MAX],
        thresholds: heapless::Vec::new(),
        slots: 0,
    };

    /// Looks at a program. Every function must be called from somewhere or be an entry.
    pub(super) fn explore(
        &mut self,
        slots: &[u64],
        checked: &Checked,
        sizes: impl Iterator<Item = u32>,
    ) -> Result<(), Refusal> {
        self.marks.fill(0);
        self.ranks.fill(0);
        self.loop_ends.fill(0);
        self.slots = slots.len() as u32;
        self.find_leaders(slots, checked);
        for function in checked.functions() {
            self.rank_function(slots, function.start);
        }
        self.find_meetings(slots);
        self.collect_thresholds(slots, sizes);
        self.check_reached(slots)
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

    /// True if anything leads back.
    pub(super) fn has_loops(&self) -> bool {
        self.marks.iter().any(|marks| marks & mark::LOOP != 0)
    }

    pub(super) fn rank(&self, pc: u32) -> u16 {
        self.ranks.get(pc as usize).copied().unwrap_or(0)
    }

    /// The thresholds of a loop: what is compared with in it, and the sizes of regions.
    pub(super) fn thresholds(&self, head: u32) -> Thresholds {
        // The blocks of a loop have ranks from its head's to that of the last one leading back.
        let end = self.loop_ends.get(head as usize).copied().unwrap_or(0);
        let inside = |rank: u16| self.rank(head) <= rank && rank <= end;
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

    fn find_leaders(&mut self, slots: &[u64], checked: &Checked) {
        for function in checked.functions() {
            self.set(function.start, mark::LEADER);
        }
        let mut pc = 0;
        while let Some(instruction) = decode(slots, pc) {
            let to = successors(pc, &instruction);
            if let Some(target) = to.jump {
                self.set(target, mark::LEADER);
            }
            // A block ends behind what goes elsewhere.
            if to.jump.is_some() || matches!(instruction, Instruction::CallLocal { .. }) {
                let behind = to.next.unwrap_or(pc + 1);
                self.set(behind, mark::LEADER);
            }
            pc += instruction.slots() as u32;
        }
    }

    /// The last instruction of the block that starts at `leader`.
    fn block_end(&self, slots: &[u64], leader: u32) -> Option<(u32, Successors)> {
        let mut pc = leader;
        loop {
            let instruction = decode(slots, pc)?;
            let to = successors(pc, &instruction);
            match to.next {
                Some(next) if to.jump.is_none() && !self.is_leader(next) => pc = next,
                _ => return Some((pc, to)),
            }
        }
    }

    /// Ranks the blocks of a function in reverse post order of a walk into the depth.
    fn rank_function(&mut self, slots: &[u64], start: u32) {
        // Ranks fall from the highest there can be, so that the last one ranked is the lowest.
        let mut rank = u16::MAX;
        let mut len = 1;
        self.path[0] = (start as u16, 0);
        self.set(start, mark::REACHED);
        while len > 0 {
            let (leader, turn) = self.path[len - 1];
            let end = self.block_end(slots, u32::from(leader));
            let to = end.map_or([None; 2], |(_, to)| [to.next, to.jump]);
            let Some(&successor) = to.get(usize::from(turn)) else {
                self.ranks[usize::from(leader)] = rank;
                rank -= 1;
                len -= 1;
                continue;
            };
            self.path[len - 1].1 += 1;
            if let Some(next) = successor
                && !self.has(next, mark::REACHED)
                && len < self.path.len()
            {
                self.set(next, mark::REACHED);
                self.path[len] = (next as u16, 0);
                len += 1;
            }
        }
    }

    fn find_meetings(&mut self, slots: &[u64]) {
        for leader in 0..self.slots {
            if !self.has(leader, mark::REACHED) {
                continue;
            }
            let Some((end, to)) = self.block_end(slots, leader) else {
                continue;
            };
            let call = matches!(decode(slots, end), Some(Instruction::CallLocal { .. }));
            for target in [to.jump, to.next].into_iter().flatten() {
                // Each exit of a function comes back behind its call.
                if self.has(target, mark::ENTERED) || call {
                    self.set(target, mark::MEETING);
                }
                self.set(target, mark::ENTERED);
                if self.rank(target) <= self.rank(leader) {
                    self.set(target, mark::MEETING | mark::LOOP);
                    let rank = self.rank(leader);
                    if let Some(known) = self.loop_ends.get_mut(target as usize) {
                        *known = (*known).max(rank);
                    }
                }
            }
        }
    }

    /// The code of a function that its start does not lead to is never reached.
    fn check_reached(&self, slots: &[u64]) -> Result<(), Refusal> {
        let mut pc = 0;
        let mut reached = false;
        while let Some(instruction) = decode(slots, pc) {
            if self.is_leader(pc) {
                reached = self.has(pc, mark::REACHED);
            }
            if !reached {
                return Err(Refusal::new(pc, RefusalKind::Unreachable, &Trail::new()));
            }
            // Behind an exit a block begins, or nothing leads there.
            if matches!(instruction, Instruction::Exit) {
                reached = false;
            }
            pc += instruction.slots() as u32;
        }
        Ok(())
    }

    /// Every function is an entry or is called from one that is reached.
    pub(super) fn check_called(
        slots: &[u64],
        checked: &Checked,
        entries: &[u32],
    ) -> Result<(), Refusal> {
        let functions = checked.functions();
        let index_of = |start: u32| functions.iter().position(|it| it.start == start);
        let bit = |start: u32| index_of(start).map_or(0, |index| 1_u64 << (index % 64));
        // By function, those that it calls.
        let mut calls = [0_u64; FUNCTIONS_MAX];
        for (function, calls) in functions.iter().zip(&mut calls) {
            let mut pc = function.start;
            while let Some(instruction) = decode(slots, pc).filter(|_| pc < end_of(function)) {
                if let Instruction::CallLocal { offset } = instruction {
                    *calls |= bit((i64::from(pc) + 1 + i64::from(offset)) as u32);
                }
                pc += instruction.slots() as u32;
            }
        }
        let mut reached = entries.iter().fold(0, |all, &entry| all | bit(entry));
        for _ in functions {
            for (index, calls) in calls.iter().enumerate() {
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
        Ok(())
    }

    /// Numbers that programs compare with, and their neighbours: where loops end.
    fn collect_thresholds(&mut self, slots: &[u64], sizes: impl Iterator<Item = u32>) {
        self.thresholds.clear();
        self.add_threshold(0, None);
        for size in sizes {
            self.add_threshold(i64::from(size), None);
        }
        let (mut pc, mut rank) = (0, 0);
        while let Some(instruction) = decode(slots, pc) {
            if self.is_leader(pc) {
                rank = self.rank(pc);
            }
            if let Instruction::JumpIf {
                condition,
                src: Operand::Immediate(number),
                ..
            } = instruction
                && condition != Condition::AnyBit
            {
                self.add_threshold(i64::from(number), Some(rank));
            }
            pc += instruction.slots() as u32;
        }
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

const fn end_of(function: &Function) -> u32 {
    function.start + function.len
}

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
