//! A device that does what a test says: registers of cells, memory that forgives nothing.
//!
//! Memory is not coherent: what the CPU writes reaches the device only after a sync, ring writes
//! only after `publish`, and what the device writes to data reaches the CPU only after a sync. A
//! completion queue that overflows, or a PRP that leads nowhere, fails the test.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};

use nvme_model::memory::PageRange;
use nvme_model::seam::{Claim, Device, Dma, PAGE_BYTES, Registers, Span};
use nvme_model::spec::*;
use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Bus address of the arena's first page.
pub const BUS: u64 = 0x47_0000_0000;

pub struct FakeRegisters {
    pub cap: Cell<u64>,
    pub crto: Cell<u32>,
    pub cc: Cell<u32>,
    pub csts: Cell<u32>,
    pub aqa: Cell<u32>,
    pub asq: Cell<u64>,
    pub acq: Cell<u64>,
    /// Reads as all ones.
    pub gone: Cell<bool>,
    /// CSTS.RDY follows CC.EN up, and down.
    pub rises: Cell<bool>,
    pub falls: Cell<bool>,
    /// CSTS.SHST follows CC.SHN.
    pub shuts: Cell<bool>,
    /// CC.EN was 0 since this was last taken.
    pub was_reset: Cell<bool>,
    pub doorbells: RefCell<HashMap<u32, u32>>,
    pub doorbell_writes: Cell<u64>,
}

impl FakeRegisters {
    fn configure(&self, value: u32) {
        let (old, new) = (
            Configuration::from(self.cc.get()),
            Configuration::from(value),
        );
        self.cc.set(value);
        let mut status = ControllerStatus::from(self.csts.get());
        if new.enable() && !old.enable() {
            status = ControllerStatus::new().with_ready(self.rises.get());
        }
        if !new.enable() && old.enable() {
            self.was_reset.set(true);
            self.doorbells.borrow_mut().clear();
            if self.falls.get() {
                status = ControllerStatus::new();
            }
        }
        if new.shutdown() != 0 && self.shuts.get() {
            status.set_shutdown(ControllerStatus::SHUTDOWN_COMPLETE);
        }
        self.csts.set(status.into());
    }
}

impl Registers for FakeRegisters {
    fn read32(&self, at: u32) -> u32 {
        if self.gone.get() {
            return u32::MAX;
        }
        match at {
            offset::CC => self.cc.get(),
            offset::CSTS => self.csts.get(),
            offset::CRTO => self.crto.get(),
            _ => panic!("read of register {at:#x}"),
        }
    }

    fn read64(&self, at: u32) -> u64 {
        assert_eq!(at, offset::CAP);
        if self.gone.get() {
            u64::MAX
        } else {
            self.cap.get()
        }
    }

    fn write32(&self, at: u32, value: u32) {
        match at {
            offset::CC => self.configure(value),
            offset::AQA => self.aqa.set(value),
            at if at >= offset::DOORBELLS => {
                self.doorbells.borrow_mut().insert(at, value);
                self.doorbell_writes.set(self.doorbell_writes.get() + 1);
            }
            _ => panic!("write of register {at:#x}"),
        }
    }

    fn write64(&self, at: u32, value: u64) {
        match at {
            offset::ASQ => self.asq.set(value),
            offset::ACQ => self.acq.set(value),
            _ => panic!("write of register {at:#x}"),
        }
    }
}

pub struct FakeDma {
    claim: Claim,
    /// What the CPU sees of data.
    cpu: Vec<u8>,
    /// What the device sees of everything, and the CPU of rings.
    device: Vec<u8>,
    /// Ring writes not yet published.
    unpublished: RefCell<Vec<(usize, Vec<u8>)>>,
    published: RefCell<Vec<(usize, Vec<u8>)>>,
}

impl FakeDma {
    fn new(pages: u32) -> Self {
        let bytes = pages as usize * PAGE_BYTES;
        FakeDma {
            claim: Claim::new(pages),
            // Old phases and old data everywhere.
            cpu: vec![0xa5; bytes],
            device: vec![0xff; bytes],
            unpublished: RefCell::default(),
            published: RefCell::default(),
        }
    }

