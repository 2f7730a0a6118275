//! The protocol from the client's side, without any I/O: bytes in, bytes out, requests and replies.
//!
//! A [`Session`] is fed what was received ([`Session::feed`]) and says what is to be sent
//! ([`Session::outgoing`], [`Session::advance`]). Requests are submitted as long as there is credit
//! and answered in any order ([`Session::next_reply`]). It keeps no time and has no thread, so the
//! same code serves a blocking socket, an event loop and a simulation.
//!
//! The payload of a reply is appended straight to the buffer the request was submitted with, or to
//! one from the session's own pool; hand replies back with [`Session::recycle`] and nothing is
//! allocated once the buffers have grown.
//!
//! The agent is not trusted: a reply to a request that was never made, or made and answered, of
//! another kind, or longer than what was asked for, ends the session. When it ends, every request
//! in flight gets a reply that says so ([`Reply::lost`]); those that may have had an effect have
//! the status [`Status::OutcomeUnknown`], and nothing is ever sent again by itself.

mod error;
mod in_flight;
mod incoming;
mod outgoing;
mod reply;

pub(crate) use error::aside;
pub use error::{SessionError, SubmitError};
pub use reply::{EpochChange, Reply, Ticket};

use in_flight::{InFlight, Table};
use incoming::Incoming;
use outgoing::Outgoing;
use protocol::limits::{FRAME_HEAD_BYTES_MAX, INLINE_PAYLOAD_BYTES, payload_cost_bytes};
use protocol::message::{CancelRequest, FlushReply, Request, WriteReply};
use protocol::{
    AgentHello, ClientHello, EncodeError, Features, Header, Kind, RequestId, Status,
    checksum::crc32c, decode_body, encode_head,
};
use reply::Pool;
use std::collections::VecDeque;

/// Room for the head of most requests: their bodies are short.
const REQUEST_HEAD_BYTES_USUAL: usize = 512;

/// One connection to an agent.
#[derive(Debug)]
pub struct Session {
    asked: ClientHello,
    terms: Option<AgentHello>,
    ended: Option<SessionError>,
    credits: u32,
    credit_bytes: u32,
    sequence: u64,
    table: Table,
    outgoing: Outgoing,
    incoming: Incoming,
    ready: VecDeque<Reply>,
    pool: Pool,
    drive_epoch: u64,
    epoch_change: Option<EpochChange>,
}

impl Session {
    /// A session that wants `features`. Its hello is the first thing to send.
    pub fn new(features: Features) -> Self {
        let asked = ClientHello::new(features);
        let mut outgoing = Outgoing::default();
        outgoing.push(&asked.encode());
        Session {
            asked,
            terms: None,
            ended: None,
            credits: 0,
            credit_bytes: 0,
            sequence: 0,
            table: Table::default(),
            outgoing,
            incoming: Incoming::default(),
            ready: VecDeque::new(),
            pool: Pool::default(),
            drive_epoch: 0,
            epoch_change: None,
        }
    }

    /// What is to be sent, in order; then say how much was with [`Session::advance`].
    pub fn outgoing(&self) -> &[u8] {
        self.outgoing.bytes()
    }

    /// The first `n` bytes of [`Session::outgoing`] were sent.
    pub fn advance(&mut self, n: usize) {
        self.outgoing.advance(n);
    }

    /// The agent's hello, once it came.
    pub fn terms(&self) -> Option<&AgentHello> {
        self.terms.as_ref()
    }

    /// Whether requests can be submitted, credit permitting.
    pub fn is_open(&self) -> bool {
        self.terms.is_some() && self.ended.is_none()
    }

    /// Why the session ended, if it did.
    pub fn ended(&self) -> Option<&SessionError> {
        self.ended.as_ref()
    }

