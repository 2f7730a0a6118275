//! Programs: uploads as they arrive, and what became of the complete ones.
//!
//! An upload owns a buffer from its Load until its last piece was hashed and checked, or its
//! connection is gone. Hashing goes by quanta, a few kilobytes a turn, so that one tenant's
//! upload is not another tenant's latency. A program that was accepted outlives the
//! connection that brought it, and is found by name by everybody.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use ebpf::limits::IMAGE_BYTES_MAX;
use ebpf::{Checked, EntryKind, Image, ImageError, ImageHeader, Program, Refusal, check_image};
use protocol::limits::NAME_BYTES_MAX;
use sha2::{Digest, Sha256};

use crate::helpers::HELPERS;
use crate::limits::{DIGEST_QUANTUM_BYTES, PROGRAM_SLOTS_MAX, SLAB_CLASS_PAGES};
use crate::maps::{MapsRefused, ProgramMaps};
use crate::request::RequestIndex;
use crate::session::ConnectionIndex;
use nvme_model::seam::PAGE_BYTES;

/// A program's name, as its uploader chose it.
pub type Name = heapless::String<NAME_BYTES_MAX>;

/// Which slot of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramIndex(pub(crate) u16);

/// Which upload buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadIndex(pub(crate) u16);

/// Why an image was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotLoaded {
    /// The bytes do not have the digest that Load announced.
    Digest,
    /// The bytes are no image.
    Image(ImageError),
    /// The code was refused.
    Refused(Refusal),
    /// Its maps cannot be had.
    Maps(MapsRefused),
    /// The image wants something this agent does not have.
    Unsupported(&'static str),
    /// Another program has that name.
    NameTaken,
    /// Every slot is taken.
    Full,
}

/// A program that was accepted.
#[derive(Debug)]
pub struct StoredProgram {
    /// Its name.
    pub name: Name,
    /// SHA-256 of its image.
    pub digest: [u8; 32],
    /// What the image declares.
    pub header: ImageHeader,
    /// Where `dpu/call` starts.
    pub call_entry: Option<u32>,
    /// How many instances it is attached in.
    pub instances: u32,
    /// How often it was called.
    pub calls: u64,
    /// The maps that each instance gets.
    pub maps: ProgramMaps,
    /// The code, and behind it the maps' initial bytes.
    slots: Box<[u64]>,
    checked: Checked,
}

impl StoredProgram {
    /// The program, ready for an engine.
    #[must_use]
    pub fn program(&self) -> Program<'_> {
        let scratch = ebpf::Memory::address(ebpf::RegionId::Scratch, 0);
        Program::new(&self.slots[..self.slots()], &self.checked, scratch)
    }

    /// What lies behind the code: the initial bytes of its maps.
    #[must_use]
    pub fn behind_code(&self) -> &[u64] {
        &self.slots[self.slots()..]
    }

    /// How many 8-byte instruction slots it has.
    #[must_use]
    pub const fn slots(&self) -> usize {
        self.checked.slots() as usize
    }
}

#[derive(Debug)]
struct Slot {
    generation: u16,
    program: Option<StoredProgram>,
    /// Where the code of the next program of this slot goes.
    spare: Option<Box<[u64]>>,
}

/// An upload under way.
#[derive(Debug)]
pub struct Upload {
    /// Whose it is.
    pub connection: ConnectionIndex,
    /// Bytes that arrived.
    pub received_bytes: u32,
    /// Bytes there will be.
    pub total_bytes: u32,
    /// When it was announced.
    pub begun_us: u64,
    /// When the last piece arrived.
    pub active_us: u64,
    name: Name,
    digest: [u8; 32],
    hashed_bytes: u32,
    hasher: Sha256,
    /// The request that brought the last piece and waits for the verdict.
    waiting: Option<RequestIndex>,
}

