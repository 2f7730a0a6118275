//! Whatever happens, every operation ends once and every page is somewhere.

use nvme_model::driver::{DriverState, Operation};
use nvme_model::memory::Transfer;
use nvme_model::spec::*;
use proptest::prelude::*;

use crate::fake::*;
use crate::transfers::{FOUR_K, compare, read, write};

/// What happens in a turn.
#[derive(Clone, Debug)]
enum Act {
    /// So many operations of this kind, so many pages each, on this queue.
    Submit(u8, usize, usize, usize),
    /// The device answers so many of the commands it has, oldest or newest first.
    Answer(usize, bool),
    /// A command ends with this status.
    Refuse(u16),
    /// A completion for nobody.
    Forge(u16),
    /// Time passes, in milliseconds.
    Pass(u64),
    /// CSTS.CFS.
    Fatal,
    /// Aborts are answered so.
    Aborts(Aborts),
    /// CSTS.RDY follows CC.EN down, or not.
    Falls(bool),
    /// An admin command is no longer answered, or again.
    Mute(Option<AdminOpcode>),
    /// The device is gone.
    Gone,
    /// An orderly end.
    Shutdown,
}

fn act() -> impl Strategy<Value = Act> {
    let submit = (0u8..4, 1usize..9, 0usize..QUEUES, 1usize..8);
    prop_oneof![
        12 => submit.prop_map(|(kind, pages, queue, count)| Act::Submit(kind, pages, queue, count)),
        10 => (1usize..12, any::<bool>()).prop_map(|(count, newest)| Act::Answer(count, newest)),
        2 => any::<u16>().prop_map(Act::Refuse),
        2 => any::<u16>().prop_map(Act::Forge),
        8 => (1u64..4000).prop_map(Act::Pass),
        2 => Just(Act::Fatal),
        2 => prop_oneof![Just(Aborts::Succeed), Just(Aborts::Fail), Just(Aborts::Mute)]
            .prop_map(Act::Aborts),
        1 => any::<bool>().prop_map(Act::Falls),
        1 => prop_oneof![
            3 => Just(None),
            1 => Just(Some(AdminOpcode::SET_FEATURES)),
            1 => Just(Some(AdminOpcode::CREATE_IO_SUBMISSION_QUEUE)),
        ].prop_map(Act::Mute),
        1 => Just(Act::Gone),
        1 => Just(Act::Shutdown),
    ]
}

struct World {
    bench: Bench,
    accepted: Vec<u64>,
    ended: Vec<u64>,
}

impl World {
    fn submit(&mut self, kind: u8, pages: usize, queue: usize) {
        let bench = &mut self.bench;
        let blocks = pages as u32;
        let operation = match kind {
            0 => read(FOUR_K, 8, blocks),
            1 => write(FOUR_K, 8, blocks),
            2 => compare(FOUR_K, 8, blocks),
            _ => Operation::Flush { namespace: FOUR_K },
        };
        let transfer = if kind > 2 {
            Transfer::None
        } else {
            let Some(pages) = bench.pool.take(pages) else {
                return;
            };
            Transfer::Pages {
                bytes: pages.len() as u32 * 4096,
                pages,
                offset: 0,
            }
        };
        let token = self.accepted.len() as u64;
        let now_us = bench.now_us;
        match bench
            .driver
            .submit(now_us, queue, operation, transfer, token)
        {
            Ok(()) => self.accepted.push(token),
            Err((_, transfer)) => bench.give(transfer),
        }
    }

    fn answer(&mut self, count: usize, newest: bool, status: Status) {
        let fake = self.bench.fake();
        for _ in 0..count.min(fake.taken.len()) {
            let place = if newest { fake.taken.len() - 1 } else { 0 };
            let (queue, entry) = fake.taken.remove(place);
            if fake.registers.cc.get() & 1 != 0 {
                fake.complete(queue, entry.command_id.get(), status, 0);
            }
        }
    }

    fn act(&mut self, act: Act) {
        let running = matches!(
            self.bench.driver.state(),
            DriverState::Running | DriverState::Aborting
        );
        match act {
            Act::Submit(kind, pages, queue, count) => {
                (0..count).for_each(|_| self.submit(kind, pages, queue));
            }
            Act::Answer(count, newest) if running => self.answer(count, newest, Status::SUCCESS),
            Act::Refuse(status) if running => self.answer(1, false, Status(status & 0x7fff)),
            Act::Forge(id) if running => {
                let in_use = |taken: &(u16, SubmissionEntry)| taken.1.command_id.get() == id;
                if !self.bench.fake().taken.iter().any(in_use) {
                    self.bench.fake().complete(1, id, Status::SUCCESS, 0);
                }
            }
            Act::Answer(..) | Act::Refuse(_) | Act::Forge(_) => {}
            Act::Pass(ms) => self.bench.now_us += ms * 1000,
            Act::Fatal => {
                let csts = &self.bench.fake().registers.csts;
                csts.set(csts.get() | 2);
            }
            Act::Aborts(aborts) => self.bench.fake().aborts = aborts,
            Act::Falls(falls) => self.bench.fake().registers.falls.set(falls),
            Act::Mute(mute) => self.bench.fake().mute = mute,
            Act::Gone => self.bench.fake().registers.gone.set(true),
            Act::Shutdown => self.bench.driver.shutdown(self.bench.now_us),
        }
        self.bench.driver.ring_doorbells();
        self.bench.turn();
        self.collect();
    }

    fn collect(&mut self) {
        for completion in std::mem::take(&mut self.bench.done) {
            self.ended.push(completion.token);
            self.bench.give(completion.transfer);
        }
    }

    /// Faults off: everything ends, and every page is in the pool or in quarantine.
    fn converge(&mut self) {
        let fake = self.bench.fake();
        fake.aborts = Aborts::Succeed;
        fake.mute = None;
        fake.registers.falls.set(true);
        for _ in 0..20_000 {
            self.bench.turn();
            self.collect();
            match self.bench.driver.state() {
                DriverState::Running | DriverState::Aborting | DriverState::Stopping => {
                    self.bench.now_us += 1000;
                    self.answer(64, false, Status::SUCCESS);
                    if self.bench.driver.unfinished() == 0 {
                        return;
                    }
                }
                DriverState::Stopped => return,
                DriverState::Failed(_) if self.bench.driver.unfinished() == 0 => return,
                _ => self.bench.now_us += 10_000,
            }
        }
        panic!("{:?} does not converge", self.bench.driver);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nothing_is_lost_and_nothing_ends_twice(
        acts in proptest::collection::vec(act(), 1..120),
    ) {
        let bench = Bench::running(|_| {});
        let mut world = World { bench, accepted: Vec::new(), ended: Vec::new() };
        for act in acts {
            world.act(act);
        }
        world.converge();
        world.ended.sort_unstable();
        prop_assert_eq!(&world.ended, &world.accepted);
        let counters = world.bench.driver.counters();
        let out = world.bench.pool.total() - world.bench.pool.free();
        prop_assert_eq!(out as u64, counters.pages_quarantined);
        prop_assert_eq!(counters.submitted, counters.completed);
        prop_assert_eq!(counters.submitted, world.accepted.len() as u64);
        if out > 0 {
            prop_assert!(matches!(world.bench.driver.state(), DriverState::Failed(_)));
        }
    }
}
