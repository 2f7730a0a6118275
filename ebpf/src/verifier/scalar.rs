//! What can be known of a number in a register: its bits and its ranges.

use core::fmt;

use super::span::Span;
use super::tnum::Tnum;

/// A set of 64-bit numbers that is never empty: those that meet every one of five descriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scalar {
    pub(super) bits: Tnum,
    pub(super) unsigned: Span<u64>,
    pub(super) signed: Span<i64>,
    /// Of the lower half.
    pub(super) unsigned32: Span<u32>,
    /// Of the lower half.
    pub(super) signed32: Span<i32>,
}

impl Scalar {
    /// Any number.
    pub const UNKNOWN: Scalar = Scalar {
        bits: Tnum::UNKNOWN,
        unsigned: Span::<u64>::ALL,
        signed: Span::<i64>::ALL,
        unsigned32: Span::<u32>::ALL,
        signed32: Span::<i32>::ALL,
    };

    /// One number.
    #[must_use]
    pub const fn constant(number: u64) -> Scalar {
        Scalar {
            bits: Tnum::constant(number),
            unsigned: Span::new(number, number),
            signed: Span::new(number as i64, number as i64),
            unsigned32: Span::new(number as u32, number as u32),
            signed32: Span::new(number as i32, number as i32),
        }
    }

    /// The numbers from `min` to `max`; any number if that is none.
    #[must_use]
    pub fn range(min: u64, max: u64) -> Scalar {
        let unsigned = Span::new(min, max);
        let all = Scalar::UNKNOWN;
        Scalar { unsigned, ..all }.tightened().unwrap_or(all)
    }

    /// The numbers from `min` to `max`; any number if that is none.
    #[must_use]
    pub fn signed_range(min: i64, max: i64) -> Scalar {
        let signed = Span::new(min, max);
        let all = Scalar::UNKNOWN;
        Scalar { signed, ..all }.tightened().unwrap_or(all)
    }

    /// The numbers with these bits.
    #[must_use]
    pub fn with_bits(bits: Tnum) -> Scalar {
        let all = Scalar::UNKNOWN;
        Scalar { bits, ..all }.tightened().unwrap_or(all)
    }

    /// Its known bits.
    #[must_use]
    pub const fn bits(&self) -> Tnum {
        self.bits
    }

    /// Its range as unsigned numbers.
    #[must_use]
    pub const fn unsigned(&self) -> Span<u64> {
        self.unsigned
    }

    /// Its range as signed numbers.
    #[must_use]
    pub const fn signed(&self) -> Span<i64> {
        self.signed
    }

    /// The unsigned range of its lower half.
    #[must_use]
    pub const fn unsigned32(&self) -> Span<u32> {
        self.unsigned32
    }

    /// The signed range of its lower half.
    #[must_use]
    pub const fn signed32(&self) -> Span<i32> {
        self.signed32
    }

    /// The number, if there is one only.
    #[must_use]
    pub fn single(&self) -> Option<u64> {
        self.unsigned.single()
    }

