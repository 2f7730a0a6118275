//! The rules of the proof as tables: each by a program that keeps it and one that does not.
//!
//! What the programs find: r1 is the context, with the addresses of arguments (64 bytes, at 0), of
//! the reply (128 bytes, at 8), of the data's start and end (at 16 and 24, in a scan), and else
//! numbers; scratch has 4096 bytes. Map 0 holds globals of 20 bytes, map 1 is a hash of keys of 8
//! and values of 24 bytes, map 2 holds 16 bytes that may only be read, map 3 is an array of 4 values
//! of 12 bytes. Helpers: 1 to 3 are those of maps, 16 reads the drive, 17 copies, 18 reads vectors.

use ebpf::abi::{CONTEXT_LAYOUT, MAP_SIGNATURES};
use ebpf::limits::KEPT_MAX;
use ebpf::verifier::{
    Argument, Environment, HelperSignature, Kept, Length, Refusal, RefusalKind, Returns, Verified,
    Verifier,
};
use ebpf::{
    EntryKind, HelperSpec, ImageHeader, MapIndex, MapSpec, RegionId, Resources, Right, asm,
    check_with,
};

use EntryKind::{Call, Scan};
use RefusalKind as Why;

const fn spec(id: u32) -> HelperSpec {
    HelperSpec {
        id,
        name: "helper",
        length_arg: None,
    }
}

const SPECS: [HelperSpec; 7] = [
    spec(1),
    spec(2),
    spec(3),
    spec(16),
    spec(17),
    spec(18),
    spec(19),
];

const fn helper(id: u32, arguments: [Argument; 5]) -> HelperSignature {
    HelperSignature {
        id,
        arguments,
        returns: Returns::Number { min: -4095, max: 0 },
    }
}

const fn by(index: u8, unit: u32) -> Length {
    Length::Argument { index, unit }
}

const SIGNATURES: [HelperSignature; 6] = {
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
        MAP_SIGNATURES[0],
        MAP_SIGNATURES[1],
        MAP_SIGNATURES[2],
        helper(16, [Number, Device(by(2, 1)), Number, Unused, Unused]),
        helper(17, [Write(by(2, 1)), from, Number, Unused, Unused]),
        helper(18, [vector, Number, Unused, Unused, Unused]),
    ]
};

const fn map(kind: u32, key_bytes: u32, value_bytes: u32, entries_max: u32, flags: u32) -> MapSpec {
    MapSpec {
        kind,
        key_bytes,
        value_bytes,
        entries_max,
        flags,
        initial_bytes: 0,
    }
}

fn environment() -> Environment {
    let header = ImageHeader {
        args_max: 64,
        reply_max: 128,
        scratch_bytes: 4096,
        ..ImageHeader::default()
    };
    let maps = [
        map(2, 4, 20, 1, 0),
        map(1, 8, 24, 3, 0),
        map(2, 4, 16, 1, 1 << 7),
        map(2, 4, 12, 4, 0),
    ];
    let environment = Environment::new(&header, CONTEXT_LAYOUT, &SIGNATURES);
    environment.with_maps(maps).expect("such maps can be")
}

fn prove(entry: EntryKind, text: &str) -> Result<Verified, Refusal> {
    let slots = asm::assemble(text).unwrap_or_else(|error| panic!("{text}\n{error}"));
    // One map more than the proof is told of.
    let resources = Resources {
        scratch_bytes: 4096,
        maps: 5,
    };
    let checked = check_with(&slots, &[0], &SPECS, &resources)
        .unwrap_or_else(|refusal| panic!("{text}\n{refusal}"));
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
    verifier
        .verify(&slots, &checked, [(entry, 0)], environment())
        .cloned()
}

/// A rule, a program that keeps it, and one that does not: the instruction, and why.
struct Rule(
    &'static str,
    EntryKind,
    &'static str,
    &'static str,
    u32,
    RefusalKind,
);

const fn region_of(map: u32) -> RegionId {
    match MapIndex::new(map) {
        Some(index) => RegionId::Map(index),
        None => RegionId::Stack,
    }
}

const fn outside(region: RegionId, right: Right, len: u32, bytes: u32) -> RefusalKind {
    Why::Outside {
        region,
        len,
        bytes,
        right,
    }
}

const fn read_only(region: RegionId) -> RefusalKind {
    Why::ReadOnly { region }
}

const fn leak(region: RegionId) -> RefusalKind {
    Why::PointerLeak { region }
}

use Right::{Read, Write};

