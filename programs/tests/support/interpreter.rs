//! Runs a shipped object as an agent would: linked by the client, checked, interpreted.
//!
//! Scratch and stack start with rubbish in them, each read suspends the program, and it runs in
//! slices so small that it yields in the middle of everything.

use client::linker;
use ebpf::limits::STACK_BYTES;
use ebpf::{
    EntryKind, HelperResult, HelperSpec, Host, Image, Memory, Outcome, Program, RegionId, Right,
    State, check, run,
};

use super::{Answer, Backend};

const DPU_READ: u32 = 0x1000;
const DPU_SIZE: u32 = 0x1008;
const DPU_MEMCPY: u32 = 0x100a;

const HELPERS: &[HelperSpec] = &[
    HelperSpec {
        id: DPU_READ,
        name: "dpu_read",
        length_arg: Some(3),
    },
    HelperSpec {
        id: DPU_SIZE,
        name: "dpu_size",
        length_arg: None,
    },
    HelperSpec {
        id: DPU_MEMCPY,
        name: "dpu_memcpy",
        length_arg: Some(2),
    },
];

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
    Box::new(Interpreted {
        image,
        object: Vec::new(),
    })
}

/// A program's image, and the object it reads.
struct Interpreted {
    image: Vec<u8>,
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

impl Host for Dpu<'_> {
    fn helpers(&self) -> &[HelperSpec] {
        HELPERS
    }

    fn call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult {
        match helper {
            DPU_READ => self.read(args, memory),
            DPU_SIZE => HelperResult::Return(self.object.len() as i64),
            DPU_MEMCPY => {
                let copied = memory.copy(args[0], args[1], args[2] as u32 as usize);
                HelperResult::Return(if copied.is_ok() { 0 } else { EFAULT })
            }
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
        let checked = check(&slots, &[entry], HELPERS).expect("it passes the check");
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
        let mut dpu = Dpu {
            object: &self.object,
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
