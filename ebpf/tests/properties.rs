//! What holds for any program, any bytes, any slicing.

mod support;

use ebpf::isa::Slot;
use ebpf::limits::STACK_BYTES;
use ebpf::{
    Checked, EntryKind, HelperResult, HelperSpec, Host, Image, ImageBuilder, Instruction, MapKind,
    MapSpec, Memory, Outcome, Program, RegionId, State, asm, check,
};
use proptest::prelude::*;
use support::generate::{HELPER_ACTS, HELPER_WAITS, MEMORY_BYTES, Set, program};
use support::{Ran, run_program, scratch};

const HELPERS: &[HelperSpec] = &[
    HelperSpec {
        id: HELPER_ACTS,
        name: "acts",
        length_arg: Some(2),
    },
    HelperSpec {
        id: HELPER_WAITS,
        name: "waits",
        length_arg: None,
    },
];

/// Writes to scratch, and keeps a trace of its calls.
#[derive(Default)]
struct Tracing(Vec<(u32, [u64; 5])>);

impl Host for Tracing {
    fn call(&mut self, helper: u32, args: [u64; 5], memory: &mut Memory<'_>) -> HelperResult {
        self.0.push((helper, args));
        if helper == HELPER_WAITS {
            return HelperResult::Wait;
        }
        if let Ok(bytes) = memory.write(scratch((args[0] & 63) as u32), 8) {
            bytes.copy_from_slice(&args[1].to_le_bytes());
        }
        HelperResult::Return((args[0] ^ args[3]) as i64)
    }

    fn helpers(&self) -> &[HelperSpec] {
        HELPERS
    }

    fn cost_length(&self, _: u32, args: &[u64; 5]) -> u64 {
        args[2] & 0xfff
    }
}

fn run_traced(
    slots: &[u64],
    checked: &Checked,
    memory: &[u8],
    budget: u64,
    slice: u32,
) -> (Ran, Vec<(u32, [u64; 5])>) {
    let mut host = Tracing::default();
    let program = Program::new(slots, checked, scratch(0));
    let ran = run_program(&program, memory, budget, slice, &mut host, -5);
    (ran, host.0)
}

/// Slots that look like instructions more often than chance has it.
fn any_slot() -> impl Strategy<Value = u64> {
    let near = (any::<u8>(), 0..12_u8, 0..12_u8, -20..20_i16, -40..40_i32)
        .prop_map(|(opcode, dst, src, offset, imm)| Slot::new(opcode, dst, src, offset, imm).0);
    prop_oneof![2 => near, 1 => any::<u64>(), 1 => Just(0x95)]
}

