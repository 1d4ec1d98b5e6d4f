//! Our sshd filter over our own sample lines, in our matcher and in the original.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a test")]

mod original;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value as Json, json};
use stockade_config::{LoadOptions, TreeSource, load};
use stockade_core::matcher::{Calendar, DatePattern, Filter, FilterSpec, LineMode, Matcher, UseDns};
use stockade_core::{GroupValue, JailName, Timestamp, Who};
use stockade_wire::Value;

/// Hides names and addresses that clients choose.
const STRANGER: &str = "192.0.2.66";

fn etc() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc").canonicalize().unwrap()
}

/// A line and what must come of it: address and name, if anything.
struct Sample {
    line: String,
    expected: Option<(String, String)>,
}

fn samples() -> Vec<Sample> {
    let text = include_str!("../../../etc/samples/sshd.log");
    let mut samples = Vec::new();
    let mut expected = None;
    // The jail's way to count; the test "filters" has the others.
    let part = text.lines().skip_while(|line| *line != "#: count=password").skip(1);
    for line in part.take_while(|line| !line.starts_with("#: ")) {
        if let Some(note) = line.strip_prefix("#= ") {
            let mut words = note.splitn(3, ' ');
            let (id, user) = (words.next().unwrap(), words.nth(1));
            expected = Some(user.map(|user| (id.to_owned(), user.to_owned())));
        } else if !line.starts_with('#') && !line.is_empty() {
            let expected = expected.take().unwrap_or_else(|| panic!("nothing is expected of: {line}"));
            samples.push(Sample { line: line.to_owned(), expected });
        }
    }
    assert!(samples.len() > 60);
    samples
}

/// The filter as our stream carries it.
fn spec(mode: &str) -> FilterSpec {
    // Tests run side by side in one process.
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("stockade-sshd-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("jail.local"), format!("[sshd]\nmode = {mode}\n")).unwrap();
    let loaded = load(&TreeSource::Overlay(folder.clone()), &LoadOptions::default());
    std::fs::remove_dir_all(&folder).unwrap();
    let mut spec = FilterSpec::default();
    for command in &loaded.stream {
        let word = |n: usize| command.get(n).and_then(Value::as_str).unwrap_or("").to_owned();
        match word(2).as_str() {
            "usedns" => spec.usedns = UseDns::parse(&word(3)).unwrap(),
            "prefregex" => spec.prefregex = Some(word(3)),
            "datepattern" => spec.datepattern = DatePattern::Text(word(3)),
            "addfailregex" => {
                let list = command[3].as_items().unwrap();
                spec.failregex = list.iter().map(|v| v.as_str().unwrap().to_owned()).collect();
            }
            _ => {}
        }
    }
    assert!(spec.failregex.len() > 10);
    spec
}

fn matcher(mode: &str) -> Matcher {
    let calendar = Calendar::new(jiff::tz::TimeZone::UTC, 2026);
    let filter = Filter::compile(&spec(mode), &calendar).unwrap_or_else(|e| panic!("{e}"));
    Matcher::new(JailName::new("sshd"), Arc::new(filter), 1)
}

/// What our matcher finds in each line: address and name.
fn ours<'a>(matcher: &mut Matcher, lines: impl Iterator<Item = &'a str>) -> Vec<Vec<(String, String)>> {
    let now = Timestamp::from_secs(1_795_348_800);
    let found = lines.map(|line| {
        let report = matcher.line(now, line, None, false, LineMode::SCAN);
        let hits = report.hits.into_iter().filter_map(|hit| {
            let Who::Id(id) = hit.who? else { return None };
            let user = hit.groups.iter().find(|(name, _)| &**name == "user").map(|(_, value)| match value {
                GroupValue::Text(text) => text.to_string(),
                GroupValue::List(list) => list.join(","),
            });
            Some((id.to_string(), user.unwrap_or_default()))
        });
        hits.collect()
    });
    found.collect()
}

fn theirs<'a>(original: &mut original::Original, lines: impl Iterator<Item = &'a str>) -> Vec<Vec<(String, String)>> {
    let lines: Vec<&str> = lines.collect();
    let answer = original.ask(&json!({"op": "match", "dir": etc(), "filter": "sshd[count=password]", "lines": lines}));
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    let all = answer["failures"].as_array().unwrap().iter();
    all.map(|hits| hits.as_array().unwrap().iter().map(|h| (text(&h[0]), text(&h[1]))).collect()).collect()
}

fn check(engine: &str, samples: &[Sample], found: &[Vec<(String, String)>]) {
    assert_eq!(samples.len(), found.len());
    for (sample, found) in samples.iter().zip(found) {
        match (&sample.expected, found.as_slice()) {
            (None, []) => {}
            (Some((id, user)), [(found_id, found_user)]) if id == found_id && (user == "*" || user == found_user) => {}
            _ => panic!("{engine}: {found:?}, but {:?} is expected of: {}", sample.expected, sample.line),
        }
    }
}

#[test]
fn one_wrong_password_is_one_failure() {
    let samples = samples();
    let found = ours(&mut matcher("normal"), samples.iter().map(|s| s.line.as_str()));
    check("ours", &samples, &found);
}

