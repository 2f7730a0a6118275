//! The demonstration's world over the simulated machine: one client, one connection, and as many
//! requests in flight on it as there are lanes.

use std::path::Path;

use client::{Budgets, Client, Completion, Config, Ticket};
use client::{InstanceId, ObjectId, linker};
use dpu_firmware::limits::LARGE;
use ebpf::{EntryKind, ImageBuilder};
use nvme_model::driver::DriverConfig;
use nvme_model::model::{FileStore, FileStoreOptions, ModelConfig, NamespaceConfig};

use programs::sqlite;

use super::command::WorldSpec;
use super::spin;
use super::world::{Done, Failure, Instance, WireCounters, World};
use crate::local::{LocalStream, Shared};
use crate::simulator::{Simulator, SimulatorConfig};
use crate::wire::WireConfig;

/// A world as [`WorldSpec`] asks for.
pub struct SimulatedWorld {
    shared: Shared,
    client: Client<LocalStream>,
    database: ObjectId,
    lookup: InstanceId,
    chase: InstanceId,
    spin: InstanceId,
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
        let chain = client.open(2, 0, None).map_err(sentence)?.id;
        let get = sqlite::program_for(spec.table.page_bytes);
        let image = linked(get.name, get.object)?;
        let lookup = attach(&mut client, get.name, &image, &[database])?;
        let chase = attach(
            &mut client,
            "chase",
            &linked("chase", programs::CHASE)?,
            &[chain],
        )?;
        let spin = attach(&mut client, "spin", &spin_image()?, &[])?;
        let lanes = vec![None; spec.lanes];
        let refused = Vec::new();
        let last = Vec::new();
        Ok(SimulatedWorld {
            shared,
            client,
            database,
            lookup,
            chase,
            spin,
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

    fn submit_call(&mut self, lane: usize, instance: Instance, args: &[u8]) {
        let instance = match instance {
            Instance::Lookup => self.lookup,
            Instance::Chase => self.chase,
            Instance::Spin => self.spin,
        };
        let ticket = self.client.pipeline().call(instance, args);
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

    fn wire_counters(&self) -> WireCounters {
        let (bytes_to_agent, bytes_to_client) = self.shared.with(|machine| machine.wire_bytes());
        WireCounters {
            bytes_to_agent,
            bytes_to_client,
        }
    }
}

fn config(spec: &WorldSpec) -> Result<SimulatorConfig, String> {
    let block_bytes = spec.placement.block_bytes;
    let namespaces = vec![
        namespace(&spec.database, block_bytes)?,
        namespace(&spec.chain, block_bytes)?,
    ];
    Ok(SimulatorConfig {
        model: ModelConfig {
            namespaces,
            read_latency_us: spec.drive_latency.as_micros() as u64,
            ..ModelConfig::default()
        },
        // Each lane may have several packets under way.
        wire: WireConfig::with_round_trip(spec.rtt, 8 * spec.lanes),
        limits: LARGE,
        driver: DriverConfig::default(),
        seed: 1,
        far_connections: 4,
    })
}

fn namespace(path: &Path, block_bytes: u32) -> Result<NamespaceConfig, String> {
    let options = FileStoreOptions {
        read_only: true,
        ..FileStoreOptions::default()
    };
    let store = FileStore::open(path, options).map_err(sentence)?;
    Ok(NamespaceConfig::new(store, block_bytes))
}

fn linked(name: &str, object: &[u8]) -> Result<Vec<u8>, String> {
    match linker::link(object) {
        Ok(linked) => Ok(linked.image),
        Err(error) => Err(format!("cannot link {name}: {error}")),
    }
}

fn spin_image() -> Result<Vec<u8>, String> {
    ImageBuilder::new()
        .args_max(spin::ARGS_BYTES)
        .entry(EntryKind::Call, 0)
        .code(&spin::CODE)
        .build()
        .map_err(sentence)
}

fn attach(
    client: &mut Client<LocalStream>,
    name: &str,
    image: &[u8],
    objects: &[ObjectId],
) -> Result<InstanceId, String> {
    let told = |error| format!("cannot load {name}: {error}");
    let program = client.load(name, image).map_err(told)?;
    client
        .attach(program, objects, Budgets::default())
        .map_err(told)
}

fn sentence(error: impl std::fmt::Display) -> String {
    error.to_string()
}
