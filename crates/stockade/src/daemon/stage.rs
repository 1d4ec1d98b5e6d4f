//! From settings to what the owners need: compiled filters, typed options,
//! the firewall's layout, and which sources a jail reads.
//!
//! This is the stage of every change: nothing outside sees it until it is
//! complete. One broken jail is off and reported; `stockade.strict` makes it
//! refuse the whole.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stockade_core::judge::formula::{Formula, parse_constant};
use stockade_core::judge::timespec::parse_seconds;
use stockade_core::judge::{Guard, IgnoreEntry, Increment, JailSpec, UseDns};
use stockade_core::matcher::{Calendar, DatePattern, Encoding, Filter, FilterError, FilterSpec, UseDns as FilterDns};
use stockade_core::{BanTime, FailureId, JailName, Span};
use stockade_enforce::actions::ActionSpec;
use stockade_enforce::stock::{Recognised, StockAction, exclusive, recognise};
use stockade_enforce::{JailBlock, Layout, PortSpec, Services, Verdict};
use stockade_source::{Glob, JournalOptions};
use stockade_wire::pickle::Exception;
use stockade_wire::value::Value;

use super::actions::{How, JailActions, StagedActions};
use super::ignore_files::IgnoreFiles;
use crate::parallel::in_parallel;
use crate::relay::Watch;
use crate::settings::{ActionSettings, JailSettings, Seconds, Settings, boolean, words};

/// What a jail reads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sources {
    /// Log files, each from its head or its tail, and patterns of files that may appear.
    Files {
        /// Path, and whether reading begins at the end.
        paths: Vec<(PathBuf, bool)>,
        /// Patterns, and whether reading begins at the end.
        patterns: Vec<(Glob, bool)>,
    },
    /// The systemd journal.
    Journal(Box<JournalOptions>),
    /// Nothing: a jail for bans by hand.
    Nothing,
}

/// One jail, ready to be swapped in.
#[derive(Clone)]
pub(crate) struct StagedJail {
    /// What it was made from.
    pub(crate) from: Arc<JailSettings>,
    pub(crate) spec: JailSpec,
    pub(crate) filter: Arc<Filter>,
    pub(crate) filter_spec: FilterSpec,
    /// Who is told from an attacker by the log's successful lines, if the filter names them.
    pub(crate) watch: Option<Arc<Watch>>,
    pub(crate) sources: Sources,
    /// What it blocks in the kernel; `None` if nothing.
    pub(crate) block: Option<JailBlock>,
    /// Its actions that run commands.
    pub(crate) actions: JailActions,
    /// Its stock firewall actions, carried out without a shell.
    pub(crate) stock: Vec<StockAction>,
}

/// All jails, ready to be swapped in.
pub(crate) struct Stage {
    pub(crate) settings: Settings,
    pub(crate) jails: Vec<StagedJail>,
    /// Jails that were never told to start: their filters, for those who ask.
    pub(crate) waiting: Vec<(Arc<JailSettings>, Arc<Filter>)>,
    /// Jails that are off, with the reason.
    pub(crate) off: Vec<(String, String)>,
    /// The same reasons as the original's clients know them.
    pub(crate) faults: Vec<(String, Exception)>,
    /// How it came about.
    pub(crate) how: How,
    /// If one jail was read again: which.
    pub(crate) only: Option<JailName>,
}

impl Stage {
    /// Why the whole is refused where one broken jail is enough for that.
    pub(crate) fn strictly(self) -> Result<Stage, String> {
        let strict = self.settings.server_text("stockade.strict").is_some_and(|text| boolean(&text));
        match self.off.first().filter(|_| strict) {
            Some((name, why)) => Err(format!("jail '{name}': {why}")),
            None => Ok(self),
        }
    }

