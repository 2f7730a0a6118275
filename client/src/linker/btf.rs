//! BTF, as far as it is needed: map declarations, and names of source lines.
//!
//! Every offset and count in it is checked; chains of types are followed to a fixed depth only.

use crate::limits::SOURCE_TEXT_BYTES_MAX;
use ebpf::{MapKind, MapSpec};

const MAGIC: u16 = 0xeb9f;
const KIND_INT: u32 = 1;
const KIND_PTR: u32 = 2;
const KIND_ARRAY: u32 = 3;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_VAR: u32 = 14;
const KIND_DATASEC: u32 = 15;
const KIND_FLOAT: u32 = 16;
const KIND_DECL_TAG: u32 = 17;
const KIND_TYPE_TAG: u32 = 18;
const KIND_ENUM64: u32 = 19;
/// Pointers, typedefs and arrays of arrays are followed this far.
const DEPTH_MAX: usize = 32;

/// Longer strings are as none, so that no string is searched for its end for long.
const STRING_BYTES_MAX: usize = SOURCE_TEXT_BYTES_MAX;

/// Numbers one after the other.
pub(super) struct Words<'a>(pub(super) &'a [u8]);

impl<'a> Words<'a> {
    pub(super) fn u32(&mut self) -> Option<u32> {
        let (first, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*first))
    }

    pub(super) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(first)
    }
}

/// The header that `.BTF` and `.BTF.ext` share: what follows it, and where that begins.
pub(super) fn after_header(bytes: &[u8]) -> Option<(Words<'_>, &[u8])> {
    let (magic, _) = bytes.split_first_chunk::<2>()?;
    if u16::from_le_bytes(*magic) != MAGIC || bytes.get(2) != Some(&1) {
        return None;
    }
    let mut words = Words(bytes.get(4..)?);
    let header_bytes = words.u32()? as usize;
    Some((words, bytes.get(header_bytes..)?))
}

/// `len` bytes at `offset`.
pub(super) fn part(bytes: &[u8], offset: u32, len: u32) -> Option<&[u8]> {
    bytes.get(offset as usize..)?.get(..len as usize)
}

/// A type: its name, kind, the size or the type it refers to, and what follows it.
#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    name: u32,
    kind: u32,
    count: usize,
    size_or_type: u32,
    tail: &'a [u8],
}

/// A `.BTF` section.
#[derive(Debug)]
pub struct Btf<'a> {
    types: Vec<Type<'a>>,
    strings: &'a [u8],
}

impl<'a> Btf<'a> {
    /// Takes the bytes of a `.BTF` section; `None` if they are none.
    pub fn parse(bytes: &'a [u8]) -> Option<Btf<'a>> {
        let (mut words, body) = after_header(bytes)?;
        let (type_offset, type_bytes) = (words.u32()?, words.u32()?);
        let (string_offset, string_bytes) = (words.u32()?, words.u32()?);
        let strings = part(body, string_offset, string_bytes)?;
        let mut rest = Words(part(body, type_offset, type_bytes)?);
        let mut types = Vec::new();
        while !rest.0.is_empty() {
            let (name, info, size_or_type) = (rest.u32()?, rest.u32()?, rest.u32()?);
            let (kind, count) = ((info >> 24) & 0x1f, (info & 0xffff) as usize);
            let tail = rest.take(tail_bytes(kind, count))?;
            types.push(Type {
                name,
                kind,
                count,
                size_or_type,
                tail,
            });
        }
        Some(Btf { types, strings })
    }

    /// A string of the string table, unless it is longer than any name or line worth showing.
    pub fn string(&self, offset: u32) -> Option<&'a str> {
        let bytes = self.strings.get(offset as usize..)?;
        let end = bytes
            .iter()
            .take(STRING_BYTES_MAX)
            .position(|&byte| byte == 0)?;
        core::str::from_utf8(bytes.get(..end)?).ok()
    }

