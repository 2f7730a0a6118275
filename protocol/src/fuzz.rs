//! The body of a fuzz target: no bytes panic, and what decodes survives being encoded again.

use crate::message::{
    AttachReply, AttachRequest, CallReply, CallRequest, CancelRequest, CloseRequest, DetachRequest,
    Empty, FlushReply, FlushRequest, InfoReply, InfoRequest, LoadPieceRequest, LoadReply,
    LoadRequest, MapDeleteRequest, MapDumpReply, MapDumpRequest, MapGetReply, MapGetRequest,
    MapSetRequest, MapsReply, MapsRequest, OpenReply, OpenRequest, ProgramsReply, ProgramsRequest,
    ReadRequest, StatsReply, StatsRequest, UnloadRequest, WriteReply, WriteRequest,
};
use crate::{
    AgentHello, ClientHello, ErrorBody, HELLO_BYTES, Head, Header, Kind, RequestId, Status,
    checksum::crc32c, decode_body, encode_body, encode_head, header::HEADER_BYTES, limits,
    parse_frame_head,
};
use serde::Serialize;

/// Takes the bytes for hellos, for a stream of frames, for a frame with its checksum put right, and
/// for the body of each kind of message.
///
/// # Panics
/// If something that decoded comes back different from being encoded and decoded again.
pub fn frames(bytes: &[u8]) {
    hellos(bytes);
    stream(bytes);
    mended_frame(bytes);
    if let Some((&kind, body)) = bytes.split_first() {
        body_of(Kind(kind), Status::Ok, body);
        body_of(Kind(kind), Status::OutOfRange, body);
    }
}

/// If the body decodes as this message, then it survives being encoded again, alone and in a frame.
macro_rules! same {
    ($message:ident, $body:expr) => {{
        let body: &[u8] = $body;
        if body.len() <= limits::BODY_BYTES_MAX
            && let Ok(value) = decode_body::<$message>(body)
        {
            let mut out = [0; limits::BODY_BYTES_MAX];
            let n = encode_body(&value, &mut out).expect("what came in a body goes into one");
            assert_eq!(decode_body::<$message>(&out[..n]).as_ref(), Ok(&value));
            check_frame(&value, &out[..n]);
        }
    }};
}

fn hellos(bytes: &[u8]) {
    let mut raw = [0; HELLO_BYTES];
    let n = bytes.len().min(HELLO_BYTES);
    raw[..n].copy_from_slice(&bytes[..n]);
    for mend in [false, true] {
        if mend {
            raw[..8].copy_from_slice(&crate::hello::HELLO_MAGIC);
            let crc = crc32c(&raw[..60]);
            raw[60..].copy_from_slice(&crc.to_le_bytes());
        }
        if let Ok(hello) = ClientHello::parse(&raw) {
            assert_eq!(ClientHello::parse(&hello.encode()), Ok(hello));
        }
        if let Ok(hello) = AgentHello::parse(&raw) {
            assert_eq!(AgentHello::parse(&hello.encode()), Ok(hello));
        }
    }
}

/// Frame after frame until something is wrong or missing.
fn stream(mut bytes: &[u8]) {
    loop {
        match parse_frame_head(bytes) {
            Err(_) => return,
            Ok(Head::Incomplete { need }) => {
                assert!(need > bytes.len() && need <= limits::FRAME_HEAD_BYTES_MAX);
                return;
            }
            Ok(Head::Complete { header, body }) => {
                assert_eq!(&header.encode()[..], &bytes[..HEADER_BYTES]);
                body_of(header.kind, header.status, body);
                let Some(rest) = bytes.get(header.frame_bytes()..) else {
                    return;
                };
                let payload = &bytes[HEADER_BYTES + body.len()..header.frame_bytes()];
                let _ = header.check_payload(payload);
                bytes = rest;
            }
        }
    }
}

/// The first bytes as a header whose magic and checksum are right, so that fuzzing gets past them.
fn mended_frame(bytes: &[u8]) {
    let Some((raw, body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return;
    };
    let mut raw = *raw;
    raw[..4].copy_from_slice(&crate::header::FRAME_MAGIC.to_le_bytes());
    let crc = crc32c(&raw[..28]);
    raw[28..].copy_from_slice(&crc.to_le_bytes());
    if let Ok(header) = Header::decode(&raw) {
        assert_eq!(header.encode(), raw);
        assert_eq!(Header::decode(&header.encode()), Ok(header));
        let _ = header.check_request();
        if let Some(body) = body.get(..usize::from(header.body_bytes)) {
            body_of(header.kind, header.status, body);
        }
    }
}

fn body_of(kind: Kind, status: Status, body: &[u8]) {
    if kind.is_reply() && status != Status::Ok {
        return same!(ErrorBody, body);
    }
    match kind {
        Kind::Open => same!(OpenRequest, body),
        Kind::Close => same!(CloseRequest, body),
        Kind::Read => same!(ReadRequest, body),
        Kind::Write => same!(WriteRequest, body),
        Kind::Flush => same!(FlushRequest, body),
        Kind::Load => same!(LoadRequest, body),
        Kind::LoadPiece => same!(LoadPieceRequest, body),
        Kind::Attach => same!(AttachRequest, body),
        Kind::Detach => same!(DetachRequest, body),
        Kind::Call => same!(CallRequest, body),
        Kind::Unload => same!(UnloadRequest, body),
        Kind::Stats => same!(StatsRequest, body),
        Kind::Cancel => same!(CancelRequest, body),
        Kind::Info => same!(InfoRequest, body),
        Kind::Programs => same!(ProgramsRequest, body),
        Kind::Maps => same!(MapsRequest, body),
        Kind::MapDump => same!(MapDumpRequest, body),
        Kind::MapGet => same!(MapGetRequest, body),
        Kind::MapSet => same!(MapSetRequest, body),
        Kind::MapDelete => same!(MapDeleteRequest, body),
        reply if reply.is_reply() => match reply.request() {
            Kind::Open => same!(OpenReply, body),
            Kind::Write => same!(WriteReply, body),
            Kind::Flush => same!(FlushReply, body),
            Kind::LoadPiece => same!(LoadReply, body),
            Kind::Attach => same!(AttachReply, body),
            Kind::Call => same!(CallReply, body),
            Kind::Stats => same!(StatsReply, body),
            Kind::Info => same!(InfoReply, body),
            Kind::Programs => same!(ProgramsReply, body),
            Kind::Maps => same!(MapsReply, body),
            Kind::MapDump => same!(MapDumpReply, body),
            Kind::MapGet => same!(MapGetReply, body),
            _ => same!(Empty, body),
        },
        _ => {}
    }
}

fn check_frame(body: &impl Serialize, encoded: &[u8]) {
    let mut frame = [0; limits::FRAME_HEAD_BYTES_MAX];
    let mut header = Header::request(Kind::Open, RequestId(1));
    let length = encode_head(&mut header, body, &mut frame).expect("it fitted into a body");
    let Ok(Head::Complete { header: got, body }) = parse_frame_head(&frame[..length]) else {
        panic!("a frame just written does not parse");
    };
    assert_eq!(got, header);
    assert_eq!(body, encoded);
}
