//! What a program is given to run with, as far as the proof depends on it.

use crate::image::{EntryKind, Image, ImageHeader, MapSpec};
use crate::limits::{MAPS_MAX, REGION_BYTES_MAX, STACK_BYTES};
use crate::maps::{MapError, MapKind, MapShape};
use crate::memory::{MapIndex, Memory, RegionId};

/// A field of the context that holds an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContextPointer {
    /// Bytes from the context's start.
    pub offset: u32,
    /// The region it points to.
    pub region: RegionId,
    /// It points one past the region's end, not to its start. Of [`RegionId::Data`] that is all
    /// that says how long it is, and the region must be that long for as long as the program runs.
    pub end: bool,
}

/// The context that r1 points to at every entry. Whatever of it is no pointer is a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContextLayout {
    /// Bytes.
    pub bytes: u32,
    /// Its fields of 8 bytes that hold addresses. Those of [`RegionId::Data`] are zero but in a scan.
    pub pointers: &'static [ContextPointer],
}

/// How many bytes of a buffer a helper is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// As many as the low 32 bits of an argument say (0 for r1 to 4 for r5), times `unit`.
    Argument {
        /// Which.
        index: u8,
        /// Bytes of one.
        unit: u32,
    },
    /// So many.
    Bytes(u32),
}

/// What a helper takes as one argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Argument {
    /// Nothing: it is not looked at.
    Unused,
    /// A number.
    Number,
    /// The address of bytes that it reads.
    Read {
        /// How many.
        length: Length,
        /// Addresses may be among them: the helper only uses them, and passes them to nobody.
        pointers: bool,
    },
    /// The address of bytes that it writes.
    Write(Length),
    /// The address of bytes in scratch that a device will write.
    Device(Length),
    /// A map, by its name (a wide load with source 5).
    Map {
        /// The helper changes it.
        changes: bool,
    },
    /// The address of a key of the map that an argument names (0 for r1 to 4 for r5).
    MapKey(u8),
    /// The address of bytes that become a value of the map that an argument names.
    MapValue(u8),
}

/// What a helper returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Returns {
    /// A number.
    Number {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// The address of a value's start in the map that an argument names, or 0.
    MapValue(u8),
}

/// A helper as the verifier knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HelperSignature {
    /// The number it is called by.
    pub id: u32,
    /// What it takes.
    pub arguments: [Argument; 5],
    /// What it returns.
    pub returns: Returns,
}

/// What the proof takes for granted: a program that is run with less was not proved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Environment {
    /// The context.
    pub context: ContextLayout,
    /// Bytes of arguments that may be read.
    pub args_bytes: u32,
    /// Bytes of reply that may be read and written.
    pub reply_bytes: u32,
    /// Bytes of scratch that may be read and written.
    pub scratch_bytes: u32,
    /// The helpers.
    pub helpers: &'static [HelperSignature],
    /// The maps, by their index. The region of each is as long as its shape says.
    pub maps: [Option<MapShape>; MAPS_MAX],
}

impl Environment {
    /// Nothing at all.
    pub(super) const EMPTY: Environment = Environment {
        context: ContextLayout {
            bytes: 0,
            pointers: &[],
        },
        args_bytes: 0,
        reply_bytes: 0,
        scratch_bytes: 0,
        helpers: &[],
        maps: [None; MAPS_MAX],
    };

    /// What an image declares, with the context and the helpers of the host.
    ///
    /// # Errors
    /// A map that cannot be, or too many of them.
    pub fn of_image(
        image: &Image<'_>,
        context: ContextLayout,
        helpers: &'static [HelperSignature],
    ) -> Result<Environment, MapError> {
        let specs = image.maps().map(|(spec, _)| spec);
        Environment::new(image.header(), context, helpers).with_maps(specs)
    }

    /// What the header of an image declares, without maps.
    #[must_use]
    pub const fn new(
        header: &ImageHeader,
        context: ContextLayout,
        helpers: &'static [HelperSignature],
    ) -> Environment {
        Environment {
            context,
            args_bytes: header.args_max,
            reply_bytes: header.reply_max,
            scratch_bytes: header.scratch_bytes,
            helpers,
            maps: [None; MAPS_MAX],
        }
    }

    /// With these maps, in their order, in place of any there were.
    ///
    /// # Errors
    /// A map that cannot be, or too many of them.
    pub fn with_maps(
        mut self,
        specs: impl IntoIterator<Item = MapSpec>,
    ) -> Result<Environment, MapError> {
        self.maps = [None; MAPS_MAX];
        for (index, spec) in specs.into_iter().enumerate() {
            let place = self.maps.get_mut(index).ok_or(MapError::Count)?;
            *place = Some(MapShape::of(&spec)?);
        }
        Ok(self)
    }

