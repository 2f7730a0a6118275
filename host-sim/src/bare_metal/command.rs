//! `host-sim board`, from its arguments to its exit status.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::Duration;

use super::firmware::{FirmwareError, firmware};
use super::log::say;
use super::machine::{BoardMachine, MachineConfig, MachineError};
use crate::cli::{BoardArgs, Exit, check_namespaces};
use crate::interrupt::Interrupt;

/// Bytes of the disk image that is made where none is named.
const SCRATCH_BYTES: u64 = 64 << 20;

/// How often Ctrl-C and the machine are looked at.
const WATCH: Duration = Duration::from_millis(50);

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// There is no firmware.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// There is no machine, or it ended.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// They are too many.
    #[error("{0}")]
    Namespaces(String),
    /// A disk image cannot be made.
    #[error("cannot make a disk image: {0}; name one by --disk")]
    Scratch(io::Error),
    /// The address could not be printed.
    #[error("cannot print: {0}")]
    Print(io::Error),
}

/// Serves until Ctrl-C.
///
/// # Errors
///
/// [`BoardError`], a sentence with the remedy.
pub fn command(
    args: &BoardArgs,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, BoardError> {
    check_namespaces(&args.namespace).map_err(BoardError::Namespaces)?;
    let firmware = match firmware(args.boot.firmware.as_deref()) {
        // Ctrl-C at a terminal goes to a whole group, and so to cargo too.
        Err(FirmwareError::NotBuilt(_)) if interrupt.requested() => return Ok(Exit::Interrupted),
        firmware => firmware?,
    };
    let (disk, _scratch) = disk(args).map_err(BoardError::Scratch)?;
    let mut machine = BoardMachine::start(&MachineConfig {
        firmware,
        qemu: args.boot.qemu.clone(),
        disk,
        read_only: false,
        block_bytes: args.block_bytes,
        further: further(args).collect(),
        listen: args.listen,
        options: args.words(),
        show: !args.quiet,
    })?;
    let took = match machine.wait(&|| !interrupt.requested()) {
        Ok(took) => took,
        Err(_) if interrupt.requested() => return Ok(Exit::Interrupted),
        Err(error) => return Err(error.into()),
    };
    let address = machine.address();
    writeln!(out, "{address}")
        .and_then(|()| out.flush())
        .map_err(BoardError::Print)?;
    say(&format!(
        "host-sim: the board serves at {address} after {} ms; Ctrl-C ends it",
        took.as_millis()
    ));
    while !interrupt.requested() {
        if !machine.is_running() {
            return Err(machine.end(Duration::ZERO).into());
        }
        thread::sleep(WATCH);
    }
    machine.stop()?;
    say("host-sim: the board is off");
    Ok(Exit::Success)
}

/// The further namespaces: files, and bytes of a block.
fn further(args: &BoardArgs) -> impl Iterator<Item = (PathBuf, u32)> {
    args.namespace.iter().map(|further| {
        let block_bytes = further.block_bytes.unwrap_or(args.block_bytes);
        (further.path.clone(), block_bytes)
    })
}

/// The disk image that is named; else an empty one, which is there while its file is open. It has no
/// name, so that nothing is left of it however this process ends, and QEMU opens it by ours of `/proc`.
fn disk(args: &BoardArgs) -> io::Result<(PathBuf, Option<File>)> {
    if let Some(named) = &args.disk {
        return Ok((named.clone(), None));
    }
    let file = tempfile::tempfile()?;
    file.set_len(SCRATCH_BYTES)?;
    let path = format!("/proc/{}/fd/{}", process::id(), file.as_raw_fd());
    Ok((path.into(), Some(file)))
}
