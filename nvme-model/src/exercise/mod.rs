//! The driver put through its paces over any device: one body for model, emulator and board.
//!
//! [`run`] starts the controller, writes and reads by chance while a shadow says what each block must
//! hold, has commands refused, resets the controller under load, shuts it down and starts it again. It
//! allocates nothing, and takes its time, its memory and its randomness from the caller. What the device
//! held in the blocks it uses, the first [`BLOCKS`] of each namespace, is lost.
//!
//! [`raw`] speaks to a controller without the driver, and [`conformance`] says what to ask it.

pub mod conformance;
pub mod raw;
mod summary;

use core::fmt;

use crate::driver::{
    Completion, Driver, DriverState, Error, Lba, NamespaceId, NamespaceInfo, Operation, Rejected,
    Wake,
};
use crate::memory::{PagePool, PageRange, Slab, Transfer};
use crate::seam::{Device, PAGE_BYTES, Registers};
use crate::spec::{StatusCode, offset};

pub use summary::Summary;

/// Blocks of each namespace that are used; a namespace must have as many.
pub const BLOCKS: u64 = 512;

/// Namespaces that are used, the first ones.
pub const NAMESPACES: usize = 2;

/// Pages that [`run`] needs at least.
pub const PAGES: u32 = SLAB_PAGES + 256;

/// Pages of the slab that a long transfer starts in the middle of.
const SLAB_PAGES: u32 = 34;

/// Operations in flight.
const JOBS: usize = 64;

/// Completions taken in a turn.
const COMPLETIONS: usize = 16;

/// Nothing here takes longer.
const PATIENCE_US: u64 = 60_000_000;

/// How much to do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Operations by chance, before the reset and again after it.
    pub operations: u32,
    /// What the chance follows from.
    pub seed: u64,
    /// When the controller is reset.
    pub reset: Reset,
}

/// When the controller is reset, behind the driver's back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// While it has commands in hand.
    UnderLoad,
    /// Before commands are given to it, which it does not hear of: for a controller that may crash
    /// otherwise.
    BeforeLoad,
}

