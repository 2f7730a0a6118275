//! Each rule of the verifier, by a program that keeps it and one that does not.

use ebpf::abi::CONTEXT_LAYOUT;
use ebpf::limits::{CELLS_MAX, KEPT_MAX};
use ebpf::verifier::{
    Argument, Environment, HelperSignature, Kept, Length, Progress, ProofId, Refusal, RefusalKind,
    Returns, Unbounded, Verified, Verifier,
};
use ebpf::{
    Access, Allowed, EntryKind, HelperSpec, ImageHeader, Memory, RegionId, State, asm, check,
};

const READ: u32 = 1;
const COPY: u32 = 2;
const VECTOR: u32 = 3;

const fn spec(id: u32) -> HelperSpec {
    HelperSpec {
        id,
        name: "helper",
        length_arg: None,
    }
}

const SPECS: [HelperSpec; 4] = [spec(READ), spec(COPY), spec(VECTOR), spec(9)];

const fn by(index: u8, unit: u32) -> Length {
    Length::Argument { index, unit }
}

const fn helper(id: u32, arguments: [Argument; 5]) -> HelperSignature {
    HelperSignature {
        id,
        arguments,
        returns: Returns::Number { min: -4095, max: 0 },
    }
}

/// read(number, to, length), copy(to, from, length), vector(of, count).
const SIGNATURES: [HelperSignature; 3] = {
    use Argument::{Device, Number, Read, Unused, Write};
    let from = Read {
        length: by(2, 1),
        pointers: false,
    };
    let vector = Read {
        length: by(1, 24),
        pointers: true,
    };
    [
        helper(READ, [Number, Device(by(2, 1)), Number, Unused, Unused]),
        helper(COPY, [Write(by(2, 1)), from, Number, Unused, Unused]),
        helper(VECTOR, [vector, Number, Unused, Unused, Unused]),
    ]
};

/// 64 bytes of arguments, 128 of reply, 4096 of scratch.
fn environment() -> Environment {
    let header = ImageHeader {
        args_max: 64,
        reply_max: 128,
        scratch_bytes: 4096,
        ..ImageHeader::default()
    };
    Environment::new(&header, CONTEXT_LAYOUT, &SIGNATURES)
}

fn prove_entry(text: &str, entry: EntryKind) -> Result<Verified, Refusal> {
    let slots = asm::assemble(text).expect("the text assembles");
    let checked = check(&slots, &[0], &SPECS).expect("the code passes the check");
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
    verifier
        .verify(&slots, &checked, [(entry, 0)], environment())
        .cloned()
}

fn prove(text: &str) -> Result<Verified, Refusal> {
    prove_entry(text, EntryKind::Call)
}

/// The program passes, with so many accesses proved and guarded.
#[track_caller]
fn passes(text: &str, proved: u32, guarded: u32) {
    match prove(text) {
        Ok(verified) => {
            let found = (verified.proved(), verified.guarded());
            assert_eq!(found, (proved, guarded), "{text}\n{:?}", verified.guards());
        }
        Err(refusal) => panic!("{text}\n{refusal}"),
    }
}

/// The program is refused at a slot, for a reason.
#[track_caller]
fn fails(text: &str, pc: u32, why: RefusalKind) {
    match prove(text) {
        Ok(_) => panic!("{text}\npasses"),
        Err(refusal) => assert_eq!((refusal.pc, refusal.why), (pc, why), "{text}\n{refusal}"),
    }
}

#[test]
fn registers_hold_something_when_they_are_used() {
    passes("mov r0, 0\nexit", 0, 0);
    fails("exit", 0, RefusalKind::Unusable);
    fails("mov r0, r3\nexit", 0, RefusalKind::Unusable);
    fails("mov r0, 0\nadd r0, r6\nexit", 1, RefusalKind::Unusable);
    fails("jeq r2, 0, +0\nmov r0, 0\nexit", 0, RefusalKind::Unusable);
    fails(
        "stxdw [r10-8], r2\nmov r0, 0\nexit",
        0,
        RefusalKind::Unusable,
    );
    // On one way only.
    let text = "ldxw r2, [r1+40]\njeq r2, 0, +1\nmov r3, 1\nmov r0, r3\nexit";
    fails(text, 3, RefusalKind::Unusable);
    passes(&text.replace("jeq r2, 0, +1", "mov r3, 2"), 1, 0);
}

#[test]
fn addresses_are_needed_for_memory_and_numbers_for_arithmetic() {
    fails(
        "mov r2, 8\nldxdw r0, [r2]\nexit",
        1,
        RefusalKind::NotAPointer,
    );
    fails(
        "lddw r2, 0x500000000\nldxdw r0, [r2]\nexit",
        2,
        RefusalKind::NotAPointer,
    );
    fails("neg r1\nmov r0, 0\nexit", 0, RefusalKind::NotANumber);
    fails(
        "mul r1, 2\nmov r0, 0\nexit",
        0,
        RefusalKind::PointerArithmetic,
    );
    fails("mov32 r0, r1\nexit", 0, RefusalKind::PointerArithmetic);
    fails(
        "add32 r1, 8\nmov r0, 0\nexit",
        0,
        RefusalKind::PointerArithmetic,
    );
    fails(
        "mov r0, r1\nsub r0, r10\nexit",
        1,
        RefusalKind::PointerArithmetic,
    );
    passes("mov r0, r1\nsub r0, r1\nexit", 0, 0);
    passes("mov r2, 8\nadd r2, r1\nldxw r0, [r2+32]\nexit", 1, 0);
    fails("mov r0, r1\nexit", 1, RefusalKind::PointerResult);
}

