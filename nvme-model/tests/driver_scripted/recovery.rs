//! Deadlines, aborts, resets, repetition, and what becomes of memory.

use nvme_model::driver::{DriverState, Error, FailReason, Operation, Rejected, ResetCause, Wake};
use nvme_model::memory::Transfer;
use nvme_model::seam::Device;
use nvme_model::spec::*;

use crate::bench::*;
use crate::fake::*;
use crate::transfers::{FOUR_K, compare, read, write};

const IO_DEADLINE_US: u64 = 8_000_000;
const ABORT_DEADLINE_US: u64 = 2_000_000;

impl Bench {
    /// Lets time pass to the driver's own timers, up to a time.
    fn pass_to(&mut self, until_us: u64) {
        while self.now_us < until_us {
            self.turn();
            match self.wake {
                Wake::At(at_us) if at_us > self.now_us => self.now_us = at_us.min(until_us),
                _ => {}
            }
            if self.wake == Wake::Idle {
                self.now_us = until_us;
            }
        }
        self.turn();
    }

    /// Results by token.
    pub fn results(&mut self) -> Vec<(u64, Result<(), Error>)> {
        let mut results = Vec::new();
        for completion in std::mem::take(&mut self.done) {
            results.push((completion.token, completion.result));
            self.give(completion.transfer);
        }
        results
    }

    pub fn whole(&self) -> bool {
        self.pool.free() == self.pool.total()
    }
}

#[test]
fn a_late_command_is_aborted_after_its_deadline_and_no_sooner() {
    let mut bench = Bench::running(|_| {});
    bench.start_read(1);
    let submitted_us = bench.now_us;
    bench.pass_to(submitted_us + IO_DEADLINE_US - 1);
    assert_eq!(bench.driver.counters().timeouts, 0);
    assert_eq!(bench.driver.state(), DriverState::Running);
    bench.pass_to(submitted_us + IO_DEADLINE_US);
    assert_eq!(bench.driver.state(), DriverState::Aborting);
    assert_eq!(bench.driver.counters().aborts, 1);
    // Operations are still taken.
    let other = bench.start_read(2);
    bench.answer(other);
    bench.turns(2);
    assert_eq!(bench.results(), [(1, Err(Error::Aborted)), (2, Ok(()))]);
    assert_eq!(bench.driver.state(), DriverState::Running);
    assert_eq!(bench.driver.counters().resets, 0);
    assert!(bench.whole());
}

#[test]
fn a_command_that_completes_while_being_aborted_is_just_complete() {
    let mut bench = Bench::running(|fake| fake.aborts = Aborts::Fail);
    let id = bench.start_read(1);
    bench.pass_to(bench.now_us + IO_DEADLINE_US);
    bench.turns(2);
    assert_eq!(bench.driver.state(), DriverState::Aborting);
    bench.answer(id);
    bench.turn();
    assert_eq!(bench.results(), [(1, Ok(()))]);
    assert_eq!(bench.driver.state(), DriverState::Running);
}

#[test]
fn an_abort_that_fails_leads_to_a_reset_and_the_command_goes_again() {
    for aborts in [Aborts::Fail, Aborts::Mute] {
        let mut bench = Bench::running(|fake| fake.aborts = aborts);
        let id = bench.start_read(1);
        let submitted_us = bench.now_us;
        bench.pass_to(submitted_us + IO_DEADLINE_US + ABORT_DEADLINE_US - 1);
        assert_eq!(bench.driver.state(), DriverState::Aborting);
        assert_eq!(bench.driver.counters().resets, 0);
        bench.now_us += 1;
        bench.turn();
        assert_eq!(bench.driver.state(), DriverState::Disabling);
        bench.settle();
        assert_eq!(bench.driver.state(), DriverState::Running);
        bench.turn();
        let again = bench.fake().taken[0].1;
        assert_eq!(again.opcode, IoOpcode::READ.0);
        assert_eq!(again.cdw10.get(), 1);
        assert_ne!(again.command_id.get(), id, "sequences survive the reset");
        bench.answer(again.command_id.get());
        bench.turn();
        assert_eq!(bench.results(), [(1, Ok(()))]);
        let counters = bench.driver.counters();
        assert_eq!((counters.resets, counters.reissued), (1, 1));
        assert!(bench.whole());
    }
}

#[test]
fn more_late_commands_than_aborts_wait_for_the_reset() {
    // ACL is 4.
    let mut bench = Bench::running(|fake| fake.aborts = Aborts::Mute);
    for token in 0..10 {
        bench.start_read(token);
    }
    bench.pass_to(bench.now_us + IO_DEADLINE_US);
    let counters = bench.driver.counters();
    assert_eq!((counters.timeouts, counters.aborts), (10, 4));
    bench.settle();
    bench.finish();
    assert_eq!(bench.results().len(), 10);
}

