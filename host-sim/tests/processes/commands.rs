//! What a user types: every command of `outboard` against a server, and what goes wrong.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use programs::chase::{ChaseReply, build};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::process::{PATIENCE, Running, Server, files_in, host_sim, outboard};

/// Cells of the chain on the drive, and the bytes of one.
const CELLS: u32 = 2048;
const STRIDE: u32 = 512;

/// A folder with a drive that holds a chain, and a server of it beside a smaller drive.
fn serve_chain() -> (tempfile::TempDir, Server, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let chain = build(CELLS, STRIDE, 7);
    fs::write(folder.path().join("disk.img"), &chain).unwrap();
    fs::write(folder.path().join("small.img"), vec![0; 64 << 10]).unwrap();
    fs::write(folder.path().join("chase.o"), programs::CHASE).unwrap();
    let server = Server::start(folder.path(), &["--namespace", "small.img,block=512"]);
    (folder, server, chain)
}

fn stop(server: Server) {
    server.signal(Signal::INT);
    let ended = server.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
}

/// The agent's log: what was asked for, in lines with time, level and module.
#[test]
fn the_log_is_what_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), vec![1; 64 << 10]).unwrap();
    let object = folder.path().join("chase.o");
    fs::write(&object, programs::CHASE).unwrap();
    let load_and_stop = |more: &[&str]| {
        let server = Server::start(folder.path(), more);
        server.outboard(&["load", object.to_str().unwrap()]).done();
        server.signal(Signal::INT);
        server.end().stderr
    };
    let silent = load_and_stop(&[]);
    assert!(!silent.contains("INFO"), "{silent}");
    let said = load_and_stop(&["--log", "info"]);
    let lines = [
        " INFO  dpu_firmware::program_store: program 0 is proved and loaded, 1 now",
        " INFO  dpu_firmware::drive: drive: stopped",
    ];
    for line in lines {
        let found = said.lines().find(|it| it.ends_with(line));
        let time = found.and_then(|it| it.strip_suffix(line)?.strip_prefix('[')?.strip_suffix(']'));
        let time = time.map(|it| it.trim().parse::<f64>());
        assert!(matches!(time, Some(Ok(_))), "no {line:?} in: {said}");
    }
}

/// Stats tell how the drive fares; its LED is for terminals and leaves nothing on a pipe.
#[test]
fn the_drive_tells_how_it_fares() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("disk.img"), vec![1; 64 << 10]).unwrap();
    let server = Server::start(folder.path(), &["--led", "--heat"]);
    server.outboard(&["read", "-l", "8K"]).done();
    let stats = server.outboard(&["stats", "--json"]).done().json();
    let drive = &stats["drive"];
    assert_eq!(drive["state"], "running");
    assert_eq!(drive["source"], "smart");
    assert_eq!(drive["throttled"], false);
    assert_eq!(drive["temperature_celsius"], 35);
    let stats = server.outboard(&["stats"]).done();
    let well = "drive running, 35 °C, 0 % of its life used, 100 % spare (SMART, ";
    assert!(
        stats.text().lines().any(|line| line.starts_with(well)),
        "{stats:?}"
    );
    server.signal(Signal::INT);
    let ended = server.end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    assert!(
        !ended.stderr.contains(['○', '●', '\r', '\x1b']),
        "{ended:?}"
    );
}

