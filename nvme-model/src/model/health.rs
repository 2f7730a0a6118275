//! What the Error Information and SMART / Health logs tell (Base §5.16.1.2, §5.16.1.3).

use std::collections::VecDeque;

use crate::spec::{ErrorLogEntry, SmartLog, Status, StatusType, SubmissionEntry};

use super::features::WARNING_KELVIN;
use super::limits::ERROR_LOG_ENTRIES;

/// 40 °C.
const TEMPERATURE_KELVIN: u16 = 313;

/// Counters over the life of the drive.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) power_cycles: u64,
    pub(super) unsafe_shutdowns: u64,
    pub(super) media_errors: u64,
    pub(super) temperature_kelvin: u16,
    pub(super) used_percent: u8,
    pub(super) reads: u64,
    pub(super) writes: u64,
    pub(super) read_bytes: u64,
    pub(super) written_bytes: u64,
    /// A store failed for good.
    pub(super) degraded: bool,
    errors: u64,
    log: VecDeque<ErrorLogEntry>,
}

impl Health {
    pub(super) fn new(power_cycles: u64) -> Self {
        Self {
            power_cycles,
            unsafe_shutdowns: 0,
            media_errors: 0,
            temperature_kelvin: TEMPERATURE_KELVIN,
            used_percent: 0,
            reads: 0,
            writes: 0,
            read_bytes: 0,
            written_bytes: 0,
            degraded: false,
            errors: 0,
            log: VecDeque::with_capacity(ERROR_LOG_ENTRIES),
        }
    }

    /// Remembers a command that failed.
    pub(super) fn record(&mut self, queue: u16, entry: &SubmissionEntry, status: Status, lba: u64) {
        if status.code().kind() == StatusType::MEDIA {
            self.media_errors += 1;
        }
        let mut record = ErrorLogEntry::default();
        record.submission_queue = queue.into();
        record.command_id = entry.command_id;
        record.lba = lba.into();
        record.namespace = entry.namespace;
        self.enter(record, status);
    }

    /// Remembers an error that is of no command.
    pub(super) fn record_event(&mut self, status: Status) {
        let mut record = ErrorLogEntry::default();
        record.submission_queue = u16::MAX.into();
        record.command_id = u16::MAX.into();
        self.enter(record, status);
    }

    fn enter(&mut self, mut record: ErrorLogEntry, status: Status) {
        self.errors += 1;
        record.error_count = self.errors.into();
        record.status = (status.0 << 1).into();
        record.parameter_location = u16::MAX.into();
        self.log.truncate(ERROR_LOG_ENTRIES - 1);
        self.log.push_front(record);
    }

    /// Empties the Error Information log, as every reset does; the counts go on.
    pub(super) fn clear_error_log(&mut self) {
        self.log.clear();
    }

    /// The Error Information log, newest first.
    pub(super) fn error_log(&self) -> impl Iterator<Item = &ErrorLogEntry> {
        self.log.iter()
    }

    /// The critical warnings (SMART byte 0) that hold, between two temperature thresholds.
    pub(super) fn warnings(&self, (over_kelvin, under_kelvin): (u16, u16)) -> u8 {
        let hot = self.temperature_kelvin >= over_kelvin || self.temperature_kelvin <= under_kelvin;
        let mut warnings = if hot {
            SmartLog::WARNING_TEMPERATURE
        } else {
            0
        };
        if self.degraded {
            warnings |= SmartLog::WARNING_RELIABILITY;
        }
        warnings
    }

    /// The SMART / Health log after `on_us` of power.
    pub(super) fn smart(&self, thresholds_kelvin: (u16, u16), on_us: u64) -> SmartLog {
        const DATA_UNIT_BYTES: u64 = 512 * 1000;
        const HOUR_US: u64 = 3_600_000_000;
        let mut log = SmartLog::default();
        log.critical_warning = self.warnings(thresholds_kelvin);
        log.temperature_kelvin = self.temperature_kelvin.into();
        log.used_percent = self.used_percent;
        log.spare_percent = 100;
        log.spare_threshold_percent = 10;
        let units = |bytes: u64| u128::from(bytes.div_ceil(DATA_UNIT_BYTES)).into();
        log.data_units_read = units(self.read_bytes);
        log.data_units_written = units(self.written_bytes);
        log.host_reads = u128::from(self.reads).into();
        log.host_writes = u128::from(self.writes).into();
        log.power_cycles = u128::from(self.power_cycles).into();
        log.power_on_hours = u128::from(on_us / HOUR_US).into();
        log.unsafe_shutdowns = u128::from(self.unsafe_shutdowns).into();
        log.media_errors = u128::from(self.media_errors).into();
        log.error_log_entries = u128::from(self.errors).into();
        log
    }
}

const _: () = assert!(TEMPERATURE_KELVIN < WARNING_KELVIN);
