//! The software controller over the file, stepped and waited for as `serve` does.

use std::path::Path;

use nvme_model::model::{FileStore, FileStoreOptions, ModelConfig, ModelDevice, NamespaceConfig};
use nvme_model::seam::PAGE_BYTES;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Mode;
use super::reader::{Host, Reader, arena_pages};
use crate::bench::race::Run;
use crate::serve::SPIN_US;

/// Waits no longer than this for the file, nanoseconds.
const WAIT_NS_MAX: i64 = 10_000_000;

/// A turn of reads through the model.
pub(super) fn reader(path: &Path, mode: Mode, depth: usize) -> Result<Run, String> {
    let options = FileStoreOptions {
        read_only: true,
        direct: mode == Mode::Direct,
        ..FileStoreOptions::default()
    };
    let store = FileStore::open(path, options).map_err(|error| error.to_string())?;
    let device = ModelDevice::new(ModelConfig {
        namespaces: vec![NamespaceConfig::new(store, PAGE_BYTES as u32)],
        arena_pages: arena_pages::<ModelDevice>(),
        ..ModelConfig::default()
    });
    let device = device.map_err(|error| error.to_string())?;
    let mut reader = Reader::new(device, Stepped::default(), depth)?;
    Ok(Box::new(move |time| reader.run(time)))
}

/// Steps the model; where nothing comes for a while, sleeps until the file has something.
#[derive(Default)]
struct Stepped {
    busy_us: u64,
}

impl Host<ModelDevice> for Stepped {
    fn step(&mut self, device: &mut ModelDevice, now_us: u64, idle: bool) -> Result<(), String> {
        let step = device.step(now_us);
        if !idle || step.busy {
            self.busy_us = now_us;
        } else if step.waiting && now_us >= self.busy_us + SPIN_US {
            device.arm_wait();
            wait(device)?;
        }
        Ok(())
    }
}

fn wait(device: &ModelDevice) -> Result<(), String> {
    let Some(fd) = device.wait_fd() else {
        return Ok(());
    };
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: WAIT_NS_MAX,
    };
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(format!("cannot wait for the file: {error}")),
    }
}
