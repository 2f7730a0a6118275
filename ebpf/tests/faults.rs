//! Memory and its rights, and every way a run can go wrong.
#![allow(unsafe_code)] // It vouches for an access that only the referee makes.

mod support;

use ebpf::limits::{REGIONS_MAX, STACK_BYTES};
use ebpf::{
    AccessFault, AccessPlan, AccessReason, Checked, Fault, FaultKind, HelperResult, HelperSpec,
    Host, MapIndex, Memory, NoHost, Outcome, Program, RegionId, Right, State, asm, check, run,
    run_planned,
};
use support::{run_text, scratch};

const fn at(region: RegionId, offset: u32) -> u64 {
    Memory::address(region, offset)
}

fn fault(pc: u32, kind: FaultKind) -> Outcome {
    Outcome::Fault(Fault { pc, kind })
}

#[test]
fn regions_have_their_own_addresses() {
    assert_eq!(at(RegionId::Context, 0), 0x1_0000_0000);
    assert_eq!(at(RegionId::Scratch, 0x20), 0x5_0000_0020);
    assert_eq!(at(RegionId::Stack, 4096), 0x6_0000_1000);
    for (index, region) in RegionId::all().enumerate() {
        assert_eq!(region.number(), index);
        assert_eq!(RegionId::of(at(region, 7)), Some(region));
    }
    assert_eq!(RegionId::of(0), None);
    assert_eq!(RegionId::of((REGIONS_MAX as u64 + 1) << 32), None);
    assert_eq!(RegionId::of(u64::MAX), None);
}

#[test]
fn rights_are_kept() {
    let (context, mut reply) = ([1; 16], [2; 16]);
    let mut memory = Memory::new()
        .with_read(RegionId::Context, &context)
        .with_write(RegionId::Reply, &mut reply);
    let (ctx, rep) = (at(RegionId::Context, 0), at(RegionId::Reply, 0));
    assert_eq!(memory.read(ctx + 4, 12).unwrap(), [1; 12]);
    assert_eq!(memory.read(rep, 16).unwrap(), [2; 16]);
    memory.write(rep + 15, 1).unwrap().fill(9);
    assert_eq!(memory.region(RegionId::Reply)[15], 9);

    let denied = |address, len: usize, right, reason| {
        Err::<(RegionId, usize), _>(AccessFault {
            address,
            len: len as u64,
            right,
            reason,
        })
    };
    let beyond = AccessReason::OutOfBounds { region_bytes: 16 };
    assert_eq!(
        memory.locate(rep, 16, Right::Write),
        Ok((RegionId::Reply, 0))
    );
    assert_eq!(
        memory.locate(rep + 16, 0, Right::Write),
        Ok((RegionId::Reply, 16))
    );
    for (address, len, right, reason) in [
        (ctx, 1, Right::Write, AccessReason::ReadOnly),
        (ctx, 17, Right::Read, beyond),
        (rep + 16, 1, Right::Write, beyond),
        (rep + 17, 0, Right::Read, beyond),
        (rep + 8, usize::MAX, Right::Write, beyond),
        (
            at(RegionId::Data, 0),
            1,
            Right::Read,
            AccessReason::NoRegion,
        ),
        (0, 0, Right::Read, AccessReason::NoRegion),
        (u64::MAX, 1, Right::Read, AccessReason::NoRegion),
    ] {
        assert_eq!(
            memory.locate(address, len, right),
            denied(address, len, right, reason)
        );
        let fault = denied(address, len, right, reason).unwrap_err();
        match right {
            Right::Read => assert_eq!(memory.read(address, len), Err(fault)),
            Right::Write => assert_eq!(memory.write(address, len), Err(fault)),
        }
    }
}

