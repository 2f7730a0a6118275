//! Tickets, replies, and the buffers they are made of.

use super::in_flight::InFlight;
use protocol::message::Request;
use protocol::{BadBody, ErrorBody, Kind, RequestId, Status, decode_body};

/// Names a submitted request; its reply has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) RequestId);

impl Ticket {
    /// The request's id on the wire.
    pub fn request(self) -> RequestId {
        self.0
    }
}

/// The drive's epoch changed: what was written before and not flushed may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochChange {
    /// The epoch before.
    pub before: u64,
    /// The epoch now.
    pub now: u64,
}

/// The one reply to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Which request it answers.
    pub ticket: Ticket,
    /// The kind of the request.
    pub kind: Kind,
    /// How it ended.
    pub status: Status,
    /// The session ended before the reply came. The status is then [`Status::OutcomeUnknown`] if
    /// the request may have had an effect, else [`Status::Cancelled`]: it had none that lasts.
    pub lost: bool,
    /// The body, for [`Reply::decode`] or [`Reply::detail`].
    pub body: Vec<u8>,
    /// The buffer the request was submitted with, and behind what it held the payload of the reply.
    pub payload: Vec<u8>,
}

impl Reply {
    pub(super) fn of(request: InFlight) -> Reply {
        Reply {
            ticket: Ticket(request.id),
            kind: request.kind,
            status: request.status,
            lost: false,
            body: request.body,
            payload: request.payload,
        }
    }

    pub(super) fn unanswered(mut request: InFlight) -> Reply {
        request.body.clear();
        request.payload.truncate(request.reply_start);
        let unknown = request.kind.has_effects();
        request.status = if unknown {
            Status::OutcomeUnknown
        } else {
            Status::Cancelled
        };
        Reply {
            lost: true,
            ..Reply::of(request)
        }
    }

    /// The body of a reply to an `R` whose status is Ok.
    ///
    /// # Errors
    /// [`BadBody`], also if the reply is to another kind of request or its status is not Ok.
    pub fn decode<R: Request>(&self) -> Result<R::Reply<'_>, BadBody> {
        if self.kind != R::KIND || self.status != Status::Ok {
            return Err(BadBody);
        }
        decode_body(&self.body)
    }

    /// What more is known of an error; nothing if that cannot be decoded.
    pub fn detail(&self) -> ErrorBody {
        if self.status == Status::Ok {
            return ErrorBody::None;
        }
        ErrorBody::decode(&self.body).unwrap_or_default()
    }
}

/// Buffers to use again.
#[derive(Debug, Default)]
pub(super) struct Pool {
    bodies: Vec<Vec<u8>>,
    payloads: Vec<Vec<u8>>,
}

impl Pool {
    const KEPT_MAX: usize = 256;

    pub(super) fn take_body(&mut self) -> Vec<u8> {
        self.bodies.pop().unwrap_or_default()
    }

    pub(super) fn take_payload(&mut self) -> Vec<u8> {
        self.payloads.pop().unwrap_or_default()
    }

    pub(super) fn give_body(&mut self, buffer: Vec<u8>) {
        keep(&mut self.bodies, buffer);
    }

    pub(super) fn give_payload(&mut self, buffer: Vec<u8>) {
        keep(&mut self.payloads, buffer);
    }
}

fn keep(buffers: &mut Vec<Vec<u8>>, mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 && buffers.len() < Pool::KEPT_MAX {
        buffer.clear();
        buffers.push(buffer);
    }
}
