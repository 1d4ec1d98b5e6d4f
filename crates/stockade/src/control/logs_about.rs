//! What the logs say of an id that is not banned: whether any line names it, and what its jails make of that line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use serde_json::{Value, json};
use stockade_core::matcher::{LineMode, Matcher};
use stockade_core::{FailureId, Timestamp, Who};

use crate::daemon::board::{JailBoard, Posted};

/// So much of each log's end is looked through.
const TAIL_BYTES: u64 = 2 << 20;
/// Logs that are looked through, and lines of one log, at most.
const LOGS_MAX: usize = 64;
const LINES_MAX: usize = 500;

/// What came of it.
pub(super) struct LogsAbout {
    /// One entry for each jail and log with a line about the id.
    pub(super) found: Vec<Value>,
    /// The logs that were looked through.
    pub(super) searched: Vec<String>,
    /// Jails whose lines come from the journal, which is not looked through.
    pub(super) journal: Vec<String>,
}

/// Looks through the ends of all logs that jails read.
pub(super) fn look(posted: &Posted, id: &FailureId, now: Timestamp) -> LogsAbout {
    let mut about = LogsAbout { found: Vec::new(), searched: Vec::new(), journal: Vec::new() };
    let text = id.to_string();
    for (jail, source) in posted.jails.iter().flat_map(|jail| jail.sources.iter().map(move |source| (jail, source))) {
        let path = source.name.to_string();
        if !path.starts_with('/') {
            about.journal.push(jail.spec.name.to_string());
            continue;
        }
        if about.searched.len() >= LOGS_MAX {
            break;
        }
        let lines = lines_about(&path, &text, jail);
        if !about.searched.contains(&path) {
            about.searched.push(path.clone());
        }
        about.found.extend(judged(jail, id, &path, &lines, now));
    }
    about
}

/// The newest lines of a log that name the text, oldest first; none if the log can't be read.
fn lines_about(path: &str, text: &str, jail: &JailBoard) -> Vec<String> {
    let Ok(mut file) = File::open(path) else { return Vec::new() };
    let size = file.metadata().map_or(0, |meta| meta.len());
    let from = size.saturating_sub(TAIL_BYTES);
    let mut bytes = Vec::new();
    if file.seek(SeekFrom::Start(from)).and_then(|_| file.take(TAIL_BYTES).read_to_end(&mut bytes)).is_err() {
        return Vec::new();
    }
    // The first line may be the rest of one.
    let all = bytes.split(|byte| *byte == b'\n').skip(usize::from(from > 0));
    let decoded = all.map(|line| jail.filter.decode(line).trim_end().to_owned());
    let mut lines: Vec<String> = decoded.filter(|line| names(line, text)).collect();
    lines.drain(..lines.len().saturating_sub(LINES_MAX));
    lines
}

/// Does the line name exactly this, not something longer that contains it?
fn names(line: &str, text: &str) -> bool {
    let part = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    line.match_indices(text).any(|(at, found)| {
        let before = line.get(..at).and_then(|head| head.chars().next_back());
        let mut behind = line.get(at.saturating_add(found.len())..).unwrap_or_default().chars();
        let next = behind.next();
        // A colon or dot that ends a word is none of the address.
        let goes_on = next.is_some_and(|c| {
            part(c) && (c.is_ascii_hexdigit() || behind.next().is_some_and(|c| c.is_ascii_hexdigit()))
        });
        let port = next == Some(':') && text.contains('.');
        !before.is_some_and(part) && (!goes_on || port)
    })
}

/// What a jail makes of these lines, the last one with the reason.
fn judged(jail: &JailBoard, id: &FailureId, path: &str, lines: &[String], now: Timestamp) -> Option<Value> {
    let last = lines.last()?;
    let mut matcher = Matcher::new(jail.spec.name.clone(), std::sync::Arc::clone(&jail.filter), 0);
    let (mut failures, mut verdict) = (0_u64, "");
    for line in lines {
        let report = matcher.line(now, line, None, false, LineMode::SCAN);
        let found = report.hits.iter().any(|hit| !hit.nofail && matches!(&hit.who, Some(Who::Id(who)) if who == id));
        failures = failures.saturating_add(u64::from(found));
        verdict = if !report.ignored.is_empty() {
            "an ignoreregex of the jail takes that line out"
        } else if found {
            "that line is a failure"
        } else if report.hits.iter().any(|hit| hit.nofail) {
            "that line is no failure by itself"
        } else if !report.hits.is_empty() {
            "that line is a failure of somebody else"
        } else if report.undecided {
            "a pattern ran out of steps"
        } else if report.date.is_none() {
            "no date is recognised in that line"
        } else if report.too_old {
            "that line is older than findtime"
        } else {
            "no pattern of the jail matches that line"
        };
    }
    Some(json!({ "jail": jail.spec.name.as_str(), "path": path, "lines": lines.len(), "failures": failures,
        "last": last, "verdict": verdict }))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn an_address_is_named_whole_or_not() {
        for (line, named) in [
            ("from 192.0.2.1 port 22", true),
            ("from 192.0.2.1:", true),
            ("client 192.0.2.1:4711]", true),
            ("rhost=192.0.2.1.", true),
            ("[192.0.2.1]", true),
            ("from 192.0.2.10 port 22", false),
            ("from 1192.0.2.1 port 22", false),
            ("from 192.0.2.1.7 port 22", false),
            ("nobody", false),
        ] {
            assert_eq!(names(line, "192.0.2.1"), named, "{line}");
        }
        assert!(names("from 2001:db8::1 port 1", "2001:db8::1"));
        assert!(!names("from 2001:db8::1:2 port 1", "2001:db8::1"));
        assert!(!names("from 2001:db8::12 port 1", "2001:db8::1"));
    }
}
