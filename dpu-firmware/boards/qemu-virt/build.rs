//! Writes the linker's script from the memory map, and has the binary linked by it.

#[path = "src/map.rs"]
mod map;

use std::env;
use std::fs;
use std::path::PathBuf;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("board.ld"), script()).expect("the script can be written");
    println!("cargo::rustc-link-search={}", out.display());
    // aarch64-rt's sections, then ours among them, then defmt's.
    for script in ["image.ld", "board.ld", "defmt.x"] {
        println!("cargo::rustc-link-arg-bins=-T{script}");
    }
    // Not aarch64-rt's own entry: `start.rs` leaves EL2 first.
    println!("cargo::rustc-link-arg-bins=--entry=reset");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/map.rs");
}

fn script() -> String {
    let (origin, bytes) = (map::IMAGE, map::RAM + map::RAM_BYTES - map::IMAGE);
    format!(
        "MEMORY {{ image : ORIGIN = {origin:#x}, LENGTH = {bytes:#x} }}\n\
         SECTIONS {{\n\
         \x20   /* Never mapped: who overruns the stack faults here. */\n\
         \x20   .guard (NOLOAD) : ALIGN(4096) {{ guard_begin = .; . += 4096; guard_end = .; }} > image\n\
         }} INSERT BEFORE .stack;\n\
         SECTIONS {{\n\
         \x20   /* Pools that are neither loaded nor cleared; each begins at a page of its own. */\n\
         \x20   .pools (NOLOAD) : ALIGN(4096) {{\n\
         \x20       *(.pools .pools.*)\n\
         \x20       . = ALIGN(4096);\n\
         \x20       pools_end = .;\n\
         \x20   }} > image\n\
         }} INSERT AFTER .stack;\n\
         SECTIONS {{\n\
         \x20   .outboard.pools 0 (INFO) : {{ KEEP(*(.outboard.pools)) }}\n\
         }}\n"
    )
}
