//! The conformance cases, in every engine.

use alloc::format;
use alloc::string::{String, ToString as _};

use ebpf::{
    Checked, HelperResult, HelperSpec, Host, Isolation, Memory, Outcome, Program, RegionId,
};

use crate::engines::{self, Engines, Start};
use crate::say;
use crate::tally::Tally;

/// A case in the format of the bpf_conformance project, assembled.
struct Case {
    name: &'static str,
    slots: Result<&'static [u64], &'static str>,
    /// Handed over in r1, its length in r2.
    memory: &'static [u8],
    /// What r0 shall be.
    result: Option<u64>,
    /// What shall go wrong.
    error: Option<&'static str>,
}

include!(concat!(env!("OUT_DIR"), "/cases.rs"));

/// Cases that do not hold, by RFC 9669 section 4.3: a call through a register is no instruction.
const EXCEPTIONS: &[&str] = &["callx"];

/// The helpers that cases may call: number 5 is the one that may unwind, and does not.
#[derive(Clone, PartialEq)]
struct CaseHost;

const HELPERS: &[HelperSpec] = &[HelperSpec {
    id: 5,
    name: "unwind",
    length_arg: None,
}];

impl Host for CaseHost {
    fn call(&mut self, helper: u32, args: [u64; 5], _: &mut Memory<'_>) -> HelperResult {
        match helper {
            5 => HelperResult::Return(args[0] as i64),
            _ => HelperResult::Unknown,
        }
    }

    fn helpers(&self) -> &[HelperSpec] {
        HELPERS
    }
}

/// Runs them all.
pub(crate) fn run(engines: &mut Engines, tally: &mut Tally) {
    assert!(OWN.len() >= 20, "only {} cases of our own", OWN.len());
    for case in OWN.iter().chain(PUBLIC) {
        let is_exception = EXCEPTIONS.contains(&case.name);
        let outcome = match run_case(engines, case) {
            Ok(()) if is_exception => Err("it passes, take it off the exceptions".to_string()),
            Err(_) if is_exception => Ok(()),
            outcome => outcome,
        };
        tally.note(case.name, outcome);
    }
    say!(
        "{} cases of our own, {} public ones",
        OWN.len(),
        PUBLIC.len()
    );
}

fn run_case(engines: &mut Engines, case: &Case) -> Result<(), String> {
    let slots = case.slots?;
    let outcome = match ebpf::check(slots, &[0], HELPERS) {
        Ok(checked) => run_in_every_engine(engines, slots, &checked, case.memory)?,
        Err(refusal) => return matches(case, &refusal.to_string()),
    };
    match (outcome, case.result) {
        (Outcome::Exit { r0 }, Some(result)) if r0 == result => Ok(()),
        (Outcome::Exit { r0 }, Some(result)) => Err(format!("r0 is {r0:#x}, not {result:#x}")),
        (outcome, _) => matches(case, &outcome.to_string()),
    }
}

/// Runs in one slice, and in the smallest ones.
fn run_in_every_engine(
    engines: &mut Engines,
    slots: &[u64],
    checked: &Checked,
    memory: &[u8],
) -> Result<Outcome, String> {
    let program = Program::new(slots, checked, Memory::address(RegionId::Scratch, 0));
    let start = Start {
        program: &program,
        entries: &[0],
        memory,
        budget: 1_000_000,
        slices: &[u32::MAX],
        isolations: &[Isolation::Alone, Isolation::Shared],
    };
    let outcome = engines::compare(engines, &start, CaseHost)?;
    let many = Start {
        budget: 10_000,
        slices: &[0, 7, 1],
        ..start
    };
    let in_slices = engines::compare(engines, &many, CaseHost)?;
    let is_same = outcome == in_slices || matches!(in_slices, Outcome::OutOfBudget { .. });
    if is_same {
        Ok(outcome)
    } else {
        Err(format!("in one slice {outcome}, in many {in_slices}"))
    }
}

/// Compares how a case failed with how it should.
fn matches(case: &Case, found: &str) -> Result<(), String> {
    match case.error {
        Some(error) if found.contains(error) => Ok(()),
        Some(error) => Err(format!("failed with {found:?}, not with {error:?}")),
        None => Err(format!("failed with {found:?}")),
    }
}
