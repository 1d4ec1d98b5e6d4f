//! What the logs say of an address that is not banned: whether any line names it, and what its jails make of that line.
//!
//! Only addresses are looked for: whoever may ask, but may not read the logs, must not search them for words.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stockade_core::matcher::{LineMode, Matcher};
use stockade_core::{FailureId, LineEnd, Net, Timestamp, Who};

use crate::daemon::board::{JailBoard, Posted};
use crate::plain_file;

/// So much of each log's end is looked through.
const TAIL_BYTES: u64 = 2 << 20;
/// Logs that are looked through, and lines of one log, at most.
const LOGS_MAX: usize = 64;
const LINES_MAX: usize = 500;
/// So long at most; other questions wait meanwhile.
const TIME_MAX: Duration = Duration::from_secs(3);

/// What came of it.
pub(super) struct LogsAbout {
    /// One entry for each jail and log with a line about the address.
    pub(super) found: Vec<Value>,
    /// The logs that were looked through.
    pub(super) searched: Vec<String>,
    /// How many were not, because it took too long or there are too many.
    pub(super) left_out: usize,
    /// Jails whose lines come from the journal, which is not looked through.
    pub(super) journal: Vec<String>,
}

/// Looks through the ends of all logs that jails read, each once.
pub(super) fn look(posted: &Posted, net: Net, now: Timestamp) -> LogsAbout {
    let mut about = LogsAbout { found: Vec::new(), searched: Vec::new(), left_out: 0, journal: Vec::new() };
    let mut logs: Vec<(&str, Vec<&JailBoard>)> = Vec::new();
    for (jail, source) in posted.jails.iter().flat_map(|jail| jail.sources.iter().map(move |source| (jail, source))) {
        match logs.iter_mut().find(|(path, _)| *path == &*source.name) {
            _ if !source.name.starts_with('/') => about.journal.push(jail.spec.name.to_string()),
            Some((_, jails)) => jails.push(jail),
            None => logs.push((&source.name, vec![jail])),
        }
    }
    let until = Instant::now() + TIME_MAX;
    for (path, jails) in logs {
        if about.searched.len() >= LOGS_MAX || Instant::now() >= until {
            about.left_out += 1;
            continue;
        }
        about.searched.push(path.to_owned());
        let end = LogEnd::read(Path::new(path), net).unwrap_or_default();
        for jail in jails {
            let lines = end.lines_about(jail, until);
            about.found.extend(judged(jail, net, path, &lines, (now, until)));
        }
    }
    about
}

/// The end of one log, and the lines in it that name the address, where a byte is a character.
#[derive(Default)]
struct LogEnd {
    bytes: Vec<u8>,
    /// Does it begin within a line?
    cut: bool,
    text: String,
    /// Newest last.
    lines: Vec<std::ops::Range<usize>>,
}

impl LogEnd {
    /// Reads it; what is no plain file is not waited for.
    fn read(path: &Path, net: Net) -> io::Result<LogEnd> {
        let mut file = plain_file::open(path)?;
        // Where a character has two bytes they stand in pairs.
        let from = file.metadata()?.len().saturating_sub(TAIL_BYTES) & !1;
        file.seek(SeekFrom::Start(from))?;
        let mut end = LogEnd { cut: from > 0, text: net.to_string(), ..LogEnd::default() };
        file.take(TAIL_BYTES).read_to_end(&mut end.bytes)?;
        let mut begin = 0;
        for (n, line) in end.bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let whole = n > 0 || !end.cut;
            if whole && memchr::memmem::find(line, end.text.as_bytes()).is_some() {
                end.lines.push(begin..begin + line.len());
            }
            begin += line.len();
        }
        Ok(end)
    }

    /// The newest lines that name the address, oldest first, as the jail reads them.
    fn lines_about(&self, jail: &JailBoard, until: Instant) -> Vec<String> {
        let named = |line: &[u8]| {
            let line = jail.filter.decode(line).trim_end().to_owned();
            names(&line, &self.text).then_some(line)
        };
        let mut lines: Vec<String> = match jail.filter.line_end() {
            LineEnd::Byte => {
                let newest = self.lines.iter().rev().filter_map(|at| named(self.bytes.get(at.clone())?));
                newest.take(LINES_MAX).collect()
            }
            wide => {
                let all: Vec<&[u8]> = wide.lines(&self.bytes).skip(usize::from(self.cut)).collect();
                let newest = all.into_iter().rev().take_while(|_| Instant::now() < until);
                newest.filter_map(named).take(LINES_MAX).collect()
            }
        };
        lines.reverse();
        lines
    }
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

/// What a jail makes of these lines, the last one with the reason; older ones are left out once the time is over.
fn judged(
    jail: &JailBoard,
    net: Net,
    path: &str,
    lines: &[String],
    (now, until): (Timestamp, Instant),
) -> Option<Value> {
    let (last, id) = (lines.last()?, FailureId::Net(net));
    let mut matcher = Matcher::new(jail.spec.name.clone(), std::sync::Arc::clone(&jail.filter), 0);
    let (mut failures, mut verdict) = (0_u64, "");
    for (n, line) in lines.iter().enumerate() {
        if Instant::now() >= until && n + 1 < lines.len() {
            continue;
        }
        let report = matcher.line(now, line, None, false, LineMode::SCAN);
        let found = report.hits.iter().any(|hit| !hit.nofail && matches!(&hit.who, Some(Who::Id(who)) if *who == id));
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
