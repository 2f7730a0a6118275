//! A store over a file.
//!
//! Reads that the page cache can serve are served at once, by `preadv2` with `RWF_NOWAIT`, straight into
//! the caller's memory; a turn does so for a few and then lets others have theirs. Everything else goes
//! to io_uring or, where that is missing, to two threads. A write is copied first.
//!
//! A write is durable after a flush (`fdatasync`) or by `RWF_DSYNC`. After a failed `fdatasync` the kernel
//! may have dropped what it could not write and report nothing the next time, so one failure puts the
//! store out of use: it is not tried again.

use std::boxed::Box;
use std::format;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, Seek, SeekFrom};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::string::String;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::vec::Vec;

use rustix::fs::{FlockOperation, OFlags, fcntl_getfl, fcntl_setfl, flock};
use rustix::io::{Errno, ReadWriteFlags};
use thiserror::Error;

use super::buffer::Buffer;
use super::job::{Action, JOBS_MAX, Job, Worker};
use super::pool::Pool;
use super::uring::Uring;
use super::{Buffers, Finished, Store, StoreError, StoreOp, Submitted};

/// Reads served inline between two calls of [`Store::kick`].
const INLINE_READS_PER_TURN: usize = 32;

/// How long a file may stay locked that somebody has just let go of.
const LETTING_GO: Duration = Duration::from_millis(500);

/// Most bytes of zeroes written at a time where no hole can be punched.
const ZEROES_BYTES: u64 = 256 * 1024;

/// Who does what cannot be done at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// io_uring if the kernel has it, else threads.
    #[default]
    Auto,
    /// io_uring.
    Uring,
    /// Two threads.
    Pool,
}

/// How a file is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStoreOptions {
    /// Open it for reading only. Several may.
    pub read_only: bool,
    /// Who works on it.
    pub backend: Backend,
    /// Serve what is cached at once.
    pub inline_reads: bool,
    /// Go past the page cache, by `O_DIRECT`: no read is served inline then. Blocks must be multiples
    /// of what the file's own device has, or the device refuses.
    pub direct: bool,
}

impl Default for FileStoreOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            backend: Backend::Auto,
            inline_reads: true,
            direct: false,
        }
    }
}

/// Why a file cannot be a store.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It cannot be opened.
    #[error("cannot open {path}: {source}{}", remedy(source))]
    Open {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Somebody else uses it.
    #[error(
        "{path} is in use, by another process or because it is given twice; stop that one, or name another file"
    )]
    Locked {
        /// Which.
        path: String,
    },
    /// io_uring was asked for and is not there, or threads could not be started.
    #[error("cannot start the worker for {path}: {source}")]
    Worker {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// What to do about a file that cannot be opened.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => "; make it first, for instance with `truncate -s 1G FILE`",
        io::ErrorKind::PermissionDenied => "; it must be readable and writable for you",
        io::ErrorKind::IsADirectory => "; name a file or a block device",
        _ => "",
    }
}

/// Blocks in a file or on a block device.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    bytes: u64,
    read_only: bool,
    inline_reads: bool,
    inline_left: usize,
    in_flight: usize,
    failed: bool,
    /// Buffers to use again.
    spare: Vec<Buffer>,
    /// The job that `poll` lends out.
    lent: Option<Job>,
    /// Dropped before the file is closed.
    worker: Box<dyn Worker>,
    file: Arc<File>,
}