/// The store.
#[derive(Debug)]
pub struct ProgramStore {
    slots: Box<[Slot]>,
    used: usize,
    peak: usize,
    uploads: Box<[Option<Upload>]>,
    buffers: Box<[Box<[u8]>]>,
    uploads_peak: usize,
    /// Uploads that are complete and not yet hashed.
    complete: usize,
    /// Upload whose hashing goes on next.
    turn: usize,
}

impl ProgramStore {
    /// A store for so many programs and uploads.
    #[must_use]
    pub fn new(programs: usize, uploads: usize) -> ProgramStore {
        let slots: Vec<Slot> = (0..programs)
            .map(|_| Slot {
                generation: 1,
                program: None,
                spare: Some(vec![0; PROGRAM_SLOTS_MAX].into_boxed_slice()),
            })
            .collect();
        let buffers: Vec<Box<[u8]>> = (0..uploads)
            .map(|_| vec![0; IMAGE_BYTES_MAX].into_boxed_slice())
            .collect();
        ProgramStore {
            slots: slots.into_boxed_slice(),
            used: 0,
            peak: 0,
            uploads: (0..uploads).map(|_| None).collect(),
            buffers: buffers.into_boxed_slice(),
            uploads_peak: 0,
            complete: 0,
            turn: 0,
        }
    }

    /// Starts an upload; `None` where every buffer is in use.
    pub fn begin(
        &mut self,
        connection: ConnectionIndex,
        name: Name,
        total_bytes: u32,
        digest: [u8; 32],
        now_us: u64,
    ) -> Option<UploadIndex> {
        debug_assert!(total_bytes as usize <= IMAGE_BYTES_MAX);
        let index = self.uploads.iter().position(Option::is_none)?;
        self.uploads[index] = Some(Upload {
            connection,
            received_bytes: 0,
            total_bytes,
            begun_us: now_us,
            active_us: now_us,
            name,
            digest,
            hashed_bytes: 0,
            hasher: Sha256::new(),
            waiting: None,
        });
        self.uploads_peak = self.uploads_peak.max(self.uploads_used());
        Some(UploadIndex(index as u16))
    }

    /// An upload under way.
    #[must_use]
    pub fn upload(&self, index: UploadIndex) -> Option<&Upload> {
        self.uploads.get(usize::from(index.0))?.as_ref()
    }

    /// Appends bytes to an upload; how many were taken. Fewer than offered only where more
    /// arrive than were announced.
    pub fn append(&mut self, index: UploadIndex, bytes: &[u8], now_us: u64) -> usize {
        let at = usize::from(index.0);
        let (Some(Some(upload)), Some(buffer)) =
            (self.uploads.get_mut(at), self.buffers.get_mut(at))
        else {
            return 0;
        };
        let from = upload.received_bytes as usize;
        let room = (upload.total_bytes as usize).saturating_sub(from);
        let count = bytes.len().min(room);
        buffer[from..from + count].copy_from_slice(&bytes[..count]);
        upload.received_bytes += count as u32;
        upload.active_us = now_us;
        count
    }

    /// The last piece is here: hash and check, and tell `request`.
    pub fn complete(&mut self, index: UploadIndex, request: RequestIndex) {
        if let Some(Some(upload)) = self.uploads.get_mut(usize::from(index.0)) {
            upload.waiting = Some(request);
            self.complete += 1;
        }
    }

    /// Drops an upload; the request that waited for its verdict, if any.
    pub fn drop_upload(&mut self, index: UploadIndex) -> Option<RequestIndex> {
        let waiting = self.uploads.get_mut(usize::from(index.0))?.take()?.waiting;
        self.complete -= usize::from(waiting.is_some());
        waiting
    }

