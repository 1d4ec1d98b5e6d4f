//! Start and stop, in the order that leaves no moment unprotected.
//!
//! Start: tree, lock, database, kernel (what an earlier process left stays in
//! force), stored bans, then the logs. Stop: reading ends, what was read is
//! judged, the judge's last word is saved, the database is folded up, and the
//! kernel keeps the bans or lets them go.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use stockade_core::judge::{Command, Judge};
use stockade_core::matcher::Calendar;
use stockade_core::{JailName, Net, Position, Seq, SourceKey};
use stockade_enforce::runner::{NewsReader, Runner};
use stockade_enforce::{Kernel, Means, Services};
use stockade_source::{Mode, Watcher};
use stockade_store::{Note, Recovery, Store};
use stockade_wire::pickle::Exception;

use super::actions::ActionsHandle;
use super::asker::Asker;
use super::blacklists::{self, BlacklistHandle};
use super::board::Board;
use super::door::First;
use super::flow::Reach;
use super::guard::GuardHandle;
use super::ignore_files::IgnoreFiles;
use super::judge::{Hands, JudgeControl, JudgeInbox, JudgeThread};
use super::kernel::KernelHandle;
use super::launch::{Ended, Launch};
use super::notify::notify;
use super::operator::{Left, Operator};
use super::poison::Poison;
use super::pool::Pool;
use super::restore;
use super::room::Room;
use super::server_options;
use super::snapshot;
use super::stage::Ground;
use super::store::{StoreHandle, Wanted};
use super::watch::WatchHandle;
use crate::cli::RUNNER_WORD;
use crate::control::answers::Answers;
use crate::control::desk::{BANS_AT_ONCE, End, FrontDesk, LastWord};
use crate::control::fail2ban::Bans;
use crate::log::{Aim, Level, Log, Target};
use crate::places::{LoadedTree, Places, Tree};
use crate::settings::Settings;

/// How long a start waits at most until the kernel has all stored bans; it goes on taking them after that.
const IN_FORCE_MAX: Duration = Duration::from_secs(10);

/// What makes the main thread go on.
pub(super) enum Wake {
    End(End, LastWord),
    Signal(i32),
    /// An empty server is told what to run.
    First(First),
}

/// What a daemon runs: a tree that was read, or commands that were sent.
pub(super) struct Content {
    loaded: LoadedTree,
    calendar: Arc<Calendar>,
    settings: Settings,
    /// Jails that could not even be set up.
    broken: Vec<(String, String)>,
    /// Refuse everything because of one jail that can't run?
    strict: bool,
}

impl Content {
    /// What the tree says.
    pub(super) fn of_tree(tree: &Tree) -> Result<Content> {
        let calendar = crate::places::here();
        let loaded = tree.load_with(&calendar)?;
        let (settings, broken) = Settings::default()
            .staged_as_far_as_possible(&loaded.stream)
            .map_err(|e| anyhow!("the configuration can't be used: {e}"))?;
        Ok(Content { loaded, calendar, settings, broken, strict: false })
    }

    /// What was sent, with our own options of the tree laid over it.
    pub(super) fn of_stream(stream: Vec<stockade_wire::Command>, tree: &Tree) -> Result<Content, Exception> {
        let loaded = tree.overlaid(stream);
        let settings = Settings::default().staged(&loaded.stream).map_err(|refusal| refusal.exception)?;
        let strict = settings.server_text("stockade.strict").is_none_or(|text| crate::settings::boolean(&text));
        Ok(Content { loaded, calendar: crate::places::here(), settings, broken: Vec::new(), strict })
    }

    /// Puts the places right that only the commands tell.
    pub(super) fn correct(&self, places: &mut Places, launch: &Launch) {
        if launch.shadow {
            return;
        }
        if let Some(target) = self.settings.server_text("logtarget").filter(|_| rustix::process::geteuid().is_root()) {
            places.logtarget = target;
        }
        if launch.empty {
            let database = self.settings.server_text("dbfile").filter(|file| !Places::is_memory(file));
            places.database = database.map(Into::into);
        }
    }
}

/// Becomes a new process of the same program; returns only if that fails.
#[expect(clippy::disallowed_methods, reason = "starts this very program anew, with the words it was started with")]
pub(super) fn again() -> std::io::Error {
    let program = own_program();
    let mut words = std::env::args_os();
    let name = words.next().unwrap_or_default();
    // Who came up empty would do so again, with nobody there to send the commands.
    std::process::Command::new(program).arg0(name).args(words.filter(|word| word != "--async")).exec()
}

