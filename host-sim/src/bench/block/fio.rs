//! The rival: fio, told to read the same file in the same way.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::Mode;

/// How fio reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// `pread`, one after the other.
    Psync,
    /// io_uring, as many in flight as the case says.
    Uring,
}

impl Engine {
    pub(super) const ALL: [Engine; 2] = [Engine::Psync, Engine::Uring];

    const fn name(self) -> &'static str {
        match self {
            Engine::Psync => "psync",
            Engine::Uring => "io_uring",
        }
    }

    pub(super) const fn who(self) -> &'static str {
        match self {
            Engine::Psync => "fio-psync",
            Engine::Uring => "fio-io_uring",
        }
    }
}

/// A way to run fio.
pub(super) struct Fio {
    path: PathBuf,
    engine: Engine,
    mode: Mode,
    depth: usize,
}

impl Fio {
    /// fio over that file, or why there is none.
    pub(super) fn new(
        path: &Path,
        engine: Engine,
        mode: Mode,
        depth: usize,
    ) -> Result<Fio, String> {
        let version = Command::new("fio").arg("--version").output();
        if !version.is_ok_and(|output| output.status.success()) {
            return Err("fio is not installed (`apt-get install fio`)".to_string());
        }
        Ok(Fio {
            path: path.to_path_buf(),
            engine,
            mode,
            depth,
        })
    }

    /// Reads a second over `time`, after a tenth of it to warm up.
    pub(super) fn run(&mut self, time: Duration) -> Result<f64, String> {
        let output = self
            .command(time)
            .output()
            .map_err(|error: io::Error| format!("cannot start fio: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("fio failed ({}): {}", output.status, said.trim()));
        }
        rate(&output.stdout).ok_or_else(|| "fio printed no figure".to_string())
    }

    fn command(&self, time: Duration) -> Command {
        let mut fio = Command::new("fio");
        fio.args(["--name=outboard", "--rw=randread", "--bs=4k", "--readonly"])
            .args(["--output-format=json", "--time_based", "--randrepeat=0"])
            // Otherwise it drops the file from the page cache, and keeps a map of what it has read.
            .args(["--invalidate=0", "--norandommap"])
            .arg(format!("--ioengine={}", self.engine.name()))
            .arg(format!("--iodepth={}", self.depth))
            .arg(format!("--direct={}", u8::from(self.mode == Mode::Direct)))
            .arg(format!("--ramp_time={}ms", time.as_millis() / 10))
            .arg(format!("--runtime={}ms", time.as_millis()))
            .arg("--filename")
            .arg(&self.path);
        fio
    }
}

/// The reads a second that it printed.
fn rate(printed: &[u8]) -> Option<f64> {
    // Notes of fio's may stand before the object.
    let start = printed.iter().position(|&byte| byte == b'{')?;
    let value: Value = serde_json::from_slice(&printed[start..]).ok()?;
    value["jobs"][0]["read"]["iops"].as_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_found_behind_notes() {
        let printed = b"note: both iodepth >= 1\n{\"jobs\":[{\"read\":{\"iops\":12.5}}]}";
        assert_eq!(rate(printed), Some(12.5));
        assert_eq!(rate(b"{\"jobs\":[]}"), None);
        assert_eq!(rate(b"no object"), None);
    }
}
