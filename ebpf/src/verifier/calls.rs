//! What calls of helpers do.

use super::canary::{Rule, is_out};
use super::environment::{Argument, HelperSignature, Length, Returns};
use super::refusal::RefusalKind;
use super::scalar::Scalar;
use super::span::Span;
use super::touch::Place;
use super::transfer::{R0, Transfer, register};
use super::value::{Kind, Lookup, Value};
use crate::limits::STACK_BYTES;
use crate::maps::MapShape;
use crate::memory::{RegionId, Right};

/// Bytes that a helper takes or gives.
struct Buffer {
    length: Span<u64>,
    right: Right,
    /// Addresses may be among them.
    pointers: bool,
}

impl Buffer {
    const fn new(length: Span<u64>, right: Right, pointers: bool) -> Buffer {
        Buffer {
            length,
            right,
            pointers,
        }
    }
}

impl Transfer<'_> {
    pub(super) fn call_helper(&mut self, id: u32) {
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
            let buffer = match argument {
                Argument::Unused => continue,
                Argument::Number => {
                    let _ = self.number(register(index + 1));
                    continue;
                }
                Argument::Map { changes } => {
                    self.named_map(index, changes);
                    continue;
                }
                Argument::Read { length, pointers } => {
                    Some(Buffer::new(self.length(length), Right::Read, pointers))
                }
                Argument::Write(length) | Argument::Device(length) => {
                    Some(Buffer::new(self.length(length), Right::Write, false))
                }
                Argument::MapKey(map) => self.of_map(map, MapShape::key_bytes),
                Argument::MapValue(map) => self.of_map(map, MapShape::value_bytes),
            };
            // Without its map, what is wrong is known.
            let Some(buffer) = buffer else {
                all_inside = false;
                self.lose_stack();
                continue;
            };
            let Some(place) = self.buffer(index, argument, &buffer) else {
                all_inside = false;
                self.lose_stack();
                continue;
            };
            if place.region == RegionId::Stack {
                match self.stack_buffer(&place, index, &buffer) {
                    Some(range) if buffer.right == Right::Write => {
                        let _ = written.push(range);
                    }
                    Some(_) => {}
                    None => {
                        all_inside = false;
                        self.lose_stack();
                    }
                }
                continue;
            }
            let most = i64::try_from(buffer.length.max).unwrap_or(i64::MAX);
            let end = place.at.max.saturating_add(most);
            let holder = self.state.get(register(index + 1));
            let bytes = if is_out(Rule::Value) {
                self.environment.bytes(place.region)
            } else {
                self.bytes(&holder, place.region)
            };
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
        let result = self.returned(helper.returns);
        self.state.set(R0, result);
    }

    /// What a helper gives back.
    fn returned(&mut self, returns: Returns) -> Value {
        let map = match returns {
            Returns::Number { min, max } => return Value::number(Scalar::signed_range(min, max)),
            Returns::MapValue(index) => match self.state.get(register(index + 1)).kind {
                Kind::Map(map) => map,
                // What is wrong is known.
                _ => return Value::number(Scalar::UNKNOWN),
            },
        };
        // A program has fewer slots than that.
        let lookup = self.pc as Lookup + 1;
        self.state.retire(lookup);
        let value = Value::map_value(map, lookup, self.state.new_id());
        self.state.set(R0, value);
        if is_out(Rule::Null) {
            self.state.learn_null(R0, false);
        }
        self.state.get(R0)
    }

    /// The map that an argument must name.
    fn named_map(&mut self, index: u8, changes: bool) {
        let holder = register(index + 1);
        match self.state.get(holder).kind {
            Kind::Map(map) => {
                let region = RegionId::Map(map);
                if changes && !self.environment.is_writable(region) {
                    self.refuse(RefusalKind::ReadOnly { region }, Some(holder));
                }
            }
            Kind::Unusable(_) => self.refuse(RefusalKind::Unusable, Some(holder)),
            _ => self.refuse(RefusalKind::NotAMap, Some(holder)),
        }
    }

    /// Bytes that a helper reads, as many as a map says that another argument names.
    fn of_map(&mut self, index: u8, bytes: impl Fn(&MapShape) -> usize) -> Option<Buffer> {
        let holder = register(index + 1);
        let Kind::Map(map) = self.state.get(holder).kind else {
            self.refuse(RefusalKind::NotAMap, Some(holder));
            return None;
        };
        let length = Span::one(bytes(self.environment.map(map)?) as u64);
        Some(Buffer::new(length, Right::Read, false))
    }

    /// Where a buffer starts, if it may be in that region.
    fn buffer(&mut self, index: u8, argument: Argument, buffer: &Buffer) -> Option<Place> {
        let holder = register(index + 1);
        let region = self.target(holder)?;
        if buffer.right == Right::Write && !self.environment.is_writable(region) {
            self.refuse(RefusalKind::ReadOnly { region }, Some(holder));
            return None;
        }
        let device = matches!(argument, Argument::Device(_));
        // The context holds pointers, which are not to be copied.
        let leaks = region == RegionId::Context && !buffer.pointers;
        if (device && region != RegionId::Scratch) || leaks {
            let argument = index + 1;
            let why = RefusalKind::BufferRegion { argument, region };
            self.refuse(why, Some(holder));
            return None;
        }
        // One byte, of buffers without any too: the address itself must have the region's tag.
        let len = u32::from(!is_out(Rule::Tag));
        let place = self.place(region, &self.state.get(holder), 0, len);
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
        buffer: &Buffer,
    ) -> Option<(usize, usize)> {
        let holder = register(index + 1);
        let Buffer {
            length,
            right,
            pointers,
        } = *buffer;
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
}