    fn settle(&mut self) {
        for (at, bytes) in self.published.take() {
            self.device[at..at + bytes.len()].copy_from_slice(&bytes);
        }
    }

    pub fn at_bus(&mut self, address: u64, bytes: usize) -> &mut [u8] {
        self.settle();
        let start = address.checked_sub(BUS).expect("a bus address") as usize;
        &mut self.device[start..start + bytes]
    }
}

impl Dma for FakeDma {
    fn pages(&self) -> u32 {
        self.claim.pages()
    }
    fn claim(&mut self) -> Option<PageRange> {
        self.claim.take()
    }
    fn bus_address(&self, page: u32) -> u64 {
        BUS + u64::from(page) * PAGE_BYTES as u64
    }
    fn bytes(&self, span: Span) -> &[u8] {
        &self.cpu[span.range()]
    }
    fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        &mut self.cpu[span.range()]
    }
    fn two_bytes_mut(&mut self, first: Span, second: Span) -> (&mut [u8], &mut [u8]) {
        let [first, second] = self
            .cpu
            .get_disjoint_mut([first.range(), second.range()])
            .expect("two spans");
        (first, second)
    }
    fn ring_read32(&self, at: Span) -> u32 {
        assert!(at.start().is_multiple_of(4) && at.bytes() == 4);
        // The CPU sees its own writes at once.
        let (unpublished, published) = (self.unpublished.borrow(), self.published.borrow());
        let mut writes = unpublished.iter().rev().chain(published.iter().rev());
        let within =
            |write: &&(usize, Vec<u8>)| (write.0..write.0 + write.1.len()).contains(&at.start());
        let bytes = match writes.find(within) {
            Some((start, bytes)) => &bytes[at.start() - start..][..4],
            None => &self.device[at.range()],
        };
        u32::from_le_bytes(bytes.try_into().unwrap())
    }
    fn ring_write(&mut self, at: Span, bytes: &[u8]) {
        assert_eq!(at.bytes(), bytes.len());
        assert!(at.start().is_multiple_of(8) && at.bytes().is_multiple_of(8));
        self.unpublished
            .borrow_mut()
            .push((at.start(), bytes.to_vec()));
    }
    fn publish(&self) {
        let new = self.unpublished.take();
        self.published.borrow_mut().extend(new);
    }
    fn acquire(&self) {}
    fn sync_for_device(&mut self, span: Span) {
        self.device[span.range()].copy_from_slice(&self.cpu[span.range()]);
    }
    fn sync_for_cpu(&mut self, span: Span) {
        self.cpu[span.range()].copy_from_slice(&self.device[span.range()]);
    }
}

#[derive(Clone, Copy, Debug)]
struct Ring {
    submission: u64,
    submission_entries: u16,
    completion: u64,
    completion_entries: u16,
    head: u16,
    tail: u16,
    phase: bool,
}

/// What becomes of an Abort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aborts {
    /// The command ends as aborted.
    Succeed,
    /// The controller says that it did not abort it.
    Fail,
    /// No answer.
    Mute,
}

pub struct Fake {
    pub registers: FakeRegisters,
    pub dma: FakeDma,
    pub identify: IdentifyController,
    pub namespaces: BTreeMap<u32, IdentifyNamespace>,
    /// Active ids, where they are not those of `namespaces`.
    pub listed: Option<Vec<u32>>,
    pub queue_grant: u16,
    pub power_cycles: u64,
    /// This admin command gets this status.
    pub refuse: Option<(AdminOpcode, Status)>,
    /// The next Identify Namespace gets this status.
    pub refuse_namespace: Option<Status>,
    /// This admin command gets no answer.
    pub mute: Option<AdminOpcode>,
    pub aborts: Aborts,
    /// The event request that waits for an event.
    pub event_request: Option<u16>,
    pub logs_read: Vec<u8>,
    /// What the SMART log tells; power cycles are set apart.
    pub smart: SmartLog,
    /// The value of Asynchronous Event Configuration.
    pub smart_events: u32,
    /// Asynchronous Event Configuration gets this status.
    pub refuse_events: Option<Status>,
    /// I/O commands fetched and not answered: queue and entry.
    pub taken: Vec<(u16, SubmissionEntry)>,
    pub blocks: HashMap<(u32, u64), Vec<u8>>,
    rings: BTreeMap<u16, Ring>,
    created: BTreeMap<u16, (u64, u16)>,
}

