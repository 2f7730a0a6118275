//! `host-sim bench wire`: 4 KiB reads through the whole agent, beside what the wire alone can do.
//!
//! The drive is in memory, so what is measured is the path: client, network, agent, driver,
//! model. The rivals move the same bytes and do nothing else. All take turns within one run,
//! round after round, because the machine's speed may change from one second to the next; each
//! figure is the median of its rounds.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use client::{Client, Config};
use dpu_firmware::limits::LARGE;
use nvme_model::driver::DriverConfig;
use nvme_model::model::{MemoryStore, ModelConfig, NamespaceConfig};

use super::{REPLY_BYTES, SOURCE_BYTES, rivals};
use crate::cli::{Exit, WireBenchArgs};
use crate::clock::Clock;
use crate::interrupt::Interrupt;
use crate::local::{LocalStream, Shared};
use crate::random::Random;
use crate::relay::Relay;
use crate::report::{BenchLine, BenchReport};
use crate::simulator::{Simulator, SimulatorConfig};
use crate::wire::WireConfig;

/// Requests in flight in the cases.
const DEPTHS: [usize; 3] = [1, 32, 128];

/// Idle connections in the cases that have some, at the depth of 32.
const IDLE: [usize; 2] = [256, 1_000];

/// The depth at which idle connections are tried.
const IDLE_DEPTH: usize = 32;

/// Rounds of everything.
const ROUNDS: u32 = 5;

/// The drive.
const DRIVE_BYTES: u64 = SOURCE_BYTES as u64;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The machine cannot be made, or a client of it failed.
    #[error("{0}")]
    World(String),
    /// Printing failed.
    #[error("cannot print the result: {0}")]
    Print(#[from] io::Error),
}

type Run = Box<dyn FnMut(Duration) -> Result<f64, String>>;

/// One thing that is measured again and again.
struct Contestant {
    case: String,
    who: &'static str,
    rates: Vec<f64>,
    run: Run,
}

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
    let mut contestants = contestants(args).map_err(BenchError::World)?;
    let count = contestants.len() as u64;
    let time = args.time / ROUNDS;
    let mut progress = crate::progress::Progress::new(args.output.json);
    progress.start("racing", u64::from(ROUNDS) * count);
    for round in 0..ROUNDS {
        for (at, contestant) in contestants.iter_mut().enumerate() {
            if interrupt.requested() {
                return Ok(Exit::Interrupted);
            }
            contestant
                .rates
                .push((contestant.run)(time).map_err(BenchError::World)?);
            progress.at(u64::from(round) * count + at as u64 + 1);
        }
    }
    progress.finish();
    let mut report = BenchReport::new(out, args.output.json);
    for contestant in &mut contestants {
        contestant.rates.sort_by(f64::total_cmp);
        let median = contestant.rates[contestant.rates.len() / 2];
        let (case, who) = (&contestant.case, contestant.who);
        report.add(BenchLine::measured("wire", case, who, "ops_per_s", median))?;
    }
    report.finish()?;
    Ok(Exit::Success)
}

/// Who races in which case. With a delay on the wire the rivals, which have none, stay away.
fn contestants(args: &WireBenchArgs) -> Result<Vec<Contestant>, String> {
    let rtt = args.rtt;
    let mut all = Vec::new();
    let wanted = |case: &str| case.contains(&args.output.case);
    let mut add = |case: &str, who: &'static str, run: Run| {
        all.push(Contestant {
            case: case.to_string(),
            who,
            rates: Vec::new(),
            run,
        });
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
        let mut ours = Reader::new(depth, idle, rtt)?;
        add(&case, "outboard", Box::new(move |time| ours.run(time)));
        if rtt.is_zero() {
            let bare = move |time| Ok(rivals::bare_smoltcp(depth, idle, time));
            add(&case, "bare-smoltcp", Box::new(bare));
        }
    }
    for depth in DEPTHS {
        let case = format!("tcp-depth-{depth}");
        if !wanted(&case) {
            continue;
        }
        let mut ours = Relayed::new(depth, rtt)?;
        add(&case, "outboard", Box::new(move |time| ours.run(time)));
        if rtt.is_zero() {
            let bare =
                move |time| rivals::kernel_sockets(depth, time).map_err(|error| error.to_string());
            add(&case, "kernel-sockets", Box::new(bare));
        }
    }
    if all.is_empty() {
        return Err(format!("no case's name contains {:?}", args.output.case));
    }
    Ok(all)
}

fn machine(rtt: Duration, connections: usize) -> Result<Simulator, String> {
    let store = MemoryStore::new(DRIVE_BYTES);
    Simulator::new(SimulatorConfig {
        model: ModelConfig {
            namespaces: vec![NamespaceConfig::new(store, REPLY_BYTES as u32)],
            ..ModelConfig::default()
        },
        wire: WireConfig::with_round_trip(rtt, 1024),
        limits: LARGE,
        driver: DriverConfig::default(),
        seed: 1,
        far_connections: connections,
    })
    .map_err(|error| error.to_string())
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
    fn new(depth: usize, idle: usize, rtt: Duration) -> Result<Reader, String> {
        let shared = Shared::new(machine(rtt, idle + 1)?);
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

/// A client over the kernel's loopback, with the relay and the machine on the same thread.
struct Relayed {
    load: Load<Turned>,
}

impl Relayed {
    fn new(depth: usize, rtt: Duration) -> Result<Relayed, String> {
        let failed = |error: io::Error| error.to_string();
        let machine = machine(rtt, 4)?;
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let relay = Relay::bind(address, Simulator::agent_address()).map_err(failed)?;
        let stream = TcpStream::connect(relay.local_address().map_err(failed)?).map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        stream.set_nonblocking(true).map_err(failed)?;
        let turned = Turned {
            stream,
            relay,
            machine,
            clock: Clock::start(),
        };
        Ok(Relayed {
            load: Load::new(turned, depth)?,
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
