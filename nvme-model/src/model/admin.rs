//! Admin commands (Base §5).

use zerocopy::IntoBytes;

use crate::seam::PAGE_BYTES;
use crate::spec::{
    AbortDword10, AdminOpcode, COMPLETION_ENTRY_BYTES, COMPLETION_ENTRY_SHIFT, CommandEffects,
    CommandFlags, CreateCompletionQueueDword11, CreateSubmissionQueueDword11, EffectsLog,
    ErrorLogEntry, EventDword0, FeatureEffects, FeatureEffectsLog, FeatureId, FirmwareSlotLog,
    GetFeaturesDword10, GetLogPageDword10, GetLogPageDword11, GetLogPageDword14, IDENTIFY_BYTES,
    IoOpcode, LogId, NAMESPACE_ALL, QueueDword10, SUBMISSION_ENTRY_BYTES, SUBMISSION_ENTRY_SHIFT,
    SetFeaturesDword10, SmartLog, Status, StatusCode, SubmissionEntry,
};

use super::arena::ModelDma;
use super::controller::{Controller, Progress, refuse};
use super::features::{FEATURES, Features};
use super::identify::padded;
use super::limits::{ERROR_LOG_ENTRIES, VECTORS};
use super::prp;
use super::queue::{CompletionQueue, SubmissionQueue};
use super::registers::ModelRegisters;
use super::slot::{Place, Slot};
use super::store::Buffers;

/// Admin commands this controller knows.
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

/// Whether an admin command has to do with namespaces (Base §5, Figure 138). The others take no NSID.
const fn uses_namespace(opcode: AdminOpcode) -> bool {
    matches!(
        opcode,
        AdminOpcode::IDENTIFY
            | AdminOpcode::GET_LOG_PAGE
            | AdminOpcode::SET_FEATURES
            | AdminOpcode::GET_FEATURES
    )
}

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
const LOGS: [LogId; 7] = [
    LogId::SUPPORTED_LOGS,
    LogId::ERROR,
    LogId::SMART,
    LogId::FIRMWARE_SLOT,
    LogId::EFFECTS,
    LogId::FEATURE_EFFECTS,
    LogId::MANAGEMENT_EFFECTS,
];

