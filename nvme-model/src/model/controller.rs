//! The controller: from doorbells to completions.
//!
//! One step follows the registers, takes what the stores have finished and what has become due, takes
//! commands from the submission queues in turn, and carries each out or puts it off. Each stage is
//! bounded, so a step is.

use std::boxed::Box;
use std::collections::VecDeque;
use std::string::String;
use std::vec::Vec;

use zerocopy::IntoBytes;

use crate::spec::{
    CompletionEntry, ControllerStatus, IoOpcode, Status, StatusCode, SubmissionEntry,
};

use super::arena::ModelDma;
use super::events::Events;
use super::features::Features;
use super::health::Health;
use super::limits::COMPLETIONS_PER_STEP;
use super::queue::{CompletionQueue, SubmissionQueue};
use super::random::Random;
use super::registers::ModelRegisters;
use super::sideband::{ManagementStatus, Sideband};
use super::slot::{Place, Slots, Work};
use super::store::{Buffers, StoreError};
use super::thermal::Heat;
use super::{Fault, FaultPlan, ModelConfig, Store};

/// A namespace: a store seen as blocks.
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) store: Box<dyn Store>,
    pub(super) block_shift: u8,
    pub(super) blocks: u64,
    /// Operations in the store.
    pub(super) pending: usize,
}

/// What the controller is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// CC.EN = 0.
    Disabled,
    /// CC.EN = 1, CSTS.RDY not yet.
    Starting {
        /// When it is to be ready.
        ready_us: u64,
    },
    /// Taking commands.
    Running,
    /// CC.EN fell: waiting for the stores.
    Stopping,
    /// CC.SHN was written: waiting for commands, then for flushes.
    ShuttingDown {
        /// The flushes were begun.
        flushing: bool,
    },
    /// CSTS.SHST = complete.
    ShutDown,
    /// CSTS.CFS = 1.
    Fatal,
}

/// Fixed numbers out of the configuration.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) queue_entries: u16,
    pub(super) mdts: u8,
    pub(super) transfer_bytes_max: u64,
    pub(super) ready_latency_us: u64,
    pub(super) read_latency_us: u64,
    pub(super) write_latency_us: u64,
    pub(super) jitter_us: u64,
    pub(super) serial: String,
    pub(super) model: String,
    pub(super) firmware: String,
}

/// The state of the controller.
#[derive(Debug)]
pub(super) struct Controller {
    pub(super) setup: Setup,
    pub(super) phase: Phase,
    pub(super) namespaces: Vec<Namespace>,
    pub(super) submission: Vec<Option<SubmissionQueue>>,
    pub(super) completion: Vec<Option<CompletionQueue>>,
    /// One bit for each submission queue that may hold commands.
    pub(super) waiting: u64,
    /// The queue whose turn it is.
    pub(super) turn: u32,
    pub(super) slots: Slots,
    stalled: VecDeque<u32>,
    finished: Vec<(u32, Result<(), Status>)>,
    pub(super) events: Events,
    pub(super) features: Features,
    pub(super) defaults: Features,
    pub(super) health: Health,
    pub(super) faults: FaultPlan,
    random: Random,
    /// Bytes of an admin reply, or of a comparison.
    pub(super) scratch: Vec<u8>,
    /// A completion posted before, for stale ones.
    earlier: Option<CompletionEntry>,
    pub(super) now_us: u64,
    pub(super) powered_us: u64,
    /// Nothing was taken since the last shutdown or power-on: a power loss now is no unsafe one.
    pub(super) clean: bool,
    pub(super) sideband: Sideband,
    /// PERST# is asserted, or was, and the stores have not ended what they were at.
    pub(super) in_reset: bool,
    heat: Option<Heat>,
}

/// How far a command came at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is over, with this in dword 0.
    Done(u32),
    /// It is in its store, or parked: nothing to do now.
    Waits,
    /// Its store has no room.
    Busy,
}

/// Store tokens from here up are flushes of a shutdown.
pub(super) const SHUTDOWN_TOKEN: u64 = 1 << 32;

/// A status that the same command would get again.
pub(super) fn refuse(code: StatusCode) -> Status {
    Status::new(code).with_do_not_retry()
}

