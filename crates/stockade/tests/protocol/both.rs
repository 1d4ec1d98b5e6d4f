//! The same steps against both servers.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

use crate::daemon::{Daemon, fresh, packages};

#[path = "../../../../conformance/src/known.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
pub(crate) mod known;

const STEPS: &str = include_str!("steps.jsonl");

/// A table of steps, and what is known to differ in it.
pub(crate) struct Table {
    /// For names of folders.
    pub(crate) name: &'static str,
    pub(crate) steps: &'static str,
    /// By their ids in `conformance/known-differences.json`.
    pub(crate) listed: &'static [(&'static str, Concerns)],
    /// Do actions run? Both then have a network of their own.
    pub(crate) for_real: bool,
}

/// All commands of the protocol.
pub(crate) const COMMANDS: Table = Table { name: "all", steps: STEPS, listed: &LISTED, for_real: false };

/// What actions can be told to do by themselves.
pub(crate) const METHODS: Table =
    Table { name: "methods", steps: include_str!("methods.jsonl"), listed: &IN_METHODS, for_real: true };

/// Runs all steps of a table against both servers with that version's client, and fails
/// on every difference that is not listed, and on a listed one that is none.
pub(crate) fn compare(table: &Table, version: &str, root: &Path) {
    let (ours, theirs) = std::thread::scope(|scope| {
        let run = |name: &str, theirs: bool| {
            let folder = fresh(&format!("{name}-{}-{version}", table.name));
            let daemon = match (theirs, table.for_real) {
                (true, _) => Daemon::theirs(folder, root),
                (false, true) => Daemon::ours_for_real(folder),
                (false, false) => Daemon::ours(folder),
            };
            let results = drive(&daemon, root, table.steps);
            let text = daemon.folder.display().to_string();
            let folder = daemon.folder.clone();
            drop(daemon);
            std::fs::remove_dir_all(folder).unwrap();
            (results, text)
        };
        let theirs = scope.spawn(move || run("theirs", true));
        (run("ours", false), theirs.join().unwrap())
    });
    let list = known::Differences::read();
    let listed: Vec<_> = table.listed.iter().filter(|(id, _)| list.find(id, version).is_some()).collect();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for ((step, a), b) in table.steps.lines().zip(&theirs.0).zip(&ours.0) {
        let words = words_of(step);
        let (a, b) = (normal(&words, a, &theirs.1), normal(&words, b, &ours.1));
        if a == b {
            continue;
        }
        match listed.iter().find(|(_, concerns)| concerns.explains(&words, &a, &b)) {
            Some((id, _)) => *seen.entry(id).or_default() += 1,
            None => failures.push(format!("{words}\n  theirs {a}\n  ours   {b}")),
        }
    }
    let steps = table.steps.lines().count();
    assert_eq!((theirs.0.len(), ours.0.len()), (steps, steps), "not all steps were answered");
    for (id, _) in listed.iter().filter(|(id, _)| !seen.contains_key(id)) {
        failures.push(format!("{id} is listed and no longer differs"));
    }
    println!(
        "{version}: {}: {steps} steps, {} equal, listed: {seen:?}",
        table.name,
        steps - seen.values().sum::<usize>() - failures.len()
    );
    assert!(failures.is_empty(), "{} differences with {version}:\n{}", failures.len(), failures.join("\n"));
}

