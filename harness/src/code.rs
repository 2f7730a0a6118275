//! Memory for machine code on a host, and a harness that has all engines of this machine.
#![allow(unsafe_code)] // It promises of the memory what `CodeMemory` asks for.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use std::io;

use ebpf::Isolation;
use ebpf::jit::{CodeMemory, Target, publish};
use memmap2::{Mmap, MmapMut};

use crate::compare::Harness;
use crate::engine::{Engine, Jit};

/// Room for the code of any program.
const CODE_BYTES: usize = 1 << 20;

/// A harness with all engines of this machine.
///
/// # Errors
/// The system gives no memory for code.
pub fn with_machine_code() -> io::Result<Harness> {
    let mut engines: Vec<Box<dyn Engine>> = Vec::new();
    if Target::HOST.is_some() {
        for (name, isolation) in [("jit", Isolation::Alone), ("jit-masked", Isolation::Shared)] {
            let memory = Mapped::Writable(MmapMut::map_anon(CODE_BYTES)?);
            engines.push(Box::new(Jit::new(name, isolation, memory)));
        }
    }
    Ok(Harness::with(engines))
}

enum Mapped {
    Writable(MmapMut),
    Executable(Mmap),
    /// The system refused a change.
    Lost,
}

// SAFETY: a mapping is never writable and executable at once, since the call that makes it the one
// makes it no longer the other, and it lies at one place until it is dropped. On x86-64 instruction
// caches follow stores (Intel SDM volume 3, section 13.6); on aarch64 they are told.
unsafe impl CodeMemory for Mapped {
    type Error = ();

    fn unseal(&mut self) -> Result<&mut [u8], ()> {
        *self = match mem::replace(self, Mapped::Lost) {
            Mapped::Executable(mapping) => Mapped::Writable(mapping.make_mut().map_err(|_| ())?),
            other => other,
        };
        match self {
            Mapped::Writable(mapping) => Ok(mapping),
            _ => Err(()),
        }
    }

    fn seal(&mut self, len: usize) -> Result<(), ()> {
        *self = match mem::replace(self, Mapped::Lost) {
            Mapped::Writable(mapping) => {
                let mapping = mapping.make_exec().map_err(|_| ())?;
                // SAFETY: the bytes are mapped, and may be read.
                unsafe { publish(mapping.as_ptr(), len.min(mapping.len())) };
                Mapped::Executable(mapping)
            }
            other => other,
        };
        self.sealed().map(|_| ()).ok_or(())
    }

    fn sealed(&self) -> Option<*const u8> {
        match self {
            Mapped::Executable(mapping) => Some(mapping.as_ptr()),
            _ => None,
        }
    }
}
