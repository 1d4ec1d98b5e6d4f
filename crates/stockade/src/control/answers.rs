//! Answers to questions: `status`, `banned`, `why`.
//!
//! They are put together in a thread of their own, from looks at the judge
//! (which take microseconds), the kernel's and the store's state, and the
//! journal read through a connection of its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use serde_json::{Map, Value, json};
use stockade_core::judge::IgnoreSource;
use stockade_core::judge::{BanView, Judge, TallyView};
use stockade_core::{DecisionKind, FailureId, JailName, Net, Timestamp};
use stockade_enforce::stock::{Families, Here};
use stockade_store::{Reader, Row};

use crate::blacklist::Lists;
use crate::daemon::actions::{ActionView, ActionsHandle};
use crate::daemon::blacklists::{BlacklistHandle, ListView};
use crate::daemon::board::{Board, JailBoard, Posted};
use crate::daemon::judge::{JudgeControl, JudgeInbox};
use crate::daemon::kernel::KernelHandle;
use crate::daemon::store::StoreHandle;
use crate::log::Log;

/// Said to whoever asks too late.
const STOPPING: &str = "the daemon is stopping";

/// How many problems of one kind `status` shows.
const PROBLEMS_MAX: usize = 20;

/// A command that takes longer than this is worth a word.
const SLOW_SECS: u64 = 10;

/// How many bans of a jail are looked up in the kernel when they are shown.
const LOOKED_UP: usize = 100;

/// The state of a ban that the kernel does not have.
const NOT_HELD: &str = "does NOT hold: the kernel has lost it";

/// How many journal rows `why` shows.
const HISTORY_MAX: usize = 20;

/// Everything that answers need.
pub(crate) struct Answers {
    pub(crate) judge: Arc<JudgeInbox>,
    pub(crate) kernel: KernelHandle,
    pub(crate) actions: ActionsHandle,
    pub(crate) blacklists: BlacklistHandle,
    pub(crate) store: StoreHandle,
    pub(crate) board: Board,
    pub(crate) log: Log,
    pub(crate) database: Option<PathBuf>,
    /// When the daemon started.
    pub(crate) started: Timestamp,
}

/// How many bans one answer holds at most.
const PAGE_BANS: usize = 10_000;

/// Which bans are asked for.
#[derive(Debug)]
pub(crate) struct Page {
    /// Of one jail, or of all.
    pub(crate) jail: Option<String>,
    /// Addresses only.
    pub(crate) plain: bool,
    /// Where the answer before this one ended.
    pub(crate) from: Option<(String, u32)>,
}

