//! Arguments and replies of the programs that are called.
//!
//! The layouts are those at the top of `programs/src/sqlite_get.c` and `chase.c`, and of
//! [`super::spin`].

use programs::chase::ChaseArgs;
use programs::sqlite::SqliteGetArgs;

use super::world::Failure;
use crate::sqlite::Table;

/// `-ENOENT`: how `sqlite_get` says that the table has no such row.
const ENOENT: i32 = 2;

/// How the programs want their arguments. Each method clears `args` and fills it.
pub trait Calls {
    /// A lookup of `rowid`.
    fn lookup(&self, rowid: i64, args: &mut Vec<u8>);

    /// What a lookup's outcome means: a record, no such row (`None`), or a failure.
    fn found<'r>(&self, result: Result<&'r [u8], Failure>) -> Result<Option<&'r [u8]>, Failure>;

    /// A chain followed for `hops` reads; `turn` differs from call to call, to start elsewhere.
    fn chase(&self, hops: u32, turn: u64, args: &mut Vec<u8>);

    /// A loop of `rounds`.
    fn spin(&self, rounds: u32, args: &mut Vec<u8>);
}

/// The programs as they are shipped.
#[derive(Clone, Copy, Debug)]
pub struct ShippedCalls {
    /// The table looked up in.
    pub table: Table,
    /// Bytes of a cell of the chain that `chase` follows.
    pub cell_bytes: u32,
    /// Cells of that chain.
    pub cells: u32,
}

impl Calls for ShippedCalls {
    /// The page size is given, so that the header is not read for each lookup; what it says was
    /// checked once, by [`crate::sqlite::Header`].
    fn lookup(&self, rowid: i64, args: &mut Vec<u8>) {
        let table = &self.table;
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

    fn found<'r>(&self, result: Result<&'r [u8], Failure>) -> Result<Option<&'r [u8]>, Failure> {
        match result {
            Ok(record) => Ok(Some(record)),
            // The sign is the agent's way of writing it, or the program's.
            Err(Failure::Errno(number)) if number.unsigned_abs() == ENOENT as u32 => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    fn chase(&self, hops: u32, turn: u64, args: &mut Vec<u8>) {
        // A step that shares no factor with most numbers of cells spreads the starts.
        let cell = turn.wrapping_mul(0x9e37_79b1) % u64::from(self.cells.max(1));
        let start = cell * u64::from(self.cell_bytes);
        let wanted = ChaseArgs {
            start,
            hops,
            stride: self.cell_bytes,
        };
        args.clear();
        args.extend_from_slice(&wanted.to_bytes());
    }

    /// The rounds.
    fn spin(&self, rounds: u32, args: &mut Vec<u8>) {
        args.clear();
        args.extend_from_slice(&rounds.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts() {
        let table = Table {
            root_page: 2,
            page_bytes: 4096,
            usable_bytes: 4064,
            pages: 9,
        };
        let calls = ShippedCalls {
            table,
            cell_bytes: 512,
            cells: 10,
        };
        let mut args = vec![1, 2, 3];
        calls.lookup(-2, &mut args);
        let mut wanted = (-2i64).to_le_bytes().to_vec();
        wanted.extend([2, 0, 0, 0, 0, 16, 0, 0, 32, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(args, wanted);
        for turn in [0, 1, 2, u64::MAX] {
            calls.chase(3, turn, &mut args);
            let start = u64::from_le_bytes(args[..8].try_into().unwrap());
            assert!(start < 5120 && start % 512 == 0);
            assert_eq!(args[8..], [3, 0, 0, 0, 0, 2, 0, 0]);
        }
        calls.spin(7, &mut args);
        assert_eq!(args, [7, 0, 0, 0]);
    }

    #[test]
    fn a_missing_row_is_no_failure() {
        let table = Table {
            root_page: 2,
            page_bytes: 512,
            usable_bytes: 512,
            pages: 9,
        };
        let calls = ShippedCalls {
            table,
            cell_bytes: 512,
            cells: 1,
        };
        assert_eq!(calls.found(Ok(&[1])), Ok(Some(&[1][..])));
        assert_eq!(calls.found(Err(Failure::Errno(-2))), Ok(None));
        assert_eq!(calls.found(Err(Failure::Errno(2))), Ok(None));
        assert_eq!(
            calls.found(Err(Failure::Errno(-5))),
            Err(Failure::Errno(-5))
        );
    }
}
