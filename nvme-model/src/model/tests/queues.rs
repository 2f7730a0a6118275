//! Queues: back pressure, order, conflicts, deletion, wrong doorbells, and memory that is not coherent.

use std::vec;
use std::vec::Vec;

use super::host::{DATA, Host, admin, config, io};
use crate::model::{Commands, Fault, FaultPlan, ModelConfig, When};
use crate::seam::{Device, Dma, Span};
use crate::spec::*;

fn read(host: &Host) -> SubmissionEntry {
    host.with_pages(io(IoOpcode::READ, 1, 0, 1), DATA)
}

#[test]
fn a_full_completion_queue_holds_commands_back_and_loses_none() {
    let mut host = Host::ready(config());
    let entry = read(&host);
    // Fifteen completions fill a queue of sixteen; more commands stay where they are.
    let mut ids: Vec<u16> = (0..15).map(|_| host.submit(1, entry)).collect();
    host.step();
    ids.extend((0..10).map(|_| host.submit(1, entry)));
    host.step();
    let first = host.peek(1);
    assert_eq!(first.len(), 15);
    host.step();
    assert!(host.peek(1).is_empty(), "no place, no completion");
    assert_eq!(host.device.outstanding(), 0, "and nothing fetched");
    host.ring_head(1);
    host.step();
    let second = host.completions(1);
    let got: Vec<u16> = first
        .iter()
        .chain(&second)
        .map(|entry| entry.command_id.get())
        .collect();
    assert_eq!(got, ids);
}

#[test]
fn one_place_is_enough() {
    let mut host = Host::ready(config());
    host.create_pair(2, 2);
    for _ in 0..9 {
        let entry = read(&host);
        host.run(2, entry);
    }
}

#[test]
fn commands_finish_out_of_order_and_overlap() {
    let mut host = Host::ready(ModelConfig {
        read_latency_us: 500,
        jitter_us: 400,
        seed: 7,
        ..config()
    });
    let entry = read(&host);
    let ids: Vec<u16> = (0..15).map(|_| host.submit(1, entry)).collect();
    let step = host.device.step(0);
    assert!(
        step.next.is_some_and(|at_us| (500..=900).contains(&at_us)),
        "{step:?}"
    );
    assert_eq!(host.device.outstanding(), 15);
    host.now_us = 499;
    host.step();
    assert!(host.completions(1).is_empty(), "none before its time");
    let mut got = Vec::new();
    for now_us in 500..=900 {
        host.now_us = now_us;
        host.step();
        got.extend(
            host.completions(1)
                .iter()
                .map(|entry| entry.command_id.get()),
        );
    }
    assert_ne!(got, ids, "out of order");
    got.sort_unstable();
    assert_eq!(got, ids, "all within one latency");
}

#[test]
fn the_same_seed_gives_the_same_order() {
    let order = |seed| {
        let mut host = Host::ready(ModelConfig {
            jitter_us: 1000,
            seed,
            ..config()
        });
        let entry = read(&host);
        (0..15).for_each(|_| host.submit_one(1, entry));
        let mut got = Vec::new();
        for now_us in 0..=1001 {
            host.now_us = now_us;
            host.step();
            got.extend(
                host.completions(1)
                    .iter()
                    .map(|entry| entry.command_id.get()),
            );
        }
        got
    };
    assert_eq!(order(3), order(3));
    assert_ne!(order(3), order(4));
}

#[test]
fn a_command_id_in_use_is_a_conflict() {
    let mut host = Host::ready(ModelConfig {
        read_latency_us: 1000,
        ..config()
    });
    let entry = SubmissionEntry {
        command_id: 77.into(),
        ..read(&host)
    };
    host.place(1, &entry);
    host.place(1, &entry);
    host.ring_tail(1);
    host.step();
    let [conflict] = host.completions(1)[..] else {
        panic!("one completion")
    };
    assert_eq!(conflict.status().code(), StatusCode::COMMAND_ID_CONFLICT);
    // The id still belongs to the first.
    host.place(1, &entry);
    host.ring_tail(1);
    host.step();
    assert_eq!(host.completions(1).len(), 1);
    host.now_us = 1000;
    host.step();
    let [done] = host.completions(1)[..] else {
        panic!("one completion")
    };
    assert!(done.status().is_success());
    host.place(1, &entry);
    host.ring_tail(1);
    host.step();
    assert!(host.completions(1).is_empty(), "free again, so on its way");
}

