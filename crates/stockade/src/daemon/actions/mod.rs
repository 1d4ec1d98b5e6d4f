//! The actions' thread: decisions become steps in lanes, which the runner
//! carries out; what came of them goes back to the judge.
//!
//! Decisions wait here until the judge releases them (they are saved, or have
//! waited long enough). Nothing in here runs a command: that is the runner's
//! process, [`stockade_enforce::runner`].

mod call;
mod effects;
mod entry;
mod lanes;
mod past;
mod stage;
mod steps;
#[cfg(test)]
mod tests;
mod ticket;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use stockade_core::judge::{
    About, Answer, AskId, BanView, Change, Counters, Doubt, Event, Flush, Judge, Outputs, Retry, RetryBy,
};
use stockade_core::{Decision, DecisionKind, FailureId, JailName, Seq, Subject, Timestamp, Turn};
use stockade_enforce::runner::{ActionId, LineLevel, News, NewsReader, Order, Runner, Speaker};

use super::judge::{JudgeControl, JudgeInbox};
use crate::log::{Level, Log};
pub(crate) use call::Call;
use effects::{Effect, Effects};
pub(crate) use entry::ActionView;
use entry::{ActionEntry, JailEntry, PendingFlush};
use lanes::{Lanes, TaskId};
use past::Past;
pub(crate) use stage::{How, JailActions, StagedActions};
use steps::{Task, What};
use ticket::Ticket;

/// How many steps may wait in one lane; further bans are failures that the judge tries again.
const LANE_MAX: usize = 65_536;
/// How many failed unbans are remembered for their retries.
const UNBANS_MAX: usize = 4_096;
/// A failed unban is tried again this often.
const UNBAN_TRIES: u32 = 2;
/// How long a stop waits for what is on its way: when bans stay, and when they are lifted.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(80));
/// How long until a runner that died is started anew.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Jobs taken before what they changed is written down.
const JOBS_AT_ONCE: usize = 1_024;

/// Starts a runner.
pub(crate) type Spawn = Box<dyn FnMut() -> io::Result<(Runner, NewsReader)> + Send>;

