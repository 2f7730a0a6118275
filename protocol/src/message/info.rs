//! What the agent is, and how it fares.

use crate::limits::{COUNTERS_MAX, NAMESPACES_MAX, POOLS_MAX};
use crate::open_enum::open_enum;
use serde::{Deserialize, Serialize};

/// Asks what the agent and its drive are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoRequest {}

/// What they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InfoReply<'a> {
    /// The agent's name and version, at most 40 bytes.
    #[serde(borrow)]
    pub agent: &'a str,
    /// The board it runs on, at most 40 bytes.
    pub board: &'a str,
    /// The drive's model, as it reports it.
    pub model: &'a str,
    /// The drive's serial number.
    pub serial: &'a str,
    /// The drive's firmware revision.
    pub firmware: &'a str,
    /// Its namespaces.
    pub namespaces: heapless::Vec<NamespaceSummary, NAMESPACES_MAX>,
    /// The agent's limits.
    pub limits: Limits,
    /// Changes when the drive may have lost what was not flushed.
    pub drive_epoch: u64,
    /// Time since the agent started, microseconds.
    pub uptime_us: u64,
}

/// A namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceSummary {
    /// NVMe namespace id, from 1.
    pub id: u32,
    /// Its size in blocks.
    pub blocks: u64,
    /// Bytes in a block.
    pub block_bytes: u32,
}

/// Limits of the agent, beyond those in the hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Connections at a time.
    pub connections: u32,
    /// Requests in flight on one connection.
    pub credits: u16,
    /// Request payload bytes in flight on one connection.
    pub credit_bytes: u32,
    /// Bytes of one Read or Write.
    pub io_bytes: u32,
    /// Bytes of a program image.
    pub image_bytes: u32,
    /// Programs loaded at a time.
    pub programs: u32,
    /// Instances attached at a time.
    pub instances: u32,
    /// Objects open at a time.
    pub objects: u32,
    /// Scratch bytes of one invocation.
    pub scratch_bytes: u32,
    /// The greatest instruction budget of an invocation.
    pub instruction_budget: u64,
    /// The greatest read budget of an invocation.
    pub read_budget: u32,
}

/// Asks for counters and pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsRequest {}

/// Counters and pools.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatsReply<'a> {
    /// Time since the agent started, microseconds.
    pub uptime_us: u64,
    /// What was counted since then.
    #[serde(borrow)]
    pub counters: heapless::Vec<Counter<'a>, COUNTERS_MAX>,
    /// What is in use.
    #[serde(borrow)]
    pub pools: heapless::Vec<Pool<'a>, POOLS_MAX>,
    /// How the drive fares.
    pub drive: DriveHealth,
}

/// How the drive fares, as it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriveHealth {
    /// Whether it is of use.
    pub state: DriveState,
    /// Who told the following.
    pub source: HealthSource,
    /// How the drive answered on its management bus, which it is asked on when its controller is
    /// dead.
    pub management: ManagementState,
    /// Critical warnings, bits as in the SMART log: 0 spare, 1 temperature, 2 reliability, 3 read
    /// only, 4 backup.
    pub warnings: u8,
    /// Composite temperature.
    pub temperature_celsius: Option<i16>,
    /// Life used, percent; may exceed 100.
    pub used_percent: Option<u8>,
    /// Spare left, percent.
    pub spare_percent: Option<u8>,
    /// How long ago that was told, microseconds.
    pub age_us: Option<u64>,
    /// The drive is too hot and gets half the commands.
    pub throttled: bool,
}

open_enum! {
    /// Whether a drive is of use.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(transparent)]
    pub enum DriveState: u8 {
        /// It is being started.
        Starting = 0,
        /// It works.
        Running = 1,
        /// It is being reset, by the driver or by PERST#.
        Recovering = 2,
        /// It was shut down.
        Stopped = 3,
        /// It is out of service.
        Failed = 4,
    }
}

open_enum! {
    /// Where the health of a drive is known from.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(transparent)]
    pub enum HealthSource: u8 {
        /// Nobody told.
        Absent = 0,
        /// The SMART log.
        Smart = 1,
        /// The management bus: NVMe-MI Basic Management.
        Management = 2,
    }
}

open_enum! {
    /// How a drive answered on its management bus.
    #[derive(Default, Serialize, Deserialize)]
    #[serde(transparent)]
    pub enum ManagementState: u8 {
        /// It was not asked.
        NotAsked = 0,
        /// It answered.
        Answered = 1,
        /// Nobody acknowledged: there is no bus, or nobody on it.
        NoAcknowledge = 2,
        /// The bus failed otherwise.
        BusError = 3,
        /// The answer has not the length it must have.
        WrongLength = 4,
        /// The answer's checksum is wrong.
        BadChecksum = 5,
        /// The drive says that it cannot tell now.
        NotReady = 6,
    }
}

/// A counter. It rises only, unless its name says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter<'a> {
    /// Its name, with its unit at the end; at most
    /// [`STAT_NAME_BYTES_MAX`](crate::limits::STAT_NAME_BYTES_MAX) bytes.
    pub name: &'a str,
    /// Its value.
    pub value: u64,
}

/// How full a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool<'a> {
    /// Its name, at most [`STAT_NAME_BYTES_MAX`](crate::limits::STAT_NAME_BYTES_MAX) bytes.
    pub name: &'a str,
    /// In use now.
    pub used: u32,
    /// There are in all.
    pub total: u32,
    /// Most that were in use at once.
    pub peak: u32,
}
