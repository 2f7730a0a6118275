//! The relay: TCP of the laptop's kernel on one side, our stack as a client on the other.
//!
//! Whoever connects to the relay's port gets a connection of its own through the packet device
//! to the agent. Everything happens in [`Relay::poll`], on the thread of the caller, and
//! nothing blocks. Bytes are read from the kernel straight into the stack's send buffer and
//! written to the kernel straight from its receive buffer.
//!
//! A connection is accepted only while the stack has one free, so the rest waits in the
//! kernel's backlog. Reading stops while the send buffer is full, so a slow agent slows its
//! client and nobody else. FIN and RST pass both ways. Each connection moves at most
//! [`PASS_BYTES`] a pass in each direction.
//!
//! Sockets are watched edge-triggered and for both directions from the start, so watching costs
//! one system call a pass, not one for each change of mind.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use dpu_firmware::net::{ConnectionId, Ipv4Address, Net, NetEvent, PacketDevice};
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, Shutdown, SocketFlags, SocketType, accept_with, bind, getsockname, ipproto,
    listen, shutdown, socket_with, sockopt,
};

/// Bytes a connection moves at most in a pass, in each direction.
pub const PASS_BYTES: usize = 64 << 10;

/// Connections accepted at most in a pass.
pub const PASS_ACCEPTS: usize = 64;

/// Connections that may wait in the kernel.
const BACKLOG: i32 = 1024;

/// The event of the listening socket; those of connections are small numbers.
const LISTENER: u64 = u64::MAX;

/// What a relay counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayCounters {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections ended by a reset or an error on either side.
    pub broken: u64,
    /// Bytes from the kernel to the stack.
    pub bytes_up: u64,
    /// Bytes from the stack to the kernel.
    pub bytes_down: u64,
}

/// A kernel socket and the connection it is tied to.
struct Pair {
    socket: OwnedFd,
    id: ConnectionId,
    /// The stack's connection is established.
    open: bool,
    /// A read may bring something.
    readable: bool,
    /// The kernel's side sent FIN; it comes after bytes that may still be there to read.
    hung_up: bool,
    /// A write may take something.
    writable: bool,
    /// The kernel's side sent FIN, and so did we to the agent.
    ended: bool,
    /// The agent sent FIN.
    half_closed: bool,
    /// The agent's FIN was passed on.
    shut: bool,
    queued: bool,
}

/// Ties kernel sockets to connections of a client-side stack.
pub struct Relay {
    listener: OwnedFd,
    watch: OwnedFd,
    target: (Ipv4Address, u16),
    pairs: Vec<Option<Pair>>,
    /// Pairs with something to do.
    work: VecDeque<usize>,
    events: Vec<epoll::Event>,
    acceptable: bool,
    counters: RelayCounters,
}

impl Relay {
    /// Listens on `address` for connections to be carried to `target`.
    ///
    /// # Errors
    ///
    /// If the address cannot be had, or the kernel gives no descriptors.
    pub fn bind(address: SocketAddr, target: (Ipv4Address, u16)) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        bind(&listener, &address)?;
        listen(&listener, BACKLOG)?;
        let watch = epoll::create(CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(LISTENER);
        epoll::add(&watch, &listener, data, EventFlags::IN | EventFlags::ET)?;
        Ok(Self {
            listener,
            watch,
            target,
            pairs: Vec::new(),
            work: VecDeque::new(),
            events: Vec::with_capacity(256),
            acceptable: true,
            counters: RelayCounters::default(),
        })
    }

