//! Submission and completion queues as the controller keeps them (Base §3.3.1).

use core::ops::Range;
use std::boxed::Box;
use std::vec;

use crate::spec::{COMPLETION_ENTRY_BYTES, SUBMISSION_ENTRY_BYTES};

/// Why a doorbell value was refused: out of the queue, the value it had, or past what there is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadDoorbell;

/// A submission queue: the controller consumes at the head, the host produces at the tail.
#[derive(Debug)]
pub(super) struct SubmissionQueue {
    start: usize,
    entries: u32,
    head: u32,
    tail: u32,
    /// The queue its completions go to.
    pub(super) completion: u16,
    /// Commands fetched and not completed.
    pub(super) outstanding: u32,
    /// A wrong tail was written: no more is fetched until the queue is made anew (Base §3.3.1.2).
    broken: bool,
    /// The slot of the command that deletes this queue.
    pub(super) deleting: Option<u32>,
    /// One bit for each command id in use.
    ids: Box<[u64]>,
}

impl SubmissionQueue {
    /// A queue of `entries` entries at arena offset `start`.
    pub(super) fn new(start: usize, entries: u32, completion: u16) -> Self {
        Self {
            start,
            entries,
            head: 0,
            tail: 0,
            completion,
            outstanding: 0,
            broken: false,
            deleting: None,
            ids: vec![0; 1024].into_boxed_slice(),
        }
    }

    #[inline]
    pub(super) const fn head(&self) -> u16 {
        self.head as u16
    }

    /// Whether there is a command to fetch.
    #[inline]
    pub(super) const fn has_work(&self) -> bool {
        self.head != self.tail && !self.broken && self.deleting.is_none()
    }

    /// Takes the tail doorbell. A full queue holds one entry less than its size.
    pub(super) fn set_tail(&mut self, tail: u32) -> Result<(), BadDoorbell> {
        if !self.may_become(tail) {
            self.broken = true;
            return Err(BadDoorbell);
        }
        self.tail = tail;
        Ok(())
    }

    fn may_become(&self, tail: u32) -> bool {
        if tail >= self.entries || tail == self.tail {
            return false;
        }
        let used = distance(self.head, self.tail, self.entries);
        used + distance(self.tail, tail, self.entries) < self.entries
    }

    /// Where the entry at the head lies, which is thereby consumed.
    #[inline]
    pub(super) fn take(&mut self) -> Option<Range<usize>> {
        if self.head == self.tail {
            return None;
        }
        let at = self.start + self.head as usize * SUBMISSION_ENTRY_BYTES;
        self.head = advance(self.head, self.entries);
        Some(at..at + SUBMISSION_ENTRY_BYTES)
    }

    /// Marks a command id as used; false when it was.
    #[inline]
    pub(super) fn claim_id(&mut self, id: u16) -> bool {
        let word = &mut self.ids[usize::from(id >> 6)];
        let bit = 1 << (id & 63);
        let free = *word & bit == 0;
        *word |= bit;
        free
    }

    #[inline]
    pub(super) fn release_id(&mut self, id: u16) {
        self.ids[usize::from(id >> 6)] &= !(1 << (id & 63));
    }
}

/// A completion queue: the controller produces at the tail, the host consumes at the head.
///
/// A place is reserved for each command before it is fetched, so a completion never waits.
#[derive(Debug)]
pub(super) struct CompletionQueue {
    start: usize,
    entries: u32,
    head: u32,
    tail: u32,
    phase: bool,
    reserved: u32,
    /// Submission queues that report here.
    pub(super) users: u32,
}

impl CompletionQueue {
    pub(super) const fn new(start: usize, entries: u32) -> Self {
        Self {
            start,
            entries,
            head: 0,
            tail: 0,
            phase: true,
            reserved: 0,
            users: 0,
        }
    }

    /// Takes the head doorbell.
    pub(super) fn set_head(&mut self, head: u32) -> Result<(), BadDoorbell> {
        if head >= self.entries || head == self.head {
            return Err(BadDoorbell);
        }
        let used = distance(self.head, self.tail, self.entries);
        if distance(self.head, head, self.entries) > used {
            return Err(BadDoorbell);
        }
        self.head = head;
        Ok(())
    }

    /// Reserves a place, if there is one.
    #[inline]
    pub(super) fn reserve(&mut self) -> bool {
        let free = self.free() > 0;
        self.reserved += u32::from(free);
        free
    }

    #[inline]
    pub(super) fn unreserve(&mut self) {
        self.reserved = self.reserved.saturating_sub(1);
    }

    /// Places neither used nor reserved.
    #[inline]
    pub(super) const fn free(&self) -> u32 {
        let used = distance(self.head, self.tail, self.entries);
        (self.entries - 1).saturating_sub(used + self.reserved)
    }

    /// Where the next entry goes, and its phase tag. The caller holds a place.
    #[inline]
    pub(super) fn next(&mut self) -> (Range<usize>, bool) {
        let at = self.start + self.tail as usize * COMPLETION_ENTRY_BYTES;
        let phase = self.phase;
        self.tail = advance(self.tail, self.entries);
        if self.tail == 0 {
            self.phase = !self.phase;
        }
        (at..at + COMPLETION_ENTRY_BYTES, phase)
    }
}

#[inline]
const fn advance(at: u32, entries: u32) -> u32 {
    if at + 1 == entries { 0 } else { at + 1 }
}

/// Entries from `from` up to `to`, going round.
#[inline]
const fn distance(from: u32, to: u32, entries: u32) -> u32 {
    if to >= from {
        to - from
    } else {
        to + entries - from
    }
}
