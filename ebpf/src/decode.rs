//! Instructions from slots, and back.
//!
//! [`Instruction::decode`] takes nothing that RFC 9669 does not define: unknown opcodes, register
//! numbers above 10, writes to r10 and values in unused fields are refused.

use core::fmt;

use crate::instruction::{
    AluOp, AtomicOp, Condition, Instruction, Operand, Register, Size, SwapOrder, WideValue, Width,
};
use crate::isa::{self, Slot, alu, call, op, wide};

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
            Instruction::Alu {
                width,
                op,
                dst,
                src,
            } => {
                let (code, offset) = op.code();
                two_operands(alu_class(width), code, dst, src, offset)
            }
            Instruction::Negate { width, dst } => {
                Slot::new(alu_class(width) | alu::NEG, dst.number(), 0, 0, 0)
            }
            Instruction::MoveSigned {
                width,
                from,
                dst,
                src,
            } => {
                let offset = from.bytes() as i16 * 8;
                Slot::new(
                    alu_class(width) | isa::X | alu::MOV,
                    dst.number(),
                    src.number(),
                    offset,
                    0,
                )
            }
            Instruction::Swap { order, size, dst } => {
                let opcode = match order {
                    SwapOrder::Little => op::LE,
                    SwapOrder::Big => op::BE,
                    SwapOrder::Swap => op::BSWAP,
                };
                Slot::new(opcode, dst.number(), 0, 0, size.bytes() as i32 * 8)
            }
            Instruction::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => {
                let mode = if signed { isa::MEMSX } else { isa::MEM };
                Slot::new(
                    isa::LDX | mode | size.bits(),
                    dst.number(),
                    base.number(),
                    offset,
                    0,
                )
            }
            Instruction::Store {
                size,
                base,
                offset,
                src,
            } => match src {
                Operand::Register(src) => Slot::new(
                    isa::STX | isa::MEM | size.bits(),
                    base.number(),
                    src.number(),
                    offset,
                    0,
                ),
                Operand::Immediate(imm) => Slot::new(
                    isa::ST | isa::MEM | size.bits(),
                    base.number(),
                    0,
                    offset,
                    imm,
                ),
            },
            Instruction::Atomic {
                width,
                op,
                base,
                offset,
                src,
            } => {
                let opcode = match width {
                    Width::Bits32 => op::ATOMIC32,
                    Width::Bits64 => op::ATOMIC64,
                };
                Slot::new(opcode, base.number(), src.number(), offset, op.imm())
            }
            Instruction::Jump { offset, long: true } => Slot::new(op::GOTOL, 0, 0, 0, offset),
            Instruction::Jump {
                offset,
                long: false,
            } => Slot::new(op::JA, 0, 0, offset as i16, 0),
            Instruction::JumpIf {
                width,
                condition,
                dst,
                src,
                offset,
            } => two_operands(jump_class(width), condition.code(), dst, src, offset),
            Instruction::CallHelper { id } => Slot::new(op::CALL, 0, call::HELPER, 0, id as i32),
            Instruction::CallLocal { offset } => Slot::new(op::CALL, 0, call::LOCAL, 0, offset),
            Instruction::Exit => Slot::new(op::EXIT, 0, 0, 0, 0),
        };
        (first.0, None)
    }

    /// How many slots it takes.
    pub const fn slots(&self) -> usize {
        if matches!(self, Instruction::LoadWide { .. }) {
            2
        } else {
            1
        }
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
        Operand::Register(src) => {
            Slot::new(class | isa::X | code, dst.number(), src.number(), offset, 0)
        }
        Operand::Immediate(imm) => Slot::new(class | isa::K | code, dst.number(), 0, offset, imm),
    }
}

