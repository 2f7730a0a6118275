//! Admission: what each kind of request must show and reserve before it is taken on.
//!
//! Every refusal is a status and a body that says with what it has to do. What a request
//! must hold to its end it gets here or in `calls.rs`, together or not at all; what it can
//! do without for a while (pages for a read, a command slot) it queues for.

use ebpf::MapOpError;
use nvme_model::driver::{DriverState, NamespaceId};
use nvme_model::seam::{Device, PAGE_BYTES};
use protocol::limits::FRAME_PAYLOAD_BYTES_MAX;
use protocol::message::{
    AttachReply, AttachRequest, CallRequest, CloseRequest, DetachRequest, FlushRequest,
    LoadPieceRequest, LoadRequest, OpenReply, OpenRequest, ProgramsRequest, ReadRequest,
    UnloadRequest, WriteRequest,
};
use protocol::{ErrorBody, Header, Kind, Status, decode_body};

use crate::agent::Agent;
use crate::board::Board;
use crate::limits::{
    INLINE_PAYLOAD_BYTES, INSTANCES_PER_CONNECTION, INSTRUCTION_BUDGET_MAX, OBJECTS_PER_CONNECTION,
    READ_BUDGET_MAX, UPLOAD_CROWDED_US_MAX, UPLOAD_IDLE_CROWDED_US,
};
use crate::map_requests::map_verdict;
use crate::net::PacketDevice;
use crate::objects::{Instance, InstanceIndex, Object, ObjectId};
use crate::program_store::{Name, UploadIndex};
use crate::request::{Answer, RequestIndex, Work};
use crate::session::ConnectionIndex;

const BAD_NAME: &str =
    "a program's name is 1 to 32 printable ASCII characters, its image at least one byte";

const _: () = assert!(protocol::limits::NAME_BYTES_MAX == 32, "BAD_NAME says 32");

/// What became of a request when its head was read.
#[derive(Debug)]
pub enum Begun {
    /// It is done already.
    Answer(Answer),
    /// It has work to do, once its payload is here.
    Work(Work),
    /// Its payload belongs to an upload.
    Piece {
        /// Which.
        upload: UploadIndex,
        /// Whether the upload is complete with it.
        last: bool,
    },
}

/// Why a request is not taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The status says it all.
    Plain(Status),
    /// A limit or an expectation was not met.
    Limit(Status, u64, u64),
    /// Offsets and lengths must be multiples of this many bytes.
    Misaligned(u32),
    /// The body decodes, and makes no sense.
    Senseless(&'static str),
    /// A map has something against it.
    Map(MapOpError),
    /// The program needs more objects than were named.
    TooFewObjects {
        /// It needs.
        needed: usize,
        /// Were named.
        named: usize,
    },
}

impl Refused {
    /// What the client is told.
    #[must_use]
    pub fn told(self) -> (Status, ErrorBody) {
        match self {
            Refused::Plain(status) => (status, ErrorBody::None),
            Refused::Limit(status, limit, got) => (status, ErrorBody::Limit { limit, got }),
            Refused::Misaligned(block_bytes) => {
                (Status::Misaligned, ErrorBody::Misaligned { block_bytes })
            }
            Refused::Senseless(why) => (Status::BadBody, ErrorBody::other(format_args!("{why}"))),
            Refused::Map(error) => map_verdict(error),
            Refused::TooFewObjects { needed, named } => (
                Status::BadBody,
                ErrorBody::other(format_args!(
                    "the program needs {needed} objects; {named} were named"
                )),
            ),
        }
    }
}

impl From<Status> for Refused {
    fn from(status: Status) -> Refused {
        Refused::Plain(status)
    }
}

impl From<protocol::BadBody> for Refused {
    fn from(_: protocol::BadBody) -> Refused {
        Refused::Plain(Status::BadBody)
    }
}

const fn beyond(limit: u64, got: u64) -> Refused {
    Refused::Limit(Status::TooLarge, limit, got)
}

