//! I/O commands of the NVM command set (NVM §3.2).

use zerocopy::FromBytes;

use crate::spec::{
    CommandFlags, DatasetDword10, DatasetDword11, DatasetRange, IoOpcode, NAMESPACE_ALL,
    ReadWriteFlags, Status, StatusCode, SubmissionEntry,
};

use super::arena::ModelDma;
use super::controller::{Controller, Namespace, Progress, refuse, store_status};
use super::prp::{self, Run};
use super::slot::{Place, Work};
use super::store::{Buffers, StoreError, StoreOp, Submitted};

/// A block range of a namespace, as a command gives it.
#[derive(Clone, Copy, Debug)]
struct Extent {
    namespace: usize,
    offset: u64,
    bytes: u64,
}

/// SLBA of most commands: dwords 10 and 11.
fn first_block(entry: &SubmissionEntry) -> u64 {
    u64::from(entry.cdw10.get()) | u64::from(entry.cdw11.get()) << 32
}

impl Namespace {
    /// The bytes of a block range, if it lies inside.
    #[inline]
    fn bytes_of(&self, first_block: u64, blocks: u64) -> Result<(u64, u64), Status> {
        match first_block.checked_add(blocks) {
            Some(end) if end <= self.blocks => {
                Ok((first_block << self.block_shift, blocks << self.block_shift))
            }
            _ => Err(refuse(StatusCode::LBA_OUT_OF_RANGE)),
        }
    }

    fn check_writable(&self) -> Result<(), Status> {
        if self.store.read_only() {
            Err(refuse(StatusCode::WRITE_PROTECTED))
        } else {
            Ok(())
        }
    }
}

