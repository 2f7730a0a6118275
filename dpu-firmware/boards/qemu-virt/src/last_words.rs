//! The end of a machine that went wrong: where it happened, how it got there, a failing status.
//!
//! Frames are followed by their pointers, so the firmware is built with frame pointers. Addresses
//! are those of the ELF; the host names them.
#![allow(unsafe_code)] // It reads frames off the stack.

use core::arch::asm;
use core::fmt::Write;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::console::Console;
use crate::pages;

/// What QEMU ends with.
#[derive(Clone, Copy)]
pub(crate) enum Status {
    /// It panicked.
    Panic = 101,
    /// An exception.
    Exception = 102,
    /// It went wrong while it said what went wrong.
    Again = 103,
}

/// Frames that are shown.
const FRAMES_MAX: usize = 32;

static BEGUN: AtomicBool = AtomicBool::new(false);

/// To be called before anything is said.
pub(crate) fn begin() {
    if BEGUN.load(Ordering::Relaxed) {
        end(Status::Again);
    }
    BEGUN.store(true, Ordering::Relaxed);
}

/// Ends QEMU.
pub(crate) fn end(status: Status) -> ! {
    semihosting::process::exit(status as i32)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    begin();
    let mut console = Console::new();
    let _ = writeln!(console, "\n{info}");
    let frame: usize;
    // SAFETY: it reads a register.
    unsafe { asm!("mov {}, x29", out(reg) frame, options(nomem, nostack, preserves_flags)) };
    backtrace(&mut console, frame);
    end(Status::Panic)
}

/// Prints return addresses, the innermost first.
pub(crate) fn backtrace(console: &mut Console, mut frame: usize) {
    let stack = pages::stack();
    for _ in 0..FRAMES_MAX {
        let inside = stack.contains(&frame) && stack.contains(&(frame + 15));
        if !inside || !frame.is_multiple_of(16) {
            return;
        }
        let record = core::ptr::with_exposed_provenance::<[usize; 2]>(frame);
        // SAFETY: it is on the stack, which is mapped, and aligned (AAPCS64 section 6.4.6: a frame
        // record is the pointer to the one before, and a return address).
        let [next, back] = unsafe { record.read_volatile() };
        if !pages::is_code(back) {
            return;
        }
        // The call is the instruction before the one that is returned to.
        let _ = writeln!(console, "  at {:#x}", back - 4);
        // Frames lie upwards; one that does not is a stack that was overwritten.
        if next <= frame {
            return;
        }
        frame = next;
    }
}
