//! `nostd`: builds the no_std crates for bare-metal aarch64.
//!
//! That needs the core library for `aarch64-unknown-none`, which is found in one of these ways,
//! the first that is there:
//!
//! 1. the target, installed for the toolchain in use or for nightly;
//! 2. nightly, and a cut of the library's sources (`OUTBOARD_RUST_SRC` names it, a folder or a
//!    `.tar.xz`; else `../shared/toolchain/rust-src-cut.tar.xz`), built once and kept in `target/`;
//! 3. nightly with the component rust-src, by `-Zbuild-std`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::recipe::sha256_hex;
use crate::shell::{self, cargo, command, io, of_toolchain, root, target_folder};
use crate::{aarch64, firmware};

/// What is built for.
pub(crate) const TARGET: &str = "aarch64-unknown-none";
/// Where cargo looks for flags for the target.
const FLAGS_VARIABLE: &str = "CARGO_TARGET_AARCH64_UNKNOWN_NONE_RUSTFLAGS";
/// The crates that must build without std.
const PACKAGES: &[&str] = &["protocol", "nvme-model", "ebpf", "dpu-firmware"];
/// What the cut of the sources can be built by.
const SOURCES_GO_WITH: &str = "sources of rustc 1.97 need the nightly of 2026-05-19 or one near it";
/// Where the cut of the sources is looked for when `OUTBOARD_RUST_SRC` is not set.
const SOURCES_BESIDE: &str = "../shared/toolchain/rust-src-cut.tar.xz";

/// The task.
pub(crate) fn run() -> Outcome {
    let mut build = way()?.build;
    for package in PACKAGES {
        build.args(["-p", package]);
    }
    shell::run(&mut build)?;
    println!("built for {TARGET}: {}", PACKAGES.join(", "));
    lint(firmware::MANIFEST, &["exercise"])?;
    lint(firmware::MANIFEST, &[])?;
    lint(aarch64::MANIFEST, &[])
}

/// How to build for the target.
pub(crate) struct Way {
    /// The `cargo build --locked --target` that has a core library to build with.
    pub(crate) build: Command,
    /// The folder that it builds into.
    pub(crate) folder: PathBuf,
}

impl Way {
    /// Flags for rustc, for the target alone.
    pub(crate) fn add_flags(&mut self, flags: &str) {
        let set = self
            .build
            .get_envs()
            .find(|(name, _)| *name == FLAGS_VARIABLE);
        let mut all = match set {
            Some((_, Some(before))) => before.to_owned(),
            _ => env::var_os(FLAGS_VARIABLE).unwrap_or_default(),
        };
        all.push(" ");
        all.push(flags);
        self.build.env(FLAGS_VARIABLE, all);
    }
}

/// The first way that is there.
pub(crate) fn way() -> Outcome<Way> {
    way_to("build")
}

/// Lints a package of its own for the target, as the workspace's are.
fn lint(manifest: &str, features: &[&str]) -> Outcome {
    let mut way = way_to("clippy")?;
    way.build.args(["--manifest-path", manifest]);
    for feature in features {
        way.build.args(["--features", feature]);
    }
    way.build.args(["--", "-D", "warnings"]);
    shell::run(&mut way.build)
}

/// The first way to have cargo do something for the target.
fn way_to(task: &str) -> Outcome<Way> {
    let (mut build, folder) = found(task)?;
    build.args(["--locked", "--target", TARGET, "--target-dir"]);
    build.arg(&folder);
    Ok(Way { build, folder })
}

/// A `cargo build`, or another task like it, and the folder to build into.
fn found(task: &str) -> Outcome<(Command, PathBuf)> {
    // A folder of its own for nightly, so that nothing of stable is built anew.
    let apart = target_folder().join("nostd/build");
    if has_target(&mut command("rustc")) {
        println!("using the installed target {TARGET}");
        let mut build = cargo();
        build.arg(task);
        return Ok((build, target_folder()));
    }
    let nightly = shell::has_nightly();
    if nightly && has_target(&mut of_toolchain("nightly", "rustc")) {
        println!("using the target {TARGET} of nightly");
        return Ok((nightly_to(task), apart));
    }
    if nightly && let Some(sources) = sources() {
        println!(
            "using nightly and the library sources in {}",
            sources.display()
        );
        match sysroot(&sources) {
            Ok(sysroot) => {
                let mut build = nightly_to(task);
                let flags = format!("--sysroot={}", sysroot.display());
                build.env(FLAGS_VARIABLE, flags);
                return Ok((build, apart));
            }
            Err(sentence) => println!("that did not work: {sentence} ({SOURCES_GO_WITH})"),
        }
    }
    if nightly && has_rust_src() {
        println!("using nightly and its rust-src");
        let mut build = nightly_to(task);
        build.arg("-Zbuild-std=core,alloc");
        return Ok((build, apart));
    }
    Err(format!(
        "there is no core library for {TARGET} here: run `rustup target add {TARGET}` \
         (or name library sources for nightly by OUTBOARD_RUST_SRC)"
    ))
}

