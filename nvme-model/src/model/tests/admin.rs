//! Admin commands: what they answer when something is wrong, and logs, features and events.

use std::vec::Vec;

use zerocopy::FromBytes;

use super::host::{DATA, Host, admin, config, io};
use crate::model::{MemoryStore, ModelConfig, NamespaceConfig};
use crate::spec::*;

fn dwords(opcode: AdminOpcode, cdw10: u32, cdw11: u32) -> SubmissionEntry {
    SubmissionEntry {
        cdw10: cdw10.into(),
        cdw11: cdw11.into(),
        ..admin(opcode)
    }
}

fn log(host: &Host, log: LogId, bytes: u32, offset: u64, retain: bool) -> SubmissionEntry {
    let dword10 = GetLogPageDword10::new()
        .with_log(log)
        .with_retain_event(retain)
        .with_dwords_0_low((bytes / 4 - 1) as u16);
    SubmissionEntry {
        namespace: NAMESPACE_ALL.into(),
        cdw12: (offset as u32).into(),
        cdw13: ((offset >> 32) as u32).into(),
        ..host.with_pages(
            dwords(AdminOpcode::GET_LOG_PAGE, dword10.into_bits(), 0),
            DATA,
        )
    }
}

fn smart(host: &mut Host) -> SmartLog {
    let entry = log(host, LogId::SMART, 512, 0, false);
    assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
    SmartLog::read_from_bytes(&host.data(DATA, 512)[..]).unwrap()
}

#[test]
fn unknown_and_malformed_commands_are_refused() {
    let mut host = Host::ready(config());
    assert_eq!(
        host.code(0, admin(AdminOpcode::FORMAT_NVM)),
        StatusCode::INVALID_OPCODE
    );
    assert_eq!(
        host.code(0, admin(AdminOpcode(0xc5))),
        StatusCode::INVALID_OPCODE
    );
    for flags in [1, 2, 1 << 6, 2 << 6] {
        let entry = SubmissionEntry {
            flags,
            ..dwords(AdminOpcode::IDENTIFY, 1, 0)
        };
        assert_eq!(
            host.code(0, entry),
            StatusCode::INVALID_FIELD,
            "flags {flags:#x}"
        );
    }
    let completion = host.run(0, admin(AdminOpcode(0xc5)));
    assert!(completion.status().do_not_retry() && completion.status().more());
}

#[test]
fn identify_refuses_what_it_does_not_have() {
    let mut host = Host::ready(config());
    let mut ask = |structure: u8, namespace: u32, command_set: u32| {
        let entry = SubmissionEntry {
            namespace: namespace.into(),
            ..dwords(AdminOpcode::IDENTIFY, structure.into(), command_set << 24)
        };
        let entry = host.with_pages(entry, DATA);
        host.code(0, entry)
    };
    let namespace = StatusCode::INVALID_NAMESPACE_OR_FORMAT;
    assert_eq!(ask(0, 1, 0), StatusCode::SUCCESS);
    assert_eq!(ask(0, 0, 0), namespace);
    assert_eq!(ask(0, 2, 0), namespace);
    assert_eq!(ask(0, NAMESPACE_ALL, 0), namespace);
    assert_eq!(ask(2, 0xffff_fffe, 0), namespace);
    assert_eq!(ask(2, 0xffff_fffd, 0), StatusCode::SUCCESS);
    assert_eq!(ask(3, 7, 0), namespace);
    assert_eq!(ask(6, 0, 0), StatusCode::SUCCESS);
    assert_eq!(ask(6, 0, 2), StatusCode::INVALID_FIELD);
    assert_eq!(ask(8, 1, 0), StatusCode::SUCCESS);
    assert_eq!(ask(8, 2, 0), namespace);
    assert_eq!(ask(8, NAMESPACE_ALL, 0), namespace);
    assert_eq!(ask(0x30, 0, 0), StatusCode::INVALID_FIELD);
}

