//! The memory of an invocation: named regions, each at its own addresses, each with its right.
//!
//! An address is a number with a region's tag in its upper half and an offset in its lower:
//! `((region + 1) << 32) | offset`. No native address is ever visible to a program, so the same
//! run gives the same numbers everywhere, and address 0 belongs to nothing.

use core::fmt;
use core::ops::Range;

use crate::limits::{MAPS_MAX, REGION_BYTES_MAX, REGIONS_MAX};
use crate::regions;

/// A region of an invocation's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegionId {
    /// The context that r1 points to.
    Context,
    /// The caller's arguments.
    Arguments,
    /// The reply that is being made.
    Reply,
    /// The data of a scan.
    Data,
    /// The program's own working memory, which device reads go to.
    Scratch,
    /// The stack of all frames.
    Stack,
    /// The values of a map, or globals, by the map's index.
    Map(MapIndex),
}

/// Which map of a program: a number below [`MAPS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct MapIndex(u8);

impl MapIndex {
    /// The map with this number, if there can be one.
    pub const fn new(index: u32) -> Option<MapIndex> {
        if index < MAPS_MAX as u32 {
            Some(MapIndex(index as u8))
        } else {
            None
        }
    }

    /// Its number.
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    /// What a program holds to name the map to helpers. It is no address.
    pub const fn handle(self) -> u64 {
        HANDLE | self.0 as u64
    }

    /// The map that a program names by a handle.
    pub const fn of_handle(handle: u64) -> Option<MapIndex> {
        if handle & !0xffff_ffff == HANDLE {
            MapIndex::new(handle as u32)
        } else {
            None
        }
    }
}

/// The upper half of every handle; no region has this tag.
const HANDLE: u64 = 1 << 63;

/// Regions that are no maps; those of maps follow.
const FIXED: [RegionId; REGIONS_MAX - MAPS_MAX] = [
    RegionId::Context,
    RegionId::Arguments,
    RegionId::Reply,
    RegionId::Data,
    RegionId::Scratch,
    RegionId::Stack,
];

#[rustfmt::skip]
const NAMES: [&str; REGIONS_MAX] = [
    "ctx", "args", "reply", "data", "scratch", "stack",
    "map 0", "map 1", "map 2", "map 3", "map 4", "map 5", "map 6", "map 7",
    "map 8", "map 9", "map 10", "map 11", "map 12", "map 13", "map 14", "map 15",
];

impl RegionId {
    /// Every region, by number.
    pub fn all() -> impl Iterator<Item = RegionId> {
        (0..REGIONS_MAX).filter_map(RegionId::numbered)
    }

    /// Its number, below [`REGIONS_MAX`]: what an address in it is tagged with, less one.
    #[inline(always)]
    pub const fn number(self) -> usize {
        match self {
            RegionId::Context => 0,
            RegionId::Arguments => 1,
            RegionId::Reply => 2,
            RegionId::Data => 3,
            RegionId::Scratch => 4,
            RegionId::Stack => 5,
            RegionId::Map(index) => FIXED.len() + index.0 as usize,
        }
    }

    /// The region with a number.
    pub const fn numbered(number: usize) -> Option<RegionId> {
        if number < FIXED.len() {
            return Some(FIXED[number]);
        }
        if number >= REGIONS_MAX {
            return None;
        }
        match MapIndex::new((number - FIXED.len()) as u32) {
            Some(index) => Some(RegionId::Map(index)),
            None => None,
        }
    }

    /// The region that an address lies in by its tag, whether or not it is there.
    pub const fn of(address: u64) -> Option<RegionId> {
        let number = (address >> 32).wrapping_sub(1);
        if number < REGIONS_MAX as u64 {
            RegionId::numbered(number as usize)
        } else {
            None
        }
    }

    /// The word for it in messages.
    pub const fn name(self) -> &'static str {
        NAMES[self.number()]
    }
}

/// What an access does to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Right {
    /// It reads.
    Read,
    /// It writes, and perhaps reads too.
    Write,
}

/// Why an access was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AccessReason {
    /// The address belongs to no region that is there.
    NoRegion,
    /// The range leaves the region, which has this many bytes.
    OutOfBounds {
        /// The region's length.
        region_bytes: u32,
    },
    /// The region may be read only.
    ReadOnly,
    /// The proof has the access stay in another region.
    Strayed,
}

/// An access that was refused, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccessFault {
    /// The first byte asked for.
    pub address: u64,
    /// How many bytes were asked for.
    pub len: u64,
    /// What was to be done with them.
    pub right: Right,
    /// Why not.
    pub reason: AccessReason,
}

