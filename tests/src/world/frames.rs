//! Frames as bytes, for peers that say what no client would.

use protocol::header::FRAME_MAGIC;
use protocol::{Flags, HEADER_BYTES, Head, Header, Kind, RequestId, encode_head, parse_frame_head};
use serde::{Deserialize, Serialize};

/// A frame that came from the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Its body.
    pub body: Vec<u8>,
    /// Its payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Its body as a message.
    ///
    /// # Panics
    ///
    /// Where it is none of this kind.
    #[must_use]
    pub fn decode<'a, T: Deserialize<'a>>(&'a self) -> T {
        protocol::decode_body(&self.body).expect("the agent's bodies decode")
    }
}

/// A request as bytes.
#[must_use]
pub fn frame(kind: Kind, id: u64, body: &impl Serialize, payload: &[u8]) -> Vec<u8> {
    let mut header = Header::request(kind, RequestId(id));
    header.payload_bytes = payload.len() as u32;
    encoded(&mut header, body, payload)
}

/// A request whose payload has a checksum.
#[must_use]
pub fn checked_frame(kind: Kind, id: u64, body: &impl Serialize, payload: &[u8]) -> Vec<u8> {
    let mut header = Header::request(kind, RequestId(id));
    header.set_payload_with_crc(payload);
    encoded(&mut header, body, payload)
}

/// A frame with this header, whose body length is set; the payload may be of another length
/// than it says.
#[must_use]
pub fn encoded(header: &mut Header, body: &impl Serialize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; protocol::limits::FRAME_HEAD_BYTES_MAX];
    let length = encode_head(header, body, &mut bytes).expect("the head fits");
    bytes.truncate(length);
    bytes.extend_from_slice(payload);
    bytes
}

/// A header of these fields with a right checksum, however wrong the fields are.
#[must_use]
pub fn forged_header(
    kind: u8,
    flags: u8,
    body_bytes: u16,
    id: u64,
    payload_bytes: u32,
) -> [u8; HEADER_BYTES] {
    let mut out = [0; HEADER_BYTES];
    out[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
    out[4] = kind;
    out[5] = flags;
    out[6..8].copy_from_slice(&body_bytes.to_le_bytes());
    out[8..16].copy_from_slice(&id.to_le_bytes());
    out[16..20].copy_from_slice(&payload_bytes.to_le_bytes());
    let crc = protocol::checksum::crc32c(&out[..28]);
    out[28..32].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The whole frames at the beginning of `bytes`, and how many bytes they are.
///
/// # Panics
///
/// Where the agent sent what is no frame, or a payload that its checksum does not fit.
#[must_use]
pub fn frames(bytes: &[u8]) -> (Vec<Frame>, usize) {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let parsed = parse_frame_head(&bytes[at..]).expect("the agent sends frames");
        let Head::Complete { header, body } = parsed else {
            break;
        };
        let start = at + HEADER_BYTES + body.len();
        let Some(payload) = bytes.get(start..start + header.payload_bytes as usize) else {
            break;
        };
        if header.flags.contains(Flags::PAYLOAD_CRC) {
            header
                .check_payload(payload)
                .expect("the checksum fits the payload");
        }
        found.push(Frame {
            header,
            body: body.to_vec(),
            payload: payload.to_vec(),
        });
        at = start + payload.len();
    }
    (found, at)
}