impl Device for Fake {
    type Registers = FakeRegisters;
    type Dma = FakeDma;
    fn registers(&self) -> &FakeRegisters {
        &self.registers
    }
    fn dma(&self) -> &FakeDma {
        &self.dma
    }
    fn dma_mut(&mut self) -> &mut FakeDma {
        &mut self.dma
    }
}

pub fn namespace(blocks: u64, block_shift: u8, metadata: u16) -> IdentifyNamespace {
    let mut identify = IdentifyNamespace::default();
    identify.size_blocks = U64::new(blocks);
    // The format in use is not the first one.
    identify.formats_0 = 1;
    identify.format = 1;
    let format = LbaFormat::new()
        .with_block_shift(block_shift)
        .with_metadata_bytes(metadata);
    identify.formats[1] = U32::new(format.into());
    identify
}

pub fn capabilities() -> Capabilities {
    Capabilities::new()
        .with_max_queue_entries_0(255)
        .with_timeout_500ms(4)
        .with_doorbell_stride(1)
        .with_nvm_command_set(true)
}

impl Fake {
    pub fn new(pages: u32) -> Fake {
        let mut identify = IdentifyController::new_zeroed();
        identify.model.fill(b' ');
        identify.model[..9].copy_from_slice(b"Fake\xffDisk");
        identify.serial.fill(b' ');
        identify.serial[..2].copy_from_slice(b"S1");
        identify.submission_entry_sizes = 0x66;
        identify.completion_entry_sizes = 0x44;
        identify.volatile_write_cache = 1;
        identify.abort_limit_0 = 3;
        let optional = OptionalNvmCommands::new()
            .with_compare(true)
            .with_dataset_management(true)
            .with_write_zeroes(true);
        identify.optional_nvm_commands = U16::new(optional.into());
        Fake {
            registers: FakeRegisters {
                cap: Cell::new(capabilities().into()),
                crto: Cell::new(0),
                cc: Cell::default(),
                csts: Cell::default(),
                aqa: Cell::default(),
                asq: Cell::default(),
                acq: Cell::default(),
                gone: Cell::default(),
                rises: Cell::new(true),
                falls: Cell::new(true),
                shuts: Cell::new(true),
                was_reset: Cell::default(),
                doorbells: RefCell::default(),
                doorbell_writes: Cell::default(),
            },
            dma: FakeDma::new(pages),
            identify,
            namespaces: BTreeMap::from([
                (1, namespace(1 << 20, 12, 0)),
                (2, namespace(1 << 20, 9, 0)),
            ]),
            listed: None,
            queue_grant: 64,
            power_cycles: 7,
            refuse: None,
            refuse_namespace: None,
            mute: None,
            aborts: Aborts::Succeed,
            event_request: None,
            logs_read: Vec::new(),
            smart: SmartLog::default(),
            smart_events: 0,
            refuse_events: None,
            taken: Vec::new(),
            blocks: HashMap::new(),
            rings: BTreeMap::new(),
            created: BTreeMap::new(),
        }
    }

    fn stride(&self) -> u8 {
        Capabilities::from(self.registers.cap.get()).doorbell_stride()
    }

    fn doorbell(&self, at: u32) -> u16 {
        *self.registers.doorbells.borrow().get(&at).unwrap_or(&0) as u16
    }

