//! The driver over the software controller, in virtual time: data, faults, recovery.
#![cfg(feature = "std")]

use std::collections::HashMap;

use nvme_model::driver::{
    Completion, Driver, DriverConfig, DriverState, Error, FailReason, Lba, NamespaceId, Operation,
    OutsideReset, Rejected, Wake, block_on, block_until_running,
};
use nvme_model::memory::{Page, PagePool, Transfer};
use nvme_model::model::{
    Commands, Fault, MemoryStore, ModelConfig, ModelDevice, NamespaceConfig, When,
};
use nvme_model::seam::{Device, Dma, PAGE_BYTES};
use nvme_model::spec::{IoOpcode, Status, StatusCode};

type ModelDriver = Driver<ModelDevice, 2, 32>;

const BLOCKS: u64 = 512;

/// A small generator: tests replay.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides
    }
}

fn config() -> ModelConfig {
    let namespace = |block_bytes: u32| {
        NamespaceConfig::new(
            MemoryStore::new(BLOCKS * u64::from(block_bytes)),
            block_bytes,
        )
    };
    ModelConfig {
        namespaces: vec![namespace(4096), namespace(512)],
        arena_pages: 2048,
        coherent: false,
        queues: 4,
        ..Default::default()
    }
}

/// What an operation was, while it is unfinished.
struct Job {
    operation: Operation,
    /// What a write writes into each block.
    stamp: u64,
}

struct World {
    driver: ModelDriver,
    pool: PagePool<Vec<u32>>,
    dice: Dice,
    now_us: u64,
    /// What each block may hold: the stamps of the last write that is known to have happened and of
    /// those since whose outcome is not known.
    blocks: HashMap<(NamespaceId, u64), Vec<u64>>,
    /// Blocks of unfinished operations: no two touch one block, which has no defined order.
    busy: HashMap<(NamespaceId, u64), ()>,
    jobs: HashMap<u64, Job>,
    next_token: u64,
    next_stamp: u64,
    errors: Vec<Error>,
    reads_checked: u64,
}

impl World {
    fn new(config: ModelConfig, seed: u64) -> World {
        let mut device = ModelDevice::new(config).unwrap();
        let mut arena = device.dma_mut().claim().unwrap();
        let rings = arena.split(ModelDriver::pages_needed()).unwrap();
        let pool = arena.split(1024).unwrap();
        let driver_config = DriverConfig {
            nonce: seed,
            ..Default::default()
        };
        World {
            driver: Driver::new(device, driver_config, rings).unwrap(),
            pool: PagePool::new(pool, vec![0; 1024]).unwrap(),
            dice: Dice(seed),
            now_us: 0,
            blocks: HashMap::new(),
            busy: HashMap::new(),
            jobs: HashMap::new(),
            next_token: 0,
            next_stamp: 1,
            errors: Vec::new(),
            reads_checked: 0,
        }
    }

    fn running(config: ModelConfig, seed: u64) -> World {
        let mut world = World::new(config, seed);
        world.run_until(|world| world.driver.state() == DriverState::Running);
        world
    }

    /// One turn; time goes on to whatever comes first when there is nothing to do.
    fn turn(&mut self) {
        let step = self.driver.device_mut().step(self.now_us);
        let mut done = Vec::new();
        let wake = self
            .driver
            .poll(self.now_us, 16, &mut |completion| done.push(completion));
        let moved = !done.is_empty();
        for completion in done {
            self.take(completion);
        }
        self.driver.ring_doorbells();
        if step.busy || moved || wake == Wake::Again {
            return;
        }
        let timer = match wake {
            Wake::At(at_us) => Some(at_us),
            Wake::Again | Wake::Idle => None,
        };
        let next = [timer, step.next].into_iter().flatten().min();
        self.now_us = self.now_us.max(next.unwrap_or(self.now_us)) + 1;
    }

    fn run_until(&mut self, until: impl Fn(&World) -> bool) {
        for _ in 0..300_000 {
            if until(self) {
                return;
            }
            self.turn();
        }
        panic!("{:?} at {} us: this never ends", self.driver, self.now_us);
    }

