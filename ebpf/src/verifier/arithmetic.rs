//! What instructions compute on [`Scalar`]s: every result that members of the operands can have.
//!
//! A 32-bit operation is the 64-bit one on operands whose halves are extended by zero or by sign,
//! as fits it, and its result is cut to the lower half; that is how each of them is defined.

use super::canary::{Rule, is_out};
use super::scalar::Scalar;
use super::span::Span;
use super::tnum::{Tnum, below_highest};
use crate::instruction::{AluOp, Size, SwapOrder, Width};

impl Scalar {
    /// `a op b` (section 4.1).
    #[must_use]
    pub fn alu(width: Width, op: AluOp, a: &Scalar, b: &Scalar) -> Scalar {
        match width {
            Width::Bits64 => alu64(op, a, b),
            Width::Bits32 if is_out(Rule::Half) => alu64(op, a, b),
            Width::Bits32 => alu32(op, a, b).low_half(),
        }
    }

    /// `-self` (section 4.1).
    #[must_use]
    pub fn negate(&self, width: Width) -> Scalar {
        Scalar::alu(width, AluOp::Sub, &Scalar::constant(0), self)
    }

    /// The lower part of `from`, its sign extended to the width (section 4.1).
    #[must_use]
    pub fn move_signed(&self, width: Width, from: Size) -> Scalar {
        let extended = self.sign_extended(from);
        match width {
            Width::Bits64 => extended,
            Width::Bits32 => extended.low_half(),
        }
    }

    /// The lower part of `size` in another byte order (section 4.2).
    #[must_use]
    pub fn swapped(&self, order: SwapOrder, size: Size) -> Scalar {
        if order == SwapOrder::Little {
            return self.truncated(size);
        }
        let up = 64 - 8 * size.bytes() as u32;
        Scalar::with_bits(self.bits.swap_bytes().shift_right(up))
    }

    /// The lower part, the rest zero: what a load of that size can bring.
    #[must_use]
    pub fn truncated(&self, size: Size) -> Scalar {
        match size {
            Size::Double => *self,
            Size::Word => self.low_half(),
            Size::Half => and(self, &Scalar::constant(0xffff)),
            Size::Byte => and(self, &Scalar::constant(0xff)),
        }
    }

    /// The lower half, the upper one zero.
    fn low_half(&self) -> Scalar {
        let half = self.unsigned32;
        Scalar {
            bits: self.bits.low(32),
            unsigned: Span::new(u64::from(half.min), u64::from(half.max)),
            signed: Span::new(i64::from(half.min), i64::from(half.max)),
            unsigned32: half,
            signed32: self.signed32,
        }
        .or_unknown()
    }

    /// The lower part, its sign extended to 64 bits.
    #[must_use]
    pub fn sign_extended(&self, from: Size) -> Scalar {
        let bits = 8 * from.bytes() as u32;
        if from == Size::Double {
            return *self;
        }
        let half = 1_i64 << (bits - 1);
        let fits = Span::new(-half, half - 1);
        if fits.includes(self.signed) {
            return *self;
        }
        let low = self.truncated(from);
        let mut signed = fits;
        if low.signed.max < half {
            signed = low.signed;
        } else if low.signed.min >= half {
            signed = Span::new(low.signed.min - 2 * half, low.signed.max - 2 * half);
        }
        if from == Size::Word {
            let word = self.signed32;
            signed = signed.intersect(Span::new(i64::from(word.min), i64::from(word.max)));
        }
        Scalar {
            bits: self.bits.sign_extended(bits),
            signed,
            ..Scalar::UNKNOWN
        }
        .or_unknown()
    }

    /// Tightened; anything if that finds nothing, which it does not where members were kept.
    fn or_unknown(self) -> Scalar {
        self.tightened().unwrap_or(Scalar::UNKNOWN)
    }
}

fn alu64(op: AluOp, a: &Scalar, b: &Scalar) -> Scalar {
    match op {
        AluOp::Add => add(a, b),
        AluOp::Sub => subtract(a, b),
        AluOp::Mul => multiply(a, b),
        AluOp::Div => divide(a, b),
        AluOp::SignedDiv => divide_signed(a, b),
        AluOp::Or => or(a, b),
        AluOp::And => and(a, b),
        AluOp::Lsh => shift_left(a, count(b, 63)),
        AluOp::Rsh => shift_right(a, count(b, 63)),
        AluOp::Mod => remainder(a, b),
        AluOp::SignedMod => remainder_signed(a, b),
        AluOp::Xor => xor(a, b),
        AluOp::Mov => *b,
        AluOp::Arsh => shift_right_signed(a, count(b, 63)),
    }
}

