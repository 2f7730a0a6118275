//! Enabling, resets, shutdown, power loss, and a device that leaves.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;
use zerocopy::FromBytes;

use super::host::{DATA, Host, admin, config, io};
use crate::model::{CachedStore, MemoryStore, ModelConfig, NamespaceConfig};
use crate::seam::{Device, Registers};
use crate::spec::*;

fn smart(host: &mut Host) -> SmartLog {
    let entry = SubmissionEntry {
        cdw10: GetLogPageDword10::new()
            .with_log(LogId::SMART)
            .with_dwords_0_low(127)
            .into_bits()
            .into(),
        ..host.with_pages(admin(AdminOpcode::GET_LOG_PAGE), DATA)
    };
    assert_eq!(host.code(0, entry), StatusCode::SUCCESS);
    SmartLog::read_from_bytes(&host.data(DATA, 512)[..]).unwrap()
}

#[test]
fn ready_comes_after_its_latency() {
    let mut host = Host::new(ModelConfig {
        ready_latency_us: 300,
        ..config()
    });
    host.enable();
    assert!(!host.status().ready());
    assert_eq!(host.device.step(10).next, Some(300));
    host.now_us = 300;
    host.step();
    assert!(host.status().ready());
}

#[test]
fn impossible_configurations_are_fatal() {
    let broken: [fn(&Host); 6] = [
        |host| host.write(offset::AQA, 0x000f_0000), // a submission queue of one
        |host| host.write(offset::AQA, 0x0000_000f),
        |host| host.device.registers().write64(offset::ASQ, 0x7000),
        |host| host.device.registers().write64(offset::ACQ, u64::MAX),
        |host| host.write(offset::CC, Host::enabled().with_page_size(1).into_bits()),
        |host| host.write(offset::CC, Host::enabled().with_command_set(6).into_bits()),
    ];
    for (index, break_it) in broken.iter().enumerate() {
        let mut host = Host::new(config());
        let registers = host.device.registers();
        registers.write32(offset::AQA, 0x000f_000f);
        registers.write64(offset::ASQ, host.address(0));
        registers.write64(offset::ACQ, host.address(1));
        break_it(&host);
        let configuration = Configuration::from_bits(host.device.registers().read32(offset::CC));
        if !configuration.enable() {
            host.write(offset::CC, Host::enabled().into_bits());
        }
        host.step();
        assert!(
            host.status().fatal() && !host.status().ready(),
            "case {index}"
        );
        // A reset brings it back.
        host.write(offset::CC, 0);
        host.step();
        assert!(!host.status().fatal(), "case {index}");
        host.enable();
        assert!(host.status().ready(), "case {index}");
    }
}

#[test]
fn a_reset_forgets_commands_and_queues() {
    let mut host = Host::ready(ModelConfig {
        read_latency_us: 100,
        ..config()
    });
    let read = host.with_pages(io(IoOpcode::READ, 1, 0, 1), DATA);
    (0..5).for_each(|_| host.submit_one(1, read));
    host.submit(0, admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST));
    host.step();
    assert_eq!(
        host.device.outstanding(),
        5,
        "the event request waits for nothing"
    );
    host.write(offset::CC, 0);
    host.step();
    assert!(!host.status().ready());
    assert_eq!(host.device.outstanding(), 0);
    host.now_us = 1000;
    host.enable();
    assert!(host.peek(0).is_empty(), "nothing comes out of the past");
    // The queue is gone with the reset.
    host.write(submission_doorbell(1, 0), 1);
    host.step();
    assert_eq!(host.device.outstanding(), 0);
    host.create_pair(1, 16);
    host.run(1, read);
}

#[test]
fn enable_that_fell_and_rose_between_two_steps_is_a_reset() {
    let mut host = Host::ready(config());
    host.write(offset::CC, 0);
    host.enable();
    assert!(host.status().ready());
    host.create_pair(1, 16); // it would exist already without the reset
}

#[test]
fn ready_can_be_stuck() {
    let mut host = Host::ready(config());
    host.device.faults_mut().stuck_ready = true;
    host.write(offset::CC, 0);
    host.step();
    assert!(host.status().ready());
    host.device.faults_mut().clear();
    host.step();
    assert!(!host.status().ready());
    host.device.faults_mut().stuck_ready = true;
    host.enable();
    assert!(!host.status().ready());
}

