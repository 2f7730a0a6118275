//! A [refusal](crate::verifier::Refusal) as plain numbers, and in words again.
//!
//! The agent refuses, and the client explains: between them goes a [`Diagnosis`], which holds no
//! text, so whoever receives one can check it and show it without a worry. What kinds there are is
//! fixed by number; a kind that the receiver does not know has no words.
//!
//! An access that is [guarded](Guard) makes one as well: who loads a program strictly is refused it.

use core::fmt;

use heapless::Vec;

use crate::instruction::{Instruction, Width};
use crate::limits::{FRAME_BYTES, FRAMES_MAX, STACK_BYTES, TRAIL_MAX};
use crate::memory::{RegionId, Right};
use crate::verifier::{self, Guard, Kind, Refusal, RefusalKind, Unusable, Verified};

/// A refusal, in numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnosis {
    /// The instruction, as a slot of the code.
    pub pc: u32,
    /// The number of the kind; see [`RefusalKind::number`].
    pub kind: u16,
    /// What more there is to say of the kind; see [`RefusalKind::facts`].
    pub facts: Facts,
    /// The register that it is about.
    pub register: Option<u8>,
    /// What is known of that.
    pub known: Known,
    /// The last jumps that were taken, and calls, on the way there, in order, as slots of the code.
    pub trail: Vec<u16, TRAIL_MAX, u8>,
}

/// Numbers whose meaning depends on the kind.
pub type Facts = [u32; 3];

/// What is known of a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
        /// The region's [number](RegionId::number).
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

impl From<&verifier::Known> for Known {
    fn from(value: &verifier::Known) -> Known {
        let span = value.scalar().signed();
        let (min, max) = (span.min, span.max);
        match value.kind() {
            Kind::Unusable(Unusable::NeverWritten) => Known::NeverWritten,
            Kind::Unusable(Unusable::LostAtCall) => Known::LostAtCall,
            Kind::Unusable(Unusable::Mixed) => Known::Mixed,
            Kind::Number => Known::Number { min, max },
            Kind::Pointer(region) => Known::Pointer {
                region: region.number() as u8,
                min,
                max,
            },
            Kind::Map(map) => Known::Map {
                map: map.get() as u8,
            },
            Kind::MapValue { map, or_null, .. } => Known::MapValue {
                map: map.get() as u8,
                or_null,
                min,
                max,
            },
        }
    }
}

/// As what follows the name of a register.
impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Known::Nothing => f.write_str("is not known"),
            Known::NeverWritten => Unusable::NeverWritten.fmt(f),
            Known::LostAtCall => Unusable::LostAtCall.fmt(f),
            Known::Mixed => Unusable::Mixed.fmt(f),
            Known::Number {
                min: i64::MIN,
                max: i64::MAX,
            } => f.write_str("is any number"),
            Known::Number { min, max } => write!(f, "is {}", Range(min, max)),
            Known::Pointer { region, min, max } => {
                let (end, stack) = (STACK_BYTES as i64, RegionId::Stack.number() as u8);
                if region == stack && (0..=end).contains(&min) && (min..=end).contains(&max) {
                    let below = Range(end - max, end - min);
                    return write!(f, "points to the stack, {below} bytes below its end");
                }
                let region = region_name(u32::from(region));
                if (min, max) == (i64::MIN, i64::MAX) {
                    return write!(f, "points to {region}, no one knows where");
                }
                write!(f, "points to {region} at byte {}", Range(min, max))
            }
            Known::Map { map } => write!(f, "is map {map}"),
            Known::MapValue {
                map,
                or_null,
                min,
                max,
            } => {
                let null = if or_null { "is null, or " } else { "" };
                let range = Range(min, max);
                write!(f, "{null}points to a value of map {map} at byte {range}")
            }
        }
    }
}

/// Numbers in words; an end that is the type's own is none.
struct Range(i64, i64);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0, self.1) {
            (min, max) if min == max => write!(f, "{min}"),
            (min, i64::MAX) => write!(f, "{min} or more"),
            (i64::MIN, max) => write!(f, "{max} or less"),
            (min, max) => write!(f, "{min} to {max}"),
        }
    }
}

fn region_name(number: u32) -> &'static str {
    RegionId::numbered(number as usize).map_or("an unknown region", RegionId::name)
}

