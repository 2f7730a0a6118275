//! PCI Express: finds the NVMe controller, gives it addresses, and switches it on.
//!
//! What a machine without firmware has to do before there are registers: look at configuration space,
//! place the memory that the controller decodes, and let it use the bus. Nothing is kept; what is
//! learnt is in the [`Placed`] that [`switch_on`] gives.
//!
//! # What it leaves out
//!
//! Bus 0 only: no bridge is crossed, so a drive behind a root port or a switch is not found. No
//! interrupts (the driver polls, and INTx is disabled), no I/O space, no expansion ROM, no capabilities.
//! Of several controllers it is the first, in the order of device and function.
//!
//! # Why not a library
//!
//! `pci_types` panics when a device reports a reserved kind of BAR, sizes BARs while the device decodes
//! them, and makes every access an `unsafe fn`; the bus of `virtio-drivers` wants an unsafe copy of the
//! access and brings all of virtio. Neither places BARs.
//!
//! Citations name the *PCI Local Bus Specification 3.0* ("PCI"), whose configuration header PCI Express
//! kept, the *PCI Express Base Specification 4.0* ("PCIe Base"), and NVMe's "PCIe" (see [`crate::spec`]).

use core::fmt;

/// A function on bus 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Function {
    device: u8,
    function: u8,
}

impl Function {
    /// Function `function` (0 to 7) of device `device` (0 to 31); what is beyond is cut off.
    pub const fn new(device: u8, function: u8) -> Function {
        Function {
            device: device % DEVICES,
            function: function % FUNCTIONS,
        }
    }

    /// Device number, below 32.
    pub const fn device(self) -> u8 {
        self.device
    }

    /// Function number, below 8.
    pub const fn function(self) -> u8 {
        self.function
    }

    /// Where a register lies from the start of the enhanced configuration access mechanism
    /// (PCIe Base §7.2.2): 4 KiB for each function.
    pub const fn ecam_offset(self, register: u16) -> u32 {
        (self.device as u32) << 15 | (self.function as u32) << 12 | (register as u32 & 0xffc)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00:{:02x}.{}", self.device, self.function)
    }
}

/// Access to the configuration space of bus 0.
///
/// `register` is a multiple of four. Where no function answers, a read gives all ones and a write
/// does nothing.
pub trait ConfigSpace {
    /// Reads a register.
    fn read32(&self, function: Function, register: u16) -> u32;
    /// Writes a register. It has taken effect before the next access of any kind.
    fn write32(&mut self, function: Function, register: u16, value: u32);
}

/// Bus addresses that are free for devices to decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first.
    pub base: u64,
    /// How many.
    pub bytes: u64,
}

/// A controller that is switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Where it is on the bus.
    pub function: Function,
    /// Who made it (PCI §6.2.1).
    pub vendor: u16,
    /// What they call it.
    pub device: u16,
    /// Bus address of its registers, BAR0.
    pub registers: u64,
    /// Bytes of them.
    pub registers_bytes: u64,
    /// What is left of the window.
    pub rest: Window,
}

/// Why there is no controller to drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciError {
    /// No function of bus 0 has the class of an NVMe controller.
    NoController,
    /// The header is not that of an endpoint.
    NotAnEndpoint(Function),
    /// A BAR is of a kind that the specification reserves, or a 64-bit one without its other half.
    BadBar {
        /// Which, from 0.
        bar: u8,
    },
    /// BAR0 is I/O space, absent, or too short for the registers and one pair of doorbells.
    NoRegisters,
    /// A BAR does not fit what is left of the window, or is one of 32 bits and the window above 4 GiB.
    NoRoom {
        /// Which, from 0.
        bar: u8,
        /// What it needs, aligned to as much.
        bytes: u64,
    },
    /// A BAR does not hold what was written, or decoding does not switch on.
    NotTaken,
}

