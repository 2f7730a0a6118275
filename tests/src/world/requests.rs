//! Requests that nearly every test makes, in a line each.

use protocol::message::{OpenRequest, ReadRequest};

/// An Open of a namespace from `offset` on, to its end where no length is given.
#[must_use]
pub const fn open_of(namespace: u32, offset: u64, length: Option<u64>) -> OpenRequest {
    OpenRequest {
        namespace,
        offset,
        length,
    }
}

/// A Read of `length` bytes at `offset` of an object.
#[must_use]
pub const fn read_of(object: u32, offset: u64, length: u32) -> ReadRequest {
    ReadRequest {
        object,
        offset,
        length,
    }
}
