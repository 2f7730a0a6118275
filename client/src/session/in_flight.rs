//! The requests in flight, found by the slot in the low half of their id.

use protocol::{Kind, RequestId, Status};

/// A request that has not been answered wholly.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) id: RequestId,
    pub(super) kind: Kind,
    /// Byte credit that its payload took, to be given back.
    pub(super) payload_cost: u32,
    /// Length of the caller's buffer before anything was appended.
    pub(super) reply_start: usize,
    /// Most payload bytes of the reply.
    pub(super) reply_bytes_max: usize,
    /// Nobody wants the reply.
    pub(super) abandoned: bool,
    /// Of the final frame.
    pub(super) status: Status,
    /// Of the final frame.
    pub(super) credits: u16,
    pub(super) body: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// The slot in the ids of frames that have no reply.
pub(super) const NO_SLOT: u16 = u16::MAX;

#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<InFlight>>,
    free: Vec<u16>,
    used: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// A slot for the next request; it stays free until [`Table::insert`].
    pub(super) fn free_slot(&mut self) -> Option<u16> {
        if self.free.is_empty() {
            let slot = u16::try_from(self.slots.len())
                .ok()
                .filter(|&slot| slot != NO_SLOT)?;
            self.slots.push(None);
            self.free.push(slot);
        }
        self.free.last().copied()
    }

    pub(super) fn insert(&mut self, slot: u16, request: InFlight) {
        debug_assert_eq!(self.free.last(), Some(&slot));
        if let Some(place) = self.slots.get_mut(usize::from(slot)) {
            *place = Some(request);
            self.free.pop();
            self.used += 1;
        }
    }

    /// The slot of the request with this id.
    pub(super) fn find(&self, id: RequestId) -> Option<u16> {
        let slot = (id.0 & 0xffff) as u16;
        let request = self.slots.get(usize::from(slot))?.as_ref()?;
        (request.id == id).then_some(slot)
    }

    pub(super) fn get_mut(&mut self, slot: u16) -> Option<&mut InFlight> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    pub(super) fn remove(&mut self, slot: u16) -> Option<InFlight> {
        let request = self.slots.get_mut(usize::from(slot))?.take()?;
        self.free.push(slot);
        self.used -= 1;
        Some(request)
    }

    /// Takes out all of them, in the order they were submitted.
    pub(super) fn drain_in_order(&mut self) -> Vec<InFlight> {
        let mut requests: Vec<_> = self.slots.drain(..).flatten().collect();
        requests.sort_by_key(|request| request.id);
        self.free.clear();
        self.used = 0;
        requests
    }
}
