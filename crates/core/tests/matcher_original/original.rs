//! The original, running beside us.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A running original.
pub(crate) struct Original {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Original {
    pub(crate) fn start(root: &Path) -> Original {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/matcher_original/original.py");
        let mut child = Command::new("python3")
            .arg(script)
            .arg(root)
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Original { child, answers }
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.child.stdin.as_mut().unwrap(), "{question}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer:?} to {question}"))
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}