/// Where this program lies. After an upgrade another file lies in that place, and that is the one to start.
fn own_program() -> PathBuf {
    let running = PathBuf::from("/proc/self/exe");
    let Ok(place) = std::env::current_exe() else { return running };
    let named = place.to_str().and_then(|place| place.strip_suffix(" (deleted)"));
    let place = named.map_or_else(|| place.clone(), PathBuf::from);
    if place.exists() { place } else { running }
}

/// Why the socket's place can't be taken.
pub(super) fn in_the_way(places: &Places, tree: &Tree, error: &std::io::Error) -> anyhow::Error {
    let socket = places.socket.display();
    if error.kind() != std::io::ErrorKind::AddrInUse {
        return anyhow!("the control socket {socket} can't be made: {error}");
    }
    if tree.is_foreign() {
        return anyhow!(
            "somebody answers at {socket}: another guard (fail2ban?) is using {}; stop it first, \
             or watch beside it with `stockade run --shadow -c {}`",
            tree.folder.display(),
            tree.folder.display()
        );
    }
    anyhow!("a daemon is running already and answers at {socket}; see `stockade status`, or `stockade restart`")
}

pub(super) fn open_log(places: &Places, launch: &Launch) -> Result<Log> {
    let level = match launch.verbosity {
        0 => Level::parse(&places.loglevel).unwrap_or(Level::Info),
        1 => Level::Debug,
        _ => Level::Heavydebug,
    };
    let (aim, mut fault) = match Aim::parse(&places.logtarget, &places.syslogsocket) {
        // They lead nowhere there; until it is ready somebody else reads them.
        Ok(aim) if launch.detached && matches!(aim.target, Target::Stderr | Target::Stdout | Target::Sysout) => {
            let mut aim = aim;
            aim.target = Target::File("/dev/null".into());
            (aim, String::new())
        }
        Ok(aim) => (aim, String::new()),
        Err(why) => (Aim::stderr(), why),
    };
    let mirror =
        std::io::stderr().is_terminal() && !matches!(aim.target, Target::Stderr | Target::Stdout | Target::Sysout);
    // Without a log the machine is still protected.
    let log = Log::start(&aim, level, mirror).or_else(|e| {
        fault = e.to_string();
        Log::start(&Aim::stderr(), level, false)
    })?;
    if !fault.is_empty() {
        log.error(format!("the log {} can't be written: {fault}; writing to standard error instead", places.logtarget));
    }
    Ok(log)
}

/// Makes a folder, and refuses one in which somebody else could put things.
fn own_folder(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("the folder {} can't be made; is this user allowed to?", folder.display()))?;
    let meta = std::fs::symlink_metadata(folder)?;
    let (us, root) = (rustix::process::geteuid().as_raw(), 0);
    let others_may_write = meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0;
    let meant = meta.is_symlink() && meta.uid() == root;
    if (!meta.is_dir() && !meant) || (meta.uid() != us && meta.uid() != root) || others_may_write {
        bail!(
            "the folder {} belongs to somebody else, or others may write in it; remove it, or choose another \
             with `pidfile` and `socket` in fail2ban.local",
            folder.display()
        );
    }
    Ok(())
}

/// The file that says who runs, locked while we do.
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Lock> {
        if let Some(folder) = path.parent() {
            own_folder(folder)?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o644);
        options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits().cast_signed());
        loop {
            let file =
                options.open(path).with_context(|| format!("the pid file {} can't be written", path.display()))?;
            if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
                bail!(
                    "a daemon is running already: it holds {}; see `stockade status`, or `stockade restart`",
                    path.display()
                );
            }
            // Another daemon may have removed the file between opening and locking.
            let locked = file.metadata()?;
            let stands = std::fs::symlink_metadata(path);
            if stands.is_ok_and(|now| (now.dev(), now.ino()) == (locked.dev(), locked.ino())) {
                return Ok(Lock { file, path: path.to_owned() });
            }
        }
    }

    pub(super) fn write_pid(&self) -> Result<()> {
        self.file.set_len(0)?;
        writeln!(&self.file, "{}", std::process::id())?;
        Ok(())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.path));
    }
}

/// What a start begins with.
pub(super) struct Start<'a> {
    pub(super) launch: &'a Launch,
    pub(super) tree: Tree,
    pub(super) places: Places,
    pub(super) content: Content,
    pub(super) log: Log,
    /// Who runs commands; nobody in a dry run.
    pub(super) runner: Option<(Runner, NewsReader)>,
}

