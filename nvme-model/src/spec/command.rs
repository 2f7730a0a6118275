//! Submission and completion queue entries, and the command dwords of admin commands.

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{Cns, FeatureId, LogId, Status};

/// Bytes of a submission queue entry.
pub const SUBMISSION_ENTRY_BYTES: usize = 64;
/// Bytes of a completion queue entry.
pub const COMPLETION_ENTRY_BYTES: usize = 16;
/// `log2` of [`SUBMISSION_ENTRY_BYTES`], for CC.IOSQES and Identify's SQES.
pub const SUBMISSION_ENTRY_SHIFT: u8 = 6;
/// `log2` of [`COMPLETION_ENTRY_BYTES`], for CC.IOCQES and Identify's CQES.
pub const COMPLETION_ENTRY_SHIFT: u8 = 4;

/// NSID that names every namespace (Base §3.2.1.2).
pub const NAMESPACE_ALL: u32 = 0xffff_ffff;

/// A submission queue entry (Base §3.3.3.1, Figure 87).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct SubmissionEntry {
    /// OPC: an [`AdminOpcode`](super::AdminOpcode) or [`IoOpcode`](super::IoOpcode) by the queue it stands in.
    pub opcode: u8,
    /// FUSE and PSDT: a [`CommandFlags`].
    pub flags: u8,
    /// CID: unique among the commands outstanding on this queue. FFFFh should not be used (Base §3.3.3.1).
    pub command_id: U16,
    /// NSID.
    pub namespace: U32,
    /// CDW2.
    pub cdw2: U32,
    /// CDW3.
    pub cdw3: U32,
    /// MPTR.
    pub metadata: U64,
    /// DPTR, low half: PRP entry 1.
    pub prp1: U64,
    /// DPTR, high half: PRP entry 2, or the address of a PRP list.
    pub prp2: U64,
    /// CDW10.
    pub cdw10: U32,
    /// CDW11.
    pub cdw11: U32,
    /// CDW12.
    pub cdw12: U32,
    /// CDW13.
    pub cdw13: U32,
    /// CDW14.
    pub cdw14: U32,
    /// CDW15.
    pub cdw15: U32,
}

const _: () = assert!(size_of::<SubmissionEntry>() == SUBMISSION_ENTRY_BYTES);
const _: () = assert!(SUBMISSION_ENTRY_BYTES == 1 << SUBMISSION_ENTRY_SHIFT);

impl SubmissionEntry {
    /// All bytes zero.
    pub const ZERO: Self = Self {
        opcode: 0,
        flags: 0,
        command_id: U16::ZERO,
        namespace: U32::ZERO,
        cdw2: U32::ZERO,
        cdw3: U32::ZERO,
        metadata: U64::ZERO,
        prp1: U64::ZERO,
        prp2: U64::ZERO,
        cdw10: U32::ZERO,
        cdw11: U32::ZERO,
        cdw12: U32::ZERO,
        cdw13: U32::ZERO,
        cdw14: U32::ZERO,
        cdw15: U32::ZERO,
    };
}

/// Bits 15:08 of command dword 0 (Base §3.3.3.1, Figure 86).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct CommandFlags {
    /// FUSE: 0 for a command of its own.
    #[bits(2)]
    pub fused: u8,
    #[bits(4)]
    __: u8,
    /// PSDT: 0 when the data pointer holds PRPs.
    #[bits(2)]
    pub data_pointer_kind: u8,
}

/// A completion queue entry (Base §3.3.3.2, Figure 89).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct CompletionEntry {
    /// DW0: the command's own result.
    pub dw0: U32,
    /// DW1: the command's own result.
    pub dw1: U32,
    /// SQHD: how far the controller has taken entries from the submission queue.
    pub submission_head: U16,
    /// SQID: the submission queue the command came from.
    pub submission_queue: U16,
    /// CID of the command completed.
    pub command_id: U16,
    /// Phase tag in bit 0, a [`Status`] in bits 15:1.
    pub status: U16,
}

const _: () = assert!(size_of::<CompletionEntry>() == COMPLETION_ENTRY_BYTES);
const _: () = assert!(COMPLETION_ENTRY_BYTES == 1 << COMPLETION_ENTRY_SHIFT);

