//! The Outboard agent on bare metal: QEMU's aarch64 machine `virt`.
//!
//! ```text
//!  start ─▶ pages ─▶ entropy, drive (PCIe), network (virtio) ─▶ agent ─▶ heap closed ─▶ turns for ever
//! ```
//!
//! The agent is the one of the simulator, unchanged. This crate has its other ends: registers and
//! memory of the drive (`nvme`, `dma`), packets (`net`), time and sleep (`clock`), memory for machine
//! code (`code`), random numbers (`entropy`), and a way out for the log (`log`). All of the machine's
//! addresses are in `map`. One core runs, and takes no interrupt.
//!
//! A module that needs `unsafe` says so at its top, and what for.
#![no_std]
#![no_main]

extern crate alloc;

mod clock;
mod code;
mod console;
mod dma;
mod entropy;
mod exceptions;
#[cfg(feature = "exercise")]
mod exercise;
mod heap;
mod last_words;
mod log;
mod map;
mod net;
mod nvme;
mod options;
mod pages;
mod pools;
mod provoke;
mod single;
mod start;
mod virtio;

use core::fmt::Write;

use aarch64_rt::entry;
use alloc::boxed::Box;
use dpu_firmware::limits::{Limits, SMALL};
use dpu_firmware::net::{Addresses, Ipv4Address, Net, NetConfig};
use dpu_firmware::{Agent, AgentConfig, Turn};
use nvme_model::driver::DriverConfig;
use virtio_drivers::transport::DeviceType;

use clock::Sleeper;
use console::Console;
use net::Nic;
use nvme::Drive;
use options::Options;

/// How much of everything there is.
pub(crate) const LIMITS: Limits = SMALL;

/// Where QEMU's user networking expects a guest, and who its gateway is.
const ADDRESSES: Addresses = Addresses {
    own: Ipv4Address::new(10, 0, 2, 15),
    prefix_bits: 24,
    gateway: Some(Ipv4Address::new(10, 0, 2, 2)),
};

/// The port that the agent listens on.
const PORT: u16 = 7117;

/// The longest sleep, for an agent that asks for no time: the drive's events are looked at then.
const SLEEP_US_MAX: u64 = 1_000_000;

type BoardAgent = Agent<Drive, Nic>;

entry!(main, { map::STACK_PAGES });

fn main(_: u64, _: u64, _: u64, _: u64) -> ! {
    start::split_stacks();
    pages::enable();
    let options = Options::read();
    #[cfg(feature = "exercise")]
    if options.exercise {
        exercise::run();
    }
    let (mut agent, spi) = make_agent(&options);
    // The last of the constructors' memory: from here on the heap is closed.
    let use_of = heap::close();
    defmt::info!(
        "heap: {=usize} of {=usize} bytes in {=u32} allocations; closed",
        use_of.bytes,
        heap::HEAP_BYTES,
        use_of.allocations
    );
    let mut sleeper = Sleeper::new(spi);
    let mut listening = false;
    loop {
        let turn = agent.turn(clock::now_us());
        if !listening && agent.is_ready() {
            listening = true;
            say_listening(&agent);
            provoke::provoke(options.provoke);
        }
        match turn {
            Turn::Again => {}
            // What the drive has in hand ends any moment, and tells nobody.
            _ if agent.driver().in_flight() > 0 => {}
            Turn::At(us) => sleep(&agent, &mut sleeper, us),
            Turn::Idle => sleep(&agent, &mut sleeper, u64::MAX),
        }
    }
}

/// The agent with its devices, and the network's interrupt.
fn make_agent(options: &Options) -> (Box<BoardAgent>, u32) {
    let [seed, boot_nonce, map_secret, command_nonce, program_seed] = entropy::draw()
        .expect("no entropy: start QEMU with -device virtio-rng-device, or a -cpu that has RNDR; a virtio-rng must answer");
    let (drive, placed) = Drive::find().unwrap_or_else(|error| panic!("no drive: {error}"));
    defmt::info!(
        "drive {=u16:04x}:{=u16:04x} at PCI 00:{=u8:02x}.{=u8}, registers at {=u64:#x}",
        placed.vendor,
        placed.device,
        placed.function.device(),
        placed.function.function(),
        placed.registers
    );
    let found = virtio::find(DeviceType::Network)
        .expect("no network: start QEMU with -device virtio-net-device");
    let spi = found.spi();
    let nic = Nic::new(found.transport).expect("virtio-net does not start");
    let net = Net::new(
        nic,
        NetConfig {
            addresses: ADDRESSES,
            connections_max: LIMITS.connections,
            receive_bytes: LIMITS.receive_bytes,
            send_bytes: LIMITS.send_bytes,
            listen_port: Some(PORT),
            checksums: true,
            seed,
        },
    );
    let config = AgentConfig {
        limits: LIMITS,
        driver: DriverConfig {
            nonce: command_nonce,
            ..DriverConfig::default()
        },
        boot_nonce,
        seed: program_seed,
        map_secret,
        execution: options.execution,
        board: "qemu-virt",
    };
    let agent = Agent::new(drive, net, config).unwrap_or_else(|error| panic!("no agent: {error}"));
    (Box::new(agent), spi)
}

fn say_listening(agent: &BoardAgent) {
    let us = clock::now_us();
    let own = ADDRESSES.own;
    defmt::info!("listening on port {=u16}, {=u64} us after reset", PORT, us);
    let _ = writeln!(
        Console::new(),
        "outboard: listening on {own}:{PORT}, {us} us after reset; drive {:?}",
        agent.driver().state()
    );
}

/// Sleeps until then, unless the network has something.
fn sleep(agent: &BoardAgent, sleeper: &mut Sleeper, until_us: u64) {
    let nic = agent.net().device();
    // In this order, because what comes after the look raises the line again and so ends the sleep at once.
    nic.acknowledge();
    if !nic.has_news() {
        sleeper.sleep_until(until_us.min(clock::now_us() + SLEEP_US_MAX));
    }
}
