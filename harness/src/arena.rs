//! All memory of a run in one piece: the regions, and forbidden stretches between them.
//!
//! Two arenas of the same layout are compared whole, so an engine that writes beside a region is
//! found out even where no program can see it.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use ebpf::limits::STACK_BYTES;
use ebpf::maps::{HashSeed, Keys, bytes_needed};
use ebpf::{Map, MapIndex, MapShape, Memory, RegionId};

use crate::setting::{CONTEXT_BYTES, MAPS, Setting};
use crate::source::{Chance, Source};

/// Regions other than maps.
const FIXED: usize = 6;

/// Bytes before and behind each region that belong to nobody.
const BETWEEN: usize = 64;

/// What is there.
const FORBIDDEN: u8 = 0xc3;

/// Where addresses start and maps are numbered from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shift {
    /// Bytes that context, arguments, reply, data and scratch have before what they are given.
    pub bytes: u32,
    /// The number of the first map.
    pub first_map: u32,
}

impl Shift {
    /// As in real life.
    pub const NONE: Shift = Shift {
        bytes: 0,
        first_map: 0,
    };

    /// All addresses are others, though no program may notice.
    pub const OTHER: Shift = Shift {
        bytes: 1 << 16,
        first_map: 8,
    };

    /// Bytes before a region's first.
    #[must_use]
    pub const fn of(self, region: RegionId) -> u32 {
        match region {
            RegionId::Stack | RegionId::Map(_) => 0,
            _ => self.bytes,
        }
    }
}

/// Where everything lies in an arena.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Context, arguments, reply, data, scratch, stack; then the maps, values and all.
    spans: [Range<usize>; FIXED + MAPS.len()],
    shift: Shift,
    has_data: bool,
    maps: bool,
    len: usize,
}

/// The regions that are no maps, by number.
const REGIONS: [RegionId; FIXED] = [
    RegionId::Context,
    RegionId::Arguments,
    RegionId::Reply,
    RegionId::Data,
    RegionId::Scratch,
    RegionId::Stack,
];

impl Layout {
    /// The layout for a setting.
    #[must_use]
    pub fn new(setting: &Setting, shift: Shift) -> Layout {
        let bytes = [
            CONTEXT_BYTES,
            setting.args_bytes,
            setting.reply_bytes,
            setting.data_there().unwrap_or(0),
            setting.scratch_bytes,
            STACK_BYTES as u32,
        ];
        let mut at = BETWEEN;
        let mut spans = [const { 0..0 }; FIXED + MAPS.len()];
        for (index, (span, bytes)) in spans.iter_mut().zip(bytes).enumerate() {
            at += shift.of(REGIONS[index]) as usize;
            *span = at..at + bytes as usize;
            at = (span.end + BETWEEN).next_multiple_of(8);
        }
        if setting.maps {
            for (span, spec) in spans[FIXED..].iter_mut().zip(&MAPS) {
                let bytes = bytes_needed(spec).unwrap_or(0);
                *span = at..at + bytes;
                at = (span.end + BETWEEN).next_multiple_of(8);
            }
        }
        Layout {
            spans,
            shift,
            has_data: setting.data_there().is_some(),
            maps: setting.maps,
            len: at,
        }
    }

    /// How addresses are shifted.
    #[must_use]
    pub const fn shift(&self) -> Shift {
        self.shift
    }

    fn address(&self, region: RegionId) -> u64 {
        Memory::address(region, self.shift.of(region))
    }

    /// r1 at the entry.
    #[must_use]
    pub fn context(&self) -> u64 {
        self.address(RegionId::Context)
    }

    /// Where wide loads of scratch start from.
    #[must_use]
    pub fn scratch(&self) -> u64 {
        self.address(RegionId::Scratch)
    }

    /// True if what programs leave behind is the same in two arenas: all but context and stack.
    #[must_use]
    pub fn same_outside(&self, arena: &Arena, other: &Layout, other_arena: &Arena) -> bool {
        let seen = |index: usize| index != 0 && index != FIXED - 1;
        let mut pairs = self.spans.iter().zip(&other.spans).enumerate();
        pairs.all(|(index, (mine, theirs))| {
            !seen(index) || arena.span(mine) == other_arena.span(theirs)
        })
    }
}

/// The memory itself.
#[derive(Clone, Default, Debug)]
pub struct Arena {
    bytes: Vec<u8>,
    /// The first byte that lies at a multiple of 8.
    start: usize,
    len: usize,
}

/// The maps of a run without their values.
pub type MapKeys<'m> = [Option<Keys<'m>>; MAPS.len()];

impl Arena {
    fn resize(&mut self, len: usize) {
        if self.bytes.len() < len + 8 {
            self.bytes = vec![0; len + 8];
            self.start = self.bytes.as_ptr().align_offset(8).min(8);
        }
        self.len = len;
    }

    fn all(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    fn all_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }

    fn span(&self, span: &Range<usize>) -> &[u8] {
        &self.all()[span.clone()]
    }

    /// Lays out what a run starts from.
    pub fn lay_out(&mut self, setting: &Setting, layout: &Layout) {
        self.resize(layout.len);
        let mut chance = Chance(setting.seed);
        let all = self.all_mut();
        all.fill(FORBIDDEN);
        for (index, span) in layout.spans.iter().enumerate() {
            let bytes = &mut all[span.clone()];
            match REGIONS.get(index) {
                Some(RegionId::Context) => context(setting, layout, bytes),
                Some(RegionId::Reply) => bytes.fill(0),
                Some(RegionId::Stack) => bytes.fill(chance.bits() as u8),
                Some(_) => numbers(&mut chance, bytes),
                None if layout.maps => lay_out_map(&mut chance, index - FIXED, bytes),
                None => {}
            }
        }
    }

