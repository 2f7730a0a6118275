//! Runs a shipped object as an agent would: linked by the client, checked, interpreted.
//!
//! Its maps are laid out once and stay from call to call, as an instance's do. Scratch and stack
//! start with rubbish in them, each read suspends the program, and it runs in
//! slices so small that it yields in the middle of everything.

use client::linker;
use ebpf::abi::{
    DPU_CRC32C, DPU_MEMCPY, DPU_READ, DPU_SIZE, HELPERS, MAP_DELETE_ELEM, MAP_LOOKUP_ELEM,
    MAP_UPDATE_ELEM,
};
use ebpf::limits::STACK_BYTES;
use ebpf::maps::{HashSeed, Keys, bytes_needed};
use ebpf::{
    EntryKind, HelperResult, HelperSpec, Host, Image, Map, MapIndex, MapShape, MapSpec, Memory,
    Outcome, Program, RegionId, Right, State, check_image, run,
};

use super::{Answer, Backend};

const EBADF: i64 = -9;
const EFAULT: i64 = -14;
const ERANGE: i64 = -34;

/// More than any of these programs needs for what the suites ask of it.
const INSTRUCTION_BUDGET: u64 = 1_000_000;
const SLICE: u32 = 100;
const RUBBISH: u8 = 0xa5;

/// Starts a shipped program in the interpreter.
pub(crate) fn start(name: &str) -> Box<dyn Backend> {
    let program = programs::find(name).expect("it is shipped");
    let image = linker::link(program.object)
        .expect("what is shipped links")
        .image;
    let maps = StoredMap::all(&Image::parse(&image).expect("the linker makes an image"));
    Box::new(Interpreted {
        image,
        maps,
        object: Vec::new(),
    })
}

/// A map, as it is between two calls.
struct StoredMap {
    spec: MapSpec,
    memory: Vec<u8>,
    /// Where in it the map begins: at a multiple of 8.
    start: usize,
}

impl StoredMap {
    fn all(image: &Image<'_>) -> Vec<StoredMap> {
        let laid_out = image.maps().map(|(spec, initial)| {
            let bytes = bytes_needed(&spec).expect("the linker makes maps that can be had");
            let memory = vec![RUBBISH; bytes + 7];
            let start = memory.as_ptr().align_offset(8);
            let mut map = StoredMap {
                spec,
                memory,
                start,
            };
            let seed = HashSeed(*b"a seed of a test");
            Map::new(&spec, initial, seed, &mut map.memory[start..]).expect("there is room");
            map
        });
        laid_out.collect()
    }
}

/// A program's image, its maps, and the object it reads.
struct Interpreted {
    image: Vec<u8>,
    maps: Vec<StoredMap>,
    object: Vec<u8>,
}

/// A read that the program waits for.
struct Pending {
    buffer: u64,
    start: usize,
    end: usize,
}

/// The helpers.
struct Dpu<'a> {
    object: &'a [u8],
    maps: Vec<Keys<'a>>,
    reads: u32,
    pending: Option<Pending>,
}

impl Dpu<'_> {
    fn read(&mut self, args: [u64; 5], memory: &Memory<'_>) -> HelperResult {
        let [number, offset, buffer, len, _] = args;
        self.reads += 1;
        let len = len as u32 as usize;
        if number as u32 != 0 {
            return HelperResult::Return(EBADF);
        }
        if !matches!(
            memory.locate(buffer, len, Right::Write),
            Ok((RegionId::Scratch, _))
        ) {
            return HelperResult::Return(EFAULT);
        }
        let end = offset
            .checked_add(len as u64)
            .filter(|&end| end <= self.object.len() as u64);
        let Some(end) = end else {
            return HelperResult::Return(ERANGE);
        };
        self.pending = Some(Pending {
            buffer,
            start: offset as usize,
            end: end as usize,
        });
        HelperResult::Wait
    }
}

impl<'a> Dpu<'a> {
    fn map(&mut self, handle: u64) -> (RegionId, &mut Keys<'a>) {
        let index = MapIndex::of_handle(handle).expect("a map was named");
        let keys = &mut self.maps[index.get() as usize];
        (RegionId::Map(index), keys)
    }

    fn lookup(&mut self, [map, key, ..]: [u64; 5], memory: &Memory<'_>) -> u64 {
        let (region, keys) = self.map(map);
        let key = memory.read(key, keys.shape().key_bytes());
        let found = keys.lookup(key.expect("a key"));
        found.map_or(0, |offset| Memory::address(region, offset))
    }

    fn update(&mut self, [map, key, value, flags, _]: [u64; 5], memory: &mut Memory<'_>) -> i64 {
        let (region, keys) = self.map(map);
        let key = memory.read(key, keys.shape().key_bytes());
        match keys.place(key.expect("a key"), flags) {
            Ok(offset) => {
                let place = Memory::address(region, offset);
                let bytes = keys.shape().value_bytes();
                memory.copy(place, value, bytes).expect("a value");
                0
            }
            Err(error) => error.errno().into(),
        }
    }

