//! x86-64 instructions as bytes.
//!
//! Instructions are named by their opcode, as the manuals list them; an opcode of two bytes begins with
//! 0x0f.

use crate::jit::output::Output;

/// A native register, by its number in encodings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reg(pub(super) u8);

pub(super) const RAX: Reg = Reg(0);
pub(super) const RCX: Reg = Reg(1);
pub(super) const RDX: Reg = Reg(2);
pub(super) const RBX: Reg = Reg(3);
pub(super) const RSP: Reg = Reg(4);
pub(super) const RBP: Reg = Reg(5);
pub(super) const RSI: Reg = Reg(6);
pub(super) const RDI: Reg = Reg(7);
pub(super) const R8: Reg = Reg(8);
pub(super) const R9: Reg = Reg(9);
pub(super) const R10: Reg = Reg(10);
pub(super) const R11: Reg = Reg(11);
pub(super) const R12: Reg = Reg(12);
pub(super) const R13: Reg = Reg(13);
pub(super) const R14: Reg = Reg(14);
pub(super) const R15: Reg = Reg(15);

/// A place in memory: base + index * scale + displacement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Mem {
    pub(super) base: Reg,
    /// And the logarithm of its scale.
    pub(super) index: Option<(Reg, u8)>,
    pub(super) disp: i32,
}

impl Mem {
    pub(super) const fn at(base: Reg, disp: i32) -> Mem {
        Mem {
            base,
            index: None,
            disp,
        }
    }

    pub(super) const fn sum(base: Reg, index: Reg, disp: i32) -> Mem {
        Mem {
            base,
            index: Some((index, 0)),
            disp,
        }
    }
}

/// What the second operand of an instruction is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rm {
    Reg(Reg),
    Mem(Mem),
}

/// How wide an operation is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bits {
    B8,
    B16,
    B32,
    B64,
}

/// A number that follows an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Imm {
    None,
    I8(i8),
    I16(i16),
    I32(i32),
}

/// Conditions, by their number in opcodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Cc {
    Below = 0x2,
    AboveEqual = 0x3,
    Equal = 0x4,
    NotEqual = 0x5,
    BelowEqual = 0x6,
    Above = 0x7,
    Sign = 0x8,
    NotSign = 0x9,
    Less = 0xc,
    GreaterEqual = 0xd,
    LessEqual = 0xe,
    Greater = 0xf,
}

impl Cc {
    /// The opposite.
    pub(super) const fn not(self) -> Cc {
        match self {
            Cc::Below => Cc::AboveEqual,
            Cc::AboveEqual => Cc::Below,
            Cc::Equal => Cc::NotEqual,
            Cc::NotEqual => Cc::Equal,
            Cc::BelowEqual => Cc::Above,
            Cc::Above => Cc::BelowEqual,
            Cc::Sign => Cc::NotSign,
            Cc::NotSign => Cc::Sign,
            Cc::Less => Cc::GreaterEqual,
            Cc::GreaterEqual => Cc::Less,
            Cc::LessEqual => Cc::Greater,
            Cc::Greater => Cc::LessEqual,
        }
    }
}

/// Arithmetic whose opcodes follow one scheme, by their number in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Op2 {
    Add = 0,
    Or = 1,
    And = 4,
    Sub = 5,
    Xor = 6,
    Cmp = 7,
}

/// Shifts and rotations, likewise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(super) enum Shift {
    Rol = 0,
    Shl = 4,
    Shr = 5,
    Sar = 7,
}

/// Emits instructions.
pub(super) struct Asm<'o, 'a>(pub(super) &'o mut Output<'a>);

/// A jump within the code of one slot, whose displacement is still open.
#[must_use]
pub(super) struct Open {
    end: usize,
    far: bool,
}

struct Bytes {
    bytes: [u8; 16],
    len: usize,
}

impl Bytes {
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
        }
        self.len += 1;
    }

    fn extend(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.push(byte);
        }
    }
}

