//! Features: identifiers and the layout of their values (Base §5.27.1).

use bitfield_struct::bitfield;

use super::open_enum::open_enum;

open_enum! {
    /// FID, a feature identifier (Base §5.27.1, Figure 316; NVM §4.1.3, Figure 79).
    pub struct FeatureId(u8) called "feature";
    ARBITRATION = 0x01, "Arbitration";
    POWER_MANAGEMENT = 0x02, "Power Management";
    LBA_RANGE_TYPE = 0x03, "LBA Range Type";
    TEMPERATURE_THRESHOLD = 0x04, "Temperature Threshold";
    ERROR_RECOVERY = 0x05, "Error Recovery";
    VOLATILE_WRITE_CACHE = 0x06, "Volatile Write Cache";
    NUMBER_OF_QUEUES = 0x07, "Number of Queues";
    INTERRUPT_COALESCING = 0x08, "Interrupt Coalescing";
    INTERRUPT_VECTOR_CONFIGURATION = 0x09, "Interrupt Vector Configuration";
    WRITE_ATOMICITY_NORMAL = 0x0a, "Write Atomicity Normal";
    ASYNCHRONOUS_EVENT_CONFIGURATION = 0x0b, "Asynchronous Event Configuration";
    AUTONOMOUS_POWER_STATE = 0x0c, "Autonomous Power State Transition";
    HOST_MEMORY_BUFFER = 0x0d, "Host Memory Buffer";
    TIMESTAMP = 0x0e, "Timestamp";
    KEEP_ALIVE_TIMER = 0x0f, "Keep Alive Timer";
    THERMAL_MANAGEMENT = 0x10, "Host Controlled Thermal Management";
    NON_OPERATIONAL_POWER_STATE = 0x11, "Non-Operational Power State Config";
    READ_RECOVERY_LEVEL = 0x12, "Read Recovery Level Config";
    HOST_BEHAVIOR_SUPPORT = 0x16, "Host Behavior Support";
    SANITIZE_CONFIG = 0x17, "Sanitize Config";
    IO_COMMAND_SET_PROFILE = 0x19, "I/O Command Set Profile";
    SOFTWARE_PROGRESS_MARKER = 0x80, "Software Progress Marker";
    HOST_IDENTIFIER = 0x81, "Host Identifier";
    RESERVATION_NOTIFICATION_MASK = 0x82, "Reservation Notification Mask";
    RESERVATION_PERSISTENCE = 0x83, "Reservation Persistence";
    NAMESPACE_WRITE_PROTECTION = 0x84, "Namespace Write Protection Config";
}

/// CDW11 of Set Features, and dword 0 of both completions, for Number of Queues (Base §5.27.1.5, Figures 322 and 323).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct NumberOfQueues {
    /// NSQR or NSQA: I/O submission queues requested or allocated, 0's based. FFFFh is invalid.
    pub submission_queues_0: u16,
    /// NCQR or NCQA: I/O completion queues requested or allocated, 0's based. FFFFh is invalid.
    pub completion_queues_0: u16,
}

/// Value of Volatile Write Cache (Base §5.27.1.4, Figure 321).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct VolatileWriteCache {
    /// WCE: the cache is in use.
    pub enabled: bool,
    #[bits(31)]
    __: u32,
}

/// Value of Temperature Threshold (Base §5.27.1.3, Figure 320).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct TemperatureThreshold {
    /// TMPTH: in kelvins.
    pub kelvin: u16,
    /// TMPSEL: 0 the composite temperature, 1 to 8 a sensor, Fh all (Set only).
    #[bits(4)]
    pub sensor: u8,
    /// THSEL: 0 over, 1 under.
    #[bits(2)]
    pub kind: u8,
    #[bits(10)]
    __: u16,
}

/// Value of Asynchronous Event Configuration (Base §5.27.1.8, Figure 326).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct EventConfiguration {
    /// Critical warnings of the SMART log that raise an event, bit by bit.
    pub smart: u8,
    /// Namespace attribute notices.
    pub namespace_attributes: bool,
    /// Firmware activation notices.
    pub firmware_activation: bool,
    /// Telemetry log notices.
    pub telemetry: bool,
    #[bits(3)]
    __: u8,
    /// Endurance Group event aggregate log notices.
    pub endurance_groups: bool,
    #[bits(17)]
    __: u32,
}

/// Dword 0 of the completion of an Asynchronous Event Request (Base §5.2.1, Figure 143).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct EventDword0 {
    /// What kind of event; reading [`log`](Self::log) without Retain acknowledges it.
    #[bits(3)]
    pub kind: u8,
    #[bits(5)]
    __: u8,
    /// Which event of the kind.
    pub information: u8,
    /// The log that tells more, and whose reading re-arms this kind of event.
    pub log: u8,
    __: u8,
}

impl EventDword0 {
    /// Kind: error status.
    pub const ERROR: u8 = 0;
    /// Kind: SMART / health status.
    pub const SMART: u8 = 1;
    /// Kind: notice.
    pub const NOTICE: u8 = 2;

    /// Error information: a doorbell of a queue that does not exist was written (Base §5.2.1, Figure 144).
    pub const INVALID_DOORBELL_REGISTER: u8 = 0;
    /// Error information: a doorbell value was out of the queue or overran it.
    pub const INVALID_DOORBELL_VALUE: u8 = 1;
    /// Error information: diagnostic failure.
    pub const DIAGNOSTIC_FAILURE: u8 = 2;
    /// Error information: persistent internal error.
    pub const PERSISTENT_INTERNAL_ERROR: u8 = 3;
    /// Error information: transient internal error.
    pub const TRANSIENT_INTERNAL_ERROR: u8 = 4;

    /// SMART information: reliability degraded (Base §5.2.1, Figure 145).
    pub const SUBSYSTEM_RELIABILITY: u8 = 0;
    /// SMART information: temperature crossed a threshold.
    pub const TEMPERATURE_THRESHOLD: u8 = 1;
    /// SMART information: spare fell below its threshold.
    pub const SPARE_BELOW_THRESHOLD: u8 = 2;
}
