//! Which actions there are: at start, after a reload, after a `set`.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stockade_core::judge::{BanView, Judge};
use stockade_core::{BanTime, DecisionKind, FailureId, JailName, Timestamp};
use stockade_enforce::actions::ActionSpec;
use stockade_enforce::runner::{ActionId, Order};

use super::effects::Effect;
use super::entry::{ActionEntry, JailEntry};
use super::steps::What;
use super::ticket::Ticket;
use super::{Job, Thread};
use crate::daemon::judge::JudgeControl;

/// How the actions came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// The tree was read, at the start or again.
    Tree,
    /// Single options were set.
    Set,
}

/// The commands of one jail's actions.
#[derive(Clone, Debug)]
pub(crate) struct JailActions {
    pub(crate) name: JailName,
    pub(crate) bantime: BanTime,
    /// Must the actions of one ban run one after the other?
    pub(crate) strict: bool,
    /// In the order of the configuration.
    pub(crate) actions: Vec<ActionSpec>,
}

/// The commands of all jails' actions.
#[derive(Clone, Debug)]
pub(crate) struct StagedActions {
    /// Jails without any may be left out.
    pub(crate) jails: Vec<JailActions>,
    /// Jails that are off by mistake: what their commands did stays.
    pub(crate) off: Vec<String>,
    pub(crate) how: How,
    /// Is there IPv6 on this host, as `allowipv6` or the kernel says?
    pub(crate) ipv6: bool,
    /// If the tree was read again for one jail: which. The others are only set.
    pub(crate) only: Option<JailName>,
}

impl Thread {
    /// Takes a new set of actions. Jails that are no longer in it stay until
    /// the judge has ended their bans.
    pub(super) fn stage(&mut self, staged: StagedActions) {
        let StagedActions { jails, off, how, ipv6, only } = staged;
        self.ipv6 = ipv6;
        for jail in jails {
            let how = if only.as_ref().is_none_or(|only| *only == jail.name) { how } else { How::Set };
            match self.by_name.get(&jail.name).copied() {
                Some(key) => self.change(key, jail, how),
                None => self.add(jail, how),
            }
        }
        self.undo_left(&off);
        let counts = self.actions.values().any(|action| action.wants.iter().any(|tag| tag.starts_with("jail.")));
        self.counts.store(counts, Ordering::Relaxed);
        self.rewrite_effects();
    }

