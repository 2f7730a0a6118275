//! SQLite's own answer for a rowid, and whether a record that came over the wire agrees with it.
//!
//! A looked-up record is compared value by value with the columns that SQLite returns for the
//! same rowid. Four ways in which stored bytes and SQL values differ are part of the format and
//! allowed for:
//!
//! - an `INTEGER PRIMARY KEY` is stored as NULL, its value is the rowid;
//! - a whole number in a `REAL` column is stored as an integer;
//! - a record written before `ALTER TABLE … ADD COLUMN` ends early: the rest has its default;
//! - text may be stored as UTF-16.

use std::fmt;

use rusqlite::Statement;
use rusqlite::types::ValueRef;

use crate::sqlite::catalog::quoted;
use crate::sqlite::record::{self, RecordError, Value};
use crate::sqlite::{Database, TableInfo, TextEncoding};

/// How an answer differs from SQLite's.
#[derive(Clone, Debug, PartialEq)]
pub enum Mismatch {
    /// SQLite has the row; the answer says it is not there.
    NotFound,
    /// The answer has a record; SQLite has no such row.
    Invented,
    /// The answer's bytes are no record.
    Record(RecordError),
    /// The record has more columns than the table.
    Columns {
        /// Columns in the record.
        found: usize,
        /// Columns the table stores.
        expected: usize,
    },
    /// A column's value differs.
    Value {
        /// The column's name.
        column: String,
        /// SQLite's value.
        expected: String,
        /// The record's.
        found: String,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::NotFound => write!(f, "SQLite has this row, the lookup did not find it"),
            Mismatch::Invented => write!(f, "SQLite has no such row, the lookup found one"),
            Mismatch::Record(why) => write!(f, "the answer is no record: {why}"),
            Mismatch::Columns { found, expected } => {
                write!(
                    f,
                    "the record has {found} columns, the table stores {expected}"
                )
            }
            Mismatch::Value {
                column,
                expected,
                found,
            } => {
                write!(
                    f,
                    "column {column} is {expected} in SQLite, {found} in the answer"
                )
            }
        }
    }
}

/// SQLite, ready to be asked for single rows of one table.
pub struct Reference<'d> {
    statement: Statement<'d>,
    columns: Vec<Stored>,
    encoding: TextEncoding,
}

/// A column that records hold.
struct Stored {
    name: String,
    rowid_alias: bool,
}

impl<'d> Reference<'d> {
    /// Prepares to ask `database` for rows of `table`.
    pub fn new(database: &'d Database, table: &TableInfo) -> rusqlite::Result<Reference<'d>> {
        let stored = table.columns.iter().filter(|column| column.stored);
        let names: Vec<_> = stored.clone().map(|column| quoted(&column.name)).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} = ?1",
            names.join(", "),
            quoted(&table.name),
            table.rowid_name
        );
        let columns = stored
            .map(|column| Stored {
                name: column.name.clone(),
                rowid_alias: column.rowid_alias,
            })
            .collect();
        let statement = database.connection().prepare(&sql)?;
        Ok(Reference {
            statement,
            columns,
            encoding: database.header().encoding,
        })
    }

    /// Compares an answer for `rowid` (`None`: not there) with SQLite's.
    ///
    /// The outer error is SQLite's own: it could not answer.
    pub fn check(
        &mut self,
        rowid: i64,
        answer: Option<&[u8]>,
    ) -> rusqlite::Result<Result<(), Mismatch>> {
        let mut rows = self.statement.query([rowid])?;
        let row = rows.next()?;
        let (row, answer) = match (row, answer) {
            (None, None) => return Ok(Ok(())),
            (None, Some(_)) => return Ok(Err(Mismatch::Invented)),
            (Some(_), None) => return Ok(Err(Mismatch::NotFound)),
            (Some(row), Some(answer)) => (row, answer),
        };
        let mut values = Vec::with_capacity(self.columns.len());
        if let Err(why) = record::read(answer, &mut values) {
            return Ok(Err(Mismatch::Record(why)));
        }
        if values.len() > self.columns.len() {
            let (found, expected) = (values.len(), self.columns.len());
            return Ok(Err(Mismatch::Columns { found, expected }));
        }
        for (index, (column, &value)) in self.columns.iter().zip(&values).enumerate() {
            let expected = row.get_ref(index)?;
            if !agree(column, self.encoding, rowid, value, expected) {
                return Ok(Err(Mismatch::Value {
                    column: column.name.clone(),
                    expected: shown(&format!("{expected:?}")),
                    found: shown(&format!("{value:?}")),
                }));
            }
        }
        Ok(Ok(()))
    }
}

