//! Jobs by two threads, where io_uring is missing.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::vec::Vec;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::ReadWriteFlags;

use super::job::{Action, Job, Worker};

const THREADS: usize = 2;

/// The threads and what goes to and from them.
#[derive(Debug)]
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Jobs taken from the threads and not yet handed on.
    done: VecDeque<Job>,
}

#[derive(Debug)]
struct Shared {
    file: Arc<File>,
    queues: Mutex<Queues>,
    /// Something to do, or the end.
    work: Condvar,
    /// A job has ended.
    ended: Condvar,
    /// Counts jobs ended; readable when not zero.
    event: OwnedFd,
}

#[derive(Debug, Default)]
struct Queues {
    todo: VecDeque<Job>,
    done: VecDeque<Job>,
    /// Started and not ended.
    running: usize,
    stop: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queues> {
        // No code that can panic runs under the lock.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Starts the threads.
    pub(super) fn new(file: Arc<File>) -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            file,
            queues: Mutex::default(),
            work: Condvar::new(),
            ended: Condvar::new(),
            event,
        });
        let mut pool = Self {
            shared,
            threads: Vec::new(),
            done: VecDeque::new(),
        };
        for _ in 0..THREADS {
            let shared = Arc::clone(&pool.shared);
            let builder = thread::Builder::new().name("file-store".into());
            pool.threads.push(builder.spawn(move || serve(&shared))?);
        }
        Ok(pool)
    }
}

/// What a thread does.
fn serve(shared: &Shared) {
    let mut queues = shared.lock();
    loop {
        if let Some(mut job) = queues.todo.pop_front() {
            drop(queues);
            job.result = carry_out(&shared.file, &mut job);
            queues = shared.lock();
            queues.done.push_back(job);
            queues.running -= 1;
            shared.ended.notify_all();
            // Full only after 2^64 - 2 jobs nobody asked for; then it is readable anyway.
            let _counted = rustix::io::write(&shared.event, &1u64.to_ne_bytes());
        } else if queues.stop {
            return;
        } else {
            queues = shared
                .work
                .wait(queues)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn carry_out(file: &File, job: &mut Job) -> io::Result<usize> {
    let at = job.offset + job.done as u64;
    let rest = job.buffer.get_mut(job.done..).unwrap_or_default();
    match job.action {
        Action::Read => file.read_at(rest, at),
        Action::Write { durable: false } => file.write_at(rest, at),
        Action::Write { durable: true } => {
            let slices = [io::IoSlice::new(rest)];
            Ok(rustix::io::pwritev2(
                file,
                &slices,
                at,
                ReadWriteFlags::DSYNC,
            )?)
        }
        Action::Sync => file.sync_data().map(|()| 0),
        Action::Punch => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(file, flags, job.offset, job.bytes)?;
            Ok(0)
        }
    }
}

impl Worker for Pool {
    fn start(&mut self, job: Job) {
        let mut queues = self.shared.lock();
        queues.todo.push_back(job);
        queues.running += 1;
        drop(queues);
        self.shared.work.notify_one();
    }

    fn kick(&mut self) {}

    fn finished(&mut self) -> Option<Job> {
        if self.done.is_empty() {
            // The event is cleared before the queue is looked at, so none is missed.
            let mut count = [0; 8];
            let _none = rustix::io::read(&self.shared.event, &mut count);
            core::mem::swap(&mut self.done, &mut self.shared.lock().done);
        }
        self.done.pop_front()
    }

    fn drain(&mut self) {
        let mut queues = self.shared.lock();
        while queues.running > 0 {
            queues = self
                .shared
                .ended
                .wait(queues)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
    }
}
