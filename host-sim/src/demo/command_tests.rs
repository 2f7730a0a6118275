//! The command over the world with the virtual clock.

use clap::Parser;
use rusqlite::Connection;
use serde_json::Value;
use std::path::Path;

use super::*;
use crate::cli::{Cli, Command};
use crate::demo::virtual_world::Virtual;

fn arguments(cache: &Path, line: &str) -> DemoArgs {
    let line = format!("host-sim demo --quiet --cache {} {line}", cache.display());
    match Cli::try_parse_from(line.split_whitespace())
        .unwrap()
        .command
    {
        Command::Demo(args) => args,
        other => panic!("{other:?} is not demo"),
    }
}

fn open(spec: &WorldSpec) -> Result<Virtual, String> {
    let database = fs::read(&spec.database).map_err(|error| error.to_string())?;
    assert_eq!(database.len() as u64, spec.placement.bytes());
    Ok(Virtual::new(database, spec.table))
}

fn run_line(cache: &Path, line: &str) -> (Result<Exit, DemoError>, String) {
    let mut out = Vec::new();
    let args = arguments(cache, line);
    let exit = command(&args, &Interrupt::new(), &mut out, open);
    (exit, String::from_utf8(out).unwrap())
}

#[test]
fn every_page_size_and_every_kind_of_row() {
    let folder = tempfile::tempdir().unwrap();
    for page_bytes in [512, 1024, 4096, 65_536] {
        let line = format!(
            "--json --dataset mixed --page-size {page_bytes} --keys 2000 --missing 10 \
             --concurrency 16"
        );
        let (exit, out) = run_line(folder.path(), &line);
        assert_eq!(exit.unwrap(), Exit::Success);
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(json["mismatches"], 0, "{json}");
        assert_eq!(
            (&json["keys"], &json["page_bytes"]),
            (&2000.into(), &page_bytes.into())
        );
        assert_eq!(json["pushdown.round_trips_per_op"], 1.0);
        let reads = json["remote.round_trips_per_op"].as_f64().unwrap();
        assert!(reads >= 2.0 && json["reads_per_lookup"] == reads, "{json}");
        assert!(json["share_of_expected"].as_f64().unwrap() > 0.85, "{json}");
    }
    // Databases stay; drafts do not.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn a_database_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("own.db");
    let connection = Connection::open(&source).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE a (x); CREATE TABLE b (x PRIMARY KEY) \
             WITHOUT ROWID; INSERT INTO a VALUES (1), ('two'), (x'03');",
        )
        .unwrap();
    let line = |table: &str| format!("--database {} --table {table} --keys 100", source.display());
    let cache = folder.path().join("cache");
    let (exit, out) = run_line(&cache, &line("a"));
    assert_eq!(exit.unwrap(), Exit::Success);
    assert!(out.contains("all 100 records of both ways"), "{out}");
    assert!(out.contains("own.db"), "{out}");
    let refused = run_line(&cache, &line("b")).0.unwrap_err();
    assert!(refused.to_string().contains("WITHOUT ROWID"), "{refused}");
    assert_eq!(refused.exit(), Exit::Failed);
    let refused = run_line(&cache, &line("c")).0.unwrap_err();
    assert!(refused.to_string().contains("no table \"c\""), "{refused}");
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 0);
}

#[test]
fn a_wrong_answer_is_exit_status_3() {
    let folder = tempfile::tempdir().unwrap();
    let args = arguments(folder.path(), "--scale 0.001 --keys 500");
    let mut out = Vec::new();
    let lying = |spec: &WorldSpec| {
        let mut world = open(spec)?;
        world.lie_every = 100;
        Ok(world)
    };
    let exit = command(&args, &Interrupt::new(), &mut out, lying).unwrap();
    assert_eq!((exit, exit.status()), (Exit::Mismatch, 3));
    assert!(String::from_utf8(out).unwrap().contains("WRONG"));
}

#[test]
fn ctrl_c_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let args = arguments(folder.path(), "--scale 0.001");
    let interrupt = Interrupt::new();
    interrupt.request();
    let stopped = command(&args, &interrupt, &mut Vec::new(), open).unwrap_err();
    assert_eq!(stopped.exit(), Exit::Interrupted);
    let (args, interrupt) = (arguments(folder.path(), "--scale 0.001"), Interrupt::new());
    let later = |spec: &WorldSpec| {
        interrupt.request();
        open(spec)
    };
    let stopped = command(&args, &interrupt, &mut Vec::new(), later).unwrap_err();
    assert_eq!(stopped.exit(), Exit::Interrupted);
}

#[test]
fn a_world_that_does_not_open_is_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let args = arguments(folder.path(), "--scale 0.001 --keys 10");
    let broken = |_: &WorldSpec| Err::<Virtual, _>("the drive did not start".to_string());
    let error = command(&args, &Interrupt::new(), &mut Vec::new(), broken).unwrap_err();
    assert_eq!(
        (error.to_string().as_str(), error.exit()),
        ("the drive did not start", Exit::Failed)
    );
}
