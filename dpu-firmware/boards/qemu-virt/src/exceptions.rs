//! Exceptions: none is expected, so each is reported, with what the processor says of it, and ends
//! the machine.
#![allow(unsafe_code)] // It reads registers that tell of an exception.

use core::arch::asm;
use core::fmt::Write;

use aarch64_rt::{ExceptionHandlers, RegisterStateRef, exception_handlers};

use crate::console::Console;
use crate::last_words::{self, Status};

struct Handlers;

exception_handlers!(Handlers);

impl ExceptionHandlers for Handlers {
    extern "C" fn sync_current(state: RegisterStateRef<'_>) {
        report("synchronous exception", &state)
    }

    extern "C" fn irq_current(state: RegisterStateRef<'_>) {
        report("IRQ, which is masked", &state)
    }

    extern "C" fn fiq_current(state: RegisterStateRef<'_>) {
        report("FIQ, which is masked", &state)
    }

    extern "C" fn serror_current(state: RegisterStateRef<'_>) {
        report("SError", &state)
    }

    extern "C" fn sync_lower(state: RegisterStateRef<'_>) {
        report("synchronous exception of EL0, where nothing runs", &state)
    }

    extern "C" fn irq_lower(state: RegisterStateRef<'_>) {
        report("IRQ of EL0, where nothing runs", &state)
    }

    extern "C" fn fiq_lower(state: RegisterStateRef<'_>) {
        report("FIQ of EL0, where nothing runs", &state)
    }

    extern "C" fn serror_lower(state: RegisterStateRef<'_>) {
        report("SError of EL0, where nothing runs", &state)
    }
}

/// What the processor says: the syndrome, and the address that was at fault.
fn syndrome() -> (u64, u64) {
    let (esr, far): (u64, u64);
    // SAFETY: they can be read at EL1.
    unsafe {
        asm!(
            "mrs {}, esr_el1", "mrs {}, far_el1",
            out(reg) esr, out(reg) far,
            options(nomem, nostack, preserves_flags),
        );
    }
    (esr, far)
}

/// The exception class in words (Arm ARM D24.2.40, ESR_EL1.EC).
fn class(esr: u64) -> &'static str {
    match esr >> 26 & 0x3f {
        0x00 => "unknown instruction",
        0x07 => "floating point is trapped",
        0x0e => "illegal execution state",
        0x15 => "SVC",
        0x21 => "instruction abort",
        0x22 => "PC not aligned",
        0x25 => "data abort",
        0x26 => "SP not aligned",
        0x2f => "SError",
        0x3c => "BRK",
        _ => "other",
    }
}

fn report(what: &str, state: &RegisterStateRef<'_>) -> ! {
    last_words::begin();
    let (esr, far) = syndrome();
    let mut console = Console::new();
    let _ = writeln!(
        console,
        "\nexception: {what}: {}\n  ESR {esr:#010x}  ELR {:#x}  FAR {far:#x}  SPSR {:#x}",
        class(esr),
        state.elr,
        state.spsr,
    );
    if crate::pages::is_guard(far as usize) {
        let _ = writeln!(console, "  the stack is full");
    }
    let _ = writeln!(console, "  at {:#x}", state.elr);
    last_words::backtrace(&mut console, state.fp as usize);
    last_words::end(Status::Exception)
}
