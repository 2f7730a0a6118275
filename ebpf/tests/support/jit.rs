//! Executable memory of this platform, and programs compiled into it.
#![allow(unsafe_code)] // It promises of the memory what `CodeMemory` asks for.
#![allow(dead_code, unreachable_pub, missing_docs)]

use ebpf::jit::{CodeMemory, JitError, JitStore, table_for};
use ebpf::limits::CODE_SLOTS_MAX;
use ebpf::{AccessPlan, Isolation, Program};
use memmap2::{Mmap, MmapMut};

/// Memory from the system, which is writable or executable.
#[derive(Debug)]
pub struct Mapped {
    bytes: usize,
    state: Mapping,
}

#[derive(Debug)]
enum Mapping {
    Writable(MmapMut),
    Executable(Mmap),
    /// The system refused a change.
    Lost,
}

impl Mapped {
    /// Some bytes of it.
    pub fn new(bytes: usize) -> Mapped {
        let mapping = MmapMut::map_anon(bytes).expect("there is memory");
        Mapped {
            bytes,
            state: Mapping::Writable(mapping),
        }
    }

    /// The bytes, whatever they are.
    pub fn bytes(&self) -> &[u8] {
        match &self.state {
            Mapping::Writable(mapping) => mapping,
            Mapping::Executable(mapping) => mapping,
            Mapping::Lost => &[],
        }
    }
}

// SAFETY: the mapping is never writable and executable at once, since its type changes with it, and
// it lies at one place until it is dropped. This machine's instruction caches follow its stores.
unsafe impl CodeMemory for Mapped {
    type Error = std::io::Error;

    fn unseal(&mut self) -> Result<&mut [u8], Self::Error> {
        self.state = match std::mem::replace(&mut self.state, Mapping::Lost) {
            Mapping::Executable(mapping) => Mapping::Writable(mapping.make_mut()?),
            Mapping::Writable(mapping) => Mapping::Writable(mapping),
            Mapping::Lost => Mapping::Writable(MmapMut::map_anon(self.bytes)?),
        };
        match &mut self.state {
            Mapping::Writable(mapping) => Ok(mapping),
            _ => Err(std::io::ErrorKind::Other.into()),
        }
    }

    fn seal(&mut self, _: usize) -> Result<(), Self::Error> {
        self.state = match std::mem::replace(&mut self.state, Mapping::Lost) {
            Mapping::Writable(mapping) => Mapping::Executable(mapping.make_exec()?),
            other => other,
        };
        Ok(())
    }

    fn sealed(&self) -> Option<*const u8> {
        match &self.state {
            Mapping::Executable(mapping) => Some(mapping.as_ptr()),
            _ => None,
        }
    }
}

/// Room for one program.
pub type Store = JitStore<Mapped, { table_for(CODE_SLOTS_MAX) }>;

/// Room for a program of any length.
pub fn store(bytes: usize) -> Store {
    JitStore::new(Mapped::new(bytes))
}

/// Compiles a program into room of its own.
pub fn compile(
    program: &Program<'_>,
    plan: &AccessPlan,
    isolation: Isolation,
) -> Result<Box<Store>, JitError> {
    let mut store = Box::new(store(64 * 1024 + 128 * program.slots().len()));
    store.compile(program, plan, isolation)?;
    Ok(store)
}
