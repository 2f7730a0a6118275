//! What native code works on: read and written by field offset.

use crate::limits::{FRAME_BYTES, REGIONS_MAX, STACK_BYTES};
use crate::memory::{Memory, RegionId};
use crate::state::Frame;

/// An invocation while native code runs it. What is used most comes first, where offsets are short.
#[repr(C)]
pub(super) struct Machine {
    /// r0 to r10, and what else the state has. r10 is not kept up to date.
    pub(super) r: [u64; 16],
    /// What the slice has left.
    pub(super) fuel: i64,
    /// The native address of the current frame's end.
    pub(super) frame_end: u64,
    /// Where the next local call puts its frame.
    pub(super) frame: *mut Frame,
    /// Frames that have been pushed.
    pub(super) depth: u32,
    /// Why native code came back, see [`Exit`](super::exit::Exit).
    pub(super) exit: u32,
    /// A number that belongs to it.
    pub(super) detail: u64,
    /// The slot that was entered, or returned to, last.
    pub(super) pc: u32,
    /// Always 0.
    pub(super) zero: u32,
    /// Where the code begins.
    pub(super) code: *const u8,
    /// For each slot, and one behind the last, where its code begins, from `code`.
    pub(super) table: *const u32,
    /// The program's slots.
    pub(super) slots: u32,
    /// The regions as they lie now.
    pub(super) regions: Regions,
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

impl Regions {
    pub(super) const EMPTY: Regions = Regions {
        base: [0; REGIONS_MAX],
        delta: [0; REGIONS_MAX],
        read_limit: [[0; REGIONS_MAX]; 4],
        write_limit: [[0; REGIONS_MAX]; 4],
    };

    /// Notes where the regions of a set, by the bits of their numbers, lie now. It is void once the
    /// memory is used by other means.
    #[inline]
    pub(super) fn draw(&mut self, memory: &mut Memory<'_>, set: u32) {
        let mut left = set;
        while left != 0 {
            let region = left.trailing_zeros() as usize;
            left &= left - 1;
            if region >= REGIONS_MAX {
                break;
            }
            let (base, len, writable) = memory.native(region);
            let base = base.expose_provenance() as u64;
            self.base[region] = base;
            self.delta[region] = base.wrapping_sub((region as u64 + 1) << 32);
            for log in 0..4 {
                let starts = (len + 1).saturating_sub(1 << log);
                self.read_limit[log][region] = starts;
                self.write_limit[log][region] = if writable { starts } else { 0 };
            }
        }
    }

    /// The native address of the end of the frame at a depth.
    #[inline]
    pub(super) fn frame_end(&self, depth: u32) -> u64 {
        let top = self.base[RegionId::Stack.number()].wrapping_add(STACK_BYTES as u64);
        top.wrapping_sub(u64::from(depth) * FRAME_BYTES as u64)
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
        let mut regions = Regions::EMPTY;
        regions.draw(&mut memory, u32::MAX);
        let limits = |limits: &[[u32; REGIONS_MAX]; 4], region: RegionId| {
            limits.map(|by_region| by_region[region.number()])
        };
        assert_eq!(
            limits(&regions.read_limit, RegionId::Arguments),
            [3, 2, 0, 0]
        );
        assert_eq!(limits(&regions.write_limit, RegionId::Arguments), [0; 4]);
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
