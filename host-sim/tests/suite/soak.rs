//! A soak: clients that come, use everything at once and go, some of them badly, for as long as they
//! are told. At the end every pool must be as it was.
//!
//! How long it lasts decides only how much is done. What is done follows from the seed, but not how the
//! clients meet.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ops::AddAssign;
use std::thread;
use std::time::{Duration, Instant};

use client::{Budgets, Client, ClientError, Config, Done, InstanceId, ObjectId, ProgramId, linker};
use host_sim::random::Random;
use programs::bpfkv::{self, BpfkvGetArgs};
use programs::sqlite::{Record, SqliteGetArgs, Value};
use programs::tally::{TallyArgs, TallyReply};
use protocol::{Features, Status};

use super::files::{Files, KEYS, ROWS, SCRATCH_BYTES, text_of};

/// Clients at a time.
const WORKERS: usize = 6;

/// Bytes of the first namespace that each of them writes.
const PART_BYTES: usize = SCRATCH_BYTES / WORKERS / 4096 * 4096;

/// How often to ask, at the end, whether all connections have closed.
const SETTLING_MAX: u32 = 20_000;

/// What everybody runs, loaded throughout.
const SHARED: [&str; 3] = ["bpfkv_get", "sqlite_get", "tally"];

/// What one worker alone loads and unloads.
const OWN: [&str; 2] = ["crc_cache", "sqlite_get_64k"];

/// What all this is done to.
pub(crate) struct Soak<'a> {
    /// Connects.
    pub(crate) open: &'a (dyn Fn() -> TcpStream + Sync),
    /// What is behind the namespaces.
    pub(crate) files: &'a Files,
    /// How long to go on.
    pub(crate) lasts: Duration,
    /// Of everything by chance.
    pub(crate) seed: u64,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    connections: u64,
    steps: u64,
    requests: u64,
    bad_ends: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.connections += other.connections;
        self.steps += other.steps;
        self.requests += other.requests;
        self.bad_ends += other.bad_ends;
    }
}

impl Soak<'_> {
    /// The body. Gives what the first namespace holds at the end, all of it flushed.
    pub(crate) fn run(&self) -> Vec<u8> {
        let mut observer = Client::new((self.open)(), &Config::default()).unwrap();
        for name in SHARED {
            load(&mut observer, name);
        }
        let object = observer.open(1, 0, None).unwrap();
        observer
            .write(object.id, 0, &vec![0; SCRATCH_BYTES])
            .unwrap();
        let before = used(&mut observer);
        let until = Instant::now() + self.lasts;
        let mut tally = Tally::default();
        let mut written = vec![0; SCRATCH_BYTES];
        thread::scope(|scope| {
            let workers: Vec<_> = (0..WORKERS)
                .map(|number| scope.spawn(move || Worker::new(self, number).work(until)))
                .collect();
            for (number, worker) in workers.into_iter().enumerate() {
                let (did, part) = worker.join().expect("what it says is above");
                tally += did;
                written[number * PART_BYTES..][..PART_BYTES].copy_from_slice(&part);
            }
        });
        settle(&mut observer, &before);
        let all = observer.read(object.id, 0, SCRATCH_BYTES).unwrap();
        assert!(all == written, "what was written is there");
        observer.flush(object.id).unwrap();
        let stats = observer.stats().unwrap();
        for name in ["nvme_failed", "nvme_timeouts", "nvme_resets"] {
            let counter = stats.counters.iter().find(|(it, _)| it == name).unwrap();
            assert_eq!(counter.1, 0, "{name}");
        }
        println!(
            "soak of {} s, seed {}: {} connections, {} of them with a bad end, {} steps, {} requests; \
             all pools as before",
            self.lasts.as_secs(),
            self.seed,
            tally.connections,
            tally.bad_ends,
            tally.steps,
            tally.requests
        );
        written
    }
}

