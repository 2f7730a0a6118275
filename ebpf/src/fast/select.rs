//! Which function executes an operation, and which pairs have one of their own.

use core::marker::PhantomData;

use super::control::{branch, one, then_branch, two};
use super::op::Handler;
use super::parts::*;
use crate::isa::{self, Slot, alu, jmp, op};

/// How memory is reached at a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reach {
    Guarded,
    GuardedMasked,
    Proved,
    ProvedMasked,
}

/// A generic function for the width and second operand that an opcode asks for.
macro_rules! with_forms {
    ($operator:ty, $opcode:expr, $then:ident) => {
        match $opcode & 0x0f {
            FORM_K32 => $then::<K32<$operator>>,
            FORM_X32 => $then::<X32<$operator>>,
            FORM_K64 => $then::<K64<$operator>>,
            _ => $then::<X64<$operator>>,
        }
    };
}

const FORM_K32: u8 = isa::ALU | isa::K;
const FORM_X32: u8 = isa::ALU | isa::X;
const FORM_K64: u8 = isa::ALU64 | isa::K;

/// The function for arithmetic. None where RFC 9669 has no such instruction.
pub(super) fn arithmetic(slot: Slot) -> Option<Handler> {
    let opcode = slot.opcode();
    let is_signed = slot.offset() == 1;
    let is_register = slot.is_register_form();
    Some(match opcode & 0xf0 {
        alu::ADD => with_forms!(Add, opcode, one),
        alu::SUB => with_forms!(Sub, opcode, one),
        alu::MUL => with_forms!(Mul, opcode, one),
        alu::OR => with_forms!(Or, opcode, one),
        alu::AND => with_forms!(And, opcode, one),
        alu::XOR => with_forms!(Xor, opcode, one),
        alu::LSH => with_forms!(Lsh, opcode, one),
        alu::RSH => with_forms!(Rsh, opcode, one),
        alu::ARSH => with_forms!(Arsh, opcode, one),
        alu::DIV | alu::MOD if !matches!(slot.offset(), 0 | 1) => return None,
        alu::DIV if is_signed => with_forms!(SignedDiv, opcode, one),
        alu::DIV => with_forms!(Div, opcode, one),
        alu::MOD if is_signed => with_forms!(SignedRem, opcode, one),
        alu::MOD => with_forms!(Rem, opcode, one),
        alu::MOV if is_register => return moved(slot),
        alu::MOV => with_forms!(Mov, opcode, one),
        alu::NEG if is_register => return None,
        alu::NEG => with_forms!(Neg, opcode, one),
        alu::END => return swapped(slot),
        _ => return None,
    })
}

/// A move from a register, plain or of a lower part whose sign is extended.
fn moved(slot: Slot) -> Option<Handler> {
    Some(match (slot.class(), slot.offset()) {
        (isa::ALU64, 0) => one::<X64<Mov>>,
        (isa::ALU64, 8) => one::<X64<FromByte>>,
        (isa::ALU64, 16) => one::<X64<FromHalf>>,
        (isa::ALU64, 32) => one::<X64<FromWord>>,
        (isa::ALU, 0) => one::<X32<Mov>>,
        (isa::ALU, 8) => one::<X32<FromByte>>,
        (isa::ALU, 16) => one::<X32<FromHalf>>,
        _ => return None,
    })
}

/// A byte order (section 4.2).
fn swapped(slot: Slot) -> Option<Handler> {
    Some(match (slot.opcode(), slot.imm()) {
        (op::LE, 16) => one::<K64<Little16>>,
        (op::LE, 32) => one::<K64<Little32>>,
        (op::LE, 64) => one::<K64<Little64>>,
        (op::BE | op::BSWAP, 16) => one::<K64<Swap16>>,
        (op::BE | op::BSWAP, 32) => one::<K64<Swap32>>,
        (op::BE | op::BSWAP, 64) => one::<K64<Swap64>>,
        _ => return None,
    })
}

/// The function for a load, store or atomic. None where RFC 9669 has no such instruction.
pub(super) fn access(slot: Slot, reach: Reach) -> Option<Handler> {
    match reach {
        Reach::Guarded => access_how::<GUARDED>(slot),
        Reach::GuardedMasked => access_how::<GUARDED_MASKED>(slot),
        Reach::Proved => access_how::<PROVED>(slot),
        Reach::ProvedMasked => access_how::<PROVED_MASKED>(slot),
    }
}

