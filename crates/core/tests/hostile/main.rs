//! Hostile lines of 8 KiB with every pattern of an installed fail2ban's stock filters: what each takes.
//!
//! The lines: those of GHSA-33wh-ccjc-p397, near misses of every date, and sample lines with each of
//! their words repeated until the line is full. Where both versions lie unpacked is said by
//! `STOCKADE_F2B_ROOT_110` and `STOCKADE_F2B_ROOT_102`. Times are judged in release builds only, steps in
//! all; `STOCKADE_LONG=1` takes every sample line instead of some.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test: it reads logs, measures, and prints the worst"
)]

#[path = "../matcher_samples/options.rs"]
mod options;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use options::Reader;
use serde_json::Value;
use stockade_core::matcher::{Calendar, Filter, FilterSpec, LineMode, Matcher};
use stockade_core::{JailName, Timestamp};
use stockade_original::Installed;
use stockade_original::samples::Options;
use stockade_pattern::{Flags, Outcome, Regex, Scratch, Slots};

const BYTES: usize = 8 << 10;
/// The bar: one pattern (or the search for a date) on one line of 8 KiB.
const BAR: Duration = Duration::from_millis(1);
/// The bar for several lines of 8 KiB that a filter with `maxlines` joins to one text, for each of them.
const BAR_JOINED: Duration = Duration::from_millis(1);
/// The most steps that a search may take on a line of 8 KiB: not what it is granted (60,000 and 2 for
/// each byte), but the measured worst, 49,138, and some room.
const STEPS: usize = 60_000;
/// The same for each byte of joined lines; the measured worst is 1.22.
const STEPS_PER_BYTE: usize = 2;
/// Patterns that run out of steps on some of these lines, which is told then. No other may.
const GIVEN_UP: [&str; 1] = ["sendmail-reject failregex 1"];
/// Searches are timed this often; the fastest counts, as others run beside us.
const TIMES: usize = if cfg!(debug_assertions) { 1 } else { 5 };
/// Sample lines of one filter that are stretched, in the short form.
const SAMPLES: usize = 2;

/// Filled to [`BYTES`].
fn filled(head: &str, part: &str, tail: &str) -> String {
    let room = BYTES.saturating_sub(head.len() + tail.len());
    format!("{head}{}{tail}\n", part.repeat((room / part.len().max(1)).max(1)))
}

/// The fastest of several runs.
fn fastest(mut run: impl FnMut()) -> Duration {
    let mut best = Duration::MAX;
    for _ in 0..TIMES {
        let start = Instant::now();
        run();
        best = best.min(start.elapsed());
        if best < BAR / 4 {
            break;
        }
    }
    best
}

/// Lines that are nearly dates, over and over.
fn near_dates() -> Vec<String> {
    let parts = [
        "1",
        "12:",
        "12:34:5",
        "12:34:56 ",
        ":",
        "::",
        "2025-08-12 ",
        "2025-08-12 10:",
        "2025-08-12 10:11:",
        "2025-08-12T",
        "Aug 12 ",
        "Aug 12 10:11:",
        "Aug 12 10:11:6 ",
        "Tue Aug 12 10:",
        "12/Aug/2025:",
        "12/Aug/2025:10:11",
        "12/08/25 ",
        "08/12/2025:10:",
        "12-31-2025 10:11",
        "1754986272",
        "1754986272.",
        "20250812T10",
        "250812 10:11:",
        "@400000",
        "Jan, 2025 ",
        "Aug-12-25 10:",
        "<08/12/25@10:",
        "20",
        "2025",
        "2025.",
        "audit(1754986272",
        "[1754986272",
        "PDT Aug 12 ",
        "+00:00 Aug 12 10:",
        "jan",
        "20 20-20:20:20/",
        "a 20:20:20 b ",
        "2025-08-12 10:11:1z ",
    ];
    let mut out = Vec::new();
    for part in parts {
        for head in ["", "x", "[", "2025-08-1 "] {
            out.push(filled(head, part, ""));
            // One character that is not ASCII must not make it dear.
            out.push(filled(&format!("\u{e9}{head}"), part, ""));
            out.push(filled(head, part, "\u{e9}"));
        }
        out.push(filled("", &format!("{part}\u{e9}"), ""));
    }
    out
}

