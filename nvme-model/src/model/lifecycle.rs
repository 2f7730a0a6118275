//! Enabling, resetting, shutting down, and losing power (Base §3.5, §3.6, §3.7).

use crate::spec::{
    COMPLETION_ENTRY_BYTES, Configuration, ControllerStatus, IoOpcode, SUBMISSION_ENTRY_BYTES,
};

use super::NamespaceConfig;
use super::arena::ModelDma;
use super::controller::{Controller, Namespace, Phase, SHUTDOWN_TOKEN};
use super::queue::{CompletionQueue, SubmissionQueue};
use super::registers::ModelRegisters;
use super::slot::Place;
use super::store::{Buffers, StoreOp, Submitted};

impl Namespace {
    pub(super) fn new(config: NamespaceConfig) -> Self {
        let block_shift = config.block_bytes.trailing_zeros() as u8;
        let blocks = config.store.bytes() >> block_shift;
        Self {
            store: config.store,
            block_shift,
            blocks,
            pending: 0,
        }
    }
}

impl Controller {
    /// Follows CC, and lets what it began go on.
    #[inline]
    pub(super) fn follow_configuration(&mut self, registers: &ModelRegisters, dma: &mut ModelDma) {
        if let Some(fell) = registers.take_configured() {
            self.configure(registers, dma, fell);
        }
        // At most: stopping, disabled, starting, running, shutting down, shut down.
        for _ in 0..6 {
            let before = self.phase;
            self.go_on(registers, dma);
            if self.phase == before {
                return;
            }
        }
    }

    #[inline]
    fn go_on(&mut self, registers: &ModelRegisters, dma: &mut ModelDma) {
        match self.phase {
            Phase::Running | Phase::Disabled | Phase::ShutDown | Phase::Fatal => {}
            Phase::Starting { ready_us } => {
                if self.now_us >= ready_us && !self.faults.stuck_ready {
                    self.phase = Phase::Running;
                    self.clean = false;
                    registers.set_status(ControllerStatus::new().with_ready(true));
                    self.configure(registers, dma, false); // SHN may have been written meanwhile
                }
            }
            Phase::Stopping => {
                if self.in_stores() == 0 && !self.faults.stuck_ready {
                    self.set_phase(registers, Phase::Disabled, ControllerStatus::new());
                    self.configure(registers, dma, false); // EN may have risen again meanwhile
                }
            }
            Phase::ShuttingDown { flushing } => self.go_on_shutting_down(registers, dma, flushing),
        }
    }

    fn configure(&mut self, registers: &ModelRegisters, dma: &mut ModelDma, fell: bool) {
        let configuration = registers.configuration();
        if fell && self.phase != Phase::Disabled {
            self.stop(registers, dma);
        }
        let shut = configuration.shutdown() != Configuration::SHUTDOWN_NONE;
        // A controller that was shut down while disabled is enabled without a reset before.
        let shut_down_disabled = self.phase == Phase::ShutDown && !registers.status().ready();
        match self.phase {
            Phase::Disabled if configuration.enable() => {
                self.start_up(registers, dma, configuration)
            }
            Phase::ShutDown if shut_down_disabled && configuration.enable() && !shut => {
                registers.set_status(ControllerStatus::new());
                self.start_up(registers, dma, configuration);
            }
            Phase::Running | Phase::Disabled if shut => {
                let status = registers
                    .status()
                    .with_shutdown(ControllerStatus::SHUTDOWN_OCCURRING);
                self.set_phase(registers, Phase::ShuttingDown { flushing: false }, status);
            }
            _ => {}
        }
    }

    /// CC.EN has risen.
    fn start_up(
        &mut self,
        registers: &ModelRegisters,
        dma: &ModelDma,
        configuration: Configuration,
    ) {
        let begun = self.begin(registers, dma, configuration).is_some();
        let ready_us = self.now_us.saturating_add(self.setup.ready_latency_us);
        self.phase = if begun {
            Phase::Starting { ready_us }
        } else {
            Phase::Fatal
        };
    }

    /// Lays out the admin queues; `None` when CC, AQA, ASQ or ACQ ask for what is not there
    /// (Base §3.5.1), which a real controller shows by CSTS.CFS.
    fn begin(
        &mut self,
        registers: &ModelRegisters,
        dma: &ModelDma,
        configuration: Configuration,
    ) -> Option<()> {
        let fits = configuration.command_set() == 0
            && configuration.page_size() == 0
            && configuration.arbitration() == 0;
        let (attributes, submission, completion) = registers.admin_queues();
        let submissions = usize::from(attributes.submission_entries_0()) + 1;
        let completions = usize::from(attributes.completion_entries_0()) + 1;
        if !fits || submissions < 2 || completions < 2 {
            return None;
        }
        let submission = dma
            .resolve(submission, submissions * SUBMISSION_ENTRY_BYTES)?
            .start;
        let completion = dma
            .resolve(completion, completions * COMPLETION_ENTRY_BYTES)?
            .start;
        self.forget_queues();
        registers.clear_all_doorbells();
        self.submission[0] = Some(SubmissionQueue::new(submission, submissions as u32, 0));
        let mut queue = CompletionQueue::new(completion, completions as u32);
        queue.users = 1;
        self.completion[0] = Some(queue);
        Some(())
    }

