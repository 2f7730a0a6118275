//! Why a program was not proved, in plain words.

use core::fmt;

use super::state::Trail;
use super::value::Known;
use crate::instruction::Register;
use crate::limits::{CELLS_MAX, CONTEXTS_MAX, FRAMES_MAX, TRAIL_MAX, WORK_MAX};
use crate::memory::{RegionId, Right};

/// A program that was refused: where, why, and what was known there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The instruction.
    pub pc: u32,
    /// What is wrong with it.
    pub why: RefusalKind,
    /// The register it is about, and what is known of it.
    pub register: Option<(Register, Known)>,
    /// The last jumps on the way there, in order.
    pub trail: heapless::Vec<u16, TRAIL_MAX, u8>,
}

/// What can be wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusalKind {
    /// The instruction cannot be reached.
    Unreachable,
    /// A register is used that holds nothing.
    Unusable,
    /// An address was needed.
    NotAPointer,
    /// A number was needed.
    NotANumber,
    /// The region may not be written.
    ReadOnly {
        /// Which.
        region: RegionId,
    },
    /// The access is outside wherever it is.
    Outside {
        /// The region.
        region: RegionId,
        /// Bytes wanted.
        len: u32,
        /// Bytes it has.
        bytes: u32,
        /// What was to be done.
        right: Right,
    },
    /// The same access is to one region on one way and to another on another, one of them holds
    /// addresses, and it is not sure to stay inside: no check when it runs could keep it from
    /// taking an address apart.
    SeveralRegions {
        /// The region that it was to at last.
        region: RegionId,
    },
    /// Bytes of the stack are read that nothing was put in.
    StackNotWritten {
        /// The first byte, from the frame's end (so negative).
        offset: i32,
    },
    /// Bytes of the stack are read, at a place that is not known, of which some hold nothing.
    StackPlaceUnknown,
    /// Part of a pointer is read or written.
    PartOfPointer,
    /// A pointer is stored where it could leave the program.
    PointerLeak {
        /// Where it was to go.
        region: RegionId,
    },
    /// A pointer is stored on the stack at a place that is no multiple of 8, or not known.
    PointerPlace,
    /// A pointer is the result of the program.
    PointerResult,
    /// Arithmetic that a pointer does not allow.
    PointerArithmetic,
    /// Things are compared that cannot be.
    Comparison,
    /// A helper is given a buffer in a region it cannot use.
    BufferRegion {
        /// Which argument, from 1.
        argument: u8,
        /// Where it is.
        region: RegionId,
    },
    /// A helper is given a buffer that may lie in another region than the one its pointer is to.
    BufferStrays {
        /// Which argument, from 1.
        argument: u8,
    },
    /// A helper is given a buffer on the stack whose place or length is not one number.
    BufferPlace {
        /// Which argument, from 1.
        argument: u8,
    },
    /// The helper is not known to the verifier.
    UnknownHelper {
        /// Its number.
        helper: u32,
    },
    /// What may be the address of a value is used as one before it was compared with 0.
    MaybeNull,
    /// A map's name was needed.
    NotAMap,
    /// There is no such map.
    NoMap {
        /// Its index.
        index: u32,
    },
    /// The place of a value is named in a map that is no array.
    NotGlobal {
        /// The map's index.
        index: u32,
    },
    /// Calls nest too deep.
    CallDepth,
    /// There are too many ways by calls.
    TooManyContexts,
    /// There are too many points where ways meet.
    TooManyStates {
        /// As many as were given to keep.
        kept: u32,
    },
    /// Too much is on the stack.
    TooManyCells,
    /// It takes too long to prove.
    TooManySteps,
    /// The code is not the code that was checked.
    NotChecked,
}

/// It is handed up through many results.
const _: () = assert!(size_of::<Refusal>() <= 120);

