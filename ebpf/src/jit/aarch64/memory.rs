//! Loads, stores and atomics (RFC 9669 section 5): where they go, and what is asked before.

use super::super::exit::Exit;
use super::super::machine::{Machine, Regions};
use super::super::survey::{How, Reach};
use super::assembler::{Assembler, Branch};
use super::encode::{
    self, Cell, Cond, Index, Logic, Move, Reg, Size, Sum, Wide, ZR, logic_imm, mem_imm, mem_reg,
    move_wide, sum_imm,
};
use super::{
    Detail, Emitter, FRAME, MACHINE, NEAR, Pinned, R0, T0, T1, T2, T3, frame_bias, native,
};
use crate::access::Allowed;
use crate::instruction::{AtomicOp, Register, Width};
use crate::limits::REGIONS_MAX;
use crate::memory::RegionId;
use core::mem::offset_of;

/// A load, store or atomic, as far as its place matters.
#[derive(Clone, Copy)]
pub(super) struct Access {
    pub(super) pc: u32,
    pub(super) reach: Reach,
    pub(super) base: Register,
    pub(super) offset: i16,
    pub(super) cell: Cell,
    pub(super) write: bool,
}

/// A native place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    At(Reg, i32),
    Sum(Reg, Reg, Index),
}

impl Place {
    /// Moves a register there or from there.
    fn put(self, asm: &mut Assembler<'_, '_>, way: Move, cell: Cell, t: Reg) {
        match self {
            Place::At(base, bytes) => asm.put_fit(mem_imm(way, cell, t, base, bytes)),
            Place::Sum(base, index, how) => asm.put(mem_reg(way, cell, t, base, index, how)),
        }
    }
}

/// Where the machine keeps the limits of all regions, by the logarithm of an access's bytes.
pub(super) const fn limits(log: usize, write: bool) -> usize {
    let all = if write {
        offset_of!(Regions, write_limit)
    } else {
        offset_of!(Regions, read_limit)
    };
    let one = size_of::<[u32; REGIONS_MAX]>();
    offset_of!(Machine, regions) + all + log * one
}

/// Where the machine keeps what a region's addresses are added to.
pub(super) const fn delta_of(region: usize) -> usize {
    offset_of!(Machine, regions) + offset_of!(Regions, delta) + region * 8
}

/// Where the machine keeps a region's first byte.
pub(super) const fn base_of(region: usize) -> usize {
    offset_of!(Machine, regions) + offset_of!(Regions, base) + region * 8
}

impl Emitter {
    /// `d = [base + offset]`.
    pub(super) fn load(&mut self, asm: &mut Assembler<'_, '_>, access: Access, d: Reg) {
        match access.reach {
            Reach {
                how: How::Proved(region),
                masked: true,
            } => self.load_masked(asm, access, region, d),
            _ => {
                let place = self.place(asm, access);
                place.put(asm, Move::Load, access.cell, d);
            }
        }
        self.written(d);
    }

    /// A proved load of which the value is 0 where the offset exceeds the limit: it need not wait
    /// for the comparison.
    fn load_masked(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        access: Access,
        region: RegionId,
        d: Reg,
    ) {
        let half = self.compare_half(asm, access, region);
        let base = self.pinned_base(asm, region.number());
        asm.put(mem_reg(Move::Load, access.cell, d, base, half, Index::W));
        mask(asm, Size::X, d, d);
    }

    /// `[base + offset] = value`.
    pub(super) fn store(&mut self, asm: &mut Assembler<'_, '_>, access: Access, value: Value) {
        let place = self.place(asm, access);
        let t = match value {
            Value::Register(reg) => reg,
            Value::Number(0) => ZR,
            Value::Number(number) => {
                asm.number(T2, super::arithmetic::bits_of(Size::X, number));
                T2
            }
        };
        place.put(asm, Move::Store, access.cell, t);
    }

