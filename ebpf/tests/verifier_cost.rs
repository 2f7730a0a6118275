//! What a proof costs: steps in proportion to slots, memory, and how long a turn takes.
//!
//! Times are printed; only counts decide. Run it with `--release -- --nocapture` to see what
//! matters.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ebpf::limits::{KEPT_MAX, WORK_MAX};
use ebpf::verifier::{
    ContextLayout, ContextPointer, Environment, Kept, Progress, Refusal, RefusalKind, Verified,
    Verifier,
};
use ebpf::{EntryKind, ImageHeader, RegionId, asm, check};

const CONTEXT: ContextLayout = ContextLayout {
    bytes: 64,
    pointers: &[ContextPointer {
        offset: 0,
        region: RegionId::Arguments,
        end: false,
    }],
};

fn environment() -> Environment {
    let header = ImageHeader {
        args_max: 64,
        scratch_bytes: 4096,
        ..ImageHeader::default()
    };
    Environment::new(&header, CONTEXT, &[])
}

/// Units of work in a turn.
const TURN: u32 = 64;

/// Times that each program is proved.
const RUNS: usize = 3;

/// What became of a program, and what it took.
struct Cost {
    result: Result<u32, Refusal>,
    slots: u32,
    turns: u32,
}

/// Proves a program in turns, and prints what it took.
fn prove(name: &str, text: &str) -> Cost {
    let slots = asm::assemble(text).unwrap();
    let checked = check(&slots, &[0], &[]).unwrap();
    let mut verifier = Box::new(Verifier::new(vec![Kept::EMPTY; KEPT_MAX]));
    let mut place = Box::new(Verified::EMPTY);
    let mut times: Vec<Duration> = Vec::new();
    let mut result = Ok(0);
    // Each turn does the same each time, so what else the machine does is left out.
    for _ in 0..RUNS {
        let mut turn = 0;
        let mut note = |begin: Instant| {
            let time = begin.elapsed();
            match times.get_mut(turn) {
                Some(known) => *known = time.min(*known),
                None => times.push(time),
            }
            turn += 1;
        };
        let begin = Instant::now();
        verifier
            .start(&slots, &checked, [(EntryKind::Call, 0)], environment())
            .unwrap();
        note(begin);
        result = loop {
            let begin = Instant::now();
            let progress = verifier.step(TURN);
            note(begin);
            match progress {
                Progress::More => {}
                Progress::Proved => {
                    let begin = Instant::now();
                    assert!(verifier.take(&mut place));
                    note(begin);
                    break Ok(place.steps());
                }
                Progress::Refused(refusal) => break Err(refusal),
            }
        };
    }
    let turns = times.len() as u32;
    let whole: Duration = times.iter().sum();
    let worst = times.iter().max().copied().unwrap_or_default();
    let started = times[0];
    let slots = slots.len() as u32;
    let steps = match &result {
        Ok(steps) => format!("{steps} steps"),
        Err(refusal) => refusal.to_string(),
    };
    println!(
        "{name}: {slots} slots, {steps}; {whole:?} in {turns} turns, {started:?} to start, \
         {worst:?} for the longest turn"
    );
    Cost {
        result,
        slots,
        turns,
    }
}

/// As much as a program can have of what is in most of them.
fn straight() -> String {
    let block = "ldxdw r2, [r1]\nldxw r3, [r1+40]\nand r3, 31\nadd r2, r3\nldxb r4, [r2]\njeq r4, 7, +2\nstxw [r10-8], r4\nldxb r4, [r2+3]\nadd r0, r4\n";
    format!("mov r0, 0\n{}exit", block.repeat(450))
}

/// Loops one behind the other, each with a meeting in it.
fn loops_in_a_row() -> String {
    let mut text = String::from("mov r6, r1\nldxdw r3, [r6]\nmov r0, 0\n");
    for index in 0..220 {
        let _ = write!(
            text,
            "mov r2, 0\nl{index}: mov r4, r3\nadd r4, r2\nldxb r5, [r4]\njeq r5, 7, +2\nadd r0, r5\n\
             rsh r5, 1\nadd r0, r5\nstxdw [r10-8], r0\nstxdw [r10-16], r5\nldxdw r0, [r10-8]\n\
             ldxdw r5, [r10-16]\nmov r7, r5\nmov r8, r0\nadd r2, 1\njlt r2, 64, l{index}\n"
        );
    }
    text + "exit"
}

/// Loops each in the one before, with a counter of each on the stack.
fn loops_in_loops(depth: usize) -> String {
    let mut text = String::from("mov r0, 0\n");
    for level in 0..depth {
        let place = level * 8 + 8;
        let _ = write!(text, "stdw [r10-{place}], 0\nl{level}: mov r4, 1\n");
    }
    for level in (0..depth).rev() {
        let place = level * 8 + 8;
        let _ = write!(
            text,
            "ldxdw r3, [r10-{place}]\nadd r3, 1\nstxdw [r10-{place}], r3\njlt r3, 7, l{level}\n"
        );
    }
    text + "exit"
}

