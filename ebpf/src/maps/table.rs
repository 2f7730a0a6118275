//! Entries by key: chained buckets, and for LRU maps the order of use.

use siphasher::sip::SipHasher13;

use super::HashSeed;
use super::error::MapOpError;
use super::layout::{Parts, header};
use super::shape::{MapKind, MapShape};
use crate::limits::MAP_CHAIN_MAX;

/// The number of an entry: below the most entries of the map.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u32);

/// What stands for a slot, or for none, in memory.
const fn link(slot: Option<Slot>) -> u32 {
    match slot {
        Some(Slot(index)) => index + 1,
        None => 0,
    }
}

/// A word of an entry.
#[derive(Clone, Copy)]
enum Field {
    /// Link to the next entry of its chain, or of those deleted.
    Next = 0,
    /// The hash of its key.
    Hash = 1,
    /// Link to the entry that was used after it, of all that are there.
    Newer = 2,
    /// Link to the entry that was used before it.
    Older = 3,
}

/// The entries of a hash map. Chains of LRU maps have what was used last in front.
pub(super) struct Table<'m> {
    parts: Parts<'m>,
    seed: HashSeed,
    is_lru: bool,
    entry_words: usize,
    entries_max: u32,
    key_bytes: usize,
}

impl<'m> Table<'m> {
    pub(super) fn new(shape: &MapShape, parts: Parts<'m>) -> Table<'m> {
        let is_lru = shape.kind() == MapKind::LruHash;
        Table {
            seed: parts.seed(),
            parts,
            is_lru,
            entry_words: if is_lru { 4 } else { 2 },
            entries_max: shape.entries_max(),
            key_bytes: shape.key_bytes(),
        }
    }

    /// The entries there are.
    pub(super) fn len(&self) -> u32 {
        self.parts.header.get(header::COUNT)
    }

    /// The hash of a key: SipHash-1-3, folded.
    pub(super) fn hash(&self, key: &[u8]) -> u32 {
        let hash = SipHasher13::new_with_key(&self.seed.0).hash(key);
        (hash ^ (hash >> 32)) as u32
    }

    /// The entry of a key of that hash.
    pub(super) fn find(&self, key: &[u8], hash: u32) -> Option<Slot> {
        self.chain(self.bucket(hash))
            .find(|&slot| self.get(slot, Field::Hash) == hash && self.key(slot) == key)
    }

    /// The key of an entry.
    pub(super) fn key(&self, slot: Slot) -> &[u8] {
        let start = slot.0 as usize * self.key_bytes;
        let key = self.parts.keys.get(start..start + self.key_bytes);
        key.unwrap_or_default()
    }

    /// Counts a use of an entry; nothing to do unless in LRU maps.
    pub(super) fn touch(&mut self, slot: Slot) {
        if self.is_lru && self.head(header::NEWEST) != Some(slot) {
            self.unchain(slot);
            self.forget(slot);
            self.enchain(slot);
            self.remember(slot);
        }
    }

    /// Makes an entry for a key of that hash that has none, at the expense of another if need be.
    ///
    /// # Errors
    /// [`MapOpError::Full`] and [`MapOpError::Crowded`], unless in LRU maps.
    pub(super) fn insert(&mut self, key: &[u8], hash: u32) -> Result<Slot, MapOpError> {
        self.make_room(self.bucket(hash))?;
        let slot = self.take_free().ok_or(MapOpError::Full)?;
        let start = slot.0 as usize * self.key_bytes;
        if let Some(place) = self.parts.keys.get_mut(start..start + key.len()) {
            place.copy_from_slice(key);
        }
        self.set(slot, Field::Hash, hash);
        self.enchain(slot);
        self.remember(slot);
        self.mark(slot, true);
        self.count(self.len().saturating_add(1));
        Ok(slot)
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, slot: Slot) {
        self.unchain(slot);
        self.forget(slot);
        self.mark(slot, false);
        self.count(self.len().saturating_sub(1));
        let free = self.parts.header.get(header::FREE);
        self.set(slot, Field::Next, free);
        self.set_head(header::FREE, Some(slot));
    }

    /// The first entry at or behind a place. Reads a word for every 32 places.
    pub(super) fn used_from(&self, from: u32) -> Option<Slot> {
        let first = from as usize / 32;
        let mut mask = u32::MAX << (from % 32);
        for index in first..self.parts.used.len() {
            let word = self.parts.used.get(index) & mask;
            if word != 0 {
                return self.slot(index as u32 * 32 + word.trailing_zeros() + 1);
            }
            mask = u32::MAX;
        }
        None
    }

    /// Sees to it that a bucket's chain may grow, and that there is an entry to be had.
    fn make_room(&mut self, bucket: usize) -> Result<(), MapOpError> {
        let is_full = self.len() >= self.entries_max;
        let mut length = 0;
        let mut last = None;
        for slot in self.chain(bucket) {
            length += 1;
            last = Some(slot);
        }
        let is_crowded = length >= MAP_CHAIN_MAX;
        let (victim, refusal) = match (is_crowded, is_full) {
            (false, false) => return Ok(()),
            (false, true) => (self.head(header::OLDEST), MapOpError::Full),
            (true, false) => (last, MapOpError::Crowded),
            (true, true) => (last, MapOpError::Full),
        };
        match victim {
            Some(victim) if self.is_lru => {
                self.remove(victim);
                Ok(())
            }
            _ => Err(refusal),
        }
    }

    /// An entry that is none yet: one that was deleted, or one that was never used.
    fn take_free(&mut self) -> Option<Slot> {
        if let Some(slot) = self.head(header::FREE) {
            let next = self.get(slot, Field::Next);
            self.parts.header.set(header::FREE, next);
            return Some(slot);
        }
        let fresh = self.parts.header.get(header::FRESH);
        if fresh >= self.entries_max {
            return None;
        }
        self.parts.header.set(header::FRESH, fresh + 1);
        Some(Slot(fresh))
    }

    /// The buckets are a power of two.
    fn bucket(&self, hash: u32) -> usize {
        hash as usize & self.parts.buckets.len().saturating_sub(1)
    }

    /// The entries of a bucket, at most [`MAP_CHAIN_MAX`].
    fn chain(&self, bucket: usize) -> impl Iterator<Item = Slot> {
        let mut next = self.slot(self.parts.buckets.get(bucket));
        core::iter::from_fn(move || {
            let slot = next?;
            next = self.slot(self.get(slot, Field::Next));
            Some(slot)
        })
        .take(MAP_CHAIN_MAX)
    }

    /// Puts an entry in front of its bucket's chain.
    fn enchain(&mut self, slot: Slot) {
        let bucket = self.bucket(self.get(slot, Field::Hash));
        let first = self.parts.buckets.get(bucket);
        self.set(slot, Field::Next, first);
        self.parts.buckets.set(bucket, link(Some(slot)));
    }

    /// Takes an entry out of its bucket's chain.
    fn unchain(&mut self, slot: Slot) {
        let bucket = self.bucket(self.get(slot, Field::Hash));
        let next = self.get(slot, Field::Next);
        if self.parts.buckets.get(bucket) == link(Some(slot)) {
            self.parts.buckets.set(bucket, next);
            return;
        }
        let before = self
            .chain(bucket)
            .find(|&before| self.get(before, Field::Next) == link(Some(slot)));
        if let Some(before) = before {
            self.set(before, Field::Next, next);
        }
    }

    /// Puts an entry in front of the order of use.
    fn remember(&mut self, slot: Slot) {
        if !self.is_lru {
            return;
        }
        let newest = self.head(header::NEWEST);
        self.set(slot, Field::Newer, link(None));
        self.set(slot, Field::Older, link(newest));
        match newest {
            Some(newest) => self.set(newest, Field::Newer, link(Some(slot))),
            None => self.set_head(header::OLDEST, Some(slot)),
        }
        self.set_head(header::NEWEST, Some(slot));
    }

    /// Takes an entry out of the order of use.
    fn forget(&mut self, slot: Slot) {
        if !self.is_lru {
            return;
        }
        let newer = self.slot(self.get(slot, Field::Newer));
        let older = self.slot(self.get(slot, Field::Older));
        match newer {
            Some(newer) => self.set(newer, Field::Older, link(older)),
            None => self.set_head(header::NEWEST, older),
        }
        match older {
            Some(older) => self.set(older, Field::Newer, link(newer)),
            None => self.set_head(header::OLDEST, newer),
        }
    }

    fn mark(&mut self, slot: Slot, is_used: bool) {
        let (index, bit) = (slot.0 as usize / 32, 1 << (slot.0 % 32));
        let word = self.parts.used.get(index);
        let word = if is_used { word | bit } else { word & !bit };
        self.parts.used.set(index, word);
    }

    fn count(&mut self, count: u32) {
        self.parts.header.set(header::COUNT, count);
    }

    /// What a link stands for: nothing but an entry that can be.
    fn slot(&self, link: u32) -> Option<Slot> {
        let index = link.checked_sub(1)?;
        (index < self.entries_max).then_some(Slot(index))
    }

    fn head(&self, which: usize) -> Option<Slot> {
        self.slot(self.parts.header.get(which))
    }

    fn set_head(&mut self, which: usize, slot: Option<Slot>) {
        self.parts.header.set(which, link(slot));
    }

    fn get(&self, slot: Slot, field: Field) -> u32 {
        self.parts.entries.get(self.word(slot, field))
    }

    fn set(&mut self, slot: Slot, field: Field, value: u32) {
        let index = self.word(slot, field);
        self.parts.entries.set(index, value);
    }

    fn word(&self, slot: Slot, field: Field) -> usize {
        slot.0 as usize * self.entry_words + field as usize
    }
}
