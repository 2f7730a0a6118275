//! Our own stack in the race with [`rivals`](super::rivals).

use std::io;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use dpu_firmware::net::{Addresses, ConnectionId, Ipv4Address, Net, NetConfig, NetEvent};

use super::rivals::{Asked, unless_blocked};
use super::{REPLY_BYTES, REQUEST_BYTES};
use crate::relay::{ANY_LOCAL_PORT, Relay};
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

/// Requests per second from a kernel socket through the relay, `depth` requests in flight.
///
/// As with [`kernel_sockets`](super::rivals::kernel_sockets) two programs compete and the better
/// counts: the client in a thread of its own, and the client on the thread of relay, stacks and
/// server.
///
/// # Errors
///
/// If a socket call fails.
pub fn relayed(depth: usize, time: Duration) -> io::Result<f64> {
    let apart = relayed_apart(depth, time)?;
    let together = relayed_together(depth, time)?;
    Ok(apart.max(together))
}

fn relayed_apart(depth: usize, time: Duration) -> io::Result<f64> {
    let mut host = RelayHost::new()?;
    let address = host.relay.local_address()?;
    let client = thread::spawn(move || -> io::Result<f64> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut asked = Asked::new(depth);
        let begin = Instant::now();
        while begin.elapsed() < time {
            asked.write(&mut stream)?;
            asked.read(&mut stream)?;
        }
        Ok(asked.answered as f64 / begin.elapsed().as_secs_f64())
    });
    while !client.is_finished() {
        host.turn()?;
        host.sleep()?;
    }
    client
        .join()
        .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
}

fn relayed_together(depth: usize, time: Duration) -> io::Result<f64> {
    let mut host = RelayHost::new()?;
    let mut stream = TcpStream::connect(host.relay.local_address()?)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    let mut asked = Asked::new(depth);
    let begin = Instant::now();
    while begin.elapsed() < time {
        unless_blocked(asked.write(&mut stream))?;
        host.turn()?;
        unless_blocked(asked.read(&mut stream))?;
    }
    Ok(asked.answered as f64 / begin.elapsed().as_secs_f64())
}

/// Relay, wire, both stacks and a server on one thread.
struct RelayHost {
    relay: Relay,
    carrier: Net<WireEnd>,
    server: Server,
    started: Instant,
    /// When something last moved.
    moved_us: u64,
}

/// How long to look for work before sleeping.
const SPIN_US: u64 = 50;

impl RelayHost {
    fn new() -> io::Result<Self> {
        let (client_end, server_end) = wire(WireConfig::default());
        Ok(Self {
            relay: Relay::bind(ANY_LOCAL_PORT, (SERVER, PORT))?,
            carrier: net(client_end, CLIENT, 1),
            server: Server::new(net(server_end, SERVER, 1)),
            started: Instant::now(),
            moved_us: 0,
        })
    }

    fn now_us(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Kernel to server and back, once: what comes in goes all the way.
    fn turn(&mut self) -> io::Result<()> {
        let now_us = self.now_us();
        let mut moved = self.relay.poll(now_us, &mut self.carrier)?;
        moved |= self.carrier.flush(now_us);
        moved |= self.server.turn(now_us);
        moved |= self.carrier.receive(now_us);
        moved |= self.relay.serve(&mut self.carrier);
        if moved {
            self.moved_us = now_us;
        }
        Ok(())
    }

    fn sleep(&mut self) -> io::Result<()> {
        let now_us = self.now_us();
        if now_us <= self.moved_us + SPIN_US {
            return Ok(());
        }
        let wakes = [
            self.carrier.wake_at(now_us),
            self.server.net.wake_at(now_us),
        ];
        let wake_us = wakes.into_iter().flatten().min().unwrap_or(u64::MAX);
        let wait_us = wake_us.saturating_sub(now_us).min(10_000);
        self.relay.wait(Some(Duration::from_micros(wait_us)))
    }
}

fn net(end: WireEnd, own: Ipv4Address, connections_max: usize) -> Net<WireEnd> {
    let config = NetConfig {
        addresses: Addresses::new(own, 24),
        connections_max,
        receive_bytes: BUFFER_BYTES,
        send_bytes: BUFFER_BYTES,
        listen_port: (own == SERVER).then_some(PORT),
        checksums: false,
        seed: 1,
    };
    Net::new(end, config)
}

/// Answers each request with a page.
struct Server {
    net: Net<WireEnd>,
    /// Replies owed on the one busy connection.
    owed: usize,
    page: Vec<u8>,
    requests: [u8; 128 * REQUEST_BYTES],
}

impl Server {
    fn new(net: Net<WireEnd>) -> Self {
        Self {
            net,
            owed: 0,
            page: vec![9; REPLY_BYTES],
            requests: [0; 128 * REQUEST_BYTES],
        }
    }

    fn turn(&mut self, now_us: u64) -> bool {
        let moved = self.net.receive(now_us);
        while let Some(event) = self.net.next_event() {
            match event {
                NetEvent::Readable(id) | NetEvent::Writable(id) => self.serve(id),
                NetEvent::HalfClosed(id) => self.net.close(id),
                NetEvent::Opened(_) | NetEvent::Closed(_) => {}
            }
        }
        self.net.flush(now_us) || moved
    }

    fn serve(&mut self, id: ConnectionId) {
        let requests = &mut self.requests;
        let whole = self.net.unread(id).min(requests.len()) / REQUEST_BYTES;
        let bytes = self
            .net
            .read_into(id, &mut requests[..whole * REQUEST_BYTES]);
        self.owed += bytes / REQUEST_BYTES;
        while self.owed > 0 && self.net.send_free(id) >= REPLY_BYTES {
            self.owed -= 1;
            self.net.send(id, &self.page);
        }
        if self.owed > 0 {
            self.net.send_when_free(id);
        }
    }
}

struct Race {
    client: Net<WireEnd>,
    server: Server,
    started: Instant,
    connection: ConnectionId,
    depth: usize,
    /// Requests under way.
    asked: usize,
    /// Reply bytes that came for the oldest of them.
    partial: usize,
    answered: u64,
    request: [u8; REQUEST_BYTES],
    reply: Vec<u8>,
}

impl Race {
    fn new(depth: usize, idle: usize) -> Self {
        let (client_end, server_end) = wire(WireConfig::default());
        let mut client = net(client_end, CLIENT, idle + 1);
        let server = Server::new(net(server_end, SERVER, idle + 1));
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
            answered: 0,
            request: [7; REQUEST_BYTES],
            reply: vec![0; 64 << 10],
        };
        let mut opened = 0;
        while opened < 2 * (idle + 1) {
            let now_us = race.now_us();
            race.client.poll(now_us);
            race.server.net.poll(now_us);
            let events = std::iter::from_fn(|| {
                race.client
                    .next_event()
                    .or_else(|| race.server.net.next_event())
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
        self.server.turn(now_us);
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
}
