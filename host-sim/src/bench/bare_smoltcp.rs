//! The rival in process: two stacks of smoltcp as it comes, on the wire that the agent is on.
//!
//! It serves 64-byte requests with 4 KiB replies, and is written as one who wants it to win would
//! write it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use dpu_firmware::net::{PacketDevice, PacketReceive, PacketTransmit};
use smoltcp::iface::{
    Config, Interface, PollIngressSingleResult, PollResult, SocketHandle, SocketSet,
};
use smoltcp::phy::{self, ChecksumCapabilities, Device, DeviceCapabilities};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::source::{RandomPages, Source};
use super::{REPLY_BYTES, REQUEST_BYTES};
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
pub fn bare_smoltcp(depth: usize, idle: usize, source: &Source, time: Duration) -> f64 {
    let mut race = Race::new(depth, idle, source);
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
    pages: RandomPages,
    requests: [u8; 128 * REQUEST_BYTES],
}

impl Race {
    fn new(depth: usize, idle: usize, source: &Source) -> Self {
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
            pages: RandomPages::new(source),
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
            let reply = self.pages.next_page();
            socket.send_slice(reply).expect("an open socket");
        }
    }
}
