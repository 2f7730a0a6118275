//! Who owns a page is a matter of types.
//!
//! A page is the CPU's or a command's, never both. The CPU's are [`Page`] and [`Slab`], and only
//! these have bytes. Submitting moves them into the driver inside a [`Transfer`]; the completion
//! moves them back. A slab that takes part in several commands at once is a [`LentSlab`] meanwhile,
//! which has no bytes and becomes a [`Slab`] again when the last [`SlabLoan`] is back.
//!
//! None of the tokens can be copied or made from nothing: all come from the one [`PageRange`] that
//! [`Dma::claim`] gives out.

use crate::limits::TRANSFER_PAGES_MAX;
use crate::seam::{Dma, PAGE_BYTES, Span};

/// A run of pages not yet handed out.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped range is memory lost"]
pub struct PageRange {
    first: u32,
    pages: u32,
}

impl PageRange {
    pub(crate) const fn whole(pages: u32) -> PageRange {
        PageRange { first: 0, pages }
    }

    /// Pages in the run.
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// Index of the first page in the arena.
    pub(crate) const fn first(&self) -> u32 {
        self.first
    }

    /// Takes `pages` pages off the front; `None`, and nothing taken, when there are fewer.
    pub fn split(&mut self, pages: u32) -> Option<PageRange> {
        if pages > self.pages {
            return None;
        }
        let front = PageRange {
            first: self.first,
            pages,
        };
        self.first += pages;
        self.pages -= pages;
        Some(front)
    }

    /// Takes one page off the front.
    pub fn split_page(&mut self) -> Option<Page> {
        self.split(1).map(|range| Page { index: range.first })
    }

    /// Takes a contiguous slab of `pages` pages off the front.
    pub fn split_slab(&mut self, pages: u32) -> Option<Slab> {
        self.split(pages).map(PageRange::into_slab)
    }

    /// The whole run as one slab.
    pub fn into_slab(self) -> Slab {
        Slab {
            first: self.first,
            pages: self.pages,
        }
    }
}

/// One page that the CPU owns.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped page is memory lost"]
pub struct Page {
    index: u32,
}

impl Page {
    /// Index of the page in the arena.
    pub(crate) const fn index(&self) -> u32 {
        self.index
    }

    const fn span(&self) -> Span {
        Span::new(self.index, 0, PAGE_BYTES)
    }

    /// Its 4096 bytes.
    pub fn bytes<'d>(&'d self, dma: &'d impl Dma) -> &'d [u8] {
        dma.bytes(self.span())
    }

    /// Its 4096 bytes, to be written.
    pub fn bytes_mut<'d>(&'d mut self, dma: &'d mut impl Dma) -> &'d mut [u8] {
        dma.bytes_mut(self.span())
    }
}

/// The pages of one command: 128 KiB, and one more for a start inside a page.
pub type PageList = heapless::Vec<Page, TRANSFER_PAGES_MAX>;

/// A stock of single pages, handed out and taken back in constant time per page.
///
/// `S` holds the indices of the free pages: `&'static mut [u32]` on a board, `Box<[u32]>` or an
/// array elsewhere.
#[derive(Debug)]
pub struct PagePool<S = &'static mut [u32]> {
    free: S,
    free_count: usize,
    least_free: usize,
    first: u32,
    pages: u32,
}

impl<S: AsRef<[u32]> + AsMut<[u32]>> PagePool<S> {
    /// A pool of all pages of `range`. `storage` needs an element for each page; what it held is
    /// overwritten.
    ///
    /// # Errors
    ///
    /// Gives the range back when the storage is too small for it.
    pub fn new(range: PageRange, mut storage: S) -> Result<PagePool<S>, PageRange> {
        let pages = range.pages as usize;
        let Some(free) = storage.as_mut().get_mut(..pages) else {
            return Err(range);
        };
        // The stack grows upwards: the lowest page is on top and goes first.
        for (position, index) in free.iter_mut().enumerate() {
            *index = range.first + (pages - 1 - position) as u32;
        }
        Ok(PagePool {
            free: storage,
            free_count: pages,
            least_free: pages,
            first: range.first,
            pages: range.pages,
        })
    }

    /// Takes `count` pages, or none when fewer are free or a list cannot hold as many.
    pub fn take(&mut self, count: usize) -> Option<PageList> {
        if count > self.free_count || count > TRANSFER_PAGES_MAX {
            return None;
        }
        let rest = self.free_count - count;
        let mut list = PageList::new();
        for &index in self.free.as_ref().get(rest..self.free_count)?.iter().rev() {
            list.push(Page { index }).ok()?;
        }
        self.free_count = rest;
        self.least_free = self.least_free.min(rest);
        Some(list)
    }

    /// Takes one page.
    pub fn take_page(&mut self) -> Option<Page> {
        let rest = self.free_count.checked_sub(1)?;
        let index = *self.free.as_ref().get(rest)?;
        self.free_count = rest;
        self.least_free = self.least_free.min(rest);
        Some(Page { index })
    }