/// A sample with each of its words repeated, and the lines of the advisory in its place.
fn stretched(sample: &str) -> Vec<String> {
    let mut out = vec![filled(sample, " ", ""), filled(sample, "a: ", ""), filled("", sample, "")];
    let words: Vec<&str> = sample.split(' ').collect();
    for n in 0..words.len() {
        let (head, tail) = (words.get(..n).unwrap_or_default().join(" "), words.get(n..).unwrap_or_default().join(" "));
        for part in ["A ", "a: ", "(", "user=", "\"", " from 192.0.2.1", words.get(n).copied().unwrap_or("")] {
            if !part.is_empty() {
                out.push(filled(&format!("{head} "), part, &format!(" {tail}")));
            }
        }
    }
    out
}

/// The worst that one pattern took.
#[derive(Default)]
struct Worst {
    time: Duration,
    /// Over how many joined lines.
    lines: u32,
    /// Was a search above the bar for its text?
    over: bool,
    steps: u32,
    line: String,
    pattern: String,
}

fn patterns(spec: &FilterSpec, filter: &Filter) -> Vec<(String, Regex)> {
    let flags = Flags { multiline: spec.maxlines > 1, ..Flags::default() };
    let mut out: Vec<(String, Regex)> = Vec::new();
    out.extend(filter.prefregex().map(|t| ("prefregex".to_owned(), Regex::new(t, Flags::default()).unwrap())));
    out.extend(filter.failregex().zip(1..).map(|(t, n)| (format!("failregex {n}"), Regex::new(t, flags).unwrap())));
    out.extend(
        filter
            .ignoreregex()
            .zip(1..)
            .map(|(t, n)| (format!("ignoreregex {n}"), Regex::new(t, Flags::default()).unwrap())),
    );
    out
}

fn samples(installed: &Installed, name: &str, all: bool) -> Vec<String> {
    let file = installed.logs().join(name);
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines: Vec<&str> = text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()).collect();
    let step = if all { 1 } else { lines.len() / SAMPLES + 1 };
    lines.into_iter().step_by(step).map(str::to_owned).collect()
}

#[test]
fn every_stock_pattern_is_bounded() {
    for installed in stockade_original::both("every_stock_pattern_is_bounded") {
        check(&installed);
    }
}

