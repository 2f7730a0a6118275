//! What a Flush acknowledged survives power loss: random clients, random cuts, one checker.
//!
//! The drive's store loses a random part of what was not flushed whenever its power is cut, at any
//! moment: with writes under way, with a flush under way, while the driver recovers from the cut
//! before. The checker knows the promise alone: a block holds the version that was acknowledged
//! before a Flush was sent and in the epoch that the Flush was answered in, or one written later.
//! It is tried on a drive that lies about flushing too, and must find that out.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;

use client::Ticket;
use nvme_model::model::{
    Buffers, CachedStore, Commands, Fault, Finished, MemoryStore, ModelConfig, NamespaceConfig,
    Store, StoreError, StoreOp, Submitted, When,
};
use nvme_model::spec::IoOpcode;
use outboard_tests::faults_support::{Peer, Progress, Random, TINY, World};
use protocol::Status;
use protocol::message::{FlushRequest, OpenRequest, ReadRequest, WriteRequest};

const BLOCK_BYTES: usize = 4096;
const BLOCKS: usize = 24;
const PEERS: usize = 3;
const MINUTE_US: u64 = 60_000_000;
const SEEDS: u64 = 100;

type Verdict = Result<(), String>;

fn world(store: impl Store + 'static, seed: u64) -> World {
    let model = ModelConfig {
        namespaces: vec![NamespaceConfig::new(store, BLOCK_BYTES as u32)],
        queues: 1,
        read_latency_us: 50,
        write_latency_us: 100,
        jitter_us: 300,
        seed,
        ..ModelConfig::default()
    };
    World::new(model, TINY, seed)
}

fn cached() -> CachedStore<MemoryStore> {
    let store = MemoryStore::new((BLOCKS * BLOCK_BYTES) as u64);
    CachedStore::new(store, BLOCK_BYTES as u32)
}

/// A block full of its number and version; version 0 is the empty drive.
fn content(block: usize, version: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK_BYTES);
    while bytes.len() < BLOCK_BYTES {
        bytes.extend((block as u64).to_le_bytes());
        bytes.extend(version.to_le_bytes());
    }
    bytes
}

/// Which version a block holds. A block is written whole or not at all.
fn version_in(block: usize, bytes: &[u8]) -> Result<u64, String> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let version = u64::from_le_bytes(bytes[8..16].try_into().expect("eight"));
    if bytes == content(block, version) {
        Ok(version)
    } else {
        Err(format!("block {block} holds what was never written"))
    }
}

/// What is known of one block.
#[derive(Clone, Copy, Debug, Default)]
struct Block {
    /// The last version sent.
    sent: u64,
    busy: bool,
    /// The last version acknowledged, and the epoch of that reply.
    acknowledged: Option<(u64, u64)>,
    /// What must be there while the power stays on.
    visible: u64,
    /// What must be there whatever happens.
    durable: u64,
}

/// What a request in flight will tell.
enum Pending {
    Write {
        first: usize,
        count: usize,
        version: u64,
        cuts: u64,
    },
    Flush {
        covered: Vec<(usize, u64, u64)>,
    },
    Read {
        block: usize,
        least: u64,
        durable: u64,
        cuts: u64,
    },
}

struct Run {
    world: World,
    peers: Vec<Peer>,
    objects: Vec<u32>,
    pending: Vec<HashMap<Ticket, Pending>>,
    blocks: Vec<Block>,
    versions: u64,
    cuts: u64,
    cuts_in_round: u64,
    flushes: u64,
    unknown: u64,
    random: Random,
    /// Epoch of the newest reply that told one.
    epoch: u64,
}

impl Run {
    fn new(store: impl Store + 'static, seed: u64) -> Run {
        let mut world = world(store, seed);
        let mut peers: Vec<Peer> = (0..PEERS).map(|_| world.connect()).collect();
        let objects = peers
            .iter_mut()
            .map(|peer| open(&mut world, peer))
            .collect();
        let epoch = world.agent.drive_epoch();
        Run {
            world,
            peers,
            objects,
            pending: (0..PEERS).map(|_| HashMap::new()).collect(),
            blocks: vec![Block::default(); BLOCKS],
            versions: 0,
            cuts: 0,
            cuts_in_round: 0,
            flushes: 0,
            unknown: 0,
            random: Random(seed),
            epoch,
        }
    }

    /// Some peer asks for something.
    fn act(&mut self) {
        let peer = self.random.below(PEERS as u64) as usize;
        if self.peers[peer].session.credits() == 0 {
            return;
        }
        match self.random.below(8) {
            0..=3 => self.write(peer),
            4 => self.flush(peer),
            _ => self.read(peer),
        }
    }

