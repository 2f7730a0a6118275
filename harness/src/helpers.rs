//! The helpers that programs may call here, and a host that takes down every call.
//!
//! They have the shapes of the real ones: numbers only, buffers read, written or left to a device,
//! vectors of addresses, maps; some wait. What they answer depends on the setting's seed and on
//! how many were called before, so every engine is told the same.

use alloc::vec::Vec;

use ebpf::abi::MAP_SIGNATURES;
use ebpf::verifier::{Argument, HelperSignature, Length, Returns};
use ebpf::{HelperResult, HelperSpec, Host, MapIndex, Memory, RegionId, Right};

use crate::arena::{MapKeys, Shift};
use crate::setting::MAPS;
use crate::source::mix;

/// Linux's `bpf_map_lookup_elem`.
pub const MAP_LOOKUP: u32 = 1;
/// Linux's `bpf_map_update_elem`.
pub const MAP_UPDATE: u32 = 2;
/// Linux's `bpf_map_delete_elem`.
pub const MAP_DELETE: u32 = 3;
/// A number of 64 bits.
pub const TIME: u32 = 5;
/// A number of 32 bits.
pub const RANDOM: u32 = 7;
/// A number that is not negative, or an error.
pub const SIZE: u32 = 0x1008;
/// Looks for bytes among others.
pub const FIND: u32 = 0x100b;
/// Reads into scratch, and waits.
pub const READ: u32 = 0x1000;
/// Reads into several places of scratch, and waits.
pub const READ_VECTOR: u32 = 0x1001;
/// Sends bytes, and may wait.
pub const EMIT: u32 = 0x1007;
/// Compares bytes.
pub const COMPARE: u32 = 0x1009;
/// Copies bytes.
pub const COPY: u32 = 0x100a;
/// Sums up bytes.
pub const SUM: u32 = 0x100c;
/// A number from −5 to 70, and may wait.
pub const SMALL: u32 = 0x2000;
/// Ends the program, if it likes the number.
pub const END: u32 = 0x2001;
/// Writes 8 bytes.
pub const FILL: u32 = 0x2002;

/// Bytes of an entry of a vector: as `struct dpu_vec`.
pub const VECTOR_ENTRY_BYTES: u32 = 24;

/// The most bytes that are copied or summed; more is an error.
const BYTES_MAX: usize = 1024;

const fn spec(id: u32, name: &'static str, length_arg: Option<u8>) -> HelperSpec {
    HelperSpec {
        id,
        name,
        length_arg,
    }
}

/// What programs may call.
pub const SPECS: [HelperSpec; 16] = [
    spec(MAP_LOOKUP, "map_lookup", None),
    spec(MAP_UPDATE, "map_update", None),
    spec(MAP_DELETE, "map_delete", None),
    spec(TIME, "time", None),
    spec(RANDOM, "random", None),
    spec(SIZE, "size", None),
    spec(FIND, "find", Some(1)),
    spec(READ, "read", Some(3)),
    spec(READ_VECTOR, "read_vector", None),
    spec(EMIT, "emit", Some(1)),
    spec(COMPARE, "compare", Some(2)),
    spec(COPY, "copy", Some(2)),
    spec(SUM, "sum", Some(2)),
    spec(SMALL, "small", None),
    spec(END, "end", None),
    spec(FILL, "fill", None),
];

const fn length_in(register: u8) -> Length {
    Length::Argument {
        index: register - 1,
        unit: 1,
    }
}

const fn read(length: Length) -> Argument {
    Argument::Read {
        length,
        pointers: false,
    }
}

const fn signature(id: u32, arguments: [Argument; 5], min: i64, max: i64) -> HelperSignature {
    HelperSignature {
        id,
        arguments,
        returns: Returns::Number { min, max },
    }
}

const ERROR: i64 = -14;

