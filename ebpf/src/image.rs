//! The image: what a linked program is shipped as. Little-endian, flat, nothing in it trusted.
//!
//! ```text
//!   0  magic "OBPF"            4  abi u16 = 1        6  header bytes u16 = 64
//!   8  total bytes u32        12  code slots u32    16  scratch bytes u32
//!  20  scratch zero bytes u32 24  args max u32      28  reply max u32
//!  32  scan unit u32          36  objects u16       38  entries u16
//!  40  maps u16               42  zero u16          44  initial bytes u32
//!  48  zero, 16 bytes
//!  64  entries, 8 bytes each: kind u8, zero u8 × 3, slot u32
//!      maps, 24 bytes each: kind, key bytes, value bytes, entries max, flags, initial bytes (u32 each)
//!      code, 8 bytes a slot
//!      initial bytes of the maps, in their order
//! ```
//!
//! [`Image::parse`] checks every count, size and offset of the above; what the code says is for
//! [`check_image`](crate::check_image).

use core::fmt;
use core::ops::Range;

use crate::limits::{
    ARGS_BYTES_MAX, CODE_SLOTS_MAX, IMAGE_BYTES_MAX, MAPS_MAX, OBJECTS_MAX, REPLY_BYTES_MAX,
    SCAN_UNIT_BYTES_MAX, SCAN_UNIT_BYTES_MIN, SCRATCH_BYTES_MAX, SCRATCH_ZERO_BYTES_MAX,
};
use crate::maps::{MapError, MapShape};

/// The first four bytes.
pub const MAGIC: [u8; 4] = *b"OBPF";
/// The version of the layout and of what programs are promised.
pub const ABI: u16 = 1;
pub(crate) const HEADER_BYTES: usize = 64;
pub(crate) const ENTRY_BYTES: usize = 8;
pub(crate) const MAP_RECORD_BYTES: usize = 24;

/// What an entry is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum EntryKind {
    /// Run once, and reply.
    Call = 1,
    /// Run over each stretch of a range.
    Scan = 2,
    /// Run after the last stretch.
    Finish = 3,
}

impl EntryKind {
    /// All of them.
    pub const ALL: [EntryKind; 3] = [EntryKind::Call, EntryKind::Scan, EntryKind::Finish];

    fn of(byte: u8) -> Option<EntryKind> {
        EntryKind::ALL.into_iter().find(|&kind| kind as u8 == byte)
    }

    /// The section a C program names it by.
    pub const fn section(self) -> &'static str {
        match self {
            EntryKind::Call => "dpu/call",
            EntryKind::Scan => "dpu/scan",
            EntryKind::Finish => "dpu/finish",
        }
    }
}

/// The header's numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ImageHeader {
    /// 8-byte slots of code.
    pub instruction_count: u32,
    /// Bytes of scratch an invocation needs.
    pub scratch_bytes: u32,
    /// Bytes at the end of scratch that are zeroed for each invocation.
    pub scratch_zero_bytes: u32,
    /// Bytes of arguments the program may read.
    pub args_max: u32,
    /// Bytes of reply the program may write.
    pub reply_max: u32,
    /// Bytes of one unit of a scan; 0 without a scan entry.
    pub scan_unit: u32,
    /// Objects the program wants to be attached to, at least.
    pub objects: u16,
    /// Entries.
    pub entries: u16,
    /// Maps.
    pub maps: u16,
    /// Initial bytes of all maps.
    pub initial_bytes: u32,
}

impl ImageHeader {
    /// The part of scratch that is zeroed for each invocation: its end.
    pub const fn scratch_zero(&self) -> Range<usize> {
        let end = self.scratch_bytes as usize;
        end.saturating_sub(self.scratch_zero_bytes as usize)..end
    }
}

/// A map as declared.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MapSpec {
    /// Its type, numbered as Linux does (1 hash, 2 array).
    pub kind: u32,
    /// Bytes of a key.
    pub key_bytes: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// Entries it can hold.
    pub entries_max: u32,
    /// Flags.
    pub flags: u32,
    /// Bytes of initial values that come with it.
    pub initial_bytes: u32,
}

