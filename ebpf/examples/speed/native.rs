//! The engines that make machine code.
#![allow(unsafe_code)] // It vouches for the accesses of programs that are written in the example.

use ebpf::jit::run_proved;
use ebpf::{AccessPlan, Isolation, Memory, NoHost, Outcome, Program, State};

use crate::Who;
use crate::jit::{Store, compile};

/// One program in each of them.
pub(crate) struct Native<'p> {
    rbpf: rbpf::EbpfVmRaw<'p>,
    alone: Box<Store>,
    shared: Box<Store>,
}

impl<'p> Native<'p> {
    /// # Safety
    /// The plan holds for the program as it will be run.
    pub(crate) unsafe fn new(
        program: &Program<'_>,
        code: &'p [u8],
        plan: &AccessPlan,
    ) -> Native<'p> {
        let mut rbpf = rbpf::EbpfVmRaw::new(Some(code)).expect("rbpf takes the program");
        rbpf.jit_compile().expect("rbpf compiles the program");
        let compile = |isolation| compile(program, plan, isolation).expect("it compiles");
        Native {
            rbpf,
            alone: compile(Isolation::Alone),
            shared: compile(Isolation::Shared),
        }
    }

    /// Runs rbpf's machine code, if it can be run here.
    pub(crate) fn run_rbpf(&self, bytes: &mut [u8]) -> Option<u64> {
        // SAFETY: the program keeps to its buffer.
        unsafe { self.rbpf.execute_program_jit(bytes).ok() }
    }

    /// Runs a slice of ours.
    pub(crate) fn run(
        &self,
        who: Who,
        state: &mut State,
        memory: &mut Memory<'_>,
        slice: u32,
    ) -> Outcome {
        let store = if who == Who::Jit {
            &self.alone
        } else {
            &self.shared
        };
        let compiled = store.get().expect("it was compiled");
        // SAFETY: the maker has said so of the plan; the program is started as it expects, over the
        // regions it names.
        unsafe { run_proved(&compiled, state, memory, &mut NoHost, slice) }
    }

    /// Seconds of the fastest of some compilations, and bytes of code.
    pub(crate) fn time_compilation(
        program: &Program<'_>,
        plan: &AccessPlan,
    ) -> Option<(f64, usize)> {
        let mut store = crate::jit::store(2 << 20);
        let mut best = f64::MAX;
        for _ in 0..30 {
            let start = std::time::Instant::now();
            store.compile(program, plan, Isolation::Shared).ok()?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Some((best, store.get()?.code_bytes()))
    }
}