    /// A tree's jail that looks for failures and has no log to look in is off by
    /// mistake; a client may add the log later.
    pub(crate) fn needs_logs(&mut self) {
        let nothing = |jail: &StagedJail| match &jail.sources {
            Sources::Files { paths, patterns } => {
                paths.is_empty() && patterns.is_empty() && jail.from.patterns.is_empty()
            }
            Sources::Journal(_) | Sources::Nothing => false,
        };
        let (without, with): (Vec<_>, Vec<_>) = std::mem::take(&mut self.jails).into_iter().partition(nothing);
        self.jails = with;
        for jail in without {
            let why = "there is no log to read: set logpath, or backend = systemd".to_owned();
            self.faults.push((jail.from.name.clone(), Exception::value(why.clone())));
            self.off.push((jail.from.name.clone(), why));
        }
    }

    /// A jail that is off by mistake keeps its bans: a stand-in that reads
    /// nothing holds them, on all ports, until their time is over.
    pub(crate) fn hold_off_jails(&mut self, ground: &Ground, epoch: u64) {
        for (name, _) in &self.off {
            let name = JailName::new(name);
            if self.jails.iter().any(|jail| jail.spec.name == name) {
                continue;
            }
            let filter_spec = FilterSpec::default();
            let Ok(filter) = Filter::compile(&filter_spec, &ground.calendar) else { continue };
            let Ok(ports) = PortSpec::parse("0:65535", "all", &ground.services) else { continue };
            let mut spec = JailSpec::new(name.clone());
            // Stored ban times count as they stand.
            spec.bantime = BanTime::Permanent;
            spec.epoch = epoch;
            self.jails.push(StagedJail {
                from: Arc::default(),
                spec,
                filter: Arc::new(filter),
                filter_spec,
                watch: None,
                sources: Sources::Nothing,
                actions: JailActions {
                    name: name.clone(),
                    bantime: BanTime::Permanent,
                    strict: true,
                    actions: Vec::new(),
                },
                block: Some(JailBlock { jail: name, ports, verdict: Verdict::Drop }),
                stock: Vec::new(),
            });
        }
    }

    /// The commands of all jails' actions.
    pub(crate) fn actions(&self) -> StagedActions {
        StagedActions {
            jails: self.jails.iter().map(|jail| jail.actions.clone()).collect(),
            off: self.off.iter().map(|(name, _)| name.clone()).collect(),
            ipv6: ipv6_allowed(self.settings.server_text("allowipv6").as_deref()),
            how: self.how,
            only: self.only.clone(),
        }
    }

    /// How all jails block.
    pub(crate) fn layout(&self) -> Layout {
        Layout::new(self.jails.iter().filter_map(|jail| jail.block.clone()))
    }

    /// The stock firewall actions of all jails.
    pub(crate) fn stock(&self) -> Vec<StockAction> {
        self.jails.iter().flat_map(|jail| jail.stock.iter().cloned()).collect()
    }
}

/// `allowipv6`; `auto` asks the kernel.
fn ipv6_allowed(option: Option<&str>) -> bool {
    match option {
        Some(text) if !text.eq_ignore_ascii_case("auto") && !text.is_empty() => boolean(text),
        _ => Path::new("/proc/net/if_inet6").exists(),
    }
}

/// What staging has to know of the machine.
pub(crate) struct Ground {
    /// Zone and year for dates.
    pub(crate) calendar: Arc<Calendar>,
    /// Names of ports.
    pub(crate) services: Services,
    /// Nothing will be enforced, so shell actions do no harm.
    pub(crate) dry_run: bool,
    /// Is there a journal to read?
    pub(crate) journal: bool,
    /// Is there a database file, which keeps the lines and groups of bans?
    pub(crate) saves: bool,
    /// What the files of `ignoreip = file:PATH` name.
    pub(crate) ignore_files: IgnoreFiles,
}

/// What already runs as a jail's settings say, to be taken over as it is.
pub(crate) type Standing<'a> = &'a dyn Fn(&Arc<JailSettings>) -> Option<StagedJail>;

