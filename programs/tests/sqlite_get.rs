//! `sqlite_get` against databases that SQLite wrote, natively and under the sanitizers.

#[allow(dead_code)]
mod support;

use std::collections::BTreeMap;

use programs::sqlite::{Header, Record, SqliteGetArgs, Value, program_for};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use support::database::{damage, database, fill_with_anything, rowids_of};
use support::{Answer, Backend, Random, Start};

support::for_every_backend! {
    every_page_size,
    the_large_one_reads_small_pages_too,
    reserved_bytes,
    records_around_every_boundary_of_overflow,
    deep_trees,
    arguments_are_checked,
    other_trees_are_refused,
    files_that_are_no_plain_database,
    circles_come_to_an_end,
    damaged_databases_never_break_it,
}

const ENOENT: i32 = -2;
const EINVAL: i32 = -22;
const EFBIG: i32 = -27;
const ENODATA: i32 = -61;
const EMSGSIZE: i32 = -90;
const ENOTSUP: i32 = -95;
const EUCLEAN: i32 = -117;
const EMEDIUMTYPE: i32 = -124;
const ENOKEY: i32 = -126;

/// The program for pages of this size, and the longest record it returns.
fn start_for(start: Start, page_bytes: u32) -> (Box<dyn Backend>, usize) {
    let name = program_for(page_bytes).name;
    (
        start(name),
        if name == "sqlite_get" { 16384 } else { 65536 },
    )
}

fn same(value: Value<'_>, expected: ValueRef<'_>) -> bool {
    match (value, expected) {
        (Value::Null, ValueRef::Null) => true,
        (Value::Integer(a), ValueRef::Integer(b)) => a == b,
        (Value::Real(a), ValueRef::Real(b)) => a.to_bits() == b.to_bits(),
        (Value::Text(a), ValueRef::Text(b)) | (Value::Blob(a), ValueRef::Blob(b)) => a == b,
        _ => false,
    }
}

/// How many levels the tree has: the way down its right-most pages.
fn depth_of(bytes: &[u8], page_bytes: u32, root: u32) -> u32 {
    let (mut depth, mut page) = (1, root);
    loop {
        let top = (page - 1) as usize * page_bytes as usize + if page == 1 { 100 } else { 0 };
        if bytes[top] == 0x0d {
            return depth;
        }
        page = u32::from_be_bytes(*bytes[top + 8..].first_chunk().unwrap());
        depth += 1;
    }
}

