//! The thread that keeps the jails' plain lists: it writes whom each jail bans,
//! at most once a second, and sees to it that who stands in a `.keep` file is
//! banned for good.
//!
//! The judge only raises a flag; the thread looks at the bans page by page and
//! writes beside the list's place. So a list delays no ban, however large it is
//! and however slow its disk.

mod jail;
mod kept;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use stockade_core::judge::{Command, JailSpec, Judge, Outcome};
use stockade_core::{DecisionKind, JailName, Net, Timestamp, Turn};
use stockade_source::{Mode, Waker, Watcher};
use stockade_store::Snapshot;

use self::jail::Jail;
use super::guard::GuardHandle;
use super::judge::{JudgeControl, JudgeInbox};
use super::store::{StoreHandle, StoreJob};
use crate::blacklist::Lists;
use crate::log::{Level, Log};

/// Snapshots of what was kept begin so; the jail's name follows.
const SNAPSHOT: &str = "blacklist/";

/// Snapshots of what was written into the lists begin so; the jail's name follows.
const WRITTEN: &str = "blacklist written/";

/// The logger's name.
const LOGGER: &str = "stockade.blacklist";

/// One jail's lists, as its options say.
#[derive(Clone, Debug)]
pub(crate) struct ListSpec {
    /// Where they are, or why that is of no use.
    pub(crate) lists: Result<Lists, String>,
    /// Whom it doesn't ban, among others.
    pub(crate) jail: JailSpec,
}

/// How a jail's lists stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListView {
    /// Where they are.
    pub(crate) lists: Option<Lists>,
    /// Number of bans in the list.
    pub(crate) bans: usize,
    /// When it was last written.
    pub(crate) written: Option<Timestamp>,
    /// Who is banned for good, with the line in the `.keep` file.
    pub(crate) kept: Arc<BTreeMap<Net, u32>>,
    /// What the operator should know.
    pub(crate) complaints: Vec<String>,
}

impl ListView {
    /// The place that says that `net` is banned for good.
    pub(crate) fn keeps(&self, net: Net) -> Option<String> {
        let (lists, line) = (self.lists.as_ref()?, self.kept.get(&net)?);
        Some(format!("{}:{line}", lists.keep.display()))
    }
}

/// Flags that the judge raises.
#[derive(Debug, Default)]
struct Flags {
    /// The bans are others than in the list.
    dirty: AtomicBool,
    /// Somebody's ban was lifted, perhaps one that is to be kept.
    lifted: AtomicBool,
}

#[derive(Default)]
struct Shared {
    /// Are there any lists?
    any: AtomicBool,
    closing: AtomicBool,
    flags: Mutex<HashMap<JailName, Arc<Flags>>>,
    views: Mutex<BTreeMap<JailName, ListView>>,
    /// Whom the thread has banned for good, also in an earlier process.
    applied: Mutex<Kept>,
    /// Who was lifted although a list keeps him, by jail.
    let_go: Mutex<BTreeMap<JailName, LetGo>>,
}

