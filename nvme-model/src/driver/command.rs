//! Submission queue entries of the operations and of the admin commands the driver uses.

use zerocopy::IntoBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::operation::Operation;
use super::prp::{ListSlot, describe};
use crate::memory::Transfer;
use crate::seam::Dma;
use crate::spec::{
    AbortDword10, AdminOpcode, Cns, CreateCompletionQueueDword11, CreateSubmissionQueueDword11,
    DatasetDword10, DatasetDword11, DatasetRange, EventConfiguration, FeatureId, GetLogPageDword10,
    IdentifyDword10, IoOpcode, LogId, NAMESPACE_ALL, NumberOfQueues, QueueDword10, ReadWriteFlags,
    SetFeaturesDword10, SubmissionEntry,
};

/// The entry of an operation whose transfer fits it. Writes the slot's PRP list where needed.
#[inline]
pub(super) fn operation(
    dma: &mut impl Dma,
    operation: &Operation,
    transfer: &Transfer,
    list: ListSlot,
    command_id: u16,
) -> SubmissionEntry {
    let mut entry = SubmissionEntry {
        opcode: opcode(operation).0,
        command_id: U16::new(command_id),
        namespace: U32::new(operation.namespace().0),
        ..Default::default()
    };
    let (prp1, prp2) = match *operation {
        Operation::Deallocate { lba, blocks, .. } => {
            entry.cdw10 = U32::new(DatasetDword10::new().with_ranges_0(0).into());
            entry.cdw11 = U32::new(DatasetDword11::new().with_deallocate(true).into());
            // Without a transfer the slot's list is free to hold the range.
            let range = DatasetRange {
                attributes: U32::ZERO,
                blocks: U32::new(blocks),
                first_block: U64::new(lba.0),
            };
            list.write(dma, range.as_bytes());
            (list.address(dma), 0)
        }
        _ => {
            if let Some((lba, blocks)) = operation.range() {
                entry.cdw10 = U32::new(lba.0 as u32);
                entry.cdw11 = U32::new((lba.0 >> 32) as u32);
                let flags = ReadWriteFlags::new()
                    .with_blocks_0(blocks.wrapping_sub(1) as u16)
                    .with_force_unit_access(force_unit_access(operation));
                entry.cdw12 = U32::new(flags.into());
            }
            describe(dma, transfer, list)
        }
    };
    entry.prp1 = U64::new(prp1);
    entry.prp2 = U64::new(prp2);
    entry
}

const fn opcode(operation: &Operation) -> IoOpcode {
    match operation {
        Operation::Read { .. } => IoOpcode::READ,
        Operation::Write { .. } => IoOpcode::WRITE,
        Operation::Flush { .. } => IoOpcode::FLUSH,
        Operation::WriteZeroes { .. } => IoOpcode::WRITE_ZEROES,
        Operation::Deallocate { .. } => IoOpcode::DATASET_MANAGEMENT,
        Operation::Compare { .. } => IoOpcode::COMPARE,
    }
}

const fn force_unit_access(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Write {
            force_unit_access: true,
            ..
        }
    )
}

fn admin(opcode: AdminOpcode) -> SubmissionEntry {
    SubmissionEntry {
        opcode: opcode.0,
        ..Default::default()
    }
}

pub(super) fn identify(structure: Cns, namespace: u32, data: u64) -> SubmissionEntry {
    SubmissionEntry {
        namespace: U32::new(namespace),
        prp1: U64::new(data),
        cdw10: U32::new(IdentifyDword10::new().with_structure(structure).into()),
        ..admin(AdminOpcode::IDENTIFY)
    }
}

/// Asks for `pairs` queue pairs.
pub(super) fn set_queue_count(pairs: u16) -> SubmissionEntry {
    let feature = SetFeaturesDword10::new().with_feature(FeatureId::NUMBER_OF_QUEUES);
    let count = NumberOfQueues::new()
        .with_submission_queues_0(pairs - 1)
        .with_completion_queues_0(pairs - 1);
    SubmissionEntry {
        cdw10: U32::new(feature.into()),
        cdw11: U32::new(count.into()),
        ..admin(AdminOpcode::SET_FEATURES)
    }
}

/// Has the critical warnings in `smart` raise events (Base §5.27.1.8).
pub(super) fn set_smart_events(smart: u8) -> SubmissionEntry {
    let feature =
        SetFeaturesDword10::new().with_feature(FeatureId::ASYNCHRONOUS_EVENT_CONFIGURATION);
    let events = EventConfiguration::new().with_smart(smart);
    SubmissionEntry {
        cdw10: U32::new(feature.into()),
        cdw11: U32::new(events.into()),
        ..admin(AdminOpcode::SET_FEATURES)
    }
}

/// Reads the first `bytes` of a log, which acknowledges its event.
pub(super) fn log_page(log: LogId, bytes: u16, data: u64) -> SubmissionEntry {
    let what = GetLogPageDword10::new()
        .with_log(log)
        .with_dwords_0_low(bytes / 4 - 1);
    SubmissionEntry {
        namespace: U32::new(NAMESPACE_ALL),
        prp1: U64::new(data),
        cdw10: U32::new(what.into()),
        ..admin(AdminOpcode::GET_LOG_PAGE)
    }
}

/// A completion queue that raises no interrupt.
pub(super) fn create_completion_queue(queue: u16, entries: u16, ring: u64) -> SubmissionEntry {
    let what = QueueDword10::new()
        .with_queue(queue)
        .with_entries_0(entries - 1);
    let how = CreateCompletionQueueDword11::new().with_contiguous(true);
    SubmissionEntry {
        prp1: U64::new(ring),
        cdw10: U32::new(what.into()),
        cdw11: U32::new(how.into()),
        ..admin(AdminOpcode::CREATE_IO_COMPLETION_QUEUE)
    }
}

/// A submission queue that reports to the completion queue of the same number.
pub(super) fn create_submission_queue(queue: u16, entries: u16, ring: u64) -> SubmissionEntry {
    let what = QueueDword10::new()
        .with_queue(queue)
        .with_entries_0(entries - 1);
    let how = CreateSubmissionQueueDword11::new()
        .with_contiguous(true)
        .with_completion_queue(queue);
    SubmissionEntry {
        prp1: U64::new(ring),
        cdw10: U32::new(what.into()),
        cdw11: U32::new(how.into()),
        ..admin(AdminOpcode::CREATE_IO_SUBMISSION_QUEUE)
    }
}

pub(super) fn asynchronous_event_request() -> SubmissionEntry {
    admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST)
}

pub(super) fn abort(queue: u16, command_id: u16) -> SubmissionEntry {
    let what = AbortDword10::new()
        .with_queue(queue)
        .with_command_id(command_id);
    SubmissionEntry {
        cdw10: U32::new(what.into()),
        ..admin(AdminOpcode::ABORT)
    }
}
