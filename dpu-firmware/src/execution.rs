//! Execution: where proof and engine meet, and the one place that vouches for both.
//!
//! An engine that leaves out checks may only run what the verifier proved, and only in the
//! circumstances that it was proved for. These are kept together here:
//!
//! | the proof counts on | kept by |
//! |---|---|
//! | this very code | a [`LoadedProgram`] is made of a [`Verified`] alone, which owns its code |
//! | entry, r1 and r2 as at a start | [`State::restart_verified`], which also notes the program |
//! | the context's pointers | [`Execution`] writes the context and lends it for reading only |
//! | the stack as the program left it | [`Execution`] owns it |
//! | regions as long as declared, with their rights | [`Execution::run`] compares |
//! | helpers write and return what [`SIGNATURES`](crate::helpers::SIGNATURES) says | a test of [`HelperHost`], which is the only host; [`Execution::resume`] clamps |
//!
//! Scratch, reply and maps need no such care: whatever is in them, the proof takes every byte of
//! them for any number. The values of maps are as long as declared wherever they come from:
//! [`ProgramMaps::open`](crate::maps::ProgramMaps::open) makes them of the same shapes as the
//! environment has, which [`Execution::run`] compares too.
#![allow(unsafe_code)] // It runs proved programs, for the reasons above.

use alloc::boxed::Box;
use core::fmt;
use core::ops::DerefMut;

use ebpf::abi::CONTEXT_BYTES;
use ebpf::fast::DecodeError;
#[cfg(feature = "interpreter")]
use ebpf::fast::{DecodedStore, run_proved};
use ebpf::jit::{self, JitError, JitStore, Job, table_for};
use ebpf::limits::{CODE_SLOTS_MAX, STACK_BYTES};
use ebpf::verifier::{Environment, Kept, ProofId, Verified, Verifier};
use ebpf::{EntryKind, Fault, FaultKind, Isolation, Memory, Outcome, RegionId, State, run_planned};

use crate::code::{Code, MapCode};
use crate::helpers::HelperHost;
use crate::maps::{MapView, put_values};

/// The greatest error number a helper returns.
const ERRNO_MAX: i64 = 4095;

#[cfg(feature = "interpreter")]
const OPS: usize = ebpf::Decoded::ops_for(CODE_SLOTS_MAX);
const ENTRIES: usize = table_for(CODE_SLOTS_MAX);

/// Bytes that the form of a program takes up at most, with so many of machine code.
#[must_use]
pub const fn form_bytes_max(code_bytes: usize) -> usize {
    #[cfg(feature = "interpreter")]
    let decoded = size_of::<DecodedStore<OPS>>();
    #[cfg(not(feature = "interpreter"))]
    let decoded = 0;
    let compiled = size_of::<JitStore<Code, ENTRIES>>() + code_bytes;
    if decoded > compiled {
        decoded
    } else {
        compiled
    }
}

/// How an agent runs programs.
#[derive(Debug, Clone, Copy)]
pub enum EngineKind {
    /// The interpreter that checks every access, held to the proof: the referee.
    Checked,
    /// The interpreter of a decoded form, which checks only what was not proved.
    #[cfg(feature = "interpreter")]
    Interpreter,
    /// Machine code, in memory of the platform's.
    Jit(MapCode),
}

impl EngineKind {
    /// Its name, as engines call themselves.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            EngineKind::Checked => "interpreter-checked",
            #[cfg(feature = "interpreter")]
            EngineKind::Interpreter => "interpreter",
            EngineKind::Jit(_) => "jit",
        }
    }
}

/// How programs are run.
#[derive(Debug, Clone, Copy)]
pub struct ExecutionConfig {
    /// The engine.
    pub engine: EngineKind,
    /// Whether tenants must be kept from spying on each other by speculation; not where there is
    /// only one.
    pub isolation: Isolation,
}

impl Default for ExecutionConfig {
    /// The fastest engine that every machine has, among tenants.
    fn default() -> Self {
        ExecutionConfig {
            #[cfg(feature = "interpreter")]
            engine: EngineKind::Interpreter,
            #[cfg(not(feature = "interpreter"))]
            engine: EngineKind::Checked,
            isolation: Isolation::Shared,
        }
    }
}

impl fmt::Display for ExecutionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let masks = match self.isolation {
            Isolation::Shared => "masked against speculation, since tenants share the DPU",
            Isolation::Alone => "not masked against speculation: all tenants trust each other",
        };
        write!(f, "programs run in engine {}, {masks}", self.engine.name())
    }
}

/// A program in the form that an engine takes.
enum Form {
    Checked,
    #[cfg(feature = "interpreter")]
    Decoded(Box<DecodedStore<OPS>>),
    Compiled(Box<JitStore<Code, ENTRIES>>),
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Checked => "Checked",
            #[cfg(feature = "interpreter")]
            Form::Decoded(_) => "Decoded",
            Form::Compiled(_) => "Compiled",
        })
    }
}

