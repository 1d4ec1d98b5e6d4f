//! Reads annotated logs and holds the matcher to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use stockade_core::matcher::{Calendar, Filter, Hit, LineMode, Matcher};
use stockade_core::{Block, FailureId, GroupValue, JailName, Position, SourceKey, Span, Timestamp, Who};
use stockade_original::Installed;
use stockade_original::samples::{Options, Sample, filters, of_filter};

use crate::daemon::{self, Daemon};
use crate::options::Reader;

/// The clock of the samples: 2005-08-14 12:00:00 in central Europe.
const NOW: i64 = 1_124_013_600;
const ZONE: &str = "CET-01CEST-02,M3.5.0,M10.5.0";

/// One filter with one set of options, and which of its failregexes have hit something.
struct Case {
    matcher: Matcher,
    /// The same filter as the daemon runs it.
    daemon: Daemon,
    options: Options,
    used: BTreeSet<usize>,
}

/// The samples of one filter.
struct Samples<'a> {
    name: &'a str,
    reader: &'a mut Reader,
    calendar: &'a Arc<Calendar>,
    cases: BTreeMap<String, Case>,
    used_texts: BTreeSet<String>,
    faults: Vec<String>,
    /// What the daemon's own path makes of the lines, where that is wrong.
    daemon_faults: Vec<String>,
    daemon_lines: usize,
}

/// The samples as the daemon gets them, in blocks of several sizes, against
/// the same lines one by one.
pub(crate) fn check_blocks(installed: &Installed) {
    let logs = installed.logs();
    let calendar = Calendar::new(TimeZone::posix(ZONE).unwrap(), 2026);
    let mut reader = Reader::start(installed);
    let now = Timestamp::from_secs(NOW);
    let mut total = 0;
    for name in filters(installed) {
        let text = std::fs::read_to_string(logs.join(&name)).unwrap();
        let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).collect();
        let mut spec = reader.spec(&name, &Options::new());
        // All of them are old, and count.
        spec.findtime = Span::from_secs(4_000_000_000);
        let filter = Arc::new(Filter::compile(&spec, &calendar).unwrap_or_else(|e| panic!("{name}: {e}")));
        let mut single = Matcher::new(JailName::new("jail"), Arc::clone(&filter), 0);
        let mut expected = Vec::new();
        let mut offset = 0_u64;
        for line in &lines {
            offset += line.len() as u64 + 1;
            let mode = LineMode { findtime: true, ..LineMode::DAEMON };
            for hit in single.line(now, line, None, false, mode).hits {
                expected.push((hit.regex, hit.who.unwrap(), hit.time.unwrap(), hit.matches, Position::Offset(offset)));
            }
        }
        for size in [1, 3, 1_000] {
            let mut matcher = Matcher::new(JailName::new("jail"), Arc::clone(&filter), 0);
            let mut got = Vec::new();
            let mut begin = 0_u64;
            for lines in lines.chunks(size) {
                let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
                let end = begin + text.len() as u64;
                let block = Block {
                    source: SourceKey { path: name.as_str().into(), generation: 0 },
                    begin: Position::Offset(begin),
                    end: Position::Offset(end),
                    text: text.into_bytes().into(),
                    stamps: Box::default(),
                    in_operation: false,
                    replay: false,
                };
                begin = end;
                for f in matcher.block(now, &block).failures {
                    got.push((f.regex, f.who, f.time, f.matches.into_vec(), f.place));
                }
            }
            assert_eq!(got, expected, "{name} in blocks of {size} lines");
        }
        total += expected.len();
    }
    println!("{total} failures");
    assert!(total > 500, "{total}");
}

/// Checks all sample logs under `root`, which hold so many annotations.
pub(crate) fn check_all(installed: &Installed, annotations: usize) {
    let names = filters(installed);
    let calendar = Calendar::new(TimeZone::posix(ZONE).unwrap(), 2026);
    let mut reader = Reader::start(installed);
    let mut faults = Vec::new();
    let (mut daemon_faults, mut daemon_lines) = (Vec::new(), 0);
    let mut files = BTreeMap::new();
    for name in &names {
        let mut samples = Samples {
            name,
            reader: &mut reader,
            calendar: &calendar,
            cases: BTreeMap::new(),
            used_texts: BTreeSet::new(),
            faults: Vec::new(),
            daemon_faults: Vec::new(),
            daemon_lines: 0,
        };
        let all = of_filter(installed, name);
        all.list.iter().for_each(|sample| samples.line(sample));
        files.extend(all.annotations);
        samples.all_used();
        faults.append(&mut samples.faults);
        daemon_faults.append(&mut samples.daemon_faults);
        daemon_lines += samples.daemon_lines;
    }
    let seen: usize = files.values().sum();
    println!("{daemon_lines} lines through matcher and judge, {} faults", daemon_faults.len());
    assert!(daemon_lines > 1_000, "only {daemon_lines} lines went through matcher and judge");
    faults.append(&mut daemon_faults);
    println!("{} filters, {} files, {seen} annotations", names.len(), files.len());
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    assert_eq!(seen, annotations);
}

