//! The driver's exercise, one body, over the model in virtual time and over QEMU's device in real time.

use host_sim::clock::Clock;
use host_sim::drive::Drive;
use host_sim::qemu::QemuDevice;
use nvme_model::driver::{Driver, DriverConfig, Wake};
use nvme_model::exercise::{self, BLOCKS, PLAN, Summary};
use nvme_model::model::{MemoryStore, ModelConfig, ModelDevice, NamespaceConfig};
use nvme_model::seam::{Device, Dma};

use crate::suite::exercise::judge;
use crate::suite::files::zeroes;
use crate::support::qemu_over;

type ExerciseDriver<D> = Driver<D, 2, 32>;

fn over<D: Device>(mut device: D, step: impl FnMut(&mut D, Wake) -> u64) -> Summary {
    let mut arena = device.dma_mut().claim().unwrap();
    let rings = arena.split(ExerciseDriver::<D>::pages_needed()).unwrap();
    let mut driver = ExerciseDriver::new(device, DriverConfig::default(), rings).unwrap();
    let storage = vec![0; arena.pages() as usize];
    let done = exercise::run(&mut driver, arena, storage, PLAN, step);
    let summary = done.unwrap_or_else(|mistake| panic!("{mistake}; {driver:?}"));
    judge(&summary);
    summary
}

/// The pages of an arena that is scarce at times: two thirds of what the operations could use.
fn arena_pages<D: Device>() -> u32 {
    ExerciseDriver::<D>::pages_needed() + exercise::PAGES
}

#[test]
fn the_driver_over_the_model() {
    for (coherent, latency_us) in [(true, 0), (false, 0), (false, 80)] {
        let namespace = |block_bytes: u32| {
            let store = MemoryStore::new(BLOCKS * u64::from(block_bytes));
            NamespaceConfig::new(store, block_bytes)
        };
        let device = ModelDevice::new(ModelConfig {
            namespaces: vec![namespace(4096), namespace(512)],
            arena_pages: arena_pages::<ModelDevice>(),
            coherent,
            read_latency_us: latency_us,
            write_latency_us: latency_us / 2,
            jitter_us: latency_us,
            ..ModelConfig::default()
        });
        let mut now_us = 0;
        let summary = over(device.unwrap(), |device, _| {
            let step = device.step(now_us);
            now_us = step.next.unwrap_or(0).max(now_us + 1);
            now_us
        });
        println!("coherent: {coherent}, {latency_us} us: {summary}");
    }
}

#[test]
fn the_driver_over_qemu() {
    let (first, second) = (zeroes(BLOCKS * 4096), zeroes(BLOCKS * 512));
    let config = qemu_over(&[(first.path(), 4096), (second.path(), 512)]);
    let device = QemuDevice::start(&config, arena_pages::<QemuDevice>());
    let clock = Clock::start();
    let summary = over(device.unwrap(), |device, _| {
        Drive::step(device, clock.now_us());
        std::thread::yield_now();
        clock.now_us()
    });
    println!("{summary}");
}
