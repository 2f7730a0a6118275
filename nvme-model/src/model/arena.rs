//! The memory that driver and controller share.
//!
//! One vector that the device owns, at bus addresses far from any pointer. In the coherent mode both
//! sides see it at once. In the other mode the controller works on a copy of its own, and bytes pass
//! only where a driver on non-coherent hardware would make them pass:
//!
//! - `sync_for_device` carries the CPU's bytes over; `sync_for_cpu` the device's, but only if
//!   `acquire` was called since the controller last posted a completion;
//! - ring words written reach the controller after `publish`;
//! - a page that the CPU wrote and did not sync is a dirty cache line: the device's bytes in it are
//!   overwritten when it is evicted, which here is at once;
//! - asking for the bytes of a page that a command in flight uses is counted as a violation.

use core::cell::Cell;
use core::ops::Range;
use std::vec::Vec;
use std::{boxed::Box, vec};

use crate::memory::PageRange;
use crate::seam::{Claim, Dma, PAGE_BYTES, Span};

use super::prp::Run;

/// The arena of a [`ModelDevice`](super::ModelDevice).
#[derive(Debug)]
pub struct ModelDma {
    cpu: Box<[u8]>,
    shadow: Option<Box<Shadow>>,
    base: u64,
    claim: Claim,
}

/// What a non-coherent arena keeps besides the CPU's bytes.
#[derive(Debug)]
struct Shadow {
    /// The bytes as the device sees them.
    device: Box<[u8]>,
    /// Ring words written by the CPU, in order.
    written: Vec<Range<usize>>,
    /// How many of them were published.
    published: Cell<usize>,
    /// Pages that the CPU wrote since they were last synced.
    dirty: Box<[bool]>,
    /// Commands in flight that use each page.
    in_flight: Box<[u16]>,
    /// Whether `acquire` followed the last completion posted.
    acquired: Cell<bool>,
    violations: Cell<u64>,
}

fn zeroed(bytes: usize) -> Box<[u8]> {
    vec![0; bytes].into_boxed_slice()
}

impl ModelDma {
    pub(super) fn new(pages: u32, base: u64, coherent: bool) -> Self {
        let bytes = pages as usize * PAGE_BYTES;
        let shadow = (!coherent).then(|| {
            Box::new(Shadow {
                device: zeroed(bytes),
                written: Vec::new(),
                published: Cell::new(0),
                dirty: vec![false; pages as usize].into_boxed_slice(),
                in_flight: vec![0; pages as usize].into_boxed_slice(),
                acquired: Cell::new(true),
                violations: Cell::new(0),
            })
        });
        Self {
            cpu: zeroed(bytes),
            shadow,
            base,
            claim: Claim::new(pages),
        }
    }

    /// How often the CPU asked for bytes of a page in flight. Counted in the non-coherent mode only.
    pub fn violations(&self) -> u64 {
        self.shadow
            .as_ref()
            .map_or(0, |shadow| shadow.violations.get())
    }

    /// Whether both sides see the arena at once.
    #[inline]
    pub(super) const fn is_coherent(&self) -> bool {
        self.shadow.is_none()
    }

    /// Where a range of bus addresses lies in the arena, if all of it does.
    #[inline]
    pub(super) fn resolve(&self, address: u64, bytes: usize) -> Option<Range<usize>> {
        let start = usize::try_from(address.checked_sub(self.base)?).ok()?;
        let end = start.checked_add(bytes)?;
        (end <= self.cpu.len()).then_some(start..end)
    }

    /// The arena as the controller sees it.
    #[inline]
    pub(super) fn device(&self) -> &[u8] {
        match &self.shadow {
            None => &self.cpu,
            Some(shadow) => &shadow.device,
        }
    }

    /// The arena as the controller sees it, to write. [`wrote`](Self::wrote) must follow.
    #[inline]
    pub(super) fn device_mut(&mut self) -> &mut [u8] {
        match &mut self.shadow {
            None => &mut self.cpu,
            Some(shadow) => &mut shadow.device,
        }
    }

    /// Reads eight bytes at a bus address.
    pub(super) fn read64(&self, address: u64) -> Option<u64> {
        let range = self.resolve(address, 8)?;
        let bytes = self.device().get(range)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }

    /// Evicts the CPU's dirty lines over what the controller has just written to `runs`.
    #[inline]
    pub(super) fn wrote(&mut self, runs: &[Run]) {
        if let Some(shadow) = &mut self.shadow {
            for run in runs {
                shadow.evict(&self.cpu, run.range());
            }
        }
    }

