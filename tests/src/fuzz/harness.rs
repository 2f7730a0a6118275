//! Plays a script and checks what the agent must keep to whatever the script does.

use std::collections::BTreeMap;

use dpu_firmware::net::ConnectionId;
use nvme_model::driver::DriverState;
use nvme_model::model::{
    CachedStore, Commands, Fault, MemoryStore, ModelConfig, NamespaceConfig, When,
};
use nvme_model::spec::StatusCode;
use protocol::message::{
    FlushRequest, InfoRequest, LoadPieceRequest, LoadRequest, OpenReply, OpenRequest, ReadRequest,
    WriteRequest,
};
use protocol::{
    AgentHello, ClientHello, Features, Flags, HELLO_BYTES, Head, Header, Kind, RequestId, Status,
    checksum::crc32c, encode_body, parse_frame_head,
};
use sha2::{Digest, Sha256};

use super::script::{CONNECTIONS, Frame, Operation, PAUSES_US, fault, flags};
use crate::faults_support::{Ended, Peer, TINY, World};

/// Bytes of a block of the first namespace.
const BLOCK_BYTES: u32 = 512;

/// Operations played of a script: the rest adds nothing but time.
const OPERATIONS_MAX: usize = 256;

/// Passes at one instant while a script runs. A program that computes is left to it.
const PASSES_MAX: u32 = 120;

/// Passes at one instant with nobody left: what runs ends at once, all else is bounded by the
/// pools.
const LAST_PASSES_MAX: u32 = 2_000;

/// How long the slowest recovery of the drive takes, and what is counted on after it.
const RECOVERY_US: u64 = 180_000_000;

/// Within this time an idle driver looks at its controller, and sees what became of it.
const FINDING_US: u64 = 2_000_000;

/// One connection of a script.
#[derive(Default)]
struct Line {
    id: Option<ConnectionId>,
    out: Vec<u8>,
    sent: usize,
    finish: bool,
    deaf: bool,
    greeted: bool,
    /// Only whole frames were sent on it, so every one of them counts.
    orderly: bool,
    last_id: u64,
    /// Requests by id, and whether they were answered.
    requests: BTreeMap<u64, bool>,
    received: Vec<u8>,
    welcomed: bool,
    noticed: bool,
    was_up: bool,
}

/// A script's machine.
pub(super) struct Harness {
    world: World,
    lines: [Line; CONNECTIONS as usize],
    good: Peer,
}

impl Harness {
    /// The machine that scripts are played to.
    pub(super) fn machine() -> World {
        let first = CachedStore::new(MemoryStore::new(256 * 512), BLOCK_BYTES);
        let second = MemoryStore::new(64 * 4096);
        let model = ModelConfig {
            namespaces: vec![
                NamespaceConfig::new(first, BLOCK_BYTES),
                NamespaceConfig::new(second, 4096),
            ],
            queues: 1,
            ..ModelConfig::default()
        };
        World::new(model, TINY, 1)
    }

    pub(super) fn new() -> Harness {
        let mut world = Harness::machine();
        let good = world.connect();
        Harness {
            world,
            lines: Default::default(),
            good,
        }
    }

    pub(super) fn play(mut self, mut script: &[u8]) {
        for _ in 0..OPERATIONS_MAX {
            let Some(operation) = Operation::decode(&mut script) else {
                break;
            };
            self.operation(operation);
        }
        self.end();
    }

    fn operation(&mut self, operation: Operation<'_>) {
        match operation {
            Operation::Bytes { connection, .. }
            | Operation::Frame(Frame { connection, .. })
            | Operation::Hello { connection, .. }
            | Operation::Upload { connection, .. } => self.dialed(connection).say(&operation),
            Operation::Pause(pause) => {
                let until_us = self.world.now_us + PAUSES_US[usize::from(pause)];
                self.run(PASSES_MAX, until_us, |_| false);
            }
            Operation::Dial(connection) => {
                self.reset(connection);
                self.dialed(connection);
            }
            Operation::Finish(connection) => self.lines[usize::from(connection)].finish = true,
            Operation::Reset(connection) => self.reset(connection),
            Operation::Fault { kind, at } => self.fault(kind, at),
            Operation::Reading { connection, on } => {
                self.lines[usize::from(connection)].deaf = !on;
            }
            Operation::Turns(turns) => {
                for _ in 0..turns {
                    self.world.pass();
                    self.pump();
                }
            }
        }
    }

