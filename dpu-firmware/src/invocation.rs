//! Invocations: one run of a program, from admission to its result.
//!
//! An invocation owns all it can ever need before it starts: engine state, stack, argument
//! copy, a scratch slab, a reply slab and one bounce page. It runs in slices; when a helper
//! asks for the drive it waits, its scratch lent to the commands, and goes on when the last
//! of them is back. So while it waits no other code can even name its scratch.
//!
//! A read whose ends lie on blocks goes straight from the drive into scratch. The ragged
//! ends of any other read go through the bounce page, one block-covering command at a time,
//! and are copied once nothing of the scratch is lent.

use core::ops::{Index, IndexMut, Range};

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use ebpf::{EntryKind, Fault, Outcome};
use nvme_model::driver::{Lba, Operation};
use nvme_model::memory::{LentSlab, Page, PageList, Slab, SlabLoan, Transfer, two_slabs_mut};
use nvme_model::seam::{Dma, PAGE_BYTES};
use protocol::limits::ARGS_BYTES_MAX;

use crate::execution::{Execution, Lent, LoadedProgram};
use crate::helpers::{HelperHost, PlannedRead, ReadPlan, errno};
use crate::limits::VECTOR_MAX;
use crate::maps::MapView;
use crate::objects::Object;

/// Which slot of the invocation pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvocationIndex(pub(crate) u16);

/// Scratch memory, by who may touch it.
#[derive(Debug, Default)]
enum Scratch {
    /// The program has none.
    #[default]
    None,
    /// The CPU's: the program may run.
    Here(Slab),
    /// Some of it is at the drive: the program may not.
    Lent(LentSlab),
}

/// One range being read.
#[derive(Debug, Clone, Copy)]
struct Part {
    plan: PlannedRead,
    /// Bytes of the range that were asked for so far.
    asked_bytes: u32,
    /// A command for it is out. A range is read by one command at a time.
    out: bool,
}

/// Bytes in the bounce page that wait to be copied into scratch.
#[derive(Debug, Clone, Copy)]
struct Bounced {
    from: usize,
    to: usize,
    bytes: usize,
}

/// A command that an invocation wants to send.
#[derive(Debug)]
pub struct Wanted {
    /// What to do.
    pub operation: Operation,
    /// With which memory.
    pub transfer: Transfer,
    /// Which of its parts it serves.
    pub part: u8,
}

/// How far the reading of a waiting invocation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Commands are out; their completions will tell.
    Waits,
    /// All is read, or reading failed: the program may go on.
    Complete {
        /// 0 or a negative error number: what the helper returns.
        result: i64,
    },
    /// The read budget is spent and nothing is out any more.
    OutOfReads,
    /// The drive is lost and the driver keeps scratch from it for good: there is nothing to go
    /// on with.
    Lost,
}

/// One run of a program.
#[derive(Debug)]
pub struct Invocation {
    /// Device reads made.
    pub reads: u32,
    args_max: usize,
    reply_max: usize,
    scratch_bytes: usize,
    read_budget: u32,
    random: u64,
    scratch: Scratch,
    reply: Option<Slab>,
    bounce: Option<Page>,
    bounced: Option<Bounced>,
    parts: heapless::Vec<Part, VECTOR_MAX>,
    plan: ReadPlan,
    out: u8,
    failed: Option<i64>,
    over_budget: bool,
}

/// What an invocation is given to start with.
#[derive(Debug)]
pub struct Start {
    /// Declared by the image, bytes.
    pub args_max: usize,
    /// Declared by the image, bytes.
    pub reply_max: usize,
    /// Declared by the image, bytes.
    pub scratch_bytes: usize,
    /// The part of scratch that is zeroed each time.
    pub scratch_zero: Range<usize>,
    /// How many objects the program may name.
    pub objects: u32,
    /// Instructions it may spend.
    pub instruction_budget: u64,
    /// Device reads it may make.
    pub read_budget: u32,
    /// Where it starts.
    pub entry: EntryKind,
    /// Seed of its random numbers.
    pub seed: u64,
    /// Scratch, and whether it must be cleared.
    pub scratch: Option<(Slab, bool)>,
    /// Reply, and whether it must be cleared.
    pub reply: Option<(Slab, bool)>,
    /// The bounce page.
    pub bounce: Page,
}

