//! Bytes waiting to be sent.

/// A queue of bytes with one buffer, whose sent part is dropped when that is cheap.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    buffer: Vec<u8>,
    sent: usize,
}

impl Outgoing {
    /// Sent bytes are kept in front of the others up to this many.
    const SENT_KEPT_BYTES_MAX: usize = 256 * 1024;

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.sent..).unwrap_or_default()
    }

    pub(super) fn advance(&mut self, n: usize) {
        self.sent = self.sent.saturating_add(n).min(self.buffer.len());
        if self.sent == self.buffer.len() {
            self.clear();
        } else if self.sent > Self::SENT_KEPT_BYTES_MAX {
            self.buffer.drain(..self.sent);
            self.sent = 0;
        }
    }

    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        self.sent = 0;
    }
}
