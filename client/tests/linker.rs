//! The linker on objects that clang made, on objects that are damaged, and on any bytes.

use client::linker::{LinkError, Linked, link};
use ebpf::{EntryKind, Image};
use proptest::prelude::*;
use std::process::Command;

const TWO_SECTIONS: &[u8] = include_bytes!("objects/two_sections.o");
const MAPS: &[u8] = include_bytes!("objects/maps.o");

fn image(linked: &Linked) -> Image<'_> {
    Image::parse(&linked.image).expect("what was linked is an image")
}

/// Opcode, source field and immediate of a slot.
fn fields(slot: u64) -> (u8, u8, i32) {
    (slot as u8, ((slot >> 12) & 0xf) as u8, (slot >> 32) as i32)
}

#[test]
fn sections_are_joined_and_calls_between_them_resolved() {
    let linked = link(TWO_SECTIONS).unwrap();
    let image = image(&linked);
    let slots: Vec<u64> = image.code().collect();
    assert_eq!(linked.entries, [EntryKind::Call]);
    assert_eq!(image.entry(EntryKind::Call), Some(0));

    // Follow the calls from the entry: each leads to the beginning of a function.
    let mut called: Vec<&str> = Vec::new();
    for (pc, &slot) in slots.iter().enumerate() {
        if let (0x85, 1, distance) = fields(slot) {
            let target = u32::try_from(pc as i64 + 1 + i64::from(distance)).unwrap();
            let location = linked.locate(target).unwrap();
            called.push(location.function.unwrap());
            let before = linked.locate(target - 1).unwrap();
            assert_ne!(before.function, location.function, "not at its beginning");
        }
    }
    called.sort_unstable();
    assert_eq!(called, ["fetch", "fetch", "fetch_third"]);
}

#[test]
fn scratch_is_laid_out_with_the_zeroed_part_at_its_end() {
    let linked = link(TWO_SECTIONS).unwrap();
    let image = image(&linked);
    assert_eq!((linked.scratch_bytes, linked.scratch_zero_bytes), (528, 8));
    assert_eq!(image.header().scratch_bytes, 528);
    assert_eq!(image.header().scratch_zero_bytes, 8);
    assert_eq!((image.header().args_max, image.header().reply_max), (16, 8));
    assert_eq!(image.header().objects, 1);

    let wide: Vec<_> = image
        .code()
        .filter(|&slot| slot as u8 == 0x18)
        .map(fields)
        .collect();
    assert!(wide.iter().all(|&(_, source, _)| source == 3), "{wide:?}");
    let offsets: Vec<i32> = wide.iter().map(|&(_, _, offset)| offset).collect();
    assert!(offsets.contains(&0), "the block: {offsets:?}");
    assert!(offsets.contains(&520), "the count: {offsets:?}");
}

#[test]
fn linked_code_passes_the_check_of_the_agent() {
    let helper = |id, name| ebpf::HelperSpec {
        id,
        name,
        length_arg: None,
    };
    let helpers = [helper(0x1000, "dpu_read"), helper(1, "bpf_map_lookup_elem")];
    for object in [TWO_SECTIONS, MAPS] {
        let linked = link(object).unwrap();
        let image = image(&linked);
        let slots: Vec<u64> = image.code().collect();
        ebpf::check_image(&image, &slots, &helpers).unwrap();
    }
}

#[test]
fn instructions_are_found_in_the_source() {
    let linked = link(TWO_SECTIONS).unwrap();
    let location = linked.locate(0).unwrap();
    assert_eq!(location.function, Some("first_words"));
    let source = location.source.unwrap();
    assert!(source.file.ends_with("two_sections.c"));
    assert!(source.line > 20 && !source.text.is_empty(), "{source:?}");
    assert!(location.to_string().starts_with("first_words at "));

    let read = (0..linked.instructions)
        .find(|&pc| fields(image(&linked).slot(pc).unwrap()) == (0x85, 0, 0x1000))
        .unwrap();
    let location = linked.locate(read).unwrap();
    assert_eq!(location.function, Some("fetch"));
    assert!(location.source.unwrap().text.contains("dpu_read"));
}

