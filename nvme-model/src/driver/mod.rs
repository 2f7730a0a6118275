//! A polled NVMe driver: no thread, no interrupt, no clock, no allocation, no `unsafe`.
//!
//! # How it is used
//!
//! [`Driver::poll`] is called with the time and moves everything one step: start-up, completions,
//! deadlines, recovery. [`Driver::submit`] writes a command into a queue, and
//! [`Driver::ring_doorbells`] tells the device of all that were, once per queue. So a turn is: poll,
//! submit what there is, ring, and come back when [`Wake`] says, or sooner while commands are in
//! flight, since nothing but polling tells of a completion.
//!
//! The memory of a command moves in with its [`Transfer`](crate::memory::Transfer) and out with its [`Completion`]. Every
//! accepted operation has exactly one completion, whatever the device does.
//!
//! # How it is built
//!
//! One enum, `Phase`, says where the controller is; `poll` is its one transition function:
//!
//! ```text
//! Begin ─▶ Disabling ─▶ Settling ─▶ Enabling ─▶ Starting(step) ─▶ Repeating ─▶ Running
//!              ▲                                                                │  │
//!              └──────────── deadline, fatal status, refused step ◀─────────────┘  ▼
//!        Begin ◀── restart ─── AwaitingReset, Failed   Stopped ◀── ShuttingDown
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `queue_pair` | the rings: positions, phase, permits, doorbells |
//! | `slots` | command slots, ids, lists by age |
//! | `prp`, `command` | the entry of a command and where its memory is |
//! | `admin` | admin commands, their purposes and deadlines |
//! | `startup` | from reset to running |
//! | `health` | the SMART log and asynchronous events |
//! | `submit` | what is checked before a command is taken |
//! | `recovery` | deadlines, aborts, resets, repetition, quarantine |
//!
//! # What a device may do
//!
//! Anything. Completions name a slot and a sequence; those that match no command in flight are
//! counted. Sizes it reports are checked before they are used. What it does not do ends by a
//! deadline. What it writes to memory it was not given is for an IOMMU to prevent.

// A rejected transfer is handed back whole; there is no heap to put it on.
#![allow(clippy::result_large_err)]

mod admin;
mod block_on;
mod command;
mod config;
mod counters;
mod health;
mod info;
mod operation;
mod prp;
mod queue_pair;
mod recovery;
mod slots;
mod startup;
mod submit;
mod view;

use core::fmt;

pub use block_on::{block_on, block_until_running};
pub use config::DriverConfig;
pub use counters::DriverCounters;
pub use health::Health;
pub use info::{ControllerInfo, NamespaceInfo, Text};
pub use operation::{
    Completion, DriverState, Error, FailReason, Lba, NamespaceId, Operation, OutsideReset,
    Rejected, ResetCause, Unfit, Wake,
};

use admin::{Admin, Purpose, Reply};
use health::HealthWatch;
use prp::ListSlot;
use queue_pair::{QueuePair, ring_pages};
use recovery::ResetLog;
use slots::{Mismatch, Place, Slots};
use startup::{Scan, Step};

use crate::limits::{ADMIN_COMPLETIONS_PER_POLL, ADMIN_ENTRIES, FULL_POLLS_MAX, NAMESPACES_MAX};
use crate::memory::PageRange;
use crate::seam::{Device, Dma, Registers};
use crate::spec::{Capabilities, Configuration, ControllerStatus, StatusCode, offset};

/// Where the controller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing has been done.
    Begin,
    /// CC.EN is 0, CSTS.RDY is to follow.
    Disabling { until_us: u64, then: After },
    /// CSTS.RDY is 0; interrupted commands are sorted.
    Settling { then: After },
    /// CC.EN is 1, CSTS.RDY is to follow.
    Enabling { until_us: u64 },
    /// The step's admin command is in flight.
    Starting(Step),
    /// Interrupted commands are issued again.
    Repeating,
    /// Operations are taken.
    Running,
    /// CC.SHN is set, CSTS.SHST is to follow.
    ShuttingDown { until_us: u64 },
    /// Shut down.
    Stopped,
    /// Nothing but a reset from outside can help, and somebody can do that.
    AwaitingReset(FailReason),
    /// Given up.
    Failed(FailReason),
}

