//! A request from its frame to its last reply byte: the pool, the states, the transitions.
//!
//! Every request walks through [`State`] by [`State::on`], the one transition function:
//!
//! ```text
//!            ┌────────────────────────── refused ──────────────────────────┐
//!  Free ─▶ Receiving ─▶ WantsDrive ─▶ AtDrive ──────────────────────────▶ Replying ─▶ Free
//!                │                                                          ▲
//!                ├─▶ WantsInvocation ─▶ Runnable ─▶ (WantsDrive ⇄ AtDrive)  │
//!                │                        ▲  │            │                 │
//!                │                        └──┼────────────┘                 │
//!                │                           └──────── finished ────────────┤
//!                ├─▶ Flushing ──────────────────────────────────────────────┤
//!                └─▶ Digesting ─────────────────────────────────────────────┘
//! ```
//!
//! What a request must hold to its end is reserved together, or it waits holding nothing
//! but its slot (see `tenant.rs`). A slot is reserved for every credit a client was granted,
//! so taking one never fails for a client that keeps the rules.

use core::ops::{Index, IndexMut};

use alloc::boxed::Box;
use alloc::vec::Vec;
use nvme_model::driver::{Lba, NamespaceId};
use nvme_model::memory::{PageList, Slab};
use protocol::message::{AttachReply, CallReply, FlushReply, LoadReply, OpenReply, WriteReply};
use protocol::{ErrorBody, Kind, RequestId, Status};

use crate::invocation::InvocationIndex;
use crate::limits::INLINE_PAYLOAD_BYTES;
use crate::map_requests::AskedMaps;
use crate::objects::{InstanceIndex, Placed};
use crate::session::ConnectionIndex;

/// Which slot of the request pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestIndex(pub(crate) u16);

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The slot is free.
    Free,
    /// Its payload is still arriving.
    Receiving,
    /// In its connection's drive queue: it wants pages or a command slot.
    WantsDrive,
    /// One or more of its commands are at the drive.
    AtDrive,
    /// In its connection's call queue: it wants an invocation and slabs.
    WantsInvocation,
    /// Its program can run.
    Runnable,
    /// Waits for a flush of its namespace, under way or next.
    Flushing,
    /// Its upload is complete and being hashed and checked.
    Digesting,
    /// Its answer is known and waits to be sent, or is being sent.
    Replying,
}

/// What moves a request on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its head was decoded and its slot taken.
    Arrived,
    /// It needs the drive next.
    NeedsDrive,
    /// Its commands went to the drive.
    Submitted,
    /// It needs an invocation.
    NeedsInvocation,
    /// It was given an invocation, or its program may go on.
    MayRun,
    /// It joined a flush.
    Flushes,
    /// Its upload is complete.
    Digests,
    /// Its answer is known.
    Answered,
    /// The last byte of its answer was sent, or nobody is left to send it to.
    Done,
}

impl State {
    /// The transition function: the state after `event`, or `None` where the event cannot
    /// happen, which is a mistake in the agent.
    #[must_use]
    pub const fn on(self, event: Event) -> Option<State> {
        use Event as E;
        use State as S;
        Some(match (self, event) {
            (S::Free, E::Arrived) => S::Receiving,
            (S::Receiving | S::Runnable | S::AtDrive, E::NeedsDrive) => S::WantsDrive,
            (S::Receiving, E::NeedsInvocation) => S::WantsInvocation,
            (S::Receiving, E::Flushes) => S::Flushing,
            (S::Receiving, E::Digests) => S::Digesting,
            (S::WantsDrive, E::Submitted) => S::AtDrive,
            (S::WantsInvocation | S::AtDrive | S::WantsDrive, E::MayRun) => S::Runnable,
            (
                S::Receiving
                | S::WantsDrive
                | S::AtDrive
                | S::WantsInvocation
                | S::Runnable
                | S::Flushing
                | S::Digesting,
                E::Answered,
            ) => S::Replying,
            (S::Replying, E::Done) => S::Free,
            _ => return None,
        })
    }
}

/// What a request asks for, decoded and translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Answered from the agent's own tables.
    Local,
    /// Read blocks and send them.
    Read(Placed),
    /// Write the payload.
    Write(Placed),
    /// Make acknowledged writes durable.
    Flush(NamespaceId),
    /// Run a program.
    Call {
        /// Attached where.
        instance: InstanceIndex,
        /// Length of the arguments, bytes.
        args_bytes: u32,
        /// Given at admission.
        invocation: Option<InvocationIndex>,
    },
    /// A piece of an upload; `last` completes it.
    Piece {
        /// Whether the image is complete with this piece.
        last: bool,
    },
}

