//! Maps and global variables: `.maps` as BTF describes it, and data sections as arrays of one
//! value.

use super::btf::Btf;
use super::{Elf, LinkError, contents, name_of, section_name};
use ebpf::limits::{MAP_BYTES_MAX, MAPS_MAX};
use ebpf::{MapError, MapShape, MapSpec};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionIndex};

/// Linux' number of an array.
const ARRAY: u32 = 2;
/// Linux' flag of a map that programs only read.
const READ_ONLY_FOR_PROGRAMS: u32 = 1 << 7;

#[derive(Debug)]
pub(super) struct Map {
    pub(super) name: String,
    pub(super) spec: MapSpec,
    pub(super) initial: Vec<u8>,
    section: SectionIndex,
    /// Offset of its variable in `.maps`; `None` for a data section.
    declared_at: Option<u64>,
}

/// What a reference to a section of data means.
pub(super) enum Global {
    /// A map itself.
    Map { index: u32 },
    /// Bytes of the value of a map of one value.
    Value { index: u32, bytes: u32 },
    /// No map and no data.
    Neither,
    /// In `.maps`, but not at the beginning of a map.
    InsideMap,
}

#[derive(Debug, Default)]
pub(super) struct Globals {
    maps: Vec<Map>,
    maps_section: Option<SectionIndex>,
}

impl Globals {
    /// The declared maps. Data sections are added when they turn out to be used.
    pub(super) fn of(elf: &Elf<'_>) -> Result<Globals, LinkError> {
        let Some(section) = elf.section_by_name(".maps") else {
            return Ok(Globals::default());
        };
        let mut globals = Globals {
            maps: Vec::new(),
            maps_section: Some(section.index()),
        };
        let btf = match elf.section_by_name(".BTF") {
            Some(btf) => Btf::parse(contents(&btf)?),
            None => None,
        };
        for symbol in elf.symbols() {
            if symbol.section_index() != Some(section.index()) || !symbol.is_definition() {
                continue;
            }
            let name = symbol.name().unwrap_or("?").to_owned();
            if symbol.kind() != object::SymbolKind::Data {
                continue;
            }
            if globals.maps.len() >= MAPS_MAX {
                return Err(LinkError::Map {
                    map: name,
                    problem: "there are too many maps",
                });
            }
            let Some(btf) = &btf else {
                return Err(LinkError::Map {
                    map: name,
                    problem: "the object has no BTF",
                });
            };
            let spec = btf.map(&name).map_err(|problem| LinkError::Map {
                map: name.clone(),
                problem,
            })?;
            check(&name, &spec)?;
            globals.maps.push(Map {
                name,
                spec,
                initial: Vec::new(),
                section: section.index(),
                declared_at: Some(symbol.address()),
            });
        }
        globals.maps.sort_by_key(|map| map.declared_at);
        Ok(globals)
    }

    pub(super) fn maps(&self) -> &[Map] {
        &self.maps
    }

    /// What a reference to `offset` in a section means; adds the section if it is one of data.
    pub(super) fn reference(
        &mut self,
        elf: &Elf<'_>,
        section: SectionIndex,
        offset: i64,
    ) -> Result<Global, LinkError> {
        if Some(section) == self.maps_section {
            let at = u64::try_from(offset).ok();
            let found = self
                .maps
                .iter()
                .position(|map| map.declared_at.is_some() && map.declared_at == at);
            return Ok(found.map_or(Global::InsideMap, |index| Global::Map {
                index: index as u32,
            }));
        }
        let known = self
            .maps
            .iter()
            .position(|map| map.section == section && map.declared_at.is_none());
        let index = match known {
            Some(index) => index,
            None => match data_map(elf, section)? {
                Some(map) if self.maps.len() >= MAPS_MAX => {
                    let problem = "there are too many maps and sections of variables".to_owned();
                    return Err(LinkError::Section {
                        section: map.name,
                        problem,
                    });
                }
                Some(map) => {
                    self.maps.push(map);
                    self.maps.len() - 1
                }
                None => return Ok(Global::Neither),
            },
        };
        let bytes = self.maps.get(index).map_or(0, |map| map.spec.value_bytes);
        Ok(Global::Value {
            index: index as u32,
            bytes,
        })
    }
}

/// Whether an agent has maps like this.
fn check(name: &str, spec: &MapSpec) -> Result<(), LinkError> {
    match MapShape::of(spec) {
        Ok(_) => Ok(()),
        Err(MapError::Kind { kind }) => Err(LinkError::MapKind {
            map: name.to_owned(),
            kind,
            name: kind_name(kind),
        }),
        Err(error) => Err(LinkError::MapShape {
            map: name.to_owned(),
            error,
        }),
    }
}

/// What Linux calls a type of maps that is not offered, for those that programs are likely to have.
const fn kind_name(kind: u32) -> &'static str {
    match kind {
        3 => ", a program array",
        4 => ", a perf event array",
        5 => ", a per-CPU hash",
        6 => ", a per-CPU array",
        7 => ", a stack trace",
        10 => ", a per-CPU LRU hash",
        11 => ", a longest prefix match trie",
        12 => ", an array of maps",
        13 => ", a hash of maps",
        22 => ", a queue",
        23 => ", a stack",
        27 => ", a ring buffer",
        30 => ", a bloom filter",
        _ => "",
    }
}

/// Variables are shipped as bytes, and an address is not among them.
fn refuse_addresses(elf: &Elf<'_>, index: SectionIndex) -> Result<(), LinkError> {
    let section = elf.section_by_index(index).map_err(LinkError::Elf)?;
    let Some((offset, relocation)) = section.relocations().next() else {
        return Ok(());
    };
    let symbol = match relocation.target() {
        RelocationTarget::Symbol(symbol) => elf.symbol_by_index(symbol).ok(),
        _ => None,
    };
    let symbol = symbol.map_or_else(
        || "something".to_owned(),
        |symbol| match symbol.name() {
            Ok("") | Err(_) => symbol
                .section_index()
                .map_or_else(|| "something".to_owned(), |at| section_name(elf, at)),
            Ok(name) => name.to_owned(),
        },
    );
    Err(LinkError::AddressInData {
        section: name_of(&section),
        offset,
        symbol,
    })
}

/// An array of one value made of a data section, if it is one.
fn data_map(elf: &Elf<'_>, index: SectionIndex) -> Result<Option<Map>, LinkError> {
    let section = elf.section_by_index(index).map_err(LinkError::Elf)?;
    let name = name_of(&section);
    let is = |stem: &str| {
        name.strip_prefix(stem)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let flags = if is(".rodata") {
        READ_ONLY_FOR_PROGRAMS
    } else if is(".data") || is(".bss") {
        0
    } else {
        return Ok(None);
    };
    refuse_addresses(elf, index)?;
    let bytes = section.size();
    let Some(value_bytes) = u32::try_from(bytes)
        .ok()
        .filter(|&bytes| bytes <= MAP_BYTES_MAX)
    else {
        let problem =
            format!("{bytes} bytes of variables are more than the {MAP_BYTES_MAX} there can be");
        return Err(LinkError::Section {
            section: name,
            problem,
        });
    };
    let spec = MapSpec {
        kind: ARRAY,
        key_bytes: 4,
        value_bytes,
        entries_max: 1,
        flags,
        initial_bytes: 0,
    };
    let initial = contents(&section)?.to_vec();
    Ok(Some(Map {
        name,
        spec,
        initial,
        section: index,
        declared_at: None,
    }))
}
