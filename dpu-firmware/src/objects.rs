//! Objects and instances: what a connection may touch, and the programs attached to it.
//!
//! An object is a range of a drive. Programs and clients name bytes of an object, never
//! LBAs; [`Object::place`] is the one place where an offset becomes a block, and it checks
//! the range every time. Ids carry a generation, so that an id of an object closed long
//! ago names nothing instead of whatever took its slot.

use alloc::boxed::Box;
use alloc::vec::Vec;
use nvme_model::driver::{Lba, NamespaceId};

use crate::limits::OBJECTS_PER_CONNECTION;
use crate::maps::MapSlab;
use crate::program_store::ProgramIndex;
use crate::request::Blocks;
use crate::session::ConnectionIndex;

/// A range of a drive that a connection opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Object {
    /// The drive.
    pub namespace: NamespaceId,
    /// First byte of the object on the drive; a multiple of the block.
    pub start_bytes: u64,
    /// Its length; a multiple of the block.
    pub length_bytes: u64,
    /// Block size of the drive, a power of two.
    pub block_bytes: u32,
}

/// A byte range of an object, found on the drive: whole blocks, and where in them it lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The blocks that cover it.
    pub blocks: Blocks,
    /// Bytes of the first block before the range.
    pub skip_bytes: u32,
    /// Length of the range.
    pub length_bytes: u32,
    /// Bytes of the covering blocks.
    pub covering_bytes: u32,
}

impl Object {
    /// Finds a byte range on the drive. `None` where it is empty or not wholly inside the
    /// object.
    #[must_use]
    pub fn place(&self, offset: u64, length: u32) -> Option<Placed> {
        let end = offset.checked_add(u64::from(length))?;
        if length == 0 || end > self.length_bytes {
            return None;
        }
        let block = u64::from(self.block_bytes);
        let from = self.start_bytes.checked_add(offset)?;
        let first = from / block;
        let last = (from + u64::from(length) - 1) / block;
        let count = u32::try_from(last - first + 1).ok()?;
        Some(Placed {
            blocks: Blocks {
                namespace: self.namespace,
                lba: Lba(first),
                count,
            },
            skip_bytes: (from % block) as u32,
            length_bytes: length,
            covering_bytes: count.checked_mul(self.block_bytes)?,
        })
    }
}

/// A program attached to objects with limits.
#[derive(Debug, Clone, Copy)]
pub struct Instance {
    /// The program.
    pub program: ProgramIndex,
    /// The objects by the numbers the program uses.
    pub objects: [Option<ObjectId>; protocol::limits::OBJECTS_PER_INSTANCE_MAX],
    /// How many of them there are.
    pub object_count: u32,
    /// Instructions that each invocation may spend.
    pub instruction_budget: u64,
    /// Device reads that each invocation may make.
    pub read_budget: u32,
    /// Invocations that exist or wait to.
    pub calls: u32,
    /// Where its maps lie, if it has any.
    pub maps: Option<MapSlab>,
}

/// An object as the wire names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectId(pub u32);

/// Which slot of the instance table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InstanceIndex(pub(crate) u16);

/// A table of things that connections own, named by index and generation.
#[derive(Debug)]
pub struct Table<T> {
    slots: Box<[Slot<T>]>,
    free: Box<[u16]>,
    free_count: usize,
    least_free: usize,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u16,
    owner: ConnectionIndex,
    value: Option<T>,
}

impl<T> Table<T> {
    /// A table of `capacity` slots, at most 65 535.
    #[must_use]
    pub fn new(capacity: usize) -> Table<T> {
        let slots: Vec<Slot<T>> = (0..capacity)
            .map(|_| Slot {
                generation: 1,
                owner: ConnectionIndex(0),
                value: None,
            })
            .collect();
        let free: Vec<u16> = (0..capacity as u16).rev().collect();
        Table {
            slots: slots.into_boxed_slice(),
            free: free.into_boxed_slice(),
            free_count: capacity,
            least_free: capacity,
        }
    }

