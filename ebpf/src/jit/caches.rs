//! What a processor must be told about code that was written, for those who make [`CodeMemory`].
//!
//! [`CodeMemory`]: super::CodeMemory
#![allow(unsafe_code)] // Cache maintenance is done by instructions that Rust has no words for.

/// Makes code that was just written visible to the instruction fetch of every processor, up to
/// their next context synchronisation, and to that of this one at once. Where the caches do that by
/// themselves, as on x86-64, it does nothing.
///
/// # Safety
/// The bytes are mapped, and may be read.
#[inline]
pub unsafe fn publish(start: *const u8, len: usize) {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: the caller vouches for the bytes.
    unsafe {
        publish_aarch64(start, len);
    }
    #[cfg(not(target_arch = "aarch64"))]
    {
        let _ = (start, len);
    }
}

/// The sequence of the Arm Architecture Reference Manual (DDI 0487) section B2.7.4, "Concurrent
/// modification and execution of instructions": clean the data caches to the point of unification,
/// invalidate the instruction caches there, wait for each, and synchronise.
///
/// # Safety
/// As [`publish`].
#[cfg(target_arch = "aarch64")]
unsafe fn publish_aarch64(start: *const u8, len: usize) {
    use core::arch::asm;

    let ctr: usize;
    // SAFETY: CTR_EL0 is readable at every exception level (an operating system that traps it
    // answers it).
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    // Lines of caches, in words, by their logarithms: DminLine and IminLine.
    let data_line = 4_usize << (ctr >> 16 & 15);
    let code_line = 4_usize << (ctr & 15);
    let (from, to) = (start.addr(), start.addr() + len);
    for at in (from & !(data_line - 1)..to).step_by(data_line) {
        // SAFETY: it changes no memory, and the line holds bytes that the caller vouches for.
        unsafe { asm!("dc cvau, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: a barrier.
    unsafe { asm!("dsb ish", options(nostack, preserves_flags)) };
    for at in (from & !(code_line - 1)..to).step_by(code_line) {
        // SAFETY: it changes no memory, and the line holds bytes that the caller vouches for.
        unsafe { asm!("ic ivau, {}", in(reg) at, options(nostack, preserves_flags)) };
    }
    // SAFETY: barriers.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
