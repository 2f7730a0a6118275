//! The command line of `host-sim`.
//!
//! Only what can be asked for, with its help; what is done then is the business of the modules
//! that do it. Everything that can be checked without doing anything is checked here.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use log::LevelFilter;
use nvme_model::limits::NAMESPACES_MAX;

use dpu_firmware::execution::{EngineKind, ExecutionConfig};
use ebpf::Isolation;
use ebpf::jit::Target;

use crate::code;
use crate::dataset::{Content, Dataset, cache_folder};
use crate::duration;
use crate::interrupt::EXIT_INTERRUPTED;

/// How a run ended, as the process's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything was done and is right.
    Success,
    /// It could not be done.
    Failed,
    /// It was done, and an answer was wrong.
    Mismatch,
    /// Ctrl-C or SIGTERM, before it was done.
    Interrupted,
}

impl Exit {
    /// The status. 2 is clap's: a command line that cannot be understood.
    pub fn status(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Mismatch => 3,
            Exit::Interrupted => EXIT_INTERRUPTED,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.status())
    }
}

const EXIT_HELP: &str = "\
Exit status:
  0    done, and everything that was checked is right
  1    it could not be done; a sentence on standard error says why
  2    the command line cannot be understood
  3    it was done, and an answer was wrong
  130  interrupted by Ctrl-C or SIGTERM; `serve` and `board`, which end in no other way, finish what
       they accepted, flush, and end with 0. A second one ends anything at once, with 130

Results go to standard output, progress and messages to standard error.";

/// The Outboard agent on a laptop.
///
/// Runs the agent that a DPU would run, over a simulated NVMe drive that keeps its blocks in a
/// file. Start with `host-sim demo`: it needs no arguments and no privileges.
#[derive(Clone, Debug, Parser)]
#[command(name = "host-sim", version, after_help = EXIT_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Serve a file as a drive, until Ctrl-C.
    ///
    /// The agent listens inside the simulated network, and connections to --listen are carried to
    /// it. With --tap it has an address of its own on that interface instead.
    Serve(ServeArgs),
    /// Boot the agent on bare metal, in QEMU, with a file as its drive, until Ctrl-C.
    ///
    /// Builds the firmware, or takes one, and shows its log with level, module and time. Connections to
    /// --listen reach the agent through the emulated network interface.
    Board(BoardArgs),
    /// Look up rows of a SQLite table through the DPU and by remote reads, and compare.
    ///
    /// Without arguments: makes TPC-H `orders` as a real SQLite file (once; it is kept), puts the
    /// file on the simulated drive, uploads `sqlite_get`, and looks up random keys both ways: through
    /// the DPU in one round trip each, and by remote reads of the same B-tree's pages. Every record is
    /// compared with what SQLite itself answers. At the end stands a table of both ways, and the ratio
    /// that their measured parts lead to expect.
    Demo(DemoArgs),
    /// Measure a part, next to what else could do its job.
    Bench(BenchArgs),
}

/// Arguments of `serve`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  host-sim serve --disk drive.img --listen 127.0.0.1:7117
  host-sim serve --disk orders.sqlite --block-bytes 512 --listen 127.0.0.1:0
  host-sim serve --disk a.img --namespace b.img --namespace c.img,block=512 \\
      --listen 127.0.0.1:7117
  host-sim serve --disk drive.img --nvme qemu

The address that is listened on is printed as one line to standard output once the agent is
ready: with port 0 that is how to learn it.

Ctrl-C or SIGTERM: requests that were accepted are answered, the drive is flushed, and the exit
status is 0. A second one ends it at once, with 130.

With --nvme qemu the drive is QEMU's (on Debian: apt-get install qemu-system-arm), reached by its test
protocol and shared memory. Should QEMU end, requests are answered that the drive has failed, and serve
ends with 1; what was acknowledged is in the files.")]
pub struct ServeArgs {
    /// File with the blocks of namespace 1; it must exist and is written to.
    #[arg(long, value_name = "FILE")]
    pub disk: PathBuf,

    /// What the drive is.
    #[arg(long, value_enum, default_value_t = NvmeArg::Model)]
    pub nvme: NvmeArg,

    /// The program to run for `--nvme qemu`, 7.2 or later [default: $OUTBOARD_QEMU, or
    /// qemu-system-aarch64 from PATH].
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,

    /// Address and port of this machine to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7117", value_parser = listen)]
    pub listen: SocketAddr,

