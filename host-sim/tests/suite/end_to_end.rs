//! From end to end: the client library over TCP, the agent, the driver, and whatever the drive is.

use std::net::TcpStream;

use client::{Budgets, Client, ClientError, Config, linker};
use host_sim::random::Random;
use programs::bpfkv::{self, BpfkvGetArgs};
use programs::chase::{self, ChaseArgs, ChaseReply};
use programs::sqlite::{Record, SqliteGetArgs, Value, program_for};
use programs::tally::{TallyArgs, TallyReply};
use protocol::{Features, Status};

use super::files::{Files, KEYS, ROWS, SCRATCH_BYTES, text_of};

/// The body: what a client sees is the same, whatever the drive is, and whatever the agent runs on.
/// What namespace 1 holds at the end, all of it flushed, is returned.
pub(crate) fn body(connect: &dyn Fn(&Config) -> Client<TcpStream>, files: &Files) -> Vec<u8> {
    let config = Config {
        features: Features::PAYLOAD_CRC,
        ..Config::default()
    };
    let mut client = connect(&config);
    namespaces(&mut client, files);
    let mut copy = blocks(&mut client);
    refusals(&mut client);
    a_walk(&mut client, &mut copy);
    lookups_in_a_store(&mut client);
    lookups_in_a_database(&mut client, files.root_page);
    maps(&mut client);
    let mut another = connect(&config);
    another.open(1, 0, None).unwrap();
    copy
}

/// They are those of the files, in their order.
fn namespaces(client: &mut Client<TcpStream>, files: &Files) {
    let info = client.info().unwrap();
    let wanted = files.namespaces();
    assert_eq!(info.namespaces.len(), wanted.len());
    for (namespace, (path, block_bytes)) in info.namespaces.iter().zip(wanted) {
        let bytes = std::fs::metadata(path).unwrap().len();
        assert_eq!(namespace.block_bytes, block_bytes);
        assert_eq!(namespace.blocks * u64::from(block_bytes), bytes);
    }
}

/// Writes and reads of many sizes against a copy, with flushes between.
fn blocks(client: &mut Client<TcpStream>) -> Vec<u8> {
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
    client.flush(object.id).unwrap();
    copy
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

/// A program that reads the drive, from cell to cell of a chain that is written first.
fn a_walk(client: &mut Client<TcpStream>, copy: &mut [u8]) {
    let (cells, stride) = (64, 4096);
    let chain = chase::build(cells, stride, 3);
    let object = client.open(1, 0, Some(chain.len() as u64)).unwrap();
    client.write(object.id, 0, &chain).unwrap();
    client.flush(object.id).unwrap();
    copy[..chain.len()].copy_from_slice(&chain);
    let instance = load(client, "chase", &[object.id]);
    for hops in [0, 1, 5, 64, 100] {
        let args = ChaseArgs {
            start: 0,
            hops,
            stride,
        };
        let outcome = client.call(instance, &args.to_bytes()).unwrap();
        let wanted = end_of_walk(&chain, hops);
        assert_eq!(ChaseReply::from_bytes(&outcome.reply), Some(wanted));
        assert_eq!(outcome.reads, hops);
    }
}

fn end_of_walk(chain: &[u8], hops: u32) -> ChaseReply {
    let (mut offset, mut sum) = (0, 0_u64);
    for _ in 0..hops {
        let cell = chain[offset as usize..].first_chunk().unwrap();
        offset = u64::from_le_bytes(*cell);
        sum = sum.wrapping_add(offset);
    }
    ChaseReply { offset, sum }
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
