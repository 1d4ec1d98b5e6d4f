//! The page `docs/errors.md`: every class of mistake, what we say of it, and
//! what the original says. Made from the trees that have an `about`; fails when
//! it is out of date. `STOCKADE_UPDATE=1` (`cargo xtask docs`) writes it anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

mod golden;
#[path = "../../../conformance/src/known.rs"]
mod known;
mod original;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::thread;

use golden::{Case, cases};
use known::Differences;
use original::Original;
use serde_json::{Value as Json, json};

/// Under which Python the texts of the original were written: others word some of them otherwise.
const PYTHON: &str = "3.11";

/// Headings of the page, in order.
const GROUPS: [(&str, &str); 8] = [
    ("files", "Files that can't be read"),
    ("spelling", "How a file is written"),
    ("references", "References: `%(name)s`"),
    ("tags", "Tags: `<name>`"),
    ("calls", "Filters and actions"),
    ("names", "Names of jails and options"),
    ("values", "Values"),
    ("logs", "Log files and regexes"),
];

/// A line of the original is cut after as many characters.
const LINE_MAX: usize = 200;

/// The known difference that a tree is there for: second line of its `about`.
fn listed(case: &Case) -> Option<&str> {
    case.part("about").lines().nth(1)?.strip_prefix("differs: ")
}

/// Ends one of them otherwise than we do, and is that not listed? Says what is wrong.
fn otherwise(case: &Case, version: &str, theirs: &str, differences: &mut Differences) -> Option<String> {
    let ours = case.part("ends").trim();
    if theirs == ours {
        return None;
    }
    // Only the test notices less: it does not try what it reads.
    let weaker = theirs == "start 255 test 0" && ours == "start 255 test 255";
    let id = if weaker { Some("test-tries-values") } else { listed(case) };
    match id {
        Some(id) if differences.note(id, version) => None,
        _ => Some(format!("{}: {version} has {theirs}, we have {ours}, and it is not listed ({id:?})", case.name)),
    }
}

fn update() -> bool {
    std::env::var_os("STOCKADE_UPDATE").is_some()
}

/// How both end and what the newest says, as it stands in the part `theirs`.
fn theirs(answers: &[(String, Json)]) -> String {
    let mut text = String::new();
    for (version, answer) in answers {
        let code = |what: &str| answer[what]["code"].as_i64().unwrap();
        writeln!(text, "{version} start {} test {}", code("start"), code("test")).unwrap();
    }
    let newest = &answers[0].1;
    let failing = ["test", "start"].into_iter().find(|what| newest[*what]["code"] != 0).unwrap_or("test");
    for line in newest[failing]["said"].as_array().unwrap() {
        let line = line.as_str().unwrap();
        let short: String = line.chars().take(LINE_MAX).collect();
        let dots = if short.len() < line.len() { ".." } else { "" };
        writeln!(text, "{}{dots}", short.replace('\u{feff}', "\\ufeff").replace('\u{fffd}', "\\xff")).unwrap();
    }
    text
}

/// How each case ends with one original; the folder is called TREE in what it says.
fn ask_all(original: &mut Original, cases: impl Iterator<Item = Case>) -> (String, Vec<Json>) {
    let ask = |case: Case| {
        let folder = case.unpack(&format!("ends-{}", original.version));
        let answer = original.ask(&json!({"op": "ends", "dir": folder})).to_string();
        fs::remove_dir_all(&folder).unwrap();
        serde_json::from_str(&answer.replace(folder.to_str().unwrap(), "TREE")).unwrap()
    };
    let answers = cases.map(ask).collect();
    (original.version.clone(), answers)
}

