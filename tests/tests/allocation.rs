//! Once made and warm, an agent allocates nothing: not in any turn, whatever is asked.
#![allow(unsafe_code)] // A global allocator is an unsafe trait; this one only counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use client::Ticket;
use dpu_firmware::execution::ExecutionConfig;
use dpu_firmware::limits::SMALL;
use dpu_firmware::net::{Addresses, Ipv4Address, Net, NetConfig};
use dpu_firmware::{Agent, AgentConfig};
use host_sim::wire::{WireConfig, wire};
use nvme_model::driver::DriverConfig;
use nvme_model::model::{MemoryStore, ModelConfig, ModelDevice, NamespaceConfig};
use nvme_model::seam::PAGE_BYTES;
use outboard_tests::faults_support::{Peer, Progress, Random, TINY, World};
use protocol::Status;
use protocol::message::{
    AttachRequest, CallRequest, CloseRequest, DetachRequest, FlushRequest, InfoRequest,
    LoadPieceRequest, LoadRequest, MapDeleteRequest, MapDumpRequest, MapGetRequest, MapSetRequest,
    MapsRequest, OpenRequest, ProgramsRequest, ReadRequest, StatsRequest, UnloadRequest,
    WriteRequest,
};
use sha2::{Digest, Sha256};

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    fn count(taken: usize, given: usize) {
        if COUNTING.get() {
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
            BYTES.set(BYTES.get().wrapping_add(taken).wrapping_sub(given));
        }
    }
}

