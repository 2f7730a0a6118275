//! The stack against peers that do not play by the rules, packet by packet.

mod common;

use common::{ACK, FIN, OWN, OWN_MAC, PEER, PORT, PSH, Peer, Queues, RST, SYN, Segment};
use common::{config, sent};
use dpu_firmware::net::{Addresses, ConnectionId, Medium, Net, NetConfig, NetEvent};
use proptest::prelude::*;

fn net(connections_max: usize) -> Net<Queues> {
    Net::new(Queues::new(Medium::Ip), config(connections_max))
}

fn events(net: &mut Net<Queues>) -> Vec<NetEvent> {
    std::iter::from_fn(|| net.next_event()).collect()
}

fn only_opened(net: &mut Net<Queues>) -> ConnectionId {
    match events(net)[..] {
        [NetEvent::Opened(id)] => id,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn serves_a_peer_that_plays_by_the_rules() {
    let mut net = net(2);
    let mut peer = Peer::new(5000);
    peer.open(&mut net, 0);
    let id = only_opened(&mut net);
    assert_eq!(net.remote(id), Some((PEER, 5000)));
    peer.send(&mut net, ACK | PSH, b"question");
    net.poll(1);
    assert_eq!(events(&mut net), [NetEvent::Readable(id)]);
    assert_eq!(net.received(id), b"question");
    net.consume(id, 8);
    assert_eq!(net.send(id, b"answer"), 6);
    assert_eq!(net.unsent(id), 6);
    net.poll(1);
    // One segment: the acknowledgement rides on the answer.
    let [answer] = &sent(&mut net)[..] else {
        panic!("one segment")
    };
    assert_eq!(
        (answer.flags, &answer.payload[..]),
        (ACK | PSH, &b"answer"[..])
    );
    assert_eq!(
        (answer.sequence, answer.acknowledges),
        (peer.acknowledges, peer.sequence)
    );
    peer.acknowledges += 6;
    peer.send(&mut net, ACK | FIN, b"");
    net.poll(1);
    assert_eq!(net.unsent(id), 0);
    assert_eq!(events(&mut net), [NetEvent::HalfClosed(id)]);
    net.close(id);
    net.poll(1);
    let [fin] = &sent(&mut net)[..] else {
        panic!("one segment")
    };
    assert_eq!(fin.flags, ACK | FIN);
    peer.acknowledges += 1;
    peer.send(&mut net, ACK, b"");
    net.poll(1);
    assert_eq!(events(&mut net), [NetEvent::Closed(id)]);
    assert_eq!(net.connections_free(), 2);
    net.poll(2);
    assert_eq!(net.wake_at(2), Some(1_000_000), "a bound set earlier");
    net.poll(1_000_000);
    assert_eq!(net.wake_at(1_000_000), None);
}

#[test]
fn sequence_numbers_cannot_be_guessed_from_others() {
    let mut net = net(40);
    let mut numbers: Vec<u32> = (0..40)
        .map(|port| {
            let mut peer = Peer::new(5000 + port);
            peer.open(&mut net, 0);
            peer.acknowledges
        })
        .collect();
    numbers.sort_unstable();
    let gaps: Vec<u32> = numbers.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|&gap| gap > 1000), "{gaps:?}");
    let mut other = Net::new(
        Queues::new(Medium::Ip),
        NetConfig {
            seed: 2,
            ..config(1)
        },
    );
    let mut peer = Peer::new(5000);
    peer.open(&mut other, 0);
    assert!(!numbers.contains(&peer.acknowledges));
}

#[test]
fn garbage_outside_the_window_changes_nothing() {
    let mut net = net(1);
    let mut peer = Peer::new(5000);
    peer.open(&mut net, 0);
    let id = only_opened(&mut net);
    for (offset, flags) in [
        (1 << 20, ACK),
        (u32::MAX / 2, ACK),
        (1 << 20, RST),
        (1 << 20, SYN),
        (1 << 20, ACK | FIN),
    ] {
        let mut segment = peer.segment(flags, &[9; 100]);
        segment.sequence = segment.sequence.wrapping_add(offset);
        net.device_mut().give(segment.to_packet());
        // And acknowledgements of what was never sent.
        let mut segment = peer.segment(ACK, b"");
        segment.acknowledges = segment.acknowledges.wrapping_add(offset);
        net.device_mut().give(segment.to_packet());
        net.poll(5);
        net.poll(5);
    }
    assert_eq!(events(&mut net), []);
    peer.send(&mut net, ACK, b"still here");
    net.poll(6);
    assert_eq!(net.received(id), b"still here");
}