#[test]
fn a_data_pointer_out_of_the_arena_is_a_transfer_error() {
    let mut host = Host::ready(config());
    let identify = dwords(AdminOpcode::IDENTIFY, 1, 0);
    for prp1 in [0u64, 0x1000, !3u64, host.address(1023) + 4096] {
        let entry = SubmissionEntry {
            prp1: prp1.into(),
            ..identify
        };
        assert_eq!(
            host.code(0, entry),
            StatusCode::DATA_TRANSFER_ERROR,
            "{prp1:#x}"
        );
    }
    let entry = SubmissionEntry {
        prp1: (host.address(DATA) + 2).into(),
        ..identify
    };
    assert_eq!(host.code(0, entry), StatusCode::PRP_OFFSET_INVALID);
    // From inside a page the rest goes to the second entry, which must start a page.
    let inside = SubmissionEntry {
        prp1: (host.address(DATA) + 2048).into(),
        ..identify
    };
    let entry = SubmissionEntry {
        prp2: (host.address(DATA + 1) + 8).into(),
        ..inside
    };
    assert_eq!(host.code(0, entry), StatusCode::PRP_OFFSET_INVALID);
    let entry = SubmissionEntry {
        prp2: host.address(DATA + 1).into(),
        ..inside
    };
    assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
    // SQES, at byte 512, lies 512 after the start; NN, at 516, too.
    let first = host.data(DATA, 4096);
    assert_eq!(first[2048 + 512], 0x66);
}

#[test]
fn queues_are_created_as_the_specification_says() {
    let mut host = Host::ready(config());
    let [completion, submission] = host.creations(2, 16);
    let with10 = |entry: SubmissionEntry, queue: u16, entries_0: u16| SubmissionEntry {
        cdw10: QueueDword10::new()
            .with_queue(queue)
            .with_entries_0(entries_0)
            .into_bits()
            .into(),
        ..entry
    };
    let id = StatusCode::INVALID_QUEUE_ID;
    assert_eq!(host.code(0, with10(completion, 0, 15)), id);
    assert_eq!(
        host.code(0, with10(completion, 5, 15)),
        id,
        "only four pairs"
    );
    assert_eq!(host.code(0, with10(completion, 1, 15)), id, "exists");
    assert_eq!(
        host.code(0, with10(completion, 2, 0)),
        StatusCode::INVALID_QUEUE_SIZE
    );
    assert_eq!(
        host.code(0, with10(completion, 2, 64)),
        StatusCode::INVALID_QUEUE_SIZE
    );
    let scattered = SubmissionEntry {
        cdw11: 0.into(),
        ..completion
    };
    assert_eq!(host.code(0, scattered), StatusCode::INVALID_FIELD);
    let vector = SubmissionEntry {
        cdw11: (999 << 16 | 0b11).into(),
        ..completion
    };
    assert_eq!(host.code(0, vector), StatusCode::INVALID_INTERRUPT_VECTOR);
    let inside = SubmissionEntry {
        prp1: (host.address(5) + 64).into(),
        ..completion
    };
    assert_eq!(host.code(0, inside), StatusCode::PRP_OFFSET_INVALID);
    let outside = SubmissionEntry {
        prp1: 0x5000.into(),
        ..completion
    };
    assert_eq!(host.code(0, outside), StatusCode::INVALID_FIELD);

    assert_eq!(
        host.code(0, submission),
        StatusCode::COMPLETION_QUEUE_INVALID,
        "not yet"
    );
    let to_admin = SubmissionEntry {
        cdw11: 1.into(),
        ..submission
    };
    assert_eq!(host.code(0, to_admin), id);
    let too_far = SubmissionEntry {
        cdw11: (9 << 16 | 1).into(),
        ..submission
    };
    assert_eq!(host.code(0, too_far), id);
    host.create_pair(2, 16);
    assert_eq!(host.code(0, with10(submission, 2, 15)), id, "exists");

    let delete = |opcode, queue: u32| dwords(opcode, queue, 0);
    let (sq, cq) = (
        AdminOpcode::DELETE_IO_SUBMISSION_QUEUE,
        AdminOpcode::DELETE_IO_COMPLETION_QUEUE,
    );
    assert_eq!(
        host.code(0, delete(cq, 2)),
        StatusCode::INVALID_QUEUE_DELETION
    );
    assert_eq!(host.code(0, delete(sq, 0)), id);
    assert_eq!(host.code(0, delete(sq, 3)), id);
    assert_eq!(host.code(0, delete(sq, 900)), id);
    assert_eq!(host.code(0, delete(cq, 900)), id);
    assert_eq!(host.code(0, delete(sq, 2)), StatusCode::SUCCESS);
    assert_eq!(host.code(0, delete(cq, 2)), StatusCode::SUCCESS);
    assert_eq!(host.code(0, delete(cq, 2)), id);
    host.create_pair(2, 64);
}

