//! The outboard command against an agent made of memory, over TCP: output, errors, exit codes.
#![cfg(feature = "cli")]

mod support;

use protocol::message::Proof;
use protocol::{ErrorBody, Known, Status, Unproved};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use support::{FakeAgent, Manner};

/// An agent behind a TCP port; one connection after the other speaks to the same drive and
/// programs.
struct Server {
    address: SocketAddr,
    agent: Arc<Mutex<FakeAgent>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let agent = Arc::new(Mutex::new(FakeAgent::new(Manner::default())));
        let shared = Arc::clone(&agent);
        thread::spawn(move || {
            for stream in listener.incoming() {
                serve(stream.unwrap(), &shared);
            }
        });
        Server { address, agent }
    }

    fn outboard(&self, args: &[&str]) -> Output {
        self.with_input(args, b"")
    }

    fn with_input(&self, args: &[&str], input: &[u8]) -> Output {
        run(&self.address.to_string(), args, input)
    }
}

fn run(address: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_outboard"))
        .env("OUTBOARD_AGENT", address)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may be gone before it has read its input.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

fn serve(mut stream: TcpStream, shared: &Mutex<FakeAgent>) {
    let mut buffer = [0; 65536];
    shared.lock().unwrap().new_connection();
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        let mut agent = shared.lock().unwrap();
        agent.receive(&buffer[..n]);
        let closes = agent.notice_at.is_some_and(|(at, _)| agent.seen.len() > at);
        if stream.write_all(&agent.send()).is_err() || closes {
            return;
        }
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// It worked, and complained of nothing.
fn done(output: Output) -> Output {
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), "")
    );
    output
}

/// It failed with this code, in words that contain this.
fn failed(output: Output, code: i32, words: &str) {
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.contains(words), "{words:?} is not in: {message}");
    assert!(!message.contains("panicked"), "{message}");
}

fn object(name: &str) -> String {
    format!("{}/tests/objects/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn what_is_written_is_read() {
    let server = Server::start();
    let data: Vec<u8> = (0..100_000_u32).map(|i| (i * 7) as u8).collect();
    let args = ["write", "--offset", "1K", "--pad", "--flush"];
    done(server.with_input(&args, &data));
    let read = done(server.outboard(&["read", "--offset", "1K", "--length", "100000"]));
    assert!(read.stdout == data);
    let read = done(server.outboard(&["read", "-O", "1025", "-l", "3", "-o", "-"]));
    assert_eq!(read.stdout, data[1..4]);

    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("out").display().to_string();
    done(server.outboard(&["read", "--length", "512", "-o", &file]));
    assert_eq!(
        std::fs::read(&file).unwrap(),
        server.agent.lock().unwrap().drive[..512]
    );
    let json = done(server.outboard(&["--json", "write", "--offset", "0", "--input", &file]));
    assert!(stdout(&json).contains("\"written\": 512"));
    done(server.outboard(&["flush"]));
}

#[test]
fn programs_are_loaded_listed_called_and_unloaded() {
    let server = Server::start();
    let path = object("two_sections.o");
    let loaded = done(server.outboard(&["load", &path, "--name", "first"]));
    assert!(stdout(&loaded).starts_with("program 1: first, "));
    let list = done(server.outboard(&["programs"]));
    let rows: Vec<String> = stdout(&list).lines().map(str::to_owned).collect();
    assert!(
        rows[0].contains("NAME") && rows[1].contains("first"),
        "{rows:?}"
    );
    let json = done(server.outboard(&["programs", "--json"]));
    assert!(stdout(&json).contains("\"name\": \"first\""));

    let call = [
        "call",
        "first",
        "--object",
        "1:0:4K",
        "--arg-text",
        "ab",
        "--arg-hex",
        "63",
    ];
    let reply = done(server.outboard(&call));
    assert_eq!(reply.stdout, b"101:cba");
    let reply = done(server.outboard(&[&call[..], &["--output", "hex"]].concat()));
    assert!(stdout(&reply).starts_with("00000000  31 30 31 3a 63 62 61"));
    let reply = done(server.outboard(&[&call[..], &["--json"]].concat()));
    assert!(stdout(&reply).contains("\"reply_text\": \"101:cba\""));
    let reply = server.outboard(&[&call[..], &["--cost"]].concat());
    assert_eq!(stderr(&reply), "7 bytes, 60 instructions, 6 reads\n");
    done(server.outboard(&["call", "1", "-b", "1"]));

    failed(
        server.outboard(&["load", &path, "--name", "first"]),
        1,
        "Choose another with --name",
    );
    failed(server.outboard(&["call", "first"]), 2, "Add --object");
    failed(
        server.outboard(&["call", "second"]),
        1,
        "`outboard load` loads one",
    );
    let long = "x".repeat(17);
    failed(
        server.outboard(&["call", "first", "-b1", "--arg-text", &long]),
        2,
        "at most 16 bytes",
    );
    done(server.outboard(&["unload", "first"]));
    let list = done(server.outboard(&["programs"]));
    assert!(stdout(&list).contains("no program is loaded"));
}

#[test]
fn info_and_stats_are_shown() {
    let server = Server::start();
    let info = stdout(&done(server.outboard(&["info"])));
    assert!(info.contains("MODEL") && info.contains("1 MiB"), "{info}");
    let info = stdout(&done(server.outboard(&["info", "--json"])));
    assert!(info.contains("\"block_bytes\": 512"), "{info}");
    let stats = stdout(&done(server.outboard(&["stats"])));
    assert!(
        stats.contains("frames") && stats.contains("pages"),
        "{stats}"
    );
    let drive = "drive running at half speed, too hot, 71 °C, 3 % of its life used, 99 % spare \
                 (SMART, 4.2 s ago)";
    assert!(stats.lines().any(|line| line == drive), "{stats}");
    let stats = stdout(&done(server.outboard(&["stats", "--json"])));
    assert!(stats.contains("\"warnings\":[\"temperature\"]"), "{stats}");
    assert!(stats.contains("\"frames\":"), "{stats}");
}

#[test]
fn an_object_is_linked_without_an_agent() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("image").display().to_string();
    let linked = done(run(
        "nowhere:1",
        &["link", &object("maps.o"), "-o", &image],
        b"",
    ));
    assert!(stdout(&linked).contains("dpu/scan, dpu/finish"));
    let server = Server::start();
    done(server.outboard(&["load", &image, "--name", "image"]));
    assert_eq!(
        server.agent.lock().unwrap().programs[0].2,
        std::fs::read(&image).unwrap()
    );
    failed(
        run("nowhere:1", &["link", &object("maps.c")], b""),
        1,
        "clang -target bpf",
    );
    failed(
        run("nowhere:1", &["link", "/nonexistent"], b""),
        5,
        "/nonexistent: ",
    );
}

