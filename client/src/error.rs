//! What can go wrong for a caller, as sentences.

use crate::session::{Reply, SessionError, SubmitError, aside};
use protocol::{ErrorBody, Kind, Status};
use std::io;
use thiserror::Error;

/// What can go wrong for a caller of the blocking client or a pipeline.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("cannot reach an agent at {address}: {}", reason(source))]
    Unreachable {
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The connection broke, or the agent broke the protocol; or it refused the connection.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// The connection ended before the request was answered; it had no effect that lasts and can be
    /// made again.
    #[error("{} was not answered: {cause}", verb(*.request))]
    Lost {
        /// Its kind.
        request: Kind,
        /// Why the connection ended.
        cause: SessionError,
    },
    /// The connection ended before the request was answered, and nobody knows whether it took
    /// effect.
    #[error("{} may or may not have taken effect: {cause}", verb(*.request))]
    OutcomeUnknown {
        /// Its kind.
        request: Kind,
        /// Why the connection ended.
        cause: SessionError,
    },
    /// The agent refused the request, or it failed.
    #[error("{} failed: {status}{}", verb(*.request), aside(detail))]
    Refused {
        /// Its kind.
        request: Kind,
        /// How it ended.
        status: Status,
        /// More about it.
        detail: Box<ErrorBody>,
    },
    /// The agent's reply does not decode, or is not of the length asked for.
    #[error("the agent broke the protocol: its reply to {} makes no sense", verb(*.request))]
    BadReply {
        /// The kind of the request.
        request: Kind,
    },
    /// The request cannot be made.
    #[error("{0}")]
    Submit(SubmitError),
    /// An argument is outside the protocol's limits.
    #[error("{what} is {got}, and {limit} is the most there may be")]
    Limit {
        /// Which.
        what: &'static str,
        /// What it is.
        got: u64,
        /// The limit.
        limit: u64,
    },
}

impl ClientError {
    /// The status with which the agent refused the request, if it did.
    pub fn status(&self) -> Option<Status> {
        match self {
            ClientError::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// The error number that a program returned, negative, if that is what it is.
    pub fn errno(&self) -> Option<i32> {
        match self {
            ClientError::Refused { detail, .. } => match **detail {
                ErrorBody::Errno(errno) => Some(errno),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a request may have taken effect although no answer came.
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, ClientError::OutcomeUnknown { .. })
            || self.status() == Some(Status::OutcomeUnknown)
    }

    /// What a reply that is not a success means.
    pub(crate) fn of_reply(reply: &Reply, ended: Option<&SessionError>) -> ClientError {
        let request = reply.kind;
        if reply.lost {
            let cause = ended.cloned().unwrap_or(SessionError::ConnectionLost);
            return if reply.status == Status::OutcomeUnknown {
                ClientError::OutcomeUnknown { request, cause }
            } else {
                ClientError::Lost { request, cause }
            };
        }
        ClientError::Refused {
            request,
            status: reply.status,
            detail: Box::new(reply.detail()),
        }
    }
}

impl From<SubmitError> for ClientError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Ended(error) => ClientError::Session(error),
            error => ClientError::Submit(error),
        }
    }
}

/// A kind of request as a noun phrase, to begin a sentence with.
fn verb(kind: Kind) -> String {
    let known = match kind {
        Kind::Open => "opening the object",
        Kind::Close => "closing the object",
        Kind::Read => "the read",
        Kind::Write => "the write",
        Kind::Flush => "the flush",
        Kind::Load => "beginning the upload",
        Kind::LoadPiece => "loading the program",
        Kind::Attach => "attaching the program",
        Kind::Detach => "detaching the instance",
        Kind::Call => "the call",
        Kind::Unload => "unloading the program",
        Kind::Stats => "asking for the counters",
        Kind::Info => "asking what the agent is",
        Kind::Programs => "listing the programs",
        Kind::Maps => "listing the maps",
        Kind::MapDump => "dumping the map",
        Kind::MapGet => "getting the entry",
        Kind::MapSet => "setting the entry",
        Kind::MapDelete => "deleting the entry",
        other => return format!("a request of kind {other:?}"),
    };
    known.to_owned()
}

/// The reason without the operating system's number behind it.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "it does not answer".to_owned(),
        _ => error.to_string(),
    }
}
