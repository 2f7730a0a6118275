//! From doorbells to commands under way: taking entries in turn, faults, and putting off.

use zerocopy::FromBytes;

use crate::spec::{EventDword0, LogId, Status, StatusCode, SubmissionEntry};

use super::Fault;
use super::arena::ModelDma;
use super::controller::{Controller, Phase, reads, refuse};
use super::limits::{ARBITRATION_BURST, COMMANDS_PER_STEP};
use super::registers::ModelRegisters;
use super::slot::Place;

impl Controller {
    // ---- Doorbells (PCIe §3.1.2) ----

    #[inline]
    pub(super) fn follow_doorbells(&mut self, registers: &ModelRegisters) {
        let mut rung = registers.take_rung();
        while rung != 0 {
            let index = rung.trailing_zeros() as usize;
            rung &= rung - 1;
            self.follow_doorbell(index, registers.doorbell(index));
        }
        if registers.take_bad_doorbell() {
            self.raise_bad_register();
        }
    }

    #[inline]
    fn follow_doorbell(&mut self, index: usize, value: u32) {
        let queue = index / 2;
        let outcome = if index.is_multiple_of(2) {
            self.submission[queue]
                .as_mut()
                .map(|submission| submission.set_tail(value))
        } else {
            self.completion[queue]
                .as_mut()
                .map(|completion| completion.set_head(value))
        };
        match outcome {
            Some(Ok(())) if index.is_multiple_of(2) => self.waiting |= 1 << queue,
            Some(Ok(())) => {}
            Some(Err(_)) => self.raise_bad_value(),
            None => self.raise_bad_register(),
        }
    }

    fn raise_bad_value(&mut self) {
        let status = Status::new(StatusCode::INVALID_FIELD);
        self.raise_error(EventDword0::INVALID_DOORBELL_VALUE, status);
    }

    fn raise_bad_register(&mut self) {
        let status = Status::new(StatusCode::INVALID_QUEUE_ID);
        self.raise_error(EventDword0::INVALID_DOORBELL_REGISTER, status);
    }

    /// An error of no command: an entry of the Error Information log with this status, and an event.
    fn raise_error(&mut self, information: u8, status: Status) {
        self.health.record_event(status);
        self.events
            .raise(EventDword0::ERROR, information, LogId::ERROR);
    }

    // ---- Fetching ----

    /// Takes commands, a burst from each queue in turn.
    #[inline]
    pub(super) fn fetch(&mut self, registers: &ModelRegisters, dma: &mut ModelDma) -> bool {
        let mut budget = COMMANDS_PER_STEP;
        let mut served = 0;
        let mut todo = self.waiting;
        while todo != 0 && budget > 0 && self.phase == Phase::Running {
            // The first queue at or after the turn, going round.
            let ahead = todo & (u64::MAX << self.turn);
            let queue = if ahead != 0 { ahead } else { todo }.trailing_zeros();
            self.turn = (queue + 1) % 64;
            let burst = budget.min(ARBITRATION_BURST);
            let taken = self.fetch_burst(registers, dma, queue as u16, burst);
            budget -= taken;
            served += taken;
            if taken < burst {
                todo &= !(1 << queue);
            }
        }
        served > 0 && todo != 0
    }

    #[inline]
    fn fetch_burst(
        &mut self,
        registers: &ModelRegisters,
        dma: &mut ModelDma,
        queue: u16,
        burst: usize,
    ) -> usize {
        for taken in 0..burst {
            let Some(slot) = self.fetch_one(dma, queue) else {
                return taken;
            };
            self.start(registers, dma, slot);
            if self.phase != Phase::Running {
                return taken + 1;
            }
        }
        burst
    }

    /// Takes one command, if there is one and a place for its completion.
    #[inline]
    fn fetch_one(&mut self, dma: &ModelDma, queue: u16) -> Option<u32> {
        let submission = self.submission[usize::from(queue)].as_mut()?;
        if !submission.has_work() {
            self.waiting &= !(1 << queue);
            return None;
        }
        let completion = self.completion[usize::from(submission.completion)].as_mut()?;
        if !self.slots.has_room() || !completion.reserve() {
            return None;
        }
        let at = submission.take()?;
        submission.outstanding += 1;
        let entry = SubmissionEntry::read_from_bytes(dma.device().get(at)?).ok()?;
        self.slots.take(queue, entry)
    }

    /// Decides what becomes of a command just fetched.
    #[inline]
    fn start(&mut self, registers: &ModelRegisters, dma: &mut ModelDma, index: u32) {
        let slot = self.slots.get(index);
        let (queue, opcode, id) = (slot.queue, slot.entry.opcode, slot.entry.command_id.get());
        let fresh = self.submission[usize::from(queue)]
            .as_mut()
            .is_some_and(|queue| queue.claim_id(id));
        if !fresh {
            // The id belongs to the other command and stays claimed (Base §3.3.3.1).
            self.complete(dma, index, refuse(StatusCode::COMMAND_ID_CONFLICT), 0);
            if let Some(queue) = &mut self.submission[usize::from(queue)] {
                queue.claim_id(id);
            }
            return;
        }
        let fault = self.faults.judge(queue == 0, opcode);
        let mut delay_us = if queue == 0 {
            0
        } else {
            self.latency_us(opcode)
        };
        match fault {
            None => {}
            Some(Fault::Drop) => return self.slots.put(index, Place::Dropped),
            Some(Fault::Hang) => return self.slots.put(index, Place::Hung),
            Some(Fault::Status(status)) => return self.complete(dma, index, status, 0),
            Some(Fault::Delay(by_us)) => delay_us = delay_us.saturating_add(by_us),
            Some(Fault::Fatal) => return self.phase = Phase::Fatal,
            Some(Fault::Gone) => {
                self.faults.gone = true;
                return registers.set_gone(true);
            }
            Some(_) => self.slots.get_mut(index).fault = fault,
        }
        if delay_us == 0 {
            self.execute(registers, dma, index);
        } else {
            self.hold(dma, index);
            self.slots
                .delay(index, self.now_us.saturating_add(delay_us));
        }
    }

    #[inline]
    fn latency_us(&mut self, opcode: u8) -> u64 {
        let read = reads(opcode);
        let base_us = if read {
            self.setup.read_latency_us
        } else {
            self.setup.write_latency_us
        };
        match self.setup.jitter_us {
            0 => base_us,
            jitter_us => base_us.saturating_add(self.random().below(jitter_us.saturating_add(1))),
        }
    }

    /// Carries out what has become due, and what a store had no room for.
    #[inline]
    pub(super) fn run_due(&mut self, registers: &ModelRegisters, dma: &mut ModelDma) -> bool {
        for _ in 0..COMMANDS_PER_STEP {
            let Some(index) = self.slots.due(self.now_us) else {
                return false;
            };
            self.execute(registers, dma, index);
        }
        self.slots
            .next_due()
            .is_some_and(|due_us| due_us <= self.now_us)
    }

    #[inline]
    pub(super) fn execute(&mut self, registers: &ModelRegisters, dma: &mut ModelDma, index: u32) {
        self.release(dma, index);
        let outcome = match self.slots.get(index).queue {
            0 => self.admin(registers, dma, index),
            _ => self.io(dma, index),
        };
        self.conclude(dma, index, outcome);
    }
}
