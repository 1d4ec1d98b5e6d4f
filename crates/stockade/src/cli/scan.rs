//! `scan`: what the filters find in old logs, and what would have been banned.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use stockade_core::judge::{Event, JailChange, JailSpec, Judge, Outputs, UseDns};
use stockade_core::matcher::{
    Calendar, DatePattern, Encoding, Filter, FilterSpec, Hit, LINE_BYTES_MAX, LineMode, Matcher, UseDns as FilterDns,
};
use stockade_core::{
    BanTime, Batch, DecisionKind, Failure, FailureId, GroupValue, JailName, Position, Seq, SourceKey, Span, Timestamp,
    Who,
};
use stockade_source::StreamReader;

use super::term::{self, say};
use super::{Common, Exit};
use crate::places::Tree;
use crate::settings::{JailSettings, Seconds, Settings};

pub(crate) const EXAMPLES: &str = "Examples:\n  \
    stockade scan /var/log/auth.log                     with the sshd jail of the embedded tree\n  \
    stockade scan --jail sshd /var/log/auth.log*        older ones too, compressed or not\n  \
    stockade scan --failregex 'refused <HOST>' app.log\n  \
    stockade scan --ban 3,600,3600 auth.log             who would have been banned for an hour\n\n\
    Old lines count, each at its own time. Nothing is banned.";

/// Words of `scan`.
#[derive(Args)]
pub(crate) struct ScanArgs {
    /// Log files, compressed by gzip or not; `-` is standard input
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// A jail of the tree: its filter and thresholds [default: sshd]
    #[arg(long, conflicts_with_all = ["filter", "failregex"])]
    jail: Option<String>,
    /// A filter of the tree, such as `sshd` or `sshd[mode=aggressive]`
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
    /// What becomes of host names: no or raw (names are never looked up here)
    #[arg(long, value_name = "HOW", default_value = "no")]
    usedns: String,
    /// Zone of dates that name none, such as Europe/Berlin [default: the system's]
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Take this for the present, in seconds since the epoch: decides about years
    #[arg(long, value_name = "EPOCH")]
    now: Option<i64>,
    /// Encoding of the log
    #[arg(long, value_name = "NAME", default_value = "utf-8")]
    encoding: String,
    /// Try every pattern on each line, not only up to the first that matches
    #[arg(long)]
    all: bool,
    /// Show captured groups
    #[arg(long)]
    groups: bool,
    /// Take a last line without line end
    #[arg(long)]
    partial: bool,
    /// Each line is the text of a journal entry, made now
    #[arg(long)]
    journal_lines: bool,
    /// Count, and show bans, with these thresholds (seconds)
    #[arg(long, value_name = "MAXRETRY,FINDTIME,BANTIME")]
    ban: Option<String>,
    #[command(flatten)]
    common: Common,
}

/// What the scan goes by.
struct Rules {
    spec: FilterSpec,
    /// maxretry, findtime, bantime in seconds.
    ban: Option<(u32, Span, BanTime)>,
    name: String,
}

/// Scans.
pub(crate) fn scan(args: &ScanArgs) -> Result<Exit> {
    let rules = rules(args)?;
    let zone = match &args.tz {
        None => TimeZone::system(),
        Some(name) => TimeZone::get(name).map_err(|_| anyhow!("--tz: there is no time zone '{name}'"))?,
    };
    let now = args.now.map_or_else(crate::daemon::now, Timestamp::from_secs);
    let year = jiff::Timestamp::from_second(now.secs()).map_or(2026, |t| t.to_zoned(zone.clone()).year());
    let calendar = Calendar::new(zone, year);
    let filter = Filter::compile(&rules.spec, &calendar).map_err(|e| anyhow!("{}: {e}", rules.name))?;
    let mut scan = Scan::new(args, &rules, filter, now);
    for log in &args.logs {
        scan.log(log)?;
    }
    scan.end();
    Ok(if scan.matched > 0 { Exit::Done } else { Exit::Refused })
}