#[test]
fn bits_of_aligned_addresses_may_be_set() {
    passes("lddw r2, scratch+0\nor r2, 8\nldxdw r0, [r2]\nexit", 1, 0);
    passes(
        "lddw r2, scratch+12\nand r2, -8\nldxdw r0, [r2]\nexit",
        1,
        0,
    );
    fails(
        "lddw r2, scratch+0\nor r2, -8\nmov r0, 0\nexit",
        2,
        RefusalKind::PointerArithmetic,
    );
    fails(
        "lddw r2, scratch+12\nand r2, 8\nmov r0, 0\nexit",
        2,
        RefusalKind::PointerArithmetic,
    );
}

#[test]
fn regions_keep_their_rights() {
    let write = |region| RefusalKind::ReadOnly { region };
    fails(
        "mov r0, 0\nstxdw [r1], r0\nexit",
        1,
        write(RegionId::Context),
    );
    fails(
        "ldxdw r2, [r1]\nmov r0, 0\nstb [r2], 1\nexit",
        2,
        write(RegionId::Arguments),
    );
    let atomic = "ldxdw r2, [r1]\nmov r0, 0\nlock add [r2], r0\nexit";
    fails(atomic, 2, write(RegionId::Arguments));
    passes("ldxdw r2, [r1+8]\nmov r0, 0\nlock add [r2], r0\nexit", 2, 0);
    passes("ldxdw r2, [r1+8]\nmov r0, 0\nstb [r2], 1\nexit", 2, 0);
}

#[test]
fn constant_places_lie_inside() {
    passes("ldxdw r2, [r1]\nldxdw r0, [r2+56]\nexit", 2, 0);
    passes("ldxdw r2, [r1]\nadd r2, 64\nldxdw r0, [r2-8]\nexit", 2, 0);
    for text in [
        "ldxdw r2, [r1]\nldxdw r0, [r2+57]\nexit",
        "ldxdw r2, [r1]\nldxb r0, [r2-1]\nexit",
        "ldxdw r2, [r1]\nldxb r0, [r2+64]\nexit",
    ] {
        let why = prove(text).expect_err("it is outside").why;
        assert!(matches!(
            why,
            RefusalKind::Outside {
                region: RegionId::Arguments,
                bytes: 64,
                ..
            }
        ));
    }
}

#[test]
fn bounds_may_come_from_comparisons_masks_and_remainders() {
    let indexed = |bound: &str| {
        format!(
            "ldxdw r2, [r1]\nldxdw r3, [r2]\n{bound}\nadd r2, r3\nldxb r0, [r2]\nexit\nmov r0, 0\nexit"
        )
    };
    passes(&indexed("jgt r3, 63, +3"), 3, 0);
    passes(&indexed("jgt r3, 64, +3"), 2, 1);
    passes(&indexed("jge r3, 64, +3"), 3, 0);
    passes(&indexed("and r3, 63\njeq r3, 0, +3"), 3, 0);
    passes(&indexed("mod r3, 64\njeq r3, 0, +3"), 3, 0);
    passes(&indexed("rsh r3, 58\njeq r3, 0, +3"), 3, 0);
    passes(&indexed("mov32 r3, r3\njgt32 r3, 63, +3"), 3, 0);
    // The upper half is not looked at.
    passes(&indexed("jgt32 r3, 63, +3"), 2, 1);
    // One bound alone, of signed numbers.
    passes(&indexed("jsgt r3, 63, +3"), 2, 1);
    passes(&indexed("jsgt r3, 63, +4\njslt r3, 0, +3"), 3, 0);
    passes(&indexed("jne r3, 7, +3"), 3, 0);
    passes(&indexed("jset r3, -64, +3"), 3, 0);
}

#[test]
fn what_is_tested_on_a_copy_is_known_of_the_number() {
    // By a register, by a slot, by a distance, and by a copy of the lower half.
    let text = "ldxdw r2, [r1]\nldxw r3, [r2]\nCOPY\njgt TESTED, 63, +3\nadd r2, r3\nldxb r0, [r2]\nexit\nmov r0, 0\nexit";
    let with = |copy: &str, tested: &str| text.replace("COPY", copy).replace("TESTED", tested);
    passes(&with("mov r4, r3", "r4"), 3, 0);
    passes(&with("mov32 r4, r3", "r4"), 3, 0);
    passes(&with("stxdw [r10-8], r3\nldxdw r4, [r10-8]", "r4"), 5, 0);
    passes(&with("stxw [r10-8], r3\nldxw r4, [r10-8]", "r4"), 5, 0);
    passes(&with("mov r4, r3\nadd r4, 9", "r4"), 3, 0);
    passes(&with("mov r4, r3\nadd r4, -1\nadd r3, 0", "r4"), 2, 1);
    // Another number.
    passes(&with("ldxw r4, [r2]", "r4"), 3, 1);
    passes(&with("mov r4, r3\nmul r4, 3", "r4"), 2, 1);
    // A slot that was written over.
    let over = "stxdw [r10-8], r3\nstw [r10-8], 0\nldxdw r4, [r10-8]";
    passes(&with(over, "r4"), 5, 1);
}

