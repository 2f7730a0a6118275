//! What SQLite itself says of a file: its tables, where their B-trees start, their columns.
//!
//! The schema is read by the real SQLite, bundled, because a table's definition is text in SQL.
//! The file is opened for reading only and never changed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::header::{HEADER_BYTES, Header, HeaderError};
use super::walk::Table;

/// A database file that was opened for reading.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    header: Header,
    connection: Connection,
}

/// A column, in the order of the table's definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// It is in the record; a `GENERATED … VIRTUAL` column is not.
    pub stored: bool,
    /// It may be the rowid under another name, which the record holds as NULL.
    pub rowid_alias: bool,
}

/// A table that has rowids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableInfo {
    /// Its name, as it was created.
    pub name: String,
    /// Where its B-tree is.
    pub table: Table,
    /// Its columns.
    pub columns: Vec<Column>,
    /// A name by which SQL reaches the rowid (a column may take away the usual one).
    pub rowid_name: &'static str,
}

/// Why a file or table cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no usable database.
    #[error("{}: {source}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// Why.
        source: HeaderError,
    },
    /// SQLite refused.
    #[error("{}: SQLite says: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: rusqlite::Error,
    },
    /// No table of that name.
    #[error("{}: there is no table {name:?}; {}", path.display(), listed(tables))]
    NoSuchTable {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// The tables there are.
        tables: Vec<String>,
    },
    /// No name was given, and there is not exactly one table.
    #[error("{}: name a table with --table; {}", path.display(), listed(tables))]
    WhichTable {
        /// The file.
        path: PathBuf,
        /// The tables there are.
        tables: Vec<String>,
    },
    /// A view or a virtual table: no B-tree of its own.
    #[error("{name:?} is a {kind}, not a table with rows of its own")]
    NotATable {
        /// Its name.
        name: String,
        /// What SQLite calls it.
        kind: String,
    },
    /// The table is an index.
    #[error(
        "{name:?} is a WITHOUT ROWID table: it is stored as an index by its primary key and has \
         no rowids to look up"
    )]
    WithoutRowid {
        /// Its name.
        name: String,
    },
    /// Columns hide all three names of the rowid.
    #[error("{name:?} has columns named rowid, _rowid_ and oid, so that SQL cannot name its rowid")]
    RowidHidden {
        /// The table.
        name: String,
    },
}

/// "it has the tables a, b", cut short.
fn listed(tables: &[String]) -> String {
    const SHOWN: usize = 12;
    match tables {
        [] => "the database has no tables".to_string(),
        [one] => format!("the database has one table, {one}"),
        more if more.len() <= SHOWN => format!("the database has the tables {}", more.join(", ")),
        more => {
            let rest = more.len() - SHOWN;
            format!(
                "the database has the tables {} and {rest} more",
                more[..SHOWN].join(", ")
            )
        }
    }
}

