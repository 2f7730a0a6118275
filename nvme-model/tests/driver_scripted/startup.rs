//! From reset to running, and every way to fail on the way.

use nvme_model::driver::{
    Driver, DriverConfig, DriverState, FailReason, NamespaceId, ResetCause, TooFewPages, Unfit,
};
use nvme_model::seam::Dma;
use nvme_model::spec::*;

use crate::bench::*;
use crate::fake::*;

/// Starts a driver on a scripted device and says why it failed.
fn failure(script: impl FnOnce(&mut Fake)) -> FailReason {
    let mut bench = Bench::new(script);
    bench.settle();
    match bench.driver.state() {
        DriverState::Failed(reason) => reason,
        other => panic!("{other:?} instead of a failure"),
    }
}

#[test]
fn a_plain_controller_starts() {
    let mut bench = Bench::running(|_| {});
    let info = bench.driver.controller().unwrap();
    assert_eq!(info.model.as_str(), "Fake?Disk");
    assert_eq!(info.serial.as_str(), "S1");
    assert_eq!(info.transfer_bytes_max, 128 * 1024);
    assert!(info.volatile_write_cache);
    let found: Vec<_> = bench
        .driver
        .namespaces()
        .iter()
        .map(|info| (info.id.0, info.blocks, info.block_bytes))
        .collect();
    assert_eq!(found, [(1, 1 << 20, 4096), (2, 1 << 20, 512)]);
    assert_eq!(bench.driver.power_cycles(), 7);
    assert_eq!(bench.driver.queue_count(), QUEUES);
    assert_eq!(bench.driver.free_slots(0), SLOTS);
    assert_eq!(bench.driver.free_slots(QUEUES), 0);
    bench.turn();
    assert!(bench.fake().event_request.is_some());
}

#[test]
fn a_controller_left_enabled_is_disabled_first() {
    let mut bench = Bench::running(|fake| {
        fake.registers.cc.set(0x0046_0001);
        fake.registers.csts.set(1);
    });
    assert_eq!(bench.driver.counters().resets, 0);
    assert!(bench.fake().registers.csts.get() & 1 == 1);
}

#[test]
fn what_cap_rules_out_is_named() {
    let cap = |capabilities: Capabilities| {
        failure(move |fake| fake.registers.cap.set(capabilities.into()))
    };
    let unfit = |unfit| FailReason::Unfit(unfit);
    assert_eq!(
        cap(capabilities().with_nvm_command_set(false)),
        unfit(Unfit::NoNvmCommandSet)
    );
    let admin_only = capabilities().with_nvm_command_set(false);
    assert_eq!(
        cap(admin_only.with_no_io_command_set(true)),
        unfit(Unfit::NoNvmCommandSet)
    );
    assert_eq!(
        cap(capabilities().with_page_size_min(2)),
        unfit(Unfit::PageTooLarge { log2_bytes: 14 })
    );
    assert_eq!(
        cap(capabilities().with_max_queue_entries_0(0)),
        unfit(Unfit::QueuesTooShort { entries: 1 })
    );
}

/// QEMU's controller says both, and means that the host may choose.
#[test]
fn admin_commands_alone_are_a_choice_where_there_is_another() {
    Bench::running(|fake| {
        let capabilities = capabilities().with_no_io_command_set(true);
        fake.registers.cap.set(capabilities.into());
    });
}

#[test]
fn odd_strides_and_short_queues_are_driven() {
    for stride in [0, 3, 15] {
        Bench::running(|fake| {
            let capabilities = capabilities().with_doorbell_stride(stride);
            fake.registers.cap.set(capabilities.into());
        });
    }
    for (entries_0, depth) in [(1, 1), (2, 2), (7, 7), (20, 20), (26, 20)] {
        let bench = Bench::running(|fake| {
            let capabilities = capabilities().with_max_queue_entries_0(entries_0);
            fake.registers.cap.set(capabilities.into());
        });
        assert_eq!(bench.driver.free_slots(0), depth);
    }
}

#[test]
fn entry_sizes_must_fit() {
    let entry_size = FailReason::Unfit(Unfit::EntrySize);
    assert_eq!(
        failure(|fake| fake.identify.submission_entry_sizes = 0x77),
        entry_size
    );
    assert_eq!(
        failure(|fake| fake.identify.completion_entry_sizes = 0x33),
        entry_size
    );
}