impl Shared {
    fn applied(&self) -> MutexGuard<'_, Kept> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn let_go(&self) -> MutexGuard<'_, BTreeMap<JailName, LetGo>> {
        self.let_go.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn views(&self) -> MutexGuard<'_, BTreeMap<JailName, ListView>> {
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is kept no more, until the list changes or the tree is read again.
#[derive(Clone, Debug, Default)]
struct LetGo {
    all: bool,
    nets: BTreeSet<Net>,
}

impl LetGo {
    fn covers(&self, net: Net) -> bool {
        self.all || self.nets.iter().any(|wide| wide.contains(net))
    }
}

/// How many a jail's list keeps of those who were asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeptBy {
    /// The jail.
    pub(crate) jail: JailName,
    /// Its `.keep` file.
    pub(crate) file: PathBuf,
    /// Their number; at least 1.
    pub(crate) number: usize,
}

enum Job {
    /// These lists, in these jails that run.
    Set(Vec<ListSpec>, Vec<JailName>),
    Close(Sender<()>),
}

/// The way to the thread.
#[derive(Clone)]
pub(crate) struct BlacklistHandle {
    shared: Arc<Shared>,
    jobs: Sender<Job>,
    waker: Waker,
}

/// Whom the thread needs.
pub(crate) struct Around {
    pub(crate) judge: Arc<JudgeInbox>,
    pub(crate) store: StoreHandle,
    pub(crate) guard: GuardHandle,
    pub(crate) log: Log,
    /// Is anything kept for the next process? If not, nobody knows then what this one has written.
    pub(crate) saves: bool,
}

impl BlacklistHandle {
    /// Starts the thread; `left` are the snapshots of an earlier process.
    pub(crate) fn start(around: Around, left: &[Snapshot]) -> io::Result<BlacklistHandle> {
        let watcher = Watcher::new(Mode::default()).map_err(io::Error::other)?;
        let (jobs, receiver) = channel();
        let handle = BlacklistHandle { shared: Arc::default(), jobs, waker: watcher.waker() };
        let mut thread = Thread {
            around,
            shared: Arc::clone(&handle.shared),
            jobs: receiver,
            watcher,
            jails: BTreeMap::new(),
            refused: Vec::new(),
            written: written_before(left),
        };
        *handle.shared.applied() = kept_before(left);
        std::thread::Builder::new().name("blacklists".into()).spawn(move || while thread.round() {})?;
        Ok(handle)
    }

    /// Puts other lists in the place of all. In `running` jails without lists
    /// nobody is kept any more. Where the tree was `read_again` who was let go
    /// is kept again.
    pub(crate) fn set(&self, lists: Vec<ListSpec>, running: Vec<JailName>, read_again: bool) {
        // Here, not when the thread gets to it: who is let go after this is meant to stay so.
        if read_again {
            self.shared.let_go().clear();
        }
        drop(self.jobs.send(Job::Set(lists, running)));
        self.waker.wake();
    }

    /// From here on these networks and all within them (`None`: all) are not
    /// kept, in one jail or in all, until its list changes or the tree is read
    /// again. Who is banned is not unbanned by that.
    pub(crate) fn let_go(&self, jail: Option<&JailName>, nets: Option<&[Net]>) {
        let flags = self.shared.flags.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = self.shared.let_go();
        for (name, flags) in flags.iter().filter(|(name, _)| jail.is_none_or(|jail| jail == *name)) {
            let let_go = all.entry(name.clone()).or_default();
            match nets {
                None => let_go.all = true,
                Some(nets) => let_go.nets.extend(nets),
            }
            flags.lifted.store(true, Ordering::Release);
        }
        drop((flags, all));
        self.waker.wake();
    }

    /// How many the lists keep, in one jail or in all.
    pub(crate) fn kept(&self, jail: Option<&JailName>) -> Vec<KeptBy> {
        let views = self.shared.views();
        let views = views.iter().filter(|(name, view)| jail.is_none_or(|jail| jail == *name) && !view.kept.is_empty());
        let kept = views.filter_map(|(name, view)| {
            let file = view.lists.as_ref()?.keep.clone();
            Some(KeptBy { jail: name.clone(), file, number: view.kept.len() })
        });
        kept.collect()
    }

    /// Whom the lists of these jails have had banned for good.
    pub(crate) fn applied(&self, jails: impl Fn(&JailName) -> bool) -> Kept {
        let applied = self.shared.applied();
        applied.iter().filter(|(name, _)| jails(name)).map(|(name, nets)| (name.clone(), nets.clone())).collect()
    }

    /// Decisions were made. Never waits.
    pub(crate) fn turn(&self, turn: &Turn) {
        if !self.shared.any.load(Ordering::Relaxed) {
            return;
        }
        let all = self.shared.flags.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wake = false;
        for decision in &turn.decisions {
            let Some(flags) = all.get(&decision.jail) else { continue };
            if decision.kind == DecisionKind::Lift {
                flags.lifted.store(true, Ordering::Release);
            }
            let moves = !matches!(decision.kind, DecisionKind::Withhold | DecisionKind::Prolong);
            wake |= moves && !flags.dirty.swap(true, Ordering::AcqRel);
        }
        drop(all);
        if wake {
            self.waker.wake();
        }
    }