    /// Takes what was submitted and answers admin commands. I/O commands wait in `taken`.
    pub fn tick(&mut self) {
        if self.registers.was_reset.take() {
            self.rings.clear();
            self.created.clear();
            self.event_request = None;
            if self.registers.falls.get() {
                self.taken.clear();
            }
        }
        let configuration = Configuration::from(self.registers.cc.get());
        if !configuration.enable() || self.registers.csts.get() & 3 != 1 {
            return;
        }
        if self.rings.is_empty() {
            assert_eq!(configuration.submission_entry_size(), 6);
            assert_eq!(configuration.completion_entry_size(), 4);
            let attributes = AdminQueueAttributes::from(self.registers.aqa.get());
            let ring = Ring {
                submission: self.registers.asq.get(),
                submission_entries: attributes.submission_entries_0() + 1,
                completion: self.registers.acq.get(),
                completion_entries: attributes.completion_entries_0() + 1,
                head: 0,
                tail: 0,
                phase: true,
            };
            self.rings.insert(0, ring);
        }
        for queue in self.rings.keys().copied().collect::<Vec<_>>() {
            while let Some(entry) = self.fetch(queue) {
                if queue == 0 {
                    self.answer_admin(entry);
                } else {
                    self.taken.push((queue, entry));
                }
            }
        }
    }

    fn fetch(&mut self, queue: u16) -> Option<SubmissionEntry> {
        let tail = self.doorbell(submission_doorbell(queue, self.stride()));
        let ring = self.rings.get_mut(&queue)?;
        assert!(
            tail < ring.submission_entries,
            "tail {tail} beyond the ring"
        );
        if ring.head == tail {
            return None;
        }
        let at = ring.submission + u64::from(ring.head) * 64;
        ring.head = (ring.head + 1) % ring.submission_entries;
        Some(SubmissionEntry::read_from_bytes(self.dma.at_bus(at, 64)).unwrap())
    }

    /// Writes a completion as it is told to, true or not.
    pub fn complete_raw(&mut self, queue: u16, mut entry: CompletionEntry, status: Status) {
        let host_head = self.doorbell(completion_doorbell(queue, self.stride()));
        let ring = self.rings.get_mut(&queue).expect("a queue");
        let next = (ring.tail + 1) % ring.completion_entries;
        assert_ne!(next, host_head, "completion queue {queue} overflows");
        let at = ring.completion + u64::from(ring.tail) * 16;
        entry.set_status(status, ring.phase);
        ring.tail = next;
        ring.phase ^= next == 0;
        self.dma.at_bus(at, 16).copy_from_slice(entry.as_bytes());
    }

    pub fn head(&self, queue: u16) -> u16 {
        self.rings[&queue].head
    }

    pub fn complete(&mut self, queue: u16, command_id: u16, status: Status, dw0: u32) {
        let entry = CompletionEntry {
            dw0: U32::new(dw0),
            submission_head: U16::new(self.head(queue)),
            submission_queue: U16::new(queue),
            command_id: U16::new(command_id),
            ..Default::default()
        };
        self.complete_raw(queue, entry, status);
    }

