//! The simulated machine: the agent, its drive, and a client-side stack at the other end of a
//! wire, all moved on by one call on one thread.
//!
//! This is the production agent with other ends. [`Simulator::pass`] takes the time from its
//! caller, so the same machine runs by the real clock in `serve` and `demo` and by a made-up one
//! in tests. Between the two halves of a pass the caller uses [`Simulator::far`] to speak to the
//! agent as any client on the network would.

use std::os::fd::BorrowedFd;

use dpu_firmware::board::Board;
use dpu_firmware::execution::ExecutionConfig;
use dpu_firmware::limits::Limits;
use dpu_firmware::net::{Addresses, Ipv4Address, Net, NetConfig, PacketDevice};
use dpu_firmware::{Agent, AgentConfig, StartError, Turn};
use nvme_model::driver::{DriverConfig, DriverState};
use nvme_model::model::{ModelConfig, ModelDevice, ModelError};

use crate::board::SimulatedBoard;
use crate::drive::{Drive, DriveConfig};
use crate::qemu::QemuError;
use crate::random::Seeds;
use crate::wire::{WireConfig, WireEnd, wire};

/// Where the agent is on the wire.
pub const AGENT_ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);

/// Where the client-side stack is.
pub const FAR_ADDRESS: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);

/// The port that the agent listens on.
pub const AGENT_PORT: u16 = 7117;

/// A sleep while a drive works of which nothing tells when it is done. The kernel makes it some 50 µs
/// longer.
const POLL_SLEEP_US: u64 = 50;

/// The agent of a machine like this.
pub type SimulatedAgent<D = ModelDevice> = Agent<D, WireEnd, SimulatedBoard>;

/// What a simulated machine is made of.
#[derive(Debug)]
pub struct SimulatorConfig<C = ModelConfig> {
    /// The drive. Its arena is made as large as the limits need.
    pub drive: C,
    /// The wire.
    pub wire: WireConfig,
    /// The agent's pools.
    pub limits: Limits,
    /// The driver's deadlines.
    pub driver: DriverConfig,
    /// How programs are run.
    pub execution: ExecutionConfig,
    /// What everything random follows from.
    pub seeds: Seeds,
    /// Connections of the client-side stack.
    pub far_connections: usize,
}

/// Why there is no machine.
#[derive(Debug, thiserror::Error)]
pub enum SimulatorError {
    /// The drive cannot be made.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// There is no drive of QEMU's.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// The agent cannot be made.
    #[error("the agent cannot start: {0}")]
    Agent(StartError),
}

/// When a machine wants its next pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// There is work now.
    pub again: bool,
    /// At this time at the latest, microseconds.
    pub at_us: Option<u64>,
    /// A store works on something; its descriptor tells when it is done.
    pub store_waits: bool,
}

impl Pace {
    /// The earlier of the time it has and this one.
    #[must_use]
    pub fn by(mut self, us: Option<u64>) -> Pace {
        self.at_us = self.at_us.into_iter().chain(us).min();
        self
    }
}

/// A machine with an agent.
pub struct Simulator<D: Drive = ModelDevice> {
    agent: SimulatedAgent<D>,
    far: Net<WireEnd>,
}

impl Simulator {
    /// Where the agent can be connected to from [`Simulator::far`], whatever the drive is.
    #[must_use]
    pub const fn agent_address() -> (Ipv4Address, u16) {
        (AGENT_ADDRESS, AGENT_PORT)
    }
}

