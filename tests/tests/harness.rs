//! Shipped programs, as they are and changed at random, through the verifier and every engine.

use client::linker;
use ebpf::{EntryKind, Image};
use harness::case::Shipped;
use harness::minimise::minimise;
use harness::tally::Tally;
use harness::{Case, code};

const PROGRAMS: u64 = 2000;

fn shipped() -> Vec<Shipped> {
    let all = programs::ALL.iter().filter_map(|program| {
        let linked = linker::link(program.object).expect("it links");
        let image = Image::parse(&linked.image).expect("the linker makes images");
        let header = image.header();
        // The harness has maps of its own, which are others.
        (header.maps == 0).then(|| Shipped {
            slots: image.code().collect(),
            kind: EntryKind::Call,
            entry: image.entry(EntryKind::Call).expect("it can be called"),
            bytes: [header.args_max, header.reply_max, header.scratch_bytes],
        })
    });
    let all: Vec<Shipped> = all.collect();
    assert!(all.len() >= 3);
    all
}

#[test]
fn engines_agree_on_what_is_made_of_shipped_programs() {
    let shipped = shipped();
    let mut harness = code::with_machine_code().expect("there is memory for code");
    let (mut case, mut tally) = (Case::new(), Tally::default());
    for number in 0..PROGRAMS {
        case.choose(1, number, &shipped);
        match harness.run(&case) {
            Ok(ran) => tally.add(&ran),
            Err(finding) => {
                let (case, finding) = minimise(&mut harness, &case, &finding);
                let text = ebpf::asm::disassemble(&case.slots);
                panic!("program {number}: {finding}\n{:#?}\n{text}", case.setting);
            }
        }
    }
    println!("{tally:#?}");
    assert!(tally.accepted > PROGRAMS / 8 && tally.refused_in_all() > PROGRAMS / 20);
}
