//! Two stacks over the in-process wire.

use dpu_firmware::net::{Addresses, ConnectionId, Ipv4Address, Net, NetConfig, NetEvent};
use host_sim::wire::{WireConfig, WireEnd, wire};

const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const CLIENT: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
const PORT: u16 = 4420;

fn config(own: Ipv4Address, connections_max: usize) -> NetConfig {
    NetConfig {
        addresses: Addresses::new(own, 24),
        connections_max,
        receive_bytes: 8 << 10,
        send_bytes: 8 << 10,
        listen_port: (own == SERVER).then_some(PORT),
        checksums: false,
        seed: 42 + u64::from(own.to_bits()),
    }
}

/// A client and an echo server, and the time they live in.
struct World {
    client: Net<WireEnd>,
    server: Net<WireEnd>,
    now_us: u64,
    /// Whether the server answers, or leaves everything unread.
    serving: bool,
    server_events: Vec<NetEvent>,
    /// What the server could not send yet.
    owed: Vec<Vec<u8>>,
}

impl World {
    fn new(connections: usize, wire_config: WireConfig) -> Self {
        Self::with(connections, wire_config, |config| config)
    }

    fn with(
        connections: usize,
        wire_config: WireConfig,
        change: impl Fn(NetConfig) -> NetConfig,
    ) -> Self {
        let (client_end, server_end) = wire(wire_config);
        Self {
            client: Net::new(client_end, change(config(CLIENT, connections))),
            server: Net::new(server_end, change(config(SERVER, connections))),
            now_us: 1_000_000,
            serving: true,
            server_events: Vec::new(),
            owed: vec![Vec::new(); connections],
        }
    }

    fn connect(&mut self) -> ConnectionId {
        self.client
            .connect(self.now_us, (SERVER, PORT))
            .expect("a free connection")
    }

    /// Both stacks and the echo server, once. Says whether anything moved.
    fn step(&mut self) -> bool {
        let moved = self.client.poll(self.now_us) | self.server.poll(self.now_us);
        while let Some(event) = self.server.next_event() {
            self.server_events.push(event);
            match event {
                NetEvent::Readable(id) | NetEvent::Writable(id) if self.serving => self.echo(id),
                NetEvent::HalfClosed(id) if self.serving => {
                    self.echo(id);
                    if self.owed[id.index()].is_empty() {
                        self.server.close(id);
                    }
                }
                NetEvent::Closed(id) => self.owed[id.index()].clear(),
                _ => {}
            }
        }
        moved
    }

    fn echo(&mut self, id: ConnectionId) {
        let owed = &mut self.owed[id.index()];
        loop {
            let sent = self.server.send(id, owed);
            owed.drain(..sent);
            if !owed.is_empty() {
                return;
            }
            owed.extend_from_slice(self.server.received(id));
            if owed.is_empty() {
                return;
            }
            self.server.consume(id, owed.len());
        }
    }

    /// Steps until nothing moves, then goes to the next time at which something will.
    fn advance(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                break;
            }
        }
        let wakes = [
            self.client.wake_at(self.now_us),
            self.server.wake_at(self.now_us),
        ];
        let next_us = wakes.into_iter().flatten().min().unwrap_or(self.now_us);
        self.now_us = self.now_us.max(next_us) + 1;
    }

    /// Advances until `done`, within a minute of the world's time.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let end_us = self.now_us + 60_000_000;
        while !done(self) {
            assert!(self.now_us < end_us, "{what}: not within a minute");
            self.advance();
        }
    }

    fn client_events(&mut self) -> Vec<NetEvent> {
        std::iter::from_fn(|| self.client.next_event()).collect()
    }
}

/// Sends `total` bytes on each connection and expects them back.
fn echo_all(world: &mut World, ids: &[ConnectionId], total: usize) {
    let byte = |connection: usize, at: usize| (connection * 31 + at * 7 + at / 251) as u8;
    let mut sent = vec![0; ids.len()];
    let mut got = vec![0; ids.len()];
    world.until("echo", |world| {
        while world.client.next_event().is_some() {}
        for (connection, &id) in ids.iter().enumerate() {
            let piece: Vec<u8> = (sent[connection]..total.min(sent[connection] + 3000))
                .map(|at| byte(connection, at))
                .collect();
            sent[connection] += world.client.send(id, &piece);
            let received = world.client.received(id);
            for (offset, &value) in received.iter().enumerate() {
                assert_eq!(
                    value,
                    byte(connection, got[connection] + offset),
                    "of {connection}"
                );
            }
            let bytes = received.len();
            got[connection] += bytes;
            world.client.consume(id, bytes);
        }
        got.iter().all(|&got| got == total)
    });
}

fn opened(world: &mut World, count: usize) -> Vec<ConnectionId> {
    let ids: Vec<_> = (0..count).map(|_| world.connect()).collect();
    let mut open = 0;
    world.until("opening", |world| {
        for event in world.client_events() {
            assert!(matches!(event, NetEvent::Opened(_)), "{event:?}");
            open += 1;
        }
        open == count
    });
    ids
}

#[test]
fn echoes_on_one_connection() {
    let mut world = World::new(1, WireConfig::default());
    let ids = opened(&mut world, 1);
    echo_all(&mut world, &ids, 1 << 20);
}

#[test]
fn echoes_on_many_connections() {
    for count in [100, 1000] {
        let mut world = World::new(
            count,
            WireConfig {
                slots: 4,
                ..WireConfig::default()
            },
        );
        let ids = opened(&mut world, count);
        echo_all(&mut world, &ids, 20_000);
        assert_eq!(world.client.connect(world.now_us, (SERVER, PORT)), None);
    }
}
