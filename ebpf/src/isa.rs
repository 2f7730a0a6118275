//! The numbers of RFC 9669: fields of a slot, classes, codes, and each whole opcode by name.

/// Fields of one 8-byte slot, read as a little-endian number (section 3.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot(pub u64);

impl Slot {
    /// Puts the fields together.
    pub const fn new(opcode: u8, dst: u8, src: u8, offset: i16, imm: i32) -> Slot {
        Slot(
            opcode as u64
                | ((dst & 15) as u64) << 8
                | ((src & 15) as u64) << 12
                | (offset as u16 as u64) << 16
                | (imm as u32 as u64) << 32,
        )
    }

    /// What to do.
    pub const fn opcode(self) -> u8 {
        self.0 as u8
    }

    /// The destination register's number, 0 to 15.
    pub const fn dst(self) -> u8 {
        (self.0 >> 8) as u8 & 15
    }

    /// The source register's number, or a subtype, 0 to 15.
    pub const fn src(self) -> u8 {
        (self.0 >> 12) as u8 & 15
    }

    /// The signed offset.
    pub const fn offset(self) -> i16 {
        (self.0 >> 16) as i16
    }

    /// The signed immediate.
    pub const fn imm(self) -> i32 {
        (self.0 >> 32) as i32
    }

    /// The instruction class, the opcode's three lowest bits (section 3.3).
    pub const fn class(self) -> u8 {
        self.opcode() & 7
    }

    /// True if the second operand is the source register, of an ALU or jump class (section 4).
    pub const fn is_register_form(self) -> bool {
        self.opcode() & X != 0
    }

    /// The register of the address, in a load, a store or an atomic.
    pub const fn base(self) -> u8 {
        if self.class() == LDX {
            self.src()
        } else {
            self.dst()
        }
    }

    /// True for the first slot of an instruction of two.
    pub const fn is_wide(self) -> bool {
        self.opcode() == op::LDDW
    }
}

// Section 3.3: instruction classes.
/// Non-standard loads.
pub const LD: u8 = 0;
/// Loads into a register.
pub const LDX: u8 = 1;
/// Stores of an immediate.
pub const ST: u8 = 2;
/// Stores of a register, and atomics.
pub const STX: u8 = 3;
/// 32-bit arithmetic.
pub const ALU: u8 = 4;
/// 64-bit jumps.
pub const JMP: u8 = 5;
/// 32-bit jumps.
pub const JMP32: u8 = 6;
/// 64-bit arithmetic.
pub const ALU64: u8 = 7;

// Section 4: source operand of ALU and jump classes.
/// The second operand is the immediate.
pub const K: u8 = 0;
/// The second operand is the source register.
pub const X: u8 = 8;

// Section 5: sizes and modes of loads and stores.
/// 4 bytes.
pub const W: u8 = 0x00;
/// 2 bytes.
pub const H: u8 = 0x08;
/// 1 byte.
pub const B: u8 = 0x10;
/// 8 bytes.
pub const DW: u8 = 0x18;
/// 64-bit immediates.
pub const IMM: u8 = 0x00;
/// Legacy packet access, absolute (section 5.5).
pub const ABS: u8 = 0x20;
/// Legacy packet access, indirect (section 5.5).
pub const IND: u8 = 0x40;
/// Plain loads and stores.
pub const MEM: u8 = 0x60;
/// Loads that extend the sign.
pub const MEMSX: u8 = 0x80;
/// Atomic operations.
pub const ATOMIC: u8 = 0xc0;

/// Subtypes of a 64-bit immediate (section 5.4) that a linked program may hold.
pub mod wide {
    /// A plain number.
    pub const CONST: u8 = 0;
    /// The address of the invocation's scratch, plus an offset (the RFC's platform variable).
    pub const SCRATCH: u8 = 3;
    /// A map, by its index.
    pub const MAP: u8 = 5;
    /// The address of a map's first value, by the map's index, plus an offset.
    pub const MAP_VALUE: u8 = 6;
}

/// Subtypes of a call (section 4.3).
pub mod call {
    /// A helper, by number.
    pub const HELPER: u8 = 0;
    /// A function of the same program.
    pub const LOCAL: u8 = 1;
}

/// What an atomic does, in its immediate (section 5.3).
pub mod atomic {
    /// Add.
    pub const ADD: i32 = 0x00;
    /// Or.
    pub const OR: i32 = 0x40;
    /// And.
    pub const AND: i32 = 0x50;
    /// Exclusive or.
    pub const XOR: i32 = 0xa0;
    /// Modifier: bring back the old value in the source register.
    pub const FETCH: i32 = 0x01;
    /// Exchange.
    pub const XCHG: i32 = 0xe0 | FETCH;
    /// Compare with r0 and exchange.
    pub const CMPXCHG: i32 = 0xf0 | FETCH;
}

