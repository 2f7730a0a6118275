//! Jobs by io_uring.
//!
//! The one place of the model with `unsafe`: the kernel reads and writes a job's buffer after the call
//! that submitted it has returned. So a job and its buffer stay in [`Uring::jobs`], untouched, from
//! submission until its completion was taken, and a ring is dropped only after its last completion.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::vec::Vec;

use io_uring::{IoUring, opcode, squeue, types};

use super::job::{Action, JOBS_MAX, Job, Worker};

/// `FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE` of `linux/falloc.h`.
const PUNCH_HOLE: i32 = 0x01 | 0x02;
/// `RWF_DSYNC` of `linux/fs.h`.
const DSYNC: i32 = 0x02;

/// A ring and the jobs in it.
pub(super) struct Uring {
    ring: IoUring,
    file: Arc<File>,
    /// By index, which is the completion's user data. A job here is the kernel's.
    jobs: Vec<Option<Job>>,
    free: Vec<usize>,
    /// Entries pushed and not yet told to the kernel.
    pushed: usize,
}

impl std::fmt::Debug for Uring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Uring")
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

/// A ring whose completions do not interrupt the thread that waits for them: they are posted when it
/// enters the kernel, and a flag says when it should (`IORING_SETUP_COOP_TASKRUN`, Linux 5.19).
fn cooperative() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_coop_taskrun()
        .setup_taskrun_flag()
        .build(JOBS_MAX as u32)
}

impl Uring {
    /// A ring, if the kernel gives one and knows the operations used here.
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let ring = cooperative().or_else(|_| IoUring::new(JOBS_MAX as u32))?;
        let mut probe = io_uring::Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::Fsync::CODE,
            opcode::Fallocate::CODE,
        ];
        if needed.iter().any(|&code| !probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let jobs = (0..JOBS_MAX).map(|_| None).collect();
        Ok(Self {
            ring,
            file,
            jobs,
            free: (0..JOBS_MAX).rev().collect(),
            pushed: 0,
        })
    }

    fn in_flight(&self) -> usize {
        JOBS_MAX - self.free.len()
    }

    /// The entry for a job, which points into its buffer.
    fn entry(&self, job: &mut Job, index: usize) -> squeue::Entry {
        let fd = types::Fd(self.file.as_raw_fd());
        let at = job.offset + job.done as u64;
        let rest = job.buffer.get_mut(job.done..).unwrap_or_default();
        let entry = match job.action {
            Action::Read => opcode::Read::new(fd, rest.as_mut_ptr(), rest.len() as u32)
                .offset(at)
                .build(),
            Action::Write { durable } => opcode::Write::new(fd, rest.as_ptr(), rest.len() as u32)
                .offset(at)
                .rw_flags(if durable { DSYNC } else { 0 })
                .build(),
            Action::Sync => opcode::Fsync::new(fd)
                .flags(types::FsyncFlags::DATASYNC)
                .build(),
            Action::Punch => opcode::Fallocate::new(fd, job.bytes)
                .offset(job.offset)
                .mode(PUNCH_HOLE)
                .build(),
        };
        entry.user_data(index as u64)
    }

    /// Tells the kernel of what was pushed. What it does not take now it takes at the next call.
    fn tell(&mut self) {
        if self.pushed > 0 {
            self.enter();
        }
    }

    /// Enters the kernel, which takes what was pushed and posts what has ended.
    fn enter(&mut self) {
        if let Ok(taken) = self.ring.submit() {
            self.pushed = self.pushed.saturating_sub(taken);
        }
    }
}

impl Worker for Uring {
    fn start(&mut self, mut job: Job) {
        let index = self
            .free
            .pop()
            .expect("a store starts at most JOBS_MAX jobs");
        let entry = self.entry(&mut job, index);
        // The buffer's bytes do not move with the job.
        self.jobs[index] = Some(job);
        // SAFETY: the entry's buffer belongs to the job in `jobs[index]`, which nobody touches until its
        // completion is taken in `finished`; the file is open as long as `self`, and `drop` waits.
        while unsafe { self.ring.submission().push(&entry) }.is_err() {
            self.tell();
        }
        self.pushed += 1;
    }

    fn kick(&mut self) {
        self.tell();
    }

    fn finished(&mut self) -> Option<Job> {
        if self.ring.completion().is_empty() && self.ring.submission().taskrun() {
            self.enter();
        }
        let completion = self.ring.completion().next()?;
        let index = usize::try_from(completion.user_data()).ok()?;
        let mut job = self.jobs.get_mut(index)?.take()?;
        self.free.push(index);
        job.result = usize::try_from(completion.result())
            .map_err(|_| io::Error::from_raw_os_error(-completion.result()));
        Some(job)
    }

    fn drain(&mut self) {
        // Completions not yet taken count as well.
        let in_flight = self.in_flight();
        while self.ring.completion().len() < in_flight {
            match self.ring.submit_and_wait(in_flight) {
                Ok(_) => self.pushed = 0,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => std::thread::yield_now(),
            }
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor and lives as long as the borrow of `self`.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        self.drain();
    }
}