/// A result of which the lower half counts.
fn alu32(op: AluOp, a: &Scalar, b: &Scalar) -> Scalar {
    let zero = || (a.low_half(), b.low_half());
    let sign = || (a.sign_extended(Size::Word), b.sign_extended(Size::Word));
    match op {
        AluOp::Lsh => shift_left(a, count(b, 31)),
        AluOp::Rsh => shift_right(&a.low_half(), count(b, 31)),
        AluOp::Arsh => shift_right_signed(&a.sign_extended(Size::Word), count(b, 31)),
        AluOp::Div | AluOp::Mod => {
            let (a, b) = zero();
            alu64(op, &a, &b)
        }
        AluOp::SignedDiv | AluOp::SignedMod => {
            let (a, b) = sign();
            alu64(op, &a, &b)
        }
        // The lower half of the result depends on the lower halves alone, and each of these keeps
        // a description of its own for them.
        AluOp::Add | AluOp::Sub | AluOp::Mul => alu64(op, a, b),
        AluOp::Or | AluOp::And | AluOp::Xor => {
            let (a, b) = zero();
            alu64(op, &a, &b)
        }
        AluOp::Mov => *b,
    }
}

fn add(a: &Scalar, b: &Scalar) -> Scalar {
    Scalar {
        bits: a.bits.add(b.bits),
        unsigned: a.unsigned.wrapping_add(b.unsigned),
        signed: a.signed.wrapping_add(b.signed),
        unsigned32: a.unsigned32.wrapping_add(b.unsigned32),
        signed32: a.signed32.wrapping_add(b.signed32),
    }
    .or_unknown()
}

fn subtract(a: &Scalar, b: &Scalar) -> Scalar {
    Scalar {
        bits: a.bits.sub(b.bits),
        unsigned: a.unsigned.wrapping_sub(b.unsigned),
        signed: a.signed.wrapping_sub(b.signed),
        unsigned32: a.unsigned32.wrapping_sub(b.unsigned32),
        signed32: a.signed32.wrapping_sub(b.signed32),
    }
    .or_unknown()
}

fn multiply(a: &Scalar, b: &Scalar) -> Scalar {
    Scalar {
        bits: a.bits.mul(b.bits),
        unsigned: a.unsigned.wrapping_mul(b.unsigned),
        signed: a.signed.wrapping_mul(b.signed),
        unsigned32: a.unsigned32.wrapping_mul(b.unsigned32),
        signed32: a.signed32.wrapping_mul(b.signed32),
    }
    .or_unknown()
}

/// By zero it is zero.
fn divide(a: &Scalar, b: &Scalar) -> Scalar {
    if b.unsigned.max == 0 {
        return Scalar::constant(0);
    }
    let least = if b.unsigned.min == 0 {
        0
    } else {
        a.unsigned.min / b.unsigned.max
    };
    Scalar::range(least, a.unsigned.max / b.unsigned.min.max(1))
}

/// By zero it is the dividend.
fn remainder(a: &Scalar, b: &Scalar) -> Scalar {
    if let Some(divisor) = b.single().filter(|it| it.is_power_of_two()) {
        return and(a, &Scalar::constant(divisor - 1));
    }
    if b.unsigned.max == 0 || a.unsigned.max < b.unsigned.min {
        return *a;
    }
    let most = if b.unsigned.min == 0 {
        a.unsigned.max
    } else {
        a.unsigned.max.min(b.unsigned.max - 1)
    };
    Scalar::range(0, most)
}

