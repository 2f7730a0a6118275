//! The three kinds of operations that are measured: pushdown, remote, probe.

use super::answers::Answers;
use super::calls::Calls;
use super::drive::{Job, Request};
use super::world::{Failure, Instance};
use crate::sqlite::{Step, Table, Walk};

/// Lookups by a program on the DPU.
pub(super) struct Pushdown<'a, C: ?Sized> {
    calls: &'a C,
    keys: &'a [i64],
    answers: &'a mut Answers,
    lanes: Vec<CallLane>,
}

/// A call that is to be made or under way.
#[derive(Clone, Default)]
struct CallLane {
    index: usize,
    args: Vec<u8>,
    ended: bool,
}

impl<'a, C: Calls + ?Sized> Pushdown<'a, C> {
    pub(super) fn new(
        calls: &'a C,
        keys: &'a [i64],
        lanes: usize,
        answers: &'a mut Answers,
    ) -> Pushdown<'a, C> {
        answers.reset(keys.len());
        Pushdown {
            calls,
            keys,
            answers,
            lanes: vec![CallLane::default(); lanes],
        }
    }
}

impl<C: Calls + ?Sized> Job for Pushdown<'_, C> {
    fn start(&mut self, lane: usize, index: usize) {
        let lane = &mut self.lanes[lane];
        lane.index = index;
        lane.ended = false;
        self.calls.lookup(self.keys[index], &mut lane.args);
    }

    fn request(&self, lane: usize) -> Option<Request<'_>> {
        let lane = &self.lanes[lane];
        (!lane.ended).then_some(Request::Call {
            instance: Instance::Lookup,
            args: &lane.args,
        })
    }

    fn done(&mut self, lane: usize, result: Result<&[u8], Failure>, _instructions: u64) {
        let lane = &mut self.lanes[lane];
        lane.ended = true;
        match self.calls.found(result) {
            Ok(record) => self.answers.put(lane.index, record),
            Err(failure) => self.answers.fail(lane.index, failure.to_string()),
        }
    }
}

/// Lookups by reads that each cross the network.
pub(super) struct Remote<'a> {
    keys: &'a [i64],
    answers: &'a mut Answers,
    lanes: Vec<WalkLane>,
    /// Most levels that a walk went down.
    pub(super) levels: u32,
}

#[derive(Clone)]
struct WalkLane {
    index: usize,
    walk: Walk,
    ended: bool,
}

impl<'a> Remote<'a> {
    pub(super) fn new(
        table: &Table,
        keys: &'a [i64],
        lanes: usize,
        answers: &'a mut Answers,
    ) -> Remote<'a> {
        answers.reset(keys.len());
        let lane = WalkLane {
            index: 0,
            walk: Walk::start(0, table),
            ended: true,
        };
        Remote {
            keys,
            answers,
            lanes: vec![lane; lanes],
            levels: 0,
        }
    }

    /// Keeps the answer if the walk has ended.
    fn settle(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        match lane.walk.next() {
            Step::Read { .. } => return,
            Step::Found => self.answers.put(lane.index, Some(lane.walk.record())),
            Step::Missing => self.answers.put(lane.index, None),
            Step::Corrupt(why) => self.answers.fail(lane.index, why.to_string()),
        }
        lane.ended = true;
        self.levels = self.levels.max(lane.walk.levels());
    }
}

impl Job for Remote<'_> {
    fn start(&mut self, lane: usize, index: usize) {
        let started = &mut self.lanes[lane];
        started.index = index;
        started.ended = false;
        started.walk.restart(self.keys[index]);
        self.settle(lane);
    }

    fn request(&self, lane: usize) -> Option<Request<'_>> {
        let lane = &self.lanes[lane];
        match lane.walk.next() {
            Step::Read { offset, length } if !lane.ended => Some(Request::Read { offset, length }),
            _ => None,
        }
    }

    fn done(&mut self, lane: usize, result: Result<&[u8], Failure>, _instructions: u64) {
        match result {
            Ok(page) => {
                self.lanes[lane].walk.supply(page);
                self.settle(lane);
            }
            Err(failure) => {
                self.lanes[lane].ended = true;
                self.answers
                    .fail(self.lanes[lane].index, failure.to_string());
            }
        }
    }
}

/// Calls whose answer does not matter, only their cost.
pub(super) struct Probe<F> {
    instance: Instance,
    fill: F,
    lanes: Vec<CallLane>,
    /// The first failure.
    pub(super) failure: Option<Failure>,
}

impl<F: Fn(usize, &mut Vec<u8>)> Probe<F> {
    /// Calls of `instance`; `fill` makes the arguments of the call of that index.
    pub(super) fn new(instance: Instance, lanes: usize, fill: F) -> Probe<F> {
        Probe {
            instance,
            fill,
            lanes: vec![CallLane::default(); lanes],
            failure: None,
        }
    }
}

impl<F: Fn(usize, &mut Vec<u8>)> Job for Probe<F> {
    fn start(&mut self, lane: usize, index: usize) {
        let lane = &mut self.lanes[lane];
        lane.ended = false;
        (self.fill)(index, &mut lane.args);
    }

    fn request(&self, lane: usize) -> Option<Request<'_>> {
        let lane = &self.lanes[lane];
        (!lane.ended).then_some(Request::Call {
            instance: self.instance,
            args: &lane.args,
        })
    }

    fn done(&mut self, lane: usize, result: Result<&[u8], Failure>, _instructions: u64) {
        self.lanes[lane].ended = true;
        if let Err(failure) = result {
            self.failure.get_or_insert(failure);
        }
    }
}
