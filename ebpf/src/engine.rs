//! The seam behind which programs are executed.

use crate::fast::{Decoded, run_decoded};
use crate::fault::Outcome;
use crate::host::Host;
use crate::interpreter;
use crate::memory::Memory;
use crate::program::Program;
use crate::state::State;

/// Something that executes one program, in whatever form it has been prepared. Engines agree on
/// results, memory, helper calls, the meter and the faulting instruction, unless one says which of
/// these it cannot provide.
pub trait Engine {
    /// Its name, for messages and figures.
    fn name(&self) -> &'static str;

    /// Runs an invocation of the program as [`run`](crate::run) does.
    fn run<H: Host>(
        &self,
        state: &mut State,
        memory: &mut Memory<'_>,
        host: &mut H,
        slice: u32,
    ) -> Outcome;
}

/// The checked interpreter, which takes a program as it is.
#[derive(Clone, Copy, Debug)]
pub struct Interpreter<'p>(pub Program<'p>);

impl Engine for Interpreter<'_> {
    fn name(&self) -> &'static str {
        "interpreter-checked"
    }

    fn run<H: Host>(
        &self,
        state: &mut State,
        memory: &mut Memory<'_>,
        host: &mut H,
        slice: u32,
    ) -> Outcome {
        interpreter::run(&self.0, state, memory, host, slice)
    }
}

/// The interpreter of the decoded form. A program with proved accesses needs
/// [`run_proved`](crate::fast::run_proved) and is a fault here.
impl Engine for Decoded<'_> {
    fn name(&self) -> &'static str {
        "interpreter"
    }

    fn run<H: Host>(
        &self,
        state: &mut State,
        memory: &mut Memory<'_>,
        host: &mut H,
        slice: u32,
    ) -> Outcome {
        run_decoded(self, state, memory, host, slice)
    }
}
