//! The programs that ship are proved, and how much of each is.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use client::linker;
use dpu_firmware::helpers::{HELPERS, SIGNATURES};
use ebpf::abi::CONTEXT_LAYOUT;
use ebpf::limits::KEPT_MAX;
use ebpf::verifier::{Environment, Kept, Refusal, Verified, Verifier};
use ebpf::{Image, check_image};
use programs::recipe;

struct Proof {
    verified: Verified,
    slots: usize,
    milliseconds: f64,
}

fn prove(object: &[u8]) -> Result<Proof, Refusal> {
    let linked = linker::link(object).expect("it links");
    let image = Image::parse(&linked.image).expect("the linker makes images");
    let slots: Vec<u64> = image.code().collect();
    let checked = check_image(&image, &slots, &HELPERS).expect("it passes the check");
    let environment = Environment::of_image(&image, CONTEXT_LAYOUT, &SIGNATURES);
    let environment = environment.expect("its maps can be had");
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
    let start = Instant::now();
    let verified = verifier.verify(&slots, &checked, image.entries(), environment)?;
    let milliseconds = start.elapsed().as_secs_f64() * 1e3;
    Ok(Proof {
        verified: verified.clone(),
        slots: slots.len(),
        milliseconds,
    })
}

/// A program of these tests: its name, source and object, as the source is compiled at -O2.
struct Sample {
    name: &'static str,
    source: &'static str,
    object: &'static [u8],
}

macro_rules! sample {
    ($name:literal) => {
        Sample {
            name: $name,
            source: include_str!(concat!("programs/", $name, ".c")),
            object: include_bytes!(concat!("programs/", $name, ".o")),
        }
    };
}

/// Programs of shapes that none of those that ship has.
const SAMPLES: [Sample; 2] = [sample!("filter_scan"), sample!("field_sum")];

/// Proves a program and prints its line of the table.
fn report(name: &str, object: &[u8]) -> Proof {
    let proof = prove(object).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    let found = &proof.verified;
    println!(
        "{name:20} {:5} {:7} {:8} {:10} {:7} {:7.2}",
        proof.slots,
        found.proved(),
        found.guarded(),
        found.unreached(),
        found.steps(),
        proof.milliseconds
    );
    for guard in found.guards() {
        println!("    {guard}");
    }
    proof
}

fn print_head() {
    println!("program              slots  proved  guarded  unreached   steps      ms");
}

/// At least 95 of 100 accesses.
fn is_nearly_all(found: &Verified) -> bool {
    found.guarded() * 20 <= found.proved() + found.guarded()
}

#[test]
fn every_shipped_program_is_proved() {
    print_head();
    for program in programs::ALL {
        let found = report(program.name, program.object).verified;
        assert!(is_nearly_all(&found), "{}", program.name);
        // It is what the interpreter's time is compared by; none in its inner loop is the least.
        assert!(program.name != "bpfkv_get" || found.guarded() == 0);
    }
}

#[test]
fn scans_of_both_spellings_are_proved() {
    print_head();
    for sample in SAMPLES {
        let found = report(sample.name, sample.object).verified;
        assert!(is_nearly_all(&found), "{}", sample.name);
        // Written `p + 16 <= end`, nothing is left to check.
        assert!(sample.name != "filter_scan" || found.guarded() == 0);
    }
}

/// Compiles a source as recipes do, but for the level.
fn compile(folder: &Path, source: &str, flags: &[&str], level: &str) -> Vec<u8> {
    let (from, to) = (folder.join("source.c"), folder.join("object.o"));
    std::fs::write(&from, source).expect("it can be written");
    let status = Command::new("clang")
        .args(recipe::FLAGS)
        .args(flags)
        .args([level, "-c", "-o"])
        .arg(&to)
        .arg(&from)
        .status()
        .expect("clang is there");
    assert!(status.success(), "{level}");
    std::fs::read(&to).expect("clang wrote it")
}

/// What another level of optimisation makes of the same source has the same proof, nearly.
#[test]
fn every_program_is_proved_however_it_was_optimised() {
    let folder = tempfile::tempdir().expect("there is room");
    std::fs::write(folder.path().join("dpu.h"), programs::DPU_H).expect("it can be written");
    let shipped = recipe::RECIPES.iter().map(|recipe| {
        let program = programs::find(recipe.name).expect("a recipe makes a program");
        (recipe.name, program.source, recipe.flags)
    });
    let samples = SAMPLES.map(|sample| (sample.name, sample.source, [].as_slice()));
    print_head();
    for (name, source, flags) in shipped.chain(samples) {
        for level in ["-O1", "-O2", "-O3"] {
            let object = compile(folder.path(), source, flags, level);
            let title = format!("{name} {level}");
            let found = report(&title, &object).verified;
            assert!(is_nearly_all(&found), "{title}");
            let spotless = ["bpfkv_get", "filter_scan"].contains(&name);
            assert!(!spotless || found.guarded() == 0, "{title}");
        }
    }
}

#[test]
fn signatures_are_there_for_every_helper() {
    for (helper, signature) in HELPERS.iter().zip(&SIGNATURES) {
        assert_eq!(helper.id, signature.id, "{}", helper.name);
    }
}
