//! The maps of an instance from the client's side: list, walk, get, set, delete.
//!
//! Values of any length are taken and given; what does not fit one message goes in several, and
//! programs may run in between.

use crate::blocking::Client;
use crate::error::ClientError;
use crate::types::{InstanceId, MapEntry, MapInfo, Presence};
use ebpf::maps::{BPF_ANY, BPF_EXIST, BPF_NOEXIST};
use protocol::Kind;
use protocol::limits::MAP_PIECE_BYTES_MAX;
use protocol::message::{
    MapDeleteRequest, MapDumpRequest, MapGetRequest, MapSetRequest, MapsRequest,
};
use std::io::{Read, Write};

const BAD_DUMP: ClientError = ClientError::BadReply {
    request: Kind::MapDump,
};
const BAD_GET: ClientError = ClientError::BadReply {
    request: Kind::MapGet,
};

impl<T: Read + Write> Client<T> {
    /// What maps an instance has, globals included, in the order of their numbers.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn maps(&mut self, instance: InstanceId) -> Result<Vec<MapInfo>, ClientError> {
        let request = MapsRequest {
            instance: instance.0,
        };
        self.ask(&request, |reply| {
            let maps = reply.maps.iter().enumerate();
            maps.map(|(number, summary)| MapInfo::new(number as u32, summary))
                .collect()
        })
    }

    /// Every entry of a map, in no particular order; of an array, in the order of the indexes.
    /// Those that come or go meanwhile are among them or not; those that stay are, once.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn map_dump(
        &mut self,
        instance: InstanceId,
        map: &MapInfo,
    ) -> Result<Vec<MapEntry>, ClientError> {
        let mut all = Vec::new();
        self.map_walk(instance, map, |entry| {
            all.push(entry);
            Ok::<(), ClientError>(())
        })?;
        Ok(all)
    }

    /// As [`Client::map_dump`], an entry at a time, for maps of which one would rather not have all
    /// at once.
    ///
    /// # Errors
    /// See [`ClientError`], and the first error of `with_entry`.
    pub fn map_walk<E: From<ClientError>>(
        &mut self,
        instance: InstanceId,
        map: &MapInfo,
        mut with_entry: impl FnMut(MapEntry) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut walk = Walk::new(map);
        let mut cursor = 0;
        loop {
            let request = MapDumpRequest {
                instance: instance.0,
                map: map.number,
                cursor,
            };
            let found = self.ask(&request, |reply| {
                let entries = walk.take(reply.offset, reply.entries);
                entries.map(|entries| (entries, reply.next))
            })?;
            let (entries, next) = found.ok_or(BAD_DUMP)?;
            entries.into_iter().try_for_each(&mut with_entry)?;
            match next {
                None => return Ok(()),
                // One that does not rise would keep us asking for ever.
                Some(next) if next > cursor => cursor = next,
                Some(_) => return Err(BAD_DUMP.into()),
            }
        }
    }

    /// The value of a key. To an LRU map it counts as no use.
    ///
    /// # Errors
    /// [`Status::NoSuchEntry`](protocol::Status::NoSuchEntry) among what the agent refuses; see
    /// [`ClientError`].
    pub fn map_get(
        &mut self,
        instance: InstanceId,
        map: &MapInfo,
        key: &[u8],
    ) -> Result<Vec<u8>, ClientError> {
        let mut value = Vec::new();
        loop {
            let request = MapGetRequest {
                instance: instance.0,
                map: map.number,
                offset: value.len() as u32,
                key,
            };
            let (of, piece_bytes) = self.ask(&request, |reply| {
                value.extend_from_slice(reply.value);
                (reply.value_bytes, reply.value.len())
            })?;
            if of != map.value_bytes || piece_bytes == 0 || value.len() > of as usize {
                return Err(BAD_GET);
            }
            if value.len() == of as usize {
                return Ok(value);
            }
        }
    }

    /// Puts a value there.
    ///
    /// # Errors
    /// [`Status::EntryExists`](protocol::Status::EntryExists), `NoSuchEntry` and `MapFull` among
    /// what the agent refuses; see [`ClientError`].
    pub fn map_set(
        &mut self,
        instance: InstanceId,
        map: &MapInfo,
        key: &[u8],
        value: &[u8],
        presence: Presence,
    ) -> Result<(), ClientError> {
        if value.len() <= MAP_PIECE_BYTES_MAX {
            return self.set(instance, map, key, None, value, presence);
        }
        if value.len() != map.value_bytes as usize {
            // The agent would take it for a part.
            let (what, got) = ("the length of the value", value.len() as u64);
            let limit = map.value_bytes.into();
            return Err(ClientError::Limit { what, got, limit });
        }
        self.map_set_part(instance, map, key, 0, value, presence)
    }

    /// Puts a part of a value there, from byte `offset` on. What else is in the value stays; in a
    /// new entry it is zero.
    ///
    /// # Errors
    /// As [`Client::map_set`].
    pub fn map_set_part(
        &mut self,
        instance: InstanceId,
        map: &MapInfo,
        key: &[u8],
        offset: u32,
        value: &[u8],
        presence: Presence,
    ) -> Result<(), ClientError> {
        let mut presence = presence;
        let mut at = offset;
        for piece in value.chunks(MAP_PIECE_BYTES_MAX) {
            self.set(instance, map, key, Some(at), piece, presence)?;
            at = at.saturating_add(piece.len() as u32);
            presence = Presence::Existing;
        }
        Ok(())
    }

    fn set(
        &mut self,
        instance: InstanceId,
        map: &MapInfo,
        key: &[u8],
        offset: Option<u32>,
        value: &[u8],
        presence: Presence,
    ) -> Result<(), ClientError> {
        let flags = match presence {
            Presence::Any => BPF_ANY,
            Presence::New => BPF_NOEXIST,
            Presence::Existing => BPF_EXIST,
        };
        let request = MapSetRequest {
            instance: instance.0,
            map: map.number,
            flags,
            offset,
            key,
            value,
        };
        self.ask(&request, |_| ())
    }

    /// Takes an entry out of a hash map.
    ///
    /// # Errors
    /// [`Status::NoSuchEntry`](protocol::Status::NoSuchEntry) among what the agent refuses; see
    /// [`ClientError`].
    pub fn map_delete(
        &mut self,
        instance: InstanceId,
        map: &MapInfo,
        key: &[u8],
    ) -> Result<(), ClientError> {
        let request = MapDeleteRequest {
            instance: instance.0,
            map: map.number,
            key,
        };
        self.ask(&request, |_| ())
    }
}

