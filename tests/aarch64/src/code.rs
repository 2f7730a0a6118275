//! Pages for code: written or executed, never both.
#![allow(unsafe_code)] // It keeps the promise of `CodeMemory`.

use core::ptr::NonNull;

use ebpf::jit::{CodeMemory, publish};

use crate::linux::{self, Protection};

/// Pages from the kernel.
pub(crate) struct Pages {
    start: NonNull<u8>,
    bytes: usize,
    protection: Protection,
}

/// The kernel refused.
#[derive(Debug)]
pub(crate) struct Refused;

impl Pages {
    /// That many bytes, a multiple of [`linux::PAGE_BYTES`]; none if there are none to be had.
    pub(crate) fn new(bytes: usize) -> Option<Pages> {
        let start = linux::map(bytes)?;
        Some(Pages {
            start,
            bytes,
            protection: Protection::Writable,
        })
    }

    fn protect(&mut self, protection: Protection) -> Result<(), Refused> {
        if self.protection == protection {
            return Ok(());
        }
        // SAFETY: they are this one's own; `&mut self` says that nobody holds the bytes, and
        // whoever executes them borrows what they are sealed in.
        let done = unsafe { linux::protect(self.start, self.bytes, protection) };
        if !done {
            return Err(Refused);
        }
        self.protection = protection;
        Ok(())
    }
}

// SAFETY: the pages' protection is what `protection` says, and they are writable and executable
// never at once. The caches are told before they are executed.
unsafe impl CodeMemory for Pages {
    type Error = Refused;

    fn unseal(&mut self) -> Result<&mut [u8], Refused> {
        self.protect(Protection::Writable)?;
        // SAFETY: they are mapped and this one's own, and may be written now.
        Ok(unsafe { core::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) })
    }

    fn seal(&mut self, len: usize) -> Result<(), Refused> {
        let len = len.min(self.bytes);
        // SAFETY: they are mapped.
        unsafe { publish(self.start.as_ptr(), len) };
        self.protect(Protection::Executable)
    }

    fn sealed(&self) -> Option<*const u8> {
        let is_sealed = self.protection == Protection::Executable;
        is_sealed.then_some(self.start.as_ptr().cast_const())
    }
}
