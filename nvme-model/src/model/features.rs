//! Get and Set Features (Base §5.15, §5.27; NVM §4.1.3).

use std::vec;
use std::vec::Vec;

use crate::spec::{
    EventConfiguration, FeatureId, NAMESPACE_ALL, NumberOfQueues, Status, StatusCode,
    TemperatureThreshold, VolatileWriteCache,
};

use super::controller::refuse;
use super::limits::VECTORS;

/// What a drive warns at unless told otherwise: 70 °C.
pub(super) const WARNING_KELVIN: u16 = 343;

/// The features of this controller. Volatile Write Cache is one where a store has such a cache.
pub(super) const FEATURES: [FeatureId; 10] = [
    FeatureId::ARBITRATION,
    FeatureId::POWER_MANAGEMENT,
    FeatureId::TEMPERATURE_THRESHOLD,
    FeatureId::ERROR_RECOVERY,
    FeatureId::VOLATILE_WRITE_CACHE,
    FeatureId::NUMBER_OF_QUEUES,
    FeatureId::INTERRUPT_COALESCING,
    FeatureId::INTERRUPT_VECTOR_CONFIGURATION,
    FeatureId::WRITE_ATOMICITY_NORMAL,
    FeatureId::ASYNCHRONOUS_EVENT_CONFIGURATION,
];

/// Current values. None can be saved, so a reset brings the defaults back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Features {
    arbitration: u32,
    /// The workload hint; there is one power state, 0.
    workload: u32,
    /// By namespace.
    error_recovery: Vec<u32>,
    interrupt_coalescing: u32,
    /// One bit for each vector without coalescing.
    coalescing_off: u64,
    write_atomicity: u32,
    over_kelvin: u16,
    under_kelvin: u16,
    has_cache: bool,
    write_cache: bool,
    /// Queue pairs that may be created.
    queues: u16,
    /// The host has asked for queues since the last reset.
    queues_asked: bool,
    events: EventConfiguration,
}

/// What Get Features is asked to tell (SEL).
const SELECT_CURRENT: u8 = 0b000;
const SELECT_DEFAULT: u8 = 0b001;
const SELECT_SAVED: u8 = 0b010;
const SELECT_CAPABILITIES: u8 = 0b011;

/// Capability bit 1: the feature is of a namespace.
const NAMESPACE_SPECIFIC: u32 = 1 << 1;
/// Capability bit 2: the feature can be changed.
const CHANGEABLE: u32 = 1 << 2;

/// Bits of Arbitration that are not reserved.
const ARBITRATION_BITS: u32 = 0xffff_ff07;
/// Power Management: the power state, and the workload hint.
const POWER_STATE_BITS: u32 = 0x1f;
const WORKLOAD_BITS: u32 = 0xe0;
/// Interrupt Vector Configuration: the vector, and Coalescing Disable.
const VECTOR_BITS: u32 = 0xffff;
const COALESCING_DISABLE: u32 = 1 << 16;

const _: () = assert!(VECTORS as u32 <= u64::BITS);

impl Features {
    /// The defaults, with so many queue pairs and namespaces.
    pub(super) fn new(queues: u16, namespaces: usize, has_cache: bool) -> Self {
        Self {
            arbitration: 0,
            workload: 0,
            error_recovery: vec![0; namespaces],
            interrupt_coalescing: 0,
            coalescing_off: 0,
            write_atomicity: 0,
            over_kelvin: WARNING_KELVIN,
            under_kelvin: 0,
            has_cache,
            write_cache: true,
            queues,
            queues_asked: false,
            events: EventConfiguration::new(),
        }
    }

    /// Whether a store has a volatile cache.
    pub(super) const fn has_cache(&self) -> bool {
        self.has_cache
    }

    /// Volatile Write Cache: whether writes may stay in it.
    #[inline]
    pub(super) const fn write_cache(&self) -> bool {
        self.write_cache
    }

    /// Queue pairs that may be created.
    pub(super) const fn queues(&self) -> u16 {
        self.queues
    }

    /// Temperatures at which a warning is due: over the first, under the second.
    pub(super) const fn thresholds_kelvin(&self) -> (u16, u16) {
        (self.over_kelvin, self.under_kelvin)
    }

    /// Critical warnings that raise an event.
    pub(super) const fn smart_events(&self) -> u8 {
        self.events.smart()
    }

