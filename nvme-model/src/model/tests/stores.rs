//! Stores: the same operations give the same bytes, and a power cut loses only what it may.

use std::collections::BTreeMap;
use std::path::Path;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::host::{Host, config, io};
use crate::model::store::FileStore;
use crate::model::{
    Backend, Buffers, CachedStore, FileStoreOptions, MemoryStore, NamespaceConfig, OpenError, Run,
    Store, StoreError, StoreOp, Submitted,
};
use crate::spec::*;

const BLOCK: usize = 512;
const BLOCKS: usize = 64;

fn file(bytes: usize) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file");
    file.as_file().set_len(bytes as u64).expect("its size");
    file
}

fn open(path: &Path, backend: Backend, inline_reads: bool) -> FileStore {
    let options = FileStoreOptions {
        backend,
        inline_reads,
        ..FileStoreOptions::default()
    };
    FileStore::open(path, options).expect("a store over the file")
}

/// Carries one operation out and waits for it.
fn run(store: &mut dyn Store, op: StoreOp, bytes: &mut [u8]) -> Result<(), StoreError> {
    let whole = [Run::new(0..bytes.len())];
    let mut buffers = Buffers::new(bytes, &whole);
    match store.submit(42, op, &mut buffers) {
        Submitted::Done(outcome) => return outcome,
        Submitted::Pending => {}
        Submitted::Busy => panic!("an idle store has room"),
    }
    loop {
        store.kick();
        let fd = store.wait_fd().expect("what is pending can be waited for");
        let mut wait = [rustix::event::PollFd::from_borrowed_fd(
            fd,
            rustix::event::PollFlags::IN,
        )];
        let limit = rustix::time::Timespec {
            tv_sec: 10,
            tv_nsec: 0,
        };
        let ready = rustix::event::poll(&mut wait, Some(&limit)).expect("a descriptor to poll");
        assert!(ready == 1, "{op:?} never ended");
        if let Some(finished) = store.poll() {
            assert_eq!(finished.token, 42);
            let read = finished.result?;
            if matches!(op, StoreOp::Read { .. }) {
                bytes.copy_from_slice(read);
            }
            return Ok(());
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        block: usize,
        blocks: usize,
        fill: u8,
        durable: bool,
    },
    Zero {
        block: usize,
        blocks: usize,
        durable: bool,
    },
    Read {
        block: usize,
        blocks: usize,
    },
    Flush,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = (0..BLOCKS).prop_flat_map(|block| (Just(block), 1..=(BLOCKS - block).min(20)));
    let step = prop_oneof![
        4 => (range.clone(), 1u8.., any::<bool>()).prop_map(|((block, blocks), fill, durable)| {
            Step::Write { block, blocks, fill, durable: durable && fill < 40 }
        }),
        1 => (range.clone(), any::<bool>())
            .prop_map(|((block, blocks), durable)| Step::Zero { block, blocks, durable }),
        3 => range.prop_map(|(block, blocks)| Step::Read { block, blocks }),
        1 => Just(Step::Flush),
    ];
    prop::collection::vec(step, 1..40)
}

/// The bytes a step writes: they differ from block to block.
fn pattern(fill: u8, blocks: usize) -> Vec<u8> {
    (0..blocks * BLOCK)
        .map(|at| fill.wrapping_add((at / BLOCK) as u8))
        .collect()
}

fn apply(store: &mut dyn Store, step: &Step) -> Result<Vec<u8>, StoreError> {
    let offset = |block: usize| (block * BLOCK) as u64;
    match *step {
        Step::Write {
            block,
            blocks,
            fill,
            durable,
        } => {
            let op = StoreOp::Write {
                offset: offset(block),
                durable,
            };
            run(store, op, &mut pattern(fill, blocks)).map(|()| Vec::new())
        }
        Step::Zero {
            block,
            blocks,
            durable,
        } => {
            let op = StoreOp::Zero {
                offset: offset(block),
                bytes: offset(blocks),
                durable,
            };
            run(store, op, &mut []).map(|()| Vec::new())
        }
        Step::Read { block, blocks } => {
            let mut bytes = vec![0xee; blocks * BLOCK];
            let op = StoreOp::Read {
                offset: offset(block),
            };
            run(store, op, &mut bytes).map(|()| bytes)
        }
        Step::Flush => run(store, StoreOp::Flush, &mut []).map(|()| Vec::new()),
    }
}

fn contents(store: &mut dyn Store) -> Vec<u8> {
    apply(
        store,
        &Step::Read {
            block: 0,
            blocks: BLOCKS,
        },
    )
    .expect("a readable store")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A file with either backend, cached reads inline or not, is the memory store.
    #[test]
    fn file_and_memory_agree(steps in steps(), pool in any::<bool>(), inline_reads in any::<bool>()) {
        let backend = if pool { Backend::Pool } else { Backend::Uring };
        let temporary = file(BLOCKS * BLOCK);
        let mut memory = MemoryStore::new((BLOCKS * BLOCK) as u64);
        {
            let mut store = open(temporary.path(), backend, inline_reads);
            for step in &steps {
                prop_assert_eq!(apply(&mut store, step), apply(&mut memory, step), "{:?}", step);
            }
        }
        prop_assert!(std::fs::read(temporary.path()).unwrap() == memory.contents());
    }

    /// After a power cut every block is what the last flush left, or any version written since.
    #[test]
    fn a_power_cut_leaves_each_block_one_of_its_versions(
        steps in steps(),
        seed in any::<u64>(),
        over_file in any::<bool>(),
    ) {
        let temporary = file(BLOCKS * BLOCK);
        let bytes = (BLOCKS * BLOCK) as u64;
        let mut store: std::boxed::Box<dyn Store> = if over_file {
            std::boxed::Box::new(CachedStore::new(open(temporary.path(), Backend::Auto, true), BLOCK as u32))
        } else {
            std::boxed::Box::new(CachedStore::new(MemoryStore::new(bytes), BLOCK as u32))
        };
        // For each block, what a cut may leave: the flushed version first.
        let mut allowed: BTreeMap<usize, Vec<u8>> = (0..BLOCKS).map(|b| (b, vec![0])).collect();
        for step in &steps {
            apply(&mut *store, step).unwrap();
            match *step {
                Step::Write { block, blocks, fill, durable } => for at in 0..blocks {
                    let versions = allowed.get_mut(&(block + at)).unwrap();
                    if durable { versions.clear(); }
                    versions.push(fill.wrapping_add(at as u8));
                },
                Step::Zero { block, blocks, durable } => for at in block..block + blocks {
                    let versions = allowed.get_mut(&at).unwrap();
                    if durable { versions.clear(); }
                    versions.push(0);
                },
                Step::Flush => for versions in allowed.values_mut() {
                    versions.drain(..versions.len() - 1);
                },
                Step::Read { .. } => {}
            }
        }
        let before = contents(&mut *store);
        for (block, versions) in &allowed {
            prop_assert_eq!(before[block * BLOCK], *versions.last().unwrap(), "reads see the newest");
        }
        store.power_cut(seed);
        let after = contents(&mut *store);
        for (block, versions) in &allowed {
            let bytes = &after[block * BLOCK..(block + 1) * BLOCK];
            prop_assert!(bytes.iter().all(|byte| *byte == bytes[0]), "block {} is torn", block);
            prop_assert!(versions.contains(&bytes[0]), "block {}: {} of {:?}", block, bytes[0], versions);
        }
        // What survived stays: a second cut changes nothing.
        store.power_cut(!seed);
        prop_assert!(contents(&mut *store) == after);
    }
}

#[test]
fn many_are_in_flight_at_once_and_a_full_store_says_so() {
    for backend in [Backend::Uring, Backend::Pool] {
        let temporary = file(BLOCKS * BLOCK);
        let mut store = open(temporary.path(), backend, false);
        let mut pending = Vec::new();
        let mut busy = false;
        for token in 0..1000u64 {
            let mut bytes = [token as u8; BLOCK];
            let whole = [Run::new(0..BLOCK)];
            let offset = token % BLOCKS as u64 * BLOCK as u64;
            let op = StoreOp::Write {
                offset,
                durable: false,
            };
            match store.submit(token, op, &mut Buffers::new(&mut bytes, &whole)) {
                Submitted::Pending => pending.push(token),
                Submitted::Busy => {
                    busy = true;
                    break;
                }
                Submitted::Done(outcome) => panic!("a write is never done at once: {outcome:?}"),
            }
        }
        assert!(
            busy && pending.len() >= 64,
            "{backend:?}: {} pending",
            pending.len()
        );
        let mut done = Vec::new();
        while done.len() < pending.len() {
            store.kick();
            while let Some(finished) = store.poll() {
                finished.result.expect("a write that works");
                done.push(finished.token);
            }
            std::thread::yield_now();
        }
        done.sort_unstable();
        assert_eq!(done, pending);
    }
}

#[test]
fn cached_reads_are_served_at_once_but_not_without_end() {
    let temporary = file(BLOCKS * BLOCK);
    let mut store = open(temporary.path(), Backend::Auto, true);
    store.write_now(0, &pattern(1, BLOCKS)).unwrap();
    let mut at_once = 0;
    for token in 0..40 {
        let mut bytes = [0; BLOCK];
        let whole = [Run::new(0..BLOCK)];
        let op = StoreOp::Read { offset: 0 };
        match store.submit(token, op, &mut Buffers::new(&mut bytes, &whole)) {
            Submitted::Done(Ok(())) => {
                assert_eq!(bytes, [1; BLOCK]);
                at_once += 1;
            }
            Submitted::Pending => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(at_once, 32);
}

#[test]
fn a_store_can_be_dropped_with_work_in_flight() {
    for backend in [Backend::Uring, Backend::Pool] {
        let temporary = file(BLOCKS * BLOCK);
        let mut store = open(temporary.path(), backend, false);
        for token in 0..60 {
            let mut bytes = [7; BLOCK];
            let whole = [Run::new(0..BLOCK)];
            let op = StoreOp::Write {
                offset: token * BLOCK as u64,
                durable: false,
            };
            store.submit(token, op, &mut Buffers::new(&mut bytes, &whole));
        }
        drop(store);
    }
}

#[test]
fn a_failed_sync_puts_the_store_out_of_use() {
    // A device that takes writes and cannot be synced.
    for backend in [Backend::Uring, Backend::Pool] {
        let device = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/zero")
            .unwrap();
        let options = FileStoreOptions {
            backend,
            ..FileStoreOptions::default()
        };
        let mut store = FileStore::over(device, Path::new("/dev/zero"), 1 << 20, options).unwrap();
        let mut bytes = [1; BLOCK];
        let write = StoreOp::Write {
            offset: 0,
            durable: false,
        };
        assert_eq!(run(&mut store, write, &mut bytes), Ok(()));
        assert_eq!(
            run(&mut store, StoreOp::Flush, &mut []),
            Err(StoreError::Failed)
        );
        assert_eq!(run(&mut store, write, &mut bytes), Err(StoreError::Failed));
        assert_eq!(
            run(&mut store, StoreOp::Read { offset: 0 }, &mut bytes),
            Err(StoreError::Failed)
        );
        assert_eq!(
            run(&mut store, StoreOp::Flush, &mut []),
            Err(StoreError::Failed),
            "not tried again"
        );
    }
}

#[test]
fn zeroes_are_written_where_no_hole_can_be_punched() {
    // A character device has no holes. Its zeroes vanish, but the operation has to end.
    for backend in [Backend::Uring, Backend::Pool] {
        let device = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/zero")
            .unwrap();
        let options = FileStoreOptions {
            backend,
            ..FileStoreOptions::default()
        };
        let mut store = FileStore::over(device, Path::new("/dev/zero"), 1 << 30, options).unwrap();
        let op = StoreOp::Zero {
            offset: 512,
            bytes: 700 * 1024,
            durable: false,
        };
        assert_eq!(run(&mut store, op, &mut []), Ok(()));
    }
}

#[test]
fn a_file_that_shrank_is_a_media_error_and_nothing_worse() {
    for backend in [Backend::Uring, Backend::Pool] {
        let temporary = file(BLOCKS * BLOCK);
        let mut store = open(temporary.path(), backend, true);
        temporary.as_file().set_len(BLOCK as u64).unwrap();
        let mut bytes = [0; BLOCK];
        let far = StoreOp::Read {
            offset: 10 * BLOCK as u64,
        };
        assert_eq!(run(&mut store, far, &mut bytes), Err(StoreError::Medium));
        assert_eq!(
            run(&mut store, StoreOp::Read { offset: 0 }, &mut bytes),
            Ok(())
        );
    }
}

#[test]
fn what_goes_past_the_page_cache_is_the_same_as_in_it() {
    const PAGE: usize = 4096;
    for backend in [Backend::Uring, Backend::Pool] {
        let temporary = file(16 * PAGE);
        let options = FileStoreOptions {
            backend,
            direct: true,
            ..FileStoreOptions::default()
        };
        let mut store = FileStore::open(temporary.path(), options).expect("O_DIRECT");
        let mut bytes = pattern(3, 2 * PAGE / BLOCK);
        let write = StoreOp::Write {
            offset: 5 * PAGE as u64,
            durable: true,
        };
        assert_eq!(run(&mut store, write, &mut bytes), Ok(()));
        let read = StoreOp::Read {
            offset: 4 * PAGE as u64,
        };
        let mut found = vec![9; 4 * PAGE];
        assert_eq!(run(&mut store, read, &mut found), Ok(()));
        let zeroes = vec![0; PAGE];
        assert_eq!(found, [&zeroes[..], &bytes, &zeroes].concat());
        let mut now = vec![1; PAGE];
        store.write_now(4 * PAGE as u64, &now).unwrap();
        now.fill(0);
        store.read_now(4 * PAGE as u64, &mut now).unwrap();
        assert_eq!(now, [1; PAGE]);
    }
}

#[test]
fn files_are_locked_and_ranges_checked() {
    let temporary = file(BLOCKS * BLOCK);
    let options = FileStoreOptions::default();
    let reader = FileStoreOptions {
        read_only: true,
        ..options
    };
    let mut store = FileStore::open(temporary.path(), options).unwrap();
    let locked = FileStore::open(temporary.path(), options).unwrap_err();
    assert!(matches!(locked, OpenError::Locked { .. }), "{locked}");
    assert!(FileStore::open(temporary.path(), reader).is_err());
    for offset in [(BLOCKS * BLOCK) as u64, u64::MAX - 3] {
        let outcome = run(&mut store, StoreOp::Read { offset }, &mut [0; BLOCK]);
        assert_eq!(outcome, Err(StoreError::OutOfRange));
    }
    drop(store);
    let first = FileStore::open(temporary.path(), reader).unwrap();
    let mut second = FileStore::open(temporary.path(), reader).unwrap();
    assert!(first.read_only());
    let write = StoreOp::Write {
        offset: 0,
        durable: false,
    };
    assert_eq!(
        run(&mut second, write, &mut [0; BLOCK]),
        Err(StoreError::ReadOnly)
    );
    assert!(matches!(
        FileStore::open("/nonexistent/drive", options).unwrap_err(),
        OpenError::Open { .. }
    ));
}

#[test]
fn a_drive_over_files_works_and_can_be_waited_on() {
    for backend in [Backend::Uring, Backend::Pool] {
        let files = [file(64 * 4096), file(64 * 4096)];
        let mut config = config();
        config.namespaces = files
            .iter()
            .map(|file| NamespaceConfig::new(open(file.path(), backend, false), 4096))
            .collect();
        let mut host = Host::ready(config);
        for namespace in [1, 2] {
            host.write_blocks(namespace, 3, &[namespace as u8; 8192], 4096);
            assert_eq!(
                host.read_blocks(namespace, 3, 2, 4096),
                vec![namespace as u8; 8192]
            );
        }
        assert_eq!(
            host.code(1, io(IoOpcode::FLUSH, NAMESPACE_ALL, 0, 1)),
            StatusCode::SUCCESS
        );
        let compare = host.with_pages(io(IoOpcode::COMPARE, 1, 3, 1), super::host::DATA + 8);
        assert_eq!(host.code(1, compare), StatusCode::COMPARE_FAILURE);
        let zero = io(IoOpcode::WRITE_ZEROES, 2, 3, 1);
        assert_eq!(host.code(1, zero), StatusCode::SUCCESS);
        assert_eq!(host.read_blocks(2, 3, 1, 4096), vec![0; 4096]);

        // Asleep until the store has finished.
        host.submit(1, io(IoOpcode::FLUSH, 2, 0, 1));
        let step = host.device.step(host.now_us);
        assert!(step.waiting || !host.peek(1).is_empty());
        host.wait_for_stores();
        host.step();
        host.completions(1);

        // A deletion waits for what its store works on.
        host.set_data(super::host::DATA, &[8; 4096]);
        let write = host.with_pages(io(IoOpcode::WRITE, 1, 9, 1), super::host::DATA);
        (0..5).for_each(|_| host.submit_one(1, write));
        host.step();
        let delete = super::host::admin(AdminOpcode::DELETE_IO_SUBMISSION_QUEUE);
        let delete = SubmissionEntry {
            cdw10: 1.into(),
            ..delete
        };
        assert_eq!(host.code(0, delete), StatusCode::SUCCESS);
        let written = host.completions(1);
        assert_eq!(written.len(), 5);
        assert!(written.iter().all(|entry| entry.status().is_success()));
        host.create_pair(2, 16);

        // A reset with writes in flight: ready falls when the stores are done.
        host.set_data(super::host::DATA, &[9; 4096]);
        let write = host.with_pages(io(IoOpcode::WRITE, 1, 0, 1), super::host::DATA);
        (0..10).for_each(|_| host.submit_one(2, write));
        host.step();
        host.write(offset::CC, 0);
        for _ in 0..100_000 {
            host.step();
            if !host.status().ready() {
                break;
            }
            host.wait_for_stores();
        }
        assert!(!host.status().ready());
        assert_eq!(host.device.outstanding(), 0);
    }
}

#[test]
fn a_flush_covers_what_came_before_it_only() {
    let block = |fill: u8| [fill; BLOCK];
    let write = |store: &mut dyn Store, at: usize, fill: u8| {
        let offset = (at * BLOCK) as u64;
        let op = StoreOp::Write {
            offset,
            durable: false,
        };
        assert_eq!(run(store, op, &mut block(fill)), Ok(()));
    };
    let mut lost = 0;
    for seed in 0..40 {
        let temporary = file(BLOCKS * BLOCK);
        let below = open(temporary.path(), Backend::Auto, true);
        let mut store = CachedStore::new(below, BLOCK as u32);
        write(&mut store, 0, 1);
        write(&mut store, 1, 1);
        let flush = store.submit(7, StoreOp::Flush, &mut Buffers::empty());
        assert_eq!(flush, Submitted::Pending);
        // While the flush is under way.
        write(&mut store, 1, 2);
        write(&mut store, 2, 2);
        loop {
            store.kick();
            if let Some(finished) = store.poll() {
                assert_eq!((finished.token, finished.result), (7, Ok(&[][..])));
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(store.unflushed_blocks(), 2);
        store.power_cut(seed);
        let left = contents(&mut store);
        let left = [left[0], left[BLOCK], left[2 * BLOCK]];
        assert_eq!(left[0], 1, "flushed");
        assert!(
            matches!(left[1], 1 | 2),
            "flushed or newer, not {}",
            left[1]
        );
        assert!(matches!(left[2], 0 | 2), "old or new, not {}", left[2]);
        lost += usize::from(left[1] == 1) + usize::from(left[2] == 0);
    }
    assert!(
        (10..70).contains(&lost),
        "{lost} of 80 unflushed writes lost"
    );
}
