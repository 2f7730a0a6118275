//! A host for tests: it writes submission entries into the arena and rings doorbells, and knows nothing
//! of the driver.

use std::vec;
use std::vec::Vec;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use zerocopy::{FromBytes, IntoBytes};

use crate::model::{MemoryStore, ModelConfig, ModelDevice, NamespaceConfig};
use crate::seam::{Device, Dma, PAGE_BYTES, Registers, Span};
use crate::spec::*;

/// Entries of the admin queues.
pub(super) const ADMIN_ENTRIES: u32 = 16;
/// Pages each queue pair has: submission, then completion.
const QUEUE_PAGES: u32 = 2;
/// First page for data.
pub(super) const DATA: u32 = 32;

#[derive(Clone, Debug, Default)]
struct Pair {
    entries: u32,
    tail: u32,
    head: u32,
    phase: bool,
}

/// The host.
pub(super) struct Host {
    pub(super) device: ModelDevice,
    pub(super) now_us: u64,
    pairs: Vec<Pair>,
    next_id: u16,
}

/// One namespace of 1024 blocks of 512 bytes in memory.
pub(super) fn config() -> ModelConfig {
    ModelConfig {
        namespaces: vec![NamespaceConfig::new(MemoryStore::new(512 * 1024), 512)],
        arena_pages: 1024,
        queues: 4,
        queue_entries: 64,
        ..ModelConfig::default()
    }
}

/// A command of the admin queue.
pub(super) fn admin(opcode: AdminOpcode) -> SubmissionEntry {
    SubmissionEntry {
        opcode: opcode.0,
        ..SubmissionEntry::default()
    }
}

/// A command with blocks.
pub(super) fn io(opcode: IoOpcode, namespace: u32, lba: u64, blocks: u32) -> SubmissionEntry {
    SubmissionEntry {
        opcode: opcode.0,
        namespace: namespace.into(),
        cdw10: (lba as u32).into(),
        cdw11: ((lba >> 32) as u32).into(),
        cdw12: (blocks - 1).into(),
        ..SubmissionEntry::default()
    }
}

impl Host {
    /// A device not yet enabled.
    pub(super) fn new(config: ModelConfig) -> Self {
        let device = ModelDevice::new(config).expect("a valid configuration");
        let pairs = vec![Pair::default(); 5];
        Self {
            device,
            now_us: 0,
            pairs,
            next_id: 0,
        }
    }

    /// A device that is ready, with one I/O queue pair of 16 entries.
    pub(super) fn ready(config: ModelConfig) -> Self {
        let mut host = Self::new(config);
        host.enable();
        assert!(host.status().ready(), "ready after enabling");
        host.create_pair(1, 16);
        host
    }

    pub(super) fn status(&self) -> ControllerStatus {
        ControllerStatus::from_bits(self.device.registers().read32(offset::CSTS))
    }

    pub(super) fn write(&self, at: u32, value: u32) {
        self.device.registers().write32(at, value);
    }

    pub(super) fn enabled() -> Configuration {
        Configuration::new()
            .with_enable(true)
            .with_submission_entry_size(6)
            .with_completion_entry_size(4)
    }

    /// Clears the rings and sets CC.EN.
    pub(super) fn enable(&mut self) {
        for page in 0..DATA {
            self.device
                .dma_mut()
                .ring_write(Span::new(page, 0, PAGE_BYTES), &[0; PAGE_BYTES]);
        }
        self.device.dma().publish();
        self.pairs.fill(Pair::default());
        self.pairs[0] = Pair {
            entries: ADMIN_ENTRIES,
            phase: true,
            ..Pair::default()
        };
        let attributes = AdminQueueAttributes::new()
            .with_submission_entries_0(ADMIN_ENTRIES as u16 - 1)
            .with_completion_entries_0(ADMIN_ENTRIES as u16 - 1);
        self.write(offset::AQA, attributes.into_bits());
        let registers = self.device.registers();
        registers.write64(offset::ASQ, self.address(0));
        registers.write64(offset::ACQ, self.address(1));
        self.write(offset::CC, Self::enabled().into_bits());
        self.step();
    }

