//! eBPF as RFC 9669 has it: images, checks, meter, interpreter, the engine seam.
#![cfg_attr(not(test), no_std)]