    fn drain(&mut self) {
        self.run_until(|world| world.driver.unfinished() == 0);
        assert!(self.jobs.is_empty());
    }

    fn block_bytes(&self, namespace: NamespaceId) -> usize {
        self.driver.namespace(namespace).unwrap().block_bytes as usize
    }

    fn stamp_of(&self, key: (NamespaceId, u64)) -> Vec<u64> {
        self.blocks.get(&key).cloned().unwrap_or_else(|| vec![0])
    }

    /// A block's contents: its stamp in every eight bytes.
    fn fill(bytes: &mut [u8], stamp: u64) {
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&stamp.to_le_bytes());
        }
    }

    /// Submits something at random; `false` when it was not taken.
    fn submit(&mut self) -> bool {
        let namespace = NamespaceId(1 + self.dice.roll(2) as u32);
        let block_bytes = self.block_bytes(namespace);
        let blocks = 1 + self.dice.roll(if self.dice.0 & 64 == 0 { 4 } else { 32 });
        let lba = self.dice.roll(BLOCKS - blocks + 1);
        let touched = (lba..lba + blocks).map(|lba| (namespace, lba));
        if touched.clone().any(|key| self.busy.contains_key(&key)) {
            return true;
        }
        let (at, count) = (Lba(lba), blocks as u32);
        let operation = match self.dice.roll(20) {
            0..9 => Operation::Read {
                namespace,
                lba: at,
                blocks: count,
            },
            9..18 => Operation::Write {
                namespace,
                lba: at,
                blocks: count,
                force_unit_access: lba.is_multiple_of(2),
            },
            18 => Operation::WriteZeroes {
                namespace,
                lba: at,
                blocks: count,
            },
            _ => Operation::Flush { namespace },
        };
        let stamp = self.next_stamp;
        let transfer = if operation.has_data() {
            let offset = 4 * self.dice.roll(1024) as usize;
            let bytes = blocks as usize * block_bytes;
            let Some(transfer) = self.transfer(offset, bytes) else {
                return false;
            };
            match operation {
                Operation::Write { .. } => self.filled(transfer, stamp),
                _ => transfer,
            }
        } else {
            Transfer::None
        };
        let queue = self.dice.roll(2) as usize;
        let token = self.next_token;
        match self
            .driver
            .submit(self.now_us, queue, operation, transfer, token)
        {
            Ok(()) => {
                self.next_token += 1;
                self.next_stamp += 1;
                if operation.range().is_some() {
                    self.busy.extend(touched.map(|key| (key, ())));
                }
                self.jobs.insert(token, Job { operation, stamp });
                true
            }
            Err((rejected, transfer)) => {
                self.give(transfer);
                assert!(
                    matches!(
                        rejected,
                        Rejected::QueueFull | Rejected::NotRunning | Rejected::Failed(_)
                    ),
                    "{rejected}"
                );
                false
            }
        }
    }

    fn transfer(&mut self, offset: usize, bytes: usize) -> Option<Transfer> {
        let pages = self.pool.take((offset + bytes).div_ceil(PAGE_BYTES))?;
        Some(Transfer::Pages {
            pages,
            offset: offset as u16,
            bytes: bytes as u32,
        })
    }

    fn give(&mut self, transfer: Transfer) {
        if let Transfer::Pages { pages, .. } = transfer {
            self.pool.give(pages);
        }
    }

    fn filled(&mut self, mut transfer: Transfer, stamp: u64) -> Transfer {
        let Transfer::Pages {
            pages,
            offset,
            bytes,
        } = &mut transfer
        else {
            return transfer;
        };
        let mut data = vec![0; *bytes as usize];
        Self::fill(&mut data, stamp);
        let (mut offset, mut data) = (usize::from(*offset), data.as_slice());
        for page in pages {
            let (now, later) = data.split_at(data.len().min(PAGE_BYTES - offset));
            let dma = self.driver.device_mut().dma_mut();
            page.bytes_mut(dma)[offset..offset + now.len()].copy_from_slice(now);
            (offset, data) = (0, later);
        }
        transfer
    }

    fn contents(&self, transfer: &Transfer) -> Vec<u8> {
        let Transfer::Pages {
            pages,
            offset,
            bytes,
        } = transfer
        else {
            return Vec::new();
        };
        let dma = self.driver.device().dma();
        let bytes_of = |page: &Page| page.bytes(dma).to_vec();
        let all: Vec<u8> = pages.iter().flat_map(bytes_of).collect();
        all[usize::from(*offset)..][..*bytes as usize].to_vec()
    }

    /// Judges a completion by what the blocks may hold.
    fn take(&mut self, completion: Completion) {
        let Job { operation, stamp } = self.jobs.remove(&completion.token).expect("one end each");
        if let Err(error) = completion.result {
            self.errors.push(error);
        }
        let namespace = operation.namespace();
        if let Some((Lba(lba), blocks)) = operation.range() {
            let block_bytes = self.block_bytes(namespace);
            let data = self.contents(&completion.transfer);
            for n in 0..u64::from(blocks) {
                let key = (namespace, lba + n);
                self.busy.remove(&key);
                let written = match operation {
                    Operation::Read { .. } if completion.result.is_ok() => {
                        let block = &data[n as usize * block_bytes..][..block_bytes];
                        self.check(key, block);
                        continue;
                    }
                    Operation::Write { .. } => stamp,
                    Operation::WriteZeroes { .. } => 0,
                    _ => continue,
                };
                match completion.result {
                    Ok(()) => drop(self.blocks.insert(key, vec![written])),
                    Err(_) => {
                        let mut may_hold = self.stamp_of(key);
                        may_hold.push(written);
                        self.blocks.insert(key, may_hold);
                    }
                }
            }
        }
        self.give(completion.transfer);
    }

    fn check(&mut self, key: (NamespaceId, u64), block: &[u8]) {
        let expected = self.stamp_of(key);
        let fits = expected.iter().any(|&stamp| {
            let mut image = vec![0; block.len()];
            Self::fill(&mut image, stamp);
            image == block
        });
        assert!(
            fits,
            "{key:?} holds {:?} and not one of {expected:?}",
            &block[..8]
        );
        self.reads_checked += 1;
    }

    /// So many operations, as many at a time as there is room for.
    fn work(&mut self, operations: usize) {
        for _ in 0..operations {
            if !self.submit() {
                if matches!(self.driver.state(), DriverState::Failed(_)) {
                    return;
                }
                self.driver.ring_doorbells();
                self.turn();
            }
        }
    }

    /// Every page is back.
    fn whole(&self) -> bool {
        self.pool.free() == self.pool.total()
    }
}

