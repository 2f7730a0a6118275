//! The engines that are held against the referee.
//!
//! Another engine is another line in [`all`]; those that need something of the platform are given
//! to [`Harness::with`](crate::Harness::with).
#![allow(unsafe_code)] // Engines run proved programs; who calls them vouches for the proof.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use ebpf::fast::{DecodedStore, run_proved};
use ebpf::jit::{self, CodeMemory, JitStore, table_for};
use ebpf::limits::CODE_SLOTS_MAX;
use ebpf::{AccessPlan, Isolation, Memory, Outcome, Program, State};

use crate::helpers::Helpers;

/// An engine, and the program it has been given.
pub trait Engine {
    /// Its name.
    fn name(&self) -> &'static str;

    /// Takes a program that passed the check, with what is known of its accesses.
    ///
    /// # Errors
    /// Why it cannot run it. Every program can be run that passed the check, so this is a finding.
    fn prepare(&mut self, program: &Program<'_>, plan: &AccessPlan) -> Result<(), &'static str>;

    /// Runs a slice of an invocation of that program, as [`ebpf::run_planned`] does.
    ///
    /// # Safety
    /// As [`run_proved`]: what the plan calls proved holds for this invocation.
    unsafe fn run(
        &mut self,
        state: &mut State,
        memory: &mut Memory<'_>,
        host: &mut Helpers<'_>,
        slice: u32,
    ) -> Outcome;
}

/// One of each.
#[must_use]
pub fn all() -> Vec<Box<dyn Engine>> {
    vec![
        Box::new(Fast::new("interpreter", Isolation::Alone)),
        Box::new(Fast::new("interpreter-masked", Isolation::Shared)),
    ]
}

const OPS: usize = CODE_SLOTS_MAX + 1;

/// The interpreter of the decoded form.
struct Fast {
    name: &'static str,
    isolation: Isolation,
    store: Box<DecodedStore<OPS>>,
}

impl Fast {
    fn new(name: &'static str, isolation: Isolation) -> Fast {
        Fast {
            name,
            isolation,
            store: Box::new(DecodedStore::new()),
        }
    }
}

impl Engine for Fast {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self, program: &Program<'_>, plan: &AccessPlan) -> Result<(), &'static str> {
        let decoded = self.store.decode(program, plan, self.isolation);
        decoded.map_err(|_| "it cannot be decoded")
    }

    unsafe fn run(
        &mut self,
        state: &mut State,
        memory: &mut Memory<'_>,
        host: &mut Helpers<'_>,
        slice: u32,
    ) -> Outcome {
        let decoded = self.store.get().expect("a program was prepared");
        // SAFETY: the caller vouches for it.
        unsafe { run_proved(&decoded, state, memory, host, slice) }
    }
}

/// Machine code, in memory of the platform's.
pub struct Jit<M> {
    name: &'static str,
    isolation: Isolation,
    store: Box<JitStore<M, { table_for(CODE_SLOTS_MAX) }>>,
}

impl<M: CodeMemory> Jit<M> {
    /// One that compiles into `memory`, which has room for the code of any program.
    pub fn new(name: &'static str, isolation: Isolation, memory: M) -> Jit<M> {
        Jit {
            name,
            isolation,
            store: Box::new(JitStore::new(memory)),
        }
    }
}

impl<M: CodeMemory> Engine for Jit<M> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self, program: &Program<'_>, plan: &AccessPlan) -> Result<(), &'static str> {
        let compiled = self.store.compile(program, plan, self.isolation);
        compiled.map_err(|_| "it cannot be compiled")
    }

    unsafe fn run(
        &mut self,
        state: &mut State,
        memory: &mut Memory<'_>,
        host: &mut Helpers<'_>,
        slice: u32,
    ) -> Outcome {
        let compiled = self.store.get().expect("a program was prepared");
        // SAFETY: the caller vouches for it.
        unsafe { jit::run_proved(&compiled, state, memory, host, slice) }
    }
}