impl<D: Device, N: PacketDevice, B: Board> Agent<D, N, B> {
    /// Decodes a request and reserves what it needs from its head on.
    pub(crate) fn begin(
        &mut self,
        owner: ConnectionIndex,
        request: RequestIndex,
        header: &Header,
        body: &[u8],
    ) -> Result<Begun, Refused> {
        let payload = header.payload_bytes;
        // Of a kind that is not known, nothing is known of its payload either.
        let takes_payload = matches!(header.kind, Kind::Write | Kind::LoadPiece | Kind::Call);
        if payload > 0 && !takes_payload && header.kind.name().is_some() {
            return Err(Refused::Senseless(
                "this kind of request carries no payload",
            ));
        }
        match header.kind {
            Kind::Open => self.begin_open(owner, &decode_body(body)?),
            Kind::Close => self.begin_close(owner, &decode_body(body)?),
            Kind::Read => self.begin_read(owner, &decode_body(body)?),
            Kind::Write => self.begin_write(owner, request, &decode_body(body)?, payload),
            Kind::Flush => self.begin_flush(owner, &decode_body(body)?),
            Kind::Load => self.begin_load(owner, &decode_body(body)?),
            Kind::LoadPiece => self.begin_piece(owner, &decode_body(body)?, payload),
            Kind::Attach => self.begin_attach(owner, &decode_body(body)?),
            Kind::Detach => self.begin_detach(owner, &decode_body(body)?),
            Kind::Call => self.begin_call(owner, request, &decode_body(body)?, payload),
            Kind::Unload => self.begin_unload(&decode_body(body)?),
            Kind::Maps => self.begin_maps(owner, &decode_body(body)?),
            Kind::MapDump => self.begin_map_dump(owner, &decode_body(body)?),
            Kind::MapGet => self.begin_map_get(owner, &decode_body(body)?),
            Kind::MapSet => self.begin_map_set(owner, &decode_body(body)?),
            Kind::MapDelete => self.begin_map_delete(owner, &decode_body(body)?),
            Kind::Stats => {
                decode_body::<protocol::message::StatsRequest>(body)?;
                Ok(Begun::Answer(Answer::Stats))
            }
            Kind::Info => {
                decode_body::<protocol::message::InfoRequest>(body)?;
                Ok(Begun::Answer(Answer::Info))
            }
            Kind::Programs => {
                let asked: ProgramsRequest = decode_body(body)?;
                Ok(Begun::Answer(Answer::Programs { after: asked.after }))
            }
            _ => Err(Status::UnknownKind.into()),
        }
    }

    fn begin_open(
        &mut self,
        owner: ConnectionIndex,
        asked: &OpenRequest,
    ) -> Result<Begun, Refused> {
        let wanted = NamespaceId(asked.namespace);
        let Some(namespace) = self.driver.namespaces().iter().find(|it| it.id == wanted) else {
            return Err(match self.driver.state() {
                DriverState::Failed(_) => Status::DriveFailed.into(),
                _ => Status::NoSuchNamespace.into(),
            });
        };
        let block = u64::from(namespace.block_bytes);
        let capacity_bytes = namespace.blocks.saturating_mul(block);
        let length = asked
            .length
            .unwrap_or(capacity_bytes.saturating_sub(asked.offset));
        let end = asked.offset.checked_add(length).ok_or(Status::OutOfRange)?;
        if end > capacity_bytes || length == 0 {
            return Err(Refused::Limit(Status::OutOfRange, capacity_bytes, end));
        }
        if !asked.offset.is_multiple_of(block) || !length.is_multiple_of(block) {
            return Err(Refused::Misaligned(namespace.block_bytes));
        }
        let object = Object {
            namespace: namespace.id,
            start_bytes: asked.offset,
            length_bytes: length,
            block_bytes: namespace.block_bytes,
        };
        if usize::from(self.connections[owner].objects) >= OBJECTS_PER_CONNECTION {
            let limit = OBJECTS_PER_CONNECTION as u64;
            return Err(beyond(limit, limit + 1));
        }
        let held = usize::from(self.connections[owner].objects);
        let free = self.objects.total() - self.objects.used();
        if !self.shares.objects.may_enter(held, free) {
            return Err(Status::PoolExhausted.into());
        }
        let id = self
            .objects
            .insert(owner, object)
            .ok_or(Status::PoolExhausted)?;
        self.connections[owner].objects += 1;
        self.shares.objects.took(held, 1);
        let reply = OpenReply {
            object: id,
            length,
            block_bytes: object.block_bytes,
        };
        Ok(Begun::Answer(Answer::Open(reply)))
    }

