//! Encodings against clang's assembler, all forms with the values at their edges.

use std::collections::BTreeSet;
use std::format;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::string::{String, ToString};
use std::vec::Vec;

use super::*;

/// What was encoded, and how an assembler would be told.
struct Samples(Vec<(u32, String)>);

const SIZES: [Size; 2] = [Size::W, Size::X];
const REGS: [u8; 5] = [0, 1, 17, 29, 30];
const CELLS: [Cell; 7] = [
    Cell::U8,
    Cell::U16,
    Cell::U32,
    Cell::U64,
    Cell::S8,
    Cell::S16,
    Cell::S32,
];
const CONDITIONS: [(Cond, &str); 12] = [
    (Cond::Eq, "eq"),
    (Cond::Ne, "ne"),
    (Cond::Hs, "hs"),
    (Cond::Lo, "lo"),
    (Cond::Mi, "mi"),
    (Cond::Pl, "pl"),
    (Cond::Hi, "hi"),
    (Cond::Ls, "ls"),
    (Cond::Ge, "ge"),
    (Cond::Lt, "lt"),
    (Cond::Gt, "gt"),
    (Cond::Le, "le"),
];
const SUMS: [(Sum, &str); 4] = [
    (Sum::Add, "add"),
    (Sum::Adds, "adds"),
    (Sum::Sub, "sub"),
    (Sum::Subs, "subs"),
];
const LOGICS: [(Logic, &str); 4] = [
    (Logic::And, "and"),
    (Logic::Orr, "orr"),
    (Logic::Eor, "eor"),
    (Logic::Ands, "ands"),
];

/// A register's name; 31 is the zero register.
fn name(size: Size, reg: Reg) -> String {
    let letter = if size == Size::X { 'x' } else { 'w' };
    if reg.0 == 31 {
        format!("{letter}zr")
    } else {
        format!("{letter}{}", reg.0)
    }
}

/// A base register's name; 31 is the stack pointer.
fn base(size: Size, reg: Reg) -> String {
    match (size, reg.0) {
        (Size::X, 31) => "sp".to_string(),
        (Size::W, 31) => "wsp".to_string(),
        _ => name(size, reg),
    }
}

impl Samples {
    fn add(&mut self, word: u32, text: String) {
        self.0.push((word, text));
    }

    fn all() -> Samples {
        let mut samples = Samples(Vec::new());
        samples.sums();
        samples.logic();
        samples.moves();
        samples.bit_fields();
        samples.branches();
        samples.memory();
        samples.three_registers();
        samples
    }

    fn sums(&mut self) {
        for (sum, text) in SUMS {
            let sets = matches!(sum, Sum::Adds | Sum::Subs);
            for size in SIZES {
                for imm in [0, 1, 16, 0x7ff, 0xfff, 0x1000, 0x7ff000, 0xfff000] {
                    for (d, n) in [(0, 1), (30, 29), (31, 31), (17, 31)] {
                        let (d, n) = (Reg(d), Reg(n));
                        let word = sum_imm(sum, size, d, n, imm).expect("it can be encoded");
                        let d = if sets { name(size, d) } else { base(size, d) };
                        self.add(word, format!("{text} {d}, {}, #{imm}", base(size, n)));
                    }
                }
                for (d, n, m) in [(0, 1, 2), (30, 29, 28), (31, 31, 31), (3, 31, 17)] {
                    let (d, n, m) = (Reg(d), Reg(n), Reg(m));
                    let names = format!("{}, {}, {}", name(size, d), name(size, n), name(size, m));
                    self.add(super::sum(sum, size, d, n, m), format!("{text} {names}"));
                    for by in [1, 12, 31, 32, 63] {
                        if by < size.bits() {
                            let word = sum_shifted(sum, size, d, n, m, by);
                            self.add(word, format!("{text} {names}, lsl #{by}"));
                        }
                    }
                }
            }
            for (d, n, m) in [(0, 1, 2), (30, 29, 28), (31, 31, 31), (3, 31, 17)] {
                let (d, n, m) = (Reg(d), Reg(n), Reg(m));
                let to = if sets {
                    name(Size::X, d)
                } else {
                    base(Size::X, d)
                };
                let (from, half) = (base(Size::X, n), name(Size::W, m));
                self.add(
                    sum_half(sum, d, n, m),
                    format!("{text} {to}, {from}, {half}, uxtw"),
                );
            }
        }
    }

