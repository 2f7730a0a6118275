//! A board without what it needs, QEMU, firmware, disk or port: what is said then.

use std::env;
use std::net::{Ipv4Addr, TcpListener};

use host_sim::bare_metal::{BoardMachine, MachineConfig};

use crate::suite::files::zeroes;

#[test]
fn what_is_missing_is_said_in_a_sentence() {
    let disk = zeroes(1 << 20);
    let base = MachineConfig {
        qemu: Some("/nowhere/qemu".into()),
        ..MachineConfig::new(env::current_exe().unwrap(), disk.path())
    };
    let refusal = |config: &MachineConfig| BoardMachine::start(config).unwrap_err().to_string();
    let said = refusal(&base);
    assert!(said.contains("apt-get install qemu-system-arm"), "{said}");
    let said = refusal(&MachineConfig {
        firmware: disk.path().to_owned(),
        ..base.clone()
    });
    assert!(said.contains("is no firmware"), "{said}");
    let said = refusal(&MachineConfig {
        disk: "/nowhere/disk.img".into(),
        ..base.clone()
    });
    assert!(said.contains("cannot use the disk image"), "{said}");
    let said = refusal(&MachineConfig {
        further: vec![("/nowhere/further.img".into(), 512)],
        ..base.clone()
    });
    assert!(said.contains("disk image /nowhere/further.img"), "{said}");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let said = refusal(&MachineConfig {
        listen: taken.local_addr().unwrap(),
        ..base
    });
    assert!(said.contains("choose another with --listen"), "{said}");
}
