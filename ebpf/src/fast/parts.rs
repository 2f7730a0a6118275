//! What single operations do: arithmetic, loads, stores; the parts that handlers are made of.
//!
//! A handler executes one part or several that follow each other. A later part can be told that a
//! register it reads was written by the part before, and then takes the value as it is handed over
//! ([`NONE`], [`TO_DST`], [`TO_SRC`]) instead of waiting for the register file.
#![allow(unsafe_code)] // Registers and proved memory are reached without checks; see `Op`.

use core::hint::select_unpredictable;
use core::marker::PhantomData;

use super::op::{At, Halt, Machine, Op, get, halt, set};
use crate::memory::Right;
use crate::semantics::{
    Fetched, apply32, apply64, atomic_result32, atomic_result64, test32, test64,
};

/// Nothing is handed over.
pub(super) const NONE: u8 = 0;
/// The value of the destination register is handed over.
pub(super) const TO_DST: u8 = 1;
/// The value of the source register is handed over.
pub(super) const TO_SRC: u8 = 2;

/// Both are the same register, whose value is handed over.
pub(super) const TO_BOTH: u8 = TO_DST | TO_SRC;
/// What is never handed over.
const NEVER: u8 = u8::MAX;

/// Part of a handler: one operation that goes on to the next, or several as one.
pub(super) trait Part {
    /// Slots that it does.
    const SLOTS: usize = 1;

    /// Whether it may refuse.
    const REFUSES: bool = true;

    /// Whether its result is often tested by a conditional jump behind it.
    const TESTED: bool = true;

    /// Whether the result goes to the destination register of its last slot.
    const WRITES: bool;

    /// Whether it loads.
    const LOADS: bool = false;

    /// The registers whose values can be handed over to it.
    const READS: u8 = TO_DST | TO_SRC;

    /// The slots in which it finds them.
    const OPERANDS: usize = Self::SLOTS;

    /// What is handed over if its result replaces the very value that is; then nobody else needs
    /// that value.
    const REPLACES: u8 = NEVER;

    /// What is worth functions of their own if it is handed over to the first part of one.
    const TAKES: u8 = NONE;

    /// Does it and gives the result. None if it may not; then nothing has happened.
    ///
    /// # Safety
    /// As `Handler`; `handed` is what the register named by `FROM` holds.
    unsafe fn run<const FROM: u8>(op: *const Op, m: *mut Machine, handed: u64) -> Option<u64>;

    /// Halts because it may not.
    ///
    /// # Safety
    /// As `Handler`.
    unsafe fn refuse(op: *const Op, m: *mut Machine, fuel: i64) -> At {
        // SAFETY: the caller vouches for `m`. A part that always may never gets here.
        unsafe { halt(op, m, fuel, Halt::Fault(crate::FaultKind::FellOff)) }
    }
}

/// The destination register's value, perhaps handed over.
///
/// # Safety
/// As `Part::run`.
#[inline(always)]
unsafe fn dst<const FROM: u8>(op: *const Op, m: *const Machine, handed: u64) -> u64 {
    // SAFETY: the decoder vouches for the register's number, the caller for the pointers.
    unsafe {
        if FROM & TO_DST != 0 {
            handed
        } else {
            get(m, (*op).dst)
        }
    }
}

/// The source register's value, perhaps handed over.
///
/// # Safety
/// As `Part::run`.
#[inline(always)]
unsafe fn src<const FROM: u8>(op: *const Op, m: *const Machine, handed: u64) -> u64 {
    // SAFETY: the decoder vouches for the register's number, the caller for the pointers.
    unsafe {
        if FROM & TO_SRC != 0 {
            handed
        } else {
            get(m, (*op).src)
        }
    }
}

/// Arithmetic on two operands, in both widths.
pub(super) trait Operator {
    /// Whether the first operand matters.
    const READS_DST: bool = true;
    /// See `Part`.
    const TESTED: bool = true;
    fn full(a: u64, b: u64) -> u64;
    fn half(a: u32, b: u32) -> u32;
}

macro_rules! operators {
    ($($name:ident $(($reads:literal $(, $tested:literal)?))?:
        |$a:ident, $b:ident| $full:expr, |$c:ident, $d:ident| $half:expr;)*) => {$(
        pub(super) struct $name;
        impl Operator for $name {
            $(const READS_DST: bool = $reads; $(const TESTED: bool = $tested;)?)?
            #[inline(always)]
            fn full($a: u64, $b: u64) -> u64 {
                $full
            }
            #[inline(always)]
            fn half($c: u32, $d: u32) -> u32 {
                $half
            }
        }
    )*};
}

