//! Requests about maps: their memory at attach and detach, and what clients ask of them.
//!
//! Only the connection that attached an instance gets at its maps. What changes a map is done when
//! its frame is read. What is asked of one is gathered when the answer is sent, a body's worth of
//! it, so that nothing is kept for whoever asks and does not read.

use ebpf::MapOpError;
use nvme_model::seam::Device;
use protocol::limits::MAP_ENTRIES_BYTES_MAX;
use protocol::message::{
    MapDeleteRequest, MapDumpReply, MapDumpRequest, MapGetReply, MapGetRequest, MapSetRequest,
    MapsReply, MapsRequest,
};
use protocol::{EncodeError, ErrorBody, Header, Status, encode_head};

use crate::agent::Agent;
use crate::board::Board;
use crate::maps::{Found, MapRefused, MapSlab, MapView, MapsRefused};
use crate::net::PacketDevice;
use crate::program_store::ProgramIndex;
use crate::request::Answer;
use crate::session::ConnectionIndex;
use crate::tenant::{Begun, Refused};

/// What is to be gathered of an instance's maps. Instance and map are named as on the wire, and
/// looked for again: either may be gone by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskedMaps {
    instance: u32,
    what: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// What maps there are.
    All,
    /// Entries.
    Dump { map: u32, cursor: u64 },
    /// A value.
    Get { map: u32, found: Found, offset: u32 },
}

impl From<MapRefused> for Refused {
    fn from(refused: MapRefused) -> Refused {
        match refused {
            MapRefused::Operation(error) => Refused::Map(error),
            MapRefused::Outside { limit, got } => Refused::Limit(Status::OutOfRange, limit, got),
        }
    }
}

/// What a client is told that asked a map for what it has not.
pub(crate) fn map_verdict(error: MapOpError) -> (Status, ErrorBody) {
    let text = ErrorBody::other(format_args!("{error}"));
    match error {
        MapOpError::NoEntry => (Status::NoSuchEntry, ErrorBody::None),
        MapOpError::Exists => (Status::EntryExists, ErrorBody::None),
        MapOpError::Full => (Status::MapFull, ErrorBody::None),
        MapOpError::Crowded => (Status::MapFull, text),
        MapOpError::Index { .. } => (Status::OutOfRange, text),
        MapOpError::ArrayDelete => (Status::NotSupported, text),
        MapOpError::Flags { .. } | MapOpError::KeyBytes { .. } | MapOpError::ValueBytes { .. } => {
            (Status::BadBody, text)
        }
    }
}

/// What a client is told whose program has maps that cannot be had.
pub(crate) fn maps_verdict(refused: MapsRefused) -> (Status, ErrorBody) {
    match refused {
        MapsRefused::Declared(error) => {
            (Status::BadImage, ErrorBody::other(format_args!("{error}")))
        }
        MapsRefused::TooLarge { needed, limit } => (
            Status::TooLarge,
            ErrorBody::other(format_args!(
                "the maps and globals take {needed} bytes of memory, and an instance has {limit} at most"
            )),
        ),
        MapsRefused::InitialBytes { needed, limit } => (
            Status::TooLarge,
            ErrorBody::other(format_args!(
                "the initial values of globals are {needed} bytes, and a program has {limit} at most"
            )),
        ),
    }
}

impl<D: Device, N: PacketDevice, B: Board> Agent<D, N, B> {
    /// Takes memory for the maps of an instance of a program, and lays them out; nothing for a
    /// program without maps.
    pub(crate) fn take_maps(
        &mut self,
        owner: ConnectionIndex,
        program: ProgramIndex,
    ) -> Result<Option<MapSlab>, Refused> {
        let program = self.programs.at(program).ok_or(Status::NoSuchProgram)?;
        let Some(class) = program.maps().class() else {
            return Ok(None);
        };
        let held = &mut self.connections[owner].map_slabs[class.number()];
        let share = &mut self.shares.map_slabs[class.number()];
        let free = self.map_pool.free(class);
        if !share.may_take(usize::from(*held), 1, free) {
            return Err(Status::PoolExhausted.into());
        }
        let slab = self.map_pool.take(class).ok_or(Status::PoolExhausted)?;
        share.took(usize::from(*held), 1);
        *held += 1;
        self.map_pool.lay_out(slab, program.maps());
        self.maps_laid_out += program.maps().bytes();
        Ok(Some(slab))
    }

    /// Takes back the memory of an instance's maps.
    pub(crate) fn give_maps(&mut self, owner: ConnectionIndex, maps: Option<MapSlab>) {
        let Some(slab) = maps else { return };
        let class = slab.class().number();
        self.map_pool.give(slab);
        let held = &mut self.connections[owner].map_slabs[class];
        *held -= 1;
        self.shares.map_slabs[class].gave(usize::from(*held), 1);
    }

