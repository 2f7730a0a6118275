//! A store with a volatile write cache that forgets.
//!
//! Writes go to the store below at once, and what each block held before is kept until a flush. When the
//! power is cut, every block written since the last flush gets, at random, its last content or any of
//! those it had since then: some writes survive, some do not, in no order. So reads cost nothing more,
//! and a flush makes exactly the writes before it durable.

use std::boxed::Box;
use std::collections::BTreeMap;
use std::format;
use std::os::fd::BorrowedFd;
use std::string::String;
use std::vec;
use std::vec::Vec;

use super::{Buffers, Finished, Store, StoreError, StoreOp, Submitted};
use crate::model::random::Random;

/// A store whose writes are volatile until flushed.
#[derive(Debug)]
pub struct CachedStore<S> {
    below: S,
    block_bytes: u64,
    /// By block: what it held before each write since the last flush, oldest first.
    before: BTreeMap<u64, Vec<Version>>,
    /// Counts writes.
    sequence: u64,
    /// Flushes below that are pending: token, and the last write each covers.
    flushes: Vec<(u64, u64)>,
}

#[derive(Debug)]
struct Version {
    /// The write that replaced it.
    replaced_by: u64,
    bytes: Box<[u8]>,
}

impl<S: Store> CachedStore<S> {
    /// A cache over a store, which loses whole blocks of `block_bytes`.
    ///
    /// # Panics
    ///
    /// When a block has no bytes.
    pub fn new(below: S, block_bytes: u32) -> Self {
        assert!(block_bytes > 0, "a block has bytes");
        let block_bytes = block_bytes.into();
        Self {
            below,
            block_bytes,
            before: BTreeMap::new(),
            sequence: 0,
            flushes: Vec::new(),
        }
    }

    /// Blocks whose last content a power cut may undo.
    pub fn unflushed_blocks(&self) -> usize {
        self.before.len()
    }

    /// The store below.
    pub fn below(&self) -> &S {
        &self.below
    }

    fn blocks(&self, offset: u64, bytes: u64) -> core::ops::Range<u64> {
        offset / self.block_bytes..offset.saturating_add(bytes).div_ceil(self.block_bytes)
    }

    /// Keeps what the blocks of a range hold.
    fn keep(&mut self, offset: u64, bytes: u64) -> Result<(), StoreError> {
        if offset
            .checked_add(bytes)
            .is_none_or(|end| end > self.below.bytes())
        {
            return Err(StoreError::OutOfRange);
        }
        self.sequence += 1;
        for block in self.blocks(offset, bytes) {
            let mut bytes = vec![0; self.block_bytes as usize].into_boxed_slice();
            self.below.read_now(block * self.block_bytes, &mut bytes)?;
            let version = Version {
                replaced_by: self.sequence,
                bytes,
            };
            self.before.entry(block).or_default().push(version);
        }
        Ok(())
    }

    /// A range is durable as it is: nothing it held before can come back.
    fn settle(&mut self, offset: u64, bytes: u64) {
        for block in self.blocks(offset, bytes) {
            self.before.remove(&block);
        }
    }

    /// All writes up to `sequence` are durable.
    fn settle_until(&mut self, sequence: u64) {
        self.before.retain(|_, versions| {
            versions.retain(|version| version.replaced_by > sequence);
            !versions.is_empty()
        });
    }

    /// Writes and zeroes are carried out at once, so that what they replace is known.
    fn write(&mut self, offset: u64, bytes: &[u8], durable: bool) -> Result<(), StoreError> {
        if self.below.read_only() {
            return Err(StoreError::ReadOnly);
        }
        self.keep(offset, bytes.len() as u64)?;
        self.below.write_now(offset, bytes)?;
        if durable {
            self.settle(offset, bytes.len() as u64);
        }
        Ok(())
    }

    fn zero(&mut self, offset: u64, bytes: u64, durable: bool) -> Result<(), StoreError> {
        const PIECE_BYTES: u64 = 64 * 1024;
        let zeroes = vec![0; bytes.min(PIECE_BYTES) as usize];
        let mut done = 0;
        while done < bytes {
            let piece = (bytes - done).min(PIECE_BYTES);
            self.write(offset + done, &zeroes[..piece as usize], durable)?;
            done += piece;
        }
        Ok(())
    }

    fn flush(&mut self, token: u64) -> Submitted {
        let submitted = self
            .below
            .submit(token, StoreOp::Flush, &mut Buffers::empty());
        match submitted {
            Submitted::Done(Ok(())) => self.settle_until(self.sequence),
            Submitted::Pending => self.flushes.push((token, self.sequence)),
            Submitted::Done(Err(_)) | Submitted::Busy => {}
        }
        submitted
    }
}

impl<S: Store> Store for CachedStore<S> {
    fn bytes(&self) -> u64 {
        self.below.bytes()
    }

    fn describe(&self) -> String {
        format!("{} behind a volatile cache", self.below.describe())
    }

    fn read_only(&self) -> bool {
        self.below.read_only()
    }

    fn volatile(&self) -> bool {
        true
    }

    fn submit(&mut self, token: u64, op: StoreOp, data: &mut Buffers<'_>) -> Submitted {
        match op {
            StoreOp::Read { .. } => self.below.submit(token, op, data),
            StoreOp::Write { offset, durable } => {
                let mut bytes = vec![0; data.len()];
                data.copy_to(&mut bytes);
                Submitted::Done(self.write(offset, &bytes, durable))
            }
            StoreOp::Zero {
                offset,
                bytes,
                durable,
            } => Submitted::Done(self.zero(offset, bytes, durable)),
            StoreOp::Flush => self.flush(token),
        }
    }

    fn poll(&mut self) -> Option<Finished<'_>> {
        let Self {
            below,
            before,
            flushes,
            ..
        } = self;
        let finished = below.poll()?;
        if let Some(at) = flushes
            .iter()
            .position(|(token, _)| *token == finished.token)
        {
            let (_, sequence) = flushes.swap_remove(at);
            if finished.result.is_ok() {
                before.retain(|_, versions| {
                    versions.retain(|version| version.replaced_by > sequence);
                    !versions.is_empty()
                });
            }
        }
        Some(finished)
    }

    fn kick(&mut self) {
        self.below.kick();
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        self.below.wait_fd()
    }

    fn power_cut(&mut self, seed: u64) {
        self.below.power_cut(seed);
        self.flushes.clear();
        let mut random = Random::new(seed);
        for (block, versions) in core::mem::take(&mut self.before) {
            // The last content, or any that a write since the last flush replaced.
            let choice = random.below(versions.len() as u64 + 1) as usize;
            if let Some(version) = versions.get(choice) {
                // A store below that cannot take it back would not be one to lose power over.
                let restored = self
                    .below
                    .write_now(block * self.block_bytes, &version.bytes);
                debug_assert!(restored.is_ok(), "the store below refused block {block}");
            }
        }
    }

    fn read_now(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        self.below.read_now(offset, bytes)
    }

    fn write_now(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.write(offset, bytes, false)
    }
}