#[test]
fn maps_and_globals_become_maps() {
    let linked = link(MAPS).unwrap();
    let image = image(&linked);
    assert_eq!(linked.entries, [EntryKind::Scan, EntryKind::Finish]);
    assert_eq!(image.header().scan_unit, 512);

    let find = |name: &str| {
        let index = linked.maps.iter().position(|(n, _)| n == name).unwrap();
        let (spec, initial) = image.maps().nth(index).unwrap();
        (index as i32, spec, initial)
    };
    let (table, spec, _) = find("table");
    assert_eq!(
        (
            spec.kind,
            spec.key_bytes,
            spec.value_bytes,
            spec.entries_max
        ),
        (1, 16, 8, 100)
    );
    let (_, spec, _) = find("slots");
    assert_eq!(
        (
            spec.kind,
            spec.key_bytes,
            spec.value_bytes,
            spec.entries_max
        ),
        (2, 4, 12, 7)
    );
    assert_eq!(spec.flags, 128);
    let (data, spec, initial) = find(".data");
    assert_eq!(
        (spec.value_bytes, initial),
        (8, &[5, 0, 0, 0, 6, 0, 0, 0][..])
    );
    let (_, spec, initial) = find(".rodata");
    assert_eq!((spec.flags, initial), (128, &[77, 0, 0, 0][..]));
    let (_, spec, initial) = find(".bss");
    assert_eq!((spec.value_bytes, initial.len()), (8, 0));

    let wide: Vec<_> = image
        .code()
        .map(fields)
        .filter(|&(code, ..)| code == 0x18)
        .collect();
    assert!(wide.contains(&(0x18, 5, table)), "{wide:?}");
    assert!(wide.contains(&(0x18, 6, data)), "{wide:?}");
}

/// Compiles C if there is a clang for BPF; the tests that need one say nothing where there is none.
fn compile(source: &str) -> Option<Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let (c, o) = (directory.path().join("p.c"), directory.path().join("p.o"));
    let text = format!(
        "typedef unsigned int __u32; typedef unsigned long long __u64;\n\
         #define SEC(name) __attribute__((section(name), used))\n\
         #define SCRATCH __attribute__((section(\".scratch\"), aligned(4096)))\n\
         #define LIMITS const __u32 limits[8] SEC(\"dpu.limits\") = {{1, 8, 8, 0, 1}};\n{source}\n"
    );
    std::fs::write(&c, text).unwrap();
    let output = Command::new("clang")
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c"])
        .args([&c, std::path::Path::new("-o"), &o])
        .output()
        .ok()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    if complaint.contains("unknown target") || complaint.contains("No available targets") {
        return None;
    }
    assert!(output.status.success(), "{complaint}");
    Some(std::fs::read(o).unwrap())
}

