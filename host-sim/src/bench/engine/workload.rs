//! What the engines do, in every form in which somebody runs it, and what they do it to.

use object::{Object, ObjectSection};

use crate::random::Random;

/// A C function of `bench/engine/`, in all its forms.
#[derive(Clone, Copy, Debug)]
pub(super) struct Workload {
    /// The case's name.
    pub(super) name: &'static str,
    /// Bytes that it works on.
    pub(super) bytes: usize,
    /// As a program that a client could upload.
    pub(super) program: &'static [u8],
    /// As BPF whose r1 points to the key and the bytes behind it.
    pub(super) raw: &'static [u8],
    /// As BPF for Linux.
    pub(super) kernel: &'static [u8],
    /// As WebAssembly.
    pub(super) wasm: &'static [u8],
    /// As the machine's own code.
    pub(super) native: fn(&[u8], u64) -> u64,
    /// What the bytes are.
    fill: fn(&mut Random, &mut [u64]),
    /// What a key is.
    key: fn(&mut Random) -> u64,
}

macro_rules! forms {
    ($name:literal) => {
        (
            include_bytes!(concat!("../../../bench/engine/objects/", $name, ".o")),
            include_bytes!(concat!("../../../bench/engine/objects/", $name, ".raw.o")),
            include_bytes!(concat!(
                "../../../bench/engine/objects/",
                $name,
                ".kernel.o"
            )),
            include_bytes!(concat!("../../../bench/engine/objects/", $name, ".wasm")),
        )
    };
}

macro_rules! workload {
    ($name:literal, $file:literal, $bytes:literal, $native:path, $fill:expr, $key:expr) => {{
        let (program, raw, kernel, wasm) = forms!($file);
        Workload {
            name: $name,
            bytes: $bytes,
            program,
            raw,
            kernel,
            wasm,
            native: $native,
            fill: $fill,
            key: $key,
        }
    }};
}

/// The four of them.
pub(super) fn all() -> [Workload; 4] {
    use super::native;
    [
        // Half of the records are selected, give or take a few.
        workload!(
            "filter-scan",
            "filter_scan",
            65536,
            native::filter_scan,
            random,
            |random| { 0x7f80_0000 + random.below(0x0100_0000) }
        ),
        workload!(
            "page-search",
            "page_search",
            4096,
            native::page_search,
            page,
            Random::next_u64
        ),
        workload!("fnv", "fnv", 4096, native::fnv, random, Random::next_u64),
        workload!(
            "varint",
            "varint",
            4096,
            native::varint,
            random,
            Random::next_u64
        ),
    ]
}

fn random(random: &mut Random, words: &mut [u64]) {
    words.fill_with(|| random.next_u64());
}

/// A page of 180 to 255 sorted keys, and values.
fn page(random: &mut Random, words: &mut [u64]) {
    words.fill_with(|| random.next_u64());
    let count = 180 + random.below(76);
    if let Some((head, rest)) = words.split_first_mut() {
        *head = count;
        rest[..255].sort_unstable();
    }
}

impl Workload {
    /// Bytes to work on.
    pub(super) fn buffer(&self, random: &mut Random) -> Vec<u8> {
        let mut words = vec![0; self.bytes / 8];
        (self.fill)(random, &mut words);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A key to work with.
    pub(super) fn key(&self, random: &mut Random) -> u64 {
        (self.key)(random)
    }
}

/// The slots in a section of an object.
///
/// # Errors
/// There is none.
pub(super) fn code(object: &[u8], section: &str) -> Result<Vec<u64>, String> {
    let file = object::File::parse(object).map_err(|error| error.to_string())?;
    let section = file
        .section_by_name(section)
        .ok_or("the object has no code")?;
    let bytes = section.data().map_err(|error| error.to_string())?;
    let (words, _) = bytes.as_chunks();
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}
