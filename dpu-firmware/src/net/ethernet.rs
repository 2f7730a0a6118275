//! Ethernet and ARP, once in front of all shards (RFC 826, RFC 894).
//!
//! A connection answers to the station its last packet came from, so passive opens need no
//! resolution at all. Only active opens ask for an address, and only they use the table of
//! neighbours, which is filled from ARP packets addressed to us.

use super::limits::{ARP_AGAIN_US, NEIGHBOURS_MAX};

/// A station address.
pub(super) type Mac = [u8; 6];

pub(super) const HEADER_BYTES: usize = 14;
pub(super) const ARP_FRAME_BYTES: usize = HEADER_BYTES + 28;

const BROADCAST: Mac = [0xff; 6];
const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
const TYPE_ARP: [u8; 2] = [0x08, 0x06];
/// Hardware Ethernet, protocol IPv4, address lengths 6 and 4.
const ARP_FIXED: [u8; 6] = [0, 1, 0x08, 0x00, 6, 4];
const ARP_REQUEST: u8 = 1;
const ARP_REPLY: u8 = 2;

/// What a received frame asks of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frame<'f> {
    /// An IPv4 packet and who sent it.
    Ip(Mac, &'f [u8]),
    /// Somebody asks for our address; `learned` says that the asker is now known.
    ArpRequest {
        mac: Mac,
        address: u32,
        learned: bool,
    },
    /// Somebody told us an address.
    ArpReply { address: u32 },
    /// Nothing.
    Junk,
}

#[derive(Debug, Clone, Copy)]
struct Neighbour {
    address: u32,
    mac: Option<Mac>,
    asked_us: Option<u64>,
}

/// Our place on an Ethernet.
pub(super) struct Ethernet {
    mac: Mac,
    address: u32,
    mask: u32,
    gateway: Option<u32>,
    neighbours: [Neighbour; NEIGHBOURS_MAX],
    /// Where the next unknown neighbour goes.
    oldest: usize,
}

impl Ethernet {
    pub(super) fn new(mac: Mac, address: u32, prefix_bits: u8, gateway: Option<u32>) -> Self {
        let mask = u32::MAX
            .checked_shl(32 - u32::from(prefix_bits.min(32)))
            .unwrap_or(0);
        let nobody = Neighbour {
            address: 0,
            mac: None,
            asked_us: None,
        };
        Self {
            mac,
            address,
            mask,
            gateway,
            neighbours: [nobody; NEIGHBOURS_MAX],
            oldest: 0,
        }
    }

