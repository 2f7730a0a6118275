//! Every limit of the agent, in two profiles, with the memory that each costs.
//!
//! The agent allocates its pools once, when it is made, from the figures here, and
//! nothing afterwards. A profile is a plain value so that a host can choose one at start;
//! the two that ship are checked at compile time: the reservations that a connection is
//! promised must fit into the pools, and the sum must fit the board.

use ebpf::limits::KEPT_MAX;
use ebpf::verifier::{Kept, Verified, Verifier};
use nvme_model::seam::PAGE_BYTES;

use crate::execution::form_bytes_max;

/// Commands in flight on the agent's queue pair. A quarter of what QEMU's device and common
/// drives offer (CAP.MQES + 1 = 2048), far above what a drive needs to be busy.
pub const COMMAND_SLOTS: usize = 512;

/// I/O queue pairs of one agent. More cores mean more agents, each with its own.
pub const QUEUES: usize = 1;

/// Frames decoded in one turn.
pub const FRAMES_PER_TURN: usize = 64;

/// Completions reaped in one turn.
pub const COMPLETIONS_PER_TURN: usize = 64;

/// Of those, frames of one connection before the next has its turn.
pub const FRAMES_PER_VISIT: usize = 8;

/// Connections whose programs are run in one turn.
pub const SLICES_PER_TURN: usize = 16;

/// Meter units in one slice. To leave a program and take it up again costs what some 100 to 300 of
/// them do, so a slice is long enough for that to be lost in the noise.
pub const SLICE_INSTRUCTIONS: u32 = 16_000;

/// Meter units of one turn, in which there is no slice more when less than half of one is left.
pub const TURN_INSTRUCTIONS: u32 = 2 * SLICE_INSTRUCTIONS;

/// Calls admitted in one turn.
pub const ADMISSIONS_PER_TURN: usize = 64;

/// Pages of slabs cleared for a new owner in one turn, beyond which no further call is admitted:
/// both slabs of two calls of the greatest size.
pub const CLEARED_PAGES_PER_TURN: usize = 80;

/// Bytes of one upload that are hashed in one turn.
pub const DIGEST_QUANTUM_BYTES: usize = 4_096;

/// Steps of one proof that are made in one turn.
pub const PROOF_QUANTUM_STEPS: u32 = 64;

/// Slots of one program that are translated in one turn.
pub const TRANSLATION_QUANTUM_SLOTS: u32 = 512;

/// Payload bytes that a request may carry without paying byte credit: they stay in the
/// request's own slot. Program arguments are nearly always this small.
pub const INLINE_PAYLOAD_BYTES: usize = protocol::limits::INLINE_PAYLOAD_BYTES;

/// Pages set aside for the payloads of one connection: its byte credit.
pub const PAYLOAD_PAGES_PER_CONNECTION: usize = 32;

/// Reads of one `dpu_readv`.
pub const VECTOR_MAX: usize = 8;

/// Instructions that an invocation may spend where Attach names no budget, and at most.
pub const INSTRUCTION_BUDGET_MAX: u64 = 100_000_000;

/// Device reads that an invocation may make where Attach names no budget, and at most.
pub const READ_BUDGET_MAX: u32 = 100_000;

/// A connection that has not said Hello by then is closed.
pub const HELLO_DEADLINE_US: u64 = 5_000_000;

/// How long a connection without hello, or one that was told to go, keeps its slot while every
/// slot is taken.
pub const CROWDED_DEADLINE_US: u64 = 1_000_000;

/// An upload without a new piece for this long is dropped.
pub const UPLOAD_IDLE_US: u64 = 30_000_000;

/// The same while every upload buffer is taken and another client wants one.
pub const UPLOAD_IDLE_CROWDED_US: u64 = 1_000_000;

/// An upload that takes longer than this gives way when another client wants its buffer.
pub const UPLOAD_CROWDED_US_MAX: u64 = 30_000_000;

/// A connection whose waiting replies made no progress for this long is reset.
pub const STALLED_REPLY_US: u64 = 10_000_000;

/// How often connections are looked over for the three deadlines above.
pub const HOUSEKEEPING_INTERVAL_US: u64 = 500_000;

/// Objects that one connection may hold open.
pub const OBJECTS_PER_CONNECTION: usize = 64;

/// Instances that one connection may hold attached.
pub const INSTANCES_PER_CONNECTION: usize = 64;

/// Pages of a slab by class: scratch and reply of an invocation come from these.
pub const SLAB_CLASS_PAGES: [usize; 3] = [1, 4, 20];

/// How many sizes of slabs for maps there are.
pub const MAP_CLASSES: usize = 3;

/// Bytes of a slab for maps by class: all maps of an instance lie in one of these, so the last is
/// the most that an instance's maps may take.
pub const MAP_CLASS_BYTES: [usize; MAP_CLASSES] = [4 * 1024, 32 * 1024, 256 * 1024];

/// Bytes of maps laid out in one turn, beyond which no further frame is read.
pub const MAP_BYTES_PER_TURN: usize = 128 * 1024;

