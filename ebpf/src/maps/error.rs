//! What can be wrong with a declaration, and with an operation.

use core::fmt;

use super::shape::MapKind;
use crate::limits::{MAP_CHAIN_MAX, MAPS_MAX};

const ENOENT: i32 = 2;
const E2BIG: i32 = 7;
const EEXIST: i32 = 17;
const EINVAL: i32 = 22;

/// Why there is no such map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// A type that is not known.
    Kind {
        /// Its number.
        kind: u32,
    },
    /// Flags that this kind does not have.
    Flags {
        /// The kind.
        kind: MapKind,
        /// Those it does not have.
        flags: u32,
    },
    /// A size of nothing.
    Zero {
        /// Which.
        what: &'static str,
    },
    /// An array's key that is no index.
    ArrayKey {
        /// Its bytes.
        found: u32,
    },
    /// A number is beyond its limit.
    Limit {
        /// Which.
        what: &'static str,
        /// The number.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// More maps than a program may have.
    Count,
    /// Initial bytes that are not as many as declared.
    InitialLength {
        /// Bytes declared.
        declared: u32,
        /// Bytes given.
        found: usize,
    },
    /// The memory is too short.
    Memory {
        /// Bytes it takes.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// The memory does not start at a multiple of 8.
    Misaligned,
    /// The memory holds no map of this declaration.
    NotLaidOut,
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapError::Kind { kind } => write!(
                f,
                "there are no maps of type {kind}, only hash (1), array (2) and LRU hash (9)"
            ),
            MapError::Flags { kind, flags } => {
                write!(
                    f,
                    "a map of type {} cannot have the flags {flags:#x}",
                    kind.name()
                )
            }
            MapError::Zero { what } => write!(f, "{what} of a map may not be 0"),
            MapError::ArrayKey { found } => {
                write!(
                    f,
                    "the key of an array has 4 bytes, and this one has {found}"
                )
            }
            MapError::Limit { what, value, max } => {
                write!(
                    f,
                    "{what} of a map are {value}, and {max} is the most there may be"
                )
            }
            MapError::Count => write!(f, "a program may have {MAPS_MAX} maps and no more"),
            MapError::InitialLength { declared, found } => {
                write!(
                    f,
                    "{found} initial bytes came with a map that declares {declared}"
                )
            }
            MapError::Memory { needed, found } => {
                write!(
                    f,
                    "the map takes {needed} bytes of memory, and there are {found}"
                )
            }
            MapError::Misaligned => {
                f.write_str("the memory for a map must start at a multiple of 8")
            }
            MapError::NotLaidOut => f.write_str("the memory holds no map of this declaration"),
        }
    }
}

impl core::error::Error for MapError {}

/// Why an operation did nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapOpError {
    /// There is no such key, or none after it.
    NoEntry,
    /// There is such a key, and it was to be new.
    Exists,
    /// The map holds as many entries as it can.
    Full,
    /// The key is an index beyond the array.
    Index {
        /// The index.
        index: u32,
        /// The entries there are.
        entries: u32,
    },
    /// Too many keys share a bucket, which without knowing the seed nobody can bring about.
    Crowded,
    /// Flags that are not known.
    Flags {
        /// All that were given.
        flags: u64,
    },
    /// The key has another length.
    KeyBytes {
        /// Bytes of a key.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// The value has another length.
    ValueBytes {
        /// Bytes of a value.
        needed: usize,
        /// Bytes given.
        found: usize,
    },
    /// The entries of an array stay.
    ArrayDelete,
}

impl MapOpError {
    /// What Linux returns: the error's number, negative.
    pub const fn errno(&self) -> i32 {
        match self {
            MapOpError::NoEntry => -ENOENT,
            MapOpError::Exists => -EEXIST,
            MapOpError::Full | MapOpError::Index { .. } | MapOpError::Crowded => -E2BIG,
            MapOpError::Flags { .. }
            | MapOpError::KeyBytes { .. }
            | MapOpError::ValueBytes { .. }
            | MapOpError::ArrayDelete => -EINVAL,
        }
    }
}

impl fmt::Display for MapOpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapOpError::NoEntry => f.write_str("there is no such entry"),
            MapOpError::Exists => f.write_str("there is an entry of that key already"),
            MapOpError::Full => f.write_str("the map is full"),
            MapOpError::Index { index, entries } => {
                write!(f, "there is no entry {index} in an array of {entries}")
            }
            MapOpError::Crowded => {
                write!(
                    f,
                    "{MAP_CHAIN_MAX} other keys share this key's bucket, which is the most"
                )
            }
            MapOpError::Flags { flags } => {
                write!(
                    f,
                    "{flags:#x} is none of the flags ANY (0), NOEXIST (1) and EXIST (2)"
                )
            }
            MapOpError::KeyBytes { needed, found } => {
                write!(
                    f,
                    "the map's keys have {needed} bytes, and this one has {found}"
                )
            }
            MapOpError::ValueBytes { needed, found } => {
                write!(
                    f,
                    "the map's values have {needed} bytes, and this one has {found}"
                )
            }
            MapOpError::ArrayDelete => f.write_str("nothing can be deleted from an array"),
        }
    }
}

impl core::error::Error for MapOpError {}
