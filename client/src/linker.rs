//! From an ELF object of clang to the image an agent loads.
//!
//! The agent parses no ELF and resolves nothing: what it gets is code whose wide loads already say
//! "scratch + offset" or "map index", whose calls are relative, and a header of sizes. All of that
//! is made here:
//!
//! - the entries are the functions in the sections `dpu/call`, `dpu/scan` and `dpu/finish`;
//!   sections of code that they call (such as `.text`), directly or not, follow behind them, others
//!   are left out;
//! - `.scratch` and behind it `.scratch.zero` become sizes (they must be all zero);
//! - `.maps`, described by BTF, and `.rodata`, `.data`, `.bss`, each as an array of one value,
//!   become maps;
//! - `dpu.limits` (written by `DPU_LIMITS`) gives the numbers of the header.
//!
//! Helpers are calls by number and need nothing. Errors name the section and the symbol, and what
//! to do about it. The object is not trusted either: any bytes give an image or an error.

pub mod btf;
mod code;
mod error;
mod globals;
mod lines;
mod scratch;

pub use error::LinkError;
pub use lines::{Location, Source};

use crate::limits::OBJECT_BYTES_MAX;
use code::Code;
use ebpf::{EntryKind, ImageBuilder, MapSpec};
use globals::Globals;
use lines::Lines;
use object::elf::{EM_BPF, FileHeader64};
use object::read::elf::{ElfFile64, FileHeader};
use object::{LittleEndian, Object, ObjectSection, SectionIndex};
use scratch::Scratch;

pub(crate) type Elf<'d> = ElfFile64<'d, LittleEndian>;

/// The ABI of `dpu.h` that this linker knows.
pub const DPU_ABI: u32 = 1;

/// An image, and what is known of where it came from.
#[derive(Clone, Debug)]
pub struct Linked {
    /// The image, for [`Client::load`](crate::Client::load).
    pub image: Vec<u8>,
    /// Length of the code in 8-byte slots.
    pub instructions: u32,
    /// The entries there are.
    pub entries: Vec<EntryKind>,
    /// Scratch bytes of an invocation, those zeroed for each included.
    pub scratch_bytes: u32,
    /// Bytes at their end that are zeroed for each.
    pub scratch_zero_bytes: u32,
    /// The numbers of `DPU_LIMITS`.
    pub limits: DpuLimits,
    /// The maps, globals included, by name.
    pub maps: Vec<(String, MapSpec)>,
    lines: Lines,
}

impl Linked {
    /// Where an instruction came from, counted in 8-byte slots as the agent counts them.
    pub fn locate(&self, pc: u32) -> Option<Location<'_>> {
        self.lines.locate(pc)
    }

    /// The lines of a source file that code came from, as the object has them: number and text, in
    /// the order of the code.
    pub fn lines_of<'a>(&'a self, file: &'a str) -> impl Iterator<Item = (u32, &'a str)> {
        self.lines.of_file(file)
    }
}

/// What `DPU_LIMITS` of `dpu.h` declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DpuLimits {
    /// Bytes of arguments the program can take.
    pub args_max: u32,
    /// Bytes of reply it can give.
    pub reply_max: u32,
    /// Bytes of which data come in multiples in a scan; 0 without one.
    pub scan_unit: u32,
    /// Objects it needs.
    pub objects: u32,
}

/// Links an object.
///
/// # Errors
/// What is wrong with it, where, and what to do about it.
pub fn link(object: &[u8]) -> Result<Linked, LinkError> {
    let elf = parse(object)?;
    let limits = dpu_limits(&elf)?;
    let scratch = Scratch::of(&elf)?;
    let mut globals = Globals::of(&elf)?;
    let code = Code::link(&elf, &scratch, &mut globals)?;

    let objects = u16::try_from(limits.objects).map_err(|_| LinkError::Limits {
        problem: "it asks for too many objects",
    })?;
    let mut builder = ImageBuilder::new()
        .scratch(scratch.bytes(), scratch.zero_bytes())
        .args_max(limits.args_max)
        .reply_max(limits.reply_max)
        .scan_unit(limits.scan_unit)
        .objects(objects)
        .code(&code.slots);
    for &(kind, slot) in &code.entries {
        builder = builder.entry(kind, slot);
    }
    for map in globals.maps() {
        builder = builder.map(map.spec, &map.initial);
    }
    Ok(Linked {
        image: builder.build().map_err(LinkError::Image)?,
        instructions: code.slots.len() as u32,
        entries: code.entries.iter().map(|&(kind, _)| kind).collect(),
        scratch_bytes: scratch.bytes(),
        scratch_zero_bytes: scratch.zero_bytes(),
        limits,
        maps: globals
            .maps()
            .iter()
            .map(|map| (map.name.clone(), map.spec))
            .collect(),
        lines: Lines::of(&elf, &code),
    })
}

fn parse(bytes: &[u8]) -> Result<Elf<'_>, LinkError> {
    if bytes.len() > OBJECT_BYTES_MAX {
        return Err(LinkError::TooLarge {
            bytes: bytes.len(),
            limit: OBJECT_BYTES_MAX,
        });
    }
    if !bytes.starts_with(b"\x7fELF") {
        return Err(LinkError::NotElf);
    }
    let header = FileHeader64::<LittleEndian>::parse(bytes).map_err(|_| LinkError::NotBpf)?;
    let endian = header.endian().map_err(|_| LinkError::NotBpf)?;
    if header.e_machine(endian) != EM_BPF || header.e_type(endian) != object::elf::ET_REL {
        return Err(LinkError::NotBpf);
    }
    Elf::parse(bytes).map_err(LinkError::Elf)
}

/// The contents of a section; none for one without bytes in the file.
pub(crate) fn contents<'d>(section: &impl ObjectSection<'d>) -> Result<&'d [u8], LinkError> {
    section.data().map_err(LinkError::Elf)
}

pub(crate) fn name_of<'d>(section: &impl ObjectSection<'d>) -> String {
    String::from_utf8_lossy(section.name_bytes().unwrap_or_default()).into_owned()
}

pub(crate) fn section_name(elf: &Elf<'_>, index: SectionIndex) -> String {
    elf.section_by_index(index)
        .map_or_else(|_| format!("#{}", index.0), |s| name_of(&s))
}

fn dpu_limits(elf: &Elf<'_>) -> Result<DpuLimits, LinkError> {
    let section = elf
        .section_by_name("dpu.limits")
        .ok_or(LinkError::NoLimits)?;
    let (fields, rest) = contents(&section)?.as_chunks::<4>();
    let fields: Vec<u32> = fields
        .iter()
        .map(|field| u32::from_le_bytes(*field))
        .collect();
    match fields[..] {
        [abi, ..] if abi != DPU_ABI => Err(LinkError::Abi { abi }),
        [_, args_max, reply_max, scan_unit, objects, 0, 0, 0] if rest.is_empty() => Ok(DpuLimits {
            args_max,
            reply_max,
            scan_unit,
            objects,
        }),
        [_, _, _, _, _, _, _, _] => Err(LinkError::Limits {
            problem: "its reserved fields are not zero",
        }),
        [_, _, _, _, _, _, _, _, ..] => Err(LinkError::Limits {
            problem: "there is more than one DPU_LIMITS",
        }),
        _ => Err(LinkError::Limits {
            problem: "it is too short",
        }),
    }
}
