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
//! with a network round trip `n`, a read of the drive `r` and the program's own work `e`. None of
//! the three is measured on pushdown itself, so what pushdown adds to them (starting a program,
//! suspending and resuming it at each read, keeping its memory) counts against it.
//!
//! | part | measured as |
//! |---|---|
//! | `d` | reads for each remote lookup: the depth of the tree, and overflow pages if there are any |
//! | `n` | a request that the agent answers out of its head: no drive, no program |
//! | `n + r` | a read of a remote lookup |
//! | `e` | the program run outside the agent, its reads answered at once and not counted |
//!
//! # Two bounds
//!
//! `n` and `r` are made of delay and of work. With several lookups in flight the delays of one are
//! filled with the work of others, but client, wire, agent and drive of this world share one
//! processor, and on it work only adds up. So with `L` lookups in flight a way can give one each
//!
//! ```text
//! max( its sum with n and r of a lookup that is alone,
//!      L × its sum with n and r in processor time )  /  L
//! ```
//!
//! the two asymptotic bounds of a closed system (Denning and Buzen, "The Operational Analysis of
//! Queueing Network Models", 1978). *Alone* is measured with one operation in flight; *processor
//! time* with `L` in flight in a world without added delays, where the processor is all that
//! there is to wait for. The expected ratio is that of the two ways' bounds.

use super::drive::Sample;

/// Everything measured that the expected ratio follows from.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Samples {
    /// The smallest requests, one in flight.
    pub ping_alone: Sample,
    /// Remote lookups, one in flight.
    pub remote_alone: Sample,
    /// The smallest requests without added delays, all lanes in flight.
    pub ping_busy: Sample,
    /// Remote lookups without added delays, all lanes in flight.
    pub remote_busy: Sample,
    /// Runs of the program outside the agent.
    pub execute: Sample,
}

/// What a round trip and a read cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// A network round trip, `n`, in nanoseconds.
    pub round_trip_ns: f64,
    /// A read of the drive, `r`, in nanoseconds.
    pub read_ns: f64,
}

impl Cost {
    /// A read that noise makes cheaper than the empty request counts as free.
    fn of(ping: &Sample, remote: &Sample) -> Cost {
        let round_trip_ns = ping.elapsed_ns as f64 / ping.round_trips as f64;
        let both_ns = remote.elapsed_ns as f64 / remote.round_trips as f64;
        Cost {
            round_trip_ns,
            read_ns: (both_ns - round_trip_ns).max(0.0),
        }
    }
}

/// The parts of a lookup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Lookups in flight.
    pub lanes: usize,
    /// Reads of a lookup, `d`.
    pub reads: f64,
    /// The program's own work, `e`, in nanoseconds.
    pub execute_ns: f64,
    /// How long things take for one that is alone.
    pub alone: Cost,
    /// How much of the processor they take.
    pub processor: Cost,
}

/// How long a lookup takes up its lane at least, and what makes it so long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// By the sum of its parts, in nanoseconds.
    pub alone_ns: f64,
    /// By the processor that it shares with the other lanes, in nanoseconds.
    pub processor_ns: f64,
}

impl Bound {
    /// The longer of the two.
    pub fn ns(&self) -> f64 {
        self.alone_ns.max(self.processor_ns)
    }

    /// The most lookups a second with so many in flight.
    pub fn ops_per_s(&self, lanes: usize) -> f64 {
        lanes as f64 * 1e9 / self.ns()
    }
}

impl Calibration {
    /// Takes the parts from what was measured with `lanes` in flight; `None` if samples are empty.
    pub fn of(lanes: usize, samples: &Samples) -> Option<Calibration> {
        let Samples {
            ping_alone,
            remote_alone,
            ping_busy,
            remote_busy,
            execute,
        } = samples;
        let requests = [ping_alone, remote_alone, ping_busy, remote_busy];
        if execute.operations == 0 || requests.iter().any(|sample| sample.round_trips == 0) {
            return None;
        }
        let calibration = Calibration {
            lanes,
            reads: remote_busy.round_trips_per_op(),
            execute_ns: execute.elapsed_ns as f64 / execute.operations as f64,
            alone: Cost::of(ping_alone, remote_alone),
            processor: Cost::of(ping_busy, remote_busy),
        };
        calibration
            .expected_ratio()
            .is_finite()
            .then_some(calibration)
    }

