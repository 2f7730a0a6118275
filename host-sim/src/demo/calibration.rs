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
//! the parts is measured on pushdown itself, so what pushdown adds to them (starting a program,
//! suspending and resuming it at each read, keeping its memory) counts against it.
//!
//! | part | measured as |
//! |---|---|
//! | `d` | reads for each remote lookup: the depth of the tree, and overflow pages if there are any |
//! | `n + r` | a read of a remote lookup; its round trip carries a page |
//! | `n` of pushdown | a request that the agent answers out of its head: no drive, no program, no page |
//! | `r` of pushdown | the reads of remote lookups made once more by the driver, without an agent |
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

/// What one of something cost in each round, in nanoseconds.
///
/// Other programs on the machine take the processor away now and then, for longer than all of a
/// round: the median round has not seen them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    /// A round in which `count` of them took `elapsed_ns` together. One without any is left out.
    pub fn add(&mut self, elapsed_ns: u64, count: u64) {
        if count > 0 {
            self.0.push(elapsed_ns as f64 / count as f64);
        }
    }

    /// The median round's cost of one; `None` without rounds.
    pub fn median_ns(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

/// Everything measured that the expected ratio follows from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// One operation in flight.
    pub alone: PlaceSamples,
    /// All lanes in flight, in a world without added delays.
    pub busy: PlaceSamples,
    /// The engine that was asked for.
    pub engine: EngineSamples,
    /// The checked interpreter.
    pub checked: EngineSamples,
}

/// What was measured of an engine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineSamples {
    /// Runs of the program outside the agent.
    pub execute: Rounds,
    /// Lookups by pushdown, all lanes in flight, in a world without added delays.
    pub pushdown: Rounds,
}

/// Processor time of a lookup by pushdown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineCost {
    /// Of everything that runs for it: client, wire, agent, program and drive; in nanoseconds.
    pub lookup_ns: f64,
    /// Of the program alone, `e`, in nanoseconds.
    pub execute_ns: f64,
}

impl EngineCost {
    /// `None` if something was not measured.
    fn of(samples: &EngineSamples) -> Option<EngineCost> {
        Some(EngineCost {
            lookup_ns: samples.pushdown.median_ns()?,
            execute_ns: samples.execute.median_ns()?,
        })
    }
}

/// What was measured of round trips and reads.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlaceSamples {
    /// Reads of remote lookups.
    pub remote_read: Rounds,
    /// The smallest requests.
    pub ping: Rounds,
    /// Reads outside the agent.
    pub read: Rounds,
}

/// What round trips and reads cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// A remote read, `n + r` with the page that it carries, in nanoseconds.
    pub remote_read_ns: f64,
    /// A network round trip that carries next to nothing, `n`, in nanoseconds.
    pub round_trip_ns: f64,
    /// A read of the drive, `r`, in nanoseconds.
    pub read_ns: f64,
}

impl Cost {
    /// `None` if something was not measured.
    fn of(samples: &PlaceSamples) -> Option<Cost> {
        Some(Cost {
            remote_read_ns: samples.remote_read.median_ns()?,
            round_trip_ns: samples.ping.median_ns()?,
            read_ns: samples.read.median_ns()?,
        })
    }
}

