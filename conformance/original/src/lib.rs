//! The installed fail2ban that tests compare with: where it lies, and how to talk to it.
//!
//! `cargo xtask test` unpacks Debian's 1.1.0 and 1.0.2 under `target/` and names the two folders
//! in `STOCKADE_F2B_ROOT_110` and `STOCKADE_F2B_ROOT_102`. For tests only: whatever is wrong is a panic.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::missing_panics_doc,
    reason = "for tests only: a failure is a panic, a skip says so"
)]

pub mod samples;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// One version, unpacked.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Its version, such as `1.1.0`.
    pub version: &'static str,
    /// A folder with `etc/fail2ban` and `usr/lib/python3/dist-packages/fail2ban` in it.
    pub root: PathBuf,
}

/// Both versions, the newer first, or those that are there. `test` is who asks.
#[must_use]
pub fn both(test: &str) -> Vec<Installed> {
    newest(test).into_iter().chain(older(test)).collect()
}

/// The newer version: the one we behave as.
#[must_use]
pub fn newest(test: &str) -> Option<Installed> {
    find("1.1.0", "STOCKADE_F2B_ROOT_110", test)
}

/// The older version.
#[must_use]
pub fn older(test: &str) -> Option<Installed> {
    find("1.0.2", "STOCKADE_F2B_ROOT_102", test)
}

/// Are these the tests of CI? `CI` is set, and neither empty nor `0` nor `false`, as `xtask` takes it.
#[must_use]
pub fn under_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// Says that a test skips something, and why; under CI nothing may be skipped.
pub fn skip(test: &str, why: &str) {
    assert!(!under_ci(), "{test} can't be skipped under CI: {why}");
    println!("SKIPPED {test}: {why}");
}

fn find(version: &'static str, variable: &str, test: &str) -> Option<Installed> {
    let Some(root) = std::env::var_os(variable) else {
        skip(test, &format!("{variable} names no unpacked fail2ban; `cargo xtask test` makes one"));
        return None;
    };
    Some(Installed { version, root: root.into() })
}

impl Installed {
    /// Its configuration as it was installed.
    #[must_use]
    pub fn tree(&self) -> PathBuf {
        self.root.join("etc/fail2ban")
    }

    /// Where Python finds it.
    #[must_use]
    pub fn packages(&self) -> PathBuf {
        self.root.join("usr/lib/python3/dist-packages")
    }

    /// Its annotated sample logs.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.packages().join("fail2ban/tests/files/logs")
    }

    /// A script that Python runs with this version's folder as its first word. Beside its own
    /// modules it finds `installed.py` of this crate.
    pub fn python(&self, script: impl AsRef<Path>) -> Command {
        let mut command = Command::new("python3");
        command.arg("-B").arg(script.as_ref()).arg(&self.root);
        command.env("LC_ALL", "C.UTF-8").env("PYTHONPATH", env!("CARGO_MANIFEST_DIR"));
        command
    }
}

/// A program that answers each line of JSON with one; it ends with this value.
pub struct Driver {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts it.
    #[must_use]
    pub fn start(mut command: Command) -> Driver {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Driver { child, input, output }
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.input.as_mut().unwrap(), "{question}").unwrap();
        self.hear().unwrap_or_else(|line| panic!("{line:?} to {question}"))
    }

    /// The next line that it says, asked or not; as text where that is no JSON.
    ///
    /// # Errors
    /// The line.
    pub fn hear(&mut self) -> Result<Value, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).map_err(|_| line)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.input.take());
        self.child.wait().unwrap();
    }
}
