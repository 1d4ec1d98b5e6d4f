//! One action of an installed fail2ban, run by its own code.
#![expect(clippy::disallowed_methods, reason = "runs the original")]
#![allow(dead_code, reason = "tests and benches use their part of it")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use stockade_core::{FailureId, JailName, Net, Timestamp};
use stockade_enforce::actions::ActionSpec;
use stockade_enforce::stock::{Recognised, StockAction, recognise};

use crate::trees;

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

pub(crate) fn net(text: &str) -> Net {
    FailureId::parse(text).net().unwrap()
}

pub(crate) fn spec_of(root: &Path, call: &str) -> ActionSpec {
    let (jail, name, properties) = trees::actions(root, &[("j", call)]).into_iter().next().unwrap();
    ActionSpec { jail: jail.as_str().into(), name: name.as_str().into(), properties, python: None }
}

#[track_caller]
pub(crate) fn action_of(spec: &ActionSpec) -> StockAction {
    match recognise(spec) {
        Recognised::Accelerated(plan) => {
            StockAction { jail: JailName::new(&spec.jail), name: spec.name.clone(), plan: *plan }
        }
        Recognised::Shell(why) => panic!("{why}"),
    }
}

/// One action of the original in a network namespace of its own.
pub(crate) struct Original {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Original {
    pub(crate) fn start(root: &Path, spec: &ActionSpec) -> Original {
        let driver = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stock/original.py");
        let mut child = Command::new("unshare")
            .args(["-n", "--", "python3", driver])
            .env("PYTHONPATH", root.join("usr/lib/python3/dist-packages"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let pairs: Vec<String> = spec.properties.iter().map(|(n, v)| format!("[{},{}]", json(n), json(v))).collect();
        writeln!(input, "[{}]", pairs.join(",")).unwrap();
        let mut original = Original { child, input, output };
        assert_eq!(original.answer(), "ready");
        original
    }

    /// Whose network namespace it is in.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        while !line.starts_with('@') {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the original ended");
        }
        line.trim().trim_start_matches('@').to_owned()
    }

    /// Has a step done; `ok`, or `failed` and why.
    pub(crate) fn tell(&mut self, step: &str) -> String {
        writeln!(self.input, "{step}").unwrap();
        self.answer()
    }
}

impl Drop for Original {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn json(text: &str) -> String {
    stockade_wire::value::command_json(&[stockade_wire::value::Value::from(text)])
        .trim()
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned()
}
