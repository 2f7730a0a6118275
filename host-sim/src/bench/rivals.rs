//! What our stack is compared with: smoltcp as it comes, and the kernel's sockets.
//!
//! Each rival serves 64-byte requests with 4 KiB replies, both ends on this machine, and is
//! written as one who wants it to win would write it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use dpu_firmware::net::{PacketDevice, PacketReceive, PacketTransmit};
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::{REPLY_BYTES, REQUEST_BYTES, SOURCE_BYTES};
use crate::random::Random;
use crate::wire::{MTU, WireConfig, WireEnd, WireReceive, WireTransmit, wire};

const PORT: u16 = 4420;

/// Receive and send buffer of every connection of plain smoltcp.
const BUFFER_BYTES: usize = 128 << 10;

/// Requests per second between two plain smoltcp stacks, one interface and all sockets each,
/// on one thread over the in-process wire: `depth` requests in flight on one connection, beside
/// `idle` established connections.
///
/// # Panics
///
/// If the connections do not come about.
pub fn bare_smoltcp(depth: usize, idle: usize, time: Duration) -> f64 {
    let mut race = Race::new(depth, idle);
    race.run(time / 10);
    race.run(time)
}

/// smoltcp's view of an end of the wire.
struct End(WireEnd);

struct Arrived<'t>(&'t mut WireReceive);

struct Slot<'t>(&'t mut WireTransmit);

impl phy::RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        let result = take(self.0.peek(u64::MAX).unwrap_or(&[]));
        self.0.release();
        result
    }
}

impl phy::TxToken for Slot<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, bytes: usize, fill: F) -> R {
        let Some(slot) = self.0.reserve(bytes) else {
            return fill(&mut vec![0; bytes]);
        };
        let result = fill(slot);
        self.0.commit(0);
        result
    }
}

impl Device for End {
    type RxToken<'t> = Arrived<'t>;
    type TxToken<'t> = Slot<'t>;

    fn receive(&mut self, _: SmolInstant) -> Option<(Arrived<'_>, Slot<'_>)> {
        let (receive, transmit) = self.0.halves();
        receive.peek(u64::MAX)?;
        Some((Arrived(receive), Slot(transmit)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<Slot<'_>> {
        let (_, transmit) = self.0.halves();
        if transmit.has_room() {
            Some(Slot(transmit))
        } else {
            None
        }
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.max_transmission_unit = MTU;
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities
    }
}

struct Stack {
    device: End,
    interface: Interface,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
}

impl Stack {
    fn new(end: WireEnd, address: Ipv4Addr, sockets: usize) -> Self {
        let mut device = End(end);
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = u64::from(address.to_bits());
        let mut interface = Interface::new(config, &mut device, SmolInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            addresses
                .push(IpCidr::new(IpAddress::Ipv4(address), 24))
                .expect("room for one");
        });
        let mut set = SocketSet::new(Vec::with_capacity(sockets));
        let handles = (0..sockets)
            .map(|_| {
                let buffer = |bytes| SocketBuffer::new(vec![0; bytes]);
                let mut socket = Socket::new(buffer(BUFFER_BYTES - 1), buffer(BUFFER_BYTES));
                socket.set_nagle_enabled(false);
                socket.set_ack_delay(None);
                set.add(socket)
            })
            .collect();
        Self {
            device,
            interface,
            sockets: set,
            handles,
        }
    }

    fn socket(&mut self, at: usize) -> &mut Socket<'static> {
        self.sockets.get_mut(self.handles[at])
    }

    fn ingress(&mut self, now: SmolInstant) {
        while self
            .interface
            .poll_ingress_single(now, &mut self.device, &mut self.sockets)
            != PollIngressSingleResult::None
        {}
    }

    fn egress(&mut self, now: SmolInstant) {
        while self
            .interface
            .poll_egress(now, &mut self.device, &mut self.sockets)
            != PollResult::None
        {}
        self.interface.poll_maintenance(now);
    }
}

