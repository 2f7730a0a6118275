//! Speaks to a controller without the driver: entries into a ring, a doorbell, a completion out of it.
//!
//! Made for asking what no driver would: it sends any entry, takes one answer at a time, and knows no more of
//! rings than that. It shares nothing with the driver but the layouts.

use core::ops::Range;

use zerocopy::IntoBytes;

use crate::memory::PageRange;
use crate::seam::{Device, Dma, PAGE_BYTES, Registers, Span};
use crate::spec::{
    AdminQueueAttributes, COMPLETION_ENTRY_BYTES, COMPLETION_ENTRY_SHIFT, Capabilities,
    Configuration, ControllerStatus, SUBMISSION_ENTRY_BYTES, SUBMISSION_ENTRY_SHIFT, Status,
    SubmissionEntry, completion_doorbell, offset, submission_doorbell,
};

/// Entries of each admin ring; a page holds as many submissions.
pub const ENTRIES: u16 = 64;

/// The most entries of the I/O rings.
pub const IO_ENTRIES_MAX: u16 = 256;

/// Pages of the rings: admin submissions and completions, I/O submissions and completions.
const RING_PAGES: u32 = 1 + 1 + IO_SUBMISSION_PAGES + 1;
const IO_SUBMISSION_PAGES: u32 =
    (IO_ENTRIES_MAX as usize * SUBMISSION_ENTRY_BYTES / PAGE_BYTES) as u32;
const _: () = assert!(IO_ENTRIES_MAX as usize * COMPLETION_ENTRY_BYTES <= PAGE_BYTES);

/// Pages that are neither rings nor given away: for data.
pub const DATA_PAGES: u32 = 16;

/// Pages that [`Raw`] needs.
pub const PAGES: u32 = RING_PAGES + DATA_PAGES;

/// A controller that says nothing for so long says nothing.
const PATIENCE_US: u64 = 10_000_000;

/// What a command was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status, with its flags.
    pub status: Status,
    /// Dword 0.
    pub dw0: u32,
    /// The command it answers.
    pub command_id: u16,
}

/// The controller did not answer, or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silent;

/// One of the two queue pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// The admin queue.
    Admin,
    /// The I/O queue pair 1, once somebody has created it.
    Io,
}

#[derive(Clone, Copy, Debug)]
struct Ring {
    entries: u16,
    tail: u16,
    head: u16,
    /// Times that the completion ring was gone through.
    rounds: u16,
}

impl Ring {
    const fn new(entries: u16) -> Ring {
        Ring {
            entries,
            tail: 0,
            head: 0,
            rounds: 0,
        }
    }
}

/// A controller, and memory to speak to it with.
pub struct Raw<'d, D: Device, F> {
    device: &'d mut D,
    step: F,
    first: u32,
    rings: [Ring; 2],
    next_id: u16,
    stride: u8,
}

impl<'d, D: Device, F: FnMut(&mut D) -> u64> Raw<'d, D, F> {
    /// `arena` has at least [`PAGES`] pages; `step` lets the world go on and gives the time in
    /// microseconds. `None` when there are fewer pages.
    pub fn new(device: &'d mut D, arena: &PageRange, step: F) -> Option<Self> {
        let capabilities = Capabilities::from(device.registers().read64(offset::CAP));
        (arena.pages() >= PAGES).then(|| Raw {
            device,
            step,
            first: arena.first(),
            rings: [Ring::new(ENTRIES); 2],
            next_id: 0,
            stride: capabilities.doorbell_stride(),
        })
    }

    const fn data_page(&self, page: u32) -> u32 {
        self.first + RING_PAGES + page % DATA_PAGES
    }

    /// The first pages of a pair's rings: submissions, completions.
    const fn ring_pages(&self, queue: Queue) -> (u32, u32) {
        match queue {
            Queue::Admin => (self.first, self.first + 1),
            Queue::Io => (self.first + 2, self.first + 2 + IO_SUBMISSION_PAGES),
        }
    }

    /// Bus address of a page for data.
    pub fn data(&self, page: u32) -> u64 {
        self.device.dma().bus_address(self.data_page(page))
    }

    /// Bus address of the rings of the I/O queue pair: submissions, completions.
    pub fn io_rings(&self) -> (u64, u64) {
        let dma = self.device.dma();
        let (submission, completion) = self.ring_pages(Queue::Io);
        (dma.bus_address(submission), dma.bus_address(completion))
    }

    /// Writes eight bytes of a data page, `at` a multiple of eight.
    pub fn poke(&mut self, page: u32, at: usize, value: u64) {
        let span = Span::new(self.data_page(page), at % PAGE_BYTES, 8);
        self.device.dma_mut().ring_write(span, &value.to_le_bytes());
    }

    /// Reads four bytes of a data page, `at` a multiple of four.
    pub fn peek(&self, page: u32, at: usize) -> u32 {
        let span = Span::new(self.data_page(page), at % PAGE_BYTES, 4);
        self.device.dma().ring_read32(span)
    }