/// Stages all started jails. What stands already is not made again.
pub(crate) fn stage(settings: Settings, ground: &Ground, epoch: u64, standing: Standing<'_>) -> Stage {
    let mut stage = Stage {
        settings,
        jails: Vec::new(),
        waiting: Vec::new(),
        off: Vec::new(),
        faults: Vec::new(),
        how: How::Tree,
        only: None,
    };
    let stock = stock_actions(&stage.settings);
    // Most of the work is to compile filters: jails are staged beside each other, and put together in order.
    let standing: Vec<Option<StagedJail>> = stage.settings.jails.iter().map(standing).collect();
    let made = in_parallel(&stage.settings.jails.iter().zip(standing).collect::<Vec<_>>(), |(jail, standing)| {
        // What other jails do decides, too, which actions need no commands.
        let own = |action: &&StockAction| action.jail.as_str() == jail.name && !ground.dry_run;
        let same = |staged: &&StagedJail| stock.iter().filter(own).eq(&staged.stock);
        match standing.as_ref().filter(same) {
            Some(staged) => Ok(Made::Jail(Box::new(staged.clone()))),
            None if jail.started => stage_jail(jail, &stock, ground, epoch).map(|staged| Made::Jail(Box::new(staged))),
            None => waiting_filter(jail, ground).map(Made::Waiting),
        }
    });
    for (jail, made) in stage.settings.jails.iter().zip(made) {
        match made {
            Ok(Made::Jail(staged)) => stage.jails.push(*staged),
            Ok(Made::Waiting(filter)) => stage.waiting.push((Arc::clone(jail), filter)),
            Err(fault) => {
                stage.off.push((jail.name.clone(), fault.to_string()));
                stage.faults.push((jail.name.clone(), fault.exception()));
            }
        }
    }
    stage
}

/// What became of one jail's settings.
enum Made {
    Jail(Box<StagedJail>),
    /// It does not run.
    Waiting(Arc<Filter>),
}

/// Why a jail can't be staged.
enum Fault {
    Filter(FilterError),
    Other(String),
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Filter(e) => e.fmt(f),
            Fault::Other(why) => f.write_str(why),
        }
    }
}

impl From<String> for Fault {
    fn from(why: String) -> Self {
        Fault::Other(why)
    }
}

impl Fault {
    /// As the original's clients know it.
    fn exception(&self) -> Exception {
        match self {
            Fault::Filter(e) => match (e.option, e.position) {
                ("failregex" | "ignoreregex" | "prefregex", Some(position)) => Exception::regex(format!(
                    "Unable to compile regular expression '{}':\n{} at position {position}",
                    e.pattern, e.message
                )),
                ("failregex" | "ignoreregex" | "prefregex", None) => Exception::regex(e.message.clone()),
                _ => Exception::value(e.message.clone()),
            },
            Fault::Other(why) => Exception::value(why.clone()),
        }
    }
}

/// The filter of a jail that does not run (yet); what it may still lack is no fault.
fn waiting_filter(jail: &JailSettings, ground: &Ground) -> Result<Arc<Filter>, Fault> {
    let spec = filter_spec(jail, jail.reads_journal())?;
    Filter::compile(&spec, &ground.calendar).map(Arc::new).map_err(Fault::Filter)
}

fn stage_jail(
    jail: &Arc<JailSettings>,
    stock: &[StockAction],
    ground: &Ground,
    epoch: u64,
) -> Result<StagedJail, Fault> {
    let sources = sources(jail, ground)?;
    let filter_spec = filter_spec(jail, matches!(sources, Sources::Journal(_)))?;
    let filter = Filter::compile(&filter_spec, &ground.calendar).map_err(Fault::Filter)?;
    let filter = filter.with_origins(&filter_spec, |option, pattern| jail.origin(option, pattern));
    let journal = match &sources {
        Sources::Journal(options) => Some(&**options),
        Sources::Files { .. } | Sources::Nothing => None,
    };
    // Patterns that can't be used are without effect; the reader of the tree has warned of them.
    let watch = Watch::new(&jail.success, &filter_spec, journal, &ground.calendar).ok().flatten().map(Arc::new);
    let (block, actions) = actions(jail, stock, ground)?;
    // Where no file keeps what a ban was made of, the ban itself does.
    let evidence = !ground.saves || wants_evidence(jail, &actions);
    let spec = JailSpec { evidence, ..jail_spec(jail, epoch, &ground.ignore_files)? };
    let strict = jail.own("actionorder") != Some("free");
    let actions = JailActions { name: spec.name.clone(), bantime: spec.bantime, strict, actions };
    let stock = stock.iter().filter(|action| action.jail == jail.jail() && !ground.dry_run).cloned().collect();
    let sources = if jail.idle { Sources::Nothing } else { sources };
    Ok(StagedJail {
        from: Arc::clone(jail),
        spec,
        filter: Arc::new(filter),
        filter_spec,
        watch,
        sources,
        block,
        actions,
        stock,
    })
}

