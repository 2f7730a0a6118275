//! Tristate numbers: 64 bits of which each is 0, 1 or unknown.
//!
//! The arithmetic is that of Vishwanathan et al., "Sound, Precise, and Fast Abstract
//! Interpretation with Tristate Numbers", 2022, which the Linux kernel uses too.

/// A number of which some bits are known.
///
/// A bit set in `mask` is unknown, and then clear in `value`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tnum {
    value: u64,
    mask: u64,
}

impl Tnum {
    /// Any number.
    pub const UNKNOWN: Tnum = Tnum {
        value: 0,
        mask: u64::MAX,
    };

    /// One number.
    #[must_use]
    pub const fn constant(value: u64) -> Tnum {
        Tnum { value, mask: 0 }
    }

    /// The known bits of `value`, those of `mask` being unknown.
    #[must_use]
    pub const fn new(value: u64, mask: u64) -> Tnum {
        Tnum {
            value: value & !mask,
            mask,
        }
    }

    /// The bits that all numbers from `min` to `max` have in common.
    #[must_use]
    pub const fn range(min: u64, max: u64) -> Tnum {
        let below = below_highest(min ^ max);
        Tnum::new(min, below)
    }

    /// The bits that are known to be 1; also the least number it can be.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.value
    }

    /// The bits that are unknown.
    #[must_use]
    pub const fn mask(self) -> u64 {
        self.mask
    }

    /// The greatest number it can be.
    #[must_use]
    pub const fn max(self) -> u64 {
        self.value | self.mask
    }

    /// True if it can be `number`.
    #[must_use]
    pub const fn contains(self, number: u64) -> bool {
        number & !self.mask == self.value
    }

    /// True if all that `other` can be, this can be.
    #[must_use]
    pub const fn includes(self, other: Tnum) -> bool {
        other.mask & !self.mask == 0 && self.contains(other.value)
    }

    /// What both allow; `None` if they contradict each other.
    #[must_use]
    pub const fn intersect(self, other: Tnum) -> Option<Tnum> {
        let both_known = !self.mask & !other.mask;
        if (self.value ^ other.value) & both_known != 0 {
            return None;
        }
        Some(Tnum::new(self.value | other.value, self.mask & other.mask))
    }

    /// What either allows.
    #[must_use]
    pub const fn join(self, other: Tnum) -> Tnum {
        let differs = self.value ^ other.value;
        Tnum::new(self.value, self.mask | other.mask | differs)
    }

    /// Sum.
    #[must_use]
    pub const fn add(self, other: Tnum) -> Tnum {
        let masks = self.mask.wrapping_add(other.mask);
        let values = self.value.wrapping_add(other.value);
        let carries = masks.wrapping_add(values) ^ values;
        Tnum::new(values, carries | self.mask | other.mask)
    }

    /// Difference.
    #[must_use]
    pub const fn sub(self, other: Tnum) -> Tnum {
        let values = self.value.wrapping_sub(other.value);
        let most = values.wrapping_add(self.mask);
        let least = values.wrapping_sub(other.mask);
        Tnum::new(values, (most ^ least) | self.mask | other.mask)
    }

    /// Product.
    #[must_use]
    pub const fn mul(self, other: Tnum) -> Tnum {
        let (mut a, mut b) = (self, other);
        let known = a.value.wrapping_mul(b.value);
        let mut unknown = Tnum::constant(0);
        while a.value | a.mask != 0 {
            if a.value & 1 != 0 {
                unknown = unknown.add(Tnum::new(0, b.mask));
            } else if a.mask & 1 != 0 {
                unknown = unknown.add(Tnum::new(0, b.value | b.mask));
            }
            a = a.shift_right(1);
            b = b.shift_left(1);
        }
        Tnum::constant(known).add(unknown)
    }

    /// Bits of both.
    #[must_use]
    pub const fn and(self, other: Tnum) -> Tnum {
        let value = self.value & other.value;
        Tnum::new(value, (self.max() & other.max()) & !value)
    }

    /// Bits of either.
    #[must_use]
    pub const fn or(self, other: Tnum) -> Tnum {
        let value = self.value | other.value;
        Tnum::new(value, (self.mask | other.mask) & !value)
    }

    /// Bits of one alone.
    #[must_use]
    pub const fn xor(self, other: Tnum) -> Tnum {
        Tnum::new(self.value ^ other.value, self.mask | other.mask)
    }

    /// Shifted left by `count` of 0 to 63.
    #[must_use]
    pub const fn shift_left(self, count: u32) -> Tnum {
        Tnum::new(
            self.value.wrapping_shl(count),
            self.mask.wrapping_shl(count),
        )
    }

    /// Shifted right by `count` of 0 to 63, zeros coming in.
    #[must_use]
    pub const fn shift_right(self, count: u32) -> Tnum {
        Tnum::new(
            self.value.wrapping_shr(count),
            self.mask.wrapping_shr(count),
        )
    }

    /// Shifted right by `count` of 0 to 63, copies of the sign coming in.
    #[must_use]
    pub const fn shift_right_signed(self, count: u32) -> Tnum {
        let value = (self.value as i64).wrapping_shr(count) as u64;
        let mask = (self.mask as i64).wrapping_shr(count) as u64;
        Tnum::new(value, mask)
    }

    /// The `bits` lowest bits (1 to 64), the others zero.
    #[must_use]
    pub const fn low(self, bits: u32) -> Tnum {
        let kept = u64::MAX.wrapping_shr(64 - bits);
        Tnum::new(self.value & kept, self.mask & kept)
    }

    /// The `bits` lowest bits (1 to 64), the highest of them copied upwards.
    #[must_use]
    pub const fn sign_extended(self, bits: u32) -> Tnum {
        let up = 64 - bits;
        self.shift_left(up).shift_right_signed(up)
    }

    /// The eight bytes in the other order.
    #[must_use]
    pub const fn swap_bytes(self) -> Tnum {
        Tnum::new(self.value.swap_bytes(), self.mask.swap_bytes())
    }

    /// A looser number that few further joins can loosen: what is unknown stays so from its lowest
    /// unknown bit upwards, so that only an alignment survives.
    #[must_use]
    pub const fn widened(self) -> Tnum {
        if self.mask == 0 {
            return self;
        }
        let lowest = self.mask & self.mask.wrapping_neg();
        Tnum::new(self.value, lowest.wrapping_neg())
    }
}