impl Asm<'_, '_> {
    /// An instruction with a ModRM byte. `reg` is the register operand, or what extends the opcode.
    /// `bytes` tells of the registers that are byte registers: the operand's, the other's.
    fn instruction(
        &mut self,
        bits: Bits,
        opcode: u16,
        (reg, reg_is_byte): (u8, bool),
        (rm, rm_is_byte): (Rm, bool),
        imm: Imm,
    ) {
        let mut out = Bytes {
            bytes: [0; 16],
            len: 0,
        };
        if bits == Bits::B16 {
            out.push(0x66);
        }
        let (base, index) = match rm {
            Rm::Reg(reg) => (reg.0, 0),
            Rm::Mem(mem) => (mem.base.0, mem.index.map_or(0, |(index, _)| index.0)),
        };
        let rex = u8::from(bits == Bits::B64) << 3 | reg >> 3 << 2 | index >> 3 << 1 | base >> 3;
        // Without a prefix, the byte registers 4 to 7 are others.
        let odd_byte =
            reg_is_byte && (4..8).contains(&reg) || rm_is_byte && matches!(rm, Rm::Reg(Reg(4..8)));
        if rex != 0 || odd_byte {
            out.push(0x40 | rex);
        }
        if opcode > 0xff {
            out.push((opcode >> 8) as u8);
        }
        out.push(opcode as u8);
        let reg = (reg & 7) << 3;
        match rm {
            Rm::Reg(rm) => out.push(0xc0 | reg | rm.0 & 7),
            Rm::Mem(mem) => memory_operand(&mut out, reg, mem),
        }
        match imm {
            Imm::None => {}
            Imm::I8(imm) => out.push(imm as u8),
            Imm::I16(imm) => out.extend(&imm.to_le_bytes()),
            Imm::I32(imm) => out.extend(&imm.to_le_bytes()),
        }
        self.0.put_first(out.bytes, out.len);
    }

    /// An instruction between a register and a register or memory.
    fn plain(&mut self, bits: Bits, opcode: u16, reg: Reg, rm: Rm) {
        self.instruction(bits, opcode, (reg.0, false), (rm, false), Imm::None);
    }

    /// `dst = src`.
    pub(super) fn mov(&mut self, bits: Bits, dst: Reg, src: Reg) {
        self.plain(bits, 0x89, src, Rm::Reg(dst));
    }

    /// `dst = number`, and flags are lost.
    pub(super) fn mov_number(&mut self, dst: Reg, number: u64) {
        if number == 0 {
            self.op2(Bits::B32, Op2::Xor, dst, Rm::Reg(dst));
        } else if let Ok(number) = u32::try_from(number) {
            let rex = 0x40 | dst.0 >> 3;
            let [a, b, c, d] = number.to_le_bytes();
            let bytes = [rex, 0xb8 | dst.0 & 7, a, b, c, d];
            self.0.put(if dst.0 < 8 { &bytes[1..] } else { &bytes });
        } else if let Ok(number) = i32::try_from(number as i64) {
            let imm = Imm::I32(number);
            self.instruction(Bits::B64, 0xc7, (0, false), (Rm::Reg(dst), false), imm);
        } else {
            let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
            let first = [0x48 | dst.0 >> 3, 0xb8 | dst.0 & 7];
            self.0.put(&[first[0], first[1], a, b, c, d, e, f, g, h]);
        }
    }

    /// `dst = *mem`, of 32 or 64 bits.
    pub(super) fn load(&mut self, bits: Bits, dst: Reg, mem: Mem) {
        self.plain(bits, 0x8b, dst, Rm::Mem(mem));
    }

    /// `*mem = src`.
    pub(super) fn store(&mut self, bits: Bits, mem: Mem, src: Reg) {
        let is_byte = bits == Bits::B8;
        let opcode = if is_byte { 0x88 } else { 0x89 };
        self.instruction(
            bits,
            opcode,
            (src.0, is_byte),
            (Rm::Mem(mem), false),
            Imm::None,
        );
    }