impl Answers {
    /// Looks at the judge between two of its steps.
    pub(super) fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Judge, Timestamp) -> T + Send + 'static,
    ) -> Result<T, String> {
        self.look_later(look).recv().map_err(|_| STOPPING.to_owned())
    }

    /// The same, for who has something else to ask meanwhile.
    fn look_later<T: Send + 'static>(&self, look: impl FnOnce(&Judge, Timestamp) -> T + Send + 'static) -> Receiver<T> {
        let (sender, receiver) = channel();
        self.judge.control(JudgeControl::Look(Box::new(move |judge, now| drop(sender.send(look(judge, now))))));
        receiver
    }

    /// `status` of all, or of one jail.
    pub(crate) fn status(&self, jail: Option<&str>) -> Result<Value, String> {
        match jail {
            None => self.daemon(),
            Some(name) => self.jail(name),
        }
    }

    fn daemon(&self) -> Result<Value, String> {
        let posted = self.board.read();
        let names: Vec<JailName> = posted.jails.iter().map(|jail| jail.spec.name.clone()).collect();
        // All three threads are asked at once: on a busy machine each answer takes its time.
        let look = self.look_later(move |judge, _| {
            let statuses: Vec<_> = names.iter().map(|name| (judge.status(name), families(judge, name))).collect();
            (statuses, judge.health(), withheld(judge, None))
        });
        let (actions, counters) = (self.actions.view_later(), self.kernel.counters());
        let (statuses, health, withheld) = look.recv().map_err(|_| STOPPING.to_owned())?;
        let mut jails: Vec<Value> = Vec::new();
        for (board, (status, families)) in posted.jails.iter().zip(statuses) {
            let counters = status.map(|s| s.counters).unwrap_or_default();
            let mut jail = Map::new();
            jail.insert("name".into(), json!(board.spec.name.as_str()));
            put_counters(&mut jail, &counters);
            let off = posted.off.iter().find(|(name, _)| name == board.spec.name.as_str());
            let state = off.map_or_else(|| state_of(board), |(_, why)| format!("OFF, only its bans are held: {why}"));
            jail.insert("state".into(), json!(state));
            jail.insert("sources".into(), sources(board));
            put_overruns(&mut jail, board);
            jail.insert("banned_families".into(), json!({ "inet4": families.inet4, "inet6": families.inet6 }));
            jails.push(Value::Object(jail));
        }
        let kernel = self.kernel.state();
        let store = self.store.state();
        let mut problems: Vec<String> = Vec::new();
        for trouble in health.troubles.iter().take(PROBLEMS_MAX) {
            let part = trouble.action.as_deref().unwrap_or("kernel");
            problems.push(format!("[{}] {}: {part}: {}", trouble.subject.jail, trouble.subject.id, trouble.why));
        }
        let actions = actions.recv().unwrap_or_default();
        problems.extend(actions.iter().flat_map(action_problems).take(PROBLEMS_MAX));
        let state = match (&kernel, kernel.trouble.is_empty(), kernel.unsettled) {
            (k, _, _) if k.dry => "dry run: nobody is banned".to_owned(),
            (k, false, _) => k.trouble.clone(),
            (k, true, 0) if k.bans == 1 => "1 ban held".to_owned(),
            (k, true, 0) => format!("{} bans held", k.bans),
            (k, true, n) => format!("{n} of {} bans are not held", k.bans),
        };
        let ok = !kernel.dry && kernel.trouble.is_empty() && kernel.unsettled == 0;
        let lists = self.blacklists.complaints().into_iter().chain(posted.ignore_files.complaints());
        let counters = counters.recv().unwrap_or_default();
        let dropped: (u64, u64) = counters.iter().fold((0, 0), |(p, b), count| (p + count.packets, b + count.bytes));
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "since": self.started.secs(),
            "started": self.started.micros(),
            "loaded": posted.loaded.as_secs_f64(),
            "dry_run": kernel.dry,
            "firewall": { "what": kernel.all_means(), "why": kernel.own_why(), "state": state, "ok": ok, "bans": kernel.bans, "repairs": kernel.repairs,
                "unsettled": kernel.unsettled, "dropped_packets": dropped.0, "dropped_bytes": dropped.1 },
            "database": {
                "what": self.database.as_ref().map_or("memory".to_owned(), |path| path.display().to_string()),
                "state": if store.trouble.is_empty() { "saved".to_owned() } else { format!("not saved: {}", store.trouble) },
                "ok": store.trouble.is_empty(),
                "unsaved": store.unsaved,
            },
            "jails": jails,
            "actions": actions.iter().map(action_json).collect::<Vec<_>>(),
            "withheld": withheld,
            "problems": problems,
            "lists": lists.take(PROBLEMS_MAX).collect::<Vec<_>>(),
        }))
    }

    fn jail(&self, name: &str) -> Result<Value, String> {
        let posted = self.board.read();
        let Some(board) = posted.jails.iter().find(|jail| jail.spec.name.as_str() == name) else {
            let off = posted.off.iter().find(|(off, _)| off == name);
            return Err(match off {
                Some((_, why)) => format!("jail '{name}' is off: {why}"),
                None => {
                    let names: Vec<&str> = posted.jails.iter().map(|jail| jail.spec.name.as_str()).collect();
                    format!("there is no jail '{name}'; there are: {}", names.join(", "))
                }
            });
        };
        let jail_name = board.spec.name.clone();
        let (status, (mut bans, more), withheld) = self.look(move |judge, _| {
            let bans = judge.bans_page(&jail_name, 0, PAGE_BANS);
            (judge.status(&jail_name), bans, withheld(judge, Some(jail_name.as_str())))
        })?;
        bans.sort_by_key(|ban| ban.seq);
        let counters = status.map(|s| s.counters).unwrap_or_default();
        let mut jail = Map::new();
        jail.insert("name".into(), json!(name));
        let off = posted.off.iter().find(|(off, _)| off == name);
        let state = off.map_or_else(|| state_of(board), |(_, why)| format!("OFF, only its bans are held: {why}"));
        jail.insert("state".into(), json!(state));
        if board.blocks {
            jail.insert("means".into(), json!(self.kernel.state().means_of(&board.spec.name)));
        }
        put_counters(&mut jail, &counters);
        jail.insert(
            "settings".into(),
            json!({ "maxretry": board.spec.maxretry, "findtime": board.spec.findtime.secs(), "bantime": board.spec.bantime.secs() }),
        );
        jail.insert("sources".into(), sources(board));
        put_overruns(&mut jail, board);
        let actions = self.actions.view();
        let actions = actions.iter().filter(|action| action.jail == name).map(action_json);
        jail.insert("actions".into(), actions.collect());
        jail.insert("withheld".into(), withheld);
        if let Some(view) = self.blacklists.view(&board.spec.name) {
            jail.insert("blacklist".into(), list_json(&view));
        }
        jail.insert("bans".into(), self.ban_rows(board, &bans));
        jail.insert("bans_left_out".into(), json!(more.is_some()));
        Ok(Value::Object(jail))
    }

    /// The bans of a jail; the newest ones are looked up in the kernel.
    fn ban_rows(&self, board: &JailBoard, bans: &[BanView]) -> Value {
        let first = bans.len().saturating_sub(LOOKED_UP);
        let row = |(n, ban): (usize, &BanView)| {
            let mut row = ban_json(board.spec.name.as_str(), board.is_native(), ban);
            if let Some(map) = row.as_object_mut().filter(|_| n >= first) {
                self.show_loss(map, &board.spec.name, ban);
            }
            row
        };
        bans.iter().enumerate().map(row).collect()
    }

    /// All living bans; with `plain` only who is banned.
    pub(crate) fn banned(&self, page: &Page) -> Result<Value, String> {
        let posted = self.board.read();
        let wanted = |name: &str| page.jail.as_deref().is_none_or(|only| only == name);
        let mut names = posted.jails.iter().map(|board| &board.spec.name).filter(|name| wanted(name.as_str()));
        let Some(first) = names.next() else {
            return match &page.jail {
                Some(jail) => Err(format!("there is no jail '{jail}'")),
                None => Ok(json!({ "bans": [], "next": null })),
            };
        };
        let mut names = std::iter::once(first).chain(names).peekable();
        let mut place = 0;
        if let Some((jail, at)) = &page.from {
            // A jail that has gone meanwhile ends the list.
            while names.next_if(|name| name.as_str() != jail).is_some() {}
            place = *at;
        }
        let mut bans: Vec<Value> = Vec::new();
        let mut next = Value::Null;
        while let Some(name) = names.next() {
            let jail = name.clone();
            let in_kernel = posted.running(name.as_str()).is_some_and(JailBoard::is_native);
            let room = PAGE_BANS.saturating_sub(bans.len());
            let (views, more) = self.look(move |judge, _| judge.bans_page(&jail, place, room))?;
            bans.extend(views.iter().map(|ban| match page.plain {
                true => json!({ "id": ban.id.to_string() }),
                false => ban_json(name.as_str(), in_kernel, ban),
            }));
            place = 0;
            let goes_on = more.map(|at| (name, at)).or_else(|| Some((*names.peek()?, 0)));
            if let Some((name, at)) = goes_on.filter(|_| more.is_some() || bans.len() >= PAGE_BANS) {
                next = json!([name.as_str(), at]);
                break;
            }
        }
        Ok(json!({ "bans": bans, "next": next }))
    }

    /// Everything about one id; `all` for who may read the logs himself.
    pub(crate) fn why(&self, text: &str, all: bool) -> Result<Value, String> {
        let id = FailureId::parse(text);
        let asked = id.clone();
        let (why, around) = self.look(move |judge, _| {
            let why = judge.why(&asked);
            let around: Vec<(JailName, BanView)> = match asked.net() {
                Some(net) if net.is_host() => networks_around(judge, net),
                _ => Vec::new(),
            };
            (why, around)
        })?;
        let posted = self.board.read();
        let reader = self.database.as_ref().and_then(|path| Reader::open(path).ok());
        let mut bans: Vec<Value> = Vec::new();
        let (mut withheld, mut counting, mut allowed) = (Vec::new(), Vec::new(), Vec::new());
        let mut asked_kernel: Vec<(JailName, Net)> = Vec::new();
        for jail in &why.jails {
            let name = jail.jail.as_str();
            if let Some(ban) = &jail.ban {
                bans.push(self.ban_story(&jail.jail, ban, reader.as_ref()));
                let native = posted.jails.iter().any(|board| board.spec.name == jail.jail && board.is_native());
                let asked = native.then_some(ban);
                asked_kernel.extend(asked.and_then(|ban| ban.ip.or(ban.id.net()).map(|net| (jail.jail.clone(), net))));
            }
            if let Some((since, _, reason)) = &jail.withheld {
                withheld.push(json!({ "jail": name, "since": since.secs(), "why": reason }));
            }
            if let Some(tally) = &jail.tally {
                let findtime = posted.jails.iter().find(|b| b.spec.name == jail.jail).map(|b| b.spec.findtime.secs());
                counting.push(tally_json(name, tally, jail.maxretry, findtime.unwrap_or_default()));
            }
            if let Some(source) = &jail.ignored {
                allowed.push(format!("jail {name} ignores its failures: {}", ignored_by(source)));
            }
        }
        for (jail, ban) in &around {
            bans.push(self.ban_story(jail, ban, reader.as_ref()));
            asked_kernel.extend(ban.ip.or(ban.id.net()).map(|net| (jail.clone(), net)));
        }
        if let Some(reason) = &why.protected {
            allowed.push(format!("the guard protects it: {reason}"));
        }
        let history = history(&id, reader.as_ref());
        let mut summary = summary(&id, &bans, &withheld, &counting, &allowed, &history);
        let looked_for = id.net().filter(|_| bans.is_empty());
        let about = looked_for.map(|net| super::logs_about::look(&posted, net, crate::daemon::now()));
        let logs = about.map_or(Value::Null, |mut about| {
            if !all {
                about.found.iter_mut().filter_map(Value::as_object_mut).for_each(|one| drop(one.remove("last")));
            }
            let unknown = counting.is_empty() && history.is_empty() && allowed.is_empty() && withheld.is_empty();
            if let Some(one) = about.found.first().filter(|_| unknown) {
                let get = |key: &str| one.get(key).and_then(Value::as_str).unwrap_or_default();
                summary += &format!(" ({} names it, but {})", get("path"), get("verdict"));
            }
            json!({ "found": about.found, "searched": about.searched, "left_out": about.left_out,
                "journal": about.journal })
        });
        let off: Vec<Value> = posted.off.iter().map(|(jail, reason)| json!({ "jail": jail, "why": reason })).collect();
        Ok(json!({
            "logs": logs,
            "off": off,
            "id": id.to_string(),
            "banned": !bans.is_empty(),
            "summary": summary,
            "bans": bans,
            "withheld": withheld,
            "counting": counting,
            "allowed": allowed,
            "kernel": self.kernel_story(&posted, &asked_kernel),
            "history": history,
        }))
    }

    fn ban_story(&self, jail: &JailName, ban: &BanView, reader: Option<&Reader>) -> Value {
        let in_kernel = self.board.read().running(jail.as_str()).is_some_and(JailBoard::is_native);
        let mut story = ban_json(jail.as_str(), in_kernel, ban);
        if let Some(map) = story.as_object_mut() {
            let keeps = |net| self.blacklists.view(jail)?.keeps(net);
            self.show_loss(map, jail, ban);
            let mut because = match ban.id.net().and_then(keeps) {
                Some(place) if ban.failures == 0 => format!("kept by {place}"),
                Some(place) => format!("kept by {place}; {} failures were counted", ban.failures),
                None if ban.failures == 0 => "it was banned by hand".to_owned(),
                None => format!("{} failures were counted", ban.failures),
            };
            if ban.restored {
                because += "; taken up again at start";
            }
            if !ban.why.is_empty() {
                because = format!("{because}; {}", ban.why);
            }
            map.insert("because".into(), json!(because));
            let held = self.actions.held(jail, &ban.id);
            let failed = |name| {
                ban.state.failed.iter().find(|trouble| trouble.action.as_ref().is_some_and(|action| action == name))
            };
            let held = held.iter().map(|(action, words)| match failed(action) {
                Some(trouble) => json!(format!("{action}: FAILED, tried {} times: {}", trouble.tries, trouble.why)),
                None => json!(format!("{action}: {words}")),
            });
            map.insert("actions".into(), held.collect());
            map.insert("matches".into(), json!(lines(jail, ban, reader)));
        }
        story
    }

    /// Says of a ban that should hold that the kernel lacks it, if it does.
    fn show_loss(&self, row: &mut Map<String, Value>, jail: &JailName, ban: &BanView) {
        let posted = self.board.read();
        let native = posted.running(jail.as_str()).is_some_and(JailBoard::is_native) && !self.kernel.state().dry;
        let holds = row.get("state").and_then(Value::as_str).is_some_and(|state| state.starts_with("holds"));
        let net = ban.ip.or(ban.id.net()).filter(|_| native && holds);
        if net.is_some_and(|net| self.kernel.verify(jail, net) == Some(false)) {
            row.insert("state".into(), json!(NOT_HELD));
        }
    }

    /// What the kernel says now, in words; null if there is nothing to ask about.
    fn kernel_story(&self, posted: &Posted, asked: &[(JailName, Net)]) -> Value {
        if asked.is_empty() {
            return Value::Null;
        }
        let state = self.kernel.state();
        if state.dry {
            return json!("not asked: this is a dry run, packets are not dropped");
        }
        // Each network once, with all jails for which the same is true.
        let mut found: Vec<(Net, bool, &str, Vec<&str>)> = Vec::new();
        let mut buts: Vec<String> = Vec::new();
        let here = Here::new();
        for (jail, net) in asked {
            let (holds, means) = (self.kernel.verify(jail, *net) == Some(true), state.means_of(jail));
            for but in in_vain(&here, posted, jail, *net) {
                if !buts.contains(&but) {
                    buts.push(but);
                }
            }
            match found.iter_mut().find(|(other, held, by, _)| (other, *held, *by) == (net, holds, means)) {
                Some((.., jails)) => jails.push(jail.as_str()),
                None => found.push((*net, holds, means, vec![jail.as_str()])),
            }
        }
        let parts = found.iter().map(|(net, holds, means, jails)| {
            let jails = jails.join(" and ");
            if *holds {
                format!("{net} is in {means} for {jails}: its packets are refused")
            } else {
                format!("{net} is NOT in {means} for {jails}: the ban does not hold")
            }
        });
        let mut story = parts.collect::<Vec<_>>().join("; ");
        for but in buts {
            story = format!("{story}; BUT {but}");
        }
        json!(story)
    }
}

