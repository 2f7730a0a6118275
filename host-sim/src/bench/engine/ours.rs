//! Outboard's engines, which run a program as the agent does: proved, and in slices.
#![allow(unsafe_code)] // It runs a proved program with what it was proved for.

use std::hint::black_box;
use std::time::Instant;

use client::linker;
use dpu_firmware::limits::SLICE_INSTRUCTIONS;
use ebpf::abi::{CONTEXT_BYTES, CONTEXT_LAYOUT, HELPERS, SIGNATURES};
use ebpf::fast::{DecodedStore, run_proved};
use ebpf::jit::{self, JitStore, table_for};
use ebpf::limits::{KEPT_MAX, STACK_BYTES};
use ebpf::verifier::{Environment, Kept, Verified, Verifier};
use ebpf::{
    EntryKind, Image, Isolation, Memory, NoHost, Outcome, RegionId, State, check_image, run,
};

use super::{Answer, Contender};
use crate::code;

/// Units of the meter that are enough for every workload.
const BUDGET: u64 = 10_000_000;

/// Slots of the longest workload; more would only fill the stack on the way to the heap.
const SLOTS_MAX: usize = 255;

/// Bytes of machine code that are enough for every workload.
const CODE_BYTES: usize = 1 << 16;

/// A program and its proof.
pub(super) struct Proved {
    verified: Box<Verified>,
    scratch_bytes: usize,
}

impl Proved {
    /// Takes an object the way that an upload goes: it is linked, checked and proved.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(object: &[u8]) -> Result<Proved, String> {
        let linked = linker::link(object).map_err(|error| error.to_string())?;
        let image = Image::parse(&linked.image).map_err(|error| error.to_string())?;
        let slots: Vec<u64> = image.code().collect();
        let checked = check_image(&image, &slots, &HELPERS).map_err(|error| error.to_string())?;
        let environment = Environment::new(image.header(), CONTEXT_LAYOUT, &SIGNATURES);
        let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
        let verified = verifier
            .verify(&slots, &checked, image.entries(), environment)
            .map_err(|refusal| refusal.to_string())?;
        Ok(Proved {
            verified: Box::new(verified.clone()),
            scratch_bytes: image.header().scratch_bytes as usize,
        })
    }

    /// Accesses that are proved, and those that are guarded.
    pub(super) fn accesses(&self) -> (u32, u32) {
        (self.verified.proved(), self.verified.guarded())
    }
}

/// The memory of an invocation.
struct Regions {
    context: [u8; CONTEXT_BYTES],
    args: [u8; 8],
    reply: [u8; 8],
    scratch: Vec<u8>,
    stack: Vec<u8>,
}

impl Regions {
    fn new(scratch_bytes: usize) -> Regions {
        let mut context = [0; CONTEXT_BYTES];
        for (at, region) in [(0, RegionId::Arguments), (8, RegionId::Reply)] {
            let address = Memory::address(region, 0).to_le_bytes();
            context[at..at + 8].copy_from_slice(&address);
        }
        context[40] = 8;
        context[44] = 8;
        Regions {
            context,
            args: [0; 8],
            reply: [0; 8],
            scratch: vec![0; scratch_bytes],
            stack: vec![0; STACK_BYTES],
        }
    }

    fn memory(&mut self) -> Memory<'_> {
        Memory::new()
            .with_read(RegionId::Context, &self.context)
            .with_read(RegionId::Arguments, &self.args)
            .with_write(RegionId::Reply, &mut self.reply)
            .with_write(RegionId::Scratch, &mut self.scratch)
            .with_write(RegionId::Stack, &mut self.stack)
    }
}

/// A contender of an engine that runs a slice.
fn contender(
    who: &'static str,
    proved: &Proved,
    mut slice: impl FnMut(&Verified, &mut State, &mut Memory<'_>) -> Outcome + 'static,
) -> Contender {
    let verified = proved.verified.clone();
    let mut regions = Regions::new(proved.scratch_bytes);
    Contender::new(who, move |bytes, key| {
        regions.scratch[..bytes.len()].copy_from_slice(bytes);
        regions.args = key.to_le_bytes();
        let started = Instant::now();
        let mut memory = regions.memory();
        let state = State::start_verified(&verified, EntryKind::Call, BUDGET);
        let mut state = state.ok_or("there is no entry for a call")?;
        let outcome = loop {
            let outcome = slice(black_box(&verified), &mut state, &mut memory);
            if outcome != Outcome::Yielded {
                break outcome;
            }
        };
        let took = started.elapsed();
        match outcome {
            Outcome::Exit { r0: 8 } => Ok(Answer {
                result: u64::from_le_bytes(regions.reply),
                took,
            }),
            outcome => Err(outcome.to_string()),
        }
    })
}

/// The interpreter that checks every access.
pub(super) fn checked(proved: &Proved) -> Contender {
    contender("interpreter-checked", proved, |verified, state, memory| {
        let program = verified.program();
        run(&program, state, memory, &mut NoHost, SLICE_INSTRUCTIONS)
    })
}

/// The interpreter of the decoded form.
///
/// # Errors
/// The program cannot be decoded.
pub(super) fn interpreter(
    who: &'static str,
    isolation: Isolation,
    proved: &Proved,
) -> Result<Contender, String> {
    let mut store = Box::new(DecodedStore::<{ SLOTS_MAX + 1 }>::new());
    store
        .decode(
            &proved.verified.program(),
            proved.verified.plan(),
            isolation,
        )
        .map_err(|error| error.to_string())?;
    Ok(contender(who, proved, move |_, state, memory| {
        let Some(decoded) = store.get() else {
            return Outcome::Waiting;
        };
        // SAFETY: it was decoded with the plan of its proof; the state was started by the proof,
        // and the memory has the regions that the image declares.
        unsafe { run_proved(&decoded, state, memory, &mut NoHost, SLICE_INSTRUCTIONS) }
    }))
}

/// Machine code.
///
/// # Errors
/// There is no memory for it, or the program cannot be compiled.
pub(super) fn jit(
    who: &'static str,
    isolation: Isolation,
    proved: &Proved,
) -> Result<Contender, String> {
    let memory = code::mapped(CODE_BYTES).ok_or("the system gives no memory for code")?;
    let mut store = Box::new(JitStore::<_, { table_for(SLOTS_MAX) }>::new(memory));
    store
        .compile(
            &proved.verified.program(),
            proved.verified.plan(),
            isolation,
        )
        .map_err(|error| error.to_string())?;
    Ok(contender(who, proved, move |_, state, memory| {
        let Some(compiled) = store.get() else {
            return Outcome::Waiting;
        };
        // SAFETY: as of the interpreter.
        unsafe { jit::run_proved(&compiled, state, memory, &mut NoHost, SLICE_INSTRUCTIONS) }
    }))
}
