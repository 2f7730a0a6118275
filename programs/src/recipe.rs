//! How each object in `objects/` is built: its source, its flags, and a digest over both.
//!
//! `cargo xtask programs` compiles by this list and the crate's tests check by it. The file stands
//! by itself (xtask includes it by path), because a new program has to be built before the crate
//! that embeds it can be.

use sha2::{Digest, Sha256};

/// Flags that every program is compiled with.
///
/// `-g` gives the BTF from which the loader takes source lines; the prefix map, which is not part
/// of this list as it holds a path of the machine, takes that path out of the object again.
pub const FLAGS: &[&str] = &[
    "-target",
    "bpf",
    "-mcpu=v3",
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-nostdinc",
];

/// One object to be built.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Name of the program: the object is `objects/<name>.o`.
    pub name: &'static str,
    /// Source file in `src/`.
    pub source: &'static str,
    /// Flags of this one program, behind [`FLAGS`].
    pub flags: &'static [&'static str],
}

/// Every object there is.
pub const RECIPES: &[Recipe] = &[
    Recipe {
        name: "bpfkv_get",
        source: "bpfkv_get.c",
        flags: &[],
    },
    Recipe {
        name: "chase",
        source: "chase.c",
        flags: &[],
    },
    Recipe {
        name: "crc_cache",
        source: "crc_cache.c",
        flags: &[],
    },
    Recipe {
        name: "sqlite_get",
        source: "sqlite_get.c",
        flags: &["-DPAGE_MAX=4096"],
    },
    Recipe {
        name: "sqlite_get_64k",
        source: "sqlite_get.c",
        flags: &["-DPAGE_MAX=65536"],
    },
    Recipe {
        name: "tally",
        source: "tally.c",
        flags: &[],
    },
];

impl Recipe {
    /// SHA-256 in hexadecimal of all that decides what the object is, but for the compiler.
    #[must_use]
    pub fn inputs_sha256(&self, source: &str, dpu_h: &str) -> String {
        let flags = [FLAGS, self.flags].concat().join("\n");
        sha256_hex(&[
            flags.as_bytes(),
            b"\0",
            source.as_bytes(),
            b"\0",
            dpu_h.as_bytes(),
        ])
    }
}

/// SHA-256 of the parts one after the other, in hexadecimal.
#[must_use]
pub fn sha256_hex(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