/// The lines that a ban was made of: the judge's, else those that the database keeps.
fn lines(jail: &JailName, ban: &BanView, reader: Option<&Reader>) -> Vec<Box<str>> {
    if !ban.matches.is_empty() || ban.failures == 0 {
        return ban.matches.to_vec();
    }
    let stored = reader.and_then(|reader| reader.evidence(jail, &ban.id).ok());
    stored.map(|evidence| evidence.matches).unwrap_or_default()
}

/// The newest journal rows about an id.
fn history(id: &FailureId, reader: Option<&Reader>) -> Vec<Value> {
    let rows = reader.and_then(|reader| reader.history(id, HISTORY_MAX).ok()).unwrap_or_default();
    rows.iter().map(row_json).collect()
}

/// What makes that a jail does not count somebody, in the words of its options.
fn ignored_by(source: &IgnoreSource) -> String {
    match source {
        IgnoreSource::IgnoreSelf => "it is this host's own (ignoreself)".to_owned(),
        IgnoreSource::Ip => "ignoreip names it".to_owned(),
        IgnoreSource::Dns => "a host name in ignoreip has this address".to_owned(),
        IgnoreSource::File(path) => format!("ignoreip names it, in {path}"),
        IgnoreSource::Command => "ignorecommand says so".to_owned(),
        IgnoreSource::Allowed => "it was allowed by hand (stockade disallow takes that back)".to_owned(),
    }
}

