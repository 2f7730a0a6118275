//! The blocking client: one method for each thing an agent does.
//!
//! Reads and writes of any length are split into requests that the agent takes, several of them in
//! flight at once.

use crate::connection::{Config, Connection};
use crate::error::ClientError;
use crate::limits::{BLOCK_BYTES_MAX, PROGRAMS_MAX, READ_CUT_BYTES, SPLIT_IN_FLIGHT_MAX};
use crate::pipeline::Pipeline;
use crate::session::{EpochChange, Reply, Ticket};
use crate::types::{
    Budgets, CallOutcome, FlushOutcome, Info, InstanceId, Loaded, Object, ObjectId, Program,
    ProgramId, Stats, Unflushed,
};
use protocol::limits::{IMAGE_BYTES_MAX, NAME_BYTES_MAX, OBJECTS_PER_INSTANCE_MAX};
use protocol::message::{
    AttachRequest, CallRequest, CloseRequest, DetachRequest, FlushRequest, InfoRequest,
    LoadPieceRequest, LoadRequest, OpenRequest, ProgramsRequest, ReadRequest, Request,
    StatsRequest, UnloadRequest, WriteRequest,
};
use protocol::{AgentHello, Kind, Status};
use sha2::{Digest, Sha256};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;

/// A connection to an agent, one request at a time as far as the caller sees.
#[derive(Debug)]
pub struct Client<T> {
    pub(crate) connection: Connection<T>,
    pub(crate) unflushed: Unflushed,
}

impl Client<TcpStream> {
    /// Connects to an agent at `HOST:PORT`.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], or the agent's refusal.
    pub fn connect(address: &str, config: &Config) -> Result<Self, ClientError> {
        Ok(Client::over(Connection::connect(address, config)?))
    }
}

impl<T: Read + Write> Client<T> {
    /// A client over a connected transport.
    ///
    /// # Errors
    /// The agent's refusal, or the transport's failure.
    pub fn new(transport: T, config: &Config) -> Result<Self, ClientError> {
        Ok(Client::over(Connection::open(transport, config.features)?))
    }

    fn over(connection: Connection<T>) -> Self {
        Client {
            connection,
            unflushed: Unflushed::default(),
        }
    }

    /// The connection beneath.
    pub fn connection(&mut self) -> &mut Connection<T> {
        &mut self.connection
    }

