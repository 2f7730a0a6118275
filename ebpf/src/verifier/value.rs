//! What can be known of a register or of a place on the stack.

use core::fmt;

use super::scalar::Scalar;
use crate::limits::{FRAME_BYTES, STACK_BYTES};
use crate::memory::RegionId;

/// What sort of thing a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Nothing may be done with it.
    Unusable(Unusable),
    /// A number.
    Number,
    /// An address in a region; the number is its distance from the region's start.
    Pointer(RegionId),
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
pub struct Value {
    pub(super) kind: Kind,
    pub(super) id: ValueId,
    pub(super) delta: u64,
    pub(super) number: Scalar,
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
        }
    }

    /// The same thing with another number, related to nothing.
    pub(super) const fn with_number(self, number: Scalar) -> Value {
        Value::alone(self.kind, number)
    }

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

    /// True for a value that may not be used.
    #[must_use]
    pub const fn is_unusable(&self) -> bool {
        matches!(self.kind, Kind::Unusable(_))
    }

    /// True for a pointer.
    #[must_use]
    pub const fn is_pointer(&self) -> bool {
        matches!(self.kind, Kind::Pointer(_))
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
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Unusable(why) => why.fmt(f),
            Kind::Number if self.number == Scalar::UNKNOWN => f.write_str("is any number"),
            Kind::Number => write!(f, "is a number, {}", self.number),
            Kind::Pointer(region) => {
                write!(f, "points to {} at byte {}", region.name(), self.number)
            }
        }
    }
}
