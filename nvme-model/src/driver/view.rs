//! What a driver tells of itself.

use core::fmt;

use super::counters::DriverCounters;
use super::health::Health;
use super::info::{ControllerInfo, NamespaceInfo};
use super::operation::{DriverState, NamespaceId};
use super::slots::Place;
use super::{After, Driver, Phase};
use crate::seam::Device;

impl<D: Device, const QUEUES: usize, const SLOTS: usize> Driver<D, QUEUES, SLOTS> {
    /// Operations that have not ended.
    pub fn unfinished(&self) -> usize {
        self.queues.iter().map(|io| io.slots.unfinished()).sum()
    }

    /// Commands that may end any moment: poll as often as latency asks for.
    pub fn in_flight(&self) -> usize {
        self.unfinished() + self.admin.waiting()
    }

    /// Where the driver is.
    pub fn state(&self) -> DriverState {
        match self.phase {
            Phase::Failed(reason) => DriverState::Failed(reason),
            Phase::AwaitingReset(reason) => DriverState::AwaitingReset(reason),
            Phase::Stopped => DriverState::Stopped,
            Phase::ShuttingDown { .. } => DriverState::Stopping,
            Phase::Disabling { then, .. } | Phase::Settling { then } => match then {
                After::Stop => DriverState::Stopping,
                After::Start if self.counters.resets == 0 => DriverState::Starting,
                After::Start | After::Fail(_) => DriverState::Disabling,
            },
            Phase::Begin | Phase::Enabling { .. } | Phase::Starting(_) | Phase::Repeating => {
                DriverState::Starting
            }
            Phase::Running if self.stop_requested => DriverState::Stopping,
            Phase::Running => {
                let mut queues = self.queues.iter();
                if queues.any(|io| io.slots.count(Place::Aborting) > 0) {
                    DriverState::Aborting
                } else {
                    DriverState::Running
                }
            }
        }
    }

    /// What the controller says of itself; `None` before it was asked.
    pub fn controller(&self) -> Option<&ControllerInfo> {
        self.controller.as_ref()
    }

    /// The namespaces that can be used, by rising number.
    pub fn namespaces(&self) -> &[NamespaceInfo] {
        &self.namespaces
    }

    /// The namespace of this number.
    #[inline]
    pub fn namespace(&self, id: NamespaceId) -> Option<&NamespaceInfo> {
        self.namespaces.iter().find(|info| info.id == id)
    }

    /// Queue pairs in use: at most `QUEUES`, 0 before the controller was asked.
    pub fn queue_count(&self) -> usize {
        self.queue_count
    }

    /// How often the device was powered on (SMART log), as read at the last start. It changes when
    /// power was lost, and with it what was not flushed.
    pub fn power_cycles(&self) -> u64 {
        self.power_cycles
    }

    /// What the drive said of its health last; `None` before it was asked.
    pub fn health(&self) -> Option<&Health> {
        self.health.latest.as_ref()
    }

    /// What has been counted.
    pub fn counters(&self) -> &DriverCounters {
        &self.counters
    }

    /// The device, for instance for the bytes of pages.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// The device, for instance for the bytes of pages, or to advance a software one.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<D: Device, const QUEUES: usize, const SLOTS: usize> fmt::Debug for Driver<D, QUEUES, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("phase", &self.phase)
            .field("unfinished", &self.unfinished())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}