#[test]
fn copies_move_between_regions_and_within_one() {
    let (args, mut work) = (*b"abcdefgh", *b"12345678");
    let mut memory = Memory::new()
        .with_read(RegionId::Arguments, &args)
        .with_write(RegionId::Scratch, &mut work);
    memory
        .copy(scratch(2), at(RegionId::Arguments, 1), 3)
        .unwrap();
    assert_eq!(memory.region(RegionId::Scratch), b"12bcd678");
    memory.copy(scratch(1), scratch(0), 7).unwrap();
    assert_eq!(memory.region(RegionId::Scratch), b"112bcd67");
    memory.copy(scratch(0), scratch(2), 6).unwrap();
    assert_eq!(memory.region(RegionId::Scratch), b"2bcd6767");
    memory.copy(scratch(8), scratch(0), 0).unwrap();
    let before = memory.region(RegionId::Scratch).to_vec();
    memory
        .copy(scratch(4), at(RegionId::Arguments, 4), 5)
        .unwrap_err();
    memory
        .copy(scratch(5), at(RegionId::Arguments, 0), 4)
        .unwrap_err();
    memory
        .copy(at(RegionId::Arguments, 0), scratch(0), 1)
        .unwrap_err();
    memory
        .copy(scratch(0), at(RegionId::Stack, 0), 1)
        .unwrap_err();
    assert_eq!(memory.region(RegionId::Scratch), before);
}

/// Every load, store and atomic at a place, by text.
const ACCESSES: [(&str, u64, Right); 17] = [
    ("ldxb r0, [r1+{}]", 1, Right::Read),
    ("ldxh r0, [r1+{}]", 2, Right::Read),
    ("ldxw r0, [r1+{}]", 4, Right::Read),
    ("ldxdw r0, [r1+{}]", 8, Right::Read),
    ("ldxsb r0, [r1+{}]", 1, Right::Read),
    ("ldxsh r0, [r1+{}]", 2, Right::Read),
    ("ldxsw r0, [r1+{}]", 4, Right::Read),
    ("stb [r1+{}], 1", 1, Right::Write),
    ("sth [r1+{}], 1", 2, Right::Write),
    ("stw [r1+{}], 1", 4, Right::Write),
    ("stdw [r1+{}], 1", 8, Right::Write),
    ("stxb [r1+{}], r1", 1, Right::Write),
    ("stxh [r1+{}], r1", 2, Right::Write),
    ("stxw [r1+{}], r1", 4, Right::Write),
    ("stxdw [r1+{}], r1", 8, Right::Write),
    ("lock fetch add32 [r1+{}], r2", 4, Right::Write),
    ("lock cmpxchg [r1+{}], r2", 8, Right::Write),
];

#[test]
fn every_access_is_held_to_the_region() {
    for (text, len, right) in ACCESSES {
        let program = |offset: u64| format!("{}\nexit", text.replace("{}", &offset.to_string()));
        let fits = run_text(&program(16 - len), &[0; 16]);
        assert!(
            matches!(fits.outcome, Outcome::Exit { .. }),
            "{text}: {}",
            fits.outcome
        );
        for offset in [16 - len + 1, 16, 0x7fff] {
            let ran = run_text(&program(offset), &[7; 16]);
            let reason = AccessReason::OutOfBounds { region_bytes: 16 };
            let access = AccessFault {
                address: scratch(offset as u32),
                len,
                right,
                reason,
            };
            assert_eq!(ran.outcome, fault(0, FaultKind::Access(access)), "{text}");
            assert_eq!(ran.memory, [7; 16], "{text} wrote something");
        }
    }
}

#[test]
fn read_only_memory_is_not_written() {
    let bytes = [0; 16];
    for (text, len, right) in ACCESSES {
        let slots = asm::assemble(&format!("{}\nexit", text.replace("{}", "8"))).unwrap();
        let checked = check(&slots, &[0], &[]).unwrap();
        let program = Program::new(&slots, &checked, 0);
        let r1 = at(RegionId::Data, 0);
        let mut state = State::start(&program, 0, r1, 0, 100);
        let mut memory = Memory::new().with_read(RegionId::Data, &bytes);
        let outcome = run(&program, &mut state, &mut memory, &mut NoHost, 100);
        let access = AccessFault {
            address: r1 + 8,
            len,
            right,
            reason: AccessReason::ReadOnly,
        };
        match right {
            Right::Read => assert!(matches!(outcome, Outcome::Exit { .. }), "{text}"),
            Right::Write => assert_eq!(outcome, fault(0, FaultKind::Access(access)), "{text}"),
        }
    }
}

