//! A64 instructions as numbers: one function for each form, and no knowledge of programs.
//!
//! Names of classes are those of the Arm Architecture Reference Manual (DDI 0487), chapter C4,
//! "A64 Instruction Set Encoding"; operands come in the order of the assembler. A value that does
//! not fit its field is a mistake of the caller's: it is cut to the field, and noticed where
//! assertions are on. Functions that choose among encodings say `None` where there is none.

/// A general-purpose register, X0 to X30 (or W0 to W30); 31 is the zero register or, as the base
/// of an address and in a few sums, the stack pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Reg(pub(crate) u8);

/// The zero register: reads as zero, and what is written to it is gone.
pub(crate) const ZR: Reg = Reg(31);
/// The stack pointer, where the form takes one.
pub(crate) const SP: Reg = Reg(31);
/// The link register (AAPCS64 section 6.1.1).
pub(crate) const LR: Reg = Reg(30);

impl Reg {
    /// In the lowest field, `Rd` or `Rt`.
    const fn d(self) -> u32 {
        (self.0 & 31) as u32
    }

    /// In the field `Rn`.
    const fn n(self) -> u32 {
        self.d() << 5
    }

    /// In the field `Ra` or `Rt2`.
    const fn a(self) -> u32 {
        self.d() << 10
    }

    /// In the field `Rm`.
    const fn m(self) -> u32 {
        self.d() << 16
    }
}

/// How much of the registers an operation is about: the field `sf`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Size {
    /// The lower half; the upper half of the result is zero.
    W,
    /// All of it.
    X,
}

impl Size {
    const fn sf(self) -> u32 {
        match self {
            Size::W => 0,
            Size::X => 1 << 31,
        }
    }

    /// Its bits.
    pub(crate) const fn bits(self) -> u32 {
        match self {
            Size::W => 32,
            Size::X => 64,
        }
    }
}

/// A condition (C1.2.4, "Condition code").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cond {
    Eq,
    Ne,
    /// Unsigned higher or same; carry set.
    Hs,
    /// Unsigned lower; carry clear.
    Lo,
    /// Negative.
    Mi,
    /// Positive or zero.
    Pl,
    /// Unsigned higher.
    Hi,
    /// Unsigned lower or same.
    Ls,
    Ge,
    Lt,
    Gt,
    Le,
}

impl Cond {
    pub(crate) const fn code(self) -> u32 {
        match self {
            Cond::Eq => 0,
            Cond::Ne => 1,
            Cond::Hs => 2,
            Cond::Lo => 3,
            Cond::Mi => 4,
            Cond::Pl => 5,
            Cond::Hi => 8,
            Cond::Ls => 9,
            Cond::Ge => 10,
            Cond::Lt => 11,
            Cond::Gt => 12,
            Cond::Le => 13,
        }
    }

    /// The one that holds where this does not.
    pub(crate) const fn inverse(self) -> Cond {
        match self {
            Cond::Eq => Cond::Ne,
            Cond::Ne => Cond::Eq,
            Cond::Hs => Cond::Lo,
            Cond::Lo => Cond::Hs,
            Cond::Mi => Cond::Pl,
            Cond::Pl => Cond::Mi,
            Cond::Hi => Cond::Ls,
            Cond::Ls => Cond::Hi,
            Cond::Ge => Cond::Lt,
            Cond::Lt => Cond::Ge,
            Cond::Gt => Cond::Le,
            Cond::Le => Cond::Gt,
        }
    }
}

/// The lowest bits of a number, as a field.
const fn field(value: u32, bits: u32) -> u32 {
    debug_assert!(value >> bits == 0, "it fits its field");
    value & ((1 << bits) - 1)
}

/// The lowest bits of a signed number, as a field.
const fn signed_field(value: i32, bits: u32) -> u32 {
    debug_assert!(
        value >= -(1 << (bits - 1)) && value < 1 << (bits - 1),
        "it fits its field"
    );
    value as u32 & ((1 << bits) - 1)
}

// ---- Data processing (immediate) ----

