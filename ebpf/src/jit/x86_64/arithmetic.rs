//! Arithmetic, moves and byte orders (RFC 9669 sections 4.1 and 4.2).

use super::asm::{Asm, Bits, Cc, Mem, Op2, RAX, RCX, RDX, Reg, Rm, Shift};
use super::{Emitter, Flags};
use crate::instruction::{AluOp, Instruction, Operand, Register, Size, SwapOrder, Width};
use crate::jit::survey::Source;
use crate::jit::table::Table;

pub(super) const fn bits_of(width: Width) -> Bits {
    match width {
        Width::Bits32 => Bits::B32,
        Width::Bits64 => Bits::B64,
    }
}

pub(super) const fn bits_of_size(size: Size) -> Bits {
    match size {
        Size::Byte => Bits::B8,
        Size::Half => Bits::B16,
        Size::Word => Bits::B32,
        Size::Double => Bits::B64,
    }
}

const fn op2_of(op: AluOp) -> Option<Op2> {
    Some(match op {
        AluOp::Add => Op2::Add,
        AluOp::Sub => Op2::Sub,
        AluOp::Or => Op2::Or,
        AluOp::And => Op2::And,
        AluOp::Xor => Op2::Xor,
        _ => return None,
    })
}

const fn shift_of(op: AluOp) -> Option<Shift> {
    Some(match op {
        AluOp::Lsh => Shift::Shl,
        AluOp::Rsh => Shift::Shr,
        AluOp::Arsh => Shift::Sar,
        _ => return None,
    })
}

impl Emitter {
    /// Notes that the flags just set compare a register with 0.
    fn flags_are_of(&mut self, asm: &Asm<'_, '_>, register: Reg, bits: Bits) {
        let at = asm.0.at();
        self.flags = Some(Flags { at, register, bits });
    }

    pub(super) fn alu(
        &mut self,
        asm: &mut Asm<'_, '_>,
        width: Width,
        op: AluOp,
        dst: Register,
        src: Operand,
    ) {
        let (bits, dst) = (bits_of(width), self.native(dst));
        match src {
            Operand::Register(src) => self.alu_register(asm, bits, op, dst, src),
            Operand::Immediate(number) => self.alu_number(asm, bits, op, dst, number),
        }
    }

    fn alu_register(
        &mut self,
        asm: &mut Asm<'_, '_>,
        bits: Bits,
        op: AluOp,
        dst: Reg,
        src: Register,
    ) {
        if op == AluOp::Mov && src == Register::FRAME {
            self.value(asm, src, dst);
            if bits == Bits::B32 {
                asm.mov(Bits::B32, dst, dst);
            }
            return;
        }
        let src = self.value(asm, src, RCX);
        if let Some(op) = op2_of(op) {
            asm.op2(bits, op, dst, Rm::Reg(src));
            self.flags_are_of(asm, dst, bits);
        } else if let Some(shift) = shift_of(op) {
            asm.mov(Bits::B32, RCX, src);
            asm.shift_by_cl(bits, shift, dst);
        } else {
            match op {
                AluOp::Mov if bits == Bits::B64 && dst == src => {}
                AluOp::Mov => asm.mov(bits, dst, src),
                AluOp::Mul => asm.multiply(bits, dst, src),
                _ => self.divide_by_register(asm, bits, op, dst, src),
            }
        }
    }

    fn alu_number(&mut self, asm: &mut Asm<'_, '_>, bits: Bits, op: AluOp, dst: Reg, number: i32) {
        if let Some(op) = op2_of(op) {
            self.op2_number(asm, bits, op, dst, number);
        } else if let Some(shift) = shift_of(op) {
            let count = number as u8 & if bits == Bits::B64 { 63 } else { 31 };
            if count != 0 {
                asm.shift(bits, shift, dst, count);
                self.flags_are_of(asm, dst, bits);
            } else if bits == Bits::B32 {
                asm.mov(Bits::B32, dst, dst);
            }
        } else {
            match op {
                AluOp::Mov if bits == Bits::B64 => asm.mov_number(dst, i64::from(number) as u64),
                AluOp::Mov => asm.mov_number(dst, u64::from(number as u32)),
                AluOp::Mul => multiply_number(asm, bits, dst, number),
                _ => self.divide_by_number(asm, bits, op, dst, number),
            }
        }
    }