#[test]
fn shutdown_waits_for_commands_and_counts_as_safe() {
    let mut host = Host::ready(ModelConfig {
        write_latency_us: 100,
        ..config()
    });
    host.set_data(DATA, &[3; 512]);
    let write = host.with_pages(io(IoOpcode::WRITE, 1, 0, 1), DATA);
    host.submit(1, write);
    host.step();
    let shutdown = Host::enabled().with_shutdown(Configuration::SHUTDOWN_NORMAL);
    host.write(offset::CC, shutdown.into_bits());
    host.step();
    assert_eq!(
        host.status().shutdown(),
        ControllerStatus::SHUTDOWN_OCCURRING
    );
    host.now_us = 100;
    host.step();
    host.step();
    assert_eq!(
        host.status().shutdown(),
        ControllerStatus::SHUTDOWN_COMPLETE
    );
    host.device.power_cut(1, 200);
    assert_eq!(host.status().into_bits(), 0);
    host.now_us = 200;
    host.enable();
    host.create_pair(1, 16);
    let log = smart(&mut host);
    assert_eq!((log.power_cycles.get(), log.unsafe_shutdowns.get()), (2, 0));
    assert_eq!(host.read_blocks(1, 0, 1, 512), vec![3; 512]);
}

#[test]
fn a_reset_after_shutdown_makes_it_usable_again() {
    let mut host = Host::ready(config());
    let shutdown = Host::enabled().with_shutdown(Configuration::SHUTDOWN_ABRUPT);
    host.write(offset::CC, shutdown.into_bits());
    host.step();
    assert_eq!(
        host.status().shutdown(),
        ControllerStatus::SHUTDOWN_COMPLETE
    );
    host.write(offset::CC, 0);
    host.step();
    assert_eq!(host.status().into_bits(), 0);
    host.enable();
    host.create_pair(1, 16);
}

#[test]
fn a_disabled_controller_can_be_shut_down_and_enabled() {
    let complete = |host: &Host| {
        let status = host.status();
        !status.ready() && status.shutdown() == ControllerStatus::SHUTDOWN_COMPLETE
    };
    let shutdown = Configuration::new().with_shutdown(Configuration::SHUTDOWN_NORMAL);
    // Never enabled; and disabled by the very write that shuts it down.
    for enabled_before in [false, true] {
        let mut host = Host::new(config());
        if enabled_before {
            host.enable();
        }
        host.write(offset::CC, shutdown.into_bits());
        host.step();
        assert!(complete(&host), "enabled before: {enabled_before}");
        host.enable();
        assert_eq!(
            host.status(),
            ControllerStatus::new().with_ready(true),
            "enabled before: {enabled_before}"
        );
        host.create_pair(1, 16);
    }
}

#[test]
fn a_controller_shut_down_while_enabled_needs_a_reset() {
    let mut host = Host::ready(config());
    let shutdown = Host::enabled().with_shutdown(Configuration::SHUTDOWN_NORMAL);
    host.write(offset::CC, shutdown.into_bits());
    host.step();
    host.write(offset::CC, Host::enabled().into_bits());
    host.step();
    assert_eq!(
        host.status().shutdown(),
        ControllerStatus::SHUTDOWN_COMPLETE
    );
}

#[test]
fn registers_keep_what_can_be_written_and_lose_the_mask_in_a_reset() {
    let mut host = Host::new(config());
    let registers = host.device.registers();
    let capabilities = Capabilities::from_bits(registers.read64(offset::CAP));
    assert_eq!(capabilities.ready_modes(), 0b01, "as revision 2.0 demands");
    let timeouts = ReadyTimeouts::from_bits(registers.read32(offset::CRTO));
    assert_eq!(
        timeouts.media_ready_500ms(),
        capabilities.timeout_500ms().into()
    );
    assert_eq!(timeouts.media_independent_500ms(), 0);
    registers.write32(offset::AQA, u32::MAX);
    assert_eq!(registers.read32(offset::AQA), 0x0fff_0fff);
    registers.write32(offset::CC, 0xff00_000e);
    assert_eq!(registers.read32(offset::CC), 0);
    host.enable();
    let registers = host.device.registers();
    registers.write32(offset::INTMS, 0b101);
    registers.write32(offset::INTMC, 0b001);
    assert_eq!(registers.read32(offset::INTMS), 0b100);
    let queues = [offset::AQA, offset::ASQ, offset::ACQ].map(|at| registers.read32(at));
    host.write(offset::CC, 0);
    host.step();
    let registers = host.device.registers();
    assert_eq!(registers.read32(offset::INTMC), 0);
    let after = [offset::AQA, offset::ASQ, offset::ACQ].map(|at| registers.read32(at));
    assert_eq!(after, queues, "a controller reset leaves them");
}