/// Room for one program: what was proved, and the form in which it runs.
#[derive(Debug)]
pub struct LoadedProgram {
    verified: Box<Verified>,
    form: Form,
}

impl LoadedProgram {
    /// Room without a program, for that engine. It takes all memory that a program can need, with
    /// `code_bytes` for machine code; none if the platform has no such memory.
    #[must_use]
    pub fn empty(engine: EngineKind, code_bytes: usize) -> Option<LoadedProgram> {
        Some(LoadedProgram {
            verified: Box::new(Verified::EMPTY),
            form: match engine {
                EngineKind::Checked => Form::Checked,
                #[cfg(feature = "interpreter")]
                EngineKind::Interpreter => Form::Decoded(Box::default()),
                EngineKind::Jit(map) => {
                    Form::Compiled(Box::new(JitStore::new(Code(map(code_bytes)?))))
                }
            },
        })
    }

    /// What was proved.
    #[must_use]
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Puts what the verifier has proved in place of the program that was there. It can be run when
    /// [`LoadedProgram::translate`] says so.
    ///
    /// # Errors
    /// What the engine has against the program.
    pub fn load<K>(
        &mut self,
        verifier: &mut Verifier<K>,
        isolation: Isolation,
        translation: &mut Translation,
    ) -> Result<(), Unfit>
    where
        K: DerefMut<Target = [Kept]>,
    {
        if !verifier.take(&mut self.verified) {
            return Err(Unfit::NotProved);
        }
        let program = self.verified.program();
        match &mut self.form {
            Form::Checked => {}
            #[cfg(feature = "interpreter")]
            Form::Decoded(store) => store.decode(&program, self.verified.plan(), isolation)?,
            Form::Compiled(store) => {
                translation.0 = Some((self.verified.id(), store.begin(&program, isolation)?));
            }
        }
        Ok(())
    }

    /// Goes on with what the engine has to do before it can run the program, for so many of its
    /// slots. True when all is done.
    ///
    /// # Errors
    /// What the engine has against the program.
    pub fn translate(&mut self, translation: &mut Translation, slots: u32) -> Result<bool, Unfit> {
        let Form::Compiled(store) = &mut self.form else {
            return Ok(true);
        };
        let job = match &mut translation.0 {
            Some((proof, job)) if *proof == self.verified.id() => job,
            _ => return Err(Unfit::NotProved),
        };
        let (program, plan) = (self.verified.program(), self.verified.plan());
        // SAFETY: the verifier gives each proof away once, so it was here that `load` began the
        // job with this proof. Its program and plan are replaced by nothing but `load`, by which
        // the proof is another one, and the store is touched nowhere else.
        let done = unsafe { store.step(job, &program, plan, slots) };
        if done != Ok(false) {
            translation.0 = None;
        }
        Ok(done?)
    }
}

/// What is kept while a program is translated; one is enough for all that are so one after the other.
pub struct Translation(Option<(ProofId, Job)>);

impl Translation {
    /// None is under way.
    pub const IDLE: Translation = Translation(None);
}

impl fmt::Debug for Translation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proof = self.0.as_ref().map(|(proof, _)| proof);
        f.debug_tuple("Translation").field(&proof).finish()
    }
}

/// Why an engine cannot run a program that was proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It was not.
    NotProved,
    /// It cannot be decoded.
    Decode(DecodeError),
    /// It cannot be compiled.
    Compile(JitError),
}

impl From<DecodeError> for Unfit {
    fn from(why: DecodeError) -> Unfit {
        Unfit::Decode(why)
    }
}

impl From<JitError> for Unfit {
    fn from(why: JitError) -> Unfit {
        Unfit::Compile(why)
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfit::NotProved => f.write_str("it was not proved"),
            Unfit::Decode(why) => why.fmt(f),
            Unfit::Compile(why) => why.fmt(f),
        }
    }
}

/// The memory that a run is lent.
#[derive(Debug)]
pub struct Lent<'m> {
    /// The caller's arguments, padded.
    pub args: &'m [u8],
    /// The reply being made.
    pub reply: &'m mut [u8],
    /// Scratch.
    pub scratch: &'m mut [u8],
}

impl Lent<'_> {
    /// True if a program proved for `environment` may be run with it. Lengths must be as declared: a
    /// guard that lets an access through tells the proof where it was, so more is as bad as less.
    fn is_as_declared(&self, environment: &Environment) -> bool {
        let exact = |bytes: &[u8], declared: u32| bytes.len() == declared as usize;
        exact(self.args, environment.args_bytes)
            && exact(self.reply, environment.reply_bytes)
            && exact(self.scratch, environment.scratch_bytes)
    }
}