/// How long PERST# is asserted: what a board gives power to settle (T_PVPERL, PCIe CEM §2.2), far
/// above what clock and pin need (T_PERST-CLK, T_PERST: 100 µs).
pub const PERST_ASSERTED_US: u64 = 100_000;

/// How long nothing is asked of a drive after PERST# (PCIe Base §6.6.1).
pub const PERST_TRAINING_US: u64 = 100_000;

/// How long a drive may then take until it answers (PCIe Base §6.6.1).
pub const PERST_RETURN_US: u64 = 1_000_000;

/// How often it is asked meanwhile.
pub const PERST_ASK_INTERVAL_US: u64 = 10_000;

/// A drive that fails again within this time after PERST# has failed for good.
pub const PERST_PROVING_US: u64 = 600_000_000;

/// How often a drive that is out of service is asked on its management bus.
pub const MANAGEMENT_INTERVAL_US: u64 = 10_000_000;

/// A drive that is too hot gets commands for this long, then none for as long.
pub const THROTTLE_HALF_US: u64 = 5_000;

/// How long a drive must have been cool enough before it gets all commands again.
pub const THROTTLE_CLEAR_US: u64 = 30_000_000;

/// How long the activity LED stays as it is, at least.
pub const LED_INTERVAL_US: u64 = 100_000;

/// How much of everything one agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections open at once.
    pub connections: usize,
    /// Receive buffer of each connection, bytes.
    pub receive_bytes: usize,
    /// Send buffer of each connection, bytes.
    pub send_bytes: usize,
    /// Requests in flight over all connections.
    pub requests: usize,
    /// Requests that one connection may have in flight at most.
    pub credits_per_connection_max: usize,
    /// 4 KiB pages for payloads of reads and writes.
    pub data_pages: usize,
    /// Programs running (or waiting for the drive) at once.
    pub invocations: usize,
    /// Of those, how many one connection may hold: the rest is for others.
    pub invocations_per_connection: usize,
    /// Slabs of each class of [`SLAB_CLASS_PAGES`].
    pub slabs: [usize; 3],
    /// Loaded programs.
    pub programs: usize,
    /// Bytes of machine code that a program may come to, where programs are compiled.
    pub code_bytes: usize,
    /// Uploads under way at once.
    pub uploads: usize,
    /// Open objects over all connections.
    pub objects: usize,
    /// Attached instances over all connections.
    pub instances: usize,
    /// Slabs for maps of each class of [`MAP_CLASS_BYTES`].
    pub map_slabs: [usize; MAP_CLASSES],
    /// Initial bytes that the maps and globals of a program may have.
    pub initial_bytes: usize,
}

/// For a board that gives the agent 64 MiB.
pub const SMALL: Limits = Limits {
    connections: 64,
    receive_bytes: 24 * 1024,
    send_bytes: 24 * 1024,
    requests: 2_048,
    credits_per_connection_max: 128,
    data_pages: 5_312,
    invocations: 512,
    invocations_per_connection: 64,
    slabs: [512, 192, 160],
    programs: 64,
    code_bytes: 48 * 1024,
    uploads: 8,
    objects: 1_024,
    instances: 512,
    map_slabs: [160, 24, 2],
    initial_bytes: 4 * 1024,
};

/// For a board (or a laptop) that gives the agent 1 GiB.
pub const LARGE: Limits = Limits {
    connections: 1_024,
    receive_bytes: 96 * 1024,
    send_bytes: 96 * 1024,
    requests: 16_384,
    credits_per_connection_max: 256,
    data_pages: 98_304,
    invocations: 4_096,
    invocations_per_connection: 128,
    slabs: [6_144, 2_560, 1_408],
    programs: 512,
    code_bytes: 112 * 1024,
    uploads: 64,
    objects: 16_384,
    instances: 8_192,
    map_slabs: [3_072, 1_056, 80],
    initial_bytes: 16 * 1024,
};

/// Bytes an agent costs beside its pools: itself, the driver's slots, what is there once.
const AGENT_BYTES: usize = 256 * 1024;

/// Bytes a connection costs beside its two buffers: its socket and interface, and what is known
/// of it.
const CONNECTION_BYTES: usize = 4 * 1024;

/// Bytes a request costs, its inline payload included.
const REQUEST_BYTES: usize = 640;

/// Bytes a page or slab costs beside itself: its place in a list.
const PAGE_ENTRY_BYTES: usize = 16;

/// Bytes an invocation costs beside its slabs: engine state, stack, arguments, I/O state.
const INVOCATION_BYTES: usize = 10 * 1024;

/// Bytes a loaded program costs beside the form in which it runs: what was proved, with the code,
/// and what is known of it.
const PROGRAM_BYTES: usize = size_of::<Verified>() + 1024;

/// Bytes of the verifier, of which there is one.
const VERIFIER_BYTES: usize = size_of::<Verifier<()>>() + KEPT_MAX * size_of::<Kept>();