impl From<&Refusal> for Diagnosis {
    fn from(refusal: &Refusal) -> Diagnosis {
        let known = |(_, value): &(_, verifier::Known)| Known::from(value);
        Diagnosis {
            pc: refusal.pc,
            kind: refusal.why.number(),
            facts: refusal.why.facts(),
            register: refusal.register.as_ref().map(|(it, _)| it.number()),
            known: refusal.register.as_ref().map_or(Known::Nothing, known),
            trail: refusal.trail.clone(),
        }
    }
}

impl Diagnosis {
    /// What is wrong, if the kind is known here and its facts make sense.
    #[must_use]
    pub fn why(&self) -> Option<RefusalKind> {
        RefusalKind::of_number(self.kind, self.facts)
    }
}

/// The number of an access that is not proved, beside those of [`RefusalKind`]; its facts are those
/// of [`RefusalKind::Outside`].
pub const GUARDED: u16 = 256;

/// Bytes of a region whose length is not one number, in the facts of an access.
const ANY_LENGTH: u32 = u32::MAX;

impl Diagnosis {
    /// That an access of a program is guarded.
    #[must_use]
    pub fn of_guard(verified: &Verified, guard: &Guard) -> Diagnosis {
        let slots = verified.program().slots();
        let at = slots.get(guard.pc as usize).copied().unwrap_or(0);
        let (len, offset, right) = match Instruction::decode(at, None) {
            Ok(Instruction::Load { size, offset, .. }) => (size.bytes(), offset, Right::Read),
            Ok(Instruction::Store { size, offset, .. }) => (size.bytes(), offset, Right::Write),
            Ok(Instruction::Atomic { width, offset, .. }) => {
                let len = if width == Width::Bits32 { 4 } else { 8 };
                (len, offset, Right::Write)
            }
            _ => (0, 0, Right::Read),
        };
        // What the register holds is short of where the access starts.
        let (min, max) = match (guard.at.min, guard.at.max) {
            (i64::MIN, i64::MAX) => (i64::MIN, i64::MAX),
            (min, max) => {
                let offset = i64::from(offset);
                (min.saturating_sub(offset), max.saturating_sub(offset))
            }
        };
        let why = RefusalKind::Outside {
            region: guard.region,
            len: len as u32,
            bytes: guard.bytes.unwrap_or(ANY_LENGTH),
            right,
        };
        Diagnosis {
            pc: guard.pc,
            kind: GUARDED,
            facts: why.facts(),
            register: Some(guard.register.number()),
            known: Known::Pointer {
                region: guard.region.number() as u8,
                min,
                max,
            },
            trail: Vec::new(),
        }
    }

    /// The access, where the diagnosis is of a guarded one.
    #[must_use]
    pub fn guarded(&self) -> Option<(Room, Right)> {
        let outside = RefusalKind::Outside {
            region: RegionId::Context,
            len: 0,
            bytes: 0,
            right: Right::Read,
        };
        match RefusalKind::of_number(outside.number(), self.facts)? {
            RefusalKind::Outside {
                region,
                len,
                bytes,
                right,
            } if self.kind == GUARDED => {
                let bytes = Some(bytes).filter(|it| *it != ANY_LENGTH);
                Some((Room { region, bytes, len }, right))
            }
            _ => None,
        }
    }

    /// A short name of the kind, if it is known here.
    #[must_use]
    pub const fn name(&self) -> Option<&'static str> {
        if self.kind == GUARDED {
            return Some("guarded");
        }
        RefusalKind::name_of(self.kind)
    }

    /// What would have been right, in words, if the kind is known here.
    #[must_use]
    pub fn needed(&self) -> Option<Needed> {
        match self.guarded() {
            Some((room, _)) => Some(Needed(Need::Room(room))),
            None => self.why().map(|why| why.needed()),
        }
    }
}

/// What is wrong, without the place.
impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((room, right)) = self.guarded() {
            let verb = if right == Right::Write {
                "writes"
            } else {
                "reads"
            };
            let (len, name) = (room.len, room.region.name());
            let plural = if len == 1 { "" } else { "s" };
            return write!(
                f,
                "{verb} {len} byte{plural} of {name} at a place that is not proved"
            );
        }
        match self.why() {
            Some(why) => why.fmt(f),
            None => write!(
                f,
                "refused for a reason not known here, number {}",
                self.kind
            ),
        }
    }
}

