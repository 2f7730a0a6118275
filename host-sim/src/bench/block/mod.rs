//! `host-sim bench block`: 4 KiB random reads of a file through the driver and a drive, beside fio.
//!
//! No network and no agent: what is measured is the driver and what it drives. Everybody reads the
//! same file in the same mode, in turns within one run.
//!
//! | case | how the file is read |
//! |---|---|
//! | `cached-depth-N` | from the page cache, which holds all of it |
//! | `direct-depth-N` | past it, by `O_DIRECT` |
//!
//! | who | is |
//! |---|---|
//! | `outboard-model` | the driver over the software controller over the file |
//! | `outboard-qemu` | with `--nvme qemu`: the driver over QEMU's device over the file |
//! | `bare-qtest` | with it: QEMU's device and a loop that only writes commands and doorbells |
//! | `fio-psync` | fio, one thread, one `pread` after the other, whatever the depth |
//! | `fio-io_uring` | fio, one thread, N reads in flight |
//!
//! `doorbells_per_op` is how often the driver wrote a doorbell, of either queue, for each read.

mod file;
mod fio;
mod model;
mod qemu;
mod reader;

use std::io::Write;
use std::path::Path;

use self::fio::{Engine, Fio};
use self::qemu::Qemu;
use super::BenchError;
use super::race::{Contestant, Run, race};
use crate::cli::{BlockBenchArgs, Exit, NvmeArg};
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::qemu::find;

/// Reads in flight in the cases.
const DEPTHS: [usize; 4] = [1, 8, 32, 128];

/// How the file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// From the page cache.
    Cached,
    /// By `O_DIRECT`.
    Direct,
}

impl Mode {
    const ALL: [Mode; 2] = [Mode::Cached, Mode::Direct];

    const fn name(self) -> &'static str {
        match self {
            Mode::Cached => "cached",
            Mode::Direct => "direct",
        }
    }
}

/// Runs the bench and prints it.
///
/// # Errors
///
/// [`BenchError`].
pub fn command(
    args: &BlockBenchArgs,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, BenchError> {
    let mut progress = Progress::new(args.output.json);
    let path = match &args.file {
        Some(path) => path.clone(),
        None => match file::made(args.size_mib, &mut progress, interrupt)? {
            Some(path) => path,
            None => return Ok(Exit::Interrupted),
        },
    };
    file::warm(&path, &mut progress)?;
    progress.finish();
    let contestants = contestants(args, &path).map_err(BenchError::World)?;
    race(
        "block",
        contestants,
        args.time,
        &args.output,
        interrupt,
        out,
    )
}

/// Who races in which case.
fn contestants(args: &BlockBenchArgs, path: &Path) -> Result<Vec<Contestant>, String> {
    let mut all = Vec::new();
    for mode in Mode::ALL {
        for depth in DEPTHS {
            let case = format!("{}-depth-{depth}", mode.name());
            if !case.contains(&args.output.case) {
                continue;
            }
            match args.nvme {
                NvmeArg::Model => {
                    let ours = model::reader(path, mode, depth);
                    all.push(Contestant::new(&case, "outboard-model", ours));
                }
                NvmeArg::Qemu => {
                    let qemu = Qemu::new(find(args.qemu.as_deref()), path, mode);
                    let ours = Ok(qemu.clone().reader(depth));
                    all.push(Contestant::new(&case, "outboard-qemu", ours));
                    all.push(Contestant::new(&case, "bare-qtest", Ok(qemu.bare(depth))));
                }
            }
            for engine in Engine::ALL {
                let fio = Fio::new(path, engine, mode, depth);
                let run: Result<Run, String> = fio.map(|mut fio| {
                    let run = move |time| Ok(vec![("ops_per_s", fio.run(time)?)]);
                    Box::new(run) as Run
                });
                all.push(Contestant::new(&case, engine.who(), run));
            }
        }
    }
    if all.is_empty() {
        return Err(format!("no case's name contains {:?}", args.output.case));
    }
    Ok(all)
}
