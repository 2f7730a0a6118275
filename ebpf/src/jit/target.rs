//! The machines that there is an encoder for.

/// A machine to compile for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// x86-64, without any extension.
    X86_64,
}

impl Target {
    /// This machine, if there is an encoder for it.
    pub const HOST: Option<Target> = if cfg!(target_arch = "x86_64") {
        Some(Target::X86_64)
    } else {
        None
    };
}