/// Bans that the guard withholds now, of all jails or of one.
fn withheld(judge: &Judge, only: Option<&str>) -> Value {
    let list = judge.withheld().filter(|(jail, ..)| only.is_none_or(|only| jail.as_str() == only));
    list.map(|(jail, id, why)| json!({ "jail": jail.as_str(), "id": id.to_string(), "why": why })).collect()
}

/// What makes that a ban by stock firewall actions matches nothing, as the tables stand now.
fn in_vain(here: &Here, posted: &Posted, jail: &JailName, net: Net) -> Vec<String> {
    let stock = posted.running(jail.as_str()).map_or(&[] as &[_], |board| board.stock.as_slice());
    let families = Families { inet4: net.is_ipv4(), inet6: !net.is_ipv4() };
    let findings = stock.iter().flat_map(|action| here.findings(action, families));
    findings.filter(|finding| finding.blocks_nothing).map(|f| format!("{}: {}", f.action, f.what)).collect()
}

fn networks_around(judge: &Judge, net: Net) -> Vec<(JailName, BanView)> {
    let jails: Vec<JailName> = judge.jails().cloned().collect();
    let mut found = Vec::new();
    for jail in jails {
        for ban in judge.network_bans(&jail) {
            if ban.id.net().is_some_and(|around| around != net && around.contains(net)) {
                found.push((jail.clone(), ban));
            }
        }
    }
    found
}