    /// The connection of that number, opened where there is none.
    fn dialed(&mut self, connection: u8) -> &mut Line {
        let line = &mut self.lines[usize::from(connection)];
        if line.id.is_none() {
            *line = Line {
                id: Some(self.world.dial()),
                orderly: true,
                ..Line::default()
            };
        }
        line
    }

    fn reset(&mut self, connection: u8) {
        let line = core::mem::take(&mut self.lines[usize::from(connection)]);
        if let Some(id) = line.id {
            self.world.far.abort(id);
            // Until the RST is out, the stack has no slot for another connection.
            self.world.pass();
        }
    }

    fn fault(&mut self, kind: u8, at: u8) {
        let now_us = self.world.now_us;
        let drive = self.world.agent.device_mut();
        let struck = match kind {
            fault::DROP => Fault::Drop,
            fault::HANG => Fault::Hang,
            fault::DELAY => Fault::Delay(u64::from(at) * 50_000),
            fault::STATUS => Fault::Status(StatusCode::UNRECOVERED_READ_ERROR.into()),
            fault::DUPLICATE => Fault::DuplicateCompletion,
            fault::STALE => Fault::StaleCompletion,
            fault::FORGED => Fault::ForgedCompletion,
            fault::WRONG_ID => Fault::WrongCommandId(1 << (at & 15)),
            fault::FATAL => Fault::Fatal,
            fault::GONE => Fault::Gone,
            fault::STUCK => {
                drive.faults_mut().stuck_ready = true;
                return;
            }
            fault::POWER => return drive.power_cut(at.into(), now_us),
            _ => return drive.faults_mut().clear(),
        };
        let commands = if at & 0x80 == 0 {
            Commands::Io
        } else {
            Commands::Any
        };
        let when = When::Nth(1 + u64::from(at & 7));
        drive.faults_mut().add(commands, when, struck);
    }

    /// Carries bytes of all connections. Whether any moved.
    fn pump(&mut self) -> bool {
        let mut moved = self.good.pump(&mut self.world);
        for line in &mut self.lines {
            moved |= line.pump(&mut self.world);
        }
        moved
    }

    fn run(&mut self, passes: u32, until_us: u64, done: impl Fn(&Harness) -> bool) -> Ended {
        // The machine lends itself to whoever watches it, so it is run pass by pass here.
        let mut quiet = 0;
        let mut spins = 0;
        loop {
            let (moved, due) = self.world.pass();
            let pumped = self.pump();
            if done(self) {
                return Ended::Done;
            }
            spins += 1;
            if spins >= passes {
                return Ended::Spinning;
            }
            quiet = if moved || pumped { 0 } else { quiet + 1 };
            if quiet < 3 {
                continue;
            }
            if self.world.now_us >= until_us {
                return Ended::Late;
            }
            let next_us = due.unwrap_or(until_us).min(until_us);
            if next_us > self.world.now_us {
                self.world.now_us = next_us;
                spins = 0;
            }
            quiet = 0;
        }
    }

    /// After the script: everybody is heard out, then all but the good client go.
    fn end(mut self) {
        for line in &mut self.lines {
            line.deaf = false;
        }
        let until_us = self.world.now_us + RECOVERY_US;
        let idle = |harness: &Harness| {
            harness.world.used("requests") == 0 && harness.lines.iter().all(Line::is_served)
        };
        let ended = self.run(PASSES_MAX, until_us, idle);
        if ended != Ended::Spinning {
            for (number, line) in self.lines.iter().enumerate() {
                assert!(
                    line.is_served(),
                    "connection {number}: {}",
                    line.unanswered()
                );
            }
        }
        for connection in 0..CONNECTIONS {
            self.reset(connection);
        }
        self.world.agent.device_mut().faults_mut().clear();
        let until_us = self.world.now_us + RECOVERY_US;
        let only_good = |harness: &Harness| harness.world.held() == [("connections", 1)];
        let ended = self.run(LAST_PASSES_MAX, until_us, only_good);
        let held = self.world.held();
        assert_eq!(
            ended,
            Ended::Done,
            "after all clients are gone: {held:?} held"
        );
        assert_eq!(self.world.agent.device_mut().dma_violations(), 0);
        self.good_client();
    }

