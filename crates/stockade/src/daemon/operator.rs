//! The operator: owns the settings, and carries out every change one after
//! another: boot, reload, commands, stop.

mod sources;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use stockade_core::judge::{Command, Event, IgnoreEntry, JailChange, JailSpec, Judge, Outcome, StoredBan};
use stockade_core::matcher::{Filter, Matcher};
use stockade_core::{FailureId, JailName, Net, Position, SourceKey, Timestamp};
use stockade_enforce::stock::StockAction;
use stockade_enforce::{Layout, OnClose};
use stockade_store::{Allow, Forget, Marks};
use stockade_wire::Value;
use stockade_wire::pickle::Exception;

use super::actions::{ActionsHandle, How};
use super::actor::{Actor, Around, Past};
use super::blacklists::{BlacklistHandle, ListSpec};
use super::board::{Board, JailBoard, Posted};
use super::flow::{Reach, SourceRun};
use super::guard::GuardHandle;
use super::judge::{JudgeControl, JudgeInbox};
use super::kernel::KernelHandle;
use super::restore::Way;
use super::server_options;
use super::snapshot::Saved;
use super::stage::{self, Ground, Sources, Stage, StagedJail};
use super::store::{StoreJob, Wanted};
use crate::blacklist::Lists;
use crate::places::Tree;
use crate::settings::{JailSettings, Settings};

/// What an earlier process left of one jail.
#[derive(Default)]
pub(crate) struct Left {
    /// Its saved state.
    pub(crate) saved: Option<Saved>,
    /// Up to where lines were decided about.
    pub(crate) decided: Vec<(SourceKey, Position)>,
    /// Where the original stood: path, first line's hash, place.
    pub(crate) theirs: Vec<(String, String, f64)>,
}

/// A running jail.
struct Running {
    staged: StagedJail,
    actor: Arc<Actor>,
    /// Names of its sources.
    reads: Vec<Arc<str>>,
}

/// What is made again even if its settings are the same: files that it names are
/// read again, its actions reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Anew {
    /// Nothing: single options were set.
    Nothing,
    /// One jail.
    Jail(String),
    /// Everything.
    All,
}

impl Anew {
    fn concerns(&self, jail: &str) -> bool {
        match self {
            Anew::Nothing => false,
            Anew::Jail(name) => name == jail,
            Anew::All => true,
        }
    }
}

/// Owns what is set.
pub(crate) struct Operator {
    pub(crate) tree: Tree,
    pub(crate) ground: Ground,
    pub(crate) judge: Arc<JudgeInbox>,
    pub(crate) kernel: KernelHandle,
    pub(crate) actions: ActionsHandle,
    pub(crate) blacklists: BlacklistHandle,
    pub(crate) reach: Reach,
    pub(crate) guard: GuardHandle,
    pub(crate) board: Board,
    /// Used up as jails start for the first time.
    pub(crate) left: HashMap<JailName, Left>,
    /// Options of the daemon that were given at start and not by the tree.
    pub(crate) pinned: BTreeMap<String, Value>,
    settings: Arc<Settings>,
    jails: Vec<Running>,
    waiting: Vec<(Arc<JailSettings>, Arc<Filter>)>,
    /// How the kernel was told that jails block.
    layout: Option<(Layout, Vec<StockAction>)>,
    off: Vec<(String, String)>,
    sources: HashMap<Arc<str>, Arc<SourceRun>>,
    epoch: u64,
    /// When the tree was last read.
    loaded: Timestamp,
    /// For patterns that find new files: back to this very operator.
    myself: Option<super::room::Room<Operator>>,
}

impl Operator {
    /// An operator of nothing yet.
    pub(crate) fn new(
        tree: Tree,
        ground: Ground,
        judge: Arc<JudgeInbox>,
        (kernel, actions, blacklists): (KernelHandle, ActionsHandle, BlacklistHandle),
        reach: Reach,
        guard: GuardHandle,
        board: Board,
    ) -> Operator {
        Operator {
            tree,
            ground,
            judge,
            kernel,
            actions,
            blacklists,
            reach,
            guard,
            board,
            left: HashMap::new(),
            pinned: BTreeMap::new(),
            settings: Arc::default(),
            jails: Vec::new(),
            waiting: Vec::new(),
            layout: None,
            off: Vec::new(),
            sources: HashMap::new(),
            epoch: 1,
            loaded: super::now(),
            myself: None,
        }
    }

