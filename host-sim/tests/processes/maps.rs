//! `outboard map` against a server: what it shows, what it sets, and what goes wrong.

use std::fs;
use std::path::Path;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::process::{Ended, Server};

/// A server over an empty drive, with `tally.o` beside it.
fn serve() -> (TempDir, Server) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("disk.img"), vec![7; 64 << 10]).expect("a drive");
    fs::write(folder.path().join("tally.o"), programs::TALLY).expect("an object");
    fs::write(folder.path().join("crc_cache.o"), programs::CRC_CACHE).expect("an object");
    let server = Server::start(folder.path(), &[]);
    (folder, server)
}

fn stop(server: Server) {
    server.signal(Signal::INT);
    let ended = server.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

fn map(folder: &Path, server: &Server, words: &str, object: &str) -> Ended {
    let file = folder.join(object).display().to_string();
    let words = words.replace("OBJECT", &file);
    let args: Vec<&str> = words.split_whitespace().collect();
    server.outboard(&[&["map"], &args[..]].concat())
}

#[test]
fn maps_are_listed_dumped_and_set() {
    let (folder, server) = serve();
    let tally = |words: &str| map(folder.path(), &server, words, "tally.o");

    let list = tally("list OBJECT --call u64:7,u64:50").done();
    let rows: Vec<Vec<&str>> = list
        .text()
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 6, "{list:?}");
    assert_eq!(rows[0][..4], ["MAP", "NAME", "TYPE", "KEY"]);
    let is_listed = |wanted: &[&str]| rows.iter().any(|row| row[1..] == *wanted);
    assert!(
        is_listed(&["amounts", "hash", "8", "16", "1", "100", "read,", "write"]),
        "{list:?}"
    );
    assert!(
        is_listed(&[".rodata", "array", "4", "32", "1", "1", "read"]),
        "{list:?}"
    );
    // The columns line up.
    let column = list
        .text()
        .lines()
        .map(|row| row.find("array").or(row.find("hash")));
    let columns: Vec<usize> = column.flatten().collect();
    assert!(
        columns.len() == 5 && columns.iter().all(|at| *at == columns[0]),
        "{list:?}"
    );

    // Two calls for one key and one for another, twice over.
    let calls = "--call u64:7,u64:50 --call u64:7,u64:60 --call 9,hex:0100000000000000";
    tally(&format!("dump OBJECT amounts {calls}")).failed(2, "write u8:");
    let calls = "--call u64:7,u64:50 --call u64:7,u64:60 --call u64:9,u64:1 --times 2";
    let dump = tally(&format!("dump OBJECT amounts --words 8 {calls}")).done();
    let rows: Vec<&str> = dump.text().lines().map(str::trim).collect();
    assert_eq!(rows, ["KEY  VALUE", "7  220 4", "9    2 2"], "{dump:?}");
    let all = tally(&format!("dump OBJECT {calls} --json")).done().json();
    let maps = all["maps"].as_array().expect("all of them");
    let named = |name: &str| maps.iter().find(|map| map["name"] == name).expect(name);
    assert_eq!(
        named("sizes")["entries"][1],
        json!({
            "key_hex": "01000000", "key": 1, "value_hex": "0400000000000000", "value": 4,
        })
    );
    assert_eq!(named(".data")["entries"][0]["value"], 1006);
    assert_eq!(
        named("amounts")["entries"].as_array().map(Vec::len),
        Some(2)
    );

    // Each command begins anew.
    assert_eq!(tally("dump OBJECT amounts").done().text(), "no entries\n");
    assert_eq!(tally("get OBJECT .data 0").done().text(), "1000\n");
    assert_eq!(
        tally("get OBJECT .data 0 --hex").done().text(),
        "e803000000000000\n"
    );

    // What is put there the program goes on from.
    let set = tally("set OBJECT amounts 7 u64:100,u64:2 --call u64:7,u64:5 --words 8").done();
    assert_eq!(set.text(), "105 3\n");
    let set = tally("set OBJECT .rodata 0 u64:60 --at 0 --words 8").done();
    assert_eq!(set.text(), "60 100 1000 10000\n");
    let get =
        tally("get OBJECT sizes 0 --put .rodata:0=u64:60,u64:70,u64:80,u64:90 --call u64:1,u64:50");
    assert_eq!(get.done().text(), "1\n");
    let set = tally("set OBJECT amounts 0x10 text:ab --json")
        .done()
        .json();
    assert_eq!(set["value_hex"], "61620000000000000000000000000000");
    let left = tally("delete OBJECT amounts 7 --put amounts:7=1 --put amounts:-1=2").done();
    assert_eq!(left.text().lines().count(), 2, "{left:?}");
    assert!(left.text().contains(&u64::MAX.to_string()), "{left:?}");

    // A loaded program by name, whose maps have numbers only.
    let by_number = server.outboard(&["map", "get", "tally", "0", "7", "--put", "0:7=3"]);
    assert_eq!(
        by_number.done().text(),
        "03000000000000000000000000000000\n"
    );
    let list = server.outboard(&["map", "list", "tally"]).done();
    assert!(list.text().contains(" ?  "), "{list:?}");

    // A program that reads the drive.
    let reads = "get OBJECT .bss 0 --object 1 --call u64:0 --call u64:0 --words 4";
    map(folder.path(), &server, reads, "crc_cache.o").failed(1, "errno 22");
    let reads = reads.replace("u64:0", "u64:0,u64:0");
    let reads = map(folder.path(), &server, &reads, "crc_cache.o").done();
    assert_eq!(reads.text(), "1 1\n");

    let stats = server.outboard(&["stats", "--json"]).done().json();
    for pool in ["maps_4k", "maps_32k", "maps_256k", "instances"] {
        assert_eq!(stats["pools"][pool]["used"], 0, "{pool}: {stats}");
    }
    stop(server);
}