    /// Overwrites a page of the rings.
    pub(super) fn fill_ring_page(&mut self, page: u32, bytes: &[u8]) {
        let span = Span::new(page, 0, bytes.len());
        self.device.dma_mut().ring_write(span, bytes);
        self.device.dma().publish();
    }

    /// Steps until nothing is busy.
    pub(super) fn step(&mut self) {
        while self.device.step(self.now_us).busy {
            assert!(self.device.is_consistent());
        }
        assert!(self.device.is_consistent(), "commands counted wrongly");
    }

    /// Bus address of a page.
    pub(super) fn address(&self, page: u32) -> u64 {
        self.device.dma().bus_address(page)
    }

    /// Writes an entry at the tail without ringing.
    pub(super) fn place(&mut self, queue: u16, entry: &SubmissionEntry) {
        let pair = &mut self.pairs[usize::from(queue)];
        let at = pair.tail as usize * SUBMISSION_ENTRY_BYTES;
        let span = Span::new(QUEUE_PAGES * u32::from(queue), at, SUBMISSION_ENTRY_BYTES);
        pair.tail = (pair.tail + 1) % pair.entries;
        self.device.dma_mut().ring_write(span, entry.as_bytes());
    }

    pub(super) fn ring_tail(&mut self, queue: u16) {
        self.device.dma().publish();
        self.write(
            submission_doorbell(queue, 0),
            self.pairs[usize::from(queue)].tail,
        );
    }