impl FileStore {
    /// Opens a file and locks it against other users.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or locked, or the backend cannot be had.
    pub fn open(path: impl AsRef<Path>, options: FileStoreOptions) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let (file, bytes) = Self::lock(path, options.read_only)?;
        if options.direct {
            go_past_cache(&file).map_err(|errno| OpenError::Open {
                path: path.display().to_string(),
                source: errno.into(),
            })?;
        }
        Self::over(file, path, bytes, options)
    }

    /// Opens a file and locks it against other users, without making a store of it; the file and its
    /// size. Waits half a second for a lock.
    ///
    /// # Errors
    ///
    /// When it cannot be opened or locked.
    pub fn lock(path: &Path, read_only: bool) -> Result<(File, u64), OpenError> {
        let name = path.display().to_string();
        let failed = |source| OpenError::Open {
            path: name.clone(),
            source,
        };
        let file = OpenOptions::new().read(true).write(!read_only).open(path);
        let mut file = file.map_err(failed)?;
        let lock = if read_only {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        // A process that was killed has its last reads and writes behind it before its lock goes.
        let until = Instant::now() + LETTING_GO;
        loop {
            match flock(&file, lock) {
                Ok(()) => break,
                Err(Errno::WOULDBLOCK) if Instant::now() < until => sleep(LETTING_GO / 50),
                Err(Errno::WOULDBLOCK) => return Err(OpenError::Locked { path: name }),
                Err(error) => return Err(failed(error.into())),
            }
        }
        // The end of a block device is its size, which its metadata does not tell.
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        Ok((file, bytes))
    }

    /// A store of `bytes` bytes over an open file.
    pub(in crate::model) fn over(
        file: File,
        path: &Path,
        bytes: u64,
        options: FileStoreOptions,
    ) -> Result<Self, OpenError> {
        let file = Arc::new(file);
        let worker = worker(&file, options.backend);
        let worker = worker.map_err(|source| OpenError::Worker {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Self {
            path: path.into(),
            bytes,
            read_only: options.read_only,
            inline_reads: options.inline_reads && !options.direct,
            inline_left: INLINE_READS_PER_TURN,
            in_flight: 0,
            failed: false,
            spare: Vec::new(),
            lent: None,
            worker,
            file,
        })
    }

    fn check(&self, op: StoreOp, bytes: u64) -> Result<(), StoreError> {
        if self.failed {
            return Err(StoreError::Failed);
        }
        let (offset, bytes, writes) = match op {
            StoreOp::Read { offset } => (offset, bytes, false),
            StoreOp::Write { offset, .. } => (offset, bytes, true),
            StoreOp::Zero { offset, bytes, .. } => (offset, bytes, true),
            StoreOp::Flush => (0, 0, false),
        };
        if writes && self.read_only {
            return Err(StoreError::ReadOnly);
        }
        match offset.checked_add(bytes) {
            Some(end) if end <= self.bytes => Ok(()),
            _ => Err(StoreError::OutOfRange),
        }
    }

    /// Reads what is cached; false when not all of it is.
    fn read_inline(&mut self, mut offset: u64, data: &mut Buffers<'_>) -> bool {
        if !self.inline_reads || self.inline_left == 0 {
            return false;
        }
        self.inline_left -= 1;
        for index in 0..data.runs() {
            let run = data.run_mut(index);
            let bytes = run.len();
            let mut slices = [IoSliceMut::new(run)];
            let flags = ReadWriteFlags::NOWAIT;
            match rustix::io::preadv2(&self.file, &mut slices, offset, flags) {
                Ok(read) if read == bytes => offset += bytes as u64,
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => return false,
                Err(_) => {
                    // Not here, or an error that the worker will meet and report.
                    self.inline_reads = false;
                    return false;
                }
            }
        }
        true
    }

    /// A buffer of `bytes` bytes, whatever they are.
    fn buffer(&mut self, bytes: usize) -> Buffer {
        let mut buffer = self.spare.pop().unwrap_or_default();
        buffer.resize(bytes);
        buffer
    }

    fn recycle(&mut self, buffer: Buffer) {
        if buffer.has_memory() && self.spare.len() < JOBS_MAX {
            self.spare.push(buffer);
        }
    }

    fn job(&mut self, token: u64, op: StoreOp, data: &Buffers<'_>) -> Job {
        let (action, offset, bytes, length, then_sync) = match op {
            StoreOp::Read { offset } => (Action::Read, offset, 0, data.len(), false),
            StoreOp::Write { offset, durable } => {
                (Action::Write { durable }, offset, 0, data.len(), false)
            }
            StoreOp::Zero {
                offset,
                bytes,
                durable,
            } => (Action::Punch, offset, bytes, 0, durable),
            StoreOp::Flush => (Action::Sync, 0, 0, 0, false),
        };
        let mut buffer = if length > 0 {
            self.buffer(length)
        } else {
            Buffer::default()
        };
        if matches!(op, StoreOp::Write { .. }) {
            data.copy_to(&mut buffer);
        }
        Job {
            token,
            action,
            offset,
            bytes,
            buffer,
            done: 0,
            then_sync,
            result: Ok(0),
        }
    }

    /// What a job's action came to: the operation's end, or `None` when the job goes on.
    fn advance(&mut self, mut job: Job) -> Option<(Job, Result<(), StoreError>)> {
        match (&job.result, job.action) {
            (Err(error), _) if retriable(error) => {}
            (Err(error), Action::Punch) if no_holes(error) => self.zeroes_instead(&mut job),
            (Err(error), action) => {
                self.failed |= breaks(error, action);
                let error = store_error(error, self.failed);
                return Some((job, Err(error)));
            }
            (Ok(0), Action::Read | Action::Write { .. }) => {
                return Some((job, Err(StoreError::Medium))); // the file is shorter than it was
            }
            (Ok(moved), Action::Read | Action::Write { .. }) => {
                job.done += moved;
                if job.done >= job.buffer.len() && !self.next_zeroes(&mut job) {
                    return self.sync_if_due(job);
                }
            }
            (Ok(_), Action::Punch) => return self.sync_if_due(job),
            (Ok(_), Action::Sync) => return Some((job, Ok(()))),
        }
        self.worker.start(job);
        None
    }

    fn sync_if_due(&mut self, mut job: Job) -> Option<(Job, Result<(), StoreError>)> {
        if !job.then_sync {
            return Some((job, Ok(())));
        }
        job.then_sync = false;
        job.action = Action::Sync;
        self.worker.start(job);
        None
    }

    /// Makes a job that could not punch a hole write zeroes.
    fn zeroes_instead(&mut self, job: &mut Job) {
        job.action = Action::Write { durable: false };
        job.buffer = self.buffer(job.bytes.min(ZEROES_BYTES) as usize);
        job.buffer.fill(0);
        job.done = 0;
        job.bytes -= job.buffer.len() as u64;
    }

    /// The next piece of zeroes, if there is one.
    fn next_zeroes(&mut self, job: &mut Job) -> bool {
        if job.bytes == 0 {
            return false;
        }
        job.offset += job.buffer.len() as u64;
        job.buffer.resize(job.bytes.min(ZEROES_BYTES) as usize);
        job.done = 0;
        job.bytes -= job.buffer.len() as u64;
        true
    }
}

/// Sets `O_DIRECT` (`fcntl(2)`, `F_SETFL`).
fn go_past_cache(file: &File) -> rustix::io::Result<()> {
    fcntl_setfl(file, fcntl_getfl(file)? | OFlags::DIRECT)
}

fn worker(file: &Arc<File>, backend: Backend) -> io::Result<Box<dyn Worker>> {
    let uring = || Uring::new(Arc::clone(file)).map(|uring| Box::new(uring) as Box<dyn Worker>);
    let pool = || Pool::new(Arc::clone(file)).map(|pool| Box::new(pool) as Box<dyn Worker>);
    match backend {
        Backend::Auto => uring().or_else(|_| pool()),
        Backend::Uring => uring(),
        Backend::Pool => pool(),
    }
}

fn retriable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

/// Whether holes are not to be had here, rather than this one failing.
fn no_holes(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::OPNOTSUPP, Errno::NOSYS, Errno::NODEV, Errno::INVAL]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

/// Whether a failure puts the store out of use: data written before may be lost, and the next sync would
/// not tell. A durable write that found no room wrote nothing.
fn breaks(error: &io::Error, action: Action) -> bool {
    match action {
        Action::Sync => true,
        Action::Write { durable } => durable && error.kind() != io::ErrorKind::StorageFull,
        Action::Read | Action::Punch => false,
    }
}

fn store_error(error: &io::Error, failed: bool) -> StoreError {
    match error.kind() {
        _ if failed => StoreError::Failed,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace,
        _ => StoreError::Medium,
    }
}

impl Store for FileStore {
    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn describe(&self) -> String {
        format!("{}", self.path.display())
    }

    fn read_only(&self) -> bool {
        self.read_only
    }

    fn volatile(&self) -> bool {
        true
    }

    fn submit(&mut self, token: u64, op: StoreOp, data: &mut Buffers<'_>) -> Submitted {
        if let Err(error) = self.check(op, data.len() as u64) {
            return Submitted::Done(Err(error));
        }
        if let StoreOp::Read { offset } = op
            && self.read_inline(offset, data)
        {
            return Submitted::Done(Ok(()));
        }
        if op == StoreOp::Flush && self.read_only {
            return Submitted::Done(Ok(()));
        }
        if self.in_flight == JOBS_MAX {
            return Submitted::Busy;
        }
        let job = self.job(token, op, data);
        self.in_flight += 1;
        self.worker.start(job);
        Submitted::Pending
    }

    fn poll(&mut self) -> Option<Finished<'_>> {
        if let Some(job) = self.lent.take() {
            self.recycle(job.buffer);
        }
        loop {
            let job = self.worker.finished()?;
            let Some((job, outcome)) = self.advance(job) else {
                continue;
            };
            self.in_flight -= 1;
            let token = job.token;
            let reads = job.action == Action::Read;
            let job = self.lent.insert(job);
            let bytes = if reads { &job.buffer[..] } else { &[] };
            return Some(Finished {
                token,
                result: outcome.map(|()| bytes),
            });
        }
    }

    fn kick(&mut self) {
        self.inline_left = INLINE_READS_PER_TURN;
        self.worker.kick();
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.worker.fd())
    }

    /// The host keeps its page cache, so nothing written is lost here.
    fn power_cut(&mut self, _seed: u64) {
        self.worker.drain();
        while let Some(job) = self.worker.finished() {
            self.failed |= job
                .result
                .as_ref()
                .is_err_and(|error| breaks(error, job.action));
            self.recycle(job.buffer);
        }
        self.in_flight = 0;
    }

    fn read_now(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.check(StoreOp::Read { offset }, bytes.len() as u64)?;
        let mut buffer = self.buffer(bytes.len());
        let read = self.file.read_exact_at(&mut buffer, offset);
        bytes.copy_from_slice(&buffer);
        self.recycle(buffer);
        read.map_err(|error| store_error(&error, false))
    }

    fn write_now(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.check(
            StoreOp::Write {
                offset,
                durable: false,
            },
            bytes.len() as u64,
        )?;
        let mut buffer = self.buffer(bytes.len());
        buffer.copy_from_slice(bytes);
        let written = self.file.write_all_at(&buffer, offset);
        self.recycle(buffer);
        written.map_err(|error| store_error(&error, false))
    }
}