/// What the suite does on every arm.
pub const PLAN: Plan = Plan {
    operations: 3000,
    seed: 7,
    reset: Reset::UnderLoad,
};

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// It did not come to an end.
    Late(&'static str, DriverState),
    /// The driver is elsewhere than it should be.
    State(&'static str, DriverState),
    /// An operation was not taken.
    Rejected(Operation, Rejected),
    /// An operation that cannot be done was taken or refused for another reason.
    NotRejected(Operation, Option<Rejected>),
    /// An operation failed.
    Failed(Operation, Error),
    /// An operation that had to fail did not do so as it should.
    NotFailed(Operation, Result<(), Error>),
    /// A block holds other bytes.
    Wrong(NamespaceId, u64),
    /// A completion of nothing that is in flight.
    Stranger(u64),
    /// The device or the memory is too small.
    TooSmall(&'static str),
    /// A count is not what it must be.
    Count(&'static str, u64),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mistake::Late(what, state) => write!(f, "{what} does not end; driver: {state:?}"),
            Mistake::State(what, state) => write!(f, "after {what} the driver is {state:?}"),
            Mistake::Rejected(operation, why) => write!(f, "{operation:?} is not taken: {why}"),
            Mistake::NotRejected(operation, why) => write!(f, "{operation:?} gave {why:?}"),
            Mistake::Failed(operation, error) => write!(f, "{operation:?} failed: {error}"),
            Mistake::NotFailed(operation, result) => write!(f, "{operation:?} gave {result:?}"),
            Mistake::Wrong(namespace, lba) => {
                write!(f, "block {lba} of namespace {} is wrong", namespace.0)
            }
            Mistake::Stranger(token) => write!(f, "a completion of unknown operation {token}"),
            Mistake::TooSmall(what) => write!(f, "{what} is too small"),
            Mistake::Count(what, count) => write!(f, "{what}: {count}"),
        }
    }
}

impl core::error::Error for Mistake {}

/// Does all of it. `driver` is new; `storage` has an element for each page of `arena`; `step` lets the
/// world go on, as that of [`block_on`](crate::driver::block_on) does, and gives the time.
///
/// # Errors
///
/// The first [`Mistake`].
pub fn run<D, P, const QUEUES: usize, const SLOTS: usize>(
    driver: &mut Driver<D, QUEUES, SLOTS>,
    mut arena: PageRange,
    storage: P,
    plan: Plan,
    step: impl FnMut(&mut D, Wake) -> u64,
) -> Result<Summary, Mistake>
where
    D: Device,
    P: AsRef<[u32]> + AsMut<[u32]>,
{
    let slab = arena.split_slab(SLAB_PAGES);
    let slab = slab.ok_or(Mistake::TooSmall("the arena"))?;
    let pool = PagePool::new(arena, storage).map_err(|_| Mistake::TooSmall("the storage"))?;
    let mut exercise = Exercise {
        driver,
        pool,
        step,
        dice: Dice(plan.seed),
        now_us: 0,
        wake: Wake::Again,
        blocks: [[Block::default(); BLOCKS as usize]; NAMESPACES],
        jobs: [const { None }; JOBS],
        next_stamp: 1,
        summary: Summary::default(),
    };
    exercise.start("the start")?;
    exercise.fill()?;
    exercise.by_chance(plan.operations)?;
    exercise.through_a_slab(slab)?;
    exercise.refusals()?;
    exercise.reset(plan)?;
    exercise.shut_down()?;
    exercise.driver.restart(exercise.now_us);
    exercise.start("the second start")?;
    exercise.read_all()?;
    exercise.shut_down()?;
    exercise.is_whole()?;
    Ok(exercise.summary)
}

/// A small generator, so that a run can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) % sides
    }
}

/// What a block holds.
#[derive(Clone, Copy, Default)]
struct Block {
    /// Which write was the last; 0 for zeroes.
    stamp: u32,
    /// An operation on it is in flight. No two are: their order would be open.
    busy: bool,
}

/// An operation in flight.
#[derive(Clone, Copy)]
struct Job {
    operation: Operation,
    stamp: u32,
}

/// A word of a block: each is different, so that bytes in a wrong place are noticed.
fn word(namespace: NamespaceId, lba: u64, stamp: u32, index: u32) -> u32 {
    if stamp == 0 {
        return 0;
    }
    let place = namespace.0 << 20 ^ lba as u32;
    let mixed = place.wrapping_mul(0x9e37_79b1) ^ stamp.wrapping_mul(0x85eb_ca6b);
    mixed.wrapping_add(index.wrapping_mul(0xc2b2_ae35))
}

struct Exercise<'d, D: Device, P, F, const QUEUES: usize, const SLOTS: usize> {
    driver: &'d mut Driver<D, QUEUES, SLOTS>,
    pool: PagePool<P>,
    step: F,
    dice: Dice,
    now_us: u64,
    wake: Wake,
    blocks: [[Block; BLOCKS as usize]; NAMESPACES],
    jobs: [Option<Job>; JOBS],
    next_stamp: u32,
    summary: Summary,
}