/// What follows once the controller is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Start,
    Stop,
    Fail(FailReason),
}

/// A queue pair with the commands in it.
#[derive(Debug)]
struct IoQueue<const SLOTS: usize> {
    rings: QueuePair,
    slots: Slots<SLOTS>,
    /// A PRP list for each slot.
    lists: PageRange,
}

impl<const SLOTS: usize> IoQueue<SLOTS> {
    /// Puts the slot's command at the tail, under a new id.
    #[inline]
    fn issue(&mut self, dma: &mut impl Dma, index: u16, deadline_us: u64) {
        let id = self.slots.next_id(index);
        let list = ListSlot::of(self.lists.first(), index);
        let slot = self.slots.get_mut(index);
        slot.deadline_us = deadline_us;
        let entry = command::operation(dma, &slot.operation, &slot.transfer, list, id);
        slot.transfer
            .for_each_span(|span| dma.sync_for_device(span));
        self.rings.push(dma, &entry);
        self.slots.move_to(Place::InFlight, index);
    }
}

/// A driver of one controller, with at most `QUEUES` queue pairs of `SLOTS` commands each.
pub struct Driver<D: Device, const QUEUES: usize, const SLOTS: usize> {
    device: D,
    config: DriverConfig,
    now_us: u64,
    phase: Phase,
    capabilities: Capabilities,
    admin: Admin,
    queues: [IoQueue<SLOTS>; QUEUES],
    /// Queue pairs the controller granted; 0 before it was asked.
    queue_count: usize,
    /// Commands in flight per queue, by what the controller's rings hold.
    depth: u16,
    /// The queue that is reaped first, so that none starves for budget.
    first_queue: usize,
    controller: Option<ControllerInfo>,
    namespaces: heapless::Vec<NamespaceInfo, NAMESPACES_MAX>,
    scan: Scan,
    power_cycles: u64,
    health: HealthWatch,
    counters: DriverCounters,
    resets: ResetLog,
    outside: OutsideReset,
    stop_requested: bool,
    /// Polls in a row that ran out of budget.
    full_polls: u32,
    next_register_us: u64,
    last_watch_us: u64,
}

/// A driver was given too few pages for its rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewPages {
    /// Pages it needs.
    pub needed: u32,
    /// Pages it was given.
    pub given: u32,
}

impl fmt::Display for TooFewPages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TooFewPages { needed, given } = self;
        write!(
            f,
            "the driver needs {needed} pages for its rings, not {given}"
        )
    }
}

impl core::error::Error for TooFewPages {}

impl<D: Device, const QUEUES: usize, const SLOTS: usize> Driver<D, QUEUES, SLOTS> {
    const CHECK: () = assert!(QUEUES >= 1 && QUEUES < 1 << 15);

    /// Pages that [`Driver::new`] takes for rings, PRP lists and a page of its own.
    pub const fn pages_needed() -> u32 {
        let queue = Self::SUBMISSION_PAGES + Self::COMPLETION_PAGES + Self::LIST_PAGES;
        Self::ADMIN_PAGES + QUEUES as u32 * queue
    }

    const ADMIN_PAGES: u32 =
        ring_pages(ADMIN_ENTRIES as usize, 64) + ring_pages(ADMIN_ENTRIES as usize, 16) + 1;

