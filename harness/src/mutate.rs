//! Changes to programs, at random: most make nonsense of them, some make telling mistakes.

use ebpf::isa::Slot;

use crate::source::Source;

/// Changes some slots.
pub fn mutate(source: &mut impl Source, slots: &mut [u64]) {
    for _ in 0..source.between(1, 3) {
        if slots.is_empty() {
            return;
        }
        let at = source.below(slots.len() as u32) as usize;
        let slot = Slot(slots[at]);
        let (opcode, dst, src) = (slot.opcode(), slot.dst(), slot.src());
        let (offset, imm) = (slot.offset(), slot.imm());
        let by = source.between(-9, 9);
        let near = by as i16;
        let register = source.below(11) as u8;
        let new = match source.below(12) {
            0 => Slot(slot.0 ^ 1 << source.below(64)),
            1 => Slot::new(opcode, register, src, offset, imm),
            2 => Slot::new(opcode, dst, register, offset, imm),
            3 => Slot::new(opcode, dst, src, offset.wrapping_add(near), imm),
            4 => Slot::new(opcode, dst, src, offset, imm.wrapping_add(by)),
            5 => Slot::new(opcode, dst, src, offset, source.number()),
            // Another operation of the class, another size, another width.
            6 => Slot::new(
                opcode & 0x0f | (source.below(16) as u8) << 4,
                dst,
                src,
                offset,
                imm,
            ),
            7 => Slot::new(opcode ^ 0x18 & source.bits() as u8, dst, src, offset, imm),
            8 => Slot::new(opcode ^ 0x03, dst, src, offset, imm),
            9 => {
                let other = source.below(slots.len() as u32) as usize;
                Slot(slots[other])
            }
            10 => {
                let other = source.below(slots.len() as u32) as usize;
                slots.swap(at, other);
                continue;
            }
            _ => Slot(source.bits()),
        };
        slots[at] = new.0;
    }
}