    /// Sorts a received frame and learns from it if it is ARP.
    pub(super) fn receive<'f>(&mut self, frame: &'f [u8]) -> Frame<'f> {
        let Some((head, body)) = frame.split_first_chunk::<HEADER_BYTES>() else {
            return Frame::Junk;
        };
        let [t0, t1, t2, t3, t4, t5, s0, s1, s2, s3, s4, s5, kind @ ..] = *head;
        let target = [t0, t1, t2, t3, t4, t5];
        let source = [s0, s1, s2, s3, s4, s5];
        if source[0] & 1 != 0 || (target != self.mac && target != BROADCAST) {
            return Frame::Junk;
        }
        match kind {
            TYPE_IPV4 if target == self.mac => Frame::Ip(source, body),
            TYPE_ARP => self.receive_arp(body),
            _ => Frame::Junk,
        }
    }

    fn receive_arp<'f>(&mut self, body: &[u8]) -> Frame<'f> {
        let Some(arp) = body.first_chunk::<28>() else {
            return Frame::Junk;
        };
        let mac: Mac = [arp[8], arp[9], arp[10], arp[11], arp[12], arp[13]];
        let address = u32::from_be_bytes([arp[14], arp[15], arp[16], arp[17]]);
        let wanted = u32::from_be_bytes([arp[24], arp[25], arp[26], arp[27]]);
        let local = (address ^ self.address) & self.mask == 0 && address != self.address;
        if arp[..6] != ARP_FIXED || arp[6] != 0 || wanted != self.address || mac[0] & 1 != 0 {
            return Frame::Junk;
        }
        match arp[7] {
            // RFC 5227 probes come from address zero: answered, not learned from.
            ARP_REQUEST if address == 0 || local => {
                let learned = local && self.learn(address, mac);
                Frame::ArpRequest {
                    mac,
                    address,
                    learned,
                }
            }
            ARP_REPLY if local && self.learn(address, mac) => Frame::ArpReply { address },
            _ => Frame::Junk,
        }
    }

    /// Notes the station of an address we asked for. Others are not our concern, so that
    /// nobody can fill the table.
    fn learn(&mut self, address: u32, mac: Mac) -> bool {
        let known = self.neighbours.iter_mut().find(|n| n.address == address);
        known.is_some_and(|neighbour| {
            neighbour.mac = Some(mac);
            true
        })
    }

    /// The address whose station packets to `remote` go to.
    pub(super) fn next_hop(&self, remote: u32) -> Option<u32> {
        if (remote ^ self.address) & self.mask == 0 {
            Some(remote)
        } else {
            self.gateway
        }
    }

    /// The station of a neighbour, or whether it is time to ask for it.
    pub(super) fn resolve(&mut self, address: u32, now_us: u64) -> Resolution {
        let index = match self.neighbours.iter().position(|n| n.address == address) {
            Some(index) => index,
            None => {
                let index = self.oldest;
                self.oldest = (index + 1) % NEIGHBOURS_MAX;
                self.neighbours[index] = Neighbour {
                    address,
                    mac: None,
                    asked_us: None,
                };
                index
            }
        };
        let neighbour = &mut self.neighbours[index];
        match (neighbour.mac, neighbour.asked_us) {
            (Some(mac), _) => Resolution::Known(mac),
            (None, Some(asked_us)) if now_us < asked_us + ARP_AGAIN_US => Resolution::Asked,
            _ => {
                neighbour.asked_us = Some(now_us);
                Resolution::Ask
            }
        }
    }

    /// The header of a frame with an IPv4 packet to `target`.
    pub(super) fn header(&self, target: Mac) -> [u8; HEADER_BYTES] {
        header(target, self.mac, TYPE_IPV4)
    }

    /// Answers a request for our address.
    pub(super) fn write_reply(&self, frame: &mut [u8], mac: Mac, address: u32) {
        self.write_arp(frame, ARP_REPLY, mac, mac, address);
    }

    /// Asks everybody for the station of `address`.
    pub(super) fn write_request(&self, frame: &mut [u8], address: u32) {
        self.write_arp(frame, ARP_REQUEST, BROADCAST, [0; 6], address);
    }

    fn write_arp(&self, frame: &mut [u8], kind: u8, to: Mac, mac: Mac, address: u32) {
        let Some(frame) = frame.first_chunk_mut::<ARP_FRAME_BYTES>() else {
            return;
        };
        let parts: [&[u8]; 7] = [
            &header(to, self.mac, TYPE_ARP),
            &ARP_FIXED,
            &[0, kind],
            &self.mac,
            &self.address.to_be_bytes(),
            &mac,
            &address.to_be_bytes(),
        ];
        let bytes = parts.into_iter().flatten();
        frame
            .iter_mut()
            .zip(bytes)
            .for_each(|(place, &byte)| *place = byte);
    }
}

/// What is known of a neighbour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    Known(Mac),
    /// Nothing, and the caller shall send a request now.
    Ask,
    /// Nothing yet, a request is under way.
    Asked,
}

