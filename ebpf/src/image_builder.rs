//! Makes images: what a linker uses.

use std::vec::Vec;

use crate::image::{
    ABI, ENTRY_BYTES, EntryKind, HEADER_BYTES, Image, ImageError, ImageHeader, MAGIC,
    MAP_RECORD_BYTES, MapSpec,
};

/// An image in the making. Counts are taken from what was added.
#[derive(Clone, Default, Debug)]
pub struct ImageBuilder {
    header: ImageHeader,
    entries: Vec<(EntryKind, u32)>,
    maps: Vec<(MapSpec, Vec<u8>)>,
    code: Vec<u64>,
}

impl ImageBuilder {
    /// An image with nothing in it.
    pub fn new() -> ImageBuilder {
        ImageBuilder::default()
    }

    /// The bytes of scratch, and how many at its end are zeroed for each invocation.
    #[must_use]
    pub const fn scratch(mut self, bytes: u32, zero_bytes: u32) -> ImageBuilder {
        self.header.scratch_bytes = bytes;
        self.header.scratch_zero_bytes = zero_bytes;
        self
    }

    /// The bytes of arguments the program may read.
    #[must_use]
    pub const fn args_max(mut self, bytes: u32) -> ImageBuilder {
        self.header.args_max = bytes;
        self
    }

    /// The bytes of reply the program may write.
    #[must_use]
    pub const fn reply_max(mut self, bytes: u32) -> ImageBuilder {
        self.header.reply_max = bytes;
        self
    }

    /// The unit of a scan in bytes; needed with a scan entry, and refused without.
    #[must_use]
    pub const fn scan_unit(mut self, bytes: u32) -> ImageBuilder {
        self.header.scan_unit = bytes;
        self
    }

    /// The objects the program wants to be attached to, at least.
    #[must_use]
    pub const fn objects(mut self, count: u16) -> ImageBuilder {
        self.header.objects = count;
        self
    }

    /// Adds an entry at a slot of the code.
    #[must_use]
    pub fn entry(mut self, kind: EntryKind, slot: u32) -> ImageBuilder {
        self.entries.push((kind, slot));
        self
    }

    /// Adds a map with its initial bytes; `spec.initial_bytes` is set from them.
    #[must_use]
    pub fn map(mut self, spec: MapSpec, initial: &[u8]) -> ImageBuilder {
        self.maps.push((spec, initial.to_vec()));
        self
    }

    /// Adds code behind what there is.
    #[must_use]
    pub fn code(mut self, slots: &[u64]) -> ImageBuilder {
        self.code.extend_from_slice(slots);
        self
    }

    /// The image's bytes.
    ///
    /// # Errors
    /// What [`Image::parse`] has against them: an image that is built can be parsed.
    pub fn build(&self) -> Result<Vec<u8>, ImageError> {
        let initial: usize = self.maps.iter().map(|(_, initial)| initial.len()).sum();
        let total = HEADER_BYTES
            + self.entries.len() * ENTRY_BYTES
            + self.maps.len() * MAP_RECORD_BYTES
            + self.code.len() * 8
            + initial;
        let mut bytes = Vec::with_capacity(total);
        self.put_header(&mut bytes, total, initial)?;
        for &(kind, slot) in &self.entries {
            bytes.extend_from_slice(&[kind as u8, 0, 0, 0]);
            bytes.extend_from_slice(&slot.to_le_bytes());
        }
        for (spec, initial) in &self.maps {
            let initial_bytes = count("the initial bytes of a map", initial.len())?;
            let MapSpec {
                kind,
                key_bytes,
                value_bytes,
                entries_max,
                flags,
                ..
            } = *spec;
            for field in [
                kind,
                key_bytes,
                value_bytes,
                entries_max,
                flags,
                initial_bytes,
            ] {
                bytes.extend_from_slice(&field.to_le_bytes());
            }
        }
        bytes.extend(self.code.iter().flat_map(|slot| slot.to_le_bytes()));
        bytes.extend(self.maps.iter().flat_map(|(_, initial)| initial));
        Image::parse(&bytes)?;
        Ok(bytes)
    }

    fn put_header(
        &self,
        bytes: &mut Vec<u8>,
        total: usize,
        initial: usize,
    ) -> Result<(), ImageError> {
        let header = &self.header;
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&ABI.to_le_bytes());
        bytes.extend_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
        for field in [
            count("the image's length", total)?,
            count("the number of slots", self.code.len())?,
            header.scratch_bytes,
            header.scratch_zero_bytes,
            header.args_max,
            header.reply_max,
            header.scan_unit,
        ] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        for field in [
            header.objects,
            count("the number of entries", self.entries.len())?,
            count("the number of maps", self.maps.len())?,
            0,
        ] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.extend_from_slice(&count::<u32>("the initial bytes", initial)?.to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        Ok(())
    }
}

/// A length as a field's number.
fn count<T: TryFrom<usize> + Bounded>(what: &'static str, len: usize) -> Result<T, ImageError> {
    T::try_from(len).map_err(|_| ImageError::Limit {
        what,
        value: len as u64,
        max: T::MAX,
    })
}

trait Bounded {
    const MAX: u64;
}

impl Bounded for u16 {
    const MAX: u64 = u16::MAX as u64;
}

impl Bounded for u32 {
    const MAX: u64 = u32::MAX as u64;
}
