//! The memory map: what is where on this machine, and how much of it is ours.
//!
//! Everything here is fixed by QEMU's machine `virt` (`hw/arm/virt.c`, `base_memmap`), which keeps
//! its map for good, or chosen by us within it. The linker's script is written from this file too.
//!
//! ```text
//!  0x0800_0000  GICv2 distributor, CPU interface at +0x1_0000
//!  0x0900_0000  PL011
//!  0x0a00_0000  32 virtio-mmio transports of 0x200 bytes
//!  0x1000_0000  window for the memory BARs of PCI functions
//!  0x4000_0000  RAM: the device tree (not read), then at +2 MiB the image and everything static
//!  0x40_1000_0000  PCIe ECAM: 256 buses of 1 MiB
//! ```
//!
//! Addresses are the same on the bus, and in the page tables: there is no SMMU before the devices,
//! and virtual addresses are physical ones.
#![allow(dead_code)] // Some are the linker's script's alone.

/// Where RAM begins.
pub(crate) const RAM: usize = 0x4000_0000;

/// How much there is at least: QEMU must be given `-m 128M` or more.
pub(crate) const RAM_BYTES: usize = 128 << 20;

/// Where the image begins: behind the device tree, which QEMU puts at the start of RAM.
pub(crate) const IMAGE: usize = RAM + (2 << 20);

/// The interrupt controller's distributor.
pub(crate) const GIC_DISTRIBUTOR: usize = 0x0800_0000;

/// The interrupt controller's CPU interface.
pub(crate) const GIC_CPU: usize = 0x0801_0000;

/// Both of them.
pub(crate) const GIC_BYTES: usize = 0x2_0000;

/// The UART.
pub(crate) const UART: usize = 0x0900_0000;

/// Its registers.
pub(crate) const UART_BYTES: usize = 0x1000;

/// The first virtio-mmio transport.
pub(crate) const VIRTIO: usize = 0x0a00_0000;

/// Bytes from one transport to the next.
pub(crate) const VIRTIO_BYTES: usize = 0x200;

/// How many transports there are, with a device behind them or not.
pub(crate) const VIRTIO_SLOTS: usize = 32;

/// The shared peripheral interrupt of the first transport; the others follow.
pub(crate) const VIRTIO_SPI: u32 = 16;

/// The private peripheral interrupt of the virtual timer (INTID 27).
pub(crate) const TIMER_PPI: u32 = 11;

/// Where memory BARs may be put: below 4 GiB, so that 32-bit BARs reach it.
pub(crate) const PCI_MEMORY: usize = 0x1000_0000;

/// How much of that window is mapped; it goes up to 0x3eff_0000.
pub(crate) const PCI_MEMORY_BYTES: usize = 16 << 20;

/// PCIe configuration space (ECAM), with `highmem` on as it is by default.
pub(crate) const ECAM: usize = 0x40_1000_0000;

/// Bus 0 of it, which is where QEMU puts devices that are told nothing else.
pub(crate) const ECAM_BYTES: usize = 1 << 20;

/// Pages of the stack, of 4 KiB each.
pub(crate) const STACK_PAGES: usize = 256;

/// Bytes of the stack that exceptions are reported on.
pub(crate) const EXCEPTION_STACK_BYTES: usize = 16 << 10;
