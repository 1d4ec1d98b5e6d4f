//! Tasks and their steps: what each action of a jail is told, and what follows
//! from how it ended.

use std::sync::Arc;

use stockade_core::judge::AskId;
use stockade_core::{FailureId, Seq};
use stockade_enforce::actions::ActionSpec;
use stockade_enforce::runner::{ActionId, Order, Values, Verb};

use super::call::Caller;
use super::entry::ActionEntry;
use super::lanes::{Running, TaskId};
use super::ticket::{self, Surroundings, Ticket};
use super::{LANE_MAX, Thread, UNBAN_TRIES, UNBANS_MAX};
use crate::log::Level;

/// One thing that happens to a jail, with a step for each of its actions.
pub(super) struct Task {
    /// Number of the jail's entry.
    pub(super) jail: u64,
    pub(super) what: What,
    /// Steps that have not ended, in their order.
    pub(super) steps: Vec<ActionId>,
    /// Must they run one after the other?
    pub(super) strict: bool,
    pub(super) failed: bool,
}

/// What happens.
#[derive(Clone)]
pub(super) enum What {
    Start,
    Ban {
        ticket: Arc<Ticket>,
        /// The same failed before; failures are told quietly.
        quiet: bool,
    },
    Reban {
        ticket: Arc<Ticket>,
    },
    Prolong {
        ticket: Arc<Ticket>,
    },
    Unban {
        ticket: Arc<Ticket>,
        /// A flush has done it where the action has one.
        flushed: bool,
    },
    Flush {
        stopping: bool,
    },
    /// All actions stop, then are forgotten.
    Stop,
    Renew {
        spec: Box<ActionSpec>,
        reload: bool,
    },
    Check {
        /// Who raised the doubt.
        doubted: FailureId,
    },
    Probe,
    Ask {
        id: AskId,
        values: Values,
    },
    /// A client calls a method.
    Call {
        verb: Box<Verb>,
        values: Values,
        caller: Caller,
        /// The action is known for this one call.
        once: bool,
    },
}

impl Thread {
    /// Begins a task: each step waits in its lane.
    pub(super) fn begin(&mut self, jail: u64, what: What, mut steps: Vec<ActionId>) {
        let number = self.number();
        let strict = self.jails.get(&jail).is_none_or(|jail| jail.strict);
        if let What::Ban { ticket, .. } = &what {
            let full = |action: &ActionEntry| self.lanes.waiting(action.lane) >= LANE_MAX;
            let refused: Vec<ActionId> =
                steps.iter().copied().filter(|id| self.actions.get(id).is_some_and(full)).collect();
            for action in &refused {
                let Some(name) = self.actions.get(action).map(|entry| Arc::clone(&entry.effect.spec.name)) else {
                    continue;
                };
                let why = format!("{LANE_MAX} commands of this action wait already");
                self.acted(&ticket.subject(), &name, Err(why));
            }
            steps.retain(|action| !refused.contains(action));
        }
        steps.retain(|action| self.actions.contains_key(action));
        for action in &steps {
            if let Some(entry) = self.actions.get(action) {
                self.lanes.push(entry.lane, number, *action);
            }
        }
        let task = Task { jail, what, steps, strict, failed: false };
        if task.steps.is_empty() {
            self.finished(task);
        } else {
            self.tasks.insert(number, task);
        }
    }

    /// Begins every step that may begin.
    pub(super) fn advance(&mut self) {
        loop {
            let Thread { lanes, tasks, .. } = self;
            let may = |task: TaskId, action: ActionId| {
                tasks.get(&task).is_none_or(|task| !task.strict || task.steps.first() == Some(&action))
            };
            let Some((lane, task, action)) = lanes.next(may) else { return };
            let Some((verb, values, quiet)) = self.verb(task, action) else {
                self.step_done(task, action, false);
                continue;
            };
            let id = self.lanes.begin(lane, task, action);
            if !self.order(&Order::Run { id, lane, action, verb, values, quiet })
                && let Some(running) = self.lanes.end(id)
            {
                self.ended(running, Err("the process that runs actions is not there".to_owned()), "", false);
            }
        }
    }

