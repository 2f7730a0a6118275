//! A verifier that does without a rule is found out, whichever rule it is.
#![allow(unsafe_code)] // What is proved without a rule is run by the referee alone.

use ebpf::verifier::canary::{Rule, without};
use harness::{Case, Finding, Harness};

/// Programs that are enough for each; in continuous integration many more are tried.
const PROGRAMS: u64 = 200_000;

/// The number of the first program that shows that a rule is missing.
fn found_out(harness: &mut Harness, rule: Rule) -> Option<(u64, Finding)> {
    let mut case = Case::new();
    (0..PROGRAMS).find_map(|number| {
        case.choose(1, number, &[]);
        // SAFETY: there is no engine but the referee, which trusts nobody.
        let ran = unsafe { without(rule, || harness.run(&case)) };
        ran.err().map(|finding| (number, finding))
    })
}

#[test]
fn every_missing_rule_is_found_out() {
    let mut harness = Harness::without_engines();
    let mut missed = Vec::new();
    for rule in Rule::ALL {
        match found_out(&mut harness, rule) {
            Some((number, finding)) => println!("{rule:?}: program {number}: {finding}"),
            None => missed.push(rule),
        }
    }
    assert!(missed.is_empty(), "nobody misses {missed:?}");
}
