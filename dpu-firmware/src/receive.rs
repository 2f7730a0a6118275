//! Bytes from the network become requests: hello, frame heads, payloads.
//!
//! Heads are parsed in place in the receive buffer; payloads go from it straight to where
//! they belong. At most a fixed number of frames is read in a turn, so a flood on one
//! connection is other connections' next turn, not their wait.

use nvme_model::seam::{Device, PAGE_BYTES};
use protocol::checksum::Checksum;
use protocol::hello::{HELLO_MAGIC, VERSION, may_begin_hello};
use protocol::{
    AgentHello, ClientHello, ErrorBody, Features, Flags, FrameError, HELLO_BYTES, Head, Header,
    Kind, RequestId, Status, parse_frame_head,
};

use crate::agent::Agent;
use crate::board::Board;
use crate::limits::{FRAMES_PER_TURN, FRAMES_PER_VISIT, MAP_BYTES_PER_TURN};
use crate::net::PacketDevice;
use crate::request::{Answer, Event, RequestIndex, State, Work};
use crate::session::{CREDIT_BYTES, ConnectionIndex, Incoming, Phase, Sink, payload_cost_bytes};
use crate::tenant::Begun;

/// Versions of the protocol that this agent speaks.
const VERSIONS: core::ops::RangeInclusive<u16> = VERSION..=VERSION;

/// Features that it offers.
const FEATURES: Features = Features::PAYLOAD_CRC;

/// A message body, copied out of the receive buffer.
type Body = heapless::Vec<u8, { protocol::limits::BODY_BYTES_MAX }>;

/// How serving one connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Served {
    /// There may be more.
    More,
    /// Nothing to do until more arrives.
    Starved,
}

impl<D: Device, N: PacketDevice, B: Board> Agent<D, N, B> {
    /// Reads what connections sent, a bounded number of frames.
    pub(crate) fn receive(&mut self) {
        if !self.is_ready() {
            return;
        }
        let mut frames = FRAMES_PER_TURN;
        // Each visit reads a frame or takes a connection out of the ring, mostly.
        for _ in 0..self.readable.len() + FRAMES_PER_TURN {
            if frames == 0 || self.maps_laid_out >= MAP_BYTES_PER_TURN {
                return;
            }
            let Some(slot) = self.readable.pop() else {
                return;
            };
            frames -= self.visit(ConnectionIndex(slot), frames.min(FRAMES_PER_VISIT));
        }
    }

    /// Reads at most `frames` frames of one connection, which stands in the ring again where
    /// there may be more; how many were read.
    fn visit(&mut self, index: ConnectionIndex, frames: usize) -> usize {
        for served in 0..frames {
            if self.maps_laid_out >= MAP_BYTES_PER_TURN {
                self.readable.push(index.0);
                return frames;
            }
            if self.serve(index) == Served::Starved {
                self.finish_if_done(index);
                return served;
            }
            self.finish_if_done(index);
        }
        self.readable.push(index.0);
        frames
    }

    fn serve(&mut self, index: ConnectionIndex) -> Served {
        match self.connections[index].phase {
            Phase::Free | Phase::Lost => Served::Starved,
            Phase::Hello { .. } => self.receive_hello(index),
            Phase::Closing => self.discard_all(index),
            Phase::Open | Phase::Finishing => {
                if self.connections[index].incoming.is_some() {
                    self.receive_payload(index)
                } else {
                    self.receive_head(index)
                }
            }
        }
    }

    fn discard_all(&mut self, index: ConnectionIndex) -> Served {
        let Some(net) = self.connections[index].net else {
            return Served::Starved;
        };
        let bytes = self.net.received(net).len();
        self.net.consume(net, bytes);
        if bytes > 0 {
            Served::More
        } else {
            Served::Starved
        }
    }

