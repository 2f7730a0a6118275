//! Identify data structures (Base §5.17.2, NVM §4.1.5).

use bitfield_struct::bitfield;
use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::open_enum::open_enum;

/// Bytes of every Identify data structure.
pub const IDENTIFY_BYTES: usize = 4096;
/// Namespace ids in one active namespace list.
pub const NAMESPACE_LIST_ENTRIES: usize = 1024;

open_enum! {
    /// CNS: which structure Identify returns (Base §5.17.1, Figure 273).
    pub struct Cns(u8) called "identify structure";
    NAMESPACE = 0x00, "Identify Namespace";
    CONTROLLER = 0x01, "Identify Controller";
    ACTIVE_NAMESPACES = 0x02, "Active Namespace ID list";
    NAMESPACE_DESCRIPTORS = 0x03, "Namespace Identification Descriptor list";
    NVM_SETS = 0x04, "NVM Set List";
    COMMAND_SET_NAMESPACE = 0x05, "I/O Command Set specific Identify Namespace";
    COMMAND_SET_CONTROLLER = 0x06, "I/O Command Set specific Identify Controller";
    COMMAND_SET_ACTIVE_NAMESPACES = 0x07, "I/O Command Set specific Active Namespace ID list";
    INDEPENDENT_NAMESPACE = 0x08, "I/O Command Set independent Identify Namespace";
    ALLOCATED_NAMESPACES = 0x10, "Allocated Namespace ID list";
    ALLOCATED_NAMESPACE = 0x11, "Identify Namespace of an allocated namespace";
    NAMESPACE_CONTROLLERS = 0x12, "Controller list of a namespace";
    CONTROLLERS = 0x13, "Controller list of the subsystem";
    COMMAND_SETS = 0x1c, "I/O Command Set data structure";
}

