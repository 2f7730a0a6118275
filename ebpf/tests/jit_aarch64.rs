//! What the aarch64 emitter writes, on any machine: it keeps to its area, and what it writes are
//! instructions that lead to each other and touch memory by way of the right registers. That they
//! do what they should is seen by `tests/aarch64`, which runs them.
#![allow(unsafe_code)] // It calls accesses proved that are never run.

mod support;

#[path = "support/sides.rs"]
mod sides;

use std::collections::HashSet;

use ebpf::instruction::{AtomicOp, Condition, Instruction, Operand as Src, Register, Size, Width};
use ebpf::isa::Slot;
use ebpf::jit::{JitError, Job, Target, table_for};
use ebpf::limits::CODE_SLOTS_MAX;
use ebpf::{AccessPlan, Isolation, Program, RegionId, check};
use proptest::prelude::*;
use sides::{HELPERS, any_slot, cases, damaged};
use support::generate::{Set, program};
use support::scratch;
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction as Word, Opcode, Operand};

const ISOLATIONS: [Isolation; 2] = [Isolation::Alone, Isolation::Shared];

/// Enough for any program.
const AREA_BYTES: usize = 1 << 20;

fn compile(
    program: &Program<'_>,
    plan: &AccessPlan,
    isolation: Isolation,
    area: &mut [u8],
) -> Result<(usize, Vec<u32>), JitError> {
    let mut job = Job::new(program, isolation, Target::Aarch64)?;
    let mut table = vec![0; table_for(program.slots().len())];
    let layout = job.step(program, plan, area, &mut table, u32::MAX)?;
    Ok((layout.expect("all was done at once").code_bytes(), table))
}

/// What may be emitted at all.
const OPCODES: &[Opcode] = &[
    Opcode::ADD,
    Opcode::ADDS,
    Opcode::ADR,
    Opcode::AND,
    Opcode::ANDS,
    Opcode::ASRV,
    Opcode::B,
    Opcode::BR,
    Opcode::CBNZ,
    Opcode::CBZ,
    Opcode::CSEL,
    Opcode::EOR,
    Opcode::HINT,
    Opcode::LDP,
    Opcode::LDR,
    Opcode::LDRB,
    Opcode::LDRH,
    Opcode::LDRSB,
    Opcode::LDRSH,
    Opcode::LDRSW,
    Opcode::LDUR,
    Opcode::LDURB,
    Opcode::LDURH,
    Opcode::LDURSB,
    Opcode::LDURSH,
    Opcode::LDURSW,
    Opcode::LSLV,
    Opcode::LSRV,
    Opcode::MADD,
    Opcode::MOVK,
    Opcode::MOVN,
    Opcode::MOVZ,
    Opcode::MSUB,
    Opcode::ORR,
    Opcode::RET,
    Opcode::REV,
    Opcode::REV16,
    Opcode::SBFM,
    Opcode::SDIV,
    Opcode::STP,
    Opcode::STR,
    Opcode::STRB,
    Opcode::STRH,
    Opcode::STUR,
    Opcode::STURB,
    Opcode::STURH,
    Opcode::SUB,
    Opcode::SUBS,
    Opcode::UBFM,
    Opcode::UDIV,
];

/// True for a register that may be the base of an address: the frame, the machine, temporary ones,
/// those that are pinned, and the stack pointer, which enters and leaves by it. None of the
/// program's.
fn is_base(number: u16) -> bool {
    matches!(number, 10 | 12..=17 | 19..=28 | 31)
}

/// Looks at every word, by a decoder that knows nothing of the emitter.
fn look_at(code: &[u8], table: &[u32]) -> Result<(), TestCaseError> {
    prop_assert_eq!(code.len() % 4, 0);
    let decoder = InstDecoder::default();
    for (at, word) in (0..).step_by(4).zip(code.as_chunks::<4>().0) {
        let mut reader = U8Reader::new(word);
        let decoded = decoder.decode(&mut reader);
        prop_assert!(decoded.is_ok(), "{:02x?} at {:#x}", word, at);
        let decoded: Word = decoded.expect("it was just looked at");
        let is_branch = matches!(decoded.opcode, Opcode::Bcc(_));
        prop_assert!(
            is_branch || OPCODES.contains(&decoded.opcode),
            "{decoded} at {at:#x}"
        );
        if decoded.opcode == Opcode::HINT {
            prop_assert_eq!(u32::from_le_bytes(*word), 0xd503_229f, "it is CSDB");
        }
        for operand in decoded.operands {
            match operand {
                Operand::PCOffset(distance) => {
                    let target = at + distance;
                    let inside = target >= 0 && target < code.len() as i64 && target % 4 == 0;
                    prop_assert!(inside, "{decoded} at {at:#x}");
                }
                Operand::RegRegOffset(base, ..) | Operand::RegPreIndex(base, _, false) => {
                    prop_assert!(is_base(base), "{decoded} at {at:#x}");
                }
                Operand::RegPreIndex(..) | Operand::RegPostIndex(..) => {
                    prop_assert!(false, "{decoded} at {at:#x}");
                }
                Operand::Register(_, 18) | Operand::RegisterOrSP(_, 18) => {
                    prop_assert!(false, "{decoded} at {at:#x}: it is the platform's");
                }
                _ => {}
            }
        }
    }
    for &entry in table {
        prop_assert!((entry as usize) < code.len() && entry % 4 == 0);
    }
    Ok(())
}

/// A plan by chance: what is known of each slot in turn.
fn by_tags(tags: &[u8]) -> AccessPlan {
    let mut plan = AccessPlan::all_guarded();
    for (pc, tag) in (0..).zip(tags) {
        let region = [RegionId::Stack, RegionId::Scratch, RegionId::Context];
        if let Some(region) = region.get(usize::from(*tag)) {
            // SAFETY: nothing that is compiled with it is run.
            unsafe { plan.assume(pc, *region) };
        }
    }
    plan
}

