//! The NVM command set: command dwords of I/O commands and Dataset Management ranges.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// CDW12 of Read, Write, Compare and Write Zeroes (NVM §3.2.1, §3.2.4, §3.2.6, §3.2.8).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReadWriteFlags {
    /// NLB: logical blocks, 0's based.
    pub blocks_0: u16,
    #[bits(4)]
    __: u8,
    /// DTYPE: directive type (Write only).
    #[bits(4)]
    pub directive: u8,
    /// STC: storage tag check.
    pub storage_tag_check: bool,
    /// DEAC: Write Zeroes asks to deallocate.
    pub deallocate: bool,
    /// PRINFO: protection information.
    #[bits(4)]
    pub protection: u8,
    /// FUA: force unit access, to the medium and past any volatile cache.
    pub force_unit_access: bool,
    /// LR: limited retry.
    pub limited_retry: bool,
}

/// CDW10 of Dataset Management (NVM §3.2.3, Figure 39).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DatasetDword10 {
    /// NR: ranges, 0's based; at most 256.
    pub ranges_0: u8,
    #[bits(24)]
    __: u32,
}

/// CDW11 of Dataset Management (NVM §3.2.3, Figure 40).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct DatasetDword11 {
    /// IDR: optimise for reading as one.
    pub integral_read: bool,
    /// IDW: optimise for writing as one.
    pub integral_write: bool,
    /// AD: deallocate the ranges.
    pub deallocate: bool,
    #[bits(29)]
    __: u32,
}

/// Most ranges of one Dataset Management command.
pub const DATASET_RANGES_MAX: usize = 256;

/// One range of Dataset Management (NVM §3.2.3, Figure 41).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct DatasetRange {
    /// Hints about access.
    pub attributes: U32,
    /// Logical blocks (not 0's based).
    pub blocks: U32,
    /// First logical block.
    pub first_block: U64,
}

const _: () = assert!(size_of::<DatasetRange>() == 16);