fn put_counters(map: &mut Map<String, Value>, counters: &stockade_core::judge::Counters) {
    map.insert("failed_now".into(), json!(counters.failed));
    map.insert("failed_total".into(), json!(counters.failed_total));
    map.insert("banned_now".into(), json!(counters.banned));
    map.insert("banned_total".into(), json!(counters.banned_total));
    map.insert("withheld_now".into(), json!(counters.withheld));
    map.insert("ignored_total".into(), json!(counters.ignored_total));
}

/// Searches that ran out of steps since the patterns are in use, and of which patterns.
fn put_overruns(map: &mut Map<String, Value>, board: &JailBoard) {
    let overruns = board.actor.overruns();
    map.insert("exhausted".into(), json!(overruns.iter().map(|overrun| overrun.searches).sum::<u64>()));
    let rows = overruns.iter().map(|overrun| {
        json!({ "option": overrun.option, "number": overrun.index + 1, "written": overrun.written.as_deref(),
            "pattern": &*overrun.pattern, "searches": overrun.searches, "last": overrun.last.secs() })
    });
    map.insert("overruns".into(), rows.collect());
}

/// How many bans are looked at for their families.
const FAMILIES_OF: usize = 1_000;

/// Which families a jail bans addresses of, by some of its bans.
fn families(judge: &Judge, jail: &JailName) -> Families {
    let (page, _) = judge.ban_lines(jail, 0, FAMILIES_OF);
    let has = |ipv4| page.iter().filter_map(|ban| ban.id.net()).any(|net| net.is_ipv4() == ipv4);
    Families { inet4: has(true), inet6: has(false) }
}