/// The body of an answer, encoded when there is room to send it.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// No body.
    Empty,
    /// What was wrong.
    Error(ErrorBody),
    /// To Open.
    Open(OpenReply),
    /// To Write.
    Write(WriteReply),
    /// To Flush.
    Flush(FlushReply),
    /// To Load and LoadPiece.
    Load(LoadReply),
    /// To Attach.
    Attach(AttachReply),
    /// To Call.
    Call(CallReply),
    /// To Stats: gathered when it is sent.
    Stats,
    /// To Info: gathered when it is sent.
    Info,
    /// To Programs: gathered when it is sent.
    Programs {
        /// List programs after this id.
        after: u32,
    },
    /// To Maps, MapDump and MapGet: gathered when it is sent.
    Maps(AskedMaps),
}

/// One request.
#[derive(Debug)]
pub struct Request {
    /// Where it stands.
    pub state: State,
    /// Whose it is.
    pub connection: ConnectionIndex,
    /// Its name on the wire.
    pub id: RequestId,
    /// What kind of frame it came in.
    pub kind: Kind,
    /// Whether its reply frames carry a payload CRC: that feature is in force, or its own frame
    /// carried one.
    pub payload_crc: bool,
    /// Cancel arrived, or the client is gone.
    pub cancelled: bool,
    /// What it asks for.
    pub work: Work,
    /// How it ended.
    pub status: Status,
    /// The body of its answer.
    pub answer: Answer,
    /// Pages that hold its payload, in or out.
    pub pages: PageList,
    /// First byte of the reply's payload, within its pages or its reply slab.
    pub payload_offset: u32,
    /// Bytes of the reply's payload not yet sent.
    pub payload_left: u32,
    /// Byte credit it holds.
    pub payload_cost: u32,
    /// Reply memory of a call that returned.
    pub reply: Option<Slab>,
    /// Credits that its last reply frame grants, once that was decided.
    pub granted: Option<u16>,
    /// Arguments that fit the slot.
    pub inline: [u8; INLINE_PAYLOAD_BYTES],
    /// The queue it stands in.
    pub(crate) next: Option<RequestIndex>,
    /// Others of the same connection.
    pub(crate) sibling_before: Option<RequestIndex>,
    /// Others of the same connection.
    pub(crate) sibling_after: Option<RequestIndex>,
}

impl Request {
    fn vacant() -> Request {
        Request {
            state: State::Free,
            connection: ConnectionIndex(0),
            id: RequestId(0),
            kind: Kind(0),
            payload_crc: false,
            cancelled: false,
            work: Work::Local,
            status: Status::Ok,
            answer: Answer::Empty,
            pages: PageList::new(),
            payload_offset: 0,
            payload_left: 0,
            payload_cost: 0,
            reply: None,
            granted: None,
            inline: [0; INLINE_PAYLOAD_BYTES],
            next: None,
            sibling_before: None,
            sibling_after: None,
        }
    }

    /// Its invocation, once it has one.
    #[must_use]
    pub const fn invocation(&self) -> Option<InvocationIndex> {
        match self.work {
            Work::Call { invocation, .. } => invocation,
            _ => None,
        }
    }
}

/// The pool of request slots.
#[derive(Debug)]
pub struct Requests {
    slots: Box<[Request]>,
    free: Box<[u16]>,
    free_count: usize,
    least_free: usize,
}

impl Requests {
    /// A pool of `capacity` slots, at most 65 534.
    #[must_use]
    pub fn new(capacity: usize) -> Requests {
        let slots: Vec<Request> = (0..capacity).map(|_| Request::vacant()).collect();
        let free: Vec<u16> = (0..capacity as u16).rev().collect();
        Requests {
            slots: slots.into_boxed_slice(),
            free: free.into_boxed_slice(),
            free_count: capacity,
            least_free: capacity,
        }
    }

    /// Takes a slot for a request that just arrived. `None` only where more requests are in
    /// flight than credits were granted.
    pub fn take(
        &mut self,
        connection: ConnectionIndex,
        id: RequestId,
        kind: Kind,
    ) -> Option<RequestIndex> {
        self.free_count = self.free_count.checked_sub(1)?;
        self.least_free = self.least_free.min(self.free_count);
        let index = RequestIndex(self.free[self.free_count]);
        self.advance(index, Event::Arrived);
        let request = &mut self[index];
        request.connection = connection;
        request.id = id;
        request.kind = kind;
        request.payload_crc = false;
        request.cancelled = false;
        request.work = Work::Local;
        request.status = Status::Ok;
        request.answer = Answer::Empty;
        request.payload_offset = 0;
        request.payload_left = 0;
        request.payload_cost = 0;
        request.granted = None;
        request.next = None;
        Some(index)
    }

