//! What native code works on: read and written by field offset.
#![allow(unsafe_code)] // It fills in only what a program will read of the regions.

use core::mem::MaybeUninit;

use crate::limits::{REGIONS_MAX, STACK_BYTES};
use crate::memory::{Memory, RegionId};
use crate::state::Frame;

/// An invocation while native code runs it. What is used most comes first, where offsets are short.
#[repr(C)]
pub(super) struct Machine {
    /// r0 to r10, and what else the state has. r10 is not kept up to date.
    pub(super) r: [u64; 16],
    /// What the slice has left.
    pub(super) fuel: i64,
    /// The native address of the current frame's end, if the program wants it.
    pub(super) frame_end: u64,
    /// Where the next local call puts its frame.
    pub(super) frame: *mut Frame,
    /// Frames that have been pushed.
    pub(super) depth: u32,
    /// Why native code came back, see [`Exit`](super::exit::Exit).
    pub(super) exit: u32,
    /// A number that belongs to it.
    pub(super) detail: u64,
    /// Always 0.
    pub(super) zero: u64,
    /// The slot that was entered, or returned to, last.
    pub(super) pc: u32,
    /// The program's slots.
    pub(super) slots: u32,
    /// Where the code begins.
    pub(super) code: *const u8,
    /// For each slot, and one behind the last, where its code begins, from `code`.
    pub(super) table: *const u32,
    /// The regions as they lie now.
    pub(super) regions: MaybeUninit<Regions>,
}

/// All regions, by number.
#[repr(C)]
pub(super) struct Regions {
    /// Native address of the first byte.
    pub(super) base: [u64; REGIONS_MAX],
    /// What an address in the region is added to, to get the native one.
    pub(super) delta: [u64; REGIONS_MAX],
    /// By the logarithm of the bytes of an access: the offsets that a read may start at.
    pub(super) read_limit: [[u32; REGIONS_MAX]; 4],
    /// And a write.
    pub(super) write_limit: [[u32; REGIONS_MAX]; 4],
}

impl Machine {
    /// Notes where the regions of a set, by the bits of their numbers, lie now, and gives the
    /// native address of the stack's end, if that is one of them. It is void once the memory is
    /// used by other means.
    #[inline]
    pub(super) fn draw(&mut self, memory: &mut Memory<'_>, set: u32) -> u64 {
        let mut stack_end = 0;
        let mut left = set;
        while left != 0 {
            let region = left.trailing_zeros() as usize;
            left &= left - 1;
            if region >= REGIONS_MAX {
                break;
            }
            let (base, len, writable) = memory.native(region);
            let base = base.expose_provenance() as u64;
            let starts = [0, 1, 2, 3].map(|log| (len + 1).saturating_sub(1 << log));
            let regions = self.regions.as_mut_ptr();
            // SAFETY: `region` is a number of one, so the places lie in the arrays; writing a number
            // to a place that was not initialised drops nothing.
            unsafe {
                (*regions).base[region] = base;
                (*regions).delta[region] = base.wrapping_sub((region as u64 + 1) << 32);
                for (log, starts) in starts.into_iter().enumerate() {
                    (*regions).read_limit[log][region] = starts;
                    (*regions).write_limit[log][region] = if writable { starts } else { 0 };
                }
            }
            if region == RegionId::Stack.number() {
                stack_end = base.wrapping_add(STACK_BYTES as u64);
            }
        }
        stack_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_the_offsets_that_accesses_may_start_at() {
        let (arguments, mut scratch) = ([0; 3], [0; 24]);
        let mut memory = Memory::new()
            .with_read(RegionId::Arguments, &arguments)
            .with_write(RegionId::Scratch, &mut scratch);
        let mut machine = Machine {
            r: [0; 16],
            fuel: 0,
            frame_end: 0,
            frame: core::ptr::null_mut(),
            depth: 0,
            exit: 0,
            detail: 0,
            zero: 0,
            pc: 0,
            slots: 0,
            code: core::ptr::null(),
            table: core::ptr::null(),
            regions: MaybeUninit::uninit(),
        };
        machine.draw(&mut memory, u32::MAX);
        // SAFETY: all of them were drawn.
        let regions = unsafe { machine.regions.assume_init_ref() };
        let limits = |limits: &[[u32; REGIONS_MAX]; 4], region: RegionId| {
            limits.map(|by_region| by_region[region.number()])
        };
        let arguments = RegionId::Arguments;
        assert_eq!(limits(&regions.read_limit, arguments), [3, 2, 0, 0]);
        assert_eq!(limits(&regions.write_limit, arguments), [0; 4]);
        for limit in [&regions.read_limit, &regions.write_limit] {
            assert_eq!(limits(limit, RegionId::Scratch), [24, 23, 21, 17]);
            assert_eq!(limits(limit, RegionId::Reply), [0; 4]);
        }
        let scratch = RegionId::Scratch.number();
        let address = Memory::address(RegionId::Scratch, 5);
        let native = address.wrapping_add(regions.delta[scratch]);
        assert_eq!(native, regions.base[scratch] + 5);
    }
}
