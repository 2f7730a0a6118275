//! The code: which sections, in which order, and every reference in it resolved.

use super::globals::{Global, Globals};
use super::scratch::Scratch;
use super::{Elf, LinkError, contents, name_of, section_name};
use crate::limits::CODE_SECTIONS_MAX;
use ebpf::EntryKind;
use ebpf::limits::CODE_SLOTS_MAX;
use object::elf::{R_BPF_64_32, R_BPF_64_64};
use object::{
    Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionIndex,
    SectionKind, SymbolKind,
};

const LOAD_WIDE: u8 = 0x18;
const CALL: u8 = 0x85;
/// The source field of a call to a function of the program.
const CALL_LOCAL: u64 = 1;
const FROM_SCRATCH: u64 = 3;
const FROM_MAP: u64 = 5;
const FROM_MAP_VALUE: u64 = 6;

/// A section of code and the slot its first instruction has in the image.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) section: SectionIndex,
    pub(super) base: u32,
    pub(super) slots: u32,
}

#[derive(Debug, Default)]
pub(super) struct Code {
    pub(super) slots: Vec<u64>,
    pub(super) entries: Vec<(EntryKind, u32)>,
    pub(super) placed: Vec<Placed>,
}

/// A relocation of an instruction, read and checked against the section.
struct Reference {
    /// Slot in the section.
    slot: usize,
    offset: u64,
    call: bool,
    /// What it names, in which section and where in that.
    symbol: String,
    target: SectionIndex,
    value: u64,
    is_code: bool,
}

impl Code {
    pub(super) fn link(
        elf: &Elf<'_>,
        scratch: &Scratch,
        globals: &mut Globals,
    ) -> Result<Code, LinkError> {
        let mut code = Code::default();
        code.place_entries(elf)?;
        if code.entries.is_empty() {
            return Err(LinkError::NoEntry);
        }
        // Sections that are called are placed behind, until there are no more.
        let mut references = Vec::new();
        while let Some(placed) = code.placed.get(references.len()) {
            let found = read_references(elf, placed.section)?;
            for reference in found.iter().filter(|reference| reference.call) {
                code.place(elf, reference.target)?;
            }
            references.push(found);
        }
        code.refuse_stray(elf)?;
        for (index, found) in references.into_iter().enumerate() {
            for reference in found {
                code.resolve(elf, index, &reference, scratch, globals)?;
            }
        }
        Ok(code)
    }

    /// Where a section of code begins in the image.
    fn base(&self, section: SectionIndex) -> Option<u32> {
        self.placed
            .iter()
            .find(|placed| placed.section == section)
            .map(|placed| placed.base)
    }