pub(super) fn filter_spec(jail: &JailSettings, journal: bool) -> Result<FilterSpec, String> {
    let encoding = jail.logencoding.as_deref().unwrap_or("auto");
    Ok(FilterSpec {
        prefregex: jail.prefregex.clone().filter(|p| !p.is_empty()),
        failregex: jail.failregex.clone(),
        ignoreregex: jail.ignoreregex.clone(),
        datepattern: match &jail.datepattern {
            _ if journal => DatePattern::Journal,
            Some(text) => DatePattern::Text(text.clone()),
            None => DatePattern::Default,
        },
        maxlines: number(jail.maxlines.unwrap_or(1)),
        usedns: jail.usedns.as_deref().map_or(FilterDns::Warn, |text| FilterDns::parse(text).unwrap_or(FilterDns::No)),
        logtimezone: jail.logtimezone.clone(),
        encoding: Encoding::parse(encoding).map_err(|e| format!("logencoding: {e}"))?,
        findtime: Span::from_secs_f64(jail.findtime.map_or(600.0, Seconds::as_f64)),
    })
}

fn jail_spec(jail: &JailSettings, epoch: u64, files: &IgnoreFiles) -> Result<JailSpec, String> {
    let mut spec = JailSpec::new(jail.jail());
    spec.maxretry = number(jail.maxretry.unwrap_or(3));
    spec.findtime = Span::from_secs_f64(jail.findtime.map_or(600.0, Seconds::as_f64));
    spec.bantime = BanTime::from_secs_f64(jail.bantime.unwrap_or(600.0));
    spec.maxmatches = number(jail.maxmatches.unwrap_or(5));
    spec.increment = increment(jail)?;
    spec.ignoreself = jail.ignoreself.unwrap_or(true);
    spec.ignoreip = ignore_entries(&jail.ignoreip, files);
    spec.ignorecache = jail.ignorecache.clone();
    spec.usedns = match jail.usedns.as_deref().map(str::to_ascii_lowercase).as_deref() {
        Some("yes") => UseDns::Yes,
        Some("raw") => UseDns::Raw,
        Some("warn") | None => UseDns::Warn,
        Some(_) => UseDns::No,
    };
    spec.guard = match jail.own("guard") {
        Some("refuse") => Guard::Refuse,
        Some("off") => Guard::Off,
        _ => Guard::Warn,
    };
    spec.ignorecommand = jail.ignorecommand.as_deref().filter(|command| !command.is_empty()).map(Into::into);
    spec.keepcounts = jail.own("keepcounts").is_none_or(boolean);
    spec.epoch = epoch;
    Ok(spec)
}

fn increment(jail: &JailSettings) -> Result<Increment, String> {
    let text = |name: &str| jail.bantime_extra.get(name).filter(|v| **v != Value::None).map(words);
    let flag = |name: &str| match jail.bantime_extra.get(name) {
        Some(Value::Bool(on)) => *on,
        Some(other) => boolean(&words(other)),
        None => false,
    };
    let span = |name: &str| match text(name) {
        None => Ok(None),
        Some(t) => {
            parse_seconds(&t).map(|s| Some(Span::from_secs_f64(s))).map_err(|e| format!("bantime.{name} = '{t}': {e}"))
        }
    };
    let factor = match text("factor") {
        None => None,
        Some(t) => Some(parse_constant(&t).map_err(|e| format!("bantime.factor = '{t}': {e}"))?),
    };
    let formula = match text("formula") {
        None => None,
        Some(t) => Some(Formula::parse(&t).map_err(|e| format!("bantime.formula = '{t}': {e}"))?),
    };
    let mut multipliers = Vec::new();
    for word in text("multipliers").unwrap_or_default().split_whitespace() {
        multipliers.push(word.parse().map_err(|_| format!("bantime.multipliers: '{word}' is not a whole number"))?);
    }
    Ok(Increment {
        increment: flag("increment"),
        factor,
        formula,
        multipliers,
        maxtime: span("maxtime")?,
        rndtime: span("rndtime")?,
        overalljails: flag("overalljails"),
    })
}