impl Database {
    /// Opens `path` for reading, after checking its header.
    pub fn open(path: &Path) -> Result<Database, CatalogError> {
        let header = read_header(path)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(path, flags).map_err(|source| CatalogError::Sqlite {
                path: path.to_path_buf(),
                source,
            })?;
        Ok(Database {
            path: path.to_path_buf(),
            header,
            connection,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// SQLite's own view of it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The names of its tables, without SQLite's own.
    pub fn tables(&self) -> Result<Vec<String>, CatalogError> {
        let list = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.connection.prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' \
                 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
            )?;
            statement.query_map([], |row| row.get(0))?.collect()
        };
        list().map_err(|source| self.refused(source))
    }

    /// The table `name`, or the only one if no name is given.
    pub fn table(&self, name: Option<&str>) -> Result<TableInfo, CatalogError> {
        let Some(name) = name else {
            let mut tables = self.tables()?;
            return match (tables.pop(), tables.is_empty()) {
                (Some(only), true) => self.named(&only),
                (last, _) => {
                    tables.extend(last);
                    Err(CatalogError::WhichTable {
                        path: self.path.clone(),
                        tables,
                    })
                }
            };
        };
        self.named(name)
    }

    fn named(&self, name: &str) -> Result<TableInfo, CatalogError> {
        let found = self
            .connection
            .query_row(
                "SELECT s.name, s.rootpage, l.type, l.wr \
                 FROM sqlite_schema s JOIN pragma_table_list l \
                 ON l.schema = 'main' AND l.name = s.name \
                 WHERE s.type IN ('table', 'view') AND s.name = ?1 COLLATE NOCASE",
                [name],
                |row| {
                    let root: Option<i64> = row.get(1)?;
                    Ok((
                        row.get(0)?,
                        root,
                        row.get::<_, String>(2)?,
                        row.get::<_, bool>(3)?,
                    ))
                },
            )
            .optional()
            .map_err(|source| self.refused(source))?;
        let Some((name, root, kind, without_rowid)) = found else {
            let (path, tables) = (self.path.clone(), self.tables()?);
            return Err(CatalogError::NoSuchTable {
                path,
                name: name.to_string(),
                tables,
            });
        };
        if without_rowid {
            return Err(CatalogError::WithoutRowid { name });
        }
        let root_page = root.and_then(|root| u32::try_from(root).ok()).unwrap_or(0);
        // A full-text index's own tables are "shadow" tables, and ordinary ones to a reader.
        if root_page == 0 || !matches!(kind.as_str(), "table" | "shadow") {
            return Err(CatalogError::NotATable { name, kind });
        }
        let columns = self.columns(&name).map_err(|source| self.refused(source))?;
        let free = |alias: &&str| !columns.iter().any(|c| c.name.eq_ignore_ascii_case(alias));
        let Some(rowid_name) = ["rowid", "_rowid_", "oid"].into_iter().find(free) else {
            return Err(CatalogError::RowidHidden { name });
        };
        Ok(TableInfo {
            table: self.header.table(root_page),
            name,
            columns,
            rowid_name,
        })
    }

    fn columns(&self, table: &str) -> rusqlite::Result<Vec<Column>> {
        let mut statement = self
            .connection
            .prepare("SELECT name, type, pk, hidden FROM pragma_table_xinfo(?1) ORDER BY cid")?;
        let columns = statement.query_map([table], |row| {
            let declared: Option<String> = row.get(1)?;
            let key: i64 = row.get(2)?;
            let hidden: i64 = row.get(3)?;
            let integer = declared.is_some_and(|kind| kind.eq_ignore_ascii_case("INTEGER"));
            Ok(Column {
                name: row.get(0)?,
                stored: hidden != 2,
                rowid_alias: key == 1 && integer,
            })
        })?;
        columns.collect()
    }

    fn refused(&self, source: rusqlite::Error) -> CatalogError {
        CatalogError::Sqlite {
            path: self.path.clone(),
            source,
        }
    }
}

/// Reads and checks the header of `path`.
pub fn read_header(path: &Path) -> Result<Header, CatalogError> {
    let read = || {
        let file = File::open(path)?;
        let file_bytes = file.metadata()?.len();
        let mut start = Vec::with_capacity(HEADER_BYTES);
        file.take(HEADER_BYTES as u64).read_to_end(&mut start)?;
        Ok((start, file_bytes))
    };
    let (start, file_bytes) = read().map_err(|source| CatalogError::Read {
        path: path.to_path_buf(),
        source,
    })?;
    Header::parse(&start, file_bytes).map_err(|source| CatalogError::Header {
        path: path.to_path_buf(),
        source,
    })
}

/// `name` as an SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(sql: &str) -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let database = Database::open(&path).unwrap();
        (folder, database)
    }

    #[test]
    fn tables_and_columns() {
        let (_folder, database) = database(
            "CREATE TABLE \"odd \"\"name\" (id INTEGER PRIMARY KEY, a TEXT, \
             v AS (a || 'x') VIRTUAL, s AS (a || 'y') STORED, rowid INT); \
             CREATE TABLE plain (a, b);",
        );
        assert_eq!(database.tables().unwrap(), ["odd \"name", "plain"]);
        let odd = database.table(Some("ODD \"name")).unwrap();
        assert_eq!(odd.name, "odd \"name");
        assert_eq!((odd.table.root_page, odd.rowid_name), (2, "_rowid_"));
        let columns: Vec<_> = odd
            .columns
            .iter()
            .map(|c| (c.name.as_str(), c.stored, c.rowid_alias))
            .collect();
        assert_eq!(
            columns,
            [
                ("id", true, true),
                ("a", true, false),
                ("v", false, false),
                ("s", true, false),
                ("rowid", true, false)
            ]
        );
        assert!(matches!(
            database.table(None),
            Err(CatalogError::WhichTable { .. })
        ));
        let error = database.table(Some("none")).unwrap_err();
        assert!(error.to_string().contains("odd \"name, plain"), "{error}");
    }

    #[test]
    fn the_only_table_needs_no_name() {
        let (_folder, database) = database("CREATE TABLE orders (a);");
        assert_eq!(database.table(None).unwrap().name, "orders");
    }

    #[test]
    fn what_has_no_rowids_is_refused_in_a_sentence() {
        let (_folder, database) = database(
            "CREATE TABLE w (k TEXT PRIMARY KEY) WITHOUT ROWID; CREATE VIEW v AS SELECT 1; \
             CREATE TABLE h (rowid, _rowid_, oid);",
        );
        let refusal = |name| database.table(Some(name)).unwrap_err().to_string();
        assert!(refusal("w").contains("WITHOUT ROWID"), "{}", refusal("w"));
        assert!(refusal("v").contains("is a view"), "{}", refusal("v"));
        assert!(refusal("h").contains("_rowid_"), "{}", refusal("h"));
    }

    #[test]
    fn unusable_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let refusal = || Database::open(&path).unwrap_err().to_string();
        assert!(refusal().contains("cannot read"), "{}", refusal());
        std::fs::write(&path, b"o_orderkey|o_custkey\n".repeat(20)).unwrap();
        assert!(refusal().contains("not a SQLite database"), "{}", refusal());
    }
}
