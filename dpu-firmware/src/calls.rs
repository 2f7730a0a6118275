//! Calls: from the queue of those that want an invocation to the program's result.
//!
//! Connections take turns. One whose next call cannot be admitted (its slab class is all in
//! use, say) is passed over, so that a crowd of large programs is no obstacle to small ones;
//! classes are apart, so what it waits for cannot be taken by those that pass.

use ebpf::EntryKind;
use nvme_model::memory::Slab;
use nvme_model::seam::Device;
use protocol::message::{CallReply, LoadReply};
use protocol::{ErrorBody, Status};

use crate::agent::Agent;
use crate::board::Board;
use crate::diagnosis;
use crate::drive::{QUEUE, Submitted, Token};
use crate::fmt::debug;
use crate::invocation::{Attached, InvocationIndex, Ran, Reading, Start};
use crate::limits::{
    ADMISSIONS_PER_TURN, CLEARED_PAGES_PER_TURN, SLICE_INSTRUCTIONS, SLICES_PER_TURN,
    TURN_INSTRUCTIONS,
};
use crate::map_requests::maps_verdict;
use crate::maps::MapViews;
use crate::net::PacketDevice;
use crate::objects::Object;
use crate::program_store::{NotLoaded, ProgramIndex};
use crate::request::{Answer, Event, RequestIndex, Work};
use crate::session::ConnectionIndex;
use crate::slabs::SlabClass;

impl<D: Device, N: PacketDevice, B: Board> Agent<D, N, B> {
    /// Gives invocations to calls that wait for one.
    pub(crate) fn admit_calls(&mut self) {
        if !core::mem::replace(&mut self.released, false) {
            return;
        }
        let mut admitted = 0;
        let mut cleared = 0;
        let mut passed_over = 0;
        while passed_over < self.wants_invocation.len() {
            if admitted == ADMISSIONS_PER_TURN || cleared >= CLEARED_PAGES_PER_TURN {
                self.released = true;
                return;
            }
            let Some(slot) = self.wants_invocation.pop() else {
                return;
            };
            let index = ConnectionIndex(slot);
            let Some(request) = self.connections[index].calls.front() else {
                continue;
            };
            if let Some(pages) = self.admit(index, request) {
                cleared += pages;
                self.connections[index].calls.pop(&mut self.requests);
                self.requests.advance(request, Event::MayRun);
                self.enqueue_runnable(request);
                admitted += 1;
                passed_over = 0;
            } else {
                passed_over += 1;
            }
            if !self.connections[index].calls.is_empty() {
                self.wants_invocation.push(slot);
            }
        }
    }

    /// Reserves all that a call needs to its end, or nothing: `None`. How many pages had to be
    /// cleared for it.
    fn admit(&mut self, index: ConnectionIndex, request: RequestIndex) -> Option<usize> {
        let Work::Call {
            instance,
            args_bytes,
            ..
        } = self.requests[request].work
        else {
            return None;
        };
        let instance = *self.instances.at(instance.0)?;
        let stored = self.programs.at(instance.program)?;
        let header = stored.header;
        let class_of = |bytes: u32| {
            // No image may declare more than the largest slab, so there is a class.
            let class = SlabClass::for_bytes(bytes as usize);
            class.filter(|_| bytes > 0)
        };
        let (scratch, reply) = (class_of(header.scratch_bytes), class_of(header.reply_max));
        let both = scratch.is_some() && scratch == reply;
        let may_take = |wanted: Option<SlabClass>, count| {
            wanted.is_none_or(|class| self.may_take_slabs(index, class, count))
        };
        let enough = self.may_take_invocation(index)
            && self.bounce_pages.free() > 0
            && may_take(scratch, 1 + usize::from(both))
            && may_take(reply, 1);
        if !enough {
            return None;
        }
        let bounce = self.bounce_pages.take_page()?;
        let scratch = scratch.and_then(|class| self.take_slab(index, class));
        let reply = reply.and_then(|class| self.take_slab(index, class));
        let clears = |slab: &Option<(Slab, bool)>| match slab {
            Some((slab, true)) => slab.pages() as usize,
            _ => 0,
        };
        let cleared = clears(&scratch) + clears(&reply);
        let start = Start {
            args_max: header.args_max as usize,
            reply_max: header.reply_max as usize,
            scratch_bytes: header.scratch_bytes as usize,
            scratch_zero: header.scratch_zero(),
            objects: instance.object_count,
            instruction_budget: instance.instruction_budget,
            read_budget: instance.read_budget,
            entry: EntryKind::Call,
            seed: self.random.hash(self.counters.calls, self.now_us),
            scratch,
            reply,
            bounce,
        };
        self.start_call(request, instance.program, start, args_bytes as usize);
        Some(cleared)
    }