/// By zero it is zero; the smallest number by -1 is itself.
fn divide_signed(a: &Scalar, b: &Scalar) -> Scalar {
    if a.signed.min >= 0 && b.signed.min >= 0 {
        return divide(a, b);
    }
    let (low, high) = (a.signed.min, a.signed.max);
    match b.signed.single() {
        Some(0) => Scalar::constant(0),
        Some(divisor) if divisor > 0 => Scalar::signed_range(low / divisor, high / divisor),
        Some(divisor) if low > i64::MIN => Scalar::signed_range(high / divisor, low / divisor),
        _ => match greatest_magnitude(a.signed) {
            Some(most) => Scalar::signed_range(-most, most),
            None => Scalar::UNKNOWN,
        },
    }
}

/// With the sign of the dividend; by zero it is the dividend.
fn remainder_signed(a: &Scalar, b: &Scalar) -> Scalar {
    if a.signed.min >= 0 && b.signed.min >= 0 {
        return remainder(a, b);
    }
    let (mut low, mut high) = (a.signed.min.min(0), a.signed.max.max(0));
    if !b.signed.contains(0)
        && let Some(most) = greatest_magnitude(b.signed)
    {
        low = low.max(1 - most);
        high = high.min(most - 1);
    }
    Scalar::signed_range(low, high)
}

/// The greatest distance from zero; `None` if that is no signed number.
fn greatest_magnitude(span: Span<i64>) -> Option<i64> {
    Some(span.min.checked_abs()?.max(span.max.checked_abs()?))
}

fn and(a: &Scalar, b: &Scalar) -> Scalar {
    let most = a.unsigned.max.min(b.unsigned.max);
    Scalar {
        bits: a.bits.and(b.bits),
        unsigned: Span::new(0, most),
        ..Scalar::UNKNOWN
    }
    .or_unknown()
}

fn or(a: &Scalar, b: &Scalar) -> Scalar {
    let least = a.unsigned.min.max(b.unsigned.min);
    let most = below_highest(a.unsigned.max | b.unsigned.max);
    Scalar {
        bits: a.bits.or(b.bits),
        unsigned: Span::new(least, most),
        ..Scalar::UNKNOWN
    }
    .or_unknown()
}

fn xor(a: &Scalar, b: &Scalar) -> Scalar {
    let most = below_highest(a.unsigned.max | b.unsigned.max);
    Scalar {
        bits: a.bits.xor(b.bits),
        unsigned: Span::new(0, most),
        ..Scalar::UNKNOWN
    }
    .or_unknown()
}

/// What a shift can be by: the operand's low bits.
fn count(b: &Scalar, most: u32) -> Span<u32> {
    let bits = b.bits.and(Tnum::constant(u64::from(most)));
    let span = b.unsigned32;
    // A count that is small enough is not cut.
    if span.max <= most {
        return span;
    }
    Span::new(bits.value() as u32, bits.max() as u32)
}

fn shift_left(a: &Scalar, count: Span<u32>) -> Scalar {
    let mut result = Scalar::UNKNOWN;
    result.bits = match count.single() {
        Some(count) => a.bits.shift_left(count),
        None => {
            let zeros = (a.bits.max().trailing_zeros() + count.min).min(63);
            Tnum::new(0, u64::MAX << zeros)
        }
    };
    let fits = |number: u64| number << count.max >> count.max == number;
    if fits(a.unsigned.max) {
        let unsigned = a.unsigned;
        result.unsigned = Span::new(unsigned.min << count.min, unsigned.max << count.max);
    }
    let fits = |number: i64| number << count.max >> count.max == number;
    if let Some(count) = count.single()
        && fits(a.signed.min)
        && fits(a.signed.max)
    {
        result.signed = Span::new(a.signed.min << count, a.signed.max << count);
    }
    let half = a.unsigned32;
    let fits = |number: u32| number.checked_shl(count.max).map(|it| it >> count.max);
    if fits(half.max) == Some(half.max) {
        result.unsigned32 = Span::new(half.min << count.min, half.max << count.max);
    }
    result.or_unknown()
}

fn shift_right(a: &Scalar, count: Span<u32>) -> Scalar {
    let bits = match count.single() {
        Some(count) => a.bits.shift_right(count),
        None => Tnum::UNKNOWN,
    };
    Scalar {
        bits,
        unsigned: Span::new(a.unsigned.min >> count.max, a.unsigned.max >> count.min),
        ..Scalar::UNKNOWN
    }
    .or_unknown()
}