/// Sums with a number: "Add/subtract (immediate)".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sum {
    Add,
    /// Also sets the flags.
    Adds,
    Sub,
    /// Also sets the flags.
    Subs,
}

impl Sum {
    const fn op(self) -> u32 {
        match self {
            Sum::Add => 0,
            Sum::Adds => 1 << 29,
            Sum::Sub => 1 << 30,
            Sum::Subs => 3 << 29,
        }
    }
}

/// `d = n ± imm`, where the number is 12 bits, or 12 bits above 12 zeros ("Add/subtract
/// (immediate)"). Register 31 is the stack pointer as `n`, and as `d` if no flags are set.
pub(crate) const fn sum_imm(sum: Sum, size: Size, d: Reg, n: Reg, imm: u32) -> Option<u32> {
    let shifted = if imm >> 12 == 0 {
        imm << 10
    } else if imm >> 24 == 0 && imm & 0xfff == 0 {
        1 << 22 | (imm >> 12) << 10
    } else {
        return None;
    };
    Some(size.sf() | sum.op() | 0x1100_0000 | shifted | n.n() | d.d())
}

/// Bitwise operations: "Logical (immediate)", "Logical (shifted register)".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Logic {
    And,
    Orr,
    Eor,
    /// And, which sets the flags.
    Ands,
}

impl Logic {
    const fn opc(self) -> u32 {
        match self {
            Logic::And => 0,
            Logic::Orr => 1 << 29,
            Logic::Eor => 2 << 29,
            Logic::Ands => 3 << 29,
        }
    }
}

/// `d = n op imm` for a number that is a repeated, rotated run of ones ("Logical (immediate)").
/// Register 31 is the stack pointer as `d`, unless flags are set.
pub(crate) const fn logic_imm(logic: Logic, size: Size, d: Reg, n: Reg, imm: u64) -> Option<u32> {
    match bitmask(size, imm) {
        Some(mask) => Some(size.sf() | logic.opc() | 0x1200_0000 | mask | n.n() | d.d()),
        None => None,
    }
}

/// The fields `N:immr:imms` of a number, if it can be written so: an element of 2 to 64 bits, in
/// which a run of ones is rotated to the right, repeated (`DecodeBitMasks`).
const fn bitmask(size: Size, imm: u64) -> Option<u32> {
    let imm = match size {
        Size::W if imm >> 32 != 0 => return None,
        Size::W => imm | imm << 32,
        Size::X => imm,
    };
    if imm == 0 || imm == u64::MAX {
        return None;
    }
    let mut bits = 64;
    while bits > 2 {
        let half = bits / 2;
        let mask = (1 << half) - 1;
        if imm & mask != imm >> half & mask {
            break;
        }
        bits = half;
    }
    let mask = if bits == 64 {
        u64::MAX
    } else {
        (1 << bits) - 1
    };
    let element = imm & mask;
    // Turned back until it is a run of ones at the bottom.
    let turned = if element & 1 == 0 {
        element.trailing_zeros()
    } else if element.trailing_ones() == bits {
        return None;
    } else {
        // The run may go on at the top.
        let above = (element | !mask).leading_ones() - (64 - bits);
        (bits - above) % bits
    };
    let run = (element >> turned | element << ((bits - turned) % bits)) & mask;
    let ones = run.trailing_ones();
    if ones < bits && run >> ones != 0 {
        return None;
    }
    let right = (bits - turned) % bits;
    let n = if bits == 64 { 1 << 22 } else { 0 };
    let imms = (!(bits * 2 - 1) & 0x3f) | (ones - 1);
    Some(n | right << 16 | imms << 10)
}

/// Moves of 16 bits: "Move wide (immediate)".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wide {
    /// All others become one; the 16 are inverted.
    Movn,
    /// All others become zero.
    Movz,
    /// All others stay.
    Movk,
}

