//! The network interface: virtio-net (virtio 1.2 section 5.1) as the agent's `PacketDevice`.
//!
//! As many packet slots each way as there are descriptors, so a slot that is free always has a
//! descriptor, and receiving never runs dry while the agent keeps up. Packets are read and written in
//! their slots. Slots are shared with the device by its queue: one is lent to the device or to us,
//! and a table of our own says which, because what a device writes into a ring is not to be believed:
//!
//! - a used entry that names no slot in the device's hands ends the use of the device;
//! - a length that is greater than the slot, or shorter than a header, drops the packet.
#![allow(unsafe_code)] // It lends slots to a device.

use alloc::boxed::Box;
use core::cell::{Cell, RefCell, UnsafeCell};

use dpu_firmware::net::{Link, Medium, PacketDevice, PacketReceive, PacketTransmit};
use virtio_drivers::Error;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::transport::mmio::MmioTransport;

use crate::single::Once;
use crate::virtio::Machine;

/// Descriptors of each queue, and slots each way.
const SLOTS: usize = 128;

/// Bytes of a slot: a header of at most 12 bytes, Ethernet's 14, and 1500; virtio wants 1526.
const SLOT_BYTES: usize = 2048;

/// Largest IPv4 packet.
const MTU: usize = 1500;

type Raw = VirtIONetRaw<Machine, MmioTransport<'static>, SLOTS>;

#[repr(C, align(4096))]
struct Area(UnsafeCell<[[u8; SLOT_BYTES]; 2 * SLOTS]>);

// SAFETY: it is taken apart once, by `Nic::new`, into slots that have one owner each.
unsafe impl Sync for Area {}

static AREA: Area = Area(UnsafeCell::new([[0; SLOT_BYTES]; 2 * SLOTS]));

/// The device, and whether it has kept the rules so far.
struct Shared {
    raw: RefCell<Raw>,
    broken: Cell<bool>,
}

impl Shared {
    /// It broke the rules: from now on it is as if no cable were plugged in.
    fn break_off(&self, why: &str) {
        if !self.broken.replace(true) {
            defmt::error!(
                "virtio-net broke the rules and is used no more: {=str}",
                why
            );
        }
    }
}

/// There is one interface.
static ONCE: Once = Once::new();

/// A network interface.
pub(crate) struct Nic {
    shared: &'static Shared,
    mac: [u8; 6],
    receive: Receive,
    transmit: Transmit,
}

impl Nic {
    /// An interface over the device, with all its receive slots lent to it. To be called once.
    ///
    /// # Errors
    /// The device's refusal.
    pub(crate) fn new(transport: MmioTransport<'static>) -> Result<Nic, Error> {
        ONCE.take();
        let raw = Raw::new(transport)?;
        let mac = raw.mac_address();
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            raw: RefCell::new(raw),
            broken: Cell::new(false),
        }));
        // SAFETY: this happens once, and nobody else names the static.
        let area: &'static mut [[u8; SLOT_BYTES]; 2 * SLOTS] = unsafe { &mut *AREA.0.get() };
        let (incoming, outgoing) = area.split_at_mut(SLOTS);
        Ok(Nic {
            shared,
            mac,
            receive: Receive::new(shared, incoming)?,
            transmit: Transmit::new(shared, outgoing),
        })
    }

    /// Takes note of the device's interrupt, so that the next one can be told from it.
    pub(crate) fn acknowledge(&self) {
        let _ = self.shared.raw.borrow_mut().ack_interrupt();
    }

    /// Whether there is something to do: a packet that was not looked at, or room that was asked for
    /// in vain.
    pub(crate) fn has_news(&self) -> bool {
        if self.shared.broken.get() {
            return false;
        }
        let mut raw = self.shared.raw.borrow_mut();
        // Said once: who asked may want the room no longer, and what was sent is left in the ring until
        // somebody does, which is no reason to stay awake.
        let room = self.transmit.asked_in_vain.take() && raw.poll_transmit().is_some();
        room || raw.poll_receive().is_some()
    }
}

impl PacketDevice for Nic {
    type Receive = Receive;
    type Transmit = Transmit;

    fn link(&self) -> Link {
        Link {
            medium: Medium::Ethernet { mac: self.mac },
            mtu: MTU,
        }
    }

    fn halves(&mut self) -> (&mut Receive, &mut Transmit) {
        (&mut self.receive, &mut self.transmit)
    }
}

/// Slots of one direction, and who has them.
struct Slots {
    slots: &'static mut [[u8; SLOT_BYTES]],
    /// The slot that the device has under a token; tokens are descriptors, one for each slot.
    lent: [Option<u16>; SLOTS],
}

impl Slots {
    fn new(slots: &'static mut [[u8; SLOT_BYTES]]) -> Slots {
        Slots {
            slots,
            lent: [None; SLOTS],
        }
    }

    /// The slot that the device gives back, if it had one under that token.
    fn take_back(&mut self, token: u16) -> Option<u16> {
        self.lent.get_mut(usize::from(token))?.take()
    }

    fn lend(&mut self, token: u16, slot: u16) {
        let place = &mut self.lent[usize::from(token)];
        assert!(place.is_none(), "a descriptor was given twice");
        *place = Some(slot);
    }
}

/// The receiving half.
pub(crate) struct Receive {
    shared: &'static Shared,
    slots: Slots,
    /// The slot being read, and where its packet lies.
    current: Option<(u16, usize, usize)>,
}

