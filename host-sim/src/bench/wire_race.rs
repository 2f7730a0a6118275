//! `host-sim bench wire`: 4 KiB reads through the whole agent, beside what the wire alone can do.
//!
//! The drive is in memory, so what is measured is the path: client, network, agent, driver,
//! model. The rivals move the same bytes from the same memory and do nothing else. All take turns
//! within one run, round after round, because the machine's speed may change from one second to
//! the next; each figure is the median of its rounds.
//!
//! | case | `outboard` | its rival |
//! |---|---|---|
//! | `wire-depth-N` | client, agent and the wire between them on one thread | `bare-smoltcp`: two stacks of smoltcp on such a wire, on one thread |
//! | `wire-depth-32-idle-N` | the same beside idle connections | the same beside as many |
//! | `tcp-depth-N` | client, loopback TCP, relay and agent on one thread, in turn; nobody ever sleeps | `kernel-sockets`: both ends of a loopback connection on one thread, in turn |
//! | `served-depth-N` | the loop of `host-sim serve` on its thread, a blocking client over loopback TCP on another; each sleeps when it has nothing to do, and the kernel wakes it | `kernel-sockets`: a blocking server on its thread, a blocking client on another |
//!
//! The last is what an application beside a server sees. It is also what the machine's scheduler
//! has most say in: where two threads share a processor, or wake each other across two, figures
//! at a depth of 1 tell of that and little else.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use client::{Client, Config};
use dpu_firmware::execution::ExecutionConfig;
use dpu_firmware::limits::LARGE;
use nvme_model::driver::DriverConfig;
use nvme_model::model::{ModelConfig, NamespaceConfig};

use super::bare_smoltcp::bare_smoltcp;
use super::kernel_sockets::{OneThread, TwoThreads};
use super::race::{Contestant, Run, race};
use super::served::Served;
use super::source::Source;
use super::{BenchError, REPLY_BYTES, SOURCE_BYTES};
use crate::cli::{Exit, WireBenchArgs};
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::local::{LocalStream, Shared};
use crate::random::{Random, Seeds};
use crate::relay::{ANY_LOCAL_PORT, Relay};
use crate::simulator::{Simulator, SimulatorConfig};
use crate::wire::WireConfig;

/// Requests in flight in the cases.
const DEPTHS: [usize; 3] = [1, 32, 128];

/// Idle connections in the cases that have some, at the depth of 32.
const IDLE: [usize; 2] = [256, 1_000];

/// The depth at which idle connections are tried.
const IDLE_DEPTH: usize = 32;

/// The drive.
const DRIVE_BYTES: u64 = SOURCE_BYTES as u64;

/// Who is raced against.
const OURS: &str = "outboard";

/// Why a rival does not run with `--rtt`.
const NO_DELAY: &str = "it has no delay to add to its round trips";

/// Runs the bench and prints it.
///
/// # Errors
///
/// [`BenchError`].
pub fn command(
    args: &WireBenchArgs,
    interrupt: &Interrupt,
    out: &mut dyn Write,
) -> Result<Exit, BenchError> {
    let contestants = contestants(args).map_err(BenchError::World)?;
    race("wire", contestants, args.time, &args.output, interrupt, out)
}

/// A turn that gives a rate.
type Rate = Box<dyn FnMut(Duration) -> Result<f64, String>>;