#[test]
fn entry_sizes_must_be_set_before_queues() {
    let mut host = Host::new(config());
    host.enable();
    let plain = Configuration::new().with_enable(true);
    host.write(offset::CC, plain.into_bits());
    let [completion, _] = host.creations(1, 16);
    assert_eq!(host.code(0, completion), StatusCode::INVALID_QUEUE_SIZE);
}

#[test]
fn number_of_queues_is_granted_before_the_first_only() {
    let mut host = Host::new(config());
    host.enable();
    let set = |value| dwords(AdminOpcode::SET_FEATURES, 7, value);
    let granted = host.run(0, set(0x0063_0063));
    assert_eq!(granted.dw0.get(), 0x0003_0003);
    // What was allocated does not change between resets.
    assert_eq!(host.run(0, set(0x0001_0001)).dw0.get(), 0x0003_0003);
    host.write(offset::CC, 0);
    host.step();
    host.enable();
    assert_eq!(host.code(0, set(0xffff_0001)), StatusCode::INVALID_FIELD);
    assert_eq!(host.run(0, set(0x0001_0001)).dw0.get(), 0x0001_0001);
    assert_eq!(host.run(0, set(0x0063_0063)).dw0.get(), 0x0001_0001);
    assert_eq!(
        host.run(0, dwords(AdminOpcode::GET_FEATURES, 7, 0))
            .dw0
            .get(),
        0x0001_0001
    );
    host.create_pair(2, 16);
    let [third, _] = host.creations(3, 16);
    assert_eq!(host.code(0, third), StatusCode::INVALID_QUEUE_ID);
    assert_eq!(
        host.code(0, set(0x0003_0003)),
        StatusCode::COMMAND_SEQUENCE_ERROR
    );
}

#[test]
fn features_are_kept_refused_and_reset() {
    let mut host = Host::ready(config());
    let set = |id: u32, value| dwords(AdminOpcode::SET_FEATURES, id, value);
    let get = |id: u32, select: u32| dwords(AdminOpcode::GET_FEATURES, select << 8 | id, 0);
    let temperature = FeatureId::TEMPERATURE_THRESHOLD.0.into();
    let before = host.run(0, get(temperature, 0)).dw0.get();
    assert_eq!(host.code(0, set(temperature, 350)), StatusCode::SUCCESS);
    assert_eq!(host.run(0, get(temperature, 0)).dw0.get(), 350);
    assert_eq!(
        host.run(0, get(temperature, 1)).dw0.get(),
        before,
        "the default"
    );
    assert_eq!(
        host.run(0, get(temperature, 3)).dw0.get(),
        0b100,
        "changeable, not saveable"
    );
    assert_eq!(host.code(0, get(temperature, 5)), StatusCode::INVALID_FIELD);
    assert_eq!(
        host.code(0, set(1 << 31 | 4, 350)),
        StatusCode::FEATURE_NOT_SAVEABLE
    );
    assert_eq!(host.code(0, set(0x7e, 0)), StatusCode::INVALID_FIELD);
    assert_eq!(host.code(0, get(0x7e, 0)), StatusCode::INVALID_FIELD);
    // No store here has a volatile cache.
    assert_eq!(host.code(0, set(6, 1)), StatusCode::INVALID_FIELD);
    let specific = SubmissionEntry {
        namespace: 1.into(),
        ..set(1, 0)
    };
    assert_eq!(
        host.code(0, specific),
        StatusCode::FEATURE_NOT_NAMESPACE_SPECIFIC
    );
    for mandatory in [1, 2, 4, 5, 7, 8, 9, 0xa, 0xb] {
        let entry = SubmissionEntry {
            namespace: u32::from(mandatory == 5).into(),
            ..get(mandatory, 0)
        };
        assert_eq!(host.code(0, entry), StatusCode::SUCCESS, "{mandatory}");
    }
    host.write(offset::CC, 0);
    host.step();
    host.enable();
    assert_eq!(
        host.run(0, get(temperature, 0)).dw0.get(),
        before,
        "after a reset"
    );
}

