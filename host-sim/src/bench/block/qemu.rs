//! QEMU's NVMe device over the file: through the driver, and with nothing but rings and doorbells.
//!
//! QEMU is started anew for each turn, before the clock runs, so that no more than one is there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nvme_model::exercise::raw::{Answer, DATA_PAGES, IO_ENTRIES_MAX, PAGES, Queue, Raw, Silent};
use nvme_model::seam::{Device, Dma, PAGE_BYTES};
use nvme_model::spec::{AdminOpcode, IoOpcode, SubmissionEntry};

use super::Mode;
use super::reader::{DEPTH_MAX, Host, Reader, arena_pages};
use crate::bench::race::{Figures, Run};
use crate::clock::Clock;
use crate::drive::Drive;
use crate::qemu::{FileAccess, QemuConfig, QemuDevice, QemuNamespace};
use crate::random::Random;

const BLOCK_BYTES: u32 = PAGE_BYTES as u32;

/// QEMU with the file as its one namespace.
#[derive(Clone)]
pub(super) struct Qemu(QemuConfig);

impl Qemu {
    /// This program, over that file.
    pub(super) fn new(program: PathBuf, path: &Path, mode: Mode) -> Qemu {
        let namespace = QemuNamespace {
            path: path.to_path_buf(),
            block_bytes: BLOCK_BYTES,
            access: FileAccess {
                read_only: true,
                direct: mode == Mode::Direct,
            },
        };
        Qemu(QemuConfig {
            program,
            namespaces: vec![namespace],
        })
    }

    fn start(&self, arena_pages: u32) -> Result<QemuDevice, String> {
        QemuDevice::start(&self.0, arena_pages).map_err(|error| error.to_string())
    }

    /// A turn of reads through the driver.
    pub(super) fn reader(self, depth: usize) -> Run {
        Box::new(move |time| {
            let device = self.start(arena_pages::<QemuDevice>())?;
            Reader::new(device, Polled, depth)?.run(time)
        })
    }

    /// A turn of reads by rings and doorbells alone.
    pub(super) fn bare(self, depth: usize) -> Run {
        Box::new(move |time| {
            let mut device = self.start(PAGES)?;
            bare(&mut device, depth, time)
        })
    }
}

/// Sends doorbells on; QEMU needs no more, and tells of nothing.
struct Polled;

impl Host<QemuDevice> for Polled {
    fn step(&mut self, device: &mut QemuDevice, now_us: u64, _idle: bool) -> Result<(), String> {
        device.step(now_us);
        match device.lost() {
            Some(why) => Err(why),
            None => Ok(()),
        }
    }
}

fn silent(_: Silent) -> String {
    "QEMU's drive does not answer".to_string()
}

/// Keeps so many reads in flight, with one doorbell for all commands that follow each other and one for all
/// completions that were there together.
fn bare(device: &mut QemuDevice, depth: usize, time: Duration) -> Result<Figures, String> {
    debug_assert!(depth <= DEPTH_MAX);
    let arena = device.dma_mut().claim().ok_or("the memory is in use")?;
    let clock = Clock::start();
    let step = move |device: &mut QemuDevice| {
        device.step(clock.now_us());
        clock.now_us()
    };
    let mut raw = Raw::new(device, &arena, step).ok_or("the memory is too small")?;
    raw.enable().map_err(silent)?;
    let blocks = blocks(&mut raw).map_err(silent)?;
    create_queues(&mut raw).map_err(silent)?;
    let mut reads = Bare {
        raw,
        random: Random::new(7),
        blocks,
        doorbells: 0,
    };
    reads.post(depth);
    reads.keep_up(time / 10)?;
    reads.doorbells = 0;
    let started = Instant::now();
    let done = reads.keep_up(time)? as f64;
    Ok(vec![
        ("ops_per_s", done / started.elapsed().as_secs_f64()),
        ("doorbells_per_op", reads.doorbells as f64 / done),
    ])
}

/// Blocks of namespace 1 (NVM Command Set 1.0 §4.1.5.1: Identify Namespace, NSZE).
fn blocks<F: FnMut(&mut QemuDevice) -> u64>(
    raw: &mut Raw<'_, QemuDevice, F>,
) -> Result<u64, Silent> {
    let entry = SubmissionEntry {
        opcode: AdminOpcode::IDENTIFY.0,
        namespace: 1.into(),
        prp1: raw.data(0).into(),
        ..SubmissionEntry::default()
    };
    well(raw.ask(Queue::Admin, entry)?)?;
    Ok(u64::from(raw.peek(0, 4)) << 32 | u64::from(raw.peek(0, 0)))
}

fn create_queues<F: FnMut(&mut QemuDevice) -> u64>(
    raw: &mut Raw<'_, QemuDevice, F>,
) -> Result<(), Silent> {
    let (submission, completion) = raw.io_rings();
    let size = u32::from(IO_ENTRIES_MAX - 1) << 16 | 1;
    // Contiguous (bit 0); the completion queue's number above it.
    let queues = [
        (AdminOpcode::CREATE_IO_COMPLETION_QUEUE, completion, 1),
        (
            AdminOpcode::CREATE_IO_SUBMISSION_QUEUE,
            submission,
            1 << 16 | 1,
        ),
    ];
    for (opcode, ring, dw11) in queues {
        let entry = SubmissionEntry {
            opcode: opcode.0,
            prp1: ring.into(),
            cdw10: size.into(),
            cdw11: dw11.into(),
            ..SubmissionEntry::default()
        };
        well(raw.ask(Queue::Admin, entry)?)?;
    }
    raw.io_created(IO_ENTRIES_MAX);
    Ok(())
}

fn well(answer: Answer) -> Result<(), Silent> {
    if answer.status.is_success() {
        Ok(())
    } else {
        Err(Silent)
    }
}

/// Reads without a driver.
struct Bare<'d, F> {
    raw: Raw<'d, QemuDevice, F>,
    random: Random,
    blocks: u64,
    doorbells: u64,
}

impl<F: FnMut(&mut QemuDevice) -> u64> Bare<'_, F> {
    fn post(&mut self, reads: usize) {
        for _ in 0..reads {
            let block = self.random.below(self.blocks);
            let entry = SubmissionEntry {
                opcode: IoOpcode::READ.0,
                namespace: 1.into(),
                prp1: self.raw.data(block as u32 % DATA_PAGES).into(),
                cdw10: (block as u32).into(),
                cdw11: ((block >> 32) as u32).into(),
                ..SubmissionEntry::default()
            };
            self.raw.post(Queue::Io, entry);
        }
        self.raw.ring(Queue::Io);
        self.doorbells += 1;
    }

    /// For so long; how many reads ended.
    fn keep_up(&mut self, time: Duration) -> Result<u64, String> {
        let started = Instant::now();
        let mut all = 0;
        let mut last = Instant::now();
        while started.elapsed() < time {
            let mut done = 0;
            while let Some(answer) = self.raw.take(Queue::Io) {
                well(answer).map_err(|_| "a read failed".to_string())?;
                done += 1;
            }
            if done > 0 {
                self.raw.ring_taken(Queue::Io);
                self.doorbells += 1;
                self.post(done);
                last = Instant::now();
            } else if last.elapsed() > Duration::from_secs(10) {
                return Err(silent(Silent));
            }
            self.raw.step();
            all += done as u64;
        }
        Ok(all)
    }
}
