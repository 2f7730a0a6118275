//! The last rung: a device that only a reset from outside (PERST#) can help, and its health.

use nvme_model::driver::{DriverState, Error, FailReason, Operation, OutsideReset, Wake};
use nvme_model::memory::Transfer;
use nvme_model::spec::*;

use crate::bench::*;
use crate::fake::*;
use crate::transfers::FOUR_K;

/// With a read and a flush in flight, a controller that sticks; the driver waits for help.
fn stuck() -> Bench {
    let mut bench = Bench::running(|_| {});
    bench.driver.set_outside_reset(OutsideReset::Ready);
    bench.start_read(1);
    let flush = Operation::Flush { namespace: FOUR_K };
    bench.submit(1, flush, Transfer::None, 2);
    bench.driver.ring_doorbells();
    bench.fake().registers.csts.set(3);
    bench.fake().registers.falls.set(false);
    bench.now_us += 100_000;
    for _ in 0..100_000 {
        bench.turn();
        match bench.wake {
            Wake::At(at_us) => bench.now_us = bench.now_us.max(at_us),
            Wake::Idle => break,
            Wake::Again => {}
        }
    }
    let waits = DriverState::AwaitingReset(FailReason::ResetStuck);
    assert_eq!(bench.driver.state(), waits);
    bench
}

/// What PERST# does.
fn pulse(bench: &mut Bench) {
    let registers = &bench.fake().registers;
    registers.cc.set(0);
    registers.csts.set(0);
    registers.falls.set(true);
    registers.was_reset.set(true);
}

#[test]
fn what_waits_for_perst_keeps_its_memory_and_is_done_again() {
    let mut bench = stuck();
    bench.now_us += 60_000_000;
    bench.turns(3);
    assert!(bench.done.is_empty(), "nothing ends while it waits");
    assert_eq!(bench.pool.free() + 1, bench.pool.total());
    pulse(&mut bench);
    bench.driver.restart(bench.now_us);
    bench.settle();
    bench.finish();
    let mut results = bench.results();
    results.sort_by_key(|result| result.0);
    assert_eq!(results, [(1, Ok(())), (2, Ok(()))]);
    let counters = bench.driver.counters();
    assert_eq!((counters.reissued, counters.outside_resets), (2, 1));
    assert_eq!(counters.pages_quarantined, 0);
    assert!(bench.whole());
}

#[test]
fn without_help_everything_ends_and_memory_is_kept() {
    let mut bench = stuck();
    bench.driver.give_up();
    bench.settle();
    let reason = FailReason::ResetInVain;
    assert_eq!(bench.driver.state(), DriverState::Failed(reason));
    let failed = Err(Error::Failed(reason));
    assert_eq!(bench.results(), [(1, failed), (2, failed)]);
    assert_eq!(bench.pool.free() + 1, bench.pool.total());
    assert_eq!(bench.driver.counters().pages_quarantined, 1);
}

/// A second failure after a reset from outside is final, and has a status of its own.
#[test]
fn what_fails_again_fails_for_good() {
    type Relapse = fn(&Fake);
    let relapses: [Relapse; 3] = [
        |fake| fake.registers.gone.set(true),
        |fake| fake.registers.rises.set(false),
        |fake| {
            fake.registers.csts.set(3);
            fake.registers.falls.set(false);
        },
    ];
    for relapse in relapses {
        let mut bench = stuck();
        pulse(&mut bench);
        bench.driver.set_outside_reset(OutsideReset::Spent);
        relapse(bench.fake());
        bench.driver.restart(bench.now_us);
        bench.settle();
        let reason = FailReason::ResetInVain;
        assert_eq!(bench.driver.state(), DriverState::Failed(reason));
        assert_eq!(bench.results().len(), 2, "each ends once");
        let counters = bench.driver.counters();
        let kept = counters.pages_quarantined as usize;
        assert_eq!(bench.pool.free() + kept, bench.pool.total());
    }
}