    fn write(&mut self, peer: usize) {
        let first = self.random.below(BLOCKS as u64) as usize;
        let count = 1 + self.random.below(3) as usize;
        let Some(blocks) = self.blocks.get_mut(first..first + count) else {
            return;
        };
        // Two writes of one block in flight have no order that a checker could know.
        if blocks.iter().any(|block| block.busy) {
            return;
        }
        let version = self.versions + 1;
        let data: Vec<u8> = (first..first + count)
            .flat_map(|block| content(block, version))
            .collect();
        let request = WriteRequest {
            object: self.objects[peer],
            offset: (first * BLOCK_BYTES) as u64,
        };
        let Ok(ticket) = self.peers[peer].submit(&request, &data) else {
            return;
        };
        self.versions = version;
        for block in blocks {
            block.busy = true;
            block.sent = version;
        }
        let pending = Pending::Write {
            first,
            count,
            version,
            cuts: self.cuts,
        };
        self.pending[peer].insert(ticket, pending);
    }

    fn flush(&mut self, peer: usize) {
        let request = FlushRequest {
            object: self.objects[peer],
        };
        let Ok(ticket) = self.peers[peer].submit(&request, &[]) else {
            return;
        };
        let acknowledged = |(at, block): (usize, &Block)| {
            let (version, epoch) = block.acknowledged?;
            Some((at, version, epoch))
        };
        let covered = self.blocks.iter().enumerate().filter_map(acknowledged);
        let pending = Pending::Flush {
            covered: covered.collect(),
        };
        self.pending[peer].insert(ticket, pending);
    }

    fn read(&mut self, peer: usize) {
        let block = self.random.below(BLOCKS as u64) as usize;
        let request = ReadRequest {
            object: self.objects[peer],
            offset: (block * BLOCK_BYTES) as u64,
            length: BLOCK_BYTES as u32,
        };
        let Ok(ticket) = self.peers[peer].submit(&request, &[]) else {
            return;
        };
        let pending = Pending::Read {
            block,
            least: self.blocks[block].visible,
            durable: self.blocks[block].durable,
            cuts: self.cuts,
        };
        self.pending[peer].insert(ticket, pending);
    }

    /// Takes replies. Whether there were any.
    fn replies(&mut self) -> Result<bool, String> {
        let mut any = false;
        for peer in 0..PEERS {
            any |= self.peers[peer].pump(&mut self.world);
            while let Some(reply) = self.peers[peer].session.next_reply() {
                any = true;
                let pending = self.pending[peer].remove(&reply.ticket);
                // What two cuts interrupted is not tried a third time, and told so.
                if reply.status == Status::OutcomeUnknown && self.cuts_in_round > 1 {
                    if let Some(Pending::Write { first, count, .. }) = pending {
                        let blocks = &mut self.blocks[first..first + count];
                        blocks.iter_mut().for_each(|block| block.busy = false);
                    }
                    self.unknown += 1;
                    continue;
                }
                if reply.status != Status::Ok {
                    return Err(format!("a {:?} ended with: {}", reply.kind, reply.status));
                }
                match pending.ok_or("a reply to nothing")? {
                    Pending::Write {
                        first,
                        count,
                        version,
                        cuts,
                    } => {
                        let epoch = reply.decode::<WriteRequest>().map_err(|_| "body")?;
                        self.epoch = epoch.drive_epoch;
                        for block in &mut self.blocks[first..first + count] {
                            block.busy = false;
                            block.acknowledged = Some((version, epoch.drive_epoch));
                            if cuts == self.cuts {
                                block.visible = version;
                            }
                        }
                    }
                    Pending::Flush { covered } => {
                        let epoch = reply.decode::<FlushRequest>().map_err(|_| "body")?;
                        self.epoch = epoch.drive_epoch;
                        self.flushes += 1;
                        for (block, version, written_in) in covered {
                            if written_in == epoch.drive_epoch {
                                let block = &mut self.blocks[block];
                                block.durable = block.durable.max(version);
                            }
                        }
                    }
                    Pending::Read {
                        block,
                        least,
                        durable,
                        cuts,
                    } => {
                        let least = if cuts == self.cuts { least } else { durable };
                        self.check(block, &reply.payload, least)?;
                    }
                }
            }
        }
        Ok(any)
    }

    fn check(&self, block: usize, bytes: &[u8], least: u64) -> Result<u64, String> {
        let version = version_in(block, bytes)?;
        let known = &self.blocks[block];
        if (least..=known.sent).contains(&version) {
            return Ok(version);
        }
        Err(format!(
            "block {block} holds version {version}, not {least} or later: {known:?}, {} cuts",
            self.cuts
        ))
    }

    /// One pass, and time goes on where nothing moves.
    fn pass(&mut self) -> Verdict {
        let (moved, due) = self.world.pass();
        let replied = self.replies()?;
        if !moved && !replied {
            // A little at a time, so that a cut may come at any moment.
            let soon_us = self.world.now_us + 40;
            self.world.now_us = due.unwrap_or(soon_us).clamp(self.world.now_us, soon_us);
        }
        Ok(())
    }