/// All that an invocation held.
#[derive(Debug)]
pub struct Held {
    /// Its scratch.
    pub scratch: Option<Slab>,
    /// Its bounce page.
    pub bounce: Option<Page>,
}

impl Invocation {
    /// Whether commands of it are at the drive.
    #[must_use]
    pub const fn is_out(&self) -> bool {
        self.out > 0
    }

    /// Whether it may want another command: what it reads is not all asked for.
    #[must_use]
    pub fn wants(&self) -> bool {
        self.failed.is_none()
            && self
                .parts
                .iter()
                .any(|it| it.asked_bytes < it.plan.placed.length_bytes)
    }

    /// The drive is out of service: what it reads fails.
    pub const fn fail(&mut self) {
        self.failed = Some(-errno::EIO);
    }

    /// The longest reply it may make, bytes.
    #[must_use]
    pub const fn reply_max(&self) -> usize {
        self.reply_max
    }

    /// Takes its reply memory, to send from or to give back.
    pub fn take_reply(&mut self) -> Option<Slab> {
        self.reply.take()
    }

    /// Begins to read what a helper asked for.
    fn begin_reading(&mut self) {
        self.parts.clear();
        self.failed = None;
        self.over_budget = false;
        for plan in &self.plan {
            let _ = self.parts.push(Part {
                plan: *plan,
                asked_bytes: 0,
                out: false,
            });
        }
        self.scratch = match core::mem::take(&mut self.scratch) {
            Scratch::Here(slab) => Scratch::Lent(slab.lend()),
            other => other,
        };
    }

    /// The next command it wants at the drive, or `None` where it has to wait for some that
    /// are out, or is done. `transfer_bytes_max` bounds one command.
    pub fn next_wanted(&mut self, transfer_bytes_max: u32) -> Option<Wanted> {
        if self.failed.is_some() || self.over_budget || self.bounced.is_some() {
            return None;
        }
        for index in 0..self.parts.len() {
            let part = self.parts[index];
            if part.out || part.asked_bytes == part.plan.placed.length_bytes {
                continue;
            }
            if self.reads == self.read_budget {
                self.over_budget = true;
                return None;
            }
            if let Some((operation, transfer, asked)) = self.cut(&part, transfer_bytes_max) {
                let part = &mut self.parts[index];
                part.asked_bytes += asked;
                part.out = true;
                self.out += 1;
                self.reads += 1;
                return Some(Wanted {
                    operation,
                    transfer,
                    part: index as u8,
                });
            }
        }
        None
    }

    /// Cuts the next command off a range: whole blocks straight into scratch where the
    /// range begins on a block, else the covering block through the bounce page.
    fn cut(&mut self, part: &Part, transfer_bytes_max: u32) -> Option<(Operation, Transfer, u32)> {
        let placed = part.plan.placed;
        let block = placed.covering_bytes / placed.blocks.count.max(1);
        let at = placed.skip_bytes + part.asked_bytes;
        let left = placed.length_bytes - part.asked_bytes;
        let lba = Lba(placed.blocks.lba.0 + u64::from(at / block));
        let into = part.plan.scratch_offset + part.asked_bytes;
        let read = |blocks| Operation::Read {
            namespace: placed.blocks.namespace,
            lba,
            blocks,
        };
        if at.is_multiple_of(block) && left >= block && into.is_multiple_of(4) {
            let bytes = (left.min(transfer_bytes_max) / block).max(1) * block;
            let Scratch::Lent(lent) = &mut self.scratch else {
                return None;
            };
            let loan = lent.loan(into as usize, bytes as usize)?;
            return Some((read(bytes / block), Transfer::Slab(loan), bytes));
        }
        let skip = at % block;
        let bytes = left.min(PAGE_BYTES as u32 / block * block - skip);
        let blocks = (skip + bytes).div_ceil(block);
        let mut pages = PageList::new();
        pages.push(self.bounce.take()?).ok()?;
        let transfer = Transfer::Pages {
            pages,
            offset: 0,
            bytes: blocks * block,
        };
        self.bounced = Some(Bounced {
            from: skip as usize,
            to: into as usize,
            bytes: bytes as usize,
        });
        Some((read(blocks), transfer, bytes))
    }

