//! Statics for a machine with one core in use and its interrupts masked.
#![allow(unsafe_code)] // It makes a static of what is not Sync, for the reason below.

use core::cell::{RefCell, RefMut};
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that is lent to one at a time, which is looked at when it is asked for.
pub(crate) struct Single<T>(RefCell<T>);

// SAFETY: this firmware starts no second core and unmasks no interrupt (`start.rs`), so there is
// nobody to share with but a handler of exceptions; that finds the value lent, if it is, and does
// not return.
unsafe impl<T> Sync for Single<T> {}

impl<T> Single<T> {
    pub(crate) const fn new(value: T) -> Single<T> {
        Single(RefCell::new(value))
    }

    /// The value.
    ///
    /// # Panics
    /// If it is lent already.
    #[track_caller]
    pub(crate) fn lend(&self) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}

/// What there is one of, and so one owner.
pub(crate) struct Once(AtomicBool);

impl Once {
    pub(crate) const fn new() -> Once {
        Once(AtomicBool::new(false))
    }

    /// Takes it.
    ///
    /// # Panics
    /// The second time.
    #[track_caller]
    pub(crate) fn take(&self) {
        // One core: a load and a store are enough.
        assert!(!self.0.load(Ordering::Relaxed), "this can be had once");
        self.0.store(true, Ordering::Relaxed);
    }
}