/// Moves 16 bits to bits `16 * quarter` and up ("Move wide (immediate)").
pub(crate) const fn move_wide(wide: Wide, size: Size, d: Reg, imm: u16, quarter: u32) -> u32 {
    debug_assert!(quarter * 16 < size.bits());
    let opc = match wide {
        Wide::Movn => 0,
        Wide::Movz => 2 << 29,
        Wide::Movk => 3 << 29,
    };
    size.sf() | opc | 0x1280_0000 | field(quarter, 2) << 21 | (imm as u32) << 5 | d.d()
}

/// Moves of bit fields: "Bitfield".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bits {
    Signed,
    Unsigned,
}

/// `SBFM` and `UBFM`, which most shifts and extensions are forms of ("Bitfield").
const fn bit_field(bits: Bits, size: Size, d: Reg, n: Reg, immr: u32, imms: u32) -> u32 {
    let opc = match bits {
        Bits::Signed => 0,
        Bits::Unsigned => 2 << 29,
    };
    let n_bit = size.sf() >> 9;
    let width = match size {
        Size::W => 5,
        Size::X => 6,
    };
    let fields = field(immr, width) << 16 | field(imms, width) << 10;
    size.sf() | opc | 0x1300_0000 | n_bit | fields | n.n() | d.d()
}

/// The `low` lowest bits with their sign (`SXTB`, `SXTH`, `SXTW`) or with zeros (`UXTB`, `UXTH`).
pub(crate) const fn extend(bits: Bits, size: Size, d: Reg, n: Reg, low: u32) -> u32 {
    bit_field(bits, size, d, n, 0, low - 1)
}

/// `low` bits from bit `from` on, moved to the bottom, with their sign or zeros above (`SBFX`,
/// `UBFX`).
pub(crate) const fn extract(bits: Bits, size: Size, d: Reg, n: Reg, from: u32, low: u32) -> u32 {
    bit_field(bits, size, d, n, from, from + low - 1)
}

/// Shifts to the left by a number below the width.
pub(crate) const fn lsl_imm(size: Size, d: Reg, n: Reg, by: u32) -> u32 {
    let bits = size.bits();
    bit_field(
        Bits::Unsigned,
        size,
        d,
        n,
        (bits - by) % bits,
        bits - 1 - by,
    )
}

/// Shifts to the right by a number below the width.
pub(crate) const fn lsr_imm(size: Size, d: Reg, n: Reg, by: u32) -> u32 {
    bit_field(Bits::Unsigned, size, d, n, by, size.bits() - 1)
}

/// Shifts to the right by a number below the width; the sign comes in.
pub(crate) const fn asr_imm(size: Size, d: Reg, n: Reg, by: u32) -> u32 {
    bit_field(Bits::Signed, size, d, n, by, size.bits() - 1)
}

/// `d` = the address so many bytes from this instruction, within 1 MiB ("PC-rel. addressing").
pub(crate) const fn adr(d: Reg, bytes: i32) -> u32 {
    let imm = signed_field(bytes, 21);
    0x1000_0000 | (imm & 3) << 29 | (imm >> 2) << 5 | d.d()
}

// ---- Branches, exceptions and hints ----

/// The distance to a target in instructions, as a field.
const fn distance(instructions: i32, bits: u32) -> u32 {
    signed_field(instructions, bits)
}

/// `B`, within 128 MiB ("Unconditional branch (immediate)").
pub(crate) const fn b(instructions: i32) -> u32 {
    0x1400_0000 | distance(instructions, 26)
}

/// `B.cond`, within 1 MiB ("Conditional branch (immediate)").
pub(crate) const fn b_cond(cond: Cond, instructions: i32) -> u32 {
    0x5400_0000 | distance(instructions, 19) << 5 | cond.code()
}

/// Branches if a register is zero, within 1 MiB ("Compare and branch (immediate)").
pub(crate) const fn cbz(size: Size, t: Reg, instructions: i32) -> u32 {
    size.sf() | 0x3400_0000 | distance(instructions, 19) << 5 | t.d()
}

