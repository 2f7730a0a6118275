//! The deadlines of a driver.

/// Deadlines and intervals, in microseconds, and the seed of the command ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverConfig {
    /// From submission until a command is aborted.
    pub io_deadline_us: u64,
    /// From an Abort until the controller is reset.
    pub abort_deadline_us: u64,
    /// For each admin command.
    pub admin_deadline_us: u64,
    /// For an orderly shutdown, when the controller names no latency of its own (RTD3E).
    pub shutdown_deadline_us: u64,
    /// How often a register that is waited for is read.
    pub register_poll_us: u64,
    /// How often the controller's status is read while commands are in flight.
    pub watch_us: u64,
    /// How often status and asynchronous events are looked at while idle.
    pub idle_watch_us: u64,
    /// How often the SMART log is read while the driver runs.
    pub health_us: u64,
    /// Where command sequence numbers start, so that those of an earlier run are not met again.
    pub nonce: u64,
}

impl Default for DriverConfig {
    fn default() -> Self {
        DriverConfig {
            io_deadline_us: 8_000_000,
            abort_deadline_us: 2_000_000,
            admin_deadline_us: 5_000_000,
            shutdown_deadline_us: 10_000_000,
            register_poll_us: 100,
            watch_us: 100_000,
            idle_watch_us: 1_000_000,
            health_us: 10_000_000,
            nonce: 0,
        }
    }
}