    fn begin_close(
        &mut self,
        owner: ConnectionIndex,
        asked: &CloseRequest,
    ) -> Result<Begun, Refused> {
        // Reads and writes under way were translated when they were admitted; a running
        // program finds the object gone (−EBADF) at its next access.
        let index = self
            .objects
            .find(owner, asked.object)
            .ok_or(Status::NoSuchObject)?;
        self.remove_object(owner, index);
        Ok(Begun::Answer(Answer::Empty))
    }

    /// Takes an object away from the connection that has it.
    pub(crate) fn remove_object(&mut self, owner: ConnectionIndex, index: u16) {
        if self.objects.remove(index).is_some() {
            let held = &mut self.connections[owner].objects;
            *held -= 1;
            self.shares.objects.gave(usize::from(*held), 1);
        }
    }

    fn object(&self, owner: ConnectionIndex, id: u32) -> Result<&Object, Refused> {
        self.objects
            .get(owner, id)
            .ok_or_else(|| Status::NoSuchObject.into())
    }

    fn begin_read(
        &mut self,
        owner: ConnectionIndex,
        asked: &ReadRequest,
    ) -> Result<Begun, Refused> {
        let object = self.object(owner, asked.object)?;
        let limit = self.io_bytes_max();
        if asked.length > limit {
            return Err(beyond(u64::from(limit), u64::from(asked.length)));
        }
        let placed = object
            .place(asked.offset, asked.length)
            .ok_or_else(|| outside(object, asked.offset, u64::from(asked.length)))?;
        if placed.covering_bytes > limit {
            // Only for a read that begins or ends within a block.
            return Err(beyond(u64::from(limit), u64::from(placed.covering_bytes)));
        }
        Ok(Begun::Work(Work::Read(placed)))
    }

    fn begin_write(
        &mut self,
        owner: ConnectionIndex,
        request: RequestIndex,
        asked: &WriteRequest,
        payload: u32,
    ) -> Result<Begun, Refused> {
        let object = self.object(owner, asked.object)?;
        let block_bytes = object.block_bytes;
        if payload == 0
            || !payload.is_multiple_of(block_bytes)
            || !asked.offset.is_multiple_of(u64::from(block_bytes))
        {
            return Err(Refused::Misaligned(block_bytes));
        }
        let limit = self.io_bytes_max().min(FRAME_PAYLOAD_BYTES_MAX);
        if payload > limit {
            return Err(beyond(u64::from(limit), u64::from(payload)));
        }
        let placed = object
            .place(asked.offset, payload)
            .ok_or_else(|| outside(object, asked.offset, u64::from(payload)))?;
        // Its driver may keep pages for ever, and then there are too few to promise any.
        if matches!(self.driver.state(), DriverState::Failed(_)) {
            return Err(Status::DriveFailed.into());
        }
        self.take_payload_pages(request, payload)?;
        Ok(Begun::Work(Work::Write(placed)))
    }

    /// Takes pages for a request's payload. They are there: byte credit is backed by them.
    fn take_payload_pages(&mut self, request: RequestIndex, payload: u32) -> Result<(), Refused> {
        let count = (payload as usize).div_ceil(PAGE_BYTES);
        let pages = self.pages.take(count).ok_or(Status::PoolExhausted)?;
        self.payload_pages_used += count;
        self.requests[request].pages = pages;
        Ok(())
    }

