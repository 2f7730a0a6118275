//! Connections: their hello, their credits, and how far the bytes of each have been read.
//!
//! A connection's credits are promises: for each request it may send a slot is set aside,
//! and for its byte credit, pages. So the agent can always read what a client that keeps
//! the rules sends, and a client that breaks them is told which one and closed.
//!
//! Nothing here touches the network; `receive.rs` brings the bytes.

use core::ops::{Index, IndexMut};

use alloc::boxed::Box;
use alloc::vec::Vec;
use protocol::checksum::Checksum;
use protocol::limits::CREDITS_MIN;
use protocol::{Features, RequestId, Status};

use crate::limits::{
    INLINE_PAYLOAD_BYTES, MAP_CLASSES, PAYLOAD_PAGES_PER_CONNECTION, SLAB_CLASS_PAGES,
};
use crate::net::ConnectionId;
use crate::program_store::UploadIndex;
use crate::queue::Queue;
use crate::request::{RequestIndex, Requests};
use crate::slabs::OwnerId;
use nvme_model::seam::PAGE_BYTES;

/// Which slot of the connection table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionIndex(pub(crate) u16);

/// How far a connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The slot is free.
    Free,
    /// Its client has not said hello; closed when that takes too long.
    Hello {
        /// Open since, microseconds.
        since_us: u64,
    },
    /// Requests and replies.
    Open,
    /// The client sent FIN: what it asked before is answered, then the agent sends FIN.
    Finishing,
    /// A rule was broken or the agent is going: the last reply is sent, then FIN. What still
    /// arrives is thrown away.
    Closing,
    /// The client is gone; the slot waits for what is still at the drive.
    Lost,
}

/// Where the payload that is arriving goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sink {
    /// Into the slot or the pages of a request.
    Request(RequestIndex),
    /// Into an upload; the request is answered when it is complete.
    Upload(UploadIndex, RequestIndex),
    /// Nowhere: the request was refused.
    Discard,
}

/// A payload that is arriving.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Where it goes.
    pub sink: Sink,
    /// Bytes that arrived.
    pub received_bytes: u32,
    /// Bytes still to come.
    pub left_bytes: u32,
    /// The checksum so far and what it must be, where the frame carries one.
    pub checksum: Option<(Checksum, u32)>,
}

/// A reply frame that is partly sent.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing {
    /// Whose payload.
    pub request: RequestIndex,
    /// Bytes of this frame's payload still to send.
    pub frame_left_bytes: u32,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    /// How far it has come.
    pub phase: Phase,
    /// The network's name for it; `None` once the client is gone.
    pub net: Option<ConnectionId>,
    /// Tells it from every other connection there ever was.
    pub owner: OwnerId,
    /// The features in force.
    pub features: Features,
    /// The greatest request id seen.
    pub last_id: RequestId,
    /// Requests it may have in flight in all.
    pub allowance: u16,
    /// Requests in flight.
    pub outstanding: u16,
    /// Byte credit in use.
    pub payload_cost: u32,
    /// The payload that is arriving.
    pub incoming: Option<Incoming>,
    /// The reply frame that is partly sent.
    pub outgoing: Option<Outgoing>,
    /// What the client is told when all replies are sent and before the agent closes.
    pub notice: Option<(Status, RequestId)>,
    /// Replies to be sent.
    pub replies: Queue,
    /// Requests that want the drive.
    pub drive: Queue,
    /// Calls that want an invocation.
    pub calls: Queue,
    /// Calls whose program can run.
    pub runnable: Queue,
    /// All its requests.
    pub first: Option<RequestIndex>,
    /// Its upload.
    pub upload: Option<UploadIndex>,
    /// Objects it has open.
    pub objects: u16,
    /// Instances it has attached.
    pub instances: u16,
    /// Invocations that run for it.
    pub invocations: u16,
    /// Meter units that its programs used beyond their slices and that later slices pay for.
    pub overdrawn: u32,
    /// Pages that its reads hold, at the drive or waiting to be sent.
    pub read_pages: u32,
    /// Slabs of each class that its calls hold, running or waiting to be sent.
    pub slabs: [u16; SLAB_CLASS_PAGES.len()],
    /// Slabs for maps of each class that its instances hold.
    pub map_slabs: [u16; MAP_CLASSES],
    /// Since when replies wait without any of it being sent, microseconds.
    pub stalled_since_us: Option<u64>,
}

