//! The emulated machine: QEMU's process, its two streams, and its end.
//!
//! Its standard output carries defmt frames, its standard error what the firmware's console and QEMU
//! itself say; a thread reads each, so that neither ever has to wait. Dropping a machine ends it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::iter;
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::log::{Elf, NotFirmware, say};
use crate::qemu::process::{self, QemuError};
use crate::qemu::{self, FileAccess, QemuNamespace};
use crate::relay::ANY_LOCAL_PORT;

/// Where the agent is in QEMU's user network, as QEMU writes it.
const AGENT: &str = "10.0.2.15:7117";

/// What the console says when the agent can be reached.
const LISTENING: &str = "outboard: listening on ";

/// How long that may take; emulation on a busy machine is slow.
const START_MAX: Duration = Duration::from_secs(120);

/// How long the end of a process that was told to end is waited for.
const END_MAX: Duration = Duration::from_secs(10);

/// Lines of the console that are kept to say how it ended.
const LINES_KEPT: usize = 60;

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// The firmware's ELF.
    pub firmware: PathBuf,
    /// QEMU, if not the one that is found.
    pub qemu: Option<PathBuf>,
    /// The file with the blocks of namespace 1.
    pub disk: PathBuf,
    /// Whether all disk images are opened for reading alone, and writes are refused.
    pub read_only: bool,
    /// Bytes of a block of namespace 1.
    pub block_bytes: u32,
    /// Further namespaces, numbered from 2: the file with the blocks, and bytes of a block.
    pub further: Vec<(PathBuf, u32)>,
    /// Where to listen. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Words for the firmware.
    pub options: Vec<String>,
    /// Whether the log is shown, on standard error.
    pub show: bool,
}

impl MachineConfig {
    /// That firmware with one disk image of 4096-byte blocks, which may be written, on a free port of this
    /// machine; nothing is said to the firmware, and its log is not shown.
    #[must_use]
    pub fn new(firmware: impl Into<PathBuf>, disk: impl Into<PathBuf>) -> MachineConfig {
        MachineConfig {
            firmware: firmware.into(),
            qemu: None,
            disk: disk.into(),
            read_only: false,
            block_bytes: 4096,
            further: Vec::new(),
            listen: ANY_LOCAL_PORT,
            options: Vec::new(),
            show: false,
        }
    }
}

/// The exception level that the firmware is started at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartLevel {
    /// QEMU's own choice for an ELF.
    El1,
    /// That of a DPU's boot firmware.
    El2,
}

/// Why there is no machine, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// There is no QEMU that can be run.
    #[error(transparent)]
    Qemu(#[from] QemuError),
    /// The ELF is none of ours.
    #[error(transparent)]
    Firmware(#[from] NotFirmware),
    /// The disk image cannot be used.
    #[error("cannot use the disk image {}: {source}", .path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: QemuError,
    },
    /// QEMU forwards from IPv4 addresses alone.
    #[error("{0} cannot be forwarded from: QEMU's user network speaks IPv4")]
    NotIpv4(SocketAddr),
    /// The address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// It ended.
    #[error("the board ended: {how}{}", said(.lines))]
    Ended {
        /// In words.
        how: String,
        /// With what status.
        status: ExitStatus,
        /// The last lines of its console.
        lines: Vec<String>,
    },
    /// It does not listen.
    #[error("the board runs, and does not listen after {} s{}", START_MAX.as_secs(), said(.0))]
    Silent(Vec<String>),
    /// It does not end by itself.
    #[error("the board still runs after {} s{}", .0.as_secs(), said(.1))]
    Endless(Duration, Vec<String>),
    /// It did not end when it was told to.
    #[error(
        "QEMU did not end within {} s and was killed: what was not flushed may be missing in the disk image",
        .0.as_secs()
    )]
    Killed(Duration),
}

fn said(lines: &[String]) -> String {
    match lines {
        [] => String::new(),
        lines => format!("; it says:\n{}", lines.join("\n")),
    }
}

/// A machine that runs, until it is dropped.
#[derive(Debug)]
pub struct BoardMachine {
    child: Child,
    readers: Vec<JoinHandle<()>>,
    lines: Arc<Mutex<VecDeque<String>>>,
    listening: Receiver<()>,
    address: SocketAddr,
    started: Instant,
    /// The disk images, locked against others who would serve them.
    _locks: Vec<File>,
}

impl BoardMachine {
    /// Starts it, at EL1. It does not listen yet: see [`BoardMachine::wait`].
    ///
    /// # Errors
    ///
    /// [`MachineError`].
    pub fn start(config: &MachineConfig) -> Result<BoardMachine, MachineError> {
        BoardMachine::start_at(StartLevel::El1, config)
    }

