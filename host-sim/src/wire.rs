//! The in-process wire: two rings of packets between two stacks on one thread.
//!
//! Medium IP, the largest MTU, nothing to compute checksums for. A slot is a buffer that moves
//! between the ends by pointer: the sender writes the packet where the receiver reads it. Free
//! slots are a stack, so that a quiet wire uses the same warm buffer again and again. A few
//! slots are best; with a delay there must be as many as packets are to be under way.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use dpu_firmware::net::{Link, Medium, PacketDevice, PacketReceive, PacketTransmit};

/// The MTU of the wire in bytes.
pub const MTU: usize = 65_535;

/// How a wire behaves.
#[derive(Debug, Clone, Copy)]
pub struct WireConfig {
    /// Slots in each direction, at least one.
    pub slots: usize,
    /// Added delay in each direction, half of the added round trip.
    pub delay_us: u64,
    /// Packets lost, of a million.
    pub loss_ppm: u32,
    /// Packets that overtake the one before, of a million.
    pub reorder_ppm: u32,
    /// Packets in which one bit is flipped, of a million. Only for stacks with checksums.
    pub damage_ppm: u32,
    /// What decides which.
    pub seed: u64,
}

impl Default for WireConfig {
    fn default() -> Self {
        Self {
            slots: 16,
            delay_us: 0,
            loss_ppm: 0,
            reorder_ppm: 0,
            damage_ppm: 0,
            seed: 0,
        }
    }
}

impl WireConfig {
    /// A wire whose round trip is `round_trip` longer than its packets' handling, with slots for
    /// `packets` under way in each direction. Without any delay a few slots are best.
    #[must_use]
    pub fn with_round_trip(round_trip: Duration, packets: usize) -> WireConfig {
        let plain = WireConfig::default();
        let delay_us = (round_trip.as_micros() / 2) as u64;
        let slots = if delay_us == 0 {
            plain.slots
        } else {
            plain.slots + packets
        };
        WireConfig {
            slots,
            delay_us,
            ..plain
        }
    }
}

struct Packet {
    buffer: Box<[u8]>,
    bytes: usize,
    arrives_us: u64,
}

/// One direction.
struct Ring {
    sent: RefCell<VecDeque<Packet>>,
    free: RefCell<Vec<Box<[u8]>>>,
    dropped: Cell<u64>,
    /// Bytes of all packets that were sent, lost or not.
    bytes: Cell<u64>,
}

impl Ring {
    fn new(slots: usize) -> Rc<Self> {
        let buffers = (0..slots)
            .map(|_| vec![0; MTU + 1].into_boxed_slice())
            .collect();
        Rc::new(Self {
            sent: RefCell::new(VecDeque::with_capacity(slots)),
            free: RefCell::new(buffers),
            dropped: Cell::new(0),
            bytes: Cell::new(0),
        })
    }
}

/// One end of a wire.
pub struct WireEnd {
    receive: WireReceive,
    transmit: WireTransmit,
}

/// Makes a wire.
///
/// # Panics
///
/// If it is to have no slots.
pub fn wire(config: WireConfig) -> (WireEnd, WireEnd) {
    assert!(config.slots > 0, "a wire needs slots");
    let rings = [Ring::new(config.slots), Ring::new(config.slots)];
    let end = |out: usize| WireEnd {
        receive: WireReceive {
            ring: Rc::clone(&rings[1 - out]),
            packet: None,
        },
        transmit: WireTransmit {
            ring: Rc::clone(&rings[out]),
            buffer: None,
            bytes: 0,
            config,
            random: config.seed.wrapping_mul(2).wrapping_add(out as u64),
        },
    };
    (end(0), end(1))
}

impl WireEnd {
    /// Bytes of the packets that this end sent.
    pub fn bytes_sent(&self) -> u64 {
        self.transmit.ring.bytes.get()
    }

    /// Packets that this end sent and the wire lost.
    pub fn lost(&self) -> u64 {
        self.transmit.ring.dropped.get()
    }
}

impl PacketDevice for WireEnd {
    type Receive = WireReceive;
    type Transmit = WireTransmit;

    fn link(&self) -> Link {
        Link {
            medium: Medium::Ip,
            mtu: MTU,
        }
    }

    fn halves(&mut self) -> (&mut WireReceive, &mut WireTransmit) {
        (&mut self.receive, &mut self.transmit)
    }

    fn next_arrival_us(&self) -> Option<u64> {
        match &self.receive.packet {
            Some(packet) => Some(packet.arrives_us),
            None => self
                .receive
                .ring
                .sent
                .borrow()
                .front()
                .map(|packet| packet.arrives_us),
        }
    }
}

/// The receiving half of a [`WireEnd`].
pub struct WireReceive {
    ring: Rc<Ring>,
    packet: Option<Packet>,
}

impl PacketReceive for WireReceive {
    fn peek(&mut self, now_us: u64) -> Option<&[u8]> {
        if self.packet.is_none() {
            let mut sent = self.ring.sent.borrow_mut();
            if sent.front()?.arrives_us > now_us {
                return None;
            }
            self.packet = sent.pop_front();
        }
        self.packet
            .as_ref()
            .map(|packet| &packet.buffer[..packet.bytes])
    }

    fn release(&mut self) {
        if let Some(packet) = self.packet.take() {
            self.ring.free.borrow_mut().push(packet.buffer);
        }
    }
}

/// The transmitting half of a [`WireEnd`].
pub struct WireTransmit {
    ring: Rc<Ring>,
    buffer: Option<Box<[u8]>>,
    bytes: usize,
    config: WireConfig,
    random: u64,
}

impl WireTransmit {
    /// Whether something that happens to `ppm` of a million packets happens to this one.
    fn happens(&mut self, ppm: u32) -> bool {
        ppm > 0 && self.draw() % 1_000_000 < u64::from(ppm)
    }

    /// SplitMix64.
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.random;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }
}

impl PacketTransmit for WireTransmit {
    fn has_room(&mut self) -> bool {
        self.buffer.is_some() || !self.ring.free.borrow().is_empty()
    }

    fn reserve(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if self.buffer.is_none() {
            self.buffer = self.ring.free.borrow_mut().pop();
        }
        self.bytes = bytes;
        self.buffer.as_mut()?.get_mut(..bytes)
    }

    fn commit(&mut self, now_us: u64) {
        let carried = self.ring.bytes.get() + self.bytes as u64;
        self.ring.bytes.set(carried);
        if self.happens(self.config.loss_ppm) {
            // The buffer is kept for the next packet.
            self.ring.dropped.set(self.ring.dropped.get() + 1);
            return;
        }
        let overtakes = self.happens(self.config.reorder_ppm);
        let damaged = self
            .happens(self.config.damage_ppm)
            .then(|| self.draw() as usize);
        let Some(mut buffer) = self.buffer.take() else {
            return;
        };
        let bytes = self.bytes;
        if let Some(bit) = damaged
            && bytes > 0
        {
            buffer[(bit >> 3) % bytes] ^= 1 << (bit & 7);
        }
        let arrives_us = now_us.saturating_add(self.config.delay_us);
        let mut sent = self.ring.sent.borrow_mut();
        sent.push_back(Packet {
            buffer,
            bytes,
            arrives_us,
        });
        let last = sent.len() - 1;
        if overtakes && last > 0 {
            sent.swap(last - 1, last);
        }
    }
}
