//! Maps: the tables and global variables of an instance, their memory, and who gets at it.
//!
//! A program's maps belong to the instance it is attached in. All of them together lie in one slab
//! of a static pool, taken at attach and given back at detach, laid out there one after the other
//! (`ebpf::maps`) from the initial bytes of the image. Every invocation of the instance sees them:
//! the values as regions of its memory, what finds them through the helpers. They are nowhere but
//! in memory, and end with the instance.
//!
//! Programs of one agent run one slice after the other, so nothing here is locked. But a program
//! may be put aside at a back edge, at a call or at a helper that waits, and others of its instance
//! run then: a sequence of accesses is whole only between two such places.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use ebpf::limits::{MAP_KEY_BYTES_MAX, MAPS_MAX};
use ebpf::maps::{HashSeed, Keys, bytes_needed_all};
use ebpf::{
    Image, Map, MapError, MapIndex, MapKind, MapOpError, MapShape, MapSpec, Memory, RegionId, Right,
};
use protocol::limits::{MAP_ENTRIES_BYTES_MAX, MAP_PIECE_BYTES_MAX};
use protocol::message::{MapSummary, MapsReply};
use sha2::{Digest, Sha256};
use zerocopy::IntoBytes;

use crate::helpers::errno;
use crate::limits::{MAP_CLASS_BYTES, MAP_CLASSES};

/// Why the maps of an image cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapsRefused {
    /// A declaration that cannot be met.
    Declared(MapError),
    /// All of them together take more memory than an instance may have.
    TooLarge {
        /// Bytes they take.
        needed: usize,
        /// The most there may be.
        limit: usize,
    },
    /// There are more initial bytes than a program may have.
    InitialBytes {
        /// Bytes there are.
        needed: usize,
        /// The most there may be.
        limit: usize,
    },
}

impl From<MapError> for MapsRefused {
    fn from(error: MapError) -> MapsRefused {
        MapsRefused::Declared(error)
    }
}

/// Which of the sizes of slabs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapClass(u8);

impl MapClass {
    /// The least class that holds so many bytes; `None` where none does.
    #[must_use]
    pub fn for_bytes(bytes: usize) -> Option<MapClass> {
        let class = MAP_CLASS_BYTES.iter().position(|&most| bytes <= most)?;
        Some(MapClass(class as u8))
    }

    /// Its place among the classes.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

/// The maps of a program, as its image declares them, with their initial bytes; and room for those
/// of the programs after it.
#[derive(Debug)]
pub struct ProgramMaps {
    specs: heapless::Vec<MapSpec, MAPS_MAX>,
    shapes: heapless::Vec<MapShape, MAPS_MAX>,
    bytes: usize,
    class: Option<MapClass>,
    initial: Box<[u8]>,
}

impl ProgramMaps {
    /// None, with room for so many initial bytes.
    #[must_use]
    pub fn empty(initial_bytes_max: usize) -> ProgramMaps {
        ProgramMaps {
            specs: heapless::Vec::new(),
            shapes: heapless::Vec::new(),
            bytes: 0,
            class: None,
            initial: vec![0; initial_bytes_max].into_boxed_slice(),
        }
    }

    /// Whether the maps of an image can be kept where there is room for so many initial bytes.
    ///
    /// # Errors
    /// [`MapsRefused`].
    pub fn check(image: &Image<'_>, initial_bytes_max: usize) -> Result<(), MapsRefused> {
        let needed = bytes_needed_all(image.maps().map(|(spec, _)| spec))?;
        let limit = MAP_CLASS_BYTES[MAP_CLASSES - 1];
        if needed > limit {
            return Err(MapsRefused::TooLarge { needed, limit });
        }
        let (needed, limit) = (image.header().initial_bytes as usize, initial_bytes_max);
        if needed > limit {
            return Err(MapsRefused::InitialBytes { needed, limit });
        }
        Ok(())
    }