    fn logic(&mut self) {
        for (logic, text) in LOGICS {
            for size in SIZES {
                for (d, n, m) in [(0, 1, 2), (30, 29, 28), (31, 31, 31), (3, 31, 17)] {
                    let (d, n, m) = (Reg(d), Reg(n), Reg(m));
                    let names = format!("{}, {}, {}", name(size, d), name(size, n), name(size, m));
                    self.add(
                        super::logic(logic, size, d, n, m),
                        format!("{text} {names}"),
                    );
                }
            }
        }
        // Every number that has an encoding, each for one operation.
        for (index, imm) in bitmasks(Size::X).into_iter().enumerate() {
            let (logic, text) = LOGICS[index % 4];
            let (d, n) = (Reg(REGS[index % 5]), Reg(REGS[index % 3]));
            let word = logic_imm(logic, Size::X, d, n, imm).expect("it can be encoded");
            let (d, n) = (name(Size::X, d), name(Size::X, n));
            self.add(word, format!("{text} {d}, {n}, #{imm:#x}"));
        }
        for (index, imm) in bitmasks(Size::W).into_iter().enumerate() {
            let (logic, text) = LOGICS[index % 4];
            let (d, n) = (Reg(REGS[index % 3]), Reg(REGS[index % 5]));
            let word = logic_imm(logic, Size::W, d, n, imm).expect("it can be encoded");
            let (d, n) = (name(Size::W, d), name(Size::W, n));
            self.add(word, format!("{text} {d}, {n}, #{imm:#x}"));
        }
    }

    fn moves(&mut self) {
        let wides = [
            (Wide::Movn, "movn"),
            (Wide::Movz, "movz"),
            (Wide::Movk, "movk"),
        ];
        for (wide, text) in wides {
            for size in SIZES {
                for quarter in 0..size.bits() / 16 {
                    for imm in [0, 1, 0x7fff, 0x8000, 0xffff] {
                        for d in [0, 30, 31] {
                            let word = move_wide(wide, size, Reg(d), imm, quarter);
                            let (d, by) = (name(size, Reg(d)), quarter * 16);
                            self.add(word, format!("{text} {d}, #{imm}, lsl #{by}"));
                        }
                    }
                }
            }
        }
        for size in SIZES {
            for (d, m) in [(0, 1), (30, 17), (31, 0), (0, 31)] {
                let (d, m) = (Reg(d), Reg(m));
                let text = format!("mov {}, {}", name(size, d), name(size, m));
                self.add(mov(size, d, m), text);
            }
        }
    }