    /// A driver that has not touched its device yet; the first poll does. `rings` holds at least
    /// [`Driver::pages_needed`] pages, which the driver keeps.
    ///
    /// # Errors
    ///
    /// When there are fewer.
    pub fn new(device: D, config: DriverConfig, mut rings: PageRange) -> Result<Self, TooFewPages> {
        const { Self::CHECK };
        let too_few = TooFewPages {
            needed: Self::pages_needed(),
            given: rings.pages(),
        };
        if too_few.given < too_few.needed {
            return Err(too_few);
        }
        let mut split = |pages| rings.split(pages).ok_or(too_few);
        let submission = split(ring_pages(ADMIN_ENTRIES as usize, 64))?;
        let completion = split(ring_pages(ADMIN_ENTRIES as usize, 16))?;
        let data = split(1)?.split_page().ok_or(too_few)?;
        let rings = QueuePair::new(0, submission, completion);
        let admin = Admin::new(rings, data, config.nonce);
        let mut empty = |pages| split(pages).unwrap_or(PageRange::whole(0));
        let queues = core::array::from_fn(|queue| IoQueue {
            rings: QueuePair::new(
                queue as u16 + 1,
                empty(Self::SUBMISSION_PAGES),
                empty(Self::COMPLETION_PAGES),
            ),
            slots: Slots::new(config.nonce),
            lists: empty(Self::LIST_PAGES),
        });
        Ok(Driver {
            device,
            config,
            now_us: 0,
            phase: Phase::Begin,
            capabilities: Capabilities::new(),
            admin,
            queues,
            queue_count: 0,
            depth: 0,
            first_queue: 0,
            controller: None,
            namespaces: heapless::Vec::new(),
            scan: Scan::default(),
            power_cycles: 0,
            health: HealthWatch::default(),
            counters: DriverCounters::default(),
            resets: ResetLog::default(),
            outside: OutsideReset::Absent,
            stop_requested: false,
            full_polls: 0,
            next_register_us: 0,
            last_watch_us: 0,
        })
    }

    /// Moves everything one step. `completed` gets at most `budget` completions (at least one).
    /// Time that runs backwards stands still.
    pub fn poll(
        &mut self,
        now_us: u64,
        budget: usize,
        completed: &mut impl FnMut(Completion),
    ) -> Wake {
        self.now_us = self.now_us.max(now_us);
        let before = self.phase;
        let mut left = budget.max(1);
        match self.phase {
            Phase::Running => self.poll_running(&mut left, completed),
            Phase::Begin => self.begin(),
            Phase::Disabling { until_us, then } => self.poll_disabling(until_us, then),
            Phase::Settling { then } => self.settle(then, &mut left, completed),
            Phase::Enabling { until_us } => self.poll_enabling(until_us, completed),
            Phase::Starting(step) => self.poll_starting(step, completed),
            Phase::Repeating => self.repeat(&mut left, completed),
            Phase::ShuttingDown { until_us } => self.poll_shutting_down(until_us),
            Phase::Stopped | Phase::AwaitingReset(_) => {}
            Phase::Failed(reason) => self.drain(reason, &mut left, completed),
        }
        if left == 0 || self.phase != before {
            return Wake::Again;
        }
        self.wake()
    }

    /// The controller's status; all ones when it is gone.
    fn status(&self) -> ControllerStatus {
        ControllerStatus::from(self.device.registers().read32(offset::CSTS))
    }

    /// The status, when it is time to read it. Fails the driver when the device is gone.
    fn awaited_status(&mut self) -> Option<ControllerStatus> {
        if self.now_us < self.next_register_us {
            return None;
        }
        self.next_register_us = self.now_us.saturating_add(self.config.register_poll_us);
        let status = self.status();
        if u32::from(status) == u32::MAX {
            self.fail(FailReason::Gone);
            return None;
        }
        Some(status)
    }

    fn poll_disabling(&mut self, until_us: u64, then: After) {
        let Some(status) = self.awaited_status() else {
            return;
        };
        if !status.ready() {
            self.phase = Phase::Settling { then };
        } else if self.now_us >= until_us {
            self.fail(FailReason::ResetStuck);
        }
    }

    fn poll_enabling(&mut self, until_us: u64, completed: &mut impl FnMut(Completion)) {
        let Some(status) = self.awaited_status() else {
            return;
        };
        if status.fatal() {
            self.reset(ResetCause::FatalStatus, completed);
        } else if status.ready() {
            self.last_watch_us = self.now_us;
            self.start_step(Step::Controller);
        } else if self.now_us >= until_us {
            self.reset(ResetCause::NotReady, completed);
        }
    }