/// What the operator should know of an action.
fn action_problems(action: &ActionView) -> Vec<String> {
    let ActionView { jail, name, waiting, running_secs, trouble, said, .. } = action;
    let mut problems = Vec::new();
    if !trouble.is_empty() {
        problems.push(format!("[{jail}] action {name} failed: {trouble}"));
    }
    if *running_secs >= SLOW_SECS {
        problems.push(format!("[{jail}] action {name}: a command runs for {running_secs} s now, {waiting} steps wait"));
    }
    if !said.is_empty() {
        problems.push(format!("[{jail}] action {name} ended well but wrote to standard error: {said}"));
    }
    problems
}

fn action_json(action: &ActionView) -> Value {
    let ActionView { jail, name, commands, failures, bans, waiting, running_secs, trouble, said } = action;
    json!({ "jail": jail, "name": name, "commands": commands, "failures": failures, "bans": bans, "waiting": waiting,
        "running_secs": running_secs, "trouble": trouble, "said": said })
}

fn list_json(view: &ListView) -> Value {
    let path = |of: fn(&Lists) -> &PathBuf| view.lists.as_ref().map(|lists| of(lists).display().to_string());
    json!({ "path": path(|lists| &lists.list), "bans": view.bans, "written": view.written.map(Timestamp::secs),
        "keep": path(|lists| &lists.keep), "kept": view.kept.len(), "complaints": view.complaints })
}

/// How a jail is doing, in words.
fn state_of(board: &JailBoard) -> String {
    if board.sources.is_empty() {
        return if board.reads { "waiting: no log matches yet" } else { "bans by hand only" }.to_owned();
    }
    let troubles: Vec<String> = board.sources.iter().map(|source| source.state().trouble).collect();
    let well = troubles.iter().filter(|t| t.is_empty()).count();
    let lag = lag(board);
    let mut text = match (well, troubles.len()) {
        (0, 1) => return format!("waiting: {}", troubles.first().map_or("", String::as_str)),
        (0, n) => return format!("waiting: none of {n} logs can be read"),
        (1, 1) => "watching".to_owned(),
        (well, all) if well == all => format!("watching {all} logs"),
        (1, all) => format!("watching 1 log, waiting for {}", all - 1),
        (well, all) => format!("watching {well} logs, waiting for {}", all - well),
    };
    if lag > 0 {
        text += &format!(", {lag} bytes behind");
    }
    if !board.blocks {
        text += ", counts only";
    }
    text
}

