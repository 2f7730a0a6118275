//! Many requests in flight over one connection, completed in whatever order they finish.
//!
//! Submitting waits only when the agent's credit is used up. Take completions as you go, by
//! [`Pipeline::next_completion`] or [`Pipeline::wait`]: those not taken are kept.

use crate::blocking::Client;
use crate::error::ClientError;
use crate::session::{Reply, Ticket};
use crate::types::{CallOutcome, InstanceId, ObjectId};
use protocol::message::{CallRequest, FlushRequest, ReadRequest, Request, WriteRequest};
use protocol::{Kind, Status};
use std::io::{Read, Write};

/// Many requests in flight over one client's connection.
#[derive(Debug)]
pub struct Pipeline<'c, T> {
    client: &'c mut Client<T>,
}

/// A request that finished.
#[derive(Debug)]
pub struct Completion {
    /// Which.
    pub ticket: Ticket,
    /// How.
    pub result: Result<Done, ClientError>,
}

/// What a request yielded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A read's data. Give the buffer back by [`Pipeline::recycle`] to have it used again.
    Read(Vec<u8>),
    /// A write, in this epoch of the drive.
    Write {
        /// The epoch.
        drive_epoch: u64,
    },
    /// A flush, in this epoch of the drive.
    Flush {
        /// The epoch.
        drive_epoch: u64,
    },
    /// A call.
    Call(CallOutcome),
    /// A request of another kind, made on the connection beneath.
    Other(Reply),
}

impl<'c, T: Read + Write> Pipeline<'c, T> {
    pub(crate) fn new(client: &'c mut Client<T>) -> Self {
        Pipeline { client }
    }

    /// Reads `length` bytes, at most the hello's `io_bytes_max`.
    ///
    /// # Errors
    /// The connection's end, or [`ClientError::Limit`].
    pub fn read(
        &mut self,
        object: ObjectId,
        offset: u64,
        length: u32,
    ) -> Result<Ticket, ClientError> {
        let limit = self.client.terms().io_bytes_max;
        if length > limit {
            let (what, got, limit) = ("the length of a read", length.into(), limit.into());
            return Err(ClientError::Limit { what, got, limit });
        }
        self.submit(
            &ReadRequest {
                object: object.0,
                offset,
                length,
            },
            &[],
        )
    }

    /// Writes `data`, at most the hello's `frame_payload_max` and `io_bytes_max`.
    ///
    /// # Errors
    /// The connection's end, or that the data are too long.
    pub fn write(
        &mut self,
        object: ObjectId,
        offset: u64,
        data: &[u8],
    ) -> Result<Ticket, ClientError> {
        self.submit(
            &WriteRequest {
                object: object.0,
                offset,
            },
            data,
        )
    }

    /// Makes durable the writes acknowledged before.
    ///
    /// # Errors
    /// The connection's end.
    pub fn flush(&mut self, object: ObjectId) -> Result<Ticket, ClientError> {
        self.submit(&FlushRequest { object: object.0 }, &[])
    }

    /// Runs an instance.
    ///
    /// # Errors
    /// The connection's end, or that the arguments are too long.
    pub fn call(&mut self, instance: InstanceId, args: &[u8]) -> Result<Ticket, ClientError> {
        self.submit(
            &CallRequest {
                instance: instance.0,
            },
            args,
        )
    }

    /// Any request; its completion is [`Done::Other`] for kinds not listed in [`Done`].
    ///
    /// # Errors
    /// The connection's end, or that the request cannot be made.
    pub fn submit<R: Request>(
        &mut self,
        request: &R,
        payload: &[u8],
    ) -> Result<Ticket, ClientError> {
        Ok(self.client.connection.submit(request, payload)?)
    }

    /// Sends what was submitted without waiting for anything.
    ///
    /// # Errors
    /// The connection's end.
    pub fn send(&mut self) -> Result<(), ClientError> {
        Ok(self.client.connection.send()?)
    }

    /// Asks the agent to cancel a request; it still completes, once.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.client.connection.session().cancel(ticket);
    }

    /// Requests submitted and not yet answered.
    pub fn in_flight(&self) -> usize {
        self.client.connection.session_ref().in_flight()
    }

    /// Waits for the next request to finish; `None` when all have been taken.
    pub fn next_completion(&mut self) -> Option<Completion> {
        let reply = self.client.connection.next_reply()?;
        Some(self.completion(reply))
    }

    /// Waits for this request to finish; `None` if its completion was taken before.
    pub fn wait(&mut self, ticket: Ticket) -> Option<Completion> {
        let reply = self.client.connection.wait(ticket)?;
        Some(self.completion(reply))
    }

    /// Gives back the buffer of a read or a call's reply, to be used again.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.client.connection.session().recycle_buffer(buffer);
    }

    fn completion(&mut self, reply: Reply) -> Completion {
        let ticket = reply.ticket;
        if reply.status != Status::Ok {
            return Completion {
                ticket,
                result: Err(self.client.connection.error_of(&reply)),
            };
        }
        let request = reply.kind;
        let result = self.done(reply).ok_or(ClientError::BadReply { request });
        Completion { ticket, result }
    }

    fn done(&mut self, mut reply: Reply) -> Option<Done> {
        let done = match reply.kind {
            Kind::Read => Done::Read(core::mem::take(&mut reply.payload)),
            Kind::Write => {
                let drive_epoch = reply.decode::<WriteRequest>().ok()?.drive_epoch;
                self.client.unflushed.wrote(drive_epoch);
                Done::Write { drive_epoch }
            }
            Kind::Flush => {
                let drive_epoch = reply.decode::<FlushRequest>().ok()?.drive_epoch;
                Done::Flush { drive_epoch }
            }
            Kind::Call => {
                let body = reply.decode::<CallRequest>().ok()?;
                if usize::try_from(body.result).ok()? != reply.payload.len() {
                    return None;
                }
                Done::Call(CallOutcome {
                    result: body.result,
                    instructions: body.instructions,
                    reads: body.reads,
                    reply: core::mem::take(&mut reply.payload),
                })
            }
            _ => return Some(Done::Other(reply)),
        };
        self.client.connection.session().recycle(reply);
        Some(done)
    }
}