/// How many overflow pages a record takes, by section 1.6 of the format.
fn overflow_pages(usable: usize, len: usize) -> usize {
    if len <= usable - 35 {
        return 0;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let some = least + (len - least) % (usable - 4);
    let local = if some <= usable - 35 { some } else { least };
    (len - local).div_ceil(usable - 4)
}

/// Finds a table's root page by looking at the schema, which is a table itself.
fn root_of(program: &mut dyn Backend, table: &str) -> u32 {
    for rowid in 1.. {
        let args = SqliteGetArgs {
            rowid,
            root_page: 1,
            ..SqliteGetArgs::default()
        };
        let answer = program.call(&args.to_bytes());
        assert!(answer.result > 0, "no {table}: {answer:?}");
        let record = Record::parse(&answer.reply).unwrap();
        if record.values[1] == Value::Text(table.as_bytes()) {
            let Value::Integer(root) = record.values[3] else {
                panic!("{record:?}")
            };
            return root as u32;
        }
    }
    unreachable!("the loop has no end but those inside")
}

/// Looks every row of `t` up, and the rowids beside it, and compares with what SQLite says.
fn check_all_rows(bytes: &[u8], program: &mut dyn Backend, reply_max: usize) -> u32 {
    let Header {
        page_bytes,
        reserved_bytes,
        ..
    } = Header::parse(bytes).unwrap();
    let reserved_bytes = u32::from(reserved_bytes);
    program.set_object(bytes);
    let root_page = root_of(program, "t");
    let depth = depth_of(bytes, page_bytes, root_page);

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let connection = Connection::open(file.path()).unwrap();
    let rowids: Vec<i64> = {
        let mut query = connection
            .prepare("SELECT rowid FROM t ORDER BY rowid")
            .unwrap();
        query
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    assert!(!rowids.is_empty());
    let mut query = connection
        .prepare("SELECT * FROM t WHERE rowid = ?")
        .unwrap();
    let columns = query.column_count();
    for &rowid in &rowids {
        let whole = SqliteGetArgs {
            rowid,
            root_page,
            page_bytes,
            reserved_bytes,
            wal_ok: false,
        };
        let answer = program.call(&whole.to_bytes());
        let mut rows = query.query(params![rowid]).unwrap();
        let row = rows.next().unwrap().unwrap();
        if answer.result == EMSGSIZE {
            let bytes_in = |column| match row.get_ref_unwrap(column) {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
                _ => 8,
            };
            let len: usize = (0..columns).map(bytes_in).sum();
            assert!(
                len + 30 > reply_max,
                "row {rowid} of {len} bytes should fit"
            );
            continue;
        }
        assert_eq!(
            answer.result as usize,
            answer.reply.len(),
            "row {rowid}: {}",
            answer.result
        );
        let record = Record::parse(&answer.reply).unwrap();
        assert_eq!(record.values.len(), columns);
        for (column, &value) in record.values.iter().enumerate() {
            let expected = row.get_ref_unwrap(column);
            assert!(
                same(value, expected),
                "row {rowid}: {value:?} for {expected:?}"
            );
        }
        let usable = (page_bytes - reserved_bytes) as usize;
        let reads = depth + overflow_pages(usable, answer.reply.len()) as u32;
        assert_eq!(
            answer.reads,
            reads,
            "row {rowid} of {} bytes",
            answer.reply.len()
        );

        let short = SqliteGetArgs {
            rowid,
            root_page,
            ..SqliteGetArgs::default()
        };
        let again = program.call(&short.to_bytes()[..12]);
        assert_eq!(
            again,
            Answer {
                reads: reads + 1,
                ..answer
            },
            "row {rowid}, reading the header"
        );
    }
    let beside = rowids
        .iter()
        .flat_map(|id| [id.wrapping_sub(1), id.wrapping_add(1)]);
    for rowid in beside
        .filter(|id| rowids.binary_search(id).is_err())
        .chain([i64::MIN])
    {
        let args = SqliteGetArgs {
            rowid,
            root_page,
            page_bytes,
            reserved_bytes,
            wal_ok: true,
        };
        let answer = program.call(&args.to_bytes());
        assert!(
            (answer.result == ENOENT && answer.reads == depth) || rowids.contains(&rowid),
            "there is no row {rowid}: {answer:?}"
        );
    }
    depth
}

fn every_page_size(start: Start) {
    for page_bytes in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
        let (mut program, reply_max) = start_for(start, page_bytes);
        let bytes = database(page_bytes, 0, |connection| {
            fill_with_anything(connection, u64::from(page_bytes), 600, 2500);
        });
        check_all_rows(&bytes, &mut *program, reply_max);
        program.finish();
    }
}

fn the_large_one_reads_small_pages_too(start: Start) {
    let (mut program, reply_max) = start_for(start, 65536);
    for page_bytes in [512, 4096] {
        let bytes = database(page_bytes, 0, |connection| {
            fill_with_anything(connection, 9, 200, 30_000);
        });
        check_all_rows(&bytes, &mut *program, reply_max);
    }
    program.finish();
}

fn reserved_bytes(start: Start) {
    for (page_bytes, reserved) in [(512, 32), (1024, 255), (4096, 1), (4096, 80), (65536, 48)] {
        let (mut program, reply_max) = start_for(start, page_bytes);
        let bytes = database(page_bytes, reserved, |connection| {
            fill_with_anything(
                connection,
                u64::from(reserved),
                300,
                3 * page_bytes as usize / 2,
            );
        });
        check_all_rows(&bytes, &mut *program, reply_max);
        program.finish();
    }
}

fn records_around_every_boundary_of_overflow(start: Start) {
    for (page_bytes, reserved) in [(512, 0), (512, 32), (1024, 0), (4096, 16), (65536, 0)] {
        let (mut program, reply_max) = start_for(start, page_bytes);
        let usable = page_bytes as usize - usize::from(reserved);
        let bytes = database(page_bytes, reserved, |connection| {
            connection.execute_batch("CREATE TABLE t(a)").unwrap();
            let mut insert = connection.prepare("INSERT INTO t(a) VALUES (?)").unwrap();
            let least = (usable - 12) * 32 / 255 - 23;
            let edges = [
                usable - 35,
                least + usable - 4,
                least + 2 * (usable - 4),
                2 * usable,
            ];
            for edge in edges.into_iter().chain([reply_max]) {
                for len in edge.saturating_sub(12)..edge + 6 {
                    insert.execute(params![vec![len as u8; len]]).unwrap();
                }
            }
        });
        check_all_rows(&bytes, &mut *program, reply_max);
        program.finish();
    }
}

fn deep_trees(start: Start) {
    let mut depths = BTreeMap::new();
    for (rows, spread) in [(1, 1), (300, 1), (6000, 1_i64 << 48), (40_000, -(1 << 40))] {
        let (mut program, reply_max) = start_for(start, 512);
        let bytes = database(512, 0, |connection| {
            connection.execute_batch("CREATE TABLE t(a)").unwrap();
            let mut insert = connection
                .prepare("INSERT INTO t(rowid, a) VALUES (?, ?)")
                .unwrap();
            for row in 0..rows {
                insert
                    .execute(params![row * spread, vec![row as u8; 300]])
                    .unwrap();
            }
        });
        depths.insert(rows, check_all_rows(&bytes, &mut *program, reply_max));
        program.finish();
    }
    let depths: Vec<u32> = depths.into_values().collect();
    assert!(
        depths.is_sorted() && depths[0] == 1 && depths[2] >= 4 && depths[3] >= 5,
        "{depths:?}"
    );
}

/// A small database, and the program for it.
fn small(start: Start) -> (Vec<u8>, Box<dyn Backend>) {
    let bytes = database(512, 0, |connection| {
        connection
            .execute_batch(
                "CREATE TABLE t(a, b); CREATE TABLE w(k PRIMARY KEY) WITHOUT ROWID;
                 CREATE INDEX i ON t(a);",
            )
            .unwrap();
        let mut insert = connection
            .prepare("INSERT INTO t(a, b) VALUES (?, ?)")
            .unwrap();
        for row in 0..400_usize {
            let long = if row % 40 == 0 { 3000 } else { row % 97 };
            insert
                .execute(params![row as i64, vec![row as u8; long]])
                .unwrap();
        }
    });
    let (mut program, _) = start_for(start, 512);
    program.set_object(&bytes);
    (bytes, program)
}

fn get(program: &mut dyn Backend, rowid: i64, root_page: u32) -> i32 {
    let args = SqliteGetArgs {
        rowid,
        root_page,
        ..SqliteGetArgs::default()
    };
    program.call(&args.to_bytes()).result
}

fn arguments_are_checked(start: Start) {
    let (_, mut program) = small(start);
    let root_page = root_of(&mut *program, "t");
    let good = SqliteGetArgs {
        rowid: 7,
        root_page,
        page_bytes: 512,
        ..SqliteGetArgs::default()
    };
    assert!(program.call(&good.to_bytes()).result > 0);
    assert_eq!(program.call(&good.to_bytes()[..11]).result, EINVAL);
    assert_eq!(program.call(&[]).result, EINVAL);
    let mut flags = good.to_bytes();
    flags[20] = 2;
    assert_eq!(program.call(&flags).result, EINVAL);
    for (args, errno) in [
        (
            SqliteGetArgs {
                root_page: 0,
                ..good
            },
            EINVAL,
        ),
        (
            SqliteGetArgs {
                page_bytes: 511,
                ..good
            },
            EINVAL,
        ),
        (
            SqliteGetArgs {
                page_bytes: 256,
                ..good
            },
            EINVAL,
        ),
        (
            SqliteGetArgs {
                page_bytes: 1536,
                ..good
            },
            EINVAL,
        ),
        (
            SqliteGetArgs {
                page_bytes: 131_072,
                ..good
            },
            EINVAL,
        ),
        (
            SqliteGetArgs {
                page_bytes: 8192,
                ..good
            },
            EFBIG,
        ),
        (
            SqliteGetArgs {
                reserved_bytes: 33,
                ..good
            },
            EINVAL,
        ),
        (
            SqliteGetArgs {
                page_bytes: 4096,
                reserved_bytes: 256,
                ..good
            },
            EINVAL,
        ),
        (
            SqliteGetArgs {
                root_page: 1_000_000,
                ..good
            },
            ENODATA,
        ),
        (
            SqliteGetArgs {
                root_page: u32::MAX,
                page_bytes: 4096,
                ..good
            },
            ENODATA,
        ),
    ] {
        assert_eq!(program.call(&args.to_bytes()).result, errno, "{args:?}");
    }
    program.finish();
}

fn other_trees_are_refused(start: Start) {
    let (_, mut program) = small(start);
    for tree in ["i", "w"] {
        let root = root_of(&mut *program, tree);
        assert_eq!(get(&mut *program, 1, root), ENOTSUP, "{tree}");
    }
    assert_eq!(
        get(&mut *program, 1, 1_000_000),
        EUCLEAN,
        "the header knows how many pages"
    );
    program.finish();
}

fn files_that_are_no_plain_database(start: Start) {
    let (bytes, mut program) = small(start);
    let mut random = Random(1);
    let mut expect = |errno: i32, what: &str, bytes: &[u8]| {
        program.set_object(bytes);
        assert_eq!(get(&mut *program, 7, 2), errno, "{what}");
    };
    let with = |at: usize, to: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        bytes
    };
    let noise: Vec<u8> = (0..8192).map(|_| random.next() as u8).collect();
    let text = "It was a dark and stormy night. ".repeat(64);
    let large = database(8192, 0, |connection| {
        connection.execute_batch("CREATE TABLE t(a)").unwrap();
    });

    expect(ENODATA, "empty", &[]);
    expect(ENODATA, "cut in the header", &bytes[..99]);
    expect(ENODATA, "cut before the page", &bytes[..512]);
    expect(ENODATA, "cut in the page", &bytes[..1000]);
    expect(EMEDIUMTYPE, "zeros", &[0; 4096]);
    expect(EMEDIUMTYPE, "text", text.as_bytes());
    expect(EMEDIUMTYPE, "an object file", programs::SQLITE_GET);
    expect(ENOKEY, "noise, as SQLCipher leaves it", &noise);
    expect(
        ENOKEY,
        "header in the clear but for the magic",
        &with(0, &noise[..16]),
    );
    expect(EUCLEAN, "no page size", &with(16, &[3, 0]));
    expect(EUCLEAN, "page size 0", &with(16, &[0, 0]));
    expect(EUCLEAN, "too many reserved bytes", &with(20, &[200]));
    expect(EUCLEAN, "other payload fractions", &with(21, &[65]));
    expect(ENOTSUP, "a newer format", &with(18, &[3, 3]));
    expect(EFBIG, "pages of 8 KiB", &large);
    let wal = with(18, &[2, 2]);
    expect(ENOTSUP, "in WAL mode", &wal);
    program.set_object(&wal);
    let root_page = root_of_wal(&mut *program);
    let args = SqliteGetArgs {
        rowid: 7,
        root_page,
        wal_ok: true,
        ..SqliteGetArgs::default()
    };
    assert!(program.call(&args.to_bytes()).result > 0);
    program.finish();
}

