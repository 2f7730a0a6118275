//! Between requests and the drive: commands out, completions in, and shared flushes.
//!
//! Requests queue by connection and connections take turns, one command each. A read waits
//! for its pages here, holding nothing; a write brought its own.

use nvme_model::driver::{
    Completion, DriverState, Error, FailReason, NamespaceId, Operation, Rejected,
};
use nvme_model::memory::{PageList, Transfer};
use nvme_model::seam::{Device, PAGE_BYTES};
use nvme_model::spec::StatusType;
use protocol::message::{FlushReply, WriteReply};
use protocol::{ErrorBody, Status};

use crate::agent::Agent;
use crate::board::Board;
use crate::fmt::{error, info, warn};
use crate::limits::{COMPLETIONS_PER_TURN, READ_PAGES_MIN};
use crate::net::PacketDevice;
use crate::objects::Placed;
use crate::queue::Queue;
use crate::request::{Answer, Event, RequestIndex, Requests, State, Work};
use crate::session::ConnectionIndex;

/// Says what has become of the drive.
#[cold]
fn tell(state: DriverState) {
    match state {
        DriverState::Starting => info!("drive: starting"),
        DriverState::Running => info!("drive: running"),
        DriverState::Aborting => warn!("drive: commands are late and are being aborted"),
        DriverState::Disabling => warn!("drive: being reset"),
        DriverState::AwaitingReset(why) => {
            warn!("drive: {}: to be reset from outside", reason(why));
        }
        DriverState::Stopping => info!("drive: stopping"),
        DriverState::Stopped => info!("drive: stopped"),
        DriverState::Failed(why) => error!("drive: failed: {}", reason(why)),
    }
}

/// Why, in words that every log takes.
const fn reason(why: FailReason) -> &'static str {
    match why {
        FailReason::Gone => "it is gone",
        FailReason::Unfit(_) => "it cannot be driven",
        FailReason::ResetStuck => "its reset does not end",
        _ => "it does not come up, or not for long",
    }
}

/// The one queue pair of this agent.
pub(crate) const QUEUE: usize = 0;

/// What a command's token says: whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// A request's; `part` tells the ranges of a vector read apart.
    Request { number: u16, part: u8 },
    /// The flush of one namespace.
    Flush { gate: u8 },
}

impl Token {
    pub(crate) const fn encode(self) -> u64 {
        match self {
            Token::Request { number, part } => number as u64 | (part as u64) << 16,
            Token::Flush { gate } => 1 << 32 | gate as u64,
        }
    }

    const fn decode(token: u64) -> Token {
        if token >> 32 == 0 {
            Token::Request {
                number: token as u16,
                part: (token >> 16) as u8,
            }
        } else {
            Token::Flush { gate: token as u8 }
        }
    }
}

/// Whether a request got on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Submitted {
    /// Yes.
    Yes,
    /// Something it needs is all in use: later.
    Later,
    /// Its connection holds its share of what it needs; others may get on.
    Passed,
    /// Never: the drive has nothing that it fits.
    Never(Rejected),
}

impl Submitted {
    const fn of(why: Rejected) -> Submitted {
        if why.lasts() {
            Submitted::Never(why)
        } else {
            Submitted::Later
        }
    }
}

/// Flushes of one namespace: those at the drive and those that came later.
///
/// A Flush makes durable every write acknowledged before it arrived. A flush command that is
/// at the drive may have begun before such a write was acknowledged, so a later Flush never
/// joins it: it waits for the next command, together with all others that do.
#[derive(Debug)]
struct FlushGate {
    namespace: NamespaceId,
    waiting: Queue,
    at_drive: Queue,
    busy: bool,
}

/// The gates of all namespaces.
#[derive(Debug)]
pub(crate) struct FlushGates {
    gates: heapless::Vec<FlushGate, { protocol::limits::NAMESPACES_MAX }>,
    waiting: usize,
}

impl FlushGates {
    pub(crate) const fn new() -> FlushGates {
        FlushGates {
            gates: heapless::Vec::new(),
            waiting: 0,
        }
    }

    /// A flush joins those that wait.
    pub(crate) fn join(
        &mut self,
        namespace: NamespaceId,
        requests: &mut Requests,
        request: RequestIndex,
    ) {
        let at = match self.gates.iter().position(|it| it.namespace == namespace) {
            Some(at) => at,
            None => {
                let gate = FlushGate {
                    namespace,
                    waiting: Queue::new(),
                    at_drive: Queue::new(),
                    busy: false,
                };
                // The driver serves no more namespaces than there are gates.
                let _ = self.gates.push(gate);
                self.gates.len() - 1
            }
        };
        if let Some(gate) = self.gates.get_mut(at) {
            gate.waiting.push(requests, request);
            self.waiting += 1;
        }
    }

