//! Programs by chance, in every engine; see the crate `harness`.

use alloc::boxed::Box;
use alloc::format;

use ebpf::Isolation;
use harness::engine::{Engine, Jit};
use harness::minimise::minimise;
use harness::{Case, Harness, Standing};

use crate::code::Pages;
use crate::engines::CODE_BYTES;
use crate::say;
use crate::tally::Tally;

/// Which programs are tried, each of which counts as one test.
pub(crate) struct Range {
    pub(crate) seed: u64,
    pub(crate) programs: u64,
}

/// Tries them, up to the first that shows a disagreement.
pub(crate) fn run(range: &Range, tally: &mut Tally) {
    let jit = |name, isolation| -> Box<dyn Engine> {
        let pages = Pages::new(CODE_BYTES).expect("there are pages");
        Box::new(Jit::new(name, isolation, pages))
    };
    let mut harness = Harness::with([
        jit("jit", Isolation::Alone),
        jit("jit-masked", Isolation::Shared),
    ]);
    let mut case = Case::new();
    let (mut accepted, mut ran) = (0, 0);
    for number in 0..range.programs {
        case.choose(range.seed, number, &[]);
        let outcome = match harness.run(&case) {
            Ok(found) => {
                accepted += u64::from(matches!(found.standing, Standing::Accepted { .. }));
                ran += u64::from(found.outcome.is_some());
                Ok(())
            }
            Err(finding) => {
                let (case, finding) = minimise(&mut harness, &case, &finding);
                Err(format!("{finding}\n{:?}\n{:#x?}", case.setting, case.slots))
            }
        };
        let failed = outcome.is_err();
        tally.note(&format!("program {number} of seed {}", range.seed), outcome);
        if failed {
            break;
        }
    }
    say!(
        "{} programs by chance: {ran} ran, {accepted} of them proved",
        range.programs
    );
}
