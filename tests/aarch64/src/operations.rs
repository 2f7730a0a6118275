//! Every operation in every form with operands at their edges, by itself and beside what it may be
//! compiled together with. Results go to scratch, where the engines are compared.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use ebpf::instruction::{
    AluOp, AtomicOp, Condition, Instruction, Operand, Register, Size, SwapOrder, WideValue, Width,
};
use ebpf::{HelperResult, Host, Isolation, Memory, Program, RegionId, check};

use crate::engines::{self, Engines, Start};
use crate::tally::Tally;

const WIDTHS: [Width; 2] = [Width::Bits32, Width::Bits64];
const SIZES: [Size; 4] = [Size::Byte, Size::Half, Size::Word, Size::Double];

const BOTH: [Isolation; 2] = [Isolation::Alone, Isolation::Shared];

/// Operands.
const NUMBERS: [u64; 22] = [
    0,
    1,
    2,
    3,
    7,
    8,
    31,
    32,
    33,
    63,
    64,
    0x7fff_ffff,
    0x8000_0000,
    0x8000_0001,
    0xffff_ffff,
    0x1_0000_0000,
    0x1234_5678_9abc_def0,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Numbers in instructions: such as fit a field, are a mask, a power, or none of it.
const IMMEDIATES: [i32; 34] = [
    0,
    1,
    2,
    3,
    5,
    8,
    16,
    31,
    32,
    33,
    63,
    64,
    0xff,
    0x800,
    0xfff,
    0x1000,
    0x1001,
    0xffff,
    0xff_f000,
    0xff_ffff,
    0x100_0000,
    0x1234_5678,
    0x4000_0000,
    0x7fff_ffff,
    -1,
    -2,
    -7,
    -16,
    -0xfff,
    -0x1000,
    -0x1001,
    -0x10000,
    -0x1234_5678,
    i32::MIN,
];

const fn r(number: u8) -> Register {
    Register::new(number).expect("it is a register")
}

/// Holds the address that results are stored behind.
const OUT: Register = r(9);
const OUT_BYTES: usize = 32 * 1024;

/// Nobody who helps.
#[derive(Clone, PartialEq)]
struct Nobody;

impl Host for Nobody {
    fn call(&mut self, _: u32, _: [u64; 5], _: &mut Memory<'_>) -> HelperResult {
        HelperResult::Unknown
    }
}

/// A program that grows.
struct Text {
    slots: Vec<u64>,
    isolations: &'static [Isolation],
    stored: i16,
}

impl Text {
    /// One that begins with the address of its memory in `OUT`.
    fn new() -> Text {
        let mut text = Text {
            slots: Vec::new(),
            isolations: &[Isolation::Alone],
            stored: 0,
        };
        text.alu(Width::Bits64, AluOp::Mov, OUT, Operand::Register(r(1)));
        text
    }

    fn put(&mut self, instruction: Instruction) {
        let (first, second) = instruction.encode();
        self.slots.push(first);
        self.slots.extend(second);
    }

    fn alu(&mut self, width: Width, op: AluOp, dst: Register, src: Operand) {
        self.put(Instruction::Alu {
            width,
            op,
            dst,
            src,
        });
    }

    fn number(&mut self, dst: Register, number: u64) {
        let value = WideValue::Number(number);
        self.put(Instruction::LoadWide { dst, value });
    }

    /// Stores a register behind what was stored before.
    fn keep(&mut self, src: Register) {
        self.put(Instruction::Store {
            size: Size::Double,
            base: OUT,
            offset: self.stored,
            src: Operand::Register(src),
        });
        self.stored += 8;
    }

    /// Runs it in every engine, and notes the outcome.
    fn run(mut self, name: &str, engines: &mut Engines, tally: &mut Tally) {
        self.put(Instruction::Exit);
        let memory = vec![0x5a; OUT_BYTES];
        tally.note(
            name,
            run(engines, &self.slots, &[0], &memory, self.isolations),
        );
    }
}

fn run(
    engines: &mut Engines,
    slots: &[u64],
    entries: &[u32],
    memory: &[u8],
    isolations: &[Isolation],
) -> Result<(), alloc::string::String> {
    let checked = check(slots, entries, &[]).map_err(|why| format!("{why}"))?;
    let start = Start {
        program: &Program::new(slots, &checked, Memory::address(RegionId::Scratch, 0)),
        entries,
        memory,
        budget: 1 << 20,
        slices: &[u32::MAX],
        isolations,
    };
    engines::compare(engines, &start, Nobody)?;
    Ok(())
}

/// Runs them all.
pub(crate) fn all(engines: &mut Engines, tally: &mut Tally) {
    for width in WIDTHS {
        for op in AluOp::ALL {
            for a in NUMBERS.into_iter().step_by(2) {
                arithmetic(width, op, a, engines, tally);
            }
        }
        shifts(width, engines, tally);
        for condition in Condition::ALL {
            for a in NUMBERS.into_iter().step_by(2) {
                jumps(width, condition, a, engines, tally);
            }
        }
        for op in AtomicOp::ALL {
            for a in NUMBERS.into_iter().step_by(5) {
                atomics(width, op, a, engines, tally);
            }
        }
    }
    unary(engines, tally);
    numbers(engines, tally);
    places(engines, tally);
}

/// One operation: alone, behind moves of both widths, with itself.
fn arithmetic(width: Width, op: AluOp, a: u64, engines: &mut Engines, tally: &mut Tally) {
    let mut text = Text::new();
    text.number(r(1), a);
    let moved = |text: &mut Text, src: Operand| {
        for mov in WIDTHS {
            text.alu(mov, AluOp::Mov, r(3), Operand::Register(r(1)));
            text.alu(width, op, r(3), src);
            text.keep(r(3));
        }
    };
    for b in NUMBERS {
        text.number(r(2), b);
        moved(&mut text, Operand::Register(r(2)));
        text.number(r(4), a);
        text.alu(width, op, r(4), Operand::Register(r(2)));
        text.keep(r(4));
        text.number(r(5), a);
        text.alu(width, op, r(2), Operand::Register(r(5)));
        text.keep(r(2));
    }
    moved(&mut text, Operand::Register(r(3)));
    moved(&mut text, Operand::Register(r(1)));
    moved(&mut text, Operand::Register(Register::FRAME));
    text.alu(
        Width::Bits64,
        AluOp::Mov,
        r(3),
        Operand::Register(Register::FRAME),
    );
    text.alu(width, op, r(3), Operand::Immediate(-24));
    text.keep(r(3));
    for number in IMMEDIATES {
        moved(&mut text, Operand::Immediate(number));
        text.number(r(4), a);
        text.alu(width, op, r(4), Operand::Immediate(number));
        text.keep(r(4));
    }
    text.run(&format!("{op:?} {width:?} {a:#x}"), engines, tally);
}

/// Two shifts by numbers, one behind the other.
fn shifts(width: Width, engines: &mut Engines, tally: &mut Tally) {
    let bits = if width == Width::Bits64 { 64 } else { 32 };
    for left in (0..bits).step_by(3) {
        for number in [0x8765_4321_8765_4321] {
            let mut text = Text::new();
            text.number(r(1), number);
            for right in 0..bits {
                for (mov, op) in WIDTHS.into_iter().zip([AluOp::Rsh, AluOp::Arsh]) {
                    text.alu(mov, AluOp::Mov, r(3), Operand::Register(r(1)));
                    text.alu(width, AluOp::Lsh, r(3), Operand::Immediate(left));
                    text.alu(width, op, r(3), Operand::Immediate(right));
                    text.keep(r(3));
                    text.number(r(4), number);
                    text.alu(width, AluOp::Lsh, r(4), Operand::Immediate(left));
                    text.alu(width, op, r(4), Operand::Immediate(right));
                    text.keep(r(4));
                }
            }
            text.run(
                &format!("shifts {width:?} {left} {number:#x}"),
                engines,
                tally,
            );
        }
    }
}

/// A conditional jump, forth and back, taken or not, by a register and by a number.
fn jumps(width: Width, condition: Condition, a: u64, engines: &mut Engines, tally: &mut Tally) {
    let mut text = Text::new();
    let (set, out) = (Operand::Immediate(1), r(3));
    let both = |text: &mut Text, src: Operand| {
        let jump = |offset| Instruction::JumpIf {
            width,
            condition,
            dst: r(1),
            src,
            offset,
        };
        text.number(out, 2);
        text.put(jump(1));
        text.alu(Width::Bits64, AluOp::Or, out, set);
        text.keep(out);
        // Over what the jump back leads to.
        text.number(out, 4);
        let over = |offset| Instruction::Jump {
            offset,
            long: false,
        };
        text.put(over(2));
        text.alu(Width::Bits64, AluOp::Or, out, set);
        text.put(over(1));
        text.put(jump(-3));
        text.keep(out);
    };
    text.number(r(1), a);
    for b in NUMBERS {
        text.number(r(2), b);
        both(&mut text, Operand::Register(r(2)));
    }
    both(&mut text, Operand::Register(r(1)));
    both(&mut text, Operand::Register(Register::FRAME));
    for number in IMMEDIATES {
        both(&mut text, Operand::Immediate(number));
    }
    text.run(&format!("{condition:?} {width:?} {a:#x}"), engines, tally);
}

/// An atomic: on any number, with r0 equal or not, with its own registers twice.
fn atomics(width: Width, op: AtomicOp, a: u64, engines: &mut Engines, tally: &mut Tally) {
    let mut text = Text::new();
    text.isolations = &BOTH;
    for b in NUMBERS {
        for expected in [a, a ^ 1 << 40, b, 0] {
            for src in [r(2), r(0)] {
                text.number(r(4), a);
                text.keep(r(4));
                let offset = text.stored - 8;
                text.number(r(0), expected);
                text.number(r(2), b);
                text.put(Instruction::Atomic {
                    width,
                    op,
                    base: OUT,
                    offset,
                    src,
                });
                text.keep(r(0));
                text.keep(r(2));
            }
        }
    }
    // At no offset, and with the base as source.
    text.alu(Width::Bits64, AluOp::Mov, r(5), Operand::Register(OUT));
    text.alu(Width::Bits64, AluOp::Add, r(5), Operand::Immediate(16_000));
    text.put(Instruction::Atomic {
        width,
        op,
        base: r(5),
        offset: 0,
        src: r(5),
    });
    text.keep(r(5));
    if !op.writes_source() {
        text.put(Instruction::Atomic {
            width,
            op,
            base: Register::FRAME,
            offset: -264,
            src: Register::FRAME,
        });
    }
    text.run(&format!("atomic {op:?} {width:?} {a:#x}"), engines, tally);
}

/// What has one operand.
fn unary(engines: &mut Engines, tally: &mut Tally) {
    let mut text = Text::new();
    let [order_little, order_big, order_swap] =
        [SwapOrder::Little, SwapOrder::Big, SwapOrder::Swap];
    for a in NUMBERS {
        text.number(r(1), a);
        for width in WIDTHS {
            text.number(r(3), a);
            text.put(Instruction::Negate { width, dst: r(3) });
            text.keep(r(3));
            for from in [Size::Byte, Size::Half, Size::Word] {
                if (width, from) == (Width::Bits32, Size::Word) {
                    continue;
                }
                for (dst, src) in [(r(3), r(1)), (r(3), r(3)), (r(4), Register::FRAME)] {
                    text.put(Instruction::MoveSigned {
                        width,
                        from,
                        dst,
                        src,
                    });
                    text.keep(dst);
                }
            }
        }
        for order in [order_little, order_big, order_swap] {
            for size in [Size::Half, Size::Word, Size::Double] {
                text.number(r(3), a);
                text.put(Instruction::Swap {
                    order,
                    size,
                    dst: r(3),
                });
                text.keep(r(3));
            }
        }
    }
    text.run("unary", engines, tally);
}

/// Numbers of all kinds as immediates of 64 bits.
fn numbers(engines: &mut Engines, tally: &mut Tally) {
    for turn in (0..64).step_by(3) {
        let mut text = Text::new();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(turn + 1);
        for ones in 1..64 {
            let run = (u64::MAX >> (64 - ones)).rotate_left(turn as u32);
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let part = 0xffff_u64 << (16 * (ones % 4));
            for number in [
                run,
                run & 0xffff_ffff,
                run ^ 1 << ones,
                random,
                random & part,
                random | part,
                random | !part,
                random >> 32,
                (random >> 32) | 0xffff_0000,
                (run & 0xffff) * 0x0001_0001_0001_0001,
            ] {
                text.number(r(3), number);
                text.keep(r(3));
            }
        }
        text.run(&format!("numbers {turn}"), engines, tally);
    }
}

/// One load or store of every kind around every edge, in regions there are and there are not.
fn places(engines: &mut Engines, tally: &mut Tally) {
    let memory = [0x81, 0x92, 0xa3, 0xb4, 0xc5, 0xd6, 0xe7, 0xf8].repeat(5);
    let regions = [1_u32, 2, 5, 6, 23, 0, 0xffff_ffff];
    let starts = [0_u32, 1, 17, 24, 33, 37, 39, 40, 4089];
    let far = [0x8000_0000, 0xffff_fff9, 0xffff_ffff];
    for tag in regions {
        for start in starts.into_iter().chain(far) {
            for offset in [0, -1, 257, i16::MAX, i16::MIN] {
                let address = u64::from(tag) << 32 | u64::from(start);
                let from = address.wrapping_sub(offset as i64 as u64);
                let name = format!("place {address:#x} by {offset}");
                tally.note(&name, at(engines, &memory, Base::Number(from), offset));
            }
        }
    }
    for offset in (-520..-8).step_by(3).chain(-8..1) {
        let name = format!("place r10{offset:+}");
        tally.note(&name, at(engines, &memory, Base::Frame, offset));
    }
    for offset in [-4097, -4096, -4095, -2048, -1000] {
        let name = format!("place r10{offset:+}");
        tally.note(&name, at(engines, &memory, Base::Frame, offset));
    }
}

#[derive(Clone, Copy)]
enum Base {
    Number(u64),
    Frame,
}

/// Every access there is at one place.
fn at(
    engines: &mut Engines,
    memory: &[u8],
    base: Base,
    offset: i16,
) -> Result<(), alloc::string::String> {
    let mut accesses = Vec::new();
    let reg = match base {
        Base::Number(_) => r(4),
        Base::Frame => Register::FRAME,
    };
    for size in SIZES {
        for signed in [false, true] {
            if signed && size == Size::Double {
                continue;
            }
            // Into the base too.
            for dst in [r(3), r(4)] {
                accesses.push(Instruction::Load {
                    size,
                    signed,
                    dst,
                    base: reg,
                    offset,
                });
            }
        }
        for src in [
            Operand::Register(r(5)),
            Operand::Register(reg),
            Operand::Immediate(0),
            Operand::Immediate(-2),
            Operand::Immediate(0x1234_5678),
        ] {
            accesses.push(Instruction::Store {
                size,
                base: reg,
                offset,
                src,
            });
        }
    }
    for width in WIDTHS {
        for op in [AtomicOp::Add { fetch: true }, AtomicOp::CompareExchange] {
            accesses.push(Instruction::Atomic {
                width,
                op,
                base: reg,
                offset,
                src: r(5),
            });
        }
    }
    // Each is a function of its own, since many of them end the run.
    let mut text = Text::new();
    text.slots.clear();
    let mut entries = Vec::new();
    for access in accesses {
        entries.push(text.slots.len() as u32);
        text.number(r(5), 0xfedc_ba98_7654_3210);
        if let Base::Number(number) = base {
            text.number(r(4), number);
        }
        text.put(access);
        text.put(Instruction::Exit);
    }
    run(engines, &text.slots, &entries, memory, &BOTH)
}