    fn op2_number(&mut self, asm: &mut Asm<'_, '_>, bits: Bits, op: Op2, dst: Reg, number: i32) {
        let bits = match (op, number) {
            // The upper half becomes 0 either way.
            (Op2::And, 0..) => Bits::B32,
            _ => bits,
        };
        match (op, number) {
            (Op2::And, 0xff) => asm.zero_extend(Bits::B8, dst, Rm::Reg(dst)),
            (Op2::And, 0xffff) => asm.zero_extend(Bits::B16, dst, Rm::Reg(dst)),
            (Op2::Add | Op2::Sub | Op2::Or | Op2::Xor, 0) | (Op2::And, -1) => {
                if bits == Bits::B32 {
                    asm.mov(Bits::B32, dst, dst);
                }
            }
            _ => {
                // One byte less for a number of 128.
                let (op, number) = match (op, number) {
                    (Op2::Add, 128) => (Op2::Sub, -128),
                    (Op2::Sub, 128) => (Op2::Add, -128),
                    other => other,
                };
                asm.op2_number(bits, op, Rm::Reg(dst), number);
                self.flags_are_of(asm, dst, bits);
            }
        }
    }

    /// Division and remainder. rcx has the divisor then, and `dst` changes places with rax.
    fn divide_by_register(
        &mut self,
        asm: &mut Asm<'_, '_>,
        bits: Bits,
        op: AluOp,
        dst: Reg,
        src: Reg,
    ) {
        if src != RCX {
            asm.mov(bits, RCX, src);
        }
        let signed = matches!(op, AluOp::SignedDiv | AluOp::SignedMod);
        let quotient = matches!(op, AluOp::Div | AluOp::SignedDiv);
        asm.test(bits, RCX, RCX);
        let zero = asm.open_if(Cc::Equal);
        let minus_one = signed.then(|| {
            asm.op2_number(bits, Op2::Cmp, Rm::Reg(RCX), -1);
            asm.open_if(Cc::Equal)
        });
        divide_by_rcx(asm, bits, signed, quotient, dst);
        let done = asm.open();
        let negated = minus_one.map(|open| {
            asm.close(open);
            divide_by_minus_one(asm, bits, quotient, dst);
            asm.open()
        });
        asm.close(zero);
        if quotient {
            asm.mov_number(dst, 0);
        } else if bits == Bits::B32 {
            asm.mov(Bits::B32, dst, dst);
        }
        asm.close(done);
        if let Some(negated) = negated {
            asm.close(negated);
        }
    }

    fn divide_by_number(
        &mut self,
        asm: &mut Asm<'_, '_>,
        bits: Bits,
        op: AluOp,
        dst: Reg,
        number: i32,
    ) {
        let signed = matches!(op, AluOp::SignedDiv | AluOp::SignedMod);
        let quotient = matches!(op, AluOp::Div | AluOp::SignedDiv);
        match number {
            0 if quotient => asm.mov_number(dst, 0),
            0 if bits == Bits::B32 => asm.mov(Bits::B32, dst, dst),
            0 => {}
            -1 if signed => divide_by_minus_one(asm, bits, quotient, dst),
            1.. if !signed && (number & (number - 1)) == 0 => {
                let log = number.trailing_zeros() as u8;
                match (quotient, log) {
                    (true, 0) if bits == Bits::B64 => {}
                    (true, 0) => asm.mov(Bits::B32, dst, dst),
                    (true, log) => asm.shift(bits, Shift::Shr, dst, log),
                    (false, _) => {
                        asm.op2_number(Bits::B32, Op2::And, Rm::Reg(dst), number - 1);
                    }
                }
            }
            _ => {
                let divisor = match bits {
                    Bits::B64 => i64::from(number) as u64,
                    _ => u64::from(number as u32),
                };
                asm.mov_number(RCX, divisor);
                divide_by_rcx(asm, bits, signed, quotient, dst);
            }
        }
    }

    pub(super) fn negate(&mut self, asm: &mut Asm<'_, '_>, width: Width, dst: Register) {
        let (bits, dst) = (bits_of(width), self.native(dst));
        asm.negate(bits, dst);
        self.flags_are_of(asm, dst, bits);
    }

    pub(super) fn move_signed(
        &mut self,
        asm: &mut Asm<'_, '_>,
        width: Width,
        from: Size,
        dst: Register,
        src: Register,
    ) {
        let src = self.value(asm, src, RCX);
        let from = bits_of_size(from);
        asm.sign_extend(bits_of(width), from, self.native(dst), Rm::Reg(src));
    }