    /// Attach the agent to this TAP interface instead of listening here (needs the right to open
    /// it).
    #[arg(long, value_name = "NAME", conflicts_with_all = ["listen", "rtt"])]
    pub tap: Option<String>,

    /// The agent's address on the TAP interface.
    #[arg(long, value_name = "ADDR/BITS", default_value = "10.117.0.2/24", value_parser = tap_address,
          requires = "tap")]
    pub tap_address: TapAddress,

    /// Bytes of a block of namespace 1.
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = block_bytes)]
    pub block_bytes: u32,

    /// A further namespace, numbered from 2 in the order given.
    ///
    /// A file, optionally followed by `,block=512` or `,block=4096` (default: --block-bytes).
    #[arg(long, value_name = "FILE[,block=BYTES]", value_parser = namespace)]
    pub namespace: Vec<NamespaceArg>,

    /// Delay added to each network round trip, half in each direction.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration::parse)]
    pub rtt: Duration,

    /// Time added to each read of the model.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration::parse)]
    pub drive_latency: Duration,

    /// Let the drive warm up under load: at 70 °C it warns, and gets half the commands until it is
    /// cooler. `outboard stats` shows it.
    #[arg(long)]
    pub heat: bool,

    /// Show the drive's activity LED on standard error, where that is a terminal.
    #[arg(long)]
    pub led: bool,

    /// How much of the agent's log goes to standard error.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = LogArg::Warn)]
    pub log: LogArg,

    /// How programs are run.
    #[command(flatten)]
    pub execution: ExecutionArgs,
}

/// Arguments of `board`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  host-sim board
  host-sim board --disk drive.img --listen 127.0.0.1:0
  host-sim board --firmware target/firmware/outboard-qemu-virt --disk orders.sqlite \\
      --block-bytes 512
  host-sim board --disk a.img --namespace b.img --namespace c.img,block=512

The address that is listened on is printed as one line to standard output once the agent listens;
the log goes to standard error. QEMU 7.2 or later is needed (on Debian: qemu-system-arm).

A firmware that panics or takes an exception ends with its place in the source and the names of
the functions that led there, and with exit status 1.")]
pub struct BoardArgs {
    /// File with the blocks of namespace 1; without, an empty one of 64 MiB that is gone afterwards.
    #[arg(long, value_name = "FILE")]
    pub disk: Option<PathBuf>,

    /// Bytes of a block of namespace 1.
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = block_bytes)]
    pub block_bytes: u32,

    /// A further namespace, numbered from 2 in the order given.
    ///
    /// A file, optionally followed by `,block=512` or `,block=4096` (default: --block-bytes).
    #[arg(long, value_name = "FILE[,block=BYTES]", value_parser = namespace)]
    pub namespace: Vec<NamespaceArg>,

    /// Address and port of this machine to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7117")]
    pub listen: SocketAddr,

    /// What is booted, and how.
    #[command(flatten)]
    pub boot: BootArgs,

    /// What runs programs.
    #[arg(long, value_enum, default_value_t = BoardEngineArg::Jit)]
    pub engine: BoardEngineArg,

    /// Leave out the masks that keep tenants from spying on each other by speculative execution.
    #[arg(long)]
    pub single_tenant: bool,

    /// Go wrong once it listens, to see how a bad end is told.
    #[arg(long, value_enum, value_name = "WAY", hide = true)]
    pub provoke: Option<ProvokeArg>,

    /// Do not show the log.
    #[arg(long, short)]
    pub quiet: bool,
}

/// What is booted, and how.
#[derive(Clone, Debug, Default, Args)]
pub struct BootArgs {
    /// The firmware's ELF, in place of one that is built.
    #[arg(long, value_name = "ELF")]
    pub firmware: Option<PathBuf>,

    /// The QEMU to run [default: $OUTBOARD_QEMU, qemu-system-aarch64]
    #[arg(long, value_name = "PROGRAM")]
    pub qemu: Option<PathBuf>,
}

/// An engine of the board's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BoardEngineArg {
    /// The interpreter that checks every access.
    Checked,
    /// Machine code.
    Jit,
}

/// A way for the firmware to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProvokeArg {
    /// A panic.
    Panic,
    /// A read of memory that is not there.
    Fault,
    /// A stack that is too deep.
    Stack,
    /// The heap is asked for memory after start.
    Heap,
}

