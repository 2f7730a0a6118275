//! What the tests share: the drives, and `host-sim serve` as a process.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use host_sim::qemu::{self, FileAccess, QemuConfig, QemuNamespace};

/// Nothing takes longer, or it has hung. No test depends on how long anything takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The QEMU to test with.
///
/// # Panics
///
/// Where there is none: a test that is left out looks like one that passed.
pub(crate) fn qemu() -> PathBuf {
    let program = qemu::find(None);
    match qemu::version_of(&program) {
        Ok(_) => program,
        Err(error) => panic!("{error}"),
    }
}

/// A drive of QEMU's over files, with the block size of each.
pub(crate) fn qemu_over(files: &[(&Path, u32)]) -> QemuConfig {
    let namespace = |&(path, block_bytes): &(&Path, u32)| QemuNamespace {
        path: path.into(),
        block_bytes,
        access: FileAccess::default(),
    };
    QemuConfig {
        program: qemu(),
        namespaces: files.iter().map(namespace).collect(),
    }
}

/// `host-sim serve`, as a process.
pub(crate) struct Serve {
    child: Child,
    stderr: Option<ChildStderr>,
    /// Where it listens.
    pub address: String,
}

/// `host-sim serve` over a file, with further arguments; a process group of its own.
pub(crate) fn serve_command(disk: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host-sim"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--disk"])
        .arg(disk)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Serve {
    /// Starts it, and waits until it serves.
    pub(crate) fn start(disk: &Path, arguments: &[&str]) -> Serve {
        let mut child = serve_command(disk, arguments).spawn().unwrap();
        let mut address = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut address).unwrap();
        let stderr = child.stderr.take();
        let mut serve = Serve {
            child,
            stderr,
            address: address.trim().into(),
        };
        if serve.address.is_empty() {
            let (status, said) = serve.end();
            panic!("it does not serve ({status}): {said}");
        }
        serve
    }

    /// The process ids of its children.
    pub(crate) fn children(&self) -> Vec<u32> {
        let id = self.child.id();
        let list = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        list.split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end: the status, and what it said.
    pub(crate) fn end(&mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        if let Some(mut stderr) = self.stderr.take() {
            stderr.read_to_string(&mut said).unwrap();
        }
        (self.child.wait().unwrap(), said)
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a process is gone; one that has ended and not been waited for counts.
pub(crate) fn await_end_of(process: u32) {
    let until = Instant::now() + PATIENCE;
    loop {
        let Ok(status) = std::fs::read_to_string(format!("/proc/{process}/stat")) else {
            return;
        };
        let state = status.rsplit(')').next().unwrap_or_default().trim_start();
        if state.starts_with(['Z', 'X']) {
            return;
        }
        assert!(Instant::now() < until, "process {process} does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}