#[test]
fn a_pointer_learns_what_its_number_learns() {
    let text = "ldxdw r2, [r1]\nldxw r3, [r2]\nadd r2, r3\njgt r3, 63, +2\nldxb r0, [r2]\nexit\nmov r0, 0\nexit";
    // What is added is shared with the register it came from.
    passes(text, 3, 0);
}

#[test]
fn what_a_guard_lets_through_is_known_behind_it() {
    let text = "ldxdw r2, [r1]\nldxw r3, [r2]\nadd r2, r3\nldxb r0, [r2]\nldxb r0, [r2]\nldxb r0, [r2+1]\nexit";
    passes(text, 3, 2);
    // An address that could be in another region tells nothing: what guards it looks at the region.
    let far = "stdw [r10-8], 5\nldxdw r2, [r1]\nldxdw r3, [r2]\nldxdw r2, [r1+8]\nadd r2, r3\nstb [r2], 1\nstb [r2], 1\nldxdw r0, [r10-8]\njeq r0, 5, +2\nlddw r0, scratch+0\nmov r0, 0\nexit";
    passes(far, 5, 2);
    // The guard holds it to its region, so nothing on the stack is touched.
    let pointer = far.replace("stdw [r10-8], 5", "stxdw [r10-8], r1");
    passes(&pointer.replace("jeq r0, 5, +2", "mov r0, 0"), 5, 2);
}

#[test]
fn the_context_has_pointers_at_their_places() {
    passes("ldxw r0, [r1+40]\nexit", 1, 0);
    fails("ldxw r0, [r1]\nexit", 0, RefusalKind::PartOfPointer);
    fails("ldxdw r0, [r1+4]\nexit", 0, RefusalKind::PartOfPointer);
    fails("ldxw r0, [r1+30]\nexit", 0, RefusalKind::PartOfPointer);
    // Only a scan has data, of a length that is not known.
    fails(
        "ldxdw r2, [r1+16]\nldxb r0, [r2]\nexit",
        1,
        RefusalKind::NotAPointer,
    );
    let scan = prove_entry("ldxdw r2, [r1+16]\nldxb r0, [r2]\nexit", EntryKind::Scan);
    assert_eq!(scan.map(|it| (it.proved(), it.guarded())), Ok((1, 1)));
}

#[test]
fn the_stack_is_written_before_it_is_read() {
    passes("stdw [r10-8], 1\nldxdw r0, [r10-8]\nexit", 2, 0);
    passes(
        "stw [r10-8], 1\nstw [r10-4], 1\nldxdw r0, [r10-8]\nexit",
        3,
        0,
    );
    passes("stdw [r10-8], 1\nldxw r0, [r10-6]\nexit", 2, 0);
    fails(
        "ldxdw r0, [r10-8]\nexit",
        0,
        RefusalKind::StackNotWritten { offset: -8 },
    );
    let part = "stw [r10-8], 1\nldxdw r0, [r10-8]\nexit";
    fails(part, 1, RefusalKind::StackNotWritten { offset: -8 });
    // On one way only.
    let text = "ldxw r2, [r1+40]\njeq r2, 0, +1\nstdw [r10-8], 1\nldxdw r0, [r10-8]\nexit";
    fails(text, 3, RefusalKind::StackNotWritten { offset: -8 });
    let outside = prove("ldxdw r0, [r10+0]\nexit").expect_err("it is outside");
    assert!(matches!(
        outside.why,
        RefusalKind::Outside {
            region: RegionId::Stack,
            ..
        }
    ));
    let below = prove("stdw [r10-520], 0\nmov r0, 0\nexit").expect_err("it is outside");
    assert!(matches!(
        below.why,
        RefusalKind::Outside {
            region: RegionId::Stack,
            ..
        }
    ));
}

#[test]
fn places_on_the_stack_may_vary_where_all_of_them_are_written() {
    let text = "stdw [r10-16], 1\nstdw [r10-8], 2\nldxw r3, [r1+40]\nand r3, MASK\nmov r2, r10\nadd r2, r3\nldxb r0, [r2-OFF]\nexit";
    let with = |mask: &str, offset: &str| text.replace("MASK", mask).replace("OFF", offset);
    passes(&with("15", "16"), 4, 0);
    // What would lie beyond the stack is never read.
    passes(&with("31", "16"), 3, 1);
    fails(&with("15", "17"), 6, RefusalKind::StackPlaceUnknown);
    // A store there may hit any of them.
    let store = "stdw [r10-16], 1\nstxdw [r10-8], r1\nldxw r3, [r1+40]\nand r3, 7\nmov r2, r10\nadd r2, r3\nstb [r2-OFF], 1\nldxdw r2, [r10-8]\nldxw r0, [r2+40]\nexit";
    passes(&store.replace("OFF", "16"), 6, 0);
    fails(
        &store.replace("OFF", "15"),
        7,
        RefusalKind::StackNotWritten { offset: -8 },
    );
}

