//! A compilation, which can be done in steps.

use super::backend::Backend;
use super::error::JitError;
use super::output::Output;
use super::survey::{Source, Survey};
use super::table::Table;
use super::table_for;
use super::target::Target;
use crate::access::AccessPlan;
use crate::fast::Isolation;
use crate::instruction::Instruction;
use crate::limits::CODE_SLOTS_MAX;
use crate::program::Program;

/// What a compilation made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    pub(super) len: usize,
    /// Some accesses carry no check.
    pub(super) has_proofs: bool,
    /// The machine it is for.
    pub(super) target: Target,
    /// Slots of the program.
    pub(super) slots: u32,
    /// The regions the code touches, by bit.
    pub(super) regions: u32,
}

impl Layout {
    /// Bytes of code.
    #[must_use]
    pub const fn code_bytes(&self) -> usize {
        self.len
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    Clear,
    Labels,
    Weigh,
    /// Counts, with all jumps in their long form.
    Bound,
    /// Finds the jumps that are near.
    Near,
    /// Counts what will be written.
    Place,
    Write,
    Done,
}

/// A compilation under way. It holds nothing but where it stands; each step is given the program and
/// the room anew, which must be the same throughout, or the code is of no use.
pub struct Job {
    isolation: Isolation,
    target: Target,
    slots: u32,
    survey: Survey,
    emitter: Option<Backend>,
    pass: Pass,
    pc: u32,
    at: usize,
    hole: usize,
}

impl Job {
    /// Begins to compile a program.
    ///
    /// # Errors
    /// The program is too long.
    pub fn new(
        program: &Program<'_>,
        isolation: Isolation,
        target: Target,
    ) -> Result<Job, JitError> {
        if program.slots.len() > CODE_SLOTS_MAX {
            return Err(JitError::TooLong);
        }
        Ok(Job {
            isolation,
            target,
            slots: program.slots.len() as u32,
            survey: Survey::new(),
            emitter: None,
            pass: Pass::Clear,
            pc: 0,
            at: 0,
            hole: 0,
        })
    }

    /// Looks at some slots more, each of which costs about the same; seven times as many as the
    /// program has are enough. Gives the layout when all is done: then there is code in the first
    /// bytes of `area`, which should be at the start of a cache line, and where each slot's begins
    /// in the first entries of `table`, [`table_for`](super::table_for) the program's slots.
    ///
    /// # Errors
    /// The area or the table is too small, or the program is one that
    /// [`check`](crate::check()) refuses for a jump or a wide load. Then the job is over and what it
    /// wrote is of no use.
    pub fn step(
        &mut self,
        program: &Program<'_>,
        plan: &AccessPlan,
        area: &mut [u8],
        table: &mut [u32],
        slots: u32,
    ) -> Result<Option<Layout>, JitError> {
        let needed = table_for(self.slots as usize);
        let mut table = Table(
            table
                .get_mut(..needed)
                .ok_or(JitError::TableTooSmall { needed })?,
        );
        let source = Source {
            program: *program,
            plan,
            isolation: self.isolation,
        };
        let mut left = slots.max(1);
        while left > 0 && self.pass != Pass::Done {
            left -= 1;
            if self.pc < self.slots {
                self.pc += self.look(&source, area, &mut table)?;
            }
            if self.pc >= self.slots {
                self.end_pass(&source, area, &mut table)?;
            }
        }
        if self.pass != Pass::Done {
            return Ok(None);
        }
        Ok(Some(Layout {
            len: self.at,
            has_proofs: self.survey.has_proofs,
            target: self.target,
            slots: self.slots,
            regions: self.survey.regions,
        }))
    }

    /// Does what the pass does with the slot at hand.
    fn look(
        &mut self,
        source: &Source<'_>,
        area: &mut [u8],
        table: &mut Table<'_>,
    ) -> Result<u32, JitError> {
        let pc = self.pc;
        match self.pass {
            Pass::Clear => {
                table.clear(pc);
                Ok(1)
            }
            Pass::Labels => self.survey.labels(source, table, pc),
            Pass::Weigh => self.survey.weigh(source, table, pc),
            Pass::Near => {
                let near = Backend::near_bytes(self.target);
                find_near(source, table, near, pc);
                Ok(1)
            }
            Pass::Bound | Pass::Place | Pass::Write => self.emit(source, area, table),
            Pass::Done => Ok(1),
        }
    }

    fn emit(
        &mut self,
        source: &Source<'_>,
        area: &mut [u8],
        table: &mut Table<'_>,
    ) -> Result<u32, JitError> {
        let pc = self.pc;
        let Some(emitter) = &mut self.emitter else {
            return Err(JitError::Inconsistent { pc });
        };
        let writes = self.pass == Pass::Write;
        let mut out = Output::new(area, self.at, writes);
        if pc == 0 {
            emitter.begin(self.pass == Pass::Bound, &mut out);
        }
        emitter.align(table, pc, &mut out);
        let at = out.at();
        if writes && table.offset(pc) != at {
            return Err(JitError::Inconsistent { pc });
        }
        table.set_offset(pc, at);
        let taken = emitter.slot(source, table, pc, &mut out).max(1);
        self.at = out.at();
        if out.has_failed() {
            return Err(JitError::Inconsistent { pc });
        }
        for inside in 1..taken {
            table.set_hole(pc + inside);
        }
        Ok(taken)
    }

    fn end_pass(
        &mut self,
        source: &Source<'_>,
        area: &mut [u8],
        table: &mut Table<'_>,
    ) -> Result<(), JitError> {
        let slots = self.slots;
        if let (Pass::Bound | Pass::Place | Pass::Write, Some(emitter)) =
            (self.pass, &mut self.emitter)
        {
            let mut out = Output::new(area, self.at, self.pass == Pass::Write);
            if slots == 0 {
                emitter.begin(self.pass == Pass::Bound, &mut out);
            }
            table.set_offset(slots, out.at());
            emitter.fall_off(slots, &mut out);
            self.hole = emitter.end(&mut out);
            self.at = out.at();
        }
        let next = match self.pass {
            Pass::Clear => {
                table.clear(slots);
                for function in source.program.checked.functions() {
                    table.set_label(function.start);
                }
                Pass::Labels
            }
            Pass::Labels => Pass::Weigh,
            Pass::Weigh => {
                self.emitter = Some(Backend::new(self.target, &self.survey));
                Pass::Bound
            }
            Pass::Bound => Pass::Near,
            Pass::Near => Pass::Place,
            Pass::Place => {
                if self.at > area.len() {
                    return Err(JitError::AreaTooSmall { needed: self.at });
                }
                Pass::Write
            }
            Pass::Write | Pass::Done => {
                table.finish(self.hole);
                self.pass = Pass::Done;
                return Ok(());
            }
        };
        self.pass = next;
        self.pc = 0;
        self.at = 0;
        Ok(())
    }
}

/// Marks the jump at a slot if it is near its target whatever the jumps in between are like.
fn find_near(source: &Source<'_>, table: &mut Table<'_>, near: usize, pc: u32) {
    let offset = match source.instruction(pc) {
        Ok(Instruction::Jump { offset, .. }) => offset,
        Ok(Instruction::JumpIf { offset, .. }) => i32::from(offset),
        _ => return,
    };
    let target = (pc + 1).wrapping_add_signed(offset);
    // From the start of the one to the start of the other, and the one itself.
    let (from, to) = (table.offset(pc), table.offset(target));
    let own = table.offset(pc + 1).abs_diff(from);
    if from.abs_diff(to) + own <= near {
        table.set_near(pc);
    }
}
