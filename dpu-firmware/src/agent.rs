//! The agent: one value, one `turn` after another, and the whole control flow on this page.
//!
//! A turn never waits. It reaps what the drive completed, reads what the network brought,
//! admits and runs programs within their slices, sends commands and rings each doorbell
//! once, sends replies, and says when it wants to be called next. Time and randomness are
//! passed in; every pool was made in [`Agent::new`].
//!
//! The parts of a turn are methods of [`Agent`] in files by what they do: `receive.rs`
//! (bytes → frames → requests), `tenant.rs` (what a request must hold), `calls.rs` (programs),
//! `drive.rs` (commands and completions), `reply.rs` (answers → bytes), `upkeep.rs` (the drive's
//! health and the board).

use alloc::boxed::Box;
use alloc::vec;

use nvme_model::driver::{Driver, DriverConfig, DriverState, OutsideReset, Wake};
use nvme_model::memory::{PagePool, PageRange};
use nvme_model::seam::{Device, Dma};

use crate::board::{Board, NoBoard};
use crate::drive::FlushGates;
use crate::execution::ExecutionConfig;
use crate::fmt::{debug, info};
use crate::health::Monitor;
use crate::invocation::Invocations;
use crate::last_resort::LastResort;
use crate::led::Activity;
use crate::limits::{
    COMMAND_SLOTS, CROWDED_DEADLINE_US, DRIVER_PAGES, HELLO_DEADLINE_US, HOUSEKEEPING_INTERVAL_US,
    Limits, QUEUES, STALLED_REPLY_US, UPLOAD_IDLE_US,
};
use crate::maps::MapPool;
use crate::net::secret::Secret;
use crate::net::{Net, NetEvent, PacketDevice};
use crate::objects::{Instance, Object, Table};
use crate::program_store::{ProgramStore, UploadIndex};
use crate::queue::Ring;
use crate::request::Requests;
use crate::session::{ConnectionIndex, Connections, Phase, Sink};
use crate::shares::Shares;
use crate::slabs::SlabPool;
use crate::telemetry::Counters;

/// When the agent wants its next turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// At once: there is work.
    Again,
    /// When the network or the drive has something, or at this time, microseconds.
    At(u64),
    /// When the network or the drive has something.
    Idle,
}

/// What an agent is made of beside its devices.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// Its pools.
    pub limits: Limits,
    /// The driver's deadlines.
    pub driver: DriverConfig,
    /// Differs at every start: the drive epoch begins here.
    pub boot_nonce: u64,
    /// Seed of the programs' random numbers.
    pub seed: u64,
    /// A random number that nobody is told, programs included, not even by what follows from it:
    /// the hash functions of maps are keyed from it.
    pub map_secret: u64,
    /// How programs are run.
    pub execution: ExecutionConfig,
    /// What it runs on, for Info.
    pub board: &'static str,
}

/// Why an agent could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartError {
    /// The limits promise more than they hold.
    UnsoundLimits,
    /// The device's memory was claimed before.
    MemoryClaimed,
    /// The platform has no memory for the machine code of as many programs as the limits say.
    NoCodeMemory,
    /// The device's arena has fewer pages than the limits ask for.
    ArenaTooSmall {
        /// Pages it has.
        pages: u32,
        /// Pages it must have.
        needed: usize,
    },
}

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            StartError::UnsoundLimits => {
                f.write_str("the limits promise connections more than the pools hold")
            }
            StartError::MemoryClaimed => {
                f.write_str("the device's memory is already in use by another agent")
            }
            StartError::NoCodeMemory => {
                f.write_str("there is no memory for machine code of so many programs")
            }
            StartError::ArenaTooSmall { pages, needed } => {
                write!(
                    f,
                    "the device has {pages} pages of DMA memory; the limits need {needed}"
                )
            }
        }
    }
}

impl core::error::Error for StartError {}

