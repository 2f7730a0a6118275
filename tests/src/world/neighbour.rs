//! The client that must not notice what another one does.

use super::{Image, PeerId, World, pattern};

/// A client that keeps the rules, beside one that does not.
#[derive(Debug)]
pub struct Neighbour {
    peer: PeerId,
    object: u32,
    reader: u32,
    asked: u64,
}

impl Neighbour {
    /// One over namespace 1 of a default world.
    #[must_use]
    pub fn new(world: &mut World) -> Neighbour {
        let peer = world.connect();
        let object = world.open(peer, 1, 0, None);
        let program = world.load(peer, "neighbour", &Image::reader().build());
        let reader = world.attach(peer, program, &[object]);
        Neighbour {
            peer,
            object,
            reader,
            asked: 0,
        }
    }

    /// Its session.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.peer
    }

    /// Its object: all of namespace 1.
    #[must_use]
    pub const fn object(&self) -> u32 {
        self.object
    }

    /// Reads and calls, and expects the right answers.
    ///
    /// # Panics
    ///
    /// Where one is wrong, or both together take a second of virtual time.
    pub fn is_well(&mut self, world: &mut World) {
        self.asked += 1;
        let offset = self.asked * 7_919 % 4_000_000;
        let from_us = world.now_us();
        let bytes = world.read(self.peer, self.object, offset, 5_000);
        assert!(bytes == pattern(1, offset, 5_000));
        let args = Image::reader_args(offset, 3_000);
        let (_, bytes) = world.call(self.peer, self.reader, &args);
        assert!(bytes == pattern(1, offset, 3_000));
        assert!(world.now_us() < from_us + 1_000_000, "it was kept waiting");
    }
}
