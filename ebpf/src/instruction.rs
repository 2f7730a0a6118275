//! An instruction with its meaning, from slots and back.
//!
//! [`Instruction::decode`] takes nothing that RFC 9669 does not define: unknown opcodes, register
//! numbers above 10, writes to r10 and values in unused fields are refused. The interpreter does
//! not use it (it reads slots as they are); the check, the disassembler and the assembler do.

use core::fmt;

use crate::isa::{self, Slot, alu, atomic, call, jmp, op, wide};

/// A register's number, 0 to 10.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Register(u8);

impl Register {
    /// The frame pointer, which may only be read (RFC 9669 section 2 of the calling convention).
    pub const FRAME: Register = Register(10);

    /// The register of that number, if there is one.
    pub const fn new(number: u8) -> Option<Register> {
        if number <= 10 { Some(Register(number)) } else { None }
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

/// How many bytes a load or store is about (section 5, table 11).
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

    const fn bits(self) -> u8 {
        match self {
            Size::Byte => isa::B,
            Size::Half => isa::H,
            Size::Word => isa::W,
            Size::Double => isa::DW,
        }
    }

    const fn of(opcode: u8) -> Size {
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
    const fn code(self) -> (u8, i16) {
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

    fn of(code: u8, offset: i16) -> Result<AluOp, Malformed> {
        let mut known = false;
        for candidate in AluOp::ALL {
            let (its_code, its_offset) = candidate.code();
            known |= its_code == code;
            if (its_code, its_offset) == (code, offset) {
                return Ok(candidate);
            }
        }
        Err(if known { Malformed::Field(Field::Offset) } else { Malformed::Opcode })
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

    const fn code(self) -> u8 {
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

    const fn imm(self) -> i32 {
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

/// A field of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// The destination register.
    Dst,
    /// The source register.
    Src,
    /// The offset.
    Offset,
    /// The immediate.
    Imm,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Dst => "destination",
            Field::Src => "source",
            Field::Offset => "offset",
            Field::Imm => "immediate",
        })
    }
}

/// Why slots are no instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// No such opcode.
    Opcode,
    /// A packet access of old, which RFC 9669 deprecates (section 5.5).
    Legacy,
    /// A call through a register.
    CallRegister,
    /// A field holds what it may not with this opcode.
    Field(Field),
    /// A register above r10.
    Register(Field),
    /// A write to r10.
    FramePointerWritten,
    /// A kind of 64-bit immediate that a linked program may not hold.
    WideSource {
        /// The source field.
        src: u8,
    },
    /// The second slot of a 64-bit immediate is missing, or more than an immediate.
    WideSecond,
    /// A kind of call that a linked program may not hold.
    CallKind {
        /// The source field.
        src: u8,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Opcode => f.write_str("unknown opcode"),
            Malformed::Legacy => f.write_str("packet access instructions are not supported"),
            Malformed::CallRegister => f.write_str("calls through a register are not supported"),
            Malformed::Field(field) => write!(f, "the {field} field has no meaning here"),
            Malformed::Register(field) => write!(f, "the {field} register is above r10"),
            Malformed::FramePointerWritten => f.write_str("r10 may not be written"),
            Malformed::WideSource { src } => {
                write!(f, "a 64-bit immediate of kind {src} is not supported")
            }
            Malformed::WideSecond => {
                f.write_str("the second half of the 64-bit immediate is missing or malformed")
            }
            Malformed::CallKind { src } => write!(f, "a call of kind {src} is not supported"),
        }
    }
}

impl Instruction {
    /// The instruction in a slot. `next` is the slot behind it, if any: a wide one needs it.
    ///
    /// # Errors
    /// What is wrong with it; see [`Malformed`].
    pub fn decode(slot: u64, next: Option<u64>) -> Result<Instruction, Malformed> {
        let slot = Slot(slot);
        match slot.class() {
            isa::ALU | isa::ALU64 => decode_alu(slot),
            isa::JMP | isa::JMP32 => decode_jump(slot),
            isa::LDX => decode_load(slot),
            isa::ST | isa::STX => decode_store(slot),
            _ => decode_wide(slot, next.map(Slot)),
        }
    }

