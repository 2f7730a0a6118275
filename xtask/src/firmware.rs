//! `firmware`: builds the firmware of a board, says how large it is, and holds it to its limits.
//!
//! What is built lies in `target/firmware/` afterwards. Printed are the sections, and the memory by
//! pool, which the firmware carries in a section of its own (`.outboard.pools`). Checked are
//!
//! - text + rodata, of all code and constants that are loaded, the compiler for programs included;
//!   its tables, one for each program, are no part of the image but of the heap;
//! - that no instruction unmasks interrupts, so that there are no interrupt paths;
//! - that no instruction computes with floating-point numbers, so that there are none in the paths
//!   of exceptions either. (Registers of that kind move bytes everywhere: a compiler's copies do.)

use std::fs;
use std::path::PathBuf;

use object::{Object as _, ObjectSection as _, SectionKind};
use yaxpeax_arch::{Decoder as _, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Opcode};

use crate::Outcome;
use crate::nostd::{self, TARGET};
use crate::shell::{self, cargo, io, target_folder};

pub(crate) const MANIFEST: &str = "dpu-firmware/boards/qemu-virt/Cargo.toml";
const BINARY: &str = "outboard-qemu-virt";

/// The image with the driver's exercise in it, by a feature of the crate: for the suite alone.
const EXERCISE: &str = "outboard-qemu-virt-exercise";
const EXERCISE_FEATURE: &str = "exercise";

/// Bytes that text and rodata may have.
const CODE_BYTES_MAX: u64 = 600 << 10;

/// What it is linked and compiled with: frame pointers, for the addresses that a panic prints.
const FLAGS: &str = "-Cforce-frame-pointers=yes";

/// What is logged, chosen when it is compiled: `info` and worse, unless this variable says otherwise.
const LEVEL_VARIABLE: &str = "DEFMT_LOG";

/// The task. Gives the ELF.
pub(crate) fn run() -> Outcome<PathBuf> {
    shell::run(cargo().args(["fmt", "--check", "--manifest-path", MANIFEST]))?;
    let elf = build(BINARY, None)?;
    let bytes = io(fs::read(&elf), "read", &elf)?;
    let file = object::File::parse(&*bytes).map_err(|why| format!("{}: {why}", elf.display()))?;
    println!("firmware: {}", elf.display());
    let code = print_sections(&file);
    print_pools(&file)?;
    check_size(code)?;
    check_instructions(&file)?;
    Ok(elf)
}

/// Builds the image with the driver's exercise, which is held to no size. Gives the ELF.
pub(crate) fn exercise() -> Outcome<PathBuf> {
    build(EXERCISE, Some(EXERCISE_FEATURE))
}

/// Builds it with a feature or without, and gives the ELF, which gets that name.
fn build(name: &str, feature: Option<&str>) -> Outcome<PathBuf> {
    let mut way = nostd::way()?;
    way.add_flags(FLAGS);
    way.build.args(["--release", "--manifest-path", MANIFEST]);
    if let Some(feature) = feature {
        way.build.args(["--features", feature]);
    }
    if std::env::var_os(LEVEL_VARIABLE).is_none() {
        way.build.env(LEVEL_VARIABLE, "info");
    }
    shell::run(&mut way.build)?;
    let built = way.folder.join(TARGET).join("release").join(BINARY);
    let folder = target_folder().join("firmware");
    io(fs::create_dir_all(&folder), "make", &folder)?;
    let elf = folder.join(name);
    io(fs::copy(&built, &elf), "write", &elf)?;
    Ok(elf)
}

/// Prints what is in memory, and gives the bytes of text and rodata.
fn print_sections(file: &object::File<'_>) -> u64 {
    let mut sums = [0; 4];
    const NAMES: [&str; 4] = ["text", "rodata", "data", "bss, stack and pools"];
    for section in file.sections() {
        let class = match section.kind() {
            SectionKind::Text => 0,
            SectionKind::ReadOnlyData | SectionKind::ReadOnlyString => 1,
            // What was constant before the linker wrote addresses into it.
            SectionKind::Data if section.name().is_ok_and(|name| name == ".got") => 1,
            SectionKind::Data => 2,
            SectionKind::UninitializedData => 3,
            _ => continue,
        };
        if section.address() != 0 {
            sums[class] += section.size();
        }
    }
    for (name, bytes) in NAMES.iter().zip(sums) {
        println!("  {name:<24} {:>10.1} KiB", kib(bytes));
    }
    sums[0] + sums[1]
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

/// Prints the rows of `.outboard.pools`: a name of 24 bytes, how many, and bytes of all together.
fn print_pools(file: &object::File<'_>) -> Outcome {
    let section = file
        .section_by_name(".outboard.pools")
        .ok_or("the firmware does not say what its pools take")?;
    let data = section.data().map_err(|why| why.to_string())?;
    let (mut total, mut rows) = (0, data.chunks_exact(40));
    println!("static memory by pool:");
    for row in &mut rows {
        let name = String::from_utf8_lossy(&row[..24]);
        let number = |at: usize| {
            let bytes = row[at..at + 8].first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(bytes)
        };
        let (count, bytes) = (number(24), number(32));
        println!(
            "  {:<16} {count:>7} {:>10.1} KiB",
            name.trim_end_matches('\0'),
            kib(bytes)
        );
        total += bytes;
    }
    println!("  {:<16} {:>7} {:>10.1} KiB", "all", "", kib(total));
    Ok(())
}

fn check_size(code: u64) -> Outcome {
    println!(
        "text + rodata: {:.1} KiB of at most {:.0}",
        kib(code),
        kib(CODE_BYTES_MAX)
    );
    if code >= CODE_BYTES_MAX {
        return Err("the firmware's text and rodata are too large".to_owned());
    }
    Ok(())
}

/// Looks at each instruction.
fn check_instructions(file: &object::File<'_>) -> Outcome {
    let decoder = InstDecoder::default();
    let mut count = 0_u64;
    for section in file.sections() {
        if section.kind() != SectionKind::Text {
            continue;
        }
        let data = section.data().map_err(|why| why.to_string())?;
        for (index, word) in data.as_chunks::<4>().0.iter().enumerate() {
            count += 1;
            let at = section.address() + 4 * index as u64;
            if unmasks_interrupts(u32::from_le_bytes(*word)) {
                return Err(format!("the instruction at {at:#x} unmasks interrupts"));
            }
            let Ok(instruction) = decoder.decode(&mut U8Reader::new(word)) else {
                continue;
            };
            if computes_with_floats(instruction.opcode) {
                return Err(format!("at {at:#x} is floating point: {instruction}"));
            }
        }
    }
    println!("none of {count} instructions unmasks interrupts or computes with floats");
    Ok(())
}

/// MSR DAIFClr, and MSR DAIF (Arm ARM C6.2.254, C6.2.255).
const fn unmasks_interrupts(word: u32) -> bool {
    word & 0xffff_f0ff == 0xd503_40ff || word & 0xffff_ffe0 == 0xd51b_4220
}

/// By the name: FADD, FMUL, FCVTZS, SCVTF and so on; FMOV moves bits alone.
fn computes_with_floats(opcode: Opcode) -> bool {
    let name = format!("{opcode:?}");
    let is_float = name.starts_with('F') || name.contains("CVTF");
    is_float && !name.starts_with("FMOV")
}
