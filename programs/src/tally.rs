//! The caller's half of `tally.c`: its arguments and its reply.

/// Keys that an instance can count.
pub const KEYS_MAX: u64 = 100;

/// Amounts below these are of the first size, the second and so on; all others of the last.
pub const BELOW: [u64; 4] = [10, 100, 1000, 10_000];

/// The first ticket of an instance.
pub const FIRST_TICKET: u64 = 1000;

/// Arguments of `tally`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TallyArgs {
    /// What to count for.
    pub key: u64,
    /// What to add.
    pub amount: u64,
}

impl TallyArgs {
    /// The arguments as the program takes them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.key.to_le_bytes());
        bytes[8..].copy_from_slice(&self.amount.to_le_bytes());
        bytes
    }
}

/// What `tally` answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TallyReply {
    /// Sum of the key's amounts, wrapping.
    pub total: u64,
    /// How often the key came.
    pub times: u64,
    /// A number that no other call of the instance got.
    pub ticket: u64,
    /// Which size the amount is of, by [`BELOW`].
    pub size: u32,
    /// Calls counted so far.
    pub calls: u32,
}

impl TallyReply {
    /// Reads the reply; `None` if it is not one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<TallyReply> {
        let bytes: &[u8; 32] = bytes.try_into().ok()?;
        let (words, _) = bytes.as_chunks::<8>();
        let word = |at: usize| u64::from_le_bytes(words[at]);
        Some(TallyReply {
            total: word(0),
            times: word(1),
            ticket: word(2),
            size: word(3) as u32,
            calls: (word(3) >> 32) as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_another_length_is_none() {
        assert_eq!(TallyReply::from_bytes(&[0; 31]), None);
        assert_eq!(
            TallyReply::from_bytes(&[0; 32]),
            Some(TallyReply::default())
        );
    }
}