    /// How a jail's lists stand.
    pub(crate) fn view(&self, jail: &JailName) -> Option<ListView> {
        self.shared.views().get(jail).cloned()
    }

    /// What the operator should know, with the jail's name in front.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let views = self.shared.views();
        views.iter().flat_map(|(jail, view)| view.complaints.iter().map(move |c| format!("[{jail}] {c}"))).collect()
    }

    /// Jails that keep `net`, with the place that says so.
    pub(crate) fn keepers(&self, net: Net) -> Vec<(JailName, String)> {
        let views = self.shared.views();
        views.iter().filter_map(|(jail, view)| Some((jail.clone(), view.keeps(net)?))).collect()
    }

    /// Writes what is left to be written, and ends the thread.
    pub(crate) fn close(&self) {
        let (sender, receiver) = channel();
        self.shared.closing.store(true, Ordering::Release);
        drop(self.jobs.send(Job::Close(sender)));
        self.waker.wake();
        receiver.recv().unwrap_or_default();
    }
}

/// Who is banned for good by the operator's own lists, by jail.
pub(crate) type Kept = BTreeMap<JailName, BTreeSet<Net>>;

/// Whom an earlier process has banned for good. Their stored bans stay so,
/// however short the jail's own bans are.
pub(super) fn kept_before(left: &[Snapshot]) -> Kept {
    let of_jail = |saved: &Snapshot| {
        let jail = saved.name.strip_prefix(SNAPSHOT)?;
        Some((JailName::new(jail), kept::decode(&saved.data)))
    };
    left.iter().filter_map(of_jail).collect()
}

/// By what the lists are known that an earlier process has written.
fn written_before(left: &[Snapshot]) -> BTreeMap<JailName, Vec<u64>> {
    let of_jail = |saved: &Snapshot| {
        let jail = saved.name.strip_prefix(WRITTEN)?;
        let marks = String::from_utf8_lossy(&saved.data).lines().filter_map(|line| line.parse().ok()).collect();
        Some((JailName::new(jail), marks))
    };
    left.iter().filter_map(of_jail).collect()
}

struct Thread {
    around: Around,
    shared: Arc<Shared>,
    jobs: Receiver<Job>,
    watcher: Watcher,
    jails: BTreeMap<JailName, Jail>,
    /// Options that are of no use, by jail.
    refused: Vec<(JailName, String)>,
    /// What an earlier process has written into the lists.
    written: BTreeMap<JailName, Vec<u64>>,
}

impl Thread {
    /// Waits for something to do and does it; `false` at the end.
    fn round(&mut self) -> bool {
        let now = Instant::now();
        let due = self.jails.values().filter_map(Jail::due).min();
        let ready = match self.watcher.wait(due.map(|at| at.saturating_duration_since(now))) {
            Ok(ready) => ready,
            Err(e) => {
                self.say(Level::Error, format!("lists can't be watched, and are not kept any more: {e}"));
                return false;
            }
        };
        // What else the watcher noticed is of files that may be missing.
        drop(self.watcher.take_notes());
        let jobs: Vec<Job> = self.jobs.try_iter().collect();
        let mut close = None;
        for job in jobs {
            match job {
                Job::Set(lists, running) => self.set(lists, &running),
                Job::Close(done) => close = Some(done),
            }
        }
        let now = Instant::now();
        for jail in self.jails.values_mut().filter(|jail| ready.contains(&jail.watch)) {
            jail.keep_changed(now);
        }
        let names: Vec<JailName> = self.jails.keys().cloned().collect();
        for name in names {
            self.visit(&name, close.is_some());
        }
        match close {
            None => true,
            Some(done) => {
                done.send(()).unwrap_or_default();
                false
            }
        }
    }