#[test]
fn what_was_written_is_read() {
    for (seed, coherent, jitter_us) in [(1, true, 0), (2, false, 0), (3, false, 500)] {
        let mut world = World::running(
            ModelConfig {
                coherent,
                jitter_us,
                read_latency_us: jitter_us / 4,
                write_latency_us: jitter_us / 8,
                ..config()
            },
            seed,
        );
        world.work(4000);
        world.drain();
        assert_eq!(world.errors, []);
        assert!(world.reads_checked > 1000, "{}", world.reads_checked);
        assert!(world.whole());
        let counters = world.driver.counters();
        assert_eq!(counters.submitted, counters.completed);
        let odd =
            counters.stale_completions + counters.unknown_completions + counters.bad_queue_heads;
        assert_eq!((odd, counters.resets), (0, 0));
        assert_eq!(world.driver.device().dma_violations(), 0);
    }
}

#[test]
fn small_queues_and_wide_strides_work_too() {
    for (queue_entries, doorbell_stride, queues) in [(2, 0, 1), (3, 4, 2), (33, 10, 1)] {
        let mut world = World::running(
            ModelConfig {
                queue_entries,
                doorbell_stride,
                queues,
                jitter_us: 50,
                ..config()
            },
            u64::from(queue_entries),
        );
        assert_eq!(world.driver.queue_count(), usize::from(queues.min(2)));
        let both = world.driver.queue_count() == 2;
        for _ in 0..600 {
            let taken = world.submit_on_some_queue(both);
            if !taken {
                world.turn();
            }
        }
        world.drain();
        assert_eq!(world.errors, []);
        assert!(world.whole());
    }
}

