//! The device: registers, arena and controller in one value.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::vec::Vec;

use rustix::event::epoll;

use crate::seam::Device;

use super::arena::ModelDma;
use super::controller::Controller;
use super::registers::ModelRegisters;
use super::{FaultPlan, ModelConfig, ModelError, Sideband};

/// What a step leaves to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// When something happens by itself, in the time that [`ModelDevice::step`] is given. May be early.
    pub next: Option<u64>,
    /// There is more to do now: step again.
    pub busy: bool,
    /// Stores work on something: wait on [`ModelDevice::wait_fd`] too.
    pub waiting: bool,
}

/// A software NVMe drive.
#[derive(Debug)]
pub struct ModelDevice {
    registers: ModelRegisters,
    dma: ModelDma,
    controller: Controller,
    /// Joins the stores' descriptors where there are several.
    wait: Option<OwnedFd>,
}

impl ModelDevice {
    /// A drive that was just powered on.
    ///
    /// # Errors
    ///
    /// When the configuration asks for what no drive has.
    pub fn new(config: ModelConfig) -> Result<Self, ModelError> {
        config.check()?;
        let registers = ModelRegisters::new(&config);
        let dma = ModelDma::new(config.arena_pages, config.bus_base, config.coherent);
        let controller = Controller::new(config);
        let wait = join(&controller)?;
        Ok(Self {
            registers,
            dma,
            controller,
            wait,
        })
    }

    /// Lets the controller work: a bounded amount, at time `now_us`, which never falls.
    #[inline]
    pub fn step(&mut self, now_us: u64) -> Step {
        let busy = self.controller.step(&self.registers, &mut self.dma, now_us);
        Step {
            next: self.controller.next_us(),
            busy,
            waiting: self.controller.in_stores() > 0,
        }
    }

    /// A descriptor that is readable when a store has finished something, so that a step has work.
    /// `None` when no store ever keeps one waiting.
    pub fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.wait {
            Some(joined) => Some(joined.as_fd()),
            None => self.store_fds().next(),
        }
    }

    /// Before a sleep on [`wait_fd`](Self::wait_fd): hands everything over that was submitted.
    pub fn arm_wait(&mut self) {
        self.controller
            .namespaces
            .iter_mut()
            .for_each(|namespace| namespace.store.kick());
    }

    /// The power fails and comes back at once: registers are reset, commands in flight vanish, and of
    /// what was not flushed a part that follows from `seed` is lost.
    pub fn power_cut(&mut self, seed: u64, now_us: u64) {
        self.controller.now_us = now_us;
        self.controller
            .power_cut(&self.registers, &mut self.dma, seed);
    }

    /// The faults, to add some or to end them.
    pub fn faults_mut(&mut self) -> &mut FaultPlan {
        &mut self.controller.faults
    }

    /// The pins and the management bus of the drive.
    pub fn sideband(&self) -> Sideband {
        self.controller.sideband.clone()
    }

    /// Sets how much of its life is used, percent.
    pub fn set_used_percent(&mut self, percent: u8) {
        self.controller.health.used_percent = percent;
    }

    /// Sets the composite temperature; crossing a threshold raises an event if the host asked for it.
    /// A drive that heats by itself goes on from its own.
    pub fn set_temperature(&mut self, kelvin: u16) {
        self.controller.health.temperature_kelvin = kelvin;
        self.controller.check_temperature();
    }

    /// Commands fetched and not completed that the driver waits for: no Asynchronous Event
    /// Requests, which end when there is an event, and nothing that was aborted. Takes constant time.
    pub fn outstanding(&self) -> usize {
        self.controller.slots.outstanding()
    }

    /// Whether the controller's count of commands is that of its slots.
    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        self.controller.slots.is_consistent()
    }

    /// How often the CPU asked for bytes that a command in flight uses; see [`ModelDma::violations`].
    pub fn dma_violations(&self) -> u64 {
        self.dma.violations()
    }

    fn store_fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.controller
            .namespaces
            .iter()
            .filter_map(|namespace| namespace.store.wait_fd())
    }
}

fn join(controller: &Controller) -> Result<Option<OwnedFd>, ModelError> {
    let fds: Vec<_> = controller
        .namespaces
        .iter()
        .filter_map(|namespace| namespace.store.wait_fd())
        .collect();
    if fds.len() < 2 {
        return Ok(None);
    }
    let joined = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
    for fd in fds {
        epoll::add(
            &joined,
            fd,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        )
        .map_err(std::io::Error::from)?;
    }
    Ok(Some(joined))
}

impl Device for ModelDevice {
    type Registers = ModelRegisters;
    type Dma = ModelDma;

    #[inline]
    fn registers(&self) -> &ModelRegisters {
        &self.registers
    }

    #[inline]
    fn dma(&self) -> &ModelDma {
        &self.dma
    }

    #[inline]
    fn dma_mut(&mut self) -> &mut ModelDma {
        &mut self.dma
    }
}
