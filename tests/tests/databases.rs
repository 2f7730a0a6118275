//! The programs that ship, through the agent, on real files and on ones that only look like it.

use host_sim::random::Random;
use outboard_tests::world::{Neighbour, PeerId, Settings, World, pattern};
use programs::bpfkv::{self, BpfkvGetArgs};
use programs::sqlite::{Header, Record, SqliteGetArgs, Value, program_for};
use protocol::message::CallRequest;
use protocol::{ErrorBody, Status};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

/// A row of `t`: rowid, integer, real, text, blob.
type Row = (i64, i64, f64, String, Vec<u8>);

/// A database of 300 rows: short ones, and ones that overflow their page; a fifth is deleted.
fn database(page_bytes: u32) -> (Vec<u8>, Vec<Row>, u32) {
    let file = tempfile::NamedTempFile::new().unwrap();
    let connection = Connection::open(file.path()).unwrap();
    connection
        .execute_batch(&format!(
            "PRAGMA page_size = {page_bytes}; PRAGMA auto_vacuum = NONE;
             CREATE TABLE other (x); INSERT INTO other VALUES (1);
             CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, r REAL, s TEXT, b BLOB);"
        ))
        .unwrap();
    let mut random = Random::new(u64::from(page_bytes));
    connection.execute_batch("BEGIN").unwrap();
    for number in 0..300_i64 {
        // Gaps, and the ends of the range.
        let rowid = match number {
            0 => i64::MIN,
            299 => i64::MAX,
            _ => (number - 150) * 1_000 + random.below(900) as i64,
        };
        let long = match number % 7 {
            0 => 2 * page_bytes as u64,
            3 => u64::from(page_bytes) / 2,
            _ => 40,
        };
        let length = 1 + random.below(long.min(12_000)) as usize;
        let text: String = (0..length)
            .map(|at| char::from(b'a' + (at % 26) as u8))
            .collect();
        let blob: Vec<u8> = (0..random.below(30))
            .map(|_| random.next_u64() as u8)
            .collect();
        let integer = random.next_u64() as i64 >> random.below(64);
        connection
            .execute(
                "INSERT INTO t VALUES (?1, ?2, ?3, ?4, ?5)",
                params![rowid, integer, number as f64 + 0.25, text, blob],
            )
            .unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
    connection
        .execute("DELETE FROM t WHERE n % 5 = 0", [])
        .unwrap();
    let root: u32 = connection
        .query_row(
            "SELECT rootpage FROM sqlite_master WHERE name = 't'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let rows = {
        let mut query = connection.prepare("SELECT * FROM t ORDER BY id").unwrap();
        let rows = query
            .query_map([], |row| {
                assert!(!matches!(row.get_ref(3), Ok(ValueRef::Null)));
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                ))
            })
            .unwrap();
        rows.map(Result::unwrap).collect()
    };
    drop(connection);
    (std::fs::read(file.path()).unwrap(), rows, root)
}

/// The file as a drive, padded to whole blocks.
fn padded(mut bytes: Vec<u8>, block_bytes: usize) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(block_bytes), 0);
    bytes
}

/// A session with a shipped program attached to namespace 1.
fn attach(world: &mut World, name: &str) -> (PeerId, u32) {
    let object = programs::find(name).expect("it is shipped").object;
    let linked = client::linker::link(object).expect("it links");
    let (peer, object) = world.connect_to(1);
    let program = world.load(peer, name, &linked.image);
    (peer, world.attach(peer, program, &[object]))
}

#[test]
fn every_row_is_the_one_that_sqlite_has() {
    for (page_bytes, block_bytes) in [
        (512, 512),
        (1024, 4096),
        (4096, 4096),
        (4096, 512),
        (65_536, 4096),
    ] {
        let (bytes, rows, root_page) = database(page_bytes);
        assert!(rows.len() > 150 && rows.len() < 300);
        assert_eq!(Header::parse(&bytes).unwrap().page_bytes, page_bytes);
        let bytes = padded(bytes, block_bytes as usize);
        let mut world = World::new(Settings::over(bytes, block_bytes));
        let (peer, instance) = attach(&mut world, program_for(page_bytes).name);
        let args = |rowid, page_bytes| SqliteGetArgs {
            rowid,
            root_page,
            page_bytes,
            ..SqliteGetArgs::default()
        };
        let mut overflowed = 0;
        for (at, (rowid, integer, real, text, blob)) in rows.iter().enumerate() {
            // With the page size told, or found in the header.
            let told = if at % 2 == 0 { page_bytes } else { 0 };
            let (_, reply) = world.call(peer, instance, &args(*rowid, told).to_bytes());
            let record = Record::parse(&reply).unwrap();
            let expected = [
                Value::Null,
                Value::Integer(*integer),
                Value::Real(*real),
                Value::Text(text.as_bytes()),
                Value::Blob(blob),
            ];
            assert_eq!(record.values, expected, "row {rowid} of {page_bytes}");
            overflowed += u32::from(reply.len() > page_bytes as usize);
            // And the ones beside it, unless they are there too.
            for beside in [rowid.saturating_sub(1), rowid.saturating_add(1)] {
                if rows.iter().any(|row| row.0 == beside) {
                    continue;
                }
                let reply = world.try_call(peer, instance, &args(beside, told).to_bytes());
                assert_eq!(reply.detail(), ErrorBody::Errno(-2), "row {beside}");
            }
        }
        assert!(
            overflowed > 5 || page_bytes > 4096,
            "{overflowed} rows overflow"
        );
        world.end();
    }
}

