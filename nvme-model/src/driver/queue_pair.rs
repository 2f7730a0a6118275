//! The two rings of a queue pair: positions, phase, permits, doorbells.
//!
//! A completion queue that overflows loses completions without a word, so a place in it is
//! reserved before a command is submitted ([`QueuePair::permits`]). A place is free again only when
//! the device has been told that its entry was consumed, which is put off until a quarter of the
//! queue is (a register write may cost as much as the command).

use zerocopy::IntoBytes;

use crate::memory::PageRange;
use crate::seam::{Device, Dma, Registers, Span};
use crate::spec::{
    COMPLETION_ENTRY_BYTES, SUBMISSION_ENTRY_BYTES, Status, SubmissionEntry, completion_doorbell,
    submission_doorbell,
};

/// What a completion queue entry says, its phase tag apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answer {
    pub(super) dw0: u32,
    pub(super) command_id: u16,
    pub(super) status: Status,
    /// The queue it names is this one.
    pub(super) ours: bool,
    /// The submission queue head it names is possible.
    pub(super) head_possible: bool,
}

#[derive(Debug)]
pub(super) struct QueuePair {
    id: u16,
    submission: PageRange,
    completion: PageRange,
    submission_entries: u16,
    completion_entries: u16,
    submission_doorbell: u32,
    completion_doorbell: u32,
    tail: u16,
    tail_rung: u16,
    /// How far the device has taken submissions, as far as it can be believed.
    device_head: u16,
    head: u16,
    phase: bool,
    in_flight: u16,
    /// Entries consumed that the device has not been told of.
    unreleased: u16,
}

/// Pages that a ring of `entries` entries takes.
pub(super) const fn ring_pages(entries: usize, entry_bytes: usize) -> u32 {
    (entries * entry_bytes).div_ceil(crate::seam::PAGE_BYTES) as u32
}

impl QueuePair {
    /// A pair without entries; `reset` makes it usable.
    pub(super) fn new(id: u16, submission: PageRange, completion: PageRange) -> QueuePair {
        QueuePair {
            id,
            submission,
            completion,
            submission_entries: 0,
            completion_entries: 0,
            submission_doorbell: 0,
            completion_doorbell: 0,
            tail: 0,
            tail_rung: 0,
            device_head: 0,
            head: 0,
            phase: true,
            in_flight: 0,
            unreleased: 0,
        }
    }

    /// Both rings empty, all phase tags 0: a tag of 1 left in memory would look like a completion.
    pub(super) fn reset(
        &mut self,
        dma: &mut impl Dma,
        submission: u16,
        completion: u16,
        stride: u8,
    ) {
        self.submission_entries = submission;
        self.completion_entries = completion;
        self.submission_doorbell = submission_doorbell(self.id, stride);
        self.completion_doorbell = completion_doorbell(self.id, stride);
        (self.tail, self.tail_rung, self.device_head) = (0, 0, 0);
        (self.head, self.phase) = (0, true);
        (self.in_flight, self.unreleased) = (0, 0);
        for index in 0..completion {
            dma.ring_write(self.completion_span(index), &[0; COMPLETION_ENTRY_BYTES]);
        }
    }

    pub(super) const fn id(&self) -> u16 {
        self.id
    }

    pub(super) const fn submission_entries(&self) -> u16 {
        self.submission_entries
    }

    pub(super) const fn completion_entries(&self) -> u16 {
        self.completion_entries
    }

    pub(super) fn submission_address(&self, dma: &impl Dma) -> u64 {
        dma.bus_address(self.submission.first())
    }

    pub(super) fn completion_address(&self, dma: &impl Dma) -> u64 {
        dma.bus_address(self.completion.first())
    }

    const fn submission_span(&self, index: u16) -> Span {
        let offset = index as usize * SUBMISSION_ENTRY_BYTES;
        Span::new(self.submission.first(), offset, SUBMISSION_ENTRY_BYTES)
    }

