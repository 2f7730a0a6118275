//! What single instructions compute, as functions of their operands.
//!
//! Each is total. The ones whose form is chosen by a field of the slot say `None` where the field
//! chooses a form that does not exist.

use crate::isa::{atomic, op};

/// A 64-bit operation (section 4.1).
#[inline(always)]
pub(crate) fn apply64(f: impl Fn(u64, u64) -> u64, a: u64, b: u64) -> u64 {
    f(a, b)
}

/// A 32-bit operation: on the lower halves, clearing the upper half (section 4.1).
#[inline(always)]
pub(crate) fn apply32(f: impl Fn(u32, u32) -> u32, a: u64, b: u64) -> u64 {
    u64::from(f(a as u32, b as u32))
}

/// A 64-bit comparison (section 4.3).
#[inline(always)]
pub(crate) fn test64(f: impl Fn(u64, u64) -> bool, a: u64, b: u64) -> bool {
    f(a, b)
}

/// A 32-bit comparison (section 4.3).
#[inline(always)]
pub(crate) fn test32(f: impl Fn(u32, u32) -> bool, a: u64, b: u64) -> bool {
    f(a as u32, b as u32)
}

/// Division (section 4.1): by zero it is zero; the smallest number by -1 is itself.
#[inline(always)]
pub(crate) fn divide64(offset: i64, a: u64, b: u64) -> Option<u64> {
    match offset {
        0 => Some(a.checked_div(b).unwrap_or(0)),
        1 if b == 0 => Some(0),
        1 => Some((a as i64).wrapping_div(b as i64) as u64),
        _ => None,
    }
}

/// Division of the lower halves.
#[inline(always)]
pub(crate) fn divide32(offset: i64, a: u64, b: u64) -> Option<u64> {
    let (a, b) = (a as u32, b as u32);
    match offset {
        0 => Some(u64::from(a.checked_div(b).unwrap_or(0))),
        1 if b == 0 => Some(0),
        1 => Some(u64::from((a as i32).wrapping_div(b as i32) as u32)),
        _ => None,
    }
}

/// Remainder (section 4.1), with the sign of the dividend: by zero it is the dividend.
#[inline(always)]
pub(crate) fn remainder64(offset: i64, a: u64, b: u64) -> Option<u64> {
    match offset {
        0 => Some(a.checked_rem(b).unwrap_or(a)),
        1 if b == 0 => Some(a),
        1 => Some((a as i64).wrapping_rem(b as i64) as u64),
        _ => None,
    }
}

/// Remainder of the lower halves.
#[inline(always)]
pub(crate) fn remainder32(offset: i64, a: u64, b: u64) -> Option<u64> {
    let (a, b) = (a as u32, b as u32);
    match offset {
        0 => Some(u64::from(a.checked_rem(b).unwrap_or(a))),
        1 if b == 0 => Some(u64::from(a)),
        1 => Some(u64::from((a as i32).wrapping_rem(b as i32) as u32)),
        _ => None,
    }
}

/// A move to 64 bits, plain or from a lower part whose sign is extended (section 4.1).
#[inline(always)]
pub(crate) fn move_signed64(offset: i64, value: u64) -> Option<u64> {
    match offset {
        0 => Some(value),
        8 => Some(value as i8 as u64),
        16 => Some(value as i16 as u64),
        32 => Some(value as i32 as u64),
        _ => None,
    }
}

/// A move to 32 bits, plain or from a lower part whose sign is extended (section 4.1).
#[inline(always)]
pub(crate) fn move_signed32(offset: i64, value: u64) -> Option<u64> {
    match offset {
        0 => Some(u64::from(value as u32)),
        8 => Some(u64::from(value as i8 as u32)),
        16 => Some(u64::from(value as i16 as u32)),
        _ => None,
    }
}

/// Byte order (section 4.2). Registers are little-endian here whatever the machine is.
pub(crate) fn swap(opcode: u8, bits: u64, value: u64) -> Option<u64> {
    let to_little = opcode == op::LE;
    Some(match (bits, to_little) {
        (16, true) => u64::from(value as u16),
        (32, true) => u64::from(value as u32),
        (64, true) => value,
        (16, false) => u64::from((value as u16).swap_bytes()),
        (32, false) => u64::from((value as u32).swap_bytes()),
        (64, false) => value.swap_bytes(),
        _ => return None,
    })
}

/// Where an atomic puts the old value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fetched {
    Nothing,
    Source,
    R0,
}

macro_rules! atomic_result {
    ($name:ident, $unsigned:ty) => {
        /// What an atomic leaves in memory, and where the old value goes (section 5.3).
        pub(crate) fn $name(
            what: i32,
            old: $unsigned,
            value: $unsigned,
            expected: $unsigned,
        ) -> Option<($unsigned, Fetched)> {
            const ADD_FETCH: i32 = atomic::ADD | atomic::FETCH;
            const OR_FETCH: i32 = atomic::OR | atomic::FETCH;
            const AND_FETCH: i32 = atomic::AND | atomic::FETCH;
            const XOR_FETCH: i32 = atomic::XOR | atomic::FETCH;
            Some(match what {
                atomic::ADD => (old.wrapping_add(value), Fetched::Nothing),
                atomic::OR => (old | value, Fetched::Nothing),
                atomic::AND => (old & value, Fetched::Nothing),
                atomic::XOR => (old ^ value, Fetched::Nothing),
                ADD_FETCH => (old.wrapping_add(value), Fetched::Source),
                OR_FETCH => (old | value, Fetched::Source),
                AND_FETCH => (old & value, Fetched::Source),
                XOR_FETCH => (old ^ value, Fetched::Source),
                atomic::XCHG => (value, Fetched::Source),
                atomic::CMPXCHG => (if old == expected { value } else { old }, Fetched::R0),
                _ => return None,
            })
        }
    };
}

atomic_result!(atomic_result32, u32);
atomic_result!(atomic_result64, u64);
