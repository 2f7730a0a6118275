//! The steps that programs are made of: arithmetic, accesses, pointers, spills, helpers.

use ebpf::RegionId;
use ebpf::instruction::{
    AluOp, AtomicOp, Condition, Instruction, Operand, Size, SwapOrder, WideValue, Width,
};
use ebpf::maps::BPF_F_RDONLY_PROG;

use super::holds::{Holds, Place, SLOTS, Where};
use super::{R10, Writer, r};
use crate::helpers::{
    COMPARE, COPY, EMIT, END, FILL, MAP_DELETE, MAP_LOOKUP, MAP_UPDATE, READ, READ_VECTOR, SMALL,
    SUM, TIME,
};
use crate::setting::{CONTEXT_BYTES, MAPS};
use crate::source::Source;

/// Offsets of the context's pointers, and where they lead.
const FIELDS: [(i32, Where); 4] = [
    (0, Where::Arguments),
    (8, Where::Reply),
    (16, Where::Data),
    (24, Where::DataEnd),
];

/// Maps of which a program may name a value by its address.
const GLOBALS: [u8; 3] = [0, 3, 4];

impl<S: Source> Writer<'_, S> {
    /// A step without jumps.
    pub(super) fn plain_step(&mut self) {
        match self.source.below(36) {
            0..6 => self.compute(),
            6..8 => {
                self.bound();
            }
            8 => self.convert(),
            9..12 => self.load_somewhere(),
            12..14 => self.store_somewhere(),
            14..19 => self.indexed(),
            19..21 => {
                let dst = self.free();
                self.fetch(dst);
            }
            21..23 => self.spill(),
            23 => self.fill(),
            24 => self.store_on_stack(),
            25 => self.load_from_stack(),
            26..28 => self.atomic(),
            28 => self.pointer_distance(),
            29 => {
                let dst = self.free();
                self.set_number(dst);
            }
            30 => self.blurred_slot(),
            31 => self.related_index(),
            32 if self.setting.maps => self.map_call(),
            33 if self.setting.maps => self.value_for_helper(),
            _ => self.helper(),
        }
    }

    fn compute(&mut self) {
        let (width, src) = (self.width(), self.operand());
        let op = self.source.of(&AluOp::ALL);
        let dst = self.free_number();
        self.alu(width, op, dst, src);
        self.frame.set(dst, Holds::UNKNOWN);
    }

    /// Makes a number small.
    pub(super) fn bound(&mut self) -> u8 {
        let (width, dst) = (self.width(), self.free_number());
        let small = self.source.of(&[1, 3, 4, 7, 8, 12, 15, 24, 31, 33]);
        let (op, imm, most) = match self.source.below(4) {
            0 => (AluOp::Mod, small, small - 1),
            1 => {
                let by = self.source.between(1, 6);
                let bits = if width == Width::Bits32 { 32 } else { 64 };
                (AluOp::Rsh, bits - by, (1 << by) - 1)
            }
            _ => (AluOp::And, small, small),
        };
        self.alu(width, op, dst, Operand::Immediate(imm));
        self.frame.set(dst, Holds::constant(most));
        dst
    }

    fn convert(&mut self) {
        let (width, dst) = (self.width(), self.free_number());
        let src = r(self.number());
        let sizes = if width == Width::Bits32 { 2 } else { 3 };
        let from = [Size::Byte, Size::Half, Size::Word][self.source.below(sizes) as usize];
        let size = self.source.of(&[Size::Half, Size::Word, Size::Double]);
        let order = self
            .source
            .of(&[SwapOrder::Little, SwapOrder::Big, SwapOrder::Swap]);
        let dst_register = r(dst);
        let instruction = match self.source.below(3) {
            0 => Instruction::Negate {
                width,
                dst: dst_register,
            },
            1 => Instruction::MoveSigned {
                width,
                from,
                dst: dst_register,
                src,
            },
            _ => Instruction::Swap {
                order,
                size,
                dst: dst_register,
            },
        };
        self.emit(instruction);
        self.frame.set(dst, Holds::UNKNOWN);
    }

    /// Bytes of what a pointer leads to, 0 if nobody knows.
    pub(super) fn bytes_of(&self, where_: Where) -> i32 {
        let bytes = match where_ {
            Where::Context => CONTEXT_BYTES,
            Where::Arguments => self.setting.args_bytes,
            Where::Reply => self.setting.reply_bytes,
            Where::Data | Where::DataEnd => 0,
            Where::Scratch => self.setting.scratch_bytes,
            Where::Stack => 0,
            Where::Caller => 16,
            Where::Map(map) => {
                let spec = &MAPS[usize::from(map)];
                spec.value_bytes.next_multiple_of(8) * spec.entries_max
            }
            Where::Value(map) => MAPS[usize::from(map)].value_bytes,
        };
        bytes as i32
    }

    pub(super) fn is_writable(&self, where_: Where) -> bool {
        match where_ {
            Where::Reply | Where::Scratch | Where::Stack | Where::Caller => true,
            Where::Map(map) | Where::Value(map) => {
                MAPS[usize::from(map)].flags & BPF_F_RDONLY_PROG == 0
            }
            Where::Context | Where::Arguments | Where::Data | Where::DataEnd => false,
        }
    }

    /// A displacement for an access of `len` bytes by a pointer: inside if it can be, often just,
    /// and now and then a byte too far.
    fn displacement(&mut self, place: Place, len: i32) -> i32 {
        let bytes = self.bytes_of(place.where_);
        if place.where_ == Where::DataEnd {
            return -self.source.between(len.min(9), 9.max(len));
        }
        if place.where_ == Where::Stack {
            return -len - place.high.max(-512) - self.source.below(8) as i32;
        }
        let (first, last) = (-place.low.max(-4000), bytes - len - place.high.min(4000));
        let inside = if last < first {
            // There is no place for it, unless what is known is too little.
            first
        } else {
            match self.source.below(4) {
                0 => first,
                1 => last,
                _ => self.source.between(first, last),
            }
        };
        // Where the pointer is surely outside, the program is refused.
        let varies = place.low < place.high;
        match self.source.below(if varies { 16 } else { 200 }) {
            0 => last + 1,
            1 => first - 1,
            _ => inside,
        }
    }

    /// A register with a pointer that is to be read or written by, made if there is none.
    fn pointer(&mut self, write: bool) -> (u8, Place) {
        let setting = self.setting;
        let wanted = |place: Place| {
            let writable = match place.where_ {
                Where::Map(map) | Where::Value(map) => {
                    MAPS[usize::from(map)].flags & BPF_F_RDONLY_PROG == 0
                }
                Where::Reply | Where::Scratch | Where::Caller => true,
                _ => false,
            };
            let bytes = match place.where_ {
                Where::Arguments => setting.args_bytes,
                Where::Reply => setting.reply_bytes,
                Where::Scratch => setting.scratch_bytes,
                _ => u32::MAX,
            };
            // 8 bytes behind what it can point to.
            let roomy = i64::from(place.high) + 8 <= i64::from(bytes);
            let other = place.where_ != Where::Stack && place.where_ != Where::Context;
            other && roomy && (writable || !write)
        };
        let found = self.frame.find(
            self.source,
            |held| matches!(held, Holds::Pointer(place) if wanted(place)),
        );
        if let Some(register) = found
            && let Holds::Pointer(place) = self.frame.get(register)
        {
            return (register, place);
        }
        let dst = self.free();
        self.set_scratch(dst);
        (dst, Place::at(Where::Scratch, 0))
    }

    pub(super) fn set_scratch(&mut self, dst: u8) {
        self.load_wide(dst, WideValue::Scratch { offset: 0 });
        self.frame
            .set(dst, Holds::Pointer(Place::at(Where::Scratch, 0)));
    }

    /// A pointer of the context.
    pub(super) fn fetch_field(&mut self, dst: u8, context: u8) {
        let fields = if self.has_data() { 4 } else { 2 };
        let (offset, where_) = FIELDS[self.source.below(fields) as usize];
        self.load(Size::Double, false, dst, context, offset);
        self.frame.set(dst, Holds::Pointer(Place::at(where_, 0)));
    }

    /// Some pointer.
    pub(super) fn fetch(&mut self, dst: u8) {
        let is_context =
            |held| matches!(held, Holds::Pointer(place) if place == Place::at(Where::Context, 0));
        let context = self.frame.find(self.source, is_context);
        match (self.source.below(6), context) {
            (0..3, Some(context)) => self.fetch_field(dst, context),
            (3, _) if self.setting.maps => {
                let map = self.source.of(&GLOBALS);
                let bytes = self.bytes_of(Where::Map(map));
                let offset = self.source.below(bytes as u32);
                let index = u32::from(map);
                self.load_wide(dst, WideValue::MapValue { index, offset });
                let place = Place::at(Where::Map(map), offset as i32);
                self.frame.set(dst, Holds::Pointer(place));
            }
            (4, _) => {
                self.alu(Width::Bits64, AluOp::Mov, dst, Operand::Register(r(R10)));
                let by = -self.source.between(1, 128);
                self.alu64(AluOp::Add, dst, by);
                let place = Place::at(Where::Stack, by);
                self.frame.set(dst, Holds::Pointer(place));
            }
            _ => {
                let offset = match self.source.below(3) {
                    0 => self.source.below(self.setting.scratch_bytes + 1),
                    _ => 0,
                };
                self.load_wide(dst, WideValue::Scratch { offset });
                let place = Place::at(Where::Scratch, offset as i32);
                self.frame.set(dst, Holds::Pointer(place));
            }
        }
    }

    /// A load by a pointer that is no pointer to the stack.
    pub(super) fn load_from(&mut self, dst: u8, base: u8) {
        let Holds::Pointer(place) = self.frame.get(base) else {
            return self.set_constant(dst, 1);
        };
        let size = self.size();
        if place.where_ == Where::Context {
            let offset = 32 + self.source.below(33 - size.bytes() as u32) as i32 - place.low;
            self.load(size, false, dst, base, offset);
        } else {
            let offset = self.displacement(place, size.bytes() as i32);
            let signed = self.source.below(4) == 0;
            self.load(size, signed, dst, base, offset);
        }
        self.frame.set(dst, Holds::UNKNOWN);
    }

    fn load_somewhere(&mut self) {
        let (base, _) = self.pointer(false);
        let dst = self.free();
        self.load_from(dst, base);
    }

    fn store_somewhere(&mut self) {
        let src = self.operand();
        let (base, place) = self.pointer(true);
        if src == Operand::Register(r(base)) {
            return;
        }
        let size = self.size();
        let offset = self.displacement(place, size.bytes() as i32);
        self.store(size, base, offset, src);
    }

    /// An access at a place that a number decides.
    fn indexed(&mut self) {
        let index = match self.source.below(5) {
            0 => self.number(),
            _ => self.bound(),
        };
        let on_stack = self.source.below(8) == 0;
        let (base, place) = if on_stack {
            (R10, Place::at(Where::Stack, 0))
        } else {
            let write = self.source.below(3) == 0;
            self.pointer(write)
        };
        let Holds::Number(mut most) = self.frame.get(index) else {
            return;
        };
        let dst = self.free();
        if dst == index || dst == base {
            return;
        }
        self.copy(dst, index);
        if self.source.below(4) == 0 {
            let by = self.source.between(1, 3);
            self.alu64(AluOp::Lsh, dst, by);
            most = most.saturating_mul(1 << by);
        }
        if self.source.below(6) == 0 && base != R10 {
            // The number may be subtracted from the pointer, too.
            let scaled = dst;
            let other = self.free();
            if other != base && other != scaled && other != index {
                self.frame.set(scaled, Holds::UNKNOWN);
                self.copy(other, base);
                let src = Operand::Register(r(scaled));
                self.alu(Width::Bits64, AluOp::Sub, other, src);
                let place = place.moved(-(most.min(1 << 20) as i32), 0);
                self.frame.set(other, Holds::Pointer(place));
                return self.access(other, place);
            }
        }
        self.alu(Width::Bits64, AluOp::Add, dst, Operand::Register(r(base)));
        let mut place = place.moved(0, most.min(1 << 20) as i32);
        if on_stack {
            let down = self.source.between(most.clamp(8, 100) as i32, 128);
            self.alu64(AluOp::Add, dst, -down);
            place = place.moved(-down, -down);
        }
        self.frame.set(dst, Holds::Pointer(place));
        self.access(dst, place);
    }

    /// Reads or writes by a pointer.
    pub(super) fn access(&mut self, base: u8, place: Place) {
        let size = self.size();
        let len = size.bytes() as i32;
        if place.where_ == Where::Stack {
            return self.access_stack(base, place, size);
        }
        let offset = self.displacement(place, len);
        if self.is_writable(place.where_) && self.source.below(2) == 0 {
            let src = self.operand();
            if src != Operand::Register(r(base)) {
                self.store(size, base, offset, src);
            }
            return;
        }
        let dst = self.free();
        let signed = self.source.below(4) == 0;
        self.load(size, signed, dst, base, offset);
        self.frame.set(dst, Holds::UNKNOWN);
    }

    /// An access to the stack at a place that is not known beforehand.
    fn access_stack(&mut self, base: u8, place: Place, size: Size) {
        let len = size.bytes() as i32;
        let (below, span) = (-place.low, place.high - place.low + len);
        if self.frame.is_written(below, span) && self.source.below(2) == 0 {
            let dst = self.free();
            self.load(size, false, dst, base, 0);
            self.frame.set(dst, Holds::UNKNOWN);
        } else if place.high + len <= 0 && !self.frame.touches_locked(below, span) {
            let src = self.operand();
            self.store(size, base, 0, src);
            self.frame.blur(below, span);
        }
    }

    /// A number is put on the stack, something near it changes at a place that is not known, and
    /// what is there then says where an access goes.
    fn blurred_slot(&mut self) {
        let slot = self.source.between(1, SLOTS as i32 - 1);
        let below = slot * 8 + 8;
        if self.frame.touches_locked(below, 16) {
            return;
        }
        let index = self.bound();
        for slot in [slot, slot - 1] {
            let small = self.source.between(0, 16);
            self.store(Size::Double, R10, slot * -8 - 8, Operand::Immediate(small));
            self.frame.put(slot as usize, Holds::Number(small as u32));
        }
        let base = self.free();
        if base == index {
            return;
        }
        self.copy(base, index);
        let mask = self.source.of(&[8, 7, 15, 1, 12]);
        self.alu64(AluOp::And, base, mask);
        self.alu(Width::Bits64, AluOp::Add, base, Operand::Register(r(R10)));
        let (size, imm) = (self.size(), self.source.number());
        if mask + size.bytes() as i32 > 16 && self.frame.touches_locked(below, 24) {
            self.frame.set(base, Holds::Nothing);
            return;
        }
        self.store(size, base, -below, Operand::Immediate(imm));
        // Up to two slots further, where that is the function's frame.
        self.frame
            .blur(below, (mask + size.bytes() as i32).min(below));
        self.frame.set(base, Holds::Nothing);
        let slot = slot - self.source.below(2) as i32;
        self.load(Size::Double, false, base, R10, slot * -8 - 8);
        self.frame.set(base, Holds::UNKNOWN);
        self.index_scratch(base, 16);
    }

    /// A number is bounded by what is known of another that was made of it, or that it was made of.
    fn related_index(&mut self) {
        let (one, other) = (self.number(), self.number());
        let made = self.free();
        if made == one || made == other || one == other {
            return;
        }
        self.copy(made, one);
        let width = self.width();
        let op = self
            .source
            .of(&[AluOp::Add, AluOp::Sub, AluOp::Xor, AluOp::Mov, AluOp::And]);
        let src = if self.source.below(3) == 0 {
            Operand::Immediate(self.source.between(-8, 8))
        } else {
            Operand::Register(r(other))
        };
        self.alu(width, op, made, src);
        self.frame.set(made, Holds::UNKNOWN);
        let (tested, used) = match self.source.below(3) {
            0 => (one, made),
            1 => (made, made),
            _ => (made, one),
        };
        let (width, most) = (self.width(), self.source.between(0, 20));
        let condition = self
            .source
            .of(&[Condition::Greater, Condition::SignedGreater]);
        let at = self.code.len();
        self.emit(Instruction::JumpIf {
            width,
            condition,
            dst: r(tested),
            src: Operand::Immediate(most),
            offset: 0,
        });
        let before = self.frame;
        let base = self.free();
        if base != used {
            self.copy(base, used);
            self.index_scratch(base, most);
        }
        self.land(at);
        self.frame.join(&before);
    }

    /// An access to scratch at what a register holds, which is taken for at most `most`.
    pub(super) fn index_scratch(&mut self, index: u8, most: i32) {
        let base = self.free();
        if base == index {
            return;
        }
        self.set_scratch(base);
        self.alu(Width::Bits64, AluOp::Add, base, Operand::Register(r(index)));
        let size = self.size();
        let last = self.setting.scratch_bytes as i32 - most - size.bytes() as i32;
        let offset = if self.source.below(2) == 0 { last } else { 0 };
        if self.source.below(2) == 0 {
            self.store(size, base, offset, Operand::Immediate(3));
            self.frame.set(base, Holds::Nothing);
        } else {
            self.load(size, false, base, base, offset);
            self.frame.set(base, Holds::UNKNOWN);
        }
    }

    fn free_slot(&mut self) -> Option<usize> {
        let slot = self.source.below(SLOTS as u32) as usize;
        self.frame.slot_is_free(slot).then_some(slot)
    }

    fn spill(&mut self) {
        let src = self.source.below(10) as u8;
        let held = self.frame.get(src);
        if let Some(slot) = self.free_slot()
            && held != Holds::Nothing
        {
            let at = slot as i32 * -8 - 8;
            self.store(Size::Double, R10, at, Operand::Register(r(src)));
            self.frame.put(slot, held);
        }
    }

    fn fill(&mut self) {
        let first = self.source.below(SLOTS as u32) as usize;
        let mut slots = (0..SLOTS).map(|step| (first + step) % SLOTS);
        let found = slots.find(|&slot| self.frame.slot(slot) != Holds::Nothing);
        if let Some(slot) = found {
            let dst = self.free();
            self.load(Size::Double, false, dst, R10, slot as i32 * -8 - 8);
            let held = self.frame.slot(slot);
            self.frame.set(dst, held);
        }
    }

    fn store_on_stack(&mut self) {
        let (size, src) = (self.size(), self.operand());
        let len = size.bytes() as i32;
        let below = self.source.between(len, 128);
        if self.frame.touches_locked(below, len) {
            return;
        }
        self.store(size, R10, -below, src);
        self.frame.put_bytes(below, len);
    }

    fn load_from_stack(&mut self) {
        let size = self.size();
        let len = size.bytes() as i32;
        let first = self.source.between(len, 128);
        let mut places = (first..=128).chain(len..first);
        if let Some(below) = places.find(|&below| self.frame.is_written(below, len)) {
            let dst = self.free();
            let signed = self.source.below(4) == 0;
            self.load(size, signed, dst, R10, -below);
            self.frame.set(dst, Holds::UNKNOWN);
        }
    }

    fn atomic(&mut self) {
        let (width, op) = (self.width(), self.source.of(&AtomicOp::ALL));
        let len = if width == Width::Bits32 { 4 } else { 8 };
        let src = self.free_number();
        if op == AtomicOp::CompareExchange && !self.frame.is_number(0) {
            self.set_number(0);
        }
        let (base, offset) = if self.source.below(4) == 0 {
            let below = self.source.between(len, 128);
            if self.frame.touches_locked(below, len) {
                return;
            }
            if !self.frame.is_written(below, len) {
                let imm = self.source.number();
                let size = if len == 4 { Size::Word } else { Size::Double };
                self.store(size, R10, -below, Operand::Immediate(imm));
            }
            self.frame.put_bytes(below, len);
            (R10, -below)
        } else {
            let (base, place) = self.pointer(true);
            (base, self.displacement(place, len))
        };
        if base == src || (base == 0 && op == AtomicOp::CompareExchange) {
            return;
        }
        // r0 may have become a pointer meanwhile.
        if !self.frame.is_number(src)
            || (op == AtomicOp::CompareExchange && !self.frame.is_number(0))
        {
            return;
        }
        self.emit(Instruction::Atomic {
            width,
            op,
            base: r(base),
            offset: offset as i16,
            src: r(src),
        });
        if op.writes_source() {
            self.frame.set(src, Holds::UNKNOWN);
        } else if op == AtomicOp::CompareExchange {
            self.frame.set(0, Holds::UNKNOWN);
        }
    }

    /// The distance of two pointers into one region, which is a number.
    fn pointer_distance(&mut self) {
        let one = self
            .frame
            .find(self.source, |held| matches!(held, Holds::Pointer(_)));
        let Some(one) = one else { return };
        let Holds::Pointer(place) = self.frame.get(one) else {
            return;
        };
        let same = |held| match held {
            Holds::Pointer(other) => same_region(place.where_, other.where_),
            _ => false,
        };
        let other = self.frame.find(self.source, same).unwrap_or(one);
        let dst = self.free();
        if dst != one && dst != other {
            self.copy(dst, one);
            let src = Operand::Register(r(other));
            self.alu(Width::Bits64, AluOp::Sub, dst, src);
            self.frame.set(dst, Holds::UNKNOWN);
        }
    }

    /// Bytes of the frame that hold numbers, as many as wanted.
    fn numbers_on_stack(&mut self, len: i32) -> i32 {
        let first = self.source.between(len, 128);
        let mut places = (first..=128).chain(len..first);
        let found = places.find(|&below| self.frame.is_written(below, len));
        if let Some(below) = found {
            return below;
        }
        let slots = len.div_euclid(8) + i32::from(len % 8 > 0);
        let last = self.source.between(slots, SLOTS as i32);
        for slot in last - slots..last {
            let slot = slot as usize;
            let src = self.operand();
            let at = slot as i32 * -8 - 8;
            // A locked slot holds a number of a loop, or a pointer.
            if !self.frame.slot_is_free(slot) {
                if !matches!(self.frame.slot(slot), Holds::Number(_)) {
                    return 0;
                }
                continue;
            }
            self.store(Size::Double, R10, at, src);
            self.frame.put(slot, Holds::UNKNOWN);
        }
        last * 8
    }

    /// The address of something on the stack.
    pub(super) fn set_stack(&mut self, dst: u8, below: i32) {
        self.alu(Width::Bits64, AluOp::Mov, dst, Operand::Register(r(R10)));
        self.alu64(AluOp::Add, dst, -below);
        self.frame
            .set(dst, Holds::Pointer(Place::at(Where::Stack, -below)));
    }

    /// A pointer for a helper in a register, and how many bytes there are.
    fn buffer(&mut self, dst: u8, write: bool, stack_bytes: i32) -> i32 {
        if stack_bytes > 0 {
            self.set_stack(dst, stack_bytes);
            return 0;
        }
        let wanted = |held| match held {
            Holds::Pointer(place) => match place.where_ {
                Where::Reply => true,
                Where::Arguments | Where::Data => !write,
                _ => false,
            },
            _ => false,
        };
        let register = self.frame.find(self.source, wanted);
        if let Some(register) = register
            && register >= 6
            && let Holds::Pointer(place) = self.frame.get(register)
        {
            self.copy(dst, register);
            return self.bytes_of(place.where_).max(8);
        }
        let offset = self.source.below(self.setting.scratch_bytes / 2 + 1);
        self.load_wide(dst, WideValue::Scratch { offset });
        let place = Place::at(Where::Scratch, offset as i32);
        self.frame.set(dst, Holds::Pointer(place));
        (self.setting.scratch_bytes - offset) as i32
    }

    /// A length into a register: constant, or up to what there is, or anything.
    fn length(&mut self, dst: u8, bytes: i32) {
        let saved = self
            .frame
            .find(self.source, |held| matches!(held, Holds::Number(_)));
        match (self.source.below(5), saved) {
            (0, Some(src)) if src >= 6 || src == 0 => self.copy(dst, src),
            (1, Some(src)) if src >= 6 || src == 0 => {
                self.copy(dst, src);
                self.alu64(AluOp::And, dst, 15);
                self.frame.set(dst, Holds::Number(15));
            }
            _ => {
                let len = self.source.below(bytes.max(0) as u32 + 2) as i32;
                self.set_constant(dst, len);
            }
        }
    }

    /// A number into an argument register.
    fn argument(&mut self, dst: u8) {
        let saved = self
            .frame
            .find(self.source, |held| matches!(held, Holds::Number(_)));
        match saved {
            Some(src) if src >= 6 || src == 0 => self.copy(dst, src),
            _ => {
                let number = self.source.number();
                self.set_constant(dst, number);
            }
        }
    }

    pub(super) fn call_helper(&mut self, id: u32) {
        self.emit(Instruction::CallHelper { id });
        self.frame.called();
    }

    fn helper(&mut self) {
        match self.source.below(12) {
            0..3 => self.call_helper(SMALL),
            3 => self.call_helper(TIME),
            4 => {
                self.argument(1);
                self.call_helper(END);
            }
            5 => self.read(),
            6 => self.read_vector(),
            7 | 8 => {
                let on_stack = self.some_stack();
                let bytes = self.buffer(1, false, on_stack);
                self.length_of(2, bytes, on_stack);
                self.call_helper(EMIT);
            }
            9 => self.compare_or_copy(),
            10 => {
                self.argument(1);
                let on_stack = self.some_stack();
                let bytes = self.buffer(2, false, on_stack);
                self.length_of(3, bytes, on_stack);
                self.call_helper(SUM);
            }
            _ => {
                let below = self.source.between(8, 128);
                let on_stack = self.source.below(2) == 0 && !self.frame.touches_locked(below, 8);
                self.buffer(1, true, if on_stack { below } else { 0 });
                self.call_helper(FILL);
                if on_stack {
                    self.frame.put_bytes(below, 8);
                }
            }
        }
    }

    /// Bytes below r10 where 8 bytes are written, in one of three cases.
    fn some_stack(&mut self) -> i32 {
        match self.source.below(3) {
            0 => self.numbers_on_stack(8),
            _ => 0,
        }
    }

    fn length_of(&mut self, dst: u8, bytes: i32, on_stack: i32) {
        if on_stack > 0 {
            let len = self.source.between(0, 8);
            self.set_constant(dst, len);
        } else {
            self.length(dst, bytes);
        }
    }

    fn read(&mut self) {
        self.argument(1);
        self.argument(2);
        let offset = self.source.below(self.setting.scratch_bytes / 2 + 1);
        self.load_wide(3, WideValue::Scratch { offset });
        self.frame.set(3, Holds::Nothing);
        self.length(4, (self.setting.scratch_bytes - offset) as i32);
        self.call_helper(READ);
    }

    /// A vector of one on the stack: object and length, offset, address.
    fn read_vector(&mut self) {
        let slot = self.source.between(2, SLOTS as i32 - 1);
        let below = slot * 8 + 8;
        if self.frame.touches_locked(below, 24) {
            return;
        }
        let src = self.operand();
        self.store(Size::Double, R10, -below, src);
        self.store(Size::Double, R10, 8 - below, Operand::Immediate(0));
        let len = self.source.below(24) as i32;
        self.store(Size::Word, R10, 4 - below, Operand::Immediate(len));
        self.set_scratch(1);
        self.store(Size::Double, R10, 16 - below, Operand::Register(r(1)));
        self.frame.put_bytes(below, 24);
        let scratch = Holds::Pointer(Place::at(Where::Scratch, 0));
        self.frame.put(slot as usize - 2, scratch);
        self.set_stack(1, below);
        self.set_constant(2, 1);
        self.call_helper(READ_VECTOR);
    }

    fn compare_or_copy(&mut self) {
        let on_stack = self.some_stack();
        let copies = self.source.below(2) == 0;
        if on_stack > 0 && copies && self.frame.touches_locked(on_stack, 8) {
            return;
        }
        let bytes = self.buffer(1, copies, on_stack);
        let other = self.buffer(2, false, 0);
        let bytes = if on_stack > 0 {
            other
        } else {
            bytes.min(other)
        };
        self.length_of(3, bytes, on_stack);
        self.call_helper(if copies { COPY } else { COMPARE });
        if copies && on_stack > 0 {
            // What was written is a number still.
            self.frame.put_bytes(on_stack, 8);
        }
    }

    /// A key on the stack, its address in r2, and the map's handle in r1.
    pub(super) fn map_key(&mut self, map: u8) -> Option<()> {
        let key = match self.source.below(6) {
            0 => Operand::Register(r(self.bound())),
            // Keys 0 and 1 are there at the start.
            _ => Operand::Immediate(self.source.of(&[0, 0, 1, 1, 2, 3, 4, 5])),
        };
        self.put_key(map, key)
    }

    /// The same of that key.
    pub(super) fn put_key(&mut self, map: u8, key: Operand) -> Option<()> {
        let first = self.source.below(SLOTS as u32) as usize;
        let mut slots = (0..SLOTS).map(|step| (first + step) % SLOTS);
        let slot = slots.find(|&slot| self.frame.slot_is_free(slot))?;
        let below = slot as i32 * 8 + 8;
        self.store(Size::Double, R10, -below, key);
        self.frame.put(slot, Holds::UNKNOWN);
        self.set_stack(2, below);
        self.name_map(map);
        Some(())
    }

    /// A map's handle in r1.
    pub(super) fn name_map(&mut self, map: u8) {
        let index = u32::from(map);
        self.load_wide(1, WideValue::Map { index });
        self.frame.set(1, Holds::Nothing);
    }

    fn map_call(&mut self) {
        let map = self.source.below(MAPS.len() as u32) as u8;
        match self.source.below(4) {
            0 => {
                let below = self.numbers_on_stack(MAPS[usize::from(map)].value_bytes as i32);
                if below == 0 || self.map_key(map).is_none() {
                    return;
                }
                self.set_stack(3, below);
                let flags = self.source.between(0, 3);
                self.set_constant(4, flags);
                self.call_helper(MAP_UPDATE);
            }
            1 => {
                if self.map_key(map).is_some() {
                    self.call_helper(MAP_DELETE);
                }
            }
            _ => {
                if self.map_key(map).is_some() {
                    self.call_helper(MAP_LOOKUP);
                    self.found(map);
                }
            }
        }
    }

    /// Uses what a lookup left in r0.
    fn found(&mut self, map: u8) {
        let place = Place::at(Where::Value(map), 0);
        self.frame.set(0, Holds::Perhaps(place));
        for _ in 0..self.source.below(3) {
            let keeper = self.free();
            if keeper != 0 {
                self.copy(keeper, 0);
            }
        }
        if self.daring > 0 && self.source.below(4) == 0 {
            // Nobody has looked whether there is anything.
            let (size, dst) = (self.size(), self.free());
            self.load(size, false, dst, 0, 0);
            self.frame.set(dst, Holds::UNKNOWN);
            return;
        }
        let before = self.frame;
        let at = self.code.len();
        self.emit(Instruction::JumpIf {
            width: Width::Bits64,
            condition: Condition::Equal,
            dst: r(0),
            src: Operand::Immediate(0),
            offset: 0,
        });
        for register in 0..10 {
            if self.frame.get(register) == Holds::Perhaps(place) {
                self.frame.set(register, Holds::Pointer(place));
            }
        }
        for _ in 0..self.source.between(1, 3) {
            self.plain_step();
        }
        self.land(at);
        let mut joined = before;
        joined.set(0, Holds::Nothing);
        self.frame.join(&joined);
    }
}

/// True if two pointers lead into one region.
pub(super) fn same_region(one: Where, other: Where) -> bool {
    region(one) == region(other)
}

fn region(where_: Where) -> (u32, u8) {
    match where_ {
        Where::Context => (RegionId::Context.number() as u32, 0),
        Where::Arguments => (RegionId::Arguments.number() as u32, 0),
        Where::Reply => (RegionId::Reply.number() as u32, 0),
        Where::Data | Where::DataEnd => (RegionId::Data.number() as u32, 0),
        Where::Scratch => (RegionId::Scratch.number() as u32, 0),
        Where::Stack | Where::Caller => (RegionId::Stack.number() as u32, 0),
        Where::Map(map) | Where::Value(map) => (6, map),
    }
}