    /// `*mem = number`, of which 64 bits extend the sign.
    pub(super) fn store_number(&mut self, bits: Bits, mem: Mem, number: i32) {
        let (opcode, imm) = match bits {
            Bits::B8 => (0xc6, Imm::I8(number as i8)),
            Bits::B16 => (0xc7, Imm::I16(number as i16)),
            Bits::B32 | Bits::B64 => (0xc7, Imm::I32(number)),
        };
        self.instruction(bits, opcode, (0, false), (Rm::Mem(mem), false), imm);
    }

    /// `dst` = the low `from` bits of `src`, the rest 0.
    pub(super) fn zero_extend(&mut self, from: Bits, dst: Reg, src: Rm) {
        let (opcode, is_byte) = match from {
            Bits::B8 => (0x0fb6, true),
            Bits::B16 => (0x0fb7, false),
            Bits::B32 => (0x8b, false),
            Bits::B64 => return self.plain(Bits::B64, 0x8b, dst, src),
        };
        self.instruction(Bits::B32, opcode, (dst.0, false), (src, is_byte), Imm::None);
    }

    /// `dst`, of 32 or 64 bits, = the low `from` bits of `src`, their sign extended.
    pub(super) fn sign_extend(&mut self, bits: Bits, from: Bits, dst: Reg, src: Rm) {
        let (opcode, is_byte) = match from {
            Bits::B8 => (0x0fbe, true),
            Bits::B16 => (0x0fbf, false),
            Bits::B32 | Bits::B64 => (0x63, false),
        };
        self.instruction(bits, opcode, (dst.0, false), (src, is_byte), Imm::None);
    }

    /// `dst = dst op src`.
    pub(super) fn op2(&mut self, bits: Bits, op: Op2, dst: Reg, src: Rm) {
        self.plain(bits, u16::from(op as u8) << 3 | 0x03, dst, src);
    }

    /// `*mem = *mem op src`.
    pub(super) fn op2_to_memory(&mut self, bits: Bits, op: Op2, mem: Mem, src: Reg) {
        self.plain(bits, u16::from(op as u8) << 3 | 0x01, src, Rm::Mem(mem));
    }

    /// `dst = dst op number`, whose sign is extended.
    pub(super) fn op2_number(&mut self, bits: Bits, op: Op2, dst: Rm, number: i32) {
        let (opcode, imm) = match i8::try_from(number) {
            Ok(number) => (0x83, Imm::I8(number)),
            Err(_) => (0x81, Imm::I32(number)),
        };
        self.instruction(bits, opcode, (op as u8, false), (dst, false), imm);
    }

    /// Flags of `a & b`.
    pub(super) fn test(&mut self, bits: Bits, a: Reg, b: Reg) {
        self.plain(bits, 0x85, b, Rm::Reg(a));
    }

    /// Flags of `a & number`, whose sign is extended.
    pub(super) fn test_number(&mut self, bits: Bits, a: Reg, number: i32) {
        let imm = Imm::I32(number);
        self.instruction(bits, 0xf7, (0, false), (Rm::Reg(a), false), imm);
    }

    /// `dst = dst * src`.
    pub(super) fn multiply(&mut self, bits: Bits, dst: Reg, src: Reg) {
        self.plain(bits, 0x0faf, dst, Rm::Reg(src));
    }

    /// `dst = dst * number`.
    pub(super) fn multiply_number(&mut self, bits: Bits, dst: Reg, number: i32) {
        let (opcode, imm) = match i8::try_from(number) {
            Ok(number) => (0x6b, Imm::I8(number)),
            Err(_) => (0x69, Imm::I32(number)),
        };
        self.instruction(bits, opcode, (dst.0, false), (Rm::Reg(dst), false), imm);
    }

    /// rdx:rax / `divisor`, quotient to rax and remainder to rdx.
    pub(super) fn divide(&mut self, bits: Bits, signed: bool, divisor: Reg) {
        let what = if signed { 7 } else { 6 };
        let rm = Rm::Reg(divisor);
        self.instruction(bits, 0xf7, (what, false), (rm, false), Imm::None);
    }

    /// rdx = the sign of rax, in every bit.
    pub(super) fn sign_to_rdx(&mut self, bits: Bits) {
        self.0.put(if bits == Bits::B64 {
            &[0x48, 0x99]
        } else {
            &[0x99]
        });
    }

