//! Numbers in bytes: little-endian 32-bit words, read and written by index.

/// Words over somebody's bytes. Beyond the end there are zeros, and writes go nowhere.
pub(super) struct Words<'m>(&'m mut [[u8; 4]]);

impl<'m> Words<'m> {
    /// The bytes as words; an incomplete one at the end is left out.
    pub(super) fn over(bytes: &'m mut [u8]) -> Words<'m> {
        Words(bytes.as_chunks_mut().0)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// One of them.
    #[inline]
    pub(super) fn get(&self, index: usize) -> u32 {
        self.0
            .get(index)
            .map_or(0, |&word| u32::from_le_bytes(word))
    }

    /// Sets one of them.
    #[inline]
    pub(super) fn set(&mut self, index: usize, value: u32) {
        if let Some(word) = self.0.get_mut(index) {
            *word = value.to_le_bytes();
        }
    }
}