#[test]
fn pointers_stay_in_registers_and_whole_places_of_the_stack() {
    passes(
        "stxdw [r10-8], r1\nldxdw r2, [r10-8]\nldxw r0, [r2+40]\nexit",
        3,
        0,
    );
    let leak = |region| RefusalKind::PointerLeak { region };
    fails(
        "ldxdw r2, [r1+8]\nstxdw [r2], r1\nmov r0, 0\nexit",
        1,
        leak(RegionId::Reply),
    );
    fails(
        "lddw r2, scratch+0\nstxdw [r2], r2\nmov r0, 0\nexit",
        2,
        leak(RegionId::Scratch),
    );
    fails(
        "stxw [r10-8], r1\nmov r0, 0\nexit",
        0,
        RefusalKind::PointerPlace,
    );
    fails(
        "stxdw [r10-12], r1\nmov r0, 0\nexit",
        0,
        RefusalKind::PointerPlace,
    );
    fails(
        "stxdw [r10-8], r1\nldxw r0, [r10-8]\nexit",
        1,
        RefusalKind::PartOfPointer,
    );
    let over = "stxdw [r10-8], r1\nstb [r10-8], 0\nldxdw r0, [r10-8]\nexit";
    fails(over, 2, RefusalKind::StackNotWritten { offset: -8 });
    let atomic = "stxdw [r10-8], r1\nmov r0, 1\nlock add [r10-8], r0\nexit";
    fails(atomic, 2, RefusalKind::PartOfPointer);
    let stored = "ldxdw r2, [r1+8]\nlock xchg [r2], r1\nmov r0, 0\nexit";
    fails(stored, 1, RefusalKind::NotANumber);
}

#[test]
fn pointers_compare_within_their_region_and_with_null() {
    passes("ldxdw r2, [r1]\njne r2, 0, +1\nexit\nmov r0, 0\nexit", 1, 0);
    fails("jeq r1, 5, +0\nmov r0, 0\nexit", 0, RefusalKind::Comparison);
    fails(
        "jeq r1, r10, +0\nmov r0, 0\nexit",
        0,
        RefusalKind::Comparison,
    );
    fails(
        "jeq32 r1, 0, +0\nmov r0, 0\nexit",
        0,
        RefusalKind::Comparison,
    );
    // p + 8 <= end bounds p.
    let text = "ldxdw r2, [r1]\nldxw r3, [r1+40]\nmov r4, r2\nadd r4, 64\nadd r2, r3\nmov r5, r2\nadd r5, 8\njgt r5, r4, +2\nldxdw r0, [r2]\nexit\nmov r0, 0\nexit";
    passes(text, 3, 0);
    passes(&text.replace("add r5, 8", "add r5, 7"), 2, 1);
}

#[test]
fn loops_are_bounded_by_their_tests() {
    // Tested at the top.
    let top = "mov r2, 0\nldxdw r3, [r1]\nmov r0, 0\nl: jge r2, N, done\nmov r4, r3\nadd r4, r2\nldxb r5, [r4]\nadd r0, r5\nadd r2, 1\nja l\ndone: exit";
    passes(&top.replace('N', "64"), 2, 0);
    passes(&top.replace('N', "65"), 1, 1);
    // At the bottom, by steps of 8.
    let bottom = "mov r2, 0\nldxdw r3, [r1]\nl: mov r4, r3\nadd r4, r2\nldxdw r5, [r4]\nadd r2, 8\njne r2, N, l\nmov r0, 0\nexit";
    passes(&bottom.replace("jne", "jlt").replace('N', "64"), 2, 0);
    passes(&bottom.replace("jne", "jlt").replace('N', "72"), 1, 1);
    // One in the other.
    let nested = "mov r2, 0\nldxdw r3, [r1]\no: mov r6, 0\ni: mov r4, r2\nlsh r4, 3\nadd r4, r6\nadd r4, r3\nldxb r5, [r4]\nadd r6, 1\njlt r6, 8, i\nadd r2, 1\njlt r2, N, o\nmov r0, 0\nexit";
    passes(&nested.replace('N', "8"), 2, 0);
    passes(&nested.replace('N', "9"), 1, 1);
    // A pointer that steps to its end.
    let step = "ldxdw r2, [r1]\nmov r3, r2\nadd r3, 64\nmov r0, 0\nl: jge r2, r3, done\nldxb r4, [r2]\nadd r0, r4\nadd r2, 1\nja l\ndone: exit";
    passes(step, 2, 0);
    // No bound is needed to pass.
    passes("l: mov r0, 0\nja l", 0, 0);
}

#[test]
fn ways_that_cannot_be_gone_are_not_looked_at() {
    let text = "mov r0, 1\njeq r0, 1, +1\nldxdw r0, [r9]\nexit";
    passes(text, 0, 0);
    assert_eq!(prove(text).map(|it| it.unreached()), Ok(1));
}

#[test]
fn code_that_nothing_leads_to_is_refused() {
    fails(
        "mov r0, 0\nexit\nmov r0, 1\nexit",
        2,
        RefusalKind::Unreachable,
    );
    fails(
        "mov r0, 0\nja +1\nmov r0, 1\nexit",
        2,
        RefusalKind::Unreachable,
    );
}