/// Byte credit of a connection.
pub const CREDIT_BYTES: u32 = (PAYLOAD_PAGES_PER_CONNECTION * PAGE_BYTES) as u32;

/// What a payload costs of the byte credit: whole pages, and nothing where it fits the
/// request's slot.
#[must_use]
pub const fn payload_cost_bytes(payload_bytes: u32) -> u32 {
    protocol::limits::payload_cost_bytes(payload_bytes)
}

const _: () = assert!(payload_cost_bytes(INLINE_PAYLOAD_BYTES as u32) == 0);

impl Connection {
    fn vacant() -> Connection {
        Connection {
            phase: Phase::Free,
            net: None,
            owner: OwnerId(0),
            features: Features::NONE,
            last_id: RequestId(0),
            allowance: 0,
            outstanding: 0,
            payload_cost: 0,
            incoming: None,
            outgoing: None,
            notice: None,
            replies: Queue::new(),
            drive: Queue::new(),
            calls: Queue::new(),
            runnable: Queue::new(),
            first: None,
            upload: None,
            objects: 0,
            instances: 0,
            invocations: 0,
            overdrawn: 0,
            read_pages: 0,
            slabs: [0; SLAB_CLASS_PAGES.len()],
            map_slabs: [0; MAP_CLASSES],
            stalled_since_us: None,
        }
    }

    /// Whether replies can still reach the client.
    #[must_use]
    pub const fn is_reachable(&self) -> bool {
        self.net.is_some()
    }
}

/// The connection table.
#[derive(Debug)]
pub struct Connections {
    slots: Box<[Connection]>,
    by_net: Box<[Option<ConnectionIndex>]>,
    free: Box<[u16]>,
    free_count: usize,
    least_free: usize,
    last_owner: u64,
    /// Credits that nobody was granted.
    spare_credits: usize,
    credits_max: u16,
}

impl Connections {
    /// A table for `capacity` connections that share `requests` slots, at most
    /// `credits_max` of them for one connection.
    #[must_use]
    pub fn new(capacity: usize, requests: usize, credits_max: usize) -> Connections {
        let slots: Vec<Connection> = (0..capacity).map(|_| Connection::vacant()).collect();
        let free: Vec<u16> = (0..capacity as u16).rev().collect();
        Connections {
            slots: slots.into_boxed_slice(),
            by_net: (0..capacity).map(|_| None).collect(),
            free: free.into_boxed_slice(),
            free_count: capacity,
            least_free: capacity,
            last_owner: 0,
            spare_credits: requests - capacity * usize::from(CREDITS_MIN),
            credits_max: credits_max.min(usize::from(u16::MAX)) as u16,
        }
    }

    /// A client connected. `None` where every slot is taken.
    pub fn open(&mut self, net: ConnectionId, now_us: u64) -> Option<ConnectionIndex> {
        let by_net = self.by_net.get_mut(net.index())?;
        self.free_count = self.free_count.checked_sub(1)?;
        self.least_free = self.least_free.min(self.free_count);
        let index = ConnectionIndex(self.free[self.free_count]);
        *by_net = Some(index);
        self.last_owner += 1;
        let owner = OwnerId(self.last_owner);
        self[index] = Connection {
            phase: Phase::Hello { since_us: now_us },
            net: Some(net),
            owner,
            allowance: CREDITS_MIN,
            ..Connection::vacant()
        };
        Some(index)
    }

