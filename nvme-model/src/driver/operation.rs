//! What a driver is asked to do, and what becomes of it.

use core::fmt;

use crate::memory::Transfer;
use crate::spec::{AdminOpcode, Status};

/// Number of a namespace, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamespaceId(pub u32);

/// Address of a logical block in a namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lba(pub u64);

/// A command on a namespace. Lengths are in its logical blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Blocks into memory.
    Read {
        /// Where.
        namespace: NamespaceId,
        /// First block.
        lba: Lba,
        /// Number of blocks.
        blocks: u32,
    },
    /// Memory into blocks.
    Write {
        /// Where.
        namespace: NamespaceId,
        /// First block.
        lba: Lba,
        /// Number of blocks.
        blocks: u32,
        /// Durable before it completes (FUA).
        force_unit_access: bool,
    },
    /// Makes durable every write that completed before this was submitted, and promises nothing
    /// about writes in flight.
    Flush {
        /// Where.
        namespace: NamespaceId,
    },
    /// Blocks become zero; no transfer.
    WriteZeroes {
        /// Where.
        namespace: NamespaceId,
        /// First block.
        lba: Lba,
        /// Number of blocks.
        blocks: u32,
    },
    /// The contents of the blocks are no longer needed (Dataset Management); no transfer.
    Deallocate {
        /// Where.
        namespace: NamespaceId,
        /// First block.
        lba: Lba,
        /// Number of blocks.
        blocks: u32,
    },
    /// Compares blocks with memory; a difference is the status Compare Failure.
    Compare {
        /// Where.
        namespace: NamespaceId,
        /// First block.
        lba: Lba,
        /// Number of blocks.
        blocks: u32,
    },
}

impl Operation {
    /// The namespace it is on.
    pub const fn namespace(&self) -> NamespaceId {
        match *self {
            Operation::Read { namespace, .. }
            | Operation::Write { namespace, .. }
            | Operation::Flush { namespace }
            | Operation::WriteZeroes { namespace, .. }
            | Operation::Deallocate { namespace, .. }
            | Operation::Compare { namespace, .. } => namespace,
        }
    }

    /// The blocks it touches; `None` for a flush.
    pub const fn range(&self) -> Option<(Lba, u32)> {
        match *self {
            Operation::Read { lba, blocks, .. }
            | Operation::Write { lba, blocks, .. }
            | Operation::WriteZeroes { lba, blocks, .. }
            | Operation::Deallocate { lba, blocks, .. }
            | Operation::Compare { lba, blocks, .. } => Some((lba, blocks)),
            Operation::Flush { .. } => None,
        }
    }

    /// Whether it moves as many bytes as its blocks have.
    pub const fn has_data(&self) -> bool {
        matches!(
            self,
            Operation::Read { .. } | Operation::Write { .. } | Operation::Compare { .. }
        )
    }

    /// Whether doing it twice is the same as doing it once, so that a reset may repeat it.
    /// A comparison changes nothing, but its answer may belong to another moment.
    pub const fn is_repeatable(&self) -> bool {
        !matches!(self, Operation::Compare { .. })
    }
}

/// How an operation ended, with its memory and the token it was submitted with.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a dropped completion is memory lost"]
pub struct Completion {
    /// As given to `submit`.
    pub token: u64,
    /// What the device, or its loss, made of it.
    pub result: Result<(), Error>,
    /// As given to `submit`, or [`Transfer::None`] when the device may still write to it.
    pub transfer: Transfer,
}

/// Why an operation did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The device's own word.
    Status(Status),
    /// The controller was reset under it, and it could not be repeated: it may have happened or not.
    Unknown,
    /// It missed its deadline and was aborted.
    Aborted,
    /// The driver has given up on the device. What was in flight may have happened or not.
    Failed(FailReason),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Status(status) => write!(f, "the drive says: {status}"),
            Error::Unknown => f.write_str("the drive was reset and the outcome is not known"),
            Error::Aborted => f.write_str("the drive took too long and the command was aborted"),
            Error::Failed(reason) => write!(f, "the drive has failed: {reason}"),
        }
    }
}

impl core::error::Error for Error {}

/// Why an operation was not accepted. Its transfer is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The driver is starting, recovering, stopping or stopped: try again when it is running.
    NotRunning,
    /// The device is lost for good.
    Failed(FailReason),
    /// There is no such queue.
    NoSuchQueue,
    /// All command slots of the queue are taken.
    QueueFull,
    /// There is no such namespace, or one the driver does not serve.
    NoSuchNamespace,
    /// No blocks, or more than one command can have.
    BadLength,
    /// The range does not lie inside the namespace.
    OutOfRange,
    /// The transfer is not as long as the blocks, or longer than the controller takes, or has too
    /// few or too many pages, or starts off a multiple of four.
    BadTransfer,
    /// The controller does not have this command.
    Unsupported,
}