#[test]
fn deleting_a_queue_aborts_its_commands() {
    let mut host = Host::ready(ModelConfig {
        read_latency_us: 1000,
        ..config()
    });
    let entry = read(&host);
    let ids: Vec<u16> = (0..5).map(|_| host.submit(1, entry)).collect();
    host.step();
    let delete = SubmissionEntry {
        cdw10: 1.into(),
        ..admin(AdminOpcode::DELETE_IO_SUBMISSION_QUEUE)
    };
    assert_eq!(host.code(0, delete), StatusCode::SUCCESS);
    let found = host.completions(1);
    let mut got: Vec<u16> = found.iter().map(|entry| entry.command_id.get()).collect();
    got.sort_unstable();
    assert_eq!(got, ids);
    let aborted = StatusCode::ABORTED_QUEUE_DELETION;
    assert!(found.iter().all(|entry| entry.status().code() == aborted));
    assert_eq!(host.device.outstanding(), 0);
}

#[test]
fn wrong_doorbells_are_told() {
    let value = EventDword0::INVALID_DOORBELL_VALUE;
    let register = EventDword0::INVALID_DOORBELL_REGISTER;
    let (tail, head) = (submission_doorbell(1, 0), completion_doorbell(1, 0));
    let cases = [
        (tail, 16, value),
        (tail, u32::MAX, value),
        (tail, 0, value), // the value it has
        (head, 1, value), // nothing completed
        (head, 99, value),
        (submission_doorbell(3, 0), 1, register), // not created
        (completion_doorbell(3, 0), 1, register),
        (submission_doorbell(40, 0), 1, register), // not possible
        (0xffff_fffc, 1, register),
    ];
    for (at, written, expected) in cases {
        let mut host = Host::ready(config());
        let request = host.submit(0, admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST));
        host.write(at, written);
        host.step();
        let [event] = host.completions(0)[..] else {
            panic!("an event for {at:#x}={written}")
        };
        assert_eq!(event.command_id.get(), request);
        let information = EventDword0::from_bits(event.dw0.get()).information();
        assert_eq!(information, expected, "{at:#x}={written}");
        let acknowledge = SubmissionEntry {
            cdw10: GetLogPageDword10::new()
                .with_log(LogId::ERROR)
                .into_bits()
                .into(),
            ..host.with_pages(admin(AdminOpcode::GET_LOG_PAGE), DATA)
        };
        assert_eq!(host.code(0, acknowledge), StatusCode::SUCCESS);
        if at == tail {
            continue;
        }
        assert_eq!(
            host.read_blocks(1, 0, 1, 512),
            vec![0; 512],
            "the queue still works"
        );
    }
}

#[test]
fn a_queue_with_a_wrong_tail_is_not_fetched_from_until_it_is_made_anew() {
    let mut host = Host::ready(ModelConfig {
        read_latency_us: 10,
        ..config()
    });
    let entry = read(&host);
    let before = host.submit(1, entry);
    host.step();
    host.write(submission_doorbell(1, 0), 16);
    host.submit_one(1, entry);
    host.now_us = 10;
    host.step();
    assert_eq!(ids(&host.completions(1)), [before], "only what was fetched");
    for opcode in [
        AdminOpcode::DELETE_IO_SUBMISSION_QUEUE,
        AdminOpcode::DELETE_IO_COMPLETION_QUEUE,
    ] {
        let delete = SubmissionEntry {
            cdw10: 1.into(),
            ..admin(opcode)
        };
        assert_eq!(host.code(0, delete), StatusCode::SUCCESS);
    }
    host.fill_ring_page(3, &[0; 4096]);
    host.create_pair(1, 16);
    host.run(1, entry);
}

#[test]
fn the_upper_half_of_a_doorbell_is_reserved() {
    let mut host = Host::ready(config());
    let entry = SubmissionEntry {
        command_id: 9.into(),
        ..read(&host)
    };
    host.place(1, &entry);
    host.device.dma().publish();
    host.write(submission_doorbell(1, 0), 0xabcd_0001);
    host.step();
    assert_eq!(ids(&host.completions(1)), [9]);
}

#[test]
fn a_doorbell_stride_is_kept() {
    let mut host = Host::new(ModelConfig {
        doorbell_stride: 3,
        ..config()
    });
    host.enable();
    let identify = SubmissionEntry {
        command_id: 5.into(),
        cdw10: 1.into(),
        ..host.with_pages(admin(AdminOpcode::IDENTIFY), DATA)
    };
    host.place(0, &identify);
    host.device.dma().publish();
    host.write(submission_doorbell(0, 3) + 4, 1); // between two doorbells
    host.step();
    assert!(host.peek(0).is_empty());
    host.write(submission_doorbell(0, 3), 1);
    host.step();
    assert_eq!(host.peek(0).len(), 1);
}