impl BoardArgs {
    /// The same in the firmware's own words.
    pub fn words(&self) -> Vec<String> {
        let engine = match self.engine {
            BoardEngineArg::Checked => "engine=checked",
            BoardEngineArg::Jit => "engine=jit",
        };
        let provoke = self.provoke.map(|way| match way {
            ProvokeArg::Panic => "provoke=panic",
            ProvokeArg::Fault => "provoke=fault",
            ProvokeArg::Stack => "provoke=stack",
            ProvokeArg::Heap => "provoke=heap",
        });
        let alone = self.single_tenant.then_some("single-tenant");
        let words = [Some(engine), alone, provoke];
        words.into_iter().flatten().map(String::from).collect()
    }
}

/// A drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NvmeArg {
    /// The software controller of this program.
    Model,
    /// The NVMe device of QEMU, which runs beside this program.
    Qemu,
}

/// How the agent runs programs.
#[derive(Clone, Copy, Debug, Args)]
pub struct ExecutionArgs {
    /// What runs programs.
    #[arg(long, value_enum, default_value_t = EngineArg::fastest())]
    pub engine: EngineArg,

    /// Leave out the masks that keep tenants from spying on each other by speculative execution.
    #[arg(long)]
    pub single_tenant: bool,
}

/// An engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// The interpreter that checks every access: the slowest, and the referee of the others.
    Checked,
    /// The interpreter that checks only what was not proved when the program was loaded.
    Interpreter,
    /// Machine code, which checks only the same.
    Jit,
}

impl EngineArg {
    /// The fastest that this machine has.
    pub const fn fastest() -> EngineArg {
        if Target::HOST.is_some() {
            EngineArg::Jit
        } else {
            EngineArg::Interpreter
        }
    }

    /// The same for the agent.
    pub const fn kind(self) -> EngineKind {
        match self {
            EngineArg::Checked => EngineKind::Checked,
            EngineArg::Interpreter => EngineKind::Interpreter,
            EngineArg::Jit => EngineKind::Jit(code::map),
        }
    }
}

impl ExecutionArgs {
    /// The same for the agent.
    pub fn config(self) -> ExecutionConfig {
        ExecutionConfig {
            engine: self.engine.kind(),
            isolation: if self.single_tenant {
                Isolation::Alone
            } else {
                Isolation::Shared
            },
        }
    }
}

/// A further namespace of `serve` or `board`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceArg {
    /// The file with its blocks.
    pub path: PathBuf,
    /// Bytes of a block, if given.
    pub block_bytes: Option<u32>,
}

/// An address in a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TapAddress {
    /// The address.
    pub address: Ipv4Addr,
    /// Leading bits that name the network.
    pub prefix_bits: u8,
}

/// Arguments of `demo`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  host-sim demo
  host-sim demo --rtt 100us --drive-latency 80us
  host-sim demo --dataset mixed --page-size 512 --missing 10
  host-sim demo --on board --keys 1000
  host-sim demo --database my.db --table customers --json

A database of your own is copied first, by SQLite's backup interface: it is only read, may be in
use, and may have a write-ahead log. WITHOUT ROWID tables, views and encrypted files cannot be
looked up in.

Network and drive:
  The namespace holds exactly the database; its blocks are 4096 bytes, or 512 for pages smaller
  than that. Without --rtt and --drive-latency both cost only the processor time they take.

With --json the result is one object on standard output. Its keys: mismatches;
pushdown.ops_per_s, .round_trips_per_op, .bytes_per_op, .p50_us, .p99_us, the same for remote;
engine, and pushdown.cpu_us of a lookup with it, pushdown.cpu_us_checked in the checked interpreter;
depth, ratio, expected_ratio, and the parts that it was calculated from.")]
pub struct DemoArgs {
    /// Where the agent runs.
    #[arg(long, value_enum, value_name = "WHERE", default_value_t = OnArg::Simulator)]
    pub on: OnArg,

    /// What is booted with `--on board`.
    #[command(flatten)]
    pub boot: BootArgs,

    /// Look up in this SQLite file instead of a made one.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["dataset", "scale", "page_size"])]
    pub database: Option<PathBuf>,

    /// The table to look up in; not needed if the file has only one.
    #[arg(long, value_name = "NAME", requires = "database")]
    pub table: Option<String>,

    /// The database to make.
    #[arg(long, value_enum, default_value_t = DatasetArg::Orders)]
    pub dataset: DatasetArg,

