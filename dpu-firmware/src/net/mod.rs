//! TCP over a packet device: the only place that names smoltcp.
//!
//! One type, [`Net`], is the agent's server and, in the simulator, the client's stack. It is
//! polled, never waits, knows no clock, and allocates in its constructor only.
//!
//! ```text
//!  PacketDevice ─▶ Ethernet, ARP ─▶ classify ─▶ table ─▶ shard ─▶ socket ─▶ ready ─▶ events
//!               ◀─────────────────────────────────────── shard ◀─ dirty ◀─ send, close, timer
//! ```
//!
//! A packet is looked at once for its addresses and ports, and then read in its receive slot
//! by the shard of its connection; what a shard sends is written straight into a transmit slot.
//! A shard is one smoltcp interface with one socket: `shard` says why. Connections are
//! taken at SYN, when one is free; a SYN that finds none is dropped and not reset, so that the
//! peer tries again. TIME-WAIT, and half-open connections older than a second, give way.
//!
//! The loop that costs least is
//!
//! ```text
//!  receive ─▶ events: read, answer ─▶ flush
//! ```
//!
//! because acknowledgements then ride on answers. [`Net::poll`] is that loop for those who have
//! one call only: it sends what was queued since the last call first, and then receives.

mod connection;
mod counters;
mod device;
mod ethernet;
mod fifo;
mod front;
pub mod limits;
mod list;
mod packet;
pub(crate) mod secret;
mod shard;
mod table;

pub use core::net::Ipv4Addr as Ipv4Address;

pub use connection::{ConnectionId, NetEvent};
pub use counters::NetCounters;
pub use device::{Link, Medium, PacketDevice, PacketReceive, PacketTransmit};

use front::Front;
use limits::{CONNECTIONS_MAX, INGRESS_PACKETS_MAX, MTU_MAX, MTU_MIN};
use smoltcp::socket::tcp::State;

/// Our place in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// Our own address.
    pub own: Ipv4Address,
    /// How many leading bits name our network, 0 to 32.
    pub prefix_bits: u8,
    /// Who carries packets out of our network; an Ethernet needs it, other media do not.
    pub gateway: Option<Ipv4Address>,
}

impl Addresses {
    /// An address in a network without way out.
    pub const fn new(own: Ipv4Address, prefix_bits: u8) -> Self {
        Self {
            own,
            prefix_bits,
            gateway: None,
        }
    }
}

/// What a stack is made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetConfig {
    /// Our place in the network.
    pub addresses: Addresses,
    /// Connections at a time, 1 to [`limits::CONNECTIONS_MAX`].
    pub connections_max: usize,
    /// Receive buffer of each connection in bytes. Above 64 KiB it is rounded down to one less
    /// than a power of two.
    pub receive_bytes: usize,
    /// Send buffer of each connection in bytes.
    pub send_bytes: usize,
    /// The port that connections are accepted on.
    pub listen_port: Option<u16>,
    /// Whether to compute and to verify checksums. Off where the device does, or where the
    /// medium is memory.
    pub checksums: bool,
    /// Sequence numbers, local ports and the table's order follow from it. Must not be
    /// guessable by peers.
    pub seed: u64,
}

/// A TCP stack on a device.
pub struct Net<D: PacketDevice> {
    device: D,
    front: Front,
}

impl<D: PacketDevice> Net<D> {
    /// Makes the stack and everything it will ever need.
    ///
    /// # Panics
    ///
    /// If `connections_max`, a buffer size, the MTU or the prefix is out of its range, if our
    /// address is not one of a host, or if the port to listen on is 0.
    pub fn new(device: D, config: NetConfig) -> Self {
        let link = device.link();
        let own = config.addresses.own;
        assert!(
            (1..=CONNECTIONS_MAX).contains(&config.connections_max),
            "connections_max"
        );
        assert!((MTU_MIN..=MTU_MAX).contains(&link.mtu), "MTU {}", link.mtu);
        assert!(
            config.receive_bytes >= 1 && config.receive_bytes <= 1 << 30,
            "receive_bytes"
        );
        assert!(
            config.send_bytes >= 1 && config.send_bytes <= 1 << 30,
            "send_bytes"
        );
        assert!(config.addresses.prefix_bits <= 32, "prefix_bits");
        assert!(
            !own.is_unspecified() && !own.is_multicast() && !own.is_broadcast(),
            "address"
        );
        assert!(config.listen_port != Some(0), "listen_port");
        let front = Front::new(&config, link);
        Self { device, front }
    }