    /// Hashes one quantum of one complete upload. When an upload is done with, whom to tell
    /// what.
    pub fn step(&mut self) -> Option<(RequestIndex, Result<ProgramIndex, NotLoaded>)> {
        if self.complete == 0 {
            return None;
        }
        let count = self.uploads.len();
        let at = (0..count)
            .map(|step| (self.turn + step) % count)
            .find(|at| {
                self.uploads[*at]
                    .as_ref()
                    .is_some_and(|it| it.waiting.is_some())
            })?;
        self.turn = (at + 1) % count;
        let upload = self.uploads[at].as_mut()?;
        let from = upload.hashed_bytes as usize;
        let to = (from + DIGEST_QUANTUM_BYTES).min(upload.total_bytes as usize);
        upload.hasher.update(&self.buffers[at][from..to]);
        upload.hashed_bytes = to as u32;
        if to < upload.total_bytes as usize {
            return None;
        }
        let upload = self.uploads[at].take()?;
        let request = upload.waiting?;
        self.complete -= 1;
        let outcome = self.accept(at, upload);
        Some((request, outcome))
    }

    /// Whether [`ProgramStore::step`] has something to do.
    #[must_use]
    pub const fn has_work(&self) -> bool {
        self.complete > 0
    }

    fn accept(&mut self, buffer: usize, upload: Upload) -> Result<ProgramIndex, NotLoaded> {
        let digest: [u8; 32] = upload.hasher.finalize().into();
        if digest != upload.digest {
            return Err(NotLoaded::Digest);
        }
        if let Some(index) = self.find_name(&upload.name) {
            let same = self.at(index).is_some_and(|stored| stored.digest == digest);
            return if same {
                Ok(index)
            } else {
                Err(NotLoaded::NameTaken)
            };
        }
        let at = self
            .slots
            .iter()
            .position(|it| it.program.is_none())
            .ok_or(NotLoaded::Full)?;
        let image = Image::parse(&self.buffers[buffer][..upload.total_bytes as usize])
            .map_err(NotLoaded::Image)?;
        supported(&image)?;
        let slot = &mut self.slots[at];
        let Some(mut code) = slot.spare.take() else {
            return Err(NotLoaded::Full);
        };
        match check_into(&image, &mut code) {
            Ok((checked, call_entry, maps)) => {
                slot.program = Some(StoredProgram {
                    name: upload.name,
                    digest,
                    header: *image.header(),
                    call_entry,
                    instances: 0,
                    calls: 0,
                    maps,
                    slots: code,
                    checked,
                });
                self.used += 1;
                self.peak = self.peak.max(self.used);
                Ok(ProgramIndex(at as u16))
            }
            Err(why) => {
                slot.spare = Some(code);
                Err(why)
            }
        }
    }

    /// The program of an id on the wire.
    #[must_use]
    pub fn find(&self, id: u32) -> Option<ProgramIndex> {
        let index = ProgramIndex((id >> 16) as u16);
        let slot = self.slots.get(usize::from(index.0))?;
        (slot.program.is_some() && slot.generation == id as u16).then_some(index)
    }

    /// The id of a program on the wire: ids rise with the slots, so that a list in the order
    /// of slots is one in the order of ids.
    #[must_use]
    pub fn id(&self, index: ProgramIndex) -> u32 {
        let generation = self
            .slots
            .get(usize::from(index.0))
            .map_or(0, |slot| slot.generation);
        program_id(usize::from(index.0), generation)
    }

    fn find_name(&self, name: &str) -> Option<ProgramIndex> {
        let named = |slot: &Slot| slot.program.as_ref().is_some_and(|it| it.name == name);
        Some(ProgramIndex(self.slots.iter().position(named)? as u16))
    }

    /// The program in a slot.
    #[must_use]
    pub fn at(&self, index: ProgramIndex) -> Option<&StoredProgram> {
        self.slots.get(usize::from(index.0))?.program.as_ref()
    }

    /// The program in a slot, to count its instances and calls.
    pub fn at_mut(&mut self, index: ProgramIndex) -> Option<&mut StoredProgram> {
        self.slots.get_mut(usize::from(index.0))?.program.as_mut()
    }

