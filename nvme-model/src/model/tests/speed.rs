//! What a command costs, on request: `cargo test --release --all-features -- --ignored speed --nocapture`.

use std::time::Instant;
use std::vec;
use std::vec::Vec;

use super::host::{DATA, Host, config, io};
use crate::model::{FileStore, FileStoreOptions, MemoryStore, ModelConfig, NamespaceConfig, Store};
use crate::seam::{Device, Dma, Registers, Span};
use crate::spec::*;

const BATCH: usize = 32;

/// Nanoseconds of `step` for one command, in batches, best of several rounds.
fn step_ns(store: impl Store + 'static, opcode: IoOpcode, bytes: usize) -> f64 {
    let base = config();
    let mut host = Host::ready(ModelConfig {
        namespaces: vec![NamespaceConfig::new(store, 4096)],
        ..base
    });
    host.create_pair(2, 64);
    let blocks = (bytes / 4096).max(1) as u32;
    let entries: Vec<_> = (0..BATCH)
        .map(|at| host.with_pages(io(opcode, 1, at as u64 * 2, blocks), DATA + 2 * at as u32))
        .collect();
    let mut best = f64::MAX;
    for _ in 0..200 {
        let mut spent = 0;
        for _ in 0..20 {
            for (id, entry) in entries.iter().enumerate() {
                host.place(
                    2,
                    &SubmissionEntry {
                        command_id: (id as u16).into(),
                        ..*entry
                    },
                );
            }
            host.ring_tail(2);
            let start = Instant::now();
            host.step();
            spent += start.elapsed().as_nanos();
            assert_eq!(host.completions(2).len(), BATCH);
        }
        best = best.min(spent as f64 / (20 * BATCH) as f64);
    }
    best
}

/// What copying alone costs, over the same span of memory.
fn copy_ns(bytes: usize) -> f64 {
    let from = vec![1u8; 64 * 4096];
    let mut host = Host::ready(config());
    let mut best = f64::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for at in 0..20 * BATCH {
            let page = at % BATCH * 2;
            let span = Span::new(DATA + page as u32, 0, bytes);
            let to = host.device.dma_mut().bytes_mut(span);
            to.copy_from_slice(std::hint::black_box(&from[page * 4096..][..bytes]));
        }
        best = best.min(start.elapsed().as_nanos() as f64 / (20 * BATCH) as f64);
    }
    best
}

#[test]
#[ignore = "a measurement"]
fn speed_of_a_step() {
    let copy = copy_ns(4096);
    let memory = || MemoryStore::new(64 << 20);
    let read = step_ns(memory(), IoOpcode::READ, 4096);
    let write = step_ns(memory(), IoOpcode::WRITE, 4096);
    let flush = step_ns(memory(), IoOpcode::FLUSH, 4096);
    std::println!("4 KiB copy alone              {copy:7.1} ns");
    std::println!(
        "4 KiB read, memory store      {read:7.1} ns, {:.1} without the copy",
        read - copy
    );
    std::println!(
        "4 KiB write, memory store     {write:7.1} ns, {:.1} without the copy",
        write - copy
    );
    std::println!("flush, memory store           {flush:7.1} ns");
    let temporary = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(temporary.path(), vec![1u8; 4 << 20]).unwrap();
    let file = FileStore::open(temporary.path(), FileStoreOptions::default()).unwrap();
    let cached = step_ns(file, IoOpcode::READ, 4096);
    std::println!("4 KiB read, file store cached {cached:7.1} ns");
    let mut host = Host::ready(config());
    let idle = Instant::now();
    for now_us in 0..1_000_000 {
        assert!(!host.device.step(now_us).busy);
    }
    let idle = idle.elapsed().as_nanos() as f64 / 1e6;
    std::println!("idle step                     {idle:7.1} ns");
    host.device.registers().read32(offset::CSTS);
    // Generous: shared machines. The design's figure is 250 ns without the copy.
    assert!(
        read - copy < 1000.0,
        "{read} ns for a read, {copy} of them copying"
    );
}
