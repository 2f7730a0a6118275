//! Runs a program's C source as a process of this machine, under the sanitizers.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use programs::recipe::RECIPES;

use super::{Answer, Backend};

/// Starts a shipped program, compiled for this machine from its source.
pub(crate) fn start(name: &str) -> Box<dyn Backend> {
    let recipe = RECIPES
        .iter()
        .find(|recipe| recipe.name == name)
        .expect("it is shipped");
    let entry = recipe.source.trim_end_matches(".c");
    Box::new(Native::compile(recipe.source, entry, recipe.flags))
}

/// A program, compiled for this machine and waiting for calls.
pub(crate) struct Native {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    is_sanitized: bool,
    folder: tempfile::TempDir,
}

impl Native {
    /// Compiles `src/<source>` with these flags, and starts it.
    pub(crate) fn compile(source: &str, entry: &str, flags: &[&str]) -> Native {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (program, is_sanitized) = compile(source, entry, flags, folder.path());
        let stderr = File::create(folder.path().join("stderr")).expect("a file for its stderr");
        let mut child = Command::new(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .expect("what was compiled runs");
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it is piped");
        Native {
            child,
            stdin,
            stdout,
            is_sanitized,
            folder,
        }
    }

    /// Whether an access out of bounds ends the process.
    pub(crate) fn is_sanitized(&self) -> bool {
        self.is_sanitized
    }

    /// Makes a call of which nobody knows whether it ends well, and ends the program.
    pub(crate) fn survives(mut self, args: &[u8]) -> bool {
        self.send_call(args);
        self.stdin = None;
        self.child.wait().expect("it can be waited for").success()
    }

    fn send_call(&mut self, args: &[u8]) {
        self.send(b"C");
        self.send(&(args.len() as u32).to_le_bytes());
        self.send(args);
    }

    fn send(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("it is open until finish");
        if stdin.write_all(bytes).is_err() {
            panic!("the program takes no more commands: {}", self.said());
        }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.take_all(&mut bytes);
        bytes
    }

    fn take_all(&mut self, bytes: &mut [u8]) {
        if self.stdout.read_exact(bytes).is_err() {
            panic!("the program does not answer: {}", self.said());
        }
    }

    /// What it wrote to its standard error: the report of a sanitizer.
    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }
}

impl Backend for Native {
    fn set_object(&mut self, bytes: &[u8]) {
        self.send(b"O");
        self.send(&(bytes.len() as u64).to_le_bytes());
        self.send(bytes);
    }

    fn call(&mut self, args: &[u8]) -> Answer {
        self.send_call(args);
        let result = i32::from_le_bytes(self.take());
        let reads = u32::from_le_bytes(self.take());
        let mut reply = vec![0; u32::from_le_bytes(self.take()) as usize];
        self.take_all(&mut reply);
        Answer {
            result,
            reads,
            reply,
        }
    }

    fn finish(mut self: Box<Self>) {
        self.stdin = None;
        let status = self.child.wait().expect("it can be waited for");
        assert!(
            status.success(),
            "the program ended with {status}: {}",
            self.said()
        );
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.stdin = None;
        // It has ended already, or does so at the end of its input.
        let _ = self.child.wait();
    }
}

/// Compiles with the first compiler here that has the sanitizers; where none has, without them,
/// since the answers are worth checking all the same.
fn compile(source: &str, entry: &str, flags: &[&str], folder: &Path) -> (PathBuf, bool) {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR"));
    let to = folder.join("runner");
    let sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let ways: [(&str, &[&str]); 4] = [
        ("clang", &sanitizers),
        ("cc", &sanitizers),
        ("clang", &[]),
        ("cc", &[]),
    ];
    let mut said = String::new();
    for (compiler, sanitizers) in ways {
        let output = Command::new(compiler)
            .args(["-std=gnu11", "-O1", "-g", "-Wall", "-Wno-unknown-pragmas"])
            .args(sanitizers)
            .args(flags)
            .arg(format!(
                "-DPROGRAM=\"{}\"",
                programs.join("src").join(source).display()
            ))
            .arg(format!("-DENTRY={entry}"))
            .arg("-I")
            .arg(programs.join("include"))
            .arg(programs.join("tests/native/runner.c"))
            .arg("-o")
            .arg(&to)
            .output();
        match output {
            Ok(output) if output.status.success() => {
                if sanitizers.is_empty() {
                    eprintln!("no compiler here has the address sanitizer: running without");
                }
                return (to, !sanitizers.is_empty());
            }
            Ok(output) => said.push_str(&String::from_utf8_lossy(&output.stderr)),
            Err(error) => said.push_str(&format!("{compiler}: {error}\n")),
        }
    }
    panic!("no compiler here compiles {source}:\n{said}");
}