/// The root page of `t`, the first table of a database in WAL mode.
fn root_of_wal(program: &mut dyn Backend) -> u32 {
    let args = SqliteGetArgs {
        rowid: 1,
        root_page: 1,
        wal_ok: true,
        ..SqliteGetArgs::default()
    };
    let answer = program.call(&args.to_bytes());
    match Record::parse(&answer.reply).unwrap().values[3] {
        Value::Integer(root) => root as u32,
        other => panic!("{other:?}"),
    }
}

fn circles_come_to_an_end(start: Start) {
    let (bytes, mut program) = small(start);
    let root = root_of(&mut *program, "t");
    let top = (root - 1) as usize * 512;
    assert_eq!(bytes[top], 5, "the root is an inner page");

    // Every way down leads back to the root.
    let mut circle = bytes.clone();
    circle[top + 3..top + 5].copy_from_slice(&[0, 0]);
    circle[top + 8..top + 12].copy_from_slice(&root.to_be_bytes());
    program.set_object(&circle);
    let args = SqliteGetArgs {
        rowid: 7,
        root_page: root,
        page_bytes: 512,
        ..Default::default()
    };
    let answer = program.call(&args.to_bytes());
    assert_eq!((answer.result, answer.reads), (EUCLEAN, 20));

    // An overflow page that follows itself: the record has its length, then it ends.
    program.set_object(&bytes);
    let long = SqliteGetArgs { rowid: 41, ..args };
    let sound = program.call(&long.to_bytes());
    assert!(sound.result > 3000);
    let mut ring = bytes.clone();
    for page in 0..bytes.len() / 512 {
        let page_bytes = &mut ring[page * 512..][..512];
        // Overflow pages of row 41 are full of its number, 40.
        if page_bytes[0] == 0 && page_bytes[100..400].iter().all(|&byte| byte == 40) {
            page_bytes[..4].copy_from_slice(&(page as u32 + 1).to_be_bytes());
        }
    }
    program.set_object(&ring);
    let answer = program.call(&long.to_bytes());
    assert_eq!((answer.result, answer.reads), (sound.result, sound.reads));
    assert_eq!(answer.reply.len(), sound.reply.len());
    program.finish();
}