fn header(target: Mac, source: Mac, kind: [u8; 2]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..6].copy_from_slice(&target);
    header[6..12].copy_from_slice(&source);
    header[12..].copy_from_slice(&kind);
    header
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const US: Mac = [2, 0, 0, 0, 0, 1];
    const PEER: Mac = [2, 0, 0, 0, 0, 2];
    const OWN: u32 = 0x0a00_0001;
    const OTHER: u32 = 0x0a00_0002;
    const GATEWAY: u32 = 0x0a00_00fe;

    fn ethernet() -> Ethernet {
        Ethernet::new(US, OWN, 24, Some(GATEWAY))
    }

    /// What the other station would send.
    fn from_peer(write: impl Fn(&Ethernet, &mut [u8])) -> [u8; ARP_FRAME_BYTES] {
        let mut frame = [0; ARP_FRAME_BYTES];
        write(&Ethernet::new(PEER, OTHER, 24, None), &mut frame);
        frame
    }

    #[test]
    fn answers_requests_for_us_only() {
        let frame = from_peer(|peer, frame| peer.write_request(frame, OWN));
        // Bytes written out by hand: a broadcast "who has 10.0.0.1, tell 10.0.0.2".
        assert_eq!(
            frame,
            [
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 8, 6, // Ethernet
                0, 1, 8, 0, 6, 4, 0, 1, // ARP request
                2, 0, 0, 0, 0, 2, 10, 0, 0, 2, // sender
                0, 0, 0, 0, 0, 0, 10, 0, 0, 1, // target
            ]
        );
        let expected = Frame::ArpRequest {
            mac: PEER,
            address: OTHER,
            learned: false,
        };
        assert_eq!(ethernet().receive(&frame), expected);
        let elsewhere = from_peer(|peer, frame| peer.write_request(frame, OWN + 9));
        assert_eq!(ethernet().receive(&elsewhere), Frame::Junk);
    }

    #[test]
    fn learns_only_what_it_asked() {
        let mut ethernet = ethernet();
        let reply = from_peer(|peer, frame| peer.write_reply(frame, US, OWN));
        assert_eq!(ethernet.receive(&reply), Frame::Junk);
        assert_eq!(ethernet.resolve(OTHER, 0), Resolution::Ask);
        assert_eq!(ethernet.resolve(OTHER, ARP_AGAIN_US - 1), Resolution::Asked);
        assert_eq!(ethernet.resolve(OTHER, ARP_AGAIN_US), Resolution::Ask);
        assert_eq!(ethernet.receive(&reply), Frame::ArpReply { address: OTHER });
        assert_eq!(ethernet.resolve(OTHER, 0), Resolution::Known(PEER));
    }

    #[test]
    fn far_addresses_go_by_the_gateway() {
        assert_eq!(ethernet().next_hop(OTHER), Some(OTHER));
        assert_eq!(ethernet().next_hop(0x0808_0808), Some(GATEWAY));
        assert_eq!(Ethernet::new(US, OWN, 24, None).next_hop(0x0808_0808), None);
        assert_eq!(
            Ethernet::new(US, OWN, 0, None).next_hop(0x0808_0808),
            Some(0x0808_0808)
        );
    }

    #[test]
    fn takes_packets_for_its_own_station() {
        let mut frame = [7; 34];
        frame[..HEADER_BYTES].copy_from_slice(&header(US, PEER, TYPE_IPV4));
        assert_eq!(ethernet().receive(&frame), Frame::Ip(PEER, &[7; 20]));
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        assert_eq!(ethernet().receive(&frame), Frame::Junk);
        frame[..6].copy_from_slice(&BROADCAST);
        assert_eq!(ethernet().receive(&frame), Frame::Junk);
    }

    proptest! {
        #[test]
        fn is_total(bytes in prop::collection::vec(any::<u8>(), 0..64), at in 0..42_usize, value: u8) {
            let _ = ethernet().receive(&bytes);
            let mut frame = from_peer(|peer, frame| peer.write_request(frame, OWN));
            frame[at] = value;
            let _ = ethernet().receive(&frame);
        }
    }
}
