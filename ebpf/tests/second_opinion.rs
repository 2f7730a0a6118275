//! What another verifier says: PREVAIL (Gershuni et al., "Simple and precise static analysis of
//! untrusted Linux kernel extensions", PLDI 2019), of programs that both can express.
//!
//! Both have the stack, a context with the addresses of data and of its end, maps and local calls;
//! neither asks that loops end. PREVAIL has no guards: what it cannot bound it refuses, so it is
//! asked for the same as we are: that every access is proved. Where the two differ, the table
//! says who is right.

use ebpf::abi::MAP_SIGNATURES;
use ebpf::limits::KEPT_MAX;
use ebpf::verifier::{ContextLayout, ContextPointer, Environment, Kept, Verifier};
use ebpf::{EntryKind, HelperSpec, ImageHeader, MapSpec, RegionId, Resources, asm, check_with};
use prevail::crab::ebpf_domain::DomainContext;
use prevail::crab::var_registry::VariableRegistry;
use prevail::fwd_analyzer;
use prevail::ir::program::Program;
use prevail::ir::unmarshal;
use prevail::linux::linux_platform::LinuxPlatform;
use prevail::spec::config::EbpfVerifierOptions;
use prevail::spec::ebpf_base::EbpfCtxDescriptor;
use prevail::spec::type_descriptors::{EbpfMapDescriptor, EbpfProgramType, ProgramInfo};
use prevail::spec::vm_isa::EbpfInst;

const fn spec(id: u32) -> HelperSpec {
    HelperSpec {
        id,
        name: "map",
        length_arg: None,
    }
}

const SPECS: [HelperSpec; 3] = [spec(1), spec(2), spec(3)];

const fn pointer(offset: u32, end: bool) -> ContextPointer {
    ContextPointer {
        offset,
        region: RegionId::Data,
        end,
    }
}

/// As PREVAIL is told of it.
const CONTEXT: ContextLayout = ContextLayout {
    bytes: 64,
    pointers: &[pointer(16, false), pointer(24, true)],
};

static THEIR_CONTEXT: EbpfCtxDescriptor = EbpfCtxDescriptor {
    size: 64,
    data: 16,
    end: 24,
    meta: -1,
};

/// A hash of keys of 8 and values of 24 bytes, and an array of keys of 4 and one value of 16.
const MAPS: [MapSpec; 2] = [map(1, 8, 24, 3), map(2, 4, 16, 1)];

const fn map(kind: u32, key_bytes: u32, value_bytes: u32, entries_max: u32) -> MapSpec {
    MapSpec {
        kind,
        key_bytes,
        value_bytes,
        entries_max,
        flags: 0,
        initial_bytes: 0,
    }
}

/// Why we do not call all of it proved, if so.
fn our_reason(slots: &[u64]) -> Option<String> {
    let resources = Resources {
        scratch_bytes: 0,
        maps: MAPS.len() as u32,
    };
    let environment = Environment::new(&ImageHeader::default(), CONTEXT, &MAP_SIGNATURES)
        .with_maps(MAPS)
        .expect("such maps can be");
    let checked = match check_with(slots, &[0], &SPECS, &resources) {
        Ok(checked) => checked,
        Err(refusal) => return Some(refusal.to_string()),
    };
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
    let entries = [(EntryKind::Scan, 0)];
    match verifier.verify(slots, &checked, entries, environment) {
        Ok(verified) => verified.guards().first().map(ToString::to_string),
        Err(refusal) => Some(refusal.to_string()),
    }
}

/// True if we accept it and leave nothing to guards.
fn we_prove(slots: &[u64]) -> bool {
    our_reason(slots).is_none()
}

/// Descriptors of maps, as PREVAIL knows them: by number, from 1.
fn their_maps() -> Vec<EbpfMapDescriptor> {
    let numbered = (1..).zip(MAPS);
    let maps = numbered.map(|(fd, map)| EbpfMapDescriptor {
        original_fd: fd,
        map_type: map.kind,
        key_size: map.key_bytes,
        value_size: map.value_bytes,
        max_entries: map.entries_max,
        ..EbpfMapDescriptor::default()
    });
    maps.collect()
}