    /// Puts a value in; its id on the wire, or `None` where the table is full.
    pub fn insert(&mut self, owner: ConnectionIndex, value: T) -> Option<u32> {
        self.free_count = self.free_count.checked_sub(1)?;
        self.least_free = self.least_free.min(self.free_count);
        let index = self.free[self.free_count];
        let slot = &mut self.slots[usize::from(index)];
        slot.owner = owner;
        slot.value = Some(value);
        Some(u32::from(slot.generation) << 16 | u32::from(index))
    }

    /// The slot of an id of this owner.
    #[must_use]
    pub fn find(&self, owner: ConnectionIndex, id: u32) -> Option<u16> {
        let index = id as u16;
        let slot = self.slots.get(usize::from(index))?;
        let is_it =
            slot.value.is_some() && slot.owner == owner && u32::from(slot.generation) == id >> 16;
        is_it.then_some(index)
    }

    /// The value of an id of this owner.
    #[must_use]
    pub fn get(&self, owner: ConnectionIndex, id: u32) -> Option<&T> {
        self.at(self.find(owner, id)?)
    }

    /// The value in a slot.
    #[must_use]
    pub fn at(&self, index: u16) -> Option<&T> {
        self.slots.get(usize::from(index))?.value.as_ref()
    }

    /// The value in a slot, to change.
    pub fn at_mut(&mut self, index: u16) -> Option<&mut T> {
        self.slots.get_mut(usize::from(index))?.value.as_mut()
    }

    /// Takes a value out; ids of it name nothing from now on.
    pub fn remove(&mut self, index: u16) -> Option<T> {
        let slot = self.slots.get_mut(usize::from(index))?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1).max(1);
        self.free[self.free_count] = index;
        self.free_count += 1;
        Some(value)
    }

    /// The next slot of one owner from slot `from` on: for closing a connection, in one walk of
    /// the table.
    #[must_use]
    pub fn next_owned(&self, owner: ConnectionIndex, from: u16) -> Option<u16> {
        let from = usize::from(from);
        let owned = |slot: &Slot<T>| slot.value.is_some() && slot.owner == owner;
        let step = self.slots.get(from..)?.iter().position(owned)?;
        Some((from + step) as u16)
    }

    /// Slots taken.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.slots.len() - self.free_count
    }

    /// The most that were ever taken.
    #[must_use]
    pub const fn peak(&self) -> usize {
        self.slots.len() - self.least_free
    }

    /// Slots in all.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.slots.len()
    }
}

const _: () = assert!(OBJECTS_PER_CONNECTION >= protocol::limits::OBJECTS_PER_INSTANCE_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Object {
        Object {
            namespace: NamespaceId(1),
            start_bytes: 8192,
            length_bytes: 16384,
            block_bytes: 4096,
        }
    }

    #[test]
    fn a_range_is_found_in_whole_blocks() {
        let placed = object().place(4000, 200).unwrap();
        assert_eq!(placed.blocks.lba, Lba(2));
        assert_eq!(placed.blocks.count, 2);
        assert_eq!(placed.skip_bytes, 4000);
        assert_eq!(placed.covering_bytes, 8192);
    }

    #[test]
    fn nothing_outside_the_object_is_found() {
        assert!(object().place(16384, 1).is_none());
        assert!(object().place(16383, 2).is_none());
        assert!(object().place(u64::MAX, 2).is_none());
        assert!(object().place(0, 0).is_none());
        assert!(object().place(16383, 1).is_some());
    }

    #[test]
    fn an_id_dies_with_its_value_and_belongs_to_its_owner() {
        let mut table = Table::new(2);
        let id = table.insert(ConnectionIndex(7), "a").unwrap();
        assert_eq!(table.get(ConnectionIndex(7), id), Some(&"a"));
        assert_eq!(table.get(ConnectionIndex(8), id), None);
        let index = table.find(ConnectionIndex(7), id).unwrap();
        table.remove(index);
        let again = table.insert(ConnectionIndex(7), "b").unwrap();
        assert_ne!(id, again);
        assert_eq!(table.get(ConnectionIndex(7), id), None);
        assert!(table.insert(ConnectionIndex(7), "c").is_some());
        assert!(table.insert(ConnectionIndex(7), "d").is_none());
    }
}
