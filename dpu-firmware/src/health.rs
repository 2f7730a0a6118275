//! How the drive fares, who said so, and whether it is too hot for all that is asked of it.
//!
//! The SMART log is what counts; the driver reads it every ten seconds and on its event. While the
//! drive is out of service, its management bus is asked as often.

use nvme_model::driver::Health;
use nvme_model::spec::SmartLog;
use protocol::message::{HealthSource, ManagementState};

use crate::limits::{MANAGEMENT_INTERVAL_US, THROTTLE_CLEAR_US, THROTTLE_HALF_US};
use crate::management::Block;

/// What was told of the drive last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) source: HealthSource,
    pub(crate) warnings: u8,
    pub(crate) temperature_celsius: Option<i16>,
    pub(crate) used_percent: u8,
    pub(crate) spare_percent: Option<u8>,
    pub(crate) at_us: u64,
}

impl Reading {
    fn of_smart(health: &Health) -> Reading {
        let kelvin = health.temperature_kelvin;
        let celsius = i16::try_from(i32::from(kelvin) - 273);
        Reading {
            source: HealthSource::Smart,
            warnings: health.warnings,
            temperature_celsius: celsius.ok().filter(|_| kelvin > 0),
            used_percent: health.used_percent,
            spare_percent: Some(health.spare_percent),
            at_us: health.read_us,
        }
    }

    fn of_block(block: &Block, at_us: u64) -> Reading {
        Reading {
            source: HealthSource::Management,
            warnings: block.warnings,
            temperature_celsius: block.temperature_celsius,
            used_percent: block.used_percent,
            spare_percent: None,
            at_us,
        }
    }
}

/// What is known of the drive's health.
#[derive(Debug)]
pub(crate) struct Monitor {
    pub(crate) latest: Option<Reading>,
    pub(crate) management: ManagementState,
    pub(crate) throttle: Throttle,
    /// When the SMART log that was taken last was read.
    smart_us: Option<u64>,
    /// When the bus is to be asked next; `None` while the drive is in service.
    ask_us: Option<u64>,
}

impl Monitor {
    pub(crate) const fn new() -> Monitor {
        Monitor {
            latest: None,
            management: ManagementState::NotAsked,
            throttle: Throttle::new(),
            smart_us: None,
            ask_us: None,
        }
    }

    /// Takes the SMART log, if it is a newer one. True when throttling begins with it.
    pub(crate) fn take_smart(&mut self, health: &Health) -> bool {
        if self.smart_us == Some(health.read_us) {
            return false;
        }
        self.smart_us = Some(health.read_us);
        self.take(Reading::of_smart(health))
    }

    /// Takes what the bus answered. It does not throttle: there are no commands then.
    pub(crate) fn take_answer(&mut self, answer: Result<Block, ManagementState>, now_us: u64) {
        self.management = match answer {
            Ok(block) => {
                self.latest = Some(Reading::of_block(&block, now_us));
                ManagementState::Answered
            }
            Err(why) => why,
        };
    }

    fn take(&mut self, reading: Reading) -> bool {
        self.latest = Some(reading);
        let hot = reading.warnings & SmartLog::WARNING_TEMPERATURE != 0;
        self.throttle.observe(hot, reading.at_us)
    }

    /// Whether the bus is to be asked now: at once when the drive falls out of service, then now
    /// and then.
    pub(crate) fn asks(&mut self, out_of_service: bool, now_us: u64) -> bool {
        if !out_of_service {
            self.ask_us = None;
            return false;
        }
        let due = self.ask_us.is_none_or(|ask_us| now_us >= ask_us);
        if due {
            self.ask_us = Some(now_us.saturating_add(MANAGEMENT_INTERVAL_US));
        }
        due
    }

    /// When the bus is to be asked next.
    pub(crate) const fn due_us(&self) -> Option<u64> {
        self.ask_us
    }
}

/// Halves what a drive gets while it is too hot.
///
/// For half of each period no command is sent: that halves the rate of whoever waits for answers
/// before he asks again, whatever the depth and the speed of the drive, where a bound on the commands
/// in flight would do nothing below that bound. It begins with a reading that has the temperature
/// warning, and ends when all readings of half a minute were without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Throttle {
    engaged: bool,
    clear_since_us: Option<u64>,
}