/// What the thread can be asked for. The number that wait is bounded by the
/// judge's credit and by one run per lane.
enum Job {
    Turn(Arc<Turn>),
    Flush(Flush),
    Release(Seq),
    Retry(Retry),
    Doubt(Doubt),
    Counters(JailName, Counters),
    Removed(JailName),
    Stage(Box<StagedActions>, Sender<()>),
    Settle,
    Ask(AskId, JailName, Box<str>, Box<About>),
    News(News),
    /// The runner of this number has gone.
    Gone(u64),
    /// Everybody who is banned in the jail now.
    LivingIds(JailName, Vec<FailureId>),
    /// Living bans for an action that is new.
    Living(ActionId, Vec<BanView>),
    /// A ban that is to be repeated by these actions; `None` if it is over.
    Again(Box<Again>, Option<Box<BanView>>),
    /// A client calls a method of an action.
    Call(Box<Call>, call::Done),
    View(Sender<Vec<ActionView>>),
    #[cfg(test)]
    IsIdle(Sender<bool>),
    Held(JailName, FailureId, Sender<Vec<(Arc<str>, &'static str)>>),
    Close(bool, Sender<()>),
}

/// Why a ban is repeated.
enum Again {
    /// It failed before.
    Retry(Retry),
    /// Its effect was lost.
    Reban(JailName, FailureId),
}

/// The way to the actions' thread.
#[derive(Clone)]
pub(crate) struct ActionsHandle {
    jobs: Option<Sender<Job>>,
    judge: Arc<JudgeInbox>,
    counts: Arc<AtomicBool>,
    matches_max: Arc<AtomicUsize>,
}

impl ActionsHandle {
    /// Option `dbmaxmatches`: so many lines of earlier bans are told.
    pub(crate) fn set_max_matches(&self, most: usize) {
        self.matches_max.store(most, Ordering::Relaxed);
    }

    /// Nobody runs anything: a dry run.
    pub(crate) fn none(judge: Arc<JudgeInbox>) -> ActionsHandle {
        ActionsHandle { jobs: None, judge, counts: Arc::default(), matches_max: Arc::default() }
    }

    /// Starts the thread with a runner, and with what an earlier process left
    /// in the file beside the `database`; `last` is the last decision that was made.
    pub(crate) fn start(
        runner: (Runner, NewsReader),
        spawn: Spawn,
        database: Option<PathBuf>,
        (judge, last): (Arc<JudgeInbox>, Seq),
        log: Log,
    ) -> io::Result<ActionsHandle> {
        let (jobs, receiver) = channel();
        let counts: Arc<AtomicBool> = Arc::default();
        let matches_max: Arc<AtomicUsize> = Arc::new(stockade_store::Options::default().dbmaxmatches.into());
        let (effects, left) = Effects::open(database.as_ref().map(|path| path.with_extension("actions")));
        let (runner, news) = runner;
        let mut thread = Thread {
            jobs: jobs.clone(),
            judge: Arc::clone(&judge),
            log,
            counts: Arc::clone(&counts),
            spawn,
            runner: None,
            generation: 0,
            again_at: None,
            effects,
            past: Past::new(database, Arc::clone(&matches_max)),
            left,
            dormant: Vec::new(),
            jails: HashMap::new(),
            by_name: HashMap::new(),
            actions: HashMap::new(),
            asks: HashMap::new(),
            lanes: Lanes::default(),
            tasks: HashMap::new(),
            next: 1,
            pending: VecDeque::new(),
            flushes: VecDeque::new(),
            released: last,
            unbans: HashMap::new(),
            closing: None,
            ipv6: true,
        };
        thread.take_runner(runner, news)?;
        std::thread::Builder::new().name("actions".into()).spawn(move || thread.run(&receiver))?;
        Ok(ActionsHandle { jobs: Some(jobs), judge, counts, matches_max })
    }

    /// Takes what concerns actions out of what the judge brought forth.
    pub(crate) fn outputs(&self, out: &mut Outputs, turn: Option<Arc<Turn>>) {
        if self.jobs.is_none() {
            out.flushes.clear();
            out.release = None;
            return;
        }
        for flush in out.flushes.drain(..) {
            self.send(Job::Flush(flush));
        }
        if let Some(turn) = turn {
            self.send(Job::Turn(turn));
        }
        if let Some(seq) = out.release.take() {
            self.send(Job::Release(seq));
        }
        let counts = self.counts.load(Ordering::Relaxed);
        for change in &out.changes {
            match change {
                Change::Counters { jail, counters } if counts => self.send(Job::Counters(jail.clone(), *counters)),
                Change::JailRemoved { jail } => self.send(Job::Removed(jail.clone())),
                _ => {}
            }
        }
    }

    /// Tries again what an action failed to do.
    pub(crate) fn retry(&self, retry: Retry) {
        self.send(Job::Retry(retry));
    }

    /// Sees to it that this ban's commands still have their effect.
    pub(crate) fn doubt(&self, doubt: Doubt) {
        self.send(Job::Doubt(doubt));
    }

    /// Asks an ignore command; the answer goes to the judge.
    pub(crate) fn ask(&self, id: AskId, jail: JailName, command: Box<str>, about: Box<About>) {
        if self.jobs.is_none() {
            return self.judge.control(JudgeControl::Event(Event::Answer { id, answer: Answer::Ignore(false) }));
        }
        self.send(Job::Ask(id, jail, command, about));
    }

    /// From now on these are the jails' actions; returns once no later decision can miss them.
    pub(crate) fn stage(&self, staged: StagedActions) {
        let (sender, done) = channel();
        self.send(Job::Stage(Box::new(staged), sender));
        if self.jobs.is_some() {
            done.recv().unwrap_or_default();
        }
    }

    /// All stored bans have been decided about: what stands without a ban goes.
    pub(crate) fn settle(&self) {
        self.send(Job::Settle);
    }

    /// How each action is doing.
    pub(crate) fn view(&self) -> Vec<ActionView> {
        self.view_later().recv().unwrap_or_default()
    }

    /// The same, for who has something else to ask meanwhile.
    pub(crate) fn view_later(&self) -> Receiver<Vec<ActionView>> {
        let (sender, view) = channel();
        self.send(Job::View(sender));
        view
    }

    /// Does nothing run, and nothing wait?
    #[cfg(test)]
    fn is_idle(&self) -> bool {
        let (sender, idle) = channel();
        self.send(Job::IsIdle(sender));
        idle.recv().unwrap_or(true)
    }

    /// What the jail's actions did about an id, in words.
    pub(crate) fn held(&self, jail: &JailName, id: &FailureId) -> Vec<(Arc<str>, &'static str)> {
        let (sender, held) = channel();
        self.send(Job::Held(jail.clone(), id.clone(), sender));
        if self.jobs.is_some() { held.recv().unwrap_or_default() } else { Vec::new() }
    }

    /// Ends the thread and the runner: when bans are lifted, after every action
    /// was stopped; else what the commands did stays.
    pub(crate) fn close(&self, lift: bool) {
        let (sender, done) = channel();
        self.send(Job::Close(lift, sender));
        if self.jobs.is_some() {
            done.recv().unwrap_or_default();
        }
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            drop(jobs.send(job));
        }
    }
}

/// Whose unban, in which jail, by which action.
type UnbanKey = (JailName, FailureId, Arc<str>);

/// A stop under way.
struct Closing {
    until: Instant,
    reply: Sender<()>,
}

struct Thread {
    jobs: Sender<Job>,
    judge: Arc<JudgeInbox>,
    log: Log,
    /// Does any action want the jails' counters?
    counts: Arc<AtomicBool>,
    spawn: Spawn,
    runner: Option<Runner>,
    generation: u64,
    again_at: Option<Instant>,
    effects: Effects,
    past: Past,
    /// What an earlier process left, until the first stage.
    left: Vec<Effect>,
    /// Left by jails that are off: stays as it is.
    dormant: Vec<(ActionId, Effect)>,
    jails: HashMap<u64, JailEntry>,
    by_name: HashMap<JailName, u64>,
    actions: HashMap<ActionId, ActionEntry>,
    /// Ignore commands by jail: their text and number.
    asks: HashMap<JailName, (Box<str>, ActionId)>,
    lanes: Lanes,
    tasks: HashMap<TaskId, Task>,
    /// Number of the next jail, action or task.
    next: u64,
    /// Decisions that are not released yet.
    pending: VecDeque<Decision>,
    flushes: VecDeque<Flush>,
    released: Seq,
    /// Unbans that failed: how often, and what is to be tried again.
    unbans: HashMap<UnbanKey, (u32, Arc<Ticket>)>,
    closing: Option<Closing>,
    ipv6: bool,
}

impl Thread {
    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let wake = [self.again_at, self.closing.as_ref().map(|c| c.until)].into_iter().flatten().min();
            let first = match wake {
                Some(at) => jobs.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match first {
                Ok(job) => self.job(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for _ in 0..JOBS_AT_ONCE {
                let Ok(job) = jobs.try_recv() else { break };
                self.job(job);
            }
            if self.again_at.is_some_and(|at| at <= Instant::now()) {
                self.start_runner();
            }
            self.advance();
            self.keep_effects();
            if self.is_over() {
                return;
            }
        }
    }

    /// Is a stop complete, or out of patience? Then everybody is told.
    fn is_over(&mut self) -> bool {
        let over = |closing: &Closing| self.lanes.is_idle() || closing.until <= Instant::now();
        let Some(closing) = self.closing.take_if(|closing| over(closing)) else { return false };
        if !self.lanes.is_idle() {
            let text = "commands of actions are still running or waiting; they are given up";
            self.log.line(Level::Warning, "fail2ban.actions", text);
        }
        self.runner = None;
        self.effects.flush();
        closing.reply.send(()).unwrap_or_default();
        true
    }

    fn job(&mut self, job: Job) {
        match job {
            Job::Turn(turn) => {
                let mine = turn.decisions.iter().filter(|decision| self.by_name.contains_key(&decision.jail));
                self.pending.extend(mine.cloned());
            }
            Job::Flush(flush) => {
                self.flushes.push_back(flush);
                self.release();
            }
            Job::Release(seq) => {
                self.released = self.released.max(seq);
                self.release();
            }
            Job::Retry(retry) => self.retry(retry),
            Job::Doubt(doubt) => self.doubt(&doubt),
            Job::Counters(jail, counters) => {
                if let Some(entry) = self.jail_mut(&jail) {
                    entry.counters = counters;
                }
            }
            Job::Removed(jail) => self.removed(&jail),
            Job::Stage(staged, reply) => {
                self.stage(*staged);
                reply.send(()).unwrap_or_default();
            }
            Job::Settle => self.settle(),
            Job::Ask(id, jail, command, about) => self.ask(id, &jail, &command, &about),
            Job::News(News::Line { level, speaker, text }) => self.line(level, speaker, text),
            Job::News(News::Done { id, result, said, broken, commands, state }) => {
                if let Some(running) = self.lanes.end(id) {
                    if let Some(action) = self.actions.get_mut(&running.action) {
                        action.commands += u64::from(commands);
                        if action.effect.state != state {
                            self.effects.state(running.action, &state);
                            action.effect.state = state;
                        }
                    }
                    self.ended(running, result, &said, broken);
                }
            }
            Job::Gone(generation) if generation == self.generation => self.runner_has_gone(),
            Job::Gone(_) => {}
            Job::LivingIds(jail, ids) => self.undo_without_ban(&jail, &ids),
            Job::Living(action, bans) => self.apply_to(action, &bans),
            Job::Again(again, view) => self.again(*again, view.as_deref()),
            Job::Call(call, done) => self.call(*call, done),
            #[cfg(test)]
            Job::IsIdle(reply) => {
                self.advance();
                reply.send(self.lanes.is_idle()).unwrap_or_default();
            }
            Job::View(reply) => reply.send(self.views()).unwrap_or_default(),
            Job::Held(jail, id, reply) => reply.send(self.held(&jail, &id)).unwrap_or_default(),
            Job::Close(lift, reply) => self.close(lift, reply),
        }
    }

    fn line(&self, level: LineLevel, speaker: Speaker, text: String) {
        let level = match level {
            LineLevel::Debug => Level::Debug,
            LineLevel::Info => Level::Info,
            LineLevel::Warning => Level::Warning,
            LineLevel::Error => Level::Error,
            LineLevel::Critical => Level::Critical,
        };
        self.log.line(level, speaker.name(), text);
    }

    fn say(&self, level: Level, text: impl Into<String>) {
        self.log.line(level, "fail2ban.actions", text);
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn jail_mut(&mut self, name: &JailName) -> Option<&mut JailEntry> {
        self.jails.get_mut(self.by_name.get(name)?)
    }

    /// Turns released decisions into tasks.
    fn release(&mut self) {
        while self.pending.front().is_some_and(|decision| decision.seq <= self.released) {
            let Some(decision) = self.pending.pop_front() else { return };
            self.flush_before(decision.seq);
            self.decided(&decision);
        }
        let upto = self.pending.front().map_or(Seq(self.released.0.saturating_add(1)), |decision| decision.seq);
        self.flush_before(upto.min(Seq(self.released.0.saturating_add(1))));
    }

    /// Flushes that were ordered before the decision of this number.
    fn flush_before(&mut self, seq: Seq) {
        while let Some(flush) = self.flushes.pop_front_if(|flush| flush.after < seq) {
            self.flush(&flush);
        }
    }

    /// All bans of a jail end: actions that can do that in one go do it now.
    fn flush(&mut self, flush: &Flush) {
        let Some(key) = self.by_name.get(&flush.jail).copied() else { return };
        let Some(jail) = self.jails.get_mut(&key) else { return };
        jail.flush = (flush.count > 0).then(|| PendingFlush { left: flush.count, since: Default::default() });
        let steps: Vec<ActionId> =
            jail.actions.iter().copied().filter(|id| self.actions.get(id).is_some_and(|a| a.flushes)).collect();
        let stopping = flush.kind == DecisionKind::Repeal;
        self.begin(key, What::Flush { stopping }, steps);
    }

    fn decided(&mut self, decision: &Decision) {
        let Some(key) = self.by_name.get(&decision.jail).copied() else { return };
        let Some(jail) = self.jails.get_mut(&key) else { return };
        let mut ticket = Ticket::of(decision);
        match decision.kind {
            DecisionKind::Ban => drop(jail.restored.remove(&decision.id)),
            DecisionKind::Restore => drop(jail.restored.insert(decision.id.clone())),
            DecisionKind::Prolong | DecisionKind::Withhold => ticket.restored = jail.restored.contains(&decision.id),
            DecisionKind::Unban | DecisionKind::Lift | DecisionKind::Repeal => {
                ticket.restored = jail.restored.remove(&decision.id);
            }
        }
        let ticket = Arc::new(ticket);
        let steps = jail.actions.clone();
        let what = match decision.kind {
            DecisionKind::Ban | DecisionKind::Restore => {
                if let Some(flush) = &mut jail.flush {
                    flush.since.insert(decision.id.clone());
                }
                What::Ban { ticket, quiet: false }
            }
            DecisionKind::Prolong => What::Prolong { ticket },
            DecisionKind::Lift if decision.count == 0 => return,
            DecisionKind::Unban | DecisionKind::Lift | DecisionKind::Repeal => {
                let flushed = jail.ends_by_flush(&decision.id);
                jail.epochs.remove(&decision.id);
                What::Unban { ticket, flushed }
            }
            DecisionKind::Withhold => return,
        };
        self.begin(key, what, steps);
    }

    /// Who is banned was about to be banned again.
    fn doubt(&mut self, doubt: &Doubt) {
        let Some(key) = self.by_name.get(&doubt.jail).copied() else { return };
        let Some(jail) = self.jails.get(&key) else { return };
        let epoch = jail.epochs.get(&doubt.id).copied().unwrap_or(0);
        if epoch < jail.epoch {
            self.reban(key, &doubt.id);
        } else if doubt.check {
            let steps = jail.actions.clone();
            self.begin(key, What::Check { doubted: doubt.id.clone() }, steps);
        }
    }

    /// Repeats a ban through those actions that were repaired since.
    fn reban(&mut self, key: u64, id: &FailureId) {
        let Some(jail) = self.jails.get_mut(&key) else { return };
        let epoch = jail.epochs.get(id).copied().unwrap_or(0);
        if epoch >= jail.epoch || !jail.rebanning.insert(id.clone()) {
            return;
        }
        let name = jail.name.clone();
        self.look_up(name.clone(), id.clone(), Again::Reban(name, id.clone()));
    }

    /// Asks the judge for a living ban, to repeat it.
    fn look_up(&self, jail: JailName, id: FailureId, again: Again) {
        let jobs = self.jobs.clone();
        let look = move |judge: &Judge, _: Timestamp| {
            let view = judge.ban(&jail, &id).map(Box::new);
            drop(jobs.send(Job::Again(Box::new(again), view)));
        };
        self.judge.control(JudgeControl::Look(Box::new(look)));
    }

    fn retry(&mut self, retry: Retry) {
        let RetryBy::Action(name) = &retry.by else { return };
        let Subject { jail, id, kind, .. } = &retry.subject;
        let Some(action) = self.action_of(jail, name) else {
            return self.acted(&retry.subject, name, Ok(()));
        };
        if matches!(kind, DecisionKind::Ban | DecisionKind::Restore | DecisionKind::Prolong) {
            // A notice that failed is not sent late; it stays shown as failed.
            let once = self.actions.get(&action).is_some_and(|action| action.norestored);
            if !once {
                self.look_up(jail.clone(), id.clone(), Again::Retry(retry));
            }
            return;
        }
        let Some((_, ticket)) = self.unbans.get(&(jail.clone(), id.clone(), Arc::clone(name))) else {
            return self.acted(&retry.subject, name, Ok(()));
        };
        let ticket = Arc::clone(ticket);
        if let Some(key) = self.by_name.get(jail).copied() {
            self.begin(key, What::Unban { ticket, flushed: false }, vec![action]);
        }
    }

    /// The judge's answer to [`Thread::look_up`].
    fn again(&mut self, again: Again, view: Option<&BanView>) {
        match again {
            Again::Retry(retry) => {
                let RetryBy::Action(name) = &retry.by else { return };
                let key = self.by_name.get(&retry.subject.jail).copied();
                let action = self.action_of(&retry.subject.jail, name);
                let (Some(view), Some(key), Some(action)) = (view, key, action) else { return };
                let mut ticket = Ticket::of_view(&retry.subject.jail, view);
                (ticket.seq, ticket.kind) = (retry.subject.seq, retry.subject.kind);
                self.begin(key, What::Ban { ticket: Arc::new(ticket), quiet: true }, vec![action]);
            }
            Again::Reban(jail, id) => {
                let Some(key) = self.by_name.get(&jail).copied() else { return };
                let Some(entry) = self.jails.get_mut(&key) else { return };
                let Some(view) = view else {
                    entry.rebanning.remove(&id);
                    return;
                };
                let epoch = entry.epochs.get(&id).copied().unwrap_or(0);
                let newer = |id: &ActionId| self.actions.get(id).is_some_and(|action| action.epoch > epoch);
                let steps: Vec<ActionId> = entry.actions.iter().copied().filter(newer).collect();
                let name = match steps.as_slice() {
                    [one] => self.actions.get(one).map(|action| format!(", action '{}'", action.effect.spec.name)),
                    _ => None,
                };
                self.say(Level::Notice, format!("[{jail}] Reban {id}{}", name.unwrap_or_default()));
                let ticket = Arc::new(Ticket::of_view(&jail, view));
                self.begin(key, What::Reban { ticket }, steps);
            }
        }
    }

    fn action_of(&self, jail: &JailName, name: &str) -> Option<ActionId> {
        let jail = self.jails.get(self.by_name.get(jail)?)?;
        jail.actions.iter().copied().find(|id| self.actions.get(id).is_some_and(|a| &*a.effect.spec.name == name))
    }

    /// Tells the judge what came of an action.
    fn acted(&self, subject: &Subject, action: &Arc<str>, result: Result<(), String>) {
        if subject.seq == Seq(0) {
            return;
        }
        let (subject, action) = (subject.clone(), Arc::clone(action));
        let result = result.map_err(String::into_boxed_str);
        self.judge.control(JudgeControl::Event(Event::Acted { subject, action, result }));
    }

    fn ask(&mut self, id: AskId, jail: &JailName, command: &str, about: &About) {
        let action = match self.asks.get(jail) {
            Some((text, action)) if **text == *command => *action,
            _ => self.prepare_ask(jail, command),
        };
        let lane = self.actions.get(&action).map_or(0, |action| action.lane);
        if self.lanes.waiting(lane) >= LANE_MAX {
            return self.answer(id, false);
        }
        let Some(entry) = self.actions.get(&action) else { return };
        let counters = self.by_name.get(jail).and_then(|key| self.jails.get(key)).map(|jail| jail.counters);
        let around = ticket::Surroundings { counters: counters.unwrap_or_default(), merged: None };
        let values = ticket::about_values(jail, about, &entry.wants, &around);
        self.begin(0, What::Ask { id, values }, vec![action]);
    }

    fn answer(&self, id: AskId, ignore: bool) {
        self.judge.control(JudgeControl::Event(Event::Answer { id, answer: Answer::Ignore(ignore) }));
    }

    /// A new runner is there; it learns all actions.
    fn take_runner(&mut self, runner: Runner, mut news: NewsReader) -> io::Result<()> {
        self.generation += 1;
        let (generation, jobs) = (self.generation, self.jobs.clone());
        std::thread::Builder::new().name("runner news".into()).spawn(move || {
            while let Ok(Some(said)) = news.wait() {
                if jobs.send(Job::News(said)).is_err() {
                    return;
                }
            }
            drop(jobs.send(Job::Gone(generation)));
        })?;
        self.runner = Some(runner);
        let all: Vec<ActionId> = self.actions.keys().copied().collect();
        for action in all {
            self.prepare(action);
        }
        Ok(())
    }

    fn runner_has_gone(&mut self) {
        if self.closing.is_none() {
            self.say(Level::Error, "the process that runs actions has ended; it is started anew");
            self.again_at = Some(Instant::now() + AGAIN_AFTER);
        }
        self.runner = None;
        for running in self.lanes.end_all() {
            self.ended(running, Err("the process that runs actions has ended".to_owned()), "", false);
        }
    }

    fn start_runner(&mut self) {
        self.again_at = None;
        let started = (self.spawn)().and_then(|(runner, news)| self.take_runner(runner, news));
        if let Err(e) = started {
            self.say(Level::Error, format!("the process that runs actions can't be started: {e}"));
            self.again_at = Some(Instant::now() + AGAIN_AFTER);
        }
    }

    fn order(&mut self, order: &Order) -> bool {
        let Some(runner) = &mut self.runner else { return false };
        runner.order(order).is_ok()
    }

    fn close(&mut self, lift: bool, reply: Sender<()>) {
        // Nothing is released any more.
        self.released = Seq(u64::MAX);
        self.release();
        if lift {
            let keys: Vec<u64> = self.jails.keys().copied().collect();
            for key in keys {
                self.stop_jail(key);
            }
        }
        let patience = if lift { PATIENCE.1 } else { PATIENCE.0 };
        self.closing = Some(Closing { until: Instant::now() + patience, reply });
    }

    /// A jail is gone, and all its bans have ended.
    fn removed(&mut self, name: &JailName) {
        // What was decided before is released by now, or never will be.
        if let Some(last) = self.pending.iter().filter(|d| d.jail == *name).map(|d| d.seq).max() {
            self.released = self.released.max(last);
            self.release();
        }
        self.flushes.retain(|flush| flush.jail != *name);
        if let Some(key) = self.by_name.remove(name) {
            self.stop_jail(key);
        }
        self.asks.remove(name);
    }

    fn stop_jail(&mut self, key: u64) {
        let Some(jail) = self.jails.get_mut(&key).filter(|jail| !jail.stopped) else { return };
        jail.stopped = true;
        let steps: Vec<ActionId> = jail.actions.iter().rev().copied().collect();
        self.begin(key, What::Stop, steps);
    }

    fn keep_effects(&mut self) {
        let bans = self.actions.values().map(|action| action.effect.bans.len()).sum();
        if self.effects.is_long(bans) {
            self.rewrite_effects();
        }
        self.effects.flush();
    }

    fn rewrite_effects(&mut self) {
        let Thread { effects, actions, dormant, .. } = self;
        let kept = actions.iter().filter(|(_, action)| !action.asks).map(|(number, action)| (*number, &action.effect));
        let all = kept.chain(dormant.iter().map(|(number, effect)| (*number, effect)));
        if let Err(e) = effects.rewrite(all) {
            let text = format!("what actions did can't be kept for the next start, commands may run again then: {e}");
            self.say(Level::Warning, text);
        }
    }

    fn views(&self) -> Vec<ActionView> {
        let mut views: Vec<(ActionId, ActionView)> = self
            .actions
            .iter()
            .filter(|(_, action)| !action.asks)
            .map(|(number, action)| {
                let running = self.lanes.running(action.lane).map(|running| running.since.elapsed());
                (*number, action.view(self.lanes.waiting(action.lane), running))
            })
            .collect();
        views.sort_by_key(|(number, _)| *number);
        views.into_iter().map(|(_, view)| view).collect()
    }

    fn held(&self, jail: &JailName, id: &FailureId) -> Vec<(Arc<str>, &'static str)> {
        let Some(entry) = self.by_name.get(jail).and_then(|key| self.jails.get(key)) else { return Vec::new() };
        let actions = entry.actions.iter().filter_map(|action| self.actions.get(action));
        let words = actions.map(|action| {
            let words = if action.effect.bans.contains_key(id) {
                "ran for this ban"
            } else if action.norestored {
                "only runs once, when the ban is new"
            } else {
                "has not run for this ban (yet)"
            };
            (Arc::clone(&action.effect.spec.name), words)
        });
        words.collect()
    }
}