impl fmt::Display for PciError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PciError::NoController => f.write_str("there is no NVMe controller on PCI bus 0"),
            PciError::NotAnEndpoint(function) => {
                write!(f, "PCI function {function} is no endpoint")
            }
            PciError::BadBar { bar } => write!(f, "BAR{bar} is of no kind that is known"),
            PciError::NoRegisters => f.write_str("BAR0 has no room for NVMe's registers"),
            PciError::NoRoom { bar, bytes } => {
                write!(f, "there are no {bytes} bus addresses left for BAR{bar}")
            }
            PciError::NotTaken => f.write_str("the PCI function does not take its settings"),
        }
    }
}

impl core::error::Error for PciError {}

/// Mass storage, non-volatile memory, NVM Express I/O controller (PCIe §3.8.1.5).
const NVME_CLASS: u32 = 0x01_08_02;

const DEVICES: u8 = 32;
const FUNCTIONS: u8 = 8;
const BARS: u8 = 6;

/// Registers up to the first doorbells, and these (PCIe §3.1.2).
const REGISTERS_BYTES_MIN: u64 = 0x2000;

/// Registers of the configuration header (PCI §6.1).
mod register {
    pub(super) const ID: u16 = 0x00;
    pub(super) const COMMAND: u16 = 0x04;
    pub(super) const CLASS: u16 = 0x08;
    pub(super) const HEADER: u16 = 0x0c;
    pub(super) const BAR0: u16 = 0x10;
}

/// Bits of the command register (PCI §6.2.2). Its upper half is status, of which ones that are
/// written clear bits: so it is never written back.
mod command {
    pub(super) const MEMORY: u32 = 1 << 1;
    pub(super) const BUS_MASTER: u32 = 1 << 2;
    pub(super) const NO_INTX: u32 = 1 << 10;
}

/// Finds the first NVMe controller of bus 0, places all memory that it decodes in `window`, and lets it
/// decode and use the bus.
///
/// # Errors
///
/// [`PciError`]. The function is left switched off.
pub fn switch_on(config: &mut impl ConfigSpace, window: Window) -> Result<Placed, PciError> {
    let function = find(config)?;
    // While it is sized a BAR holds addresses that are somebody else's.
    config.write32(function, register::COMMAND, 0);
    let mut rest = window;
    let mut registers = None;
    let mut bar = 0;
    while bar < BARS {
        let size = size(config, function, bar)?;
        if let Some(bytes) = size.memory_bytes {
            let address = place(config, function, bar, &size, &mut rest)?;
            if bar == 0 && bytes >= REGISTERS_BYTES_MIN {
                registers = Some((address, bytes));
            }
        }
        bar += size.places;
    }
    let (registers, registers_bytes) = registers.ok_or(PciError::NoRegisters)?;
    enable(config, function)?;
    let id = config.read32(function, register::ID);
    Ok(Placed {
        function,
        vendor: id as u16,
        device: (id >> 16) as u16,
        registers,
        registers_bytes,
        rest,
    })
}

/// The first NVMe controller, an endpoint.
fn find(config: &impl ConfigSpace) -> Result<Function, PciError> {
    let found = (0..DEVICES).find_map(|device| controller_of(config, device));
    let function = found.ok_or(PciError::NoController)?;
    let header = config.read32(function, register::HEADER) >> 16 & 0x7f;
    if header == 0 {
        Ok(function)
    } else {
        Err(PciError::NotAnEndpoint(function))
    }
}

/// The first function of a device that is an NVMe controller. Functions other than 0 are looked for only
/// where the header says that there are some (PCI §6.2.1): a device may answer for all of them.
fn controller_of(config: &impl ConfigSpace, device: u8) -> Option<Function> {
    let first = Function::new(device, 0);
    if !answers(config, first) {
        return None;
    }
    let several = config.read32(first, register::HEADER) & 1 << 23 != 0;
    let functions = if several { FUNCTIONS } else { 1 };
    let mut functions = (0..functions).map(|function| Function::new(device, function));
    functions.find(|&function| {
        answers(config, function) && config.read32(function, register::CLASS) >> 8 == NVME_CLASS
    })
}

