//! Where instructions came from: function by symbol, file and line by `.BTF.ext`.

use super::btf::{Btf, Words, after_header, part};
use super::code::Code;
use super::{Elf, contents};
use crate::limits::{CODE_SECTIONS_MAX, SOURCE_LINES_MAX};
use object::{Object, ObjectSection, ObjectSymbol, SectionIndex, SymbolKind};

/// Where an instruction came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The function it is in, if its symbol is there.
    pub function: Option<&'a str>,
    /// The source line, if compiled with `-g`.
    pub source: Option<&'a Source>,
}

/// A line of source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The file, as it was named to the compiler.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// Where in the line, in bytes from 1; 0 where that is not known.
    pub column: u32,
    /// The line's text.
    pub text: String,
}

impl std::fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.function.unwrap_or("?"))?;
        if let Some(Source {
            file, line, text, ..
        }) = self.source
        {
            write!(f, " at {file}:{line}")?;
            if !text.trim().is_empty() {
                write!(f, ": {}", text.trim())?;
            }
        }
        Ok(())
    }
}

/// Sorted by slot; each holds up to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines {
    functions: Vec<(u32, String)>,
    sources: Vec<(u32, Source)>,
}

impl Lines {
    /// What the object says of the placed code. Damaged debug information is as none.
    pub(super) fn of(elf: &Elf<'_>, code: &Code) -> Lines {
        let mut lines = Lines::default();
        for symbol in elf
            .symbols()
            .filter(|symbol| symbol.kind() == SymbolKind::Text)
        {
            let slot = symbol
                .section_index()
                .and_then(|s| slot_of(code, s, symbol.address()));
            if let (Some(slot), Ok(name)) = (slot, symbol.name()) {
                lines.functions.push((slot, name.to_owned()));
            }
        }
        lines.sources = sources(elf, code).unwrap_or_default();
        lines.functions.sort();
        lines.sources.sort_by_key(|(slot, _)| *slot);
        lines
    }

    pub(super) fn locate(&self, pc: u32) -> Option<Location<'_>> {
        let function = last_at(&self.functions, pc).map(String::as_str);
        let source = last_at(&self.sources, pc);
        (function.is_some() || source.is_some()).then_some(Location { function, source })
    }
}

impl Lines {
    /// The lines of a file that code came from: number and text.
    pub(super) fn of_file<'a>(&'a self, file: &'a str) -> impl Iterator<Item = (u32, &'a str)> {
        let sources = self.sources.iter().map(|(_, source)| source);
        sources
            .filter(move |source| source.file == file)
            .map(|source| (source.line, source.text.as_str()))
    }
}

fn last_at<T>(sorted: &[(u32, T)], pc: u32) -> Option<&T> {
    let after = sorted.partition_point(|(slot, _)| *slot <= pc);
    sorted.get(after.checked_sub(1)?).map(|(_, value)| value)
}

/// The slot in the image of a byte offset in a section.
fn slot_of(code: &Code, section: SectionIndex, offset: u64) -> Option<u32> {
    let placed = code
        .placed
        .iter()
        .find(|placed| placed.section == section)?;
    let slot = u32::try_from(offset / 8)
        .ok()
        .filter(|&slot| slot < placed.slots)?;
    placed.base.checked_add(slot)
}

fn sources(elf: &Elf<'_>, code: &Code) -> Option<Vec<(u32, Source)>> {
    let btf = Btf::parse(contents(&elf.section_by_name(".BTF")?).ok()?)?;
    let ext = contents(&elf.section_by_name(".BTF.ext")?).ok()?;
    let (mut words, body) = after_header(ext)?;
    let (_, _) = (words.u32()?, words.u32()?);
    let (line_offset, line_bytes) = (words.u32()?, words.u32()?);
    let mut words = Words(part(body, line_offset, line_bytes)?);
    let record_bytes = words.u32()? as usize;
    let mut found = Vec::new();
    let mut blocks = 0;
    while !words.0.is_empty() && blocks < CODE_SECTIONS_MAX {
        blocks += 1;
        let section = btf
            .string(words.u32()?)
            .and_then(|name| elf.section_by_name(name));
        let count = words.u32()? as usize;
        let mut records = Words(words.take(count.checked_mul(record_bytes.max(16))?)?);
        for _ in 0..count {
            let mut record = Words(records.take(record_bytes.max(16))?);
            let (offset, file) = (record.u32()?, record.u32()?);
            let (text, place) = (record.u32()?, record.u32()?);
            let (line, column) = (place >> 10, place & 0x3ff);
            let slot = section
                .as_ref()
                .and_then(|s| slot_of(code, s.index(), u64::from(offset)));
            // Line 0 is what the compiler made of no line at all.
            if let Some(slot) = slot
                && line > 0
                && found.len() < SOURCE_LINES_MAX
            {
                let string = |at| btf.string(at).unwrap_or_default();
                let (file, text) = (string(file).to_owned(), string(text).to_owned());
                let source = Source {
                    file,
                    line,
                    column,
                    text,
                };
                found.push((slot, source));
            }
        }
    }
    Some(found)
}