#[rustfmt::skip]
const RULES: &[Rule] = &[
    // Registers.
    Rule("a register holds something when it is used", Call,
        "mov r3, 7; mov r0, r3; exit",
        "mov r0, r3; exit", 0, Why::Unusable),
    Rule("it does so on every way", Call,
        "ldxw r2, [r1+40]; mov r3, 2; jeq r2, 0, +1; mov r3, 1; mov r0, r3; exit",
        "ldxw r2, [r1+40]; jeq r2, 0, +1; mov r3, 1; mov r0, r3; exit", 3, Why::Unusable),
    Rule("r1 to r5 are lost at a call", Call,
        "mov r6, 3; call local f; mov r0, r6; exit; f: mov r0, 0; exit",
        "mov r3, 3; call local f; mov r0, r3; exit; f: mov r0, 0; exit", 2, Why::Unusable),
    Rule("a function finds nothing in r6 to r9", Call,
        "mov r1, 3; call local f; exit; f: mov r0, r1; exit",
        "mov r6, 3; call local f; exit; f: mov r0, r6; exit", 3, Why::Unusable),
    Rule("the result is a number", Call,
        "mov r0, r1; sub r0, r1; exit",
        "mov r0, r1; exit", 1, Why::PointerResult),
    // Addresses.
    Rule("memory needs an address", Call,
        "lddw r2, scratch+8; ldxdw r0, [r2]; exit",
        "lddw r2, 0x500000008; ldxdw r0, [r2]; exit", 2, Why::NotAPointer),
    Rule("what computes numbers needs numbers", Call,
        "ldxw r0, [r1+40]; neg r0; exit",
        "neg r1; mov r0, 0; exit", 0, Why::NotANumber),
    Rule("addresses move by numbers, in 64 bits", Call,
        "add r1, 40; ldxw r0, [r1]; exit",
        "add32 r1, 40; ldxw r0, [r1]; exit", 0, Why::PointerArithmetic),
    Rule("addresses are not multiplied", Call,
        "mov r2, 4; mul r2, 2; mov r0, r2; exit",
        "mul r1, 2; mov r0, 0; exit", 0, Why::PointerArithmetic),
    Rule("addresses of one region have a distance", Call,
        "mov r0, r1; sub r0, r1; exit",
        "mov r0, r1; sub r0, r10; exit", 1, Why::PointerArithmetic),
    Rule("addresses of one region compare", Call,
        "mov r2, r1; add r2, 8; jgt r2, r1, +0; mov r0, 0; exit",
        "jgt r10, r1, +0; mov r0, 0; exit", 0, Why::Comparison),
    Rule("an address compares with no number but null", Call,
        "jeq r1, 0, +0; mov r0, 0; exit",
        "jeq r1, 5, +0; mov r0, 0; exit", 0, Why::Comparison),
    // Regions.
    Rule("the context may only be read", Call,
        "ldxdw r2, [r1+8]; stw [r2], 0; mov r0, 0; exit",
        "stw [r1+40], 0; mov r0, 0; exit", 0, read_only(RegionId::Context)),
    Rule("arguments may only be read", Call,
        "ldxdw r2, [r1]; ldxw r0, [r2]; exit",
        "ldxdw r2, [r1]; stw [r2], 0; mov r0, 0; exit", 1, read_only(RegionId::Arguments)),
    Rule("data may only be read", Scan,
        "ldxdw r2, [r1+16]; ldxw r0, [r2]; exit",
        "ldxdw r2, [r1+16]; stw [r2], 0; mov r0, 0; exit", 1, read_only(RegionId::Data)),
    Rule("a known place lies inside", Call,
        "ldxdw r2, [r1]; ldxdw r0, [r2+56]; exit",
        "ldxdw r2, [r1]; ldxdw r0, [r2+57]; exit", 1, outside(RegionId::Arguments, Read, 8, 64)),
    Rule("and not before the start", Call,
        "lddw r2, scratch+1; stb [r2-1], 0; mov r0, 0; exit",
        "lddw r2, scratch+0; stb [r2-1], 0; mov r0, 0; exit", 2, outside(RegionId::Scratch, Write, 1, 4096)),
    Rule("a pointer in the context is loaded whole", Call,
        "ldxdw r2, [r1]; ldxb r0, [r2]; exit",
        "ldxw r0, [r1]; exit", 0, Why::PartOfPointer),
    Rule("one access is to one region, or surely inside, or to numbers", Call,
        // Twice the same function: once with scratch, once with the reply.
        "mov r6, r1; ldxw r7, [r6+40]; lddw r1, scratch+0; add r1, r7; call local f; \
         ldxdw r1, [r6+8]; call local f; exit; f: ldxb r0, [r1]; exit",
        "mov r6, r1; ldxw r7, [r6+40]; lddw r1, scratch+0; add r1, r7; call local f; \
         mov r1, r10; add r1, -8; stdw [r10-8], 0; call local f; exit; f: ldxb r0, [r1]; exit",
        11, Why::SeveralRegions { region: RegionId::Stack }),
    // The stack.
    Rule("the stack is written before it is read", Call,
        "stdw [r10-8], 1; ldxdw r0, [r10-8]; exit",
        "ldxdw r0, [r10-8]; exit", 0, Why::StackNotWritten { offset: -8 }),
    Rule("and all of it", Call,
        "stdw [r10-8], 1; ldxdw r0, [r10-8]; exit",
        "stw [r10-8], 1; ldxdw r0, [r10-8]; exit", 1, Why::StackNotWritten { offset: -8 }),
    Rule("a place that varies is written wherever it may be", Call,
        "stdw [r10-8], 1; ldxw r3, [r1+40]; and r3, 7; mov r2, r10; add r2, r3; ldxb r0, [r2-8]; exit",
        "stdw [r10-8], 1; ldxw r3, [r1+40]; and r3, 7; mov r2, r10; add r2, r3; ldxb r0, [r2-9]; exit",
        5, Why::StackPlaceUnknown),
    Rule("a store that may hit an address leaves nothing there to read", Call,
        "stxdw [r10-8], r1; stdw [r10-16], 1; ldxw r3, [r1+40]; and r3, 7; mov r2, r10; add r2, r3; \
         stb [r2-16], 1; ldxdw r2, [r10-8]; ldxw r0, [r2+40]; exit",
        "stxdw [r10-8], r1; stdw [r10-16], 1; ldxw r3, [r1+40]; and r3, 7; mov r2, r10; add r2, r3; \
         stb [r2-15], 1; ldxdw r2, [r10-8]; ldxw r0, [r2+40]; exit",
        7, Why::StackNotWritten { offset: -8 }),
    Rule("and so does one that is guarded", Call,
        "stdw [r10-8], 1; ldxdw r2, [r1]; ldxw r3, [r2]; mov r2, r10; add r2, r3; stb [r2-64], 1; \
         ldxdw r0, [r10-8]; exit",
        "stxdw [r10-8], r1; ldxdw r2, [r1]; ldxw r3, [r2]; mov r2, r10; add r2, r3; stb [r2-64], 1; \
         ldxdw r2, [r10-8]; ldxw r0, [r2+40]; exit",
        6, Why::StackNotWritten { offset: -8 }),
    Rule("a guarded read of the stack finds all of it written", Call,
        "ldxw r3, [r1+40]; and r3, 31; stdw [r10-16], 0; stdw [r10-8], 0; mov r2, r10; add r2, r3; \
         ldxb r0, [r2-16]; exit",
        "ldxw r3, [r1+40]; mov r2, r10; sub r2, r3; stdw [r10-8], 0; ldxb r0, [r2-1]; exit",
        4, Why::StackPlaceUnknown),
    Rule("an address is spilled whole and aligned", Call,
        "stxdw [r10-8], r1; ldxdw r2, [r10-8]; ldxw r0, [r2+40]; exit",
        "stxdw [r10-12], r1; mov r0, 0; exit", 0, Why::PointerPlace),
    Rule("and filled whole", Call,
        "stxdw [r10-8], r1; ldxdw r2, [r10-8]; ldxw r0, [r2+40]; exit",
        "stxdw [r10-8], r1; ldxw r0, [r10-8]; exit", 1, Why::PartOfPointer),
    Rule("an address stays in the program", Call,
        "lddw r2, scratch+0; mov r3, 5; stxdw [r2], r3; mov r0, 0; exit",
        "lddw r2, scratch+0; stxdw [r2], r1; mov r0, 0; exit", 2, leak(RegionId::Scratch)),
    Rule("atomics compute with numbers", Call,
        "stdw [r10-8], 1; mov r0, 1; lock add [r10-8], r0; mov r0, 0; exit",
        "stxdw [r10-8], r1; mov r0, 1; lock add [r10-8], r0; mov r0, 0; exit", 2, Why::PartOfPointer),
    // Calls.
    Rule("a function returns to whoever called it", Call,
        "call local f; exit; f: mov r0, 0; exit",
        "call local f; exit; f: call local f; exit", 2, Why::CallDepth),
    Rule("a frame that is gone cannot be used", Call,
        "stdw [r10-8], 7; mov r1, r10; call local f; exit; f: ldxdw r0, [r1-8]; exit",
        "call local f; ldxdw r0, [r0]; exit; f: stdw [r10-8], 7; mov r0, r10; add r0, -8; exit",
        1, outside(RegionId::Stack, Read, 8, 4096)),
    // Helpers.
    Rule("a helper is one that is known", Call,
        "mov r1, 0; lddw r2, scratch+0; mov r3, 8; call 16; mov r0, 0; exit",
        "call 19; mov r0, 0; exit", 0, Why::UnknownHelper { helper: 19 }),
    Rule("a device writes to scratch", Call,
        "mov r1, 0; lddw r2, scratch+0; mov r3, 8; call 16; mov r0, 0; exit",
        "ldxdw r2, [r1+8]; mov r1, 0; mov r3, 8; call 16; mov r0, 0; exit",
        3, Why::BufferRegion { argument: 2, region: RegionId::Reply }),
    Rule("nor in a loop, where all that was kept on the stack is lost behind it", Call,
        "stxdw [r10-8], r1; mov r6, 4; lddw r2, scratch+0; again: ldxdw r1, [r10-8]; mov r1, 0; \
         lddw r2, scratch+0; mov r3, 8; call 16; add r6, -1; jne r6, 0, again; mov r0, 0; exit",
        "stxdw [r10-8], r1; mov r6, 4; again: ldxdw r1, [r10-8]; ldxdw r2, [r1+8]; mov r1, 0; \
         mov r3, 8; call 16; add r6, -1; jne r6, 0, again; mov r0, 0; exit",
        6, Why::BufferRegion { argument: 2, region: RegionId::Reply }),
    Rule("the context is not copied: there are addresses in it", Call,
        "ldxdw r2, [r1]; ldxdw r1, [r1+8]; mov r3, 64; call 17; mov r0, 0; exit",
        "mov r2, r1; ldxdw r1, [r1+8]; mov r3, 64; call 17; mov r0, 0; exit",
        3, Why::BufferRegion { argument: 2, region: RegionId::Context }),
    Rule("a buffer on the stack has a known place and length", Call,
        "ldxdw r2, [r1]; mov r1, r10; add r1, -16; mov r3, 16; call 17; ldxdw r0, [r10-16]; exit",
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; mov r1, r10; add r1, -16; call 17; mov r0, 0; exit",
        4, Why::BufferPlace { argument: 1 }),
    Rule("a buffer lies in no other region than its pointer's", Call,
        "ldxdw r2, [r1]; ldxw r4, [r2]; add r2, r4; ldxdw r1, [r1+8]; mov r3, 8; call 17; mov r0, 0; exit",
        "ldxdw r2, [r1]; ldxdw r4, [r2]; add r2, r4; ldxdw r1, [r1+8]; mov r3, 8; call 17; mov r0, 0; exit",
        5, Why::BufferStrays { argument: 2 }),
    Rule("nor where the next region begins", Call,
        "ldxdw r2, [r1]; lddw r1, scratch+0; lddw r3, 0xffffffff; add r1, r3; mov r3, 8; call 17; mov r0, 0; exit",
        "ldxdw r2, [r1]; lddw r1, scratch+0; lddw r3, 0x100000000; add r1, r3; mov r3, 8; call 17; mov r0, 0; exit",
        7, Why::BufferStrays { argument: 1 }),
    Rule("nor before its own", Call,
        "ldxdw r2, [r1]; lddw r1, scratch+0; add r1, -1; mov r3, 8; call 17; mov r0, 0; exit",
        "ldxdw r2, [r1]; lddw r1, scratch+0; lddw r3, 0xc0000000; sub r1, r3; mov r3, 8; call 17; mov r0, 0; exit",
        7, Why::BufferStrays { argument: 1 }),
    Rule("bytes that a helper reads were written", Call,
        "stdw [r10-8], 1; mov r2, r10; add r2, -8; ldxdw r1, [r1+8]; mov r3, 8; call 17; mov r0, 0; exit",
        "mov r2, r10; add r2, -8; ldxdw r1, [r1+8]; mov r3, 8; call 17; mov r0, 0; exit",
        4, Why::StackNotWritten { offset: -8 }),
    Rule("a helper that may find nothing to read has not written", Call,
        "stdw [r10-8], 5; ldxw r6, [r1+40]; and r6, 16; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; \
         jeq r0, 0, out; mov r1, r10; add r1, -16; mov r2, r0; add r2, r6; mov r3, 8; call 17; \
         ldxdw r0, [r10-16]; out: mov r0, 0; exit",
        "stdw [r10-8], 5; ldxw r6, [r1+40]; and r6, 32; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; \
         jeq r0, 0, out; mov r1, r10; add r1, -16; mov r2, r0; add r2, r6; mov r3, 8; call 17; \
         ldxdw r0, [r10-16]; out: mov r0, 0; exit",
        15, Why::StackNotWritten { offset: -16 }),
    Rule("and are no addresses, but in a vector", Call,
        "stxdw [r10-8], r1; stdw [r10-16], 0; stdw [r10-24], 0; mov r1, r10; add r1, -24; mov r2, 1; \
         call 18; mov r0, 0; exit",
        "stxdw [r10-8], r1; mov r2, r10; add r2, -8; ldxdw r1, [r1+8]; mov r3, 8; call 17; mov r0, 0; exit",
        5, Why::PartOfPointer),
    // Maps.
    Rule("a map's name is no address", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 3; mov r0, 0; exit",
        "lddw r1, map 1; ldxdw r0, [r1]; exit", 2, Why::NotAPointer),
    Rule("nor a number", Call,
        "lddw r1, map 1; jeq r1, 0, +0; mov r0, 0; exit",
        "lddw r1, map 1; add r1, 8; mov r0, 0; exit", 2, Why::PointerArithmetic),
    Rule("nor leaves the program", Call,
        "lddw r1, map 1; stxdw [r10-8], r1; stdw [r10-16], 5; ldxdw r1, [r10-8]; mov r2, r10; add r2, -16; \
         call 1; mov r0, 0; exit",
        "lddw r1, map 1; lddw r2, scratch+0; stxdw [r2], r1; mov r0, 0; exit", 4, leak(RegionId::Scratch)),
    Rule("helpers of maps take a map's name", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; mov r0, 0; exit",
        "stdw [r10-8], 5; lddw r1, 0x8000000000000001; mov r2, r10; add r2, -8; call 1; mov r0, 0; exit",
        5, Why::NotAMap),
    Rule("a map is one that is declared", Call,
        "lddw r1, map 3; mov r0, 0; exit",
        "lddw r1, map 4; mov r0, 0; exit", 0, Why::NoMap { index: 4 }),
    Rule("a key is as long as the map says, and written", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; mov r0, 0; exit",
        "stw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; mov r0, 0; exit",
        5, Why::StackNotWritten { offset: -8 }),
    Rule("no address is part of a key", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; mov r0, 0; exit",
        "stxdw [r10-8], r1; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; mov r0, 0; exit",
        5, Why::PartOfPointer),
    Rule("a value is as long as the map says, and written", Call,
        "stdw [r10-8], 5; stdw [r10-32], 1; stdw [r10-24], 1; stdw [r10-16], 1; lddw r1, map 1; mov r2, r10; \
         add r2, -8; mov r3, r10; add r3, -32; mov r4, 0; call 2; mov r0, 0; exit",
        "stdw [r10-8], 5; stdw [r10-32], 1; stdw [r10-24], 1; stw [r10-16], 1; lddw r1, map 1; mov r2, r10; \
         add r2, -8; mov r3, r10; add r3, -32; mov r4, 0; call 2; mov r0, 0; exit",
        11, Why::StackNotWritten { offset: -32 }),
    Rule("a map that may only be read is not changed", Call,
        "stw [r10-4], 0; lddw r1, map 2; mov r2, r10; add r2, -4; call 1; mov r0, 0; exit",
        "stw [r10-4], 0; lddw r1, map 2; mov r2, r10; add r2, -4; call 3; mov r0, 0; exit",
        5, read_only(region_of(2))),
    Rule("a lookup's result is compared with null before it is used", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; ldxdw r0, [r0]; \
         mov r0, 0; out: exit",
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; ldxdw r0, [r0]; exit",
        6, Why::MaybeNull),
    Rule("before it is moved, too", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; add r0, 8; \
         ldxdw r0, [r0]; out: mov r0, 0; exit",
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; add r0, 8; mov r0, 0; exit",
        6, Why::MaybeNull),
    Rule("what is found of one copy holds for all, spilled or not, and for no other lookup", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; stxdw [r10-16], r0; mov r6, r0; \
         jne r6, 0, +2; mov r0, 0; exit; ldxdw r7, [r10-16]; ldxdw r0, [r7+16]; exit",
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; mov r6, r0; lddw r1, map 1; \
         mov r2, r10; add r2, -8; call 1; jne r6, 0, +2; mov r0, 0; exit; ldxdw r0, [r0]; exit",
        15, Why::MaybeNull),
    Rule("a number that is as far from nothing as an address from its value tells nothing of null", Call,
        "stdw [r10-8], 5; ldxw r7, [r1+40]; ldxw r9, [r1+44]; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; \
         jeq r0, 0, out; jeq r9, 0, other; mov r6, r0; mov r8, r7; add r6, r8; jne r8, 0, out; ja both; \
         other: lddw r1, map 1; mov r2, r10; add r2, -8; call 1; mov r6, r0; mov r8, r0; \
         both: jeq r6, 0, out; ldxdw r0, [r6]; out: mov r0, 0; exit",
        "stdw [r10-8], 5; ldxw r7, [r1+40]; ldxw r9, [r1+44]; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; \
         jeq r0, 0, out; jeq r9, 0, other; mov r6, r0; mov r8, r7; add r6, r8; jne r8, 0, out; ja both; \
         other: lddw r1, map 1; mov r2, r10; add r2, -8; call 1; mov r6, r0; mov r8, r0; \
         both: jeq r6, 0, out; ldxdw r0, [r8]; out: mov r0, 0; exit",
        23, Why::MaybeNull),
    Rule("an address that was moved as far as to 0 tells nothing of another that was moved as far", Call,
        "stdw [r10-8], 5; stdw [r10-16], 6; ldxw r7, [r1+40]; ldxw r9, [r1+44]; lsh r7, 32; lddw r1, map 1; \
         mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; mov r6, r0; lddw r1, map 1; mov r2, r10; add r2, -16; \
         call 1; jeq r0, 0, out; mov r8, r0; jeq r9, 0, null; add r6, r7; add r8, r7; ja both; \
         null: mov r6, 0; mov r8, 0; both: jne r6, 0, out; mov r2, r10; add r2, r6; stdw [r2-8], 1; \
         out: mov r0, 0; exit",
        "stdw [r10-8], 5; stdw [r10-16], 6; ldxw r7, [r1+40]; ldxw r9, [r1+44]; lsh r7, 32; lddw r1, map 1; \
         mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; mov r6, r0; lddw r1, map 1; mov r2, r10; add r2, -16; \
         call 1; jeq r0, 0, out; mov r8, r0; jeq r9, 0, null; add r6, r7; add r8, r7; ja both; \
         null: mov r6, 0; mov r8, 0; both: jne r6, 0, out; mov r2, r10; add r2, r8; stdw [r2-8], 1; \
         out: mov r0, 0; exit",
        27, Why::MaybeNull),
    Rule("null is null on the other way", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; mov r0, 1; out: exit",
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; mov r6, r0; out: exit",
        8, Why::PointerResult),
    Rule("a value has its bytes", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; stdw [r0+16], 1; \
         mov r0, 0; out: exit",
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; stdw [r0+17], 1; \
         mov r0, 0; out: exit",
        7, outside(region_of(1), Write, 8, 24)),
    Rule("no address is put into a value", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; stdw [r0], 1; \
         mov r0, 0; out: exit",
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; stxdw [r0], r10; \
         mov r0, 0; out: exit",
        7, leak(region_of(1))),
    Rule("a value in a map that may only be read stays as it is", Call,
        "stw [r10-4], 0; lddw r1, map 2; mov r2, r10; add r2, -4; call 1; jeq r0, 0, out; ldxdw r0, [r0+8]; \
         mov r0, 0; out: exit",
        "stw [r10-4], 0; lddw r1, map 2; mov r2, r10; add r2, -4; call 1; jeq r0, 0, out; stdw [r0+8], 0; \
         mov r0, 0; out: exit",
        7, read_only(region_of(2))),
    Rule("values of one map compare, and of no two", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; mov r6, r0; \
         add r6, 8; jge r6, r0, +0; mov r0, 0; out: exit",
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; lddw r2, map 0+0; \
         jge r2, r0, +0; mov r0, 0; out: exit",
        9, Why::Comparison),
    Rule("globals have their bytes", Call,
        "lddw r1, map 0+16; ldxw r0, [r1]; exit",
        "lddw r1, map 0+17; ldxw r0, [r1]; exit", 2, outside(region_of(0), Read, 4, 20)),
    Rule("globals that may only be read stay as they are", Call,
        "lddw r1, map 2+8; ldxdw r0, [r1]; exit",
        "lddw r1, map 2+8; stdw [r1], 0; mov r0, 0; exit", 2, read_only(region_of(2))),
    Rule("no address is a global", Call,
        "lddw r1, map 0+8; stdw [r1], 7; mov r0, 0; exit",
        "lddw r1, map 0+8; stxdw [r1], r1; mov r0, 0; exit", 2, leak(region_of(0))),
    Rule("a place in a map is known where the map is an array", Call,
        "lddw r1, map 3+16; ldxw r0, [r1]; exit",
        "lddw r1, map 1+16; ldxw r0, [r1]; exit", 0, Why::NotGlobal { index: 1 }),
    // Code.
    Rule("something leads to each instruction", Call,
        "mov r0, 0; exit",
        "mov r0, 0; exit; mov r0, 1; exit", 2, Why::Unreachable),
];