impl<D, P, F, const QUEUES: usize, const SLOTS: usize> Exercise<'_, D, P, F, QUEUES, SLOTS>
where
    D: Device,
    P: AsRef<[u32]> + AsMut<[u32]>,
    F: FnMut(&mut D, Wake) -> u64,
{
    /// Polls once, and judges what has ended.
    fn turn(&mut self) -> Result<(), Mistake> {
        self.now_us = (self.step)(self.driver.device_mut(), self.wake);
        let mut done = heapless::Vec::<Completion, COMPLETIONS>::new();
        // The budget is what there is room for.
        self.wake = self
            .driver
            .poll(self.now_us, COMPLETIONS, &mut |completion| {
                let _ = done.push(completion);
            });
        for completion in done {
            self.take(completion)?;
        }
        self.driver.ring_doorbells();
        Ok(())
    }

    fn until(
        &mut self,
        what: &'static str,
        mut until: impl FnMut(&Driver<D, QUEUES, SLOTS>) -> bool,
    ) -> Result<(), Mistake> {
        let late_us = self.now_us.saturating_add(PATIENCE_US);
        while !until(self.driver) {
            self.turn()?;
            if let state @ DriverState::Failed(_) = self.driver.state() {
                return Err(Mistake::State(what, state));
            }
            if self.now_us > late_us {
                return Err(Mistake::Late(what, self.driver.state()));
            }
        }
        Ok(())
    }

    fn drain(&mut self, what: &'static str) -> Result<(), Mistake> {
        self.until(what, |driver| {
            driver.unfinished() == 0 && driver.state() == DriverState::Running
        })
    }

    fn start(&mut self, what: &'static str) -> Result<(), Mistake> {
        self.until(what, |driver| driver.state() == DriverState::Running)?;
        let namespaces = self.driver.namespaces();
        if namespaces.is_empty() || self.namespaces().any(|namespace| namespace.blocks < BLOCKS) {
            return Err(Mistake::TooSmall("a namespace"));
        }
        Ok(())
    }

    fn namespaces(&self) -> impl Iterator<Item = NamespaceInfo> + use<D, P, F, QUEUES, SLOTS> {
        let known = self.driver.namespaces();
        let used = known.iter().copied().take(NAMESPACES);
        used.collect::<heapless::Vec<_, NAMESPACES>>().into_iter()
    }

    fn place(&self, id: NamespaceId) -> usize {
        let place = self.namespaces().position(|namespace| namespace.id == id);
        place.unwrap_or(0)
    }

    /// Writes every block, so that all that is read later is known.
    fn fill(&mut self) -> Result<(), Mistake> {
        for namespace in self.namespaces() {
            let most = self.blocks_max(namespace);
            let mut lba = 0;
            while lba < BLOCKS {
                let blocks = most.min(BLOCKS - lba);
                let write = write(namespace.id, lba, blocks);
                self.insist(write, 4 * (lba as usize % 512))?;
                lba += blocks;
            }
        }
        self.drain("filling")
    }

    fn read_all(&mut self) -> Result<(), Mistake> {
        for namespace in self.namespaces() {
            let blocks = self.blocks_max(namespace).min(7);
            for lba in (0..=BLOCKS - blocks).step_by(blocks as usize) {
                self.insist(read(namespace.id, lba, blocks), 0)?;
            }
        }
        self.drain("reading all")
    }

    /// Blocks of the longest command that starts at any offset of a page.
    fn blocks_max(&self, namespace: NamespaceInfo) -> u64 {
        let told = self.driver.controller();
        let bytes = told.map_or(PAGE_BYTES as u32, |info| info.transfer_bytes_max);
        (u64::from(bytes / namespace.block_bytes)).clamp(1, BLOCKS)
    }

    /// Operations by chance, as many at a time as there is room for.
    fn by_chance(&mut self, operations: u32) -> Result<(), Mistake> {
        let mut taken = 0;
        let late_us = self.now_us.saturating_add(PATIENCE_US);
        while taken < operations {
            let (operation, offset) = self.choose();
            if self.submit(operation, offset)? {
                taken += 1;
            } else {
                self.turn()?;
            }
            if self.now_us > late_us {
                return Err(Mistake::Late("chance", self.driver.state()));
            }
        }
        self.drain("chance")
    }

    fn choose(&mut self) -> (Operation, usize) {
        let count = self.namespaces().count() as u64;
        let place = self.dice.roll(count) as usize;
        let namespace = self.driver.namespaces()[place];
        let most = self.blocks_max(namespace);
        let blocks = match self.dice.roll(8) {
            0 => 1 + self.dice.roll(most),
            1 => most,
            _ => 1 + self.dice.roll(most.min(9)),
        };
        let lba = self.dice.roll(BLOCKS - blocks + 1);
        let offset = match self.dice.roll(3) {
            0 => 0,
            _ => 4 * self.dice.roll(1024) as usize,
        };
        let id = namespace.id;
        let operation = match self.dice.roll(40) {
            0..20 => read(id, lba, blocks),
            20..38 => write(id, lba, blocks),
            38 if self.can(|optional| optional.write_zeroes()) => Operation::WriteZeroes {
                namespace: id,
                lba: Lba(lba),
                blocks: blocks as u32,
            },
            _ => Operation::Flush { namespace: id },
        };
        (operation, offset)
    }

    fn can(&self, what: impl Fn(crate::spec::OptionalNvmCommands) -> bool) -> bool {
        let told = self.driver.controller();
        told.is_some_and(|info| what(info.optional_commands))
    }

    /// Submits, and waits for room if there is none.
    fn insist(&mut self, operation: Operation, offset: usize) -> Result<(), Mistake> {
        let late_us = self.now_us.saturating_add(PATIENCE_US);
        while !self.submit(operation, offset)? {
            self.turn()?;
            if self.now_us > late_us {
                return Err(Mistake::Late("waiting for room", self.driver.state()));
            }
        }
        Ok(())
    }

    /// The blocks that an operation touches: the namespace's place, the first, and the number.
    fn touched(&mut self, operation: Operation) -> &mut [Block] {
        let Some((Lba(lba), blocks)) = operation.range() else {
            return &mut [];
        };
        let place = self.place(operation.namespace());
        &mut self.blocks[place][lba as usize..][..blocks as usize]
    }

    /// `false` when there is no room now, or a block is in use.
    fn submit(&mut self, operation: Operation, offset: usize) -> Result<bool, Mistake> {
        if self.touched(operation).iter().any(|block| block.busy) {
            return Ok(false);
        }
        let Some(token) = self.jobs.iter().position(Option::is_none) else {
            return Ok(false);
        };
        let Some(transfer) = self.transfer(operation, offset) else {
            return Ok(false);
        };
        let stamp = match operation {
            Operation::WriteZeroes { .. } => 0,
            _ => self.next_stamp,
        };
        let mut transfer = transfer;
        if matches!(operation, Operation::Write { .. }) {
            self.inscribe(operation, stamp, &mut transfer);
        }
        let queue = self.dice.roll(self.driver.queue_count().max(1) as u64) as usize;
        let taken = self
            .driver
            .submit(self.now_us, queue, operation, transfer, token as u64);
        match taken {
            Ok(()) => {
                self.next_stamp += 1;
                self.jobs[token] = Some(Job { operation, stamp });
                self.touched(operation)
                    .iter_mut()
                    .for_each(|block| block.busy = true);
                let in_flight = self.driver.unfinished();
                self.summary.in_flight_max = self.summary.in_flight_max.max(in_flight);
                Ok(true)
            }
            Err((rejected, transfer)) => {
                self.give(transfer);
                match rejected {
                    Rejected::QueueFull | Rejected::NotRunning => Ok(false),
                    other => Err(Mistake::Rejected(operation, other)),
                }
            }
        }
    }

    fn block_bytes(&self, id: NamespaceId) -> usize {
        let namespace = self.driver.namespace(id);
        namespace.map_or(PAGE_BYTES, |namespace| namespace.block_bytes as usize)
    }

    /// Memory for an operation, `offset` bytes into its first page.
    fn transfer(&mut self, operation: Operation, offset: usize) -> Option<Transfer> {
        let (true, Some((_, blocks))) = (operation.has_data(), operation.range()) else {
            return Some(Transfer::None);
        };
        let bytes = blocks as usize * self.block_bytes(operation.namespace());
        let pages = self.pool.take((offset + bytes).div_ceil(PAGE_BYTES))?;
        Some(Transfer::Pages {
            pages,
            offset: offset as u16,
            bytes: bytes as u32,
        })
    }

    fn give(&mut self, transfer: Transfer) {
        if let Transfer::Pages { pages, .. } = transfer {
            self.pool.give(pages);
        }
    }

    /// Writes what the blocks are to hold into the memory of a write.
    fn inscribe(&mut self, operation: Operation, stamp: u32, transfer: &mut Transfer) {
        let words = Words::of(operation, self.block_bytes(operation.namespace()));
        let Transfer::Pages {
            pages,
            offset,
            bytes,
        } = transfer
        else {
            return;
        };
        let dma = self.driver.device_mut().dma_mut();
        let mut at = 0;
        for (page, range) in parts(pages.len(), *offset, *bytes) {
            let count = range.len() / 4;
            for (n, bytes) in pages[page].bytes_mut(dma)[range]
                .chunks_exact_mut(4)
                .enumerate()
            {
                bytes.copy_from_slice(&words.at(at + n, stamp).to_le_bytes());
            }
            at += count;
        }
    }

    /// Whether the memory of a read holds what the blocks must hold; the first that is wrong.
    fn wrong(&self, operation: Operation, transfer: &Transfer) -> Option<u64> {
        let namespace = operation.namespace();
        let words = Words::of(operation, self.block_bytes(namespace));
        let blocks = &self.blocks[self.place(namespace)];
        let Transfer::Pages {
            pages,
            offset,
            bytes,
        } = transfer
        else {
            return Some(words.lba);
        };
        let dma = self.driver.device().dma();
        let mut at = 0;
        for (page, range) in parts(pages.len(), *offset, *bytes) {
            let count = range.len() / 4;
            for (n, bytes) in pages[page].bytes(dma)[range].chunks_exact(4).enumerate() {
                let lba = words.lba_of(at + n);
                let expected = words.at(at + n, blocks[lba as usize].stamp);
                if bytes != expected.to_le_bytes() {
                    return Some(lba);
                }
            }
            at += count;
        }
        None
    }

    /// Judges a completion by what the blocks must hold.
    fn take(&mut self, completion: Completion) -> Result<(), Mistake> {
        let token = completion.token;
        let job = self.jobs.get_mut(token as usize).and_then(Option::take);
        let Job { operation, stamp } = job.ok_or(Mistake::Stranger(token))?;
        if let Err(error) = completion.result {
            return Err(Mistake::Failed(operation, error));
        }
        let blocks = self.touched(operation);
        let count = blocks.len() as u64;
        blocks.iter_mut().for_each(|block| block.busy = false);
        match operation {
            Operation::Read { .. } => {
                if let Some(lba) = self.wrong(operation, &completion.transfer) {
                    return Err(Mistake::Wrong(operation.namespace(), lba));
                }
                self.summary.blocks_checked += count;
            }
            Operation::Write { .. } | Operation::WriteZeroes { .. } => {
                blocks.iter_mut().for_each(|block| block.stamp = stamp);
                self.summary.zeroed |= stamp == 0;
            }
            _ => {}
        }
        self.summary.operations += 1;
        self.give(completion.transfer);
        Ok(())
    }

    /// Does one operation whose memory and end are the caller's business.
    fn alone(
        &mut self,
        operation: Operation,
        transfer: Transfer,
    ) -> Result<(Result<(), Error>, Transfer), Mistake> {
        let taken = self.driver.submit(self.now_us, 0, operation, transfer, 0);
        taken.map_err(|(rejected, _)| Mistake::Rejected(operation, rejected))?;
        self.driver.ring_doorbells();
        let late_us = self.now_us.saturating_add(PATIENCE_US);
        loop {
            self.now_us = (self.step)(self.driver.device_mut(), self.wake);
            let mut done = None;
            self.wake = self
                .driver
                .poll(self.now_us, 1, &mut |completion| done = Some(completion));
            self.driver.ring_doorbells();
            if let Some(Completion {
                result, transfer, ..
            }) = done
            {
                return Ok((result, transfer));
            }
            if self.now_us > late_us {
                return Err(Mistake::Late("one operation", self.driver.state()));
            }
        }
    }

    /// A long write out of contiguous memory, begun inside a page; read back by single pages.
    fn through_a_slab(&mut self, mut slab: Slab) -> Result<(), Mistake> {
        for namespace in self.namespaces() {
            let blocks = self.blocks_max(namespace);
            let write = write(namespace.id, 0, blocks);
            let bytes = (blocks * u64::from(namespace.block_bytes)) as usize;
            let stamp = self.next_stamp;
            self.next_stamp += 1;
            let words = Words::of(write, namespace.block_bytes as usize);
            let at = 52..52 + bytes;
            let memory = &mut slab.bytes_mut(self.driver.device_mut().dma_mut())[at.clone()];
            for (n, bytes) in memory.chunks_exact_mut(4).enumerate() {
                bytes.copy_from_slice(&words.at(n, stamp).to_le_bytes());
            }
            let mut lent = slab.lend();
            let loan = lent
                .loan(at.start, bytes)
                .ok_or(Mistake::TooSmall("the slab"))?;
            let (result, transfer) = self.alone(write, Transfer::Slab(loan))?;
            result.map_err(|error| Mistake::Failed(write, error))?;
            if let Transfer::Slab(loan) = transfer {
                lent.give_back(loan);
            }
            slab = lent.reclaim().map_err(|_| Mistake::TooSmall("the slab"))?;
            self.touched(write)
                .iter_mut()
                .for_each(|block| block.stamp = stamp);
            self.insist(read(namespace.id, 0, blocks), 0)?;
            self.drain("reading what came from a slab")?;
        }
        Ok(())
    }

    /// What must be refused, by the driver or by the device.
    fn refusals(&mut self) -> Result<(), Mistake> {
        let namespace = self.driver.namespaces()[0];
        let id = namespace.id;
        for (operation, why) in [
            (read(NamespaceId(u32::MAX), 0, 1), Rejected::NoSuchNamespace),
            (read(id, namespace.blocks, 1), Rejected::OutOfRange),
            (read(id, u64::MAX, 2), Rejected::OutOfRange),
            (read(id, 0, 0), Rejected::BadLength),
            (read(id, 0, 1), Rejected::BadTransfer),
        ] {
            let refused = self
                .driver
                .submit(self.now_us, 0, operation, Transfer::None, 0);
            let refused = refused.err().map(|(rejected, _)| rejected);
            if refused != Some(why) {
                return Err(Mistake::NotRejected(operation, refused));
            }
        }
        if self.can(|optional| optional.compare()) {
            self.compare(namespace)?;
        }
        Ok(())
    }

    /// The device compares: once what is the same, once what is not.
    fn compare(&mut self, namespace: NamespaceInfo) -> Result<(), Mistake> {
        let compare = Operation::Compare {
            namespace: namespace.id,
            lba: Lba(3),
            blocks: 2,
        };
        for stamp in [self.blocks[0][3].stamp, u32::MAX] {
            let same = self.blocks[0][3..5]
                .iter()
                .all(|block| block.stamp == stamp);
            let transfer = self
                .transfer(compare, 8)
                .ok_or(Mistake::TooSmall("the pool"))?;
            let mut transfer = transfer;
            self.inscribe(compare, stamp, &mut transfer);
            let (result, transfer) = self.alone(compare, transfer)?;
            self.give(transfer);
            let fits = match result {
                Ok(()) => same,
                Err(Error::Status(status)) => !same && status.code() == StatusCode::COMPARE_FAILURE,
                Err(_) => false,
            };
            if !fits {
                return Err(Mistake::NotFailed(compare, result));
            }
        }
        self.summary.compared = true;
        Ok(())
    }

    /// The controller is reset, by somebody else; the driver brings it back, and nothing of what was
    /// accepted is lost.
    fn reset(&mut self, plan: Plan) -> Result<(), Mistake> {
        let before = self.driver.counters().resets;
        if plan.reset == Reset::BeforeLoad {
            self.driver.device().registers().write32(offset::CC, 0);
        }
        for _ in 0..JOBS {
            let (operation, offset) = self.choose();
            self.submit(operation, offset)?;
        }
        self.driver.ring_doorbells();
        if plan.reset == Reset::UnderLoad {
            self.driver.device().registers().write32(offset::CC, 0);
        }
        self.until("a reset", |driver| driver.counters().resets > before)?;
        self.drain("the restart")?;
        self.summary.reissued = self.driver.counters().reissued;
        self.by_chance(plan.operations)?;
        self.read_all()?;
        match self.driver.counters().resets - before {
            1 => Ok(()),
            resets => Err(Mistake::Count("resets", resets)),
        }
    }

    fn shut_down(&mut self) -> Result<(), Mistake> {
        self.driver.shutdown(self.now_us);
        self.until("the shutdown", |driver| {
            driver.state() == DriverState::Stopped
        })
    }

    /// All memory is back, and the device did nothing odd.
    fn is_whole(&self) -> Result<(), Mistake> {
        let counters = self.driver.counters();
        let missing = (self.pool.total() - self.pool.free()) as u64;
        for (what, count) in [
            ("pages missing", missing),
            (
                "operations without an end",
                counters.submitted - counters.completed,
            ),
            ("stale completions", counters.stale_completions),
            ("unknown completions", counters.unknown_completions),
            ("bad queue heads", counters.bad_queue_heads),
            ("timeouts", counters.timeouts),
        ] {
            if count != 0 {
                return Err(Mistake::Count(what, count));
            }
        }
        Ok(())
    }
}

