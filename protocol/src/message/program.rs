//! Programs, instances and calls.

use crate::limits::{OBJECTS_PER_INSTANCE_MAX, PROGRAMS_PER_REPLY_MAX};
use serde::{Deserialize, Serialize};

/// Begins an upload. One at a time on a connection; it is dropped with the connection or after 30 s
/// idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRequest<'a> {
    /// The program's name, at most [`NAME_BYTES_MAX`](crate::limits::NAME_BYTES_MAX) bytes.
    #[serde(borrow)]
    pub name: &'a str,
    /// Length of the image.
    pub total_bytes: u32,
    /// Its SHA-256.
    pub sha256: [u8; 32],
    /// Refuse it if any of its memory accesses would have to be checked when it runs.
    pub strict: bool,
}

/// A piece of the image, in the request's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadPieceRequest {
    /// Where in the image the piece begins: where the one before it ended.
    pub offset: u32,
}

/// The piece was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadReply {
    /// After the last piece: the id of the program. Before it: none.
    pub program: Option<u32>,
    /// What was proved of it; none before the last piece.
    pub proof: Option<Proof>,
}

/// What was proved of a program: how many of its memory accesses are of which sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Proved to stay inside their regions: they run without a check.
    pub proved: u32,
    /// Checked when they run.
    pub guarded: u32,
    /// Found never to run.
    pub unreached: u32,
}

/// Makes an instance of a program on this connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachRequest {
    /// The program.
    pub program: u32,
    /// The objects it may touch: its object 0, 1 …
    pub objects: heapless::Vec<u32, OBJECTS_PER_INSTANCE_MAX>,
    /// Instructions an invocation may spend; 0 for the agent's own default.
    pub instruction_budget: u64,
    /// Reads an invocation may spend; 0 for the agent's own default.
    pub read_budget: u32,
}

/// The instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachReply {
    /// Its id on this connection.
    pub instance: u32,
}

/// Ends an instance that no call is using; one that is in use is [`InUse`](crate::Status::InUse).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DetachRequest {
    /// The instance.
    pub instance: u32,
}

/// Runs an instance; the payload is its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRequest {
    /// The instance.
    pub instance: u32,
}

/// It ran; the payload is its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallReply {
    /// What the program returned: the length of the reply.
    pub result: i32,
    /// Instructions spent.
    pub instructions: u64,
    /// Reads done.
    pub reads: u32,
}

/// Forgets a program that has no instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnloadRequest {
    /// The program.
    pub program: u32,
}

/// Lists programs in order of id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramsRequest {
    /// Only those with a greater id; 0 for all.
    pub after: u32,
}

/// Some programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramsReply<'a> {
    /// In order of id.
    #[serde(borrow)]
    pub programs: heapless::Vec<ProgramSummary<'a>, PROGRAMS_PER_REPLY_MAX>,
    /// Whether there are more: ask again after the last id.
    pub more: bool,
}

/// A loaded program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramSummary<'a> {
    /// Its id, from 1.
    pub program: u32,
    /// Its name.
    pub name: &'a str,
    /// Length of its code in 8-byte slots.
    pub instructions: u32,
    /// Scratch memory of an invocation, bytes.
    pub scratch: u32,
    /// Most argument bytes.
    pub args_max: u32,
    /// Most reply bytes.
    pub reply_max: u32,
    /// Objects it needs.
    pub objects: u32,
    /// Instances attached now.
    pub instances: u32,
    /// Calls ended since it was loaded.
    pub calls: u64,
    /// The first bytes of the image's SHA-256.
    pub sha256_prefix: [u8; 8],
}
