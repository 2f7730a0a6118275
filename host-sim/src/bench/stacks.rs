//! Our own stack in the race with [`rivals`](super::rivals).

use std::time::{Duration, Instant};

use dpu_firmware::net::{Addresses, ConnectionId, Ipv4Address, Net, NetConfig, NetEvent};

use super::{REPLY_BYTES, REQUEST_BYTES};
use crate::wire::{WireConfig, WireEnd, wire};

/// Receive and send buffer of every connection in these benches.
pub const BUFFER_BYTES: usize = 128 << 10;

const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const CLIENT: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
const PORT: u16 = 4420;

/// Requests per second between two [`Net`]s on one thread over the in-process wire: `depth`
/// requests in flight on one connection, beside `idle` established connections.
///
/// # Panics
///
/// If the connections do not come about.
pub fn sharded_net(depth: usize, idle: usize, time: Duration) -> f64 {
    let mut race = Race::new(depth, idle);
    race.run(time / 10);
    race.run(time)
}

struct Race {
    client: Net<WireEnd>,
    server: Net<WireEnd>,
    started: Instant,
    connection: ConnectionId,
    depth: usize,
    /// Requests under way.
    asked: usize,
    /// Reply bytes that came for the oldest of them.
    partial: usize,
    /// Replies the server owes.
    owed: usize,
    answered: u64,
    request: [u8; REQUEST_BYTES],
    reply: Vec<u8>,
    page: Vec<u8>,
}

impl Race {
    fn new(depth: usize, idle: usize) -> Self {
        let (client_end, server_end) = wire(WireConfig::default());
        let net = |end, own| {
            let config = NetConfig {
                addresses: Addresses::new(own, 24),
                connections_max: idle + 1,
                receive_bytes: BUFFER_BYTES,
                send_bytes: BUFFER_BYTES,
                listen_port: (own == SERVER).then_some(PORT),
                checksums: false,
                seed: 1,
            };
            Net::new(end, config)
        };
        let (mut client, server) = (net(client_end, CLIENT), net(server_end, SERVER));
        let ids: Vec<_> = (0..=idle)
            .filter_map(|_| client.connect(0, (SERVER, PORT)))
            .collect();
        // One in the middle, so that neither end of any array is favoured.
        let connection = ids[idle / 2];
        let mut race = Self {
            client,
            server,
            started: Instant::now(),
            connection,
            depth,
            asked: 0,
            partial: 0,
            owed: 0,
            answered: 0,
            request: [7; REQUEST_BYTES],
            reply: vec![0; 64 << 10],
            page: vec![9; REPLY_BYTES],
        };
        let mut opened = 0;
        while opened < 2 * (idle + 1) {
            let now_us = race.now_us();
            race.client.poll(now_us);
            race.server.poll(now_us);
            let events = std::iter::from_fn(|| {
                race.client
                    .next_event()
                    .or_else(|| race.server.next_event())
            });
            opened += events
                .filter(|event| matches!(event, NetEvent::Opened(_)))
                .count();
            assert!(now_us < 30_000_000, "{opened} connections opened in 30 s");
        }
        race
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    fn run(&mut self, time: Duration) -> f64 {
        let (begin, before) = (Instant::now(), self.answered);
        let mut elapsed = Duration::ZERO;
        while elapsed < time {
            for _ in 0..64 {
                self.turn();
            }
            elapsed = begin.elapsed();
        }
        (self.answered - before) as f64 / elapsed.as_secs_f64()
    }

    fn turn(&mut self) {
        let now_us = self.now_us();
        self.client.receive(now_us);
        while self.client.next_event().is_some() {}
        self.read_replies();
        self.ask();
        self.client.flush(now_us);

        let now_us = self.now_us();
        self.server.receive(now_us);
        while let Some(event) = self.server.next_event() {
            if let NetEvent::Readable(id) | NetEvent::Writable(id) = event {
                self.serve(id);
            }
        }
        self.server.flush(now_us);
    }

    fn ask(&mut self) {
        while self.asked < self.depth
            && self.client.send_free(self.connection) >= REQUEST_BYTES
            && self.client.send(self.connection, &self.request) == REQUEST_BYTES
        {
            self.asked += 1;
        }
    }

    fn read_replies(&mut self) {
        loop {
            let bytes = self.client.read_into(self.connection, &mut self.reply);
            if bytes == 0 {
                return;
            }
            self.partial += bytes;
            let whole = self.partial / REPLY_BYTES;
            self.partial %= REPLY_BYTES;
            self.asked -= whole;
            self.answered += whole as u64;
        }
    }

    fn serve(&mut self, id: ConnectionId) {
        let mut requests = [0; 128 * REQUEST_BYTES];
        let whole = self.server.unread(id).min(requests.len()) / REQUEST_BYTES;
        let bytes = self
            .server
            .read_into(id, &mut requests[..whole * REQUEST_BYTES]);
        self.owed += bytes / REQUEST_BYTES;
        while self.owed > 0 && self.server.send_free(id) >= REPLY_BYTES {
            self.owed -= 1;
            self.server.send(id, &self.page);
        }
        if self.owed > 0 {
            // Asks for an event once there is space.
            self.server.send_when_free(id);
        }
    }
}
