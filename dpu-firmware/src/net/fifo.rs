//! A queue of connection slots in which each slot stands at most once.

use alloc::boxed::Box;
use alloc::vec;

/// First in, first out, over `0..capacity`, with a mark on each member.
///
/// Because a member is never queued twice, the ring can never be full when it is pushed to.
pub(super) struct Fifo {
    ring: Box<[u16]>,
    queued: Box<[bool]>,
    head: usize,
    len: usize,
}

impl Fifo {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            ring: vec![0; capacity].into_boxed_slice(),
            queued: vec![false; capacity].into_boxed_slice(),
            head: 0,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Queues `index` unless it is queued already.
    pub(super) fn push(&mut self, index: usize) {
        if core::mem::replace(&mut self.queued[index], true) {
            return;
        }
        let mut at = self.head + self.len;
        if at >= self.ring.len() {
            at -= self.ring.len();
        }
        self.ring[at] = index as u16;
        self.len += 1;
    }

    pub(super) fn front(&self) -> Option<usize> {
        (self.len > 0).then(|| usize::from(self.ring[self.head]))
    }

    pub(super) fn pop(&mut self) -> Option<usize> {
        let index = self.front()?;
        self.head += 1;
        if self.head == self.ring.len() {
            self.head = 0;
        }
        self.len -= 1;
        self.queued[index] = false;
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_and_queues_once() {
        let mut fifo = Fifo::new(3);
        for round in 0..7 {
            assert_eq!(fifo.pop(), None, "round {round}");
            fifo.push(2);
            fifo.push(0);
            fifo.push(2);
            fifo.push(1);
            assert_eq!(fifo.len(), 3);
            assert_eq!(fifo.pop(), Some(2));
            fifo.push(2);
            assert_eq!(
                (fifo.pop(), fifo.pop(), fifo.pop()),
                (Some(0), Some(1), Some(2))
            );
        }
    }
}