    /// A client that was there all the time, and a new one, get right answers.
    fn good_client(mut self) {
        // A script may end on a fault that an idle driver has yet to find; that may be one reset
        // too many.
        let found_us = self.world.now_us + FINDING_US;
        let ended = self.run(LAST_PASSES_MAX, found_us, |_| false);
        assert_eq!(ended, Ended::Late, "the agent does not come to rest");
        let until_us = self.world.now_us + RECOVERY_US;
        let decided = |harness: &Harness| {
            let state = harness.world.drive_state();
            matches!(state, DriverState::Running | DriverState::Failed(_))
        };
        let ended = self.run(LAST_PASSES_MAX, until_us, decided);
        assert_eq!(
            ended,
            Ended::Done,
            "the drive is {:?}",
            self.world.drive_state()
        );
        let world = &mut self.world;
        let mut newer = world.connect();
        for peer in [&mut self.good, &mut newer] {
            peer.must(world, &InfoRequest {}, &[]);
            let open = OpenRequest {
                namespace: 1,
                offset: 0,
                length: None,
            };
            let opened = peer.ask(world, &open, &[]);
            if matches!(world.drive_state(), DriverState::Failed(_)) {
                serve_failed(world, peer, &opened);
                continue;
            }
            assert_eq!(opened.status, Status::Ok);
            let object = opened
                .decode::<OpenRequest>()
                .expect("a reply to open")
                .object;
            let data: Vec<u8> = (0..BLOCK_BYTES).map(|at| (at * 7) as u8).collect();
            let offset = 9 * u64::from(BLOCK_BYTES);
            peer.must(world, &WriteRequest { object, offset }, &data);
            peer.must(world, &FlushRequest { object }, &[]);
            let read = ReadRequest {
                object,
                offset,
                length: BLOCK_BYTES,
            };
            assert_eq!(peer.must(world, &read, &[]).payload, data);
        }
    }
}

/// With a drive that has failed every request is told so.
fn serve_failed(world: &mut World, peer: &mut Peer, opened: &client::session::Reply) {
    if opened.status != Status::Ok {
        assert_eq!(opened.status, Status::DriveFailed);
        return;
    }
    let OpenReply { object, .. } = opened.decode::<OpenRequest>().expect("a reply to open");
    let read = ReadRequest {
        object,
        offset: 0,
        length: BLOCK_BYTES,
    };
    assert_eq!(peer.ask(world, &read, &[]).status, Status::DriveFailed);
    let flushed = peer.ask(world, &FlushRequest { object }, &[]);
    assert_eq!(flushed.status, Status::DriveFailed);
}

/// What a script sends on each connection, in all. Pauses, ends and faults are left out.
pub(super) fn bytes_sent(mut script: &[u8]) -> [Vec<u8>; CONNECTIONS as usize] {
    let mut lines: [Line; CONNECTIONS as usize] = Default::default();
    for _ in 0..OPERATIONS_MAX {
        match Operation::decode(&mut script) {
            Some(
                operation @ (Operation::Bytes { connection, .. }
                | Operation::Frame(Frame { connection, .. })
                | Operation::Hello { connection, .. }
                | Operation::Upload { connection, .. }),
            ) => lines[usize::from(connection)].say(&operation),
            Some(_) => {}
            None => break,
        }
    }
    lines.map(|line| line.out)
}

