//! Admin commands (Base §5).

use zerocopy::IntoBytes;

use crate::seam::PAGE_BYTES;
use crate::spec::{
    AbortDword10, AdminOpcode, COMPLETION_ENTRY_BYTES, COMPLETION_ENTRY_SHIFT, CommandEffects,
    CommandFlags, CreateCompletionQueueDword11, CreateSubmissionQueueDword11, EffectsLog,
    FirmwareSlotLog, GetFeaturesDword10, GetLogPageDword10, GetLogPageDword11, GetLogPageDword14,
    IDENTIFY_BYTES, IoOpcode, LogId, QueueDword10, SUBMISSION_ENTRY_BYTES, SUBMISSION_ENTRY_SHIFT,
    SetFeaturesDword10, Status, StatusCode, SubmissionEntry,
};

use super::arena::ModelDma;
use super::controller::{Controller, Progress};
use super::features::Limits;
use super::limits::VECTORS;
use super::prp;
use super::queue::{CompletionQueue, SubmissionQueue};
use super::registers::ModelRegisters;
use super::slot::Place;
use super::store::Buffers;

/// Admin commands this controller knows, and their effects.
const ADMIN_COMMANDS: [AdminOpcode; 10] = [
    AdminOpcode::DELETE_IO_SUBMISSION_QUEUE,
    AdminOpcode::CREATE_IO_SUBMISSION_QUEUE,
    AdminOpcode::GET_LOG_PAGE,
    AdminOpcode::DELETE_IO_COMPLETION_QUEUE,
    AdminOpcode::CREATE_IO_COMPLETION_QUEUE,
    AdminOpcode::IDENTIFY,
    AdminOpcode::ABORT,
    AdminOpcode::SET_FEATURES,
    AdminOpcode::GET_FEATURES,
    AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST,
];

/// I/O commands this controller knows, and whether they change data.
const IO_COMMANDS: [(IoOpcode, bool); 6] = [
    (IoOpcode::FLUSH, false),
    (IoOpcode::WRITE, true),
    (IoOpcode::READ, false),
    (IoOpcode::COMPARE, false),
    (IoOpcode::WRITE_ZEROES, true),
    (IoOpcode::DATASET_MANAGEMENT, true),
];

/// Log pages this controller has.
const LOGS: [LogId; 5] = [
    LogId::SUPPORTED_LOGS,
    LogId::ERROR,
    LogId::SMART,
    LogId::FIRMWARE_SLOT,
    LogId::EFFECTS,
];

fn refuse(code: StatusCode) -> Status {
    Status::new(code).with_do_not_retry()
}

const DONE: Result<Progress, Status> = Ok(Progress::Done(0));

