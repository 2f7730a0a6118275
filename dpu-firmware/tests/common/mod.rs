//! A device that is two queues, and a peer that writes its packets by hand.
#![allow(dead_code)] // Each test program uses a part.

use std::collections::VecDeque;

use dpu_firmware::net::{
    Addresses, Ipv4Address, Link, Medium, Net, NetConfig, PacketDevice, PacketReceive,
    PacketTransmit,
};

pub(crate) const OWN: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
pub(crate) const PEER: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
pub(crate) const PORT: u16 = 4420;
pub(crate) const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// Packets in, packets out.
pub(crate) struct Queues {
    medium: Medium,
    receive: Inbox,
    transmit: Outbox,
}

#[derive(Default)]
pub(crate) struct Inbox(VecDeque<Vec<u8>>);

pub(crate) struct Outbox {
    packets: VecDeque<Vec<u8>>,
    room: usize,
    slot: Vec<u8>,
}

impl Queues {
    pub(crate) fn new(medium: Medium) -> Self {
        let transmit = Outbox {
            packets: VecDeque::new(),
            room: usize::MAX,
            slot: Vec::new(),
        };
        Self {
            medium,
            receive: Inbox::default(),
            transmit,
        }
    }

    /// How many packets may wait to be taken.
    pub(crate) fn set_room(&mut self, room: usize) {
        self.transmit.room = room;
    }

    pub(crate) fn give(&mut self, packet: Vec<u8>) {
        self.receive.0.push_back(packet);
    }

    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        self.transmit.packets.pop_front()
    }
}

impl PacketDevice for Queues {
    type Receive = Inbox;
    type Transmit = Outbox;

    fn link(&self) -> Link {
        Link {
            medium: self.medium,
            mtu: 65_535,
        }
    }

    fn halves(&mut self) -> (&mut Inbox, &mut Outbox) {
        (&mut self.receive, &mut self.transmit)
    }
}

impl PacketReceive for Inbox {
    fn peek(&mut self, _: u64) -> Option<&[u8]> {
        self.0.front().map(Vec::as_slice)
    }

    fn release(&mut self) {
        self.0.pop_front();
    }
}

impl PacketTransmit for Outbox {
    fn has_room(&mut self) -> bool {
        self.packets.len() < self.room
    }

    fn reserve(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if !self.has_room() {
            return None;
        }
        // What a slot holds is unspecified, so it is made to hold nonsense.
        self.slot = vec![0xa5; bytes];
        Some(&mut self.slot)
    }

    fn commit(&mut self, _: u64) {
        self.packets.push_back(std::mem::take(&mut self.slot));
    }
}

pub(crate) fn config(connections_max: usize) -> NetConfig {
    NetConfig {
        addresses: Addresses::new(OWN, 24),
        connections_max,
        receive_bytes: 8 << 10,
        send_bytes: 8 << 10,
        listen_port: Some(PORT),
        checksums: false,
        seed: 1,
    }
}

/// A TCP segment as bytes go by. Checksums are left zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) source: (Ipv4Address, u16),
    pub(crate) target: (Ipv4Address, u16),
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) acknowledges: u32,
    pub(crate) window: u16,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    pub(crate) fn to_packet(&self) -> Vec<u8> {
        let total = (40 + self.options.len() + self.payload.len()) as u16;
        let mut packet = vec![0x45, 0];
        packet.extend(total.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(self.source.0.octets());
        packet.extend(self.target.0.octets());
        packet.extend(self.source.1.to_be_bytes());
        packet.extend(self.target.1.to_be_bytes());
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.acknowledges.to_be_bytes());
        packet.extend([((20 + self.options.len()) << 2) as u8, self.flags]);
        packet.extend(self.window.to_be_bytes());
        packet.extend([0; 4]);
        packet.extend(&self.options);
        packet.extend(&self.payload);
        packet
    }

    pub(crate) fn from_packet(packet: &[u8]) -> Self {
        let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four"));
        let half = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        assert_eq!(usize::from(half(2)), packet.len(), "total length");
        assert_eq!((packet[0], packet[9]), (0x45, 6), "IPv4 and TCP");
        let body = 20 + usize::from(packet[32] >> 4) * 4;
        Self {
            source: (word(12).into(), half(20)),
            target: (word(16).into(), half(22)),
            flags: packet[33],
            sequence: word(24),
            acknowledges: word(28),
            window: half(34),
            options: packet[40..body].to_vec(),
            payload: packet[body..].to_vec(),
        }
    }
}

/// The far end of one connection, as careless as the test wants it.
pub(crate) struct Peer {
    pub(crate) port: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledges: u32,
}

impl Peer {
    pub(crate) fn new(port: u16) -> Self {
        Self {
            port,
            sequence: 1000,
            acknowledges: 0,
        }
    }

    pub(crate) fn segment(&self, flags: u8, payload: &[u8]) -> Segment {
        // A SYN offers a segment size of 65 495 bytes and a window scale of 7.
        let options = [2, 4, 0xff, 0xd7, 3, 3, 7, 0];
        Segment {
            source: (PEER, self.port),
            target: (OWN, PORT),
            flags,
            sequence: self.sequence,
            acknowledges: self.acknowledges,
            window: 0xffff,
            options: if flags & SYN != 0 {
                options.to_vec()
            } else {
                Vec::new()
            },
            payload: payload.to_vec(),
        }
    }

    /// Sends, and counts what was sent.
    pub(crate) fn send(&mut self, net: &mut Net<Queues>, flags: u8, payload: &[u8]) {
        net.device_mut()
            .give(self.segment(flags, payload).to_packet());
        let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        self.sequence = self.sequence.wrapping_add(payload.len() as u32 + controls);
    }

    /// Opens the connection properly.
    pub(crate) fn open(&mut self, net: &mut Net<Queues>, now_us: u64) {
        self.send(net, SYN, b"");
        net.poll(now_us);
        net.poll(now_us);
        let answer = std::iter::from_fn(|| net.device_mut().take())
            .map(|packet| Segment::from_packet(&packet))
            .find(|segment| segment.target.1 == self.port)
            .expect("an answer");
        assert_eq!(answer.flags, SYN | ACK);
        assert_eq!(answer.acknowledges, self.sequence);
        self.acknowledges = answer.sequence.wrapping_add(1);
        self.send(net, ACK, b"");
        net.poll(now_us);
    }
}

/// All packets that went out so far.
pub(crate) fn sent(net: &mut Net<Queues>) -> Vec<Segment> {
    std::iter::from_fn(|| net.device_mut().take())
        .map(|packet| Segment::from_packet(&packet))
        .collect()
}
