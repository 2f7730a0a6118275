//! A wire between two stacks on one thread: packets in order, none lost.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use dpu_firmware::net::{Link, Medium, PacketDevice, PacketReceive, PacketTransmit};

/// Longer than any segment of the small buffers it is used with.
const MTU: usize = 16 * 1024;

/// Packets under way in one direction at most.
const PACKETS_MAX: usize = 64;

/// One direction, with the buffers of packets that arrived to be used again.
#[derive(Debug)]
struct Lane {
    packets: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

type Shared = Rc<RefCell<Lane>>;

/// One end.
#[derive(Debug)]
pub struct End {
    receive: Receive,
    transmit: Transmit,
}

/// The receiving half of an [`End`].
#[derive(Debug)]
pub struct Receive {
    lane: Shared,
    packet: Option<Vec<u8>>,
}

/// The transmitting half of an [`End`].
#[derive(Debug)]
pub struct Transmit {
    lane: Shared,
    packet: Vec<u8>,
}

/// Both ends of a wire, which allocates nothing after this.
pub(super) fn wire() -> (End, End) {
    let lane = || {
        Rc::new(RefCell::new(Lane {
            packets: VecDeque::with_capacity(PACKETS_MAX),
            spare: Vec::with_capacity(PACKETS_MAX + 2),
        }))
    };
    let lanes = [lane(), lane()];
    let end = |out: usize| End {
        receive: Receive {
            lane: Rc::clone(&lanes[1 - out]),
            packet: None,
        },
        transmit: Transmit {
            lane: Rc::clone(&lanes[out]),
            packet: Vec::new(),
        },
    };
    (end(0), end(1))
}

impl PacketDevice for End {
    type Receive = Receive;
    type Transmit = Transmit;

    fn link(&self) -> Link {
        Link {
            medium: Medium::Ip,
            mtu: MTU,
        }
    }

    fn halves(&mut self) -> (&mut Receive, &mut Transmit) {
        (&mut self.receive, &mut self.transmit)
    }

    fn next_arrival_us(&self) -> Option<u64> {
        let waits = self.receive.packet.is_some() || !self.receive.lane.borrow().packets.is_empty();
        waits.then_some(0)
    }
}

impl PacketReceive for Receive {
    fn peek(&mut self, _now_us: u64) -> Option<&[u8]> {
        if self.packet.is_none() {
            self.packet = self.lane.borrow_mut().packets.pop_front();
        }
        self.packet.as_deref()
    }

    fn release(&mut self) {
        if let Some(packet) = self.packet.take() {
            self.lane.borrow_mut().spare.push(packet);
        }
    }
}

impl PacketTransmit for Transmit {
    fn has_room(&mut self) -> bool {
        self.lane.borrow().packets.len() < PACKETS_MAX
    }

    fn reserve(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if !self.has_room() {
            return None;
        }
        if self.packet.capacity() == 0 {
            self.packet = self.lane.borrow_mut().spare.pop().unwrap_or_default();
            self.packet.reserve(MTU);
        }
        self.packet.resize(bytes, 0);
        Some(&mut self.packet)
    }

    fn commit(&mut self, _now_us: u64) {
        let packet = core::mem::take(&mut self.packet);
        self.lane.borrow_mut().packets.push_back(packet);
    }
}
