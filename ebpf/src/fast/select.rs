//! Which function executes an operation, and what several operations have one together.

use core::marker::PhantomData;

use super::control::{
    BACK, FORTH, LOOP_END, branch, choice_then_back, one, then_always, then_branch, two,
};
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

/// The most slots that one function does.
pub(super) const SEVERAL_MAX: usize = 6;

/// The function that does the first of some operations and those that follow it, if there is one.
pub(super) fn several(all: &[Candidate]) -> Option<Handler> {
    choice(all)
        .or_else(|| scaled(all))
        .or_else(|| indexed(all))
        .or_else(|| with_first_part(all, &Behind(all)))
}

/// A choice: a conditional jump over a move, or over a move and a jump to the same slot.
fn choice(all: &[Candidate]) -> Option<Handler> {
    struct Skipping(u8, bool);
    impl WithPart for Skipping {
        fn with<M: Part>(&self) -> Option<Handler> {
            struct Over<M>(bool, PhantomData<M>);
            impl<M: Part> WithTest for Over<M> {
                fn with<T: Test>(&self) -> Handler {
                    if self.0 {
                        choice_then_back::<T, M>
                    } else {
                        one::<Choice<T, M>>
                    }
                }
            }
            with_common_test(self.0, &Over(self.1, PhantomData::<M>))
        }
    }
    let [jump, moved, behind @ ..] = all else {
        return None;
    };
    if !matches!(jump.slot.class(), isa::JMP | isa::JMP32) {
        return None;
    }
    let distance = jump.slot.offset();
    let both_back = distance < 0
        && behind.first().is_some_and(|behind| {
            let slot = behind.slot;
            slot.opcode() == op::JA && i32::from(slot.offset()) == i32::from(distance) - 2
        });
    if distance != 1 && !both_back {
        return None;
    }
    let then = Skipping(jump.slot.opcode(), both_back);
    match moved.slot.opcode() {
        op::MOV64_X if moved.slot.offset() == 0 => then.with::<X64<Mov>>(),
        op::MOV32_X if moved.slot.offset() == 0 => then.with::<X32<Mov>>(),
        op::MOV32_K => then.with::<K32<Mov>>(),
        _ => None,
    }
}

/// A load from `base + (index << scale)`, as compilers put it together: `d = index; d <<= scale;
/// e = base; e += d; r = *e`.
fn scaled(all: &[Candidate]) -> Option<Handler> {
    struct Scaled;
    impl WithPart for Scaled {
        fn with<L: Part>(&self) -> Option<Handler> {
            Some(two::<Then<OnCopy<K64<Lsh>>, OnCopy<X64<Add>>, TO_SRC>, L, TO_SRC>)
        }
    }
    let [index, scale, base, sum, load, ..] = all else {
        return None;
    };
    let is_scaled = scale.slot.opcode() == op::LSH64_K && is_copy_for(index.slot, scale.slot);
    let is_sum = sum.slot.opcode() == op::ADD64_X && is_copy_for(base.slot, sum.slot);
    let follow = base.slot.src() != scale.slot.dst()
        && sum.slot.src() == scale.slot.dst()
        && load.slot.src() == sum.slot.dst();
    if is_scaled && is_sum && follow {
        with_common_load(load.slot.opcode(), load.reach, &Scaled)
    } else {
        None
    }
}

/// A load from `base + index`, and a conditional jump on what was loaded: `d = base; d += index;
/// r = *d; if r ...`.
fn indexed(all: &[Candidate]) -> Option<Handler> {
    struct Indexed(Candidate);
    impl WithPart for Indexed {
        fn with<L: Part>(&self) -> Option<Handler> {
            let then = AndLoaded::<Then<OnCopy<X64<Add>>, L, TO_SRC>>(self.0.way, PhantomData);
            with_common_test(self.0.slot.opcode(), &then)
        }
    }
    let [base, sum, load, jump, ..] = all else {
        return None;
    };
    let is_sum = sum.slot.opcode() == op::ADD64_X && is_copy_for(base.slot, sum.slot);
    let is_test = matches!(jump.slot.class(), isa::JMP | isa::JMP32);
    let follow = load.slot.src() == sum.slot.dst() && jump.slot.dst() == load.slot.dst();
    if is_sum && is_test && follow {
        with_common_load(load.slot.opcode(), load.reach, &Indexed(*jump))
    } else {
        None
    }
}

/// A load, behind which comes a conditional jump that reads what was loaded, and where it leads.
struct AndLoaded<A>(Way, PhantomData<A>);

impl<A: Part> WithTest for AndLoaded<A> {
    fn with<T: Test>(&self) -> Handler {
        match self.0 {
            Way::Forth => then_branch::<A, T, TO_DST, FORTH>,
            Way::Back => then_branch::<A, T, TO_DST, BACK>,
            Way::LoopEnd => then_branch::<A, T, TO_DST, LOOP_END>,
        }
    }
}

/// Whether `first` copies a register to where `second` goes on with it, which reads nothing else
/// of it.
fn is_copy_for(first: Slot, second: Slot) -> bool {
    let is_wide = first.opcode() == op::MOV64_X;
    let is_copy = first.offset() == 0 && (is_wide || first.opcode() == op::MOV32_X);
    let fits = is_wide || second.class() == isa::ALU;
    let reads_twice = second.is_register_form() && second.src() == first.dst();
    is_copy && fits && second.dst() == first.dst() && !reads_twice
}

