//! The caller's half of `chase.c`: its arguments, its reply, and chains to follow.

/// Largest cell that the program reads, in bytes.
pub const STRIDE_BYTES_MAX: u32 = 4096;

/// Arguments of `chase`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChaseArgs {
    /// Byte offset of the first cell in the object.
    pub start: u64,
    /// How many cells to read; 0 measures the call alone.
    pub hops: u32,
    /// Bytes of a cell, 8 to [`STRIDE_BYTES_MAX`].
    pub stride: u32,
}

impl ChaseArgs {
    /// The arguments as the program takes them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.start.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.hops.to_le_bytes());
        bytes[12..].copy_from_slice(&self.stride.to_le_bytes());
        bytes
    }
}

/// What `chase` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChaseReply {
    /// Where the chain stands after the last hop: a byte offset.
    pub offset: u64,
    /// Sum of all offsets read, wrapping.
    pub sum: u64,
}

impl ChaseReply {
    /// Reads the reply; `None` if it is not one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<ChaseReply> {
        let (offset, sum) = bytes.split_first_chunk::<8>()?;
        Some(ChaseReply {
            offset: u64::from_le_bytes(*offset),
            sum: u64::from_le_bytes(*sum.as_array()?),
        })
    }
}

/// An object of `cells` cells of `stride` bytes whose chain, from any cell, visits all of them in
/// random order before it repeats. Which order depends on `seed` alone.
///
/// # Panics
/// If there is no cell, or `stride` is below 8.
#[must_use]
pub fn build(cells: u32, stride: u32, seed: u64) -> Vec<u8> {
    assert!(
        cells > 0 && stride >= 8,
        "a chain has cells, and a cell holds an offset"
    );
    let mut next: Vec<u32> = (0..cells).collect();
    let mut random = seed;
    // Sattolo's shuffle: the one that makes a single cycle.
    for last in (1..cells as usize).rev() {
        let other = split_mix(&mut random) % last as u64;
        next.swap(last, other as usize);
    }
    let mut bytes = vec![0; cells as usize * stride as usize];
    for (cell, &to) in bytes.chunks_exact_mut(stride as usize).zip(&next) {
        cell[..8].copy_from_slice(&(u64::from(to) * u64::from(stride)).to_le_bytes());
    }
    bytes
}

/// The SplitMix64 generator.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut value = *state;
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_one_cycle() {
        for cells in [1, 2, 3, 1000] {
            let bytes = build(cells, 24, 7);
            let mut at = 0_u64;
            for hop in 1..=cells {
                let cell = bytes[at as usize..].first_chunk().unwrap();
                at = u64::from_le_bytes(*cell);
                assert_eq!(at == 0, hop == cells, "{cells} cells, hop {hop}");
            }
        }
    }

    #[test]
    fn a_reply_of_another_length_is_none() {
        assert_eq!(ChaseReply::from_bytes(&[1; 15]), None);
        assert_eq!(
            ChaseReply::from_bytes(&[0; 16]),
            Some(ChaseReply { offset: 0, sum: 0 })
        );
    }
}