/// smoltcp takes the unscaled window of a SYN for a scaled one; see `receive_buffer_bytes`.
#[test]
fn a_window_overrun_right_after_the_handshake_is_no_overrun() {
    for receive_bytes in [30_000, 64 << 10, 100_000, 128 << 10, 192 << 10, 1 << 20] {
        let config = NetConfig {
            receive_bytes,
            ..config(1)
        };
        let mut net = Net::new(Queues::new(Medium::Ip), config);
        let mut peer = Peer::new(5000);
        peer.open(&mut net, 0);
        let id = only_opened(&mut net);
        for _ in 0..40 {
            peer.send(&mut net, ACK, &[3; 60_000]);
        }
        net.receive(1);
        net.receive(1);
        let unread = net.unread(id);
        assert!(unread <= receive_bytes, "{unread} of {receive_bytes}");
        assert!(
            unread >= receive_bytes / 2 || receive_bytes < 60_000,
            "{unread}"
        );
    }
}

#[test]
fn strays_are_reset_and_lost_syns_are_not() {
    let mut net = net(1);
    let mut stranger = Peer::new(7000);
    stranger.acknowledges = 77;
    stranger.send(&mut net, ACK, b"who are you");
    stranger.send(&mut net, RST, b"");
    net.poll(0);
    let [reset] = &sent(&mut net)[..] else {
        panic!("one reset")
    };
    assert_eq!(
        (reset.flags, reset.sequence, reset.target),
        (RST, 77, (PEER, 7000))
    );
    // A port nobody listens on.
    let mut segment = Peer::new(7001).segment(SYN, b"");
    segment.target.1 = PORT + 1;
    net.device_mut().give(segment.to_packet());
    net.poll(0);
    let [reset] = &sent(&mut net)[..] else {
        panic!("one reset")
    };
    assert_eq!((reset.flags, reset.acknowledges), (RST | ACK, 1001));
    // No connection free.
    Peer::new(7002).open(&mut net, 0);
    Peer::new(7003).send(&mut net, SYN, b"");
    net.poll(0);
    net.poll(0);
    assert_eq!(sent(&mut net), []);
    assert_eq!(net.counters().opens_dropped, 1);
}

#[test]
fn half_open_connections_give_way_after_a_second() {
    let mut net = net(4);
    for port in 0..100 {
        Peer::new(6000 + port).send(&mut net, SYN, b"");
        net.poll(u64::from(port));
    }
    net.poll(100);
    assert_eq!(net.counters().opens_dropped, 96);
    assert_eq!(events(&mut net), []);
    sent(&mut net);
    let mut peer = Peer::new(5000);
    peer.open(&mut net, 1_000_100);
    let id = only_opened(&mut net);
    // The flood goes on; who is connected stays so.
    for port in 0..1000 {
        Peer::new(6000 + port).send(&mut net, SYN, b"");
        net.poll(2_000_000 + u64::from(port) * 100_000);
        peer.send(&mut net, ACK, b".");
    }
    net.receive(102_000_000);
    assert_eq!(net.unread(id), 1000);
}

#[test]
fn a_reset_takes_a_half_open_connection_back() {
    let mut net = net(1);
    for port in 0..10 {
        let mut peer = Peer::new(5000 + port);
        peer.send(&mut net, SYN, b"");
        net.poll(0);
        net.poll(0);
        assert_eq!(net.connections_free(), 0);
        peer.send(&mut net, RST, b"");
        net.poll(0);
        assert_eq!(net.connections_free(), 1);
    }
    assert_eq!(events(&mut net), []);
}

#[test]
fn a_syn_that_smoltcp_refuses_costs_no_slot() {
    let mut net = Net::new(
        Queues::new(Medium::Ip),
        NetConfig {
            checksums: true,
            ..config(1)
        },
    );
    // The checksums are zero, which is wrong.
    Peer::new(5000).send(&mut net, SYN, b"");
    let mut segment = Peer::new(5001).segment(SYN, b"");
    // An option that says it has no length.
    segment.options = vec![9, 0, 0, 0];
    net.device_mut().give(segment.to_packet());
    net.poll(0);
    assert_eq!((net.connections_free(), sent(&mut net).len()), (1, 0));
}

