//! Programs by chance that are valid and end: straight code, jumps forward, counted loops, calls.
//!
//! r9 holds the address of the memory and is not changed; r0 to r8 hold numbers that were never
//! addresses, so that engines with other addresses can be compared. At the end all of them are
//! folded into r0.

use ebpf::instruction::{
    AluOp, AtomicOp, Condition, Instruction, Operand, Register, Size, SwapOrder, WideValue, Width,
};
use proptest::prelude::*;

/// Bytes of memory a program expects behind r1.
pub const MEMORY_BYTES: usize = 128;

/// Helpers a program may call: one that acts, one that waits.
pub const HELPER_ACTS: u32 = 1;
pub const HELPER_WAITS: u32 = 2;

/// Part of a program.
#[derive(Clone, Debug)]
pub enum Step {
    /// One instruction that goes on.
    Plain(Instruction),
    /// Several, for one thing.
    Several(Vec<Instruction>),
    /// Skips some of the steps behind it, if the condition holds.
    Branch {
        width: Width,
        condition: Condition,
        dst: Register,
        src: Operand,
        skip: usize,
    },
    /// Skips some of the steps behind it.
    Skip { long: bool, skip: usize },
    /// Repeats.
    Loop { count: u8, body: Vec<Step> },
    /// Calls one of the functions that come later.
    Call { function: usize },
}

/// What may occur.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Set {
    /// All of RFC 9669, and helpers.
    Full,
    /// That, and accesses anywhere, most of which fault.
    Stray,
    /// What rbpf 0.4.1 does as the RFC has it.
    Rbpf,
}

const fn r(number: u8) -> Register {
    Register::new(number).expect("it is a register")
}

const MEMORY: Register = r(9);
const LOOP_SLOT: i16 = -8;

fn data_register() -> impl Strategy<Value = Register> {
    (0..9_u8).prop_map(r)
}

fn width() -> impl Strategy<Value = Width> {
    prop_oneof![Just(Width::Bits32), Just(Width::Bits64)]
}

fn size() -> impl Strategy<Value = Size> {
    prop_oneof![
        Just(Size::Byte),
        Just(Size::Half),
        Just(Size::Word),
        Just(Size::Double)
    ]
}

/// Numbers, with a liking for edges.
fn number() -> impl Strategy<Value = i32> {
    prop_oneof![
        3 => -4..40_i32,
        2 => any::<i32>(),
        1 => prop_oneof![Just(i32::MIN), Just(i32::MAX), Just(-1), Just(31), Just(32), Just(63)],
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        data_register().prop_map(Operand::Register),
        number().prop_map(Operand::Immediate),
    ]
}

/// A place in memory or in the frame, clear of the loop's counter.
fn place() -> impl Strategy<Value = (Register, i16)> {
    prop_oneof![
        (0..MEMORY_BYTES as i16 - 8).prop_map(|offset| (MEMORY, offset)),
        (-120..LOOP_SLOT - 7).prop_map(|offset| (Register::FRAME, offset)),
    ]
}

fn alu(set: Set) -> BoxedStrategy<Step> {
    let step = (
        width(),
        prop::sample::select(AluOp::ALL.to_vec()),
        data_register(),
        operand(),
    );
    step.prop_map(move |(width, op, dst, src)| {
        if set != Set::Rbpf {
            return Step::Plain(Instruction::Alu {
                width,
                op,
                dst,
                src,
            });
        }
        let (op, src) = match (width, op, src) {
            // rbpf takes signed division and remainder for unsigned ones.
            (_, AluOp::SignedDiv, src) => (AluOp::Div, src),
            (_, AluOp::SignedMod, src) => (AluOp::Xor, src),
            // rbpf leaves the upper half after a 32-bit remainder by zero.
            (Width::Bits32, AluOp::Mod, Operand::Register(_)) => {
                (AluOp::Mod, Operand::Immediate(7))
            }
            (Width::Bits32, AluOp::Mod, Operand::Immediate(imm)) => {
                (AluOp::Mod, Operand::Immediate(imm | 1))
            }
            (_, op, src) => (op, src),
        };
        Step::Plain(Instruction::Alu {
            width,
            op,
            dst,
            src,
        })
    })
    .boxed()
}

