//! The logs that jails read: rights, silence, dates, and whether the filter
//! finds anything in them.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stockade_core::judge::Guard;
use stockade_core::matcher::{LineMode, Matcher};
use stockade_core::{FailureId, Timestamp, Who};

use super::{Findings, Patient, forged};
use crate::cli::term;
use crate::daemon::stage::{Sources, StagedJail};
use crate::{plain_file, relay};

/// How much of a log's end is looked at.
const TAIL_BYTES: u64 = 4 << 20;
/// A log is silent after this many seconds without a line.
const SILENT_SECS: i64 = 86_400;
/// Fewer lines than this tell nothing about a filter.
const LINES_MIN: u64 = 20;
/// Fewer failures than this tell nothing about who fails.
const FAILURES_MIN: u64 = 10;
/// What to do about a proxy that all failures come from.
pub(super) const RELAY_FIX: &str = "let the service log the client's address (real_ip, mod_remoteip, PROXY protocol), \
                                    or put the proxy into ignoreip: docs/guides/behind-a-proxy.md";
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
        silent(jail, &there, patient.now, findings);
        let seen: Vec<(&PathBuf, Seen)> =
            there.into_iter().filter_map(|path| Some((path, one(jail, path, patient, findings)?))).collect();
        // Of the paths of several distributions one is right: the others may hold nothing for this jail.
        if seen.iter().all(|(_, seen)| seen.hits == 0) {
            seen.iter().for_each(|(path, seen)| seen.idle(jail, path, findings));
        }
    }
}

/// Had none of the jail's logs a line for long? Some of several may be of another distribution, or of a quiet host.
fn silent(jail: &StagedJail, paths: &[&PathBuf], now: Timestamp, findings: &mut Findings) {
    let written = |path: &&PathBuf| Some((path.metadata().ok()?.mtime(), path.display().to_string()));
    let Some((newest, show)) = paths.iter().filter_map(written).max() else { return };
    let idle = now.secs().saturating_sub(newest);
    if idle > SILENT_SECS {
        let what = format!("{show} (jail '{}') had no line for {}", jail.spec.name, term::duration(idle));
        let fix = "does the service log elsewhere now? correct logpath or backend, or switch the jail off";
        findings.warning("log-silent", what, fix);
    }
}

/// Looks at one log; what the filter makes of its end, if it can be read.
fn one(jail: &StagedJail, path: &Path, patient: &Patient, findings: &mut Findings) -> Option<Seen> {
    let now = patient.now;
    let (name, show) = (&jail.spec.name, path.display());
    let meta = path.metadata().ok()?;
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
    match tail(path, meta.len()) {
        Ok(tail) => {
            forged::check(&name.to_string(), path, &tail, findings);
            let seen = Seen::of(jail, &tail, now);
            seen.judge(jail, path, written, findings);
            Some(seen)
        }
        Err(e) if e.kind() == ErrorKind::PermissionDenied && findings.unseen(patient, show.to_string()) => None,
        Err(e) => {
            let what = format!("jail '{name}': {show} can't be read: {e}");
            findings.problem("log-unreadable", what, "give the daemon the right to read it");
            None
        }
    }
}

/// The whole lines at the end of a file.
fn tail(path: &Path, size: u64) -> std::io::Result<Vec<u8>> {
    let mut file = plain_file::open(path)?;
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
        self.one_source(jail, path, findings);
    }

    /// Is there no failure in all these lines?
    fn idle(&self, jail: &StagedJail, path: &Path, findings: &mut Findings) {
        let (name, show) = (&jail.spec.name, path.display());
        let span = self.first.zip(self.last).map_or(0, |(first, last)| last.secs() - first.secs());
        if self.hits == 0 && self.lines >= LINES_MIN && span >= SILENT_SECS {
            let (lines, span) = (self.lines, term::duration(span));
            let what = format!("jail '{name}' finds no failure in {lines} lines of {span} in {show}");
            let fix =
                format!("is this the log of the service that the filter is for? see stockade regex {show} {name}");
            findings.warning("filter-idle", what, fix);
        }
    }

    /// Do all failures, or those of a proxy among them, come from an address that many stand behind?
    fn one_source(&self, jail: &StagedJail, path: &Path, findings: &mut Findings) {
        let (name, show) = (&jail.spec.name, path.display());
        let private = |id: &&FailureId| id.net().is_some_and(relay::is_private);
        if !self.by.keys().any(|id| private(&id)) {
            return;
        }
        let source = path.to_string_lossy();
        let relay = jail.watch.as_ref().and_then(|watch| watch.look(&source, crate::daemon::now()).relay(&source));
        if let Some((net, seen)) = relay.filter(|(net, _)| self.by.contains_key(&FailureId::Net(*net))) {
            let then = match jail.spec.guard {
                Guard::Refuse => "it is not banned, everybody behind it would be",
                Guard::Warn | Guard::Off => {
                    "a ban of it bans everybody behind it (stockade.guard = refuse forbids that)"
                }
            };
            let what = format!("failures in {show} (jail '{name}') come from {net}, and {seen}: {then}");
            findings.problem("one-source", what, RELAY_FIX);
        } else if let [(FailureId::Net(net), count)] = self.by.iter().collect::<Vec<_>>().as_slice()
            && **count >= FAILURES_MIN
        {
            let what = format!(
                "all {count} failures in {show} come from {net}, a private address: a proxy or container bridge"
            );
            findings.problem("one-source", what, RELAY_FIX);
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