struct Race {
    client: Stack,
    server: Stack,
    started: Instant,
    /// The busy socket at the client, and at the server.
    busy: (usize, usize),
    depth: usize,
    asked: usize,
    partial: usize,
    owed: usize,
    answered: u64,
    request: [u8; REQUEST_BYTES],
    reply: Vec<u8>,
    /// What replies are copied from, a random page each.
    source: Vec<u8>,
    random: Random,
    requests: [u8; 128 * REQUEST_BYTES],
}

impl Race {
    fn new(depth: usize, idle: usize) -> Self {
        let (client_end, server_end) = wire(WireConfig::default());
        let server_address = Ipv4Addr::new(10, 0, 0, 1);
        let mut client = Stack::new(client_end, Ipv4Addr::new(10, 0, 0, 2), idle + 1);
        let mut server = Stack::new(server_end, server_address, idle + 1);
        for at in 0..=idle {
            server.socket(at).listen(PORT).expect("a closed socket");
            let socket = client.sockets.get_mut::<Socket>(client.handles[at]);
            let remote = (IpAddress::Ipv4(server_address), PORT);
            let local_port = 10_000 + at as u16;
            socket
                .connect(client.interface.context(), remote, local_port)
                .expect("closed");
        }
        let middle = idle / 2;
        let mut race = Self {
            client,
            server,
            started: Instant::now(),
            busy: (middle, 0),
            depth,
            asked: 0,
            partial: 0,
            owed: 0,
            answered: 0,
            request: [7; REQUEST_BYTES],
            reply: vec![0; 64 << 10],
            source: vec![9; SOURCE_BYTES],
            random: Random::new(7),
            requests: [0; 128 * REQUEST_BYTES],
        };
        while !(0..=idle).all(|at| race.client.socket(at).may_send()) {
            let now = race.now();
            race.client.egress(now);
            race.server.ingress(now);
            race.server.egress(now);
            race.client.ingress(now);
            assert!(now < SmolInstant::from_secs(60), "connections in a minute");
        }
        let peer = race.client.socket(middle).local_endpoint();
        let found = (0..=idle).find(|&at| race.server.socket(at).remote_endpoint() == peer);
        race.busy.1 = found.expect("the other end");
        race
    }

    fn now(&self) -> SmolInstant {
        SmolInstant::from_micros(self.started.elapsed().as_micros() as i64)
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
        let now = self.now();
        self.client.ingress(now);
        self.read_replies();
        let socket = self.client.socket(self.busy.0);
        while self.asked < self.depth
            && socket.send_capacity() - socket.send_queue() >= REQUEST_BYTES
            && socket.send_slice(&self.request) == Ok(REQUEST_BYTES)
        {
            self.asked += 1;
        }
        self.client.egress(now);

        let now = self.now();
        self.server.ingress(now);
        self.serve();
        self.server.egress(now);
    }

