//! Databases to look things up in: made here, or a user's own.
//!
//! | dataset | rows |
//! |---|---|
//! | [`Content::Orders`] | TPC-H `orders` by `tpchgen`; 1 500 000 rows at scale 1 |
//! | [`Content::Mixed`] | made to be awkward: overflow chains, deleted rows, negative rowids |
//! | [`snapshot`] | a copy of a user's file, taken through SQLite's backup interface |
//!
//! Made files are kept in a cache folder ([`cache_folder`]) under a name that holds everything
//! they depend on. They are written under a temporary name and renamed, so that a file of the
//! right name is complete; one that is damaged all the same is made again.
//!
//! # On the drive
//!
//! The drive's namespace is the database file itself, and remote reads are whole pages, so the
//! namespace's blocks must not be longer than a page: [`Placement`] takes blocks of 4096 bytes for
//! pages of at least that, and of 512 bytes for smaller ones. A SQLite file is a multiple of its
//! page size, so neither needs padding. A file that has something else after its last page is
//! never put on the drive: a snapshot ends with the last page.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use tempfile::NamedTempFile;

use crate::sqlite::catalog::{CatalogError, read_header};
use crate::sqlite::{Database, Header};

mod mixed;
mod orders;

/// Stands in the files' names: raise it when what is written changes.
const FORMAT: u32 = 1;

/// Largest `orders` that is made: 30 000 000 rows, some 4 GiB.
pub const SCALE_MAX: f64 = 20.0;

/// What a made database holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Content {
    /// TPC-H `orders`: about 110 bytes a record, rowids with gaps, no overflow.
    Orders {
        /// TPC-H scale factor, above 0 and at most [`SCALE_MAX`].
        scale: f64,
    },
    /// A table `mixed` of records from nothing to 12 000 bytes, a tenth of them deleted again,
    /// with rowids from the least `i64` to the greatest.
    Mixed {
        /// Rows before some are deleted.
        rows: u64,
    },
}

/// A database to make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dataset {
    /// What it holds.
    pub content: Content,
    /// Bytes of a page: a power of two from 512 to 65 536.
    pub page_bytes: u32,
}

/// How far a file has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Rows or pages done.
    pub done: u64,
    /// Of how many.
    pub total: u64,
}

/// Told now and then how far it has got; `false` stops the work.
pub type Watch<'w> = &'w mut dyn FnMut(Progress) -> bool;

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// SQLite has no such page size.
    #[error("{0} is not a page size: SQLite has the powers of two from 512 to 65536")]
    PageBytes(u32),
    /// No such scale.
    #[error("{0} is not a usable scale: give a number above 0 and at most {SCALE_MAX}")]
    Scale(f64),
    /// A file or folder cannot be used.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("{}: SQLite says: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Its words.
        source: rusqlite::Error,
    },
    /// The source of a snapshot, or what was made, cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Somebody else keeps the source of a snapshot locked.
    #[error("{} is locked by another program", .0.display())]
    Locked(PathBuf),
    /// The watch said stop.
    #[error("stopped")]
    Stopped,
}

impl Dataset {
    /// The name of its table.
    pub fn table_name(&self) -> &'static str {
        match self.content {
            Content::Orders { .. } => orders::TABLE,
            Content::Mixed { .. } => mixed::TABLE,
        }
    }

    /// The name of its file in the cache folder.
    pub fn file_name(&self) -> String {
        let page_bytes = self.page_bytes;
        match self.content {
            Content::Orders { scale } => {
                format!("orders-sf{scale}-page{page_bytes}-tpchgen4-v{FORMAT}.sqlite")
            }
            Content::Mixed { rows } => format!("mixed-{rows}-page{page_bytes}-v{FORMAT}.sqlite"),
        }
    }

    /// The file, from `cache` if it is there and sound, else made there.
    pub fn file(&self, cache: &Path, watch: Watch<'_>) -> Result<PathBuf, DatasetError> {
        let path = cache.join(self.file_name());
        if path.exists() && self.is_sound(&path) {
            return Ok(path);
        }
        fs::create_dir_all(cache).map_err(|source| DatasetError::Write {
            path: cache.to_path_buf(),
            source,
        })?;
        self.make(&path, watch)?;
        Ok(path)
    }

    /// Makes the file at `path`, whatever is there.
    pub fn make(&self, path: &Path, watch: Watch<'_>) -> Result<(), DatasetError> {
        self.check()?;
        let draft = draft_beside(path)?;
        self.fill(draft.path(), watch)
            .map_err(|error| match error {
                FillError::Stopped => DatasetError::Stopped,
                FillError::Sqlite(source) => DatasetError::Sqlite {
                    path: path.to_path_buf(),
                    source,
                },
            })?;
        keep(draft, path)
    }

    fn check(&self) -> Result<(), DatasetError> {
        if !self.page_bytes.is_power_of_two() || !(512..=65_536).contains(&self.page_bytes) {
            return Err(DatasetError::PageBytes(self.page_bytes));
        }
        match self.content {
            Content::Orders { scale } if !(scale > 0.0 && scale <= SCALE_MAX) => {
                Err(DatasetError::Scale(scale))
            }
            _ => Ok(()),
        }
    }

    fn fill(&self, path: &Path, watch: Watch<'_>) -> Result<(), FillError> {
        let mut connection = Connection::open(path)?;
        connection.pragma_update(None, "page_size", self.page_bytes)?;
        // Nothing is lost with a draft: no journal, no waiting for the disk.
        connection.pragma_update(None, "journal_mode", "OFF")?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "cache_size", -65_536)?;
        let transaction = connection.transaction()?;
        match self.content {
            Content::Orders { scale } => orders::fill(&transaction, scale, watch)?,
            Content::Mixed { rows } => mixed::fill(&transaction, rows, watch)?,
        }
        transaction.commit()?;
        Ok(())
    }

    /// Whether a cached file is whole: SQLite's quick check, the page size, the number of rows.
    fn is_sound(&self, path: &Path) -> bool {
        let rows = match self.content {
            Content::Orders { scale } => Some(orders::rows(scale)),
            Content::Mixed { .. } => None,
        };
        let Ok(database) = Database::open(path) else {
            return false;
        };
        let check = |sql: &str| database.connection().query_row(sql, [], |row| row.get(0));
        let count = format!("SELECT count(*) FROM {}", self.table_name());
        let counted = database
            .connection()
            .query_row(&count, [], |row| row.get::<_, i64>(0));
        database.header().page_bytes == self.page_bytes
            && counted.is_ok_and(|counted| rows.is_none_or(|rows| counted as u64 == rows))
            && check("PRAGMA quick_check(1)").is_ok_and(|verdict: String| verdict == "ok")
    }
}