/// Why bytes are no image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// The bytes end before what they announce.
    Short {
        /// Bytes there should be.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Bytes follow the end.
    Long {
        /// Bytes there should be.
        needed: u64,
        /// Bytes there are.
        found: u64,
    },
    /// The magic is not there.
    Magic,
    /// Another version.
    Abi {
        /// The one found.
        abi: u16,
    },
    /// A number is beyond its limit.
    Limit {
        /// Which.
        what: &'static str,
        /// The number.
        value: u64,
        /// The limit.
        max: u64,
    },
    /// A number is not among those that make sense.
    Value {
        /// Which.
        what: &'static str,
        /// The number.
        value: u64,
    },
    /// Something that should be zero is not.
    Reserved {
        /// Where it is.
        offset: usize,
    },
    /// An entry of this kind is there twice.
    EntryTwice {
        /// The kind.
        kind: EntryKind,
    },
    /// A map that cannot be.
    Map(MapError),
    /// There is no entry that could be run: neither a call nor a scan.
    NoEntry,
    /// A finish without a scan.
    FinishWithoutScan,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageError::Short { needed, found } => {
                write!(f, "the image ends after {found} of {needed} bytes")
            }
            ImageError::Long { needed, found } => {
                write!(f, "the image has {found} bytes where {needed} belong")
            }
            ImageError::Magic => f.write_str("this is no program image"),
            ImageError::Abi { abi } => {
                write!(f, "the image is of ABI {abi}, and only {ABI} is understood")
            }
            ImageError::Limit { what, value, max } => {
                write!(f, "{what} is {value}, and {max} is the most there may be")
            }
            ImageError::Value { what, value } => write!(f, "{what} may not be {value}"),
            ImageError::Reserved { offset } => {
                write!(f, "byte {offset} of the image is reserved and must be zero")
            }
            ImageError::EntryTwice { kind } => {
                write!(f, "there are two entries {}", kind.section())
            }
            ImageError::Map(error) => error.fmt(f),
            ImageError::NoEntry => f.write_str("there is neither a call nor a scan entry"),
            ImageError::FinishWithoutScan => f.write_str("there is a finish entry but no scan"),
        }
    }
}

impl core::error::Error for ImageError {}

/// A view of an image's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Image<'a> {
    header: ImageHeader,
    entries: &'a [[u8; ENTRY_BYTES]],
    maps: &'a [[u8; MAP_RECORD_BYTES]],
    code: &'a [[u8; 8]],
    initial: &'a [u8],
}

