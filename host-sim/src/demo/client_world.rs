//! A world of one client, and an agent somewhere: operations go through the client, and the parts of one
//! are measured by themselves on this machine.

use std::io::{Read, Write};

use client::{Client, Config};

use super::command::WorldSpec;
use super::drive_alone::DriveAlone;
use super::program_alone::ProgramAlone;
use super::simulated::model;
use super::through_client::ThroughClient;
use super::world::{Done, Failure, WireCounters, World};

/// Where the agent is: what differs between one world and another.
pub trait Surroundings {
    /// As [`World::now_ns`].
    fn now_ns(&self) -> u64;

    /// As [`World::wire_counters`].
    fn wire_counters(&self) -> WireCounters;
}

/// A client's world. The connection ends before what is around it.
pub struct ClientWorld<T, S> {
    client: ThroughClient<T>,
    program_alone: ProgramAlone,
    drive_alone: DriveAlone,
    surroundings: S,
}

impl<T: Read + Write, S: Surroundings> ClientWorld<T, S> {
    /// Speaks to the agent over `stream`, and loads and attaches the programs.
    ///
    /// # Errors
    ///
    /// A sentence that says what could not be had.
    pub(super) fn new(
        stream: T,
        spec: &WorldSpec,
        surroundings: S,
    ) -> Result<ClientWorld<T, S>, String> {
        let client = Client::new(stream, &Config::default()).map_err(|error| error.to_string())?;
        let (client, image) = ThroughClient::new(client, spec)?;
        Ok(ClientWorld {
            client,
            program_alone: ProgramAlone::new(&image, spec.execution, &spec.database)
                .map_err(|error| error.to_string())?,
            drive_alone: DriveAlone::open(model(spec)?, spec.lanes)?,
            surroundings,
        })
    }
}

impl<T: Read + Write, S: Surroundings> World for ClientWorld<T, S> {
    fn now_ns(&self) -> u64 {
        self.surroundings.now_ns()
    }

    fn submit_read(&mut self, lane: usize, offset: u64, length: u32) {
        self.client.submit_read(lane, offset, length);
    }

    fn submit_call(&mut self, lane: usize, args: &[u8]) {
        self.client.submit_call(lane, args);
    }

    fn submit_ping(&mut self, lane: usize) {
        self.client.submit_ping(lane);
    }

    fn next_done(&mut self) -> Done<'_> {
        self.client.next_done()
    }

    fn execute_ns(&mut self, args: &[u8]) -> Result<u64, Failure> {
        self.program_alone.execute_ns(args)
    }

    fn reads_ns(&mut self, reads: &[(u64, u32)], in_flight: usize) -> Result<u64, Failure> {
        let ns = self.drive_alone.reads_ns(reads, in_flight);
        ns.map_err(Failure::Refused)
    }

    fn wire_counters(&self) -> WireCounters {
        self.surroundings.wire_counters()
    }
}