/// Where nothing is, the vendor reads as all ones (PCI §6.1).
fn answers(config: &impl ConfigSpace, function: Function) -> bool {
    config.read32(function, register::ID) as u16 != 0xffff
}

/// What a BAR asks for (PCI §6.2.5.1).
struct BarSize {
    /// Bytes of memory, a power of two; none for I/O space or where there is no BAR.
    memory_bytes: Option<u64>,
    /// Registers that it takes.
    places: u8,
}

fn bar_register(bar: u8) -> u16 {
    register::BAR0 + 4 * u16::from(bar)
}

/// The bits of a BAR that can be written, the kind apart; it reads as before afterwards.
fn writable(config: &mut impl ConfigSpace, function: Function, bar: u8) -> u32 {
    let at = bar_register(bar);
    let before = config.read32(function, at);
    config.write32(function, at, u32::MAX);
    let ones = config.read32(function, at);
    config.write32(function, at, before);
    ones
}

fn size(config: &mut impl ConfigSpace, function: Function, bar: u8) -> Result<BarSize, PciError> {
    let kind = config.read32(function, bar_register(bar));
    let low = writable(config, function, bar);
    let (mask, places) = match kind & 0b111 {
        0b000 => (u64::from(low & !0xf) | !0 << 32, 1),
        0b100 if bar + 1 < BARS => {
            let high = writable(config, function, bar + 1);
            (u64::from(low & !0xf) | u64::from(high) << 32, 2)
        }
        // I/O space stays switched off, so it needs no place.
        kind if kind & 1 != 0 => {
            return Ok(BarSize {
                memory_bytes: None,
                places: 1,
            });
        }
        _ => return Err(PciError::BadBar { bar }),
    };
    let absent = low & !0xf == 0 && (places == 1 || mask == 0);
    let bytes = mask.wrapping_neg();
    if !absent && !bytes.is_power_of_two() {
        return Err(PciError::BadBar { bar });
    }
    Ok(BarSize {
        memory_bytes: (!absent).then_some(bytes),
        places,
    })
}

/// Gives a BAR the next addresses of the window, aligned to its size.
fn place(
    config: &mut impl ConfigSpace,
    function: Function,
    bar: u8,
    size: &BarSize,
    window: &mut Window,
) -> Result<u64, PciError> {
    let bytes = size.memory_bytes.unwrap_or(0);
    let no_room = PciError::NoRoom { bar, bytes };
    let end = window.base.checked_add(window.bytes).ok_or(no_room)?;
    let address = window.base.checked_next_multiple_of(bytes).ok_or(no_room)?;
    let after = address
        .checked_add(bytes)
        .filter(|&after| after <= end)
        .ok_or(no_room)?;
    if size.places == 1 && after > 1 << 32 {
        return Err(no_room);
    }
    for (place, half) in [address as u32, (address >> 32) as u32]
        .into_iter()
        .enumerate()
    {
        if place >= usize::from(size.places) {
            break;
        }
        let at = bar_register(bar + place as u8);
        config.write32(function, at, half);
        let kind = if place == 0 { 0xf } else { 0 };
        if config.read32(function, at) & !kind != half {
            return Err(PciError::NotTaken);
        }
    }
    *window = Window {
        base: after,
        bytes: end - after,
    };
    Ok(address)
}

fn enable(config: &mut impl ConfigSpace, function: Function) -> Result<(), PciError> {
    let on = command::MEMORY | command::BUS_MASTER;
    config.write32(function, register::COMMAND, on | command::NO_INTX);
    if config.read32(function, register::COMMAND) & on != on {
        // One of the two may have come on.
        config.write32(function, register::COMMAND, command::NO_INTX);
        return Err(PciError::NotTaken);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
