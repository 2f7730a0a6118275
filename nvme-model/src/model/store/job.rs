//! One operation on a file on its way through a worker.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;

use super::buffer::Buffer;

/// What a worker is to do with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Read into the buffer, from `done` on.
    Read,
    /// Write the buffer, from `done` on.
    Write {
        /// With `RWF_DSYNC`.
        durable: bool,
    },
    /// `fdatasync`.
    Sync,
    /// Punch a hole of `bytes` bytes, which reads as zeroes.
    Punch,
}

/// An operation. It owns its buffer, so it can go to a thread or to the kernel.
#[derive(Debug)]
pub(super) struct Job {
    /// The store's token.
    pub(super) token: u64,
    pub(super) action: Action,
    /// Offset in the file of the buffer's first byte, or of the hole.
    pub(super) offset: u64,
    /// Length of the hole; what is left of it when zeroes are written instead.
    pub(super) bytes: u64,
    pub(super) buffer: Buffer,
    /// Bytes of the buffer done.
    pub(super) done: usize,
    /// Zeroes must be durable before they are done.
    pub(super) then_sync: bool,
    /// What the last action came to: bytes moved.
    pub(super) result: io::Result<usize>,
}

/// Does jobs without keeping the caller waiting.
pub(super) trait Worker: Send + Debug {
    /// Takes a job. There is room for [`JOBS_MAX`].
    fn start(&mut self, job: Job);

    /// Hands what was started to the kernel, where that is a step of its own.
    fn kick(&mut self);

    /// A job that has ended.
    fn finished(&mut self) -> Option<Job>;

    /// Waits until every job has ended; they still come out of `finished`.
    fn drain(&mut self);

    /// Readable when `finished` has something.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// Jobs in one worker.
pub(super) const JOBS_MAX: usize = 128;
