//! What the driver itself costs: submit, ring, reap of 4 KiB reads on a device that costs nothing.
//!
//! The device takes entries off the ring and writes completions with plain memory accesses, so that
//! nearly all of the time is the driver's. `cargo bench -p nvme-model --bench driver`.

use std::cell::Cell;
use std::hint::black_box;
use std::time::Instant;

use nvme_model::driver::{
    Driver, DriverConfig, DriverState, Lba, NamespaceId, Operation, Wake, block_until_running,
};
use nvme_model::memory::{PagePool, PageRange, Transfer};
use nvme_model::seam::{Claim, Device, Dma, PAGE_BYTES, Registers, Span};
use nvme_model::spec::*;

const QUEUES: usize = 1;
const SLOTS: usize = 256;
const PAGES: u32 = 1024;
type BenchDriver = Driver<FastDevice, QUEUES, SLOTS>;

/// Registers that answer at once. Doorbells of up to one I/O queue.
struct PlainRegisters {
    cc: Cell<u32>,
    queues: Cell<[u64; 2]>,
    tails: [Cell<u32>; 4],
}

impl Registers for PlainRegisters {
    fn read32(&self, at: u32) -> u32 {
        match at {
            offset::CSTS => self.cc.get() & 1,
            _ => self.cc.get(),
        }
    }
    fn read64(&self, _: u32) -> u64 {
        Capabilities::new()
            .with_max_queue_entries_0(1023)
            .with_timeout_500ms(2)
            .with_nvm_command_set(true)
            .into()
    }
    fn write32(&self, at: u32, value: u32) {
        match at {
            offset::CC => self.cc.set(value),
            at if at >= offset::DOORBELLS => {
                self.tails[(at - offset::DOORBELLS) as usize / 4].set(value);
            }
            _ => {}
        }
    }
    fn write64(&self, at: u32, value: u64) {
        let mut queues = self.queues.get();
        queues[usize::from(at == offset::ACQ)] = value;
        self.queues.set(queues);
    }
}

struct PlainDma {
    claim: Claim,
    arena: Vec<u8>,
}

impl PlainDma {
    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.arena[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }
}

impl Dma for PlainDma {
    fn pages(&self) -> u32 {
        self.claim.pages()
    }
    fn claim(&mut self) -> Option<PageRange> {
        self.claim.take()
    }
    #[inline]
    fn bus_address(&self, page: u32) -> u64 {
        u64::from(page) * PAGE_BYTES as u64
    }
    fn bytes(&self, span: Span) -> &[u8] {
        &self.arena[span.range()]
    }
    fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        &mut self.arena[span.range()]
    }
    fn two_bytes_mut(&mut self, first: Span, second: Span) -> (&mut [u8], &mut [u8]) {
        let ranges = [first.range(), second.range()];
        let [first, second] = self.arena.get_disjoint_mut(ranges).expect("two spans");
        (first, second)
    }
    #[inline]
    fn ring_read32(&self, at: Span) -> u32 {
        u32::from_le_bytes(self.arena[at.range()].try_into().expect("four bytes"))
    }
    #[inline]
    fn ring_write(&mut self, at: Span, bytes: &[u8]) {
        self.arena[at.range()].copy_from_slice(bytes);
    }
    fn publish(&self) {}
    fn acquire(&self) {}
    fn sync_for_device(&mut self, _: Span) {}
    fn sync_for_cpu(&mut self, _: Span) {}
}

#[derive(Clone, Copy, Default)]
struct Ring {
    submission: u64,
    submission_entries: u16,
    completion: u64,
    completion_entries: u16,
    head: u16,
    tail: u16,
    flipped: bool,
}

/// A device that completes a command when it is looked at.
struct FastDevice {
    registers: PlainRegisters,
    dma: PlainDma,
    rings: [Ring; 2],
}

impl Device for FastDevice {
    type Registers = PlainRegisters;
    type Dma = PlainDma;
    fn registers(&self) -> &PlainRegisters {
        &self.registers
    }
    fn dma(&self) -> &PlainDma {
        &self.dma
    }
    fn dma_mut(&mut self) -> &mut PlainDma {
        &mut self.dma
    }
}

impl FastDevice {
    fn step(&mut self) {
        if self.registers.cc.get() & 1 != 0 && self.rings[0].submission_entries == 0 {
            let [submission, completion] = self.registers.queues.get();
            self.rings[0] = Ring {
                submission,
                submission_entries: 32,
                completion,
                completion_entries: 32,
                ..Default::default()
            };
        }
        for queue in 0..2 {
            let tail = self.registers.tails[queue * 2].get() as u16;
            while self.rings[queue].head != tail {
                self.complete(queue);
            }
        }
    }