    /// Keeps the maps of an image in place of those that there were.
    ///
    /// # Errors
    /// As [`ProgramMaps::check`]; nothing is changed then.
    pub fn keep(&mut self, image: &Image<'_>) -> Result<(), MapsRefused> {
        ProgramMaps::check(image, self.initial.len())?;
        self.specs.clear();
        self.shapes.clear();
        self.bytes = 0;
        let mut room = &mut self.initial[..];
        for (spec, initial) in image.maps() {
            let shape = MapShape::of(&spec)?;
            let (place, behind) = core::mem::take(&mut room).split_at_mut(initial.len());
            place.copy_from_slice(initial);
            room = behind;
            self.bytes += shape.bytes_needed();
            let pushed = self.specs.push(spec).is_ok() && self.shapes.push(shape).is_ok();
            debug_assert!(pushed, "their number was checked");
        }
        self.class = (self.bytes > 0)
            .then(|| MapClass::for_bytes(self.bytes))
            .flatten();
        Ok(())
    }

    /// What slab an instance needs for them; none for a program without maps.
    #[must_use]
    pub const fn class(&self) -> Option<MapClass> {
        self.class
    }

    /// Bytes of that slab that are laid out.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lays the maps out in a slab as the image has them.
    pub fn lay_out(&self, memory: &mut [u8], mut seed: impl FnMut() -> HashSeed) {
        let (mut memory, mut initial) = (memory, &self.initial[..]);
        for (spec, shape) in self.specs.iter().zip(&self.shapes) {
            let here = shape.bytes_needed().min(memory.len());
            let (part, behind) = memory.split_at_mut(here);
            memory = behind;
            let here = (spec.initial_bytes as usize).min(initial.len());
            let (first, others) = initial.split_at(here);
            initial = others;
            let laid_out = Map::new(spec, first, seed(), part).is_ok();
            debug_assert!(laid_out, "the slab is as large as the maps need");
        }
    }

    /// The maps of an instance in use, in the slab where they were laid out. All of them, each
    /// with all its values: programs are run on the strength of that.
    ///
    /// # Panics
    /// Where the memory is no slab of the class that these maps need.
    pub fn open<'m>(&self, memory: &'m mut [u8]) -> MapViews<'m> {
        let (mut views, mut memory) = (MapViews::new(), memory);
        for shape in &self.shapes {
            let here = shape.bytes_needed().min(memory.len());
            let (part, behind) = memory.split_at_mut(here);
            memory = behind;
            let split = shape.split(part);
            let (values, finder) = split.expect("a slab of their class is large enough");
            let _ = views.push(MapView {
                shape: *shape,
                values,
                finder,
            });
        }
        views
    }

    /// One map of an instance, in the slab where they were laid out; `None` where there is none of
    /// that number.
    #[must_use]
    pub fn open_one<'m>(&self, memory: &'m mut [u8], number: u32) -> Option<MapView<'m>> {
        let number = usize::try_from(number).ok()?;
        let shape = *self.shapes.get(number)?;
        let before = self.shapes.get(..number)?.iter();
        let start = before.map(MapShape::bytes_needed).sum();
        let (values, finder) = shape.split(memory.get_mut(start..)?).ok()?;
        Some(MapView {
            shape,
            values,
            finder,
        })
    }

    /// What a client is told of them.
    pub fn summaries(&self, memory: &mut [u8]) -> MapsReply {
        let mut reply = MapsReply::default();
        for (spec, view) in self.specs.iter().zip(&mut self.open(memory)) {
            let summary = MapSummary {
                kind: spec.kind,
                key_bytes: spec.key_bytes,
                value_bytes: spec.value_bytes,
                entries_max: spec.entries_max,
                flags: spec.flags,
                entries: view.keys().len(),
            };
            let _ = reply.maps.push(summary);
        }
        reply
    }
}

/// The maps of an instance in use, by number.
pub type MapViews<'m> = heapless::Vec<MapView<'m>, MAPS_MAX>;

/// A map in use: its values, and what finds them.
#[derive(Debug)]
pub struct MapView<'m> {
    shape: MapShape,
    values: &'m mut [u8],
    finder: &'m mut [u8],
}

