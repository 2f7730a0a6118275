//! A machine in virtual time: agent, model drive, wire, and clients that speak to it.
//!
//! Everything follows from the configuration: no clock, no thread, no sleep. Time stands still
//! while anything moves and then jumps to whatever is due next, so eight seconds of a drive that
//! does not answer cost a few passes.

use client::session::{Reply, Session, SubmitError, Ticket};
use dpu_firmware::board::{Board, NoBoard};
use dpu_firmware::execution::ExecutionConfig;
use dpu_firmware::limits::Limits;
use dpu_firmware::net::{Addresses, ConnectionId, Ipv4Address, Net, NetConfig};
use dpu_firmware::{Agent, AgentConfig, Turn};
use nvme_model::driver::{DriverConfig, DriverState};
use nvme_model::model::{ModelConfig, ModelDevice, Sideband};
use protocol::message::Request;
use protocol::{Features, Status};

mod wire;

use wire::{End, wire};

const AGENT: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const FAR: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
const PORT: u16 = 7117;

/// Passes without anything moving before time goes on: what a pass started, the next completes.
const QUIET_PASSES: u32 = 3;

/// Passes at one instant after which the agent counts as spinning. A program may take its whole
/// instruction budget in one.
const SPIN_PASSES_MAX: u32 = 200_000;

/// How often the driver looks at a register that it waits for. Seldom: a reset that takes seconds
/// is otherwise most of what a run does.
const REGISTER_POLL_US: u64 = 20_000;

/// The smallest pools that are sound: shortages come early, and a machine is made in no time.
pub const TINY: Limits = Limits {
    connections: 6,
    receive_bytes: 12 * 1024,
    send_bytes: 12 * 1024,
    requests: 64,
    credits_per_connection_max: 16,
    data_pages: 6 * 32 + 48,
    invocations: 4,
    invocations_per_connection: 2,
    slabs: [6, 3, 2],
    programs: 4,
    code_bytes: 16 * 1024,
    uploads: 2,
    objects: 24,
    instances: 8,
    map_slabs: [4, 1, 1],
    initial_bytes: 4096,
};

/// SplitMix64: what is random in a test follows from a seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The machine.
pub struct World<B: Board = NoBoard> {
    /// The agent, with its drive inside.
    pub agent: Agent<ModelDevice, End, B>,
    /// The clients' side of the wire.
    pub far: Net<End>,
    /// The time, microseconds.
    pub now_us: u64,
    /// Runs around each turn of the agent, to measure it.
    pub around_turn: fn(bool),
    outstanding: usize,
}

impl World {
    /// A machine with this drive and these pools, on a board without anything. The drive starts with the
    /// first passes.
    ///
    /// # Panics
    ///
    /// If the drive or the agent cannot be made so.
    pub fn new(model: ModelConfig, limits: Limits, seed: u64) -> World {
        World::on_board(model, limits, seed, |_| NoBoard::default())
    }
}

impl<B: Board> World<B> {
    /// A machine with this drive and these pools. The drive starts with the first passes.
    ///
    /// # Panics
    ///
    /// If the drive or the agent cannot be made so.
    pub fn on_board(
        mut model: ModelConfig,
        limits: Limits,
        seed: u64,
        board: impl FnOnce(&Sideband) -> B,
    ) -> World<B> {
        model.arena_pages = limits.arena_pages() as u32;
        let device = ModelDevice::new(model).expect("a drive");
        let (near_end, far_end) = wire();
        let net = |end, own, listen_port, connections_max, seed| {
            let config = NetConfig {
                addresses: Addresses::new(own, 24),
                connections_max,
                receive_bytes: limits.receive_bytes,
                send_bytes: limits.send_bytes,
                listen_port,
                checksums: false,
                seed,
            };
            Net::new(end, config)
        };
        let near = net(near_end, AGENT, Some(PORT), limits.connections, seed);
        let far = net(far_end, FAR, None, limits.connections + 2, !seed);
        let config = AgentConfig {
            limits,
            driver: DriverConfig {
                register_poll_us: REGISTER_POLL_US,
                ..DriverConfig::default()
            },
            boot_nonce: seed,
            seed,
            map_secret: !seed,
            execution: ExecutionConfig::default(),
            board: "test",
        };
        let board = board(&device.sideband());
        let agent = Agent::on_board(device, near, board, config).expect("an agent");
        World {
            agent,
            far,
            now_us: 0,
            around_turn: |_| {},
            outstanding: 0,
        }
    }

