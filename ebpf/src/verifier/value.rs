//! What can be known of a register or of a place on the stack.

use core::fmt;

use super::canary::{Rule, is_out};
use super::scalar::Scalar;
use super::span::Span;
use crate::limits::{FRAME_BYTES, REGION_BYTES_MAX, STACK_BYTES};
use crate::memory::{MapIndex, RegionId};

/// What sort of thing a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing may be done with it.
    Unusable(Unusable),
    /// A number.
    Number,
    /// An address in a region; the number is its distance from the region's start.
    Pointer(RegionId),
    /// The name of a map, for helpers.
    Map(MapIndex),
    /// An address in a value of a map, as a lookup gave it; the number is its distance from the
    /// value's start, and where that lies in the map's region is not known.
    MapValue {
        /// The map.
        map: MapIndex,
        /// Or it is 0, for the lookup may have found nothing.
        or_null: bool,
        /// Which lookup: two addresses with the same one are in the same value. 0 for any.
        lookup: Lookup,
    },
}

/// The slot of a call and 1. It stands for what that call gave when it was last made.
pub type Lookup = u16;

impl Kind {
    /// The region that it points to.
    #[must_use]
    pub const fn region(self) -> Option<RegionId> {
        match self {
            Kind::Pointer(region) => Some(region),
            Kind::MapValue { map, .. } => Some(RegionId::Map(map)),
            Kind::Unusable(_) | Kind::Number | Kind::Map(_) => None,
        }
    }
}

/// Why nothing may be done with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// Nothing was ever put there.
    NeverWritten,
    /// A call took it.
    LostAtCall,
    /// It is one thing on one way here and another thing on another.
    Mixed,
}

/// Which values are one and the same but for a known distance; 0 for one that stands alone.
pub(super) type ValueId = u32;

/// A value, and how it relates to others.
///
/// Of all values with the same `id` in a state, `number - delta` (modulo 2^64) is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) id: ValueId,
    pub(super) delta: u64,
    pub(super) number: Scalar,
    /// For numbers and addresses of data: as a signed number, this plus `slack` is at most the
    /// length of the data. [`Slack::NONE`] if nothing is known but the length of nothing.
    pub(super) slack: Slack,
}

/// How much may be added to a number, and not pass the length of the data.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slack(i32);

impl Slack {
    /// Nothing is known.
    pub(super) const NONE: Slack = Slack(i32::MIN);

    /// At least so much; what is of no use is forgotten.
    pub(super) fn of(slack: i64) -> Slack {
        let most = REGION_BYTES_MAX as i64;
        if slack < -most {
            return Slack::NONE;
        }
        Slack(slack.min(most) as i32)
    }

    /// How much, if anything is known.
    pub(super) fn get(self) -> Option<i64> {
        (self != Slack::NONE).then_some(i64::from(self.0))
    }

    /// With so much less of it.
    pub(super) fn less(self, by: i64) -> Slack {
        if is_out(Rule::Slack) {
            return self;
        }
        let left = self.get().and_then(|slack| slack.checked_sub(by));
        left.map_or(Slack::NONE, Slack::of)
    }
}

/// What is known of a value by itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    kind: Kind,
    slack: Slack,
    number: Scalar,
}

impl Known {
    /// What sort of thing it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// What is known of the number, or of a pointer's distance from its region's start.
    #[must_use]
    pub const fn scalar(&self) -> &Scalar {
        &self.number
    }
}

impl Value {
    /// A number.
    pub(super) const fn number(number: Scalar) -> Value {
        Value::alone(Kind::Number, number)
    }

    /// One number.
    pub(super) const fn constant(number: u64) -> Value {
        Value::number(Scalar::constant(number))
    }

    /// An address in a region.
    pub(super) const fn pointer(region: RegionId, offset: Scalar) -> Value {
        Value::alone(Kind::Pointer(region), offset)
    }

    /// The name of a map.
    pub(super) const fn map(map: MapIndex) -> Value {
        Value::alone(Kind::Map(map), Scalar::constant(0))
    }

    /// What a lookup gives.
    pub(super) const fn map_value(map: MapIndex, lookup: Lookup, id: ValueId) -> Value {
        let kind = Kind::MapValue {
            map,
            or_null: true,
            lookup,
        };
        let value = Value::alone(kind, Scalar::constant(0));
        Value { id, ..value }
    }