    /// Gives a slot back. The request must be [`State::Free`] again, and its pages with the
    /// pool they came from.
    pub fn give(&mut self, index: RequestIndex) {
        debug_assert_eq!(self[index].state, State::Free);
        debug_assert!(self[index].pages.is_empty());
        self.free[self.free_count] = index.0;
        self.free_count += 1;
    }

    /// Moves a request on; its new state.
    ///
    /// # Panics
    ///
    /// Where the transition does not exist: the agent's own mistake, which must not be run
    /// past with a request in an unknown state.
    pub fn advance(&mut self, index: RequestIndex, event: Event) -> State {
        let request = &mut self[index];
        let Some(state) = request.state.on(event) else {
            panic!(
                "request state {:?} has no transition on {event:?}",
                request.state
            );
        };
        request.state = state;
        state
    }

    /// Slots taken now.
    #[must_use]
    pub const fn used(&self) -> usize {
        self.slots.len() - self.free_count
    }

    /// The most that were ever taken.
    #[must_use]
    pub const fn peak(&self) -> usize {
        self.slots.len() - self.least_free
    }

    /// Slots in all.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.slots.len()
    }

    /// The slot of that number, where there is one.
    #[must_use]
    pub fn index(&self, number: u16) -> Option<RequestIndex> {
        (usize::from(number) < self.slots.len()).then_some(RequestIndex(number))
    }
}

impl Index<RequestIndex> for Requests {
    type Output = Request;
    fn index(&self, index: RequestIndex) -> &Request {
        &self.slots[usize::from(index.0)]
    }
}

impl IndexMut<RequestIndex> for Requests {
    fn index_mut(&mut self, index: RequestIndex) -> &mut Request {
        &mut self.slots[usize::from(index.0)]
    }
}

/// Where blocks lie on the drive: the device's side of a translated byte range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocks {
    /// Of which namespace.
    pub namespace: NamespaceId,
    /// The first block.
    pub lba: Lba,
    /// How many.
    pub count: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 9] = [
        State::Free,
        State::Receiving,
        State::WantsDrive,
        State::AtDrive,
        State::WantsInvocation,
        State::Runnable,
        State::Flushing,
        State::Digesting,
        State::Replying,
    ];

    const EVENTS: [Event; 9] = [
        Event::Arrived,
        Event::NeedsDrive,
        Event::Submitted,
        Event::NeedsInvocation,
        Event::MayRun,
        Event::Flushes,
        Event::Digests,
        Event::Answered,
        Event::Done,
    ];

    #[test]
    fn every_state_is_reached_and_left() {
        for state in STATES {
            let reached = STATES
                .iter()
                .any(|from| EVENTS.iter().any(|event| from.on(*event) == Some(state)));
            assert!(reached, "{state:?} is never reached");
            assert!(
                EVENTS.iter().any(|event| state.on(*event).is_some()),
                "{state:?} is a trap"
            );
        }
    }

    #[test]
    fn a_request_is_answered_once_and_freed_by_its_answer_alone() {
        for state in STATES {
            let answered = state.on(Event::Answered);
            let may = !matches!(state, State::Free | State::Replying);
            assert_eq!(answered, may.then_some(State::Replying), "{state:?}");
            let done = state.on(Event::Done);
            assert_eq!(
                done,
                (state == State::Replying).then_some(State::Free),
                "{state:?}"
            );
        }
    }

    #[test]
    fn slots_come_back() {
        let mut requests = Requests::new(2);
        let take = |requests: &mut Requests, id| {
            requests.take(ConnectionIndex(0), RequestId(id), Kind::Read)
        };
        let first = take(&mut requests, 1).unwrap();
        let second = take(&mut requests, 2).unwrap();
        assert_ne!(first, second);
        assert!(take(&mut requests, 3).is_none());
        requests.advance(first, Event::Answered);
        requests.advance(first, Event::Done);
        requests.give(first);
        assert_eq!(
            (requests.used(), requests.peak(), requests.total()),
            (1, 2, 2)
        );
        assert!(take(&mut requests, 4).is_some());
    }
}