    /// The declaration of a map: a variable of that name whose type is a struct as libbpf has it.
    ///
    /// # Errors
    /// What is wrong with the declaration.
    pub fn map(&self, name: &str) -> Result<MapSpec, &'static str> {
        let is_it = |t: &&Type<'_>| t.kind == KIND_VAR && self.string(t.name) == Some(name);
        let variable = self
            .types
            .iter()
            .find(is_it)
            .ok_or("BTF does not describe it")?;
        let declaration = self
            .resolve(variable.size_or_type)
            .filter(|t| t.kind == KIND_STRUCT)
            .ok_or("it is no struct")?;
        let mut spec = MapSpec::default();
        let mut holds_maps = false;
        let mut members = Words(declaration.tail);
        for _ in 0..declaration.count {
            let (Some(name), Some(kind), Some(_)) = (members.u32(), members.u32(), members.u32())
            else {
                return Err("its BTF is damaged");
            };
            match self.string(name).unwrap_or_default() {
                "type" => spec.kind = self.number(kind)?,
                "key_size" => spec.key_bytes = self.number(kind)?,
                "value_size" => spec.value_bytes = self.number(kind)?,
                "max_entries" => spec.entries_max = self.number(kind)?,
                "map_flags" => spec.flags = self.number(kind)?,
                "key" => spec.key_bytes = self.pointee_bytes(kind)?,
                "value" => spec.value_bytes = self.pointee_bytes(kind)?,
                "values" => holds_maps = true,
                "pinning" => {
                    return Err("maps are not pinned: they live as long as their instance");
                }
                _ => {
                    return Err(
                        "its declaration has a member that is not known; type, key, value, key_size, value_size, max_entries and map_flags are",
                    );
                }
            }
        }
        // Of what is not offered, the type is the thing to be told.
        let is_known = MapKind::of(spec.kind).is_some();
        if spec.kind != 0 && !is_known {
            return Ok(spec);
        }
        if holds_maps {
            return Err("maps in maps are not offered");
        }
        if spec.kind == 0 || spec.value_bytes == 0 || spec.entries_max == 0 {
            return Err("its declaration lacks a type, a value or max_entries");
        }
        Ok(spec)
    }

    /// `__uint(name, n)` is a pointer to an array of n.
    fn number(&self, id: u32) -> Result<u32, &'static str> {
        let array = self.pointee(id).and_then(|id| self.resolve(id));
        let mut words = match array {
            Some(array) if array.kind == KIND_ARRAY => Words(array.tail),
            _ => return Err("a number in its declaration is not written with __uint"),
        };
        let (_, _, count) = (words.u32(), words.u32(), words.u32());
        count.ok_or("its BTF is damaged")
    }

    /// `__type(name, t)` is a pointer to t.
    fn pointee_bytes(&self, id: u32) -> Result<u32, &'static str> {
        let bytes = self.pointee(id).and_then(|id| self.bytes_of(id, DEPTH_MAX));
        bytes.ok_or("the size of its key or value is not known")
    }

    fn get(&self, id: u32) -> Option<&Type<'a>> {
        self.types.get((id as usize).checked_sub(1)?)
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> Option<&Type<'a>> {
        for _ in 0..DEPTH_MAX {
            let found = self.get(id)?;
            match found.kind {
                KIND_TYPEDEF | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT | KIND_TYPE_TAG => {
                    id = found.size_or_type;
                }
                _ => return Some(found),
            }
        }
        None
    }

    fn pointee(&self, id: u32) -> Option<u32> {
        self.resolve(id)
            .filter(|t| t.kind == KIND_PTR)
            .map(|t| t.size_or_type)
    }

    fn bytes_of(&self, id: u32, depth: usize) -> Option<u32> {
        let found = self.resolve(id)?;
        match found.kind {
            KIND_INT | KIND_STRUCT | KIND_UNION | KIND_ENUM | KIND_FLOAT | KIND_ENUM64 => {
                Some(found.size_or_type)
            }
            KIND_PTR => Some(8),
            KIND_ARRAY => {
                let mut words = Words(found.tail);
                let (element, _, count) = (words.u32()?, words.u32()?, words.u32()?);
                self.bytes_of(element, depth.checked_sub(1)?)?
                    .checked_mul(count)
            }
            _ => None,
        }
    }
}

/// Bytes that follow the first twelve of a type.
fn tail_bytes(kind: u32, count: usize) -> usize {
    match kind {
        KIND_INT | KIND_VAR | KIND_DECL_TAG => 4,
        KIND_ARRAY => 12,
        KIND_STRUCT | KIND_UNION | KIND_DATASEC | KIND_ENUM64 => 12 * count,
        KIND_ENUM | KIND_FUNC_PROTO => 8 * count,
        _ => 0,
    }
}