    fn place_entries(&mut self, elf: &Elf<'_>) -> Result<(), LinkError> {
        for section in elf.sections().filter(|section| section.size() > 0) {
            let name = name_of(&section);
            let Some(kind) = EntryKind::ALL
                .into_iter()
                .find(|kind| kind.section() == name)
            else {
                if name.starts_with("dpu/") {
                    return Err(LinkError::UnknownEntry { section: name });
                }
                continue;
            };
            if self.entries.iter().any(|(other, _)| *other == kind) {
                return Err(LinkError::EntryFunctions {
                    section: name,
                    count: 2,
                });
            }
            let functions: Vec<u64> = elf
                .symbols()
                .filter(|symbol| symbol.section_index() == Some(section.index()))
                .filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition())
                .map(|symbol| symbol.address())
                .collect();
            let &[function] = &functions[..] else {
                return Err(LinkError::EntryFunctions {
                    section: name,
                    count: functions.len(),
                });
            };
            let base = self.place(elf, section.index())?;
            let slot = u32::try_from(function / 8).unwrap_or(u32::MAX);
            self.entries.push((kind, base.saturating_add(slot)));
        }
        Ok(())
    }

    /// Appends a section's code, if it is not there, and says where it begins.
    fn place(&mut self, elf: &Elf<'_>, index: SectionIndex) -> Result<u32, LinkError> {
        if let Some(base) = self.base(index) {
            return Ok(base);
        }
        let section = elf.section_by_index(index).map_err(LinkError::Elf)?;
        let (slots, rest) = contents(&section)?.as_chunks::<8>();
        let base = self.slots.len() as u32;
        if !rest.is_empty() {
            let bytes = slots.len() * 8 + rest.len();
            return Err(LinkError::OddCode {
                section: name_of(&section),
                bytes,
            });
        }
        if self.slots.len() + slots.len() > CODE_SLOTS_MAX || self.placed.len() >= CODE_SECTIONS_MAX
        {
            let problem = format!(
                "the code grows beyond {CODE_SLOTS_MAX} instructions or {CODE_SECTIONS_MAX} sections; make the program smaller"
            );
            return Err(LinkError::Section {
                section: name_of(&section),
                problem,
            });
        }
        self.slots
            .extend(slots.iter().map(|slot| u64::from_le_bytes(*slot)));
        self.placed.push(Placed {
            section: index,
            base,
            slots: slots.len() as u32,
        });
        Ok(base)
    }

    fn refuse_stray(&self, elf: &Elf<'_>) -> Result<(), LinkError> {
        let stray = elf.sections().find(|section| {
            section.kind() == SectionKind::Text
                && section.size() > 0
                && section.name() != Ok(".text")
                && self.base(section.index()).is_none()
        });
        match stray {
            Some(section) => Err(LinkError::StrayCode {
                section: name_of(&section),
            }),
            None => Ok(()),
        }
    }

    fn resolve(
        &mut self,
        elf: &Elf<'_>,
        placed: usize,
        reference: &Reference,
        scratch: &Scratch,
        globals: &mut Globals,
    ) -> Result<(), LinkError> {
        let Some(&Placed { section, base, .. }) = self.placed.get(placed) else {
            return Ok(());
        };
        let errors = Errors {
            elf,
            section,
            reference,
        };
        let at = base as usize + reference.slot;
        let slot = self
            .slots
            .get(at)
            .copied()
            .ok_or_else(|| errors.bad("it lies outside"))?;
        if reference.call {
            let resolved = self.resolve_call(&errors, at, slot)?;
            self.put(at, resolved);
            return Ok(());
        }
        let second = self
            .slots
            .get(at + 1)
            .copied()
            .ok_or_else(|| errors.bad("half of it is missing"))?;
        if slot as u8 != LOAD_WIDE || second as u32 != 0 {
            return Err(errors.bad("the instruction is no 64-bit load"));
        }
        let addend = (slot >> 32) | (second & 0xffff_ffff_0000_0000);
        let offset = reference.value.wrapping_add(addend).cast_signed();
        let inside = |bytes: u32| u32::try_from(offset).ok().filter(|&offset| offset <= bytes);
        let (source, low, high) = if let Some(base) = scratch.base(reference.target) {
            let offset = offset.wrapping_add(i64::from(base));
            let offset = u32::try_from(offset)
                .ok()
                .filter(|&offset| offset <= scratch.bytes());
            (
                FROM_SCRATCH,
                offset.ok_or_else(|| errors.bad("it points outside scratch"))?,
                0,
            )
        } else {
            match globals.reference(elf, reference.target, offset)? {
                Global::Map { index } => (FROM_MAP, index, 0),
                Global::Value { index, bytes } => {
                    let outside = || errors.bad("it points outside its section");
                    (FROM_MAP_VALUE, index, inside(bytes).ok_or_else(outside)?)
                }
                Global::InsideMap => return Err(errors.bad("it points into a map's declaration")),
                Global::Neither if reference.is_code => {
                    return Err(errors.unusable("a function's address cannot be taken; call it"));
                }
                Global::Neither if section_name(elf, reference.target) == "maps" => {
                    return Err(errors.unusable(
                        "declare maps in section .maps, with __uint(type, ..), __type(key, ..) and the like",
                    ));
                }
                Global::Neither => {
                    return Err(errors.unusable(
                        "put variables into no section of their own, or into scratch with DPU_SCRATCH",
                    ));
                }
            }
        };
        self.put(
            at,
            (slot & 0x0fff) | (source << 12) | (u64::from(low) << 32),
        );
        self.put(at + 1, u64::from(high) << 32);
        Ok(())
    }

    fn resolve_call(&self, errors: &Errors<'_>, at: usize, slot: u64) -> Result<u64, LinkError> {
        let Reference { target, value, .. } = *errors.reference;
        if slot as u8 != CALL || (slot >> 12) & 0xf != CALL_LOCAL {
            return Err(errors.bad("the instruction is no call of a function"));
        }
        let base = self
            .base(target)
            .ok_or_else(|| errors.bad("it calls what is no code"))?;
        // The immediate counts from the symbol, in slots, less one.
        let addend = i64::from((slot >> 32) as i32) + 1;
        let outside = || errors.bad("it calls outside the section");
        let within = i64::try_from(value / 8)
            .ok()
            .and_then(|slot| slot.checked_add(addend));
        let within = within.filter(|_| value % 8 == 0).ok_or_else(outside)?;
        let length = self
            .placed
            .iter()
            .find(|p| p.section == target)
            .map_or(0, |p| i64::from(p.slots));
        if !(0..length).contains(&within) {
            return Err(outside());
        }
        let distance = i64::from(base) + within - (at as i64 + 1);
        let distance = i32::try_from(distance).map_err(|_| outside())?;
        Ok((slot & 0xffff_ffff) | (u64::from(distance.cast_unsigned()) << 32))
    }

    fn put(&mut self, at: usize, value: u64) {
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = value;
        }
    }
}

