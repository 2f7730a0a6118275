//! Answers become bytes: frames in turn, payloads straight from the pages they lie in.
//!
//! A reply's body is encoded when its frame can be sent whole up to the payload, so nothing
//! is buffered between a request's slot and the socket. Replies of one connection take turns
//! frame by frame, and so do connections.

use nvme_model::memory::{PageList, Slab};
use nvme_model::seam::{Device, Dma, PAGE_BYTES};
use protocol::limits::FRAME_PAYLOAD_BYTES_MAX;
use protocol::{EncodeError, ErrorBody, Header, RequestId, Status, encode_head};

use crate::agent::Agent;
use crate::board::Board;
use crate::fmt::debug;
use crate::limits::FRAMES_PER_TURN;
use crate::net::{ConnectionId, PacketDevice};
use crate::request::{Answer, Event, Request, RequestIndex, State, Work};
use crate::session::{ConnectionIndex, Outgoing, Phase, Sink};

/// Bytes of the longest frame head.
pub const HEAD_BYTES: usize = protocol::limits::FRAME_HEAD_BYTES_MAX;

/// Payload bytes of a frame that carries a checksum: what is summed in one go.
const CHECKED_PAYLOAD_BYTES_MAX: u32 = PAGE_BYTES as u32;

/// How sending on one connection went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// A frame is out; there may be more.
    Frame,
    /// Nothing more can be done until the client reads, or closes.
    Blocked,
    /// Nothing waits.
    Nothing,
}

impl<D: Device, N: PacketDevice, B: Board> Agent<D, N, B> {
    /// A request's answer is known.
    pub(crate) fn answer(&mut self, request: RequestIndex, status: Status, answer: Answer) {
        self.requests.advance(request, Event::Answered);
        let slot = &mut self.requests[request];
        slot.status = status;
        slot.answer = answer;
        let index = slot.connection;
        let connection = &mut self.connections[index];
        if connection.is_reachable() {
            connection.replies.push(&mut self.requests, request);
            self.replying.push(index.0);
        } else {
            self.release(request);
        }
    }

    /// Answers a request with an error; what it held is given back.
    pub(crate) fn refuse(&mut self, request: RequestIndex, status: Status, body: ErrorBody) {
        self.counters.refusals += u64::from(status != Status::Cancelled);
        self.free_pages(request);
        self.end_call(request);
        self.answer(request, status, Answer::Error(body));
    }

    /// Gives a request's pages back to where they came from.
    pub(crate) fn free_pages(&mut self, request: RequestIndex) {
        let slot = &mut self.requests[request];
        if slot.pages.is_empty() {
            return;
        }
        let pages = core::mem::take(&mut slot.pages);
        if matches!(slot.work, Work::Read(_)) {
            let index = slot.connection;
            self.give_read_pages(index, pages.len());
        } else {
            self.payload_pages_used -= pages.len();
        }
        self.pages.give(pages);
    }

    /// A request is done with, its answer sent or of no use any more.
    pub(crate) fn release(&mut self, request: RequestIndex) {
        self.free_pages(request);
        self.end_call(request);
        let index = self.requests[request].connection;
        if let Some(reply) = self.requests[request].reply.take() {
            self.give_slab(index, reply);
        }
        self.requests.advance(request, Event::Done);
        self.connections.disown(&mut self.requests, request);
        self.requests.give(request);
        if self.connections[index].outstanding == 0 {
            self.all_answered(index);
        }
    }

    /// Sends replies, a bounded number of frames, connections in turn.
    pub(crate) fn send_replies(&mut self) {
        let mut frames = FRAMES_PER_TURN;
        while frames > 0 {
            let Some(slot) = self.replying.pop() else {
                return;
            };
            let index = ConnectionIndex(slot);
            match self.send_next(index) {
                Sent::Frame => {
                    frames -= 1;
                    self.connections[index].stalled_since_us = None;
                    self.replying.push(slot);
                }
                Sent::Blocked => {
                    let now_us = self.now_us;
                    self.connections[index]
                        .stalled_since_us
                        .get_or_insert(now_us);
                }
                Sent::Nothing => self.connections[index].stalled_since_us = None,
            }
        }
    }

