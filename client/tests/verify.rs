//! `outboard verify` as a process: what it says of each mistake, exit codes, JSON, damaged files.
#![cfg(feature = "cli")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/objects/verify")
}

/// Runs in the folder of the objects, without an agent and without colours.
fn verify(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_outboard"))
        .current_dir(folder())
        .env("OUTBOARD_AGENT", "nowhere:1")
        .env_remove("CLICOLOR_FORCE")
        .arg("verify")
        .args(args)
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!error.contains("panicked"), "{error}");
    output.status.code().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(args: &[&str]) -> (i32, Value) {
    let output = verify(&[args, &["--json"]].concat());
    let value = serde_json::from_slice(&output.stdout).unwrap();
    (code(&output), value)
}

fn objects() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder()).unwrap();
    let mut objects: Vec<PathBuf> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "o"))
        .collect();
    objects.sort();
    objects
}

/// The objects that are accepted.
const ACCEPTED: [&str; 2] = ["clamped_offset", "unbounded_offset"];

#[test]
fn each_mistake_is_shown_at_its_source() {
    let bless = std::env::var_os("OUTBOARD_BLESS").is_some();
    let objects = objects();
    assert!(objects.len() >= 14, "{}", objects.len());
    for object in objects {
        let stem = object.file_stem().unwrap().to_str().unwrap().to_owned();
        let output = verify(&[&format!("{stem}.o")]);
        let shown = format!(
            "{}{}exit code {}\n",
            text(&output.stdout),
            text(&output.stderr),
            code(&output)
        );
        let golden = object.with_extension("txt");
        if bless {
            std::fs::write(&golden, &shown).unwrap();
        }
        let wanted = std::fs::read_to_string(&golden).unwrap();
        assert_eq!(shown, wanted, "{stem}; see the README of its folder");
        let refused = !ACCEPTED.contains(&stem.as_str());
        assert_eq!(code(&output), i32::from(refused), "{stem}");
    }
}

/// The line that each program's mistake is in.
#[test]
fn the_lines_are_the_right_ones() {
    for (name, kind, line) in [
        ("reply_too_short", "out-of-bounds", "reply[1] ="),
        ("null_check", "not-an-address", "node.next->value"),
        ("stack_not_written", "stack-not-written", "dpu_crc32c"),
        ("pointer_leak", "pointer-leak", "block + 8"),
        ("helper_argument", "buffer-region", "dpu_read"),
        ("buffer_in_loop", "buffer-region", "dpu_read"),
        ("write_to_ctx", "read-only", "ctx->flags"),
        ("write_to_args", "read-only", "args[i]"),
        (
            "pointer_result",
            "pointer-result",
            "return (long)ctx->reply",
        ),
        ("other_buffer", "comparison", "from < end"),
        ("stack_length", "buffer-place", "dpu_memcpy"),
        ("recursion", "call-depth", "depth(n / 2)"),
    ] {
        let (code, found) = json(&[&format!("{name}.o")]);
        assert_eq!((code, &found["accepted"]), (1, &Value::Bool(false)));
        let refusal = &found["refusals"][0];
        assert_eq!(refusal["kind"], kind, "{name}");
        let place = &refusal["place"];
        let number = place["line"].as_u64().unwrap() as usize;
        let source = std::fs::read_to_string(folder().join(format!("{name}.c"))).unwrap();
        let text = source.lines().nth(number - 1).unwrap();
        assert!(text.contains(line), "{name}: {text}");
        assert_eq!(place["text"], text.trim(), "{name}");
        assert!(refusal["needed"].is_string() && refusal["help"].is_string());
    }
}

#[test]
fn every_entry_is_looked_at() {
    let (code, found) = json(&["two_entries.o"]);
    assert_eq!(code, 1);
    let refusals = found["refusals"].as_array().unwrap();
    let functions: Vec<&Value> = refusals.iter().map(|it| &it["place"]["function"]).collect();
    assert_eq!(functions, ["add", "finish"]);
    let entries = found["entries"].as_array().unwrap();
    assert_eq!(entries[0]["accesses"]["proved"], 3);
    assert_eq!(entries[1]["accesses"], Value::Null);
}

#[test]
fn guarded_accesses_are_refused_if_that_is_asked_for() {
    assert_eq!(code(&verify(&["clamped_offset.o", "--strict"])), 0);
    let output = verify(&["unbounded_offset.o", "--strict"]);
    assert_eq!(code(&output), 1);
    let shown = text(&output.stderr);
    assert!(
        shown.starts_with("error[guarded]: reads 1 byte of scratch"),
        "{shown}"
    );
    assert!(shown.contains("dpu_clamp(offset, 4091)"), "{shown}");
    let (code, found) = json(&["unbounded_offset.o", "--strict", "--all"]);
    assert_eq!((code, &found["accepted"]), (1, &Value::Bool(false)));
    assert_eq!(found["guarded"][0]["range"]["max"], u32::MAX);
    let classes = found["each_access"].as_array().unwrap().iter();
    assert_eq!(classes.filter(|it| it["class"] == "proved").count(), 5);
}

