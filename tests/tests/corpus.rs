//! Every input in the fuzzers' corpora, through the bodies of their targets, on stable.

use std::fs;
use std::path::{Path, PathBuf};

fn inputs(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a file").path())
        .filter(|path| {
            let name = path.file_name();
            name.is_none_or(|name| name.as_encoded_bytes()[0] != b'.')
        })
        .collect();
    paths.sort();
    assert!(
        paths.len() >= 10,
        "{} has lost its inputs",
        folder.display()
    );
    paths
}

fn replay(target: &str, body: fn(&[u8])) {
    for path in inputs(target) {
        // Shown if the body panics.
        println!("{}", path.display());
        body(&fs::read(&path).expect("readable"));
    }
}

#[test]
fn engines() {
    replay("engines", harness::fuzz::engines);
}

#[test]
fn frames() {
    replay("frames", protocol::fuzz::frames);
}

#[test]
fn sessions() {
    replay("session", outboard_tests::fuzz::session);
}

/// What `record_corpus` writes is there. The bytes may be of an earlier agent: they are inputs.
#[test]
fn nothing_recorded_is_missing() {
    for file in outboard_tests::fuzz::record::corpus() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(file.target)
            .join(&file.name);
        assert!(
            path.is_file(),
            "{}: run `cargo run -p outboard-tests --example record_corpus`",
            path.display()
        );
    }
}

#[test]
fn the_corpora_stay_small() {
    let all: Vec<PathBuf> = ["frames", "session"]
        .iter()
        .flat_map(|name| inputs(name))
        .collect();
    let bytes: u64 = all
        .iter()
        .map(|path| path.metadata().expect("a file").len())
        .sum();
    assert!(
        all.len() < 200 && bytes < 300 * 1024,
        "{} files, {bytes} bytes",
        all.len()
    );
}
