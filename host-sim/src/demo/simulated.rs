//! The demonstration's world over the simulated machine: one client, one connection, and as many
//! requests in flight on it as there are lanes.

use dpu_firmware::limits::{LARGE, Limits};
use nvme_model::driver::DriverConfig;
use nvme_model::model::{FileStore, FileStoreOptions, ModelConfig, NamespaceConfig};
use protocol::HEADER_BYTES;

use super::client_world::{ClientWorld, Surroundings};
use super::command::WorldSpec;
use super::world::WireCounters;
use crate::local::{LocalStream, Shared};
use crate::random::Seeds;
use crate::simulator::{Simulator, SimulatorConfig};
use crate::wire::WireConfig;

/// A world as [`WorldSpec`] asks for: starts the machine, connects, and loads and attaches the programs.
///
/// # Errors
///
/// A sentence that says what could not be had.
pub fn open(spec: &WorldSpec) -> Result<ClientWorld<LocalStream, Shared>, String> {
    let machine = Simulator::new(config(spec)?).map_err(sentence)?;
    let shared = Shared::new(machine);
    let stream = shared
        .connect()
        .map_err(|error| format!("cannot reach the agent: {error}"))?;
    ClientWorld::new(stream, spec, shared)
}

impl Surroundings for Shared {
    fn now_ns(&self) -> u64 {
        self.clock().now_ns()
    }

    fn wire_counters(&self) -> WireCounters {
        let (bytes_to_agent, bytes_to_client) = self.with(|machine| machine.wire_bytes());
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
        seeds: Seeds::fixed(1),
        far_connections: 1,
    })
}

/// The drive: the database as its one namespace.
pub(super) fn model(spec: &WorldSpec) -> Result<ModelConfig, String> {
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
