//! The structure of a program, checked before it is kept.
//!
//! What passes is code of which every slot is understood: known instructions, zero where nothing
//! belongs, jumps that stay in their function, calls that lead to functions, helpers that exist,
//! and no function that runs off its end. It says nothing about what the program does with its
//! registers and memory; that is for a proof, or for the checks at run time.
//!
//! A *function* starts at slot 0, at each entry and at each target of a local call, and reaches to
//! the next such start. Its length is what entering it costs.

use core::fmt;

use heapless::Vec;

use crate::decode::Malformed;
use crate::host::HelperSpec;
use crate::image::Image;
use crate::instruction::{Instruction, WideValue};
use crate::isa::{self, Slot, op};
use crate::limits::{CODE_SLOTS_MAX, FUNCTIONS_MAX};

/// A stretch of code that is entered at its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Function {
    /// Its first slot.
    pub start: u32,
    /// Its slots.
    pub len: u32,
}

/// What the check found in a program: its functions. Small enough to keep beside the code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    functions: Vec<Function, FUNCTIONS_MAX>,
    slots: u32,
}

impl Checked {
    /// What is found in no code.
    pub(crate) const EMPTY: Checked = Checked {
        functions: Vec::new(),
        slots: 0,
    };

    /// The functions, by rising start; together they are the whole code.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// Slots of the code.
    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// The function that starts at a slot.
    pub fn function_at(&self, start: u32) -> Option<Function> {
        let index = self
            .functions
            .binary_search_by_key(&start, |function| function.start);
        self.functions.get(index.ok()?).copied()
    }
}

/// What an image declares that its code may name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resources {
    /// Bytes of scratch; a wide load may name its end, not more.
    pub scratch_bytes: u32,
    /// Maps.
    pub maps: u32,
}

/// Why a program was refused, and at which slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The instruction.
    pub pc: u32,
    /// What is wrong with it.
    pub why: RefusalKind,
}

/// What can be wrong with a program's structure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// There is no code.
    Empty,
    /// There is too much code.
    TooLong {
        /// Slots of it.
        slots: usize,
    },
    /// There are too many functions.
    TooManyFunctions,
    /// The slot is no instruction that may be used.
    Malformed {
        /// The opcode there.
        opcode: u8,
        /// What is wrong.
        why: Malformed,
    },
    /// An entry lies outside the code.
    EntryOutside,
    /// An entry lies in the second half of a wide instruction.
    EntryInsideWide,
    /// A jump leads out of the code.
    JumpOutside {
        /// Where it leads.
        target: i64,
    },
    /// A jump leads into another function.
    JumpIntoFunction {
        /// Where it leads.
        target: u32,
    },
    /// A jump leads into the second half of a wide instruction.
    JumpInsideWide {
        /// Where it leads.
        target: u32,
    },
    /// A call leads out of the code.
    CallOutside {
        /// Where it leads.
        target: i64,
    },
    /// A call leads into the second half of a wide instruction.
    CallInsideWide {
        /// Where it leads.
        target: u32,
    },
    /// The last instruction of a function goes on beyond its end.
    FallsOff,
    /// There is no such helper.
    UnknownHelper {
        /// Its number.
        helper: u32,
    },
    /// A wide load names scratch beyond its end.
    ScratchOffset {
        /// The offset.
        offset: u32,
        /// Bytes of scratch.
        scratch_bytes: u32,
    },
    /// A wide load names a map that is not declared.
    NoMap {
        /// Its index.
        index: u32,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}: {}", self.pc, self.why)
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RefusalKind::Empty => f.write_str("the program has no code"),
            RefusalKind::TooLong { slots } => {
                write!(
                    f,
                    "the program has {slots} slots, more than {CODE_SLOTS_MAX}"
                )
            }
            RefusalKind::TooManyFunctions => {
                write!(f, "the program has more than {FUNCTIONS_MAX} functions")
            }
            RefusalKind::Malformed { opcode, why } => write!(f, "{why} (opcode {opcode:#04x})"),
            RefusalKind::EntryOutside => f.write_str("an entry lies outside the code"),
            RefusalKind::EntryInsideWide => {
                f.write_str("an entry lies inside a 64-bit immediate load")
            }
            RefusalKind::JumpOutside { target } => {
                write!(f, "jumps to {target}, outside the code")
            }
            RefusalKind::JumpIntoFunction { target } => {
                write!(f, "jumps to {target}, which belongs to another function")
            }
            RefusalKind::JumpInsideWide { target } => {
                write!(f, "jumps to {target}, inside a 64-bit immediate load")
            }
            RefusalKind::CallOutside { target } => {
                write!(f, "calls {target}, outside the code")
            }
            RefusalKind::CallInsideWide { target } => {
                write!(f, "calls {target}, inside a 64-bit immediate load")
            }
            RefusalKind::FallsOff => {
                f.write_str("the function's last instruction is neither an exit nor a jump")
            }
            RefusalKind::UnknownHelper { helper } => write!(f, "there is no helper {helper:#x}"),
            RefusalKind::ScratchOffset {
                offset,
                scratch_bytes,
            } => {
                write!(
                    f,
                    "names byte {offset} of a scratch of {scratch_bytes} bytes"
                )
            }
            RefusalKind::NoMap { index } => write!(f, "there is no map {index}"),
        }
    }
}