fn lag(board: &JailBoard) -> u64 {
    let read: u64 = board.sources.iter().map(|source| source.state().lag_bytes + source.behind(&board.actor)).sum();
    // A waiting block is at most this large.
    read + (board.actor.waiting() as u64) * (256 << 10)
}

fn sources(board: &JailBoard) -> Value {
    board
        .sources
        .iter()
        .map(|source| {
            let state = source.state();
            let text = if state.trouble.is_empty() { "read".to_owned() } else { state.trouble.clone() };
            json!({ "path": &*source.name, "state": text, "ok": state.trouble.is_empty(), "lag_bytes": state.lag_bytes,
                "offset": state.offset })
        })
        .collect()
}

/// `in_kernel`: does the jail block by ourselves, whatever its other actions do?
fn ban_json(jail: &str, in_kernel: bool, ban: &BanView) -> Value {
    let mut state = "holds".to_owned();
    let failed = &ban.state.failed;
    if let Some(trouble) = failed.iter().find(|trouble| trouble.action.is_none()).or(failed.first()) {
        state = match &trouble.action {
            Some(action) if in_kernel => format!("holds; action {action} FAILED: {}", trouble.why),
            _ => format!("FAILED: {}", trouble.why),
        };
    } else if ban.state.unapplied {
        state = "on its way to the kernel".to_owned();
    } else if ban.state.unsaved {
        state = "holds, not saved yet".to_owned();
    }
    let end = if ban.end == Timestamp::MAX { Value::Null } else { json!(ban.end.secs()) };
    // A ban that was taken up again has counted itself once more.
    let count = ban.count - u32::from(ban.restored);
    json!({ "id": ban.id.to_string(), "jail": jail, "time": ban.start.secs(), "end": end,
        "bantime": ban.bantime.secs(), "failures": ban.failures, "count": count,
        "state": state, "applied": !ban.state.unapplied })
}

fn tally_json(jail: &str, tally: &TallyView, maxretry: u32, findtime: i64) -> Value {
    let matches: Vec<&str> = tally.matches.iter().map(AsRef::as_ref).collect();
    json!({ "jail": jail, "failures": tally.failures, "retry": tally.retry, "maxretry": maxretry, "findtime": findtime,
        "first": tally.first.secs(), "last": tally.last.secs(), "matches": matches })
}

fn row_json(row: &Row) -> Value {
    let decision = &row.decision;
    let kind = match decision.kind {
        DecisionKind::Ban => "ban",
        DecisionKind::Restore => "restore",
        DecisionKind::Prolong => "prolong",
        DecisionKind::Unban => "expired",
        DecisionKind::Lift => "lifted",
        DecisionKind::Repeal => "repealed",
        DecisionKind::Withhold => "withheld",
    };
    let origin = match &decision.origin {
        // One ban is lifted by hand, all of a jail leave the kernel at a stop.
        stockade_core::Origin::Manual if decision.kind == DecisionKind::Repeal => {
            "the daemon or the jail was stopped".to_owned()
        }
        stockade_core::Origin::Config if decision.kind == DecisionKind::Ban => "kept by the jail's list".to_owned(),
        stockade_core::Origin::Log { source, place } => match place {
            stockade_core::Position::Offset(at) => format!("{}, byte {at}", source.path),
            stockade_core::Position::Cursor { .. } => source.path.to_string(),
        },
        stockade_core::Origin::Manual => "by hand".to_owned(),
        stockade_core::Origin::Restored => "at start".to_owned(),
        stockade_core::Origin::Expired => "its time was over".to_owned(),
        stockade_core::Origin::Config => "configuration".to_owned(),
        stockade_core::Origin::Peer { node, .. } => format!("peer {node}"),
        stockade_core::Origin::Aggregate => "several addresses of a network".to_owned(),
    };
    let why = [origin.as_str(), &decision.why].iter().filter(|t| !t.is_empty()).copied().collect::<Vec<_>>().join(", ");
    json!({ "seq": decision.seq.0, "time": decision.time.secs(), "kind": kind, "jail": decision.jail.as_str(),
        "failures": decision.failures, "count": decision.count, "why": why,
        "matches": decision.matches.iter().collect::<Vec<_>>() })
}

