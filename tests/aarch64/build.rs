//! Assembles the conformance cases into tables, and has the binary linked to run under Linux.
//!
//! The cases are our own, `ebpf/tests/cases`, and those of the folder that `OUTBOARD_CONFORMANCE`
//! names, by default one beside the workspace.

#[path = "../../ebpf/tests/support/cases.rs"]
#[allow(dead_code, missing_docs, unreachable_pub)]
mod cases;

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use cases::Case;

/// Where the public cases are looked for when `OUTBOARD_CONFORMANCE` is not set.
const CASES_BESIDE: &str = "../../../shared/conformance/bpf";

fn main() {
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let public = match env::var_os("OUTBOARD_CONFORMANCE") {
        Some(folder) => PathBuf::from(folder),
        None => here.join(CASES_BESIDE),
    };
    let mut text = String::new();
    table(&mut text, "OWN", &here.join("../../ebpf/tests/cases"));
    table(&mut text, "PUBLIC", &public);
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("cases.rs"), text).expect("the table can be written");
    println!("cargo::rerun-if-env-changed=OUTBOARD_CONFORMANCE");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../ebpf/tests/support/cases.rs");
}

/// Writes the cases of a folder as a table in Rust.
fn table(text: &mut String, name: &str, folder: &Path) {
    println!("cargo::rerun-if-changed={}", folder.display());
    let cases = Case::folder(folder).unwrap_or_default();
    writeln!(text, "const {name}: &[Case] = &[").expect("a string grows");
    for case in cases {
        let slots = match &case.asm {
            Some(text) => ebpf::asm::assemble(text).map_err(|why| why.to_string()),
            None => Ok(case.raw),
        };
        let (name, memory) = (&case.name, &case.memory);
        let (result, error) = (case.result, case.error);
        let slots = match slots {
            Ok(slots) => format!("Ok(&{slots:?})"),
            Err(why) => format!("Err({why:?})"),
        };
        writeln!(
            text,
            "    Case {{ name: {name:?}, slots: {slots}, memory: &{memory:?}, result: {result:?}, error: {error:?} }},"
        )
        .expect("a string grows");
    }
    text.push_str("];\n");
}
