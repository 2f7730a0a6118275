//! The drive: an NVMe controller found on PCIe bus 0, its registers mapped.
#![allow(unsafe_code)] // Registers are memory of a device.

use core::ptr::NonNull;

use nvme_model::pci::{ConfigSpace, Function, PciError, Placed, Window, switch_on};
use nvme_model::seam::{Device, Registers};

use crate::dma::Arena;
use crate::map;
use crate::single::Once;

/// The controller's registers, BAR0.
pub(crate) struct Bar {
    start: NonNull<u8>,
    bytes: usize,
}

impl Bar {
    /// Where a register is; nowhere if the BAR does not reach so far, as a controller that reports a
    /// great stride of doorbells (CAP.DSTRD) might have it.
    fn at<T>(&self, offset: u32) -> Option<NonNull<T>> {
        let offset = offset as usize;
        let fits = offset.is_multiple_of(size_of::<T>()) && offset + size_of::<T>() <= self.bytes;
        // SAFETY: it is inside the BAR.
        fits.then(|| unsafe { self.start.add(offset).cast() })
    }
}

// Volatile loads and stores of Device-nGnRE memory are single accesses, in program order among
// themselves (Arm ARM B2.7.2). PCIe keeps the order of posted writes, and a read pushes them.
impl Registers for Bar {
    fn read32(&self, offset: u32) -> u32 {
        // SAFETY: the register is mapped for as long as the machine runs.
        self.at::<u32>(offset)
            .map_or(u32::MAX, |at| unsafe { at.read_volatile() })
    }

    fn read64(&self, offset: u32) -> u64 {
        // SAFETY: as above.
        self.at::<u64>(offset)
            .map_or(u64::MAX, |at| unsafe { at.read_volatile() })
    }

    fn write32(&self, offset: u32, value: u32) {
        if let Some(at) = self.at::<u32>(offset) {
            // SAFETY: as above.
            unsafe { at.write_volatile(value) };
        }
    }

    fn write64(&self, offset: u32, value: u64) {
        if let Some(at) = self.at::<u64>(offset) {
            // SAFETY: as above.
            unsafe { at.write_volatile(value) };
        }
    }
}

/// Configuration space of bus 0 (PCIe Base 4.0 section 7.2.2, ECAM).
struct Ecam(());

impl Ecam {
    fn at(function: Function, register: u16) -> *mut u32 {
        let offset = function.ecam_offset(register) as usize;
        assert!(offset < map::ECAM_BYTES, "not of bus 0");
        core::ptr::with_exposed_provenance_mut(map::ECAM + offset)
    }
}

impl ConfigSpace for Ecam {
    fn read32(&self, function: Function, register: u16) -> u32 {
        // SAFETY: it is mapped, and reading it changes nothing.
        unsafe { Self::at(function, register).read_volatile() }
    }

    fn write32(&mut self, function: Function, register: u16, value: u32) {
        let at = Self::at(function, register);
        // SAFETY: it is mapped. What the write lets a device do is for `switch_on` to know; the
        // window it places BARs in is nobody else's. Reading back makes it take effect before
        // anything that follows.
        unsafe {
            at.write_volatile(value);
            at.read_volatile();
        }
    }
}

/// There is one drive.
static ONCE: Once = Once::new();

/// The drive, as its driver sees it.
pub(crate) struct Drive {
    registers: Bar,
    arena: Arena,
}

impl Drive {
    /// Finds the controller, and gives it addresses and the right to use memory. To be called once.
    ///
    /// # Errors
    /// [`PciError`], where there is none.
    pub(crate) fn find() -> Result<(Drive, Placed), PciError> {
        ONCE.take();
        let window = Window {
            base: map::PCI_MEMORY as u64,
            bytes: map::PCI_MEMORY_BYTES as u64,
        };
        let placed = switch_on(&mut Ecam(()), window)?;
        let start = core::ptr::with_exposed_provenance_mut(placed.registers as usize);
        let registers = Bar {
            start: NonNull::new(start).expect("the window does not begin at 0"),
            bytes: placed.registers_bytes as usize,
        };
        // The controller may use the bus from here on, but knows of no memory yet: it was reset with
        // the machine.
        let arena = Arena::new();
        Ok((Drive { registers, arena }, placed))
    }
}

impl Device for Drive {
    type Registers = Bar;
    type Dma = Arena;

    fn registers(&self) -> &Bar {
        &self.registers
    }

    fn dma(&self) -> &Arena {
        &self.arena
    }

    fn dma_mut(&mut self) -> &mut Arena {
        &mut self.arena
    }
}