impl Controller {
    /// Begins a command, or goes on with one that its store had no room for.
    #[inline]
    pub(super) fn io(&mut self, dma: &mut ModelDma, index: u32) -> Result<Progress, Status> {
        let slot = self.slots.get(index);
        if slot.work == Work::Parts {
            return self.go_on_with_parts(index);
        }
        let flags = CommandFlags::from_bits(slot.entry.flags);
        // No fused operations and no SGLs (Identify FUSES and SGLS are 0).
        if flags.fused() != 0 || flags.data_pointer_kind() != 0 {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        match IoOpcode(slot.entry.opcode) {
            IoOpcode::READ | IoOpcode::WRITE => self.transfer(dma, index),
            IoOpcode::COMPARE => self.compare(dma, index),
            IoOpcode::FLUSH => self.flush(index),
            IoOpcode::WRITE_ZEROES => self.write_zeroes(index),
            IoOpcode::DATASET_MANAGEMENT => self.dataset_management(dma, index),
            _ => Err(refuse(StatusCode::INVALID_OPCODE)),
        }
    }

    /// How many namespaces are attached: the first ones.
    #[inline]
    pub(super) fn attached(&self) -> usize {
        self.namespaces.len().saturating_sub(self.faults.detached)
    }

    /// The namespace index of an NSID (Base §3.2.1): there are as many as NN says.
    #[inline]
    pub(super) fn namespace_index(&self, id: u32) -> Result<usize, Status> {
        match (id as usize).checked_sub(1) {
            Some(index) if index < self.attached() => Ok(index),
            _ => Err(refuse(StatusCode::INVALID_NAMESPACE_OR_FORMAT)),
        }
    }

    /// The same for a command that is of one namespace: all of them at once is a field it does not take
    /// (Base §3.3.3.1, Figure 87).
    #[inline]
    fn one_namespace(&self, id: u32) -> Result<usize, Status> {
        if id == NAMESPACE_ALL {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        self.namespace_index(id)
    }

    /// The extent of Read, Write, Compare and Write Zeroes.
    #[inline]
    fn extent(&self, entry: &SubmissionEntry) -> Result<Extent, Status> {
        let namespace = self.one_namespace(entry.namespace.get())?;
        let blocks = u64::from(ReadWriteFlags::from_bits(entry.cdw12.get()).blocks_0()) + 1;
        let (offset, bytes) = self.namespaces[namespace].bytes_of(first_block(entry), blocks)?;
        Ok(Extent {
            namespace,
            offset,
            bytes,
        })
    }

    /// The extent of a command with data, whose buffers go into the slot.
    #[inline]
    fn buffers(&mut self, dma: &ModelDma, index: u32) -> Result<Extent, Status> {
        let slot = self.slots.get(index);
        let extent = self.extent(&slot.entry)?;
        // MDTS (Base §5.17.2.1, byte 77): Invalid Field.
        if extent.bytes > self.setup.transfer_bytes_max {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        let slot = self.slots.get_mut(index);
        slot.namespace = extent.namespace;
        let (prp1, prp2) = (slot.entry.prp1.get(), slot.entry.prp2.get());
        prp::walk(dma, prp1, prp2, extent.bytes as usize, &mut slot.runs)?;
        Ok(extent)
    }

    /// Finds the buffers of a command put off, where it has any.
    pub(super) fn resolve_transfer(&mut self, dma: &ModelDma, index: u32) -> Result<(), Status> {
        match IoOpcode(self.slots.get(index).entry.opcode) {
            IoOpcode::READ | IoOpcode::WRITE | IoOpcode::COMPARE => {
                self.buffers(dma, index).map(drop)
            }
            _ => Err(refuse(StatusCode::INVALID_OPCODE)),
        }
    }

    /// Whether a write must be durable when it is done: FUA, or the cache is off (NVM §3.2.6,
    /// Base §5.27.1.4).
    #[inline]
    fn durable(&self, flags: ReadWriteFlags) -> bool {
        flags.force_unit_access() || !self.features.write_cache()
    }

    /// Whether a Read or Compare has yet to have its blocks committed: with FUA they are read from the
    /// medium, not from a volatile cache (NVM §3.2.1, §3.2.4).
    #[inline]
    fn must_commit(&self, index: u32) -> bool {
        let slot = self.slots.get(index);
        let flags = ReadWriteFlags::from_bits(slot.entry.cdw12.get());
        let volatile = || self.namespaces[slot.namespace].store.volatile();
        flags.force_unit_access() && slot.part == 0 && volatile()
    }

    /// Flushes the command's namespace, then begins it anew.
    fn commit(&mut self, dma: &mut ModelDma, index: u32) -> Result<Progress, Status> {
        let slot = self.slots.get_mut(index);
        slot.work = Work::Commit;
        let store = &mut self.namespaces[slot.namespace].store;
        match store.submit(index.into(), StoreOp::Flush, &mut Buffers::empty()) {
            Submitted::Done(Ok(())) => self.committed(dma, index),
            Submitted::Done(Err(error)) => Err(self.store_error(error, index)),
            Submitted::Pending => self.park(dma, index),
            Submitted::Busy => Ok(Progress::Busy),
        }
    }

    fn committed(&mut self, dma: &mut ModelDma, index: u32) -> Result<Progress, Status> {
        self.slots.get_mut(index).part = 1;
        self.io(dma, index)
    }

    /// Read and Write (NVM §3.2.4, §3.2.6). Limited Retry changes nothing; without metadata, Protection
    /// Information is ignored.
    #[inline]
    fn transfer(&mut self, dma: &mut ModelDma, index: u32) -> Result<Progress, Status> {
        let entry = &self.slots.get(index).entry;
        let read = IoOpcode(entry.opcode) == IoOpcode::READ;
        let flags = ReadWriteFlags::from_bits(entry.cdw12.get());
        // Directives are not supported (Identify OACS bit 5).
        if !read && flags.directive() != 0 {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        let Extent {
            namespace,
            offset,
            bytes,
        } = self.buffers(dma, index)?;
        if read && self.must_commit(index) {
            return self.commit(dma, index);
        }
        let op = if read {
            StoreOp::Read { offset }
        } else {
            self.namespaces[namespace].check_writable()?;
            StoreOp::Write {
                offset,
                durable: self.durable(flags),
            }
        };
        let slot = self.slots.get_mut(index);
        slot.work = Work::Transfer;
        let mut buffers = Buffers::new(dma.device_mut(), &slot.runs);
        match self.namespaces[namespace]
            .store
            .submit(index.into(), op, &mut buffers)
        {
            Submitted::Done(Ok(())) => {
                if read {
                    dma.wrote(&slot.runs);
                }
                self.count(read, bytes);
                Ok(Progress::Done(0))
            }
            Submitted::Done(Err(error)) => Err(self.store_error(error, index)),
            Submitted::Pending => self.park(dma, index),
            Submitted::Busy => Ok(Progress::Busy),
        }
    }

    /// Compare (NVM §3.2.1).
    fn compare(&mut self, dma: &mut ModelDma, index: u32) -> Result<Progress, Status> {
        let Extent {
            namespace,
            offset,
            bytes,
        } = self.buffers(dma, index)?;
        if self.must_commit(index) {
            return self.commit(dma, index);
        }
        let slot = self.slots.get_mut(index);
        slot.work = Work::Compare;
        self.scratch.clear();
        self.scratch.resize(bytes as usize, 0);
        let whole = [Run::new(0..bytes as usize)];
        let mut buffers = Buffers::new(&mut self.scratch, &whole);
        let op = StoreOp::Read { offset };
        match self.namespaces[namespace]
            .store
            .submit(index.into(), op, &mut buffers)
        {
            Submitted::Done(Ok(())) => {
                let same = Buffers::new(dma.device_mut(), &slot.runs).equals(&self.scratch);
                self.count(true, bytes);
                if same {
                    Ok(Progress::Done(0))
                } else {
                    Err(Status::new(StatusCode::COMPARE_FAILURE))
                }
            }
            Submitted::Done(Err(error)) => Err(self.store_error(error, index)),
            Submitted::Pending => self.park(dma, index),
            Submitted::Busy => Ok(Progress::Busy),
        }
    }

    /// Flush (Base §7.1): of one namespace, or of all.
    fn flush(&mut self, index: u32) -> Result<Progress, Status> {
        let id = self.slots.get(index).entry.namespace.get();
        let first = if id == NAMESPACE_ALL {
            0
        } else {
            self.namespace_index(id)?
        };
        let slot = self.slots.get_mut(index);
        slot.namespace = first;
        slot.work = Work::Parts;
        self.go_on_with_parts(index)
    }

    /// Write Zeroes (NVM §3.2.8). It moves no data, so MDTS does not bound it.
    fn write_zeroes(&mut self, index: u32) -> Result<Progress, Status> {
        let extent = self.extent(&self.slots.get(index).entry)?;
        self.namespaces[extent.namespace].check_writable()?;
        let slot = self.slots.get_mut(index);
        slot.namespace = extent.namespace;
        slot.work = Work::Parts;
        self.go_on_with_parts(index)
    }

    /// Dataset Management (NVM §3.2.3): Deallocate is carried out, hints are not.
    fn dataset_management(&mut self, dma: &mut ModelDma, index: u32) -> Result<Progress, Status> {
        let entry = &self.slots.get(index).entry;
        let ranges = usize::from(DatasetDword10::from_bits(entry.cdw10.get()).ranges_0()) + 1;
        let deallocate = DatasetDword11::from_bits(entry.cdw11.get()).deallocate();
        let namespace = self.one_namespace(entry.namespace.get())?;
        let slot = self.slots.get_mut(index);
        let (prp1, prp2) = (slot.entry.prp1.get(), slot.entry.prp2.get());
        prp::walk(
            dma,
            prp1,
            prp2,
            ranges * size_of::<DatasetRange>(),
            &mut slot.runs,
        )?;
        self.scratch.clear();
        self.scratch.resize(ranges * size_of::<DatasetRange>(), 0);
        Buffers::new(dma.device_mut(), &slot.runs).copy_to(&mut self.scratch);
        slot.namespace = namespace;
        slot.ranges.clear();
        let all = self.scratch.chunks_exact(size_of::<DatasetRange>());
        slot.ranges
            .extend(all.filter_map(|bytes| DatasetRange::read_from_bytes(bytes).ok()));
        // All are checked before any is touched.
        let namespace = &self.namespaces[namespace];
        for range in &slot.ranges {
            namespace.bytes_of(range.first_block.get(), range.blocks.get().into())?;
        }
        if !deallocate {
            return Ok(Progress::Done(0));
        }
        namespace.check_writable()?;
        slot.work = Work::Parts;
        self.go_on_with_parts(index)
    }

    /// Part `part` of a command made of several: where, and what. `None` after the last.
    fn part(&self, index: u32, part: usize) -> Option<(usize, StoreOp)> {
        let slot = self.slots.get(index);
        match IoOpcode(slot.entry.opcode) {
            IoOpcode::FLUSH => {
                let all = slot.entry.namespace.get() == NAMESPACE_ALL;
                let parts = if all { self.namespaces.len() } else { 1 };
                (part < parts).then_some((slot.namespace + part, StoreOp::Flush))
            }
            IoOpcode::WRITE_ZEROES => {
                let Extent {
                    namespace,
                    offset,
                    bytes,
                } = self.extent(&slot.entry).ok()?;
                let flags = ReadWriteFlags::from_bits(slot.entry.cdw12.get());
                let durable = self.durable(flags);
                (part == 0).then_some((
                    namespace,
                    StoreOp::Zero {
                        offset,
                        bytes,
                        durable,
                    },
                ))
            }
            _ => {
                let range = slot.ranges.get(part)?;
                let namespace = &self.namespaces[slot.namespace];
                let (first_block, blocks) = (range.first_block.get(), range.blocks.get());
                let (offset, bytes) = namespace.bytes_of(first_block, blocks.into()).ok()?;
                Some((
                    slot.namespace,
                    StoreOp::Zero {
                        offset,
                        bytes,
                        durable: false,
                    },
                ))
            }
        }
    }

    fn go_on_with_parts(&mut self, index: u32) -> Result<Progress, Status> {
        while let Some((namespace, op)) = self.part(index, self.slots.get(index).part) {
            let namespace = &mut self.namespaces[namespace];
            match namespace
                .store
                .submit(index.into(), op, &mut Buffers::empty())
            {
                Submitted::Done(Ok(())) => self.slots.get_mut(index).part += 1,
                Submitted::Done(Err(error)) => return Err(self.store_error(error, index)),
                Submitted::Busy => return Ok(Progress::Busy),
                Submitted::Pending => {
                    namespace.pending += 1;
                    self.slots.put(index, Place::Store);
                    return Ok(Progress::Waits);
                }
            }
        }
        Ok(Progress::Done(0))
    }

    /// A command whose operation its store has now finished.
    pub(super) fn after_store(
        &mut self,
        dma: &mut ModelDma,
        index: u32,
    ) -> Result<Progress, Status> {
        let slot = self.slots.get_mut(index);
        match slot.work {
            Work::Commit => return self.committed(dma, index),
            Work::Parts => {
                slot.part += 1;
                return self.go_on_with_parts(index);
            }
            Work::New | Work::Transfer | Work::Compare => {}
        }
        let read = IoOpcode(slot.entry.opcode) != IoOpcode::WRITE;
        let bytes = slot.runs.iter().map(Run::bytes).sum::<usize>() as u64;
        self.count(read, bytes);
        Ok(Progress::Done(0))
    }

    /// A command whose store works on it.
    fn park(&mut self, dma: &mut ModelDma, index: u32) -> Result<Progress, Status> {
        self.slots.put(index, Place::Store);
        let namespace = self.slots.get(index).namespace;
        self.namespaces[namespace].pending += 1;
        self.keep_held(dma, index);
        Ok(Progress::Waits)
    }

    fn store_error(&mut self, error: StoreError, index: u32) -> Status {
        self.health.degraded |= error == StoreError::Failed;
        store_status(error, &self.slots.get(index).entry)
    }

    #[inline]
    fn count(&mut self, read: bool, bytes: u64) {
        let health = &mut self.health;
        if read {
            health.reads += 1;
            health.read_bytes += bytes;
        } else {
            health.writes += 1;
            health.written_bytes += bytes;
        }
    }
}
