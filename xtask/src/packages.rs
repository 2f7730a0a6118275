//! The programs of the system that a task needs, and how to get them.

use std::process::Command;

use crate::Outcome;
use crate::shell::{self, command};

/// A program, and the Debian package that has it.
pub(crate) struct Tool {
    /// What is run.
    pub(crate) program: &'static str,
    /// What to install.
    pub(crate) package: &'static str,
}

/// Compiles what is C in our dependencies, and links.
pub(crate) const CC: Tool = Tool {
    program: "cc",
    package: "gcc",
};
/// Compiles libFuzzer.
pub(crate) const CXX: Tool = Tool {
    program: "c++",
    package: "g++",
};
/// Compiles the programs that run beside the drive.
pub(crate) const CLANG: Tool = Tool {
    program: "clang",
    package: "clang",
};

/// Runs programs for Linux on aarch64.
pub(crate) const QEMU_AARCH64: Tool = Tool {
    program: "qemu-aarch64-static",
    package: "qemu-user-static",
};

/// Emulates a machine on aarch64, whose NVMe drive is driven.
pub(crate) const QEMU_SYSTEM_AARCH64: Tool = Tool {
    program: "qemu-system-aarch64",
    package: "qemu-system-arm",
};

/// How long apt-get waits for a server that does not answer, in seconds, and for another one that
/// is installing something.
const APT_OPTIONS: &[&str] = &[
    "-q",
    "-o",
    "Acquire::http::Timeout=30",
    "-o",
    "Acquire::https::Timeout=30",
    "-o",
    "DPkg::Lock::Timeout=120",
];

/// Sees to it that the tools are there: installs them where that is possible without asking
/// anybody (root, with apt-get), else names them all in one sentence.
pub(crate) fn ensure(tools: &[Tool]) -> Outcome {
    let missing = missing(tools);
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    let is_root = shell::output(command("id").arg("-u")).is_ok_and(|id| id == "0");
    if !is_root || !shell::has("apt-get") {
        return Err(format!(
            "please install: {list} (on Debian: sudo apt-get install {list})"
        ));
    }
    println!("installing {list}");
    // The lists of a fresh machine are empty or old; where they cannot be fetched, what is cached
    // may still do.
    if let Err(sentence) = shell::run(apt_get().arg("update")) {
        println!("{sentence}");
    }
    let by_hand = |sentence| format!("{sentence}; please install by hand: {list}");
    shell::run(apt_get().args(["-y", "install"]).args(&missing)).map_err(by_hand)?;
    if self::missing(tools).is_empty() {
        Ok(())
    } else {
        Err(by_hand("apt-get did not bring what is missing".to_owned()))
    }
}

/// The packages of the tools that are not there.
fn missing(tools: &[Tool]) -> Vec<&'static str> {
    let absent = tools.iter().filter(|tool| !shell::has(tool.program));
    absent.map(|tool| tool.package).collect()
}

fn apt_get() -> Command {
    let mut apt_get = command("apt-get");
    apt_get
        .args(APT_OPTIONS)
        .env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}