/// Identify Controller (Base §5.17.2.1, Figure 275). Field comments name the specification's short name.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyController {
    /// VID.
    pub pci_vendor: U16,
    /// SSVID.
    pub pci_subsystem_vendor: U16,
    /// SN: ASCII, padded with spaces.
    pub serial: [u8; 20],
    /// MN: ASCII, padded with spaces.
    pub model: [u8; 40],
    /// FR: ASCII, padded with spaces.
    pub firmware: [u8; 8],
    /// RAB: recommended arbitration burst.
    pub arbitration_burst: u8,
    /// IEEE OUI.
    pub ieee_oui: [u8; 3],
    /// CMIC.
    pub multipath: u8,
    /// MDTS: the largest transfer is `(4096 << CAP.MPSMIN) << n`; 0 for no limit.
    pub max_transfer_shift: u8,
    /// CNTLID.
    pub controller_id: U16,
    /// VER: a [`Version`](super::Version).
    pub version: U32,
    /// RTD3R, in microseconds.
    pub resume_latency_us: U32,
    /// RTD3E, in microseconds.
    pub entry_latency_us: U32,
    /// OAES: optional asynchronous events.
    pub optional_events: U32,
    /// CTRATT.
    pub attributes: U32,
    /// RRLS.
    pub read_recovery_levels: U16,
    reserved_102: [u8; 9],
    /// CNTRLTYPE: 1 for an I/O controller.
    pub controller_type: u8,
    /// FGUID.
    pub fru_guid: [u8; 16],
    /// CRDT1 to CRDT3, in units of 100 ms.
    pub retry_delay_100ms: [U16; 3],
    reserved_134: [u8; 119],
    /// NVMSR.
    pub subsystem_report: u8,
    /// VWCI.
    pub vpd_write_cycles: u8,
    /// MEC.
    pub management_endpoint: u8,
    /// OACS: optional admin commands.
    pub optional_admin_commands: U16,
    /// ACL: Abort commands outstanding at once, 0's based.
    pub abort_limit_0: u8,
    /// AERL: Asynchronous Event Requests outstanding at once, 0's based.
    pub event_request_limit_0: u8,
    /// FRMW.
    pub firmware_updates: u8,
    /// LPA: a [`LogPageAttributes`].
    pub log_page_attributes: u8,
    /// ELPE: entries of the Error Information log, 0's based.
    pub error_log_entries_0: u8,
    /// NPSS: power states, 0's based.
    pub power_states_0: u8,
    /// AVSCC.
    pub admin_vendor_config: u8,
    /// APSTA.
    pub autonomous_power_states: u8,
    /// WCTEMP, in kelvins.
    pub warning_temperature_kelvin: U16,
    /// CCTEMP, in kelvins.
    pub critical_temperature_kelvin: U16,
    /// MTFA, in units of 100 ms.
    pub firmware_activation_100ms: U16,
    /// HMPRE, in units of 4 KiB.
    pub host_memory_preferred_4k: U32,
    /// HMMIN, in units of 4 KiB.
    pub host_memory_min_4k: U32,
    /// TNVMCAP, in bytes.
    pub total_capacity_bytes: U128,
    /// UNVMCAP, in bytes.
    pub unallocated_capacity_bytes: U128,
    /// RPMBS.
    pub replay_protected_memory: U32,
    /// EDSTT, in minutes.
    pub self_test_minutes: U16,
    /// DSTO.
    pub self_test_options: u8,
    /// FWUG.
    pub firmware_granularity: u8,
    /// KAS, in units of 100 ms.
    pub keep_alive_100ms: U16,
    /// HCTMA.
    pub thermal_management: U16,
    /// MNTMT, in kelvins.
    pub thermal_min_kelvin: U16,
    /// MXTMT, in kelvins.
    pub thermal_max_kelvin: U16,
    /// SANICAP.
    pub sanitize: U32,
    /// HMMINDS.
    pub host_memory_descriptor_min: U32,
    /// HMMAXD.
    pub host_memory_descriptors_max: U16,
    /// NSETIDMAX.
    pub nvm_set_max: U16,
    /// ENDGIDMAX.
    pub endurance_group_max: U16,
    /// ANATT, in seconds.
    pub ana_transition_s: u8,
    /// ANACAP.
    pub ana_capabilities: u8,
    /// ANAGRPMAX.
    pub ana_group_max: U32,
    /// NANAGRPID.
    pub ana_groups: U32,
    /// PELS, in units of 64 KiB.
    pub persistent_event_log_64k: U32,
    /// Domain identifier.
    pub domain: U16,
    reserved_358: [u8; 10],
    /// MEGCAP.
    pub max_endurance_group_capacity: U128,
    reserved_384: [u8; 128],
    /// SQES: smallest entry in bits 3:0, largest in 7:4, both `log2`.
    pub submission_entry_sizes: u8,
    /// CQES: smallest entry in bits 3:0, largest in 7:4, both `log2`.
    pub completion_entry_sizes: u8,
    /// MAXCMD.
    pub max_commands: U16,
    /// NN: the largest valid namespace id.
    pub namespaces: U32,
    /// ONCS: an [`OptionalNvmCommands`].
    pub optional_nvm_commands: U16,
    /// FUSES.
    pub fused_operations: U16,
    /// FNA.
    pub format_attributes: u8,
    /// VWC: bit 0 a volatile write cache is present; bits 2:1 how Flush takes NSID FFFFFFFFh.
    pub volatile_write_cache: u8,
    /// AWUN, blocks, 0's based.
    pub atomic_write_blocks_0: U16,
    /// AWUPF, blocks, 0's based.
    pub atomic_write_power_fail_blocks_0: U16,
    /// ICSVSCC.
    pub nvm_vendor_config: u8,
    /// NWPC.
    pub write_protection: u8,
    /// ACWU, blocks, 0's based.
    pub atomic_compare_write_blocks_0: U16,
    /// OCFS: copy formats.
    pub copy_formats: U16,
    /// SGLS.
    pub sgl_support: U32,
    /// MNAN.
    pub max_allowed_namespaces: U32,
    /// MAXDNA.
    pub max_domain_namespaces: U128,
    /// MAXCNA.
    pub max_controller_namespaces: U32,
    reserved_564: [u8; 204],
    /// SUBNQN: UTF-8, terminated by a zero byte.
    pub subsystem_nqn: [u8; 256],
    reserved_1024: [u8; 768],
    /// Fields of NVMe over Fabrics.
    pub fabrics: [u8; 256],
    /// PSD0 to PSD31.
    pub power_states: [[u8; 32]; 32],
    /// Vendor specific.
    pub vendor: [u8; 1024],
}

