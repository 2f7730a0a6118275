//! One smoltcp interface with the socket of one connection.
//!
//! smoltcp looks at every socket of an interface for each packet that comes and on each pass
//! that sends: 1 µs a request was measured to become 48 µs beside a thousand idle connections,
//! some 47 ns for each. By that, sixteen sockets a shard would still cost most of a microsecond.
//! A shard of one socket costs what that socket costs, and an interface without link layer,
//! fragments and multicast is a few hundred bytes. So a shard is a connection, and the front's
//! table does the looking up.

use alloc::vec;
use core::net::Ipv4Addr;

use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet, SocketStorage};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities};
use smoltcp::socket::tcp;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpEndpoint, IpListenEndpoint};

use super::device::PacketTransmit;
use super::ethernet::HEADER_BYTES;
use super::limits::{KEEP_ALIVE_US, TIMEOUT_US};
use super::packet;

/// smoltcp's clock from ours.
pub(super) fn instant(now_us: u64) -> Instant {
    Instant::from_micros(i64::try_from(now_us).unwrap_or(i64::MAX))
}

/// What all shards of a stack have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Common {
    pub(super) address: Ipv4Addr,
    pub(super) prefix_bits: u8,
    pub(super) mtu: usize,
    pub(super) checksums: bool,
}

impl Common {
    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = self.mtu;
        if !self.checksums {
            capabilities.checksum = ChecksumCapabilities::ignored();
        }
        capabilities
    }

    /// An interface whose sequence numbers follow from `seed`.
    fn interface(&self, seed: u64) -> Interface {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut Nowhere(self), Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::Ipv4(self.address), self.prefix_bits);
            // The list is empty and holds two.
            let _ = addresses.push(address);
        });
        interface
    }
}

/// The device of a shard for one pass: at most one packet in, and the transmit half of the
/// real device out.
pub(super) struct Port<'a, T> {
    pub(super) common: &'a Common,
    pub(super) packet: Option<&'a [u8]>,
    pub(super) transmit: &'a mut T,
    /// Where replies go that find no slot: they are lost, as on any full link.
    pub(super) sink: &'a mut [u8],
    /// Goes in front of each packet on an Ethernet.
    pub(super) header: Option<[u8; HEADER_BYTES]>,
    pub(super) now_us: u64,
    pub(super) sent: Sent,
}

/// What went through a [`Port`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sent {
    pub(super) packets: u32,
    /// Replies lost for want of a slot.
    pub(super) lost: u32,
    /// There was something to send, and no slot.
    pub(super) blocked: bool,
    /// The last packet may be followed by another at once.
    pub(super) more: bool,
}

impl<T: PacketTransmit> Device for Port<'_, T> {
    type RxToken<'t>
        = Arrived<'t>
    where
        Self: 't;
    type TxToken<'t>
        = Slot<'t, T>
    where
        Self: 't;

    /// Hands out a transmit token even when no slot is free: a stack that would not take
    /// packets in before it can send deadlocks with a peer of the same mind.
    fn receive(&mut self, _: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let packet = self.packet.take()?;
        Some((Arrived(packet), self.slot()))
    }

    fn transmit(&mut self, _: Instant) -> Option<Self::TxToken<'_>> {
        if !self.transmit.has_room() {
            self.sent.blocked = true;
            return None;
        }
        Some(self.slot())
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.common.capabilities()
    }
}

impl<T> Port<'_, T> {
    fn slot(&mut self) -> Slot<'_, T> {
        Slot {
            transmit: self.transmit,
            sink: self.sink,
            header: self.header.as_ref().map_or(&[], |header| &header[..]),
            now_us: self.now_us,
            sent: &mut self.sent,
        }
    }
}

pub(super) struct Arrived<'t>(&'t [u8]);

impl phy::RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

pub(super) struct Slot<'t, T> {
    transmit: &'t mut T,
    sink: &'t mut [u8],
    header: &'t [u8],
    now_us: u64,
    sent: &'t mut Sent,
}

impl<T: PacketTransmit> phy::TxToken for Slot<'_, T> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, fill: F) -> R {
        let Some(slot) = self.transmit.reserve(self.header.len() + bytes) else {
            self.sent.lost += 1;
            return fill(&mut self.sink[..bytes]);
        };
        let (header, packet) = slot.split_at_mut(self.header.len());
        if !self.header.is_empty() {
            header.copy_from_slice(self.header);
        }
        let result = fill(packet);
        self.sent.packets += 1;
        self.sent.more = packet::more_may_follow(packet);
        self.transmit.commit(self.now_us);
        result
    }
}

