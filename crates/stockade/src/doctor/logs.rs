//! The logs that jails read: rights, silence, dates, and whether the filter
//! finds anything in them.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stockade_core::matcher::{LineMode, Matcher};
use stockade_core::{FailureId, Net, Timestamp, Who};

use super::{Findings, Patient, forged};
use crate::cli::term;
use crate::daemon::stage::{Sources, StagedJail};

/// How much of a log's end is looked at.
const TAIL_BYTES: u64 = 4 << 20;
/// A log is silent after this many seconds without a line.
const SILENT_SECS: i64 = 86_400;
/// Fewer lines than this tell nothing about a filter.
const LINES_MIN: u64 = 20;
/// Fewer failures than this tell nothing about who fails.
const FAILURES_MIN: u64 = 10;
/// Dates this far from when the line was written are those of another zone or clock.
const ZONE_SECS: i64 = 600;

pub(super) fn check(patient: &Patient, findings: &mut Findings) {
    for jail in patient.stage.iter().flat_map(|stage| &stage.jails) {
        let Sources::Files { paths, patterns } = &jail.sources else { continue };
        let found = patterns.iter().flat_map(|(glob, _)| glob.expand());
        let all: Vec<PathBuf> = paths.iter().map(|(path, _)| path.clone()).chain(found).collect();
        let there: Vec<&PathBuf> = all.iter().filter(|path| path.is_file()).collect();
        if there.is_empty() && !all.is_empty() {
            let names: Vec<String> = all.iter().map(|path| path.display().to_string()).collect();
            let what = format!("jail '{}' waits for a log that is not there: {}", jail.spec.name, names.join(", "));
            let fix = "set logpath to where the service logs, or backend = systemd if it logs to the journal";
            findings.problem("log-unreadable", what, fix);
        }
        for path in there {
            one(jail, path, patient, findings);
        }
    }
}

fn one(jail: &StagedJail, path: &Path, patient: &Patient, findings: &mut Findings) {
    let now = patient.now;
    let (name, show) = (&jail.spec.name, path.display());
    let Ok(meta) = path.metadata() else { return };
    if meta.mode() & 0o002 != 0 {
        let what = format!("{show} can be written by everybody: any local user can have anybody banned by '{name}'");
        findings.problem("log-forgeable", what, format!("chmod o-w {show}"));
    }
    let written = Timestamp::from_secs(meta.mtime());
    if written.secs() > now.secs() + 60 {
        let what = format!("{show} was written in the future: the clock was set back, or is wrong now");
        findings.problem(
            "clock",
            what,
            "set the clock (timedatectl, chrony); until then new lines may count as too old",
        );
    }
    let idle = now.secs() - written.secs();
    if idle > SILENT_SECS {
        let what = format!("{show} (jail '{name}') had no line for {}", term::duration(idle));
        let fix = "does the service log elsewhere now? correct logpath or backend, or switch the jail off";
        findings.warning("log-silent", what, fix);
    }
    match tail(path, meta.len()) {
        Ok(tail) => {
            forged::check(&name.to_string(), path, &tail, findings);
            Seen::of(jail, &tail, now).judge(jail, path, written, findings);
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied && findings.unseen(patient, show.to_string()) => {}
        Err(e) => {
            let what = format!("jail '{name}': {show} can't be read: {e}");
            findings.problem("log-unreadable", what, "give the daemon the right to read it");
        }
    }
}

/// The whole lines at the end of a file.
fn tail(path: &Path, size: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let from = size.saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut text = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut text)?;
    if from > 0 {
        let first = memchr::memchr(b'\n', &text).map_or(text.len(), |at| at + 1);
        text.drain(..first);
    }
    Ok(text)
}

/// What a filter makes of the end of a log.
#[derive(Default)]
struct Seen {
    lines: u64,
    dated: u64,
    hits: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    by: HashMap<FailureId, u64>,
}