/// The daemon, running.
pub(super) struct Daemon {
    operator: Room<Operator>,
    judge_thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    stopping: Arc<AtomicBool>,
}

impl Daemon {
    /// Starts everything but the socket, for which there is the desk.
    pub(super) fn start(start: Start<'_>, main: &Sender<Wake>) -> Result<(Daemon, FrontDesk)> {
        let Start { launch, tree, places, content, log, runner } = start;
        let Content { loaded, calendar, mut settings, mut broken, strict } = content;
        let dry_run = launch.dry_run;
        let started = super::now();
        let pinned = server_options::settle(&mut settings, &places);
        if let Err(why) = server_options::let_readers_in(&settings) {
            log.error(why);
        }
        log.info("-".repeat(50));
        log.info(format!("Starting stockade v{}", env!("CARGO_PKG_VERSION")));
        if dry_run {
            log.warning(dry_words(launch));
        }
        let (store, recovery) = open_store(&places, &settings, &log)?;
        let kernel = open_kernel(dry_run)?;
        let judge_inbox = super::judge::inbox();
        let store = StoreHandle::start(store, Arc::clone(&judge_inbox), log.clone())?;
        let kernel = KernelHandle::start(kernel, Arc::clone(&judge_inbox), log.clone())?;
        let last = Seq(recovery.next.0.saturating_sub(1));
        let actions = start_actions(runner, &places, (&judge_inbox, last), &log)?;
        actions.set_max_matches(server_options::max_matches(&settings));
        let asker = Asker::start(Arc::clone(&judge_inbox), actions.clone())?;
        asker.allow_ipv6(server_options::ipv6(&settings));
        log.set_found_most(server_options::found_most(&settings));
        let guard = GuardHandle::new(Arc::clone(&judge_inbox), server_options::purge_age(&settings));
        let around = blacklists::Around {
            judge: Arc::clone(&judge_inbox),
            store: store.clone(),
            guard: guard.clone(),
            log: log.clone(),
            saves: places.database.is_some(),
        };
        let blacklists = BlacklistHandle::start(around, &recovery.snapshots)?;
        let hands = Hands {
            blacklists: blacklists.clone(),
            store: store.clone(),
            kernel: kernel.clone(),
            actions: actions.clone(),
            asker: asker.clone(),
            log: log.clone(),
        };
        let thread = JudgeThread::new(
            Judge::new(super::seed(), last),
            Arc::clone(&judge_inbox),
            hands,
            calendar.zone().clone(),
            last,
        );
        let judge_thread = std::thread::Builder::new().name("judge".into()).spawn(move || thread.run())?;

        super::notify::keep_watchdog(Arc::clone(&judge_inbox))?;
        guard.refresh();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let watcher = Watcher::new(Mode::default()).map_err(|e| anyhow!("{e}"))?;
        let reach = Reach {
            pool: Pool::start(cores)?,
            store: store.clone(),
            watch: WatchHandle::start(watcher, log.clone())?,
            asker,
            poison: Poison::open(&super::poison::place(&places.pidfile), &log),
            log: log.clone(),
        };
        let ground = Ground {
            calendar,
            services: Services::load(),
            dry_run,
            journal: stockade_config::journal_is_there(),
            saves: places.database.is_some(),
            ignore_files: IgnoreFiles::default(),
        };
        let board = Board::default();
        let mut operator = Operator::new(
            tree,
            ground,
            Arc::clone(&judge_inbox),
            (kernel.clone(), actions.clone(), blacklists.clone()),
            reach,
            guard,
            board.clone(),
        );
        operator.left = left(&recovery);
        operator.pinned = pinned;
        let mut stage = operator.stage(settings).map_err(|why| anyhow!("the configuration can't be used: {why}"))?;
        broken.append(&mut stage.off);
        if let Some((jail, why)) = broken.first().filter(|_| strict) {
            bail!("jail '{jail}' can't run: {why}");
        }
        stage.off = loaded.off(&broken);
        stage.hold_off_jails(&operator.ground, 2);
        report(&loaded, &stage.off, &log);
        if stage.jails.is_empty() {
            log.warning("no jail runs: nothing is protected");
        }
        operator.arm(&stage).map_err(|why| anyhow!("the firewall could not be set up: {why}"))?;
        say_means(&kernel.state(), &log);
        allow(&recovery, &judge_inbox);
        let jails = stage.jails.iter().map(|jail| (jail.spec.name.clone(), jail.spec.evidence)).collect();
        let kept = blacklists::kept_before(&recovery.snapshots);
        let wanted = Wanted { jails, others: true, at: super::now(), kept };
        let database = places.database.as_deref();
        let rows = restore::all(database, &store, wanted, &judge_inbox).context("the judge has gone")?;
        if rows > 0 {
            log.info(format!("stored bans read and decided about: {rows}"));
        }
        let in_force = kernel.settle();
        actions.settle();
        operator.commit_armed(stage);
        let operator_room = Room::start("operator", operator)?;
        let myself = operator_room.clone();
        operator_room.send(move |operator| operator.introduce(myself));

        let bans =
            Bans { judge: Arc::clone(&judge_inbox), store: store.clone(), board: board.clone(), log: log.clone() };
        let bans = (0..BANS_AT_ONCE).map(|n| Room::start(&format!("bans {n}"), bans.clone()));
        let bans = bans.collect::<std::io::Result<Vec<_>>>()?;
        let answers = Answers {
            judge: judge_inbox,
            kernel,
            actions,
            blacklists,
            store,
            board: board.clone(),
            log: log.clone(),
            database: places.database.clone(),
            started,
        };
        let stopping = Arc::new(AtomicBool::new(false));
        let main = Mutex::new(main.clone());
        let desk = FrontDesk {
            answers: Room::start("answers", answers)?,
            operator: operator_room.clone(),
            bans,
            end: Arc::new(move |end, last| {
                drop(main.lock().unwrap_or_else(PoisonError::into_inner).send(Wake::End(end, last)));
            }),
            log,
            board,
            sleepers: Arc::default(),
            stopping: Arc::clone(&stopping),
        };
        let judge_thread = Mutex::new(Some(judge_thread));
        // Who waits for us (systemd, before the network comes up) goes on when nobody banned gets through any more.
        in_force.recv_timeout(IN_FORCE_MAX).unwrap_or_default();
        Ok((Daemon { operator: operator_room, judge_thread, stopping }, desk))
    }

