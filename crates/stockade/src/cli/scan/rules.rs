//! What a scan goes by: the filter, and the thresholds of a ban.

use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use stockade_core::matcher::{Calendar, DatePattern, Encoding, Filter, FilterSpec, UseDns};
use stockade_core::{BanTime, Span};

use super::ScanArgs;
use crate::cli::logs::is_journal;
use crate::cli::term::Usage;
use crate::places::Tree;
use crate::settings::{JailSettings, Seconds, Settings};

/// Failures, over which time, and how long the ban.
pub(super) type Thresholds = (u32, Span, BanTime);

/// What the scan goes by.
pub(super) struct Rules {
    pub(super) spec: FilterSpec,
    /// `None`: bans are of no interest.
    pub(super) ban: Option<Thresholds>,
    /// Which entries of the journal.
    pub(super) journalmatch: Vec<Vec<String>>,
    /// What it is called in messages.
    pub(super) name: String,
    jail: JailSettings,
}

impl Rules {
    /// From the words of the command line.
    pub(super) fn of(args: &ScanArgs) -> Result<Rules> {
        let journals = args.logs.iter().filter(|log| is_journal(log)).count();
        if journals > 0 && journals < args.logs.len() {
            bail!(Usage(
                "the journal and files have dates of different kinds; scan them one after the other".to_owned()
            ));
        }
        let journal = journals > 0 || args.journal_lines;
        let (jail, name) = jail_of(args, journal)?;
        let mut spec = spec_of(&jail)?;
        spec.failregex.extend(args.failregex.iter().cloned());
        spec.ignoreregex.extend(args.ignoreregex.iter().cloned());
        spec.prefregex = args.prefregex.clone().or(spec.prefregex);
        spec.maxlines = args.maxlines.unwrap_or(spec.maxlines);
        spec.usedns = UseDns::parse(&args.usedns)
            .ok_or_else(|| Usage(format!("--usedns: '{}' is not one of yes, warn, no, raw", args.usedns)))?;
        if let Some(encoding) = &args.encoding {
            spec.encoding = Encoding::parse(encoding).map_err(|e| Usage(format!("--encoding: {e}")))?;
        }
        if let Some(pattern) = &args.datepattern {
            spec.datepattern = DatePattern::Text(pattern.clone());
        }
        if journal {
            spec.datepattern = DatePattern::Journal;
        }
        let ban = match args.ban.as_deref() {
            Some("jail") => Some(own_thresholds(&jail)?),
            Some(text) => Some(thresholds(text)?),
            // For people the jail's own are of interest; JSON has what was asked for.
            None if args.filter.is_none() && args.failregex.is_empty() && !args.common.json => {
                Some(own_thresholds(&jail)?)
            }
            None => None,
        };
        let journalmatch = match &args.journalmatch {
            Some(words) => vec![words.split_whitespace().map(str::to_owned).collect()],
            None => jail.journalmatch.clone(),
        };
        Ok(Rules { spec, ban, journalmatch, name, jail })
    }

    /// The filter, compiled.
    pub(super) fn filter(&self, calendar: &Arc<Calendar>) -> Result<Filter> {
        compile(&self.spec, &self.jail, calendar).with_context(|| format!("the {} can't be used", self.name))
    }
}

/// The jail whose filter is meant; one without any if only patterns are given.
fn jail_of(args: &ScanArgs, journal: bool) -> Result<(JailSettings, String)> {
    let tree = Tree::of(args.common.conf.as_deref());
    if let Some(filter) = &args.filter {
        return Ok((first_jail(&tree.filter(filter, journal)?, filter)?, format!("filter {filter}")));
    }
    if args.jail.is_none() && !args.failregex.is_empty() {
        return Ok((JailSettings::default(), "--failregex".to_owned()));
    }
    let name = args.jail.as_deref().unwrap_or("sshd");
    Ok((first_jail(&tree.jail(name, journal)?, name)?, format!("jail {name}")))
}

/// The jail that this stream makes.
pub(crate) fn first_jail(stream: &[stockade_wire::Command], name: &str) -> Result<JailSettings> {
    let settings = Settings::default().staged(stream).map_err(|e| anyhow!("{name}: {e}"))?;
    let jail = settings.jails.into_iter().next().with_context(|| format!("{name} is empty"))?;
    Ok(Arc::unwrap_or_clone(jail))
}

/// The filter of a jail.
pub(crate) fn spec_of(jail: &JailSettings) -> Result<FilterSpec> {
    let encoding = jail.logencoding.as_deref().unwrap_or("auto");
    Ok(FilterSpec {
        prefregex: jail.prefregex.clone().filter(|p| !p.is_empty()),
        failregex: jail.failregex.clone(),
        ignoreregex: jail.ignoreregex.clone(),
        datepattern: jail.datepattern.clone().map_or(DatePattern::Default, DatePattern::Text),
        maxlines: u32::try_from(jail.maxlines.unwrap_or(1)).context("maxlines is out of range")?,
        logtimezone: jail.logtimezone.clone(),
        encoding: Encoding::parse(encoding).map_err(|e| anyhow!("logencoding: {e}"))?,
        ..FilterSpec::default()
    })
}

/// Compiles a filter whose patterns know where the files of the jail have them.
pub(crate) fn compile(spec: &FilterSpec, jail: &JailSettings, calendar: &Arc<Calendar>) -> Result<Filter> {
    let filter = Filter::compile(spec, calendar).map_err(|e| {
        let index = e.index as usize;
        let pattern = match e.option {
            "failregex" => spec.failregex.get(index),
            "ignoreregex" => spec.ignoreregex.get(index),
            "prefregex" => spec.prefregex.as_ref(),
            _ => jail.datepattern.as_ref(),
        };
        match pattern.and_then(|pattern| jail.origin(e.option, pattern)) {
            Some(place) => anyhow!("{place}: {e}"),
            None => anyhow!("{e}"),
        }
    })?;
    Ok(filter.with_origins(spec, |option, pattern| jail.origin(option, pattern)))
}

fn own_thresholds(jail: &JailSettings) -> Result<Thresholds> {
    let secs = |time: Option<f64>| time.unwrap_or(600.0);
    let maxretry = u32::try_from(jail.maxretry.unwrap_or(3)).context("maxretry is out of range")?;
    Ok((
        maxretry,
        Span::from_secs_f64(secs(jail.findtime.map(Seconds::as_f64))),
        BanTime::from_secs_f64(secs(jail.bantime)),
    ))
}

fn thresholds(text: &str) -> Result<Thresholds> {
    let numbers: Vec<i64> = text.split(',').map(|n| n.trim().parse()).collect::<Result<_, _>>().unwrap_or_default();
    let wrong = || {
        Usage(format!(
            "--ban takes three whole numbers such as 5,600,3600 (failures, seconds, seconds) or the word jail, not '{text}'"
        ))
    };
    let [maxretry, findtime, bantime] = numbers.as_slice() else { bail!(wrong()) };
    let maxretry = u32::try_from(*maxretry).map_err(|_| wrong())?;
    let bantime = if *bantime < 0 { BanTime::Permanent } else { BanTime::For(Span::from_secs(*bantime)) };
    Ok((maxretry, Span::from_secs(*findtime), bantime))
}
