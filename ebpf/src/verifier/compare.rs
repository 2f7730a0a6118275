//! What a conditional jump says about the numbers it compared, taken or not (section 4.3).

use super::scalar::Scalar;
use super::span::Span;
use super::tnum::Tnum;
use crate::instruction::{Condition, Width};

impl Scalar {
    /// What is left of `a` and `b` if `a condition b` turned out as `holds` says; `None` if it
    /// cannot have.
    #[must_use]
    pub fn refine(
        width: Width,
        condition: Condition,
        holds: bool,
        a: &Scalar,
        b: &Scalar,
    ) -> Option<(Scalar, Scalar)> {
        // Halves that are all there is are wholes.
        let wide = width == Width::Bits64 || (a.fits_32() && b.fits_32() && !is_signed(condition));
        let relation = Relation::of(condition, holds);
        let (mut a, mut b) = (*a, *b);
        match (relation, wide) {
            (Relation::Equal, true) => {
                a = a.intersect(&b)?;
                b = a;
            }
            (Relation::Equal, false) => equal_halves(&mut a, &mut b)?,
            (Relation::Different, true) => {
                a = different(&a, &b)?;
                b = different(&b, &a)?;
            }
            (Relation::Different, false) => different_halves(&mut a, &mut b),
            (Relation::Below { or_equal }, true) => {
                (a.unsigned, b.unsigned) = below(a.unsigned, b.unsigned, or_equal)?;
            }
            (Relation::Below { or_equal }, false) => {
                (a.unsigned32, b.unsigned32) = below(a.unsigned32, b.unsigned32, or_equal)?;
            }
            (Relation::Above { or_equal }, true) => {
                (b.unsigned, a.unsigned) = below(b.unsigned, a.unsigned, or_equal)?;
            }
            (Relation::Above { or_equal }, false) => {
                (b.unsigned32, a.unsigned32) = below(b.unsigned32, a.unsigned32, or_equal)?;
            }
            (Relation::Less { or_equal }, true) => {
                (a.signed, b.signed) = below(a.signed, b.signed, or_equal)?;
            }
            (Relation::Less { or_equal }, false) => {
                (a.signed32, b.signed32) = below(a.signed32, b.signed32, or_equal)?;
            }
            (Relation::Greater { or_equal }, true) => {
                (b.signed, a.signed) = below(b.signed, a.signed, or_equal)?;
            }
            (Relation::Greater { or_equal }, false) => {
                (b.signed32, a.signed32) = below(b.signed32, a.signed32, or_equal)?;
            }
            (Relation::CommonBits, _) => {
                let width = half_mask(width);
                let (new_a, new_b) = (common_bits(&a, &b, width)?, common_bits(&b, &a, width)?);
                (a, b) = (new_a, new_b);
            }
            (Relation::NoCommonBits, _) => {
                let width = half_mask(width);
                let (new_a, new_b) = (no_bits(&a, &b, width)?, no_bits(&b, &a, width)?);
                (a, b) = (new_a, new_b);
            }
        }
        Some((a.tightened()?, b.tightened()?))
    }
}

/// Which of two numbers is at most the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Order {
    /// The first is; else the second.
    pub(super) first: bool,
    /// It is less.
    pub(super) strict: bool,
    /// As signed numbers.
    pub(super) signed: bool,
}

/// What a condition says of the order of numbers where `holds` is how it turned out. Nothing is
/// said of equal ones.
pub(super) fn order(condition: Condition, holds: bool) -> Option<Order> {
    let (first, or_equal, signed) = match Relation::of(condition, holds) {
        Relation::Below { or_equal } => (true, or_equal, false),
        Relation::Above { or_equal } => (false, or_equal, false),
        Relation::Less { or_equal } => (true, or_equal, true),
        Relation::Greater { or_equal } => (false, or_equal, true),
        Relation::Equal | Relation::Different | Relation::CommonBits | Relation::NoCommonBits => {
            return None;
        }
    };
    Some(Order {
        first,
        strict: !or_equal,
        signed,
    })
}