const _: () = assert!(size_of::<IdentifyController>() == IDENTIFY_BYTES);

impl Default for IdentifyController {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

/// LPA, log page attributes (Base §5.17.2.1, byte 261).
#[bitfield(u8)]
#[derive(PartialEq, Eq)]
pub struct LogPageAttributes {
    /// The SMART log exists per namespace.
    pub smart_per_namespace: bool,
    /// The Commands Supported and Effects log exists.
    pub effects_log: bool,
    /// Get Log Page takes lengths and offsets of 32 and 64 bits.
    pub extended_data: bool,
    /// Telemetry.
    pub telemetry: bool,
    /// Persistent event log.
    pub persistent_event_log: bool,
    /// The logs 00h, 12h and 13h exist, and log 05h tells the scope of each command.
    pub effects_scopes: bool,
    #[bits(2)]
    __: u8,
}

/// ONCS, optional NVM commands (Base §5.17.2.1, bytes 521:520).
#[bitfield(u16)]
#[derive(PartialEq, Eq)]
pub struct OptionalNvmCommands {
    /// Compare.
    pub compare: bool,
    /// Write Uncorrectable.
    pub write_uncorrectable: bool,
    /// Dataset Management.
    pub dataset_management: bool,
    /// Write Zeroes.
    pub write_zeroes: bool,
    /// Save and Select in Set and Get Features.
    pub save_features: bool,
    /// Reservations.
    pub reservations: bool,
    /// Timestamp.
    pub timestamp: bool,
    /// Verify.
    pub verify: bool,
    /// Copy.
    pub copy: bool,
    #[bits(7)]
    __: u8,
}

/// One LBA format (NVM §4.1.5.1, Figure 98).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct LbaFormat {
    /// MS: bytes of metadata per block.
    pub metadata_bytes: u16,
    /// LBADS: a block is `1 << n` bytes; 0 when the format is not available, else at least 9.
    pub block_shift: u8,
    /// RP: relative performance, 0 best.
    #[bits(2)]
    pub relative_performance: u8,
    #[bits(6)]
    __: u8,
}

/// Identify Namespace of the NVM command set (NVM §4.1.5.1, Figure 97).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IdentifyNamespace {
    /// NSZE: blocks.
    pub size_blocks: U64,
    /// NCAP: blocks that may be allocated.
    pub capacity_blocks: U64,
    /// NUSE: blocks allocated.
    pub used_blocks: U64,
    /// NSFEAT.
    pub features: u8,
    /// NLBAF: formats, 0's based.
    pub formats_0: u8,
    /// FLBAS: the format in use, bits 3:0 and (upper) 6:5; bit 4 metadata in the data.
    pub format: u8,
    /// MC.
    pub metadata_capabilities: u8,
    /// DPC.
    pub protection_capabilities: u8,
    /// DPS.
    pub protection: u8,
    /// NMIC.
    pub multipath: u8,
    /// RESCAP.
    pub reservations: u8,
    /// FPI.
    pub format_progress: u8,
    /// DLFEAT: bits 2:0 = 1 when deallocated blocks read as zeroes; bit 3 Write Zeroes may deallocate.
    pub deallocate: u8,
    /// NAWUN, 0's based.
    pub atomic_write_blocks_0: U16,
    /// NAWUPF, 0's based.
    pub atomic_write_power_fail_blocks_0: U16,
    /// NACWU, 0's based.
    pub atomic_compare_write_blocks_0: U16,
    /// NABSN.
    pub atomic_boundary_blocks_0: U16,
    /// NABO.
    pub atomic_boundary_offset: U16,
    /// NABSPF.
    pub atomic_boundary_power_fail_blocks_0: U16,
    /// NOIOB.
    pub optimal_boundary_blocks: U16,
    /// NVMCAP, in bytes.
    pub capacity_bytes: U128,
    /// NPWG.
    pub preferred_write_granularity_0: U16,
    /// NPWA.
    pub preferred_write_alignment_0: U16,
    /// NPDG.
    pub preferred_deallocate_granularity_0: U16,
    /// NPDA.
    pub preferred_deallocate_alignment_0: U16,
    /// NOWS.
    pub optimal_write_size_0: U16,
    /// MSSRL.
    pub copy_range_blocks_max: U16,
    /// MCL.
    pub copy_blocks_max: U32,
    /// MSRC.
    pub copy_ranges_max_0: u8,
    reserved_81: [u8; 11],
    /// ANAGRPID.
    pub ana_group: U32,
    reserved_96: [u8; 3],
    /// NSATTR: bit 0 write protected.
    pub attributes: u8,
    /// NVMSETID.
    pub nvm_set: U16,
    /// ENDGID.
    pub endurance_group: U16,
    /// NGUID.
    pub nguid: [u8; 16],
    /// EUI64.
    pub eui64: [u8; 8],
    /// LBAF0 to LBAF63: each an [`LbaFormat`].
    pub formats: [U32; 64],
    /// Vendor specific.
    pub vendor: [u8; 3712],
}