    pub(super) fn swap(
        &mut self,
        asm: &mut Asm<'_, '_>,
        order: SwapOrder,
        size: Size,
        dst: Register,
    ) {
        let (bits, dst) = (bits_of_size(size), self.native(dst));
        match (order, bits) {
            (SwapOrder::Little, Bits::B64) => {}
            (SwapOrder::Little, bits) => asm.zero_extend(bits, dst, Rm::Reg(dst)),
            (_, Bits::B32 | Bits::B64) => asm.swap_bytes(bits, dst),
            (_, bits) => {
                asm.shift(bits, Shift::Rol, dst, 8);
                asm.zero_extend(Bits::B16, dst, Rm::Reg(dst));
            }
        }
    }

    /// Emits several instructions as fewer, if they follow each other in a way that is known.
    pub(super) fn several(
        &mut self,
        source: &Source<'_>,
        table: &Table<'_>,
        pc: u32,
        first: &Instruction,
        asm: &mut Asm<'_, '_>,
    ) -> Option<u32> {
        let next = |distance: u32| {
            let pc = pc + distance;
            let leads_on = !table.is_label(pc);
            leads_on.then(|| source.instruction(pc).ok()).flatten()
        };
        let Instruction::Alu {
            width,
            op,
            dst,
            src,
        } = *first
        else {
            return None;
        };
        let (bits, to) = (bits_of(width), self.native(dst));
        match (op, src) {
            (AluOp::Mov, Operand::Register(src)) if src != Register::FRAME => {
                let second = next(1)?;
                let from = self.native(src);
                if let Some(part) = extension(&second, next(2)?, dst) {
                    // Of a 32-bit move, the upper half is not the source's.
                    if bits == Bits::B64 || part.bits == Bits::B32 {
                        part.emit(asm, to, from);
                        return Some(3);
                    }
                }
                if let Some((scaled, scale)) = scaling(&second, dst).filter(|_| bits == Bits::B64) {
                    let (third, fourth) = (next(2)?, next(3)?);
                    let (to_sum, sum) = self.scaled_sum(&third, &fourth, scaled, from, scale)?;
                    if src == dst {
                        return None;
                    }
                    // The sum need not wait for the shift.
                    asm.mov(Bits::B64, to, from);
                    asm.shift(Bits::B64, Shift::Shl, to, scale);
                    asm.address(Bits::B64, to_sum, sum);
                    return Some(4);
                }
                let added = self.sum(&second, width, dst, from)?;
                if src == dst {
                    return None;
                }
                asm.address(bits, to, added);
                Some(2)
            }
            (AluOp::Lsh, Operand::Immediate(_)) => {
                let second = next(1)?;
                if let Some(part) = extension(first, second, dst) {
                    part.emit(asm, to, to);
                    return Some(2);
                }
                let (_, scale) = scaling(first, dst)?;
                let base = self.added_register(&second, dst)?;
                asm.address(Bits::B64, to, scaled_place(base, to, scale));
                Some(2)
            }
            _ => None,
        }
    }

    /// The native register that is added to another register, of 64 bits.
    fn added_register(&self, instruction: &Instruction, to: Register) -> Option<Reg> {
        match *instruction {
            Instruction::Alu {
                width: Width::Bits64,
                op: AluOp::Add,
                dst,
                src: Operand::Register(src),
            } if dst == to && src != to && src != Register::FRAME => Some(self.native(src)),
            _ => None,
        }
    }

    /// What a move and an addition of `scaled`, which is `from` shifted, make: where it goes, and the
    /// sum as a place.
    fn scaled_sum(
        &self,
        moved: &Instruction,
        added: &Instruction,
        scaled: Register,
        from: Reg,
        scale: u8,
    ) -> Option<(Reg, Mem)> {
        let Instruction::Alu {
            width: Width::Bits64,
            op: AluOp::Mov,
            dst,
            src: Operand::Register(base),
        } = *moved
        else {
            return None;
        };
        if dst == scaled || base == scaled || base == Register::FRAME {
            return None;
        }
        let added = self.added_register(added, dst)?;
        let base = self.native(base);
        (added == self.native(scaled)).then(|| (self.native(dst), scaled_place(base, from, scale)))
    }

