//! A heap over mapped pages: one list of free blocks for each power of two, no thread but one.
#![allow(unsafe_code)] // It hands out memory.

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ptr::{NonNull, null_mut};

use crate::linux::{self, PAGE_BYTES};

/// The heap of the program.
#[global_allocator]
static HEAP: Heap = Heap(UnsafeCell::new(Lists {
    free: [None; CLASSES],
    next: 0,
    end: 0,
}));

/// Blocks have 16 bytes to 1 GiB.
const CLASSES: usize = 31;
const BLOCK_BYTES_MIN: usize = 16;
/// What is taken from the system at a time, at least.
const CHUNK_BYTES: usize = 4 << 20;

struct Heap(UnsafeCell<Lists>);

// SAFETY: the program has one thread, and no signal handler.
unsafe impl Sync for Heap {}

struct Lists {
    /// The first free block of each size; in each lies the address of the next.
    free: [Option<NonNull<u8>>; CLASSES],
    /// Where the chunk at hand goes on, and where it ends.
    next: usize,
    end: usize,
}

/// The bytes of the block for a layout: enough, and a power of two, at a multiple of which blocks
/// begin.
fn block(layout: Layout) -> usize {
    let bytes = layout.size().max(layout.align()).max(BLOCK_BYTES_MIN);
    bytes.next_power_of_two()
}

impl Lists {
    fn take(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        let list = self.free.get_mut(bytes.ilog2() as usize)?;
        if let Some(block) = *list {
            // SAFETY: in a free block lies the next one's address.
            *list = NonNull::new(unsafe { block.cast::<*mut u8>().read() });
            return Some(block);
        }
        let mut at = self.next.next_multiple_of(bytes);
        if at + bytes > self.end {
            let chunk = (bytes * 2).max(CHUNK_BYTES).next_multiple_of(PAGE_BYTES);
            let start = linux::map(chunk)?.as_ptr().expose_provenance();
            at = start.next_multiple_of(bytes);
            self.end = start + chunk;
        }
        self.next = at + bytes;
        NonNull::new(core::ptr::with_exposed_provenance_mut(at))
    }

    fn give(&mut self, block: NonNull<u8>, bytes: usize) {
        if let Some(list) = self.free.get_mut(bytes.ilog2() as usize) {
            let next = list.map_or(null_mut(), NonNull::as_ptr);
            // SAFETY: the block is free, at least a pointer long, and aligned for one.
            unsafe { block.cast::<*mut u8>().write(next) };
            *list = Some(block);
        }
    }
}

// SAFETY: blocks are as long and as aligned as the layout asks, and nobody else's until they are
// given back.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: there is one thread, and no other reference lives.
        let lists = unsafe { &mut *self.0.get() };
        lists
            .take(block(layout))
            .map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: there is one thread, and no other reference lives.
        let lists = unsafe { &mut *self.0.get() };
        if let Some(block_at) = NonNull::new(ptr) {
            lists.give(block_at, block(layout));
        }
    }
}
