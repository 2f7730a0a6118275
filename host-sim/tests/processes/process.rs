//! Processes under a deadline: what they print, how they end, and the two commands of Outboard.

use std::ffi::OsStr;
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Far more than anything here takes; it ends a test that hangs, and decides nothing else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A process that is killed if its test ends before it does.
pub(crate) struct Running {
    child: Child,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
}

/// A process that ended.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Running {
    /// Starts it, with `input` to read.
    pub(crate) fn start(command: &mut Command, input: &[u8]) -> Running {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdout = lines_of(child.stdout.take().expect("it is piped"));
        let stderr = lines_of(child.stderr.take().expect("it is piped"));
        let mut stdin = child.stdin.take().expect("it is piped");
        let input = input.to_vec();
        thread::spawn(move || {
            // It may end before it has read all of it.
            let _ = stdin.write_all(&input);
        });
        Running {
            child,
            stdout,
            stderr,
        }
    }

    /// The next line of its standard output, without the line's end.
    pub(crate) fn line(&self) -> String {
        next_line(&self.stdout).unwrap_or_else(|| panic!("it ended: {}", rest_of(&self.stderr)))
    }

    /// Waits for a line on its standard error that contains this.
    pub(crate) fn wait_for_message(&self, words: &str) {
        while let Some(line) = next_line(&self.stderr) {
            if line.contains(words) {
                return;
            }
        }
        panic!("it ended without a word of {words:?}");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it is there");
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Ended {
        let stdout = all_of(&self.stdout);
        let stderr = rest_of(&self.stderr);
        // Both its outputs are closed, which its end did.
        let status = self.child.wait().expect("it is ours");
        Ended {
            status,
            stdout,
            stderr,
        }
    }
}

impl fmt::Debug for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ended {
            status,
            stdout,
            stderr,
        } = self;
        let stdout = String::from_utf8_lossy(stdout);
        write!(f, "{status}\n--- stdout\n{stdout}--- stderr\n{stderr}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Nothing to kill, and nothing to wait for, where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// What it printed, where that is text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("it prints text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// It worked, and complained of nothing.
    pub(crate) fn done(self) -> Ended {
        assert_eq!((self.status.code(), self.stderr.as_str()), (Some(0), ""));
        self
    }

    /// It failed with this code, printed nothing, and said so in one sentence with these words.
    pub(crate) fn failed(self, code: i32, words: &str) -> Ended {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        assert!(self.stderr.contains(words), "{words:?} is not in: {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert!(self.stdout.is_empty(), "{self:?}");
        self
    }
}

fn lines_of(stream: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (to, lines) = channel();
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        loop {
            let mut line = Vec::new();
            match stream.read_until(b'\n', &mut line) {
                Ok(1..) if to.send(line).is_ok() => {}
                _ => return,
            }
        }
    });
    lines
}

/// A line as it is, or `None` at the end.
fn next(lines: &Receiver<Vec<u8>>) -> Option<Vec<u8>> {
    use std::sync::mpsc::RecvTimeoutError::{Disconnected, Timeout};
    match lines.recv_timeout(PATIENCE) {
        Ok(line) => Some(line),
        Err(Disconnected) => None,
        Err(Timeout) => panic!("it says nothing, and does not end"),
    }
}

fn next_line(lines: &Receiver<Vec<u8>>) -> Option<String> {
    let line = String::from_utf8(next(lines)?).expect("it prints text");
    Some(line.trim_end().to_owned())
}

fn all_of(lines: &Receiver<Vec<u8>>) -> Vec<u8> {
    std::iter::from_fn(|| next(lines)).flatten().collect()
}

fn rest_of(lines: &Receiver<Vec<u8>>) -> String {
    String::from_utf8(all_of(lines)).expect("it prints text")
}

/// `host-sim serve`, and the folder it runs in.
pub(crate) struct Server {
    process: Running,
    /// Where it listens, as it printed it.
    pub(crate) address: String,
    folder: PathBuf,
}

impl Server {
    /// Serves `folder/disk.img` on a free port, and waits until it does.
    ///
    /// Temporary files have a place of their own, which must be empty in the end.
    pub(crate) fn start(folder: &Path, more: &[&str]) -> Server {
        std::fs::create_dir_all(folder.join("tmp")).unwrap();
        let process = Running::start(
            host_sim(folder).args(["--disk", "disk.img"]).args(more),
            b"",
        );
        let address = process.line();
        assert!(
            address.starts_with("127.0.0.1:") && !address.ends_with(":0"),
            "{address}"
        );
        process.wait_for_message("Ctrl-C ends it");
        Server {
            process,
            address,
            folder: folder.to_owned(),
        }
    }

    /// Runs `outboard` against it.
    pub(crate) fn outboard(&self, args: &[&str]) -> Ended {
        self.with_input(args, b"")
    }

    pub(crate) fn with_input(&self, args: &[&str], input: &[u8]) -> Ended {
        outboard(&self.address, args, input).end()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    pub(crate) fn wait_for_message(&self, words: &str) {
        self.process.wait_for_message(words);
    }

    /// Waits for its end, by which it must have cleaned up and printed nothing further.
    pub(crate) fn end(self) -> Ended {
        let ended = self.process.end();
        assert!(ended.stdout.is_empty(), "{ended:?}");
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        assert_eq!(files_in(&self.folder.join("tmp")), [""; 0]);
        ended
    }
}

/// `host-sim serve` on a free port, in this folder.
pub(crate) fn host_sim(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-sim"));
    command
        .current_dir(folder)
        .env("TMPDIR", folder.join("tmp"))
        .args(["serve", "--listen", "127.0.0.1:0"]);
    command
}

/// `outboard`, speaking to the agent at this address.
pub(crate) fn outboard(address: &str, args: &[&str], input: &[u8]) -> Running {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(PROGRAM.get_or_init(build_outboard));
    command.env("OUTBOARD_AGENT", address).args(args);
    Running::start(&mut command, input)
}

/// Has cargo build `outboard`, and asks it where it is.
///
/// It is another package's program, so cargo neither names it to this test nor makes sure that it
/// is there and new. Under `cargo test --workspace` next to nothing is left to compile.
fn build_outboard() -> PathBuf {
    // The folder of our own program tells where things are built, and how.
    let folder = Path::new(env!("CARGO_BIN_EXE_host-sim")).parent().unwrap();
    let profile = folder.file_name().and_then(OsStr::to_str).unwrap();
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .args(["build", "--workspace", "--bin", "outboard"])
        .args(["--message-format", "json-render-diagnostics"])
        .args([
            "--profile",
            if profile == "debug" { "dev" } else { profile },
        ])
        .arg("--target-dir")
        .arg(folder.parent().unwrap());
    let output = cargo.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(output.status.success(), "{cargo:?}: {}", output.status);
    let messages = output.stdout.split(|&byte| byte == b'\n');
    let built = messages
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "outboard")
        .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
    built.expect("cargo names what it built")
}

/// Names of the files in a folder, in order.
pub(crate) fn files_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
