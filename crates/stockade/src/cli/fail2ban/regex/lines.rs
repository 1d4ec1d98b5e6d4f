//! The lines: where they come from, and what becomes of each.

use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;

use stockade_core::matcher::{Hit, Level, LineMode, LineReport, Matcher, UseDns};
use stockade_core::{JailName, Timestamp, Who};

use super::options::Options;
use super::report::{Found, Stats};
use super::rules::{Rules, short};
use super::{Failed, out, tell};
use crate::cli::logs::{LogReader, Manner, Progress};
use crate::cli::term::say;

/// Lines of a text that the head of the report shows.
const HEAD_LINES: usize = 5;

/// Tries every line of LOG.
pub(super) fn look(options: &Options, rules: &Rules, stats: &mut Stats) -> Result<(), Failed> {
    let log = options.words.first().map_or("", String::as_str);
    let mode = LineMode {
        all: !options.no_check_all && options.out.is_none(),
        pending: options.out.is_none(),
        show: true,
        ..LineMode::SCAN
    };
    let mut trial = Trial {
        options,
        rules,
        stats,
        matcher: Matcher::new(JailName::new("fail2ban-regex"), Arc::clone(&rules.filter), 0),
        mode,
        prefixed: false,
    };
    let began = std::time::Instant::now();
    if Path::new(log).is_file() && !rules.journal {
        trial.read(Path::new(log))?;
    } else if rules.journal {
        trial.read_journal(log)?;
    } else {
        trial.text(log);
    }
    trial.stats.took = began.elapsed();
    trial.stats.dates = trial.matcher.date_ranks();
    Ok(())
}

/// A run over lines.
struct Trial<'a> {
    options: &'a Options,
    rules: &'a Rules,
    stats: &'a mut Stats,
    matcher: Matcher,
    mode: LineMode,
    /// Did the prefregex match when it was last tried?
    prefixed: bool,
}

