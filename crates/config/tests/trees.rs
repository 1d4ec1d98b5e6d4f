//! Small trees, each a file in `trees/`: what it compiles to, what is found in
//! it, and how a start and a test end. The original must end the same way and
//! give the same commands.
//!
//! A file has parts headed `==> NAME`: the files of the tree, then `stream`,
//! `findings` and `ends`. `STOCKADE_UPDATE=1` writes the last three anew; read
//! the difference before you commit it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

#[path = "original/compare.rs"]
mod compare;
mod original;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use compare::Differences;
use serde_json::json;
use stockade_config::{CompileCheck, LoadOptions, Loaded, MissingLogs, TreeSource, load};
use stockade_core::matcher::Calendar;
use stockade_wire::value::command_repr;

struct Case {
    name: String,
    path: PathBuf,
    /// Parts in order: heading and text.
    parts: Vec<(String, String)>,
}

const RESULTS: [&str; 3] = ["stream", "findings", "ends"];

fn read(path: &Path) -> String {
    std::io::read_to_string(fs::File::open(path).unwrap()).unwrap()
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trees");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    let case = |path: PathBuf| {
        let mut parts: Vec<(String, String)> = Vec::new();
        for line in read(&path).split_inclusive('\n') {
            match line.strip_prefix("==> ") {
                Some(head) => parts.push((head.trim_end().to_owned(), String::new())),
                None => {
                    if let Some((_, text)) = parts.last_mut() {
                        text.push_str(line);
                    }
                }
            }
        }
        Case { name: path.file_stem().unwrap().to_str().unwrap().to_owned(), path, parts }
    };
    paths.into_iter().map(case).collect()
}

impl Case {
    /// Writes the files of the tree into a folder of their own.
    fn unpack(&self, purpose: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("stockade-tree-{}-{purpose}-{}", std::process::id(), self.name));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in self.parts.iter().filter(|(name, _)| !RESULTS.contains(&name.as_str())) {
            let path = folder.join(name);
            if let Some(target) = name.strip_suffix('/') {
                fs::create_dir_all(folder.join(target)).unwrap();
                continue;
            }
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text = text.replace("TREE", folder.to_str().unwrap()).replace("\\xff", "\u{fffd}");
            // The one bad byte that a text file cannot hold.
            let bytes: Vec<u8> =
                text.replace('\u{fffd}', "\u{1}").bytes().map(|b| if b == 1 { 0xff } else { b }).collect();
            fs::write(path, bytes).unwrap();
        }
        if !self.parts.iter().any(|(name, _)| name.starts_with("fail2ban.")) && self.name != "no-fail2ban-conf" {
            fs::write(folder.join("fail2ban.conf"), "[Definition]\n").unwrap();
        }
        folder
    }

    fn part(&self, name: &str) -> &str {
        self.parts.iter().find(|(n, _)| n == name).map_or("", |(_, text)| text)
    }
}

fn run(folder: &Path) -> Loaded {
    let check = CompileCheck::new(Calendar::new(jiff::tz::TimeZone::UTC, 2026));
    let options = LoadOptions { checker: Some(&check), ..LoadOptions::default() };
    load(&TreeSource::Disk(folder.to_owned()), &options)
}

/// Exit codes of `-d`, of a start and of `-t`.
fn ends(loaded: &Loaded) -> String {
    let code = |good: bool| if good { 0 } else { 255 };
    format!("start {} test {}\n", code(loaded.is_startable()), code(loaded.passes_test()))
}

#[test]
fn small_trees_give_what_is_written_below_them() {
    let update = std::env::var_os("STOCKADE_UPDATE").is_some();
    let cases = cases();
    assert!(cases.len() > 40, "only {} trees", cases.len());
    for case in cases {
        let folder = case.unpack("ours");
        let loaded = run(&folder);
        fs::remove_dir_all(&folder).unwrap();
        let place = folder.to_str().unwrap();
        let mut found: BTreeMap<&str, String> = BTreeMap::new();
        let mut stream = String::new();
        for command in loaded.original() {
            writeln!(stream, "{}", command_repr(command).replace(place, "TREE")).unwrap();
        }
        let findings = loaded.diagnostics.iter().map(|d| d.to_string().replace(place, "TREE") + "\n");
        found.insert("stream", stream);
        found.insert("findings", findings.collect());
        found.insert("ends", ends(&loaded));
        if update {
            let mut text = String::new();
            for (name, part) in case.parts.iter().filter(|(name, _)| !RESULTS.contains(&name.as_str())) {
                write!(text, "==> {name}\n{part}").unwrap();
            }
            for name in RESULTS {
                write!(text, "==> {name}\n{}", found[name]).unwrap();
            }
            fs::write(&case.path, text).unwrap();
            continue;
        }
        for name in RESULTS {
            assert_eq!(found[name], case.part(name), "{} of {}", name, case.name);
        }
    }
}

#[test]
fn the_original_ends_the_same_way() {
    let mut differences = Differences::read();
    let originals = original::all("the_original_ends_the_same_way");
    let complete = originals.len() == 2;
    let mut failed: Vec<String> = Vec::new();
    for mut original in originals {
        // What takes the original for ever: it has no bounds.
        for case in cases().into_iter().filter(|case| case.name != "explosion") {
            let folder = case.unpack(&format!("theirs-{}", original.version));
            let theirs = original.load(&folder);
            let ours = run(&folder);
            let wrong = differences.compare(&theirs, &ours, &original.version.clone());
            if !wrong.is_empty() {
                failed.push(format!("{} {}: {}", original.version, case.name, wrong.join("\n")));
            }
            // A start, which wants the log files to be there.
            let theirs = original.ask(&json!({"op": "load", "dir": folder, "no_files": false}));
            let wrong = differences.compare(&theirs, &ours, &original.version.clone());
            if !wrong.is_empty() {
                failed.push(format!("{} {} at start: {}", original.version, case.name, wrong.join("\n")));
            }
            let refuse = LoadOptions { missing_logs: MissingLogs::Refuse, ..LoadOptions::default() };
            let ours = load(&TreeSource::Disk(folder.clone()), &refuse);
            if theirs["error"].is_string() && !ours.refused {
                let known = wrong.is_empty() && theirs["error"].as_str().unwrap().contains("Have not found");
                if !known {
                    failed.push(format!(
                        "{} {}: refused by the original only: {}",
                        original.version, case.name, theirs["error"]
                    ));
                }
            }
            fs::remove_dir_all(&folder).unwrap();
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    if complete {
        differences.finish("trees");
    }
}