/// Entries from the pieces of a dump.
struct Walk {
    key_bytes: usize,
    value_bytes: usize,
    /// An entry of which some is still to come.
    begun: Option<MapEntry>,
}

impl Walk {
    fn new(map: &MapInfo) -> Walk {
        Walk {
            key_bytes: map.key_bytes as usize,
            value_bytes: map.value_bytes as usize,
            begun: None,
        }
    }

    /// The entries that are whole with these bytes; `None` if they make no sense.
    fn take(&mut self, offset: u32, bytes: &[u8]) -> Option<Vec<MapEntry>> {
        let begun = self.begun.take();
        if self.value_bytes <= MAP_PIECE_BYTES_MAX {
            let entry_bytes = self.key_bytes + self.value_bytes;
            if entry_bytes == 0 || offset != 0 || !bytes.len().is_multiple_of(entry_bytes) {
                return None;
            }
            let entries = bytes.chunks_exact(entry_bytes).map(|entry| {
                let (key, value) = entry.split_at(self.key_bytes);
                MapEntry {
                    key: key.to_vec(),
                    value: value.to_vec(),
                }
            });
            return Some(entries.collect());
        }
        if bytes.is_empty() {
            return Some(Vec::new());
        }
        let (key, piece) = bytes.split_at_checked(self.key_bytes)?;
        let mut entry = match begun {
            _ if offset == 0 => MapEntry {
                key: key.to_vec(),
                value: Vec::new(),
            },
            // One whose place another has taken meanwhile is forgotten, and so is the other's rest.
            Some(begun) if begun.key == key => begun,
            _ => return Some(Vec::new()),
        };
        if entry.value.len() != offset as usize || piece.is_empty() {
            return None;
        }
        entry.value.extend_from_slice(piece);
        if entry.value.len() > self.value_bytes {
            return None;
        }
        if entry.value.len() == self.value_bytes {
            return Some(vec![entry]);
        }
        self.begun = Some(entry);
        Some(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(key_bytes: u32, value_bytes: u32) -> MapInfo {
        MapInfo {
            number: 0,
            kind: 1,
            key_bytes,
            value_bytes,
            entries_max: 10,
            entries: 0,
            read_only: false,
        }
    }

    #[test]
    fn short_entries_come_whole() {
        let mut walk = Walk::new(&map(1, 2));
        let entries = walk.take(0, &[1, 2, 3, 4, 5, 6]).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (&entries[1].key[..], &entries[1].value[..]),
            (&[4][..], &[5, 6][..])
        );
        assert_eq!(walk.take(0, &[]), Some(Vec::new()));
        assert_eq!(walk.take(0, &[1, 2]), None, "cut short");
        assert_eq!(walk.take(1, &[1, 2, 3]), None, "not from the start");
    }

    #[test]
    fn long_values_are_put_together() {
        let long = MAP_PIECE_BYTES_MAX + 10;
        let piece = |key: u8, length: usize| [&[key], &vec![key; length][..]].concat();
        let first = piece(7, MAP_PIECE_BYTES_MAX);
        let offset = MAP_PIECE_BYTES_MAX as u32;
        let mut walk = Walk::new(&map(1, long as u32));
        assert_eq!(walk.take(0, &first), Some(Vec::new()));
        let entries = walk.take(offset, &piece(7, 10)).unwrap();
        assert_eq!(entries[0].value, vec![7; long]);
        // Another entry at the same place: neither is told of.
        assert_eq!(walk.take(0, &first), Some(Vec::new()));
        assert_eq!(walk.take(offset, &piece(8, 10)), Some(Vec::new()));
        // Bytes that belong to nothing.
        assert_eq!(walk.take(0, &first), Some(Vec::new()));
        assert_eq!(walk.take(offset, &piece(7, 11)), None);
        assert_eq!(walk.take(0, &first), Some(Vec::new()));
        assert_eq!(walk.take(offset, &piece(7, 0)), None);
        assert_eq!(walk.take(0, &first), Some(Vec::new()));
        assert_eq!(walk.take(offset + 1, &piece(7, 9)), None);
    }
}