#[test]
fn an_offset_does_not_reach_the_next_region() {
    // Below scratch lies data's far end, where there is nothing, however long data is.
    let data = vec![0; 70_000];
    let slots = asm::assemble("ldxb r0, [r1-1]\nexit").unwrap();
    let checked = check(&slots, &[0], &[]).unwrap();
    let program = Program::new(&slots, &checked, 0);
    let mut state = State::start(&program, 0, scratch(0), 0, 100);
    let mut work = [0; 16];
    let mut memory = Memory::new()
        .with_read(RegionId::Data, &data)
        .with_write(RegionId::Scratch, &mut work);
    let outcome = run(&program, &mut state, &mut memory, &mut NoHost, 100);
    let reason = AccessReason::OutOfBounds {
        region_bytes: 70_000,
    };
    let (address, right) = (scratch(0) - 1, Right::Read);
    assert_eq!(
        outcome,
        fault(
            0,
            FaultKind::Access(AccessFault {
                address,
                len: 1,
                right,
                reason
            })
        )
    );
}

/// Runs slots that the check need not like.
fn run_unchecked(slots: &[u64], checked: &Checked, host: &mut impl Host) -> Outcome {
    let program = Program::new(slots, checked, scratch(0));
    let mut state = State::start(&program, 0, 0, 0, 1000);
    let mut stack = [0; STACK_BYTES];
    let mut memory = Memory::new().with_write(RegionId::Stack, &mut stack);
    run(&program, &mut state, &mut memory, host, 1000)
}

fn some_checked() -> Checked {
    check(&asm::assemble("mov r0, 0\nexit").unwrap(), &[0], &[]).unwrap()
}

#[test]
fn unknown_opcodes_and_forms_are_faults() {
    let checked = some_checked();
    let slot =
        |opcode: u8, src: u8, offset: i16, imm| ebpf::isa::Slot::new(opcode, 0, src, offset, imm).0;
    use ebpf::isa::op;
    for malformed in [
        slot(0x00, 0, 0, 0),
        slot(0xff, 0, 0, 0),
        slot(op::CALLX, 0, 0, 0),
        slot(0x30, 0, 0, 0),
        slot(op::DIV64_K, 0, 2, 1),
        slot(op::MOD32_X, 0, -1, 0),
        slot(op::MOV32_X, 0, 32, 0),
        slot(op::MOV64_X, 0, 1, 0),
        slot(op::BE, 0, 0, 8),
        slot(op::CALL, 2, 0, 0),
        slot(op::LDDW, 1, 0, 0),
    ] {
        let opcode = malformed as u8;
        let outcome = run_unchecked(&[malformed, 0x95], &checked, &mut NoHost);
        assert_eq!(
            outcome,
            fault(0, FaultKind::Opcode { opcode }),
            "{malformed:#x}"
        );
    }
    // An atomic that is none, at a place that is there.
    let unknown = ebpf::isa::Slot::new(op::ATOMIC64, 10, 0, -8, 0x02).0;
    let outcome = run_unchecked(&[unknown, 0x95], &checked, &mut NoHost);
    assert_eq!(
        outcome,
        fault(
            0,
            FaultKind::Opcode {
                opcode: op::ATOMIC64
            }
        )
    );
}

#[test]
fn leaving_the_code_is_a_fault() {
    let checked = some_checked();
    let nop = 0x07;
    assert_eq!(
        run_unchecked(&[nop], &checked, &mut NoHost),
        fault(1, FaultKind::FellOff)
    );
    assert_eq!(
        run_unchecked(&[0x18], &checked, &mut NoHost),
        fault(0, FaultKind::FellOff)
    );
    let ahead = asm::assemble("ja +7\nexit").unwrap();
    assert_eq!(
        run_unchecked(&ahead, &checked, &mut NoHost),
        fault(8, FaultKind::FellOff)
    );
    let back = asm::assemble("ja -7\nexit").unwrap();
    let outcome = run_unchecked(&back, &checked, &mut NoHost);
    assert_eq!(outcome, fault(-6_i32 as u32, FaultKind::FellOff));
    assert_eq!(
        run_unchecked(&[], &checked, &mut NoHost),
        fault(0, FaultKind::FellOff)
    );
}