    /// The address listened on; tells the port if it was left to the kernel.
    ///
    /// # Errors
    ///
    /// If the kernel does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        let address = getsockname(&self.listener)?;
        SocketAddr::try_from(address).map_err(|_| io::ErrorKind::Unsupported.into())
    }

    /// Becomes readable when [`poll`](Self::poll) has something to do.
    pub fn wait_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }

    /// What was counted.
    pub fn counters(&self) -> &RelayCounters {
        &self.counters
    }

    /// Waits for sockets at most `timeout`, for ever if there is none. For loops that have
    /// nothing else to wait for.
    ///
    /// # Errors
    ///
    /// If the kernel refuses. An interrupted wait is no error.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.work.is_empty() {
            let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
            self.watch(timeout.as_ref())?;
        }
        Ok(())
    }

    /// Moves what can be moved without waiting. Says whether anything was; if so there may be
    /// more, and the stack has something to send.
    ///
    /// The relay takes all events of the stack, which must serve nobody else.
    ///
    /// # Errors
    ///
    /// If the kernel refuses to watch. Errors of a connection end that connection only.
    pub fn poll<D: PacketDevice>(&mut self, now_us: u64, net: &mut Net<D>) -> io::Result<bool> {
        self.watch(Some(&Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        }))?;
        let accepted = self.accept(now_us, net)?;
        Ok(self.serve(net) || accepted)
    }

    /// The part of [`poll`](Self::poll) that asks the kernel for no news: moves what the stack
    /// brought, and what was known before. To be called after the stack received, so that an
    /// answer goes out in the turn in which it came.
    pub fn serve<D: PacketDevice>(&mut self, net: &mut Net<D>) -> bool {
        let mut moved = false;
        while let Some(event) = net.next_event() {
            moved = true;
            self.take(event);
        }
        for _ in 0..self.work.len() {
            let Some(index) = self.work.pop_front() else {
                break;
            };
            moved |= self.pump(index, net);
        }
        moved
    }

    /// Notes which sockets can go on.
    fn watch(&mut self, timeout: Option<&Timespec>) -> io::Result<()> {
        self.events.clear();
        let buffer = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.watch, buffer, timeout) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for at in 0..self.events.len() {
            let event = self.events[at];
            if event.data.u64() == LISTENER {
                self.acceptable = true;
                continue;
            }
            let index = event.data.u64() as usize;
            let flags = event.flags;
            let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            if let Some(Some(pair)) = self.pairs.get_mut(index) {
                pair.hung_up |= failed || flags.contains(EventFlags::RDHUP);
                pair.readable |= pair.hung_up || flags.contains(EventFlags::IN);
                pair.writable |= failed || flags.contains(EventFlags::OUT);
                self.queue(index);
            }
        }
        Ok(())
    }

    fn queue(&mut self, index: usize) {
        if let Some(Some(pair)) = self.pairs.get_mut(index)
            && !pair.queued
        {
            pair.queued = true;
            self.work.push_back(index);
        }
    }

    fn accept<D: PacketDevice>(&mut self, now_us: u64, net: &mut Net<D>) -> io::Result<bool> {
        let mut accepted = false;
        for _ in 0..PASS_ACCEPTS {
            if !self.acceptable || net.connections_free() == 0 {
                break;
            }
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::AGAIN) => {
                    self.acceptable = false;
                    break;
                }
                // The client gave up while it waited.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => continue,
                // Out of descriptors or memory: the client stays in the backlog till the next pass.
                Err(_) => break,
            };
            accepted = true;
            self.tie(now_us, socket, net)?;
        }
        Ok(accepted)
    }

    fn tie<D: PacketDevice>(
        &mut self,
        now_us: u64,
        socket: OwnedFd,
        net: &mut Net<D>,
    ) -> io::Result<()> {
        sockopt::set_tcp_nodelay(&socket, true)?;
        let Some(id) = net.connect(now_us, self.target) else {
            reset(&socket);
            return Ok(());
        };
        let index = id.index();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(
            &self.watch,
            &socket,
            EventData::new_u64(index as u64),
            flags,
        )?;
        if self.pairs.len() <= index {
            self.pairs.resize_with(index + 1, || None);
        }
        self.counters.accepted += 1;
        self.pairs[index] = Some(Pair {
            socket,
            id,
            open: false,
            readable: true,
            hung_up: false,
            writable: true,
            ended: false,
            half_closed: false,
            shut: false,
            queued: false,
        });
        Ok(())
    }

    /// Notes what happened in the stack.
    fn take(&mut self, event: NetEvent) {
        let (NetEvent::Opened(id)
        | NetEvent::Readable(id)
        | NetEvent::Writable(id)
        | NetEvent::HalfClosed(id)
        | NetEvent::Closed(id)) = event;
        let index = id.index();
        let Some(Some(pair)) = self.pairs.get_mut(index) else {
            return;
        };
        match event {
            NetEvent::Opened(_) => pair.open = true,
            NetEvent::HalfClosed(_) => pair.half_closed = true,
            NetEvent::Readable(_) | NetEvent::Writable(_) => {}
            NetEvent::Closed(_) => {
                if !(pair.ended && pair.half_closed) {
                    self.counters.broken += 1;
                    reset(&pair.socket);
                }
                // A queued index without a pair is passed over; closing ends the watch.
                self.pairs[index] = None;
                return;
            }
        }
        self.queue(index);
    }

    /// Moves bytes of one pair both ways.
    fn pump<D: PacketDevice>(&mut self, index: usize, net: &mut Net<D>) -> bool {
        let Some(Some(pair)) = self.pairs.get_mut(index) else {
            return false;
        };
        pair.queued = false;
        let before = self.counters;
        let result = pair
            .down(net, &mut self.counters)
            .and_then(|more_down| Ok(pair.up(net, &mut self.counters)? | more_down));
        match result {
            Ok(false) => {}
            Ok(true) => self.queue(index),
            // The stack's side hears of it as a reset; `Closed` comes back and ends the pair.
            Err(_) => {
                pair.readable = false;
                pair.writable = false;
                net.abort(pair.id);
                return true;
            }
        }
        before != self.counters
    }
}

