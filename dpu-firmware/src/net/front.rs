//! The front: which shard a packet is for, which shards to poll, and what to tell the user.
//!
//! Work is proportional to what happens. A packet costs one look into the table and one shard;
//! a pass that sends visits the shards in the `dirty` queue; timers are one lower bound for
//! all, and the array of deadlines is read only when that bound is reached. An idle connection
//! costs eight bytes of that array.

mod lives;

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use smoltcp::socket::tcp::State;

use super::NetConfig;
use super::connection::{ConnectionId, READABLE, Slot, Stage, WRITABLE};
use super::counters::NetCounters;
use super::device::{Link, Medium, PacketTransmit};
use super::ethernet::{ARP_FRAME_BYTES, Ethernet, Frame, HEADER_BYTES, Mac, Resolution};
use super::fifo::Fifo;
use super::limits::{EGRESS_PACKETS_MAX, EPHEMERAL_PORT_FIRST, TIMER_AGAIN_US, TIMER_LEAST_US};
use super::list::{Links, List};
use super::packet::{self, FIN, Kind, SYN, Segment};
use super::secret::Secret;
use super::shard::{Common, Port, Sent, Shard, Stray};
use super::table::Table;

/// Everything of a stack but its device.
pub(super) struct Front {
    common: Common,
    own: u32,
    listen_port: Option<u16>,
    ethernet: Option<Ethernet>,
    pub(super) shards: Box<[Shard]>,
    pub(super) slots: Box<[Slot]>,
    stray: Stray,
    sink: Box<[u8]>,
    table: Table,
    links: Links,
    pub(super) free: List,
    half_open: List,
    pub(super) lingering: List,
    /// Shards that may have something to send.
    pub(super) dirty: Fifo,
    /// Slots with events to deliver.
    pub(super) ready: Fifo,
    /// When each connection wants to be looked at; never later than it must be.
    due_us: Box<[u64]>,
    /// No later than the least of `due_us`.
    pub(super) next_due_us: u64,
    /// The last pass ended because the device was full.
    pub(super) blocked: bool,
    secret: Secret,
    /// Connections opened so far: makes each seed another.
    opened: u64,
    next_port: u16,
    pub(super) counters: NetCounters,
}

impl Front {
    pub(super) fn new(config: &NetConfig, link: Link) -> Self {
        let common = Common {
            address: config.addresses.own,
            prefix_bits: config.addresses.prefix_bits,
            mtu: link.mtu,
            checksums: config.checksums,
        };
        let own = config.addresses.own.to_bits();
        let ethernet = match link.medium {
            Medium::Ip => None,
            Medium::Ethernet { mac } => {
                let gateway = config.addresses.gateway.map(Ipv4Addr::to_bits);
                Some(Ethernet::new(
                    mac,
                    own,
                    config.addresses.prefix_bits,
                    gateway,
                ))
            }
        };
        let count = config.connections_max;
        let secret = Secret::new(config.seed);
        let mut links = Links::new(count);
        let mut free = List::new();
        (0..count).for_each(|index| free.push_last(&mut links, index));
        let receive_bytes = receive_buffer_bytes(config.receive_bytes);
        let shards: Vec<Shard> = (0..count)
            .map(|_| Shard::new(&common, receive_bytes, config.send_bytes))
            .collect();
        Self {
            common,
            own,
            listen_port: config.listen_port,
            ethernet,
            shards: shards.into_boxed_slice(),
            slots: vec![Slot::free(0); count].into_boxed_slice(),
            stray: Stray::new(&common),
            sink: vec![0; link.mtu].into_boxed_slice(),
            table: Table::new(count, &secret),
            links,
            free,
            half_open: List::new(),
            lingering: List::new(),
            dirty: Fifo::new(count),
            ready: Fifo::new(count),
            due_us: vec![u64::MAX; count].into_boxed_slice(),
            next_due_us: u64::MAX,
            blocked: false,
            next_port: EPHEMERAL_PORT_FIRST | secret.hash(3, 3) as u16,
            secret,
            opened: 0,
            counters: NetCounters::default(),
        }
    }

    // ---- packets in ----

    /// Takes in one frame.
    pub(super) fn ingress<T: PacketTransmit>(
        &mut self,
        frame: &[u8],
        transmit: &mut T,
        now_us: u64,
    ) {
        self.counters.packets_received += 1;
        let (mac, packet) = match &mut self.ethernet {
            None => (None, frame),
            Some(ethernet) => match ethernet.receive(frame) {
                Frame::Ip(mac, packet) => (Some(mac), packet),
                Frame::Junk => return self.counters.packets_ignored += 1,
                arp => return self.ingress_arp(arp, transmit, now_us),
            },
        };
        let segment = match packet::classify(packet, self.own) {
            Kind::Segment(segment) => segment,
            Kind::Other => return self.ingress_stray(packet, mac, transmit, now_us),
            Kind::Junk => return self.counters.packets_ignored += 1,
        };
        let index = match self.table.get(segment.key) {
            // The peer reuses its port before our TIME-WAIT is over (RFC 6191).
            Some(index) if self.slots[index].stage == Stage::Lingering && segment.opens() => {
                self.release(index);
                None
            }
            found => found,
        };
        match index {
            Some(index) => self.deliver(index, &segment, packet, mac, transmit, now_us),
            None if segment.opens() && self.listen_port == Some(segment.local_port) => {
                match self.admit(&segment, now_us) {
                    Some(index) => self.deliver(index, &segment, packet, mac, transmit, now_us),
                    None => self.counters.opens_dropped += 1,
                }
            }
            None => self.ingress_stray(packet, mac, transmit, now_us),
        }
    }