    /// A jail is new, or had no commands so far: what an earlier process left of
    /// the same action stands, if its check says so.
    fn add(&mut self, jail: JailActions, how: How) {
        if jail.actions.is_empty() {
            return;
        }
        let key = self.add_entry(&jail);
        self.by_name.insert(jail.name.clone(), key);
        let name = jail.name.clone();
        let (mut all, mut probes, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        for spec in jail.actions {
            let found = self.left.iter().position(|left| left.spec == spec);
            let effect = match found {
                Some(found) => self.left.swap_remove(found),
                None => Effect { spec, ..Effect::default() },
            };
            let stands = effect.state.families.iter().any(|(_, flags)| *flags != 0);
            let checked = effect.spec.property("actioncheck").is_some_and(|text| !text.is_empty());
            let action = self.add_action(key, effect);
            all.push(action);
            fresh.extend((found.is_none() && how == How::Tree).then_some(action));
            probes.extend((stands && checked).then_some(action));
        }
        if !probes.is_empty() {
            self.begin(key, What::Probe, probes);
        }
        self.begin(key, What::Start, all);
        // Nobody is banned yet in a jail that is new.
        for action in fresh {
            self.ask_for_living(&name, action);
        }
    }

    fn add_entry(&mut self, jail: &JailActions) -> u64 {
        let key = self.number();
        let entry = JailEntry {
            name: jail.name.clone(),
            strict: jail.strict,
            bantime: jail.bantime,
            actions: Vec::new(),
            counters: Default::default(),
            epoch: 0,
            epochs: Default::default(),
            restored: Default::default(),
            rebanning: Default::default(),
            flush: None,
            stopped: false,
        };
        self.jails.insert(key, entry);
        key
    }

    fn add_action(&mut self, jail: u64, effect: Effect) -> ActionId {
        let number = ActionId::try_from(self.number()).unwrap_or(ActionId::MAX);
        let lane = self.lanes.number(&effect.spec.name);
        self.actions.insert(number, ActionEntry { jail, lane, ..entry_of(effect) });
        if let Some(jail) = self.jails.get_mut(&jail) {
            jail.actions.push(number);
        }
        self.prepare(number);
        number
    }

    /// Lets the runner know an action.
    pub(super) fn prepare(&mut self, action: ActionId) {
        let idle = self.idle(action);
        let Some(entry) = self.actions.get(&action) else { return };
        let (spec, state) = (entry.effect.spec.clone(), entry.effect.state.clone());
        let ipv6 = self.ipv6;
        self.order(&Order::Prepare { action, spec, state, idle, ipv6 });
    }

    /// An ignore command is an action of its own kind and lane.
    pub(super) fn prepare_ask(&mut self, jail: &JailName, command: &str) -> ActionId {
        let properties = vec![("ignorecommand".to_owned(), command.to_owned())];
        let name: Arc<str> = format!("ignorecommand of {jail}").into();
        let spec = ActionSpec { jail: jail.as_str().into(), name, properties, python: None };
        let number = ActionId::try_from(self.number()).unwrap_or(ActionId::MAX);
        let wants = stockade_enforce::actions::tags::names(command).map(str::to_owned).collect();
        let lane = self.lanes.number(&spec.name);
        let effect = Effect { spec, ..Effect::default() };
        self.actions.insert(number, ActionEntry { lane, wants, asks: true, ..entry_of(effect) });
        if let Some((_, old)) = self.asks.insert(jail.clone(), (command.into(), number)) {
            self.actions.remove(&old);
        }
        self.prepare(number);
        number
    }

    /// A jail that runs gets other actions.
    fn change(&mut self, key: u64, next: JailActions, how: How) {
        let Some(jail) = self.jails.get_mut(&key) else { return };
        (jail.strict, jail.bantime) = (next.strict, next.bantime);
        let old = std::mem::take(&mut jail.actions);
        let mut kept: HashSet<ActionId> = HashSet::new();
        let mut order = Vec::new();
        for spec in next.actions {
            let same = |id: &&ActionId| {
                self.actions.get(id).is_some_and(|a| {
                    a.effect.spec.name == spec.name && a.effect.spec.python.is_some() == spec.python.is_some()
                })
            };
            match old.iter().find(same).copied() {
                Some(id) => {
                    kept.insert(id);
                    order.push(id);
                    self.renew(key, id, spec, how);
                }
                None => {
                    let id = self.add_action(key, Effect { spec, ..Effect::default() });
                    order.push(id);
                    self.begin(key, What::Start, vec![id]);
                    // A single `addaction` starts with the next ban, as in the original.
                    if how == How::Tree {
                        self.ask_for_living(&next.name, id);
                    }
                }
            }
        }
        if let Some(jail) = self.jails.get_mut(&key) {
            jail.actions = order;
        }
        for gone in old.into_iter().filter(|id| !kept.contains(id)) {
            match how {
                How::Tree => self.retire(key, gone),
                // A single `delaction` runs nothing.
                How::Set => self.forget(gone),
            }
        }
    }

    fn renew(&mut self, key: u64, action: ActionId, spec: ActionSpec, how: How) {
        let Some(entry) = self.actions.get_mut(&action) else { return };
        if how == How::Set && entry.effect.spec == spec {
            return;
        }
        let effect = Effect { spec: spec.clone(), ..std::mem::take(&mut entry.effect) };
        let next = entry_of(effect);
        entry.effect = next.effect;
        (entry.wants, entry.norestored) = (next.wants, next.norestored);
        (entry.prolongs, entry.flushes) = (next.prolongs, next.flushes);
        let reload = how == How::Tree;
        self.begin(key, What::Renew { spec: Box::new(spec), reload }, vec![action]);
    }

    /// An action is no longer configured: its bans end, then it stops.
    fn retire(&mut self, key: u64, action: ActionId) {
        let Some(entry) = self.actions.get(&action) else { return };
        let Some(jail) = self.jails.get(&key) else { return };
        let (name, bantime, strict) = (jail.name.clone(), jail.bantime, jail.strict);
        let flushes = entry.flushes;
        let bans: Vec<_> = entry.effect.bans.iter().map(|(id, ip)| (id.clone(), *ip)).collect();
        let alone = self.add_entry(&JailActions { name: name.clone(), bantime, strict, actions: Vec::new() });
        if flushes {
            self.begin(alone, What::Flush { stopping: true }, vec![action]);
        } else {
            for (id, ip) in bans {
                let ticket = Arc::new(Ticket::bare(&name, &id, ip, crate::daemon::now()));
                self.begin(alone, What::Unban { ticket, flushed: false }, vec![action]);
            }
        }
        if let Some(entry) = self.actions.get_mut(&action) {
            entry.jail = alone;
        }
        self.begin(alone, What::Stop, vec![action]);
    }

    /// An action is known no more.
    pub(super) fn forget(&mut self, action: ActionId) {
        if let Some(entry) = self.actions.remove(&action) {
            self.effects.gone(action, false);
            let run = Order::Run {
                id: 0,
                lane: entry.lane,
                action,
                verb: stockade_enforce::runner::Verb::Forget,
                values: Default::default(),
                quiet: true,
            };
            self.order(&run);
        }
    }

    /// Undoes what an earlier process left of actions that are no more as they were.
    fn undo_left(&mut self, off: &[String]) {
        for effect in std::mem::take(&mut self.left) {
            if off.iter().any(|name| **name == *effect.spec.jail) {
                let number = ActionId::try_from(self.number()).unwrap_or(ActionId::MAX);
                self.dormant.push((number, effect));
                continue;
            }
            let jail = JailActions {
                name: JailName::new(&effect.spec.jail),
                bantime: BanTime::Permanent,
                strict: true,
                actions: Vec::new(),
            };
            let key = self.add_entry(&jail);
            let action = self.add_action(key, effect);
            self.retire(key, action);
            self.jails.remove(&key);
        }
    }

    /// Everybody who is banned should be banned by a new action, too.
    fn ask_for_living(&self, jail: &JailName, action: ActionId) {
        let (jobs, jail) = (self.jobs.clone(), jail.clone());
        let look = move |judge: &Judge, _: Timestamp| drop(jobs.send(Job::Living(action, judge.bans(&jail))));
        self.judge.control(JudgeControl::Look(Box::new(look)));
    }

    pub(super) fn apply_to(&mut self, action: ActionId, bans: &[BanView]) {
        let Some(entry) = self.actions.get(&action) else { return };
        let (key, Some(jail)) = (entry.jail, self.jails.get(&entry.jail)) else { return };
        let name = jail.name.clone();
        for ban in bans {
            let mut ticket = Ticket::of_view(&name, ban);
            // Who is told once of each ban was told, or is not told late.
            (ticket.restored, ticket.kind) = (true, DecisionKind::Restore);
            self.begin(key, What::Ban { ticket: Arc::new(ticket), quiet: false }, vec![action]);
        }
    }

    /// What stands although nobody is banned any more goes.
    pub(super) fn settle(&mut self) {
        for name in self.by_name.keys() {
            let (jobs, name) = (self.jobs.clone(), name.clone());
            let look = move |judge: &Judge, _: Timestamp| {
                let ids = judge.bans(&name).into_iter().map(|ban| ban.id).collect();
                drop(jobs.send(Job::LivingIds(name.clone(), ids)));
            };
            self.judge.control(JudgeControl::Look(Box::new(look)));
        }
    }

    pub(super) fn undo_without_ban(&mut self, jail: &JailName, living: &[FailureId]) {
        let Some(key) = self.by_name.get(jail).copied() else { return };
        let Some(entry) = self.jails.get(&key) else { return };
        let living: HashSet<&FailureId> = living.iter().collect();
        let mut gone = Vec::new();
        for action in &entry.actions {
            let bans = self.actions.get(action).into_iter().flat_map(|entry| &entry.effect.bans);
            gone.extend(bans.filter(|(id, _)| !living.contains(id)).map(|(id, ip)| (*action, id.clone(), *ip)));
        }
        for (action, id, ip) in gone {
            let ticket = Arc::new(Ticket::bare(jail, &id, ip, crate::daemon::now()));
            self.begin(key, What::Unban { ticket, flushed: false }, vec![action]);
        }
    }
}

/// What an action's texts say about it; jail and lane are still to be set.
pub(super) fn entry_of(effect: Effect) -> ActionEntry {
    let spec = &effect.spec;
    let has = |name: &str| spec.property(name).is_some_and(|text| !text.trim().is_empty());
    ActionEntry {
        jail: 0,
        lane: 0,
        wants: spec.wanted_tags(),
        epoch: 0,
        // The mail action sends nothing for bans that are taken up again.
        norestored: spec.is_norestored() || spec.python.is_some(),
        prolongs: has("actionprolong"),
        flushes: spec.property("actionflush").is_some_and(|text| !text.is_empty()),
        asks: false,
        commands: 0,
        failures: 0,
        trouble: String::new(),
        said: Default::default(),
        effect,
    }
}
