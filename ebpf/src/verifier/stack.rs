//! What can be known of the stack: which bytes hold something, and what some places hold.
//!
//! A byte is *initialised* if it may be read as plain data, or as part of the cell it lies in. The
//! registers that a local call puts aside have cells too, behind the bytes of the stack.

use heapless::Vec;

use super::value::Value;
use crate::limits::{CELLS_MAX, STACK_BYTES};

/// A place that holds a known value: a stored number cut to its length, or a whole pointer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    /// Bytes from the start of the stack; or beyond its end, for a register put aside.
    pub(super) at: u16,
    /// Bytes.
    pub(super) len: u8,
    pub(super) value: Value,
}

impl Cell {
    const fn end(&self) -> usize {
        self.at as usize + self.len as usize
    }

    const fn overlaps(&self, at: usize, end: usize) -> bool {
        (self.at as usize) < end && at < self.end()
    }
}

/// There are more places to know than the verifier keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full;

const WORDS: usize = STACK_BYTES / 64;

/// The words that have bits for the bytes of the stack from `at` to `end`, and those bits.
fn masks(at: usize, end: usize) -> impl Iterator<Item = (usize, u64)> {
    let end = end.min(STACK_BYTES);
    let below = |byte: usize, word: usize| match byte.saturating_sub(word * 64) {
        bits @ 0..64 => (1 << bits) - 1,
        _ => u64::MAX,
    };
    (at / 64..end.div_ceil(64)).map(move |word| (word, below(end, word) & !below(at, word)))
}

/// The stack of all frames.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Stack {
    /// By rising place; no two overlap.
    pub(super) cells: Vec<Cell, CELLS_MAX>,
    initialised: [u64; WORDS],
}

impl Stack {
    pub(super) const EMPTY: Stack = Stack {
        cells: Vec::new(),
        initialised: [0; WORDS],
    };

    /// Takes over what `other` knows, copying no more than there is.
    pub(super) fn copy_from(&mut self, other: &Stack) {
        self.cells.clear();
        // As long as the other's, so it fits.
        let _ = self.cells.extend_from_slice(&other.cells);
        self.initialised = other.initialised;
    }

    /// True if all bytes from `at` to `end` are initialised.
    pub(super) fn is_initialised(&self, at: usize, end: usize) -> bool {
        end <= STACK_BYTES
            && masks(at, end).all(|(word, mask)| self.initialised[word] & mask == mask)
    }

    /// True if any byte from `at` to `end` is initialised.
    pub(super) fn is_any_initialised(&self, at: usize, end: usize) -> bool {
        masks(at, end).any(|(word, mask)| self.initialised[word] & mask != 0)
    }

    pub(super) fn mark(&mut self, at: usize, end: usize, initialised: bool) {
        for (word, mask) in masks(at, end) {
            if initialised {
                self.initialised[word] |= mask;
            } else {
                self.initialised[word] &= !mask;
            }
        }
    }

    /// True if any byte from `at` to `end` is part of a pointer.
    pub(super) fn holds_pointer(&self, at: usize, end: usize) -> bool {
        let overlapping = self.cells.iter().filter(|cell| cell.overlaps(at, end));
        overlapping.into_iter().any(|cell| cell.value.is_pointer())
    }

    /// True if any cell touches `at..end`.
    pub(super) fn touches_cell(&self, at: usize, end: usize) -> bool {
        self.cells.iter().any(|cell| cell.overlaps(at, end))
    }

    /// The cell of exactly this place.
    pub(super) fn cell_mut(&mut self, at: usize, len: usize) -> Option<&mut Cell> {
        let index = self.cells.partition_point(|cell| usize::from(cell.at) < at);
        let cell = self.cells.get_mut(index)?;
        (usize::from(cell.at) == at && usize::from(cell.len) == len).then_some(cell)
    }

    /// The cell that starts at a place, and may be longer.
    pub(super) fn cell_at(&self, at: usize) -> Option<&Cell> {
        let index = self.cells.partition_point(|cell| usize::from(cell.at) < at);
        self.cells
            .get(index)
            .filter(|cell| usize::from(cell.at) == at)
    }

    /// Forgets the cells that touch `at..end`: numbers become plain data, pointers unreadable.
    pub(super) fn forget(&mut self, at: usize, end: usize) {
        let initialised = &mut self.initialised;
        self.cells.retain(|cell| {
            if !cell.overlaps(at, end) {
                return true;
            }
            if cell.value.is_pointer() {
                for byte in usize::from(cell.at)..cell.end().min(STACK_BYTES) {
                    initialised[byte / 64] &= !(1 << (byte % 64));
                }
            }
            false
        });
    }

    /// Puts a value there. What it overwrites in part is forgotten.
    pub(super) fn put(&mut self, at: usize, len: usize, value: Value) -> Result<(), Full> {
        self.forget(at, at + len);
        self.mark(at, at + len, true);
        let is_pointer = value.is_pointer();
        if self.insert(at, len, value).is_ok() {
            return Ok(());
        }
        // A number becomes plain data; a pointer must be known to be one.
        if is_pointer || at >= STACK_BYTES {
            self.mark(at, at + len, false);
            return Err(Full);
        }
        Ok(())
    }

    /// Adds a cell where there is none.
    pub(super) fn insert(&mut self, at: usize, len: usize, value: Value) -> Result<(), Full> {
        let index = self.cells.partition_point(|cell| usize::from(cell.at) < at);
        let cell = Cell {
            at: at as u16,
            len: len as u8,
            value,
        };
        self.cells.insert(index, cell).map_err(|_| Full)
    }

    /// Takes away the cell of a place beyond the stack.
    pub(super) fn take(&mut self, at: usize) -> Option<Value> {
        let index = self
            .cells
            .iter()
            .position(|cell| usize::from(cell.at) == at)?;
        Some(self.cells.remove(index).value)
    }

    /// Anything was written anywhere: nothing may be read.
    pub(super) fn lose(&mut self) {
        self.forget(0, STACK_BYTES);
        self.initialised.fill(0);
    }

    /// Keeps as initialised what is so in both; true if that changes anything.
    pub(super) fn join_initialised(&mut self, other: &Stack) -> bool {
        let mut changed = false;
        for (ours, theirs) in self.initialised.iter_mut().zip(&other.initialised) {
            changed |= *ours & !*theirs != 0;
            *ours &= *theirs;
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_the_bits_of_the_bytes() {
        let places = [0, 1, 7, 63, 64, 65, 128, 4032, 4095, 4096, 4097, 5000];
        for at in places {
            for end in places {
                let mut bytes = Vec::<usize, 4096>::new();
                for (word, mask) in masks(at, end) {
                    let set = (0..64).filter(|bit| mask >> bit & 1 != 0);
                    set.for_each(|bit| bytes.push(word * 64 + bit).expect("no byte twice"));
                }
                assert!(
                    bytes.into_iter().eq(at..end.min(STACK_BYTES)),
                    "{at}..{end}"
                );
            }
        }
    }
}