/// Puts the values of maps into a program's memory, each as its region. What finds them stays for
/// the helpers.
pub fn put_values<'m, 'v: 'm>(memory: &mut Memory<'m>, views: &mut [MapView<'v>]) {
    for (number, view) in views.iter_mut().enumerate() {
        let Some(index) = MapIndex::new(number as u32) else {
            return;
        };
        let values = core::mem::take(&mut view.values);
        if view.shape.programs_may_write() {
            memory.put_write(RegionId::Map(index), values);
        } else {
            memory.put_read(RegionId::Map(index), values);
        }
    }
}

impl MapView<'_> {
    /// True for a map of this shape whose values are all here.
    #[must_use]
    pub fn is_whole(&self, shape: &MapShape) -> bool {
        self.shape == *shape && self.values.len() == shape.region_bytes()
    }

    fn keys(&mut self) -> Keys<'_> {
        Keys::over(self.shape, self.finder)
    }
}

/// The map of an instance that a program names, as the helpers see it.
fn named<'v, 'm>(
    views: &'v mut [MapView<'m>],
    handle: u64,
) -> Result<(MapIndex, &'v mut MapView<'m>), i64> {
    let index = MapIndex::of_handle(handle).ok_or(errno::EINVAL)?;
    let view = views.get_mut(index.get() as usize).ok_or(errno::EINVAL)?;
    Ok((index, view))
}

