//! How a run ends, and what can go wrong in one, as values.

use core::fmt;

use crate::limits::FRAMES_MAX;
use crate::memory::AccessFault;

/// Why [`run`](crate::run) came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The entry function returned.
    Exit {
        /// Its result.
        r0: u64,
    },
    /// A helper waits: run again after [`State::resume`](crate::State::resume).
    Waiting,
    /// The slice is used up: run again whenever it pleases.
    Yielded,
    /// The instruction budget does not pay for what comes next.
    OutOfBudget {
        /// The instruction that could not be paid; it was not executed.
        pc: u32,
    },
    /// The program did what it may not.
    Fault(Fault),
    /// A helper ended the invocation.
    Killed {
        /// The call.
        pc: u32,
        /// The host's reason.
        reason: u32,
    },
}

impl Outcome {
    /// True if the invocation is over.
    pub const fn is_end(&self) -> bool {
        !matches!(self, Outcome::Waiting | Outcome::Yielded)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Exit { r0 } => write!(f, "returned {}", *r0 as i64),
            Outcome::Waiting => write!(f, "waits for a helper"),
            Outcome::Yielded => write!(f, "has used its slice"),
            Outcome::OutOfBudget { pc } => {
                write!(f, "instruction {pc}: the instruction budget is used up")
            }
            Outcome::Fault(fault) => fault.fmt(f),
            Outcome::Killed { pc, reason } => {
                write!(f, "instruction {pc}: ended by a helper, reason {reason}")
            }
        }
    }
}

/// What a program did wrong, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The instruction, as a slot of the code.
    pub pc: u32,
    /// What it did.
    pub kind: FaultKind,
}

/// What a program can do wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// It touched memory that it may not.
    Access(AccessFault),
    /// The verifier proved that this access cannot fail, and it did: a fault of the verifier's.
    Disproved(AccessFault),
    /// The slot is no instruction of RFC 9669.
    Opcode {
        /// The opcode there.
        opcode: u8,
    },
    /// The host has no such helper.
    UnknownHelper {
        /// Its number.
        helper: u32,
    },
    /// Control left the code.
    FellOff,
    /// A call, or the entry, leads to where no function starts.
    NoFunction {
        /// Where it leads.
        target: u32,
    },
    /// One local call too many, one within the other.
    CallDepth,
    /// A wide load of a map, and there is none.
    NoMap {
        /// The map's index.
        index: u32,
    },
    /// This engine cannot run the program at all.
    Engine {
        /// What it lacks.
        why: &'static str,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {}: {}", self.pc, self.kind)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FaultKind::Access(access) => access.fmt(f),
            FaultKind::Disproved(access) => write!(f, "{access}, though the opposite was proved"),
            FaultKind::Opcode { opcode } => write!(f, "{opcode:#04x} is no instruction"),
            FaultKind::UnknownHelper { helper } => write!(f, "there is no helper {helper:#x}"),
            FaultKind::FellOff => write!(f, "there is no code here"),
            FaultKind::NoFunction { target } => {
                write!(f, "no function starts at instruction {target}")
            }
            FaultKind::CallDepth => {
                write!(f, "more than {FRAMES_MAX} functions are active at once")
            }
            FaultKind::NoMap { index } => write!(f, "there is no map {index}"),
            FaultKind::Engine { why } => write!(f, "this engine cannot run it: {why}"),
        }
    }
}

impl core::error::Error for Fault {}
