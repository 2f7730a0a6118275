//! Slabs: contiguous memory for the scratch and the reply of invocations, in three classes.
//!
//! A slab remembers whose it was last. Memory goes to its next owner zeroed, so nothing of
//! one tenant reaches another through it; the same owner gets it back as it left it, which
//! is what keeps a call of a program with 64 KiB of scratch from clearing 64 KiB each time.

use alloc::vec::Vec;
use nvme_model::memory::{PageRange, Slab};
use nvme_model::seam::PAGE_BYTES;

use crate::limits::SLAB_CLASS_PAGES;

/// Who used a slab: a number that no two connections share over the life of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnerId(pub u64);

/// Which of the sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlabClass(u8);

impl SlabClass {
    /// The least class that holds so many bytes; `None` where none does.
    #[must_use]
    pub fn for_bytes(bytes: usize) -> Option<SlabClass> {
        let class = SLAB_CLASS_PAGES
            .iter()
            .position(|pages| bytes <= pages * PAGE_BYTES)?;
        Some(SlabClass(class as u8))
    }

    /// Its place among the classes.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Stock {
    free: Vec<(Slab, OwnerId)>,
    total: usize,
    least_free: usize,
}

/// All slabs.
#[derive(Debug)]
pub struct SlabPool {
    stocks: [Stock; SLAB_CLASS_PAGES.len()],
}

/// What a pool has and had of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlabCounts {
    /// Taken now.
    pub used: usize,
    /// The most that were ever taken.
    pub peak: usize,
    /// In all.
    pub total: usize,
}

impl SlabPool {
    /// Cuts the slabs out of `range`; `None` where it is too small.
    pub fn new(range: &mut PageRange, counts: [usize; 3]) -> Option<SlabPool> {
        let mut cut = |class: usize| {
            let mut free = Vec::with_capacity(counts[class]);
            for _ in 0..counts[class] {
                // No connection has number 0, so every first use clears.
                free.push((
                    range.split_slab(SLAB_CLASS_PAGES[class] as u32)?,
                    OwnerId(0),
                ));
            }
            Some(Stock {
                total: free.len(),
                least_free: free.len(),
                free,
            })
        };
        Some(SlabPool {
            stocks: [cut(0)?, cut(1)?, cut(2)?],
        })
    }

    /// Takes a slab, and whether `owner` is somebody else than used it last, so that it
    /// must be cleared before use.
    pub fn take(&mut self, class: SlabClass, owner: OwnerId) -> Option<(Slab, bool)> {
        let stock = &mut self.stocks[class.number()];
        let (slab, last) = stock.free.pop()?;
        stock.least_free = stock.least_free.min(stock.free.len());
        Some((slab, last != owner))
    }

    /// Slabs of a class that can be taken now.
    #[must_use]
    pub fn free(&self, class: SlabClass) -> usize {
        self.stocks[class.number()].free.len()
    }

    /// Takes a slab back; its class.
    pub fn give(&mut self, slab: Slab, owner: OwnerId) -> SlabClass {
        let class = SLAB_CLASS_PAGES
            .iter()
            .position(|pages| *pages == slab.pages() as usize)
            .expect("a slab has the size of a class: only `new` cuts them");
        let stock = &mut self.stocks[class];
        debug_assert!(stock.free.len() < stock.total);
        stock.free.push((slab, owner));
        SlabClass(class as u8)
    }

    /// The figures of one class.
    #[must_use]
    pub fn counts(&self, class: usize) -> Option<SlabCounts> {
        let stock = self.stocks.get(class)?;
        Some(SlabCounts {
            used: stock.total - stock.free.len(),
            peak: stock.total - stock.least_free,
            total: stock.total,
        })
    }
}
