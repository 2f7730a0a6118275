//! Bringing a controller up: what is read, written and asked, one step after the other.
//!
//! CAP is checked, the controller disabled if it is not, the admin queues set, CC.EN = 1, CSTS.RDY
//! awaited (Base §3.5.1). Then admin commands, one at a time: [`Step`].

use zerocopy::FromBytes;

use super::admin::{Admin, Purpose, Reply};
use super::command;
use super::info::{ControllerInfo, NamespaceInfo, entry_sizes_fit};
use super::operation::{FailReason, NamespaceId, ResetCause, Unfit};
use super::queue_pair::ring_pages;
use super::{Driver, Phase};
use crate::limits::{NAMESPACES_MAX, NAMESPACES_SCANNED_MAX};
use crate::seam::{Device, Dma, Registers};
use crate::spec::{
    AdminOpcode, AdminQueueAttributes, COMPLETION_ENTRY_SHIFT, Capabilities, Cns, Configuration,
    IdentifyController, IdentifyNamespace, LogId, NamespaceList, NumberOfQueues, ReadyTimeouts,
    SUBMISSION_ENTRY_SHIFT, SmartLog, StatusCode, offset,
};

/// An admin command of start-up, in the order they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Controller,
    QueueCount,
    NamespaceIds,
    /// The namespace at this place in the scan.
    Namespace(usize),
    Smart,
    /// Which warnings raise an event.
    Events,
    /// The completion ring of this I/O queue.
    CreateCompletion(usize),
    /// The submission ring of this I/O queue.
    CreateSubmission(usize),
}

/// The namespaces found so far; they replace the known ones when all are.
#[derive(Debug, Default)]
pub(super) struct Scan {
    ids: heapless::Vec<u32, NAMESPACES_SCANNED_MAX>,
    usable: heapless::Vec<NamespaceInfo, NAMESPACES_MAX>,
}

impl Scan {
    /// Takes the ids over; gives how many had no room. Ids rise; a list that does not is cut there.
    fn list(&mut self, list: &NamespaceList) -> u64 {
        self.ids.clear();
        self.usable.clear();
        let mut left_over = 0;
        let mut last = 0;
        for id in list.iter() {
            if id <= last {
                break;
            }
            last = id;
            left_over += u64::from(self.ids.push(id).is_err());
        }
        left_over
    }
}

/// Whether and how a controller can be driven, from CAP alone.
fn fitness(capabilities: Capabilities) -> Result<(), Unfit> {
    // CAP.CSS bit 7 says that admin commands alone can be chosen (CC.CSS = 111b), not that they must be:
    // QEMU sets it beside bit 0.
    if !capabilities.nvm_command_set() {
        return Err(Unfit::NoNvmCommandSet);
    }
    if capabilities.page_size_min() > 0 {
        return Err(Unfit::PageTooLarge {
            log2_bytes: capabilities.page_size_min() + 12,
        });
    }
    let entries = u32::from(capabilities.max_queue_entries_0()) + 1;
    if entries < 2 {
        return Err(Unfit::QueuesTooShort { entries });
    }
    Ok(())
}

impl<D: Device, const QUEUES: usize, const SLOTS: usize> Driver<D, QUEUES, SLOTS> {
    /// Entries of the I/O submission rings, when the controller takes as many.
    pub(super) const SUBMISSION_ENTRIES: usize = SLOTS + 1;
    /// A quarter of the completion ring may await its release without costing a permit.
    pub(super) const COMPLETION_ENTRIES: usize =
        Self::SUBMISSION_ENTRIES + Self::SUBMISSION_ENTRIES.div_ceil(3);
    pub(super) const SUBMISSION_PAGES: u32 = ring_pages(Self::SUBMISSION_ENTRIES, 64);
    pub(super) const COMPLETION_PAGES: u32 = ring_pages(Self::COMPLETION_ENTRIES, 16);
    pub(super) const LIST_PAGES: u32 = ring_pages(SLOTS, crate::limits::PRP_LIST_BYTES);

