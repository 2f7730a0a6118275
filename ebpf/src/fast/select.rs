//! Which function executes an operation, and what several operations have one together.

use core::marker::PhantomData;

use super::control::{
    BACK, FORTH, LOOP_END, branch, choice_then_back, one, then_always, then_branch, two,
};
use super::handed::NOTHING_HANDED;
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
            FORM_K32 => $then::<K32<$operator>, NONE>,
            FORM_X32 => $then::<X32<$operator>, NONE>,
            FORM_K64 => $then::<K64<$operator>, NONE>,
            _ => $then::<X64<$operator>, NONE>,
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
        (isa::ALU64, 0) => one::<X64<Mov>, NONE>,
        (isa::ALU64, 8) => one::<X64<FromByte>, NONE>,
        (isa::ALU64, 16) => one::<X64<FromHalf>, NONE>,
        (isa::ALU64, 32) => one::<X64<FromWord>, NONE>,
        (isa::ALU, 0) => one::<X32<Mov>, NONE>,
        (isa::ALU, 8) => one::<X32<FromByte>, NONE>,
        (isa::ALU, 16) => one::<X32<FromHalf>, NONE>,
        _ => return None,
    })
}

/// A byte order (section 4.2).
fn swapped(slot: Slot) -> Option<Handler> {
    Some(match (slot.opcode(), slot.imm()) {
        (op::LE, 16) => one::<K64<Little16>, NONE>,
        (op::LE, 32) => one::<K64<Little32>, NONE>,
        (op::LE, 64) => one::<K64<Little64>, NONE>,
        (op::BE | op::BSWAP, 16) => one::<K64<Swap16>, NONE>,
        (op::BE | op::BSWAP, 32) => one::<K64<Swap32>, NONE>,
        (op::BE | op::BSWAP, 64) => one::<K64<Swap64>, NONE>,
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
        op::LDXB => one::<Load<u8, HOW>, NONE>,
        op::LDXH => one::<Load<u16, HOW>, NONE>,
        op::LDXW => one::<Load<u32, HOW>, NONE>,
        op::LDXDW => one::<Load<u64, HOW>, NONE>,
        op::LDXSB => one::<Load<i8, HOW>, NONE>,
        op::LDXSH => one::<Load<i16, HOW>, NONE>,
        op::LDXSW => one::<Load<i32, HOW>, NONE>,
        op::STB => one::<Store<u8, false, HOW>, NONE>,
        op::STH => one::<Store<u16, false, HOW>, NONE>,
        op::STW => one::<Store<u32, false, HOW>, NONE>,
        op::STDW => one::<Store<u64, false, HOW>, NONE>,
        op::STXB => one::<Store<u8, true, HOW>, NONE>,
        op::STXH => one::<Store<u16, true, HOW>, NONE>,
        op::STXW => one::<Store<u32, true, HOW>, NONE>,
        op::STXDW => one::<Store<u64, true, HOW>, NONE>,
        op::ATOMIC32 if HOW == GUARDED => one::<Atomic<u32, false>, NONE>,
        op::ATOMIC32 => one::<Atomic<u32, true>, NONE>,
        op::ATOMIC64 if HOW == GUARDED => one::<Atomic<u64, false>, NONE>,
        op::ATOMIC64 => one::<Atomic<u64, true>, NONE>,
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
pub(super) fn conditional(jump: Candidate) -> Option<Handler> {
    struct Alone(Way);
    impl WithTest for Alone {
        fn with<T: Test>(&self) -> Handler {
            match self.0 {
                Way::Forth => branch::<T, NONE, FORTH>,
                Way::Back => branch::<T, NONE, BACK>,
                Way::LoopEnd => branch::<T, NONE, LOOP_END>,
            }
        }
    }
    struct Handed(Way);
    impl WithTest for Handed {
        fn with<T: Test>(&self) -> Handler {
            match self.0 {
                Way::Forth => branch::<T, TO_DST, FORTH>,
                Way::Back => branch::<T, TO_DST, BACK>,
                Way::LoopEnd => branch::<T, NONE, LOOP_END>,
            }
        }
    }
    let (opcode, is_handed) = (jump.slot.opcode(), jump.handed == jump.slot.dst());
    let found = is_handed.then(|| with_common_test(opcode, &Handed(jump.way)));
    found
        .flatten()
        .or_else(|| with_test(opcode, &Alone(jump.way)))
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
    /// The register whose value is handed to the function that begins here, or none such.
    pub(super) handed: u8,
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
        .or_else(|| tested(all))
        .or_else(|| counted(all))
        .or_else(|| moved_on(all))
        .or_else(|| with_first_part(all, &Behind(all)))
}

/// A choice: a conditional jump over a move, or over a move and a jump to the same slot.
fn choice(all: &[Candidate]) -> Option<Handler> {
    struct Skipping(Candidate, bool);
    impl WithPart for Skipping {
        fn with<M: Part>(&self) -> Option<Handler> {
            struct Over<M>(bool, bool, PhantomData<M>);
            impl<M: Part> WithTest for Over<M> {
                fn with<T: Test>(&self) -> Handler {
                    match (self.0, self.1) {
                        (true, _) => choice_then_back::<T, M>,
                        (false, true) => one::<Choice<T, M>, TO_DST>,
                        (false, false) => one::<Choice<T, M>, NONE>,
                    }
                }
            }
            let jump = self.0;
            let is_handed = jump.handed == jump.slot.dst();
            let over = Over(self.1, is_handed, PhantomData::<M>);
            with_common_test(jump.slot.opcode(), &over)
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
    let then = Skipping(*jump, both_back);
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
    type Place = Then<OnCopy<K64<Lsh>>, OnCopy<X64<Add>>, TO_SRC>;
    struct Scaled(bool);
    impl WithPart for Scaled {
        fn with<L: Part>(&self) -> Option<Handler> {
            Some(if self.0 {
                two::<Place, L, TO_DST, TO_SRC>
            } else {
                two::<Place, L, NONE, TO_SRC>
            })
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
        let is_handed = index.handed == index.slot.src();
        with_common_load(load.slot.opcode(), load.reach, &Scaled(is_handed))
    } else {
        None
    }
}

/// A load from `base + index`, and what is done with what was loaded: `d = base; d += index;
/// r = *d`, and a conditional jump on `r`, or arithmetic with it where `r` is `d`.
fn indexed(all: &[Candidate]) -> Option<Handler> {
    let [base, sum, load, behind, ..] = all else {
        return None;
    };
    let is_sum = sum.slot.opcode() == op::ADD64_X && is_copy_for(base.slot, sum.slot);
    if !is_sum || load.slot.src() != sum.slot.dst() {
        return None;
    }
    let (loaded, read_next) = (load.slot.dst(), behind.slot);
    let is_handed = base.handed == sum.slot.src();
    if matches!(read_next.class(), isa::JMP | isa::JMP32) {
        let then = IndexedJump(is_handed, *behind);
        if read_next.dst() != loaded {
            return None;
        }
        return with_common_load(load.slot.opcode(), load.reach, &then);
    }
    let follows = loaded == load.slot.src() && read_next.src() == loaded;
    if !follows || read_next.dst() == loaded {
        return None;
    }
    with_common_load(
        load.slot.opcode(),
        load.reach,
        &IndexedOperand(read_next.opcode()),
    )
}

/// Behind an indexed load, a conditional jump; whether the index is handed over.
struct IndexedJump(bool, Candidate);

impl WithPart for IndexedJump {
    fn with<L: Part>(&self) -> Option<Handler> {
        struct AndIndexed<L>(bool, Way, PhantomData<L>);
        impl<L: Part> WithTest for AndIndexed<L> {
            fn with<T: Test>(&self) -> Handler {
                type Indexed<L> = Then<OnCopy<X64<Add>>, L, TO_SRC>;
                match (self.0, self.1) {
                    (false, Way::Back) => then_branch::<Indexed<L>, T, NONE, TO_DST, BACK>,
                    (false, _) => then_branch::<Indexed<L>, T, NONE, TO_DST, FORTH>,
                    (true, Way::Back) => then_branch::<Indexed<L>, T, TO_SRC, TO_DST, BACK>,
                    (true, _) => then_branch::<Indexed<L>, T, TO_SRC, TO_DST, FORTH>,
                }
            }
        }
        let then = AndIndexed(self.0, self.1.way, PhantomData::<L>);
        with_common_test(self.1.slot.opcode(), &then)
    }
}

/// Behind an indexed load to where the place was, arithmetic with what was loaded.
struct IndexedOperand(u8);

impl WithPart for IndexedOperand {
    fn with<L: Part>(&self) -> Option<Handler> {
        type Indexed<L> = Then<OnCopy<X64<Add>>, L, TO_BOTH>;
        Some(match self.0 {
            op::ADD64_X => two::<Indexed<L>, X64<Add>, NONE, TO_SRC>,
            op::OR64_X => two::<Indexed<L>, X64<Or>, NONE, TO_SRC>,
            op::XOR64_X => two::<Indexed<L>, X64<Xor>, NONE, TO_SRC>,
            _ => return None,
        })
    }
}

/// A conditional jump on a lower part with its sign, `d <<= n; d >>= n; if d ...`, or on a
/// difference, `d = a; d += k; if d ...`; both in 32 bits.
fn tested(all: &[Candidate]) -> Option<Handler> {
    type Signed = Then<K32<Lsh>, K32<Arsh>, TO_DST>;
    type Difference = OnCopy<K32<Add>>;
    let [first, second, jump, ..] = all else {
        return None;
    };
    if jump.slot.dst() != second.slot.dst() {
        return None;
    }
    let (way, opcode) = (jump.way, jump.slot.opcode());
    match second.slot.opcode() {
        op::ARSH32_K
            if first.slot.opcode() == op::LSH32_K && result(&[*first]) == result(&[*second]) =>
        {
            with_common_test(opcode, &AndTested::<Signed>(way, PhantomData))
        }
        op::ADD32_K if is_copy_for(first.slot, second.slot) => {
            with_common_test(opcode, &AndTested::<Difference>(way, PhantomData))
        }
        _ => None,
    }
}

/// A part, behind which comes a conditional jump that tests its result, and where it leads.
struct AndTested<A>(Way, PhantomData<A>);

impl<A: Part> WithTest for AndTested<A> {
    fn with<T: Test>(&self) -> Handler {
        match self.0 {
            Way::Back => then_branch::<A, T, NONE, TO_DST, BACK>,
            _ => then_branch::<A, T, NONE, TO_DST, FORTH>,
        }
    }
}

/// The end of a loop that counts and accumulates: `d op= a; i += k; if i ...` and back.
fn counted(all: &[Candidate]) -> Option<Handler> {
    fn with<A: Part>(all: &[Candidate], step: u8, test: u8) -> Option<Handler> {
        let is_handed = handed::<A>(all.first()?.handed, all) == TO_DST;
        if is_handed {
            taking::<A, TO_DST>(step, test)
        } else {
            taking::<A, NONE>(step, test)
        }
    }
    fn taking<A: Part, const TAKEN: u8>(step: u8, test: u8) -> Option<Handler> {
        fn back<A: Part, const TAKEN: u8, S: Part, T: Test>() -> Option<Handler> {
            Some(then_branch::<Then<A, S, NONE>, T, TAKEN, TO_DST, BACK>)
        }
        match (step, test) {
            (op::ADD64_K, op::JNE64_K) => back::<A, TAKEN, K64<Add>, K64<NotEqual>>(),
            (op::ADD64_K, op::JNE64_X) => back::<A, TAKEN, K64<Add>, X64<NotEqual>>(),
            (op::ADD64_K, op::JLT64_X) => back::<A, TAKEN, K64<Add>, X64<Less>>(),
            (op::ADD32_K, op::JNE32_K) => back::<A, TAKEN, K32<Add>, K32<NotEqual>>(),
            (op::ADD32_K, op::JLT32_K) => back::<A, TAKEN, K32<Add>, K32<Less>>(),
            (op::ADD32_K, op::JLT32_X) => back::<A, TAKEN, K32<Add>, X32<Less>>(),
            _ => None,
        }
    }
    let [sum, step, jump, ..] = all else {
        return None;
    };
    if jump.way != Way::Back || jump.slot.dst() != step.slot.dst() {
        return None;
    }
    let (step, jump) = (step.slot.opcode(), jump.slot.opcode());
    match sum.slot.opcode() {
        op::ADD64_X => with::<X64<Add>>(all, step, jump),
        op::MUL64_X => with::<X64<Mul>>(all, step, jump),
        op::XOR64_X => with::<X64<Xor>>(all, step, jump),
        _ => None,
    }
}

/// A part, a move and a jump: what a value is called where the jump leads.
fn moved_on(all: &[Candidate]) -> Option<Handler> {
    struct ThenMoved(bool, bool);
    impl WithPart for ThenMoved {
        fn with<A: Part>(&self) -> Option<Handler> {
            Some(match (self.0, self.1) {
                (true, true) => then_always::<Then<A, X64<Mov>, TO_SRC>, true>,
                (true, false) => then_always::<Then<A, X64<Mov>, TO_SRC>, false>,
                (false, true) => then_always::<Then<A, X64<Mov>, NONE>, true>,
                (false, false) => then_always::<Then<A, X64<Mov>, NONE>, false>,
            })
        }
    }
    let [first, moved, jump, ..] = all else {
        return None;
    };
    if moved.slot.opcode() != op::MOV64_X || moved.slot.offset() != 0 {
        return None;
    }
    let is_handed = moved.slot.src() == first.slot.dst();
    let is_back = always_goes_back(jump.slot)?;
    with_common_part(*first, &ThenMoved(is_handed, is_back))
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
    let single = || {
        let first = *all.first()?;
        match first.slot.opcode() {
            op::ADD32_X => then.with::<X32<Add>>(),
            op::AND32_K => then.with::<K32<And>>(),
            _ => with_common_part(first, then),
        }
    };
    let copied = || match all.get(1)?.slot.opcode() {
        op::ADD32_X => then.with::<OnCopy<X32<Add>>>(),
        _ => with_copied_part(all, then),
    };
    if is_copied(all) { copied() } else { None }.or_else(single)
}

/// The part that comes second.
fn with_second_part(all: &[Candidate], then: &impl WithPart) -> Option<Handler> {
    let single = || {
        let first = *all.first()?;
        match first.slot.opcode() {
            op::RSH32_K => then.with::<K32<Rsh>>(),
            _ => with_common_part(first, then),
        }
    };
    if is_copied(all) {
        with_copied_part(all, then)
    } else {
        None
    }
    .or_else(single)
}

/// Whether some operations begin with arithmetic on a copy.
fn is_copied(all: &[Candidate]) -> bool {
    matches!(all, [first, second, ..] if is_copy_for(first.slot, second.slot))
}

fn with_copied_part(all: &[Candidate], then: &impl WithPart) -> Option<Handler> {
    match all.get(1)?.slot.opcode() {
        op::ADD64_X => then.with::<OnCopy<X64<Add>>>(),
        op::ADD64_K => then.with::<OnCopy<K64<Add>>>(),
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
        op::MUL64_X => then.with::<X64<Mul>>(),
        op::AND64_K => then.with::<K64<And>>(),
        op::OR64_X => then.with::<X64<Or>>(),
        op::XOR64_X => then.with::<X64<Xor>>(),
        op::LSH64_K => then.with::<K64<Lsh>>(),
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

/// What a part reads of the value of a register that is handed over to it.
fn handed<P: Part>(register: u8, part: &[Candidate]) -> u8 {
    let (Some(first), Some(last)) = (part.first(), part.get(P::OPERANDS - 1)) else {
        return NONE;
    };
    // Of a copy, the value copied is what the destination holds.
    let is_copy = P::OPERANDS > 1;
    let of_first = if is_copy {
        first.slot.src()
    } else {
        first.slot.dst()
    };
    let is_dst = of_first == register;
    let is_src = P::READS & TO_SRC != 0 && last.slot.src() == register;
    match (P::READS & TO_DST != 0, is_dst, is_src) {
        (true, true, false) => TO_DST,
        (true, true, true) if is_copy => TO_DST,
        // Rare, and not worth functions of its own.
        (true, true, true) => NONE,
        (false, true, true) if P::REPLACES == TO_BOTH => TO_BOTH,
        (_, _, true) => TO_SRC,
        _ => NONE,
    }
}

/// What comes behind the first part of some operations.
struct Behind<'a>(&'a [Candidate]);

impl WithPart for Behind<'_> {
    fn with<A: Part>(&self) -> Option<Handler> {
        let (first, rest) = self.0.split_at_checked(A::SLOTS)?;
        let Some(second) = rest.first() else {
            return alone::<A>();
        };
        if choice(rest).is_some() {
            // As a jump it would be guessed.
            return alone::<A>();
        }
        let found = match second.slot.class() {
            isa::JMP | isa::JMP32 => with_jump::<A>(first, *second),
            _ => with_second_part(rest, &AndPart(first, rest, PhantomData::<A>)),
        };
        found.or_else(alone::<A>)
    }
}

/// A part with nothing behind it, if it is several operations.
fn alone<A: Part>() -> Option<Handler> {
    (A::SLOTS > 1).then_some(one::<A, NONE>)
}

/// Whether what is handed to the function that begins with a part is worth one of its own.
fn is_taken<A: Part>(part: &[Candidate]) -> bool {
    let register = part.first().map_or(NOTHING_HANDED, |first| first.handed);
    A::TAKES != NONE && handed::<A>(register, part) == A::TAKES
}

/// The register that a part's result goes to.
fn result(part: &[Candidate]) -> u8 {
    part.last().map_or(NOTHING_HANDED, |last| last.slot.dst())
}

/// A part, and a jump behind it.
fn with_jump<A: Part>(part: &[Candidate], jump: Candidate) -> Option<Handler> {
    match always_goes_back(jump.slot) {
        Some(true) => Some(then_always::<A, true>),
        Some(false) => Some(then_always::<A, false>),
        None if A::TESTED => {
            let from = jump.slot.dst() == result(part);
            if !from && A::LOADS {
                return None;
            }
            let then = AndJump(is_taken::<A>(part), from, jump.way, PhantomData::<A>);
            with_common_test(jump.slot.opcode(), &then)
        }
        None => None,
    }
}

/// A part, behind which another comes.
struct AndPart<'a, A>(&'a [Candidate], &'a [Candidate], PhantomData<A>);

impl<A: Part> WithPart for AndPart<'_, A> {
    fn with<B: Part>(&self) -> Option<Handler> {
        // What is not handed over comes from the register, which the first part has written.
        let from = handed::<B>(result(self.0), self.1);
        if A::SLOTS > 1 && A::TAKES != NONE && is_taken::<A>(self.0) {
            return Some(two_with::<A, B>(from));
        }
        if A::SLOTS > 1 && B::REPLACES == TO_BOTH && from == TO_BOTH {
            return Some(two::<A, B, NONE, TO_BOTH>);
        }
        if B::READS & TO_DST != 0 && from == TO_DST {
            return Some(two::<A, B, NONE, TO_DST>);
        }
        if B::READS & TO_SRC != 0 && from & TO_SRC != 0 {
            return Some(two::<A, B, NONE, TO_SRC>);
        }
        Some(two::<A, B, NONE, NONE>)
    }
}

/// Two parts, of which the first takes what is handed to it.
fn two_with<A: Part, B: Part>(from: u8) -> Handler {
    if A::TAKES == TO_DST && B::READS & TO_DST != 0 && from == TO_DST {
        return two::<A, B, TO_DST, TO_DST>;
    }
    two::<A, B, TO_DST, NONE>
}

/// A part, behind which a conditional jump comes; whether it takes what is handed to it; whether
/// its result is handed to the jump; where it leads.
struct AndJump<A>(bool, bool, Way, PhantomData<A>);

impl<A: Part> WithTest for AndJump<A> {
    fn with<T: Test>(&self) -> Handler {
        let AndJump(taken, from, way, _) = *self;
        if A::TAKES == TO_SRC && taken && !from {
            return match way {
                Way::Back => then_branch::<A, T, TO_SRC, NONE, BACK>,
                _ => then_branch::<A, T, TO_SRC, NONE, FORTH>,
            };
        }
        match (from, way) {
            (false, Way::Back) => then_branch::<A, T, NONE, NONE, BACK>,
            (true, Way::Back) => then_branch::<A, T, NONE, TO_DST, BACK>,
            (false, _) => then_branch::<A, T, NONE, NONE, FORTH>,
            (true, _) => then_branch::<A, T, NONE, TO_DST, FORTH>,
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
