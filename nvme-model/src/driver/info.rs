//! What start-up learned about a controller and its namespaces.

use super::operation::NamespaceId;
use crate::limits::{BLOCK_BYTES_LOG2, TRANSFER_BYTES_MAX};
use crate::spec::{
    COMPLETION_ENTRY_SHIFT, Capabilities, IdentifyController, IdentifyNamespace,
    OptionalNvmCommands, SUBMISSION_ENTRY_SHIFT,
};

/// ASCII of a fixed field, without its padding; what cannot be printed is a question mark.
pub type Text<const BYTES: usize> = heapless::String<BYTES>;

/// What Identify Controller says, as far as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerInfo {
    /// Model number.
    pub model: Text<40>,
    /// Serial number.
    pub serial: Text<20>,
    /// Firmware revision.
    pub firmware: Text<8>,
    /// PCI vendor.
    pub pci_vendor: u16,
    /// Bytes of the longest transfer: what the controller takes (MDTS), at most 128 KiB.
    pub transfer_bytes_max: u32,
    /// Writes that have completed may be lost with power until they are flushed (VWC).
    pub volatile_write_cache: bool,
    /// Which optional commands it has (ONCS).
    pub optional_commands: OptionalNvmCommands,
    /// Blocks written all or not at all across a power loss (AWUPF + 1).
    pub atomic_blocks_power_fail: u32,
    /// Abort commands it takes at once (ACL + 1).
    pub aborts_max: u16,
    /// How long an orderly shutdown may take (RTD3E), in microseconds; 0 when not told.
    pub shutdown_latency_us: u32,
}

impl ControllerInfo {
    pub(super) fn new(identify: &IdentifyController, capabilities: Capabilities) -> Self {
        ControllerInfo {
            model: text(&identify.model),
            serial: text(&identify.serial),
            firmware: text(&identify.firmware),
            pci_vendor: identify.pci_vendor.get(),
            transfer_bytes_max: transfer_bytes_max(identify, capabilities),
            volatile_write_cache: identify.volatile_write_cache & 1 != 0,
            optional_commands: identify.optional_nvm_commands.get().into(),
            atomic_blocks_power_fail: u32::from(identify.atomic_write_power_fail_blocks_0.get())
                + 1,
            aborts_max: u16::from(identify.abort_limit_0) + 1,
            shutdown_latency_us: identify.entry_latency_us.get(),
        }
    }
}

/// MDTS counts in the controller's least page (Base §5.17.2.1).
fn transfer_bytes_max(identify: &IdentifyController, capabilities: Capabilities) -> u32 {
    let shift = u32::from(identify.max_transfer_shift);
    if shift == 0 {
        return TRANSFER_BYTES_MAX;
    }
    let log2 = shift + 12 + u32::from(capabilities.page_size_min());
    1u32.checked_shl(log2)
        .unwrap_or(u32::MAX)
        .min(TRANSFER_BYTES_MAX)
}

/// Whether queue entries of 64 and 16 bytes are taken (SQES, CQES).
pub(super) fn entry_sizes_fit(identify: &IdentifyController) -> bool {
    let fits = |sizes: u8, shift: u8| (sizes & 0xf) <= shift && shift <= sizes >> 4;
    fits(identify.submission_entry_sizes, SUBMISSION_ENTRY_SHIFT)
        && fits(identify.completion_entry_sizes, COMPLETION_ENTRY_SHIFT)
}

/// A namespace that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NamespaceInfo {
    /// Its number.
    pub id: NamespaceId,
    /// Its size in blocks. The size in bytes fits a `u64`.
    pub blocks: u64,
    /// Bytes of a block: 512, 1024, 2048 or 4096.
    pub block_bytes: u32,
}

impl NamespaceInfo {
    /// `None` when it is empty, has metadata, or blocks of a size that is not served.
    pub(super) fn new(id: NamespaceId, identify: &IdentifyNamespace) -> Option<Self> {
        let format = identify.current_format();
        let blocks = identify.size_blocks.get();
        let plain = format.metadata_bytes() == 0 && blocks > 0;
        if !plain || !BLOCK_BYTES_LOG2.contains(&format.block_shift()) {
            return None;
        }
        let block_bytes = 1u32 << format.block_shift();
        blocks.checked_mul(u64::from(block_bytes))?;
        Some(NamespaceInfo {
            id,
            blocks,
            block_bytes,
        })
    }

    /// Its size in bytes.
    pub const fn bytes(&self) -> u64 {
        self.blocks * self.block_bytes as u64
    }
}

fn text<const BYTES: usize>(field: &[u8; BYTES]) -> Text<BYTES> {
    let mut text = Text::new();
    let end = field
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    for &byte in field[..end].trim_ascii() {
        let printable = byte == b' ' || byte.is_ascii_graphic();
        // As long as the field, so it cannot be full.
        let _ = text.push(if printable { char::from(byte) } else { '?' });
    }
    text
}
