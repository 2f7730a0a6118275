//! Lanes over one connection: as many requests in flight on it as there are lanes, and on the agent
//! `sqlite_get`, attached to the database.

use std::io::{Read, Write};

use client::{Budgets, Client, Completion, InstanceId, ObjectId, Ticket, linker};
use programs::sqlite;
use protocol::message::InfoRequest;

use super::command::WorldSpec;
use super::world::{Done, Failure};

/// A client, with lanes.
pub(super) struct ThroughClient<T> {
    client: Client<T>,
    database: ObjectId,
    lookup: InstanceId,
    /// Which lane a request belongs to.
    lanes: Vec<Option<Ticket>>,
    /// Why a submission failed, told as that lane's end.
    refused: Vec<(usize, String)>,
    /// The bytes of the operation that ended last.
    last: Vec<u8>,
}

impl<T: Read + Write> ThroughClient<T> {
    /// Loads and attaches the program, and gives its image too.
    ///
    /// # Errors
    ///
    /// A sentence that says what could not be had.
    pub(super) fn new(
        mut client: Client<T>,
        spec: &WorldSpec,
    ) -> Result<(ThroughClient<T>, Vec<u8>), String> {
        let opened = client.open(1, 0, None);
        let database = opened.map_err(|error| error.to_string())?.id;
        let get = sqlite::program_for(spec.table.page_bytes);
        let told = |error: &dyn std::fmt::Display| format!("cannot load {}: {error}", get.name);
        let image = linker::link(get.object)
            .map_err(|error| told(&error))?
            .image;
        let program = client
            .load(get.name, &image)
            .map_err(|error| told(&error))?;
        let lookup = client
            .attach(program, &[database], Budgets::default())
            .map_err(|error| told(&error))?;
        let through = ThroughClient {
            client,
            database,
            lookup,
            lanes: vec![None; spec.lanes],
            refused: Vec::new(),
            last: Vec::new(),
        };
        Ok((through, image))
    }

    /// [`World::submit_read`](super::world::World::submit_read).
    pub(super) fn submit_read(&mut self, lane: usize, offset: u64, length: u32) {
        let ticket = self.client.pipeline().read(self.database, offset, length);
        self.submitted(lane, ticket);
    }

    /// [`World::submit_call`](super::world::World::submit_call).
    pub(super) fn submit_call(&mut self, lane: usize, args: &[u8]) {
        let ticket = self.client.pipeline().call(self.lookup, args);
        self.submitted(lane, ticket);
    }

    /// [`World::submit_ping`](super::world::World::submit_ping).
    pub(super) fn submit_ping(&mut self, lane: usize) {
        let ticket = self.client.pipeline().submit(&InfoRequest {}, &[]);
        self.submitted(lane, ticket);
    }

    /// [`World::next_done`](super::world::World::next_done).
    pub(super) fn next_done(&mut self) -> Done<'_> {
        if let Some((lane, why)) = self.refused.pop() {
            return Done {
                lane,
                result: Err(Failure::Refused(why)),
                instructions: 0,
            };
        }
        match self.client.pipeline().next_completion() {
            Some(completion) => self.done(completion),
            None => {
                let lane = self
                    .lanes
                    .iter()
                    .position(Option::is_some)
                    .unwrap_or_default();
                let why = "the connection ended with the request in flight".to_string();
                Done {
                    lane,
                    result: Err(Failure::Refused(why)),
                    instructions: 0,
                }
            }
        }
    }

    fn submitted(&mut self, lane: usize, ticket: Result<Ticket, client::ClientError>) {
        match ticket {
            Ok(ticket) => self.lanes[lane] = Some(ticket),
            Err(error) => self.refused.push((lane, error.to_string())),
        }
    }

    fn done(&mut self, completion: Completion) -> Done<'_> {
        let at = self
            .lanes
            .iter()
            .position(|ticket| *ticket == Some(completion.ticket));
        let lane = at.unwrap_or_default();
        self.lanes[lane] = None;
        let buffer = std::mem::take(&mut self.last);
        self.client.pipeline().recycle(buffer);
        let mut instructions = 0;
        let result = match completion.result {
            Ok(client::Done::Read(bytes)) => {
                self.last = bytes;
                Ok(self.last.as_slice())
            }
            Ok(client::Done::Call(outcome)) => {
                instructions = outcome.instructions;
                self.last = outcome.reply;
                Ok(self.last.as_slice())
            }
            Ok(client::Done::Other(_)) => Ok(&[][..]),
            Ok(other) => Err(Failure::Refused(format!(
                "an answer to something else: {other:?}"
            ))),
            Err(error) => Err(match error.errno() {
                Some(errno) => Failure::Errno(errno),
                None => Failure::Refused(error.to_string()),
            }),
        };
        Done {
            lane,
            result,
            instructions,
        }
    }
}
