//! One page of a table B-tree: where a rowid leads in it.
//!
//! File format, section 1.6 ("B-tree Pages"). All offsets come from the page and are checked
//! against its usable part before they are followed.

use super::header::HEADER_BYTES;
use super::varint;
use super::walk::Corruption;

const INTERIOR_INDEX: u8 = 0x02;
const INTERIOR_TABLE: u8 = 0x05;
const LEAF_INDEX: u8 = 0x0a;
const LEAF_TABLE: u8 = 0x0d;

/// Where a search in one page leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Descent<'p> {
    /// An interior page: on to this page.
    Child(u32),
    /// A leaf page with the row.
    Cell(LeafCell<'p>),
    /// A leaf page without the row: it is not in the table.
    Missing,
}

/// A row as its leaf page holds it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LeafCell<'p> {
    /// Bytes of the whole record.
    pub(super) payload_bytes: u64,
    /// Its first bytes.
    pub(super) local: &'p [u8],
    /// The overflow page with the bytes after `local`, if that is not all.
    pub(super) overflow: Option<u32>,
}

/// Looks for `rowid` in page `number`; `page` is its usable part.
pub(super) fn search(page: &[u8], number: u32, rowid: i64) -> Result<Descent<'_>, Corruption> {
    let start = if number == 1 { HEADER_BYTES } else { 0 };
    match page.get(start) {
        Some(&INTERIOR_TABLE) => Cells::new(page, number, start, 12)?.child(rowid),
        Some(&LEAF_TABLE) => Cells::new(page, number, start, 8)?.row(rowid),
        Some(&(INTERIOR_INDEX | LEAF_INDEX)) => Err(Corruption::IndexPage { page: number }),
        Some(&kind) => Err(Corruption::PageKind { page: number, kind }),
        None => Err(Corruption::Offset { page: number }),
    }
}

/// The cells of a page, in the order of their keys.
struct Cells<'p> {
    page: &'p [u8],
    number: u32,
    /// Offset of the page's own header.
    start: usize,
    /// The cell pointers, two bytes each.
    pointers: &'p [u8],
}

impl<'p> Cells<'p> {
    fn new(
        page: &'p [u8],
        number: u32,
        start: usize,
        header_bytes: usize,
    ) -> Result<Cells<'p>, Corruption> {
        let damaged = Corruption::Offset { page: number };
        let count = page.get(start + 3..start + 5).ok_or(damaged)?;
        let count = usize::from(u16::from_be_bytes([count[0], count[1]]));
        let first = start + header_bytes;
        let pointers = page.get(first..first + 2 * count).ok_or(damaged)?;
        Ok(Cells {
            page,
            number,
            start,
            pointers,
        })
    }

    fn len(&self) -> usize {
        self.pointers.len() / 2
    }

    fn damaged(&self) -> Corruption {
        Corruption::Offset { page: self.number }
    }

    /// The bytes from cell `index` to the end of the page.
    fn cell(&self, index: usize) -> Result<&'p [u8], Corruption> {
        let pointer = self
            .pointers
            .get(2 * index..2 * index + 2)
            .ok_or(self.damaged())?;
        let offset = usize::from(u16::from_be_bytes([pointer[0], pointer[1]]));
        self.page.get(offset..).ok_or(self.damaged())
    }

    fn number_at(&self, bytes: &[u8]) -> Result<u32, Corruption> {
        bytes
            .first_chunk()
            .map(|word| u32::from_be_bytes(*word))
            .ok_or(self.damaged())
    }

    /// The first cell whose key, which `key` reads, is not below `rowid`; `len()` if none.
    fn first_not_below(
        &self,
        rowid: i64,
        key: impl Fn(&[u8]) -> Option<i64>,
    ) -> Result<usize, Corruption> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            if key(self.cell(middle)?).ok_or(self.damaged())? < rowid {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Interior page: a cell is {left child, largest key below it}; the rest is on the right.
    fn child(&self, rowid: i64) -> Result<Descent<'p>, Corruption> {
        let index = self.first_not_below(rowid, interior_key)?;
        let pointer = if index < self.len() {
            self.cell(index)?
        } else {
            self.page.get(self.start + 8..).ok_or(self.damaged())?
        };
        Ok(Descent::Child(self.number_at(pointer)?))
    }

    /// Leaf page: a cell is {payload length, rowid, payload, overflow page if it is not all}.
    fn row(&self, rowid: i64) -> Result<Descent<'p>, Corruption> {
        let index = self.first_not_below(rowid, leaf_key)?;
        if index == self.len() {
            return Ok(Descent::Missing);
        }
        let cell = self.cell(index)?;
        if leaf_key(cell) != Some(rowid) {
            return Ok(Descent::Missing);
        }
        let (payload_bytes, length) = varint::read(cell).ok_or(self.damaged())?;
        let cell = &cell[length..];
        let (_, length) = varint::read(cell).ok_or(self.damaged())?;
        let cell = &cell[length..];
        let local_bytes = local_bytes(payload_bytes, self.page.len() as u64);
        let local = usize::try_from(local_bytes)
            .ok()
            .and_then(|local| cell.get(..local));
        let local = local.ok_or(self.damaged())?;
        let overflow = if local_bytes < payload_bytes {
            Some(self.number_at(&cell[local.len()..])?)
        } else {
            None
        };
        Ok(Descent::Cell(LeafCell {
            payload_bytes,
            local,
            overflow,
        }))
    }
}