    fn send_next(&mut self, index: ConnectionIndex) -> Sent {
        let Some(net) = self.connections[index].net else {
            return Sent::Nothing;
        };
        if let Some(outgoing) = self.connections[index].outgoing {
            return self.send_payload(index, net, outgoing);
        }
        let Some(request) = self.connections[index].replies.front() else {
            return self.send_notice(index, net);
        };
        let Some((bytes, frame)) = self.encode(index, request) else {
            return Sent::Nothing;
        };
        if self.net.send_free(net) < bytes {
            self.net.send_when_free(net);
            return Sent::Blocked;
        }
        self.net.send(net, &self.head[..bytes]);
        self.counters.frames_sent += 1;
        self.connections[index].replies.pop(&mut self.requests);
        let outgoing = Outgoing {
            request,
            frame_left_bytes: frame,
        };
        self.connections[index].outgoing = Some(outgoing);
        self.send_payload(index, net, outgoing)
    }

    /// Encodes the next frame's head of a reply into the agent's head buffer: its length,
    /// and the payload bytes that follow it.
    fn encode(&mut self, index: ConnectionIndex, request: RequestIndex) -> Option<(usize, u32)> {
        let slot = &self.requests[request];
        let bound = if slot.payload_crc {
            CHECKED_PAYLOAD_BYTES_MAX
        } else {
            FRAME_PAYLOAD_BYTES_MAX
        };
        let mut frame = slot.payload_left.min(bound);
        if slot.payload_crc {
            // What one checksum covers lies in one page.
            let within = slot.payload_offset % CHECKED_PAYLOAD_BYTES_MAX;
            frame = frame.min(CHECKED_PAYLOAD_BYTES_MAX - within);
        }
        if frame < slot.payload_left {
            let mut header = Header::more(slot.kind, slot.id, frame);
            self.add_checksum(request, &mut header, frame);
            self.head[..protocol::HEADER_BYTES].copy_from_slice(&header.encode());
            return Some((protocol::HEADER_BYTES, frame));
        }
        // Credits are granted once, when the last head is first encoded; a head that did not
        // fit keeps what it was granted.
        let credits = match self.requests[request].granted {
            Some(credits) => credits,
            None => {
                let credits = self.connections.grant(index);
                self.requests[request].granted = Some(credits);
                credits
            }
        };
        let slot = &self.requests[request];
        let mut header = Header::reply(slot.kind, slot.id, slot.status, credits);
        header.payload_bytes = frame;
        self.add_checksum(request, &mut header, frame);
        let encoded = self.encode_answer(request, &mut header).or_else(|_| {
            // A body beyond the limit cannot be: lists are bounded. If it is, say so.
            header.status = Status::TooLarge;
            encode_head(&mut header, &ErrorBody::None, &mut self.head[..])
        });
        encoded.ok().map(|bytes| (bytes, frame))
    }

    fn add_checksum(&self, request: RequestIndex, header: &mut Header, frame: u32) {
        let slot = &self.requests[request];
        if !slot.payload_crc || frame == 0 {
            return;
        }
        let dma = self.driver.device().dma();
        let chunk = payload_chunk(slot, dma).unwrap_or(&[]);
        if let Some(payload) = chunk.get(..frame as usize) {
            header.set_payload_with_crc(payload);
        }
    }

    fn encode_answer(
        &mut self,
        request: RequestIndex,
        header: &mut Header,
    ) -> Result<usize, EncodeError> {
        let slot = &self.requests[request];
        let out = &mut self.head[..];
        match &slot.answer {
            Answer::Empty => encode_head(header, &protocol::message::Empty {}, out),
            Answer::Error(body) => encode_head(header, body, out),
            Answer::Open(body) => encode_head(header, body, out),
            Answer::Write(body) => encode_head(header, body, out),
            Answer::Flush(body) => encode_head(header, body, out),
            Answer::Load(body) => encode_head(header, body, out),
            Answer::Attach(body) => encode_head(header, body, out),
            Answer::Call(body) => encode_head(header, body, out),
            Answer::Stats => self.encode_stats(header),
            Answer::Info => self.encode_info(header),
            Answer::Programs { after } => {
                let after = *after;
                self.encode_programs(header, after)
            }
            Answer::Maps(asked) => {
                let (asked, owner) = (*asked, slot.connection);
                self.encode_maps(header, owner, asked)
            }
        }
    }