/// The agent over one NVMe device and one packet device, on a board.
pub struct Agent<D: Device, N: PacketDevice, B: Board = NoBoard> {
    pub(crate) net: Net<N>,
    pub(crate) driver: Driver<D, QUEUES, COMMAND_SLOTS>,
    pub(crate) board: B,
    pub(crate) last_resort: LastResort,
    pub(crate) monitor: Monitor,
    pub(crate) activity: Activity,
    pub(crate) config: AgentConfig,
    pub(crate) connections: Connections,
    pub(crate) requests: Requests,
    pub(crate) objects: Table<Object>,
    pub(crate) instances: Table<Instance>,
    pub(crate) programs: ProgramStore,
    pub(crate) invocations: Invocations,
    pub(crate) slabs: SlabPool,
    pub(crate) shares: Shares,
    pub(crate) map_pool: MapPool,
    /// Bytes of maps laid out in this turn.
    pub(crate) maps_laid_out: usize,
    /// Pages for payloads both ways.
    pub(crate) pages: PagePool<Box<[u32]>>,
    /// Pages of them that hold request payloads: what byte credits have taken.
    pub(crate) payload_pages_used: usize,
    /// One bounce page for each invocation.
    pub(crate) bounce_pages: PagePool<Box<[u32]>>,
    pub(crate) flushes: FlushGates,
    pub(crate) readable: Ring,
    pub(crate) replying: Ring,
    pub(crate) wants_drive: Ring,
    pub(crate) wants_invocation: Ring,
    pub(crate) runnable: Ring,
    /// Something was released that a waiting call may have been waiting for.
    pub(crate) released: bool,
    pub(crate) head: Box<[u8; crate::reply::HEAD_BYTES]>,
    pub(crate) counters: Counters,
    pub(crate) random: Secret,
    pub(crate) now_us: u64,
    started_us: Option<u64>,
    housekeeping_us: u64,
    /// When the driver wants to be polled again.
    pub(crate) drive_wake: Wake,
    draining: bool,
}

impl<D: Device, N: PacketDevice> Agent<D, N> {
    /// An agent with all its pools, on a board that has nothing but drive and network. The drive
    /// starts with the first turns.
    ///
    /// # Errors
    ///
    /// [`StartError`] where the limits are unsound or the device has too little memory.
    pub fn new(device: D, net: Net<N>, config: AgentConfig) -> Result<Self, StartError> {
        Agent::on_board(device, net, NoBoard::default(), config)
    }
}

impl<D: Device, N: PacketDevice, B: Board> Agent<D, N, B> {
    /// An agent with all its pools, on a board. The drive starts with the first turns.
    ///
    /// # Errors
    ///
    /// [`StartError`] where the limits are unsound or the device has too little memory.
    pub fn on_board(
        mut device: D,
        net: Net<N>,
        mut board: B,
        config: AgentConfig,
    ) -> Result<Self, StartError> {
        const {
            let needed = Driver::<D, QUEUES, COMMAND_SLOTS>::pages_needed();
            assert!(
                needed as usize <= DRIVER_PAGES,
                "limits::DRIVER_PAGES is too small"
            );
        }
        let limits = config.limits;
        if !limits.is_sound() {
            return Err(StartError::UnsoundLimits);
        }
        let pages = device.dma().pages();
        let too_small = StartError::ArenaTooSmall {
            pages,
            needed: limits.arena_pages(),
        };
        let mut range = device.dma_mut().claim().ok_or(StartError::MemoryClaimed)?;
        let rings = range.split(DRIVER_PAGES as u32).ok_or(too_small)?;
        let slabs = SlabPool::new(&mut range, limits.slabs).ok_or(too_small)?;
        let bounce_pages = page_pool(&mut range, limits.invocations).ok_or(too_small)?;
        let data_pages = page_pool(&mut range, limits.data_pages).ok_or(too_small)?;
        let mut driver =
            Driver::new(device, config.driver.clone(), rings).map_err(|_| too_small)?;
        if board.perst().is_some() {
            driver.set_outside_reset(OutsideReset::Ready);
        }
        let connections = limits.connections;
        info!(
            "an agent of {} bytes: {} connections, {} requests, {} programs in engine {}",
            limits.total_bytes() as u64,
            connections as u32,
            limits.requests as u32,
            limits.programs as u32,
            config.execution.engine.name()
        );
        Ok(Agent {
            net,
            driver,
            board,
            last_resort: LastResort::Ready,
            monitor: Monitor::new(),
            activity: Activity::default(),
            connections: Connections::new(
                connections,
                limits.requests,
                limits.credits_per_connection_max,
            ),
            requests: Requests::new(limits.requests),
            objects: Table::new(limits.objects),
            instances: Table::new(limits.instances),
            programs: ProgramStore::new(&limits, config.execution)
                .ok_or(StartError::NoCodeMemory)?,
            invocations: Invocations::new(limits.invocations),
            slabs,
            shares: Shares::new(&limits),
            map_pool: MapPool::new(limits.map_slabs, config.map_secret),
            maps_laid_out: 0,
            pages: data_pages,
            payload_pages_used: 0,
            bounce_pages,
            flushes: FlushGates::new(),
            readable: Ring::new(connections),
            replying: Ring::new(connections),
            wants_drive: Ring::new(connections),
            wants_invocation: Ring::new(connections),
            runnable: Ring::new(connections),
            released: false,
            head: Box::new([0; crate::reply::HEAD_BYTES]),
            counters: Counters::default(),
            random: Secret::new(config.seed),
            now_us: 0,
            started_us: None,
            housekeeping_us: 0,
            drive_wake: Wake::Again,
            draining: false,
            config,
        })
    }