/// Bytes of the Supported Log Pages log: a dword for each identifier (Base §5.16.1.1).
const SUPPORTED_LOGS_BYTES: usize = 256 * 4;
/// Bytes of the NVMe-MI Commands Supported and Effects log (Base §5.16.1.19).
const MANAGEMENT_EFFECTS_BYTES: usize = 4096;

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
        let opcode = AdminOpcode(entry.opcode);
        if !ADMIN_COMMANDS.contains(&opcode) {
            return Err(refuse(StatusCode::INVALID_OPCODE));
        }
        if entry.namespace.get() != 0 && !uses_namespace(opcode) {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        match opcode {
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
        if !address.is_multiple_of(PAGE_BYTES as u64) {
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
        let known = self.submission.get(usize::from(queue));
        let known = known.is_some_and(|known| {
            known
                .as_ref()
                .is_some_and(|submission| submission.deleting.is_none())
        });
        if queue == 0 || !known {
            return Err(refuse(StatusCode::INVALID_QUEUE_ID));
        }
        let waiting = |place| {
            matches!(
                place,
                Place::Delayed | Place::Stalled | Place::Hung | Place::Dropped
            )
        };
        let waiting = |slot: &Slot| slot.queue == queue && waiting(slot.place());
        for command in self.slots.find(waiting) {
            let status = Status::new(StatusCode::ABORTED_QUEUE_DELETION);
            self.complete(dma, command, status, 0);
        }
        match &mut self.submission[usize::from(queue)] {
            Some(submission) if submission.outstanding > 0 => {
                submission.deleting = Some(index);
                self.slots.put(index, Place::Deleting);
                Ok(Progress::Waits)
            }
            _ => {
                self.drop_submission_queue(queue);
                DONE
            }
        }
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
        let queues_exist = self.submission.iter().skip(1).any(Option::is_some)
            || self.completion.iter().skip(1).any(Option::is_some);
        if asked.save() {
            return Err(refuse(StatusCode::FEATURE_NOT_SAVEABLE));
        }
        let (value, namespace) = (entry.cdw11.get(), entry.namespace.get());
        let result = self
            .features
            .set(asked.feature(), value, namespace, queues_exist)?;
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
            entry.namespace.get(),
        )?;
        Ok(Progress::Done(value))
    }

    /// Raises an event when a warning holds that the host wants to hear of (Base §5.27.1.3).
    pub(super) fn check_temperature(&mut self) {
        let warnings = self.health.warnings(self.features.thresholds_kelvin());
        if warnings & self.features.smart_events() & SmartLog::WARNING_TEMPERATURE != 0 {
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
                slot.place(),
                Place::Delayed | Place::Stalled | Place::Hung | Place::Event
            );
            stoppable
                && slot.queue == asked.queue()
                && slot.entry.command_id.get() == asked.command_id()
        });
        let Some(&target) = found.first() else {
            return Ok(Progress::Done(1));
        };
        if self.slots.get(target).place() == Place::Event {
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
        self.slots.put(index, Place::Event);
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
        if bytes > self.setup.transfer_bytes_max || by_index || !offset.is_multiple_of(4) || !within
        {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        let outcome = self.reply(dma, index, offset as usize, bytes as usize)?;
        if !asked.retain_event() {
            self.events.acknowledge(asked.log());
        }
        Ok(outcome)
    }

    /// Puts a log into the scratch bytes. Every log here is of the controller or of more than it, and so
    /// takes no NSID but that of all namespaces (Base §5.16.1).
    fn lay_out_log(&mut self, log: LogId, namespace: u32) -> Result<(), Status> {
        if !LOGS.contains(&log) {
            return Err(refuse(StatusCode::INVALID_LOG_PAGE));
        }
        if namespace != 0 && namespace != NAMESPACE_ALL {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        let mut page = core::mem::take(&mut self.scratch);
        page.clear();
        match log {
            LogId::SUPPORTED_LOGS => {
                page.resize(SUPPORTED_LOGS_BYTES, 0);
                LOGS.iter().for_each(|log| page[usize::from(log.0) * 4] = 1);
            }
            LogId::ERROR => {
                let errors = self.health.error_log();
                errors.for_each(|error| page.extend_from_slice(error.as_bytes()));
                page.resize(ERROR_LOG_ENTRIES * size_of::<ErrorLogEntry>(), 0);
            }
            LogId::SMART => {
                let on_us = self.now_us.saturating_sub(self.powered_us);
                let log = self.health.smart(self.features.thresholds_kelvin(), on_us);
                page.extend_from_slice(log.as_bytes());
            }
            LogId::FIRMWARE_SLOT => {
                let mut log = FirmwareSlotLog::default();
                log.active = 1;
                log.revisions[0] = padded(&self.setup.firmware);
                page.extend_from_slice(log.as_bytes());
            }
            LogId::EFFECTS => page.extend_from_slice(effects().as_bytes()),
            LogId::FEATURE_EFFECTS => {
                page.extend_from_slice(feature_effects(&self.features).as_bytes());
            }
            // There are no such commands.
            _ => page.resize(MANAGEMENT_EFFECTS_BYTES, 0),
        }
        self.scratch = page;
        Ok(())
    }
}

fn effects() -> EffectsLog {
    let mut log = EffectsLog::default();
    let supported = CommandEffects::new().with_supported(true);
    for opcode in ADMIN_COMMANDS {
        let effects = supported.with_scope(CommandEffects::SCOPE_CONTROLLER);
        log.admin[usize::from(opcode.0)] = effects.into_bits().into();
    }
    for (opcode, changes_data) in IO_COMMANDS {
        let effects = supported
            .with_scope(CommandEffects::SCOPE_NAMESPACE)
            .with_changes_data(changes_data);
        log.io[usize::from(opcode.0)] = effects.into_bits().into();
    }
    log
}

fn feature_effects(features: &Features) -> FeatureEffectsLog {
    let mut log = FeatureEffectsLog::default();
    for feature in FEATURES {
        if features.supports(feature) {
            let scope = match feature {
                FeatureId::ERROR_RECOVERY => CommandEffects::SCOPE_NAMESPACE,
                _ => CommandEffects::SCOPE_CONTROLLER,
            };
            let effects = FeatureEffects::new().with_supported(true).with_scope(scope);
            log.features[usize::from(feature.0)] = effects.into_bits().into();
        }
    }
    log
}