#[test]
fn a_device_that_is_not_there_fails_at_once() {
    assert_eq!(
        failure(|fake| fake.registers.gone.set(true)),
        FailReason::Gone
    );
}

#[test]
fn ready_that_does_not_rise_is_tried_three_times() {
    let mut bench = Bench::new(|fake| fake.registers.rises.set(false));
    bench.settle();
    let reason = FailReason::TooManyResets(ResetCause::NotReady);
    assert_eq!(bench.driver.state(), DriverState::Failed(reason));
    assert_eq!(bench.driver.counters().resets, 3);
    // CAP.TO is two seconds.
    assert!(
        (6_000_000..6_100_000).contains(&bench.now_us),
        "{}",
        bench.now_us
    );
}

#[test]
fn a_time_beyond_what_cap_can_say_is_in_crto() {
    let starting_at = |ready_modes, seconds: u64| {
        let mut bench = Bench::new(|fake| {
            let capabilities = capabilities().with_timeout_500ms(0xff);
            let capabilities = capabilities.with_ready_modes(ready_modes);
            let longer = ReadyTimeouts::new().with_media_ready_500ms(600);
            fake.registers.cap.set(capabilities.into());
            fake.registers.crto.set(longer.into());
            fake.registers.rises.set(false);
        });
        bench.turns(8); // CC.EN is 1
        bench.now_us = seconds * 1_000_000;
        bench.turn();
        bench.driver.counters().resets == 0
    };
    // CAP.TO is 127.5 seconds, CRTO 300.
    assert!(starting_at(0, 127) && !starting_at(0, 128));
    assert!(starting_at(1, 299) && !starting_at(1, 301));
}

#[test]
fn ready_that_does_not_fall_is_final() {
    let reason = failure(|fake| {
        fake.registers.cc.set(0x0046_0001);
        fake.registers.csts.set(1);
        fake.registers.falls.set(false);
    });
    assert_eq!(reason, FailReason::ResetStuck);
}

#[test]
fn a_fatal_status_while_enabling_is_a_reset() {
    let mut bench = Bench::new(|fake| fake.registers.rises.set(false));
    bench.settle_with(|fake| {
        if fake.registers.cc.get() & 1 != 0 {
            fake.registers.csts.set(2);
        }
    });
    let reason = FailReason::TooManyResets(ResetCause::FatalStatus);
    assert_eq!(bench.driver.state(), DriverState::Failed(reason));
}

const STEPS: [AdminOpcode; 5] = [
    AdminOpcode::IDENTIFY,
    AdminOpcode::SET_FEATURES,
    AdminOpcode::GET_LOG_PAGE,
    AdminOpcode::CREATE_IO_COMPLETION_QUEUE,
    AdminOpcode::CREATE_IO_SUBMISSION_QUEUE,
];

#[test]
fn a_step_refused_for_good_is_named() {
    for opcode in STEPS {
        let status = Status::new(StatusCode::INTERNAL_ERROR).with_do_not_retry();
        let reason = failure(|fake| fake.refuse = Some((opcode, status)));
        let cause = ResetCause::Refused(opcode, status);
        assert_eq!(reason, FailReason::TooManyResets(cause));
    }
}

#[test]
fn a_step_never_answered_is_named() {
    for opcode in STEPS {
        let reason = failure(|fake| fake.mute = Some(opcode));
        assert_eq!(reason, FailReason::TooManyResets(ResetCause::Admin(opcode)));
    }
}

#[test]
fn a_step_refused_once_is_tried_again() {
    let mut bench = Bench::new(|fake| {
        fake.refuse = Some((AdminOpcode::SET_FEATURES, StatusCode::INTERNAL_ERROR.into()));
    });
    let mut was_enabled = false;
    bench.settle_with(|fake| {
        let enabled = fake.registers.cc.get() & 1 != 0;
        if was_enabled && !enabled {
            fake.refuse = None;
        }
        was_enabled = enabled;
    });
    assert_eq!(bench.driver.state(), DriverState::Running);
    assert_eq!(bench.driver.counters().resets, 1);
}

