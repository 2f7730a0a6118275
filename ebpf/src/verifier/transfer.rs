//! What each instruction makes of a state.
//!
//! Whatever is wrong is noted, and the state goes on as one in which everything may have happened:
//! only the last pass, which knows most, tells of it.

use super::environment::{Argument, Environment, HelperSignature, Length, has_data, is_writable};
use super::refusal::{Refusal, RefusalKind};
use super::scalar::Scalar;
use super::span::Span;
use super::state::State;
use super::value::{Kind, Unusable, Value};
use crate::image::EntryKind;
use crate::instruction::{
    AluOp, AtomicOp, Condition, Instruction, Operand, Register, Size, WideValue, Width,
};
use crate::limits::{REGION_BYTES_MAX, STACK_BYTES};
use crate::memory::{RegionId, Right};

/// What was found of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) register: Register,
    /// What is known of the register.
    pub(super) value: Value,
    pub(super) region: RegionId,
    /// Where it can start.
    pub(super) at: Span<i64>,
    /// It lies inside wherever it starts.
    pub(super) proved: bool,
}

/// The place of an access.
#[derive(Clone, Copy)]
struct Place {
    region: RegionId,
    at: Span<i64>,
    len: u32,
    proved: bool,
    /// No such address is in another region.
    confined: bool,
}

impl Place {
    /// The bytes of the stack that it may touch.
    fn stack_bytes(&self) -> (usize, usize) {
        let bytes = STACK_BYTES as i64;
        let start = self.at.min.clamp(0, bytes);
        let end = self.at.max.clamp(0, bytes) + i64::from(self.len);
        (start as usize, end.min(bytes) as usize)
    }

