//! Why a session ended, and why a request was not submitted.

use crate::diagnosis::{self, harmless};
use protocol::{EncodeError, ErrorBody, FrameError, HelloError, Kind, RequestId, Status};
use thiserror::Error;

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SessionError {
    /// The connection closed or broke.
    #[error("the connection to the agent was lost")]
    ConnectionLost,
    /// Nothing came for too long.
    #[error("the agent did not answer in time")]
    TimedOut,
    /// The hello was no good, or a refusal.
    #[error("{0}")]
    Hello(HelloError),
    /// The agent said why it closes.
    #[error("the agent closed the connection: {status}{}", aside(detail))]
    ClosedByAgent {
        /// Why.
        status: Status,
        /// More about it.
        detail: Box<ErrorBody>,
    },
    /// What came is no frame.
    #[error("the agent broke the protocol: {0}")]
    Frame(FrameError),
    /// A reply to no request in flight.
    #[error("the agent broke the protocol: it answered request {0}, which is not in flight")]
    UnknownRequest(RequestId),
    /// A reply of another kind than its request.
    #[error(
        "the agent broke the protocol: it answered a {request:?} with a frame of kind {reply:?}"
    )]
    WrongKind {
        /// Of the request.
        request: Kind,
        /// Of the reply.
        reply: Kind,
    },
    /// A reply with more payload than was asked for.
    #[error("the agent broke the protocol: its reply to a {request:?} exceeds {limit} bytes")]
    ReplyTooLong {
        /// Of the request.
        request: Kind,
        /// Most bytes it may have.
        limit: usize,
    },
    /// A part of a reply without any payload: an agent could send those for ever.
    #[error("the agent broke the protocol: it sent an empty part of a reply to a {request:?}")]
    EmptyPart {
        /// Of the request.
        request: Kind,
    },
    /// The agent granted no credit although nothing is in flight: there is no way on.
    #[error("the agent grants no credit for another request")]
    Starved,
}

/// Why a request was not submitted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The agent's hello has not come yet.
    #[error("the connection is not open yet")]
    NotOpen,
    /// Not enough credit right now: wait for a reply.
    #[error("there is no credit for another request right now")]
    NoCredit,
    /// More than one request can carry, ever.
    #[error("a payload of {got} bytes; the agent takes at most {limit} in one request")]
    PayloadTooLong {
        /// Bytes.
        got: usize,
        /// Most there may be.
        limit: u32,
    },
    /// The body cannot be written.
    #[error("{0}")]
    Encode(EncodeError),
    /// The session has ended.
    #[error("{0}")]
    Ended(SessionError),
}

/// ` (detail)`, or nothing.
pub(crate) fn aside(detail: &ErrorBody) -> String {
    match detail {
        ErrorBody::None => String::new(),
        ErrorBody::Unproved(unproved) => {
            let diagnosis = diagnosis::diagnosis(unproved);
            format!(" (instruction {}: {diagnosis})", diagnosis.pc)
        }
        some => format!(" ({})", harmless(&some.to_string())),
    }
}