    /// Whether flushes wait to be sent.
    pub(crate) const fn are_waiting(&self) -> bool {
        self.waiting > 0
    }
}

const _: () = assert!(nvme_model::limits::NAMESPACES_MAX <= protocol::limits::NAMESPACES_MAX);

impl<D: Device, N: PacketDevice, B: Board> Agent<D, N, B> {
    /// Takes what the drive completed, a bounded number.
    pub(crate) fn reap(&mut self) {
        let mut batch: heapless::Vec<Completion, COMPLETIONS_PER_TURN> = heapless::Vec::new();
        let before = self.driver.state();
        self.drive_wake = self
            .driver
            .poll(self.now_us, COMPLETIONS_PER_TURN, &mut |completion| {
                // The driver was asked for no more than fit.
                let _ = batch.push(completion);
            });
        let now = self.driver.state();
        if now != before {
            self.counters.drive_starts += u64::from(now == DriverState::Running);
            tell(now);
        }
        for completion in batch {
            self.counters.drive_completions += 1;
            match Token::decode(completion.token) {
                Token::Request { number, part } => self.command_done(number, part, completion),
                Token::Flush { gate } => self.flush_done(gate, &completion),
            }
        }
    }

    fn command_done(&mut self, number: u16, part: u8, completion: Completion) {
        let Some(request) = self.requests.index(number) else {
            return;
        };
        match self.requests[request].work {
            Work::Read(placed) => self.read_done(request, placed, completion),
            Work::Write(placed) => self.write_done(request, placed, completion),
            Work::Call {
                invocation: Some(invocation),
                ..
            } => {
                let ok = completion.result.is_ok();
                if !ok {
                    self.counters.drive_errors += 1;
                }
                self.invocations[invocation].completed(part, completion.transfer, ok);
                // While it stands in the queue for the drive, its turn there carries it on.
                if self.requests[request].state == State::AtDrive {
                    self.continue_reading(request);
                }
            }
            _ => debug_assert!(false, "a completion for a request that sent no command"),
        }
    }

    fn read_done(&mut self, request: RequestIndex, placed: Placed, completion: Completion) {
        let pages = match completion.transfer {
            Transfer::Pages { pages, .. } => pages,
            // The device may still write to them: the driver keeps them, the request goes on.
            _ => PageList::new(),
        };
        let Err(error) = completion.result else {
            self.read_arrived(request, placed, pages);
            return;
        };
        let held = (placed.covering_bytes as usize).div_ceil(PAGE_BYTES);
        let index = self.requests[request].connection;
        self.give_read_pages(index, held);
        self.pages.give(pages);
        self.drive_error(request, error);
    }

    fn read_arrived(&mut self, request: RequestIndex, placed: Placed, pages: PageList) {
        self.counters.bytes_read += u64::from(placed.length_bytes);
        let slot = &mut self.requests[request];
        slot.pages = pages;
        if slot.cancelled {
            self.refuse(request, Status::Cancelled, ErrorBody::None);
            return;
        }
        slot.payload_offset = placed.skip_bytes;
        slot.payload_left = placed.length_bytes;
        self.answer(request, Status::Ok, Answer::Empty);
    }

    fn write_done(&mut self, request: RequestIndex, placed: Placed, completion: Completion) {
        // Pages that the driver keeps are no longer a payload's either.
        self.payload_pages_used -= (placed.covering_bytes as usize).div_ceil(PAGE_BYTES);
        if let Transfer::Pages { pages, .. } = completion.transfer {
            self.pages.give(pages);
        }
        match completion.result {
            Err(error) => self.drive_error(request, error),
            Ok(()) => {
                self.counters.bytes_written += u64::from(placed.length_bytes);
                let reply = WriteReply {
                    drive_epoch: self.drive_epoch(),
                };
                self.answer(request, Status::Ok, Answer::Write(reply));
            }
        }
    }

    fn flush_done(&mut self, gate: u8, completion: &Completion) {
        let epoch = self.drive_epoch();
        let Some(gate) = self.flushes.gates.get_mut(usize::from(gate)) else {
            return;
        };
        gate.busy = false;
        let mut members = core::mem::take(&mut gate.at_drive);
        while let Some(request) = members.pop(&mut self.requests) {
            match completion.result {
                Ok(()) => {
                    let reply = FlushReply { drive_epoch: epoch };
                    self.answer(request, Status::Ok, Answer::Flush(reply));
                }
                Err(error) => self.drive_error(request, error),
            }
        }
    }

