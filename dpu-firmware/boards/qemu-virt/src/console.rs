//! The console: a PL011, for people. A line at start, and what is to be said at a bad end.
//!
//! What the agent has to tell goes by defmt and another way (`log.rs`).
#![allow(unsafe_code)] // It says where the registers are.

use core::fmt;
use core::ptr::NonNull;

use arm_pl011_uart::{
    DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer,
};

use crate::map;

/// The UART's clock, as the machine's device tree has it.
const CLOCK_HZ: u32 = 24_000_000;

/// The console.
pub(crate) struct Console(Uart<'static>);

impl Console {
    /// The console, ready to be written to. Whoever else has one may not be in the middle of a word:
    /// nobody is, but who is ended by a panic.
    pub(crate) fn new() -> Console {
        let at = core::ptr::with_exposed_provenance_mut::<PL011Registers>(map::UART);
        let at = NonNull::new(at).expect("registers are not at 0");
        // SAFETY: they are this machine's PL011, mapped as device memory. Another `Console` may
        // exist while this one writes only if a panic took over, and that does not return to it.
        let mut uart = Uart::new(unsafe { UniqueMmioPointer::new(at) });
        let line = LineConfig {
            data_bits: DataBits::Bits8,
            parity: Parity::None,
            stop_bits: StopBits::One,
        };
        // It refuses rates that the clock cannot make, and this one it can.
        let _ = uart.enable(line, 115_200, CLOCK_HZ);
        Console(uart)
    }

    fn put(&mut self, byte: u8) {
        while self.0.is_tx_fifo_full() {
            core::hint::spin_loop();
        }
        self.0.write_word(byte);
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}
