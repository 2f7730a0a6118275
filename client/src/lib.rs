//! Client library of Outboard, and the outboard command.
//!
//! | module | |
//! |---|---|
//! | [`session`] | the protocol without I/O: for event loops and simulations |
//! | [`connection`] | a session over anything that is `Read + Write` |
//! | [`blocking`] | [`Client`]: one method for each thing an agent does |
//! | [`pipeline`] | many requests in flight over one connection |
//! | [`linker`] | ELF objects of clang into images an agent loads |
//! | [`verify`] | the agent's proof of a program, made here |
//! | [`diagnosis`] | what is wrong with a program, in words |
//!
//! ```no_run
//! use client::{Client, Config, linker};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut client = Client::connect("127.0.0.1:7117", &Config::default())?;
//! let object = client.open(1, 0, None)?;
//! let linked = linker::link(&std::fs::read("lookup.o")?)?;
//! let program = client.load("lookup", &linked.image)?;
//! let instance = client.attach(program, &[object.id], Default::default())?;
//! let answer = client.call(instance, b"key")?;
//! println!("{} bytes after {} reads", answer.reply.len(), answer.reads);
//! # Ok(())
//! # }
//! ```

pub mod blocking;
pub mod connection;
pub mod diagnosis;
pub mod error;
pub mod limits;
pub mod linker;
mod maps;
pub mod pipeline;
pub mod session;
pub mod types;
pub mod verify;

pub use blocking::Client;
pub use connection::{Config, Connection};
pub use error::ClientError;
pub use pipeline::{Completion, Done, Pipeline};
pub use session::{Reply, Session, SessionError, SubmitError, Ticket};
pub use types::{
    Budgets, CallOutcome, FlushOutcome, Info, InstanceId, Loaded, MapEntry, MapInfo, Namespace,
    Object, ObjectId, Presence, Program, ProgramId, Stats,
};