    /// An atomic (section 5.3). One thread runs a program, and the memory is nobody else's
    /// meanwhile, so a load and a store are atomic.
    pub(super) fn atomic(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        access: Access,
        (op, width, src): (AtomicOp, Width, Reg),
    ) {
        let size = super::size_of_width(width);
        // Where neither what is loaded nor what is stored comes between.
        let place = match self.place(asm, access) {
            Place::Sum(base, index, Index::W) => {
                asm.put(encode::sum_half(Sum::Add, T3, base, index));
                Place::At(T3, 0)
            }
            Place::Sum(base, index, _) => {
                asm.put(encode::sum(Sum::Add, Size::X, T3, base, index));
                Place::At(T3, 0)
            }
            Place::At(base, bytes) if base == T0 => {
                asm.put(encode::mov(Size::X, T3, base));
                Place::At(T3, bytes)
            }
            at @ Place::At(..) => at,
        };
        let (old, new) = (T2, T0);
        place.put(asm, Move::Load, access.cell, old);
        let stored = match op {
            AtomicOp::Exchange => src,
            _ => new,
        };
        match op {
            AtomicOp::Add { .. } => asm.put(encode::sum(Sum::Add, size, new, old, src)),
            AtomicOp::Or { .. } => asm.put(encode::logic(Logic::Orr, size, new, old, src)),
            AtomicOp::And { .. } => asm.put(encode::logic(Logic::And, size, new, old, src)),
            AtomicOp::Xor { .. } => asm.put(encode::logic(Logic::Eor, size, new, old, src)),
            AtomicOp::Exchange => {}
            AtomicOp::CompareExchange => {
                asm.put(encode::sum(Sum::Subs, size, ZR, old, R0));
                asm.put(encode::csel(size, new, src, old, Cond::Eq));
            }
        }
        place.put(asm, Move::Store, access.cell, stored);
        let fetched = match op {
            AtomicOp::CompareExchange => Some(R0),
            op if op.writes_source() => Some(src),
            _ => None,
        };
        if let Some(reg) = fetched {
            asm.put(encode::mov(size, reg, old));
            self.written(reg);
        }
    }

    /// Asks what must be asked before an access, and gives its place: never in `T2`.
    fn place(&mut self, asm: &mut Assembler<'_, '_>, access: Access) -> Place {
        let Reach { how, masked } = access.reach;
        match how {
            How::Proved(region) if masked => self.proved_masked(asm, access, region),
            How::Proved(region) => self.proved(asm, access, region),
            How::Guarded(Allowed::Only(region)) => self.guarded(asm, access, region),
            How::Guarded(allowed) => self.guarded_anywhere(asm, access, allowed),
        }
    }

    /// The address and what it is added to.
    fn proved(&mut self, asm: &mut Assembler<'_, '_>, access: Access, region: RegionId) -> Place {
        let (base, offset) = (native(access.base), i32::from(access.offset));
        if access.base == Register::FRAME && region == RegionId::Stack {
            return self.near(asm, access.cell, FRAME, offset + frame_bias());
        }
        if self.near == Some((base, region)) {
            return self.near(asm, access.cell, NEAR, offset);
        }
        let delta = self.pinned_delta(asm, region.number());
        if offset == 0 {
            return Place::Sum(delta, base, Index::X);
        }
        asm.put(encode::sum(Sum::Add, Size::X, NEAR, base, delta));
        self.near = Some((base, region));
        self.near(asm, access.cell, NEAR, offset)
    }

    /// A place at an offset from a native address.
    fn near(&mut self, asm: &mut Assembler<'_, '_>, cell: Cell, at: Reg, offset: i32) -> Place {
        if mem_imm(Move::Load, cell, ZR, at, offset).is_some() {
            return Place::At(at, offset);
        }
        asm.add(Size::X, T0, at, i64::from(offset), T1);
        Place::At(T0, 0)
    }

    /// The base, and the address's lower half, or 0 where that exceeds the limit.
    fn proved_masked(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        access: Access,
        region: RegionId,
    ) -> Place {
        let half = self.compare_half(asm, access, region);
        mask(asm, Size::W, T0, half);
        let base = self.pinned_base(asm, region.number());
        Place::Sum(base, T0, Index::W)
    }

    /// Compares the address's lower half with the region's limit, and gives the register it is in.
    fn compare_half(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        access: Access,
        region: RegionId,
    ) -> Reg {
        let mut half = native(access.base);
        if access.offset != 0 {
            asm.add(Size::W, T0, half, i64::from(access.offset), T1);
            half = T0;
        }
        let limit = self.limit(asm, access, region.number(), T1);
        asm.put(encode::sum(Sum::Subs, Size::W, ZR, half, limit));
        half
    }

    /// A register with a region's limit: its own, or `spare`.
    fn limit(&self, asm: &mut Assembler<'_, '_>, access: Access, region: usize, spare: Reg) -> Reg {
        let log = access.cell.bytes().ilog2() as usize;
        let pinned = match access.write {
            true => None,
            false => self.pins.find(Pinned::ReadLimit(region, log)),
        };
        pinned.unwrap_or_else(|| {
            let at = limits(log, access.write) + region * 4;
            asm.memory(Move::Load, Cell::U32, spare, MACHINE, at);
            spare
        })
    }

    /// The whole address of an access, in its base register or in `T0`.
    fn whole_address(&mut self, asm: &mut Assembler<'_, '_>, access: Access) -> Reg {
        let base = native(access.base);
        if access.offset == 0 {
            return base;
        }
        asm.add(Size::X, T0, base, i64::from(access.offset), T1);
        T0
    }

