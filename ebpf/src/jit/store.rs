//! Compiled programs, and room for them.
#![allow(unsafe_code)] // It says of code that it may be run; see `Compiled::new`.

use super::code::CodeMemory;
use super::error::JitError;
use super::job::{Job, Layout};
use super::run::run_compiled;
use super::target::Target;
use crate::access::AccessPlan;
use crate::check::Checked;
use crate::engine::Engine;
use crate::fast::Isolation;
use crate::fault::Outcome;
use crate::host::Host;
use crate::memory::Memory;
use crate::program::Program;
use crate::state::State;

/// A program as machine code that can be run here.
#[derive(Clone, Copy, Debug)]
pub struct Compiled<'a> {
    pub(super) code: *const u8,
    pub(super) table: &'a [u32],
    pub(super) checked: &'a Checked,
    pub(super) layout: Layout,
}

impl<'a> Compiled<'a> {
    /// What a [`Job`] made for a program, to be run.
    ///
    /// # Errors
    /// The code is for another machine, or the table is too short.
    ///
    /// # Safety
    /// A job of this very layout ended with these entries in `table`; what it wrote into its area lies
    /// at `code`, can be executed, and stays so for `'a`, as [`CodeMemory`] has it. `checked` is the
    /// program's.
    pub unsafe fn new(
        code: *const u8,
        table: &'a [u32],
        checked: &'a Checked,
        layout: Layout,
    ) -> Result<Compiled<'a>, JitError> {
        if Target::HOST != Some(layout.target) {
            return Err(JitError::ForeignTarget);
        }
        let needed = super::table_for(layout.slots as usize);
        let table = table
            .get(..needed)
            .ok_or(JitError::TableTooSmall { needed })?;
        Ok(Compiled {
            code,
            table,
            checked,
            layout,
        })
    }

    /// The program's slots.
    #[must_use]
    pub const fn slots(&self) -> u32 {
        self.layout.slots
    }

    /// Bytes of its code.
    #[must_use]
    pub const fn code_bytes(&self) -> usize {
        self.layout.len
    }

    /// True if some of its accesses carry no check.
    #[must_use]
    pub const fn has_proofs(&self) -> bool {
        self.layout.has_proofs
    }
}

/// Machine code. A program with proved accesses needs [`run_proved`](super::run_proved) and is a
/// fault here.
impl Engine for Compiled<'_> {
    fn name(&self) -> &'static str {
        "jit"
    }

    fn run<H: Host>(
        &self,
        state: &mut State,
        memory: &mut Memory<'_>,
        host: &mut H,
        slice: u32,
    ) -> Outcome {
        run_compiled(self, state, memory, host, slice)
    }
}

/// Room for one program's code, its table and what else is needed to run it. `ENTRIES` is
/// [`table_for`](super::table_for) the most slots.
#[derive(Debug)]
pub struct JitStore<M, const ENTRIES: usize> {
    memory: M,
    table: [u32; ENTRIES],
    /// What was compiled last, if it was.
    kept: Option<(Layout, Checked)>,
}

impl<M: CodeMemory, const ENTRIES: usize> JitStore<M, ENTRIES> {
    /// An empty one over memory of the platform's.
    pub const fn new(memory: M) -> JitStore<M, ENTRIES> {
        JitStore {
            memory,
            table: [0; ENTRIES],
            kept: None,
        }
    }

    /// Compiles a program for this machine, in place of what it held.
    ///
    /// # Errors
    /// As [`Job::step`]; or there is no encoder for this machine, or the platform refuses. Then it
    /// is empty.
    pub fn compile(
        &mut self,
        program: &Program<'_>,
        plan: &AccessPlan,
        isolation: Isolation,
    ) -> Result<(), JitError> {
        let mut job = self.begin(program, isolation)?;
        // SAFETY: the job has just begun, with this program, and the plan does not change.
        while !unsafe { self.step(&mut job, program, plan, u32::MAX)? } {}
        Ok(())
    }

    /// Begins to compile a program for this machine, in place of what it held, in steps.
    ///
    /// # Errors
    /// There is no encoder for this machine, or the program is too long.
    pub fn begin(&mut self, program: &Program<'_>, isolation: Isolation) -> Result<Job, JitError> {
        self.kept = None;
        let target = Target::HOST.ok_or(JitError::ForeignTarget)?;
        Job::new(program, isolation, target)
    }

    /// Goes on compiling, as [`Job::step`] does, and says whether the program can be run now.
    ///
    /// # Errors
    /// As [`Job::step`], or the platform refuses. Then it is empty, and the job is over.
    ///
    /// # Safety
    /// The job began here, nothing else has since, and each step was given the same plan and the
    /// program that it began with, both unchanged.
    pub unsafe fn step(
        &mut self,
        job: &mut Job,
        program: &Program<'_>,
        plan: &AccessPlan,
        slots: u32,
    ) -> Result<bool, JitError> {
        let area = self.memory.unseal().map_err(|_| JitError::Platform)?;
        let Some(layout) = job.step(program, plan, area, &mut self.table, slots)? else {
            return Ok(false);
        };
        let sealed = self.memory.seal(layout.len);
        sealed.map_err(|_| JitError::Platform)?;
        self.kept = Some((layout, program.checked.clone()));
        Ok(true)
    }

    /// What it holds.
    #[must_use]
    pub fn get(&self) -> Option<Compiled<'_>> {
        let (layout, checked) = self.kept.as_ref()?;
        let code = self.memory.sealed()?;
        // SAFETY: a job that came to this layout wrote to this memory and table last, and the
        // memory has been sealed since; while the result is borrowed, nothing changes them.
        unsafe { Compiled::new(code, &self.table, checked, *layout).ok() }
    }

    /// What it holds as bytes, for those who want to look at them.
    #[must_use]
    pub const fn memory(&self) -> &M {
        &self.memory
    }
}
