//! Queues without allocation: requests chained through their slots, connections in rings.
//!
//! A request waits in at most one queue at a time, so one `next` link in its slot serves
//! every queue there is. A connection can be due for several kinds of attention at once
//! (replies to send, calls to admit, ...), so each kind has a ring of its own, in which a
//! connection stands at most once.

use alloc::boxed::Box;
use alloc::vec;

use crate::request::{RequestIndex, Requests};

/// A first-in, first-out queue of requests, linked through their slots.
#[derive(Debug, Default, Clone, Copy)]
pub struct Queue {
    head: Option<RequestIndex>,
    tail: Option<RequestIndex>,
    length: u16,
}

impl Queue {
    /// A queue with nothing in it.
    #[must_use]
    pub const fn new() -> Queue {
        Queue {
            head: None,
            tail: None,
            length: 0,
        }
    }

    /// The request that waits longest.
    #[must_use]
    pub const fn front(&self) -> Option<RequestIndex> {
        self.head
    }

    /// Whether nothing waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length as usize
    }

    /// Appends a request, which must be in no queue.
    pub fn push(&mut self, requests: &mut Requests, index: RequestIndex) {
        requests[index].next = None;
        match self.tail {
            Some(tail) => requests[tail].next = Some(index),
            None => self.head = Some(index),
        }
        self.tail = Some(index);
        self.length += 1;
    }

    /// Takes the request that waits longest.
    pub fn pop(&mut self, requests: &mut Requests) -> Option<RequestIndex> {
        let index = self.head?;
        self.head = requests[index].next.take();
        if self.head.is_none() {
            self.tail = None;
        }
        self.length -= 1;
        Some(index)
    }

    /// Takes one request out of the middle; false where it is not in this queue. Costs a
    /// walk of the queue, which the credits of one connection bound.
    pub fn remove(&mut self, requests: &mut Requests, index: RequestIndex) -> bool {
        let mut before = None;
        let mut at = self.head;
        while let Some(here) = at {
            let next = requests[here].next;
            if here == index {
                match before {
                    Some(before) => {
                        let before: RequestIndex = before;
                        requests[before].next = next;
                    }
                    None => self.head = next,
                }
                if self.tail == Some(index) {
                    self.tail = before;
                }
                requests[index].next = None;
                self.length -= 1;
                return true;
            }
            before = Some(here);
            at = next;
        }
        false
    }
}

/// A round-robin of connections, each at most once.
#[derive(Debug)]
pub struct Ring {
    slots: Box<[u16]>,
    member: Box<[bool]>,
    head: usize,
    length: usize,
}

impl Ring {
    /// A ring for connections 0 to `capacity` − 1.
    #[must_use]
    pub fn new(capacity: usize) -> Ring {
        Ring {
            slots: vec![0; capacity].into_boxed_slice(),
            member: vec![false; capacity].into_boxed_slice(),
            head: 0,
            length: 0,
        }
    }

    /// Puts a connection at the end, unless it stands in the ring already.
    pub fn push(&mut self, index: u16) {
        let Some(member) = self.member.get_mut(usize::from(index)) else {
            return;
        };
        if !core::mem::replace(member, true) {
            let at = (self.head + self.length) % self.slots.len();
            self.slots[at] = index;
            self.length += 1;
        }
    }

    /// Takes the connection at the front.
    pub fn pop(&mut self) -> Option<u16> {
        if self.length == 0 {
            return None;
        }
        let index = self.slots[self.head];
        self.head = (self.head + 1) % self.slots.len();
        self.length -= 1;
        self.member[usize::from(index)] = false;
        Some(index)
    }

    /// How many stand in the ring.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether nobody does.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::ConnectionIndex;
    use proptest::prelude::*;
    use protocol::{Kind, RequestId};
    use std::collections::VecDeque;

    proptest! {
        /// A queue does what a `VecDeque` does, whatever is pushed, popped and removed.
        #[test]
        fn a_queue_is_a_queue(steps in prop::collection::vec((0u8..3, 0usize..8), 1..200)) {
            let mut requests = Requests::new(8);
            let all: Vec<RequestIndex> = (0..8)
                .map(|id| requests.take(ConnectionIndex(0), RequestId(id), Kind::Read).unwrap())
                .collect();
            let mut queue = Queue::new();
            let mut wanted = VecDeque::new();
            for (step, which) in steps {
                let index = all[which];
                match step {
                    0 if !wanted.contains(&index) => {
                        queue.push(&mut requests, index);
                        wanted.push_back(index);
                    }
                    1 => prop_assert_eq!(queue.pop(&mut requests), wanted.pop_front()),
                    _ => {
                        let at = wanted.iter().position(|it| *it == index);
                        let there = at.and_then(|at| wanted.remove(at)).is_some();
                        prop_assert_eq!(queue.remove(&mut requests, index), there);
                    }
                }
                prop_assert_eq!(queue.front(), wanted.front().copied());
                prop_assert_eq!(queue.len(), wanted.len());
                prop_assert_eq!(queue.is_empty(), wanted.is_empty());
            }
        }

        /// A ring holds each connection at most once, in the order of their first push.
        #[test]
        fn a_ring_holds_each_once(steps in prop::collection::vec(prop::option::of(0u16..6), 1..200)) {
            let mut ring = Ring::new(6);
            let mut wanted: VecDeque<u16> = VecDeque::new();
            for step in steps {
                match step {
                    Some(index) => {
                        ring.push(index);
                        if !wanted.contains(&index) {
                            wanted.push_back(index);
                        }
                    }
                    None => prop_assert_eq!(ring.pop(), wanted.pop_front()),
                }
                prop_assert_eq!(ring.len(), wanted.len());
            }
        }
    }
}
