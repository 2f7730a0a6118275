//! Where choices come from: a seed, or the bytes of a fuzzer.

/// A source of choices.
pub trait Source {
    /// 64 bits.
    fn bits(&mut self) -> u64;

    /// A number below `end`; 0 if `end` is 0.
    fn below(&mut self, end: u32) -> u32;

    /// True in one of `of` cases.
    fn one_in(&mut self, of: u32) -> bool {
        self.below(of) == 1 % of.max(1)
    }

    /// One of several.
    ///
    /// # Panics
    /// There must be one.
    fn of<T: Copy>(&mut self, all: &[T]) -> T
    where
        Self: Sized,
    {
        all[self.below(all.len() as u32) as usize]
    }

    /// A number from `first` to `last`.
    fn between(&mut self, first: i32, last: i32) -> i32 {
        first + self.below((last - first + 1) as u32) as i32
    }

    /// A number that something may depend on: small as a rule, or at an edge.
    fn number(&mut self) -> i32 {
        match self.below(8) {
            0 => self.bits() as i32,
            1 => {
                const EDGES: [i32; 12] = [
                    i32::MIN,
                    i32::MAX,
                    -1,
                    31,
                    32,
                    63,
                    64,
                    255,
                    -256,
                    0x7fff,
                    0xffff,
                    i32::MIN + 1,
                ];
                EDGES[self.below(EDGES.len() as u32) as usize]
            }
            2 => -(self.below(40) as i32),
            _ => self.below(72) as i32,
        }
    }

    /// The same for 64 bits.
    fn wide_number(&mut self) -> u64 {
        match self.below(6) {
            0 => self.bits(),
            1 => 1 << self.below(64),
            2 => (1_u64 << self.below(64)).wrapping_sub(1),
            3 => u64::from(self.below(23)) << 32 | u64::from(self.below(300)),
            _ => i64::from(self.number()) as u64,
        }
    }
}

/// `SplitMix64`: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Source for Chance {
    #[inline]
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    #[inline]
    fn below(&mut self, end: u32) -> u32 {
        (((self.bits() >> 32) * u64::from(end)) >> 32) as u32
    }
}

/// The output function of `SplitMix64`: every bit depends on every bit.
#[inline]
#[must_use]
pub const fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Bytes that somebody else chose; zeros when they have run out.
#[derive(Clone, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    fn take(&mut self, count: usize) -> u64 {
        let (now, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        now.iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte))
    }
}

impl Source for Bytes<'_> {
    fn bits(&mut self) -> u64 {
        self.take(8)
    }

    fn below(&mut self, end: u32) -> u32 {
        let bytes = match end {
            0..=0x100 => 1,
            0x101..=0x1_0000 => 2,
            _ => 4,
        };
        (self.take(bytes) % u64::from(end.max(1))) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_their_end() {
        let mut chance = Chance(1);
        for end in [1, 2, 3, 7, 1000, u32::MAX] {
            assert!((0..1000).all(|_| chance.below(end) < end));
        }
        assert_eq!(chance.below(0), 0);
    }

    #[test]
    fn bytes_run_out_into_zeros() {
        let mut bytes = Bytes(&[7, 1, 2, 0xff]);
        assert_eq!((bytes.below(5), bytes.below(1000)), (2, 0x201));
        assert_eq!((bytes.bits(), bytes.bits(), bytes.below(9)), (0xff, 0, 0));
    }

    /// The first outputs of the published generator for seed 0.
    #[test]
    fn it_is_split_mix() {
        let mut chance = Chance(0);
        let first = [chance.bits(), chance.bits()];
        assert_eq!(first, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }
}
