//! Asynchronous events (Base §5.2).

use std::collections::VecDeque;
use std::vec::Vec;

use crate::spec::{EventDword0, LogId};

use super::limits::{EVENT_REQUESTS_MAX, EVENTS_MAX};

/// Requests that wait for events, and events that wait for requests.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Slots of the requests.
    requests: Vec<u32>,
    pending: VecDeque<EventDword0>,
    /// One bit for each kind reported whose log was not read since.
    masked: u8,
}

impl Events {
    /// Parks a request; false when there are as many as there may be.
    pub(super) fn park(&mut self, slot: u32) -> bool {
        let room = self.requests.len() < EVENT_REQUESTS_MAX;
        if room {
            self.requests.push(slot);
        }
        room
    }

    /// Something happened. The same event is not queued twice.
    pub(super) fn raise(&mut self, kind: u8, information: u8, log: LogId) {
        let event = EventDword0::new()
            .with_kind(kind)
            .with_information(information)
            .with_log(log.0);
        if self.pending.len() < EVENTS_MAX && !self.pending.contains(&event) {
            self.pending.push_back(event);
        }
    }

    /// A log was read without Retain Asynchronous Event: what was reported is cleared, so that its
    /// kind may be again; what waited for a request is known now and not reported any more.
    pub(super) fn acknowledge(&mut self, log: LogId) {
        let kind = match log {
            LogId::ERROR => EventDword0::ERROR,
            LogId::SMART => EventDword0::SMART,
            _ => return, // no event here has another log
        };
        if self.masked & (1 << kind) == 0 {
            self.pending.retain(|event| event.kind() != kind);
        }
        self.masked &= !(1 << kind);
    }

    /// A request and the event to complete it with.
    #[inline]
    pub(super) fn deliver(&mut self) -> Option<(u32, EventDword0)> {
        if self.pending.is_empty() || self.requests.is_empty() {
            return None;
        }
        let at = self
            .pending
            .iter()
            .position(|event| self.masked & (1 << event.kind()) == 0)?;
        let event = self.pending.remove(at)?;
        self.masked |= 1 << event.kind();
        Some((self.requests.remove(0), event))
    }

    /// Whether [`deliver`](Self::deliver) would.
    #[inline]
    pub(super) fn deliverable(&self) -> bool {
        !self.requests.is_empty()
            && self
                .pending
                .iter()
                .any(|event| self.masked & (1 << event.kind()) == 0)
    }

    /// Takes out one request, to be aborted.
    pub(super) fn withdraw(&mut self, slot: u32) {
        self.requests.retain(|&request| request != slot);
    }

    /// A reset forgets requests and events.
    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.pending.clear();
        self.masked = 0;
    }
}