impl fmt::Display for AccessFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.right {
            Right::Read => "read",
            Right::Write => "write",
        };
        let plural = if self.len == 1 { "" } else { "s" };
        write!(
            f,
            "{verb} of {} byte{plural} at {}",
            self.len,
            Place(self.address)
        )?;
        match self.reason {
            AccessReason::NoRegion => write!(f, ", where there is no memory"),
            AccessReason::OutOfBounds { region_bytes } => {
                write!(f, ", outside a region of {region_bytes} bytes")
            }
            AccessReason::ReadOnly => write!(f, ", which may only be read"),
            AccessReason::Strayed => write!(f, ", which is not where its pointer belongs"),
        }
    }
}

/// An address in words: the region and the offset in it.
struct Place(u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match RegionId::of(self.0) {
            Some(region) => write!(f, "{}+{:#x}", region.name(), self.0 as u32),
            None => write!(f, "address {:#x}", self.0),
        }
    }
}

#[derive(Debug)]
enum Region<'m> {
    Absent,
    Read(&'m [u8]),
    Write(&'m mut [u8]),
}

impl Region<'_> {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        match self {
            Region::Absent => &[],
            Region::Read(bytes) => bytes,
            Region::Write(bytes) => bytes,
        }
    }
}

/// The regions of one invocation.
#[derive(Debug)]
pub struct Memory<'m> {
    regions: [Region<'m>; REGIONS_MAX],
}

impl Default for Memory<'_> {
    fn default() -> Self {
        Memory::new()
    }
}