operators! {
    Add: |a, b| a.wrapping_add(b), |a, b| a.wrapping_add(b);
    Sub: |a, b| a.wrapping_sub(b), |a, b| a.wrapping_sub(b);
    Mul (true, false): |a, b| a.wrapping_mul(b), |a, b| a.wrapping_mul(b);
    Or (true, false): |a, b| a | b, |a, b| a | b;
    And: |a, b| a & b, |a, b| a & b;
    Xor (true, false): |a, b| a ^ b, |a, b| a ^ b;
    Mov (false): |_a, b| b, |_a, b| b;
    Lsh (true, false): |a, b| a.wrapping_shl(b as u32), |a, b| a.wrapping_shl(b);
    Rsh (true, false): |a, b| a.wrapping_shr(b as u32), |a, b| a.wrapping_shr(b);
    Arsh (true, false): |a, b| (a as i64).wrapping_shr(b as u32) as u64, |a, b| (a as i32).wrapping_shr(b) as u32;
    Neg: |a, _b| a.wrapping_neg(), |a, _b| a.wrapping_neg();
    Div: |a, b| a.checked_div(b).unwrap_or(0), |a, b| a.checked_div(b).unwrap_or(0);
    Rem: |a, b| a.checked_rem(b).unwrap_or(a), |a, b| a.checked_rem(b).unwrap_or(a);
    SignedDiv: |a, b| if b == 0 { 0 } else { (a as i64).wrapping_div(b as i64) as u64 },
        |a, b| if b == 0 { 0 } else { (a as i32).wrapping_div(b as i32) as u32 };
    SignedRem: |a, b| if b == 0 { a } else { (a as i64).wrapping_rem(b as i64) as u64 },
        |a, b| if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 };
    FromByte (false): |_a, b| b as i8 as u64, |_a, b| b as i8 as u32;
    FromHalf (false): |_a, b| b as i16 as u64, |_a, b| b as i16 as u32;
    FromWord (false): |_a, b| b as i32 as u64, |_a, b| b;
    // Byte orders (section 4.2), all in the 64-bit form.
    Little16: |a, _b| u64::from(a as u16), |a, _b| a;
    Little32: |a, _b| u64::from(a as u32), |a, _b| a;
    Little64: |a, _b| a, |a, _b| a;
    Swap16: |a, _b| u64::from((a as u16).swap_bytes()), |a, _b| a;
    Swap32: |a, _b| u64::from((a as u32).swap_bytes()), |a, _b| a;
    Swap64: |a, _b| a.swap_bytes(), |a, _b| a;
}

/// A second operand: the register or the immediate, 64 or 32 bits of it.
pub(super) struct Form<O, const FULL: bool, const REGISTER: bool>(PhantomData<O>);

/// 64 bits and the immediate.
pub(super) type K64<O> = Form<O, true, false>;
/// 64 bits and a register.
pub(super) type X64<O> = Form<O, true, true>;
/// 32 bits and the immediate.
pub(super) type K32<O> = Form<O, false, false>;
/// 32 bits and a register.
pub(super) type X32<O> = Form<O, false, true>;

impl<O, const FULL: bool, const REGISTER: bool> Form<O, FULL, REGISTER> {
    /// Both operands.
    ///
    /// # Safety
    /// As `Part::run`.
    #[inline(always)]
    unsafe fn operands<const FROM: u8>(
        op: *const Op,
        m: *const Machine,
        handed: u64,
    ) -> (u64, u64) {
        // SAFETY: the caller vouches for all of it.
        unsafe {
            let b = if REGISTER {
                src::<FROM>(op, m, handed)
            } else {
                i64::from((*op).imm) as u64
            };
            (dst::<FROM>(op, m, handed), b)
        }
    }
}

impl<O: Operator, const FULL: bool, const REGISTER: bool> Part for Form<O, FULL, REGISTER> {
    const WRITES: bool = true;
    const REFUSES: bool = false;
    const TESTED: bool = O::TESTED;
    const READS: u8 =
        (if O::READS_DST { TO_DST } else { NONE }) | (if REGISTER { TO_SRC } else { NONE });
    const REPLACES: u8 = if O::READS_DST { TO_DST } else { NEVER };
    const TAKES: u8 = if REGISTER && !O::READS_DST {
        TO_SRC
    } else {
        NONE
    };

