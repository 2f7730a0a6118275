//! A process is killed under write load: nothing that was acknowledged is missing from the file.
//!
//! This shows what becomes of a process that crashes. What QEMU, or the model, has written is in the
//! kernel's page cache, which survives them; it would not survive the power.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use client::{Client, ClientError, Config};
use protocol::Status;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::suite::files::zeroes;
use crate::support::{PATIENCE, Serve, await_end_of, qemu};

const WRITERS: u64 = 4;
/// Blocks of each writer, which nobody else writes.
const BLOCKS: u64 = 64;
const BLOCK_BYTES: usize = 4096;
/// Writes acknowledged, by all writers together, after which the axe falls.
const ACKNOWLEDGED: u64 = 2000;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Qemu,
    HostSim,
}

/// What a writer knows of its blocks: the stamp acknowledged last, and those sent since.
type Known = HashMap<u64, (u64, Vec<u64>)>;

fn block(lba: u64, stamp: u64) -> Vec<u8> {
    let word = (stamp << 20 | lba).to_le_bytes();
    word.repeat(BLOCK_BYTES / word.len())
}

/// Writes until that fails; what it knows, and the error.
fn write(address: &str, writer: u64, acknowledged: &AtomicU64) -> (Known, ClientError) {
    let mut client = Client::connect(address, &Config::default()).unwrap();
    let object = client.open(1, 0, None).unwrap().id;
    let mut known = Known::new();
    for stamp in 1.. {
        let lba = writer * BLOCKS + stamp * 7 % BLOCKS;
        let entry = known.entry(lba).or_default();
        entry.1.push(stamp);
        let offset = lba * BLOCK_BYTES as u64;
        if let Err(error) = client.write(object, offset, &block(lba, stamp)) {
            return (known, error);
        }
        *entry = (stamp, Vec::new());
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    unreachable!("stamps do not end")
}

/// Every block holds what was acknowledged last, or what was sent after it.
fn check(disk: &Path, known: &Known) {
    let file = std::fs::File::open(disk).unwrap();
    for (&lba, (last, sent)) in known {
        let mut bytes = vec![0; BLOCK_BYTES];
        file.read_exact_at(&mut bytes, lba * BLOCK_BYTES as u64)
            .unwrap();
        let may_hold = |stamp: &u64| match stamp {
            0 => bytes.iter().all(|&byte| byte == 0),
            _ => bytes == block(lba, *stamp),
        };
        let fits = may_hold(last) || sent.iter().any(may_hold);
        assert!(fits, "block {lba} holds neither {last} nor one of {sent:?}");
    }
}

fn kill_under_load(victim: Victim, nvme: &str) {
    let disk = zeroes(WRITERS * BLOCKS * BLOCK_BYTES as u64);
    let mut serve = Serve::start(disk.path(), &["--nvme", nvme]);
    let helpers = serve.children();
    assert_eq!(helpers.len(), usize::from(nvme == "qemu"));
    let acknowledged = AtomicU64::new(0);
    let written: Vec<_> = thread::scope(|scope| {
        let writer = |writer| {
            let (address, acknowledged) = (&serve.address, &acknowledged);
            scope.spawn(move || write(address, writer, acknowledged))
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        // The writers end with the victim, so that is killed in any case.
        let until = Instant::now() + PATIENCE;
        while acknowledged.load(Ordering::Relaxed) < ACKNOWLEDGED && Instant::now() < until {
            thread::yield_now();
        }
        match victim {
            Victim::HostSim => {
                let host_sim = Pid::from_raw(serve.id() as i32).unwrap();
                kill_process(host_sim, Signal::KILL).unwrap();
            }
            Victim::Qemu => {
                let qemu = Pid::from_raw(helpers[0] as i32).unwrap();
                kill_process(qemu, Signal::KILL).unwrap();
            }
        }
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    let acknowledged = acknowledged.into_inner();
    assert!(acknowledged >= ACKNOWLEDGED, "the writers got nowhere");
    let (status, said) = serve.end();
    helpers.into_iter().for_each(await_end_of);
    for (known, error) in &written {
        match (victim, error) {
            (Victim::Qemu, ClientError::Refused { status, .. }) => {
                assert_eq!(*status, Status::DriveFailed);
            }
            // The one that is told of the end by the end of its connection.
            (_, ClientError::OutcomeUnknown { .. } | ClientError::Lost { .. }) => {}
            (_, ClientError::Session(_)) => {}
            (_, other) => panic!("{victim:?}: {other:?}"),
        }
        check(disk.path(), known);
    }
    match victim {
        Victim::HostSim => assert_eq!(status.signal(), Some(9)),
        Victim::Qemu => {
            assert_eq!(status.code(), Some(1), "{said}");
            for part in ["QEMU is gone", "signal: 9", "start host-sim again"] {
                assert!(said.contains(part), "{part} is not in: {said}");
            }
        }
    }
    // The files can be served again at once.
    drop(Serve::start(disk.path(), &["--nvme", nvme]));
}

#[test]
fn qemu_is_killed() {
    qemu();
    kill_under_load(Victim::Qemu, "qemu");
}

#[test]
fn host_sim_over_qemu_is_killed() {
    qemu();
    kill_under_load(Victim::HostSim, "qemu");
}

#[test]
fn host_sim_over_the_model_is_killed() {
    kill_under_load(Victim::HostSim, "model");
}

/// A terminal sends Ctrl-C to the whole group. QEMU must not hear it: it is needed to flush.
#[test]
fn ctrl_c_at_a_terminal_ends_in_order() {
    qemu();
    let disk = zeroes(BLOCK_BYTES as u64 * 4);
    let mut serve = Serve::start(disk.path(), &["--nvme", "qemu"]);
    let helpers = serve.children();
    let mut client = Client::connect(&serve.address, &Config::default()).unwrap();
    let object = client.open(1, 0, None).unwrap().id;
    client.write(object, 0, &block(0, 1)).unwrap();
    kill_process_group(Pid::from_raw(serve.id() as i32).unwrap(), Signal::INT).unwrap();
    let (status, said) = serve.end();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(said.contains("all is flushed"), "{said}");
    helpers.into_iter().for_each(await_end_of);
    assert_eq!(
        std::fs::read(disk.path()).unwrap()[..BLOCK_BYTES],
        block(0, 1)
    );
}