/// Slots in their form: maps are named by descriptor (source 1), and values by it too (source 2).
fn their_code(slots: &[u64]) -> Vec<EbpfInst> {
    let mut second = false;
    let code = slots.iter().map(|&slot| {
        let mut inst = EbpfInst {
            opcode: slot as u8,
            dst_src: (slot >> 8) as u8,
            offset: (slot >> 16) as i16,
            imm: (slot >> 32) as i32,
        };
        let first = !second && inst.opcode == 0x18;
        if first && let source @ 5..=6 = inst.dst_src >> 4 {
            inst.dst_src = (inst.dst_src & 15) | (source - 4) << 4;
            inst.imm += 1;
        }
        second = first;
        inst
    });
    code.collect()
}

/// What they find wrong, if anything.
fn they_refuse(slots: &[u64]) -> Option<String> {
    let mut info = ProgramInfo {
        map_descriptors: their_maps(),
        program_type: EbpfProgramType {
            name: "scan".to_owned(),
            ctx_descriptor: Some(&THEIR_CONTEXT),
            ..EbpfProgramType::default()
        },
        ..ProgramInfo::default()
    };
    let mut platform = LinuxPlatform::new();
    platform.set_program_type(&info.program_type);
    platform.map_descriptors = their_maps();
    let mut options = EbpfVerifierOptions::default();
    options.runtime.max_packet_size = 1 << 20;
    let code = their_code(slots);
    let mut notes = Vec::new();
    let sequence = match unmarshal::unmarshal(&code, &mut notes, &info, &platform, &options) {
        Ok(sequence) => sequence,
        Err(error) => return Some(format!("{error:?}")),
    };
    let program = match Program::from_sequence(&sequence, &mut info, &platform, &options) {
        Ok(program) => program,
        Err(error) => return Some(format!("{error:?}")),
    };
    let context = DomainContext {
        program_info: &info,
        program: &program,
        runtime: &options.runtime,
        options: &options,
        platform: &platform,
    };
    let mut registry = VariableRegistry::new();
    let result = fwd_analyzer::analyze(&program, &context, &mut registry);
    let error = result.find_first_error();
    result
        .failed
        .then(|| error.map_or_else(String::new, |error| format!("{error:?}")))
}

