//! Which keys are looked up: a seeded random choice.
//!
//! Existing rowids are drawn without repetition, each as likely as any other, from tables of up to
//! [`ROWIDS_READ_MAX`] rows. From larger ones a random point between the least and the greatest
//! rowid stands for the next row behind it, which favours rows behind gaps but needs no pass over
//! the table. Missing ones are gaps next to existing rowids, where a wrong compare would show.

use rusqlite::{Connection, OptionalExtension, Statement};

use crate::random::Random;
use crate::sqlite::catalog::quoted;
use crate::sqlite::{Database, TableInfo};

/// Most rowids read to choose from.
pub const ROWIDS_READ_MAX: u64 = 4_000_000;

/// Gaps are looked for this far behind an existing rowid.
const GAP_DISTANCE_MAX: i64 = 64;

/// Most draws for each key wanted, for tables where few are to be had.
const DRAWS_PER_KEY_MAX: u64 = 16;

/// The keys to look up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which they are looked up.
    pub keys: Vec<i64>,
    /// How many of them are rows.
    pub existing: usize,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to look up.
    #[error("the table has no rows")]
    NoRows,
    /// SQLite refused.
    #[error("SQLite says: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Chooses `count` keys, `missing_percent` of them (0–100) not in the table.
///
/// Rows are repeated when the table has fewer than are wanted. A table without gaps gets missing
/// keys behind its last row and before its first.
pub fn plan(
    database: &Database,
    table: &TableInfo,
    count: usize,
    missing_percent: u32,
    seed: u64,
) -> Result<Plan, PlanError> {
    let missing = (count as u64 * u64::from(missing_percent.min(100)) / 100) as usize;
    let mut random = Random::new(seed);
    let mut source = Source::new(database.connection(), table)?;
    let mut keys = source.existing(count - missing, &mut random)?;
    let existing = keys.len();
    let gaps = source.missing(missing, &mut random)?;
    keys.extend(gaps);
    random.shuffle(&mut keys);
    Ok(Plan { keys, existing })
}

/// The rowids of a table.
struct Source<'d> {
    /// All of them, in order, or none if they are too many.
    rowids: Vec<i64>,
    least: i64,
    greatest: i64,
    next: Statement<'d>,
}

