//! One rowid lookup as a state machine: it says which page it needs, and is given it.
//!
//! ```text
//!            supply            supply                    supply
//!  root ──Read──▶ interior ──Read──▶ … leaf ──▶ Found  ┐
//!                                      │  └──▶ Missing │ or Corrupt at any point
//!                                      └─Read──▶ overflow … ──▶ Found
//! ```
//!
//! Each `Read` depends on the page before it, which is why a lookup over block reads costs a
//! network round trip per level.

use super::page::{self, Descent};

/// Most levels of a B-tree that a lookup goes down; SQLite's own limit.
pub const DEPTH_MAX: u32 = 20;

/// Longest record that a lookup puts together, in bytes.
///
/// SQLite allows a thousand million. A damaged chain of overflow pages may run in a circle until
/// the length in its cell is reached, so that length is bounded here.
pub const RECORD_BYTES_MAX: u64 = 64 << 20;

/// A table's B-tree in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table {
    /// Page of the root; the first page of the file is 1.
    pub root_page: u32,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Bytes of a page that SQLite uses: at most `page_bytes`.
    pub usable_bytes: u32,
    /// Pages in the file: no read goes past them.
    pub pages: u32,
}

/// What a lookup needs, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read this and give it to [`Walk::supply`].
    Read {
        /// Offset in the file, in bytes: a multiple of the page size.
        offset: u64,
        /// Bytes: one page.
        length: u32,
    },
    /// The row is there: see [`Walk::record`].
    Found,
    /// The table has no such row.
    Missing,
    /// The database is damaged, or this is no table.
    Corrupt(Corruption),
}

/// What is wrong with a B-tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corruption {
    /// A page number outside the file.
    #[error("page {page} is outside the file of {pages} pages")]
    PageNumber {
        /// The number found.
        page: u32,
        /// Pages in the file.
        pages: u32,
    },
    /// A page that belongs to an index, or to a `WITHOUT ROWID` table, which is one.
    #[error("page {page} belongs to an index or a WITHOUT ROWID table, which has no rowids")]
    IndexPage {
        /// The page.
        page: u32,
    },
    /// A page of no B-tree.
    #[error("page {page} starts with {kind:#04x}, which is no kind of B-tree page")]
    PageKind {
        /// The page.
        page: u32,
        /// Its first byte.
        kind: u8,
    },
    /// An offset or length that leads out of its page.
    #[error("an offset or length in page {page} leads out of it")]
    Offset {
        /// The page.
        page: u32,
    },
    /// More levels than any B-tree has.
    #[error("page {page} is on level {DEPTH_MAX} of the tree, which must run in a circle")]
    TooDeep {
        /// The page reached.
        page: u32,
    },
    /// A record longer than [`RECORD_BYTES_MAX`].
    #[error("the record claims {payload_bytes} bytes; at most {RECORD_BYTES_MAX} are read")]
    RecordTooLong {
        /// Bytes by its cell.
        payload_bytes: u64,
    },
    /// Overflow pages end before the record does.
    #[error("the overflow chain ends after {held} of {payload_bytes} bytes")]
    ChainEnds {
        /// Bytes found.
        held: u64,
        /// Bytes of the record.
        payload_bytes: u64,
    },
    /// The bytes supplied were not the page asked for.
    #[error("{supplied} bytes were supplied for page {page} of {page_bytes}")]
    Supply {
        /// The page asked for.
        page: u32,
        /// Bytes of a page.
        page_bytes: u32,
        /// Bytes supplied.
        supplied: usize,
    },
}

#[derive(Clone, Copy, Debug)]
enum State {
    Tree { page: u32 },
    Overflow { page: u32 },
    Found,
    Missing,
    Corrupt(Corruption),
}

/// A lookup under way. Keep it for the next one ([`Walk::restart`]): it keeps its buffer.
#[derive(Clone, Debug)]
pub struct Walk {
    table: Table,
    rowid: i64,
    state: State,
    record: Vec<u8>,
    payload_bytes: u64,
    levels: u32,
}

impl Walk {
    /// Starts a lookup of `rowid`.
    pub fn start(rowid: i64, table: &Table) -> Walk {
        let mut walk = Walk {
            table: *table,
            rowid,
            state: State::Missing,
            record: Vec::new(),
            payload_bytes: 0,
            levels: 0,
        };
        walk.restart(rowid);
        walk
    }