#[test]
fn the_original_finds_the_same_with_our_filter() {
    for mut original in original::all("the_original_finds_the_same_with_our_filter") {
        let samples = samples();
        let found = theirs(&mut original, samples.iter().map(|s| s.line.as_str()));
        check(&original.version.clone(), &samples, &found);
    }
}

/// What clients may call themselves to make us read another address.
const NAMES: &[&str] = &[
    "x from 192.0.2.66",
    "x from 192.0.2.66 port 22",
    "x from 192.0.2.66 port 22 ssh2",
    "x from 192.0.2.66 port 22 ssh2 from 192.0.2.66 port 22 ssh2",
    "x 192.0.2.66 port 22 [preauth]",
    "x 192.0.2.66 port 22",
    "x 192.0.2.66 port 22: Too many authentication failures [preauth]",
    "x from 192.0.2.66 not allowed because account is locked",
    "rhost=192.0.2.66",
    "[192.0.2.66]",
    "invalid user x from 192.0.2.66 port 22 ssh2",
    "illegal user x from 192.0.2.66",
    "192.0.2.66",
    "sshd[1]: Failed password for root from 192.0.2.66 port 22 ssh2",
    "x from 192.0.2.66 port 22 ssh2: RSA SHA256:y",
    "",
    " ",
];

#[test]
fn no_name_puts_a_stranger_in_the_place_of_the_attacker() {
    let samples = samples();
    for mode in ["normal", "ddos", "aggressive"] {
        let mut counted = 0;
        for name in NAMES {
            // sshd keeps what stands before a colon (behind it is the "style"): seen in 9.2 and 10.
            let name = name.split(':').next().unwrap_or(name);
            for (nth, victim) in ["carol", "oracle", "ubnt", "git", "root", "erin", "nagios", "frank", "backup", "mail"]
                .iter()
                .enumerate()
            {
                let mut matcher = matcher_of(mode);
                let plain = samples.iter().filter(|s| !s.line.contains(STRANGER));
                let lines: Vec<(String, &Sample)> = plain
                    .filter(|s| s.line.contains(victim))
                    .map(|s| (s.line.replacen(victim, name, usize::MAX), s))
                    .collect();
                assert!(!lines.is_empty(), "{nth}");
                let found = ours(&mut matcher, lines.iter().map(|(line, _)| line.as_str()));
                for ((line, sample), hits) in lines.iter().zip(found) {
                    let true_id = sample.expected.as_ref().map(|(id, _)| id.as_str());
                    for (id, _) in &hits {
                        assert_ne!(id, STRANGER, "{mode}: {line}");
                        counted += 1;
                        if mode == "normal" && true_id.is_some() {
                            assert_eq!(Some(id.as_str()), true_id, "{line}");
                        }
                    }
                }
            }
        }
        assert!(counted > 200, "{mode}: only {counted} failures");
    }
}

/// Compiled once per mode and thread, then a fresh matcher each time.
fn matcher_of(mode: &str) -> Matcher {
    thread_local!(static FILTERS: std::cell::RefCell<Vec<(String, Arc<Filter>)>> = const { std::cell::RefCell::new(Vec::new()) });
    FILTERS.with_borrow_mut(|list| {
        let known = list.iter().find(|(name, _)| name == mode).map(|(_, filter)| Arc::clone(filter));
        let filter = known.unwrap_or_else(|| {
            let filter = Arc::clone(matcher(mode).filter());
            list.push((mode.to_owned(), Arc::clone(&filter)));
            filter
        });
        Matcher::new(JailName::new("sshd"), filter, 1)
    })
}

#[test]
fn text_that_clients_choose_in_other_places_counts_for_nobody_else() {
    for (line, expected) in [
        (
            "sshd[1]: Bad protocol version identification 'x' from 192.0.2.66 port 2' from 203.0.113.9 port 41",
            "203.0.113.9",
        ),
        ("sshd[2]: Received disconnect from 203.0.113.9 port 4:11: from 192.0.2.66 port 2 [preauth]", ""),
        (
            "sshd[3]: Unable to negotiate with 203.0.113.9 port 4: no matching key exchange method found. Their offer: x with 192.0.2.66 port 1: no matching [preauth]",
            "203.0.113.9",
        ),
        (
            "sshd[4]: Accepted publickey for root from 203.0.113.9 port 4 ssh2: RSA-CERT SHA256:x ID \"x from 192.0.2.66 port 2 ssh2\" (serial 0) CA RSA SHA256:y",
            "",
        ),
        (
            "sshd[5]: Failed publickey for root from 203.0.113.9 port 4 ssh2: RSA-CERT SHA256:x ID \"x from 192.0.2.66 port 2 ssh2\" (serial 0) CA RSA SHA256:y",
            "",
        ),
    ] {
        let line = format!("Nov 22 10:00:00 gate {line}");
        let found = ours(&mut matcher("aggressive"), std::iter::once(line.as_str()));
        let ids: Vec<&str> = found[0].iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(ids.join(","), expected, "{line}");
    }
}
