//! Numbers from one to another, both included.

/// All numbers from `min` to `max`. It may be empty while it is being made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span<T> {
    /// The least.
    pub min: T,
    /// The greatest.
    pub max: T,
}

impl<T: Copy + Ord> Span<T> {
    /// From `min` to `max`.
    #[must_use]
    pub const fn new(min: T, max: T) -> Span<T> {
        Span { min, max }
    }

    /// One number.
    #[must_use]
    pub const fn one(number: T) -> Span<T> {
        Span::new(number, number)
    }

    /// True if there is no number in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.min > self.max
    }

    /// True if the number is in it.
    #[must_use]
    pub fn contains(self, number: T) -> bool {
        self.min <= number && number <= self.max
    }

    /// True if all of `other` is in it.
    #[must_use]
    pub fn includes(self, other: Span<T>) -> bool {
        self.min <= other.min && other.max <= self.max
    }

    /// The numbers of both.
    #[must_use]
    pub fn intersect(self, other: Span<T>) -> Span<T> {
        Span::new(self.min.max(other.min), self.max.min(other.max))
    }

    /// From the least of either to the greatest of either.
    #[must_use]
    pub fn join(self, other: Span<T>) -> Span<T> {
        Span::new(self.min.min(other.min), self.max.max(other.max))
    }

    /// The number, if there is one only.
    #[must_use]
    pub fn single(self) -> Option<T> {
        (self.min == self.max).then_some(self.min)
    }
}

macro_rules! arithmetic {
    ($number:ty) => {
        impl Span<$number> {
            /// Every number of the type.
            pub const ALL: Span<$number> = Span::new(<$number>::MIN, <$number>::MAX);

            /// Sums, modulo the type's size; all numbers where only some of them wrap.
            #[must_use]
            pub const fn wrapping_add(self, other: Span<$number>) -> Span<$number> {
                let (min, low_wraps) = self.min.overflowing_add(other.min);
                let (max, high_wraps) = self.max.overflowing_add(other.max);
                // Of signed numbers, one sum can wrap below and the other above.
                if low_wraps == high_wraps && min <= max {
                    Span::new(min, max)
                } else {
                    Self::ALL
                }
            }

            /// Differences, modulo the type's size; all numbers where only some of them wrap.
            #[must_use]
            pub const fn wrapping_sub(self, other: Span<$number>) -> Span<$number> {
                let (min, low_wraps) = self.min.overflowing_sub(other.max);
                let (max, high_wraps) = self.max.overflowing_sub(other.min);
                if low_wraps == high_wraps && min <= max {
                    Span::new(min, max)
                } else {
                    Self::ALL
                }
            }

            /// Products; all numbers where any is too large.
            #[must_use]
            pub fn wrapping_mul(self, other: Span<$number>) -> Span<$number> {
                let product = |a: $number, b: $number| a.checked_mul(b);
                let corners = [
                    product(self.min, other.min),
                    product(self.min, other.max),
                    product(self.max, other.min),
                    product(self.max, other.max),
                ];
                let mut all: Option<Span<$number>> = None;
                for corner in corners {
                    let Some(corner) = corner else {
                        return Self::ALL;
                    };
                    let corner = Span::one(corner);
                    all = Some(all.map_or(corner, |span| span.join(corner)));
                }
                all.unwrap_or(Self::ALL)
            }
        }
    };
}

arithmetic!(u64);
arithmetic!(i64);
arithmetic!(u32);
arithmetic!(i32);

#[cfg(test)]
mod tests {
    use super::*;

    /// Both wrap, in opposite directions, and the span is not what lies between.
    #[test]
    fn sums_that_wrap_both_ways_are_unknown() {
        let (a, b) = (Span::new(-3_i32, 3), Span::new(i32::MIN, i32::MAX));
        assert_eq!(a.wrapping_add(b), Span::<i32>::ALL);
        let (a, b) = (Span::new(i64::MIN, i64::MAX), Span::new(i64::MIN, i64::MAX));
        assert_eq!(a.wrapping_add(b), Span::<i64>::ALL);
        assert_eq!(a.wrapping_sub(b), Span::<i64>::ALL);
    }

    #[test]
    fn sums_that_all_wrap_keep_their_order() {
        let sum = Span::new(u32::MAX - 3, u32::MAX).wrapping_add(Span::new(8, 9));
        assert_eq!(sum, Span::new(4, 8));
        let difference = Span::new(0_u32, 2).wrapping_sub(Span::new(4, 5));
        assert_eq!(difference, Span::new(u32::MAX - 4, u32::MAX - 1));
    }

    #[test]
    fn products_take_their_corners() {
        let product = Span::new(-2_i64, 3).wrapping_mul(Span::new(-5, 7));
        assert_eq!(product, Span::new(-15, 21));
        let product = Span::new(0_u32, 1 << 16).wrapping_mul(Span::new(0, 1 << 16));
        assert_eq!(product, Span::<u32>::ALL);
    }
}