/// A mask of the highest bit that is set, and all below.
pub(super) const fn below_highest(number: u64) -> u64 {
    match number.leading_zeros() {
        64 => 0,
        zeros => u64::MAX >> zeros,
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// Every tristate number of four bits, the others zero, and each copied up by its sign too.
    fn small() -> Vec<Tnum> {
        let mut all = Vec::new();
        for mask in 0..16 {
            for value in 0..16 {
                if value & mask == 0 {
                    let number = Tnum::new(value, mask);
                    all.push(number);
                    all.push(number.sign_extended(4));
                }
            }
        }
        all
    }

    /// Members of a small one.
    fn members(number: Tnum) -> Vec<u64> {
        let low = (0..16).flat_map(|low: u64| [low, low | !15]);
        low.filter(|&it| number.contains(it)).collect()
    }

    #[test]
    fn operations_of_two_hold_all_results() {
        type Case = (fn(Tnum, Tnum) -> Tnum, fn(u64, u64) -> u64);
        let cases: [Case; 6] = [
            (Tnum::add, u64::wrapping_add),
            (Tnum::sub, u64::wrapping_sub),
            (Tnum::mul, u64::wrapping_mul),
            (Tnum::and, |a, b| a & b),
            (Tnum::or, |a, b| a | b),
            (Tnum::xor, |a, b| a ^ b),
        ];
        let all: Vec<_> = small().into_iter().map(|it| (it, members(it))).collect();
        for (a, of_a) in &all {
            for (b, of_b) in &all {
                for (number, (ours, exact)) in cases.iter().enumerate() {
                    let result = ours(*a, *b);
                    assert_eq!(result.value & result.mask, 0);
                    for &x in of_a {
                        for &y in of_b {
                            assert!(result.contains(exact(x, y)), "{number}: {a:?} {b:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn sets_behave_as_sets() {
        for a in small() {
            for b in small() {
                let (join, both) = (a.join(b), a.intersect(b));
                for x in (0..16).flat_map(|low: u64| [low, low | !15]) {
                    let (in_a, in_b) = (a.contains(x), b.contains(x));
                    assert!(join.contains(x) || !(in_a || in_b));
                    assert_eq!(both.is_some_and(|it| it.contains(x)), in_a && in_b);
                }
                let all_in = members(b).iter().all(|&x| a.contains(x));
                assert_eq!(a.includes(b), all_in, "{a:?} {b:?}");
                assert!(a.join(b).widened().includes(a));
            }
        }
    }

    #[test]
    fn a_range_has_its_common_bits() {
        for min in 0..64_u64 {
            for max in min..64 {
                let number = Tnum::range(min, max);
                assert!((min..=max).all(|it| number.contains(it)));
            }
        }
        assert_eq!(Tnum::range(8, 15), Tnum::new(8, 7));
        assert_eq!(Tnum::range(0, u64::MAX), Tnum::UNKNOWN);
        assert_eq!(Tnum::range(7, 7), Tnum::constant(7));
    }

    #[test]
    fn operations_of_one_hold_all_results() {
        for a in small() {
            for x in members(a) {
                for count in [0, 1, 3, 61, 63] {
                    assert!(a.shift_left(count).contains(x << count));
                    assert!(a.shift_right(count).contains(x >> count));
                    let signed = (x as i64 >> count) as u64;
                    assert!(a.shift_right_signed(count).contains(signed));
                }
                assert!(a.swap_bytes().contains(x.swap_bytes()));
                assert!(a.low(3).contains(x & 7));
                let signed = ((x << 61) as i64 >> 61) as u64;
                assert!(a.sign_extended(3).contains(signed));
                assert!(a.widened().contains(x));
            }
        }
    }
}
