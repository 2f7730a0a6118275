//! A session over anything that is `Read + Write`: sends what there is, waits for what is missing.

use crate::error::ClientError;
use crate::limits;
use crate::session::{Reply, Session, SessionError, SubmitError, Ticket};
use protocol::Features;
use protocol::message::Request;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How to connect.
#[derive(Clone, Debug)]
pub struct Config {
    /// Time to wait for a connection.
    pub connect_timeout: Duration,
    /// Time to wait for the agent to take or send anything at all; `None` for ever.
    pub answer_timeout: Option<Duration>,
    /// Features of the protocol to ask for.
    pub features: Features,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            connect_timeout: limits::CONNECT_TIMEOUT,
            answer_timeout: Some(limits::ANSWER_TIMEOUT),
            features: Features::NONE,
        }
    }
}

/// A session and its transport. Every wait is one read of the transport, which should have a
/// timeout.
#[derive(Debug)]
pub struct Connection<T> {
    transport: T,
    session: Session,
    received: Vec<u8>,
}

impl Connection<TcpStream> {
    /// Connects to an agent by TCP, trying each address that `address` resolves to.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], or what [`Connection::open`] says.
    pub fn connect(address: &str, config: &Config) -> Result<Self, ClientError> {
        let stream = dial(address, config).map_err(|source| ClientError::Unreachable {
            address: address.to_owned(),
            source,
        })?;
        Connection::open(stream, config.features)
    }
}

fn dial(address: &str, config: &Config) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&candidate, config.connect_timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(config.answer_timeout)?;
                stream.set_write_timeout(config.answer_timeout)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl<T: Read + Write> Connection<T> {
    /// Says hello over a connected transport and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError::Session`] if the agent refuses, breaks the protocol, or the transport breaks.
    pub fn open(transport: T, features: Features) -> Result<Self, ClientError> {
        let received = vec![0; limits::RECEIVE_BYTES];
        let mut connection = Connection {
            transport,
            session: Session::new(features),
            received,
        };
        while !connection.session.is_open() {
            connection.pump()?;
        }
        Ok(connection)
    }

    /// The session, for what the connection does not offer itself.
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// The session, to look at.
    pub fn session_ref(&self) -> &Session {
        &self.session
    }

    /// The transport.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// The transport, to change its settings. Bytes read or written beside the session break it.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Sends everything there is to send.
    ///
    /// # Errors
    /// Why the session ended, if it does.
    pub fn send(&mut self) -> Result<(), SessionError> {
        while !self.session.outgoing().is_empty() {
            match self.transport.write(self.session.outgoing()) {
                Ok(0) => return self.broke(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.session.advance(n),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.broke(error),
            }
        }
        self.transport.flush().or_else(|error| self.broke(error))
    }

    /// Sends everything, then waits for something to arrive and takes it.
    ///
    /// # Errors
    /// Why the session ended, if it did or does.
    pub fn pump(&mut self) -> Result<(), SessionError> {
        if let Some(error) = self.session.ended() {
            return Err(error.clone());
        }
        self.send()?;
        self.receive()
    }

    fn receive(&mut self) -> Result<(), SessionError> {
        loop {
            match self.transport.read(&mut self.received) {
                Ok(0) => {
                    self.session.connection_lost();
                    return Err(self.cause());
                }
                Ok(n) => {
                    return self
                        .session
                        .feed(self.received.get(..n).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.session.end(match error.kind() {
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                            SessionError::TimedOut
                        }
                        _ => SessionError::ConnectionLost,
                    });
                    return Err(self.cause());
                }
            }
        }
    }

    /// Writing failed. The agent may have said why it closed before it did: look once.
    fn broke(&mut self, error: io::Error) -> Result<(), SessionError> {
        let timed_out = matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        );
        if timed_out {
            self.session.end(SessionError::TimedOut);
        } else if self.receive().is_ok() {
            self.session.connection_lost();
        }
        Err(self.cause())
    }

    fn cause(&self) -> SessionError {
        self.session
            .ended()
            .cloned()
            .unwrap_or(SessionError::ConnectionLost)
    }

    /// Submits a request, waiting for credit if need be. It is sent at the next wait, or
    /// [`Connection::send`].
    ///
    /// # Errors
    /// [`SubmitError`] for requests that can never be made; [`SubmitError::Ended`] if the session
    /// ended.
    pub fn submit<R: Request>(
        &mut self,
        request: &R,
        payload: &[u8],
    ) -> Result<Ticket, SubmitError> {
        self.with_credit(|session| session.submit(request, payload))
    }

    /// As [`Connection::submit`], with a buffer for the reply's payload: see
    /// [`Session::submit_into`].
    ///
    /// # Errors
    /// As [`Connection::submit`]; the buffer is then untouched.
    pub fn submit_into<R: Request>(
        &mut self,
        request: &R,
        payload: &[u8],
        buffer: &mut Vec<u8>,
    ) -> Result<Ticket, SubmitError> {
        self.with_credit(|session| session.submit_into(request, payload, buffer))
    }

    fn with_credit(
        &mut self,
        mut submit: impl FnMut(&mut Session) -> Result<Ticket, SubmitError>,
    ) -> Result<Ticket, SubmitError> {
        loop {
            match submit(&mut self.session) {
                Err(SubmitError::NoCredit) => self.pump().map_err(SubmitError::Ended)?,
                result => return result,
            }
        }
    }

    /// Waits for the next reply to complete; `None` if there is nothing to wait for.
    pub fn next_reply(&mut self) -> Option<Reply> {
        loop {
            if let Some(reply) = self.session.next_reply() {
                return Some(reply);
            }
            if self.session.in_flight() == 0 {
                return None;
            }
            // An error ends the session, which answers everything in flight.
            let _ = self.pump();
        }
    }

    /// Waits for the reply to this request; `None` if its reply was taken before.
    pub fn wait(&mut self, ticket: Ticket) -> Option<Reply> {
        loop {
            if let Some(reply) = self.session.take_reply(ticket) {
                return Some(reply);
            }
            if !self.session.is_pending(ticket) {
                return None;
            }
            let _ = self.pump();
        }
    }

    /// What a reply that is not a success means.
    pub(crate) fn error_of(&self, reply: &Reply) -> ClientError {
        ClientError::of_reply(reply, self.session.ended())
    }
}
