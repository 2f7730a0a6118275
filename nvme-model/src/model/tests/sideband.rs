//! PERST#, heat, and what is told on the management bus.

use crate::model::{Fault, ModelConfig, Thermal, When};
use crate::seam::{Device, Registers};
use crate::spec::*;

use std::vec::Vec;

use super::host::*;

fn pulse(host: &mut Host) {
    let sideband = host.device.sideband();
    sideband.set_perst(true);
    host.step();
    assert_eq!(host.device.registers().read32(offset::CSTS), u32::MAX);
    assert!(!sideband.status().link);
    sideband.set_perst(false);
    host.step();
}

#[test]
fn perst_forgets_registers_and_queues_and_keeps_the_media() {
    let mut host = Host::ready(config());
    host.write_blocks(1, 5, &[7; 512], 512);
    pulse(&mut host);
    assert_eq!(host.device.registers().read32(offset::CC), 0);
    assert_eq!(host.device.registers().read64(offset::ASQ), 0);
    assert!(!host.status().ready());
    host.enable();
    host.create_pair(1, 16); // it would exist already without the reset
    assert_eq!(host.read_blocks(1, 5, 1, 512), [7; 512]);
}

#[test]
fn perst_forgets_commands_in_flight() {
    let mut host = Host::ready(ModelConfig {
        read_latency_us: 1_000,
        ..config()
    });
    let read = host.with_pages(io(IoOpcode::READ, 1, 0, 1), DATA);
    host.submit(1, read);
    host.step();
    assert_eq!(host.device.outstanding(), 1);
    pulse(&mut host);
    assert_eq!(host.device.outstanding(), 0);
    assert!(host.device.is_consistent());
    host.now_us += 10_000;
    host.step();
}

#[test]
fn perst_ends_what_is_stuck_unless_it_is_beyond_that() {
    for beyond_reset in [false, true] {
        let mut host = Host::ready(config());
        let faults = host.device.faults_mut();
        faults.stuck_ready = true;
        faults.beyond_reset = beyond_reset;
        host.step();
        assert!(!host.device.sideband().status().no_reset_needed);
        pulse(&mut host);
        assert!(!host.status().ready());
        host.enable();
        assert_eq!(host.status().ready(), !beyond_reset);
        assert_eq!(host.device.sideband().status().functional, !beyond_reset);
    }
}

#[test]
fn perst_brings_a_device_back_that_had_left_the_bus() {
    let mut host = Host::ready(config());
    host.device
        .faults_mut()
        .add(crate::model::Commands::Io, When::Nth(1), Fault::Gone);
    let read = host.with_pages(io(IoOpcode::READ, 1, 0, 1), DATA);
    host.submit(1, read);
    host.step();
    host.step();
    assert_eq!(host.device.registers().read32(offset::CSTS), u32::MAX);
    // It answers on the bus all the same.
    assert_eq!(host.device.sideband().status().temperature_kelvin, 313);
    pulse(&mut host);
    host.enable();
    assert!(host.status().ready());
}

#[test]
fn load_heats_until_the_warning_and_rest_cools() {
    let thermal = Thermal {
        command_microkelvin: 200_000,
        ..Thermal::default()
    };
    let mut host = Host::ready(ModelConfig {
        thermal: Some(thermal),
        ..config()
    });
    let sideband = host.device.sideband();
    let request = host.submit(0, admin(AdminOpcode::ASYNCHRONOUS_EVENT_REQUEST));
    let events = SubmissionEntry {
        cdw10: 0xb.into(),
        cdw11: 0b10.into(),
        ..admin(AdminOpcode::SET_FEATURES)
    };
    host.submit(0, events);
    host.step();
    host.completions(0);
    let mut told = Vec::new();
    for _ in 0..400 {
        let read = host.with_pages(io(IoOpcode::READ, 1, 0, 1), DATA);
        host.run(1, read);
        host.now_us += 10_000;
        host.step();
        told.extend(host.completions(0));
    }
    assert_eq!(told.len(), 1, "once, when it crosses the threshold");
    assert_eq!(told[0].command_id.get(), request);
    let hot = sideband.status();
    assert_eq!(hot.warnings, SmartLog::WARNING_TEMPERATURE);
    assert!(hot.temperature_kelvin >= 343);
    host.device.faults_mut().gone = true;
    host.now_us += 60_000_000;
    host.step();
    let cool = sideband.status();
    assert_eq!(cool.warnings, 0);
    assert!(cool.temperature_kelvin < 330);
}
