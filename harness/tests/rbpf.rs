//! rbpf 0.4.1 as a second opinion on what proved programs compute.
//!
//! It runs in a child process, for it may panic or worse, and only what the referee has run to its
//! end. It knows no meter. What it is known to get wrong is steered round: [`AVOIDED`].
#![allow(unsafe_code)] // Native addresses are given to programs that were proved.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ebpf::instruction::{AluOp, Condition, Instruction, Operand, SwapOrder, WideValue, Width};
use ebpf::isa::{Slot, op};
use ebpf::{HelperResult, HelperSpec, Host, Memory, Outcome, Program, RegionId, State, check_with};
use harness::arena::{Arena, Layout, Shift};
use harness::helpers::{Helpers, RANDOM, SIZE, SMALL, SPECS, TIME};
use harness::{Case, Harness, Standing};

/// Programs that are tried.
const PROGRAMS: u64 = 30_000;

/// Names the file that the child writes its answers to.
const ANSWERS_FILE: &str = "OUTBOARD_RBPF_ANSWERS";

/// How long the child may take for one of them, and for making them.
const PATIENCE: Duration = Duration::from_secs(60);

/// Questions that the child has answered.
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// An instruction that rbpf is not asked about, and why.
type Avoided = (&'static str, fn(&Instruction) -> bool);

const AVOIDED: [Avoided; 12] = [
    ("it has no atomics", |it| {
        matches!(it, Instruction::Atomic { .. })
    }),
    (
        "it takes signed division and remainder for unsigned ones",
        |it| {
            matches!(
                it,
                Instruction::Alu {
                    op: AluOp::SignedDiv | AluOp::SignedMod,
                    ..
                }
            )
        },
    ),
    (
        "it leaves the upper half after a 32-bit remainder by zero",
        |it| {
            let by_zero = |src: &Operand| !matches!(src, Operand::Immediate(imm) if *imm != 0);
            matches!(it, Instruction::Alu { width: Width::Bits32, op: AluOp::Mod, src, .. } if by_zero(src))
        },
    ),
    ("it takes moves that extend the sign for plain ones", |it| {
        matches!(it, Instruction::MoveSigned { .. })
    }),
    ("it has no loads that extend the sign", |it| {
        matches!(it, Instruction::Load { signed: true, .. })
    }),
    ("it has no bswap", |it| {
        matches!(
            it,
            Instruction::Swap {
                order: SwapOrder::Swap,
                ..
            }
        )
    }),
    ("it has no long jump", |it| {
        matches!(it, Instruction::Jump { long: true, .. })
    }),
    (
        "it extends immediates of 64-bit comparisons by zeros",
        |it| {
            let unsigned = |condition: &Condition| {
                !matches!(
                    condition,
                    Condition::SignedGreater
                        | Condition::SignedGreaterOrEqual
                        | Condition::SignedLess
                        | Condition::SignedLessOrEqual
                )
            };
            matches!(it, Instruction::JumpIf {
            width: Width::Bits64,
            condition,
            src: Operand::Immediate(..0),
            ..
        } if unsigned(condition))
        },
    ),
    (
        "it panics on the negation of the smallest number where overflow is checked",
        |it| matches!(it, Instruction::Negate { .. }),
    ),
    (
        "its helpers get no context, so only those with numbers are had",
        |it| {
            let had = [TIME, RANDOM, SIZE, SMALL];
            matches!(it, Instruction::CallHelper { id } if !had.contains(id))
        },
    ),
    ("it has no maps", |it| {
        let map =
            |value: &WideValue| matches!(value, WideValue::Map { .. } | WideValue::MapValue { .. });
        matches!(it, Instruction::LoadWide { value, .. } if map(value))
    }),
    ("its stack holds two frames", |it| {
        matches!(it, Instruction::CallLocal { .. })
    }),
];

/// A program, what it starts with, what its helpers answer, and what came of it.
struct Question {
    number: u64,
    slots: Vec<u64>,
    context: Vec<u8>,
    /// Arguments, reply, data, scratch at the start.
    regions: [Vec<u8>; 4],
    answers: Vec<u64>,
    /// r0, reply and scratch at the end.
    expected: (u64, Vec<u8>, Vec<u8>),
}

const REGIONS: [RegionId; 4] = [
    RegionId::Arguments,
    RegionId::Reply,
    RegionId::Data,
    RegionId::Scratch,
];

/// A host whose helpers never wait, and that keeps what they answered.
struct Synchronous<'m> {
    inner: Helpers<'m>,
    answers: Vec<u64>,
}