#[test]
fn what_cannot_be_done_to_maps_is_said() {
    let (folder, server) = serve();
    let fails = |words: &str, code, message: &str| {
        map(folder.path(), &server, words, "tally.o").failed(code, message);
    };
    fails("get tally amounts 1", 1, "`outboard load` loads one");
    fails(
        "get OBJECT nosuch 1",
        1,
        "no map nosuch; it has amounts, sizes, ",
    );
    fails("get OBJECT 17 1", 1, "no map 17");
    map(folder.path(), &server, "list OBJECT", "tally.o").done();
    fails("get tally amounts 1", 2, "named by number");
    fails("get OBJECT amounts 1", 1, "`outboard map dump` shows");
    fails(
        "get OBJECT amounts hex:00",
        2,
        "key: \"hex:00\" is 1 long, and 8 bytes",
    );
    fails("get OBJECT sizes 5", 1, "no entry 5 in an array of 5");
    fails(
        "get OBJECT sizes 0x100000000",
        2,
        "does not fit into 4 bytes",
    );
    fails(
        "set OBJECT amounts 1 u64:2",
        2,
        "value: \"u64:2\" is 8 long, and 16 bytes",
    );
    fails(
        "set OBJECT amounts 1 2 --existing",
        1,
        "no entry of that key",
    );
    fails(
        "set OBJECT amounts 1 2 --put amounts:1=1 --new",
        1,
        "an entry of that key already",
    );
    fails(
        "set OBJECT amounts 1 2 --new --existing",
        2,
        "cannot be used with",
    );
    fails(
        "set OBJECT amounts 1 2 --at 3",
        2,
        "say how long the value is",
    );
    fails(
        "set OBJECT amounts 1 u64:2 --at 9",
        1,
        "the limit is 16, this was 17",
    );
    fails(
        "delete OBJECT sizes 0",
        1,
        "nothing can be deleted from an array",
    );
    fails(
        "get OBJECT amounts 1 --put amounts",
        2,
        "is not MAP:KEY=VALUE",
    );
    fails("get OBJECT amounts 1 --call u64:1", 1, "errno 22");
    fails("dump OBJECT --words 3", 2, "1, 2, 4");
    fails("dump nosuch.o", 5, "nosuch.o");
    let help = server.outboard(&["map", "--help"]).done();
    for words in [
        "connection that attached it",
        "Examples:",
        "dump",
        "--put and --call",
    ] {
        assert!(help.text().contains(words), "{words}: {help:?}");
    }
    let help = server.outboard(&["--help"]).done();
    assert!(help.text().contains("Look at the maps"), "{help:?}");
    let help = server.outboard(&["map", "set", "--help"]).done();
    assert!(help.text().contains("u64:70,u32:3"), "{help:?}");
    stop(server);
}