    /// A map of an instance of this connection.
    fn map(
        &mut self,
        owner: ConnectionIndex,
        instance: u32,
        number: u32,
    ) -> Result<MapView<'_>, Refused> {
        let instance = self.instances.get(owner, instance);
        let instance = instance.ok_or(Status::NoSuchInstance)?;
        let program = self.programs.at(instance.program);
        let maps = program.ok_or(Status::NoSuchProgram)?.maps();
        let slab = instance.maps.ok_or(Status::NoSuchMap)?;
        let view = maps.open_one(self.map_pool.memory(slab), number);
        view.ok_or_else(|| Status::NoSuchMap.into())
    }

    pub(crate) fn begin_maps(
        &mut self,
        owner: ConnectionIndex,
        asked: &MapsRequest,
    ) -> Result<Begun, Refused> {
        let found = self.instances.find(owner, asked.instance);
        found.ok_or(Status::NoSuchInstance)?;
        Ok(later(asked.instance, Asked::All))
    }

    pub(crate) fn begin_map_dump(
        &mut self,
        owner: ConnectionIndex,
        asked: &MapDumpRequest,
    ) -> Result<Begun, Refused> {
        let &MapDumpRequest {
            instance,
            map,
            cursor,
        } = asked;
        self.map(owner, instance, map)?.check_cursor(cursor)?;
        Ok(later(instance, Asked::Dump { map, cursor }))
    }

    pub(crate) fn begin_map_get(
        &mut self,
        owner: ConnectionIndex,
        asked: &MapGetRequest<'_>,
    ) -> Result<Begun, Refused> {
        let &MapGetRequest {
            instance,
            map,
            offset,
            key,
        } = asked;
        let found = self.map(owner, instance, map)?.find(key, offset)?;
        Ok(later(instance, Asked::Get { map, found, offset }))
    }

    pub(crate) fn begin_map_set(
        &mut self,
        owner: ConnectionIndex,
        asked: &MapSetRequest<'_>,
    ) -> Result<Begun, Refused> {
        let mut map = self.map(owner, asked.instance, asked.map)?;
        map.set(asked.key, asked.offset, asked.value, asked.flags)?;
        Ok(Begun::Answer(Answer::Empty))
    }

    pub(crate) fn begin_map_delete(
        &mut self,
        owner: ConnectionIndex,
        asked: &MapDeleteRequest<'_>,
    ) -> Result<Begun, Refused> {
        let mut map = self.map(owner, asked.instance, asked.map)?;
        map.remove(asked.key)?;
        Ok(Begun::Answer(Answer::Empty))
    }

    /// Gathers what was asked of an instance's maps into the agent's head buffer.
    pub(crate) fn encode_maps(
        &mut self,
        header: &mut Header,
        owner: ConnectionIndex,
        asked: AskedMaps,
    ) -> Result<usize, EncodeError> {
        let mut gathered = [0; MAP_ENTRIES_BYTES_MAX];
        let result = match asked.what {
            Asked::All => self.summarise(owner, asked.instance).map(|reply| {
                let out = &mut self.head[..];
                encode_head(header, &reply, out)
            }),
            Asked::Dump { map, cursor } => {
                let map = self.map(owner, asked.instance, map);
                let page = map.and_then(|mut map| Ok(map.dump(cursor, &mut gathered)?));
                page.map(|page| {
                    let reply = MapDumpReply {
                        next: page.next,
                        offset: page.offset,
                        entries: &gathered[..page.bytes],
                    };
                    encode_head(header, &reply, &mut self.head[..])
                })
            }
            Asked::Get { map, found, offset } => {
                let map = self.map(owner, asked.instance, map);
                let piece = map.and_then(|mut map| {
                    let piece = map.piece(found, offset);
                    let (value_bytes, piece) = piece.ok_or(Status::NoSuchEntry)?;
                    gathered[..piece.len()].copy_from_slice(piece);
                    Ok((value_bytes, piece.len()))
                });
                piece.map(|(value_bytes, length)| {
                    let value = &gathered[..length];
                    let reply = MapGetReply { value_bytes, value };
                    encode_head(header, &reply, &mut self.head[..])
                })
            }
        };
        result.unwrap_or_else(|refused| {
            let (status, body) = refused.told();
            header.status = status;
            encode_head(header, &body, &mut self.head[..])
        })
    }

    fn summarise(&mut self, owner: ConnectionIndex, instance: u32) -> Result<MapsReply, Refused> {
        let instance = self.instances.get(owner, instance);
        let instance = instance.ok_or(Status::NoSuchInstance)?;
        let program = self.programs.at(instance.program);
        let maps = program.ok_or(Status::NoSuchProgram)?.maps();
        Ok(match instance.maps {
            Some(slab) => maps.summaries(self.map_pool.memory(slab)),
            None => MapsReply::default(),
        })
    }
}

/// An answer that is gathered when it is sent.
const fn later(instance: u32, what: Asked) -> Begun {
    Begun::Answer(Answer::Maps(AskedMaps { instance, what }))
}
