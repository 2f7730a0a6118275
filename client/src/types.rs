//! What the blocking client hands out: ids of their own type, and owned copies of replies.

use protocol::message::{
    DriveHealth, InfoReply, Limits, MapSummary, NamespaceSummary, ProgramSummary, Proof, StatsReply,
};
use std::fmt;

macro_rules! ids {
    ($( $(#[$meta:meta])* $name:ident; )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u32);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )* };
}

ids! {
    /// An object of this connection.
    ObjectId;
    /// A program loaded in the agent.
    ProgramId;
    /// An instance of this connection.
    InstanceId;
}

/// An open object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its id.
    pub id: ObjectId,
    /// Its length in bytes.
    pub length: u64,
    /// Offsets and lengths of writes are multiples of it, in bytes.
    pub block_bytes: u32,
}

/// What an invocation may spend; 0 leaves it to the agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    /// Instructions.
    pub instructions: u64,
    /// Reads of the drive.
    pub reads: u32,
}

/// A call that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallOutcome {
    /// What the program returned: the length of its reply.
    pub result: i32,
    /// The reply.
    pub reply: Vec<u8>,
    /// Instructions spent.
    pub instructions: u64,
    /// Reads done.
    pub reads: u32,
}

/// A flush that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushOutcome {
    /// The drive's epoch at the flush.
    pub drive_epoch: u64,
    /// Writes of this client acknowledged since its last flush were made in another epoch: they may
    /// be gone, and should be written again.
    pub writes_may_be_lost: bool,
}

/// A namespace of the drive.
pub type Namespace = NamespaceSummary;

/// What an agent and its drive are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The agent's name and version.
    pub agent: String,
    /// Its board.
    pub board: String,
    /// The drive's model.
    pub model: String,
    /// Its serial number.
    pub serial: String,
    /// Its firmware revision.
    pub firmware: String,
    /// Its namespaces.
    pub namespaces: Vec<Namespace>,
    /// The agent's limits.
    pub limits: Limits,
    /// Changes when the drive may have lost what was not flushed.
    pub drive_epoch: u64,
    /// Time since the agent started, microseconds.
    pub uptime_us: u64,
}

impl From<InfoReply<'_>> for Info {
    fn from(reply: InfoReply<'_>) -> Self {
        Info {
            agent: reply.agent.to_owned(),
            board: reply.board.to_owned(),
            model: reply.model.trim().to_owned(),
            serial: reply.serial.trim().to_owned(),
            firmware: reply.firmware.trim().to_owned(),
            namespaces: reply.namespaces.to_vec(),
            limits: reply.limits,
            drive_epoch: reply.drive_epoch,
            uptime_us: reply.uptime_us,
        }
    }
}

/// A map of an instance, globals included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapInfo {
    /// Its number in the program, which requests name it by.
    pub number: u32,
    /// Its type, as Linux numbers them.
    pub kind: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// Entries it can hold.
    pub entries_max: u32,
    /// Entries that it holds; of an array, all.
    pub entries: u32,
    /// Whether programs may only read it.
    pub read_only: bool,
}

impl MapInfo {
    pub(crate) fn new(number: u32, summary: &MapSummary) -> Self {
        MapInfo {
            number,
            kind: summary.kind,
            key_bytes: summary.key_bytes,
            value_bytes: summary.value_bytes,
            entries_max: summary.entries_max,
            entries: summary.entries,
            read_only: summary.flags & ebpf::maps::BPF_F_RDONLY_PROG != 0,
        }
    }

    /// The word for its type.
    pub fn kind_name(&self) -> &'static str {
        ebpf::MapKind::of(self.kind).map_or("unknown", ebpf::MapKind::name)
    }
}

/// An entry of a map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MapEntry {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// Whether an entry must be there before it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// It does not matter.
    #[default]
    Any,
    /// It must not.
    New,
    /// It must.
    Existing,
}

/// What became of loading a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The program.
    pub id: ProgramId,
    /// What the agent proved of it; `None` from an agent that proves nothing.
    pub proof: Option<Proof>,
}

/// A loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Its id.
    pub id: ProgramId,
    /// Its name.
    pub name: String,
    /// Length of its code in 8-byte slots.
    pub instructions: u32,
    /// Scratch bytes of an invocation.
    pub scratch_bytes: u32,
    /// Most argument bytes.
    pub args_max: u32,
    /// Most reply bytes.
    pub reply_max: u32,
    /// Objects it needs.
    pub objects: u32,
    /// Instances attached now.
    pub instances: u32,
    /// Calls ended since it was loaded.
    pub calls: u64,
    /// The first bytes of the image's SHA-256.
    pub sha256_prefix: [u8; 8],
}

impl From<&ProgramSummary<'_>> for Program {
    fn from(summary: &ProgramSummary<'_>) -> Self {
        Program {
            id: ProgramId(summary.program),
            name: summary.name.to_owned(),
            instructions: summary.instructions,
            scratch_bytes: summary.scratch,
            args_max: summary.args_max,
            reply_max: summary.reply_max,
            objects: summary.objects,
            instances: summary.instances,
            calls: summary.calls,
            sha256_prefix: summary.sha256_prefix,
        }
    }
}

/// How full a pool of the agent is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolUse {
    /// Its name.
    pub name: String,
    /// In use now.
    pub used: u32,
    /// There are in all.
    pub total: u32,
    /// Most that were in use at once.
    pub peak: u32,
}

/// Counters and pools of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Time since the agent started, microseconds.
    pub uptime_us: u64,
    /// Names and values, in the agent's order.
    pub counters: Vec<(String, u64)>,
    /// Pools, in the agent's order.
    pub pools: Vec<PoolUse>,
    /// How the drive fares.
    pub drive: DriveHealth,
}

impl From<StatsReply<'_>> for Stats {
    fn from(reply: StatsReply<'_>) -> Self {
        Stats {
            uptime_us: reply.uptime_us,
            counters: reply
                .counters
                .iter()
                .map(|c| (c.name.to_owned(), c.value))
                .collect(),
            pools: reply
                .pools
                .iter()
                .map(|pool| PoolUse {
                    name: pool.name.to_owned(),
                    used: pool.used,
                    total: pool.total,
                    peak: pool.peak,
                })
                .collect(),
            drive: reply.drive,
        }
    }
}

/// What was written and not flushed, and in which epoch.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unflushed {
    epoch: Option<u64>,
    mixed: bool,
}

impl Unflushed {
    pub(crate) fn wrote(&mut self, epoch: u64) {
        self.mixed |= self.epoch.is_some_and(|before| before != epoch);
        self.epoch = Some(epoch);
    }

    /// A flush was done in this epoch: whether writes before it may be lost.
    pub(crate) fn flushed(&mut self, epoch: u64) -> bool {
        let Unflushed {
            epoch: written,
            mixed,
        } = core::mem::take(self);
        mixed || written.is_some_and(|written| written != epoch)
    }
}