fn negate(set: Set) -> BoxedStrategy<Step> {
    (width(), data_register())
        .prop_map(move |(width, dst)| {
            let negate = Instruction::Negate { width, dst };
            if set != Set::Rbpf {
                return Step::Plain(negate);
            }
            // rbpf panics on the smallest number where overflow is checked.
            let src = Operand::Immediate(1);
            let odd = Instruction::Alu {
                width: Width::Bits64,
                op: AluOp::Or,
                dst,
                src,
            };
            Step::Several(vec![odd, negate])
        })
        .boxed()
}

fn swap(set: Set) -> BoxedStrategy<Step> {
    let sizes = prop_oneof![Just(Size::Half), Just(Size::Word), Just(Size::Double)];
    let orders = match set {
        Set::Full | Set::Stray => vec![SwapOrder::Little, SwapOrder::Big, SwapOrder::Swap],
        // rbpf does not know bswap.
        Set::Rbpf => vec![SwapOrder::Little, SwapOrder::Big],
    };
    (prop::sample::select(orders), sizes, data_register())
        .prop_map(|(order, size, dst)| Step::Plain(Instruction::Swap { order, size, dst }))
        .boxed()
}

fn load() -> BoxedStrategy<Step> {
    (size(), data_register(), place())
        .prop_map(|(size, dst, (base, offset))| {
            Step::Plain(Instruction::Load {
                size,
                signed: false,
                dst,
                base,
                offset,
            })
        })
        .boxed()
}

fn store() -> BoxedStrategy<Step> {
    (size(), place(), operand())
        .prop_map(|(size, (base, offset), src)| {
            Step::Plain(Instruction::Store {
                size,
                base,
                offset,
                src,
            })
        })
        .boxed()
}

/// A load whose place depends on a register.
fn indexed() -> BoxedStrategy<Step> {
    (size(), data_register(), 0..8_u8)
        .prop_map(|(size, dst, index)| {
            let alu = |op, src| Instruction::Alu {
                width: Width::Bits64,
                op,
                dst: r(8),
                src,
            };
            Step::Several(vec![
                alu(AluOp::Mov, Operand::Register(r(index))),
                alu(AluOp::And, Operand::Immediate(0x3f)),
                alu(AluOp::Add, Operand::Register(MEMORY)),
                Instruction::Load {
                    size,
                    signed: false,
                    dst,
                    base: r(8),
                    offset: 13,
                },
                // The address leaves no trace.
                alu(AluOp::Mov, Operand::Immediate(i32::from(index))),
            ])
        })
        .prop_filter(
            "the address is overwritten, not loaded over",
            |step| match step {
                Step::Several(all) => {
                    !matches!(all[3], Instruction::Load { dst, .. } if dst == r(8))
                }
                _ => false,
            },
        )
        .boxed()
}

fn wide() -> BoxedStrategy<Step> {
    (data_register(), any::<u64>())
        .prop_map(|(dst, value)| {
            Step::Plain(Instruction::LoadWide {
                dst,
                value: WideValue::Number(value),
            })
        })
        .boxed()
}

fn move_signed() -> BoxedStrategy<Step> {
    let forms = vec![
        (Width::Bits32, Size::Byte),
        (Width::Bits32, Size::Half),
        (Width::Bits64, Size::Byte),
        (Width::Bits64, Size::Half),
        (Width::Bits64, Size::Word),
    ];
    (
        prop::sample::select(forms),
        data_register(),
        data_register(),
    )
        .prop_map(|((width, from), dst, src)| {
            Step::Plain(Instruction::MoveSigned {
                width,
                from,
                dst,
                src,
            })
        })
        .boxed()
}

fn load_signed() -> BoxedStrategy<Step> {
    let sizes = prop_oneof![Just(Size::Byte), Just(Size::Half), Just(Size::Word)];
    (sizes, data_register(), place())
        .prop_map(|(size, dst, (base, offset))| {
            Step::Plain(Instruction::Load {
                size,
                signed: true,
                dst,
                base,
                offset,
            })
        })
        .boxed()
}

fn atomic() -> BoxedStrategy<Step> {
    let ops = prop::sample::select(AtomicOp::ALL.to_vec());
    (width(), ops, place(), data_register())
        .prop_map(|(width, op, (base, offset), src)| {
            Step::Plain(Instruction::Atomic {
                width,
                op,
                base,
                offset,
                src,
            })
        })
        .boxed()
}