impl World {
    /// As `submit`, with few operations where there is one queue.
    fn submit_on_some_queue(&mut self, both: bool) -> bool {
        if both {
            return self.submit();
        }
        let namespace = NamespaceId(1);
        let lba = self.dice.roll(BLOCKS);
        if self.busy.contains_key(&(namespace, lba)) || self.driver.free_slots(0) == 0 {
            return false;
        }
        let stamp = self.next_stamp;
        self.next_stamp += 1;
        let transfer = self.transfer(0, 4096).unwrap();
        let write = stamp.is_multiple_of(2);
        let operation = if write {
            Operation::Write {
                namespace,
                lba: Lba(lba),
                blocks: 1,
                force_unit_access: false,
            }
        } else {
            Operation::Read {
                namespace,
                lba: Lba(lba),
                blocks: 1,
            }
        };
        let transfer = if write {
            self.filled(transfer, stamp)
        } else {
            transfer
        };
        let token = self.next_token;
        self.next_token += 1;
        let taken = self
            .driver
            .submit(self.now_us, 0, operation, transfer, token);
        assert_eq!(taken.map_err(|(rejected, _)| rejected), Ok(()));
        self.busy.insert((namespace, lba), ());
        self.jobs.insert(token, Job { operation, stamp });
        true
    }
}

#[test]
fn the_controller_is_described() {
    let world = World::running(
        ModelConfig {
            serial: "ABC".into(),
            mdts: 3,
            power_cycles: 41,
            ..config()
        },
        0,
    );
    let info = world.driver.controller().unwrap();
    assert_eq!(info.serial.as_str(), "ABC");
    assert_eq!(info.model.as_str(), "Outboard software drive");
    assert_eq!(info.transfer_bytes_max, 32 * 1024);
    let sizes: Vec<_> = world
        .driver
        .namespaces()
        .iter()
        .map(|info| info.bytes())
        .collect();
    assert_eq!(sizes, [BLOCKS * 4096, BLOCKS * 512]);
    assert!(world.driver.power_cycles() >= 41);
}

/// Works under a fault, then without, and gives the world when all has ended.
fn under(commands: Commands, when: When, fault: Fault, seed: u64) -> World {
    let mut world = World::running(
        ModelConfig {
            jitter_us: 100,
            ..config()
        },
        seed,
    );
    world
        .driver
        .device_mut()
        .faults_mut()
        .add(commands, when, fault);
    world.work(600);
    world.drain();
    assert!(world.driver.device_mut().faults_mut().injected() > 0);
    world.driver.device_mut().faults_mut().clear();
    if world.driver.state() == DriverState::Running {
        world.work(200);
        world.drain();
        assert!(world.whole());
    }
    world
}

#[test]
fn odd_completions_are_counted_and_harm_nothing() {
    for (seed, fault) in [
        Fault::DuplicateCompletion,
        Fault::StaleCompletion,
        Fault::ForgedCompletion,
    ]
    .into_iter()
    .enumerate()
    {
        let world = under(Commands::Io, When::Every(7), fault, seed as u64);
        assert_eq!(world.errors, []);
        let counters = world.driver.counters();
        assert!(
            counters.stale_completions + counters.unknown_completions > 10,
            "{counters:?}"
        );
        assert_eq!(counters.resets, 0);
    }
}

#[test]
fn a_failing_command_says_why() {
    let code = StatusCode::UNRECOVERED_READ_ERROR;
    let status = Status::new(code);
    let read = Commands::IoOpcode(IoOpcode::READ.0);
    let world = under(read, When::Every(11), Fault::Status(status), 5);
    assert!(!world.errors.is_empty());
    for error in world.errors {
        let Error::Status(status) = error else {
            panic!("{error}")
        };
        assert_eq!(status.code(), code);
    }
}

#[test]
fn a_hanging_command_is_aborted() {
    let world = under(Commands::Io, When::Nth(40), Fault::Hang, 6);
    assert_eq!(world.errors, [Error::Aborted]);
    let counters = world.driver.counters();
    assert_eq!((counters.aborts, counters.resets), (1, 0));
}