/// Bytes behind the area that must stay as they are.
const GUARD: usize = 64;

proptest! {
    #![proptest_config(cases(4000))]

    /// Whatever slots there are, checked or not.
    #[test]
    fn whatever_is_compiled_keeps_to_its_area(
        slots in prop_oneof![
            prop::collection::vec(any_slot(), 0..40),
            damaged(),
            program(Set::Full),
            program(Set::Stray),
        ],
        bytes in 0..6000_usize,
        tags in prop::collection::vec(0..5_u8, 40),
    ) {
        let other = check(&[0x95; 40], &[0, 3, 7, 20], &[]).expect("it passes");
        let plan = by_tags(&tags);
        let checked = check(&slots, &[0], HELPERS);
        let program = Program::new(&slots, checked.as_ref().unwrap_or(&other), scratch(0));
        for isolation in ISOLATIONS {
            let mut area = vec![0xa5; bytes + GUARD];
            let made = compile(&program, &plan, isolation, &mut area[..bytes]);
            prop_assert!(area[bytes..].iter().all(|&byte| byte == 0xa5));
            match made {
                Ok((len, table)) => look_at(&area[..len], &table)?,
                Err(JitError::AreaTooSmall { needed }) => {
                    prop_assert!(needed > bytes);
                    let mut area = vec![0; needed];
                    let (len, table) = compile(&program, &plan, isolation, &mut area)
                        .map_err(|why| TestCaseError::fail(why.to_string()))?;
                    prop_assert_eq!(len, needed);
                    look_at(&area, &table)?;
                }
                Err(JitError::Inconsistent { pc }) => prop_assert!(false, "at {}", pc),
                Err(why) => prop_assert!(checked.is_err(), "{}", why),
            }
        }
    }

    /// In steps of any size the same comes of it.
    #[test]
    fn steps_change_nothing(slots in program(Set::Full), step in 1..40_u32) {
        let checked = check(&slots, &[0], HELPERS).expect("generated code passes the check");
        let program = Program::new(&slots, &checked, scratch(0));
        let plan = AccessPlan::all_guarded();
        let mut at_once = vec![0; AREA_BYTES];
        let (len, table) = compile(&program, &plan, Isolation::Shared, &mut at_once).expect("it fits");
        let mut job = Job::new(&program, Isolation::Shared, Target::Aarch64).expect("it is short");
        let (mut area, mut other_table) = (vec![0; len], vec![0; table.len()]);
        let mut steps = 0;
        let layout = loop {
            steps += 1;
            prop_assert!(steps <= 7 * slots.len() + 8);
            let made = job.step(&program, &plan, &mut area, &mut other_table, step);
            if let Some(layout) = made.expect("it compiles") {
                break layout;
            }
        };
        prop_assert_eq!(layout.code_bytes(), len);
        prop_assert!(area[..] == at_once[..len]);
        prop_assert_eq!(table, other_table);
    }
}

const fn r(number: u8) -> Register {
    Register::new(number).expect("it is a register")
}

/// As many slots as there may be: an instruction again and again, and these two behind it.
fn repeated(instruction: Instruction, tail: [u64; 2]) -> Vec<u64> {
    let mut slots = vec![instruction.encode().0; CODE_SLOTS_MAX - tail.len()];
    slots.extend(tail);
    slots
}

/// As many slots as there may be: calls of the last.
fn calls(exit: u64) -> Vec<u64> {
    let last = CODE_SLOTS_MAX as i32 - 1;
    let call = |pc: i32| {
        let offset = last - (pc + 1);
        Instruction::CallLocal { offset }.encode().0
    };
    (0..last - 1).map(call).chain([exit, exit]).collect()
}

/// The longest programs of what takes most code: no distance is too far.
#[test]
fn the_longest_programs_fit() {
    let exit = Slot::new(0x95, 0, 0, 0, 0).0;
    let far = Slot::new(0x05, 0, 0, -(CODE_SLOTS_MAX as i16), 0).0;
    let offset = i16::MIN;
    let instructions = [
        Instruction::Atomic {
            width: Width::Bits64,
            op: AtomicOp::CompareExchange,
            base: r(1),
            offset,
            src: r(2),
        },
        Instruction::Load {
            size: Size::Byte,
            signed: true,
            dst: r(1),
            base: r(1),
            offset,
        },
        Instruction::Store {
            size: Size::Double,
            base: r(1),
            offset,
            src: Src::Immediate(0x1234_5678),
        },
        Instruction::JumpIf {
            width: Width::Bits64,
            condition: Condition::AnyBit,
            dst: r(1),
            src: Src::Immediate(0x1234_5678),
            offset: -1,
        },
        Instruction::CallHelper { id: 1 },
    ];
    let tails = [[exit, exit], [exit, far]];
    let all = tails
        .iter()
        .flat_map(|&tail| instructions.map(|it| repeated(it, tail)));
    for slots in all.chain([calls(exit)]) {
        let checked = check(&slots, &[0], HELPERS).expect("it passes the check");
        let program = Program::new(&slots, &checked, scratch(0));
        for isolation in ISOLATIONS {
            let plan = AccessPlan::all_guarded();
            let mut area = vec![0; AREA_BYTES];
            let made = compile(&program, &plan, isolation, &mut area);
            let (len, table) = made.expect("it compiles");
            look_at(&area[..len], &table).expect("it is well made");
            // Each slot begins somewhere else.
            let starts: HashSet<u32> = table.iter().copied().collect();
            assert_eq!(starts.len(), table.len());
        }
    }
}