/// The parts of a lookup.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// Lookups in flight.
    pub lanes: usize,
    /// Reads of a lookup, `d`.
    pub reads: f64,
    /// How long things take for one that is alone.
    pub alone: Cost,
    /// How much of the processor they take.
    pub processor: Cost,
    /// What a lookup by pushdown takes of the processor.
    pub engine: EngineCost,
    /// The same in the checked interpreter.
    pub checked: EngineCost,
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
    /// Takes the parts from what was measured with `lanes` in flight, of lookups with so many
    /// reads; `None` if something was not measured.
    pub fn of(lanes: usize, lookups: &Sample, samples: &Samples) -> Option<Calibration> {
        let calibration = Calibration {
            lanes,
            reads: lookups.round_trips_per_op(),
            alone: Cost::of(&samples.alone)?,
            processor: Cost::of(&samples.busy)?,
            engine: EngineCost::of(&samples.engine)?,
            checked: EngineCost::of(&samples.checked)?,
        };
        calibration
            .expected_ratio()
            .is_finite()
            .then_some(calibration)
    }

    /// The least time of a lookup by remote reads.
    pub fn remote(&self) -> Bound {
        self.bound(|cost| self.reads * cost.remote_read_ns)
    }

    /// The least time of a lookup by pushdown.
    pub fn pushdown(&self) -> Bound {
        self.bound(|cost| cost.round_trip_ns + self.reads * cost.read_ns + self.engine.execute_ns)
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

    fn rounds(ns: u64) -> Rounds {
        let mut rounds = Rounds::default();
        // The last round has been disturbed.
        for ns in [ns, ns, 50 * ns] {
            rounds.add(10 * ns, 10);
        }
        rounds
    }

    /// Alone n = 100 µs, r = 10 µs; of the processor n = 1 µs, with a page 2 µs, r = 1 µs; e = 4 µs.
    fn samples() -> Samples {
        Samples {
            alone: PlaceSamples {
                remote_read: rounds(110_000),
                ping: rounds(100_000),
                read: rounds(10_000),
            },
            busy: PlaceSamples {
                remote_read: rounds(3_000),
                ping: rounds(1_000),
                read: rounds(1_000),
            },
            engine: EngineSamples {
                execute: rounds(4_000),
                pushdown: rounds(9_000),
            },
            checked: EngineSamples {
                execute: rounds(6_000),
                pushdown: rounds(12_000),
            },
        }
    }

    fn lookups() -> Sample {
        Sample {
            operations: 10,
            round_trips: 30,
            ..Sample::default()
        }
    }

    fn of(lanes: usize) -> Calibration {
        Calibration::of(lanes, &lookups(), &samples()).unwrap()
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
        assert!(near(many.pushdown().ns(), 8_000_000.0), "{many:?}");
        assert!(near(many.expected_ratio(), 9.0 / 8.0));
    }

    /// Each way has the bound that is its own.
    #[test]
    fn in_between_each_way_for_its_own() {
        let some = of(25);
        assert!(near(some.remote().ns(), 330_000.0), "{some:?}");
        assert!(near(some.pushdown().ns(), 200_000.0), "{some:?}");
        assert!(near(some.expected_ratio(), 1.65));
    }

    #[test]
    fn missing_samples_give_nothing() {
        let without = |change: fn(&mut Samples) -> &mut Rounds| {
            let mut samples = samples();
            *change(&mut samples) = Rounds::default();
            Calibration::of(8, &lookups(), &samples)
        };
        assert_eq!(without(|s| &mut s.alone.remote_read), None);
        assert_eq!(without(|s| &mut s.alone.ping), None);
        assert_eq!(without(|s| &mut s.alone.read), None);
        assert_eq!(without(|s| &mut s.busy.remote_read), None);
        assert_eq!(without(|s| &mut s.busy.ping), None);
        assert_eq!(without(|s| &mut s.busy.read), None);
        assert_eq!(without(|s| &mut s.engine.execute), None);
        assert_eq!(without(|s| &mut s.engine.pushdown), None);
        assert_eq!(without(|s| &mut s.checked.execute), None);
        assert_eq!(without(|s| &mut s.checked.pushdown), None);
        assert_eq!(Calibration::of(8, &Sample::default(), &samples()), None);
    }

    #[test]
    fn medians() {
        let mut rounds = Rounds::default();
        assert_eq!(rounds.median_ns(), None);
        rounds.add(5, 0);
        assert_eq!(rounds.median_ns(), None);
        rounds.add(30, 10);
        assert_eq!(rounds.median_ns(), Some(3.0));
        rounds.add(1_000, 10);
        rounds.add(40, 10);
        assert_eq!(rounds.median_ns(), Some(4.0));
    }
}
