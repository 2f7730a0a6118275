//! An assembler of the uBPF dialect, for tests, examples and tools.
//!
//! One instruction to a line, `#` or `;` starts a comment, `name:` sets a label. Registers are
//! `r1` or `%r1`. Jumps go to a label, to `exit` (the last exit instruction) or by a distance in
//! slots from the next one, `+2`. What [`Instruction`]'s `Display` prints is understood, and
//! besides: `swap16` for `bswap16`, a `64` behind 64-bit arithmetic, `gotol` for `ja32`.

use core::fmt;
use std::borrow::ToOwned;
use std::collections::BTreeMap;
use std::format;
use std::string::String;
use std::vec::Vec;

use crate::instruction::{
    AluOp, AtomicOp, Condition, Instruction, Operand, Register, Size, SwapOrder, WideValue, Width,
};

/// Why a text could not be assembled, and in which line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AsmError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for AsmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

impl core::error::Error for AsmError {}

/// Translates a text into slots.
///
/// # Errors
/// The first line that cannot be understood, or whose label is nowhere or too far away.
pub fn assemble(text: &str) -> Result<Vec<u64>, AsmError> {
    let mut lines = Vec::new();
    let mut labels = BTreeMap::new();
    let mut slot = 0;
    for (index, line) in text.lines().enumerate() {
        let line = line.split(['#', ';']).next().unwrap_or_default().trim();
        let at_line = |why| AsmError {
            line: index + 1,
            why,
        };
        let line = match line.split_once(':') {
            Some((label, rest)) => {
                if labels.insert(label.trim().to_owned(), slot).is_some() {
                    return Err(at_line(format!("the label {label:?} is there twice")));
                }
                rest.trim()
            }
            None => line,
        };
        if line.is_empty() {
            continue;
        }
        let parsed = parse_line(line).map_err(at_line)?;
        if parsed.instruction == Instruction::Exit {
            labels.insert("exit".to_owned(), slot);
        }
        let length = parsed.instruction.slots() as i64;
        lines.push((index + 1, slot, parsed));
        slot += length;
    }
    let mut slots = Vec::new();
    for (line, at, parsed) in lines {
        let instruction = parsed
            .resolve(at, &labels)
            .map_err(|why| AsmError { line, why })?;
        let (first, second) = instruction.encode();
        slots.push(first);
        slots.extend(second);
    }
    Ok(slots)
}

/// Prints slots one instruction to a line, in words the assembler understands. Slots that are no
/// instruction become comments.
pub fn disassemble(slots: &[u64]) -> String {
    let mut text = String::new();
    let mut at = 0;
    while let Some(&slot) = slots.get(at) {
        match Instruction::decode(slot, slots.get(at + 1).copied()) {
            Ok(instruction) => {
                text.push_str(&format!("{instruction}\n"));
                at += instruction.slots();
            }
            Err(why) => {
                text.push_str(&format!("# {slot:#018x}: {why}\n"));
                at += 1;
            }
        }
    }
    text
}

/// An instruction whose target may still be a name.
struct Parsed {
    instruction: Instruction,
    label: Option<String>,
}

impl Parsed {
    fn resolve(self, at: i64, labels: &BTreeMap<String, i64>) -> Result<Instruction, String> {
        let Some(label) = self.label else {
            return Ok(self.instruction);
        };
        let target = labels
            .get(&label)
            .ok_or_else(|| format!("there is no label {label:?}"))?;
        let distance = target - at - 1;
        let far = |_| format!("{label:?} is too far away");
        Ok(match self.instruction {
            Instruction::Jump { long: true, .. } => Instruction::Jump {
                offset: distance.try_into().map_err(far)?,
                long: true,
            },
            Instruction::Jump { long: false, .. } => {
                let offset: i16 = distance.try_into().map_err(far)?;
                Instruction::Jump {
                    offset: offset.into(),
                    long: false,
                }
            }
            Instruction::JumpIf {
                width,
                condition,
                dst,
                src,
                ..
            } => {
                let offset = distance.try_into().map_err(far)?;
                Instruction::JumpIf {
                    width,
                    condition,
                    dst,
                    src,
                    offset,
                }
            }
            Instruction::CallLocal { .. } => Instruction::CallLocal {
                offset: distance.try_into().map_err(far)?,
            },
            other => other,
        })
    }
}