    /// Tells it how others reach it.
    pub(crate) fn introduce(&mut self, room: super::room::Room<Operator>) {
        self.myself = Some(room);
    }

    /// Stages a whole tree's settings; everything is made anew.
    pub(crate) fn stage(&self, settings: Settings) -> Result<Stage, String> {
        let stage = stage::stage(settings, &self.ground, self.epoch + 1, &|_| None);
        let mut stage = stage.strictly()?;
        stage.needs_logs();
        stage.strictly()
    }

    /// Stages what a client has set. A jail whose settings are the same as
    /// before is not made again, unless it is to be `anew`.
    fn stage_for_client(&self, settings: Settings, anew: &Anew) -> Stage {
        let standing = |settings: &Arc<JailSettings>| {
            let running = self.jails.iter().find(|jail| jail.staged.from == *settings)?;
            (settings.started && !anew.concerns(&settings.name)).then(|| running.staged.clone())
        };
        let mut stage = stage::stage(settings, &self.ground, self.epoch + 1, &standing);
        match anew {
            Anew::Nothing => stage.how = How::Set,
            Anew::Jail(name) => stage.only = Some(JailName::new(name)),
            Anew::All => {}
        }
        stage
    }

    /// What is set now.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Puts settings in force as a whole, or changes nothing. `held` are jails
    /// that are off, and that the stream left out by mistake again: they keep their bans.
    ///
    /// Source: our own; the original changes things one by one.
    pub(crate) fn apply(
        &mut self,
        settings: Settings,
        held: &[(String, String)],
        anew: &Anew,
    ) -> Result<(), Exception> {
        let refused = |why: String| Exception::builtin("RuntimeError", why);
        let mut stage = self.stage_for_client(settings, anew);
        let known = |name: &str| self.off.iter().any(|(off, _)| off == name);
        if let Some((_, exception)) = stage.faults.iter().find(|(name, _)| !known(name)) {
            return Err(exception.clone());
        }
        stage.off.extend_from_slice(held);
        // Those of which nothing was said stay off.
        for (name, why) in self.off.iter().filter(|(name, _)| !anew.concerns(name)) {
            if stage.settings.jail(name).is_none() && !stage.off.iter().any(|(off, _)| off == name) {
                stage.off.push((name.clone(), why.clone()));
            }
        }
        let (ground, epoch) = (&self.ground, self.epoch + 1);
        stage.hold_off_jails(ground, epoch);
        if *anew == Anew::All {
            self.judge.control(JudgeControl::Event(Event::Config(vec![JailChange::ForgetNames])));
            self.reach.asker.forget();
        }
        let server = server_options::stage(&self.settings, &stage.settings)?;
        self.commit(stage, server).map_err(refused)
    }