/// Who races in which case.
fn contestants(args: &WireBenchArgs) -> Result<Vec<Contestant>, String> {
    let rtt = args.rtt;
    let source = Source::new();
    let mut all = Vec::new();
    let wanted = |case: &str| case.contains(&args.output.case);
    let mut add = |case: &str, who: &str, mut rate: Rate| {
        let run: Run = Box::new(move |time| Ok(vec![("ops_per_s", rate(time)?)]));
        let takes_part = who == OURS || rtt.is_zero();
        let run = if takes_part {
            Ok(run)
        } else {
            Err(NO_DELAY.to_string())
        };
        all.push(Contestant::new(case, who, run));
    };
    let in_process = DEPTHS.map(|depth| (format!("wire-depth-{depth}"), depth, 0));
    let crowded = IDLE.map(|idle| {
        (
            format!("wire-depth-{IDLE_DEPTH}-idle-{idle}"),
            IDLE_DEPTH,
            idle,
        )
    });
    for (case, depth, idle) in in_process.into_iter().chain(crowded) {
        if !wanted(&case) {
            continue;
        }
        let mut ours = Reader::new(machine(&source, rtt, idle + 1), depth, idle)?;
        add(&case, OURS, Box::new(move |time| ours.run(time)));
        let source = source.clone();
        let bare = move |time| Ok(bare_smoltcp(depth, idle, &source, time));
        add(&case, "bare-smoltcp", Box::new(bare));
    }
    for depth in DEPTHS {
        let case = format!("tcp-depth-{depth}");
        if !wanted(&case) {
            continue;
        }
        let mut ours = Turned::load(machine(&source, rtt, 4), depth)?;
        add(&case, OURS, Box::new(move |time| ours.run(time)));
        let mut bare = OneThread::new(depth, &source).map_err(in_words)?;
        let run = move |time| bare.run(time).map_err(in_words);
        add(&case, "kernel-sockets", Box::new(run));
    }
    for depth in DEPTHS {
        let case = format!("served-depth-{depth}");
        if !wanted(&case) {
            continue;
        }
        let mut ours = ServedReader::new(machine(&source, rtt, 4), depth)?;
        add(&case, OURS, Box::new(move |time| ours.run(time)));
        let mut bare = TwoThreads::new(depth, &source).map_err(in_words)?;
        let run = move |time| bare.run(time).map_err(in_words);
        add(&case, "kernel-sockets", Box::new(run));
    }
    if all.is_empty() {
        return Err(format!("no case's name contains {:?}", args.output.case));
    }
    Ok(all)
}

fn in_words(error: io::Error) -> String {
    error.to_string()
}

/// A machine whose drive is the source.
fn machine(source: &Source, rtt: Duration, connections: usize) -> SimulatorConfig {
    SimulatorConfig {
        drive: ModelConfig {
            namespaces: vec![NamespaceConfig::new(source.store(), REPLY_BYTES as u32)],
            ..ModelConfig::default()
        },
        wire: WireConfig::with_round_trip(rtt, 1024),
        limits: LARGE,
        driver: DriverConfig::default(),
        seeds: Seeds::fixed(1),
        execution: ExecutionConfig::default(),
        far_connections: connections,
    }
}

fn simulator(config: SimulatorConfig) -> Result<Simulator, String> {
    Simulator::new(config).map_err(|error| error.to_string())
}

/// Reads of one client in flight all the time, over whatever stream.
struct Load<T> {
    client: Client<T>,
    object: client::ObjectId,
    depth: usize,
    random: Random,
}

impl<T: io::Read + Write> Load<T> {
    fn new(stream: T, depth: usize) -> Result<Load<T>, String> {
        let told = |error: client::ClientError| error.to_string();
        let mut client = Client::new(stream, &Config::default()).map_err(told)?;
        let object = client.open(1, 0, None).map_err(told)?.id;
        Ok(Load {
            client,
            object,
            depth,
            random: Random::new(7),
        })
    }

    fn submit(&mut self) -> Result<(), String> {
        let block = self.random.below(DRIVE_BYTES / REPLY_BYTES as u64);
        let offset = block * REPLY_BYTES as u64;
        let read = self
            .client
            .pipeline()
            .read(self.object, offset, REPLY_BYTES as u32);
        read.map(|_| ()).map_err(|error| error.to_string())
    }