impl Controller {
    pub(super) fn new(config: ModelConfig) -> Self {
        let namespaces: Vec<_> = config.namespaces.into_iter().map(Namespace::new).collect();
        let has_cache = namespaces
            .iter()
            .any(|namespace| namespace.store.volatile());
        // Without MDTS the largest NLB of the largest block is the limit.
        let transfer_shift = if config.mdts == 0 { 16 } else { config.mdts };
        let queues = config.queues;
        let setup = Setup {
            queue_entries: config.queue_entries,
            mdts: config.mdts,
            transfer_bytes_max: 4096 << transfer_shift,
            ready_latency_us: config.ready_latency_us,
            read_latency_us: config.read_latency_us,
            write_latency_us: config.write_latency_us,
            jitter_us: config.jitter_us,
            serial: config.serial,
            model: config.model,
            firmware: config.firmware,
        };
        let mut health = Health::new(config.power_cycles.saturating_add(1));
        if let Some(thermal) = config.thermal {
            health.temperature_kelvin = thermal.ambient_kelvin;
        }
        let places = usize::from(queues) + 1;
        let defaults = Features::new(queues, namespaces.len(), has_cache);
        Self {
            setup,
            phase: Phase::Disabled,
            namespaces,
            submission: (0..places).map(|_| None).collect(),
            completion: (0..places).map(|_| None).collect(),
            waiting: 0,
            turn: 0,
            slots: Slots::default(),
            stalled: VecDeque::new(),
            finished: Vec::new(),
            events: Events::default(),
            features: defaults.clone(),
            defaults,
            health,
            faults: config.faults,
            random: Random::new(config.seed),
            scratch: Vec::new(),
            earlier: None,
            now_us: 0,
            powered_us: 0,
            clean: true,
            sideband: Sideband::default(),
            in_reset: false,
            heat: config.thermal.map(Heat::new),
        }
    }

    /// One step: true when there is more to do at once.
    pub(super) fn step(
        &mut self,
        registers: &ModelRegisters,
        dma: &mut ModelDma,
        now_us: u64,
    ) -> bool {
        self.now_us = now_us;
        dma.take_published();
        self.warm();
        self.follow_perst(registers, dma);
        self.follow_bus(registers, dma);
        self.tell(registers);
        if registers.gone() {
            return self.in_reset && self.reap(dma);
        }
        let mut more = self.reap(dma);
        self.follow_configuration(registers, dma);
        if matches!(self.phase, Phase::Running | Phase::ShuttingDown { .. }) {
            more |= self.run_due(registers, dma);
        }
        if self.phase == Phase::Running {
            self.follow_doorbells(registers);
            more |= self.fetch(registers, dma);
            self.deliver_events(dma);
        }
        if self.phase == Phase::Fatal {
            registers.set_status(registers.status().with_fatal(true));
        }
        for namespace in &mut self.namespaces {
            namespace.store.kick();
        }
        more
    }

    /// Heats and cools; a warning that begins to hold may be an event.
    #[inline]
    fn warm(&mut self) {
        let Some(heat) = &mut self.heat else { return };
        if !heat.due(self.now_us) {
            return;
        }
        let health = &mut self.health;
        let (commands, bytes) = (
            health.reads + health.writes,
            health.read_bytes + health.written_bytes,
        );
        let thresholds = self.features.thresholds_kelvin();
        let before = health.warnings(thresholds);
        health.temperature_kelvin = heat.update(self.now_us, commands, bytes);
        if health.warnings(thresholds) & !before != 0 {
            self.check_temperature();
        }
    }

    /// Says on the management bus how it is.
    #[inline]
    fn tell(&self, registers: &ModelRegisters) {
        let fine = self.phase != Phase::Fatal && !self.faults.stuck_ready && !self.faults.gone;
        self.sideband.tell(ManagementStatus {
            link: !registers.gone(),
            functional: !self.faults.beyond_reset,
            no_reset_needed: fine,
            warnings: self.health.warnings(self.features.thresholds_kelvin()),
            temperature_kelvin: self.health.temperature_kelvin,
            used_percent: self.health.used_percent,
        });
    }

    /// The device left the bus, or came back without its state.
    fn follow_bus(&mut self, registers: &ModelRegisters, dma: &mut ModelDma) {
        if self.in_reset || self.faults.gone == registers.gone() {
            return;
        }
        if !self.faults.gone {
            let seed = self.random.next();
            self.power_cut(registers, dma, seed);
        }
        registers.set_gone(self.faults.gone);
    }

    /// When something happens by itself, if anything will.
    pub(super) fn next_us(&self) -> Option<u64> {
        if self.faults.gone {
            return None;
        }
        match self.phase {
            Phase::Starting { ready_us } if !self.faults.stuck_ready => Some(ready_us),
            Phase::Running | Phase::ShuttingDown { .. } => self.slots.next_due(),
            _ => None,
        }
    }

    /// Operations in stores.
    pub(super) fn in_stores(&self) -> usize {
        self.namespaces
            .iter()
            .map(|namespace| namespace.pending)
            .sum()
    }

    // ---- Completing ----