    /// Swaps two registers.
    pub(super) fn exchange(&mut self, a: Reg, b: Reg) {
        self.plain(Bits::B64, 0x87, a, Rm::Reg(b));
    }

    /// `dst = -dst`.
    pub(super) fn negate(&mut self, bits: Bits, dst: Reg) {
        self.instruction(bits, 0xf7, (3, false), (Rm::Reg(dst), false), Imm::None);
    }

    /// `dst = dst shifted by count`.
    pub(super) fn shift(&mut self, bits: Bits, shift: Shift, dst: Reg, count: u8) {
        let imm = Imm::I8(count as i8);
        let rm = Rm::Reg(dst);
        self.instruction(bits, 0xc1, (shift as u8, false), (rm, false), imm);
    }

    /// `dst = dst shifted by cl`.
    pub(super) fn shift_by_cl(&mut self, bits: Bits, shift: Shift, dst: Reg) {
        let rm = Rm::Reg(dst);
        self.instruction(bits, 0xd3, (shift as u8, false), (rm, false), Imm::None);
    }

    /// Turns the bytes of 32 or 64 bits around.
    pub(super) fn swap_bytes(&mut self, bits: Bits, dst: Reg) {
        let rex = 0x40 | u8::from(bits == Bits::B64) << 3 | dst.0 >> 3;
        let bytes = [rex, 0x0f, 0xc8 | dst.0 & 7];
        self.0.put(if rex == 0x40 { &bytes[1..] } else { &bytes });
    }

    /// `dst` = the place's address, or its lower half.
    pub(super) fn address(&mut self, bits: Bits, dst: Reg, mem: Mem) {
        self.plain(bits, 0x8d, dst, Rm::Mem(mem));
    }

    /// `dst = src` if the condition holds.
    pub(super) fn move_if(&mut self, bits: Bits, cc: Cc, dst: Reg, src: Rm) {
        self.plain(bits, 0x0f40 | cc as u16, dst, src);
    }

    /// `*mem += src`, and `src` becomes what was there.
    pub(super) fn fetch_add(&mut self, bits: Bits, mem: Mem, src: Reg) {
        self.plain(bits, 0x0fc1, src, Rm::Mem(mem));
    }

    /// If `*mem` is rax it becomes `src`, else rax becomes `*mem`.
    pub(super) fn compare_exchange(&mut self, bits: Bits, mem: Mem, src: Reg) {
        self.plain(bits, 0x0fb1, src, Rm::Mem(mem));
    }

    pub(super) fn push(&mut self, reg: Reg) {
        let bytes = [0x41, 0x50 | reg.0 & 7];
        self.0.put(if reg.0 < 8 { &bytes[1..] } else { &bytes });
    }

    pub(super) fn pop(&mut self, reg: Reg) {
        let bytes = [0x41, 0x58 | reg.0 & 7];
        self.0.put(if reg.0 < 8 { &bytes[1..] } else { &bytes });
    }

    pub(super) fn ret(&mut self) {
        self.0.put(&[0xc3]);
    }

    /// Goes to an address.
    pub(super) fn jump_to(&mut self, reg: Reg) {
        self.instruction(
            Bits::B32,
            0xff,
            (4, false),
            (Rm::Reg(reg), false),
            Imm::None,
        );
    }

    /// Goes to an offset of the code.
    pub(super) fn jump(&mut self, near: bool, target: usize) {
        if near {
            let disp = self.near_distance(target);
            self.0.put(&[0xeb, disp]);
        } else {
            let [a, b, c, d] = self.distance(target, 5).to_le_bytes();
            self.0.put(&[0xe9, a, b, c, d]);
        }
    }

    /// Goes to an offset of the code if the condition holds.
    pub(super) fn jump_if(&mut self, cc: Cc, near: bool, target: usize) {
        if near {
            let disp = self.near_distance(target);
            self.0.put(&[0x70 | cc as u8, disp]);
        } else {
            let [a, b, c, d] = self.distance(target, 6).to_le_bytes();
            self.0.put(&[0x0f, 0x80 | cc as u8, a, b, c, d]);
        }
    }