/// What they take and give, for the verifier.
pub static SIGNATURES: [HelperSignature; SPECS.len()] = {
    use Argument::{Device, Number, Read, Unused, Write};
    let vector = Read {
        length: Length::Argument {
            index: 1,
            unit: VECTOR_ENTRY_BYTES,
        },
        pointers: true,
    };
    let bytes = read(length_in(3));
    let block = Device(length_in(4));
    let [lookup, update, delete] = MAP_SIGNATURES;
    [
        lookup,
        update,
        delete,
        signature(TIME, [Unused; 5], i64::MIN, i64::MAX),
        signature(RANDOM, [Unused; 5], 0, u32::MAX as i64),
        signature(
            SIZE,
            [Number, Unused, Unused, Unused, Unused],
            -4095,
            i64::MAX,
        ),
        signature(
            FIND,
            [
                read(length_in(2)),
                Number,
                read(length_in(4)),
                Number,
                Unused,
            ],
            -4095,
            u32::MAX as i64,
        ),
        signature(READ, [Number, Number, block, Number, Unused], -4095, 0),
        signature(
            READ_VECTOR,
            [vector, Number, Unused, Unused, Unused],
            -4095,
            0,
        ),
        signature(
            EMIT,
            [read(length_in(2)), Number, Unused, Unused, Unused],
            -4095,
            0,
        ),
        signature(COMPARE, [bytes, bytes, Number, Unused, Unused], -4095, 1),
        signature(
            COPY,
            [Write(length_in(3)), bytes, Number, Unused, Unused],
            -4095,
            0,
        ),
        signature(
            SUM,
            [Number, bytes, Number, Unused, Unused],
            -4095,
            u32::MAX as i64,
        ),
        signature(SMALL, [Unused; 5], -5, 70),
        signature(END, [Number, Unused, Unused, Unused, Unused], 0, 0),
        signature(
            FILL,
            [Write(Length::Bytes(8)), Unused, Unused, Unused, Unused],
            -4095,
            0,
        ),
    ]
};

/// A call as it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Which helper.
    pub helper: u32,
    /// r1 to r5.
    pub args: [u64; 5],
    /// What was seen of memory on the way.
    pub seen: u64,
}

/// Device memory that is yet to be written.
type Pending = [(u64, u32); VECTOR_MAX];

const VECTOR_MAX: usize = 4;

/// The host of one run.
#[derive(Debug)]
pub struct Helpers<'m> {
    seed: u64,
    shift: Shift,
    keys: MapKeys<'m>,
    calls: Vec<Call>,
    /// Of all that a program may know: what was called with which numbers and bytes, and nothing
    /// that depends on addresses.
    digest: u64,
    pending: Pending,
    answer: i64,
}