    /// Would a reload (or a restart) work? Changes nothing.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.next().map(drop)
    }

    /// Reads the tree again and commits it as a whole, or changes nothing.
    /// Returns the number of jails that run, and everything that is wrong.
    pub(crate) fn reload(&mut self) -> Result<(usize, Vec<String>), String> {
        let loaded = super::now();
        let (stage, mut problems) = self.next()?;
        self.loaded = loaded;
        problems.extend(stage.off.iter().map(|(name, why)| format!("jail '{name}' is off: {why}")));
        let running = stage.jails.len().saturating_sub(stage.off.len());
        let server = server_options::stage(&self.settings, &stage.settings);
        self.commit(stage, server.map_err(|e| format!("nothing has changed: {e}"))?)?;
        Ok((running, problems))
    }

    /// The tree as it stands now, staged, with warnings.
    fn next(&self) -> Result<(Stage, Vec<String>), String> {
        let loaded = self.tree.load_with(&self.ground.calendar).map_err(|e| format!("nothing has changed: {e:#}"))?;
        let (mut settings, mut broken) = Settings::default()
            .staged_as_far_as_possible(&loaded.stream)
            .map_err(|refusal| format!("nothing has changed: {refusal}"))?;
        settings.server.extend(self.pinned.clone());
        let mut stage = self.stage(settings).map_err(|why| format!("nothing has changed: {why}"))?;
        broken.append(&mut stage.off);
        stage.off = loaded.off(&broken);
        // A mistake made just now changes nothing; a jail that was off before stays off.
        let known = |name: &str| self.off.iter().any(|(off, _)| off == name);
        let new = stage.off.iter().filter(|(name, _)| !known(name));
        let new: Vec<String> = new.map(|(name, why)| format!("jail '{name}': {why}")).collect();
        if !new.is_empty() {
            return Err(format!("nothing has changed: {}", new.join("; ")));
        }
        stage.hold_off_jails(&self.ground, self.epoch + 1);
        Ok((stage, loaded.warnings))
    }

    /// Swaps a staged configuration in.
    fn commit(&mut self, stage: Stage, server: server_options::Change) -> Result<(), String> {
        let is_new = |name: &JailName| !self.jails.iter().any(|jail| jail.staged.spec.name == *name);
        let fresh = stage.jails.iter().filter(|jail| is_new(&jail.spec.name));
        let new = fresh.map(|jail| (jail.spec.name.clone(), jail.spec.evidence)).collect();
        self.give_evidence_back(&stage)?;
        self.arm(&stage)?;
        self.take_up_again(new)?;
        self.commit_armed(stage);
        server.commit(self);
        Ok(())
    }

    /// Jails that come (back) while we run get their stored bans (some with
    /// their evidence), and go on with their logs where they stopped.
    fn take_up_again(&mut self, new: Vec<(JailName, bool)>) -> Result<(), String> {
        if new.is_empty() {
            return Ok(());
        }
        let gone = || "the daemon is stopping".to_owned();
        let mut places = self.places().ok_or_else(gone)?;
        for (name, _) in &new {
            let marks = places.remove(name).unwrap_or_default();
            let decided = marks.into_iter().map(|mark| (mark.source, mark.to)).collect();
            self.left.insert(name.clone(), Left { decided, ..Left::default() });
        }
        self.hand_bans_over(new.into_iter().collect(), Event::Restore)
    }

    /// The judge gets the stored bans of these jails (some with their evidence).
    fn hand_bans_over(&self, jails: HashMap<JailName, bool>, event: fn(Vec<StoredBan>) -> Event) -> Result<(), String> {
        let gone = || "the daemon is stopping".to_owned();
        let kept = self.blacklists.applied(|name| jails.contains_key(name));
        let wanted = Wanted { jails, others: false, at: super::now(), kept };
        let mut way = Way::to(&self.judge, event);
        for rows in self.reach.store.bans(wanted) {
            way.send(rows).ok_or_else(gone)?;
        }
        way.end().ok_or_else(gone)
    }

    /// Jails whose commands come to tell of a ban's lines and groups, and did not before: their living
    /// bans, which let go of them, get them back from the database before any action can ask.
    fn give_evidence_back(&self, stage: &Stage) -> Result<(), String> {
        let olds = self.jails.iter().map(|jail| &jail.staged.spec).filter(|old| !old.evidence);
        let wanted = |old: &&JailSpec| stage.jails.iter().any(|new| new.spec.name == old.name && new.spec.evidence);
        let keeping: Vec<JailSpec> =
            olds.filter(wanted).map(|old| JailSpec { evidence: true, ..old.clone() }).collect();
        if keeping.is_empty() {
            return Ok(());
        }
        let jails = keeping.iter().map(|spec| (spec.name.clone(), true)).collect();
        let changes = keeping.into_iter().map(|spec| JailChange::Put(Box::new(spec))).collect();
        self.judge.control(JudgeControl::Event(Event::Config(changes)));
        // From now on no ban lets go of anything; those that did are in the database.
        Way::to(&self.judge, Event::Evidence).end().ok_or("the daemon is stopping")?;
        self.hand_bans_over(jails, Event::Evidence)
    }

    /// The first half of a commit: firewall and judge know the new jails.
    pub(crate) fn arm(&mut self, stage: &Stage) -> Result<(), String> {
        let (layout, stock) = (stage.layout(), stage.stock());
        if self.layout.as_ref() != Some(&(layout.clone(), stock.clone())) {
            self.kernel.layout(layout.clone(), stock.clone())?;
            self.layout = Some((layout, stock));
            self.hand_over(stage);
        }
        self.actions.stage(stage.actions());
        let names: Vec<JailName> = stage.jails.iter().map(|jail| jail.spec.name.clone()).collect();
        let mut changes: Vec<JailChange> = Vec::new();
        for old in &self.jails {
            if !names.contains(&old.staged.spec.name) {
                changes.push(JailChange::Remove(old.staged.spec.name.clone()));
            }
        }
        for jail in &stage.jails {
            let old = self.jails.iter().find(|old| old.staged.spec.name == jail.spec.name);
            // Of a jail that lives on the first epoch counts.
            let same = |old: &Running| JailSpec { epoch: jail.spec.epoch, ..old.staged.spec.clone() } == jail.spec;
            if !old.is_some_and(same) {
                changes.push(JailChange::Put(Box::new(jail.spec.clone())));
            }
        }
        self.judge.control(JudgeControl::Event(Event::Config(changes)));
        Ok(())
    }

    /// Bans of jails that did not block by our own hand, and do now, come into the kernel.
    fn hand_over(&self, stage: &Stage) {
        let blocks = |staged: &StagedJail| staged.block.is_some() || !staged.stock.is_empty();
        for old in self.jails.iter().map(|jail| &jail.staged).filter(|old| !blocks(old)) {
            if !stage.jails.iter().any(|new| new.spec.name == old.spec.name && blocks(new)) {
                continue;
            }
            let (kernel, name) = (self.kernel.clone(), old.spec.name.clone());
            // In the judge's own thread, so that no decision comes in between.
            let look = move |judge: &Judge, _| kernel.take_over(&name, &judge.bans(&name));
            self.judge.control(JudgeControl::Look(Box::new(look)));
        }
    }

    /// The second half: matchers and logs.
    pub(crate) fn commit_armed(&mut self, stage: Stage) {
        self.epoch += 1;
        let read_again = stage.how == How::Tree;
        let names: Vec<JailName> = stage.jails.iter().map(|jail| jail.spec.name.clone()).collect();
        let mut old: HashMap<JailName, Running> =
            self.jails.drain(..).map(|jail| (jail.staged.spec.name.clone(), jail)).collect();
        for staged in stage.jails {
            let running = match old.remove(&staged.spec.name) {
                Some(running) => self.change(running, staged),
                None => {
                    // It is known to start, even where nothing is left of it.
                    self.left.entry(staged.spec.name.clone()).or_default();
                    self.begin(staged)
                }
            };
            self.jails.push(running);
        }
        self.settings = Arc::new(stage.settings);
        self.waiting = stage.waiting;
        self.off = stage.off;
        let marks = Marks { jails: Some(names), ..Marks::default() };
        self.reach.store.send(StoreJob::Marks(Box::new(marks)));
        self.open_sources();
        self.keep_lists(read_again);
        // What an earlier process left is true only once.
        let off = std::mem::take(&mut self.off);
        self.left.retain(|name, left| {
            // Nothing counts for a jail that is off; what it decided stays decided.
            left.saved = None;
            off.iter().any(|(off, _)| off == name.as_str())
        });
        self.off = off;
    }

    /// Tells which jails have plain lists. A dry run writes none.
    fn keep_lists(&self, read_again: bool) {
        if self.ground.dry_run {
            return;
        }
        let off = |name: &JailName| self.off.iter().any(|(off, _)| off == name.as_str());
        let running = || self.jails.iter().map(|jail| &jail.staged).filter(|staged| !off(&staged.spec.name));
        let lists = running().filter_map(|staged| {
            let lists = Lists::of(staged.from.own("blacklist")?, staged.spec.name.as_str())?;
            Some(ListSpec { lists, jail: staged.spec.clone() })
        });
        let names = running().map(|staged| staged.spec.name.clone()).collect();
        self.blacklists.set(lists.collect(), names, read_again);
    }

    /// A jail that runs gets its new options.
    fn change(&self, mut running: Running, staged: StagedJail) -> Running {
        if running.staged.filter_spec != staged.filter_spec {
            running.actor.swap(Arc::clone(&staged.filter), self.epoch);
        }
        running.actor.watch(&staged);
        running.staged = staged;
        running
    }

    /// A jail starts.
    fn begin(&mut self, staged: StagedJail) -> Running {
        let name = staged.spec.name.clone();
        let mut matcher = Matcher::new(name.clone(), Arc::clone(&staged.filter), self.epoch);
        let left = self.left.get(&name);
        let mut past = Vec::new();
        if let Some(left) = left {
            if let Some(saved) = &left.saved {
                if matcher.restore(&saved.matcher).is_err() {
                    self.reach.log.warning(format!("[{name}] the saved state of unfinished sessions is of no use"));
                }
                self.judge.control(JudgeControl::Restore(name.clone(), saved.judge.clone()));
            }
            for (source, decided) in &left.decided {
                let counted = left
                    .saved
                    .iter()
                    .flat_map(|saved| &saved.places)
                    .find(|(key, _)| key == source)
                    .map_or_else(|| decided.clone(), |(_, place)| place.clone());
                past.push(Past { source: source.clone(), counted, decided: decided.clone() });
            }
        }
        let around = Around {
            guard: self.guard.clone(),
            pool: self.reach.pool.clone(),
            judge: Arc::clone(&self.judge),
            poison: self.reach.poison.clone(),
            log: self.reach.log.clone(),
        };
        let actor = Actor::new(name, matcher, past, around);
        actor.watch(&staged);
        Running { staged, actor, reads: Vec::new() }
    }

    /// Has the files of `ignoreip = file:PATH` watched; one that changes is read again.
    fn watch_lists(&self) {
        let entries = self.jails.iter().flat_map(|jail| &jail.staged.spec.ignoreip);
        let mut files: Vec<Arc<str>> = entries
            .filter_map(|entry| match entry {
                IgnoreEntry::File { path, .. } => Some(Arc::clone(path)),
                IgnoreEntry::Net(_) | IgnoreEntry::Name(_) => None,
            })
            .collect();
        files.sort();
        files.dedup();
        let known = &self.ground.ignore_files;
        known.retain(&files);
        self.reach.watch.lists(files, known.follow(Arc::clone(&self.judge), self.reach.log.clone()));
    }

    /// Lets everybody know what is in force.
    fn post(&self) {
        let jails = self.jails.iter().map(|jail| JailBoard {
            spec: jail.staged.spec.clone(),
            filter: Arc::clone(&jail.staged.filter),
            actor: Arc::clone(&jail.actor),
            sources: jail.reads.iter().filter_map(|name| self.sources.get(name).cloned()).collect(),
            reads: jail.staged.sources != Sources::Nothing,
            table: jail.staged.block.is_some(),
            stock: jail.staged.stock.clone(),
            blocks: jail.staged.block.is_some()
                || !jail.staged.stock.is_empty()
                || !jail.staged.actions.actions.is_empty(),
        });
        let waiting = self.waiting.iter().map(|(jail, filter)| (jail.name.clone(), Arc::clone(filter)));
        self.board.post(Posted {
            jails: jails.collect(),
            off: self.off.clone(),
            loaded: self.loaded,
            waiting: waiting.collect(),
            settings: Arc::clone(&self.settings),
            ignore_files: self.ground.ignore_files.clone(),
        });
    }

    /// Runs a command and waits for what came of it.
    pub(crate) fn command(&self, command: Command) -> Result<Outcome, String> {
        let (sender, receiver) = channel();
        self.judge.control(JudgeControl::Command(command, Box::new(move |outcome| drop(sender.send(outcome)))));
        receiver.recv().map_err(|_| "the daemon is stopping".to_owned())
    }

    /// Lifts and forgets all bans of one jail, or of all.
    pub(crate) fn unban_all(&self, jail: Option<&str>) -> Result<(), String> {
        self.command(Command::UnbanAll { jail: jail.map(JailName::new) }).map(drop)
    }

    /// Banned networks that hold one of these: what is inside, the jail, the network.
    pub(crate) fn networks_around(&self, nets: Vec<Net>) -> Result<Vec<(Net, JailName, Net)>, String> {
        let (sender, receiver) = channel();
        let look = move |judge: &Judge, _| {
            let mut found = Vec::new();
            for jail in judge.jails().cloned().collect::<Vec<_>>() {
                for wide in judge.network_bans(&jail).iter().filter_map(|ban| ban.id.net()) {
                    let inside = nets.iter().filter(|net| **net != wide && wide.contains(**net));
                    found.extend(inside.map(|net| (*net, jail.clone(), wide)));
                }
            }
            sender.send(found).unwrap_or_default();
        };
        self.judge.control(JudgeControl::Look(Box::new(look)));
        receiver.recv().map_err(|_| "the daemon is stopping".to_owned())
    }

    /// Which of these have a ban that is withheld now, in one jail or in any.
    pub(crate) fn withheld_among(&self, jail: Option<JailName>, ids: Vec<FailureId>) -> Result<Vec<FailureId>, String> {
        let (sender, receiver) = channel();
        let look = move |judge: &Judge, _| {
            let theirs = judge
                .withheld()
                .filter(|(name, id, _)| jail.as_ref().is_none_or(|jail| jail == *name) && ids.contains(id));
            sender.send(theirs.map(|(_, id, _)| id.clone()).collect()).unwrap_or_default();
        };
        self.judge.control(JudgeControl::Look(Box::new(look)));
        receiver.recv().map_err(|_| "the daemon is stopping".to_owned())
    }

    /// Jails that are off by mistake, with the reason.
    pub(crate) fn off(&self) -> &[(String, String)] {
        &self.off
    }

    /// Names of all jails.
    pub(crate) fn jail_names(&self) -> Vec<JailName> {
        self.jails.iter().map(|jail| jail.staged.spec.name.clone()).collect()
    }

    /// Lifts bans and forgets them, in the database even where nobody is banned.
    pub(crate) fn forget(&self, jail: Option<&JailName>, ids: &[FailureId]) {
        let forget = ids.iter().map(|id| Forget { jail: jail.cloned(), id: id.clone() }).collect();
        self.reach.store.forget(forget);
        self.reach.store.sync();
    }

    /// Why what was just decided is not in the database; empty if it is.
    pub(crate) fn not_saved(&self) -> String {
        self.reach.store.sync();
        self.reach.store.state().trouble
    }

    /// Keeps the allow list over restarts.
    pub(crate) fn keep_allowed(&self, nets: &[Net], since: Option<Timestamp>) {
        let entry = |net: &Net| Allow { jail: None, id: FailureId::Net(*net), since };
        self.reach.store.allow(nets.iter().map(entry).collect());
        // Who is told that an address is allowed may rely on it through a crash.
        self.reach.store.sync();
    }

    /// Are bans lifted when a client says stop? Jails that differ in that are
    /// dealt with at once; what is left is the answer for all others.
    pub(crate) fn lift_on_stop(&self) -> bool {
        let lifts = |jail: &JailSettings| match jail.own("onstop") {
            Some(word) => word == "lift",
            None => self.tree.is_foreign(),
        };
        let (lift, keep): (Vec<_>, Vec<_>) = self.settings.jails.iter().partition(|jail| lifts(jail));
        if keep.is_empty() {
            return !lift.is_empty();
        }
        for jail in lift {
            drop(self.command(Command::Repeal { jail: Some(jail.jail()) }));
        }
        false
    }

    /// Asks all jails for a snapshot, behind everything that waits now.
    fn snapshot(&self) {
        for jail in self.jails.iter().filter(|jail| jail.staged.spec.keepcounts) {
            jail.actor.snapshot();
        }
    }

    /// Stops reading and lets what was read be judged, for at most two seconds.
    fn quiesce(&mut self) {
        self.reach.watch.close();
        for source in self.sources.values() {
            source.close();
        }
        let until = Instant::now() + Duration::from_secs(2);
        self.snapshot();
        while self.jails.iter().any(|jail| !jail.actor.is_idle()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        while self.judge.data_len() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends everything in order: reading, deciding, saving; bans stay or go.
    pub(crate) fn stop(&mut self, lift: bool, judge: Option<std::thread::JoinHandle<()>>) -> Result<(), String> {
        self.quiesce();
        if lift {
            drop(self.command(Command::Repeal { jail: None }));
        }
        self.blacklists.close();
        self.judge.close();
        if let Some(judge) = judge {
            drop(judge.join());
        }
        self.actions.close(lift);
        let saved = self.reach.store.close();
        let kernel = self.kernel.close(if lift { OnClose::Lift } else { OnClose::Keep });
        self.reach.pool.close();
        self.reach.poison.close();
        saved.and(kernel)
    }
}
