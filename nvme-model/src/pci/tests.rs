//! The bus against a configuration space that holds its makers to the rules.

use super::*;
use std::collections::BTreeMap;
use std::vec::Vec;

/// A function of the fake bus.
#[derive(Clone)]
struct Fake {
    id: u32,
    class: u32,
    header: u32,
    command: u32,
    /// What can be written to each BAR, and its kind.
    masks: [u32; 6],
    kinds: [u32; 6],
    bars: [u32; 6],
    /// Bits of the command register that stick.
    command_mask: u32,
}

/// BAR0 of 16 KiB, 64 bits wide.
fn nvme() -> Fake {
    Fake {
        id: 0x0010_1b36,
        class: 0x0108_0202,
        header: 0,
        command: 0x0010_0006,
        masks: [0xffff_c000, 0xffff_ffff, 0, 0, 0, 0],
        kinds: [0b100, 0, 0, 0, 0, 0],
        bars: [0; 6],
        command_mask: 0x0406,
    }
}

#[derive(Default)]
struct Bus {
    functions: BTreeMap<Function, Fake>,
    /// A BAR was written while its memory was decoded.
    moved_while_on: bool,
    /// Status bits were written, which clears them.
    status_written: bool,
    reads: std::cell::RefCell<Vec<Function>>,
}

impl Bus {
    fn with(functions: impl IntoIterator<Item = (u8, u8, Fake)>) -> Bus {
        let place = |(device, function, fake)| (Function::new(device, function), fake);
        Bus {
            functions: functions.into_iter().map(place).collect(),
            ..Bus::default()
        }
    }
}

impl ConfigSpace for Bus {
    fn read32(&self, function: Function, register: u16) -> u32 {
        self.reads.borrow_mut().push(function);
        let Some(fake) = self.functions.get(&function) else {
            return u32::MAX;
        };
        match register {
            0x00 => fake.id,
            0x04 => fake.command,
            0x08 => fake.class,
            0x0c => fake.header << 16,
            0x10..0x28 => {
                let bar = usize::from(register - 0x10) / 4;
                fake.bars[bar] & fake.masks[bar] | fake.kinds[bar]
            }
            _ => panic!("register {register:#x} is none of this module's business"),
        }
    }

    fn write32(&mut self, function: Function, register: u16, value: u32) {
        let fake = self
            .functions
            .get_mut(&function)
            .expect("somebody is there");
        match register {
            0x04 => {
                self.status_written |= value >> 16 != 0;
                fake.command = fake.command & 0xffff_0000 | value & fake.command_mask;
            }
            0x10..0x28 => {
                self.moved_while_on |= fake.command & 2 != 0;
                fake.bars[usize::from(register - 0x10) / 4] = value;
            }
            _ => panic!("register {register:#x} is not to be written"),
        }
    }
}

const WINDOW: Window = Window {
    base: 0x1000_1000,
    bytes: 0x10_0000,
};

#[test]
fn the_controller_is_found_placed_and_switched_on() {
    let bridge = Fake {
        class: 0x0600_0000,
        id: 0x0008_1b36,
        ..nvme()
    };
    let mut bus = Bus::with([(0, 0, bridge.clone()), (3, 0, nvme())]);
    let placed = switch_on(&mut bus, WINDOW).unwrap();
    let function = Function::new(3, 0);
    let rest = Window {
        base: 0x1000_8000,
        bytes: 0xf_9000,
    };
    assert_eq!(
        placed,
        Placed {
            function,
            vendor: 0x1b36,
            device: 0x0010,
            registers: 0x1000_4000,
            registers_bytes: 0x4000,
            rest,
        }
    );
    assert_eq!(bus.functions[&function].bars[..2], [0x1000_4000, 0]);
    assert_eq!(bus.functions[&function].command, 0x0010_0406);
    assert!(!bus.moved_while_on && !bus.status_written);
    assert_eq!(bus.functions[&Function::new(0, 0)].command, bridge.command);
}

#[test]
fn all_memory_is_placed_and_io_space_is_not() {
    let mut fake = nvme();
    fake.masks[2..].copy_from_slice(&[0xffff_fff0, 0xffff_f000, 0, 0xfff0_0000]);
    fake.kinds[2..].copy_from_slice(&[0b001, 0b000, 0, 0b1000]);
    let mut bus = Bus::with([(1, 0, fake)]);
    let window = Window {
        base: 0x1000_1000,
        bytes: 0x20_0000,
    };
    let placed = switch_on(&mut bus, window).unwrap();
    let bars = bus.functions[&placed.function].bars;
    assert_eq!(bars[2], 0b001, "I/O space is as it was");
    assert_eq!((bars[3], bars[5]), (0x1000_8000, 0x1010_0000));
    assert_eq!(
        placed.rest,
        Window {
            base: 0x1020_0000,
            bytes: 0x1000
        }
    );
}