/// Codes of the ALU classes (section 4.1).
pub mod alu {
    /// Addition.
    pub const ADD: u8 = 0x00;
    /// Subtraction.
    pub const SUB: u8 = 0x10;
    /// Multiplication.
    pub const MUL: u8 = 0x20;
    /// Division, unsigned or signed by the offset.
    pub const DIV: u8 = 0x30;
    /// Or.
    pub const OR: u8 = 0x40;
    /// And.
    pub const AND: u8 = 0x50;
    /// Shift left.
    pub const LSH: u8 = 0x60;
    /// Shift right.
    pub const RSH: u8 = 0x70;
    /// Negation.
    pub const NEG: u8 = 0x80;
    /// Remainder, unsigned or signed by the offset.
    pub const MOD: u8 = 0x90;
    /// Exclusive or.
    pub const XOR: u8 = 0xa0;
    /// Move, plain or extending the sign by the offset.
    pub const MOV: u8 = 0xb0;
    /// Shift right that keeps the sign.
    pub const ARSH: u8 = 0xc0;
    /// Byte swaps (section 4.2).
    pub const END: u8 = 0xd0;
}

/// Codes of the jump classes (section 4.3).
pub mod jmp {
    /// Always.
    pub const JA: u8 = 0x00;
    /// Equal.
    pub const JEQ: u8 = 0x10;
    /// Greater, unsigned.
    pub const JGT: u8 = 0x20;
    /// Greater or equal, unsigned.
    pub const JGE: u8 = 0x30;
    /// Any common bit.
    pub const JSET: u8 = 0x40;
    /// Not equal.
    pub const JNE: u8 = 0x50;
    /// Greater, signed.
    pub const JSGT: u8 = 0x60;
    /// Greater or equal, signed.
    pub const JSGE: u8 = 0x70;
    /// Call.
    pub const CALL: u8 = 0x80;
    /// Return.
    pub const EXIT: u8 = 0x90;
    /// Less, unsigned.
    pub const JLT: u8 = 0xa0;
    /// Less or equal, unsigned.
    pub const JLE: u8 = 0xb0;
    /// Less, signed.
    pub const JSLT: u8 = 0xc0;
    /// Less or equal, signed.
    pub const JSLE: u8 = 0xd0;
}

/// Whole opcodes. `_K` takes the immediate, `_X` the source register; `32` and `64` are widths.
#[allow(missing_docs)]
pub mod op {
    use super::{ALU, ALU64, ATOMIC, B, DW, H, IMM, JMP, JMP32, K, LD, LDX, MEM, MEMSX, ST, STX};
    use super::{W, X, alu, jmp};

    macro_rules! four {
        ($code:expr, $narrow:expr, $full:expr, $k32:ident $x32:ident $k64:ident $x64:ident) => {
            pub const $k32: u8 = $narrow | K | $code;
            pub const $x32: u8 = $narrow | X | $code;
            pub const $k64: u8 = $full | K | $code;
            pub const $x64: u8 = $full | X | $code;
        };
    }

    // Section 4.1.
    four!(alu::ADD, ALU, ALU64, ADD32_K ADD32_X ADD64_K ADD64_X);
    four!(alu::SUB, ALU, ALU64, SUB32_K SUB32_X SUB64_K SUB64_X);
    four!(alu::MUL, ALU, ALU64, MUL32_K MUL32_X MUL64_K MUL64_X);
    four!(alu::DIV, ALU, ALU64, DIV32_K DIV32_X DIV64_K DIV64_X);
    four!(alu::OR, ALU, ALU64, OR32_K OR32_X OR64_K OR64_X);
    four!(alu::AND, ALU, ALU64, AND32_K AND32_X AND64_K AND64_X);
    four!(alu::LSH, ALU, ALU64, LSH32_K LSH32_X LSH64_K LSH64_X);
    four!(alu::RSH, ALU, ALU64, RSH32_K RSH32_X RSH64_K RSH64_X);
    four!(alu::MOD, ALU, ALU64, MOD32_K MOD32_X MOD64_K MOD64_X);
    four!(alu::XOR, ALU, ALU64, XOR32_K XOR32_X XOR64_K XOR64_X);
    four!(alu::MOV, ALU, ALU64, MOV32_K MOV32_X MOV64_K MOV64_X);
    four!(alu::ARSH, ALU, ALU64, ARSH32_K ARSH32_X ARSH64_K ARSH64_X);
    pub const NEG32: u8 = ALU | K | alu::NEG;
    pub const NEG64: u8 = ALU64 | K | alu::NEG;
    // Section 4.2: the source bit chooses the byte order; the 64-bit class swaps always.
    pub const LE: u8 = ALU | K | alu::END;
    pub const BE: u8 = ALU | X | alu::END;
    pub const BSWAP: u8 = ALU64 | K | alu::END;