    /// Makes it what another of the same layout is.
    pub fn copy(&mut self, other: &Arena) {
        self.resize(other.len);
        self.all_mut().copy_from_slice(other.all());
    }

    /// Makes the regions what they are in another arena of other addresses, but for the context,
    /// which holds the addresses, and for the stack, which nobody may have a look at: all of it is
    /// turned over.
    pub fn translate(&mut self, setting: &Setting, layout: &Layout, other: &Layout, from: &Arena) {
        self.resize(layout.len);
        let all = self.all_mut();
        for (index, (mine, theirs)) in layout.spans.iter().zip(&other.spans).enumerate() {
            let (bytes, source) = (&mut all[mine.clone()], from.span(theirs));
            match REGIONS.get(index) {
                Some(RegionId::Context) => context(setting, layout, bytes),
                Some(RegionId::Stack) => bytes.fill(!source.first().copied().unwrap_or(0)),
                _ => bytes.copy_from_slice(source),
            }
        }
    }

    /// True if all of it is as in another, forbidden stretches too.
    #[must_use]
    pub fn is_same(&self, other: &Arena) -> bool {
        self.all() == other.all()
    }

    /// Where it first differs from another of the same layout: a region and the byte in it.
    #[must_use]
    pub fn difference(&self, other: &Arena, layout: &Layout) -> Option<(&'static str, usize)> {
        let mut pairs = self.all().iter().zip(other.all());
        let at = pairs.position(|(mine, theirs)| mine != theirs)?;
        let index = layout.spans.iter().position(|span| span.contains(&at));
        Some(match index {
            Some(index) => {
                let name = REGIONS.get(index).map_or("a map", |region| region.name());
                (name, at - layout.spans[index].start)
            }
            None => ("what belongs to nobody", at),
        })
    }

    /// The regions as a program is given them, and what finds keys in its maps.
    pub fn memory(&mut self, layout: &Layout) -> (Memory<'_>, MapKeys<'_>) {
        let mut memory = Memory::new();
        let mut keys = [const { None }; MAPS.len()];
        let mut rest = self.all_mut();
        let mut behind = 0;
        for (index, span) in layout.spans.iter().enumerate() {
            if index >= FIXED && !layout.maps {
                break;
            }
            let prefix = REGIONS
                .get(index)
                .map_or(0, |region| layout.shift.of(*region));
            let first = span.start - prefix as usize;
            let (_, from) = core::mem::take(&mut rest).split_at_mut(first - behind);
            let (bytes, after) = from.split_at_mut(span.end - first);
            (rest, behind) = (after, span.end);
            memory = match REGIONS.get(index) {
                Some(RegionId::Data) if !layout.has_data => memory,
                Some(region @ (RegionId::Context | RegionId::Arguments | RegionId::Data)) => {
                    memory.with_read(*region, bytes)
                }
                Some(region) => memory.with_write(*region, bytes),
                None => {
                    let number = index - FIXED;
                    let Ok(map) = Map::open(&MAPS[number], bytes) else {
                        continue;
                    };
                    let writable = map.shape().programs_may_write();
                    let (its_keys, values) = map.split();
                    keys[number] = Some(its_keys);
                    match map_region(layout.shift, number) {
                        Some(region) if writable => memory.with_write(region, values),
                        Some(region) => memory.with_read(region, values),
                        None => memory,
                    }
                }
            };
        }
        (memory, keys)
    }
}

/// The region of a map, by its number among [`MAPS`].
#[must_use]
pub fn map_region(shift: Shift, number: usize) -> Option<RegionId> {
    MapIndex::new(shift.first_map + number as u32).map(RegionId::Map)
}

/// Bytes that hold numbers, words of them mostly small.
fn numbers(chance: &mut Chance, bytes: &mut [u8]) {
    for word in bytes.chunks_mut(8) {
        let number = chance.wide_number().to_le_bytes();
        word.copy_from_slice(&number[..word.len()]);
    }
}

fn context(setting: &Setting, layout: &Layout, bytes: &mut [u8]) {
    let has_data = layout.has_data;
    let data = |end: u32| {
        let offset = layout.shift.of(RegionId::Data) + end;
        u64::from(has_data) * Memory::address(RegionId::Data, offset)
    };
    let words = [
        layout.address(RegionId::Arguments),
        layout.address(RegionId::Reply),
        data(0),
        data(setting.data_bytes),
        setting.seed >> 7,
        u64::from(setting.args_bytes) | u64::from(setting.reply_bytes) << 32,
        setting.seed & 3 | 1 << 32,
        0,
    ];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

/// A map with an entry or two.
fn lay_out_map(chance: &mut Chance, number: usize, bytes: &mut [u8]) {
    let spec = &MAPS[number];
    let seed = HashSeed([number as u8; 16]);
    let Ok(mut map) = Map::new(spec, &[], seed, bytes) else {
        return;
    };
    let Ok(shape) = MapShape::of(spec) else {
        return;
    };
    for key in 0..2_u64 {
        let mut value = [0; 64];
        numbers(chance, &mut value);
        let key = key.to_le_bytes();
        let value = &value[..shape.value_bytes()];
        // An array of one has no second entry.
        let _ = map.update(&key[..shape.key_bytes()], value, 0);
    }
}