    /// The same, at a level.
    ///
    /// # Errors
    ///
    /// [`MachineError`].
    pub fn start_at(
        level: StartLevel,
        config: &MachineConfig,
    ) -> Result<BoardMachine, MachineError> {
        let not_firmware = |why: String| NotFirmware {
            path: config.firmware.clone(),
            why,
        };
        let bytes = fs::read(&config.firmware).map_err(|error| not_firmware(error.to_string()))?;
        let elf = Arc::new(Elf::read(&bytes).map_err(not_firmware)?);
        let locks = lock_all(config)?;
        let address = free(config.listen)?;
        let program = process::find(config.qemu.as_deref());
        process::check_version(&program)?;
        let mut command = Command::new(&program);
        command
            .args(arguments(level, config, address)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // Ctrl-C at a terminal goes to a whole group, and is for host-sim, which has QEMU flush first.
        command.process_group(0);
        process::die_with_parent(&mut command);
        let spawned = command.spawn();
        let mut child = spawned.map_err(|source| process::cannot_run(&program, source))?;
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let (ready, listening) = channel();
        let mut readers = Vec::new();
        if let Some(stream) = child.stdout.take() {
            let (elf, show) = (Arc::clone(&elf), config.show);
            readers.push(thread::spawn(move || read_log(stream, &elf, show)));
        }
        if let Some(stream) = child.stderr.take() {
            let (lines, show) = (Arc::clone(&lines), config.show);
            readers.push(thread::spawn(move || {
                read_console(stream, &elf, show, &lines, &ready);
            }));
        }
        Ok(BoardMachine {
            child,
            readers,
            lines,
            listening,
            address,
            started: Instant::now(),
            _locks: locks,
        })
    }

    /// Waits until the agent listens, and says how long that took. `go_on` is asked now and then.
    ///
    /// # Errors
    ///
    /// It ended, or does not listen in time, or was not to be waited for any longer.
    pub fn wait(&mut self, go_on: &dyn Fn() -> bool) -> Result<Duration, MachineError> {
        while self.started.elapsed() < START_MAX && go_on() {
            match self.listening.recv_timeout(Duration::from_millis(50)) {
                Ok(()) => return Ok(self.started.elapsed()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.end(END_MAX)),
            }
        }
        Err(MachineError::Silent(self.said()))
    }

    /// Where the agent can be connected to.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended, for a machine that is to end by itself; or that it does not, in that time.
    pub fn end(&mut self, within: Duration) -> MachineError {
        let Some(status) = self.ended(within) else {
            return MachineError::Endless(within, self.said());
        };
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let how = match status.code() {
            Some(101) => "the firmware panicked".to_owned(),
            Some(102) => "the firmware took an exception".to_owned(),
            Some(103) => "the firmware went wrong while it said what went wrong".to_owned(),
            _ => format!("QEMU ended, {status}"),
        };
        MachineError::Ended {
            how,
            status,
            lines: self.said(),
        }
    }

    /// With what status QEMU ended, waiting so long for it.
    fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
                _ => return None,
            }
        }
    }

    /// The last lines of its console.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let lines = self
            .lines
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        lines.iter().cloned().collect()
    }

    /// Has QEMU write what it has in hand to the disk image, and end.
    ///
    /// # Errors
    ///
    /// It does not end, and is killed.
    pub fn stop(self) -> Result<(), MachineError> {
        self.stop_within(END_MAX)
    }

    fn stop_within(mut self, time: Duration) -> Result<(), MachineError> {
        // It fails only if it has ended already.
        process::end_group(&self.child, Signal::TERM);
        let ended = self.ended(time);
        ended.map(drop).ok_or(MachineError::Killed(time))
    }
}

