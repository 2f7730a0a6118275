//! How connections come, change and go.

use core::net::Ipv4Addr;

use smoltcp::socket::tcp::State;

use super::Front;
use crate::net::connection::{
    CLOSED, ConnectionId, HALF_CLOSED, NetEvent, OPENED, READABLE, Slot, Stage, WRITABLE,
};
use crate::net::limits::{EPHEMERAL_PORT_FIRST, HALF_OPEN_US};
use crate::net::packet::Segment;
use crate::net::table::Key;

impl Front {
    /// Takes a slot for a connection that a peer opens.
    pub(super) fn admit(&mut self, segment: &Segment, now_us: u64) -> Option<usize> {
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

    /// Draws the consequences of a changed state.
    pub(in crate::net) fn settle(&mut self, index: usize) {
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
    #[inline]
    pub(in crate::net) fn next_event(&mut self) -> Option<NetEvent> {
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
    pub(super) fn release(&mut self, index: usize) {
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
    pub(in crate::net) fn connect(
        &mut self,
        now_us: u64,
        remote: (Ipv4Addr, u16),
    ) -> Option<ConnectionId> {
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
}
