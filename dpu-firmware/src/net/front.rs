//! The front: which shard a packet is for, which shards to poll, and what to tell the user.
//!
//! Work is proportional to what happens. A packet costs one look into the table and one shard;
//! a pass that sends visits the shards in the `dirty` queue; timers are one lower bound for
//! all, and the array of deadlines is read only when that bound is reached. An idle connection
//! costs eight bytes of that array.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use smoltcp::socket::tcp::State;

use super::NetConfig;
use super::connection::{
    CLOSED, ConnectionId, HALF_CLOSED, NetEvent, OPENED, READABLE, Slot, Stage, WRITABLE,
};
use super::counters::NetCounters;
use super::device::{Link, Medium, PacketTransmit};
use super::ethernet::{ARP_FRAME_BYTES, Ethernet, Frame, Mac, Resolution};
use super::fifo::Fifo;
use super::limits::{
    EGRESS_PACKETS_MAX, EPHEMERAL_PORT_FIRST, HALF_OPEN_US, TIMER_AGAIN_US, TIMER_LEAST_US,
};
use super::list::{Links, List};
use super::packet::{self, FIN, Kind, SYN, Segment};
use super::secret::Secret;
use super::shard::{Common, Port, Sent, Shard, Stray};
use super::table::{Key, Table};

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
        let header = self
            .ethernet
            .as_ref()
            .zip(mac)
            .map(|(ethernet, mac)| ethernet.header(mac));
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

    /// Takes a slot for a connection that a peer opens.
    fn admit(&mut self, segment: &Segment, now_us: u64) -> Option<usize> {
        let index = self.take_slot(now_us)?;
        let seed = self.seed(segment.key);
        self.shards[index].listen(&self.common, segment.local_port, seed);
        self.occupy(index, segment.key, Stage::HalfOpen, State::Listen, now_us);
        self.half_open.push_last(&mut self.links, index);
        Some(index)
    }

    /// A free slot; failing that, the one longest in TIME-WAIT; failing that, the longest half
    /// open if it is old enough.
    fn take_slot(&mut self, now_us: u64) -> Option<usize> {
        if self.free.len() == 0 {
            let lingering = self.lingering.first();
            let half_open = || {
                let oldest = self.half_open.first()?;
                (self.slots[oldest].since_us + HALF_OPEN_US <= now_us).then_some(oldest)
            };
            let index = lingering.or_else(half_open)?;
            self.counters.slots_recycled += 1;
            self.release(index);
        }
        self.free.pop_first(&mut self.links)
    }

    fn occupy(&mut self, index: usize, key: Key, stage: Stage, state: State, now_us: u64) {
        let generation = self.slots[index].generation;
        let keyed = self.table.insert(key, index);
        self.slots[index] = Slot {
            key,
            keyed,
            stage,
            state,
            since_us: now_us,
            ..Slot::free(generation)
        };
    }

    fn seed(&mut self, key: Key) -> u64 {
        self.opened = self.opened.wrapping_add(1);
        self.secret.hash(key.bits(), self.opened)
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
        let header = self
            .ethernet
            .as_ref()
            .zip(mac)
            .map(|(ethernet, mac)| ethernet.header(mac));
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
    ) -> Option<[u8; super::ethernet::HEADER_BYTES]> {
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
    pub(super) fn fire(&mut self, now_us: u64) {
        if now_us < self.next_due_us {
            return;
        }
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
    fn touch(&mut self, index: usize, now_us: u64) {
        let bound_us = now_us.saturating_add(TIMER_LEAST_US);
        if self.due_us[index] > bound_us {
            self.set_due(index, bound_us);
        }
    }

    /// After a shard was polled for its timer, its next deadline is asked for.
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

    // ---- lives ----

    /// Draws the consequences of a changed state.
    pub(super) fn settle(&mut self, index: usize) {
        let socket = self.shards[index].socket();
        let (state, unread) = (socket.state(), socket.recv_queue());
        let forgotten = socket.remote_endpoint().is_none();
        let before = core::mem::replace(&mut self.slots[index].state, state);
        match (self.slots[index].stage, state) {
            (Stage::HalfOpen, State::Closed | State::Listen) => return self.release(index),
            (Stage::HalfOpen, State::SynReceived) | (Stage::Free, _) => return,
            (Stage::HalfOpen, _) => {
                self.half_open.remove(&mut self.links, index);
                self.slots[index].stage = Stage::Known;
                self.counters.connections_accepted += 1;
            }
            (Stage::Lingering | Stage::Dying, _) => {
                if forgotten {
                    self.release(index);
                }
                return;
            }
            (Stage::Known, _) => {}
        }
        if !matches!(state, State::SynSent | State::SynReceived | State::Closed) {
            self.raise_once(index, OPENED);
        }
        let finished = [
            State::CloseWait,
            State::Closing,
            State::LastAck,
            State::TimeWait,
        ];
        if finished.contains(&state) {
            self.raise_once(index, HALF_CLOSED);
        }
        if state == State::Closed {
            self.unkey(index);
            if !forgotten {
                self.dirty.push(index);
            }
            // Both ends closed in order, so what the peer sent before is to be read first.
            self.slots[index].lasts |= before == State::LastAck && forgotten;
        }
        let over = match state {
            State::Closed => !self.slots[index].lasts || !forgotten,
            State::TimeWait => false,
            _ => return,
        };
        if over || unread == 0 {
            self.raise_once(index, CLOSED);
        }
    }

    fn raise_once(&mut self, index: usize, event: u8) {
        let slot = &mut self.slots[index];
        if slot.told & event == 0 {
            slot.told |= event;
            slot.events |= event;
            self.ready.push(index);
        }
    }

    /// The next event for the user. Delivering `Closed` ends the id.
    pub(super) fn next_event(&mut self) -> Option<NetEvent> {
        loop {
            let index = self.ready.front()?;
            let slot = &mut self.slots[index];
            let event = slot.events & slot.events.wrapping_neg();
            slot.events ^= event;
            if slot.events == 0 {
                self.ready.pop();
            }
            let id = ConnectionId::new(index, slot.generation);
            if slot.stage != Stage::Known {
                continue;
            }
            return Some(match event {
                OPENED => NetEvent::Opened(id),
                READABLE => NetEvent::Readable(id),
                WRITABLE => NetEvent::Writable(id),
                HALF_CLOSED => NetEvent::HalfClosed(id),
                CLOSED => {
                    self.part(index);
                    NetEvent::Closed(id)
                }
                _ => continue,
            });
        }
    }

    /// The user lets go of a connection.
    fn part(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        if slot.state == State::TimeWait {
            slot.stage = Stage::Lingering;
            self.lingering.push_last(&mut self.links, index);
            return;
        }
        slot.stage = Stage::Dying;
        if self.shards[index].socket().remote_endpoint().is_none() {
            self.release(index);
        }
    }

    fn unkey(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        if core::mem::take(&mut slot.keyed) {
            self.table.remove(slot.key);
        }
    }

    /// Makes a slot free, whatever it was.
    fn release(&mut self, index: usize) {
        self.unkey(index);
        match self.slots[index].stage {
            Stage::HalfOpen => self.half_open.remove(&mut self.links, index),
            Stage::Lingering => self.lingering.remove(&mut self.links, index),
            Stage::Known | Stage::Dying => {}
            Stage::Free => return,
        }
        self.shards[index].reset();
        self.slots[index] = Slot::free(self.slots[index].generation);
        self.due_us[index] = u64::MAX;
        self.free.push_first(&mut self.links, index);
    }

    /// Opens a connection from a local port that no connection to the same peer uses.
    pub(super) fn connect(&mut self, now_us: u64, remote: (Ipv4Addr, u16)) -> Option<ConnectionId> {
        let (address, remote_port) = remote;
        if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
            return None;
        }
        let index = self.take_slot(now_us)?;
        let found = self
            .free_port(address.to_bits(), remote_port)
            .and_then(|(port, key)| {
                let seed = self.seed(key);
                self.shards[index]
                    .connect(&self.common, remote, port, seed)
                    .then_some(key)
            });
        let Some(key) = found else {
            self.free.push_first(&mut self.links, index);
            return None;
        };
        self.occupy(index, key, Stage::Known, State::SynSent, now_us);
        self.touch(index, now_us);
        self.dirty.push(index);
        self.counters.connections_opened += 1;
        Some(ConnectionId::new(index, self.slots[index].generation))
    }

    fn free_port(&mut self, remote: u32, remote_port: u16) -> Option<(u16, Key)> {
        // More ports are tried than there can be connections in the way.
        for _ in 0..=self.slots.len() {
            let port = self.next_port;
            self.next_port = port.wrapping_add(1) | EPHEMERAL_PORT_FIRST;
            let key = Key::new(remote, remote_port, port);
            if self.table.get(key).is_none() {
                return Some((port, key));
            }
        }
        None
    }

    /// The slot an id names, if it still does.
    pub(super) fn find(&self, id: ConnectionId) -> Option<usize> {
        let slot = self.slots.get(id.index())?;
        let known = slot.stage == Stage::Known && slot.generation == id.generation();
        known.then_some(id.index())
    }
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