impl Seen {
    fn of(jail: &StagedJail, text: &[u8], now: Timestamp) -> Seen {
        let mut matcher = Matcher::new(jail.spec.name.clone(), Arc::clone(&jail.filter), 0);
        let mut seen = Seen::default();
        for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
            seen.lines += 1;
            let decoded = jail.filter.decode(line);
            let report = matcher.line(now, decoded.trim_end(), None, false, LineMode::SCAN);
            if let Some(time) = report.date.and_then(|date| date.time) {
                seen.dated += 1;
                seen.first.get_or_insert(time);
                seen.last = Some(time);
            }
            for hit in report.hits.iter().filter(|hit| !hit.nofail) {
                seen.hits += 1;
                if let Some(Who::Id(id)) = &hit.who {
                    *seen.by.entry(hit.ip.clone().unwrap_or_else(|| id.clone())).or_default() += 1;
                }
            }
            // What the matcher has to say of single lines is not asked for here.
            drop(matcher.take_notes());
        }
        seen
    }

    fn judge(&self, jail: &StagedJail, path: &Path, written: Timestamp, findings: &mut Findings) {
        let (name, show) = (&jail.spec.name, path.display());
        if self.lines >= LINES_MIN && self.dated == 0 {
            let what = format!("jail '{name}' finds no date in the last {} lines of {show}", self.lines);
            findings.problem("no-dates", what, "set datepattern to the form of this log's dates");
            return;
        }
        if let Some(last) = self.last {
            let off = last.secs() - written.secs();
            if off.abs() > ZONE_SECS {
                let (stood, claims) = (term::clock(written.secs()), term::clock(last.secs()));
                let what = format!(
                    "the last line of {show} was written at {stood}, but is dated {claims}: {}",
                    counted(off, jail.spec.findtime.secs())
                );
                let fix = format!("set logtimezone in [{name}], or give the service this machine's zone");
                findings.problem("zone", what, fix);
            }
        }
        let span = self.first.zip(self.last).map_or(0, |(first, last)| last.secs() - first.secs());
        if self.hits == 0 && self.lines >= LINES_MIN && span >= SILENT_SECS {
            let (lines, span) = (self.lines, term::duration(span));
            let what = format!("jail '{name}' finds no failure in {lines} lines of {span} in {show}");
            let fix =
                format!("is this the log of the service that the filter is for? see stockade regex {show} {name}");
            findings.warning("filter-idle", what, fix);
        }
        if let [(FailureId::Net(net), count)] = self.by.iter().collect::<Vec<_>>().as_slice()
            && **count >= FAILURES_MIN
            && is_private(*net)
        {
            let what = format!(
                "all {count} failures in {show} come from {net}, a private address: a proxy or container bridge"
            );
            let fix = "let the service log the client's address (real_ip, mod_remoteip, PROXY protocol), or put the proxy into ignoreip";
            findings.problem("one-source", what, fix);
        }
    }
}

/// How failures count whose dates are `off` seconds from when they were written.
fn counted(off: i64, findtime: i64) -> &'static str {
    match off {
        off if off > 0 => {
            "read while the daemon runs its failures count as of now, read at a start as of that time to come"
        }
        off if off.saturating_neg() > findtime => {
            "read while the daemon runs its failures count as of now, read at a start they are too old and left out"
        }
        _ => "read while the daemon runs its failures count as of now, read at a start as of that earlier time",
    }
}

/// Addresses that no stranger on the internet can have.
fn is_private(net: Net) -> bool {
    const PRIVATE: [&str; 8] = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "fc00::/7",
        "fe80::/10",
        "::1",
    ];
    PRIVATE.iter().filter_map(|text| FailureId::parse(text).net()).any(|private| private.contains(net))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_of_another_zone_is_told_as_the_matcher_counts_it() {
        // The matcher: far from now while the daemon runs is now; older than findtime at a start is left out.
        assert!(counted(-18_000, 600).ends_with("too old and left out"));
        assert!(counted(-18_000, 86_400).ends_with("that earlier time"));
        assert!(counted(18_000, 600).ends_with("that time to come"));
        assert!([-18_000, 18_000].iter().all(|off| counted(*off, 600).contains("runs its failures count as of now")));
    }
}
