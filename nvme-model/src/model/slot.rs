//! Commands between fetch and completion.

use core::cmp::Reverse;
use std::collections::BinaryHeap;
use std::vec::Vec;

use crate::spec::{DatasetRange, SubmissionEntry};

use super::limits::COMMANDS_MAX;
use super::{Fault, prp::Run};

/// Where a command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: the slot is free.
    Free,
    /// Being carried out in this very step.
    Running,
    /// Waiting for its time.
    Delayed,
    /// Waiting for room in its store.
    Stalled,
    /// In its store.
    Store,
    /// In its store, with nobody waiting for it.
    Orphan,
    /// Lost by a fault, for ever.
    Dropped,
    /// Hanging by a fault, until aborted.
    Hung,
    /// An Asynchronous Event Request, waiting for an event.
    Event,
    /// A queue deletion, waiting for the queue's commands.
    Deleting,
}

impl Place {
    /// Whether the host waits for the command here: not for an Asynchronous Event Request, which
    /// ends when there is an event, nor for one whose store works on without it.
    const fn is_awaited(self) -> bool {
        !matches!(self, Self::Free | Self::Event | Self::Orphan)
    }
}

/// How a command uses its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Not begun.
    New,
    /// One read or write of its buffers.
    Transfer,
    /// A flush before the read that Force Unit Access asks for.
    Commit,
    /// One read to compare its buffers with.
    Compare,
    /// Several operations without buffers, one after the other.
    Parts,
}

/// A command.
#[derive(Debug)]
pub(super) struct Slot {
    place: Place,
    pub(super) work: Work,
    /// The submission queue it came from.
    pub(super) queue: u16,
    pub(super) entry: SubmissionEntry,
    /// Index of its namespace, once known.
    pub(super) namespace: usize,
    /// Its buffers, once known.
    pub(super) runs: Vec<Run>,
    /// Whether the arena was told that its buffers are in flight.
    pub(super) held: bool,
    /// The ranges of Dataset Management.
    pub(super) ranges: Vec<DatasetRange>,
    /// Parts done.
    pub(super) part: usize,
    /// What is to go wrong at its completion.
    pub(super) fault: Option<Fault>,
    /// Tells a timer of this command from one of an earlier command in this slot.
    serial: u64,
}

impl Slot {
    pub(super) const fn new() -> Self {
        Self {
            place: Place::Free,
            work: Work::New,
            queue: 0,
            entry: SubmissionEntry::ZERO,
            namespace: 0,
            runs: Vec::new(),
            held: false,
            ranges: Vec::new(),
            part: 0,
            fault: None,
            serial: 0,
        }
    }

    #[inline]
    pub(super) const fn place(&self) -> Place {
        self.place
    }
}

/// All slots, the free ones, and the timers of the delayed ones. Grows to the most ever in use.
#[derive(Debug, Default)]
pub(super) struct Slots {
    all: Vec<Slot>,
    free: Vec<u32>,
    /// Slots whose command the host waits for.
    outstanding: usize,
    timers: BinaryHeap<Reverse<(u64, u64, u32)>>,
    serial: u64,
}

impl Slots {
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() || self.all.len() < COMMANDS_MAX
    }

    /// Takes a free slot for a command.
    #[inline]
    pub(super) fn take(&mut self, queue: u16, entry: SubmissionEntry) -> Option<u32> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.all.len() < COMMANDS_MAX => {
                self.all.push(Slot::new());
                (self.all.len() - 1) as u32
            }
            None => return None,
        };
        let slot = &mut self.all[index as usize];
        slot.work = Work::New;
        slot.queue = queue;
        slot.entry = entry;
        slot.part = 0;
        slot.fault = None;
        self.put(index, Place::Running);
        Some(index)
    }

    #[inline]
    pub(super) fn give(&mut self, index: u32) {
        self.put(index, Place::Free);
        self.free.push(index);
    }

    /// Moves a command to another place.
    #[inline]
    pub(super) fn put(&mut self, index: u32, place: Place) {
        let slot = &mut self.all[index as usize];
        self.outstanding -= usize::from(slot.place.is_awaited());
        self.outstanding += usize::from(place.is_awaited());
        slot.place = place;
    }

    /// Commands that the host waits for.
    #[inline]
    pub(super) const fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Whether the count of [`outstanding`](Self::outstanding) is that of the slots, and each slot is
    /// free or taken.
    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        let awaited = self.all.iter().filter(|slot| slot.place.is_awaited());
        let free = self.all.iter().filter(|slot| slot.place == Place::Free);
        awaited.count() == self.outstanding && free.count() == self.free.len()
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> &Slot {
        &self.all[index as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.all[index as usize]
    }

    /// Puts a command off until `due_us`. Those of the same time keep their order.
    pub(super) fn delay(&mut self, index: u32, due_us: u64) {
        self.serial += 1;
        self.all[index as usize].serial = self.serial;
        self.put(index, Place::Delayed);
        self.timers.push(Reverse((due_us, self.serial, index)));
    }

    /// The next command whose time has come.
    #[inline]
    pub(super) fn due(&mut self, now_us: u64) -> Option<u32> {
        while let Some(&Reverse((due_us, serial, index))) = self.timers.peek() {
            let slot = &self.all[index as usize];
            let stale = slot.place != Place::Delayed || slot.serial != serial;
            if !stale && due_us > now_us {
                return None;
            }
            self.timers.pop();
            if !stale {
                self.put(index, Place::Running);
                return Some(index);
            }
        }
        None
    }

    /// When the next command's time comes. May be early after an abort.
    #[inline]
    pub(super) fn next_due(&self) -> Option<u64> {
        self.timers.peek().map(|Reverse((due_us, ..))| *due_us)
    }

    pub(super) fn clear_timers(&mut self) {
        self.timers.clear();
    }

    /// Whether there is a command for which `wanted` holds.
    pub(super) fn any(&self, wanted: impl Fn(&Slot) -> bool) -> bool {
        let mut taken = self.all.iter().filter(|slot| slot.place != Place::Free);
        taken.any(wanted)
    }

    /// Indices of all commands for which `wanted` holds.
    pub(super) fn find(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<u32> {
        let taken = self.all.iter().enumerate();
        taken
            .filter(|(_, slot)| slot.place != Place::Free && wanted(slot))
            .map(|(index, _)| index as u32)
            .collect()
    }
}
