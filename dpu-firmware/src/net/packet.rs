//! The few fields of a packet that decide where it goes. Total on any bytes.

use super::table::Key;

pub(super) const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
pub(super) const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;

const PROTOCOL_TCP: u8 = 6;
const IP_HEADER_BYTES: usize = 20;

/// A TCP segment addressed to us whose lengths are consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) key: Key,
    pub(super) local_port: u16,
    pub(super) flags: u8,
    pub(super) payload_bytes: usize,
}

impl Segment {
    /// Whether this opens a connection (RFC 9293, 3.5).
    pub(super) fn opens(&self) -> bool {
        self.flags & (SYN | ACK | RST | FIN) == SYN
    }
}

/// What kind of packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP for us.
    Segment(Segment),
    /// Another protocol, for us.
    Other,
    /// Not for us, damaged, or a fragment.
    Junk,
}

/// Looks at an IPv4 packet sent to `own`.
///
/// Fragments are junk: every medium here carries what its MTU says, and TCP segments to it.
pub(super) fn classify(packet: &[u8], own: u32) -> Kind {
    let Some(head) = packet.first_chunk::<IP_HEADER_BYTES>() else {
        return Kind::Junk;
    };
    let header_bytes = usize::from(head[0] & 0x0f) * 4;
    let total_bytes = usize::from(u16::from_be_bytes([head[2], head[3]]));
    let fragment = u16::from_be_bytes([head[6], head[7]]) & 0x3fff;
    let source = u32::from_be_bytes([head[12], head[13], head[14], head[15]]);
    let target = u32::from_be_bytes([head[16], head[17], head[18], head[19]]);
    // Class D and E, broadcast among them, and "this network" are nobody's address.
    let nobody = source >= 0xe000_0000 || source >> 24 == 0;
    if head[0] >> 4 != 4
        || header_bytes < IP_HEADER_BYTES
        || fragment != 0
        || target != own
        || source == own
        || nobody
    {
        return Kind::Junk;
    }
    let Some(body) = packet.get(header_bytes..total_bytes) else {
        return Kind::Junk;
    };
    if head[9] != PROTOCOL_TCP {
        return Kind::Other;
    }
    segment(body, source).map_or(Kind::Junk, Kind::Segment)
}

fn segment(body: &[u8], source: u32) -> Option<Segment> {
    let head = body.first_chunk::<20>()?;
    let header_bytes = usize::from(head[12] >> 4) * 4;
    let remote_port = u16::from_be_bytes([head[0], head[1]]);
    let local_port = u16::from_be_bytes([head[2], head[3]]);
    if header_bytes < 20 || remote_port == 0 || local_port == 0 {
        return None;
    }
    let payload_bytes = body.len().checked_sub(header_bytes)?;
    let key = Key::new(source, remote_port, local_port);
    Some(Segment {
        key,
        local_port,
        flags: head[13],
        payload_bytes,
    })
}

/// Whether a packet that smoltcp wrote may be followed by another of the same connection:
/// it carries data, and neither PSH nor FIN says that this was the last of it.
pub(super) fn more_may_follow(packet: &[u8]) -> bool {
    let Some(head) = packet.first_chunk::<40>() else {
        return false;
    };
    let header_bytes = IP_HEADER_BYTES + usize::from(head[32] >> 4) * 4;
    head[9] == PROTOCOL_TCP && packet.len() > header_bytes && head[33] & (PSH | FIN | RST) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWN: u32 = 0x0a00_0001;

    fn packet() -> Vec<u8> {
        let mut packet = vec![0; 45];
        packet[0] = 0x45;
        packet[3] = 45;
        packet[9] = PROTOCOL_TCP;
        packet[12..16].copy_from_slice(&[10, 0, 0, 2]);
        packet[16..20].copy_from_slice(&[10, 0, 0, 1]);
        packet[20..24].copy_from_slice(&[0x12, 0x34, 0, 80]);
        packet[32] = 0x50;
        packet[33] = SYN;
        packet
    }

    #[test]
    fn reads_the_fields() {
        let Kind::Segment(segment) = classify(&packet(), OWN) else {
            panic!("a segment")
        };
        assert_eq!(segment.key, Key::new(0x0a00_0002, 0x1234, 80));
        assert_eq!((segment.local_port, segment.payload_bytes), (80, 5));
        assert!(segment.opens());
    }

    #[test]
    fn refuses_what_is_inconsistent() {
        let spoil: [(usize, u8); 9] = [
            (0, 0x65),  // version
            (0, 0x44),  // header too short
            (3, 46),    // longer than the packet
            (3, 39),    // no whole TCP header
            (6, 0x20),  // more fragments
            (7, 0x01),  // fragment offset
            (12, 0xe0), // from a group
            (32, 0x40), // TCP header too short
            (32, 0x70), // TCP header past the end
        ];
        for (at, value) in spoil {
            let mut packet = packet();
            packet[at] = value;
            assert_eq!(classify(&packet, OWN), Kind::Junk, "byte {at} = {value:#x}");
        }
        assert_eq!(classify(&packet(), OWN + 1), Kind::Junk);
        let mut other = packet();
        other[9] = 1;
        assert_eq!(classify(&other, OWN), Kind::Other);
    }

    proptest! {
        #[test]
        fn is_total(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = classify(&bytes, OWN);
            let _ = more_may_follow(&bytes);
        }

        #[test]
        fn is_total_near_the_truth(at in 0..45_usize, value: u8, cut in 0..46_usize) {
            let mut packet = packet();
            packet[at] = value;
            if let Kind::Segment(segment) = classify(&packet[..cut], OWN) {
                prop_assert!(segment.payload_bytes + 40 <= cut);
            }
        }
    }
}
