//! All limits of the crate in one place.

use crate::seam::PAGE_BYTES;

/// Bytes of the longest transfer of one command.
pub const TRANSFER_BYTES_MAX: u32 = 128 * 1024;

/// Pages of the longest transfer, with one more for a start inside a page.
pub const TRANSFER_PAGES_MAX: usize = TRANSFER_BYTES_MAX as usize / PAGE_BYTES + 1;

/// Entries of a PRP list slot. The first page of a transfer is in the command itself, so 32 entries
/// reach 33 pages.
pub const PRP_LIST_ENTRIES: usize = 32;

/// Bytes of a PRP list slot. Sixteen fit a page, and none crosses one.
pub const PRP_LIST_BYTES: usize = PRP_LIST_ENTRIES * 8;

/// Namespaces the driver serves; more are counted and left alone.
pub const NAMESPACES_MAX: usize = 16;

const _: () = assert!(TRANSFER_PAGES_MAX - 1 <= PRP_LIST_ENTRIES);
const _: () = assert!(PAGE_BYTES.is_multiple_of(PRP_LIST_BYTES));

/// Blocks of the longest read, write, compare or write zeroes (NLB has 16 bits, zero-based).
pub const BLOCKS_PER_COMMAND_MAX: u32 = 1 << 16;

/// Logarithms of the block sizes the driver serves.
pub const BLOCK_BYTES_LOG2: core::ops::RangeInclusive<u8> = 9..=12;

/// Most commands in flight on one queue: a command id keeps at least four bits for the sequence.
pub const SLOTS_PER_QUEUE_MAX: usize = 1 << 12;

/// Entries of the admin queues.
pub const ADMIN_ENTRIES: u16 = 32;

/// Admin commands in flight: one of start-up or a log page, one asynchronous event, and aborts.
pub const ADMIN_SLOTS: usize = 8;

/// Abort commands in flight, where the controller allows as many (ACL).
pub const ABORTS_MAX: usize = ADMIN_SLOTS - 2;

/// Admin completions handled in one poll.
pub const ADMIN_COMPLETIONS_PER_POLL: usize = 16;

/// Resets within [`RESET_WINDOW_US`] that make the driver give up.
pub const RESETS_MAX: usize = 3;

/// See [`RESETS_MAX`].
pub const RESET_WINDOW_US: u64 = 60_000_000;

/// Namespaces that start-up asks about; those beyond are counted and left alone.
pub const NAMESPACES_SCANNED_MAX: usize = 64;