fn parse_line(line: &str) -> Result<Parsed, String> {
    let (mnemonic, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (mnemonic, rest) = match mnemonic {
        // `lock fetch add`, `lock xchg`: the operation is the word behind.
        "lock" => return parse_atomic(rest.trim()).map(plain),
        _ => (mnemonic, rest.trim()),
    };
    let operands: Vec<&str> = match rest {
        "" => Vec::new(),
        rest => rest.split(',').map(str::trim).collect(),
    };
    parse_control(mnemonic, &operands)
        .or_else(|| parse_memory(mnemonic, &operands).map(|parsed| parsed.map(plain)))
        .or_else(|| parse_alu(mnemonic, &operands).map(|parsed| parsed.map(plain)))
        .unwrap_or_else(|| Err(format!("{mnemonic:?} is no instruction")))
}

const fn plain(instruction: Instruction) -> Parsed {
    Parsed {
        instruction,
        label: None,
    }
}

/// Exactly `N` operands.
fn exactly<'t, const N: usize>(operands: &[&'t str]) -> Result<[&'t str; N], String> {
    operands
        .try_into()
        .map_err(|_| format!("needs {N} operands, not {}", operands.len()))
}

/// Jumps, calls, exit. None if the mnemonic is something else.
fn parse_control(mnemonic: &str, operands: &[&str]) -> Option<Result<Parsed, String>> {
    let parsed = match mnemonic {
        "exit" => exactly::<0>(operands).map(|_| plain(Instruction::Exit)),
        "ja" => exactly(operands).and_then(|[target]| parse_ja(target, false)),
        "ja32" | "gotol" => exactly(operands).and_then(|[target]| parse_ja(target, true)),
        "call" => exactly(operands).and_then(|[target]| parse_call(target)),
        _ => {
            let (stem, width) = stem_and_width(mnemonic);
            let condition = Condition::ALL
                .into_iter()
                .find(|condition| condition.name() == stem)?;
            exactly(operands).and_then(|[dst, src, target]| {
                let (dst, src) = (register(dst)?, operand(src)?);
                let (offset, label) = parse_target(target)?;
                let offset = offset
                    .try_into()
                    .map_err(|_| format!("{target} is too far away"))?;
                let instruction = Instruction::JumpIf {
                    width,
                    condition,
                    dst,
                    src,
                    offset,
                };
                Ok(Parsed { instruction, label })
            })
        }
    };
    Some(parsed)
}

fn parse_ja(target: &str, long: bool) -> Result<Parsed, String> {
    let (offset, label) = parse_target(target)?;
    if !long && i16::try_from(offset).is_err() {
        return Err(format!("{target} is too far away"));
    }
    Ok(Parsed {
        instruction: Instruction::Jump { offset, long },
        label,
    })
}

fn parse_call(target: &str) -> Result<Parsed, String> {
    if let Some(target) = target.strip_prefix("local") {
        let (offset, label) = parse_target(target.trim())?;
        return Ok(Parsed {
            instruction: Instruction::CallLocal { offset },
            label,
        });
    }
    if register(target).is_ok() {
        return Err("calls through a register are not supported".to_owned());
    }
    Ok(plain(Instruction::CallHelper {
        id: immediate(target)? as u32,
    }))
}

/// A distance, or a label whose distance is not known yet.
fn parse_target(target: &str) -> Result<(i32, Option<String>), String> {
    if target.starts_with(['+', '-']) {
        let distance = number(target)?;
        let distance = distance
            .try_into()
            .map_err(|_| format!("{target} is too far away"))?;
        return Ok((distance, None));
    }
    let is_name = target.starts_with(|first: char| first.is_alphabetic() || first == '_');
    if is_name {
        Ok((0, Some(target.to_owned())))
    } else {
        Err(format!("{target:?} is no target"))
    }
}

