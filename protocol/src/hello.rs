//! The hello: the first 64 bytes each way, raw for ever, so that any version can read any other's.
//!
//! Client to agent:
//!
//! | at | field | |
//! |---|---|---|
//! | 0 | magic | `"OUTBOARD"` |
//! | 8 | least version u16 | |
//! | 10 | greatest version u16 | |
//! | 16 | features u64 | wanted |
//! | 60 | CRC-32C u32 | of the 60 bytes before it |
//!
//! Agent to client:
//!
//! | at | field | |
//! |---|---|---|
//! | 0 | magic | `"OUTBOARD"` |
//! | 8 | status u16 | 0, or why the connection ends here |
//! | 10 | version u16 | the one both will speak |
//! | 12 | credits u16 | requests in flight |
//! | 16 | features u64 | in force: a subset of those wanted |
//! | 24 | credit bytes u32 | request payload bytes in flight |
//! | 28 | I/O bytes u32 | most bytes of one Read; a Write is one frame as well |
//! | 32 | frame payload u32 | most payload bytes in one frame |
//! | 40 | drive epoch u64 | |
//! | 60 | CRC-32C u32 | of the 60 bytes before it |
//!
//! The rest is sent as zero and ignored on receipt: a later version may use it.

use crate::Status;
use crate::checksum::crc32c;
use crate::header::{u16_at, u32_at, u64_at};
use crate::limits::{CREDITS_MIN, FRAME_PAYLOAD_BYTES_MAX, IO_BYTES_MAX};
use core::fmt;

/// Length of each hello in bytes.
pub const HELLO_BYTES: usize = 64;

/// The first bytes of each hello.
pub const HELLO_MAGIC: [u8; 8] = *b"OUTBOARD";

/// The protocol version of this crate, the only one it speaks.
pub const VERSION: u16 = 1;

/// Feature bits of the hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features(pub u64);

impl Features {
    /// No feature.
    pub const NONE: Features = Features(0);
    /// Frames with a payload carry its CRC-32C, both ways: the agent's all do, and a request's is
    /// verified where it is there. Without the feature, the replies to a request whose own frame
    /// has the flag carry one.
    pub const PAYLOAD_CRC: Features = Features(1);

    /// Whether every feature of `other` is in `self`.
    pub const fn contains(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// The features in both.
    pub const fn and(self, other: Features) -> Features {
        Features(self.0 & other.0)
    }
}

/// What the client says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The least version it speaks.
    pub version_min: u16,
    /// The greatest version it speaks.
    pub version_max: u16,
    /// The features it wants.
    pub features: Features,
}

impl ClientHello {
    /// A client of this crate's version that wants `features`.
    pub const fn new(features: Features) -> Self {
        ClientHello {
            version_min: VERSION,
            version_max: VERSION,
            features,
        }
    }

    /// The greatest version that this client and an agent that speaks `min..=max` share.
    pub fn common_version(&self, min: u16, max: u16) -> Option<u16> {
        let version = self.version_max.min(max);
        (version >= self.version_min && version >= min).then_some(version)
    }

    /// The bytes to send.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut out = [0; HELLO_BYTES];
        out[..8].copy_from_slice(&HELLO_MAGIC);
        out[8..10].copy_from_slice(&self.version_min.to_le_bytes());
        out[10..12].copy_from_slice(&self.version_max.to_le_bytes());
        out[16..24].copy_from_slice(&self.features.0.to_le_bytes());
        seal(out)
    }

    /// What these bytes say.
    ///
    /// # Errors
    /// [`HelloError::BadMagic`], [`HelloError::BadCrc`]. Whether versions match is for the caller
    /// to see.
    pub fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Self, HelloError> {
        unseal(bytes)?;
        Ok(ClientHello {
            version_min: u16_at::<8>(bytes),
            version_max: u16_at::<10>(bytes),
            features: Features(u64_at::<16>(bytes)),
        })
    }
}

/// What the agent answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentHello {
    /// [`Status::Ok`], or why the connection ends here.
    pub status: Status,
    /// The version both will speak.
    pub version: u16,
    /// Requests that may be in flight.
    pub credits: u16,
    /// The features in force.
    pub features: Features,
    /// Payload bytes of requests that may be in flight.
    pub credit_bytes: u32,
    /// Most bytes of one Read; a Write is held to `frame_payload_max` as well.
    pub io_bytes_max: u32,
    /// Most payload bytes in one frame.
    pub frame_payload_max: u32,
    /// Changes when the drive may have lost what was not flushed.
    pub drive_epoch: u64,
}