    /// Does what is due in one jail.
    fn visit(&mut self, name: &JailName, closing: bool) {
        let Some(mut jail) = self.jails.remove(name) else { return };
        let now = Instant::now();
        if !closing && jail.read_keep(now) {
            if std::mem::take(&mut jail.is_another) {
                self.shared.let_go().remove(name);
            }
            self.keep(&mut jail, now);
        }
        if jail.flags.dirty.load(Ordering::Acquire) && (closing || jail.may_write(now)) {
            jail.flags.dirty.store(false, Ordering::Release);
            if let Some(lines) = self.lines(name) {
                if let Some(ours) = jail.will_be_ours(&lines) {
                    let data: String = ours.iter().map(|mark| format!("{mark}\n")).collect();
                    let snapshot = Snapshot { name: format!("{WRITTEN}{name}").into(), data: data.into_bytes().into() };
                    self.around.store.send(StoreJob::Snapshots(vec![snapshot]));
                    // A crash between the two must not leave a list that nobody knows.
                    self.around.store.sync();
                }
                jail.write(&lines, self.around.saves, now);
            }
        }
        self.tell(&mut jail);
        self.jails.insert(name.clone(), jail);
    }

    fn set(&mut self, specs: Vec<ListSpec>, running: &[JailName]) {
        let mut old = std::mem::take(&mut self.jails);
        self.refused.clear();
        let now = Instant::now();
        for spec in specs {
            let name = spec.jail.name.clone();
            let lists = match spec.lists {
                Ok(lists) => lists,
                Err(why) => {
                    self.refused.push((name, why));
                    continue;
                }
            };
            if let Some((other, theirs)) = self.jails.iter().find(|(_, jail)| jail.lists.touch(&lists)) {
                let (path, theirs) = (lists.list.display(), theirs.lists.list.display());
                let why = format!(
                    "blacklist = {path} is, or has beside it, a file of the list {theirs} of jail '{other}'; \
                     write <name> in it, the jail's name"
                );
                self.refused.push((name, why));
                continue;
            }
            let jail = match old.remove(&name) {
                Some(mut jail) if jail.lists == lists => {
                    jail.spec = spec.jail;
                    jail.keep_changed(now);
                    jail
                }
                other => {
                    if let Some(other) = other {
                        self.watcher.remove(other.watch);
                        self.written.insert(name.clone(), other.ours);
                    }
                    let watch = self.watcher.add_file(&lists.keep);
                    let ours = self.written.remove(&name).unwrap_or_default();
                    Jail::new(spec.jail, lists, ours, watch, now)
                }
            };
            self.jails.insert(name, jail);
        }
        for (name, gone) in old {
            self.watcher.remove(gone.watch);
            self.written.insert(name, gone.ours);
        }
        for (jail, why) in &self.refused {
            self.say(Level::Warning, format!("[{jail}] {why}"));
        }
        let flags = self.jails.iter().map(|(name, jail)| (name.clone(), Arc::clone(&jail.flags)));
        *self.shared.flags.lock().unwrap_or_else(PoisonError::into_inner) = flags.collect();
        self.shared.any.store(!self.jails.is_empty(), Ordering::Relaxed);
        let lists = |jail: &Jail| ListView { lists: Some(jail.lists.clone()), ..ListView::default() };
        let mut views: BTreeMap<JailName, ListView> =
            self.jails.iter().map(|(name, jail)| (name.clone(), lists(jail))).collect();
        for (jail, why) in &self.refused {
            views.insert(jail.clone(), ListView { complaints: vec![why.clone()], ..ListView::default() });
        }
        *self.shared.views() = views;
        // Who was kept by a list that is none any more.
        let listed = |name: &JailName| self.jails.contains_key(name) || self.refused.iter().any(|(n, _)| n == name);
        let applied = self.shared.applied().keys().cloned().collect::<Vec<_>>();
        let over: Vec<JailName> = applied.into_iter().filter(|name| running.contains(name) && !listed(name)).collect();
        for name in over {
            self.keep_no_more(&name);
        }
    }