impl<D: Drive> Simulator<D> {
    /// Makes the machine with all its memory. The drive starts with the first passes.
    ///
    /// # Errors
    ///
    /// [`SimulatorError`] where drive or agent cannot be as asked.
    pub fn new<C: DriveConfig<Drive = D>>(
        config: SimulatorConfig<C>,
    ) -> Result<Simulator<D>, SimulatorError> {
        let SimulatorConfig {
            drive,
            wire: wire_config,
            limits,
            driver,
            execution,
            seeds,
            far_connections,
        } = config;
        let device = drive.make(limits.arena_pages() as u32)?;
        let (near_end, far_end) = wire(wire_config);
        let near = Net::new(
            near_end,
            NetConfig {
                addresses: Addresses::new(AGENT_ADDRESS, 24),
                connections_max: limits.connections,
                receive_bytes: limits.receive_bytes,
                send_bytes: limits.send_bytes,
                listen_port: Some(AGENT_PORT),
                checksums: has_noise(&wire_config),
                seed: seeds.network,
            },
        );
        let far = Net::new(
            far_end,
            NetConfig {
                addresses: Addresses::new(FAR_ADDRESS, 24),
                connections_max: far_connections,
                receive_bytes: limits.receive_bytes,
                send_bytes: limits.send_bytes,
                listen_port: None,
                checksums: has_noise(&wire_config),
                seed: seeds.far_network,
            },
        );
        let board = SimulatedBoard::new(device.sideband());
        let agent = Agent::on_board(
            device,
            near,
            board,
            AgentConfig {
                limits,
                driver,
                boot_nonce: seeds.boot_nonce,
                seed: seeds.programs,
                map_secret: seeds.maps,
                execution,
                board: "host-sim",
            },
        )
        .map_err(SimulatorError::Agent)?;
        Ok(Simulator { agent, far })
    }

    /// Moves everything on at `now_us`, which never falls: packets to the agent, one turn of it,
    /// a step of its drive, packets from it.
    pub fn pass(&mut self, now_us: u64) -> Pace {
        let sent = self.far.flush(now_us);
        let turn = self.agent.turn(now_us);
        let step = self.agent.device_mut().step(now_us);
        let received = self.far.receive(now_us);
        let busy =
            sent || received || turn == Turn::Again || step.busy || has_completions(&self.agent);
        let turn_us = match turn {
            Turn::At(us) => Some(us),
            Turn::Again | Turn::Idle => None,
        };
        let pace = Pace {
            again: busy,
            at_us: turn_us,
            store_waits: step.waiting,
        };
        let pace = pace.by(step.next).by(self.far.wake_at(now_us));
        let pace = pace.by(look_again_at(&self.agent, now_us));
        Pace {
            again: pace.again || pace.at_us.is_some_and(|us| us <= now_us),
            ..pace
        }
    }

    /// The client's side of the wire.
    pub fn far(&mut self) -> &mut Net<WireEnd> {
        &mut self.far
    }

    /// The agent.
    pub fn agent(&mut self) -> &mut SimulatedAgent<D> {
        &mut self.agent
    }

    /// The drive.
    pub fn drive(&mut self) -> &mut D {
        self.agent.device_mut()
    }

    /// Whether something is under way that ends soon: commands at the drive, packets on the wire.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.agent.driver().in_flight() > 0
            || self.far.device().next_arrival_us().is_some()
            || self.agent.net().device().next_arrival_us().is_some()
    }

    /// Readable when a store has finished something.
    #[must_use]
    pub fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        self.agent.driver().device().wait_fd()
    }

    /// Where the driver is.
    #[must_use]
    pub fn drive_state(&self) -> DriverState {
        self.agent.driver().state()
    }

    /// Bytes of packets from the client's side to the agent, and back.
    pub fn wire_bytes(&self) -> (u64, u64) {
        let up = self.far.device().bytes_sent();
        (up, self.agent.net().device().bytes_sent())
    }
}

/// Damaged packets are found by checksums alone.
const fn has_noise(wire: &WireConfig) -> bool {
    wire.damage_ppm > 0
}

/// Whether the drive has completed what the driver has not yet reaped.
pub(crate) fn has_completions<D: Drive, N: PacketDevice, B: Board>(agent: &Agent<D, N, B>) -> bool {
    let driver = agent.driver();
    driver.device().has_completed(driver.in_flight())
}

/// When to look for completions that nothing announces.
pub(crate) fn look_again_at<D: Drive, N: PacketDevice, B: Board>(
    agent: &Agent<D, N, B>,
    now_us: u64,
) -> Option<u64> {
    let polls = D::POLLED && agent.driver().in_flight() > 0;
    polls.then_some(now_us + POLL_SLEEP_US)
}