#[test]
fn a_power_cut_resets_registers_and_counts() {
    let mut host = Host::ready(config());
    host.device.power_cut(9, 0);
    let registers = host.device.registers();
    for at in [
        offset::CC,
        offset::CSTS,
        offset::AQA,
        offset::ASQ,
        offset::ACQ,
    ] {
        assert_eq!(registers.read32(at), 0, "{at:#x}");
    }
    assert_ne!(registers.read64(offset::CAP), 0);
    host.enable();
    let log = smart(&mut host);
    assert_eq!((log.power_cycles.get(), log.unsafe_shutdowns.get()), (2, 1));
}

#[test]
fn a_device_that_is_gone_reads_as_ones() {
    let mut host = Host::ready(config());
    host.device.faults_mut().gone = true;
    host.step();
    let registers = host.device.registers();
    assert_eq!(registers.read32(offset::CSTS), u32::MAX);
    assert_eq!(registers.read64(offset::CAP), u64::MAX);
    let read = host.with_pages(io(IoOpcode::READ, 1, 0, 1), DATA);
    host.submit(1, read);
    host.step();
    assert!(host.completions(1).is_empty());
    host.device.faults_mut().gone = false;
    host.step();
    assert_eq!(host.status().into_bits(), 0, "it lost power meanwhile");
    host.enable();
    assert_eq!(smart(&mut host).power_cycles.get(), 2);
}

fn cached() -> Host {
    let store = CachedStore::new(MemoryStore::new(512 * 64), 512);
    let mut config = config();
    config.namespaces = vec![NamespaceConfig::new(store, 512)];
    Host::ready(config)
}

fn survivors(host: &mut Host, seed: u64) -> Vec<u8> {
    host.device.power_cut(seed, host.now_us);
    host.enable();
    host.create_pair(1, 16);
    host.read_blocks(1, 0, 16, 512)
        .chunks(512)
        .map(|block| block[0])
        .collect()
}

#[test]
fn what_was_flushed_survives_and_some_of_the_rest_does_not() {
    let mut lost = 0;
    let mut kept = 0;
    for seed in 0..20 {
        let mut host = cached();
        host.write_blocks(1, 0, &[1; 8 * 512], 512);
        assert_eq!(
            host.code(1, io(IoOpcode::FLUSH, 1, 0, 1)),
            StatusCode::SUCCESS
        );
        host.write_blocks(1, 8, &[2; 8 * 512], 512);
        let blocks = survivors(&mut host, seed);
        assert_eq!(blocks[..8], [1; 8]);
        lost += blocks[8..].iter().filter(|&&byte| byte == 0).count();
        kept += blocks[8..].iter().filter(|&&byte| byte == 2).count();
    }
    assert_eq!(lost + kept, 160);
    assert!(lost > 30 && kept > 30, "lost {lost}, kept {kept}");
}

#[test]
fn force_unit_access_and_a_cache_turned_off_need_no_flush() {
    for (force, cache_off) in [(true, false), (false, true)] {
        for seed in 0..10 {
            let mut host = cached();
            if cache_off {
                let off = SubmissionEntry {
                    cdw10: 6.into(),
                    ..admin(AdminOpcode::SET_FEATURES)
                };
                assert_eq!(host.code(0, off), StatusCode::SUCCESS);
            }
            host.set_data(DATA, &[4; 16 * 512]);
            let flags = ReadWriteFlags::new()
                .with_blocks_0(15)
                .with_force_unit_access(force);
            let entry = SubmissionEntry {
                cdw12: flags.into_bits().into(),
                ..host.with_pages(io(IoOpcode::WRITE, 1, 0, 16), DATA)
            };
            assert_eq!(host.code(1, entry), StatusCode::SUCCESS);
            assert_eq!(survivors(&mut host, seed), [4; 16]);
        }
    }
}

