//! Command slots of a queue: who is in flight, under which id, since when.
//!
//! A slot is in exactly one list, and lists are linked through the slots, so that taking, finding,
//! ending and looking for the oldest all take constant time. Commands of a list share one deadline
//! length, hence the oldest of a list is always the first to expire.
//!
//! A command id is the slot in its low bits and a sequence above. The sequence moves on with every
//! issue and survives resets, so the completion of an earlier command in the slot does not match.

use super::operation::{NamespaceId, Operation};
use crate::limits::SLOTS_PER_QUEUE_MAX;
use crate::memory::Transfer;

const NONE: u16 = u16::MAX;

/// Where a slot's command is. Also the index of its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// No command.
    Free = 0,
    /// The device has it.
    InFlight = 1,
    /// The device has it, beyond its deadline.
    Aborting = 2,
    /// The device had it before a reset.
    Interrupted = 3,
    /// To be issued again.
    Repeat = 4,
    /// Ended, but the device may still write to its memory.
    Quarantined = 5,
}
const PLACES: usize = 6;

/// Why a command id names no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mismatch {
    /// Its command has ended.
    Stale,
    /// There is no such slot.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) token: u64,
    pub(super) deadline_us: u64,
    pub(super) operation: Operation,
    pub(super) transfer: Transfer,
    /// Issued again already, so that another reset ends it.
    pub(super) repeated: bool,
    place: Place,
    sequence: u16,
    older: u16,
    newer: u16,
}

#[derive(Clone, Copy, Debug)]
struct List {
    oldest: u16,
    newest: u16,
    length: u16,
}

#[derive(Debug)]
pub(super) struct Slots<const SLOTS: usize> {
    slots: [Slot; SLOTS],
    lists: [List; PLACES],
}

impl<const SLOTS: usize> Slots<SLOTS> {
    const SLOT_BITS: u32 = usize::BITS - (SLOTS - 1).leading_zeros();
    /// Sequences are below this, so that no id is FFFFh, which the specification advises against.
    const SEQUENCE_END: u16 = ((1u32 << (16 - Self::SLOT_BITS)) - 1) as u16;
    const CHECK: () = assert!(SLOTS >= 1 && SLOTS <= SLOTS_PER_QUEUE_MAX);

    pub(super) fn new(nonce: u64) -> Self {
        const { Self::CHECK };
        let sequence = (nonce % u64::from(Self::SEQUENCE_END)) as u16;
        let empty = List {
            oldest: NONE,
            newest: NONE,
            length: 0,
        };
        Slots {
            slots: core::array::from_fn(|_| Slot {
                token: 0,
                deadline_us: 0,
                operation: Operation::Flush {
                    namespace: NamespaceId(0),
                },
                transfer: Transfer::None,
                repeated: false,
                place: Place::Free,
                sequence,
                older: NONE,
                newer: NONE,
            }),
            lists: [empty; PLACES],
        }
    }

    /// Makes the first `depth` slots available. Done once, when the queue's depth is known.
    pub(super) fn open(&mut self, depth: u16) {
        if self.lists.iter().any(|list| list.length > 0) {
            return;
        }
        for index in 0..depth.min(SLOTS as u16) {
            self.append(Place::Free, index);
        }
    }

    /// A free slot. The one freed last comes first: its lines are warm.
    #[inline]
    pub(super) fn free_slot(&self) -> Option<u16> {
        let newest = self.lists[Place::Free as usize].newest;
        (newest != NONE).then_some(newest)
    }

    #[inline]
    pub(super) fn count(&self, place: Place) -> usize {
        usize::from(self.lists[place as usize].length)
    }

    #[inline]
    pub(super) fn oldest(&self, place: Place) -> Option<u16> {
        let oldest = self.lists[place as usize].oldest;
        (oldest != NONE).then_some(oldest)
    }

    /// When the first command of the list expires.
    #[inline]
    pub(super) fn deadline_us(&self, place: Place) -> Option<u64> {
        self.oldest(place).map(|index| self.get(index).deadline_us)
    }

    #[inline]
    pub(super) fn get(&self, index: u16) -> &Slot {
        &self.slots[usize::from(index)]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u16) -> &mut Slot {
        &mut self.slots[usize::from(index)]
    }

    /// Moves to the next sequence and gives the command id to issue the slot's command under.
    #[inline]
    pub(super) fn next_id(&mut self, index: u16) -> u16 {
        let slot = self.get_mut(index);
        slot.sequence += 1;
        if slot.sequence >= Self::SEQUENCE_END {
            slot.sequence = 0;
        }
        self.id(index)
    }

