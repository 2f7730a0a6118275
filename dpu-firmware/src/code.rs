//! Memory for machine code, as the platform gives it to an agent that compiles programs.
#![allow(unsafe_code)] // It hands on what `CodeMemory` promises.

use alloc::boxed::Box;

use ebpf::jit::CodeMemory;

/// The platform did not make memory writable or executable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformRefused;

/// Memory for the code of one program, of whatever kind the platform has.
pub type PlatformCode = Box<dyn CodeMemory<Error = PlatformRefused> + Send>;

/// Gives memory for so many bytes of code; none where the platform has no more. It is asked once for
/// each program that can be loaded, when the agent is made.
pub type MapCode = fn(bytes: usize) -> Option<PlatformCode>;

/// The same, where a type is needed that is code memory itself.
pub(crate) struct Code(pub(crate) PlatformCode);

impl core::fmt::Debug for Code {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Code").field(&self.0.sealed()).finish()
    }
}

// SAFETY: it does what the memory does that it stands for.
unsafe impl CodeMemory for Code {
    type Error = PlatformRefused;

    fn unseal(&mut self) -> Result<&mut [u8], PlatformRefused> {
        self.0.unseal()
    }

    fn seal(&mut self, len: usize) -> Result<(), PlatformRefused> {
        self.0.seal(len)
    }

    fn sealed(&self) -> Option<*const u8> {
        self.0.sealed()
    }
}
