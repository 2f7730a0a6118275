//! The body of the fuzz target `engines`.

use core::cell::RefCell;

use ebpf::asm::disassemble;

use crate::case::Case;
use crate::code;
use crate::compare::Harness;
use crate::minimise::minimise;

std::thread_local! {
    static KEPT: RefCell<(Harness, Case)> = RefCell::new((
        code::with_machine_code().expect("there is memory for code"),
        Case::new(),
    ));
}

/// Takes bytes as a program, or as the choices that one is written by, and runs it by everybody.
///
/// # Panics
/// If they do not agree, or a proof is wrong.
pub fn engines(bytes: &[u8]) {
    KEPT.with_borrow_mut(|(harness, case)| {
        case.read(bytes);
        if let Err(finding) = harness.run(case) {
            let (case, finding) = minimise(harness, case, &finding);
            panic!(
                "{finding}\n{:#?}\n{}",
                case.setting,
                disassemble(&case.slots)
            );
        }
    });
}