    fn receive_hello(&mut self, index: ConnectionIndex) -> Served {
        let Some(net) = self.connections[index].net else {
            return Served::Starved;
        };
        let mut bytes = [0; HELLO_BYTES];
        let count = self.net.peek(net, &mut bytes);
        if !may_begin_hello(&bytes[..count.min(HELLO_MAGIC.len())]) {
            self.refuse_hello(index, Status::HelloExpected);
            return Served::More;
        }
        if count < HELLO_BYTES {
            return Served::Starved;
        }
        self.net.consume(net, HELLO_BYTES);
        let hello = match ClientHello::parse(&bytes) {
            Ok(hello) => hello,
            Err(error) => {
                self.refuse_hello(index, error.status());
                return Served::More;
            }
        };
        let Some(version) = hello.common_version(*VERSIONS.start(), *VERSIONS.end()) else {
            self.refuse_hello(index, Status::VersionMismatch);
            return Served::More;
        };
        let connection = &mut self.connections[index];
        connection.phase = Phase::Open;
        connection.features = hello.features.and(FEATURES);
        let welcome = AgentHello {
            status: Status::Ok,
            version,
            credits: connection.allowance,
            features: connection.features,
            credit_bytes: CREDIT_BYTES,
            io_bytes_max: self.io_bytes_max(),
            frame_payload_max: protocol::limits::FRAME_PAYLOAD_BYTES_MAX,
            drive_epoch: self.drive_epoch(),
        };
        // The first bytes of a connection always fit its empty send buffer.
        self.net.send(net, &welcome.encode());
        Served::More
    }

    /// Tells a client in place of a hello why it gets none.
    pub(crate) fn refuse_hello(&mut self, index: ConnectionIndex, status: Status) {
        self.counters.connections_refused += u64::from(status != Status::ShuttingDown);
        let connection = &mut self.connections[index];
        connection.phase = Phase::Closing;
        connection.notice = None;
        if let Some(net) = connection.net {
            self.net.send(net, &AgentHello::refusal(status).encode());
        }
        self.replying.push(index.0);
        self.readable.push(index.0);
    }

    /// The most bytes that one Read may ask for on this drive.
    pub(crate) fn io_bytes_max(&self) -> u32 {
        let drive = self
            .driver
            .controller()
            .map_or(u32::MAX, |it| it.transfer_bytes_max);
        drive.min(protocol::limits::IO_BYTES_MAX)
    }

    fn receive_head(&mut self, index: ConnectionIndex) -> Served {
        let Some(net) = self.connections[index].net else {
            return Served::Starved;
        };
        // A head that wraps round the end of the receive buffer is the rare case: it is
        // gathered into a buffer of the agent's.
        let mut bytes = self.net.received(net);
        let mut parsed = parse_frame_head(bytes);
        if let Ok(Head::Incomplete { need }) = parsed {
            if bytes.len() >= need || bytes.is_empty() {
                return Served::Starved;
            }
            let count = self.net.peek(net, &mut self.head[..]);
            bytes = &self.head[..count];
            parsed = parse_frame_head(bytes);
        }
        match parsed {
            Err(error) => {
                self.close_with(index, error.status(), RequestId::NONE);
                Served::More
            }
            Ok(Head::Incomplete { .. }) => Served::Starved,
            Ok(Head::Complete { header, body }) => {
                // The body is read while other parts of the agent change: it is small, so it
                // is copied out of the receive buffer first.
                let Ok(copy) = Body::from_slice(body) else {
                    return Served::Starved;
                };
                self.net.consume(net, protocol::HEADER_BYTES + copy.len());
                self.counters.frames_received += 1;
                self.frame(index, &header, &copy);
                Served::More
            }
        }
    }