    /// One pass at the present time: packets in, a turn, a step of the drive, packets out.
    /// Whether anything moved, and what is due when.
    pub fn pass(&mut self) -> (bool, Option<u64>) {
        let now_us = self.now_us;
        let sent = self.far.flush(now_us);
        (self.around_turn)(true);
        let turn = self.agent.turn(now_us);
        (self.around_turn)(false);
        let step = self.agent.device_mut().step(now_us);
        let received = self.far.receive(now_us);
        while self.far.next_event().is_some() {}
        let outstanding = self.agent.driver().device().outstanding();
        let drive_moved = step.busy || step.waiting || outstanding != self.outstanding;
        self.outstanding = outstanding;
        let turn_us = match turn {
            Turn::At(us) => Some(us),
            Turn::Again | Turn::Idle => None,
        };
        let due = [turn_us, step.next, self.far.wake_at(now_us)];
        let moved = sent || received || drive_moved || turn == Turn::Again;
        (moved, due.into_iter().flatten().min())
    }

    /// Runs until `done`, which is asked after every pass and may act on the machine itself, or
    /// until that time. Whether it was done.
    ///
    /// # Panics
    ///
    /// If the machine never comes to rest at an instant.
    pub fn run(&mut self, until_us: u64, done: impl FnMut(&mut World<B>) -> Progress) -> bool {
        match self.run_at_most(SPIN_PASSES_MAX, until_us, done) {
            Ended::Done => true,
            Ended::Late => false,
            Ended::Spinning => panic!("no rest at {} µs", self.now_us),
        }
    }

    /// As [`World::run`], with at most so many passes at one instant.
    pub fn run_at_most(
        &mut self,
        passes: u32,
        until_us: u64,
        mut done: impl FnMut(&mut World<B>) -> Progress,
    ) -> Ended {
        let mut quiet = 0;
        let mut spins = 0;
        loop {
            let (moved, due) = self.pass();
            let acted = match done(self) {
                Progress::Done => return Ended::Done,
                Progress::Moved => true,
                Progress::Waits => false,
            };
            spins += 1;
            if spins >= passes {
                return Ended::Spinning;
            }
            quiet = if moved || acted { 0 } else { quiet + 1 };
            if quiet < QUIET_PASSES {
                continue;
            }
            if self.now_us >= until_us {
                return Ended::Late;
            }
            let next_us = due.unwrap_or(until_us).min(until_us);
            if next_us > self.now_us {
                self.now_us = next_us;
                spins = 0;
            }
            quiet = 0;
        }
    }

    /// Lets so much time go by.
    pub fn advance(&mut self, us: u64) {
        self.run(self.now_us + us, |_| Progress::Waits);
    }

    /// Opens a connection, without waiting for it.
    ///
    /// # Panics
    ///
    /// If the clients' stack has none left.
    pub fn dial(&mut self) -> ConnectionId {
        let remote = (AGENT, PORT);
        self.far
            .connect(self.now_us, remote)
            .expect("the clients' stack has a connection left")
    }

    /// A client that has said hello.
    ///
    /// # Panics
    ///
    /// If the agent does not welcome it within a minute.
    pub fn connect(&mut self) -> Peer {
        let mut peer = Peer {
            id: self.dial(),
            session: Session::new(Features::NONE),
            was_up: false,
        };
        let until_us = self.now_us + 60_000_000;
        let open = self.run(until_us, |world| {
            let moved = peer.pump(world);
            Progress::of(peer.session.is_open(), moved)
        });
        assert!(open, "no hello: {:?}", peer.session.ended());
        peer
    }

    /// Where the driver is.
    pub fn drive_state(&self) -> DriverState {
        self.agent.driver().state()
    }

    /// How many of a pool are in use.
    ///
    /// # Panics
    ///
    /// If there is no pool of that name.
    pub fn used(&self, pool: &str) -> usize {
        let found = self.agent.pools().find(|(name, ..)| *name == pool);
        found.expect("a pool of that name").1
    }