    /// True if it can be `number`.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        self.bits.contains(number)
            && self.unsigned.contains(number)
            && self.signed.contains(number as i64)
            && self.unsigned32.contains(number as u32)
            && self.signed32.contains(number as i32)
    }

    /// True if the upper half is known to be zero.
    #[must_use]
    pub fn fits_32(&self) -> bool {
        self.unsigned.max <= u64::from(u32::MAX)
    }

    /// True if this is known to allow all that `other` does. (Two descriptions of one set may
    /// differ, so `false` says nothing.)
    #[must_use]
    pub fn includes(&self, other: &Scalar) -> bool {
        self.bits.includes(other.bits)
            && self.unsigned.includes(other.unsigned)
            && self.signed.includes(other.signed)
            && self.unsigned32.includes(other.unsigned32)
            && self.signed32.includes(other.signed32)
    }

    /// What either allows.
    #[must_use]
    pub fn join(&self, other: &Scalar) -> Scalar {
        Scalar {
            bits: self.bits.join(other.bits),
            unsigned: self.unsigned.join(other.unsigned),
            signed: self.signed.join(other.signed),
            unsigned32: self.unsigned32.join(other.unsigned32),
            signed32: self.signed32.join(other.signed32),
        }
    }

    /// What both allow; `None` if there is no such number.
    #[must_use]
    pub fn intersect(&self, other: &Scalar) -> Option<Scalar> {
        Scalar {
            bits: self.bits.intersect(other.bits)?,
            unsigned: self.unsigned.intersect(other.unsigned),
            signed: self.signed.intersect(other.signed),
            unsigned32: self.unsigned32.intersect(other.unsigned32),
            signed32: self.signed32.intersect(other.signed32),
        }
        .tightened()
    }

    /// Something that allows both what this does and what `next` does, reached in few steps
    /// whatever follows: a bound that gives way goes to the next of `thresholds` (rising), or all
    /// the way where there is none.
    #[must_use]
    pub fn widen(&self, next: &Scalar, thresholds: &[i64]) -> Scalar {
        let joined = self.join(next);
        let bits = if joined.bits == self.bits {
            self.bits
        } else {
            joined.bits.widened()
        };
        Scalar {
            bits,
            unsigned: widen_unsigned(self.unsigned, joined.unsigned, thresholds),
            signed: widen_signed(self.signed, joined.signed, thresholds),
            unsigned32: widen_part(self.unsigned32, joined.unsigned32, Span::<u32>::ALL),
            signed32: widen_part(self.signed32, joined.signed32, Span::<i32>::ALL),
        }
    }

    /// Lets each description tighten the others; `None` if they exclude each other, so that no
    /// number is left.
    #[must_use]
    pub fn tightened(mut self) -> Option<Scalar> {
        // What one description gains can be news to another; two rounds get nearly all there is.
        for _ in 0..2 {
            self.tighten_by_bits();
            self.tighten_signs();
            self.tighten_halves();
            self.tighten_signs();
            self.tighten_bits()?;
        }
        let empty = self.unsigned.is_empty()
            || self.signed.is_empty()
            || self.unsigned32.is_empty()
            || self.signed32.is_empty();
        if empty { None } else { Some(self) }
    }

    /// Ranges from bits.
    fn tighten_by_bits(&mut self) {
        let (min, max) = (self.bits.value(), self.bits.max());
        let sign = 1_u64 << 63;
        self.unsigned = self.unsigned.intersect(Span::new(min, max));
        // The least has an unknown sign bit set and all other unknown bits clear.
        let least = min | (self.bits.mask() & sign);
        let most = min | (self.bits.mask() & !sign);
        let signed = Span::new(least as i64, most as i64);
        self.signed = self.signed.intersect(signed);
        let sign = 1_u32 << 31;
        let (value, mask) = (self.bits.value() as u32, self.bits.mask() as u32);
        self.unsigned32 = self.unsigned32.intersect(Span::new(value, value | mask));
        let signed = Span::new(
            (value | (mask & sign)) as i32,
            (value | (mask & !sign)) as i32,
        );
        self.signed32 = self.signed32.intersect(signed);
    }

    /// Signed from unsigned ranges and the other way round, where all numbers have one sign.
    fn tighten_signs(&mut self) {
        let (u, s) = (self.unsigned, self.signed);
        if u.min as i64 <= u.max as i64 {
            self.signed = s.intersect(Span::new(u.min as i64, u.max as i64));
        }
        let s = self.signed;
        if s.min as u64 <= s.max as u64 {
            self.unsigned = u.intersect(Span::new(s.min as u64, s.max as u64));
        }
        let (u, s) = (self.unsigned32, self.signed32);
        if u.min as i32 <= u.max as i32 {
            self.signed32 = s.intersect(Span::new(u.min as i32, u.max as i32));
        }
        let s = self.signed32;
        if s.min as u32 <= s.max as u32 {
            self.unsigned32 = u.intersect(Span::new(s.min as u32, s.max as u32));
        }
    }

    /// Ranges of the lower half from those of the whole, and the other way round.
    fn tighten_halves(&mut self) {
        let u = self.unsigned;
        if u.min >> 32 == u.max >> 32 && u.min <= u.max {
            let low = Span::new(u.min as u32, u.max as u32);
            self.unsigned32 = self.unsigned32.intersect(low);
        }
        let low = self.unsigned32;
        // No number of the lower half is below its least or above its greatest.
        if (u.min as u32) < low.min {
            self.unsigned.min = (u.min >> 32 << 32) | u64::from(low.min);
        }
        if (u.max as u32) > low.max {
            self.unsigned.max = (u.max >> 32 << 32) | u64::from(low.max);
        }
        let s = self.signed;
        let narrow = |number: i64| i32::try_from(number).ok();
        if let (Some(min), Some(max)) = (narrow(s.min), narrow(s.max)) {
            self.signed32 = self.signed32.intersect(Span::new(min, max));
            let low = Span::new(i64::from(self.signed32.min), i64::from(self.signed32.max));
            self.signed = s.intersect(low);
        }
    }

    /// Bits from ranges.
    fn tighten_bits(&mut self) -> Option<()> {
        let whole = Tnum::range(self.unsigned.min, self.unsigned.max);
        let low = Tnum::range(
            u64::from(self.unsigned32.min),
            u64::from(self.unsigned32.max),
        );
        let upper = !u64::from(u32::MAX);
        let low = Tnum::new(low.value(), low.mask() | upper);
        self.bits = self.bits.intersect(whole)?.intersect(low)?;
        Some(())
    }
}