    /// Waits for the end; other signals are dealt with.
    pub(super) fn wait(&self, wake: &Receiver<Wake>, launch: &Launch, log: &Log) -> (End, Ended, LastWord) {
        const STOP: End = End::Stop { lift: false };
        while let Ok(next) = wake.recv() {
            match next {
                Wake::End(end, last) => return (end, Ended::Stopped, last),
                Wake::Signal(SIGUSR1) => drop(log.reopen()),
                Wake::Signal(SIGHUP) if launch.detached => {}
                Wake::Signal(SIGHUP) if launch.as_fail2ban => return (STOP, Ended::HungUp, Box::new(|| {})),
                Wake::Signal(SIGHUP) => {
                    let log = log.clone();
                    self.operator.send(move |operator| match operator.reload() {
                        Ok((jails, _)) => log.info(format!("configuration read again: {jails} jails run")),
                        Err(why) => log.error(format!("reload refused: {why}")),
                    });
                }
                Wake::Signal(_) => return (STOP, Ended::Stopped, Box::new(|| {})),
                Wake::First(_) => {}
            }
        }
        (STOP, Ended::Stopped, Box::new(|| {}))
    }

    /// Ends everything but the socket, in order.
    pub(super) fn stop(&self, end: End, log: &Log) -> Result<()> {
        notify("STOPPING=1");
        log.info("Shutdown in progress...");
        self.stopping.store(true, Ordering::Relaxed);
        let lift = matches!(end, End::Stop { lift: true });
        let (sender, receiver) = channel();
        let judge_thread = self.judge_thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.operator.send(move |operator| drop(sender.send(operator.stop(lift, judge_thread))));
        let result = receiver.recv().unwrap_or_else(|_| Err("the operator's thread has gone".to_owned()));
        match &result {
            Ok(()) => log.info("Exiting stockade"),
            Err(why) => log.error(format!("not everything could be put away: {why}")),
        }
        result.map_err(|why| anyhow!("not everything could be put away: {why}"))
    }
}

fn dry_words(args: &Launch) -> &'static str {
    if args.shadow {
        "dry run beside another guard: nobody is banned"
    } else if args.dry_run {
        "dry run: nobody is banned"
    } else {
        "dry run: nobody is banned, because only root can change the firewall"
    }
}