#[test]
fn the_drive_is_described_read_and_written() {
    let (folder, server, chain) = serve_chain();
    let info = server.outboard(&["info"]).done();
    let rows: Vec<Vec<&str>> = info
        .text()
        .lines()
        .map(|row| row.split_whitespace().collect())
        .collect();
    assert!(
        rows.contains(&vec!["1", "1", "MiB", "256", "4096"]),
        "{info:?}"
    );
    assert!(
        rows.contains(&vec!["2", "64", "KiB", "128", "512"]),
        "{info:?}"
    );
    let info = server.outboard(&["info", "--json"]).done().json();
    let namespaces = json!([
        { "id": 1, "blocks": 256, "block_bytes": 4096 },
        { "id": 2, "blocks": 128, "block_bytes": 512 },
    ]);
    assert_eq!(info["namespaces"], namespaces);
    assert_eq!(info["board"], "host-sim");

    // Whole, and from within one block to within another.
    let read = server.outboard(&["read", "--length", "1M"]).done();
    assert!(read.stdout == chain);
    let read = server.outboard(&["read", "-O", "5000", "-l", "0x1001", "-o", "-"]);
    assert!(read.done().stdout == chain[5000..][..0x1001]);

    // From a file and from the standard input; into a file.
    let new: Vec<u8> = (0..10_000_u32).map(|at| (at * 7) as u8).collect();
    fs::write(folder.path().join("new"), &new[..8192]).unwrap();
    let new_path = folder.path().join("new").display().to_string();
    let write = ["--json", "write", "--offset", "64K", "--input", &new_path];
    let wrote = server.outboard(&write).done().json();
    assert_eq!(
        (&wrote["written"], &wrote["flushed"]),
        (&json!(8192), &json!(false))
    );
    assert_eq!(wrote["drive_epoch"], info["drive_epoch"]);
    let flushed = server.outboard(&["flush", "--json"]).done().json();
    assert_eq!(flushed["drive_epoch"], info["drive_epoch"]);
    let write = ["write", "-n", "2", "--offset", "512", "--pad", "--flush"];
    assert_eq!(server.with_input(&write, &new).done().text(), "");
    let out = folder.path().join("out").display().to_string();
    server
        .outboard(&["read", "-n2", "-l", "10K", "-o", &out])
        .done();
    let padded = [&[0; 512][..], &new, &[0; 10_240 - 512]].concat();
    assert!(fs::read(&out).unwrap() == padded[..10_240]);

    // What was flushed is in the files while the server runs.
    let mut expected = chain;
    expected[64 << 10..][..8192].copy_from_slice(&new[..8192]);
    assert!(fs::read(folder.path().join("disk.img")).unwrap() == expected);
    let small = fs::read(folder.path().join("small.img")).unwrap();
    assert!(small[..512] == [0; 512] && small[512..][..new.len()] == new);

    let stats = server.outboard(&["stats", "--json"]).done().json();
    assert_eq!(stats["counters"]["bytes_written"], 8192 + 10_240);
    let stats = server.outboard(&["stats"]).done();
    let mut rows = stats.text().lines().map(str::split_whitespace);
    assert!(
        rows.any(|row| row.eq(["bytes_written", "18", "432"])),
        "{stats:?}"
    );

    stop(server);
    let names = ["chase.o", "disk.img", "new", "out", "small.img", "tmp"];
    assert_eq!(files_in(folder.path()), names);
}

