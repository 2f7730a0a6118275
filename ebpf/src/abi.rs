//! The ABI of `programs/include/dpu.h`, as check and verifier are told of it.
//!
//! The agent runs programs against it and the client proves them against it, so it lies where both
//! can reach it. What the helpers do is the agent's affair.

use crate::host::HelperSpec;
use crate::image::Image;
use crate::maps::MapError;
use crate::memory::RegionId;
use crate::verifier::{
    Argument, ContextLayout, ContextPointer, Environment, HelperSignature, Length, Returns,
};

/// Bytes of `struct dpu_ctx`.
pub const CONTEXT_BYTES: usize = 64;

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

/// `void *bpf_map_lookup_elem(map, key)`, as in Linux.
pub const MAP_LOOKUP_ELEM: u32 = 1;
/// `long bpf_map_update_elem(map, key, value, flags)`, as in Linux.
pub const MAP_UPDATE_ELEM: u32 = 2;
/// `long bpf_map_delete_elem(map, key)`, as in Linux.
pub const MAP_DELETE_ELEM: u32 = 3;

/// What a program may call, and which argument is the length it pays for. Helpers of maps pay for
/// their map's keys and values, whose length the host knows.
pub const HELPERS: [HelperSpec; 12] = [
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
    HelperSpec {
        id: MAP_LOOKUP_ELEM,
        name: "bpf_map_lookup_elem",
        length_arg: None,
    },
    HelperSpec {
        id: MAP_UPDATE_ELEM,
        name: "bpf_map_update_elem",
        length_arg: None,
    },
    HelperSpec {
        id: MAP_DELETE_ELEM,
        name: "bpf_map_delete_elem",
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
        returns: Returns::Number {
            min: -ERRNO_MAX,
            max: most,
        },
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
            returns: Returns::Number {
                min: i64::MIN,
                max: i64::MAX,
            },
        },
        HelperSignature {
            id: GET_PRANDOM_U32,
            arguments: none,
            returns: Returns::Number {
                min: 0,
                max: u32::MAX as i64,
            },
        },
        MAP_SIGNATURES[0],
        MAP_SIGNATURES[1],
        MAP_SIGNATURES[2],
    ]
};

/// Those of [`SIGNATURES`] that are about maps.
pub const MAP_SIGNATURES: [HelperSignature; 3] = {
    use Argument::{Map, MapKey, MapValue, Number, Unused};
    let changed = Map { changes: true };
    [
        HelperSignature {
            id: MAP_LOOKUP_ELEM,
            arguments: [Map { changes: false }, MapKey(0), Unused, Unused, Unused],
            returns: Returns::MapValue(0),
        },
        signature(
            MAP_UPDATE_ELEM,
            [changed, MapKey(0), MapValue(0), Number, Unused],
            0,
        ),
        signature(
            MAP_DELETE_ELEM,
            [changed, MapKey(0), Unused, Unused, Unused],
            0,
        ),
    ]
};

/// Bytes of one `struct dpu_vec`: object u32, len u32, offset u64, buf u64.
pub const VECTOR_ENTRY_BYTES: usize = 24;

/// What the verifier is told of `struct dpu_ctx`: where its pointers are.
pub const CONTEXT_LAYOUT: ContextLayout = ContextLayout {
    bytes: CONTEXT_BYTES as u32,
    pointers: &[
        context_pointer(0, RegionId::Arguments, false),
        context_pointer(8, RegionId::Reply, false),
        context_pointer(16, RegionId::Data, false),
        context_pointer(24, RegionId::Data, true),
    ],
};

const fn context_pointer(offset: u32, region: RegionId, end: bool) -> ContextPointer {
    ContextPointer {
        offset,
        region,
        end,
    }
}

/// What the verifier is told of a program that runs against this ABI: the same by the agent before
/// it runs one and by whoever wants to know beforehand.
///
/// # Errors
/// A map that cannot be.
pub fn environment(image: &Image<'_>) -> Result<Environment, MapError> {
    Environment::of_image(image, CONTEXT_LAYOUT, &SIGNATURES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_pays_for_the_bytes_of_its_first_buffer() {
        for (spec, signature) in HELPERS.iter().zip(&SIGNATURES) {
            assert_eq!(spec.id, signature.id);
            let lengths = signature
                .arguments
                .iter()
                .filter_map(|argument| match argument {
                    Argument::Read { length, .. }
                    | Argument::Write(length)
                    | Argument::Device(length) => Some(*length),
                    _ => None,
                });
            let first = lengths.map(|length| match length {
                // A vector's entries are few; each read pays for itself.
                Length::Argument { index, unit: 1 } => Some(index),
                Length::Argument { .. } | Length::Bytes(_) => None,
            });
            assert_eq!(
                spec.length_arg,
                first.take(1).flatten().next(),
                "{}",
                spec.name
            );
        }
    }
}
