//! Why a program could not be proved, in numbers: what the client makes a diagnosis of.
//!
//! There is no text in it, so nothing that an agent says reaches a terminal as it is. The meaning
//! of the numbers is that of the verifier; one that the reader does not know is shown as a number.

use crate::limits::TRAIL_MAX;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What an agent found that it could not prove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unproved {
    /// The instruction at fault, counted in 8-byte slots.
    pub pc: u32,
    /// What is wrong with it: the number of the verifier's kind of refusal.
    pub kind: u16,
    /// What more there is to say of that kind.
    pub facts: [u32; 3],
    /// The register that it is about, 0 to 10.
    pub register: Option<u8>,
    /// What is known of that.
    pub known: Known,
    /// The last jumps that were taken, and calls, on the way there, in order.
    pub trail: heapless::Vec<u16, TRAIL_MAX, u8>,
}

/// What is known of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Known {
    /// It is about none.
    Nothing,
    /// It was never given a value.
    NeverWritten,
    /// A call took its value.
    LostAtCall,
    /// It is different things on different ways.
    Mixed,
    /// A number from `min` to `max`.
    Number {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// An address in a region, from byte `min` to byte `max` of it.
    Pointer {
        /// The region's number.
        region: u8,
        /// The least offset.
        min: i64,
        /// The greatest offset.
        max: i64,
    },
    /// The name of a map.
    Map {
        /// Its index.
        map: u8,
    },
    /// An address in a value of a map, from byte `min` to byte `max` of the value.
    MapValue {
        /// The map's index.
        map: u8,
        /// Or it is null.
        or_null: bool,
        /// The least offset.
        min: i64,
        /// The greatest offset.
        max: i64,
    },
}

impl fmt::Display for Unproved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (pc, kind) = (self.pc, self.kind);
        write!(f, "instruction {pc}: cannot be proved, reason {kind}")
    }
}
