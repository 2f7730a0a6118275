//! The lookup against files that SQLite wrote, and against damaged ones.

use proptest::prelude::*;
use rusqlite::{Connection, params};

use super::*;
use crate::random::Random;
use crate::sqlite::{Database, walk_file};

/// A rowid, and the blob in its row if there is one.
type Row = (i64, Option<Vec<u8>>);

/// A database with `rows` rows of uneven size, a tenth of them deleted, as bytes.
fn made(page_bytes: u32, rows: i64, seed: u64) -> (Vec<u8>, Table, Vec<Row>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.db");
    let mut random = Random::new(seed);
    let mut connection = Connection::open(&path).unwrap();
    connection
        .pragma_update(None, "page_size", page_bytes)
        .unwrap();
    let transaction = connection.transaction().unwrap();
    transaction
        .execute_batch("CREATE TABLE first (a); CREATE TABLE t (b BLOB)")
        .unwrap();
    let mut keys = vec![i64::MIN, i64::MAX, 0, -1, 1];
    keys.extend((0..rows).map(|row| (row - rows / 2) * 3));
    keys.sort_unstable();
    keys.dedup();
    let mut expected = Vec::new();
    for &key in &keys {
        let longest = if random.below(8) == 0 {
            4 * u64::from(page_bytes)
        } else {
            120
        };
        let blob: Vec<u8> = (0..random.below(longest))
            .map(|_| random.next_u64() as u8)
            .collect();
        transaction
            .execute(
                "INSERT INTO t (rowid, b) VALUES (?1, ?2)",
                params![key, blob],
            )
            .unwrap();
        expected.push((key, Some(blob)));
    }
    for (key, blob) in &mut expected {
        if random.below(10) == 0 {
            transaction
                .execute("DELETE FROM t WHERE rowid = ?1", [*key])
                .unwrap();
            *blob = None;
        }
    }
    transaction.commit().unwrap();
    drop(connection);
    expected.push((2, None));
    let table = Database::open(&path)
        .unwrap()
        .table(Some("t"))
        .unwrap()
        .table;
    (std::fs::read(&path).unwrap(), table, expected)
}

/// The one blob of a record.
fn blob(record: &[u8]) -> Vec<u8> {
    let mut values = Vec::new();
    crate::sqlite::record::read(record, &mut values).unwrap();
    match values[..] {
        [crate::sqlite::Value::Blob(blob)] => blob.to_vec(),
        ref other => panic!("one blob was stored, not {other:?}"),
    }
}

#[test]
fn finds_what_sqlite_stored_at_every_page_size() {
    for shift in 9..=16 {
        let (file, table, expected) = made(1 << shift, 3000, shift);
        assert_eq!(table.page_bytes, 1 << shift);
        for (rowid, content) in expected {
            let found = walk_file(&file, &table, rowid).unwrap();
            assert_eq!(
                found.as_deref().map(blob),
                content,
                "rowid {rowid}, 2^{shift} byte pages"
            );
        }
    }
}

#[test]
fn the_schema_table_on_page_one_is_a_table_too() {
    let (file, table, _) = made(512, 10, 1);
    let schema = Table {
        root_page: 1,
        ..table
    };
    let record = walk_file(&file, &schema, 2).unwrap().unwrap();
    let mut values = Vec::new();
    crate::sqlite::record::read(&record, &mut values).unwrap();
    assert_eq!(values[1], crate::sqlite::Value::Text(b"t"));
    assert_eq!(
        values[3],
        crate::sqlite::Value::Integer(i64::from(table.root_page))
    );
}

#[test]
fn reserved_bytes_at_the_end_of_pages_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.db");
    let mut connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "page_size", 512).unwrap();
    // The header of a new database decides: write one by hand, then let SQLite fill it.
    connection.execute_batch("CREATE TABLE t (b BLOB)").unwrap();
    drop(connection);
    let mut file = std::fs::read(&path).unwrap();
    file[20] = 32;
    // The schema's one cell must end where the usable part does: move it down by 32 bytes.
    let start = usize::from(u16::from_be_bytes([file[105], file[106]]));
    file.copy_within(start..512, start - 32);
    for at in [105, 108] {
        file[at..at + 2].copy_from_slice(&(start as u16 - 32).to_be_bytes());
    }
    let root = 512..1024;
    file[root.start + 5..root.start + 7].copy_from_slice(&480u16.to_be_bytes());
    std::fs::write(&path, &file).unwrap();
    connection = Connection::open(&path).unwrap();
    connection
        .pragma_update(None, "synchronous", "OFF")
        .unwrap();
    let blobs: Vec<Vec<u8>> = (0..200).map(|row| vec![row as u8; row * 13]).collect();
    for (row, blob) in blobs.iter().enumerate() {
        connection
            .execute(
                "INSERT INTO t (rowid, b) VALUES (?1, ?2)",
                params![row as i64, blob],
            )
            .unwrap();
    }
    let sound: String = connection
        .query_row("PRAGMA integrity_check", [], |r| r.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
    drop(connection);
    let table = Database::open(&path).unwrap().table(None).unwrap().table;
    assert_eq!(table.usable_bytes, 480);
    let file = std::fs::read(&path).unwrap();
    for (row, content) in blobs.iter().enumerate() {
        let record = walk_file(&file, &table, row as i64).unwrap().unwrap();
        assert_eq!(&blob(&record), content);
    }
}