#[test]
fn a_lost_command_leads_to_a_reset_and_goes_again() {
    for (seed, fault) in [(7, Fault::Drop), (8, Fault::WrongCommandId(0x7000))] {
        let world = under(Commands::Io, When::Nth(40), fault, seed);
        assert_eq!(world.errors, []);
        let counters = world.driver.counters();
        assert_eq!(counters.resets, 1, "{counters:?}");
        assert!(counters.reissued >= 1);
        assert_eq!(world.driver.state(), DriverState::Running);
    }
}

#[test]
fn a_slow_command_is_waited_for() {
    let world = under(Commands::Io, When::Every(60), Fault::Delay(7_000_000), 9);
    assert_eq!(world.errors, []);
    assert_eq!(world.driver.counters().timeouts, 0);
}

#[test]
fn a_fatal_status_is_survived_with_all_data() {
    let world = under(Commands::Io, When::Nth(100), Fault::Fatal, 10);
    assert_eq!(world.errors, []);
    let counters = world.driver.counters();
    assert_eq!(counters.resets, 1);
    assert!(counters.reissued > 0);
}

#[test]
fn a_device_that_goes_away_ends_everything() {
    let world = under(Commands::Io, When::Nth(100), Fault::Gone, 11);
    assert_eq!(world.driver.state(), DriverState::Failed(FailReason::Gone));
    assert!(!world.errors.is_empty());
    let out = world.pool.total() - world.pool.free();
    assert_eq!(out as u64, world.driver.counters().pages_quarantined);
}

#[test]
fn a_reset_that_sticks_keeps_the_memory() {
    let mut world = World::running(
        ModelConfig {
            read_latency_us: 50_000_000,
            ..config()
        },
        12,
    );
    world.driver.device_mut().faults_mut().stuck_ready = true;
    let namespace = NamespaceId(1);
    let transfer = world.transfer(0, 4096).unwrap();
    let operation = Operation::Read {
        namespace,
        lba: Lba(0),
        blocks: 1,
    };
    world.jobs.insert(
        77,
        Job {
            operation,
            stamp: 0,
        },
    );
    world
        .driver
        .submit(world.now_us, 0, operation, transfer, 77)
        .unwrap();
    world.driver.device_mut().faults_mut().add(
        Commands::AdminOpcode(8),
        When::Every(1),
        Fault::Drop,
    );
    world.run_until(|world| matches!(world.driver.state(), DriverState::Failed(_)));
    world.drain();
    assert_eq!(
        world.driver.state(),
        DriverState::Failed(FailReason::ResetStuck)
    );
    assert_eq!(world.pool.total() - world.pool.free(), 1);
}

/// Works on while somebody pulses PERST# when the driver asks for it; how often that was.
fn work_with_help(world: &mut World, submissions: usize) -> u64 {
    let side = world.driver.device_mut().sideband();
    for _ in 0..submissions {
        world.submit();
        for _ in 0..4 {
            world.turn();
            if !matches!(world.driver.state(), DriverState::AwaitingReset(_)) {
                continue;
            }
            let lent = world.pool.total() - world.pool.free();
            side.set_perst(true);
            world.turn();
            side.set_perst(false);
            world.turn();
            let still = world.pool.total() - world.pool.free();
            assert_eq!(lent, still, "no page comes back before RDY = 0 was seen");
            world.driver.restart(world.now_us);
        }
    }
    side.perst_pulses()
}

