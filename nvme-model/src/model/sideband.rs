//! What reaches the drive beside PCIe: the PERST# pin and the management bus.
//!
//! Whoever simulates a board has a [`Sideband`] of the drive: it moves the pin, and answers on the bus
//! for the drive with what the drive says of itself here, also when its controller is dead. It is a
//! handle, because the drive itself belongs to the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the drive tells on its management bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManagementStatus {
    /// The PCIe link is up.
    pub link: bool,
    /// The controller works, or would after a reset from outside.
    pub functional: bool,
    /// The controller goes on without a reset.
    pub no_reset_needed: bool,
    /// Critical warnings, as in the SMART log.
    pub warnings: u8,
    /// Composite temperature, kelvins.
    pub temperature_kelvin: u16,
    /// Life used, percent.
    pub used_percent: u8,
}

const LINK: u64 = 1 << 32;
const FUNCTIONAL: u64 = 1 << 33;
const NO_RESET_NEEDED: u64 = 1 << 34;

impl ManagementStatus {
    fn pack(self) -> u64 {
        let flag = |on: bool, bit: u64| if on { bit } else { 0 };
        flag(self.link, LINK)
            | flag(self.functional, FUNCTIONAL)
            | flag(self.no_reset_needed, NO_RESET_NEEDED)
            | u64::from(self.temperature_kelvin) << 16
            | u64::from(self.warnings) << 8
            | u64::from(self.used_percent)
    }

    const fn unpack(told: u64) -> Self {
        Self {
            link: told & LINK != 0,
            functional: told & FUNCTIONAL != 0,
            no_reset_needed: told & NO_RESET_NEEDED != 0,
            temperature_kelvin: (told >> 16) as u16,
            warnings: (told >> 8) as u8,
            used_percent: told as u8,
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    perst: AtomicBool,
    /// PERST# was asserted since the drive last looked, though it may have been deasserted again.
    fell: AtomicBool,
    pulses: AtomicU64,
    told: AtomicU64,
}

/// A handle on the pins and the management bus of a [`ModelDevice`](super::ModelDevice).
#[derive(Clone, Debug, Default)]
pub struct Sideband(Arc<Shared>);

impl Sideband {
    /// Asserts PERST# (drives it low) or deasserts it. The drive follows when it is stepped.
    pub fn set_perst(&self, asserted: bool) {
        let before = self.0.perst.swap(asserted, Ordering::Relaxed);
        if asserted && !before {
            self.0.fell.store(true, Ordering::Relaxed);
            self.0.pulses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often PERST# was asserted.
    pub fn perst_pulses(&self) -> u64 {
        self.0.pulses.load(Ordering::Relaxed)
    }

    /// What the drive said of itself when it was last stepped.
    pub fn status(&self) -> ManagementStatus {
        ManagementStatus::unpack(self.0.told.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn asserted(&self) -> bool {
        self.0.perst.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn has_fallen(&self) -> bool {
        self.0.fell.load(Ordering::Relaxed)
    }

    pub(super) fn take_fall(&self) -> bool {
        self.0.fell.swap(false, Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn tell(&self, status: ManagementStatus) {
        self.0.told.store(status.pack(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_arrives() {
        let status = ManagementStatus {
            link: true,
            functional: false,
            no_reset_needed: true,
            warnings: 0x1f,
            temperature_kelvin: 355,
            used_percent: 250,
        };
        assert_eq!(ManagementStatus::unpack(status.pack()), status);
    }

    #[test]
    fn a_pulse_between_two_steps_is_seen() {
        let sideband = Sideband::default();
        sideband.set_perst(true);
        sideband.set_perst(false);
        assert!(sideband.take_fall() && !sideband.take_fall());
        assert_eq!(sideband.perst_pulses(), 1);
    }
}