// SAFETY: everything is left to the system's allocator; the counters have no destructor, so that
// they can be used at any time in a thread's life, and allocate nothing themselves.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Counting::count(layout.size(), 0);
        // SAFETY: as promised to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Counting::count(0, layout.size());
        // SAFETY: as promised to us.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        Counting::count(bytes, layout.size());
        // SAFETY: as promised to us.
        unsafe { System.realloc(pointer, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const BLOCK_BYTES: u32 = 512;
const BLOCKS: u64 = 512;
const REQUESTS: u64 = 100_000;

/// A client with all it needs to ask for anything.
struct Talker {
    peer: Peer,
    object: u32,
    instance: u32,
    in_flight: Vec<Ticket>,
}

impl Talker {
    fn new(world: &mut World, program: u32) -> Talker {
        let mut peer = world.connect();
        let object = open(world, &mut peer);
        let attach = AttachRequest {
            program,
            objects: [object].into_iter().collect(),
            instruction_budget: 0,
            read_budget: 0,
        };
        let reply = peer.must(world, &attach, &[]);
        let instance = reply.decode::<AttachRequest>().expect("a reply").instance;
        Talker {
            peer,
            object,
            instance,
            in_flight: Vec::new(),
        }
    }

    /// Asks for something that is answered by Ok.
    fn ask(&mut self, random: &mut Random) {
        let offset = random.below(BLOCKS - 64) * u64::from(BLOCK_BYTES);
        let object = self.object;
        let ticket = match random.below(10) {
            0..=3 => {
                let length = 1 + random.below(16 * 1024) as u32;
                let offset = offset + random.below(100);
                let read = ReadRequest {
                    object,
                    offset,
                    length,
                };
                self.peer.submit(&read, &[])
            }
            4..=5 => {
                // Behind the chain that programs follow.
                let offset = offset.max(128 * u64::from(BLOCK_BYTES));
                let bytes = BLOCK_BYTES as usize * (1 + random.below(8) as usize);
                self.peer
                    .submit(&WriteRequest { object, offset }, &vec![1; bytes])
            }
            6 => self.peer.submit(&FlushRequest { object }, &[]),
            7 => match random.below(3) {
                0 => self.peer.submit(&InfoRequest {}, &[]),
                1 => self.peer.submit(&StatsRequest {}, &[]),
                _ => self.peer.submit(&ProgramsRequest { after: 0 }, &[]),
            },
            _ => {
                let instance = self.instance;
                let args = programs::chase::ChaseArgs {
                    start: 0,
                    hops: random.below(12) as u32,
                    stride: 500,
                };
                self.peer
                    .submit(&CallRequest { instance }, &args.to_bytes())
            }
        };
        self.in_flight.extend(ticket);
    }

    /// Takes replies; how many.
    fn hear(&mut self, world: &mut World) -> u64 {
        self.peer.pump(world);
        let mut heard = 0;
        while let Some(reply) = self.peer.session.next_reply() {
            assert_eq!(
                reply.status,
                Status::Ok,
                "{:?}: {:?}",
                reply.kind,
                reply.detail()
            );
            self.in_flight.retain(|ticket| *ticket != reply.ticket);
            self.peer.session.recycle(reply);
            heard += 1;
        }
        heard
    }
}

fn open(world: &mut World, peer: &mut Peer) -> u32 {
    let open = OpenRequest {
        namespace: 1,
        offset: 0,
        length: None,
    };
    let reply = peer.must(world, &open, &[]);
    reply.decode::<OpenRequest>().expect("a reply").object
}

fn load(world: &mut World, peer: &mut Peer, name: &str, object: &[u8]) -> u32 {
    let image = client::linker::link(object).expect("an image").image;
    let request = LoadRequest {
        name,
        total_bytes: image.len() as u32,
        sha256: Sha256::digest(&image).into(),
        strict: false,
    };
    peer.must(world, &request, &[]);
    let reply = peer.must(world, &LoadPieceRequest { offset: 0 }, &image);
    let reply = reply.decode::<LoadPieceRequest>().expect("a reply");
    reply.program.expect("accepted")
}

/// A program that keeps maps is attached, called and looked at: 10 requests.
fn count(world: &mut World, peer: &mut Peer) -> u64 {
    let program = load(world, peer, "tally", programs::TALLY);
    let attach = AttachRequest {
        program,
        objects: [].into_iter().collect(),
        instruction_budget: 0,
        read_budget: 0,
    };
    let reply = peer.must(world, &attach, &[]);
    let instance = reply.decode::<AttachRequest>().expect("a reply").instance;
    let args = programs::tally::TallyArgs { key: 5, amount: 6 };
    peer.must(world, &CallRequest { instance }, &args.to_bytes());
    peer.must(world, &MapsRequest { instance }, &[]);
    let (key, value) = (&[7; 8][..], &[8; 16][..]);
    let set = MapSetRequest {
        instance,
        map: 0,
        flags: 0,
        offset: None,
        key,
        value,
    };
    peer.must(world, &set, &[]);
    let get = MapGetRequest {
        instance,
        map: 0,
        offset: 0,
        key,
    };
    peer.must(world, &get, &[]);
    let (map, cursor) = (0, 0);
    let dump = MapDumpRequest {
        instance,
        map,
        cursor,
    };
    peer.must(world, &dump, &[]);
    peer.must(world, &MapDeleteRequest { instance, map, key }, &[]);
    peer.must(world, &DetachRequest { instance }, &[]);
    peer.must(world, &UnloadRequest { program }, &[]);
    10
}

/// A client comes, does what happens once in a connection's life, and goes: 18 requests.
fn visit(world: &mut World) -> u64 {
    let mut peer = world.connect();
    let object = open(world, &mut peer);
    let program = load(world, &mut peer, "visitor", programs::SQLITE_GET);
    let attach = AttachRequest {
        program,
        objects: [object].into_iter().collect(),
        instruction_budget: 1_000,
        read_budget: 4,
    };
    let reply = peer.must(world, &attach, &[]);
    let instance = reply.decode::<AttachRequest>().expect("a reply").instance;
    // What is on the drive is no database: the program says so, or runs out of its budget.
    let called = peer.ask(world, &CallRequest { instance }, &[0; 24]);
    assert_ne!(called.status, Status::DriveError);
    peer.must(world, &DetachRequest { instance }, &[]);
    peer.must(world, &UnloadRequest { program }, &[]);
    let counted = count(world, &mut peer);
    peer.must(world, &CloseRequest { object }, &[]);
    world.far.close(peer.id);
    let until_us = world.now_us + 1_000_000;
    world.run(until_us, |world| Progress::of(false, peer.pump(world)));
    8 + counted
}

/// The machine, talkers on it, and so many requests of all kinds.
fn talk(world: &mut World, talkers: &mut [Talker], random: &mut Random, requests: u64) {
    let mut answered = 0;
    let mut asked = 0;
    while answered < requests {
        if random.below(400) == 0 {
            answered += visit(world);
        }
        for talker in &mut *talkers {
            if talker.peer.session.credits() > 0 && random.below(3) > 0 {
                talker.ask(random);
                asked += 1;
            }
        }
        let (_, due) = world.pass();
        let heard: u64 = talkers.iter_mut().map(|it| it.hear(world)).sum();
        answered += heard;
        if heard == 0
            && let Some(us) = due
        {
            world.now_us = world.now_us.max(us.min(world.now_us + 100));
        }
    }
    assert!(asked > requests / 2, "{asked}");
}

#[test]
fn a_hundred_thousand_requests_allocate_nothing() {
    let chain = programs::chase::build(100, 500, 4);
    let mut disk = vec![0; (BLOCKS * u64::from(BLOCK_BYTES)) as usize];
    disk[..chain.len()].copy_from_slice(&chain);
    let model = ModelConfig {
        namespaces: vec![NamespaceConfig::new(
            MemoryStore::from_bytes(disk),
            BLOCK_BYTES,
        )],
        queues: 1,
        read_latency_us: 20,
        jitter_us: 20,
        ..ModelConfig::default()
    };
    // Talkers do not read while a visitor is there: he needs slabs that are promised to him.
    let limits = dpu_firmware::limits::Limits {
        slabs: [14, 3, 8],
        ..TINY
    };
    let mut world = World::new(model, limits, 8);
    let mut first = world.connect();
    let program = load(&mut world, &mut first, "chase", programs::CHASE);
    let mut talkers: Vec<Talker> = (0..3).map(|_| Talker::new(&mut world, program)).collect();
    let mut random = Random(2);
    // Long enough that every packet buffer of the wire has grown to the longest packet.
    talk(&mut world, &mut talkers, &mut random, 20_000);

    world.around_turn = |begins| COUNTING.set(begins);
    let before = *world.agent.counters();
    talk(&mut world, &mut talkers, &mut random, REQUESTS);
    let after = *world.agent.counters();
    assert_eq!(
        ALLOCATIONS.get(),
        0,
        "allocations within turns of the agent"
    );

    assert!(after.requests - before.requests >= REQUESTS);
    for (what, count) in [
        ("calls", after.calls - before.calls),
        ("flushes", after.flushes_joined - before.flushes_joined),
        (
            "loads",
            (after.programs_loaded - before.programs_loaded) * 1_000,
        ),
        (
            "closes",
            (after.connections_closed - before.connections_closed) * 1_000,
        ),
    ] {
        assert!(count > REQUESTS / 20, "{count} {what}");
    }
}

/// What `Limits::total_bytes` says is what a profile is chosen by.
#[test]
fn an_agent_takes_no_more_than_its_limits_say() {
    for limits in [TINY, SMALL] {
        let device = ModelDevice::new(ModelConfig {
            namespaces: vec![NamespaceConfig::new(MemoryStore::new(4096), BLOCK_BYTES)],
            queues: 1,
            arena_pages: limits.arena_pages() as u32,
            ..ModelConfig::default()
        })
        .expect("a drive");
        let (end, _far) = wire(WireConfig::default());
        let config = AgentConfig {
            limits,
            driver: DriverConfig::default(),
            boot_nonce: 1,
            seed: 1,
            map_secret: 2,
            execution: ExecutionConfig::default(),
            board: "test",
        };
        BYTES.set(0);
        COUNTING.set(true);
        let net = NetConfig {
            addresses: Addresses::new(Ipv4Address::new(10, 0, 0, 1), 24),
            connections_max: limits.connections,
            receive_bytes: limits.receive_bytes,
            send_bytes: limits.send_bytes,
            listen_port: Some(1),
            checksums: false,
            seed: 1,
        };
        let agent = Box::new(Agent::new(device, Net::new(end, net), config).expect("an agent"));
        COUNTING.set(false);
        let taken = BYTES.get() + limits.arena_pages() * PAGE_BYTES;
        let said = limits.total_bytes();
        assert!(taken <= said, "{taken} bytes, not {said}");
        assert!(taken > said / 10 * 9, "{taken} bytes are far from {said}");
        drop(agent);
    }
}

/// The canary: what is allocated between the two marks is counted.
#[test]
fn allocations_are_counted() {
    COUNTING.set(true);
    let boxed = std::hint::black_box(Box::new(1));
    COUNTING.set(false);
    assert_eq!(*boxed, 1);
    assert_eq!(ALLOCATIONS.get(), 1);
    drop(boxed);
    assert_eq!(ALLOCATIONS.get(), 1);
}