#[test]
fn errors_are_sentences_and_have_their_codes() {
    let server = Server::start();
    failed(
        server.outboard(&["read", "-n", "2", "-l", "1"]),
        1,
        "`outboard info` lists",
    );
    failed(
        server.outboard(&["read", "-O", "1M", "-l", "1"]),
        1,
        "not wholly inside",
    );
    failed(server.outboard(&["read", "-l", "1X"]), 2, "no unit of size");
    failed(server.outboard(&["frobnicate"]), 2, "frobnicate");
    failed(
        server.with_input(&["write", "--offset", "0"], b"short"),
        2,
        "--pad",
    );
    failed(
        server.outboard(&["write", "--offset", "0", "-i", "/nonexistent"]),
        5,
        "/nonexistent",
    );
    failed(server.outboard(&["stats", "--watch=-1"]), 2, "above 0");

    server.agent.lock().unwrap().notice_at = Some((1, Status::ShuttingDown));
    failed(
        server.with_input(&["write", "--offset", "0"], &[0; 512]),
        4,
        "may or may not",
    );
    server.agent.lock().unwrap().notice_at = Some((0, Status::ShuttingDown));
    failed(server.outboard(&["info"]), 3, "shutting down");

    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let wanted = format!(
        "outboard: cannot reach an agent at {address}: connection refused. Is `host-sim serve` or `host-sim board` running?"
    );
    failed(run(&address, &["info"], b""), 3, &wanted);
}

#[test]
fn a_refused_program_is_shown_at_its_source() {
    let server = Server::start();
    server.agent.lock().unwrap().refuse_at = Some(0);
    let output = server.outboard(&["load", &object("two_sections.o")]);
    let shown = stderr(&output);
    assert!(
        shown.contains("error[structure]: no such helper\n"),
        "{shown}"
    );
    assert!(shown.contains("--> ./two_sections.c:"), "{shown}");
    failed(output, 1, "instruction 0, in first_words");
}

