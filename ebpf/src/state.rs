//! Where an invocation stands between runs: plain data, nothing borrowed.

use crate::fault::Outcome;
use crate::image::EntryKind;
use crate::limits::{FRAME_BYTES, FRAMES_MAX, STACK_BYTES};
use crate::memory::{Memory, RegionId};
use crate::program::Program;
use crate::verifier::{ProofId, Verified};

/// r10 of the entry function: the end of the stack. Each further frame lies below its caller's.
pub(crate) const STACK_TOP: u64 = Memory::address(RegionId::Stack, STACK_BYTES as u32);

/// What a local call (RFC 9669 section 4.3.2) puts aside: where to go back to, and r6 to r9, which
/// the calling convention keeps for the caller.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    pub(crate) saved: [u64; 4],
    pub(crate) return_pc: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The entry is not paid yet.
    Fresh,
    Ready,
    Waiting,
    Ended(Outcome),
}

/// The whole state of an invocation apart from its memory. Small, and good to keep by the
/// hundred; no pointer in it, so it may be moved and cloned.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct State {
    /// r0 to r10; the rest are there so that no register number is out of range.
    pub(crate) r: [u64; 16],
    pub(crate) frames: [Frame; FRAMES_MAX - 1],
    pub(crate) budget: u64,
    pub(crate) left: u64,
    pub(crate) pc: u32,
    pub(crate) depth: u32,
    pub(crate) phase: Phase,
    /// The proof that it was started for, and holds for.
    pub(crate) proof: ProofId,
}

impl State {
    /// The state before the first instruction of the function at slot `entry`. Its length is paid
    /// from the budget when it is first run; where no function starts there, that run is a fault.
    #[inline]
    pub fn start(_: &Program<'_>, entry: u32, r1: u64, r2: u64, instruction_budget: u64) -> State {
        let mut r = [0; 16];
        r[1] = r1;
        r[2] = r2;
        r[10] = STACK_TOP;
        State {
            r,
            frames: [Frame::default(); FRAMES_MAX - 1],
            budget: instruction_budget,
            left: instruction_budget,
            pc: entry,
            depth: 0,
            phase: Phase::Fresh,
            proof: ProofId::NONE,
        }
    }

    /// The state before the first instruction of a verified program, at the entry of a kind, as
    /// the proof has it: r1 is the context's address, and all else is nothing. None if there is no
    /// such entry.
    #[must_use]
    pub fn start_verified(
        verified: &Verified,
        kind: EntryKind,
        instruction_budget: u64,
    ) -> Option<State> {
        let mut state = State::start(&verified.program(), 0, 0, 0, 0);
        state
            .restart_verified(verified, kind, instruction_budget)
            .then_some(state)
    }

    /// Makes of any state the one that [`start_verified`](State::start_verified) gives; false, and
    /// nothing is changed, if there is no such entry. What has its place need not be copied there.
    #[must_use]
    pub fn restart_verified(
        &mut self,
        verified: &Verified,
        kind: EntryKind,
        instruction_budget: u64,
    ) -> bool {
        let Some(entry) = verified.entry(kind) else {
            return false;
        };
        self.r = [0; 16];
        self.r[1] = Memory::address(RegionId::Context, 0);
        self.r[10] = STACK_TOP;
        self.frames = [Frame::default(); FRAMES_MAX - 1];
        self.budget = instruction_budget;
        self.left = instruction_budget;
        self.pc = entry;
        self.depth = 0;
        self.phase = Phase::Fresh;
        self.proof = verified.id();
        true
    }

    /// The proof of the program that it was started for; [`ProofId::NONE`] without one.
    pub const fn proof(&self) -> ProofId {
        self.proof
    }

    /// Ends the wait for a helper: `r0` is its result, and the program goes on behind the call.
    /// Without such a wait this does nothing.
    #[inline]
    pub fn resume(&mut self, r0: i64) {
        if self.phase == Phase::Waiting {
            self.r[0] = r0 as u64;
            self.pc = self.pc.wrapping_add(1);
            self.phase = Phase::Ready;
        }
    }

    /// True while a helper waits.
    pub fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    /// How it ended, if it has.
    pub const fn ended(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Ended(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Units of the meter that have been paid.
    #[inline]
    pub const fn spent(&self) -> u64 {
        self.budget - self.left
    }

    /// Units of the meter that are left.
    pub const fn left(&self) -> u64 {
        self.left
    }

    /// The slot that comes next; while a helper waits, its call; at the end, the last one.
    pub const fn pc(&self) -> u32 {
        self.pc
    }

    /// Active functions beyond the entry function.
    pub const fn depth(&self) -> u32 {
        self.depth
    }

    /// r0 to r10.
    pub fn registers(&self) -> [u64; 11] {
        let mut r = [0; 11];
        r.copy_from_slice(&self.r[..11]);
        r
    }

    /// r10 at a given depth.
    pub(crate) const fn stack_top(depth: u32) -> u64 {
        STACK_TOP - depth as u64 * FRAME_BYTES as u64
    }
}

const _: () = assert!(
    size_of::<State>() <= 512,
    "a state is kept for each invocation"
);