fn access_how<const HOW: u8>(slot: Slot) -> Option<Handler> {
    Some(match slot.opcode() {
        op::LDXB => one::<Load<u8, HOW>>,
        op::LDXH => one::<Load<u16, HOW>>,
        op::LDXW => one::<Load<u32, HOW>>,
        op::LDXDW => one::<Load<u64, HOW>>,
        op::LDXSB => one::<Load<i8, HOW>>,
        op::LDXSH => one::<Load<i16, HOW>>,
        op::LDXSW => one::<Load<i32, HOW>>,
        op::STB => one::<Store<u8, false, HOW>>,
        op::STH => one::<Store<u16, false, HOW>>,
        op::STW => one::<Store<u32, false, HOW>>,
        op::STDW => one::<Store<u64, false, HOW>>,
        op::STXB => one::<Store<u8, true, HOW>>,
        op::STXH => one::<Store<u16, true, HOW>>,
        op::STXW => one::<Store<u32, true, HOW>>,
        op::STXDW => one::<Store<u64, true, HOW>>,
        op::ATOMIC32 if HOW == GUARDED => one::<Atomic<u32, false>>,
        op::ATOMIC32 => one::<Atomic<u32, true>>,
        op::ATOMIC64 if HOW == GUARDED => one::<Atomic<u64, false>>,
        op::ATOMIC64 => one::<Atomic<u64, true>>,
        _ => return None,
    })
}

/// Something to be done with the type of a conditional jump's test.
trait WithTest {
    fn with<T: Test>(&self) -> Handler;
}

/// Gives the test of a conditional jump to `then`.
fn with_test(opcode: u8, then: &impl WithTest) -> Option<Handler> {
    fn forms<C: Comparison>(opcode: u8, then: &impl WithTest) -> Handler {
        match (opcode & 7, opcode & isa::X) {
            (isa::JMP, isa::K) => then.with::<K64<C>>(),
            (isa::JMP, _) => then.with::<X64<C>>(),
            (_, isa::K) => then.with::<K32<C>>(),
            _ => then.with::<X32<C>>(),
        }
    }
    Some(match opcode & 0xf0 {
        jmp::JEQ => forms::<Equal>(opcode, then),
        jmp::JNE => forms::<NotEqual>(opcode, then),
        jmp::JSET => forms::<AnyBit>(opcode, then),
        jmp::JGT => forms::<Greater>(opcode, then),
        jmp::JGE => forms::<GreaterOrEqual>(opcode, then),
        jmp::JLT => forms::<Less>(opcode, then),
        jmp::JLE => forms::<LessOrEqual>(opcode, then),
        jmp::JSGT => forms::<SignedGreater>(opcode, then),
        jmp::JSGE => forms::<SignedGreaterOrEqual>(opcode, then),
        jmp::JSLT => forms::<SignedLess>(opcode, then),
        jmp::JSLE => forms::<SignedLessOrEqual>(opcode, then),
        _ => return None,
    })
}

/// The function for a conditional jump that goes back or forth. None where there is no such one.
pub(super) fn conditional(slot: Slot, back: bool) -> Option<Handler> {
    struct Alone(bool);
    impl WithTest for Alone {
        fn with<T: Test>(&self) -> Handler {
            if self.0 {
                branch::<T, true>
            } else {
                branch::<T, false>
            }
        }
    }
    with_test(slot.opcode(), &Alone(back))
}

/// One of two operations that follow each other.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) slot: Slot,
    pub(super) reach: Reach,
    /// Of a conditional jump: it goes back.
    pub(super) back: bool,
}

/// Something to be done with the type of a part.
trait WithPart {
    fn with<P: Part>(&self) -> Option<Handler>;
}

