//! Kernel sockets through the relay and the in-process wire to a stack that echoes.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use dpu_firmware::net::{Addresses, ConnectionId, Ipv4Address, Net, NetConfig, NetEvent};
use host_sim::relay::{ANY_LOCAL_PORT, Relay};
use host_sim::wire::{WireConfig, WireEnd, wire};

const SERVER: Ipv4Address = Ipv4Address::new(10, 0, 0, 1);
const CLIENT: Ipv4Address = Ipv4Address::new(10, 0, 0, 2);
const PORT: u16 = 4420;

/// How the server behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Echo,
    /// Takes nothing from its buffer.
    Deaf,
    /// Resets whoever says something.
    Rude,
    /// Closes its side after the first bytes it echoed.
    Curt,
}

/// A thread with relay, both stacks and the server.
struct Host {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    /// Connections that the server has.
    connections: Arc<AtomicUsize>,
    turns: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Host {
    fn start(connections_max: usize, manner: Manner) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let connections = Arc::new(AtomicUsize::new(0));
        let turns = Arc::new(AtomicUsize::new(0));
        let (stopped, counted, turned) = (
            Arc::clone(&stop),
            Arc::clone(&connections),
            Arc::clone(&turns),
        );
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let mut relay = Relay::bind(ANY_LOCAL_PORT, (SERVER, PORT)).expect("a port");
            tell.send(relay.local_address().expect("an address"))
                .expect("a listener");
            let (client_end, server_end) = wire(WireConfig::default());
            let mut client = Net::new(client_end, config(CLIENT, connections_max));
            let mut server = Server {
                net: Net::new(server_end, config(SERVER, connections_max)),
                owed: vec![Vec::new(); connections_max],
                ending: vec![false; connections_max],
                manner,
                connections: counted,
            };
            let started = Instant::now();
            let now_us = || started.elapsed().as_micros() as u64;
            while !stopped.load(Ordering::Relaxed) {
                turned.fetch_add(1, Ordering::Relaxed);
                client.receive(now_us());
                let mut moved = relay.poll(now_us(), &mut client).expect("a relay");
                moved |= client.flush(now_us());
                moved |= server.turn(now_us());
                if !moved {
                    let now_us = now_us();
                    let wakes = [client.wake_at(now_us), server.net.wake_at(now_us)];
                    // No longer than it may take to be stopped.
                    let soonest_us = wakes.into_iter().flatten().min().unwrap_or(u64::MAX);
                    let wait_us = soonest_us.saturating_sub(now_us).min(20_000);
                    relay
                        .wait(Some(Duration::from_micros(wait_us)))
                        .expect("a relay");
                }
            }
        });
        let address = told.recv().expect("an address");
        Self {
            address,
            stop,
            connections,
            turns,
            thread: Some(thread),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream
            .set_write_timeout(Some(Duration::from_secs(20)))
            .expect("a timeout");
        stream
    }

    /// Waits until the server has that many connections.
    fn settle(&self, connections: usize) {
        let end = Instant::now() + Duration::from_secs(20);
        while self.connections.load(Ordering::Relaxed) != connections {
            assert!(Instant::now() < end, "{connections} connections in time");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let result = self.thread.take().expect("a thread").join();
        assert!(result.is_ok() || thread::panicking(), "the host failed");
    }
}

fn config(own: Ipv4Address, connections_max: usize) -> NetConfig {
    NetConfig {
        addresses: Addresses::new(own, 24),
        connections_max,
        receive_bytes: 64 << 10,
        send_bytes: 64 << 10,
        listen_port: (own == SERVER).then_some(PORT),
        checksums: false,
        seed: 5,
    }
}

struct Server {
    net: Net<WireEnd>,
    owed: Vec<Vec<u8>>,
    /// The client sent all it will.
    ending: Vec<bool>,
    manner: Manner,
    connections: Arc<AtomicUsize>,
}

impl Server {
    fn turn(&mut self, now_us: u64) -> bool {
        let mut moved = self.net.receive(now_us);
        while let Some(event) = self.net.next_event() {
            match event {
                NetEvent::Opened(_) => {
                    self.connections.fetch_add(1, Ordering::Relaxed);
                }
                NetEvent::Readable(id) | NetEvent::Writable(id) => self.answer(id),
                NetEvent::HalfClosed(id) => {
                    self.ending[id.index()] = true;
                    self.answer(id);
                }
                NetEvent::Closed(id) => {
                    self.owed[id.index()].clear();
                    self.ending[id.index()] = false;
                    self.connections.fetch_sub(1, Ordering::Relaxed);
                }
            }
        }
        moved |= self.net.flush(now_us);
        moved
    }

    fn answer(&mut self, id: ConnectionId) {
        match self.manner {
            Manner::Echo | Manner::Curt => self.echo(id),
            Manner::Deaf => {}
            Manner::Rude => self.net.abort(id),
        }
    }

