//! `regex`: tries a pattern or a filter on lines, and explains: what matched what, how far
//! a near miss got, what it costs, and what is risky about it.

mod lint;
mod marks;
mod near;
mod pieces;
mod report;
mod trial;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use clap::Args;
use jiff::tz::TimeZone;
use stockade_core::matcher::{Calendar, DatePattern, Encoding, Filter, FilterSpec, UseDns};

use self::report::Report;
use self::trial::Trial;
use super::logs::{self, LogReader, Manner, Progress};
use super::scan::{compile, first_jail, spec_of};
use super::term::Usage;
use super::{Common, Exit};
use crate::places::Tree;
use crate::settings::JailSettings;

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade regex 'login of <F-USER>\\S+</F-USER> from <HOST> failed' app.log\n  \
    stockade regex sshd /var/log/auth.log               a jail or filter by its name\n  \
    stockade regex ./my-filter.conf 'Aug  1 10:00:00 host app: refused 192.0.2.1'\n  \
    stockade regex 'from <HOST>' -                      lines from standard input\n\n\
    Nothing is counted or banned; `stockade scan` tells who would be.";

/// Words of `regex`.
#[derive(Args, Clone)]
pub(crate) struct RegexArgs {
    /// A pattern, or the name (or file) of a jail or filter
    #[arg(value_name = "WHAT")]
    what: String,
    /// Log files, `-`, `systemd-journal`, or a line itself
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<String>,
    /// How the log writes dates
    #[arg(long, value_name = "PATTERN")]
    datepattern: Option<String>,
    /// Lines that are looked at together
    #[arg(long, value_name = "N")]
    maxlines: Option<u32>,
    /// What HOST may be: yes, warn and raw allow names, no only addresses
    #[arg(long, value_name = "HOW", default_value = "warn")]
    usedns: String,
    /// Encoding of the log [default: the jail's, else utf-8]
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// Show this many matched lines, and as many near misses
    #[arg(long, value_name = "N", default_value_t = 5)]
    show: usize,
    #[command(flatten)]
    common: Common,
}

/// What lines are tried with.
pub(super) struct Rules {
    pub(super) spec: FilterSpec,
    pub(super) filter: Arc<Filter>,
    pub(super) calendar: Arc<Calendar>,
}

/// Tries and explains.
pub(crate) fn regex(args: &RegexArgs) -> Result<Exit> {
    let swapped = swapped(args);
    let args = swapped.as_ref().unwrap_or(args);
    let texts: Vec<&String> = args.logs.iter().filter(|log| !is_log(log)).collect();
    let paths: Vec<PathBuf> = args.logs.iter().filter(|log| is_log(log)).map(PathBuf::from).collect();
    let journals = paths.iter().filter(|log| logs::is_journal(log)).count();
    if journals > 0 && journals < args.logs.len() {
        return Err(Usage(
            "the journal and other logs have dates of different kinds; try them one after the other".into(),
        )
        .into());
    }
    let (mut spec, jail) = spec(args, journals > 0)?;
    if journals > 0 {
        spec.datepattern = DatePattern::Journal;
    }
    let calendar = Calendar::new(TimeZone::system(), jiff::Zoned::now().year());
    let filter = compile(&spec, &jail, &calendar)?;
    let rules = Rules { spec, filter: Arc::new(filter), calendar };
    let mut trial = Trial::new(&rules, args.show);
    for (text, number) in texts.iter().flat_map(|text| text.lines()).zip(1..) {
        trial.line(number, text, None);
    }
    let progress = Progress::of(&paths);
    let manner = Manner { partial: true, encoding: rules.spec.encoding, journalmatch: &jail.journalmatch };
    for log in &paths {
        let mut reader = LogReader::open(log, &manner, &progress)?;
        while let Some(line) = reader.next()? {
            if !logs::is_too_long(line.bytes) {
                let text = rules.filter.decode(line.bytes);
                trial.line(line.number, text.trim_end_matches(['\r', '\n']), line.stamp);
            }
        }
    }
    progress.end();
    trial.end();
    let findings = lint::all(&rules, &trial);
    let report = Report { rules: &rules, trial: &trial, findings: &findings };
    if args.common.json {
        report.json()
    } else {
        report.people()
    }
    Ok(if trial.matched > 0 { Exit::Done } else { Exit::Refused })
}

/// The two words the other way round, where the first is plainly the log and the second
/// none: that is the order of `fail2ban-regex`.
fn swapped(args: &RegexArgs) -> Option<RegexArgs> {
    let [what] = args.logs.as_slice() else { return None };
    let log = Path::new(&args.what);
    let is_rules = log.extension().is_some_and(|end| end == "conf" || end == "local");
    let named = args.what.contains('/') || log.extension().is_some();
    (named && !is_rules && log.is_file() && !is_log(what)).then(|| RegexArgs {
        what: what.clone(),
        logs: vec![args.what.clone()],
        ..args.clone()
    })
}

/// A log that can be opened; any other word is a line itself.
fn is_log(word: &str) -> bool {
    let path = Path::new(word);
    // A word that looks like a path is meant as one, and opening it says that it is not there.
    word == "-" || logs::is_journal(path) || path.exists() || word.starts_with('/') && !word.contains(' ')
}

/// The filter that is meant, and the jail that it is of.
fn spec(args: &RegexArgs, journal: bool) -> Result<(FilterSpec, JailSettings)> {
    let tree = Tree::of(args.common.conf.as_deref());
    let what = args.what.as_str();
    let name = what.split('[').next().unwrap_or(what);
    let like_a_name = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_./".contains(c));
    let jail = if like_a_name {
        let jail = if name.contains('/') { None } else { tree.jail_if_there(what, journal)? };
        let stream = match jail {
            Some(stream) => stream,
            None => tree.filter(what, journal)?,
        };
        Some(first_jail(&stream, what)?)
    } else {
        None
    };
    let mut spec = match &jail {
        Some(jail) => spec_of(jail)?,
        None => FilterSpec { failregex: vec![what.to_owned()], ..FilterSpec::default() },
    };
    spec.maxlines = args.maxlines.unwrap_or(spec.maxlines);
    spec.usedns = UseDns::parse(&args.usedns)
        .ok_or_else(|| Usage(format!("--usedns: '{}' is not one of yes, warn, no, raw", args.usedns)))?;
    if let Some(encoding) = &args.encoding {
        spec.encoding = Encoding::parse(encoding).map_err(|e| Usage(format!("--encoding: {e}")))?;
    }
    if let Some(pattern) = &args.datepattern {
        spec.datepattern = DatePattern::Text(pattern.clone());
    }
    Ok((spec, jail.unwrap_or_default()))
}
