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
        ErrorBody::Errno(errno) => match errno_name(*errno) {
            Some(name) => format!(" ({detail}, {name})"),
            None => format!(" ({detail})"),
        },
        some => format!(" ({})", harmless(&some.to_string())),
    }
}

/// The name that `dpu.h` has for an error number, which a program returns negative.
fn errno_name(errno: i32) -> Option<&'static str> {
    Some(match errno.unsigned_abs() {
        1 => "EPERM",
        2 => "ENOENT",
        5 => "EIO",
        7 => "E2BIG",
        9 => "EBADF",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        16 => "EBUSY",
        17 => "EEXIST",
        22 => "EINVAL",
        27 => "EFBIG",
        28 => "ENOSPC",
        30 => "EROFS",
        33 => "EDOM",
        34 => "ERANGE",
        35 => "EDEADLK",
        38 => "ENOSYS",
        40 => "ELOOP",
        61 => "ENODATA",
        71 => "EPROTO",
        74 => "EBADMSG",
        75 => "EOVERFLOW",
        90 => "EMSGSIZE",
        95 => "ENOTSUP",
        116 => "ESTALE",
        117 => "EUCLEAN",
        122 => "EDQUOT",
        124 => "EMEDIUMTYPE",
        125 => "ECANCELED",
        126 => "ENOKEY",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_have_the_names_of_the_header() {
        let header = include_str!("../../../programs/include/dpu.h");
        let defined = header.lines().filter_map(|line| {
            let (name, number) = line.strip_prefix("#define ")?.split_once(' ')?;
            let number: i32 = number.parse().ok()?;
            name.starts_with('E').then_some((name, number))
        });
        let defined: Vec<(&str, i32)> = defined.collect();
        assert!(defined.len() >= 30, "{defined:?}");
        for (name, number) in defined {
            assert_eq!(errno_name(-number), Some(name));
        }
        assert_eq!(aside(&ErrorBody::Errno(-34)), " (errno 34, ERANGE)");
        assert_eq!(aside(&ErrorBody::Errno(-4000)), " (errno 4000)");
    }
}
