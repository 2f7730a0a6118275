//! The way to an instruction: of the conditional jumps on it, which were taken and which were not.
//!
//! The verifier notes the last jumps that were taken, and calls. What lies between two of them is
//! walked here: every conditional jump met there was not taken. Where the walk does not lead from
//! one to the next, nothing is said of what is between.

use super::Code;
use ebpf::Instruction;
use ebpf::limits::TRAIL_MAX;

/// A jump or call on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its slot.
    pub pc: u32,
    /// How it went.
    pub turn: Turn,
}

/// How a jump or call on the way went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The condition held.
    Taken,
    /// The condition did not hold.
    NotTaken,
    /// A function was called.
    Called,
}

impl Turn {
    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Turn::Taken => "taken",
            Turn::NotTaken => "not taken",
            Turn::Called => "called",
        }
    }
}

/// Steps told of: the last ones.
const STEPS_SHOWN: usize = 8;

/// The way along the noted jumps to an instruction.
pub(super) fn to(code: &Code, trail: &[u16], pc: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut calls = Vec::new();
    let first = trail.first().map_or(pc, |it| u32::from(*it));
    // A trail with room left begins at an entry.
    if trail.len() < TRAIL_MAX {
        let mut entries = code.entries.iter();
        let walked = entries.find_map(|&(_, entry)| walk(code, entry, first, &mut calls));
        steps.extend(walked.unwrap_or_default());
    }
    for (index, noted) in trail.iter().enumerate() {
        let noted = u32::from(*noted);
        let (turn, target) = match code.instruction(noted) {
            Some(Instruction::JumpIf { offset, .. }) => (Turn::Taken, i32::from(offset)),
            Some(Instruction::CallLocal { offset }) => (Turn::Called, offset),
            _ => continue,
        };
        if turn == Turn::Called {
            calls.push(noted);
        }
        steps.push(Step { pc: noted, turn });
        let next = trail.get(index + 1).map_or(pc, |it| u32::from(*it));
        let from = (noted + 1).wrapping_add_signed(target);
        steps.extend(walk(code, from, next, &mut calls).unwrap_or_default());
    }
    steps.split_off(steps.len().saturating_sub(STEPS_SHOWN))
}

/// The jumps that are not taken from one instruction to another; `None` if that is not reached so.
fn walk(code: &Code, from: u32, to: u32, calls: &mut Vec<u32>) -> Option<Vec<Step>> {
    let mut passed = Vec::new();
    let mut pc = from;
    for _ in 0..=code.slots.len() {
        if pc == to {
            return Some(passed);
        }
        let instruction = code.instruction(pc)?;
        let behind = pc + instruction.slots() as u32;
        pc = match instruction {
            Instruction::Jump { offset, .. } => behind.wrapping_add_signed(offset),
            Instruction::JumpIf { .. } => {
                let turn = Turn::NotTaken;
                passed.push(Step { pc, turn });
                behind
            }
            Instruction::CallLocal { .. } => return None,
            Instruction::Exit => calls.pop()? + 1,
            _ => behind,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use ebpf::EntryKind;
    use ebpf::asm::assemble;

    fn code(text: &str) -> Code {
        Code {
            slots: assemble(text).unwrap(),
            entries: vec![(EntryKind::Call, 0)],
        }
    }

    fn said(code: &Code, trail: &[u16], pc: u32) -> Vec<(u32, &'static str)> {
        let way = to(code, trail, pc);
        way.iter().map(|it| (it.pc, it.turn.name())).collect()
    }

    #[test]
    fn what_lies_between_noted_jumps_was_not_taken() {
        let code = code(
            "jeq r1, 0, +5\njeq r1, 1, +1\nexit\njeq r1, 2, +1\nja +1\nexit\nmov r0, r9\nexit",
        );
        assert_eq!(
            said(&code, &[1], 6),
            [(0, "not taken"), (1, "taken"), (3, "not taken")]
        );
        assert_eq!(said(&code, &[0], 6), [(0, "taken")]);
        assert_eq!(said(&code, &[], 2), [(0, "not taken"), (1, "not taken")]);
    }

    #[test]
    fn calls_are_left_where_they_were_entered() {
        let code = code("call local +2\njeq r0, 0, +0\nexit\njeq r1, 0, +0\nexit");
        assert_eq!(
            said(&code, &[0], 2),
            [(0, "called"), (3, "not taken"), (1, "not taken")]
        );
    }

    #[test]
    fn a_way_that_makes_no_sense_is_not_walked() {
        let code = code("ja -1\nexit");
        assert_eq!(said(&code, &[], 1), []);
        for trail in [&[0_u16, 7, 65535][..], &[1; 6], &[65535; 6]] {
            assert_eq!(said(&code, trail, u32::MAX), []);
        }
    }
}