#[test]
fn error_recovery_is_of_a_namespace() {
    let mut config = config();
    let second = NamespaceConfig::new(MemoryStore::new(4096), 512);
    config.namespaces.push(second);
    let mut host = Host::ready(config);
    let of = |namespace: u32, entry| SubmissionEntry {
        namespace: namespace.into(),
        ..entry
    };
    let set = |value| dwords(AdminOpcode::SET_FEATURES, 5, value);
    let get = dwords(AdminOpcode::GET_FEATURES, 5, 0);
    assert_eq!(host.code(0, of(1, set(7))), StatusCode::SUCCESS);
    assert_eq!(host.run(0, of(1, get)).dw0.get(), 7);
    assert_eq!(host.run(0, of(2, get)).dw0.get(), 0);
    assert_eq!(host.code(0, of(NAMESPACE_ALL, set(9))), StatusCode::SUCCESS);
    assert_eq!(host.run(0, of(1, get)).dw0.get(), 9);
    assert_eq!(host.run(0, of(2, get)).dw0.get(), 9);
    assert_eq!(
        host.code(0, of(NAMESPACE_ALL, get)),
        StatusCode::INVALID_NAMESPACE_OR_FORMAT
    );
    for wrong in [0, 3] {
        let expected = StatusCode::INVALID_NAMESPACE_OR_FORMAT;
        assert_eq!(host.code(0, of(wrong, get)), expected, "{wrong}");
        assert_eq!(host.code(0, of(wrong, set(1))), expected, "{wrong}");
    }
    let capabilities = dwords(AdminOpcode::GET_FEATURES, 3 << 8 | 5, 0);
    assert_eq!(host.run(0, capabilities).dw0.get(), 0b110);
}

#[test]
fn what_a_feature_was_set_to_is_what_it_is() {
    let mut host = Host::ready(config());
    // Feature, value, and what is left of it without reserved bits.
    let cases = [
        (1, 0x0403_02ff, 0x0403_0207),
        (2, 0xa0, 0xa0),
        (8, 0x1234, 0x1234),
        (9, 1 << 16 | 3, 1 << 16 | 3),
        (0xa, 1, 1),
        (0xb, 0x1f, 0x1f),
    ];
    for (feature, value, kept) in cases {
        let set = dwords(AdminOpcode::SET_FEATURES, feature, value);
        assert_eq!(host.code(0, set), StatusCode::SUCCESS, "{feature:#x}");
        // Interrupt Vector Configuration is asked by its vector.
        let get = dwords(AdminOpcode::GET_FEATURES, feature, value & 0xffff);
        assert_eq!(host.run(0, get).dw0.get(), kept, "{feature:#x}");
    }
    let other = dwords(AdminOpcode::GET_FEATURES, 9, 4);
    assert_eq!(host.run(0, other).dw0.get(), 4, "another vector");
    for (feature, wrong) in [(2, 1), (9, 64), (0xb, 1 << 14), (4, 2 << 20), (4, 1 << 16)] {
        let set = dwords(AdminOpcode::SET_FEATURES, feature, wrong);
        let code = host.code(0, set);
        assert_eq!(code, StatusCode::INVALID_FIELD, "{feature}: {wrong:#x}");
    }
}

#[test]
fn a_namespace_is_refused_where_none_is_used() {
    let mut host = Host::ready(config());
    for opcode in [0, 1, 4, 5, 8, 0xc] {
        let entry = SubmissionEntry {
            namespace: 1.into(),
            ..admin(AdminOpcode(opcode))
        };
        assert_eq!(host.code(0, entry), StatusCode::INVALID_FIELD, "{opcode}");
    }
    for id in [0, 1, 2, 3, 5, 0x12, 0x13] {
        let entry = SubmissionEntry {
            namespace: 1.into(),
            ..log(&host, LogId(id), 64, 0, false)
        };
        assert_eq!(host.code(0, entry), StatusCode::INVALID_FIELD, "log {id}");
        let entry = log(&host, LogId(id), 64, 0, false);
        assert_eq!(host.code(0, entry), StatusCode::SUCCESS, "log {id}");
    }
}

