//! The demonstration's world over the simulated machine: one client, one connection, and as many
//! requests in flight on it as there are lanes.

use client::{Budgets, Client, Completion, Config, InstanceId, ObjectId, Ticket, linker};
use dpu_firmware::limits::{LARGE, Limits};
use nvme_model::driver::DriverConfig;
use nvme_model::model::{FileStore, FileStoreOptions, ModelConfig, NamespaceConfig};

use programs::sqlite;
use protocol::HEADER_BYTES;
use protocol::message::InfoRequest;

use super::command::WorldSpec;
use super::drive_alone::DriveAlone;
use super::program_alone::ProgramAlone;
use super::world::{Done, Failure, WireCounters, World};
use crate::local::{LocalStream, Shared};
use crate::simulator::{Simulator, SimulatorConfig};
use crate::wire::WireConfig;

/// A world as [`WorldSpec`] asks for.
pub struct SimulatedWorld {
    shared: Shared,
    client: Client<LocalStream>,
    database: ObjectId,
    lookup: InstanceId,
    program_alone: ProgramAlone,
    drive_alone: DriveAlone,
    /// Which lane a request belongs to.
    lanes: Vec<Option<Ticket>>,
    /// Why a submission failed, told as that lane's end.
    refused: Vec<(usize, String)>,
    /// The bytes of the operation that ended last.
    last: Vec<u8>,
}

impl SimulatedWorld {
    /// Starts the machine, connects, and loads and attaches the programs.
    ///
    /// # Errors
    ///
    /// A sentence that says what could not be had.
    pub fn open(spec: &WorldSpec) -> Result<SimulatedWorld, String> {
        let machine = Simulator::new(config(spec)?).map_err(sentence)?;
        let shared = Shared::new(machine);
        let stream = shared
            .connect()
            .map_err(|error| format!("cannot reach the agent: {error}"))?;
        let mut client = Client::new(stream, &Config::default()).map_err(sentence)?;
        let database = client.open(1, 0, None).map_err(sentence)?.id;
        let get = sqlite::program_for(spec.table.page_bytes);
        let told = |error: &dyn std::fmt::Display| format!("cannot load {}: {error}", get.name);
        let image = linker::link(get.object)
            .map_err(|error| told(&error))?
            .image;
        let program = client
            .load(get.name, &image)
            .map_err(|error| told(&error))?;
        let lookup = client
            .attach(program, &[database], Budgets::default())
            .map_err(|error| told(&error))?;
        let program_alone = ProgramAlone::new(&image, spec.execution, &spec.database)
            .map_err(|error| told(&error))?;
        let lanes = vec![None; spec.lanes];
        let refused = Vec::new();
        let last = Vec::new();
        Ok(SimulatedWorld {
            shared,
            client,
            database,
            lookup,
            program_alone,
            drive_alone: DriveAlone::open(model(spec)?, spec.lanes)?,
            lanes,
            refused,
            last,
        })
    }

    fn submitted(&mut self, lane: usize, ticket: Result<Ticket, client::ClientError>) {
        match ticket {
            Ok(ticket) => self.lanes[lane] = Some(ticket),
            Err(error) => self.refused.push((lane, error.to_string())),
        }
    }

    fn done(&mut self, completion: Completion) -> Done<'_> {
        let at = self
            .lanes
            .iter()
            .position(|ticket| *ticket == Some(completion.ticket));
        let lane = at.unwrap_or_default();
        self.lanes[lane] = None;
        let buffer = std::mem::take(&mut self.last);
        self.client.pipeline().recycle(buffer);
        let mut instructions = 0;
        let result = match completion.result {
            Ok(client::Done::Read(bytes)) => {
                self.last = bytes;
                Ok(self.last.as_slice())
            }
            Ok(client::Done::Call(outcome)) => {
                instructions = outcome.instructions;
                self.last = outcome.reply;
                Ok(self.last.as_slice())
            }
            Ok(client::Done::Other(_)) => Ok(&[][..]),
            Ok(other) => Err(Failure::Refused(format!(
                "an answer to something else: {other:?}"
            ))),
            Err(error) => Err(match error.errno() {
                Some(errno) => Failure::Errno(errno),
                None => Failure::Refused(error.to_string()),
            }),
        };
        Done {
            lane,
            result,
            instructions,
        }
    }
}