/// Loads and stores. None if the mnemonic is something else.
fn parse_memory(mnemonic: &str, operands: &[&str]) -> Option<Result<Instruction, String>> {
    if mnemonic == "lddw" {
        return Some(exactly(operands).and_then(|[dst, value]| {
            Ok(Instruction::LoadWide {
                dst: register(dst)?,
                value: wide_value(value)?,
            })
        }));
    }
    if let Some(rest) = mnemonic.strip_prefix("ldx") {
        let (rest, signed) = match rest.strip_prefix('s') {
            Some(rest) if rest != "dw" => (rest, true),
            _ => (rest, false),
        };
        let size = size(rest)?;
        return Some(exactly(operands).and_then(|[dst, from]| {
            let (base, offset) = place(from)?;
            Ok(Instruction::Load {
                size,
                signed,
                dst: register(dst)?,
                base,
                offset,
            })
        }));
    }
    let rest = mnemonic.strip_prefix("st")?;
    let (rest, is_register) = match rest.strip_prefix('x') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let size = size(rest)?;
    Some(exactly(operands).and_then(|[to, src]| {
        let (base, offset) = place(to)?;
        let src = if is_register {
            Operand::Register(register(src)?)
        } else {
            Operand::Immediate(immediate(src)?)
        };
        Ok(Instruction::Store {
            size,
            base,
            offset,
            src,
        })
    }))
}

