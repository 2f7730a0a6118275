//! The numbers the network module is built to.

/// Connections a [`Net`](super::Net) can hold at most: an id has 16 bits for the slot.
pub const CONNECTIONS_MAX: usize = 1 << 15;

/// Least IP MTU accepted (RFC 791: every host takes 576 bytes).
pub const MTU_MIN: usize = 576;

/// Largest IP MTU accepted: the total length field of IPv4 has 16 bits.
pub const MTU_MAX: usize = 65_535;

/// Packets taken from the device in one pass, so that a pass is bounded.
pub const INGRESS_PACKETS_MAX: usize = 64;

/// Packets one connection may send in one pass before the next has its turn.
pub const EGRESS_PACKETS_MAX: usize = 8;

/// A connection whose peer says nothing for this long while it should is dropped.
pub const TIMEOUT_US: u64 = 30_000_000;

/// Silence after which a connection asks its peer for a sign of life.
pub const KEEP_ALIVE_US: u64 = 10_000_000;

/// Age from which a half-open connection may be dropped when its slot is needed.
pub const HALF_OPEN_US: u64 = 1_000_000;

/// No timer of a connection that has just been polled falls due before this: the least
/// retransmission timeout of smoltcp (RFC 6298, 2.4). Keep-alive, TIME-WAIT and the
/// connection timeout are all longer, and acknowledgements are not delayed.
pub const TIMER_LEAST_US: u64 = 1_000_000;

/// Pause before a connection that said it is due, yet sent nothing, is looked at again.
pub const TIMER_AGAIN_US: u64 = 10_000;

/// First of the ports that active opens use (RFC 6335: 49152 to 65535).
pub const EPHEMERAL_PORT_FIRST: u16 = 49_152;

/// Addresses on the local Ethernet that are remembered.
pub const NEIGHBOURS_MAX: usize = 16;

/// Least pause between two ARP requests for the same address.
pub const ARP_AGAIN_US: u64 = 500_000;
