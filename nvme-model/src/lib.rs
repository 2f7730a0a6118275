//! NVMe: wire layouts, the register and DMA seam, a no_std driver, PCI set-up, a software controller.
#![cfg_attr(not(any(test, feature = "std")), no_std)]

pub mod driver;
#[cfg(feature = "exercise")]
pub mod exercise;
pub mod limits;
pub mod memory;
#[cfg(feature = "std")]
pub mod model;
pub mod pci;
pub mod seam;
pub mod spec;
