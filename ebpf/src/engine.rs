//! The seam behind which programs are executed.

use crate::fault::Outcome;
use crate::host::Host;
use crate::interpreter;
use crate::memory::Memory;
use crate::program::Program;
use crate::state::State;

/// Something that executes programs. Engines agree on results, memory, helper calls, the meter and
/// the faulting instruction, unless one says which of these it cannot provide.
pub trait Engine {
    /// Its name, for messages and figures.
    fn name(&self) -> &'static str;

    /// Runs an invocation as [`run`](crate::run) does.
    fn run<H: Host>(
        &self,
        program: &Program<'_>,
        state: &mut State,
        memory: &mut Memory<'_>,
        host: &mut H,
        slice: u32,
    ) -> Outcome;
}

/// The checked interpreter.
#[derive(Clone, Copy, Default, Debug)]
pub struct Interpreter;

impl Engine for Interpreter {
    fn name(&self) -> &'static str {
        "interpreter"
    }

    fn run<H: Host>(
        &self,
        program: &Program<'_>,
        state: &mut State,
        memory: &mut Memory<'_>,
        host: &mut H,
        slice: u32,
    ) -> Outcome {
        interpreter::run(program, state, memory, host, slice)
    }
}
