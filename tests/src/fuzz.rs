//! The bodies of the fuzz targets that need a whole agent.
//!
//! `session` takes its input for a script (see [`script`]): bytes and whole frames on several
//! connections, pauses, ends of connections, faults of the drive. The machine runs in virtual time,
//! so an input does the same each time, on any host.

mod harness;
pub mod record;
pub mod script;

/// Plays a script to a new agent, then holds the agent to its promises: nothing panics, time
/// never stands still, every well-formed request was answered once or its connection closed, no
/// buffer is lost once the clients are gone, and a client that keeps the rules is served right.
///
/// # Panics
///
/// If a promise is broken.
pub fn session(script: &[u8]) {
    harness::Harness::new().play(script);
}

/// The bytes that a script sends on each of its connections, for playing it to an agent over a
/// real network; its pauses, ends of connections and faults are left out.
pub fn bytes_sent(script: &[u8]) -> [Vec<u8>; script::CONNECTIONS as usize] {
    harness::bytes_sent(script)
}
