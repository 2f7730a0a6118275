//! What the ratio of the two ways should be, from parts measured in the same run.
//!
//! A lookup of `d` dependent reads costs
//!
//! ```text
//! remote     d · (n + r)        each read crosses the network
//! pushdown   n + d · r + e      one crossing, the same reads, and the program
//! expected   d · (n + r) / (n + d · r + e)
//! ```
//!
//! with a network round trip `n`, a read of the drive `r` and the program's own work `e`.
//!
//! All three are *lane times*: how long one of the lanes is taken up, the elapsed time × lanes ÷
//! operations. At a concurrency that fills a processor, an operation's lane time grows with the
//! work the others cause; where only delays count, it is the delay. The lookups see the same, so
//! the parts are measured at the same concurrency, in rounds between the lookups.
//!
//! | part | measured as |
//! |---|---|
//! | `d` | reads for each remote lookup: the depth of the tree, and overflow pages if there are any |
//! | `n` | calls of `chase` with 0 hops: arguments there, a program started and ended, a reply back |
//! | `r` | slope of the lane time of `chase` over its hops: 0, `d` and 2 `d` |
//! | `e` | instructions of a lookup that neither of the above contains, × slope of the lane time of `spin` over its instructions |
//!
//! Instructions are what the agent's meter counts. `chase` runs some as well, and the meter
//! charges for helpers: the instructions of a 0-hop chase are part of `n`, those of each hop part
//! of `r`, and both are taken off those of a lookup before they are multiplied.

use super::drive::Sample;

/// Calls of `chase` with so many hops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChaseSample {
    /// Reads of each call.
    pub hops: u32,
    /// What was measured.
    pub sample: Sample,
}

/// Everything measured that the expected ratio follows from.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Operations in flight in all of it.
    pub lanes: usize,
    /// Reads of a lookup.
    pub reads_per_lookup: f64,
    /// Lookups by pushdown.
    pub lookup: Sample,
    /// Chases, with at least two numbers of hops, one of them 0.
    pub chase: Vec<ChaseSample>,
    /// Spins, with at least two numbers of instructions.
    pub spin: Vec<Sample>,
}

/// The parts of a lookup, in nanoseconds of lane time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Reads of a lookup, `d`.
    pub reads: f64,
    /// A network round trip, `n`.
    pub round_trip_ns: f64,
    /// A read of the drive by a program, `r`.
    pub read_ns: f64,
    /// The program's own work, `e`.
    pub execute_ns: f64,
    /// An instruction.
    pub instruction_ns: f64,
    /// Instructions of a lookup, those that the meter charges for helpers included.
    pub instructions: f64,
}

impl Calibration {
    /// Takes the parts from what was measured; `None` if samples are missing or empty.
    ///
    /// A slope below zero, which noise makes of a cost near zero, counts as zero.
    pub fn of(samples: &Samples) -> Option<Calibration> {
        let lane_ns = |sample: &Sample| sample.lane_ns(samples.lanes);
        let idle = samples.chase.iter().find(|chase| chase.hops == 0)?.sample;
        let over_hops = |measure: &dyn Fn(&Sample) -> f64| {
            let points = samples.chase.iter();
            slope(points.map(|chase| (f64::from(chase.hops), measure(&chase.sample))))
        };
        let read_ns = over_hops(&lane_ns)?.max(0.0);
        let instructions_per_hop = over_hops(&Sample::instructions_per_op)?.max(0.0);
        let spins = samples.spin.iter();
        let instruction_ns =
            slope(spins.map(|spin| (spin.instructions_per_op(), lane_ns(spin))))?.max(0.0);
        let instructions = samples.lookup.instructions_per_op();
        let elsewhere =
            idle.instructions_per_op() + samples.reads_per_lookup * instructions_per_hop;
        let calibration = Calibration {
            reads: samples.reads_per_lookup,
            round_trip_ns: lane_ns(&idle),
            read_ns,
            execute_ns: (instructions - elsewhere).max(0.0) * instruction_ns,
            instruction_ns,
            instructions,
        };
        let known = calibration.expected_ratio().is_finite() && instructions.is_finite();
        known.then_some(calibration)
    }

    /// The best that lookups by pushdown can do against those by remote reads.
    pub fn expected_ratio(&self) -> f64 {
        let Calibration {
            reads,
            round_trip_ns,
            read_ns,
            execute_ns,
            ..
        } = *self;
        reads * (round_trip_ns + read_ns) / (round_trip_ns + reads * read_ns + execute_ns)
    }
}