fn helper() -> BoxedStrategy<Step> {
    prop_oneof![Just(HELPER_ACTS), Just(HELPER_WAITS)]
        .prop_map(|id| Step::Plain(Instruction::CallHelper { id }))
        .boxed()
}

fn branch(set: Set) -> BoxedStrategy<Step> {
    let conditions = prop::sample::select(Condition::ALL.to_vec());
    (width(), conditions, data_register(), operand(), 1..5_usize)
        .prop_map(move |(width, condition, dst, src, skip)| {
            // rbpf extends the immediate of a 64-bit unsigned comparison with zeros.
            let src = match src {
                Operand::Immediate(imm) if set == Set::Rbpf => Operand::Immediate(imm & i32::MAX),
                src => src,
            };
            Step::Branch {
                width,
                condition,
                dst,
                src,
                skip,
            }
        })
        .boxed()
}

fn skip(set: Set) -> BoxedStrategy<Step> {
    // rbpf does not know the long jump.
    (any::<bool>(), 1..4_usize)
        .prop_map(move |(long, skip)| Step::Skip {
            long: long && set != Set::Rbpf,
            skip,
        })
        .boxed()
}

fn simple(set: Set) -> BoxedStrategy<Step> {
    let shared = prop_oneof![
        8 => alu(set),
        1 => negate(set),
        1 => swap(set),
        2 => load(),
        2 => store(),
        1 => indexed(),
        1 => wide(),
        2 => branch(set),
        1 => skip(set),
    ];
    match set {
        Set::Rbpf => shared.boxed(),
        Set::Full | Set::Stray => {
            let full = prop_oneof![
                8 => shared,
                1 => move_signed(),
                1 => load_signed(),
                2 => atomic(),
                1 => helper(),
            ];
            if set == Set::Full {
                full.boxed()
            } else {
                prop_oneof![30 => full, 1 => stray()].boxed()
            }
        }
    }
}

/// An access at an address near the ends of a region, or of none.
fn stray() -> BoxedStrategy<Step> {
    let offsets = prop_oneof![
        4 => 0..24_u32,
        4 => 0..MEMORY_BYTES as u32 + 8,
        1 => Just(0xffff_fff8),
        1 => any::<u32>(),
    ];
    let accesses = prop_oneof![load(), store(), load_signed(), atomic()];
    (0..9_u64, offsets, -8..8_i16, accesses)
        .prop_map(|(tag, at, displacement, step)| {
            let value = WideValue::Number(tag << 32 | u64::from(at));
            let mut access = match step {
                Step::Plain(access) => access,
                other => return other,
            };
            if let Instruction::Load { base, offset, .. }
            | Instruction::Store { base, offset, .. }
            | Instruction::Atomic { base, offset, .. } = &mut access
            {
                (*base, *offset) = (r(8), displacement);
            }
            Step::Several(vec![Instruction::LoadWide { dst: r(8), value }, access])
        })
        .boxed()
}

fn body(set: Set, functions_behind: usize) -> BoxedStrategy<Vec<Step>> {
    let repeat = (1..6_u8, prop::collection::vec(simple(set), 0..8))
        .prop_map(|(count, body)| Step::Loop { count, body });
    let step = if functions_behind == 0 {
        prop_oneof![9 => simple(set), 1 => repeat].boxed()
    } else {
        let call = (0..functions_behind).prop_map(|function| Step::Call { function });
        prop_oneof![9 => simple(set), 1 => repeat, 1 => call].boxed()
    };
    prop::collection::vec(step, 0..24).boxed()
}

/// The slots of a program that starts at slot 0, with the memory in r1.
pub fn program(set: Set) -> impl Strategy<Value = Vec<u64>> {
    let numbers = prop::collection::vec(any::<u64>(), 9);
    // rbpf's stack holds two frames, so functions call no further there.
    let behind_second = usize::from(set != Set::Rbpf);
    (
        numbers,
        body(set, 2),
        body(set, behind_second),
        body(set, 0),
    )
        .prop_map(|(numbers, main, second, third)| {
            let mut code = prologue(&numbers);
            code.extend(lower(&main, 0));
            code.extend(epilogue());
            let mut starts = vec![slots_of(&code)];
            code.extend(lower(&second, 1));
            code.push(Instruction::Exit);
            starts.push(slots_of(&code));
            code.extend(lower(&third, 2));
            code.push(Instruction::Exit);
            link(&code, &starts)
        })
}

