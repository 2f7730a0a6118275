//! A drive that heats under load and cools when idle, in the time it is stepped with.
//!
//! One body over an ambient temperature: every command and every kibibyte heats it a little, and what it
//! has above the ambient falls by a fixed part each tick. Whole numbers throughout, so that a run
//! replays bit for bit.

/// How a drive heats and cools. All temperatures above zero kelvin, differences in microkelvins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thermal {
    /// Temperature without load, kelvins.
    pub ambient_kelvin: u16,
    /// What a command adds, microkelvins.
    pub command_microkelvin: u32,
    /// What a kibibyte read or written adds, microkelvins.
    pub kib_microkelvin: u32,
    /// In this time it cools to some 37 % of what it had above the ambient.
    pub time_constant_ms: u32,
}

impl Default for Thermal {
    /// Forty thousand reads of 4 KiB a second settle at 24 K over 35 °C; half as many more reach 70 °C.
    fn default() -> Self {
        Self {
            ambient_kelvin: 308,
            command_microkelvin: 12,
            kib_microkelvin: 2,
            time_constant_ms: 30_000,
        }
    }
}

/// How often the temperature is looked at.
const TICK_US: u64 = 10_000;

/// It gets no hotter than this above the ambient: a real drive would slow down or stop.
const EXCESS_MICROKELVIN_MAX: u64 = 60_000_000;

/// After so many ticks without a look it is as cool as it gets.
const TICKS_MAX: u64 = 100_000;

/// The heat of one drive.
#[derive(Debug)]
pub(super) struct Heat {
    config: Thermal,
    excess_microkelvin: u64,
    ticked_us: u64,
    commands: u64,
    bytes: u64,
}

impl Heat {
    pub(super) const fn new(config: Thermal) -> Self {
        Self {
            config,
            excess_microkelvin: 0,
            ticked_us: 0,
            commands: 0,
            bytes: 0,
        }
    }

    #[inline]
    pub(super) const fn due(&self, now_us: u64) -> bool {
        now_us >= self.ticked_us + TICK_US
    }

    /// The temperature in kelvins now, when so many commands and bytes were done since the start.
    pub(super) fn update(&mut self, now_us: u64, commands: u64, bytes: u64) -> u16 {
        let done = commands - self.commands;
        let kib = (bytes - self.bytes) >> 10;
        (self.commands, self.bytes) = (commands, self.bytes + (kib << 10));
        let ticks = (now_us - self.ticked_us) / TICK_US;
        self.ticked_us += ticks * TICK_US;
        self.cool(ticks);
        self.excess_microkelvin += done * u64::from(self.config.command_microkelvin)
            + kib * u64::from(self.config.kib_microkelvin);
        self.excess_microkelvin = self.excess_microkelvin.min(EXCESS_MICROKELVIN_MAX);
        let excess = self.excess_microkelvin / 1_000_000;
        self.config
            .ambient_kelvin
            .saturating_add(excess.try_into().unwrap_or(u16::MAX))
    }

    fn cool(&mut self, ticks: u64) {
        if ticks > TICKS_MAX {
            self.excess_microkelvin = 0;
            return;
        }
        let constant_us = u64::from(self.config.time_constant_ms.max(10)) * 1000;
        for _ in 0..ticks {
            if self.excess_microkelvin == 0 {
                return;
            }
            let lost = self.excess_microkelvin * TICK_US / constant_us;
            self.excess_microkelvin -= lost.max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Temperature after a minute of so many reads of 4 KiB a second, looked at every `every_us`.
    fn after_a_minute(per_second: u64, every_us: u64) -> (Heat, u16) {
        let mut heat = Heat::new(Thermal::default());
        let (mut now_us, mut kelvin) = (0, 0);
        while now_us < 60_000_000 {
            now_us += every_us;
            let commands = per_second * now_us / 1_000_000;
            kelvin = heat.update(now_us, commands, commands * 4096);
        }
        (heat, kelvin)
    }

    #[test]
    fn load_heats_and_rest_cools() {
        let (idle, busy) = (after_a_minute(0, 10_000).1, after_a_minute(40_000, 10_000));
        assert_eq!(idle, 308);
        assert!((327..331).contains(&busy.1), "{}", busy.1);
        let mut heat = busy.0;
        let done = heat.commands;
        let later = heat.update(90_000_000, done, done * 4096);
        assert!((314..318).contains(&later), "37 % of it are left: {later}");
        let last = heat.update(10_000_000_000, done, done * 4096);
        assert_eq!(last, 308);
    }

    #[test]
    fn it_hardly_matters_how_often_one_looks() {
        let fine = after_a_minute(60_000, 10_000).1;
        let coarse = after_a_minute(60_000, 500_000).1;
        assert!(fine.abs_diff(coarse) <= 1, "{fine} {coarse}");
    }
}