/// Opens the database and reads what a start needs but the stored bans.
fn open_store(places: &Places, settings: &Settings, log: &Log) -> Result<(Store, Recovery)> {
    let path = places.database.clone().unwrap_or_else(|| ":memory:".into());
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        // What can't be made shows as a store that can't save.
        drop(std::fs::create_dir_all(folder));
    }
    let options = stockade_store::Options {
        dbpurgeage: server_options::purge_age(settings),
        dbmaxmatches: server_options::max_matches(settings),
        ..stockade_store::Options::default()
    };
    let (store, recovery) = Store::open(&path, &options).map_err(|e| anyhow!("{e}"))?;
    for note in &recovery.notes {
        let level = if matches!(note, Note::Created | Note::TakenOver) { Level::Info } else { Level::Warning };
        log.line(level, "fail2ban.database", note.to_string());
    }
    for lifted in &recovery.lifted {
        let who = lifted.net.map_or_else(|| "everybody".to_owned(), |net| net.to_string());
        log.warning(format!("bans of {who} were lifted by `stockade lift` while no daemon ran; they stay lifted"));
    }
    Ok((store, recovery))
}

/// The actions' thread over a runner that waits already.
fn start_actions(
    runner: Option<(Runner, NewsReader)>,
    places: &Places,
    (judge, last): (&Arc<JudgeInbox>, Seq),
    log: &Log,
) -> Result<ActionsHandle> {
    let Some(runner) = runner else { return Ok(ActionsHandle::none(Arc::clone(judge))) };
    let spawn = Box::new(|| Runner::spawn(RUNNER_WORD));
    ActionsHandle::start(runner, spawn, places.database.clone(), (Arc::clone(judge), last), log.clone())
        .context("the thread for actions can't be started")
}

fn open_kernel(dry_run: bool) -> Result<Kernel> {
    let options =
        stockade_enforce::Options { means: dry_run.then_some(Means::DryRun), ..stockade_enforce::Options::default() };
    Kernel::open(&options).map_err(|e| anyhow!("{e}"))
}

/// Says by what bans are enforced, now that it is known which jails there are.
fn say_means(state: &super::kernel::KernelState, log: &Log) {
    let why = state.own_why();
    let colon = if why.is_empty() { "" } else { ": " };
    log.info(format!("bans are enforced by {}{colon}{why}", state.all_means()));
}

/// What the operator allowed for good.
fn allow(recovery: &Recovery, judge: &JudgeInbox) {
    let nets: Vec<Net> = recovery.allowed.iter().filter_map(|allow| allow.id.net()).collect();
    if !nets.is_empty() {
        judge.control(JudgeControl::Command(Command::Allow { jail: None, nets }, Box::new(|_| {})));
    }
}

/// Sorts what an earlier process left by jail.
fn left(recovery: &Recovery) -> HashMap<JailName, Left> {
    let mut all: HashMap<JailName, Left> = HashMap::new();
    for mark in &recovery.watermarks {
        let entry: (SourceKey, Position) = (mark.source.clone(), mark.to.clone());
        all.entry(mark.jail.clone()).or_default().decided.push(entry);
    }
    for place in &recovery.positions {
        let theirs = (place.path.to_string(), place.firstline.to_string(), place.position);
        all.entry(place.jail.clone()).or_default().theirs.push(theirs);
    }
    for saved in &recovery.snapshots {
        if let Some(jail) = snapshot::jail_of(&saved.name) {
            all.entry(jail).or_default().saved = snapshot::decode(&saved.data);
        }
    }
    // Counts from before the original went on reading would count lines twice.
    if recovery.foreign {
        for jail in all.values_mut().filter(|left| !left.theirs.is_empty()) {
            jail.saved = None;
        }
    }
    all
}

/// Tells what is wrong in the tree.
fn report(loaded: &LoadedTree, off: &[(String, String)], log: &Log) {
    for warning in &loaded.warnings {
        log.warning(warning.clone());
    }
    for (jail, why) in off {
        log.error(format!("jail '{jail}' is off: {why}"));
    }
}

pub(super) fn signals(sender: Sender<Wake>) -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1])?;
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(Wake::Signal(signal)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_holds_the_lock() {
        let path = std::env::temp_dir().join(format!("stockade-lock-{}.pid", std::process::id()));
        let lock = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).err().unwrap().to_string();
        assert!(refused.contains("a daemon is running already"), "{refused}");
        drop(lock);
        assert!(Lock::take(&path).is_ok());
        assert_eq!(server_options::purge_age(&Settings::default()).secs(), 86_400);
    }
}
