//! Physical region pages: from a command's data pointer to byte runs of the arena (Base §4.1.1).

use core::ops::Range;
use std::vec::Vec;

use crate::seam::PAGE_BYTES;
use crate::spec::{Status, StatusCode};

use super::arena::ModelDma;
use super::controller::refuse;

const PAGE: u64 = PAGE_BYTES as u64;

/// A run of bytes in the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    start: usize,
    bytes: usize,
}

impl Run {
    /// The run of `range`.
    pub const fn new(range: Range<usize>) -> Self {
        Self {
            start: range.start,
            bytes: range.end.saturating_sub(range.start),
        }
    }

    /// Its bytes as offsets.
    #[inline]
    pub const fn range(&self) -> Range<usize> {
        self.start..self.start + self.bytes
    }

    /// Its length.
    #[inline]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// Resolves the data pointer of a command that moves `bytes` bytes into `runs`, in order, with
/// neighbours merged.
///
/// The first entry may start inside a page, at a multiple of four; all others start a page. With more
/// than two pages the second entry points to a list, eight-byte aligned, whose last entry in a page
/// points to the next list when there is more than that entry could cover.
#[inline]
pub(super) fn walk(
    dma: &ModelDma,
    prp1: u64,
    prp2: u64,
    bytes: usize,
    runs: &mut Vec<Run>,
) -> Result<(), Status> {
    runs.clear();
    if !prp1.is_multiple_of(4) {
        return Err(refuse(StatusCode::PRP_OFFSET_INVALID));
    }
    let first = bytes.min((PAGE - prp1 % PAGE) as usize);
    push(dma, prp1, first, runs)?;
    match bytes - first {
        0 => Ok(()),
        rest if rest <= PAGE_BYTES => push_page(dma, prp2, rest, runs),
        rest => walk_list(dma, prp2, rest, runs),
    }
}

fn walk_list(
    dma: &ModelDma,
    mut list: u64,
    mut rest: usize,
    runs: &mut Vec<Run>,
) -> Result<(), Status> {
    if !list.is_multiple_of(8) {
        return Err(refuse(StatusCode::PRP_OFFSET_INVALID));
    }
    // Every list but the first starts a page and so covers 511 pages: the walk ends.
    while rest > 0 {
        let entries = (PAGE - list % PAGE) / 8;
        for index in 0..entries {
            let entry = list.checked_add(index * 8).and_then(|at| dma.read64(at));
            let entry = entry.ok_or(Status::new(StatusCode::DATA_TRANSFER_ERROR))?;
            if index == entries - 1 && rest > PAGE_BYTES {
                if !entry.is_multiple_of(PAGE) {
                    return Err(refuse(StatusCode::PRP_OFFSET_INVALID));
                }
                list = entry;
                break;
            }
            let part = rest.min(PAGE_BYTES);
            push_page(dma, entry, part, runs)?;
            rest -= part;
            if rest == 0 {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn push_page(
    dma: &ModelDma,
    address: u64,
    bytes: usize,
    runs: &mut Vec<Run>,
) -> Result<(), Status> {
    if !address.is_multiple_of(PAGE) {
        return Err(refuse(StatusCode::PRP_OFFSET_INVALID));
    }
    push(dma, address, bytes, runs)
}

#[inline]
fn push(dma: &ModelDma, address: u64, bytes: usize, runs: &mut Vec<Run>) -> Result<(), Status> {
    let range = dma
        .resolve(address, bytes)
        .ok_or(Status::new(StatusCode::DATA_TRANSFER_ERROR))?;
    match runs.last_mut() {
        Some(last) if last.start + last.bytes == range.start => last.bytes += bytes,
        _ => runs.push(Run::new(range)),
    }
    Ok(())
}
