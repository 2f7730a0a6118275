//! The agent's pools and what each takes, in a section of the ELF that is not loaded.
//!
//! `cargo xtask firmware` prints it. The rows are computed by the compiler from the limits that the
//! agent is made with, so they cannot differ from them.
#![allow(unsafe_code)] // It chooses a section.

use dpu_firmware::limits::Pool;

use crate::LIMITS;

/// A row: a name of at most 24 bytes, filled up with zeros, how many, and bytes of all together.
#[repr(C)]
struct Row {
    name: [u8; 24],
    count: u64,
    bytes: u64,
}

const COUNT: usize = LIMITS.pools().len();

#[used]
#[unsafe(link_section = ".outboard.pools")]
static ROWS: [Row; COUNT] = rows();

const fn rows() -> [Row; COUNT] {
    const EMPTY: Row = Row {
        name: [0; 24],
        count: 0,
        bytes: 0,
    };
    let pools = LIMITS.pools();
    let mut rows = [EMPTY; COUNT];
    let mut at = 0;
    while at < COUNT {
        rows[at] = row(&pools[at]);
        at += 1;
    }
    rows
}

const fn row(pool: &Pool) -> Row {
    let mut name = [0; 24];
    let text = pool.name.as_bytes();
    name.split_at_mut(text.len()).0.copy_from_slice(text);
    Row {
        name,
        count: pool.count as u64,
        bytes: pool.bytes as u64,
    }
}