#[test]
fn functions_that_nothing_calls_are_refused() {
    // Slot 0 begins a function, and here another one is the entry.
    let text = "mov r0, 0\nexit\ncall local f\nexit\nf: mov r0, 1\nexit";
    let slots = asm::assemble(text).unwrap();
    let checked = check(&slots, &[2], &SPECS).unwrap();
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
    let entries = [(EntryKind::Call, 2)];
    let refusal = verifier
        .verify(&slots, &checked, entries, environment())
        .expect_err("nothing calls it");
    assert_eq!((refusal.pc, refusal.why), (0, RefusalKind::Unreachable));
    // Both are entries.
    let entries = [(EntryKind::Call, 2), (EntryKind::Scan, 0)];
    let verified = verifier.verify(&slots, &checked, entries, environment());
    assert!(verified.is_ok());
    // It is called by itself alone.
    let text = "mov r0, 0\nexit\nf: call local f\nexit";
    fails(text, 2, RefusalKind::Unreachable);
}

#[test]
fn atomics_read_what_is_there() {
    passes(
        "stdw [r10-8], 1\nmov r1, 1\nlock fetch add [r10-8], r1\nmov r0, r1\nexit",
        2,
        0,
    );
    fails(
        "mov r0, 1\nlock add [r10-8], r0\nexit",
        1,
        RefusalKind::StackNotWritten { offset: -8 },
    );
    let exchange = "lddw r2, scratch+0\nmov r3, 1\nmov r0, 1\nlock cmpxchg [r2], r3\nexit";
    passes(exchange, 1, 0);
    fails(
        &exchange.replace("mov r0, 1", "mov r0, r1"),
        4,
        RefusalKind::NotANumber,
    );
    // What was known of the place is not known behind it.
    let text = "stdw [r10-8], 1\nmov r3, 1\nlock add [r10-8], r3\nldxdw r3, [r10-8]\nldxdw r2, [r1]\nadd r2, r3\nldxb r0, [r2]\nexit";
    passes(text, 4, 1);
    passes(&text.replace("lock add [r10-8], r3", "mov r3, 1"), 4, 0);
}

#[test]
fn helpers_get_what_they_take() {
    let read = "mov r1, 0\nlddw r2, scratch+512\nmov r3, 512\ncall 1\nmov r0, 0\nexit";
    passes(read, 0, 0);
    fails(
        &read.replace("mov r1, 0", "mov r1, r10"),
        4,
        RefusalKind::NotANumber,
    );
    fails(
        &read.replace("mov r3, 512", "mov r4, 512"),
        4,
        RefusalKind::Unusable,
    );
    let stack = read.replace("lddw r2, scratch+512", "mov r2, r10\nadd r2, -512");
    let why = RefusalKind::BufferRegion {
        argument: 2,
        region: RegionId::Stack,
    };
    fails(&stack, 4, why);
    fails(
        &read.replace("lddw r2, scratch+512", "lddw r2, 512"),
        4,
        RefusalKind::NotAPointer,
    );
    fails(
        "call 9\nmov r0, 0\nexit",
        0,
        RefusalKind::UnknownHelper { helper: 9 },
    );
    // Arguments are lost, r0 is the result, r6 to r9 stay.
    let behind = "mov r6, r1\nmov r1, 0\nlddw r2, scratch+0\nmov r3, 8\ncall 1\nmov r0, WHAT\nexit";
    passes(&behind.replace("WHAT", "r0"), 0, 0);
    fails(&behind.replace("WHAT", "r3"), 6, RefusalKind::Unusable);
    fails(&behind.replace("WHAT", "r6"), 7, RefusalKind::PointerResult);
}

#[test]
fn helpers_write_where_they_may_and_read_what_is_there() {
    let copy = "ldxdw r6, [r1+8]\nldxdw r7, [r1]\nmov r1, r6\nmov r2, r7\nmov r3, 64\ncall 2\nmov r0, 0\nexit";
    passes(copy, 2, 0);
    let back = copy.replace("r1, r6", "r1, r7").replace("r2, r7", "r2, r6");
    let why = RefusalKind::ReadOnly {
        region: RegionId::Arguments,
    };
    fails(&back, 5, why);
    // To and from the stack.
    let fill =
        "ldxdw r2, [r1]\nmov r1, r10\nadd r1, -16\nmov r3, LEN\ncall 2\nldxdw r0, [r10-16]\nexit";
    passes(&fill.replace("LEN", "16"), 2, 0);
    fails(
        &fill.replace("LEN", "4"),
        5,
        RefusalKind::StackNotWritten { offset: -16 },
    );
    // If the source may be too short, nothing may have been written.
    let short = fill.replace("ldxdw r2, [r1]", "ldxdw r2, [r1]\nadd r2, 60");
    let short = short.replace("LEN", "16");
    fails(&short, 6, RefusalKind::StackNotWritten { offset: -16 });
    let vary =
        "ldxdw r2, [r1]\nldxw r3, [r1+40]\nmov r1, r10\nadd r1, -16\ncall 2\nmov r0, 0\nexit";
    fails(vary, 4, RefusalKind::BufferPlace { argument: 1 });
    let drain =
        "ldxdw r1, [r1+8]\nmov r2, r10\nadd r2, -16\nSTORE\nmov r3, 8\ncall 2\nmov r0, 0\nexit";
    passes(&drain.replace("STORE", "stdw [r10-16], 1"), 2, 0);
    let none = drain.replace("STORE", "mov r4, 1");
    fails(&none, 5, RefusalKind::StackNotWritten { offset: -16 });
    let leak = drain.replace("STORE", "stxdw [r10-16], r1");
    fails(&leak, 5, RefusalKind::PartOfPointer);
    // The context has pointers in it.
    let context = "mov r2, r1\nldxdw r1, [r1+8]\nmov r3, 64\ncall 2\nmov r0, 0\nexit";
    let why = RefusalKind::BufferRegion {
        argument: 2,
        region: RegionId::Context,
    };
    fails(context, 3, why);
}

