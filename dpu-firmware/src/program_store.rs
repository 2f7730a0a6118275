//! Programs: uploads as they arrive, and what became of the complete ones.
//!
//! An upload owns a buffer from its Load until its last piece was hashed and its program proved or
//! refused, or its connection is gone. Hashing goes by quanta, a few kilobytes a turn, and so does
//! the proof, so that one tenant's upload is not another tenant's latency. There is one verifier:
//! uploads that are hashed take turns with it and with the engine's translation, in the order of their buffers, and the greatest
//! number of its steps bounds how long each can have it. A program that was accepted outlives the
//! connection that brought it, and is found by name by everybody.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use ebpf::diagnosis::Diagnosis;
use ebpf::limits::{CODE_SLOTS_MAX, IMAGE_BYTES_MAX, KEPT_MAX};
use ebpf::verifier::{self, Kept, Progress, Verified, Verifier};
use ebpf::{EntryKind, Image, ImageError, ImageHeader, Isolation, Refusal, check_image};
use protocol::limits::NAME_BYTES_MAX;
use protocol::message::LoadRequest;
use sha2::{Digest, Sha256};

use crate::execution::{ExecutionConfig, LoadedProgram, Translation, Unfit};
use crate::fmt::info;
use crate::helpers::HELPERS;
use crate::limits::{
    DIGEST_QUANTUM_BYTES, Limits, PROOF_QUANTUM_STEPS, SLAB_CLASS_PAGES, TRANSLATION_QUANTUM_SLOTS,
};
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
    /// The code is not sound in its structure.
    Refused(Refusal),
    /// Its maps cannot be had.
    Maps(MapsRefused),
    /// The code could not be proved safe.
    Unproved(verifier::Refusal),
    /// It could, but for accesses that must be checked, and was to be loaded strictly.
    Guarded(Diagnosis),
    /// The engine cannot run it.
    Unfit(Unfit),
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
    /// How many instances it is attached in.
    pub instances: u32,
    /// How often it was called.
    pub calls: u64,
    loaded: LoadedProgram,
    maps: ProgramMaps,
}

impl StoredProgram {
    /// The program, ready to run.
    #[must_use]
    pub const fn loaded(&self) -> &LoadedProgram {
        &self.loaded
    }

    /// The maps that each instance gets.
    #[must_use]
    pub const fn maps(&self) -> &ProgramMaps {
        &self.maps
    }
}

#[derive(Debug)]
struct Slot {
    generation: u16,
    program: Option<StoredProgram>,
    /// Where the next program of this slot goes.
    spare: Option<(LoadedProgram, ProgramMaps)>,
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
    /// It is refused if any of its accesses would have to be checked.
    strict: bool,
    hashed_bytes: u32,
    hasher: Sha256,
    /// The request that brought the last piece and waits for the verdict.
    waiting: Option<RequestIndex>,
}

impl Upload {
    const fn is_hashed(&self) -> bool {
        self.hashed_bytes == self.total_bytes
    }
}

/// An upload in the hands of verifier and engine.
#[derive(Debug, Clone, Copy)]
struct Proving {
    upload: usize,
    /// Once it is proved, the slot whose spare room it is translated in.
    slot: Option<usize>,
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
    /// Uploads that are complete and have no verdict yet.
    complete: usize,
    /// Upload whose hashing goes on next.
    turn: usize,
    /// The upload that is being proved or translated, and the one that is looked at first after it.
    proving: Option<Proving>,
    next_proof: usize,
    verifier: Box<Verifier<Box<[Kept]>>>,
    /// The code that is about to be proved.
    code: Box<[u64]>,
    translation: Translation,
    isolation: Isolation,
    initial_bytes_max: usize,
}

