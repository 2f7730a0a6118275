//! Reads in flight all the time, through the driver.

use std::time::{Duration, Instant};

use nvme_model::driver::{
    Completion, Driver, DriverConfig, DriverState, Lba, NamespaceId, Operation, Wake,
};
use nvme_model::memory::{PagePool, Transfer};
use nvme_model::seam::{Device, Dma, PAGE_BYTES};

use crate::bench::race::Figures;
use crate::clock::Clock;
use crate::random::Random;

/// The most reads in flight.
pub(super) const DEPTH_MAX: usize = 128;

/// What is measured: one queue pair. It has twice the slots: a queue of 128 entries holds 127 commands,
/// and completions that were taken count until the controller is told of them.
pub(super) type OneQueue<D> = Driver<D, 1, { 2 * DEPTH_MAX }>;

/// Pages of the device's memory that a reader needs.
pub(super) const fn arena_pages<D: Device>() -> u32 {
    OneQueue::<D>::pages_needed() + DEPTH_MAX as u32
}

const NAMESPACE: NamespaceId = NamespaceId(1);

/// How long a drive may take to get ready.
const READY: Duration = Duration::from_secs(10);

/// What a device needs between two polls: to be moved on, and to be waited for when nothing was
/// reaped since some time.
pub(super) trait Host<D> {
    /// Called before each poll. `idle` is whether the last poll brought nothing.
    fn step(&mut self, device: &mut D, now_us: u64, idle: bool) -> Result<(), String>;
}

/// A driver, and reads of random pages that it is kept busy with.
pub(super) struct Reader<D: Device, H> {
    driver: OneQueue<D>,
    host: H,
    pool: PagePool<Vec<u32>>,
    clock: Clock,
    random: Random,
    depth: usize,
    pages: u64,
    blocks_per_page: u32,
}

impl<D: Device, H: Host<D>> Reader<D, H> {
    /// A reader of the first namespace of a device, which is started first.
    pub(super) fn new(mut device: D, host: H, depth: usize) -> Result<Reader<D, H>, String> {
        let too_small = "the device's memory is too small";
        let mut arena = device.dma_mut().claim().ok_or(too_small)?;
        let rings = arena
            .split(OneQueue::<D>::pages_needed())
            .ok_or(too_small)?;
        let pages = arena.split(DEPTH_MAX as u32).ok_or(too_small)?;
        let pool = PagePool::new(pages, vec![0; DEPTH_MAX]).map_err(|_| too_small)?;
        let driver = Driver::new(device, DriverConfig::default(), rings)
            .map_err(|error| error.to_string())?;
        let mut reader = Reader {
            driver,
            host,
            pool,
            clock: Clock::start(),
            random: Random::new(7),
            depth,
            pages: 0,
            blocks_per_page: 1,
        };
        reader.start()?;
        Ok(reader)
    }

    fn start(&mut self) -> Result<(), String> {
        let started = Instant::now();
        while self.driver.state() != DriverState::Running {
            if let DriverState::Failed(why) = self.driver.state() {
                return Err(format!("the drive did not start: {why}"));
            }
            if started.elapsed() > READY {
                return Err("the drive did not get ready in time".to_string());
            }
            self.turn()?;
        }
        let namespace = self
            .driver
            .namespace(NAMESPACE)
            .ok_or("the drive has no namespace 1")?;
        self.blocks_per_page = PAGE_BYTES as u32 / namespace.block_bytes;
        self.pages = namespace.blocks / u64::from(self.blocks_per_page);
        if self.pages == 0 {
            return Err("the file is smaller than a page".to_string());
        }
        Ok(())
    }

    /// Reads a second over `time`, after a tenth of it to warm up, and doorbells for each.
    pub(super) fn run(&mut self, time: Duration) -> Result<Figures, String> {
        while self.driver.unfinished() < self.depth {
            self.submit()?;
        }
        self.keep_up(time / 10)?;
        let doorbells = self.doorbells();
        let started = Instant::now();
        let reads = self.keep_up(time)? as f64;
        let rate = reads / started.elapsed().as_secs_f64();
        let doorbells = (self.doorbells() - doorbells) as f64 / reads;
        while self.driver.unfinished() > 0 {
            self.turn()?;
        }
        Ok(vec![("ops_per_s", rate), ("doorbells_per_op", doorbells)])
    }

    /// Keeps as many in flight as it should be, for so long; how many ended.
    fn keep_up(&mut self, time: Duration) -> Result<u64, String> {
        let started = Instant::now();
        let mut reads = 0;
        while started.elapsed() < time {
            let done = self.turn()?;
            for _ in 0..done {
                self.submit()?;
            }
            reads += done as u64;
        }
        Ok(reads)
    }

    /// Moves all on by a step; how many reads ended.
    fn turn(&mut self) -> Result<usize, String> {
        self.driver.ring_doorbells();
        let now_us = self.clock.now_us();
        let mut done = 0;
        let mut failed = None;
        let pool = &mut self.pool;
        let mut take = |Completion {
                            result, transfer, ..
                        }| {
            done += 1;
            if let Transfer::Pages { pages, .. } = transfer {
                pool.give(pages);
            }
            if let Err(error) = result {
                failed = Some(error);
            }
        };
        let wake = self.driver.poll(now_us, DEPTH_MAX, &mut take);
        if let Some(error) = failed {
            return Err(format!("a read failed: {error}"));
        }
        let idle = done == 0 && wake != Wake::Again;
        self.host.step(self.driver.device_mut(), now_us, idle)?;
        Ok(done)
    }

    fn submit(&mut self) -> Result<(), String> {
        let page = self.random.below(self.pages);
        let operation = Operation::Read {
            namespace: NAMESPACE,
            lba: Lba(page * u64::from(self.blocks_per_page)),
            blocks: self.blocks_per_page,
        };
        let pages = self.pool.take(1).ok_or("there is no page left")?;
        let transfer = Transfer::Pages {
            pages,
            offset: 0,
            bytes: PAGE_BYTES as u32,
        };
        let now_us = self.clock.now_us();
        let submitted = self.driver.submit(now_us, 0, operation, transfer, 0);
        submitted.map_err(|(why, _)| why.to_string())
    }

    fn doorbells(&self) -> u64 {
        let counters = self.driver.counters();
        counters.submission_doorbells + counters.completion_doorbells
    }
}