    /// The drive would not take a command now: it is as if it had not been wanted.
    pub fn unwant(&mut self, wanted_part: u8, transfer: Transfer) {
        let bytes = match &transfer {
            Transfer::Slab(loan) => loan.bytes(),
            _ => self
                .bounced
                .take()
                .map_or(0, |bounced| bounced.bytes as u32),
        };
        self.reads -= 1;
        if let Some(part) = self.parts.get_mut(usize::from(wanted_part)) {
            part.asked_bytes -= bytes;
        }
        self.take_back(wanted_part, transfer);
    }

    /// A command came back.
    pub fn completed(&mut self, part: u8, transfer: Transfer, ok: bool) {
        if !ok {
            self.failed = Some(-errno::EIO);
            if matches!(transfer, Transfer::Pages { .. }) {
                self.bounced = None;
            }
        }
        self.take_back(part, transfer);
    }

    fn take_back(&mut self, part: u8, transfer: Transfer) {
        self.out -= 1;
        if let Some(part) = self.parts.get_mut(usize::from(part)) {
            part.out = false;
        }
        match transfer {
            Transfer::Slab(loan) => self.give_back(loan),
            Transfer::Pages { mut pages, .. } => self.bounce = pages.pop(),
            Transfer::None => {}
        }
    }

    fn give_back(&mut self, loan: SlabLoan) {
        if let Scratch::Lent(lent) = &mut self.scratch {
            lent.give_back(loan);
        }
    }

    /// With nothing out: copies what was bounced, and says whether the program may go on, and with
    /// what.
    fn settle<D: Dma>(&mut self, dma: &mut D) -> Reading {
        if self.out > 0 {
            return Reading::Waits;
        }
        self.scratch = match core::mem::take(&mut self.scratch) {
            Scratch::Lent(lent) => match lent.reclaim() {
                Ok(slab) => Scratch::Here(slab),
                Err(lent) => Scratch::Lent(lent),
            },
            other => other,
        };
        if matches!(self.scratch, Scratch::Lent(_)) {
            return Reading::Lost;
        }
        if let Some(bounced) = self.bounced.take() {
            self.copy_bounced(bounced, dma);
        }
        if self.over_budget {
            return Reading::OutOfReads;
        }
        let all = self
            .parts
            .iter()
            .all(|it| it.asked_bytes == it.plan.placed.length_bytes);
        if all || self.failed.is_some() {
            return Reading::Complete {
                result: self.failed.unwrap_or(0),
            };
        }
        self.scratch = match core::mem::take(&mut self.scratch) {
            Scratch::Here(slab) => Scratch::Lent(slab.lend()),
            other => other,
        };
        Reading::Waits
    }

    fn copy_bounced<D: Dma>(&mut self, bounced: Bounced, dma: &mut D) {
        let (Scratch::Here(slab), Some(page)) = (&mut self.scratch, &mut self.bounce) else {
            return;
        };
        // By way of the stack: two places of one arena cannot be borrowed at once here.
        let mut copy = [0; PAGE_BYTES];
        let from = bounced.from..bounced.from + bounced.bytes;
        let to = bounced.to..bounced.to + bounced.bytes;
        let (Some(source), Some(between)) =
            (page.bytes(dma).get(from), copy.get_mut(..bounced.bytes))
        else {
            return;
        };
        between.copy_from_slice(source);
        if let Some(target) = slab.bytes_mut(dma).get_mut(to) {
            target.copy_from_slice(between);
        }
    }

    /// Frees what it holds, the reply memory apart. Nothing of it may be out.
    fn release(&mut self) -> Held {
        debug_assert_eq!(self.out, 0);
        let scratch = match core::mem::take(&mut self.scratch) {
            Scratch::Here(slab) => Some(slab),
            Scratch::Lent(lent) => lent.reclaim().ok(),
            Scratch::None => None,
        };
        Held {
            scratch,
            bounce: self.bounce.take(),
        }
    }
}

