//! The controller's registers: plain cells that the controller looks at when it is stepped.

use core::cell::Cell;
use std::boxed::Box;

use crate::seam::Registers;
use crate::spec::{
    self, Capabilities, Configuration, ControllerStatus, ReadyTimeouts, Version, offset,
};

use super::ModelConfig;

/// CAP.CRMS: ready with media, which every controller of revision 2.0 has.
const READY_WITH_MEDIA: u8 = 0b01;

/// Bits of CC that can be written; CRIME cannot, as CAP.CRMS has one mode only.
const CONFIGURATION_BITS: u32 = 0x00ff_fff1;

/// Bits of AQA that can be written.
const ADMIN_ATTRIBUTES_BITS: u32 = 0x0fff_0fff;

/// Bits of a doorbell that can be written.
const DOORBELL_BITS: u32 = 0xffff;

/// The registers of a [`ModelDevice`](super::ModelDevice).
#[derive(Debug)]
pub struct ModelRegisters {
    capabilities: Capabilities,
    version: Version,
    configuration: Cell<u32>,
    status: Cell<u32>,
    admin_attributes: Cell<u32>,
    admin_submission: Cell<u64>,
    admin_completion: Cell<u64>,
    interrupt_mask: Cell<u32>,
    /// Submission tail and completion head of each queue, in turn.
    doorbells: Box<[Cell<u32>]>,
    /// Which doorbells were written since the controller last looked.
    rung: Cell<u128>,
    /// CC was written since the controller last looked.
    configured: Cell<bool>,
    /// CC.EN fell since the controller last looked, though it may have risen again.
    fell: Cell<bool>,
    /// A doorbell that no queue can have was written.
    bad_doorbell: Cell<bool>,
    gone: Cell<bool>,
}

impl ModelRegisters {
    pub(super) fn new(config: &ModelConfig) -> Self {
        let capabilities = Capabilities::new()
            .with_max_queue_entries_0(config.queue_entries.saturating_sub(1))
            .with_contiguous_queues_required(true)
            .with_timeout_500ms(config.ready_timeout_500ms)
            .with_doorbell_stride(config.doorbell_stride)
            .with_nvm_command_set(true)
            .with_ready_modes(READY_WITH_MEDIA);
        let doorbells = (usize::from(config.queues) + 1) * 2;
        Self {
            capabilities,
            version: Version::new().with_major(2),
            configuration: Cell::new(0),
            status: Cell::new(0),
            admin_attributes: Cell::new(0),
            admin_submission: Cell::new(0),
            admin_completion: Cell::new(0),
            interrupt_mask: Cell::new(0),
            doorbells: (0..doorbells).map(|_| Cell::new(0)).collect(),
            rung: Cell::new(0),
            configured: Cell::new(false),
            fell: Cell::new(false),
            bad_doorbell: Cell::new(false),
            gone: Cell::new(false),
        }
    }

    pub(super) fn version(&self) -> Version {
        self.version
    }

    pub(super) fn configuration(&self) -> Configuration {
        Configuration::from_bits(self.configuration.get())
    }

    pub(super) fn status(&self) -> ControllerStatus {
        ControllerStatus::from_bits(self.status.get())
    }

    pub(super) fn set_status(&self, status: ControllerStatus) {
        self.status.set(status.into_bits());
    }

    /// AQA, ASQ and ACQ.
    pub(super) fn admin_queues(&self) -> (spec::AdminQueueAttributes, u64, u64) {
        (
            spec::AdminQueueAttributes::from_bits(self.admin_attributes.get()),
            self.admin_submission.get(),
            self.admin_completion.get(),
        )
    }

    /// Whether CC was written since the last call, and whether CC.EN fell meanwhile.
    #[inline]
    pub(super) fn take_configured(&self) -> Option<bool> {
        self.configured.take().then(|| self.fell.take())
    }

    /// The set of doorbells written since the last call: bit `2q` a tail, bit `2q + 1` a head.
    #[inline]
    pub(super) fn take_rung(&self) -> u128 {
        self.rung.take()
    }

    #[inline]
    pub(super) fn doorbell(&self, index: usize) -> u32 {
        self.doorbells.get(index).map_or(0, Cell::get)
    }

    pub(super) fn take_bad_doorbell(&self) -> bool {
        self.bad_doorbell.take()
    }

    /// Sets a doorbell to zero, as the creation of its queue does.
    pub(super) fn clear_doorbell(&self, index: usize) {
        if let Some(doorbell) = self.doorbells.get(index) {
            doorbell.set(0);
            self.rung.set(self.rung.get() & !(1 << index));
        }
    }

    /// All doorbells to zero.
    pub(super) fn clear_all_doorbells(&self) {
        self.doorbells.iter().for_each(|doorbell| doorbell.set(0));
        self.rung.set(0);
        self.bad_doorbell.set(false);
    }