impl<'m> Memory<'m> {
    /// A memory without any region.
    #[inline]
    pub const fn new() -> Memory<'m> {
        Memory {
            regions: [const { Region::Absent }; REGIONS_MAX],
        }
    }

    /// Puts a region there that may be read only. Bytes beyond
    /// [`REGION_BYTES_MAX`] are not addressable.
    #[must_use]
    #[inline]
    pub fn with_read(mut self, region: RegionId, bytes: &'m [u8]) -> Memory<'m> {
        self.put_read(region, bytes);
        self
    }

    /// Puts a region there that may be read and written. Bytes beyond
    /// [`REGION_BYTES_MAX`] are not addressable.
    #[must_use]
    #[inline]
    pub fn with_write(mut self, region: RegionId, bytes: &'m mut [u8]) -> Memory<'m> {
        self.put_write(region, bytes);
        self
    }

    /// As [`with_read`](Memory::with_read), where the memory is.
    #[inline]
    pub fn put_read(&mut self, region: RegionId, bytes: &'m [u8]) {
        let len = bytes.len().min(REGION_BYTES_MAX);
        self.regions[region.number()] = Region::Read(&bytes[..len]);
    }

    /// As [`with_write`](Memory::with_write), where the memory is.
    #[inline]
    pub fn put_write(&mut self, region: RegionId, bytes: &'m mut [u8]) {
        let len = bytes.len().min(REGION_BYTES_MAX);
        self.regions[region.number()] = Region::Write(&mut bytes[..len]);
    }

    /// The address of a byte of a region.
    pub const fn address(region: RegionId, offset: u32) -> u64 {
        ((region.number() as u64 + 1) << 32) | offset as u64
    }

    /// The bytes of a region, empty where it is absent.
    #[inline]
    pub fn region(&self, region: RegionId) -> &[u8] {
        self.regions[region.number()].bytes()
    }

    /// The `len` bytes at `address`, to be read.
    ///
    /// # Errors
    /// The range must lie within one region. An empty range may start one past its end.
    #[inline]
    pub fn read(&self, address: u64, len: usize) -> Result<&[u8], AccessFault> {
        let (region, range) = self.range(address, len, Right::Read)?;
        self.region(region)
            .get(range)
            .ok_or_else(|| self.explain(address, len as u64, Right::Read))
    }

    /// The `len` bytes at `address`, to be written.
    ///
    /// # Errors
    /// As [`Memory::read`], and the region must be writable.
    #[inline]
    pub fn write(&mut self, address: u64, len: usize) -> Result<&mut [u8], AccessFault> {
        let (region, range) = self.range(address, len, Right::Write)?;
        let (len, right) = (len as u64, Right::Write);
        let bytes = match &mut self.regions[region.number()] {
            Region::Write(bytes) => bytes.get_mut(range),
            _ => None,
        };
        // It was located, so it is there.
        let reason = AccessReason::NoRegion;
        bytes.ok_or(AccessFault {
            address,
            len,
            right,
            reason,
        })
    }

    /// The region and offset of a range, if all of it may be used with that right.
    ///
    /// # Errors
    /// As [`Memory::read`] and [`Memory::write`].
    #[inline]
    pub fn locate(
        &self,
        address: u64,
        len: usize,
        right: Right,
    ) -> Result<(RegionId, usize), AccessFault> {
        let (region, range) = self.range(address, len, right)?;
        Ok((region, range.start))
    }

    /// As [`locate`](Memory::locate), from the first byte to the last. Where a processor speculates that a
    /// range is one that may be used which is not, it is empty: what helpers read of it is nobody's.
    #[inline]
    fn range(
        &self,
        address: u64,
        len: usize,
        right: Right,
    ) -> Result<(RegionId, Range<usize>), AccessFault> {
        let fault = || self.explain(address, len as u64, right);
        let region = RegionId::of(address).ok_or_else(fault)?;
        let offset = address as u32 as usize;
        let bytes = match &self.regions[region.number()] {
            Region::Absent => return Err(fault()),
            Region::Read(_) if right == Right::Write => return Err(fault()),
            Region::Read(bytes) => bytes.len(),
            Region::Write(bytes) => bytes.len(),
        };
        if offset > bytes || len > bytes - offset {
            return Err(fault());
        }
        Ok((region, regions::or_empty(offset, len, bytes)))
    }

    /// Copies `len` bytes from `src` to `dst`, which may overlap.
    ///
    /// # Errors
    /// As [`Memory::read`] for the source and [`Memory::write`] for the destination; then nothing
    /// is copied.
    pub fn copy(&mut self, dst: u64, src: u64, len: usize) -> Result<(), AccessFault> {
        let (src_region, from) = self.range(src, len, Right::Read)?;
        let (dst_region, to) = self.range(dst, len, Right::Write)?;
        // Both were located, so they are there.
        let (len_wanted, right, reason) = (len as u64, Right::Write, AccessReason::NoRegion);
        let fault = AccessFault {
            address: dst,
            len: len_wanted,
            right,
            reason,
        };
        if src_region == dst_region {
            let Region::Write(bytes) = &mut self.regions[dst_region.number()] else {
                return Err(fault);
            };
            bytes.copy_within(from, to.start);
            return Ok(());
        }
        let both = self
            .regions
            .get_disjoint_mut([src_region.number(), dst_region.number()]);
        let Ok([read, Region::Write(written)]) = both else {
            return Err(fault);
        };
        written[to].copy_from_slice(&read.bytes()[from]);
        Ok(())
    }

    /// `N` bytes at an address, for the interpreter: no story where they are not to be had.
    #[inline(always)]
    pub(crate) fn load<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let bytes = self.regions.get(tag_index(address))?.bytes();
        let offset = address as u32 as usize;
        bytes
            .get(offset..offset.wrapping_add(N))?
            .first_chunk::<N>()
            .copied()
    }

    /// Puts `N` bytes at an address, for the interpreter.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&mut self, address: u64, value: [u8; N]) -> Option<()> {
        let Region::Write(bytes) = self.regions.get_mut(tag_index(address))? else {
            return None;
        };
        let offset = address as u32 as usize;
        let place = bytes
            .get_mut(offset..offset.wrapping_add(N))?
            .first_chunk_mut::<N>()?;
        *place = value;
        Some(())
    }

    /// Where a region lies in the machine: its first byte, its bytes, whether it may be written.
    #[inline(always)]
    pub(crate) fn native(&mut self, region: usize) -> (*mut u8, u32, bool) {
        match self.regions.get_mut(region) {
            None | Some(Region::Absent) => (core::ptr::dangling_mut(), 0, false),
            // No region is longer than REGION_BYTES_MAX, which 32 bits hold.
            Some(Region::Read(bytes)) => (bytes.as_ptr().cast_mut(), bytes.len() as u32, false),
            Some(Region::Write(bytes)) => (bytes.as_mut_ptr(), bytes.len() as u32, true),
        }
    }

    /// Why an access that failed did.
    #[cold]
    #[inline(never)]
    pub(crate) fn explain(&self, address: u64, len: u64, right: Right) -> AccessFault {
        let reason = match self.regions.get(tag_index(address)) {
            None | Some(Region::Absent) => AccessReason::NoRegion,
            Some(Region::Read(_)) if right == Right::Write => AccessReason::ReadOnly,
            Some(region) => {
                let region_bytes = region.bytes().len() as u32;
                if u64::from(address as u32).saturating_add(len) > u64::from(region_bytes) {
                    AccessReason::OutOfBounds { region_bytes }
                } else {
                    AccessReason::Strayed
                }
            }
        };
        AccessFault {
            address,
            len,
            right,
            reason,
        }
    }
}

/// The number of the region that an address is tagged with; past the last for a tag of none.
#[inline(always)]
const fn tag_index(address: u64) -> usize {
    (address >> 32).wrapping_sub(1) as usize
}
