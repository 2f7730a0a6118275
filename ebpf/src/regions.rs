//! The regions of an invocation as native addresses, for the engines that reach memory by pointer.
//!
//! A [`RegionTable`] is drawn from a borrowed [`Memory`] and is good until that memory is used by
//! other means; then it is drawn anew. It finds places and touches none; who reads or writes at
//! one says himself why he may.
//!
//! The module allows `unsafe` for an index without a check, and for one empty line of assembly,
//! which keeps the compiler from reasoning away a mask that only speculation needs.
#![allow(unsafe_code)]

use core::hint::select_unpredictable;
use core::ops::Range;

use crate::access::Allowed;
use crate::limits::REGIONS_MAX;
use crate::memory::Memory;

/// Base addresses and lengths of all regions, by number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegionTable {
    /// The first byte of each region; of one that is absent, no address of anything.
    base: [*mut u8; REGIONS_MAX],
    /// Bytes that may be read; 0 where a region is absent.
    read_len: [u32; REGIONS_MAX],
    /// Bytes that may be written; 0 where a region is absent or may be read only.
    write_len: [u32; REGIONS_MAX],
}

impl RegionTable {
    /// The regions as they lie now. The table is void once `memory` is used again.
    #[must_use]
    #[inline]
    pub(crate) fn new(memory: &mut Memory<'_>) -> RegionTable {
        let mut table = RegionTable {
            base: [core::ptr::dangling_mut(); REGIONS_MAX],
            read_len: [0; REGIONS_MAX],
            write_len: [0; REGIONS_MAX],
        };
        for region in 0..REGIONS_MAX {
            let (base, len, writable) = memory.native(region);
            table.base[region] = base;
            table.read_len[region] = len;
            table.write_len[region] = if writable { len } else { 0 };
        }
        table
    }

    /// The place of an access of `SIZE` bytes at a program's address, if a region that is
    /// [allowed](crate::Allowed) holds all of it and grants the right. With `MASKED`, what the machine speculates about an access that is
    /// refused stays inside some region's first bytes.
    #[must_use]
    #[inline(always)]
    pub(crate) fn guarded<const SIZE: u32, const WRITE: bool, const MASKED: bool>(
        &self,
        address: u64,
        allowed: u8,
    ) -> Option<*mut u8> {
        let region = (address >> 32).wrapping_sub(1);
        if region >= REGIONS_MAX as u64 || !Allowed::admits(allowed, region) {
            return None;
        }
        let mut region = region as usize;
        if MASKED {
            region = hide(region as u64) as usize;
            region = select_unpredictable(region < REGIONS_MAX, region, 0);
        }
        let offset = address & 0xffff_ffff;
        let len = u64::from(self.lengths::<WRITE>()[region]);
        if offset + u64::from(SIZE) > len {
            return None;
        }
        let offset = clamp::<SIZE, MASKED>(offset, len);
        Some(self.base[region].wrapping_add(offset as usize))
    }

    /// The place of an access that was proved to lie inside a region and to have the right: only
    /// the address's lower half is looked at. With `MASKED`, an offset beyond the region, which
    /// only speculation can bring about, becomes 0.
    ///
    /// # Safety
    /// `region` is below `REGIONS_MAX`. (The place is a number so far; whoever uses it says why he
    /// may.)
    #[must_use]
    #[inline(always)]
    pub(crate) unsafe fn proved<const SIZE: u32, const WRITE: bool, const MASKED: bool>(
        &self,
        region: usize,
        address: u64,
    ) -> *mut u8 {
        // SAFETY: the caller vouches for the number.
        let (base, len) = unsafe {
            (
                *self.base.get_unchecked(region),
                *self.lengths::<WRITE>().get_unchecked(region),
            )
        };
        let offset = clamp::<SIZE, MASKED>(address & 0xffff_ffff, u64::from(len));
        base.wrapping_add(offset as usize)
    }

    /// What a proved load has read at an address, or 0 by a conditional move where it lies beyond
    /// the region, which only speculation can bring about. So nothing that is computed of a value
    /// depends on what lies there, and the load does not wait for the comparison.
    ///
    /// # Safety
    /// As [`proved`](RegionTable::proved).
    #[must_use]
    #[inline(always)]
    pub(crate) unsafe fn or_nothing(
        &self,
        region: usize,
        address: u64,
        bytes: u32,
        value: u64,
    ) -> u64 {
        // SAFETY: the caller vouches for the number.
        let len = unsafe { *self.read_len.get_unchecked(region) };
        let offset = hide(address & 0xffff_ffff);
        select_unpredictable(offset + u64::from(bytes) <= u64::from(len), hide(value), 0)
    }