    /// Starts over with another rowid of the same table.
    pub fn restart(&mut self, rowid: i64) {
        self.rowid = rowid;
        self.record.clear();
        self.payload_bytes = 0;
        self.levels = 0;
        self.state = self.visit(self.table.root_page, |page| State::Tree { page });
    }

    /// What the lookup needs now, or how it ended; the same until [`Walk::supply`].
    pub fn next(&self) -> Step {
        match self.state {
            State::Tree { page } | State::Overflow { page } => Step::Read {
                offset: u64::from(page - 1) * u64::from(self.table.page_bytes),
                length: self.table.page_bytes,
            },
            State::Found => Step::Found,
            State::Missing => Step::Missing,
            State::Corrupt(why) => Step::Corrupt(why),
        }
    }

    /// Gives the page that [`Walk::next`] asked for. Without effect on a lookup that has ended.
    pub fn supply(&mut self, bytes: &[u8]) {
        self.state = match self.state {
            State::Tree { page } => self.tree_page(page, bytes),
            State::Overflow { page } => self.overflow_page(page, bytes),
            ended => ended,
        };
    }

    /// The record's bytes: all of them once the step is `Found`, a first part before.
    pub fn record(&self) -> &[u8] {
        &self.record
    }

    /// Levels of the tree gone down so far; after the end, the depth of the tree.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// `state` for `page`, if there is such a page.
    fn visit(&self, page: u32, state: impl FnOnce(u32) -> State) -> State {
        if page == 0 || page > self.table.pages {
            return State::Corrupt(Corruption::PageNumber {
                page,
                pages: self.table.pages,
            });
        }
        state(page)
    }

    /// The part of `bytes` that SQLite uses, if they are one page.
    fn usable<'b>(&self, page: u32, bytes: &'b [u8]) -> Result<&'b [u8], Corruption> {
        let Table {
            page_bytes,
            usable_bytes,
            ..
        } = self.table;
        if bytes.len() != page_bytes as usize {
            return Err(Corruption::Supply {
                page,
                page_bytes,
                supplied: bytes.len(),
            });
        }
        bytes
            .get(..usable_bytes as usize)
            .ok_or(Corruption::Offset { page })
    }

    fn tree_page(&mut self, page: u32, bytes: &[u8]) -> State {
        if self.levels == DEPTH_MAX {
            return State::Corrupt(Corruption::TooDeep { page });
        }
        self.levels += 1;
        let descent = match self.usable(page, bytes) {
            Ok(usable) => page::search(usable, page, self.rowid),
            Err(why) => Err(why),
        };
        let cell = match descent {
            Ok(Descent::Child(child)) => return self.visit(child, |page| State::Tree { page }),
            Ok(Descent::Missing) => return State::Missing,
            Ok(Descent::Cell(cell)) => cell,
            Err(why) => return State::Corrupt(why),
        };
        let payload_bytes = cell.payload_bytes;
        if payload_bytes > RECORD_BYTES_MAX {
            return State::Corrupt(Corruption::RecordTooLong { payload_bytes });
        }
        self.payload_bytes = payload_bytes;
        self.record.extend_from_slice(cell.local);
        match cell.overflow {
            None => State::Found,
            Some(next) => self.visit(next, |page| State::Overflow { page }),
        }
    }

    /// Section 1.7: {next page or 0, bytes of the record}. Every page takes at least one byte
    /// off what is missing, so a chain in a circle ends too.
    fn overflow_page(&mut self, page: u32, bytes: &[u8]) -> State {
        let usable = match self.usable(page, bytes) {
            Ok(usable) => usable,
            Err(why) => return State::Corrupt(why),
        };
        let Some((next, content)) = usable.split_first_chunk::<4>() else {
            return State::Corrupt(Corruption::Offset { page });
        };
        let missing = self.payload_bytes.saturating_sub(self.record.len() as u64);
        let taken = content.len().min(missing as usize);
        self.record.extend_from_slice(&content[..taken]);
        if taken as u64 == missing {
            return State::Found;
        }
        let (held, payload_bytes) = (self.record.len() as u64, self.payload_bytes);
        match u32::from_be_bytes(*next) {
            _ if taken == 0 => State::Corrupt(Corruption::Offset { page }),
            0 => State::Corrupt(Corruption::ChainEnds {
                held,
                payload_bytes,
            }),
            next => self.visit(next, |page| State::Overflow { page }),
        }
    }
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
