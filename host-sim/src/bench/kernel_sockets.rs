//! The rival over TCP: loopback sockets of the kernel, and nothing else.
//!
//! It serves 64-byte requests with 4 KiB replies, `depth` of them in flight on one connection,
//! and is written as one who wants it to win would write it: whatever has come is answered with
//! one system call, straight from the source.

use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::source::{RandomPages, Source};
use super::{REPLY_BYTES, REQUEST_BYTES};

/// Both ends on one thread, in turn: neither ever sleeps.
pub struct OneThread {
    client: TcpStream,
    server: TcpStream,
    asked: Asked,
    owed: Owed,
}

impl OneThread {
    /// A connection.
    ///
    /// # Errors
    ///
    /// If a socket call fails.
    pub fn new(depth: usize, source: &Source) -> io::Result<OneThread> {
        let (client, server) = pair()?;
        client.set_nonblocking(true)?;
        server.set_nonblocking(true)?;
        Ok(OneThread {
            client,
            server,
            asked: Asked::new(depth),
            owed: Owed::new(source),
        })
    }

    /// Requests per second over `time`, after a tenth of it to warm up.
    ///
    /// # Errors
    ///
    /// If a socket call fails.
    pub fn run(&mut self, time: Duration) -> io::Result<f64> {
        let OneThread {
            client,
            server,
            asked,
            owed,
        } = self;
        asked.race(time, |asked| {
            unless_blocked(asked.write(client))?;
            unless_blocked(owed.read(server).map(|_| ()))?;
            unless_blocked(owed.write(server))?;
            unless_blocked(asked.read(client))
        })
    }
}

/// The server on a thread of its own, and the client on the caller's; both block.
///
/// With one connection, nothing is gained by asking first which sockets are ready.
pub struct TwoThreads {
    client: TcpStream,
    asked: Asked,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl TwoThreads {
    /// A connection and its server.
    ///
    /// # Errors
    ///
    /// If a socket call fails.
    pub fn new(depth: usize, source: &Source) -> io::Result<TwoThreads> {
        let (client, mut server) = pair()?;
        let mut owed = Owed::new(source);
        let serve = move || {
            while owed.read(&mut server)? > 0 {
                owed.write(&mut server)?;
            }
            Ok(())
        };
        let server = thread::Builder::new().name("kernel-sockets".into());
        Ok(TwoThreads {
            client,
            asked: Asked::new(depth),
            server: Some(server.spawn(serve)?),
        })
    }

    /// Requests per second over `time`, after a tenth of it to warm up.
    ///
    /// # Errors
    ///
    /// If a socket call fails.
    pub fn run(&mut self, time: Duration) -> io::Result<f64> {
        let client = &mut self.client;
        self.asked.race(time, |asked| {
            asked.write(client)?;
            asked.read(client)
        })
    }
}

impl Drop for TwoThreads {
    fn drop(&mut self) {
        // The server finds the end, or an error because replies were under way: both end it.
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.server.take().map(JoinHandle::join);
    }
}

fn unless_blocked(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        other => other,
    }
}

fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((client, server))
}

/// The server's side: requests that came, replies that are owed.
struct Owed {
    requests: Vec<u8>,
    request_bytes: usize,
    /// Replies that are owed and not yet in the batch.
    owed: usize,
    /// Offsets of the pages that are being sent.
    batch: Vec<usize>,
    /// Bytes of the batch that were sent.
    sent_bytes: usize,
    pages: RandomPages,
}

/// Replies that go into one system call: as many as a socket's send buffer takes.
const BATCH_REPLIES: usize = 32;

impl Owed {
    fn new(source: &Source) -> Owed {
        Owed {
            requests: vec![0; 128 * REQUEST_BYTES],
            request_bytes: 0,
            owed: 0,
            batch: Vec::with_capacity(BATCH_REPLIES),
            sent_bytes: 0,
            pages: RandomPages::new(source),
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
        self.sent_bytes = 0;
        for _ in 0..self.owed.min(BATCH_REPLIES) {
            self.batch.push(self.pages.next_offset());
            self.owed -= 1;
        }
    }

    fn write(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        while self.owed > 0 || self.sent_bytes < self.batch.len() * REPLY_BYTES {
            if self.sent_bytes == self.batch.len() * REPLY_BYTES {
                self.fill_batch();
            }
            let mut slices = [IoSlice::new(&[]); BATCH_REPLIES];
            let unsent = &self.batch[self.sent_bytes / REPLY_BYTES..];
            for (slice, &offset) in slices.iter_mut().zip(unsent) {
                *slice = IoSlice::new(self.pages.page_at(offset));
            }
            let mut slices = &mut slices[..unsent.len()];
            IoSlice::advance_slices(&mut slices, self.sent_bytes % REPLY_BYTES);
            self.sent_bytes += stream.write_vectored(slices)?;
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
    fn new(depth: usize) -> Asked {
        Asked {
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

    /// Replies a second over `time` of going round, after a tenth of it to warm up.
    fn race(
        &mut self,
        time: Duration,
        mut round: impl FnMut(&mut Asked) -> io::Result<()>,
    ) -> io::Result<f64> {
        self.keep_up(time / 10, &mut round)?;
        self.keep_up(time, &mut round)
    }

    fn keep_up(
        &mut self,
        time: Duration,
        round: &mut impl FnMut(&mut Asked) -> io::Result<()>,
    ) -> io::Result<f64> {
        let (begin, before) = (Instant::now(), self.answered);
        while begin.elapsed() < time {
            round(self)?;
        }
        Ok((self.answered - before) as f64 / begin.elapsed().as_secs_f64())
    }
}