    fn ingress_arp<T: PacketTransmit>(&mut self, arp: Frame<'_>, transmit: &mut T, now_us: u64) {
        let Some(ethernet) = &self.ethernet else {
            return;
        };
        match arp {
            Frame::ArpRequest {
                mac,
                address,
                learned,
            } => {
                if let Some(frame) = transmit.reserve(ARP_FRAME_BYTES) {
                    ethernet.write_reply(frame, mac, address);
                    transmit.commit(now_us);
                }
                if learned {
                    self.wake_waiting(address);
                }
            }
            Frame::ArpReply { address } => self.wake_waiting(address),
            Frame::Ip(..) | Frame::Junk => {}
        }
    }

    /// Lets the connections send that waited for the station of `address`.
    fn wake_waiting(&mut self, address: u32) {
        let Some(ethernet) = &self.ethernet else {
            return;
        };
        for (index, slot) in self.slots.iter().enumerate() {
            let waits = slot.stage != Stage::Free && slot.mac.is_none();
            if waits && ethernet.next_hop(slot.key.remote()) == Some(address) {
                self.dirty.push(index);
            }
        }
    }

    fn ingress_stray<T: PacketTransmit>(
        &mut self,
        packet: &[u8],
        mac: Option<Mac>,
        transmit: &mut T,
        now_us: u64,
    ) {
        self.counters.packets_stray += 1;
        let header = header_to(self.ethernet.as_ref(), mac);
        let mut port = Port {
            common: &self.common,
            packet: Some(packet),
            transmit,
            sink: &mut self.sink,
            header,
            now_us,
            sent: Sent::default(),
        };
        self.stray.ingress(&mut port);
        self.counters.count(port.sent);
    }

    /// Hands a packet to the shard it is for.
    fn deliver<T: PacketTransmit>(
        &mut self,
        index: usize,
        segment: &Segment,
        packet: &[u8],
        mac: Option<Mac>,
        transmit: &mut T,
        now_us: u64,
    ) {
        let slot = &mut self.slots[index];
        slot.mac = mac;
        let header = header_to(self.ethernet.as_ref(), mac);
        let shard = &mut self.shards[index];
        let queued_before = shard.socket().recv_queue();
        let mut port = Port {
            common: &self.common,
            packet: Some(packet),
            transmit,
            sink: &mut self.sink,
            header,
            now_us,
            sent: Sent::default(),
        };
        shard.ingress(&mut port);
        self.counters.count(port.sent);
        let socket = shard.socket();
        let (queued, unsent, state) = (socket.recv_queue(), socket.send_queue(), socket.state());
        if queued > queued_before {
            slot.events |= READABLE;
            self.ready.push(index);
        }
        if slot.short_send && has_space(unsent, socket.send_capacity()) && socket.may_send() {
            slot.short_send = false;
            slot.events |= WRITABLE;
            self.ready.push(index);
        }
        let changed = state != slot.state;
        if changed || unsent > 0 || segment.payload_bytes > 0 || segment.flags & (SYN | FIN) != 0 {
            self.dirty.push(index);
        }
        self.touch(index, now_us);
        if changed || state == State::Listen {
            self.settle(index);
        }
    }

    // ---- packets out ----

    /// Lets every dirty shard send. Returns how many packets went.
    pub(super) fn egress<T: PacketTransmit>(&mut self, transmit: &mut T, now_us: u64) -> u32 {
        let mut packets = 0;
        self.blocked = false;
        for _ in 0..self.dirty.len() {
            let Some(index) = self.dirty.pop() else { break };
            if self.slots[index].stage == Stage::Free {
                continue;
            }
            packets += self.egress_shard(index, transmit, now_us);
            if self.blocked {
                break;
            }
        }
        packets
    }

    fn egress_shard<T: PacketTransmit>(
        &mut self,
        index: usize,
        transmit: &mut T,
        now_us: u64,
    ) -> u32 {
        let header = match (&self.ethernet, self.slots[index].mac) {
            (None, _) => None,
            (Some(ethernet), Some(mac)) => Some(ethernet.header(mac)),
            (Some(_), None) => match self.resolve(index, transmit, now_us) {
                Some(header) => Some(header),
                None => return 0,
            },
        };
        let shard = &mut self.shards[index];
        let mut port = Port {
            common: &self.common,
            packet: None,
            transmit,
            sink: &mut self.sink,
            header,
            now_us,
            sent: Sent::default(),
        };
        for _ in 0..EGRESS_PACKETS_MAX {
            port.sent.more = false;
            shard.egress(&mut port);
            if !port.sent.more || port.sent.blocked {
                break;
            }
        }
        let sent = port.sent;
        self.counters.count(sent);
        if sent.blocked || sent.more {
            self.dirty.push(index);
        }
        self.blocked |= sent.blocked;
        self.rewind(index, now_us);
        let (stage, state) = (self.slots[index].stage, self.shards[index].socket().state());
        if state != self.slots[index].state || stage == Stage::Dying {
            self.settle(index);
        }
        sent.packets
    }

