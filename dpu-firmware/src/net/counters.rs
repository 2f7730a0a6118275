//! What a stack counts.

use super::shard::Sent;

/// Counts since the stack was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetCounters {
    /// Packets or frames taken from the device.
    pub packets_received: u64,
    /// Packets or frames given to the device.
    pub packets_sent: u64,
    /// Packets not for us, damaged in their lengths, or fragments.
    pub packets_ignored: u64,
    /// Packets for us that belong to no connection.
    pub packets_stray: u64,
    /// Immediate answers lost because the device had no slot.
    pub replies_lost: u64,
    /// SYNs dropped because no slot was to be had.
    pub opens_dropped: u64,
    /// Slots taken from TIME-WAIT or from a half-open connection.
    pub slots_recycled: u64,
    /// Connections accepted.
    pub connections_accepted: u64,
    /// Connections opened by `connect`, whether or not the peer answered.
    pub connections_opened: u64,
}

impl NetCounters {
    pub(super) fn count(&mut self, sent: Sent) {
        self.packets_sent += u64::from(sent.packets);
        self.replies_lost += u64::from(sent.lost);
    }
}
