//! The firmware on bare metal, in QEMU: the suite's third arm, the demo's lookups, and bad ends.
//!
//! `cargo xtask test` runs these with the firmware that it has built (`cargo xtask board` does that
//! alone). They are behind the feature `firmware`, because they need QEMU, `OUTBOARD_FIRMWARE` to name the ELF, and `OUTBOARD_EXERCISE` the one that
//! has the driver's exercise in it. Nothing here depends on how fast the emulation is; what times
//! are printed are for people.

mod suite;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use client::{Budgets, Client, Config, linker};
use host_sim::bare_metal::{BoardMachine, MachineConfig, MachineError, StartLevel};
use nvme_model::exercise::{BLOCKS, Summary};
use programs::tally::{TallyArgs, TallyReply};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use suite::end_to_end;
use suite::exercise::judge;
use suite::files::{Files, zeroes};
use suite::soak::Soak;

/// Connections that come and go, one after the other.
const CONNECTIONS: u32 = 1000;

/// How long a machine may take to do what it is to do and end.
const END_MAX: Duration = Duration::from_secs(300);

/// How long one may take to answer on a stream that a test reads itself.
const ANSWER_MAX: Duration = Duration::from_secs(60);

fn firmware() -> PathBuf {
    built("OUTBOARD_FIRMWARE")
}

/// An ELF that this variable names.
fn built(variable: &str) -> PathBuf {
    let named = env::var_os(variable);
    PathBuf::from(named.unwrap_or_else(|| panic!("{variable} names an ELF of the firmware")))
}

/// What `cargo xtask board --soak` was told, or some seconds.
fn soak_lasts() -> Duration {
    let told = env::var("OUTBOARD_SOAK_S").ok();
    let seconds = told.map_or(10, |it| it.parse().expect("OUTBOARD_SOAK_S is seconds"));
    Duration::from_secs(seconds)
}

fn config(disk: &Path) -> MachineConfig {
    MachineConfig::new(firmware(), disk)
}

#[test]
fn a_client_of_the_board() {
    let files = Files::make();
    let [(disk, block_bytes), further @ ..] = files.namespaces();
    let mut machine = BoardMachine::start(&MachineConfig {
        block_bytes,
        further: further.map(|(path, bytes)| (path.into(), bytes)).into(),
        ..config(disk)
    })
    .unwrap();
    let took = machine.wait(&|| true).unwrap();
    println!("start of QEMU to listening: {} ms", took.as_millis());
    let address = machine.address().to_string();
    let connect = |config: &Config| Client::connect(&address, config).unwrap();
    end_to_end::body(&connect, &files);
    connections_come_and_go(&connect);
    pools_are_idle(&mut connect(&Config::default()));
    let soak = Soak {
        open: &|| {
            let stream = TcpStream::connect(&address).unwrap();
            stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
            stream
        },
        files: &files,
        lasts: soak_lasts(),
        seed: 1,
    };
    let written = soak.run();
    machine.stop().unwrap();
    assert!(
        files.scratch() == written,
        "what was flushed is in the image"
    );
}

#[test]
fn the_driver_on_the_board() {
    let (first, second) = (zeroes(BLOCKS * 4096), zeroes(BLOCKS * 512));
    let mut machine = BoardMachine::start(&MachineConfig {
        firmware: built("OUTBOARD_EXERCISE"),
        further: vec![(second.path().into(), 512)],
        options: vec!["exercise".into()],
        ..config(first.path())
    })
    .unwrap();
    let error = machine.end(END_MAX);
    let MachineError::Ended { status, lines, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(status.code(), Some(0), "{error}");
    let said = lines
        .iter()
        .find_map(|line| line.strip_prefix("outboard: exercise: "));
    let summary = said.and_then(Summary::parse);
    let summary = summary.unwrap_or_else(|| panic!("no summary: {error}"));
    judge(&summary);
}

/// Each connects, loads what is loaded already, calls, and closes.
fn connections_come_and_go(connect: &dyn Fn(&Config) -> Client<TcpStream>) {
    let image = linker::link(programs::TALLY).unwrap().image;
    for _ in 0..CONNECTIONS {
        let mut client = connect(&Config::default());
        let program = client.load("tally", &image).unwrap();
        let instance = client.attach(program, &[], Budgets::default()).unwrap();
        let args = TallyArgs { key: 1, amount: 2 };
        let outcome = client.call(instance, &args.to_bytes()).unwrap();
        assert_eq!(TallyReply::from_bytes(&outcome.reply).unwrap().total, 2);
    }
}

/// Of all that was used, only this connection is left.
fn pools_are_idle(client: &mut Client<TcpStream>) {
    // The last connections may be closing yet.
    let mut used = Vec::new();
    for _ in 0..1000 {
        let stats = client.stats().unwrap();
        let pool = |name: &str| stats.pools.iter().find(|pool| pool.name == name);
        used = ["connections", "instances", "invocations"]
            .iter()
            .filter_map(|name| pool(name))
            .map(|pool| (pool.name.clone(), pool.used))
            .collect();
        let others = used.iter().filter(|(name, used)| match name.as_str() {
            "connections" => *used > 1,
            _ => *used > 0,
        });
        if !used.is_empty() && others.count() == 0 {
            return;
        }
    }
    panic!("slots are left over: {used:?}");
}

#[test]
fn lookups_on_the_board_are_those_of_sqlite() {
    let output = Command::new(env!("CARGO_BIN_EXE_host-sim"))
        .args([
            "demo",
            "--on",
            "board",
            "--keys",
            "500",
            "--dataset",
            "mixed",
        ])
        .args(["--missing", "10", "--quiet", "--json", "--firmware"])
        .arg(firmware())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["mismatches"], 0, "{result}");
    println!(
        "lookups on the board: {} a second by pushdown",
        result["pushdown.ops_per_s"]
    );
}

