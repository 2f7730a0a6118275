//! Frame heads and bodies: found in received bytes without copying, and written into a buffer.
//!
//! A head is the header and the body. It is parsed from a contiguous slice; the payload
//! behind it is streamed by whoever owns the connection, so that it goes straight to its place.
//!
//! ```
//! use protocol::{Head, Header, Kind, RequestId, encode_head, decode_body, parse_frame_head};
//! use protocol::message::ReadRequest;
//!
//! let mut out = [0; 256];
//! let request = ReadRequest { object: 1, offset: 4096, length: 512 };
//! let mut header = Header::request(Kind::Read, RequestId(1));
//! let n = encode_head(&mut header, &request, &mut out).unwrap();
//!
//! assert!(matches!(parse_frame_head(&out[..20]), Ok(Head::Incomplete { need: 32 })));
//! let Ok(Head::Complete { header: got, body }) = parse_frame_head(&out[..n]) else { panic!() };
//! assert_eq!(got, header);
//! assert_eq!(decode_body::<ReadRequest>(body), Ok(request));
//! ```

use crate::header::FRAME_MAGIC;
use crate::limits::{BODY_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX};
use crate::{FrameError, HEADER_BYTES, Header};
use core::fmt;
use serde::{Deserialize, Serialize};

/// What stands at the beginning of some received bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head<'a> {
    /// Not enough yet: call again with at least `need` bytes (from the same beginning).
    Incomplete {
        /// Bytes the head needs, as far as is known; never more than
        /// [`limits::FRAME_HEAD_BYTES_MAX`](crate::limits::FRAME_HEAD_BYTES_MAX).
        need: usize,
    },
    /// A whole head, [`HEADER_BYTES`] and `body.len()` bytes long. Next come `header.payload_bytes`
    /// of payload.
    Complete {
        /// The header, checked.
        header: Header,
        /// The body, for [`decode_body`].
        body: &'a [u8],
    },
}

/// Finds the head of a frame at the beginning of `bytes`.
///
/// # Errors
/// Bytes that can begin no frame, as soon as that is certain. The connection is to be closed.
#[inline]
pub fn parse_frame_head(bytes: &[u8]) -> Result<Head<'_>, FrameError> {
    let Some((head, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        let magic = FRAME_MAGIC.to_le_bytes();
        if bytes.iter().zip(magic).any(|(&got, wanted)| got != wanted) {
            return Err(FrameError::BadMagic);
        }
        return Ok(Head::Incomplete { need: HEADER_BYTES });
    };
    let header = Header::decode(head)?;
    let body_bytes = usize::from(header.body_bytes);
    Ok(match rest.get(..body_bytes) {
        Some(body) => Head::Complete { header, body },
        None => Head::Incomplete {
            need: HEADER_BYTES + body_bytes,
        },
    })
}

/// A body that does not decode, or that has bytes left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBody;

impl fmt::Display for BadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message body does not decode")
    }
}

impl core::error::Error for BadBody {}

/// Decodes a message body, all of it.
///
/// # Errors
/// [`BadBody`] if the bytes are no such message, or if any are left over.
#[inline]
pub fn decode_body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, BadBody> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(BadBody),
    }
}

/// Encodes a message body alone into `out`; returns its length.
///
/// # Errors
/// [`EncodeError::BodyTooLong`] if it does not fit in `out` or in [`BODY_BYTES_MAX`].
#[inline]
pub fn encode_body(body: &impl Serialize, out: &mut [u8]) -> Result<usize, EncodeError> {
    let room = out.len().min(BODY_BYTES_MAX);
    match postcard::to_slice(body, &mut out[..room]) {
        Ok(used) => Ok(used.len()),
        Err(_) => Err(EncodeError::BodyTooLong { room }),
    }
}

/// Writes header and body into `out`, setting `header.body_bytes`; returns how many bytes that
/// took.
///
/// `header.payload_bytes` (and its CRC) must be set before.
/// [`limits::FRAME_HEAD_BYTES_MAX`](crate::limits::FRAME_HEAD_BYTES_MAX) bytes of room are always
/// enough for a message of this crate.
///
/// # Errors
/// See [`EncodeError`]; `out` is then undefined, and so is `header.body_bytes`.
#[inline]
pub fn encode_head(
    header: &mut Header,
    body: &impl Serialize,
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    if header.payload_bytes > FRAME_PAYLOAD_BYTES_MAX {
        return Err(EncodeError::PayloadTooLong {
            got: header.payload_bytes,
        });
    }
    let Some((head, rest)) = out.split_first_chunk_mut::<HEADER_BYTES>() else {
        return Err(EncodeError::NoRoom { room: out.len() });
    };
    let body_bytes = encode_body(body, rest)?;
    header.body_bytes = body_bytes as u16;
    *head = header.encode();
    Ok(HEADER_BYTES + body_bytes)
}

/// Why a head could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// Not even the header fits.
    NoRoom {
        /// Bytes there were.
        room: usize,
    },
    /// The body does not fit in the room left or in a frame.
    BodyTooLong {
        /// Bytes there were for it.
        room: usize,
    },
    /// The header announces more payload than a frame can have.
    PayloadTooLong {
        /// Bytes announced.
        got: u32,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::NoRoom { room } => {
                write!(f, "a frame header does not fit into {room} bytes")
            }
            EncodeError::BodyTooLong { room } => {
                write!(f, "a message body does not fit into {room} bytes")
            }
            EncodeError::PayloadTooLong { got } => write!(
                f,
                "a frame payload of {got} bytes; at most {FRAME_PAYLOAD_BYTES_MAX} are allowed"
            ),
        }
    }
}

impl core::error::Error for EncodeError {}
