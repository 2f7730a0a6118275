//! Frames: what is written is read back, however it arrives; what is damaged is refused.

use proptest::prelude::*;
use protocol::limits::{BODY_BYTES_MAX, FRAME_HEAD_BYTES_MAX, FRAME_PAYLOAD_BYTES_MAX};
use protocol::message::{CallRequest, Empty, LoadRequest, ReadRequest};
use protocol::{
    EncodeError, Flags, FrameError, HEADER_BYTES, Head, Header, Kind, RequestId, Status,
    decode_body, encode_head, parse_frame_head,
};

fn any_header() -> impl Strategy<Value = Header> {
    (
        any::<u8>(),
        any::<(bool, bool)>(),
        0..=BODY_BYTES_MAX as u16,
        any::<u64>(),
        0..=FRAME_PAYLOAD_BYTES_MAX,
        any::<u16>(),
        any::<u16>(),
        any::<u32>(),
    )
        .prop_map(
            |(kind, (more, checked), body, request, payload, status, credits, crc)| Header {
                kind: Kind(kind),
                flags: Flags(u8::from(more) | (u8::from(checked) << 1)),
                body_bytes: body,
                request: RequestId(request),
                payload_bytes: payload,
                status: Status(status),
                credits,
                payload_crc: if checked { crc } else { 0 },
            },
        )
}

/// Parses as a receiver does that gets `step` bytes at a time and asks for what is needed.
fn parse_in_steps(bytes: &[u8], step: usize) -> Result<(Header, Vec<u8>), FrameError> {
    let mut have = 0;
    loop {
        match parse_frame_head(&bytes[..have])? {
            Head::Complete { header, body } => return Ok((header, body.to_vec())),
            Head::Incomplete { need } => {
                assert!(need > have, "asks for what it has");
                assert!(have < bytes.len(), "asks for more than the frame");
                have = (have + step).min(bytes.len());
            }
        }
    }
}

