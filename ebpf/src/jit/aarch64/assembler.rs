//! Instructions one after the other, and the small sequences that are made of several.

use super::super::output::Output;
use super::encode::{
    self, Cell, Logic, Move, Reg, Size, Sum, Wide, ZR, logic_imm, mem_imm, move_wide, sum_imm,
};

/// What instructions are put into.
pub(super) struct Assembler<'o, 'a>(pub(super) &'o mut Output<'a>);

impl Assembler<'_, '_> {
    /// Bytes so far.
    pub(super) const fn at(&self) -> usize {
        self.0.at()
    }

    /// Adds an instruction.
    #[inline]
    pub(super) fn put(&mut self, word: u32) {
        self.0.put(&word.to_le_bytes());
    }

    /// The distance to an offset in instructions, for a field of so many bits, which code that is
    /// no longer than it may be has no need of more for.
    fn distance(&mut self, to: usize, bits: u32) -> i32 {
        let distance = (to as i64 - self.at() as i64) / 4;
        let most = 1_i64 << (bits - 1);
        if (-most..most).contains(&distance) {
            distance as i32
        } else {
            self.0.fail();
            0
        }
    }

    /// Adds an instruction whose operands fit by the way they are made.
    pub(super) fn put_fit(&mut self, word: Option<u32>) {
        debug_assert!(word.is_some(), "its operands fit");
        match word {
            Some(word) => self.put(word),
            None => self.0.fail(),
        }
    }

    /// Jumps to an offset.
    pub(super) fn jump(&mut self, to: usize) {
        let distance = self.distance(to, 26);
        self.put(encode::b(distance));
    }

    /// Jumps to an offset under a condition.
    pub(super) fn branch(&mut self, branch: Branch, to: usize) {
        let distance = self.distance(to, 19);
        self.put(branch.word(distance));
    }

    /// `d` = the address of an offset.
    pub(super) fn address(&mut self, d: Reg, of: usize) {
        let bytes = self.distance(of, 19) * 4;
        self.put(encode::adr(d, bytes));
    }

    /// `d = value`.
    pub(super) fn number(&mut self, d: Reg, value: u64) {
        let parts = [0, 1, 2, 3].map(|quarter| (value >> (16 * quarter)) as u16);
        let other_than = |part: u16| parts.iter().filter(|&&other| other != part).count();
        let (not_zero, not_ones) = (other_than(0), other_than(u16::MAX));
        if not_zero > 1 && not_ones > 1 {
            let half = u32::try_from(value).ok();
            let mask = logic_imm(Logic::Orr, Size::X, d, ZR, value).or_else(|| {
                half.and_then(|half| logic_imm(Logic::Orr, Size::W, d, ZR, u64::from(half)))
            });
            if let Some(word) = mask {
                return self.put(word);
            }
            if let Some(half) = half
                && half >> 16 == 0xffff
            {
                return self.put(move_wide(Wide::Movn, Size::W, d, !half as u16, 0));
            }
        }
        let inverted = not_ones < not_zero;
        let common = if inverted { u16::MAX } else { 0 };
        let mut is_first = true;
        for (quarter, part) in (0..).zip(parts) {
            if part == common {
                continue;
            }
            self.put(match (is_first, inverted) {
                (true, true) => move_wide(Wide::Movn, Size::X, d, !part, quarter),
                (true, false) => move_wide(Wide::Movz, Size::X, d, part, quarter),
                (false, _) => move_wide(Wide::Movk, Size::X, d, part, quarter),
            });
            is_first = false;
        }
        if is_first {
            let wide = if inverted { Wide::Movn } else { Wide::Movz };
            self.put(move_wide(wide, Size::X, d, 0, 0));
        }
    }

    /// `d = value`, in two instructions whatever the value.
    pub(super) fn word(&mut self, d: Reg, value: u32) {
        self.put(move_wide(Wide::Movz, Size::W, d, value as u16, 0));
        self.put(move_wide(Wide::Movk, Size::W, d, (value >> 16) as u16, 1));
    }

    /// `d = n + value`. `spare` is none of the two, and lost.
    pub(super) fn add(&mut self, size: Size, d: Reg, n: Reg, value: i64, spare: Reg) {
        let sum = if value < 0 { Sum::Sub } else { Sum::Add };
        let most = u32::try_from(value.unsigned_abs()).unwrap_or(u32::MAX);
        if most == 0 {
            return self.put(encode::mov(size, d, n));
        }
        if let Some(word) = sum_imm(sum, size, d, n, most) {
            return self.put(word);
        }
        let (low, high) = (most & 0xfff, most & 0xfff_000);
        let (first, second) = (
            sum_imm(sum, size, d, n, high),
            sum_imm(sum, size, d, d, low),
        );
        match (first, second) {
            (Some(first), Some(second)) if low | high == most => {
                self.put(first);
                self.put(second);
            }
            _ => {
                self.number(spare, value as u64);
                self.put(encode::sum(Sum::Add, size, d, n, spare));
            }
        }
    }

    /// Loads or stores at an offset from a base, which is near enough by its making.
    pub(super) fn memory(&mut self, way: Move, cell: Cell, t: Reg, n: Reg, bytes: usize) {
        self.put_fit(mem_imm(way, cell, t, n, bytes as i32));
    }
}

/// What a conditional jump asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Branch {
    /// The flags.
    Flags(encode::Cond),
    /// Whether a register is zero.
    Zero(Size, Reg),
    /// Whether it is not.
    NotZero(Size, Reg),
}

impl Branch {
    /// The instruction, with a distance in instructions.
    pub(super) const fn word(self, instructions: i32) -> u32 {
        match self {
            Branch::Flags(cond) => encode::b_cond(cond, instructions),
            Branch::Zero(size, reg) => encode::cbz(size, reg, instructions),
            Branch::NotZero(size, reg) => encode::cbnz(size, reg, instructions),
        }
    }

    /// The one that jumps where this does not.
    pub(super) const fn inverse(self) -> Branch {
        match self {
            Branch::Flags(cond) => Branch::Flags(cond.inverse()),
            Branch::Zero(size, reg) => Branch::NotZero(size, reg),
            Branch::NotZero(size, reg) => Branch::Zero(size, reg),
        }
    }
}