    /// Requests submitted and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.table.len()
    }

    /// Requests that could be submitted now.
    pub fn credits(&self) -> u32 {
        self.credits
    }

    /// Byte credit left for payloads of requests, each of which costs
    /// [`payload_cost_bytes`].
    pub fn credit_bytes(&self) -> u32 {
        self.credit_bytes
    }

    /// The drive's epoch as last heard of: in the hello, or a reply to a Write or Flush.
    pub fn drive_epoch(&self) -> u64 {
        self.drive_epoch
    }

    /// Whether the drive's epoch changed since this was last called: what was written and not
    /// flushed before may be gone. Several changes are told as one.
    pub fn take_epoch_change(&mut self) -> Option<EpochChange> {
        self.epoch_change.take()
    }

    /// Submits a request; the payload of its reply goes to a buffer of the session's pool.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was submitted.
    pub fn submit<R: Request>(
        &mut self,
        request: &R,
        payload: &[u8],
    ) -> Result<Ticket, SubmitError> {
        let mut buffer = self.pool.take_payload();
        let result = self.submit_into(request, payload, &mut buffer);
        if result.is_err() {
            self.pool.give_payload(buffer);
        }
        result
    }

    /// Submits a request; the payload of its reply is appended to `buffer`, which is taken (an
    /// empty one is left) and comes back as the reply's `payload`.
    ///
    /// # Errors
    /// See [`SubmitError`]; nothing was submitted and the buffer is untouched.
    pub fn submit_into<R: Request>(
        &mut self,
        request: &R,
        payload: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<Ticket, SubmitError> {
        let payload_cost = self.admit(payload)?;
        let slot = self.table.free_slot().ok_or(SubmitError::NoCredit)?;
        let id = self.next_id(slot);
        self.write_frame(R::KIND, id, request, payload)?;
        self.sequence += 1;
        self.credits -= 1;
        self.credit_bytes -= payload_cost;
        self.table.insert(
            slot,
            InFlight {
                id,
                kind: R::KIND,
                payload_cost,
                reply_start: buffer.len(),
                reply_bytes_max: request.reply_payload_max() as usize,
                abandoned: false,
                status: Status::Ok,
                credits: 0,
                body: self.pool.take_body(),
                payload: core::mem::take(buffer),
            },
        );
        Ok(Ticket(id))
    }

    /// Asks the agent to cancel a request. Its reply comes all the same: its result, or
    /// [`Status::Cancelled`]. Does nothing for a request that was answered.
    pub fn cancel(&mut self, ticket: Ticket) {
        if !self.is_open() || self.table.find(ticket.0).is_none() {
            return;
        }
        let id = self.next_id(in_flight::NO_SLOT);
        let request = CancelRequest {
            request: ticket.0.0,
        };
        if self.write_frame(Kind::Cancel, id, &request, &[]).is_ok() {
            self.sequence += 1;
        }
    }

    /// The reply to this request is not wanted any more: it will be dropped when it comes, or now.
    pub fn abandon(&mut self, ticket: Ticket) {
        if let Some(request) = self
            .table
            .find(ticket.0)
            .and_then(|slot| self.table.get_mut(slot))
        {
            request.abandoned = true;
        } else if let Some(reply) = self.take_reply(ticket) {
            self.recycle(reply);
        }
    }

    /// The next reply, in the order they were completed.
    pub fn next_reply(&mut self) -> Option<Reply> {
        self.ready.pop_front()
    }

    /// The reply to this request, if it has come.
    pub fn take_reply(&mut self, ticket: Ticket) -> Option<Reply> {
        let index = self.ready.iter().position(|reply| reply.ticket == ticket)?;
        self.ready.remove(index)
    }

    /// Whether this request was submitted, and its reply has not been taken.
    pub fn is_pending(&self, ticket: Ticket) -> bool {
        self.table.find(ticket.0).is_some() || self.ready.iter().any(|r| r.ticket == ticket)
    }

    /// Gives back a reply's buffers, to be used again.
    pub fn recycle(&mut self, reply: Reply) {
        self.pool.give_body(reply.body);
        self.pool.give_payload(reply.payload);
    }

    /// Gives back a buffer for payloads, to be used again.
    pub fn recycle_buffer(&mut self, buffer: Vec<u8>) {
        self.pool.give_payload(buffer);
    }

    /// Takes received bytes, any number of them. After an error the session has ended.
    ///
    /// # Errors
    /// Why the session ended, now or before. Bytes behind the cause are not looked at.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let mut rest = bytes;
        while self.ended.is_none() && !rest.is_empty() {
            match self.feed_some(rest) {
                Ok(unread) => rest = unread,
                Err(error) => self.end(error),
            }
        }
        self.ended.clone().map_or(Ok(()), Err)
    }

    /// The connection is gone: end of stream, or an error of the transport. Ends the session.
    pub fn connection_lost(&mut self) {
        self.end(SessionError::ConnectionLost);
    }

    /// Ends the session for this reason, unless it has ended: every request in flight is answered
    /// as lost.
    pub fn end(&mut self, error: SessionError) {
        if self.ended.is_some() {
            return;
        }
        self.ended = Some(error);
        self.outgoing.clear();
        for request in self.table.drain_in_order() {
            if !request.abandoned {
                self.ready.push_back(Reply::unanswered(request));
            }
        }
    }

    /// What the payload takes of the byte credit.
    fn admit(&self, payload: &[u8]) -> Result<u32, SubmitError> {
        if let Some(error) = &self.ended {
            return Err(SubmitError::Ended(error.clone()));
        }
        let Some(terms) = &self.terms else {
            return Err(SubmitError::NotOpen);
        };
        let limit = terms.frame_payload_max.min(terms.credit_bytes);
        let payload_bytes = match u32::try_from(payload.len()) {
            Ok(bytes) if bytes <= limit => bytes,
            _ => {
                return Err(SubmitError::PayloadTooLong {
                    got: payload.len(),
                    limit,
                });
            }
        };
        let cost = payload_cost_bytes(payload_bytes);
        if cost > terms.credit_bytes {
            return Err(SubmitError::PayloadTooLong {
                got: payload.len(),
                limit: INLINE_PAYLOAD_BYTES as u32,
            });
        }
        if self.credits == 0 || cost > self.credit_bytes {
            return Err(SubmitError::NoCredit);
        }
        Ok(cost)
    }

    /// Ids rise by the sequence; the slot in the low half finds the request again at once.
    fn next_id(&self, slot: u16) -> RequestId {
        RequestId(((self.sequence + 1) << 16) | u64::from(slot))
    }

    fn write_frame(
        &mut self,
        kind: Kind,
        id: RequestId,
        body: &impl serde::Serialize,
        payload: &[u8],
    ) -> Result<(), SubmitError> {
        let mut header = Header::request(kind, id);
        header.payload_bytes = payload.len() as u32;
        if self.has_feature(Features::PAYLOAD_CRC) && !payload.is_empty() {
            header.flags = protocol::Flags::PAYLOAD_CRC;
            header.payload_crc = crc32c(payload);
        }
        let mut head = [0; REQUEST_HEAD_BYTES_USUAL];
        match encode_head(&mut header, body, &mut head) {
            Ok(length) => self.outgoing.push(head.get(..length).unwrap_or_default()),
            Err(EncodeError::BodyTooLong { .. }) => {
                let mut head = vec![0; FRAME_HEAD_BYTES_MAX];
                let length =
                    encode_head(&mut header, body, &mut head).map_err(SubmitError::Encode)?;
                self.outgoing.push(head.get(..length).unwrap_or_default());
            }
            Err(error) => return Err(SubmitError::Encode(error)),
        }
        self.outgoing.push(payload);
        Ok(())
    }

    fn has_feature(&self, feature: Features) -> bool {
        self.terms
            .is_some_and(|terms| terms.features.contains(feature))
    }

    /// Called with the agent's hello.
    fn welcome(&mut self, hello: AgentHello) -> Result<(), SessionError> {
        hello.accepted(&self.asked).map_err(SessionError::Hello)?;
        self.credits = u32::from(hello.credits);
        self.credit_bytes = hello.credit_bytes;
        self.drive_epoch = hello.drive_epoch;
        self.terms = Some(hello);
        Ok(())
    }

    /// Called when the last frame of a reply is complete.
    fn complete(&mut self, slot: u16) -> Result<(), SessionError> {
        let Some(request) = self.table.remove(slot) else {
            return Ok(());
        };
        let room = u32::from(u16::MAX).saturating_sub(self.table.len() as u32);
        self.credits = (self.credits + u32::from(request.credits)).min(room);
        self.credit_bytes += request.payload_cost;
        self.note_epoch(&request);
        if request.abandoned {
            self.recycle(Reply::of(request));
        } else {
            self.ready.push_back(Reply::of(request));
        }
        if self.credits == 0 && self.table.len() == 0 {
            return Err(SessionError::Starved);
        }
        Ok(())
    }

    fn note_epoch(&mut self, request: &InFlight) {
        let now = match (request.kind, request.status) {
            (Kind::Write, Status::Ok) => {
                decode_body(&request.body).map(|r: WriteReply| r.drive_epoch)
            }
            (Kind::Flush, Status::Ok) => {
                decode_body(&request.body).map(|r: FlushReply| r.drive_epoch)
            }
            _ => return,
        };
        if let Ok(now) = now
            && now != self.drive_epoch
        {
            let before = self
                .epoch_change
                .map_or(self.drive_epoch, |change| change.before);
            self.epoch_change = Some(EpochChange { before, now });
            self.drive_epoch = now;
        }
    }
}