/// How many of each pool are used.
fn used(client: &mut Client<TcpStream>) -> Vec<(String, u32)> {
    let pools = client.stats().unwrap().pools;
    pools.into_iter().map(|it| (it.name, it.used)).collect()
}

/// Waits for connections that are closing yet, then holds the pools to what they were.
fn settle(observer: &mut Client<TcpStream>, before: &[(String, u32)]) {
    let mut now = Vec::new();
    for _ in 0..SETTLING_MAX {
        for program in observer.programs().unwrap() {
            if OWN.contains(&program.name.as_str()) {
                // An instance of a connection that is closing may be in the way.
                let _ = observer.unload(program.id);
            }
        }
        now = used(observer);
        if now == before {
            return;
        }
        thread::yield_now();
    }
    panic!("slots are left over: {now:?}, before: {before:?}");
}

fn load(client: &mut Client<TcpStream>, name: &str) -> ProgramId {
    let linked = linker::link(programs::find(name).unwrap().object).unwrap();
    client.load(name, &linked.image).unwrap()
}

fn refusal<T>(result: Result<T, ClientError>) -> Option<Status> {
    match result {
        Ok(_) => None,
        Err(ClientError::Refused { status, .. }) => Some(status),
        Err(other) => panic!("{other}"),
    }
}

/// A connection, and what was made on it.
struct Life {
    client: Client<TcpStream>,
    scratch: ObjectId,
    lookup: InstanceId,
    select: InstanceId,
}

struct Worker<'a> {
    soak: &'a Soak<'a>,
    number: usize,
    random: Random,
    /// What its part of the first namespace holds.
    copy: Vec<u8>,
    tally: Tally,
}

