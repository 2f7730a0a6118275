//! The memory of one operation: runs of bytes in one slice.

use crate::model::prp::Run;

/// Runs of bytes in a slice, in order. They may overlap, as hostile data pointers do.
#[derive(Debug)]
pub struct Buffers<'a> {
    memory: &'a mut [u8],
    runs: &'a [Run],
}

impl<'a> Buffers<'a> {
    /// The runs of `memory`.
    ///
    /// # Panics
    ///
    /// When a run lies outside it.
    pub fn new(memory: &'a mut [u8], runs: &'a [Run]) -> Self {
        assert!(
            runs.iter().all(|run| run.range().end <= memory.len()),
            "a run outside its memory"
        );
        Self { memory, runs }
    }

    /// No bytes at all.
    pub const fn empty() -> Buffers<'static> {
        Buffers {
            memory: &mut [],
            runs: &[],
        }
    }

    /// Bytes in all runs.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Run::bytes).sum()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many runs there are.
    pub const fn runs(&self) -> usize {
        self.runs.len()
    }

    /// The bytes of run `index`.
    pub fn run(&self, index: usize) -> &[u8] {
        self.runs
            .get(index)
            .map_or(&[], |run| &self.memory[run.range()])
    }

    /// The bytes of run `index`, to write.
    pub fn run_mut(&mut self, index: usize) -> &mut [u8] {
        match self.runs.get(index) {
            Some(run) => &mut self.memory[run.range()],
            None => &mut [],
        }
    }

    /// Fills the runs from `source`, as far as both reach.
    #[inline]
    pub fn fill_from(&mut self, mut source: &[u8]) {
        for run in self.runs {
            let length = run.bytes().min(source.len());
            let (part, rest) = source.split_at(length);
            self.memory[run.range()][..length].copy_from_slice(part);
            source = rest;
        }
    }

    /// Copies the runs to `target`, as far as both reach.
    #[inline]
    pub fn copy_to(&self, mut target: &mut [u8]) {
        for run in self.runs {
            let length = run.bytes().min(target.len());
            let (part, rest) = target.split_at_mut(length);
            part.copy_from_slice(&self.memory[run.range()][..length]);
            target = rest;
        }
    }

    /// Whether the runs hold exactly `other`.
    pub fn equals(&self, mut other: &[u8]) -> bool {
        for run in self.runs {
            let Some((part, rest)) = other.split_at_checked(run.bytes()) else {
                return false;
            };
            if self.memory[run.range()] != *part {
                return false;
            }
            other = rest;
        }
        other.is_empty()
    }
}