impl CompletionEntry {
    /// P, the phase tag (Base §3.3.3.2, Figure 91).
    pub fn phase(&self) -> bool {
        self.status.get() & 1 != 0
    }

    /// The status without the phase tag.
    pub fn status(&self) -> Status {
        Status(self.status.get() >> 1)
    }

    /// Sets status and phase tag together.
    pub fn set_status(&mut self, status: Status, phase: bool) {
        self.status = U16::new((status.0 << 1) | u16::from(phase));
    }
}

/// CDW10 of Create and Delete I/O Completion/Submission Queue (Base §5.4 to §5.7). Delete uses the id only.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct QueueDword10 {
    /// QID.
    pub queue: u16,
    /// QSIZE: entries, 0's based.
    pub entries_0: u16,
}

/// CDW11 of Create I/O Completion Queue (Base §5.4, Figure 156).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateCompletionQueueDword11 {
    /// PC: the queue is physically contiguous.
    pub contiguous: bool,
    /// IEN: interrupts are enabled for this queue.
    pub interrupts: bool,
    #[bits(14)]
    __: u16,
    /// IV: the interrupt vector.
    pub vector: u16,
}

/// CDW11 of Create I/O Submission Queue (Base §5.5, Figure 160).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CreateSubmissionQueueDword11 {
    /// PC: the queue is physically contiguous.
    pub contiguous: bool,
    /// QPRIO: used with weighted round robin only.
    #[bits(2)]
    pub priority: u8,
    #[bits(13)]
    __: u16,
    /// CQID: the completion queue it reports to.
    pub completion_queue: u16,
}

/// CDW10 of Identify (Base §5.17.1, Figure 270).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct IdentifyDword10 {
    /// CNS: what is asked for.
    #[bits(8)]
    pub structure: Cns,
    __: u8,
    /// CNTID: a controller, for some structures.
    pub controller: u16,
}

/// CDW11 of Identify (Base §5.17.1, Figure 271).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct IdentifyDword11 {
    /// CNS specific identifier.
    pub specific: u16,
    __: u8,
    /// CSI: the command set, for structures of one.
    pub command_set: u8,
}

/// CDW10 of Get Log Page (Base §5.16, Figure 197).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GetLogPageDword10 {
    /// LID: which log.
    #[bits(8)]
    pub log: LogId,
    /// LSP: log specific.
    #[bits(7)]
    pub specific: u8,
    /// RAE: keep the asynchronous event of this log unacknowledged.
    pub retain_event: bool,
    /// NUMDL: low half of the number of dwords, 0's based.
    pub dwords_0_low: u16,
}

/// CDW11 of Get Log Page (Base §5.16, Figure 198).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GetLogPageDword11 {
    /// NUMDU: high half of the number of dwords, 0's based.
    pub dwords_0_high: u16,
    /// LSI: log specific identifier.
    pub specific: u16,
}

/// CDW14 of Get Log Page (Base §5.16, Figure 201).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GetLogPageDword14 {
    /// UUID index.
    #[bits(7)]
    pub uuid: u8,
    #[bits(16)]
    __: u16,
    /// OT: the offset is an index of data structures, not of bytes.
    pub offset_is_index: bool,
    /// CSI: the command set, for logs of one.
    pub command_set: u8,
}

/// CDW10 of Set Features (Base §5.27, Figure 314).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct SetFeaturesDword10 {
    /// FID.
    #[bits(8)]
    pub feature: FeatureId,
    #[bits(23)]
    __: u32,
    /// SV: save across power cycles and resets.
    pub save: bool,
}

/// CDW10 of Get Features (Base §5.15, Figure 192).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct GetFeaturesDword10 {
    /// FID.
    #[bits(8)]
    pub feature: FeatureId,
    /// SEL: 0 current, 1 default, 2 saved, 3 supported capabilities.
    #[bits(3)]
    pub select: u8,
    #[bits(21)]
    __: u32,
}

/// CDW10 of Abort (Base §5.1, Figure 140).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct AbortDword10 {
    /// SQID of the command to abort.
    pub queue: u16,
    /// CID of the command to abort.
    pub command_id: u16,
}