/// `bpf_map_lookup_elem`: the address of a key's value, or 0. A map or a buffer that is none is a
/// key that is not there.
#[must_use]
pub fn lookup(views: &mut [MapView<'_>], handle: u64, key: u64, memory: &Memory<'_>) -> u64 {
    let Ok((index, view)) = named(views, handle) else {
        return 0;
    };
    let Ok(key) = memory.read(key, view.shape.key_bytes()) else {
        return 0;
    };
    let found = view.keys().lookup(key);
    found.map_or(0, |offset| Memory::address(RegionId::Map(index), offset))
}

/// `bpf_map_update_elem`.
///
/// # Errors
/// The error's number.
pub fn update(
    views: &mut [MapView<'_>],
    [handle, key, value, flags, _]: [u64; 5],
    memory: &mut Memory<'_>,
) -> Result<(), i64> {
    let (index, view) = named(views, handle)?;
    if !view.shape.programs_may_write() {
        return Err(errno::EPERM);
    }
    let value_bytes = view.shape.value_bytes();
    let located = memory.locate(value, value_bytes, Right::Read);
    located.map_err(|_| errno::EFAULT)?;
    let key = memory.read(key, view.shape.key_bytes());
    let key = key.map_err(|_| errno::EFAULT)?;
    let offset = view.keys().place(key, flags).map_err(number)?;
    let place = Memory::address(RegionId::Map(index), offset);
    let copied = memory.copy(place, value, value_bytes);
    copied.map_err(|_| errno::EFAULT)
}

/// `bpf_map_delete_elem`.
///
/// # Errors
/// The error's number.
pub fn delete(
    views: &mut [MapView<'_>],
    handle: u64,
    key: u64,
    memory: &Memory<'_>,
) -> Result<(), i64> {
    let (_, view) = named(views, handle)?;
    if !view.shape.programs_may_write() {
        return Err(errno::EPERM);
    }
    let key = memory.read(key, view.shape.key_bytes());
    let key = key.map_err(|_| errno::EFAULT)?;
    view.keys().delete(key).map_err(number)
}

fn number(error: MapOpError) -> i64 {
    i64::from(-error.errno())
}

/// Bytes that a helper call on a map is charged for: its key, and its value where it is copied.
#[must_use]
pub fn cost_bytes(views: &[MapView<'_>], handle: u64, copies_value: bool) -> u64 {
    let index = MapIndex::of_handle(handle).map_or(MAPS_MAX, |index| index.get() as usize);
    views.get(index).map_or(0, |view| {
        let value_bytes = if copies_value {
            view.shape.value_bytes()
        } else {
            0
        };
        (view.shape.key_bytes() + value_bytes) as u64
    })
}

/// Why a client's request to a map was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapRefused {
    /// The map has something against it.
    Operation(MapOpError),
    /// Bytes outside the value, or a cursor that no walk of this map gives.
    Outside {
        /// What the number must be below, or at most.
        limit: u64,
        /// The number.
        got: u64,
    },
}

impl From<MapOpError> for MapRefused {
    fn from(error: MapOpError) -> MapRefused {
        MapRefused::Operation(error)
    }
}

/// Entries for a dump, and where it goes on.
#[derive(Debug)]
pub struct Page {
    /// Where to go on, if there is more.
    pub next: Option<u64>,
    /// Where in the first value the bytes begin.
    pub offset: u32,
    /// Bytes of entries.
    pub bytes: usize,
}

/// An entry that was found, to be looked at a little later: it may have made place for another by
/// then, which the checksum of its key tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    place: u32,
    key_checksum: u32,
}

fn checksum(key: &[u8]) -> u32 {
    protocol::checksum::crc32c(key)
}

/// A place in a walk: the entry in the upper half, the byte of its value in the lower.
const fn cursor(place: u32, offset: u32) -> u64 {
    (place as u64) << 32 | offset as u64
}

impl MapView<'_> {
    /// Whether a walk of this map can have come to a cursor.
    ///
    /// # Errors
    /// [`MapRefused::Outside`].
    pub fn check_cursor(&self, from: u64) -> Result<(), MapRefused> {
        let value_bytes = self.shape.value_bytes();
        let entries_max = self.shape.entries_max();
        let (place, offset) = ((from >> 32) as u32, from as u32 as usize);
        // A value that fits one piece has none but the first.
        let begins_well = offset < value_bytes && offset.is_multiple_of(MAP_PIECE_BYTES_MAX);
        if place <= entries_max && begins_well {
            return Ok(());
        }
        let limit = cursor(entries_max, 0);
        Err(MapRefused::Outside { limit, got: from })
    }

    /// Copies entries from a cursor on, as many as fit.
    ///
    /// # Errors
    /// As [`MapView::check_cursor`].
    pub fn dump(
        &mut self,
        from: u64,
        to: &mut [u8; MAP_ENTRIES_BYTES_MAX],
    ) -> Result<Page, MapRefused> {
        self.check_cursor(from)?;
        let (key_bytes, value_bytes) = (self.shape.key_bytes(), self.shape.value_bytes());
        let (mut place, offset) = ((from >> 32) as u32, from as u32 as usize);
        if value_bytes > MAP_PIECE_BYTES_MAX {
            return Ok(self.dump_piece(place, offset, to));
        }
        let mut bytes = 0;
        let mut key = [0; MAP_KEY_BYTES_MAX as usize];
        let key = &mut key[..key_bytes];
        while let Some((at, value)) = self.keys().entry_from(place, key) {
            let value = value as usize..value as usize + value_bytes;
            let (Some(entry), Some(value)) = (
                to.get_mut(bytes..bytes + key_bytes + value_bytes),
                self.values.get(value),
            ) else {
                let next = Some(cursor(at, 0));
                return Ok(Page {
                    next,
                    offset: 0,
                    bytes,
                });
            };
            let (to_key, to_value) = entry.split_at_mut(key_bytes);
            to_key.copy_from_slice(key);
            to_value.copy_from_slice(value);
            bytes += key_bytes + value_bytes;
            place = at + 1;
        }
        Ok(Page {
            next: None,
            offset: 0,
            bytes,
        })
    }

    /// A piece of one long value, behind its key.
    fn dump_piece(
        &mut self,
        from: u32,
        offset: usize,
        to: &mut [u8; MAP_ENTRIES_BYTES_MAX],
    ) -> Page {
        let (key_bytes, value_bytes) = (self.shape.key_bytes(), self.shape.value_bytes());
        let (key, rest) = to.split_at_mut(key_bytes);
        let Some((place, value)) = self.keys().entry_from(from, key) else {
            return Page {
                next: None,
                offset: 0,
                bytes: 0,
            };
        };
        // The entry that was being walked through is gone: on to the next, from its start.
        let offset = if place == from { offset } else { 0 };
        let length = (value_bytes - offset).min(MAP_PIECE_BYTES_MAX);
        let start = value as usize + offset;
        if let (Some(to), Some(piece)) = (
            rest.get_mut(..length),
            self.values.get(start..start + length),
        ) {
            to.copy_from_slice(piece);
        }
        let next = if offset + length < value_bytes {
            cursor(place, (offset + length) as u32)
        } else {
            cursor(place + 1, 0)
        };
        Page {
            next: Some(next),
            offset: offset as u32,
            bytes: key_bytes + length,
        }
    }

    /// Finds a key's entry, for [`MapView::piece`].
    ///
    /// # Errors
    /// No such entry or key, and an offset outside the value.
    pub fn find(&mut self, key: &[u8], offset: u32) -> Result<Found, MapRefused> {
        self.check_key(key)?;
        let (limit, got) = (self.shape.value_bytes() as u64, u64::from(offset));
        if got >= limit {
            return Err(MapRefused::Outside { limit, got });
        }
        let Some(value) = self.keys().peek(key) else {
            let why = match (self.shape.kind(), key.first_chunk()) {
                (MapKind::Array, Some(&index)) => MapOpError::Index {
                    index: u32::from_le_bytes(index),
                    entries: self.shape.entries_max(),
                },
                _ => MapOpError::NoEntry,
            };
            return Err(why.into());
        };
        let place = value / self.shape.stride() as u32;
        let key_checksum = checksum(key);
        Ok(Found {
            place,
            key_checksum,
        })
    }

    /// The value of an entry that was found, from an offset on, at most a piece, and the length of
    /// all of it; `None` if the entry is gone.
    pub fn piece(&mut self, found: Found, offset: u32) -> Option<(u32, &[u8])> {
        let mut key = [0; MAP_KEY_BYTES_MAX as usize];
        let key = &mut key[..self.shape.key_bytes()];
        let (place, value) = self.keys().entry_from(found.place, key)?;
        if place != found.place || checksum(key) != found.key_checksum {
            return None;
        }
        let value_bytes = self.shape.value_bytes();
        let start = value as usize + offset as usize;
        let length = value_bytes.checked_sub(offset as usize)?;
        let length = length.min(MAP_PIECE_BYTES_MAX);
        Some((value_bytes as u32, self.values.get(start..start + length)?))
    }

    /// Puts a value there, or a part of one from `offset` on.
    ///
    /// # Errors
    /// What the map has against it, and bytes outside the value; nothing is changed then.
    pub fn set(
        &mut self,
        key: &[u8],
        offset: Option<u32>,
        bytes: &[u8],
        flags: u64,
    ) -> Result<(), MapRefused> {
        self.check_key(key)?;
        let needed = self.shape.value_bytes();
        let found = bytes.len();
        let at = offset.unwrap_or(0) as usize;
        match offset {
            None if found != needed => {
                return Err(MapOpError::ValueBytes { needed, found }.into());
            }
            Some(_) if at.saturating_add(found) > needed => {
                let (limit, got) = (needed as u64, at as u64 + found as u64);
                return Err(MapRefused::Outside { limit, got });
            }
            _ => {}
        }
        let is_new = self.keys().peek(key).is_none();
        let value = self.keys().place(key, flags)? as usize;
        if let Some(place) = self.values.get_mut(value..value + needed) {
            if is_new {
                place.fill(0);
            }
            if let Some(place) = place.get_mut(at..at + found) {
                place.copy_from_slice(bytes);
            }
        }
        Ok(())
    }

    /// Takes an entry out.
    ///
    /// # Errors
    /// What the map has against it.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), MapRefused> {
        Ok(self.keys().delete(key)?)
    }

    fn check_key(&self, key: &[u8]) -> Result<(), MapOpError> {
        let (needed, found) = (self.shape.key_bytes(), key.len());
        if needed == found {
            Ok(())
        } else {
            Err(MapOpError::KeyBytes { needed, found })
        }
    }
}