impl core::error::Error for Refusal {}

/// Checks code that declares no maps, and any scratch.
///
/// `entries` are the slots that may be entered from outside, `helpers` the ones there are.
///
/// # Errors
/// The first thing wrong; see [`RefusalKind`].
pub fn check(slots: &[u64], entries: &[u32], helpers: &[HelperSpec]) -> Result<Checked, Refusal> {
    check_with(
        slots,
        entries,
        helpers,
        &Resources {
            scratch_bytes: u32::MAX,
            maps: 0,
        },
    )
}

/// Checks the code of an image against what the image declares. `slots` is its code, copied out.
///
/// # Errors
/// As [`check`].
pub fn check_image(
    image: &Image<'_>,
    slots: &[u64],
    helpers: &[HelperSpec],
) -> Result<Checked, Refusal> {
    let header = image.header();
    let resources = Resources {
        scratch_bytes: header.scratch_bytes,
        maps: u32::from(header.maps),
    };
    let entries: Vec<u32, 8> = image.entries().map(|(_, pc)| pc).take(8).collect();
    check_with(slots, &entries, helpers, &resources)
}

/// Checks code against what it may name.
///
/// # Errors
/// As [`check`].
pub fn check_with(
    slots: &[u64],
    entries: &[u32],
    helpers: &[HelperSpec],
    resources: &Resources,
) -> Result<Checked, Refusal> {
    if slots.is_empty() {
        return Err(Refusal {
            pc: 0,
            why: RefusalKind::Empty,
        });
    }
    if slots.len() > CODE_SLOTS_MAX {
        return Err(Refusal {
            pc: 0,
            why: RefusalKind::TooLong { slots: slots.len() },
        });
    }
    let mut checker = Checker {
        slots,
        seconds: Bits::new(),
        starts: Vec::new(),
    };
    checker.walk(helpers, resources)?;
    checker.collect_starts(entries)?;
    let functions = checker.functions()?;
    for function in &functions {
        checker.check_function(*function)?;
    }
    Ok(Checked {
        functions,
        slots: slots.len() as u32,
    })
}

/// One bit for each slot.
struct Bits([u64; CODE_SLOTS_MAX / 64]);

impl Bits {
    const fn new() -> Bits {
        Bits([0; CODE_SLOTS_MAX / 64])
    }

    fn set(&mut self, index: u32) {
        if let Some(word) = self.0.get_mut(index as usize / 64) {
            *word |= 1 << (index % 64);
        }
    }

    fn get(&self, index: u32) -> bool {
        self.0
            .get(index as usize / 64)
            .is_some_and(|word| word & 1 << (index % 64) != 0)
    }
}

struct Checker<'a> {
    slots: &'a [u64],
    /// Second halves of wide instructions.
    seconds: Bits,
    starts: Vec<u32, FUNCTIONS_MAX>,
}

