//! Which register's value an operation may count on being handed over, beside the register file.
//!
//! Every function hands on the value that its last operation has written, in a machine register;
//! a jump that writes nothing hands on what it got. So where an operation is reached in one way
//! only, behind one that writes a register, it may take that register's value as it is handed over
//! instead of waiting for what was stored to be loaded. Where jumps lead to it, all of them must
//! hand over the same register. A jump without a condition can hand over any, since it names the
//! register it loads.
//!
//! Whoever starts in the middle loads the register that is named by the slot before: as the
//! destination of what it writes, or because the decoder has put it there ([`on_entry`]).

use super::Decoded;
use crate::isa::{self, Slot, call, op};
use crate::limits::CODE_SLOTS_MAX;
use crate::state::State;

/// No register.
pub(super) const NOTHING_HANDED: u8 = 0x40;
/// Nothing leads here but jumps, none of which has been seen.
const OPEN: u8 = 0x41;
/// Marks what a jump leads to.
const TARGET: u8 = 0x80;

/// For each slot of a program and the sentinel, the register whose value is handed over to it.
pub(super) struct HandedOver([u8; CODE_SLOTS_MAX + 1]);

impl HandedOver {
    /// Finds out for the slots of a program.
    pub(super) fn new(slots: &[u64]) -> HandedOver {
        let mut found = HandedOver([NOTHING_HANDED; CODE_SLOTS_MAX + 1]);
        let mut before = None;
        for (place, &slot) in found.0.iter_mut().skip(1).zip(slots) {
            let slot = Slot(slot);
            *place = behind(before.is_some_and(is_wide), slot);
            before = Some(slot);
        }
        for (pc, &slot) in slots.iter().enumerate() {
            if let Some(place) = target(pc, Slot(slot)).and_then(|it| found.0.get_mut(it)) {
                *place |= TARGET;
            }
        }
        for pc in 0..slots.len() {
            found.agree(slots, pc);
        }
        found
    }

    /// Sees to it that a conditional jump or a call hands over what its target counts on.
    fn agree(&mut self, slots: &[u64], pc: usize) {
        let slot = Slot(slots[pc]);
        let Some(target) = target(pc, slot) else {
            return;
        };
        if is_always(slot) {
            return;
        }
        let offered = self.offered(slots, pc);
        if let Some(place) = self.0.get_mut(target) {
            *place = TARGET
                | match *place & !TARGET {
                    OPEN => offered,
                    register if register == offered => register,
                    _ => NOTHING_HANDED,
                };
        }
    }

    /// The register whose value a conditional jump hands on: what the slot before has written, if
    /// no other slot leads to the jump.
    fn offered(&self, slots: &[u64], pc: usize) -> u8 {
        let is_target = self.0[pc] & TARGET != 0;
        if is_target || Slot(slots[pc]).opcode() == op::CALL {
            return NOTHING_HANDED;
        }
        let offered = self.0[pc];
        // As one function with a move and another jump back, it hands on what the move chose.
        let mut behind = slots.iter().skip(pc + 1).map(|&slot| Slot(slot));
        let (moved, jump) = (behind.next(), behind.next());
        if jump.is_some_and(is_always) && moved.is_some_and(|it| it.dst() != offered) {
            return NOTHING_HANDED;
        }
        offered
    }

    /// The register whose value is handed over to a slot, or one that does not exist.
    pub(super) fn at(&self, pc: u32) -> u8 {
        match self.0.get(pc as usize).map(|it| it & !TARGET) {
            Some(register) if register < 16 => register,
            _ => NOTHING_HANDED,
        }
    }

    /// The same, or any register where it does not matter.
    pub(super) fn register_at(&self, pc: u32) -> u8 {
        self.at(pc) & 15
    }
}

/// What is handed over by going on from a slot to the next; whether it is the second half of a
/// wide load.
fn behind(is_half: bool, slot: Slot) -> u8 {
    match slot.class() {
        isa::ALU | isa::ALU64 | isa::LDX if !is_half => slot.dst(),
        isa::JMP | isa::JMP32 if is_always(slot) || slot.opcode() == op::EXIT => OPEN,
        _ => NOTHING_HANDED,
    }
}

