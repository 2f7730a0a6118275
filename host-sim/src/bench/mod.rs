//! Load generators and the rivals they are compared with.

pub mod rivals;
pub mod stacks;

/// Bytes of a request in the network benches.
pub const REQUEST_BYTES: usize = 64;

/// Bytes of a reply in the network benches.
pub const REPLY_BYTES: usize = 4096;
