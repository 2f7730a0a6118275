//! From end to end: the client library over TCP, the agent, the driver, and either drive.

use client::{Budgets, Client, ClientError, Config, linker};
use dpu_firmware::execution::ExecutionConfig;
use dpu_firmware::limits::LARGE;
use host_sim::bench::served::Served;
use host_sim::drive::DriveConfig;
use host_sim::random::Random;
use host_sim::simulator::SimulatorConfig;
use host_sim::wire::WireConfig;
use nvme_model::driver::DriverConfig;
use nvme_model::model::{FileStore, FileStoreOptions, ModelConfig, NamespaceConfig};
use programs::bpfkv::{self, BpfkvGetArgs};
use programs::sqlite::{Record, SqliteGetArgs, Value, program_for};
use programs::tally::{TallyArgs, TallyReply};
use protocol::{Features, Status};
use rusqlite::{Connection, params};
use std::net::TcpStream;
use std::path::Path;
use tempfile::NamedTempFile;

use crate::support::{file_of, qemu_over, zeroes};

/// Bytes of namespace 1, which is read and written.
const SCRATCH_BYTES: usize = 8 << 20;

/// Keys of namespace 2, three apart, a store of BPF-KV.
const KEYS: u64 = 500;

/// Rows of namespace 3, a database of SQLite.
const ROWS: i64 = 400;

/// The files behind the three namespaces, and the blocks of each.
struct Files {
    scratch: NamedTempFile,
    store: NamedTempFile,
    database: NamedTempFile,
    root_page: u32,
}

