//! What went wrong, as a sentence with the remedy, and the exit code it means.

use client::diagnosis::harmless;
use client::linker::LinkError;
use client::{ClientError, ProgramId, SessionError};
use ebpf::ImageError;
use protocol::Status;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("{}: {error}", path.display())]
    Image { path: PathBuf, error: ImageError },
    #[error("{0}")]
    NoProgram(Box<Failure>),
    #[error("{} is refused: {count} {}", path.display(), if *count == 1 { "error" } else { "errors" })]
    Unproved { path: PathBuf, count: usize },
    #[error("the agent loaded program {id} without a proof that all of its accesses are safe")]
    NotStrict { id: ProgramId },
    #[error("{}: {error}", path.display())]
    Link { path: PathBuf, error: LinkError },
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Usage(String),
    #[error("no program {0:?} is loaded")]
    NoSuchProgram(String),
    #[error("the program has no map {map}; it has {known}")]
    NoSuchMap { map: String, known: String },
    #[error("a loaded program's maps are named by number, and {0:?} is none")]
    MapName(String),
    #[error(
        "the drive restarted between the write and the flush, and what was written may be gone"
    )]
    WritesLost,
    #[error("cannot write to the standard output: {0}")]
    Stdout(io::Error),
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::Usage(message.into())
    }

    /// Says it on the standard error, and yields the exit code. Names in it may be of an object
    /// that is not trusted: nothing in them steers the terminal.
    pub(crate) fn report(&self) -> ExitCode {
        // Whoever reads our output has had enough of it: nothing to complain about.
        if let Failure::Stdout(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return ExitCode::SUCCESS;
        }
        let remedy = self
            .remedy()
            .map(|remedy| format!(". {remedy}"))
            .unwrap_or_default();
        // Nobody is left to tell if this fails.
        let _ = io::Write::write_fmt(
            &mut io::stderr(),
            format_args!("outboard: {}{remedy}\n", harmless(&self.to_string())),
        );
        ExitCode::from(self.code())
    }

    fn code(&self) -> u8 {
        match self {
            Failure::Usage(_) | Failure::MapName(_) | Failure::NoProgram(_) => 2,
            Failure::WritesLost => 4,
            Failure::File { .. } | Failure::Stdout(_) => 5,
            Failure::Link { .. }
            | Failure::Image { .. }
            | Failure::Unproved { .. }
            | Failure::NotStrict { .. }
            | Failure::NoSuchMap { .. }
            | Failure::NoSuchProgram(_) => 1,
            Failure::Client(error) => match error {
                error if error.is_outcome_unknown() => 4,
                error if is_no_address(error) => 2,
                ClientError::Unreachable { .. }
                | ClientError::Session(_)
                | ClientError::Lost { .. } => 3,
                ClientError::Limit { .. } => 2,
                _ => 1,
            },
        }
    }

    fn remedy(&self) -> Option<&'static str> {
        let error = match self {
            Failure::Client(error) => error,
            Failure::WritesLost => return Some("Write it again"),
            Failure::MapName(_) => {
                return Some("Their names are in the object: give its file in the program's place");
            }
            Failure::NoSuchProgram(_) => {
                return Some("`outboard programs` lists them, `outboard load` loads one");
            }
            _ => return None,
        };
        Some(match error {
            error if is_no_address(error) => "--agent takes HOST or HOST:PORT",
            ClientError::Unreachable { .. } => {
                "Is `host-sim serve` or `host-sim board` running? Say where with --agent HOST:PORT"
            }
            ClientError::Session(SessionError::Hello(_)) => "Is this an Outboard agent's port?",
            ClientError::Session(SessionError::TimedOut) => {
                "Is this an Outboard agent's port? --timeout has it wait longer"
            }
            ClientError::OutcomeUnknown { .. } => {
                "Look at what is on the drive before doing it again"
            }
            ClientError::Lost { .. } => "It is safe to try again",
            ClientError::Refused { status, .. } => match *status {
                Status::NoSuchNamespace => "`outboard info` lists the namespaces",
                Status::NoSuchProgram => "`outboard programs` lists the programs",
                Status::NameTaken => "Choose another with --name, or `outboard unload` that one",
                Status::OutOfInstructions => "Give it more with --instructions",
                Status::OutOfReads => "Give it more with --reads",
                Status::TooLarge => "`outboard info` shows the limits",
                Status::ProgramFault => {
                    "`outboard verify --all` on its object shows which line of C that instruction is of"
                }
                Status::NoSuchEntry => "`outboard map dump` shows the entries there are",
                Status::PoolExhausted => "Try again later; `outboard stats` shows what is in use",
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// Whether what was given as an address is none.
fn is_no_address(error: &ClientError) -> bool {
    matches!(error, ClientError::Unreachable { source, .. }
        if source.kind() == io::ErrorKind::InvalidInput)
}
