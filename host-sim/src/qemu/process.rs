//! The process: finds QEMU, checks its version, starts it so that nothing of it can be left behind.
//!
//! `unsafe`: one call between fork and exec, see [`die_with_parent`].
#![allow(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nvme_model::model::{ModelError, OpenError};
use nvme_model::pci::PciError;
use rustix::fs::MemfdFlags;
use rustix::process::{
    Pid, Signal, getpid, getppid, kill_process_group, set_parent_process_death_signal,
};

use super::device::{FileAccess, QemuNamespace};

/// The program.
const PROGRAM: &str = "qemu-system-aarch64";

/// Names another one.
const PROGRAM_VARIABLE: &str = "OUTBOARD_QEMU";

/// The oldest that this was tried with.
const VERSION_MIN: (u32, u32) = (7, 2);

/// What to do where there is no QEMU.
pub const INSTALL: &str = "install it (on Debian: apt-get install qemu-system-arm), or name one by \
                           --qemu PATH or OUTBOARD_QEMU";

/// Bytes of QEMU's messages that are shown, from the end.
const SAID_BYTES_MAX: u64 = 2000;

/// How long the end of a process that closed its socket is waited for.
const END_MAX: Duration = Duration::from_secs(2);

/// Why there is no drive of QEMU's.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    /// There is no such program.
    #[error("there is no {}: {INSTALL}", .0.display())]
    Missing(PathBuf),
    /// It cannot be run.
    #[error("cannot run {}: {source}; {INSTALL}", .program.display())]
    Run {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It does not say a version of QEMU's.
    #[error("{} is no QEMU: asked for its version it says {said:?}; {INSTALL}", .program.display())]
    NotQemu {
        /// Which.
        program: PathBuf,
        /// What it says.
        said: String,
    },
    /// It is older than what this was tried with.
    #[error(
        "{} is QEMU {}.{}, which is too old: {}.{} or later is needed; {INSTALL}",
        .program.display(), .version.0, .version.1, VERSION_MIN.0, VERSION_MIN.1
    )]
    TooOld {
        /// Which.
        program: PathBuf,
        /// Its version.
        version: (u32, u32),
    },
    /// It ended, or broke off the conversation.
    #[error("QEMU is gone: {why}{how}{said}")]
    Gone {
        /// What was noticed.
        why: String,
        /// How it ended.
        how: String,
        /// What it wrote last.
        said: String,
    },
    /// The drive is not found, or not as it should be.
    #[error("QEMU's machine: {0}")]
    Pci(#[from] PciError),
    /// A file is none to serve.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// A file does not hold whole blocks.
    #[error(transparent)]
    Namespace(#[from] ModelError),
    /// A file's name is no text.
    #[error("QEMU takes file names that are UTF-8 alone, and {} is not; rename it, or name a link to it", .0.display())]
    NotText(PathBuf),
    /// The agent's memory is more than the machine can have.
    #[error("an arena of {0} pages does not fit QEMU's machine")]
    TooMuchMemory(u32),
    /// The kernel refuses memory or sockets.
    #[error("cannot share memory with QEMU: {0}")]
    System(#[from] io::Error),
}

/// The program to run: as named on the command line, else by `OUTBOARD_QEMU`, else from PATH.
pub fn find(named: Option<&Path>) -> PathBuf {
    let named = named.map(|path| path.as_os_str().to_owned());
    let named = named.or_else(|| env::var_os(PROGRAM_VARIABLE).filter(|name| !name.is_empty()));
    named.unwrap_or_else(|| OsString::from(PROGRAM)).into()
}

/// Asks a program for its version.
///
/// # Errors
///
/// Where it is missing, cannot be run, or is no QEMU.
pub fn version_of(program: &Path) -> Result<(u32, u32), QemuError> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| cannot_run(program, source))?;
    let said = String::from_utf8_lossy(&output.stdout);
    parse_version(&said).ok_or_else(|| QemuError::NotQemu {
        program: program.into(),
        said: said
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(100)
            .collect(),
    })
}

