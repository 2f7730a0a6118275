//! Memory for machine code on this host: mapped from the system, writable or executable.
#![allow(unsafe_code)] // It promises of the memory what `CodeMemory` asks for.

use std::mem;

use dpu_firmware::code::{PlatformCode, PlatformRefused};
use ebpf::jit::{CodeMemory, publish};
use memmap2::{Mmap, MmapMut};

/// Maps memory for so many bytes of code, at the start of a page; none where the system has no more.
///
/// It is the platform's side of [`EngineKind::Jit`](dpu_firmware::execution::EngineKind::Jit). What is
/// never written takes up no memory.
pub fn map(bytes: usize) -> Option<PlatformCode> {
    Some(Box::new(mapped(bytes)?))
}

/// The same, for those who need no pointer to it.
pub(crate) fn mapped(bytes: usize) -> Option<Mapped> {
    MmapMut::map_anon(bytes).ok().map(Mapped::Writable)
}

/// Mapped memory.
pub(crate) enum Mapped {
    Writable(MmapMut),
    Executable(Mmap),
    /// The system refused a change.
    Lost,
}

// SAFETY: a mapping is never writable and executable at once, since the call that makes it the one
// makes it no longer the other, and it lies at one place until it is dropped. On x86-64 instruction
// caches follow stores (Intel SDM volume 3, section 13.6); on aarch64 they are told.
unsafe impl CodeMemory for Mapped {
    type Error = PlatformRefused;

    fn unseal(&mut self) -> Result<&mut [u8], PlatformRefused> {
        *self = match mem::replace(self, Mapped::Lost) {
            Mapped::Executable(mapping) => {
                Mapped::Writable(mapping.make_mut().map_err(|_| PlatformRefused)?)
            }
            other => other,
        };
        match self {
            Mapped::Writable(mapping) => Ok(mapping),
            _ => Err(PlatformRefused),
        }
    }

    fn seal(&mut self, len: usize) -> Result<(), PlatformRefused> {
        *self = match mem::replace(self, Mapped::Lost) {
            Mapped::Writable(mapping) => {
                let mapping = mapping.make_exec().map_err(|_| PlatformRefused)?;
                // SAFETY: the bytes are mapped, and may be read.
                unsafe { publish(mapping.as_ptr(), len.min(mapping.len())) };
                Mapped::Executable(mapping)
            }
            other => other,
        };
        self.sealed().map(|_| ()).ok_or(PlatformRefused)
    }

    fn sealed(&self) -> Option<*const u8> {
        match self {
            Mapped::Executable(mapping) => Some(mapping.as_ptr()),
            _ => None,
        }
    }
}