#[test]
fn lookups_in_flight_together_get_their_own_rows() {
    let (bytes, rows, root_page) = database(1024);
    let mut world = World::new(Settings {
        jitter_us: 50,
        ..Settings::over(padded(bytes, 512), 512)
    });
    let (peer, instance) = attach(&mut world, "sqlite_get");
    let mut waiting = Vec::new();
    let (mut next, mut answered) = (0, 0);
    world.until("all rows", |world| {
        while let Some(row) = rows.get(next) {
            let args = SqliteGetArgs {
                rowid: row.0,
                root_page,
                ..SqliteGetArgs::default()
            };
            let Ok(ticket) = world.try_submit(peer, &CallRequest { instance }, &args.to_bytes())
            else {
                break;
            };
            waiting.push((ticket, row));
            next += 1;
        }
        waiting.retain(|(ticket, row)| {
            let Some(reply) = world.session(peer).take_reply(*ticket) else {
                return true;
            };
            assert_eq!(reply.status, Status::Ok, "{}", reply.detail());
            let record = Record::parse(&reply.payload).unwrap();
            assert_eq!(record.values[3], Value::Text(row.3.as_bytes()));
            answered += 1;
            false
        });
        answered == rows.len()
    });
    world.end();
}

#[test]
fn what_is_no_database_is_an_error_number() {
    let (whole, rows, root_page) = database(4096);
    let mut random = Random::new(9);
    let encrypted: Vec<u8> = (0..whole.len()).map(|_| random.next_u64() as u8).collect();
    // Only its header is readable.
    let mut body_gone = encrypted.clone();
    body_gone[..100].copy_from_slice(&whole[..100]);
    for (what, bytes) in [
        ("truncated to a page", whole[..4096].to_vec()),
        (
            "truncated in the middle",
            whole[..whole.len() / 8192 * 4096].to_vec(),
        ),
        ("encrypted", encrypted),
        ("encrypted but for the header", body_gone),
        ("zeros", vec![0; 64 * 1024]),
        (
            "text",
            b"no database at all\n".repeat(4096)[..65_536].to_vec(),
        ),
    ] {
        let mut settings = Settings::over(pattern(1, 0, 4 << 20), 4096);
        settings
            .namespaces
            .push(outboard_tests::world::NamespaceSettings {
                bytes,
                block_bytes: 4096,
            });
        let mut world = World::new(settings);
        let mut neighbour = Neighbour::new(&mut world);
        let linked = client::linker::link(program_for(4096).object).unwrap();
        let (peer, object) = world.connect_to(2);
        let program = world.load(peer, "sqlite_get", &linked.image);
        let instance = world.attach(peer, program, &[object]);
        let mut refused = 0;
        for row in rows.iter().step_by(7) {
            for page_bytes in [0, 4096] {
                let args = SqliteGetArgs {
                    rowid: row.0,
                    root_page,
                    page_bytes,
                    ..SqliteGetArgs::default()
                };
                let reply = world.try_call(peer, instance, &args.to_bytes());
                match reply.status {
                    // A part of the file is still there.
                    Status::Ok => {
                        let record = Record::parse(&reply.payload).unwrap();
                        assert_eq!(record.values[3], Value::Text(row.3.as_bytes()), "{what}");
                    }
                    status => {
                        assert_eq!(status, Status::ProgramErrno, "{what}: {}", reply.detail());
                        refused += 1;
                    }
                }
            }
            neighbour.is_well(&mut world);
        }
        assert!(refused > 0, "{what}: nothing was refused");
        assert_eq!(world.count("calls_faulted"), 0, "{what}");
        assert_eq!(world.count("calls_out_of_budget"), 0, "{what}");
        world.end();
    }
}

#[test]
fn a_store_of_bpf_kv_is_looked_up_at_every_depth() {
    for (keys, fan_out) in [(1, 31), (31, 31), (500, 31), (300, 4), (300, 2)] {
        let entries = (0..keys).map(|key| (key * 3, bpfkv::value(key * 3)));
        let store = bpfkv::build(entries, fan_out).unwrap();
        let mut world = World::new(Settings::over(padded(store.bytes, 4096), 4096));
        let (peer, instance) = attach(&mut world, "bpfkv_get");
        for key in 0..keys * 3 + 2 {
            let args = BpfkvGetArgs { key, root: 0 };
            let reply = world.try_call(peer, instance, &args.to_bytes());
            if key % 3 == 0 && key < keys * 3 {
                let called = reply.decode::<CallRequest>().unwrap();
                assert_eq!(called.reads, store.depth + 1);
                assert!(reply.payload == bpfkv::value(key));
            } else {
                assert_eq!(reply.detail(), ErrorBody::Errno(-2), "key {key}");
            }
        }
        world.end();
    }
}
