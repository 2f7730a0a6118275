//! What happens where clang is missing: on a path with an `apt-get` and an `id` that are ours.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Held while a script is written and while processes start: one that starts amid a write has
/// the file open for a moment, and a file that is open for writing cannot be run.
fn one_at_a_time() -> MutexGuard<'static, ()> {
    static LOCK: Mutex<()> = Mutex::new(());
    LOCK.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A machine without clang, and with nothing else that the task could run.
struct Machine {
    folder: tempfile::TempDir,
}

/// How a run of `programs --check` ended.
struct Ended {
    ok: bool,
    stdout: String,
    stderr: String,
    /// What apt-get was asked for, a line each.
    asked: Vec<String>,
}

impl Machine {
    /// Its user has this number.
    fn of_user(id: u32) -> Machine {
        let machine = Machine {
            folder: tempfile::tempdir().unwrap(),
        };
        machine.script("bin/id", &format!("echo {id}"));
        machine
    }

    fn script(&self, name: &str, body: &str) {
        let _alone = one_at_a_time();
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An apt-get that notes its arguments and then does this.
    fn with_apt_get(self, body: &str) -> Machine {
        let note = r#"echo "$DEBIAN_FRONTEND: $*" >> "$FOLDER/asked"; PATH="$WHOLE_PATH""#;
        self.script("bin/apt-get", &format!("{note}\n{body}"));
        self
    }

    fn run(&self) -> Ended {
        let _alone = one_at_a_time();
        let folder = self.folder.path();
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["programs", "--check"])
            .env("WHOLE_PATH", std::env::var_os("PATH").unwrap())
            .env("PATH", folder.join("bin"))
            .env("FOLDER", folder)
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ended {
            ok: output.status.success(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            asked: lines(&folder.join("asked")),
        }
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Installs a clang that the task finds too old, which shows that it found it.
const INSTALL: &str = r#"case "$*" in *" install clang")
	printf '#!/bin/sh\necho Debian clang version 3.1.4\n' > "$FOLDER/bin/clang"
	chmod +x "$FOLDER/bin/clang"
esac"#;
const FOUND: &str = "xtask: clang 11 or newer is needed, this is 3\n";

#[test]
fn root_has_it_installed_without_being_asked_anything() {
    let ended = Machine::of_user(0).with_apt_get(INSTALL).run();
    assert_eq!((ended.ok, ended.stderr.as_str()), (false, FOUND));
    assert_eq!(ended.stdout, "installing clang\n");
    let [update, install] = &ended.asked[..] else {
        panic!("{:?}", ended.asked);
    };
    assert!(update.ends_with(" update"), "{update}");
    assert!(install.ends_with(" -y install clang"), "{install}");
    assert!(
        ended
            .asked
            .iter()
            .all(|line| line.starts_with("noninteractive: -q "))
    );
}

#[test]
fn lists_that_cannot_be_fetched_are_done_without() {
    let body = format!("case \"$*\" in *update) exit 100; esac\n{INSTALL}");
    let ended = Machine::of_user(0).with_apt_get(&body).run();
    assert_eq!((ended.ok, ended.stderr.as_str()), (false, FOUND));
    assert!(ended.stdout.contains(" update`: exit status: 100\n"));
    assert_eq!(ended.asked.len(), 2);
}

#[test]
fn what_cannot_be_installed_is_named_in_one_line() {
    let by_hand = "please install by hand: clang\n";
    let ended = Machine::of_user(0).with_apt_get("exit 100").run();
    assert!(
        !ended.ok && ended.stderr.ends_with(by_hand),
        "{}",
        ended.stderr
    );
    assert_eq!(ended.stderr.lines().count(), 1);
    // It says that all went well, and nothing is there.
    let ended = Machine::of_user(0).with_apt_get("exit 0").run();
    let wanted = format!("xtask: apt-get did not bring what is missing; {by_hand}");
    assert_eq!((ended.ok, ended.stderr), (false, wanted));
    // Something of that name is there that cannot be run.
    let body = r#"echo > "$FOLDER/bin/clang""#;
    let ended = Machine::of_user(0).with_apt_get(body).run();
    assert!(
        !ended.ok && ended.stderr.ends_with(by_hand),
        "{}",
        ended.stderr
    );
}

#[test]
fn who_is_not_root_is_told_what_to_install() {
    let wanted = "xtask: please install: clang (on Debian: sudo apt-get install clang)\n";
    let ended = Machine::of_user(1000).with_apt_get(INSTALL).run();
    assert_eq!((ended.ok, ended.stderr.as_str()), (false, wanted));
    assert_eq!((ended.stdout.as_str(), ended.asked.len()), ("", 0));
    // As is root where there is no apt-get.
    let ended = Machine::of_user(0).run();
    assert_eq!((ended.ok, ended.stderr.as_str()), (false, wanted));
}
