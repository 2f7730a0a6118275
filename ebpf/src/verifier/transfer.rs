//! What each instruction makes of a state.
//!
//! Whatever is wrong is noted, and the state goes on as one in which everything may have happened:
//! only the last pass, which knows most, tells of it.

use super::canary::{Rule, is_out};
use super::environment::Environment;
use super::refusal::{Refusal, RefusalKind};
use super::scalar::Scalar;
use super::slack;
use super::span::Span;
use super::state::State;
use super::value::{Kind, Unusable, Value};
use crate::image::EntryKind;
use crate::instruction::{AluOp, Instruction, Operand, Register, Size, WideValue, Width};
use crate::memory::{MapIndex, RegionId};

/// What was found of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) register: Register,
    /// What is known of the register.
    pub(super) value: Value,
    pub(super) region: RegionId,
    /// Where it can start.
    pub(super) at: Span<i64>,
    /// How many bytes there are to start at, where that is one number.
    pub(super) bytes: Option<u32>,
    /// It lies inside wherever it starts.
    pub(super) proved: bool,
}

/// One instruction on its way through a state.
pub(super) struct Transfer<'a> {
    pub(super) state: &'a mut State,
    pub(super) environment: &'a Environment,
    pub(super) entry: EntryKind,
    pub(super) pc: u32,
    /// What is wrong.
    pub(super) refusal: Option<Refusal>,
    /// What was found of its access to memory.
    pub(super) seen: Option<Seen>,
    /// Nothing comes behind it: its access would always fail.
    pub(super) stops: bool,
}

pub(super) const R0: Register = register(0);

pub(super) const fn register(number: u8) -> Register {
    match Register::new(number) {
        Some(register) => register,
        None => Register::FRAME,
    }
}