#[test]
fn programs_are_loaded_called_and_unloaded() {
    let (folder, server, chain) = serve_chain();
    let object = folder.path().join("chase.o").display().to_string();
    let none = server.outboard(&["programs"]).done();
    assert!(none.text().contains("`outboard load FILE.o`"), "{none:?}");
    let loaded = server.outboard(&["load", &object]).done();
    assert!(
        loaded.text().starts_with("program 1: chase, "),
        "{loaded:?}"
    );
    let image = folder.path().join("chase.image").display().to_string();
    server
        .outboard(&["link", &object, "--output", &image])
        .done();
    let loaded = server.outboard(&["load", &image, "-n", "again", "--json"]);
    let loaded = loaded.done().json();
    assert_eq!(loaded["name"], "again");
    let id = loaded["program"].to_string();

    // Three hops from cell 0, by hand and by both programs.
    let next = |at: u64| u64::from_le_bytes(*chain[at as usize..].first_chunk().unwrap());
    let first = next(0);
    let hops = [first, next(first), next(next(first))];
    let expected = ChaseReply {
        offset: hops[2],
        sum: hops.iter().sum(),
    };
    let options = [
        "--arg-u64",
        "0",
        "--arg-u32",
        "3",
        "--arg-u32",
        "512",
        "-b",
        "1",
    ];
    let call = |name: &str, more: &[&str]| {
        server.outboard(&[&["call", name], &options[..], more].concat())
    };
    let reply = call("chase", &[]).done();
    assert_eq!(ChaseReply::from_bytes(&reply.stdout), Some(expected));
    let reply = call(&id, &["--json"]).done().json();
    let hex: String = chase_bytes(&expected)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!((&reply["result"], &reply["reads"]), (&json!(16), &json!(3)));
    assert_eq!(reply["reply_hex"], hex);
    let reply = call("again", &["--output", "hex", "--cost"]);
    assert!(reply.text().starts_with("00000000  "), "{reply:?}");
    assert!(reply.stderr.starts_with("16 bytes, ") && reply.stderr.ends_with(", 3 reads\n"));

    // What programs may not do, and what they run into.
    call("chase", &["--reads", "2"]).failed(1, "Give it more with --reads");
    call("chase", &["--instructions", "20"]).failed(1, "Give it more with --instructions");
    let narrow = ["call", "chase", "--object", "1:0:4K", "--arg-u64", "4K"];
    server.outboard(&narrow).failed(2, "no number");
    let narrow = ["call", "chase", "--object", "1:0:4K", "--arg-u64", "4096"];
    let out = [&narrow[..], &["--arg-u32", "1", "--arg-u32", "512"]].concat();
    server.outboard(&out).failed(1, "errno 34");
    server.outboard(&narrow).failed(1, "errno 22");
    server
        .outboard(&["call", "chase"])
        .failed(2, "Add --object");
    call("chase", &["--arg-u32", "0"]).failed(2, "at most 16 bytes");

    let list = server.outboard(&["programs", "--json"]).done().json();
    let calls: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["name"], &it["calls"]))
        .collect();
    assert_eq!(
        calls,
        [(&json!("chase"), &json!(5)), (&json!("again"), &json!(2))]
    );
    let list = server.outboard(&["programs"]).done();
    assert_eq!(list.text().lines().count(), 3, "{list:?}");
    let stats = server.outboard(&["stats", "--json"]).done().json();
    assert_eq!(stats["counters"]["calls"], 7);

    server.outboard(&["unload", "chase"]).done();
    server.outboard(&["unload", &id]).done();
    server
        .outboard(&["unload", &id])
        .failed(1, "`outboard programs` lists them");
    stop(server);
}

fn chase_bytes(reply: &ChaseReply) -> impl Iterator<Item = u8> {
    reply
        .offset
        .to_le_bytes()
        .into_iter()
        .chain(reply.sum.to_le_bytes())
}

#[test]
fn what_outboard_cannot_do_it_says() {
    let (folder, server, chain) = serve_chain();
    let fails = |args: &[&str], code, words: &str| {
        server.outboard(args).failed(code, words);
    };
    fails(
        &["read", "-n", "3", "-l", "1"],
        1,
        "`outboard info` lists the namespaces",
    );
    fails(&["read", "-O", "1M", "-l", "1"], 1, "not wholly inside");
    fails(
        &["read", "-O", "1048575", "-l", "2"],
        1,
        "not wholly inside",
    );
    fails(
        &["read", "-O", "0xffffffffffffffff", "-l", "1"],
        2,
        "64 bits",
    );
    fails(
        &["read", "-O", "0xfffffffffffffffe", "-l", "1"],
        1,
        "not wholly inside",
    );
    fails(
        &["read", "-l", "1", "-o", "/nonexistent/out"],
        5,
        "/nonexistent/out: ",
    );
    fails(
        &["write", "-O", "0", "-i", "/nonexistent"],
        5,
        "/nonexistent: ",
    );
    fails(&["load", "/nonexistent.o"], 5, "/nonexistent.o: ");
    let disk = folder.path().join("disk.img").display().to_string();
    fails(&["load", &disk], 1, "clang -target bpf");
    fails(
        &["call", "nobody", "-b", "1"],
        1,
        "`outboard load` loads one",
    );
    fails(&["unload", "nobody"], 1, "no program \"nobody\" is loaded");
    fails(
        &["flush", "-n", "9"],
        1,
        "`outboard info` lists the namespaces",
    );

    // Writes that are not of whole blocks, or beyond the end, write nothing.
    let write = |offset: &str, bytes: usize, code, words: &str| {
        let write = ["write", "--offset", offset];
        server
            .with_input(&write, &vec![9; bytes])
            .failed(code, words);
    };
    write("0", 4095, 2, "--pad");
    write("512", 4096, 1, "multiples of the block size");
    write("1M", 4096, 1, "not wholly inside");
    write("1044480", 8192, 1, "not wholly inside");
    write("0xfffffffffffff000", 8192, 1, "not wholly inside");
    let read = server.outboard(&["read", "--length", "1M"]).done();
    assert!(read.stdout == chain);
    stop(server);
}

