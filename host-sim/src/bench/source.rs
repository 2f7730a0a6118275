//! What every reply of the network benches is copied from: one memory for the agent's drive and
//! for the rivals, a random page of it each time.
//!
//! All of it is written first. Memory that never was is one page of zeros to the kernel, which
//! stays in the cache and is read four times as fast.

use std::sync::Arc;

use nvme_model::model::{Buffers, Finished, Store, StoreError, StoreOp, Submitted};

use super::{REPLY_BYTES, SOURCE_BYTES};
use crate::random::Random;

/// The memory. Clones share it.
#[derive(Clone)]
pub struct Source(Arc<[u8]>);

impl Source {
    /// Takes the memory and writes all of it.
    #[must_use]
    pub fn new() -> Source {
        let mut bytes = vec![0; SOURCE_BYTES];
        let mut random = Random::new(5);
        for word in bytes.as_chunks_mut::<8>().0 {
            *word = random.next_u64().to_le_bytes();
        }
        Source(bytes.into())
    }

    /// It as a drive that cannot be written.
    #[must_use]
    pub fn store(&self) -> impl Store + 'static {
        SourceStore(self.clone())
    }
}

impl Default for Source {
    fn default() -> Source {
        Source::new()
    }
}

/// Page after page of a source, at random.
pub struct RandomPages {
    source: Source,
    random: Random,
}

impl RandomPages {
    /// Pages of `source`, in an order that is the same every time.
    #[must_use]
    pub fn new(source: &Source) -> RandomPages {
        RandomPages {
            source: source.clone(),
            random: Random::new(7),
        }
    }

    /// The offset of the next page.
    pub fn next_offset(&mut self) -> usize {
        let page = self.random.below((SOURCE_BYTES / REPLY_BYTES) as u64);
        page as usize * REPLY_BYTES
    }

    /// The next page.
    pub fn next_page(&mut self) -> &[u8] {
        let offset = self.next_offset();
        self.page_at(offset)
    }

    /// The page at this offset.
    #[must_use]
    pub fn page_at(&self, offset: usize) -> &[u8] {
        &self.source.0[offset..][..REPLY_BYTES]
    }
}

struct SourceStore(Source);

impl std::fmt::Debug for SourceStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe())
    }
}

impl SourceStore {
    fn part(&self, offset: u64, bytes: usize) -> Result<&[u8], StoreError> {
        let start = usize::try_from(offset).map_err(|_| StoreError::OutOfRange)?;
        let rest = self.0.0.get(start..).ok_or(StoreError::OutOfRange)?;
        rest.get(..bytes).ok_or(StoreError::OutOfRange)
    }
}

impl Store for SourceStore {
    fn bytes(&self) -> u64 {
        self.0.0.len() as u64
    }

    fn describe(&self) -> String {
        format!("{} bytes of memory, to read", self.0.0.len())
    }

    fn read_only(&self) -> bool {
        true
    }

    #[inline]
    fn submit(&mut self, _token: u64, op: StoreOp, data: &mut Buffers<'_>) -> Submitted {
        Submitted::Done(match op {
            StoreOp::Read { offset } => self
                .part(offset, data.len())
                .map(|bytes| data.fill_from(bytes)),
            StoreOp::Write { .. } | StoreOp::Zero { .. } => Err(StoreError::ReadOnly),
            StoreOp::Flush => Ok(()),
        })
    }

    fn poll(&mut self) -> Option<Finished<'_>> {
        None
    }

    fn power_cut(&mut self, _seed: u64) {}

    fn read_now(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        bytes.copy_from_slice(self.part(offset, bytes.len())?);
        Ok(())
    }

    fn write_now(&mut self, _offset: u64, _bytes: &[u8]) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drive_holds_the_source_and_keeps_it() {
        let source = Source::new();
        let mut pages = RandomPages::new(&source);
        let mut store = source.store();
        assert!(store.read_only());
        assert_eq!(store.bytes(), SOURCE_BYTES as u64);
        let mut bytes = [0; REPLY_BYTES];
        for _ in 0..100 {
            let offset = pages.next_offset();
            store.read_now(offset as u64, &mut bytes).unwrap();
            assert!(bytes[..] == *pages.page_at(offset) && bytes != [0; REPLY_BYTES]);
        }
        assert_eq!(store.write_now(0, &bytes), Err(StoreError::ReadOnly));
        let beyond = store.read_now(SOURCE_BYTES as u64 - 1, &mut bytes[..2]);
        assert_eq!(beyond, Err(StoreError::OutOfRange));
    }
}
