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
    /// Whose client sent all it will.
    ending: Vec<bool>,
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
            ending: vec![false; connections],
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
                NetEvent::HalfClosed(id) => {
                    self.ending[id.index()] = true;
                    if self.serving {
                        self.echo(id);
                    }
                }
                NetEvent::Closed(id) => {
                    self.owed[id.index()].clear();
                    self.ending[id.index()] = false;
                }
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
                break;
            }
            self.server.consume(id, owed.len());
        }
        if self.ending[id.index()] {
            self.server.close(id);
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

/// Closes a client's connection, reads what comes, and waits until both ends forgot it.
fn close(world: &mut World, id: ConnectionId) {
    world.client.close(id);
    world.until("closing", |world| {
        let bytes = world.client.unread(id);
        world.client.consume(id, bytes);
        world.client_events().contains(&NetEvent::Closed(id))
    });
}

#[test]
fn closes_in_order_from_the_client() {
    let mut world = World::new(2, WireConfig::default());
    let id = opened(&mut world, 1)[0];
    world.client.send(id, b"last words");
    world.client.close(id);
    assert_eq!(world.client.send(id, b"too late"), 0);
    let mut events = Vec::new();
    world.until("half closing", |world| {
        events.extend(world.client_events());
        events.contains(&NetEvent::HalfClosed(id))
    });
    world.advance();
    // The echo is still to be read, and so the connection is not gone.
    assert!(!events.contains(&NetEvent::Closed(id)) && world.client_events().is_empty());
    assert_eq!(world.client.received(id), b"last words");
    world.client.consume(id, 4);
    assert!(world.client_events().is_empty());
    world.client.consume(id, 6);
    assert_eq!(world.client_events(), [NetEvent::Closed(id)]);
    assert_eq!(world.client.received(id), b"");
    let kinds: Vec<_> = world
        .server_events
        .iter()
        .map(std::mem::discriminant)
        .collect();
    let server = match world.server_events[0] {
        NetEvent::Opened(id) => id,
        event => panic!("{event:?}"),
    };
    let expected = [
        NetEvent::Opened(server),
        NetEvent::Readable(server),
        NetEvent::HalfClosed(server),
        NetEvent::Closed(server),
    ];
    assert_eq!(
        kinds,
        expected
            .iter()
            .map(std::mem::discriminant)
            .collect::<Vec<_>>()
    );
}

#[test]
fn what_the_server_sent_before_closing_can_be_read() {
    let mut world = World::new(1, WireConfig::default());
    let id = opened(&mut world, 1)[0];
    let NetEvent::Opened(server) = world.server_events[0] else {
        panic!("opened")
    };
    world.server.send(server, &[5; 3000]);
    world.server.close(server);
    world.until("the end", |world| {
        world.client_events().contains(&NetEvent::HalfClosed(id))
    });
    // Closing with bytes unread: the connection lasts until they are read.
    world.client.close(id);
    for _ in 0..5 {
        world.advance();
    }
    assert!(!world.client_events().contains(&NetEvent::Closed(id)));
    assert_eq!(world.client.received(id), [5; 3000]);
    world.client.consume(id, 3000);
    assert!(world.client_events().contains(&NetEvent::Closed(id)));
}

#[test]
fn resets_reach_the_other_end() {
    let mut world = World::new(2, WireConfig::default());
    let ids = opened(&mut world, 2);
    world.client.abort(ids[0]);
    assert_eq!(world.client_events(), [NetEvent::Closed(ids[0])]);
    world.until("server hears of it", |world| {
        world
            .server_events
            .iter()
            .any(|event| matches!(event, NetEvent::Closed(_)))
    });
    let Some(&NetEvent::Opened(server)) = world.server_events.get(1) else {
        panic!("opened")
    };
    world.server.abort(server);
    world.until("client hears of it", |world| {
        world.client_events() == [NetEvent::Closed(ids[1])]
    });
    assert_eq!(world.client.connections_free(), 2);
    assert_eq!(world.server.connections_free(), 2);
}

#[test]
fn nobody_listening_is_told_at_once() {
    let mut world = World::new(1, WireConfig::default());
    let id = world
        .client
        .connect(0, (SERVER, PORT + 1))
        .expect("a connection");
    let begin_us = world.now_us;
    world.until("refusal", |world| {
        world.client_events() == [NetEvent::Closed(id)]
    });
    assert!(world.now_us < begin_us + 1000);
    assert!(
        world
            .client
            .connect(0, (Ipv4Address::UNSPECIFIED, PORT))
            .is_none()
    );
    assert!(world.client.connect(0, (SERVER, 0)).is_none());
    assert_eq!(world.client.connections_free(), 1);
}

#[test]
fn a_slow_reader_stops_its_sender_and_nobody_else() {
    let mut world = World::new(2, WireConfig::default());
    let ids = opened(&mut world, 2);
    world.serving = false;
    let mut sent = 0;
    for _ in 0..200 {
        sent += world.client.send(ids[0], &[7; 1000]);
        world.step();
    }
    // Both buffers full, and not a byte more.
    assert_eq!(sent, 16 << 10);
    assert_eq!(world.client.send_free(ids[0]), 0);
    world.serving = true;
    let NetEvent::Opened(slow) = world.server_events[0] else {
        panic!("opened")
    };
    echo_all(&mut world, &ids[1..], 50_000);
    // The server said nothing of it, and reads now.
    let mut read = 0;
    let mut writable = false;
    world.serving = false;
    world.until("the rest", |world| {
        let bytes = world.server.unread(slow);
        world.server.consume(slow, bytes);
        read += bytes;
        writable |= world.client_events().contains(&NetEvent::Writable(ids[0]));
        read == sent && writable
    });
}

#[test]
fn ten_thousand_connections_leave_nothing_behind() {
    let mut world = World::new(4, WireConfig::default());
    let mut seen = std::collections::HashSet::new();
    for round in 0..10_000 {
        let id = world.connect();
        assert!(seen.insert(id), "an id came back");
        match round % 7 {
            // Given up before anybody answered.
            0 => {}
            1 => echo_opened(&mut world, id),
            _ => world.until("opening", |world| {
                world.client_events().contains(&NetEvent::Opened(id))
            }),
        }
        match round % 5 {
            0 => world.client.abort(id),
            _ => close(&mut world, id),
        }
        world.advance();
        world.client_events();
        assert_eq!(world.client.connections_free(), 4, "round {round}");
    }
    // Whatever lingers ends by itself.
    let end_us = world.now_us + 15_000_000;
    while world.now_us < end_us {
        world.advance();
        if world.client.wake_at(world.now_us).is_none() {
            break;
        }
    }
    assert_eq!(world.server.connections_free(), 4);
    let counters = world.server.counters();
    assert!(
        (8_500..8_600).contains(&counters.connections_accepted),
        "{counters:?}"
    );
}

fn echo_opened(world: &mut World, id: ConnectionId) {
    world.until("opening", |world| {
        world.client_events().contains(&NetEvent::Opened(id))
    });
    world.client.send(id, b"hello");
    world.until("an echo", |world| world.client.received(id) == b"hello");
    world.client.consume(id, 5);
}

#[test]
fn loss_and_disorder_change_nothing_but_time() {
    for seed in 0..6 {
        let wire_config = WireConfig {
            loss_ppm: 30_000,
            reorder_ppm: 50_000,
            delay_us: 200,
            slots: 32,
            seed,
            ..WireConfig::default()
        };
        let mut world = World::new(3, wire_config);
        let ids = opened(&mut world, 3);
        echo_all(&mut world, &ids, 100_000);
        for id in ids {
            close(&mut world, id);
        }
        assert!(world.client.device().lost() + world.server.device().lost() > 0);
    }
}

#[test]
fn checksums_find_damage() {
    let wire_config = WireConfig {
        damage_ppm: 50_000,
        seed: 9,
        ..WireConfig::default()
    };
    let mut world = World::with(2, wire_config, |config| NetConfig {
        checksums: true,
        ..config
    });
    let ids = opened(&mut world, 2);
    echo_all(&mut world, &ids, 200_000);
}

#[test]
fn a_delay_is_a_delay() {
    let mut world = World::new(
        1,
        WireConfig {
            delay_us: 500,
            ..WireConfig::default()
        },
    );
    let begin_us = world.now_us;
    opened(&mut world, 1);
    let took_us = world.now_us - begin_us;
    assert!(
        (1000..1100).contains(&took_us),
        "a handshake of one round trip took {took_us} us"
    );
}

#[test]
fn a_syn_without_a_slot_is_dropped_and_tried_again() {
    let (client_end, server_end) = wire(WireConfig::default());
    let mut world = World::new(2, WireConfig::default());
    world.client = Net::new(client_end, config(CLIENT, 2));
    world.server = Net::new(server_end, config(SERVER, 1));
    let first = world.connect();
    world.until("first", |world| {
        world.client_events() == [NetEvent::Opened(first)]
    });
    let second = world.connect();
    for _ in 0..3 {
        world.advance();
    }
    assert!(
        world.client_events().is_empty(),
        "neither opened nor refused"
    );
    assert!(world.server.counters().opens_dropped > 0);
    close(&mut world, first);
    world.until("second", |world| {
        world.client_events() == [NetEvent::Opened(second)]
    });
}

#[test]
fn a_silent_peer_is_given_up() {
    let mut world = World::new(1, WireConfig::default());
    let id = opened(&mut world, 1)[0];
    let begin_us = world.now_us;
    // The client is alone from here on: keep-alives find nobody.
    let mut closed_us = None;
    while closed_us.is_none() && world.now_us < begin_us + 60_000_000 {
        let now_us = world.now_us;
        world.client.poll(now_us);
        if world.client_events() == [NetEvent::Closed(id)] {
            closed_us = Some(now_us);
        }
        let wake_us = world.client.wake_at(now_us).unwrap_or(now_us);
        world.now_us = wake_us.max(now_us + 1000);
    }
    let after_us = closed_us.expect("given up") - begin_us;
    assert!(
        (29_000_000..32_000_000).contains(&after_us),
        "after {after_us} us"
    );
}

#[test]
fn an_idle_connection_lives_on_keep_alives() {
    let mut world = World::new(1, WireConfig::default());
    let ids = opened(&mut world, 1);
    let begin = (world.now_us, world.client.counters().packets_sent);
    let mut turns = 0;
    while world.now_us < begin.0 + 300_000_000 {
        world.advance();
        turns += 1;
    }
    assert!(world.client_events().is_empty());
    let packets = world.client.counters().packets_sent - begin.1;
    assert!(
        (30..=120).contains(&packets),
        "{packets} packets in five minutes"
    );
    assert!(turns < 2_000, "{turns} wakes in five minutes of nothing");
    echo_all(&mut world, &ids, 1000);
}

#[test]
fn ids_out_of_date_do_nothing() {
    let mut world = World::new(1, WireConfig::default());
    let old = opened(&mut world, 1)[0];
    close(&mut world, old);
    let id = opened(&mut world, 1)[0];
    assert_eq!((id.index(), id == old), (old.index(), false));
    world.client.abort(old);
    world.client.close(old);
    world.client.consume(old, 1);
    assert_eq!(
        world.client.send(old, b"x") + world.client.send_free(old),
        0
    );
    assert_eq!(world.client.remote(old), None);
    assert_eq!(world.client.remote(id), Some((SERVER, PORT)));
    echo_all(&mut world, &[id], 5000);
}
