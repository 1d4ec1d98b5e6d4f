//! The operator: owns the settings, and carries out every change one after
//! another: boot, reload, commands, stop.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use stockade_core::judge::{Command, Event, IgnoreEntry, JailChange, JailSpec, Judge, Outcome};
use stockade_core::matcher::{Filter, LineMode, Matcher};
use stockade_core::{FailureId, JailName, LineEnd, Net, Position, SourceKey, Timestamp, Watermark};
use stockade_enforce::stock::StockAction;
use stockade_enforce::{Layout, OnClose};
use stockade_source::{Bounds as FileBounds, FileReader, Glob, Journal, JournalStart, Start};
use stockade_store::{Allow, Forget, Marks};
use stockade_wire::Value;
use stockade_wire::pickle::Exception;

use super::actions::{ActionsHandle, How};
use super::actor::{self, Actor, Around, Past};
use super::blacklists::{BlacklistHandle, ListSpec};
use super::board::{Board, JailBoard, Posted};
use super::flow::{Place, Reach, Reader, SourceRun};
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

/// Logs smaller than this are read from their beginning when they are new to us.
const SEEK_FROM_BYTES: u64 = 1 << 20;

/// Under which name the original notes its place in the systemd journal: the time of the last entry.
const THEIR_JOURNAL: &str = "systemd-journal";
/// The journal's times go by microseconds: the first that the original has not seen.
const THEIR_JOURNAL_STEP: f64 = 1e-6;

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
        self.hand_bans_over(new.into_iter().collect())
    }

    /// The judge gets the stored bans of these jails (some with their evidence).
    fn hand_bans_over(&self, jails: HashMap<JailName, bool>) -> Result<(), String> {
        let gone = || "the daemon is stopping".to_owned();
        let kept = self.blacklists.applied(|name| jails.contains_key(name));
        let wanted = Wanted { jails, others: false, at: super::now(), kept };
        let mut way = Way::to(&self.judge);
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
        Way::to(&self.judge).end().ok_or("the daemon is stopping")?;
        self.hand_bans_over(jails)
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

    /// Opens what is read now, closes what is not, and attaches each jail to its sources.
    fn open_sources(&mut self) {
        let mut wanted: HashMap<Arc<str>, Vec<usize>> = HashMap::new();
        let mut globs: Vec<Glob> = Vec::new();
        for (i, jail) in self.jails.iter_mut().enumerate() {
            jail.reads.clear();
            match &jail.staged.sources {
                Sources::Nothing => {}
                Sources::Journal(options) => match options.name() {
                    Ok(name) => jail.reads.push(name),
                    Err(e) => self.reach.log.error(format!("jail '{}': {e}", jail.staged.spec.name)),
                },
                Sources::Files { paths, patterns } => {
                    jail.reads.extend(paths.iter().map(|(path, _)| Arc::from(path.to_string_lossy())));
                    for (glob, _) in patterns {
                        jail.reads.extend(present(glob).into_iter().map(|path| Arc::from(path.to_string_lossy())));
                    }
                    globs.extend(patterns.iter().map(|(glob, _)| glob.clone()));
                }
            }
            jail.reads.sort();
            jail.reads.dedup();
            for name in &jail.reads {
                wanted.entry(Arc::clone(name)).or_default().push(i);
            }
        }
        let gone: Vec<Arc<str>> = self.sources.keys().filter(|name| !wanted.contains_key(*name)).cloned().collect();
        for name in gone {
            self.reach.watch.remove(&name);
            if let Some(source) = self.sources.remove(&name) {
                source.close();
            }
        }
        self.close_joined_journals(&wanted);
        let found = self.found_again();
        for (name, readers) in wanted {
            let actors = readers.iter().filter_map(|i| Some(Arc::clone(&self.jails.get(*i)?.actor))).collect();
            let line_end = self.line_end(&name, &readers);
            if let Some(source) = self.sources.get(&name) {
                source.attach(actors, &self.joining(source, &readers));
                if let Err(e) = source.set_line_end(line_end) {
                    self.reach.log.error(format!("{name}: {e}"));
                }
                continue;
            }
            match self.open(&name, &readers, line_end) {
                Ok(reader) => {
                    let source = SourceRun::new(Arc::clone(&name), reader, &self.reach);
                    source.attach(actors, &[]);
                    self.reach.watch.add(Arc::clone(&source));
                    self.sources.insert(name, source);
                }
                Err(e) => self.reach.log.error(format!("{name} can't be read: {e}")),
            }
        }
        for name in &found {
            self.left.remove(name);
        }
        self.post();
        if let Some(myself) = self.myself.clone() {
            self.reach.watch.globs(globs, Arc::new(move |_new: Vec<PathBuf>| myself.send(Operator::open_sources)));
        }
        self.watch_lists();
    }

    /// Does this jail not read that log so far?
    fn gains(&self, jail: &Running, name: &str) -> bool {
        self.sources.get(name).is_none_or(|source| !source.is_read_by(&jail.actor))
    }

    /// The journal can't be read twice: one that a jail joins is opened anew, where the first of its readers goes on.
    fn close_joined_journals(&mut self, wanted: &HashMap<Arc<str>, Vec<usize>>) {
        let joined = |(name, readers): (&Arc<str>, &Vec<usize>)| {
            let joins = readers.iter().any(|i| self.jails.get(*i).is_some_and(|jail| self.gains(jail, name)));
            let is_journal = self.sources.get(name).is_some_and(|source| matches!(source.place(), Place::Journal(_)));
            (joins && is_journal).then(|| Arc::clone(name))
        };
        for name in wanted.iter().filter_map(joined).collect::<Vec<_>>() {
            self.reach.watch.remove(&name);
            if let Some(source) = self.sources.remove(&name) {
                source.close();
            }
        }
    }

    /// Those of a log's readers that join it while others read it, and where each of them goes on.
    fn joining(&self, source: &SourceRun, readers: &[usize]) -> Vec<(Arc<Actor>, (u64, u64))> {
        let jails = readers.iter().filter_map(|i| self.jails.get(*i));
        let new = jails.filter(|jail| self.gains(jail, &source.name));
        new.filter_map(|jail| match self.place(&jail.staged.spec.name, &source.name)? {
            (key, Position::Offset(at)) => Some((Arc::clone(&jail.actor), (key.generation, at))),
            (_, Position::Cursor { .. }) => None,
        })
        .collect()
    }

    /// Jails that run and get a log (back): each goes on where it stopped, if it has ever read that log.
    /// Returns those that have; what they know of the logs is in `left` until the logs are open.
    fn found_again(&mut self) -> Vec<JailName> {
        let gains = |jail: &&Running| {
            // What a jail that starts goes on with is known.
            !self.left.contains_key(&jail.staged.spec.name) && jail.reads.iter().any(|name| self.gains(jail, name))
        };
        let gaining: Vec<&Running> = self.jails.iter().filter(gains).collect();
        let known = |marks: &HashMap<JailName, Vec<Watermark>>, jail: &Running| {
            let marks = marks.get(&jail.staged.spec.name).into_iter().flatten();
            let reads = |mark: &&Watermark| jail.reads.contains(&mark.source.path);
            let of_these = marks.filter(reads).filter(|mark| self.gains(jail, &mark.source.path));
            of_these.map(|mark| (mark.source.clone(), mark.to.clone())).collect::<Vec<_>>()
        };
        if gaining.is_empty() {
            return Vec::new();
        }
        let Some(marks) = self.places() else { return Vec::new() };
        let again: Vec<&Running> = gaining.into_iter().filter(|jail| !known(&marks, jail).is_empty()).collect();
        if again.is_empty() {
            return Vec::new();
        }
        // What was read just before the log was taken away is on its way to the judge.
        let actors = again.iter().map(|jail| &jail.actor);
        let marks = actor::settled(actors, &self.reach.log).or_else(|| self.places()).unwrap_or(marks);
        let mut found = Vec::new();
        for jail in again {
            let decided = known(&marks, jail);
            for (source, decided) in &decided {
                // Where another jail makes the log be read from further up.
                let (source, decided) = (source.clone(), decided.clone());
                jail.actor.replay(Past { source, counted: decided.clone(), decided });
            }
            found.push((jail.staged.spec.name.clone(), Left { decided, ..Left::default() }));
        }
        let names = found.iter().map(|(name, _)| name.clone()).collect();
        self.left.extend(found);
        names
    }

    /// Up to where each jail has decided about each log; `None` if the judge has gone.
    fn places(&self) -> Option<HashMap<JailName, Vec<Watermark>>> {
        let (sender, places) = channel();
        self.judge.control(JudgeControl::Places(sender));
        places.recv().ok()
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

    /// How lines end in a log, as the `logencoding` of its jails says. A file has one encoding: where they
    /// differ, one byte is a character (DIVERGENCE (one-encoding-a-file): the original reads it once for each jail).
    fn line_end(&self, name: &str, readers: &[usize]) -> LineEnd {
        let jails: Vec<&Running> = readers.iter().filter_map(|i| self.jails.get(*i)).collect();
        let end = |jail: &Running| jail.staged.filter.line_end();
        let Some(first) = jails.first().map(|jail| end(jail)) else { return LineEnd::Byte };
        if jails.iter().all(|jail| end(jail) == first) {
            return first;
        }
        for jail in jails.iter().filter(|jail| end(jail) != LineEnd::Byte) {
            let encoding = jail.staged.filter_spec.encoding;
            self.reach.log.error(format!(
                "jail '{}' sees nothing in {name}: its logencoding is {encoding}, that of other jails on this file is \
                 not; give all of them the file's encoding",
                jail.staged.spec.name
            ));
        }
        LineEnd::Byte
    }

    /// Opens a source where its readers left off.
    fn open(
        &mut self,
        name: &Arc<str>,
        readers: &[usize],
        line_end: LineEnd,
    ) -> Result<Reader, stockade_source::Error> {
        let jails: Vec<&Running> = readers.iter().filter_map(|i| self.jails.get(*i)).collect();
        let journal = jails.iter().find_map(|jail| match &jail.staged.sources {
            Sources::Journal(options) => Some(options.clone()),
            _ => None,
        });
        let findtime = jails.iter().map(|jail| jail.staged.spec.findtime).max().unwrap_or_default();
        let since = super::now() - findtime;
        let places = jails.iter().map(|jail| self.place(&jail.staged.spec.name, name)).collect::<Vec<_>>();
        if let Some(options) = journal {
            let start = journal_start(&places, since);
            let decided = |at: f64| Position::Cursor { cursor: "".into(), at: Timestamp::from_secs_f64(at) };
            for (jail, at) in jails.iter().filter_map(|jail| Some((jail, self.theirs(jail, THEIR_JOURNAL)?.2))) {
                let source = SourceKey { path: Arc::clone(name), generation: 0 };
                let counted = decided(0.0);
                jail.actor.replay(Past { source, counted, decided: decided(at + THEIR_JOURNAL_STEP) });
            }
            return Journal::open(*options, start).map(|journal| Reader::Journal(Box::new(journal)));
        }
        let tail = jails.iter().all(|jail| match &jail.staged.sources {
            Sources::Files { paths, patterns } => {
                let path = Path::new(&**name);
                paths.iter().any(|(p, tail)| *tail && p == path)
                    || patterns.iter().any(|(glob, tail)| *tail && glob.matches(path))
            }
            _ => false,
        });
        let theirs = jails.iter().find_map(|jail| self.theirs(jail, name));
        let start = file_start(&places, theirs, tail);
        let mut fresh = start == Start::Head;
        let open = |start| FileReader::with_line_end(&**name, start, FileBounds::default(), line_end);
        let mut file = open(start);
        if theirs.is_some() && file.offset() > 0 {
            // What it had counted is known to nobody: the lines before its place are counted again, silently.
            let (source, decided) = (file.key(), file.offset());
            for jail in &jails {
                let own = self.theirs(jail, name).map_or(decided, |(_, _, place)| whole(*place).min(decided));
                let (counted, decided) = (Position::Offset(0), Position::Offset(own));
                jail.actor.replay(Past { source: source.clone(), counted, decided });
            }
            file = open(Start::Head);
            fresh = true;
        }
        if let Some(jail) = jails.first().filter(|_| fresh && file.lag_bytes() > SEEK_FROM_BYTES) {
            // A guess at the place; what is too old is left out line by line.
            let mut matcher = Matcher::new(jail.staged.spec.name.clone(), Arc::clone(&jail.staged.filter), self.epoch);
            let date = |line: &[u8]| {
                let text = jail.staged.filter.decode(line);
                matcher.line(super::now(), text.trim_end(), None, false, LineMode::SCAN).date?.time
            };
            if let Err(e) = file.seek_time(since, date) {
                self.reach.log.warning(format!("{name}: {e}; reading from its beginning"));
            }
        }
        Ok(Reader::File(Box::new(file)))
    }

    /// Where the original stood in that log, for that jail.
    fn theirs(&self, jail: &Running, path: &str) -> Option<&(String, String, f64)> {
        self.left.get(&jail.staged.spec.name)?.theirs.iter().find(|(theirs, ..)| theirs == path)
    }

    /// Where a jail goes on with a source: behind what its saved counts know.
    fn place(&self, jail: &JailName, name: &str) -> Option<(SourceKey, Position)> {
        let left = self.left.get(jail)?;
        let decided = left.decided.iter().rfind(|(source, _)| &*source.path == name)?;
        let saved = left.saved.iter().flat_map(|saved| &saved.places).find(|(source, _)| *source == decided.0);
        Some(saved.unwrap_or(decided).clone())
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

/// Where the journal is begun: at the earliest place of all readers, but not
/// before the oldest entry that may count.
fn journal_start(places: &[Option<(SourceKey, Position)>], since: Timestamp) -> JournalStart {
    let cursors: Option<Vec<(&Arc<str>, Timestamp)>> = places
        .iter()
        .map(|place| match place {
            Some((_, Position::Cursor { cursor, at })) => Some((cursor, *at)),
            _ => None,
        })
        .collect();
    match cursors.and_then(|all| all.into_iter().min_by_key(|(_, at)| *at)) {
        Some((cursor, at)) => JournalStart::After { cursor: Arc::clone(cursor), at, not_before: Some(since) },
        None => JournalStart::Since(since),
    }
}

/// Where a file is begun: at the earliest place of all readers.
fn file_start(places: &[Option<(SourceKey, Position)>], theirs: Option<&(String, String, f64)>, tail: bool) -> Start {
    let offsets: Option<Vec<(u64, u64)>> = places
        .iter()
        .map(|place| match place {
            Some((source, Position::Offset(offset))) => Some((source.generation, *offset)),
            _ => None,
        })
        .collect();
    let earliest = offsets.and_then(|all| {
        let generation = all.first()?.0;
        let same = all.iter().all(|(g, _)| *g == generation);
        same.then(|| all.iter().map(|(_, offset)| *offset).min()).flatten().map(|offset| (generation, offset))
    });
    match (earliest, theirs) {
        (_, Some((_, hash, place))) => Start::ResumeLegacy { first_line_hash: hash.clone(), offset: whole(*place) },
        (Some((generation, offset)), None) => Start::Resume { generation, offset },
        (None, None) if tail => Start::Tail,
        (None, None) => Start::Head,
    }
}

/// A place that the original noted, as a byte offset.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates; a byte offset")]
fn whole(place: f64) -> u64 {
    place as u64
}

/// Files that match a pattern now.
fn present(glob: &Glob) -> Vec<PathBuf> {
    glob.expand()
}