/// The source is refused, in words that contain each of these.
fn refused(source: &str, words: &[&str]) {
    let Some(object) = compile(source) else {
        return;
    };
    let message = match link(&object) {
        Ok(linked) => panic!("linked to {} instructions", linked.instructions),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

#[test]
fn what_a_program_cannot_have_is_refused_with_the_remedy() {
    refused(
        "SEC(\"dpu/call\") int f(void *c) { return 0; }",
        &["DPU_LIMITS"],
    );
    refused(
        "LIMITS int f(void *c) { return 0; }",
        &["no entry", "dpu/call"],
    );
    refused(
        "LIMITS SEC(\"dpu/map\") int f(void *c) { return 0; }",
        &["dpu/map", "dpu/call, dpu/scan and dpu/finish"],
    );
    refused(
        "LIMITS SEC(\"dpu/call\") int f(void *c) { return 0; }\n\
         SEC(\"dpu/call\") int g(void *c) { return 1; }",
        &["dpu/call", "2 functions"],
    );
    refused(
        "LIMITS SEC(\"dpu/call\") int f(void *c) { return 0; }\n\
         SEC(\"xdp\") int g(void *c) { return 1; }",
        &["xdp", "neither an entry nor called"],
    );
    refused(
        "LIMITS int missing(int); SEC(\"dpu/call\") int f(void *c) { return missing(1); }",
        &["dpu/call", "missing is not defined"],
    );
    refused(
        "LIMITS char s[8] SCRATCH = {0, 0, 1}; SEC(\"dpu/call\") int f(void *c) { return s[1]; }",
        &[".scratch", "byte 2", "not zero"],
    );
    refused(
        "LIMITS char s[1 << 20] SCRATCH; SEC(\"dpu/call\") int f(void *c) { return s[1]; }",
        &[".scratch", "1048576 bytes"],
    );
    refused(
        "LIMITS char s[8] __attribute__((section(\".scratchy\")));\n\
         SEC(\"dpu/call\") int f(void *c) { return s[1]; }",
        &[".scratchy", "DPU_SCRATCH"],
    );
    refused(
        "LIMITS char s[8] __attribute__((section(\"heap\")));\n\
         SEC(\"dpu/call\") int f(void *c) { return s[1]; }",
        &["heap", "DPU_SCRATCH"],
    );
    refused(
        "LIMITS static __attribute__((noinline)) int g(int x) { return x * 3; }\n\
         SEC(\"dpu/call\") int f(void *c) { int (*volatile p)(int) = g; return p != 0; }",
        &["function's address"],
    );
    refused(
        "const __u32 l[8] SEC(\"dpu.limits\") = {2};\n\
         SEC(\"dpu/call\") int f(void *c) { return 0; }",
        &["ABI 2"],
    );
    refused(
        "const __u32 l[8] SEC(\"dpu.limits\") = {1, 5000};\n\
         SEC(\"dpu/call\") int f(void *c) { return 0; }",
        &["arguments", "5000", "4096"],
    );
}

/// A map of this declaration, and an entry that names it.
fn with_map(declaration: &str) -> String {
    format!(
        "#define __uint(name, n) int(*name)[n]\n\
         #define __type(name, t) typeof(t) *name\n\
         struct inner {{ __uint(type, 2); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); }};\n\
         struct {{ {declaration} }} m SEC(\".maps\");\n\
         LIMITS static void *(*const lookup)(void *, const void *) = (void *)1;\n\
         SEC(\"dpu/call\") int f(void *c) {{ __u32 k = 0; return lookup(&m, &k) != 0; }}"
    )
}

#[test]
fn maps_that_are_not_offered_are_refused_by_name() {
    let key_and_value = "__type(key, __u32); __type(value, __u64); __uint(max_entries, 4);";
    for (kind, words) in [
        (5, "per-CPU hash"),
        (6, "per-CPU array"),
        (10, "per-CPU LRU hash"),
        (22, "a queue"),
        (99, "of type 99,"),
    ] {
        let source = with_map(&format!("__uint(type, {kind}); {key_and_value}"));
        refused(&source, &["map m", words, "hash (1), array (2)"]);
    }
    for (declaration, words) in [
        (
            "__uint(type, 27); __uint(max_entries, 4096);",
            "a ring buffer",
        ),
        (
            "__uint(type, 12); __uint(max_entries, 2); __type(key, __u32); struct inner *values[];",
            "an array of maps",
        ),
        (
            "__uint(type, 2); __uint(max_entries, 2); __type(key, __u32); struct inner *values[];",
            "maps in maps",
        ),
        (
            "__uint(type, 2); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); __uint(pinning, 1);",
            "not pinned",
        ),
        (
            "__uint(type, 2); __uint(max_entries, 2); __type(key, __u32); __type(value, __u32); __uint(map_extra, 1);",
            "map_flags",
        ),
        (
            "__uint(type, 2); __type(key, __u32); __type(value, __u32);",
            "max_entries",
        ),
        (
            "__uint(type, 2); __uint(max_entries, 2); __type(key, __u64); __type(value, __u32);",
            "key of an array has 4 bytes",
        ),
        (
            "__uint(type, 2); __uint(max_entries, 300000); __type(key, __u32); __type(value, __u32);",
            "1048576 is the most",
        ),
        (
            "__uint(type, 1); __uint(max_entries, 1); __type(value, __u32); struct { char c[513]; } *key;",
            "512 is the most",
        ),
        (
            "__uint(type, 1); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); __uint(map_flags, 4);",
            "flags 0x4",
        ),
    ] {
        refused(&with_map(declaration), &["map m", words]);
    }
    let seventeen: String = (0..17)
        .map(|at| format!("struct {{ __uint(type, 2); {key_and_value} }} m{at} SEC(\".maps\");\n"))
        .collect();
    let source = with_map(&format!("__uint(type, 2); {key_and_value}"));
    refused(
        &source.replace("LIMITS", &format!("{seventeen} LIMITS")),
        &["too many maps"],
    );
}

#[test]
fn variables_that_cannot_be_shipped_are_refused() {
    refused(
        "LIMITS static int x = 3; int *volatile p = &x;\n\
         SEC(\"dpu/call\") int f(void *c) { return *p; }",
        &["section .data", "the address of", "an index or an offset"],
    );
    refused(
        "LIMITS static const char *volatile const names[2] = {\"a\", \"b\"};\n\
         SEC(\"dpu/call\") int f(int *c) { return names[*c & 1][0]; }",
        &["starts as the address of", ".rodata.str"],
    );
    refused(
        "LIMITS volatile char large[(1 << 20) + 1]; SEC(\"dpu/call\") int f(void *c) { return large[7]; }",
        &[".bss", "1048577 bytes", "1048576"],
    );
    refused(
        "LIMITS volatile char large[1 << 16] = {1}; SEC(\"dpu/call\") int f(void *c) { return large[7]; }",
        &["the image's length", "65536"],
    );
    refused(
        "LIMITS struct { int type; } old SEC(\"maps\");\n\
         SEC(\"dpu/call\") int f(void *c) { return *(volatile int *)&old; }",
        &["maps", "in section .maps"],
    );
}

#[test]
fn globals_of_every_section_are_maps_of_one_value() {
    let Some(object) = compile(
        "LIMITS volatile const __u32 table[3] = {7, 8, 9};\n\
         volatile __u64 counter = 5; volatile __u64 zeros[4];\n\
         volatile __u32 own __attribute__((section(\".data.own\"))) = 11;\n\
         SEC(\"dpu/call\") int f(__u32 *c) {\n\
           counter++; zeros[3] += own; return table[*c % 3] + \"texts\"[*c % 6]; }",
    ) else {
        return;
    };
    let linked = link(&object).unwrap();
    let image = image(&linked);
    let found: Vec<(&str, u32, u32, usize)> = linked
        .maps
        .iter()
        .zip(image.maps())
        .map(|((name, spec), (_, initial))| {
            assert_eq!((spec.kind, spec.key_bytes, spec.entries_max), (2, 4, 1));
            (name.as_str(), spec.value_bytes, spec.flags, initial.len())
        })
        .collect();
    for wanted in [
        (".rodata", 12, 128, 12),
        (".data", 8, 0, 8),
        (".bss", 32, 0, 0),
        (".data.own", 4, 0, 4),
        (".rodata.str1.1", 6, 128, 6),
    ] {
        assert!(found.contains(&wanted), "{wanted:?} is not in {found:?}");
    }
    let slots: Vec<u64> = image.code().collect();
    ebpf::check_image(&image, &slots, &[]).unwrap();
}

#[test]
fn names_may_be_defined_in_any_order_and_loops_stay_as_they_are() {
    let Some(object) = compile(
        "LIMITS char s[64] SCRATCH;\n\
         static __attribute__((noinline)) int c(int x);\n\
         static __attribute__((noinline)) int b(int x) { return x > 100 ? x : c(x + 1); }\n\
         static __attribute__((noinline)) int c(int x) { return b(x * 2) + s[63]; }\n\
         SEC(\"dpu/call\") int f(void *p) { return b(3); }",
    ) else {
        return;
    };
    let linked = link(&object).unwrap();
    let image = image(&linked);
    let slots: Vec<u64> = image.code().collect();
    ebpf::check_image(&image, &slots, &[]).unwrap();
}

#[test]
fn other_files_are_told_apart() {
    assert!(matches!(link(b""), Err(LinkError::NotElf)));
    assert!(matches!(link(b"#include <dpu.h>"), Err(LinkError::NotElf)));
    let mut x86 = TWO_SECTIONS.to_vec();
    x86[18] = 62;
    assert!(matches!(link(&x86), Err(LinkError::NotBpf)));
    for cut in 0..TWO_SECTIONS.len() {
        assert!(link(&TWO_SECTIONS[..cut]).is_err(), "cut at {cut}");
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = link(&bytes);
        let mut object = b"\x7fELF\x02\x01\x01".to_vec();
        object.extend(bytes);
        let _ = link(&object);
    }

    /// Whatever is damaged, the outcome is an error or an image that parses.
    #[test]
    fn damaged_objects_do_not_panic(
        which: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut object = if which { TWO_SECTIONS } else { MAPS }.to_vec();
        for (index, value) in damage {
            let at = index.index(object.len());
            object[at] = value;
        }
        if let Ok(linked) = link(&object) {
            prop_assert!(Image::parse(&linked.image).is_ok());
            for pc in 0..linked.instructions {
                let _ = linked.locate(pc);
            }
        }
    }
}