impl Line {
    /// Queues what an operation sends.
    fn say(&mut self, operation: &Operation<'_>) {
        match *operation {
            Operation::Bytes { bytes, .. } => {
                self.orderly = false;
                self.out.extend(bytes);
            }
            Operation::Hello { features, .. } => {
                self.orderly &= !self.greeted;
                self.greeted = true;
                let hello = ClientHello::new(Features(features.into()));
                self.out.extend(hello.encode());
            }
            Operation::Frame(frame) => self.frame(&frame),
            Operation::Upload { letter, image, .. } => self.upload(letter, image),
            _ => {}
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        self.greet();
        if frame.flags & flags::PATTERN == 0 {
            self.send(Kind(frame.kind), frame.flags, frame.body, frame.payload);
            return;
        }
        let pattern = (0..frame.payload_bytes).map(|at| at as u8 ^ frame.kind);
        let payload: Vec<u8> = pattern.collect();
        self.send(Kind(frame.kind), frame.flags, frame.body, &payload);
    }

    fn upload(&mut self, letter: u8, image: &[u8]) {
        self.greet();
        let name = [letter];
        let request = LoadRequest {
            name: core::str::from_utf8(&name).expect("a letter"),
            total_bytes: image.len() as u32,
            sha256: Sha256::digest(image).into(),
            strict: false,
        };
        let mut body = [0; 128];
        let length = encode_body(&request, &mut body).expect("it fits");
        self.send(Kind::Load, 0, &body[..length], &[]);
        let piece_bytes = protocol::limits::FRAME_PAYLOAD_BYTES_MAX as usize;
        for (at, piece) in image.chunks(piece_bytes).enumerate() {
            let request = LoadPieceRequest {
                offset: (at * piece_bytes) as u32,
            };
            let length = encode_body(&request, &mut body).expect("it fits");
            self.send(Kind::LoadPiece, flags::CHECKSUM, &body[..length], piece);
        }
    }

    fn greet(&mut self) {
        if !core::mem::replace(&mut self.greeted, true) {
            self.out
                .extend(ClientHello::new(Features::PAYLOAD_CRC).encode());
        }
    }

    fn send(&mut self, kind: Kind, flag_bits: u8, body: &[u8], payload: &[u8]) {
        if self.finish {
            return;
        }
        if flag_bits & flags::SAME_ID == 0 {
            self.last_id += 1;
        }
        let mut header = Header::request(kind, RequestId(self.last_id));
        header.body_bytes = body.len() as u16;
        header.payload_bytes = payload.len() as u32;
        if flag_bits & flags::MORE != 0 {
            header.flags = header.flags.with(Flags::MORE);
        }
        if flag_bits & (flags::CHECKSUM | flags::WRONG_CHECKSUM) != 0 && !payload.is_empty() {
            header.flags = header.flags.with(Flags::PAYLOAD_CRC);
            let wrong = u32::from(flag_bits & flags::WRONG_CHECKSUM != 0);
            header.payload_crc = crc32c(payload) ^ wrong;
        }
        self.out.extend(header.encode());
        self.out.extend(body);
        self.out.extend(payload);
        if kind != Kind::Cancel {
            self.requests.entry(self.last_id).or_insert(false);
        }
    }

    fn pump(&mut self, world: &mut World) -> bool {
        let Some(id) = self.id else { return false };
        let sent = world.far.send(id, &self.out[self.sent..]);
        self.sent += sent;
        let mut moved = sent > 0;
        self.was_up |= world.far.may_send(id);
        if self.finish && self.sent == self.out.len() && world.far.may_send(id) {
            world.far.close(id);
            moved = true;
        }
        while !self.deaf {
            let bytes = world.far.received(id);
            let count = bytes.len();
            if count == 0 {
                break;
            }
            self.received.extend_from_slice(bytes);
            world.far.consume(id, count);
            moved = true;
        }
        let closed = self.was_up && !world.far.may_receive(id);
        self.check_received();
        if closed && world.far.unread(id) == 0 {
            self.noticed = true;
        }
        moved
    }

    /// What the agent sends is a hello and then frames, and each request's last is its last.
    fn check_received(&mut self) {
        let mut at = 0;
        if !self.welcomed {
            let Some(hello) = self.received.first_chunk::<HELLO_BYTES>() else {
                return;
            };
            let hello = AgentHello::parse(hello).expect("an agent's hello");
            self.welcomed = true;
            self.noticed |= hello.status != Status::Ok;
            at = HELLO_BYTES;
        }
        while let Some((header, bytes)) = whole_frame(&self.received[at..]) {
            at += bytes;
            self.reply(&header);
        }
        self.received.drain(..at);
    }

    fn reply(&mut self, header: &Header) {
        assert!(!self.noticed, "a frame after the last word");
        assert!(header.kind.is_reply(), "{:?} from an agent", header.kind);
        if header.kind == Kind::Notice {
            self.noticed = true;
            return;
        }
        if header.more_follows() {
            return;
        }
        let before = self.requests.insert(header.request.0, true);
        assert_ne!(before, Some(true), "{:?} is answered twice", header.request);
        assert!(
            before.is_some() || !self.orderly,
            "{:?} was never asked",
            header.request
        );
    }

    /// Whether everything asked was answered, or the connection is over.
    fn is_served(&self) -> bool {
        self.id.is_none()
            || !self.orderly
            || self.noticed
            || (self.sent == self.out.len() && self.requests.values().all(|answered| *answered))
    }

    fn unanswered(&self) -> String {
        let open: Vec<u64> = self
            .requests
            .iter()
            .filter(|(_, answered)| !**answered)
            .map(|(id, _)| *id)
            .collect();
        format!(
            "{} of {} bytes sent, unanswered {open:?}",
            self.sent,
            self.out.len()
        )
    }
}

/// The first frame, where it is here whole, and its length.
fn whole_frame(bytes: &[u8]) -> Option<(Header, usize)> {
    match parse_frame_head(bytes).expect("a frame from the agent") {
        Head::Complete { header, body } if bytes.len() >= header.frame_bytes() => {
            let payload = &bytes[protocol::HEADER_BYTES + body.len()..header.frame_bytes()];
            header
                .check_payload(payload)
                .expect("a payload from the agent");
            Some((header, header.frame_bytes()))
        }
        _ => None,
    }
}
