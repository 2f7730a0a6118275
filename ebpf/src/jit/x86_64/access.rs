//! Loads, stores and atomics (RFC 9669 sections 5.1 to 5.3).

use core::mem::offset_of;

use super::arithmetic::{bits_of, bits_of_size};
use super::asm::{Asm, Bits, Cc, Mem, Op2, RAX, RCX, RDX, Rm, Shift};
use super::{
    Emitter, FRAME_END, Kept, MACHINE, base_field, delta_field, field, limit_field, limit_offset,
};
use crate::access::Allowed;
use crate::instruction::{AtomicOp, Instruction, Operand, Register, Size, Width};
use crate::jit::exit::Exit;
use crate::jit::machine::{Machine, Regions};
use crate::jit::survey::{How, Source};
use crate::limits::REGIONS_MAX;
use crate::memory::RegionId;

/// An access whose place is wanted.
#[derive(Clone, Copy)]
struct Wanted {
    pc: u32,
    base: Register,
    offset: i32,
    bytes: u32,
    write: bool,
    /// rdx is free when the place has been found.
    spare_rdx: bool,
}

/// Where an access goes.
struct Place {
    mem: Mem,
    /// What is loaded is to become 0 if the flags say that it lies beyond a limit.
    hide: bool,
}

impl Emitter {
    pub(super) fn access(
        &mut self,
        source: &Source<'_>,
        pc: u32,
        instruction: &Instruction,
        asm: &mut Asm<'_, '_>,
    ) {
        match *instruction {
            Instruction::Load {
                size,
                signed,
                dst,
                base,
                offset,
            } => {
                let wanted = wanted(pc, base, offset, size, false, true);
                let Place { mem, hide } = self.place(source, wanted, asm);
                let (bits, dst) = (bits_of_size(size), self.native(dst));
                if signed {
                    asm.sign_extend(Bits::B64, bits, dst, Rm::Mem(mem));
                } else {
                    asm.zero_extend(bits, dst, Rm::Mem(mem));
                }
                if hide {
                    let whole = signed || bits == Bits::B64;
                    let bits = if whole { Bits::B64 } else { Bits::B32 };
                    asm.move_if(bits, Cc::AboveEqual, dst, self.zero());
                }
            }
            Instruction::Store {
                size,
                base,
                offset,
                src,
            } => {
                let of_frame = src == Operand::Register(Register::FRAME);
                let wanted = wanted(pc, base, offset, size, true, !of_frame);
                let place = self.place(source, wanted, asm).mem;
                let bits = bits_of_size(size);
                match src {
                    Operand::Register(src) => {
                        let src = self.value(asm, src, RDX);
                        asm.store(bits, place, src);
                    }
                    Operand::Immediate(number) => asm.store_number(bits, place, number),
                }
            }
            Instruction::Atomic {
                width,
                op,
                base,
                offset,
                src,
            } => {
                let size = match width {
                    Width::Bits32 => Size::Word,
                    Width::Bits64 => Size::Double,
                };
                let wanted = wanted(pc, base, offset, size, true, false);
                let place = self.place(source, wanted, asm).mem;
                self.atomic(asm, bits_of(width), op, place, src);
            }
            _ => {}
        }
    }

    /// One thread runs a program, and the memory is nobody else's meanwhile, so nothing is locked.
    fn atomic(
        &mut self,
        asm: &mut Asm<'_, '_>,
        bits: Bits,
        op: AtomicOp,
        place: Mem,
        src: Register,
    ) {
        let (op, fetch) = match op {
            AtomicOp::CompareExchange => {
                let src = self.value(asm, src, RDX);
                asm.compare_exchange(bits, place, src);
                if bits == Bits::B32 {
                    // Where they were equal, rax has been left as it was.
                    asm.mov(Bits::B32, RAX, RAX);
                }
                return;
            }
            AtomicOp::Exchange => {
                let src = self.native(src);
                asm.load(bits, RDX, place);
                asm.store(bits, place, src);
                asm.mov(bits, src, RDX);
                return;
            }
            AtomicOp::Add { fetch: true } => {
                asm.fetch_add(bits, place, self.native(src));
                return;
            }
            AtomicOp::Add { fetch } => (Op2::Add, fetch),
            AtomicOp::Or { fetch } => (Op2::Or, fetch),
            AtomicOp::And { fetch } => (Op2::And, fetch),
            AtomicOp::Xor { fetch } => (Op2::Xor, fetch),
        };
        if fetch {
            let src = self.native(src);
            asm.load(bits, RDX, place);
            asm.op2_to_memory(bits, op, place, src);
            asm.mov(bits, src, RDX);
        } else {
            let src = self.value(asm, src, RDX);
            asm.op2_to_memory(bits, op, place, src);
        }
    }