/// `ignoreip` words: addresses, networks, `file:PATH`, and host names. What can never match is left out,
/// as it is without effect for the original; the reader of the tree has warned of it.
fn ignore_entries(list: &[String], files: &IgnoreFiles) -> Vec<IgnoreEntry> {
    let words = list.iter().flat_map(|text| text.split([' ', ',', '\t', '\n']));
    let words = words.filter(|word| stockade_config::is_ignorable(word));
    words
        .map(|word| match word.strip_prefix("file:") {
            Some(path) => {
                let path: Arc<str> = format!("/{}", path.trim_start_matches('/')).into();
                // It is watched, and counts as soon as it can be read.
                let nets = files.nets(&path);
                IgnoreEntry::File { path, nets }
            }
            None => match FailureId::parse(word) {
                FailureId::Net(net) => IgnoreEntry::Net(net),
                FailureId::Text(name) => IgnoreEntry::Name(name),
            },
        })
        .collect()
}

/// All actions of jails that run, and how each is carried out.
pub(crate) fn recognised(settings: &Settings) -> Vec<(ActionSpec, Recognised)> {
    let mut off: Vec<(ActionSpec, Recognised)> = Vec::new();
    let mut specs: Vec<ActionSpec> = Vec::new();
    for jail in settings.jails.iter().filter(|jail| jail.started) {
        let all = jail.actions.iter().map(|action| action.spec(&jail.name));
        match jail.own("native") {
            Some("off") => off.extend(all.map(|spec| (spec, Recognised::Shell("stockade.native = off".to_owned())))),
            _ => specs.extend(all),
        }
    }
    let recognised = exclusive(&specs, in_parallel(&specs, recognise));
    specs.into_iter().zip(recognised).chain(off).collect()
}

/// The actions that are carried out without a shell.
pub(crate) fn stock_actions(settings: &Settings) -> Vec<StockAction> {
    let plan = |(spec, recognised): (ActionSpec, Recognised)| match recognised {
        Recognised::Accelerated(plan) => {
            Some(StockAction { jail: JailName::new(&spec.jail), name: spec.name, plan: *plan })
        }
        Recognised::Shell(_) => None,
    };
    recognised(settings).into_iter().filter_map(plan).collect()
}

/// What the jail's other actions mean: for our own table, and for who runs commands.
fn actions(
    jail: &JailSettings,
    stock: &[StockAction],
    ground: &Ground,
) -> Result<(Option<JailBlock>, Vec<ActionSpec>), String> {
    let (mut block, mut specs) = (None, Vec::new());
    for action in &jail.actions {
        if stock.iter().any(|known| known.jail == jail.jail() && *known.name == *action.name) {
            continue;
        }
        if action.property("native").as_deref() == Some("table") {
            block = Some(native_block(&jail.jail(), action, ground)?);
            continue;
        }
        let spec = action.spec(&jail.name);
        stockade_enforce::runner::check_python(&spec).map_err(|why| format!("action '{}': {why}", action.name))?;
        // In a dry run nothing is started.
        if !ground.dry_run {
            specs.push(spec);
        }
    }
    Ok((block, specs))
}

/// Do commands, or the cache of ignored ids, tell of a ban's lines and groups?
fn wants_evidence(jail: &JailSettings, actions: &[ActionSpec]) -> bool {
    let tells = |tag: &String| tag.ends_with("matches") || tag == "raw-ticket" || tag.starts_with("F-");
    // Of a text that can't be expanded nobody knows.
    let in_commands = |wanted: BTreeSet<String>| wanted.is_empty() || wanted.iter().any(tells);
    let in_key = jail.ignorecache.as_ref().is_some_and(|cache| cache.key.contains("<F-"));
    in_key || actions.iter().any(|action| in_commands(action.wanted_tags()))
}