    fn answer_admin(&mut self, entry: SubmissionEntry) {
        let opcode = AdminOpcode(entry.opcode);
        let id = entry.command_id.get();
        if self.mute == Some(opcode) {
            return;
        }
        if let Some((_, status)) = self.refuse.filter(|refuse| refuse.0 == opcode) {
            return self.complete(0, id, status, 0);
        }
        let data = entry.prp1.get();
        let mut dw0 = 0;
        match opcode {
            AdminOpcode::IDENTIFY => {
                let structure = IdentifyDword10::from(entry.cdw10.get()).structure();
                if structure == Cns::NAMESPACE
                    && let Some(status) = self.refuse_namespace.take()
                {
                    return self.complete(0, id, status, 0);
                }
                let page = match structure {
                    Cns::CONTROLLER => self.identify.as_bytes().to_vec(),
                    Cns::ACTIVE_NAMESPACES => self.namespace_list().as_bytes().to_vec(),
                    Cns::NAMESPACE => match self.namespaces.get(&entry.namespace.get()) {
                        Some(identify) => identify.as_bytes().to_vec(),
                        None => {
                            let status = StatusCode::INVALID_NAMESPACE_OR_FORMAT.into();
                            return self.complete(0, id, status, 0);
                        }
                    },
                    other => panic!("identify of {other}"),
                };
                self.dma.at_bus(data, 4096).copy_from_slice(&page);
            }
            AdminOpcode::SET_FEATURES
                if SetFeaturesDword10::from(entry.cdw10.get()).feature()
                    == FeatureId::ASYNCHRONOUS_EVENT_CONFIGURATION =>
            {
                self.smart_events = entry.cdw11.get();
                if let Some(status) = self.refuse_events {
                    return self.complete(0, id, status, 0);
                }
            }
            AdminOpcode::SET_FEATURES => {
                let grant = NumberOfQueues::new()
                    .with_submission_queues_0(self.queue_grant - 1)
                    .with_completion_queues_0(self.queue_grant - 1);
                dw0 = grant.into();
            }
            AdminOpcode::GET_LOG_PAGE => {
                let log = GetLogPageDword10::from(entry.cdw10.get()).log();
                self.logs_read.push(log.0);
                let mut smart = self.smart;
                smart.power_cycles = U128::new(self.power_cycles.into());
                self.dma.at_bus(data, 512).copy_from_slice(smart.as_bytes());
            }
            AdminOpcode::CREATE_IO_COMPLETION_QUEUE => {
                let what = QueueDword10::from(entry.cdw10.get());
                assert_eq!(entry.cdw11.get(), 1, "contiguous, no interrupts");
                let (id, stride) = (what.queue(), self.stride());
                for doorbell in [
                    submission_doorbell(id, stride),
                    completion_doorbell(id, stride),
                ] {
                    let rung = self.registers.doorbells.borrow().contains_key(&doorbell);
                    assert!(
                        !rung,
                        "a doorbell of queue {id} was rung before it was created"
                    );
                }
                self.created
                    .insert(what.queue(), (data, what.entries_0() + 1));
            }
            AdminOpcode::CREATE_IO_SUBMISSION_QUEUE => {
                let what = QueueDword10::from(entry.cdw10.get());
                let (completion, completion_entries) = self.created[&what.queue()];
                let ring = Ring {
                    submission: data,
                    submission_entries: what.entries_0() + 1,
                    completion,
                    completion_entries,
                    head: 0,
                    tail: 0,
                    phase: true,
                };
                self.rings.insert(what.queue(), ring);
            }
            AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST => {
                assert!(self.event_request.is_none(), "a second event request");
                self.event_request = Some(id);
                return;
            }
            AdminOpcode::ABORT => match self.aborts {
                Aborts::Succeed => {
                    let what = AbortDword10::from(entry.cdw10.get());
                    let hit = |taken: &(u16, SubmissionEntry)| {
                        taken.0 == what.queue() && taken.1.command_id.get() == what.command_id()
                    };
                    match self.taken.iter().position(hit) {
                        Some(place) => {
                            let (queue, target) = self.taken.remove(place);
                            let status = StatusCode::ABORT_REQUESTED.into();
                            self.complete(queue, target.command_id.get(), status, 0);
                        }
                        // It has ended meanwhile.
                        None => dw0 = 1,
                    }
                }
                Aborts::Fail => dw0 = 1,
                Aborts::Mute => return,
            },
            other => panic!("admin command {other}"),
        }
        self.complete(0, id, Status::SUCCESS, dw0);
    }

    fn namespace_list(&self) -> NamespaceList {
        let mut list = NamespaceList::default();
        let ids = self.listed.clone();
        let ids = ids.unwrap_or_else(|| self.namespaces.keys().copied().collect());
        for (entry, id) in list.ids.iter_mut().zip(ids) {
            *entry = U32::new(id);
        }
        list
    }

    /// Raises an event that the log tells more of.
    pub fn raise_event(&mut self, log: LogId) {
        let id = self.event_request.take().expect("an event request");
        let event = EventDword0::new()
            .with_kind(EventDword0::NOTICE)
            .with_log(log.0);
        self.complete(0, id, Status::SUCCESS, event.into());
    }

