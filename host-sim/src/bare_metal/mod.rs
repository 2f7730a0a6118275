//! `host-sim board`: the firmware on a machine that QEMU emulates, and a door to it.
//!
//! ```text
//!  client ── TCP ──▶ QEMU's user network ──▶ virtio-net ─▶ agent on bare metal ─▶ NVMe ── disk image
//!                       QEMU's stdout ◀── defmt frames ──┘└── console ──▶ QEMU's stderr
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `firmware` | which ELF, built if none is named |
//! | `machine` | the process, its arguments, its two streams, its end |
//! | `log` | defmt frames to lines, addresses to names |
//! | `command` | `host-sim board` from its arguments to its exit status |

mod command;
mod firmware;
mod log;
mod machine;

pub use command::{BoardError, command};
pub use firmware::{FirmwareError, firmware};
pub use machine::{BoardMachine, MachineConfig, MachineError, StartLevel};