fn native_block(jail: &JailName, action: &ActionSettings, ground: &Ground) -> Result<JailBlock, String> {
    let property = |name: &str, default: &str| action.property(name).unwrap_or_else(|| default.to_owned());
    let (port, protocol) = (property("port", "0:65535"), property("protocol", "all"));
    let ports = PortSpec::parse(&port, &protocol, &ground.services)
        .map_err(|e| format!("action '{}', port = {port}, protocol = {protocol}: {e}", action.name))?;
    let verdict = match property("block", "drop").as_str() {
        "drop" => Verdict::Drop,
        "reject" => Verdict::Reject,
        other => return Err(format!("action '{}': block = {other} is neither drop nor reject", action.name)),
    };
    Ok(JailBlock { jail: jail.clone(), ports, verdict })
}

/// Where the jail's lines come from.
fn sources(jail: &JailSettings, ground: &Ground) -> Result<Sources, String> {
    if jail.failregex.is_empty() {
        return Ok(Sources::Nothing);
    }
    let kind = jail.backend.split_once('[').map_or(jail.backend.as_str(), |(kind, _)| kind).trim();
    let patterns = patterns(jail)?;
    let has_files = !jail.logpath.is_empty() || !patterns.is_empty();
    let wanted = kind == "systemd"
        || (kind == "auto"
            && !jail.journalmatch.is_empty()
            && (jail.own("journalfirst").is_some_and(boolean) && ground.journal || !has_files));
    if wanted {
        return journal_options(&jail.backend, jail.journalmatch.clone())
            .map(|options| Sources::Journal(Box::new(options)));
    }
    let mut paths: Vec<(PathBuf, bool)> =
        jail.logpath.iter().map(|(path, tail)| (PathBuf::from(path), tail == "tail")).collect();
    let (wild, plain): (Vec<_>, Vec<_>) = patterns.into_iter().partition(|(glob, _)| Glob::is_wild(glob.as_str()));
    // A log that is not there yet is waited for.
    for (glob, tail) in plain {
        if !paths.iter().any(|(path, _)| path == Path::new(glob.as_str())) {
            paths.push((PathBuf::from(glob.as_str()), tail));
        }
    }
    let follow = jail.own("watchglob").is_none_or(boolean);
    Ok(Sources::Files { paths, patterns: if follow { wild } else { Vec::new() } })
}

/// `stockade.logpath`: patterns of files that may appear, and whether each is read from its end.
fn patterns(jail: &JailSettings) -> Result<Vec<(Glob, bool)>, String> {
    let glob = |(pattern, place): &(String, String)| {
        Glob::new(pattern).map(|glob| (glob, place == "tail")).map_err(|e| e.to_string())
    };
    jail.patterns.iter().map(glob).collect()
}

/// The journal as `backend = systemd[option=value, ...]` and `journalmatch` choose it.
pub(crate) fn journal_options(backend: &str, matches: Vec<Vec<String>>) -> Result<JournalOptions, String> {
    let mut options = JournalOptions { matches, ..JournalOptions::default() };
    let arguments = backend.split_once('[').map_or("", |(_, rest)| rest.trim_end_matches([']', ' ']));
    for argument in arguments.split(',').map(str::trim).filter(|a| !a.is_empty()) {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let value = value.trim().trim_matches(['"', '\'']);
        match name.trim() {
            "journalpath" => options.path = Some(value.into()),
            "journalfiles" => options.files = value.split_whitespace().map(str::to_owned).collect(),
            "namespace" => options.namespace = Some(value.to_owned()),
            "journalflags" => {
                options.flags = Some(value.parse().map_err(|_| format!("journalflags = '{value}' is not a number"))?);
            }
            "rotated" => {}
            other => return Err(format!("backend: systemd has no option '{other}'")),
        }
    }
    Ok(options)
}