fn read(namespace: NamespaceId, lba: u64, blocks: u64) -> Operation {
    Operation::Read {
        namespace,
        lba: Lba(lba),
        blocks: blocks as u32,
    }
}

fn write(namespace: NamespaceId, lba: u64, blocks: u64) -> Operation {
    Operation::Write {
        namespace,
        lba: Lba(lba),
        blocks: blocks as u32,
        force_unit_access: lba.is_multiple_of(5),
    }
}

/// The words of an operation's blocks, counted from its first.
struct Words {
    namespace: NamespaceId,
    lba: u64,
    words_per_block: usize,
}

impl Words {
    fn of(operation: Operation, block_bytes: usize) -> Words {
        Words {
            namespace: operation.namespace(),
            lba: operation.range().map_or(0, |(Lba(lba), _)| lba),
            words_per_block: block_bytes / 4,
        }
    }

    fn lba_of(&self, at: usize) -> u64 {
        self.lba + (at / self.words_per_block) as u64
    }

    fn at(&self, at: usize, stamp: u32) -> u32 {
        let index = (at % self.words_per_block) as u32;
        word(self.namespace, self.lba_of(at), stamp, index)
    }
}

/// The part of each page that `bytes` bytes take up, `offset` bytes into the first.
fn parts(
    pages: usize,
    offset: u16,
    bytes: u32,
) -> impl Iterator<Item = (usize, core::ops::Range<usize>)> {
    let (start, end) = (usize::from(offset), usize::from(offset) + bytes as usize);
    (0..pages).map(move |page| {
        let first = page * PAGE_BYTES;
        let from = start.max(first) - first;
        let to = end.min(first + PAGE_BYTES) - first;
        (page, from..to)
    })
}