    fn poll_starting(&mut self, step: Step, completed: &mut impl FnMut(Completion)) {
        if let Some(reply) = self.pop_admin() {
            if reply.purpose == Purpose::Step
                && let Err(cause) = self.finish_step(step, reply)
            {
                self.reset(cause, completed);
            }
            return;
        }
        if let Some((deadline_us, opcode)) = self.admin.deadline()
            && deadline_us <= self.now_us
        {
            return self.reset(ResetCause::Admin(opcode), completed);
        }
        self.watch(completed);
    }

    /// The last step has ended: interrupted commands go first, then new ones.
    fn run(&mut self) {
        self.submit_admin(Purpose::Event, command::asynchronous_event_request());
        self.health
            .restart(self.now_us.saturating_add(self.config.health_us));
        self.phase = Phase::Repeating;
    }

    fn poll_running(&mut self, left: &mut usize, completed: &mut impl FnMut(Completion)) {
        for _ in 0..ADMIN_COMPLETIONS_PER_POLL {
            let Some(reply) = self.pop_admin() else {
                break;
            };
            self.take_reply(&reply);
        }
        self.read_logs();
        self.reap(left, completed);
        // What was not looked for is not late; but completions without end must not stop the clock.
        self.full_polls = if *left > 0 {
            0
        } else {
            self.full_polls.wrapping_add(1)
        };
        if self.full_polls.is_multiple_of(FULL_POLLS_MAX) {
            self.expire(completed);
            if self.phase == Phase::Running {
                self.watch(completed);
            }
        }
        if self.stop_requested && self.phase == Phase::Running && self.unfinished() == 0 {
            self.begin_shutdown();
        }
    }

    fn take_reply(&mut self, reply: &Reply) {
        match reply.purpose {
            // A request that is refused would be refused again.
            Purpose::Event if !reply.status.is_success() => {}
            Purpose::Event => self.take_event(reply.dw0),
            Purpose::Log { log, event } => self.take_log(log, event, reply),
            Purpose::Abort | Purpose::Step => {}
        }
    }

    fn submit_admin(&mut self, purpose: Purpose, entry: crate::spec::SubmissionEntry) -> bool {
        let deadline_us = self.now_us.saturating_add(self.config.admin_deadline_us);
        let deadline_us = (purpose != Purpose::Event).then_some(deadline_us);
        let (device, counters) = (&mut self.device, &mut self.counters);
        self.admin
            .submit(device, counters, purpose, entry, deadline_us)
    }

    fn pop_admin(&mut self) -> Option<Reply> {
        let reply = self.admin.pop(self.device.dma(), &mut self.counters);
        if self.admin.rings.ring_completions(&self.device) {
            self.counters.completion_doorbells += 1;
        }
        reply
    }

    /// Takes completions from all queues until there are none or `left` is 0.
    fn reap(&mut self, left: &mut usize, completed: &mut impl FnMut(Completion)) {
        for turn in 0..self.queue_count {
            let mut queue = self.first_queue + turn;
            if queue >= self.queue_count {
                queue -= self.queue_count;
            }
            while *left > 0 {
                let Some(answer) = self.queues[queue].rings.pop(self.device.dma()) else {
                    break;
                };
                *left -= 1;
                if !answer.head_possible {
                    self.counters.bad_queue_heads += 1;
                }
                let found = self.queues[queue].slots.find(answer.command_id);
                match found {
                    Ok(index) if answer.ours => {
                        let result = self.judge(queue, index, answer.status);
                        self.queues[queue].rings.end();
                        completed(self.end(queue, index, result));
                    }
                    Err(Mismatch::Stale) if answer.ours => self.counters.stale_completions += 1,
                    _ => self.counters.unknown_completions += 1,
                }
            }
        }
        self.first_queue = if self.first_queue + 1 < self.queue_count {
            self.first_queue + 1
        } else {
            0
        };
    }

    fn judge(&self, queue: usize, index: u16, status: crate::spec::Status) -> Result<(), Error> {
        if status.is_success() {
            return Ok(());
        }
        let aborting = self.queues[queue].slots.place(index) == Place::Aborting;
        if aborting && status.code() == StatusCode::ABORT_REQUESTED {
            return Err(Error::Aborted);
        }
        Err(Error::Status(status))
    }