    /// Sends what fits of a frame's payload; when the frame is whole, its request goes to
    /// the end of the queue or is done.
    fn send_payload(
        &mut self,
        index: ConnectionIndex,
        net: ConnectionId,
        mut outgoing: Outgoing,
    ) -> Sent {
        let request = outgoing.request;
        while outgoing.frame_left_bytes > 0 {
            let slot = &mut self.requests[request];
            let dma = self.driver.device().dma();
            let Some(chunk) = payload_chunk(slot, dma) else {
                break;
            };
            let bytes = chunk.len().min(outgoing.frame_left_bytes as usize);
            let sent = self.net.send(net, &chunk[..bytes]);
            slot.payload_offset += sent as u32;
            slot.payload_left -= sent as u32;
            outgoing.frame_left_bytes -= sent as u32;
            if sent > 0 {
                self.connections[index].stalled_since_us = None;
            }
            if sent < bytes {
                self.connections[index].outgoing = Some(outgoing);
                self.net.send_when_free(net);
                return Sent::Blocked;
            }
        }
        self.connections[index].outgoing = None;
        if self.requests[request].granted.is_some() {
            self.counters.replies += 1;
            self.release(request);
        } else {
            self.connections[index]
                .replies
                .push(&mut self.requests, request);
        }
        Sent::Frame
    }

    /// With all replies out: the last word of a connection that is being closed.
    fn send_notice(&mut self, index: ConnectionIndex, net: ConnectionId) -> Sent {
        let connection = &mut self.connections[index];
        if connection.phase != Phase::Closing || connection.outstanding > 0 {
            return Sent::Nothing;
        }
        if let Some((status, id)) = connection.notice {
            let head = Header::notice(status, id).encode();
            if self.net.send_free(net) < head.len() {
                self.net.send_when_free(net);
                return Sent::Blocked;
            }
            self.net.send(net, &head);
            connection.notice = None;
        }
        self.net.close(net);
        // The client closes too, or is reset as one that does not read.
        Sent::Blocked
    }

    /// Nothing of a connection is in flight: it may be closed, or forgotten.
    fn all_answered(&mut self, index: ConnectionIndex) {
        match self.connections[index].phase {
            Phase::Lost => self.forget(index),
            Phase::Closing => self.replying.push(index.0),
            // Reading finds that nothing is left, and closes.
            Phase::Finishing => self.readable.push(index.0),
            Phase::Free | Phase::Hello { .. } | Phase::Open => {}
        }
    }

    /// The client sent FIN: nothing more comes, what came is answered.
    pub(crate) fn half_closed(&mut self, index: ConnectionIndex) {
        let connection = &mut self.connections[index];
        match connection.phase {
            Phase::Open => connection.phase = Phase::Finishing,
            Phase::Hello { .. } => connection.phase = Phase::Closing,
            Phase::Free | Phase::Finishing | Phase::Closing | Phase::Lost => return,
        }
        // What arrived before the FIN is still read, and then the end is looked for again.
        self.readable.push(index.0);
        self.replying.push(index.0);
    }

    /// After everything was read: closes a connection whose client is done and answered.
    pub(crate) fn finish_if_done(&mut self, index: ConnectionIndex) {
        let connection = &mut self.connections[index];
        if connection.phase != Phase::Finishing {
            return;
        }
        let Some(net) = connection.net else { return };
        // A frame that FIN cut short never becomes a request, or never a whole one.
        if let Some(incoming) = connection.incoming.take() {
            self.abandon(incoming.sink);
        }
        // While bytes are unread the network keeps the connection.
        let rest = self.net.unread(net);
        self.net.consume(net, rest);
        if self.connections[index].outstanding == 0 {
            self.net.close(net);
        }
    }

