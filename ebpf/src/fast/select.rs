//! Which function executes an operation, and which pairs have one of their own.

use core::marker::PhantomData;

use super::control::{BACK, FORTH, LOOP_END, branch, one, then_branch, three, two};
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

/// The function for a conditional jump that goes its way. None where there is no such one.
pub(super) fn conditional(slot: Slot, way: Way) -> Option<Handler> {
    struct Alone(Way);
    impl WithTest for Alone {
        fn with<T: Test>(&self) -> Handler {
            match self.0 {
                Way::Forth => branch::<T, FORTH>,
                Way::Back => branch::<T, BACK>,
                Way::LoopEnd => branch::<T, LOOP_END>,
            }
        }
    }
    with_test(slot.opcode(), &Alone(way))
}

/// Where a conditional jump leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    Forth,
    Back,
    /// Forth, over a jump back.
    LoopEnd,
}

/// Whether a jump without a condition goes back. None for anything else.
pub(super) fn always_goes_back(slot: Slot) -> Option<bool> {
    match slot.opcode() {
        op::JA => Some(slot.offset() < 0),
        op::GOTOL => Some(slot.imm() < 0),
        _ => None,
    }
}

/// One of several operations that follow each other.
#[derive(Clone, Copy)]
pub(super) struct Candidate {
    pub(super) slot: Slot,
    pub(super) reach: Reach,
    /// Of a conditional jump.
    pub(super) way: Way,
}

/// Something to be done with the type of a part.
trait WithPart {
    fn with<P: Part>(&self) -> Option<Handler>;
}

/// The parts that pairs are made of: what compiled code is full of.
fn with_common_part(candidate: Candidate, then: &impl WithPart) -> Option<Handler> {
    let Candidate { slot, reach, .. } = candidate;
    match slot.opcode() {
        op::ADD64_K => then.with::<K64<Add>>(),
        op::ADD64_X => then.with::<X64<Add>>(),
        op::ADD32_K => then.with::<K32<Add>>(),
        op::ADD32_X => then.with::<X32<Add>>(),
        op::MUL64_X => then.with::<X64<Mul>>(),
        op::AND64_K => then.with::<K64<And>>(),
        op::AND32_K => then.with::<K32<And>>(),
        op::OR64_X => then.with::<X64<Or>>(),
        op::XOR64_X => then.with::<X64<Xor>>(),
        op::LSH64_K => then.with::<K64<Lsh>>(),
        op::LSH32_K => then.with::<K32<Lsh>>(),
        op::RSH32_K => then.with::<K32<Rsh>>(),
        op::ARSH32_K => then.with::<K32<Arsh>>(),
        op::MOV32_K => then.with::<K32<Mov>>(),
        op::MOV64_X if slot.offset() == 0 => then.with::<X64<Mov>>(),
        op::MOV32_X if slot.offset() == 0 => then.with::<X32<Mov>>(),
        opcode => with_common_load(opcode, reach, then),
    }
}

/// The loads that pairs and triples are made of.
fn with_common_load(opcode: u8, reach: Reach, then: &impl WithPart) -> Option<Handler> {
    match (opcode, reach) {
        (op::LDXB, Reach::Proved) => then.with::<Load<u8, PROVED>>(),
        (op::LDXW, Reach::Proved) => then.with::<Load<u32, PROVED>>(),
        (op::LDXDW, Reach::Proved) => then.with::<Load<u64, PROVED>>(),
        (op::LDXB, Reach::ProvedMasked) => then.with::<Load<u8, PROVED_MASKED>>(),
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

/// The function that does three operations which follow each other, if there is one: an address is
/// put together, `a = b; a += c`, and loaded from.
pub(super) fn triple(first: Candidate, second: Candidate, third: Candidate) -> Option<Handler> {
    struct Indexed;
    impl WithPart for Indexed {
        fn with<L: Part>(&self) -> Option<Handler> {
            Some(three::<X64<Mov>, X64<Add>, L, TO_DST, TO_SRC>)
        }
    }
    let is_move = first.slot.opcode() == op::MOV64_X && first.slot.offset() == 0;
    let is_sum = second.slot.opcode() == op::ADD64_X;
    let follow =
        handed(first.slot, second.slot) == TO_DST && handed(second.slot, third.slot) & TO_SRC != 0;
    if is_move && is_sum && follow {
        with_common_load(third.slot.opcode(), third.reach, &Indexed)
    } else {
        None
    }
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
                &AndJump(from, candidate.way, PhantomData::<A>),
            ),
            _ => with_common_part(candidate, &AndPart(from, PhantomData::<A>)),
        }
    }
}

/// A part, behind which another comes.
struct AndPart<A>(u8, PhantomData<A>);

impl<A: Part> WithPart for AndPart<A> {
    fn with<B: Part>(&self) -> Option<Handler> {
        // What is not handed over comes from the register, which the first part has written.
        Some(if B::READS & TO_DST != 0 && self.0 & TO_DST != 0 {
            two::<A, B, TO_DST>
        } else if B::READS & TO_SRC != 0 && self.0 & TO_SRC != 0 {
            two::<A, B, TO_SRC>
        } else {
            two::<A, B, NONE>
        })
    }
}

/// A part, behind which a conditional jump comes, and where it leads.
struct AndJump<A>(u8, Way, PhantomData<A>);

impl<A: Part> WithTest for AndJump<A> {
    fn with<T: Test>(&self) -> Handler {
        match (self.0 & TO_DST != 0, self.1) {
            (false, Way::Back) => then_branch::<A, T, NONE, BACK>,
            (true, Way::Back) => then_branch::<A, T, TO_DST, BACK>,
            (false, Way::Forth) => then_branch::<A, T, NONE, FORTH>,
            (true, Way::Forth) => then_branch::<A, T, TO_DST, FORTH>,
            (_, Way::LoopEnd) => then_branch::<A, T, NONE, LOOP_END>,
        }
    }
}

/// The tests that pairs are made of.
fn with_common_test(opcode: u8, then: &impl WithTest) -> Option<Handler> {
    Some(match opcode {
        op::JEQ64_K => then.with::<K64<Equal>>(),
        op::JEQ32_K => then.with::<K32<Equal>>(),
        op::JNE64_K => then.with::<K64<NotEqual>>(),
        op::JNE32_K => then.with::<K32<NotEqual>>(),
        op::JNE64_X => then.with::<X64<NotEqual>>(),
        op::JLT64_X => then.with::<X64<Less>>(),
        op::JLT32_X => then.with::<X32<Less>>(),
        op::JSLT32_K => then.with::<K32<SignedLess>>(),
        op::JSGT32_K => then.with::<K32<SignedGreater>>(),
        _ => return None,
    })
}