#[test]
fn force_unit_access_on_a_read_commits_what_it_reads() {
    for opcode in [IoOpcode::READ, IoOpcode::COMPARE] {
        for seed in 0..10 {
            let mut host = cached();
            host.write_blocks(1, 0, &[7; 16 * 512], 512);
            let flags = ReadWriteFlags::new()
                .with_blocks_0(15)
                .with_force_unit_access(true);
            let entry = SubmissionEntry {
                cdw12: flags.into_bits().into(),
                ..host.with_pages(io(opcode, 1, 0, 16), DATA)
            };
            assert_eq!(host.code(1, entry), StatusCode::SUCCESS);
            assert_eq!(survivors(&mut host, seed), [7; 16], "{opcode}");
        }
    }
}

#[test]
fn a_shutdown_flushes() {
    for seed in 0..10 {
        let mut host = cached();
        host.write_blocks(1, 0, &[6; 16 * 512], 512);
        let shutdown = Host::enabled().with_shutdown(Configuration::SHUTDOWN_NORMAL);
        host.write(offset::CC, shutdown.into_bits());
        host.step();
        assert_eq!(
            host.status().shutdown(),
            ControllerStatus::SHUTDOWN_COMPLETE
        );
        assert_eq!(survivors(&mut host, seed), [6; 16]);
    }
}

#[test]
fn a_write_under_way_at_a_power_cut_lands_or_does_not() {
    let mut landed = 0;
    for seed in 0..40 {
        let mut host = Host::ready(ModelConfig {
            write_latency_us: 100,
            ..config()
        });
        host.set_data(DATA, &[5; 512]);
        let write = host.with_pages(io(IoOpcode::WRITE, 1, 2, 1), DATA);
        host.submit_one(1, write);
        host.step();
        host.device.power_cut(seed, 50);
        assert_eq!(host.device.outstanding(), 0);
        host.now_us = 50;
        host.enable();
        host.create_pair(1, 16);
        host.now_us = 1000;
        host.step();
        assert!(host.peek(1).is_empty(), "its completion never comes");
        let block = host.read_blocks(1, 2, 1, 512);
        assert!(block == [5; 512] || block == [0; 512]);
        landed += usize::from(block[0] == 5);
    }
    assert!((5..35).contains(&landed), "{landed} of 40 landed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A driver that writes anything to any register, over rings of anything, stops nothing: after a
    /// power cut the drive works.
    #[test]
    fn any_register_writes_are_survived(
        writes in prop::collection::vec((0u8..12, any::<u32>(), any::<u16>()), 1..200),
        rings in any::<u64>(),
        coherent in any::<bool>(),
    ) {
        let mut host = Host::ready(ModelConfig { coherent, read_latency_us: 3, jitter_us: 5, ..config() });
        // Rings full of a repeated pattern: entries with plausible opcodes now and then.
        let bytes: Vec<u8> = (0..4096u64).map(|at| {
            (rings.rotate_left((at % 61) as u32) >> (at % 7)) as u8 & if at % 64 == 0 { 0xf } else { 0xff }
        }).collect();
        for page in 0..8 {
            host.fill_ring_page(page, &bytes);
        }
        for (what, value, small) in writes {
            let doorbell = offset::DOORBELLS + u32::from(small % 10) * 4;
            let (at, value) = match what {
                0 => (u32::from(small) & !3, value),
                1 => (offset::CC, value),
                2 => (offset::CC, Host::enabled().with_shutdown((value & 3) as u8).into_bits()),
                3 => (offset::CC, Host::enabled().into_bits()),
                4 => (offset::AQA, value),
                5 => (offset::ASQ, host.address(u32::from(small) % 1024) as u32),
                6 => (offset::ACQ, host.address(u32::from(small) % 1024) as u32),
                7 => (value, value),
                _ => (doorbell, value % 20),
            };
            host.write(at, value);
            host.now_us += u64::from(small % 4);
            host.step();
        }
        host.device.power_cut(rings, host.now_us);
        host.enable();
        host.create_pair(1, 16);
        host.read_blocks(1, 0, 4, 512);
    }
}