    /// Lets others see how a jail's lists stand, and logs what is new.
    fn tell(&mut self, jail: &mut Jail) {
        let view = jail.view();
        for complaint in &view.complaints {
            if !jail.told.contains(complaint) {
                self.say(Level::Warning, format!("[{}] {complaint}", jail.spec.name));
            }
        }
        jail.told.clone_from(&view.complaints);
        let mut views = self.shared.views();
        views.insert(jail.spec.name.clone(), view);
    }

    fn say(&self, level: Level, text: String) {
        self.around.log.line(level, LOGGER, text);
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::Acquire)
    }

    /// Looks at the judge between two of its steps; `None` once it has gone.
    fn look<T: Send + 'static>(&self, look: impl FnOnce(&Judge) -> T + Send + 'static) -> Option<T> {
        let (sender, receiver) = channel();
        let look = move |judge: &Judge, _| drop(sender.send(look(judge)));
        self.around.judge.control(JudgeControl::Look(Box::new(look)));
        receiver.recv().ok()
    }

    /// Runs a command and waits for what came of it; `None` once the judge has gone.
    fn command(&self, command: Command) -> Option<Outcome> {
        self.send(command).recv().ok()
    }

    /// Sends a command to the judge; never waits.
    fn send(&self, command: Command) -> Receiver<Outcome> {
        let (sender, receiver) = channel();
        let reply = Box::new(move |outcome| drop(sender.send(outcome)));
        self.around.judge.control(JudgeControl::Command(command, reply));
        receiver
    }

    /// Everybody whom a jail bans, as lines, sorted by their bytes; `None` once the judge has gone.
    fn lines(&self, jail: &JailName) -> Option<Vec<String>> {
        let (mut lines, mut from) = (Vec::new(), Some(0));
        while let Some(start) = from {
            let name = jail.clone();
            let (page, next) = self.look(move |judge| judge.ban_lines(&name, start, jail::PAGE))?;
            lines.extend(page.into_iter().map(|ban| {
                let mut line = String::new();
                stockade_core::text::push_escaped(&mut line, &ban.id.to_string());
                line
            }));
            from = next;
        }
        lines.sort_unstable();
        // What moved between two pages is in both.
        lines.dedup();
        Some(lines)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use stockade_core::Span;
    use stockade_store::{Options, Store};

    use super::*;
    use crate::daemon::judge::inbox;
    use crate::log::Aim;

    #[test]
    fn who_is_let_go_after_a_reload_stays_so_though_the_thread_comes_to_it_later() {
        let folder = std::env::temp_dir().join(format!("stockade-let-go-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let aim = Aim::parse(&folder.join("own.log").to_string_lossy(), "auto").unwrap();
        let log = Log::start(&aim, Level::Info, false).unwrap();
        let judge = inbox();
        let store = Store::open(Path::new(":memory:"), &Options::default()).unwrap().0;
        let store = StoreHandle::start(store, Arc::clone(&judge), log.clone()).unwrap();
        let guard = GuardHandle::new(Arc::clone(&judge), Span::from_secs(60));
        let watcher = Watcher::new(Mode::default()).unwrap();
        let (sender, jobs) = channel();
        let handle = BlacklistHandle { shared: Arc::default(), jobs: sender, waker: watcher.waker() };
        let mut thread = Thread {
            around: Around { judge, store, guard, log, saves: true },
            shared: Arc::clone(&handle.shared),
            jobs,
            watcher,
            jails: BTreeMap::new(),
            refused: Vec::new(),
            written: BTreeMap::new(),
        };
        let jail = JailName::new("web");
        handle.shared.flags.lock().unwrap().insert(jail.clone(), Arc::default());
        let nets = ["192.0.2.1", "192.0.2.2"].map(|text| stockade_core::FailureId::parse(text).net().unwrap());
        let is_let_go = |net| handle.shared.let_go().get(&jail).is_some_and(|let_go| let_go.covers(net));
        handle.let_go(None, Some(&nets[..1]));
        handle.set(Vec::new(), Vec::new(), true);
        handle.let_go(None, Some(&nets[1..]));
        assert!(thread.round());
        assert_eq!(nets.map(is_let_go), [false, true]);
        std::fs::remove_dir_all(folder).unwrap();
    }
}
