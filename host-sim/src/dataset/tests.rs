//! Made files are what they say, are kept, and are made again when damaged.

use super::*;
use crate::demo::check::Reference;
use crate::sqlite::walk_file;

/// A watch that lets everything pass.
fn ignore(_: Progress) -> bool {
    true
}

/// Whether `path` is exactly as long as the database in it.
fn is_exact(path: &Path, placement: &Placement) -> bool {
    fs::metadata(path).unwrap().len() == placement.bytes()
}

/// Small enough for a test, large enough for two levels everywhere but at 64 KiB.
fn small(page_bytes: u32) -> Dataset {
    Dataset {
        content: Content::Orders { scale: 0.001 },
        page_bytes,
    }
}

/// Looks up every row of the file by the walk and compares it with SQLite's answer.
fn check_every_row(path: &Path, table: &str) -> u64 {
    let database = Database::open(path).unwrap();
    let info = database.table(Some(table)).unwrap();
    let file = fs::read(path).unwrap();
    let mut reference = Reference::new(&database, &info).unwrap();
    let sql = format!("SELECT {} FROM {table}", info.rowid_name);
    let mut statement = database.connection().prepare(&sql).unwrap();
    let rowids = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
    let mut rows = 0;
    for rowid in rowids {
        let rowid = rowid.unwrap();
        let record = walk_file(&file, &info.table, rowid).unwrap();
        assert_eq!(
            reference.check(rowid, record.as_deref()).unwrap(),
            Ok(()),
            "rowid {rowid}"
        );
        rows += 1;
    }
    rows
}

#[test]
fn orders_are_tpch_orders() {
    let folder = tempfile::tempdir().unwrap();
    let mut seen = Vec::new();
    let mut watch = |progress: Progress| {
        seen.push(progress);
        true
    };
    let path = small(1024).file(folder.path(), &mut watch).unwrap();
    assert_eq!(
        seen.last(),
        Some(&Progress {
            done: 1500,
            total: 1500
        })
    );
    assert_eq!(check_every_row(&path, "orders"), 1500);
    let database = Database::open(&path).unwrap();
    // The first row of orders.tbl at any scale, as dbgen writes it.
    let first = database.connection().query_row(
        "SELECT o_orderstatus || o_orderdate || o_orderpriority FROM orders WHERE o_orderkey = 1",
        [],
        |row| row.get::<_, String>(0),
    );
    assert_eq!(first.unwrap(), "O1996-01-025-LOW");
}

#[test]
fn mixed_rows_overflow_and_are_found_at_every_page_size() {
    let folder = tempfile::tempdir().unwrap();
    for page_bytes in [512, 1024, 4096, 65_536] {
        let dataset = Dataset {
            content: Content::Mixed { rows: 1500 },
            page_bytes,
        };
        let path = dataset.file(folder.path(), &mut ignore).unwrap();
        let rows = check_every_row(&path, "mixed");
        assert!((1200..1500).contains(&rows), "{rows} of 1500 rows are left");
        let database = Database::open(&path).unwrap();
        let ask = |sql: &str| {
            database
                .connection()
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .unwrap()
        };
        assert!(ask("SELECT max(length(note) + length(body)) FROM mixed") > 8192);
        assert!(ask("SELECT count(*) FROM mixed WHERE id < 0") > 0);
        let placement = Placement::of(&path).unwrap();
        assert_eq!(
            placement.block_bytes,
            if page_bytes < 4096 { 512 } else { 4096 }
        );
        assert!(is_exact(&path, &placement));
    }
}

#[test]
fn a_cached_file_is_taken_and_a_damaged_one_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = small(4096).file(folder.path(), &mut ignore).unwrap();
    let good = fs::read(&path).unwrap();
    let mut made = 0;
    let mut count = |_: Progress| {
        made += 1;
        true
    };
    small(4096).file(folder.path(), &mut count).unwrap();
    let mut damaged = good.clone();
    damaged[4096 * 3..4096 * 4].fill(0xaa);
    fs::write(&path, &damaged).unwrap();
    small(4096).file(folder.path(), &mut ignore).unwrap();
    assert_eq!(fs::read(&path).unwrap(), good);
    fs::write(&path, &good[..good.len() - 4096]).unwrap();
    small(4096).file(folder.path(), &mut ignore).unwrap();
    assert_eq!(fs::read(&path).unwrap(), good);
    assert_eq!(made, 0);
    // Drafts are gone.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_stopped_draft_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let stopped = small(4096).file(folder.path(), &mut |_| false);
    assert!(matches!(stopped, Err(DatasetError::Stopped)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_cannot_be_made_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |dataset: Dataset| dataset.file(folder.path(), &mut ignore).unwrap_err();
    assert!(matches!(
        refused(small(1000)),
        DatasetError::PageBytes(1000)
    ));
    assert!(matches!(
        refused(small(131_072)),
        DatasetError::PageBytes(131_072)
    ));
    for scale in [0.0, -1.0, f64::NAN, 1e9] {
        let dataset = Dataset {
            content: Content::Orders { scale },
            page_bytes: 4096,
        };
        assert!(matches!(refused(dataset), DatasetError::Scale(_)));
    }
}

#[test]
fn a_snapshot_has_what_the_write_ahead_log_holds_and_ends_with_the_last_page() {
    let folder = tempfile::tempdir().unwrap();
    let (source, target) = (folder.path().join("user.db"), folder.path().join("copy.db"));
    let writer = Connection::open(&source).unwrap();
    writer.pragma_update(None, "journal_mode", "WAL").unwrap();
    writer
        .execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES ('in the log');")
        .unwrap();
    snapshot(&source, &target, &mut ignore).unwrap();
    assert_eq!(check_every_row(&target, "t"), 1);
    assert!(!Placement::of(&target).unwrap().header.write_ahead_log);
    assert!(is_exact(&target, &Placement::of(&target).unwrap()));
    drop(writer);
    // Something behind the last page is not part of the database.
    let mut bytes = fs::read(&source).unwrap();
    bytes.extend([0xff; 100]);
    fs::write(&source, bytes).unwrap();
    assert!(!is_exact(&source, &Placement::of(&source).unwrap()));
    snapshot(&source, &target, &mut ignore).unwrap();
    assert!(is_exact(&target, &Placement::of(&target).unwrap()));
}
