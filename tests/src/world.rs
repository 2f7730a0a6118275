//! A whole Outboard in one value: the simulated machine, a clock that is made up, and peers.
//!
//! The agent, its drive and its network are the production code over a software drive and an
//! in-process wire ([`Simulator`]). Time is a number here: it rises by a microsecond a pass
//! while there is work and jumps to the next deadline where there is none, so a test of a
//! thirty-second deadline takes no second, and a run is the same run every time.
//!
//! Peers are the other ends of TCP connections. One is either raw, for bytes no client would
//! send, or a [`Session`] of the client library. All of them are served in every pass, unless
//! one is told not to read.

mod frames;
mod neighbour;
mod peer;
mod program;
mod requests;
mod settings;

pub use frames::{Frame, checked_frame, encoded, forged_header, frame, frames};
pub use neighbour::Neighbour;
pub use peer::{Ended, PeerId};
pub use program::{Image, image};
pub use requests::{open_of, read_of};
pub use settings::{NamespaceSettings, Settings, TINY, pattern};

use std::collections::{HashMap, VecDeque};

use client::session::{Reply, Session, SubmitError, Ticket};
use dpu_firmware::net::{ConnectionId, NetEvent};
use host_sim::simulator::Simulator;
use nvme_model::driver::DriverState;
use peer::{Peer, Speech};
use protocol::message::{
    AttachRequest, CallReply, CallRequest, LoadPieceRequest, LoadRequest, OpenReply, OpenRequest,
    Request, WriteRequest,
};
use protocol::{ClientHello, Features, Kind, Status};
use sha2::{Digest, Sha256};

/// How much virtual time a test may wait for one thing.
const PATIENCE_US: u64 = 120_000_000;

/// How many passes may go by without the clock getting on by more than one a pass: a machine
/// that claims to be busy and gets nowhere.
const PASSES_MAX: u64 = 20_000_000;

/// The machine, the time, and who speaks to it.
pub struct World {
    simulator: Simulator,
    now_us: u64,
    peers: Vec<Peer>,
    by_connection: HashMap<ConnectionId, PeerId>,
    /// Peers whose connection has something for them, or they for it.
    due: VecDeque<PeerId>,
}

impl World {
    /// A machine whose drive is running.
    #[must_use]
    pub fn new(settings: Settings) -> World {
        let simulator = Simulator::new(settings.into_config()).expect("the machine can be made");
        let mut world = World {
            simulator,
            now_us: 1_000,
            peers: Vec::new(),
            by_connection: HashMap::new(),
            due: VecDeque::new(),
        };
        world.until("the drive to run", |world| {
            world.simulator.drive_state() == DriverState::Running
        });
        world
    }

    /// The time, microseconds.
    #[must_use]
    pub const fn now_us(&self) -> u64 {
        self.now_us
    }

    /// The machine.
    pub const fn machine(&mut self) -> &mut Simulator {
        &mut self.simulator
    }

    /// One pass of everything; true where nothing is left to do before the next deadline, to
    /// which the clock then jumps, but not beyond `not_beyond_us`.
    fn pass(&mut self, not_beyond_us: u64) -> bool {
        self.serve_peers();
        let pace = self.simulator.pass(self.now_us);
        self.take_events();
        if pace.again || !self.due.is_empty() {
            self.now_us += 1;
            return false;
        }
        let next_us = pace.at_us.unwrap_or(u64::MAX).min(not_beyond_us);
        self.now_us = next_us.max(self.now_us + 1);
        true
    }