    /// The connection that the network calls `net`.
    #[must_use]
    pub fn find(&self, net: ConnectionId) -> Option<ConnectionIndex> {
        let index = (*self.by_net.get(net.index())?)?;
        (self[index].net == Some(net)).then_some(index)
    }

    /// The network has forgotten the connection.
    pub fn detach(&mut self, index: ConnectionIndex) {
        if let Some(net) = self[index].net.take() {
            self.by_net[net.index()] = None;
        }
    }

    /// Gives a slot back: nothing of it is in flight and the client is gone.
    pub fn close(&mut self, index: ConnectionIndex) {
        let connection = &mut self[index];
        debug_assert!(connection.net.is_none() && connection.outstanding == 0);
        debug_assert!(connection.first.is_none());
        connection.phase = Phase::Free;
        let granted = usize::from(connection.allowance.saturating_sub(CREDITS_MIN));
        self.spare_credits += granted;
        self.free[self.free_count] = index.0;
        self.free_count += 1;
    }

    /// Enters a request among those of its connection.
    pub fn adopt(&mut self, requests: &mut Requests, index: RequestIndex) {
        let connection = &mut self.slots[usize::from(requests[index].connection.0)];
        connection.outstanding += 1;
        requests[index].sibling_before = None;
        requests[index].sibling_after = connection.first;
        if let Some(first) = connection.first {
            requests[first].sibling_before = Some(index);
        }
        connection.first = Some(index);
    }

    /// Takes a request from among those of its connection.
    pub fn disown(&mut self, requests: &mut Requests, index: RequestIndex) {
        let request = &mut requests[index];
        let (before, after) = (request.sibling_before.take(), request.sibling_after.take());
        let connection = &mut self.slots[usize::from(request.connection.0)];
        connection.outstanding -= 1;
        connection.payload_cost -= request.payload_cost;
        match before {
            Some(before) => requests[before].sibling_after = after,
            None => connection.first = after,
        }
        if let Some(after) = after {
            requests[after].sibling_before = before;
        }
    }

    /// Credits to send with a final reply: 1 restores what the request took; 2 where a busy
    /// connection may have more and there is more; 0 where one that has plenty should give
    /// some back.
    pub fn grant(&mut self, index: ConnectionIndex) -> u16 {
        let scarce = self.spare_credits < self.slots.len();
        let credits_max = self.credits_max;
        let connection = &mut self.slots[usize::from(index.0)];
        let busy = connection.outstanding >= connection.allowance;
        if busy && connection.allowance < credits_max && self.spare_credits > 0 {
            self.spare_credits -= 1;
            connection.allowance += 1;
            return 2;
        }
        let ample =
            connection.allowance > CREDITS_MIN && connection.outstanding < connection.allowance / 2;
        if scarce && ample {
            self.spare_credits += 1;
            connection.allowance -= 1;
            return 0;
        }
        1
    }

    /// In use, the most that ever were, and in all.
    #[must_use]
    pub const fn counts(&self) -> (usize, usize, usize) {
        let total = self.slots.len();
        (total - self.free_count, total - self.least_free, total)
    }

    /// Whether every slot is in use.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.free_count == 0
    }

    /// Every slot in use.
    pub fn in_use(&self) -> impl Iterator<Item = ConnectionIndex> + '_ {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, connection)| connection.phase != Phase::Free)
            .map(|(index, _)| ConnectionIndex(index as u16))
    }

    /// How many slots there are.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.slots.len()
    }
}

impl Index<ConnectionIndex> for Connections {
    type Output = Connection;
    fn index(&self, index: ConnectionIndex) -> &Connection {
        &self.slots[usize::from(index.0)]
    }
}

impl IndexMut<ConnectionIndex> for Connections {
    fn index_mut(&mut self, index: ConnectionIndex) -> &mut Connection {
        &mut self.slots[usize::from(index.0)]
    }
}
