//! An instruction with its meaning, as a value.
//!
//! The interpreter does not use these types (it reads slots as they are); the check, the
//! disassembler and the assembler do.

use crate::decode::{Field, Malformed};
use crate::isa::{self, alu, atomic, jmp};

/// A register's number, 0 to 10.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Register(u8);

impl Register {
    /// The frame pointer, which may only be read (the calling convention, which is not in RFC 9669).
    pub const FRAME: Register = Register(10);

    /// The register of that number, if there is one.
    pub const fn new(number: u8) -> Option<Register> {
        if number <= 10 {
            Some(Register(number))
        } else {
            None
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// How many bits an operation is about: the ALU and jump classes come in two widths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// The lower half; results clear the upper half.
    Bits32,
    /// The whole register.
    Bits64,
}

/// How many bytes a load or store is about (section 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    /// 1 byte.
    Byte,
    /// 2 bytes.
    Half,
    /// 4 bytes.
    Word,
    /// 8 bytes.
    Double,
}

impl Size {
    /// In bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Size::Byte => 1,
            Size::Half => 2,
            Size::Word => 4,
            Size::Double => 8,
        }
    }

    pub(crate) const fn bits(self) -> u8 {
        match self {
            Size::Byte => isa::B,
            Size::Half => isa::H,
            Size::Word => isa::W,
            Size::Double => isa::DW,
        }
    }

    pub(crate) const fn of(opcode: u8) -> Size {
        match opcode & 0x18 {
            isa::B => Size::Byte,
            isa::H => Size::Half,
            isa::W => Size::Word,
            _ => Size::Double,
        }
    }
}

/// The second operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// A number, whose sign is extended to the width.
    Immediate(i32),
}

/// Arithmetic with two operands (section 4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum AluOp {
    Add,
    Sub,
    Mul,
    Div,
    SignedDiv,
    Or,
    And,
    Lsh,
    Rsh,
    Mod,
    SignedMod,
    Xor,
    Mov,
    Arsh,
}

impl AluOp {
    /// All of them.
    pub const ALL: [AluOp; 14] = [
        AluOp::Add,
        AluOp::Sub,
        AluOp::Mul,
        AluOp::Div,
        AluOp::SignedDiv,
        AluOp::Or,
        AluOp::And,
        AluOp::Lsh,
        AluOp::Rsh,
        AluOp::Mod,
        AluOp::SignedMod,
        AluOp::Xor,
        AluOp::Mov,
        AluOp::Arsh,
    ];

    /// The code, and the offset that tells signed from unsigned.
    pub(crate) const fn code(self) -> (u8, i16) {
        match self {
            AluOp::Add => (alu::ADD, 0),
            AluOp::Sub => (alu::SUB, 0),
            AluOp::Mul => (alu::MUL, 0),
            AluOp::Div => (alu::DIV, 0),
            AluOp::SignedDiv => (alu::DIV, 1),
            AluOp::Or => (alu::OR, 0),
            AluOp::And => (alu::AND, 0),
            AluOp::Lsh => (alu::LSH, 0),
            AluOp::Rsh => (alu::RSH, 0),
            AluOp::Mod => (alu::MOD, 0),
            AluOp::SignedMod => (alu::MOD, 1),
            AluOp::Xor => (alu::XOR, 0),
            AluOp::Mov => (alu::MOV, 0),
            AluOp::Arsh => (alu::ARSH, 0),
        }
    }

    pub(crate) fn of(code: u8, offset: i16) -> Result<AluOp, Malformed> {
        let mut known = false;
        for candidate in AluOp::ALL {
            let (its_code, its_offset) = candidate.code();
            known |= its_code == code;
            if (its_code, its_offset) == (code, offset) {
                return Ok(candidate);
            }
        }
        Err(if known {
            Malformed::Field(Field::Offset)
        } else {
            Malformed::Opcode
        })
    }
}

/// When a jump is taken (section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Condition {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
    NotEqual,
    SignedGreater,
    SignedGreaterOrEqual,
    Less,
    LessOrEqual,
    SignedLess,
    SignedLessOrEqual,
}

impl Condition {
    /// All of them.
    pub const ALL: [Condition; 11] = [
        Condition::Equal,
        Condition::Greater,
        Condition::GreaterOrEqual,
        Condition::AnyBit,
        Condition::NotEqual,
        Condition::SignedGreater,
        Condition::SignedGreaterOrEqual,
        Condition::Less,
        Condition::LessOrEqual,
        Condition::SignedLess,
        Condition::SignedLessOrEqual,
    ];

    pub(crate) const fn code(self) -> u8 {
        match self {
            Condition::Equal => jmp::JEQ,
            Condition::Greater => jmp::JGT,
            Condition::GreaterOrEqual => jmp::JGE,
            Condition::AnyBit => jmp::JSET,
            Condition::NotEqual => jmp::JNE,
            Condition::SignedGreater => jmp::JSGT,
            Condition::SignedGreaterOrEqual => jmp::JSGE,
            Condition::Less => jmp::JLT,
            Condition::LessOrEqual => jmp::JLE,
            Condition::SignedLess => jmp::JSLT,
            Condition::SignedLessOrEqual => jmp::JSLE,
        }
    }
}

