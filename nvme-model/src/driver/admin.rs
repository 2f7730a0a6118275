//! The admin queue: a few commands at a time, each with a purpose and a deadline.
//!
//! Slot 0 has the one command that uses the data page (a step of start-up, or a log),
//! slot 1 the asynchronous event request, the others aborts.

use zerocopy::little_endian::U16;

use super::counters::DriverCounters;
use super::queue_pair::QueuePair;
use crate::limits::{ADMIN_ENTRIES, ADMIN_SLOTS};
use crate::memory::Page;
use crate::seam::{Device, Dma, PAGE_BYTES, Span};
use crate::spec::{AdminOpcode, LogId, Status, SubmissionEntry};

/// What an admin command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The current step of start-up.
    Step,
    /// A log page; that of an event acknowledges it.
    Log {
        /// Which.
        log: LogId,
        /// It is read because of an event.
        event: bool,
    },
    /// The asynchronous event request, which ends when there is something to tell.
    Event,
    /// An abort.
    Abort,
}

#[derive(Clone, Copy, Debug)]
struct AdminSlot {
    purpose: Option<Purpose>,
    opcode: u8,
    sequence: u16,
    /// `None` for the event request, which may take for ever.
    deadline_us: Option<u64>,
}

/// How an admin command ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    pub(super) purpose: Purpose,
    pub(super) opcode: u8,
    pub(super) dw0: u32,
    pub(super) status: Status,
}

#[derive(Debug)]
pub(super) struct Admin {
    pub(super) rings: QueuePair,
    slots: [AdminSlot; ADMIN_SLOTS],
    data: Page,
    /// Commands in flight that have a deadline.
    waiting: u8,
}

const SLOT_BITS: u32 = ADMIN_SLOTS.trailing_zeros();
const SEQUENCE_END: u16 = (1 << (16 - SLOT_BITS)) - 1;
const _: () = assert!(ADMIN_SLOTS.is_power_of_two());

impl Admin {
    pub(super) fn new(rings: QueuePair, data: Page, nonce: u64) -> Admin {
        let slot = AdminSlot {
            purpose: None,
            opcode: 0,
            sequence: (nonce % u64::from(SEQUENCE_END)) as u16,
            deadline_us: None,
        };
        Admin {
            rings,
            slots: [slot; ADMIN_SLOTS],
            data,
            waiting: 0,
        }
    }

    /// Forgets all commands; the controller has.
    pub(super) fn reset(&mut self, dma: &mut impl Dma, entries: u16, stride: u8) {
        for slot in &mut self.slots {
            slot.purpose = None;
        }
        self.waiting = 0;
        self.rings.reset(dma, entries, entries, stride);
    }

    pub(super) const fn entries(queue_entries_max: u32) -> u16 {
        if queue_entries_max < ADMIN_ENTRIES as u32 {
            queue_entries_max as u16
        } else {
            ADMIN_ENTRIES
        }
    }

    pub(super) fn data_address(&self, dma: &impl Dma) -> u64 {
        dma.bus_address(self.data.index())
    }

    /// What the device wrote into the data page. Only between commands that use it.
    pub(super) fn data<'d>(&'d self, dma: &'d mut impl Dma) -> &'d [u8] {
        dma.sync_for_cpu(Span::new(self.data.index(), 0, PAGE_BYTES));
        self.data.bytes(dma)
    }

    /// Submits and rings. `false` when the purpose's slots are taken.
    pub(super) fn submit(
        &mut self,
        device: &mut impl Device,
        counters: &mut DriverCounters,
        purpose: Purpose,
        mut entry: SubmissionEntry,
        deadline_us: Option<u64>,
    ) -> bool {
        let Some(index) = self.slot_for(purpose) else {
            return false;
        };
        if self.rings.permits() == 0 {
            return false;
        }
        let slot = &mut self.slots[index];
        slot.sequence += 1;
        if slot.sequence >= SEQUENCE_END {
            slot.sequence = 0;
        }
        slot.purpose = Some(purpose);
        slot.opcode = entry.opcode;
        slot.deadline_us = deadline_us;
        self.waiting += u8::from(deadline_us.is_some());
        entry.command_id = U16::new(slot.sequence << SLOT_BITS | index as u16);
        let data = Span::new(self.data.index(), 0, PAGE_BYTES);
        let dma = device.dma_mut();
        if matches!(purpose, Purpose::Step | Purpose::Log { .. }) {
            dma.sync_for_device(data);
        }
        self.rings.push(dma, &entry);
        dma.publish();
        counters.submission_doorbells += u64::from(self.rings.ring_submissions(device));
        true
    }

    fn slot_for(&self, purpose: Purpose) -> Option<usize> {
        let candidates = match purpose {
            Purpose::Step | Purpose::Log { .. } => 0..1,
            Purpose::Event => 1..2,
            Purpose::Abort => 2..ADMIN_SLOTS,
        };
        let mut candidates = candidates;
        candidates.find(|&index| self.slots[index].purpose.is_none())
    }

    /// Whether no command in flight uses the data page.
    pub(super) const fn data_is_free(&self) -> bool {
        self.slots[0].purpose.is_none()
    }

    /// Aborts in flight.
    pub(super) fn aborts(&self) -> usize {
        let aborts = self.slots.iter();
        aborts
            .filter(|slot| slot.purpose == Some(Purpose::Abort))
            .count()
    }

    /// Commands in flight that will end by themselves.
    pub(super) const fn waiting(&self) -> usize {
        self.waiting as usize
    }

    /// The earliest deadline, with the opcode of its command.
    pub(super) fn deadline(&self) -> Option<(u64, AdminOpcode)> {
        if self.waiting == 0 {
            return None;
        }
        let in_flight = self.slots.iter().filter(|slot| slot.purpose.is_some());
        in_flight
            .filter_map(|slot| Some((slot.deadline_us?, AdminOpcode(slot.opcode))))
            .min()
    }

    /// The next completion. Those that match no command are counted and passed over, but no more
    /// than a queue's worth at once.
    pub(super) fn pop(&mut self, dma: &impl Dma, counters: &mut DriverCounters) -> Option<Reply> {
        for _ in 0..self.rings.completion_entries() {
            let answer = self.rings.pop(dma)?;
            counters.bad_queue_heads += u64::from(!answer.head_possible);
            let index = usize::from(answer.command_id) & (ADMIN_SLOTS - 1);
            let slot = &mut self.slots[index];
            if !answer.ours {
                counters.unknown_completions += 1;
                continue;
            }
            let same = slot.sequence == answer.command_id >> SLOT_BITS;
            let Some(purpose) = slot.purpose.filter(|_| same) else {
                counters.stale_completions += 1;
                continue;
            };
            slot.purpose = None;
            self.waiting -= u8::from(slot.deadline_us.is_some());
            self.rings.end();
            return Some(Reply {
                purpose,
                opcode: slot.opcode,
                dw0: answer.dw0,
                status: answer.status,
            });
        }
        None
    }
}