    // Section 4.3.
    four!(jmp::JEQ, JMP32, JMP, JEQ32_K JEQ32_X JEQ64_K JEQ64_X);
    four!(jmp::JGT, JMP32, JMP, JGT32_K JGT32_X JGT64_K JGT64_X);
    four!(jmp::JGE, JMP32, JMP, JGE32_K JGE32_X JGE64_K JGE64_X);
    four!(jmp::JSET, JMP32, JMP, JSET32_K JSET32_X JSET64_K JSET64_X);
    four!(jmp::JNE, JMP32, JMP, JNE32_K JNE32_X JNE64_K JNE64_X);
    four!(jmp::JSGT, JMP32, JMP, JSGT32_K JSGT32_X JSGT64_K JSGT64_X);
    four!(jmp::JSGE, JMP32, JMP, JSGE32_K JSGE32_X JSGE64_K JSGE64_X);
    four!(jmp::JLT, JMP32, JMP, JLT32_K JLT32_X JLT64_K JLT64_X);
    four!(jmp::JLE, JMP32, JMP, JLE32_K JLE32_X JLE64_K JLE64_X);
    four!(jmp::JSLT, JMP32, JMP, JSLT32_K JSLT32_X JSLT64_K JSLT64_X);
    four!(jmp::JSLE, JMP32, JMP, JSLE32_K JSLE32_X JSLE64_K JSLE64_X);
    pub const JA: u8 = JMP | K | jmp::JA;
    pub const GOTOL: u8 = JMP32 | K | jmp::JA;
    pub const CALL: u8 = JMP | K | jmp::CALL;
    /// A call through a register, which RFC 9669 does not define and this crate refuses.
    pub const CALLX: u8 = JMP | X | jmp::CALL;
    pub const EXIT: u8 = JMP | K | jmp::EXIT;

    // Section 5.1.
    pub const LDXB: u8 = LDX | MEM | B;
    pub const LDXH: u8 = LDX | MEM | H;
    pub const LDXW: u8 = LDX | MEM | W;
    pub const LDXDW: u8 = LDX | MEM | DW;
    pub const STB: u8 = ST | MEM | B;
    pub const STH: u8 = ST | MEM | H;
    pub const STW: u8 = ST | MEM | W;
    pub const STDW: u8 = ST | MEM | DW;
    pub const STXB: u8 = STX | MEM | B;
    pub const STXH: u8 = STX | MEM | H;
    pub const STXW: u8 = STX | MEM | W;
    pub const STXDW: u8 = STX | MEM | DW;
    // Section 5.2.
    pub const LDXSB: u8 = LDX | MEMSX | B;
    pub const LDXSH: u8 = LDX | MEMSX | H;
    pub const LDXSW: u8 = LDX | MEMSX | W;
    // Section 5.3.
    pub const ATOMIC32: u8 = STX | ATOMIC | W;
    pub const ATOMIC64: u8 = STX | ATOMIC | DW;
    // Section 5.4.
    pub const LDDW: u8 = LD | IMM | DW;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_fields() {
        let slot = Slot::new(0x7b, 10, 3, -8, i32::MIN);
        assert_eq!((slot.opcode(), slot.dst(), slot.src()), (0x7b, 10, 3));
        assert_eq!((slot.offset(), slot.imm()), (-8, i32::MIN));
    }

    #[test]
    fn the_example_of_section_3_1() {
        // 07 01 00 00 44 33 22 11: r1 += 0x11223344.
        let slot = Slot(u64::from_le_bytes([
            0x07, 0x01, 0, 0, 0x44, 0x33, 0x22, 0x11,
        ]));
        assert_eq!(slot, Slot::new(op::ADD64_K, 1, 0, 0, 0x1122_3344));
    }

    #[test]
    fn opcodes_have_the_registry_values() {
        // A sample over every class from the RFC's appendix.
        let known = [
            (op::LDDW, 0x18),
            (op::LDXW, 0x61),
            (op::LDXSH, 0x89),
            (op::STB, 0x72),
            (op::STXDW, 0x7b),
            (op::ATOMIC32, 0xc3),
            (op::ATOMIC64, 0xdb),
            (op::ADD32_X, 0x0c),
            (op::DIV64_K, 0x37),
            (op::NEG32, 0x84),
            (op::BE, 0xdc),
            (op::LE, 0xd4),
            (op::BSWAP, 0xd7),
            (op::GOTOL, 0x06),
            (op::JA, 0x05),
            (op::JSLE32_X, 0xde),
            (op::JLT64_K, 0xa5),
            (op::CALL, 0x85),
            (op::EXIT, 0x95),
        ];
        for (ours, registered) in known {
            assert_eq!(ours, registered);
        }
    }
}
