//! Where the parts of a map lie in its memory; the picture is in [`maps`](crate::maps).

use super::shape::{MapKind, MapShape};
use super::words::Words;
use super::{HashSeed, MapError};
use crate::image::MapSpec;

/// Values start at multiples of this, and so do maps.
pub(super) const ALIGN_BYTES: usize = 8;
/// Bytes of the header.
const HEADER_BYTES: usize = 64;
/// The header's first word.
const MAGIC: u32 = u32::from_le_bytes(*b"OMAP");

/// Words of the header, by index.
pub(super) mod header {
    /// Says that a map was laid out here.
    pub(super) const MAGIC: usize = 0;
    /// The declaration, six words.
    pub(super) const SPEC: usize = 1;
    /// Entries there are.
    pub(crate) const COUNT: usize = 7;
    /// Entries that were used at least once: all below this number.
    pub(crate) const FRESH: usize = 8;
    /// Link to the first of the entries that were deleted.
    pub(crate) const FREE: usize = 9;
    /// Link to the entry used last.
    pub(crate) const NEWEST: usize = 10;
    /// Link to the entry used longest ago.
    pub(crate) const OLDEST: usize = 11;
    /// The hash's seed, four words.
    pub(super) const SEED: usize = 12;
}

/// Bytes of each part, in their order.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    values: usize,
    used: usize,
    buckets: usize,
    entries: usize,
    keys: usize,
}

impl Layout {
    /// That of a map. The shape's limits keep every number far below 2³².
    pub(super) const fn of(shape: &MapShape) -> Layout {
        let entries_max = shape.entries_max() as usize;
        let values = shape.region_bytes();
        let entry_bytes = match shape.kind() {
            MapKind::Array => {
                return Layout {
                    values,
                    used: 0,
                    buckets: 0,
                    entries: 0,
                    keys: 0,
                };
            }
            MapKind::Hash => 8,
            MapKind::LruHash => 16,
        };
        Layout {
            values,
            used: entries_max.div_ceil(32) * 4,
            buckets: entries_max.next_power_of_two() * 4,
            entries: entries_max * entry_bytes,
            keys: entries_max * shape.key_bytes(),
        }
    }

    /// Bytes in all: a multiple of 8.
    pub(super) const fn bytes(&self) -> usize {
        let sum = self.values + HEADER_BYTES + self.used + self.buckets + self.entries + self.keys;
        sum.next_multiple_of(ALIGN_BYTES)
    }

    /// As much of the memory as the map takes.
    ///
    /// # Errors
    /// [`MapError::Memory`] and [`MapError::Misaligned`].
    pub(super) fn claim<'m>(&self, memory: &'m mut [u8]) -> Result<&'m mut [u8], MapError> {
        let (needed, found) = (self.bytes(), memory.len());
        if !memory.as_ptr().addr().is_multiple_of(ALIGN_BYTES) {
            return Err(MapError::Misaligned);
        }
        memory
            .get_mut(..needed)
            .ok_or(MapError::Memory { needed, found })
    }

    /// The values, and what finds them, in memory that [`Layout::claim`] gave.
    pub(super) fn split<'m>(&self, memory: &'m mut [u8]) -> (&'m mut [u8], Parts<'m>) {
        let (values, behind) = self.split_values(memory);
        (values, self.parts(behind))
    }

    /// The values, and the bytes behind them.
    pub(super) fn split_values<'m>(&self, memory: &'m mut [u8]) -> (&'m mut [u8], &'m mut [u8]) {
        memory.split_at_mut(self.values.min(memory.len()))
    }

    /// What finds values, in the bytes behind them.
    pub(super) fn parts<'m>(&self, behind: &'m mut [u8]) -> Parts<'m> {
        let mut rest = behind;
        let mut part = |bytes: usize| {
            let all = core::mem::take(&mut rest);
            let (part, behind) = all.split_at_mut(bytes.min(all.len()));
            rest = behind;
            part
        };
        Parts {
            header: Words::over(part(HEADER_BYTES)),
            used: Words::over(part(self.used)),
            buckets: Words::over(part(self.buckets)),
            entries: Words::over(part(self.entries)),
            keys: part(self.keys),
        }
    }
}

/// All that is not values.
pub(super) struct Parts<'m> {
    /// As [`header`] has it.
    pub(super) header: Words<'m>,
    /// A bit an entry: set where there is one.
    pub(super) used: Words<'m>,
    /// A link a bucket, to the head of its chain.
    pub(super) buckets: Words<'m>,
    /// Two or four words an entry.
    pub(super) entries: Words<'m>,
    /// The keys, packed.
    pub(super) keys: &'m mut [u8],
}

impl Parts<'_> {
    /// Says what is laid out here.
    pub(super) fn write_header(&mut self, spec: &MapSpec, seed: HashSeed) {
        self.header.set(header::MAGIC, MAGIC);
        for (index, word) in spec_words(spec).into_iter().enumerate() {
            self.header.set(header::SPEC + index, word);
        }
        let (words, _) = seed.0.as_chunks();
        for (index, &word) in words.iter().enumerate() {
            self.header
                .set(header::SEED + index, u32::from_le_bytes(word));
        }
    }

    /// True if a map of this declaration is laid out here.
    pub(super) fn has_header(&self, spec: &MapSpec) -> bool {
        let mut words = spec_words(spec).into_iter().enumerate();
        self.header.get(header::MAGIC) == MAGIC
            && words.all(|(index, word)| self.header.get(header::SPEC + index) == word)
    }

    /// The seed that the map was laid out with.
    pub(super) fn seed(&self) -> HashSeed {
        let mut seed = [0; 16];
        let (words, _) = seed.as_chunks_mut();
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.header.get(header::SEED + index).to_le_bytes();
        }
        HashSeed(seed)
    }
}

const fn spec_words(spec: &MapSpec) -> [u32; 6] {
    [
        spec.kind,
        spec.key_bytes,
        spec.value_bytes,
        spec.entries_max,
        spec.flags,
        spec.initial_bytes,
    ]
}
