//! A helper call (RFC 9669 section 4.3.1) as the engines that leave their code for it make it.

use crate::fault::{FaultKind, Outcome};
use crate::host::{HelperResult, Host};
use crate::interpreter::{Stop, fault, is_short};
use crate::memory::Memory;
use crate::meter;

/// A call that is due.
pub(crate) struct HelperCall<'a> {
    /// The instruction.
    pub(crate) pc: u32,
    /// The helper's number.
    pub(crate) helper: u32,
    /// The registers: the arguments are read, r0 is written.
    pub(crate) r: &'a mut [u64; 16],
    /// What the slice has left.
    pub(crate) fuel: &'a mut i64,
    /// What the budget holds beyond the fuel.
    pub(crate) rest: u64,
}

impl HelperCall<'_> {
    /// It is paid, and then made. None if the program goes on behind it, or yields there where the
    /// fuel has become negative.
    pub(crate) fn make<H: Host>(&mut self, memory: &mut Memory<'_>, host: &mut H) -> Option<Stop> {
        let HelperCall { pc, helper, .. } = *self;
        let args = [self.r[1], self.r[2], self.r[3], self.r[4], self.r[5]];
        let cost = meter::helper_cost(host.cost_length(helper, &args)) as i64;
        let paid = *self.fuel - cost;
        if paid < 0 && is_short(paid, self.rest) {
            return Some(Stop::OutOfBudget);
        }
        *self.fuel = paid;
        match host.call(helper, args, memory) {
            HelperResult::Return(value) => {
                self.r[0] = value as u64;
                None
            }
            HelperResult::Wait => Some(Stop::Waiting),
            HelperResult::Kill(reason) => Some(Stop::End(Outcome::Killed { pc, reason })),
            HelperResult::Unknown => Some(fault(pc as usize, FaultKind::UnknownHelper { helper })),
        }
    }
}