impl<'a> Image<'a> {
    /// Takes the bytes as an image.
    ///
    /// # Errors
    /// The first thing wrong; see [`ImageError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Image<'a>, ImageError> {
        limit(
            "the image's length",
            bytes.len() as u64,
            IMAGE_BYTES_MAX as u64,
        )?;
        let (head, body) = take::<HEADER_BYTES>(bytes)?;
        let header = parse_header(head, bytes.len())?;
        let sections = [
            usize::from(header.entries) * ENTRY_BYTES,
            usize::from(header.maps) * MAP_RECORD_BYTES,
            header.instruction_count as usize * 8,
            header.initial_bytes as usize,
        ];
        let needed = HEADER_BYTES as u64 + sections.iter().map(|&len| len as u64).sum::<u64>();
        exact(needed, bytes.len() as u64)?;
        let short = ImageError::Short {
            needed,
            found: bytes.len() as u64,
        };
        let (entries, body) = body.split_at_checked(sections[0]).ok_or(short)?;
        let (maps, body) = body.split_at_checked(sections[1]).ok_or(short)?;
        let (code, initial) = body.split_at_checked(sections[2]).ok_or(short)?;
        let image = Image {
            header,
            entries: entries.as_chunks().0,
            maps: maps.as_chunks().0,
            code: code.as_chunks().0,
            initial,
        };
        image.check_entries()?;
        image.check_maps()?;
        Ok(image)
    }

    /// The header's numbers.
    pub const fn header(&self) -> &ImageHeader {
        &self.header
    }

    /// The slot that an entry starts at, if there is such an entry.
    pub fn entry(&self, kind: EntryKind) -> Option<u32> {
        self.entries()
            .find(|(found, _)| *found == kind)
            .map(|(_, pc)| pc)
    }

    /// The entries and the slots they start at.
    pub fn entries(&self) -> impl Iterator<Item = (EntryKind, u32)> + use<'a> {
        self.entries.iter().filter_map(|record| {
            let [kind, _, _, _, pc @ ..] = record;
            EntryKind::of(*kind).map(|kind| (kind, u32::from_le_bytes(*pc)))
        })
    }

    /// The code, slot by slot.
    pub fn code(&self) -> impl ExactSizeIterator<Item = u64> + use<'a> {
        self.code.iter().map(|&slot| u64::from_le_bytes(slot))
    }

    /// One slot of the code.
    pub fn slot(&self, index: u32) -> Option<u64> {
        self.code
            .get(index as usize)
            .map(|&slot| u64::from_le_bytes(slot))
    }

    /// The maps, each with its initial bytes.
    pub fn maps(&self) -> impl Iterator<Item = (MapSpec, &'a [u8])> + use<'a> {
        let mut rest = self.initial;
        self.maps.iter().map(move |record| {
            let spec = map_spec(record);
            let len = (spec.initial_bytes as usize).min(rest.len());
            let (initial, behind) = rest.split_at(len);
            rest = behind;
            (spec, initial)
        })
    }

    fn check_entries(&self) -> Result<(), ImageError> {
        let mut seen = [false; EntryKind::ALL.len()];
        for (index, record) in self.entries.iter().enumerate() {
            let at = HEADER_BYTES + index * ENTRY_BYTES;
            let [kind, zeros @ .., _, _, _, _] = record;
            let kind = EntryKind::of(*kind).ok_or(ImageError::Value {
                what: "the kind of an entry",
                value: u64::from(*kind),
            })?;
            reserved(zeros, at + 1)?;
            let twice = core::mem::replace(&mut seen[kind as usize - 1], true);
            if twice {
                return Err(ImageError::EntryTwice { kind });
            }
        }
        let last = u64::from(self.header.instruction_count.saturating_sub(1));
        for (_, pc) in self.entries() {
            limit("the slot of an entry", u64::from(pc), last)?;
        }
        match seen {
            [false, false, _] => Err(ImageError::NoEntry),
            [_, false, true] => Err(ImageError::FinishWithoutScan),
            [_, has_scan, _] => self.check_scan_unit(has_scan),
        }
    }

    fn check_scan_unit(&self, has_scan: bool) -> Result<(), ImageError> {
        let unit = self.header.scan_unit;
        let sound = if has_scan {
            unit.is_power_of_two() && (SCAN_UNIT_BYTES_MIN..=SCAN_UNIT_BYTES_MAX).contains(&unit)
        } else {
            unit == 0
        };
        if sound {
            Ok(())
        } else {
            Err(ImageError::Value {
                what: "the scan unit",
                value: u64::from(unit),
            })
        }
    }

    fn check_maps(&self) -> Result<(), ImageError> {
        let mut initial = 0;
        for record in self.maps {
            let spec = map_spec(record);
            MapShape::of(&spec).map_err(ImageError::Map)?;
            initial += u64::from(spec.initial_bytes);
        }
        if initial == u64::from(self.header.initial_bytes) {
            Ok(())
        } else {
            Err(ImageError::Value {
                what: "the sum of the maps' initial bytes",
                value: initial,
            })
        }
    }
}