/// What the agent says in numbers is shown as `outboard verify` shows it.
#[test]
fn an_unproved_program_is_shown_as_verify_shows_it() {
    let server = Server::start();
    let path = object("verify/reply_too_short.o");
    let verified = stderr(&run("nowhere:1", &["verify", &path], b""));
    let (wanted, _) = verified.split_once("outboard: ").unwrap();
    server.agent.lock().unwrap().refuse_with = Some(ErrorBody::Unproved(Unproved {
        pc: 6,
        kind: 6,
        facts: [2, 1 << 31 | 8, 8],
        register: Some(2),
        known: Known::Pointer {
            region: 2,
            min: 0,
            max: 0,
        },
        trail: heapless_trail(&[]),
    }));
    let output = server.outboard(&["load", &path]);
    let shown = stderr(&output);
    assert!(shown.starts_with(wanted), "{shown}\nbut wanted\n{wanted}");
    failed(
        output,
        1,
        "outboard: loading the program failed: the program's code was refused (instruction 6: writes 8 bytes outside of reply, which has 8)",
    );
    let output = server.outboard(&["load", &path, "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["refusals"][0]["place"]["line"], 11);
}

/// Whatever an agent says, it is shown, and steers no terminal.
#[test]
fn what_an_agent_says_is_data() {
    let server = Server::start();
    let path = object("verify/null_check.o");
    let trails = [&[][..], &[0, 65535, 3, 3], &[65535; 8]];
    for (pc, kind) in [(0, 0), (u32::MAX, 6), (8, 6), (3, 256), (65535, 65535)] {
        for trail in trails {
            server.agent.lock().unwrap().refuse_with = Some(ErrorBody::Unproved(Unproved {
                pc,
                kind,
                facts: [u32::MAX; 3],
                register: Some(200),
                known: Known::Pointer {
                    region: 200,
                    min: i64::MAX,
                    max: i64::MIN,
                },
                trail: heapless_trail(trail),
            }));
            failed(server.outboard(&["load", &path]), 1, "error[");
        }
    }
    let evil = ErrorBody::refused(3, format_args!("\x1b[2J\r\nall is well"));
    server.agent.lock().unwrap().refuse_with = Some(evil);
    let shown = stderr(&server.outboard(&["load", &path]));
    assert!(!shown.contains(['\x1b', '\r']), "{shown:?}");
    assert!(shown.contains("all is well"), "{shown:?}");
}

#[test]
fn a_load_says_what_was_proved() {
    let server = Server::start();
    let path = object("verify/two_entries.o");
    let proof = |guarded| {
        Some(Proof {
            proved: 1300,
            guarded,
            unreached: 1,
        })
    };
    server.agent.lock().unwrap().proof = proof(2);
    let loaded = stdout(&done(server.outboard(&["load", &path, "--name", "a"])));
    let line = "3 entries, 1 303 accesses: 1 300 proved, 2 guarded, 1 never run\n";
    assert!(loaded.ends_with(line), "{loaded}");
    assert!(!server.agent.lock().unwrap().strict);
    failed(
        server.outboard(&["load", &path, "--name", "b", "--strict"]),
        1,
        "without a proof that all of its accesses are safe",
    );
    assert!(server.agent.lock().unwrap().strict);
    server.agent.lock().unwrap().proof = proof(0);
    let args = ["load", &path, "--name", "c", "--strict", "--json"];
    let json: serde_json::Value =
        serde_json::from_slice(&done(server.outboard(&args)).stdout).unwrap();
    assert_eq!(json["accesses"]["proved"], 1300);
}

fn heapless_trail<const N: usize>(trail: &[u16]) -> heapless::Vec<u16, N, u8> {
    heapless::Vec::from_slice(trail).unwrap()
}

#[test]
fn a_call_that_fails_says_how_to_give_it_more() {
    let server = Server::start();
    done(server.outboard(&["load", &object("two_sections.o"), "--name", "p"]));
    server.agent.lock().unwrap().call_fails = Some((Status::OutOfReads, ErrorBody::None));
    failed(
        server.outboard(&["call", "p", "-b", "1"]),
        1,
        "Give it more with --reads",
    );
    server.agent.lock().unwrap().call_fails = Some((Status::ProgramErrno, ErrorBody::Errno(-2)));
    failed(server.outboard(&["call", "p", "-b", "1"]), 1, "errno 2");
}

#[test]
fn a_closed_pipe_is_no_reason_to_panic() {
    let server = Server::start();
    let mut child = Command::new(env!("CARGO_BIN_EXE_outboard"))
        .env("OUTBOARD_AGENT", server.address.to_string())
        .args(["read", "--length", "1M"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (Some(0), "")
    );
}

#[test]
fn help_documents_the_exit_codes() {
    let help = stdout(&done(run("", &["--help"], b"")));
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code}");
    }
}