    #[inline(always)]
    unsafe fn run<const FROM: u8>(op: *const Op, m: *mut Machine, handed: u64) -> Option<u64> {
        // SAFETY: the caller vouches for all of it.
        let (a, b) = unsafe { Self::operands::<FROM>(op, m, handed) };
        Some(if FULL {
            apply64(O::full, a, b)
        } else {
            apply32(O::half, a, b)
        })
    }
}

/// Arithmetic on a copy: `d = a; d op= b`, where `b` is not `d`. Handed over to it is `a` as its
/// destination's value, or `b` as its source's.
pub(super) struct OnCopy<F>(PhantomData<F>);

impl<O: Operator, const FULL: bool, const REGISTER: bool> Part for OnCopy<Form<O, FULL, REGISTER>> {
    const SLOTS: usize = 2;
    const WRITES: bool = true;
    const REFUSES: bool = false;
    const TESTED: bool = false;
    const READS: u8 = TO_DST | (if REGISTER { TO_SRC } else { NONE });
    const TAKES: u8 = if REGISTER && !FULL { TO_DST } else { NONE };

    #[inline(always)]
    unsafe fn run<const FROM: u8>(op: *const Op, m: *mut Machine, handed: u64) -> Option<u64> {
        // SAFETY: the caller vouches for all of it; the decoder has seen both slots.
        let (a, b) = unsafe {
            let second = op.add(1);
            let b = if REGISTER {
                src::<FROM>(second, m, handed)
            } else {
                i64::from((*second).imm) as u64
            };
            let a = if FROM & TO_DST != 0 {
                handed
            } else {
                get(m, (*op).src)
            };
            (a, b)
        };
        Some(if FULL {
            apply64(O::full, a, b)
        } else {
            apply32(O::half, a, b)
        })
    }
}

/// Does a part and puts its result away, unless the part behind it replaces it at once: a value
/// that nobody else sees is not stored.
///
/// # Safety
/// As `Part::run`; what is `BETWEEN` the two is handed over indeed.
#[inline(always)]
pub(super) unsafe fn run_before<A: Part, B: Part, const FROM: u8, const BETWEEN: u8>(
    op: *const Op,
    m: *mut Machine,
    handed: u64,
) -> Option<u64> {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let value = A::run::<FROM>(op, m, handed)?;
        if A::WRITES && (B::REFUSES || BETWEEN != B::REPLACES) {
            set(m, (*op.add(A::SLOTS - 1)).dst, value);
        }
        Some(value)
    }
}

/// Two parts as one, of which only the second may refuse. What of the first one's result is handed
/// to the second is `BETWEEN`.
pub(super) struct Then<A, B, const BETWEEN: u8>(PhantomData<(A, B)>);

impl<A: Part, B: Part, const BETWEEN: u8> Part for Then<A, B, BETWEEN> {
    const SLOTS: usize = A::SLOTS + B::SLOTS;
    const WRITES: bool = B::WRITES;
    const REFUSES: bool = B::REFUSES;
    const READS: u8 = A::READS;
    const OPERANDS: usize = A::OPERANDS;

    #[inline(always)]
    unsafe fn run<const FROM: u8>(op: *const Op, m: *mut Machine, handed: u64) -> Option<u64> {
        const { assert!(A::WRITES && !A::REFUSES) };
        // SAFETY: the caller vouches for all of it; the decoder has seen the slots.
        unsafe {
            let value = run_before::<A, B, FROM, BETWEEN>(op, m, handed)?;
            B::run::<BETWEEN>(op.add(A::SLOTS), m, value)
        }
    }

    #[inline(always)]
    unsafe fn refuse(op: *const Op, m: *mut Machine, fuel: i64) -> At {
        // SAFETY: the caller vouches for all of it.
        unsafe { B::refuse(op.add(A::SLOTS), m, fuel) }
    }
}

/// A move that a conditional jump skips: compilers make it of a choice of two values. There is no
/// jump in it, for nothing foretells which value is chosen.
pub(super) struct Choice<T, M>(PhantomData<(T, M)>);