/// Bytes an upload costs: its image and what is known of it.
const UPLOAD_BYTES: usize = ebpf::limits::IMAGE_BYTES_MAX + 1024;

/// Bytes an open object costs.
const OBJECT_BYTES: usize = 64;

/// Bytes an attached instance costs.
const INSTANCE_BYTES: usize = 128;

/// How many pools there are.
const POOLS: usize = 14;

/// A pool, and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// What is in it, in at most 24 bytes.
    pub name: &'static str,
    /// How many.
    pub count: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

impl Pool {
    const fn new(name: &'static str, count: usize, each_bytes: usize) -> Pool {
        Pool {
            name,
            count,
            bytes: count * each_bytes,
        }
    }
}

impl Limits {
    /// Pages of every slab together.
    #[must_use]
    pub const fn slab_pages(&self) -> usize {
        self.slabs[0] * SLAB_CLASS_PAGES[0]
            + self.slabs[1] * SLAB_CLASS_PAGES[1]
            + self.slabs[2] * SLAB_CLASS_PAGES[2]
    }

    /// Bytes of every slab for maps together.
    #[must_use]
    pub const fn map_bytes(&self) -> usize {
        self.map_slabs[0] * MAP_CLASS_BYTES[0]
            + self.map_slabs[1] * MAP_CLASS_BYTES[1]
            + self.map_slabs[2] * MAP_CLASS_BYTES[2]
    }

    /// Pages that payloads of all connections may hold at once: what the byte credits are
    /// backed by.
    #[must_use]
    pub const fn payload_pages(&self) -> usize {
        self.connections * PAYLOAD_PAGES_PER_CONNECTION
    }

    /// Pages of DMA memory an agent takes beside the driver's own (rings, PRP lists).
    #[must_use]
    pub const fn dma_pages(&self) -> usize {
        self.data_pages + self.slab_pages() + self.invocations
    }

    /// Pages of DMA memory in all, the driver's included: what a device's arena must hold.
    #[must_use]
    pub const fn arena_pages(&self) -> usize {
        self.dma_pages() + DRIVER_PAGES
    }

    /// Every pool, with what it takes at most.
    #[must_use]
    pub const fn pools(&self) -> [Pool; POOLS] {
        let buffers = self.receive_bytes + self.send_bytes;
        let form = form_bytes_max(self.code_bytes);
        let page = PAGE_BYTES + PAGE_ENTRY_BYTES;
        [
            Pool::new("agent", 1, AGENT_BYTES),
            Pool::new("verifier", 1, VERIFIER_BYTES),
            Pool::new("connections", self.connections, buffers + CONNECTION_BYTES),
            Pool::new("requests", self.requests, REQUEST_BYTES),
            Pool::new("driver pages", DRIVER_PAGES, page),
            Pool::new("data pages", self.data_pages, page),
            Pool::new("bounce pages", self.invocations, page),
            Pool::new("slab pages", self.slab_pages(), page),
            Pool::new("invocations", self.invocations, INVOCATION_BYTES),
            Pool::new(
                "programs",
                self.programs,
                PROGRAM_BYTES + form + self.initial_bytes,
            ),
            Pool::new("uploads", self.uploads, UPLOAD_BYTES),
            Pool::new("objects", self.objects, OBJECT_BYTES),
            Pool::new("instances", self.instances, INSTANCE_BYTES),
            Pool::new("maps", 1, self.map_bytes()),
        ]
    }

    /// Bytes of every pool together: an upper bound on what the agent takes at start.
    #[must_use]
    pub const fn total_bytes(&self) -> usize {
        let pools = self.pools();
        let (mut total, mut at) = (0, 0);
        while at < POOLS {
            total += pools[at].bytes;
            at += 1;
        }
        total
    }

    /// Whether what every connection is promised fits into the pools.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.connections * protocol::limits::CREDITS_MIN as usize <= self.requests
            && self.payload_pages() < self.data_pages
            && self.data_pages - self.payload_pages() >= READ_PAGES_MIN
            && self.requests < u16::MAX as usize
            && self.connections < u16::MAX as usize
            && self.credits_per_connection_max >= protocol::limits::CREDITS_MIN as usize
            && self.receive_bytes > protocol::limits::FRAME_HEAD_BYTES_MAX
            && self.send_bytes > protocol::limits::FRAME_HEAD_BYTES_MAX
            && self.slabs[2] > 1
            && self.invocations > 0
            && self.uploads > 0
            && self.programs > 0
    }
}

/// Pages that reads must always be able to use: one command of the greatest size.
pub const READ_PAGES_MIN: usize = 33;

/// Pages set aside for the driver's rings and PRP lists; checked against what it needs where
/// the agent is made.
pub const DRIVER_PAGES: usize = 96;

const _: () = assert!(SMALL.is_sound() && SMALL.total_bytes() <= 64 << 20);
const _: () = assert!(LARGE.is_sound() && LARGE.total_bytes() <= 1 << 30);
