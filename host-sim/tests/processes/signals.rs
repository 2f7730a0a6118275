//! Ctrl-C and its like: what was acknowledged is in the file, and the process ends as it says.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Instant;

use client::{Client, ClientError, Config};
use rustix::process::Signal;

use crate::process::{PATIENCE, Server, outboard};

const BLOCK: usize = 4096;

/// Blocks of the drive that each writer has for itself.
const REGION_BLOCKS: u64 = 256;

/// Clients that write by the library; one more writes by the command.
const WRITERS: u64 = 4;

/// Writes of each that must be acknowledged before the signal comes.
const WRITES_BEFORE: u64 = 20;

/// What a writer knows of its region: for each block the last write that was acknowledged, and
/// the write that never was, if there is one.
#[derive(Default)]
struct Written {
    acknowledged: BTreeMap<u64, u64>,
    unanswered: Option<(u64, u64)>,
}

/// What write `number` of a writer consists of.
fn content(writer: u64, number: u64) -> Vec<u8> {
    let word = writer << 56 | (number + 1);
    word.to_le_bytes().repeat(BLOCK / 8)
}

/// The block that write `number` of a writer goes to.
fn block(writer: u64, number: u64) -> u64 {
    writer * REGION_BLOCKS + number % REGION_BLOCKS
}

/// Writes until nobody answers any more, with a flush behind every third.
fn write_by_library(address: &str, writer: u64, acknowledged: &Sender<u64>) -> Written {
    let mut client = Client::connect(address, &Config::default()).expect("it serves");
    let object = client.open(1, 0, None).expect("a drive").id;
    let mut written = Written::default();
    for number in 0.. {
        let block = block(writer, number);
        written.unanswered = Some((block, number));
        let write = client.write(object, block * BLOCK as u64, &content(writer, number));
        if let Err(error) = write {
            assert_ended(&error);
            break;
        }
        written.acknowledged.insert(block, number);
        written.unanswered = None;
        if number % 3 == 0 {
            match client.flush(object) {
                Ok(flushed) => assert!(!flushed.writes_may_be_lost),
                Err(error) => {
                    assert_ended(&error);
                    break;
                }
            }
        }
        let _ = acknowledged.send(writer);
    }
    written
}

/// The agent, or the connection to it, is gone; nothing else is wrong.
fn assert_ended(error: &ClientError) {
    assert!(
        matches!(
            error,
            ClientError::Session(_) | ClientError::Lost { .. } | ClientError::OutcomeUnknown { .. }
        ),
        "{error:?}"
    );
}

/// Writes and flushes by one process of `outboard` after the other, until one fails.
fn write_by_command(address: &str, writer: u64, acknowledged: &Sender<u64>) -> Written {
    let mut written = Written::default();
    for number in 0.. {
        let block = block(writer, number);
        let offset = (block * BLOCK as u64).to_string();
        let args = ["write", "--flush", "--offset", &offset];
        let ended = outboard(address, &args, &content(writer, number)).end();
        match ended.status.code() {
            Some(0) => {
                written.acknowledged.insert(block, number);
                let _ = acknowledged.send(writer);
            }
            // It was not reached, or nothing is known of the write.
            Some(3 | 4) => {
                written.unanswered = Some((block, number));
                break;
            }
            _ => panic!("{ended:?}"),
        }
    }
    written
}

/// A drive, a server of it, and what the writers know after `signal` came amid their writes.
fn write_until(signal: Signal) {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().join("disk.img");
    let blocks = (WRITERS + 1) * REGION_BLOCKS;
    fs::write(&disk, vec![0; blocks as usize * BLOCK]).unwrap();
    let server = Server::start(folder.path(), &[]);

    let (to, acknowledged) = channel();
    let writers: Vec<_> = (0..=WRITERS)
        .map(|writer| {
            let (address, to) = (server.address.clone(), to.clone());
            thread::spawn(move || match writer {
                WRITERS => write_by_command(&address, writer, &to),
                _ => write_by_library(&address, writer, &to),
            })
        })
        .collect();
    drop(to);
    let mut counts = vec![0; writers.len()];
    while counts.iter().any(|&count| count < WRITES_BEFORE) {
        let writer = acknowledged.recv_timeout(PATIENCE).expect("they write");
        counts[writer as usize] += 1;
    }
    server.signal(signal);
    let ended = server.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(
        ended.stderr.ends_with("host-sim: all is flushed\n"),
        "{ended:?}"
    );
    for (writer, thread) in writers.into_iter().enumerate() {
        let written = thread.join().expect("a writer");
        check(&disk, writer as u64, &written);
    }
}