    fn cut(&mut self) {
        self.cuts += 1;
        self.cuts_in_round += 1;
        let seed = self.random.next();
        let now_us = self.world.now_us;
        self.world.agent.device_mut().power_cut(seed, now_us);
        for block in &mut self.blocks {
            block.visible = block.durable;
        }
    }

    /// Waits until every request is answered, perhaps with another cut on the way.
    fn drain(&mut self, mut cut_after: Option<u64>) -> Verdict {
        let until_us = self.world.now_us + 2 * MINUTE_US;
        let mut passes = 0;
        while self.pending.iter().any(|pending| !pending.is_empty()) {
            let (moved, due) = self.world.pass();
            let replied = self.replies()?;
            passes += 1;
            if cut_after.is_some_and(|after| passes >= after) {
                cut_after = None;
                self.cut();
            }
            if !moved && !replied {
                self.world.now_us = due.unwrap_or(until_us).max(self.world.now_us + 1);
            }
            if self.world.now_us > until_us {
                return Err("requests are not answered".into());
            }
        }
        Ok(())
    }

    /// With nothing in flight: what every block holds.
    fn verify(&mut self) -> Verdict {
        for block in 0..BLOCKS {
            let request = ReadRequest {
                object: self.objects[0],
                offset: (block * BLOCK_BYTES) as u64,
                length: BLOCK_BYTES as u32,
            };
            let reply = self.peers[0].must(&mut self.world, &request, &[]);
            self.blocks[block].visible =
                self.check(block, &reply.payload, self.blocks[block].visible)?;
        }
        Ok(())
    }

    /// A stretch of work with one event in the midst of it, and what is left after that.
    fn round(&mut self) -> Verdict {
        let before = self.world.agent.drive_epoch();
        self.cuts_in_round = 0;
        let event = self.random.below(4);
        let at = self.random.below(300);
        for step in 0..300 {
            if self.random.below(3) == 0 {
                self.act();
            }
            if step == at {
                match event {
                    0 => {
                        let faults = self.world.agent.device_mut().faults_mut();
                        faults.add(Commands::Io, When::Nth(1), Fault::Fatal);
                    }
                    1..=2 => self.cut(),
                    _ => {}
                }
            }
            self.pass()?;
        }
        let again = (event == 2).then(|| self.random.below(60));
        self.drain(again)?;
        self.verify()?;
        self.flush(0);
        self.drain(None)?;
        let lost_power = self.cuts_in_round > 0;
        if lost_power != (self.epoch != before) {
            return Err(format!(
                "the epoch went from {before:x} to {:x}, power lost: {lost_power}",
                self.epoch
            ));
        }
        // Resets of long ago do not count as one too many.
        self.world.advance(MINUTE_US + 1);
        Ok(())
    }
}

fn open(world: &mut World, peer: &mut Peer) -> u32 {
    let open = OpenRequest {
        namespace: 1,
        offset: 0,
        length: None,
    };
    let reply = peer.must(world, &open, &[]);
    reply
        .decode::<OpenRequest>()
        .expect("a reply to open")
        .object
}

fn play(store: impl Store + 'static, seed: u64, rounds: u32) -> Result<[u64; 3], String> {
    let mut run = Run::new(store, seed);
    for round in 0..rounds {
        run.round()
            .map_err(|why| format!("seed {seed}, round {round}: {why}"))?;
    }
    Ok([run.cuts, run.flushes, run.unknown])
}

#[test]
fn what_was_flushed_survives_power_loss() {
    let mut sums = [0; 3];
    for seed in 0..SEEDS {
        let counts = play(cached(), seed, 8).unwrap_or_else(|why| panic!("{why}"));
        for (sum, count) in sums.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let [cuts, flushes, unknown] = sums;
    println!("{cuts} cuts, {flushes} flushes, {unknown} outcomes unknown");
    assert!(cuts > 2 * SEEDS && flushes > 20 * SEEDS && unknown > 0);
}

/// Says that it flushed, and did not.
#[derive(Debug)]
struct Liar(CachedStore<MemoryStore>);

impl Store for Liar {
    fn bytes(&self) -> u64 {
        self.0.bytes()
    }
    fn describe(&self) -> String {
        "a liar".into()
    }
    fn volatile(&self) -> bool {
        true
    }
    fn submit(&mut self, token: u64, op: StoreOp, data: &mut Buffers<'_>) -> Submitted {
        match op {
            StoreOp::Flush => Submitted::Done(Ok(())),
            _ => self.0.submit(token, op, data),
        }
    }
    fn poll(&mut self) -> Option<Finished<'_>> {
        self.0.poll()
    }
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        self.0.wait_fd()
    }
    fn power_cut(&mut self, seed: u64) {
        self.0.power_cut(seed);
    }
    fn read_now(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.0.read_now(offset, bytes)
    }
    fn write_now(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.0.write_now(offset, bytes)
    }
}