impl RefusalKind {
    /// Its number on a wire: fixed for ever.
    #[must_use]
    pub const fn number(&self) -> u16 {
        match self {
            RefusalKind::Unreachable => 1,
            RefusalKind::Unusable => 2,
            RefusalKind::NotAPointer => 3,
            RefusalKind::NotANumber => 4,
            RefusalKind::ReadOnly { .. } => 5,
            RefusalKind::Outside { .. } => 6,
            RefusalKind::StackNotWritten { .. } => 7,
            RefusalKind::StackPlaceUnknown => 8,
            RefusalKind::PartOfPointer => 9,
            RefusalKind::PointerLeak { .. } => 10,
            RefusalKind::PointerPlace => 11,
            RefusalKind::PointerResult => 12,
            RefusalKind::PointerArithmetic => 13,
            RefusalKind::Comparison => 14,
            RefusalKind::BufferRegion { .. } => 15,
            RefusalKind::BufferPlace { .. } => 16,
            RefusalKind::UnknownHelper { .. } => 17,
            RefusalKind::MaybeNull => 18,
            RefusalKind::CallDepth => 19,
            RefusalKind::TooManyContexts => 20,
            RefusalKind::TooManyStates { .. } => 21,
            RefusalKind::TooManyCells => 22,
            RefusalKind::TooManySteps => 23,
            RefusalKind::NotChecked => 24,
            RefusalKind::SeveralRegions { .. } => 25,
            RefusalKind::BufferStrays { .. } => 26,
            RefusalKind::NotAMap => 27,
            RefusalKind::NoMap { .. } => 28,
            RefusalKind::NotGlobal { .. } => 29,
        }
    }

    /// A short name of the kind with a number.
    #[must_use]
    pub const fn name_of(number: u16) -> Option<&'static str> {
        Some(match number {
            1 => "unreachable",
            2 => "no-value",
            3 => "not-an-address",
            4 => "not-a-number",
            5 => "read-only",
            6 => "out-of-bounds",
            7 => "stack-not-written",
            8 => "stack-place-unknown",
            9 => "part-of-pointer",
            10 => "pointer-leak",
            11 => "pointer-place",
            12 => "pointer-result",
            13 => "pointer-arithmetic",
            14 => "comparison",
            15 => "buffer-region",
            16 => "buffer-place",
            17 => "unknown-helper",
            18 => "maybe-null",
            19 => "call-depth",
            20 => "too-many-calls",
            21 => "too-many-states",
            22 => "too-many-values",
            23 => "too-many-steps",
            24 => "not-checked",
            25 => "several-regions",
            26 => "buffer-strays",
            27 => "not-a-map",
            28 => "no-map",
            29 => "not-global",
            _ => return None,
        })
    }

    /// What its fields hold, in their order; the right of an access is the top bit of its length.
    #[must_use]
    pub const fn facts(&self) -> Facts {
        match *self {
            RefusalKind::ReadOnly { region }
            | RefusalKind::PointerLeak { region }
            | RefusalKind::SeveralRegions { region } => [region.number() as u32, 0, 0],
            RefusalKind::Outside {
                region,
                len,
                bytes,
                right,
            } => {
                let right = if matches!(right, Right::Write) {
                    WRITES
                } else {
                    0
                };
                [region.number() as u32, (len & !WRITES) | right, bytes]
            }
            RefusalKind::StackNotWritten { offset } => [offset.cast_unsigned(), 0, 0],
            RefusalKind::BufferRegion { argument, region } => {
                [argument as u32, region.number() as u32, 0]
            }
            RefusalKind::BufferPlace { argument } | RefusalKind::BufferStrays { argument } => {
                [argument as u32, 0, 0]
            }
            RefusalKind::NoMap { index } | RefusalKind::NotGlobal { index } => [index, 0, 0],
            RefusalKind::UnknownHelper { helper } => [helper, 0, 0],
            RefusalKind::TooManyStates { kept } => [kept, 0, 0],
            _ => [0; 3],
        }
    }

    /// The kind with a number and facts; none if there is no such number, or its facts make no
    /// sense.
    #[must_use]
    pub fn of_number(number: u16, facts: Facts) -> Option<RefusalKind> {
        let [first, second, third] = facts;
        let region = |number: u32| RegionId::numbered(usize::try_from(number).ok()?);
        let argument = u8::try_from(first).ok().filter(|it| (1..=5).contains(it));
        Some(match number {
            1 => RefusalKind::Unreachable,
            2 => RefusalKind::Unusable,
            3 => RefusalKind::NotAPointer,
            4 => RefusalKind::NotANumber,
            5 => RefusalKind::ReadOnly {
                region: region(first)?,
            },
            6 => RefusalKind::Outside {
                region: region(first)?,
                len: second & !WRITES,
                bytes: third,
                right: if second & WRITES == 0 {
                    Right::Read
                } else {
                    Right::Write
                },
            },
            7 => RefusalKind::StackNotWritten {
                offset: first.cast_signed(),
            },
            8 => RefusalKind::StackPlaceUnknown,
            9 => RefusalKind::PartOfPointer,
            10 => RefusalKind::PointerLeak {
                region: region(first)?,
            },
            11 => RefusalKind::PointerPlace,
            12 => RefusalKind::PointerResult,
            13 => RefusalKind::PointerArithmetic,
            14 => RefusalKind::Comparison,
            15 => RefusalKind::BufferRegion {
                argument: argument?,
                region: region(second)?,
            },
            16 => RefusalKind::BufferPlace {
                argument: argument?,
            },
            17 => RefusalKind::UnknownHelper { helper: first },
            18 => RefusalKind::MaybeNull,
            19 => RefusalKind::CallDepth,
            20 => RefusalKind::TooManyContexts,
            21 => RefusalKind::TooManyStates { kept: first },
            22 => RefusalKind::TooManyCells,
            23 => RefusalKind::TooManySteps,
            24 => RefusalKind::NotChecked,
            25 => RefusalKind::SeveralRegions {
                region: region(first)?,
            },
            26 => RefusalKind::BufferStrays {
                argument: argument?,
            },
            27 => RefusalKind::NotAMap,
            28 => RefusalKind::NoMap { index: first },
            29 => RefusalKind::NotGlobal { index: first },
            _ => return None,
        })
    }

    /// What would have been right.
    #[must_use]
    pub const fn needed(&self) -> Needed {
        Needed(Need::Of(*self))
    }
}

