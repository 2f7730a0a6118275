//! The heap: one static area for the agent's constructors, closed before the first request.
//!
//! The agent allocates its pools when it is made and nothing afterwards (`dpu-firmware`), so a
//! pointer that only moves up is all the heap there must be. [`close`] ends it: whoever asks for
//! memory after that, or gives some back, is a mistake in the agent that would, on a machine that
//! runs for years, end in one that is out of memory. So it panics there and then.
#![allow(unsafe_code)] // It hands out memory.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::null_mut;

use dpu_firmware::limits::Limits;
use nvme_model::seam::PAGE_BYTES;

use crate::LIMITS;
use crate::single::Single;

/// Bytes of the area: what the limits say the agent takes, less what it takes from other areas.
pub(crate) const HEAP_BYTES: usize = heap_bytes(&LIMITS);

const fn heap_bytes(limits: &Limits) -> usize {
    limits.total_bytes() - limits.arena_pages() * PAGE_BYTES - limits.programs * limits.code_bytes
}

#[repr(C, align(4096))]
struct Area(UnsafeCell<[u8; HEAP_BYTES]>);

// SAFETY: the heap below is the only one that names it, and gives each byte of it once.
unsafe impl Sync for Area {}

#[unsafe(link_section = ".pools.heap")]
static AREA: Area = Area(UnsafeCell::new([0; HEAP_BYTES]));

#[global_allocator]
static HEAP: Heap = Heap(Single::new(State {
    used: 0,
    use_of: Use {
        bytes: 0,
        allocations: 0,
        after_start: 0,
    },
    closed: false,
}));

struct Heap(Single<State>);

struct State {
    used: usize,
    use_of: Use,
    closed: bool,
}

/// What was made of the heap.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    /// Bytes given.
    pub(crate) bytes: usize,
    /// How often some were asked for.
    pub(crate) allocations: u32,
    /// Uses of the heap after it was closed; the first one ends the machine.
    pub(crate) after_start: u32,
}

/// Closes the heap, and says what it was used for.
pub(crate) fn close() -> Use {
    let mut state = HEAP.0.lend();
    state.closed = true;
    state.use_of
}

impl State {
    /// Counts a use, and panics if there may be none.
    #[track_caller]
    fn note(&mut self, what: &str, bytes: usize) {
        if self.closed {
            self.use_of.after_start += 1;
            panic!("the heap is closed: {what} of {bytes} bytes after start");
        }
    }

    fn take(&mut self, layout: Layout) -> *mut u8 {
        self.note("an allocation", layout.size());
        let base = AREA.0.get().cast::<u8>();
        let start = (base.addr() + self.used).next_multiple_of(layout.align()) - base.addr();
        let Some(end) = start.checked_add(layout.size()) else {
            return null_mut();
        };
        if end > HEAP_BYTES {
            return null_mut();
        }
        self.used = end;
        self.use_of.bytes = end;
        self.use_of.allocations += 1;
        // SAFETY: it is within the area.
        unsafe { base.add(start) }
    }

    fn give(&mut self, block: *mut u8, layout: Layout) {
        self.note("a return", layout.size());
        // Only the last block can be had again.
        let start = block.addr() - AREA.0.get().addr();
        if start + layout.size() == self.used {
            self.used = start;
            self.use_of.bytes = start;
        }
    }
}

// SAFETY: blocks are as long and as aligned as the layout asks, lie in the area, and are nobody
// else's until they are given back. It does not unwind: a panic ends the machine.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.lend().take(layout)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.0.lend().give(block, layout);
    }
}
