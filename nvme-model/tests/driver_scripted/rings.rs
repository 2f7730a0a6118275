//! Rings, ids, permits, doorbells: what a device may say, and what the driver says when.

use nvme_model::driver::{Completion, DriverState, Rejected, Wake};
use nvme_model::memory::Transfer;
use nvme_model::spec::*;
use proptest::prelude::*;
use zerocopy::little_endian::U16;

use crate::fake::*;
use crate::transfers::{FOUR_K, read};

impl Bench {
    /// Submits a one-page read to queue 0 and has the device fetch it; gives its command id.
    pub fn start_read(&mut self, token: u64) -> u16 {
        let transfer = self.pages(0, 4096);
        self.submit(0, read(FOUR_K, token, 1), transfer, token);
        self.driver.ring_doorbells();
        self.fake().tick();
        self.fake().taken.last().unwrap().1.command_id.get()
    }

    /// Ends a command on the first I/O queue.
    pub fn answer(&mut self, command_id: u16) {
        self.fake().complete(1, command_id, Status::SUCCESS, 0);
        let same = |taken: &(u16, SubmissionEntry)| taken.1.command_id.get() == command_id;
        let taken = &mut self.fake().taken;
        if let Some(place) = taken.iter().position(same) {
            taken.remove(place);
        }
    }

    pub fn tokens(&mut self) -> Vec<u64> {
        let done: Vec<Completion> = std::mem::take(&mut self.done);
        let take = |completion: Completion| {
            self.give(completion.transfer);
            completion.token
        };
        done.into_iter().map(take).collect()
    }
}

#[test]
fn completions_out_of_order_find_their_operation() {
    let mut bench = Bench::running(|_| {});
    let ids: Vec<_> = (0..5).map(|token| bench.start_read(token)).collect();
    for place in [3, 0, 4, 1, 2] {
        bench.answer(ids[place]);
    }
    bench.turn();
    assert_eq!(bench.tokens(), [3, 0, 4, 1, 2]);
    assert_eq!(bench.pool.free(), bench.pool.total());
}

#[test]
fn duplicate_stale_and_forged_completions_are_counted() {
    let mut bench = Bench::running(|_| {});
    let id = bench.start_read(1);
    bench.answer(id);
    bench.answer(id);
    bench.turn();
    assert_eq!(bench.tokens(), [1]);
    assert_eq!(bench.driver.counters().stale_completions, 1);

    // The slot is in use again, under another id.
    let next = bench.start_read(2);
    assert_ne!(id, next);
    bench.answer(id);
    bench.turn();
    assert_eq!(bench.tokens(), []);
    assert_eq!(bench.driver.counters().stale_completions, 2);

    // A slot beyond the queue, and another queue's number.
    bench.answer(SLOTS as u16 + 3);
    let entry = CompletionEntry {
        submission_head: U16::new(bench.fake().head(1)),
        submission_queue: U16::new(2),
        command_id: U16::new(next),
        ..Default::default()
    };
    bench.fake().complete_raw(1, entry, Status::SUCCESS);
    bench.turn();
    assert_eq!(bench.tokens(), []);
    assert_eq!(bench.driver.counters().unknown_completions, 2);
    assert_eq!(bench.driver.unfinished(), 1);

    bench.answer(next);
    bench.turn();
    assert_eq!(bench.tokens(), [2]);
    assert_eq!(bench.driver.state(), DriverState::Running);
}

#[test]
fn forged_admin_completions_are_counted() {
    let mut bench = Bench::running(|_| {});
    bench.turn();
    for id in [0, 1, 7, 0xffff] {
        bench.fake().complete(0, id, Status::SUCCESS, 0);
    }
    bench.turn();
    assert_eq!(bench.driver.counters().stale_completions, 4);
    assert_eq!(bench.driver.state(), DriverState::Running);
}

#[test]
fn an_impossible_queue_head_is_counted_and_not_believed() {
    let mut bench = Bench::running(|_| {});
    for (token, head) in [(0, 999), (1, 20), (2, 0)] {
        let id = bench.start_read(token);
        let entry = CompletionEntry {
            submission_head: U16::new(head),
            submission_queue: U16::new(1),
            command_id: U16::new(id),
            ..Default::default()
        };
        bench.fake().complete_raw(1, entry, Status::SUCCESS);
    }
    bench.turn();
    // The last is merely out of date.
    assert_eq!(bench.driver.counters().bad_queue_heads, 2);
    assert_eq!(bench.tokens(), [0, 1, 2]);
    let id = bench.start_read(3);
    bench.answer(id);
    bench.turn();
    assert_eq!(bench.tokens(), [3]);
}

#[test]
fn rings_wrap_many_times() {
    let mut bench = Bench::running(|_| {});
    for token in 0..500 {
        let id = bench.start_read(token);
        bench.answer(id);
        bench.turn();
        assert_eq!(bench.tokens(), [token]);
    }
    assert_eq!(bench.driver.counters().stale_completions, 0);
    assert_eq!(bench.driver.counters().completed, 500);
}

#[test]
fn a_full_queue_says_so_and_gives_the_memory_back() {
    let mut bench = Bench::running(|_| {});
    let mut ids: Vec<_> = (0..SLOTS as u64)
        .map(|token| bench.start_read(token))
        .collect();
    assert_eq!(bench.driver.free_slots(0), 0);
    assert_eq!(bench.driver.free_slots(1), SLOTS);
    let transfer = bench.pages(0, 4096);
    assert_eq!(
        bench.rejected(read(FOUR_K, 0, 1), transfer),
        Rejected::QueueFull
    );
    bench.answer(ids.remove(7));
    bench.turn();
    assert_eq!(bench.tokens(), [7]);
    assert_eq!(bench.driver.free_slots(0), 1);
    bench.start_read(100);
}