    /// What is done where an access is refused.
    fn denied(&mut self, asm: &mut Assembler<'_, '_>, branch: Branch, access: Access) {
        let exit = Exit::Denied {
            pc: access.pc,
            bytes: access.cell.bytes(),
            write: access.write,
        };
        let detail = Detail::Sum(native(access.base), access.offset);
        self.leave_if(asm, branch, exit, detail);
    }

    /// An access that may touch one region: with the tag taken off by an exclusive or, an address
    /// anywhere else is larger than any offset, so one comparison asks for tag and range.
    fn guarded(&mut self, asm: &mut Assembler<'_, '_>, access: Access, region: RegionId) -> Place {
        let address = self.whole_address(asm, access);
        let number = region.number();
        let tag = number as u64 + 1;
        match logic_imm(Logic::Eor, Size::X, T1, address, tag << 32) {
            Some(word) => asm.put(word),
            None => {
                asm.put(move_wide(Wide::Movz, Size::X, T1, tag as u16, 2));
                asm.put(encode::logic(Logic::Eor, Size::X, T1, address, T1));
            }
        }
        let limit = self.limit(asm, access, number, T2);
        asm.put(encode::sum(Sum::Subs, Size::X, ZR, T1, limit));
        self.denied(asm, Branch::Flags(Cond::Hs), access);
        if access.reach.masked {
            mask(asm, Size::X, T1, T1);
            let base = self.pinned_base(asm, number);
            return Place::Sum(base, T1, Index::X);
        }
        let delta = self.pinned_delta(asm, number);
        Place::Sum(delta, address, Index::X)
    }

    /// An access that may touch any region, or any but those that hold addresses.
    fn guarded_anywhere(
        &mut self,
        asm: &mut Assembler<'_, '_>,
        access: Access,
        allowed: Allowed,
    ) -> Place {
        let address = self.whole_address(asm, access);
        let compare = |region: usize| sum_imm(Sum::Subs, Size::X, ZR, T1, region as u32);
        asm.put(encode::lsr_imm(Size::X, T1, address, 32));
        asm.put_fit(sum_imm(Sum::Sub, Size::X, T1, T1, 1));
        if allowed == Allowed::Numbers {
            const { assert!(RegionId::Context.number() == 0) };
            self.denied(asm, Branch::Zero(Size::X, T1), access);
            asm.put_fit(compare(RegionId::Stack.number()));
            self.denied(asm, Branch::Flags(Cond::Eq), access);
        }
        asm.put_fit(compare(REGIONS_MAX));
        self.denied(asm, Branch::Flags(Cond::Hs), access);
        if access.reach.masked {
            mask(asm, Size::X, T1, T1);
        }
        let limit = limits(access.cell.bytes().ilog2() as usize, access.write);
        asm.add(Size::X, T2, MACHINE, limit as i64, T3);
        asm.put(mem_reg(Move::Load, Cell::U32, T2, T2, T1, Index::Scaled));
        asm.put(encode::sum(Sum::Subs, Size::W, ZR, address, T2));
        self.denied(asm, Branch::Flags(Cond::Hs), access);
        let mut half = address;
        if access.reach.masked {
            mask(asm, Size::W, T0, address);
            half = T0;
        }
        asm.add(Size::X, T3, MACHINE, base_of(0) as i64, T2);
        asm.put(mem_reg(Move::Load, Cell::U64, T3, T3, T1, Index::Scaled));
        Place::Sum(T3, half, Index::W)
    }

    /// A register with what a region's addresses are added to: its own, or `T3`.
    fn pinned_delta(&mut self, asm: &mut Assembler<'_, '_>, region: usize) -> Reg {
        self.pins.delta(region).unwrap_or_else(|| {
            asm.memory(Move::Load, Cell::U64, T3, MACHINE, delta_of(region));
            T3
        })
    }

    /// A register with the address of a region's first byte: its own, or `T3`.
    fn pinned_base(&mut self, asm: &mut Assembler<'_, '_>, region: usize) -> Reg {
        self.pins.base(region).unwrap_or_else(|| {
            asm.memory(Move::Load, Cell::U64, T3, MACHINE, base_of(region));
            T3
        })
    }
}

/// What is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Register(Reg),
    Number(i32),
}

/// `d` = `n` if the comparison before found it lower, else 0, also for what is speculated on.
///
/// A processor may predict flags for a selection as it does for branches. After `CSDB` nothing but
/// branches is executed speculatively with the result of a selection for which flags were predicted;
/// so the manual defines it (DDI 0487 under `CSDB`), and selection and barrier together are what
/// Arm's paper "Cache Speculation Side-channels" has software do (section "Software mitigations").
/// To processors that predict no such thing it is a hint that does nothing.
fn mask(asm: &mut Assembler<'_, '_>, size: Size, d: Reg, n: Reg) {
    asm.put(encode::csel(size, d, n, ZR, Cond::Lo));
    asm.put(encode::CSDB);
}