/// True if the maps of an instance are those that a program was proved with, and there.
fn are_declared(maps: &[MapView<'_>], environment: &Environment) -> bool {
    let mut maps = maps.iter();
    let mut declared = environment.maps.iter().flatten();
    declared.all(|shape| maps.next().is_some_and(|map| map.is_whole(shape)))
}

/// One run of a program, from its entry to its end.
#[derive(Debug)]
pub struct Execution {
    /// None before the first start.
    state: Option<State>,
    kind: EntryKind,
    context: [u8; CONTEXT_BYTES],
    stack: [u8; STACK_BYTES],
}

impl Execution {
    /// One that was not started.
    pub const IDLE: Execution = Execution {
        state: None,
        kind: EntryKind::Call,
        context: [0; CONTEXT_BYTES],
        stack: [0; STACK_BYTES],
    };

    /// Starts anew: `args_bytes` is how many bytes the caller sent, `objects` how many there are.
    /// False if the program has no such entry.
    pub fn start(
        &mut self,
        program: &LoadedProgram,
        kind: EntryKind,
        args_bytes: usize,
        objects: u32,
        instruction_budget: u64,
    ) -> bool {
        let verified = &program.verified;
        let reply_max = verified.environment().reply_bytes;
        self.kind = kind;
        self.context = context_bytes(args_bytes, reply_max, objects);
        self.stack.fill(0);
        // Where it lies: a copy would have to wait for what was just written.
        let restarted = self
            .state
            .as_mut()
            .is_some_and(|state| state.restart_verified(verified, kind, instruction_budget));
        if !restarted {
            self.state = State::start_verified(verified, kind, instruction_budget);
        }
        self.state.is_some()
    }

    /// Runs one slice.
    ///
    /// What was not started, was started for another program, or is lent other memory than that
    /// program declares, is not run: it ends in a fault that says so.
    pub fn run(
        &mut self,
        program: &LoadedProgram,
        lent: Lent<'_>,
        host: &mut HelperHost<'_, '_>,
        slice: u32,
    ) -> Outcome {
        let verified = &*program.verified;
        let Some(state) = &mut self.state else {
            return unfit("it was not started");
        };
        if state.proof() != verified.id() {
            return unfit("it was started for another program");
        }
        let environment = verified.environment();
        if !lent.is_as_declared(environment) || !are_declared(host.maps, environment) {
            return unfit("it was lent other memory than it declares");
        }
        let mut memory = Memory::new();
        memory.put_read(RegionId::Context, &self.context);
        memory.put_read(RegionId::Arguments, lent.args);
        memory.put_write(RegionId::Reply, lent.reply);
        memory.put_write(RegionId::Scratch, lent.scratch);
        memory.put_write(RegionId::Stack, &mut self.stack);
        put_values(&mut memory, host.maps);
        debug_assert!(
            environment.is_met_by(self.kind, &mut memory),
            "what was looked at above is all that can differ"
        );
        match &program.form {
            Form::Checked => {
                let (program, plan) = (verified.program(), verified.plan());
                run_planned(&program, plan, state, &mut memory, host, slice)
            }
            #[cfg(feature = "interpreter")]
            Form::Decoded(store) => match store.get() {
                // SAFETY: the store holds what `load` decoded of the verified program, with its
                // own plan; the state was started for that program at one of its entries, and
                // nobody else can run it or reach its stack or context; the memory is all that
                // the environment names. So it is as the table at the top says.
                Some(decoded) => unsafe { run_proved(&decoded, state, &mut memory, host, slice) },
                None => unfit("it was not decoded"),
            },
            Form::Compiled(store) => match store.get() {
                // SAFETY: as above, with what was compiled.
                Some(code) => unsafe { jit::run_proved(&code, state, &mut memory, host, slice) },
                None => unfit("it was not compiled"),
            },
        }
    }

    /// Ends the wait for the drive: 0, or a negative error number, is what the helper returns.
    pub fn resume(&mut self, result: i64) {
        if let Some(state) = &mut self.state {
            state.resume(result.clamp(-ERRNO_MAX, 0));
        }
    }

    /// Meter units spent so far.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.state.as_ref().map_or(0, State::spent)
    }
}

/// The end of a run that cannot be.
#[cold]
const fn unfit(why: &'static str) -> Outcome {
    let kind = FaultKind::Engine { why };
    Outcome::Fault(Fault { pc: 0, kind })
}

/// `struct dpu_ctx` of `programs/include/dpu.h`, for a call with so many bytes of arguments, room
/// for so many bytes of reply, and so many objects.
fn context_bytes(args_bytes: usize, reply_max: u32, objects: u32) -> [u8; CONTEXT_BYTES] {
    let mut bytes = [0; CONTEXT_BYTES];
    let address = |region| Memory::address(region, 0).to_le_bytes();
    bytes[0..8].copy_from_slice(&address(RegionId::Arguments));
    bytes[8..16].copy_from_slice(&address(RegionId::Reply));
    bytes[40..44].copy_from_slice(&(args_bytes as u32).to_le_bytes());
    bytes[44..48].copy_from_slice(&reply_max.to_le_bytes());
    bytes[52..56].copy_from_slice(&objects.to_le_bytes());
    bytes
}
