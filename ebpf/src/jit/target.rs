//! The machines that there is an encoder for.

/// A machine to compile for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// 64-bit Arm from Armv8.0 on, little-endian.
    Aarch64,
    /// x86-64, without any extension.
    X86_64,
}

impl Target {
    /// This machine, if there is an encoder for it.
    pub const HOST: Option<Target> = if cfg!(target_arch = "x86_64") {
        Some(Target::X86_64)
    } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
        Some(Target::Aarch64)
    } else {
        None
    };
}