    /// The sum that an addition behind a move makes, as a place.
    fn sum(
        &self,
        second: &Instruction,
        first_width: Width,
        first_dst: Register,
        from: Reg,
    ) -> Option<Mem> {
        let Instruction::Alu {
            width,
            op: AluOp::Add,
            dst,
            src,
        } = *second
        else {
            return None;
        };
        if width != first_width || dst != first_dst {
            return None;
        }
        match src {
            Operand::Register(Register::FRAME) => None,
            Operand::Register(src) if src == dst => Some(Mem::sum(from, from, 0)),
            Operand::Register(src) => Some(Mem::sum(from, self.native(src), 0)),
            Operand::Immediate(number) => Some(Mem::at(from, number)),
        }
    }
}

/// The register and the count of a shift that an address can contain.
fn scaling(instruction: &Instruction, register: Register) -> Option<(Register, u8)> {
    match *instruction {
        Instruction::Alu {
            width: Width::Bits64,
            op: AluOp::Lsh,
            dst,
            src: Operand::Immediate(count @ 1..=3),
        } if dst == register => Some((dst, count as u8)),
        _ => None,
    }
}

const fn scaled_place(base: Reg, index: Reg, scale: u8) -> Mem {
    Mem {
        base,
        index: Some((index, scale)),
        disp: 0,
    }
}

/// The extension of a lower part.
struct Extension {
    bits: Bits,
    from: Bits,
    signed: bool,
}

impl Extension {
    fn emit(&self, asm: &mut Asm<'_, '_>, dst: Reg, src: Reg) {
        if self.signed {
            asm.sign_extend(self.bits, self.from, dst, Rm::Reg(src));
        } else {
            asm.zero_extend(self.from, dst, Rm::Reg(src));
        }
    }
}

/// The extension that two shifts of a register make, if they are one.
fn extension(first: &Instruction, second: Instruction, register: Register) -> Option<Extension> {
    let shift = |instruction: &Instruction| match *instruction {
        Instruction::Alu {
            width,
            op,
            dst,
            src: Operand::Immediate(count),
        } if dst == register => Some((width, op, count)),
        _ => None,
    };
    let (width, AluOp::Lsh, count) = shift(first)? else {
        return None;
    };
    let (second_width, op, second_count) = shift(&second)?;
    if (width, count) != (second_width, second_count) {
        return None;
    }
    let signed = match op {
        AluOp::Arsh => true,
        AluOp::Rsh => false,
        _ => return None,
    };
    let whole = if width == Width::Bits64 { 64 } else { 32 };
    let from = match whole - count {
        8 => Bits::B8,
        16 => Bits::B16,
        32 if width == Width::Bits64 => Bits::B32,
        _ => return None,
    };
    let bits = bits_of(width);
    Some(Extension { bits, from, signed })
}

fn multiply_number(asm: &mut Asm<'_, '_>, bits: Bits, dst: Reg, number: i32) {
    match number {
        1.. if (number & (number - 1)) == 0 => match number.trailing_zeros() as u8 {
            0 if bits == Bits::B32 => asm.mov(Bits::B32, dst, dst),
            0 => {}
            log => asm.shift(bits, Shift::Shl, dst, log),
        },
        _ => asm.multiply_number(bits, dst, number),
    }
}

/// `dst` divided by rcx, which is neither 0 nor makes a signed division overflow.
fn divide_by_rcx(asm: &mut Asm<'_, '_>, bits: Bits, signed: bool, quotient: bool, dst: Reg) {
    if dst != RAX {
        asm.exchange(RAX, dst);
    }
    if signed {
        asm.sign_to_rdx(bits);
    } else {
        asm.mov_number(RDX, 0);
    }
    asm.divide(bits, signed, RCX);
    match (quotient, dst == RAX) {
        (true, true) => {}
        (true, false) => asm.exchange(RAX, dst),
        (false, true) => asm.mov(bits, RAX, RDX),
        (false, false) => {
            asm.mov(Bits::B64, RAX, dst);
            asm.mov(bits, dst, RDX);
        }
    }
}

fn divide_by_minus_one(asm: &mut Asm<'_, '_>, bits: Bits, quotient: bool, dst: Reg) {
    if quotient {
        asm.negate(bits, dst);
    } else {
        asm.mov_number(dst, 0);
    }
}