    fn read_replies(&mut self) {
        let socket = self
            .client
            .sockets
            .get_mut::<Socket>(self.client.handles[self.busy.0]);
        while let Ok(bytes) = socket.recv_slice(&mut self.reply) {
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

    fn serve(&mut self) {
        let socket = self
            .server
            .sockets
            .get_mut::<Socket>(self.server.handles[self.busy.1]);
        let requests = &mut self.requests;
        let whole = socket.recv_queue().min(requests.len()) / REQUEST_BYTES;
        let bytes = socket
            .recv_slice(&mut requests[..whole * REQUEST_BYTES])
            .unwrap_or(0);
        self.owed += bytes / REQUEST_BYTES;
        while self.owed > 0 && socket.send_capacity() - socket.send_queue() >= REPLY_BYTES {
            self.owed -= 1;
            let page = self.random.below((SOURCE_BYTES / REPLY_BYTES) as u64) as usize;
            let page = &self.source[page * REPLY_BYTES..][..REPLY_BYTES];
            socket.send_slice(page).expect("an open socket");
        }
    }
}

/// Requests per second over one loopback connection of the kernel, `depth` in flight.
///
/// One thread is both ends in turn and so never sleeps, as client and agent are beside it: two
/// threads that wake each other are several times slower at these sizes.
///
/// # Errors
///
/// If a socket call fails.
pub fn kernel_sockets(depth: usize, time: Duration) -> io::Result<f64> {
    let (mut client, mut server) = kernel_pair()?;
    client.set_nonblocking(true)?;
    server.set_nonblocking(true)?;
    let mut owed = Owed::new();
    let mut asked = Asked::new(depth);
    let begin = Instant::now();
    while begin.elapsed() < time {
        if asked.to_send_bytes > 0 {
            unless_blocked(asked.write(&mut client))?;
        }
        unless_blocked(owed.read(&mut server).map(|_| ()))?;
        unless_blocked(owed.write(&mut server))?;
        unless_blocked(asked.read(&mut client))?;
    }
    Ok(asked.answered as f64 / begin.elapsed().as_secs_f64())
}

fn unless_blocked(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

fn kernel_pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

/// The server's side of a kernel race: requests that came, replies that are owed.
struct Owed {
    requests: Vec<u8>,
    request_bytes: usize,
    /// Replies that are owed and not yet in the batch.
    owed: usize,
    batch: Vec<u8>,
    /// Bytes of the batch that were written.
    sent: usize,
    /// What replies are copied from, a random page each.
    source: Vec<u8>,
    random: Random,
}

/// Replies that go into one write: as many as a socket's send buffer takes.
const BATCH_REPLIES: usize = 32;

impl Owed {
    fn new() -> Self {
        Self {
            requests: vec![0; 128 * REQUEST_BYTES],
            request_bytes: 0,
            owed: 0,
            batch: Vec::with_capacity(BATCH_REPLIES * REPLY_BYTES),
            sent: 0,
            source: vec![9; SOURCE_BYTES],
            random: Random::new(7),
        }
    }

    fn read(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        let bytes = stream.read(&mut self.requests)?;
        self.request_bytes += bytes;
        self.owed += self.request_bytes / REQUEST_BYTES;
        self.request_bytes %= REQUEST_BYTES;
        Ok(bytes)
    }

    fn fill_batch(&mut self) {
        self.batch.clear();
        self.sent = 0;
        for _ in 0..self.owed.min(BATCH_REPLIES) {
            let page = self.random.below((SOURCE_BYTES / REPLY_BYTES) as u64) as usize;
            self.batch
                .extend_from_slice(&self.source[page * REPLY_BYTES..][..REPLY_BYTES]);
            self.owed -= 1;
        }
    }

    fn write(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.owed > 0 || self.sent < self.batch.len() {
            if self.sent == self.batch.len() {
                self.fill_batch();
            }
            self.sent += stream.write(&self.batch[self.sent..])?;
        }
        Ok(())
    }
}

/// The client's side: requests that may be sent, replies that came.
struct Asked {
    requests: Vec<u8>,
    replies: Vec<u8>,
    to_send_bytes: usize,
    partial: usize,
    answered: u64,
}

impl Asked {
    fn new(depth: usize) -> Self {
        Self {
            requests: vec![7; depth * REQUEST_BYTES],
            replies: vec![0; 256 << 10],
            to_send_bytes: depth * REQUEST_BYTES,
            partial: 0,
            answered: 0,
        }
    }

    fn write(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.to_send_bytes > 0 {
            self.to_send_bytes -= stream.write(&self.requests[..self.to_send_bytes])?;
        }
        Ok(())
    }

    fn read(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        self.partial += stream.read(&mut self.replies)?;
        let whole = self.partial / REPLY_BYTES;
        self.partial %= REPLY_BYTES;
        self.to_send_bytes += whole * REQUEST_BYTES;
        self.answered += whole as u64;
        Ok(())
    }
}
