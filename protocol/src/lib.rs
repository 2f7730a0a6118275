//! The wire between a client and an Outboard agent: frames, messages, statuses, limits.
//!
//! Pure: bytes in, values out. Nothing here reads a socket, keeps time, allocates, or panics on
//! any bytes. A connection looks like this:
//!
//! ```text
//! client ── ClientHello (64 raw bytes) ──▶ agent
//! client ◀── AgentHello (64 raw bytes) ─── agent      grants credits
//! client ── frame, frame, frame … ───────▶ agent      requests, pipelined, ids rising
//! client ◀── frame, frame … ────────────── agent      replies, in any order, perhaps in pieces
//! ```
//!
//! A frame is a fixed header of 32 bytes ([`Header`]), a body (a [`postcard`] encoding of one of
//! the structs in [`message`], at most [`limits::BODY_BYTES_MAX`]), then raw payload bytes
//! that never pass through serde.
//!
//! # Rules of the wire
//!
//! - **A request is one frame.** Its payload (the bytes of a Write, the arguments of a Call, a
//!   piece of a Load) fits in that frame; [`Flags::MORE`] on a request is an error. More to write
//!   means more requests.
//! - **A reply is one or more frames** of the request's id, all but the last with [`Flags::MORE`].
//!   Only the last has a meaning in its status, body and credits; the payload is what all of them
//!   carry, in order. Those with MORE carry at least one byte of it. Frames of different replies
//!   may be interleaved.
//! - **Ids rise strictly** on a connection, from 1. Id 0 belongs to no request.
//! - **Credits**: the hello grants a number of requests, and of request payload bytes, that may be
//!   in flight. A request takes one credit until its final reply, whose `credits` field gives back
//!   what the client may use from then on (one, as a rule: more widens the window, none narrows
//!   it). A payload costs whole pages of the byte credit ([`limits::payload_cost_bytes`]), given
//!   back by the final reply, whole. Cancel takes no credit and has no
//!   reply.
//! - **Unknown kinds are answered**, with [`Status::UnknownKind`]: their frame is skipped by its
//!   lengths.
//! - **An error that closes** ([`Status::closes`]) is told in a frame of [`Kind::Notice`]; the
//!   agent then ends the connection.
//! - An error that does not close is a reply with no payload, whose body is an [`ErrorBody`].
#![cfg_attr(not(test), no_std)]

mod open_enum;

pub mod checksum;
pub mod error;
pub mod frame;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod header;
pub mod hello;
pub mod kind;
pub mod limits;
pub mod message;
pub mod status;
pub mod unproved;

pub use error::{ErrorBody, Text};
pub use frame::{
    BadBody, EncodeError, Head, decode_body, encode_body, encode_head, parse_frame_head,
};
pub use header::{Flags, FrameError, HEADER_BYTES, Header, RequestId};
pub use hello::{AgentHello, ClientHello, Features, HELLO_BYTES, HelloError};
pub use kind::Kind;
pub use status::Status;
pub use unproved::{Known, Unproved};