    /// A rule was broken, or the agent goes: what is in flight is cancelled and answered,
    /// then the client is told why, then the connection ends.
    pub(crate) fn close_with(&mut self, index: ConnectionIndex, status: Status, id: RequestId) {
        match self.connections[index].phase {
            Phase::Free | Phase::Lost | Phase::Closing => return,
            Phase::Hello { .. } => return self.refuse_hello(index, status),
            Phase::Open | Phase::Finishing => {}
        }
        self.counters.connections_refused += u64::from(status != Status::ShuttingDown);
        debug!("connection {} is closed, status {:#x}", index.0, status.0);
        let connection = &mut self.connections[index];
        connection.phase = Phase::Closing;
        connection.notice = Some((status, id));
        if status != Status::ShuttingDown {
            self.cancel_all(index);
        }
        if let Some(incoming) = self.connections[index].incoming.take() {
            self.abandon(incoming.sink);
        }
        self.readable.push(index.0);
        self.replying.push(index.0);
    }

    /// The payload that was arriving there will not be complete.
    pub(crate) fn abandon(&mut self, sink: Sink) {
        if let Sink::Request(request) | Sink::Upload(_, request) = sink {
            self.refuse(request, Status::Cancelled, ErrorBody::None);
        }
    }

    fn cancel_all(&mut self, index: ConnectionIndex) {
        let mut at = self.connections[index].first;
        while let Some(request) = at {
            at = self.requests[request].sibling_after;
            self.cancel_request(request);
        }
    }

    /// Ends a connection at once, by RST.
    pub(crate) fn reset(&mut self, index: ConnectionIndex) {
        if let Some(net) = self.connections[index].net {
            self.net.abort(net);
        }
        self.lose(index);
    }

    /// The client is gone: nothing can be answered any more. What is at the drive comes back
    /// first.
    pub(crate) fn lose(&mut self, index: ConnectionIndex) {
        let connection = &mut self.connections[index];
        if matches!(connection.phase, Phase::Free | Phase::Lost) {
            return;
        }
        connection.phase = Phase::Lost;
        let incoming = connection.incoming.take();
        let outgoing = connection.outgoing.take();
        connection.stalled_since_us = None;
        self.connections.detach(index);
        if let Some(incoming) = incoming {
            self.abandon(incoming.sink);
        }
        self.cancel_all(index);
        if let Some(outgoing) = outgoing {
            self.release(outgoing.request);
        }
        while let Some(request) = self.connections[index].replies.pop(&mut self.requests) {
            self.release(request);
        }
        if let Some(upload) = self.connections[index].upload.take()
            && let Some(request) = self.programs.drop_upload(upload)
        {
            self.refuse(request, Status::Cancelled, ErrorBody::None);
        }
        if self.connections[index].phase == Phase::Lost && self.connections[index].outstanding == 0
        {
            self.forget(index);
        }
    }

    /// Nothing of a lost connection is left: its objects and instances go, and its slot.
    fn forget(&mut self, index: ConnectionIndex) {
        if let Some(upload) = self.connections[index].upload.take() {
            self.programs.drop_upload(upload);
        }
        let mut from = 0;
        while self.connections[index].instances > 0
            && let Some(instance) = self.instances.next_owned(index, from)
        {
            self.remove_instance(index, instance);
            from = instance;
        }
        let mut from = 0;
        while self.connections[index].objects > 0
            && let Some(object) = self.objects.next_owned(index, from)
        {
            self.remove_object(index, object);
            from = object;
        }
        self.counters.connections_closed += 1;
        self.connections.close(index);
    }
}

/// The next bytes of a reply's payload that lie together.
fn payload_chunk<'a>(slot: &'a Request, dma: &'a impl Dma) -> Option<&'a [u8]> {
    let at = slot.payload_offset as usize;
    let left = slot.payload_left as usize;
    debug_assert_eq!(slot.state, State::Replying);
    match &slot.reply {
        Some(slab) => from_slab(slab, at, left, dma),
        None => from_pages(&slot.pages, at, left, dma),
    }
}

fn from_slab<'a>(slab: &'a Slab, at: usize, left: usize, dma: &'a impl Dma) -> Option<&'a [u8]> {
    slab.bytes(dma).get(at..at.checked_add(left)?)
}

fn from_pages<'a>(
    pages: &'a PageList,
    at: usize,
    left: usize,
    dma: &'a impl Dma,
) -> Option<&'a [u8]> {
    let page = pages.get(at / PAGE_BYTES)?;
    let within = at % PAGE_BYTES;
    page.bytes(dma)
        .get(within..PAGE_BYTES.min(within.checked_add(left)?))
}