    /// How far an offset of the code is from the end of a jump of two bytes here. Where that is too far for
    /// one, the compilation fails.
    fn near_distance(&mut self, target: usize) -> u8 {
        let distance = i8::try_from(self.distance(target, 2));
        if distance.is_err() && self.0.writes() {
            self.0.fail();
        }
        distance.unwrap_or(0).cast_unsigned()
    }

    /// How far an offset of the code is from the end of an instruction of `len` bytes here.
    fn distance(&self, target: usize, len: usize) -> i32 {
        (target as i64 - (self.0.at() + len) as i64) as i32
    }

    /// Goes to where [`close`](Asm::close) is called, if the condition holds.
    pub(super) fn open_if(&mut self, cc: Cc) -> Open {
        self.0.put(&[0x70 | cc as u8, 0]);
        Open {
            end: self.0.at(),
            far: false,
        }
    }

    /// Goes to where [`close`](Asm::close) is called.
    pub(super) fn open(&mut self) -> Open {
        self.0.put(&[0xeb, 0]);
        Open {
            end: self.0.at(),
            far: false,
        }
    }

    /// Goes to where [`close`](Asm::close) is called, however far, if the condition holds.
    pub(super) fn open_far_if(&mut self, cc: Cc) -> Open {
        self.0.put(&[0x0f, 0x80 | cc as u8, 0, 0, 0, 0]);
        Open {
            end: self.0.at(),
            far: true,
        }
    }

    /// The jump leads here.
    pub(super) fn close(&mut self, open: Open) {
        let distance = (self.0.at() - open.end) as i32;
        if open.far {
            self.0.put_at(open.end - 4, &distance.to_le_bytes());
        } else if let Ok(distance) = i8::try_from(distance) {
            self.0.put_at(open.end - 1, &[distance as u8]);
        } else {
            self.0.fail();
        }
    }

    /// Instructions that do nothing, of so many bytes.
    pub(super) fn nothing(&mut self, bytes: usize) {
        const LONGEST: [u8; 9] = [0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
        let mut left = bytes;
        while left > 0 {
            let len = left.min(LONGEST.len());
            let one: &[u8] = match len {
                1 => &[0x90],
                2 => &[0x66, 0x90],
                3 => &[0x0f, 0x1f, 0],
                4 => &[0x0f, 0x1f, 0x40, 0],
                5 => &[0x0f, 0x1f, 0x44, 0, 0],
                6 => &[0x66, 0x0f, 0x1f, 0x44, 0, 0],
                7 => &[0x0f, 0x1f, 0x80, 0, 0, 0, 0],
                8 => &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
                _ => &LONGEST,
            };
            self.0.put(one);
            left -= len;
        }
    }

    /// Bytes that stop the processor, where nothing leads to.
    pub(super) fn traps(&mut self, bytes: usize) {
        for _ in 0..bytes {
            self.0.put(&[0xcc]);
        }
    }
}

/// The bytes that name a place in memory; `reg` is in its position already.
fn memory_operand(out: &mut Bytes, reg: u8, mem: Mem) {
    // rbp and r13 as a base always have a displacement.
    let mode = match i8::try_from(mem.disp) {
        Ok(0) if mem.base.0 & 7 != RBP.0 => 0x00,
        Ok(_) => 0x40,
        Err(_) => 0x80,
    };
    match mem.index {
        Some((index, scale)) => {
            out.push(mode | reg | 4);
            out.push(scale << 6 | (index.0 & 7) << 3 | mem.base.0 & 7);
        }
        // rsp and r12 as a base are named by a second byte, without index.
        None if mem.base.0 & 7 == RSP.0 => {
            out.push(mode | reg | 4);
            out.push(4 << 3 | RSP.0);
        }
        None => out.push(mode | reg | mem.base.0 & 7),
    }
    match mode {
        0x40 => out.push(mem.disp as u8),
        0x80 => out.extend(&mem.disp.to_le_bytes()),
        _ => {}
    }
}