    /// Completes a command, or leaves it where it waits.
    #[inline]
    pub(super) fn conclude(
        &mut self,
        dma: &mut ModelDma,
        index: u32,
        outcome: Result<Progress, Status>,
    ) {
        match outcome {
            Ok(Progress::Done(dword0)) => self.complete(dma, index, Status::SUCCESS, dword0),
            Ok(Progress::Waits) => {}
            Ok(Progress::Busy) => {
                self.slots.put(index, Place::Stalled);
                self.stalled.push_back(index);
            }
            Err(status) => self.complete(dma, index, status, 0),
        }
    }

    /// Ends a command: its completion is posted and its slot free.
    #[inline]
    pub(super) fn complete(&mut self, dma: &mut ModelDma, index: u32, status: Status, dword0: u32) {
        let slot = self.slots.get(index);
        let (queue, id, fault) = (slot.queue, slot.entry.command_id.get(), slot.fault);
        let status = if status.is_success() {
            status
        } else {
            self.remember(index, status)
        };
        self.release(dma, index);
        self.slots.give(index);
        let Some(submission) = &mut self.submission[usize::from(queue)] else {
            return;
        };
        submission.release_id(id);
        submission.outstanding -= 1;
        let completion = submission.completion;
        let deleting = submission.deleting.filter(|_| submission.outstanding == 0);
        let mut entry = CompletionEntry {
            dw0: dword0.into(),
            submission_head: submission.head().into(),
            submission_queue: queue.into(),
            command_id: id.into(),
            ..CompletionEntry::default()
        };
        entry.set_status(status, false);
        if let Some(completion) = &mut self.completion[usize::from(completion)] {
            completion.unreserve();
        }
        match fault {
            None => self.post(dma, completion, entry),
            Some(fault) => self.post_with(dma, completion, entry, fault),
        }
        if let Some(deletion) = deleting {
            self.finish_deletion(dma, queue, deletion);
        }
    }

    /// Enters a failure into the Error Information log; the status says so.
    #[cold]
    fn remember(&mut self, index: u32, status: Status) -> Status {
        if status.code() == StatusCode::ABORT_REQUESTED {
            return status;
        }
        let slot = self.slots.get(index);
        let lba = match slot.queue {
            0 => 0,
            _ => u64::from(slot.entry.cdw10.get()) | u64::from(slot.entry.cdw11.get()) << 32,
        };
        self.health.record(slot.queue, &slot.entry, status, lba);
        status.with_more()
    }

    /// Posts an entry, if there is a place.
    #[inline]
    fn post(&mut self, dma: &mut ModelDma, completion: u16, mut entry: CompletionEntry) {
        let Some(queue) = &mut self.completion[usize::from(completion)] else {
            return;
        };
        if queue.free() == 0 {
            return; // only forged entries have no place of their own
        }
        let (at, phase) = queue.next();
        entry.set_status(entry.status(), phase);
        dma.post(at, entry.as_bytes());
    }

    #[cold]
    fn post_with(
        &mut self,
        dma: &mut ModelDma,
        completion: u16,
        entry: CompletionEntry,
        fault: Fault,
    ) {
        let id = entry.command_id.get();
        match fault {
            Fault::WrongCommandId(bits) => {
                self.post(
                    dma,
                    completion,
                    CompletionEntry {
                        command_id: (id ^ bits).into(),
                        ..entry
                    },
                );
            }
            Fault::DuplicateCompletion => {
                self.post(dma, completion, entry);
                self.post(dma, completion, entry);
            }
            Fault::StaleCompletion => {
                self.post(dma, completion, entry);
                if let Some(earlier) = self.earlier {
                    self.post(dma, completion, earlier);
                }
            }
            Fault::ForgedCompletion => {
                self.post(dma, completion, entry);
                let forged = self.random.next() as u16;
                self.post(
                    dma,
                    completion,
                    CompletionEntry {
                        command_id: forged.into(),
                        ..entry
                    },
                );
            }
            _ => self.post(dma, completion, entry),
        }
        self.earlier = Some(entry);
    }

    // ---- Buffers in flight ----

    /// Tells the arena which pages a command put off uses. Only the non-coherent arena cares.
    pub(super) fn hold(&mut self, dma: &mut ModelDma, index: u32) {
        if dma.is_coherent() || self.slots.get(index).queue == 0 {
            return;
        }
        if self.resolve_transfer(dma, index).is_ok() {
            self.keep_held(dma, index);
        }
    }

    /// The same for a command whose buffers are known.
    #[inline]
    pub(super) fn keep_held(&mut self, dma: &mut ModelDma, index: u32) {
        let slot = self.slots.get_mut(index);
        slot.held = true;
        dma.hold(&slot.runs, true);
    }

    #[inline]
    pub(super) fn release(&mut self, dma: &mut ModelDma, index: u32) {
        let slot = self.slots.get_mut(index);
        if slot.held {
            slot.held = false;
            dma.hold(&slot.runs, false);
        }
    }

    // ---- Stores ----

