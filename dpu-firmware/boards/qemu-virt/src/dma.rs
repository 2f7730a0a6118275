//! The memory that the drive reads and writes: one static arena.
//!
//! It is Normal cacheable memory, and the drive's accesses are coherent with the core's (QEMU's are
//! by nature; hardware says so by `dma-coherent`). So `sync_for_device` and `sync_for_cpu` have
//! nothing to do. A board whose drive does not snoop cleans and invalidates lines there, and a test of
//! `nvme-model` in its `noncoherent` mode has shown that the driver calls both where it must.
#![allow(unsafe_code)] // It lends slices of memory that a device writes to.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::NonNull;

use nvme_model::memory::PageRange;
use nvme_model::seam::{Claim, Dma, PAGE_BYTES, Span};

use crate::LIMITS;
use crate::single::Once;

/// Pages of the arena: what the limits ask for.
const PAGES: usize = LIMITS.arena_pages();

const BYTES: usize = PAGES * PAGE_BYTES;

#[repr(C, align(4096))]
struct Area(UnsafeCell<[u8; BYTES]>);

// SAFETY: all access is by the one `Arena`, and by the device.
unsafe impl Sync for Area {}

#[unsafe(link_section = ".pools.dma")]
static AREA: Area = Area(UnsafeCell::new([0; BYTES]));

/// There is one arena.
static ONCE: Once = Once::new();

/// The arena.
pub(crate) struct Arena {
    start: NonNull<u8>,
    claim: Claim,
}

impl Arena {
    /// The arena, all of it zero. It can be had once, and before that no device was told of it.
    pub(crate) fn new() -> Arena {
        ONCE.take();
        let start = AREA.0.get().cast::<u8>();
        // SAFETY: it is as long, and nobody else's. What lay there before the machine's reset may
        // be another boot's data, which no tenant must see.
        unsafe { start.write_bytes(0, BYTES) };
        Arena {
            start: NonNull::new(start).expect("a static has an address"),
            claim: Claim::new(PAGES as u32),
        }
    }

    /// Where a span begins.
    ///
    /// # Panics
    /// When it lies outside the arena.
    fn at(&self, span: Span) -> NonNull<u8> {
        assert!(span.range().end <= BYTES, "a span outside the arena");
        // SAFETY: it is inside.
        unsafe { self.start.add(span.start()) }
    }
}

impl Dma for Arena {
    fn pages(&self) -> u32 {
        self.claim.pages()
    }

    fn claim(&mut self) -> Option<PageRange> {
        self.claim.take()
    }

    fn bus_address(&self, page: u32) -> u64 {
        (self.start.addr().get() + page as usize * PAGE_BYTES) as u64
    }

    fn bytes(&self, span: Span) -> &[u8] {
        // SAFETY: the bytes are the arena's, and initialised. Only the owner of a page can name a
        // span of it (`nvme_model::seam`), and a page in flight has none; so the device leaves them
        // alone, and nobody writes to them while this borrow of the arena lasts.
        unsafe { core::slice::from_raw_parts(self.at(span).as_ptr(), span.bytes()) }
    }

    fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.at(span).as_ptr(), span.bytes()) }
    }

    fn two_bytes_mut(&mut self, first: Span, second: Span) -> (&mut [u8], &mut [u8]) {
        assert!(!first.overlaps(second), "two spans overlap");
        let (one, other) = (self.at(first).as_ptr(), self.at(second).as_ptr());
        // SAFETY: as above, and they have no byte in common.
        unsafe {
            (
                core::slice::from_raw_parts_mut(one, first.bytes()),
                core::slice::from_raw_parts_mut(other, second.bytes()),
            )
        }
    }

    fn ring_read32(&self, at: Span) -> u32 {
        assert!(
            at.bytes() == 4 && at.start().is_multiple_of(4),
            "no ring word"
        );
        // SAFETY: it is in the arena, and aligned. The device may write to it meanwhile, so it is
        // read as one volatile word.
        u32::from_le(unsafe { self.at(at).cast::<u32>().read_volatile() })
    }

    fn ring_write(&mut self, at: Span, bytes: &[u8]) {
        assert!(
            at.bytes() == bytes.len() && at.start().is_multiple_of(8),
            "no ring entry"
        );
        let (words, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty(), "no ring entry");
        let to = self.at(at).cast::<u64>();
        for (index, word) in words.iter().enumerate() {
            // SAFETY: it is in the arena, and aligned. The device may read it meanwhile.
            unsafe { to.add(index).write_volatile(u64::from_ne_bytes(*word)) };
        }
    }

    fn publish(&self) {
        // Stores to memory before stores to a device, for observers outside the cluster (Arm ARM
        // B2.3.11).
        // SAFETY: a barrier.
        unsafe { asm!("dmb oshst", options(nostack, preserves_flags)) };
    }

    fn acquire(&self) {
        // SAFETY: a barrier.
        unsafe { asm!("dmb oshld", options(nostack, preserves_flags)) };
    }

    fn sync_for_device(&mut self, _: Span) {}

    fn sync_for_cpu(&mut self, _: Span) {}
}