    /// The Ethernet header for a connection whose station is not known yet. Asks for it if it
    /// is time; the connection is looked at again when the answer or its deadline comes.
    fn resolve<T: PacketTransmit>(
        &mut self,
        index: usize,
        transmit: &mut T,
        now_us: u64,
    ) -> Option<[u8; HEADER_BYTES]> {
        let ethernet = self.ethernet.as_mut()?;
        let address = ethernet.next_hop(self.slots[index].key.remote());
        match address.map(|address| (address, ethernet.resolve(address, now_us))) {
            Some((_, Resolution::Known(mac))) => {
                self.slots[index].mac = Some(mac);
                return Some(ethernet.header(mac));
            }
            Some((address, Resolution::Ask)) => {
                if let Some(frame) = transmit.reserve(ARP_FRAME_BYTES) {
                    ethernet.write_request(frame, address);
                    transmit.commit(now_us);
                    self.counters.packets_sent += 1;
                }
            }
            Some((_, Resolution::Asked)) | None => {}
        }
        self.touch(index, now_us);
        // Nobody to reset, and nobody answered for as long as a connection may take.
        let slot = &self.slots[index];
        let late = now_us >= slot.since_us.saturating_add(super::limits::TIMEOUT_US);
        if slot.stage == Stage::Dying {
            self.release(index);
        } else if late || slot.state == State::Closed {
            self.shards[index].reset();
            self.settle(index);
        }
        None
    }

    // ---- timers ----

    /// Queues the shards whose deadline has come.
    #[inline]
    pub(super) fn fire(&mut self, now_us: u64) {
        if now_us >= self.next_due_us {
            self.fire_due(now_us);
        }
    }

    #[cold]
    fn fire_due(&mut self, now_us: u64) {
        let mut next_us = u64::MAX;
        for (index, due_us) in self.due_us.iter_mut().enumerate() {
            if *due_us <= now_us {
                *due_us = now_us.saturating_add(TIMER_LEAST_US);
                self.slots[index].timed = true;
                self.dirty.push(index);
            }
            next_us = next_us.min(*due_us);
        }
        self.next_due_us = next_us;
    }

    /// Notes that a connection did something: none of its timers can fall due before the
    /// least of all timers, so that is bound enough and needs no asking.
    #[inline]
    fn touch(&mut self, index: usize, now_us: u64) {
        let bound_us = now_us.saturating_add(TIMER_LEAST_US);
        if self.due_us[index] > bound_us {
            self.set_due(index, bound_us);
        }
    }

    /// After a shard was polled for its timer, its next deadline is asked for.
    #[inline]
    fn rewind(&mut self, index: usize, now_us: u64) {
        if !core::mem::take(&mut self.slots[index].timed) {
            return self.touch(index, now_us);
        }
        let due_us = match self.shards[index].due_us(now_us) {
            None => u64::MAX,
            Some(due_us) if due_us <= now_us => now_us.saturating_add(TIMER_AGAIN_US),
            Some(due_us) => due_us,
        };
        self.set_due(index, due_us);
    }

    fn set_due(&mut self, index: usize, due_us: u64) {
        self.due_us[index] = due_us;
        self.next_due_us = self.next_due_us.min(due_us);
    }

    /// The slot an id names, if it still does.
    #[inline]
    pub(super) fn find(&self, id: ConnectionId) -> Option<usize> {
        let slot = self.slots.get(id.index())?;
        let known = slot.stage == Stage::Known && slot.generation == id.generation();
        known.then_some(id.index())
    }
}

/// What goes in front of a packet to a station, on an Ethernet.
fn header_to(ethernet: Option<&Ethernet>, mac: Option<Mac>) -> Option<[u8; HEADER_BYTES]> {
    Some(ethernet?.header(mac?))
}

/// Whether a send buffer has space enough to be worth telling.
fn has_space(used: usize, capacity: usize) -> bool {
    capacity - used >= capacity.div_ceil(4)
}

/// The receive buffer for a wish of `bytes`.
///
/// The window of a SYN is not scaled, yet smoltcp 0.14 computes as if it were until its next
/// segment, and takes in more than an arbitrary buffer holds. A buffer of 2^n - 1 bytes is
/// exactly large enough for that; below 64 KiB nothing is scaled.
fn receive_buffer_bytes(bytes: usize) -> usize {
    if bytes <= 0xffff {
        return bytes;
    }
    (1 << (bytes + 1).ilog2()) - 1
}