    /// The map with an index, if there is one.
    #[must_use]
    pub fn map(&self, index: MapIndex) -> Option<&MapShape> {
        self.maps.get(index.get() as usize)?.as_ref()
    }

    /// The bytes of a region that a program may count on, where that is one number. A map of one
    /// value is that value; what it is rounded up by belongs to nobody.
    pub(super) fn bytes(&self, region: RegionId) -> Option<u32> {
        match region {
            RegionId::Context => Some(self.context.bytes),
            RegionId::Arguments => Some(self.args_bytes),
            RegionId::Reply => Some(self.reply_bytes),
            RegionId::Data => None,
            RegionId::Scratch => Some(self.scratch_bytes),
            RegionId::Stack => Some(STACK_BYTES as u32),
            RegionId::Map(index) => {
                let bytes = self.map(index).map_or(0, |map| match map.entries_max() {
                    1 => map.value_bytes(),
                    _ => map.region_bytes(),
                });
                Some(bytes as u32)
            }
        }
    }

    /// True if a memory is what an entry of that kind was proved for: each region is there with its
    /// rights, exactly as long as said (a guard that lets an access through tells the proof where
    /// it was, so more is as bad as less), and the context's pointers point to where they should.
    #[must_use]
    pub fn is_met_by(&self, entry: EntryKind, memory: &mut Memory<'_>) -> bool {
        let mut data = 0;
        for region in RegionId::all() {
            let (_, len, writable) = memory.native(region.number());
            let bytes = match region {
                RegionId::Data => {
                    data = len;
                    Some(len)
                }
                RegionId::Map(index) => {
                    let map = self.map(index);
                    Some(map.map_or(0, |map| map.region_bytes() as u32))
                }
                region => self.bytes(region),
            };
            let may = writable || len == 0 || !self.is_writable(region);
            if bytes != Some(len) || !may {
                return false;
            }
        }
        self.context.pointers.iter().all(|pointer| {
            let place = memory.load::<8>(Memory::address(RegionId::Context, pointer.offset));
            let offset = match (pointer.end, pointer.region) {
                (false, _) => 0,
                (true, RegionId::Data) => data,
                (true, region) => self.bytes_max(region),
            };
            let expected = match pointer.region {
                RegionId::Data if !has_data(entry) => 0,
                region => Memory::address(region, offset),
            };
            place.map(u64::from_le_bytes) == Some(expected)
        })
    }

    /// The most bytes a region can have where a guard lets an access to it through.
    pub(super) fn guarded_bytes(&self, region: RegionId) -> u32 {
        match region {
            RegionId::Map(index) => self.map(index).map_or(0, |map| map.region_bytes() as u32),
            region => self.bytes_max(region),
        }
    }

    /// The most bytes a region can have.
    pub(super) fn bytes_max(&self, region: RegionId) -> u32 {
        self.bytes(region).unwrap_or(REGION_BYTES_MAX as u32)
    }

    /// True for a region that may be written.
    pub(super) fn is_writable(&self, region: RegionId) -> bool {
        match region {
            RegionId::Reply | RegionId::Scratch | RegionId::Stack => true,
            RegionId::Context | RegionId::Arguments | RegionId::Data => false,
            RegionId::Map(index) => self.map(index).is_some_and(MapShape::programs_may_write),
        }
    }

    /// True for a map of which each value's place is known beforehand.
    pub(super) fn is_array(&self, index: MapIndex) -> bool {
        self.map(index)
            .is_some_and(|map| map.kind() == MapKind::Array)
    }

    /// Sizes at which loops may end.
    pub(super) fn sizes(&self) -> impl Iterator<Item = u32> {
        let fixed = [
            self.args_bytes,
            self.reply_bytes,
            self.scratch_bytes,
            // No data is longer.
            REGION_BYTES_MAX as u32,
        ];
        let of_maps = self.maps.iter().flatten();
        fixed
            .into_iter()
            .chain(of_maps.flat_map(|map| [map.value_bytes() as u32, map.region_bytes() as u32]))
    }

    pub(super) fn helper(&self, id: u32) -> Option<&'static HelperSignature> {
        self.helpers.iter().find(|helper| helper.id == id)
    }

    /// The pointer that the 8 bytes at an offset of the context are.
    pub(super) fn context_pointer(&self, offset: u32, len: u32) -> Option<&'static ContextPointer> {
        let mut pointers = self.context.pointers.iter();
        pointers.find(|it| offset < it.offset + 8 && it.offset < offset + len)
    }
}

/// True if an entry of that kind is given data.
pub(super) const fn has_data(entry: EntryKind) -> bool {
    matches!(entry, EntryKind::Scan)
}