/// Refuses a program that is too old.
///
/// # Errors
///
/// It is, or see [`version_of`].
pub(crate) fn check_version(program: &Path) -> Result<(), QemuError> {
    let version = version_of(program)?;
    if version < VERSION_MIN {
        let program = program.into();
        return Err(QemuError::TooOld { program, version });
    }
    Ok(())
}

/// Major and minor of "QEMU emulator version 7.2.22 (Debian …)".
fn parse_version(said: &str) -> Option<(u32, u32)> {
    let numbers = said.strip_prefix("QEMU emulator version ")?;
    let mut numbers = numbers.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(crate) fn cannot_run(program: &Path, source: io::Error) -> QemuError {
    match source.kind() {
        io::ErrorKind::NotFound => QemuError::Missing(program.into()),
        _ => QemuError::Run {
            program: program.into(),
            source,
        },
    }
}

/// A QEMU that runs, until it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    /// Its standard error: a file without a name, so that it never has to wait for a reader.
    messages: File,
}

impl Process {
    /// Starts QEMU with its memory as standard input and the socket of its test protocol as standard
    /// output: descriptors that it inherits without anything in the file system, or left to others.
    pub(super) fn start(
        program: &Path,
        ram: &File,
        ram_bytes: u64,
        socket: UnixStream,
        namespaces: &[QemuNamespace],
    ) -> Result<Process, QemuError> {
        check_version(program)?;
        let messages = rustix::fs::memfd_create("qemu-messages", MemfdFlags::CLOEXEC);
        let messages = File::from(messages.map_err(io::Error::from)?);
        let mut command = Command::new(program);
        command.args(machine(ram_bytes));
        for (namespace, id) in namespaces.iter().zip(1..) {
            command.args(drive(namespace, id)?);
        }
        command
            .stdin(ram.try_clone()?)
            .stdout(OwnedFd::from(socket))
            .stderr(messages.try_clone()?)
            // Ctrl-C at a terminal goes to a whole group, and is for host-sim, which flushes first.
            .process_group(0);
        die_with_parent(&mut command);
        let child = command
            .spawn()
            .map_err(|source| cannot_run(program, source))?;
        Ok(Process { child, messages })
    }

    /// The error that says how it ended, after `why` was noticed.
    pub(super) fn gone(&mut self, why: String) -> QemuError {
        let how = match self.ended() {
            Some(status) => format!(" ({status})"),
            None => String::from(", and is still running"),
        };
        let said = self.said();
        let said = match said.trim() {
            "" => String::new(),
            said => format!("; it says: {said}"),
        };
        QemuError::Gone { why, how, said }
    }

    /// How it ended, waiting a moment: the socket closes before the process is gone.
    fn ended(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + END_MAX;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                _ => return None,
            }
        }
    }

    /// The end of what it wrote to standard error.
    fn said(&mut self) -> String {
        let mut said = Vec::new();
        let end = self.messages.seek(io::SeekFrom::End(0)).unwrap_or(0);
        let from = end.saturating_sub(SAID_BYTES_MAX);
        let read = self
            .messages
            .seek(io::SeekFrom::Start(from))
            .and_then(|_| self.messages.read_to_end(&mut said));
        match read {
            Ok(_) => String::from_utf8_lossy(&said).into_owned(),
            Err(error) => format!("(its messages cannot be read: {error})"),
        }
    }

    /// The process's id, for tests that end it.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has nothing to tidy up: memory and socket are descriptors, and what the drive was told to
        // flush is flushed. Both calls fail only if it has ended already.
        end_group(&self.child, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Signals a child with a group of its own, and whatever it started: QEMU may be a script's. It fails only
/// if all have ended.
pub(crate) fn end_group(child: &Child, signal: Signal) {
    let _ = kill_process_group(Pid::from_child(child), signal);
}

/// Has the kernel kill the process when the thread that starts it ends, in whatever way.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let set = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the call, and then nobody sends the signal.
        if getppid() == Some(parent) {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::BrokenPipe))
        }
    };
    // SAFETY: between fork and exec only async-signal-safe things may be done. The closure makes two
    // system calls, allocates nothing, and takes no lock.
    unsafe { command.pre_exec(set) };
}

