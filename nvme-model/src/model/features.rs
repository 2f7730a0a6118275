//! Get and Set Features (Base §5.15, §5.27).

use crate::spec::{
    EventConfiguration, FeatureId, NAMESPACE_ALL, NumberOfQueues, Status, StatusCode,
    TemperatureThreshold, VolatileWriteCache,
};

use super::limits::VECTORS;

/// What a drive warns at unless told otherwise: 70 °C.
pub(super) const WARNING_KELVIN: u16 = 343;

/// Current values. None can be saved, so a reset brings the defaults back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Features {
    arbitration: u32,
    error_recovery: u32,
    interrupt_coalescing: u32,
    write_atomicity: u32,
    over_kelvin: u16,
    under_kelvin: u16,
    write_cache: bool,
    /// Queue pairs allocated.
    queues: u16,
    events: EventConfiguration,
}

/// What Get Features is asked to tell (SEL).
const SELECT_CURRENT: u8 = 0;
const SELECT_SAVED: u8 = 2;
const SELECT_CAPABILITIES: u8 = 3;

/// Capability bit 2: the feature can be changed.
const CHANGEABLE: u32 = 1 << 2;

fn invalid_field() -> Status {
    Status::new(StatusCode::INVALID_FIELD).with_do_not_retry()
}

impl Features {
    /// The defaults, with so many queue pairs.
    pub(super) fn new(queues: u16) -> Self {
        Self {
            arbitration: 0,
            error_recovery: 0,
            interrupt_coalescing: 0,
            write_atomicity: 0,
            over_kelvin: WARNING_KELVIN,
            under_kelvin: 0,
            write_cache: true,
            queues,
            events: EventConfiguration::new(),
        }
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
        has_cache: bool,
    ) -> Result<u32, Status> {
        if select == SELECT_CAPABILITIES {
            let _exists = self.value(feature, dword11, has_cache)?;
            return Ok(CHANGEABLE);
        }
        match select {
            SELECT_CURRENT => self.value(feature, dword11, has_cache),
            1 | SELECT_SAVED => defaults.value(feature, dword11, has_cache),
            _ => Err(invalid_field()),
        }
    }

    fn value(&self, feature: FeatureId, dword11: u32, has_cache: bool) -> Result<u32, Status> {
        Ok(match feature {
            FeatureId::ARBITRATION => self.arbitration,
            FeatureId::POWER_MANAGEMENT => 0,
            FeatureId::TEMPERATURE_THRESHOLD => self.threshold(dword11)?,
            FeatureId::ERROR_RECOVERY => self.error_recovery,
            FeatureId::VOLATILE_WRITE_CACHE if has_cache => self.write_cache.into(),
            FeatureId::NUMBER_OF_QUEUES => self.number_of_queues(),
            FeatureId::INTERRUPT_COALESCING => self.interrupt_coalescing,
            FeatureId::INTERRUPT_VECTOR_CONFIGURATION if (dword11 as u16) < VECTORS => {
                dword11 & 0xffff
            }
            FeatureId::WRITE_ATOMICITY_NORMAL => self.write_atomicity,
            FeatureId::ASYNCHRONOUS_EVENT_CONFIGURATION => self.events.into_bits(),
            _ => return Err(invalid_field()),
        })
    }

    /// Set Features: dword 0 of the completion.
    pub(super) fn set(
        &mut self,
        feature: FeatureId,
        value: u32,
        namespace: u32,
        has_cache: bool,
        limits: Limits,
    ) -> Result<u32, Status> {
        // Features of the controller take no namespace (Base §5.27, Figure 370).
        if namespace != 0 && namespace != NAMESPACE_ALL && feature != FeatureId::ERROR_RECOVERY {
            let code = StatusCode::FEATURE_NOT_NAMESPACE_SPECIFIC;
            return Err(Status::new(code).with_do_not_retry());
        }
        match feature {
            FeatureId::ARBITRATION => self.arbitration = value,
            // One power state, 0 (Base §5.27.1.2).
            FeatureId::POWER_MANAGEMENT if value & 0x1f == 0 => {}
            FeatureId::TEMPERATURE_THRESHOLD => self.set_threshold(value)?,
            FeatureId::ERROR_RECOVERY => self.error_recovery = value & 0xffff,
            FeatureId::VOLATILE_WRITE_CACHE if has_cache => {
                self.write_cache = VolatileWriteCache::from_bits(value).enabled();
            }
            FeatureId::NUMBER_OF_QUEUES => return self.set_queues(value, limits),
            FeatureId::INTERRUPT_COALESCING => self.interrupt_coalescing = value & 0xffff,
            FeatureId::INTERRUPT_VECTOR_CONFIGURATION if (value as u16) < VECTORS => {}
            FeatureId::WRITE_ATOMICITY_NORMAL => self.write_atomicity = value & 1,
            FeatureId::ASYNCHRONOUS_EVENT_CONFIGURATION => {
                self.events = EventConfiguration::from_bits(value);
            }
            _ => return Err(invalid_field()),
        }
        Ok(0)
    }

    fn number_of_queues(&self) -> u32 {
        let queues_0 = self.queues - 1;
        NumberOfQueues::new()
            .with_submission_queues_0(queues_0)
            .with_completion_queues_0(queues_0)
            .into_bits()
    }

    /// Number of Queues (Base §5.27.1.5): before the first queue, and as many as both sides can.
    fn set_queues(&mut self, value: u32, limits: Limits) -> Result<u32, Status> {
        if limits.queues_exist {
            return Err(Status::new(StatusCode::COMMAND_SEQUENCE_ERROR).with_do_not_retry());
        }
        let wanted = NumberOfQueues::from_bits(value);
        let (submission_0, completion_0) =
            (wanted.submission_queues_0(), wanted.completion_queues_0());
        if submission_0 == u16::MAX || completion_0 == u16::MAX {
            return Err(invalid_field());
        }
        self.queues = limits.queues_max.min(submission_0.max(completion_0) + 1);
        Ok(self.number_of_queues())
    }

    fn threshold(&self, dword11: u32) -> Result<u32, Status> {
        let asked = TemperatureThreshold::from_bits(dword11);
        match (asked.sensor(), asked.kind()) {
            (0, 0) => Ok(self.over_kelvin.into()),
            (0, 1) => Ok(self.under_kelvin.into()),
            _ => Err(invalid_field()),
        }
    }

    fn set_threshold(&mut self, value: u32) -> Result<(), Status> {
        let wanted = TemperatureThreshold::from_bits(value);
        match (wanted.sensor(), wanted.kind()) {
            (0 | 0xf, 0) => self.over_kelvin = wanted.kelvin(),
            (0 | 0xf, 1) => self.under_kelvin = wanted.kelvin(),
            _ => return Err(invalid_field()),
        }
        Ok(())
    }
}

/// What bounds Number of Queues.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Queue pairs the controller has.
    pub(super) queues_max: u16,
    /// An I/O queue was created since the last reset.
    pub(super) queues_exist: bool,
}
