//! The caller's half of `crc_cache.c`: its arguments and its reply.

/// Bytes of a block.
pub const BLOCK_BYTES: usize = 4096;

/// Blocks that an instance remembers.
pub const REMEMBERED: u64 = 64;

/// Arguments of `crc_cache`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrcCacheArgs {
    /// Byte offset of the block in the object.
    pub offset: u64,
    /// Of its contents: what is remembered of another version does not count.
    pub version: u32,
}

impl CrcCacheArgs {
    /// The arguments as the program takes them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.offset.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.version.to_le_bytes());
        bytes
    }
}

/// What `crc_cache` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrcCacheReply {
    /// CRC-32C of the block.
    pub crc: u32,
    /// Whether it was remembered.
    pub was_there: bool,
    /// How often that was so, for the instance.
    pub hits: u32,
    /// How often it was not.
    pub misses: u32,
}

impl CrcCacheReply {
    /// Reads the reply; `None` if it is not one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<CrcCacheReply> {
        let bytes: &[u8; 16] = bytes.try_into().ok()?;
        let (words, _) = bytes.as_chunks::<4>();
        let word = |at: usize| u32::from_le_bytes(words[at]);
        Some(CrcCacheReply {
            crc: word(0),
            was_there: word(1) == 1,
            hits: word(2),
            misses: word(3),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_another_length_is_none() {
        assert_eq!(CrcCacheReply::from_bytes(&[0; 15]), None);
        assert_eq!(
            CrcCacheReply::from_bytes(&[0; 16]),
            Some(CrcCacheReply::default())
        );
    }
}
