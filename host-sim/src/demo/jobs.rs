//! The three kinds of operations that are measured: pushdown, remote, ping.

use super::answers::Answers;
use super::calls;
use super::drive::{Job, Request};
use super::world::Failure;
use crate::sqlite::{Step, Table, Walk};

/// Lookups by a program on the DPU.
pub(super) struct Pushdown<'a> {
    table: &'a Table,
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

impl<'a> Pushdown<'a> {
    pub(super) fn new(
        table: &'a Table,
        keys: &'a [i64],
        lanes: usize,
        answers: &'a mut Answers,
    ) -> Pushdown<'a> {
        answers.reset(keys.len());
        Pushdown {
            table,
            keys,
            answers,
            lanes: vec![CallLane::default(); lanes],
        }
    }
}

impl Job for Pushdown<'_> {
    fn start(&mut self, lane: usize, index: usize) {
        let lane = &mut self.lanes[lane];
        lane.index = index;
        lane.ended = false;
        calls::lookup(self.table, self.keys[index], &mut lane.args);
    }

    fn request(&self, lane: usize) -> Option<Request<'_>> {
        let lane = &self.lanes[lane];
        (!lane.ended).then_some(Request::Call { args: &lane.args })
    }

    fn done(&mut self, lane: usize, result: Result<&[u8], Failure>, _instructions: u64) {
        let lane = &mut self.lanes[lane];
        lane.ended = true;
        match calls::found(result) {
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
    /// Where to note what is read, offset and length.
    reads: Option<&'a mut Vec<(u64, u32)>>,
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
        reads: Option<&'a mut Vec<(u64, u32)>>,
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
            reads,
        }
    }

    /// Notes what is read next; keeps the answer if the walk has ended.
    fn settle(&mut self, lane: usize) {
        let lane = &mut self.lanes[lane];
        match lane.walk.next() {
            Step::Read { offset, length } => {
                if let Some(reads) = &mut self.reads {
                    reads.push((offset, length));
                }
                return;
            }
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

/// Requests whose answer does not matter, only their cost.
pub(super) struct Ping {
    waiting: Vec<bool>,
    /// The first failure.
    pub(super) failure: Option<Failure>,
}

impl Ping {
    pub(super) fn new(lanes: usize) -> Ping {
        Ping {
            waiting: vec![false; lanes],
            failure: None,
        }
    }
}

impl Job for Ping {
    fn start(&mut self, lane: usize, _index: usize) {
        self.waiting[lane] = true;
    }

    fn request(&self, lane: usize) -> Option<Request<'_>> {
        self.waiting[lane].then_some(Request::Ping)
    }

    fn done(&mut self, lane: usize, result: Result<&[u8], Failure>, _instructions: u64) {
        self.waiting[lane] = false;
        if let Err(failure) = result {
            self.failure.get_or_insert(failure);
        }
    }
}