impl Host for Synchronous<'_> {
    fn call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult {
        let result = match self.inner.call(helper, args, memory) {
            HelperResult::Wait => HelperResult::Return(self.inner.finish(memory)),
            result => result,
        };
        if let HelperResult::Return(value) = result {
            self.answers.push(value as u64);
        }
        result
    }

    fn helpers(&self) -> &[HelperSpec] {
        &SPECS
    }
}

/// The question that a case is, if it is one for rbpf.
fn question(harness: &mut Harness, number: u64, case: &Case) -> Option<Question> {
    let mut at = 0;
    while at < case.slots.len() {
        let next = case.slots.get(at + 1).copied();
        let instruction = Instruction::decode(case.slots[at], next).ok()?;
        if AVOIDED.iter().any(|(_, avoided)| avoided(&instruction)) {
            return None;
        }
        at += instruction.slots();
    }
    let ran = harness.run(case).expect("the referee and the proof agree");
    let accepted = matches!(ran.standing, Standing::Accepted { .. });
    let ended = matches!(ran.outcome, Some(Outcome::Exit { .. }));
    if !accepted || !ended || ran.inconclusive {
        return None;
    }
    let setting = &case.setting;
    let resources = setting.resources(0);
    let checked = check_with(&case.slots, &[0], setting.helpers(), &resources).ok()?;
    let layout = Layout::new(setting, Shift::NONE);
    let mut arena = Arena::default();
    arena.lay_out(setting, &layout);
    let (mut memory, keys) = arena.memory(&layout);
    let take = |memory: &Memory<'_>| REGIONS.map(|region| memory.region(region).to_vec());
    let (context, regions) = (memory.region(RegionId::Context).to_vec(), take(&memory));
    let inner = Helpers::new(setting.seed, Shift::NONE, keys, Vec::new());
    let mut host = Synchronous {
        inner,
        answers: Vec::new(),
    };
    let program = Program::new(&case.slots, &checked, layout.scratch());
    let mut state = State::start(&program, 0, layout.context(), 0, 100_000);
    let outcome = ebpf::run(&program, &mut state, &mut memory, &mut host, u32::MAX);
    let Outcome::Exit { r0 } = outcome else {
        return None;
    };
    let [_, reply, _, scratch] = take(&memory);
    Some(Question {
        number,
        slots: case.slots.clone(),
        context,
        regions,
        answers: host.answers,
        expected: (r0, reply, scratch),
    })
}

thread_local! {
    static ANSWERS: RefCell<VecDeque<u64>> = const { RefCell::new(VecDeque::new()) };
}

fn next_answer(_: u64, _: u64, _: u64, _: u64, _: u64) -> u64 {
    ANSWERS.with_borrow_mut(|answers| answers.pop_front().unwrap_or(0))
}

