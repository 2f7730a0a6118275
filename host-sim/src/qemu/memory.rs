//! The machine's memory, mapped by this process too, as the arena of the driver.
//!
//! `unsafe`: QEMU's device reads and writes this memory on its own. A slice over it exists only for a
//! [`Span`] that the CPU owns, which no command in flight uses (see [`nvme_model::seam`]); rings are read
//! and written by volatile words. The memory is new with each start, so it is all zeroes and no completion
//! of an earlier run can look new.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::slice;
use std::sync::atomic::{Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};
use nvme_model::memory::PageRange;
use nvme_model::seam::{Claim, Dma, PAGE_BYTES, Span};
use rustix::fs::MemfdFlags;

/// Where the machine `virt` has its memory.
const RAM: u64 = 0x4000_0000;

/// The machine puts its device tree at the start of its memory when it is reset, up to 1 MiB.
const RESERVED_BYTES: u64 = 2 << 20;

/// QEMU wants whole mebibytes.
const RAM_UNIT: u64 = 1 << 20;

/// With `highmem=off` the machine's memory ends at 4 GiB.
const RAM_BYTES_MAX: u64 = 3 << 30;

/// Memory that this process and QEMU share.
#[derive(Debug)]
pub struct QemuDma {
    map: MmapRaw,
    claim: Claim,
}

/// Bytes of memory that the machine needs for an arena of so many pages; `None` when it cannot have it.
pub(super) fn ram_bytes(arena_pages: u32) -> Option<u64> {
    let bytes = RESERVED_BYTES + u64::from(arena_pages) * PAGE_BYTES as u64;
    let bytes = bytes.next_multiple_of(RAM_UNIT);
    (bytes <= RAM_BYTES_MAX).then_some(bytes)
}

/// New memory, as a file without a name.
pub(super) fn new_ram(bytes: u64) -> io::Result<File> {
    let file = File::from(rustix::fs::memfd_create("qemu-ram", MemfdFlags::CLOEXEC)?);
    file.set_len(bytes)?;
    Ok(file)
}

impl QemuDma {
    /// Maps the part of the machine's memory that is the arena.
    pub(super) fn map(ram: &File, arena_pages: u32) -> io::Result<QemuDma> {
        let bytes = arena_pages as usize * PAGE_BYTES;
        let map = MmapOptions::new()
            .offset(RESERVED_BYTES)
            .len(bytes)
            .map_raw(ram)?;
        Ok(QemuDma {
            map,
            claim: Claim::new(arena_pages),
        })
    }

    /// The first byte of a span.
    ///
    /// # Panics
    ///
    /// When the span does not lie in the arena.
    #[inline]
    fn at(&self, span: Span) -> *mut u8 {
        let inside =
            span.start() <= self.map.len() && span.bytes() <= self.map.len() - span.start();
        assert!(inside, "a span of another arena");
        self.map.as_mut_ptr().wrapping_add(span.start())
    }
}

impl Dma for QemuDma {
    fn pages(&self) -> u32 {
        self.claim.pages()
    }

    fn claim(&mut self) -> Option<PageRange> {
        self.claim.take()
    }

    fn bus_address(&self, page: u32) -> u64 {
        RAM + RESERVED_BYTES + u64::from(page) * PAGE_BYTES as u64
    }

    #[inline]
    fn bytes(&self, span: Span) -> &[u8] {
        // SAFETY: `at` checked that the bytes are mapped, for as long as `self` lives. The CPU owns
        // them, so the device does not write them and no `&mut` to them exists beside this `&self`.
        unsafe { slice::from_raw_parts(self.at(span), span.bytes()) }
    }

    #[inline]
    fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes this the only slice.
        unsafe { slice::from_raw_parts_mut(self.at(span), span.bytes()) }
    }

    fn two_bytes_mut(&mut self, first: Span, second: Span) -> (&mut [u8], &mut [u8]) {
        assert!(!first.overlaps(second), "two spans of one arena overlap");
        let (one, two) = (self.at(first), self.at(second));
        // SAFETY: as in `bytes_mut`; the two have no byte in common.
        unsafe {
            (
                slice::from_raw_parts_mut(one, first.bytes()),
                slice::from_raw_parts_mut(two, second.bytes()),
            )
        }
    }

    #[inline]
    fn ring_read32(&self, at: Span) -> u32 {
        assert!(at.bytes() == 4 && at.start().is_multiple_of(4));
        // SAFETY: `at` checked that the word is mapped; it is aligned, because the mapping is to a page.
        // The device may write it at the same time: hence volatile, and one access.
        u32::from_le(unsafe { self.at(at).cast::<u32>().read_volatile() })
    }

    #[inline]
    fn ring_write(&mut self, at: Span, bytes: &[u8]) {
        assert!(at.bytes() == bytes.len() && at.start().is_multiple_of(8));
        let words = self.at(at).cast::<u64>();
        let (chunks, rest) = bytes.as_chunks::<8>();
        assert!(rest.is_empty(), "rings are written in words of eight bytes");
        for (n, chunk) in chunks.iter().enumerate() {
            // SAFETY: `at` checked that all words are mapped; they are aligned, as above.
            unsafe { words.add(n).write_volatile(u64::from_ne_bytes(*chunk)) };
        }
    }

    #[inline]
    fn publish(&self) {
        // The doorbell that follows is a system call.
        fence(Ordering::Release);
    }

    #[inline]
    fn acquire(&self) {
        fence(Ordering::Acquire);
    }

    #[inline]
    fn sync_for_device(&mut self, _span: Span) {}

    #[inline]
    fn sync_for_cpu(&mut self, _span: Span) {}
}