/// The canary: what this suite is for would be noticed.
#[test]
fn a_drive_that_lies_about_flushing_is_found_out() {
    let lies = (0..10).filter_map(|seed| play(Liar(cached()), seed, 8).err());
    let found = lies.filter(|why| why.contains("holds version")).count();
    assert!(found >= 8, "only {found} of 10 runs noticed");
}

/// The delay of the next command of this kind.
fn delay(world: &mut World, opcode: IoOpcode, us: u64) {
    let commands = Commands::IoOpcode(opcode.0);
    let faults = world.agent.device_mut().faults_mut();
    faults.add(commands, When::Nth(1), Fault::Delay(us));
}

fn wait_for(world: &mut World, peer: &mut Peer, ticket: Ticket, us: u64) -> Option<Status> {
    let mut status = None;
    world.run(world.now_us + us, |world| {
        let moved = peer.pump(world);
        status = peer.session.take_reply(ticket).map(|reply| reply.status);
        Progress::of(status.is_some(), moved)
    });
    status
}

#[test]
fn flushes_that_come_later_share_one_command() {
    let mut world = world(cached(), 5);
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| world.connect()).collect();
    let objects: Vec<u32> = peers.iter_mut().map(|it| open(&mut world, it)).collect();
    delay(&mut world, IoOpcode::FLUSH, 1_000_000);
    let first = FlushRequest { object: objects[0] };
    let first = peers[0].submit(&first, &[]).expect("credit");
    assert_eq!(wait_for(&mut world, &mut peers[0], first, 1_000), None);
    for (peer, object) in peers.iter_mut().zip(&objects) {
        for _ in 0..4 {
            peer.submit(&FlushRequest { object: *object }, &[])
                .expect("credit");
        }
    }
    let mut answers = 0;
    let done = world.run(world.now_us + 2_000_000, |world| {
        let mut moved = false;
        for peer in &mut peers {
            moved |= peer.pump(world);
            while let Some(reply) = peer.session.next_reply() {
                assert_eq!(reply.status, Status::Ok);
                answers += 1;
            }
        }
        Progress::of(answers == 13, moved)
    });
    assert!(done, "{answers} answers");
    let counters = world.agent.counters();
    assert_eq!((counters.flushes_sent, counters.flushes_joined), (2, 13));
}

#[test]
fn a_flush_waits_for_no_write_that_was_not_acknowledged() {
    let mut world = world(cached(), 6);
    let mut peer = world.connect();
    let object = open(&mut world, &mut peer);
    delay(&mut world, IoOpcode::WRITE, 1_000_000);
    let write = WriteRequest { object, offset: 0 };
    let write = peer.submit(&write, &content(0, 1)).expect("credit");
    assert_eq!(wait_for(&mut world, &mut peer, write, 10_000), None);
    let flush = peer.submit(&FlushRequest { object }, &[]).expect("credit");
    let flushed = wait_for(&mut world, &mut peer, flush, 10_000);
    assert_eq!(flushed, Some(Status::Ok), "it waited for a write");
    let written = wait_for(&mut world, &mut peer, write, 2_000_000);
    assert_eq!(written, Some(Status::Ok));
}

/// A flush at the drive may have begun before a write was acknowledged: it is not enough for a
/// Flush that came after.
#[test]
fn a_flush_under_way_is_not_enough_for_a_later_write() {
    let mut kept = 0;
    for seed in 0..32 {
        let mut world = world(cached(), seed);
        let mut peer = world.connect();
        let object = open(&mut world, &mut peer);
        delay(&mut world, IoOpcode::FLUSH, 1_000_000);
        let early = peer.submit(&FlushRequest { object }, &[]).expect("credit");
        assert_eq!(wait_for(&mut world, &mut peer, early, 1_000), None);
        let write = WriteRequest { object, offset: 0 };
        peer.must(&mut world, &write, &content(0, 1));
        let late = peer.submit(&FlushRequest { object }, &[]).expect("credit");
        assert_eq!(wait_for(&mut world, &mut peer, late, 100_000), None);
        let sent = wait_for(&mut world, &mut peer, late, 2_000_000);
        assert_eq!(sent, Some(Status::Ok));
        assert_eq!(world.agent.counters().flushes_sent, 2);
        let now_us = world.now_us;
        world.agent.device_mut().power_cut(seed, now_us);
        let read = ReadRequest {
            object,
            offset: 0,
            length: BLOCK_BYTES as u32,
        };
        let reply = peer.must(&mut world, &read, &[]);
        kept += version_in(0, &reply.payload).expect("whole");
    }
    assert_eq!(kept, 32);
}
