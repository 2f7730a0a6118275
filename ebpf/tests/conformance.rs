//! Runs cases in the format of the bpf_conformance project: our own, and those of a folder.
//!
//! The folder is named by `OUTBOARD_CONFORMANCE`; by default it lies beside the workspace. Where
//! it is absent only our own cases run, and the test says so.

mod support;

use std::path::{Path, PathBuf};

use ebpf::{
    Checked, Fault, FaultKind, HelperResult, HelperSpec, Host, Isolation, Memory, Outcome, Program,
    asm,
};
use support::cases::Case;
use support::run_guarded;

/// Cases that do not hold here, each with the reason the RFC gives.
const EXCEPTIONS: &[(&str, &str)] = &[(
    "callx",
    "RFC 9669 section 4.3 defines CALL with the immediate form only; opcode 0x8d is not in the \
     instruction registry (section 7), so a call through a register is refused",
)];

/// The helpers that cases may call: number 5 is the one that may unwind, and does not.
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

fn run_case(case: &Case) -> Result<(), String> {
    let slots = match &case.asm {
        Some(text) => asm::assemble(text).map_err(|why| why.to_string())?,
        None => case.raw.clone(),
    };
    let outcome = match ebpf::check(&slots, &[0], HELPERS) {
        Ok(checked) => run_in_every_engine(&slots, &checked, &case.memory)?,
        Err(refusal) if case.error.is_some() => return matches(case, &refusal.to_string()),
        Err(refusal) => return Err(refusal.to_string()),
    };
    match (outcome, case.result) {
        (Outcome::Exit { r0 }, Some(result)) if r0 == result => Ok(()),
        (Outcome::Exit { r0 }, Some(result)) => Err(format!("r0 is {r0:#x}, not {result:#x}")),
        (outcome, None) => matches(case, &outcome.to_string()),
        (outcome, Some(_)) => Err(outcome.to_string()),
    }
}

/// Runs in the referee and in the other interpreter, which must agree on everything.
fn run_in_every_engine(slots: &[u64], checked: &Checked, memory: &[u8]) -> Result<Outcome, String> {
    let program = Program::new(slots, checked, support::scratch(0));
    let (budget, host) = (1_000_000, &mut CaseHost);
    let referee = support::run_program(&program, memory, budget, u32::MAX, host, 0);
    for isolation in [Isolation::Alone, Isolation::Shared] {
        let fast = run_guarded(&program, isolation, memory, budget, u32::MAX, host, 0);
        if fast != referee {
            return Err(format!("the referee says {referee:?}, the other {fast:?}"));
        }
    }
    Ok(referee.outcome)
}

/// Compares how a case failed with how it should.
fn matches(case: &Case, found: &str) -> Result<(), String> {
    match &case.error {
        Some(error) if found.contains(error.as_str()) => Ok(()),
        Some(error) => Err(format!("failed with {found:?}, not with {error:?}")),
        None => Err(format!("the case asks for nothing, and got {found:?}")),
    }
}

fn run_all(cases: &[Case]) {
    let mut failures = Vec::new();
    for case in cases {
        let exception = EXCEPTIONS.iter().find(|(name, _)| *name == case.name);
        match (run_case(case), exception) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Ok(()), Some(_)) => failures.push(format!("{}: passes, take it off", case.name)),
            (Err(why), None) => failures.push(format!("{}: {why}", case.name)),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {}:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

#[test]
fn our_own_cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let cases = Case::folder(&folder).expect("our own cases are there");
    assert!(cases.len() >= 20, "only {} cases", cases.len());
    run_all(&cases);
}

#[test]
fn the_public_cases() {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/conformance/bpf");
    let folder = std::env::var_os("OUTBOARD_CONFORMANCE").map_or(default, PathBuf::from);
    match Case::folder(&folder) {
        Some(cases) => {
            assert!(!cases.is_empty(), "no cases in {}", folder.display());
            run_all(&cases);
            println!("{} public cases", cases.len());
        }
        None => println!("no public cases: {} is absent", folder.display()),
    }
}

#[test]
fn a_wrong_result_is_noticed() {
    let case = Case::parse("wrong", "-- asm\nmov %r0, 1\nexit\n-- result\n0x2\n").unwrap();
    assert_eq!(run_case(&case), Err("r0 is 0x1, not 0x2".to_owned()));
}

#[test]
fn a_call_through_a_register_is_refused() {
    let slots = [u64::from(ebpf::isa::op::CALLX), 0x95];
    let refusal = ebpf::check(&slots, &[0], HELPERS).expect_err("it is refused");
    assert_eq!(refusal.pc, 0);
    assert!(refusal.to_string().contains("through a register"));
    // And without a check it is a fault, not a call.
    let checked = ebpf::check(&[0x95, 0x95], &[0], HELPERS).unwrap();
    let program = ebpf::Program::new(&slots, &checked, 0);
    let ran = support::run_program(&program, &[], 100, 100, &mut CaseHost, 0);
    let kind = FaultKind::Opcode { opcode: 0x8d };
    assert_eq!(ran.outcome, Outcome::Fault(Fault { pc: 0, kind }));
}
