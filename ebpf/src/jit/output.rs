//! Where an emitter's bytes go: into the area, or nowhere while they are only counted.

/// A run of machine code that grows.
pub(super) struct Output<'a> {
    area: &'a mut [u8],
    at: usize,
    writes: bool,
    failed: bool,
}

impl<'a> Output<'a> {
    /// An output that goes on at an offset; it only counts unless it `writes`.
    pub(super) fn new(area: &'a mut [u8], at: usize, writes: bool) -> Output<'a> {
        Output {
            area,
            at,
            writes,
            failed: false,
        }
    }

    /// True in the pass that writes, in which the places of all that is jumped to are known.
    pub(super) const fn writes(&self) -> bool {
        self.writes
    }

    /// Bytes so far, those that did not fit among them.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Adds bytes. What does not fit is only counted.
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.writes {
            self.put_at(self.at, bytes);
        }
        self.at += bytes.len();
    }

    /// Adds the first `len` of some bytes.
    #[inline]
    pub(super) fn put_first<const N: usize>(&mut self, bytes: [u8; N], len: usize) {
        let len = len.min(N);
        if self.writes {
            // As a whole where there is room, which is cheaper; what follows overwrites the rest.
            match self.area.get_mut(self.at..self.at + N) {
                Some(place) => place.copy_from_slice(&bytes),
                None => self.put_at(self.at, &bytes[..len]),
            }
        }
        self.at += len;
    }

    /// Says that what is emitted is not right.
    pub(super) const fn fail(&mut self) {
        self.failed = true;
    }

    /// True if what was emitted is not right: a fault of the emitter's.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Leaves room.
    pub(super) fn skip(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Writes bytes at an offset, if it writes.
    pub(super) fn put_at(&mut self, at: usize, bytes: &[u8]) {
        if !self.writes {
            return;
        }
        if let Some(place) = self.area.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
}