    fn complete(&mut self, queue: usize) {
        let mut ring = self.rings[queue];
        let at = ring.submission as usize + usize::from(ring.head) * 64;
        ring.head = (ring.head + 1) % ring.submission_entries;
        let entry = &self.dma.arena[at..at + 64];
        let (opcode, id) = (entry[0], [entry[2], entry[3]]);
        let quad = |n: usize| u64::from_le_bytes(entry[n..n + 8].try_into().expect("eight"));
        let (data, cdw10) = (quad(24), quad(40));
        if queue == 0 && !self.admin(opcode, data, cdw10) {
            self.rings[0] = ring;
            return;
        }
        let mut answer = [0; 16];
        answer[8..10].copy_from_slice(&ring.head.to_le_bytes());
        answer[10] = queue as u8;
        answer[12..14].copy_from_slice(&id);
        answer[14] = u8::from(!ring.flipped);
        let place = ring.completion + u64::from(ring.tail) * 16;
        ring.tail += 1;
        if ring.tail == ring.completion_entries {
            (ring.tail, ring.flipped) = (0, !ring.flipped);
        }
        self.dma.put(place, &answer);
        self.rings[queue] = ring;
    }

    /// Just enough to be started; `false` when there is no answer.
    fn admin(&mut self, opcode: u8, data: u64, cdw10: u64) -> bool {
        let entries = (cdw10 >> 16) as u16 + 1;
        match AdminOpcode(opcode) {
            AdminOpcode::IDENTIFY => {
                let mut page = [0; 4096];
                match Cns(cdw10 as u8) {
                    Cns::CONTROLLER => page[512..514].copy_from_slice(&[0x66, 0x44]),
                    Cns::ACTIVE_NAMESPACES => page[0] = 1,
                    _ => {
                        page[3] = 1;
                        page[130] = 12;
                    }
                }
                self.dma.put(data, &page);
            }
            AdminOpcode::CREATE_IO_COMPLETION_QUEUE => {
                self.rings[1].completion = data;
                self.rings[1].completion_entries = entries;
            }
            AdminOpcode::CREATE_IO_SUBMISSION_QUEUE => {
                self.rings[1].submission = data;
                self.rings[1].submission_entries = entries;
            }
            AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST => return false,
            _ => {}
        }
        true
    }
}

fn main() {
    let mut device = FastDevice {
        registers: PlainRegisters {
            cc: Cell::new(0),
            queues: Cell::new([0; 2]),
            tails: Default::default(),
        },
        dma: PlainDma {
            claim: Claim::new(PAGES),
            arena: vec![0; PAGES as usize * PAGE_BYTES],
        },
        rings: Default::default(),
    };
    let mut arena = device.dma.claim().expect("the arena");
    let rings = arena.split(BenchDriver::pages_needed()).expect("rings");
    let pages = arena.pages();
    let mut pool = PagePool::new(arena, vec![0; pages as usize]).expect("pool");
    let mut driver = BenchDriver::new(device, DriverConfig::default(), rings).expect("driver");
    let mut now_us = 0;
    let mut step = |device: &mut FastDevice, _: Wake| {
        device.step();
        now_us += 1;
        now_us
    };
    block_until_running(&mut driver, &mut step).expect("running");
    assert_eq!(driver.state(), DriverState::Running);
    for (pages, depth) in [(1, 1), (1, 8), (1, 32), (1, 128), (2, 32), (8, 16), (32, 8)] {
        measure(&mut driver, &mut pool, pages, depth);
    }
}

fn measure(driver: &mut BenchDriver, pool: &mut PagePool<Vec<u32>>, pages: usize, depth: u64) {
    let rounds = 2_000_000 / depth;
    let mut device_ns = 0;
    let begin = Instant::now();
    for round in 0..rounds {
        for n in 0..depth {
            let transfer = Transfer::Pages {
                pages: pool.take(pages).expect("pages"),
                offset: 0,
                bytes: pages as u32 * 4096,
            };
            let operation = Operation::Read {
                namespace: NamespaceId(1),
                lba: Lba(black_box(n * 8)),
                blocks: pages as u32,
            };
            let taken = driver.submit(round, 0, operation, transfer, n);
            assert!(taken.is_ok());
        }
        driver.ring_doorbells();
        if round % 16 == 0 {
            let begin = Instant::now();
            driver.device_mut().step();
            device_ns += 16 * begin.elapsed().as_nanos();
        } else {
            driver.device_mut().step();
        }
        driver.poll(round, usize::MAX, &mut |completion| {
            if let Transfer::Pages { pages, .. } = completion.transfer {
                pool.give(pages);
            }
        });
    }
    let all = begin.elapsed().as_nanos() as f64 / (rounds * depth) as f64;
    let device = device_ns as f64 / (rounds * depth) as f64;
    println!(
        "{pages:2} pages, depth {depth:3}: {:6.1} ns each, with pool; the device took {device:.1} ns more",
        all - device
    );
}