/// The bit of the length that says an access writes.
const WRITES: u32 = 1 << 31;

/// What would have been right, in words.
#[derive(Clone, Copy, Debug)]
pub struct Needed(Need);

#[derive(Clone, Copy, Debug)]
enum Need {
    Of(RefusalKind),
    Room(Room),
}

impl fmt::Display for Needed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.0 {
            Need::Of(kind) => kind,
            Need::Room(room) => return room.fmt(f),
        };
        f.write_str(match kind {
            RefusalKind::Outside {
                region: RegionId::Stack,
                len,
                ..
            } => return write!(f, "{len} bytes between r10-{FRAME_BYTES} and r10"),
            RefusalKind::Outside {
                region, len, bytes, ..
            } => {
                let name = region.name();
                return match bytes.checked_sub(len) {
                    Some(0) => write!(f, "byte 0 of {name}, which has {bytes}"),
                    Some(last) => write!(f, "byte 0 to {last} of {name}, which has {bytes}"),
                    None => write!(f, "{len} bytes of {name}, which has {bytes}"),
                };
            }
            RefusalKind::BufferRegion {
                region: RegionId::Context,
                ..
            } => "a buffer other than ctx, which holds addresses",
            RefusalKind::BufferRegion { .. } => "a buffer in scratch, the only place for the drive",
            RefusalKind::Unreachable => "code that some way from an entry leads to",
            RefusalKind::Unusable => "a value, on every way here",
            RefusalKind::NotAPointer => "an address in one of the program's regions",
            RefusalKind::NotANumber => "a number",
            RefusalKind::ReadOnly { .. } => "an address in reply, in scratch or on the stack",
            RefusalKind::StackNotWritten { .. } => "bytes that were written on every way here",
            RefusalKind::StackPlaceUnknown => {
                "a fixed place, or bytes that were all written before"
            }
            RefusalKind::PartOfPointer => "all 8 bytes of an address at once, or none of them",
            RefusalKind::PointerLeak { .. } => {
                "a number: addresses stay in registers and on the stack"
            }
            RefusalKind::PointerPlace => "an 8-byte store at r10-8, r10-16 and so on",
            RefusalKind::PointerResult => "a number: bytes of reply, or a negative errno",
            RefusalKind::PointerArithmetic => {
                "a number, or for an address a 64-bit addition or subtraction"
            }
            RefusalKind::Comparison => {
                "two numbers, two addresses in one region, or an address and 0"
            }
            RefusalKind::BufferPlace { .. } => "one place and one length, or a buffer in scratch",
            RefusalKind::UnknownHelper { .. } => "a helper that this agent has",
            RefusalKind::MaybeNull => "an address that was compared with null before",
            RefusalKind::SeveralRegions { .. } => {
                "one region, or a place that is sure to be inside"
            }
            RefusalKind::BufferStrays { .. } => "a buffer that is sure to be in its own region",
            RefusalKind::NotAMap => "the name of a map",
            RefusalKind::NoMap { .. } => "a map that the program declares",
            RefusalKind::NotGlobal { .. } => "a lookup, since only arrays of one value are globals",
            RefusalKind::CallDepth => {
                return write!(f, "at most {FRAMES_MAX} functions, one within the other");
            }
            RefusalKind::TooManyContexts
            | RefusalKind::TooManyStates { .. }
            | RefusalKind::TooManyCells
            | RefusalKind::TooManySteps => "a simpler program",
            RefusalKind::NotChecked => "the code that was checked",
        })
    }
}

