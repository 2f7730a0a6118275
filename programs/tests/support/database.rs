//! Databases for the suites of `sqlite_get`: made by SQLite, and damaged by us.

use programs::sqlite::Header;
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, params};

use super::Random;

/// A database with pages of this size, filled by `fill`, as the bytes of its file.
pub(crate) fn database(page_bytes: u32, reserved: u8, fill: impl FnOnce(&Connection)) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.db");
    let open = |pragmas: &str| {
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch(pragmas).unwrap();
        connection
    };
    drop(open(&format!(
        "PRAGMA page_size = {page_bytes}; PRAGMA user_version = 1;"
    )));
    if reserved > 0 {
        // Of an empty database: the reserved bytes, and where on page 1 cells would start.
        let mut bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), page_bytes as usize);
        bytes[20] = reserved;
        let start = (page_bytes - u32::from(reserved)) as u16;
        bytes[105..107].copy_from_slice(&start.to_be_bytes());
        std::fs::write(&path, bytes).unwrap();
    }
    let connection = open("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;");
    connection.execute_batch("BEGIN").unwrap();
    fill(&connection);
    connection.execute_batch("COMMIT").unwrap();
    let sound: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    drop(connection);
    let bytes = std::fs::read(&path).unwrap();
    let header = Header::parse(&bytes).unwrap();
    assert_eq!(
        (header.page_bytes, header.reserved_bytes),
        (page_bytes, reserved)
    );
    bytes
}

/// Some value of any type; text and blobs are up to `len_max` bytes.
pub(crate) fn any_value(random: &mut Random, len_max: usize) -> Sql {
    match random.below(8) {
        0 => Sql::Null,
        1 => Sql::Integer(random.below(2) as i64),
        2 | 3 => Sql::Integer(random.next() as i64 >> random.below(64)),
        4 => Sql::Real(random.next() as i64 as f64 / 7.0),
        5 | 6 => Sql::Text("outboard ".repeat(1 + random.below(len_max) / 9)),
        _ => Sql::Blob(
            (0..random.below(len_max))
                .map(|_| random.next() as u8)
                .collect(),
        ),
    }
}

/// The rowids of `t`, in order.
pub(crate) fn rowids_of(bytes: &[u8]) -> Vec<i64> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let connection = Connection::open(file.path()).unwrap();
    let mut query = connection
        .prepare("SELECT rowid FROM t ORDER BY rowid")
        .unwrap();
    let rowids: Vec<i64> = query
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(!rowids.is_empty());
    rowids
}

/// Rows of all kinds, with rowids of all lengths, a third of them deleted again.
pub(crate) fn fill_with_anything(connection: &Connection, seed: u64, rows: usize, len_max: usize) {
    connection
        .execute_batch("CREATE TABLE other(x); CREATE TABLE t(a, b, c)")
        .unwrap();
    let mut random = Random(seed);
    let mut insert = connection
        .prepare("INSERT OR REPLACE INTO t(rowid, a, b, c) VALUES (?, ?, ?, ?)")
        .unwrap();
    let mut rowids = vec![i64::MIN + 1, -1, 0, 1, i64::MAX];
    rowids.extend((0..rows).map(|_| random.next() as i64 >> random.below(60)));
    for &rowid in &rowids {
        let mut value = || any_value(&mut random, len_max);
        insert
            .execute(params![rowid, value(), value(), value()])
            .unwrap();
    }
    for rowid in rowids.iter().skip(5).step_by(3) {
        connection
            .execute("DELETE FROM t WHERE rowid = ?", params![rowid])
            .unwrap();
    }
}

/// A copy with some bytes changed, mostly where they matter most, and now and then cut short.
pub(crate) fn damage(bytes: &[u8], page_bytes: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..1 + random.below(30) {
        let page = random.below(bytes.len() / page_bytes) * page_bytes;
        let at = match random.below(4) {
            0 => random.below(page_bytes),
            _ => random.below(64),
        };
        bytes[page + at] = match random.below(4) {
            0 => 0xff,
            1 => bytes[page + at].wrapping_add(1),
            _ => random.next() as u8,
        };
    }
    if random.below(8) == 0 {
        bytes.truncate(random.below(bytes.len()));
    }
    bytes
}