/// What is true of two numbers where a jump leads.
#[derive(Clone, Copy)]
enum Relation {
    Equal,
    Different,
    /// Unsigned.
    Below {
        or_equal: bool,
    },
    Above {
        or_equal: bool,
    },
    /// Signed.
    Less {
        or_equal: bool,
    },
    Greater {
        or_equal: bool,
    },
    CommonBits,
    NoCommonBits,
}

impl Relation {
    const fn of(condition: Condition, holds: bool) -> Relation {
        // What does not hold is the opposite of it.
        match (condition, holds) {
            (Condition::Equal, true) | (Condition::NotEqual, false) => Relation::Equal,
            (Condition::Equal, false) | (Condition::NotEqual, true) => Relation::Different,
            (Condition::AnyBit, true) => Relation::CommonBits,
            (Condition::AnyBit, false) => Relation::NoCommonBits,
            (Condition::Less, true) | (Condition::GreaterOrEqual, false) => {
                Relation::Below { or_equal: false }
            }
            (Condition::LessOrEqual, true) | (Condition::Greater, false) => {
                Relation::Below { or_equal: true }
            }
            (Condition::Greater | Condition::LessOrEqual, _) => Relation::Above { or_equal: false },
            (Condition::GreaterOrEqual | Condition::Less, _) => Relation::Above { or_equal: true },
            (Condition::SignedLess, true) | (Condition::SignedGreaterOrEqual, false) => {
                Relation::Less { or_equal: false }
            }
            (Condition::SignedLessOrEqual, true) | (Condition::SignedGreater, false) => {
                Relation::Less { or_equal: true }
            }
            (Condition::SignedGreater | Condition::SignedLessOrEqual, _) => {
                Relation::Greater { or_equal: false }
            }
            (Condition::SignedGreaterOrEqual | Condition::SignedLess, _) => {
                Relation::Greater { or_equal: true }
            }
        }
    }
}

const fn is_signed(condition: Condition) -> bool {
    matches!(
        condition,
        Condition::SignedGreater
            | Condition::SignedGreaterOrEqual
            | Condition::SignedLess
            | Condition::SignedLessOrEqual
    )
}

const fn half_mask(width: Width) -> u64 {
    match width {
        Width::Bits32 => u32::MAX as u64,
        Width::Bits64 => u64::MAX,
    }
}

/// The numbers that have a neighbour on the one side.
trait Neighbour: Copy + Ord {
    fn before(self) -> Option<Self>;
    fn after(self) -> Option<Self>;
}