// ---- Memory that is not coherent ----

fn incoherent() -> Host {
    Host::ready(ModelConfig {
        coherent: false,
        ..config()
    })
}

#[test]
fn an_entry_not_published_is_not_seen() {
    let mut host = incoherent();
    let good = SubmissionEntry {
        command_id: 1.into(),
        ..read(&host)
    };
    host.place(1, &good);
    // The doorbell without `publish`.
    host.write(submission_doorbell(1, 0), 1);
    host.step();
    let [stale] = host.completions(1)[..] else {
        panic!("one completion")
    };
    assert_ne!(
        stale.command_id.get(),
        1,
        "the controller saw what was there before"
    );
}

#[test]
fn data_not_synced_is_not_written() {
    let mut host = incoherent();
    let span = Span::new(DATA, 0, 512);
    host.device.dma_mut().bytes_mut(span).fill(9);
    let entry = host.with_pages(io(IoOpcode::WRITE, 1, 0, 1), DATA);
    assert_eq!(host.code(1, entry), StatusCode::SUCCESS);
    assert_eq!(
        host.read_blocks(1, 0, 1, 512),
        vec![0; 512],
        "the CPU's bytes stayed in its cache"
    );
}

#[test]
fn data_not_synced_back_is_not_read() {
    let mut host = incoherent();
    host.write_blocks(1, 0, &[9; 512], 512);
    let entry = read(&host);
    let page = DATA + 2;
    let entry = SubmissionEntry {
        prp1: host.address(page).into(),
        ..entry
    };
    assert_eq!(host.code(1, entry), StatusCode::SUCCESS);
    let span = Span::new(page, 0, 512);
    assert_eq!(
        host.device.dma().bytes(span),
        [0; 512],
        "without sync_for_cpu"
    );
    host.device.dma_mut().sync_for_cpu(span);
    assert_eq!(host.device.dma().bytes(span), [9; 512]);
}

#[test]
fn a_completion_without_acquire_brings_no_data() {
    let mut host = incoherent();
    host.write_blocks(1, 0, &[9; 512], 512);
    let entry = SubmissionEntry {
        prp1: host.address(DATA + 2).into(),
        ..read(&host)
    };
    host.submit(1, entry);
    host.step();
    // The completion is there, but nobody acquired.
    let span = Span::new(DATA + 2, 0, 512);
    host.device.dma_mut().sync_for_cpu(span);
    assert_eq!(host.device.dma().bytes(span), [0; 512]);
}

#[test]
fn a_dirty_page_is_evicted_over_the_data() {
    let mut host = incoherent();
    host.write_blocks(1, 0, &[9; 512], 512);
    let page = DATA + 3;
    let span = Span::new(page, 0, 512);
    host.device.dma_mut().bytes_mut(span).fill(1); // and not synced for the device
    let entry = SubmissionEntry {
        prp1: host.address(page).into(),
        ..read(&host)
    };
    assert_eq!(host.code(1, entry), StatusCode::SUCCESS);
    host.device.dma_mut().sync_for_cpu(span);
    assert_eq!(host.device.dma().bytes(span), [1; 512]);
}

#[test]
fn touching_a_page_in_flight_is_counted() {
    let mut host = Host::ready(ModelConfig {
        coherent: false,
        read_latency_us: 100,
        ..config()
    });
    let entry = read(&host);
    host.submit(1, entry);
    host.step();
    let before = host.device.dma_violations();
    let _peeked = host.device.dma().bytes(Span::new(DATA, 0, 4));
    assert_eq!(host.device.dma_violations(), before + 1);
    let _other = host.device.dma().bytes(Span::new(DATA + 5, 0, 4));
    assert_eq!(host.device.dma_violations(), before + 1);
    host.now_us = 100;
    host.step();
    assert_eq!(host.completions(1).len(), 1);
    let _mine = host.device.dma().bytes(Span::new(DATA, 0, 4));
    assert_eq!(host.device.dma_violations(), before + 1);
}

// ---- Faults ----

fn with_fault(when: When, fault: Fault) -> Host {
    let faults = FaultPlan::new(1).with(Commands::Io, when, fault);
    Host::ready(ModelConfig { faults, ..config() })
}