    /// TPC-H scale factor of `orders`: 0.1 is 150 000 rows, 17 MB.
    #[arg(long, value_name = "FACTOR", default_value_t = 0.1)]
    pub scale: f64,

    /// Bytes of a page of the made database: a power of two from 512 to 65536.
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = page_bytes)]
    pub page_size: u32,

    /// Keys to look up, each once by each way.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000,
          value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub keys: u32,

    /// How many of a hundred keys are not in the table.
    #[arg(long, value_name = "PERCENT", default_value_t = 0,
          value_parser = clap::value_parser!(u32).range(0..=100))]
    pub missing: u32,

    /// Lookups in flight.
    #[arg(long, value_name = "COUNT", default_value_t = 32,
          value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub concurrency: u32,

    /// Delay added to each network round trip, half in each direction: 100us, 1.5ms.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration::parse)]
    pub rtt: Duration,

    /// Time added to each read of the simulated drive: 10us, 80us.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration::parse)]
    pub drive_latency: Duration,

    /// How programs are run.
    #[command(flatten)]
    pub execution: ExecutionArgs,

    /// Another choice of keys.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// Folder for made databases and copies [default: $XDG_CACHE_HOME/outboard, ~/.cache/outboard]
    #[arg(long, value_name = "FOLDER")]
    pub cache: Option<PathBuf>,

    /// Print the result as one JSON object.
    #[arg(long)]
    pub json: bool,

    /// Show no progress.
    #[arg(long, short)]
    pub quiet: bool,
}

/// Holds namespaces that were given by file to how many an agent serves, the first one among them.
///
/// # Errors
///
/// A sentence: there are more.
pub fn check_namespaces(further: &[NamespaceArg]) -> Result<(), String> {
    if further.len() < NAMESPACES_MAX {
        return Ok(());
    }
    Err(format!(
        "{} namespaces are more than an agent serves, which is {NAMESPACES_MAX}",
        further.len() + 1
    ))
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogArg {
    /// Nothing.
    Off,
    /// The drive has failed.
    Error,
    /// It is being reset, and what should not be and was survived.
    Warn,
    /// The start, the drive's other states, programs that were proved.
    Info,
    /// What clients bring about: connections that were refused or reset, programs that were refused
    /// or ended for a fault.
    Debug,
}

impl From<LogArg> for LevelFilter {
    fn from(arg: LogArg) -> LevelFilter {
        match arg {
            LogArg::Off => LevelFilter::Off,
            LogArg::Error => LevelFilter::Error,
            LogArg::Warn => LevelFilter::Warn,
            LogArg::Info => LevelFilter::Info,
            LogArg::Debug => LevelFilter::Debug,
        }
    }
}

/// Where the agent of `demo` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnArg {
    /// In this process, over a simulated drive.
    Simulator,
    /// On bare metal in QEMU, over QEMU's NVMe drive. Its processor is emulated, so what is compared
    /// is answers; figures say nothing.
    Board,
}

/// A database to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatasetArg {
    /// TPC-H `orders`.
    Orders,
    /// 20 000 rows made to be awkward: overflow, deleted rows, negative rowids.
    Mixed,
}

/// Rows of `--dataset mixed`.
const MIXED_ROWS: u64 = 20_000;

impl DemoArgs {
    /// The database to make, if none was given.
    pub fn made(&self) -> Option<Dataset> {
        let content = match self.dataset {
            DatasetArg::Orders => Content::Orders { scale: self.scale },
            DatasetArg::Mixed => Content::Mixed { rows: MIXED_ROWS },
        };
        self.database.is_none().then_some(Dataset {
            content,
            page_bytes: self.page_size,
        })
    }

    /// The folder for made databases and copies.
    pub fn cache_folder(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(cache_folder)
    }
}

/// Arguments of `bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub bench: Bench,
}

/// What to measure.
#[derive(Clone, Debug, Subcommand)]
pub enum Bench {
    /// 4 KiB reads through the whole agent, beside network stacks that only move the same bytes.
    ///
    /// The cases `wire-…` are within the process, on one thread, as in `demo`; `tcp-…` go over
    /// loopback TCP, still on one thread; in `served-…` the server has a thread of its own, as in
    /// `serve`. All read at random from the same 256 MiB of memory.
    Wire(WireBenchArgs),
    /// What engines make of the same C functions: Outboard's, native code, rbpf, wasmi, Linux.
    ///
    /// Each works on the same bytes in turn; results are compared with native code's first. The
    /// figure is the median time of an invocation, `ns_per_run`. At the end stand the ratios over
    /// all workloads. Trust these: the machine's speed changes, and all are measured together.
    Engine(EngineBenchArgs),
    /// 4 KiB random reads of a file through the driver and a drive, beside fio on the same file.
    ///
    /// In the cases `cached-…` the file is in the page cache, in `direct-…` everybody goes past it.
    /// There is neither network nor agent in it.
    Block(BlockBenchArgs),
}