impl<'a> Worker<'a> {
    fn new(soak: &'a Soak<'a>, number: usize) -> Worker<'a> {
        Worker {
            soak,
            number,
            random: Random::new(soak.seed ^ (number as u64 + 1) << 32),
            copy: vec![0; PART_BYTES],
            tally: Tally::default(),
        }
    }

    /// One connection after the other.
    fn work(mut self, until: Instant) -> (Tally, Vec<u8>) {
        loop {
            self.tally.connections += 1;
            if self.random.below(16) == 0 {
                self.babble();
            } else {
                self.live();
            }
            if Instant::now() >= until {
                return (self.tally, self.copy);
            }
        }
    }

    /// A client that uses everything.
    fn live(&mut self) {
        let mut life = self.begin();
        for _ in 0..=self.random.below(24) {
            self.tally.steps += 1;
            match self.random.below(7) {
                0 => self.write_and_read(&mut life),
                1 => self.look_up(&mut life),
                2 => self.select(&mut life),
                3 => self.count(&mut life),
                4 => self.burst(&mut life),
                5 => self.be_refused(&mut life),
                _ => self.upload(&mut life),
            }
        }
        match self.random.below(3) {
            0 => self.end_well(life),
            1 => self.end_in_flight(life),
            _ => self.end_within_a_frame(life),
        }
    }

    fn begin(&mut self) -> Life {
        let config = Config {
            features: [Features::NONE, Features::PAYLOAD_CRC][self.random.below(2) as usize],
            ..Config::default()
        };
        let mut client = Client::new((self.soak.open)(), &config).unwrap();
        let from = (self.number * PART_BYTES) as u64;
        let scratch = client.open(1, from, Some(PART_BYTES as u64)).unwrap().id;
        let store = client.open(2, 0, None).unwrap().id;
        let database = client.open(3, 0, None).unwrap().id;
        let mut attach = |name, object| {
            let program = load(&mut client, name);
            client
                .attach(program, &[object], Budgets::default())
                .unwrap()
        };
        let (lookup, select) = (attach("bpfkv_get", store), attach("sqlite_get", database));
        self.tally.requests += 8;
        Life {
            client,
            scratch,
            lookup,
            select,
        }
    }

    fn write_and_read(&mut self, life: &mut Life) {
        let blocks = 1 + self.random.below(24) as usize;
        let at = 4096 * self.random.below((PART_BYTES / 4096 - blocks) as u64) as usize;
        for byte in self.copy[at..][..blocks * 4096].chunks_mut(8) {
            byte.copy_from_slice(&self.random.next_u64().to_le_bytes());
        }
        let data = &self.copy[at..][..blocks * 4096];
        life.client.write(life.scratch, at as u64, data).unwrap();
        let from = self.random.below(PART_BYTES as u64) as usize;
        let length = (self.random.below(200_000) as usize).min(PART_BYTES - from);
        let read = life.client.read(life.scratch, from as u64, length).unwrap();
        assert!(
            read == self.copy[from..][..length],
            "{length} bytes at {from} of part {}",
            self.number
        );
        if self.random.below(4) == 0 {
            life.client.flush(life.scratch).unwrap();
        }
        self.tally.requests += 2;
    }

    fn look_up(&mut self, life: &mut Life) {
        for _ in 0..8 {
            let key = self.random.below(KEYS * 3);
            let args = BpfkvGetArgs { key, root: 0 }.to_bytes();
            let called = life.client.call(life.lookup, &args);
            if key.is_multiple_of(3) {
                assert_eq!(called.unwrap().reply, bpfkv::value(key));
            } else {
                assert_eq!(refusal(called), Some(Status::ProgramErrno), "key {key}");
            }
        }
        self.tally.requests += 8;
    }

    fn select(&mut self, life: &mut Life) {
        let row = self.random.below(ROWS as u64) as i64;
        let args = SqliteGetArgs {
            rowid: row * 10,
            root_page: self.soak.files.root_page,
            ..SqliteGetArgs::default()
        };
        let called = life.client.call(life.select, &args.to_bytes()).unwrap();
        let record = Record::parse(&called.reply).unwrap();
        let text = text_of(row);
        assert_eq!(record.values[1], Value::Text(text.as_bytes()), "row {row}");
        self.tally.requests += 1;
    }

    /// An instance with maps, which are its own.
    fn count(&mut self, life: &mut Life) {
        let program = load(&mut life.client, "tally");
        let attached = life.client.attach(program, &[], Budgets::default());
        let instance = match attached {
            Ok(instance) => instance,
            // Of the greatest maps there are not enough for everybody.
            Err(ClientError::Refused { .. }) => return,
            Err(other) => panic!("{other}"),
        };
        let times = 1 + self.random.below(10);
        for time in 1..=times {
            let args = TallyArgs { key: 5, amount: 3 };
            let reply = life.client.call(instance, &args.to_bytes()).unwrap().reply;
            let reply = TallyReply::from_bytes(&reply).unwrap();
            assert_eq!((reply.total, reply.times), (3 * time, time));
        }
        if self.random.below(2) == 0 {
            life.client.detach(instance).unwrap();
        }
        self.tally.requests += times + 2;
    }

    /// Many requests in flight, some of them cancelled.
    fn burst(&mut self, life: &mut Life) {
        let submitted = self.submit(life);
        let mut pipeline = life.client.pipeline();
        let mut completed = 0;
        while let Some(completion) = pipeline.next_completion() {
            completed += 1;
            match completion.result {
                Ok(Done::Read(bytes)) => {
                    let (_, from) = submitted
                        .iter()
                        .find(|(ticket, _)| *ticket == completion.ticket)
                        .expect("it was submitted");
                    assert!(bytes == self.copy[*from..][..bytes.len()], "at {from}");
                    pipeline.recycle(bytes);
                }
                Ok(_) => {}
                Err(ClientError::Refused { status, .. }) => {
                    assert!(
                        matches!(status, Status::Cancelled | Status::ProgramErrno),
                        "{status:?}"
                    );
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert_eq!(completed, submitted.len(), "each completes once");
    }

    /// Submits reads, writes of what is there already, flushes and calls, and cancels some; gives which
    /// they are, and where they begin.
    fn submit(&mut self, life: &mut Life) -> Vec<(client::Ticket, usize)> {
        let mut pipeline = life.client.pipeline();
        let mut submitted = Vec::new();
        for _ in 0..=self.random.below(96) {
            let at = 4096 * self.random.below((PART_BYTES / 4096 - 8) as u64) as usize;
            let ticket = match self.random.below(8) {
                0..=3 => {
                    let length = 1 + self.random.below(8 * 4096 - 1) as u32;
                    pipeline.read(life.scratch, at as u64, length)
                }
                4 => {
                    let data = &self.copy[at..][..4096 * (1 + self.random.below(8) as usize)];
                    pipeline.write(life.scratch, at as u64, data)
                }
                5 => pipeline.flush(life.scratch),
                _ => {
                    let key = self.random.below(KEYS * 3);
                    pipeline.call(life.lookup, &BpfkvGetArgs { key, root: 0 }.to_bytes())
                }
            };
            let ticket = ticket.unwrap();
            submitted.push((ticket, at));
            if self.random.below(4) == 0 {
                pipeline.cancel(ticket);
            }
        }
        pipeline.send().unwrap();
        self.tally.requests += submitted.len() as u64;
        submitted
    }

    /// What is wrong is answered, and no more than that.
    fn be_refused(&mut self, life: &mut Life) {
        let client = &mut life.client;
        let end = client.open(1, 0, Some(8192)).unwrap();
        let beyond = client.read(end.id, 8000, 500);
        assert_eq!(refusal(beyond), Some(Status::OutOfRange));
        client.close(end.id).unwrap();
        assert!(refusal(client.open(4, 0, None)).is_some());
        assert!(refusal(client.close(ObjectId(self.random.next_u64() as u32))).is_some());
        assert!(refusal(client.detach(InstanceId(self.random.next_u64() as u32))).is_some());
        let program = load(client, "bpfkv_get");
        let attached = client.attach(program, &[], Budgets::default());
        assert!(refusal(attached).is_some());
        let mut image = linker::link(programs::TALLY).unwrap().image;
        let at = self.random.below(image.len() as u64) as usize;
        image[at] ^= 1 << self.random.below(8);
        // Some bits are only a number that the program adds.
        if let Ok(program) = client.load("mutated", &image) {
            let unloaded = refusal(client.unload(program));
            assert_eq!(unloaded, None);
        }
        self.tally.requests += 10;
    }

    /// A program that nobody else has, to and fro.
    fn upload(&mut self, life: &mut Life) {
        let Some(name) = OWN.get(self.number) else {
            return self.write_and_read(life);
        };
        let program = load(&mut life.client, name);
        // The instances of a connection that is closing may be in the way.
        let unloaded = life.client.unload(program);
        assert!(
            matches!(refusal(unloaded), None | Some(Status::InUse)),
            "{name}"
        );
        self.tally.requests += 2;
    }

    fn end_well(&mut self, mut life: Life) {
        life.client.detach(life.lookup).unwrap();
        life.client.detach(life.select).unwrap();
        life.client.flush(life.scratch).unwrap();
        life.client.close(life.scratch).unwrap();
        self.tally.requests += 4;
    }

    fn end_in_flight(&mut self, mut life: Life) {
        self.tally.bad_ends += 1;
        self.submit(&mut life);
    }

    fn end_within_a_frame(&mut self, mut life: Life) {
        self.tally.bad_ends += 1;
        let mut transport = life.client.connection().transport_mut();
        // The beginning of a header, which promises more.
        let _ = (&mut transport).write_all(&b"OB"[..1 + self.random.below(2) as usize]);
    }

    /// Bytes by chance until the agent has had enough.
    fn babble(&mut self) {
        self.tally.bad_ends += 1;
        let mut stream = (self.soak.open)();
        let bytes: Vec<u8> = (0..64 + self.random.below(4096))
            .map(|_| self.random.next_u64() as u8)
            .collect();
        // It may have closed in the middle.
        let _ = stream.write_all(&bytes);
        let mut answer = [0; 512];
        loop {
            match stream.read(&mut answer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