    /// Submits under a new id, which is returned.
    pub(super) fn submit(&mut self, queue: u16, entry: SubmissionEntry) -> u16 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.place(
            queue,
            &SubmissionEntry {
                command_id: id.into(),
                ..entry
            },
        );
        self.ring_tail(queue);
        id
    }

    /// Submits under a new id that does not matter.
    pub(super) fn submit_one(&mut self, queue: u16, entry: SubmissionEntry) {
        let _id = self.submit(queue, entry);
    }

    /// New completions of a queue, its head doorbell not rung.
    pub(super) fn peek(&mut self, queue: u16) -> Vec<CompletionEntry> {
        let mut found = Vec::new();
        let pair = &mut self.pairs[usize::from(queue)];
        loop {
            let at = pair.head as usize * COMPLETION_ENTRY_BYTES;
            let page = QUEUE_PAGES * u32::from(queue) + 1;
            let words: Vec<u8> = (0..4)
                .map(|word| Span::new(page, at + word * 4, 4))
                .flat_map(|span| self.device.dma().ring_read32(span).to_le_bytes())
                .collect();
            let entry = CompletionEntry::read_from_bytes(&words).expect("sixteen bytes");
            if entry.phase() != pair.phase {
                return found;
            }
            self.device.dma().acquire();
            found.push(entry);
            pair.head = (pair.head + 1) % pair.entries;
            pair.phase ^= pair.head == 0;
        }
    }

    pub(super) fn ring_head(&mut self, queue: u16) {
        self.write(
            completion_doorbell(queue, 0),
            self.pairs[usize::from(queue)].head,
        );
    }

    /// New completions of a queue, consumed.
    pub(super) fn completions(&mut self, queue: u16) -> Vec<CompletionEntry> {
        let found = self.peek(queue);
        if !found.is_empty() {
            self.ring_head(queue);
        }
        found
    }

    /// Carries out one command and returns its completion, which must be the only one.
    pub(super) fn run(&mut self, queue: u16, entry: SubmissionEntry) -> CompletionEntry {
        let id = self.submit(queue, entry);
        for _ in 0..10_000 {
            self.step();
            let found = self.completions(queue);
            if let [only] = found[..] {
                assert_eq!(only.command_id.get(), id);
                assert_eq!(only.submission_queue.get(), queue);
                return only;
            }
            assert!(
                found.is_empty(),
                "more completions than commands: {found:?}"
            );
            self.now_us += 100;
            self.wait_for_stores();
        }
        panic!("no completion of {entry:?}");
    }

    /// Sleeps until a store has finished something, where one works.
    pub(super) fn wait_for_stores(&mut self) {
        if !self.device.step(self.now_us).waiting {
            return;
        }
        self.device.arm_wait();
        let fd = self
            .device
            .wait_fd()
            .expect("what is pending can be waited for");
        let mut wait = [PollFd::new(&fd, PollFlags::IN)];
        let limit = Timespec {
            tv_sec: 30,
            tv_nsec: 0,
        };
        assert_eq!(
            poll(&mut wait, Some(&limit)),
            Ok(1),
            "a store never finishes"
        );
    }

    /// The status code of one command.
    pub(super) fn code(&mut self, queue: u16, entry: SubmissionEntry) -> StatusCode {
        self.run(queue, entry).status().code()
    }

    /// The entries that create a pair; the completion queue first.
    pub(super) fn creations(&self, queue: u16, entries: u32) -> [SubmissionEntry; 2] {
        let both = QueueDword10::new()
            .with_queue(queue)
            .with_entries_0(entries as u16 - 1);
        let completion = CreateCompletionQueueDword11::new().with_contiguous(true);
        let submission = CreateSubmissionQueueDword11::new()
            .with_contiguous(true)
            .with_completion_queue(queue);
        let page = QUEUE_PAGES * u32::from(queue);
        [
            SubmissionEntry {
                prp1: self.address(page + 1).into(),
                cdw10: both.into_bits().into(),
                cdw11: completion.into_bits().into(),
                ..admin(AdminOpcode::CREATE_IO_COMPLETION_QUEUE)
            },
            SubmissionEntry {
                prp1: self.address(page).into(),
                cdw10: both.into_bits().into(),
                cdw11: submission.into_bits().into(),
                ..admin(AdminOpcode::CREATE_IO_SUBMISSION_QUEUE)
            },
        ]
    }

    pub(super) fn create_pair(&mut self, queue: u16, entries: u32) {
        for creation in self.creations(queue, entries) {
            let completion = self.run(0, creation);
            assert!(
                completion.status().is_success(),
                "{:?}",
                completion.status()
            );
        }
        self.pairs[usize::from(queue)] = Pair {
            entries,
            phase: true,
            ..Pair::default()
        };
    }

    /// An entry whose data is `pages` from page `page`, without a list (at most two pages).
    pub(super) fn with_pages(&self, entry: SubmissionEntry, page: u32) -> SubmissionEntry {
        SubmissionEntry {
            prp1: self.address(page).into(),
            prp2: self.address(page + 1).into(),
            ..entry
        }
    }

    /// Bytes of a data page, synced from the device.
    pub(super) fn data(&mut self, page: u32, bytes: usize) -> Vec<u8> {
        let span = Span::new(page, 0, bytes);
        self.device.dma_mut().sync_for_cpu(span);
        self.device.dma().bytes(span).to_vec()
    }

    /// Fills a data page and syncs it for the device.
    pub(super) fn set_data(&mut self, page: u32, bytes: &[u8]) {
        let span = Span::new(page, 0, bytes.len());
        self.device.dma_mut().bytes_mut(span).copy_from_slice(bytes);
        self.device.dma_mut().sync_for_device(span);
    }

    /// Writes blocks and expects success.
    pub(super) fn write_blocks(&mut self, namespace: u32, lba: u64, bytes: &[u8], block: usize) {
        self.set_data(DATA, bytes);
        let blocks = (bytes.len() / block) as u32;
        let entry = self.with_pages(io(IoOpcode::WRITE, namespace, lba, blocks), DATA);
        assert_eq!(self.code(1, entry), StatusCode::SUCCESS);
    }

    /// Reads blocks and expects success.
    pub(super) fn read_blocks(
        &mut self,
        namespace: u32,
        lba: u64,
        blocks: u32,
        block: usize,
    ) -> Vec<u8> {
        let bytes = blocks as usize * block;
        self.set_data(DATA + 8, &vec![0xee; bytes]);
        let entry = self.with_pages(io(IoOpcode::READ, namespace, lba, blocks), DATA + 8);
        assert_eq!(self.code(1, entry), StatusCode::SUCCESS);
        self.data(DATA + 8, bytes)
    }
}