/// The slope of the straight line that fits best; `None` if there are not two places to fit.
pub fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> Option<f64> {
    let count = points.clone().count() as f64;
    let sum = points
        .clone()
        .fold((0.0, 0.0), |sum, (x, y)| (sum.0 + x, sum.1 + y));
    let (mean_x, mean_y) = (sum.0 / count, sum.1 / count);
    let (spread, lift) = points.fold((0.0, 0.0), |(spread, lift), (x, y)| {
        (
            spread + (x - mean_x) * (x - mean_x),
            lift + (x - mean_x) * (y - mean_y),
        )
    });
    let slope = lift / spread;
    slope.is_finite().then_some(slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operations that take a lane of 8 for `lane_ns` each.
    fn sample(lane_ns: u64, instructions: u64) -> Sample {
        let operations = 1000;
        Sample {
            operations,
            elapsed_ns: operations * lane_ns / 8,
            round_trips: operations,
            wire_bytes: 0,
            instructions: operations * instructions,
        }
    }

    /// n = 16 µs, r = 2 µs, 4 ns an instruction; a hop is 20 instructions, a start 10.
    fn samples() -> Samples {
        Samples {
            lanes: 8,
            reads_per_lookup: 3.0,
            lookup: sample(16_000 + 3 * 2_000 + 1_600, 10 + 3 * 20 + 400),
            chase: [0, 3, 6]
                .map(|hops| ChaseSample {
                    hops,
                    sample: sample(16_000 + u64::from(hops) * 2_000, 10 + u64::from(hops) * 20),
                })
                .to_vec(),
            spin: vec![sample(16_000, 10), sample(24_000, 2_010)],
        }
    }

    #[test]
    fn parts_and_ratio() {
        let calibration = Calibration::of(&samples()).unwrap();
        let near = |got: f64, wanted: f64| (got - wanted).abs() < 1e-6 * wanted;
        assert!(near(calibration.round_trip_ns, 16_000.0), "{calibration:?}");
        assert!(near(calibration.read_ns, 2_000.0), "{calibration:?}");
        assert!(near(calibration.instruction_ns, 4.0), "{calibration:?}");
        assert!(near(calibration.execute_ns, 1_600.0), "{calibration:?}");
        let wanted = 3.0 * 18_000.0 / (16_000.0 + 6_000.0 + 1_600.0);
        assert!(
            near(calibration.expected_ratio(), wanted),
            "{calibration:?}"
        );
    }

    #[test]
    fn limits_of_the_ratio() {
        let base = Calibration::of(&samples()).unwrap();
        let far = Calibration {
            round_trip_ns: 1e12,
            ..base
        };
        assert!((far.expected_ratio() - 3.0).abs() < 1e-3);
        let slow_drive = Calibration {
            read_ns: 1e12,
            ..base
        };
        assert!((slow_drive.expected_ratio() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn noise_below_zero_is_zero() {
        let mut noisy = samples();
        noisy.chase[2].sample.elapsed_ns = 0;
        noisy.spin[1].elapsed_ns = 0;
        noisy.lookup.instructions = 0;
        let calibration = Calibration::of(&noisy).unwrap();
        assert_eq!((calibration.read_ns, calibration.execute_ns), (0.0, 0.0));
        assert!((calibration.expected_ratio() - 3.0).abs() < 1e-6);
    }

    #[test]
    fn missing_samples_give_nothing() {
        let broken = |change: fn(&mut Samples)| {
            let mut samples = samples();
            change(&mut samples);
            Calibration::of(&samples)
        };
        assert_eq!(broken(|s| s.chase.clear()), None);
        assert_eq!(broken(|s| s.chase.truncate(1)), None);
        assert_eq!(broken(|s| s.chase[0].hops = 1), None);
        assert_eq!(broken(|s| s.spin.truncate(1)), None);
        assert_eq!(broken(|s| s.lookup = Sample::default()), None);
        assert_eq!(broken(|s| s.chase[0].sample = Sample::default()), None);
    }

    #[test]
    fn slopes() {
        let fit = |points: &[(f64, f64)]| slope(points.iter().copied());
        assert_eq!(fit(&[(0.0, 1.0), (2.0, 5.0)]), Some(2.0));
        assert_eq!(fit(&[(0.0, 0.0), (1.0, 2.0), (2.0, 1.0)]), Some(0.5));
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }
}