fn shift_right_signed(a: &Scalar, count: Span<u32>) -> Scalar {
    let bits = match count.single() {
        Some(count) => a.bits.shift_right_signed(count),
        None => Tnum::UNKNOWN,
    };
    let (low, high) = (a.signed.min, a.signed.max);
    // Shifting moves towards zero or -1.
    let min = low >> if low < 0 { count.min } else { count.max };
    let max = high >> if high < 0 { count.max } else { count.min };
    Scalar {
        bits,
        signed: Span::new(min, max),
        ..Scalar::UNKNOWN
    }
    .or_unknown()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scalar::tests::scalar;
    use super::*;
    use crate::isa::op;
    use crate::semantics::{
        divide32, divide64, move_signed32, move_signed64, remainder32, remainder64, swap,
    };

    /// What the interpreter computes.
    fn exact(width: Width, what: AluOp, a: u64, b: u64) -> u64 {
        let (narrow_a, narrow_b) = (a as u32, b as u32);
        let narrow = width == Width::Bits32;
        let choose = |wide: u64, low: u32| if narrow { u64::from(low) } else { wide };
        match what {
            AluOp::Add => choose(a.wrapping_add(b), narrow_a.wrapping_add(narrow_b)),
            AluOp::Sub => choose(a.wrapping_sub(b), narrow_a.wrapping_sub(narrow_b)),
            AluOp::Mul => choose(a.wrapping_mul(b), narrow_a.wrapping_mul(narrow_b)),
            AluOp::Div if narrow => divide32(0, a, b).unwrap(),
            AluOp::Div => divide64(0, a, b).unwrap(),
            AluOp::SignedDiv if narrow => divide32(1, a, b).unwrap(),
            AluOp::SignedDiv => divide64(1, a, b).unwrap(),
            AluOp::Mod if narrow => remainder32(0, a, b).unwrap(),
            AluOp::Mod => remainder64(0, a, b).unwrap(),
            AluOp::SignedMod if narrow => remainder32(1, a, b).unwrap(),
            AluOp::SignedMod => remainder64(1, a, b).unwrap(),
            AluOp::Or => choose(a | b, narrow_a | narrow_b),
            AluOp::And => choose(a & b, narrow_a & narrow_b),
            AluOp::Xor => choose(a ^ b, narrow_a ^ narrow_b),
            AluOp::Mov => choose(b, narrow_b),
            AluOp::Lsh => choose(a.wrapping_shl(b as u32), narrow_a.wrapping_shl(narrow_b)),
            AluOp::Rsh => choose(a.wrapping_shr(b as u32), narrow_a.wrapping_shr(narrow_b)),
            AluOp::Arsh => choose(
                (a as i64).wrapping_shr(b as u32) as u64,
                (narrow_a as i32).wrapping_shr(narrow_b) as u32,
            ),
        }
    }

    fn holds(width: Width, op: AluOp, a: &Scalar, of_a: &[u64], b: &Scalar, of_b: &[u64]) {
        let result = Scalar::alu(width, op, a, b);
        assert!(result.tightened().is_some());
        for &x in of_a {
            for &y in of_b {
                let number = exact(width, op, x, y);
                assert!(
                    result.contains(number),
                    "{width:?} {op:?} of {x:#x} in {a:?} and {y:#x} in {b:?} is {number:#x}, not in {result:?}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 6000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn results_of_members_are_members((a, of_a) in scalar(), (b, of_b) in scalar()) {
            for op in AluOp::ALL {
                for width in [Width::Bits32, Width::Bits64] {
                    holds(width, op, &a, &of_a, &b, &of_b);
                }
            }
        }

        /// Small second operands are what shifts and divisions are about.
        #[test]
        fn results_with_small_numbers_are_members(
            (a, of_a) in scalar(),
            low in -40..70_i64,
            more in 0..70_i64,
        ) {
            let b = Scalar::signed_range(low, low + more);
            let of_b = [low as u64, (low + more / 2) as u64, (low + more) as u64];
            for op in AluOp::ALL {
                for width in [Width::Bits32, Width::Bits64] {
                    holds(width, op, &a, &of_a, &b, &of_b);
                    holds(width, op, &b, &of_b, &a, &of_a);
                }
            }
        }

        #[test]
        fn results_of_one_member_are_members((a, of_a) in scalar()) {
            use Width::{Bits32, Bits64};
            let sizes = [(Size::Byte, 8), (Size::Half, 16), (Size::Word, 32), (Size::Double, 64)];
            for &x in &of_a {
                prop_assert!(a.negate(Bits64).contains(x.wrapping_neg()));
                prop_assert!(a.negate(Bits32).contains(u64::from((x as u32).wrapping_neg())));
                for (size, bits) in sizes {
                    if let Some(number) = move_signed64(bits, x) {
                        prop_assert!(a.move_signed(Bits64, size).contains(number));
                    }
                    if let Some(number) = move_signed32(bits, x) {
                        prop_assert!(a.move_signed(Bits32, size).contains(number), "{bits} {a:?} {x:x}");
                    }
                    let orders = [
                        (SwapOrder::Little, op::LE),
                        (SwapOrder::Big, op::BE),
                        (SwapOrder::Swap, op::BSWAP),
                    ];
                    for (order, opcode) in orders {
                        if let Some(number) = swap(opcode, bits as u64, x) {
                            prop_assert!(a.swapped(order, size).contains(number));
                        }
                    }
                }
            }
        }
    }

    /// Every range of numbers around zero, and around where the lower half overflows.
    #[test]
    fn small_ranges_hold_all_results() {
        for base in [0_i64, 1 << 31] {
            let ranges: std::vec::Vec<(i64, i64)> = (-4..4)
                .flat_map(|low| (low..4).map(move |high| (base + low, base + high)))
                .collect();
            for &(a_low, a_high) in &ranges {
                let a = Scalar::signed_range(a_low, a_high);
                let of_a: std::vec::Vec<u64> = (a_low..=a_high).map(|it| it as u64).collect();
                for &(b_low, b_high) in &ranges {
                    let b = Scalar::signed_range(b_low, b_high);
                    let of_b: std::vec::Vec<u64> = (b_low..=b_high).map(|it| it as u64).collect();
                    for op in AluOp::ALL {
                        for width in [Width::Bits32, Width::Bits64] {
                            holds(width, op, &a, &of_a, &b, &of_b);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn results_are_as_narrow_as_programs_need() {
        use Width::{Bits32, Bits64};
        let number = |it| Scalar::constant(it);
        let any = Scalar::UNKNOWN;
        let masked = Scalar::alu(Bits64, AluOp::And, &any, &number(2047));
        assert_eq!(masked, Scalar::range(0, 2047));
        let doubled = Scalar::alu(Bits64, AluOp::Lsh, &masked, &number(1));
        assert_eq!(doubled.unsigned(), Span::new(0, 4094));
        assert!(!doubled.contains(1));
        let back = Scalar::alu(Bits64, AluOp::Rsh, &doubled, &number(1));
        assert_eq!(back, masked);
        let low = Scalar::alu(Bits32, AluOp::Mov, &any, &any);
        assert_eq!(low, Scalar::range(0, u64::from(u32::MAX)));
        let less = Scalar::alu(
            Bits32,
            AluOp::Add,
            &Scalar::range(1, 20),
            &number(-1_i64 as u64),
        );
        assert_eq!(less, Scalar::range(0, 19));
        let rest = Scalar::alu(Bits64, AluOp::Mod, &any, &number(10));
        assert_eq!(rest, Scalar::range(0, 9));
        let whole = Scalar::alu(Bits64, AluOp::Div, &Scalar::range(0, 99), &number(10));
        assert_eq!(whole, Scalar::range(0, 9));
        let sign = Scalar::alu(Bits64, AluOp::Arsh, &any, &number(63));
        assert_eq!(sign, Scalar::signed_range(-1, 0));
        assert_eq!(
            any.swapped(SwapOrder::Big, Size::Half),
            Scalar::range(0, 0xffff)
        );
        assert_eq!(
            number(0x1234).swapped(SwapOrder::Big, Size::Half),
            number(0x3412)
        );
        assert_eq!(
            any.move_signed(Bits64, Size::Byte),
            Scalar::signed_range(-128, 127)
        );
        for (op, expected) in [(AluOp::Or, 13), (AluOp::Xor, 9), (AluOp::Mul, 60)] {
            assert_eq!(
                Scalar::alu(Bits64, op, &number(12), &number(5)),
                number(expected)
            );
        }
    }
}