/// Submits one of each, resets by a fatal status, and gives the results and what went again.
#[test]
fn a_reset_repeats_in_order_what_can_be_and_ends_the_rest_as_unknown() {
    let mut bench = Bench::running(|_| {});
    let flush = Operation::Flush { namespace: FOUR_K };
    let operations = [
        write(FOUR_K, 1, 1),
        compare(FOUR_K, 2, 1),
        flush,
        read(FOUR_K, 3, 1),
        write(FOUR_K, 4, 1),
    ];
    for (token, operation) in operations.into_iter().enumerate() {
        let bytes = if operation == flush { 0 } else { 4096 };
        let transfer = if bytes == 0 {
            Transfer::None
        } else {
            bench.filled(0, &[token as u8; 4096])
        };
        bench.submit(0, operation, transfer, token as u64);
    }
    bench.driver.ring_doorbells();
    bench.fake().tick();
    // The last has completed, though nobody has looked.
    let last = bench.fake().taken[4].1.command_id.get();
    bench.answer(last);
    bench.fake().registers.csts.set(3);
    bench.now_us += 100_000;
    bench.driver.device_mut();
    bench.turn();
    assert_eq!(bench.driver.state(), DriverState::Disabling);
    assert_eq!(bench.results(), [(4, Ok(()))]);
    let rejected = {
        let transfer = bench.pages(0, 4096);
        bench.rejected(read(FOUR_K, 0, 1), transfer)
    };
    assert_eq!(rejected, Rejected::NotRunning);
    bench.settle();
    assert_eq!(bench.results(), [(1, Err(Error::Unknown))]);
    // Something new comes after.
    let transfer = bench.pages(0, 4096);
    bench.submit(0, read(FOUR_K, 9, 1), transfer, 9);
    bench.driver.ring_doorbells();
    bench.fake().tick();
    let opcodes: Vec<_> = bench
        .fake()
        .taken
        .iter()
        .map(|(_, entry)| (IoOpcode(entry.opcode), entry.cdw10.get()))
        .collect();
    let expected = [
        (IoOpcode::WRITE, 1),
        (IoOpcode::FLUSH, 0),
        (IoOpcode::READ, 3),
        (IoOpcode::READ, 9),
    ];
    assert_eq!(opcodes, expected);
    bench.finish();
    let tokens: Vec<_> = bench.results();
    assert_eq!(tokens, [(0, Ok(())), (2, Ok(())), (3, Ok(())), (9, Ok(()))]);
    assert_eq!(bench.fake().blocks[&(1, 1)], [0; 4096]);
    assert!(bench.whole());
}

#[test]
fn what_was_being_aborted_is_repeated_before_what_came_later() {
    let mut bench = Bench::running(|fake| fake.aborts = Aborts::Mute);
    bench.start_read(1);
    bench.start_read(2);
    bench.pass_to(bench.now_us + 5_000_000);
    bench.start_read(3);
    bench.pass_to(bench.now_us + 5_000_000);
    bench.settle();
    bench.turn();
    let places = bench.fake().taken.iter();
    let places: Vec<_> = places.map(|(_, entry)| entry.cdw10.get()).collect();
    assert_eq!(places, [1, 2, 3]);
    bench.finish();
    assert_eq!(bench.results().len(), 3);
}

#[test]
fn a_repeated_command_is_not_repeated_again() {
    let mut bench = Bench::running(|_| {});
    bench.start_read(1);
    for _ in 0..2 {
        bench.fake().registers.csts.set(3);
        bench.now_us += 100_000;
        bench.turn();
        bench.settle();
    }
    assert_eq!(bench.driver.state(), DriverState::Running);
    assert_eq!(bench.results(), [(1, Err(Error::Unknown))]);
    assert!(bench.whole());
}

#[test]
fn a_command_that_no_longer_fits_its_namespace_is_not_repeated() {
    let mut bench = Bench::running(|_| {});
    bench.start_read(1);
    bench.start_read(2);
    bench.fake().registers.csts.set(3);
    bench.fake().namespaces.insert(1, namespace(2, 12, 0));
    bench.now_us += 100_000;
    bench.turn();
    bench.settle();
    assert_eq!(bench.results(), [(2, Err(Error::Unknown))]);
    bench.finish();
    assert_eq!(bench.results(), [(1, Ok(()))]);
}