#[test]
fn a_vector_of_buffers_may_hold_pointers() {
    let vector = "lddw r2, scratch+0\nstdw [r10-24], 0\nstdw [r10-16], 0\nstxdw [r10-8], r2\nmov r1, r10\nadd r1, -24\nmov r2, 1\ncall 3\nmov r0, 0\nexit";
    passes(vector, 3, 0);
    fails(
        &vector.replace("mov r2, 1", "mov r2, 0\nadd r2, 2"),
        9,
        RefusalKind::Outside {
            region: RegionId::Stack,
            len: 48,
            bytes: 4096,
            right: ebpf::Right::Read,
        },
    );
}

#[test]
fn functions_have_frames_and_keep_what_is_the_callers() {
    let text = "mov r6, 5\nstdw [r10-8], 1\nmov r1, r10\nadd r1, -8\ncall local f\nldxdw r2, [r10-8]\nadd r0, r6\nexit\nf: stdw [r10-8], 7\nldxdw r0, [r1]\nstdw [r1], 2\nexit";
    passes(text, 5, 0);
    // r6 is the caller's; the caller's frame is not the callee's.
    fails(
        &text.replace("f: stdw [r10-8], 7", "f: mov r0, r6"),
        8,
        RefusalKind::Unusable,
    );
    let own = text.replace("ldxdw r0, [r1]", "ldxdw r0, [r10-16]");
    fails(&own, 9, RefusalKind::StackNotWritten { offset: -16 });
    // A frame that is gone cannot be read.
    let gone =
        "call local f\nldxdw r0, [r0]\nexit\nf: stdw [r10-8], 7\nmov r0, r10\nadd r0, -8\nexit";
    let why = prove(gone).expect_err("it is outside").why;
    assert!(matches!(
        why,
        RefusalKind::Outside {
            region: RegionId::Stack,
            ..
        }
    ));
    // Arguments are lost.
    fails(
        "mov r3, 1\ncall local f\nmov r0, r3\nexit\nf: mov r0, 0\nexit",
        2,
        RefusalKind::Unusable,
    );
    // A function without a result.
    fails(
        "call local f\nexit\nf: mov r1, 0\nexit",
        1,
        RefusalKind::Unusable,
    );
}

#[test]
fn functions_are_looked_at_for_each_way_to_them() {
    // The same function reads arguments for one caller and the reply for the other.
    let text = "mov r6, r1\nldxdw r1, [r6]\ncall local f\nldxdw r1, [r6+8]\ncall local f\nexit\nf: ldxb r0, [r1]\nexit";
    let verified = prove(text).expect("it passes");
    assert_eq!((verified.proved(), verified.guarded()), (2, 1));
    // A number comes back.
    let index = "mov r6, r1\nldxw r1, [r6+40]\ncall local f\nldxdw r2, [r6]\nadd r2, r0\nldxb r0, [r2]\nexit\nf: mov r0, r1\nand r0, 63\nexit";
    passes(index, 3, 0);
}

#[test]
fn calls_nest_eight_deep() {
    let nest = |depth: usize| {
        let mut text = String::from("call local f1\nmov r0, 0\nexit\n");
        for level in 1..depth {
            text += &format!("f{level}: call local f{}\nmov r0, 0\nexit\n", level + 1);
        }
        text + &format!("f{depth}: mov r0, 0\nexit\n")
    };
    passes(&nest(7), 0, 0);
    let refusal = prove(&nest(8)).expect_err("it is too deep");
    assert_eq!(refusal.why, RefusalKind::CallDepth);
    let recursive = "call local f\nexit\nf: call local f\nexit";
    let refusal = prove(recursive).expect_err("it is too deep");
    assert_eq!(refusal.why, RefusalKind::CallDepth);
}