    /// A frame's head arrived.
    fn frame(&mut self, index: ConnectionIndex, header: &Header, body: &[u8]) {
        if let Err(status) = self.check_rules(index, header) {
            self.close_with(index, status, header.request);
            return;
        }
        self.connections[index].last_id = header.request;
        if header.kind == Kind::Cancel {
            self.cancel(index, body);
            return;
        }
        let Some(request) = self.requests.take(index, header.request, header.kind) else {
            // Cannot be for a client that kept its credits.
            self.close_with(index, Status::OverCredit, header.request);
            return;
        };
        self.counters.requests += 1;
        self.connections.adopt(&mut self.requests, request);
        let cost = payload_cost_bytes(header.payload_bytes);
        self.connections[index].payload_cost += cost;
        self.requests[request].payload_cost = cost;
        let checks_all = self.connections[index]
            .features
            .contains(Features::PAYLOAD_CRC);
        self.requests[request].payload_crc =
            checks_all || header.flags.contains(Flags::PAYLOAD_CRC);
        let sink = match self.begin(index, request, header, body) {
            Ok(Begun::Answer(answer)) => {
                self.answer(request, Status::Ok, answer);
                Sink::Discard
            }
            Ok(Begun::Work(work)) => {
                self.requests[request].work = work;
                Sink::Request(request)
            }
            Ok(Begun::Piece { upload, last }) => {
                self.requests[request].work = Work::Piece { last };
                Sink::Upload(upload, request)
            }
            Err(refused) => {
                let (status, error) = refused.told();
                self.refuse(request, status, error);
                Sink::Discard
            }
        };
        let checksum = header
            .flags
            .contains(Flags::PAYLOAD_CRC)
            .then(|| (Checksum::new(), header.payload_crc));
        let left_bytes = header.payload_bytes;
        let incoming = Incoming {
            sink,
            received_bytes: 0,
            left_bytes,
            checksum,
        };
        if left_bytes > 0 {
            self.connections[index].incoming = Some(incoming);
        } else {
            self.payload_complete(index, incoming);
        }
    }

    /// The rules whose breach ends the connection.
    fn check_rules(&self, index: ConnectionIndex, header: &Header) -> Result<(), Status> {
        let connection = &self.connections[index];
        header.check_request().map_err(FrameError::status)?;
        // Kind 0 cannot be answered: its reply would be a notice that the connection ends.
        if header.kind.reply() == Kind::Notice {
            return Err(Status::BadFlags);
        }
        if header.request <= connection.last_id {
            return Err(Status::IdNotRising);
        }
        if header.kind == Kind::Cancel {
            return if header.payload_bytes == 0 {
                Ok(())
            } else {
                Err(Status::BadFlags)
            };
        }
        let cost = connection.payload_cost + payload_cost_bytes(header.payload_bytes);
        if connection.outstanding >= connection.allowance || cost > CREDIT_BYTES {
            return Err(Status::OverCredit);
        }
        Ok(())
    }

    fn receive_payload(&mut self, index: ConnectionIndex) -> Served {
        let Some(mut incoming) = self.connections[index].incoming.take() else {
            return Served::Starved;
        };
        let Some(net) = self.connections[index].net else {
            return Served::Starved;
        };
        while incoming.left_bytes > 0 {
            let bytes = self.net.received(net);
            if bytes.is_empty() {
                self.connections[index].incoming = Some(incoming);
                return Served::Starved;
            }
            let count = bytes.len().min(incoming.left_bytes as usize);
            let bytes = &bytes[..count];
            if let Some((checksum, _)) = &mut incoming.checksum {
                checksum.update(bytes);
            }
            match incoming.sink {
                Sink::Discard => {}
                Sink::Upload(upload, _) => {
                    self.programs.append(upload, bytes, self.now_us);
                }
                Sink::Request(request) => {
                    let request = &mut self.requests[request];
                    let at = incoming.received_bytes as usize;
                    if request.pages.is_empty() {
                        request.inline[at..at + count].copy_from_slice(bytes);
                    } else {
                        let dma = self.driver.device_mut().dma_mut();
                        fill_pages(&mut request.pages, at, bytes, dma);
                    }
                }
            }
            self.net.consume(net, count);
            incoming.received_bytes += count as u32;
            incoming.left_bytes -= count as u32;
        }
        self.payload_complete(index, incoming);
        Served::More
    }

    /// A frame is here whole: its request goes where its work is done.
    fn payload_complete(&mut self, index: ConnectionIndex, incoming: Incoming) {
        if let Some((checksum, expected)) = incoming.checksum.clone()
            && checksum.finish() != expected
        {
            let id = match incoming.sink {
                Sink::Request(request) | Sink::Upload(_, request) => self.requests[request].id,
                Sink::Discard => RequestId::NONE,
            };
            // Its request is given up with the connection, as one cut short would be.
            self.connections[index].incoming = Some(incoming);
            self.close_with(index, Status::BadPayloadCrc, id);
            return;
        }
        match incoming.sink {
            Sink::Discard => {}
            Sink::Upload(upload, request) => {
                if let Work::Piece { last: true } = self.requests[request].work {
                    self.requests.advance(request, Event::Digests);
                    self.programs.complete(upload, request);
                } else {
                    let reply = protocol::message::LoadReply {
                        program: None,
                        proof: None,
                    };
                    self.answer(request, Status::Ok, Answer::Load(reply));
                }
            }
            Sink::Request(request) => self.received(index, request, incoming.received_bytes),
        }
    }

