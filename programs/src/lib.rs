//! The eBPF programs Outboard ships: C sources, `dpu.h`, the built objects, and the arguments they take.
//!
//! The C files in `src/` are compiled by `cargo xtask programs` into `objects/`, and the objects
//! are kept in the repository, so that nobody needs clang to use them. `objects/manifest.txt` says
//! which inputs each was built from; a test here fails when one is older than its source.
//!
//! The modules beside them are the caller's half: how to write a program's arguments, how to read
//! its reply, and how to make the data it runs on.
//!
//! ```
//! use programs::sqlite::SqliteGetArgs;
//!
//! let args = SqliteGetArgs { rowid: 42, root_page: 2, ..SqliteGetArgs::default() };
//! assert_eq!(args.to_bytes().len(), 24);
//! assert_eq!(programs::find("sqlite_get").unwrap().object, programs::SQLITE_GET);
//! ```

pub mod bpfkv;
pub mod chase;
pub mod crc_cache;
pub mod recipe;
pub mod sqlite;
pub mod tally;

/// `dpu.h`, the header every program includes.
pub const DPU_H: &str = include_str!("../include/dpu.h");

/// Object of `chase.c`: follow a chain of offsets.
pub const CHASE: &[u8] = include_bytes!("../objects/chase.o");
/// Object of `bpfkv_get.c`: look a key up in a BPF-KV store.
pub const BPFKV_GET: &[u8] = include_bytes!("../objects/bpfkv_get.o");
/// Object of `crc_cache.c`: checksums of blocks, remembered in an LRU map.
pub const CRC_CACHE: &[u8] = include_bytes!("../objects/crc_cache.o");
/// Object of `tally.c`: counters by key, a histogram and running numbers.
pub const TALLY: &[u8] = include_bytes!("../objects/tally.o");
/// Object of `sqlite_get.c`: a row of a SQLite database with pages of at most 4 KiB.
pub const SQLITE_GET: &[u8] = include_bytes!("../objects/sqlite_get.o");
/// Object of `sqlite_get.c` for pages of any size up to 64 KiB, in 64 KiB of scratch.
pub const SQLITE_GET_64K: &[u8] = include_bytes!("../objects/sqlite_get_64k.o");

/// What each object was built from: lines of name, SHA-256 of the inputs, SHA-256 of the object.
pub const MANIFEST: &str = include_str!("../objects/manifest.txt");

/// A program that comes with Outboard.
#[derive(Clone, Copy, Debug)]
pub struct ShippedProgram {
    /// Its name, which is also that of the object file and of the entry function's family.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The ELF object as clang wrote it.
    pub object: &'static [u8],
    /// The C source it was built from.
    pub source: &'static str,
}

impl ShippedProgram {
    /// SHA-256, in hexadecimal, of the source, `dpu.h` and flags that the object was built from.
    #[must_use]
    pub fn source_sha256(&self) -> Option<&'static str> {
        manifest_entry(self.name).map(|(inputs, _)| inputs)
    }
}

/// All programs that come with Outboard.
pub const ALL: &[ShippedProgram] = &[
    ShippedProgram {
        name: "bpfkv_get",
        summary: "look a key up in a BPF-KV store",
        object: BPFKV_GET,
        source: include_str!("bpfkv_get.c"),
    },
    ShippedProgram {
        name: "chase",
        summary: "follow a chain of offsets: the ruler for round trips and dependent reads",
        object: CHASE,
        source: include_str!("chase.c"),
    },
    ShippedProgram {
        name: "crc_cache",
        summary: "the CRC-32C of a block, remembered: a cache in an LRU map",
        object: CRC_CACHE,
        source: include_str!("crc_cache.c"),
    },
    ShippedProgram {
        name: "sqlite_get",
        summary: "one row of a SQLite 3 database by its rowid, pages up to 4 KiB",
        object: SQLITE_GET,
        source: include_str!("sqlite_get.c"),
    },
    ShippedProgram {
        name: "sqlite_get_64k",
        summary: "one row of a SQLite 3 database by its rowid, pages up to 64 KiB",
        object: SQLITE_GET_64K,
        source: include_str!("sqlite_get.c"),
    },
    ShippedProgram {
        name: "tally",
        summary: "count by key and by size: maps and global variables of every kind",
        object: TALLY,
        source: include_str!("tally.c"),
    },
];

/// The shipped program of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static ShippedProgram> {
    ALL.iter().find(|program| program.name == name)
}

/// The two digests that the manifest has for a program: of its inputs and of its object.
fn manifest_entry(name: &str) -> Option<(&'static str, &'static str)> {
    MANIFEST.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| Some((words.next()?, words.next()?)))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_built_from_the_sources_beside_them() {
        assert_eq!(recipe::RECIPES.len(), ALL.len());
        for recipe in recipe::RECIPES {
            let program = find(recipe.name).expect("a recipe makes a shipped program");
            let (inputs, object) = manifest_entry(recipe.name).unwrap_or_else(|| {
                panic!(
                    "{} is not in objects/manifest.txt: run `cargo xtask programs`",
                    recipe.name
                )
            });
            assert_eq!(
                recipe.inputs_sha256(program.source, DPU_H),
                inputs,
                "objects/{}.o is older than its source: run `cargo xtask programs`",
                recipe.name
            );
            assert_eq!(
                recipe::sha256_hex(&[program.object]),
                object,
                "objects/{}.o is not the one the manifest names: run `cargo xtask programs`",
                recipe.name
            );
            assert_eq!(program.source_sha256(), Some(inputs));
        }
    }

    #[test]
    fn objects_are_bpf_and_name_no_machine() {
        for program in ALL {
            assert_eq!(&program.object[..4], b"\x7fELF", "{}", program.name);
            let machine = u16::from_le_bytes([program.object[18], program.object[19]]);
            assert_eq!(machine, 247, "{}: EM_BPF", program.name);
            let text = String::from_utf8_lossy(program.object);
            for path in ["/home/", "/root/", "/usr/", "/tmp/", "/build/"] {
                assert!(!text.contains(path), "{}: {path} is inside", program.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_short_enough_for_the_wire() {
        for (index, program) in ALL.iter().enumerate() {
            assert!(program.name.len() <= 32);
            assert!(
                ALL[..index]
                    .iter()
                    .all(|earlier| earlier.name != program.name)
            );
        }
    }
}
