//! Rowid lookups in a SQLite database that is reached block by block.
//!
//! This is the client's half of the comparison: the same walk down the table's B-tree that the
//! uploaded program does on the DPU, here done over reads that each cross the network. It is
//! written from the [file format](https://www.sqlite.org/fileformat2.html) and knows of SQLite
//! only what such a lookup needs:
//!
//! | file | holds |
//! |---|---|
//! | `header` | the 100 bytes at the start of the file, checked, with sentences for what is wrong |
//! | `varint` | SQLite's variable-length integers |
//! | `page` | one page of a table B-tree: find a rowid in it |
//! | `walk` | the lookup: which page is needed next, overflow chains, the record |
//! | `record` | a record's bytes as values |
//! | `catalog` | what SQLite itself says of a file's tables: root page, columns |
//!
//! Everything but `catalog` is sans-I/O and total: any bytes give an answer or a reason, never a
//! panic, never a loop without end. `catalog` asks the real SQLite.
//!
//! Left out: index B-trees (and with them `WITHOUT ROWID` tables), writing, write-ahead logs,
//! freelists, and everything else that is not on the way from a rowid to its record.

pub mod catalog;
pub mod header;
mod page;
pub mod record;
mod varint;
pub mod walk;

pub use catalog::{Column, Database, TableInfo};
pub use header::{Header, HeaderError, TextEncoding};
pub use record::{RecordError, Value};
pub use walk::{Corruption, Step, Table, Walk};

/// Looks `rowid` up in a database that is all in memory: `None` if there is no such row.
///
/// Every page read is checked to lie within `file`; a page beyond it is reported as the
/// corruption it is.
pub fn walk_file(file: &[u8], table: &Table, rowid: i64) -> Result<Option<Vec<u8>>, Corruption> {
    let mut walk = Walk::start(rowid, table);
    loop {
        match walk.next() {
            Step::Read { offset, length } => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                let page = start
                    .checked_add(length as usize)
                    .and_then(|end| file.get(start..end));
                walk.supply(page.unwrap_or(&[]));
            }
            Step::Found => return Ok(Some(walk.record().to_vec())),
            Step::Missing => return Ok(None),
            Step::Corrupt(why) => return Err(why),
        }
    }
}