#[test]
fn too_much_is_refused_by_name() {
    // Pointers on the stack.
    let pointers = |count: usize| {
        let store = |index: usize| format!("stxdw [r10-{}], r1\n", (index + 1) * 8);
        (0..count).map(store).collect::<String>() + "mov r0, 0\nexit"
    };
    // Some of a second frame, since a frame has no room for so many.
    let deep = |count: usize| {
        let first = pointers(CELLS_MAX).replace("mov r0, 0\nexit", "");
        first + "call local f\nexit\nf: " + &pointers(count)
    };
    passes(&pointers(CELLS_MAX), CELLS_MAX as u32, 0);
    let refusal = prove(&deep(1)).expect_err("it is too much");
    assert_eq!(refusal.why, RefusalKind::TooManyCells);
    // Ways to a function.
    let calls = "call local f\n".repeat(70) + "exit\nf: mov r0, 0\nexit";
    let refusal = prove(&calls).expect_err("it is too much");
    assert_eq!(refusal.why, RefusalKind::TooManyContexts);
    // Points where ways meet.
    let meetings = |count: usize| {
        let head = "l: ldxw r2, [r1+40]\n".to_owned();
        head + &"jeq r2, 0, +1\nldxw r2, [r1+40]\n".repeat(count) + "jne r2, 7, l\nmov r0, 0\nexit"
    };
    assert!(prove(&meetings(KEPT_MAX - 8)).is_ok());
    let refusal = prove(&meetings(KEPT_MAX + 8)).expect_err("it is too much");
    assert_eq!(
        refusal.why,
        RefusalKind::TooManyStates {
            kept: KEPT_MAX as u32
        }
    );
}

#[test]
fn the_plan_says_what_was_proved() {
    let text = "ldxdw r2, [r1]\nldxw r3, [r2]\nand r3, 63\nadd r2, r3\nldxb r0, [r2]\nldxb r0, [r2+1]\nexit";
    let verified = prove(text).expect("it passes");
    assert_eq!(verified.plan().at(0), Access::Proved(RegionId::Context));
    assert_eq!(verified.plan().at(1), Access::Proved(RegionId::Arguments));
    assert_eq!(verified.plan().at(4), Access::Proved(RegionId::Arguments));
    let allowed = Allowed::Only(RegionId::Arguments);
    assert_eq!(verified.plan().at(5), Access::Guarded(allowed));
    let guard = verified.guards()[0].to_string();
    assert_eq!(
        guard,
        "instruction 5: r2 points to args, at byte 1 to 64, and args has 64: it may end \
         too late"
    );
}

#[test]
fn a_proof_has_its_code_entries_and_states() {
    let text = "mov r0, 0\nexit\nldxw r0, [r1+40]\nexit";
    let slots = asm::assemble(text).unwrap();
    let checked = check(&slots, &[0, 2], &SPECS).unwrap();
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; 16]));
    let entries = [(EntryKind::Scan, 0), (EntryKind::Finish, 2)];
    let verified = verifier
        .verify(&slots, &checked, entries, environment())
        .unwrap();
    assert_eq!(verified.program().slots(), slots);
    assert_eq!(verified.program().checked(), &checked);
    assert_eq!(verified.entries(), entries);
    assert_eq!(verified.entry(EntryKind::Finish), Some(2));
    assert_eq!(verified.entry(EntryKind::Call), None);
    assert_eq!(verified.environment(), &environment());
    assert!(State::start_verified(verified, EntryKind::Call, 10).is_none());
    let state = State::start_verified(verified, EntryKind::Finish, 10).unwrap();
    assert_eq!((state.pc(), state.left()), (2, 10));
    assert_eq!(state.registers()[1], Memory::address(RegionId::Context, 0));
    assert_eq!(state.proof(), verified.id());
    let plain = State::start(&verified.program(), 2, 0, 0, 10);
    assert_eq!(plain.proof(), ProofId::NONE);
    // A refused program leaves nothing of the one before.
    let entries = [(EntryKind::Call, 1)];
    let refusal = verifier
        .verify(&slots, &checked, entries, environment())
        .expect_err("no function starts there");
    assert_eq!((refusal.pc, refusal.why), (1, RefusalKind::NotChecked));
    assert!(verifier.verified().is_none());
    let shorter = verifier.verify(&slots[1..], &checked, [(EntryKind::Call, 0)], environment());
    assert_eq!(
        shorter.expect_err("it is other code").why,
        RefusalKind::NotChecked
    );
}

#[test]
fn an_environment_is_met_by_just_what_it_says() {
    let context_of = |data: u64, data_end: u64| {
        let mut context = [0; 64];
        let pointers = [
            Memory::address(RegionId::Arguments, 0),
            Memory::address(RegionId::Reply, 0),
            data,
            data_end,
        ];
        for (place, pointer) in context.chunks_exact_mut(8).zip(pointers) {
            place.copy_from_slice(&pointer.to_le_bytes());
        }
        context
    };
    let is_met = |entry, context: &[u8], args, reply, stack, data| {
        let (args, data) = (vec![0; args], vec![0; data]);
        let (mut reply, mut stack) = (vec![0; reply], vec![0; stack]);
        let mut scratch = vec![0; 4096];
        let mut memory = Memory::new()
            .with_read(RegionId::Context, context)
            .with_read(RegionId::Arguments, &args)
            .with_write(RegionId::Reply, &mut reply)
            .with_read(RegionId::Data, &data)
            .with_write(RegionId::Scratch, &mut scratch)
            .with_write(RegionId::Stack, &mut stack);
        environment().is_met_by(entry, &mut memory)
    };
    let (start, call) = (Memory::address(RegionId::Data, 0), context_of(0, 0));
    let scan = context_of(start, start + 512);
    assert!(is_met(EntryKind::Call, &call, 64, 128, 4096, 0));
    assert!(is_met(EntryKind::Scan, &scan, 64, 128, 4096, 512));
    // Neither less nor more of anything.
    for (args, reply, stack) in [(63, 128, 4096), (64, 129, 4096), (64, 128, 512)] {
        assert!(!is_met(EntryKind::Call, &call, args, reply, stack, 0));
    }
    assert!(!is_met(EntryKind::Scan, &scan, 64, 128, 4096, 511));
    // A scan has data, and nothing else has.
    assert!(!is_met(EntryKind::Call, &scan, 64, 128, 4096, 512));
    assert!(!is_met(EntryKind::Scan, &call, 64, 128, 4096, 512));
    assert!(!is_met(EntryKind::Call, &call[..56], 64, 128, 4096, 0));
    // What is to be written may be written.
    let (args, scratch, mut stack) = ([0; 64], [0; 4096], [0; 4096]);
    let mut reply = [0; 128];
    let mut memory = Memory::new()
        .with_read(RegionId::Context, &call)
        .with_read(RegionId::Arguments, &args)
        .with_write(RegionId::Reply, &mut reply)
        .with_read(RegionId::Scratch, &scratch)
        .with_write(RegionId::Stack, &mut stack);
    assert!(!environment().is_met_by(EntryKind::Call, &mut memory));
}

