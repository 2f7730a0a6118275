//! Memory for machine code: pages of one static area, written or executed, never both.
#![allow(unsafe_code)] // It keeps the promise of `CodeMemory`.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ops::Range;
use core::ptr::NonNull;

use dpu_firmware::code::{PlatformCode, PlatformRefused};
use ebpf::jit::{CodeMemory, publish};

use crate::LIMITS;
use crate::pages::protect_code;
use crate::single::Single;

/// Bytes of a page, the smallest unit of protection.
const PAGE_BYTES: usize = 4096;

/// Bytes of the area: the code of as many programs as there can be.
pub(crate) const AREA_BYTES: usize = LIMITS.programs * LIMITS.code_bytes;

const _: () = assert!(LIMITS.code_bytes.is_multiple_of(PAGE_BYTES));

#[repr(C, align(4096))]
struct Area(UnsafeCell<[u8; AREA_BYTES]>);

// SAFETY: it is divided once, by `map`, among owners that have their bytes alone.
unsafe impl Sync for Area {}

#[unsafe(link_section = ".pools.code")]
static AREA: Area = Area(UnsafeCell::new([0; AREA_BYTES]));

/// Bytes of it that were given away.
static USED: Single<usize> = Single::new(0);

/// Where it is.
pub(crate) fn area() -> Range<usize> {
    let start = AREA.0.get().addr();
    start..start + AREA_BYTES
}

/// Memory for so many bytes of code; none when the area is used up.
pub(crate) fn map(bytes: usize) -> Option<PlatformCode> {
    let bytes = bytes.checked_next_multiple_of(PAGE_BYTES)?;
    let mut used = USED.lend();
    let end = used.checked_add(bytes).filter(|&end| end <= AREA_BYTES)?;
    // SAFETY: it is within the area.
    let start = unsafe { AREA.0.get().cast::<u8>().add(*used) };
    *used = end;
    Some(Box::new(Pages {
        start: NonNull::new(start)?,
        bytes,
        state: State::Writable,
    }))
}

/// What may be done with pages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Writable,
    Executable,
    /// A change failed half-way.
    Lost,
}

/// Pages of the area.
struct Pages {
    start: NonNull<u8>,
    bytes: usize,
    state: State,
}

// SAFETY: it owns its pages.
unsafe impl Send for Pages {}

impl Pages {
    fn protect(&mut self, state: State) -> Result<(), PlatformRefused> {
        if self.state == state {
            return Ok(());
        }
        self.state = State::Lost;
        let start = self.start.addr().get();
        // SAFETY: they are this one's own; `&mut self` says that nobody holds the bytes, and
        // whoever executes them borrows what they are sealed in.
        let done = unsafe { protect_code(start..start + self.bytes, state == State::Executable) };
        if !done {
            return Err(PlatformRefused);
        }
        self.state = state;
        Ok(())
    }
}

// SAFETY: the pages' protection is what `state` says, and no entry of a page table is both writable
// and executable. The caches are told before the code is executed, and there is one processor.
unsafe impl CodeMemory for Pages {
    type Error = PlatformRefused;

    fn unseal(&mut self) -> Result<&mut [u8], PlatformRefused> {
        self.protect(State::Writable)?;
        // SAFETY: they are mapped and this one's own, and may be written now. What they hold is
        // bytes: RAM that nobody wrote to is not less so on this machine.
        Ok(unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) })
    }

    fn seal(&mut self, len: usize) -> Result<(), PlatformRefused> {
        // SAFETY: they are mapped, and may be read.
        unsafe { publish(self.start.as_ptr(), len.min(self.bytes)) };
        self.protect(State::Executable)
    }

    fn sealed(&self) -> Option<*const u8> {
        (self.state == State::Executable).then_some(self.start.as_ptr().cast_const())
    }
}