fn damaged_databases_never_break_it(start: Start) {
    let mut seen = BTreeMap::new();
    for (page_bytes, rows, rounds) in [(512, 300, 3000), (4096, 60, 1000), (65536, 20, 40)] {
        let (mut program, _) = start_for(start, page_bytes);
        let bytes = database(page_bytes, 0, |connection| {
            fill_with_anything(connection, 77, rows, page_bytes as usize);
        });
        let rowids = rowids_of(&bytes);
        program.set_object(&bytes);
        let root_page = root_of(&mut *program, "t");
        let mut random = Random(u64::from(page_bytes));
        for round in 0..rounds {
            let damaged = damage(&bytes, page_bytes as usize, &mut random);
            program.set_object(&damaged);
            for _ in 0..6 {
                let args = SqliteGetArgs {
                    rowid: rowids[random.below(rowids.len())],
                    root_page: if random.below(8) == 0 {
                        random.below(40) as u32
                    } else {
                        root_page
                    },
                    page_bytes: if round % 2 == 0 { page_bytes } else { 0 },
                    reserved_bytes: if random.below(16) == 0 { 8 } else { 0 },
                    wal_ok: round % 4 == 0,
                };
                let answer = program.call(&args.to_bytes());
                // The header, 20 pages down, and a chain of overflow pages of at least 476 bytes.
                assert!(answer.reads <= 21 + 65536 / 476 + 1, "{answer:?}");
                *seen.entry(answer.result.min(0)).or_insert(0_u32) += 1;
            }
        }
        program.finish();
    }
    let kinds = [0, ENOENT, EUCLEAN, ENODATA, EMSGSIZE];
    assert!(kinds.iter().all(|kind| seen.contains_key(kind)), "{seen:?}");
    let named = [EINVAL, EFBIG, ENOTSUP, EMEDIUMTYPE, ENOKEY];
    assert!(
        seen.keys()
            .all(|kind| kinds.contains(kind) || named.contains(kind)),
        "{seen:?}"
    );
}
