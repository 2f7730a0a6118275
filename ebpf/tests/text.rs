//! The assembler's and disassembler's words.

use ebpf::asm::{assemble, disassemble};

#[test]
fn the_words_of_every_instruction() {
    // Each line is printed as it stands; what differs in sense but not in slots is below.
    let text = "\
add r1, r2
sub32 r3, -4
sdiv r1, 7
smod32 r1, r2
mov r0, 2147483647
arsh32 r5, r6
neg r4
neg32 r4
movsx832 r1, r2
movsx3264 r1, r2
le16 r0
be64 r0
bswap32 r0
ldxb r0, [r1]
ldxdw r0, [r10-8]
ldxsw r0, [r1+32767]
stb [r1], 255
stdw [r10-512], -1
stxh [r1+4], r2
lock add [r1+8], r2
lock fetch xor32 [r1], r2
lock xchg [r1], r2
lock cmpxchg32 [r1-4], r2
lddw r1, 0xfedcba9876543210
lddw r1, scratch+4096
lddw r1, map 3
lddw r1, map 3+16
ja +1
ja32 -70000
jsgt r1, r2, +3
jset32 r1, -1, -32768
call 0x1000
call local +5
exit
";
    let slots = assemble(text).unwrap();
    assert_eq!(slots.len(), 34 + 4);
    assert_eq!(disassemble(&slots), text);
}

#[test]
fn other_ways_to_write_it() {
    for (one, other) in [
        ("add %r1, %r2", "add64 r1,r2"),
        ("swap16 r1", "bswap16 r1"),
        ("gotol +1\nexit", "ja32 +1\nexit"),
        ("mov r1, 0xffffffff", "mov r1, -1"),
        ("ldxw r1, [r2 + 0x10]", "ldxw r1, [r2+16]"),
        ("  exit  # the end", "exit ; too"),
        ("here: ja here", "ja -1"),
        (
            "jeq r0, 0, exit\nmov r0, 1\nexit",
            "jeq r0, 0, +1\nmov r0, 1\nexit",
        ),
        (
            "call local f\nexit\nf:\nlddw r0, 1\nexit",
            "call local +1\nexit\nlddw r0, 1\nexit",
        ),
        ("lddw r0, -1", "lddw r0, 0xffffffffffffffff"),
    ] {
        assert_eq!(assemble(one).unwrap(), assemble(other).unwrap(), "{one}");
    }
}

#[test]
fn what_is_wrong_and_where() {
    for (text, words) in [
        ("exit\nfrob r1", "line 2: \"frob\" is no instruction"),
        ("add r1", "line 1: needs 2 operands, not 1"),
        ("add r11, 1", "line 1: \"r11\" is no register"),
        ("add r1, x", "line 1: \"x\" is no number"),
        (
            "mov r1, 4294967296",
            "line 1: 4294967296 does not fit 32 bits",
        ),
        (
            "lddw r1, 18446744073709551616",
            "line 1: \"18446744073709551616\" is no number",
        ),
        ("ldxw r1, r2", "line 1: \"r2\" is no place in memory"),
        ("ldxw r1, [r2+32768]", "line 1: 32768 is no 16-bit offset"),
        ("ldxsdw r1, [r2]", "line 1: \"ldxsdw\" is no instruction"),
        (
            "lock nand [r1], r2",
            "line 1: \"nand [r1], r2\" is no atomic",
        ),
        (
            "lock fetch xchg [r1], r2",
            "line 1: \"xchg [r1], r2\" is no atomic",
        ),
        ("ja nowhere", "line 1: there is no label \"nowhere\""),
        ("a:\na:", "line 2: the label \"a\" is there twice"),
        ("ja +40000", "line 1: +40000 is too far away"),
        ("jeq r1, 0, 7", "line 1: \"7\" is no target"),
        (
            "call r2",
            "line 1: calls through a register are not supported",
        ),
        (
            "movsx3232 r1, r2",
            "line 1: \"movsx3232\" is no instruction",
        ),
    ] {
        assert_eq!(assemble(text).unwrap_err().to_string(), words);
    }
}

#[test]
fn what_is_no_instruction_becomes_a_comment() {
    let text = disassemble(&[0xff, 0x95]);
    assert_eq!(text, "# 0x00000000000000ff: unknown opcode\nexit\n");
    assert_eq!(assemble(&text).unwrap(), [0x95]);
}