proptest! {
    #[test]
    fn headers_survive(header in any_header()) {
        prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn heads_survive_any_slicing(header in any_header(), body in prop::collection::vec(any::<u8>(), 0..200), step in 1_usize..64) {
        let header = Header { body_bytes: body.len() as u16, ..header };
        let mut bytes = header.encode().to_vec();
        bytes.extend(&body);
        prop_assert_eq!(parse_in_steps(&bytes, step), Ok((header, body)));
        for cut in 0..bytes.len() {
            let need = if cut < HEADER_BYTES { HEADER_BYTES } else { bytes.len() };
            prop_assert_eq!(parse_frame_head(&bytes[..cut]), Ok(Head::Incomplete { need }));
        }
    }

    #[test]
    fn one_flipped_bit_is_noticed(header in any_header(), bit in 0..HEADER_BYTES * 8) {
        let mut bytes = header.encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let wanted = if bit < 32 { FrameError::BadMagic } else { FrameError::BadHeaderCrc };
        prop_assert_eq!(Header::decode(&bytes), Err(wanted));
    }

    #[test]
    fn garbage_is_refused_at_its_first_wrong_byte(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let same = bytes.iter().zip(b"OBF1").take_while(|(a, b)| a == b).count();
        if same < bytes.len().min(4) {
            prop_assert_eq!(parse_frame_head(&bytes), Err(FrameError::BadMagic));
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        protocol::fuzz::frames(&bytes);
    }

    /// Small numbers make lengths and indices plausible, which gets deeper than noise.
    #[test]
    fn no_plausible_bytes_panic(bytes in prop::collection::vec(0_u8..12, 0..200)) {
        protocol::fuzz::frames(&bytes);
    }
}

#[test]
fn headers_outside_the_limits_are_refused() {
    let sound = Header::request(Kind::Read, RequestId(1));
    let decode = |header: Header| Header::decode(&header.encode());

    let long_body = Header {
        body_bytes: BODY_BYTES_MAX as u16 + 1,
        ..sound
    };
    assert_eq!(
        decode(long_body),
        Err(FrameError::BodyTooLong(BODY_BYTES_MAX as u16 + 1))
    );
    let long_payload = Header {
        payload_bytes: FRAME_PAYLOAD_BYTES_MAX + 1,
        ..sound
    };
    assert_eq!(
        decode(long_payload),
        Err(FrameError::PayloadTooLong(FRAME_PAYLOAD_BYTES_MAX + 1))
    );
    let reserved = Header {
        flags: Flags(4),
        ..sound
    };
    assert_eq!(decode(reserved), Err(FrameError::BadFlags(Flags(4))));
    let crc_without_flag = Header {
        payload_crc: 1,
        ..sound
    };
    assert_eq!(
        decode(crc_without_flag),
        Err(FrameError::BadFlags(Flags(0)))
    );
    for error in [decode(long_body), decode(long_payload), decode(reserved)] {
        assert!(error.unwrap_err().status().closes());
    }
}

#[test]
fn only_plain_frames_are_requests() {
    let sound = Header::request(Kind(99), RequestId(1));
    assert_eq!(sound.check_request(), Ok(()));
    for header in [
        Header {
            kind: Kind::Read.reply(),
            ..sound
        },
        Header {
            kind: Kind::Notice,
            ..sound
        },
        Header {
            status: Status::BadBody,
            ..sound
        },
        Header {
            credits: 1,
            ..sound
        },
        Header {
            flags: Flags::MORE,
            ..sound
        },
    ] {
        assert_eq!(
            header.check_request(),
            Err(FrameError::NotARequest(header.kind))
        );
    }
}

#[test]
fn payload_checksums_are_checked_when_there_are_any() {
    let mut header = Header::request(Kind::Call, RequestId(1));
    assert_eq!(header.check_payload(b"anything"), Ok(()));
    header.set_payload_with_crc(b"arguments");
    assert_eq!(header.payload_bytes, 9);
    assert_eq!(header.check_payload(b"arguments"), Ok(()));
    assert_eq!(
        header.check_payload(b"argumentS"),
        Err(FrameError::BadPayloadCrc)
    );
}

#[test]
fn encoding_needs_room_for_all_of_it() {
    let request = ReadRequest {
        object: 300,
        offset: u64::MAX,
        length: 4096,
    };
    let mut out = [0; FRAME_HEAD_BYTES_MAX];
    let mut header = Header::request(Kind::Read, RequestId(7));
    let length = encode_head(&mut header, &request, &mut out).unwrap();
    assert_eq!(length, HEADER_BYTES + usize::from(header.body_bytes));
    for room in 0..length {
        let result = encode_head(&mut header.clone(), &request, &mut out[..room]);
        match result {
            Err(EncodeError::NoRoom { room: got }) => assert!(got == room && room < HEADER_BYTES),
            Err(EncodeError::BodyTooLong { room: got }) => assert_eq!(got + HEADER_BYTES, room),
            other => panic!("{other:?} in {room} bytes"),
        }
    }
    header.payload_bytes = FRAME_PAYLOAD_BYTES_MAX + 1;
    assert_eq!(
        encode_head(&mut header, &request, &mut out),
        Err(EncodeError::PayloadTooLong {
            got: FRAME_PAYLOAD_BYTES_MAX + 1
        })
    );
}

#[test]
fn a_body_longer_than_a_frame_allows_is_not_written() {
    let name = "x".repeat(BODY_BYTES_MAX);
    let request = LoadRequest {
        name: &name,
        total_bytes: 1,
        sha256: [0; 32],
        strict: false,
    };
    let mut out = vec![0; 3 * BODY_BYTES_MAX];
    let mut header = Header::request(Kind::Load, RequestId(1));
    assert_eq!(
        encode_head(&mut header, &request, &mut out),
        Err(EncodeError::BodyTooLong {
            room: BODY_BYTES_MAX
        })
    );
}

#[test]
fn bytes_left_over_are_an_error() {
    assert_eq!(
        decode_body::<CallRequest>(&[5]),
        Ok(CallRequest { instance: 5 })
    );
    assert!(decode_body::<CallRequest>(&[5, 0]).is_err());
    assert!(decode_body::<CallRequest>(&[]).is_err());
    assert_eq!(decode_body::<Empty>(&[]), Ok(Empty {}));
    assert!(decode_body::<Empty>(&[0]).is_err());
}
