//! `host-sim serve`: files as drives, the agent in front of them, and a door to the network.
//!
//! One thread does everything. It turns the machine while there is work, spins for a moment
//! while something is outstanding, and else sleeps at one place, on whatever can wake it: the
//! sockets, the files, Ctrl-C, or a deadline. QEMU's device tells nobody when a command is done: while
//! some are in flight at it, the sleep is a short one. Ctrl-C stops taking requests, answers those that
//! were accepted, flushes the drive, and ends.

use std::io::{self, Write};
use std::iter;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use dpu_firmware::limits::LARGE;
use dpu_firmware::net::{Addresses, Net, NetConfig};
use dpu_firmware::{Agent, AgentConfig, Turn};
use nvme_model::driver::{DriverConfig, DriverState, FailReason};
use nvme_model::model::{
    FileStore, FileStoreOptions, ModelConfig, NamespaceConfig, OpenError, Thermal,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::board::{Led, SimulatedBoard};
use crate::cli::{Exit, NvmeArg, ServeArgs, check_namespaces};
use crate::clock::Clock;
use crate::drive::{Drive, DriveConfig};
use crate::interrupt::Interrupt;
use crate::qemu::{self, FileAccess, QemuConfig, QemuNamespace};
use crate::random::{Seeds, entropy};
use crate::relay::Relay;
use crate::simulator::{
    AGENT_PORT, Pace, Simulator, SimulatorConfig, SimulatorError, has_completions, look_again_at,
};
use crate::tap::Tap;
use crate::wire::WireConfig;

/// How long to spin while something is outstanding.
pub(crate) const SPIN_US: u64 = 50;

/// The longest sleep: after it Ctrl-C is looked at, should its signal have come just before.
const SLEEP_US_MAX: u64 = 200_000;

/// How long requests that were accepted have, to end after Ctrl-C.
const DRAIN_US: u64 = 10_000_000;

/// How long the ends of connections have to get through.
const ENDS_US: u64 = 100_000;

/// How long requests have, to be answered that the drive is gone.
const LOST_US: u64 = 1_000_000;

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file is none to serve.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The machine cannot be made.
    #[error(transparent)]
    Simulator(#[from] SimulatorError),
    /// The agent cannot be made.
    #[error("the agent cannot start: {0}")]
    Agent(dpu_firmware::StartError),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The interface cannot be used.
    #[error(
        "cannot use the TAP interface {name}: {source}; make it first: \
         `ip tuntap add dev {name} mode tap user $USER && ip link set {name} up`"
    )]
    Tap {
        /// The interface.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// They are too many.
    #[error("{0}")]
    Namespaces(String),
    /// Something that only the model can.
    #[error("{0} is for the model; leave it out, or use --nvme model")]
    ModelOnly(&'static str),
    /// The drive is gone.
    #[error("{0}")]
    Lost(String),
    /// The drive did not come up.
    #[error("the drive did not start: {0}")]
    Drive(String),
    /// Somebody did not get an answer.
    #[error(
        "not all that was accepted was answered within {} s: somebody does not read, or the drive is slow",
        DRAIN_US / 1_000_000
    )]
    Unanswered,
    /// The drive did not end.
    #[error(
        "the drive did not flush and stop within {} s: what was not flushed may be missing in the files",
        DRAIN_US / 1_000_000
    )]
    Unflushed,
    /// Waiting failed.
    #[error("cannot wait for sockets: {0}")]
    Wait(io::Error),
    /// The address could not be printed.
    #[error("cannot print: {0}")]
    Print(io::Error),
}

