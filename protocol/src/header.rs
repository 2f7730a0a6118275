//! The frame header: 32 bytes, little-endian, with its own checksum.
//!
//! | at | field | |
//! |---|---|---|
//! | 0 | magic u32 | `"OBF1"` |
//! | 4 | kind u8 | [`Kind`] |
//! | 5 | flags u8 | [`Flags`] |
//! | 6 | body length u16 | bytes, ≤ [`BODY_BYTES_MAX`] |
//! | 8 | request id u64 | |
//! | 16 | payload length u32 | bytes, ≤ [`FRAME_PAYLOAD_BYTES_MAX`] |
//! | 20 | status u16 | [`Status`], 0 in requests |
//! | 22 | credits u16 | granted by a final reply, 0 in requests |
//! | 24 | payload CRC u32 | if [`Flags::PAYLOAD_CRC`], else 0 |
//! | 28 | header CRC u32 | CRC-32C of the 28 bytes before it |

use crate::checksum::crc32c;
use crate::limits::{BODY_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX};
use crate::{Kind, Status};
use core::fmt;

/// Length of a header in bytes.
pub const HEADER_BYTES: usize = 32;

/// The first four bytes of a frame, as a little-endian number.
pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"OBF1");

/// Names a request on its connection; the reply carries it back. Ids rise strictly, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

impl RequestId {
    /// Belongs to no request: used by notices.
    pub const NONE: RequestId = RequestId(0);
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Flags of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No flag.
    pub const NONE: Flags = Flags(0);
    /// Another frame of this reply follows. Not allowed on requests.
    pub const MORE: Flags = Flags(1);
    /// The payload CRC field counts.
    pub const PAYLOAD_CRC: Flags = Flags(2);

    const KNOWN: u8 = 3;

    /// Whether every flag of `other` is set in `self`.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the flags of `other` set as well.
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// The header of a frame. Magic and header CRC are added by [`Header::encode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// MORE, PAYLOAD_CRC.
    pub flags: Flags,
    /// Length of the body that follows the header, in bytes.
    pub body_bytes: u16,
    /// Which request this is or answers.
    pub request: RequestId,
    /// Length of the payload that follows the body, in bytes.
    pub payload_bytes: u32,
    /// How the request ended; [`Status::Ok`] in requests and in all but the last frame of a reply.
    pub status: Status,
    /// How many requests more may be in flight from now on; 0 in requests and in all but the last
    /// frame of a reply.
    pub credits: u16,
    /// CRC-32C of the payload if [`Flags::PAYLOAD_CRC`] is set, else 0.
    pub payload_crc: u32,
}

impl Header {
    /// A request without body and payload yet.
    pub const fn request(kind: Kind, request: RequestId) -> Header {
        Header {
            kind,
            flags: Flags::NONE,
            body_bytes: 0,
            request,
            payload_bytes: 0,
            status: Status::Ok,
            credits: 0,
            payload_crc: 0,
        }
    }

    /// The final (or only) frame of a reply, granting `credits`, without body and payload yet.
    pub const fn reply(to: Kind, request: RequestId, status: Status, credits: u16) -> Header {
        Header {
            kind: to.reply(),
            status,
            credits,
            ..Header::request(to, request)
        }
    }

    /// A frame of a reply that is not its last: `payload_bytes` of payload and no body.
    pub const fn more(to: Kind, request: RequestId, payload_bytes: u32) -> Header {
        Header {
            kind: to.reply(),
            flags: Flags::MORE,
            payload_bytes,
            ..Header::request(to, request)
        }
    }

    /// Says why the connection ends.
    pub const fn notice(status: Status, request: RequestId) -> Header {
        Header {
            kind: Kind::Notice,
            status,
            ..Header::request(Kind::Notice, request)
        }
    }

    /// Whether another frame of this reply follows.
    pub const fn more_follows(&self) -> bool {
        self.flags.contains(Flags::MORE)
    }