    /// The first thing done: looks at CAP and makes sure that the controller is disabled.
    pub(super) fn begin(&mut self) {
        let registers = self.device.registers();
        let raw = registers.read64(offset::CAP);
        if raw == u64::MAX {
            return self.fail(FailReason::Gone);
        }
        self.capabilities = Capabilities::from(raw);
        if let Err(unfit) = fitness(self.capabilities) {
            return self.fail(FailReason::Unfit(unfit));
        }
        self.disable(super::After::Start);
    }

    pub(super) const fn queue_entries_max(&self) -> u32 {
        self.capabilities.max_queue_entries_0() as u32 + 1
    }

    /// CAP.TO: the worst that CSTS.RDY may take to fall.
    pub(super) fn not_ready_deadline_us(&self) -> u64 {
        self.after_units(self.capabilities.timeout_500ms().into())
    }

    /// The worst that CSTS.RDY may take to rise: CAP.TO, or CRTO where that is more than CAP.TO can say
    /// (Base §3.1.3.1).
    fn ready_deadline_us(&self) -> u64 {
        let units = self.capabilities.timeout_500ms();
        if units < u8::MAX || self.capabilities.ready_modes() == 0 {
            return self.after_units(units.into());
        }
        let longer = ReadyTimeouts::from(self.device.registers().read32(offset::CRTO));
        self.after_units(longer.media_ready_500ms().max(units.into()))
    }

    /// So many units of 500 ms from now, at least one.
    fn after_units(&self, units: u16) -> u64 {
        self.now_us
            .saturating_add(u64::from(units.max(1)) * 500_000)
    }

    /// Sets the admin queues and enables. CSTS.RDY is 0.
    pub(super) fn enable(&mut self) {
        let entries = Admin::entries(self.queue_entries_max());
        let stride = self.capabilities.doorbell_stride();
        self.admin.reset(self.device.dma_mut(), entries, stride);
        let dma = self.device.dma();
        let submission = self.admin.rings.submission_address(dma);
        let completion = self.admin.rings.completion_address(dma);
        dma.publish();

        let attributes = AdminQueueAttributes::new()
            .with_submission_entries_0(entries - 1)
            .with_completion_entries_0(entries - 1);
        let configuration = Configuration::new()
            .with_enable(true)
            .with_submission_entry_size(SUBMISSION_ENTRY_SHIFT)
            .with_completion_entry_size(COMPLETION_ENTRY_SHIFT);
        let registers = self.device.registers();
        registers.write32(offset::AQA, attributes.into());
        registers.write64(offset::ASQ, submission);
        registers.write64(offset::ACQ, completion);
        registers.write32(offset::CC, configuration.into());
        self.next_register_us = self.now_us;
        self.phase = Phase::Enabling {
            until_us: self.ready_deadline_us(),
        };
    }

    /// Sends the step's command.
    pub(super) fn start_step(&mut self, step: Step) {
        let dma = self.device.dma();
        let data = self.admin.data_address(dma);
        let entry = match step {
            Step::Controller => command::identify(Cns::CONTROLLER, 0, data),
            Step::QueueCount => command::set_queue_count(QUEUES as u16),
            Step::NamespaceIds => command::identify(Cns::ACTIVE_NAMESPACES, 0, data),
            Step::Namespace(place) => {
                let id = self.scan.ids.get(place).copied().unwrap_or(0);
                command::identify(Cns::NAMESPACE, id, data)
            }
            Step::Smart => command::log_page(LogId::SMART, size_of::<SmartLog>() as u16, data),
            Step::Events => command::set_smart_events(SmartLog::WARNINGS),
            Step::CreateCompletion(queue) => {
                let rings = &self.queues[queue].rings;
                let (id, entries) = (rings.id(), rings.completion_entries());
                command::create_completion_queue(id, entries, rings.completion_address(dma))
            }
            Step::CreateSubmission(queue) => {
                let rings = &self.queues[queue].rings;
                let (id, entries) = (rings.id(), rings.submission_entries());
                command::create_submission_queue(id, entries, rings.submission_address(dma))
            }
        };
        self.submit_admin(Purpose::Step, entry);
        self.phase = Phase::Starting(step);
    }