#[test]
fn a_wide_bar_may_go_above_four_gibibytes_and_a_narrow_one_may_not() {
    let window = Window {
        base: 0x80_0000_0000,
        bytes: 0x1_0000_0000,
    };
    let placed = switch_on(&mut Bus::with([(1, 0, nvme())]), window).unwrap();
    assert_eq!(placed.registers, 0x80_0000_0000);
    let mut narrow = nvme();
    (narrow.kinds[0], narrow.masks[1]) = (0, 0);
    let refused = switch_on(&mut Bus::with([(1, 0, narrow.clone())]), window);
    assert_eq!(
        refused,
        Err(PciError::NoRoom {
            bar: 0,
            bytes: 0x4000
        })
    );
    let mut huge = nvme();
    (huge.masks[0], huge.masks[1]) = (0, 0xffff_fffe);
    let refused = switch_on(&mut Bus::with([(1, 0, huge)]), window);
    assert_eq!(
        refused,
        Err(PciError::NoRoom {
            bar: 0,
            bytes: 1 << 33
        })
    );
    let placed = switch_on(&mut Bus::with([(1, 0, narrow)]), WINDOW).unwrap();
    assert_eq!(placed.registers, 0x1000_4000);
}

#[test]
fn other_functions_are_asked_only_where_there_are_some() {
    let other = Fake {
        class: 0x0200_0000,
        ..nvme()
    };
    let mut bus = Bus::with([(2, 0, other.clone()), (2, 5, nvme())]);
    assert_eq!(switch_on(&mut bus, WINDOW), Err(PciError::NoController));
    assert!(bus.reads.borrow().iter().all(|asked| asked.function() == 0));
    let several = Fake {
        header: 0x80,
        ..other
    };
    let mut bus = Bus::with([(2, 0, several), (2, 5, nvme())]);
    assert_eq!(
        switch_on(&mut bus, WINDOW).unwrap().function,
        Function::new(2, 5)
    );
}

#[test]
fn what_cannot_be_driven_has_a_name() {
    assert_eq!(
        switch_on(&mut Bus::default(), WINDOW),
        Err(PciError::NoController)
    );
    let refused = |fake| {
        let mut bus = Bus::with([(1, 0, fake)]);
        let refused = switch_on(&mut bus, WINDOW).unwrap_err();
        let header = bus.functions[&Function::new(1, 0)].header;
        let command = bus.functions[&Function::new(1, 0)].command;
        assert!(
            header != 0 || command & 6 == 0,
            "{refused}: left switched on"
        );
        refused
    };
    let function = Function::new(1, 0);
    assert_eq!(
        refused(Fake {
            header: 1,
            ..nvme()
        }),
        PciError::NotAnEndpoint(function)
    );
    assert_eq!(
        refused(Fake {
            masks: [0; 6],
            ..nvme()
        }),
        PciError::NoRegisters
    );
    let mut fake = nvme();
    fake.kinds[0] = 1;
    assert_eq!(refused(fake.clone()), PciError::NoRegisters, "I/O space");
    for reserved in [0b010, 0b110] {
        fake.kinds[0] = reserved;
        assert_eq!(refused(fake.clone()), PciError::BadBar { bar: 0 });
    }
    let mut fake = nvme();
    fake.masks[0] = 0xffff_f000;
    assert_eq!(
        refused(fake.clone()),
        PciError::NoRegisters,
        "4 KiB have no doorbells"
    );
    fake.masks[0] = 0xf0f0_0000;
    assert_eq!(refused(fake), PciError::BadBar { bar: 0 });
    let mut fake = nvme();
    fake.kinds[5] = 0b100;
    assert_eq!(refused(fake), PciError::BadBar { bar: 5 });
    assert_eq!(
        refused(Fake {
            command_mask: 0x2,
            ..nvme()
        }),
        PciError::NotTaken
    );
}

#[test]
fn windows_at_the_edges_do_not_wrap() {
    for window in [
        Window {
            base: u64::MAX,
            bytes: u64::MAX,
        },
        Window {
            base: u64::MAX - 0x1000,
            bytes: 0x1000,
        },
        Window { base: 0, bytes: 0 },
        Window {
            base: 0x1000_0000,
            bytes: 0x3fff,
        },
    ] {
        let refused = switch_on(&mut Bus::with([(1, 0, nvme())]), window);
        assert_eq!(
            refused,
            Err(PciError::NoRoom {
                bar: 0,
                bytes: 0x4000
            })
        );
    }
}

#[test]
fn ecam_has_a_page_for_each_function() {
    assert_eq!(Function::new(0, 0).ecam_offset(0x10), 0x10);
    assert_eq!(Function::new(1, 0).ecam_offset(0), 0x8000);
    assert_eq!(Function::new(31, 7).ecam_offset(0xffc), 0xf_fffc);
    assert_eq!(Function::new(32, 8), Function::new(0, 0), "cut off");
}