/// The part that some operations begin with: arithmetic on a copy, or a single one.
fn with_first_part(all: &[Candidate], then: &impl WithPart) -> Option<Handler> {
    with_copied_part(all, then).or_else(|| with_common_part(*all.first()?, then))
}

fn with_copied_part(all: &[Candidate], then: &impl WithPart) -> Option<Handler> {
    let [first, second, ..] = all else {
        return None;
    };
    if !is_copy_for(first.slot, second.slot) {
        return None;
    }
    match second.slot.opcode() {
        op::ADD64_X => then.with::<OnCopy<X64<Add>>>(),
        op::ADD64_K => then.with::<OnCopy<K64<Add>>>(),
        op::ADD32_X => then.with::<OnCopy<X32<Add>>>(),
        op::AND64_K => then.with::<OnCopy<K64<And>>>(),
        op::LSH64_K => then.with::<OnCopy<K64<Lsh>>>(),
        _ => None,
    }
}

/// The single parts that several are made of: what compiled code is full of.
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

/// The loads that several are made of.
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

/// What a part reads of the result of the one before, whose last slot is `before`.
fn handed<B: Part>(before: Slot, part: &[Candidate]) -> u8 {
    let (Some(first), Some(last)) = (part.first(), part.get(B::SLOTS - 1)) else {
        return NONE;
    };
    // Of a copy, the value copied is what the destination holds.
    let of_first = if B::SLOTS > 1 {
        first.slot.src()
    } else {
        first.slot.dst()
    };
    if B::READS & TO_DST != 0 && of_first == before.dst() {
        TO_DST
    } else if B::READS & TO_SRC != 0 && last.slot.src() == before.dst() {
        TO_SRC
    } else {
        NONE
    }
}

/// What comes behind the first part of some operations.
struct Behind<'a>(&'a [Candidate]);

impl WithPart for Behind<'_> {
    fn with<A: Part>(&self) -> Option<Handler> {
        let (first, rest) = self.0.split_at_checked(A::SLOTS)?;
        let before = first.last()?.slot;
        let Some(second) = rest.first() else {
            return alone::<A>();
        };
        if choice(rest).is_some() {
            // As a jump it would be guessed.
            return alone::<A>();
        }
        let found = match second.slot.class() {
            isa::JMP | isa::JMP32 => with_jump::<A>(before, *second),
            _ => with_first_part(rest, &AndPart(before, rest, PhantomData::<A>)),
        };
        found.or_else(alone::<A>)
    }
}

/// A part with nothing behind it, if it is several operations.
fn alone<A: Part>() -> Option<Handler> {
    (A::SLOTS > 1).then_some(one::<A>)
}

/// A part, and a jump behind it.
fn with_jump<A: Part>(before: Slot, jump: Candidate) -> Option<Handler> {
    match always_goes_back(jump.slot) {
        Some(true) => Some(then_always::<A, true>),
        Some(false) => Some(then_always::<A, false>),
        None if A::TESTED => {
            let from = jump.slot.dst() == before.dst();
            let then = AndJump(from, jump.way, PhantomData::<A>);
            with_common_test(jump.slot.opcode(), &then)
        }
        None => None,
    }
}

/// A part, behind which another comes.
struct AndPart<'a, A>(Slot, &'a [Candidate], PhantomData<A>);

impl<A: Part> WithPart for AndPart<'_, A> {
    fn with<B: Part>(&self) -> Option<Handler> {
        // What is not handed over comes from the register, which the first part has written.
        let from = handed::<B>(self.0, self.1);
        if B::READS & TO_DST != 0 && from == TO_DST {
            return Some(two::<A, B, TO_DST>);
        }
        if B::READS & TO_SRC != 0 && from == TO_SRC {
            return Some(two::<A, B, TO_SRC>);
        }
        Some(two::<A, B, NONE>)
    }
}

/// A part, behind which a conditional jump comes; whether it is handed the result; where it leads.
struct AndJump<A>(bool, Way, PhantomData<A>);

impl<A: Part> WithTest for AndJump<A> {
    fn with<T: Test>(&self) -> Handler {
        match (self.0, self.1) {
            (false, Way::Back) => then_branch::<A, T, NONE, BACK>,
            (true, Way::Back) => then_branch::<A, T, TO_DST, BACK>,
            (false, Way::Forth) => then_branch::<A, T, NONE, FORTH>,
            (true, Way::Forth) => then_branch::<A, T, TO_DST, FORTH>,
            (_, Way::LoopEnd) => then_branch::<A, T, NONE, LOOP_END>,
        }
    }
}

/// The tests that several are made of.
fn with_common_test(opcode: u8, then: &impl WithTest) -> Option<Handler> {
    Some(match opcode {
        op::JEQ64_K => then.with::<K64<Equal>>(),
        op::JEQ32_K => then.with::<K32<Equal>>(),
        op::JNE64_K => then.with::<K64<NotEqual>>(),
        op::JNE32_K => then.with::<K32<NotEqual>>(),
        op::JNE64_X => then.with::<X64<NotEqual>>(),
        op::JLT64_X => then.with::<X64<Less>>(),
        op::JLT32_X => then.with::<X32<Less>>(),
        op::JLT32_K => then.with::<K32<Less>>(),
        op::JGE32_X => then.with::<X32<GreaterOrEqual>>(),
        op::JSLT32_K => then.with::<K32<SignedLess>>(),
        op::JSGT32_K => then.with::<K32<SignedGreater>>(),
        _ => return None,
    })
}
