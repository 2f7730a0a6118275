//! The helpers: what the DPU offers a program, on the agent's side of the call.
//!
//! A helper either answers at once or asks for the drive ([`ReadPlan`]) and lets the
//! invocation wait. Buffers are ranges of the program's own regions, checked here at every
//! call: a bad one is −EFAULT and nothing done. Numbers and meanings are those of
//! `programs/include/dpu.h`; what the verifier is told of them is in [`ebpf::abi`].

use crc::{CRC_32_ISCSI, Crc, Table};
use ebpf::abi::VECTOR_ENTRY_BYTES;
pub use ebpf::abi::{
    DPU_CRC32C, DPU_FIND, DPU_MEMCMP, DPU_MEMCPY, DPU_READ, DPU_READV, DPU_SIZE, GET_PRANDOM_U32,
    HELPERS, KTIME_GET_NS, MAP_DELETE_ELEM, MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, SIGNATURES,
};
use ebpf::{HelperResult, HelperSpec, Host, Memory, RegionId, Right};

use crate::limits::VECTOR_MAX;
use crate::maps::{self, MapView};
use crate::objects::{Object, Placed};

/// Error numbers that helpers return, as Linux numbers them.
pub mod errno {
    /// A map that the program may only read.
    pub const EPERM: i64 = 1;
    /// No such entry.
    pub const ENOENT: i64 = 2;
    /// The drive failed.
    pub const EIO: i64 = 5;
    /// No such object.
    pub const EBADF: i64 = 9;
    /// Not a buffer of the program.
    pub const EFAULT: i64 = 14;
    /// A bad argument.
    pub const EINVAL: i64 = 22;
    /// Not wholly inside the object.
    pub const ERANGE: i64 = 34;
}

/// One range to read into scratch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedRead {
    /// Where on the drive.
    pub placed: Placed,
    /// Where in scratch, bytes from its start.
    pub scratch_offset: u32,
}

/// What a waiting helper asked the drive for.
pub type ReadPlan = heapless::Vec<PlannedRead, VECTOR_MAX>;

/// The agent as one slice of one program sees it.
#[derive(Debug)]
pub struct HelperHost<'a, 'm> {
    /// The instance's objects by number; `None` where one was closed since.
    pub objects: &'a [Option<Object>],
    /// The instance's maps by number; their values are in the program's memory.
    pub maps: &'a mut [MapView<'m>],
    /// The turn's time, microseconds.
    pub now_us: u64,
    /// The invocation's random state; never 0.
    pub random: &'a mut u64,
    /// Filled when a helper waits for the drive.
    pub plan: &'a mut ReadPlan,
}

static CRC_32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// How much dearer than copying a byte it is to look for one: a search for a long needle takes
/// up to 1.7 ns a byte of hay and needle.
const FIND_WEIGHT: u64 = 8;

type Answer = Result<i64, i64>;

impl HelperHost<'_, '_> {
    fn object(&self, number: u64) -> Result<&Object, i64> {
        let number = usize::try_from(number).map_err(|_| errno::EBADF)?;
        self.objects
            .get(number)
            .and_then(Option::as_ref)
            .ok_or(errno::EBADF)
    }

    fn plan_read(
        &mut self,
        object: u64,
        offset: u64,
        buffer: u64,
        length: u64,
        memory: &Memory<'_>,
    ) -> Result<(), i64> {
        let length = u32::try_from(length).map_err(|_| errno::EFAULT)?;
        let placed = self
            .object(object)?
            .place(offset, length)
            .ok_or(errno::ERANGE)?;
        let (region, at) = memory
            .locate(buffer, length as usize, Right::Write)
            .map_err(|_| errno::EFAULT)?;
        if region != RegionId::Scratch {
            return Err(errno::EFAULT);
        }
        let scratch_offset = u32::try_from(at).map_err(|_| errno::EFAULT)?;
        self.plan
            .push(PlannedRead {
                placed,
                scratch_offset,
            })
            .map_err(|_| errno::EINVAL)
    }

    fn read(&mut self, args: [u64; 5], memory: &Memory<'_>) -> HelperResult {
        let [object, offset, buffer, length, _] = args;
        // `__u32 len` of the prototype: the upper half of the register means nothing.
        let length = u64::from(length as u32);
        if length == 0 {
            return answer(self.object(u64::from(object as u32)).map(|_| 0));
        }
        self.plan.clear();
        match self.plan_read(u64::from(object as u32), offset, buffer, length, memory) {
            Ok(()) => HelperResult::Wait,
            Err(error) => HelperResult::Return(-error),
        }
    }

