//! What the drive says of its health: the SMART log, read at start, now and then, and on its event.
//!
//! One log is read at a time, as there is one page for it. The log of an event goes first, and the next
//! event is asked for when it was read, which is what acknowledges it (Base §5.2).

use zerocopy::FromBytes;

use super::admin::{Purpose, Reply};
use super::{Driver, command};
use crate::seam::Device;
use crate::spec::{EventDword0, LogId, SmartLog};

/// The SMART / Health log, as much of it as the driver's owner acts on (Base §5.16.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Critical warnings, bits as in [`SmartLog`].
    pub warnings: u8,
    /// Composite temperature, kelvins; 0 where the drive does not tell.
    pub temperature_kelvin: u16,
    /// Spare left, percent.
    pub spare_percent: u8,
    /// Life used, percent; may exceed 100.
    pub used_percent: u8,
    /// When it was read, in the time of `poll`.
    pub read_us: u64,
}

impl Health {
    fn new(log: &SmartLog, read_us: u64) -> Health {
        Health {
            warnings: log.critical_warning,
            temperature_kelvin: log.temperature_kelvin.get(),
            spare_percent: log.spare_percent,
            used_percent: log.used_percent,
            read_us,
        }
    }
}

/// When logs are read.
#[derive(Debug, Default)]
pub(super) struct HealthWatch {
    pub(super) latest: Option<Health>,
    pub(super) due_us: u64,
    /// The log of an event that was reported and is not yet read.
    event: Option<LogId>,
}

impl HealthWatch {
    /// A reset forgets events.
    pub(super) fn restart(&mut self, due_us: u64) {
        self.due_us = due_us;
        self.event = None;
    }
}

impl<D: Device, const QUEUES: usize, const SLOTS: usize> Driver<D, QUEUES, SLOTS> {
    /// An event was reported.
    pub(super) fn take_event(&mut self, dw0: u32) {
        self.counters.asynchronous_events += 1;
        self.health.event = Some(LogId(EventDword0::from(dw0).log()));
    }

    /// Sends for the next log that is to be read, when none is on its way.
    pub(super) fn read_logs(&mut self) {
        if !self.admin.data_is_free() {
            return;
        }
        if let Some(log) = self.health.event.take() {
            if !self.read_log(log, true) {
                self.health.event = Some(log);
            }
        } else if self.now_us >= self.health.due_us && self.read_log(LogId::SMART, false) {
            self.health.due_us = self.now_us.saturating_add(self.config.health_us);
        }
    }

    fn read_log(&mut self, log: LogId, event: bool) -> bool {
        let bytes = if log == LogId::CHANGED_NAMESPACES {
            4096
        } else {
            512
        };
        let data = self.admin.data_address(self.device.dma());
        let entry = command::log_page(log, bytes, data);
        self.submit_admin(Purpose::Log { log, event }, entry)
    }

    /// A log has arrived, or was refused: then it is asked for again in its time.
    pub(super) fn take_log(&mut self, log: LogId, event: bool, reply: &Reply) {
        if log == LogId::SMART && reply.status.is_success() {
            self.counters.health_reads += 1;
            self.take_health();
        }
        if event {
            self.submit_admin(Purpose::Event, command::asynchronous_event_request());
        }
    }

    /// The data page holds the SMART log. How often the device was powered on is in it too.
    pub(super) fn take_health(&mut self) -> u64 {
        let data = self.admin.data(self.device.dma_mut());
        let Ok((log, _)) = SmartLog::ref_from_prefix(data) else {
            return 0;
        };
        self.health.latest = Some(Health::new(log, self.now_us));
        log.power_cycles.get() as u64
    }
}
