//! One entry of a program, cut out with the functions that it calls.

use crate::diagnosis::Code;
use ebpf::abi::HELPERS;
use ebpf::check::Resources;
use ebpf::diagnosis::Diagnosis;
use ebpf::{Checked, Function, ImageHeader, Instruction, check_with};

/// Code that begins with one entry, and where in the program its slots are.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) slots: Vec<u64>,
    origins: Vec<u32>,
}

impl Part {
    /// The entry at a slot. Its code passed the check.
    pub(super) fn of(code: &Code, checked: &Checked, entry: u32) -> Part {
        let functions = reached(code, checked, entry);
        let starts: Vec<u32> = functions
            .iter()
            .scan(0, |next, function| {
                let start = *next;
                *next += function.len;
                Some(start)
            })
            .collect();
        let mut part = Part {
            slots: Vec::new(),
            origins: Vec::new(),
        };
        for function in &functions {
            for pc in function.start..function.start + function.len {
                part.slots.push(code.slot(pc).unwrap_or(0));
                part.origins.push(pc);
            }
        }
        for (function, start) in functions.iter().zip(&starts) {
            for (pc, target) in calls(code, *function) {
                let to = functions.iter().position(|it| it.start == target);
                let to = to.and_then(|index| starts.get(index)).copied();
                let at = start + (pc - function.start);
                if let (Some(to), Some(slot)) = (to, part.slots.get_mut(at as usize)) {
                    let distance = to.wrapping_sub(at + 1);
                    *slot = (*slot & 0xffff_ffff) | (u64::from(distance) << 32);
                }
            }
        }
        part
    }

    /// The check of the part alone.
    pub(super) fn check(&self, header: &ImageHeader) -> Option<Checked> {
        let resources = Resources {
            scratch_bytes: header.scratch_bytes,
            maps: u32::from(header.maps),
        };
        check_with(&self.slots, &[0], &HELPERS, &resources).ok()
    }

    /// What was found in the part, as of the program.
    pub(super) fn restore(&self, mut diagnosis: Diagnosis) -> Diagnosis {
        diagnosis.pc = self.origin(diagnosis.pc);
        for pc in &mut diagnosis.trail {
            *pc = self.origin(u32::from(*pc)) as u16;
        }
        diagnosis
    }

    fn origin(&self, pc: u32) -> u32 {
        self.origins.get(pc as usize).copied().unwrap_or(pc)
    }
}

/// The function at a slot, and those it calls, directly or not.
fn reached(code: &Code, checked: &Checked, entry: u32) -> Vec<Function> {
    let mut functions: Vec<Function> = checked.function_at(entry).into_iter().collect();
    let mut next = 0;
    while let Some(&function) = functions.get(next) {
        next += 1;
        for (_, target) in calls(code, function) {
            if let Some(called) = checked.function_at(target)
                && !functions.contains(&called)
            {
                functions.push(called);
            }
        }
    }
    functions
}

/// The calls in a function, and the slots that they lead to.
fn calls(code: &Code, function: Function) -> Vec<(u32, u32)> {
    let end = function.start + function.len;
    code.instructions()
        .filter(|(pc, _)| (function.start..end).contains(pc))
        .filter_map(|(pc, instruction)| match instruction {
            Instruction::CallLocal { offset } => Some((pc, (pc + 1).wrapping_add_signed(offset))),
            _ => None,
        })
        .collect()
}
