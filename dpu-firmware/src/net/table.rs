//! Which connection a packet belongs to: an open-addressing table over 4-tuples.
//!
//! Our own address is one, so remote address, remote port and local port are the whole key and
//! fit 64 bits. Places are chosen by a keyed hash, because peers choose the keys. The table is
//! at most half full; removal shifts the followers back, so there are no tombstones to clean.

use alloc::boxed::Box;
use alloc::vec;

use super::secret::Secret;

/// Remote address, remote port and local port of a connection; never zero, as ports are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    pub(super) const fn new(remote: u32, remote_port: u16, local_port: u16) -> Self {
        Self((remote as u64) << 32 | (remote_port as u64) << 16 | local_port as u64)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn remote(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) const fn remote_port(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

const EMPTY: u64 = 0;

#[derive(Clone, Copy)]
struct Entry {
    key: u64,
    index: u16,
}

/// Key to slot of a connection.
pub(super) struct Table {
    entries: Box<[Entry]>,
    multipliers: [u64; 2],
    len: usize,
    capacity: usize,
}

impl Table {
    pub(super) fn new(capacity: usize, secret: &Secret) -> Self {
        let places = (capacity.max(4) * 2).next_power_of_two();
        Self {
            entries: vec![
                Entry {
                    key: EMPTY,
                    index: 0
                };
                places
            ]
            .into_boxed_slice(),
            multipliers: [secret.hash(1, 1), secret.hash(2, 2) | 1],
            len: 0,
            capacity,
        }
    }

    /// A folded 128-bit product: quick, and without the key nobody can aim at a place.
    fn home(&self, key: u64) -> usize {
        let product = u128::from(key ^ self.multipliers[0]) * u128::from(self.multipliers[1]);
        ((product >> 64) as u64 ^ product as u64) as usize & (self.entries.len() - 1)
    }

    /// The place of `key`, or the empty one where it would go.
    fn place(&self, key: u64) -> usize {
        let mask = self.entries.len() - 1;
        let mut place = self.home(key);
        while self.entries[place].key != key && self.entries[place].key != EMPTY {
            place = (place + 1) & mask;
        }
        place
    }

    pub(super) fn get(&self, key: Key) -> Option<usize> {
        let entry = self.entries[self.place(key.0)];
        (entry.key != EMPTY).then_some(usize::from(entry.index))
    }

    /// Enters `key`. False if it is there already, is zero, or the table holds all it may.
    pub(super) fn insert(&mut self, key: Key, index: usize) -> bool {
        let place = self.place(key.0);
        if key.0 == EMPTY || self.entries[place].key != EMPTY || self.len == self.capacity {
            return false;
        }
        self.entries[place] = Entry {
            key: key.0,
            index: index as u16,
        };
        self.len += 1;
        true
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<usize> {
        let mask = self.entries.len() - 1;
        let mut hole = self.place(key.0);
        let found = self.entries[hole];
        if found.key == EMPTY {
            return None;
        }
        let mut place = hole;
        loop {
            place = (place + 1) & mask;
            let entry = self.entries[place];
            if entry.key == EMPTY {
                break;
            }
            // An entry may move back as far as its home, never before it.
            let from_home = place.wrapping_sub(self.home(entry.key)) & mask;
            if from_home >= place.wrapping_sub(hole) & mask {
                self.entries[hole] = entry;
                hole = place;
            }
        }
        self.entries[hole].key = EMPTY;
        self.len -= 1;
        Some(usize::from(found.index))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::collections::HashMap;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u8, u16),
        Remove(u8),
        Get(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (any::<u8>(), 0..100_u16).prop_map(|(key, index)| Step::Insert(key, index)),
            any::<u8>().prop_map(Step::Remove),
            any::<u8>().prop_map(Step::Get),
        ]
    }

    proptest! {
        /// The table answers like a map, whatever is entered and removed and in whatever order.
        #[test]
        fn is_a_map(seed: u64, capacity in 1..80_usize, steps in prop::collection::vec(step(), 0..400)) {
            let mut table = Table::new(capacity, &Secret::new(seed));
            let mut map = HashMap::new();
            // Few addresses and ports, so that keys differ in few bits.
            let key = |k: u8| Key::new(0x0a00_0001 + u32::from(k & 3), 1000 + u16::from(k >> 2), 9);
            for step in steps {
                match step {
                    Step::Insert(k, index) => {
                        let fits = !map.contains_key(&k) && map.len() < capacity;
                        prop_assert_eq!(table.insert(key(k), index.into()), fits);
                        if fits {
                            map.insert(k, usize::from(index));
                        }
                    }
                    Step::Remove(k) => prop_assert_eq!(table.remove(key(k)), map.remove(&k)),
                    Step::Get(k) => prop_assert_eq!(table.get(key(k)), map.get(&k).copied()),
                }
                prop_assert_eq!(table.len, map.len());
            }
            for (k, index) in map {
                prop_assert_eq!(table.get(key(k)), Some(index));
            }
        }
    }

    #[test]
    fn refuses_the_zero_key_and_an_overfull_table() {
        let mut table = Table::new(1, &Secret::new(7));
        assert!(!table.insert(Key::new(0, 0, 0), 3));
        assert_eq!(table.get(Key::new(0, 0, 0)), None);
        assert!(table.insert(Key::new(1, 2, 3), 4));
        assert!(!table.insert(Key::new(1, 2, 4), 5));
    }
}
