//! Maps: the tables a program keeps, in memory that the caller gives.
//!
//! Three kinds, with Linux's numbers, flags and errors: array, hash, and hash that forgets what was
//! used longest ago. A [`Map`] is a view of a slice of bytes: everything it knows lies in there, so
//! that a pool may be static and a view made anew ([`Map::open`]) whenever one is wanted.
//!
//! # What lies where
//!
//! ```text
//!  0                values     entries × stride; stride = value bytes, rounded up to 8
//!  ────────────────────────────── programs reach up to here and no further ──────────────────
//!  values' end      header     64 bytes: magic, the declaration, count, list heads, hash seed
//!                   used       a bit an entry, in words of 32
//!                   buckets    a link a bucket; as many as entries, rounded up to a power of two
//!                   entries    link in the chain and hash, 8 bytes; and for LRU the next newer
//!                              and the next older entry, 8 more
//!                   keys       entries × key bytes, packed
//! ```
//!
//! An array has values and header only. All numbers are little-endian; a link is 0 for none, else
//! the entry's number and 1; memory of zeros is a map without entries.
//!
//! **What is trusted.** A program writes values, at any time and any bytes of them, padding
//! included, for a pointer to a value outlives the call that gave it. So nothing that steers this
//! code lies among the values: keys, links, counts and seed come behind, and the region a program
//! is given is [`Map::split`]'s second half, which ends before them. What lies behind is written
//! by this module alone and is trusted to be what it wrote; were it not, operations would answer
//! wrongly, yet still neither panic nor run on: reads outside the slices give 0 and no chain is
//! followed beyond its bound.
//!
//! A pointer into an entry that has been deleted, or has made place for another, is a pointer to
//! whatever entry lies there now: of the same map and of the same size. Linux's preallocated maps
//! do the same. Unlike there, an update of an entry that exists writes over its value in place.
//!
//! # What an operation costs
//!
//! | operation | array | hash | LRU hash |
//! |---|---|---|---|
//! | lookup | 1 step | key's hash, 1 chain | key's hash, 2 chains |
//! | delete | refused | key's hash, 2 chains | key's hash, 2 chains |
//! | update | value's copy | key's hash, 2 chains, value's copy | key's hash, 3 chains, value's copy |
//! | next key | 1 step | key's hash, 1 chain, entries / 32 words | the same |
//!
//! A key has at most [`MAP_KEY_BYTES_MAX`](crate::limits::MAP_KEY_BYTES_MAX) bytes. A chain has at
//! most [`MAP_CHAIN_MAX`](crate::limits::MAP_CHAIN_MAX) entries, whatever the keys: an entry that
//! would lengthen it is refused with −E2BIG, or, with LRU, replaces the chain's entry that was used
//! longest ago. The hash is SipHash-1-3 under the caller's seed, so that nobody without the seed
//! finds keys that get there: with as many buckets as entries, a chain of 33 happens by chance in
//! fewer than one in 10³⁰ full maps. Layout is linear in [`bytes_needed`].

mod error;
mod keys;
mod layout;
mod shape;
mod table;
mod words;

pub use error::{MapError, MapOpError};
pub use keys::Keys;
pub use shape::{
    BPF_F_NO_PREALLOC, BPF_F_RDONLY_PROG, MapKind, MapShape, bytes_needed, bytes_needed_all,
};

use core::fmt;

use crate::image::MapSpec;
use layout::Layout;

/// Update flag: put the value there, whether or not the key has one.
pub const BPF_ANY: u64 = 0;
/// Update flag: only if the key has no value yet.
pub const BPF_NOEXIST: u64 = 1;
/// Update flag: only if the key has a value.
pub const BPF_EXIST: u64 = 2;

/// The key of a map's hash function: random, and known to no tenant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashSeed(pub [u8; 16]);

impl fmt::Debug for HashSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashSeed(..)")
    }
}

/// A map over somebody's memory.
#[derive(Debug)]
pub struct Map<'m> {
    keys: Keys<'m>,
    values: &'m mut [u8],
}

