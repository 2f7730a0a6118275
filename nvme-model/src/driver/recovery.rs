//! What is done about a device that does not do what it should.
//!
//! A command beyond its deadline is aborted; one that is not even aborted in time has the
//! controller reset. Until CSTS.RDY is 0 the device may write to the memory of every command it was
//! given, so nothing is handed back before. Then what can be repeated waits for the next start and
//! the rest ends as unknown. Too many resets in too short a time, and the driver gives up.

use super::admin::Purpose;
use super::operation::{Completion, Error, FailReason, OutsideReset, ResetCause};
use super::slots::Place;
use super::{After, Driver, Phase, command};
use crate::limits::{RESET_WINDOW_US, RESETS_MAX};
use crate::memory::Transfer;
use crate::seam::{Device, Registers};
use crate::spec::{Configuration, offset};

/// When the controller was reset last.
#[derive(Debug, Default)]
pub(super) struct ResetLog {
    at_us: [Option<u64>; RESETS_MAX - 1],
}

impl ResetLog {
    /// Notes a reset; whether it is one too many.
    fn note(&mut self, now_us: u64) -> bool {
        let recent = |at: &Option<u64>| at.is_some_and(|at| now_us - at < RESET_WINDOW_US);
        let too_many = self.at_us.iter().all(recent);
        self.at_us.rotate_left(1);
        if let Some(last) = self.at_us.last_mut() {
            *last = Some(now_us);
        }
        too_many
    }
}

impl<D: Device, const QUEUES: usize, const SLOTS: usize> Driver<D, QUEUES, SLOTS> {
    /// Aborts what is late; resets when an abort is.
    pub(super) fn expire(&mut self, completed: &mut impl FnMut(Completion)) {
        let now_us = self.now_us;
        let late = |deadline: Option<u64>| deadline.is_some_and(|deadline| deadline <= now_us);
        if let Some((deadline_us, opcode)) = self.admin.deadline()
            && deadline_us <= now_us
        {
            return self.reset(ResetCause::Admin(opcode), completed);
        }
        for queue in 0..self.queue_count {
            if late(self.queues[queue].slots.deadline_us(Place::Aborting)) {
                return self.reset(ResetCause::Operation, completed);
            }
            while late(self.queues[queue].slots.deadline_us(Place::InFlight)) {
                self.abort_oldest(queue);
            }
        }
    }

    fn abort_oldest(&mut self, queue: usize) {
        let io = &mut self.queues[queue];
        let Some(index) = io.slots.oldest(Place::InFlight) else {
            return;
        };
        let deadline_us = self.now_us.saturating_add(self.config.abort_deadline_us);
        io.slots.get_mut(index).deadline_us = deadline_us;
        io.slots.move_to(Place::Aborting, index);
        let entry = command::abort(io.rings.id(), io.slots.id(index));
        self.counters.timeouts += 1;
        let aborts_max = self.controller.as_ref().map_or(1, |info| info.aborts_max);
        // Without a free abort the command still has its grace, and the reset after it.
        if self.admin.aborts() < usize::from(aborts_max) && self.submit_admin(Purpose::Abort, entry)
        {
            self.counters.aborts += 1;
        }
    }

    /// Takes the controller down, to start anew or for good.
    pub(super) fn reset(&mut self, cause: ResetCause, completed: &mut impl FnMut(Completion)) {
        if matches!(self.phase, Phase::Running) {
            // What did complete needs no repetition. The rings bound how much that can be.
            let mut all = QUEUES.saturating_mul(Self::COMPLETION_ENTRIES);
            self.reap(&mut all, completed);
        }
        for queue in &mut self.queues {
            queue.slots.interrupt();
        }
        self.counters.resets += 1;
        if !self.resets.note(self.now_us) {
            return self.disable(After::Start);
        }
        match self.verdict(FailReason::TooManyResets(cause)) {
            // A reset from outside ends what CC.EN would.
            Phase::AwaitingReset(reason) => self.fail(reason),
            Phase::Failed(reason) => self.disable(After::Fail(reason)),
            other => self.phase = other,
        }
    }

    /// CC.EN = 0, the other fields as they are.
    pub(super) fn disable(&mut self, then: After) {
        self.clear_enable();
        self.next_register_us = self.now_us;
        self.phase = Phase::Disabling {
            until_us: self.not_ready_deadline_us(),
            then,
        };
    }

    fn clear_enable(&mut self) {
        let registers = self.device.registers();
        let configuration = Configuration::from(registers.read32(offset::CC))
            .with_enable(false)
            .with_shutdown(Configuration::SHUTDOWN_NONE);
        registers.write32(offset::CC, configuration.into());
    }

    /// What a failure comes to: the end, unless somebody can still reset the device.
    const fn verdict(&self, reason: FailReason) -> Phase {
        match self.outside {
            OutsideReset::Ready if reason.may_heal() => Phase::AwaitingReset(reason),
            OutsideReset::Spent if reason.may_heal() => Phase::Failed(FailReason::ResetInVain),
            _ => Phase::Failed(reason),
        }
    }

    /// Can do no more. What is not finished waits for a reset from outside, or where there is none, it
    /// ends and the memory of what the device has goes to quarantine.
    pub(super) fn fail(&mut self, reason: FailReason) {
        for queue in &mut self.queues {
            queue.slots.interrupt();
        }
        if reason != FailReason::Gone {
            self.clear_enable();
        }
        self.phase = self.verdict(reason);
    }

