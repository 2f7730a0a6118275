//! QEMU's NVMe device, driven from this process.
//!
//! QEMU runs the machine `virt` of `qemu-system-aarch64` with its processor stopped for ever. Its memory
//! is a file that both processes map, so data and rings cross nothing; register accesses go over the
//! socket of QEMU's test protocol, `qtest`. The device completes commands on QEMU's own thread, without
//! any clock being stepped, and is found and switched on by [`nvme_model::pci`], as on a board.
//!
//! `virt`, and not a PC, because the bare-metal board is that machine too: one package to install, and
//! one map of addresses.
//!
//! Nothing lies in the file system: memory, messages and socket are descriptors that QEMU inherits, and
//! are gone with the last process that holds them. The process is ended when the device is dropped, and
//! by the kernel when the thread that started it ends, however that happens.
//!
//! | file | holds |
//! |---|---|
//! | `process` | finds, checks, starts and ends the program |
//! | `protocol` | the lines of the protocol, without a socket |
//! | `qtest` | the socket: posted writes, reads |
//! | `memory` | the machine's memory as the driver's arena |
//! | `device` | all of it together, as a drive |
//!
//! # What it does not show
//!
//! Killing this process or QEMU keeps the kernel's page cache: that nothing acknowledged is lost then
//! says nothing about power. And writes with FUA are not made durable by QEMU 7.2, which ignores the bit.

mod device;
mod memory;
pub(crate) mod process;
mod protocol;
mod qtest;

pub(crate) use device::lock;
pub use device::{FileAccess, QemuConfig, QemuDevice, QemuNamespace};
pub use memory::QemuDma;
pub use process::{INSTALL, QemuError, find, version_of};
pub use qtest::QemuRegisters;
