//! Linked lists of connection slots: free ones, half-open ones, lingering ones.

use alloc::boxed::Box;
use alloc::vec;

const NONE: u16 = u16::MAX;

/// The links of all slots. A slot is a member of one list at most.
pub(super) struct Links {
    next: Box<[u16]>,
    previous: Box<[u16]>,
}

impl Links {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            next: vec![NONE; capacity].into_boxed_slice(),
            previous: vec![NONE; capacity].into_boxed_slice(),
        }
    }
}

/// One list over [`Links`], oldest member first.
pub(super) struct List {
    first: u16,
    last: u16,
    len: usize,
}

impl List {
    pub(super) const fn new() -> Self {
        Self {
            first: NONE,
            last: NONE,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn first(&self) -> Option<usize> {
        (self.first != NONE).then_some(usize::from(self.first))
    }

    /// Adds `index`, which must be in no list.
    pub(super) fn push_last(&mut self, links: &mut Links, index: usize) {
        links.previous[index] = self.last;
        links.next[index] = NONE;
        match self.last {
            NONE => self.first = index as u16,
            last => links.next[usize::from(last)] = index as u16,
        }
        self.last = index as u16;
        self.len += 1;
    }

    /// Adds `index`, which must be in no list, as if it were the oldest.
    pub(super) fn push_first(&mut self, links: &mut Links, index: usize) {
        links.next[index] = self.first;
        links.previous[index] = NONE;
        match self.first {
            NONE => self.last = index as u16,
            first => links.previous[usize::from(first)] = index as u16,
        }
        self.first = index as u16;
        self.len += 1;
    }

    /// Takes `index` out, which must be in this list.
    pub(super) fn remove(&mut self, links: &mut Links, index: usize) {
        let (previous, next) = (links.previous[index], links.next[index]);
        match previous {
            NONE => self.first = next,
            previous => links.next[usize::from(previous)] = next,
        }
        match next {
            NONE => self.last = previous,
            next => links.previous[usize::from(next)] = previous,
        }
        self.len -= 1;
    }

    pub(super) fn pop_first(&mut self, links: &mut Links) -> Option<usize> {
        let index = self.first()?;
        self.remove(links, index);
        Some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_from_every_place() {
        let mut links = Links::new(5);
        let mut list = List::new();
        for index in [3, 1, 4, 0] {
            list.push_last(&mut links, index);
        }
        list.push_first(&mut links, 2);
        list.remove(&mut links, 4);
        list.remove(&mut links, 0);
        assert_eq!(list.len(), 3);
        assert_eq!(list.pop_first(&mut links), Some(2));
        list.push_last(&mut links, 4);
        assert_eq!(list.pop_first(&mut links), Some(3));
        assert_eq!(list.pop_first(&mut links), Some(1));
        assert_eq!(list.pop_first(&mut links), Some(4));
        assert_eq!(list.pop_first(&mut links), None);
        assert_eq!((list.len(), list.first()), (0, None));
    }
}
