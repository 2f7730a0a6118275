//! Microseconds per run: the engines beside rbpf's interpreter, on the same programs.
//!
//! `cargo run --release -p ebpf --example speed --features asm,rbpf`
//!
//! The four workloads are what clang 14 makes of `programs/workloads.c`
//! (`-O2 -target bpf -mcpu=v3`), as text; the other programs are written by hand. The engines take
//! turns over 16 buffers of random data, so that neither meets a warmer cache or a luckier clock and
//! no branch predictor learns the data by heart; of each the median turn counts.
//!
//! The proved engine is told that every access by r10 goes to the stack and every other to scratch,
//! which one can see of these programs.
#![allow(unsafe_code)] // It vouches for the accesses of programs that are written here.

#[allow(unreachable_pub)] // Tests share it as a module of theirs.
#[path = "../tests/support/plan.rs"]
mod plan;

use std::hint::black_box;
use std::time::Instant;

use ebpf::fast::run_proved;
use ebpf::limits::{CODE_SLOTS_MAX, STACK_BYTES};
use ebpf::{
    AccessPlan, Decoded, Isolation, Memory, NoHost, Op, Outcome, Program, RegionId, State, asm,
    check, run_decoded,
};

const ROUNDS: usize = 160;
const BUFFERS: usize = 16;

/// What the bytes of a buffer are.
#[derive(Clone, Copy)]
enum Bytes {
    Random,
    /// A count and sorted keys below it.
    Sorted,
}

/// A program that gets a buffer in r1 and leaves a number in r0.
struct Workload {
    name: &'static str,
    text: &'static str,
    bytes: usize,
    what: Bytes,
    /// One of the four that figures are made of.
    counts: bool,
}

const WORKLOADS: [Workload; 7] = [
    Workload {
        name: "filter-scan",
        text: include_str!("programs/filter.asm"),
        bytes: 65536,
        what: Bytes::Random,
        counts: true,
    },
    Workload {
        name: "page-search",
        text: include_str!("programs/search.asm"),
        bytes: 4096,
        what: Bytes::Sorted,
        counts: true,
    },
    Workload {
        name: "fnv",
        text: include_str!("programs/fnv.asm"),
        bytes: 4096,
        what: Bytes::Random,
        counts: true,
    },
    Workload {
        name: "varint",
        text: include_str!("programs/varint.asm"),
        bytes: 4096,
        what: Bytes::Random,
        counts: true,
    },
    Workload {
        name: "arithmetic",
        text: "mov r0, 0
         mov r2, 20000
         again:
         add r0, r2
         lsh r0, 1
         xor r0, 0x55
         mov r3, r0
         rsh r3, 7
         add32 r3, r2
         sub r2, 1
         jne r2, 0, again
         exit",
        bytes: 4096,
        what: Bytes::Random,
        counts: false,
    },
    Workload {
        name: "page sum",
        text: "mov r0, 0
         mov r4, 40
         page:
         mov r2, r1
         mov r3, r1
         add r3, 4096
         word:
         ldxdw r5, [r2]
         add r0, r5
         add r2, 8
         jne r2, r3, word
         sub r4, 1
         jne r4, 0, page
         exit",
        bytes: 4096,
        what: Bytes::Random,
        counts: false,
    },
    Workload {
        name: "bytes to stack",
        text: "mov r0, 0
         mov r4, 20000
         again:
         mov r2, r4
         and r2, 0xffe
         mov r3, r1
         add r3, r2
         ldxb r5, [r3]
         stxdw [r10-16], r5
         ldxw r6, [r10-16]
         add r0, r6
         stxh [r3], r0
         sub r4, 1
         jne r4, 0, again
         exit",
        bytes: 4096,
        what: Bytes::Random,
        counts: false,
    },
];

/// Who runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    Rbpf,
    Checked,
    Guarded,
    Proved,
    Masked,
}

impl Who {
    const ALL: [Who; 5] = [
        Who::Rbpf,
        Who::Checked,
        Who::Guarded,
        Who::Proved,
        Who::Masked,
    ];

    const fn name(self) -> &'static str {
        match self {
            Who::Rbpf => "rbpf",
            Who::Checked => "checked",
            Who::Guarded => "guarded",
            Who::Proved => "proved",
            Who::Masked => "masked",
        }
    }
}

fn main() {
    print!("{:<16}", "us per run");
    for who in Who::ALL {
        print!("{:>10}", who.name());
    }
    println!("{:>12}{:>12}", "chk/rbpf", "proved/rbpf");
    let mut logs = [0.0; Who::ALL.len()];
    for workload in &WORKLOADS {
        let medians = measure(workload);
        print!("{:<16}", workload.name);
        for seconds in medians {
            print!("{:>10.2}", seconds * 1e6);
        }
        println!(
            "{:>12.2}{:>12.2}",
            medians[0] / medians[1],
            medians[0] / medians[3]
        );
        if workload.counts {
            for (log, seconds) in logs.iter_mut().zip(medians) {
                *log += (medians[0] / seconds).ln();
            }
        }
    }
    let counted = WORKLOADS.iter().filter(|w| w.counts).count() as f64;
    print!("{:<16}", "x rbpf, geomean");
    for log in logs {
        print!("{:>10.2}", (log / counted).exp());
    }
    println!();
    time_check();
}

