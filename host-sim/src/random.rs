//! A small seeded generator (SplitMix64) for choosing keys and making up rows.
//!
//! Not for secrets. The same seed gives the same sequence on every machine and in every version.

/// 64 bits that nobody can guess, from the operating system.
///
/// # Panics
///
/// If the system has none, which it says only before it has started.
#[must_use]
pub fn entropy() -> u64 {
    let mut bytes = [0; 8];
    let got = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    assert_eq!(got, Ok(bytes.len()), "the system gives no random bytes");
    u64::from_le_bytes(bytes)
}

/// What is drawn for a machine. Some of it everybody is told, or can compute from what is told: the drive
/// epoch follows from the boot's nonce, a program's random numbers from theirs. Some must not be
/// guessed: TCP's sequence numbers, and where keys of maps lie. So none follows from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seeds {
    /// Of the agent's network stack.
    pub network: u64,
    /// Of the client's in the same process.
    pub far_network: u64,
    /// Told with the drive epoch.
    pub boot_nonce: u64,
    /// Of programs' random numbers.
    pub programs: u64,
    /// Of the hash functions of maps.
    pub maps: u64,
}

impl Seeds {
    /// Those of a machine that strangers may reach.
    ///
    /// # Panics
    ///
    /// As [`entropy`].
    #[must_use]
    pub fn draw() -> Seeds {
        Seeds {
            network: entropy(),
            far_network: entropy(),
            boot_nonce: entropy(),
            programs: entropy(),
            maps: entropy(),
        }
    }

    /// The same for the same number: for tests and benches, which nobody attacks.
    #[must_use]
    pub const fn fixed(seed: u64) -> Seeds {
        Seeds {
            network: seed ^ 0x6e65_6172,
            far_network: seed ^ 0x0066_6172,
            boot_nonce: seed,
            programs: seed,
            maps: !seed,
        }
    }
}

/// A generator in some state.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// A generator for `seed`; any value will do.
    pub fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, evenly enough for choosing keys; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included; `low` if they are the wrong way round.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        match (high.wrapping_sub(low) as u64).checked_add(1) {
            _ if high <= low => low,
            Some(span) => low.wrapping_add(self.below(span) as i64),
            None => self.next_u64() as i64,
        }
    }

    /// Puts `items` in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn seeds_repeat_and_differ() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            [random.next_u64(), random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        // The published first output of SplitMix64 for seed 0.
        assert_eq!(draw(0)[0], 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut random = Random::new(1);
        assert_eq!(random.below(0), 0);
        assert_eq!(random.between(5, 5), 5);
        assert_eq!(random.between(5, 4), 5);
        for _ in 0..1000 {
            assert!(random.below(3) < 3);
            assert!((-2..=2).contains(&random.between(-2, 2)));
            random.between(i64::MIN, i64::MAX);
        }
    }

    #[test]
    fn a_shuffle_keeps_the_items() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(3).shuffle(&mut items);
        assert_ne!(items, (0..100).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<_>>());
    }
}