impl ProgramStore {
    /// A store for as many programs and uploads as the limits say; none if the platform has no
    /// memory for their code.
    #[must_use]
    pub fn new(limits: &Limits, execution: ExecutionConfig) -> Option<ProgramStore> {
        let (programs, uploads) = (limits.programs, limits.uploads);
        let slots: Option<Vec<Slot>> = (0..programs)
            .map(|_| {
                let loaded = LoadedProgram::empty(execution.engine, limits.code_bytes)?;
                Some(Slot {
                    generation: 1,
                    program: None,
                    spare: Some((loaded, ProgramMaps::empty(limits.initial_bytes))),
                })
            })
            .collect();
        let buffers: Vec<Box<[u8]>> = (0..uploads)
            .map(|_| vec![0; IMAGE_BYTES_MAX].into_boxed_slice())
            .collect();
        Some(ProgramStore {
            slots: slots?.into_boxed_slice(),
            used: 0,
            peak: 0,
            uploads: (0..uploads).map(|_| None).collect(),
            buffers: buffers.into_boxed_slice(),
            uploads_peak: 0,
            complete: 0,
            turn: 0,
            proving: None,
            next_proof: 0,
            verifier: Box::new(Verifier::new(
                vec![Kept::EMPTY; KEPT_MAX].into_boxed_slice(),
            )),
            code: vec![0; CODE_SLOTS_MAX].into_boxed_slice(),
            translation: Translation::IDLE,
            isolation: execution.isolation,
            initial_bytes_max: limits.initial_bytes,
        })
    }