#[test]
fn a_controller_that_cannot_be_driven_is_not_reset() {
    let mut bench = Bench::new(|fake| {
        let none = capabilities().with_nvm_command_set(false);
        fake.registers.cap.set(none.into());
    });
    bench.driver.set_outside_reset(OutsideReset::Ready);
    bench.settle();
    let state = bench.driver.state();
    assert!(
        matches!(state, DriverState::Failed(FailReason::Unfit(_))),
        "{state:?}"
    );
}

#[test]
fn three_resets_call_for_help_before_the_end() {
    let mut bench = Bench::new(|fake| fake.registers.rises.set(false));
    bench.driver.set_outside_reset(OutsideReset::Ready);
    for _ in 0..1_000_000 {
        bench.turn();
        match bench.wake {
            Wake::At(at_us) => bench.now_us = bench.now_us.max(at_us),
            Wake::Idle => break,
            Wake::Again => {}
        }
    }
    let state = bench.driver.state();
    assert!(
        matches!(
            state,
            DriverState::AwaitingReset(FailReason::TooManyResets(_))
        ),
        "{state:?}"
    );
    pulse(&mut bench);
    bench.fake().registers.rises.set(true);
    bench.driver.restart(bench.now_us);
    bench.settle();
    assert_eq!(bench.driver.state(), DriverState::Running);
}

#[test]
fn a_stop_that_was_asked_for_is_done_after_the_reset() {
    let mut bench = stuck();
    bench.driver.shutdown(bench.now_us);
    pulse(&mut bench);
    bench.driver.restart(bench.now_us);
    for _ in 0..1000 {
        bench.turn();
        bench.fake().serve();
        if let Wake::At(at_us) = bench.wake {
            bench.now_us = bench.now_us.max(at_us);
        }
    }
    assert_eq!(bench.driver.state(), DriverState::Stopped);
    assert!(bench.results().iter().all(|result| result.1.is_ok()));
    assert!(bench.whole());
}

fn hot() -> SmartLog {
    let mut smart = SmartLog::default();
    smart.critical_warning = SmartLog::WARNING_TEMPERATURE;
    smart.temperature_kelvin = 350.into();
    smart.used_percent = 3;
    smart.spare_percent = 98;
    smart
}

#[test]
fn health_is_read_at_start_and_every_ten_seconds() {
    let mut bench = Bench::running(|_| {});
    bench.turns(2);
    let first = *bench.driver.health().expect("read at start");
    assert_eq!((first.warnings, first.temperature_kelvin), (0, 0));
    bench.fake().smart = hot();
    bench.fake().logs_read.clear();
    let until_us = bench.now_us + 35_000_000;
    while bench.now_us < until_us {
        bench.turns(3);
        let Wake::At(at_us) = bench.wake else {
            panic!("{:?}", bench.wake);
        };
        bench.now_us = bench.now_us.max(at_us);
    }
    assert_eq!(bench.fake().logs_read, [LogId::SMART.0; 3]);
    let health = bench.driver.health().expect("read");
    assert_eq!(health.temperature_kelvin, 350);
    assert_eq!((health.used_percent, health.spare_percent), (3, 98));
    assert!(health.read_us > first.read_us + 29_000_000);
    assert_eq!(bench.driver.counters().health_reads, 3);
}

#[test]
fn a_warning_is_read_when_its_event_comes() {
    let mut bench = Bench::running(|_| {});
    bench.turns(2);
    assert_eq!(bench.fake().smart_events, 0x1f);
    bench.fake().smart = hot();
    bench.fake().raise_event(LogId::SMART);
    bench.turns(4);
    let health = bench.driver.health().expect("read");
    assert_eq!(health.warnings, SmartLog::WARNING_TEMPERATURE);
    assert!(bench.fake().event_request.is_some());
}

#[test]
fn a_drive_without_smart_events_is_driven_all_the_same() {
    let refused = StatusCode::INVALID_FIELD;
    let bench = Bench::running(|fake| fake.refuse_events = Some(refused.into()));
    assert!(bench.driver.health().is_some());
    assert_eq!(bench.driver.counters().resets, 0);
}
