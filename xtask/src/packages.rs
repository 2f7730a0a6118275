//! The programs of the system that a task needs, and how to get them.

use crate::shell;
use crate::{Outcome, shell::command};

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

/// Sees to it that the tools are there: installs them where that is possible without asking
/// anybody (root, with apt-get), else names them all in one sentence.
pub(crate) fn ensure(tools: &[Tool]) -> Outcome {
    let missing: Vec<&str> = tools
        .iter()
        .filter(|tool| !shell::has(tool.program))
        .map(|tool| tool.package)
        .collect();
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
    if let Err(sentence) = shell::run(command("apt-get").args(["-q", "update"])) {
        println!("{sentence}");
    }
    let mut install = command("apt-get");
    install
        .args(["-q", "-y", "-o", "DPkg::Lock::Timeout=120", "install"])
        .args(&missing);
    shell::run(install.env("DEBIAN_FRONTEND", "noninteractive"))
        .map_err(|sentence| format!("{sentence}; please install by hand: {list}"))
}