fn nightly_to(task: &str) -> Command {
    let mut build = of_toolchain("nightly", "cargo");
    build.arg(task);
    build
}

/// Whether a compiler comes with a core library for the target.
fn has_target(rustc: &mut Command) -> bool {
    let folder = shell::output(rustc.args(["--print", "target-libdir", "--target", TARGET]));
    folder.is_ok_and(|folder| !libraries(Path::new(&folder)).is_empty())
}

/// The parts of the core library in a folder: core, alloc and compiler_builtins.
fn libraries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_part = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let starts = ["libcore-", "liballoc-", "libcompiler_builtins-"];
        name.ends_with(".rlib") && starts.iter().any(|start| name.starts_with(start))
    };
    entries.map(|entry| entry.path()).filter(is_part).collect()
}

/// Whether nightly has the component rust-src.
fn has_rust_src() -> bool {
    let sysroot = shell::output(of_toolchain("nightly", "rustc").args(["--print", "sysroot"]));
    sysroot.is_ok_and(|folder| {
        Path::new(&folder)
            .join("lib/rustlib/src/rust/library")
            .is_dir()
    })
}

/// The cut of the library's sources, a folder or an archive.
fn sources() -> Option<PathBuf> {
    if let Some(named) = env::var_os("OUTBOARD_RUST_SRC") {
        return Some(root().join(named));
    }
    let beside = root().join(SOURCES_BESIDE);
    beside.is_file().then_some(beside)
}

/// A folder for `--sysroot`, built from the sources by nightly unless that was done before.
fn sysroot(sources: &Path) -> Outcome<PathBuf> {
    let compiler = shell::output(of_toolchain("nightly", "rustc").arg("-vV"))?;
    let what = io(fs::metadata(sources), "find", sources)?
        .len()
        .to_string();
    let place = sources.to_string_lossy();
    let key = &sha256_hex(&[compiler.as_bytes(), place.as_bytes(), what.as_bytes()])[..16];
    let folder = target_folder().join("nostd").join(key);
    let sysroot = folder.join("sysroot");
    let libs = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    if libraries(&libs).len() == 3 {
        return Ok(sysroot);
    }

    let library = library(sources, &folder)?;
    let krate = folder.join("empty");
    io(fs::create_dir_all(krate.join("src")), "make", &krate)?;
    for (file, text) in [
        (
            "Cargo.toml",
            "[package]\nname = \"empty\"\nedition = \"2024\"\n[workspace]\n",
        ),
        ("src/lib.rs", "#![no_std]\n"),
    ] {
        let path = krate.join(file);
        io(fs::write(&path, text), "write", &path)?;
    }
    let mut build = of_toolchain("nightly", "cargo");
    build
        .current_dir(&krate)
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", &library);
    build.args([
        "build",
        "--release",
        "-Zbuild-std=core,alloc",
        "--target",
        TARGET,
    ]);
    build.arg("--target-dir").arg(folder.join("build"));
    shell::run(&mut build)?;

    let built = libraries(&folder.join("build").join(TARGET).join("release/deps"));
    if built.len() != 3 {
        return Err(format!(
            "{} of the 3 parts of the core library were built",
            built.len()
        ));
    }
    io(fs::create_dir_all(&libs), "make", &libs)?;
    for part in built {
        let to = libs.join(part.file_name().unwrap_or_default());
        io(fs::copy(&part, &to), "write", &to)?;
    }
    Ok(sysroot)
}

/// The folder `library` of the sources, unpacked into `folder` where they are an archive.
fn library(sources: &Path, folder: &Path) -> Outcome<PathBuf> {
    let inside = |top: &Path| {
        let cut = top.join("rust-src-cut/library");
        let candidates = [cut, top.join("library"), top.to_owned()];
        candidates
            .into_iter()
            .find(|library| library.join("core/Cargo.toml").is_file())
    };
    let top = if sources.is_dir() {
        sources.to_owned()
    } else {
        let unpacked = folder.join("sources");
        io(fs::create_dir_all(&unpacked), "make", &unpacked)?;
        shell::run(
            command("tar")
                .arg("xf")
                .arg(sources)
                .arg("-C")
                .arg(&unpacked),
        )?;
        unpacked
    };
    inside(&top).ok_or_else(|| format!("{} has no library/core in it", sources.display()))
}
