//! Controller registers (Base §3.1.3, PCIe §3.1.2).

use bitfield_struct::bitfield;

/// Offsets of the registers from the start of the controller's register space (Base §3.1.3, Figure 35).
pub mod offset {
    /// Controller Capabilities, 64 bits.
    pub const CAP: u32 = 0x00;
    /// Version, 32 bits.
    pub const VS: u32 = 0x08;
    /// Interrupt Mask Set, 32 bits.
    pub const INTMS: u32 = 0x0c;
    /// Interrupt Mask Clear, 32 bits.
    pub const INTMC: u32 = 0x10;
    /// Controller Configuration, 32 bits.
    pub const CC: u32 = 0x14;
    /// Controller Status, 32 bits.
    pub const CSTS: u32 = 0x1c;
    /// NVM Subsystem Reset, 32 bits.
    pub const NSSR: u32 = 0x20;
    /// Admin Queue Attributes, 32 bits.
    pub const AQA: u32 = 0x24;
    /// Admin Submission Queue base address, 64 bits.
    pub const ASQ: u32 = 0x28;
    /// Admin Completion Queue base address, 64 bits.
    pub const ACQ: u32 = 0x30;
    /// Controller Ready Timeouts, 32 bits.
    pub const CRTO: u32 = 0x68;
    /// First doorbell (PCIe §3.1.2): the admin submission queue's tail.
    pub const DOORBELLS: u32 = 0x1000;
}

/// CAP, Controller Capabilities (Base §3.1.3.1).
#[bitfield(u64)]
#[derive(PartialEq, Eq)]
pub struct Capabilities {
    /// MQES: the largest queue size, 0's based (an entry count of one is 0).
    pub max_queue_entries_0: u16,
    /// CQR: queues must be physically contiguous.
    pub contiguous_queues_required: bool,
    /// AMS: optional arbitration mechanisms.
    #[bits(2)]
    pub arbitration_mechanisms: u8,
    #[bits(5)]
    __: u8,
    /// TO: the worst time CSTS.RDY takes to follow CC.EN, in units of 500 ms.
    pub timeout_500ms: u8,
    /// DSTRD: doorbells are `4 << stride` bytes apart.
    #[bits(4)]
    pub doorbell_stride: u8,
    /// NSSRS: NVM subsystem reset is supported.
    pub subsystem_reset: bool,
    /// CSS bit 0: the NVM command set is supported.
    pub nvm_command_set: bool,
    #[bits(5)]
    __: u8,
    /// CSS bit 6: one or more I/O command sets, selected by Identify.
    pub io_command_sets: bool,
    /// CSS bit 7: admin commands only; beside bit 0 a choice of the host's.
    pub no_io_command_set: bool,
    /// BPS: boot partitions are supported.
    pub boot_partitions: bool,
    /// CPS: controller power scope.
    #[bits(2)]
    pub power_scope: u8,
    /// MPSMIN: the smallest memory page is `4096 << page_size_min`.
    #[bits(4)]
    pub page_size_min: u8,
    /// MPSMAX: the largest memory page is `4096 << page_size_max`.
    #[bits(4)]
    pub page_size_max: u8,
    /// PMRS: a persistent memory region is supported.
    pub persistent_memory_region: bool,
    /// CMBS: a controller memory buffer is supported.
    pub controller_memory_buffer: bool,
    /// NSSS: NVM subsystem shutdown is supported.
    pub subsystem_shutdown: bool,
    /// CRMS, controller ready modes: bit 0 with media, bit 1 independent of media. Bit 0 is 1 from
    /// revision 2.0 on.
    #[bits(2)]
    pub ready_modes: u8,
    #[bits(3)]
    __: u8,
}

/// VS, Version (Base §3.1.3.2).
#[bitfield(u32)]
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// TER.
    pub tertiary: u8,
    /// MNR.
    pub minor: u8,
    /// MJR.
    pub major: u16,
}