    #[inline(always)]
    const fn lengths<const WRITE: bool>(&self) -> &[u32; REGIONS_MAX] {
        if WRITE {
            &self.write_len
        } else {
            &self.read_len
        }
    }
}

/// An offset, or 0 by a conditional move where the access would not end within `len` bytes.
#[inline(always)]
fn clamp<const SIZE: u32, const MASKED: bool>(offset: u64, len: u64) -> u64 {
    if MASKED {
        let offset = hide(offset);
        select_unpredictable(offset + u64::from(SIZE) <= len, offset, 0)
    } else {
        offset
    }
}

/// A range of a region's bytes, or by conditional moves an empty one where it would not end within
/// them.
#[inline(always)]
pub(crate) fn or_empty(offset: usize, len: usize, bytes: usize) -> Range<usize> {
    let (offset, len) = (hide(offset as u64) as usize, hide(len as u64) as usize);
    let end = offset.wrapping_add(len);
    let inside = end <= bytes && end >= offset;
    let start = select_unpredictable(inside, offset, 0);
    start..select_unpredictable(inside, end, 0)
}

/// The same number, of which the compiler knows nothing any more. On machines other than the two
/// that are named, it may know.
#[inline(always)]
fn hide(number: u64) -> u64 {
    #[cfg(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri)))]
    {
        let mut hidden = number;
        // SAFETY: there is no instruction in it; it touches neither memory, stack nor flags.
        unsafe {
            core::arch::asm!("/* {0} */", inout(reg) hidden, options(pure, nomem, nostack, preserves_flags));
        }
        hidden
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), not(miri))))]
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{RegionId, Right};

    /// Every access around every edge is granted as `Memory` grants it, at the same place.
    #[test]
    fn it_grants_what_the_memory_grants() {
        let (arguments, mut scratch) = ([0; 24], [0; 40]);
        let starts = [
            (RegionId::Arguments, arguments.as_ptr().addr()),
            (RegionId::Scratch, scratch.as_ptr().addr()),
        ];
        let mut memory = Memory::new()
            .with_read(RegionId::Arguments, &arguments)
            .with_write(RegionId::Scratch, &mut scratch);
        let table = RegionTable::new(&mut memory);
        let (mut granted, mut refused) = (0, 0);
        for tag in (0..=REGIONS_MAX as u64 + 2).chain([u64::from(u32::MAX)]) {
            for offset in (0..48).chain([0x7fff_ffff, 0xffff_fff8, 0xffff_ffff]) {
                let address = tag << 32 | offset;
                for (right, plain, masked) in [
                    (
                        Right::Read,
                        table.guarded::<8, false, false>(address, 0),
                        table.guarded::<8, false, true>(address, 0),
                    ),
                    (
                        Right::Write,
                        table.guarded::<8, true, false>(address, 0),
                        table.guarded::<8, true, true>(address, 0),
                    ),
                ] {
                    let expected = memory.locate(address, 8, right).ok().map(|(region, at)| {
                        let start = starts.iter().find(|(other, _)| *other == region);
                        start.expect("it is one of the two").1 + at
                    });
                    assert_eq!(plain.map(<*mut u8>::addr), expected, "{address:#x}");
                    assert_eq!(masked, plain, "{address:#x}");
                    let count = if expected.is_some() {
                        &mut granted
                    } else {
                        &mut refused
                    };
                    *count += 1;
                }
            }
        }
        assert_eq!(granted, 17 + 33 + 33);
        assert!(refused > 500);
    }

    #[test]
    fn a_masked_offset_does_not_leave_its_region() {
        let mut scratch = [0; 40];
        let mut memory = Memory::new().with_write(RegionId::Scratch, &mut scratch);
        let table = RegionTable::new(&mut memory);
        let scratch_number = RegionId::Scratch.number();
        let base = table.base[scratch_number];
        let at = |offset| Memory::address(RegionId::Scratch, offset);
        for (offset, expected) in [(0, 0), (32, 32), (33, 0), (40, 0), (u32::MAX, 0)] {
            // SAFETY: it is a region's number.
            let place = unsafe { table.proved::<8, true, true>(scratch_number, at(offset)) };
            assert_eq!(place.addr() - base.addr(), expected, "{offset}");
        }
        // SAFETY: it is a region's number.
        let place = unsafe { table.proved::<4, false, false>(scratch_number, at(36)) };
        assert_eq!(place.addr() - base.addr(), 36);
    }
}