impl Refusal {
    pub(super) fn new(pc: u32, why: RefusalKind, trail: &Trail) -> Refusal {
        Refusal {
            pc,
            why,
            register: None,
            trail: trail.clone(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}: {}", self.pc, self.why)?;
        if let Some((register, value)) = &self.register {
            write!(f, "; {register} {value}")?;
        }
        for (index, pc) in self.trail.iter().enumerate() {
            let word = if index == 0 {
                "; reached by the jumps at"
            } else {
                ","
            };
            write!(f, "{word} {pc}")?;
        }
        Ok(())
    }
}

impl fmt::Display for RefusalKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            RefusalKind::Unreachable => f.write_str("it can never be reached"),
            RefusalKind::Unusable => f.write_str("uses a register that holds nothing"),
            RefusalKind::NotAPointer => f.write_str("needs an address"),
            RefusalKind::NotANumber => f.write_str("needs a number"),
            RefusalKind::ReadOnly { region } => {
                write!(f, "writes to {}, which may only be read", region.name())
            }
            RefusalKind::Outside {
                region,
                len,
                bytes,
                right,
            } => {
                let verb = if right == Right::Read {
                    "reads"
                } else {
                    "writes"
                };
                let plural = if len == 1 { "" } else { "s" };
                let name = region.name();
                write!(
                    f,
                    "{verb} {len} byte{plural} outside of {name}, which has {bytes}"
                )
            }
            RefusalKind::SeveralRegions { region } => write!(
                f,
                "is to {} here and to another region on another way, and not sure to stay inside",
                region.name()
            ),
            RefusalKind::StackNotWritten { offset } => {
                write!(f, "reads the stack at r10{offset:+}, where nothing was put")
            }
            RefusalKind::StackPlaceUnknown => f.write_str(
                "reads the stack at a place that is not known, and not all of it was written",
            ),
            RefusalKind::PartOfPointer => f.write_str("takes a pointer apart"),
            RefusalKind::PointerLeak { region } => {
                write!(f, "puts a pointer into {}", region.name())
            }
            RefusalKind::PointerPlace => {
                f.write_str("puts a pointer on the stack at a place that is no known multiple of 8")
            }
            RefusalKind::PointerResult => f.write_str("returns a pointer"),
            RefusalKind::PointerArithmetic => {
                f.write_str("computes with a pointer as with a number")
            }
            RefusalKind::Comparison => {
                f.write_str("compares a pointer with something that is not in the same region")
            }
            RefusalKind::BufferRegion { argument, region } => {
                write!(f, "argument {argument} may not lie in {}", region.name())
            }
            RefusalKind::BufferStrays { argument } => write!(
                f,
                "argument {argument} may be so far from its region that it lies in another"
            ),
            RefusalKind::BufferPlace { argument } => write!(
                f,
                "argument {argument} lies on the stack, and its place and length are not fixed"
            ),
            RefusalKind::UnknownHelper { helper } => {
                write!(f, "nothing is known of helper {helper:#x}")
            }
            RefusalKind::MaybeNull => {
                f.write_str("uses what a lookup gave before it is compared with null")
            }
            RefusalKind::NotAMap => f.write_str("needs the name of a map"),
            RefusalKind::NoMap { index } => write!(f, "there is no map {index}"),
            RefusalKind::NotGlobal { index } => {
                write!(f, "names a place in map {index}, which is no array")
            }
            RefusalKind::CallDepth => write!(f, "calls nest more than {FRAMES_MAX} deep"),
            RefusalKind::TooManyContexts => {
                write!(f, "functions are called in more than {CONTEXTS_MAX} ways")
            }
            RefusalKind::TooManyStates { kept } => {
                write!(
                    f,
                    "more than {kept} points would have to be kept to prove it"
                )
            }
            RefusalKind::TooManyCells => {
                write!(f, "more than {CELLS_MAX} values are on the stack at once")
            }
            RefusalKind::TooManySteps => {
                write!(
                    f,
                    "it is not proved after the work of {WORK_MAX} instructions"
                )
            }
            RefusalKind::NotChecked => f.write_str("the code is not the code that was checked"),
        }
    }
}

impl core::error::Error for Refusal {}