const _: () = assert!(size_of::<IdentifyNamespace>() == IDENTIFY_BYTES);

impl Default for IdentifyNamespace {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl IdentifyNamespace {
    /// NSATTR bit 0: the namespace is write protected.
    pub const ATTRIBUTE_WRITE_PROTECTED: u8 = 1;

    /// The format in use, whose index FLBAS gives in bits 3:0 and, with more than 16 formats, 6:5.
    pub fn current_format(&self) -> LbaFormat {
        let mut index = usize::from(self.format & 0xf);
        if self.formats_0 > 15 {
            index |= usize::from((self.format >> 5) & 0b11) << 4;
        }
        LbaFormat::from(self.formats.get(index).map_or(0, |format| format.get()))
    }
}

/// Identify Namespace for every command set (Base §5.17.2.8, Figure 280).
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct IndependentNamespace {
    /// NSFEAT.
    pub features: u8,
    /// NMIC.
    pub multipath: u8,
    /// RESCAP.
    pub reservations: u8,
    /// FPI.
    pub format_progress: u8,
    /// ANAGRPID.
    pub ana_group: U32,
    /// NSATTR: bit 0 write protected.
    pub attributes: u8,
    reserved_9: u8,
    /// NVMSETID.
    pub nvm_set: U16,
    /// ENDGID.
    pub endurance_group: U16,
    /// NSTAT: bit 0 ready.
    pub status: u8,
    reserved_15: [u8; 4081],
}

const _: () = assert!(size_of::<IndependentNamespace>() == IDENTIFY_BYTES);

impl Default for IndependentNamespace {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl IndependentNamespace {
    /// NSTAT bit 0: the namespace is ready.
    pub const STATUS_READY: u8 = 1;
}

/// Active namespace list (Base §5.17.2.2): ids above the one asked about, rising, zero after the last.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct NamespaceList {
    /// The ids.
    pub ids: [U32; NAMESPACE_LIST_ENTRIES],
}

const _: () = assert!(size_of::<NamespaceList>() == IDENTIFY_BYTES);

impl Default for NamespaceList {
    fn default() -> Self {
        Self::new_zeroed()
    }
}

impl NamespaceList {
    /// The ids up to the first zero.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ids.iter().map(|id| id.get()).take_while(|&id| id != 0)
    }
}

/// Header of one entry of the Namespace Identification Descriptor list (Base §5.17.2.3, Figure 277).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct NamespaceDescriptor {
    /// NIDT: 1 EUI-64, 2 NGUID, 3 UUID, 4 command set.
    pub kind: u8,
    /// NIDL: bytes of the identifier that follows.
    pub bytes: u8,
    reserved: [u8; 2],
}

const _: () = assert!(size_of::<NamespaceDescriptor>() == 4);

impl NamespaceDescriptor {
    /// NIDT: an EUI-64, 8 bytes.
    pub const EUI64: u8 = 1;
    /// NIDT: an NGUID, 16 bytes.
    pub const NGUID: u8 = 2;
    /// NIDT: a UUID, 16 bytes.
    pub const UUID: u8 = 3;
    /// NIDT: the command set, 1 byte.
    pub const COMMAND_SET: u8 = 4;

    /// A header.
    pub const fn new(kind: u8, bytes: u8) -> Self {
        Self {
            kind,
            bytes,
            reserved: [0; 2],
        }
    }
}