    /// The byte of the stack that it starts at, if it is one and no other.
    fn stack_byte(&self) -> Option<usize> {
        let at = self.at.single().filter(|_| self.proved)?;
        usize::try_from(at).ok()
    }
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

const R0: Register = register(0);

const fn register(number: u8) -> Register {
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
            refusal.register = register.map(|it| (it, self.state.get(it)));
            self.refusal = Some(refusal);
        }
    }

    /// Nothing is known of a register any more.
    fn lose(&mut self, register: Register) {
        self.state.set(register, Value::unusable(Unusable::Mixed));
    }

    /// The number in a register.
    fn number(&mut self, register: Register) -> Option<Scalar> {
        let value = self.state.get(register);
        match value.kind {
            Kind::Number => return Some(value.number),
            Kind::Unusable(_) => self.refuse(RefusalKind::Unusable, Some(register)),
            Kind::Pointer(_) => self.refuse(RefusalKind::NotANumber, Some(register)),
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
    fn operand(&mut self, width: Width, operand: Operand) -> Value {
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
                    self.refuse(RefusalKind::PointerArithmetic, Some(dst));
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
            WideValue::Map { .. } | WideValue::MapValue { .. } => {
                self.refuse(RefusalKind::NoMaps, None);
                self.lose(dst);
            }
        }
    }

    /// Looks at an access: what it touches, and whether that is proved.
    fn access(&mut self, base: Register, offset: i16, len: u32, right: Right) -> Option<Place> {
        let value = self.state.get(base);
        let region = match value.kind {
            Kind::Pointer(region) => region,
            Kind::Number => {
                self.refuse(RefusalKind::NotAPointer, Some(base));
                return None;
            }
            Kind::Unusable(_) => {
                self.refuse(RefusalKind::Unusable, Some(base));
                return None;
            }
        };
        if right == Right::Write && !is_writable(region) {
            self.refuse(RefusalKind::ReadOnly { region }, Some(base));
            return None;
        }
        let place = self.place(region, &value.number, i64::from(offset), len);
        let bytes = self.environment.bytes_max(region);
        let bottom = self.bottom(region);
        if place.at.max < bottom || place.at.min.saturating_add(i64::from(len)) > i64::from(bytes) {
            let why = RefusalKind::Outside {
                region,
                len,
                bytes,
                right,
            };
            self.refuse(why, Some(base));
            return None;
        }
        self.seen = Some(Seen {
            register: base,
            value,
            region,
            at: place.at,
            proved: place.proved,
        });
        if !place.proved && place.confined {
            // It goes on only if it was inside.
            let (low, offset) = (-i64::from(offset), i64::from(offset));
            let high = i64::from(bytes) - i64::from(len) - offset;
            let inside = Scalar::signed_range(low, high);
            self.stops |= !self.state.learn(base, &inside);
        }
        Some(place)
    }

    fn bottom(&self, region: RegionId) -> i64 {
        if region == RegionId::Stack {
            self.state.frame_bottom() as i64
        } else {
            0
        }
    }

    fn place(&self, region: RegionId, number: &Scalar, offset: i64, len: u32) -> Place {
        // What wraps is nowhere in particular.
        let at = number.signed().wrapping_add(Span::one(offset));
        let end = at.max.saturating_add(i64::from(len));
        let bytes = self.environment.bytes(region);
        let proved = bytes.is_some_and(|bytes| {
            at.min >= self.bottom(region) && at.max >= at.min && end <= i64::from(bytes)
        });
        // Addresses of a region are 2^32 apart from the next one's, and it has less than 2^30.
        let apart = 1_i64 << 32;
        let confined = at.min > REGION_BYTES_MAX as i64 - apart && end <= apart;
        Place {
            region,
            at,
            len,
            proved,
            confined,
        }
    }

    fn load(&mut self, size: Size, signed: bool, dst: Register, base: Register, offset: i16) {
        let len = size.bytes() as u32;
        let Some(place) = self.access(base, offset, len, Right::Read) else {
            return self.lose(dst);
        };
        let loaded = match place.region {
            RegionId::Stack => self.load_stack(&place, base),
            RegionId::Context => self.load_context(&place, base),
            _ => Some(Value::number(Scalar::UNKNOWN.truncated(size))),
        };
        match loaded {
            Some(value) if signed => {
                let number = value.number.sign_extended(size);
                self.state.set(dst, value.with_number(number));
            }
            Some(value) => self.state.set(dst, value),
            None => self.lose(dst),
        }
    }

    fn load_stack(&mut self, place: &Place, base: Register) -> Option<Value> {
        let (start, end) = place.stack_bytes();
        if !self.state.stack.is_initialised(start, end) {
            self.refuse_stack(place, base);
            return None;
        }
        let len = place.len as usize;
        let unknown = Value::number(cut(&Scalar::UNKNOWN, len));
        let Some(at) = place.stack_byte() else {
            if self.state.stack.holds_pointer(start, end) {
                self.refuse(RefusalKind::PartOfPointer, Some(base));
                return None;
            }
            return Some(unknown);
        };
        let fresh = self.state.new_id();
        if let Some(cell) = self.state.stack.cell_mut(at, len) {
            if cell.value.id == 0 && cell.value.number.single().is_none() {
                (cell.value.id, cell.value.delta) = (fresh, 0);
            }
            return Some(cell.value);
        }
        if self.state.stack.holds_pointer(start, end) {
            self.refuse(RefusalKind::PartOfPointer, Some(base));
            return None;
        }
        if let Some(cell) = self.state.stack.cell_at(at)
            && usize::from(cell.len) > len
        {
            return Some(Value::number(cut(&cell.value.number, len)));
        }
        // What is loaded again is the same.
        let value = Value {
            id: fresh,
            ..unknown
        };
        let kept = !self.state.stack.touches_cell(start, end)
            && self.state.stack.insert(at, len, value).is_ok();
        Some(if kept { value } else { unknown })
    }

    fn refuse_stack(&mut self, place: &Place, base: Register) {
        let why = match place.stack_byte() {
            Some(at) => {
                let top = STACK_BYTES - self.state.depth as usize * crate::limits::FRAME_BYTES;
                let offset = at as i32 - top as i32;
                RefusalKind::StackNotWritten { offset }
            }
            None => RefusalKind::StackPlaceUnknown,
        };
        self.refuse(why, Some(base));
    }

    fn load_context(&mut self, place: &Place, base: Register) -> Option<Value> {
        let len = place.len;
        let unknown = Value::number(cut(&Scalar::UNKNOWN, len as usize));
        let Some(at) = place.at.single().filter(|_| place.proved) else {
            if self.environment.context.pointers.is_empty() {
                return Some(unknown);
            }
            self.refuse(RefusalKind::PartOfPointer, Some(base));
            return None;
        };
        let Some(pointer) = self.environment.context_pointer(at as u32, len) else {
            return Some(unknown);
        };
        let (start, end) = (i64::from(pointer.offset), i64::from(pointer.offset) + 8);
        let is_zero = pointer.region == RegionId::Data && !has_data(self.entry);
        if is_zero && at >= start && at + i64::from(len) <= end {
            return Some(Value::constant(0));
        }
        if at != start || len != 8 {
            self.refuse(RefusalKind::PartOfPointer, Some(base));
            return None;
        }
        let most = u64::from(self.environment.bytes_max(pointer.region));
        let offset = match (pointer.end, self.environment.bytes(pointer.region)) {
            (false, _) => Scalar::constant(0),
            (true, Some(bytes)) => Scalar::constant(u64::from(bytes)),
            (true, None) => Scalar::range(0, most),
        };
        Some(Value::pointer(pointer.region, offset))
    }

    /// After a store nobody knows where of nobody knows what.
    fn lose_stack(&mut self) {
        self.state.stack.lose();
    }

    fn store(&mut self, size: Size, base: Register, offset: i16, src: Operand) {
        let len = size.bytes() as u32;
        let value = self.operand(Width::Bits64, src);
        let usable = !value.is_unusable();
        if !usable && let Operand::Register(src) = src {
            self.refuse(RefusalKind::Unusable, Some(src));
        }
        let place = self.access(base, offset, len, Right::Write);
        let Some(place) = place.filter(|_| usable) else {
            return self.lose_stack();
        };
        if value.is_pointer() && !self.may_keep_pointer(&place, base) {
            return self.lose_stack();
        }
        // What is not confined is held to its region when it runs.
        if place.region != RegionId::Stack {
            return;
        }
        let Some(at) = place.stack_byte() else {
            let (start, end) = place.stack_bytes();
            return self.state.stack.forget(start, end);
        };
        let number = cut(&value.number, len as usize);
        let stored = if number == value.number {
            value
        } else {
            Value::number(number)
        };
        if self.state.stack.put(at, len as usize, stored).is_err() {
            self.refuse(RefusalKind::TooManyCells, None);
        }
    }

    /// A pointer belongs into registers and at known places of the stack.
    fn may_keep_pointer(&mut self, place: &Place, base: Register) -> bool {
        let region = place.region;
        if region != RegionId::Stack {
            self.refuse(RefusalKind::PointerLeak { region }, Some(base));
            return false;
        }
        let sound = place.len == 8 && place.stack_byte().is_some_and(|at| at % 8 == 0);
        if !sound {
            self.refuse(RefusalKind::PointerPlace, Some(base));
        }
        sound
    }

    fn atomic(&mut self, width: Width, op: AtomicOp, base: Register, offset: i16, src: Register) {
        let len = if width == Width::Bits32 { 4 } else { 8 };
        let usable = self.number(src).is_some()
            && (op != AtomicOp::CompareExchange || self.number(R0).is_some());
        let place = self.access(base, offset, len, Right::Write);
        let fetched = Value::number(cut(&Scalar::UNKNOWN, len as usize));
        match place.filter(|_| usable) {
            Some(place) if place.region == RegionId::Stack => {
                let (start, end) = place.stack_bytes();
                if !self.state.stack.is_initialised(start, end) {
                    self.refuse_stack(&place, base);
                } else if self.state.stack.holds_pointer(start, end) {
                    self.refuse(RefusalKind::PartOfPointer, Some(base));
                }
                self.state.stack.forget(start, end);
            }
            Some(_) => {}
            None => self.lose_stack(),
        }
        if op.writes_source() {
            self.state.set(src, fetched);
        } else if op == AtomicOp::CompareExchange {
            self.state.set(R0, fetched);
        }
    }

    fn call_helper(&mut self, id: u32) {
        match self.environment.helper(id) {
            Some(helper) => self.call_known(helper),
            None => {
                self.refuse(RefusalKind::UnknownHelper { helper: id }, None);
                self.lose_stack();
                self.lose(R0);
            }
        }
        self.state.lose_arguments();
    }

    fn call_known(&mut self, helper: &HelperSignature) {
        let mut all_inside = true;
        let mut written: heapless::Vec<(usize, usize), 5> = heapless::Vec::new();
        for (index, argument) in (0_u8..).zip(helper.arguments) {
            let holder = register(index + 1);
            let (length, right, pointers) = match argument {
                Argument::Unused => continue,
                Argument::Number => {
                    let _ = self.number(holder);
                    continue;
                }
                Argument::Read { length, pointers } => (length, Right::Read, pointers),
                Argument::Write(length) | Argument::Device(length) => (length, Right::Write, false),
            };
            let Some(place) = self.buffer(index, argument, right, pointers) else {
                self.lose_stack();
                continue;
            };
            let length = self.length(length);
            if place.region == RegionId::Stack {
                match self.stack_buffer(&place, index, &length, right, pointers) {
                    Some(range) if right == Right::Write => {
                        let _ = written.push(range);
                    }
                    Some(_) => {}
                    None => self.lose_stack(),
                }
                continue;
            }
            let most = i64::try_from(length.max).unwrap_or(i64::MAX);
            let end = place.at.max.saturating_add(most);
            let bytes = self.environment.bytes(place.region);
            let inside = place.at.min >= 0 && bytes.is_some_and(|it| end <= i64::from(it));
            all_inside &= inside;
        }
        for (start, end) in written {
            self.state.stack.forget(start, end);
            // A helper that fails writes nothing.
            if all_inside {
                self.state.stack.mark(start, end, true);
            }
        }
        let result = Scalar::signed_range(helper.result_min, helper.result_max);
        self.state.set(R0, Value::number(result));
    }

    /// Where a buffer starts, if it may be in that region.
    fn buffer(
        &mut self,
        index: u8,
        argument: Argument,
        right: Right,
        pointers: bool,
    ) -> Option<Place> {
        let holder = register(index + 1);
        let value = self.state.get(holder);
        let region = match value.kind {
            Kind::Pointer(region) => region,
            Kind::Number => {
                self.refuse(RefusalKind::NotAPointer, Some(holder));
                return None;
            }
            Kind::Unusable(_) => {
                self.refuse(RefusalKind::Unusable, Some(holder));
                return None;
            }
        };
        if right == Right::Write && !is_writable(region) {
            self.refuse(RefusalKind::ReadOnly { region }, Some(holder));
            return None;
        }
        let device = matches!(argument, Argument::Device(_));
        // The context holds pointers, which are not to be copied.
        let leaks = region == RegionId::Context && !pointers;
        if (device && region != RegionId::Scratch) || leaks {
            let argument = index + 1;
            let why = RefusalKind::BufferRegion { argument, region };
            self.refuse(why, Some(holder));
            return None;
        }
        let place = self.place(region, &value.number, 0, 0);
        if !place.confined {
            // The helper looks at the address alone: it would take another region's bytes.
            let argument = index + 1;
            self.refuse(RefusalKind::BufferStrays { argument }, Some(holder));
            return None;
        }
        Some(place)
    }

    /// How many bytes a helper will be about.
    fn length(&self, length: Length) -> Span<u64> {
        match length {
            Length::Bytes(bytes) => Span::one(u64::from(bytes)),
            Length::Argument { index, unit } => {
                let value = self.state.get(register(index + 1));
                let low = value.number.unsigned32();
                let bytes = |number: u32| u64::from(number) * u64::from(unit);
                Span::new(bytes(low.min), bytes(low.max))
            }
        }
    }

    fn stack_buffer(
        &mut self,
        place: &Place,
        index: u8,
        length: &Span<u64>,
        right: Right,
        pointers: bool,
    ) -> Option<(usize, usize)> {
        let holder = register(index + 1);
        let (Some(at), Some(len)) = (place.at.single(), length.single()) else {
            let argument = index + 1;
            self.refuse(RefusalKind::BufferPlace { argument }, Some(holder));
            return None;
        };
        let end = at.saturating_add(i64::try_from(len).unwrap_or(i64::MAX));
        if at < self.state.frame_bottom() as i64 || end > STACK_BYTES as i64 {
            let why = RefusalKind::Outside {
                region: RegionId::Stack,
                len: u32::try_from(len).unwrap_or(u32::MAX),
                bytes: STACK_BYTES as u32,
                right,
            };
            self.refuse(why, Some(holder));
            return None;
        }
        let (start, end) = (at as usize, end as usize);
        if right == Right::Read {
            if !self.state.stack.is_initialised(start, end) {
                self.refuse_stack(place, holder);
                return None;
            }
            if !pointers && self.state.stack.holds_pointer(start, end) {
                self.refuse(RefusalKind::PartOfPointer, Some(holder));
                return None;
            }
        }
        Some((start, end))
    }

    /// What a conditional jump says where `holds` is how it turned out; `false` if it cannot have.
    pub(super) fn branch(
        &mut self,
        width: Width,
        condition: Condition,
        dst: Register,
        src: Operand,
        holds: bool,
    ) -> bool {
        let a = self.state.get(dst);
        let b = self.operand(width, src);
        if a.is_unusable() || b.is_unusable() {
            let source = match src {
                Operand::Register(src) if b.is_unusable() => src,
                _ => dst,
            };
            self.refuse(RefusalKind::Unusable, Some(source));
            return true;
        }
        let condition = match (a.kind, b.kind) {
            (Kind::Number, Kind::Number) => condition,
            (Kind::Pointer(one), Kind::Pointer(other))
                if one == other && width == Width::Bits64 && condition != Condition::AnyBit =>
            {
                match ordered_as(condition, &a.number, &b.number) {
                    Some(condition) => condition,
                    None => return true,
                }
            }
            (Kind::Pointer(_), Kind::Number) if is_null_test(width, condition, &b) => {
                let equal = (condition == Condition::Equal) == holds;
                return !(equal && is_near(&a.number));
            }
            (Kind::Number, Kind::Pointer(_)) if is_null_test(width, condition, &a) => {
                let equal = (condition == Condition::Equal) == holds;
                return !(equal && is_near(&b.number));
            }
            _ => {
                self.refuse(RefusalKind::Comparison, Some(dst));
                return true;
            }
        };
        let refined = Scalar::refine(width, condition, holds, &a.number, &b.number);
        let Some((of_dst, of_src)) = refined else {
            return false;
        };
        let possible = self.state.learn(dst, &of_dst);
        match src {
            Operand::Register(src) => possible && self.state.learn(src, &of_src),
            Operand::Immediate(_) => possible,
        }
    }

    /// The end of the program.
    pub(super) fn result(&mut self) {
        match self.state.get(R0).kind {
            Kind::Number => {}
            Kind::Pointer(_) => self.refuse(RefusalKind::PointerResult, Some(R0)),
            Kind::Unusable(_) => self.refuse(RefusalKind::Unusable, Some(R0)),
        }
    }
}