impl<T: Test, M: Part> Choice<T, M> {
    /// Whether the jump is taken, and what the move's destination holds then or else.
    ///
    /// # Safety
    /// As `Part::run`.
    #[inline(always)]
    pub(super) unsafe fn choose<const FROM: u8>(
        op: *const Op,
        m: *mut Machine,
        handed: u64,
    ) -> Option<(bool, u64)> {
        // SAFETY: the caller vouches for all of it; the decoder has seen both slots.
        unsafe {
            let skips = T::holds::<FROM>(op, m, handed);
            let moved = M::run::<NONE>(op.add(1), m, 0)?;
            let kept = get(m, (*op.add(1)).dst);
            Some((skips, select_unpredictable(skips, kept, moved)))
        }
    }
}

impl<T: Test, M: Part> Part for Choice<T, M> {
    const SLOTS: usize = 2;
    const WRITES: bool = true;
    const REFUSES: bool = false;
    const OPERANDS: usize = 1;

    #[inline(always)]
    unsafe fn run<const FROM: u8>(op: *const Op, m: *mut Machine, handed: u64) -> Option<u64> {
        const { assert!(M::WRITES && !M::REFUSES && M::SLOTS == 1) };
        // SAFETY: the caller vouches for all of it.
        let (_, value) = unsafe { Self::choose::<FROM>(op, m, handed)? };
        Some(value)
    }
}

/// A comparison, in both widths.
pub(super) trait Comparison {
    fn full(a: u64, b: u64) -> bool;
    fn half(a: u32, b: u32) -> bool;
}

macro_rules! comparisons {
    ($($name:ident: |$a:ident, $b:ident| $full:expr, $half:expr;)*) => {$(
        pub(super) struct $name;
        impl Comparison for $name {
            #[inline(always)]
            fn full($a: u64, $b: u64) -> bool {
                $full
            }
            #[inline(always)]
            fn half($a: u32, $b: u32) -> bool {
                $half
            }
        }
    )*};
}

comparisons! {
    Equal: |a, b| a == b, a == b;
    NotEqual: |a, b| a != b, a != b;
    AnyBit: |a, b| a & b != 0, a & b != 0;
    Greater: |a, b| a > b, a > b;
    GreaterOrEqual: |a, b| a >= b, a >= b;
    Less: |a, b| a < b, a < b;
    LessOrEqual: |a, b| a <= b, a <= b;
    SignedGreater: |a, b| a as i64 > b as i64, a as i32 > b as i32;
    SignedGreaterOrEqual: |a, b| a as i64 >= b as i64, a as i32 >= b as i32;
    SignedLess: |a, b| (a as i64) < b as i64, (a as i32) < b as i32;
    SignedLessOrEqual: |a, b| a as i64 <= b as i64, a as i32 <= b as i32;
}

/// The condition of a jump.
pub(super) trait Test {
    /// Whether it holds.
    ///
    /// # Safety
    /// As `Part::run`.
    unsafe fn holds<const FROM: u8>(op: *const Op, m: *const Machine, handed: u64) -> bool;
}

impl<C: Comparison, const FULL: bool, const REGISTER: bool> Test for Form<C, FULL, REGISTER> {
    #[inline(always)]
    unsafe fn holds<const FROM: u8>(op: *const Op, m: *const Machine, handed: u64) -> bool {
        // SAFETY: the caller vouches for all of it.
        let (a, b) = unsafe { Self::operands::<FROM>(op, m, handed) };
        if FULL {
            test64(C::full, a, b)
        } else {
            test32(C::half, a, b)
        }
    }
}

/// What memory holds: a number of some size, little-endian, anywhere.
pub(super) trait Cell {
    const BYTES: u32;

    /// # Safety
    /// `BYTES` bytes from `place` may be read.
    unsafe fn read(place: *const u8) -> u64;

    /// # Safety
    /// `BYTES` bytes from `place` may be written.
    unsafe fn write(place: *mut u8, value: u64);
}

macro_rules! cells {
    ($($number:ty)*) => {$(
        impl Cell for $number {
            const BYTES: u32 = size_of::<$number>() as u32;

            #[inline(always)]
            unsafe fn read(place: *const u8) -> u64 {
                // SAFETY: the caller vouches for the bytes.
                <$number>::from_le(unsafe { place.cast::<$number>().read_unaligned() }) as u64
            }

            #[inline(always)]
            unsafe fn write(place: *mut u8, value: u64) {
                // SAFETY: the caller vouches for the bytes.
                unsafe { place.cast::<$number>().write_unaligned((value as $number).to_le()) };
            }
        }
    )*};
}