#[test]
fn a_peer_may_use_its_port_again_in_our_time_wait() {
    let mut net = net(1);
    for round in 0..5 {
        let mut peer = Peer::new(5000);
        peer.open(&mut net, round);
        let id = only_opened(&mut net);
        // We close first, so TIME-WAIT is ours.
        net.close(id);
        net.poll(round);
        sent(&mut net);
        peer.acknowledges += 1;
        peer.send(&mut net, ACK | FIN, b"");
        net.poll(round);
        assert_eq!(
            events(&mut net),
            [NetEvent::HalfClosed(id), NetEvent::Closed(id)]
        );
        net.poll(round);
        assert_eq!(sent(&mut net).len(), 1, "the acknowledgement of the FIN");
    }
    // Somebody else takes the slot of a TIME-WAIT, too.
    let mut other = Peer::new(5001);
    other.open(&mut net, 10);
    only_opened(&mut net);
    assert_eq!(net.counters().slots_recycled, 1);
}

#[test]
fn a_full_device_blocks_nothing_but_sending() {
    let mut net = net(2);
    let mut peer = Peer::new(5000);
    peer.open(&mut net, 0);
    let id = only_opened(&mut net);
    net.device_mut().set_room(0);
    assert_eq!(net.send(id, b"answer"), 6);
    for _ in 0..10 {
        peer.send(&mut net, ACK, b"more");
    }
    // Out of order, which wants an answer at once and does not get a slot.
    let mut gap = peer.segment(ACK, b"gap");
    gap.sequence += 10;
    net.device_mut().give(gap.to_packet());
    net.poll(1);
    net.poll(1);
    assert_eq!(net.unread(id), 40);
    assert!(net.counters().replies_lost >= 1);
    // Nothing can be done before the device has room, so there is no hurry.
    events(&mut net);
    assert!(net.wake_at(1).is_none_or(|wake_us| wake_us > 100_000));
    net.device_mut().set_room(1);
    net.poll(2);
    let [answer] = &sent(&mut net)[..] else {
        panic!("one segment")
    };
    assert_eq!(answer.payload, b"answer");
    assert_eq!(answer.acknowledges, peer.sequence);
}

#[test]
fn events_are_told_once_and_in_order() {
    let mut net = net(1);
    let mut peer = Peer::new(5000);
    peer.open(&mut net, 0);
    for _ in 0..5 {
        peer.send(&mut net, ACK, b"data");
    }
    peer.send(&mut net, ACK | FIN, b"");
    net.poll(0);
    let Some(NetEvent::Opened(id)) = net.next_event() else {
        panic!("opened")
    };
    assert_eq!(
        events(&mut net),
        [NetEvent::Readable(id), NetEvent::HalfClosed(id)]
    );
    peer.send(&mut net, RST, b"");
    net.poll(0);
    assert_eq!(events(&mut net), [NetEvent::Closed(id)]);
    assert_eq!(net.received(id), b"");
    assert_eq!(net.connections_free(), 1);
}

// ---- Ethernet ----

const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn framed(target: [u8; 6], kind: [u8; 2], body: &[u8]) -> Vec<u8> {
    [&target[..], &PEER_MAC, &kind, body].concat()
}

fn ethernet(addresses: Addresses) -> Net<Queues> {
    let config = NetConfig {
        addresses,
        ..config(2)
    };
    Net::new(Queues::new(Medium::Ethernet { mac: OWN_MAC }), config)
}

fn arp(kind: u8, target_mac: [u8; 6], target: [u8; 4]) -> Vec<u8> {
    let fixed = [0, 1, 8, 0, 6, 4, 0, kind];
    [&fixed[..], &PEER_MAC, &PEER.octets(), &target_mac, &target].concat()
}

#[test]
fn answers_arp_and_then_tcp_on_ethernet() {
    let mut net = ethernet(Addresses::new(OWN, 24));
    let request = framed([0xff; 6], [8, 6], &arp(1, [0; 6], OWN.octets()));
    net.device_mut().give(request);
    net.poll(0);
    let reply = net.device_mut().take().expect("an answer");
    let expected = [
        &PEER_MAC[..],
        &OWN_MAC,
        &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
        &OWN_MAC,
        &OWN.octets(),
    ]
    .into_iter()
    .chain([&PEER_MAC[..], &PEER.octets()])
    .collect::<Vec<_>>()
    .concat();
    assert_eq!(reply, expected);
    // No resolution is needed to answer a SYN: it says where it came from.
    let syn = Peer::new(5000).segment(SYN, b"").to_packet();
    net.device_mut().give(framed(OWN_MAC, [8, 0], &syn));
    net.poll(0);
    net.poll(0);
    let frame = net.device_mut().take().expect("an answer");
    assert_eq!(frame[..14], [&PEER_MAC[..], &OWN_MAC, &[8, 0]].concat());
    assert_eq!(Segment::from_packet(&frame[14..]).flags, SYN | ACK);
}