/// A namespace that is there does not go missing because the controller could not say what it is.
#[test]
fn a_namespace_that_cannot_be_identified_once_is_asked_for_again() {
    let bench = Bench::running(|fake| {
        fake.refuse_namespace = Some(StatusCode::INTERNAL_ERROR.into());
    });
    assert_eq!(bench.driver.namespaces().len(), 2);
    assert_eq!(bench.driver.counters().resets, 1);
    assert_eq!(bench.driver.counters().namespaces_skipped, 0);
}

#[test]
fn namespaces_that_cannot_be_served_are_left_alone() {
    let bench = Bench::running(|fake| {
        fake.namespaces.insert(3, namespace(100, 12, 8));
        fake.namespaces.insert(4, namespace(0, 12, 0));
        fake.namespaces.insert(5, namespace(100, 13, 0));
        fake.namespaces.insert(6, namespace(100, 0, 0));
        fake.namespaces.insert(7, namespace(u64::MAX, 9, 0));
        fake.namespaces.insert(9, namespace(100, 10, 0));
        // The last of these went away since the list was made.
        fake.listed = Some(vec![1, 3, 4, 5, 6, 7, 9, 11]);
    });
    let ids: Vec<_> = bench
        .driver
        .namespaces()
        .iter()
        .map(|info| info.id)
        .collect();
    assert_eq!(ids, [NamespaceId(1), NamespaceId(9)]);
    assert_eq!(bench.driver.counters().namespaces_skipped, 6);
}

#[test]
fn a_list_without_end_or_order_ends() {
    let bench = Bench::running(|fake| fake.listed = Some(vec![2, 1, 2, 1, 2]));
    assert_eq!(bench.driver.namespaces().len(), 1);
    let bench = Bench::running(|fake| {
        fake.listed = Some((1..=1024).collect());
        for id in 1..=40 {
            fake.namespaces.insert(id, namespace(100, 12, 0));
        }
    });
    assert_eq!(bench.driver.namespaces().len(), 16);
    assert_eq!(bench.driver.counters().namespaces_skipped, 1024 - 16);
}

#[test]
fn fewer_queues_than_asked_for_are_used() {
    let bench = Bench::running(|fake| fake.queue_grant = 1);
    assert_eq!(bench.driver.queue_count(), 1);
    assert_eq!(bench.driver.free_slots(1), 0);
}

#[test]
fn mdts_limits_transfers() {
    for (shift, bytes) in [
        (0, 131_072),
        (1, 8192),
        (5, 131_072),
        (9, 131_072),
        (255, 131_072),
    ] {
        let bench = Bench::running(|fake| fake.identify.max_transfer_shift = shift);
        assert_eq!(bench.driver.controller().unwrap().transfer_bytes_max, bytes);
    }
}

#[test]
fn too_few_pages_for_the_rings_are_refused() {
    let mut fake = Fake::new(8);
    let rings = fake.dma.claim().unwrap();
    let refused = Driver::<Fake, 1, 64>::new(fake, DriverConfig::default(), rings);
    let needed = Driver::<Fake, 1, 64>::pages_needed();
    assert_eq!(refused.err(), Some(TooFewPages { needed, given: 8 }));
    // Admin rings and data page; submission ring, completion ring, PRP lists.
    assert_eq!(needed, 3 + 2 + 1 + 4);
}

#[test]
fn shutdown_is_told_and_awaited() {
    let mut bench = Bench::running(|_| {});
    bench.driver.shutdown(bench.now_us);
    assert_eq!(bench.driver.state(), DriverState::Stopping);
    bench.settle();
    assert_eq!(bench.driver.state(), DriverState::Stopped);
    assert_eq!(bench.fake().registers.cc.get() & 1, 0);
}

#[test]
fn a_shutdown_never_finished_ends_by_deadline() {
    let mut bench = Bench::running(|fake| fake.registers.shuts.set(false));
    let start_us = bench.now_us;
    bench.driver.shutdown(start_us);
    bench.settle();
    assert_eq!(bench.driver.state(), DriverState::Stopped);
    assert!(bench.now_us - start_us >= 10_000_000);
}

#[test]
fn a_driver_never_started_stops_without_touching_the_device() {
    let mut bench = Bench::new(|fake| fake.registers.gone.set(true));
    bench.driver.shutdown(5);
    assert_eq!(bench.driver.state(), DriverState::Stopped);
}
