//! What a controller is made of.

use std::boxed::Box;
use std::fmt::Display;
use std::string::String;
use std::vec::Vec;

use thiserror::Error;

use super::limits::{NAMESPACES_MAX, QUEUE_ENTRIES_MAX, QUEUES_MAX, TRANSFER_SHIFT_MAX};
use super::{FaultPlan, Store, Thermal};

/// One namespace. Its id is its place in [`ModelConfig::namespaces`], counted from 1.
#[derive(Debug)]
pub struct NamespaceConfig {
    /// Where its blocks are.
    pub store: Box<dyn Store>,
    /// Bytes of a block: 512, 1024, 2048 or 4096.
    pub block_bytes: u32,
}

impl NamespaceConfig {
    /// A namespace over a store.
    pub fn new(store: impl Store + 'static, block_bytes: u32) -> Self {
        Self {
            store: Box::new(store),
            block_bytes,
        }
    }
}

/// A controller. [`ModelConfig::default`] has no namespace.
#[derive(Debug)]
pub struct ModelConfig {
    /// The namespaces.
    pub namespaces: Vec<NamespaceConfig>,
    /// Pages of the arena that driver and controller share.
    pub arena_pages: u32,
    /// Bus address of the arena, a multiple of 4096.
    pub bus_base: u64,
    /// Whether both sides see the arena at once; see [`ModelDma`](super::ModelDma) for what else.
    pub coherent: bool,
    /// I/O queue pairs, 1 to 63.
    pub queues: u16,
    /// Entries of the largest queue, 2 to 4096.
    pub queue_entries: u16,
    /// MDTS: the largest transfer is `4096 << n` bytes; 0 for no limit; at most 10 (4 MiB).
    pub mdts: u8,
    /// CAP.DSTRD: doorbells are `4 << n` bytes apart; 0 to 10.
    pub doorbell_stride: u8,
    /// CAP.TO: how long a driver should wait for CSTS.RDY, in units of 500 ms.
    pub ready_timeout_500ms: u8,
    /// How long CSTS.RDY takes to rise.
    pub ready_latency_us: u64,
    /// How much later each Read and Compare is carried out. Many at once overlap.
    pub read_latency_us: u64,
    /// How much later every other I/O command is carried out.
    pub write_latency_us: u64,
    /// A random part, up to this, of each I/O command's latency: they finish out of order.
    pub jitter_us: u64,
    /// Seed of the jitter.
    pub seed: u64,
    /// Faults.
    pub faults: FaultPlan,
    /// How it heats and cools; without, its temperature is what [`ModelDevice`](super::ModelDevice) is told.
    pub thermal: Option<Thermal>,
    /// Power cycles before this one.
    pub power_cycles: u64,
    /// Serial number, up to 20 ASCII characters.
    pub serial: String,
    /// Model number, up to 40 ASCII characters.
    pub model: String,
    /// Firmware revision, up to 8 ASCII characters.
    pub firmware: String,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            arena_pages: 4096,
            bus_base: 0x12_3400_0000_0000,
            coherent: true,
            queues: 8,
            queue_entries: 1024,
            mdts: 5,
            doorbell_stride: 0,
            ready_timeout_500ms: 10,
            ready_latency_us: 0,
            read_latency_us: 0,
            write_latency_us: 0,
            jitter_us: 0,
            seed: 0,
            faults: FaultPlan::default(),
            thermal: None,
            power_cycles: 0,
            serial: "OUTBOARD0001".into(),
            model: "Outboard software drive".into(),
            firmware: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// Why a controller cannot be made.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A block size that no LBA format here has.
    #[error("namespace {namespace}: blocks of {block_bytes} bytes; use 512, 1024, 2048 or 4096")]
    BlockSize {
        /// Which.
        namespace: usize,
        /// Asked for.
        block_bytes: u32,
    },
    /// A store whose size is no multiple of the block.
    #[error(
        "namespace {namespace}: {store} has {bytes} bytes, which is no multiple of the \
         {block_bytes}-byte block; extend it to {longer} bytes (for a file: truncate -s {longer} FILE), \
         or choose a smaller block"
    )]
    Capacity {
        /// Which.
        namespace: usize,
        /// What it is over.
        store: String,
        /// Its size.
        bytes: u64,
        /// The block.
        block_bytes: u32,
        /// The next multiple.
        longer: u64,
    },
    /// An empty store.
    #[error("namespace {namespace}: {store} is empty; a namespace needs at least one block")]
    Empty {
        /// Which.
        namespace: usize,
        /// What it is over.
        store: String,
    },
    /// A number out of its range.
    #[error("{what} is {value}; it must be {range}")]
    Range {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
        /// What it may be.
        range: &'static str,
    },
    /// The descriptors of several stores could not be joined into one.
    #[error("no descriptor to wait on: {0}")]
    Wait(#[from] std::io::Error),
}

impl ModelConfig {
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let within = |what, value: u64, least: u64, most: u64, range| {
            let fine = (least..=most).contains(&value);
            fine.then_some(())
                .ok_or(ModelError::Range { what, value, range })
        };
        within(
            "queues",
            self.queues.into(),
            1,
            QUEUES_MAX.into(),
            "1 to 63",
        )?;
        let entries_max = QUEUE_ENTRIES_MAX.into();
        within(
            "queue_entries",
            self.queue_entries.into(),
            2,
            entries_max,
            "2 to 4096",
        )?;
        within(
            "mdts",
            self.mdts.into(),
            0,
            TRANSFER_SHIFT_MAX.into(),
            "0 to 10",
        )?;
        within(
            "doorbell_stride",
            self.doorbell_stride.into(),
            0,
            10,
            "0 to 10",
        )?;
        within("bus_base", self.bus_base % 4096, 0, 0, "a multiple of 4096")?;
        within("bus_base", self.bus_base, 0, 1 << 60, "at most 2^60")?;
        within(
            "arena_pages",
            self.arena_pages.into(),
            1,
            1 << 30,
            "1 to 2^30",
        )?;
        let namespaces = self.namespaces.len() as u64;
        within(
            "namespaces",
            namespaces,
            0,
            NAMESPACES_MAX as u64,
            "0 to 64",
        )?;
        self.namespaces
            .iter()
            .enumerate()
            .try_for_each(|(at, config)| config.check(at + 1))
    }
}

impl NamespaceConfig {
    fn check(&self, namespace: usize) -> Result<(), ModelError> {
        let store = self.store.describe();
        Self::check_capacity(namespace, &store, self.store.bytes(), self.block_bytes)
    }

    /// Whether `bytes` bytes of `store` make a namespace, number `namespace`, of such blocks.
    ///
    /// # Errors
    ///
    /// Where they do not.
    pub fn check_capacity(
        namespace: usize,
        store: &dyn Display,
        bytes: u64,
        block_bytes: u32,
    ) -> Result<(), ModelError> {
        if !matches!(block_bytes, 512 | 1024 | 2048 | 4096) {
            return Err(ModelError::BlockSize {
                namespace,
                block_bytes,
            });
        }
        let store = store.to_string();
        if bytes == 0 {
            return Err(ModelError::Empty { namespace, store });
        }
        if !bytes.is_multiple_of(block_bytes.into()) {
            let longer = bytes.next_multiple_of(block_bytes.into());
            return Err(ModelError::Capacity {
                namespace,
                store,
                bytes,
                block_bytes,
                longer,
            });
        }
        Ok(())
    }
}