#[test]
fn asks_for_the_station_it_connects_to() {
    let mut net = ethernet(Addresses::new(OWN, 24));
    net.connect(0, (PEER, 9)).expect("a connection");
    net.poll(0);
    let request = net.device_mut().take().expect("a request");
    assert_eq!(request[..6], [0xff; 6]);
    assert_eq!((request[21], &request[38..42]), (1, &PEER.octets()[..]));
    // Asked once, not with every pass.
    net.poll(1);
    assert_eq!(net.device_mut().take(), None);
    net.device_mut()
        .give(framed(OWN_MAC, [8, 6], &arp(2, OWN_MAC, OWN.octets())));
    net.poll(2);
    net.poll(2);
    let frame = net.device_mut().take().expect("a SYN");
    assert_eq!(frame[..6], PEER_MAC);
    assert_eq!(Segment::from_packet(&frame[14..]).flags, SYN);
}

#[test]
fn gives_up_connecting_where_nobody_answers() {
    let gateway = Some([10, 0, 0, 254].into());
    let mut net = ethernet(Addresses {
        gateway,
        ..Addresses::new(OWN, 24)
    });
    let id = net
        .connect(0, ([8, 8, 8, 8].into(), 53))
        .expect("a connection");
    let mut requests = 0;
    let mut now_us = 0;
    while events(&mut net) != [NetEvent::Closed(id)] {
        assert!(now_us < 60_000_000, "closed in a minute");
        net.poll(now_us);
        while let Some(frame) = net.device_mut().take() {
            assert_eq!(frame[38..42], [10, 0, 0, 254], "the gateway is asked for");
            requests += 1;
        }
        now_us = net
            .wake_at(now_us)
            .map_or(now_us, |wake_us| wake_us.max(now_us + 1));
    }
    assert!((10..70).contains(&requests), "{requests} requests");
    assert_eq!(net.connections_free(), 2);
}

// ---- anything at all ----

#[derive(Debug, Clone)]
enum Move {
    /// A segment of a known peer, with bytes changed.
    Spoilt {
        peer: u16,
        flags: u8,
        bytes: usize,
        spoil: Vec<(usize, u8)>,
        cut: Option<usize>,
    },
    /// A segment whose numbers are off by so much.
    Shifted {
        peer: u16,
        flags: u8,
        bytes: usize,
        sequence: i32,
        acknowledges: i32,
    },
    /// Bytes.
    Raw(Vec<u8>),
    /// The user does something.
    Use {
        connection: usize,
        what: u8,
    },
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Move> {
    let spoil = prop::collection::vec((0..60_usize, any::<u8>()), 0..4);
    let near = || prop_oneof![-3..4_i32, -70_000..70_000_i32, any::<i32>()];
    let bytes = || {
        prop_oneof![
            0..3_usize,
            0..2_000_usize,
            Just(9_000_usize),
            Just(60_000_usize)
        ]
    };
    let flags = || {
        prop_oneof![
            Just(ACK),
            Just(SYN),
            Just(ACK | FIN),
            Just(RST),
            any::<u8>()
        ]
    };
    prop_oneof![
        (
            0..6_u16,
            flags(),
            bytes(),
            spoil,
            prop::option::of(0..80_usize)
        )
            .prop_map(|(peer, flags, bytes, spoil, cut)| Move::Spoilt {
                peer,
                flags,
                bytes,
                spoil,
                cut
            }),
        (0..6_u16, flags(), bytes(), near(), near()).prop_map(
            |(peer, flags, bytes, sequence, acknowledges)| {
                Move::Shifted {
                    peer,
                    flags,
                    bytes,
                    sequence,
                    acknowledges,
                }
            }
        ),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(Move::Raw),
        (0..4_usize, any::<u8>()).prop_map(|(connection, what)| Move::Use { connection, what }),
        prop_oneof![0..1000_u64, 0..15_000_000_u64].prop_map(Move::Wait),
    ]
}

/// Peers that follow what the stack tells them, so that moves hit where it matters.
struct Chaos {
    net: Net<Queues>,
    peers: Vec<Peer>,
    ids: Vec<ConnectionId>,
    now_us: u64,
}

impl Chaos {
    fn apply(&mut self, step: Move) {
        match step {
            Move::Spoilt {
                peer,
                flags,
                bytes,
                spoil,
                cut,
            } => {
                let mut packet = self.peers[usize::from(peer)]
                    .segment(flags, &vec![7; bytes])
                    .to_packet();
                for (at, value) in spoil {
                    if let Some(byte) = packet.get_mut(at) {
                        *byte = value;
                    }
                }
                packet.truncate(cut.unwrap_or(usize::MAX));
                self.net.device_mut().give(packet);
            }
            Move::Shifted {
                peer,
                flags,
                bytes,
                sequence,
                acknowledges,
            } => {
                let mut segment = self.peers[usize::from(peer)].segment(flags, &vec![7; bytes]);
                segment.sequence = segment.sequence.wrapping_add_signed(sequence);
                segment.acknowledges = segment.acknowledges.wrapping_add_signed(acknowledges);
                self.net.device_mut().give(segment.to_packet());
            }
            Move::Raw(bytes) => self.net.device_mut().give(bytes),
            Move::Use { connection, what } => self.use_connection(connection, what),
            Move::Wait(us) => self.now_us += us,
        }
        self.turn();
    }