    /// What is in use and should not be when no client is there, whatever the drive keeps in
    /// quarantine apart: nothing, in an agent that loses nothing.
    pub fn held(&self) -> Vec<(&'static str, usize)> {
        let quarantined = self.agent.driver().counters().pages_quarantined > 0;
        let memory = [
            "data_pages",
            "bounce_pages",
            "slabs_4k",
            "slabs_16k",
            "slabs_80k",
        ];
        self.agent
            .pools()
            .filter(|(name, used, ..)| *used > 0 && *name != "programs")
            .filter(|(name, ..)| !(quarantined && memory.contains(name)))
            .map(|(name, used, ..)| (name, used))
            .collect()
    }
}

/// How a run of the machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// What was waited for is there.
    Done,
    /// The time was up.
    Late,
    /// It did not come to rest within as many passes as it was given.
    Spinning,
}

/// What the caller of [`World::run`] says after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has what it waited for.
    Done,
    /// It did something: look again before time goes on.
    Moved,
    /// It waits.
    Waits,
}

impl Progress {
    /// As two conditions say.
    pub const fn of(done: bool, moved: bool) -> Progress {
        match (done, moved) {
            (true, _) => Progress::Done,
            (_, true) => Progress::Moved,
            _ => Progress::Waits,
        }
    }
}

/// A client that keeps the rules.
pub struct Peer {
    /// Its connection in the clients' stack.
    pub id: ConnectionId,
    /// Its side of the protocol.
    pub session: Session,
    was_up: bool,
}

impl Peer {
    /// The replies to all of these, each exactly once, in their order.
    ///
    /// # Panics
    ///
    /// Where others come, one comes twice, or they take longer than `within_us`.
    pub fn replies<B: Board>(
        &mut self,
        world: &mut World<B>,
        tickets: &[Ticket],
        within_us: u64,
    ) -> Vec<Reply> {
        let mut replies = Vec::new();
        world.run(world.now_us + within_us, |world| {
            let moved = self.pump(world);
            // A second answer would end the session: it answers nothing in flight.
            assert_eq!(self.session.ended(), None);
            while let Some(reply) = self.session.next_reply() {
                replies.push(reply);
            }
            Progress::of(replies.len() == tickets.len(), moved)
        });
        replies.sort_by_key(|reply| reply.ticket);
        let answered: Vec<Ticket> = replies.iter().map(|reply| reply.ticket).collect();
        assert_eq!(answered, tickets);
        replies
    }

    /// Carries bytes between session and stack. Whether any moved.
    pub fn pump<B: Board>(&mut self, world: &mut World<B>) -> bool {
        let mut moved = false;
        let sent = world.far.send(self.id, self.session.outgoing());
        self.session.advance(sent);
        moved |= sent > 0;
        loop {
            let bytes = world.far.received(self.id);
            let count = bytes.len();
            if count == 0 {
                break;
            }
            let _ended = self.session.feed(bytes);
            world.far.consume(self.id, count);
            moved = true;
        }
        self.was_up |= world.far.may_send(self.id);
        if self.was_up && !world.far.may_receive(self.id) && self.session.ended().is_none() {
            self.session.connection_lost();
            moved = true;
        }
        moved
    }

    /// Submits a request.
    ///
    /// # Errors
    ///
    /// As the session says.
    pub fn submit<R: Request>(
        &mut self,
        request: &R,
        payload: &[u8],
    ) -> Result<Ticket, SubmitError> {
        self.session.submit(request, payload)
    }

    /// Submits a request and waits for its reply, at most two minutes.
    ///
    /// # Panics
    ///
    /// If it cannot be submitted or no reply comes.
    pub fn ask<R: Request, B: Board>(
        &mut self,
        world: &mut World<B>,
        request: &R,
        payload: &[u8],
    ) -> Reply {
        let ticket = self.submit(request, payload).expect("credit");
        let mut reply = None;
        let until_us = world.now_us + 120_000_000;
        world.run(until_us, |world| {
            let moved = self.pump(world);
            reply = self.session.take_reply(ticket);
            Progress::of(reply.is_some(), moved)
        });
        reply.unwrap_or_else(|| panic!("a {:?} was not answered", R::KIND))
    }

    /// As [`Peer::ask`], for what must succeed.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn must<R: Request, B: Board>(
        &mut self,
        world: &mut World<B>,
        request: &R,
        payload: &[u8],
    ) -> Reply {
        let reply = self.ask(world, request, payload);
        assert_eq!(
            reply.status,
            Status::Ok,
            "{:?}: {:?}",
            R::KIND,
            reply.detail()
        );
        reply
    }
}
