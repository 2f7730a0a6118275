//! The maps of an instance, globals included, as the connection that attached it sees them.
//!
//! Maps are named by their number in the program's image, which their names go with; a data section
//! (`.rodata`, `.data`, `.bss`) is an array of one value. They live as long as the instance, in
//! memory alone. Programs go on while a map is looked at: what one reply carries was there at one
//! time, what two carry need not have been.

use crate::limits::MAPS_PER_INSTANCE_MAX;
use serde::{Deserialize, Serialize, Serializer};

/// Asks what maps an instance has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapsRequest {
    /// The instance.
    pub instance: u32,
}

/// Its maps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapsReply {
    /// In the order of their numbers, from 0.
    pub maps: heapless::Vec<MapSummary, MAPS_PER_INSTANCE_MAX>,
}

/// A map, as the program declares it, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapSummary {
    /// Its type, as Linux numbers them: 1 hash, 2 array, 9 LRU hash.
    pub kind: u32,
    /// Bytes of a key; of an array's, 4: the index, little-endian.
    pub key_bytes: u32,
    /// Bytes of a value.
    pub value_bytes: u32,
    /// Entries it can hold.
    pub entries_max: u32,
    /// Flags, as Linux numbers them: 0x80 is read-only for programs.
    pub flags: u32,
    /// Entries that it holds; of an array, all.
    pub entries: u32,
}

/// Asks for entries of a map, as many as a reply carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapDumpRequest {
    /// The instance.
    pub instance: u32,
    /// The map's number.
    pub map: u32,
    /// Where to go on: 0 at first, then what the reply before said.
    pub cursor: u64,
}

/// Some entries. A walk by cursor comes by every entry that stays in the map throughout, once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapDumpReply<'a> {
    /// Where to go on; `None` when these were the last.
    pub next: Option<u64>,
    /// Where in the value of the first entry its bytes begin: 0 but for a value that is longer than
    /// [`MAP_PIECE_BYTES_MAX`](crate::limits::MAP_PIECE_BYTES_MAX), which comes in pieces, a reply
    /// each, every one behind its key. All pieces but the last are of that length.
    pub offset: u32,
    /// The entries one after the other, each its key and then its value, without gaps; at most
    /// [`MAP_ENTRIES_BYTES_MAX`](crate::limits::MAP_ENTRIES_BYTES_MAX) bytes.
    #[serde(borrow, serialize_with = "bytes")]
    pub entries: &'a [u8],
}

/// Asks for the value of a key; it does not count as a use of the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapGetRequest<'a> {
    /// The instance.
    pub instance: u32,
    /// The map's number.
    pub map: u32,
    /// Where in the value to begin, in bytes.
    pub offset: u32,
    /// The key, as long as the map's keys are.
    #[serde(borrow, serialize_with = "bytes")]
    pub key: &'a [u8],
}

/// The value, from the offset on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapGetReply<'a> {
    /// Bytes of the whole value.
    pub value_bytes: u32,
    /// As much of it from the offset on as there is, and at most
    /// [`MAP_PIECE_BYTES_MAX`](crate::limits::MAP_PIECE_BYTES_MAX) bytes.
    #[serde(borrow, serialize_with = "bytes")]
    pub value: &'a [u8],
}

/// Puts a value, or a part of one, into a map. Programs may only read maps with flag 0x80; their
/// client may set them all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapSetRequest<'a> {
    /// The instance.
    pub instance: u32,
    /// The map's number.
    pub map: u32,
    /// As Linux has them: 0 whether or not there is an entry of the key, 1 only if there is none, 2
    /// only if there is one.
    pub flags: u64,
    /// Where in the value these bytes belong; what else is in it stays, and in a new entry is zero.
    /// `None`: they are the value, all of it.
    pub offset: Option<u32>,
    /// The key, as long as the map's keys are.
    #[serde(borrow, serialize_with = "bytes")]
    pub key: &'a [u8],
    /// The bytes, at most [`MAP_PIECE_BYTES_MAX`](crate::limits::MAP_PIECE_BYTES_MAX).
    #[serde(borrow, serialize_with = "bytes")]
    pub value: &'a [u8],
}

/// Takes an entry out of a hash map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MapDeleteRequest<'a> {
    /// The instance.
    pub instance: u32,
    /// The map's number.
    pub map: u32,
    /// The key, as long as the map's keys are.
    #[serde(borrow, serialize_with = "bytes")]
    pub key: &'a [u8],
}

/// The same bytes as serde's own way, in one go.
fn bytes<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}