    fn use_connection(&mut self, connection: usize, what: u8) {
        let Some(&id) = self.ids.get(connection) else {
            return;
        };
        match what % 6 {
            0 => self.net.close(id),
            1 => self.net.abort(id),
            2 => self.net.consume(id, usize::from(what) * 50),
            3 => drop(self.net.read_into(id, &mut [0; 3000])),
            _ => drop(self.net.send(id, &vec![what; usize::from(what) * 40])),
        }
    }

    fn turn(&mut self) {
        self.net.poll(self.now_us);
        self.net.flush(self.now_us);
        while let Some(packet) = self.net.device_mut().take() {
            if packet[9] != 6 {
                continue;
            }
            let segment = Segment::from_packet(&packet);
            let to = segment.target.1.wrapping_sub(5000);
            let Some(peer) = self.peers.get_mut(usize::from(to)) else {
                continue;
            };
            let controls = u32::from(segment.flags & (SYN | FIN) != 0);
            peer.acknowledges = segment
                .sequence
                .wrapping_add(segment.payload.len() as u32 + controls);
            if segment.flags & ACK != 0 {
                peer.sequence = segment.acknowledges;
            }
        }
        while let Some(event) = self.net.next_event() {
            match event {
                NetEvent::Opened(id) => self.ids.push(id),
                NetEvent::Closed(id) => self.ids.retain(|&other| other != id),
                _ => {}
            }
        }
        assert!(self.ids.len() <= self.net.connections_max());
        let _ = self.net.wake_at(self.now_us);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nothing that comes over the network panics, and nothing leaks a slot: once everybody
    /// falls silent, every connection ends by itself.
    #[test]
    fn nothing_from_outside_panics_or_leaks(
        seed: u64,
        receive_bytes in prop_oneof![Just(100_usize), Just(65_536), Just(100_000)],
        steps in prop::collection::vec(moves(), 0..60),
    ) {
        let config = NetConfig { seed, receive_bytes, ..config(4) };
        let mut chaos = Chaos {
            net: Net::new(Queues::new(Medium::Ip), config),
            peers: (0..6).map(|port| Peer::new(5000 + port)).collect(),
            ids: Vec::new(),
            now_us: 0,
        };
        for step in steps {
            chaos.apply(step);
        }
        for _ in 0..200 {
            let next_us = chaos.net.wake_at(chaos.now_us).unwrap_or(chaos.now_us + 1);
            chaos.now_us = next_us.max(chaos.now_us + 1);
            chaos.turn();
            if let Some(&id) = chaos.ids.first() {
                let unread = chaos.net.unread(id);
                chaos.net.consume(id, unread);
            }
        }
        prop_assert_eq!(chaos.net.connections_free(), 4);
        prop_assert_eq!(chaos.net.wake_at(chaos.now_us), None);
    }
}