    fn received(&mut self, index: ConnectionIndex, request: RequestIndex, payload_bytes: u32) {
        if self.requests[request].cancelled {
            self.refuse(request, Status::Cancelled, ErrorBody::None);
            return;
        }
        match &mut self.requests[request].work {
            Work::Read(_) | Work::Write(_) => self.queue_for_drive(request),
            Work::Flush(namespace) => {
                let namespace = *namespace;
                self.requests.advance(request, Event::Flushes);
                self.flushes.join(namespace, &mut self.requests, request);
            }
            Work::Call { args_bytes, .. } => {
                *args_bytes = payload_bytes;
                self.requests.advance(request, Event::NeedsInvocation);
                self.connections[index]
                    .calls
                    .push(&mut self.requests, request);
                self.wants_invocation.push(index.0);
                self.released = true;
            }
            Work::Local | Work::Piece { .. } => {
                debug_assert!(false, "answered when it arrived");
            }
        }
    }

    /// Puts a request into its connection's queue for the drive.
    pub(crate) fn queue_for_drive(&mut self, request: RequestIndex) {
        self.requests.advance(request, Event::NeedsDrive);
        let index = self.requests[request].connection;
        self.connections[index]
            .drive
            .push(&mut self.requests, request);
        self.wants_drive.push(index.0);
    }

    /// A client does not want an answer any more. What is at the drive, waits for a flush or is
    /// being hashed still ends first; what waits for memory, a command slot or a slice ends at once.
    fn cancel(&mut self, index: ConnectionIndex, body: &[u8]) {
        let Ok(cancel) = protocol::decode_body::<protocol::message::CancelRequest>(body) else {
            self.counters.cancels_unknown += 1;
            return;
        };
        let mut at = self.connections[index].first;
        while let Some(request) = at {
            if self.requests[request].id.0 == cancel.request {
                self.counters.cancels += 1;
                self.cancel_request(request);
                return;
            }
            at = self.requests[request].sibling_after;
        }
        self.counters.cancels_unknown += 1;
    }

    /// Marks a request cancelled, and answers it at once where it waits holding nothing that
    /// is in use.
    pub(crate) fn cancel_request(&mut self, request: RequestIndex) {
        let slot = &mut self.requests[request];
        slot.cancelled = true;
        let connection = &mut self.connections[slot.connection];
        let waits = match slot.state {
            State::WantsDrive => {
                let out = slot
                    .invocation()
                    .is_some_and(|it| self.invocations[it].is_out());
                !out && connection.drive.remove(&mut self.requests, request)
            }
            State::WantsInvocation => connection.calls.remove(&mut self.requests, request),
            State::Runnable => connection.runnable.remove(&mut self.requests, request),
            State::Free
            | State::Receiving
            | State::AtDrive
            | State::Flushing
            | State::Digesting
            | State::Replying => false,
        };
        if waits {
            self.refuse(request, Status::Cancelled, ErrorBody::None);
        }
    }
}

/// Writes bytes into pages, from byte `at` of them on.
fn fill_pages(
    pages: &mut nvme_model::memory::PageList,
    mut at: usize,
    mut bytes: &[u8],
    dma: &mut impl nvme_model::seam::Dma,
) {
    while !bytes.is_empty() {
        let Some(page) = pages.get_mut(at / PAGE_BYTES) else {
            return;
        };
        let within = at % PAGE_BYTES;
        let count = bytes.len().min(PAGE_BYTES - within);
        let (now, later) = bytes.split_at(count);
        page.bytes_mut(dma)[within..within + count].copy_from_slice(now);
        at += count;
        bytes = later;
    }
}