    /// One that may not be used.
    pub(super) const fn unusable(why: Unusable) -> Value {
        Value::alone(Kind::Unusable(why), Scalar::UNKNOWN)
    }

    /// r10 of the frame at a depth.
    pub(super) const fn frame_pointer(depth: u32) -> Value {
        let top = STACK_BYTES as u64 - depth as u64 * FRAME_BYTES as u64;
        Value::pointer(RegionId::Stack, Scalar::constant(top))
    }

    const fn alone(kind: Kind, number: Scalar) -> Value {
        Value {
            kind,
            id: 0,
            delta: 0,
            number,
            slack: Slack::NONE,
        }
    }

    /// The same thing with another number, related to nothing.
    pub(super) const fn with_number(self, number: Scalar) -> Value {
        Value::alone(self.kind, number)
    }

    /// What is known of it, whatever it is related to.
    pub(super) const fn known(&self) -> Known {
        Known {
            kind: self.kind,
            slack: self.slack,
            number: self.number,
        }
    }

    /// True for a value that may not be used.
    pub(super) const fn is_unusable(&self) -> bool {
        matches!(self.kind, Kind::Unusable(_))
    }

    /// True for an address or a map's name: what may not be taken apart, and leaves no program.
    pub(super) const fn is_pointer(&self) -> bool {
        !self.is_unusable() && !matches!(self.kind, Kind::Number)
    }

    /// True for what may be an address or 0.
    pub(super) const fn is_null_or_value(&self) -> bool {
        matches!(self.kind, Kind::MapValue { or_null: true, .. })
    }

    /// True for an address so near to its region's start, or its value's, that it cannot be 0.
    pub(super) fn is_near(&self) -> bool {
        let near = Span::new(-(1_i64 << 31), 1 << 31);
        near.includes(self.number.signed())
    }

    /// True if there is something that may become known of it, and of its copies alike.
    pub(super) fn may_be_learnt_of(&self) -> bool {
        !self.is_unusable() && (self.number.single().is_none() || self.is_null_or_value())
    }

    /// True for what may have slack.
    pub(super) const fn is_measured(&self) -> bool {
        matches!(self.kind, Kind::Number | Kind::Pointer(RegionId::Data))
    }

    /// All that is known of its slack where the data has at least so many bytes.
    pub(super) fn slack(&self, data_min: u32) -> Slack {
        if !self.is_measured() {
            return Slack::NONE;
        }
        let most = self.number.signed().max;
        let plain = i64::from(data_min).checked_sub(most);
        self.slack.max(plain.map_or(Slack::NONE, Slack::of))
    }

    /// With this much slack, if it is more than is known of any number anyway.
    pub(super) fn with_slack(mut self, slack: Slack) -> Value {
        self.slack = Slack::NONE;
        if self.is_measured() && slack > self.slack(0) {
            self.slack = slack;
        }
        self
    }

    /// The most its number can be, as a signed one.
    pub(super) fn most(&self) -> i64 {
        let most = self.number.signed().max;
        let by_slack = self.slack.get().map(|it| REGION_BYTES_MAX as i64 - it);
        by_slack.map_or(most, |it| it.min(most))
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unusable::NeverWritten => "was never given a value",
            Unusable::LostAtCall => "lost its value at a call",
            Unusable::Mixed => "is a different thing depending on the way here",
        })
    }
}

/// As what follows the name of a register.
impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Unusable(why) => why.fmt(f),
            Kind::Number if self.number == Scalar::UNKNOWN => f.write_str("is any number"),
            Kind::Number => write!(f, "is a number, {}", self.number),
            Kind::Pointer(region) => {
                write!(f, "points to {} at byte {}", region.name(), self.number)?;
                match self.slack.get() {
                    Some(slack @ 0..) => write!(f, ", with {slack} bytes behind it"),
                    _ => Ok(()),
                }
            }
            Kind::Map(map) => write!(f, "names {}", RegionId::Map(map).name()),
            Kind::MapValue { map, or_null, .. } => {
                let start = if or_null {
                    "is null or points"
                } else {
                    "points"
                };
                let name = RegionId::Map(map).name();
                write!(f, "{start} into a value of {name} at byte {}", self.number)
            }
        }
    }
}