/// What stands behind `lock`.
fn parse_atomic(text: &str) -> Result<Instruction, String> {
    let (text, is_fetch) = match text.strip_prefix("fetch") {
        Some(rest) => (rest.trim(), true),
        None => (text, false),
    };
    let (mnemonic, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let operands: Vec<&str> = rest.split(',').map(str::trim).collect();
    let (stem, width) = stem_and_width(mnemonic);
    let op = AtomicOp::ALL
        .into_iter()
        .find(|op| op.name() == stem && op.has_fetch_modifier() == is_fetch)
        .ok_or_else(|| format!("{text:?} is no atomic"))?;
    let [to, src] = exactly(&operands)?;
    let (base, offset) = place(to)?;
    Ok(Instruction::Atomic {
        width,
        op,
        base,
        offset,
        src: register(src)?,
    })
}

/// Arithmetic. None if the mnemonic is something else.
fn parse_alu(mnemonic: &str, operands: &[&str]) -> Option<Result<Instruction, String>> {
    if let Some(sizes) = mnemonic.strip_prefix("movsx") {
        let (from, width) = match sizes {
            "832" => (Size::Byte, Width::Bits32),
            "864" => (Size::Byte, Width::Bits64),
            "1632" => (Size::Half, Width::Bits32),
            "1664" => (Size::Half, Width::Bits64),
            "3264" => (Size::Word, Width::Bits64),
            _ => return None,
        };
        return Some(exactly(operands).and_then(|[dst, src]| {
            Ok(Instruction::MoveSigned {
                width,
                from,
                dst: register(dst)?,
                src: register(src)?,
            })
        }));
    }
    if let Some((order, size)) = swap(mnemonic) {
        return Some(exactly(operands).and_then(|[dst]| {
            Ok(Instruction::Swap {
                order,
                size,
                dst: register(dst)?,
            })
        }));
    }
    let (stem, width) = stem_and_width(mnemonic);
    if stem == "neg" {
        return Some(exactly(operands).and_then(|[dst]| {
            Ok(Instruction::Negate {
                width,
                dst: register(dst)?,
            })
        }));
    }
    let op = AluOp::ALL.into_iter().find(|op| op.name() == stem)?;
    Some(exactly(operands).and_then(|[dst, src]| {
        Ok(Instruction::Alu {
            width,
            op,
            dst: register(dst)?,
            src: operand(src)?,
        })
    }))
}

fn swap(mnemonic: &str) -> Option<(SwapOrder, Size)> {
    let split = mnemonic.find(|c: char| c.is_ascii_digit())?;
    let (stem, bits) = mnemonic.split_at(split);
    let order = match stem {
        "le" => SwapOrder::Little,
        "be" => SwapOrder::Big,
        "bswap" | "swap" => SwapOrder::Swap,
        _ => return None,
    };
    let size = match bits {
        "16" => Size::Half,
        "32" => Size::Word,
        "64" => Size::Double,
        _ => return None,
    };
    Some((order, size))
}

fn stem_and_width(mnemonic: &str) -> (&str, Width) {
    if let Some(stem) = mnemonic.strip_suffix("32") {
        return (stem, Width::Bits32);
    }
    (
        mnemonic.strip_suffix("64").unwrap_or(mnemonic),
        Width::Bits64,
    )
}

fn size(suffix: &str) -> Option<Size> {
    [Size::Byte, Size::Half, Size::Word, Size::Double]
        .into_iter()
        .find(|size| size.suffix() == suffix)
}

fn register(text: &str) -> Result<Register, String> {
    let digits = text.strip_prefix('%').unwrap_or(text).strip_prefix('r');
    digits
        .and_then(|digits| digits.parse().ok())
        .and_then(Register::new)
        .ok_or_else(|| format!("{text:?} is no register"))
}

fn operand(text: &str) -> Result<Operand, String> {
    match register(text) {
        Ok(register) => Ok(Operand::Register(register)),
        Err(_) => immediate(text).map(Operand::Immediate),
    }
}

/// `[r1+4]`, `[r1 - 4]`, `[r1]`.
fn place(text: &str) -> Result<(Register, i16), String> {
    let bad = || format!("{text:?} is no place in memory");
    let inside = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .ok_or_else(bad)?;
    let split = inside.find(['+', '-']).unwrap_or(inside.len());
    let (base, offset) = inside.split_at(split);
    let offset = if offset.is_empty() {
        0
    } else {
        number(offset)?
    };
    let offset = offset
        .try_into()
        .map_err(|_| format!("{offset} is no 16-bit offset"))?;
    Ok((register(base.trim())?, offset))
}

/// 32 bits, signed or unsigned.
fn immediate(text: &str) -> Result<i32, String> {
    let value = number(text)?;
    i32::try_from(value)
        .or_else(|_| u32::try_from(value).map(|value| value as i32))
        .map_err(|_| format!("{text} does not fit 32 bits"))
}

fn wide_value(text: &str) -> Result<WideValue, String> {
    let split = |rest: &str| -> Result<(u32, u32), String> {
        let (first, second) = rest.split_once('+').unwrap_or((rest, "0"));
        let part = |text: &str| {
            if text.trim().is_empty() {
                Ok(0)
            } else {
                immediate(text).map(|value| value as u32)
            }
        };
        Ok((part(first)?, part(second)?))
    };
    if let Some(rest) = text.strip_prefix("scratch") {
        return split(rest).map(|(_, offset)| WideValue::Scratch { offset });
    }
    if let Some(rest) = text.strip_prefix("map") {
        return split(rest).map(|(index, offset)| {
            if rest.contains('+') {
                WideValue::MapValue { index, offset }
            } else {
                WideValue::Map { index }
            }
        });
    }
    let value = number(text)?;
    i64::try_from(value)
        .map(|value| value as u64)
        .or_else(|_| u64::try_from(value))
        .map(WideValue::Number)
        .map_err(|_| format!("{text} does not fit 64 bits"))
}

/// Decimal or hexadecimal, with a sign or none.
fn number(text: &str) -> Result<i128, String> {
    let bad = || format!("{text:?} is no number");
    let text = text.trim();
    let (text, is_negative) = match text.strip_prefix('-') {
        Some(rest) => (rest.trim(), true),
        None => (text.strip_prefix('+').unwrap_or(text).trim(), false),
    };
    let magnitude = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse::<u64>(),
    };
    let magnitude = i128::from(magnitude.map_err(|_| bad())?);
    Ok(if is_negative { -magnitude } else { magnitude })
}