#[test]
fn every_access_is_listed_if_that_is_asked_for() {
    let shown = text(&verify(&["clamped_offset.o", "--all"]).stdout);
    let lines = shown.lines().filter(|it| it.contains("clamped_offset.c:"));
    assert_eq!(lines.count(), 6, "{shown}");
    assert!(shown.contains("proved, scratch"), "{shown}");
}

/// Without BTF there is the instruction, and the function by its symbol.
#[test]
fn an_object_without_source_is_shown_by_its_code() {
    let output = verify(&["no_lines.o"]);
    let shown = text(&output.stderr);
    assert!(!shown.contains("-->"), "{shown}");
    assert!(shown.contains("instruction 6, in answer"), "{shown}");
    assert!(shown.contains("r2 points to reply at byte 0"), "{shown}");
}

/// An image has no source either, and no function.
#[test]
fn an_image_is_verified_too() {
    let room = tempfile::tempdir().unwrap();
    let image = room.path().join("image");
    let object = folder().join("reply_too_short.o");
    let linked = client::linker::link(&std::fs::read(object).unwrap()).unwrap();
    std::fs::write(&image, linked.image).unwrap();
    let output = verify(&[image.to_str().unwrap()]);
    assert_eq!(code(&output), 1);
    let shown = text(&output.stderr);
    assert!(shown.contains("instruction 6, in the program"), "{shown}");
}

/// Where the object has no text of a line, the source file beside it has, if it is the same.
#[test]
fn the_source_file_is_looked_for() {
    let room = tempfile::tempdir().unwrap();
    let object = std::fs::read(folder().join("reply_too_short.o")).unwrap();
    let line = b"reply[1] = args[0] + 1;";
    let at = object
        .windows(line.len())
        .position(|it| it == line)
        .unwrap();
    let mut without = object.clone();
    // The string begins with a tab; now it is empty.
    without[at - 1] = 0;
    let path = room.path().join("reply_too_short.o");
    std::fs::write(&path, without).unwrap();
    let shown = || text(&verify(&[path.to_str().unwrap()]).stderr);
    assert!(
        shown().contains("--> ./reply_too_short.c:11"),
        "{}",
        shown()
    );
    assert!(!shown().contains("args[0] + 1"), "{}", shown());
    let source = std::fs::read_to_string(folder().join("reply_too_short.c")).unwrap();
    let copy = room.path().join("reply_too_short.c");
    std::fs::write(&copy, &source).unwrap();
    assert!(
        shown().contains("11 |     reply[1] = args[0] + 1;"),
        "{}",
        shown()
    );
    // One line more, and its lines are not those of the object.
    std::fs::write(&copy, format!("\n{source}")).unwrap();
    assert!(!shown().contains("args[0] + 1"), "{}", shown());
}

#[test]
fn what_is_no_program_is_no_refusal() {
    for args in [
        &["README.md"][..],
        &["/nonexistent.o"],
        &["."],
        &[],
        &["reply_too_short.o", "--frobnicate"],
        &["reply_too_short.o", "other.o"],
    ] {
        let output = verify(args);
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(
            !output.stderr.is_empty() && output.stdout.is_empty(),
            "{args:?}"
        );
    }
    let help = verify(&["--help"]);
    assert_eq!(code(&help), 0);
    for code in 0..=2 {
        assert!(
            text(&help.stdout).contains(&format!("\n  {code}  ")),
            "{code}"
        );
    }
}

/// Colours only where they are wanted.
#[test]
fn colours_are_for_terminals() {
    let coloured = |variables: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_outboard"));
        command.current_dir(folder()).env_remove("NO_COLOR");
        command.args(["verify", "reply_too_short.o"]);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        output.stderr.contains(&0x1b)
    };
    assert!(!coloured(&[]), "a pipe is no terminal");
    assert!(coloured(&[("CLICOLOR_FORCE", "1")]));
    assert!(!coloured(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

/// Objects cut short, and objects with bytes changed, end in a verdict or an error.
#[test]
fn damaged_objects_end_in_a_verdict() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("damaged.o");
    let object = std::fs::read(folder().join("unbounded_offset.o")).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % below as u64) as usize
    };
    for round in 0..60 {
        let mut damaged = object.clone();
        if round % 3 == 0 {
            damaged.truncate(next(object.len()));
        }
        for _ in 0..round % 8 {
            let at = next(object.len());
            if let Some(byte) = damaged.get_mut(at) {
                *byte = next(256) as u8;
            }
        }
        std::fs::write(&path, damaged).unwrap();
        let output = verify(&[path.to_str().unwrap(), "--all"]);
        assert!((0..=2).contains(&code(&output)), "round {round}");
    }
}

/// What the tutorial shows is what is said.
#[test]
fn the_tutorial_shows_what_is_said() {
    let tutorial = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs/README.md");
    let tutorial = std::fs::read_to_string(tutorial).unwrap();
    for name in ["reply_too_short", "unbounded_offset"] {
        let said = std::fs::read_to_string(folder().join(format!("{name}.txt"))).unwrap();
        let (said, _) = said.rsplit_once("exit code").unwrap();
        let mut shown = format!("    $ outboard verify {name}.o\n");
        for line in said.trim_end().lines() {
            let indent = if line.is_empty() { "" } else { "    " };
            shown.push_str(&format!("{indent}{line}\n"));
        }
        assert!(tutorial.contains(&shown), "{name}: it should say\n{shown}");
    }
}
