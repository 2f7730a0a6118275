//! TPC-H `orders` as a SQLite table.

use rusqlite::{Transaction, params};
use tpchgen::generators::OrderGenerator;

use super::{FillError, Progress, Watch};

pub(super) const TABLE: &str = "orders";

/// Rows between two looks at the watch.
const ROWS_A_LOOK: u64 = 4096;

/// Rows at `scale`, as the generator counts them.
pub(super) fn rows(scale: f64) -> u64 {
    OrderGenerator::calculate_row_count(scale, 1, 1).max(0) as u64
}

/// Creates the table and fills it.
///
/// The price stays what TPC-H says it is, a decimal of two places, as REAL: SQLite has no decimal
/// type, and 0.01 below 2⁴⁰ is exact enough to print back.
pub(super) fn fill(
    transaction: &Transaction<'_>,
    scale: f64,
    watch: Watch<'_>,
) -> Result<(), FillError> {
    transaction.execute_batch(
        "CREATE TABLE orders (
            o_orderkey      INTEGER PRIMARY KEY,
            o_custkey       INTEGER NOT NULL,
            o_orderstatus   TEXT NOT NULL,
            o_totalprice    REAL NOT NULL,
            o_orderdate     TEXT NOT NULL,
            o_orderpriority TEXT NOT NULL,
            o_clerk         TEXT NOT NULL,
            o_shippriority  INTEGER NOT NULL,
            o_comment       TEXT NOT NULL
        )",
    )?;
    let mut insert =
        transaction.prepare("INSERT INTO orders VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?;
    let total = rows(scale);
    for (done, order) in (0u64..).zip(OrderGenerator::new(scale, 1, 1).iter()) {
        if done.is_multiple_of(ROWS_A_LOOK) && !watch(Progress { done, total }) {
            return Err(FillError::Stopped);
        }
        insert.execute(params![
            order.o_orderkey,
            order.o_custkey,
            order.o_orderstatus.as_str(),
            order.o_totalprice.as_f64(),
            order.o_orderdate.to_string(),
            order.o_orderpriority,
            order.o_clerk.to_string(),
            order.o_shippriority,
            order.o_comment,
        ])?;
    }
    watch(Progress { done: total, total });
    Ok(())
}