/// The median seconds of each engine.
fn measure(workload: &Workload) -> [f64; Who::ALL.len()] {
    let slots = asm::assemble(workload.text).expect("the program assembles");
    let code: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
    let rbpf = rbpf::EbpfVmRaw::new(Some(&code)).expect("rbpf takes the program");
    let checked = check(&slots, &[0], &[]).expect("the program passes the check");
    let base = Memory::address(RegionId::Scratch, 0);
    let program = Program::new(&slots, &checked, base);
    // SAFETY: the programs here index within their buffer, and their frame by constants.
    let plan = unsafe { plan::by_base(&slots) };
    let mut areas = [(); 3].map(|()| vec![Op::EMPTY; Decoded::ops_for(slots.len())]);
    let [one, two, three] = &mut areas;
    let guarded = AccessPlan::all_guarded();
    let decoded = [
        Decoded::new(&program, &guarded, Isolation::Alone, one),
        Decoded::new(&program, &plan, Isolation::Alone, two),
        Decoded::new(&program, &plan, Isolation::Shared, three),
    ]
    .map(|decoded| decoded.expect("it decodes"));
    let mut buffers: Vec<Vec<u8>> = (0..BUFFERS).map(|seed| fill(workload, seed)).collect();
    let mut seconds = [(); Who::ALL.len()].map(|()| Vec::new());
    for round in 0..ROUNDS {
        let buffer = &mut buffers[round % BUFFERS];
        let mut results = Vec::new();
        for (who, seconds) in Who::ALL.into_iter().zip(&mut seconds) {
            let mut bytes = buffer.clone();
            let start = Instant::now();
            let r0 = if who == Who::Rbpf {
                rbpf.execute_program(black_box(&mut bytes))
                    .expect("rbpf runs the program")
            } else {
                run_ours(who, &program, &decoded, &mut bytes)
            };
            seconds.push(start.elapsed().as_secs_f64());
            results.push((r0, bytes));
        }
        let (first, rest) = results.split_first().expect("there are engines");
        for result in rest {
            assert_eq!(result.0, first.0, "{}: results differ", workload.name);
            assert!(result.1 == first.1, "{}: memory differs", workload.name);
        }
        if let Some((_, bytes)) = results.pop() {
            *buffer = bytes;
        }
    }
    seconds.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    })
}

fn run_ours(who: Who, program: &Program<'_>, decoded: &[Decoded<'_>; 3], bytes: &mut [u8]) -> u64 {
    let base = Memory::address(RegionId::Scratch, 0);
    let mut stack = [0; STACK_BYTES];
    let mut memory = Memory::new()
        .with_write(RegionId::Scratch, bytes)
        .with_write(RegionId::Stack, &mut stack);
    let mut state = State::start(program, 0, base, 0, u64::MAX);
    let (state, memory, host) = (&mut state, &mut memory, &mut NoHost);
    loop {
        let outcome = match who {
            Who::Rbpf | Who::Checked => ebpf::run(black_box(program), state, memory, host, 10_000),
            Who::Guarded => run_decoded(black_box(&decoded[0]), state, memory, host, 10_000),
            // SAFETY: the plan is of this program, which is started as it expects, and the regions
            // are those it names.
            Who::Proved => unsafe {
                run_proved(black_box(&decoded[1]), state, memory, host, 10_000)
            },
            // SAFETY: as before.
            Who::Masked => unsafe {
                run_proved(black_box(&decoded[2]), state, memory, host, 10_000)
            },
        };
        match outcome {
            Outcome::Yielded => {}
            Outcome::Exit { r0 } => return r0,
            outcome => panic!("{outcome}"),
        }
    }
}

/// A buffer's bytes.
fn fill(workload: &Workload, seed: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed as u64 + 1);
    let mut random = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    let mut words: Vec<u64> = (0..workload.bytes / 8).map(|_| random()).collect();
    if let Bytes::Sorted = workload.what {
        words[0] = 180 + seed as u64;
        words[1..256].sort_unstable();
    }
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// The check of the longest program there may be: atomics and swaps, which take longest to decode,
/// and as many functions as there may be; and its decoding for the second engine.
fn time_check() {
    let body = "lock cmpxchg [r10-8], r1\nbswap64 r1\njsle r1, r2, -1\n".repeat(21);
    let function = format!("{body}call local +1\nexit\n");
    let mut slots = asm::assemble(&function.repeat(CODE_SLOTS_MAX / 65)).expect("it assembles");
    slots.resize(CODE_SLOTS_MAX, 0x95);
    let (mut best, mut best_decoding, mut functions) = (f64::MAX, f64::MAX, 0);
    let mut area = vec![Op::EMPTY; Decoded::ops_for(slots.len())];
    let plan = AccessPlan::all_guarded();
    for _ in 0..30 {
        let start = Instant::now();
        let checked = check(black_box(&slots), &[0], &[]).expect("it passes");
        best = best.min(start.elapsed().as_secs_f64());
        functions = checked.functions().len();
        let program = Program::new(&slots, &checked, 0);
        let start = Instant::now();
        let decoded = Decoded::new(&program, &plan, Isolation::Shared, black_box(&mut area));
        assert!(decoded.is_ok());
        best_decoding = best_decoding.min(start.elapsed().as_secs_f64());
    }
    println!(
        "check of {} slots, {functions} functions: {:.0} us; decoding: {:.0} us",
        slots.len(),
        best * 1e6,
        best_decoding * 1e6
    );
}