/// A count; one below nothing is nothing.
fn number(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::Tree;

    fn ground(dry_run: bool) -> Ground {
        Ground {
            calendar: Calendar::new(jiff::tz::TimeZone::UTC, 2026),
            services: Services::embedded(),
            dry_run,
            journal: false,
            saves: true,
            ignore_files: IgnoreFiles::default(),
        }
    }

    fn staged(lines: &[&[&str]], dry_run: bool) -> Stage {
        let command = |words: &&[&str]| words.iter().map(|w| Value::from(*w)).collect::<Vec<_>>();
        let stream: Vec<_> = lines.iter().map(command).collect();
        stage(Settings::default().staged(&stream).unwrap(), &ground(dry_run), 1, &|_| None)
    }

    const JAIL: &[&[&str]] = &[
        &["add", "j", "polling"],
        &["set", "j", "addfailregex", "^bad <HOST>$"],
        &["set", "j", "addlogpath", "/var/log/x.log", "tail"],
        &["start", "j"],
    ];

    #[track_caller]
    fn off_because(more: &[&str], why: &str) {
        let lines: Vec<&[&str]> = JAIL.iter().copied().chain([more]).collect();
        let stage = staged(&lines, false);
        assert!(stage.jails.is_empty());
        assert!(stage.off[0].1.contains(why), "{:?}", stage.off);
    }

    #[test]
    fn the_embedded_tree_stages_as_a_whole() {
        let nothing = std::env::temp_dir().join(format!("stockade-no-tree-{}", std::process::id()));
        std::fs::create_dir_all(&nothing).unwrap();
        let loaded = Tree::of(Some(&nothing)).compile().unwrap();
        std::fs::remove_dir(&nothing).unwrap();
        let (settings, broken) = Settings::default().staged_as_far_as_possible(&loaded.stream).unwrap();
        let stage = stage(settings, &ground(false), 1, &|_| None);
        assert_eq!((broken, stage.off.clone()), (Vec::new(), Vec::new()));
        let sshd = stage.jails.iter().find(|jail| jail.spec.name.as_str() == "sshd").unwrap();
        assert!(sshd.block.as_ref().is_some_and(|block| block.ports.is_all()));
        assert_eq!(sshd.spec.guard, Guard::Refuse);
    }

    #[test]
    fn a_jail_is_off_with_a_reason_and_the_others_run() {
        off_because(&["set", "j", "addfailregex", "("], "missing )");
    }

    #[test]
    fn a_bad_word_in_ignoreip_is_left_out_and_the_jail_runs() {
        let bad = "# 10.0.0.0/40 300.1.1.1 192.0.2.* fe80::1%%eth0 http://x/ file:/nonexistent/list 192.0.2.1";
        let words: Vec<&str> = ["set", "j", "addignoreip"].into_iter().chain(bad.split(' ')).collect();
        let lines: Vec<&[&str]> = JAIL.iter().copied().chain([words.as_slice()]).collect();
        let stage = staged(&lines, false);
        assert_eq!(stage.off, []);
        let entries = &stage.jails[0].spec.ignoreip;
        assert!(matches!(entries.as_slice(), [IgnoreEntry::File { .. }, IgnoreEntry::Net(_)]), "{entries:?}");
    }

    #[test]
    fn a_jail_with_a_command_that_fails_is_left_out() {
        let without = |more: &[&str]| {
            let command = |words: &[&str]| words.iter().map(|w| Value::from(*w)).collect::<Vec<_>>();
            let stream: Vec<_> = JAIL.iter().copied().chain([more]).map(command).collect();
            let (settings, broken) = Settings::default().staged_as_far_as_possible(&stream).unwrap();
            assert!(settings.jails.is_empty());
            broken[0].1.clone()
        };
        let why = without(&["set", "j", "bantime.formula", "__import__('os')"]);
        assert!(why.contains("bantime.formula"), "{why}");
        let why = without(&["set", "j", "logencoding", "klingon"]);
        assert!(why.contains("unknown encoding: klingon"), "{why}");
    }

    #[test]
    fn actions_with_commands_are_staged_unless_nothing_is_enforced() {
        let action: &[&[&str]] = &[&["set", "j", "addaction", "fw"], &["set", "j", "action", "fw", "actionban", "x"]];
        let lines: Vec<&[&str]> = JAIL.iter().copied().chain(action.iter().copied()).collect();
        let actions = |dry_run| staged(&lines, dry_run).jails[0].actions.actions.len();
        assert_eq!((actions(false), actions(true)), (1, 0));
    }
}