#[test]
fn perst_costs_nothing_but_time() {
    let mut pulses = 0;
    for seed in 0..12 {
        let mut world = World::running(
            ModelConfig {
                read_latency_us: 60,
                write_latency_us: 90,
                jitter_us: 50,
                ready_timeout_500ms: 1,
                ..config()
            },
            seed,
        );
        world.driver.set_outside_reset(OutsideReset::Ready);
        for _ in 0..4 {
            let nth = 1 + world.dice.roll(100);
            let faults = world.driver.device_mut().faults_mut();
            if seed % 2 == 0 {
                faults.add(Commands::Io, When::Nth(nth), Fault::Gone);
            } else {
                faults.add(Commands::Io, When::Nth(nth), Fault::Fatal);
                faults.stuck_ready = true;
            }
            work_with_help(&mut world, 300);
        }
        pulses += work_with_help(&mut world, 600);
        world.driver.device_mut().faults_mut().clear();
        world.drain();
        // What was interrupted twice ends, and its outcome is not known; nothing else may.
        let unknown = |error: &Error| *error == Error::Unknown;
        assert!(world.errors.iter().all(unknown), "{:?}", world.errors);
        assert_eq!(world.driver.state(), DriverState::Running);
        assert_eq!(world.driver.counters().pages_quarantined, 0);
        assert_eq!(world.pool.free(), world.pool.total());
        assert_eq!(world.driver.device_mut().dma_violations(), 0);
        assert!(world.reads_checked > 0);
    }
    assert!(pulses > 12, "{pulses}");
}

#[test]
fn a_power_cut_is_a_new_epoch() {
    let mut world = World::running(config(), 13);
    world.work(500);
    world.drain();
    let epoch = world.driver.power_cycles();
    let now_us = world.now_us;
    world.driver.device_mut().power_cut(5, now_us);
    world.run_until(|world| world.driver.power_cycles() != epoch);
    world.run_until(|world| world.driver.state() == DriverState::Running);
    // This store keeps everything, flushed or not.
    world.work(500);
    world.drain();
    assert_eq!(world.errors, []);
    assert_eq!(world.driver.counters().resets, 1);
}

#[test]
fn any_mix_of_faults_converges() {
    for seed in 0..40 {
        let mut world = World::running(
            ModelConfig {
                jitter_us: 300,
                ..config()
            },
            seed,
        );
        let faults = world.driver.device_mut().faults_mut();
        faults.add(Commands::Io, When::Chance(2000), Fault::Drop);
        faults.add(Commands::Io, When::Chance(3000), Fault::Hang);
        faults.add(Commands::Any, When::Chance(20_000), Fault::StaleCompletion);
        faults.add(Commands::Any, When::Chance(20_000), Fault::ForgedCompletion);
        faults.add(Commands::Io, When::Chance(1000), Fault::Fatal);
        let status = Status::new(StatusCode::INTERNAL_ERROR);
        faults.add(Commands::Io, When::Chance(20_000), Fault::Status(status));
        faults.add(Commands::Io, When::Chance(20_000), Fault::Delay(9_000_000));
        world.work(800);
        world.driver.device_mut().faults_mut().clear();
        world.drain();
        let counters = world.driver.counters();
        assert_eq!(counters.submitted, counters.completed);
        let out = (world.pool.total() - world.pool.free()) as u64;
        assert_eq!(out, counters.pages_quarantined);
        if !matches!(world.driver.state(), DriverState::Failed(_)) {
            world.errors.clear();
            world.work(400);
            world.drain();
            assert_eq!(world.errors, [], "seed {seed}");
            assert!(world.whole());
        }
    }
}

#[test]
fn shutdown_leaves_a_controller_that_starts_again() {
    let mut world = World::running(config(), 14);
    world.work(100);
    world.driver.shutdown(world.now_us);
    world.run_until(|world| world.driver.state() == DriverState::Stopped);
    assert!(world.whole());
    assert_eq!(world.errors, []);
}

#[test]
fn tools_can_simply_wait() {
    let mut device = ModelDevice::new(config()).unwrap();
    let mut arena = device.dma_mut().claim().unwrap();
    let rings = arena.split(ModelDriver::pages_needed()).unwrap();
    let mut driver = ModelDriver::new(device, DriverConfig::default(), rings).unwrap();
    let mut now_us = 0;
    let mut step = |device: &mut ModelDevice, _: Wake| {
        now_us += 10;
        device.step(now_us);
        now_us
    };
    block_until_running(&mut driver, &mut step).unwrap();
    let flush = Operation::Flush {
        namespace: NamespaceId(2),
    };
    let completion = block_on(&mut driver, flush, Transfer::None, &mut step).unwrap();
    assert_eq!(completion.result, Ok(()));
}
