//! The programs that ship are proved, and how much of each is.

use std::time::Instant;

use client::linker;
use dpu_firmware::helpers::{HELPERS, SIGNATURES};
use dpu_firmware::invocation::CONTEXT_LAYOUT;
use ebpf::limits::KEPT_MAX;
use ebpf::verifier::{Environment, Kept, Refusal, Verified, Verifier};
use ebpf::{Image, check_image};

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
    let environment = Environment::new(image.header(), CONTEXT_LAYOUT, &SIGNATURES);
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
    let start = Instant::now();
    let verified = verifier.verify(&slots, &checked, image.entries(), environment)?;
    Ok(Proof {
        verified,
        slots: slots.len(),
        milliseconds: start.elapsed().as_secs_f64() * 1e3,
    })
}

#[test]
fn every_shipped_program_is_proved() {
    println!("program          slots  proved  guarded  unreached   steps      ms");
    for program in programs::ALL {
        let proof = match prove(program.object) {
            Ok(proof) => proof,
            Err(refusal) => panic!("{}: {refusal}", program.name),
        };
        let found = &proof.verified;
        println!(
            "{:16} {:5} {:7} {:8} {:10} {:7} {:7.2}",
            program.name,
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
    }
}

#[test]
fn signatures_are_there_for_every_helper() {
    for (helper, signature) in HELPERS.iter().zip(&SIGNATURES) {
        assert_eq!(helper.id, signature.id, "{}", helper.name);
    }
}
