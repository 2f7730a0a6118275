//! Speaks to a controller without the driver: entries into a ring, a doorbell, a completion out of it.
//!
//! Made for asking what no driver would: it sends any entry, takes one answer at a time, and knows no more of
//! rings than that. It shares nothing with the driver but the layouts.

use zerocopy::IntoBytes;

use crate::memory::PageRange;
use crate::seam::{Device, Dma, PAGE_BYTES, Registers, Span};
use crate::spec::{
    AdminQueueAttributes, COMPLETION_ENTRY_BYTES, COMPLETION_ENTRY_SHIFT, Capabilities,
    Configuration, ControllerStatus, SUBMISSION_ENTRY_BYTES, SUBMISSION_ENTRY_SHIFT, Status,
    SubmissionEntry, completion_doorbell, offset, submission_doorbell,
};

/// Entries of each ring; a page holds as many submissions.
pub const ENTRIES: u16 = 64;

/// Pages that are neither rings nor given away: for data.
pub const DATA_PAGES: u32 = 16;

/// Pages that [`Raw`] needs.
pub const PAGES: u32 = 4 + DATA_PAGES;

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

#[derive(Clone, Copy, Debug, Default)]
struct Ring {
    tail: u16,
    head: u16,
    /// Times that the completion ring was gone through.
    rounds: u16,
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
            rings: [Ring::default(); 2],
            next_id: 0,
            stride: capabilities.doorbell_stride(),
        })
    }

    /// Bus address of a page for data.
    pub fn data(&self, page: u32) -> u64 {
        self.device
            .dma()
            .bus_address(self.first + 4 + page % DATA_PAGES)
    }

    /// Bus address of the rings of the I/O queue pair: submissions, completions.
    pub fn io_rings(&self) -> (u64, u64) {
        let dma = self.device.dma();
        (
            dma.bus_address(self.first + 2),
            dma.bus_address(self.first + 3),
        )
    }

    /// Writes eight bytes of a data page, `at` a multiple of eight.
    pub fn poke(&mut self, page: u32, at: usize, value: u64) {
        let span = Span::new(self.first + 4 + page % DATA_PAGES, at % PAGE_BYTES, 8);
        self.device.dma_mut().ring_write(span, &value.to_le_bytes());
    }

    /// Reads four bytes of a data page, `at` a multiple of four.
    pub fn peek(&self, page: u32, at: usize) -> u32 {
        let span = Span::new(self.first + 4 + page % DATA_PAGES, at % PAGE_BYTES, 4);
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
        for page in 0..4 {
            let span = Span::new(self.first + page, 0, PAGE_BYTES);
            self.device.dma_mut().ring_write(span, &[0; PAGE_BYTES]);
        }
        self.rings = [Ring::default(); 2];
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
    pub fn send(&mut self, queue: Queue, mut entry: SubmissionEntry) -> u16 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1) % 0x7fff;
        entry.command_id = id.into();
        let (pair, page) = (queue as u16, self.first + 2 * queue as u32);
        let ring = &mut self.rings[usize::from(pair)];
        let at = usize::from(ring.tail) * SUBMISSION_ENTRY_BYTES;
        ring.tail = (ring.tail + 1) % ENTRIES;
        let tail = u32::from(ring.tail);
        let span = Span::new(page, at, SUBMISSION_ENTRY_BYTES);
        self.device.dma_mut().ring_write(span, entry.as_bytes());
        self.device.dma().publish();
        let doorbell = submission_doorbell(pair, self.stride);
        self.device.registers().write32(doorbell, tail);
        id
    }

    /// Takes the next completion.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn answer(&mut self, queue: Queue) -> Result<Answer, Silent> {
        self.until(|raw| raw.take(queue))
    }

    fn take(&mut self, queue: Queue) -> Option<Answer> {
        let (pair, page) = (queue as u16, self.first + 2 * queue as u32 + 1);
        let ring = &mut self.rings[usize::from(pair)];
        let at = usize::from(ring.head) * COMPLETION_ENTRY_BYTES;
        let dma = self.device.dma();
        let dw3 = dma.ring_read32(Span::new(page, at + 12, 4));
        let fresh = ring.rounds.is_multiple_of(2);
        if (dw3 & 1 << 16 != 0) != fresh {
            return None;
        }
        dma.acquire();
        let dw0 = dma.ring_read32(Span::new(page, at, 4));
        ring.head = (ring.head + 1) % ENTRIES;
        ring.rounds += u16::from(ring.head == 0);
        let doorbell = completion_doorbell(pair, self.stride);
        let head = u32::from(ring.head);
        self.device.registers().write32(doorbell, head);
        Some(Answer {
            status: Status((dw3 >> 17) as u16),
            dw0,
            command_id: dw3 as u16,
        })
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

    /// The rings of the I/O queue pair were created anew.
    pub fn io_created(&mut self) {
        self.rings[1] = Ring::default();
        for page in 2..4 {
            let span = Span::new(self.first + page, 0, PAGE_BYTES);
            self.device.dma_mut().ring_write(span, &[0; PAGE_BYTES]);
        }
        self.device.dma().publish();
    }
}