cells!(u8 u16 u32 u64 i8 i16 i32);

/// Access that is checked.
pub(super) const GUARDED: u8 = 0;
/// Access that is checked, and masked.
pub(super) const GUARDED_MASKED: u8 = 1;
/// Access that was proved.
pub(super) const PROVED: u8 = 2;
/// Access that was proved, and is masked.
pub(super) const PROVED_MASKED: u8 = 3;

/// The place of an access; none if it may not be. `tag` is of what it may touch ([`Allowed`]).
///
/// # Safety
/// `m` is initialised; of a proved access, `tag` is a region's.
#[inline(always)]
unsafe fn place<C: Cell, const WRITE: bool, const HOW: u8>(
    m: *const Machine,
    address: u64,
    tag: u8,
) -> Option<*mut u8> {
    // SAFETY: the caller vouches for `m`.
    let regions = unsafe { &(*m).regions };
    macro_rules! of {
        ($($bytes:literal)*) => {
            match C::BYTES {
                $($bytes => match HOW {
                    GUARDED => regions.guarded::<$bytes, WRITE, false>(address, tag),
                    GUARDED_MASKED => regions.guarded::<$bytes, WRITE, true>(address, tag),
                    // SAFETY: the decoder took the tag from a region, so it is not 0.
                    PROVED => Some(unsafe {
                        regions.proved::<$bytes, WRITE, false>(usize::from(tag).wrapping_sub(1), address)
                    }),
                    // SAFETY: as before.
                    _ => Some(unsafe {
                        regions.proved::<$bytes, WRITE, true>(usize::from(tag).wrapping_sub(1), address)
                    }),
                },)*
                _ => None,
            }
        };
    }
    of!(1 2 4 8)
}

/// Why memory may be touched at what [`place`] gave: a guarded place was checked against the table
/// that was drawn for this run; a proved one is vouched for by whoever started the run.
macro_rules! because_of_place {
    ($act:expr) => {
        // SAFETY: a guarded place lies inside a region of the table, which is valid and grants the
        // right; a proved one does so too by the word of whoever started the run.
        unsafe { $act }
    };
}

/// `dst = *(src + offset)` (sections 5.1 and 5.2). What it may touch is in the immediate.
pub(super) struct Load<C, const HOW: u8>(PhantomData<C>);

impl<C: Cell, const HOW: u8> Part for Load<C, HOW> {
    const WRITES: bool = true;
    const REFUSES: bool = !matches!(HOW, PROVED | PROVED_MASKED);
    const READS: u8 = TO_SRC;
    const REPLACES: u8 = TO_BOTH;
    const LOADS: bool = true;

    #[inline(always)]
    unsafe fn run<const FROM: u8>(op: *const Op, m: *mut Machine, handed: u64) -> Option<u64> {
        // SAFETY: the caller vouches for all of it.
        let (address, tag) = unsafe {
            let address = src::<FROM>(op, m, handed).wrapping_add((*op).offset as u64);
            (address, (*op).imm as u8)
        };
        if HOW == PROVED_MASKED {
            // SAFETY: as before.
            let place = unsafe { place::<C, false, PROVED>(m, address, tag)? };
            let value = because_of_place!(C::read(place));
            // SAFETY: as before; the decoder took the tag from a region, so it is not 0.
            return Some(unsafe {
                let region = usize::from(tag).wrapping_sub(1);
                (*m).regions.or_nothing(region, address, C::BYTES, value)
            });
        }
        // SAFETY: as before.
        let place = unsafe { place::<C, false, HOW>(m, address, tag)? };
        Some(because_of_place!(C::read(place)))
    }

    #[cold]
    #[inline(never)]
    unsafe fn refuse(op: *const Op, m: *mut Machine, fuel: i64) -> At {
        // SAFETY: the caller vouches for all of it.
        unsafe {
            let address = src::<NONE>(op, m, 0).wrapping_add((*op).offset as u64);
            denied(op, m, fuel, address, C::BYTES, Right::Read)
        }
    }
}

/// `*(dst + offset) = src` or the immediate (section 5.1). What it may touch is in the field
/// that is not used otherwise.
pub(super) struct Store<C, const REGISTER: bool, const HOW: u8>(PhantomData<C>);