/// Each acknowledged write is in the file, or a later one that nobody answered.
fn check(disk: &Path, writer: u64, written: &Written) {
    let file = fs::read(disk).unwrap();
    assert!(written.acknowledged.len() as u64 >= WRITES_BEFORE.min(REGION_BLOCKS));
    for (&block, &number) in &written.acknowledged {
        let found = &file[block as usize * BLOCK..][..BLOCK];
        let unanswered = written.unanswered.filter(|(other, _)| *other == block);
        let later = unanswered.is_some_and(|(_, number)| found == content(writer, number));
        assert!(
            found == content(writer, number) || later,
            "write {number} of writer {writer} is not in block {block}"
        );
    }
}

#[test]
fn what_was_acknowledged_before_ctrl_c_is_in_the_file() {
    write_until(Signal::INT);
}

#[test]
fn what_was_acknowledged_before_sigterm_is_in_the_file() {
    write_until(Signal::TERM);
}

/// A server with a read that its drive will take `latency` for, and the client that asked.
fn serve_slow_read(
    folder: &Path,
    latency: &str,
    rtt: &str,
) -> (Server, Client<std::net::TcpStream>) {
    fs::write(folder.join("disk.img"), [7; 2 * BLOCK]).unwrap();
    let server = Server::start(folder, &["--drive-latency", latency, "--rtt", rtt]);
    let mut client = Client::connect(&server.address, &Config::default()).expect("it serves");
    let object = client.open(1, 0, None).expect("a drive").id;
    client.pipeline().read(object, 0, BLOCK as u32).unwrap();
    client.pipeline().send().unwrap();
    let mut other = Client::connect(&server.address, &Config::default()).expect("it serves");
    let asked = Instant::now();
    let is_reading = |stats: client::Stats| {
        let pages = stats.pools.iter().find(|pool| pool.name == "data_pages");
        pages.expect("that pool").used > 0
    };
    while !is_reading(other.stats().unwrap()) {
        assert!(asked.elapsed() < PATIENCE, "the read was not taken");
    }
    (server, client)
}

#[test]
fn what_was_accepted_before_ctrl_c_is_answered() {
    // Near by, and far away: an answer that has left the agent is not there yet.
    for (latency, rtt) in [("1s", "0"), ("3s", "400ms")] {
        let folder = tempfile::tempdir().unwrap();
        let (server, mut client) = serve_slow_read(folder.path(), latency, rtt);
        server.signal(Signal::INT);
        let completion = client.pipeline().next_completion().expect("the read");
        assert_eq!(
            completion.result.unwrap(),
            client::Done::Read(vec![7; BLOCK])
        );
        let ended = server.end();
        assert_eq!(ended.status.code(), Some(0), "{ended:?}");
        assert!(
            ended.stderr.ends_with("host-sim: all is flushed\n"),
            "{ended:?}"
        );
    }
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (server, _client) = serve_slow_read(folder.path(), "1000s", "0");
    server.signal(Signal::INT);
    server.wait_for_message("finishing what was accepted");
    server.signal(Signal::INT);
    let ended = server.end();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(!ended.stderr.contains("all is flushed"), "{ended:?}");
}

#[test]
fn two_signals_that_come_together_end_it_at_once() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), [0; BLOCK]).unwrap();
    let server = Server::start(folder.path(), &[]);
    // While it is stopped both wait for it, and it handles both before it does anything else.
    for signal in [Signal::STOP, Signal::INT, Signal::TERM, Signal::CONT] {
        server.signal(signal);
    }
    let ended = server.end();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
}
