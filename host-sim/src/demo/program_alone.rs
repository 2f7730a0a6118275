//! `sqlite_get` without an agent: what of a lookup is the program's own work.
//!
//! The same image, the same helpers and the same engine as on the agent, but memory that
//! nobody else wants, no slices, and reads that are answered at once. The clock runs while the
//! program does and stands while it is read for.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use dpu_firmware::execution::{
    Execution, ExecutionConfig, Lent, LoadedProgram, Translation, Unfit,
};
use dpu_firmware::helpers::{HELPERS, HelperHost, ReadPlan};
use dpu_firmware::limits::LARGE;
use dpu_firmware::objects::Object;
use ebpf::abi::environment;
use ebpf::limits::KEPT_MAX;
use ebpf::verifier::{Kept, Verifier};
use ebpf::{EntryKind, Image, ImageHeader, Outcome, check_image};
use nvme_model::driver::NamespaceId;

use super::world::Failure;

/// What the object is counted in; any power of two would do.
const BLOCK_BYTES: u32 = 512;

/// More than any lookup needs.
const INSTRUCTION_BUDGET: u64 = 10_000_000;

/// Readings of the clock from which the cost of one is taken.
const CLOCK_READINGS: u32 = 10_000;

/// A program and what it runs in.
pub struct ProgramAlone {
    program: LoadedProgram,
    execution: Box<Execution>,
    header: ImageHeader,
    file: File,
    objects: [Option<Object>; 1],
    args: Vec<u8>,
    reply: Vec<u8>,
    scratch: Vec<u8>,
    plan: ReadPlan,
    clock: Duration,
}

impl ProgramAlone {
    /// The program of `image` over the file at `path`.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with either.
    pub fn new(
        image: &[u8],
        execution: ExecutionConfig,
        path: &Path,
    ) -> Result<ProgramAlone, String> {
        let unreadable = |error: io::Error| format!("cannot read {}: {error}", path.display());
        let image = Image::parse(image).map_err(|error| error.to_string())?;
        let header = *image.header();
        let program = prove(&image, execution)?;
        let file = File::open(path).map_err(unreadable)?;
        let object = Object {
            namespace: NamespaceId(1),
            start_bytes: 0,
            length_bytes: file.metadata().map_err(unreadable)?.len(),
            block_bytes: BLOCK_BYTES,
        };
        Ok(ProgramAlone {
            program,
            execution: Box::new(Execution::IDLE),
            header,
            file,
            objects: [Some(object)],
            args: vec![0; header.args_max as usize],
            reply: vec![0; header.reply_max as usize],
            scratch: vec![0; header.scratch_bytes as usize],
            plan: ReadPlan::new(),
            clock: clock_cost(),
        })
    }

    /// Runs the program once: how long it took, in nanoseconds, the reading of the clock taken off.
    ///
    /// # Errors
    ///
    /// [`Failure::Refused`] if it does not come to its end. What it returns is not looked at.
    pub fn execute_ns(&mut self, args: &[u8]) -> Result<u64, Failure> {
        let length = args.len().min(self.args.len());
        self.args.fill(0);
        self.args[..length].copy_from_slice(&args[..length]);
        self.scratch[self.header.scratch_zero()].fill(0);
        let (program, budget) = (&self.program, INSTRUCTION_BUDGET);
        let kind = EntryKind::Call;
        if !self.execution.start(program, kind, length, 1, budget) {
            return Err(refused("it has no dpu/call"));
        }
        let mut random = 1;
        let mut taken = Duration::ZERO;
        loop {
            let mut host = HelperHost {
                objects: &self.objects,
                maps: &mut [],
                now_us: 0,
                random: &mut random,
                plan: &mut self.plan,
            };
            let lent = Lent {
                args: &self.args,
                reply: &mut self.reply,
                scratch: &mut self.scratch,
            };
            let started = Instant::now();
            let outcome = self.execution.run(program, lent, &mut host, u32::MAX);
            taken += started.elapsed().saturating_sub(self.clock);
            match outcome {
                Outcome::Exit { .. } => return Ok(taken.as_nanos() as u64),
                Outcome::Yielded => {}
                Outcome::Waiting => {
                    read(&self.file, &self.plan, &mut self.scratch).map_err(refused)?;
                    self.execution.resume(0);
                }
                other => return Err(refused(other)),
            }
        }
    }
}