    /// The bus ranges a command's PRPs describe, by the rules of Base §4.1.1.
    pub fn prp_ranges(&mut self, entry: &SubmissionEntry, bytes: usize) -> Vec<(u64, usize)> {
        let page_bytes = PAGE_BYTES as u64;
        let first = entry.prp1.get();
        assert_eq!(first % 4, 0);
        let length = bytes.min((page_bytes - first % page_bytes) as usize);
        let mut ranges = vec![(first, length)];
        let mut rest = bytes - length;
        let second = entry.prp2.get();
        if rest == 0 {
            assert_eq!(second, 0, "an unused PRP2");
            return ranges;
        }
        let mut pages = vec![second];
        if rest > PAGE_BYTES {
            assert_eq!(second % 8, 0);
            let count = rest.div_ceil(PAGE_BYTES);
            assert!(
                second % page_bytes + 8 * count as u64 <= page_bytes,
                "a list across pages"
            );
            let list = self.dma.at_bus(second, 8 * count);
            pages = list
                .chunks_exact(8)
                .map(|entry| u64::from_le_bytes(entry.try_into().unwrap()))
                .collect();
        }
        for page in pages {
            assert_eq!(page % page_bytes, 0, "an offset beyond PRP1");
            let length = rest.min(PAGE_BYTES);
            ranges.push((page, length));
            rest -= length;
        }
        assert_eq!(rest, 0);
        ranges
    }

    /// Does an I/O command, and gives its status.
    pub fn execute(&mut self, entry: &SubmissionEntry) -> Status {
        let namespace = entry.namespace.get();
        let lba = u64::from(entry.cdw11.get()) << 32 | u64::from(entry.cdw10.get());
        let flags = ReadWriteFlags::from(entry.cdw12.get());
        let blocks = u64::from(flags.blocks_0()) + 1;
        let block_bytes = 1usize << self.namespaces[&namespace].current_format().block_shift();
        let bytes = blocks as usize * block_bytes;
        match IoOpcode(entry.opcode) {
            IoOpcode::FLUSH => {}
            IoOpcode::READ => {
                let mut data = Vec::new();
                for lba in lba..lba + blocks {
                    let block = self.blocks.get(&(namespace, lba)).cloned();
                    data.extend(block.unwrap_or_else(|| vec![0; block_bytes]));
                }
                let mut data = data.as_slice();
                for (at, length) in self.prp_ranges(entry, bytes) {
                    let (now, later) = data.split_at(length);
                    self.dma.at_bus(at, length).copy_from_slice(now);
                    data = later;
                }
            }
            IoOpcode::WRITE | IoOpcode::COMPARE => {
                let mut data = Vec::new();
                for (at, length) in self.prp_ranges(entry, bytes) {
                    data.extend_from_slice(self.dma.at_bus(at, length));
                }
                for (lba, block) in (lba..).zip(data.chunks_exact(block_bytes)) {
                    let known = self.blocks.get(&(namespace, lba));
                    if IoOpcode(entry.opcode) == IoOpcode::WRITE {
                        self.blocks.insert((namespace, lba), block.to_vec());
                    } else if known.is_none_or(|known| known != block) {
                        return StatusCode::COMPARE_FAILURE.into();
                    }
                }
            }
            IoOpcode::WRITE_ZEROES => {
                for lba in lba..lba + blocks {
                    self.blocks.remove(&(namespace, lba));
                }
            }
            IoOpcode::DATASET_MANAGEMENT => {
                assert!(DatasetDword11::from(entry.cdw11.get()).deallocate());
                assert_eq!(entry.cdw10.get(), 0, "one range");
                let range = self.dma.at_bus(entry.prp1.get(), 16);
                let range = DatasetRange::read_from_bytes(range).unwrap();
                let first = range.first_block.get();
                for lba in first..first + u64::from(range.blocks.get()) {
                    self.blocks.remove(&(namespace, lba));
                }
            }
            other => panic!("I/O command {other}"),
        }
        Status::SUCCESS
    }

    /// Takes, does and answers everything.
    pub fn serve(&mut self) {
        self.tick();
        for (queue, entry) in std::mem::take(&mut self.taken) {
            let status = self.execute(&entry);
            self.complete(queue, entry.command_id.get(), status, 0);
        }
    }
}
