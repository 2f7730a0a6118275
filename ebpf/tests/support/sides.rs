//! An engine and the referee side by side: invocations with all they touch, and a host that keeps
//! a trace.

#![allow(dead_code, unreachable_pub, missing_docs)]

use ebpf::isa::Slot;
use ebpf::limits::STACK_BYTES;
use ebpf::{HelperResult, HelperSpec, Host, Memory, Outcome, Program, RegionId, State};
use proptest::prelude::*;

use crate::support::generate::{HELPER_ACTS, HELPER_WAITS, Set, program};
use crate::support::scratch;

pub const HELPER_KILLS: u32 = 3;

pub const HELPERS: &[HelperSpec] = &[
    HelperSpec {
        id: HELPER_ACTS,
        name: "acts",
        length_arg: Some(2),
    },
    HelperSpec {
        id: HELPER_WAITS,
        name: "waits",
        length_arg: None,
    },
    HelperSpec {
        id: HELPER_KILLS,
        name: "kills",
        length_arg: None,
    },
];

/// Writes to scratch, and keeps a trace of its calls.
#[derive(Default)]
pub struct Tracing(pub Vec<(u32, [u64; 5])>);

impl Host for Tracing {
    fn call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult {
        self.0.push((helper, args));
        match helper {
            HELPER_WAITS => return HelperResult::Wait,
            HELPER_KILLS => return HelperResult::Kill(9),
            HELPER_ACTS => {}
            _ => return HelperResult::Unknown,
        }
        if let Ok(bytes) = memory.write(scratch((args[0] & 63) as u32), 8) {
            bytes.copy_from_slice(&args[1].to_le_bytes());
        }
        HelperResult::Return((args[0] ^ args[3]) as i64)
    }

    fn helpers(&self) -> &[HelperSpec] {
        HELPERS
    }

    fn cost_length(&self, _: u32, args: &[u64; 5]) -> u64 {
        args[2] & 0xfff
    }
}

/// What an invocation has to itself.
pub struct Side {
    pub state: State,
    pub scratch: Vec<u8>,
    pub stack: Vec<u8>,
    pub host: Tracing,
}

/// Read-only bytes that every program has as its arguments.
const ARGUMENTS: [u8; 24] = [0xa5; 24];

impl Side {
    pub fn new(program: &Program<'_>, memory: &[u8], budget: u64) -> Side {
        Side {
            state: State::start(program, 0, scratch(0), memory.len() as u64, budget),
            scratch: memory.to_vec(),
            stack: vec![7; STACK_BYTES],
            host: Tracing::default(),
        }
    }

    pub fn run(
        &mut self,
        run: impl FnOnce(&mut State, &mut Memory<'_>, &mut Tracing) -> Outcome,
    ) -> Outcome {
        let mut memory = Memory::new()
            .with_read(RegionId::Arguments, &ARGUMENTS)
            .with_write(RegionId::Scratch, &mut self.scratch)
            .with_write(RegionId::Stack, &mut self.stack);
        run(&mut self.state, &mut memory, &mut self.host)
    }
}

/// Slices of an invocation's runs: these in turn, then the last for ever.
pub type Slices = Vec<u32>;

/// Runs an engine and the referee in step, after each slice of which everything must be equal, and
/// gives how they ended. `text` tells of the program.
pub fn in_step(
    program: &Program<'_>,
    memory: &[u8],
    budget: u64,
    slices: &Slices,
    text: impl Fn() -> String,
    mut engine: impl FnMut(&mut State, &mut Memory<'_>, &mut Tracing, u32) -> Outcome,
    mut referee: impl FnMut(&mut State, &mut Memory<'_>, &mut Tracing, u32) -> Outcome,
) -> Result<Outcome, TestCaseError> {
    let (mut ours, mut theirs) = (
        Side::new(program, memory, budget),
        Side::new(program, memory, budget),
    );
    let last = slices.last().copied().unwrap_or(u32::MAX);
    let mut slices = slices.iter().copied().chain(std::iter::repeat(last));
    loop {
        let slice = slices.next().unwrap_or(last);
        let expected = theirs.run(|state, memory, host| referee(state, memory, host, slice));
        let outcome = ours.run(|state, memory, host| engine(state, memory, host, slice));
        prop_assert_eq!(outcome, expected, "{}", text());
        prop_assert_eq!(&ours.state, &theirs.state, "{}", text());
        prop_assert_eq!(&ours.scratch, &theirs.scratch, "{}", text());
        prop_assert!(ours.stack == theirs.stack, "{}", text());
        prop_assert_eq!(&ours.host.0, &theirs.host.0, "{}", text());
        if outcome.is_end() {
            return Ok(outcome);
        }
        ours.state.resume(-5);
        theirs.state.resume(-5);
    }
}

/// Slots that look like instructions more often than chance has it.
pub fn any_slot() -> impl Strategy<Value = u64> {
    let near = (any::<u8>(), 0..12_u8, 0..12_u8, -20..20_i16, -40..40_i32)
        .prop_map(|(opcode, dst, src, offset, imm)| Slot::new(opcode, dst, src, offset, imm).0);
    let call = (0..2_u8, -8..8_i32).prop_map(|(src, imm)| Slot::new(0x85, 0, src, 0, imm).0);
    prop_oneof![6 => near, 2 => call, 1 => any::<u64>(), 3 => Just(0x95)]
}

/// Slots that are a program, or nearly: such of a generated one, and some of them changed.
pub fn damaged() -> impl Strategy<Value = Vec<u64>> {
    let change = (any::<prop::sample::Index>(), 0..64_u32);
    (program(Set::Stray), prop::collection::vec(change, 1..4)).prop_map(|(mut slots, changes)| {
        for (index, bit) in changes {
            let len = slots.len();
            slots[index.index(len)] ^= 1 << bit;
        }
        slots
    })
}

pub fn slices() -> impl Strategy<Value = Slices> {
    prop_oneof![
        Just(vec![u32::MAX]),
        (0..200_u32).prop_map(|slice| vec![slice]),
        prop::collection::vec(0..60_u32, 1..12),
    ]
}

pub fn cases(number: u32) -> ProptestConfig {
    ProptestConfig {
        cases: number,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}