/// The program of an image, as the agent would load it.
fn prove(image: &Image<'_>, execution: ExecutionConfig) -> Result<LoadedProgram, String> {
    let slots: Vec<u64> = image.code().collect();
    let checked = check_image(image, &slots, &HELPERS).map_err(|refusal| refusal.to_string())?;
    let environment = environment(image).map_err(|error| error.to_string())?;
    let mut verifier = Verifier::new(vec![Kept::EMPTY; KEPT_MAX].into_boxed_slice());
    verifier
        .verify(&slots, &checked, image.entries(), environment)
        .map_err(|refusal| refusal.to_string())?;
    let mut program = LoadedProgram::empty(execution.engine, LARGE.code_bytes)
        .ok_or("there is no memory for machine code")?;
    let mut translation = Translation::IDLE;
    let unfit = |why: Unfit| why.to_string();
    program
        .load(&mut verifier, execution.isolation, &mut translation)
        .map_err(unfit)?;
    while !program
        .translate(&mut translation, u32::MAX)
        .map_err(unfit)?
    {}
    Ok(program)
}

/// Reads what the program waits for.
fn read(file: &File, plan: &ReadPlan, scratch: &mut [u8]) -> io::Result<()> {
    for planned in plan {
        let placed = planned.placed;
        let at = planned.scratch_offset as usize;
        let to = &mut scratch[at..at + placed.length_bytes as usize];
        let from = placed.blocks.lba.0 * u64::from(BLOCK_BYTES) + u64::from(placed.skip_bytes);
        file.read_exact_at(to, from)?;
    }
    Ok(())
}

fn refused(why: impl std::fmt::Display) -> Failure {
    Failure::Refused(why.to_string())
}

/// What lies between two readings of the clock with nothing between them.
fn clock_cost() -> Duration {
    let started = Instant::now();
    for _ in 1..CLOCK_READINGS {
        std::hint::black_box(Instant::now());
    }
    started.elapsed() / CLOCK_READINGS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::calls;
    use crate::demo::plan::plan;
    use crate::sqlite::Database;
    use client::linker;
    use rusqlite::Connection;

    /// The reply of every row is its record, so it is the right program doing all of its work.
    #[test]
    fn it_does_the_whole_lookup() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.db");
        Connection::open(&path)
            .unwrap()
            .execute_batch(
                "PRAGMA page_size = 512; CREATE TABLE t (a TEXT); \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) \
                 INSERT INTO t SELECT 'row ' || i FROM n;",
            )
            .unwrap();
        let database = Database::open(&path).unwrap();
        let table = database.table(None).unwrap();
        let get = programs::sqlite::program_for(512);
        let image = linker::link(get.object).unwrap().image;
        let mut alone = ProgramAlone::new(&image, ExecutionConfig::default(), &path).unwrap();
        let mut args = Vec::new();
        for rowid in plan(&database, &table, 50, 0, 1).unwrap().keys {
            calls::lookup(&table.table, rowid, &mut args);
            alone.execute_ns(&args).unwrap();
            let text = format!("row {rowid}");
            let found = alone
                .reply
                .windows(text.len())
                .any(|it| it == text.as_bytes());
            assert!(found, "{text}");
        }
        calls::lookup(&table.table, 301, &mut args);
        alone.execute_ns(&args).unwrap();
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(ProgramAlone::new(b"no image", ExecutionConfig::default(), file.path()).is_err());
    }
}