/// Whether a stored value is what SQLite shows as `expected`.
fn agree(
    column: &Stored,
    encoding: TextEncoding,
    rowid: i64,
    value: Value<'_>,
    expected: ValueRef<'_>,
) -> bool {
    match (value, expected) {
        (Value::Null, ValueRef::Null) => true,
        (Value::Null, ValueRef::Integer(shown)) => column.rowid_alias && shown == rowid,
        (Value::Integer(stored), ValueRef::Integer(shown)) => stored == shown,
        (Value::Integer(stored), ValueRef::Real(shown)) => (stored as f64) == shown,
        (Value::Real(stored), ValueRef::Real(shown)) => stored.to_bits() == shown.to_bits(),
        (Value::Blob(stored), ValueRef::Blob(shown)) => stored == shown,
        (Value::Text(stored), ValueRef::Text(shown)) => match encoding {
            TextEncoding::Utf8 => stored == shown,
            TextEncoding::Utf16Le => utf16_agrees(stored, shown, u16::from_le_bytes),
            TextEncoding::Utf16Be => utf16_agrees(stored, shown, u16::from_be_bytes),
        },
        _ => false,
    }
}

fn utf16_agrees(stored: &[u8], shown: &[u8], unit: fn([u8; 2]) -> u16) -> bool {
    let (pairs, rest) = stored.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    let mut text = String::with_capacity(shown.len());
    text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
    rest.is_empty() && text.as_bytes() == shown
}

/// The first 80 characters.
fn shown(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::walk_file;
    use rusqlite::Connection;

    /// Checks every row of table `t` that `sql` makes, by the records that a walk finds.
    fn check_all(sql: &str) -> Vec<Result<(), Mismatch>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let database = Database::open(&path).unwrap();
        let table = database.table(Some("t")).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let mut reference = Reference::new(&database, &table).unwrap();
        let rowids: Vec<i64> = database
            .connection()
            .prepare(&format!("SELECT {} FROM t", table.rowid_name))
            .unwrap()
            .query_map([], |row| row.get(0))
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        rowids
            .into_iter()
            .map(|rowid| {
                let record = walk_file(&bytes, &table.table, rowid).unwrap();
                reference.check(rowid, record.as_deref()).unwrap()
            })
            .collect()
    }

    #[test]
    fn what_the_format_stores_otherwise_agrees() {
        let results = check_all(
            "CREATE TABLE t (id INTEGER PRIMARY KEY, r REAL, a TEXT, b BLOB, \
             v AS (a || 'x') VIRTUAL, s AS (a || 'y') STORED); \
             INSERT INTO t VALUES (-5, 2.0, 'two', x'00ff'), (7, 2.5, 'ü', NULL), (8, 1e300, '', x''); \
             ALTER TABLE t ADD COLUMN later DEFAULT 9; \
             INSERT INTO t VALUES (9, -0.0, 'three', 5, 'late');",
        );
        assert_eq!(results, [Ok(()), Ok(()), Ok(()), Ok(())]);
    }

    #[test]
    fn utf16_agrees_too() {
        for encoding in ["UTF-16le", "UTF-16be"] {
            let sql = format!(
                "PRAGMA encoding = '{encoding}'; CREATE TABLE t (a TEXT); \
                 INSERT INTO t VALUES ('grün 🌲'), ('');"
            );
            assert_eq!(check_all(&sql), [Ok(()), Ok(())]);
        }
    }

    #[test]
    fn a_descending_key_is_no_alias_of_the_rowid() {
        let sql = "CREATE TABLE t (id INTEGER PRIMARY KEY DESC, a); \
                   INSERT INTO t VALUES (50, 'x'), (NULL, 'y');";
        assert_eq!(check_all(sql), [Ok(()), Ok(())]);
    }

    #[test]
    fn every_difference_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x');")
            .unwrap();
        let database = Database::open(&path).unwrap();
        let table = database.table(None).unwrap();
        let mut reference = Reference::new(&database, &table).unwrap();
        let mut check = |rowid, answer: Option<&[u8]>| reference.check(rowid, answer).unwrap();
        assert_eq!(check(1, Some(&[3, 9, 15, b'x'])), Ok(()));
        assert_eq!(check(2, None), Ok(()));
        assert_eq!(check(1, None), Err(Mismatch::NotFound));
        assert_eq!(check(2, Some(&[3, 9, 15, b'x'])), Err(Mismatch::Invented));
        assert!(matches!(check(1, Some(&[])), Err(Mismatch::Record(_))));
        assert!(matches!(
            check(1, Some(&[3, 8, 15, b'x'])),
            Err(Mismatch::Value { .. })
        ));
        assert!(matches!(
            check(1, Some(&[3, 9, 15, b'y'])),
            Err(Mismatch::Value { .. })
        ));
        assert!(matches!(
            check(1, Some(&[3, 9, 14, b'x'])),
            Err(Mismatch::Value { .. })
        ));
        assert!(matches!(
            check(1, Some(&[3, 0, 15, b'x'])),
            Err(Mismatch::Value { .. })
        ));
        assert_eq!(
            check(1, Some(&[4, 9, 9, 9])),
            Err(Mismatch::Columns {
                found: 3,
                expected: 2
            })
        );
    }
}
