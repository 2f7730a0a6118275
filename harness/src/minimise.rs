//! Makes a case smaller that does not hold, as long as it does not.

use alloc::vec::Vec;

use ebpf::instruction::Instruction;
use ebpf::isa::{Slot, op};

use crate::case::Case;
use crate::compare::{Finding, Harness};
use crate::setting::Slices;

/// `ja +0`.
const NOTHING: u64 = Slot::new(op::JA, 0, 0, 0, 0).0;

/// The smallest case that was found by taking away, with a finding like the one given.
#[must_use]
pub fn minimise(harness: &mut Harness, case: &Case, finding: &Finding) -> (Case, Finding) {
    let mut search = Search {
        harness,
        best: case.clone(),
        finding: finding.clone(),
    };
    search.simpler_setting();
    loop {
        let before = (search.best.clone(), search.finding.clone());
        search.blank();
        search.remove();
        search.simpler_slots();
        if (&search.best, &search.finding) == (&before.0, &before.1) {
            return before;
        }
    }
}

struct Search<'h> {
    harness: &'h mut Harness,
    best: Case,
    finding: Finding,
}

impl Search<'_> {
    /// Takes a candidate if it fails alike.
    fn try_case(&mut self, candidate: Case) -> bool {
        if candidate == self.best {
            return false;
        }
        match self.harness.run(&candidate) {
            Err(found) if found.is_like(&self.finding) => {
                (self.best, self.finding) = (candidate, found);
                true
            }
            _ => false,
        }
    }

    fn with(&mut self, change: impl FnOnce(&mut Case)) -> bool {
        let mut candidate = self.best.clone();
        change(&mut candidate);
        self.try_case(candidate)
    }

    fn simpler_setting(&mut self) {
        self.with(|case| case.setting.slices = Slices::Whole);
        for units in [0, 1, 7] {
            if matches!(self.best.setting.slices, Slices::Varied(_)) {
                self.with(|case| case.setting.slices = Slices::Every(units));
            }
        }
        self.with(|case| case.setting.seed = 0);
        self.with(|case| case.setting.budget = 1000);
    }

    /// Puts nothing in the place of ever shorter stretches.
    fn blank(&mut self) {
        let mut len = self.best.slots.len();
        while len > 0 {
            let mut at = 0;
            while at < self.best.slots.len() {
                let end = (at + len).min(self.best.slots.len());
                self.with(|case| case.slots[at..end].fill(NOTHING));
                at = end;
            }
            len /= 2;
        }
    }

    /// Takes slots out, and mends the jumps over them.
    fn remove(&mut self) {
        let mut at = self.best.slots.len();
        while at > 0 {
            at -= 1;
            if at < self.best.slots.len()
                && let Some(slots) = without(&self.best.slots, at)
            {
                self.with(|case| case.slots = slots);
            }
        }
    }

    fn simpler_slots(&mut self) {
        for at in 0..self.best.slots.len() {
            let slot = Slot(self.best.slots[at]);
            for imm in [0, 1, slot.imm() / 2] {
                if slot.imm().unsigned_abs() > imm.unsigned_abs() && slot.opcode() != op::CALL {
                    let new = Slot::new(slot.opcode(), slot.dst(), slot.src(), slot.offset(), imm);
                    self.with(|case| case.slots[at] = new.0);
                }
            }
        }
    }
}

/// The slots without the instruction at one of them, jumps and calls leading where they led.
fn without(slots: &[u64], removed: usize) -> Option<Vec<u64>> {
    let mut starts = Vec::new();
    let mut at = 0;
    while at < slots.len() {
        let instruction = Instruction::decode(slots[at], slots.get(at + 1).copied()).ok()?;
        starts.push((at, instruction));
        at += instruction.slots();
    }
    let (_, gone) = *starts.iter().find(|(at, _)| *at == removed)?;
    let by = gone.slots() as i64;
    let moved = |at: i64| if at > removed as i64 { at - by } else { at };
    let mut new = Vec::new();
    for (at, mut instruction) in starts {
        if at == removed {
            continue;
        }
        let here = at as i64;
        let aim = |offset: i64| moved(here + 1 + offset) - moved(here) - 1;
        match &mut instruction {
            Instruction::Jump { offset, .. } | Instruction::CallLocal { offset } => {
                *offset = aim(i64::from(*offset)) as i32;
            }
            Instruction::JumpIf { offset, .. } => *offset = aim(i64::from(*offset)) as i16,
            _ => {}
        }
        let (first, second) = instruction.encode();
        new.push(first);
        new.extend(second);
    }
    Some(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use ebpf::asm::assemble;

    #[test]
    fn jumps_are_mended_when_a_slot_goes() {
        let code = |text: &str| Some(assemble(text).expect("it assembles"));
        let before = "mov r0, 0\nlddw r1, 5\njeq r0, 0, +1\nmov r2, 2\nja -4\nexit";
        let slots = code(before).unwrap_or_default();
        let after = "mov r0, 0\njeq r0, 0, +1\nmov r2, 2\nja -4\nexit";
        // What led to the load's second half leads to what follows.
        assert_eq!(without(&slots, 1), code(after));
        let after = "mov r0, 0\nlddw r1, 5\njeq r0, 0, +0\nja -3\nexit";
        assert_eq!(without(&slots, 4), code(after));
        assert_eq!(without(&slots, 2), None, "it is a second half");
        assert_eq!(without(&[0], 0), None, "it is no instruction");
        assert_eq!(without(&[NOTHING], 0), Some(vec![]));
    }
}
