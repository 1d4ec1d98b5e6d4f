//! The same steps against both servers.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

use crate::daemon::{Daemon, fresh, packages};

const STEPS: &str = include_str!("steps.jsonl");
const KNOWN: &str = include_str!("known-differences.json");

/// Runs all steps against both servers with that version's client, and fails on
/// every difference that is not listed, and on a listed one that is none.
pub(crate) fn compare(version: &str, root: &Path) {
    let (ours, theirs) = std::thread::scope(|scope| {
        let run = |name: &str, theirs: bool| {
            let folder = fresh(&format!("{name}-{version}"));
            let daemon = if theirs { Daemon::theirs(folder, root) } else { Daemon::ours(folder) };
            let results = drive(&daemon, root);
            let text = daemon.folder.display().to_string();
            let folder = daemon.folder.clone();
            drop(daemon);
            std::fs::remove_dir_all(folder).unwrap();
            (results, text)
        };
        let theirs = scope.spawn(move || run("theirs", true));
        (run("ours", false), theirs.join().unwrap())
    });
    let known = known(version);
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for ((step, a), b) in STEPS.lines().zip(&theirs.0).zip(&ours.0) {
        let words = words_of(step);
        let (a, b) = (normal(&words, a, &theirs.1), normal(&words, b, &ours.1));
        if a == b {
            continue;
        }
        match known.iter().find(|known| known.explains(&words, &a, &b)) {
            Some(known) => *seen.entry(&known.id).or_default() += 1,
            None => failures.push(format!("{words}\n  theirs {a}\n  ours   {b}")),
        }
    }
    let steps = STEPS.lines().count();
    assert_eq!((theirs.0.len(), ours.0.len()), (steps, steps), "not all steps were answered");
    for known in known.iter().filter(|known| !seen.contains_key(known.id.as_str())) {
        failures.push(format!("{} is listed and no longer differs", known.id));
    }
    println!(
        "{version}: {steps} steps, {} equal, listed: {seen:?}",
        steps - seen.values().sum::<usize>() - failures.len()
    );
    assert!(failures.is_empty(), "{} differences with {version}:\n{}", failures.len(), failures.join("\n"));
}

/// A listed difference.
struct Known {
    id: String,
    /// Which steps it concerns.
    step: Option<Pattern>,
    /// What they say, and what we say in its place.
    replace: Option<(String, String)>,
}

impl Known {
    fn explains(&self, words: &str, theirs: &str, ours: &str) -> bool {
        let replaced = self.replace.as_ref().is_some_and(|(from, to)| theirs.replace(from, to) == ours);
        replaced || self.step.as_ref().is_some_and(|step| step.is_match(words))
    }
}

/// Listed differences of that version.
fn known(version: &str) -> Vec<Known> {
    let list: Vec<Value> = serde_json::from_str(KNOWN).unwrap();
    let concerns = |entry: &&Value| {
        entry["versions"].as_array().is_none_or(|list| list.iter().any(|v| v.as_str() == Some(version)))
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let read = |entry: &Value| {
        assert!(entry["why"].is_string(), "{entry} has no reason");
        Known {
            id: text(&entry["id"]).unwrap(),
            step: entry["step"].as_str().map(Pattern::new),
            replace: text(&entry["replace"][0]).zip(text(&entry["replace"][1])),
        }
    };
    list.iter().filter(concerns).map(read).collect()
}

/// A pattern over a step's words, or over what changes from run to run.
struct Pattern(Regex);

impl Pattern {
    fn new(text: &str) -> Pattern {
        Pattern(Regex::new(text, Flags::default()).unwrap())
    }

    fn is_match(&self, text: &str) -> bool {
        self.0.search(&mut Scratch::new(), text, 0..text.len(), &mut Slots::new()) == Outcome::Match
    }

    /// The text with `#` in the place of each match.
    fn hide(&self, text: &str) -> String {
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
    let words = step.as_object().unwrap().values().next().unwrap().clone();
    // As a person writes it: with blanks.
    words.to_string().replace("\",\"", "\", \"")
}

/// Drives a client of that root through all steps.
fn drive(daemon: &Daemon, root: &Path) -> Vec<Value> {
    let folder = daemon.folder.display().to_string();
    let steps: Vec<Value> =
        STEPS.lines().map(|step| serde_json::from_str(&step.replace("@D@", &folder)).unwrap()).collect();
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