#[test]
fn calls_and_entries_lead_to_functions() {
    let checked = some_checked();
    let slots = asm::assemble("call local +0\nexit").unwrap();
    let outcome = run_unchecked(&slots, &checked, &mut NoHost);
    assert_eq!(outcome, fault(0, FaultKind::NoFunction { target: 1 }));

    let program = Program::new(&slots, &checked, 0);
    let mut state = State::start(&program, 1, 0, 0, 1000);
    let outcome = run(&program, &mut state, &mut Memory::new(), &mut NoHost, 1000);
    assert_eq!(outcome, fault(1, FaultKind::NoFunction { target: 1 }));
    assert_eq!(state.spent(), 0);
}

#[test]
fn calls_nest_eight_deep() {
    // r1 counts the functions that are active; the entry is the first.
    let nested = |depth: u32| {
        format!(
            "mov r1, 1\ncall local f\nexit\nf:\nadd r1, 1\njeq r1, {depth}, done\ncall local f\n\
             done:\nmov r0, r1\nexit"
        )
    };
    assert_eq!(run_text(&nested(8), &[]).outcome, Outcome::Exit { r0: 8 });
    assert_eq!(
        run_text(&nested(9), &[]).outcome,
        fault(5, FaultKind::CallDepth)
    );
}

#[test]
fn frames_are_apart_and_the_last_ends_at_the_stack_s_start() {
    // Each of eight frames fills its 512 bytes' ends; the deepest starts at offset 0.
    let text = "mov r1, 1
        call local f
        mov r0, r10
        exit
        f:
        stdw [r10-512], 1
        stdw [r10-8], 2
        add r1, 1
        jeq r1, 8, done
        call local f
        done:
        exit";
    let ran = run_text(text, &[]);
    assert_eq!(
        ran.outcome,
        Outcome::Exit {
            r0: at(RegionId::Stack, 4096)
        }
    );
    for frame in 0..7 {
        assert_eq!(ran.stack[frame * 512], 1);
        assert_eq!(ran.stack[frame * 512 + 504], 2);
    }
    assert_eq!(ran.stack[7 * 512..], [0; 512]);
}

#[test]
fn wide_loads_of_scratch_and_of_maps() {
    let slots = asm::assemble("lddw r1, scratch+6\nldxb r0, [r1]\nexit").unwrap();
    let checked = check(&slots, &[0], &[]).unwrap();
    let program = Program::new(&slots, &checked, scratch(1));
    let mut state = State::start(&program, 0, 0, 0, 100);
    let mut work = *b"01234567";
    let mut memory = Memory::new().with_write(RegionId::Scratch, &mut work);
    let outcome = run(&program, &mut state, &mut memory, &mut NoHost, 100);
    assert_eq!(
        outcome,
        Outcome::Exit {
            r0: u64::from(b'7')
        }
    );

    let map = MapIndex::new(3).expect("there can be a fourth map");
    for (text, r0) in [
        ("lddw r0, map 3\nexit", map.handle()),
        ("lddw r0, map 3+8\nexit", at(RegionId::Map(map), 8)),
    ] {
        let slots = asm::assemble(text).unwrap();
        let outcome = run_unchecked(&slots, &checked, &mut NoHost);
        assert_eq!(outcome, Outcome::Exit { r0 });
    }
    assert_eq!(MapIndex::of_handle(map.handle()), Some(map));
    assert_eq!(RegionId::of(map.handle()), None, "a handle is no address");
    for text in ["lddw r1, map 16\nexit", "lddw r1, map 16+8\nexit"] {
        let slots = asm::assemble(text).unwrap();
        let outcome = run_unchecked(&slots, &checked, &mut NoHost);
        assert_eq!(outcome, fault(0, FaultKind::NoMap { index: 16 }));
    }
}

