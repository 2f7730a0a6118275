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
