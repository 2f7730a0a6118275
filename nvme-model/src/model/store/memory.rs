//! A store in memory, durable as far as the process is: everything is done at once.

use std::boxed::Box;
use std::string::String;
use std::{format, vec};

use super::{Buffers, Finished, Store, StoreError, StoreOp, Submitted};

/// Blocks in memory.
#[derive(Debug)]
pub struct MemoryStore {
    bytes: Box<[u8]>,
}

impl MemoryStore {
    /// A store of `bytes` bytes, all zero. Memory is taken as it is written.
    ///
    /// # Panics
    ///
    /// When the address space has no room for it.
    pub fn new(bytes: u64) -> Self {
        let bytes = usize::try_from(bytes).expect("a memory store fits the address space");
        Self {
            bytes: vec![0; bytes].into_boxed_slice(),
        }
    }

    /// A store that holds `bytes`.
    pub fn from_bytes(bytes: impl Into<Box<[u8]>>) -> Self {
        Self {
            bytes: bytes.into(),
        }
    }

    /// What it holds.
    pub fn contents(&self) -> &[u8] {
        &self.bytes
    }

    #[inline]
    fn part(&mut self, offset: u64, bytes: u64) -> Result<&mut [u8], StoreError> {
        let start = usize::try_from(offset).map_err(|_| StoreError::OutOfRange)?;
        let bytes = usize::try_from(bytes).map_err(|_| StoreError::OutOfRange)?;
        let end = start.checked_add(bytes).ok_or(StoreError::OutOfRange)?;
        self.bytes.get_mut(start..end).ok_or(StoreError::OutOfRange)
    }

    #[inline]
    fn carry_out(&mut self, op: StoreOp, data: &mut Buffers<'_>) -> Result<(), StoreError> {
        match op {
            StoreOp::Read { offset } => data.fill_from(self.part(offset, data.len() as u64)?),
            StoreOp::Write { offset, .. } => data.copy_to(self.part(offset, data.len() as u64)?),
            StoreOp::Zero { offset, bytes, .. } => self.part(offset, bytes)?.fill(0),
            StoreOp::Flush => {}
        }
        Ok(())
    }
}

impl Store for MemoryStore {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn describe(&self) -> String {
        format!("{} bytes of memory", self.bytes.len())
    }

    #[inline]
    fn submit(&mut self, _token: u64, op: StoreOp, data: &mut Buffers<'_>) -> Submitted {
        Submitted::Done(self.carry_out(op, data))
    }

    fn poll(&mut self) -> Option<Finished<'_>> {
        None
    }

    fn power_cut(&mut self, _seed: u64) {}

    fn read_now(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), StoreError> {
        bytes.copy_from_slice(self.part(offset, bytes.len() as u64)?);
        Ok(())
    }

    fn write_now(&mut self, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        self.part(offset, bytes.len() as u64)?
            .copy_from_slice(bytes);
        Ok(())
    }
}
