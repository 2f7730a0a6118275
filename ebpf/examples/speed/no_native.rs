//! Where no machine code can be made: nothing to measure.

use std::marker::PhantomData;

use ebpf::{AccessPlan, Memory, Outcome, Program, State};

use crate::Who;

pub(crate) struct Native<'p>(PhantomData<&'p [u8]>);

impl<'p> Native<'p> {
    pub(crate) unsafe fn new(_: &Program<'_>, _: &'p [u8], _: &AccessPlan) -> Native<'p> {
        Native(PhantomData)
    }

    pub(crate) fn run_rbpf(&self, _: &mut [u8]) -> Option<u64> {
        None
    }

    pub(crate) fn run(&self, _: Who, _: &mut State, _: &mut Memory<'_>, _: u32) -> Outcome {
        Outcome::Waiting
    }

    pub(crate) fn time_compilation(_: &Program<'_>, _: &AccessPlan) -> Option<(f64, usize)> {
        None
    }
}
