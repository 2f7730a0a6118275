//! Instructions in words: the dialect that [`asm`](crate) understands, so text goes both ways.
//!
//! Jumps and local calls are shown by distance, `+3` or `-7`, counted from the next slot.

use core::fmt;

use crate::instruction::{
    AluOp, AtomicOp, Condition, Instruction, Operand, Register, Size, SwapOrder, WideValue, Width,
};

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.number())
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operand::Register(register) => register.fmt(f),
            Operand::Immediate(imm) => imm.fmt(f),
        }
    }
}

impl fmt::Display for WideValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WideValue::Number(number) => write!(f, "{number:#x}"),
            WideValue::Scratch { offset } => write!(f, "scratch+{offset}"),
            WideValue::Map { index } => write!(f, "map {index}"),
            WideValue::MapValue { index, offset } => write!(f, "map {index}+{offset}"),
        }
    }
}

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Instruction::Alu {
                width,
                op,
                dst,
                src,
            } => {
                write!(f, "{}{} {dst}, {src}", op.name(), width.suffix())
            }
            Instruction::Negate { width, dst } => write!(f, "neg{} {dst}", width.suffix()),
            Instruction::MoveSigned {
                width,
                from,
                dst,
                src,
            } => {
                let to = if width == Width::Bits32 { 32 } else { 64 };
                write!(f, "movsx{}{to} {dst}, {src}", from.bytes() * 8)
            }
            Instruction::Swap { order, size, dst } => {
                write!(f, "{}{} {dst}", order.name(), size.bytes() * 8)
            }
            Instruction::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => {
                let sign = if signed { "s" } else { "" };
                write!(
                    f,
                    "ldx{sign}{} {dst}, {}",
                    size.suffix(),
                    Place(base, offset)
                )
            }
            Instruction::Store {
                size,
                base,
                offset,
                src,
            } => {
                let form = if matches!(src, Operand::Register(_)) {
                    "stx"
                } else {
                    "st"
                };
                write!(f, "{form}{} {}, {src}", size.suffix(), Place(base, offset))
            }
            Instruction::Atomic {
                width,
                op,
                base,
                offset,
                src,
            } => {
                let fetch = if op.has_fetch_modifier() {
                    "fetch "
                } else {
                    ""
                };
                let (name, suffix) = (op.name(), width.suffix());
                write!(
                    f,
                    "lock {fetch}{name}{suffix} {}, {src}",
                    Place(base, offset)
                )
            }
            Instruction::LoadWide { dst, value } => write!(f, "lddw {dst}, {value}"),
            Instruction::Jump { offset, long } => {
                write!(f, "{} {offset:+}", if long { "ja32" } else { "ja" })
            }
            Instruction::JumpIf {
                width,
                condition,
                dst,
                src,
                offset,
            } => {
                write!(
                    f,
                    "{}{} {dst}, {src}, {offset:+}",
                    condition.name(),
                    width.suffix()
                )
            }
            Instruction::CallHelper { id } => write!(f, "call {id:#x}"),
            Instruction::CallLocal { offset } => write!(f, "call local {offset:+}"),
            Instruction::Exit => f.write_str("exit"),
        }
    }
}

/// A register and an offset, in brackets.
struct Place(Register, i16);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            0 => write!(f, "[{}]", self.0),
            offset => write!(f, "[{}{offset:+}]", self.0),
        }
    }
}

impl Width {
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Width::Bits32 => "32",
            Width::Bits64 => "",
        }
    }
}

impl Size {
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Size::Byte => "b",
            Size::Half => "h",
            Size::Word => "w",
            Size::Double => "dw",
        }
    }
}

impl SwapOrder {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            SwapOrder::Little => "le",
            SwapOrder::Big => "be",
            SwapOrder::Swap => "bswap",
        }
    }
}

impl AluOp {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            AluOp::Add => "add",
            AluOp::Sub => "sub",
            AluOp::Mul => "mul",
            AluOp::Div => "div",
            AluOp::SignedDiv => "sdiv",
            AluOp::Or => "or",
            AluOp::And => "and",
            AluOp::Lsh => "lsh",
            AluOp::Rsh => "rsh",
            AluOp::Mod => "mod",
            AluOp::SignedMod => "smod",
            AluOp::Xor => "xor",
            AluOp::Mov => "mov",
            AluOp::Arsh => "arsh",
        }
    }
}

impl Condition {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Condition::Equal => "jeq",
            Condition::Greater => "jgt",
            Condition::GreaterOrEqual => "jge",
            Condition::AnyBit => "jset",
            Condition::NotEqual => "jne",
            Condition::SignedGreater => "jsgt",
            Condition::SignedGreaterOrEqual => "jsge",
            Condition::Less => "jlt",
            Condition::LessOrEqual => "jle",
            Condition::SignedLess => "jslt",
            Condition::SignedLessOrEqual => "jsle",
        }
    }
}

impl AtomicOp {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            AtomicOp::Add { .. } => "add",
            AtomicOp::Or { .. } => "or",
            AtomicOp::And { .. } => "and",
            AtomicOp::Xor { .. } => "xor",
            AtomicOp::Exchange => "xchg",
            AtomicOp::CompareExchange => "cmpxchg",
        }
    }

    pub(crate) const fn has_fetch_modifier(self) -> bool {
        matches!(
            self,
            AtomicOp::Add { fetch: true }
                | AtomicOp::Or { fetch: true }
                | AtomicOp::And { fetch: true }
                | AtomicOp::Xor { fetch: true }
        )
    }
}