    /// Starts the invocation of a call that has all it needs; its arguments are copied.
    fn start_call(
        &mut self,
        request: RequestIndex,
        program: ProgramIndex,
        start: Start,
        args_bytes: usize,
    ) {
        let Some(stored) = self.programs.at(program) else {
            return;
        };
        let slot = &self.requests[request];
        let dma = self.driver.device_mut().dma_mut();
        let program = stored.loaded();
        let started = match slot.pages.first() {
            Some(page) => {
                let mut args = [0; protocol::limits::ARGS_BYTES_MAX as usize];
                let args = &mut args[..args_bytes];
                args.copy_from_slice(&page.bytes(dma)[..args_bytes]);
                self.invocations.start(start, args, program, dma)
            }
            None => {
                let args = &slot.inline[..args_bytes];
                self.invocations.start(start, args, program, dma)
            }
        };
        self.free_pages(request);
        let slot = &mut self.requests[request];
        if let Work::Call { invocation, .. } = &mut slot.work {
            *invocation = started;
        }
        let index = slot.connection;
        let running = &mut self.connections[index].invocations;
        self.shares.invocations.took(usize::from(*running), 1);
        *running += 1;
        self.counters.calls += 1;
    }

    /// Takes a slab for a call of this connection, and whether it must be cleared.
    fn take_slab(&mut self, index: ConnectionIndex, class: SlabClass) -> Option<(Slab, bool)> {
        let connection = &mut self.connections[index];
        let taken = self.slabs.take(class, connection.owner)?;
        let held = &mut connection.slabs[class.number()];
        self.shares.slabs[class.number()].took(usize::from(*held), 1);
        *held += 1;
        Some(taken)
    }

    /// Whether a connection may run one program more now.
    fn may_take_invocation(&self, index: ConnectionIndex) -> bool {
        let running = usize::from(self.connections[index].invocations);
        let free = self.invocations.free();
        running < self.config.limits.invocations_per_connection
            && self.shares.invocations.may_take(running, 1, free)
    }

    /// Whether a connection may have so many slabs of a class now. Replies that nobody reads, or
    /// programs that never end, are not what keeps others from theirs.
    fn may_take_slabs(&self, index: ConnectionIndex, class: SlabClass, count: usize) -> bool {
        let held = usize::from(self.connections[index].slabs[class.number()]);
        let free = self.slabs.free(class);
        self.shares.slabs[class.number()].may_take(held, count, free)
    }

    /// Takes back a slab that a call of this connection held.
    pub(crate) fn give_slab(&mut self, index: ConnectionIndex, slab: Slab) {
        let connection = &mut self.connections[index];
        let class = self.slabs.give(slab, connection.owner);
        let held = &mut connection.slabs[class.number()];
        *held -= 1;
        self.shares.slabs[class.number()].gave(usize::from(*held), 1);
        self.released = true;
    }

    pub(crate) fn enqueue_runnable(&mut self, request: RequestIndex) {
        let index = self.requests[request].connection;
        self.connections[index]
            .runnable
            .push(&mut self.requests, request);
        self.runnable.push(index.0);
    }