    /// Marks the pages of `runs` as used by a command in flight, or no longer so.
    #[inline]
    pub(super) fn hold(&mut self, runs: &[Run], held: bool) {
        if let Some(shadow) = &mut self.shadow {
            for page in runs.iter().flat_map(|run| pages(run.range())) {
                let count = &mut shadow.in_flight[page];
                *count = if held {
                    count.saturating_add(1)
                } else {
                    count.saturating_sub(1)
                };
            }
        }
    }

    /// Forgets all commands in flight.
    pub(super) fn release_all(&mut self) {
        if let Some(shadow) = &mut self.shadow {
            shadow.in_flight.fill(0);
        }
    }

    /// Makes published ring words visible to the controller.
    #[inline]
    pub(super) fn take_published(&mut self) {
        let Some(shadow) = &mut self.shadow else {
            return;
        };
        for range in shadow.written.drain(..shadow.published.take()) {
            shadow.device[range.clone()].copy_from_slice(&self.cpu[range]);
        }
    }

    /// Writes a completion entry.
    #[inline]
    pub(super) fn post(&mut self, range: Range<usize>, entry: &[u8]) {
        if let Some(shadow) = &self.shadow {
            shadow.acquired.set(false);
        }
        self.device_mut()[range].copy_from_slice(entry);
    }
}

impl Shadow {
    fn evict(&mut self, cpu: &[u8], range: Range<usize>) {
        for page in pages(range.clone()) {
            if self.dirty[page] {
                let start = range.start.max(page * PAGE_BYTES);
                let end = range.end.min((page + 1) * PAGE_BYTES);
                self.device[start..end].copy_from_slice(&cpu[start..end]);
            }
        }
    }

    fn check_owned(&self, span: Span) {
        if pages(span.range()).any(|page| self.in_flight[page] > 0) {
            self.violations.set(self.violations.get() + 1);
        }
    }

    fn touch(&mut self, span: Span) {
        self.check_owned(span);
        for page in pages(span.range()) {
            self.dirty[page] = true;
        }
    }
}

/// The pages a byte range touches.
fn pages(range: Range<usize>) -> Range<usize> {
    range.start / PAGE_BYTES..range.end.div_ceil(PAGE_BYTES)
}

impl Dma for ModelDma {
    fn pages(&self) -> u32 {
        self.claim.pages()
    }

    fn claim(&mut self) -> Option<PageRange> {
        self.claim.take()
    }

    fn bus_address(&self, page: u32) -> u64 {
        self.base + u64::from(page) * PAGE_BYTES as u64
    }

    #[inline]
    fn bytes(&self, span: Span) -> &[u8] {
        if let Some(shadow) = &self.shadow {
            shadow.check_owned(span);
        }
        &self.cpu[span.range()]
    }

    #[inline]
    fn bytes_mut(&mut self, span: Span) -> &mut [u8] {
        if let Some(shadow) = &mut self.shadow {
            shadow.touch(span);
        }
        &mut self.cpu[span.range()]
    }

    fn two_bytes_mut(&mut self, first: Span, second: Span) -> (&mut [u8], &mut [u8]) {
        if let Some(shadow) = &mut self.shadow {
            shadow.touch(first);
            shadow.touch(second);
        }
        let [first, second] = self
            .cpu
            .get_disjoint_mut([first.range(), second.range()])
            .expect("two spans of one arena overlap or lie outside it");
        (first, second)
    }

    #[inline]
    fn ring_read32(&self, at: Span) -> u32 {
        let bytes = &self.device()[at.range()];
        u32::from_le_bytes(bytes.try_into().expect("a ring word has four bytes"))
    }

    #[inline]
    fn ring_write(&mut self, at: Span, bytes: &[u8]) {
        self.cpu[at.range()].copy_from_slice(bytes);
        if let Some(shadow) = &mut self.shadow {
            shadow.written.push(at.range());
        }
    }

    #[inline]
    fn publish(&self) {
        if let Some(shadow) = &self.shadow {
            shadow.published.set(shadow.written.len());
        }
    }

    #[inline]
    fn acquire(&self) {
        if let Some(shadow) = &self.shadow {
            shadow.acquired.set(true);
        }
    }

    #[inline]
    fn sync_for_device(&mut self, span: Span) {
        let Some(shadow) = &mut self.shadow else {
            return;
        };
        shadow.device[span.range()].copy_from_slice(&self.cpu[span.range()]);
        // A page is clean once its last written part was synced; drivers sync what they hand over.
        for page in pages(span.range()) {
            shadow.dirty[page] = false;
        }
    }

    #[inline]
    fn sync_for_cpu(&mut self, span: Span) {
        let Some(shadow) = &mut self.shadow else {
            return;
        };
        if shadow.acquired.get() {
            self.cpu[span.range()].copy_from_slice(&shadow.device[span.range()]);
        }
    }
}