macro_rules! neighbour {
    ($($number:ty)*) => {$(
        impl Neighbour for $number {
            fn before(self) -> Option<Self> {
                self.checked_sub(1)
            }

            fn after(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    )*};
}

neighbour!(u64 i64 u32 i32);

/// What is left of `a` and `b` where `a < b` or `a <= b`.
fn below<T: Neighbour>(a: Span<T>, b: Span<T>, or_equal: bool) -> Option<(Span<T>, Span<T>)> {
    let (most, least) = if or_equal {
        (b.max, a.min)
    } else {
        (b.max.before()?, a.min.after()?)
    };
    let left = Span::new(a.min, a.max.min(most));
    let right = Span::new(b.min.max(least), b.max);
    (!left.is_empty() && !right.is_empty()).then_some((left, right))
}

/// Without one number, if it is at an end.
fn without<T: Neighbour>(span: Span<T>, number: T) -> Option<Span<T>> {
    if span.min == number {
        Some(Span::new(number.after()?, span.max))
    } else if span.max == number {
        Some(Span::new(span.min, number.before()?))
    } else {
        Some(span)
    }
}

/// `a` where it is not what `b` is.
fn different(a: &Scalar, b: &Scalar) -> Option<Scalar> {
    let Some(number) = b.single() else {
        return Some(*a);
    };
    let unsigned = without(a.unsigned, number)?;
    let signed = without(a.signed, number as i64)?;
    Scalar {
        unsigned,
        signed,
        ..*a
    }
    .tightened()
}

/// Both where their lower halves differ.
fn different_halves(a: &mut Scalar, b: &mut Scalar) {
    let (of_a, of_b) = (a.unsigned32, b.unsigned32);
    // An end that goes leaves an empty span behind, which shows when it is tightened.
    let none = Span::new(u32::MAX, 0);
    if let Some(number) = of_b.single() {
        a.unsigned32 = without(of_a, number).unwrap_or(none);
        a.signed32 = without(a.signed32, number as i32).unwrap_or(Span::new(i32::MAX, i32::MIN));
    }
    if let Some(number) = of_a.single() {
        b.unsigned32 = without(of_b, number).unwrap_or(none);
        b.signed32 = without(b.signed32, number as i32).unwrap_or(Span::new(i32::MAX, i32::MIN));
    }
}

/// Both where their lower halves are the same.
fn equal_halves(a: &mut Scalar, b: &mut Scalar) -> Option<()> {
    let upper = !half_mask(Width::Bits32);
    let low = |bits: Tnum| Tnum::new(bits.value(), bits.mask() | upper);
    let (of_a, of_b) = (low(a.bits), low(b.bits));
    a.bits = a.bits.intersect(of_b)?;
    b.bits = b.bits.intersect(of_a)?;
    a.unsigned32 = a.unsigned32.intersect(b.unsigned32);
    b.unsigned32 = a.unsigned32;
    a.signed32 = a.signed32.intersect(b.signed32);
    b.signed32 = a.signed32;
    Some(())
}

/// `a` where `a & b & width` is not zero.
fn common_bits(a: &Scalar, b: &Scalar, width: u64) -> Option<Scalar> {
    let common = a.bits.max() & b.bits.max() & width;
    if common == 0 {
        return None;
    }
    // If only one bit can be common, it is.
    if common.is_power_of_two() {
        let bits = a.bits.intersect(Tnum::new(common, !common))?;
        return Some(Scalar { bits, ..*a });
    }
    Some(*a)
}

/// `a` where `a & b & width` is zero.
fn no_bits(a: &Scalar, b: &Scalar, width: u64) -> Option<Scalar> {
    let clear = b.bits.value() & width;
    let bits = a.bits.intersect(Tnum::new(0, !clear))?;
    Some(Scalar { bits, ..*a })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::super::scalar::tests::scalar;
    use super::*;

    /// As the interpreter has it.
    fn exact(width: Width, condition: Condition, a: u64, b: u64) -> bool {
        let (a, b) = match (width, is_signed(condition)) {
            (Width::Bits64, _) => (a, b),
            (Width::Bits32, false) => (u64::from(a as u32), u64::from(b as u32)),
            (Width::Bits32, true) => (a as i32 as u64, b as i32 as u64),
        };
        let (x, y) = (a as i64, b as i64);
        match condition {
            Condition::Equal => a == b,
            Condition::NotEqual => a != b,
            Condition::AnyBit => a & b != 0,
            Condition::Greater => a > b,
            Condition::GreaterOrEqual => a >= b,
            Condition::Less => a < b,
            Condition::LessOrEqual => a <= b,
            Condition::SignedGreater => x > y,
            Condition::SignedGreaterOrEqual => x >= y,
            Condition::SignedLess => x < y,
            Condition::SignedLessOrEqual => x <= y,
        }
    }

    fn keeps(a: &Scalar, of_a: &[u64], b: &Scalar, of_b: &[u64]) {
        for condition in Condition::ALL {
            for width in [Width::Bits32, Width::Bits64] {
                for holds in [false, true] {
                    let refined = Scalar::refine(width, condition, holds, a, b);
                    if let Some((new_a, new_b)) = refined {
                        assert!(a.intersect(&new_a).is_some() && b.intersect(&new_b).is_some());
                    }
                    let pairs = of_a.iter().flat_map(|&x| of_b.iter().map(move |&y| (x, y)));
                    for (x, y) in pairs {
                        if exact(width, condition, x, y) != holds {
                            continue;
                        }
                        let kept = refined.is_some_and(|(a, b)| a.contains(x) && b.contains(y));
                        assert!(
                            kept,
                            "{width:?} {condition:?} {holds}: {x:#x} of {a:?} and {y:#x} of {b:?} left {refined:?}"
                        );
                    }
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn members_that_agree_are_kept((a, of_a) in scalar(), (b, of_b) in scalar()) {
            keeps(&a, &of_a, &b, &of_b);
            keeps(&a, &of_a, &a, &of_a);
        }

        #[test]
        fn members_that_agree_with_a_number_are_kept((a, of_a) in scalar(), pick in 0..8_usize) {
            let number = of_a[pick % of_a.len()];
            for near in [number, number.wrapping_add(1), number.wrapping_sub(1)] {
                keeps(&a, &of_a, &Scalar::constant(near), &[near]);
                keeps(&Scalar::constant(near), &[near], &a, &of_a);
            }
        }
    }

    #[test]
    fn small_ranges_keep_what_agrees_and_lose_what_does_not() {
        let ranges: Vec<(i64, i64)> = (-4..4)
            .flat_map(|low| (low..4).map(move |high| (low, high)))
            .collect();
        for &(a_low, a_high) in &ranges {
            let a = Scalar::signed_range(a_low, a_high);
            let of_a: Vec<u64> = (a_low..=a_high).map(|it| it as u64).collect();
            for &(b_low, b_high) in &ranges {
                let b = Scalar::signed_range(b_low, b_high);
                let of_b: Vec<u64> = (b_low..=b_high).map(|it| it as u64).collect();
                keeps(&a, &of_a, &b, &of_b);
            }
        }
    }

    #[test]
    fn bounds_are_found() {
        use Width::{Bits32, Bits64};
        let any = Scalar::UNKNOWN;
        let number = Scalar::constant;
        let taken = |width, condition, a: &Scalar, b: &Scalar| {
            Scalar::refine(width, condition, true, a, b).map(|(a, _)| a)
        };
        let below = taken(Bits64, Condition::Less, &any, &number(10));
        assert_eq!(below, Some(Scalar::range(0, 9)));
        let low = Scalar::range(0, u64::from(u32::MAX));
        let below = taken(Bits32, Condition::Less, &low, &number(10));
        assert_eq!(below, Some(Scalar::range(0, 9)));
        // The upper half stays unknown where it was.
        let below = taken(Bits32, Condition::Less, &any, &number(10)).unwrap();
        assert_eq!(below.unsigned32(), Span::new(0, 9));
        assert!(below.contains(1 << 40));
        let not = Scalar::refine(Bits64, Condition::SignedLess, false, &any, &number(0));
        assert_eq!(not.unwrap().0.signed(), Span::new(0, i64::MAX));
        let other = taken(
            Bits64,
            Condition::NotEqual,
            &Scalar::range(0, 9),
            &number(0),
        );
        assert_eq!(other, Some(Scalar::range(1, 9)));
        assert_eq!(
            taken(Bits64, Condition::NotEqual, &number(3), &number(3)),
            None
        );
        assert_eq!(
            taken(Bits32, Condition::NotEqual, &number(3), &number(3)),
            None
        );
        assert_eq!(
            taken(Bits64, Condition::Greater, &number(3), &number(3)),
            None
        );
        assert_eq!(taken(Bits64, Condition::Less, &any, &number(0)), None);
        assert_eq!(
            taken(Bits32, Condition::AnyBit, &number(1 << 40), &any),
            None
        );
        let bit = taken(Bits64, Condition::AnyBit, &any, &number(8)).unwrap();
        assert_eq!(bit.bits(), Tnum::new(8, !8));
        let clear = Scalar::refine(Bits64, Condition::AnyBit, false, &any, &number(!7));
        assert_eq!(clear.unwrap().0, Scalar::range(0, 7));
    }
}