    /// Runs programs, a bounded number of slices, connections in turn.
    pub(crate) fn run_programs(&mut self) {
        let mut left = TURN_INSTRUCTIONS;
        for _ in 0..SLICES_PER_TURN {
            // Nobody is given less than a whole slice, so a turn ends where more than half of one
            // would be too much; the next turn comes soon.
            if left < SLICE_INSTRUCTIONS / 2 {
                return;
            }
            let Some(slot) = self.runnable.pop() else {
                return;
            };
            let index = ConnectionIndex(slot);
            // One slice's worth of instructions for each turn of a connection: many short
            // runs or a part of a long one. A helper over many bytes may overdraw it, and is
            // paid for by the slices that follow.
            let overdrawn = &mut self.connections[index].overdrawn;
            let mut slice = SLICE_INSTRUCTIONS.saturating_sub(*overdrawn);
            *overdrawn = overdrawn.saturating_sub(SLICE_INSTRUCTIONS);
            while slice > 0 {
                let Some(request) = self.connections[index].runnable.pop(&mut self.requests) else {
                    break;
                };
                let used = self.run_slice(request, slice);
                self.connections[index].overdrawn = used.saturating_sub(slice);
                slice = slice.saturating_sub(used);
                left = left.saturating_sub(used);
            }
            if !self.connections[index].runnable.is_empty() {
                self.runnable.push(slot);
            }
        }
    }

    /// Runs one program for at most `slice` meter units; how many it used, at least 1.
    fn run_slice(&mut self, request: RequestIndex, slice: u32) -> u32 {
        let Work::Call {
            instance,
            invocation: Some(invocation),
            ..
        } = self.requests[request].work
        else {
            return 1;
        };
        if self.requests[request].cancelled {
            self.refuse(request, Status::Cancelled, ErrorBody::None);
            return 1;
        }
        let owner = self.requests[request].connection;
        let Some(instance) = self.instances.at(instance.0) else {
            return 1;
        };
        let mut objects: [Option<Object>; protocol::limits::OBJECTS_PER_INSTANCE_MAX] = [None; _];
        let ids = instance.objects.iter().take(instance.object_count as usize);
        for (object, id) in objects.iter_mut().zip(ids) {
            *object = id.and_then(|id| self.objects.get(owner, id.0)).copied();
        }
        let Some(stored) = self.programs.at(instance.program) else {
            return 1;
        };
        let program = stored.loaded();
        let dma = self.driver.device_mut().dma_mut();
        let before = self.invocations.spent(invocation);
        let ran = {
            let mut maps = match instance.maps {
                Some(slab) => stored.maps().open(self.map_pool.memory(slab)),
                None => MapViews::new(),
            };
            let attached = Attached {
                objects: &objects,
                maps: &mut maps,
            };
            self.invocations
                .run(invocation, program, attached, slice, self.now_us, dma)
        };
        let used = self.invocations.spent(invocation) - before;
        self.counters.instructions += used;
        self.counters.slices += 1;
        match ran {
            Ran::Yielded => {
                let index = self.requests[request].connection;
                self.connections[index]
                    .runnable
                    .push(&mut self.requests, request);
            }
            Ran::WantsDrive => self.queue_for_drive(request),
            Ran::Exit(result) => self.exit(request, invocation, result),
            Ran::OutOfInstructions { pc } => {
                self.counters.calls_out_of_budget += 1;
                let text = format_args!("the instruction budget was spent here");
                self.refuse(
                    request,
                    Status::OutOfInstructions,
                    ErrorBody::fault(pc, text),
                );
            }
            Ran::Fault(fault) => {
                self.counters.calls_faulted += 1;
                debug!("a program faulted at instruction {}", fault.pc as u64);
                let body = ErrorBody::fault(fault.pc, format_args!("{}", fault.kind));
                self.refuse(request, Status::ProgramFault, body);
            }
        }
        u32::try_from(used).unwrap_or(u32::MAX).max(1)
    }