#[test]
fn three_resets_in_a_minute_are_too_many() {
    let mut bench = Bench::running(|_| {});
    bench.start_read(1);
    for _ in 0..3 {
        bench.fake().registers.csts.set(3);
        bench.now_us += 1_000_000;
        bench.turn();
        bench.settle();
    }
    let reason = FailReason::TooManyResets(ResetCause::FatalStatus);
    assert_eq!(bench.driver.state(), DriverState::Failed(reason));
    // The controller is known to be disabled, so all memory is back.
    assert_eq!(bench.results().len(), 1);
    assert!(bench.whole());
    let transfer = bench.pages(0, 4096);
    let rejected = bench.rejected(read(FOUR_K, 0, 1), transfer);
    assert_eq!(rejected, Rejected::Failed(reason));
    assert_eq!(bench.wake, Wake::Idle);
}

#[test]
fn three_resets_in_more_than_a_minute_are_not() {
    let mut bench = Bench::running(|_| {});
    for _ in 0..6 {
        bench.fake().registers.csts.set(3);
        bench.now_us += 31_000_000;
        bench.turn();
        bench.settle();
        assert_eq!(bench.driver.state(), DriverState::Running);
    }
    assert_eq!(bench.driver.counters().resets, 6);
}

#[test]
fn memory_stays_in_quarantine_when_ready_does_not_fall() {
    let mut bench = Bench::running(|_| {});
    bench.start_read(1);
    let mut lent = bench.spare.split_slab(2).unwrap().lend();
    let loan = Transfer::Slab(lent.loan(512, 4096).unwrap());
    bench.submit(1, read(FOUR_K, 2, 1), loan, 2);
    let flush = Operation::Flush { namespace: FOUR_K };
    bench.submit(1, flush, Transfer::None, 3);
    bench.driver.ring_doorbells();
    bench.fake().registers.csts.set(3);
    bench.fake().registers.falls.set(false);
    let start_us = bench.now_us + 100_000;
    bench.now_us = start_us;
    bench.turn();
    bench.settle();
    assert_eq!(
        bench.driver.state(),
        DriverState::Failed(FailReason::ResetStuck)
    );
    assert!(
        bench.now_us - start_us >= 2_000_000,
        "CAP.TO is two seconds"
    );
    let failed = Err(Error::Failed(FailReason::ResetStuck));
    assert!(
        bench
            .done
            .iter()
            .all(|done| done.transfer == Transfer::None)
    );
    assert_eq!(bench.results(), [(1, failed), (2, failed), (3, failed)]);
    assert_eq!(bench.pool.free() + 1, bench.pool.total());
    assert_eq!(lent.loans(), 1);
    assert!(lent.reclaim().is_err());
    // One page of the pool, and the two that the loan touches.
    assert_eq!(bench.driver.counters().pages_quarantined, 3);
    assert_eq!(bench.driver.unfinished(), 0);
}

#[test]
fn a_device_that_goes_away_is_noticed_and_final() {
    let mut bench = Bench::running(|_| {});
    bench.start_read(1);
    bench.fake().registers.gone.set(true);
    bench.pass_to(bench.now_us + 100_000);
    assert_eq!(bench.driver.state(), DriverState::Failed(FailReason::Gone));
    bench.turns(2);
    assert_eq!(bench.results(), [(1, Err(Error::Failed(FailReason::Gone)))]);
    assert_eq!(bench.driver.counters().pages_quarantined, 1);
    assert_eq!(bench.wake, Wake::Idle);

    // Idle, it is noticed within a second, and no memory is lost.
    let mut bench = Bench::running(|_| {});
    bench.fake().registers.gone.set(true);
    bench.pass_to(bench.now_us + 1_000_001);
    assert_eq!(bench.driver.state(), DriverState::Failed(FailReason::Gone));
    assert!(bench.whole());
}

#[test]
fn after_a_restart_the_quarantine_ends() {
    let mut bench = Bench::running(|_| {});
    bench.start_read(41);
    bench.fake().registers.gone.set(true);
    bench.pass_to(bench.now_us + 100_000);
    bench.turns(2);
    assert_eq!(bench.results().len(), 1);
    assert!(bench.driver.reclaim().is_none());

    // Still gone: it fails again, and the memory stays.
    bench.driver.restart(bench.now_us);
    bench.settle();
    assert_eq!(bench.driver.state(), DriverState::Failed(FailReason::Gone));
    assert!(bench.driver.reclaim().is_none());

    bench.fake().registers.gone.set(false);
    bench.driver.restart(bench.now_us);
    bench.settle();
    assert_eq!(bench.driver.state(), DriverState::Running);
    assert_eq!(bench.driver.free_slots(0), SLOTS - 1);
    let (token, transfer) = bench.driver.reclaim().unwrap();
    assert_eq!(token, 41);
    bench.give(transfer);
    assert!(bench.driver.reclaim().is_none());
    assert!(bench.whole());
    assert_eq!(bench.driver.free_slots(0), SLOTS);
    bench.start_read(1);
    bench.finish();
    assert_eq!(bench.results(), [(1, Ok(()))]);
}