    /// One turn, at `now_us` of a clock that never goes back.
    pub fn turn(&mut self, now_us: u64) -> Turn {
        self.now_us = self.now_us.max(now_us);
        self.started_us.get_or_insert(self.now_us);
        self.counters.turns += 1;
        self.maps_laid_out = 0;
        let moved_in = self.net.receive(self.now_us);
        self.reap();
        self.tend_drive();
        self.network_events();
        self.receive();
        self.digest();
        self.admit_calls();
        self.run_programs();
        self.submit();
        self.driver.ring_doorbells();
        self.send_replies();
        let moved_out = self.net.flush(self.now_us);
        self.show_activity();
        self.housekeep();
        self.next_turn(moved_in || moved_out)
    }

    /// Whether the drive is ready for requests. Until then they wait in the network.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = self.driver.state();
        !matches!(state, DriverState::Starting | DriverState::AwaitingReset(_))
            || self.counters.drive_starts > 0
    }

    /// Stops taking requests: new connections are refused, those there are get their answers
    /// and are closed. [`Agent::is_drained`] tells when all is answered.
    pub fn drain(&mut self) {
        if core::mem::replace(&mut self.draining, true) {
            return;
        }
        for slot in 0..self.connections.total() as u16 {
            let index = ConnectionIndex(slot);
            if matches!(
                self.connections[index].phase,
                Phase::Open | Phase::Hello { .. }
            ) {
                self.close_with(
                    index,
                    protocol::Status::ShuttingDown,
                    protocol::RequestId::NONE,
                );
            }
        }
    }

    /// Whether nothing is in flight any more.
    #[must_use]
    pub const fn is_drained(&self) -> bool {
        self.draining && self.requests.used() == 0
    }

    /// The NVMe device, for the host that steps it.
    pub fn device_mut(&mut self) -> &mut D {
        self.driver.device_mut()
    }

    /// The driver, for what it tells of the drive.
    #[must_use]
    pub const fn driver(&self) -> &Driver<D, QUEUES, COMMAND_SLOTS> {
        &self.driver
    }

    /// The driver, to shut the drive down.
    pub fn driver_mut(&mut self) -> &mut Driver<D, QUEUES, COMMAND_SLOTS> {
        &mut self.driver
    }

    /// The board.
    #[must_use]
    pub const fn board(&self) -> &B {
        &self.board
    }

    /// The board, for who simulates it.
    pub fn board_mut(&mut self) -> &mut B {
        &mut self.board
    }

    /// The network.
    #[must_use]
    pub const fn net(&self) -> &Net<N> {
        &self.net
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Changes when acknowledged writes that were not flushed may be gone: on restart of the
    /// agent and on power loss of the drive.
    #[must_use]
    pub fn drive_epoch(&self) -> u64 {
        self.config
            .boot_nonce
            .wrapping_add(self.driver.power_cycles())
    }

    /// Microseconds since the first turn.
    #[must_use]
    pub fn uptime_us(&self) -> u64 {
        self.now_us
            .saturating_sub(self.started_us.unwrap_or(self.now_us))
    }

    fn network_events(&mut self) {
        while let Some(event) = self.net.next_event() {
            match event {
                NetEvent::Opened(id) => match self.connections.open(id, self.now_us) {
                    Some(index) if !self.draining => {
                        self.counters.connections_opened += 1;
                        self.readable.push(index.0);
                    }
                    Some(index) => {
                        self.close_with(
                            index,
                            protocol::Status::ShuttingDown,
                            protocol::RequestId::NONE,
                        );
                    }
                    None => {
                        debug!("no slot for a connection: reset");
                        self.net.abort(id);
                    }
                },
                NetEvent::Readable(id) => {
                    if let Some(index) = self.connections.find(id) {
                        self.readable.push(index.0);
                    }
                }
                NetEvent::Writable(id) => {
                    if let Some(index) = self.connections.find(id) {
                        self.replying.push(index.0);
                    }
                }
                NetEvent::HalfClosed(id) => {
                    if let Some(index) = self.connections.find(id) {
                        self.half_closed(index);
                    }
                }
                NetEvent::Closed(id) => {
                    if let Some(index) = self.connections.find(id) {
                        self.lose(index);
                    }
                }
            }
        }
    }

    /// Deadlines of connections and uploads, twice a second.
    fn housekeep(&mut self) {
        if self.now_us < self.housekeeping_us {
            return;
        }
        self.housekeeping_us = self.now_us + HOUSEKEEPING_INTERVAL_US;
        let crowded = self.connections.is_full();
        let patience_us = |usual_us| {
            if crowded {
                CROWDED_DEADLINE_US
            } else {
                usual_us
            }
        };
        for slot in 0..self.connections.total() as u16 {
            let index = ConnectionIndex(slot);
            let connection = &self.connections[index];
            let late = |since_us: u64, limit_us: u64| self.now_us >= since_us + limit_us;
            let stall_us = match connection.phase {
                // All is said; only its client's FIN is missing, or that it reads.
                Phase::Closing => patience_us(STALLED_REPLY_US),
                _ => STALLED_REPLY_US,
            };
            let stalled = connection
                .stalled_since_us
                .is_some_and(|since| late(since, stall_us));
            match connection.phase {
                Phase::Free | Phase::Lost => {}
                _ if stalled => {
                    self.counters.connections_stalled += 1;
                    debug!("connection {} makes no progress: reset", index.0);
                    self.reset(index);
                }
                Phase::Hello { since_us } if late(since_us, patience_us(HELLO_DEADLINE_US)) => {
                    self.close_with(
                        index,
                        protocol::Status::IdleTimeout,
                        protocol::RequestId::NONE,
                    );
                }
                _ => {}
            }
        }
        let idle_since_us = self.now_us.saturating_sub(UPLOAD_IDLE_US);
        while let Some((upload, connection)) = self.programs.idle_upload(idle_since_us, 0) {
            self.give_up_upload(upload, connection);
        }
    }

    /// Drops an upload; its connection goes on.
    pub(crate) fn give_up_upload(&mut self, upload: UploadIndex, connection: ConnectionIndex) {
        self.programs.drop_upload(upload);
        self.connections[connection].upload = None;
        // A piece that stopped half-way has nowhere to go any more.
        if let Some(incoming) = &mut self.connections[connection].incoming
            && matches!(incoming.sink, Sink::Upload(..))
        {
            let sink = core::mem::replace(&mut incoming.sink, Sink::Discard);
            self.abandon(sink);
        }
    }

    fn next_turn(&mut self, moved: bool) -> Turn {
        let wake = self.drive_wake;
        let busy = moved
            || (self.is_ready() && !self.readable.is_empty())
            || !self.replying.is_empty()
            || !self.runnable.is_empty()
            || (self.released && !self.wants_invocation.is_empty())
            || self.programs.has_work()
            || wake == Wake::Again;
        if busy {
            return Turn::Again;
        }
        let drive_us = match wake {
            Wake::At(us) => Some(us),
            Wake::Again | Wake::Idle => None,
        };
        let keep_us = (self.connections.counts().0 > 0).then_some(self.housekeeping_us);
        let board_us = self.board_due_us();
        let times = [drive_us, keep_us, board_us, self.net.wake_at(self.now_us)];
        match times.into_iter().flatten().min() {
            Some(us) if us <= self.now_us => Turn::Again,
            Some(us) => Turn::At(us),
            None => Turn::Idle,
        }
    }
}

fn page_pool(range: &mut PageRange, pages: usize) -> Option<PagePool<Box<[u32]>>> {
    let range = range.split(pages as u32)?;
    PagePool::new(range, vec![0; pages].into_boxed_slice()).ok()
}