/// What an instance has for its invocations to use.
#[derive(Debug)]
pub struct Attached<'a, 'm> {
    /// Its objects by number; `None` where one was closed since.
    pub objects: &'a [Option<Object>],
    /// Its maps by number.
    pub maps: &'a mut [MapView<'m>],
}

/// How a slice ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ran {
    /// The program returned.
    Exit(i32),
    /// A helper waits for the drive.
    WantsDrive,
    /// The slice is used up.
    Yielded,
    /// The instruction budget is.
    OutOfInstructions {
        /// Where.
        pc: u32,
    },
    /// It did what it may not.
    Fault(Fault),
}

/// The pool of invocations.
#[derive(Debug)]
pub struct Invocations {
    slots: Box<[Option<Invocation>]>,
    executions: Box<[Execution]>,
    args: Box<[[u8; ARGS_BYTES_MAX as usize]]>,
    free: Box<[u16]>,
    free_count: usize,
    least_free: usize,
}

impl Invocations {
    /// A pool of `capacity` invocations, at most 65 535.
    #[must_use]
    pub fn new(capacity: usize) -> Invocations {
        let free: Vec<u16> = (0..capacity as u16).rev().collect();
        Invocations {
            slots: (0..capacity).map(|_| None).collect(),
            executions: (0..capacity).map(|_| Execution::IDLE).collect(),
            args: vec![[0; ARGS_BYTES_MAX as usize]; capacity].into_boxed_slice(),
            free: free.into_boxed_slice(),
            free_count: capacity,
            least_free: capacity,
        }
    }

    /// How many can be had.
    #[must_use]
    pub const fn free(&self) -> usize {
        self.free_count
    }

    /// Starts an invocation; `None` where none is free (look with [`Invocations::free`] before
    /// taking anything for it), or the program has no such entry.
    pub fn start<D: Dma>(
        &mut self,
        start: Start,
        args: &[u8],
        program: &LoadedProgram,
        dma: &mut D,
    ) -> Option<InvocationIndex> {
        let last_free = self.free_count.checked_sub(1)?;
        let number = self.free[last_free];
        let index = usize::from(number);
        let args_bytes = fill_args(&mut self.args[index], start.args_max, args);
        let execution = &mut self.executions[index];
        let budget = start.instruction_budget;
        if !execution.start(program, start.entry, args_bytes, start.objects, budget) {
            return None;
        }
        self.free_count = last_free;
        self.least_free = self.least_free.min(last_free);
        let scratch = match start.scratch {
            Some((slab, clear)) => {
                let part = if clear {
                    0..slab.len_bytes()
                } else {
                    start.scratch_zero
                };
                Scratch::Here(cleared(slab, part, dma))
            }
            None => Scratch::None,
        };
        let reply = start.reply.map(|(slab, clear)| {
            let part = if clear { 0..slab.len_bytes() } else { 0..0 };
            cleared(slab, part, dma)
        });
        self.slots[index] = Some(Invocation {
            reads: 0,
            args_max: start.args_max,
            reply_max: start.reply_max,
            scratch_bytes: start.scratch_bytes,
            read_budget: start.read_budget,
            random: start.seed | 1,
            scratch,
            reply,
            bounce: Some(start.bounce),
            bounced: None,
            parts: heapless::Vec::new(),
            plan: ReadPlan::new(),
            out: 0,
            failed: None,
            over_budget: false,
        });
        Some(InvocationIndex(number))
    }

    /// Runs one slice.
    pub fn run<D: Dma>(
        &mut self,
        index: InvocationIndex,
        program: &LoadedProgram,
        attached: Attached<'_, '_>,
        slice: u32,
        now_us: u64,
        dma: &mut D,
    ) -> Ran {
        let at = usize::from(index.0);
        let Some(invocation) = &mut self.slots[at] else {
            return Ran::Yielded;
        };
        let (scratch, reply) = both(&mut invocation.scratch, &mut invocation.reply, dma);
        let lent = Lent {
            args: &self.args[at][..invocation.args_max],
            reply: shortened(reply, invocation.reply_max),
            scratch: shortened(scratch, invocation.scratch_bytes),
        };
        let mut host = HelperHost {
            objects: attached.objects,
            maps: attached.maps,
            now_us,
            random: &mut invocation.random,
            plan: &mut invocation.plan,
        };
        match self.executions[at].run(program, lent, &mut host, slice) {
            Outcome::Exit { r0 } => Ran::Exit(r0 as i32),
            Outcome::Waiting => {
                invocation.begin_reading();
                Ran::WantsDrive
            }
            Outcome::Yielded => Ran::Yielded,
            Outcome::OutOfBudget { pc } | Outcome::Killed { pc, .. } => {
                Ran::OutOfInstructions { pc }
            }
            Outcome::Fault(fault) => Ran::Fault(fault),
        }
    }