/// The arguments that make the machine.
fn machine(ram_bytes: u64) -> Vec<String> {
    let memory = format!("memory-backend-file,id=ram,size={ram_bytes},mem-path=/dev/fd/0,share=on");
    let megabytes = format!("{}M", ram_bytes >> 20);
    let arguments = [
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-M",
        "virt,highmem=off,memory-backend=ram",
        "-cpu",
        "cortex-a72",
        "-accel",
        "tcg",
        "-S",
        "-m",
        &megabytes,
        "-object",
        &memory,
        "-chardev",
        "socket,id=qtest,fd=1",
        "-qtest",
        "chardev:qtest",
        "-qtest-log",
        "none",
        "-device",
        "nvme,id=nvme0,serial=outboard",
    ];
    arguments.map(String::from).into()
}

/// The arguments that add a namespace.
///
/// # Errors
///
/// [`QemuError::NotText`].
pub(crate) fn drive(namespace: &QemuNamespace, id: u32) -> Result<[OsString; 4], QemuError> {
    let path = &namespace.path;
    let name = path.to_str();
    let name = name.ok_or_else(|| QemuError::NotText(path.clone()))?;
    let file = serde_json::json!({
        "driver": driver(path), "filename": name,
        "read-only": namespace.access.read_only, "cache": { "direct": namespace.access.direct },
    });
    let FileAccess { read_only, direct } = namespace.access;
    let block = serde_json::json!({
        "driver": "raw", "node-name": format!("file{id}"), "discard": "unmap", "file": file,
        "read-only": read_only, "cache": { "direct": direct },
    });
    let bytes = namespace.block_bytes;
    let device = format!(
        "nvme-ns,bus=nvme0,nsid={id},drive=file{id},\
         logical_block_size={bytes},physical_block_size={bytes}"
    );
    Ok([
        "-blockdev".into(),
        block.to_string().into(),
        "-device".into(),
        device.into(),
    ])
}

/// QEMU's driver for a file, which takes no block device, or for a block device.
fn driver(path: &Path) -> &'static str {
    // Where there is nothing, QEMU says so.
    let is_device = fs::metadata(path).is_ok_and(|it| it.file_type().is_block_device());
    if is_device { "host_device" } else { "file" }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn versions_are_read() {
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c)";
        assert_eq!(parse_version(debian), Some((7, 2)));
        assert_eq!(parse_version("QEMU emulator version 10.0.0"), Some((10, 0)));
        for none in [
            "",
            "QEMU emulator version ",
            "QEMU emulator version 7",
            "bash 5.2",
        ] {
            assert_eq!(parse_version(none), None, "{none}");
        }
    }

    #[test]
    fn file_names_are_quoted() {
        let namespace = QemuNamespace {
            access: FileAccess::default(),
            path: "/a,b=\"c\".img".into(),
            block_bytes: 512,
        };
        let [_, block, _, device] = drive(&namespace, 2).unwrap();
        let block: serde_json::Value = serde_json::from_str(block.to_str().unwrap()).unwrap();
        assert_eq!(block["file"]["filename"], "/a,b=\"c\".img");
        assert_eq!(block["file"]["driver"], "file");
        assert_eq!(block["node-name"], "file2");
        assert!(
            device
                .to_str()
                .unwrap()
                .contains("nsid=2,drive=file2,logical_block_size=512")
        );
    }

    #[test]
    fn a_file_name_that_is_no_text_is_refused() {
        let namespace = QemuNamespace {
            access: FileAccess::default(),
            path: OsStr::from_bytes(b"/disk\xff.img").into(),
            block_bytes: 512,
        };
        let said = drive(&namespace, 1).unwrap_err().to_string();
        assert!(said.contains("UTF-8"), "{said}");
    }
}