impl AgentHello {
    /// An answer that ends the connection.
    pub const fn refusal(status: Status) -> Self {
        AgentHello {
            status,
            version: VERSION,
            credits: 0,
            features: Features::NONE,
            credit_bytes: 0,
            io_bytes_max: 0,
            frame_payload_max: 0,
            drive_epoch: 0,
        }
    }

    /// The bytes to send.
    pub fn encode(&self) -> [u8; HELLO_BYTES] {
        let mut out = [0; HELLO_BYTES];
        out[..8].copy_from_slice(&HELLO_MAGIC);
        out[8..10].copy_from_slice(&self.status.0.to_le_bytes());
        out[10..12].copy_from_slice(&self.version.to_le_bytes());
        out[12..14].copy_from_slice(&self.credits.to_le_bytes());
        out[16..24].copy_from_slice(&self.features.0.to_le_bytes());
        out[24..28].copy_from_slice(&self.credit_bytes.to_le_bytes());
        out[28..32].copy_from_slice(&self.io_bytes_max.to_le_bytes());
        out[32..36].copy_from_slice(&self.frame_payload_max.to_le_bytes());
        out[40..48].copy_from_slice(&self.drive_epoch.to_le_bytes());
        seal(out)
    }

    /// What these bytes say. A refusal parses too: look at the status, or use
    /// [`AgentHello::accepted`].
    ///
    /// # Errors
    /// [`HelloError::BadMagic`], [`HelloError::BadCrc`].
    pub fn parse(bytes: &[u8; HELLO_BYTES]) -> Result<Self, HelloError> {
        unseal(bytes)?;
        Ok(AgentHello {
            status: Status(u16_at::<8>(bytes)),
            version: u16_at::<10>(bytes),
            credits: u16_at::<12>(bytes),
            features: Features(u64_at::<16>(bytes)),
            credit_bytes: u32_at::<24>(bytes),
            io_bytes_max: u32_at::<28>(bytes),
            frame_payload_max: u32_at::<32>(bytes),
            drive_epoch: u64_at::<40>(bytes),
        })
    }

    /// Whether the agent took the connection, on terms that this crate can keep.
    ///
    /// # Errors
    /// [`HelloError::Refused`], or [`HelloError::BadTerms`] if a limit is outside the protocol's.
    pub fn accepted(&self, asked: &ClientHello) -> Result<(), HelloError> {
        if self.status != Status::Ok {
            return Err(HelloError::Refused(self.status));
        }
        let frame = 512..=FRAME_PAYLOAD_BYTES_MAX;
        let sound = (asked.version_min..=asked.version_max).contains(&self.version)
            && asked.features.contains(self.features)
            && self.credits >= CREDITS_MIN
            && frame.contains(&self.frame_payload_max)
            && self.credit_bytes >= self.frame_payload_max
            && (512..=IO_BYTES_MAX).contains(&self.io_bytes_max);
        if sound {
            Ok(())
        } else {
            Err(HelloError::BadTerms)
        }
    }
}

fn seal(mut out: [u8; HELLO_BYTES]) -> [u8; HELLO_BYTES] {
    let crc = crc32c(&out[..60]);
    out[60..].copy_from_slice(&crc.to_le_bytes());
    out
}

fn unseal(bytes: &[u8; HELLO_BYTES]) -> Result<(), HelloError> {
    if bytes[..8] != HELLO_MAGIC {
        return Err(HelloError::BadMagic);
    }
    if crc32c(&bytes[..60]) != u32_at::<60>(bytes) {
        return Err(HelloError::BadCrc);
    }
    Ok(())
}

/// Whether received bytes can still become a hello: `false` as soon as they cannot.
pub fn may_begin_hello(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(HELLO_MAGIC)
        .all(|(&got, wanted)| got == wanted)
}

/// What is wrong with a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloError {
    /// It does not begin with [`HELLO_MAGIC`].
    BadMagic,
    /// It arrived damaged.
    BadCrc,
    /// The agent refused the connection.
    Refused(Status),
    /// The agent's terms are outside what the protocol allows.
    BadTerms,
}

impl HelloError {
    /// The status to close the connection with.
    pub const fn status(self) -> Status {
        match self {
            HelloError::BadMagic => Status::HelloExpected,
            HelloError::BadCrc => Status::BadHeaderCrc,
            HelloError::Refused(status) => status,
            HelloError::BadTerms => Status::VersionMismatch,
        }
    }
}

impl fmt::Display for HelloError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HelloError::BadMagic => f.write_str("the peer does not say hello as Outboard does"),
            HelloError::BadCrc => f.write_str("the hello arrived damaged"),
            HelloError::Refused(status) => write!(f, "the agent refused the connection: {status}"),
            HelloError::BadTerms => f.write_str(
                "the agent's hello has a version or limits that this client cannot keep",
            ),
        }
    }
}

impl core::error::Error for HelloError {}
