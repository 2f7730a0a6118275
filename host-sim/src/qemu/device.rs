//! QEMU's NVMe device as a drive: process, socket and memory together.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use nvme_model::model::{FileStore, NamespaceConfig, Sideband, Step};
use nvme_model::pci::{self, Window};
use nvme_model::seam::Device;

use super::memory::{QemuDma, new_ram, ram_bytes};
use super::process::{Process, QemuError};
use super::qtest::QemuRegisters;
use crate::drive::{Drive, DriveConfig};
use crate::simulator::SimulatorError;

/// Bus addresses that `virt` leaves to the memory of PCI devices.
const PCI_MEMORY: Window = Window {
    base: 0x1000_0000,
    bytes: 0x2eff_0000,
};

/// A namespace, over a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QemuNamespace {
    /// The file.
    pub path: PathBuf,
    /// Bytes of a block.
    pub block_bytes: u32,
    /// How QEMU uses the file.
    pub access: FileAccess,
}

/// How QEMU uses a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileAccess {
    /// Reads alone. Several may.
    pub read_only: bool,
    /// By `O_DIRECT`, past the page cache.
    pub direct: bool,
}

/// What a drive of QEMU's is made of.
#[derive(Clone, Debug)]
pub struct QemuConfig {
    /// The program; see [`find`](super::find).
    pub program: PathBuf,
    /// The namespaces, from 1.
    pub namespaces: Vec<QemuNamespace>,
}

/// QEMU's NVMe device. It is to be used on the thread that made it: QEMU ends with that thread.
#[derive(Debug)]
pub struct QemuDevice {
    registers: QemuRegisters,
    dma: QemuDma,
    process: Process,
    /// The files, locked against others who would serve them.
    _locks: Vec<File>,
}

impl QemuDevice {
    /// Starts QEMU with an arena of so many pages, and switches its drive on.
    ///
    /// # Errors
    ///
    /// [`QemuError`], a sentence with the remedy.
    pub fn start(config: &QemuConfig, arena_pages: u32) -> Result<QemuDevice, QemuError> {
        let locks = lock_all(&config.namespaces)?;
        let bytes = ram_bytes(arena_pages).ok_or(QemuError::TooMuchMemory(arena_pages))?;
        let ram = new_ram(bytes)?;
        let dma = QemuDma::map(&ram, arena_pages)?;
        let (ours, theirs) = UnixStream::pair()?;
        let process = Process::start(&config.program, &ram, bytes, theirs, &config.namespaces)?;
        let mut device = QemuDevice {
            registers: QemuRegisters::new(ours)?,
            dma,
            process,
            _locks: locks,
        };
        let placed = pci::switch_on(&mut device.registers, PCI_MEMORY);
        // What is found at a device that is lost means nothing.
        if let Some(error) = device.error() {
            return Err(error);
        }
        device.registers.set_base(placed?.registers);
        Ok(device)
    }

    /// Why QEMU is gone, if it is.
    pub fn error(&mut self) -> Option<QemuError> {
        let why = self.registers.lost()?;
        Some(self.process.gone(why))
    }

    /// The id of QEMU's process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }
}

/// Checks and locks the files as the model does.
fn lock_all(namespaces: &[QemuNamespace]) -> Result<Vec<File>, QemuError> {
    let numbered = namespaces.iter().zip(1..);
    numbered.map(|(it, id)| lock(it, id)).collect()
}

/// Checks and locks the file of a namespace as the model does, for as long as it is open. QEMU's own locks are
/// of another kind (fcntl's), and these do not get in their way.
pub(crate) fn lock(namespace: &QemuNamespace, id: usize) -> Result<File, QemuError> {
    let (file, bytes) = FileStore::lock(&namespace.path, namespace.access.read_only)?;
    let path = namespace.path.display();
    NamespaceConfig::check_capacity(id, &path, bytes, namespace.block_bytes)?;
    Ok(file)
}

impl Device for QemuDevice {
    type Registers = QemuRegisters;
    type Dma = QemuDma;

    fn registers(&self) -> &QemuRegisters {
        &self.registers
    }

    fn dma(&self) -> &QemuDma {
        &self.dma
    }

    fn dma_mut(&mut self) -> &mut QemuDma {
        &mut self.dma
    }
}

impl Drive for QemuDevice {
    const POLLED: bool = true;

    fn step(&mut self, _now_us: u64) -> Step {
        self.registers.send();
        Step::default()
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        self.registers.wait_fd()
    }

    fn arm_wait(&mut self) {
        self.registers.look();
    }

    fn has_completed(&self, _in_flight: usize) -> bool {
        false
    }

    fn lost(&mut self) -> Option<String> {
        let error = self.error()?;
        Some(format!(
            "{error}. What was acknowledged is in the files; start host-sim again to go on"
        ))
    }

    fn sideband(&self) -> Option<Sideband> {
        None
    }
}

impl DriveConfig for QemuConfig {
    type Drive = QemuDevice;

    fn make(self, arena_pages: u32) -> Result<QemuDevice, SimulatorError> {
        Ok(QemuDevice::start(&self, arena_pages)?)
    }
}