    /// Removes a program. False where instances of it are attached.
    pub fn unload(&mut self, index: ProgramIndex) -> bool {
        let Some(slot) = self.slots.get_mut(usize::from(index.0)) else {
            return false;
        };
        if slot
            .program
            .as_ref()
            .is_none_or(|program| program.instances > 0)
        {
            return false;
        }
        slot.spare = slot.program.take().map(|program| program.slots);
        slot.generation = slot.generation.wrapping_add(1).max(1);
        self.used -= 1;
        true
    }

    /// Programs in the order of their ids, from the first whose id is above `after`.
    pub fn list(&self, after: u32) -> impl Iterator<Item = (u32, &StoredProgram)> {
        let from = (after >> 16) as usize;
        self.slots
            .iter()
            .enumerate()
            .skip(from)
            .filter_map(move |(index, slot)| {
                let id = program_id(index, slot.generation);
                let program = slot.program.as_ref().filter(|_| id > after)?;
                Some((id, program))
            })
    }

    /// Programs loaded, the most there ever were, and slots.
    #[must_use]
    pub const fn counts(&self) -> (usize, usize, usize) {
        (self.used, self.peak, self.slots.len())
    }

    /// Uploads under way.
    #[must_use]
    pub fn uploads_used(&self) -> usize {
        self.uploads.iter().flatten().count()
    }

    /// The most uploads that were ever under way, and buffers.
    #[must_use]
    pub const fn uploads_counts(&self) -> (usize, usize) {
        (self.uploads_peak, self.uploads.len())
    }

    /// Uploads without a new piece since `idle_since_us`, or begun before `begun_before_us`, one at
    /// a time.
    #[must_use]
    pub fn idle_upload(
        &self,
        idle_since_us: u64,
        begun_before_us: u64,
    ) -> Option<(UploadIndex, ConnectionIndex)> {
        self.uploads.iter().enumerate().find_map(|(at, upload)| {
            let upload = upload.as_ref()?;
            let idle = upload.active_us < idle_since_us || upload.begun_us < begun_before_us;
            let idle = idle && upload.waiting.is_none();
            idle.then_some((UploadIndex(at as u16), upload.connection))
        })
    }
}

const fn program_id(index: usize, generation: u16) -> u32 {
    (index as u32) << 16 | generation as u32
}

// What an image may declare, this agent has: the parser's limits are not beyond its own.
const _: () = {
    let slab_bytes_max = SLAB_CLASS_PAGES[SLAB_CLASS_PAGES.len() - 1] * PAGE_BYTES;
    assert!(ebpf::limits::SCRATCH_BYTES_MAX as usize <= slab_bytes_max);
    assert!(ebpf::limits::REPLY_BYTES_MAX as usize <= slab_bytes_max);
    assert!(ebpf::limits::REPLY_BYTES_MAX <= protocol::limits::REPLY_BYTES_MAX);
    assert!(ebpf::limits::ARGS_BYTES_MAX <= protocol::limits::ARGS_BYTES_MAX);
    assert!(ebpf::limits::OBJECTS_MAX as usize <= protocol::limits::OBJECTS_PER_INSTANCE_MAX);
    assert!(IMAGE_BYTES_MAX == protocol::limits::IMAGE_BYTES_MAX as usize);
};

/// What an image may declare and this agent cannot run, said before it is tried.
fn supported(image: &Image<'_>) -> Result<(), NotLoaded> {
    if image.entry(EntryKind::Call).is_none() {
        return Err(NotLoaded::Unsupported(
            "the program has no entry SEC(\"dpu/call\")",
        ));
    }
    Ok(())
}

fn check_into(
    image: &Image<'_>,
    code: &mut [u64],
) -> Result<(Checked, Option<u32>, ProgramMaps), NotLoaded> {
    let mut count = 0;
    for (to, slot) in code.iter_mut().zip(image.code()) {
        *to = slot;
        count += 1;
    }
    let checked = check_image(image, &code[..count], &HELPERS).map_err(NotLoaded::Refused)?;
    let maps = ProgramMaps::of(image, &mut code[count..]).map_err(NotLoaded::Maps)?;
    Ok((checked, image.entry(EntryKind::Call), maps))
}