    fn bit_fields(&mut self) {
        for size in SIZES {
            let (d, n) = (Reg(17), Reg(30));
            let (to, from, half) = (name(size, d), name(size, n), name(Size::W, n));
            for (low, letter) in [(8, 'b'), (16, 'h')] {
                let word = extend(Bits::Signed, size, d, n, low);
                self.add(word, format!("sxt{letter} {to}, {half}"));
            }
            for by in 0..size.bits() {
                self.add(lsl_imm(size, d, n, by), format!("lsl {to}, {from}, #{by}"));
                self.add(lsr_imm(size, d, n, by), format!("lsr {to}, {from}, #{by}"));
                self.add(asr_imm(size, d, n, by), format!("asr {to}, {from}, #{by}"));
                for low in [1, 2, size.bits() - by] {
                    if by + low <= size.bits() && low > 0 {
                        let word = extract(Bits::Unsigned, size, d, n, by, low);
                        self.add(word, format!("ubfx {to}, {from}, #{by}, #{low}"));
                        let word = extract(Bits::Signed, size, d, n, by, low);
                        self.add(word, format!("sbfx {to}, {from}, #{by}, #{low}"));
                    }
                }
            }
        }
        for (low, letter) in [(8, 'b'), (16, 'h')] {
            let word = extend(Bits::Unsigned, Size::W, Reg(1), Reg(2), low);
            self.add(word, format!("uxt{letter} w1, w2"));
        }
        self.add(
            extend(Bits::Signed, Size::X, Reg(1), Reg(2), 32),
            "sxtw x1, w2".to_string(),
        );
        for bytes in [0, 1, 2, 3, 4, -1, -4, 1 << 19, (1 << 20) - 1, -(1 << 20)] {
            self.add(adr(Reg(5), bytes), format!("adr x5, .{bytes:+}"));
        }
    }

    fn branches(&mut self) {
        for at in [0, 1, -1, 1000, (1 << 25) - 1, -(1 << 25)] {
            let bytes = i64::from(at) * 4;
            self.add(b(at), format!("b .{bytes:+}"));
        }
        for at in [0, 1, -1, 1000, (1 << 18) - 1, -(1 << 18)] {
            let bytes = i64::from(at) * 4;
            for (cond, text) in CONDITIONS {
                self.add(b_cond(cond, at), format!("b.{text} .{bytes:+}"));
            }
            for size in SIZES {
                for t in [0, 30, 31] {
                    let reg = name(size, Reg(t));
                    self.add(cbz(size, Reg(t), at), format!("cbz {reg}, .{bytes:+}"));
                    self.add(cbnz(size, Reg(t), at), format!("cbnz {reg}, .{bytes:+}"));
                }
            }
        }
        for n in REGS {
            self.add(br(Reg(n)), format!("br x{n}"));
            self.add(ret(Reg(n)), format!("ret x{n}"));
        }
        self.add(CSDB, "csdb".to_string());
    }

    fn memory(&mut self) {
        for way in [Move::Load, Move::Store] {
            for cell in CELLS {
                let is_signed = matches!(cell, Cell::S8 | Cell::S16 | Cell::S32);
                if way == Move::Store && is_signed {
                    continue;
                }
                let (letter, t_size) = match cell {
                    Cell::U8 => ("b", Size::W),
                    Cell::U16 => ("h", Size::W),
                    Cell::U32 => ("", Size::W),
                    Cell::U64 => ("", Size::X),
                    Cell::S8 => ("sb", Size::X),
                    Cell::S16 => ("sh", Size::X),
                    Cell::S32 => ("sw", Size::X),
                };
                let (scaled, unscaled) = match way {
                    Move::Load => ("ldr", "ldur"),
                    Move::Store => ("str", "stur"),
                };
                let bytes = cell.bytes() as i32;
                for (t, n) in [(0, 1), (31, 31), (30, 17)] {
                    let (t, n) = (Reg(t), Reg(n));
                    let (reg, at) = (name(t_size, t), base(Size::X, n));
                    for offset in [0, 1, 5, 2047, 4095].map(|k| k * bytes) {
                        let word = mem_imm(way, cell, t, n, offset).expect("it can be encoded");
                        self.add(word, format!("{scaled}{letter} {reg}, [{at}, #{offset}]"));
                    }
                    for offset in [-256, -255, -8, -1, 1, 255] {
                        let word = mem_imm(way, cell, t, n, offset).expect("it can be encoded");
                        let aligned = offset >= 0 && offset % bytes == 0;
                        let verb = if aligned { scaled } else { unscaled };
                        self.add(word, format!("{verb}{letter} {reg}, [{at}, #{offset}]"));
                    }
                    for m in [0, 30, 31] {
                        let m = Reg(m);
                        let word = mem_reg(way, cell, t, n, m, Index::W);
                        let half = name(Size::W, m);
                        self.add(
                            word,
                            format!("{scaled}{letter} {reg}, [{at}, {half}, uxtw]"),
                        );
                        let word = mem_reg(way, cell, t, n, m, Index::X);
                        let whole = name(Size::X, m);
                        self.add(word, format!("{scaled}{letter} {reg}, [{at}, {whole}]"));
                        let word = mem_reg(way, cell, t, n, m, Index::Scaled);
                        let by = bytes.ilog2();
                        let text = format!("{scaled}{letter} {reg}, [{at}, {whole}, lsl #{by}]");
                        self.add(word, text);
                    }
                }
            }
            let verb = if way == Move::Load { "ldp" } else { "stp" };
            for offset in [0, 8, -8, 504, -512] {
                for (t, t2, n) in [(0, 1, 2), (29, 30, 31), (19, 20, 0)] {
                    let (t, t2, n) = (Reg(t), Reg(t2), Reg(n));
                    let (regs, at) = (format!("x{}, x{}", t.0, t2.0), base(Size::X, n));
                    let word = pair(way, t, t2, n, offset);
                    self.add(word, format!("{verb} {regs}, [{at}, #{offset}]"));
                }
            }
        }
    }