    /// The slot, and the second one of a wide instruction.
    pub fn encode(&self) -> (u64, Option<u64>) {
        let first = match *self {
            Instruction::LoadWide { dst, value } => return encode_wide(dst, value),
            Instruction::Alu { width, op, dst, src } => {
                let (code, offset) = op.code();
                two_operands(alu_class(width), code, dst, src, offset)
            }
            Instruction::Negate { width, dst } => {
                Slot::new(alu_class(width) | alu::NEG, dst.0, 0, 0, 0)
            }
            Instruction::MoveSigned { width, from, dst, src } => {
                let offset = from.bytes() as i16 * 8;
                Slot::new(alu_class(width) | isa::X | alu::MOV, dst.0, src.0, offset, 0)
            }
            Instruction::Swap { order, size, dst } => {
                let opcode = match order {
                    SwapOrder::Little => op::LE,
                    SwapOrder::Big => op::BE,
                    SwapOrder::Swap => op::BSWAP,
                };
                Slot::new(opcode, dst.0, 0, 0, size.bytes() as i32 * 8)
            }
            Instruction::Load { size, signed, dst, base, offset } => {
                let mode = if signed { isa::MEMSX } else { isa::MEM };
                Slot::new(isa::LDX | mode | size.bits(), dst.0, base.0, offset, 0)
            }
            Instruction::Store { size, base, offset, src } => match src {
                Operand::Register(src) => {
                    Slot::new(isa::STX | isa::MEM | size.bits(), base.0, src.0, offset, 0)
                }
                Operand::Immediate(imm) => {
                    Slot::new(isa::ST | isa::MEM | size.bits(), base.0, 0, offset, imm)
                }
            },
            Instruction::Atomic { width, op, base, offset, src } => {
                let opcode = match width {
                    Width::Bits32 => op::ATOMIC32,
                    Width::Bits64 => op::ATOMIC64,
                };
                Slot::new(opcode, base.0, src.0, offset, op.imm())
            }
            Instruction::Jump { offset, long: true } => Slot::new(op::GOTOL, 0, 0, 0, offset),
            Instruction::Jump { offset, long: false } => {
                Slot::new(op::JA, 0, 0, offset as i16, 0)
            }
            Instruction::JumpIf { width, condition, dst, src, offset } => {
                two_operands(jump_class(width), condition.code(), dst, src, offset)
            }
            Instruction::CallHelper { id } => Slot::new(op::CALL, 0, call::HELPER, 0, id as i32),
            Instruction::CallLocal { offset } => Slot::new(op::CALL, 0, call::LOCAL, 0, offset),
            Instruction::Exit => Slot::new(op::EXIT, 0, 0, 0, 0),
        };
        (first.0, None)
    }

