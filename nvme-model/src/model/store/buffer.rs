//! A job's buffer: bytes that begin at a multiple of 4096, as `O_DIRECT` asks for.

use core::ops::{Deref, DerefMut};
use std::vec::Vec;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::seam::PAGE_BYTES;

/// More than any file system asks of memory that its device reads or writes (`open(2)`, `statx(2)`).
#[derive(Clone, Copy, Debug, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C, align(4096))]
struct Piece([u8; PAGE_BYTES]);

/// Bytes on the heap that keep their place while the buffer moves.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    pieces: Vec<Piece>,
    len: usize,
}

impl Buffer {
    /// Makes it `len` bytes long. What they are is not said: any that it held before, or zeroes.
    pub(super) fn resize(&mut self, len: usize) {
        let pieces = len.div_ceil(PAGE_BYTES);
        if pieces > self.pieces.len() {
            self.pieces.resize(pieces, Piece([0; PAGE_BYTES]));
        }
        self.len = len;
    }

    /// Whether it has memory worth keeping.
    pub(super) const fn has_memory(&self) -> bool {
        self.pieces.capacity() > 0
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.pieces.as_bytes()[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.pieces.as_mut_bytes()[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_begin_at_a_multiple_of_a_page() {
        let mut buffer = Buffer::default();
        assert!(buffer.is_empty() && !buffer.has_memory());
        for len in [1, PAGE_BYTES, 3 * PAGE_BYTES + 5, 17, 0] {
            buffer.resize(len);
            assert_eq!(buffer.len(), len);
            assert_eq!(buffer.as_ptr().addr() % PAGE_BYTES, 0);
        }
        assert!(buffer.has_memory());
    }
}