    /// Ends a command that the device has no hold on: frees its slot, hands back its memory.
    #[inline]
    fn end(&mut self, queue: usize, index: u16, result: Result<(), Error>) -> Completion {
        let slots = &mut self.queues[queue].slots;
        let slot = slots.get_mut(index);
        let transfer = core::mem::take(&mut slot.transfer);
        let token = slot.token;
        if matches!(slot.operation, Operation::Read { .. }) {
            let dma = self.device.dma_mut();
            transfer.for_each_span(|span| dma.sync_for_cpu(span));
        }
        slots.move_to(Place::Free, index);
        self.counters.completed += 1;
        self.counters.failed += u64::from(result.is_err());
        Completion {
            token,
            result,
            transfer,
        }
    }

    /// Looks at CSTS now and then: a controller in trouble completes nothing.
    fn watch(&mut self, completed: &mut impl FnMut(Completion)) {
        if self.now_us < self.watch_due_us() {
            return;
        }
        self.last_watch_us = self.now_us;
        let status = self.status();
        if u32::from(status) == u32::MAX {
            self.fail(FailReason::Gone);
        } else if status.fatal() {
            self.reset(ResetCause::FatalStatus, completed);
        } else if !status.ready() {
            self.reset(ResetCause::NotReady, completed);
        }
    }

    fn watch_due_us(&self) -> u64 {
        let interval_us = if self.in_flight() > 0 {
            self.config.watch_us
        } else {
            self.config.idle_watch_us
        };
        self.last_watch_us.saturating_add(interval_us)
    }

    fn wake(&self) -> Wake {
        let at_us = match self.phase {
            Phase::Stopped | Phase::AwaitingReset(_) | Phase::Failed(_) => return Wake::Idle,
            Phase::Disabling { .. } | Phase::Enabling { .. } | Phase::ShuttingDown { .. } => {
                self.next_register_us
            }
            Phase::Begin | Phase::Settling { .. } | Phase::Repeating => return Wake::Again,
            Phase::Starting(_) | Phase::Running => self.timer_us(),
        };
        Wake::At(at_us)
    }

    /// The next thing that happens without a completion.
    fn timer_us(&self) -> u64 {
        let mut at_us = self.watch_due_us();
        if self.phase == Phase::Running && self.admin.data_is_free() {
            at_us = at_us.min(self.health.due_us);
        }
        if let Some((deadline_us, _)) = self.admin.deadline() {
            at_us = at_us.min(deadline_us);
        }
        for queue in &self.queues[..self.queue_count] {
            for place in [Place::InFlight, Place::Aborting] {
                at_us = at_us.min(queue.slots.deadline_us(place).unwrap_or(u64::MAX));
            }
        }
        at_us
    }

    /// Stops in order: takes no more operations, finishes those in flight, tells the controller
    /// (CC.SHN) and ends in [`DriverState::Stopped`]. Goes on in `poll`.
    pub fn shutdown(&mut self, now_us: u64) {
        self.now_us = self.now_us.max(now_us);
        self.stop_requested = true;
        if self.phase == Phase::Begin {
            self.phase = Phase::Stopped;
        }
    }

    fn begin_shutdown(&mut self) {
        let registers = self.device.registers();
        let configuration = Configuration::from(registers.read32(offset::CC))
            .with_shutdown(Configuration::SHUTDOWN_NORMAL);
        registers.write32(offset::CC, configuration.into());
        let told = self.controller.as_ref();
        let wait_us = match told.map_or(0, |info| info.shutdown_latency_us) {
            0 => self.config.shutdown_deadline_us,
            told_us => u64::from(told_us).max(self.config.shutdown_deadline_us),
        };
        self.next_register_us = self.now_us;
        self.phase = Phase::ShuttingDown {
            until_us: self.now_us.saturating_add(wait_us),
        };
    }

    fn poll_shutting_down(&mut self, until_us: u64) {
        let Some(status) = self.awaited_status() else {
            return;
        };
        let complete = status.shutdown() == ControllerStatus::SHUTDOWN_COMPLETE;
        if complete || self.now_us >= until_us {
            self.disable(After::Stop);
        }
    }
}