/// The bytes of a region at which an access of `len` bytes may start, in words.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The region.
    pub region: RegionId,
    /// Its length, if that is one number.
    pub bytes: Option<u32>,
    /// Bytes of the access.
    pub len: u32,
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (region, len) = (self.region, self.len);
        match self.bytes {
            Some(bytes) => RefusalKind::Outside {
                region,
                len,
                bytes,
                right: Right::Read,
            }
            .needed()
            .fmt(f),
            None => write!(
                f,
                "{len} bytes before the end of {}, which differs from run to run",
                region.name()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    const FACTS: [Facts; 3] = [[1, 2, 3], [5, 8, 64], [4, 0, 0]];

    /// Every kind comes back from its number and facts, and has words of its own.
    #[test]
    fn kinds_survive_as_numbers() {
        let mut kinds = 0;
        for number in 0..=u16::MAX {
            let Some(name) = RefusalKind::name_of(number) else {
                assert_eq!(RefusalKind::of_number(number, [1, 1, 1]), None);
                continue;
            };
            kinds += 1;
            for facts in FACTS {
                let kind = RefusalKind::of_number(number, facts).expect(name);
                assert_eq!(kind.number(), number);
                assert_eq!(RefusalKind::of_number(number, kind.facts()), Some(kind));
                assert!(!kind.to_string().is_empty() && !kind.needed().to_string().is_empty());
            }
        }
        assert_eq!(kinds, 29);
        let write = RefusalKind::of_number(6, [5, WRITES | 8, 64]).expect("it is known");
        assert_eq!(write.facts(), [5, WRITES | 8, 64]);
        assert!(write.to_string().starts_with("writes 8 bytes"), "{write}");
    }

    #[test]
    fn facts_without_sense_are_no_kind() {
        for (number, facts) in [
            (5, [u32::MAX, 0, 0]),
            (6, [22, 8, 8]),
            (15, [0, 0, 0]),
            (15, [1, 99, 0]),
            (16, [6, 0, 0]),
        ] {
            assert_eq!(RefusalKind::of_number(number, facts), None, "{number}");
        }
    }

    #[test]
    fn what_is_known_is_said() {
        let pointer = |min, max| Known::Pointer {
            region: 4,
            min,
            max,
        };
        for (known, words) in [
            (pointer(0, 0), "points to scratch at byte 0"),
            (pointer(-8, 4095), "points to scratch at byte -8 to 4095"),
            (pointer(1, i64::MAX), "points to scratch at byte 1 or more"),
            (
                Known::Pointer {
                    region: 5,
                    min: 4032,
                    max: 4032,
                },
                "points to the stack, 64 bytes below its end",
            ),
            (
                pointer(i64::MIN, i64::MAX),
                "points to scratch, no one knows where",
            ),
            (Known::Number { min: 3, max: 3 }, "is 3"),
            (
                Known::Number {
                    min: i64::MIN,
                    max: i64::MAX,
                },
                "is any number",
            ),
            (
                Known::Number {
                    min: i64::MIN,
                    max: 7,
                },
                "is 7 or less",
            ),
            (
                Known::Pointer {
                    region: 255,
                    min: 0,
                    max: 1,
                },
                "points to an unknown region at byte 0 to 1",
            ),
        ] {
            assert_eq!(known.to_string(), words);
        }
    }

    #[test]
    fn room_is_said() {
        let room = |region, bytes, len| Room { region, bytes, len }.to_string();
        assert_eq!(
            room(RegionId::Reply, Some(64), 8),
            "byte 0 to 56 of reply, which has 64"
        );
        assert_eq!(
            room(RegionId::Reply, Some(8), 8),
            "byte 0 of reply, which has 8"
        );
        assert_eq!(
            room(RegionId::Reply, Some(4), 8),
            "8 bytes of reply, which has 4"
        );
        assert!(room(RegionId::Stack, Some(4096), 8).contains("r10-512"));
        assert!(room(RegionId::Data, None, 8).contains("end of data"));
    }
}