impl Receive {
    fn new(
        shared: &'static Shared,
        slots: &'static mut [[u8; SLOT_BYTES]],
    ) -> Result<Receive, Error> {
        let mut receive = Receive {
            shared,
            slots: Slots::new(slots),
            current: None,
        };
        for slot in 0..SLOTS as u16 {
            receive.offer(slot)?;
        }
        Ok(receive)
    }

    /// Lends a slot to the device.
    fn offer(&mut self, slot: u16) -> Result<(), Error> {
        let bytes = &mut self.slots.slots[usize::from(slot)];
        // SAFETY: the slot is static, and is not touched again before `receive_complete`.
        let token = unsafe { self.shared.raw.borrow_mut().receive_begin(bytes)? };
        self.slots.lend(token, slot);
        Ok(())
    }

    /// The next slot that the device has filled.
    fn next(&mut self) -> Option<(u16, usize, usize)> {
        let mut raw = self.shared.raw.borrow_mut();
        while !self.shared.broken.get() {
            let token = raw.poll_receive()?;
            let Some(slot) = self.slots.take_back(token) else {
                self.shared
                    .break_off("it filled a slot that it did not have");
                return None;
            };
            let bytes = &mut self.slots.slots[usize::from(slot)];
            // SAFETY: it is the slot that was lent under this token.
            let filled = unsafe { raw.receive_complete(token, bytes) };
            match filled {
                Ok((header, len)) if header + len <= SLOT_BYTES => {
                    return Some((slot, header, header + len));
                }
                // Of no length that can be: as if it had not come. Its descriptor is free again.
                Ok(_) | Err(Error::IoError) => {
                    drop(raw);
                    self.give_back(slot);
                    raw = self.shared.raw.borrow_mut();
                }
                // The descriptor still names the slot: offered again, two would, and the device could
                // write to one while we read.
                Err(_) => {
                    self.shared.break_off("it changed a ring while it was read");
                    return None;
                }
            }
        }
        None
    }

    fn give_back(&mut self, slot: u16) {
        if self.offer(slot).is_err() {
            self.shared
                .break_off("it has no room for a slot of its own");
        }
    }
}

impl PacketReceive for Receive {
    fn peek(&mut self, _: u64) -> Option<&[u8]> {
        if self.current.is_none() {
            self.current = self.next();
        }
        let (slot, start, end) = self.current?;
        self.slots.slots.get(usize::from(slot))?.get(start..end)
    }

    fn release(&mut self) {
        if let Some((slot, ..)) = self.current.take() {
            self.give_back(slot);
        }
    }
}

/// The transmitting half.
pub(crate) struct Transmit {
    shared: &'static Shared,
    slots: Slots,
    /// Bytes that were sent from each slot.
    sent: [u16; SLOTS],
    /// Slots that nobody uses, and how many.
    free: [u16; SLOTS],
    free_count: usize,
    /// The slot being written, and the end of its packet.
    current: Option<(u16, usize)>,
    /// Whether there was no room when it was last asked for.
    asked_in_vain: Cell<bool>,
}

impl Transmit {
    fn new(shared: &'static Shared, slots: &'static mut [[u8; SLOT_BYTES]]) -> Transmit {
        Transmit {
            shared,
            slots: Slots::new(slots),
            sent: [0; SLOTS],
            free: core::array::from_fn(|slot| slot as u16),
            free_count: SLOTS,
            current: None,
            asked_in_vain: Cell::new(false),
        }
    }

    /// Takes back the slots that were sent.
    fn reclaim(&mut self) {
        let mut raw = self.shared.raw.borrow_mut();
        while let Some(token) = raw.poll_transmit() {
            let Some(slot) = self.slots.take_back(token) else {
                return self.shared.break_off("it sent a slot that it did not have");
            };
            let len = usize::from(self.sent[usize::from(slot)]);
            let bytes = &self.slots.slots[usize::from(slot)][..len];
            // SAFETY: it is what was lent under this token.
            if unsafe { raw.transmit_complete(token, bytes) }.is_err() {
                return self.shared.break_off("it changed a ring while it was read");
            }
            self.free[self.free_count] = slot;
            self.free_count += 1;
        }
    }
}

impl PacketTransmit for Transmit {
    fn has_room(&mut self) -> bool {
        if self.shared.broken.get() {
            return false;
        }
        if self.free_count == 0 {
            self.reclaim();
        }
        let has_room = self.free_count > 0 || self.current.is_some();
        self.asked_in_vain.set(!has_room);
        has_room
    }

    fn reserve(&mut self, bytes: usize) -> Option<&mut [u8]> {
        if !self.has_room() {
            return None;
        }
        let slot = match self.current {
            Some((slot, _)) => slot,
            None => {
                self.free_count -= 1;
                self.free[self.free_count]
            }
        };
        let place = &mut self.slots.slots[usize::from(slot)];
        let header = self.shared.raw.borrow().fill_buffer_header(place).ok()?;
        self.current = Some((slot, header + bytes));
        place.get_mut(header..header + bytes)
    }

    fn commit(&mut self, _: u64) {
        let Some((slot, end)) = self.current.take() else {
            return;
        };
        let bytes = &self.slots.slots[usize::from(slot)][..end];
        // SAFETY: the slot is static, and is not touched again before `transmit_complete`.
        let begun = unsafe { self.shared.raw.borrow_mut().transmit_begin(bytes) };
        match begun {
            Ok(token) => {
                self.sent[usize::from(slot)] = end as u16;
                self.slots.lend(token, slot);
            }
            Err(_) => self
                .shared
                .break_off("it has no room for a slot of its own"),
        }
    }
}