    /// Answers a request whose command failed.
    pub(crate) fn drive_error(&mut self, request: RequestIndex, error: Error) {
        self.counters.drive_errors += 1;
        let (status, body) = match error {
            Error::Status(status) => {
                let media = status.code().kind() == StatusType::MEDIA;
                let kind = if media {
                    Status::MediaError
                } else {
                    Status::DriveError
                };
                (kind, ErrorBody::Drive { status: status.0 })
            }
            Error::Unknown => (Status::OutcomeUnknown, ErrorBody::None),
            Error::Aborted => (
                Status::DriveError,
                ErrorBody::other(format_args!("the drive did not answer in time")),
            ),
            Error::Failed(why) => (Status::DriveFailed, ErrorBody::other(format_args!("{why}"))),
        };
        self.refuse(request, status, body);
    }

    /// Commands that may be sent now: none for half of the time while the drive is too hot.
    pub(crate) fn commands_free(&self) -> usize {
        match self.monitor.throttle.opens_us(self.now_us) {
            Some(_) => 0,
            None => self.driver.free_slots(QUEUE),
        }
    }

    /// Sends commands for what waits, connections in turn.
    pub(crate) fn submit(&mut self) {
        match self.driver.state() {
            DriverState::Running => {}
            DriverState::Failed(_) => return self.fail_waiting(),
            _ => return,
        }
        while let Some((gate, why)) = self.submit_flushes() {
            self.turn_flushes_away(gate, why);
        }
        let mut passed_over = 0;
        while passed_over < self.wants_drive.len() {
            let Some(slot) = self.wants_drive.pop() else {
                return;
            };
            let index = ConnectionIndex(slot);
            let Some(request) = self.connections[index].drive.front() else {
                continue;
            };
            let submitted = match self.requests[request].work {
                Work::Read(placed) => self.submit_read(request, placed),
                Work::Write(placed) => self.submit_write(request, placed),
                _ => {
                    self.connections[index].drive.pop(&mut self.requests);
                    let submitted = self.continue_reading(request);
                    if submitted != Submitted::Yes {
                        // It is back in the queue; its turn comes again.
                        return;
                    }
                    self.wants_drive_again(index);
                    continue;
                }
            };
            match submitted {
                Submitted::Later => {
                    self.wants_drive.push(slot);
                    return;
                }
                Submitted::Passed => {
                    self.wants_drive.push(slot);
                    passed_over += 1;
                }
                Submitted::Yes => {
                    self.connections[index].drive.pop(&mut self.requests);
                    self.requests.advance(request, Event::Submitted);
                    self.wants_drive_again(index);
                }
                Submitted::Never(why) => {
                    self.connections[index].drive.pop(&mut self.requests);
                    self.turn_away(request, why);
                    self.wants_drive_again(index);
                }
            }
        }
    }

    fn wants_drive_again(&mut self, index: ConnectionIndex) {
        if !self.connections[index].drive.is_empty() {
            self.wants_drive.push(index.0);
        }
    }

    /// Answers a request that the drive will never take. It fitted when its object was opened: after a
    /// reset the drive has other namespaces.
    fn turn_away(&mut self, request: RequestIndex, why: Rejected) {
        self.counters.drive_errors += 1;
        let status = match why {
            Rejected::NoSuchNamespace => Status::NoSuchNamespace,
            Rejected::OutOfRange => Status::OutOfRange,
            _ => Status::DriveError,
        };
        self.refuse(request, status, ErrorBody::other(format_args!("{why}")));
    }

    /// Pages that reads may take: what is free beyond what byte credits are promised.
    fn read_pages_free(&self) -> usize {
        let promised = self.config.limits.payload_pages() - self.payload_pages_used;
        self.pages.free().saturating_sub(promised)
    }

    fn submit_read(&mut self, request: RequestIndex, placed: Placed) -> Submitted {
        let count = (placed.covering_bytes as usize).div_ceil(PAGE_BYTES);
        debug_assert!(count <= READ_PAGES_MIN);
        if self.commands_free() == 0 {
            return Submitted::Later;
        }
        let free = self.read_pages_free();
        // However many read without taking their replies, every connection has its share.
        let index = self.requests[request].connection;
        let held = self.connections[index].read_pages as usize;
        if !self.shares.read_pages.may_take(held, count, free) {
            return Submitted::Passed;
        }
        let Some(pages) = self.pages.take(count) else {
            return Submitted::Later;
        };
        let blocks = placed.blocks;
        let operation = Operation::Read {
            namespace: blocks.namespace,
            lba: blocks.lba,
            blocks: blocks.count,
        };
        let transfer = Transfer::Pages {
            pages,
            offset: 0,
            bytes: placed.covering_bytes,
        };
        match self.send(request, operation, transfer) {
            Ok(()) => {
                self.connections[index].read_pages += count as u32;
                self.shares.read_pages.took(held, count);
                Submitted::Yes
            }
            Err((why, pages)) => {
                self.pages.give(pages);
                Submitted::of(why)
            }
        }
    }

