//! What the check refuses, and in which words.

use ebpf::isa::{Slot, op};
use ebpf::limits::{CODE_SLOTS_MAX, FUNCTIONS_MAX};
use ebpf::{
    EntryKind, Function, HelperSpec, Image, ImageBuilder, MapSpec, Refusal, RefusalKind,
    asm::assemble, check, check_image,
};

const HELPERS: &[HelperSpec] = &[HelperSpec {
    id: 0x1000,
    name: "dpu_read",
    length_arg: Some(3),
}];

fn refusal(slots: &[u64], entries: &[u32]) -> String {
    check(slots, entries, HELPERS)
        .expect_err("it is refused")
        .to_string()
}

fn refused(text: &str) -> String {
    refusal(&assemble(text).unwrap(), &[0])
}

#[test]
fn functions_cover_the_code() {
    let text = "call local f\nexit\nexit\nf:\nlddw r0, 1\nexit\nentry:\nmov r0, 1\nexit";
    let slots = assemble(text).unwrap();
    let checked = check(&slots, &[0, 6], HELPERS).unwrap();
    let expected = [(0, 3), (3, 3), (6, 2)].map(|(start, len)| Function { start, len });
    assert_eq!(checked.functions(), expected);
    assert_eq!(checked.slots(), 8);
    assert_eq!(checked.function_at(3), Some(expected[1]));
    assert_eq!(checked.function_at(4), None);
}

#[test]
fn control_stays_where_it_may_be() {
    assert_eq!(refusal(&[], &[]), "instruction 0: the program has no code");
    let long = vec![0x95; CODE_SLOTS_MAX + 1];
    assert_eq!(
        refusal(&long, &[0]),
        "instruction 0: the program has 4097 slots, more than 4096"
    );
    assert!(check(&long[1..], &[0], HELPERS).is_ok());
    assert_eq!(
        refused("ja +1\nexit"),
        "instruction 0: jumps to 2, outside the code"
    );
    assert_eq!(
        refused("mov r0, 0\nja -3\nexit"),
        "instruction 1: jumps to -1, outside the code"
    );
    assert_eq!(
        refused("jeq r1, 0, +1\nlddw r0, 1\nexit"),
        "instruction 0: jumps to 2, inside a 64-bit immediate load"
    );
    assert_eq!(
        refused("call local f\nja f\nf:\nmov r0, 0\nexit"),
        "instruction 1: jumps to 2, which belongs to another function"
    );
    assert_eq!(
        refused("call local f\nexit\nf:\nja -2"),
        "instruction 2: jumps to 1, which belongs to another function"
    );
    assert_eq!(
        refused("call local +1\nexit"),
        "instruction 0: calls 2, outside the code"
    );
    assert_eq!(
        refused("call local +1\nlddw r0, 1\nexit"),
        "instruction 0: calls 2, inside a 64-bit immediate load"
    );
    let falls = "the function's last instruction is neither an exit nor a jump";
    assert_eq!(
        refused("exit\nmov r0, 0"),
        format!("instruction 1: {falls}")
    );
    assert_eq!(refused("jeq r0, 0, -1"), format!("instruction 0: {falls}"));
    assert_eq!(refused("lddw r0, 1"), format!("instruction 0: {falls}"));
    assert_eq!(
        refused("call local f\nf:\nexit"),
        format!("instruction 0: {falls}")
    );
    assert!(check(&assemble("ja -1").unwrap(), &[0], HELPERS).is_ok());
}

#[test]
fn entries_are_instructions() {
    let slots = assemble("lddw r0, 1\nexit").unwrap();
    assert_eq!(
        refusal(&slots, &[0, 3]),
        "instruction 3: an entry lies outside the code"
    );
    assert_eq!(
        refusal(&slots, &[1]),
        "instruction 1: an entry lies inside a 64-bit immediate load"
    );
    // What stands before the first entry is a function too, and runs into it.
    assert_eq!(
        refusal(&slots, &[2]),
        "instruction 0: the function's last instruction is neither an exit nor a jump"
    );
}

#[test]
fn there_are_only_so_many_functions() {
    let slots = vec![0x95; FUNCTIONS_MAX + 1];
    let entries: Vec<u32> = (0..=FUNCTIONS_MAX as u32).collect();
    let refusal = check(&slots, &entries, HELPERS).unwrap_err();
    assert_eq!(
        refusal,
        Refusal {
            pc: FUNCTIONS_MAX as u32,
            why: RefusalKind::TooManyFunctions
        }
    );
    assert!(check(&slots, &entries[1..], HELPERS).is_err());
    assert!(check(&slots[1..], &entries[..FUNCTIONS_MAX], HELPERS).is_ok());
}

#[test]
fn helpers_are_known() {
    assert!(check(&assemble("call 0x1000\nexit").unwrap(), &[0], HELPERS).is_ok());
    assert_eq!(
        refused("call 0x1001\nexit"),
        "instruction 0: there is no helper 0x1001"
    );
}

