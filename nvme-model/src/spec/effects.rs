//! What commands and features do: the logs about their effects (Base §5.16.1.6, §5.16.1.18).

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

impl CommandEffects {
    /// CSP: it touches namespaces.
    pub const SCOPE_NAMESPACE: u16 = 1 << 0;
    /// CSP: it touches the controller.
    pub const SCOPE_CONTROLLER: u16 = 1 << 1;
}

/// Effects of setting one feature (Base §5.16.1.18, Figure 256).
#[bitfield(u32)]
#[derive(PartialEq, Eq)]
pub struct FeatureEffects {
    /// FSUPP: the feature is supported.
    pub supported: bool,
    /// UDCC: it may change user data.
    pub changes_data: bool,
    /// NCC: it may change what a namespace can do.
    pub changes_namespace: bool,
    /// NIC: it may change which namespaces there are.
    pub changes_inventory: bool,
    /// CCC: it may change what the controller can do.
    pub changes_controller: bool,
    #[bits(14)]
    __: u16,
    /// A UUID may be selected.
    pub uuid_selectable: bool,
    /// FSP: its scope, with the bits of [`CommandEffects::scope`] and at most one of them.
    #[bits(12)]
    pub scope: u16,
}

/// The Feature Identifiers Supported and Effects log (Base §5.16.1.18, Figure 255), 1024 bytes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FeatureEffectsLog {
    /// By feature identifier: each a [`FeatureEffects`].
    pub features: [U32; 256],
}

impl Default for FeatureEffectsLog {
    fn default() -> Self {
        Self {
            features: [U32::ZERO; 256],
        }
    }
}

/// The Commands Supported and Effects log (Base §5.16.1.6, Figure 210), 4096 bytes.
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