fn prologue(numbers: &[u64]) -> Vec<Instruction> {
    let src = Operand::Register(r(1));
    let keep = Instruction::Alu {
        width: Width::Bits64,
        op: AluOp::Mov,
        dst: MEMORY,
        src,
    };
    let fill = numbers
        .iter()
        .enumerate()
        .map(|(index, &number)| Instruction::LoadWide {
            dst: r(index as u8),
            value: WideValue::Number(number),
        });
    [keep].into_iter().chain(fill).collect()
}

/// Folds r0 to r8 into r0.
fn epilogue() -> Vec<Instruction> {
    let fold = |src| {
        let alu = |op, src| Instruction::Alu {
            width: Width::Bits64,
            op,
            dst: r(0),
            src,
        };
        [
            alu(AluOp::Mul, Operand::Immediate(31)),
            alu(AluOp::Add, Operand::Register(r(src))),
        ]
    };
    (1..9).flat_map(fold).chain([Instruction::Exit]).collect()
}

fn slots_of(code: &[Instruction]) -> i32 {
    code.iter()
        .map(|instruction| instruction.slots() as i32)
        .sum()
}

/// Calls hold the function's number until they are linked; `level` functions lie before it.
fn lower(steps: &[Step], level: usize) -> Vec<Instruction> {
    let lowered: Vec<Vec<Instruction>> = steps.iter().map(|step| lower_step(step, level)).collect();
    let distance = |at: usize, skip: usize| -> i32 {
        lowered
            .iter()
            .skip(at + 1)
            .take(skip)
            .map(|code| slots_of(code))
            .sum()
    };
    let mut code = Vec::new();
    for (at, (step, lowered)) in steps.iter().zip(&lowered).enumerate() {
        match *step {
            Step::Branch {
                width,
                condition,
                dst,
                src,
                skip,
            } => {
                let offset = distance(at, skip) as i16;
                code.push(Instruction::JumpIf {
                    width,
                    condition,
                    dst,
                    src,
                    offset,
                });
            }
            Step::Skip { long, skip } => {
                code.push(Instruction::Jump {
                    offset: distance(at, skip),
                    long,
                });
            }
            _ => code.extend(lowered),
        }
    }
    code
}

fn lower_step(step: &Step, level: usize) -> Vec<Instruction> {
    match step {
        Step::Plain(instruction) => vec![*instruction],
        Step::Several(instructions) => instructions.clone(),
        // One slot; what it is depends on the steps behind.
        Step::Branch { .. } | Step::Skip { .. } => {
            vec![Instruction::Jump {
                offset: 0,
                long: false,
            }]
        }
        Step::Call { function } => {
            vec![Instruction::CallLocal {
                offset: (level + function) as i32,
            }]
        }
        Step::Loop { count, body } => lower_loop(*count, &lower(body, level)),
    }
}

/// The counter lives in the frame, so the body may use every register.
fn lower_loop(count: u8, body: &[Instruction]) -> Vec<Instruction> {
    let (size, base, offset) = (Size::Double, Register::FRAME, LOOP_SLOT);
    let src = Operand::Immediate(i32::from(count));
    let mut code = vec![Instruction::Store {
        size,
        base,
        offset,
        src,
    }];
    code.extend(body);
    let dst = r(7);
    code.push(Instruction::Load {
        size,
        signed: false,
        dst,
        base,
        offset,
    });
    let (width, src) = (Width::Bits64, Operand::Immediate(1));
    code.push(Instruction::Alu {
        width,
        op: AluOp::Sub,
        dst,
        src,
    });
    code.push(Instruction::Store {
        size,
        base,
        offset,
        src: Operand::Register(dst),
    });
    let back = -(slots_of(&code) as i16);
    let (condition, src) = (Condition::NotEqual, Operand::Immediate(0));
    code.push(Instruction::JumpIf {
        width,
        condition,
        dst,
        src,
        offset: back,
    });
    code
}

/// Gives calls their distances and makes slots of it all.
fn link(code: &[Instruction], starts: &[i32]) -> Vec<u64> {
    let mut slots = Vec::new();
    for instruction in code {
        let next = slots.len() as i32 + 1;
        let linked = match *instruction {
            Instruction::CallLocal { offset } => Instruction::CallLocal {
                offset: starts[offset as usize] - next,
            },
            other => other,
        };
        let (first, second) = linked.encode();
        slots.push(first);
        slots.extend(second);
    }
    slots
}