/// The lowest `len` bytes of a number.
fn cut(number: &Scalar, len: usize) -> Scalar {
    number.truncated(match len {
        1 => Size::Byte,
        2 => Size::Half,
        4 => Size::Word,
        _ => Size::Double,
    })
}

/// True if an address that far from its region's start cannot be 0.
fn is_near(offset: &Scalar) -> bool {
    let near = Span::new(-(1_i64 << 31), 1 << 31);
    near.includes(offset.signed())
}

fn is_null_test(width: Width, condition: Condition, other: &Value) -> bool {
    width == Width::Bits64
        && matches!(condition, Condition::Equal | Condition::NotEqual)
        && other.number.single() == Some(0)
}

/// How offsets compare where the addresses of one region do so; `None` if that says nothing.
fn ordered_as(condition: Condition, a: &Scalar, b: &Scalar) -> Option<Condition> {
    // Such addresses do not wrap, and are positive as signed numbers.
    let plain = Span::new(-(1_i64 << 32), 1 << 48);
    if !plain.includes(a.signed()) || !plain.includes(b.signed()) {
        return matches!(condition, Condition::Equal | Condition::NotEqual).then_some(condition);
    }
    Some(match condition {
        Condition::Greater => Condition::SignedGreater,
        Condition::GreaterOrEqual => Condition::SignedGreaterOrEqual,
        Condition::Less => Condition::SignedLess,
        Condition::LessOrEqual => Condition::SignedLessOrEqual,
        other => other,
    })
}

/// `a op b` of numbers.
fn arithmetic(width: Width, op: AluOp, a: &Value, b: &Value) -> Value {
    let number = Scalar::alu(width, op, &a.number, &b.number);
    let mut result = Value::number(number);
    let Some(constant) = b.number.single() else {
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
    match (a.kind, b.kind, op) {
        (Kind::Pointer(_), Kind::Number, AluOp::Add) => Some(moved(a, b)),
        (Kind::Number, Kind::Pointer(_), AluOp::Add) => Some(moved(b, a)),
        (Kind::Pointer(_), Kind::Number, AluOp::Sub) => {
            let number = Scalar::alu(width, AluOp::Sub, &a.number, &b.number);
            let mut result = a.with_number(number);
            if let Some(constant) = b.number.single()
                && a.id != 0
            {
                (result.id, result.delta) = (a.id, a.delta.wrapping_sub(constant));
            }
            Some(result)
        }
        (Kind::Pointer(one), Kind::Pointer(other), AluOp::Sub) if one == other => {
            let number = Scalar::alu(width, AluOp::Sub, &a.number, &b.number);
            Some(Value::number(number))
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
