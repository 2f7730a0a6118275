//! Limits of the software controller.

/// I/O queue pairs a controller can have: with the admin pair, their doorbells fit a 128-bit set.
pub const QUEUES_MAX: u16 = 63;

/// Entries of the largest queue (CAP.MQES + 1).
pub const QUEUE_ENTRIES_MAX: u16 = 4096;

/// Commands fetched and not completed, over all queues.
pub const COMMANDS_MAX: usize = 4096;

/// Commands fetched in one step.
pub const COMMANDS_PER_STEP: usize = 128;

/// Store completions taken in one step, for each namespace.
pub const COMPLETIONS_PER_STEP: usize = 128;

/// Commands taken from one submission queue before the next has its turn.
pub const ARBITRATION_BURST: usize = 16;

/// Asynchronous Event Requests outstanding (AERL + 1).
pub const EVENT_REQUESTS_MAX: usize = 4;

/// Events waiting for a request or for their log to be read; more are dropped, as each says the same.
pub const EVENTS_MAX: usize = 16;

/// Entries of the Error Information log (ELPE + 1).
pub const ERROR_LOG_ENTRIES: usize = 64;

/// Abort commands outstanding (ACL + 1). They are answered in the step that fetches them.
pub const ABORTS_MAX: u8 = 8;

/// Largest MDTS a configuration may ask for: 4 MiB.
pub const TRANSFER_SHIFT_MAX: u8 = 10;

/// Namespaces of one controller.
pub const NAMESPACES_MAX: usize = 64;

/// Interrupt vectors; they are accepted and never raised, as the driver polls.
pub const VECTORS: u16 = 64;
