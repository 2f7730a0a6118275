//! What `virtio-drivers` needs of this machine: the transports, and memory for queues.
//!
//! Network and entropy are virtio devices over MMIO and not over PCI: their registers are at fixed
//! places, so the first packet needs no enumeration and no BAR, and each has an interrupt line of
//! its own at the interrupt controller, which is what ends a WFI. Over PCI that would take MSI-X and
//! with it an ITS, or INTx, which devices share.
#![allow(unsafe_code)] // It says which memory is registers, and which a device may use.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use virtio_drivers::transport::mmio::{MmioTransport, VirtIOHeader};
use virtio_drivers::transport::{DeviceType, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use crate::map;
use crate::single::Single;

/// Pages for the rings of all queues: two each for receive, transmit, and entropy.
const QUEUE_PAGES: usize = 8;

#[repr(C, align(4096))]
struct Area(UnsafeCell<[u8; QUEUE_PAGES * PAGE_SIZE]>);

// SAFETY: each page is given once, by `dma_alloc`.
unsafe impl Sync for Area {}

static AREA: Area = Area(UnsafeCell::new([0; QUEUE_PAGES * PAGE_SIZE]));

/// Pages of it that were given away.
static USED: Single<usize> = Single::new(0);

/// This machine, to `virtio-drivers`.
pub(crate) struct Machine;

// SAFETY: pages come out of a static that is given away once and starts at zero; a device reaches
// memory at the addresses that we see it at, coherently.
unsafe impl Hal for Machine {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let mut used = USED.lend();
        let end = *used + pages;
        assert!(
            end <= QUEUE_PAGES,
            "the pool of virtqueue pages is too small"
        );
        // SAFETY: it is within the static.
        let start = unsafe { AREA.0.get().cast::<u8>().add(*used * PAGE_SIZE) };
        *used = end;
        let start = NonNull::new(start).expect("a static has an address");
        (start.addr().get() as PhysAddr, start)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        // Given away for good: devices are there for as long as the machine.
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("only transports over PCI have BARs")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.addr().get() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// A device behind a transport.
pub(crate) struct Found {
    pub(crate) transport: MmioTransport<'static>,
    slot: usize,
}

impl Found {
    /// The shared peripheral interrupt of its line.
    pub(crate) fn spi(&self) -> u32 {
        map::VIRTIO_SPI + self.slot as u32
    }
}

/// Transports that have a driver, a bit for each.
static TAKEN: Single<u32> = Single::new(0);

const _: () = assert!(map::VIRTIO_SLOTS <= u32::BITS as usize);

/// The first device of a kind that has no driver yet.
pub(crate) fn find(kind: DeviceType) -> Option<Found> {
    let mut taken = TAKEN.lend();
    let mut free = (0..map::VIRTIO_SLOTS).filter(|slot| *taken & 1 << slot == 0);
    let found = free.find_map(|slot| {
        let at = core::ptr::with_exposed_provenance_mut(map::VIRTIO + slot * map::VIRTIO_BYTES);
        let header = NonNull::<VirtIOHeader>::new(at)?;
        // SAFETY: a transport is there for good, and mapped, and has no driver. One of another kind is
        // reset when it is dropped, which nobody minds: those that are in use were left out above.
        let transport = unsafe { MmioTransport::new(header, map::VIRTIO_BYTES) }.ok()?;
        let is_it = transport.device_type() == kind;
        is_it.then_some(Found { transport, slot })
    })?;
    *taken |= 1 << found.slot;
    Some(found)
}
