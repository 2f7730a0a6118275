//! `host-sim demo`, from its arguments to its exit status, over a world that the caller opens.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use dpu_firmware::execution::{EngineKind, ExecutionConfig};

use super::plan::{PlanError, plan};
use super::run::{ROUNDS, RunError, Setup, Worlds, run};
use super::world::World;
use crate::cli::{DemoArgs, Exit, OnArg};
use crate::dataset::{DatasetError, Placement, snapshot};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::report::DemoReport;
use crate::sqlite::catalog::CatalogError;
use crate::sqlite::{Database, Table};

/// The world that a demonstration needs.
///
/// A drive with the database on it, an agent, a network, and on the agent `sqlite_get` attached to
/// the database.
#[derive(Clone, Debug)]
pub struct WorldSpec {
    /// The database. Nothing writes to it.
    pub database: PathBuf,
    /// How it lies on the drive.
    pub placement: Placement,
    /// The table that is looked up in.
    pub table: Table,
    /// Operations in flight at once: lanes are numbered from 0 to one less.
    pub lanes: usize,
    /// Delay to add to each network round trip.
    pub rtt: Duration,
    /// Time to add to each read of the drive.
    pub drive_latency: Duration,
    /// How programs are run.
    pub execution: ExecutionConfig,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// There is no database.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// The database or its table cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// There are no keys.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The world could not be opened.
    #[error("{0}")]
    World(String),
    /// The measurement failed.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The result could not be printed.
    #[error("cannot print the result: {0}")]
    Print(io::Error),
}

impl DemoError {
    /// The exit status that this is.
    pub fn exit(&self) -> Exit {
        match self {
            DemoError::Dataset(DatasetError::Stopped) | DemoError::Run(RunError::Stopped) => {
                Exit::Interrupted
            }
            _ => Exit::Failed,
        }
    }
}

/// Does what `args` ask for and prints the result to `out`.
///
/// `open` is called when the files are ready, for each of [`Worlds`].
pub fn command<W: World>(
    args: &DemoArgs,
    interrupt: &Interrupt,
    out: &mut dyn Write,
    open: impl Fn(&WorldSpec) -> Result<W, String>,
) -> Result<Exit, DemoError> {
    let mut progress = Progress::new(args.quiet);
    let files = Files::ready(args, interrupt, &mut progress)?;
    let database = Database::open(&files.database)?;
    let table_name = match args.made() {
        Some(made) => Some(made.table_name()),
        None => args.table.as_deref(),
    };
    let table = database.table(table_name)?;
    let keys = plan(
        &database,
        &table,
        args.keys as usize,
        args.missing,
        args.seed,
    )?
    .keys;
    let spec = WorldSpec {
        database: files.database.clone(),
        placement: Placement::of(&files.database)?,
        table: table.table,
        lanes: args.concurrency as usize,
        rtt: args.rtt,
        drive_latency: args.drive_latency,
        execution: args.execution.config(),
    };
    let without_delays = WorldSpec {
        rtt: Duration::ZERO,
        drive_latency: Duration::ZERO,
        ..spec.clone()
    };
    let in_referee = WorldSpec {
        execution: ExecutionConfig {
            engine: EngineKind::Checked,
            ..spec.execution
        },
        ..without_delays.clone()
    };
    let mut wanted = open(&spec).map_err(DemoError::World)?;
    let mut quiet = open(&without_delays).map_err(DemoError::World)?;
    let mut checked = open(&in_referee).map_err(DemoError::World)?;
    let setup = Setup {
        database: &database,
        table: &table,
        keys: &keys,
        lanes: spec.lanes,
        rounds: ROUNDS,
    };
    progress.start("looking up", 2 * keys.len() as u64);
    let worlds = Worlds {
        wanted: &mut wanted,
        quiet: &mut quiet,
        checked: &mut checked,
    };
    let outcome = run(worlds, &setup, &mut |done, _| {
        progress.at(done);
        !interrupt.requested()
    })?;
    progress.finish();
    let report = DemoReport {
        database: files.label,
        table: table.name,
        page_bytes: spec.placement.header.page_bytes,
        keys: keys.len(),
        concurrency: spec.lanes,
        rtt: args.rtt,
        drive_latency: args.drive_latency,
        engine: spec.execution.engine.name(),
        emulated: args.on == OnArg::Board,
        outcome,
    };
    let text = if args.json {
        report.to_json().to_string()
    } else {
        report.to_text()
    };
    writeln!(out, "{text}")
        .and_then(|()| out.flush())
        .map_err(DemoError::Print)?;
    Ok(if report.is_correct() {
        Exit::Success
    } else {
        Exit::Mismatch
    })
}

/// The files of a demonstration.
struct Files {
    /// What goes on the drive.
    database: PathBuf,
    /// The database's name for the user.
    label: String,
    /// Holds the copy of a user's database; goes when this does.
    _scratch: tempfile::TempDir,
}

impl Files {
    /// Makes or copies the database.
    fn ready(
        args: &DemoArgs,
        interrupt: &Interrupt,
        progress: &mut Progress,
    ) -> Result<Files, DemoError> {
        let cache = args.cache_folder();
        let unwritable = |source| DemoError::Write {
            path: cache.clone(),
            source,
        };
        fs::create_dir_all(&cache).map_err(unwritable)?;
        let scratch = tempfile::Builder::new().prefix(".demo-").tempdir_in(&cache);
        let scratch = scratch.map_err(unwritable)?;
        let made = args.made();
        let what = match &made {
            Some(made) => format!("making {}", made.table_name()),
            None => "copying the database".to_string(),
        };
        progress.start(&what, 0);
        let mut watch = told(progress, &what, interrupt);
        let (database, label) = match (&made, &args.database) {
            (None, Some(source)) => {
                let copy = scratch.path().join("database.sqlite");
                snapshot(source, &copy, &mut watch)?;
                (copy, source.display().to_string())
            }
            (None, None) => unreachable!("there is a database, or one to make"),
            (Some(made), _) => (made.file(&cache, &mut watch)?, made.file_name()),
        };
        drop(watch);
        progress.finish();
        Ok(Files {
            database,
            label,
            _scratch: scratch,
        })
    }
}

/// Tells `progress` how far a file has got, and stops on Ctrl-C.
fn told<'p>(
    progress: &'p mut Progress,
    what: &'p str,
    interrupt: &'p Interrupt,
) -> impl FnMut(crate::dataset::Progress) -> bool + 'p {
    let mut started = false;
    move |now| {
        if !started {
            progress.start(what, now.total);
            started = true;
        }
        progress.at(now.done);
        !interrupt.requested()
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