#[test]
fn logs_about_logs_commands_and_features_agree() {
    let mut host = Host::ready(config());
    let identify = host.with_pages(dwords(AdminOpcode::IDENTIFY, 1, 0), DATA);
    assert_eq!(host.code(0, identify), StatusCode::SUCCESS);
    let page = host.data(DATA, IDENTIFY_BYTES);
    let controller = IdentifyController::read_from_bytes(&page[..]).unwrap();
    let attributes = LogPageAttributes::from_bits(controller.log_page_attributes);
    assert!(attributes.effects_log() && attributes.effects_scopes());

    let mut dwords_of = |id, bytes| {
        let entry = log(&host, id, bytes, 0, false);
        assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
        let page = host.data(DATA, bytes as usize);
        let dwords = page.chunks_exact(4);
        dwords
            .map(|dword| u32::from_le_bytes(dword.try_into().unwrap()))
            .collect::<Vec<u32>>()
    };
    let logs = dwords_of(LogId::SUPPORTED_LOGS, 1024);
    let there: Vec<_> = (0..256).filter(|&id| logs[id] & 1 != 0).collect();
    assert_eq!(there, [0, 1, 2, 3, 5, 0x12, 0x13]);
    let management = dwords_of(LogId::MANAGEMENT_EFFECTS, 4096);
    assert!(management.iter().all(|&dword| dword == 0));
    let commands = dwords_of(LogId::EFFECTS, 4096);
    for command in commands.iter().filter(|&&command| command != 0) {
        let command = CommandEffects::from_bits(*command);
        assert!(command.supported() && command.scope() != 0);
    }
    let features = dwords_of(LogId::FEATURE_EFFECTS, 1024);
    for id in 0..=255u32 {
        let capabilities = dwords(AdminOpcode::GET_FEATURES, 3 << 8 | id, 0);
        let known = host.code(0, capabilities) == StatusCode::SUCCESS;
        let effects = FeatureEffects::from_bits(features[id as usize]);
        assert_eq!(effects.supported(), known, "feature {id:#x}");
        assert!(effects.scope().count_ones() == u32::from(known));
    }
}

#[test]
fn a_reset_empties_the_error_log() {
    let mut host = Host::ready(config());
    assert_ne!(host.code(0, admin(AdminOpcode(0xc5))), StatusCode::SUCCESS);
    let newest = |host: &mut Host| {
        let entry = log(host, LogId::ERROR, 64, 0, false);
        assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
        ErrorLogEntry::read_from_bytes(&host.data(DATA, 64)[..]).unwrap()
    };
    assert_eq!(newest(&mut host).error_count.get(), 1);
    host.write(offset::CC, 0);
    host.step();
    host.enable();
    assert_eq!(newest(&mut host), ErrorLogEntry::default());
    // The count goes on, and an error of no command says so.
    host.write(submission_doorbell(3, 0), 1);
    host.step();
    let error = newest(&mut host);
    assert_eq!(error.error_count.get(), 2);
    assert_eq!(error.submission_queue.get(), u16::MAX);
    assert_eq!(error.command_id.get(), u16::MAX);
    assert_eq!(smart(&mut host).error_log_entries.get(), 2);
}