impl Pair {
    /// Kernel to stack. Says whether there may be more.
    fn up<D: PacketDevice>(
        &mut self,
        net: &mut Net<D>,
        counters: &mut RelayCounters,
    ) -> Result<bool, Errno> {
        let mut moved = 0;
        while self.open && self.readable && !self.ended {
            if moved >= PASS_BYTES {
                return Ok(true);
            }
            let mut result = None;
            let taken = net.send_with(self.id, |space| {
                let space_bytes = space.len().min(PASS_BYTES - moved);
                let read = rustix::io::read(&self.socket, &mut space[..space_bytes]);
                result = Some((read, space_bytes));
                read.unwrap_or(0)
            });
            match result {
                // No space: the stack says when there is.
                None => return Ok(false),
                Some((Ok(0), _)) => {
                    self.ended = true;
                    net.close(self.id);
                }
                // A stream that gave less than was asked for has no more, but perhaps an end.
                Some((Ok(_), space_bytes)) => {
                    self.readable = self.hung_up || taken == space_bytes;
                }
                Some((Err(Errno::AGAIN), _)) => self.readable = false,
                Some((Err(Errno::INTR), _)) => {}
                Some((Err(error), _)) => return Err(error),
            }
            moved += taken;
            counters.bytes_up += taken as u64;
        }
        Ok(false)
    }

    /// Stack to kernel. Says whether there may be more.
    fn down<D: PacketDevice>(
        &mut self,
        net: &mut Net<D>,
        counters: &mut RelayCounters,
    ) -> Result<bool, Errno> {
        let mut moved = 0;
        while self.writable {
            let received = net.received(self.id);
            if received.is_empty() {
                break;
            }
            if moved >= PASS_BYTES {
                return Ok(true);
            }
            let offered = received.len().min(PASS_BYTES - moved);
            let flags = rustix::net::SendFlags::NOSIGNAL;
            let taken = match rustix::net::send(&self.socket, &received[..offered], flags) {
                Ok(taken) => taken,
                Err(Errno::AGAIN) => {
                    self.writable = false;
                    break;
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            net.consume(self.id, taken);
            self.writable = taken == offered;
            moved += taken;
            counters.bytes_down += taken as u64;
        }
        if self.half_closed && !self.shut && net.unread(self.id) == 0 {
            self.shut = true;
            shutdown(&self.socket, Shutdown::Write)?;
        }
        Ok(false)
    }
}

/// Makes closing the socket a reset.
fn reset(socket: &OwnedFd) {
    // Where this fails the peer gets a FIN, which is less true and as final.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// The relay's usual address: this machine only, a port of the kernel's choice.
pub const ANY_LOCAL_PORT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Address::LOCALHOST, 0));
