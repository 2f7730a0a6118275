//! A case: a program and what it is run with, by chance or from bytes.

use alloc::vec::Vec;

use ebpf::EntryKind;

use crate::grammar;
use crate::mutate;
use crate::setting::Setting;
use crate::source::{Bytes, Chance, Source, mix};

/// A program and what it is run with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// The code.
    pub slots: Vec<u64>,
    /// All else.
    pub setting: Setting,
}

/// A program from elsewhere that may be changed at random.
#[derive(Clone, Debug)]
pub struct Shipped {
    /// The code.
    pub slots: Vec<u64>,
    /// What it is entered as.
    pub kind: EntryKind,
    /// Where.
    pub entry: u32,
    /// Bytes of arguments, reply and scratch that it declares.
    pub bytes: [u32; 3],
}

impl Default for Case {
    fn default() -> Self {
        Case::new()
    }
}

impl Case {
    /// The case of an empty program, to be filled.
    #[must_use]
    pub fn new() -> Case {
        Case {
            slots: Vec::new(),
            setting: Setting::choose(&mut Bytes(&[])),
        }
    }

    /// Makes it the case with that number of those that a seed stands for: a program by chance, or
    /// one of the shipped ones changed, if there are any.
    pub fn choose(&mut self, seed: u64, number: u64, shipped: &[Shipped]) {
        let mut chance = Chance(mix(seed) ^ mix(number.wrapping_add(1)));
        self.fill(&mut chance, shipped);
    }

    /// Makes it the case that a fuzzer's bytes stand for.
    pub fn read(&mut self, bytes: &[u8]) {
        let mut source = Bytes(bytes);
        if source.below(2) == 1 {
            self.fill(&mut source, &[]);
            return;
        }
        self.setting = Setting::choose(&mut source);
        self.slots.clear();
        let (words, _) = source.0.as_chunks();
        let words = words.iter().take(256).map(|word| u64::from_le_bytes(*word));
        self.slots.extend(words);
    }

    fn fill(&mut self, source: &mut impl Source, shipped: &[Shipped]) {
        self.setting = Setting::choose(source);
        if !shipped.is_empty() {
            let program = &shipped[source.below(shipped.len() as u32) as usize];
            self.slots.clear();
            self.slots.extend_from_slice(&program.slots);
            let [args_bytes, reply_bytes, scratch_bytes] = program.bytes;
            self.setting = Setting {
                kind: program.kind,
                entry: program.entry,
                args_bytes,
                reply_bytes,
                scratch_bytes,
                budget: 2000,
                ..self.setting.clone()
            };
            if source.below(8) > 0 {
                mutate::mutate(source, &mut self.slots);
            }
            return;
        }
        grammar::write(source, &self.setting, &mut self.slots);
        if source.below(5) == 0 {
            mutate::mutate(source, &mut self.slots);
        }
    }
}