    /// Get Features: dword 0 of the completion. `defaults` are what SEL 1 and 2 ask for.
    pub(super) fn get(
        &self,
        defaults: &Self,
        feature: FeatureId,
        select: u8,
        dword11: u32,
        namespace: u32,
    ) -> Result<u32, Status> {
        match select {
            SELECT_CURRENT => self.value(feature, dword11, namespace),
            // Without saved values, Saved is as Default.
            SELECT_DEFAULT | SELECT_SAVED => defaults.value(feature, dword11, namespace),
            SELECT_CAPABILITIES => self.capabilities(feature),
            _ => Err(refuse(StatusCode::INVALID_FIELD)),
        }
    }

    /// Whether the controller has a feature.
    pub(super) fn supports(&self, feature: FeatureId) -> bool {
        let there = feature != FeatureId::VOLATILE_WRITE_CACHE || self.has_cache;
        there && FEATURES.contains(&feature)
    }

    fn capabilities(&self, feature: FeatureId) -> Result<u32, Status> {
        match feature {
            _ if !self.supports(feature) => Err(refuse(StatusCode::INVALID_FIELD)),
            FeatureId::ERROR_RECOVERY => Ok(CHANGEABLE | NAMESPACE_SPECIFIC),
            _ => Ok(CHANGEABLE),
        }
    }

    fn value(&self, feature: FeatureId, dword11: u32, namespace: u32) -> Result<u32, Status> {
        Ok(match feature {
            FeatureId::ARBITRATION => self.arbitration,
            FeatureId::POWER_MANAGEMENT => self.workload,
            FeatureId::TEMPERATURE_THRESHOLD => self.threshold(dword11)?,
            FeatureId::ERROR_RECOVERY => self.error_recovery[self.one_namespace(namespace)?],
            FeatureId::VOLATILE_WRITE_CACHE if self.has_cache => self.write_cache.into(),
            FeatureId::NUMBER_OF_QUEUES => self.number_of_queues(),
            FeatureId::INTERRUPT_COALESCING => self.interrupt_coalescing,
            FeatureId::INTERRUPT_VECTOR_CONFIGURATION => self.vector(dword11)?,
            FeatureId::WRITE_ATOMICITY_NORMAL => self.write_atomicity,
            FeatureId::ASYNCHRONOUS_EVENT_CONFIGURATION => self.events.into_bits(),
            _ => return Err(refuse(StatusCode::INVALID_FIELD)),
        })
    }

    /// Set Features: dword 0 of the completion. `queues_exist` when an I/O queue was created since the
    /// last reset.
    pub(super) fn set(
        &mut self,
        feature: FeatureId,
        value: u32,
        namespace: u32,
        queues_exist: bool,
    ) -> Result<u32, Status> {
        if feature == FeatureId::ERROR_RECOVERY {
            return self.set_error_recovery(value, namespace);
        }
        // The other features are the controller's and take no namespace, which must be one for that to
        // be the mistake (Base §4.2, §5.27 Figure 370).
        if namespace != 0 && namespace != NAMESPACE_ALL {
            self.one_namespace(namespace)?;
            return Err(refuse(StatusCode::FEATURE_NOT_NAMESPACE_SPECIFIC));
        }
        match feature {
            FeatureId::ARBITRATION => self.arbitration = value & ARBITRATION_BITS,
            FeatureId::POWER_MANAGEMENT if value & POWER_STATE_BITS == 0 => {
                self.workload = value & WORKLOAD_BITS;
            }
            FeatureId::TEMPERATURE_THRESHOLD => self.set_threshold(value)?,
            FeatureId::VOLATILE_WRITE_CACHE if self.has_cache => {
                self.write_cache = VolatileWriteCache::from_bits(value).enabled();
            }
            FeatureId::NUMBER_OF_QUEUES => return self.set_queues(value, queues_exist),
            FeatureId::INTERRUPT_COALESCING => self.interrupt_coalescing = value & 0xffff,
            FeatureId::INTERRUPT_VECTOR_CONFIGURATION => self.set_vector(value)?,
            FeatureId::WRITE_ATOMICITY_NORMAL => self.write_atomicity = value & 1,
            FeatureId::ASYNCHRONOUS_EVENT_CONFIGURATION => self.set_events(value)?,
            _ => return Err(refuse(StatusCode::INVALID_FIELD)),
        }
        Ok(0)
    }

