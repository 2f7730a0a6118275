//! Arguments and replies of `sqlite_get`: the layouts at the top of `programs/src/sqlite_get.c`.

use programs::sqlite::SqliteGetArgs;

use super::world::Failure;
use crate::sqlite::Table;

/// `-ENOENT`: how `sqlite_get` says that the table has no such row.
const ENOENT: i32 = 2;

/// Fills `args` for a lookup of `rowid` in `table`.
///
/// The page size is given, so that the header is not read for each lookup; what it says was
/// checked once, by [`crate::sqlite::Header`].
pub fn lookup(table: &Table, rowid: i64, args: &mut Vec<u8>) {
    let wanted = SqliteGetArgs {
        rowid,
        root_page: table.root_page,
        page_bytes: table.page_bytes,
        reserved_bytes: table.page_bytes.saturating_sub(table.usable_bytes),
        wal_ok: false,
    };
    args.clear();
    args.extend_from_slice(&wanted.to_bytes());
}

/// What a lookup's outcome means: a record, no such row (`None`), or a failure.
pub fn found(result: Result<&[u8], Failure>) -> Result<Option<&[u8]>, Failure> {
    match result {
        Ok(record) => Ok(Some(record)),
        // The sign is the agent's way of writing it, or the program's.
        Err(Failure::Errno(number)) if number.unsigned_abs() == ENOENT as u32 => Ok(None),
        Err(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let table = Table {
            root_page: 2,
            page_bytes: 4096,
            usable_bytes: 4064,
            pages: 9,
        };
        let mut args = vec![1, 2, 3];
        lookup(&table, -2, &mut args);
        let mut wanted = (-2i64).to_le_bytes().to_vec();
        wanted.extend([2, 0, 0, 0, 0, 16, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(args, wanted);
    }

    #[test]
    fn a_missing_row_is_no_failure() {
        assert_eq!(found(Ok(&[1])), Ok(Some(&[1][..])));
        assert_eq!(found(Err(Failure::Errno(-2))), Ok(None));
        assert_eq!(found(Err(Failure::Errno(2))), Ok(None));
        assert_eq!(found(Err(Failure::Errno(-5))), Err(Failure::Errno(-5)));
    }
}