impl Controller {
    /// Carries out an admin command.
    pub(super) fn admin(
        &mut self,
        registers: &ModelRegisters,
        dma: &mut ModelDma,
        index: u32,
    ) -> Result<Progress, Status> {
        let entry = self.slots.get(index).entry;
        let flags = CommandFlags::from_bits(entry.flags);
        // Admin commands over PCIe use PRPs (Base §3.3.3.1) and are not fused.
        if flags.fused() != 0 || flags.data_pointer_kind() != 0 {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        match AdminOpcode(entry.opcode) {
            AdminOpcode::IDENTIFY => {
                self.identify(&entry, registers.version().into_bits())?;
                self.reply(dma, index, 0, IDENTIFY_BYTES)
            }
            AdminOpcode::CREATE_IO_COMPLETION_QUEUE => {
                self.create_completion_queue(registers, dma, &entry)
            }
            AdminOpcode::CREATE_IO_SUBMISSION_QUEUE => {
                self.create_submission_queue(registers, dma, &entry)
            }
            AdminOpcode::DELETE_IO_COMPLETION_QUEUE => self.delete_completion_queue(&entry),
            AdminOpcode::DELETE_IO_SUBMISSION_QUEUE => {
                self.delete_submission_queue(dma, index, &entry)
            }
            AdminOpcode::GET_LOG_PAGE => self.get_log_page(dma, index, &entry),
            AdminOpcode::SET_FEATURES => self.set_features(&entry),
            AdminOpcode::GET_FEATURES => self.get_features(&entry),
            AdminOpcode::ABORT => self.abort(dma, &entry),
            AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST => self.request_event(index),
            _ => Err(refuse(StatusCode::INVALID_OPCODE)),
        }
    }

    /// Sends `bytes` bytes of the scratch from `offset`, zeroes after its end.
    fn reply(
        &mut self,
        dma: &mut ModelDma,
        index: u32,
        offset: usize,
        bytes: usize,
    ) -> Result<Progress, Status> {
        self.scratch.drain(..offset.min(self.scratch.len()));
        self.scratch.resize(bytes, 0);
        let slot = self.slots.get_mut(index);
        prp::walk(
            dma,
            slot.entry.prp1.get(),
            slot.entry.prp2.get(),
            bytes,
            &mut slot.runs,
        )?;
        Buffers::new(dma.device_mut(), &slot.runs).fill_from(&self.scratch);
        dma.wrote(&slot.runs);
        DONE
    }

    // ---- Queues (Base §5.4 to §5.7) ----

    /// What Create I/O Completion and Submission Queue have in common: id, entries, arena offset.
    fn queue_place(
        &self,
        dma: &ModelDma,
        entry: &SubmissionEntry,
        contiguous: bool,
        entry_bytes: usize,
        size_set: bool,
    ) -> Result<(usize, u32, usize), Status> {
        let asked = QueueDword10::from_bits(entry.cdw10.get());
        if asked.queue() == 0 || asked.queue() > self.features.queues() {
            return Err(refuse(StatusCode::INVALID_QUEUE_ID));
        }
        let fits = (1..self.setup.queue_entries).contains(&asked.entries_0());
        if !fits || !size_set {
            return Err(refuse(StatusCode::INVALID_QUEUE_SIZE));
        }
        // CAP.CQR is 1: the queue is contiguous, and PRP1 is where it is.
        if !contiguous {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        let address = entry.prp1.get();
        if address % PAGE_BYTES as u64 != 0 {
            return Err(refuse(StatusCode::PRP_OFFSET_INVALID));
        }
        let entries = u32::from(asked.entries_0()) + 1;
        let range = dma.resolve(address, entries as usize * entry_bytes);
        let start = range.ok_or(refuse(StatusCode::INVALID_FIELD))?.start;
        Ok((asked.queue().into(), entries, start))
    }

    fn create_completion_queue(
        &mut self,
        registers: &ModelRegisters,
        dma: &ModelDma,
        entry: &SubmissionEntry,
    ) -> Result<Progress, Status> {
        let asked = CreateCompletionQueueDword11::from_bits(entry.cdw11.get());
        let size_set = registers.configuration().completion_entry_size() == COMPLETION_ENTRY_SHIFT;
        let (queue, entries, start) = self.queue_place(
            dma,
            entry,
            asked.contiguous(),
            COMPLETION_ENTRY_BYTES,
            size_set,
        )?;
        if self.completion[queue].is_some() {
            return Err(refuse(StatusCode::INVALID_QUEUE_ID));
        }
        if asked.interrupts() && asked.vector() >= VECTORS {
            return Err(refuse(StatusCode::INVALID_INTERRUPT_VECTOR));
        }
        self.completion[queue] = Some(CompletionQueue::new(start, entries));
        registers.clear_doorbell(2 * queue + 1);
        DONE
    }

    fn create_submission_queue(
        &mut self,
        registers: &ModelRegisters,
        dma: &ModelDma,
        entry: &SubmissionEntry,
    ) -> Result<Progress, Status> {
        let asked = CreateSubmissionQueueDword11::from_bits(entry.cdw11.get());
        let size_set = registers.configuration().submission_entry_size() == SUBMISSION_ENTRY_SHIFT;
        let (queue, entries, start) = self.queue_place(
            dma,
            entry,
            asked.contiguous(),
            SUBMISSION_ENTRY_BYTES,
            size_set,
        )?;
        if self.submission[queue].is_some() {
            return Err(refuse(StatusCode::INVALID_QUEUE_ID));
        }
        let target = asked.completion_queue();
        if target == 0 || target > self.features.queues() {
            return Err(refuse(StatusCode::INVALID_QUEUE_ID));
        }
        let Some(completion) = &mut self.completion[usize::from(target)] else {
            return Err(refuse(StatusCode::COMPLETION_QUEUE_INVALID));
        };
        completion.users += 1;
        self.submission[queue] = Some(SubmissionQueue::new(start, entries, target));
        registers.clear_doorbell(2 * queue);
        DONE
    }

    fn delete_completion_queue(&mut self, entry: &SubmissionEntry) -> Result<Progress, Status> {
        let queue = usize::from(QueueDword10::from_bits(entry.cdw10.get()).queue());
        match self.completion.get(queue) {
            Some(Some(completion)) if queue != 0 => {
                if completion.users > 0 {
                    return Err(refuse(StatusCode::INVALID_QUEUE_DELETION));
                }
                self.completion[queue] = None;
                DONE
            }
            _ => Err(refuse(StatusCode::INVALID_QUEUE_ID)),
        }
    }

    /// Commands fetched and not begun are aborted; the deletion waits for the others (Base §5.7).
    fn delete_submission_queue(
        &mut self,
        dma: &mut ModelDma,
        index: u32,
        entry: &SubmissionEntry,
    ) -> Result<Progress, Status> {
        let queue = QueueDword10::from_bits(entry.cdw10.get()).queue();
        let known = self
            .submission
            .get(usize::from(queue))
            .is_some_and(Option::is_some);
        if queue == 0 || !known {
            return Err(refuse(StatusCode::INVALID_QUEUE_ID));
        }
        let waiting = |place| {
            matches!(
                place,
                Place::Delayed | Place::Stalled | Place::Hung | Place::Dropped
            )
        };
        for command in self
            .slots
            .find(|slot| slot.queue == queue && waiting(slot.place))
        {
            let status = Status::new(StatusCode::ABORTED_QUEUE_DELETION);
            self.complete(dma, command, status, 0);
        }
        let Some(submission) = &mut self.submission[usize::from(queue)] else {
            return DONE;
        };
        if submission.deleting.is_some() {
            return Err(refuse(StatusCode::INVALID_QUEUE_ID));
        }
        if submission.outstanding > 0 {
            submission.deleting = Some(index);
            self.slots.get_mut(index).place = Place::Deleting;
            return Ok(Progress::Waits);
        }
        self.drop_submission_queue(queue);
        DONE
    }

    fn drop_submission_queue(&mut self, queue: u16) {
        let Some(submission) = &self.submission[usize::from(queue)] else {
            return;
        };
        if let Some(completion) = &mut self.completion[usize::from(submission.completion)] {
            completion.users -= 1;
        }
        self.forget_queue(queue);
    }

    /// The last command of a queue being deleted has ended.
    pub(super) fn finish_deletion(&mut self, dma: &mut ModelDma, queue: u16, deletion: u32) {
        self.drop_submission_queue(queue);
        self.complete(dma, deletion, Status::SUCCESS, 0);
    }

    // ---- Features (Base §5.15, §5.27) ----

    fn set_features(&mut self, entry: &SubmissionEntry) -> Result<Progress, Status> {
        let asked = SetFeaturesDword10::from_bits(entry.cdw10.get());
        let limits = Limits {
            queues_max: self.setup.queues,
            queues_exist: self.submission.iter().skip(1).any(Option::is_some)
                || self.completion.iter().skip(1).any(Option::is_some),
        };
        if asked.save() {
            return Err(refuse(StatusCode::FEATURE_NOT_SAVEABLE));
        }
        let (value, namespace) = (entry.cdw11.get(), entry.namespace.get());
        let result =
            self.features
                .set(asked.feature(), value, namespace, self.has_cache, limits)?;
        self.check_temperature();
        Ok(Progress::Done(result))
    }

    fn get_features(&mut self, entry: &SubmissionEntry) -> Result<Progress, Status> {
        let asked = GetFeaturesDword10::from_bits(entry.cdw10.get());
        let value = self.features.get(
            &self.defaults,
            asked.feature(),
            asked.select(),
            entry.cdw11.get(),
            self.has_cache,
        )?;
        Ok(Progress::Done(value))
    }

    /// Raises an event when a warning holds that the host wants to hear of (Base §5.27.1.3).
    pub(super) fn check_temperature(&mut self) {
        let warnings = self.health.warnings(self.features.thresholds_kelvin());
        if warnings & self.features.smart_events() & crate::spec::SmartLog::WARNING_TEMPERATURE != 0
        {
            use crate::spec::EventDword0;
            let information = EventDword0::TEMPERATURE_THRESHOLD;
            self.events
                .raise(EventDword0::SMART, information, LogId::SMART);
        }
    }

    // ---- Abort and events (Base §5.1, §5.2) ----

    /// Bit 0 of the result is 0 when the command was aborted.
    fn abort(&mut self, dma: &mut ModelDma, entry: &SubmissionEntry) -> Result<Progress, Status> {
        let asked = AbortDword10::from_bits(entry.cdw10.get());
        let found = self.slots.find(|slot| {
            let stoppable = matches!(
                slot.place,
                Place::Delayed | Place::Stalled | Place::Hung | Place::Event
            );
            stoppable
                && slot.queue == asked.queue()
                && slot.entry.command_id.get() == asked.command_id()
        });
        let Some(&target) = found.first() else {
            return Ok(Progress::Done(1));
        };
        if self.slots.get(target).place == Place::Event {
            let reserved = self.completion[0]
                .as_mut()
                .is_some_and(CompletionQueue::reserve);
            if !reserved {
                return Ok(Progress::Done(1));
            }
            self.events.withdraw(target);
        }
        self.complete(dma, target, Status::new(StatusCode::ABORT_REQUESTED), 0);
        DONE
    }

    /// A request waits without holding a place in the completion queue.
    fn request_event(&mut self, index: u32) -> Result<Progress, Status> {
        if !self.events.park(index) {
            return Err(refuse(StatusCode::EVENT_REQUEST_LIMIT_EXCEEDED));
        }
        self.slots.get_mut(index).place = Place::Event;
        if let Some(completion) = &mut self.completion[0] {
            completion.unreserve();
        }
        Ok(Progress::Waits)
    }

    // ---- Logs (Base §5.16) ----

    fn get_log_page(
        &mut self,
        dma: &mut ModelDma,
        index: u32,
        entry: &SubmissionEntry,
    ) -> Result<Progress, Status> {
        let asked = GetLogPageDword10::from_bits(entry.cdw10.get());
        let high = GetLogPageDword11::from_bits(entry.cdw11.get()).dwords_0_high();
        let dwords = (u64::from(high) << 16 | u64::from(asked.dwords_0_low())) + 1;
        let offset = u64::from(entry.cdw12.get()) | u64::from(entry.cdw13.get()) << 32;
        let by_index = GetLogPageDword14::from_bits(entry.cdw14.get()).offset_is_index();
        let bytes = dwords * 4;
        self.lay_out_log(asked.log(), entry.namespace.get())?;
        let within = offset <= self.scratch.len() as u64;
        if bytes > self.setup.transfer_bytes_max || by_index || offset % 4 != 0 || !within {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        let outcome = self.reply(dma, index, offset as usize, bytes as usize)?;
        if !asked.retain_event() {
            self.events.acknowledge(asked.log());
        }
        Ok(outcome)
    }

    fn lay_out_log(&mut self, log: LogId, namespace: u32) -> Result<(), Status> {
        let page = &mut self.scratch;
        page.clear();
        match log {
            LogId::SUPPORTED_LOGS => {
                // A dword for each identifier, bit 0 = supported (Base §5.16.1.1).
                page.resize(1024, 0);
                LOGS.iter().for_each(|log| page[usize::from(log.0) * 4] = 1);
            }
            LogId::ERROR => {
                self.health
                    .error_log()
                    .for_each(|error| page.extend_from_slice(error.as_bytes()));
                page.resize(super::limits::ERROR_LOG_ENTRIES * 64, 0);
            }
            LogId::SMART => {
                // The log is of the controller, not of a namespace (LPA bit 0 is 0).
                if namespace != 0 && namespace != crate::spec::NAMESPACE_ALL {
                    return Err(refuse(StatusCode::INVALID_FIELD));
                }
                let on_us = self.now_us.saturating_sub(self.powered_us);
                let log = self.health.smart(self.features.thresholds_kelvin(), on_us);
                page.extend_from_slice(log.as_bytes());
            }
            LogId::FIRMWARE_SLOT => {
                let mut log = FirmwareSlotLog::default();
                log.active = 1;
                log.revisions[0] = [b' '; 8];
                let revision = self.setup.firmware.bytes();
                log.revisions[0]
                    .iter_mut()
                    .zip(revision)
                    .for_each(|(to, from)| *to = from);
                page.extend_from_slice(log.as_bytes());
            }
            LogId::EFFECTS => page.extend_from_slice(effects().as_bytes()),
            _ => return Err(refuse(StatusCode::INVALID_LOG_PAGE)),
        }
        Ok(())
    }
}

fn effects() -> EffectsLog {
    let mut log = EffectsLog::default();
    let supported = CommandEffects::new().with_supported(true);
    for opcode in ADMIN_COMMANDS {
        log.admin[usize::from(opcode.0)] = supported.into_bits().into();
    }
    for (opcode, changes_data) in IO_COMMANDS {
        let effects = supported.with_changes_data(changes_data);
        log.io[usize::from(opcode.0)] = effects.into_bits().into();
    }
    log
}