impl Drop for BoardMachine {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        process::end_group(&self.child, Signal::KILL);
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// The namespaces, from 1.
fn namespaces(config: &MachineConfig) -> impl Iterator<Item = QemuNamespace> {
    let further = config.further.iter().cloned();
    let all = iter::once((config.disk.clone(), config.block_bytes)).chain(further);
    let access = FileAccess {
        read_only: config.read_only,
        direct: false,
    };
    all.map(move |(path, block_bytes)| QemuNamespace {
        path,
        block_bytes,
        access,
    })
}

/// Locks and checks the disk images. QEMU would serve one that another process serves too, and part of a block as
/// none.
fn lock_all(config: &MachineConfig) -> Result<Vec<File>, MachineError> {
    let lock = |(namespace, id): (QemuNamespace, usize)| {
        qemu::lock(&namespace, id).map_err(|source| MachineError::Disk {
            path: namespace.path,
            source,
        })
    };
    namespaces(config).zip(1..).map(lock).collect()
}

/// The address with a port: QEMU does not tell which one it took.
fn free(address: SocketAddr) -> Result<SocketAddr, MachineError> {
    if !address.is_ipv4() {
        return Err(MachineError::NotIpv4(address));
    }
    TcpListener::bind(address)
        .and_then(|listener| listener.local_addr())
        .map_err(|source| MachineError::Listen { address, source })
}

/// The arguments that make the machine.
fn arguments(
    level: StartLevel,
    config: &MachineConfig,
    address: SocketAddr,
) -> Result<Vec<OsString>, QemuError> {
    let machine = match level {
        StartLevel::El1 => "virt",
        StartLevel::El2 => "virt,virtualization=on",
    };
    let forward = match address {
        SocketAddr::V4(v4) => forward(v4),
        SocketAddr::V6(_) => String::new(),
    };
    let network = format!("user,id=net,restrict=on,{forward}");
    let mut all: Vec<OsString> = [
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-M",
        machine,
        "-cpu",
        "cortex-a72",
        "-m",
        "128M",
        "-global",
        "virtio-mmio.force-legacy=false",
        "-device",
        "virtio-rng-device",
        "-device",
        "virtio-net-device,netdev=net",
        "-netdev",
        &network,
        "-device",
        "nvme,id=nvme0,serial=outboard",
        // Frames go to standard output (see the firmware's `log.rs`), the console to standard error.
        "-semihosting-config",
        &semihosting(&config.options),
        "-chardev",
        "file,id=console,path=/dev/stderr",
        "-serial",
        "chardev:console",
        "-kernel",
    ]
    .map(OsString::from)
    .into();
    all.push(config.firmware.clone().into());
    for (namespace, id) in namespaces(config).zip(1..) {
        all.extend(process::drive(&namespace, id)?);
    }
    Ok(all)
}

/// Where the log goes, and the firmware's command line: a name, and words. Not by `-append`, with which
/// the firmware's path is before the words, whatever is in it and however long it is.
fn semihosting(options: &[String]) -> String {
    let mut all = String::from("enable=on,target=native,arg=outboard");
    for word in options {
        all.push_str(",arg=");
        // As QEMU has a comma within a value.
        all.push_str(&word.replace(',', ",,"));
    }
    all
}

fn forward(address: SocketAddrV4) -> String {
    format!("hostfwd=tcp:{}:{}-{AGENT}", address.ip(), address.port())
}

fn read_log(mut stream: impl Read, elf: &Elf, show: bool) {
    let mut decoder = elf.decoder();
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        let lines = decoder.as_mut().map(|it| it.take(&bytes[..count]));
        for line in lines.into_iter().flatten().filter(|_| show) {
            say(&line);
        }
    }
}

fn read_console(
    stream: impl Read,
    elf: &Elf,
    show: bool,
    lines: &Mutex<VecDeque<String>>,
    ready: &Sender<()>,
) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while let Ok(1..) = stream.read_until(b'\n', &mut line) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        if text.is_empty() {
            continue;
        }
        let is_listening = text.starts_with(LISTENING);
        let text = elf.named(&text);
        if show && !is_listening {
            say(&text);
        }
        let mut kept = lines
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(text);
        drop(kept);
        if is_listening {
            // Who waited may have given up.
            let _ = ready.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::path::Path;

    use nvme_model::model::FileStore;

    use super::*;

    fn config(disk: &Path) -> MachineConfig {
        MachineConfig::new("firmware", disk)
    }

    fn disk(bytes: u64) -> tempfile::NamedTempFile {
        let disk = tempfile::NamedTempFile::new().unwrap();
        disk.as_file().set_len(bytes).unwrap();
        disk
    }

    #[test]
    fn a_disk_that_somebody_serves_is_refused() {
        let disk = disk(8192);
        let (served, _) = FileStore::lock(disk.path(), false).unwrap();
        let said = lock_all(&config(disk.path())).unwrap_err().to_string();
        assert!(said.contains("is in use"), "{said}");
        drop(served);
        let locks = lock_all(&config(disk.path())).unwrap();
        let said = FileStore::lock(disk.path(), false).unwrap_err().to_string();
        assert!(said.contains("is in use"), "{said}");
        drop(locks);
        // Many may read.
        let reading = MachineConfig {
            read_only: true,
            ..config(disk.path())
        };
        let _first = lock_all(&reading).unwrap();
        let _second = lock_all(&reading).unwrap();
    }

    #[test]
    fn a_disk_of_no_whole_blocks_is_refused() {
        for bytes in [0, 6000] {
            let disk = disk(bytes);
            let said = lock_all(&config(disk.path())).unwrap_err().to_string();
            assert!(said.starts_with("cannot use the disk image"), "{said}");
        }
    }

    /// A machine of a program that does not end when it is told to.
    fn stubborn() -> BoardMachine {
        let mut child = Command::new("sh")
            .args(["-c", "trap '' TERM; echo; exec sleep 100"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0]).unwrap();
        BoardMachine {
            child,
            readers: Vec::new(),
            lines: Arc::default(),
            listening: channel().1,
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            started: Instant::now(),
            _locks: Vec::new(),
        }
    }

    #[test]
    fn a_machine_that_does_not_end_is_told_of() {
        let time = Duration::from_millis(20);
        let mut machine = stubborn();
        let ended = machine.end(time);
        assert!(matches!(ended, MachineError::Endless(..)), "{ended}");
        let stopped = machine.stop_within(time).unwrap_err();
        assert!(matches!(stopped, MachineError::Killed(_)), "{stopped}");
    }
}