impl Transfer<'_> {
    /// Any instruction but jumps, local calls and exits.
    pub(super) fn apply(&mut self, instruction: &Instruction) {
        match *instruction {
            Instruction::Alu {
                width,
                op,
                dst,
                src,
            } => self.alu(width, op, dst, src),
            Instruction::Negate { width, dst } => self.compute(dst, dst, |it| it.negate(width)),
            Instruction::MoveSigned {
                width,
                from,
                dst,
                src,
            } => self.compute(dst, src, |it| it.move_signed(width, from)),
            Instruction::Swap { order, size, dst } => {
                self.compute(dst, dst, |it| it.swapped(order, size));
            }
            Instruction::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => self.load(size, signed, dst, base, offset),
            Instruction::Store {
                size,
                base,
                offset,
                src,
            } => self.store(size, base, offset, src),
            Instruction::Atomic {
                width,
                op,
                base,
                offset,
                src,
            } => self.atomic(width, op, base, offset, src),
            Instruction::LoadWide { dst, value } => self.load_wide(dst, value),
            Instruction::CallHelper { id } => self.call_helper(id),
            Instruction::Jump { .. }
            | Instruction::JumpIf { .. }
            | Instruction::CallLocal { .. }
            | Instruction::Exit => {}
        }
    }

    /// Notes what is wrong, if nothing was before.
    pub(super) fn refuse(&mut self, why: RefusalKind, register: Option<Register>) {
        if self.refusal.is_none() {
            let mut refusal = Refusal::new(self.pc, why, &self.state.trail);
            refusal.register = register.map(|it| (it, self.state.get(it).known()));
            self.refusal = Some(refusal);
        }
    }

    /// Nothing is known of a register any more.
    pub(super) fn lose(&mut self, register: Register) {
        self.state.set(register, Value::unusable(Unusable::Mixed));
    }

    /// The number in a register.
    pub(super) fn number(&mut self, register: Register) -> Option<Scalar> {
        let value = self.state.get(register);
        match value.kind {
            Kind::Number => return Some(value.number),
            Kind::Unusable(_) => self.refuse(RefusalKind::Unusable, Some(register)),
            _ => self.refuse(RefusalKind::NotANumber, Some(register)),
        }
        None
    }

    fn compute(&mut self, dst: Register, src: Register, f: impl Fn(&Scalar) -> Scalar) {
        match self.number(src) {
            Some(number) => self.state.set(dst, Value::number(f(&number))),
            None => self.lose(dst),
        }
    }

    /// The value of an operand, related to the register that it comes from.
    pub(super) fn operand(&mut self, width: Width, operand: Operand) -> Value {
        match (operand, width) {
            (Operand::Register(register), _) => self.state.share(register),
            (Operand::Immediate(number), Width::Bits64) => Value::constant(number as u64),
            (Operand::Immediate(number), Width::Bits32) => {
                Value::constant(u64::from(number as u32))
            }
        }
    }

    fn alu(&mut self, width: Width, op: AluOp, dst: Register, src: Operand) {
        let b = self.operand(width, src);
        if b.is_unusable() {
            let Operand::Register(src) = src else {
                return;
            };
            self.refuse(RefusalKind::Unusable, Some(src));
            return self.lose(dst);
        }
        if op == AluOp::Mov {
            return self.copy(width, dst, b);
        }
        let a = self.state.get(dst);
        let result = match (a.kind, b.kind) {
            (Kind::Unusable(_), _) => {
                self.refuse(RefusalKind::Unusable, Some(dst));
                None
            }
            (Kind::Number, Kind::Number) => Some(arithmetic(width, op, &a, &b)),
            _ => {
                let result = pointer_arithmetic(width, op, &a, &b);
                if result.is_none() {
                    let why = if a.is_null_or_value() || b.is_null_or_value() {
                        RefusalKind::MaybeNull
                    } else {
                        RefusalKind::PointerArithmetic
                    };
                    self.refuse(why, Some(dst));
                }
                result
            }
        };
        match result {
            Some(value) => self.state.set(dst, value),
            None => self.lose(dst),
        }
    }

    fn copy(&mut self, width: Width, dst: Register, value: Value) {
        let whole = width == Width::Bits64 || value.number.fits_32();
        match (value.kind, width) {
            (Kind::Number, _) if whole => self.state.set(dst, value),
            (Kind::Number, _) => {
                let number = value.number.truncated(Size::Word);
                self.state.set(dst, Value::number(number));
            }
            (_, Width::Bits64) => self.state.set(dst, value),
            (_, Width::Bits32) => {
                self.refuse(RefusalKind::PointerArithmetic, Some(dst));
                self.lose(dst);
            }
        }
    }

    fn load_wide(&mut self, dst: Register, value: WideValue) {
        match value {
            WideValue::Number(number) => self.state.set(dst, Value::constant(number)),
            WideValue::Scratch { offset } => {
                let offset = Scalar::constant(u64::from(offset));
                let value = Value::pointer(RegionId::Scratch, offset);
                self.state.set(dst, value);
            }
            WideValue::Map { index } => match self.map(index) {
                Some(map) => self.state.set(dst, Value::map(map)),
                None => {
                    self.refuse(RefusalKind::NoMap { index }, None);
                    self.lose(dst);
                }
            },
            WideValue::MapValue { index, offset } => self.load_global(dst, index, offset),
        }
    }

    fn map(&self, index: u32) -> Option<MapIndex> {
        MapIndex::new(index).filter(|&map| self.environment.map(map).is_some())
    }

    /// The address of something in a map of which each value's place is known.
    fn load_global(&mut self, dst: Register, index: u32, offset: u32) {
        let map = self.map(index);
        let Some(map) = map.filter(|&map| self.environment.is_array(map)) else {
            let why = match map {
                Some(_) => RefusalKind::NotGlobal { index },
                None => RefusalKind::NoMap { index },
            };
            self.refuse(why, None);
            return self.lose(dst);
        };
        let offset = Scalar::constant(u64::from(offset));
        self.state
            .set(dst, Value::pointer(RegionId::Map(map), offset));
    }

    /// The end of the program.
    pub(super) fn result(&mut self) {
        match self.state.get(R0).kind {
            Kind::Number => {}
            Kind::Unusable(_) => self.refuse(RefusalKind::Unusable, Some(R0)),
            _ => self.refuse(RefusalKind::PointerResult, Some(R0)),
        }
    }
}

