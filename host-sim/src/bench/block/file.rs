//! The file that is read: random bytes, made once and kept.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::bench::BenchError;
use crate::dataset::cache_folder;
use crate::interrupt::Interrupt;
use crate::progress::Progress;
use crate::random::Random;

const MIB: usize = 1 << 20;

/// A file of so many MiB in the cache folder, made unless it is there; none where that was
/// interrupted.
pub(super) fn made(
    size_mib: u32,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> Result<Option<PathBuf>, BenchError> {
    let folder = cache_folder();
    let path = folder.join(format!("block-{size_mib}m.img"));
    let bytes = u64::from(size_mib) * MIB as u64;
    if fs::metadata(&path).is_ok_and(|there| there.len() == bytes) {
        return Ok(Some(path));
    }
    match make(&folder, &path, size_mib, progress, interrupt) {
        Ok(true) => Ok(Some(path)),
        Ok(false) => Ok(None),
        Err(error) => Err(BenchError::World(format!(
            "cannot make {} of {size_mib} MiB: {error}; name a file of yours with --file",
            path.display()
        ))),
    }
}

/// Writes it under another name first, so that it is there whole or not at all.
fn make(
    folder: &Path,
    path: &Path,
    size_mib: u32,
    progress: &mut Progress,
    interrupt: &Interrupt,
) -> io::Result<bool> {
    fs::create_dir_all(folder)?;
    let temporary = NamedTempFile::new_in(folder)?;
    let mut writer = BufWriter::with_capacity(MIB, temporary.as_file());
    let mut random = Random::new(11);
    progress.start("writing the file", u64::from(size_mib));
    for done in 0..size_mib {
        if interrupt.requested() {
            return Ok(false);
        }
        for _ in 0..MIB / 8 {
            writer.write_all(&random.next_u64().to_le_bytes())?;
        }
        progress.at(u64::from(done) + 1);
    }
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(true)
}

/// Reads all of it, so that the page cache has it.
pub(super) fn warm(path: &Path, progress: &mut Progress) -> Result<(), BenchError> {
    let told =
        |error: io::Error| BenchError::World(format!("cannot read {}: {error}", path.display()));
    let mut file = File::open(path).map_err(told)?;
    let total = file.metadata().map_err(told)?.len();
    let mut buffer = vec![0; MIB];
    let mut done = 0;
    progress.start("reading the file", total >> 20);
    loop {
        match file.read(&mut buffer).map_err(told)? {
            0 => return Ok(()),
            read => done += read as u64,
        }
        progress.at(done >> 20);
    }
}
