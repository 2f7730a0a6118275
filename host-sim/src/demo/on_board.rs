//! The demonstration's world on bare metal: the firmware in QEMU, the database as its drive.
//!
//! The program by itself and the drive by itself are measured on this machine, as for the simulated
//! world, and the board's processor is emulated: of what is printed, the answers count.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use dpu_firmware::execution::EngineKind;
use ebpf::Isolation;

use super::client_world::{ClientWorld, Surroundings};
use super::command::WorldSpec;
use super::world::WireCounters;
use crate::bare_metal::{BoardMachine, MachineConfig, MachineError, firmware};
use crate::cli::{DemoArgs, EngineArg};
use crate::interrupt::Interrupt;

/// What is booted.
#[derive(Clone, Debug)]
pub struct Boot {
    firmware: PathBuf,
    qemu: Option<PathBuf>,
    /// Ends the wait for it.
    interrupt: Interrupt,
}

/// What the arguments say is booted; built if need be.
///
/// # Errors
///
/// A sentence: there is no firmware, or something was asked for that the board does not have.
pub fn boot_for(args: &DemoArgs, interrupt: &Interrupt) -> Result<Boot, String> {
    if !args.rtt.is_zero() || !args.drive_latency.is_zero() {
        return Err(
            "--rtt and --drive-latency are the simulator's: not with --on board".to_owned(),
        );
    }
    if args.execution.engine == EngineArg::Interpreter {
        return Err("the board has no such engine: use --engine jit or checked".to_owned());
    }
    Ok(Boot {
        firmware: firmware(args.boot.firmware.as_deref()).map_err(|error| error.to_string())?,
        qemu: args.boot.qemu.clone(),
        interrupt: interrupt.clone(),
    })
}

/// What is around a client of the board.
pub struct Board {
    started: Instant,
    wire: Rc<Cell<WireCounters>>,
    /// Ends when this is dropped.
    _machine: BoardMachine,
}

/// A world on the board: boots a machine, connects, and loads and attaches the programs.
///
/// # Errors
///
/// A sentence that says what could not be had.
pub fn open(spec: &WorldSpec, boot: &Boot) -> Result<ClientWorld<Counted, Board>, String> {
    let config = MachineConfig {
        qemu: boot.qemu.clone(),
        read_only: true,
        block_bytes: spec.placement.block_bytes,
        options: options(spec),
        ..MachineConfig::new(&boot.firmware, &spec.database)
    };
    let mut machine = BoardMachine::start(&config).map_err(sentence)?;
    let interrupted = || boot.interrupt.requested();
    machine
        .wait(&|| !interrupted())
        .map_err(|error| match error {
            MachineError::Silent(_) if interrupted() => {
                "interrupted while the board starts".to_owned()
            }
            error => error.to_string(),
        })?;
    let stream = TcpStream::connect(machine.address()).map_err(sentence)?;
    stream.set_nodelay(true).map_err(sentence)?;
    let wire = Rc::default();
    let stream = Counted {
        stream,
        wire: Rc::clone(&wire),
    };
    let board = Board {
        started: Instant::now(),
        wire,
        _machine: machine,
    };
    ClientWorld::new(stream, spec, board)
}

/// The same in the firmware's own words. It has no interpreter but the one that checks everything.
fn options(spec: &WorldSpec) -> Vec<String> {
    let engine = match spec.execution.engine {
        EngineKind::Jit(_) => "engine=jit",
        _ => "engine=checked",
    };
    let alone = spec.execution.isolation == Isolation::Alone;
    let words = [Some(engine), alone.then_some("single-tenant")];
    words.into_iter().flatten().map(String::from).collect()
}

impl Surroundings for Board {
    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn wire_counters(&self) -> WireCounters {
        self.wire.get()
    }
}

/// A stream whose bytes are counted; what packets add to them is not seen from here.
pub struct Counted {
    stream: TcpStream,
    wire: Rc<Cell<WireCounters>>,
}

impl Read for Counted {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(bytes)?;
        let mut wire = self.wire.get();
        wire.bytes_to_client += count as u64;
        self.wire.set(wire);
        Ok(count)
    }
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(bytes)?;
        let mut wire = self.wire.get();
        wire.bytes_to_agent += count as u64;
        self.wire.set(wire);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}
