//! QEMU that is missing, old, another program, or dies: what `host-sim serve` says then.

use std::path::{Path, PathBuf};

use crate::suite::files::zeroes;
use crate::support::serve_command;

fn fake(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/drives/fakes")
        .join(name)
}

/// Runs `serve --nvme qemu` with this program; what it says on its way out.
fn refused(program: &Path) -> String {
    let disk = zeroes(1 << 20);
    let output = serve_command(disk.path(), &["--nvme", "qemu"])
        .env("OUTBOARD_QEMU", program)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(output.stdout.is_empty());
    said
}

#[test]
fn the_sentence_names_the_remedy() {
    let install = "apt-get install qemu-system-arm";
    for (program, parts) in [
        (
            PathBuf::from("/no/such/qemu"),
            ["there is no /no/such/qemu", install],
        ),
        (fake("main.rs"), ["there is no", install]),
        (
            Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"),
            ["cannot run", install],
        ),
        (
            fake("old.sh"),
            ["is QEMU 5.2, which is too old: 7.2 or later", install],
        ),
        (
            fake("other.sh"),
            [
                "is no QEMU: asked for its version it says \"GNU bash",
                install,
            ],
        ),
        (
            fake("dies.sh"),
            [
                "QEMU is gone: ",
                "(exit status: 3); it says: qemu-system-aarch64: no room",
            ],
        ),
        (
            fake("babbles.sh"),
            ["QEMU is gone: it answered \"HELO", "still running"],
        ),
        (
            fake("empty.sh"),
            ["QEMU's machine", "no NVMe controller on PCI bus 0"],
        ),
    ] {
        let said = refused(&program);
        for part in parts {
            assert!(said.contains(part), "{part:?} is not in: {said}");
        }
    }
}

#[test]
fn a_file_is_refused_as_for_the_model() {
    let odd = zeroes(4096 + 512);
    for nvme in ["model", "qemu"] {
        let refused = |path: &Path, part: &str| {
            let output = serve_command(path, &["--nvme", nvme]).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(part), "{nvme}: {said}");
        };
        refused(Path::new("/no/such/file"), "truncate -s 1G FILE");
        refused(odd.path(), "truncate -s 8192 FILE");
    }
}

#[test]
fn only_the_model_can_be_made_slower() {
    let disk = zeroes(4096);
    let arguments = ["--nvme", "qemu", "--drive-latency", "80us"];
    let output = serve_command(disk.path(), &arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--nvme model"));
}