    fn three_registers(&mut self) {
        for size in SIZES {
            for (d, n, m, a) in [(0, 1, 2, 3), (30, 29, 28, 27), (31, 31, 31, 31)] {
                let (d, n, m, a) = (Reg(d), Reg(n), Reg(m), Reg(a));
                let names = format!("{}, {}, {}", name(size, d), name(size, n), name(size, m));
                for (cond, text) in CONDITIONS {
                    self.add(csel(size, d, n, m, cond), format!("csel {names}, {text}"));
                }
                for (op, text) in [
                    (Two::Udiv, "udiv"),
                    (Two::Sdiv, "sdiv"),
                    (Two::Lsl, "lsl"),
                    (Two::Lsr, "lsr"),
                    (Two::Asr, "asr"),
                ] {
                    self.add(two(op, size, d, n, m), format!("{text} {names}"));
                }
                let last = name(size, a);
                self.add(madd(size, d, n, m, a), format!("madd {names}, {last}"));
                self.add(msub(size, d, n, m, a), format!("msub {names}, {last}"));
                let (to, from) = (name(size, d), name(size, n));
                let word = reverse(Reverse::Each16, size, d, n);
                self.add(word, format!("rev16 {to}, {from}"));
                let text = if size == Size::X { "rev32" } else { "rev" };
                let word = reverse(Reverse::Each32, size, d, n);
                self.add(word, format!("{text} {to}, {from}"));
            }
        }
        let word = reverse(Reverse::All, Size::X, Reg(3), Reg(4));
        self.add(word, "rev x3, x4".to_string());
    }
}

/// Every number that logical operations take, made as the manual says they are: elements of 2 to
/// 64 bits, runs of ones in them, rotated.
fn bitmasks(size: Size) -> BTreeSet<u64> {
    let mut all = BTreeSet::new();
    for log in 1..=size.bits().ilog2() {
        let bits = 1_u32 << log;
        for ones in 1..bits {
            for right in 0..bits {
                let run = (1_u128 << ones) - 1;
                let twice = run | run << bits;
                let element = twice >> right & ((1 << bits) - 1);
                let mut value = 0;
                for at in (0..size.bits()).step_by(bits as usize) {
                    value |= element << at;
                }
                all.insert(value as u64);
            }
        }
    }
    all
}

