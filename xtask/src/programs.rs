//! `programs`: compiles the C programs into `programs/objects`, the same bytes on every machine.
//!
//! The objects are part of the repository, so this runs only when a program has changed. The
//! manifest beside them tells from which inputs each was built, by which compiler. Another version
//! of clang makes other bytes of the same source; that is no error, so `--check` compiles all and
//! compares bytes only where the compiler is the manifest's.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::recipe::{FLAGS, RECIPES, Recipe, sha256_hex};
use crate::shell::{self, command, io, root, target_folder};
use crate::{Outcome, packages};

/// The oldest clang that compiles the programs: the first with -mcpu=v3 complete.
const CLANG_MAJOR_MIN: u32 = 11;

/// The task.
pub(crate) fn run(check: bool) -> Outcome {
    packages::ensure(&[packages::CLANG])?;
    let compiler = compiler()?;
    if check {
        check_all(&compiler)
    } else {
        build_all(&compiler)
    }
}

/// Compiles all, and writes the objects and the manifest.
fn build_all(compiler: &str) -> Outcome {
    let objects = root().join("programs/objects");
    io(fs::create_dir_all(&objects), "make", &objects)?;
    let mut manifest = format!(
        "# Written by `cargo xtask programs`: name, SHA-256 of the inputs, SHA-256 of the object.\n\
         # compiler: {compiler}\n"
    );
    for recipe in RECIPES {
        let object = compile(recipe, &objects)?;
        let line = format!(
            "{} {} {}",
            recipe.name,
            inputs(recipe)?,
            sha256_hex(&[&object])
        );
        println!("{}: {} bytes", recipe.name, object.len());
        writeln!(manifest, "{line}").expect("a string takes all");
    }
    let path = objects.join("manifest.txt");
    io(fs::write(&path, manifest), "write", &path)
}

/// Compiles all into a folder of its own, and says what differs from what is in the repository.
fn check_all(compiler: &str) -> Outcome {
    let path = root().join("programs/objects/manifest.txt");
    let manifest = io(fs::read_to_string(&path), "read", &path)?;
    let same_compiler = manifest.contains(&format!("# compiler: {compiler}\n"));
    let folder = target_folder().join("programs");
    io(fs::create_dir_all(&folder), "make", &folder)?;
    for recipe in RECIPES {
        let object = compile(recipe, &folder)?;
        let built = format!("{} {} ", recipe.name, inputs(recipe)?);
        let line = manifest.lines().find(|line| line.starts_with(&built));
        let line = line.ok_or_else(|| stale(recipe, "older than its source"))?;
        if same_compiler && !line.ends_with(&sha256_hex(&[&object])) {
            return Err(stale(recipe, "not what this compiler makes of its source"));
        }
    }
    compile_tutorial(&folder)?;
    let compared = if same_compiler {
        "to the same bytes"
    } else {
        "by another clang, not compared"
    };
    println!("{} programs compile {compared} ({compiler})", RECIPES.len());
    Ok(())
}

/// Compiles the program of the tutorial in `programs/README.md`, as its text says.
fn compile_tutorial(folder: &Path) -> Outcome {
    let path = root().join("programs/README.md");
    let text = io(fs::read_to_string(&path), "read", &path)?;
    let code = text
        .split_once("```c\n")
        .and_then(|(_, rest)| rest.split_once("```"));
    let (code, _) = code.ok_or_else(|| format!("{} has no program in it", path.display()))?;
    let source = folder.join("sum.c");
    io(fs::write(&source, code), "write", &source)?;
    let mut clang = command("clang");
    clang
        .args(FLAGS)
        .arg("-Iprograms/include")
        .arg("-c")
        .arg(&source);
    shell::run(clang.arg("-o").arg(folder.join("sum.o")))
}

fn stale(recipe: &Recipe, how: &str) -> String {
    format!(
        "programs/objects/{}.o is {how}: run `cargo xtask programs`",
        recipe.name
    )
}

/// The first line of `clang --version`, of a clang that is new enough.
fn compiler() -> Outcome<String> {
    let text = shell::output(command("clang").arg("--version"))?;
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    let version = line.split("version ").nth(1).unwrap_or_default();
    let major = version
        .split('.')
        .next()
        .and_then(|major| major.parse::<u32>().ok());
    match major {
        Some(major) if major < CLANG_MAJOR_MIN => Err(format!(
            "clang {CLANG_MAJOR_MIN} or newer is needed, this is {major}"
        )),
        _ => Ok(line),
    }
}

/// Compiles one program into `folder`, and gives the object.
///
/// The compiler runs in `programs/` and is given relative paths; the two prefix flags take out the
/// one absolute path that is left, that of the folder it ran in.
fn compile(recipe: &Recipe, folder: &Path) -> Outcome<Vec<u8>> {
    let programs = root().join("programs");
    let programs = io(programs.canonicalize(), "find", &programs)?;
    let object = folder.join(format!("{}.o", recipe.name));
    let mut clang = command("clang");
    clang
        .current_dir(&programs)
        .args(FLAGS)
        .args(recipe.flags)
        .arg("-Iinclude");
    clang.arg("-fdebug-compilation-dir=.");
    clang.arg(format!("-ffile-prefix-map={}=.", programs.display()));
    clang
        .arg("-c")
        .arg(format!("src/{}", recipe.source))
        .arg("-o")
        .arg(&object);
    shell::run(&mut clang)?;
    io(fs::read(&object), "read", &object)
}

/// The digest of what a program is built from.
fn inputs(recipe: &Recipe) -> Outcome<String> {
    let read = |path: &str| {
        let path = root().join("programs").join(path);
        io(fs::read_to_string(&path), "read", &path)
    };
    let source = read(&format!("src/{}", recipe.source))?;
    Ok(recipe.inputs_sha256(&source, &read("include/dpu.h")?))
}