/// Makes errors about one reference.
struct Errors<'a> {
    elf: &'a Elf<'a>,
    section: SectionIndex,
    reference: &'a Reference,
}

impl Errors<'_> {
    fn bad(&self, problem: &'static str) -> LinkError {
        LinkError::BadRelocation {
            section: section_name(self.elf, self.section),
            offset: self.reference.offset,
            symbol: self.reference.symbol.clone(),
            problem,
        }
    }

    fn unusable(&self, remedy: &'static str) -> LinkError {
        LinkError::Unusable {
            section: section_name(self.elf, self.section),
            offset: self.reference.offset,
            symbol: self.reference.symbol.clone(),
            target: section_name(self.elf, self.reference.target),
            remedy,
        }
    }
}

fn read_references(elf: &Elf<'_>, index: SectionIndex) -> Result<Vec<Reference>, LinkError> {
    let section = elf.section_by_index(index).map_err(LinkError::Elf)?;
    let name = || name_of(&section);
    let mut references = Vec::new();
    for (offset, relocation) in section.relocations() {
        if references.len() >= CODE_SLOTS_MAX {
            let problem = "it has more relocations than a program has instructions".to_owned();
            return Err(LinkError::Section {
                section: name(),
                problem,
            });
        }
        let RelocationFlags::Elf { r_type: kind } = relocation.flags() else {
            continue;
        };
        let RelocationTarget::Symbol(symbol) = relocation.target() else {
            continue;
        };
        let symbol = elf.symbol_by_index(symbol).map_err(LinkError::Elf)?;
        let named = match symbol.name() {
            Ok("") | Err(_) => symbol
                .section_index()
                .map_or_else(|| "?".to_owned(), |s| section_name(elf, s)),
            Ok(name) => name.to_owned(),
        };
        if kind != R_BPF_64_64 && kind != R_BPF_64_32 {
            let remedy = "compile with clang 11 or newer, without CO-RE";
            let kind = kind.0;
            return Err(LinkError::Relocation {
                section: name(),
                offset,
                kind,
                symbol: named,
                remedy,
            });
        }
        let Some(target) = symbol.section_index() else {
            return Err(LinkError::Undefined {
                section: name(),
                offset,
                symbol: named,
            });
        };
        let slot = usize::try_from(offset / 8).unwrap_or(usize::MAX);
        if offset % 8 != 0 || offset >= section.size() {
            let problem = "it is not at an instruction";
            return Err(LinkError::BadRelocation {
                section: name(),
                offset,
                symbol: named,
                problem,
            });
        }
        references.push(Reference {
            slot,
            offset,
            call: kind == R_BPF_64_32,
            symbol: named,
            target,
            value: symbol.address(),
            is_code: elf
                .section_by_index(target)
                .is_ok_and(|s| s.kind() == SectionKind::Text),
        });
    }
    Ok(references)
}
