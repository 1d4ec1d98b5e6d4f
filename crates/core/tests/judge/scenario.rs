//! Runs one scenario: configuration, failures, commands and time against what
//! is expected to come out. The language is described in `scenarios/README.md`.

use std::collections::VecDeque;
use std::sync::Arc;

use stockade_core::judge::{
    Answer, AskId, Bounds, Change, Command, CommandId, Event, Guard, IgnoreCache, IgnoreEntry, Imported, JailChange,
    JailSpec, Judge, Outcome, Outputs, ProtectedAs, Protection, Question, RetryBy, ServerSpec, StoredBan, StoredTime,
    UseDns, formula, timespec,
};
use stockade_core::{
    BanTime, Batch, DecisionKind, Failure, FailureId, GroupValue, JailName, Net, Origin, Position, Seq, SourceKey,
    Span, Subject, Timestamp, Who,
};

use crate::words::{Args, words};

/// 2026-01-01 00:00:00 UTC: where the time column is 0.
const START: i64 = 1_767_225_600;

pub(crate) struct Scenario<'a> {
    pub(crate) title: &'a str,
    lines: Vec<(usize, &'a str)>,
}

pub(crate) struct Failed {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// Cuts a file at its `== title` lines.
pub(crate) fn split(text: &str) -> Vec<Scenario<'_>> {
    let mut scenarios = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if let Some(title) = line.strip_prefix("== ") {
            scenarios.push(Scenario { title: title.trim(), lines: Vec::new() });
        } else if let Some(scenario) = scenarios.last_mut() {
            scenario.lines.push((at + 1, line));
        }
    }
    scenarios
}

pub(crate) fn run(scenario: &Scenario<'_>) -> Result<(), Failed> {
    let mut world = World::new();
    let mut last = 0;
    for (number, line) in &scenario.lines {
        last = *number;
        world.line(line).map_err(|what| Failed { line: *number, what })?;
    }
    world.nothing_left().map_err(|what| Failed { line: last, what })
}