    /// Length of the whole frame in bytes.
    pub const fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.body_bytes as usize + self.payload_bytes as usize
    }

    /// Whether the rules of a request hold, beyond those of any frame: not a reply, one frame only,
    /// no status and no credits. The kind may still be unknown.
    ///
    /// # Errors
    /// [`FrameError::NotARequest`].
    pub fn check_request(&self) -> Result<(), FrameError> {
        let plain = self.status == Status::Ok && self.credits == 0 && !self.more_follows();
        if self.kind.is_reply() || !plain {
            return Err(FrameError::NotARequest(self.kind));
        }
        Ok(())
    }

    /// Sets the payload's length and checksum. Call it with the whole payload.
    ///
    /// A payload too long for a frame is refused by whoever decodes it, and by
    /// [`encode_head`](crate::encode_head).
    pub fn set_payload_with_crc(&mut self, payload: &[u8]) {
        self.payload_bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.flags = self.flags.with(Flags::PAYLOAD_CRC);
        self.payload_crc = crc32c(payload);
    }

    /// Checks a received payload, if this frame has a checksum of it.
    ///
    /// # Errors
    /// [`FrameError::BadPayloadCrc`].
    pub fn check_payload(&self, payload: &[u8]) -> Result<(), FrameError> {
        self.check_payload_crc(|| crc32c(payload))
    }

    /// As [`Header::check_payload`], for a payload whose checksum was made in pieces; `crc` is only
    /// called if it is needed.
    ///
    /// # Errors
    /// [`FrameError::BadPayloadCrc`].
    pub fn check_payload_crc(&self, crc: impl FnOnce() -> u32) -> Result<(), FrameError> {
        if self.flags.contains(Flags::PAYLOAD_CRC) && crc() != self.payload_crc {
            return Err(FrameError::BadPayloadCrc);
        }
        Ok(())
    }

    /// The bytes of the header, checksum included.
    #[inline]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        out[4] = self.kind.0;
        out[5] = self.flags.0;
        out[6..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.request.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.payload_bytes.to_le_bytes());
        out[20..22].copy_from_slice(&self.status.0.to_le_bytes());
        out[22..24].copy_from_slice(&self.credits.to_le_bytes());
        out[24..28].copy_from_slice(&self.payload_crc.to_le_bytes());
        let crc = crc32c(&out[..28]);
        out[28..32].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header in these bytes, after checking magic, checksum, flags and lengths, in this order.
    ///
    /// # Errors
    /// What a header alone can show: not [`FrameError::BadPayloadCrc`], not
    /// [`FrameError::NotARequest`].
    #[inline]
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, FrameError> {
        if u32_at::<0>(bytes) != FRAME_MAGIC {
            return Err(FrameError::BadMagic);
        }
        if crc32c(&bytes[..28]) != u32_at::<28>(bytes) {
            return Err(FrameError::BadHeaderCrc);
        }
        let header = Header {
            kind: Kind(bytes[4]),
            flags: Flags(bytes[5]),
            body_bytes: u16_at::<6>(bytes),
            request: RequestId(u64_at::<8>(bytes)),
            payload_bytes: u32_at::<16>(bytes),
            status: Status(u16_at::<20>(bytes)),
            credits: u16_at::<22>(bytes),
            payload_crc: u32_at::<24>(bytes),
        };
        header.check()?;
        Ok(header)
    }

    /// Whether the header's own rules hold.
    pub(crate) fn check(&self) -> Result<(), FrameError> {
        let unchecked = !self.flags.contains(Flags::PAYLOAD_CRC);
        if self.flags.0 & !Flags::KNOWN != 0 || (unchecked && self.payload_crc != 0) {
            return Err(FrameError::BadFlags(self.flags));
        }
        if usize::from(self.body_bytes) > BODY_BYTES_MAX {
            return Err(FrameError::BodyTooLong(self.body_bytes));
        }
        if self.payload_bytes > FRAME_PAYLOAD_BYTES_MAX {
            return Err(FrameError::PayloadTooLong(self.payload_bytes));
        }
        Ok(())
    }
}

pub(crate) fn u16_at<const AT: usize>(bytes: &[u8]) -> u16 {
    bytes
        .get(AT..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u16::from_le_bytes(*b))
}

pub(crate) fn u32_at<const AT: usize>(bytes: &[u8]) -> u32 {
    bytes
        .get(AT..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u32::from_le_bytes(*b))
}

pub(crate) fn u64_at<const AT: usize>(bytes: &[u8]) -> u64 {
    bytes
        .get(AT..)
        .and_then(|b| b.first_chunk())
        .map_or(0, |b| u64::from_le_bytes(*b))
}

/// What makes a frame unreadable. There is no way to find the next frame after it, so each closes
/// the connection with [`FrameError::status`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It does not begin with [`FRAME_MAGIC`].
    BadMagic,
    /// The header's checksum does not match.
    BadHeaderCrc,
    /// The payload's checksum does not match.
    BadPayloadCrc,
    /// Reserved flags are set, or there is a payload checksum without its flag.
    BadFlags(Flags),
    /// A frame of this kind where a request was expected, or a request with a status, credits or
    /// MORE.
    NotARequest(Kind),
    /// The body is longer than allowed: bytes.
    BodyTooLong(u16),
    /// The payload is longer than allowed: bytes.
    PayloadTooLong(u32),
}

impl FrameError {
    /// The status to close the connection with.
    pub const fn status(self) -> Status {
        match self {
            FrameError::BadMagic => Status::BadMagic,
            FrameError::BadHeaderCrc => Status::BadHeaderCrc,
            FrameError::BadPayloadCrc => Status::BadPayloadCrc,
            FrameError::BadFlags(_) | FrameError::NotARequest(_) => Status::BadFlags,
            FrameError::BodyTooLong(_) => Status::BodyTooLong,
            FrameError::PayloadTooLong(_) => Status::PayloadTooLong,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FrameError::BadMagic => f.write_str("these bytes do not begin a frame"),
            FrameError::BadHeaderCrc => f.write_str("a frame header arrived damaged"),
            FrameError::BadPayloadCrc => f.write_str("a payload arrived damaged"),
            FrameError::BadFlags(flags) => {
                write!(
                    f,
                    "a frame has flags {:#04x}, which do not belong there",
                    flags.0
                )
            }
            FrameError::NotARequest(kind) => {
                write!(
                    f,
                    "a {kind:?} frame that is not a request, where one was expected"
                )
            }
            FrameError::BodyTooLong(got) => {
                write!(
                    f,
                    "a body of {got} bytes; at most {BODY_BYTES_MAX} are allowed"
                )
            }
            FrameError::PayloadTooLong(got) => write!(
                f,
                "a frame payload of {got} bytes; at most {FRAME_PAYLOAD_BYTES_MAX} are allowed"
            ),
        }
    }
}

impl core::error::Error for FrameError {}