/// The words that clang's assembler makes of lines.
fn assemble(lines: &[&str]) -> Vec<u32> {
    let folder: PathBuf = std::env::temp_dir().join(format!("a64-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder can be made");
    let (source, object) = (folder.join("a.s"), folder.join("a.o"));
    let text = format!(".arch armv8.5-a\n{}\n", lines.join("\n"));
    fs::write(&source, text).expect("the file can be written");
    let run = Command::new("clang")
        .args(["--target=aarch64-none-elf", "-c", "-o"])
        .arg(&object)
        .arg(&source)
        .output()
        .expect("clang is there");
    let why = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "clang: {why}");
    let elf = fs::read(&object).expect("clang wrote it");
    fs::remove_dir_all(&folder).expect("the folder goes away");
    text_of(&elf).expect("clang wrote a section of code")
}

/// The words of the section `.text`, the only one of an ELF file that holds code.
fn text_of(elf: &[u8]) -> Option<Vec<u32>> {
    let number = |at: usize, len: usize| {
        let bytes = elf.get(at..at + len)?.iter().rev();
        Some(bytes.fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte)))
    };
    let (table, each, count) = (number(40, 8)?, number(58, 2)?, number(60, 2)?);
    let section = (0..count)
        .map(|index| table + index * each)
        .find(|&at| number(at + 8, 8).is_some_and(|flags| flags & 4 != 0))?;
    let (from, len) = (number(section + 24, 8)?, number(section + 32, 8)?);
    let words = elf.get(from..from + len)?.as_chunks().0;
    Some(words.iter().map(|&word| u32::from_le_bytes(word)).collect())
}

#[test]
fn an_assembler_makes_the_same_words() {
    let samples = Samples::all().0;
    assert!(samples.len() > 8000, "only {} samples", samples.len());
    let lines: Vec<&str> = samples.iter().map(|(_, text)| text.as_str()).collect();
    let words = assemble(&lines);
    assert_eq!(words.len(), samples.len());
    for ((word, text), expected) in samples.iter().zip(words) {
        assert_eq!(
            *word, expected,
            "{text}: {word:#010x}, not {expected:#010x}"
        );
    }
}

#[test]
fn the_inverse_of_a_condition_is_its_opposite() {
    for (cond, _) in CONDITIONS {
        assert_eq!(cond.inverse().code(), cond.code() ^ 1);
        assert_eq!(cond.inverse().inverse(), cond);
    }
}

#[test]
fn what_has_no_encoding_is_refused() {
    let (r0, r1) = (Reg(0), Reg(1));
    for imm in [0x1001, 0x0100_0000, u32::MAX, 0x00ff_f001] {
        assert_eq!(sum_imm(Sum::Add, Size::X, r0, r1, imm), None, "{imm:#x}");
    }
    let (masks, halves) = (bitmasks(Size::X), bitmasks(Size::W));
    assert_eq!((masks.len(), halves.len()), (5334, 1302));
    let mut number = 1_u64;
    for _ in 0..20_000 {
        // Numbers of all kinds, near those that can be encoded too.
        number = number.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        let sparse = number & number.rotate_left(21) & number.rotate_left(42);
        for value in [number, sparse, !sparse, number >> 40, 0, u64::MAX] {
            let has = logic_imm(Logic::And, Size::X, r0, r1, value).is_some();
            assert_eq!(has, masks.contains(&value), "{value:#x}");
            let has = logic_imm(Logic::And, Size::W, r0, r1, value).is_some();
            assert_eq!(has, halves.contains(&value), "{value:#x}");
        }
    }
    for &mask in &masks {
        for bit in 0..64 {
            let value = mask ^ 1 << bit;
            let has = logic_imm(Logic::Orr, Size::X, r0, r1, value).is_some();
            assert_eq!(has, masks.contains(&value), "{value:#x}");
        }
    }
    for (cell, bytes) in [
        (Cell::U8, 4096),
        (Cell::U16, 8192),
        (Cell::U16, 257),
        (Cell::U64, 32768),
        (Cell::U64, 1023),
        (Cell::U32, -257),
        (Cell::S8, i32::MIN),
        (Cell::U8, i32::MAX),
    ] {
        assert_eq!(mem_imm(Move::Load, cell, r0, r1, bytes), None, "{bytes}");
    }
}
