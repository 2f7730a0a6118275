//! Objects, reads, writes, flushes, cancel.

use serde::{Deserialize, Serialize};

/// Makes an object of a range of a namespace. It lives as long as the connection, or until Close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRequest {
    /// NVMe namespace id, from 1.
    pub namespace: u32,
    /// Where the object begins; a multiple of the block size.
    pub offset: u64,
    /// Its length, a multiple of the block size; `None` for all up to the namespace's end.
    pub length: Option<u64>,
}

/// The object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenReply {
    /// Its id on this connection.
    pub object: u32,
    /// Its length.
    pub length: u64,
    /// The namespace's block size: offsets and lengths of Writes are multiples of it, and Reads of
    /// whole blocks are fastest.
    pub block_bytes: u32,
}

/// Forgets an object. Programs of instances attached to it find it gone (−EBADF).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseRequest {
    /// The object.
    pub object: u32,
}

/// Reads; the reply's payload is the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadRequest {
    /// The object.
    pub object: u32,
    /// Offset in the object, any.
    pub offset: u64,
    /// How much. The blocks that cover it are at most the hello's `io_bytes_max` bytes.
    pub length: u32,
}

/// Writes the request's payload, whose length is a multiple of the block size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteRequest {
    /// The object.
    pub object: u32,
    /// Offset in the object; a multiple of the block size.
    pub offset: u64,
}

/// The write was done; it is durable after a Flush with the same epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteReply {
    /// The drive's epoch at the write.
    pub drive_epoch: u64,
}

/// Makes durable every write to the object's namespace that was acknowledged before this came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushRequest {
    /// The object.
    pub object: u32,
}

/// They are durable, if they were made in this epoch; if it differs from theirs, they may be gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlushReply {
    /// The drive's epoch at the flush.
    pub drive_epoch: u64,
}

/// Cancels a request. The target gets its one final reply, its result or `Cancelled`; this has
/// none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// The id of the request to cancel.
    pub request: u64,
}
