//! The other end of a connection: bytes as they are, or a session of the client library.

use client::session::Session;
use dpu_firmware::net::{ConnectionId, Net};
use host_sim::wire::WireEnd;

/// Which peer of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub(super) usize);

/// How the agent's side of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// It sent FIN: nothing more comes.
    Finished,
    /// The connection is no more: closed by both, or reset.
    Gone,
}

pub(super) enum Speech {
    Raw {
        outgoing: Vec<u8>,
        received: Vec<u8>,
    },
    Session(Box<Session>),
}

impl Speech {
    pub(super) const fn raw() -> Speech {
        Speech::Raw {
            outgoing: Vec::new(),
            received: Vec::new(),
        }
    }
}

pub(super) struct Peer {
    pub(super) id: ConnectionId,
    pub(super) speech: Speech,
    pub(super) opened: bool,
    pub(super) ended: Option<Ended>,
    pub(super) reads: bool,
    /// FIN follows what is queued.
    pub(super) closes: bool,
    pub(super) due: bool,
}

impl Peer {
    pub(super) const fn new(id: ConnectionId, speech: Speech) -> Peer {
        Peer {
            id,
            speech,
            opened: false,
            ended: None,
            reads: true,
            closes: false,
            due: false,
        }
    }

    pub(super) fn end(&mut self, ended: Ended) {
        self.ended = self.ended.max(Some(ended));
    }

    /// Moves bytes both ways as far as they go.
    pub(super) fn serve(&mut self, net: &mut Net<WireEnd>) {
        if self.reads {
            self.read(net);
        }
        let done = self.write(net);
        if done && std::mem::take(&mut self.closes) {
            net.close(self.id);
        }
        if self.ended == Some(Ended::Gone)
            && let Speech::Session(session) = &mut self.speech
        {
            session.connection_lost();
        }
    }

    fn read(&mut self, net: &mut Net<WireEnd>) {
        loop {
            let bytes = net.received(self.id);
            let count = bytes.len();
            if count == 0 {
                break;
            }
            match &mut self.speech {
                Speech::Raw { received, .. } => received.extend_from_slice(bytes),
                // A session that has ended remembers why.
                Speech::Session(session) => drop(session.feed(bytes)),
            }
            net.consume(self.id, count);
        }
        if self.ended.is_some()
            && let Speech::Session(session) = &mut self.speech
        {
            session.connection_lost();
        }
    }

    /// Whether all was queued.
    fn write(&mut self, net: &mut Net<WireEnd>) -> bool {
        match &mut self.speech {
            Speech::Raw { outgoing, .. } => {
                let sent = net.send(self.id, outgoing);
                outgoing.drain(..sent);
                outgoing.is_empty()
            }
            Speech::Session(session) => {
                let sent = net.send(self.id, session.outgoing());
                session.advance(sent);
                session.outgoing().is_empty()
            }
        }
    }
}