#[test]
fn an_agent_that_is_not_there_is_named() {
    // A port that nobody listens on, because it is taken and not listened on.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let address = format!("127.0.0.1:{port}");
    let nobody = |args: &[&str], words: &str| outboard(&address, args, b"").end().failed(3, words);
    nobody(
        &["info"],
        &format!("cannot reach an agent at {address}: connection refused"),
    );
    nobody(
        &["stats"],
        "Is `host-sim serve` or `host-sim board` running?",
    );
    let elsewhere = ["info", "--agent", "no-such-host.invalid"];
    nobody(
        &elsewhere,
        "cannot reach an agent at no-such-host.invalid:7117",
    );
    let no_address = ["info", "--agent", "127.0.0.1:port"];
    outboard(&address, &no_address, b"")
        .end()
        .failed(2, "127.0.0.1:port");

    // Whoever listens there but speaks something else.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let talker = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut hello = [0; 16];
        stream.read_exact(&mut hello).unwrap();
        let words = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n<html>no</html>\r\n";
        stream.write_all(words).unwrap();
    });
    let asked = outboard(&address, &["info"], b"").end();
    asked.failed(3, "Is this an Outboard agent's port?");
    talker.join().unwrap();
}

#[test]
fn the_bench_measures_both_sides_of_each_case() {
    let bench = [
        "bench", "wire", "--case", "depth-1", "--time", "20ms", "--json",
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-sim"));
    let ended = Running::start(command.args(bench), b"").end();
    assert_eq!(ended.status.code(), Some(0), "{ended:?}");
    let figures: Vec<Value> = ended
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for way in ["wire", "tcp", "served"] {
        for depth in [1, 128] {
            let case = format!("{way}-depth-{depth}");
            let of_case = figures.iter().filter(|line| line["case"] == case.as_str());
            let sides: Vec<&Value> = of_case.collect();
            assert_eq!(sides.len(), 2, "{case}: {ended:?}");
            assert_eq!(sides[0]["who"], "outboard");
            assert!(sides.iter().all(|line| line["value"].as_f64() > Some(0.0)));
        }
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-sim"));
    let ended = Running::start(command.args(["bench", "wire", "--case", "none"]), b"").end();
    ended.failed(1, "no case's name contains \"none\"");
}

#[test]
fn what_cannot_be_served_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: usize| {
        fs::write(folder.path().join(name), vec![0; bytes]).unwrap();
    };
    file("good.img", 8192);
    file("odd.img", 10_000);
    file("empty.img", 0);
    let fails = |args: &[&str], code, words: &str| {
        let process = Running::start(host_sim(folder.path()).args(args), b"");
        process.end().failed(code, words);
    };
    fails(&["--disk", "none.img"], 1, "none.img");
    fails(&["--disk", "empty.img"], 1, "empty.img");
    fails(&["--disk", "."], 1, "host-sim: ");
    fails(&["--disk", "odd.img"], 1, "truncate -s 12288");
    fails(
        &["--disk", "good.img", "--namespace", "none.img"],
        1,
        "none.img",
    );
    fails(
        &["--disk", "good.img", "--namespace", "good.img,block=7"],
        2,
        "512 or 4096",
    );
    fails(&["--disk", "good.img", "--tap", "tap0"], 2, "--listen");
    fails(&[], 2, "--disk");
    assert_eq!(
        files_in(folder.path()),
        ["empty.img", "good.img", "odd.img"]
    );
}
