//! NVMe: wire layouts, the register and DMA seam, a no_std driver, a software controller.
#![cfg_attr(not(test), no_std)]
