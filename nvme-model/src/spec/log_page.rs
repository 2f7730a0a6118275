//! Log pages: identifiers, Error Information, SMART / Health, Firmware Slot (Base §5.16.1).

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::open_enum::open_enum;

open_enum! {
    /// LID, a log page identifier (Base §5.16.1, Figure 202).
    pub struct LogId(u8) called "log page";
    SUPPORTED_LOGS = 0x00, "Supported Log Pages";
    ERROR = 0x01, "Error Information";
    SMART = 0x02, "SMART / Health Information";
    FIRMWARE_SLOT = 0x03, "Firmware Slot Information";
    CHANGED_NAMESPACES = 0x04, "Changed Namespace List";
    EFFECTS = 0x05, "Commands Supported and Effects";
    SELF_TEST = 0x06, "Device Self-test";
    TELEMETRY_HOST = 0x07, "Telemetry Host-Initiated";
    TELEMETRY_CONTROLLER = 0x08, "Telemetry Controller-Initiated";
    ENDURANCE_GROUP = 0x09, "Endurance Group Information";
    ASYMMETRIC_ACCESS = 0x0c, "Asymmetric Namespace Access";
    PERSISTENT_EVENT = 0x0d, "Persistent Event Log";
    LBA_STATUS = 0x0e, "LBA Status Information";
    FEATURE_EFFECTS = 0x12, "Feature Identifiers Supported and Effects";
    MANAGEMENT_EFFECTS = 0x13, "NVMe-MI Commands Supported and Effects";
    RESERVATION_NOTIFICATION = 0x80, "Reservation Notification";
    SANITIZE_STATUS = 0x81, "Sanitize Status";
}

/// One entry of the Error Information log, newest first (Base §5.16.1.2, Figure 206).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct ErrorLogEntry {
    /// A count that names the error; 0 marks an entry never used.
    pub error_count: U64,
    /// SQID of the command; FFFFh when the error is of no command.
    pub submission_queue: U16,
    /// CID of the command; FFFFh when the error is of no command.
    pub command_id: U16,
    /// Status in bits 15:1, phase tag in bit 0.
    pub status: U16,
    /// Where in the command the error lies: byte in 7:0, bit in 10:8; FFFFh for none.
    pub parameter_location: U16,
    /// First LBA that saw the error.
    pub lba: U64,
    /// NSID.
    pub namespace: U32,
    /// A vendor log page with more, or 0.
    pub vendor_log: u8,
    /// TRTYPE.
    pub transport: u8,
    reserved_30: [u8; 2],
    /// Command specific.
    pub command_specific: U64,
    /// Transport specific.
    pub transport_specific: U16,
    reserved_42: [u8; 22],
}

const _: () = assert!(size_of::<ErrorLogEntry>() == 64);

/// The SMART / Health Information log (Base §5.16.1.3, Figure 207).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SmartLog {
    /// Critical warnings: bit 0 spare, 1 temperature, 2 reliability, 3 read only, 4 backup, 5 memory region.
    pub critical_warning: u8,
    /// Composite temperature in kelvins.
    pub temperature_kelvin: U16,
    /// Spare left, percent.
    pub spare_percent: u8,
    /// Spare under which a warning is given, percent.
    pub spare_threshold_percent: u8,
    /// Life used, percent; may exceed 100.
    pub used_percent: u8,
    /// Endurance group critical warnings.
    pub endurance_warning: u8,
    reserved_7: [u8; 25],
    /// Data read, in thousands of 512 bytes, rounded up.
    pub data_units_read: U128,
    /// Data written, in thousands of 512 bytes, rounded up.
    pub data_units_written: U128,
    /// Read and Compare commands completed.
    pub host_reads: U128,
    /// Write commands completed.
    pub host_writes: U128,
    /// Minutes with commands outstanding.
    pub busy_minutes: U128,
    /// Power cycles.
    pub power_cycles: U128,
    /// Hours powered on.
    pub power_on_hours: U128,
    /// Power losses without a completed shutdown.
    pub unsafe_shutdowns: U128,
    /// Media and data integrity errors.
    pub media_errors: U128,
    /// Error Information log entries over the life of the controller.
    pub error_log_entries: U128,
    /// Minutes over the warning temperature.
    pub warning_temperature_minutes: U32,
    /// Minutes over the critical temperature.
    pub critical_temperature_minutes: U32,
    /// Sensors 1 to 8 in kelvins; 0 for none.
    pub sensors_kelvin: [U16; 8],
    /// Transitions to thermal management 1 and 2.
    pub thermal_transitions: [U32; 2],
    /// Seconds in thermal management 1 and 2.
    pub thermal_seconds: [U32; 2],
    reserved_232: [u8; 280],
}

const _: () = assert!(size_of::<SmartLog>() == 512);

impl Default for SmartLog {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl SmartLog {
    /// Critical warning bit: spare below its threshold.
    pub const WARNING_SPARE: u8 = 1 << 0;
    /// Critical warning bit: temperature.
    pub const WARNING_TEMPERATURE: u8 = 1 << 1;
    /// Critical warning bit: reliability degraded.
    pub const WARNING_RELIABILITY: u8 = 1 << 2;
    /// Critical warning bit: the media is read only.
    pub const WARNING_READ_ONLY: u8 = 1 << 3;
    /// Critical warning bit: the volatile memory backup failed.
    pub const WARNING_BACKUP: u8 = 1 << 4;
    /// All critical warnings that have a name here.
    pub const WARNINGS: u8 = Self::WARNING_SPARE
        | Self::WARNING_TEMPERATURE
        | Self::WARNING_RELIABILITY
        | Self::WARNING_READ_ONLY
        | Self::WARNING_BACKUP;
}

/// The Firmware Slot Information log (Base §5.16.1.4, Figure 209).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FirmwareSlotLog {
    /// AFI: slot in use in bits 2:0, slot of the next reset in 6:4.
    pub active: u8,
    reserved_1: [u8; 7],
    /// Revisions in slots 1 to 7, ASCII.
    pub revisions: [[u8; 8]; 7],
    reserved_64: [u8; 448],
}

const _: () = assert!(size_of::<FirmwareSlotLog>() == 512);

impl Default for FirmwareSlotLog {
    fn default() -> Self {
        Self::new_zeroed()
    }
}