    /// Resets the controller and enables it with the admin queue alone.
    ///
    /// # Errors
    ///
    /// When it does not follow.
    pub fn enable(&mut self) -> Result<(), Silent> {
        self.device.registers().write32(offset::CC, 0);
        self.until_ready(false)?;
        self.clear(0..RING_PAGES);
        self.rings = [Ring::new(ENTRIES); 2];
        let dma = self.device.dma();
        let (submission, completion) =
            (dma.bus_address(self.first), dma.bus_address(self.first + 1));
        dma.publish();
        let attributes = AdminQueueAttributes::new()
            .with_submission_entries_0(ENTRIES - 1)
            .with_completion_entries_0(ENTRIES - 1);
        let configuration = Configuration::new()
            .with_enable(true)
            .with_submission_entry_size(SUBMISSION_ENTRY_SHIFT)
            .with_completion_entry_size(COMPLETION_ENTRY_SHIFT);
        let registers = self.device.registers();
        registers.write32(offset::AQA, attributes.into());
        registers.write64(offset::ASQ, submission);
        registers.write64(offset::ACQ, completion);
        registers.write32(offset::CC, configuration.into());
        self.until_ready(true)
    }

    fn until_ready(&mut self, ready: bool) -> Result<(), Silent> {
        self.until(|raw| {
            let status = raw.device.registers().read32(offset::CSTS);
            let there = status != u32::MAX;
            (there && ControllerStatus::from(status).ready() == ready).then_some(())
        })
    }

    fn until<T>(&mut self, mut found: impl FnMut(&mut Self) -> Option<T>) -> Result<T, Silent> {
        let late_us = (self.step)(self.device).saturating_add(PATIENCE_US);
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if (self.step)(self.device) > late_us {
                return Err(Silent);
            }
        }
    }

    /// Sends a command under a new id, which is returned.
    pub fn send(&mut self, queue: Queue, entry: SubmissionEntry) -> u16 {
        let id = self.post(queue, entry);
        self.ring(queue);
        id
    }

    /// Puts a command into the ring under a new id, which is returned. The controller is not told.
    pub fn post(&mut self, queue: Queue, mut entry: SubmissionEntry) -> u16 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1) % 0x7fff;
        entry.command_id = id.into();
        let (page, _) = self.ring_pages(queue);
        let ring = &mut self.rings[queue as usize];
        let at = usize::from(ring.tail) * SUBMISSION_ENTRY_BYTES;
        ring.tail = (ring.tail + 1) % ring.entries;
        let span = Span::new(page, at, SUBMISSION_ENTRY_BYTES);
        self.device.dma_mut().ring_write(span, entry.as_bytes());
        id
    }

    /// Tells the controller of what was posted.
    pub fn ring(&mut self, queue: Queue) {
        self.device.dma().publish();
        let tail = u32::from(self.rings[queue as usize].tail);
        let doorbell = submission_doorbell(queue as u16, self.stride);
        self.device.registers().write32(doorbell, tail);
    }

    /// Takes the next completion, and tells the controller so.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn answer(&mut self, queue: Queue) -> Result<Answer, Silent> {
        let answer = self.until(|raw| raw.take(queue))?;
        self.ring_taken(queue);
        Ok(answer)
    }

    /// Takes a completion that is there. The controller is not told.
    pub fn take(&mut self, queue: Queue) -> Option<Answer> {
        let (_, page) = self.ring_pages(queue);
        let ring = &mut self.rings[queue as usize];
        let at = usize::from(ring.head) * COMPLETION_ENTRY_BYTES;
        let dma = self.device.dma();
        let dw3 = dma.ring_read32(Span::new(page, at + 12, 4));
        let fresh = ring.rounds.is_multiple_of(2);
        if (dw3 & 1 << 16 != 0) != fresh {
            return None;
        }
        dma.acquire();
        let dw0 = dma.ring_read32(Span::new(page, at, 4));
        ring.head = (ring.head + 1) % ring.entries;
        ring.rounds = ring.rounds.wrapping_add(u16::from(ring.head == 0));
        Some(Answer {
            status: Status((dw3 >> 17) as u16),
            dw0,
            command_id: dw3 as u16,
        })
    }

    /// Tells the controller of the completions that were taken.
    pub fn ring_taken(&mut self, queue: Queue) {
        let head = u32::from(self.rings[queue as usize].head);
        let doorbell = completion_doorbell(queue as u16, self.stride);
        self.device.registers().write32(doorbell, head);
    }

    /// Lets the world go on.
    pub fn step(&mut self) -> u64 {
        (self.step)(self.device)
    }

    /// Sends a command and takes its answer.
    ///
    /// # Errors
    ///
    /// When there is none, or one to something else.
    pub fn ask(&mut self, queue: Queue, entry: SubmissionEntry) -> Result<Answer, Silent> {
        let id = self.send(queue, entry);
        let answer = self.answer(queue)?;
        if answer.command_id == id {
            Ok(answer)
        } else {
            Err(Silent)
        }
    }

    /// The rings of the I/O queue pair were created anew, with so many entries.
    pub fn io_created(&mut self, entries: u16) {
        self.rings[Queue::Io as usize] = Ring::new(entries.min(IO_ENTRIES_MAX));
        self.clear(2..RING_PAGES);
        self.device.dma().publish();
    }

    fn clear(&mut self, pages: Range<u32>) {
        for page in pages {
            let span = Span::new(self.first + page, 0, PAGE_BYTES);
            self.device.dma_mut().ring_write(span, &[0; PAGE_BYTES]);
        }
    }
}
