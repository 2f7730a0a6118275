//! What a driver has counted since it was made.

/// Counts; they rise only, and survive resets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Operations accepted.
    pub submitted: u64,
    /// Operations handed back, whatever their result.
    pub completed: u64,
    /// Operations handed back with an error.
    pub failed: u64,
    /// Operations issued again after a reset.
    pub reissued: u64,
    /// Completions for a command that has ended, or was issued again under another id.
    pub stale_completions: u64,
    /// Completions for a command that cannot exist: a slot beyond the queue, or another queue's id.
    pub unknown_completions: u64,
    /// Completions whose submission queue head lies where the queue has no commands.
    pub bad_queue_heads: u64,
    /// Operations that missed their deadline.
    pub timeouts: u64,
    /// Abort commands sent.
    pub aborts: u64,
    /// Controller resets, the first start not counted.
    pub resets: u64,
    /// Pages that a lost device may still write to, and that were therefore not handed back with
    /// their operation.
    pub pages_quarantined: u64,
    /// Asynchronous events reported by the controller.
    pub asynchronous_events: u64,
    /// SMART logs read while running.
    pub health_reads: u64,
    /// Resets from outside after which the driver started anew.
    pub outside_resets: u64,
    /// Namespaces left alone: with metadata, an odd block size, empty, or too many.
    pub namespaces_skipped: u64,
    /// Submission queue doorbells rung.
    pub submission_doorbells: u64,
    /// Completion queue doorbells rung.
    pub completion_doorbells: u64,
}