    /// What a step tells the runner; `None` if it has nothing to do.
    fn verb(&self, task: TaskId, action: ActionId) -> Option<(Verb, Values, bool)> {
        let (task, action) = (self.tasks.get(&task)?, self.actions.get(&action)?);
        let counters = self.jails.get(&task.jail).map(|jail| jail.counters).unwrap_or_default();
        let merged = |ticket: &Ticket, jail_only: bool| self.past.merged(ticket, jail_only);
        let around = Surroundings { counters, merged: Some(&merged) };
        let of = |ticket: &Ticket| ticket.values(&action.wants, &around);
        Some(match &task.what {
            What::Start => (Verb::Start, Values::default(), false),
            What::Ban { ticket, quiet } => {
                if ticket.restored && (action.norestored || action.effect.bans.contains_key(&ticket.id)) {
                    return None;
                }
                (Verb::Ban, of(ticket), *quiet)
            }
            What::Reban { .. } if task.failed => return None,
            What::Reban { ticket } => (Verb::Reban, of(ticket), false),
            What::Prolong { ticket } if action.prolongs && !(ticket.restored && action.norestored) => {
                (Verb::Prolong, of(ticket), false)
            }
            What::Prolong { .. } => return None,
            What::Unban { flushed, .. } if *flushed && action.flushes => return None,
            // What was left of an earlier process may have turned out to be gone.
            What::Unban { ticket, .. } if ticket.seq == Seq(0) && !action.effect.bans.contains_key(&ticket.id) => {
                return None;
            }
            What::Unban { ticket, .. } => (Verb::Unban, of(ticket), false),
            What::Flush { stopping } => {
                self.say(
                    Level::Notice,
                    format!("[{0}] Flush ticket(s) with {1}", action.effect.spec.jail, action.effect.spec.name),
                );
                let mut values = Values::default();
                if *stopping {
                    values.tag("stopping", "1");
                }
                (Verb::Flush, values, false)
            }
            What::Stop => (Verb::Stop, Values::default(), false),
            What::Renew { spec, reload } => {
                (Verb::Renew { spec: (**spec).clone(), reload: *reload }, Values::default(), false)
            }
            What::Check { .. } => (Verb::Check, Values::default(), false),
            What::Probe => (Verb::Probe, Values::default(), false),
            What::Ask { values, .. } => (Verb::Ask, values.clone(), false),
            What::Call { verb, values, .. } => ((**verb).clone(), values.clone(), false),
        })
    }

    /// A step ended.
    pub(super) fn ended(&mut self, running: Running, result: Result<(), String>, said: &str, broken: bool) {
        let Running { task, action, .. } = running;
        let what = self.tasks.get(&task).map(|task| task.what.clone());
        let (Some(what), Some(entry)) = (what, self.actions.get_mut(&action)) else {
            return self.step_done(task, action, true);
        };
        let spec = entry.effect.spec.clone();
        let complains = result.is_ok() && entry.complains(said);
        if !entry.asks {
            match &result {
                Ok(()) => entry.trouble.clear(),
                Err(why) => {
                    entry.failures += 1;
                    entry.trouble = with_fault(why, said);
                }
            }
        }
        if broken && let Some(jail) = self.jails.get_mut(&entry.jail) {
            jail.epoch += 1;
            entry.epoch = jail.epoch;
        }
        if complains {
            let text = format!("[{}] action '{}' ended well but wrote to standard error: {said}", spec.jail, spec.name);
            self.say(Level::Warning, text);
        }
        let failed = result.is_err();
        self.follow(action, &spec, &what, result, said);
        self.step_done(task, action, failed);
    }

    /// What follows from how a step ended: for the judge, the log, and what is kept.
    fn follow(&mut self, action: ActionId, spec: &ActionSpec, what: &What, result: Result<(), String>, said: &str) {
        let (jail, name) = (&spec.jail, &spec.name);
        let failed = |doing: &str, info: &str, why: &str| {
            format!("Failed to execute {doing} jail '{jail}' action '{name}' info '{info}': {why}")
        };
        match what {
            What::Ban { ticket, .. } | What::Reban { ticket } | What::Prolong { ticket } => {
                let doing = if matches!(what, What::Reban { .. }) { "reban" } else { "ban" };
                match &result {
                    Ok(()) => self.ban_stands(action, ticket),
                    Err(why) => {
                        let quiet = matches!(what, What::Ban { quiet: true, .. });
                        let level = if quiet { Level::Debug } else { Level::Error };
                        self.say(level, failed(doing, &info(ticket), why));
                    }
                }
                // The log has the original's words; who asks for the ban is told more.
                self.acted(&ticket.subject(), name, result.map_err(|why| with_fault(&why, said)));
            }
            What::Unban { ticket, .. } => self.unban_ended(action, spec, ticket, result),
            What::Start => {
                if let Err(why) = result {
                    self.say(Level::Error, format!("Failed to start jail '{jail}' action '{name}': {why}"));
                }
            }
            What::Flush { .. } => {
                if let Err(why) = &result {
                    self.say(Level::Error, format!("Failed to flush bans in jail '{jail}' action '{name}': {why}"));
                }
                self.bans_gone(action);
            }
            What::Stop => {
                if let Err(why) = result {
                    self.say(Level::Error, format!("Failed to stop jail '{jail}' action '{name}': {why}"));
                }
                self.bans_gone(action);
            }
            What::Renew { .. } => {
                if let Err(why) = result {
                    self.say(Level::Error, format!("Failed to reload jail '{jail}' action '{name}': {why}"));
                }
            }
            What::Probe if result.is_err() => {
                let text = format!("[{jail}] what action '{name}' did is gone; its bans are carried out again");
                self.say(Level::Info, text);
                self.bans_gone(action);
            }
            What::Check { .. } => {
                if let Err(why) = result {
                    self.say(Level::Error, format!("Failed to check jail '{jail}' action '{name}': {why}"));
                }
            }
            What::Probe => {}
            What::Ask { id, .. } => self.answer(*id, result.is_ok()),
            What::Call { caller, .. } => caller.tell(result),
        }
    }