#[test]
fn logs_tell_what_happened() {
    let mut config = config();
    config.power_cycles = 41;
    let mut host = Host::ready(config);
    host.write_blocks(1, 0, &[1; 1024], 512);
    host.read_blocks(1, 0, 1, 512);
    assert_eq!(
        host.code(1, io(IoOpcode::READ, 1, 5000, 1)),
        StatusCode::LBA_OUT_OF_RANGE
    );
    let id = host.run(1, io(IoOpcode::READ, 9, 0, 1)).command_id;
    let log_page = smart(&mut host);
    assert_eq!(log_page.power_cycles.get(), 42);
    assert_eq!(log_page.unsafe_shutdowns.get(), 0);
    assert_eq!(
        (log_page.host_reads.get(), log_page.host_writes.get()),
        (1, 1)
    );
    assert_eq!(
        (
            log_page.data_units_read.get(),
            log_page.data_units_written.get()
        ),
        (1, 1)
    );
    assert_eq!(log_page.error_log_entries.get(), 2);
    assert_eq!(log_page.critical_warning, 0);

    let entry = log(&host, LogId::ERROR, 4096, 0, false);
    assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
    let page = host.data(DATA, 4096);
    let errors: Vec<_> = page
        .chunks(64)
        .map(|bytes| ErrorLogEntry::read_from_bytes(bytes).unwrap())
        .collect();
    assert_eq!(errors[0].error_count.get(), 2, "newest first");
    assert_eq!(errors[0].namespace.get(), 9);
    assert_eq!(
        (errors[0].submission_queue.get(), errors[0].command_id),
        (1, id)
    );
    assert_eq!(
        (errors[1].error_count.get(), errors[1].lba.get()),
        (1, 5000)
    );
    let status = Status(errors[1].status.get() >> 1);
    assert_eq!(status.code(), StatusCode::LBA_OUT_OF_RANGE);
    assert_eq!(errors[2].error_count.get(), 0);

    let entry = log(&host, LogId::EFFECTS, 4096, 0, false);
    assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
    let effects = EffectsLog::read_from_bytes(&host.data(DATA, 4096)[..]).unwrap();
    let write = CommandEffects::from_bits(effects.io[1].get());
    assert!(write.supported() && write.changes_data());
    assert!(!CommandEffects::from_bits(effects.io[0x19].get()).supported());
    // The second half of the SMART log, from byte 112: power cycles first.
    let entry = log(&host, LogId::SMART, 16, 112, false);
    assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
    assert_eq!(host.data(DATA, 16)[0], 42);

    let wrong = log(&host, LogId(0x70), 512, 0, false);
    assert_eq!(host.code(0, wrong), StatusCode::INVALID_LOG_PAGE);
    for offset in [2, 516, 1 << 40] {
        let wrong = log(&host, LogId::SMART, 512, offset, false);
        assert_eq!(
            host.code(0, wrong),
            StatusCode::INVALID_FIELD,
            "offset {offset}"
        );
    }
    let wrong = SubmissionEntry {
        namespace: 1.into(),
        ..log(&host, LogId::SMART, 512, 0, false)
    };
    assert_eq!(host.code(0, wrong), StatusCode::INVALID_FIELD);
    // 2^32 dwords pass MDTS.
    let all = SubmissionEntry {
        cdw10: 0xffff_0002.into(),
        cdw11: 0xffff.into(),
        ..log(&host, LogId::SMART, 512, 0, false)
    };
    assert_eq!(host.code(0, all), StatusCode::INVALID_FIELD);
}

#[test]
fn events_wait_for_requests_and_for_their_log_to_be_read() {
    let mut host = Host::ready(config());
    let request = admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST);
    let first = host.submit(0, request);
    let second = host.submit(0, request);
    host.step();
    assert!(host.completions(0).is_empty());

    host.write(0x1000 + 4 * 9, 1); // completion doorbell of a queue never created
    host.step();
    let [event] = host.completions(0)[..] else {
        panic!("one event")
    };
    assert_eq!(event.command_id.get(), first);
    let told = EventDword0::from_bits(event.dw0.get());
    assert_eq!(
        (told.kind(), told.log()),
        (EventDword0::ERROR, LogId::ERROR.0)
    );
    assert_eq!(told.information(), EventDword0::INVALID_DOORBELL_REGISTER);

    // The same kind again is masked until the log is read without Retain.
    host.write(submission_doorbell(1, 0), 16);
    host.step();
    assert!(host.completions(0).is_empty());
    let entry = log(&host, LogId::ERROR, 64, 0, true);
    assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
    assert!(host.completions(0).is_empty());
    let entry = log(&host, LogId::ERROR, 64, 0, false);
    host.submit(0, entry);
    host.step();
    let found = host.completions(0);
    let event = found
        .iter()
        .find(|entry| entry.command_id.get() == second)
        .expect("the event");
    let told = EventDword0::from_bits(event.dw0.get());
    assert_eq!(told.information(), EventDword0::INVALID_DOORBELL_VALUE);
}

#[test]
fn an_event_whose_log_is_read_before_a_request_comes_is_not_told() {
    let mut host = Host::ready(config());
    let request = admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST);
    for (retain, told) in [(true, 1), (false, 0)] {
        host.write(submission_doorbell(3, 0), 1);
        host.step();
        let entry = log(&host, LogId::ERROR, 64, 0, retain);
        assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
        // Another log has nothing to do with it.
        let other = log(&host, LogId::EFFECTS, 64, 0, false);
        assert_eq!(host.code(0, other), StatusCode::SUCCESS);
        host.submit_one(0, request);
        host.step();
        assert_eq!(host.completions(0).len(), told, "retained: {retain}");
        let entry = log(&host, LogId::ERROR, 64, 0, false);
        assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
    }
}