    /// How many slots it takes.
    pub const fn slots(&self) -> usize {
        if matches!(self, Instruction::LoadWide { .. }) { 2 } else { 1 }
    }
}

const fn alu_class(width: Width) -> u8 {
    match width {
        Width::Bits32 => isa::ALU,
        Width::Bits64 => isa::ALU64,
    }
}

const fn jump_class(width: Width) -> u8 {
    match width {
        Width::Bits32 => isa::JMP32,
        Width::Bits64 => isa::JMP,
    }
}

const fn two_operands(class: u8, code: u8, dst: Register, src: Operand, offset: i16) -> Slot {
    match src {
        Operand::Register(src) => Slot::new(class | isa::X | code, dst.0, src.0, offset, 0),
        Operand::Immediate(imm) => Slot::new(class | isa::K | code, dst.0, 0, offset, imm),
    }
}

fn encode_wide(dst: Register, value: WideValue) -> (u64, Option<u64>) {
    let (src, low, high) = match value {
        WideValue::Number(number) => (wide::CONST, number as u32, (number >> 32) as u32),
        WideValue::Scratch { offset } => (wide::SCRATCH, offset, 0),
        WideValue::Map { index } => (wide::MAP, index, 0),
        WideValue::MapValue { index, offset } => (wide::MAP_VALUE, index, offset),
    };
    let first = Slot::new(op::LDDW, dst.0, src, 0, low as i32);
    (first.0, Some(Slot::new(0, 0, 0, 0, high as i32).0))
}

/// Refuses a field that is in use where it should be zero (section 3.1: unused fields shall be
/// cleared).
fn unused(slot: Slot, fields: &[Field]) -> Result<(), Malformed> {
    for &field in fields {
        let in_use = match field {
            Field::Dst => slot.dst() != 0,
            Field::Src => slot.src() != 0,
            Field::Offset => slot.offset() != 0,
            Field::Imm => slot.imm() != 0,
        };
        if in_use {
            return Err(Malformed::Field(field));
        }
    }
    Ok(())
}

fn dst(slot: Slot) -> Result<Register, Malformed> {
    Register::new(slot.dst()).ok_or(Malformed::Register(Field::Dst))
}

fn src(slot: Slot) -> Result<Register, Malformed> {
    Register::new(slot.src()).ok_or(Malformed::Register(Field::Src))
}

/// A destination that is written.
fn written(slot: Slot) -> Result<Register, Malformed> {
    match dst(slot)? {
        Register::FRAME => Err(Malformed::FramePointerWritten),
        register => Ok(register),
    }
}

/// The second operand of an ALU or jump class (section 4); the other field shall be zero.
fn operand(slot: Slot) -> Result<Operand, Malformed> {
    if slot.is_register_form() {
        unused(slot, &[Field::Imm])?;
        src(slot).map(Operand::Register)
    } else {
        unused(slot, &[Field::Src])?;
        Ok(Operand::Immediate(slot.imm()))
    }
}

/// Sections 4.1 and 4.2.
fn decode_alu(slot: Slot) -> Result<Instruction, Malformed> {
    let width = if slot.class() == isa::ALU64 { Width::Bits64 } else { Width::Bits32 };
    let code = slot.opcode() & 0xf0;
    match code {
        alu::END => return decode_swap(slot),
        alu::NEG if slot.is_register_form() => return Err(Malformed::Opcode),
        alu::NEG => {
            unused(slot, &[Field::Src, Field::Offset, Field::Imm])?;
            return Ok(Instruction::Negate { width, dst: written(slot)? });
        }
        alu::MOV if slot.is_register_form() && slot.offset() != 0 => {
            unused(slot, &[Field::Imm])?;
            let from = match (slot.offset(), width) {
                (8, _) => Size::Byte,
                (16, _) => Size::Half,
                (32, Width::Bits64) => Size::Word,
                _ => return Err(Malformed::Field(Field::Offset)),
            };
            let (dst, src) = (written(slot)?, src(slot)?);
            return Ok(Instruction::MoveSigned { width, from, dst, src });
        }
        _ => {}
    }
    let op = AluOp::of(code, slot.offset())?;
    Ok(Instruction::Alu { width, op, dst: written(slot)?, src: operand(slot)? })
}

/// Section 4.2.
fn decode_swap(slot: Slot) -> Result<Instruction, Malformed> {
    let order = match slot.opcode() {
        op::LE => SwapOrder::Little,
        op::BE => SwapOrder::Big,
        op::BSWAP => SwapOrder::Swap,
        _ => return Err(Malformed::Opcode),
    };
    unused(slot, &[Field::Src, Field::Offset])?;
    let size = match slot.imm() {
        16 => Size::Half,
        32 => Size::Word,
        64 => Size::Double,
        _ => return Err(Malformed::Field(Field::Imm)),
    };
    Ok(Instruction::Swap { order, size, dst: written(slot)? })
}

/// Section 4.3.
fn decode_jump(slot: Slot) -> Result<Instruction, Malformed> {
    match slot.opcode() {
        op::JA => {
            unused(slot, &[Field::Dst, Field::Src, Field::Imm])?;
            Ok(Instruction::Jump { offset: i32::from(slot.offset()), long: false })
        }
        op::GOTOL => {
            unused(slot, &[Field::Dst, Field::Src, Field::Offset])?;
            Ok(Instruction::Jump { offset: slot.imm(), long: true })
        }
        op::CALL => {
            unused(slot, &[Field::Dst, Field::Offset])?;
            match slot.src() {
                call::HELPER => Ok(Instruction::CallHelper { id: slot.imm() as u32 }),
                call::LOCAL => Ok(Instruction::CallLocal { offset: slot.imm() }),
                src => Err(Malformed::CallKind { src }),
            }
        }
        op::CALLX => Err(Malformed::CallRegister),
        op::EXIT => {
            unused(slot, &[Field::Dst, Field::Src, Field::Offset, Field::Imm])?;
            Ok(Instruction::Exit)
        }
        _ => {
            let code = slot.opcode() & 0xf0;
            let condition = Condition::ALL.into_iter().find(|condition| condition.code() == code);
            let condition = condition.ok_or(Malformed::Opcode)?;
            let width = if slot.class() == isa::JMP { Width::Bits64 } else { Width::Bits32 };
            let (dst, src, offset) = (dst(slot)?, operand(slot)?, slot.offset());
            Ok(Instruction::JumpIf { width, condition, dst, src, offset })
        }
    }
}

/// Sections 5.1 and 5.2, loads.
fn decode_load(slot: Slot) -> Result<Instruction, Malformed> {
    let size = Size::of(slot.opcode());
    let signed = match slot.opcode() & 0xe0 {
        isa::MEM => false,
        isa::MEMSX if size != Size::Double => true,
        _ => return Err(Malformed::Opcode),
    };
    unused(slot, &[Field::Imm])?;
    let (dst, base, offset) = (written(slot)?, src(slot)?, slot.offset());
    Ok(Instruction::Load { size, signed, dst, base, offset })
}

/// Sections 5.1 and 5.3, stores.
fn decode_store(slot: Slot) -> Result<Instruction, Malformed> {
    let (size, offset) = (Size::of(slot.opcode()), slot.offset());
    let is_register = slot.class() == isa::STX;
    match slot.opcode() & 0xe0 {
        isa::MEM if is_register => {
            unused(slot, &[Field::Imm])?;
            let (base, src) = (dst(slot)?, Operand::Register(src(slot)?));
            Ok(Instruction::Store { size, base, offset, src })
        }
        isa::MEM => {
            unused(slot, &[Field::Src])?;
            let (base, src) = (dst(slot)?, Operand::Immediate(slot.imm()));
            Ok(Instruction::Store { size, base, offset, src })
        }
        isa::ATOMIC if is_register => {
            let width = match size {
                Size::Word => Width::Bits32,
                Size::Double => Width::Bits64,
                _ => return Err(Malformed::Opcode),
            };
            let op = AtomicOp::ALL.into_iter().find(|op| op.imm() == slot.imm());
            let op = op.ok_or(Malformed::Field(Field::Imm))?;
            let (base, src) = (dst(slot)?, src(slot)?);
            if op.writes_source() && src == Register::FRAME {
                return Err(Malformed::FramePointerWritten);
            }
            Ok(Instruction::Atomic { width, op, base, offset, src })
        }
        _ => Err(Malformed::Opcode),
    }
}

/// Section 5.4, and 5.5 refused.
fn decode_wide(slot: Slot, next: Option<Slot>) -> Result<Instruction, Malformed> {
    if slot.opcode() != op::LDDW {
        let mode = slot.opcode() & 0xe0;
        let is_legacy = mode == isa::ABS || mode == isa::IND;
        return Err(if is_legacy { Malformed::Legacy } else { Malformed::Opcode });
    }
    unused(slot, &[Field::Offset])?;
    let next = next.filter(|next| next.0 as u32 == 0).ok_or(Malformed::WideSecond)?;
    let (low, high) = (slot.imm() as u32, next.imm() as u32);
    let value = match slot.src() {
        wide::CONST => WideValue::Number(u64::from(low) | u64::from(high) << 32),
        wide::SCRATCH if high == 0 => WideValue::Scratch { offset: low },
        wide::MAP if high == 0 => WideValue::Map { index: low },
        wide::MAP_VALUE => WideValue::MapValue { index: low, offset: high },
        wide::SCRATCH | wide::MAP => return Err(Malformed::WideSecond),
        src => return Err(Malformed::WideSource { src }),
    };
    Ok(Instruction::LoadWide { dst: written(slot)?, value })
}