    /// A read of a connection no longer holds so many pages.
    pub(crate) fn give_read_pages(&mut self, index: ConnectionIndex, count: usize) {
        let held = &mut self.connections[index].read_pages;
        *held -= count as u32;
        self.shares.read_pages.gave(*held as usize, count);
    }

    fn submit_write(&mut self, request: RequestIndex, placed: Placed) -> Submitted {
        if self.commands_free() == 0 {
            return Submitted::Later;
        }
        let pages = core::mem::take(&mut self.requests[request].pages);
        let blocks = placed.blocks;
        let operation = Operation::Write {
            namespace: blocks.namespace,
            lba: blocks.lba,
            blocks: blocks.count,
            force_unit_access: false,
        };
        let transfer = Transfer::Pages {
            pages,
            offset: 0,
            bytes: placed.covering_bytes,
        };
        match self.send(request, operation, transfer) {
            Ok(()) => Submitted::Yes,
            Err((why, pages)) => {
                self.requests[request].pages = pages;
                Submitted::of(why)
            }
        }
    }

    #[expect(
        clippy::result_large_err,
        reason = "what was not taken goes back to its owner"
    )]
    fn send(
        &mut self,
        request: RequestIndex,
        operation: Operation,
        transfer: Transfer,
    ) -> Result<(), (Rejected, PageList)> {
        let token = Token::Request {
            number: request.0,
            part: 0,
        }
        .encode();
        match self
            .driver
            .submit(self.now_us, QUEUE, operation, transfer, token)
        {
            Ok(()) => Ok(()),
            Err((why, Transfer::Pages { pages, .. })) => Err((why, pages)),
            Err((why, _)) => Err((why, PageList::new())),
        }
    }

    /// Sends flushes; ends at the first gate whose flush the drive will never take.
    fn submit_flushes(&mut self) -> Option<(usize, Rejected)> {
        if self.flushes.waiting == 0 || self.commands_free() == 0 {
            return None;
        }
        for (at, gate) in self.flushes.gates.iter_mut().enumerate() {
            if gate.busy || gate.waiting.is_empty() || self.driver.free_slots(QUEUE) == 0 {
                continue;
            }
            let operation = Operation::Flush {
                namespace: gate.namespace,
            };
            let token = Token::Flush { gate: at as u8 }.encode();
            let sent = self
                .driver
                .submit(self.now_us, QUEUE, operation, Transfer::None, token);
            match sent {
                Ok(()) => {
                    gate.busy = true;
                    gate.at_drive = core::mem::take(&mut gate.waiting);
                    self.flushes.waiting -= gate.at_drive.len();
                    self.counters.flushes_sent += 1;
                    self.counters.flushes_joined += gate.at_drive.len() as u64;
                }
                Err((why, _)) if why.lasts() => return Some((at, why)),
                Err(_) => {}
            }
        }
        None
    }

    fn turn_flushes_away(&mut self, gate: usize, why: Rejected) {
        let Some(gate) = self.flushes.gates.get_mut(gate) else {
            return;
        };
        let mut members = core::mem::take(&mut gate.waiting);
        self.flushes.waiting -= members.len();
        while let Some(request) = members.pop(&mut self.requests) {
            self.turn_away(request, why);
        }
    }

    /// The drive is out of service: everything that waits for it is told so.
    fn fail_waiting(&mut self) {
        while let Some(slot) = self.wants_drive.pop() {
            let index = ConnectionIndex(slot);
            while let Some(request) = self.connections[index].drive.pop(&mut self.requests) {
                match self.requests[request].invocation() {
                    // The program sees −EIO and may answer something sensible.
                    Some(invocation) => {
                        self.invocations[invocation].fail();
                        self.continue_reading(request);
                    }
                    None => self.refuse(request, Status::DriveFailed, ErrorBody::None),
                }
            }
        }
        self.fail_calls();
        for gate in 0..self.flushes.gates.len() {
            let mut members = core::mem::take(&mut self.flushes.gates[gate].waiting);
            self.flushes.waiting -= members.len();
            while let Some(request) = members.pop(&mut self.requests) {
                self.refuse(request, Status::DriveFailed, ErrorBody::None);
            }
        }
    }

    /// Calls that wait for memory which the driver keeps from a lost drive would wait for ever.
    fn fail_calls(&mut self) {
        if self.driver.counters().pages_quarantined == 0 || self.invocations.counts().0 > 0 {
            return;
        }
        while let Some(slot) = self.wants_invocation.pop() {
            let index = ConnectionIndex(slot);
            while let Some(request) = self.connections[index].calls.pop(&mut self.requests) {
                self.refuse(request, Status::DriveFailed, ErrorBody::None);
            }
        }
    }
}
