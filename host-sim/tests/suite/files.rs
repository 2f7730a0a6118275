//! Files for drives: zeroes, bytes, a store of BPF-KV, a database of SQLite.

use std::path::Path;

use programs::bpfkv;
use rusqlite::{Connection, params};
use tempfile::NamedTempFile;

/// Bytes of namespace 1, which is read and written.
pub(crate) const SCRATCH_BYTES: usize = 8 << 20;

/// Keys of namespace 2, three apart, a store of BPF-KV.
pub(crate) const KEYS: u64 = 500;

/// Rows of namespace 3, a database of SQLite.
pub(crate) const ROWS: i64 = 400;

/// The files behind the three namespaces.
pub(crate) struct Files {
    scratch: NamedTempFile,
    store: NamedTempFile,
    database: NamedTempFile,
    /// Where the table begins in the database.
    pub(crate) root_page: u32,
}

impl Files {
    /// Makes them, the first one all zeroes.
    pub(crate) fn make() -> Files {
        let entries = (0..KEYS).map(|key| (key * 3, bpfkv::value(key * 3)));
        let store = bpfkv::build(entries, 4).unwrap();
        let (database, root_page) = database();
        Files {
            scratch: zeroes(SCRATCH_BYTES as u64),
            store: file_of(&store.bytes),
            database,
            root_page,
        }
    }

    /// The files, and bytes of a block of each.
    pub(crate) fn namespaces(&self) -> [(&Path, u32); 3] {
        [
            (self.scratch.path(), 4096),
            (self.store.path(), 512),
            (self.database.path(), 4096),
        ]
    }

    /// What is in the first one now.
    pub(crate) fn scratch(&self) -> Vec<u8> {
        std::fs::read(self.scratch.path()).unwrap()
    }
}

/// The text of a row of the database.
pub(crate) fn text_of(row: i64) -> String {
    char::from(b'a' + (row % 26) as u8)
        .to_string()
        .repeat(1 + (row as usize * 37) % 9000)
}

fn database() -> (NamedTempFile, u32) {
    let file = NamedTempFile::new().unwrap();
    let connection = Connection::open(file.path()).unwrap();
    let make = "PRAGMA page_size = 4096; CREATE TABLE t (id INTEGER PRIMARY KEY, s TEXT); BEGIN";
    connection.execute_batch(make).unwrap();
    for row in 0..ROWS {
        let insert = "INSERT INTO t VALUES (?1, ?2)";
        connection
            .execute(insert, params![row * 10, text_of(row)])
            .unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    let root = "SELECT rootpage FROM sqlite_master WHERE name = 't'";
    let root_page = connection.query_row(root, [], |row| row.get(0)).unwrap();
    drop(connection);
    (file, root_page)
}

/// A file with these bytes, and zeroes up to a multiple of 4096.
fn file_of(bytes: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let length = bytes.len().next_multiple_of(4096) as u64;
    file.as_file().set_len(length).unwrap();
    file
}

/// A file of so many zeroes.
pub(crate) fn zeroes(bytes: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(bytes).unwrap();
    file
}