impl Files {
    fn make() -> Files {
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

    fn namespaces(&self) -> [(&Path, u32); 3] {
        [
            (self.scratch.path(), 4096),
            (self.store.path(), 512),
            (self.database.path(), 4096),
        ]
    }
}

fn text_of(row: i64) -> String {
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

fn serve<C: DriveConfig + Send + 'static>(drive: C) -> Served {
    let config = SimulatorConfig {
        drive,
        wire: WireConfig::with_round_trip(std::time::Duration::ZERO, 1024),
        limits: LARGE,
        driver: DriverConfig::default(),
        execution: ExecutionConfig::default(),
        seed: 1,
        map_secret: 2,
        far_connections: 8,
    };
    Served::start(config).unwrap()
}

fn connect(served: &Served) -> Client<TcpStream> {
    let config = Config {
        features: Features::PAYLOAD_CRC,
        ..Config::default()
    };
    Client::new(served.connect().unwrap(), &config).unwrap()
}

/// The body: what a client sees is the same, whatever the drive is.
fn body(served: &Served, files: &Files) {
    let mut client = connect(served);
    let info = client.info().unwrap();
    assert_eq!(info.namespaces.len(), 3);
    blocks(&mut client);
    refusals(&mut client);
    lookups_in_a_store(&mut client);
    lookups_in_a_database(&mut client, files.root_page);
    maps(&mut client);
    let mut another = connect(served);
    another.open(1, 0, None).unwrap();
}

/// Writes and reads of many sizes against a copy, with flushes between.
fn blocks(client: &mut Client<TcpStream>) {
    let object = client.open(1, 0, None).unwrap();
    assert_eq!(
        (object.length, object.block_bytes),
        (SCRATCH_BYTES as u64, 4096)
    );
    let mut copy = vec![0; SCRATCH_BYTES];
    let mut random = Random::new(3);
    for round in 0..60 {
        let blocks = 1 + random.below(if round % 10 == 0 { 256 } else { 20 });
        let at = 4096 * random.below(SCRATCH_BYTES as u64 / 4096 - blocks + 1) as usize;
        let data: Vec<u8> = (0..4096 * blocks / 8)
            .flat_map(|_| random.next_u64().to_le_bytes())
            .collect();
        client.write(object.id, at as u64, &data).unwrap();
        copy[at..at + data.len()].copy_from_slice(&data);
        if round % 7 == 0 {
            assert!(!client.flush(object.id).unwrap().writes_may_be_lost);
        }
        // Reads begin and end anywhere.
        let from = random.below(SCRATCH_BYTES as u64) as usize;
        let length = (random.below(300_000) as usize).min(SCRATCH_BYTES - from);
        let read = client.read(object.id, from as u64, length).unwrap();
        assert!(
            read == copy[from..from + length],
            "{length} bytes from {from}"
        );
    }
    let all = client.read(object.id, 0, SCRATCH_BYTES).unwrap();
    assert!(all == copy);
}

fn refusals(client: &mut Client<TcpStream>) {
    let object = client.open(1, 4096, Some(8192)).unwrap();
    let status = |error| match error {
        ClientError::Refused { status, .. } => status,
        other => panic!("{other}"),
    };
    let beyond = client.read(object.id, 8000, 500).unwrap_err();
    assert_eq!(status(beyond), Status::OutOfRange);
    assert!(client.write(object.id, 100, &[0; 4096]).is_err());
    assert!(client.open(4, 0, None).is_err());
    client.close(object.id).unwrap();
}

fn load(
    client: &mut Client<TcpStream>,
    name: &str,
    objects: &[client::ObjectId],
) -> client::InstanceId {
    let program = programs::find(name).unwrap();
    let linked = linker::link(program.object).unwrap();
    let program = client.load(name, &linked.image).unwrap();
    client.attach(program, objects, Budgets::default()).unwrap()
}

fn errno(called: Result<client::CallOutcome, ClientError>) -> Option<Status> {
    match called {
        Err(ClientError::Refused { status, .. }) => Some(status),
        _ => None,
    }
}

fn lookups_in_a_store(client: &mut Client<TcpStream>) {
    let object = client.open(2, 0, None).unwrap();
    let instance = load(client, "bpfkv_get", &[object.id]);
    for key in 0..KEYS * 3 {
        let called = client.call(instance, &BpfkvGetArgs { key, root: 0 }.to_bytes());
        if key % 3 == 0 {
            assert_eq!(called.unwrap().reply, bpfkv::value(key));
        } else {
            assert_eq!(errno(called), Some(Status::ProgramErrno), "key {key}");
        }
    }
}

fn lookups_in_a_database(client: &mut Client<TcpStream>, root_page: u32) {
    let object = client.open(3, 0, None).unwrap();
    let instance = load(client, program_for(4096).name, &[object.id]);
    for row in 0..ROWS {
        let args = SqliteGetArgs {
            rowid: row * 10,
            root_page,
            ..SqliteGetArgs::default()
        };
        let reply = client.call(instance, &args.to_bytes()).unwrap().reply;
        let record = Record::parse(&reply).unwrap();
        let text = text_of(row);
        assert_eq!(record.values[1], Value::Text(text.as_bytes()), "row {row}");
        let missing = SqliteGetArgs {
            rowid: row * 10 + 1,
            ..args
        };
        let called = client.call(instance, &missing.to_bytes());
        assert_eq!(errno(called), Some(Status::ProgramErrno));
    }
}

fn maps(client: &mut Client<TcpStream>) {
    let instance = load(client, "tally", &[]);
    for times in 1..=20 {
        let args = TallyArgs { key: 5, amount: 3 };
        let reply = client.call(instance, &args.to_bytes()).unwrap().reply;
        let reply = TallyReply::from_bytes(&reply).unwrap();
        assert_eq!((reply.total, reply.times), (3 * times, times));
    }
    let maps = client.maps(instance).unwrap();
    let counted = maps
        .iter()
        .find(|map| map.entries == 1 && map.key_bytes == 8);
    let entries = client
        .map_dump(instance, counted.expect("the map of amounts"))
        .unwrap();
    assert_eq!(entries[0].key, 5_u64.to_le_bytes());
    client.detach(instance).unwrap();
}

#[test]
fn a_client_of_the_model() {
    let files = Files::make();
    let namespaces = files.namespaces().map(|(path, block_bytes)| {
        let store = FileStore::open(path, FileStoreOptions::default()).unwrap();
        NamespaceConfig::new(store, block_bytes)
    });
    let served = serve(ModelConfig {
        namespaces: namespaces.into(),
        ..ModelConfig::default()
    });
    body(&served, &files);
}

#[test]
fn a_client_of_qemus_drive() {
    let files = Files::make();
    let served = serve(qemu_over(&files.namespaces()));
    body(&served, &files);
}