impl Trial<'_> {
    fn read(&mut self, log: &Path) -> Result<(), Failed> {
        let manner = Manner { partial: false, encoding: self.rules.encoding, journalmatch: &[] };
        let progress = Progress::of(&[log.to_owned()]);
        let mut reader = LogReader::open(log, &manner, &progress).map_err(|e| Failed(format!("{e:#}")))?;
        tell(self.options, format!("Use         log file : {}", log.display()));
        tell(self.options, format!("Use         encoding : {}\n", self.rules.encoding_name));
        let filter = Arc::clone(&self.rules.filter);
        while let Some(line) = reader.next().map_err(|e| Failed(format!("{e:#}")))? {
            let text = filter.decode(line.bytes);
            self.line(text.trim_end_matches(['\r', '\n']), None);
        }
        progress.end();
        Ok(())
    }

    fn read_journal(&mut self, log: &str) -> Result<(), Failed> {
        tell(self.options, "Use         systemd journal");
        tell(self.options, format!("Use         encoding : {}", self.rules.encoding_name));
        let matches = &self.rules.journalmatch;
        if !matches.is_empty() {
            tell(self.options, format!("Use    journal match : {}", matches.join(" ")));
        }
        tell(self.options, "");
        let matches = if matches.is_empty() { Vec::new() } else { vec![matches.clone()] };
        let manner = Manner { partial: false, encoding: self.rules.encoding, journalmatch: &matches };
        let progress = Progress::of(&[]);
        let mut reader =
            LogReader::open(Path::new(log), &manner, &progress).map_err(|e| Failed(format!("Error: {e:#}")))?;
        let filter = Arc::clone(&self.rules.filter);
        while let Some(line) = reader.next().map_err(|e| Failed(format!("Error: {e:#}")))? {
            let text = filter.decode(line.bytes);
            self.line(text.trim_end_matches(['\r', '\n']), line.stamp);
        }
        Ok(())
    }

    /// The word itself.
    fn text(&mut self, text: &str) {
        if self.rules.maxlines <= 1 && !text.contains('\n') {
            tell(self.options, format!("Use      single line : {}\n", short(text)));
            self.line(text.trim_end_matches(['\r', '\n']), None);
            return;
        }
        let lines: Vec<&str> = text.split('\n').collect();
        tell(self.options, format!("Use      multi line : {} line(s)", lines.len()));
        for (n, line) in lines.iter().enumerate().take(HEAD_LINES) {
            tell(self.options, format!("| {:>2}: {}", n + 1, short(line)));
        }
        if lines.len() > HEAD_LINES {
            tell(self.options, "| ...");
        }
        tell(self.options, "`-\n");
        for line in lines {
            self.line(line.trim_end_matches(['\r', '\n']), None);
        }
    }

    /// One line, without its end.
    fn line(&mut self, line: &str, stamp: Option<Timestamp>) {
        if stamp.is_none() && (line.starts_with('#') || line.is_empty()) {
            return;
        }
        let before = if self.rules.maxlines > 1 { self.matcher.waiting() } else { Vec::new() };
        let report = self.matcher.line(crate::daemon::now(), line, stamp, false, self.mode);
        self.tell_notes();
        let found = self.found(&report);
        let ignored = !report.ignored.is_empty();
        if let Some(form) = &self.options.out {
            if !found.is_empty() && !ignored {
                out::print(form, &found, &self.rules.filter);
            }
            return;
        }
        // A search that is not made leaves what the last one found.
        let early = ignored && !report.prefregex && self.rules.filter.prefregex().is_some();
        self.prefixed = report.prefregex || early && self.prefixed;
        let seen = report.seen.as_deref();
        let shown = match (stamp, seen) {
            (Some(_), Some(seen)) => seen.parts.concat(),
            _ => line.to_owned(),
        };
        if self.prefixed {
            self.stats.prefixed(self.options, self.rules, seen.map(|seen| &*seen.text));
        }
        for index in &report.ignored {
            self.stats.ignore_hits.entry(*index).and_modify(|n| *n += 1).or_insert(1);
        }
        let mut counted = 0;
        let mut nofail = false;
        for found in found {
            nofail |= found.nofail;
            let several = counted > 1;
            counted += usize::from(!found.nofail);
            self.stats.hit(found, several);
        }
        self.settle_waiting(&before, seen.map(|seen| seen.parts.concat()));
        self.stats.line(self.options, self.rules, shown, nofail || ignored, counted > 0);
    }

    /// Earlier lines that a match over several lines has used up were not missed after all.
    fn settle_waiting(&mut self, before: &[(Box<str>, Box<str>)], _this: Option<String>) {
        if self.rules.maxlines <= 1 {
            return;
        }
        let full = usize::from(before.len() >= self.rules.maxlines as usize);
        let now = self.matcher.waiting();
        for used in before.iter().skip(full).filter(|line| !now.contains(line)) {
            self.stats.missed_after_all(self.options, &used.1);
        }
    }

    /// The hits of a line; host names become their addresses.
    fn found(&self, report: &LineReport) -> Vec<Found> {
        let mut all = Vec::new();
        for hit in &report.hits {
            for id in self.ids(hit) {
                all.push(Found {
                    regex: hit.regex,
                    id,
                    ip: hit.ip.as_ref().map(ToString::to_string),
                    time: hit.time,
                    nofail: is_nofail(hit),
                    groups: hit.groups.clone(),
                    matches: hit.matches.clone(),
                    parts: report.seen.as_ref().map(|seen| seen.parts.clone()).unwrap_or_default(),
                });
            }
        }
        all
    }

    fn ids(&self, hit: &Hit) -> Vec<Option<String>> {
        match &hit.who {
            None => vec![None],
            Some(Who::Id(id)) => vec![Some(id.to_string())],
            Some(Who::Name(name)) => addresses(name, self.rules.usedns).into_iter().map(Some).collect(),
        }
    }

    fn tell_notes(&mut self) {
        for note in self.matcher.take_notes() {
            let (level, name) = match note.level {
                Level::Error => (40, "ERROR"),
                Level::Warning => (30, "WARNING"),
            };
            if level >= self.rules.level {
                let now = jiff::Zoned::now();
                let at = format!("{},{:03}", now.strftime("%Y-%m-%d %H:%M:%S"), now.millisecond());
                let text = note.text.trim_start_matches("[fail2ban-regex] ");
                let letter = name.chars().next().unwrap_or(' ');
                say(format!("{at} {:<24}[{}]: {name:<7}{letter}: {text}", "fail2ban.filter", std::process::id()));
            }
        }
    }
}

/// Does the pattern call this no failure?
fn is_nofail(hit: &Hit) -> bool {
    let set = |value: &stockade_core::GroupValue| match value {
        stockade_core::GroupValue::Text(text) => !text.is_empty(),
        stockade_core::GroupValue::List(list) => !list.is_empty(),
    };
    hit.nofail || hit.groups.iter().any(|(name, value)| **name == *"nofail" && set(value))
}

/// What the resolver says of a name.
fn addresses(name: &str, usedns: UseDns) -> Vec<String> {
    if !matches!(usedns, UseDns::Yes | UseDns::Warn) {
        return Vec::new();
    }
    let mut ips: Vec<IpAddr> =
        (name, 0).to_socket_addrs().map(|found| found.map(|at| at.ip()).collect()).unwrap_or_default();
    ips.sort();
    ips.dedup();
    ips.iter().map(ToString::to_string).collect()
}