    /// Sends what was queued, takes in what arrived, and sees to timers; bounded. Says whether
    /// a packet moved. To be called again until it says no, and then at
    /// [`wake_at`](Self::wake_at) or when the device has something.
    pub fn poll(&mut self, now_us: u64) -> bool {
        let sent = self.flush(now_us);
        self.receive(now_us) || sent
    }

    /// The first half of a turn: takes in what arrived. Says whether a packet did.
    pub fn receive(&mut self, now_us: u64) -> bool {
        let (receive, transmit) = self.device.halves();
        for taken in 0..INGRESS_PACKETS_MAX {
            let Some(packet) = receive.peek(now_us) else {
                return taken > 0;
            };
            self.front.ingress(packet, transmit, now_us);
            receive.release();
        }
        true
    }

    /// The second half of a turn: sees to timers and sends. Says whether a packet went.
    pub fn flush(&mut self, now_us: u64) -> bool {
        self.front.fire(now_us);
        let (_, transmit) = self.device.halves();
        self.front.egress(transmit, now_us) > 0
    }

    /// What happened, one event at a time.
    pub fn next_event(&mut self) -> Option<NetEvent> {
        self.front.next_event()
    }

    /// Opens a connection. `Opened` or `Closed` follows. `None` if no connection is free or the
    /// address is none to connect to.
    pub fn connect(&mut self, now_us: u64, remote: (Ipv4Address, u16)) -> Option<ConnectionId> {
        self.front.connect(now_us, remote)
    }

    /// The bytes received and not consumed, as far as they lie in one piece.
    pub fn received(&mut self, id: ConnectionId) -> &[u8] {
        let Some(index) = self.front.find(id) else {
            return &[];
        };
        self.front.shards[index]
            .socket_mut()
            .peek(usize::MAX)
            .unwrap_or(&[])
    }

    /// Copies the bytes received and not consumed, also where they lie in two pieces. Returns
    /// how many fitted.
    pub fn peek(&mut self, id: ConnectionId, bytes: &mut [u8]) -> usize {
        let Some(index) = self.front.find(id) else {
            return 0;
        };
        self.front.shards[index]
            .socket_mut()
            .peek_slice(bytes)
            .unwrap_or(0)
    }

    /// How many bytes were received and not consumed, in one piece or two.
    pub fn unread(&self, id: ConnectionId) -> usize {
        self.front
            .find(id)
            .map_or(0, |index| self.front.shards[index].socket().recv_queue())
    }

    /// Gives up the first `bytes` of the bytes received, or all if there are fewer.
    pub fn consume(&mut self, id: ConnectionId, bytes: usize) {
        let Some(index) = self.front.find(id) else {
            return;
        };
        let socket = self.front.shards[index].socket_mut();
        let wanted = bytes.min(socket.recv_queue());
        let mut rest = wanted;
        while rest > 0 {
            let taken = socket.recv(|piece| {
                let taken = rest.min(piece.len());
                (taken, taken)
            });
            match taken {
                Ok(taken) if taken > 0 => rest -= taken,
                _ => break,
            }
        }
        self.after_read(index, wanted - rest);
    }

    /// Moves received bytes out. Returns how many.
    pub fn read_into(&mut self, id: ConnectionId, bytes: &mut [u8]) -> usize {
        let Some(index) = self.front.find(id) else {
            return 0;
        };
        let taken = self.front.shards[index]
            .socket_mut()
            .recv_slice(bytes)
            .unwrap_or(0);
        self.after_read(index, taken);
        taken
    }

    fn after_read(&mut self, index: usize, taken: usize) {
        if taken == 0 {
            return;
        }
        // The window may have to be told to the peer.
        self.front.dirty.push(index);
        if matches!(
            self.front.slots[index].state,
            State::TimeWait | State::Closed
        ) {
            self.front.settle(index);
        }
    }

    /// Queues bytes to be sent. Returns how many were taken; if not all, `Writable` follows
    /// once there is space.
    pub fn send(&mut self, id: ConnectionId, bytes: &[u8]) -> usize {
        let Some(index) = self.front.find(id) else {
            return 0;
        };
        let taken = self.front.shards[index]
            .socket_mut()
            .send_slice(bytes)
            .unwrap_or(0);
        if taken < bytes.len() {
            self.front.slots[index].short_send = true;
        }
        if taken > 0 {
            self.front.dirty.push(index);
        }
        taken
    }