/// rbpf's answer: r0, or why there is none; the regions are changed.
fn answer(question: &mut Question) -> Result<u64, String> {
    let [args, reply, data, scratch] = &mut question.regions;
    let start = |bytes: &mut Vec<u8>| bytes.as_mut_ptr().addr() as u64;
    let (base, end) = (start(data), start(data) + data.len() as u64);
    let has_data = question.context[16..24] != [0; 8];
    let words = [start(args), start(reply), base, end];
    for (place, word) in question.context.chunks_exact_mut(8).zip(words) {
        if has_data || word == words[0] || word == words[1] {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }
    let mut is_second = false;
    let mut code = Vec::new();
    for at in 0..question.slots.len() {
        let slot = Slot(question.slots[at]);
        let is_wide = !is_second && slot.opcode() == op::LDDW;
        if is_wide && slot.src() != 0 {
            let address = start(scratch) + u64::from(slot.imm() as u32);
            let first = Slot::new(op::LDDW, slot.dst(), 0, 0, address as i32);
            code.extend(first.0.to_le_bytes());
            question.slots[at + 1] = (address >> 32) << 32;
        } else {
            code.extend(question.slots[at].to_le_bytes());
        }
        is_second = is_wide;
    }
    ANSWERS.with_borrow_mut(|answers| {
        answers.clear();
        answers.extend(&question.answers);
    });
    let told = |error| format!("{error:?}");
    let mut machine = rbpf::EbpfVmRaw::new(Some(&code)).map_err(told)?;
    for bytes in [args, reply, data, scratch] {
        let first = start(bytes);
        machine.register_allowed_memory(first..first + bytes.len() as u64);
    }
    for helper in [TIME, RANDOM, SIZE, SMALL] {
        machine.register_helper(helper, next_answer).map_err(told)?;
    }
    let run = AssertUnwindSafe(|| machine.execute_program(&mut question.context));
    let result = catch_unwind(run).map_err(|_| "it panicked".to_string())?;
    result.map_err(told)
}

/// The child: makes the same questions, and answers those from a number on. What it has said of
/// each stands in a file, line by line.
fn child(path: &Path) {
    let first: usize = fs::read_to_string(path).expect("readable").lines().count();
    // Should an answer not come to an end, its line is missing.
    std::thread::spawn(|| {
        let mut before = u64::MAX;
        loop {
            std::thread::sleep(PATIENCE);
            let now = ANSWERED.load(Ordering::Relaxed);
            if now == before {
                std::process::exit(9);
            }
            before = now;
        }
    });
    let mut file = fs::File::options()
        .append(true)
        .open(path)
        .expect("it is there");
    for mut question in questions().into_iter().skip(first) {
        let line = match answer(&mut question) {
            Err(why) => format!("declined {why}"),
            Ok(r0) => {
                let (expected, reply, scratch) = &question.expected;
                if r0 != *expected {
                    format!("differs r0 is {r0:#x} and not {expected:#x}")
                } else if question.regions[1] != *reply || question.regions[3] != *scratch {
                    "differs memory".to_string()
                } else {
                    "same".to_string()
                }
            }
        };
        writeln!(file, "{}", line.replace('\n', " ")).expect("it can be written");
        ANSWERED.fetch_add(1, Ordering::Relaxed);
    }
}

fn questions() -> Vec<Question> {
    let mut harness = Harness::without_engines();
    let mut case = Case::new();
    let mut all = Vec::new();
    for number in 0..PROGRAMS {
        case.choose(2, number, &[]);
        case.setting.maps = false;
        all.extend(question(&mut harness, number, &case));
    }
    all
}

#[test]
fn rbpf_agrees_on_what_it_knows() {
    if let Some(path) = std::env::var_os(ANSWERS_FILE) {
        return child(Path::new(&path));
    }
    let path = std::env::temp_dir().join(format!("outboard-rbpf-{}", std::process::id()));
    fs::write(&path, "").expect("it can be written");
    let asked = questions();
    let (mut same, mut declined, mut died) = (0, 0, 0);
    loop {
        let mut child = Command::new(std::env::current_exe().expect("it has a name"));
        child
            .args(["--exact", "rbpf_agrees_on_what_it_knows"])
            .env(ANSWERS_FILE, &path);
        let output = child.output().expect("it can be run");
        let lines = fs::read_to_string(&path).expect("readable").lines().count();
        if lines >= asked.len() {
            break;
        }
        // The one that it died of has no answer.
        died += 1;
        assert!(died < 20, "{}", String::from_utf8_lossy(&output.stdout));
        let mut file = fs::File::options()
            .append(true)
            .open(&path)
            .expect("it is there");
        writeln!(file, "died").expect("it can be written");
    }
    let text = fs::read_to_string(&path).expect("readable");
    let _ = fs::remove_file(&path);
    for (line, question) in text.lines().zip(&asked) {
        match line.split_once(' ') {
            None => same += u64::from(line == "same"),
            Some(("declined", _)) => declined += 1,
            _ => panic!(
                "program {} of seed 2: {line}\n{}",
                question.number,
                ebpf::asm::disassemble(&question.slots)
            ),
        }
    }
    println!("rbpf agrees on {same} programs, declines {declined}, died of {died}");
    for (why, _) in AVOIDED {
        println!("    not asked: {why}");
    }
    assert!(same > PROGRAMS / 20 && same > 10 * declined);
}