fn encode_wide(dst: Register, value: WideValue) -> (u64, Option<u64>) {
    let (src, low, high) = match value {
        WideValue::Number(number) => (wide::CONST, number as u32, (number >> 32) as u32),
        WideValue::Scratch { offset } => (wide::SCRATCH, offset, 0),
        WideValue::Map { index } => (wide::MAP, index, 0),
        WideValue::MapValue { index, offset } => (wide::MAP_VALUE, index, offset),
    };
    let first = Slot::new(op::LDDW, dst.number(), src, 0, low as i32);
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
    let width = if slot.class() == isa::ALU64 {
        Width::Bits64
    } else {
        Width::Bits32
    };
    let code = slot.opcode() & 0xf0;
    match code {
        alu::END => return decode_swap(slot),
        alu::NEG if slot.is_register_form() => return Err(Malformed::Opcode),
        alu::NEG => {
            unused(slot, &[Field::Src, Field::Offset, Field::Imm])?;
            return Ok(Instruction::Negate {
                width,
                dst: written(slot)?,
            });
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
            return Ok(Instruction::MoveSigned {
                width,
                from,
                dst,
                src,
            });
        }
        _ => {}
    }
    let op = AluOp::of(code, slot.offset())?;
    Ok(Instruction::Alu {
        width,
        op,
        dst: written(slot)?,
        src: operand(slot)?,
    })
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
    Ok(Instruction::Swap {
        order,
        size,
        dst: written(slot)?,
    })
}

/// Section 4.3.
fn decode_jump(slot: Slot) -> Result<Instruction, Malformed> {
    match slot.opcode() {
        op::JA => {
            unused(slot, &[Field::Dst, Field::Src, Field::Imm])?;
            Ok(Instruction::Jump {
                offset: i32::from(slot.offset()),
                long: false,
            })
        }
        op::GOTOL => {
            unused(slot, &[Field::Dst, Field::Src, Field::Offset])?;
            Ok(Instruction::Jump {
                offset: slot.imm(),
                long: true,
            })
        }
        op::CALL => {
            unused(slot, &[Field::Dst, Field::Offset])?;
            match slot.src() {
                call::HELPER => Ok(Instruction::CallHelper {
                    id: slot.imm() as u32,
                }),
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
            let condition = Condition::ALL
                .into_iter()
                .find(|condition| condition.code() == code);
            let condition = condition.ok_or(Malformed::Opcode)?;
            let width = if slot.class() == isa::JMP {
                Width::Bits64
            } else {
                Width::Bits32
            };
            let (dst, src, offset) = (dst(slot)?, operand(slot)?, slot.offset());
            Ok(Instruction::JumpIf {
                width,
                condition,
                dst,
                src,
                offset,
            })
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
    Ok(Instruction::Load {
        size,
        signed,
        dst,
        base,
        offset,
    })
}

/// Sections 5.1 and 5.3, stores.
fn decode_store(slot: Slot) -> Result<Instruction, Malformed> {
    let (size, offset) = (Size::of(slot.opcode()), slot.offset());
    let is_register = slot.class() == isa::STX;
    match slot.opcode() & 0xe0 {
        isa::MEM if is_register => {
            unused(slot, &[Field::Imm])?;
            let (base, src) = (dst(slot)?, Operand::Register(src(slot)?));
            Ok(Instruction::Store {
                size,
                base,
                offset,
                src,
            })
        }
        isa::MEM => {
            unused(slot, &[Field::Src])?;
            let (base, src) = (dst(slot)?, Operand::Immediate(slot.imm()));
            Ok(Instruction::Store {
                size,
                base,
                offset,
                src,
            })
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
            Ok(Instruction::Atomic {
                width,
                op,
                base,
                offset,
                src,
            })
        }
        _ => Err(Malformed::Opcode),
    }
}

/// Section 5.4, and 5.5 refused.
fn decode_wide(slot: Slot, next: Option<Slot>) -> Result<Instruction, Malformed> {
    if slot.opcode() != op::LDDW {
        let mode = slot.opcode() & 0xe0;
        let is_legacy = mode == isa::ABS || mode == isa::IND;
        return Err(if is_legacy {
            Malformed::Legacy
        } else {
            Malformed::Opcode
        });
    }
    unused(slot, &[Field::Offset])?;
    let next = next
        .filter(|next| next.0 as u32 == 0)
        .ok_or(Malformed::WideSecond)?;
    let (low, high) = (slot.imm() as u32, next.imm() as u32);
    let value = match slot.src() {
        wide::CONST => WideValue::Number(u64::from(low) | u64::from(high) << 32),
        wide::SCRATCH if high == 0 => WideValue::Scratch { offset: low },
        wide::MAP if high == 0 => WideValue::Map { index: low },
        wide::MAP_VALUE => WideValue::MapValue {
            index: low,
            offset: high,
        },
        wide::SCRATCH | wide::MAP => return Err(Malformed::WideSecond),
        src => return Err(Malformed::WideSource { src }),
    };
    Ok(Instruction::LoadWide {
        dst: written(slot)?,
        value,
    })
}
