//! Load generators and the rivals they are compared with.

pub mod bare_smoltcp;
pub mod engine;
pub mod kernel_sockets;
pub mod served;
pub mod source;
pub mod wire_race;

/// Bytes of a request in the network benches.
pub const REQUEST_BYTES: usize = 64;

/// Bytes that replies come from, in the agent's drive and in the rivals alike: more than any
/// cache holds, so that nobody serves the same warm page again and again.
pub const SOURCE_BYTES: usize = 256 << 20;

/// Bytes of a reply in the network benches.
pub const REPLY_BYTES: usize = 4096;
