//! A table made to be awkward: everything a lookup may meet in a sound database.
//!
//! Rowids from the least to the greatest `i64`, in clusters and with gaps; every kind of value;
//! records of no bytes and of 12 000, so that at every page size some overflow and some do not
//! (at 65 536 none can); a tenth of the rows deleted at the end, in runs and singly, which
//! leaves free blocks in leaf pages and pages on the free list.

use rusqlite::types::Value;
use rusqlite::{Transaction, params};

use super::{FillError, Progress, Watch};
use crate::random::Random;

pub(super) const TABLE: &str = "mixed";

/// Longest text or blob; a record holds one of each at most this long together.
const LONGEST_BYTES: u64 = 12_000;

/// The same rows every time.
const SEED: u64 = 0x6d69_7865_6421;

/// Rows between two looks at the watch.
const ROWS_A_LOOK: u64 = 1024;

/// Creates the table with `rows` rows, then deletes a tenth of them.
pub(super) fn fill(
    transaction: &Transaction<'_>,
    rows: u64,
    watch: Watch<'_>,
) -> Result<(), FillError> {
    transaction.execute_batch(
        "CREATE TABLE before (a); INSERT INTO before VALUES (1);
         CREATE TABLE mixed (id INTEGER PRIMARY KEY, number, price REAL, note TEXT, body BLOB)",
    )?;
    let mut random = Random::new(SEED);
    let rowids = rowids(rows, &mut random);
    let mut insert = transaction.prepare("INSERT INTO mixed VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (done, &rowid) in (0u64..).zip(&rowids) {
        if done.is_multiple_of(ROWS_A_LOOK) && !watch(Progress { done, total: rows }) {
            return Err(FillError::Stopped);
        }
        let (note, body) = contents(&mut random);
        insert.execute(params![
            rowid,
            number(&mut random),
            price(&mut random),
            note,
            body
        ])?;
    }
    let mut delete = transaction.prepare("DELETE FROM mixed WHERE id = ?1")?;
    let mut left = 0;
    for &rowid in &rowids {
        if left == 0 && random.below(50) == 0 {
            left = 1 + random.below(9);
        }
        if left > 0 {
            left -= 1;
            delete.execute([rowid])?;
        }
    }
    watch(Progress {
        done: rows,
        total: rows,
    });
    Ok(())
}

/// `rows` distinct rowids, in order: the extremes, then clusters on both sides of zero.
fn rowids(rows: u64, random: &mut Random) -> Vec<i64> {
    let mut rowids = vec![i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX];
    let mut next = -(rows as i64) * 20;
    while (rowids.len() as u64) < rows {
        rowids.push(next);
        next += if random.below(16) == 0 {
            random.between(2, 600)
        } else {
            1
        };
    }
    rowids.truncate(rows as usize);
    rowids.sort_unstable();
    rowids
}

/// A value of any kind and width.
fn number(random: &mut Random) -> Value {
    match random.below(6) {
        0 => Value::Null,
        1 => Value::Real(random.next_u64() as f64 / 1e6),
        2 => Value::Integer(random.between(0, 1)),
        _ => Value::Integer((random.next_u64() >> random.below(64)) as i64),
    }
}

/// Whole as often as not: SQLite stores a whole REAL as an integer.
fn price(random: &mut Random) -> f64 {
    random.between(-100_000, 100_000) as f64 / if random.below(2) == 0 { 1.0 } else { 100.0 }
}

/// A text and some bytes: mostly short, one in eight up to the longest.
fn contents(random: &mut Random) -> (String, Vec<u8>) {
    let longest = if random.below(8) == 0 {
        LONGEST_BYTES
    } else {
        300
    };
    let bytes = random.below(longest) as usize;
    let split = random.below(bytes as u64 + 1) as usize;
    let note = (0..split)
        .map(|_| char::from(b' ' + random.below(95) as u8))
        .collect();
    let body = (split..bytes).map(|_| random.next_u64() as u8).collect();
    (note, body)
}