    /// What a controller reset puts back besides CC and CSTS: not AQA, ASQ and ACQ (Base §3.7.2).
    pub(super) fn reset(&self) {
        self.interrupt_mask.set(0);
        self.clear_all_doorbells();
    }

    /// CRTO: as long as CAP.TO says.
    fn ready_timeouts(&self) -> ReadyTimeouts {
        ReadyTimeouts::new().with_media_ready_500ms(self.capabilities.timeout_500ms().into())
    }

    /// What power-on leaves.
    pub(super) fn power_on(&self) {
        for register in [&self.configuration, &self.status, &self.admin_attributes] {
            register.set(0);
        }
        self.admin_submission.set(0);
        self.admin_completion.set(0);
        self.configured.set(false);
        self.fell.set(false);
        self.reset();
    }

    #[inline]
    pub(super) fn gone(&self) -> bool {
        self.gone.get()
    }

    pub(super) fn set_gone(&self, gone: bool) {
        self.gone.set(gone);
    }

    fn write_configuration(&self, value: u32) {
        let before = self.configuration();
        let after = Configuration::from_bits(value);
        if before.enable() && !after.enable() {
            self.fell.set(true);
        }
        self.configuration.set(value);
        self.configured.set(true);
    }

    #[inline]
    fn ring(&self, from_first: u32, value: u32) {
        let step = 4 << self.capabilities.doorbell_stride();
        if !from_first.is_multiple_of(step) {
            return; // between doorbells: reserved
        }
        let index = (from_first / step) as usize;
        match self.doorbells.get(index) {
            Some(doorbell) => {
                doorbell.set(value & DOORBELL_BITS);
                self.rung.set(self.rung.get() | 1 << index);
            }
            None => self.bad_doorbell.set(true),
        }
    }
}

fn low(register: &Cell<u64>, value: u32) {
    register.set(register.get() & !0xffff_ffff | u64::from(value));
}

fn high(register: &Cell<u64>, value: u32) {
    register.set(register.get() & 0xffff_ffff | u64::from(value) << 32);
}

impl Registers for ModelRegisters {
    #[inline]
    fn read32(&self, at: u32) -> u32 {
        if self.gone.get() {
            return u32::MAX;
        }
        const CAP_HIGH: u32 = offset::CAP + 4;
        const ASQ_HIGH: u32 = offset::ASQ + 4;
        const ACQ_HIGH: u32 = offset::ACQ + 4;
        match at {
            offset::CSTS => self.status.get(),
            offset::CC => self.configuration.get(),
            offset::CAP => self.capabilities.into_bits() as u32,
            CAP_HIGH => (self.capabilities.into_bits() >> 32) as u32,
            offset::VS => self.version.into_bits(),
            offset::CRTO => self.ready_timeouts().into_bits(),
            offset::INTMS | offset::INTMC => self.interrupt_mask.get(),
            offset::AQA => self.admin_attributes.get(),
            offset::ASQ => self.admin_submission.get() as u32,
            ASQ_HIGH => (self.admin_submission.get() >> 32) as u32,
            offset::ACQ => self.admin_completion.get() as u32,
            ACQ_HIGH => (self.admin_completion.get() >> 32) as u32,
            _ => 0,
        }
    }

    fn read64(&self, at: u32) -> u64 {
        let high = at.checked_add(4).map_or(0, |at| self.read32(at));
        u64::from(self.read32(at)) | u64::from(high) << 32
    }

    #[inline]
    fn write32(&self, at: u32, value: u32) {
        if self.gone.get() {
            return;
        }
        const ASQ_HIGH: u32 = offset::ASQ + 4;
        const ACQ_HIGH: u32 = offset::ACQ + 4;
        if at >= offset::DOORBELLS {
            return self.ring(at - offset::DOORBELLS, value);
        }
        match at {
            offset::CC => self.write_configuration(value & CONFIGURATION_BITS),
            offset::INTMS => self.interrupt_mask.set(self.interrupt_mask.get() | value),
            offset::INTMC => self.interrupt_mask.set(self.interrupt_mask.get() & !value),
            offset::AQA => self.admin_attributes.set(value & ADMIN_ATTRIBUTES_BITS),
            // Bits 11:0 of the base addresses are reserved (Base §3.1.3.9, §3.1.3.10).
            offset::ASQ => low(&self.admin_submission, value & !0xfff),
            ASQ_HIGH => high(&self.admin_submission, value),
            offset::ACQ => low(&self.admin_completion, value & !0xfff),
            ACQ_HIGH => high(&self.admin_completion, value),
            _ => {} // read-only and reserved
        }
    }

    fn write64(&self, at: u32, value: u64) {
        self.write32(at, value as u32);
        if let Some(at) = at.checked_add(4) {
            self.write32(at, (value >> 32) as u32);
        }
    }
}