/// The parts that pairs are made of: what compiled code is full of.
fn with_common_part(candidate: Candidate, then: &impl WithPart) -> Option<Handler> {
    let Candidate { slot, reach, .. } = candidate;
    match (slot.opcode(), reach) {
        (op::ADD64_K, _) => then.with::<K64<Add>>(),
        (op::ADD64_X, _) => then.with::<X64<Add>>(),
        (op::ADD32_K, _) => then.with::<K32<Add>>(),
        (op::ADD32_X, _) => then.with::<X32<Add>>(),
        (op::SUB64_X, _) => then.with::<X64<Sub>>(),
        (op::SUB64_K, _) => then.with::<K64<Sub>>(),
        (op::MUL64_X, _) => then.with::<X64<Mul>>(),
        (op::AND64_K, _) => then.with::<K64<And>>(),
        (op::AND32_K, _) => then.with::<K32<And>>(),
        (op::AND64_X, _) => then.with::<X64<And>>(),
        (op::OR64_X, _) => then.with::<X64<Or>>(),
        (op::XOR64_X, _) => then.with::<X64<Xor>>(),
        (op::LSH64_K, _) => then.with::<K64<Lsh>>(),
        (op::LSH64_X, _) => then.with::<X64<Lsh>>(),
        (op::RSH64_K, _) => then.with::<K64<Rsh>>(),
        (op::RSH32_K, _) => then.with::<K32<Rsh>>(),
        (op::MOV64_K, _) => then.with::<K64<Mov>>(),
        (op::MOV64_X, _) if slot.offset() == 0 => then.with::<X64<Mov>>(),
        (op::MOV32_X, _) if slot.offset() == 0 => then.with::<X32<Mov>>(),
        (op::LDXB, Reach::Proved) => then.with::<Load<u8, PROVED>>(),
        (op::LDXH, Reach::Proved) => then.with::<Load<u16, PROVED>>(),
        (op::LDXW, Reach::Proved) => then.with::<Load<u32, PROVED>>(),
        (op::LDXDW, Reach::Proved) => then.with::<Load<u64, PROVED>>(),
        (op::LDXB, Reach::ProvedMasked) => then.with::<Load<u8, PROVED_MASKED>>(),
        (op::LDXH, Reach::ProvedMasked) => then.with::<Load<u16, PROVED_MASKED>>(),
        (op::LDXW, Reach::ProvedMasked) => then.with::<Load<u32, PROVED_MASKED>>(),
        (op::LDXDW, Reach::ProvedMasked) => then.with::<Load<u64, PROVED_MASKED>>(),
        _ => None,
    }
}

/// What the second of two reads of the first one's result.
fn handed(first: Slot, second: Slot) -> u8 {
    let to = |is: bool, what| if is { what } else { NONE };
    to(second.dst() == first.dst(), TO_DST) | to(second.src() == first.dst(), TO_SRC)
}

/// The function that does two operations which follow each other, if there is one.
pub(super) fn pair(first: Candidate, second: Candidate) -> Option<Handler> {
    with_common_part(first, &Second(second, handed(first.slot, second.slot)))
}

/// The second of two, and what is handed to it.
struct Second(Candidate, u8);

impl WithPart for Second {
    fn with<A: Part>(&self) -> Option<Handler> {
        let &Second(candidate, from) = self;
        match candidate.slot.class() {
            isa::JMP | isa::JMP32 => with_common_test(
                candidate.slot.opcode(),
                &AndJump(from, candidate.back, PhantomData::<A>),
            ),
            _ => with_common_part(candidate, &AndPart(from, PhantomData::<A>)),
        }
    }
}

/// A part, behind which another comes.
struct AndPart<A>(u8, PhantomData<A>);

impl<A: Part> WithPart for AndPart<A> {
    fn with<B: Part>(&self) -> Option<Handler> {
        Some(match self.0 {
            NONE => two::<A, B, NONE>,
            TO_SRC => two::<A, B, TO_SRC>,
            // Where both are the same register, the source may well come from the register file.
            _ => two::<A, B, TO_DST>,
        })
    }
}

/// A part, behind which a conditional jump comes, perhaps one that goes back.
struct AndJump<A>(u8, bool, PhantomData<A>);

impl<A: Part> WithTest for AndJump<A> {
    fn with<T: Test>(&self) -> Handler {
        match (self.0, self.1) {
            (NONE | TO_SRC, false) => then_branch::<A, T, NONE, false>,
            (NONE | TO_SRC, true) => then_branch::<A, T, NONE, true>,
            (_, false) => then_branch::<A, T, TO_DST, false>,
            (_, true) => then_branch::<A, T, TO_DST, true>,
        }
    }
}

/// The tests that pairs are made of.
fn with_common_test(opcode: u8, then: &impl WithTest) -> Option<Handler> {
    Some(match opcode {
        op::JEQ64_K => then.with::<K64<Equal>>(),
        op::JEQ64_X => then.with::<X64<Equal>>(),
        op::JNE64_K => then.with::<K64<NotEqual>>(),
        op::JNE64_X => then.with::<X64<NotEqual>>(),
        op::JGT64_K => then.with::<K64<Greater>>(),
        op::JGT64_X => then.with::<X64<Greater>>(),
        op::JGE64_X => then.with::<X64<GreaterOrEqual>>(),
        op::JLT64_X => then.with::<X64<Less>>(),
        op::JLT64_K => then.with::<K64<Less>>(),
        op::JSGT64_K => then.with::<K64<SignedGreater>>(),
        op::JEQ32_K => then.with::<K32<Equal>>(),
        op::JNE32_K => then.with::<K32<NotEqual>>(),
        _ => return None,
    })
}
