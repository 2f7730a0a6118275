//! What a network interface must offer: packets in, packets out, both in place.
//!
//! A device is two independent halves, so that an answer can be written into a transmit slot
//! while the packet it answers is still being read from its receive slot. Nothing is copied
//! between a device and a socket's buffer. Transmitting takes two steps, `reserve` and
//! `commit`; a packet that was reserved and not committed was never sent.

/// What lies below IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Bare IPv4 packets.
    Ip,
    /// Ethernet II frames without frame check sequence.
    Ethernet {
        /// Our own address.
        mac: [u8; 6],
    },
}

impl Medium {
    /// Bytes in front of an IPv4 packet.
    pub const fn header_bytes(self) -> usize {
        match self {
            Medium::Ip => 0,
            Medium::Ethernet { .. } => 14,
        }
    }
}

/// What does not change about an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// What lies below IPv4.
    pub medium: Medium,
    /// Largest IPv4 packet in bytes, headers of the medium not counted.
    pub mtu: usize,
}

/// A network interface.
pub trait PacketDevice {
    /// The receiving half.
    type Receive: PacketReceive;
    /// The transmitting half.
    type Transmit: PacketTransmit;

    /// What does not change about the interface.
    fn link(&self) -> Link;

    /// Both halves at once.
    fn halves(&mut self) -> (&mut Self::Receive, &mut Self::Transmit);

    /// When the next packet that is already under way arrives, if the device knows.
    ///
    /// Links that add a delay know; hardware interrupts instead and answers `None`.
    fn next_arrival_us(&self) -> Option<u64> {
        None
    }
}

/// The receiving half of a [`PacketDevice`].
pub trait PacketReceive {
    /// The oldest packet received, header of the medium included. It stays until released.
    fn peek(&mut self, now_us: u64) -> Option<&[u8]>;

    /// Gives the slot of the packet last peeked at back to the device.
    fn release(&mut self);
}

/// The transmitting half of a [`PacketDevice`].
pub trait PacketTransmit {
    /// Whether [`reserve`](Self::reserve) would succeed now.
    fn has_room(&mut self) -> bool;

    /// A slot of exactly `bytes` bytes to be filled. `bytes` is at most the link's MTU and the
    /// medium's header. What the slot holds before is unspecified.
    fn reserve(&mut self, bytes: usize) -> Option<&mut [u8]>;

    /// Sends the slot last reserved.
    fn commit(&mut self, now_us: u64);
}
