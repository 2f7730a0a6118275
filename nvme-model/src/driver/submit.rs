//! Taking operations: what is checked, what is written, when the device is told.

use super::operation::{Operation, Rejected};
use super::slots::Place;
use super::{Driver, Phase, prp};
use crate::limits::BLOCKS_PER_COMMAND_MAX;
use crate::memory::Transfer;
use crate::seam::{Device, Dma};

impl<D: Device, const QUEUES: usize, const SLOTS: usize> Driver<D, QUEUES, SLOTS> {
    /// Takes an operation into queue `queue` (from 0). The device learns of it when the doorbells
    /// are rung. `token` comes back with the completion and means nothing to the driver.
    ///
    /// # Errors
    ///
    /// Why it was not taken, with the transfer.
    #[inline]
    pub fn submit(
        &mut self,
        now_us: u64,
        queue: usize,
        operation: Operation,
        transfer: Transfer,
        token: u64,
    ) -> Result<(), (Rejected, Transfer)> {
        let checked = self
            .check_operation(&operation, &transfer)
            .and_then(|()| self.check_queue(queue));
        let index = match checked {
            Ok(index) => index,
            Err(rejected) => return Err((rejected, transfer)),
        };
        self.now_us = self.now_us.max(now_us);
        let deadline_us = self.now_us.saturating_add(self.config.io_deadline_us);
        let io = &mut self.queues[queue];
        let slot = io.slots.get_mut(index);
        slot.token = token;
        slot.operation = operation;
        slot.transfer = transfer;
        slot.repeated = false;
        io.issue(self.device.dma_mut(), index, deadline_us);
        self.counters.submitted += 1;
        Ok(())
    }

    /// Whether the queue takes a command now, and in which slot.
    #[inline]
    fn check_queue(&self, queue: usize) -> Result<u16, Rejected> {
        match self.phase {
            Phase::Running if !self.stop_requested => {}
            Phase::Failed(reason) => return Err(Rejected::Failed(reason)),
            _ => return Err(Rejected::NotRunning),
        }
        let io = self.queues[..self.queue_count]
            .get(queue)
            .ok_or(Rejected::NoSuchQueue)?;
        if io.rings.permits() == 0 {
            return Err(Rejected::QueueFull);
        }
        io.slots.free_slot().ok_or(Rejected::QueueFull)
    }

    /// Whether the operation can be done in one command with this memory.
    #[inline]
    pub(super) fn check_operation(
        &self,
        operation: &Operation,
        transfer: &Transfer,
    ) -> Result<(), Rejected> {
        let Some(controller) = &self.controller else {
            return Err(match self.phase {
                Phase::Failed(reason) => Rejected::Failed(reason),
                _ => Rejected::NotRunning,
            });
        };
        let optional = controller.optional_commands;
        let (supported, blocks_max) = match operation {
            Operation::Compare { .. } => (optional.compare(), BLOCKS_PER_COMMAND_MAX),
            Operation::WriteZeroes { .. } => (optional.write_zeroes(), BLOCKS_PER_COMMAND_MAX),
            Operation::Deallocate { .. } => (optional.dataset_management(), u32::MAX),
            _ => (true, BLOCKS_PER_COMMAND_MAX),
        };
        if !supported {
            return Err(Rejected::Unsupported);
        }
        let namespace = self
            .namespace(operation.namespace())
            .ok_or(Rejected::NoSuchNamespace)?;
        let mut bytes = 0;
        if let Some((lba, blocks)) = operation.range() {
            if blocks == 0 || blocks > blocks_max {
                return Err(Rejected::BadLength);
            }
            let end = lba.0.checked_add(u64::from(blocks));
            if end.is_none_or(|end| end > namespace.blocks) {
                return Err(Rejected::OutOfRange);
            }
            if operation.has_data() {
                bytes = u64::from(blocks) * u64::from(namespace.block_bytes);
            }
        }
        if !prp::fits(transfer, bytes, controller.transfer_bytes_max) {
            return Err(Rejected::BadTransfer);
        }
        Ok(())
    }

    /// Tells the device of submissions and, where worth it, of completions consumed: each doorbell
    /// at most once. Between a reset and the next start the queues do not exist, and a doorbell of
    /// such a queue is not to be written (Base §3.3.1.2).
    pub fn ring_doorbells(&mut self) {
        if !matches!(self.phase, Phase::Running | Phase::Repeating) {
            return;
        }
        let queues = &mut self.queues[..self.queue_count];
        if queues.iter().any(|queue| queue.rings.has_submissions()) {
            self.device.dma().publish();
        }
        for queue in queues {
            if queue.rings.ring_submissions(&self.device) {
                self.counters.submission_doorbells += 1;
            }
            if queue.rings.ring_completions(&self.device) {
                self.counters.completion_doorbells += 1;
            }
        }
    }

    /// Operations that the queue takes now.
    pub fn free_slots(&self, queue: usize) -> usize {
        if self.phase != Phase::Running || self.stop_requested {
            return 0;
        }
        let queue = self.queues[..self.queue_count].get(queue);
        queue.map_or(0, |io| io.slots.count(Place::Free).min(io.rings.permits()))
    }
}
