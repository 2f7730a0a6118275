//! Once made, a stack allocates nothing: not for packets, not for connections.
#![allow(unsafe_code)] // An allocator that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use dpu_firmware::net::{Addresses, Ipv4Address, Net, NetConfig, NetEvent};
use host_sim::wire::{WireConfig, wire};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as promised to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised to us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn config(own: Ipv4Address) -> NetConfig {
    NetConfig {
        addresses: Addresses::new(own, 24),
        connections_max: 20,
        receive_bytes: 64 << 10,
        send_bytes: 64 << 10,
        listen_port: Some(80),
        checksums: true,
        seed: 11,
    }
}

#[test]
fn connections_and_packets_allocate_nothing() {
    let server_address = Ipv4Address::new(10, 0, 0, 1);
    let trouble = WireConfig {
        loss_ppm: 20_000,
        reorder_ppm: 20_000,
        ..WireConfig::default()
    };
    let (client_end, server_end) = wire(trouble);
    let mut client = Net::new(client_end, config(Ipv4Address::new(10, 0, 0, 2)));
    let mut server = Net::new(server_end, config(server_address));
    let mut page = [3; 5000];
    let (mut opened, mut closed, mut bytes) = (0, 0, 0);
    let before = ALLOCATIONS.with(Cell::get);
    let mut now_us = 0;
    while closed < 200 {
        // One more than there are, so that one is always refused.
        while client.connect(now_us, (server_address, 80)).is_some() {}
        for _ in 0..50 {
            client.poll(now_us);
            server.poll(now_us);
            while let Some(event) = client.next_event() {
                match event {
                    NetEvent::Opened(id) => {
                        opened += 1;
                        client.send(id, &page);
                        client.close(id);
                    }
                    NetEvent::Readable(id) => bytes += client.read_into(id, &mut page),
                    NetEvent::Closed(_) => closed += 1,
                    NetEvent::Writable(_) | NetEvent::HalfClosed(_) => {}
                }
            }
            while let Some(event) = server.next_event() {
                match event {
                    NetEvent::Readable(id) => {
                        let taken = server.send(id, server_page());
                        assert!(taken > 0);
                        let unread = server.unread(id);
                        server.consume(id, unread);
                    }
                    NetEvent::HalfClosed(id) => server.close(id),
                    _ => {}
                }
            }
            now_us += 100;
        }
        now_us += 200_000;
        assert!(
            now_us < 3_600_000_000,
            "{opened} opened, {closed} closed in an hour"
        );
    }
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    assert!(
        opened >= 200 && bytes > 100_000,
        "{opened} opened, {bytes} bytes"
    );
    assert_eq!(allocations, 0);
    // And the counter counts.
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 1);
}

fn server_page() -> &'static [u8] {
    &[4; 3000]
}