fn rules(args: &ScanArgs) -> Result<Rules> {
    let mut ban = match &args.ban {
        None => None,
        Some(text) => Some(thresholds(text)?),
    };
    let (mut spec, name) = if args.failregex.is_empty() {
        let (jail, name) = jail_of(args)?;
        if ban.is_none() && args.filter.is_none() {
            let secs = |time: Option<f64>| time.unwrap_or(600.0);
            let maxretry = u32::try_from(jail.maxretry.unwrap_or(3)).unwrap_or(3);
            ban = Some((
                maxretry,
                Span::from_secs_f64(secs(jail.findtime.map(Seconds::as_f64))),
                BanTime::from_secs_f64(secs(jail.bantime)),
            ));
        }
        (spec_of(&jail)?, name)
    } else {
        (FilterSpec { usedns: FilterDns::No, ..FilterSpec::default() }, "--failregex".to_owned())
    };
    spec.failregex.extend(args.failregex.iter().cloned());
    spec.ignoreregex.extend(args.ignoreregex.iter().cloned());
    spec.prefregex = args.prefregex.clone().or(spec.prefregex);
    spec.maxlines = args.maxlines.unwrap_or(spec.maxlines);
    spec.usedns = FilterDns::parse(&args.usedns)
        .with_context(|| format!("--usedns: '{}' is not one of yes, warn, no, raw", args.usedns))?;
    spec.encoding = Encoding::parse(&args.encoding).map_err(|e| anyhow!("--encoding: {e}"))?;
    if let Some(pattern) = &args.datepattern {
        spec.datepattern = DatePattern::Text(pattern.clone());
    }
    if args.journal_lines {
        spec.datepattern = DatePattern::Journal;
    }
    Ok(Rules { spec, ban, name })
}

/// The jail whose filter is meant.
fn jail_of(args: &ScanArgs) -> Result<(JailSettings, String)> {
    let tree = Tree::of(args.common.conf.as_deref());
    if let Some(filter) = &args.filter {
        let stream = tree.filter(filter, args.journal_lines)?;
        let settings = Settings::default().staged(&stream).map_err(|e| anyhow!("filter {filter}: {e}"))?;
        let jail = settings.jails.into_iter().next().with_context(|| format!("filter {filter} is empty"))?;
        return Ok((Arc::unwrap_or_clone(jail), format!("filter {filter}")));
    }
    let name = args.jail.as_deref().unwrap_or("sshd");
    let settings = Settings::default().staged(&tree.load()?.stream).map_err(|e| anyhow!("{e}"))?;
    match settings.jail(name) {
        Some(jail) => Ok((jail.clone(), format!("jail {name}"))),
        None => {
            let names: Vec<&str> = settings.jails.iter().map(|jail| jail.name.as_str()).collect();
            bail!("there is no enabled jail '{name}'; enabled are: {}", names.join(", "))
        }
    }
}

fn spec_of(jail: &JailSettings) -> Result<FilterSpec> {
    Ok(FilterSpec {
        prefregex: jail.prefregex.clone().filter(|p| !p.is_empty()),
        failregex: jail.failregex.clone(),
        ignoreregex: jail.ignoreregex.clone(),
        datepattern: jail.datepattern.clone().map_or(DatePattern::Default, DatePattern::Text),
        maxlines: u32::try_from(jail.maxlines.unwrap_or(1)).context("maxlines is out of range")?,
        logtimezone: jail.logtimezone.clone(),
        ..FilterSpec::default()
    })
}

fn thresholds(text: &str) -> Result<(u32, Span, BanTime)> {
    let numbers: Vec<i64> = text.split(',').map(|n| n.trim().parse()).collect::<Result<_, _>>().unwrap_or_default();
    let [maxretry, findtime, bantime] = numbers.as_slice() else {
        bail!("--ban takes three whole numbers such as 5,600,3600 (failures, seconds, seconds), not '{text}'");
    };
    let maxretry = u32::try_from(*maxretry).context("--ban: maxretry is out of range")?;
    let bantime = if *bantime < 0 { BanTime::Permanent } else { BanTime::For(Span::from_secs(*bantime)) };
    Ok((maxretry, Span::from_secs(*findtime), bantime))
}

/// A scan under way.
struct Scan<'a> {
    args: &'a ScanArgs,
    matcher: Matcher,
    judge: Option<Judge>,
    outputs: Outputs,
    bantime: BanTime,
    now: Timestamp,
    lines: u64,
    matched: u64,
    ids: std::collections::HashMap<String, (u64, u64)>,
    order: Vec<String>,
    banned_until: std::collections::HashMap<String, Timestamp>,
}