impl Checker<'_> {
    /// Each instruction by itself. Afterwards every slot is known to decode.
    fn walk(&mut self, helpers: &[HelperSpec], resources: &Resources) -> Result<(), Refusal> {
        let mut pc = 0;
        while let Some(instruction) = self.at(pc)? {
            let refuse = |why| Err(Refusal { pc, why });
            match instruction {
                Instruction::CallHelper { id } if !helpers.iter().any(|spec| spec.id == id) => {
                    return refuse(RefusalKind::UnknownHelper { helper: id });
                }
                Instruction::LoadWide {
                    value: WideValue::Scratch { offset },
                    ..
                } if offset > resources.scratch_bytes => {
                    let scratch_bytes = resources.scratch_bytes;
                    return refuse(RefusalKind::ScratchOffset {
                        offset,
                        scratch_bytes,
                    });
                }
                Instruction::LoadWide {
                    value: WideValue::Map { index } | WideValue::MapValue { index, .. },
                    ..
                } if index >= resources.maps => return refuse(RefusalKind::NoMap { index }),
                _ => {}
            }
            if instruction.slots() == 2 {
                self.seconds.set(pc + 1);
            }
            pc += instruction.slots() as u32;
        }
        Ok(())
    }

    /// The instruction at a slot, none at the end of the code.
    fn at(&self, pc: u32) -> Result<Option<Instruction>, Refusal> {
        let Some(&slot) = self.slots.get(pc as usize) else {
            return Ok(None);
        };
        let next = self.slots.get(pc as usize + 1).copied();
        let decoded = Instruction::decode(slot, next);
        let refusal = |why| Refusal {
            pc,
            why: RefusalKind::Malformed {
                opcode: slot as u8,
                why,
            },
        };
        decoded.map(Some).map_err(refusal)
    }

    /// Where functions start: slot 0, the entries, the targets of calls.
    fn collect_starts(&mut self, entries: &[u32]) -> Result<(), Refusal> {
        self.add_start(0, 0)?;
        for &entry in entries {
            if entry as usize >= self.slots.len() {
                return Err(Refusal {
                    pc: entry,
                    why: RefusalKind::EntryOutside,
                });
            }
            if self.seconds.get(entry) {
                return Err(Refusal {
                    pc: entry,
                    why: RefusalKind::EntryInsideWide,
                });
            }
            self.add_start(entry, entry)?;
        }
        for (pc, &slot) in (0..).zip(self.slots) {
            // Everything decodes by now, so the opcode tells; second halves have none.
            if slot as u8 != op::CALL {
                continue;
            }
            if let Some(Instruction::CallLocal { offset }) = self.at(pc)? {
                let target = i64::from(pc) + 1 + i64::from(offset);
                let why = RefusalKind::CallOutside { target };
                let start = self.inside(target).ok_or(Refusal { pc, why })?;
                if self.seconds.get(start) {
                    let why = RefusalKind::CallInsideWide { target: start };
                    return Err(Refusal { pc, why });
                }
                self.add_start(start, pc)?;
            }
        }
        Ok(())
    }

    fn add_start(&mut self, start: u32, pc: u32) -> Result<(), Refusal> {
        if let Err(index) = self.starts.binary_search(&start) {
            let full = |_| Refusal {
                pc,
                why: RefusalKind::TooManyFunctions,
            };
            self.starts.insert(index, start).map_err(full)?;
        }
        Ok(())
    }

    fn inside(&self, target: i64) -> Option<u32> {
        let target = u32::try_from(target).ok()?;
        ((target as usize) < self.slots.len()).then_some(target)
    }

    fn functions(&self) -> Result<Vec<Function, FUNCTIONS_MAX>, Refusal> {
        let ends = self
            .starts
            .iter()
            .skip(1)
            .copied()
            .chain([self.slots.len() as u32]);
        let spans = self.starts.iter().zip(ends);
        Ok(spans
            .map(|(&start, end)| Function {
                start,
                len: end - start,
            })
            .collect())
    }

    /// The jumps of a function, and its last instruction.
    fn check_function(&self, function: Function) -> Result<(), Refusal> {
        let end = function.start + function.len;
        let mut last = (function.start, false);
        for pc in function.start..end {
            let Some(&slot) = self.slots.get(pc as usize) else {
                break;
            };
            if self.seconds.get(pc) {
                continue;
            }
            let is_jump = matches!(Slot(slot).class(), isa::JMP | isa::JMP32);
            let instruction = if is_jump { self.at(pc)? } else { None };
            match instruction {
                Some(Instruction::Jump { offset, .. }) => self.check_jump(pc, offset, function)?,
                Some(Instruction::JumpIf { offset, .. }) => {
                    self.check_jump(pc, i32::from(offset), function)?;
                }
                _ => {}
            }
            let ends = matches!(
                instruction,
                Some(Instruction::Exit | Instruction::Jump { .. })
            );
            last = (pc, ends);
        }
        match last {
            (_, true) => Ok(()),
            (pc, false) => Err(Refusal {
                pc,
                why: RefusalKind::FallsOff,
            }),
        }
    }

    fn check_jump(&self, pc: u32, offset: i32, function: Function) -> Result<(), Refusal> {
        let refuse = |why| Err(Refusal { pc, why });
        let target = i64::from(pc) + 1 + i64::from(offset);
        let Some(target) = self.inside(target) else {
            return refuse(RefusalKind::JumpOutside { target });
        };
        if target < function.start || target - function.start >= function.len {
            return refuse(RefusalKind::JumpIntoFunction { target });
        }
        if self.seconds.get(target) {
            return refuse(RefusalKind::JumpInsideWide { target });
        }
        Ok(())
    }
}
