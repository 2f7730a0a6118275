//! The table of a program: where each slot's code begins, and while it is compiled, what is known of
//! each slot.

/// Set where something leads to the slot, so that code for it alone must begin there.
const LABEL: u32 = 1 << 31;
/// Set of a jump that is near its target.
const NEAR: u32 = 1 << 30;
/// Set of a slot in which a loop begins.
const LOOP: u32 = 1 << 29;
/// Set of a slot that no code begins at.
const HOLE: u32 = 1 << 28;
/// The rest is an offset in the code.
const OFFSET: u32 = HOLE - 1;

/// The table while a program is compiled.
pub(super) struct Table<'a>(pub(super) &'a mut [u32]);

impl Table<'_> {
    fn get(&self, pc: u32) -> u32 {
        self.0.get(pc as usize).copied().unwrap_or(HOLE)
    }

    fn change(&mut self, pc: u32, change: impl FnOnce(u32) -> u32) {
        if let Some(entry) = self.0.get_mut(pc as usize) {
            *entry = change(*entry);
        }
    }

    pub(super) fn clear(&mut self, pc: u32) {
        self.change(pc, |_| 0);
    }

    /// Where the code of a slot begins, as far as it is known by now.
    pub(super) fn offset(&self, pc: u32) -> usize {
        (self.get(pc) & OFFSET) as usize
    }

    pub(super) fn set_offset(&mut self, pc: u32, offset: usize) {
        let offset = u32::try_from(offset).unwrap_or(OFFSET).min(OFFSET);
        self.change(pc, |entry| entry & !(OFFSET | HOLE) | offset);
    }

    /// True if something may lead to the slot other than the slot before.
    pub(super) fn is_label(&self, pc: u32) -> bool {
        self.get(pc) & LABEL != 0
    }

    pub(super) fn set_label(&mut self, pc: u32) {
        self.change(pc, |entry| entry | LABEL);
    }

    /// True if the jump at a slot is near its target.
    pub(super) fn is_near(&self, pc: u32) -> bool {
        self.get(pc) & NEAR != 0
    }

    pub(super) fn set_near(&mut self, pc: u32) {
        self.change(pc, |entry| entry | NEAR);
    }

    /// True if a jump back leads to the slot.
    pub(super) fn is_loop(&self, pc: u32) -> bool {
        self.get(pc) & LOOP != 0
    }

    pub(super) fn set_loop(&mut self, pc: u32) {
        self.change(pc, |entry| entry | LOOP);
    }

    /// True if no code begins at the slot.
    pub(super) fn is_hole(&self, pc: u32) -> bool {
        self.get(pc) & HOLE != 0
    }

    pub(super) fn set_hole(&mut self, pc: u32) {
        self.change(pc, |entry| entry | HOLE);
    }

    /// Counts while loops are looked for: one more begins at the slot. The counts are kept where
    /// the offset comes later.
    pub(super) fn count_start(&mut self, pc: u32) {
        self.change(pc, |entry| entry + 1);
    }

    /// The loop of the jump back in this slot ends here.
    pub(super) fn count_end(&mut self, pc: u32) {
        self.change(pc, |entry| entry | LOOP_END);
    }

    /// How many loops begin at a slot, and how many end with it; forgets it.
    pub(super) fn take_counts(&mut self, pc: u32) -> (u32, u32) {
        let entry = self.get(pc);
        self.change(pc, |entry| entry & !OFFSET);
        (
            entry & LOOP_STARTS,
            (entry & LOOP_END) >> LOOP_END.trailing_zeros(),
        )
    }

    /// Leaves offsets only; of holes, the one given.
    pub(super) fn finish(&mut self, hole: usize) {
        for entry in self.0.iter_mut() {
            *entry = if *entry & HOLE != 0 {
                hole as u32
            } else {
                *entry & OFFSET
            };
        }
    }
}

const LOOP_STARTS: u32 = (1 << 13) - 1;
const LOOP_END: u32 = 1 << 14;