/// CC, Controller Configuration (Base §3.1.3.5).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct Configuration {
    /// EN: 1 enables; 1 to 0 resets the controller.
    pub enable: bool,
    #[bits(3)]
    __: u8,
    /// CSS: the I/O command set selected, 0 for the NVM command set.
    #[bits(3)]
    pub command_set: u8,
    /// MPS: the host's memory page is `4096 << page_size`.
    #[bits(4)]
    pub page_size: u8,
    /// AMS: the arbitration selected, 0 for round robin.
    #[bits(3)]
    pub arbitration: u8,
    /// SHN: a shutdown notification; see [`Configuration::SHUTDOWN_NORMAL`].
    #[bits(2)]
    pub shutdown: u8,
    /// IOSQES: a submission entry is `1 << n` bytes; 6 in the NVM command set.
    #[bits(4)]
    pub submission_entry_size: u8,
    /// IOCQES: a completion entry is `1 << n` bytes; 4 in the NVM command set.
    #[bits(4)]
    pub completion_entry_size: u8,
    /// CRIME: controller ready independent of media.
    pub ready_independent_of_media: bool,
    #[bits(7)]
    __: u8,
}

impl Configuration {
    /// CC.SHN: no notification.
    pub const SHUTDOWN_NONE: u8 = 0b00;
    /// CC.SHN: normal shutdown.
    pub const SHUTDOWN_NORMAL: u8 = 0b01;
    /// CC.SHN: abrupt shutdown.
    pub const SHUTDOWN_ABRUPT: u8 = 0b10;
}

/// CSTS, Controller Status (Base §3.1.3.6).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ControllerStatus {
    /// RDY: the controller takes commands.
    pub ready: bool,
    /// CFS: a fatal error that could not be told through a completion queue.
    pub fatal: bool,
    /// SHST: how far a shutdown is; see [`ControllerStatus::SHUTDOWN_COMPLETE`].
    #[bits(2)]
    pub shutdown: u8,
    /// NSSRO: a subsystem reset occurred; written 1 to clear.
    pub subsystem_reset_occurred: bool,
    /// PP: processing paused.
    pub paused: bool,
    /// ST: the shutdown reported is a subsystem shutdown.
    pub subsystem_shutdown: bool,
    #[bits(25)]
    __: u32,
}

impl ControllerStatus {
    /// SHST: normal operation.
    pub const SHUTDOWN_NONE: u8 = 0b00;
    /// SHST: shutdown processing occurring.
    pub const SHUTDOWN_OCCURRING: u8 = 0b01;
    /// SHST: shutdown processing complete.
    pub const SHUTDOWN_COMPLETE: u8 = 0b10;
}

/// CRTO, Controller Ready Timeouts (Base §3.1.3.21, Figure 62). Means something where CAP.CRMS is not 0.
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct ReadyTimeouts {
    /// CRWMT: the worst time CSTS.RDY takes to follow CC.EN up, media ready, in units of 500 ms.
    pub media_ready_500ms: u16,
    /// CRIMT: the same without waiting for media.
    pub media_independent_500ms: u16,
}

/// AQA, Admin Queue Attributes (Base §3.1.3.8).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct AdminQueueAttributes {
    /// ASQS: entries of the admin submission queue, 0's based; 1 to 4095.
    #[bits(12)]
    pub submission_entries_0: u16,
    #[bits(4)]
    __: u8,
    /// ACQS: entries of the admin completion queue, 0's based; 1 to 4095.
    #[bits(12)]
    pub completion_entries_0: u16,
    #[bits(4)]
    __: u8,
}

/// What is written to NSSR to reset the subsystem: "NVMe" (Base §3.1.3.7).
pub const SUBSYSTEM_RESET_VALUE: u32 = 0x4e56_4d65;

/// Offset of the submission queue tail doorbell of queue `queue` (PCIe §3.1.2.1).
///
/// Saturates at `u32::MAX`, where no register is.
pub const fn submission_doorbell(queue: u16, stride: u8) -> u32 {
    doorbell(2 * queue as u64, stride)
}

/// Offset of the completion queue head doorbell of queue `queue` (PCIe §3.1.2.2).
///
/// Saturates at `u32::MAX`, where no register is.
pub const fn completion_doorbell(queue: u16, stride: u8) -> u32 {
    doorbell(2 * queue as u64 + 1, stride)
}

const fn doorbell(index: u64, stride: u8) -> u32 {
    let at = offset::DOORBELLS as u64 + index * (4 << (stride & 0xf));
    if at > u32::MAX as u64 {
        u32::MAX
    } else {
        at as u32
    }
}