    fn finish_one(&mut self) -> Result<(), String> {
        let completion = self
            .client
            .pipeline()
            .next_completion()
            .ok_or("the connection ended")?;
        match completion.result {
            Ok(client::Done::Read(bytes)) if bytes.len() == REPLY_BYTES => {
                self.client.pipeline().recycle(bytes);
                Ok(())
            }
            Ok(other) => Err(format!("not what was read: {other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Reads per second over `time`, after a tenth of it to warm up.
    fn run(&mut self, time: Duration) -> Result<f64, String> {
        for _ in 0..self.depth {
            self.submit()?;
        }
        self.keep_up(time / 10)?;
        let started = Instant::now();
        let reads = self.keep_up(time)?;
        let rate = reads as f64 / started.elapsed().as_secs_f64();
        for _ in 0..self.depth {
            self.finish_one()?;
        }
        Ok(rate)
    }

    fn keep_up(&mut self, time: Duration) -> Result<u64, String> {
        let started = Instant::now();
        let mut reads = 0;
        while !reads_enough(reads, &started, time) {
            self.finish_one()?;
            self.submit()?;
            reads += 1;
        }
        Ok(reads)
    }
}

/// The clock is read once in 64 reads.
fn reads_enough(reads: u64, started: &Instant, time: Duration) -> bool {
    reads.is_multiple_of(64) && started.elapsed() >= time
}

/// A client within the process, beside idle connections.
struct Reader {
    load: Load<LocalStream>,
    _idle: Vec<Client<LocalStream>>,
}

impl Reader {
    fn new(machine: SimulatorConfig, depth: usize, idle: usize) -> Result<Reader, String> {
        let shared = Shared::new(simulator(machine)?);
        let told = |error: io::Error| format!("cannot reach the agent: {error}");
        let mut others = Vec::with_capacity(idle);
        for _ in 0..idle {
            let stream = shared.connect().map_err(told)?;
            let client = Client::new(stream, &Config::default());
            others.push(client.map_err(|error| error.to_string())?);
        }
        let load = Load::new(shared.connect().map_err(told)?, depth)?;
        Ok(Reader {
            load,
            _idle: others,
        })
    }

    fn run(&mut self, time: Duration) -> Result<f64, String> {
        self.load.run(time)
    }
}

/// A client over the kernel's loopback, and the server on another thread.
struct ServedReader {
    load: Load<TcpStream>,
    _server: Served,
}

impl ServedReader {
    fn new(machine: SimulatorConfig, depth: usize) -> Result<ServedReader, String> {
        let server = Served::start(machine)?;
        let load = Load::new(server.connect().map_err(in_words)?, depth)?;
        Ok(ServedReader {
            load,
            _server: server,
        })
    }

    fn run(&mut self, time: Duration) -> Result<f64, String> {
        self.load.run(time)
    }
}

/// A socket of the kernel whose user turns relay and machine while it waits.
struct Turned {
    stream: TcpStream,
    relay: Relay,
    machine: Simulator,
    clock: Clock,
}

impl Turned {
    /// A client over the kernel's loopback, with relay and machine on the same thread.
    fn load(machine: SimulatorConfig, depth: usize) -> Result<Load<Turned>, String> {
        let machine = simulator(machine)?;
        let relay = Relay::bind(ANY_LOCAL_PORT, Simulator::agent_address()).map_err(in_words)?;
        let address = relay.local_address().map_err(in_words)?;
        let stream = TcpStream::connect(address).map_err(in_words)?;
        stream.set_nodelay(true).map_err(in_words)?;
        stream.set_nonblocking(true).map_err(in_words)?;
        let turned = Turned {
            stream,
            relay,
            machine,
            clock: Clock::start(),
        };
        Load::new(turned, depth)
    }

    fn turn(&mut self) -> io::Result<()> {
        let now_us = self.clock.now_us();
        self.relay.poll(now_us, self.machine.far())?;
        self.machine.pass(now_us);
        self.relay.serve(self.machine.far());
        Ok(())
    }

    /// Turns until the call does not say that it would block.
    fn until(
        &mut self,
        mut call: impl FnMut(&mut TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        loop {
            match call(&mut self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.turn()?,
                ended => return ended,
            }
        }
    }
}

impl io::Read for Turned {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.until(|stream| stream.read(buffer))
    }
}

impl Write for Turned {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.until(|stream| stream.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