    /// Lets the world go on until `done` says so.
    ///
    /// # Panics
    ///
    /// Where that takes two minutes of virtual time, or never comes to rest.
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut World) -> bool) {
        let until_us = self.now_us + PATIENCE_US;
        for _ in 0..PASSES_MAX {
            if done(self) {
                return;
            }
            assert!(
                self.now_us < until_us,
                "waited two minutes of virtual time for {what}"
            );
            self.pass(until_us);
        }
        panic!("busy for {PASSES_MAX} passes, waiting for {what}");
    }

    /// Lets so much time pass.
    ///
    /// # Panics
    ///
    /// Where the machine is busy all the while.
    pub fn advance(&mut self, us: u64) {
        let until_us = self.now_us + us;
        for _ in 0..PASSES_MAX {
            if self.now_us >= until_us {
                return;
            }
            self.pass(until_us);
        }
        panic!("busy for {PASSES_MAX} passes");
    }

    /// Lets everything come to rest that is under way: until only deadlines are left.
    pub fn rest(&mut self) {
        for _ in 0..PASSES_MAX {
            let until_us = self.now_us + 1_000;
            if self.pass(until_us) && !self.simulator.is_busy() {
                return;
            }
        }
        panic!("busy for {PASSES_MAX} passes");
    }

    fn take_events(&mut self) {
        while let Some(event) = self.simulator.far().next_event() {
            let (id, ended) = match event {
                NetEvent::Opened(id) => {
                    if let Some(peer) = self.by_connection.get(&id) {
                        self.peers[peer.0].opened = true;
                    }
                    (id, None)
                }
                NetEvent::Readable(id) | NetEvent::Writable(id) => (id, None),
                NetEvent::HalfClosed(id) => (id, Some(Ended::Finished)),
                NetEvent::Closed(id) => (id, Some(Ended::Gone)),
            };
            let Some(&peer) = self.by_connection.get(&id) else {
                continue;
            };
            if let Some(ended) = ended {
                self.peers[peer.0].end(ended);
            }
            if ended == Some(Ended::Gone) {
                self.by_connection.remove(&id);
            }
            self.make_due(peer);
        }
    }

    fn make_due(&mut self, peer: PeerId) {
        if !std::mem::replace(&mut self.peers[peer.0].due, true) {
            self.due.push_back(peer);
        }
    }

    fn serve_peers(&mut self) {
        for _ in 0..self.due.len() {
            let Some(peer) = self.due.pop_front() else {
                return;
            };
            let peer = &mut self.peers[peer.0];
            peer.due = false;
            peer.serve(self.simulator.far());
        }
    }

    fn add_peer(&mut self, speech: Speech) -> PeerId {
        let id = self
            .simulator
            .far()
            .connect(self.now_us, Simulator::agent_address())
            .expect("the far stack has a connection left");
        let peer = PeerId(self.peers.len());
        self.peers.push(Peer::new(id, speech));
        self.by_connection.insert(id, peer);
        peer
    }

    /// Begins a connection that speaks in bytes; what it sends before it is open waits.
    pub fn begin_raw(&mut self) -> PeerId {
        self.add_peer(Speech::raw())
    }

    /// A connection that speaks in bytes, open, with nothing said.
    pub fn connect_raw(&mut self) -> PeerId {
        let peer = self.begin_raw();
        self.until("a connection to open", |world| {
            world.peers[peer.0].opened || world.peers[peer.0].ended.is_some()
        });
        peer
    }

    /// A raw connection after the hellos, with checksums of payloads.
    pub fn greet_raw(&mut self) -> PeerId {
        self.greet_raw_with(Features::PAYLOAD_CRC)
    }

    /// A raw connection after the hellos, with these features.
    pub fn greet_raw_with(&mut self, features: Features) -> PeerId {
        let peer = self.connect_raw();
        self.send(peer, &ClientHello::new(features).encode());
        self.until("the agent's hello", |world| {
            world.received(peer).len() >= protocol::HELLO_BYTES
        });
        self.take_received(peer, protocol::HELLO_BYTES);
        peer
    }

    /// A raw connection after the hellos and one Open, whose id is 1; its object: all of
    /// namespace 1.
    pub fn greet_raw_and_open(&mut self) -> (PeerId, u32) {
        let peer = self.greet_raw();
        let object = self.open_raw(peer);
        (peer, object)
    }

    /// Has a raw peer open all of namespace 1, by its first request; the object.
    ///
    /// # Panics
    ///
    /// Where the next frame is not the reply to that.
    pub fn open_raw(&mut self, peer: PeerId) -> u32 {
        self.send(peer, &frame(Kind::Open, 1, &open_of(1, 0, None), &[]));
        let reply = self.next_frames(peer).remove(0);
        assert_eq!(reply.header.request.0, 1, "the reply to Open");
        reply.decode::<OpenReply>().object
    }

    /// Begins a session; [`World::until`] it is open.
    pub fn begin_session(&mut self, features: Features) -> PeerId {
        let peer = self.add_peer(Speech::Session(Box::new(Session::new(features))));
        self.make_due(peer);
        peer
    }

    /// A session of the client library, open.
    pub fn connect(&mut self) -> PeerId {
        self.connect_with(Features::NONE)
    }

    /// A session with these features, open.
    pub fn connect_with(&mut self, features: Features) -> PeerId {
        let peer = self.begin_session(features);
        self.until("a session to open", |world| world.session(peer).is_open());
        peer
    }

    /// The session of a peer that is one.
    pub fn session(&mut self, peer: PeerId) -> &mut Session {
        match &mut self.peers[peer.0].speech {
            Speech::Session(session) => session,
            Speech::Raw { .. } => panic!("a raw peer has no session"),
        }
    }

    /// Submits a request, whose reply is waited for later.
    ///
    /// # Panics
    ///
    /// Where the session does not take it.
    pub fn submit<R: Request>(&mut self, peer: PeerId, request: &R, payload: &[u8]) -> Ticket {
        self.try_submit(peer, request, payload)
            .expect("the session takes the request")
    }

    /// Submits a request if there is credit for it.
    ///
    /// # Errors
    ///
    /// What the session has against it.
    pub fn try_submit<R: Request>(
        &mut self,
        peer: PeerId,
        request: &R,
        payload: &[u8],
    ) -> Result<Ticket, SubmitError> {
        let ticket = self.session(peer).submit(request, payload)?;
        self.make_due(peer);
        Ok(ticket)
    }

    /// Asks for a request to be cancelled.
    pub fn cancel(&mut self, peer: PeerId, ticket: Ticket) {
        self.session(peer).cancel(ticket);
        self.make_due(peer);
    }

    /// Waits for the reply to a request.
    ///
    /// # Panics
    ///
    /// Where the session ended by anything but the peer's own doing.
    pub fn reply(&mut self, peer: PeerId, ticket: Ticket) -> Reply {
        let mut reply = None;
        self.until("a reply", |world| {
            reply = world.session(peer).take_reply(ticket);
            reply.is_some()
        });
        reply.expect("it was waited for")
    }

    /// Asks one thing and waits for the answer.
    pub fn ask<R: Request>(&mut self, peer: PeerId, request: &R, payload: &[u8]) -> Reply {
        let ticket = self.submit(peer, request, payload);
        self.reply(peer, ticket)
    }

    /// A session of the client library, open, and its object: all of a namespace.
    pub fn connect_to(&mut self, namespace: u32) -> (PeerId, u32) {
        let peer = self.connect();
        let object = self.open(peer, namespace, 0, None);
        (peer, object)
    }

    /// Opens an object.
    pub fn open(&mut self, peer: PeerId, namespace: u32, offset: u64, length: Option<u64>) -> u32 {
        let reply = self.ask(peer, &open_of(namespace, offset, length), &[]);
        let opened = reply.decode::<OpenRequest>();
        opened
            .unwrap_or_else(|_| panic!("open: {}: {}", reply.status, reply.detail()))
            .object
    }

    /// Reads, and expects to be given the bytes.
    pub fn read(&mut self, peer: PeerId, object: u32, offset: u64, length: u32) -> Vec<u8> {
        let reply = self.ask(peer, &read_of(object, offset, length), &[]);
        assert_eq!(reply.status, Status::Ok, "read: {}", reply.detail());
        reply.payload
    }

    /// Writes, and expects it to be done.
    pub fn write(&mut self, peer: PeerId, object: u32, offset: u64, bytes: &[u8]) {
        let reply = self.ask(peer, &WriteRequest { object, offset }, bytes);
        assert_eq!(reply.status, Status::Ok, "write: {}", reply.detail());
    }

    /// Uploads an image in pieces of `piece_bytes`; the last reply.
    pub fn upload(
        &mut self,
        peer: PeerId,
        name: &str,
        image: &[u8],
        digest: [u8; 32],
        piece_bytes: usize,
    ) -> Reply {
        let request = LoadRequest {
            name,
            total_bytes: image.len() as u32,
            sha256: digest,
            strict: false,
        };
        let mut last = self.ask(peer, &request, &[]);
        for (index, piece) in image.chunks(piece_bytes).enumerate() {
            if last.status != Status::Ok {
                return last;
            }
            let offset = (index * piece_bytes) as u32;
            last = self.ask(peer, &LoadPieceRequest { offset }, piece);
        }
        last
    }

    /// Uploads an image; the reply says what became of it.
    pub fn try_load(&mut self, peer: PeerId, name: &str, image: &[u8]) -> Reply {
        self.upload(peer, name, image, sha256(image), 32 * 1024)
    }

    /// Uploads an image that must be accepted; the program's id.
    pub fn load(&mut self, peer: PeerId, name: &str, image: &[u8]) -> u32 {
        let reply = self.try_load(peer, name, image);
        let loaded = reply.decode::<LoadPieceRequest>();
        loaded
            .ok()
            .and_then(|loaded| loaded.program)
            .unwrap_or_else(|| panic!("load {name}: {}: {}", reply.status, reply.detail()))
    }

    /// Attaches a program with all the budget there is; the instance.
    pub fn attach(&mut self, peer: PeerId, program: u32, objects: &[u32]) -> u32 {
        self.attach_with(peer, program, objects, 0, 0)
    }

    /// Attaches a program with these budgets; the instance.
    pub fn attach_with(
        &mut self,
        peer: PeerId,
        program: u32,
        objects: &[u32],
        instruction_budget: u64,
        read_budget: u32,
    ) -> u32 {
        let request = AttachRequest {
            program,
            objects: objects.iter().copied().collect(),
            instruction_budget,
            read_budget,
        };
        let reply = self.ask(peer, &request, &[]);
        let attached = reply.decode::<AttachRequest>();
        attached
            .unwrap_or_else(|_| panic!("attach: {}: {}", reply.status, reply.detail()))
            .instance
    }

    /// Calls, and expects a result; what the program made of it.
    pub fn call(&mut self, peer: PeerId, instance: u32, args: &[u8]) -> (CallReply, Vec<u8>) {
        let reply = self.try_call(peer, instance, args);
        let called = reply
            .decode::<CallRequest>()
            .unwrap_or_else(|_| panic!("call: {}: {}", reply.status, reply.detail()));
        (called, reply.payload)
    }

    /// Calls; the reply, whatever it is.
    pub fn try_call(&mut self, peer: PeerId, instance: u32, args: &[u8]) -> Reply {
        self.ask(peer, &CallRequest { instance }, args)
    }

    /// Sends bytes from a raw peer.
    pub fn send(&mut self, peer: PeerId, bytes: &[u8]) {
        match &mut self.peers[peer.0].speech {
            Speech::Raw { outgoing, .. } => outgoing.extend_from_slice(bytes),
            Speech::Session(_) => panic!("a session sends for itself"),
        }
        self.make_due(peer);
    }

    /// What a raw peer received and has not taken.
    #[must_use]
    pub fn received(&self, peer: PeerId) -> &[u8] {
        match &self.peers[peer.0].speech {
            Speech::Raw { received, .. } => received,
            Speech::Session(_) => panic!("a session reads for itself"),
        }
    }

    /// Takes the first bytes that a raw peer received.
    pub fn take_received(&mut self, peer: PeerId, bytes: usize) -> Vec<u8> {
        match &mut self.peers[peer.0].speech {
            Speech::Raw { received, .. } => received.drain(..bytes).collect(),
            Speech::Session(_) => panic!("a session reads for itself"),
        }
    }

    /// Takes the whole frames that a raw peer received.
    pub fn take_frames(&mut self, peer: PeerId) -> Vec<Frame> {
        let (found, bytes) = frames(self.received(peer));
        self.take_received(peer, bytes);
        found
    }

    /// Waits for the next frame that a raw peer receives, and takes all there are.
    pub fn next_frames(&mut self, peer: PeerId) -> Vec<Frame> {
        let mut found = Vec::new();
        self.until("a frame", |world| {
            found = world.take_frames(peer);
            !found.is_empty()
        });
        found
    }

    /// Has a peer read what comes, or leave it in its receive buffer.
    pub fn set_reading(&mut self, peer: PeerId, reads: bool) {
        self.peers[peer.0].reads = reads;
        self.make_due(peer);
    }

    /// How a peer's connection ended, if it did.
    #[must_use]
    pub fn ended(&self, peer: PeerId) -> Option<Ended> {
        self.peers[peer.0].ended
    }

    /// Sends FIN after what is queued.
    pub fn close(&mut self, peer: PeerId) {
        self.peers[peer.0].closes = true;
        self.make_due(peer);
    }

    /// Ends a connection by RST, at once.
    pub fn abort(&mut self, peer: PeerId) {
        let id = self.peers[peer.0].id;
        self.simulator.far().abort(id);
        self.make_due(peer);
    }

    /// Closes every connection but one.
    pub fn close_all_but(&mut self, kept: PeerId) {
        for peer in 0..self.peers.len() {
            if peer != kept.0 {
                self.close(PeerId(peer));
            }
        }
    }

    /// How much of a pool of the agent is in use.
    ///
    /// # Panics
    ///
    /// Where there is no such pool.
    pub fn used(&mut self, pool: &str) -> usize {
        let mut pools = self.simulator.agent().pools();
        let found = pools.find(|(name, ..)| *name == pool);
        found.unwrap_or_else(|| panic!("no pool {pool}")).1
    }

    /// A counter of the agent.
    ///
    /// # Panics
    ///
    /// Where there is no such counter.
    pub fn count(&mut self, counter: &str) -> u64 {
        let counters = *self.simulator.agent().counters();
        let found = counters.named().find(|(name, _)| *name == counter);
        found.unwrap_or_else(|| panic!("no counter {counter}")).1
    }

    /// Pools that are in use although nothing is open and nothing under way; programs stay.
    pub fn not_idle(&mut self) -> Vec<(&'static str, usize)> {
        let pools = self.simulator.agent().pools();
        let used = pools.map(|(name, used, ..)| (name, used));
        used.filter(|(name, used)| *used > 0 && *name != "programs")
            .collect()
    }

    /// Closes every peer and expects all that the agent held for them to be given back.
    ///
    /// # Panics
    ///
    /// Where something is not.
    pub fn end(&mut self) {
        for peer in 0..self.peers.len() {
            self.set_reading(PeerId(peer), true);
            self.close(PeerId(peer));
        }
        let until_us = self.now_us + 30_000_000;
        while !self.not_idle().is_empty() {
            let not_idle = self.not_idle();
            assert!(self.now_us < until_us, "still in use: {not_idle:?}");
            self.pass(until_us);
        }
        assert_eq!(
            self.simulator.agent().driver().in_flight(),
            0,
            "commands that belong to nobody"
        );
    }
}

/// The digest that Load announces.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