    const fn completion_span(&self, index: u16) -> Span {
        let offset = index as usize * COMPLETION_ENTRY_BYTES;
        Span::new(self.completion.first(), offset, COMPLETION_ENTRY_BYTES)
    }

    /// Commands that may be submitted now: one entry of either ring always stays empty.
    #[inline]
    pub(super) fn permits(&self) -> usize {
        let submissions = self.submission_entries.saturating_sub(1);
        let completions = self
            .completion_entries
            .saturating_sub(1)
            .saturating_sub(self.unreleased);
        usize::from(submissions.min(completions).saturating_sub(self.in_flight))
    }

    /// Writes an entry at the tail. The caller holds a permit.
    #[inline]
    pub(super) fn push(&mut self, dma: &mut impl Dma, entry: &SubmissionEntry) {
        dma.ring_write(self.submission_span(self.tail), entry.as_bytes());
        self.tail = next(self.tail, self.submission_entries);
        self.in_flight += 1;
    }

    /// Consumes the next completion, if the device has written one.
    #[inline]
    pub(super) fn pop(&mut self, dma: &impl Dma) -> Option<Answer> {
        let at = usize::from(self.head) * COMPLETION_ENTRY_BYTES;
        let word = |n: usize| dma.ring_read32(Span::new(self.completion.first(), at + 4 * n, 4));
        let dw3 = word(3);
        if (dw3 & 1 << 16 != 0) != self.phase || self.completion_entries == 0 {
            return None;
        }
        dma.acquire();
        let (dw0, dw2) = (word(0), word(2));
        self.head = next(self.head, self.completion_entries);
        if self.head == 0 {
            self.phase = !self.phase;
        }
        // Saturates only if the device wrote more than it had room for.
        self.unreleased = self.unreleased.saturating_add(1);
        Some(Answer {
            dw0,
            command_id: dw3 as u16,
            status: Status((dw3 >> 17) as u16),
            ours: (dw2 >> 16) as u16 == self.id,
            head_possible: self.believe(dw2 as u16),
        })
    }

    /// Takes the head over if it lies between the last one and what the device has been told of.
    #[inline]
    fn believe(&mut self, head: u16) -> bool {
        let entries = self.submission_entries;
        let possible = head < entries
            && distance(self.device_head, head, entries)
                <= distance(self.device_head, self.tail_rung, entries);
        if possible {
            self.device_head = head;
        }
        possible
    }

    /// A command has ended: its place is free once the entry is released.
    #[inline]
    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    pub(super) const fn has_submissions(&self) -> bool {
        self.tail != self.tail_rung
    }

    const fn wants_release(&self) -> bool {
        let idle = self.in_flight == 0;
        self.unreleased > 0 && (idle || self.unreleased >= self.completion_entries / 4)
    }

    /// Tells the device of new submissions. The caller has published them.
    #[inline]
    pub(super) fn ring_submissions(&mut self, device: &impl Device) -> bool {
        if !self.has_submissions() {
            return false;
        }
        self.tail_rung = self.tail;
        let tail = u32::from(self.tail);
        device.registers().write32(self.submission_doorbell, tail);
        true
    }

    /// Tells the device of consumed completions, when there are enough or nothing else to do.
    #[inline]
    pub(super) fn ring_completions(&mut self, device: &impl Device) -> bool {
        if !self.wants_release() && (self.unreleased == 0 || self.permits() > 0) {
            return false;
        }
        self.unreleased = 0;
        let head = u32::from(self.head);
        device.registers().write32(self.completion_doorbell, head);
        true
    }
}

#[inline]
const fn next(index: u16, entries: u16) -> u16 {
    if index + 1 >= entries { 0 } else { index + 1 }
}

#[inline]
const fn distance(from: u16, to: u16, entries: u16) -> u16 {
    if to >= from {
        to - from
    } else {
        entries - from + to
    }
}