/// Jails that ban an id, each once, with the networks that hold it.
fn banned_by(id: &FailureId, bans: &[Value]) -> String {
    let asked = id.to_string();
    let text = |ban: &'_ Value, key: &str| ban.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut jails: Vec<(String, Vec<String>)> = Vec::new();
    for ban in bans {
        let (jail, net) = (text(ban, "jail"), text(ban, "id"));
        let at = jails.iter().position(|(name, _)| *name == jail).unwrap_or(jails.len());
        if at == jails.len() {
            jails.push((jail, Vec::new()));
        }
        if let Some((_, nets)) = jails.get_mut(at).filter(|_| net != asked) {
            nets.push(net);
        }
    }
    let parts = jails.into_iter().map(|(jail, nets)| match nets.as_slice() {
        [] => jail,
        nets => format!("{jail} (as part of {})", nets.join(" and ")),
    });
    parts.collect::<Vec<_>>().join(" and ")
}

/// One sentence that says it all.
fn summary(
    id: &FailureId,
    bans: &[Value],
    withheld: &[Value],
    counting: &[Value],
    allowed: &[String],
    history: &[Value],
) -> String {
    let names = |list: &[Value]| {
        list.iter().filter_map(|v| v.get("jail").and_then(Value::as_str)).collect::<Vec<_>>().join(" and ")
    };
    if !bans.is_empty() {
        return format!("banned by {}", banned_by(id, bans));
    }
    if let Some(one) = withheld.first() {
        let why = one.get("why").and_then(Value::as_str).unwrap_or_default();
        return format!("not banned: the ban is withheld by {} ({why})", names(withheld));
    }
    if let Some(rule) = allowed.first() {
        return format!("not banned: {rule}");
    }
    if let Some(one) = counting.first() {
        let get = |key: &str| one.get(key).and_then(Value::as_i64).unwrap_or_default();
        return format!(
            "not banned: {} of {} failures so far in {}",
            get("failures"),
            get("maxretry"),
            names(counting)
        );
    }
    if let Some(last) = history.first() {
        let kind = last.get("kind").and_then(Value::as_str).unwrap_or_default();
        return format!("not banned; the last that was decided about it: {kind}");
    }
    match id {
        FailureId::Net(_) => "not banned: no jail has counted a failure of it".to_owned(),
        FailureId::Text(_) => "not an address, and nothing is known of such an id".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use stockade_core::Subject;
    use stockade_core::judge::{BanState, Trouble};
    use stockade_core::{BanTime, Seq, Span};

    use super::*;

    fn state(in_kernel: bool, failed: &[Option<&str>]) -> String {
        let id = FailureId::parse("192.0.2.1");
        let trouble = |action: &Option<&str>| Trouble {
            subject: Subject { seq: Seq(1), kind: DecisionKind::Ban, jail: JailName::new("web"), id: id.clone() },
            action: action.map(Into::into),
            why: action.map_or("no room", |_| "exit 127").into(),
            tries: 2,
            next: Timestamp::from_secs(2),
        };
        let ban = BanView {
            seq: Seq(1),
            id: id.clone(),
            ip: None,
            start: Timestamp::from_secs(0),
            bantime: BanTime::For(Span::from_secs(60)),
            end: Timestamp::from_secs(60),
            count: 1,
            failures: 3,
            restored: false,
            matches: Arc::new([]),
            groups: Arc::new([]),
            why: "".into(),
            state: BanState { failed: failed.iter().map(trouble).collect(), ..BanState::default() },
        };
        ban_json("web", in_kernel, &ban).get("state").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    #[test]
    fn a_failed_action_does_not_hide_that_the_kernel_holds_a_ban() {
        assert_eq!(state(true, &[]), "holds");
        assert_eq!(state(true, &[Some("typo")]), "holds; action typo FAILED: exit 127");
        assert_eq!(state(true, &[Some("typo"), None]), "FAILED: no room");
        assert_eq!(state(false, &[Some("typo")]), "FAILED: exit 127");
    }
}