fn widen_unsigned(old: Span<u64>, new: Span<u64>, thresholds: &[i64]) -> Span<u64> {
    if old.includes(new) {
        return old;
    }
    let first = thresholds.partition_point(|&it| it < 0);
    let thresholds = thresholds.get(first..).unwrap_or_default();
    let below = thresholds.partition_point(|&it| it as u64 <= new.min);
    let above = thresholds.partition_point(|&it| (it as u64) < new.max);
    let min = below.checked_sub(1).and_then(|index| thresholds.get(index));
    let max = thresholds.get(above);
    let wide = Span::new(
        min.map_or(0, |&it| it as u64),
        max.map_or(u64::MAX, |&it| it as u64),
    );
    widen_part(old, new, wide)
}

fn widen_signed(old: Span<i64>, new: Span<i64>, thresholds: &[i64]) -> Span<i64> {
    if old.includes(new) {
        return old;
    }
    let below = thresholds.partition_point(|&it| it <= new.min);
    let above = thresholds.partition_point(|&it| it < new.max);
    let min = below.checked_sub(1).and_then(|index| thresholds.get(index));
    let max = thresholds.get(above);
    let wide = Span::new(
        min.copied().unwrap_or(i64::MIN),
        max.copied().unwrap_or(i64::MAX),
    );
    widen_part(old, new, wide)
}