#[test]
fn doorbells_are_rung_once_per_batch() {
    let mut bench = Bench::running(|_| {});
    let before = bench.fake().registers.doorbell_writes.get();
    for token in 0..10 {
        let transfer = bench.pages(0, 4096);
        bench.submit(0, read(FOUR_K, token, 1), transfer, token);
    }
    for token in 0..3 {
        let transfer = bench.pages(0, 4096);
        bench.submit(1, read(FOUR_K, token, 1), transfer, token);
    }
    bench.driver.ring_doorbells();
    bench.driver.ring_doorbells();
    assert_eq!(bench.fake().registers.doorbell_writes.get() - before, 2);
    bench.fake().serve();
    // Both queues go idle, so both completion heads are told.
    bench.turn();
    bench.driver.ring_doorbells();
    assert_eq!(bench.fake().registers.doorbell_writes.get() - before, 4);
    assert_eq!(bench.driver.counters().completed, 13);
}

#[test]
fn completion_heads_are_told_at_a_quarter_or_when_idle() {
    let mut bench = Bench::running(|_| {});
    let told = |bench: &Bench| bench.driver.counters().completion_doorbells;
    let before = told(&bench);
    let mut id = bench.start_read(0);
    // One is always in flight, so only the quarter counts: 28 entries.
    for token in 1..=70 {
        let next = bench.start_read(token);
        bench.answer(id);
        bench.turn();
        bench.tokens();
        id = next;
    }
    assert_eq!(told(&bench) - before, 10);
    bench.answer(id);
    bench.turn();
    assert_eq!(told(&bench) - before, 11);
}

#[test]
fn a_short_completion_ring_is_never_overrun() {
    // The fake fails the test if it is; three entries of either ring leave two permits.
    let mut bench = Bench::running(|fake| {
        fake.registers
            .cap
            .set(capabilities().with_max_queue_entries_0(2).into());
    });
    let mut token = 0;
    for _ in 0..200 {
        while bench.driver.free_slots(0) > 0 {
            let transfer = bench.pages(0, 4096);
            bench.submit(0, read(FOUR_K, token, 1), transfer, token);
            token += 1;
        }
        bench.driver.ring_doorbells();
        bench.fake().serve();
        bench.turn();
        bench.tokens();
    }
    assert!(token >= 200);
    assert_eq!(bench.driver.counters().bad_queue_heads, 0);
}

#[test]
fn a_budget_is_kept() {
    let mut bench = Bench::running(|_| {});
    for token in 0..9 {
        let transfer = bench.pages(0, 4096);
        let queue = (token % 2) as usize;
        bench.submit(queue, read(FOUR_K, token, 1), transfer, token);
    }
    bench.driver.ring_doorbells();
    bench.fake().serve();
    let mut counts = Vec::new();
    loop {
        let mut count = 0;
        let now_us = bench.now_us;
        let wake = bench.driver.poll(now_us, 4, &mut |_| count += 1);
        counts.push(count);
        if wake != Wake::Again {
            break;
        }
    }
    assert_eq!(counts, [4, 4, 1]);
}

#[test]
fn events_are_counted_acknowledged_and_asked_for_again() {
    let mut bench = Bench::running(|_| {});
    for (count, log) in [LogId::ERROR, LogId::SMART, LogId::CHANGED_NAMESPACES]
        .into_iter()
        .enumerate()
    {
        bench.turns(3);
        bench.fake().logs_read.clear();
        bench.fake().raise_event(log);
        bench.turns(4);
        assert_eq!(
            bench.driver.counters().asynchronous_events,
            count as u64 + 1
        );
        assert_eq!(bench.fake().logs_read, [log.0]);
        assert!(bench.fake().event_request.is_some());
    }
}

#[test]
fn an_idle_driver_sleeps_and_looks_once_a_second() {
    let mut bench = Bench::running(|_| {});
    bench.turns(2);
    assert_eq!(bench.driver.in_flight(), 0);
    for _ in 0..3 {
        let Wake::At(at_us) = bench.wake else {
            panic!("{:?}", bench.wake)
        };
        assert!((1..=1_000_000).contains(&(at_us - bench.now_us)));
        bench.now_us = at_us;
        bench.turn();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any completions whatever, on any queue: nothing panics, and no operation ends twice.
    #[test]
    fn no_completion_breaks_the_driver(
        entries in proptest::collection::vec(
            (0u16..3, any::<u16>(), 0u16..64, 0u16..4, any::<u16>(), any::<u32>()), 1..80),
    ) {
        let mut bench = Bench::running(|_| {});
        for token in 0..10 {
            bench.start_read(token);
        }
        for (queue, id, small_id, named_queue, status, dw0) in entries {
            let id = if status & 1 == 0 { small_id } else { id };
            let entry = CompletionEntry {
                dw0: dw0.into(),
                submission_head: U16::new(id ^ status),
                submission_queue: U16::new(named_queue),
                command_id: U16::new(id),
                ..Default::default()
            };
            bench.fake().complete_raw(queue, entry, Status(status & 0x7fff));
            bench.turn();
        }
        let mut tokens = bench.tokens();
        let count = tokens.len();
        tokens.sort_unstable();
        tokens.dedup();
        prop_assert_eq!(tokens.len(), count);
        prop_assert_eq!(bench.driver.unfinished(), 10 - count);
        prop_assert_eq!(bench.pool.total() - bench.pool.free(), 10 - count);
    }
}

#[test]
fn a_transfer_is_none_by_default() {
    assert_eq!(Transfer::default().bytes(), 0);
}