/// For building interfaces, which only ask for capabilities.
struct Nowhere<'a>(&'a Common);

struct NoToken;

impl phy::RxToken for NoToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&[])
    }
}

impl phy::TxToken for NoToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _: usize, fill: F) -> R {
        fill(&mut [])
    }
}

impl Device for Nowhere<'_> {
    type RxToken<'t>
        = NoToken
    where
        Self: 't;
    type TxToken<'t>
        = NoToken
    where
        Self: 't;

    fn receive(&mut self, _: Instant) -> Option<(NoToken, NoToken)> {
        None
    }

    fn transmit(&mut self, _: Instant) -> Option<NoToken> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        self.0.capabilities()
    }
}

/// A connection's socket and the interface that drives it.
pub(super) struct Shard {
    interface: Interface,
    sockets: SocketSet<'static>,
    socket: SocketHandle,
}

impl Shard {
    /// Allocates the socket's buffers, and nothing later.
    pub(super) fn new(common: &Common, receive_bytes: usize, send_bytes: usize) -> Self {
        let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(receive_bytes), buffer(send_bytes));
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_timeout(Some(Duration::from_micros(TIMEOUT_US)));
        socket.set_keep_alive(Some(Duration::from_micros(KEEP_ALIVE_US)));
        let mut sockets = SocketSet::new(vec![SocketStorage::EMPTY]);
        let socket = sockets.add(socket);
        Self {
            interface: common.interface(0),
            sockets,
            socket,
        }
    }

    #[inline]
    pub(super) fn socket(&self) -> &tcp::Socket<'static> {
        self.sockets.get(self.socket)
    }

    #[inline]
    pub(super) fn socket_mut(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.socket)
    }

    /// Forgets whatever connection there was, without a word to its peer.
    pub(super) fn reset(&mut self) {
        let socket = self.socket_mut();
        socket.abort();
        // Listening clears everything, the peer's address among it; any port does.
        let _ = socket.listen(1);
        socket.close();
    }

    /// Waits for the SYN that is about to be handed in.
    pub(super) fn listen(&mut self, common: &Common, port: u16, seed: u64) {
        self.reset();
        self.interface = common.interface(seed);
        let endpoint = IpListenEndpoint {
            addr: Some(IpAddress::Ipv4(common.address)),
            port,
        };
        // A closed socket and a port that is not zero: cannot fail.
        let _ = self.socket_mut().listen(endpoint);
    }

    /// Opens a connection. False if the address cannot be connected to.
    pub(super) fn connect(
        &mut self,
        common: &Common,
        remote: (Ipv4Addr, u16),
        local_port: u16,
        seed: u64,
    ) -> bool {
        self.reset();
        self.interface = common.interface(seed);
        let local = IpEndpoint::new(IpAddress::Ipv4(common.address), local_port);
        let remote = IpEndpoint::new(IpAddress::Ipv4(remote.0), remote.1);
        let socket = self.sockets.get_mut::<tcp::Socket>(self.socket);
        socket
            .connect(self.interface.context(), remote, local)
            .is_ok()
    }

    /// Takes in the port's packet.
    pub(super) fn ingress<T: PacketTransmit>(&mut self, port: &mut Port<'_, T>) {
        let now = instant(port.now_us);
        let _ = self
            .interface
            .poll_ingress_single(now, port, &mut self.sockets);
    }

    /// Sends one packet if there is one to send.
    pub(super) fn egress<T: PacketTransmit>(&mut self, port: &mut Port<'_, T>) -> bool {
        let now = instant(port.now_us);
        self.interface.poll_egress(now, port, &mut self.sockets) != PollResult::None
    }

    /// When the connection wants to be polled next, were nothing to arrive.
    pub(super) fn due_us(&mut self, now_us: u64) -> Option<u64> {
        let at = self.interface.poll_at(instant(now_us), &self.sockets)?;
        Some(u64::try_from(at.total_micros()).unwrap_or(0))
    }
}

/// Answers what belongs to no connection: resets, and echo replies.
pub(super) struct Stray {
    interface: Interface,
    sockets: SocketSet<'static>,
}

impl Stray {
    pub(super) fn new(common: &Common) -> Self {
        Self {
            interface: common.interface(0),
            sockets: SocketSet::new(vec![]),
        }
    }

    pub(super) fn ingress<T: PacketTransmit>(&mut self, port: &mut Port<'_, T>) {
        let now = instant(port.now_us);
        let _ = self
            .interface
            .poll_ingress_single(now, port, &mut self.sockets);
    }
}
