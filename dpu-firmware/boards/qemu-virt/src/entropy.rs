//! Random numbers that nobody can know: from virtio-rng, or from the processor.
//!
//! TCP's sequence numbers, the boot's nonce and the secret of the maps come from here, each from bytes
//! of its own, so that none tells of another. There is no fallback to something that looks random:
//! a machine without a source does not start.
#![allow(unsafe_code)] // It reads registers that Rust has no words for, and lends a device memory.

use core::arch::asm;

use virtio_drivers::device::common::Feature;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::mmio::MmioTransport;
use virtio_drivers::transport::{DeviceStatus, DeviceType, Transport};

use crate::clock;
use crate::virtio::{self, Machine};

/// How often a source is asked that gives nothing.
const ATTEMPTS: usize = 100;

/// How long virtio-rng may take for an answer.
const ANSWER_US: u64 = 5_000_000;

/// How long its reset may take.
const RESET_US: u64 = 1_000_000;

/// The only queue of virtio-rng, and its length.
const QUEUE: u16 = 0;
const QUEUE_LEN: usize = 8;

/// Why there is no entropy.
#[derive(Debug)]
pub(crate) struct NoEntropy;

/// Random numbers.
///
/// # Errors
/// The machine has no source, or it gives none.
pub(crate) fn draw<const N: usize>() -> Result<[u64; N], NoEntropy> {
    if let Some(found) = virtio::find(DeviceType::EntropySource) {
        let mut source = VirtioRng::new(found.transport).ok_or(NoEntropy)?;
        return numbers(|bytes| source.fill(bytes));
    }
    if !has_rndr() {
        return Err(NoEntropy);
    }
    numbers(|bytes| {
        let Some(number) = rndr() else {
            return Some(0);
        };
        let len = bytes.len().min(size_of::<u64>());
        bytes[..len].copy_from_slice(&number.to_ne_bytes()[..len]);
        Some(len)
    })
}

/// virtio-rng (virtio 1.2 section 5.4). The driver of `virtio-drivers` waits for ever for a device that does
/// not answer.
struct VirtioRng {
    transport: MmioTransport<'static>,
    queue: VirtQueue<Machine, QUEUE_LEN>,
}

impl VirtioRng {
    fn new(mut transport: MmioTransport<'static>) -> Option<VirtioRng> {
        transport.begin_init(Feature::VERSION_1);
        let queue = VirtQueue::new(&mut transport, QUEUE, false, false).ok()?;
        transport.finish_init();
        Some(VirtioRng { transport, queue })
    }

    /// Has it fill the start of some bytes, and says how much; none if it does not answer, and then
    /// it is of no use any more.
    fn fill(&mut self, bytes: &mut [u8]) -> Option<usize> {
        let len = bytes.len();
        let outputs = &mut [bytes];
        // SAFETY: the bytes are there until this returns. By then the device has given them back, or its
        // reset is complete, after which it uses none (virtio 1.2 section 2.4.1).
        let token = unsafe { self.queue.add(&[], outputs) }.ok()?;
        if self.queue.should_notify() {
            self.transport.notify(QUEUE);
        }
        let until_us = clock::now_us() + ANSWER_US;
        while !self.queue.can_pop() {
            if clock::now_us() > until_us {
                self.give_up();
                return None;
            }
            core::hint::spin_loop();
        }
        // SAFETY: these are the bytes that were added with the token.
        let Ok(filled) = (unsafe { self.queue.pop_used(token, &[], outputs) }) else {
            // It names another token: the bytes are still its own.
            self.give_up();
            return None;
        };
        Some((filled as usize).min(len))
    }

    /// Takes back what it was lent, by a reset, which is complete once the status reads as zero (virtio 1.2
    /// section 2.4.2).
    ///
    /// # Panics
    /// It is not reset in time. To return would be to use memory that it may write to.
    fn give_up(&mut self) {
        self.transport.set_status(DeviceStatus::empty());
        let until_us = clock::now_us() + RESET_US;
        while self.transport.get_status() != DeviceStatus::empty() {
            assert!(
                clock::now_us() <= until_us,
                "virtio-rng answers neither a request nor a reset"
            );
            core::hint::spin_loop();
        }
    }
}

/// Numbers from a source that fills the start of what it is given, and says how much.
fn numbers<const N: usize>(
    mut fill: impl FnMut(&mut [u8]) -> Option<usize>,
) -> Result<[u64; N], NoEntropy> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        let mut bytes = [0; 8];
        let mut filled = 0;
        for _ in 0..ATTEMPTS {
            if filled == bytes.len() {
                break;
            }
            filled += fill(&mut bytes[filled..]).ok_or(NoEntropy)?;
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