#[test]
fn a_stopped_driver_can_be_started_again() {
    let mut bench = Bench::running(|_| {});
    bench.driver.restart(bench.now_us);
    assert_eq!(
        bench.driver.state(),
        DriverState::Running,
        "nothing to restart"
    );
    bench.driver.shutdown(bench.now_us);
    bench.settle();
    assert_eq!(bench.driver.state(), DriverState::Stopped);
    bench.driver.restart(bench.now_us);
    bench.settle();
    bench.start_read(1);
    bench.finish();
    assert_eq!(bench.results(), [(1, Ok(()))]);
}

#[test]
fn a_controller_that_is_no_longer_ready_is_reset() {
    let mut bench = Bench::running(|_| {});
    bench.start_read(1);
    bench.fake().registers.csts.set(0);
    bench.now_us += 100_000;
    bench.turn();
    bench.settle();
    bench.finish();
    assert_eq!(bench.results(), [(1, Ok(()))]);
    assert_eq!(bench.driver.counters().resets, 1);
}

#[test]
fn fewer_queues_after_a_reset_are_final() {
    let mut bench = Bench::running(|_| {});
    bench.start_read(1);
    bench.fake().registers.csts.set(3);
    bench.fake().queue_grant = 1;
    bench.now_us += 100_000;
    bench.turn();
    bench.settle();
    assert!(matches!(
        bench.driver.state(),
        DriverState::Failed(FailReason::Unfit(_))
    ));
    assert_eq!(bench.results().len(), 1);
    assert!(
        bench.whole(),
        "it was waiting to be repeated, so the device had no hold on it"
    );
}

#[test]
fn the_epoch_is_read_at_every_start() {
    let mut bench = Bench::running(|_| {});
    bench.fake().power_cycles = 8;
    bench.fake().registers.csts.set(0);
    bench.now_us += 1_000_000;
    bench.turn();
    bench.settle();
    assert_eq!(bench.driver.power_cycles(), 8);
}

#[test]
fn an_event_log_never_answered_is_a_reset() {
    let mut bench = Bench::running(|_| {});
    bench.turns(2);
    bench.fake().mute = Some(AdminOpcode::GET_LOG_PAGE);
    bench.fake().raise_event(LogId::ERROR);
    bench.turns(2);
    bench.pass_to(bench.now_us + 5_000_000);
    assert_eq!(bench.driver.counters().resets, 1);
    bench.fake().mute = None;
    bench.settle();
    assert_eq!(bench.driver.state(), DriverState::Running);
}

#[test]
fn an_event_request_that_is_refused_is_not_repeated() {
    let mut bench = Bench::running(|fake| {
        let status = StatusCode::EVENT_REQUEST_LIMIT_EXCEEDED.into();
        fake.refuse = Some((AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST, status));
    });
    let before = bench.driver.counters().submission_doorbells;
    bench.turns(50);
    assert_eq!(bench.driver.counters().submission_doorbells, before);
}

#[test]
fn shutdown_finishes_what_is_in_flight_and_takes_nothing_new() {
    let mut bench = Bench::running(|_| {});
    let id = bench.start_read(1);
    bench.driver.shutdown(bench.now_us);
    bench.turns(5);
    assert_eq!(bench.driver.state(), DriverState::Stopping);
    let transfer = bench.pages(0, 4096);
    assert_eq!(
        bench.rejected(read(FOUR_K, 0, 1), transfer),
        Rejected::NotRunning
    );
    bench.answer(id);
    bench.settle();
    assert_eq!(bench.driver.state(), DriverState::Stopped);
    assert_eq!(bench.results(), [(1, Ok(()))]);
    assert!(bench.whole());
    assert_eq!(bench.driver.device().registers().cc.get() & 1, 0);
}

#[test]
fn time_that_runs_backwards_stands_still() {
    let mut bench = Bench::running(|_| {});
    bench.now_us += 50_000_000;
    bench.start_read(1);
    bench.turn();
    bench.now_us = 3;
    bench.turns(3);
    assert_eq!(bench.driver.state(), DriverState::Running);
    assert_eq!(bench.driver.counters().timeouts, 0);
}