    /// The id under which the slot's command was issued last.
    #[inline]
    pub(super) fn id(&self, index: u16) -> u16 {
        (u32::from(self.get(index).sequence) << Self::SLOT_BITS) as u16 | index
    }

    /// The slot of the command that the device has under this id.
    #[inline]
    pub(super) fn find(&self, id: u16) -> Result<u16, Mismatch> {
        let index = (u32::from(id) & ((1 << Self::SLOT_BITS) - 1)) as u16;
        let slot = self
            .slots
            .get(usize::from(index))
            .ok_or(Mismatch::Unknown)?;
        let sequence = (u32::from(id) >> Self::SLOT_BITS) as u16;
        let with_device = matches!(slot.place, Place::InFlight | Place::Aborting);
        if !with_device || slot.sequence != sequence {
            return Err(Mismatch::Stale);
        }
        Ok(index)
    }

    pub(super) fn place(&self, index: u16) -> Place {
        self.get(index).place
    }

    /// Takes the slot from its list and puts it last in another.
    #[inline]
    pub(super) fn move_to(&mut self, place: Place, index: u16) {
        let slot = self.get(index);
        let (from, older, newer) = (slot.place, slot.older, slot.newer);
        let list = &mut self.lists[from as usize];
        list.length -= 1;
        if older == NONE {
            list.oldest = newer;
        }
        if newer == NONE {
            list.newest = older;
        }
        if older != NONE {
            self.get_mut(older).newer = newer;
        }
        if newer != NONE {
            self.get_mut(newer).older = older;
        }
        self.append(place, index);
    }

    #[inline]
    fn append(&mut self, place: Place, index: u16) {
        let list = &mut self.lists[place as usize];
        let older = list.newest;
        list.newest = index;
        list.length += 1;
        if older == NONE {
            list.oldest = index;
        } else {
            self.get_mut(older).newer = index;
        }
        let slot = self.get_mut(index);
        slot.place = place;
        slot.older = older;
        slot.newer = NONE;
    }

    /// All that the device has becomes interrupted, in the order it was submitted.
    pub(super) fn interrupt(&mut self) {
        for place in [Place::Aborting, Place::InFlight] {
            while let Some(index) = self.oldest(place) {
                self.move_to(Place::Interrupted, index);
            }
        }
    }

    /// Commands that have not ended, wherever they are.
    pub(super) fn unfinished(&self) -> usize {
        self.count(Place::InFlight)
            + self.count(Place::Aborting)
            + self.count(Place::Interrupted)
            + self.count(Place::Repeat)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_to_their_slot_once() {
        let mut slots = Slots::<5>::new(u64::MAX);
        slots.open(4);
        assert_eq!(slots.count(Place::Free), 4);
        let index = slots.free_slot().unwrap();
        let first = slots.next_id(index);
        slots.move_to(Place::InFlight, index);
        assert_eq!(slots.find(first), Ok(index));
        slots.move_to(Place::Free, index);
        assert_eq!(slots.find(first), Err(Mismatch::Stale));
        assert_eq!(slots.free_slot(), Some(index));
        let second = slots.next_id(index);
        slots.move_to(Place::InFlight, index);
        assert_ne!(first, second);
        assert_eq!(slots.find(first), Err(Mismatch::Stale));
        assert_eq!(slots.find(second), Ok(index));
        assert_eq!(slots.find(7), Err(Mismatch::Unknown));
    }

    #[test]
    fn no_id_is_all_ones() {
        let mut slots = Slots::<16>::new(7);
        slots.open(16);
        slots.move_to(Place::InFlight, 15);
        for _ in 0..10_000 {
            assert_ne!(slots.next_id(15), u16::MAX);
        }
    }

    #[test]
    fn lists_keep_the_order_of_submission() {
        let mut slots = Slots::<8>::new(0);
        slots.open(8);
        let order = [3u16, 0, 7, 5];
        for index in order {
            slots.move_to(Place::InFlight, index);
        }
        slots.move_to(Place::Aborting, 3);
        slots.move_to(Place::Free, 7);
        slots.interrupt();
        let mut seen = [0u16; 3];
        for at in &mut seen {
            *at = slots.oldest(Place::Interrupted).unwrap();
            slots.move_to(Place::Free, *at);
        }
        assert_eq!(seen, [3, 0, 5]);
        assert_eq!(slots.unfinished(), 0);
        assert_eq!(slots.count(Place::Free), 8);
    }
}
