//! What the demonstration needs of a world: operations in flight on lanes, and a clock.
//!
//! A *lane* is a place for one operation in flight: the driver submits to a lane only when
//! nothing is under way there. How lanes share connections is the world's affair.

/// Why an operation gave no bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The program returned a negative number: an errno.
    #[error("the program returned errno {0}")]
    Errno(i32),
    /// The agent, or the connection, said no; in a sentence.
    #[error("{0}")]
    Refused(String),
}

/// An operation that has ended.
#[derive(Clone, Debug)]
pub struct Done<'w> {
    /// The lane it was submitted to, which is free again.
    pub lane: usize,
    /// The bytes read, or the program's reply.
    pub result: Result<&'w [u8], Failure>,
    /// What the agent's meter counted for a call; 0 for all else.
    pub instructions: u64,
}

/// Bytes that crossed the wire since the world began: whole packets, in both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounters {
    /// From the client to the agent.
    pub bytes_to_agent: u64,
    /// From the agent to the client.
    pub bytes_to_client: u64,
}

impl WireCounters {
    /// Bytes in both directions.
    pub fn bytes(&self) -> u64 {
        self.bytes_to_agent.saturating_add(self.bytes_to_client)
    }
}

/// An agent with a drive, and the network to it.
pub trait World {
    /// Nanoseconds since some fixed moment. One reading a turn is enough.
    fn now_ns(&self) -> u64;

    /// Reads from the database's object. `offset` and `length` are multiples of its block size.
    fn submit_read(&mut self, lane: usize, offset: u64, length: u32);

    /// Calls `sqlite_get` on the database.
    fn submit_call(&mut self, lane: usize, args: &[u8]);

    /// Asks the agent for the least that it can answer, without drive and without program.
    fn submit_ping(&mut self, lane: usize);

    /// Turns the world until an operation ends. Called only while one is in flight.
    ///
    /// It must return within a deadline: an operation that does not end by itself is a
    /// [`Failure::Refused`].
    fn next_done(&mut self) -> Done<'_>;

    /// Runs `sqlite_get` once outside the agent, its reads answered at once, and says how long the
    /// program itself took, in nanoseconds.
    fn execute_ns(&mut self, args: &[u8]) -> Result<u64, Failure>;

    /// Makes these reads (offset and length, in bytes, whole blocks) outside the agent, so many at a
    /// time, and says how long all of them took together, in nanoseconds.
    fn reads_ns(&mut self, reads: &[(u64, u32)], in_flight: usize) -> Result<u64, Failure>;

    /// What crossed the wire so far.
    fn wire_counters(&self) -> WireCounters;
}