    /// Finds the place of an access, which may be in rcx, or relative to it, or to rdx if that is
    /// free; other registers are left alone.
    fn place(&mut self, source: &Source<'_>, wanted: Wanted, asm: &mut Asm<'_, '_>) -> Place {
        let reach = source.reach(wanted.pc);
        let mem = match reach.how {
            How::Proved(RegionId::Stack) if wanted.base == Register::FRAME => {
                // The offset is a number, so there is nothing to mask.
                Mem::at(FRAME_END, wanted.offset)
            }
            How::Proved(region) if wanted.base == Register::FRAME => {
                self.guarded(wanted, Allowed::Only(region), reach.masked, asm)
            }
            How::Proved(region) if reach.masked => return self.masked(wanted, region, asm),
            How::Proved(region) => self.proved(wanted, region, asm),
            How::Guarded(allowed) => self.guarded(wanted, allowed, reach.masked, asm),
        };
        Place { mem, hide: false }
    }

    /// The address plus the region's delta.
    fn proved(&self, wanted: Wanted, region: RegionId, asm: &mut Asm<'_, '_>) -> Mem {
        let base = self.native(wanted.base);
        let delta = self.kept(Kept::Delta(region)).unwrap_or_else(|| {
            asm.load(Bits::B64, RCX, delta_field(region));
            RCX
        });
        Mem::sum(delta, base, wanted.offset)
    }

    /// The lower half of the address plus the region's base. Where it is beyond the limit it
    /// becomes 0; or in a load, where the place is found sooner without that, the value does.
    fn masked(&self, wanted: Wanted, region: RegionId, asm: &mut Asm<'_, '_>) -> Place {
        let base = self.native(wanted.base);
        if wanted.offset == 0 {
            asm.mov(Bits::B32, RCX, base);
        } else {
            asm.address(Bits::B32, RCX, Mem::at(base, wanted.offset));
        }
        let log = log_of(wanted.bytes);
        let limit = match self.kept(Kept::Limit(region, log)) {
            Some(reg) => Rm::Reg(reg),
            None => Rm::Mem(limit_field(false, log, region)),
        };
        asm.op2(Bits::B32, Op2::Cmp, RCX, limit);
        if wanted.write {
            asm.move_if(Bits::B32, Cc::AboveEqual, RCX, self.zero());
        }
        Place {
            mem: self.based(wanted, region, asm),
            hide: !wanted.write,
        }
    }

    /// The region's base plus the offset in rcx. Where rdx is free, the flags stay as they are.
    fn based(&self, wanted: Wanted, region: RegionId, asm: &mut Asm<'_, '_>) -> Mem {
        if let Some(base) = self.kept(Kept::Base(region)) {
            return Mem::sum(base, RCX, 0);
        }
        if wanted.spare_rdx {
            asm.load(Bits::B64, RDX, base_field(region));
            return Mem::sum(RDX, RCX, 0);
        }
        asm.op2(Bits::B64, Op2::Add, RCX, Rm::Mem(base_field(region)));
        Mem::at(RCX, 0)
    }

    fn zero(&self) -> Rm {
        match self.kept(Kept::Zero) {
            Some(reg) => Rm::Reg(reg),
            None => Rm::Mem(field(offset_of!(Machine, zero))),
        }
    }