    /// Takes what the stores have finished, then submits again what had no room.
    #[inline]
    fn reap(&mut self, dma: &mut ModelDma) -> bool {
        let mut more = false;
        for at in 0..self.namespaces.len() {
            if self.namespaces[at].pending > 0 {
                more |= self.reap_namespace(dma, at);
            }
        }
        for _ in 0..self.stalled.len() {
            let Some(index) = self.stalled.pop_front() else {
                break;
            };
            if self.slots.get(index).place() != Place::Stalled {
                continue;
            }
            self.slots.put(index, Place::Running);
            let outcome = self.io(dma, index);
            let busy = outcome == Ok(Progress::Busy);
            self.conclude(dma, index, outcome);
            if busy {
                break;
            }
        }
        more
    }

    fn reap_namespace(&mut self, dma: &mut ModelDma, at: usize) -> bool {
        let mut taken = 0;
        let namespace = &mut self.namespaces[at];
        while taken < COMPLETIONS_PER_STEP {
            let Some(done) = namespace.store.poll() else {
                break;
            };
            taken += 1;
            namespace.pending = namespace.pending.saturating_sub(1);
            if done.token >= SHUTDOWN_TOKEN {
                continue;
            }
            let index = done.token as u32;
            if self.slots.get(index).place() != Place::Store {
                self.slots.give(index);
                continue;
            }
            self.slots.put(index, Place::Running);
            let slot = self.slots.get(index);
            let outcome = match done.result {
                Ok(bytes) => finish(dma, &slot.runs, slot.work, bytes),
                Err(error) => Err(store_status(error, &slot.entry)),
            };
            self.health.degraded |= done.result == Err(StoreError::Failed);
            self.finished.push((index, outcome));
        }
        let mut finished = core::mem::take(&mut self.finished);
        for (index, outcome) in finished.drain(..) {
            self.release(dma, index);
            let outcome = match outcome {
                Ok(()) => self.after_store(dma, index),
                Err(status) => Err(status),
            };
            self.conclude(dma, index, outcome);
        }
        self.finished = finished;
        taken == COMPLETIONS_PER_STEP
    }

    // ---- Events ----

    #[inline]
    pub(super) fn deliver_events(&mut self, dma: &mut ModelDma) {
        while self.events.deliverable() {
            let reserved = self.completion[0]
                .as_mut()
                .is_some_and(CompletionQueue::reserve);
            if !reserved {
                return;
            }
            let Some((slot, event)) = self.events.deliver() else {
                return;
            };
            self.complete(dma, slot, Status::SUCCESS, event.into_bits());
        }
    }

    // ---- Enabling, resetting, shutting down: in `lifecycle` ----

    pub(super) fn set_phase(
        &mut self,
        registers: &ModelRegisters,
        phase: Phase,
        status: ControllerStatus,
    ) {
        self.phase = phase;
        registers.set_status(status);
    }

    pub(super) fn forget_queues(&mut self) {
        self.submission.fill_with(|| None);
        self.completion.fill_with(|| None);
        self.waiting = 0;
        self.stalled.clear();
    }

    pub(super) fn forget_queue(&mut self, queue: u16) {
        self.submission[usize::from(queue)] = None;
        self.waiting &= !(1 << queue);
    }

    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}

/// Takes what a store read into the command's buffers, or compares it with them.
fn finish(
    dma: &mut ModelDma,
    runs: &[super::prp::Run],
    work: Work,
    bytes: &[u8],
) -> Result<(), Status> {
    match work {
        Work::Transfer if !bytes.is_empty() => {
            Buffers::new(dma.device_mut(), runs).fill_from(bytes);
            dma.wrote(runs);
        }
        Work::Compare if !Buffers::new(dma.device_mut(), runs).equals(bytes) => {
            return Err(Status::new(StatusCode::COMPARE_FAILURE));
        }
        _ => {}
    }
    Ok(())
}

/// Whether an I/O command reads its blocks.
pub(super) fn reads(opcode: u8) -> bool {
    matches!(IoOpcode(opcode), IoOpcode::READ | IoOpcode::COMPARE)
}

/// The status for a store's error (Base §3.3.3.2.1, Figures 94 and 98; NVM §3.1).
pub(super) fn store_status(error: StoreError, entry: &SubmissionEntry) -> Status {
    let reading = reads(entry.opcode);
    Status::new(match error {
        StoreError::ReadOnly => StatusCode::WRITE_PROTECTED,
        StoreError::OutOfRange => StatusCode::LBA_OUT_OF_RANGE,
        StoreError::NoSpace => StatusCode::CAPACITY_EXCEEDED,
        StoreError::Medium | StoreError::Failed if reading => StatusCode::UNRECOVERED_READ_ERROR,
        StoreError::Medium | StoreError::Failed => StatusCode::WRITE_FAULT,
    })
}
