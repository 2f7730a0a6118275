//! What may be declared, and what memory it takes.

use super::error::MapError;
use super::layout::{ALIGN_BYTES, Layout};
use crate::image::MapSpec;
use crate::limits::{MAP_BYTES_MAX, MAP_KEY_BYTES_MAX, MAPS_MAX};

/// Map flag of hash maps: without effect, since all memory is there from the start.
pub const BPF_F_NO_PREALLOC: u32 = 1;
/// Map flag: programs may only read it. Whoever lets programs at a map sees to that.
pub const BPF_F_RDONLY_PROG: u32 = 1 << 7;

/// Bytes of an array's key.
const ARRAY_KEY_BYTES: u32 = 4;

/// The kinds of maps, by Linux's numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u32)]
pub enum MapKind {
    /// `BPF_MAP_TYPE_HASH`: any keys; full is full.
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`: keys are indexes, and every entry is there from the start.
    Array = 2,
    /// `BPF_MAP_TYPE_LRU_HASH`: any keys; when full, what was used longest ago goes.
    LruHash = 9,
}

impl MapKind {
    /// All of them.
    pub const ALL: [MapKind; 3] = [MapKind::Hash, MapKind::Array, MapKind::LruHash];

    /// The kind of that number.
    pub fn of(number: u32) -> Option<MapKind> {
        MapKind::ALL.into_iter().find(|&kind| kind as u32 == number)
    }

    /// The word for it in messages.
    pub const fn name(self) -> &'static str {
        match self {
            MapKind::Hash => "hash",
            MapKind::Array => "array",
            MapKind::LruHash => "LRU hash",
        }
    }

    /// The flags that it may be declared with.
    const fn flags(self) -> u32 {
        match self {
            MapKind::Hash => BPF_F_RDONLY_PROG | BPF_F_NO_PREALLOC,
            MapKind::Array | MapKind::LruHash => BPF_F_RDONLY_PROG,
        }
    }
}

/// A declaration that can be met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapShape {
    kind: MapKind,
    key_bytes: u32,
    value_bytes: u32,
    entries_max: u32,
    flags: u32,
}

impl MapShape {
    /// That of a declaration.
    ///
    /// # Errors
    /// An unknown kind or flag, a size that is zero or beyond its limit, an array's key that is not
    /// 4 bytes, initial bytes that there is no place for.
    pub fn of(spec: &MapSpec) -> Result<MapShape, MapError> {
        let kind = MapKind::of(spec.kind).ok_or(MapError::Kind { kind: spec.kind })?;
        let unknown = spec.flags & !kind.flags();
        if unknown != 0 {
            let flags = unknown;
            return Err(MapError::Flags { kind, flags });
        }
        let shape = MapShape {
            kind,
            key_bytes: spec.key_bytes,
            value_bytes: spec.value_bytes,
            entries_max: spec.entries_max,
            flags: spec.flags,
        };
        shape.check_sizes()?;
        shape.check_initial(u64::from(spec.initial_bytes))?;
        Ok(shape)
    }

    /// Its kind.
    pub const fn kind(&self) -> MapKind {
        self.kind
    }

    /// Bytes of a key.
    pub const fn key_bytes(&self) -> usize {
        self.key_bytes as usize
    }

    /// Bytes of a value.
    pub const fn value_bytes(&self) -> usize {
        self.value_bytes as usize
    }

    /// Bytes from the start of a value to the start of the next: a multiple of 8.
    pub const fn stride(&self) -> usize {
        self.value_bytes().next_multiple_of(ALIGN_BYTES)
    }

    /// Bytes of the region of values: what programs may be let at.
    pub const fn region_bytes(&self) -> usize {
        self.entries_max as usize * self.stride()
    }

    /// Entries it can hold.
    pub const fn entries_max(&self) -> u32 {
        self.entries_max
    }

    /// Bytes of memory that it takes: a multiple of 8.
    pub const fn bytes_needed(&self) -> usize {
        Layout::of(self).bytes()
    }

    /// The memory of a map that was laid out there, in two: the values, which programs may be let
    /// at, and the bytes behind them, for [`Keys::over`](super::Keys::over). What the memory has
    /// more than the map takes is left out.
    ///
    /// # Errors
    /// [`MapError::Memory`] and [`MapError::Misaligned`].
    pub fn split<'m>(
        &self,
        memory: &'m mut [u8],
    ) -> Result<(&'m mut [u8], &'m mut [u8]), MapError> {
        let layout = Layout::of(self);
        Ok(layout.split_values(layout.claim(memory)?))
    }

    /// True unless programs may only read it.
    pub const fn programs_may_write(&self) -> bool {
        self.flags & BPF_F_RDONLY_PROG == 0
    }

    fn check_sizes(&self) -> Result<(), MapError> {
        for (what, value) in [
            ("the bytes of a key", self.key_bytes),
            ("the bytes of a value", self.value_bytes),
            ("the number of entries", self.entries_max),
        ] {
            if value == 0 {
                return Err(MapError::Zero { what });
            }
        }
        if self.kind == MapKind::Array && self.key_bytes != ARRAY_KEY_BYTES {
            let found = self.key_bytes;
            return Err(MapError::ArrayKey { found });
        }
        let (entries, max) = (u64::from(self.entries_max), u64::from(MAP_BYTES_MAX));
        let key_bytes = u64::from(self.key_bytes);
        let stride = u64::from(self.value_bytes).next_multiple_of(ALIGN_BYTES as u64);
        limit(
            "the bytes of a key",
            key_bytes,
            u64::from(MAP_KEY_BYTES_MAX),
        )?;
        limit("the bytes of all keys", key_bytes * entries, max)?;
        limit(
            "the bytes of all values, each rounded up to 8,",
            stride.saturating_mul(entries),
            max,
        )
    }

    fn check_initial(&self, initial_bytes: u64) -> Result<(), MapError> {
        let max = match self.kind {
            MapKind::Array => u64::from(self.value_bytes) * u64::from(self.entries_max),
            MapKind::Hash | MapKind::LruHash => 0,
        };
        limit("the initial bytes", initial_bytes, max)
    }
}

fn limit(what: &'static str, value: u64, max: u64) -> Result<(), MapError> {
    if value > max {
        Err(MapError::Limit { what, value, max })
    } else {
        Ok(())
    }
}

/// The bytes of memory that a map takes: a multiple of 8, and at most some four and a half times
/// [`MAP_BYTES_MAX`].
///
/// # Errors
/// As [`MapShape::of`].
pub fn bytes_needed(spec: &MapSpec) -> Result<usize, MapError> {
    Ok(Layout::of(&MapShape::of(spec)?).bytes())
}

/// The bytes of memory that a program's maps take, one after the other.
///
/// # Errors
/// As [`bytes_needed`], and [`MapError::Count`] beyond [`MAPS_MAX`] maps.
pub fn bytes_needed_all(specs: impl IntoIterator<Item = MapSpec>) -> Result<usize, MapError> {
    let mut bytes = 0;
    for (index, spec) in specs.into_iter().enumerate() {
        if index == MAPS_MAX {
            return Err(MapError::Count);
        }
        bytes += bytes_needed(&spec)?;
    }
    Ok(bytes)
}