#[test]
fn what_the_original_says_is_written_down() {
    let mut originals = original::all("what_the_original_says_is_written_down");
    if originals.len() < 2 {
        return;
    }
    let same_python = originals[0].python == PYTHON;
    let mut wrong = Vec::new();
    let mut differences = Differences::read();
    let shown = || cases().into_iter().filter(|case| !case.part("about").is_empty());
    let answers: Vec<(String, Vec<Json>)> = thread::scope(|scope| {
        let asked: Vec<_> = originals.iter_mut().map(|original| scope.spawn(|| ask_all(original, shown()))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    for (nth, mut case) in shown().enumerate() {
        let answers: Vec<(String, Json)> = answers.iter().map(|(v, list)| (v.clone(), list[nth].clone())).collect();
        let found = theirs(&answers);
        if update() {
            case.rewrite(&[("theirs", found)]);
            continue;
        }
        for (version, answer) in &answers {
            let code = |what: &str| answer[what]["code"].as_i64().unwrap();
            let theirs = format!("start {} test {}", code("start"), code("test"));
            wrong.extend(otherwise(&case, version, &theirs, &mut differences));
        }
        let lines =
            |text: &str| text.lines().take(if same_python { usize::MAX } else { 2 }).collect::<Vec<_>>().join("\n");
        if lines(&found) != lines(case.part("theirs")) {
            wrong.push(format!("{}:\n{found}", case.name));
        }
    }
    if update() {
        write_page();
    }
    assert!(wrong.is_empty(), "the original says otherwise:\n{}", wrong.join("\n"));
    if !update() {
        differences.finish(file!());
    }
}

/// The page itself.
fn page() -> String {
    let mut page = String::from(
        "# Mistakes in a configuration, and what is said of them\n\n\
         Each mistake in a small tree, with the answer of fail2ban 1.1.0 beside ours (drop-in profile: a complete tree).\n\
         *Start* and *test* are exit codes of `fail2ban-client start` and `fail2ban-client -t`; 1.0.2 is named where it\n\
         ends otherwise. Where the test of fail2ban passes and its start fails, ours fails too (`test-tries-values`). `TREE` is the folder. Files that are as they should be are left out. Made by `cargo xtask docs`\n\
         from `crates/config/tests/trees`, where each is a test.\n\n\
         In the own profile (no complete tree) one broken jail does not stop the others: it is off, `status` says why,\n\
         and its bans stay until they end. What refuses everything at a reload leaves the running configuration as it is.\n",
    );
    let plain: Vec<(String, String)> = {
        let all = cases();
        let plain = all.iter().find(|case| case.name == "plain").unwrap();
        plain.files().map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
    };
    let mut shown: Vec<(usize, String, Case)> = Vec::new();
    for case in cases() {
        let first = case.part("about").lines().next().unwrap_or("");
        let Some((group, title)) = first.split_once(": ") else { continue };
        let group = GROUPS.iter().position(|(name, _)| *name == group).unwrap_or_else(|| panic!("{group}: no group"));
        shown.push((group, title.to_owned(), case));
    }
    for (number, (_, heading)) in GROUPS.iter().enumerate() {
        write!(page, "\n## {heading}\n").unwrap();
        for (_, title, case) in shown.iter().filter(|(group, ..)| *group == number) {
            entry(&mut page, title, case, &plain);
        }
    }
    page
}

fn entry(page: &mut String, title: &str, case: &Case, plain: &[(String, String)]) {
    write!(page, "\n### {title}\n\n```ini\n").unwrap();
    for (name, text) in case.files() {
        let usual = plain.iter().any(|(n, t)| n == name && t == text);
        if !usual && !text.is_empty() {
            write!(page, "# {name}\n{text}").unwrap();
        }
    }
    page.push_str("```\n\n| | start | test |\n|---|---|---|\n");
    let mut row = |who: &str, codes: &str| {
        let words: Vec<&str> = codes.split_whitespace().collect();
        writeln!(page, "| {who} | {} | {} |", words[1], words[3]).unwrap();
    };
    let mut lines = case.part("theirs").lines();
    let newest = lines.next().unwrap_or_else(|| panic!("{}: not asked yet", case.name)).strip_prefix("1.1.0 ").unwrap();
    let older = lines.next().unwrap().strip_prefix("1.0.2 ").unwrap();
    row("fail2ban 1.1.0", newest);
    if older != newest {
        row("fail2ban 1.0.2", older);
    }
    row("stockade", case.part("ends"));
    let said: Vec<&str> = lines.collect();
    write!(page, "\nfail2ban:\n```text\n{}\n```\nstockade:\n```text\n", said.join("\n")).unwrap();
    page.push_str(case.part("findings"));
    if case.part("findings").is_empty() {
        page.push_str("(nothing)\n");
    }
    page.push_str("```\n");
    let known = listed(case).map(|id| {
        let known = Differences::read();
        let found = ["1.1.0", "1.0.2"].iter().find_map(|version| known.find(id, version).cloned());
        found.unwrap_or_else(|| panic!("{}: {id} is not listed", case.name))
    });
    if let Some(known) = known {
        write!(page, "\nListed difference `{}`: {}\n", known.id, known.reason).unwrap();
    }
}

fn place() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md")
}

fn write_page() {
    fs::write(place(), page()).unwrap();
}

#[test]
fn the_page_of_mistakes_is_up_to_date() {
    if !update() {
        assert!(golden::read(&place()) == page(), "docs/errors.md is out of date: run `cargo xtask docs`");
    }
}
