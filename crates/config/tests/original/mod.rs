//! An installed fail2ban to compare with, in one long-lived process.
//!
//! `STOCKADE_F2B_ROOT_110` and `STOCKADE_F2B_ROOT_102` name folders that hold
//! `etc/fail2ban` and `usr/lib/python3/dist-packages/fail2ban` of Debian's 1.1.0
//! and 1.0.2. Without them these tests print that they were skipped; under
//! `CI=true` they fail.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value as Json, json};

pub(crate) struct Original {
    pub(crate) version: String,
    /// Which Python runs it, such as `3.11`.
    pub(crate) python: String,
    pub(crate) root: PathBuf,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Both versions, or those that are there.
pub(crate) fn all(test: &str) -> Vec<Original> {
    ["STOCKADE_F2B_ROOT_110", "STOCKADE_F2B_ROOT_102"].iter().filter_map(|name| open(name, test)).collect()
}

/// The newer of the two.
pub(crate) fn newest(test: &str) -> Option<Original> {
    open("STOCKADE_F2B_ROOT_110", test)
}

fn open(variable: &str, test: &str) -> Option<Original> {
    match std::env::var_os(variable) {
        Some(root) => Some(Original::start(Path::new(&root))),
        None => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{test}: {variable} is not set");
            println!("SKIPPED {test}: {variable} is not set");
            None
        }
    }
}

impl Original {
    #[expect(clippy::disallowed_methods, reason = "a test that runs the program we compare with")]
    fn start(root: &Path) -> Self {
        let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/original/driver.py");
        let packages = root.join("usr/lib/python3/dist-packages");
        let mut child = Command::new("python3")
            .args(["-B".as_ref(), driver.as_os_str(), packages.as_os_str()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let hello = answer(&mut output);
        let version = hello["version"].as_str().unwrap().to_owned();
        let python = hello["python"].as_str().unwrap().to_owned();
        Original { version, python, root: root.to_owned(), child, input, output }
    }

    pub(crate) fn ask(&mut self, request: &Json) -> Json {
        writeln!(self.input, "{request}").unwrap();
        self.input.flush().unwrap();
        answer(&mut self.output)
    }

    /// What its reader makes of a tree, as `-d` does.
    pub(crate) fn load(&mut self, folder: &Path) -> Json {
        self.ask(&json!({"op": "load", "dir": folder}))
    }

    /// Its own tree.
    pub(crate) fn tree(&self) -> PathBuf {
        self.root.join("etc/fail2ban")
    }
}

fn answer(output: &mut BufReader<ChildStdout>) -> Json {
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("the driver says {line:?}: {e}"))
}

impl Drop for Original {
    fn drop(&mut self) {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        if let Err(e) = ended {
            println!("the driver could not be ended: {e}");
        }
    }
}