/// Something that came out, as an expectation can name it.
#[derive(Debug)]
struct Came {
    at: Timestamp,
    verb: &'static str,
    subject: String,
    facts: Vec<(&'static str, String)>,
}

struct World {
    judge: Judge,
    now: Timestamp,
    specs: Vec<JailSpec>,
    protections: Vec<Protection>,
    server: ServerSpec,
    came: VecDeque<Came>,
    log: VecDeque<String>,
    acks: bool,
    lines_read: u64,
    commands: u64,
    stored: Vec<StoredBan>,
    marks: Vec<(JailName, u64)>,
    decided: Vec<Subject>,
}

fn seconds(text: &str) -> Result<f64, String> {
    timespec::parse_seconds(text).map_err(|e| format!("{text}: {e}"))
}

fn span(text: &str) -> Result<Span, String> {
    seconds(text).map(Span::from_secs_f64)
}

fn bantime(text: &str) -> Result<BanTime, String> {
    if text == "permanent" { Ok(BanTime::Permanent) } else { seconds(text).map(BanTime::from_secs_f64) }
}

fn net(text: &str) -> Result<Net, String> {
    FailureId::parse(text).net().ok_or_else(|| format!("{text} is no network"))
}

fn yes(text: &str) -> bool {
    matches!(text, "yes" | "true" | "on")
}

/// A point in time as the time column writes it, `never` without end.
fn column(time: Timestamp) -> String {
    if time == Timestamp::MAX {
        return "never".to_owned();
    }
    let offset = time - Timestamp::from_secs(START);
    format!("{}s", offset.as_secs_f64())
}

fn time_of(bantime: BanTime) -> String {
    match bantime {
        BanTime::Permanent => "permanent".to_owned(),
        BanTime::For(span) => format!("{}s", span.as_secs_f64()),
    }
}

fn source() -> SourceKey {
    SourceKey { path: "/var/log/auth.log".into(), generation: 1 }
}

impl World {
    fn new() -> Self {
        World {
            judge: Judge::new(7, Seq(0)),
            now: Timestamp::from_secs(START),
            specs: Vec::new(),
            protections: Vec::new(),
            server: ServerSpec::default(),
            came: VecDeque::new(),
            log: VecDeque::new(),
            acks: true,
            lines_read: 0,
            commands: 0,
            stored: Vec::new(),
            marks: Vec::new(),
            decided: Vec::new(),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let line = line.split("  # ").next().unwrap_or_default().trim_end();
        if line.trim().is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let mut words = words(line);
        let first = words.first().cloned().unwrap_or_default();
        if first.starts_with(|c: char| c.is_ascii_digit() || c == '+') {
            words.remove(0);
            let target = match first.strip_prefix('+') {
                Some(step) => self.now + span(step)?,
                None => Timestamp::from_secs(START) + span(&first)?,
            };
            self.advance(target)?;
        }
        if words.is_empty() {
            return Ok(());
        }
        let verb = words.remove(0);
        if verb == ">" {
            if let Some((_, wanted)) = line.split_once("> log ") {
                return self.expect_log(wanted.trim());
            }
            return self.expect(words);
        }
        self.nothing_left()?;
        self.log.clear();
        self.act(&verb, words)
    }

    /// Lets time pass, stopping at every deadline on the way.
    fn advance(&mut self, target: Timestamp) -> Result<(), String> {
        if target < self.now {
            // The clock was set back; the judge has to live with it.
            self.now = target;
            return Ok(());
        }
        for _ in 0..100_000 {
            match self.judge.next_deadline() {
                Some(at) if at <= target => self.now = self.now.max(at),
                _ => {
                    self.now = target;
                    return Ok(());
                }
            }
            self.step(Event::Deadline);
        }
        Err("the judge wants to be woken without end".to_owned())
    }

    fn step(&mut self, event: Event) {
        let mut out = Outputs::default();
        self.judge.step(self.now, event, &mut out);
        self.note(&out);
        // Store and kernel answer at once, also to what comes of their answers.
        while self.acks && !out.turn.decisions.is_empty() {
            let upto = out.turn.decisions.last().map_or(Seq(0), |d| d.seq);
            out.clear();
            self.judge.step(self.now, Event::Saved(upto), &mut out);
            self.judge.step(self.now, Event::Applied { upto, failed: Vec::new() }, &mut out);
            self.note(&out);
        }
    }

    /// Writes down what came out.
    fn note(&mut self, out: &Outputs) {
        let at = self.now;
        for decision in &out.turn.decisions {
            self.store(decision);
            self.decided.push(decision.into());
            let verb = match decision.kind {
                DecisionKind::Ban => "ban",
                DecisionKind::Restore => "restore",
                DecisionKind::Prolong => "prolong",
                DecisionKind::Unban => "unban",
                DecisionKind::Lift if decision.count == 0 => "forget",
                DecisionKind::Lift => "lift",
                DecisionKind::Repeal => "repeal",
                DecisionKind::Withhold => "withhold",
            };
            let facts = vec![
                ("jail", decision.jail.to_string()),
                ("from", column(decision.time)),
                ("for", time_of(decision.bantime)),
                ("until", column(decision.end)),
                ("count", decision.count.to_string()),
                ("failures", decision.failures.to_string()),
                ("matches", decision.matches.join("|")),
                ("ip", decision.ip.map_or(String::new(), |ip| ip.to_string())),
                ("user", group(&decision.groups, "user")),
                ("why", decision.why.to_string()),
                ("seq", decision.seq.0.to_string()),
                ("origin", origin(&decision.origin)),
            ];
            self.came.push_back(Came { at, verb, subject: decision.id.to_string(), facts });
        }
        for flush in &out.flushes {
            let facts = vec![("count", flush.count.to_string()), ("kind", format!("{:?}", flush.kind).to_lowercase())];
            self.came.push_back(Came { at, verb: "flush", subject: flush.jail.to_string(), facts });
        }
        for ask in &out.asks {
            let (subject, kind) = match &ask.question {
                Question::Addresses { name } => (name.to_string(), "addresses"),
                Question::IgnoreCommand { command, about, .. } => (format!("{command} {}", about.id), "command"),
            };
            let facts = vec![("number", ask.id.0.to_string()), ("kind", kind.to_owned())];
            self.came.push_back(Came { at, verb: "ask", subject, facts });
        }
        for retry in &out.retries {
            let by = match &retry.by {
                RetryBy::Kernel => "kernel".to_owned(),
                RetryBy::Action(name) => name.to_string(),
            };
            let subject = retry.subject.id.to_string();
            self.came.push_back(Came { at, verb: "retry", subject, facts: vec![("by", by)] });
        }
        for doubt in out.doubts.iter().filter(|doubt| doubt.check && !self.acks) {
            self.came.push_back(Came { at, verb: "doubt", subject: doubt.id.to_string(), facts: Vec::new() });
        }
        if let Some(Seq(seq)) = out.release.filter(|_| !self.acks) {
            self.came.push_back(Came { at, verb: "release", subject: seq.to_string(), facts: Vec::new() });
        }
        for change in out.changes.iter().filter(|_| !self.acks) {
            let (verb, subject) = match change {
                Change::Ban { id, .. } => ("announce-ban", id.to_string()),
                Change::Unban { id, .. } => ("announce-unban", id.to_string()),
                Change::Prolong { id, .. } => ("announce-prolong", id.to_string()),
                Change::Withhold { id, .. } => ("announce-withhold", id.to_string()),
                _ => continue,
            };
            self.came.push_back(Came { at, verb, subject, facts: Vec::new() });
        }
        for reply in &out.replies {
            self.came.push_back(Came { at, verb: "reply", subject: outcome(&reply.outcome), facts: Vec::new() });
        }
        for mark in &out.turn.watermarks {
            if let Position::Offset(to) = mark.to {
                self.marks.push((mark.jail.clone(), to));
            }
        }
        let utc = jiff::tz::TimeZone::UTC;
        for line in &out.log {
            self.log.push_back(format!("{} {}", line.level.name(), line.message(&utc)));
        }
    }

    /// Keeps what a database would keep: the last ban of each id and jail.
    fn store(&mut self, decision: &stockade_core::Decision) {
        let same = |row: &StoredBan| row.jail == decision.jail && row.id == decision.id;
        match decision.kind {
            // What is over at once is not stored.
            DecisionKind::Ban if decision.end < self.now => {}
            DecisionKind::Ban => {
                self.stored.retain(|row| !same(row));
                self.stored.push(StoredBan {
                    jail: decision.jail.clone(),
                    id: decision.id.clone(),
                    ip: decision.ip,
                    start: Timestamp::from_secs(decision.time.secs_rounded()),
                    bantime: StoredTime::Known(decision.bantime),
                    count: decision.count,
                    failures: decision.failures,
                    matches: decision.matches.to_vec(),
                    groups: decision.groups.to_vec(),
                });
            }
            DecisionKind::Prolong => {
                for row in self.stored.iter_mut().filter(|row| same(row)) {
                    row.bantime = StoredTime::Known(decision.bantime);
                }
            }
            DecisionKind::Lift => self.stored.retain(|row| !same(row)),
            _ => {}
        }
    }

    fn nothing_left(&self) -> Result<(), String> {
        match self.came.front() {
            None => Ok(()),
            Some(came) => Err(format!("this came as well: {}", came.show())),
        }
    }

    fn command(&mut self, command: Command) {
        self.commands += 1;
        self.step(Event::Command { id: CommandId(self.commands), command });
    }

    /// The jail that a line means: `in=NAME`, else the first one.
    fn jail(&self, args: &mut Args) -> Result<JailName, String> {
        match args.option("in") {
            Some(name) => Ok(JailName::new(&name)),
            None => self.specs.first().map(|spec| spec.name.clone()).ok_or_else(|| "there is no jail".to_owned()),
        }
    }

    fn act(&mut self, verb: &str, words: Vec<String>) -> Result<(), String> {
        let mut args = Args::new(words);
        match verb {
            "jail" => return self.put_jail(args),
            "remove" => {
                let name = JailName::new(&args.word("a jail")?);
                self.specs.retain(|spec| spec.name != name);
                self.step(Event::Config(vec![JailChange::Remove(name)]));
            }
            "server" => {
                if let Some(own) = args.option("own") {
                    self.server.own =
                        own.split(',').map(|ip| ip.parse().map_err(|_| format!("{ip}?"))).collect::<Result<_, _>>()?;
                }
                self.server.dbpurgeage = args.option("dbpurgeage").map(|t| span(&t)).transpose()?;
                let mut bounds = Bounds::default();
                for (key, place) in [
                    ("tallies", &mut bounds.tallies),
                    ("parked", &mut bounds.parked),
                    ("decisions", &mut bounds.decisions),
                    ("matches_bytes", &mut bounds.matches_bytes),
                ] {
                    if let Some(value) = args.option(key) {
                        *place = value.parse().map_err(|_| format!("{value}?"))?;
                    }
                }
                self.server.bounds = Some(bounds);
                self.step(Event::Server(self.server.clone()));
            }
            "protect" => {
                let who = net(&args.word("a network")?)?;
                let reason = match args.word("a reason")?.as_str() {
                    "own" => ProtectedAs::Own,
                    "loopback" => ProtectedAs::Loopback,
                    "gateway" => ProtectedAs::Gateway,
                    "resolver" => ProtectedAs::Resolver,
                    other => match other.split_once(':') {
                        Some(("login", who)) => ProtectedAs::Login(who.into()),
                        Some(("relay", jail)) => {
                            ProtectedAs::Relay { jail: JailName::new(jail), seen: "9 of 10".into() }
                        }
                        _ => return Err("unknown reason".into()),
                    },
                };
                self.protections.push(Protection { net: who, reason });
                self.step(Event::Protected(self.protections.clone()));
            }
            "unprotect" => {
                let who = net(&args.word("a network")?)?;
                self.protections.retain(|p| p.net != who);
                self.step(Event::Protected(self.protections.clone()));
            }
            "fail" | "replay" => return self.fail(verb == "replay", args),
            "ban" => {
                let jail = self.jail(&mut args)?;
                let bantime = args.option("for").map(|t| bantime(&t)).transpose()?;
                let force = args.take("force");
                let ids = args.rest().iter().map(|id| FailureId::parse(id)).collect();
                self.command(Command::Ban { jail, ids, bantime, force, origin: Origin::Manual });
            }
            "unban" | "repeal" => {
                let jail = args.option("in").map(|name| JailName::new(&name));
                let all = args.take("all");
                let targets: Vec<_> = args.rest().iter().map(|id| FailureId::parse(id)).collect();
                self.command(match (verb, all) {
                    ("repeal", _) => Command::Repeal { jail },
                    (_, true) => Command::UnbanAll { jail },
                    _ => Command::Unban { jail, targets },
                });
            }
            "stop" => {
                let jail = JailName::new(&args.word("a jail")?);
                self.specs.retain(|spec| spec.name != jail);
                self.command(Command::Stop { jail });
            }
            "attempt" => {
                let jail = self.jail(&mut args)?;
                let id = FailureId::parse(&args.word("an id")?);
                let matches = args.rest().into_iter().map(Into::into).collect();
                self.command(Command::Attempt { jail, id, matches });
            }
            "allow" | "disallow" => {
                let jail = args.option("in").map(|name| JailName::new(&name));
                let nets = args.rest().iter().map(|n| net(n)).collect::<Result<_, _>>()?;
                self.command(match verb {
                    "allow" => Command::Allow { jail, nets },
                    _ => Command::Disallow { jail, nets },
                });
            }
            "answer" => {
                let id = AskId(args.word("a number")?.parse().map_err(|_| "a number is wanted")?);
                let words = args.rest();
                let answer = match words.first().map(String::as_str) {
                    Some("ignore") => Answer::Ignore(true),
                    Some("count") => Answer::Ignore(false),
                    Some("none") => Answer::Addresses(Vec::new()),
                    _ => Answer::Addresses(
                        words.iter().map(|ip| ip.parse().map_err(|_| format!("{ip}?"))).collect::<Result<_, _>>()?,
                    ),
                };
                self.step(Event::Answer { id, answer });
            }
            "file" => {
                let path: Arc<str> = args.word("a path")?.into();
                let nets = args.rest().iter().map(|n| net(n)).collect::<Result<Vec<_>, _>>()?;
                self.step(Event::FileSet { path, nets: nets.into() });
            }
            "stored" => {
                let row = self.stored_row(&mut args)?;
                self.stored.push(row.clone());
                self.step(Event::Restore(vec![row]));
            }
            "evidence" => {
                let row = self.stored_row(&mut args)?;
                self.step(Event::Evidence(vec![row]));
            }
            "import" => {
                let row = self.stored_row(&mut args)?;
                self.command(Command::Import { bans: vec![row] });
            }
            "restart" => self.restart(args.take("without-snapshot"))?,
            "acks" => self.acks = args.word("on or off")? == "on",
            "saved" => {
                let upto = Seq(args.word("a number")?.parse().map_err(|_| "a number is wanted")?);
                self.step(Event::Saved(upto));
            }
            "unsaved" => {
                let why = args.word("a reason")?.into();
                self.step(Event::Unsaved { upto: self.judge.health().last, why });
            }
            "applied" => {
                let upto = Seq(args.word("a number")?.parse().map_err(|_| "a number is wanted")?);
                let failed = match args.option("refused") {
                    Some(seq) => vec![(Seq(seq.parse().map_err(|_| "a number is wanted")?), "refused".into())],
                    None => Vec::new(),
                };
                self.step(Event::Applied { upto, failed });
            }
            "reapplied" | "acted" => {
                let seq = Seq(args.word("a number")?.parse().map_err(|_| "a number is wanted")?);
                let subject = self.decided.iter().find(|of| of.seq == seq).cloned().ok_or("no such decision")?;
                let action = args.option("action");
                let result = if args.take("ok") { Ok(()) } else { Err(args.word("ok or a reason")?.into()) };
                self.step(match action {
                    Some(action) => Event::Acted { subject, action: action.into(), result },
                    None => Event::Reapplied { subject, result },
                });
            }
            _ => return Err(format!("unknown verb `{verb}`")),
        }
        args.done()
    }

    /// A new daemon: what was stored comes back, the snapshot is loaded.
    fn restart(&mut self, without_snapshot: bool) -> Result<(), String> {
        let snapshot = self.judge.snapshot();
        let last = self.judge.health().last;
        self.judge = Judge::new(8, last);
        self.step(Event::Server(self.server.clone()));
        self.step(Event::Protected(self.protections.clone()));
        let jails = self.specs.iter().map(|spec| JailChange::Put(Box::new(spec.clone()))).collect();
        self.step(Event::Config(jails));
        self.step(Event::Restore(self.stored.clone()));
        if !without_snapshot {
            self.judge.load(&snapshot).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn put_jail(&mut self, mut args: Args) -> Result<(), String> {
        let name = JailName::new(&args.word("a name")?);
        let mut spec = match self.specs.iter().find(|spec| spec.name == name) {
            Some(spec) => spec.clone(),
            None => {
                let mut spec = JailSpec::new(name);
                spec.maxmatches = 0;
                spec
            }
        };
        let number = |text: String| text.parse::<u32>().map_err(|_| format!("{text} is no number"));
        while let Some((key, value)) = args.next_option() {
            match key.as_str() {
                "maxretry" => spec.maxretry = number(value)?,
                "findtime" => spec.findtime = span(&value)?,
                "bantime" => spec.bantime = bantime(&value)?,
                "maxmatches" => spec.maxmatches = number(value)?,
                "increment" => spec.increment.increment = yes(&value),
                "factor" => spec.increment.factor = Some(formula::parse_constant(&value).map_err(|e| e.to_string())?),
                "formula" => spec.increment.formula = Some(formula::Formula::parse(&value).map_err(|e| e.to_string())?),
                "multipliers" => {
                    spec.increment.multipliers =
                        value.split(' ').map(|m| m.parse().map_err(|_| "multipliers?")).collect::<Result<_, _>>()?;
                }
                "maxtime" => spec.increment.maxtime = Some(span(&value)?),
                "rndtime" => spec.increment.rndtime = Some(span(&value)?),
                "overalljails" => spec.increment.overalljails = yes(&value),
                "ignoreself" => spec.ignoreself = yes(&value),
                "ignoreip" => {
                    spec.ignoreip = value.split([' ', ',']).filter(|w| !w.is_empty()).map(ignore_entry).collect();
                }
                "ignorecommand" => spec.ignorecommand = (!value.is_empty()).then(|| value.into()),
                "ignorecache" => {
                    let mut parts = value.split(',');
                    let key = parts.next().unwrap_or_default().into();
                    let count_max = parts.next().and_then(|n| n.parse().ok()).unwrap_or(100);
                    let time_max = span(parts.next().unwrap_or("5m"))?;
                    spec.ignorecache = Some(IgnoreCache { key, count_max, time_max });
                }
                "usedns" => {
                    spec.usedns = match value.as_str() {
                        "yes" => UseDns::Yes,
                        "warn" => UseDns::Warn,
                        "raw" => UseDns::Raw,
                        _ => UseDns::No,
                    };
                }
                "guard" => {
                    spec.guard = match value.as_str() {
                        "refuse" => Guard::Refuse,
                        "warn" => Guard::Warn,
                        _ => Guard::Off,
                    };
                }
                "evidence" => spec.evidence = yes(&value),
                "keepcounts" => spec.keepcounts = yes(&value),
                "epoch" => spec.epoch = u64::from(number(value)?),
                _ => return Err(format!("unknown option `{key}`")),
            }
        }
        match self.specs.iter_mut().find(|there| there.name == spec.name) {
            Some(there) => *there = spec.clone(),
            None => self.specs.push(spec.clone()),
        }
        self.step(Event::Config(vec![JailChange::Put(Box::new(spec))]));
        args.done()
    }

    /// `fail ID..`: one batch of one failure per id, `together` one batch of all.
    fn fail(&mut self, replay: bool, mut args: Args) -> Result<(), String> {
        let jail = self.jail(&mut args)?;
        let time = match args.option("dated") {
            Some(text) => Timestamp::from_secs(START) + span(&text)?,
            None => self.now,
        };
        let times: usize = args.option("times").map_or(Ok(1), |n| n.parse().map_err(|_| format!("{n}?")))?;
        let line = args.option("line");
        let ip = args.option("ip").map(|ip| net(&ip)).transpose()?;
        let user = args.option("user");
        let epoch = args.option("epoch").map_or(Ok(1_000), |n| n.parse().map_err(|_| format!("{n}?")))?;
        let together = args.take("together");
        let named = args.take("named");
        let mut failures = Vec::new();
        for id in args.rest() {
            for _ in 0..times {
                self.lines_read += 1;
                failures.push(Failure {
                    who: if named { Who::Name(id.as_str().into()) } else { Who::Id(FailureId::parse(&id)) },
                    ip,
                    time,
                    regex: 0,
                    place: Position::Offset(self.lines_read * 100),
                    matches: vec![line.clone().unwrap_or_else(|| format!("line {}", self.lines_read)).into()].into(),
                    groups: user.iter().map(|user| ("user", GroupValue::Text(user.as_str().into()))).collect(),
                });
            }
        }
        let batches: Vec<Vec<Failure>> =
            if together { vec![failures] } else { failures.into_iter().map(|failure| vec![failure]).collect() };
        for failures in batches {
            let to = failures.last().map_or(Position::Offset(0), |failure| failure.place.clone());
            let batch = Batch { jail: jail.clone(), source: source(), to, failures, lines: 1, replay, epoch };
            self.step(Event::Batch(batch));
        }
        args.done()
    }

    fn stored_row(&mut self, args: &mut Args) -> Result<StoredBan, String> {
        let jail = self.jail(args)?;
        let number = |text: Option<String>, otherwise: u32| {
            text.map_or(Ok(otherwise), |n| n.parse().map_err(|_| format!("{n}?")))
        };
        Ok(StoredBan {
            jail,
            id: FailureId::parse(&args.word("an id")?),
            ip: args.option("ip").map(|ip| net(&ip)).transpose()?,
            start: self.now + span(&args.option("began").ok_or("began= is missing")?)?,
            bantime: match args.option("for").ok_or("for= is missing")?.as_str() {
                "unknown" => StoredTime::Unknown,
                text => StoredTime::Known(bantime(text)?),
            },
            count: number(args.option("count"), 1)?,
            failures: number(args.option("failures"), 0)?,
            matches: args.option("matches").map(|m| m.split('|').map(Into::into).collect()).unwrap_or_default(),
            groups: Vec::new(),
        })
    }

    fn expect(&mut self, words: Vec<String>) -> Result<(), String> {
        let mut args = Args::new(words);
        let verb = args.word("an expectation")?;
        match verb.as_str() {
            "nothing" => return self.nothing_left(),
            "quiet" => {
                return if self.log.is_empty() { Ok(()) } else { Err(format!("the log has {:#?}", self.log)) };
            }
            "status" => return self.expect_status(args),
            "count" => {
                let jail = self.jail(&mut args)?;
                let id = FailureId::parse(&args.word("an id")?);
                let wanted = args.word("a number")?;
                let why = self.judge.why(&id);
                let found = why.jails.iter().find(|why| why.jail == jail).and_then(|why| why.tally.as_ref());
                let found = found.map_or("none".to_owned(), |tally| tally.retry.to_string());
                return if found == wanted { Ok(()) } else { Err(format!("{id} counts {found}")) };
            }
            "banned" => {
                let jail = self.jail(&mut args)?;
                let by_end = args.take("by-end");
                let bans = if by_end { self.judge.bans_by_end(&jail) } else { self.judge.bans(&jail) };
                let found: Vec<_> = bans.iter().map(|ban| ban.id.to_string()).collect();
                let wanted = args.rest();
                return if found == wanted { Ok(()) } else { Err(format!("banned are {found:?}")) };
            }
            "state" => {
                let jail = self.jail(&mut args)?;
                let id = FailureId::parse(&args.word("an id")?);
                let bans = self.judge.bans(&jail);
                let ban = bans.iter().find(|ban| ban.id == id).ok_or("it is not banned")?;
                let mut found = Vec::new();
                if ban.state.unsaved {
                    found.push("unsaved".to_owned());
                }
                if ban.state.unapplied {
                    found.push("unapplied".to_owned());
                }
                for trouble in &ban.state.failed {
                    found.push(format!("failed({})", trouble.action.as_deref().unwrap_or("kernel")));
                }
                let wanted = args.rest();
                return if found == wanted { Ok(()) } else { Err(format!("its state is {found:?}")) };
            }
            "view" => {
                let jail = self.jail(&mut args)?;
                let id = FailureId::parse(&args.word("an id")?);
                let ban = self.judge.ban(&jail, &id).ok_or("it is not banned")?;
                let facts = [
                    ("count", ban.count.to_string()),
                    ("failures", ban.failures.to_string()),
                    ("matches", ban.matches.join("|")),
                    ("user", group(&ban.groups, "user")),
                ];
                while let Some((key, value)) = args.next_option() {
                    let found = facts.iter().find(|(k, _)| *k == key).ok_or_else(|| format!("unknown fact `{key}`"))?;
                    if found.1 != value {
                        return Err(format!("its {key} is {}", found.1));
                    }
                }
                return args.done();
            }
            "mark" => {
                let jail = self.jail(&mut args)?;
                let wanted = args.word("a number of lines")?;
                let found = self.marks.iter().rev().find(|(there, _)| *there == jail).map_or(0, |(_, to)| to / 100);
                return if found.to_string() == wanted {
                    Ok(())
                } else {
                    Err(format!("the mark is behind line {found}"))
                };
            }
            "ignored" => {
                let jail = self.jail(&mut args)?;
                let id = FailureId::parse(&args.word("an id")?);
                let wanted = args.rest().join(" ");
                let why = self.judge.why(&id);
                let found = why.jails.iter().find(|why| why.jail == jail).and_then(|why| why.ignored.as_ref());
                let found = found.map_or("no".to_owned(), ToString::to_string);
                return if found == wanted { Ok(()) } else { Err(format!("{id} is ignored by {found}")) };
            }
            _ => {}
        }
        // `some restore ID`: among all that came, whatever the order.
        let verb = if verb == "some" { format!("some {}", args.word("a verb")?) } else { verb };
        let subject = args.rest().join(" ");
        let came = match verb.strip_prefix("some ") {
            Some(verb) => {
                let jail = args.option("jail");
                let at = self.came.iter().position(|came| {
                    came.verb == verb
                        && came.subject == subject
                        && jail.as_ref().is_none_or(|jail| came.facts.contains(&("jail", jail.clone())))
                });
                at.and_then(|at| self.came.remove(at))
            }
            None => self.came.pop_front(),
        };
        let came = came.ok_or("nothing came")?;
        let verb = verb.strip_prefix("some ").unwrap_or(&verb);
        if came.verb != verb || came.subject != subject {
            return Err(format!("this came instead: {}", came.show()));
        }
        while let Some((key, value)) = args.next_option() {
            if key == "at" {
                let late = (came.at - (Timestamp::from_secs(START) + span(&value)?)).as_secs_f64();
                if !(0.0..0.01).contains(&late) {
                    return Err(format!("it came at {}", came.show()));
                }
                continue;
            }
            let found = came.facts.iter().find(|(k, _)| *k == key).ok_or_else(|| format!("unknown fact `{key}`"))?;
            // Times may be written as any length of time.
            let same = found.1 == value
                || (matches!(key.as_str(), "from" | "for" | "until")
                    && seconds(&value).is_ok_and(|v| found.1 == format!("{v}s")));
            if !same {
                return Err(format!("{key} is {}: {}", found.1, came.show()));
            }
        }
        args.done()
    }

    /// The line must be in the log of the last action, behind those expected before.
    fn expect_log(&mut self, wanted: &str) -> Result<(), String> {
        let all: Vec<String> = self.log.iter().cloned().collect();
        while let Some(line) = self.log.pop_front() {
            if line == wanted {
                return Ok(());
            }
        }
        Err(format!("not in the log: {wanted}\n    the log has {all:#?}"))
    }

    fn expect_status(&mut self, mut args: Args) -> Result<(), String> {
        let jail = self.jail(&mut args)?;
        let status = self.judge.status(&jail).ok_or("there is no such jail")?;
        let counters = status.counters;
        while let Some((key, value)) = args.next_option() {
            let found = match key.as_str() {
                "failed" => counters.failed,
                "failed_total" => counters.failed_total,
                "banned" => counters.banned,
                "banned_total" => counters.banned_total,
                "ignored_total" => counters.ignored_total,
                "withheld" => counters.withheld,
                "evicted_total" => counters.evicted_total,
                "troubled" => status.troubled,
                _ => return Err(format!("unknown counter `{key}`")),
            };
            if found.to_string() != value {
                return Err(format!("{key} is {found}"));
            }
        }
        args.done()
    }
}

impl Came {
    fn show(&self) -> String {
        let facts: Vec<_> = self.facts.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| format!("{k}={v}")).collect();
        format!("{} {} {} ({})", column(self.at), self.verb, self.subject, facts.join(" "))
    }
}

fn ignore_entry(word: &str) -> IgnoreEntry {
    if let Some(path) = word.strip_prefix("file:") {
        return IgnoreEntry::File { path: path.into(), nets: Arc::default() };
    }
    match FailureId::parse(word) {
        FailureId::Net(net) => IgnoreEntry::Net(net),
        FailureId::Text(name) => IgnoreEntry::Name(name),
    }
}

fn group(groups: &[(Arc<str>, GroupValue)], name: &str) -> String {
    match groups.iter().find(|(there, _)| **there == *name) {
        Some((_, GroupValue::Text(text))) => text.to_string(),
        Some((_, GroupValue::List(list))) => list.join("|"),
        None => String::new(),
    }
}

fn origin(origin: &Origin) -> String {
    use stockade_core::Origin;
    match origin {
        Origin::Log { place: Position::Offset(at), .. } => format!("line{}", at / 100),
        Origin::Log { .. } => "journal".to_owned(),
        Origin::Manual => "manual".to_owned(),
        Origin::Restored => "restored".to_owned(),
        Origin::Expired => "expired".to_owned(),
        Origin::Config => "config".to_owned(),
        Origin::Peer { node, .. } => format!("peer:{node}"),
        Origin::Aggregate => "aggregate".to_owned(),
    }
}

fn outcome(outcome: &Outcome) -> String {
    let list = |ids: &[FailureId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    match outcome {
        Outcome::UnknownJail(name) => format!("unknown jail {name}"),
        Outcome::Banned { new, already, withheld } => {
            let mut text = format!("banned {new}");
            if !already.is_empty() {
                text += &format!(" already {}", list(already));
            }
            for (id, why) in withheld {
                text += &format!(" withheld {id}: {why}");
            }
            text
        }
        Outcome::Imported(Imported { new, already, over, withheld, unknown }) => {
            format!("new {new} already {already} over {over} withheld {withheld} unknown {}", unknown.len())
        }
        Outcome::Unbanned { count, absent } if absent.is_empty() => format!("unbanned {count}"),
        Outcome::Unbanned { count, absent } => format!("unbanned {count} absent {}", list(absent)),
        Outcome::Attempted(counted) => if *counted { "counted" } else { "ignored" }.to_owned(),
        Outcome::Allowed { entries, lifted } => format!("entries {entries} lifted {lifted}"),
        Outcome::Stopped => "stopped".to_owned(),
    }
}