/// Arguments that every bench has.
#[derive(Clone, Debug, Args)]
pub struct BenchOutput {
    /// Print one JSON object a line: {"bench","case","who","metric","value"}, or with "skipped"
    /// in place of the last two for a rival that could not be run.
    #[arg(long)]
    pub json: bool,

    /// Run only the cases whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub case: String,
}

/// Arguments of `bench wire`.
#[derive(Clone, Debug, Args)]
pub struct WireBenchArgs {
    /// How it is printed.
    #[command(flatten)]
    pub output: BenchOutput,

    /// Time to measure each case for, on each side.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = measured)]
    pub time: Duration,

    /// Delay added to each round trip, half in each direction; the rivals, which have none, are
    /// skipped then.
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = duration::parse)]
    pub rtt: Duration,
}

/// Arguments of `bench block`.
#[derive(Clone, Debug, Args)]
pub struct BlockBenchArgs {
    /// How it is printed.
    #[command(flatten)]
    pub output: BenchOutput,

    /// What the drive is. With `qemu` a loop that only writes commands and doorbells races along.
    #[arg(long, value_enum, default_value_t = NvmeArg::Model)]
    pub nvme: NvmeArg,

    /// The program to run for `--nvme qemu`, as for `serve`.
    #[arg(long, value_name = "PATH")]
    pub qemu: Option<PathBuf>,

    /// Time to measure each case for, for each contestant.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = duration::parse)]
    pub time: Duration,

    /// Read this file, of whole pages of 4096 bytes, in place of one of random bytes that is made in
    /// the cache folder and kept there.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// How large the made file is; it should fit the page cache.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=1 << 20), conflicts_with = "file")]
    pub size_mib: u32,
}

/// Arguments of `bench engine`.
#[derive(Clone, Debug, Args)]
pub struct EngineBenchArgs {
    /// How it is printed.
    #[command(flatten)]
    pub output: BenchOutput,

    /// Time to race over each workload, all together.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = measured)]
    pub time: Duration,

    /// Other data and keys.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// An address to listen on. Names are not looked up.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let wrong = |_| "give an address in numbers and a port, such as 127.0.0.1:7117".to_string();
    text.parse().map_err(wrong)
}

/// How long something is measured.
fn measured(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(Duration::ZERO) => Err("nothing can be measured in no time".to_string()),
        other => other.map_err(|error| error.to_string()),
    }
}

/// An address that a host can have, and the length of its network's prefix.
fn tap_address(text: &str) -> Result<TapAddress, String> {
    let wrong = || "give an IPv4 address and a prefix length, such as 10.117.0.2/24".to_string();
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
    let prefix_bits = bits
        .parse()
        .ok()
        .filter(|bits| *bits <= 32)
        .ok_or_else(wrong)?;
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(wrong());
    }
    Ok(TapAddress {
        address,
        prefix_bits,
    })
}

/// A block size that the drive has.
fn block_bytes(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(bytes @ (512 | 4096)) => Ok(bytes),
        _ => Err("blocks have 512 or 4096 bytes".to_string()),
    }
}

/// A page size that SQLite has.
fn page_bytes(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(bytes) if bytes.is_power_of_two() && (512..=65_536).contains(&bytes) => Ok(bytes),
        _ => Err("pages have 512, 1024, 2048, … or 65536 bytes".to_string()),
    }
}

/// `FILE` or `FILE,block=BYTES`.
fn namespace(text: &str) -> Result<NamespaceArg, String> {
    let (path, size) = match text.rsplit_once(",block=") {
        Some((path, size)) => (path, Some(block_bytes(size)?)),
        None => (text, None),
    };
    if path.is_empty() {
        return Err("give a file".to_string());
    }
    Ok(NamespaceArg {
        path: PathBuf::from(path),
        block_bytes: size,
    })
}

#[cfg(test)]
mod tests;