    /// Starts an upload; `None` where every buffer is in use.
    pub fn begin(
        &mut self,
        connection: ConnectionIndex,
        name: Name,
        asked: &LoadRequest<'_>,
        now_us: u64,
    ) -> Option<UploadIndex> {
        debug_assert!(asked.total_bytes as usize <= IMAGE_BYTES_MAX);
        let index = self.uploads.iter().position(Option::is_none)?;
        self.uploads[index] = Some(Upload {
            connection,
            received_bytes: 0,
            total_bytes: asked.total_bytes,
            begun_us: now_us,
            active_us: now_us,
            name,
            digest: asked.sha256,
            strict: asked.strict,
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
        let at = usize::from(index.0);
        let waiting = self.uploads.get_mut(at)?.take()?.waiting;
        self.complete -= usize::from(waiting.is_some());
        self.proving = self.proving.filter(|proving| proving.upload != at);
        waiting
    }

    /// One quantum of proving and one of hashing. When an upload is done with, whom to tell what.
    pub fn step(&mut self) -> Option<(RequestIndex, Result<ProgramIndex, NotLoaded>)> {
        if self.complete == 0 {
            return None;
        }
        let (at, verdict) = self.prove().or_else(|| self.hash())?;
        let request = self.drop_upload(UploadIndex(at as u16))?;
        Some((request, verdict))
    }

    /// Hashes one quantum of one complete upload. The verdict, if it is not what was announced.
    fn hash(&mut self) -> Option<(usize, Result<ProgramIndex, NotLoaded>)> {
        let at = self.next_upload(self.turn, |it| !it.is_hashed())?;
        self.turn = at + 1;
        let upload = self.uploads.get_mut(at)?.as_mut()?;
        let from = upload.hashed_bytes as usize;
        let to = (from + DIGEST_QUANTUM_BYTES).min(upload.total_bytes as usize);
        upload.hasher.update(&self.buffers[at][from..to]);
        upload.hashed_bytes = to as u32;
        if !upload.is_hashed() {
            return None;
        }
        let digest: [u8; 32] = upload.hasher.finalize_reset().into();
        (digest != upload.digest).then_some((at, Err(NotLoaded::Digest)))
    }

    /// Takes the proof under way a quantum further, or begins one. The verdict, if there is one.
    fn prove(&mut self) -> Option<(usize, Result<ProgramIndex, NotLoaded>)> {
        let Some(Proving { upload: at, slot }) = self.proving else {
            let at = self.next_upload(self.next_proof, Upload::is_hashed)?;
            self.next_proof = at + 1;
            return match self.begin_proof(at) {
                Ok(None) => {
                    self.proving = Some(Proving {
                        upload: at,
                        slot: None,
                    });
                    None
                }
                Ok(Some(known)) => Some((at, Ok(known))),
                Err(why) => Some((at, Err(why))),
            };
        };
        let verdict = match slot {
            Some(slot) => self.translate(at, slot).transpose()?,
            None => match self.verifier.step(PROOF_QUANTUM_STEPS) {
                Progress::More => return None,
                Progress::Proved => Err(self.begin_translation(at).err()?),
                Progress::Refused(refusal) => Err(NotLoaded::Unproved(refusal)),
            },
        };
        Some((at, verdict))
    }

    /// The first complete upload from a place on, round about, that is as it is wanted.
    fn next_upload(&self, from: usize, wanted: impl Fn(&Upload) -> bool) -> Option<usize> {
        let count = self.uploads.len();
        let mut places = (0..count).map(|step| (from + step) % count);
        places.find(|at| {
            let upload = self.uploads[*at].as_ref();
            upload.is_some_and(|it| it.waiting.is_some() && wanted(it))
        })
    }

    /// Reads the image and checks its structure. The program, if it is here already.
    fn begin_proof(&mut self, at: usize) -> Result<Option<ProgramIndex>, NotLoaded> {
        let Some(upload) = &self.uploads[at] else {
            return Err(NotLoaded::Full);
        };
        if let Some(index) = self.find_name(&upload.name) {
            let known = self.at(index).filter(|it| it.digest == upload.digest);
            let verified = known.ok_or(NotLoaded::NameTaken)?.loaded.verified();
            return allowed(upload, verified).map(|()| Some(index));
        }
        if self.free_slot().is_none() {
            return Err(NotLoaded::Full);
        }
        let image = image(upload, &self.buffers[at])?;
        supported(&image)?;
        let mut slots = 0;
        for (to, slot) in self.code.iter_mut().zip(image.code()) {
            *to = slot;
            slots += 1;
        }
        let code = &self.code[..slots];
        let checked = check_image(&image, code, &HELPERS).map_err(NotLoaded::Refused)?;
        ProgramMaps::check(&image, self.initial_bytes_max).map_err(NotLoaded::Maps)?;
        let environment =
            ebpf::abi::environment(&image).map_err(|error| NotLoaded::Maps(error.into()))?;
        self.verifier
            .start(code, &checked, image.entries(), environment)
            .map_err(NotLoaded::Unproved)?;
        Ok(None)
    }

    /// Puts what was proved of an upload where the engine can translate it.
    fn begin_translation(&mut self, at: usize) -> Result<(), NotLoaded> {
        let upload = self.uploads[at].as_ref().ok_or(NotLoaded::Full)?;
        if let Some(verified) = self.verifier.verified() {
            allowed(upload, verified)?;
        }
        let index = self.free_slot().ok_or(NotLoaded::Full)?;
        let spare = self.slots[index].spare.as_mut().ok_or(NotLoaded::Full)?;
        let (loaded, maps) = spare;
        maps.keep(&image(upload, &self.buffers[at])?)
            .map_err(NotLoaded::Maps)?;
        loaded
            .load(&mut self.verifier, self.isolation, &mut self.translation)
            .map_err(NotLoaded::Unfit)?;
        self.proving = Some(Proving {
            upload: at,
            slot: Some(index),
        });
        Ok(())
    }

    /// Takes the translation under way a quantum further, and keeps the program when it is done.
    fn translate(&mut self, at: usize, index: usize) -> Result<Option<ProgramIndex>, NotLoaded> {
        let slot = &mut self.slots[index];
        let (loaded, _) = slot.spare.as_mut().ok_or(NotLoaded::Full)?;
        if !loaded
            .translate(&mut self.translation, TRANSLATION_QUANTUM_SLOTS)
            .map_err(NotLoaded::Unfit)?
        {
            return Ok(None);
        }
        let upload = self.uploads[at].as_ref().ok_or(NotLoaded::Full)?;
        let header = *image(upload, &self.buffers[at])?.header();
        slot.program = slot.spare.take().map(|(loaded, maps)| StoredProgram {
            name: upload.name.clone(),
            digest: upload.digest,
            header,
            instances: 0,
            calls: 0,
            loaded,
            maps,
        });
        self.used += 1;
        self.peak = self.peak.max(self.used);
        info!(
            "program {} is proved and loaded, {} now",
            index as u32, self.used as u32
        );
        Ok(Some(ProgramIndex(index as u16)))
    }

    fn free_slot(&self) -> Option<usize> {
        self.slots.iter().position(|it| it.program.is_none())
    }

    /// Whether [`ProgramStore::step`] has something to do.
    #[must_use]
    pub const fn has_work(&self) -> bool {
        self.complete > 0
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
        slot.spare = slot.program.take().map(|it| (it.loaded, it.maps));
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

/// What is proved may be loaded as strictly as it was asked for.
fn allowed(upload: &Upload, verified: &Verified) -> Result<(), NotLoaded> {
    match verified.guards().first() {
        Some(guard) if upload.strict => {
            Err(NotLoaded::Guarded(Diagnosis::of_guard(verified, guard)))
        }
        _ => Ok(()),
    }
}

fn image<'b>(upload: &Upload, buffer: &'b [u8]) -> Result<Image<'b>, NotLoaded> {
    Image::parse(&buffer[..upload.total_bytes as usize]).map_err(NotLoaded::Image)
}