fn interior_key(cell: &[u8]) -> Option<i64> {
    varint::read(cell.get(4..)?).map(|(key, _)| key as i64)
}

fn leaf_key(cell: &[u8]) -> Option<i64> {
    let (_, length) = varint::read(cell)?;
    varint::read(cell.get(length..)?).map(|(key, _)| key as i64)
}

/// How much of a record its leaf page holds (section 1.6, "table B-tree leaf cell").
fn local_bytes(payload_bytes: u64, usable_bytes: u64) -> u64 {
    let most = usable_bytes.saturating_sub(35);
    if payload_bytes <= most {
        return payload_bytes;
    }
    let least = (usable_bytes.saturating_sub(12) * 32 / 255).saturating_sub(23);
    let overflow_bytes = usable_bytes.saturating_sub(4).max(1);
    let even = least + (payload_bytes - least) % overflow_bytes;
    if even <= most { even } else { least }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_part_of_a_record() {
        assert_eq!(local_bytes(0, 4096), 0);
        assert_eq!(local_bytes(4061, 4096), 4061);
        // M = ((4096 − 12) · 32 / 255) − 23 = 489.
        assert_eq!(local_bytes(489 + 4092 + 100, 4096), 589);
        assert_eq!(local_bytes(489 + 2 * 4092 + 3572, 4096), 4061);
        assert_eq!(local_bytes(489 + 2 * 4092 + 3573, 4096), 489);
        assert_eq!(local_bytes(4062, 4096), 489);
        assert!(local_bytes(u64::MAX, 512) <= 477);
    }

    #[test]
    fn an_empty_leaf_has_no_row() {
        let mut page = vec![0u8; 512];
        page[0] = LEAF_TABLE;
        assert_eq!(search(&page, 2, 1), Ok(Descent::Missing));
    }

    #[test]
    fn other_pages_are_named() {
        let mut page = vec![0u8; 512];
        assert_eq!(
            search(&page, 2, 1),
            Err(Corruption::PageKind { page: 2, kind: 0 })
        );
        page[0] = LEAF_INDEX;
        assert_eq!(search(&page, 2, 1), Err(Corruption::IndexPage { page: 2 }));
        page[0] = LEAF_TABLE;
        page[3] = 0xff;
        assert_eq!(search(&page, 2, 1), Err(Corruption::Offset { page: 2 }));
        assert_eq!(search(&[], 2, 1), Err(Corruption::Offset { page: 2 }));
    }
}