    /// The least time of a lookup by remote reads.
    pub fn remote(&self) -> Bound {
        self.bound(|cost| self.reads * (cost.round_trip_ns + cost.read_ns))
    }

    /// The least time of a lookup by pushdown.
    pub fn pushdown(&self) -> Bound {
        self.bound(|cost| cost.round_trip_ns + self.reads * cost.read_ns + self.execute_ns)
    }

    fn bound(&self, sum_ns: impl Fn(&Cost) -> f64) -> Bound {
        Bound {
            alone_ns: sum_ns(&self.alone),
            processor_ns: self.lanes as f64 * sum_ns(&self.processor),
        }
    }

    /// The best that lookups by pushdown can do against those by remote reads.
    pub fn expected_ratio(&self) -> f64 {
        self.remote().ns() / self.pushdown().ns()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(operations: u64, trips_each: u64, trip_ns: u64) -> Sample {
        Sample {
            operations,
            elapsed_ns: operations * trips_each * trip_ns,
            round_trips: operations * trips_each,
            ..Sample::default()
        }
    }

    /// Alone n = 100 µs, r = 10 µs; of the processor n = 1 µs, r = 2 µs; e = 4 µs.
    fn samples() -> Samples {
        Samples {
            ping_alone: sample(10, 1, 100_000),
            remote_alone: sample(20, 3, 110_000),
            ping_busy: sample(100, 1, 1_000),
            remote_busy: sample(200, 3, 3_000),
            execute: Sample {
                round_trips: 0,
                ..sample(30, 1, 4_000)
            },
        }
    }

    fn of(lanes: usize) -> Calibration {
        Calibration::of(lanes, &samples()).unwrap()
    }

    fn near(got: f64, wanted: f64) -> bool {
        (got - wanted).abs() < 1e-9 * wanted
    }

    #[test]
    fn few_in_flight_wait_for_delays() {
        let few = of(1);
        assert!(near(few.remote().ns(), 330_000.0), "{few:?}");
        assert!(near(few.pushdown().ns(), 134_000.0), "{few:?}");
        assert!(near(few.expected_ratio(), 330.0 / 134.0));
    }

    #[test]
    fn many_in_flight_wait_for_the_processor() {
        let many = of(1_000);
        assert!(near(many.remote().ns(), 9_000_000.0), "{many:?}");
        assert!(near(many.pushdown().ns(), 11_000_000.0), "{many:?}");
        assert!(near(many.expected_ratio(), 9.0 / 11.0));
    }

    /// Each way has the bound that is its own.
    #[test]
    fn in_between_each_way_for_its_own() {
        let some = of(20);
        assert!(near(some.remote().ns(), 330_000.0), "{some:?}");
        assert!(near(some.pushdown().ns(), 220_000.0), "{some:?}");
        assert!(near(some.expected_ratio(), 1.5));
    }

    #[test]
    fn a_read_is_not_less_than_free() {
        let mut noisy = samples();
        noisy.remote_alone.elapsed_ns = 1;
        let calibration = Calibration::of(1, &noisy).unwrap();
        assert_eq!(calibration.alone.read_ns, 0.0);
        assert!(near(calibration.expected_ratio(), 300.0 / 104.0));
    }

    #[test]
    fn missing_samples_give_nothing() {
        let without = |change: fn(&mut Samples) -> &mut Sample| {
            let mut samples = samples();
            *change(&mut samples) = Sample::default();
            Calibration::of(8, &samples)
        };
        assert_eq!(without(|s| &mut s.ping_alone), None);
        assert_eq!(without(|s| &mut s.remote_alone), None);
        assert_eq!(without(|s| &mut s.ping_busy), None);
        assert_eq!(without(|s| &mut s.remote_busy), None);
        assert_eq!(without(|s| &mut s.execute), None);
    }
}