/// Bounds of `old` where `new` keeps to them, else of `wide`.
fn widen_part<T: Copy + Ord>(old: Span<T>, new: Span<T>, wide: Span<T>) -> Span<T> {
    Span::new(
        if new.min < old.min { wide.min } else { old.min },
        if new.max > old.max { wide.max } else { old.max },
    )
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(number) = self.single() {
            return if number > i64::MAX as u64 {
                write!(f, "{}", number as i64)
            } else {
                write!(f, "{number}")
            };
        }
        if *self == Scalar::UNKNOWN {
            return f.write_str("any number");
        }
        if self.signed.min < 0 && self.signed != Span::<i64>::ALL {
            write!(f, "{} to {}", self.signed.min, self.signed.max)?;
        } else if self.unsigned == Span::<u64>::ALL {
            f.write_str("any number")?;
        } else {
            write!(f, "{} to {}", self.unsigned.min, self.unsigned.max)?;
        }
        let aligned = self.bits.max().trailing_zeros();
        if (1..64).contains(&aligned) {
            write!(f, " in steps of {}", 1_u64 << aligned)?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Numbers near which things happen.
    pub(crate) fn number() -> impl Strategy<Value = u64> {
        let edge = prop_oneof![
            Just(0_u64),
            Just(1 << 7),
            Just(1 << 15),
            Just(1 << 31),
            Just(1 << 32),
            Just(1 << 63),
            Just(u64::MAX << 31),
            Just(u64::MAX << 32),
        ];
        prop_oneof![
            4 => (edge, -9..=9_i64).prop_map(|(edge, by)| edge.wrapping_add(by as u64)),
            2 => (0..64_u32, any::<u64>()).prop_map(|(shift, it)| it >> shift),
            1 => any::<u64>(),
        ]
    }

    /// A scalar, and some of its members.
    pub(crate) fn scalar() -> impl Strategy<Value = (Scalar, Vec<u64>)> {
        let of_members = vec(number(), 1..5).prop_map(|members| {
            let constants = members.iter().map(|&it| Scalar::constant(it));
            let joined = constants.reduce(|a, b| a.join(&b)).unwrap();
            (joined.tightened().unwrap(), members)
        });
        let of_bits =
            (number(), number(), vec(any::<u64>(), 4)).prop_map(|(value, mask, picks)| {
                let bits = Tnum::new(value, mask);
                let members = picks.into_iter().map(|pick| bits.value() | (pick & mask));
                (Scalar::with_bits(bits), members.collect())
            });
        let of_range = (number(), number(), vec(any::<u64>(), 4)).prop_map(|(a, b, picks)| {
            let (min, max) = (a.min(b), a.max(b));
            let width = (max - min).saturating_add(1);
            let mut members: Vec<_> = picks.iter().map(|pick| min + pick % width).collect();
            members.extend([min, max]);
            (Scalar::range(min, max), members)
        });
        let of_signed = (number(), number(), vec(any::<u64>(), 4)).prop_map(|(a, b, picks)| {
            let (a, b) = (a as i64, b as i64);
            let (min, max) = (a.min(b), a.max(b));
            let width = (max.wrapping_sub(min) as u64).saturating_add(1);
            let pick = |pick: &u64| (min as u64).wrapping_add(pick % width);
            let mut members: Vec<_> = picks.iter().map(pick).collect();
            members.extend([min as u64, max as u64]);
            (Scalar::signed_range(min, max), members)
        });
        prop_oneof![of_members, of_bits, of_range, of_signed]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_scalar_holds_what_it_was_made_of((scalar, members) in scalar()) {
            for it in members {
                prop_assert!(scalar.contains(it), "{scalar:?} {it:#x}");
                prop_assert!(scalar.includes(&Scalar::constant(it)));
            }
        }

        #[test]
        fn joins_and_widenings_hold_both((a, of_a) in scalar(), (b, of_b) in scalar()) {
            let join = a.join(&b);
            let wide = a.widen(&b, &[-1, 0, 7, 255, 4096]);
            for it in of_a.iter().chain(&of_b) {
                prop_assert!(join.contains(*it) && wide.contains(*it));
            }
            prop_assert!(join.includes(&a) && join.includes(&b));
            prop_assert!(wide.includes(&join));
        }

        #[test]
        fn intersections_hold_what_is_in_both((a, of_a) in scalar(), (b, of_b) in scalar()) {
            let both = a.intersect(&b);
            for it in of_a.iter().chain(&of_b) {
                let in_both = a.contains(*it) && b.contains(*it);
                let found = both.is_some_and(|both| both.contains(*it));
                prop_assert_eq!(in_both, found);
            }
        }

        #[test]
        fn tightening_loses_nothing((a, of_a) in scalar(), (b, _) in scalar(), which in 0..5_u8) {
            // Descriptions from two scalars mixed, so that they do not match.
            let mixed = match which {
                0 => Scalar { bits: b.bits, ..a },
                1 => Scalar { unsigned: b.unsigned, ..a },
                2 => Scalar { signed: b.signed, ..a },
                3 => Scalar { unsigned32: b.unsigned32, ..a },
                _ => Scalar { signed32: b.signed32, ..a },
            };
            let tight = mixed.tightened();
            for it in of_a {
                let found = tight.is_some_and(|tight| tight.contains(it));
                prop_assert_eq!(mixed.contains(it), found);
            }
        }

        #[test]
        fn widening_comes_to_an_end((start, _) in scalar(), steps in vec(scalar(), 300)) {
            let mut now = start;
            let mut changes = 0;
            for (step, _) in steps {
                let next = now.widen(&step, &[0, 64, 4096]);
                changes += u32::from(next != now);
                now = next;
            }
            // Each bound passes each threshold once at most, and alignments are 64.
            prop_assert!(changes < 64 + 4 * 8);
        }
    }

    #[test]
    fn tightening_finds_what_compilers_rely_on() {
        // if w1 < 8 on a zero-extended number bounds the register.
        let byte = Scalar::range(0, u64::from(u32::MAX));
        let below = Scalar {
            unsigned32: Span::new(0, 7),
            ..byte
        };
        assert_eq!(below.tightened().unwrap(), Scalar::range(0, 7));
        // Signed bounds of one sign give unsigned ones.
        assert_eq!(Scalar::signed_range(3, 9), Scalar::range(3, 9));
        // A mask gives a range.
        let masked = Scalar::with_bits(Tnum::new(0, 0xff8));
        assert_eq!(masked.unsigned(), Span::new(0, 0xff8));
    }

    #[test]
    fn contradictions_are_none() {
        let none = Scalar::range(0, 7).intersect(&Scalar::range(8, 9));
        assert_eq!(none, None);
        let odd = Scalar::with_bits(Tnum::new(1, !1));
        assert_eq!(odd.intersect(&Scalar::constant(4)), None);
    }

    #[test]
    fn it_speaks_plainly() {
        assert_eq!(Scalar::UNKNOWN.to_string(), "any number");
        assert_eq!(Scalar::constant(5).to_string(), "5");
        assert_eq!(Scalar::constant(u64::MAX).to_string(), "-1");
        assert_eq!(Scalar::range(1, 9).to_string(), "1 to 9");
        assert_eq!(Scalar::signed_range(-4, 9).to_string(), "-4 to 9");
        let aligned = Scalar::with_bits(Tnum::new(0, 0xff8));
        assert_eq!(aligned.to_string(), "0 to 4088 in steps of 8");
    }
}