#[test]
fn temperature_raises_an_event_when_asked_for() {
    let mut host = Host::ready(config());
    let request = host.submit(0, admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST));
    host.device.set_temperature(360);
    host.step();
    assert!(host.completions(0).is_empty(), "not asked for");
    host.submit(0, dwords(AdminOpcode::SET_FEATURES, 0xb, 0b10));
    host.step();
    let found = host.completions(0);
    assert_eq!(found.len(), 2);
    let event = found
        .iter()
        .find(|entry| entry.command_id.get() == request)
        .unwrap();
    assert_eq!(
        EventDword0::from_bits(event.dw0.get()).kind(),
        EventDword0::SMART
    );
    assert_eq!(
        smart(&mut host).critical_warning,
        SmartLog::WARNING_TEMPERATURE
    );
}

#[test]
fn event_requests_are_limited_and_can_be_aborted() {
    let mut host = Host::ready(config());
    let request = admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST);
    let ids: Vec<u16> = (0..4).map(|_| host.submit(0, request)).collect();
    assert_eq!(
        host.code(0, request),
        StatusCode::EVENT_REQUEST_LIMIT_EXCEEDED
    );
    let abort = AbortDword10::new().with_queue(0).with_command_id(ids[2]);
    host.submit(0, dwords(AdminOpcode::ABORT, abort.into_bits(), 0));
    host.step();
    let found = host.completions(0);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].command_id.get(), ids[2]);
    assert_eq!(found[0].status().code(), StatusCode::ABORT_REQUESTED);
    assert_eq!(found[1].dw0.get() & 1, 0, "aborted");
    host.submit(0, request);
    host.step();
    assert!(host.completions(0).is_empty(), "room again");
}

#[test]
fn abort_stops_what_waits_and_says_when_it_could_not() {
    let mut host = Host::ready(ModelConfig {
        read_latency_us: 1000,
        ..config()
    });
    let read = host.with_pages(io(IoOpcode::READ, 1, 0, 1), DATA);
    let id = host.submit(1, read);
    host.step();
    let abort = |queue, id| {
        let dword10 = AbortDword10::new().with_queue(queue).with_command_id(id);
        dwords(AdminOpcode::ABORT, dword10.into_bits(), 0)
    };
    assert_eq!(
        host.run(0, abort(1, id + 7)).dw0.get() & 1,
        1,
        "no such command"
    );
    assert_eq!(host.run(0, abort(9, id)).dw0.get() & 1, 1, "no such queue");
    assert_eq!(host.run(0, abort(1, id)).dw0.get() & 1, 0);
    let [aborted] = host.completions(1)[..] else {
        panic!("one completion")
    };
    assert_eq!(aborted.status().code(), StatusCode::ABORT_REQUESTED);
    host.now_us += 10_000;
    host.step();
    assert!(host.completions(1).is_empty(), "it does not come back");
}

#[test]
fn configurations_are_checked() {
    let with = |change: fn(&mut ModelConfig)| {
        let mut config = config();
        change(&mut config);
        crate::model::ModelDevice::new(config)
            .map(drop)
            .map_err(|error| std::format!("{error}"))
    };
    assert!(with(|_| {}).is_ok());
    assert!(with(|config| config.queues = 64).is_err());
    assert!(with(|config| config.queues = 0).is_err());
    assert!(with(|config| config.queue_entries = 1).is_err());
    assert!(with(|config| config.bus_base = 5).is_err());
    assert!(with(|config| config.namespaces[0].block_bytes = 520).is_err());
    let empty = |config: &mut ModelConfig| {
        config
            .namespaces
            .push(NamespaceConfig::new(MemoryStore::new(0), 512));
    };
    assert!(with(empty).unwrap_err().contains("namespace 2"));
    let odd = |config: &mut ModelConfig| {
        config
            .namespaces
            .push(NamespaceConfig::new(MemoryStore::new(1000), 512));
    };
    assert!(with(odd).unwrap_err().contains("truncate -s 1024"));
}