impl<C: Cell, const REGISTER: bool, const HOW: u8> Part for Store<C, REGISTER, HOW> {
    const WRITES: bool = false;

    #[inline(always)]
    unsafe fn run<const FROM: u8>(op: *const Op, m: *mut Machine, handed: u64) -> Option<u64> {
        // SAFETY: the caller vouches for all of it.
        let (place, value) = unsafe {
            let address = dst::<FROM>(op, m, handed).wrapping_add((*op).offset as u64);
            let (value, tag) = if REGISTER {
                (src::<FROM>(op, m, handed), (*op).imm as u8)
            } else {
                ((*op).imm as u64, (*op).src)
            };
            (place::<C, true, HOW>(m, address, tag)?, value)
        };
        because_of_place!(C::write(place, value));
        Some(0)
    }

    #[cold]
    #[inline(never)]
    unsafe fn refuse(op: *const Op, m: *mut Machine, fuel: i64) -> At {
        // SAFETY: the caller vouches for all of it.
        unsafe { denied_write::<C>(op, m, fuel) }
    }
}

/// # Safety
/// As `Handler`.
unsafe fn denied_write<C: Cell>(op: *const Op, m: *mut Machine, fuel: i64) -> At {
    // SAFETY: the caller vouches for all of it.
    unsafe {
        let address = dst::<NONE>(op, m, 0).wrapping_add((*op).offset as u64);
        denied(op, m, fuel, address, C::BYTES, Right::Write)
    }
}

/// # Safety
/// As `Handler`.
unsafe fn denied(
    op: *const Op,
    m: *mut Machine,
    fuel: i64,
    address: u64,
    bytes: u32,
    right: Right,
) -> At {
    let why = Halt::Denied {
        address,
        bytes,
        right,
    };
    // SAFETY: the caller vouches for all of it.
    unsafe { halt(op, m, fuel, why) }
}

/// An atomic (section 5.3), always checked: what it does is in its immediate, and above the lowest
/// byte what it may touch. One thread runs a
/// program, and the memory is nobody else's meanwhile, so a load and a store are atomic.
pub(super) struct Atomic<C, const MASKED: bool>(PhantomData<C>);

/// A number that atomics work on.
pub(super) trait AtomicCell: Cell {
    fn result(what: i32, old: u64, value: u64, expected: u64) -> Option<(u64, Fetched)>;
}

impl AtomicCell for u32 {
    fn result(what: i32, old: u64, value: u64, expected: u64) -> Option<(u64, Fetched)> {
        atomic_result32(what, old as u32, value as u32, expected as u32)
            .map(|(new, fetched)| (u64::from(new), fetched))
    }
}

impl AtomicCell for u64 {
    fn result(what: i32, old: u64, value: u64, expected: u64) -> Option<(u64, Fetched)> {
        atomic_result64(what, old, value, expected)
    }
}

impl<C: AtomicCell, const MASKED: bool> Part for Atomic<C, MASKED> {
    const WRITES: bool = false;

    #[inline(always)]
    unsafe fn run<const FROM: u8>(op: *const Op, m: *mut Machine, handed: u64) -> Option<u64> {
        // SAFETY: the caller vouches for all of it.
        let (place, value, expected, what) = unsafe {
            let (what, tag) = ((*op).imm & 0xff, ((*op).imm >> 8) as u8);
            let address = dst::<FROM>(op, m, handed).wrapping_add((*op).offset as u64);
            let place = if MASKED {
                place::<C, true, GUARDED_MASKED>(m, address, tag)?
            } else {
                place::<C, true, GUARDED>(m, address, tag)?
            };
            (place, src::<FROM>(op, m, handed), get(m, 0), what)
        };
        let old = because_of_place!(C::read(place));
        let (new, fetched) = C::result(what, old, value, expected)?;
        because_of_place!(C::write(place, new));
        // SAFETY: the decoder vouches for the register's number, the caller for the pointers.
        unsafe {
            match fetched {
                Fetched::Nothing => {}
                Fetched::Source => set(m, (*op).src, old),
                Fetched::R0 => set(m, 0, old),
            }
        }
        Some(0)
    }

    #[cold]
    #[inline(never)]
    unsafe fn refuse(op: *const Op, m: *mut Machine, fuel: i64) -> At {
        // SAFETY: the caller vouches for all of it.
        unsafe { denied_write::<C>(op, m, fuel) }
    }
}