impl<'a> Scan<'a> {
    fn new(args: &'a ScanArgs, rules: &Rules, filter: Filter, now: Timestamp) -> Scan<'a> {
        let name = JailName::new("scan");
        let mut outputs = Outputs::default();
        let judge = rules.ban.map(|(maxretry, findtime, bantime)| {
            let mut judge = Judge::new(0, Seq(0));
            let mut spec = JailSpec::new(name.clone());
            (spec.maxretry, spec.findtime, spec.bantime) = (maxretry, findtime, bantime);
            (spec.ignoreself, spec.usedns) = (false, UseDns::No);
            judge.step(now, Event::Config(vec![JailChange::Put(Box::new(spec))]), &mut outputs);
            judge
        });
        Scan {
            args,
            matcher: Matcher::new(name, Arc::new(filter), 0),
            judge,
            outputs,
            bantime: rules.ban.map_or(BanTime::Permanent, |(_, _, bantime)| bantime),
            now,
            lines: 0,
            matched: 0,
            ids: std::collections::HashMap::new(),
            order: Vec::new(),
            banned_until: std::collections::HashMap::new(),
        }
    }

    fn log(&mut self, path: &Path) -> Result<()> {
        let show = path.display();
        if path == Path::new("-") {
            return self.stream(std::io::stdin().lock(), "standard input", 0);
        }
        let mut file = File::open(path).with_context(|| format!("{show} can't be read"))?;
        let meta = file.metadata().with_context(|| format!("{show} can't be read"))?;
        if meta.is_dir() {
            bail!("{show} is a directory; name the log files in it");
        }
        let mut magic = [0_u8; 2];
        let gzip = file.read(&mut magic)? == 2 && magic == [0x1f, 0x8b];
        let file = File::open(path)?;
        let name = show.to_string();
        if gzip {
            return self.stream(flate2::read::MultiGzDecoder::new(file), &name, 0);
        }
        self.stream(file, &name, meta.len())
    }

    fn stream(&mut self, input: impl Read, name: &str, size: u64) -> Result<()> {
        let mut progress = Progress::new(name, size);
        let mut input = Tail { input, last: Some(b'\n'), add: self.args.partial };
        let mut reader = StreamReader::new(&mut input, name);
        while let Some(block) = reader.read().map_err(|e| anyhow!("{e}"))? {
            let mut rest = &*block.text;
            while !rest.is_empty() {
                let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
                let (line, tail) = rest.split_at(end);
                rest = tail;
                self.line(line);
            }
            if let Position::Offset(at) = block.end {
                progress.at(at);
            }
        }
        progress.end();
        for note in reader.take_notes() {
            term::note(format!("stockade: {note}"));
        }
        Ok(())
    }

    fn line(&mut self, bytes: &[u8]) {
        self.lines += 1;
        if bytes.len() > LINE_BYTES_MAX {
            term::note(format!(
                "stockade: line {} has {} bytes and is left out, as the daemon does",
                self.lines,
                bytes.len()
            ));
            return;
        }
        let filter = Arc::clone(self.matcher.filter());
        let text = filter.decode(bytes);
        let text = text.trim_end_matches(['\r', '\n']);
        let mode = LineMode { all: self.args.all, ..LineMode::SCAN };
        let stamp = self.args.journal_lines.then_some(self.now);
        let report = self.matcher.line(self.now, text, stamp, false, mode);
        for hit in report.hits {
            if !hit.nofail
                && let Some(id) = id_of(&hit)
            {
                self.hit(&hit, &id);
            }
        }
        for note in self.matcher.take_notes() {
            term::note(format!("stockade: line {}: {}", self.lines, note.text));
        }
    }

    fn hit(&mut self, hit: &Hit, id: &FailureId) {
        self.matched += 1;
        let shown = id.to_string();
        if !self.ids.contains_key(&shown) {
            self.order.push(shown.clone());
        }
        self.ids.entry(shown.clone()).or_default().0 += 1;
        if self.args.common.json {
            say(self.hit_json(hit, &shown).to_string());
        }
        if let Some(time) = hit.time {
            self.count(hit, id, time);
        }
    }

    /// One failure as the reference format has it.
    fn hit_json(&self, hit: &Hit, id: &str) -> Value {
        let mut out = Map::new();
        out.insert("line".into(), json!(self.lines));
        out.insert("id".into(), json!(id));
        out.insert("time".into(), hit.time.map_or(Value::Null, epoch));
        out.insert("regex".into(), json!(hit.regex));
        if let Some(ip) = hit.ip.as_ref().map(ToString::to_string).filter(|ip| ip != id) {
            out.insert("ip".into(), json!(ip));
        }
        for name in ["user", "users"] {
            if let Some((_, value)) = hit.groups.iter().find(|(n, _)| &**n == name) {
                out.insert(name.into(), group(value));
            }
        }
        out.insert("n".into(), json!(hit.matches.len()));
        if self.args.groups {
            let hidden = ["matches", "ip", "user", "users", "fid", "ip4", "ip6", "dns", "nofail-matches", "mlfid"];
            let shown = hit.groups.iter().filter(|(name, _)| !hidden.contains(&&**name));
            let groups: Map<String, Value> = shown.map(|(name, value)| (name.to_string(), group(value))).collect();
            if !groups.is_empty() {
                out.insert("g".into(), Value::Object(groups));
            }
        }
        Value::Object(out)
    }

    /// Counts a failure at its own time, and tells of the ban that it leads to.
    fn count(&mut self, hit: &Hit, id: &FailureId, time: Timestamp) {
        let Some(judge) = &mut self.judge else { return };
        let failure = Failure {
            who: Who::Id(id.clone()),
            ip: hit.ip.as_ref().and_then(FailureId::net),
            time,
            regex: hit.regex,
            place: Position::Offset(self.lines),
            matches: Vec::new(),
            groups: Vec::new(),
        };
        let batch = Batch {
            jail: JailName::new("scan"),
            source: SourceKey { path: "scan".into(), generation: 0 },
            to: Position::Offset(self.lines),
            failures: vec![failure],
            lines: 1,
            replay: false,
            epoch: 0,
        };
        self.outputs.clear();
        judge.step(time, Event::Batch(batch), &mut self.outputs);
        let decisions = std::mem::take(&mut self.outputs.turn.decisions);
        for decision in decisions.iter().filter(|d| d.kind == DecisionKind::Ban) {
            let shown = decision.id.to_string();
            let already = self.banned_until.get(&shown).is_some_and(|end| *end > decision.time);
            if !already {
                self.banned_until.insert(shown.clone(), self.bantime.end(decision.time));
                self.ids.entry(shown.clone()).or_default().1 += 1;
            }
            if self.args.common.json {
                let mut out = json!({ "ban": shown, "line": self.lines, "time": epoch(decision.time), "fails": decision.failures });
                if already && let Some(map) = out.as_object_mut() {
                    map.insert("already".into(), json!(true));
                }
                say(out.to_string());
            }
        }
    }

    fn end(&self) {
        if self.args.common.json {
            say(json!({ "sum": { "lines": self.lines, "matched": self.matched, "ids": self.ids.len() } }).to_string());
            return;
        }
        let mut rows: Vec<(&String, u64, u64)> = self
            .order
            .iter()
            .map(|id| (id, self.ids.get(id).map_or(0, |c| c.0), self.ids.get(id).map_or(0, |c| c.1)))
            .collect();
        rows.sort_by_key(|(_, failures, bans)| (std::cmp::Reverse(*bans > 0), std::cmp::Reverse(*failures)));
        let row = |(id, failures, bans): &(&String, u64, u64)| {
            let mut who = String::new();
            stockade_core::text::push_escaped(&mut who, id);
            vec![who, failures.to_string(), bans.to_string()]
        };
        let shown: Vec<Vec<String>> = rows.iter().take(50).map(row).collect();
        if !shown.is_empty() {
            term::table(&["WHO", "FAILURES", "BANS"], &[1, 2], &shown);
            if rows.len() > shown.len() {
                say(format!("... and {} more (--json shows all)", rows.len() - shown.len()));
            }
            say("");
        }
        let bans: u64 = rows.iter().map(|(_, _, bans)| bans).sum();
        let banned = if self.judge.is_some() { format!(", {bans} bans") } else { String::new() };
        say(format!("{} lines, {} failures by {} addresses{banned}", self.lines, self.matched, rows.len()));
    }
}

fn id_of(hit: &Hit) -> Option<FailureId> {
    match hit.who.as_ref()? {
        Who::Id(id) => Some(id.clone()),
        Who::Name(_) => None,
    }
}

fn group(value: &GroupValue) -> Value {
    match value {
        GroupValue::Text(text) => json!(text),
        GroupValue::List(list) => json!(list),
    }
}

/// Seconds, with a fraction only where there is one.
fn epoch(time: Timestamp) -> Value {
    if time.subsec_micros() == 0 { json!(time.secs()) } else { json!(time.as_secs_f64()) }
}

/// A stream to which a missing last line end is added, if wanted.
struct Tail<R> {
    input: R,
    last: Option<u8>,
    add: bool,
}

impl<R: Read> Read for Tail<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.input.read(buf)?;
        if n > 0 {
            self.last = buf.get(n - 1).copied();
        } else if self.add
            && self.last.take().is_some_and(|b| b != b'\n')
            && let Some(first) = buf.first_mut()
        {
            *first = b'\n';
            return Ok(1);
        }
        Ok(n)
    }
}

/// How far a long file is, on a terminal only.
struct Progress<'n> {
    name: &'n str,
    size: u64,
    shown: bool,
    last: std::time::Instant,
}

impl<'n> Progress<'n> {
    fn new(name: &'n str, size: u64) -> Progress<'n> {
        let shown = size > 64 << 20 && std::io::stderr().is_terminal();
        Progress { name, size, shown, last: std::time::Instant::now() }
    }

    fn at(&mut self, at: u64) {
        if self.shown && self.last.elapsed().as_millis() > 200 {
            self.last = std::time::Instant::now();
            let percent = at.saturating_mul(100) / self.size.max(1);
            drop(write!(std::io::stderr(), "\r{}: {percent}% of {}", self.name, term::bytes(self.size)));
        }
    }

    fn end(&self) {
        if self.shown {
            drop(write!(std::io::stderr(), "\r\x1b[K"));
        }
    }
}
