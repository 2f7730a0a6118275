//! Why native code came back, in one 32-bit number that a single instruction can load.
//!
//! Six bits of kind, then two fields of thirteen, each wide enough for a slot's number.

use crate::limits::CODE_SLOTS_MAX;

/// Why native code came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Exit {
    /// `exit` where the code did not pop a frame itself.
    Return { pc: u32 },
    /// A helper is to be called; its number is the machine's detail.
    Helper { pc: u32 },
    /// A jump back made the fuel negative, and was not taken yet.
    Jump { pc: u32, target: u32 },
    /// A local call made the fuel negative, and was not made yet.
    Call { pc: u32, target: u32 },
    /// A local call too many, which has been paid.
    CallDepth { pc: u32 },
    /// An access was refused; the address is the machine's detail.
    Denied { pc: u32, bytes: u32, write: bool },
    /// The slot is no instruction.
    Opcode { pc: u32, opcode: u8 },
    /// No function starts at the slot that is the machine's detail.
    NoFunction { pc: u32 },
    /// A wide load of a map that cannot be; its index is the machine's detail.
    NoMap { pc: u32 },
    /// Control left the code.
    FellOff { pc: u32 },
    /// Control came to a slot, by the machine's word on which, where no code begins.
    Hole,
}

const FIELD_BITS: u32 = 13;
const FIELD: u32 = (1 << FIELD_BITS) - 1;

const _: () = assert!(CODE_SLOTS_MAX <= FIELD as usize);

impl Exit {
    /// The number for it.
    pub(super) const fn word(self) -> u32 {
        let (kind, a, b) = match self {
            Exit::Return { pc } => (0, pc, 0),
            Exit::Helper { pc } => (1, pc, 0),
            Exit::Jump { pc, target } => (2, pc, target),
            Exit::Call { pc, target } => (3, pc, target),
            Exit::CallDepth { pc } => (4, pc, 0),
            Exit::Denied { pc, bytes, write } => (5, pc, bytes | (write as u32) << 4),
            Exit::Opcode { pc, opcode } => (6, pc, opcode as u32),
            Exit::NoFunction { pc } => (7, pc, 0),
            Exit::NoMap { pc } => (8, pc, 0),
            Exit::FellOff { pc } => (9, pc, 0),
            Exit::Hole => (10, 0, 0),
        };
        kind << (2 * FIELD_BITS) | (b & FIELD) << FIELD_BITS | a & FIELD
    }

    /// What a number stands for; of one that stands for nothing, a hole.
    pub(super) const fn of(word: u32) -> Exit {
        let (pc, b) = (word & FIELD, word >> FIELD_BITS & FIELD);
        match word >> (2 * FIELD_BITS) {
            0 => Exit::Return { pc },
            1 => Exit::Helper { pc },
            2 => Exit::Jump { pc, target: b },
            3 => Exit::Call { pc, target: b },
            4 => Exit::CallDepth { pc },
            5 => Exit::Denied {
                pc,
                bytes: b & 15,
                write: b & 16 != 0,
            },
            6 => Exit::Opcode {
                pc,
                opcode: b as u8,
            },
            7 => Exit::NoFunction { pc },
            8 => Exit::NoMap { pc },
            9 => Exit::FellOff { pc },
            _ => Exit::Hole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_was_put_into_it() {
        let (pc, target) = (CODE_SLOTS_MAX as u32, CODE_SLOTS_MAX as u32 - 1);
        let mut all = std::vec![
            Exit::Return { pc },
            Exit::Helper { pc },
            Exit::Jump { pc, target },
            Exit::Call { pc, target },
            Exit::CallDepth { pc },
            Exit::Opcode { pc, opcode: 0xff },
            Exit::NoFunction { pc },
            Exit::NoMap { pc },
            Exit::FellOff { pc },
            Exit::Hole,
        ];
        for bytes in [1, 2, 4, 8] {
            for write in [false, true] {
                all.push(Exit::Denied { pc, bytes, write });
            }
        }
        for exit in all {
            assert_eq!(Exit::of(exit.word()), exit);
        }
    }
}
