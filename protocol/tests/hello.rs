//! The hello: fixed bytes, versions, terms.

use proptest::prelude::*;
use protocol::hello::{VERSION, may_begin_hello};
use protocol::{AgentHello, ClientHello, Features, HELLO_BYTES, HelloError, Status};

fn welcome() -> AgentHello {
    AgentHello {
        status: Status::Ok,
        version: VERSION,
        credits: 8,
        features: Features::NONE,
        credit_bytes: 1 << 20,
        io_bytes_max: 128 * 1024,
        frame_payload_max: 32 * 1024,
        drive_epoch: 7,
    }
}

proptest! {
    #[test]
    fn hellos_survive(min: u16, max: u16, features: u64, credits: u16, bytes: u32, epoch: u64, status: u16) {
        let hello = ClientHello { version_min: min, version_max: max, features: Features(features) };
        prop_assert_eq!(ClientHello::parse(&hello.encode()), Ok(hello));
        let hello = AgentHello {
            status: Status(status), version: min, credits, features: Features(features),
            credit_bytes: bytes, io_bytes_max: bytes, frame_payload_max: bytes, drive_epoch: epoch,
        };
        prop_assert_eq!(AgentHello::parse(&hello.encode()), Ok(hello));
    }

    #[test]
    fn one_flipped_bit_is_noticed(bit in 0..HELLO_BYTES * 8) {
        let mut bytes = welcome().encode();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let wanted = if bit < 64 { HelloError::BadMagic } else { HelloError::BadCrc };
        prop_assert_eq!(AgentHello::parse(&bytes), Err(wanted));
    }
}

#[test]
fn the_first_bytes_are_fixed_for_ever() {
    let bytes = ClientHello {
        version_min: 1,
        version_max: 3,
        features: Features(5),
    }
    .encode();
    assert_eq!(&bytes[..12], b"OUTBOARD\x01\x00\x03\x00");
    assert_eq!(bytes[16], 5);
    let bytes = welcome().encode();
    assert_eq!(&bytes[..14], b"OUTBOARD\x00\x00\x01\x00\x08\x00");
    assert_eq!(&bytes[40..48], &[7, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_greatest_common_version_is_spoken() {
    let client = ClientHello {
        version_min: 2,
        version_max: 4,
        features: Features::NONE,
    };
    assert_eq!(client.common_version(1, 3), Some(3));
    assert_eq!(client.common_version(3, 9), Some(4));
    assert_eq!(client.common_version(5, 9), None);
    assert_eq!(client.common_version(1, 1), None);
}

#[test]
fn terms_outside_the_protocol_are_not_accepted() {
    let asked = ClientHello::new(Features::NONE);
    assert_eq!(welcome().accepted(&asked), Ok(()));
    let refusal = AgentHello::refusal(Status::TooManyConnections);
    assert_eq!(
        refusal.accepted(&asked),
        Err(HelloError::Refused(Status::TooManyConnections))
    );
    for hello in [
        AgentHello {
            version: VERSION + 1,
            ..welcome()
        },
        AgentHello {
            credits: 7,
            ..welcome()
        },
        AgentHello {
            features: Features::PAYLOAD_CRC,
            ..welcome()
        },
        AgentHello {
            credit_bytes: 1024,
            ..welcome()
        },
        AgentHello {
            frame_payload_max: 0,
            ..welcome()
        },
        AgentHello {
            frame_payload_max: 1 << 20,
            ..welcome()
        },
        AgentHello {
            io_bytes_max: 0,
            ..welcome()
        },
    ] {
        assert_eq!(
            hello.accepted(&asked),
            Err(HelloError::BadTerms),
            "{hello:?}"
        );
    }
}

#[test]
fn a_wrong_first_byte_is_enough() {
    assert!(may_begin_hello(b""));
    assert!(may_begin_hello(b"OUTB"));
    assert!(!may_begin_hello(b"GET / HTTP/1.1"));
    assert!(!may_begin_hello(b"OUTBoard"));
}