    /// Takes pages back.
    ///
    /// # Panics
    ///
    /// When a page is not of this pool.
    pub fn give(&mut self, pages: PageList) {
        for page in pages.into_iter().rev() {
            self.give_page(page);
        }
    }

    /// Takes one page back.
    ///
    /// # Panics
    ///
    /// When the page is not of this pool.
    pub fn give_page(&mut self, page: Page) {
        let ours = page.index.wrapping_sub(self.first) < self.pages;
        assert!(ours, "page {} given to a pool it is not of", page.index);
        self.free.as_mut()[self.free_count] = page.index;
        self.free_count += 1;
    }

    /// Pages that can be taken now.
    pub const fn free(&self) -> usize {
        self.free_count
    }

    /// Pages in the pool, taken or not.
    pub const fn total(&self) -> usize {
        self.pages as usize
    }

    /// The fewest pages that were ever free.
    pub const fn least_free(&self) -> usize {
        self.least_free
    }
}

/// A contiguous run of pages that the CPU owns: scratch or reply memory of an invocation.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped slab is memory lost"]
pub struct Slab {
    first: u32,
    pages: u32,
}

impl Slab {
    /// Its length in pages.
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// Its length in bytes.
    pub const fn len_bytes(&self) -> usize {
        self.pages as usize * PAGE_BYTES
    }

    const fn span(&self) -> Span {
        Span::new(self.first, 0, self.len_bytes())
    }

    /// Its bytes.
    pub fn bytes<'d>(&'d self, dma: &'d impl Dma) -> &'d [u8] {
        dma.bytes(self.span())
    }

    /// Its bytes, to be written.
    pub fn bytes_mut<'d>(&'d mut self, dma: &'d mut impl Dma) -> &'d mut [u8] {
        dma.bytes_mut(self.span())
    }

    /// Gives up the bytes so that parts can be lent to commands.
    pub fn lend(self) -> LentSlab {
        LentSlab {
            first: self.first,
            pages: self.pages,
            loans: 0,
        }
    }

    /// Back to a run that can be split anew.
    pub fn into_range(self) -> PageRange {
        PageRange {
            first: self.first,
            pages: self.pages,
        }
    }
}

/// A slab of which parts may be in flight. It has no bytes.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped slab is memory lost"]
pub struct LentSlab {
    first: u32,
    pages: u32,
    loans: u32,
}

impl LentSlab {
    /// Lends `bytes` bytes from `offset`: `None` when that is empty, does not lie inside, or starts
    /// or ends off a multiple of four (a PRP entry cannot say otherwise).
    ///
    /// Loans may overlap: then the device decides what the bytes end up as.
    pub fn loan(&mut self, offset: usize, bytes: usize) -> Option<SlabLoan> {
        let end = offset.checked_add(bytes)?;
        let aligned = offset.is_multiple_of(4) && bytes.is_multiple_of(4);
        if bytes == 0 || !aligned || end > self.pages as usize * PAGE_BYTES {
            return None;
        }
        let bytes = u32::try_from(bytes).ok()?;
        self.loans = self.loans.checked_add(1)?;
        Some(SlabLoan {
            slab: self.first,
            page: self.first + (offset / PAGE_BYTES) as u32,
            offset: (offset % PAGE_BYTES) as u16,
            bytes,
        })
    }

    /// Takes a loan back.
    ///
    /// # Panics
    ///
    /// When the loan is of another slab.
    pub fn give_back(&mut self, loan: SlabLoan) {
        assert!(
            loan.slab == self.first && self.loans > 0,
            "loan given to a slab it is not of"
        );
        self.loans -= 1;
    }

    /// Loans that are out.
    pub const fn loans(&self) -> u32 {
        self.loans
    }

    /// The slab with its bytes again.
    ///
    /// # Errors
    ///
    /// The lent slab itself while loans are out.
    pub fn reclaim(self) -> Result<Slab, LentSlab> {
        if self.loans > 0 {
            return Err(self);
        }
        Ok(Slab {
            first: self.first,
            pages: self.pages,
        })
    }
}

/// The right of one command to a part of a [`LentSlab`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a slab cannot be reclaimed without all its loans"]
pub struct SlabLoan {
    slab: u32,
    page: u32,
    offset: u16,
    bytes: u32,
}

impl SlabLoan {
    /// Length in bytes.
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Offset of the first byte in the slab.
    pub const fn offset_in_slab(&self) -> usize {
        (self.page - self.slab) as usize * PAGE_BYTES + self.offset as usize
    }
}