impl<'m> Helpers<'m> {
    /// A host; `calls` is emptied and used.
    #[must_use]
    pub fn new(seed: u64, shift: Shift, keys: MapKeys<'m>, mut calls: Vec<Call>) -> Helpers<'m> {
        calls.clear();
        Helpers {
            seed,
            shift,
            keys,
            calls,
            digest: 0,
            pending: [(0, 0); VECTOR_MAX],
            answer: 0,
        }
    }

    /// The calls that were made.
    #[must_use]
    pub fn into_calls(self) -> Vec<Call> {
        self.calls
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> &[Call] {
        &self.calls
    }

    /// What a program can know of its calls, as one number.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// Ends a wait: the device writes, and the answer is known.
    pub fn finish(&mut self, memory: &mut Memory<'_>) -> i64 {
        let pending = core::mem::replace(&mut self.pending, [(0, 0); VECTOR_MAX]);
        for (address, len) in pending {
            let fill = self.chance() as u8;
            if let Ok(bytes) = memory.write(address, len as usize) {
                for (byte, value) in bytes.iter_mut().zip(fill..=u8::MAX) {
                    *byte = value;
                }
            }
        }
        self.answer
    }

    fn note(&mut self, number: u64) {
        self.digest = mix(self.digest ^ number);
    }

    fn chance(&mut self) -> u64 {
        mix(self.seed ^ (self.calls.len() as u64) << 32 ^ self.digest)
    }

    fn return_or_wait(&mut self, value: i64) -> HelperResult {
        if self.chance() & 3 == 0 {
            self.answer = value;
            return HelperResult::Wait;
        }
        HelperResult::Return(value)
    }

    /// The bytes of an argument, if they are where such bytes may be.
    fn bytes<'a>(&mut self, memory: &'a Memory<'_>, address: u64, len: u64) -> Option<&'a [u8]> {
        self.inside(address)?;
        let bytes = memory.read(address, len as u32 as usize).ok()?;
        if bytes.len() > BYTES_MAX {
            return None;
        }
        for word in bytes.chunks(8) {
            let number = word.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
            self.note(number);
        }
        Some(bytes)
    }

    /// The region of an address, if it does not lie before the bytes that the program was given.
    fn inside(&self, address: u64) -> Option<RegionId> {
        let region = RegionId::of(address)?;
        (address as u32 >= self.shift.of(region)).then_some(region)
    }

    fn plan(&mut self, at: usize, memory: &Memory<'_>, address: u64, len: u32) -> Option<()> {
        let region = self.inside(address)?;
        memory.locate(address, len as usize, Right::Write).ok()?;
        if region != RegionId::Scratch {
            return None;
        }
        *self.pending.get_mut(at)? = (address, len);
        Some(())
    }

    fn read_vector(&mut self, args: [u64; 5], memory: &Memory<'_>) -> Option<()> {
        let count = args[1] as u32;
        // The context is no vector, though it may be taken for one.
        if self.inside(args[0])? == RegionId::Context {
            return None;
        }
        if count as usize > VECTOR_MAX {
            return None;
        }
        let bytes = memory.read(args[0], (count * VECTOR_ENTRY_BYTES) as usize);
        let entries = bytes.ok()?.chunks_exact(VECTOR_ENTRY_BYTES as usize);
        for (at, entry) in entries.enumerate() {
            let word = |at: usize| {
                let bytes = entry.get(at..).and_then(|rest| rest.first_chunk());
                bytes.map_or(0, |it| u64::from_le_bytes(*it))
            };
            // Nothing of it is noted: addresses may lie anywhere in it.
            let address = word(16);
            let len = (word(0) >> 32) as u32;
            if len > 0 {
                self.plan(at, memory, address, len)?;
            }
        }
        Some(())
    }

    fn copy(&mut self, args: [u64; 5], memory: &mut Memory<'_>) -> Option<()> {
        let len = args[2] as u32 as usize;
        self.inside(args[0])?;
        memory.locate(args[0], len, Right::Write).ok()?;
        self.bytes(memory, args[1], args[2])?;
        memory.copy(args[0], args[1], len).ok()
    }

    fn fill(&mut self, args: [u64; 5], memory: &mut Memory<'_>) -> Option<()> {
        self.inside(args[0])?;
        let number = self.chance().to_le_bytes();
        memory.write(args[0], 8).ok()?.copy_from_slice(&number);
        Some(())
    }

    /// The number of the map that a handle names.
    fn map(&self, handle: u64) -> Option<usize> {
        let index = MapIndex::of_handle(handle)?.get();
        let number = index.checked_sub(self.shift.first_map)? as usize;
        (number < MAPS.len()).then_some(number)
    }

    fn map_call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> Option<i64> {
        let number = self.map(args[0])?;
        let spec = &MAPS[number];
        self.note(number as u64);
        let mut key = [0; 8];
        let key = &mut key[..spec.key_bytes as usize];
        key.copy_from_slice(self.bytes(memory, args[1], u64::from(spec.key_bytes))?);
        match helper {
            MAP_LOOKUP => {
                let offset = self.keys[number].as_mut()?.lookup(key);
                let region = crate::arena::map_region(self.shift, number)?;
                Some(offset.map_or(0, |at| Memory::address(region, at) as i64))
            }
            MAP_UPDATE => {
                let mut value = [0; 64];
                let value = &mut value[..spec.value_bytes as usize];
                value.copy_from_slice(self.bytes(memory, args[2], u64::from(spec.value_bytes))?);
                self.note(args[3]);
                let placed = self.keys[number].as_mut()?.place(key, args[3]);
                Some(match placed {
                    Ok(offset) => {
                        let region = crate::arena::map_region(self.shift, number)?;
                        let address = Memory::address(region, offset);
                        // A map that programs may only read is not written by them this way either.
                        match memory.write(address, value.len()) {
                            Ok(place) => {
                                place.copy_from_slice(value);
                                0
                            }
                            Err(_) => ERROR,
                        }
                    }
                    Err(error) => i64::from(error.errno()),
                })
            }
            _ => {
                let deleted = self.keys[number].as_mut()?.delete(key);
                Some(deleted.map_or_else(|error| i64::from(error.errno()), |()| 0))
            }
        }
    }

    fn answer_of(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult {
        let done = |done: Option<()>| HelperResult::Return(done.map_or(ERROR, |()| 0));
        match helper {
            MAP_LOOKUP => HelperResult::Return(self.map_call(helper, args, memory).unwrap_or(0)),
            MAP_UPDATE | MAP_DELETE => {
                HelperResult::Return(self.map_call(helper, args, memory).unwrap_or(ERROR))
            }
            TIME => HelperResult::Return(self.chance() as i64),
            RANDOM => HelperResult::Return(i64::from(self.chance() as u32)),
            SIZE => {
                self.note(args[0]);
                HelperResult::Return((self.chance() >> 1) as i64)
            }
            FIND => {
                let hay = self.bytes(memory, args[0], args[1]);
                let needle = self.bytes(memory, args[2], args[3]);
                let found = match (hay, needle) {
                    (Some(hay), Some(needle)) if !needle.is_empty() => {
                        hay.windows(needle.len()).position(|it| it == needle)
                    }
                    _ => None,
                };
                HelperResult::Return(found.map_or(ERROR, |at| at as i64))
            }
            READ => {
                self.note(args[1]);
                self.note(args[3]);
                match self.plan(0, memory, args[2], args[3] as u32) {
                    Some(()) => {
                        self.answer = 0;
                        HelperResult::Wait
                    }
                    None => HelperResult::Return(ERROR),
                }
            }
            READ_VECTOR => match self.read_vector(args, memory) {
                Some(()) => {
                    self.answer = 0;
                    HelperResult::Wait
                }
                None => {
                    self.pending = [(0, 0); VECTOR_MAX];
                    HelperResult::Return(ERROR)
                }
            },
            EMIT => match self.bytes(memory, args[0], args[1]) {
                Some(_) => self.return_or_wait(0),
                None => HelperResult::Return(ERROR),
            },
            COMPARE => {
                let one = self.bytes(memory, args[0], args[2]);
                let other = self.bytes(memory, args[1], args[2]);
                HelperResult::Return(match (one, other) {
                    (Some(one), Some(other)) => one.cmp(other) as i64,
                    _ => ERROR,
                })
            }
            COPY => done(self.copy(args, memory)),
            SUM => {
                self.note(args[0]);
                HelperResult::Return(match self.bytes(memory, args[1], args[2]) {
                    Some(_) => i64::from(self.digest as u32),
                    None => ERROR,
                })
            }
            SMALL => {
                let number = (self.chance() >> 32) % 76;
                self.return_or_wait(number as i64 - 5)
            }
            END if args[0] & 7 == 3 => HelperResult::Kill(args[0] as u32 & 0xff),
            END => {
                self.note(args[0]);
                HelperResult::Return(0)
            }
            FILL => done(self.fill(args, memory)),
            _ => HelperResult::Unknown,
        }
    }
}

impl Host for Helpers<'_> {
    fn call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult {
        self.note(u64::from(helper));
        let result = self.answer_of(helper, args, memory);
        debug_assert!(
            keeps_promise(helper, result),
            "{helper:#x} gives {result:?}"
        );
        self.calls.push(Call {
            helper,
            args,
            seen: self.digest,
        });
        result
    }

    fn helpers(&self) -> &[HelperSpec] {
        &SPECS
    }
}

/// True if a result is one of those that the verifier was promised.
fn keeps_promise(helper: u32, result: HelperResult) -> bool {
    let signature = SIGNATURES.iter().find(|it| it.id == helper);
    match (result, signature.map(|it| it.returns)) {
        (HelperResult::Return(value), Some(Returns::Number { min, max })) => {
            (min..=max).contains(&value)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_is_what_is_tried() {
        for shipped in &ebpf::abi::SIGNATURES {
            let tried = SIGNATURES.iter().find(|it| it.id == shipped.id);
            assert_eq!(tried, Some(shipped));
        }
    }
}
