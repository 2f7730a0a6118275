//! The Commands Supported and Effects log (Base §5.16.1.6).

use bitfield_struct::bitfield;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Effects of one command (Base §5.16.1.6, Figure 211).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct CommandEffects {
    /// CSUPP: the command is supported.
    pub supported: bool,
    /// LBCC: it may change the content of logical blocks.
    pub changes_data: bool,
    /// NCC: it may change what a namespace can do.
    pub changes_namespace: bool,
    /// NIC: it may change which namespaces there are.
    pub changes_inventory: bool,
    /// CCC: it may change what the controller can do.
    pub changes_controller: bool,
    #[bits(11)]
    __: u16,
    /// CSE: what must not run beside it.
    #[bits(3)]
    pub exclusion: u8,
    /// A UUID may be selected.
    pub uuid_selectable: bool,
    /// CSP: its scope.
    #[bits(12)]
    pub scope: u16,
}

/// The log page (Base §5.16.1.6, Figure 210), 4096 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct EffectsLog {
    /// Admin commands by opcode: each a [`CommandEffects`].
    pub admin: [U32; 256],
    /// I/O commands by opcode.
    pub io: [U32; 256],
    reserved: [u8; 2048],
}

const _: () = assert!(size_of::<EffectsLog>() == 4096);

impl Default for EffectsLog {
    fn default() -> Self {
        Self {
            admin: [U32::ZERO; 256],
            io: [U32::ZERO; 256],
            reserved: [0; 2048],
        }
    }
}
