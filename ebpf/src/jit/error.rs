//! Why a program was not compiled.

use core::fmt;

use crate::limits::CODE_SLOTS_MAX;

/// Why there is no machine code of a program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JitError {
    /// The area for the code is too small.
    AreaTooSmall {
        /// Bytes needed.
        needed: usize,
    },
    /// The table has fewer entries than [`table_for`](super::table_for) the slots.
    TableTooSmall {
        /// Entries needed.
        needed: usize,
    },
    /// There are more slots than a program may have.
    TooLong,
    /// A jump leads out of the code.
    JumpOutside {
        /// The jump.
        pc: u32,
    },
    /// A jump leads into the second half of a 64-bit immediate load.
    JumpInsideWide {
        /// The jump.
        pc: u32,
    },
    /// A 64-bit immediate load whose second half is an instruction of its own.
    WideWithoutHalf {
        /// Its first slot.
        pc: u32,
    },
    /// The code is for another machine than this.
    ForeignTarget,
    /// The platform did not make the memory writable or executable.
    Platform,
    /// Two passes came to different results: a fault of the compiler's.
    Inconsistent {
        /// The slot at which it was noticed.
        pc: u32,
    },
}

impl fmt::Display for JitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JitError::AreaTooSmall { needed } => {
                write!(f, "the area is too small for {needed} bytes of code")
            }
            JitError::TableTooSmall { needed } => {
                write!(f, "the table is too small for {needed} entries")
            }
            JitError::TooLong => write!(f, "more than {CODE_SLOTS_MAX} slots"),
            JitError::JumpOutside { pc } => write!(f, "instruction {pc}: jumps out of the code"),
            JitError::JumpInsideWide { pc } => {
                write!(f, "instruction {pc}: jumps into a 64-bit immediate load")
            }
            JitError::WideWithoutHalf { pc } => {
                write!(
                    f,
                    "instruction {pc}: its second half is another instruction"
                )
            }
            JitError::ForeignTarget => f.write_str("the code is for another machine"),
            JitError::Platform => {
                f.write_str("the platform did not make the memory writable or executable")
            }
            JitError::Inconsistent { pc } => {
                write!(f, "instruction {pc}: the compiler contradicts itself")
            }
        }
    }
}

impl core::error::Error for JitError {}
