//! A histogram of latencies.
//!
//! By `hdrhistogram`: fixed memory whatever the number of samples, a few nanoseconds for each, and
//! percentiles within a thousandth of the truth. A sorted vector is exact, but eight bytes a
//! sample are 80 MB after ten seconds of a bench at a million operations a second.

use hdrhistogram::Histogram;

/// Longest latency told apart from longer ones: ten minutes, in nanoseconds.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Significant decimal digits kept.
const DIGITS: u8 = 3;

/// Latencies, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

impl Default for Latencies {
    fn default() -> Self {
        Latencies::new()
    }
}

impl Latencies {
    /// No samples yet.
    ///
    /// # Panics
    ///
    /// Never: the bounds are constants that `hdrhistogram` takes.
    pub fn new() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS);
        Latencies {
            histogram: histogram.expect("constant bounds are valid"),
        }
    }

    /// Adds a sample; one over ten minutes counts as ten minutes.
    pub fn record(&mut self, latency_ns: u64) {
        self.histogram.saturating_record(latency_ns);
    }

    /// Adds all samples of another histogram.
    pub fn merge(&mut self, other: &Latencies) {
        // Fails only if the bounds differed.
        let merged = self.histogram.add(&other.histogram);
        debug_assert!(merged.is_ok());
    }

    /// Samples.
    pub fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.histogram.is_empty()
    }

    /// What `percent` of the samples do not exceed, in microseconds; 0 without samples.
    pub fn percentile_us(&self, percent: f64) -> f64 {
        if self.is_empty() {
            return 0.0;
        }
        self.histogram.value_at_percentile(percent) as f64 / 1000.0
    }

    /// The median, in microseconds.
    pub fn p50_us(&self) -> f64 {
        self.percentile_us(50.0)
    }

    /// The 99th percentile, in microseconds.
    pub fn p99_us(&self) -> f64 {
        self.percentile_us(99.0)
    }

    /// The mean, in microseconds; 0 without samples.
    pub fn mean_us(&self) -> f64 {
        if self.is_empty() {
            0.0
        } else {
            self.histogram.mean() / 1000.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let mut latencies = Latencies::new();
        assert_eq!((latencies.p50_us(), latencies.mean_us()), (0.0, 0.0));
        for us in 1..=1000u64 {
            latencies.record(us * 1000);
        }
        let near = |got: f64, wanted: f64| (got - wanted).abs() <= wanted / 500.0;
        assert!(near(latencies.p50_us(), 500.0), "{}", latencies.p50_us());
        assert!(near(latencies.p99_us(), 990.0), "{}", latencies.p99_us());
        assert!(near(latencies.mean_us(), 500.5), "{}", latencies.mean_us());
        let mut other = Latencies::new();
        other.record(u64::MAX);
        other.record(0);
        other.merge(&latencies);
        assert_eq!(other.len(), 1002);
        assert!(near(
            other.percentile_us(100.0),
            LATENCY_NS_MAX as f64 / 1000.0
        ));
    }
}