    /// The index of the namespace that a feature of namespaces is asked of, which cannot be all of them
    /// (Base §4.2).
    fn one_namespace(&self, id: u32) -> Result<usize, Status> {
        match (id as usize).checked_sub(1) {
            Some(index) if index < self.error_recovery.len() => Ok(index),
            _ => Err(refuse(StatusCode::INVALID_NAMESPACE_OR_FORMAT)),
        }
    }

    /// Error Recovery (NVM §4.1.3.2) of one namespace or all. DULBE stays 0: no namespace has that error.
    fn set_error_recovery(&mut self, value: u32, namespace: u32) -> Result<u32, Status> {
        let limit = value & 0xffff;
        if namespace == NAMESPACE_ALL {
            self.error_recovery.fill(limit);
        } else {
            let index = self.one_namespace(namespace)?;
            self.error_recovery[index] = limit;
        }
        Ok(0)
    }

    /// Asynchronous Event Configuration (Base §5.27.1.8): only SMART warnings raise events here.
    fn set_events(&mut self, value: u32) -> Result<(), Status> {
        let wanted = EventConfiguration::from_bits(value);
        if wanted.endurance_groups() {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        self.events = EventConfiguration::new().with_smart(wanted.smart());
        Ok(())
    }

    fn number_of_queues(&self) -> u32 {
        let queues_0 = self.queues - 1;
        NumberOfQueues::new()
            .with_submission_queues_0(queues_0)
            .with_completion_queues_0(queues_0)
            .into_bits()
    }

    /// Number of Queues (Base §5.27.1.5): before the first queue, as many as both sides can, and what was
    /// allocated once stays until the next reset.
    fn set_queues(&mut self, value: u32, queues_exist: bool) -> Result<u32, Status> {
        if queues_exist {
            return Err(refuse(StatusCode::COMMAND_SEQUENCE_ERROR));
        }
        let wanted = NumberOfQueues::from_bits(value);
        let (submission_0, completion_0) =
            (wanted.submission_queues_0(), wanted.completion_queues_0());
        if submission_0 == u16::MAX || completion_0 == u16::MAX {
            return Err(refuse(StatusCode::INVALID_FIELD));
        }
        if !self.queues_asked {
            self.queues = self.queues.min(submission_0.max(completion_0) + 1);
            self.queues_asked = true;
        }
        Ok(self.number_of_queues())
    }

    /// Interrupt Vector Configuration of one vector.
    fn vector(&self, dword11: u32) -> Result<u32, Status> {
        let vector = known_vector(dword11)?;
        let disable = self.coalescing_off >> vector & 1 != 0;
        Ok(u32::from(vector) | if disable { COALESCING_DISABLE } else { 0 })
    }

    fn set_vector(&mut self, value: u32) -> Result<(), Status> {
        let bit = 1 << known_vector(value)?;
        if value & COALESCING_DISABLE != 0 {
            self.coalescing_off |= bit;
        } else {
            self.coalescing_off &= !bit;
        }
        Ok(())
    }

    fn threshold(&self, dword11: u32) -> Result<u32, Status> {
        let asked = TemperatureThreshold::from_bits(dword11);
        match (asked.sensor(), asked.kind()) {
            (0, 0) => Ok(self.over_kelvin.into()),
            (0, 1) => Ok(self.under_kelvin.into()),
            _ => Err(refuse(StatusCode::INVALID_FIELD)),
        }
    }

    fn set_threshold(&mut self, value: u32) -> Result<(), Status> {
        let wanted = TemperatureThreshold::from_bits(value);
        match (wanted.sensor(), wanted.kind()) {
            (0 | 0xf, 0) => self.over_kelvin = wanted.kelvin(),
            (0 | 0xf, 1) => self.under_kelvin = wanted.kelvin(),
            _ => return Err(refuse(StatusCode::INVALID_FIELD)),
        }
        Ok(())
    }
}

/// The vector in a value of Interrupt Vector Configuration, if there is such a one.
fn known_vector(value: u32) -> Result<u16, Status> {
    let vector = (value & VECTOR_BITS) as u16;
    if vector < VECTORS {
        Ok(vector)
    } else {
        Err(refuse(StatusCode::INVALID_FIELD))
    }
}