/// A slab of the pool; whoever has it taken gives it back once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapSlab {
    class: MapClass,
    index: u16,
}

impl MapSlab {
    /// Its class.
    #[must_use]
    pub const fn class(self) -> MapClass {
        self.class
    }
}

#[derive(Debug)]
struct Stock {
    memory: Box<[u64]>,
    free: Vec<u16>,
    total: usize,
    least_free: usize,
}

/// The memory of all maps: slabs of a few sizes.
#[derive(Debug)]
pub struct MapPool {
    stocks: [Stock; MAP_CLASSES],
    secret: u64,
    laid_out: u64,
}

impl MapPool {
    /// A pool of so many slabs of each class, at most 65 535. The keys of hash functions are drawn
    /// from `secret`, which nobody else is told.
    #[must_use]
    pub fn new(slabs: [usize; MAP_CLASSES], secret: u64) -> MapPool {
        let stock = |class: usize| Stock {
            memory: vec![0; slabs[class] * MAP_CLASS_BYTES[class] / 8].into_boxed_slice(),
            free: (0..slabs[class] as u16).rev().collect(),
            total: slabs[class],
            least_free: slabs[class],
        };
        MapPool {
            stocks: core::array::from_fn(stock),
            secret,
            laid_out: 0,
        }
    }