impl<'m> Map<'m> {
    /// Lays a map out in the first [`bytes_needed`] bytes of `memory`: a hash map empty, an array
    /// of `initial`, value after value without padding, and zeros after that.
    ///
    /// # Errors
    /// A declaration that cannot be met, initial bytes that are not as many as declared, memory
    /// that is too short or does not start at a multiple of 8. Nothing is written then.
    pub fn new(
        spec: &MapSpec,
        initial: &[u8],
        seed: HashSeed,
        memory: &'m mut [u8],
    ) -> Result<Map<'m>, MapError> {
        let shape = MapShape::of(spec)?;
        if initial.len() != spec.initial_bytes as usize {
            return Err(MapError::InitialLength {
                declared: spec.initial_bytes,
                found: initial.len(),
            });
        }
        let layout = Layout::of(&shape);
        let memory = layout.claim(memory)?;
        memory.fill(0);
        let (values, mut parts) = layout.split(memory);
        parts.write_header(spec, seed);
        let packed = initial.chunks(shape.value_bytes());
        for (value, initial) in values.chunks_mut(shape.stride()).zip(packed) {
            for (byte, &first) in value.iter_mut().zip(initial) {
                *byte = first;
            }
        }
        let keys = Keys::new(shape, parts);
        Ok(Map { keys, values })
    }

    /// The map that was laid out in `memory` before, as it was left.
    ///
    /// # Errors
    /// As [`Map::new`], and [`MapError::NotLaidOut`] where there is no map of this declaration.
    /// That is a guard against mistaking one's memory; it does not vet what others may have
    /// written there.
    pub fn open(spec: &MapSpec, memory: &'m mut [u8]) -> Result<Map<'m>, MapError> {
        let shape = MapShape::of(spec)?;
        let layout = Layout::of(&shape);
        let (values, parts) = layout.split(layout.claim(memory)?);
        if !parts.has_header(spec) {
            return Err(MapError::NotLaidOut);
        }
        let keys = Keys::new(shape, parts);
        Ok(Map { keys, values })
    }

    /// What was declared.
    pub const fn shape(&self) -> &MapShape {
        self.keys.shape()
    }

    /// The entries there are; all of them in an array.
    pub fn len(&self) -> u32 {
        self.keys.len()
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The offset of a key's value, as a program's lookup: to an LRU map it counts as a use.
    pub fn lookup(&mut self, key: &[u8]) -> Option<u32> {
        self.keys.lookup(key)
    }

    /// The offset of a key's value, as an onlooker's lookup: it counts as no use.
    pub fn peek(&self, key: &[u8]) -> Option<u32> {
        self.keys.peek(key)
    }

    /// Puts a value there; to an LRU map that counts as a use.
    ///
    /// # Errors
    /// As [`Keys::place`], and [`MapOpError::ValueBytes`]; nothing is changed then.
    pub fn update(&mut self, key: &[u8], value: &[u8], flags: u64) -> Result<(), MapOpError> {
        let needed = self.shape().value_bytes();
        if value.len() != needed {
            let found = value.len();
            return Err(MapOpError::ValueBytes { needed, found });
        }
        let offset = self.keys.place(key, flags)?;
        if let Some(place) = self.value_mut(offset) {
            place.copy_from_slice(value);
        }
        Ok(())
    }

    /// Takes a key and its value out.
    ///
    /// # Errors
    /// As [`Keys::delete`].
    pub fn delete(&mut self, key: &[u8]) -> Result<(), MapOpError> {
        self.keys.delete(key)
    }

    /// The key after a key, for walks.
    ///
    /// # Errors
    /// As [`Keys::next_key`].
    pub fn next_key(&self, after: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapOpError> {
        self.keys.next_key(after, next)
    }

    /// The value at an offset that a lookup gave.
    pub fn value(&self, offset: u32) -> Option<&[u8]> {
        let len = self.value_at(offset)?;
        self.values.get(offset as usize..)?.get(..len)
    }

    /// The value at an offset that a lookup gave, to be written.
    pub fn value_mut(&mut self, offset: u32) -> Option<&mut [u8]> {
        let len = self.value_at(offset)?;
        self.values.get_mut(offset as usize..)?.get_mut(..len)
    }

    /// The two halves: what finds entries, and the region of values that programs may be given.
    pub fn split(self) -> (Keys<'m>, &'m mut [u8]) {
        (self.keys, self.values)
    }

    /// The bytes of the value that starts at an offset, if one does.
    fn value_at(&self, offset: u32) -> Option<usize> {
        let shape = self.shape();
        (offset as usize)
            .is_multiple_of(shape.stride())
            .then_some(shape.value_bytes())
    }
}