/// The memory of a command: it moves in with the submission and out with the completion.
#[derive(Debug, Default, PartialEq, Eq)]
#[must_use = "a dropped transfer is memory lost"]
pub enum Transfer {
    /// A command without data; also what comes back when memory had to stay in quarantine.
    #[default]
    None,
    /// Single pages, one after the other.
    Pages {
        /// The pages; exactly those that the bytes touch.
        pages: PageList,
        /// Offset of the first byte in the first page, a multiple of four.
        offset: u16,
        /// Length in bytes.
        bytes: u32,
    },
    /// A part of a slab.
    Slab(SlabLoan),
}

impl Transfer {
    /// Length in bytes.
    pub const fn bytes(&self) -> u32 {
        match self {
            Transfer::None => 0,
            Transfer::Pages { bytes, .. } => *bytes,
            Transfer::Slab(loan) => loan.bytes,
        }
    }

    /// Offset of the first byte in its page.
    pub(crate) const fn offset(&self) -> usize {
        match self {
            Transfer::None => 0,
            Transfer::Pages { offset, .. } => *offset as usize,
            Transfer::Slab(loan) => loan.offset as usize,
        }
    }

    /// Pages the bytes touch, as the length says (not as the list has).
    pub(crate) const fn pages_touched(&self) -> usize {
        (self.offset() + self.bytes() as usize).div_ceil(PAGE_BYTES)
    }

    /// Index in the arena of the `n`th page.
    #[inline]
    pub(crate) fn page(&self, n: usize) -> Option<u32> {
        match self {
            Transfer::None => None,
            Transfer::Pages { pages, .. } => pages.get(n).map(Page::index),
            Transfer::Slab(loan) => Some(loan.page + n as u32),
        }
    }

    /// Calls `visit` with each span of the transfer, in order.
    #[inline]
    pub(crate) fn for_each_span(&self, mut visit: impl FnMut(Span)) {
        match self {
            Transfer::None => {}
            Transfer::Slab(loan) => {
                visit(Span::new(
                    loan.page,
                    loan.offset as usize,
                    loan.bytes as usize,
                ));
            }
            Transfer::Pages {
                pages,
                offset,
                bytes,
            } => {
                let mut offset = *offset as usize;
                let mut rest = *bytes as usize;
                for page in pages {
                    let length = rest.min(PAGE_BYTES - offset);
                    visit(Span::new(page.index, offset, length));
                    rest -= length;
                    offset = 0;
                }
            }
        }
    }
}

/// The bytes of two slabs at once: an invocation's scratch and its reply.
pub fn two_slabs_mut<'d>(
    first: &'d mut Slab,
    second: &'d mut Slab,
    dma: &'d mut impl Dma,
) -> (&'d mut [u8], &'d mut [u8]) {
    dma.two_bytes_mut(first.span(), second.span())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seam::Claim;

    #[test]
    fn a_pool_gives_all_or_none_and_counts() {
        let mut range = Claim::new(40).take().unwrap();
        let front = range.split(4).unwrap();
        let too_small = PagePool::new(range, [0u32; 35]).unwrap_err();
        let mut pool = PagePool::new(too_small, [0u32; 64]).unwrap();
        assert_eq!((pool.free(), pool.total()), (36, 36));
        assert!(pool.take(TRANSFER_PAGES_MAX + 1).is_none());
        let first = pool.take(30).unwrap();
        assert!(pool.take(7).is_none());
        assert_eq!(first[0].index(), front.pages());
        let second = pool.take(6).unwrap();
        assert!(pool.take_page().is_none());
        pool.give(first);
        pool.give(second);
        assert_eq!((pool.free(), pool.least_free()), (36, 0));
        let again = pool.take(2).unwrap();
        assert_eq!(
            again[0].index() + 1,
            again[1].index(),
            "contiguous as given back"
        );
    }

    #[test]
    #[should_panic(expected = "not of")]
    fn a_page_of_another_pool_is_refused() {
        let mut range = Claim::new(4).take().unwrap();
        let stranger = range.split_page().unwrap();
        let mut pool = PagePool::new(range, [0u32; 3]).unwrap();
        pool.give_page(stranger);
    }

    #[test]
    #[should_panic(expected = "not of")]
    fn a_loan_of_another_slab_is_refused() {
        let mut range = Claim::new(4).take().unwrap();
        let mut one = range.split_slab(2).unwrap().lend();
        let mut two = range.split_slab(2).unwrap().lend();
        let loan = one.loan(0, 4096).unwrap();
        let other = two.loan(0, 4096).unwrap();
        one.give_back(loan);
        one.give_back(other);
    }

    #[test]
    fn ranges_split_without_overlap() {
        let mut claim = Claim::new(10);
        let mut range = claim.take().unwrap();
        assert!(claim.take().is_none());
        let front = range.split(3).unwrap();
        assert!(range.split(8).is_none());
        let rest = range.split(7).unwrap();
        assert_eq!((front.first(), rest.first(), range.pages()), (0, 3, 0));
        assert!(range.split_page().is_none());
    }
}