/// Branches if a register is not zero, within 1 MiB ("Compare and branch (immediate)").
pub(crate) const fn cbnz(size: Size, t: Reg, instructions: i32) -> u32 {
    size.sf() | 0x3500_0000 | distance(instructions, 19) << 5 | t.d()
}

/// Branches to an address ("Unconditional branch (register)").
pub(crate) const fn br(n: Reg) -> u32 {
    0xd61f_0000 | n.n()
}

/// Returns to an address ("Unconditional branch (register)").
pub(crate) const fn ret(n: Reg) -> u32 {
    0xd65f_0000 | n.n()
}

/// Consumption of speculative data barrier ("Hints").
pub(crate) const CSDB: u32 = 0xd503_229f;

// ---- Loads and stores ----

/// How many bytes are moved, and what becomes of the rest of a register that is loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cell {
    U8,
    U16,
    U32,
    U64,
    /// Its sign is extended to 64 bits.
    S8,
    /// Its sign is extended to 64 bits.
    S16,
    /// Its sign is extended to 64 bits.
    S32,
}

impl Cell {
    /// The logarithm of its bytes.
    const fn scale(self) -> u32 {
        match self {
            Cell::U8 | Cell::S8 => 0,
            Cell::U16 | Cell::S16 => 1,
            Cell::U32 | Cell::S32 => 2,
            Cell::U64 => 3,
        }
    }

    /// Its bytes.
    pub(crate) const fn bytes(self) -> u32 {
        1 << self.scale()
    }

    /// The field `opc` of a load.
    const fn opc(self) -> u32 {
        match self {
            Cell::U8 | Cell::U16 | Cell::U32 | Cell::U64 => 1 << 22,
            Cell::S8 | Cell::S16 | Cell::S32 => 2 << 22,
        }
    }
}

/// Which way memory is moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Move {
    Load,
    Store,
}

/// The fields `size` and `opc`.
const fn kind(way: Move, cell: Cell) -> u32 {
    let opc = match way {
        Move::Load => cell.opc(),
        Move::Store => 0,
    };
    cell.scale() << 30 | opc
}

/// `t` and `[n + bytes]`, where the offset is a multiple of the size, up to 4095 of them
/// ("Load/store register (unsigned immediate)"), or from -256 to 255 bytes ("Load/store register
/// (unscaled immediate)").
pub(crate) const fn mem_imm(way: Move, cell: Cell, t: Reg, n: Reg, bytes: i32) -> Option<u32> {
    let kind = kind(way, cell) | n.n() | t.d();
    if bytes >= 0 && bytes % cell.bytes() as i32 == 0 && bytes >> cell.scale() < 4096 {
        return Some(0x3900_0000 | kind | ((bytes >> cell.scale()) as u32) << 10);
    }
    if bytes >= -256 && bytes < 256 {
        return Some(0x3800_0000 | kind | signed_field(bytes, 9) << 12);
    }
    None
}

/// What an address adds to its base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Index {
    /// The lower half of the register (`UXTW`).
    W,
    /// The register (`LSL #0`).
    X,
    /// The register, times the bytes that are moved (`LSL`).
    Scaled,
}

/// `t` and `[n + m]` ("Load/store register (register offset)").
pub(crate) const fn mem_reg(way: Move, cell: Cell, t: Reg, n: Reg, m: Reg, index: Index) -> u32 {
    let option = match index {
        Index::W => 2 << 13,
        Index::X => 3 << 13,
        Index::Scaled => 3 << 13 | 1 << 12,
    };
    0x3820_0800 | kind(way, cell) | m.m() | option | n.n() | t.d()
}

/// Two whole registers at `[n + bytes]`, a multiple of 8 from -512 to 504 ("Load/store register
/// pair (offset)").
pub(crate) const fn pair(way: Move, t: Reg, t2: Reg, n: Reg, bytes: i32) -> u32 {
    debug_assert!(bytes % 8 == 0);
    let load = match way {
        Move::Load => 1 << 22,
        Move::Store => 0,
    };
    0xa900_0000 | load | signed_field(bytes / 8, 7) << 15 | t2.a() | n.n() | t.d()
}

