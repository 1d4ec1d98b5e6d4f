//! Our filters over our own sample logs (`etc/samples`), in our matcher and in
//! the original; hostile text in every place that clients can write; and our
//! filters over the sample logs of an installed fail2ban.
//!
//! `STOCKADE_FILTER=NAME` looks at one filter only. Files are read from `etc/`
//! when a test runs, so a changed filter needs no new build.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test: it reads our files and stops at whatever is wrong"
)]

mod engine;
mod guide;
mod injection;
mod installed;
#[path = "../../../../conformance/src/known.rs"]
mod known;
#[path = "../original/mod.rs"]
mod original;
mod sample;
mod success;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::engine::{Engine, Found};
use crate::sample::{Part, Sample};

/// Our `etc`.
fn etc() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc").canonicalize().unwrap()
}

/// Names of our filters, sorted.
fn filters() -> Vec<String> {
    let only = std::env::var("STOCKADE_FILTER").ok();
    let mut names: Vec<String> = std::fs::read_dir(etc().join("filter.d"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".conf").map(str::to_owned))
        .filter(|name| !name.starts_with("stockade-") && only.as_ref().is_none_or(|only| only == name))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    names
}

/// What is wrong with what came of the lines of a part.
fn faults(who: &str, name: &str, part: &Part, found: &[Vec<Found>]) -> Vec<String> {
    assert_eq!(part.samples.len(), found.len());
    let judged = part.samples.iter().zip(found).filter(|(sample, found)| !met(sample, found));
    judged
        .map(|(s, found)| {
            format!(
                "{who}: {name}[{}]: line {}: {found:?}, but {:?} is expected of\n  {}",
                part.options, s.number, s.expected, s.line
            )
        })
        .collect()
}

fn met(sample: &Sample, found: &[Found]) -> bool {
    match (&sample.expected, found) {
        (None, []) => true,
        (Some(e), [f]) => e.id == f.id && Some(e.time) == f.time && (e.user == "*" || e.user == f.user),
        _ => false,
    }
}

fn stop_at(faults: &[String]) {
    let some: Vec<&str> = faults.iter().take(40).map(String::as_str).collect();
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), some.join("\n"));
}

#[test]
fn each_sample_line_gives_what_stands_above_it() {
    let mut wrong = Vec::new();
    let mut lines = 0;
    for name in filters() {
        for part in sample::read(&name) {
            let mut engine = Engine::new(&part.call(&name));
            let found: Vec<Vec<Found>> = part.samples.iter().map(|s| engine.line(&s.line)).collect();
            wrong.extend(faults("ours", &name, &part, &found));
            lines += part.samples.len();
        }
    }
    stop_at(&wrong);
    println!("{lines} sample lines");
}

#[test]
fn each_pattern_is_used_by_a_sample() {
    stop_at(&unused(|call| Some(Engine::new(call)), |_| true));
}

/// Patterns that none of these samples uses.
fn unused(engine: impl Fn(&str) -> Option<Engine>, counts: impl Fn(&Sample) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in filters() {
        let (mut all, mut used) = (BTreeSet::new(), BTreeSet::new());
        for part in sample::read(&name) {
            let Some(mut engine) = engine(&part.call(&name)) else { continue };
            all.extend(engine.patterns());
            for sample in part.samples.iter().filter(|sample| counts(sample)) {
                used.extend(engine.patterns_that_match(&sample.line));
            }
        }
        wrong.extend(all.difference(&used).map(|pattern| format!("{name}: no sample uses {pattern}")));
    }
    wrong
}

#[test]
fn each_sample_file_has_attacks_and_innocent_lines() {
    for name in filters() {
        let parts = sample::read(&name);
        let samples = || parts.iter().flat_map(|part| &part.samples);
        assert!(samples().any(|s| s.expected.is_some()), "{name} has no attack");
        assert!(samples().filter(|s| s.expected.is_none()).count() >= 2, "{name} has no near misses");
    }
}

#[test]
fn lines_of_the_journal_give_the_same_as_lines_of_files() {
    let mut compared = 0;
    for name in filters() {
        for part in sample::read(&name) {
            let mut engine = Engine::of_journal(&part.call(&name));
            for sample in &part.samples {
                let Some(line) = sample::without_syslog_date(&sample.line) else { continue };
                let ids: Vec<String> = engine.line(line).into_iter().map(|found| found.id).collect();
                let wanted: Vec<String> = sample.expected.iter().map(|e| e.id.clone()).collect();
                assert_eq!(ids, wanted, "{name}: {line}");
                compared += 1;
            }
        }
    }
    println!("{compared} lines");
}

#[test]
fn the_original_gives_the_same_with_our_filters() {
    for mut original in original::all("the_original_gives_the_same_with_our_filters") {
        let mut wrong = Vec::new();
        let mut lines = 0;
        for name in filters() {
            for part in sample::read(&name) {
                let texts: Vec<&str> = part.samples.iter().map(|s| s.line.as_str()).collect();
                let answer =
                    original.ask(&json!({"op": "match", "dir": etc(), "filter": part.call(&name), "lines": texts}));
                let found: Vec<Vec<Found>> =
                    answer["failures"].as_array().unwrap().iter().map(engine::of_the_original).collect();
                wrong.extend(faults(&original.version, &name, &part, &found));
                lines += part.samples.len();
            }
        }
        stop_at(&wrong);
        println!("{}: {lines} lines", original.version);
    }
}

#[test]
fn no_line_of_ours_is_one_of_the_originals() {
    for original in original::all("no_line_of_ours_is_one_of_the_originals") {
        let logs = original.installed.logs();
        let mut theirs = BTreeSet::new();
        for entry in std::fs::read_dir(logs).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let text = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
                theirs.extend(text.lines().map(|line| line.trim().to_owned()));
            }
        }
        assert!(theirs.len() > 1_000);
        for name in filters() {
            for sample in sample::read(&name).iter().flat_map(|part| &part.samples) {
                assert!(!theirs.contains(sample.line.trim()), "{name}: {}", sample.line);
            }
        }
    }
}