    fn begin_flush(
        &mut self,
        owner: ConnectionIndex,
        asked: &FlushRequest,
    ) -> Result<Begun, Refused> {
        let object = self.object(owner, asked.object)?;
        Ok(Begun::Work(Work::Flush(object.namespace)))
    }

    fn begin_load(
        &mut self,
        owner: ConnectionIndex,
        asked: &LoadRequest<'_>,
    ) -> Result<Begun, Refused> {
        if self.connections[owner].upload.is_some() {
            return Err(Status::UploadInProgress.into());
        }
        let limit = ebpf::limits::IMAGE_BYTES_MAX as u64;
        if u64::from(asked.total_bytes) > limit {
            return Err(beyond(limit, u64::from(asked.total_bytes)));
        }
        let named = !asked.name.is_empty() && asked.name.bytes().all(|b| b.is_ascii_graphic());
        let name = Name::try_from(asked.name).ok().filter(|_| named);
        let (Some(name), 1..) = (name, asked.total_bytes) else {
            return Err(Refused::Senseless(BAD_NAME));
        };
        self.make_room_for_upload();
        let upload = self
            .programs
            .begin(owner, name, asked, self.now_us)
            .ok_or(Status::PoolExhausted)?;
        self.connections[owner].upload = Some(upload);
        Ok(Begun::Answer(Answer::Empty))
    }

    /// Where every upload buffer is taken, one that is not used gives way.
    fn make_room_for_upload(&mut self) {
        if self.programs.uploads_used() < self.config.limits.uploads {
            return;
        }
        let idle_since_us = self.now_us.saturating_sub(UPLOAD_IDLE_CROWDED_US);
        let begun_before_us = self.now_us.saturating_sub(UPLOAD_CROWDED_US_MAX);
        let idle = self.programs.idle_upload(idle_since_us, begun_before_us);
        if let Some((upload, connection)) = idle {
            self.give_up_upload(upload, connection);
        }
    }

    fn begin_piece(
        &mut self,
        owner: ConnectionIndex,
        asked: &LoadPieceRequest,
        payload: u32,
    ) -> Result<Begun, Refused> {
        let index = self.connections[owner].upload.ok_or(Status::NoUpload)?;
        let upload = self.programs.upload(index).ok_or(Status::NoUpload)?;
        let left = upload.total_bytes - upload.received_bytes;
        if asked.offset != upload.received_bytes || payload == 0 || payload > left {
            let expected = u64::from(upload.received_bytes);
            return Err(Refused::Limit(
                Status::BadOffset,
                expected,
                u64::from(asked.offset),
            ));
        }
        Ok(Begun::Piece {
            upload: index,
            last: payload == left,
        })
    }

    fn begin_attach(
        &mut self,
        owner: ConnectionIndex,
        asked: &AttachRequest,
    ) -> Result<Begun, Refused> {
        let index = self
            .programs
            .find(asked.program)
            .ok_or(Status::NoSuchProgram)?;
        let program = self.programs.at(index).ok_or(Status::NoSuchProgram)?;
        let wanted = usize::from(program.header.objects);
        if asked.objects.len() < wanted {
            return Err(Refused::TooFewObjects {
                needed: wanted,
                named: asked.objects.len(),
            });
        }
        let mut objects = [None; protocol::limits::OBJECTS_PER_INSTANCE_MAX];
        for (to, id) in objects.iter_mut().zip(&asked.objects) {
            self.object(owner, *id)?;
            *to = Some(ObjectId(*id));
        }
        let budget = budget(asked.instruction_budget, INSTRUCTION_BUDGET_MAX)?;
        let reads = budget_reads(asked.read_budget)?;
        if usize::from(self.connections[owner].instances) >= INSTANCES_PER_CONNECTION {
            let limit = INSTANCES_PER_CONNECTION as u64;
            return Err(beyond(limit, limit + 1));
        }
        let held = usize::from(self.connections[owner].instances);
        let free = self.instances.total() - self.instances.used();
        if !self.shares.instances.may_enter(held, free) {
            return Err(Status::PoolExhausted.into());
        }
        let maps = self.take_maps(owner, index)?;
        let instance = Instance {
            program: index,
            objects,
            object_count: asked.objects.len() as u32,
            instruction_budget: budget,
            read_budget: reads,
            calls: 0,
            maps,
        };
        let id = self
            .instances
            .insert(owner, instance)
            .ok_or(Status::PoolExhausted)?;
        self.connections[owner].instances += 1;
        self.shares.instances.took(held, 1);
        if let Some(program) = self.programs.at_mut(index) {
            program.instances += 1;
        }
        Ok(Begun::Answer(Answer::Attach(AttachReply { instance: id })))
    }