fn parse_header(head: &[u8; HEADER_BYTES], found: usize) -> Result<ImageHeader, ImageError> {
    let mut fields = Fields(head);
    if fields.array::<4>() != MAGIC {
        return Err(ImageError::Magic);
    }
    let abi = fields.u16();
    if abi != ABI {
        return Err(ImageError::Abi { abi });
    }
    let header_bytes = fields.u16();
    if usize::from(header_bytes) != HEADER_BYTES {
        let value = u64::from(header_bytes);
        return Err(ImageError::Value {
            what: "the header's length",
            value,
        });
    }
    exact(u64::from(fields.u32()), found as u64)?;
    let mut header = ImageHeader {
        instruction_count: fields.u32(),
        scratch_bytes: fields.u32(),
        scratch_zero_bytes: fields.u32(),
        args_max: fields.u32(),
        reply_max: fields.u32(),
        scan_unit: fields.u32(),
        objects: fields.u16(),
        entries: fields.u16(),
        maps: fields.u16(),
        initial_bytes: 0,
    };
    reserved(&fields.array::<2>(), 42)?;
    header.initial_bytes = fields.u32();
    reserved(&fields.array::<16>(), 48)?;
    check_limits(&header)?;
    Ok(header)
}

fn check_limits(header: &ImageHeader) -> Result<(), ImageError> {
    let zero_max = SCRATCH_ZERO_BYTES_MAX.min(header.scratch_bytes);
    let entries_max = EntryKind::ALL.len() as u64;
    limit(
        "the number of slots",
        u64::from(header.instruction_count),
        CODE_SLOTS_MAX as u64,
    )?;
    limit(
        "the bytes of scratch",
        u64::from(header.scratch_bytes),
        u64::from(SCRATCH_BYTES_MAX),
    )?;
    let zero_bytes = u64::from(header.scratch_zero_bytes);
    limit(
        "the bytes of zeroed scratch",
        zero_bytes,
        u64::from(zero_max),
    )?;
    limit(
        "the bytes of arguments",
        u64::from(header.args_max),
        u64::from(ARGS_BYTES_MAX),
    )?;
    limit(
        "the bytes of reply",
        u64::from(header.reply_max),
        u64::from(REPLY_BYTES_MAX),
    )?;
    limit(
        "the number of objects",
        u64::from(header.objects),
        u64::from(OBJECTS_MAX),
    )?;
    limit(
        "the number of entries",
        u64::from(header.entries),
        entries_max,
    )?;
    limit(
        "the number of maps",
        u64::from(header.maps),
        MAPS_MAX as u64,
    )?;
    if header.instruction_count == 0 {
        return Err(ImageError::Value {
            what: "the number of slots",
            value: 0,
        });
    }
    Ok(())
}

fn limit(what: &'static str, value: u64, max: u64) -> Result<(), ImageError> {
    if value > max {
        Err(ImageError::Limit { what, value, max })
    } else {
        Ok(())
    }
}

fn exact(needed: u64, found: u64) -> Result<(), ImageError> {
    match found.cmp(&needed) {
        core::cmp::Ordering::Less => Err(ImageError::Short { needed, found }),
        core::cmp::Ordering::Equal => Ok(()),
        core::cmp::Ordering::Greater => Err(ImageError::Long { needed, found }),
    }
}

fn reserved(bytes: &[u8], at: usize) -> Result<(), ImageError> {
    match bytes.iter().position(|&byte| byte != 0) {
        Some(index) => Err(ImageError::Reserved { offset: at + index }),
        None => Ok(()),
    }
}

fn take<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), ImageError> {
    let short = ImageError::Short {
        needed: N as u64,
        found: bytes.len() as u64,
    };
    bytes.split_first_chunk::<N>().ok_or(short)
}

fn map_spec(record: &[u8; MAP_RECORD_BYTES]) -> MapSpec {
    let mut fields = Fields(record);
    MapSpec {
        kind: fields.u32(),
        key_bytes: fields.u32(),
        value_bytes: fields.u32(),
        entries_max: fields.u32(),
        flags: fields.u32(),
        initial_bytes: fields.u32(),
    }
}

/// Numbers one after the other; zero beyond the end, which callers do not reach.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk::<N>() else {
            return [0; N];
        };
        self.0 = rest;
        *first
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }
}
