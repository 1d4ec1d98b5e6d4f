//! `scan`: what the filters find in old logs, and what would have been banned.

mod names;
mod report;
mod rules;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use jiff::tz::TimeZone;
use stockade_core::matcher::{Calendar, Hit, LineMode, LineReport, Matcher, Note, Scanner};
use stockade_core::{FailureId, JailName, Timestamp, Who};

use self::names::Names;
use self::report::Report;
pub(crate) use self::report::epoch;
use self::rules::Rules;
pub(crate) use self::rules::{compile, first_jail, spec_of};
use super::logs::{self, LogReader, Manner, Progress};
use super::term::{self, Usage};
use super::{Common, Exit};

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade scan /var/log/auth.log                     with the sshd jail of the embedded tree\n  \
    stockade scan --jail sshd /var/log/auth.log*        older ones too, compressed or not\n  \
    stockade scan --jail sshd systemd-journal           what the journal holds\n  \
    stockade scan --failregex 'refused <HOST>' app.log\n  \
    stockade scan --ban 3,600,3600 auth.log             who would have been banned for an hour\n\n\
    Old lines count, each at its own time. Nothing is banned.";

/// Words of `scan`.
#[derive(Args)]
pub(crate) struct ScanArgs {
    /// Log files, compressed by gzip or not; `-` is standard input, `systemd-journal` the journal
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// A jail of the tree, enabled or not: its filter and thresholds [default: sshd]
    #[arg(long, conflicts_with = "filter", value_name = "NAME[OPT=VAL]")]
    jail: Option<String>,
    /// A filter of the tree, such as `sshd` or `sshd[mode=aggressive]`, or a filter file
    #[arg(long, value_name = "NAME[OPT=VAL]")]
    filter: Option<String>,
    /// A pattern of your own; may be given several times
    #[arg(long, value_name = "REGEX")]
    failregex: Vec<String>,
    /// Lines that match this are no failures
    #[arg(long, value_name = "REGEX")]
    ignoreregex: Vec<String>,
    /// Must match first; its group `content` is what the others see
    #[arg(long, value_name = "REGEX")]
    prefregex: Option<String>,
    /// How the log writes dates
    #[arg(long, value_name = "PATTERN")]
    datepattern: Option<String>,
    /// Lines that are looked at together
    #[arg(long, value_name = "N")]
    maxlines: Option<u32>,
    /// What becomes of host names: no, raw (they are the id), or yes and warn (looked up now)
    #[arg(long, value_name = "HOW", default_value = "no")]
    usedns: String,
    /// Zone of dates that name none, such as Europe/Berlin [default: the system's]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Take this for the present, in seconds since the epoch: decides about years. With --ban the
    /// clock begins there and follows the failures, as it would have for a guard of that time
    #[arg(long, value_name = "EPOCH")]
    now: Option<i64>,
    /// Encoding of the log [default: the jail's, else utf-8]
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// Try every pattern on each line, not only up to the first that matches
    #[arg(long)]
    all: bool,
    /// Show captured groups (with --json)
    #[arg(long)]
    groups: bool,
    /// Take a last line without line end
    #[arg(long)]
    partial: bool,
    /// Each line is the text of a journal entry, made now
    #[arg(long)]
    journal_lines: bool,
    /// Entries of the journal to read, such as `_COMM=sshd` [default: the jail's]
    #[arg(long, value_name = "MATCHES")]
    journalmatch: Option<String>,
    /// Count, and show bans, with these thresholds (seconds), or with the jail's own: `jail`
    #[arg(long, value_name = "MAXRETRY,FINDTIME,BANTIME")]
    ban: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// Scans.
pub(crate) fn scan(args: &ScanArgs) -> Result<Exit> {
    let rules = Rules::of(args)?;
    let zone = zone(args.tz.as_deref())?;
    let now = args.now.map_or_else(crate::daemon::now, Timestamp::from_secs);
    let year = jiff::Timestamp::from_second(now.secs()).map_or(2026, |t| t.to_zoned(zone.clone()).year());
    let filter = rules.filter(&Calendar::new(zone, year))?;
    let logs = logs::oldest_first(args.logs.clone());
    let progress = Progress::of(&logs);
    let manner = Manner { partial: args.partial, encoding: rules.spec.encoding, journalmatch: &rules.journalmatch };
    // All of them first: a misspelt name is told of before hours of work.
    let mut readers = Vec::new();
    for log in &logs {
        readers.push(LogReader::open(log, &manner, &progress)?);
    }
    let mut scan = Scan {
        matcher: Matcher::new(JailName::new("scan"), Arc::new(filter), 0),
        report: Report::new(args.common.json, args.groups, rules.ban),
        names: Names::new(rules.spec.usedns),
        mode: LineMode { all: args.all, ..LineMode::SCAN },
        now,
        follow: args.now.is_some() && args.ban.is_some(),
        stamp: args.journal_lines.then_some(now),
    };
    for (log, mut reader) in logs.iter().zip(readers) {
        if logs.len() > 1 {
            scan.report.begin(&log.display().to_string());
        }
        scan.log(&mut reader, &progress)?;
    }
    progress.end();
    scan.report.end();
    Ok(if scan.report.matched > 0 { Exit::Done } else { Exit::Refused })
}

/// A zone by its name, or as `TZ` writes rules; without one the system's.
fn zone(name: Option<&str>) -> Result<TimeZone, Usage> {
    let Some(name) = name else { return Ok(TimeZone::system()) };
    if ["utc", "gmt", "z"].contains(&name.to_ascii_lowercase().as_str()) {
        return Ok(TimeZone::UTC);
    }
    let found = TimeZone::get(name).or_else(|_| TimeZone::posix(name));
    found.map_err(|_| {
        Usage(format!("--tz: there is no time zone '{name}'; write it as Europe/Berlin or CET-1CEST,M3.5.0,M10.5.0/3"))
    })
}

/// A scan under way.
struct Scan {
    matcher: Matcher,
    report: Report,
    names: Names,
    mode: LineMode,
    now: Timestamp,
    /// Does the clock follow the failures?
    follow: bool,
    /// The time of every line, if lines are journal entries.
    stamp: Option<Timestamp>,
}

impl Scan {
    fn log(&mut self, reader: &mut LogReader, progress: &Rc<Progress>) -> Result<()> {
        let before = self.report.lines;
        let filter = Arc::clone(self.matcher.filter());
        let mut scanner = Scanner::new(vec![Arc::clone(&filter)]);
        // A clock that follows the failures, or one time for all lines, leaves nothing to pass over.
        let by_blocks = !self.mode.all && !self.follow && self.stamp.is_none();
        loop {
            if by_blocks && let Some(block) = reader.whole_block().inspect_err(|_| progress.end())? {
                let scan = scanner.scan(self.now, block);
                let (lines, found) = self.matcher.scanned_lines(block, &scan, self.mode);
                for line in found {
                    self.report.lines = before + reader.line + u64::from(line.number) + 1;
                    self.found(&line.report, &line.notes, progress);
                }
                reader.line += u64::from(lines);
                continue;
            }
            let line = reader.next();
            let Some(line) = line.inspect_err(|_| progress.end())? else { break };
            self.report.lines = before + line.number;
            if logs::is_too_long(line.bytes) {
                let (number, bytes) = (self.report.lines, line.bytes.len());
                self.note(progress, &format!("it has {bytes} bytes and is left out, as the daemon does"), number);
                continue;
            }
            let text = filter.decode(line.bytes);
            let text = text.trim_end_matches(['\r', '\n']);
            let stamp = line.stamp.or(self.stamp);
            let found = self.matcher.line(self.now, text, stamp, false, self.mode);
            let notes = self.matcher.take_notes();
            self.found(&found, &notes, progress);
        }
        self.report.lines = before + reader.line;
        if let Some(remark) = reader.remark() {
            progress.end();
            term::note(format!("stockade: {remark}"));
        }
        Ok(())
    }

    /// What was found in the present line.
    fn found(&mut self, found: &LineReport, notes: &[Note], progress: &Rc<Progress>) {
        for hit in found.hits.iter().filter(|hit| !hit.nofail) {
            self.hit(hit);
        }
        for note in notes {
            self.note(progress, &note.text, self.report.lines);
        }
    }

    fn hit(&mut self, hit: &Hit) {
        match &hit.who {
            Some(Who::Id(id)) => self.report.hit(hit, id),
            Some(Who::Name(name)) => {
                for ip in self.names.addresses(name) {
                    self.report.hit(hit, &FailureId::from(ip));
                }
            }
            None => return,
        }
        if let (true, Some(time)) = (self.follow, hit.time) {
            self.now = time;
        }
    }

    fn note(&self, progress: &Progress, text: &str, line: u64) {
        progress.end();
        let mut shown = String::new();
        stockade_core::text::push_escaped(&mut shown, text);
        term::note(format!("stockade: line {line}: {shown}"));
    }
}
