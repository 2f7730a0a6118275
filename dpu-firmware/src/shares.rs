//! Shares of a pool: what every connection is promised of it, and who may have more.
//!
//! A pool that connections compete for is divided in two. Of one part each connection may
//! take its promise at any time, whatever the others do. The rest goes to whoever asks, and
//! nobody takes more of it than he leaves: so a few greedy connections are fast while the
//! agent has little else to do, and the last one still gets what it was promised.

use protocol::limits::IO_BYTES_MAX;

use crate::limits::{
    INSTANCES_PER_CONNECTION, Limits, MAP_CLASSES, OBJECTS_PER_CONNECTION, READ_PAGES_MIN,
    SLAB_CLASS_PAGES,
};
use nvme_model::seam::PAGE_BYTES;

/// Pages for reads that a connection is promised: one read of the greatest length.
const READ_PAGES: usize = IO_BYTES_MAX as usize / PAGE_BYTES;

/// Slabs of each class that a connection is promised: scratch and reply of one call.
const SLABS: usize = 2;

/// Invocations that a connection is promised.
const INVOCATIONS: usize = 2;

/// Objects that a connection is promised.
const OBJECTS: usize = 8;

/// Instances that a connection is promised.
const INSTANCES: usize = 4;

/// Slabs for maps of each class that a connection is promised.
const MAP_SLABS: usize = 2;

/// One pool, divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// What each connection may have at any time.
    promise: usize,
    /// What was promised and is not taken: kept from those that want more than their promise.
    owed: usize,
}

impl Share {
    /// Divides a pool of `total` among `connections`: each is promised `wish`, or less where the
    /// rest would not hold `most`, the most that one takes at once.
    #[must_use]
    pub fn new(total: usize, connections: usize, wish: usize, most: usize) -> Share {
        let promise = wish.min(total.saturating_sub(most) / connections.max(1));
        Share {
            promise,
            owed: promise * connections,
        }
    }

    /// What each connection is promised.
    #[must_use]
    pub const fn promise(&self) -> usize {
        self.promise
    }

    /// Whether a connection that holds `held` may take `count` of the `free`: within its
    /// promise always, beyond it no more than it leaves of what nobody was promised.
    #[must_use]
    pub fn may_take(&self, held: usize, count: usize, free: usize) -> bool {
        let beyond = (held + count).saturating_sub(self.promise);
        if beyond == 0 {
            return count <= free;
        }
        beyond <= free.saturating_sub(self.owed)
    }

    /// Whether a connection that holds `held` may have one more entry of a table of which `free`
    /// are free. How many one connection may have is bounded elsewhere, so nothing has to be left
    /// but what others were promised.
    #[must_use]
    pub fn may_enter(&self, held: usize, free: usize) -> bool {
        self.may_take(held.min(self.promise), 1, free)
    }

    /// A connection that held `held` took `count` more.
    pub fn took(&mut self, held: usize, count: usize) {
        self.owed -= count.min(self.promise.saturating_sub(held));
    }

    /// A connection gave `count` back and holds `held` still.
    pub fn gave(&mut self, held: usize, count: usize) {
        self.owed += count.min(self.promise.saturating_sub(held));
    }
}

/// The pools that connections compete for.
#[derive(Debug, Clone)]
pub struct Shares {
    /// Pages for reads.
    pub read_pages: Share,
    /// Slabs of each class.
    pub slabs: [Share; SLAB_CLASS_PAGES.len()],
    /// Invocations.
    pub invocations: Share,
    /// Open objects.
    pub objects: Share,
    /// Attached instances.
    pub instances: Share,
    /// Slabs for maps of each class.
    pub map_slabs: [Share; MAP_CLASSES],
}

impl Shares {
    /// Divides the pools of an agent.
    #[must_use]
    pub fn new(limits: &Limits) -> Shares {
        let divide = |total, wish, most| Share::new(total, limits.connections, wish, most);
        let read_pages = limits.data_pages - limits.payload_pages();
        Shares {
            read_pages: divide(read_pages, READ_PAGES, READ_PAGES_MIN),
            slabs: limits.slabs.map(|slabs| divide(slabs, SLABS, SLABS)),
            invocations: divide(limits.invocations, INVOCATIONS, 1),
            objects: divide(limits.objects, OBJECTS, OBJECTS_PER_CONNECTION),
            instances: divide(limits.instances, INSTANCES, INSTANCES_PER_CONNECTION),
            map_slabs: limits.map_slabs.map(|slabs| divide(slabs, MAP_SLABS, 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{LARGE, SMALL};

    /// A pool of 100 for 10 connections that are promised 4 each.
    fn share() -> Share {
        let share = Share::new(100, 10, 4, 20);
        assert_eq!(share.promise(), 4);
        share
    }

    /// Takes one at a time as long as that is allowed; how many are free then.
    fn take_all(share: &mut Share, held: &mut usize, mut free: usize) -> usize {
        while share.may_take(*held, 1, free) {
            share.took(*held, 1);
            *held += 1;
            free -= 1;
        }
        free
    }

    #[test]
    fn the_last_of_the_greedy_gets_its_promise() {
        let mut share = share();
        let (mut held, mut free) = ([0; 10], 100);
        for held in &mut held {
            free = take_all(&mut share, held, free);
        }
        assert_eq!(held[0], 4 + 30, "half of what nobody was promised");
        assert!(held.iter().all(|held| *held >= 4), "{held:?}");
        assert_eq!(free, 100 - held.iter().sum::<usize>());
    }

    #[test]
    fn what_is_given_back_is_owed_again() {
        let mut share = share();
        let before = share;
        let mut held = 0;
        let mut free = take_all(&mut share, &mut held, 100);
        while held > 0 {
            held -= 1;
            free += 1;
            share.gave(held, 1);
        }
        assert_eq!((share, free), (before, 100));
    }

    #[test]
    fn many_at_once_are_taken_together_or_not() {
        let share = share();
        assert!(share.may_take(0, 4, 4));
        assert!(!share.may_take(0, 4, 3), "there are none");
        assert!(share.may_take(0, 20, 40 + 16));
        assert!(!share.may_take(0, 20, 40 + 15), "others were promised 40");
    }

    #[test]
    fn a_table_is_filled_but_for_what_others_were_promised() {
        let (mut share, mut held, mut free) = (share(), 0, 100);
        while share.may_enter(held, free) {
            share.took(held, 1);
            held += 1;
            free -= 1;
        }
        assert_eq!((held, free), (64, 36));
        assert!(share.may_enter(3, free));
        assert!(!share.may_enter(4, free));
    }

    #[test]
    fn a_pool_too_small_promises_nothing() {
        let share = Share::new(34, 8, 32, 33);
        assert_eq!(share.promise(), 0);
        assert!(share.may_take(0, 17, 34));
        assert!(share.may_take(0, 33, 34));
        assert!(!share.may_take(17, 1, 17));
    }

    #[test]
    fn both_profiles_promise_every_connection_a_read_and_a_call() {
        for limits in [SMALL, LARGE] {
            let shares = Shares::new(&limits);
            assert_eq!(shares.read_pages.promise(), READ_PAGES);
            assert!(shares.slabs.iter().all(|share| share.promise() >= 1));
            assert_eq!(shares.invocations.promise(), INVOCATIONS);
            assert_eq!(shares.objects.promise(), OBJECTS);
            assert_eq!(shares.instances.promise(), INSTANCES);
            assert_eq!(shares.map_slabs[0].promise(), MAP_SLABS);
        }
        let small = Shares::new(&SMALL);
        assert!(small.slabs.iter().all(|share| share.promise() == SLABS));
    }
}