/// Serves until Ctrl-C.
///
/// # Errors
///
/// [`ServeError`], a sentence with the remedy.
pub fn command(
    args: &ServeArgs,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, ServeError> {
    check_namespaces(&args.namespace).map_err(ServeError::Namespaces)?;
    match args.nvme {
        NvmeArg::Model => over(args, model(args)?, interrupt, out),
        NvmeArg::Qemu => over(args, qemu(args)?, interrupt, out),
    }
}

fn over(
    args: &ServeArgs,
    drive: impl DriveConfig,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, ServeError> {
    match &args.tap {
        Some(name) => over_tap(args, name, drive, interrupt, out),
        None => over_relay(args, drive, interrupt, out),
    }
}

/// The files with the blocks of the namespaces, and how large these are.
fn files(args: &ServeArgs) -> impl Iterator<Item = (&Path, u32)> {
    let first = (args.disk.as_path(), args.block_bytes);
    let further = args.namespace.iter().map(|further| {
        let block_bytes = further.block_bytes.unwrap_or(args.block_bytes);
        (further.path.as_path(), block_bytes)
    });
    iter::once(first).chain(further)
}

fn model(args: &ServeArgs) -> Result<ModelConfig, ServeError> {
    let open = |(path, block_bytes)| -> Result<NamespaceConfig, ServeError> {
        let store = FileStore::open(path, FileStoreOptions::default())?;
        Ok(NamespaceConfig::new(store, block_bytes))
    };
    Ok(ModelConfig {
        namespaces: files(args).map(open).collect::<Result<_, _>>()?,
        read_latency_us: args.drive_latency.as_micros() as u64,
        thermal: args.heat.then(Thermal::default),
        ..ModelConfig::default()
    })
}

fn qemu(args: &ServeArgs) -> Result<QemuConfig, ServeError> {
    let model_only = [
        ("--drive-latency", !args.drive_latency.is_zero()),
        ("--heat", args.heat),
    ];
    if let Some((option, _)) = model_only.into_iter().find(|(_, given)| *given) {
        return Err(ServeError::ModelOnly(option));
    }
    let namespace = |(path, block_bytes): (&Path, u32)| QemuNamespace {
        path: path.into(),
        block_bytes,
        access: FileAccess::default(),
    };
    Ok(QemuConfig {
        program: qemu::find(args.qemu.as_deref()),
        namespaces: files(args).map(namespace).collect(),
    })
}

/// What is turned: an agent, with whatever carries bytes to it.
pub(crate) trait Machine {
    /// One pass.
    fn pass(&mut self, now_us: u64) -> Result<Pace, ServeError>;
    /// Whether work is under way that ends soon.
    fn is_busy(&self) -> bool;
    /// What wakes it.
    fn wait_fds(&self) -> [Option<BorrowedFd<'_>>; 2];
    /// Before a sleep.
    fn arm(&mut self);
    /// Stops taking requests; true when all are answered, and the answers have left.
    fn drain(&mut self) -> bool;
    /// Tells the drive to flush and stop.
    fn shut_down(&mut self, now_us: u64);
    /// Where the driver is.
    fn drive(&self) -> DriverState;
    /// The activity LED.
    fn led(&mut self) -> &mut Led;
    /// Why the drive is gone for good, as a sentence with the remedy.
    fn lost(&mut self) -> Option<String>;
}

/// The agent on the wire, and kernel sockets relayed to it.
pub(crate) struct Relayed<D: Drive> {
    simulator: Simulator<D>,
    relay: Relay,
}

impl<D: Drive> Relayed<D> {
    pub(crate) fn new<C: DriveConfig<Drive = D>>(
        config: SimulatorConfig<C>,
        address: SocketAddr,
    ) -> Result<Relayed<D>, ServeError> {
        let simulator = Simulator::new(config)?;
        let relay = Relay::bind(address, Simulator::agent_address())
            .map_err(|source| ServeError::Listen { address, source })?;
        Ok(Relayed { simulator, relay })
    }

    /// The address listened on, with the port that the kernel chose.
    pub(crate) fn address(&self) -> Result<SocketAddr, ServeError> {
        self.relay.local_address().map_err(ServeError::Wait)
    }
}

impl<D: Drive> Machine for Relayed<D> {
    fn pass(&mut self, now_us: u64) -> Result<Pace, ServeError> {
        let moved = self
            .relay
            .poll(now_us, self.simulator.far())
            .map_err(ServeError::Wait)?;
        let pace = self.simulator.pass(now_us);
        let moved = moved | self.relay.serve(self.simulator.far());
        Ok(Pace {
            again: pace.again || moved,
            ..pace
        })
    }

    fn is_busy(&self) -> bool {
        self.simulator.is_busy()
    }

    fn wait_fds(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [Some(self.relay.wait_fd()), self.simulator.wait_fd()]
    }

    fn arm(&mut self) {
        self.simulator.drive().arm_wait();
    }

    fn drain(&mut self) -> bool {
        let agent = self.simulator.agent();
        agent.drain();
        // Behind the wire, the relay hands on what comes as long as the kernel takes it.
        agent.is_drained() && !agent.net().has_unsent() && !self.simulator.far().has_unread()
    }

    fn shut_down(&mut self, now_us: u64) {
        self.simulator.agent().driver_mut().shutdown(now_us);
    }

    fn drive(&self) -> DriverState {
        self.simulator.drive_state()
    }

    fn led(&mut self) -> &mut Led {
        &mut self.simulator.agent().board_mut().led
    }

    fn lost(&mut self) -> Option<String> {
        self.simulator.drive().lost()
    }
}

fn over_relay(
    args: &ServeArgs,
    drive: impl DriveConfig,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, ServeError> {
    let config = SimulatorConfig {
        drive,
        wire: WireConfig::with_round_trip(args.rtt, 1024),
        limits: LARGE,
        driver: DriverConfig::default(),
        execution: args.execution.config(),
        seeds: Seeds::draw(),
        far_connections: LARGE.connections,
    };
    let mut machine = Relayed::new(config, args.listen)?;
    let address = machine.address()?;
    run(args, &mut machine, &address.to_string(), interrupt, out)
}

/// The agent on a TAP interface.
struct Tapped<D: Drive> {
    agent: Agent<D, Tap, SimulatedBoard>,
}

impl<D: Drive> Machine for Tapped<D> {
    fn pass(&mut self, now_us: u64) -> Result<Pace, ServeError> {
        let turn = self.agent.turn(now_us);
        let step = self.agent.device_mut().step(now_us);
        let at_us = match turn {
            Turn::At(us) => Some(us),
            Turn::Again | Turn::Idle => None,
        };
        let again = turn == Turn::Again || step.busy || has_completions(&self.agent);
        Ok(Pace {
            again,
            at_us,
            store_waits: step.waiting,
        }
        .by(step.next)
        .by(look_again_at(&self.agent, now_us)))
    }

    fn is_busy(&self) -> bool {
        self.agent.driver().in_flight() > 0
    }

    fn wait_fds(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [
            Some(self.agent.net().device().wait_fd()),
            self.agent.driver().device().wait_fd(),
        ]
    }

    fn arm(&mut self) {
        self.agent.device_mut().arm_wait();
    }

    fn drain(&mut self) -> bool {
        self.agent.drain();
        self.agent.is_drained() && !self.agent.net().has_unsent()
    }

    fn shut_down(&mut self, now_us: u64) {
        self.agent.driver_mut().shutdown(now_us);
    }

    fn drive(&self) -> DriverState {
        self.agent.driver().state()
    }

    fn led(&mut self) -> &mut Led {
        &mut self.agent.board_mut().led
    }

    fn lost(&mut self) -> Option<String> {
        self.agent.device_mut().lost()
    }
}

fn over_tap(
    args: &ServeArgs,
    name: &str,
    drive: impl DriveConfig,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, ServeError> {
    let seeds = Seeds::draw();
    let failed = |source| ServeError::Tap {
        name: name.to_string(),
        source,
    };
    let tap = Tap::open(name, entropy()).map_err(failed)?;
    let device = drive.make(LARGE.arena_pages() as u32)?;
    let net = Net::new(
        tap,
        NetConfig {
            addresses: Addresses::new(args.tap_address.address, args.tap_address.prefix_bits),
            connections_max: LARGE.connections,
            receive_bytes: LARGE.receive_bytes,
            send_bytes: LARGE.send_bytes,
            listen_port: Some(AGENT_PORT),
            // The interface computes and verifies them.
            checksums: false,
            seed: seeds.network,
        },
    );
    let config = AgentConfig {
        limits: LARGE,
        driver: DriverConfig::default(),
        boot_nonce: seeds.boot_nonce,
        seed: seeds.programs,
        map_secret: seeds.maps,
        execution: args.execution.config(),
        board: "host-sim",
    };
    let board = SimulatedBoard::new(device.sideband());
    let agent = Agent::on_board(device, net, board, config).map_err(ServeError::Agent)?;
    let address = format!("{}:{AGENT_PORT}", args.tap_address.address);
    run(args, &mut Tapped { agent }, &address, interrupt, out)
}

fn run(
    args: &ServeArgs,
    machine: &mut impl Machine,
    address: &str,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, ServeError> {
    let clock = Clock::start();
    start_drive(machine, &clock)?;
    writeln!(out, "{address}")
        .and_then(|()| out.flush())
        .map_err(ServeError::Print)?;
    eprintln!("host-sim: {}", args.execution.config());
    eprintln!("host-sim: serving at {address}; Ctrl-C ends it");
    if args.led {
        machine.led().show();
    }
    turn_until(machine, &clock, interrupt)?;
    machine.led().hide();
    finish(machine, &clock)
}

/// Serves until it is interrupted.
pub(crate) fn turn_until(
    machine: &mut impl Machine,
    clock: &Clock,
    interrupt: &Interrupt,
) -> Result<(), ServeError> {
    let mut busy_since_us = clock.now_us();
    while !interrupt.requested() {
        let now_us = clock.now_us();
        let pace = machine.pass(now_us)?;
        if matches!(machine.drive(), DriverState::Failed(_))
            && let Some(sentence) = machine.lost()
        {
            return end_without_drive(machine, clock, sentence);
        }
        if pace.again {
            busy_since_us = now_us;
            continue;
        }
        let spins = now_us < busy_since_us + SPIN_US && machine.is_busy();
        if !spins {
            sleep(machine, &pace, now_us)?;
        }
    }
    Ok(())
}

/// Turns until the drive runs.
pub(crate) fn start_drive(machine: &mut impl Machine, clock: &Clock) -> Result<(), ServeError> {
    loop {
        match machine.drive() {
            DriverState::Running => return Ok(()),
            DriverState::Failed(why) => return Err(failed(machine, why)),
            _ => {}
        }
        machine.pass(clock.now_us())?;
    }
}

fn failed(machine: &mut impl Machine, why: FailReason) -> ServeError {
    let lost = machine.lost().map(ServeError::Lost);
    lost.unwrap_or_else(|| ServeError::Drive(why.to_string()))
}

/// Nothing can be done any more: says so to those who wait, and ends.
fn end_without_drive(
    machine: &mut impl Machine,
    clock: &Clock,
    sentence: String,
) -> Result<(), ServeError> {
    // Who does not read by then has lost the connection.
    let _ = answer_accepted(machine, clock, LOST_US)?;
    Err(ServeError::Lost(sentence))
}

/// Stops taking requests, answers those that were accepted, and lets the answers leave; false if the time
/// did not do for that.
fn answer_accepted(
    machine: &mut impl Machine,
    clock: &Clock,
    time_us: u64,
) -> Result<bool, ServeError> {
    let until_us = clock.now_us() + time_us;
    while !machine.drain() {
        let now_us = clock.now_us();
        if now_us >= until_us {
            return Ok(false);
        }
        let pace = machine.pass(now_us)?;
        if !pace.again && !machine.is_busy() {
            sleep(machine, &pace.by(Some(until_us)), now_us)?;
        }
    }
    // The ends of connections; nobody's data wait for those.
    let until_us = clock.now_us() + ENDS_US;
    while machine.pass(clock.now_us())?.again && clock.now_us() < until_us {}
    Ok(true)
}

fn sleep(machine: &mut impl Machine, pace: &Pace, now_us: u64) -> Result<(), ServeError> {
    let pause_us = pace
        .at_us
        .map_or(SLEEP_US_MAX, |us| us.saturating_sub(now_us));
    let pause = Duration::from_micros(pause_us.min(SLEEP_US_MAX));
    machine.arm();
    let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(2);
    for fd in machine.wait_fds().into_iter().flatten() {
        fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
    }
    let timeout = Timespec::try_from(pause).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(ServeError::Wait(error.into())),
    }
}

/// Answers what was accepted, then has the drive flush and stop.
fn finish(machine: &mut impl Machine, clock: &Clock) -> Result<Exit, ServeError> {
    eprintln!("host-sim: finishing what was accepted, then flushing");
    let answered = answer_accepted(machine, clock, DRAIN_US)?;
    machine.shut_down(clock.now_us());
    let until_us = clock.now_us() + DRAIN_US;
    while machine.drive() != DriverState::Stopped {
        if let DriverState::Failed(why) = machine.drive() {
            return Err(failed(machine, why));
        }
        if clock.now_us() > until_us {
            return Err(ServeError::Unflushed);
        }
        machine.pass(clock.now_us())?;
    }
    eprintln!("host-sim: all is flushed");
    if !answered {
        return Err(ServeError::Unanswered);
    }
    Ok(Exit::Success)
}
