//! A program as an engine takes it: the code and what the check found in it.

use crate::check::Checked;

/// Code that passed the check, and where its scratch lies.
#[derive(Clone, Copy, Debug)]
pub struct Program<'p> {
    pub(crate) slots: &'p [u64],
    pub(crate) checked: &'p Checked,
    pub(crate) scratch_base: u64,
}

impl<'p> Program<'p> {
    /// Joins the code with the result of its check. `scratch_base` is the address that wide loads
    /// of scratch start from, as a rule `Memory::address(RegionId::Scratch, 0)`.
    ///
    /// Nothing depends on `checked` belonging to `slots`: a pair that does not match runs into
    /// faults at most.
    pub const fn new(slots: &'p [u64], checked: &'p Checked, scratch_base: u64) -> Program<'p> {
        Program {
            slots,
            checked,
            scratch_base,
        }
    }

    /// The code, one number for each 8-byte slot.
    pub const fn slots(&self) -> &'p [u64] {
        self.slots
    }

    /// What the check found.
    pub const fn checked(&self) -> &'p Checked {
        self.checked
    }
}
