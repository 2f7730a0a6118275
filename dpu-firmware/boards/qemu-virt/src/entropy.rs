//! Random numbers that nobody can know: from virtio-rng, or from the processor.
//!
//! TCP's sequence numbers, the boot's nonce and the secret of the maps come from here, each from bytes
//! of its own, so that none tells of another. There is no fallback to something that looks random:
//! a machine without a source does not start.
#![allow(unsafe_code)] // It reads registers that Rust has no words for.

use core::arch::asm;

use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::transport::DeviceType;

use crate::virtio::{self, Machine};

/// How often a source is asked that gives nothing.
const ATTEMPTS: usize = 100;

/// Why there is no entropy.
#[derive(Debug)]
pub(crate) struct NoEntropy;

/// Random numbers.
///
/// # Errors
/// The machine has no source, or it gives none.
pub(crate) fn draw<const N: usize>() -> Result<[u64; N], NoEntropy> {
    if let Some(found) = virtio::find(DeviceType::EntropySource) {
        let mut source = VirtIORng::<Machine, _>::new(found.transport).map_err(|_| NoEntropy)?;
        return numbers(|bytes| source.request_entropy(bytes).unwrap_or(0).min(bytes.len()));
    }
    if !has_rndr() {
        return Err(NoEntropy);
    }
    numbers(|bytes| {
        let Some(number) = rndr() else {
            return 0;
        };
        let len = bytes.len().min(size_of::<u64>());
        bytes[..len].copy_from_slice(&number.to_ne_bytes()[..len]);
        len
    })
}

/// Numbers from a source that fills the start of what it is given, and says how much.
fn numbers<const N: usize>(
    mut fill: impl FnMut(&mut [u8]) -> usize,
) -> Result<[u64; N], NoEntropy> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let mut bytes = [0; 8];
        let mut filled = 0;
        for _ in 0..ATTEMPTS {
            if filled == bytes.len() {
                break;
            }
            filled += fill(&mut bytes[filled..]);
        }
        if filled < bytes.len() {
            return Err(NoEntropy);
        }
        *number = u64::from_ne_bytes(bytes);
    }
    // A source that is stuck gives what it gave before.
    let stuck = (1..N).any(|index| numbers[index] == numbers[index - 1]);
    if stuck { Err(NoEntropy) } else { Ok(numbers) }
}

/// Whether the processor has RNDR: ID_AA64ISAR0_EL1.RNDR (Arm ARM D24.2).
fn has_rndr() -> bool {
    let features: u64;
    // SAFETY: every EL1 may read it.
    unsafe {
        asm!("mrs {}, id_aa64isar0_el1", out(reg) features, options(nomem, nostack, preserves_flags));
    }
    features >> 60 != 0
}

/// A number from the processor; none when it has none ready, which PSTATE.Z tells.
fn rndr() -> Option<u64> {
    let (number, ready): (u64, u64);
    // SAFETY: the processor has the register, s3_3_c2_c4_0.
    unsafe {
        asm!(
            "mrs {number}, s3_3_c2_c4_0",
            "cset {ready}, ne",
            number = out(reg) number,
            ready = out(reg) ready,
            options(nomem, nostack),
        );
    }
    (ready != 0).then_some(number)
}