/// Meetings of ways on which all that can be known of the stack differs.
fn full_stacks() -> String {
    let mut text = String::from("ldxw r2, [r1+40]\nldxw r3, [r1+44]\n");
    for slot in 1..=60 {
        let _ = write!(
            text,
            "ldxw r4, [r1+48]\nand r4, 255\nstxdw [r10-{}], r4\n",
            slot * 8
        );
    }
    for turn in 0..240 {
        let place = turn % 60 * 8 + 8;
        let _ = write!(
            text,
            "l{turn}: jeq r2, {turn}, +2\nldxdw r4, [r10-{place}]\nstxdw [r10-{place}], r3\n\
             add r3, 1\njlt r3, {turn}, l{turn}\n"
        );
    }
    text + "mov r0, 0\nexit"
}

/// Meetings of ways that differ by a number each, in a loop.
fn flags() -> String {
    let mut text = String::from("mov r6, r1\nmov r0, 0\nl: ldxw r2, [r6+40]\n");
    for turn in 0..245 {
        let _ = write!(
            text,
            "mov r{flag}, 0\njeq r2, {turn}, +1\nmov r{flag}, 1\nadd r0, r{flag}\n\
             xor r0, 1\njeq r{flag}, 0, +1\nadd r0, 3\n",
            flag = 3 + turn % 3
        );
    }
    text + "jlt r2, 9, l\nexit"
}

/// A long function with a loop, looked at for each of its calls.
fn calls(count: usize) -> String {
    let body = "add r0, 1\nxor r0, 5\n".repeat(1900);
    let calls = "mov r1, r6\ncall local f\n".repeat(count);
    "mov r6, r1\n".to_owned()
        + &calls
        + "exit\nf: ldxw r0, [r1+40]\nl: "
        + &body
        + "jlt r0, 9, l\nexit"
}

/// A long function of places where ways meet, looked at for each of its calls with a full stack.
fn meetings() -> String {
    let cell = |index: usize| format!("stxdw [r10-{}], r7\nadd r7, 1\n", index * 8);
    let cells: String = (1..59).map(cell).collect();
    let calls = "mov r1, r6\nmov r2, r8\ncall local f\n".repeat(60);
    let body: String = (0..3600).map(|it| format!("jeq r3, {it}, +0\n")).collect();
    format!(
        "mov r6, r1\nldxw r7, [r1+40]\nmov r8, 0\n{cells}l: add r8, 1\n{calls}jlt r8, 1000, l\n\
         exit\nf: mov r0, 0\nldxw r3, [r1+40]\n{body}exit"
    )
}

#[test]
fn steps_are_in_proportion_to_slots() {
    let straight = prove("straight", &straight());
    assert!(straight.slots > 4000);
    assert_eq!(
        straight.result.map(|steps| steps <= straight.slots),
        Ok(true)
    );
    for (name, text, most) in [
        ("loops in a row", loops_in_a_row(), 12),
        ("forty loops", loops_in_loops(40), 100),
        ("full stacks", full_stacks(), 20),
        ("flags", flags(), 30),
    ] {
        let cost = prove(name, &text);
        let steps = cost
            .result
            .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
        assert!(
            steps < most * cost.slots,
            "{name}: {steps} for {}",
            cost.slots
        );
        // A turn does something, and not much more than it may.
        assert!(
            cost.turns > steps / (2 * TURN),
            "{name}: {} turns",
            cost.turns
        );
    }
}

#[test]
fn what_takes_too_long_is_refused_by_name() {
    let cost = prove("few calls", &calls(4));
    assert!(cost.result.is_ok());
    let cost = prove("many calls", &calls(60));
    let refusal = cost.result.expect_err("it takes too long");
    assert_eq!(refusal.why, RefusalKind::TooManySteps);
    assert!(cost.turns >= WORK_MAX / (2 * TURN));
    // Instructions at which much must be joined count for more.
    let cost = prove("meetings", &meetings());
    let refusal = cost.result.expect_err("it takes too long");
    assert_eq!(refusal.why, RefusalKind::TooManySteps);
    assert!(cost.turns <= 2 * WORK_MAX / TURN, "{} turns", cost.turns);
}

#[test]
fn a_verifier_and_its_states_take_four_mebibytes() {
    let (kept, beside) = (
        size_of::<Kept>() * KEPT_MAX,
        size_of::<Verifier<&mut [Kept]>>(),
    );
    println!(
        "memory: {} KiB kept, {} KiB beside it; {} KiB a verified program",
        kept / 1024,
        beside / 1024,
        size_of::<Verified>() / 1024
    );
    assert!(kept + beside <= 4 << 20);
    assert!(size_of::<Verified>() <= 48 << 10);
}
