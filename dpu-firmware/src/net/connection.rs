//! What is known of a connection outside its socket.

use smoltcp::socket::tcp::State;

use super::ethernet::Mac;
use super::table::Key;

/// Names a connection, from [`Opened`](NetEvent::Opened) or `connect` to
/// [`Closed`](NetEvent::Closed). An id that is out of date names nothing and does nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(u32);

impl ConnectionId {
    pub(super) const fn new(index: usize, generation: u16) -> Self {
        Self((generation as u32) << 16 | index as u32 & 0xffff)
    }

    /// The slot of the connection, below the greatest number of connections: for arrays beside
    /// the connections. A slot serves another connection after `Closed` was delivered.
    pub const fn index(self) -> usize {
        (self.0 & 0xffff) as usize
    }

    pub(super) const fn generation(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

/// Something happened to a connection.
///
/// Between two calls of `next_event` equal events of a connection are one. Events of one
/// connection come in the order in which they stand here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetEvent {
    /// The connection is established, whoever opened it.
    Opened(ConnectionId),
    /// Bytes arrived. Not repeated for bytes left unread.
    Readable(ConnectionId),
    /// A quarter of the send buffer or more is free after a `send` that took less than all.
    Writable(ConnectionId),
    /// The peer sends no more. What came before can still be read.
    HalfClosed(ConnectionId),
    /// The connection is gone: closed by both ends, reset, or timed out. The id ends here. A
    /// connection closed by both ends is gone only after its bytes were read.
    Closed(ConnectionId),
}

pub(super) const OPENED: u8 = 1;
pub(super) const READABLE: u8 = 2;
pub(super) const WRITABLE: u8 = 4;
pub(super) const HALF_CLOSED: u8 = 8;
pub(super) const CLOSED: u8 = 16;

/// Where in its life a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// In the list of free slots.
    Free,
    /// A SYN was answered; nobody was told yet.
    HalfOpen,
    /// The user holds its id.
    Known,
    /// `Closed` was delivered; TIME-WAIT is not over (RFC 9293, 3.6).
    Lingering,
    /// `Closed` was delivered; a reset is still to be sent.
    Dying,
}

/// The front's record of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) key: Key,
    /// Whether the table leads from the key to this slot.
    pub(super) keyed: bool,
    pub(super) generation: u16,
    pub(super) stage: Stage,
    /// The socket's state when last looked at.
    pub(super) state: State,
    /// Events to deliver.
    pub(super) events: u8,
    /// Events that were raised once and are not raised again.
    pub(super) told: u8,
    /// A `send` took less than all.
    pub(super) short_send: bool,
    /// The socket is closed in order, and `Closed` waits for the last bytes to be read.
    pub(super) lasts: bool,
    /// A timer fell due and the next one must be computed exactly.
    pub(super) timed: bool,
    /// When the SYN came.
    pub(super) since_us: u64,
    /// The station that packets go to, on an Ethernet.
    pub(super) mac: Option<Mac>,
}

impl Slot {
    pub(super) const fn free(generation: u16) -> Self {
        Self {
            key: Key::new(0, 0, 0),
            keyed: false,
            generation,
            stage: Stage::Free,
            state: State::Closed,
            events: 0,
            told: 0,
            short_send: false,
            lasts: false,
            timed: false,
            since_us: 0,
            mac: None,
        }
    }
}