impl Samples<'_> {
    fn open(&mut self, label: &str, options: &Options) {
        if self.cases.contains_key(label) {
            return;
        }
        let spec = self.reader.spec(self.name, options);
        match Filter::compile(&spec, self.calendar) {
            Ok(filter) => {
                let filter = Arc::new(filter);
                let matcher = Matcher::new(JailName::new("jail"), Arc::clone(&filter), 0);
                let daemon = Daemon::new(filter, Timestamp::from_secs(NOW));
                let case = Case { matcher, daemon, options: options.clone(), used: BTreeSet::new() };
                self.cases.insert(label.to_owned(), case);
            }
            Err(e) => self.faults.push(format!("{} {label}: {e}", self.name)),
        }
    }

    fn line(&mut self, sample: &Sample) {
        let Sample { place, line, label, expected, .. } = sample;
        self.open(label, &sample.plain_options());
        let Some(case) = self.cases.get_mut(label) else { return };
        let now = Timestamp::from_secs(NOW);
        let journal = sample.is_of_journal();
        let report = case.matcher.line(now, line, journal.then_some(now), true, LineMode::ALL);
        for hit in &report.hits {
            let index = usize::try_from(hit.regex).unwrap();
            case.used.insert(index);
            self.used_texts.extend(case.matcher.filter().failregex().nth(index).map(str::to_owned));
        }
        let hits: Vec<&Hit> = report.hits.iter().filter(|hit| hit.who.is_some() && !nofail(hit)).collect();
        if let Some(fault) = judge(&hits, expected) {
            self.faults.push(format!("{}: {place} [{}]: {fault}\n    {line}", self.name, case.options_text()));
        }
        if report.undecided {
            self.faults.push(format!("{place}: out of steps"));
        }
        // Without a session the daemon counts what a pattern calls no failure, as the original's does.
        let told = report.hits.iter().any(nofail);
        let time = expected.get("time").and_then(Value::as_str).map(local_micros);
        let at = time.map_or(now, Timestamp::from_micros);
        // No clock of a daemon stands before 1970.
        if journal || at < Timestamp::from_secs(0) {
            return;
        }
        let bans = case.daemon.line(at, line);
        self.daemon_lines += 1;
        // A line without a time of its own borrows one of the line before, which had another clock.
        let timeless = expected.get("time").is_some_and(Value::is_null);
        let fault = if told || timeless { None } else { daemon::judge(&bans, expected, at) };
        if let Some(fault) = fault {
            let options = case.options_text();
            self.daemon_faults.push(format!("{}: {place} [{options}]: {fault}\n    {line}", self.name));
        }
    }

    /// Each failregex must have hit something, with one set of options or another.
    fn all_used(&mut self) {
        for (label, case) in &self.cases {
            for (index, text) in case.matcher.filter().failregex().enumerate() {
                if !case.used.contains(&index) && !self.used_texts.contains(text) {
                    self.faults.push(format!("{} {label}: failregex {index} was not used: {text}", self.name));
                }
            }
        }
    }
}

impl Case {
    fn options_text(&self) -> String {
        self.options.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(",")
    }
}

/// Does the pattern call this no failure? Here it counts without a session, too.
fn nofail(hit: &Hit) -> bool {
    let set = |value: &GroupValue| matches!(value, GroupValue::Text(text) if !text.is_empty());
    hit.groups.iter().any(|(name, value)| **name == *"nofail" && set(value))
}

/// What is wrong with the hits of a line, if anything.
fn judge(hits: &[&Hit], expected: &Map<String, Value>) -> Option<String> {
    let wanted = expected.get("match").is_some_and(|v| v == true);
    let hit = match (hits, wanted) {
        ([], false) => return None,
        ([], true) => return Some("not matched".to_owned()),
        (_, false) => return Some(format!("matched by {:?}", hits.iter().map(|h| h.regex).collect::<Vec<_>>())),
        ([hit], true) => hit,
        _ => return Some(format!("matched by several: {:?}", hits.iter().map(|h| h.regex).collect::<Vec<_>>())),
    };
    let id = match &hit.who {
        Some(Who::Id(id)) => id.to_string(),
        Some(Who::Name(name)) => name.to_string(),
        None => String::new(),
    };
    for (key, value) in expected {
        let group = hit.groups.iter().find(|(name, _)| **name == *key.as_str()).map(|(_, value)| value);
        let got = match (key.as_str(), group) {
            ("match" | "desc" | "constraint", _) => continue,
            ("time", _) => {
                let Some(text) = value.as_str() else { continue };
                let at = local_micros(text);
                if hit.time.map(Timestamp::micros) != Some(at) {
                    return Some(format!("time {:?}, expected {text} = {at}", hit.time));
                }
                continue;
            }
            (_, Some(GroupValue::Text(text))) => Value::from(&**text),
            (_, Some(GroupValue::List(list))) => list.iter().map(|t| Value::from(&**t)).collect(),
            // Compared as addresses: one expectation is in capital letters.
            ("host", None) if value.as_str().is_some_and(|v| FailureId::parse(v).to_string() == id) => continue,
            ("host", None) => Value::from(id.as_str()),
            ("attempts", None) => Value::from(hit.matches.len()),
            (_, None) => Value::Null,
        };
        let mut wanted = value.clone();
        if let Value::Array(list) = &mut wanted {
            list.sort_by_key(|v| v.as_str().map(str::to_owned));
        }
        if got != wanted {
            return Some(format!("{key} is {got}, expected {value}"));
        }
    }
    None
}

/// Microseconds of a local time as the logs spell it; numbers may lack their leading zero.
fn local_micros(text: &str) -> i64 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let n: Vec<i16> = whole.split(['-', 'T', ':']).map(|n| n.parse().unwrap()).collect();
    let small = |at: usize| i8::try_from(n[at]).unwrap();
    let at = jiff::civil::datetime(n[0], small(1), small(2), small(3), small(4), small(5), 0);
    let at = TimeZone::posix(ZONE).unwrap().to_timestamp(at).unwrap();
    at.as_microsecond() + format!("{fraction:0<6}").parse::<i64>().unwrap()
}
