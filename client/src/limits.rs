//! Limits and defaults of the client.

use std::time::Duration;

/// The agent's port where none is given.
pub const DEFAULT_PORT: u16 = 7117;

/// Where an agent is looked for if nothing is said.
pub const DEFAULT_AGENT: &str = "127.0.0.1:7117";

/// Time to wait for a connection.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time to wait for the agent to take or send anything at all: above the agent's own deadlines for
/// I/O, which end in a status.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Bytes asked of the transport at a time.
pub const RECEIVE_BYTES: usize = 128 * 1024;

/// Most requests that one large read or write is split into at a time.
pub const SPLIT_IN_FLIGHT_MAX: usize = 64;

/// Where long reads are cut: at multiples of the largest block that drives have, in bytes. The
/// agent reads whole blocks, so that a request that begins within one can ask for less.
pub const READ_CUT_BYTES: usize = 4096;

/// Largest block size believed.
pub const BLOCK_BYTES_MAX: u32 = 1 << 20;

/// Most programs an agent is believed to have.
pub const PROGRAMS_MAX: usize = 64 * 1024;

/// Most bytes of an ELF object given to the linker.
pub const OBJECT_BYTES_MAX: usize = 16 << 20;

/// Most sections with code that the linker joins.
pub const CODE_SECTIONS_MAX: usize = 256;

/// Most source lines kept of an object.
pub const SOURCE_LINES_MAX: usize = 16 * 1024;

/// Most bytes of the text of a source line, or of a file's name; longer ones are left out.
pub const SOURCE_TEXT_BYTES_MAX: usize = 1024;