    /// A program returned. (Result rules: `dpu.h`.)
    fn exit(&mut self, request: RequestIndex, invocation: InvocationIndex, result: i32) {
        const ERRNO_MAX: i32 = 4095;
        let instructions = self.invocations.spent(invocation);
        let done = &mut self.invocations[invocation];
        let reply_max = done.reply_max();
        match result {
            bytes @ 0.. if bytes as usize <= reply_max => {
                let reply = CallReply {
                    result,
                    instructions,
                    reads: done.reads,
                };
                let slab = done.take_reply();
                let slot = &mut self.requests[request];
                slot.payload_offset = 0;
                slot.payload_left = bytes as u32;
                slot.reply = slab;
                self.end_call(request);
                self.answer(request, Status::Ok, Answer::Call(reply));
            }
            errno if (-ERRNO_MAX..0).contains(&errno) => {
                self.refuse(request, Status::ProgramErrno, ErrorBody::Errno(errno));
            }
            _ => {
                let text = format_args!("returned {result}; replies end at {reply_max} bytes");
                self.refuse(request, Status::BadResult, ErrorBody::other(text));
            }
        }
    }

    /// Gives back all that a call holds, its reply memory apart where the request took it.
    pub(crate) fn end_call(&mut self, request: RequestIndex) {
        let slot = &mut self.requests[request];
        let Work::Call {
            instance,
            invocation,
            ..
        } = slot.work
        else {
            return;
        };
        slot.work = Work::Local;
        let index = slot.connection;
        if let Some(instance) = self.instances.at_mut(instance.0) {
            instance.calls -= 1;
            let program = instance.program;
            if let Some(program) = self.programs.at_mut(program) {
                program.calls += 1;
            }
        }
        let Some(invocation) = invocation else { return };
        if let Some(reply) = self.invocations[invocation].take_reply() {
            self.give_slab(index, reply);
        }
        if let Some(held) = self.invocations.end(invocation) {
            if let Some(scratch) = held.scratch {
                self.give_slab(index, scratch);
            }
            if let Some(page) = held.bounce {
                self.bounce_pages.give_page(page);
            }
        }
        let running = &mut self.connections[index].invocations;
        *running -= 1;
        self.shares.invocations.gave(usize::from(*running), 1);
        self.released = true;
    }

    /// Carries a waiting invocation on: sends what it wants, or lets its program go on.
    ///
    /// The request is in no queue. [`Submitted::Later`] means that it is in its connection's
    /// queue for the drive again.
    pub(crate) fn continue_reading(&mut self, request: RequestIndex) -> Submitted {
        let Work::Call {
            invocation: Some(invocation),
            ..
        } = self.requests[request].work
        else {
            return Submitted::Yes;
        };
        let mut waits = false;
        loop {
            let cancelled = self.requests[request].cancelled;
            if !cancelled && !self.send_wanted(request, invocation) {
                self.queue_for_drive_again(request);
                return Submitted::Later;
            }
            if self.invocations[invocation].is_out() {
                self.at_drive(request);
                return Submitted::Yes;
            }
            if cancelled {
                self.refuse(request, Status::Cancelled, ErrorBody::None);
                return Submitted::Yes;
            }
            let dma = self.driver.device_mut().dma_mut();
            match self.invocations.settle(invocation, dma) {
                // Something was bounced and more is wanted now.
                Reading::Waits if !waits => waits = true,
                // It waits for what cannot be asked for: the page it would be bounced by is gone.
                Reading::Waits => {
                    self.refuse(request, Status::DriveFailed, ErrorBody::None);
                    return Submitted::Yes;
                }
                Reading::Complete { .. } => {
                    self.requests.advance(request, Event::MayRun);
                    self.enqueue_runnable(request);
                    return Submitted::Yes;
                }
                Reading::Lost => {
                    self.refuse(request, Status::DriveFailed, ErrorBody::None);
                    return Submitted::Yes;
                }
                Reading::OutOfReads => {
                    self.counters.calls_out_of_budget += 1;
                    let reads = u64::from(self.invocations[invocation].reads);
                    let body = ErrorBody::Limit {
                        limit: reads,
                        got: reads + 1,
                    };
                    self.refuse(request, Status::OutOfReads, body);
                    return Submitted::Yes;
                }
            }
        }
    }

