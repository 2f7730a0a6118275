//! A keyed hash: what a peer must not be able to guess or to steer.
//!
//! Initial sequence numbers (RFC 6528), the places of connections in the table and the choice
//! of local ports all come from one seed by SipHash-2-4; what programs get as random numbers, from
//! another.

/// The key, spread from a seed of 64 bits.
#[derive(Clone, Copy)]
pub(crate) struct Secret {
    key: [u64; 2],
}

/// One step of SplitMix64, to spread a seed.
fn spread(seed: u64) -> u64 {
    let mut value = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

impl Secret {
    pub(crate) fn new(seed: u64) -> Self {
        let first = spread(seed);
        Self {
            key: [first, spread(first)],
        }
    }

    /// SipHash-2-4 of two words.
    pub(crate) fn hash(&self, first: u64, second: u64) -> u64 {
        let [k0, k1] = self.key;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        // The last word of SipHash holds the length in its top byte: sixteen bytes, no rest.
        for word in [first, second, 16 << 56] {
            v[3] ^= word;
            round(&mut v);
            round(&mut v);
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        for _ in 0..4 {
            round(&mut v);
        }
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sixteen-byte vector of the SipHash reference implementation (`vectors_sip64`).
    #[test]
    fn agrees_with_the_reference() {
        let key = |at: u8| u64::from_le_bytes(core::array::from_fn(|i| at + i as u8));
        let secret = Secret {
            key: [key(0), key(8)],
        };
        assert_eq!(
            secret.hash(key(0), key(8)).to_le_bytes(),
            [0xdb, 0x9b, 0xc2, 0x57, 0x7f, 0xcc, 0x2a, 0x3f]
        );
    }
}