#[test]
fn a_bad_end_is_told_with_its_place() {
    let disk = zeroes(1 << 20);
    for (way, code, words) in [
        (
            "panic",
            101,
            &["src/provoke.rs", "provoked", "rust_entry"][..],
        ),
        (
            "fault",
            102,
            &["data abort", "FAR 0x7f00000008", "rust_entry"],
        ),
        ("stack", 102, &["the stack is full", "dig"]),
        ("heap", 101, &["the heap is closed", "rust_entry"]),
    ] {
        let mut machine = BoardMachine::start(&MachineConfig {
            options: vec![format!("provoke={way}")],
            ..config(disk.path())
        })
        .unwrap();
        let error = machine.end(END_MAX);
        let MachineError::Ended { status, .. } = &error else {
            panic!("{way}: {error}");
        };
        assert_eq!(status.code(), Some(code), "{way}: {error}");
        let said = error.to_string();
        for word in words {
            assert!(said.contains(word), "{way}: no {word:?} in: {said}");
        }
    }
}

#[test]
fn the_board_starts_at_el2() {
    let disk = zeroes(1 << 20);
    let mut machine = BoardMachine::start_at(StartLevel::El2, &config(disk.path())).unwrap();
    machine.wait(&|| true).unwrap();
    let address = machine.address().to_string();
    let mut client = Client::connect(&address, &Config::default()).unwrap();
    assert_eq!(client.info().unwrap().board, "qemu-virt");
    machine.stop().unwrap();
}

#[test]
fn options_do_not_depend_on_where_the_firmware_is() {
    let (disk, folder) = (zeroes(1 << 20), tempfile::tempdir().unwrap());
    // With blanks and commas, and longer than a command line of the firmware's.
    let deep = folder.path().join("a b,c/".repeat(200));
    fs::create_dir_all(&deep).unwrap();
    let moved = deep.join("the firmware");
    fs::copy(firmware(), &moved).unwrap();
    let mut machine = BoardMachine::start(&MachineConfig {
        firmware: moved,
        options: vec!["engine=checked".into(), "provoke=panic".into()],
        ..config(disk.path())
    })
    .unwrap();
    let error = machine.end(END_MAX);
    assert!(error.to_string().contains("provoked"), "{error}");
}

/// `host-sim board` with some more arguments, ended when it is dropped.
struct Served {
    child: Child,
    address: String,
    /// What it says on standard error, read all the time, so that it never has to wait.
    log: Option<JoinHandle<String>>,
}

impl Served {
    fn start(command: &mut Command) -> Served {
        let mut child = command
            .args(["--listen", "127.0.0.1:0", "--firmware"])
            .arg(firmware())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        let mut served = Served {
            child,
            address: String::new(),
            log: Some(log),
        };
        // It gives up by itself where the board does not listen.
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut served.address).unwrap();
        served
    }

    fn connect(&self) -> Client<TcpStream> {
        Client::connect(self.address.trim(), &Config::default()).unwrap()
    }

    /// Tells it to end, as Ctrl-C does; how it did, and its log.
    fn end(mut self) -> (ExitStatus, String) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let until = Instant::now() + ANSWER_MAX;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it does not end");
            thread::sleep(Duration::from_millis(5));
        };
        (status, self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // QEMU ends with it. Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn an_interrupted_build_is_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let cargo = folder.path().join("cargo");
    fs::write(&cargo, "#!/bin/sh\nkill -INT $PPID\nkill -INT $$\n").unwrap();
    fs::set_permissions(&cargo, fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-sim"));
    let output = command.arg("board").env("CARGO", &cargo).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(!said.contains("was not built"), "{said}");
}

#[test]
fn the_command_serves_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-sim"));
    let served = Served::start(command.arg("board").env("TMPDIR", folder.path()));
    assert_eq!(served.connect().info().unwrap().board, "qemu-virt");
    let left = fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "the disk image has no name");
    let (status, log) = served.end();
    assert!(status.success(), "{log}");
    // Level and module, decoded.
    assert!(
        log.contains("INFO  dpu_firmware::drive: drive: running"),
        "{log}"
    );
}