impl Rejected {
    /// True if the operation will be rejected again however often it is tried, until the drive is
    /// another.
    #[must_use]
    pub const fn lasts(self) -> bool {
        match self {
            Rejected::NotRunning | Rejected::Failed(_) | Rejected::QueueFull => false,
            Rejected::NoSuchQueue
            | Rejected::NoSuchNamespace
            | Rejected::BadLength
            | Rejected::OutOfRange
            | Rejected::BadTransfer
            | Rejected::Unsupported => true,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rejected::NotRunning => "the drive is not ready",
            Rejected::Failed(reason) => return write!(f, "the drive has failed: {reason}"),
            Rejected::NoSuchQueue => "there is no such queue",
            Rejected::QueueFull => "the queue is full",
            Rejected::NoSuchNamespace => "there is no such namespace",
            Rejected::BadLength => "the number of blocks cannot be done in one command",
            Rejected::OutOfRange => "the range lies outside the namespace",
            Rejected::BadTransfer => "the memory does not fit the command",
            Rejected::Unsupported => "the drive does not have this command",
        })
    }
}

impl core::error::Error for Rejected {}

/// When a driver wants to be polled again, apart from completions, which nothing announces: while
/// [`in_flight`](super::Driver::in_flight) is not zero, poll as often as latency asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Now: there is more to do than the budget allowed.
    Again,
    /// At this time at the latest, in microseconds of the caller's clock.
    At(u64),
    /// Never.
    Idle,
}

/// Where a driver is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverState {
    /// The controller is being brought up.
    Starting,
    /// Operations are taken.
    Running,
    /// Operations are taken; some have missed their deadline and are being aborted.
    Aborting,
    /// The controller is being reset; memory waits for CSTS.RDY = 0.
    Disabling,
    /// Only a reset from outside (PERST#) can help. Operations that are not finished wait for it, with
    /// their memory; [`restart`](super::Driver::restart) or [`give_up`](super::Driver::give_up) follows.
    AwaitingReset(FailReason),
    /// In-flight operations are finished and the controller is told to shut down.
    Stopping,
    /// Shut down in order.
    Stopped,
    /// The device is lost for good.
    Failed(FailReason),
}

/// Why a driver gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailReason {
    /// Registers read as all ones.
    Gone,
    /// The controller cannot be driven.
    Unfit(Unfit),
    /// CSTS.RDY did not fall after CC.EN = 0: the device may still write to memory, so the pages
    /// of commands in flight stay in quarantine.
    ResetStuck,
    /// Reset too often in too short a time; this was the last straw.
    TooManyResets(ResetCause),
    /// It was reset from outside (PERST#), the last that can be done, and failed again or did not
    /// come back.
    ResetInVain,
}

impl FailReason {
    /// Whether a reset from outside may help: not where the controller is what it is.
    pub const fn may_heal(self) -> bool {
        !matches!(self, FailReason::Unfit(_) | FailReason::ResetInVain)
    }
}

/// Whether somebody can reset the device when the driver cannot: by PERST#, which the driver knows
/// nothing of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutsideReset {
    /// Nobody can: a failure is final.
    #[default]
    Absent,
    /// Somebody will: instead of failing the driver waits in [`DriverState::AwaitingReset`].
    Ready,
    /// It was done lately: what fails now fails as [`FailReason::ResetInVain`].
    Spent,
}

impl fmt::Display for FailReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailReason::Gone => f.write_str("the controller is gone"),
            FailReason::Unfit(why) => write!(f, "the controller cannot be driven: {why}"),
            FailReason::ResetStuck => f.write_str("the controller does not finish its reset"),
            FailReason::ResetInVain => {
                f.write_str("the controller failed again after PERST#, the last resort")
            }
            FailReason::TooManyResets(cause) => {
                write!(
                    f,
                    "the controller was reset too often, last because {cause}"
                )
            }
        }
    }
}

/// What a controller lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It does not speak the NVM command set (CAP.CSS).
    NoNvmCommandSet,
    /// Its least page is larger than 4 KiB (CAP.MPSMIN).
    PageTooLarge {
        /// Logarithm of its least page's bytes.
        log2_bytes: u8,
    },
    /// Its queues hold fewer than two entries, or fewer than before a reset (CAP.MQES).
    QueuesTooShort {
        /// Entries of a queue.
        entries: u32,
    },
    /// Its entries are not of 64 and 16 bytes.
    EntrySize,
    /// It gave fewer queue pairs than before a reset.
    QueuesTooFew {
        /// Queue pairs granted.
        pairs: u16,
    },
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::NoNvmCommandSet => f.write_str("no NVM command set"),
            Unfit::PageTooLarge { log2_bytes } => {
                write!(f, "pages of at least 2^{log2_bytes} bytes")
            }
            Unfit::QueuesTooShort { entries } => write!(f, "queues of {entries} entries"),
            Unfit::EntrySize => f.write_str("queue entries of an unknown size"),
            Unfit::QueuesTooFew { pairs } => write!(f, "only {pairs} queue pairs"),
        }
    }
}

/// Why a controller was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetCause {
    /// An operation was neither completed nor aborted in time.
    Operation,
    /// This admin command was not completed in time.
    Admin(AdminOpcode),
    /// This admin command was refused during start-up.
    Refused(AdminOpcode, Status),
    /// CSTS.CFS.
    FatalStatus,
    /// CSTS.RDY did not rise after CC.EN = 1.
    NotReady,
}

impl fmt::Display for ResetCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResetCause::Operation => f.write_str("an operation was not completed in time"),
            ResetCause::Admin(opcode) => {
                write!(f, "{opcode} was not completed in time")
            }
            ResetCause::Refused(opcode, status) => {
                write!(f, "{opcode} was refused: {status}")
            }
            ResetCause::FatalStatus => f.write_str("it reported a fatal status"),
            ResetCause::NotReady => f.write_str("it did not become ready"),
        }
    }
}