    /// Takes a slab; its memory is as somebody left it until it is laid out.
    pub fn take(&mut self, class: MapClass) -> Option<MapSlab> {
        let stock = self.stocks.get_mut(class.number())?;
        let index = stock.free.pop()?;
        stock.least_free = stock.least_free.min(stock.free.len());
        Some(MapSlab { class, index })
    }

    /// Takes a slab back.
    pub fn give(&mut self, slab: MapSlab) {
        let stock = &mut self.stocks[slab.class.number()];
        debug_assert!(stock.free.len() < stock.total);
        stock.free.push(slab.index);
    }

    /// Slabs of a class that can be taken now.
    #[must_use]
    pub fn free(&self, class: MapClass) -> usize {
        self.stocks[class.number()].free.len()
    }

    /// The memory of a slab.
    pub fn memory(&mut self, slab: MapSlab) -> &mut [u8] {
        let words = MAP_CLASS_BYTES[slab.class.number()] / 8;
        let start = usize::from(slab.index) * words;
        let memory = &mut self.stocks[slab.class.number()].memory;
        memory
            .get_mut(start..start + words)
            .unwrap_or_default()
            .as_mut_bytes()
    }

    /// Lays a program's maps out in a slab, each with a hash key of its own.
    pub fn lay_out(&mut self, slab: MapSlab, maps: &ProgramMaps) {
        let (secret, mut count) = (self.secret, self.laid_out);
        let seed = || {
            count += 1;
            let digest: [u8; 32] = Sha256::new()
                .chain_update(b"map")
                .chain_update(secret.to_le_bytes())
                .chain_update(count.to_le_bytes())
                .finalize()
                .into();
            HashSeed(core::array::from_fn(|at| digest[at]))
        };
        maps.lay_out(self.memory(slab), seed);
        self.laid_out = count;
    }

    /// Of a class: slabs taken, the most that ever were, and all.
    #[must_use]
    pub fn counts(&self, class: usize) -> Option<(usize, usize, usize)> {
        let stock = self.stocks.get(class)?;
        let (free, total) = (stock.free.len(), stock.total);
        Some((total - free, total - stock.least_free, total))
    }
}

const _: () = {
    assert!(MAPS_MAX == protocol::limits::MAPS_PER_INSTANCE_MAX);
    assert!(MAP_KEY_BYTES_MAX as usize == protocol::limits::MAP_KEY_BYTES_MAX);
    let mut class = 0;
    while class < MAP_CLASSES {
        assert!(MAP_CLASS_BYTES[class].is_multiple_of(8));
        class += 1;
    }
};