    fn begin_detach(
        &mut self,
        owner: ConnectionIndex,
        asked: &DetachRequest,
    ) -> Result<Begun, Refused> {
        let index = self
            .instances
            .find(owner, asked.instance)
            .ok_or(Status::NoSuchInstance)?;
        match self.instances.at(index) {
            Some(instance) if instance.calls > 0 => return Err(Status::InUse.into()),
            _ => {}
        }
        self.remove_instance(owner, index);
        Ok(Begun::Answer(Answer::Empty))
    }

    /// Takes an instance away, which no call may be using.
    pub(crate) fn remove_instance(&mut self, owner: ConnectionIndex, index: u16) {
        let Some(instance) = self.instances.remove(index) else {
            return;
        };
        debug_assert_eq!(instance.calls, 0);
        self.give_maps(owner, instance.maps);
        let held = &mut self.connections[owner].instances;
        *held -= 1;
        self.shares.instances.gave(usize::from(*held), 1);
        if let Some(program) = self.programs.at_mut(instance.program) {
            program.instances -= 1;
        }
    }

    fn begin_call(
        &mut self,
        owner: ConnectionIndex,
        request: RequestIndex,
        asked: &CallRequest,
        payload: u32,
    ) -> Result<Begun, Refused> {
        let index = self
            .instances
            .find(owner, asked.instance)
            .ok_or(Status::NoSuchInstance)?;
        let instance = self.instances.at(index).ok_or(Status::NoSuchInstance)?;
        let program = self
            .programs
            .at(instance.program)
            .ok_or(Status::NoSuchProgram)?;
        let limit = program.header.args_max;
        if payload > limit {
            let (limit, got) = (u64::from(limit), u64::from(payload));
            return Err(Refused::Limit(Status::ArgumentsTooLong, limit, got));
        }
        if payload as usize > INLINE_PAYLOAD_BYTES {
            self.take_payload_pages(request, payload)?;
        }
        if let Some(instance) = self.instances.at_mut(index) {
            instance.calls += 1;
        }
        let instance = InstanceIndex(index);
        Ok(Begun::Work(Work::Call {
            instance,
            args_bytes: 0,
            invocation: None,
        }))
    }

    fn begin_unload(&mut self, asked: &UnloadRequest) -> Result<Begun, Refused> {
        let index = self
            .programs
            .find(asked.program)
            .ok_or(Status::NoSuchProgram)?;
        if !self.programs.unload(index) {
            return Err(Status::InUse.into());
        }
        Ok(Begun::Answer(Answer::Empty))
    }
}

fn outside(object: &Object, offset: u64, length: u64) -> Refused {
    let got = offset.saturating_add(length);
    Refused::Limit(Status::OutOfRange, object.length_bytes, got)
}

/// A budget as asked for; 0 asks for the most there is.
fn budget(asked: u64, limit: u64) -> Result<u64, Refused> {
    match asked {
        0 => Ok(limit),
        _ if asked > limit => Err(beyond(limit, asked)),
        _ => Ok(asked),
    }
}

fn budget_reads(asked: u32) -> Result<u32, Refused> {
    budget(u64::from(asked), u64::from(READ_BUDGET_MAX)).map(|reads| reads as u32)
}