/// Why a draft was not filled.
enum FillError {
    Stopped,
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for FillError {
    fn from(error: rusqlite::Error) -> FillError {
        FillError::Sqlite(error)
    }
}

/// Copies the user's database `source` to `target`, page by page.
///
/// SQLite's backup interface gives one consistent state even while others write, with what stands
/// in a write-ahead log, and keeps pages as they are. `source` is opened for reading only.
pub fn snapshot(source: &Path, target: &Path, watch: Watch<'_>) -> Result<(), DatasetError> {
    const PAGES_A_STEP: i32 = 4096;
    const LOCKED_TRIES_MAX: u32 = 50;
    const LOCKED_PAUSE: Duration = Duration::from_millis(100);

    let database = Database::open(source)?;
    let draft = draft_beside(target)?;
    let refused = |error| DatasetError::Sqlite {
        path: source.to_path_buf(),
        source: error,
    };
    let mut copy = Connection::open(draft.path()).map_err(refused)?;
    let backup = Backup::new(database.connection(), &mut copy).map_err(refused)?;
    let mut locked = 0;
    loop {
        let step = backup.step(PAGES_A_STEP).map_err(refused)?;
        let (total, left) = (backup.progress().pagecount, backup.progress().remaining);
        let progress = Progress {
            done: (total - left).max(0) as u64,
            total: total.max(0) as u64,
        };
        if !watch(progress) {
            return Err(DatasetError::Stopped);
        }
        match step {
            StepResult::Done => break,
            StepResult::More => locked = 0,
            _ if locked == LOCKED_TRIES_MAX => {
                return Err(DatasetError::Locked(source.to_path_buf()));
            }
            _ => {
                locked += 1;
                std::thread::sleep(LOCKED_PAUSE);
            }
        }
    }
    drop(backup);
    // The copy has no log beside it; say so in its header.
    copy.pragma_update(None, "journal_mode", "DELETE")
        .map_err(refused)?;
    drop(copy);
    keep(draft, target)
}

/// A new file beside `path`, removed again unless it is kept.
fn draft_beside(path: &Path) -> Result<NamedTempFile, DatasetError> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    tempfile::Builder::new()
        .prefix(".draft-")
        .suffix(".sqlite")
        .tempfile_in(folder.unwrap_or(Path::new(".")))
        .map_err(|source| DatasetError::Write {
            path: path.to_path_buf(),
            source,
        })
}

/// Gives the finished draft its name.
fn keep(draft: NamedTempFile, path: &Path) -> Result<(), DatasetError> {
    match draft.persist(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(DatasetError::Write {
            path: path.to_path_buf(),
            source: error.error,
        }),
    }
}

/// Where made databases are kept: `$XDG_CACHE_HOME/outboard`, else `~/.cache/outboard`, else a
/// folder `outboard-cache` among the temporary files.
pub fn cache_folder() -> PathBuf {
    let named = |name| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let absolute = |path: &PathBuf| path.is_absolute();
    match named("XDG_CACHE_HOME").filter(absolute) {
        Some(cache) => cache.join("outboard"),
        None => match named("HOME").filter(absolute) {
            Some(home) => home.join(".cache").join("outboard"),
            None => std::env::temp_dir().join("outboard-cache"),
        },
    }
}

/// How a database file lies on a drive: as a namespace of its own, from block 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Bytes of a block of the namespace: 4096, or 512 where pages are smaller than that.
    pub block_bytes: u32,
    /// Blocks of the namespace: exactly the database.
    pub blocks: u64,
    /// The database's header.
    pub header: Header,
}

impl Placement {
    /// How the database at `path` lies on a drive. Whole pages only: see the module.
    pub fn of(path: &Path) -> Result<Placement, CatalogError> {
        let header = read_header(path)?;
        let block_bytes = if header.page_bytes >= 4096 { 4096 } else { 512 };
        let bytes = u64::from(header.pages) * u64::from(header.page_bytes);
        Ok(Placement {
            block_bytes,
            blocks: bytes / u64::from(block_bytes),
            header,
        })
    }

    /// Bytes of the namespace.
    pub fn bytes(&self) -> u64 {
        self.blocks * u64::from(self.block_bytes)
    }
}

#[cfg(test)]
#[path = "dataset/tests.rs"]
mod tests;