    /// The place of an access that is checked. At each way out, rcx has the address.
    fn guarded(
        &mut self,
        wanted: Wanted,
        allowed: Allowed,
        masked: bool,
        asm: &mut Asm<'_, '_>,
    ) -> Mem {
        let Wanted {
            pc, bytes, write, ..
        } = wanted;
        let base = self.value(asm, wanted.base, RCX);
        if wanted.offset != 0 {
            asm.address(Bits::B64, RCX, Mem::at(base, wanted.offset));
        } else if base != RCX {
            asm.mov(Bits::B64, RCX, base);
        }
        let denied = self.stub(asm, Exit::Denied { pc, bytes, write });
        asm.mov(Bits::B64, RDX, RCX);
        asm.shift(Bits::B64, Shift::Shr, RDX, 32);
        if let Allowed::Only(region) = allowed {
            let tag = region.number() as i32 + 1;
            asm.op2_number(Bits::B32, Op2::Cmp, Rm::Reg(RDX), tag);
            asm.jump_if(Cc::NotEqual, false, denied);
            let limit = limit_field(write, log_of(bytes), region);
            asm.op2(Bits::B32, Op2::Cmp, RCX, Rm::Mem(limit));
            asm.jump_if(Cc::AboveEqual, false, denied);
            return self.inside(wanted, region, masked, asm);
        }
        // The number of the region, by which its limit and its base are found.
        asm.op2_number(Bits::B32, Op2::Sub, Rm::Reg(RDX), 1);
        asm.op2_number(Bits::B32, Op2::Cmp, Rm::Reg(RDX), REGIONS_MAX as i32);
        asm.jump_if(Cc::AboveEqual, false, denied);
        if masked {
            asm.move_if(Bits::B32, Cc::AboveEqual, RDX, self.zero());
        }
        if allowed == Allowed::Numbers {
            for region in [RegionId::Context, RegionId::Stack] {
                let number = region.number() as i32;
                asm.op2_number(Bits::B32, Op2::Cmp, Rm::Reg(RDX), number);
                asm.jump_if(Cc::Equal, false, denied);
            }
        }
        let limit = Mem {
            base: MACHINE,
            index: Some((RDX, 2)),
            disp: limit_offset(write, log_of(bytes)) as i32,
        };
        asm.op2(Bits::B32, Op2::Cmp, RCX, Rm::Mem(limit));
        asm.jump_if(Cc::AboveEqual, false, denied);
        let addend = if masked {
            // Neither changes the flags before they are looked at.
            asm.mov(Bits::B32, RCX, RCX);
            asm.move_if(Bits::B32, Cc::AboveEqual, RCX, self.zero());
            offset_of!(Regions, base)
        } else {
            offset_of!(Regions, delta)
        };
        let addend = Mem {
            base: MACHINE,
            index: Some((RDX, 3)),
            disp: (offset_of!(Machine, regions) + addend) as i32,
        };
        asm.op2(Bits::B64, Op2::Add, RCX, Rm::Mem(addend));
        Mem::at(RCX, 0)
    }

    /// The place of an access whose address, in rcx, was found to be inside a region; the flags are
    /// those of the comparison with its limit.
    fn inside(&self, wanted: Wanted, region: RegionId, masked: bool, asm: &mut Asm<'_, '_>) -> Mem {
        if masked {
            asm.mov(Bits::B32, RCX, RCX);
            asm.move_if(Bits::B32, Cc::AboveEqual, RCX, self.zero());
            return self.based(wanted, region, asm);
        }
        match self.kept(Kept::Delta(region)) {
            Some(delta) => Mem::sum(delta, RCX, 0),
            None => {
                asm.op2(Bits::B64, Op2::Add, RCX, Rm::Mem(delta_field(region)));
                Mem::at(RCX, 0)
            }
        }
    }
}

fn wanted(
    pc: u32,
    base: Register,
    offset: i16,
    size: Size,
    write: bool,
    spare_rdx: bool,
) -> Wanted {
    Wanted {
        pc,
        base,
        offset: i32::from(offset),
        bytes: size.bytes() as u32,
        write,
        spare_rdx,
    }
}

/// The logarithm of an access's bytes.
const fn log_of(bytes: u32) -> u8 {
    bytes.trailing_zeros() as u8
}