impl<'d> Source<'d> {
    fn new(connection: &'d Connection, table: &TableInfo) -> Result<Source<'d>, PlanError> {
        let (name, rowid) = (quoted(&table.name), table.rowid_name);
        let bound = |function: &str| {
            let sql = format!("SELECT {function}({rowid}) FROM {name}");
            connection.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0))
        };
        let (least, greatest) = (bound("min")?, bound("max")?);
        let (Some(least), Some(greatest)) = (least, greatest) else {
            return Err(PlanError::NoRows);
        };
        let read_max = ROWIDS_READ_MAX as i64 + 1;
        let sql = format!("SELECT {rowid} FROM {name} ORDER BY {rowid} LIMIT {read_max}");
        let mut statement = connection.prepare(&sql)?;
        let mut rowids = statement
            .query_map([], |row| row.get(0))?
            .collect::<Result<Vec<i64>, rusqlite::Error>>()?;
        if rowids.len() as i64 == read_max {
            rowids = Vec::new();
        }
        let next = connection.prepare(&format!(
            "SELECT {rowid} FROM {name} WHERE {rowid} >= ?1 ORDER BY {rowid} LIMIT 1"
        ))?;
        Ok(Source {
            rowids,
            least,
            greatest,
            next,
        })
    }

    /// The first rowid that is not below `from`.
    fn at_or_behind(&mut self, from: i64) -> rusqlite::Result<Option<i64>> {
        if self.rowids.is_empty() {
            return self.next.query_row([from], |row| row.get(0)).optional();
        }
        let index = self.rowids.partition_point(|&rowid| rowid < from);
        Ok(self.rowids.get(index).copied())
    }

    fn one(&mut self, random: &mut Random) -> rusqlite::Result<i64> {
        if !self.rowids.is_empty() {
            return Ok(self.rowids[random.below(self.rowids.len() as u64) as usize]);
        }
        let point = random.between(self.least, self.greatest);
        Ok(self.at_or_behind(point)?.unwrap_or(self.greatest))
    }

    fn existing(&mut self, count: usize, random: &mut Random) -> rusqlite::Result<Vec<i64>> {
        if count > self.rowids.len() {
            return (0..count).map(|_| self.one(random)).collect();
        }
        // The first `count` steps of a shuffle.
        let mut rowids = self.rowids.clone();
        for index in 0..count {
            let left = (rowids.len() - index) as u64;
            rowids.swap(index, index + random.below(left) as usize);
        }
        rowids.truncate(count);
        Ok(rowids)
    }

    /// Up to `count` keys that are no rows; fewer only if the table fills the whole of `i64`.
    fn missing(&mut self, count: usize, random: &mut Random) -> rusqlite::Result<Vec<i64>> {
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count as u64 * DRAWS_PER_KEY_MAX {
            if keys.len() == count {
                return Ok(keys);
            }
            let near = self.one(random)?.saturating_add(1 + random.below(8) as i64);
            for key in near..=near.saturating_add(GAP_DISTANCE_MAX) {
                if self.at_or_behind(key)? != Some(key) {
                    keys.push(key);
                    break;
                }
            }
        }
        for distance in 1..=count as i64 {
            let outside = [
                self.greatest.checked_add(distance),
                self.least.checked_sub(distance),
            ];
            keys.extend(outside.into_iter().flatten().take(count - keys.len()));
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;
    use std::collections::HashSet;

    fn database(sql: &str) -> (tempfile::TempDir, Database) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.db");
        Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        let database = Database::open(&path).unwrap();
        (folder, database)
    }

    const THOUSAND: &str = "CREATE TABLE t (a); WITH RECURSIVE n(i) AS \
        (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000) \
        INSERT INTO t (rowid) SELECT i * 3 FROM n;";

    #[test]
    fn existing_keys_are_rows_and_differ() {
        let (_folder, database) = database(THOUSAND);
        let table = database.table(None).unwrap();
        let chosen = plan(&database, &table, 900, 0, 7).unwrap();
        assert_eq!((chosen.keys.len(), chosen.existing), (900, 900));
        assert!(
            chosen
                .keys
                .iter()
                .all(|key| key % 3 == 0 && (3..=3000).contains(key))
        );
        assert_eq!(chosen.keys.iter().collect::<HashSet<_>>().len(), 900);
        assert_eq!(chosen, plan(&database, &table, 900, 0, 7).unwrap());
        assert_ne!(chosen, plan(&database, &table, 900, 0, 8).unwrap());
        assert_eq!(
            plan(&database, &table, 2500, 0, 7).unwrap().keys.len(),
            2500
        );
    }

    #[test]
    fn missing_keys_are_gaps() {
        let (_folder, database) = database(THOUSAND);
        let table = database.table(None).unwrap();
        let chosen = plan(&database, &table, 1000, 30, 7).unwrap();
        assert_eq!((chosen.keys.len(), chosen.existing), (1000, 700));
        assert_eq!(
            chosen
                .keys
                .iter()
                .filter(|&key| key % 3 != 0 || *key > 3000)
                .count(),
            300
        );
    }

    #[test]
    fn a_table_without_gaps_has_missing_keys_outside() {
        let sql = "CREATE TABLE t (a); WITH RECURSIVE n(i) AS \
            (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
            INSERT INTO t (rowid) SELECT i FROM n;";
        let (_folder, database) = database(sql);
        let table = database.table(None).unwrap();
        let chosen = plan(&database, &table, 100, 100, 7).unwrap();
        assert_eq!((chosen.keys.len(), chosen.existing), (100, 0));
        assert!(chosen.keys.iter().all(|key| !(1..=5000).contains(key)));
    }

    #[test]
    fn the_ends_of_the_number_line_are_keys() {
        let (_folder, database) = database(
            "CREATE TABLE t (a); INSERT INTO t (rowid) VALUES \
             (-9223372036854775808), (9223372036854775807);",
        );
        let table = database.table(None).unwrap();
        let chosen = plan(&database, &table, 50, 50, 7).unwrap();
        assert_eq!((chosen.keys.len(), chosen.existing), (50, 25));
        let ends = [i64::MIN, i64::MAX];
        assert_eq!(
            chosen.keys.iter().filter(|key| ends.contains(key)).count(),
            25
        );
    }

    #[test]
    fn an_empty_table_has_no_plan() {
        let (_folder, database) = database("CREATE TABLE t (a);");
        let table = database.table(None).unwrap();
        assert!(matches!(
            plan(&database, &table, 1, 0, 1),
            Err(PlanError::NoRows)
        ));
    }

    #[test]
    fn large_tables_are_sampled_by_points() {
        let (_folder, database) = database(THOUSAND);
        let table = database.table(None).unwrap();
        let mut source = Source::new(database.connection(), &table).unwrap();
        source.rowids.clear();
        let mut random = Random::new(1);
        let keys = source.existing(200, &mut random).unwrap();
        assert!(keys.len() == 200 && keys.iter().all(|key| key % 3 == 0));
        assert!(keys.iter().collect::<HashSet<_>>().len() > 150);
        let gaps = source.missing(50, &mut random).unwrap();
        assert!(gaps.len() == 50 && gaps.iter().all(|key| key % 3 != 0 || *key > 3000));
    }
}
