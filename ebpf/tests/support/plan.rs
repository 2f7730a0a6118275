//! A plan for programs that are right by the way they are made.
#![allow(unsafe_code)] // It hands on a promise of its caller's.

use ebpf::isa::{self, Slot};
use ebpf::{AccessPlan, RegionId};

/// Every access proved: by r10 to the stack, by any other register to scratch.
///
/// # Safety
/// So they are, in every run: inside their frame, or inside scratch.
pub unsafe fn by_base(slots: &[u64]) -> AccessPlan {
    let mut plan = AccessPlan::all_guarded();
    for (pc, &slot) in (0..).zip(slots) {
        let slot = Slot(slot);
        if !matches!(slot.class(), isa::LDX | isa::ST | isa::STX) {
            continue;
        }
        let region = if slot.base() == 10 {
            RegionId::Stack
        } else {
            RegionId::Scratch
        };
        // SAFETY: the caller says so.
        unsafe { plan.assume(pc, region) };
    }
    plan
}
