//! From end to end over the drives of the laptop: the agent as `host-sim serve` runs it.

use std::time::Duration;

use client::Client;
use dpu_firmware::execution::ExecutionConfig;
use dpu_firmware::limits::LARGE;
use host_sim::bench::served::Served;
use host_sim::drive::DriveConfig;
use host_sim::random::Seeds;
use host_sim::simulator::SimulatorConfig;
use host_sim::wire::WireConfig;
use nvme_model::driver::DriverConfig;
use nvme_model::model::{FileStore, FileStoreOptions, ModelConfig, NamespaceConfig};

use crate::suite::end_to_end;
use crate::suite::files::Files;
use crate::suite::soak::Soak;
use crate::support::qemu_over;

fn serve<C: DriveConfig + Send + 'static>(drive: C) -> Served {
    let config = SimulatorConfig {
        drive,
        wire: WireConfig::with_round_trip(Duration::ZERO, 1024),
        limits: LARGE,
        driver: DriverConfig::default(),
        execution: ExecutionConfig::default(),
        seeds: Seeds::fixed(1),
        far_connections: 64,
    };
    Served::start(config).unwrap()
}

/// The body, and what it leaves in the file.
fn over<C: DriveConfig + Send + 'static>(drive: C, files: &Files) {
    let served = serve(drive);
    let open = || served.connect().unwrap();
    end_to_end::body(&|config| Client::new(open(), config).unwrap(), files);
    let soak = Soak {
        open: &open,
        files,
        lasts: Duration::from_secs(2),
        seed: 1,
    };
    let written = soak.run();
    drop(served);
    assert!(
        files.scratch() == written,
        "what was flushed is in the file"
    );
}

#[test]
fn a_client_of_the_model() {
    let files = Files::make();
    let namespaces = files.namespaces().map(|(path, block_bytes)| {
        let store = FileStore::open(path, FileStoreOptions::default()).unwrap();
        NamespaceConfig::new(store, block_bytes)
    });
    let drive = ModelConfig {
        namespaces: namespaces.into(),
        ..ModelConfig::default()
    };
    over(drive, &files);
}

#[test]
fn a_client_of_qemus_drive() {
    let files = Files::make();
    over(qemu_over(&files.namespaces()), &files);
}