    fn read_vector(&mut self, args: [u64; 5], memory: &Memory<'_>) -> HelperResult {
        let [vector, count, ..] = args;
        let count = count as u32 as usize;
        if count > VECTOR_MAX {
            return HelperResult::Return(-errno::EINVAL);
        }
        self.plan.clear();
        let Ok(bytes) = memory.read(vector, count * VECTOR_ENTRY_BYTES) else {
            return HelperResult::Return(-errno::EFAULT);
        };
        // Copied once, then checked: what the program does to its vector later changes
        // nothing.
        let mut copy = [0; VECTOR_MAX * VECTOR_ENTRY_BYTES];
        copy[..bytes.len()].copy_from_slice(bytes);
        for entry in copy[..count * VECTOR_ENTRY_BYTES].chunks_exact(VECTOR_ENTRY_BYTES) {
            let object = u64::from(u32_at(entry, 0));
            let length = u64::from(u32_at(entry, 4));
            if length == 0 {
                continue;
            }
            let (offset, buffer) = (u64_at(entry, 8), u64_at(entry, 16));
            if let Err(error) = self.plan_read(object, offset, buffer, length, memory) {
                self.plan.clear();
                return HelperResult::Return(-error);
            }
        }
        if self.plan.is_empty() {
            HelperResult::Return(0)
        } else {
            HelperResult::Wait
        }
    }

    fn next_random(&mut self) -> u32 {
        // xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift
        // generators, scrambled", 2016.
        let mut x = *self.random;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        *self.random = x;
        (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}

impl Host for HelperHost<'_, '_> {
    fn call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult {
        let [a, b, c, d, _] = args;
        match helper {
            DPU_READ => self.read(args, memory),
            DPU_READV => self.read_vector(args, memory),
            DPU_SIZE => answer(
                self.object(u64::from(a as u32))
                    .map(|object| i64::try_from(object.length_bytes).unwrap_or(i64::MAX)),
            ),
            DPU_MEMCMP => answer(compare(memory, a, b, c as u32)),
            DPU_MEMCPY => answer(copy(memory, a, b, c as u32)),
            DPU_FIND => answer(find(memory, a, b as u32, c, d as u32)),
            DPU_CRC32C => answer(crc32c(memory, a as u32, b, c as u32)),
            KTIME_GET_NS => HelperResult::Return(self.now_us.saturating_mul(1_000) as i64),
            GET_PRANDOM_U32 => HelperResult::Return(i64::from(self.next_random())),
            MAP_LOOKUP_ELEM => {
                HelperResult::Return(maps::lookup(self.maps, a, b, memory).cast_signed())
            }
            MAP_UPDATE_ELEM => answer(maps::update(self.maps, args, memory).map(|()| 0)),
            MAP_DELETE_ELEM => answer(maps::delete(self.maps, a, b, memory).map(|()| 0)),
            _ => HelperResult::Unknown,
        }
    }

    fn helpers(&self) -> &[HelperSpec] {
        &HELPERS
    }

    /// A search pays for hay and needle, since both are walked, and for either more than a copy.
    /// What is done to a map pays for its key, and an update for its value.
    fn cost_length(&self, helper: u32, args: &[u64; 5]) -> u64 {
        if let MAP_LOOKUP_ELEM | MAP_UPDATE_ELEM | MAP_DELETE_ELEM = helper {
            return maps::cost_bytes(self.maps, args[0], helper == MAP_UPDATE_ELEM);
        }
        let spec = HELPERS.iter().find(|spec| spec.id == helper);
        let length = spec.map_or(0, |spec| spec.length(args));
        if helper == DPU_FIND {
            let needle = u64::from(args[3] as u32);
            return (length + needle) * FIND_WEIGHT;
        }
        length
    }
}

fn answer(answer: Answer) -> HelperResult {
    HelperResult::Return(match answer {
        Ok(value) => value,
        Err(error) => -error,
    })
}

fn compare(memory: &Memory<'_>, a: u64, b: u64, length: u32) -> Answer {
    let a = memory.read(a, length as usize).map_err(|_| errno::EFAULT)?;
    let b = memory.read(b, length as usize).map_err(|_| errno::EFAULT)?;
    Ok(match a.cmp(b) {
        core::cmp::Ordering::Less => -1,
        core::cmp::Ordering::Equal => 0,
        core::cmp::Ordering::Greater => 1,
    })
}

fn copy(memory: &mut Memory<'_>, to: u64, from: u64, length: u32) -> Answer {
    memory
        .copy(to, from, length as usize)
        .map_err(|_| errno::EFAULT)?;
    Ok(0)
}

fn find(memory: &Memory<'_>, hay: u64, hay_length: u32, needle: u64, length: u32) -> Answer {
    let hay = memory
        .read(hay, hay_length as usize)
        .map_err(|_| errno::EFAULT)?;
    let needle = memory
        .read(needle, length as usize)
        .map_err(|_| errno::EFAULT)?;
    if needle.len() > hay.len() {
        return Err(errno::ENOENT);
    }
    // Linear in the lengths that were paid for, whatever the bytes are (two-way search).
    memchr::memmem::find(hay, needle)
        .map(|at| at as i64)
        .ok_or(errno::ENOENT)
}

fn crc32c(memory: &Memory<'_>, seed: u32, bytes: u64, length: u32) -> Answer {
    let bytes = memory
        .read(bytes, length as usize)
        .map_err(|_| errno::EFAULT)?;
    // `seed` is the checksum of what came before, 0 where nothing did. The register of the
    // algorithm is its complement, and the crate takes it in unreflected order.
    let mut digest = CRC_32C.digest_with_initial((!seed).reverse_bits());
    digest.update(bytes);
    Ok(i64::from(digest.finalize()))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |it| u32::from_le_bytes(*it))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |it| u64::from_le_bytes(*it))
}
