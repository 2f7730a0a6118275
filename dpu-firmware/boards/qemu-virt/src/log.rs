//! The log's way out: defmt frames by semihosting, to the standard output of QEMU.
//!
//! A channel of their own, since frames are not text and the console is. Of what this machine has it
//! is the one that needs no driver and no device, so the first line and the last before a bad end
//! both get out; its cost is one call into QEMU for each line. A second PL011 would be nearer to
//! hardware, and QEMU has it from 8.2 on only; `pci-serial` is behind an I/O BAR. On hardware
//! without a debugger the semihosting call is an exception: a board there writes to a UART or to
//! memory that a debugger reads.
#![allow(unsafe_code)] // It promises to be a logger.

use defmt::Encoder;
use semihosting::io::{Stdout, Write, stdout};

use crate::clock;
use crate::single::Single;

/// Bytes of a frame that are sent at once; longer ones are sent in pieces.
const BUFFER_BYTES: usize = 512;

struct Log {
    encoder: Encoder,
    out: Buffer,
    acquired: bool,
}

struct Buffer {
    bytes: [u8; BUFFER_BYTES],
    used: usize,
    stream: Option<Stdout>,
}

impl Buffer {
    fn push(&mut self, mut more: &[u8]) {
        while !more.is_empty() {
            if self.used == BUFFER_BYTES {
                self.send();
            }
            let fits = more.len().min(BUFFER_BYTES - self.used);
            self.bytes[self.used..self.used + fits].copy_from_slice(&more[..fits]);
            self.used += fits;
            more = &more[fits..];
        }
    }

    fn send(&mut self) {
        if self.stream.is_none() {
            self.stream = stdout().ok();
        }
        if let Some(stream) = &mut self.stream {
            // Who reads it may be gone; there is nobody to tell.
            let _ = stream.write_all(&self.bytes[..self.used]);
        }
        self.used = 0;
    }
}

static LOG: Single<Log> = Single::new(Log {
    encoder: Encoder::new(),
    out: Buffer {
        bytes: [0; BUFFER_BYTES],
        used: 0,
        stream: None,
    },
    acquired: false,
});

#[defmt::global_logger]
struct Logger;

// SAFETY: there is one core, and nothing interrupts it but an exception that does not return; a
// second `acquire` before the `release` panics.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        let log = &mut *LOG.lend();
        assert!(!log.acquired, "a log line within a log line");
        log.acquired = true;
        log.encoder.start_frame(|bytes| log.out.push(bytes));
    }

    unsafe fn flush() {
        LOG.lend().out.send();
    }

    unsafe fn release() {
        let log = &mut *LOG.lend();
        log.encoder.end_frame(|bytes| log.out.push(bytes));
        log.out.send();
        log.acquired = false;
    }

    unsafe fn write(bytes: &[u8]) {
        let log = &mut *LOG.lend();
        log.encoder.write(bytes, |bytes| log.out.push(bytes));
    }
}

defmt::timestamp!("{=u64:us}", clock::now_us());
