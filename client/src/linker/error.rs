//! Why an object cannot be linked, and what to do about it.

use ebpf::{ImageError, MapError};
use thiserror::Error;

/// Why an object cannot be linked.
#[derive(Debug, Error)]
pub enum LinkError {
    /// Too large to be a program.
    #[error("the object has {bytes} bytes, and {limit} is the most there may be")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Not ELF.
    #[error("this is no ELF object; compile with `clang -target bpf -mcpu=v3 -O2 -g -c`")]
    NotElf,
    /// ELF for something else, or already linked.
    #[error(
        "this is no relocatable 64-bit little-endian BPF object; compile with `clang -target bpf -mcpu=v3 -O2 -g -c`"
    )]
    NotBpf,
    /// The ELF structure is damaged.
    #[error("the ELF object is damaged: {0}")]
    Elf(object::read::Error),
    /// No limits are declared.
    #[error(
        "the object has no section dpu.limits; write DPU_LIMITS(args_max, reply_max, scan_unit, objects); once in the program"
    )]
    NoLimits,
    /// Another ABI.
    #[error(
        "the object was compiled against ABI {abi} of dpu.h, and this is for ABI 1; compile it again"
    )]
    Abi {
        /// Its ABI.
        abi: u32,
    },
    /// The limits are no good.
    #[error("section dpu.limits: {problem}; write DPU_LIMITS(...) exactly once")]
    Limits {
        /// What is wrong.
        problem: &'static str,
    },
    /// No entry.
    #[error("the object has no entry; mark a function with SEC(\"dpu/call\") or SEC(\"dpu/scan\")")]
    NoEntry,
    /// A section named like an entry.
    #[error(
        "section {section} is no entry that is known; the entries are dpu/call, dpu/scan and dpu/finish"
    )]
    UnknownEntry {
        /// Its name.
        section: String,
    },
    /// No function, or several, in an entry's section.
    #[error(
        "section {section} holds {count} functions; put exactly one there, and what it calls elsewhere"
    )]
    EntryFunctions {
        /// Its name.
        section: String,
        /// Functions in it.
        count: usize,
    },
    /// Code that is neither an entry nor called.
    #[error(
        "section {section} holds code but is neither an entry nor called by one; remove it or name it dpu/call, dpu/scan or dpu/finish"
    )]
    StrayCode {
        /// Its name.
        section: String,
    },
    /// Code of odd length.
    #[error("section {section} is damaged: {bytes} bytes are not whole instructions")]
    OddCode {
        /// Its name.
        section: String,
        /// Its length.
        bytes: usize,
    },
    /// Scratch with a value.
    #[error(
        "section {section}: byte {offset} is not zero; scratch variables cannot start with a value, set it at the start of the entry"
    )]
    ScratchNotZero {
        /// Its name.
        section: String,
        /// The first such byte.
        offset: usize,
    },
    /// A section that looks like scratch.
    #[error(
        "section {section} is no scratch section that is known; use DPU_SCRATCH or DPU_SCRATCH_ZERO of dpu.h"
    )]
    UnknownScratch {
        /// Its name.
        section: String,
    },
    /// Too large or too strictly aligned.
    #[error("section {section}: {problem}")]
    Section {
        /// Its name.
        section: String,
        /// What is wrong.
        problem: String,
    },
    /// A relocation of another kind.
    #[error(
        "section {section}, offset {offset:#x}: relocation type {kind} against {symbol} is not known; {remedy}"
    )]
    Relocation {
        /// The section with the code.
        section: String,
        /// Where in it, bytes.
        offset: u64,
        /// ELF type of the relocation.
        kind: u32,
        /// Against what.
        symbol: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A relocation that does not fit its instruction.
    #[error(
        "section {section}, offset {offset:#x}: the relocation against {symbol} is damaged: {problem}"
    )]
    BadRelocation {
        /// The section with the code.
        section: String,
        /// Where in it, bytes.
        offset: u64,
        /// Against what.
        symbol: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A name that is not defined.
    #[error(
        "section {section}, offset {offset:#x}: {symbol} is not defined in this object; define it there (helpers come from dpu.h), as only one object is linked"
    )]
    Undefined {
        /// The section with the code.
        section: String,
        /// Where in it, bytes.
        offset: u64,
        /// The name.
        symbol: String,
    },
    /// A reference to what a program cannot have.
    #[error(
        "section {section}, offset {offset:#x}: {symbol} in section {target} cannot be used: {remedy}"
    )]
    Unusable {
        /// The section with the code.
        section: String,
        /// Where in it, bytes.
        offset: u64,
        /// The name.
        symbol: String,
        /// The section it is in.
        target: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A map that is not described.
    #[error(
        "map {map}: {problem}; declare it in section .maps with __uint(type, ..), __type(key, ..), __type(value, ..) and __uint(max_entries, ..), and compile with -g"
    )]
    Map {
        /// Its name.
        map: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A map of a type that is not offered.
    #[error(
        "map {map} is of type {kind}{name}, which is not offered; hash (1), array (2) and LRU hash (9) are"
    )]
    MapKind {
        /// Its name.
        map: String,
        /// Its type, as Linux numbers them.
        kind: u32,
        /// What Linux calls the type, with a comma in front.
        name: &'static str,
    },
    /// A map whose sizes or flags cannot be had.
    #[error("map {map}: {error}")]
    MapShape {
        /// Its name.
        map: String,
        /// What is wrong.
        error: MapError,
    },
    /// Variables that hold addresses.
    #[error(
        "section {section}: the variable at byte {offset} starts as the address of {symbol}, and addresses are not known before the program runs; set it in the program, or keep an index or an offset instead"
    )]
    AddressInData {
        /// Its name.
        section: String,
        /// Where in it, bytes.
        offset: u64,
        /// Of what.
        symbol: String,
    },
    /// The sizes are outside what an image may have.
    #[error("{0}")]
    Image(ImageError),
}
