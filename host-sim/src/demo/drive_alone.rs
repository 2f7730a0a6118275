//! The drive without an agent: what of a lookup are its reads.
//!
//! The same driver over the same model as in the simulated machine, but nobody else's turn between
//! them and no network behind them.

use dpu_firmware::limits::{COMMAND_SLOTS, SLAB_CLASS_PAGES};
use nvme_model::driver::{
    Completion, Driver, DriverConfig, Lba, NamespaceId, Operation, block_until_running,
};
use nvme_model::memory::{LentSlab, Transfer};
use nvme_model::model::{ModelConfig, ModelDevice};
use nvme_model::seam::{Device, Dma};

use crate::clock::Clock;

/// The largest scratch of a program: no read of one is longer.
const SLAB_PAGES: u32 = SLAB_CLASS_PAGES[SLAB_CLASS_PAGES.len() - 1] as u32;

type AloneDriver = Driver<ModelDevice, 1, COMMAND_SLOTS>;

/// A drive and memory to read into.
pub struct DriveAlone {
    driver: AloneDriver,
    clock: Clock,
    block_bytes: u32,
    /// What is read into, one for each command in flight; the token says which.
    slabs: Vec<LentSlab>,
    free: Vec<usize>,
    completed: Vec<Completion>,
}

impl DriveAlone {
    /// The drive of `model`, whose first namespace is read with up to `lanes` commands in flight.
    ///
    /// # Errors
    ///
    /// A sentence that says what the drive lacks.
    pub fn open(mut model: ModelConfig, lanes: usize) -> Result<DriveAlone, String> {
        let lanes = lanes.clamp(1, COMMAND_SLOTS);
        model.arena_pages = AloneDriver::pages_needed() + lanes as u32 * SLAB_PAGES;
        let mut device = ModelDevice::new(model).map_err(|error| error.to_string())?;
        let mut pages = device.dma_mut().claim().ok_or("the drive has no memory")?;
        let rings = pages
            .split(AloneDriver::pages_needed())
            .ok_or("the drive has too little memory")?;
        let slabs = (0..lanes).map_while(|_| Some(pages.split_slab(SLAB_PAGES)?.lend()));
        let slabs: Vec<LentSlab> = slabs.collect();
        let config = DriverConfig::default();
        let mut driver = Driver::new(device, config, rings).map_err(|error| error.to_string())?;
        let clock = Clock::start();
        block_until_running(&mut driver, &mut |device: &mut ModelDevice, _| {
            device.step(clock.now_us());
            clock.now_us()
        })
        .map_err(|reason| reason.to_string())?;
        let namespace = driver.namespace(NamespaceId(1)).ok_or("no namespace")?;
        Ok(DriveAlone {
            block_bytes: namespace.block_bytes,
            driver,
            clock,
            free: (0..slabs.len()).collect(),
            slabs,
            completed: Vec::with_capacity(lanes),
        })
    }

    /// Makes these reads (offset and length, in bytes, whole blocks), so many at a time: the time
    /// it took, in nanoseconds.
    ///
    /// # Errors
    ///
    /// A sentence about the first read that failed.
    pub fn reads_ns(&mut self, reads: &[(u64, u32)], in_flight: usize) -> Result<u64, String> {
        let started_ns = self.clock.now_ns();
        let spare = self.slabs.len().saturating_sub(in_flight.max(1));
        let mut waiting = reads.iter();
        let mut ended = 0;
        while ended < reads.len() {
            let now_us = self.clock.now_us();
            while self.free.len() > spare && self.driver.free_slots(0) > 0 {
                let Some(&(offset, length)) = waiting.next() else {
                    break;
                };
                self.submit(now_us, offset, length)?;
            }
            self.driver.ring_doorbells();
            self.driver.device_mut().step(now_us);
            let completed = &mut self.completed;
            self.driver.poll(now_us, usize::MAX, &mut |completion| {
                completed.push(completion);
            });
            ended += self.completed.len();
            self.take_back()?;
        }
        Ok(self.clock.now_ns().saturating_sub(started_ns))
    }

    fn submit(&mut self, now_us: u64, offset: u64, length: u32) -> Result<(), String> {
        let slab = self.free.pop().ok_or("no memory is free")?;
        let loan = self.slabs[slab]
            .loan(0, length as usize)
            .ok_or("a read is longer than any of a program")?;
        let operation = Operation::Read {
            namespace: NamespaceId(1),
            lba: Lba(offset / u64::from(self.block_bytes)),
            blocks: length / self.block_bytes,
        };
        self.driver
            .submit(now_us, 0, operation, Transfer::Slab(loan), slab as u64)
            .map_err(|(rejected, _)| rejected.to_string())
    }

    fn take_back(&mut self) -> Result<(), String> {
        for Completion {
            token,
            result,
            transfer,
        } in self.completed.drain(..)
        {
            result.map_err(|error| error.to_string())?;
            if let Transfer::Slab(loan) = transfer {
                self.slabs[token as usize].give_back(loan);
                self.free.push(token as usize);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nvme_model::model::{MemoryStore, NamespaceConfig};

    fn drive() -> DriveAlone {
        let store = MemoryStore::new(1 << 20);
        let model = ModelConfig {
            namespaces: vec![NamespaceConfig::new(store, 512)],
            ..ModelConfig::default()
        };
        DriveAlone::open(model, 8).unwrap()
    }

    #[test]
    fn all_reads_are_made() {
        let mut drive = drive();
        let reads: Vec<(u64, u32)> = (0..100).map(|at| (at * 4096, 4096)).collect();
        for in_flight in [1, 3, 8, 100] {
            drive.reads_ns(&reads, in_flight).unwrap();
        }
        assert_eq!(drive.driver.counters().completed, 400);
        assert_eq!((drive.free.len(), drive.driver.in_flight()), (8, 0));
    }

    #[test]
    fn a_read_outside_the_drive_fails() {
        let error = drive().reads_ns(&[(1 << 20, 512)], 1).unwrap_err();
        assert!(
            error.contains("outside") || error.contains("range"),
            "{error}"
        );
        assert!(drive().reads_ns(&[(0, 1 << 20)], 1).is_err());
    }
}
