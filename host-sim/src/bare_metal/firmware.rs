//! The firmware's ELF: the one that is named, or one built by `cargo xtask firmware`.

use std::env;
use std::io::{self, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

/// Where the task leaves it, in the folder of what is built.
const BUILT: &str = "firmware/outboard-qemu-virt";

/// Why there is no firmware.
#[derive(Debug, thiserror::Error)]
pub enum FirmwareError {
    /// The file that was named is not there.
    #[error("there is no firmware at {}", .0.display())]
    Absent(PathBuf),
    /// There is nothing to build it from.
    #[error("there are no sources at {} to build the firmware from; name an ELF by --firmware", .0.display())]
    NoSources(PathBuf),
    /// Cargo cannot be run.
    #[error("cannot run cargo to build the firmware: {0}; name an ELF by --firmware")]
    Cargo(io::Error),
    /// It was not built.
    #[error("the firmware was not built ({0}): see above, or name an ELF by --firmware")]
    NotBuilt(ExitStatus),
}

/// The ELF. What building it says goes to standard error.
///
/// # Errors
///
/// [`FirmwareError`], a sentence with the remedy.
pub fn firmware(named: Option<&Path>) -> Result<PathBuf, FirmwareError> {
    if let Some(named) = named {
        return match named.is_file() {
            true => Ok(named.to_owned()),
            false => Err(FirmwareError::Absent(named.to_owned())),
        };
    }
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    if !sources.join("xtask").is_dir() {
        return Err(FirmwareError::NoSources(sources));
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["xtask", "firmware"])
        .current_dir(&sources)
        .stdout(stderr())
        .status()
        .map_err(FirmwareError::Cargo)?;
    if !status.success() {
        return Err(FirmwareError::NotBuilt(status));
    }
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    Ok(sources.join(target).join(BUILT))
}
