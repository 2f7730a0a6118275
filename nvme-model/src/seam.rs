//! The seam under the driver: registers, memory the device can reach, and nothing else.
//!
//! The same driver runs over a software controller in this process, over an emulated drive whose
//! registers are behind a socket, and over PCIe. So there are no register overlays here (they need
//! a pointer, and a socket has none), no clock (time is passed in), and no interrupts (the driver
//! polls).
//!
//! # Who may touch which byte
//!
//! The arena is memory that the device reads and writes on its own, so a slice over a page that is
//! in flight would be a lie. Slices are therefore handed out for a [`Span`] only, and nobody outside
//! this crate can make one: spans come out of the ownership tokens in [`crate::memory`], which move
//! into a command when it is submitted. An implementation of [`Dma`] turns a span into a slice, and
//! may rely on no command in flight using it.
//!
//! Rings (submission and completion queues, PRP lists) are shared with the device all the time;
//! they are never slices but read and written a word at a time, as the device sees them.

use core::ops::Range;

use crate::memory::PageRange;

/// Bytes of a memory page, the only page size the driver uses (CC.MPS = 0).
pub const PAGE_BYTES: usize = 4096;

/// The controller registers (BAR0): properties and doorbells (Base §3.1.3, PCIe §3.1.2; see
/// [`crate::spec`] for which texts these are).
///
/// Offsets are those the controller decodes; the driver never uses one it was not told of by CAP.
/// A device that is gone reads as all ones.
pub trait Registers {
    /// Reads four bytes.
    fn read32(&self, offset: u32) -> u32;
    /// Reads eight bytes.
    fn read64(&self, offset: u32) -> u64;
    /// Writes four bytes. May be posted; a read drains what was written before it.
    fn write32(&self, offset: u32, value: u32);
    /// Writes eight bytes, as one access or as the low half and then the high half.
    fn write64(&self, offset: u32, value: u64);
}

/// One arena of 4 KiB pages that is contiguous on the bus and page-aligned there.
pub trait Dma {
    /// Pages in the arena.
    fn pages(&self) -> u32;

    /// The one ownership token over the whole arena: `None` the second time. See [`Claim`].
    fn claim(&mut self) -> Option<PageRange>;

    /// Bus address of a page's first byte. Differs from any pointer.
    fn bus_address(&self, page: u32) -> u64;

    /// The bytes of a span that the CPU owns.
    ///
    /// # Panics
    ///
    /// When the span lies outside the arena, which happens only if tokens of two arenas are mixed.
    fn bytes(&self, span: Span) -> &[u8];

    /// The bytes of a span that the CPU owns, to be written.
    ///
    /// # Panics
    ///
    /// As [`Dma::bytes`].
    fn bytes_mut(&mut self, span: Span) -> &mut [u8];

    /// The bytes of two spans at once.
    ///
    /// # Panics
    ///
    /// When the spans overlap or one lies outside the arena; tokens of one arena never overlap.
    fn two_bytes_mut(&mut self, first: Span, second: Span) -> (&mut [u8], &mut [u8]);

    /// Reads a little-endian word of a ring, volatile, as the device has written it. `at` is four
    /// bytes, aligned.
    fn ring_read32(&self, at: Span) -> u32;

    /// Writes little-endian bytes of a ring or PRP list, volatile, as the device will read them.
    /// `at` is as long as `bytes`, both multiples of eight and aligned to eight.
    fn ring_write(&mut self, at: Span, bytes: &[u8]);

    /// Orders all writes to the arena before a following register write (a doorbell).
    fn publish(&self);

    /// Orders a ring read (a phase bit) before all following reads of the arena.
    fn acquire(&self);

    /// Makes what the CPU wrote visible to the device; before a command that uses the span is
    /// published, whichever way its data goes. Nothing to do where memory is coherent.
    fn sync_for_device(&mut self, span: Span);

    /// Makes what the device wrote visible to the CPU; after the command that used the span ended.
    /// Nothing to do where memory is coherent.
    fn sync_for_cpu(&mut self, span: Span);
}

/// A device: its registers and the memory it can reach.
pub trait Device {
    /// How registers are reached.
    type Registers: Registers;
    /// How memory is shared.
    type Dma: Dma;
    /// The registers.
    fn registers(&self) -> &Self::Registers;
    /// The arena, to read.
    fn dma(&self) -> &Self::Dma;
    /// The arena, to write.
    fn dma_mut(&mut self) -> &mut Self::Dma;
}

/// A byte range of the arena. Only the tokens of this crate make one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: usize,
    bytes: usize,
}

impl Span {
    /// `bytes` bytes, `offset` bytes into page `page`.
    #[inline]
    pub(crate) const fn new(page: u32, offset: usize, bytes: usize) -> Span {
        Span {
            start: page as usize * PAGE_BYTES + offset,
            bytes,
        }
    }

    /// Offset of the first byte from the start of the arena.
    #[inline]
    pub const fn start(self) -> usize {
        self.start
    }

    /// Length in bytes.
    #[inline]
    pub const fn bytes(self) -> usize {
        self.bytes
    }

    /// As a range of byte offsets in the arena.
    #[inline]
    pub const fn range(self) -> Range<usize> {
        self.start..self.start + self.bytes
    }

    /// Whether the two have a byte in common.
    pub const fn overlaps(self, other: Span) -> bool {
        self.start < other.start + other.bytes && other.start < self.start + self.bytes
    }
}

/// What an implementation of [`Dma`] keeps to answer [`Dma::claim`]: the right to the arena, once.
///
/// A claim is made once for an arena, by the code that maps it; making a second for the same
/// memory breaks what the tokens promise.
#[derive(Debug)]
pub struct Claim {
    pages: u32,
    taken: bool,
}

impl Claim {
    /// The right to an arena of `pages` pages.
    pub const fn new(pages: u32) -> Claim {
        Claim {
            pages,
            taken: false,
        }
    }

    /// The token over all pages, the first time.
    pub fn take(&mut self) -> Option<PageRange> {
        if self.taken {
            return None;
        }
        self.taken = true;
        Some(PageRange::whole(self.pages))
    }

    /// Pages in the arena, taken or not.
    pub const fn pages(&self) -> u32 {
        self.pages
    }
}