    /// Sends every command that an invocation can have out now. False where the drive would
    /// not take one.
    fn send_wanted(&mut self, request: RequestIndex, invocation: InvocationIndex) -> bool {
        let transfer_bytes_max = self.io_bytes_max();
        loop {
            if self.commands_free() == 0 && self.invocations[invocation].wants() {
                return false;
            }
            let Some(wanted) = self.invocations[invocation].next_wanted(transfer_bytes_max) else {
                return true;
            };
            let token = Token::Request {
                number: request.0,
                part: wanted.part,
            }
            .encode();
            let sent =
                self.driver
                    .submit(self.now_us, QUEUE, wanted.operation, wanted.transfer, token);
            if let Err((why, transfer)) = sent {
                self.invocations[invocation].unwant(wanted.part, transfer);
                if !why.lasts() {
                    return false;
                }
                // After a reset the drive has other namespaces; the program sees −EIO.
                self.counters.drive_errors += 1;
                self.invocations[invocation].fail();
                return true;
            }
            self.counters.program_reads += 1;
        }
    }

    fn at_drive(&mut self, request: RequestIndex) {
        if self.requests[request].state != crate::request::State::AtDrive {
            self.requests.advance(request, Event::Submitted);
        }
    }

    fn queue_for_drive_again(&mut self, request: RequestIndex) {
        if self.requests[request].state == crate::request::State::WantsDrive {
            let index = self.requests[request].connection;
            self.connections[index]
                .drive
                .push(&mut self.requests, request);
            self.wants_drive.push(index.0);
        } else {
            self.queue_for_drive(request);
        }
    }

    /// Hashes and proves uploads, a quantum of each a turn.
    pub(crate) fn digest(&mut self) {
        let Some((request, outcome)) = self.programs.step() else {
            return;
        };
        let index = self.requests[request].connection;
        self.connections[index].upload = None;
        match outcome {
            Ok(program) => {
                self.counters.programs_loaded += 1;
                let stored = self.programs.at(program);
                let reply = LoadReply {
                    program: Some(self.programs.id(program)),
                    proof: stored.map(|it| diagnosis::proof(it.loaded().verified())),
                };
                self.answer(request, Status::Ok, Answer::Load(reply));
            }
            Err(why) => {
                self.counters.programs_refused += 1;
                let (status, body) = verdict(&why);
                debug!("a program is refused, status {:#x}", status.0);
                self.refuse(request, status, body);
            }
        }
    }
}

fn verdict(why: &NotLoaded) -> (Status, ErrorBody) {
    match why {
        NotLoaded::Digest => (Status::DigestMismatch, ErrorBody::None),
        NotLoaded::Image(error) => (Status::BadImage, ErrorBody::other(format_args!("{error}"))),
        NotLoaded::Refused(refusal) => (
            Status::ProgramRefused,
            ErrorBody::refused(refusal.pc, format_args!("{}", refusal.why)),
        ),
        NotLoaded::Maps(refused) => maps_verdict(*refused),
        NotLoaded::Unproved(refusal) => diagnosis::refused(refusal),
        NotLoaded::Guarded(of_guard) => diagnosis::told(of_guard),
        NotLoaded::Unfit(why) => (
            Status::NotSupported,
            ErrorBody::other(format_args!("{why}")),
        ),
        NotLoaded::Unsupported(what) => (
            Status::NotSupported,
            ErrorBody::other(format_args!("{what}")),
        ),
        NotLoaded::NameTaken => (Status::NameTaken, ErrorBody::None),
        NotLoaded::Full => (Status::PoolExhausted, ErrorBody::None),
    }
}
