//! What a world is made of: drives with known bytes, latencies, limits.

use dpu_firmware::execution::ExecutionConfig;
use dpu_firmware::limits::{Limits, SMALL};
use host_sim::cli::EngineArg;
use host_sim::random::Seeds;
use host_sim::simulator::SimulatorConfig;
use host_sim::wire::WireConfig;
use nvme_model::driver::DriverConfig;
use nvme_model::model::{MemoryStore, ModelConfig, NamespaceConfig};

/// An agent with hardly anything: what it must push back on is reached at once.
pub const TINY: Limits = Limits {
    connections: 8,
    requests: 8 * 8 + 4,
    credits_per_connection_max: 16,
    data_pages: 8 * 32 + 34,
    invocations: 3,
    invocations_per_connection: 2,
    slabs: [4, 2, 2],
    programs: 2,
    uploads: 1,
    objects: 12,
    instances: 4,
    ..SMALL
};

/// One namespace.
#[derive(Debug, Clone)]
pub struct NamespaceSettings {
    /// What it holds.
    pub bytes: Vec<u8>,
    /// Bytes of a block.
    pub block_bytes: u32,
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The namespaces, numbered from 1.
    pub namespaces: Vec<NamespaceSettings>,
    /// The agent's pools.
    pub limits: Limits,
    /// Of each read of the drive.
    pub read_latency_us: u64,
    /// Of everything else at the drive.
    pub write_latency_us: u64,
    /// A random part of each latency.
    pub jitter_us: u64,
    /// Half of the round trip.
    pub wire_delay_us: u64,
    /// MDTS of the drive: transfers are at most `4096 << mdts` bytes.
    pub mdts: u8,
    /// What everything random follows from.
    pub seed: u64,
    /// Connections that peers can have in all.
    pub far_connections: usize,
    /// How programs are run.
    pub execution: ExecutionConfig,
}

impl Default for Settings {
    /// Two namespaces of known bytes: 4 MiB in blocks of 4096 bytes, 1 MiB in blocks of 512.
    fn default() -> Settings {
        Settings {
            namespaces: vec![
                NamespaceSettings {
                    bytes: pattern(1, 0, 4 << 20),
                    block_bytes: 4096,
                },
                NamespaceSettings {
                    bytes: pattern(2, 0, 1 << 20),
                    block_bytes: 512,
                },
            ],
            limits: SMALL,
            read_latency_us: 20,
            write_latency_us: 10,
            jitter_us: 0,
            wire_delay_us: 0,
            mdts: 5,
            seed: 1,
            execution: ExecutionConfig {
                engine: EngineArg::fastest().kind(),
                ..ExecutionConfig::default()
            },
            far_connections: 64,
        }
    }
}

impl Settings {
    /// A world over one namespace.
    #[must_use]
    pub fn over(bytes: Vec<u8>, block_bytes: u32) -> Settings {
        Settings {
            namespaces: vec![NamespaceSettings { bytes, block_bytes }],
            ..Settings::default()
        }
    }

    pub(super) fn into_config(self) -> SimulatorConfig {
        let namespaces = self.namespaces.into_iter().map(|namespace| {
            let store = MemoryStore::from_bytes(namespace.bytes);
            NamespaceConfig::new(store, namespace.block_bytes)
        });
        let slots = if self.wire_delay_us == 0 { 16 } else { 1024 };
        SimulatorConfig {
            drive: ModelConfig {
                namespaces: namespaces.collect(),
                read_latency_us: self.read_latency_us,
                write_latency_us: self.write_latency_us,
                jitter_us: self.jitter_us,
                mdts: self.mdts,
                seed: self.seed,
                ..ModelConfig::default()
            },
            wire: WireConfig {
                slots,
                delay_us: self.wire_delay_us,
                seed: self.seed,
                ..WireConfig::default()
            },
            limits: self.limits,
            driver: DriverConfig::default(),
            seeds: Seeds::fixed(self.seed),
            execution: self.execution,
            far_connections: self.far_connections,
        }
    }
}

/// The bytes that namespace `namespace` of a default world has at `offset`: every eight of them
/// tell where they are, so that a byte read from elsewhere is found out.
#[must_use]
pub fn pattern(namespace: u32, offset: u64, length: usize) -> Vec<u8> {
    let first = offset / 8;
    let skip = (offset % 8) as usize;
    let words = (first..).flat_map(|word| {
        let mixed = (word + 1)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(u64::from(namespace) << 17);
        (mixed ^ (mixed >> 29)).to_le_bytes()
    });
    words.skip(skip).take(length).collect()
}