    fn delete(&mut self, [map, key, ..]: [u64; 5], memory: &Memory<'_>) -> i64 {
        let (_, keys) = self.map(map);
        let key = memory.read(key, keys.shape().key_bytes());
        match keys.delete(key.expect("a key")) {
            Ok(()) => 0,
            Err(error) => error.errno().into(),
        }
    }
}

/// CRC-32C, bit by bit.
fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!seed, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            crc >> 1 ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

impl Host for Dpu<'_> {
    fn helpers(&self) -> &[HelperSpec] {
        &HELPERS
    }

    fn call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult {
        match helper {
            DPU_READ => self.read(args, memory),
            DPU_SIZE => HelperResult::Return(self.object.len() as i64),
            DPU_MEMCPY => {
                let copied = memory.copy(args[0], args[1], args[2] as u32 as usize);
                HelperResult::Return(if copied.is_ok() { 0 } else { EFAULT })
            }
            DPU_CRC32C => {
                let bytes = memory.read(args[1], args[2] as u32 as usize);
                let crc = bytes.map(|bytes| i64::from(crc32c(args[0] as u32, bytes)));
                HelperResult::Return(crc.unwrap_or(EFAULT))
            }
            MAP_LOOKUP_ELEM => HelperResult::Return(self.lookup(args, memory).cast_signed()),
            MAP_UPDATE_ELEM => HelperResult::Return(self.update(args, memory)),
            MAP_DELETE_ELEM => HelperResult::Return(self.delete(args, memory)),
            _ => HelperResult::Unknown,
        }
    }
}

/// The bytes of `struct dpu_ctx` for a call.
fn context(args_len: usize, reply_max: usize) -> [u8; 64] {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&Memory::address(RegionId::Arguments, 0).to_le_bytes());
    bytes[8..16].copy_from_slice(&Memory::address(RegionId::Reply, 0).to_le_bytes());
    bytes[40..44].copy_from_slice(&(args_len as u32).to_le_bytes());
    bytes[44..48].copy_from_slice(&(reply_max as u32).to_le_bytes());
    bytes[52..56].copy_from_slice(&1_u32.to_le_bytes());
    bytes
}

impl Backend for Interpreted {
    fn set_object(&mut self, bytes: &[u8]) {
        self.object = bytes.to_vec();
    }

    fn call(&mut self, args: &[u8]) -> Answer {
        let image = Image::parse(&self.image).expect("the linker makes an image");
        let header = image.header();
        let slots: Vec<u64> = image.code().collect();
        let entry = image.entry(EntryKind::Call).expect("it has a dpu/call");
        let checked = check_image(&image, &slots, &HELPERS).expect("it passes the check");
        let program = Program::new(&slots, &checked, Memory::address(RegionId::Scratch, 0));

        let mut padded = args.to_vec();
        padded.resize(header.args_max as usize, 0);
        let mut reply = vec![0; header.reply_max as usize];
        let mut scratch = vec![RUBBISH; header.scratch_bytes as usize];
        let mut stack = vec![RUBBISH; STACK_BYTES];
        let context = context(args.len(), reply.len());
        let mut memory = Memory::new()
            .with_read(RegionId::Context, &context)
            .with_read(RegionId::Arguments, &padded)
            .with_write(RegionId::Reply, &mut reply)
            .with_write(RegionId::Scratch, &mut scratch)
            .with_write(RegionId::Stack, &mut stack);
        let mut maps = Vec::new();
        for (number, map) in self.maps.iter_mut().enumerate() {
            let shape = MapShape::of(&map.spec).expect("it was laid out");
            let memory_of_map = &mut map.memory[map.start..];
            let (values, behind) = shape.split(memory_of_map).expect("it was laid out");
            let region = RegionId::Map(MapIndex::new(number as u32).expect("few maps"));
            memory = if shape.programs_may_write() {
                memory.with_write(region, values)
            } else {
                memory.with_read(region, values)
            };
            maps.push(Keys::over(shape, behind));
        }
        let mut dpu = Dpu {
            object: &self.object,
            maps,
            reads: 0,
            pending: None,
        };
        let r1 = Memory::address(RegionId::Context, 0);
        let mut state = State::start(&program, entry, r1, 0, INSTRUCTION_BUDGET);
        let result = loop {
            match run(&program, &mut state, &mut memory, &mut dpu, SLICE) {
                Outcome::Exit { r0 } => break r0 as i32,
                Outcome::Yielded => {}
                Outcome::Waiting => {
                    let read = dpu.pending.take().expect("only reads wait");
                    let data = &dpu.object[read.start..read.end];
                    let buffer = memory
                        .write(read.buffer, data.len())
                        .expect("it was located");
                    buffer.copy_from_slice(data);
                    state.resume(0);
                }
                other => panic!("the program ended by {other:?}"),
            }
        };
        let reads = dpu.reads;
        reply.truncate(usize::try_from(result).unwrap_or(0));
        Answer {
            result,
            reads,
            reply,
        }
    }

    fn finish(self: Box<Self>) {}
}