/// Who calls a program proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Both,
    Neither,
    /// We alone, and why that is right.
    We(&'static str),
    /// They alone, and who is right.
    They(&'static str),
}

use Who::{Both, Neither, They, We};

#[rustfmt::skip]
const PROGRAMS: &[(Who, &str)] = &[
    (Both, "mov r0, 0; exit"),
    (Neither, "exit"),
    (Both, "ldxw r0, [r1+40]; exit"),
    (Neither, "ldxw r0, [r1+64]; exit"),
    (Neither, "mov r0, r1; exit"),
    // The stack.
    (Both, "stdw [r10-8], 1; ldxdw r0, [r10-8]; exit"),
    (Neither, "ldxdw r0, [r10-8]; exit"),
    (Neither, "stw [r10-8], 1; ldxdw r0, [r10-8]; exit"),
    (Neither, "stdw [r10-520], 0; mov r0, 0; exit"),
    (Both, "stxdw [r10-8], r1; ldxdw r2, [r10-8]; ldxw r0, [r2+40]; exit"),
    (Neither, "stxdw [r10-8], r1; stb [r10-8], 1; ldxdw r2, [r10-8]; ldxw r0, [r2+40]; exit"),
    (Both, "stdw [r10-8], 1; ldxw r3, [r1+40]; and r3, 7; mov r2, r10; add r2, r3; ldxb r0, [r2-8]; exit"),
    (Neither, "stdw [r10-8], 1; ldxw r3, [r1+40]; and r3, 15; mov r2, r10; add r2, r3; ldxb r0, [r2-8]; exit"),
    // Data.
    (Both, "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r0, 0; mov r4, r2; add r4, 8; jgt r4, r3, +1; ldxdw r0, [r2]; exit"),
    (Neither, "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r0, 0; mov r4, r2; add r4, 7; jgt r4, r3, +1; ldxdw r0, [r2]; exit"),
    (Neither, "ldxdw r2, [r1+16]; ldxdw r0, [r2]; exit"),
    (We("they widen the address without an upper bound, and then do not compare it"),
        "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r0, 0; l: mov r4, r2; add r4, 16; jgt r4, r3, out; \
        ldxdw r5, [r2+8]; mov r2, r4; ja l; out: exit"),
    (Both, "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; mov r0, 0; ldxw r4, [r1+40]; and r4, 255; add r2, r4; \
        mov r4, r2; add r4, 4; jgt r4, r3, out; ldxw r0, [r2]; out: exit"),
    (Both, "ldxdw r2, [r1+16]; ldxdw r3, [r1+24]; sub r3, r2; mov r0, 0; jlt r3, 8, out; ldxdw r0, [r2]; out: exit"),
    // Maps.
    (Both, "stdw [r10-8], 5; lddw r1, map 0; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; ldxdw r1, [r0+16]; \
        out: mov r0, 0; exit"),
    (We("what was found to be null is the number 0, which may be returned; to them it stays an address"),
        "stdw [r10-8], 5; lddw r1, map 0; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; ldxdw r1, [r0+16]; \
        mov r0, 0; out: exit"),
    (Neither, "stdw [r10-8], 5; lddw r1, map 0; mov r2, r10; add r2, -8; call 1; ldxdw r1, [r0]; mov r0, 0; exit"),
    (Neither, "stdw [r10-8], 5; lddw r1, map 0; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; ldxdw r1, [r0+17]; \
        out: mov r0, 0; exit"),
    (Neither, "stw [r10-8], 5; lddw r1, map 0; mov r2, r10; add r2, -8; call 1; mov r0, 0; exit"),
    (Neither, "stdw [r10-8], 5; lddw r1, map 0; mov r2, r10; add r2, -8; call 1; jeq r0, 0, out; stxdw [r0], r10; \
        out: mov r0, 0; exit"),
    (Both, "lddw r1, map 1+8; ldxdw r0, [r1]; exit"),
    (Neither, "lddw r1, map 1+9; ldxdw r0, [r1]; exit"),
    // Calls.
    (Both, "mov r6, 5; mov r1, 2; call local f; add r0, r6; exit; f: mov r0, r1; exit"),
    (They("to them the callee finds its caller's r6, as it does where code is interpreted; the calling \
        convention promises it nothing, so we let no program depend on it"),
        "mov r6, 5; mov r1, 2; call local f; exit; f: mov r0, r6; exit"),
    (Neither, "mov r3, 5; mov r1, 2; call local f; mov r0, r3; exit; f: mov r0, r1; exit"),
    (Neither, "call local f; exit; f: call local f; exit"),
    // Numbers.
    (Both, "ldxw r3, [r1+40]; mov r2, r10; add r2, -64; mov r0, 0; jgt r3, 63, out; add r2, r3; stb [r2], 1; out: exit"),
    (Neither, "ldxw r3, [r1+40]; mov r2, r10; add r2, -64; mov r0, 0; jgt r3, 64, out; add r2, r3; stb [r2], 1; out: exit"),
    (Neither, "ldxdw r3, [r1+40]; mov r2, r10; add r2, -64; mov r0, 0; jsgt r3, 63, out; add r2, r3; stb [r2], 1; out: exit"),
    (We("a remainder of 64 is below 64; they take it for a signed one"),
        "ldxw r3, [r1+40]; mod r3, 64; mov r2, r10; add r2, -64; add r2, r3; stb [r2], 1; mov r0, 0; exit"),
    (We("the bound of the loop is lost to them by widening, and not found again"),
        "mov r3, 0; mov r2, r10; add r2, -64; l: mov r4, r2; add r4, r3; stb [r4], 1; add r3, 1; jlt r3, 64, l; \
        mov r0, 0; exit"),
    (Neither, "mov r3, 0; mov r2, r10; add r2, -64; l: mov r4, r2; add r4, r3; stb [r4], 1; add r3, 1; jlt r3, 65, l; \
        mov r0, 0; exit"),
    (Both, "ldxw r3, [r1+40]; mov r4, r3; mov r2, r10; add r2, -64; mov r0, 0; jgt r4, 63, out; add r2, r3; \
        stb [r2], 1; out: exit"),
    (Both, "ldxw r3, [r1+40]; and r3, 56; mov r2, r10; add r2, -64; add r2, r3; stdw [r2], 1; mov r0, 0; exit"),
    (Both, "ldxw r3, [r1+40]; or r3, 7; and r3, 15; mov r2, r10; add r2, -22; add r2, r3; stdw [r2-1], 1; mov r0, 0; exit"),
    (Both, "ldxw r3, [r1+40]; ldxw r4, [r1+44]; mov r2, r10; add r2, -64; mov r0, 0; jgt r4, 63, out; jge r3, r4, out; \
        add r2, r3; stb [r2], 1; out: exit"),
    (We("32 bits and 8 do not wrap 64, so the sum's bound is the number's"),
        "ldxw r3, [r1+40]; mov r2, r10; add r2, -64; mov r0, 0; mov r4, r3; add r4, 8; jgt r4, 64, out; add r2, r3; \
        stdw [r2], 1; out: exit"),
    (We("bits that were tested bound the number; they do not follow bits"),
        "ldxw r3, [r1+40]; xor r3, 5; mov r2, r10; mov r0, 0; jset r3, -64, out; add r2, r3; stb [r2-64], 1; out: exit"),
    (Both, "l: mov r0, 0; ldxw r2, [r1+40]; jne r2, 7, l; exit"),
];

#[test]
fn another_verifier_says_the_same_but_where_it_is_told() {
    let mut wrong = Vec::new();
    for &(who, text) in PROGRAMS {
        let slots = asm::assemble(&text.replace(';', "\n")).expect(text);
        let (ours, theirs) = (we_prove(&slots), they_refuse(&slots));
        let expected = match who {
            Both => (true, true),
            Neither => (false, false),
            We(_) => (true, false),
            They(_) => (false, true),
        };
        if (ours, theirs.is_none()) != expected {
            wrong.push(format!("{who:?}: {text}\nwe: {ours}, they: {theirs:?}"));
        }
        if let We(why) | They(why) = who {
            println!("{who:?}: {text}\n    {why}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Programs near those of the table: a number or an offset a little greater or less.
fn neighbours(slots: &[u64]) -> Vec<Vec<u64>> {
    let mut all = Vec::new();
    for index in 0..slots.len() {
        for step in [-8_i64, -1, 1, 8] {
            let number = (slots[index] as i64 >> 32) + step;
            let offset = i64::from((slots[index] >> 16) as i16) + step;
            let with_number = (slots[index] & 0xffff_ffff) | (number as u64) << 32;
            let with_offset = (slots[index] & !0xffff_0000) | (offset as u64 & 0xffff) << 16;
            for slot in [with_number, with_offset] {
                let mut other = slots.to_vec();
                other[index] = slot;
                all.push(other);
            }
        }
    }
    all
}

/// What they alone prove among the neighbours, by what we say of it, and who is right.
const THEY_ALONE: [(&str, &str); 2] = [
    (
        "reads 8 bytes outside of stack",
        "we are: a key of 8 bytes at r10-7 ends one byte above the stack",
    ),
    (
        "names a place in map 0, which is no array",
        "we are: where a key's value lies in a hash is not the program's to know, and Linux refuses \
         it too; though nothing outside of the map is touched",
    ),
];

#[test]
fn another_verifier_proves_no_neighbour_that_we_do_not() {
    let (mut both, mut neither, mut we, mut alone) = (0, 0, 0, 0);
    let mut they = Vec::new();
    for &(who, text) in PROGRAMS {
        if matches!(who, They(_)) {
            continue;
        }
        let slots = asm::assemble(&text.replace(';', "\n")).expect(text);
        for other in neighbours(&slots) {
            let resources = Resources {
                scratch_bytes: 0,
                maps: MAPS.len() as u32,
            };
            // What is not well formed is the check's to refuse.
            if check_with(&other, &[0], &SPECS, &resources).is_err() {
                continue;
            }
            match (we_prove(&other), they_refuse(&other).is_none()) {
                (true, true) => both += 1,
                (false, false) => neither += 1,
                (true, false) => we += 1,
                (false, true) => {
                    let reason = our_reason(&other).unwrap_or_default();
                    alone += 1;
                    if !THEY_ALONE.iter().any(|(said, _)| reason.contains(said)) {
                        they.push(format!("near {text}\n{other:#018x?}\n{reason}"));
                    }
                }
            }
        }
    }
    println!("both prove {both}, neither {neither}, we alone {we}, they alone {alone}");
    for (said, who) in THEY_ALONE {
        println!("they alone, where it {said}: {who}");
    }
    assert!(they.is_empty(), "{}", they.join("\n\n"));
}