    /// Queues bytes that `fill` writes into the send buffer itself: it gets the free space as
    /// far as it lies in one piece, and says how much it wrote. Returns that. `Writable`
    /// follows only if the piece was empty.
    pub fn send_with(&mut self, id: ConnectionId, fill: impl FnOnce(&mut [u8]) -> usize) -> usize {
        let Some(index) = self.front.find(id) else {
            return 0;
        };
        let socket = self.front.shards[index].socket_mut();
        if !socket.can_send() {
            self.front.slots[index].short_send = true;
            return 0;
        }
        let written = socket.send(|piece| {
            let written = fill(piece).min(piece.len());
            (written, written)
        });
        let written = written.unwrap_or(0);
        if written > 0 {
            self.front.dirty.push(index);
        }
        written
    }

    /// Asks for a `Writable`, as a `send` that took less than all does.
    pub fn send_when_free(&mut self, id: ConnectionId) {
        if let Some(index) = self.front.find(id) {
            self.front.slots[index].short_send = true;
        }
    }

    /// How many bytes `send` would take.
    pub fn send_free(&self, id: ConnectionId) -> usize {
        let Some(index) = self.front.find(id) else {
            return 0;
        };
        let socket = self.front.shards[index].socket();
        if socket.may_send() {
            socket.send_capacity() - socket.send_queue()
        } else {
            0
        }
    }

    /// Whether bytes may still be queued: the connection is there and was not closed on our side.
    pub fn may_send(&self, id: ConnectionId) -> bool {
        self.front
            .find(id)
            .is_some_and(|index| self.front.shards[index].socket().may_send())
    }

    /// Whether bytes are there to be read, or may still come.
    pub fn may_receive(&self, id: ConnectionId) -> bool {
        self.front
            .find(id)
            .is_some_and(|index| self.front.shards[index].socket().may_recv())
    }

    /// How many bytes are queued that the peer has not acknowledged.
    pub fn unsent(&self, id: ConnectionId) -> usize {
        let Some(index) = self.front.find(id) else {
            return 0;
        };
        self.front.shards[index].socket().send_queue()
    }

    /// Whether any connection has bytes queued that its peer has not acknowledged. Looks at all of them.
    pub fn has_unsent(&self) -> bool {
        self.front
            .shards
            .iter()
            .any(|shard| shard.socket().send_queue() > 0)
    }

    /// Whether any connection has bytes that were not read yet. Looks at all of them.
    pub fn has_unread(&self) -> bool {
        self.front
            .shards
            .iter()
            .any(|shard| shard.socket().recv_queue() > 0)
    }

    /// Sends no more: FIN after what is queued. Reading goes on until the peer closes too,
    /// which ends in `Closed`.
    pub fn close(&mut self, id: ConnectionId) {
        let Some(index) = self.front.find(id) else {
            return;
        };
        self.front.shards[index].socket_mut().close();
        self.front.dirty.push(index);
        self.front.settle(index);
    }

    /// Ends the connection at once with RST. `Closed` follows.
    pub fn abort(&mut self, id: ConnectionId) {
        let Some(index) = self.front.find(id) else {
            return;
        };
        self.front.shards[index].socket_mut().abort();
        self.front.dirty.push(index);
        self.front.settle(index);
    }

    /// When to poll next if the device brings nothing before: now if there is work, the
    /// earliest timer or arrival otherwise, `None` if there is neither. May be early.
    pub fn wake_at(&mut self, now_us: u64) -> Option<u64> {
        let front = &self.front;
        if front.ready.len() > 0 || (front.dirty.len() > 0 && !front.blocked) {
            return Some(now_us);
        }
        let timer_us = (front.next_due_us != u64::MAX).then_some(front.next_due_us);
        let arrival_us = self.device.next_arrival_us();
        let earliest_us = timer_us.into_iter().chain(arrival_us).min();
        earliest_us.map(|at_us| at_us.max(now_us))
    }

    /// The peer of a connection.
    pub fn remote(&self, id: ConnectionId) -> Option<(Ipv4Address, u16)> {
        let key = self.front.slots[self.front.find(id)?].key;
        Some((Ipv4Address::from_bits(key.remote()), key.remote_port()))
    }

    /// How many connections could be opened now.
    pub fn connections_free(&self) -> usize {
        self.front.free.len() + self.front.lingering.len()
    }

    /// The most connections there can be.
    pub fn connections_max(&self) -> usize {
        self.front.slots.len()
    }

    /// What was counted.
    pub fn counters(&self) -> &NetCounters {
        &self.front.counters
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, to be changed.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}
