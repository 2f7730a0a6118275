//! Microseconds per run: the engines beside rbpf's interpreter and JIT, on the same programs.
//!
//! `cargo run --release -p ebpf --example speed --features asm,rbpf`
//!
//! The four workloads are what clang 14 makes of `programs/workloads.c`
//! (`-O2 -target bpf -mcpu=v3`), as text; the other programs are written by hand. The engines take
//! turns over buffers of random data, each new, so that neither meets a warmer cache or a luckier clock
//! and no branch predictor learns the data by heart (16 buffers are not too many for that); of each the
//! median turn counts.
//!
//! The proved engines are told that every access by r10 goes to the stack and every other to scratch,
//! which one can see of these programs.
#![allow(unsafe_code)] // It vouches for the accesses of programs that are written here.

#[cfg(all(unix, target_arch = "x86_64"))]
#[path = "../tests/support/jit.rs"]
mod jit;
#[cfg(all(unix, target_arch = "x86_64"))]
#[path = "speed/native.rs"]
mod native;
#[cfg(not(all(unix, target_arch = "x86_64")))]
#[path = "speed/no_native.rs"]
mod native;
#[allow(unreachable_pub)] // Tests share it as a module of theirs.
#[path = "../tests/support/plan.rs"]
mod plan;

use std::hint::black_box;
use std::time::Instant;

use crate::native::Native;
use ebpf::fast::run_proved;
use ebpf::limits::{CODE_SLOTS_MAX, STACK_BYTES};
use ebpf::{
    AccessPlan, Decoded, Isolation, Memory, NoHost, Op, Outcome, Program, RegionId, State, asm,
    check, run_decoded,
};

const ROUNDS: usize = 160;
/// As many as rounds, so that nobody meets the same data twice.
const BUFFERS: usize = ROUNDS;
/// Units of a slice.
const SLICE: u32 = 10_000;

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
    RbpfJit,
    Jit,
    JitMasked,
}

impl Who {
    const ALL: [Who; 8] = [
        Who::Rbpf,
        Who::Checked,
        Who::Guarded,
        Who::Proved,
        Who::Masked,
        Who::RbpfJit,
        Who::Jit,
        Who::JitMasked,
    ];

    const fn name(self) -> &'static str {
        match self {
            Who::Rbpf => "rbpf",
            Who::Checked => "checked",
            Who::Guarded => "guarded",
            Who::Proved => "proved",
            Who::Masked => "masked",
            Who::RbpfJit => "rbpf jit",
            Who::Jit => "jit",
            Who::JitMasked => "jit masked",
        }
    }
}

fn main() {
    print!("{:<16}", "us per run");
    for who in Who::ALL {
        print!("{:>11}", who.name());
    }
    println!("{:>12}{:>14}", "jit/rbpf jit", "masked/rbpf jit");
    let mut logs = [0.0; Who::ALL.len()];
    for workload in &WORKLOADS {
        let medians = measure(workload);
        print!("{:<16}", workload.name);
        for seconds in medians {
            print!("{:>11.2}", seconds * 1e6);
        }
        let [.., rbpf_jit, jit, masked] = medians;
        println!("{:>12.2}{:>14.2}", jit / rbpf_jit, masked / rbpf_jit);
        if workload.counts {
            for (log, seconds) in logs.iter_mut().zip(medians) {
                *log += (medians[0] / seconds).ln();
            }
        }
    }
    let counted = WORKLOADS.iter().filter(|w| w.counts).count() as f64;
    print!("{:<16}", "x rbpf, geomean");
    for log in logs {
        print!("{:>11.2}", (log / counted).exp());
    }
    println!();
    time_check();
}

/// What runs one program.
struct Engines<'p> {
    program: Program<'p>,
    rbpf: rbpf::EbpfVmRaw<'p>,
    decoded: [Decoded<'p>; 3],
    native: Native<'p>,
}

/// The median seconds of each engine; no number of one that does not get the right result.
fn measure(workload: &Workload) -> [f64; Who::ALL.len()] {
    let slots = asm::assemble(workload.text).expect("the program assembles");
    let code: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
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
    let engines = Engines {
        program,
        rbpf: rbpf::EbpfVmRaw::new(Some(&code)).expect("rbpf takes the program"),
        decoded,
        // SAFETY: as the plan was made.
        native: unsafe { Native::new(&program, &code, &plan) },
    };
    let mut buffers: Vec<Vec<u8>> = (0..BUFFERS).map(|seed| fill(workload, seed)).collect();
    let mut seconds = [(); Who::ALL.len()].map(|()| Vec::new());
    let mut stack = vec![0; STACK_BYTES];
    for round in 0..ROUNDS {
        let buffer = &mut buffers[round % BUFFERS];
        let mut first: Option<(u64, Vec<u8>)> = None;
        for (who, seconds) in Who::ALL.into_iter().zip(&mut seconds) {
            let mut bytes = buffer.clone();
            let start = Instant::now();
            let r0 = engines.run(who, &mut bytes, &mut stack);
            let taken = start.elapsed().as_secs_f64();
            let (expected, memory) = first.get_or_insert_with(|| (r0, bytes.clone()));
            if who == Who::RbpfJit && r0 != *expected {
                // It has known faults.
                seconds.push(f64::NAN);
                continue;
            }
            seconds.push(taken);
            assert_eq!(r0, *expected, "{}: results differ", workload.name);
            assert!(bytes == *memory, "{}: memory differs", workload.name);
        }
        if let Some((_, bytes)) = first {
            *buffer = bytes;
        }
    }
    seconds.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2]
    })
}

impl Engines<'_> {
    fn run(&self, who: Who, bytes: &mut [u8], stack: &mut [u8]) -> u64 {
        match who {
            Who::Rbpf => {
                let run = self.rbpf.execute_program(black_box(bytes));
                return run.expect("rbpf runs the program");
            }
            Who::RbpfJit => return self.native.run_rbpf(black_box(bytes)).unwrap_or(0),
            _ => {}
        }
        let base = Memory::address(RegionId::Scratch, 0);
        let mut memory = Memory::new()
            .with_write(RegionId::Scratch, bytes)
            .with_write(RegionId::Stack, stack);
        let mut state = State::start(&self.program, 0, base, 0, u64::MAX);
        loop {
            match self.run_slice(who, &mut state, &mut memory) {
                Outcome::Yielded => {}
                Outcome::Exit { r0 } => return r0,
                outcome => panic!("{outcome}"),
            }
        }
    }

    fn run_slice(&self, who: Who, state: &mut State, memory: &mut Memory<'_>) -> Outcome {
        let [guarded, proved, masked] = &self.decoded;
        let host = &mut NoHost;
        match who {
            Who::Guarded => run_decoded(black_box(guarded), state, memory, host, SLICE),
            // SAFETY: the plan is of this program, which is started as it expects, and the regions
            // are those it names.
            Who::Proved => unsafe { run_proved(black_box(proved), state, memory, host, SLICE) },
            // SAFETY: as before.
            Who::Masked => unsafe { run_proved(black_box(masked), state, memory, host, SLICE) },
            Who::Jit | Who::JitMasked => black_box(&self.native).run(who, state, memory, SLICE),
            _ => ebpf::run(black_box(&self.program), state, memory, host, SLICE),
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
        words[0] = 180 + seed as u64 % 70;
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
    let checked = check(&slots, &[0], &[]).expect("it passes");
    let program = Program::new(&slots, &checked, 0);
    if let Some((seconds, bytes)) = Native::time_compilation(&program, &plan) {
        println!(
            "compiling them: {:.0} us, {bytes} bytes of code",
            seconds * 1e6
        );
    }
}