/// Which steps a listed difference concerns.
pub(crate) enum Concerns {
    /// Those whose words match.
    Steps(&'static str),
    /// Those that differ only in that theirs has the first text where ours has the second.
    Texts(&'static str, &'static str),
}

/// Listed differences, by their ids in `conformance/known-differences.json`.
const LISTED: [(&str, Concerns); 10] = [
    ("protocol-version", Concerns::Steps(r#"^\["version"\]$"#)),
    ("protocol-words-missing", Concerns::Steps(r#"^\["(reload|set", "web", "attempt)"\]$"#)),
    ("protocol-not-a-time", Concerns::Steps(r#""(findtime|bantime)", "(|1h,30m|inf)"\]$"#)),
    ("protocol-not-a-formula", Concerns::Steps(r#""bantime\.(factor|formula)", "(x\(|ban\.Time \*)"\]$"#)),
    (
        "protocol-failed-set-changes-nothing",
        Concerns::Steps(r#"^\["get", "web", "bantime\.(factor|formula|multipliers|maxtime)"\]$"#),
    ),
    ("protocol-restart-of-one-jail", Concerns::Steps(r#"^\["(restart|reload)", ("--restart", )?"web"\]$"#)),
    ("protocol-102-ipv6", Concerns::Texts("::){1,7}", ":){1,7}")),
    ("protocol-102-all", Concerns::Steps(r#"^\["(status", "--all.*|stats.*|statistic|statistics)"?\]$"#)),
    ("protocol-102-flavor", Concerns::Steps(r#"^\["status", "web", "stats"\]$"#)),
    ("protocol-102-add", Concerns::Steps(r#"^\["add", "(new|n2)""#)),
];

/// The same for methods of actions.
const IN_METHODS: [(&str, Concerns); 7] = [
    ("protocol-text-methods", Concerns::Steps(r#""(escapeTag|replaceTag|replaceDynamicTags)""#)),
    ("protocol-words-missing", Concerns::Steps(r#""ban", "\{"\]$"#)),
    ("values-cut", Concerns::Steps(r#"^\["@D@/length"\]$"#)),
    ("failed-ban-again", Concerns::Steps(r#"^\["@D@/tries"\]$"#)),
    ("options-at-once", Concerns::Steps(r#"^\["get", "web", "failregex"\]$"#)),
    ("dbfile-while-running", Concerns::Steps(r#"^\["[gs]et", "dbfile""#)),
    ("flush-twice", Concerns::Steps(r#"^\["@D@/(flushed|reloaded)"\]$"#)),
];

impl Concerns {
    pub(crate) fn explains(&self, words: &str, theirs: &str, ours: &str) -> bool {
        match self {
            Concerns::Steps(pattern) => Pattern::new(pattern).is_match(words),
            Concerns::Texts(from, to) => theirs.replace(from, to) == ours,
        }
    }
}

/// A pattern over a step's words, or over what changes from run to run.
pub(crate) struct Pattern(Regex);

impl Pattern {
    pub(crate) fn new(text: &str) -> Pattern {
        Pattern(Regex::new(text, Flags::default()).unwrap())
    }

    fn is_match(&self, text: &str) -> bool {
        self.0.search(&mut Scratch::new(), text, 0..text.len(), &mut Slots::new()) == Outcome::Match
    }

    /// The text with `#` in the place of each match.
    pub(crate) fn hide(&self, text: &str) -> String {
        let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
        let (mut out, mut from) = (String::new(), 0);
        while self.0.search(&mut scratch, text, from..text.len(), &mut slots) == Outcome::Match {
            let at = slots.get(0).unwrap();
            out.push_str(&text[from..at.start]);
            out.push('#');
            from = at.end;
        }
        out + &text[from..]
    }
}

fn words_of(step: &str) -> String {
    let step: Value = serde_json::from_str(step).unwrap();
    words_in(step.as_object().unwrap().values().next().unwrap())
}

/// A list of words as a person writes it: with blanks.
pub(crate) fn words_in(words: &Value) -> String {
    words.to_string().replace("\",\"", "\", \"")
}

/// Drives a client of that root through all steps.
fn drive(daemon: &Daemon, root: &Path, steps: &str) -> Vec<Value> {
    let folder = daemon.folder.display().to_string();
    let steps: Vec<Value> =
        steps.lines().map(|step| serde_json::from_str(&step.replace("@D@", &folder)).unwrap()).collect();
    let task = json!({ "conf": format!("{folder}/etc"), "socket": daemon.socket(), "steps": steps });
    let mut command = Command::new("python3");
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/protocol/drive.py"));
    command.env("PYTHONPATH", packages(root)).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(task.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the client ended early: {}", daemon.words());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A result without what must differ: folder, times, process ids, and the order
/// of `ignoreip`, which the original keeps in a set.
fn normal(words: &str, result: &Value, folder: &str) -> String {
    let mut result = result.clone();
    if words.contains("ignoreip") {
        let out = result.get("out").and_then(Value::as_str).map(|out| {
            let mut lines: Vec<&str> = out.lines().map(|line| line.trim_start_matches(['|', '`', '-', ' '])).collect();
            lines.sort_unstable();
            json!(lines)
        });
        if let Some(out) = out {
            result["out"] = out;
        }
        if let Some(list) = result.pointer_mut("/answer/2").and_then(Value::as_array_mut) {
            list.sort_by_key(ToString::to_string);
        }
    }
    let changing = Pattern::new(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:,\d+)?|\[\d+\]: ");
    changing.hide(&result.to_string().replace(folder, "FOLDER"))
}