    /// CC.EN fell: all commands are forgotten at once, CSTS.RDY falls when no store works any more.
    fn stop(&mut self, registers: &ModelRegisters, dma: &mut ModelDma) {
        self.forget_commands(dma);
        self.forget_state();
        registers.reset();
        // SHST stays until RDY falls; CFS is cleared by the reset.
        let status = registers.status().with_fatal(false);
        self.set_phase(registers, Phase::Stopping, status);
    }

    /// What every reset forgets besides commands.
    fn forget_state(&mut self) {
        self.forget_queues();
        self.events.clear();
        self.features = self.defaults.clone();
        self.health.clear_error_log();
    }

    /// Forgets all commands but those in stores, which become orphans.
    fn forget_commands(&mut self, dma: &mut ModelDma) {
        self.slots.clear_timers();
        for index in self.slots.find(|_| true) {
            self.slots.get_mut(index).held = false;
            match self.slots.get(index).place() {
                Place::Store | Place::Orphan => self.slots.put(index, Place::Orphan),
                _ => self.slots.give(index),
            }
        }
        dma.release_all();
    }

    /// Waits for commands, flushes every store, waits for that (Base §3.6).
    fn go_on_shutting_down(
        &mut self,
        registers: &ModelRegisters,
        dma: &mut ModelDma,
        flushing: bool,
    ) {
        if !flushing {
            let busy = |place| {
                matches!(
                    place,
                    Place::Delayed | Place::Stalled | Place::Store | Place::Orphan
                )
            };
            if self.slots.any(|slot| busy(slot.place())) {
                return;
            }
            for namespace in &mut self.namespaces {
                let flushed =
                    namespace
                        .store
                        .submit(SHUTDOWN_TOKEN, StoreOp::Flush, &mut Buffers::empty());
                match flushed {
                    Submitted::Pending => namespace.pending += 1,
                    // With nothing outstanding a store has room; one that fails is told by SMART.
                    Submitted::Done(Ok(())) | Submitted::Busy => {}
                    Submitted::Done(Err(_)) => self.health.degraded = true,
                }
            }
            self.phase = Phase::ShuttingDown { flushing: true };
        }
        if self.in_stores() == 0 {
            let status = registers
                .status()
                .with_shutdown(ControllerStatus::SHUTDOWN_COMPLETE);
            self.clean = true;
            self.set_phase(registers, Phase::ShutDown, status);
            self.configure(registers, dma, false); // EN may have risen meanwhile
        }
    }

    /// PERST#, a conventional reset (PCIe Base §6.6.1): registers, queues and commands are forgotten, the
    /// media and what stands in its cache are kept, and no power was lost. The device is off the bus
    /// while the pin is asserted, and as long after as a store works on a command that was forgotten,
    /// since until then it may still write to memory.
    #[inline]
    pub(super) fn follow_perst(&mut self, registers: &ModelRegisters, dma: &mut ModelDma) {
        if self.sideband.has_fallen() && self.sideband.take_fall() {
            self.begin_conventional_reset(registers, dma);
        }
        if self.in_reset && !self.sideband.asserted() && self.in_stores() == 0 {
            self.in_reset = false;
            registers.set_gone(self.faults.gone);
        }
    }

    #[cold]
    fn begin_conventional_reset(&mut self, registers: &ModelRegisters, dma: &mut ModelDma) {
        self.faults.reset();
        self.forget_commands(dma);
        self.forget_state();
        self.phase = Phase::Disabled;
        registers.power_on();
        registers.set_gone(true);
        self.in_reset = true;
    }

    /// The power fails and comes back.
    pub(super) fn power_cut(&mut self, registers: &ModelRegisters, dma: &mut ModelDma, seed: u64) {
        *self.random() = super::random::Random::new(seed);
        if !self.clean {
            self.land_some_writes(dma);
            self.health.unsafe_shutdowns += 1;
        }
        self.clean = true;
        self.health.power_cycles += 1;
        for at in 0..self.namespaces.len() {
            let seed = self.random().next();
            let namespace = &mut self.namespaces[at];
            namespace.store.power_cut(seed);
            namespace.pending = 0;
        }
        self.forget_commands(dma);
        for index in self.slots.find(|slot| slot.place() == Place::Orphan) {
            self.slots.give(index);
        }
        self.forget_state();
        self.phase = Phase::Disabled;
        self.powered_us = self.now_us;
        registers.power_on();
    }

    /// Writes under way when the power fails may have reached the store, in any number.
    fn land_some_writes(&mut self, dma: &mut ModelDma) {
        let under_way = self.slots.find(|slot| {
            let opcode = IoOpcode(slot.entry.opcode);
            let writes = matches!(opcode, IoOpcode::WRITE | IoOpcode::WRITE_ZEROES);
            slot.place() == Place::Delayed && slot.queue != 0 && writes
        });
        for index in under_way {
            if self.random().next() & 1 == 0 {
                let _outcome = self.io(dma, index);
            }
        }
    }
}
