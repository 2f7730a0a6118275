//! The demonstration's world on bare metal: the firmware in QEMU, the database as its drive.
//!
//! The program by itself and the drive by itself are measured on this machine, as for the simulated
//! world, and the board's processor is emulated: of what is printed, the answers count.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use client::{Client, Config};
use dpu_firmware::execution::EngineKind;
use ebpf::Isolation;

use super::command::WorldSpec;
use super::drive_alone::DriveAlone;
use super::program_alone::ProgramAlone;
use super::simulated::model;
use super::through_client::ThroughClient;
use super::world::{Done, Failure, WireCounters, World};
use crate::bare_metal::{BoardMachine, MachineConfig, firmware};
use crate::cli::DemoArgs;

/// What is booted.
#[derive(Clone, Debug)]
pub struct Boot {
    firmware: PathBuf,
    qemu: Option<PathBuf>,
}

/// What the arguments say is booted; built if need be.
///
/// # Errors
///
/// A sentence: there is no firmware, or something was asked for that the board does not have.
pub fn boot_for(args: &DemoArgs) -> Result<Boot, String> {
    if !args.rtt.is_zero() || !args.drive_latency.is_zero() {
        return Err(
            "--rtt and --drive-latency are the simulator's: not with --on board".to_owned(),
        );
    }
    Ok(Boot {
        firmware: firmware(args.boot.firmware.as_deref()).map_err(|error| error.to_string())?,
        qemu: args.boot.qemu.clone(),
    })
}

/// A world on the board.
pub struct BoardWorld {
    started: Instant,
    client: ThroughClient<Counted>,
    program_alone: ProgramAlone,
    drive_alone: DriveAlone,
    wire: Rc<Cell<WireCounters>>,
    /// Ends when this is dropped, after the client's connection.
    _machine: BoardMachine,
}

impl BoardWorld {
    /// Boots a machine, connects, and loads and attaches the programs.
    ///
    /// # Errors
    ///
    /// A sentence that says what could not be had.
    pub fn open(spec: &WorldSpec, boot: &Boot) -> Result<BoardWorld, String> {
        let config = MachineConfig {
            firmware: boot.firmware.clone(),
            qemu: boot.qemu.clone(),
            disk: spec.database.clone(),
            snapshot: true,
            block_bytes: spec.placement.block_bytes,
            further: Vec::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            options: options(spec),
            show: false,
        };
        let mut machine = BoardMachine::start(&config).map_err(sentence)?;
        machine.wait(&|| true).map_err(sentence)?;
        let stream = TcpStream::connect(machine.address()).map_err(sentence)?;
        stream.set_nodelay(true).map_err(sentence)?;
        let wire = Rc::default();
        let stream = Counted {
            stream,
            wire: Rc::clone(&wire),
        };
        let client = Client::new(stream, &Config::default()).map_err(sentence)?;
        let (client, image) = ThroughClient::new(client, spec)?;
        let program_alone =
            ProgramAlone::new(&image, spec.execution, &spec.database).map_err(sentence)?;
        Ok(BoardWorld {
            started: Instant::now(),
            client,
            program_alone,
            drive_alone: DriveAlone::open(model(spec)?, spec.lanes)?,
            wire,
            _machine: machine,
        })
    }
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

impl World for BoardWorld {
    fn now_ns(&self) -> u64 {
        self.started.elapsed().as_nanos() as u64
    }

    fn submit_read(&mut self, lane: usize, offset: u64, length: u32) {
        self.client.submit_read(lane, offset, length);
    }

    fn submit_call(&mut self, lane: usize, args: &[u8]) {
        self.client.submit_call(lane, args);
    }

    fn submit_ping(&mut self, lane: usize) {
        self.client.submit_ping(lane);
    }

    fn next_done(&mut self) -> Done<'_> {
        self.client.next_done()
    }

    fn execute_ns(&mut self, args: &[u8]) -> Result<u64, Failure> {
        self.program_alone.execute_ns(args)
    }

    fn reads_ns(&mut self, reads: &[(u64, u32)], in_flight: usize) -> Result<u64, Failure> {
        let ns = self.drive_alone.reads_ns(reads, in_flight);
        ns.map_err(Failure::Refused)
    }

    fn wire_counters(&self) -> WireCounters {
        self.wire.get()
    }
}

/// A stream whose bytes are counted; what packets add to them is not seen from here.
struct Counted {
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