/// Searches hostile lines for each stock pattern of one version.
fn check(installed: &Installed) {
    let all = std::env::var_os("STOCKADE_LONG").is_some();
    let calendar = Calendar::new(TimeZone::UTC, 2026);
    let mut reader = Reader::start(installed);
    let mut worst: BTreeMap<String, Worst> = BTreeMap::new();
    let (mut scratch, mut slots) = (Scratch::new(), Slots::new());
    let (mut searches, mut most, mut most_per_byte) = (0_u64, 0, 0.0_f64);
    let mut given_up: BTreeMap<String, u64> = BTreeMap::new();
    let mut names: Vec<String> = std::fs::read_dir(installed.tree().join("filter.d"))
        .unwrap()
        .filter_map(|e| e.unwrap().file_name().into_string().ok()?.strip_suffix(".conf").map(str::to_owned))
        .filter(|name| !name.ends_with("common"))
        .collect();
    names.sort();
    for name in names {
        let modes =
            if ["sshd", "postfix", "dovecot", "exim"].contains(&name.as_str()) { "aggressive" } else { "normal" };
        let options = Options::from([("mode".to_owned(), Value::from(modes))]);
        let spec = reader.spec(&name, &options);
        let Ok(filter) = Filter::compile(&spec, &calendar) else { continue };
        let mut lines: Vec<String> =
            samples(installed, &name, all).iter().flat_map(|sample| stretched(sample)).collect();
        // The advisory's: names of 64 words, and of 22 colons.
        lines.extend([filled("", "A ", ""), filled("", "a: ", ""), filled("", "x", ""), filled(" ", "192.0.2.1 ", "")]);
        let mut matcher =
            Matcher::new(JailName::new("hostile"), Arc::new(Filter::compile(&spec, &calendar).unwrap()), 0);
        for line in &lines {
            // What the patterns see: without the date, and behind the prefregex its content.
            let mode = LineMode { show: true, ..LineMode::ALL };
            let report = matcher.line(Timestamp::from_secs(1_785_542_400), line.trim_end(), None, false, mode);
            let Some(seen) = report.seen else { continue };
            let mut text = seen.text.to_string();
            for (what, regex) in patterns(&spec, &filter) {
                searches += 1;
                let mut outcome = None;
                let time = fastest(|| outcome = Some(regex.search(&mut scratch, &text, 0..text.len(), &mut slots)));
                let steps = usize::try_from(scratch.steps()).unwrap();
                // With `maxlines` a text is several lines.
                let joined = text.len() > BYTES + 1;
                if outcome == Some(Outcome::Exhausted) {
                    *given_up.entry(format!("{name} {what}")).or_default() += 1;
                } else if joined {
                    most_per_byte = most_per_byte.max(f64::from(scratch.steps()) / text.len() as f64);
                    assert!(steps <= STEPS_PER_BYTE * text.len(), "{name} {what}: {steps} steps on {}", text.len());
                } else {
                    most = most.max(steps);
                    assert!(steps <= STEPS, "{name} {what}: {steps} steps");
                }
                let lines = u32::try_from(text.len().div_ceil(BYTES + 1)).unwrap().max(1);
                let over = if joined { time > BAR_JOINED * lines } else { time > BAR };
                let entry = worst.entry(format!("{name} {what}")).or_default();
                entry.over |= over;
                // Compared by the bar that counts.
                if time / lines > entry.time / entry.lines.max(1) {
                    *entry = Worst {
                        time,
                        lines,
                        over: entry.over,
                        steps: scratch.steps(),
                        line: line.chars().take(120).collect(),
                        pattern: regex.as_str().chars().take(100).collect(),
                    };
                }
                if what == "prefregex" {
                    let content = regex.group_names().iter().find(|(n, _)| **n == *"content").map(|(_, g)| *g);
                    if let Some(span) = content.and_then(|g| slots.get(g)) {
                        text = format!("{}\n", text.get(span).unwrap_or(""));
                    }
                }
            }
        }
    }
    let mut rows: Vec<(&String, &Worst)> = worst.iter().collect();
    rows.sort_by_key(|(_, w)| std::cmp::Reverse(w.time / w.lines.max(1)));
    println!(
        "{}: {searches} searches of {} patterns on lines of {BYTES} bytes; at most {most} steps on one line, \
         {most_per_byte:.2} a byte on joined ones; given up: {given_up:?}; the worst for each line:",
        installed.version,
        rows.len()
    );
    for (what, w) in rows.iter().take(12) {
        let time = w.time.as_micros();
        println!("{time:>8} us on {} {:>8} steps  {what}: {} on {}", w.lines, w.steps, w.pattern, w.line);
    }
    let over: Vec<_> = rows.iter().filter(|(_, w)| w.over).map(|(what, _)| what.as_str()).collect();
    println!("{} patterns above 1 ms a line", over.len());
    let others: Vec<_> = given_up.keys().filter(|what| !GIVEN_UP.contains(&what.as_str())).collect();
    assert!(others.is_empty(), "patterns ran out of steps: {others:?}");
    assert!(rows.len() > 200, "only {} patterns", rows.len());
    assert!(cfg!(debug_assertions) || over.is_empty(), "{over:?}");
}

#[test]
fn no_line_stalls_the_search_for_its_date() {
    let calendar = Calendar::new(TimeZone::UTC, 2026);
    let spec = FilterSpec { failregex: vec!["^never <HOST>$".to_owned()], ..FilterSpec::default() };
    let mut rows = Vec::new();
    for line in near_dates() {
        let filter = Arc::new(Filter::compile(&spec, &calendar).unwrap());
        let time = fastest(|| {
            let mut matcher = Matcher::new(JailName::new("dates"), Arc::clone(&filter), 0);
            let report =
                matcher.line(Timestamp::from_secs(1_785_542_400), line.trim_end(), None, false, LineMode::SCAN);
            assert!(!report.undecided, "out of steps on {line:?}");
        });
        rows.push((time, line));
    }
    rows.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
    for (time, line) in rows.iter().take(8) {
        println!("{:>8} us  {}", time.as_micros(), line.chars().take(60).collect::<String>());
    }
    let worst = rows.first().map_or(Duration::ZERO, |(time, _)| *time);
    assert!(cfg!(debug_assertions) || worst < BAR, "{} us", worst.as_micros());
}