// ---- Data processing (register) ----

/// `d = n op m` ("Logical (shifted register)", without a shift).
pub(crate) const fn logic(logic: Logic, size: Size, d: Reg, n: Reg, m: Reg) -> u32 {
    size.sf() | logic.opc() | 0x0a00_0000 | m.m() | n.n() | d.d()
}

/// `d = m`.
pub(crate) const fn mov(size: Size, d: Reg, m: Reg) -> u32 {
    logic(Logic::Orr, size, d, ZR, m)
}

/// `d = n ± m` ("Add/subtract (shifted register)", without a shift).
pub(crate) const fn sum(sum: Sum, size: Size, d: Reg, n: Reg, m: Reg) -> u32 {
    size.sf() | sum.op() | 0x0b00_0000 | m.m() | n.n() | d.d()
}

/// `d = n ± (m << by)` ("Add/subtract (shifted register)").
pub(crate) const fn sum_shifted(sum: Sum, size: Size, d: Reg, n: Reg, m: Reg, by: u32) -> u32 {
    debug_assert!(by < size.bits());
    self::sum(sum, size, d, n, m) | field(by, 6) << 10
}

/// `d = n ± the lower half of m` ("Add/subtract (extended register)", `UXTW`). Register 31 is the
/// stack pointer as `n`, and as `d` if no flags are set.
pub(crate) const fn sum_half(sum: Sum, d: Reg, n: Reg, m: Reg) -> u32 {
    Size::X.sf() | sum.op() | 0x0b20_4000 | m.m() | n.n() | d.d()
}

/// `d = n` if the condition holds, else `m` ("Conditional select").
pub(crate) const fn csel(size: Size, d: Reg, n: Reg, m: Reg, cond: Cond) -> u32 {
    size.sf() | 0x1a80_0000 | m.m() | cond.code() << 12 | n.n() | d.d()
}

/// Operations of "Data-processing (2 source)".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Two {
    /// Unsigned division; by zero it is zero.
    Udiv,
    /// Signed division, rounded towards zero; by zero it is zero, and the least by -1 is itself.
    Sdiv,
    /// Shifts by a register, modulo the width.
    Lsl,
    Lsr,
    Asr,
}

/// `d = n op m` ("Data-processing (2 source)").
pub(crate) const fn two(two: Two, size: Size, d: Reg, n: Reg, m: Reg) -> u32 {
    let opcode = match two {
        Two::Udiv => 2,
        Two::Sdiv => 3,
        Two::Lsl => 8,
        Two::Lsr => 9,
        Two::Asr => 10,
    };
    size.sf() | 0x1ac0_0000 | m.m() | opcode << 10 | n.n() | d.d()
}

/// Orders of bytes: "Data-processing (1 source)".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reverse {
    /// Of each 16 bits.
    Each16,
    /// Of each 32 bits.
    Each32,
    /// Of all 64 bits.
    All,
}

/// `d` = `n` with its bytes in another order ("Data-processing (1 source)"). A half register has
/// no 64 bits to reverse.
pub(crate) const fn reverse(reverse: Reverse, size: Size, d: Reg, n: Reg) -> u32 {
    let opcode = match reverse {
        Reverse::Each16 => 1,
        Reverse::Each32 => 2,
        Reverse::All => {
            debug_assert!(matches!(size, Size::X));
            3
        }
    };
    size.sf() | 0x5ac0_0000 | opcode << 10 | n.n() | d.d()
}

/// `d = a + n * m` ("Data-processing (3 source)").
pub(crate) const fn madd(size: Size, d: Reg, n: Reg, m: Reg, a: Reg) -> u32 {
    size.sf() | 0x1b00_0000 | m.m() | a.a() | n.n() | d.d()
}

/// `d = a - n * m` ("Data-processing (3 source)").
pub(crate) const fn msub(size: Size, d: Reg, n: Reg, m: Reg, a: Reg) -> u32 {
    madd(size, d, n, m, a) | 1 << 15
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