/// The check of some other code: functions are where they may not be.
fn other_checked() -> Checked {
    check(&[0x95; 40], &[0, 3, 7, 20], &[]).expect("it passes")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    /// No slots, checked or not, make the interpreter panic or run beyond its means.
    #[test]
    fn any_slots_end(
        slots in prop::collection::vec(any_slot(), 0..40),
        memory in prop::collection::vec(any::<u8>(), 0..MEMORY_BYTES),
        registers in any::<(u64, u64)>(),
        budget in 0..5000_u64,
        slice in 0..300_u32,
    ) {
        let checked = check(&slots, &[0], HELPERS);
        let other = other_checked();
        let program = Program::new(&slots, checked.as_ref().unwrap_or(&other), scratch(0));
        let (mut bytes, mut stack) = (memory, [0; STACK_BYTES]);
        let r1 = scratch(0).wrapping_add(registers.0 & 0xff);
        let mut state = State::start(&program, 0, r1, registers.1, budget);
        let mut host = Tracing::default();
        let mut runs = 0;
        loop {
            let mut regions = Memory::new()
                .with_write(RegionId::Scratch, &mut bytes)
                .with_write(RegionId::Stack, &mut stack);
            let outcome = ebpf::run(&program, &mut state, &mut regions, &mut host, slice);
            prop_assert!(state.spent() <= budget);
            match outcome {
                Outcome::Waiting => state.resume(0),
                Outcome::Yielded => {}
                _ => break,
            }
            runs += 1;
            // Every run that comes back without an end has paid at least one unit.
            prop_assert!(runs <= budget, "{runs} runs");
        }
    }

    /// What the check lets through is known to the interpreter.
    #[test]
    fn checked_code_has_no_bad_opcode(slots in prop::collection::vec(any_slot(), 1..6)) {
        if let Ok(checked) = check(&slots, &[0], HELPERS) {
            let (ran, _) = run_traced(&slots, &checked, &[0; 64], 500, 50);
            if let Outcome::Fault(fault) = ran.outcome {
                use ebpf::FaultKind::{Access, CallDepth};
                prop_assert!(matches!(fault.kind, Access(_) | CallDepth), "{fault}");
            }
        }
    }

    /// Slices change nothing but where a run pauses.
    #[test]
    fn slices_change_nothing(
        slots in program(Set::Full),
        memory in prop::collection::vec(any::<u8>(), MEMORY_BYTES),
        slice in 0..200_u32,
        share in 0..120_u64,
    ) {
        let checked = check(&slots, &[0], HELPERS).expect("generated code passes the check");
        let whole = run_traced(&slots, &checked, &memory, 1 << 40, u32::MAX);
        prop_assert!(matches!(whole.0.outcome, Outcome::Exit { .. }), "{}", whole.0.outcome);
        for slice in [slice, 0, 1, 37, 4096] {
            let sliced = run_traced(&slots, &checked, &memory, 1 << 40, slice);
            prop_assert_eq!(&whole, &sliced);
        }
        // And so with a budget that does not suffice.
        let budget = whole.0.spent * share / 100;
        let short = run_traced(&slots, &checked, &memory, budget, u32::MAX);
        prop_assert!(short.0.spent <= budget);
        prop_assert_eq!(short.0.outcome.is_end(), true);
        prop_assert_eq!(budget >= whole.0.spent, short.0.outcome == whole.0.outcome);
        for slice in [slice, 1, 64] {
            prop_assert_eq!(&short, &run_traced(&slots, &checked, &memory, budget, slice));
        }
    }

    /// The meter counts at least what is executed.
    #[test]
    fn the_meter_is_an_upper_bound(slots in program(Set::Rbpf)) {
        let checked = check(&slots, &[0], &[]).expect("generated code passes the check");
        let memory = [3; MEMORY_BYTES];
        let (ran, _) = run_traced(&slots, &checked, &memory, 1 << 40, u32::MAX);
        prop_assert!(support::reference::executed(&slots, &memory) <= ran.spent);
    }

    /// The interpreter and a plain reading of the RFC agree on every instruction.
    #[test]
    fn the_reference_agrees(
        slots in program(Set::Full).prop_filter("no helpers", |slots| {
            !slots.iter().any(|&slot| slot & 0xf0ff == 0x85)
        }),
        memory in prop::collection::vec(any::<u8>(), MEMORY_BYTES),
    ) {
        let checked = check(&slots, &[0], &[]).expect("generated code passes the check");
        let (ran, _) = run_traced(&slots, &checked, &memory, 1 << 40, u32::MAX);
        let reference = support::reference::run(&slots, &memory);
        prop_assert_eq!(ran.outcome, Outcome::Exit { r0: reference.r0 }, "\n{}", asm::disassemble(&slots));
        prop_assert_eq!(ran.memory, reference.memory);
    }

    /// Decoding and encoding are each other's inverse, and so are print and assembly.
    #[test]
    fn instructions_survive_a_round_trip(slot in any_slot(), second in any::<u32>()) {
        let next = u64::from(second) << 32;
        if let Ok(instruction) = Instruction::decode(slot, Some(next)) {
            let (first, rest) = instruction.encode();
            prop_assert_eq!(first, slot);
            prop_assert_eq!(rest, (instruction.slots() == 2).then_some(next));
            let text = instruction.to_string();
            let assembled = asm::assemble(&text).expect("its own words are understood");
            prop_assert_eq!(assembled, [Some(first), rest].into_iter().flatten().collect::<Vec<_>>(), "{}", text);
        }
    }

    /// Any bytes are an image or an error.
    #[test]
    fn any_bytes_parse_or_not(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Image::parse(&bytes).is_err());
    }

    /// An image with some bytes changed is no danger either.
    #[test]
    fn damaged_images_are_no_danger(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = sample_image().build().expect("the sample builds");
        for (index, value) in changes {
            let len = bytes.len();
            bytes[index.index(len)] = value;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(image) = Image::parse(&bytes) {
            let slots: Vec<u64> = image.code().collect();
            prop_assert_eq!(slots.len(), image.header().instruction_count as usize);
            let named: usize = image.maps().map(|(_, initial)| initial.len()).sum();
            prop_assert_eq!(named, image.header().initial_bytes as usize);
            let _ = ebpf::check_image(&image, &slots, HELPERS);
        }
    }

    /// What is built is what is parsed.
    #[test]
    fn images_survive_a_round_trip(
        slots in prop::collection::vec(any::<u64>(), 1..60),
        numbers in (0..=80_u32, 0..=4096_u32, 0..=65_536_u32, 0..=8_u16, 9..=16_u32),
        pcs in prop::collection::vec(any::<prop::sample::Index>(), 3),
        maps in prop::collection::vec((8..17_u32, 1..9_u32, prop::collection::vec(any::<u8>(), 0..8)), 0..4),
    ) {
        let (scratch_kib, args_max, reply_max, objects, unit) = numbers;
        let mut builder = ImageBuilder::new()
            .scratch(scratch_kib * 1024, args_max.min(scratch_kib * 1024))
            .args_max(args_max)
            .reply_max(reply_max)
            .objects(objects)
            .scan_unit(1 << unit)
            .code(&slots);
        let entries: Vec<_> = EntryKind::ALL
            .into_iter()
            .zip(pcs.iter().map(|index| index.index(slots.len()) as u32))
            .collect();
        for &(kind, pc) in &entries {
            builder = builder.entry(kind, pc);
        }
        // Arrays, the only ones that come with values.
        for (value_bytes, entries_max, initial) in &maps {
            let (value_bytes, entries_max) = (*value_bytes, *entries_max);
            let kind = MapKind::Array as u32;
            let spec = MapSpec { kind, key_bytes: 4, value_bytes, entries_max, ..MapSpec::default() };
            builder = builder.map(spec, initial);
        }
        let bytes = builder.build().expect("the image builds");
        let image = Image::parse(&bytes).expect("what is built can be parsed");
        prop_assert_eq!(image.code().collect::<Vec<_>>(), slots.clone());
        prop_assert_eq!(image.slot(slots.len() as u32), None);
        prop_assert_eq!(image.entries().collect::<Vec<_>>(), entries);
        let header = image.header();
        prop_assert_eq!((header.scratch_bytes, header.args_max), (scratch_kib * 1024, args_max));
        prop_assert_eq!((header.reply_max, header.objects), (reply_max, objects));
        prop_assert_eq!(header.scan_unit, 1 << unit);
        let parsed: Vec<_> = image.maps().map(|(spec, initial)| (spec.value_bytes, spec.entries_max, initial.to_vec())).collect();
        prop_assert_eq!(parsed, maps);
    }
}

fn sample_image() -> ImageBuilder {
    let spec = MapSpec {
        kind: 2,
        key_bytes: 4,
        value_bytes: 16,
        entries_max: 4,
        ..MapSpec::default()
    };
    ImageBuilder::new()
        .scratch(8192, 64)
        .args_max(16)
        .reply_max(64)
        .objects(1)
        .scan_unit(4096)
        .entry(EntryKind::Call, 0)
        .entry(EntryKind::Scan, 2)
        .map(spec, &[5; 32])
        .map(spec, &[])
        .code(&asm::assemble("mov r0, 0\nexit\nlddw r1, map 0+8\nexit").expect("it assembles"))
}
