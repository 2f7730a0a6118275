//! What finds a key's value: everything of a map but the values themselves.

use core::fmt;

use super::error::MapOpError;
use super::layout::{Layout, Parts};
use super::shape::{MapKind, MapShape};
use super::table::{Slot, Table};
use super::{BPF_EXIST, BPF_NOEXIST};

/// A map without its values, for whoever has these elsewhere: in a region that a program runs on.
pub struct Keys<'m> {
    shape: MapShape,
    table: Table<'m>,
}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys")
            .field("shape", &self.shape)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl<'m> Keys<'m> {
    pub(super) fn new(shape: MapShape, parts: Parts<'m>) -> Keys<'m> {
        let table = Table::new(&shape, parts);
        Keys { shape, table }
    }

    /// What finds the values of a map of this shape, in the bytes that [`MapShape::split`] gave as
    /// lying behind them. Of other bytes nothing sensible is found, and no harm comes of it.
    pub fn over(shape: MapShape, behind: &'m mut [u8]) -> Keys<'m> {
        Keys::new(shape, Layout::of(&shape).parts(behind))
    }

    /// What was declared.
    pub const fn shape(&self) -> &MapShape {
        &self.shape
    }

    /// The entries there are; all of them in an array.
    pub fn len(&self) -> u32 {
        match self.shape.kind() {
            MapKind::Array => self.shape.entries_max(),
            MapKind::Hash | MapKind::LruHash => self.table.len(),
        }
    }

    /// True if there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The offset of a key's value, as a program's lookup: to an LRU map it counts as a use.
    pub fn lookup(&mut self, key: &[u8]) -> Option<u32> {
        let slot = self.find(key)?;
        if self.shape.kind() == MapKind::LruHash {
            self.table.touch(slot);
        }
        Some(self.offset(slot))
    }

    /// The offset of a key's value, as an onlooker's lookup: it counts as no use.
    pub fn peek(&self, key: &[u8]) -> Option<u32> {
        let slot = self.find(key)?;
        Some(self.offset(slot))
    }

    /// The offset at which a key's value is to be written, all of it and at once: if the key is
    /// new, another's old value is there.
    ///
    /// # Errors
    /// [`MapOpError::KeyBytes`] and [`MapOpError::Flags`]; [`MapOpError::Exists`] with
    /// [`BPF_NOEXIST`] and [`MapOpError::NoEntry`] with [`BPF_EXIST`];
    /// [`MapOpError::Index`] in arrays, [`MapOpError::Full`] and [`MapOpError::Crowded`] in hash
    /// maps that are not LRU. Nothing is changed then.
    pub fn place(&mut self, key: &[u8], flags: u64) -> Result<u32, MapOpError> {
        self.check_key(key.len())?;
        if flags > BPF_EXIST {
            return Err(MapOpError::Flags { flags });
        }
        if self.shape.kind() == MapKind::Array {
            let slot = self.element(key)?;
            if flags == BPF_NOEXIST {
                return Err(MapOpError::Exists);
            }
            return Ok(self.offset(slot));
        }
        let hash = self.table.hash(key);
        let slot = match self.table.find(key, hash) {
            Some(_) if flags == BPF_NOEXIST => return Err(MapOpError::Exists),
            Some(slot) => {
                self.table.touch(slot);
                slot
            }
            None if flags == BPF_EXIST => return Err(MapOpError::NoEntry),
            None => self.table.insert(key, hash)?,
        };
        Ok(self.offset(slot))
    }

    /// Takes a key out.
    ///
    /// # Errors
    /// [`MapOpError::KeyBytes`], [`MapOpError::NoEntry`], and [`MapOpError::ArrayDelete`] in arrays.
    pub fn delete(&mut self, key: &[u8]) -> Result<(), MapOpError> {
        self.check_key(key.len())?;
        if self.shape.kind() == MapKind::Array {
            return Err(MapOpError::ArrayDelete);
        }
        let slot = self.find(key).ok_or(MapOpError::NoEntry)?;
        self.table.remove(slot);
        Ok(())
    }

    /// Puts into `next` the key after `after`, in the order of the entries' places; the first one
    /// if there is no `after`, or no such key. Nothing counts as used. A walk comes by every key
    /// that stays throughout, once, and ends; but if the key it has come to is deleted meanwhile,
    /// the next step starts over, as with Linux.
    ///
    /// # Errors
    /// [`MapOpError::NoEntry`] behind the last; [`MapOpError::KeyBytes`] if either is no key.
    pub fn next_key(&self, after: Option<&[u8]>, next: &mut [u8]) -> Result<(), MapOpError> {
        self.check_key(next.len())?;
        if let Some(after) = after {
            self.check_key(after.len())?;
        }
        let from = after
            .and_then(|key| self.find(key))
            .map_or(0, |slot| slot.0 + 1);
        if self.shape.kind() == MapKind::Array {
            if from >= self.shape.entries_max() {
                return Err(MapOpError::NoEntry);
            }
            next.copy_from_slice(&from.to_le_bytes());
            return Ok(());
        }
        let key = self.table.used_from(from).map(|slot| self.table.key(slot));
        let key = key.filter(|key| key.len() == next.len());
        next.copy_from_slice(key.ok_or(MapOpError::NoEntry)?);
        Ok(())
    }

    /// The first entry at or behind a place, a number below the most entries: its place, and the
    /// offset of its value. Its key goes into `key`, which must be as long as the map's keys are.
    /// Nothing counts as used. A walk by places comes by every entry that stays throughout, once,
    /// whatever becomes of the others meanwhile.
    pub fn entry_from(&self, place: u32, key: &mut [u8]) -> Option<(u32, u32)> {
        self.check_key(key.len()).ok()?;
        let slot = match self.shape.kind() {
            MapKind::Array => {
                let slot = (place < self.shape.entries_max()).then_some(Slot(place))?;
                key.copy_from_slice(&place.to_le_bytes());
                slot
            }
            MapKind::Hash | MapKind::LruHash => {
                let slot = self.table.used_from(place)?;
                let found = self.table.key(slot);
                if found.len() != key.len() {
                    return None;
                }
                key.copy_from_slice(found);
                slot
            }
        };
        Some((slot.0, self.offset(slot)))
    }

    fn find(&self, key: &[u8]) -> Option<Slot> {
        self.check_key(key.len()).ok()?;
        match self.shape.kind() {
            MapKind::Array => self.element(key).ok(),
            MapKind::Hash | MapKind::LruHash => self.table.find(key, self.table.hash(key)),
        }
    }

    /// The element of an array that a key is the index of.
    fn element(&self, key: &[u8]) -> Result<Slot, MapOpError> {
        let index = key.first_chunk().map_or(0, |&key| u32::from_le_bytes(key));
        let entries = self.shape.entries_max();
        if index < entries {
            Ok(Slot(index))
        } else {
            Err(MapOpError::Index { index, entries })
        }
    }

    fn check_key(&self, found: usize) -> Result<(), MapOpError> {
        let needed = self.shape.key_bytes();
        if found == needed {
            Ok(())
        } else {
            Err(MapOpError::KeyBytes { needed, found })
        }
    }

    /// Below [`MAP_BYTES_MAX`](crate::limits::MAP_BYTES_MAX).
    fn offset(&self, slot: Slot) -> u32 {
        slot.0 * self.shape.stride() as u32
    }
}