#[test]
fn an_empty_place_is_a_program_that_cannot_be_started() {
    let empty = Verified::EMPTY;
    assert!(empty.program().slots().is_empty() && empty.entries().is_empty());
    assert_eq!(empty.id(), ProofId::NONE);
    for kind in EntryKind::ALL {
        assert!(State::start_verified(&empty, kind, 10).is_none());
    }
}

#[test]
fn a_guard_says_why_it_is_there() {
    let reason = |text: &str, entry| {
        let verified = prove_entry(text, entry).expect("it passes");
        let guards: Vec<_> = verified
            .guards()
            .iter()
            .map(|it| (it.len, it.why))
            .collect();
        assert_eq!(guards.len(), verified.guarded() as usize, "{text}");
        guards
    };
    let index = "ldxdw r2, [r1]\nLOAD r3, [r1+40]\nBOUND\nadd r2, r3\nldxh r0, [r2]\nexit";
    let with = |load: &str, bound: &str| {
        let text = index.replace("LOAD", load).replace("BOUND", bound);
        reason(&text, EntryKind::Call)
    };
    assert_eq!(with("ldxdw", "mov r4, 0"), [(2, Unbounded::Anywhere)]);
    assert_eq!(with("ldxw", "sub r3, 4"), [(2, Unbounded::Before)]);
    assert_eq!(with("ldxw", "and r3, 63"), [(2, Unbounded::Behind)]);
    let data = "ldxdw r2, [r1+16]\nldxdw r0, [r2]\nexit";
    assert_eq!(reason(data, EntryKind::Scan), [(8, Unbounded::Unmeasured)]);
    let twice = "mov r6, r1\nldxdw r1, [r6]\ncall local f\nldxdw r1, [r6+8]\ncall local f\nexit\nf: ldxb r0, [r1]\nexit";
    let why = (1, Unbounded::SeveralRegions);
    assert_eq!(reason(twice, EntryKind::Call), [why]);
}

#[test]
fn a_refusal_speaks_plainly() {
    let text = "ldxw r2, [r1+40]\njeq r2, 0, +1\nmov r3, 1\nmov r0, r3\nexit";
    let refusal = prove(text).expect_err("it is refused");
    assert_eq!(
        refusal.to_string(),
        "instruction 3: uses a register that holds nothing; r3 is a different thing depending \
         on the way here; reached by the jumps at 1"
    );
    let refusal = prove("ldxdw r2, [r1]\nldxdw r0, [r2+60]\nexit").expect_err("it is refused");
    assert_eq!(
        refusal.to_string(),
        "instruction 1: reads 8 bytes outside of args, which has 64; r2 points to args at byte 0"
    );
}

#[test]
fn a_job_goes_on_where_it_stopped() {
    let text = "mov r2, 0\nldxdw r3, [r1]\nmov r0, 0\nl: jge r2, 64, done\nmov r4, r3\nadd r4, r2\nldxb r5, [r4]\nadd r0, r5\nadd r2, 1\nja l\ndone: exit";
    let slots = asm::assemble(text).unwrap();
    let checked = check(&slots, &[0], &SPECS).unwrap();
    let whole = prove(text).expect("it passes");
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; 16]));
    // A job that is dropped leaves nothing behind.
    for _ in 0..2 {
        let entries = [(EntryKind::Call, 0)];
        verifier
            .start(&slots, &checked, entries, environment())
            .unwrap();
        assert!(matches!(verifier.step(3), Progress::More));
    }
    let mut turns = 0;
    let mut stepped = Verified::EMPTY;
    assert!(!verifier.take(&mut stepped));
    while verifier.step(1) == Progress::More {
        turns += 1;
        assert!(verifier.verified().is_none());
    }
    assert!(verifier.take(&mut stepped));
    assert_eq!(stepped.plan(), whole.plan());
    assert_eq!(stepped.guards(), whole.guards());
    assert_eq!(stepped.steps(), whole.steps());
    assert_ne!(stepped.id(), whole.id());
    assert!(turns > 20);
    // It is gone.
    assert_eq!(verifier.step(1), Progress::More);
    assert!(verifier.verified().is_none() && !verifier.take(&mut stepped));
}