    /// With nothing of it out: whether its program may go on.
    pub fn settle<D: Dma>(&mut self, index: InvocationIndex, dma: &mut D) -> Reading {
        let reading = self[index].settle(dma);
        if let Reading::Complete { result } = reading {
            self.executions[usize::from(index.0)].resume(result);
        }
        reading
    }

    /// Meter units that an invocation has spent.
    #[must_use]
    pub fn spent(&self, index: InvocationIndex) -> u64 {
        let execution = self.executions.get(usize::from(index.0));
        execution.map_or(0, Execution::spent)
    }

    /// Ends an invocation; what it held, the reply memory apart, which must have been taken.
    pub fn end(&mut self, index: InvocationIndex) -> Option<Held> {
        let slot = &mut self.slots[usize::from(index.0)];
        // Emptied where it is: to move it out would copy all of it.
        let invocation = slot.as_mut()?;
        debug_assert!(invocation.reply.is_none());
        let held = invocation.release();
        *slot = None;
        self.free[self.free_count] = index.0;
        self.free_count += 1;
        Some(held)
    }

    /// In use, the most that ever were, and in all.
    #[must_use]
    pub const fn counts(&self) -> (usize, usize, usize) {
        let total = self.slots.len();
        (total - self.free_count, total - self.least_free, total)
    }

    /// An invocation, where there is one.
    pub fn get_mut(&mut self, index: InvocationIndex) -> Option<&mut Invocation> {
        self.slots.get_mut(usize::from(index.0))?.as_mut()
    }

    /// An invocation, where there is one.
    #[must_use]
    pub fn get(&self, index: InvocationIndex) -> Option<&Invocation> {
        self.slots.get(usize::from(index.0))?.as_ref()
    }
}

impl Index<InvocationIndex> for Invocations {
    type Output = Invocation;
    fn index(&self, index: InvocationIndex) -> &Invocation {
        self.get(index)
            .expect("an invocation's index is held by its request until it ends")
    }
}

impl IndexMut<InvocationIndex> for Invocations {
    fn index_mut(&mut self, index: InvocationIndex) -> &mut Invocation {
        self.get_mut(index)
            .expect("an invocation's index is held by its request until it ends")
    }
}

/// Copies the arguments and pads them with zeros to `args_max`; their length.
fn fill_args(to: &mut [u8], args_max: usize, args: &[u8]) -> usize {
    let length = args.len().min(args_max);
    to[..length].copy_from_slice(&args[..length]);
    to[length..args_max].fill(0);
    length
}

fn cleared<D: Dma>(mut slab: Slab, part: Range<usize>, dma: &mut D) -> Slab {
    if let Some(memory) = slab.bytes_mut(dma).get_mut(part) {
        memory.fill(0);
    }
    slab
}

fn shortened(memory: &mut [u8], bytes: usize) -> &mut [u8] {
    let bytes = bytes.min(memory.len());
    &mut memory[..bytes]
}

fn both<'d, D: Dma>(
    scratch: &'d mut Scratch,
    reply: &'d mut Option<Slab>,
    dma: &'d mut D,
) -> (&'d mut [u8], &'d mut [u8]) {
    match (scratch, reply) {
        (Scratch::Here(scratch), Some(reply)) => two_slabs_mut(scratch, reply, dma),
        (Scratch::Here(scratch), None) => (scratch.bytes_mut(dma), &mut []),
        (_, Some(reply)) => (&mut [], reply.bytes_mut(dma)),
        (_, None) => (&mut [], &mut []),
    }
}