#[test]
fn the_depth_is_the_number_of_reads() {
    let (file, table, _) = made(512, 3000, 1);
    let mut walk = Walk::start(i64::MAX - 1, &table);
    let mut reads = 0;
    while let Step::Read { offset, length } = walk.next() {
        walk.supply(&file[offset as usize..][..length as usize]);
        reads += 1;
    }
    assert_eq!((walk.next(), walk.levels()), (Step::Missing, reads));
    assert!(reads >= 3, "{reads} levels");
    // What has ended stays so.
    walk.supply(&file[..512]);
    assert_eq!(walk.next(), Step::Missing);
}

#[test]
fn a_tree_in_a_circle_ends() {
    // Page 2 is an interior page without cells whose right child is page 2.
    let mut file = vec![0u8; 1024];
    file[512] = 5;
    file[512 + 11] = 2;
    let table = Table {
        root_page: 2,
        page_bytes: 512,
        usable_bytes: 512,
        pages: 2,
    };
    assert_eq!(
        walk_file(&file, &table, 1),
        Err(Corruption::TooDeep { page: 2 })
    );
}

#[test]
fn an_overflow_chain_in_a_circle_ends() {
    // One row on page 1 + 1 whose record claims 300 000 bytes, and page 3 that leads to itself.
    let mut file = vec![0u8; 1536];
    file[512] = 13;
    file[512 + 4] = 1;
    file[512 + 9] = 20;
    file[532..536].copy_from_slice(&[0x92, 0xa7, 0x60, 1]);
    let local = 39 + (300_000 - 39) % 508;
    let local = if local <= 477 { local } else { 39 };
    file[536 + local + 3] = 3;
    file[1024 + 3] = 3;
    let table = Table {
        root_page: 2,
        page_bytes: 512,
        usable_bytes: 512,
        pages: 3,
    };
    assert_eq!(walk_file(&file, &table, 1).unwrap().unwrap().len(), 300_000);
    file[1024 + 3] = 0;
    assert!(matches!(
        walk_file(&file, &table, 1),
        Err(Corruption::ChainEnds { .. })
    ));
    file[1024 + 3] = 9;
    assert_eq!(
        walk_file(&file, &table, 1),
        Err(Corruption::PageNumber { page: 9, pages: 3 })
    );
    file[532..536].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f]);
    file[536] = 1;
    assert!(matches!(
        walk_file(&file, &table, 1),
        Err(Corruption::RecordTooLong { .. })
    ));
}

#[test]
fn a_page_of_the_wrong_size_is_refused() {
    let table = Table {
        root_page: 1,
        page_bytes: 512,
        usable_bytes: 512,
        pages: 1,
    };
    let mut walk = Walk::start(1, &table);
    walk.supply(&[0; 511]);
    let refused = Corruption::Supply {
        page: 1,
        page_bytes: 512,
        supplied: 511,
    };
    assert_eq!(walk.next(), Step::Corrupt(refused));
    let outside = Walk::start(
        1,
        &Table {
            root_page: 0,
            ..table
        },
    );
    assert!(matches!(
        outside.next(),
        Step::Corrupt(Corruption::PageNumber { page: 0, .. })
    ));
    let odd = Table {
        usable_bytes: 600,
        ..table
    };
    assert!(walk_file(&[0; 512], &odd, 1).is_err());
}

/// How many pages a lookup may read: every level, and every page of the longest chain in `file`.
fn reads_max(table: &Table) -> u64 {
    u64::from(DEPTH_MAX) + 1 + RECORD_BYTES_MAX / u64::from(table.usable_bytes - 4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// A database with some bytes changed gives an answer or a reason within bounds.
    #[test]
    fn a_damaged_database_never_panics(
        shift in 9u32..=12,
        seed in 0u64..4,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        in_headers in any::<bool>(),
        rowid in prop_oneof![Just(i64::MIN), Just(i64::MAX), -500i64..500],
    ) {
        let (mut file, table, _) = made(1 << shift, 200, seed);
        for (place, value) in damage {
            let mut at = place.index(file.len());
            if in_headers {
                // The bytes that lead somewhere stand at the start of a page.
                at = at - at % (1 << shift) + at % 40;
            }
            file[at] = value;
        }
        let mut walk = Walk::start(rowid, &table);
        let mut reads = 0;
        while let Step::Read { offset, length } = walk.next() {
            walk.supply(&file[offset as usize..][..length as usize]);
            reads += 1;
            prop_assert!(reads <= reads_max(&table));
        }
        let _ = crate::sqlite::record::read(walk.record(), &mut Vec::new());
    }

    /// Any bytes for pages, any table.
    #[test]
    fn arbitrary_pages_never_panic(
        mut page in prop::collection::vec(any::<u8>(), 512),
        kind in prop_oneof![Just(5u8), Just(13u8), any::<u8>()],
        cells in 0u16..300,
        root_page in 0u32..4,
        usable_bytes in 0u32..600,
        rowid in any::<i64>(),
    ) {
        let start = if root_page == 1 { 100 } else { 0 };
        page[start] = kind;
        page[start + 3..start + 5].copy_from_slice(&cells.to_be_bytes());
        let table = Table { root_page, page_bytes: 512, usable_bytes, pages: 3 };
        let mut walk = Walk::start(rowid, &table);
        for _ in 0..100 {
            if let Step::Read { length, .. } = walk.next() {
                prop_assert_eq!(length, 512);
                walk.supply(&page);
            }
        }
        let _ = crate::sqlite::record::read(&page, &mut Vec::new());
    }
}