    fn echo(&mut self, id: ConnectionId) {
        let owed = &mut self.owed[id.index()];
        loop {
            let sent = self.net.send(id, owed);
            owed.drain(..sent);
            if !owed.is_empty() {
                return;
            }
            owed.extend_from_slice(self.net.received(id));
            if owed.is_empty() {
                break;
            }
            self.net.consume(id, owed.len());
        }
        let curt = self.manner == Manner::Curt && self.net.unsent(id) > 0;
        if curt || self.ending[id.index()] {
            self.net.close(id);
        }
    }
}

fn pattern(bytes: usize, salt: usize) -> Vec<u8> {
    (0..bytes)
        .map(|at| (at * 7 + at / 255 + salt * 13) as u8)
        .collect()
}

/// Writes and reads at once, as an echo of more than all buffers needs.
fn exchange(stream: TcpStream, bytes: usize, salt: usize) {
    let data = pattern(bytes, salt);
    let mut writer = stream.try_clone().expect("a second handle");
    let sent = data.clone();
    let writing = thread::spawn(move || {
        writer.write_all(&sent).expect("written");
        writer.shutdown(Shutdown::Write).expect("shut");
    });
    let mut reader = stream;
    let mut echoed = Vec::new();
    reader.read_to_end(&mut echoed).expect("an end");
    writing.join().expect("a writer");
    assert!(
        echoed == data,
        "{} of {} bytes came back",
        echoed.len(),
        data.len()
    );
}

#[test]
fn echoes_and_passes_fin_both_ways() {
    let host = Host::start(4, Manner::Echo);
    for (salt, bytes) in [0, 1, 1000, 5 << 20].into_iter().enumerate() {
        exchange(host.connect(), bytes, salt);
    }
    host.settle(0);
}

#[test]
fn serves_many_at_once() {
    let host = Host::start(64, Manner::Echo);
    let clients: Vec<_> = (0..64)
        .map(|salt| {
            let stream = host.connect();
            thread::spawn(move || exchange(stream, 100_000, salt))
        })
        .collect();
    clients
        .into_iter()
        .for_each(|client| client.join().expect("an echo"));
    host.settle(0);
}

#[test]
fn leaves_in_the_backlog_what_finds_no_connection() {
    let host = Host::start(2, Manner::Echo);
    let (first, second, mut third) = (host.connect(), host.connect(), host.connect());
    host.settle(2);
    third.write_all(b"patience").expect("the kernel's buffer");
    third
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    let mut reply = [0; 8];
    let error = third.read_exact(&mut reply).expect_err("nobody there yet");
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(first);
    third
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a timeout");
    third.read_exact(&mut reply).expect("an echo");
    assert_eq!(&reply, b"patience");
    drop((second, third));
    host.settle(0);
}

#[test]
fn stops_reading_when_the_agent_does() {
    let host = Host::start(1, Manner::Deaf);
    let mut stream = host.connect();
    host.settle(1);
    stream.set_nonblocking(true).expect("non-blocking");
    let (piece, mut written, mut last) = (vec![0; 64 << 10], 0, Instant::now());
    while last.elapsed() < Duration::from_millis(300) {
        match stream.write(&piece) {
            Ok(bytes) => {
                written += bytes;
                last = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
        assert!(written < 64 << 20, "somebody keeps reading");
    }
    // And waiting costs nothing: the loop sleeps.
    let turns = host.turns.load(Ordering::Relaxed);
    thread::sleep(Duration::from_millis(200));
    let turns = host.turns.load(Ordering::Relaxed) - turns;
    assert!(turns < 200, "{turns} turns in 200 ms of nothing to do");
}

#[test]
fn passes_the_agents_reset_on() {
    let host = Host::start(1, Manner::Rude);
    for _ in 0..3 {
        let mut stream = host.connect();
        stream.write_all(b"hello").expect("written");
        let error = stream.read(&mut [0; 8]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    host.settle(0);
}

#[test]
fn passes_the_clients_reset_on() {
    let host = Host::start(1, Manner::Echo);
    for _ in 0..3 {
        let mut stream = host.connect();
        stream.write_all(&[1; 1000]).expect("written");
        stream.read_exact(&mut [0; 10]).expect("an echo");
        // The rest of the echo is unread, so closing is a reset.
        drop(stream);
        host.settle(0);
    }
}

#[test]
fn passes_the_agents_fin_on_first() {
    let host = Host::start(1, Manner::Curt);
    let mut stream = host.connect();
    stream.write_all(b"once").expect("written");
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).expect("the agent's end");
    assert_eq!(reply, b"once");
    drop(stream);
    host.settle(0);
}

#[test]
fn survives_a_thousand_short_connections() {
    let host = Host::start(8, Manner::Echo);
    for salt in 0..1000 {
        let mut stream = host.connect();
        let data = pattern(100, salt);
        stream.write_all(&data).expect("written");
        let mut reply = [0; 100];
        stream.read_exact(&mut reply).expect("an echo");
        assert_eq!(reply[..], data);
    }
    host.settle(0);
}
