//! PRP entries: how a command names its memory (Base §4.1.1).
//!
//! PRP1 is the first page with the offset in it; PRP2 is nothing, the second page, or the address
//! of a list of all pages but the first. Each command slot has room for one list of its own.

use zerocopy::IntoBytes;
use zerocopy::little_endian::U64;

use crate::limits::{PRP_LIST_BYTES, PRP_LIST_ENTRIES};
use crate::memory::Transfer;
use crate::seam::{Dma, PAGE_BYTES, Span};

/// Whether a transfer is `bytes` long, at most `bytes_max`, and has exactly the pages it touches.
pub(super) fn fits(transfer: &Transfer, bytes: u64, bytes_max: u32) -> bool {
    let length = transfer.bytes();
    if u64::from(length) != bytes || length > bytes_max {
        return false;
    }
    match transfer {
        Transfer::None => true,
        Transfer::Slab(_) => length > 0,
        Transfer::Pages { pages, offset, .. } => {
            let offset = usize::from(*offset);
            let aligned = offset.is_multiple_of(4) && offset < PAGE_BYTES;
            length > 0 && aligned && pages.len() == transfer.pages_touched()
        }
    }
}

/// The memory of one command slot's list: 256 bytes that cross no page.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListSlot {
    page: u32,
    offset: usize,
}

impl ListSlot {
    /// The list of command slot `slot`, in the pages from `first_page`.
    #[inline]
    pub(super) fn of(first_page: u32, slot: u16) -> ListSlot {
        let start = usize::from(slot) * PRP_LIST_BYTES;
        ListSlot {
            page: first_page + (start / PAGE_BYTES) as u32,
            offset: start % PAGE_BYTES,
        }
    }

    pub(super) fn address(self, dma: &impl Dma) -> u64 {
        dma.bus_address(self.page) + self.offset as u64
    }

    /// Writes into the slot; at most [`PRP_LIST_BYTES`].
    pub(super) fn write(self, dma: &mut impl Dma, bytes: &[u8]) {
        dma.ring_write(Span::new(self.page, self.offset, bytes.len()), bytes);
    }
}

/// PRP1 and PRP2 of a transfer that [`fits`], its list written where one is needed.
#[inline]
pub(super) fn describe(dma: &mut impl Dma, transfer: &Transfer, list: ListSlot) -> (u64, u64) {
    let Some(first) = transfer.page(0) else {
        return (0, 0);
    };
    let prp1 = dma.bus_address(first) + transfer.offset() as u64;
    let rest = transfer.pages_touched() - 1;
    let page = |dma: &_, n| {
        transfer
            .page(n)
            .map_or(0, |page| Dma::bus_address(dma, page))
    };
    match rest {
        0 => (prp1, 0),
        1 => (prp1, page(dma, 1)),
        _ => {
            let mut entries = [U64::ZERO; PRP_LIST_ENTRIES];
            let used = &mut entries[..rest.min(PRP_LIST_ENTRIES)];
            for (n, entry) in used.iter_mut().enumerate() {
                *entry = U64::new(page(dma, n + 1));
            }
            list.write(dma, used.as_bytes());
            (prp1, list.address(dma))
        }
    }
}
