//! Load generators and the rivals they are compared with.

use std::io;

pub mod bare_smoltcp;
pub mod block;
pub mod engine;
pub mod kernel_sockets;
mod race;
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

/// Why there is no result of a race.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A contestant cannot be made, or failed.
    #[error("{0}")]
    World(String),
    /// Printing failed.
    #[error("cannot print the result: {0}")]
    Print(#[from] io::Error),
}