    fn ban_stands(&mut self, action: ActionId, ticket: &Ticket) {
        let Some(entry) = self.actions.get_mut(&action) else { return };
        if entry.effect.bans.insert(ticket.id.clone(), ticket.ip).is_none() {
            self.effects.ban(action, &ticket.id, ticket.ip);
        }
    }

    fn unban_ended(&mut self, action: ActionId, spec: &ActionSpec, ticket: &Arc<Ticket>, result: Result<(), String>) {
        let (jail, name) = (&spec.jail, &spec.name);
        let key = (ticket.jail.clone(), ticket.id.clone(), Arc::clone(name));
        if let Err(why) = &result {
            let text = format!("Failed to execute unban jail '{jail}' action '{name}' info '{}': {why}", info(ticket));
            self.say(Level::Error, text);
            let tries = self.unbans.get(&key).map_or(0, |(tries, _)| *tries);
            if ticket.seq != Seq(0) && tries < UNBAN_TRIES && (tries > 0 || self.unbans.len() < UNBANS_MAX) {
                self.unbans.insert(key, (tries + 1, Arc::clone(ticket)));
                return self.acted(&ticket.subject(), name, result);
            }
            let text = format!("[{jail}] action '{name}' can't undo the ban of {}; it is not tried again", ticket.id);
            self.say(Level::Warning, text);
        }
        self.unbans.remove(&key);
        if let Some(entry) = self.actions.get_mut(&action)
            && entry.effect.bans.remove(&ticket.id).is_some()
        {
            self.effects.unban(action, &ticket.id);
        }
        self.acted(&ticket.subject(), name, Ok(()));
    }

    /// None of an action's bans stands any more.
    fn bans_gone(&mut self, action: ActionId) {
        if let Some(entry) = self.actions.get_mut(&action)
            && !entry.effect.bans.is_empty()
        {
            entry.effect.bans.clear();
            self.effects.gone(action, true);
        }
    }

    /// A step is over, whether or not it had anything to do.
    fn step_done(&mut self, number: TaskId, action: ActionId, failed: bool) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        task.failed |= failed;
        task.steps.retain(|step| *step != action);
        let next = task.steps.first().copied();
        if matches!(task.what, What::Stop | What::Call { once: true, .. }) {
            self.forget(action);
        }
        match next.and_then(|next| self.actions.get(&next)) {
            Some(entry) => self.lanes.wake(entry.lane),
            None if next.is_none() => {
                if let Some(task) = self.tasks.remove(&number) {
                    self.finished(task);
                }
            }
            // Its action was forgotten meanwhile; it has nothing to do in its lane.
            None => self.lanes.wake_all(),
        }
    }

    fn finished(&mut self, task: Task) {
        let Some(jail) = self.jails.get_mut(&task.jail) else { return };
        match task.what {
            What::Ban { ticket, .. } if jail.epoch > 0 => drop(jail.epochs.insert(ticket.id.clone(), jail.epoch)),
            What::Reban { ticket } => {
                jail.rebanning.remove(&ticket.id);
                if !task.failed {
                    jail.epochs.insert(ticket.id.clone(), jail.epoch);
                }
            }
            What::Check { doubted } => self.reban(task.jail, &doubted),
            What::Stop => {
                self.jails.remove(&task.jail);
            }
            _ => {}
        }
    }

    /// What tags stand for where there is no ban.
    pub(super) fn idle(&self, action: ActionId) -> Values {
        let Some(action) = self.actions.get(&action) else { return Values::default() };
        let Some(jail) = self.jails.get(&action.jail) else { return Values::default() };
        let around = Surroundings { counters: jail.counters, merged: None };
        ticket::idle_values(&jail.name, jail.bantime, &action.wants, &around, crate::daemon::now())
    }
}

/// A ban as the original's messages show it.
fn info(ticket: &Ticket) -> String {
    let quoted = |text: &str| stockade_wire::value::repr_str(text);
    let family = match ticket.family() {
        "None" => "None".to_owned(),
        family => quoted(family),
    };
    format!(
        "ActionInfo({{'ip': {}, 'family': {family}, 'fid': {}}})",
        quoted(&ticket.ip_text()),
        quoted(&ticket.id.to_string())
    )
}

/// A failure in the original's words, and how its command ended.
fn with_fault(why: &str, fault: &str) -> String {
    if fault.is_empty() { why.to_owned() } else { format!("{why} ({fault})") }
}
