//! The page `docs/errors.md`: every class of mistake, what we say of it, and
//! what the original says. Made from the trees that have an `about`; fails when
//! it is out of date. `STOCKADE_UPDATE=1` (`cargo xtask docs`) writes it anew.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

mod golden;
mod original;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use golden::{Case, cases};
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

fn update() -> bool {
    std::env::var_os("STOCKADE_UPDATE").is_some()
}

/// How both end and what the newest says, as it stands in the part `theirs`.
fn theirs(answers: &[(String, Json)], place: &str) -> String {
    let mut text = String::new();
    for (version, answer) in answers {
        let code = |what: &str| answer[what]["code"].as_i64().unwrap();
        writeln!(text, "{version} start {} test {}", code("start"), code("test")).unwrap();
    }
    let newest = &answers[0].1;
    let failing = ["test", "start"].into_iter().find(|what| newest[*what]["code"] != 0).unwrap_or("test");
    for line in newest[failing]["said"].as_array().unwrap() {
        let line = line.as_str().unwrap().replace(place, "TREE");
        let short: String = line.chars().take(LINE_MAX).collect();
        let dots = if short.len() < line.len() { ".." } else { "" };
        writeln!(text, "{}{dots}", short.replace('\u{feff}', "\\ufeff").replace('\u{fffd}', "\\xff")).unwrap();
    }
    text
}

#[test]
fn what_the_original_says_is_written_down() {
    let mut originals = original::all("what_the_original_says_is_written_down");
    if originals.len() < 2 {
        return;
    }
    let same_python = originals[0].python == PYTHON;
    let mut wrong = Vec::new();
    for mut case in cases().into_iter().filter(|case| !case.part("about").is_empty()) {
        let folder = case.unpack("ends");
        let ask = |original: &mut original::Original| {
            (original.version.clone(), original.ask(&json!({"op": "ends", "dir": folder})))
        };
        let answers: Vec<(String, Json)> = originals.iter_mut().map(ask).collect();
        fs::remove_dir_all(&folder).unwrap();
        let found = theirs(&answers, folder.to_str().unwrap());
        if update() {
            case.rewrite(&[("theirs", found)]);
            continue;
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
    assert!(wrong.is_empty(), "the original says otherwise now:\n{}", wrong.join("\n"));
}

/// The page itself.
fn page() -> String {
    let mut page = String::from(
        "# Mistakes in a configuration, and what is said of them\n\n\
         Each mistake in a small tree, with the answer of fail2ban 1.1.0 beside ours (drop-in profile: a complete tree).\n\
         *Start* and *test* are exit codes of `fail2ban-client start` and `fail2ban-client -t`; 1.0.2 is named where it\n\
         ends otherwise. `TREE` is the folder. Files that are as they should be are left out. Made by `cargo xtask docs`\n\
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
        let Some((group, title)) = case.part("about").trim().split_once(": ") else { continue };
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
