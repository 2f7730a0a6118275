//! Nanoseconds per instruction: this crate's interpreter beside rbpf's, on the same programs.
//!
//! `cargo run --release -p ebpf --example speed --features asm,rbpf`
//!
//! The engines take turns over a few buffers, so that neither meets a warmer cache or a luckier
//! clock; of each the best turn counts. Loops without jumps forward pay exactly what they
//! execute, so the meter counts the instructions.

use std::hint::black_box;
use std::time::Instant;

use ebpf::limits::{CODE_SLOTS_MAX, STACK_BYTES};
use ebpf::{Memory, NoHost, Outcome, Program, RegionId, State, asm, check};

const ROUNDS: usize = 30;
const BUFFERS: usize = 4;
const BUFFER_BYTES: usize = 4096;

/// Each gets a page in r1 and leaves a number in r0.
const PROGRAMS: [(&str, &str); 4] = [
    (
        "arithmetic",
        "mov r0, 0
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
    ),
    (
        "page sum",
        "mov r0, 0
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
    ),
    (
        "bytes to stack",
        "mov r0, 0
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
    ),
    (
        "binary search",
        // 512 sorted keys; counts, without a jump forward, how far to go.
        "mov r0, 0
         mov r9, 2000
         key:
         mov r2, r9
         mul r2, 7
         and r2, 0xffe
         mov r3, 0
         mov r4, 256
         half:
         mov r5, r3
         add r5, r4
         mov r6, r5
         lsh r6, 3
         and r6, 0xff8
         add r6, r1
         ldxdw r7, [r6]
         sub r7, r2
         arsh r7, 63
         and r7, r4
         add r3, r7
         rsh r4, 1
         jne r4, 0, half
         add r0, r3
         sub r9, 1
         jne r9, 0, key
         exit",
    ),
];

fn main() {
    println!(
        "{:<16}{:>14}{:>14}{:>10}{:>8}",
        "program", "instructions", "ns, ours", "ns, rbpf", "ratio"
    );
    for (name, text) in PROGRAMS {
        let slots = asm::assemble(text).expect("the program assembles");
        let mut buffers: Vec<Vec<u8>> = (0..BUFFERS).map(sorted_keys).collect();
        let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
        let mut instructions = 0;
        for round in 0..ROUNDS {
            let buffer = &mut buffers[round % BUFFERS];
            let mut copy = buffer.clone();
            let (seconds, r0, spent) = run_ours(&slots, buffer);
            let (their_seconds, their_r0) = run_rbpf(&slots, &mut copy);
            if name != "page sum" {
                assert_eq!(buffer, &copy, "{name}: memory differs");
            }
            assert_eq!(r0, their_r0, "{name}: results differ");
            (ours, theirs) = (ours.min(seconds), theirs.min(their_seconds));
            instructions = spent;
        }
        let per = |seconds: f64| seconds * 1e9 / instructions as f64;
        println!(
            "{name:<16}{instructions:>14}{:>14.2}{:>10.2}{:>8.1}",
            per(ours),
            per(theirs),
            theirs / ours
        );
    }
    time_check();
}

/// The check of the longest program there may be: atomics and swaps, which take longest to decode,
/// and as many functions as there may be.
fn time_check() {
    let body = "lock cmpxchg [r10-8], r1\nbswap64 r1\njsle r1, r2, -1\n".repeat(21);
    let function = format!("{body}call local +1\nexit\n");
    let mut slots = asm::assemble(&function.repeat(CODE_SLOTS_MAX / 65)).expect("it assembles");
    slots.resize(CODE_SLOTS_MAX, 0x95);
    let (mut best, mut functions) = (f64::MAX, 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let checked = check(black_box(&slots), &[0], &[]).expect("it passes");
        best = best.min(start.elapsed().as_secs_f64());
        functions = checked.functions().len();
    }
    println!(
        "check of {} slots, {functions} functions: {:.0} us",
        slots.len(),
        best * 1e6
    );
}

/// A page of rising 8-byte keys.
fn sorted_keys(seed: usize) -> Vec<u8> {
    (0..BUFFER_BYTES / 8)
        .flat_map(|index| ((index * 8 + seed) as u64).to_le_bytes())
        .collect()
}

fn run_ours(slots: &[u64], buffer: &mut [u8]) -> (f64, u64, u64) {
    let checked = check(slots, &[0], &[]).expect("the program passes the check");
    let base = Memory::address(RegionId::Scratch, 0);
    let program = Program::new(slots, &checked, base);
    let mut stack = [0; STACK_BYTES];
    let mut memory = Memory::new()
        .with_write(RegionId::Scratch, buffer)
        .with_write(RegionId::Stack, &mut stack);
    let mut state = State::start(&program, 0, base, 0, u64::MAX);
    let start = Instant::now();
    let mut outcome = Outcome::Yielded;
    while outcome == Outcome::Yielded {
        outcome = ebpf::run(
            black_box(&program),
            &mut state,
            &mut memory,
            &mut NoHost,
            10_000,
        );
    }
    let seconds = start.elapsed().as_secs_f64();
    let Outcome::Exit { r0 } = outcome else {
        panic!("{outcome}")
    };
    (seconds, r0, state.spent())
}

fn run_rbpf(slots: &[u64], buffer: &mut [u8]) -> (f64, u64) {
    let code: Vec<u8> = slots.iter().flat_map(|slot| slot.to_le_bytes()).collect();
    let vm = rbpf::EbpfVmRaw::new(Some(&code)).expect("rbpf takes the program");
    let start = Instant::now();
    let r0 = vm
        .execute_program(black_box(buffer))
        .expect("rbpf runs the program");
    (start.elapsed().as_secs_f64(), r0)
}
