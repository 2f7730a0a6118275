//! The real clock that worlds on this machine run by.

use std::time::Instant;

/// Time since this clock was made.
#[derive(Debug, Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now, at 0.
    #[must_use]
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Microseconds.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }

    /// Nanoseconds.
    #[must_use]
    pub fn now_ns(&self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}