/// Its instructions, one to a line.
fn lines(text: &str) -> String {
    text.replace(';', "\n")
}

/// What is not as a table has it.
#[track_caller]
fn all_hold(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn each_rule_accepts_and_refuses() {
    let mut wrong = Vec::new();
    for Rule(rule, entry, accepted, refused, pc, why) in RULES {
        if let Err(refusal) = prove(*entry, &lines(accepted)) {
            wrong.push(format!("{rule}: {accepted}\n{refusal}"));
        }
        match prove(*entry, &lines(refused)) {
            Err(refusal) if (refusal.pc, refusal.why) == (*pc, *why) => {}
            other => {
                let found = other.err().map(|it| (it.pc, it.why, it.to_string()));
                wrong.push(format!("{rule}: {refused}\n{found:?}"));
            }
        }
    }
    all_hold(&wrong);
}

/// Kinds that need programs too large for a table, or something else than a program. They have
/// tests of their own.
const ELSEWHERE: [RefusalKind; 5] = [
    Why::TooManyContexts,
    Why::TooManyStates { kept: 0 },
    Why::TooManyCells,
    Why::TooManySteps,
    Why::NotChecked,
];

#[test]
fn every_kind_of_refusal_is_in_the_table() {
    let listed = RULES.iter().map(|rule| rule.5).chain(ELSEWHERE);
    let listed: Vec<u16> = listed.map(|why| why.number()).collect();
    for number in 0..=u16::MAX {
        let Some(name) = RefusalKind::name_of(number) else {
            continue;
        };
        assert!(listed.contains(&number), "{name}");
    }
}

/// A bound, a program whose accesses it proves, and one of which it leaves some to a guard.
struct Bound(&'static str, EntryKind, &'static str, &'static str, u32);

#[rustfmt::skip]
const BOUNDS: &[Bound] = &[
    Bound("a value is entered by an index that was tested", Call,
        "stdw [r10-8], 5; ldxw r6, [r1+40]; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; \
         jgt r6, 23, out; add r0, r6; ldxb r6, [r0]; out: mov r0, 0; exit",
        "stdw [r10-8], 5; ldxw r6, [r1+40]; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; \
         jgt r6, 24, out; add r0, r6; ldxb r6, [r0]; out: mov r0, 0; exit", 1),
    Bound("a value is walked through to its end", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; mov r2, r0; \
         add r2, 24; l: ldxb r3, [r0]; add r0, 1; jlt r0, r2, l; out: mov r0, 0; exit",
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; mov r2, r0; \
         add r2, 25; l: ldxb r3, [r0]; add r0, 1; jlt r0, r2, l; out: mov r0, 0; exit", 1),
    Bound("a lookup made again has another value", Call,
        "stdw [r10-8], 5; lddw r1, map 1; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; mov r6, r0; \
         mov r7, r6; ldxw r3, [r6]; add r6, r3; add r7, 16; jgt r6, r7, out; jlt r6, r0, out; \
         ldxdw r3, [r6]; out: mov r0, 0; exit",
        // r7 is of one turn of the loop, and r6 of the next.
        "mov r7, 0; mov r8, 0; stdw [r10-8], 5; l: lddw r1, map 1; mov r2, r10; add r2, -8; call 1; \
         jeq r0, 0, out; jeq r7, 0, n; mov r6, r0; ldxw r3, [r6]; add r6, r3; jgt r6, r7, out; \
         jlt r6, r0, out; ldxdw r3, [r6]; ja out; n: mov r7, r0; add r8, 1; jlt r8, 9, l; \
         out: mov r0, 0; exit", 1),
    Bound("globals are entered by an index that was tested", Call,
        "ldxw r2, [r1+40]; and r2, 15; lddw r3, map 0+4; add r3, r2; ldxb r0, [r3]; exit",
        "ldxw r2, [r1+40]; and r2, 15; lddw r3, map 0+8; add r3, r2; ldxb r0, [r3]; exit", 1),
    Bound("a flag remembers what was tested", Call,
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; mov r6, 0; jgt r3, 63, n; mov r6, 1; n: ldxw r4, [r1+44]; \
         jeq r6, 0, out; add r2, r3; ldxb r0, [r2]; out: mov r0, 0; exit",
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; mov r6, 0; jgt r3, 64, n; mov r6, 1; n: ldxw r4, [r1+44]; \
         jeq r6, 0, out; add r2, r3; ldxb r0, [r2]; out: mov r0, 0; exit", 1),
    Bound("one of four numbers, not of five", Call,
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; mov r6, 1; jle r3, 10, n; mov r6, 2; jle r3, 20, n; mov r6, 3; jle r3, 30, n; \
         mov r6, 0; n: ldxw r4, [r1+44]; jeq r6, 0, out; add r2, r3; ldxb r0, [r2]; out: mov r0, 0; exit",
        "ldxdw r2, [r1]; ldxw r3, [r1+40]; mov r6, 1; jle r3, 10, n; mov r6, 2; jle r3, 20, n; mov r6, 3; jle r3, 30, n; \
         mov r6, 4; jle r3, 40, n; mov r6, 0; n: ldxw r4, [r1+44]; jeq r6, 0, out; add r2, r3; ldxb r0, [r2]; \
         out: mov r0, 0; exit", 1),
    Bound("what a guard lets through may be in what a global is rounded up by", Call,
        "ldxw r2, [r1+40]; and r2, 15; lddw r3, map 0+4; add r3, r2; ldxb r0, [r3]; exit",
        // Both indexes can be 4, where the second access ends behind the arguments.
        "ldxdw r6, [r1]; ldxw r2, [r1+40]; and r2, 7; lddw r3, map 0+0; add r3, r2; ldxdw r0, [r3+12]; add r6, r2; \
         ldxdw r0, [r6+53]; exit", 2),
    Bound("an array's values are walked through", Call,
        "lddw r3, map 3+0; mov r2, r3; add r2, 64; l: ldxw r4, [r3+8]; add r3, 16; jlt r3, r2, l; mov r0, 0; exit",
        "lddw r3, map 3+0; mov r2, r3; add r2, 65; l: ldxw r4, [r3+8]; add r3, 16; jlt r3, r2, l; mov r0, 0; exit", 1),
    Bound("data is compared with its end", Scan,
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r4, r2; add r4, 8; jgt r4, r3, out; ldxdw r0, [r2]; out: mov r0, 0; exit",
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r4, r2; add r4, 8; jgt r4, r3, out; ldxdw r0, [r2+1]; out: mov r0, 0; exit", 1),
    Bound("in strict order, a byte more", Scan,
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r4, r2; add r4, 7; jge r4, r3, out; ldxdw r0, [r2]; out: mov r0, 0; exit",
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r4, r2; add r4, 7; jgt r4, r3, out; ldxdw r0, [r2]; out: mov r0, 0; exit", 1),
    Bound("the end on the other side", Scan,
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r4, r2; add r4, 8; jlt r3, r4, out; ldxdw r0, [r2]; out: mov r0, 0; exit",
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r4, r2; add r4, 8; jgt r3, r4, +2; mov r0, 0; ja out; \
         ldxdw r0, [r2+8]; out: mov r0, 0; exit", 1),
    Bound("records are stepped through", Scan,
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r0, 0; \
         l: mov r4, r2; add r4, 16; jgt r4, r3, out; ldxdw r5, [r2]; ldxdw r5, [r2+8]; mov r2, r4; ja l; out: exit",
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r0, 0; \
         l: mov r4, r2; add r4, 16; jgt r4, r3, out; ldxdw r5, [r2]; ldxdw r5, [r2+9]; mov r2, r4; ja l; out: exit", 1),
    Bound("with the guard on the way back, and backward displacements", Scan,
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r0, 0; add r2, 16; jgt r2, r3, out; \
         l: ldxdw r5, [r2-16]; ldxw r5, [r2-4]; add r2, 16; jle r2, r3, l; out: exit",
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r0, 0; add r2, 16; jgt r2, r3, out; \
         l: ldxdw r5, [r2-16]; ldxw r5, [r2-3]; add r2, 16; jle r2, r3, l; out: exit", 1),
    Bound("the end less the start is the length", Scan,
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; sub r3, r2; mov r4, 0; \
         l: mov r5, r4; add r5, 16; jgt r5, r3, out; mov r6, r2; add r6, r4; ldxdw r0, [r6+8]; add r4, 16; ja l; \
         out: mov r0, 0; exit",
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; sub r3, r2; add r3, 1; mov r4, 0; \
         l: mov r5, r4; add r5, 16; jgt r5, r3, out; mov r6, r2; add r6, r4; ldxdw r0, [r6+8]; add r4, 16; ja l; \
         out: mov r0, 0; exit", 1),
    Bound("a length less something may be below nothing, where unsigned numbers are not", Scan,
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; sub r3, r2; ldxw r4, [r1+40]; jlt r3, 8, out; sub r3, 8; \
         jgt r4, r3, out; add r2, r4; ldxdw r0, [r2]; out: mov r0, 0; exit",
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; sub r3, r2; ldxw r4, [r1+40]; sub r3, 8; \
         jgt r4, r3, out; add r2, r4; ldxdw r0, [r2]; out: mov r0, 0; exit", 1),
    Bound("what is behind a guard is known", Scan,
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r4, r2; add r4, 16; jgt r4, r3, out; ldxdw r0, [r2+8]; \
         ldxdw r0, [r2]; out: mov r0, 0; exit",
        "ldxdw r2, [r1+16]; ldxdw r0, [r2+8]; ldxdw r0, [r2]; mov r0, 0; exit", 1),
    Bound("what is known on both ways is the least", Scan,
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; ldxw r5, [r1+40]; mov r4, r2; add r4, 16; jgt r4, r3, out; \
         jeq r5, 0, +1; add r2, 8; ldxdw r0, [r2]; out: mov r0, 0; exit",
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; ldxw r5, [r1+40]; mov r4, r2; add r4, 16; jgt r4, r3, out; \
         jeq r5, 0, +1; add r2, 9; ldxdw r0, [r2]; out: mov r0, 0; exit", 1),
];

#[test]
fn each_bound_proves_and_what_has_none_is_guarded() {
    let mut wrong = Vec::new();
    for Bound(bound, entry, proved, guarded, guards) in BOUNDS {
        for (text, expected) in [(proved, 0), (guarded, *guards)] {
            match prove(*entry, &lines(text)) {
                Ok(found) if (found.guarded(), found.unreached()) == (expected, 0) => {}
                Ok(found) => {
                    let (count, left) = (found.guarded(), found.unreached());
                    let guards: Vec<_> = found.guards().iter().map(ToString::to_string).collect();
                    wrong.push(format!(
                        "{bound}: {text}\n{count} guarded, {left} unreached {guards:#?}"
                    ));
                }
                Err(refusal) => wrong.push(format!("{bound}: {text}\n{refusal}")),
            }
        }
    }
    all_hold(&wrong);
}