impl Throttle {
    const fn new() -> Throttle {
        Throttle {
            engaged: false,
            clear_since_us: None,
        }
    }

    fn observe(&mut self, hot: bool, at_us: u64) -> bool {
        if hot {
            self.clear_since_us = None;
            return !core::mem::replace(&mut self.engaged, true);
        }
        let since_us = *self.clear_since_us.get_or_insert(at_us);
        if at_us >= since_us.saturating_add(THROTTLE_CLEAR_US) {
            self.engaged = false;
        }
        false
    }

    /// Whether the drive gets half.
    pub(crate) const fn is_engaged(&self) -> bool {
        self.engaged
    }

    /// Whether commands may be sent at this time; else, when they may again.
    pub(crate) const fn opens_us(&self, now_us: u64) -> Option<u64> {
        let into_us = now_us % (2 * THROTTLE_HALF_US);
        if self.engaged && into_us >= THROTTLE_HALF_US {
            Some(now_us - into_us + 2 * THROTTLE_HALF_US)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_US: u64 = 1_000_000;

    fn health(warnings: u8, at_s: u64) -> Health {
        Health {
            warnings,
            temperature_kelvin: 345,
            spare_percent: 99,
            used_percent: 4,
            read_us: at_s * SECOND_US,
        }
    }

    #[test]
    fn a_warning_throttles_until_half_a_minute_was_without() {
        let mut monitor = Monitor::new();
        let hot = SmartLog::WARNING_TEMPERATURE;
        assert!(!monitor.take_smart(&health(0, 0)));
        assert!(monitor.take_smart(&health(hot, 10)));
        assert!(!monitor.take_smart(&health(hot, 20)), "it is already");
        let readings = [(0, 30), (0, 40), (hot, 50), (0, 60), (0, 70), (0, 80)];
        for (warnings, at_s) in readings {
            assert!(!monitor.take_smart(&health(warnings, at_s)));
            assert!(monitor.throttle.is_engaged(), "{at_s}");
        }
        monitor.take_smart(&health(0, 90));
        assert!(!monitor.throttle.is_engaged());
        assert!(monitor.take_smart(&health(hot, 100)), "again");
    }

    #[test]
    fn a_reading_is_taken_once() {
        let mut monitor = Monitor::new();
        assert!(monitor.take_smart(&health(SmartLog::WARNING_TEMPERATURE, 1)));
        let reading = monitor.latest.expect("taken");
        assert_eq!(reading.temperature_celsius, Some(72));
        let block = Block {
            warnings: 0,
            temperature_celsius: Some(-3),
            used_percent: 4,
        };
        monitor.take_answer(Ok(block), 2 * SECOND_US);
        monitor.take_smart(&health(SmartLog::WARNING_TEMPERATURE, 1));
        let reading = monitor.latest.expect("taken");
        assert_eq!(reading.source, HealthSource::Management);
        monitor.take_answer(Err(ManagementState::BadChecksum), 3 * SECOND_US);
        assert_eq!(
            monitor.latest,
            Some(reading),
            "what was told stays, and ages"
        );
        assert_eq!(monitor.management, ManagementState::BadChecksum);
    }

    #[test]
    fn half_of_the_time_is_open() {
        let throttle = Throttle {
            engaged: true,
            clear_since_us: None,
        };
        let open = (0..1_000_000).filter(|us| throttle.opens_us(*us).is_none());
        assert_eq!(open.count(), 500_000);
        for us in 0..100_000 {
            if let Some(opens_us) = throttle.opens_us(us) {
                assert!(opens_us > us && opens_us <= us + THROTTLE_HALF_US);
                assert_eq!(throttle.opens_us(opens_us), None);
            }
        }
        assert_eq!(Throttle::new().opens_us(THROTTLE_HALF_US), None);
    }

    #[test]
    fn the_bus_is_asked_at_once_and_then_now_and_then() {
        let mut monitor = Monitor::new();
        assert!(!monitor.asks(false, 0));
        let asked = (0..60).filter(|s| monitor.asks(true, s * SECOND_US));
        assert_eq!(asked.collect::<Vec<_>>(), [0, 10, 20, 30, 40, 50]);
        assert!(!monitor.asks(false, 61 * SECOND_US));
        assert!(monitor.asks(true, 62 * SECOND_US));
    }
}