/// Which order a byte swap is to (section 4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SwapOrder {
    /// To little-endian: on this crate's little-endian registers a truncation.
    Little,
    /// To big-endian.
    Big,
    /// The other way round, whatever it was.
    Swap,
}

/// What an atomic does (section 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtomicOp {
    /// Add; with `fetch` the old value comes back in the source register.
    Add {
        /// Bring back the old value.
        fetch: bool,
    },
    /// Or.
    Or {
        /// Bring back the old value.
        fetch: bool,
    },
    /// And.
    And {
        /// Bring back the old value.
        fetch: bool,
    },
    /// Exclusive or.
    Xor {
        /// Bring back the old value.
        fetch: bool,
    },
    /// Exchange with the source register.
    Exchange,
    /// Store the source register if memory equals r0; r0 gets the old value either way.
    CompareExchange,
}

impl AtomicOp {
    /// All of them.
    pub const ALL: [AtomicOp; 10] = [
        AtomicOp::Add { fetch: false },
        AtomicOp::Or { fetch: false },
        AtomicOp::And { fetch: false },
        AtomicOp::Xor { fetch: false },
        AtomicOp::Add { fetch: true },
        AtomicOp::Or { fetch: true },
        AtomicOp::And { fetch: true },
        AtomicOp::Xor { fetch: true },
        AtomicOp::Exchange,
        AtomicOp::CompareExchange,
    ];

    pub(crate) const fn imm(self) -> i32 {
        match self {
            AtomicOp::Add { fetch } => atomic::ADD | fetch as i32,
            AtomicOp::Or { fetch } => atomic::OR | fetch as i32,
            AtomicOp::And { fetch } => atomic::AND | fetch as i32,
            AtomicOp::Xor { fetch } => atomic::XOR | fetch as i32,
            AtomicOp::Exchange => atomic::XCHG,
            AtomicOp::CompareExchange => atomic::CMPXCHG,
        }
    }

    /// True if the source register is written.
    pub const fn writes_source(self) -> bool {
        self.imm() & atomic::FETCH != 0 && !matches!(self, AtomicOp::CompareExchange)
    }
}

/// The value of a 64-bit immediate (section 5.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WideValue {
    /// A number.
    Number(u64),
    /// An address in scratch.
    Scratch {
        /// From its start.
        offset: u32,
    },
    /// A map.
    Map {
        /// Which.
        index: u32,
    },
    /// An address in the first value of a map.
    MapValue {
        /// Which map.
        index: u32,
        /// From the value's start.
        offset: u32,
    },
}

/// One instruction of RFC 9669.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instruction {
    /// `dst = dst op src`.
    Alu {
        /// 32 or 64 bits.
        width: Width,
        /// What.
        op: AluOp,
        /// First operand and result.
        dst: Register,
        /// Second operand.
        src: Operand,
    },
    /// `dst = -dst`.
    Negate {
        /// 32 or 64 bits.
        width: Width,
        /// Operand and result.
        dst: Register,
    },
    /// `dst = sign-extended lower part of src`.
    MoveSigned {
        /// Of the result.
        width: Width,
        /// Of the part: byte, half, or (to 64 bits) word.
        from: Size,
        /// Result.
        dst: Register,
        /// Operand.
        src: Register,
    },
    /// Byte order.
    Swap {
        /// Which order.
        order: SwapOrder,
        /// Of the part that is kept: half, word or double.
        size: Size,
        /// Operand and result.
        dst: Register,
    },
    /// `dst = *(base + offset)`.
    Load {
        /// How much.
        size: Size,
        /// Extends the sign.
        signed: bool,
        /// Result.
        dst: Register,
        /// Address.
        base: Register,
        /// Added to the address.
        offset: i16,
    },
    /// `*(base + offset) = src`.
    Store {
        /// How much.
        size: Size,
        /// Address.
        base: Register,
        /// Added to the address.
        offset: i16,
        /// Value.
        src: Operand,
    },
    /// An atomic operation on `*(base + offset)`.
    Atomic {
        /// 32 or 64 bits.
        width: Width,
        /// What.
        op: AtomicOp,
        /// Address.
        base: Register,
        /// Added to the address.
        offset: i16,
        /// Operand.
        src: Register,
    },
    /// `dst = value`, in two slots.
    LoadWide {
        /// Result.
        dst: Register,
        /// The value.
        value: WideValue,
    },
    /// Goes on `1 + offset` slots further.
    Jump {
        /// In slots.
        offset: i32,
        /// The 32-bit form, `gotol`.
        long: bool,
    },
    /// The same if `dst condition src`.
    JumpIf {
        /// 32 or 64 bits are compared.
        width: Width,
        /// When.
        condition: Condition,
        /// First operand.
        dst: Register,
        /// Second operand.
        src: Operand,
        /// In slots.
        offset: i16,
    },
    /// Calls a helper of the host.
    CallHelper {
        /// Its number.
        id: u32,
    },
    /// Calls the function `1 + offset` slots further.
    CallLocal {
        /// In slots.
        offset: i32,
    },
    /// Returns.
    Exit,
}
