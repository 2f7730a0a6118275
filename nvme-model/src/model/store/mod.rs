//! Where a namespace keeps its blocks.
//!
//! A [`Store`] is asynchronous: an operation is either carried out at once, or is pending and comes
//! out of [`Store::poll`] later. Buffers belong to the caller and are lent for the call alone: what a
//! pending write needs is copied, and what a pending read brought is lent by `poll`. So no store
//! holds a reference into memory that a device may touch.

mod buffer;
mod buffers;
mod cached;
mod file;
mod job;
mod memory;
mod pool;
mod uring;

use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::string::String;

pub use buffers::Buffers;
pub use cached::CachedStore;
pub use file::{Backend, FileStore, FileStoreOptions, OpenError};
pub use memory::MemoryStore;

/// What a store is asked to do. Offsets and lengths are in bytes and multiples of the block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOp {
    /// Fill the buffers from `offset`.
    Read {
        /// First byte.
        offset: u64,
    },
    /// Write the buffers at `offset`.
    Write {
        /// First byte.
        offset: u64,
        /// It is durable before it is done.
        durable: bool,
    },
    /// Make `bytes` bytes read as zeroes; they may be given back to whatever lies below.
    Zero {
        /// First byte.
        offset: u64,
        /// How many.
        bytes: u64,
        /// It is durable before it is done.
        durable: bool,
    },
    /// Make durable every write that was done before.
    Flush,
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The medium reported an error.
    #[error("the store reported an input or output error")]
    Medium,
    /// There is no room for the write.
    #[error("the store has no room left")]
    NoSpace,
    /// The store may not be written.
    #[error("the store is read-only")]
    ReadOnly,
    /// The range lies outside the store.
    #[error("the range lies outside the store")]
    OutOfRange,
    /// An earlier flush failed. What had been written before it may or may not be there, so nothing
    /// more is done until a restart.
    #[error("the store failed at a flush and is out of use until a restart")]
    Failed,
}

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It is over.
    Done(Result<(), StoreError>),
    /// It will come out of [`Store::poll`].
    Pending,
    /// There is no room for it now, and nothing was done: submit it again after a completion.
    Busy,
}

/// An operation that has ended.
#[derive(Debug)]
pub struct Finished<'s> {
    /// The token it was submitted with.
    pub token: u64,
    /// The bytes read (none for other operations), or why it failed.
    pub result: Result<&'s [u8], StoreError>,
}

/// Blocks that persist, more or less.
pub trait Store: Send + Debug {
    /// Its size in bytes.
    fn bytes(&self) -> u64;

    /// What it is, for messages.
    fn describe(&self) -> String;

    /// Whether it refuses writes.
    fn read_only(&self) -> bool {
        false
    }

    /// Whether writes may be lost with the power until a flush.
    fn volatile(&self) -> bool {
        false
    }

    /// Starts an operation. `data` is what a read fills and a write carries; its length is the
    /// operation's. Operations pending at the same time have no order among them.
    fn submit(&mut self, token: u64, op: StoreOp, data: &mut Buffers<'_>) -> Submitted;

    /// The next operation that has ended since it was [`Submitted::Pending`].
    fn poll(&mut self) -> Option<Finished<'_>>;

    /// Hands what was submitted to whoever does it, and starts a new turn of operations done inline.
    fn kick(&mut self) {}

    /// What becomes readable when [`poll`](Self::poll) has something. `None` when nothing is ever
    /// pending.
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The power is lost: pending operations end, done or not, and are not reported; of what was not
    /// durable a part that follows from `seed` is lost.
    fn power_cut(&mut self, seed: u64);

    /// Reads and waits. For tools and for stores over stores.
    ///
    /// # Errors
    ///
    /// As a read.
    fn read_now(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), StoreError>;

    /// Writes and waits. For tools and for stores over stores.
    ///
    /// # Errors
    ///
    /// As a write.
    fn write_now(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;
}