#[test]
fn unused_fields_are_zero() {
    let cases = [
        (
            Slot::new(op::ADD64_K, 0, 1, 0, 0),
            "the source field has no meaning here (opcode 0x07)",
        ),
        (
            Slot::new(op::ADD64_X, 0, 1, 0, 1),
            "the immediate field has no meaning here (opcode 0x0f)",
        ),
        (
            Slot::new(op::ADD32_X, 0, 1, 1, 0),
            "the offset field has no meaning here (opcode 0x0c)",
        ),
        (
            Slot::new(op::DIV64_K, 0, 0, 2, 1),
            "the offset field has no meaning here (opcode 0x37)",
        ),
        (
            Slot::new(op::MOV32_X, 0, 0, 32, 0),
            "the offset field has no meaning here (opcode 0xbc)",
        ),
        (
            Slot::new(op::MOV64_K, 0, 0, 8, 0),
            "the offset field has no meaning here (opcode 0xb7)",
        ),
        (
            Slot::new(op::NEG64, 0, 0, 0, 1),
            "the immediate field has no meaning here (opcode 0x87)",
        ),
        (
            Slot::new(op::BE, 0, 0, 0, 8),
            "the immediate field has no meaning here (opcode 0xdc)",
        ),
        (
            Slot::new(op::JA, 1, 0, 0, 0),
            "the destination field has no meaning here (opcode 0x05)",
        ),
        (
            Slot::new(op::GOTOL, 0, 0, 1, 0),
            "the offset field has no meaning here (opcode 0x06)",
        ),
        (
            Slot::new(op::CALL, 0, 0, 1, 0x1000),
            "the offset field has no meaning here (opcode 0x85)",
        ),
        (
            Slot::new(op::EXIT, 0, 0, 0, 1),
            "the immediate field has no meaning here (opcode 0x95)",
        ),
        (
            Slot::new(op::LDXW, 0, 1, 0, 1),
            "the immediate field has no meaning here (opcode 0x61)",
        ),
        (
            Slot::new(op::STW, 0, 1, 0, 1),
            "the source field has no meaning here (opcode 0x62)",
        ),
        (
            Slot::new(op::STXW, 0, 1, 0, 1),
            "the immediate field has no meaning here (opcode 0x63)",
        ),
        (
            Slot::new(op::ATOMIC64, 0, 1, 0, 2),
            "the immediate field has no meaning here (opcode 0xdb)",
        ),
        (
            Slot::new(op::CALL, 0, 2, 0, 1),
            "a call of kind 2 is not supported (opcode 0x85)",
        ),
        (
            Slot::new(op::LDDW, 0, 1, 0, 1),
            "a 64-bit immediate of kind 1 is not supported (opcode 0x18)",
        ),
        (
            Slot::new(op::JEQ64_X, 11, 1, 0, 0),
            "the destination register is above r10 (opcode 0x1d)",
        ),
        (
            Slot::new(op::JEQ64_X, 1, 15, 0, 0),
            "the source register is above r10 (opcode 0x1d)",
        ),
        (
            Slot::new(op::LDXW, 10, 1, 0, 0),
            "r10 may not be written (opcode 0x61)",
        ),
        (
            Slot::new(op::ATOMIC64, 1, 10, 0, 1),
            "r10 may not be written (opcode 0xdb)",
        ),
        (
            Slot::new(0x40, 0, 0, 0, 0),
            "packet access instructions are not supported (opcode 0x40)",
        ),
        (Slot::new(0xff, 0, 0, 0, 0), "unknown opcode (opcode 0xff)"),
        (Slot::new(0x8c, 0, 0, 0, 0), "unknown opcode (opcode 0x8c)"),
        (Slot::new(0x99, 0, 0, 0, 0), "unknown opcode (opcode 0x99)"),
        (Slot::new(0xd3, 0, 0, 0, 0), "unknown opcode (opcode 0xd3)"),
        (Slot::new(0xdf, 0, 0, 0, 16), "unknown opcode (opcode 0xdf)"),
        (Slot::new(0x0d, 0, 0, 0, 0), "unknown opcode (opcode 0x0d)"),
    ];
    for (slot, words) in cases {
        let second = if slot.is_wide() { 0 } else { 0x95 };
        assert_eq!(
            refusal(&[slot.0, second, 0x95], &[0]),
            format!("instruction 0: {words}")
        );
    }
    let words = "the second half of the 64-bit immediate is missing or malformed";
    let wide = u64::from(op::LDDW);
    for slots in [
        &[wide][..],
        &[wide, 1, 0x95],
        &[wide, 1 << 8, 0x95],
        &[wide | 3 << 12, 1 << 32],
    ] {
        assert_eq!(
            refusal(slots, &[0]),
            format!("instruction 0: {words} (opcode 0x18)")
        );
    }
}

#[test]
fn an_image_s_code_may_name_what_it_declares() {
    let image = |text: &str| {
        let spec = MapSpec {
            kind: 2,
            key_bytes: 4,
            value_bytes: 8,
            entries_max: 1,
            ..MapSpec::default()
        };
        let builder = ImageBuilder::new().scratch(4096, 0).map(spec, &[]);
        let slots = assemble(text).unwrap();
        let bytes = builder
            .entry(EntryKind::Call, 0)
            .code(&slots)
            .build()
            .unwrap();
        let image = Image::parse(&bytes).unwrap();
        check_image(&image, &slots, HELPERS)
            .map(|_| ())
            .map_err(|refusal| refusal.to_string())
    };
    assert_eq!(image("lddw r1, scratch+4096\nexit"), Ok(()));
    let words = "instruction 0: names byte 4097 of a scratch of 4096 bytes";
    assert_eq!(image("lddw r1, scratch+4097\nexit"), Err(words.to_owned()));
    assert_eq!(image("lddw r1, map 0\nlddw r1, map 0+4\nexit"), Ok(()));
    assert_eq!(
        image("exit\nlddw r1, map 1\nexit"),
        Err("instruction 1: there is no map 1".to_owned())
    );
    assert_eq!(
        refused("lddw r1, map 0\nexit"),
        "instruction 0: there is no map 0"
    );
}