    /// Many requests in flight: see [`Pipeline`].
    pub fn pipeline(&mut self) -> Pipeline<'_, T> {
        Pipeline::new(self)
    }

    /// What the agent said in its hello.
    pub fn terms(&self) -> AgentHello {
        let refusal = AgentHello::refusal(Status::HelloExpected);
        self.connection
            .session_ref()
            .terms()
            .copied()
            .unwrap_or(refusal)
    }

    /// The drive's epoch as last heard of.
    pub fn drive_epoch(&self) -> u64 {
        self.connection.session_ref().drive_epoch()
    }

    /// Whether the drive's epoch changed since this was last called.
    pub fn take_epoch_change(&mut self) -> Option<EpochChange> {
        self.connection.session().take_epoch_change()
    }

    /// What the agent and its drive are.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn info(&mut self) -> Result<Info, ClientError> {
        self.ask(&InfoRequest {}, |reply| Info::from(reply))
    }

    /// Counters and pools.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn stats(&mut self) -> Result<Stats, ClientError> {
        self.ask(&StatsRequest {}, |reply| Stats::from(reply))
    }

    /// Every loaded program, in order of id.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn programs(&mut self) -> Result<Vec<Program>, ClientError> {
        let mut all: Vec<Program> = Vec::new();
        loop {
            let after = all.last().map_or(0, |program| program.id.0);
            let (some, more) = self.ask(&ProgramsRequest { after }, |reply| {
                (
                    reply.programs.iter().map(Program::from).collect::<Vec<_>>(),
                    reply.more,
                )
            })?;
            // Ids that do not rise would keep us asking for ever.
            let rising = some.iter().scan(after, |last, program| {
                let rises = program.id.0 > *last;
                *last = program.id.0;
                Some(rises)
            });
            if !rising.into_iter().all(|rises| rises) || (more && some.is_empty()) {
                return Err(ClientError::BadReply {
                    request: Kind::Programs,
                });
            }
            all.extend(some);
            if all.len() > PROGRAMS_MAX {
                return Err(ClientError::BadReply {
                    request: Kind::Programs,
                });
            }
            if !more {
                return Ok(all);
            }
        }
    }

    /// Makes an object of a range of a namespace: `length` bytes, or all to its end.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn open(
        &mut self,
        namespace: u32,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Object, ClientError> {
        let object = self.ask(
            &OpenRequest {
                namespace,
                offset,
                length,
            },
            |reply| Object {
                id: ObjectId(reply.object),
                length: reply.length,
                block_bytes: reply.block_bytes,
            },
        )?;
        if !(1..=BLOCK_BYTES_MAX).contains(&object.block_bytes) {
            return Err(ClientError::BadReply {
                request: Kind::Open,
            });
        }
        Ok(object)
    }

    /// Forgets an object.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn close(&mut self, object: ObjectId) -> Result<(), ClientError> {
        self.ask(&CloseRequest { object: object.0 }, |_| ())
    }

    /// Reads `length` bytes.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn read(
        &mut self,
        object: ObjectId,
        offset: u64,
        length: usize,
    ) -> Result<Vec<u8>, ClientError> {
        if length == 0 {
            return Ok(Vec::new());
        }
        if length <= first_piece_max(offset, self.read_piece_max()) {
            let request = ReadRequest {
                object: object.0,
                offset,
                length: length as u32,
            };
            let mut data = Vec::with_capacity(length);
            let ticket = self.connection.submit_into(&request, &[], &mut data)?;
            let reply = self.finish(ticket, Kind::Read)?;
            return read_payload(reply, length);
        }
        let mut data = vec![0; length];
        self.read_into(object, offset, &mut data)?;
        Ok(data)
    }

    /// Fills `data` from the object.
    ///
    /// # Errors
    /// See [`ClientError`]; `data` may then be partly filled.
    pub fn read_into(
        &mut self,
        object: ObjectId,
        offset: u64,
        data: &mut [u8],
    ) -> Result<(), ClientError> {
        let piece_max = self.read_piece_max();
        let mut window = VecDeque::new();
        let mut at = offset;
        let first = first_piece_max(offset, piece_max).min(data.len());
        let (first, rest) = data.split_at_mut(first);
        let first = Some(first).filter(|piece| !piece.is_empty());
        let mut pieces = first.into_iter().chain(rest.chunks_mut(piece_max));
        loop {
            while window.len() < SPLIT_IN_FLIGHT_MAX
                && let Some(piece) = pieces.next()
            {
                let length = piece.len() as u32;
                let request = ReadRequest {
                    object: object.0,
                    offset: at,
                    length,
                };
                match self.connection.submit(&request, &[]) {
                    Ok(ticket) => window.push_back((ticket, piece)),
                    Err(error) => return Err(self.give_up(&mut window, error.into())),
                }
                at = at.wrapping_add(u64::from(length));
            }
            let Some((ticket, piece)) = window.pop_front() else {
                return Ok(());
            };
            let result = self.finish(ticket, Kind::Read).and_then(|reply| {
                if reply.payload.len() != piece.len() {
                    return Err(ClientError::BadReply {
                        request: Kind::Read,
                    });
                }
                piece.copy_from_slice(&reply.payload);
                self.connection.session().recycle(reply);
                Ok(())
            });
            if let Err(error) = result {
                return Err(self.give_up(&mut window, error));
            }
        }
    }

    /// Writes `data`. It is durable after a [`Client::flush`] in the same epoch. If a part fails,
    /// parts before and after it may have been written.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn write(&mut self, object: ObjectId, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        let piece_max = self.write_piece_max();
        let mut window = VecDeque::new();
        let mut at = offset;
        let mut pieces = data.chunks(piece_max);
        loop {
            while window.len() < SPLIT_IN_FLIGHT_MAX
                && let Some(piece) = pieces.next()
            {
                let request = WriteRequest {
                    object: object.0,
                    offset: at,
                };
                match self.connection.submit(&request, piece) {
                    Ok(ticket) => window.push_back((ticket, ())),
                    Err(error) => return Err(self.give_up(&mut window, error.into())),
                }
                at = at.wrapping_add(piece.len() as u64);
            }
            let Some((ticket, ())) = window.pop_front() else {
                return Ok(());
            };
            let reply = match self.finish(ticket, Kind::Write) {
                Ok(reply) => reply,
                Err(error) => return Err(self.give_up(&mut window, error)),
            };
            match reply.decode::<WriteRequest>() {
                Ok(written) => self.unflushed.wrote(written.drive_epoch),
                Err(_) => {
                    let error = ClientError::BadReply {
                        request: Kind::Write,
                    };
                    return Err(self.give_up(&mut window, error));
                }
            }
            self.connection.session().recycle(reply);
        }
    }

    /// Makes durable what was written to the object's namespace. Look at
    /// [`FlushOutcome::writes_may_be_lost`].
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn flush(&mut self, object: ObjectId) -> Result<FlushOutcome, ClientError> {
        let drive_epoch = self.ask(&FlushRequest { object: object.0 }, |reply| {
            reply.drive_epoch
        })?;
        Ok(FlushOutcome {
            drive_epoch,
            writes_may_be_lost: self.unflushed.flushed(drive_epoch),
        })
    }

    /// Uploads an image in pieces, under its SHA-256.
    ///
    /// # Errors
    /// [`ClientError::Limit`] for names and images the protocol does not allow; the agent's
    /// refusal, which names the instruction at fault; see [`ClientError`].
    pub fn load(&mut self, name: &str, image: &[u8]) -> Result<ProgramId, ClientError> {
        self.load_proved(name, image, false).map(|loaded| loaded.id)
    }

    /// Loads a program as [`load`](Client::load) does, and tells what was proved of it. If
    /// `strict`, the agent refuses a program of which not every memory access is proved.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn load_proved(
        &mut self,
        name: &str,
        image: &[u8],
        strict: bool,
    ) -> Result<Loaded, ClientError> {
        limit(
            "the length of the program's name",
            name.len(),
            NAME_BYTES_MAX,
        )?;
        limit(
            "the size of the program's image",
            image.len(),
            IMAGE_BYTES_MAX as usize,
        )?;
        let sha256 = Sha256::digest(image).into();
        let total_bytes = image.len() as u32;
        self.ask(
            &LoadRequest {
                name,
                total_bytes,
                sha256,
                strict,
            },
            |_| (),
        )?;
        let piece_max = self.write_piece_max();
        let mut last = None;
        for (index, piece) in image.chunks(piece_max).enumerate() {
            let request = LoadPieceRequest {
                offset: (index * piece_max) as u32,
            };
            last = self.ask_with(&request, piece, |reply| {
                let id = reply.program.map(ProgramId)?;
                let proof = reply.proof;
                Some(Loaded { id, proof })
            })?;
        }
        last.ok_or(ClientError::BadReply {
            request: Kind::LoadPiece,
        })
    }

    /// Forgets a program.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn unload(&mut self, program: ProgramId) -> Result<(), ClientError> {
        self.ask(&UnloadRequest { program: program.0 }, |_| ())
    }

    /// Makes an instance of a program, whose object 0, 1 … are these.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn attach(
        &mut self,
        program: ProgramId,
        objects: &[ObjectId],
        budgets: Budgets,
    ) -> Result<InstanceId, ClientError> {
        limit(
            "the number of objects",
            objects.len(),
            OBJECTS_PER_INSTANCE_MAX,
        )?;
        let request = AttachRequest {
            program: program.0,
            objects: objects.iter().map(|object| object.0).collect(),
            instruction_budget: budgets.instructions,
            read_budget: budgets.reads,
        };
        self.ask(&request, |reply| InstanceId(reply.instance))
    }

    /// Ends an instance.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub fn detach(&mut self, instance: InstanceId) -> Result<(), ClientError> {
        self.ask(
            &DetachRequest {
                instance: instance.0,
            },
            |_| (),
        )
    }

    /// Runs an instance once.
    ///
    /// # Errors
    /// [`ClientError::Refused`] also for a program that returned an errno or was ended; see
    /// [`ClientError`].
    pub fn call(&mut self, instance: InstanceId, args: &[u8]) -> Result<CallOutcome, ClientError> {
        let mut outcome = CallOutcome::default();
        self.call_into(instance, args, &mut outcome)?;
        Ok(outcome)
    }

    /// Runs an instance once, and uses the buffer of an earlier outcome for the reply.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_into(
        &mut self,
        instance: InstanceId,
        args: &[u8],
        outcome: &mut CallOutcome,
    ) -> Result<(), ClientError> {
        outcome.reply.clear();
        let request = CallRequest {
            instance: instance.0,
        };
        let ticket = self
            .connection
            .submit_into(&request, args, &mut outcome.reply)?;
        let mut reply = self.finish(ticket, Kind::Call)?;
        outcome.reply = core::mem::take(&mut reply.payload);
        let bad = |_| ClientError::BadReply {
            request: Kind::Call,
        };
        let body = reply.decode::<CallRequest>().map_err(bad)?;
        if u32::try_from(body.result).ok() != u32::try_from(outcome.reply.len()).ok() {
            return Err(ClientError::BadReply {
                request: Kind::Call,
            });
        }
        (outcome.result, outcome.instructions, outcome.reads) =
            (body.result, body.instructions, body.reads);
        self.connection.session().recycle(reply);
        Ok(())
    }

    fn read_piece_max(&self) -> usize {
        self.terms().io_bytes_max.max(1) as usize
    }

    /// What a Write or a piece of an upload may carry: whole 4 KiB if there are any, so that pieces
    /// stay aligned.
    fn write_piece_max(&self) -> usize {
        let terms = self.terms();
        let most = terms.frame_payload_max.min(terms.io_bytes_max).max(1) as usize;
        if most >= 4096 {
            most - most % 4096
        } else {
            most
        }
    }

    pub(crate) fn ask<R: Request, V>(
        &mut self,
        request: &R,
        take: impl FnOnce(R::Reply<'_>) -> V,
    ) -> Result<V, ClientError> {
        self.ask_with(request, &[], take)
    }

    /// Makes a request, waits for its reply, and hands on what `take` makes of its body.
    fn ask_with<R: Request, V>(
        &mut self,
        request: &R,
        payload: &[u8],
        take: impl FnOnce(R::Reply<'_>) -> V,
    ) -> Result<V, ClientError> {
        let ticket = self.connection.submit(request, payload)?;
        let reply = self.finish(ticket, R::KIND)?;
        let body = reply
            .decode::<R>()
            .map_err(|_| ClientError::BadReply { request: R::KIND })?;
        let value = take(body);
        self.connection.session().recycle(reply);
        Ok(value)
    }

    /// Waits for a reply and makes an error of one that is not Ok.
    fn finish(&mut self, ticket: Ticket, request: Kind) -> Result<Reply, ClientError> {
        let reply = self
            .connection
            .wait(ticket)
            .ok_or(ClientError::BadReply { request })?;
        if reply.status == Status::Ok {
            Ok(reply)
        } else {
            Err(self.connection.error_of(&reply))
        }
    }

    /// One of several requests failed: the replies to the others are not wanted.
    fn give_up<P>(
        &mut self,
        window: &mut VecDeque<(Ticket, P)>,
        error: ClientError,
    ) -> ClientError {
        for (ticket, _) in window.drain(..) {
            self.connection.session().abandon(ticket);
        }
        error
    }
}

fn read_payload(reply: Reply, length: usize) -> Result<Vec<u8>, ClientError> {
    if reply.payload.len() == length {
        Ok(reply.payload)
    } else {
        Err(ClientError::BadReply {
            request: Kind::Read,
        })
    }
}

/// The most that one request may ask for from `offset` on: up to where reads are cut.
fn first_piece_max(offset: u64, piece_max: usize) -> usize {
    let within = (offset % READ_CUT_BYTES as u64) as usize;
    if piece_max > within {
        piece_max - within
    } else {
        piece_max
    }
}

fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), ClientError> {
    if got > limit {
        return Err(ClientError::Limit {
            what,
            got: got as u64,
            limit: limit as u64,
        });
    }
    Ok(())
}
