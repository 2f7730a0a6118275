//! The helpers: what the DPU offers a program, on the agent's side of the call.
//!
//! A helper either answers at once or asks for the drive ([`ReadPlan`]) and lets the
//! invocation wait. Buffers are ranges of the program's own regions, checked here at every
//! call: a bad one is −EFAULT and nothing done. Numbers and meanings are those of
//! `programs/include/dpu.h`.

use crc::{CRC_32_ISCSI, Crc, Table};
use ebpf::verifier::{Argument, HelperSignature, Length};
use ebpf::{HelperResult, HelperSpec, Host, Memory, RegionId, Right};

use crate::limits::VECTOR_MAX;
use crate::objects::{Object, Placed};

/// `long dpu_read(object, offset, buf, len)`
pub const DPU_READ: u32 = 0x1000;
/// `long dpu_readv(vec, n)`
pub const DPU_READV: u32 = 0x1001;
/// `s64 dpu_size(object)`
pub const DPU_SIZE: u32 = 0x1008;
/// `long dpu_memcmp(a, b, len)`
pub const DPU_MEMCMP: u32 = 0x1009;
/// `long dpu_memcpy(dst, src, len)`
pub const DPU_MEMCPY: u32 = 0x100a;
/// `s64 dpu_find(hay, hay_len, needle, needle_len)`
pub const DPU_FIND: u32 = 0x100b;
/// `u32 dpu_crc32c(seed, buf, len)`
pub const DPU_CRC32C: u32 = 0x100c;
/// `u64 bpf_ktime_get_ns(void)`, as in Linux.
pub const KTIME_GET_NS: u32 = 5;
/// `u32 bpf_get_prandom_u32(void)`, as in Linux.
pub const GET_PRANDOM_U32: u32 = 7;

/// What a program may call, and which argument is the length it pays for.
pub const HELPERS: [HelperSpec; 9] = [
    HelperSpec {
        id: DPU_READ,
        name: "dpu_read",
        length_arg: Some(3),
    },
    HelperSpec {
        id: DPU_READV,
        name: "dpu_readv",
        length_arg: None,
    },
    HelperSpec {
        id: DPU_SIZE,
        name: "dpu_size",
        length_arg: None,
    },
    HelperSpec {
        id: DPU_MEMCMP,
        name: "dpu_memcmp",
        length_arg: Some(2),
    },
    HelperSpec {
        id: DPU_MEMCPY,
        name: "dpu_memcpy",
        length_arg: Some(2),
    },
    HelperSpec {
        id: DPU_FIND,
        name: "dpu_find",
        length_arg: Some(1),
    },
    HelperSpec {
        id: DPU_CRC32C,
        name: "dpu_crc32c",
        length_arg: Some(2),
    },
    HelperSpec {
        id: KTIME_GET_NS,
        name: "bpf_ktime_get_ns",
        length_arg: None,
    },
    HelperSpec {
        id: GET_PRANDOM_U32,
        name: "bpf_get_prandom_u32",
        length_arg: None,
    },
];

/// A buffer's length in bytes, in one of r1 to r5 (here counted from 1).
const fn length_in(register: u8) -> Length {
    Length::Argument {
        index: register - 1,
        unit: 1,
    }
}

/// A buffer that is read, and copied or told of.
const fn read(register: u8) -> Argument {
    Argument::Read {
        length: length_in(register),
        pointers: false,
    }
}

/// A helper as the verifier knows it; `most` is the most it returns, and the least an error.
const fn signature(id: u32, arguments: [Argument; 5], most: i64) -> HelperSignature {
    HelperSignature {
        id,
        arguments,
        result_min: -ERRNO_MAX,
        result_max: most,
    }
}

/// The greatest error number.
const ERRNO_MAX: i64 = 4095;

/// What the helpers take and return, for the verifier. It relies on it: a helper that wrote to
/// another argument, or returned another number, would make proofs false.
pub const SIGNATURES: [HelperSignature; HELPERS.len()] = {
    use Argument::{Device, Number, Read, Unused, Write};
    let vector = Read {
        length: Length::Argument {
            index: 1,
            unit: VECTOR_ENTRY_BYTES as u32,
        },
        pointers: true,
    };
    let block = Device(length_in(4));
    let none = [Unused; 5];
    [
        signature(DPU_READ, [Number, Number, block, Number, Unused], 0),
        signature(DPU_READV, [vector, Number, Unused, Unused, Unused], 0),
        signature(DPU_SIZE, [Number, Unused, Unused, Unused, Unused], i64::MAX),
        signature(DPU_MEMCMP, [read(3), read(3), Number, Unused, Unused], 1),
        signature(
            DPU_MEMCPY,
            [Write(length_in(3)), read(3), Number, Unused, Unused],
            0,
        ),
        signature(
            DPU_FIND,
            [read(2), Number, read(4), Number, Unused],
            u32::MAX as i64,
        ),
        signature(
            DPU_CRC32C,
            [Number, read(3), Number, Unused, Unused],
            u32::MAX as i64,
        ),
        HelperSignature {
            id: KTIME_GET_NS,
            arguments: none,
            result_min: i64::MIN,
            result_max: i64::MAX,
        },
        HelperSignature {
            id: GET_PRANDOM_U32,
            arguments: none,
            result_min: 0,
            result_max: u32::MAX as i64,
        },
    ]
};

/// Error numbers that helpers return, as Linux numbers them.
pub mod errno {
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

/// Bytes of one `struct dpu_vec`: object u32, len u32, offset u64, buf u64.
const VECTOR_ENTRY_BYTES: usize = 24;

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
pub struct HelperHost<'a> {
    /// The instance's objects by number; `None` where one was closed since.
    pub objects: &'a [Option<Object>],
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

impl HelperHost<'_> {
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

impl Host for HelperHost<'_> {
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
            _ => HelperResult::Unknown,
        }
    }

    fn helpers(&self) -> &[HelperSpec] {
        &HELPERS
    }

    /// A search pays for hay and needle, since both are walked, and for either more than a copy.
    fn cost_length(&self, helper: u32, args: &[u64; 5]) -> u64 {
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