    /// Takes the outcome of the step's command and goes on to the next.
    pub(super) fn finish_step(&mut self, step: Step, reply: Reply) -> Result<(), ResetCause> {
        if !reply.status.is_success() {
            // A namespace may go between the list and the question; that is no reason to fail.
            if let Step::Namespace(place) = step
                && reply.status.code() == StatusCode::INVALID_NAMESPACE_OR_FORMAT
            {
                self.counters.namespaces_skipped += 1;
                self.next_namespace(place + 1);
                return Ok(());
            }
            // Without events the log, which is read now and then, tells the same a little later.
            if step == Step::Events {
                self.start_step(Step::CreateCompletion(0));
                return Ok(());
            }
            return Err(ResetCause::Refused(AdminOpcode(reply.opcode), reply.status));
        }
        match step {
            Step::Controller => self.take_controller(),
            Step::QueueCount => self.take_queue_count(reply.dw0.into()),
            Step::NamespaceIds => self.take_namespace_ids(),
            Step::Namespace(place) => self.take_namespace(place),
            Step::Smart => {
                self.power_cycles = self.take_health();
                self.start_step(Step::Events);
            }
            Step::Events => self.start_step(Step::CreateCompletion(0)),
            Step::CreateCompletion(queue) => self.start_step(Step::CreateSubmission(queue)),
            Step::CreateSubmission(queue) if queue + 1 < self.queue_count => {
                self.start_step(Step::CreateCompletion(queue + 1));
            }
            Step::CreateSubmission(_) => self.run(),
        }
        Ok(())
    }

    fn take_controller(&mut self) {
        let data = self.admin.data(self.device.dma_mut());
        let Ok((identify, _)) = IdentifyController::ref_from_prefix(data) else {
            return;
        };
        if !entry_sizes_fit(identify) {
            return self.fail(FailReason::Unfit(Unfit::EntrySize));
        }
        self.controller = Some(ControllerInfo::new(identify, self.capabilities));
        self.start_step(Step::QueueCount);
    }

    fn take_queue_count(&mut self, granted: NumberOfQueues) {
        let granted = granted
            .submission_queues_0()
            .min(granted.completion_queues_0());
        let count = (usize::from(granted) + 1).min(QUEUES);
        if self.queue_count > count {
            let pairs = count as u16;
            return self.fail(FailReason::Unfit(Unfit::QueuesTooFew { pairs }));
        }
        let entries_max = self.queue_entries_max();
        let submission = (Self::SUBMISSION_ENTRIES as u32).min(entries_max) as u16;
        let completion = (Self::COMPLETION_ENTRIES as u32).min(entries_max) as u16;
        if self.queue_count == 0 {
            self.queue_count = count;
            self.depth = submission - 1;
        } else if submission <= self.depth {
            let entries = entries_max;
            return self.fail(FailReason::Unfit(Unfit::QueuesTooShort { entries }));
        }
        let stride = self.capabilities.doorbell_stride();
        for queue in &mut self.queues[..self.queue_count] {
            queue.slots.open(self.depth);
            let dma = self.device.dma_mut();
            queue.rings.reset(dma, submission, completion, stride);
        }
        self.device.dma().publish();
        self.start_step(Step::NamespaceIds);
    }

    fn take_namespace_ids(&mut self) {
        let data = self.admin.data(self.device.dma_mut());
        if let Ok((list, _)) = NamespaceList::ref_from_prefix(data) {
            self.counters.namespaces_skipped += self.scan.list(list);
        }
        self.next_namespace(0);
    }

    fn take_namespace(&mut self, place: usize) {
        let data = self.admin.data(self.device.dma_mut());
        let id = self.scan.ids.get(place).copied().map(NamespaceId);
        let identify = IdentifyNamespace::ref_from_prefix(data).ok();
        let info = id
            .zip(identify)
            .and_then(|(id, (identify, _))| NamespaceInfo::new(id, identify));
        let taken = info.is_some_and(|info| self.scan.usable.push(info).is_ok());
        self.counters.namespaces_skipped += u64::from(!taken);
        self.next_namespace(place + 1);
    }

    fn next_namespace(&mut self, place: usize) {
        if place < self.scan.ids.len() {
            return self.start_step(Step::Namespace(place));
        }
        self.namespaces = core::mem::take(&mut self.scan).usable;
        self.start_step(Step::Smart);
    }
}
