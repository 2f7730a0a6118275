//! Running other programs, and finding the folders of the workspace.

use std::env;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Outcome;

/// The workspace's folder.
pub(crate) fn root() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    match xtask.as_deref().and_then(Path::parent) {
        Some(root) => root.to_owned(),
        None => PathBuf::from("."),
    }
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => root().join(folder),
        None => root().join("target"),
    }
}

/// A command that runs in the workspace's folder, with nothing on its standard input.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// The cargo that runs this task.
pub(crate) fn cargo() -> Command {
    match env::var("CARGO") {
        Ok(cargo) => command(&cargo),
        Err(_) => command("cargo"),
    }
}

/// A program of another toolchain, free of what the present cargo put into the environment.
pub(crate) fn of_toolchain(toolchain: &str, program: &str) -> Command {
    let mut command = command("rustup");
    command.args(["run", toolchain, program]);
    for name in [
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "RUSTUP_TOOLCHAIN",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(name);
    }
    command
}

/// Whether there is a nightly toolchain.
pub(crate) fn has_nightly() -> bool {
    // Asked this way rustup does not go and install one.
    let Ok(list) = output(command("rustup").args(["toolchain", "list"])) else {
        return false;
    };
    list.lines().any(|line| line.starts_with("nightly-"))
}

/// Whether a program of that name is on the path.
pub(crate) fn has(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_program = |path: PathBuf| {
        path.metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&path).any(|folder| is_program(folder.join(program)))
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let status = command
        .status()
        .map_err(|error| cannot_run(command, &error))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{}`: {status}", line_of(command)))
    }
}

/// Runs a command and gives what it wrote to its standard output, without the space around.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let output = command
        .output()
        .map_err(|error| cannot_run(command, &error))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "`{}`: {}: {}",
            line_of(command),
            output.status,
            why.trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The sentence for a command that did not start.
pub(crate) fn cannot_run(command: &Command, error: &std::io::Error) -> String {
    format!("cannot run `{}`: {error}", line_of(command))
}

/// A command as one would type it.
fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The sentence for a file or folder that something went wrong with.
pub(crate) fn io<T>(result: std::io::Result<T>, doing: &str, path: &Path) -> Outcome<T> {
    result.map_err(|error| format!("cannot {doing} {}: {error}", path.display()))
}