fn is_wide(slot: Slot) -> bool {
    slot.opcode() == op::LDDW
}

fn is_always(slot: Slot) -> bool {
    matches!(slot.opcode(), op::JA | op::GOTOL)
}

/// Where a jump or a local call leads, if it does.
fn target(pc: usize, slot: Slot) -> Option<usize> {
    let distance = match slot.opcode() {
        op::EXIT => return None,
        op::CALL if slot.src() != call::LOCAL => return None,
        op::CALL | op::GOTOL => slot.imm() as isize,
        _ if matches!(slot.class(), isa::JMP | isa::JMP32) => slot.offset() as isize,
        _ => return None,
    };
    (pc + 1).checked_add_signed(distance)
}

/// What is handed over to the operation that a run begins with.
pub(super) fn on_entry(decoded: &Decoded<'_>, state: &State) -> u64 {
    let before = (state.pc as usize).wrapping_sub(1);
    let register = decoded.ops.get(before).map_or(0, |before| before.dst & 15);
    state.r[usize::from(register)]
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;
    use crate::isa::{alu, jmp};

    fn add(dst: u8) -> u64 {
        Slot::new(isa::ALU64 | alu::ADD, dst, 0, 0, 1).0
    }

    fn jump(opcode: u8, offset: i16) -> u64 {
        Slot::new(opcode, 0, 0, offset, 0).0
    }

    const IF: u8 = isa::JMP | jmp::JEQ;

    fn registers(slots: &[u64]) -> Vec<Option<u8>> {
        let found = HandedOver::new(slots);
        (0..=slots.len() as u32)
            .map(|pc| Some(found.at(pc)).filter(|it| *it != NOTHING_HANDED))
            .collect()
    }

    #[test]
    fn the_slot_before_hands_over_what_it_writes() {
        let found = registers(&[add(3), add(4), jump(op::EXIT, 0)]);
        assert_eq!(found, [None, Some(3), Some(4), None]);
    }

    #[test]
    fn jumps_must_agree() {
        // Over an exit, both jumps lead to the last slot.
        let code = |first, second| {
            [
                add(first),
                jump(IF, 3),
                add(second),
                jump(IF, 1),
                jump(op::EXIT, 0),
                add(1),
            ]
        };
        assert_eq!(registers(&code(5, 5))[5], Some(5));
        assert_eq!(registers(&code(5, 6))[5], None);
    }

    #[test]
    fn a_jump_without_a_condition_leaves_it_to_others() {
        let code = [
            jump(op::JA, 3),
            add(7),
            jump(IF, 1),
            jump(op::EXIT, 0),
            add(1),
            jump(op::EXIT, 0),
        ];
        assert_eq!(registers(&code)[4], Some(7));
        let alone = [
            jump(op::JA, 1),
            jump(op::EXIT, 0),
            add(1),
            jump(op::EXIT, 0),
        ];
        assert_eq!(registers(&alone)[2], None);
    }

    #[test]
    fn a_jump_to_which_jumps_lead_hands_over_nothing() {
        let code = [
            jump(IF, 1),
            add(7),
            jump(IF, 1),
            jump(op::EXIT, 0),
            add(1),
            jump(op::EXIT, 0),
        ];
        assert_eq!(registers(&code)[4], None);
    }

    #[test]
    fn a_choice_that_goes_back_hands_over_what_was_moved() {
        let code = |moved| {
            let back = Slot::new(op::MOV64_X, moved, 2, 0, 0).0;
            [
                jump(op::JA, 1),
                jump(op::EXIT, 0),
                add(9),
                jump(IF, -2),
                back,
                jump(op::JA, -4),
                jump(op::EXIT, 0),
            ]
        };
        assert_eq!(registers(&code(9))[2], Some(9));
        assert_eq!(registers(&code(8))[2], None);
    }
}