/// `a op b` of numbers.
fn arithmetic(width: Width, op: AluOp, a: &Value, b: &Value) -> Value {
    let number = Scalar::alu(width, op, &a.number, &b.number);
    let mut result = Value::number(number).with_slack(slack::of_result(width, op, a, b));
    let Some(constant) = b.number.single() else {
        if is_out(Rule::Relation) {
            (result.id, result.delta) = (a.id, a.delta);
        }
        return result;
    };
    let by = match op {
        AluOp::Add => constant,
        AluOp::Sub => constant.wrapping_neg(),
        // A mask that takes nothing away.
        AluOp::And if a.number.bits().max() & !constant == 0 => 0,
        _ => return result,
    };
    // The lower half takes part in the relation if nothing is carried out of it.
    let by = if width == Width::Bits32 {
        let signed = i64::from(by as u32 as i32);
        let span = a.number.unsigned();
        let carried = |number: u64| u32::try_from(number as i64 + signed).is_err();
        if !a.number.fits_32() || carried(span.min) || carried(span.max) {
            return result;
        }
        signed as u64
    } else {
        by
    };
    if a.id != 0 {
        (result.id, result.delta) = (a.id, a.delta.wrapping_add(by));
    }
    result
}

/// `a op b` where at least one is a pointer; `None` if that is not allowed.
fn pointer_arithmetic(width: Width, op: AluOp, a: &Value, b: &Value) -> Option<Value> {
    if width == Width::Bits32 {
        return None;
    }
    if a.is_null_or_value() || b.is_null_or_value() {
        return None;
    }
    let slack = slack::of_result(width, op, a, b);
    match (a.kind, b.kind, op) {
        (Kind::Pointer(_) | Kind::MapValue { .. }, Kind::Number, AluOp::Add) => {
            Some(moved(a, b).with_slack(slack))
        }
        (Kind::Number, Kind::Pointer(_) | Kind::MapValue { .. }, AluOp::Add) => {
            Some(moved(b, a).with_slack(slack))
        }
        (Kind::Pointer(_) | Kind::MapValue { .. }, Kind::Number, AluOp::Sub) => {
            let number = Scalar::alu(width, AluOp::Sub, &a.number, &b.number);
            let mut result = a.with_number(number).with_slack(slack);
            if let Some(constant) = b.number.single()
                && a.id != 0
            {
                (result.id, result.delta) = (a.id, a.delta.wrapping_sub(constant));
            }
            Some(result)
        }
        (Kind::Pointer(one), Kind::Pointer(other), AluOp::Sub) if one == other => {
            let number = Scalar::alu(width, AluOp::Sub, &a.number, &b.number);
            Some(Value::number(number).with_slack(slack))
        }
        (
            Kind::MapValue { map, lookup, .. },
            Kind::MapValue {
                map: other,
                lookup: other_lookup,
                ..
            },
            AluOp::Sub,
        ) if map == other => {
            let number = Scalar::alu(width, AluOp::Sub, &a.number, &b.number);
            let same = lookup != 0 && lookup == other_lookup;
            Some(Value::number(if same { number } else { Scalar::UNKNOWN }))
        }
        // Low bits are set or cleared, as compilers do of what is aligned: an address is its
        // region's, whose low half is zero, and the offset.
        (Kind::Pointer(_), Kind::Number, AluOp::Or | AluOp::And) => {
            let constant = b.number.single()?;
            let upper = constant >> 32;
            let keeps = upper
                == if op == AluOp::Or {
                    0
                } else {
                    u64::from(u32::MAX)
                };
            if !keeps || !a.number.fits_32() {
                return None;
            }
            Some(a.with_number(Scalar::alu(width, op, &a.number, &b.number)))
        }
        _ => None,
    }
}

/// A pointer moved by a number.
fn moved(pointer: &Value, number: &Value) -> Value {
    let sum = Scalar::alu(Width::Bits64, AluOp::Add, &pointer.number, &number.number);
    let mut result = pointer.with_number(sum);
    if let Some(constant) = number.number.single() {
        if pointer.id != 0 {
            (result.id, result.delta) = (pointer.id, pointer.delta.wrapping_add(constant));
        }
    } else if let Some(start) = pointer.number.single()
        && number.id != 0
    {
        (result.id, result.delta) = (number.id, number.delta.wrapping_add(start));
    }
    result
}