#[test]
fn an_access_is_held_to_what_was_proved() {
    let slots = asm::assemble("ldxb r0, [r1]\nexit").unwrap();
    let checked = check(&slots, &[0], &[]).unwrap();
    let program = Program::new(&slots, &checked, 0);
    let mut plan = AccessPlan::all_guarded();
    // SAFETY: only the referee runs it.
    unsafe { plan.assume(0, RegionId::Scratch) };
    let run = |r1| {
        let (args, mut work) = ([1; 8], [2; 8]);
        let mut memory = Memory::new()
            .with_read(RegionId::Arguments, &args)
            .with_write(RegionId::Scratch, &mut work);
        let mut state = State::start(&program, 0, r1, 0, 100);
        run_planned(&program, &plan, &mut state, &mut memory, &mut NoHost, 100)
    };
    assert_eq!(run(at(RegionId::Scratch, 7)), Outcome::Exit { r0: 2 });
    for (address, reason) in [
        (at(RegionId::Arguments, 0), AccessReason::Strayed),
        (
            at(RegionId::Scratch, 8),
            AccessReason::OutOfBounds { region_bytes: 8 },
        ),
        (at(RegionId::Reply, 0), AccessReason::NoRegion),
    ] {
        let access = AccessFault {
            address,
            len: 1,
            right: Right::Read,
            reason,
        };
        assert_eq!(run(address), fault(0, FaultKind::Disproved(access)));
    }
}

/// Ends whatever calls it, or is not there.
struct Stubborn;

impl Host for Stubborn {
    fn call(&mut self, helper: u32, args: [u64; 5], _: &mut Memory<'_>) -> HelperResult {
        if helper == 1 {
            HelperResult::Kill(args[0] as u32)
        } else {
            HelperResult::Unknown
        }
    }
}

#[test]
fn helpers_may_be_unknown_or_end_the_run() {
    let specs = [1, 2].map(|id| HelperSpec {
        id,
        name: "any",
        length_arg: None,
    });
    let text = |helper: u32| format!("mov r1, 77\ncall {helper}\nexit");
    let outcome = |helper: u32| {
        let slots = asm::assemble(&text(helper)).unwrap();
        run_unchecked(&slots, &check(&slots, &[0], &specs).unwrap(), &mut Stubborn)
    };
    assert_eq!(outcome(1), Outcome::Killed { pc: 1, reason: 77 });
    assert_eq!(outcome(2), fault(1, FaultKind::UnknownHelper { helper: 2 }));
}

#[test]
fn what_has_ended_stays_ended() {
    let slots = asm::assemble("mov r0, 3\nexit").unwrap();
    let checked = check(&slots, &[0], &[]).unwrap();
    let program = Program::new(&slots, &checked, 0);
    let mut state = State::start(&program, 0, 0, 0, 100);
    for _ in 0..3 {
        let outcome = run(&program, &mut state, &mut Memory::new(), &mut NoHost, 100);
        assert_eq!(outcome, Outcome::Exit { r0: 3 });
        state.resume(9);
        assert_eq!(state.spent(), 2);
    }
}

#[test]
fn faults_say_what_happened() {
    for (kind, words) in [
        (
            FaultKind::Opcode { opcode: 0x8d },
            "instruction 4: 0x8d is no instruction",
        ),
        (
            FaultKind::UnknownHelper { helper: 0x1002 },
            "instruction 4: there is no helper 0x1002",
        ),
        (FaultKind::FellOff, "instruction 4: there is no code here"),
        (
            FaultKind::NoFunction { target: 9 },
            "instruction 4: no function starts at instruction 9",
        ),
        (
            FaultKind::CallDepth,
            "instruction 4: more than 8 functions are active at once",
        ),
        (
            FaultKind::NoMap { index: 1 },
            "instruction 4: there is no map 1",
        ),
        (
            FaultKind::Engine { why: "no" },
            "instruction 4: this engine cannot run it: no",
        ),
    ] {
        assert_eq!(Fault { pc: 4, kind }.to_string(), words);
    }
    let killed = Outcome::Killed { pc: 2, reason: 5 };
    assert_eq!(
        killed.to_string(),
        "instruction 2: ended by a helper, reason 5"
    );
}
