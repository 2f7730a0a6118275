//! What loads, stores and atomics do.

use super::canary::{Rule, is_out};
use super::environment::has_data;
use super::refusal::RefusalKind;
use super::scalar::Scalar;
use super::span::Span;
use super::transfer::{R0, Seen, Transfer};
use super::value::{Kind, Slack, Value};
use super::verified::Unbounded;
use crate::instruction::{AtomicOp, Operand, Register, Size, Width};
use crate::limits::{FRAME_BYTES, MAP_BYTES_MAX, REGION_BYTES_MAX, STACK_BYTES};
use crate::memory::{RegionId, Right};

/// The place of an access.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) region: RegionId,
    /// Bytes from the region's start, or from that of a value in a map.
    pub(super) at: Span<i64>,
    pub(super) len: u32,
    /// It lies inside wherever it starts.
    pub(super) proved: bool,
    /// Why not, if it does not.
    pub(super) why: Unbounded,
    /// No such address is in another region.
    pub(super) confined: bool,
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

impl Transfer<'_> {
    /// Looks at an access: what it touches, and whether that is proved.
    pub(super) fn access(
        &mut self,
        base: Register,
        offset: i16,
        len: u32,
        right: Right,
    ) -> Option<Place> {
        let value = self.state.get(base);
        let region = self.target(base)?;
        if right == Right::Write && !self.environment.is_writable(region) {
            self.refuse(RefusalKind::ReadOnly { region }, Some(base));
            return None;
        }
        let place = self.place(region, &value, i64::from(offset), len);
        let bytes = self.bytes(&value, region);
        let most = bytes.unwrap_or(REGION_BYTES_MAX as u32);
        let bottom = self.bottom(region);
        if place.at.max < bottom || place.at.min.saturating_add(i64::from(len)) > i64::from(most) {
            let why = RefusalKind::Outside {
                region,
                len,
                bytes: most,
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
            len,
            bytes,
            proved: place.proved,
            why: place.why,
        });
        if !place.proved && place.confined && matches!(value.kind, Kind::Pointer(_)) {
            // It goes on only if it was inside.
            let (low, offset) = (-i64::from(offset), i64::from(offset));
            let bytes = i64::from(self.environment.guarded_bytes(region));
            let high = bytes - i64::from(len) - offset;
            let inside = Scalar::signed_range(low, high);
            self.stops |= !self.state.learn(base, &inside);
            self.state
                .learn_slack(base, Slack::of(offset + i64::from(len)));
        }
        Some(place)
    }

    /// The region that a register points to, for a use that needs one.
    pub(super) fn target(&mut self, base: Register) -> Option<RegionId> {
        let value = self.state.get(base);
        let why = match value.kind {
            Kind::Unusable(_) => RefusalKind::Unusable,
            Kind::Number | Kind::Map(_) => RefusalKind::NotAPointer,
            Kind::MapValue { or_null: true, .. } => RefusalKind::MaybeNull,
            Kind::MapValue { .. } | Kind::Pointer(_) => return value.kind.region(),
        };
        self.refuse(why, Some(base));
        None
    }

    /// How many bytes there are from where a pointer's number counts, where that is one number.
    pub(super) fn bytes(&self, value: &Value, region: RegionId) -> Option<u32> {
        match value.kind {
            Kind::MapValue { map, .. } => {
                let map = self.environment.map(map);
                Some(map.map_or(0, |map| map.value_bytes() as u32))
            }
            _ => self.environment.bytes(region),
        }
    }

    fn bottom(&self, region: RegionId) -> i64 {
        if region == RegionId::Stack {
            self.state.frame_bottom() as i64
        } else {
            0
        }
    }

    pub(super) fn place(&self, region: RegionId, value: &Value, offset: i64, len: u32) -> Place {
        // What wraps is nowhere in particular.
        let at = value.number.signed().wrapping_add(Span::one(offset));
        let end = at.max.saturating_add(i64::from(len));
        let inside = match self.bytes(value, region) {
            Some(bytes) if is_out(Rule::End) => at.max <= i64::from(bytes),
            Some(bytes) => end <= i64::from(bytes),
            None => value.slack(self.state.data_min).get() >= Some(offset + i64::from(len)),
        };
        // No region is longer; beyond it, the sum with an offset may have wrapped.
        let starts = at.min >= self.bottom(region) && at.max <= REGION_BYTES_MAX as i64
            || is_out(Rule::Start);
        let proved = inside && starts && at.max >= at.min;
        let why = match self.bytes(value, region) {
            _ if at == Span::<i64>::ALL => Unbounded::Anywhere,
            _ if !starts => Unbounded::Before,
            None => Unbounded::Unmeasured,
            Some(_) => Unbounded::Behind,
        };
        // Addresses of a region are 2^32 apart from the next one's, and it has less than 2^30. A
        // value may start anywhere in its map's.
        let apart = 1_i64 << 32;
        let beyond = match value.kind {
            Kind::MapValue { .. } => i64::from(MAP_BYTES_MAX),
            _ => 0,
        };
        let confined =
            at.min > REGION_BYTES_MAX as i64 - apart && end.saturating_add(beyond) <= apart;
        Place {
            region,
            at,
            len,
            proved,
            why,
            confined,
        }
    }

    pub(super) fn load(
        &mut self,
        size: Size,
        signed: bool,
        dst: Register,
        base: Register,
        offset: i16,
    ) {
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
            if cell.value.id == 0 && cell.value.may_be_learnt_of() {
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

    pub(super) fn refuse_stack(&mut self, place: &Place, base: Register) {
        let why = match place.stack_byte() {
            Some(at) => {
                let top = STACK_BYTES - self.state.depth as usize * FRAME_BYTES;
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
        let value = Value::pointer(pointer.region, offset);
        Some(if pointer.end {
            value.with_slack(Slack::of(0))
        } else {
            value
        })
    }

    /// After a store nobody knows where of nobody knows what.
    pub(super) fn lose_stack(&mut self) {
        self.state.stack.lose();
    }

    pub(super) fn store(&mut self, size: Size, base: Register, offset: i16, src: Operand) {
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
            if !is_out(Rule::Store) {
                let (start, end) = place.stack_bytes();
                self.state.stack.forget(start, end);
            }
            return;
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

    pub(super) fn atomic(
        &mut self,
        width: Width,
        op: AtomicOp,
        base: Register,
        offset: i16,
        src: Register,
    ) {
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