    /// CSTS.RDY = 0: sorts what was interrupted into what is repeated and what ends here.
    pub(super) fn settle(
        &mut self,
        then: After,
        left: &mut usize,
        completed: &mut impl FnMut(Completion),
    ) {
        let error = match then {
            After::Fail(reason) => Error::Failed(reason),
            After::Start | After::Stop => Error::Unknown,
        };
        for queue in 0..QUEUES {
            while let Some(index) = self.queues[queue].slots.oldest(Place::Interrupted) {
                let slots = &mut self.queues[queue].slots;
                let slot = slots.get(index);
                let again = slot.operation.is_repeatable() && !slot.repeated;
                if again && then == After::Start {
                    slots.move_to(Place::Repeat, index);
                    continue;
                }
                if *left == 0 {
                    return;
                }
                *left -= 1;
                completed(self.end(queue, index, Err(error)));
            }
        }
        match then {
            After::Start => self.enable(),
            After::Stop => self.phase = Phase::Stopped,
            After::Fail(reason) => self.phase = Phase::Failed(reason),
        }
    }

    /// Issues again what the reset interrupted, in the order of submission, before anything new.
    pub(super) fn repeat(&mut self, left: &mut usize, completed: &mut impl FnMut(Completion)) {
        for queue in 0..self.queue_count {
            while let Some(index) = self.queues[queue].slots.oldest(Place::Repeat) {
                if *left == 0 {
                    return;
                }
                *left -= 1;
                let slot = self.queues[queue].slots.get(index);
                // The namespaces may be others now.
                if self
                    .check_operation(&slot.operation, &slot.transfer)
                    .is_err()
                {
                    completed(self.end(queue, index, Err(Error::Unknown)));
                    continue;
                }
                let deadline_us = self.now_us.saturating_add(self.config.io_deadline_us);
                let io = &mut self.queues[queue];
                io.slots.get_mut(index).repeated = true;
                io.issue(self.device.dma_mut(), index, deadline_us);
                self.counters.reissued += 1;
            }
        }
        self.ring_doorbells();
        self.last_watch_us = self.now_us;
        self.phase = Phase::Running;
    }

    /// Ends everything, with its memory where the device has no hold on it.
    pub(super) fn drain(
        &mut self,
        reason: FailReason,
        left: &mut usize,
        completed: &mut impl FnMut(Completion),
    ) {
        for queue in 0..QUEUES {
            for place in [Place::Interrupted, Place::Repeat] {
                while let Some(index) = self.queues[queue].slots.oldest(place) {
                    if *left == 0 {
                        return;
                    }
                    *left -= 1;
                    let result = Err(Error::Failed(reason));
                    // What waits for repetition has seen CSTS.RDY = 0; the rest has not.
                    let completion = if place == Place::Interrupted {
                        self.end_in_quarantine(queue, index, result)
                    } else {
                        self.end(queue, index, result)
                    };
                    completed(completion);
                }
            }
        }
    }

    /// Says whether somebody can reset the device from outside.
    pub fn set_outside_reset(&mut self, outside: OutsideReset) {
        self.outside = outside;
    }

    /// Starts anew after the device was reset by other means (PERST#) or came back. Does nothing
    /// unless the driver awaits that, has failed, or stopped. What was not finished is issued again,
    /// once CSTS.RDY was seen to be 0, as after any reset; so is an orderly stop that was asked for.
    pub fn restart(&mut self, now_us: u64) {
        match self.phase {
            Phase::AwaitingReset(_) => self.counters.outside_resets += 1,
            Phase::Failed(_) | Phase::Stopped => self.stop_requested = false,
            _ => return,
        }
        self.now_us = self.now_us.max(now_us);
        self.resets = ResetLog::default();
        self.phase = Phase::Begin;
    }

    /// No reset will come that was waited for, or the device did not come back from it. Does nothing
    /// unless the driver awaits one.
    pub fn give_up(&mut self) {
        if matches!(self.phase, Phase::AwaitingReset(_)) {
            self.phase = Phase::Failed(FailReason::ResetInVain);
        }
    }

    /// Memory out of quarantine, with the token of its operation, once the device has been seen not
    /// ready: after [`restart`](Driver::restart), when the driver runs again.
    pub fn reclaim(&mut self) -> Option<(u64, Transfer)> {
        if self.phase != Phase::Running {
            return None;
        }
        let mut queues = self.queues.iter_mut();
        queues.find_map(|io| {
            let index = io.slots.oldest(Place::Quarantined)?;
            let slot = io.slots.get_mut(index);
            let reclaimed = (slot.token, core::mem::take(&mut slot.transfer));
            io.slots.move_to(Place::Free, index);
            Some(reclaimed)
        })
    }

    /// Ends a command but keeps its memory until [`reclaim`](Driver::reclaim).
    fn end_in_quarantine(
        &mut self,
        queue: usize,
        index: u16,
        result: Result<(), Error>,
    ) -> Completion {
        let slots = &self.queues[queue].slots;
        let pages = slots.get(index).transfer.pages_touched();
        if pages == 0 {
            return self.end(queue, index, result);
        }
        let token = slots.get(index).token;
        self.queues[queue].slots.move_to(Place::Quarantined, index);
        self.counters.pages_quarantined += pages as u64;
        self.counters.completed += 1;
        self.counters.failed += 1;
        Completion {
            token,
            result,
            transfer: Transfer::None,
        }
    }
}