impl World for SimulatedWorld {
    fn now_ns(&self) -> u64 {
        self.shared.clock().now_ns()
    }

    fn submit_read(&mut self, lane: usize, offset: u64, length: u32) {
        let ticket = self.client.pipeline().read(self.database, offset, length);
        self.submitted(lane, ticket);
    }

    fn submit_call(&mut self, lane: usize, args: &[u8]) {
        let ticket = self.client.pipeline().call(self.lookup, args);
        self.submitted(lane, ticket);
    }

    fn submit_ping(&mut self, lane: usize) {
        let ticket = self.client.pipeline().submit(&InfoRequest {}, &[]);
        self.submitted(lane, ticket);
    }

    fn next_done(&mut self) -> Done<'_> {
        if let Some((lane, why)) = self.refused.pop() {
            return Done {
                lane,
                result: Err(Failure::Refused(why)),
                instructions: 0,
            };
        }
        match self.client.pipeline().next_completion() {
            Some(completion) => self.done(completion),
            None => {
                let lane = self
                    .lanes
                    .iter()
                    .position(Option::is_some)
                    .unwrap_or_default();
                let why = "the connection ended with the request in flight".to_string();
                Done {
                    lane,
                    result: Err(Failure::Refused(why)),
                    instructions: 0,
                }
            }
        }
    }

    fn execute_ns(&mut self, args: &[u8]) -> Result<u64, Failure> {
        self.program_alone.execute_ns(args)
    }

    fn reads_ns(&mut self, reads: &[(u64, u32)], in_flight: usize) -> Result<u64, Failure> {
        let ns = self.drive_alone.reads_ns(reads, in_flight);
        ns.map_err(Failure::Refused)
    }

    fn wire_counters(&self) -> WireCounters {
        let (bytes_to_agent, bytes_to_client) = self.shared.with(|machine| machine.wire_bytes());
        WireCounters {
            bytes_to_agent,
            bytes_to_client,
        }
    }
}

fn config(spec: &WorldSpec) -> Result<SimulatorConfig, String> {
    Ok(SimulatorConfig {
        drive: model(spec)?,
        // Each lane may have several packets under way.
        wire: WireConfig::with_round_trip(spec.rtt, 8 * spec.lanes),
        limits: limits(spec),
        driver: DriverConfig::default(),
        execution: spec.execution,
        seed: 1,
        map_secret: 2,
        far_connections: 1,
    })
}

/// The drive: the database as its one namespace.
fn model(spec: &WorldSpec) -> Result<ModelConfig, String> {
    let options = FileStoreOptions {
        read_only: true,
        ..FileStoreOptions::default()
    };
    let store = FileStore::open(&spec.database, options).map_err(sentence)?;
    Ok(ModelConfig {
        namespaces: vec![NamespaceConfig::new(store, spec.placement.block_bytes)],
        read_latency_us: spec.drive_latency.as_micros() as u64,
        ..ModelConfig::default()
    })
}

/// The large profile with few connections, and on each a window that a page for every lane fits
/// in twice: with a delay, a smaller one would hold up remote reads.
fn limits(spec: &WorldSpec) -> Limits {
    let window_bytes = 2 * spec.lanes * (spec.table.page_bytes as usize + HEADER_BYTES);
    let buffer_bytes = if spec.rtt.is_zero() {
        LARGE.send_bytes
    } else {
        LARGE.send_bytes.max(window_bytes)
    };
    Limits {
        connections: 4,
        receive_bytes: buffer_bytes,
        send_bytes: buffer_bytes,
        ..LARGE
    }
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}
