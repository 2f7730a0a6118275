//! A drive that the machine can be made over: the software controller, or QEMU's device.
//!
//! [`Simulator`](crate::simulator::Simulator) and `serve` are written once over [`Drive`]; which one it
//! is, is known when they are compiled, so the model's way through a pass costs what it did alone.

use std::os::fd::BorrowedFd;

use nvme_model::model::{ModelConfig, ModelDevice, Sideband, Step};
use nvme_model::seam::Device;

use crate::simulator::SimulatorError;

/// A device that a host loop moves on.
pub trait Drive: Device {
    /// Nothing tells when a command is done: while some are in flight the rings are looked at again
    /// after a short sleep.
    const POLLED: bool;

    /// Lets it work at `now_us`, which never falls, and sends what was held back.
    fn step(&mut self, now_us: u64) -> Step;

    /// Readable when a step has work. `None` when there is nothing to wait for.
    fn wait_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Before a sleep: hands everything over that was submitted.
    fn arm_wait(&mut self);

    /// Whether of `in_flight` commands some are known to be completed.
    fn has_completed(&self, in_flight: usize) -> bool;

    /// Why it is gone for good, as a sentence with the remedy.
    fn lost(&mut self) -> Option<String>;

    /// How a board reaches it beside the bus, where it can: PERST#, and what it says of its health.
    fn sideband(&self) -> Option<Sideband>;
}

/// What a drive is made of.
pub trait DriveConfig {
    /// The drive.
    type Drive: Drive;

    /// Makes it, with an arena of so many pages.
    ///
    /// # Errors
    ///
    /// Where it cannot be as asked.
    fn make(self, arena_pages: u32) -> Result<Self::Drive, SimulatorError>;
}

impl Drive for ModelDevice {
    const POLLED: bool = false;

    #[inline]
    fn step(&mut self, now_us: u64) -> Step {
        ModelDevice::step(self, now_us)
    }

    #[inline]
    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        ModelDevice::wait_fd(self)
    }

    #[inline]
    fn arm_wait(&mut self) {
        ModelDevice::arm_wait(self);
    }

    #[inline]
    fn has_completed(&self, in_flight: usize) -> bool {
        in_flight > self.outstanding()
    }

    fn lost(&mut self) -> Option<String> {
        None
    }

    fn sideband(&self) -> Option<Sideband> {
        Some(ModelDevice::sideband(self))
    }
}

impl DriveConfig for ModelConfig {
    type Drive = ModelDevice;

    fn make(mut self, arena_pages: u32) -> Result<ModelDevice, SimulatorError> {
        self.arena_pages = arena_pages;
        Ok(ModelDevice::new(self)?)
    }
}