fn ids(found: &[CompletionEntry]) -> Vec<u16> {
    found.iter().map(|entry| entry.command_id.get()).collect()
}

#[test]
fn faults_strike_the_command_they_name() {
    let submit = |host: &mut Host| {
        let entry = read(host);
        let id = host.submit(1, entry);
        host.step();
        (id, host.completions(1))
    };
    let mut host = with_fault(When::Nth(2), Fault::Drop);
    assert_eq!(submit(&mut host).1.len(), 1);
    assert_eq!(submit(&mut host).1.len(), 0);
    assert_eq!(submit(&mut host).1.len(), 1);
    assert_eq!(host.device.faults_mut().injected(), 1);

    let status = Status::new(StatusCode::UNRECOVERED_READ_ERROR);
    let mut host = with_fault(When::Every(2), Fault::Status(status));
    let codes: Vec<_> = (0..4)
        .map(|_| submit(&mut host).1[0].status().code())
        .collect();
    let (fine, bad) = (StatusCode::SUCCESS, StatusCode::UNRECOVERED_READ_ERROR);
    assert_eq!(codes, [fine, bad, fine, bad]);

    let mut host = with_fault(When::Nth(1), Fault::Delay(50));
    assert!(submit(&mut host).1.is_empty());
    host.now_us = 50;
    host.step();
    assert_eq!(host.completions(1).len(), 1);

    let mut host = with_fault(When::Nth(1), Fault::DuplicateCompletion);
    let (id, found) = submit(&mut host);
    assert_eq!(ids(&found), [id, id]);

    let mut host = with_fault(When::Nth(1), Fault::WrongCommandId(0x8001));
    let (id, found) = submit(&mut host);
    assert_eq!(ids(&found), [id ^ 0x8001]);

    let mut host = with_fault(When::Every(1), Fault::StaleCompletion);
    let (first, found) = submit(&mut host);
    assert_eq!(ids(&found), [first]);
    let (second, found) = submit(&mut host);
    assert_eq!(ids(&found), [second, first]);

    let mut host = with_fault(When::Nth(1), Fault::ForgedCompletion);
    let (id, found) = submit(&mut host);
    assert_eq!((found.len(), ids(&found)[0]), (2, id));

    let mut host = with_fault(When::Nth(2), Fault::Fatal);
    submit(&mut host);
    assert!(submit(&mut host).1.is_empty() && host.status().fatal());
    assert!(submit(&mut host).1.is_empty());

    let mut host = with_fault(When::Chance(500_000), Fault::Drop);
    let survived = (0..200).filter(|_| !submit(&mut host).1.is_empty()).count();
    // Dropped commands keep their places, so the queue of 15 is soon full.
    assert!((1..200).contains(&survived));
}

#[test]
fn a_tail_may_not_pass_the_head_nor_a_head_the_tail() {
    use crate::model::queue::{BadDoorbell, CompletionQueue, SubmissionQueue};
    let mut submission = SubmissionQueue::new(0, 8, 1);
    assert_eq!(submission.set_tail(7), Ok(()), "seven of eight may be used");
    assert_eq!(
        submission.set_tail(0),
        Err(BadDoorbell),
        "the eighth may not"
    );
    assert!(submission.take().is_some());
    assert_eq!(submission.set_tail(0), Ok(()));
    assert_eq!(submission.set_tail(1), Err(BadDoorbell));
    assert_eq!(
        submission.set_tail(6),
        Err(BadDoorbell),
        "six more than the six there are"
    );
    let taken = core::iter::from_fn(|| submission.take()).count();
    assert_eq!((taken, submission.head()), (7, 0));

    let mut completion = CompletionQueue::new(0, 4);
    assert_eq!((0..4).filter(|_| completion.reserve()).count(), 3);
    (0..3).for_each(|_| completion.unreserve());
    let phases: Vec<bool> = (0..3).map(|_| completion.next().1).collect();
    assert_eq!(phases, [true; 3]);
    assert_eq!(completion.free(), 0);
    assert_eq!(
        completion.set_head(0),
        Err(BadDoorbell),
        "all four, and one was never posted"
    );
    assert_eq!(completion.set_head(2), Ok(()));
    assert_eq!(
        (completion.next(), completion.next()),
        ((48..64, true), (0..16, false))
    );
    assert_eq!(completion.set_head(1), Ok(()));
    assert_eq!(completion.free(), 3);
}
