//! The caller's half of `bpfkv_get.c`: its arguments, and a builder of BPF-KV stores.
//!
//! The layout is that of the BPF-KV store of the XRP paper (OSDI '22), described in `bpfkv_get.c`:
//! nodes of 512 bytes, level by level with the root at offset 0, then the values.

use thiserror::Error;

/// Bytes of a node, and of a block of values.
pub const NODE_BYTES: usize = 512;
/// Keys and pointers in a node.
pub const FAN_OUT: usize = 31;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 64;
/// Levels of nodes that the program walks at most.
pub const DEPTH_MAX: u32 = 16;
/// The bit that tells a pointer into the file.
const POINTER_BIT: u64 = 1 << 63;

/// Arguments of `bpfkv_get`. The reply is the value, [`VALUE_BYTES`] bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BpfkvGetArgs {
    /// The key to look up.
    pub key: u64,
    /// Byte offset of the root node in the object: 0 in a file of BPF-KV or of [`build`].
    pub root: u64,
}

impl BpfkvGetArgs {
    /// The arguments as the program takes them.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.key.to_le_bytes());
        bytes[8..].copy_from_slice(&self.root.to_le_bytes());
        bytes
    }
}

/// A store, and what there is to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The whole file: its length is a multiple of [`NODE_BYTES`].
    pub bytes: Vec<u8>,
    /// Levels of nodes. A lookup takes one read more, that of the value.
    pub depth: u32,
    /// How many keys it holds.
    pub keys: u64,
}

/// Why a store cannot be built.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BuildError {
    /// A tree needs a key.
    #[error("a store needs at least one key")]
    Empty,
    /// Fan-out below 2 or above [`FAN_OUT`].
    #[error("a node holds 2 to 31 keys, not {0}")]
    FanOut(usize),
    /// Keys must ascend; this one does not.
    #[error("key {0} does not come after the one before it")]
    Order(u64),
    /// The key of all ones marks the unused slots of a node.
    #[error("the key 2^64 - 1 is kept for unused slots")]
    KeyReserved,
}

/// Builds a store of these entries, by ascending key.
///
/// `fan_out` is how many keys go into a node, 2 to [`FAN_OUT`]; BPF-KV itself always uses 31, a
/// smaller one makes a deep tree of few keys.
///
/// # Errors
/// [`BuildError`] says which entry or which number does not fit.
pub fn build(
    entries: impl IntoIterator<Item = (u64, [u8; VALUE_BYTES])>,
    fan_out: usize,
) -> Result<Store, BuildError> {
    if !(2..=FAN_OUT).contains(&fan_out) {
        return Err(BuildError::FanOut(fan_out));
    }
    let mut keys: Vec<u64> = Vec::new();
    let mut values = Vec::new();
    for (key, value) in entries {
        if key == u64::MAX {
            return Err(BuildError::KeyReserved);
        }
        if keys.last().is_some_and(|&before| before >= key) {
            return Err(BuildError::Order(key));
        }
        keys.push(key);
        values.extend_from_slice(&value);
    }
    if keys.is_empty() {
        return Err(BuildError::Empty);
    }

    // How many slots each level has, the leaves' first, and how many nodes that takes.
    let mut slots = vec![keys.len()];
    while slots[slots.len() - 1] > fan_out {
        slots.push(slots[slots.len() - 1].div_ceil(fan_out));
    }
    let nodes: Vec<usize> = slots.iter().map(|slots| slots.div_ceil(fan_out)).collect();
    let tree_bytes = nodes.iter().sum::<usize>() * NODE_BYTES;
    let mut bytes = Vec::with_capacity(tree_bytes + values.len().next_multiple_of(NODE_BYTES));

    let mut span = fan_out.pow(slots.len() as u32 - 1); // keys below one slot
    for (level, (&slots, &nodes)) in slots.iter().zip(&nodes).enumerate().rev() {
        let leaf = level == 0;
        let level_end = bytes.len() + nodes * NODE_BYTES;
        // Children stand right behind their level: the nodes of the next one, or the values.
        let child_bytes = if leaf { VALUE_BYTES } else { NODE_BYTES };
        for first in (0..slots).step_by(fan_out) {
            let used = fan_out.min(slots - first);
            let after = bytes.len() + NODE_BYTES;
            let mut node = Node {
                next: 0,
                leaf,
                key: [u64::MAX; FAN_OUT],
                ptr: [0; FAN_OUT],
            };
            if after < level_end {
                node.next = after as u64;
            }
            for slot in 0..used {
                node.key[slot] = keys[(first + slot) * span];
                node.ptr[slot] = (level_end + (first + slot) * child_bytes) as u64 | POINTER_BIT;
            }
            node.write(&mut bytes);
        }
        span /= fan_out;
    }
    bytes.extend_from_slice(&values);
    bytes.resize(bytes.len().next_multiple_of(NODE_BYTES), 0);
    Ok(Store {
        bytes,
        depth: nodes.len() as u32,
        keys: keys.len() as u64,
    })
}

/// The value that BPF-KV itself stores under a key: its number, right-aligned in 63 characters.
#[must_use]
pub fn value(key: u64) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    value[..VALUE_BYTES - 1].copy_from_slice(format!("{key:>63}").as_bytes());
    value
}

/// A node to be written.
struct Node {
    next: u64,
    leaf: bool,
    key: [u64; FAN_OUT],
    ptr: [u64; FAN_OUT],
}

impl Node {
    fn write(&self, out: &mut Vec<u8>) {
        let words = [self.next, u64::from(self.leaf)];
        for word in words.iter().chain(&self.key).chain(&self.ptr) {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_tree_has_the_layout_of_bpf_kv() {
        let store = build((0..961).map(|key| (key, value(key))), FAN_OUT).unwrap();
        assert_eq!((store.depth, store.keys), (2, 961));
        assert_eq!(
            store.bytes.len(),
            32 * NODE_BYTES + (961 * VALUE_BYTES).next_multiple_of(512)
        );
        let word = |at: usize| u64::from_le_bytes(*store.bytes[at..].first_chunk().unwrap());
        // The root: inner, its keys 31 apart, its children the blocks behind it.
        assert_eq!((word(0), word(8)), (0, 0));
        assert_eq!((word(16), word(24), word(16 + 30 * 8)), (0, 31, 930));
        assert_eq!(
            (word(264), word(264 + 30 * 8)),
            (POINTER_BIT | 512, POINTER_BIT | (31 * 512))
        );
        // The last leaf: no neighbour, its values the last of the heap.
        let leaf = 31 * 512;
        assert_eq!((word(leaf), word(leaf + 8), word(leaf + 16)), (0, 1, 930));
        assert_eq!(word(leaf + 264), POINTER_BIT | (32 * 512 + 930 * 64));
        assert_eq!(&store.bytes[32 * 512 + 7 * 64..][..64], &value(7));
    }

    #[test]
    fn what_cannot_be_built_is_named() {
        let entry = |key| (key, [0; VALUE_BYTES]);
        assert_eq!(build([], 31), Err(BuildError::Empty));
        assert_eq!(build([entry(1)], 32), Err(BuildError::FanOut(32)));
        assert_eq!(build([entry(1)], 1), Err(BuildError::FanOut(1)));
        assert_eq!(build([entry(5), entry(5)], 31), Err(BuildError::Order(5)));
        assert_eq!(build([entry(u64::MAX)], 31), Err(BuildError::KeyReserved));
    }
}
