//! A driver on the scripted device, with pages, time and what has completed.

use nvme_model::driver::{Completion, Driver, DriverConfig, DriverState, Wake};
use nvme_model::limits::TRANSFER_PAGES_MAX;
use nvme_model::memory::{PagePool, PageRange};
use nvme_model::seam::Dma;

use crate::fake::Fake;

pub const QUEUES: usize = 2;
pub const SLOTS: usize = 20;
pub type FakeDriver = Driver<Fake, QUEUES, SLOTS>;
pub const POOL_PAGES: u32 = 4 * TRANSFER_PAGES_MAX as u32;

/// A driver, a pool of pages, and what has completed.
pub struct Bench {
    pub driver: FakeDriver,
    pub pool: PagePool<Vec<u32>>,
    pub spare: PageRange,
    pub now_us: u64,
    pub wake: Wake,
    pub done: Vec<Completion>,
}

impl Bench {
    /// Not started. `script` changes the device first.
    pub fn new(script: impl FnOnce(&mut Fake)) -> Bench {
        let rings = FakeDriver::pages_needed();
        let mut fake = Fake::new(rings + POOL_PAGES + 64);
        script(&mut fake);
        let mut arena = fake.dma.claim().unwrap();
        assert!(fake.dma.claim().is_none());
        let rings = arena.split(rings).unwrap();
        let pool = arena.split(POOL_PAGES).unwrap();
        let driver = Driver::new(fake, DriverConfig::default(), rings).unwrap();
        Bench {
            driver,
            pool: PagePool::new(pool, vec![0; POOL_PAGES as usize]).unwrap(),
            spare: arena,
            now_us: 1,
            wake: Wake::Again,
            done: Vec::new(),
        }
    }

    /// Started, and running.
    pub fn running(script: impl FnOnce(&mut Fake)) -> Bench {
        let mut bench = Bench::new(script);
        bench.settle();
        assert_eq!(bench.driver.state(), DriverState::Running);
        bench
    }

    pub fn fake(&mut self) -> &mut Fake {
        self.driver.device_mut()
    }

    /// One turn: device, poll, doorbells.
    pub fn turn(&mut self) {
        self.driver.device_mut().tick();
        let done = &mut self.done;
        self.wake = self
            .driver
            .poll(self.now_us, 64, &mut |completion| done.push(completion));
        self.driver.ring_doorbells();
    }

    /// Turns without time passing, until nothing changes but by time.
    pub fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    /// Turns with time passing as the driver asks, until it runs, stops or fails.
    pub fn settle(&mut self) {
        self.settle_with(|_| {});
    }

    /// The same, with something done to the device each turn.
    pub fn settle_with(&mut self, mut each: impl FnMut(&mut Fake)) {
        for _ in 0..2_000_000 {
            each(self.driver.device_mut());
            self.turn();
            match self.driver.state() {
                DriverState::Running | DriverState::Stopped => return,
                DriverState::Failed(_) if self.wake == Wake::Idle => return,
                _ => {}
            }
            if let Wake::At(at_us) = self.wake {
                self.now_us = self.now_us.max(at_us);
            }
        }
        panic!("{:?} never ends", self.driver);
    }

    /// Turns with the device doing everything, until nothing is unfinished.
    pub fn finish(&mut self) {
        for _ in 0..1000 {
            self.turn();
            self.driver.device_mut().serve();
            if self.driver.unfinished() == 0 {
                return;
            }
        }
        panic!("{:?} never finishes", self.driver);
    }
}
