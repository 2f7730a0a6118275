//! A program in front of a program: registers are filled with rubbish, and a frame is put beneath.

use alloc::vec::Vec;

use ebpf::instruction::{Instruction, Register, WideValue};
use ebpf::isa::{Slot, op, wide};

use crate::source::mix;

/// Slots of the stub.
pub const STUB_SLOTS: u32 = 2 * 9 + 2;

/// Writes the stub and the program behind it into `code`, which is emptied. Maps are numbered from
/// `first_map`.
pub fn write(slots: &[u64], entry: u32, first_map: u32, seed: u64, code: &mut Vec<u64>) {
    code.clear();
    let mut emit = |instruction: Instruction| {
        let (first, second) = instruction.encode();
        code.push(first);
        code.extend(second);
    };
    for number in [0, 2, 3, 4, 5, 6, 7, 8, 9] {
        let Some(dst) = Register::new(number) else {
            continue;
        };
        let value = WideValue::Number(mix(seed ^ u64::from(number)));
        emit(Instruction::LoadWide { dst, value });
    }
    let offset = entry as i32 + 1;
    emit(Instruction::CallLocal { offset });
    emit(Instruction::Exit);
    let mut is_second = false;
    for &word in slots {
        let slot = Slot(word);
        let is_wide = !is_second && slot.opcode() == op::LDDW;
        let names_map = is_wide && (slot.src() == wide::MAP || slot.src() == wide::MAP_VALUE);
        let by = if names_map { first_map } else { 0 };
        code.push(word.wrapping_add(u64::from(by) << 32));
        is_second = is_wide;
    }
}

/// True if a program may set or clear bits of addresses that the shift changes. Of such a program
/// nothing is known by running it elsewhere.
#[must_use]
pub fn may_touch_bits_of_addresses(slots: &[u64]) -> bool {
    slots.iter().any(|&word| {
        let slot = Slot(word);
        match slot.opcode() {
            op::AND64_K | op::OR64_K => !(-0x8000..0x8000).contains(&slot.imm()),
            op::AND64_X | op::OR64_X => true,
            _ => false,
        }
    })
}
