//! Which sources have something new: one [`Watcher`] per poll thread.
//!
//! Files are watched by inotify, together with every directory and symbolic link on the way to them,
//! so that files which are missing, replaced, or behind a link that is switched are noticed. Where
//! inotify can't be had (limits reached, a file system that other machines write to), a path is
//! looked at every [`POLL_INTERVAL`]; a watcher without such paths sleeps until something happens.
//!
//! Not noticed, because the kernel does not tell: a file system mounted over a directory of the path.

mod glob;
mod points;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

pub use self::glob::{GLOB_MATCHES_MAX, Glob};
use self::points::{Interest, Point, remote_file_system};
use crate::note::{Note, Notes};
use crate::{Error, Result};

/// How often a path is looked at where inotify can't be used.
pub const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// A polled glob is looked at so many times less often.
const GLOB_POLL_FACTOR: u32 = 4;
/// Under a storm of events they are gathered for this long; a single event is never held back.
const GATHER: Duration = Duration::from_micros(500);
/// Watches on files that were rotated away, kept per path.
const OLD_WATCHES_MAX: usize = 2;
/// Times a path is walked until it looks the same twice.
const WALKS_MAX: usize = 4;
/// Pause before it is walked again, if it never did.
const WALK_PAUSE: Duration = Duration::from_millis(50);

/// What is watched; handed out by the `add` functions and by [`Watcher::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadyId(u32);

/// How paths are watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By inotify where that works, else by polling.
    #[default]
    Auto,
    /// By polling only: `backend = polling`.
    Polling,
}

/// What changes when a file does.
type Look = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// One thing that is watched.
#[derive(Debug)]
struct Entry {
    what: What,
    /// Watch descriptors in use, with the one of the log file itself last if there is one.
    watches: Vec<i32>,
    log_watch: Option<i32>,
    old_watches: Vec<i32>,
    /// Looked at every so often, next at this time.
    polled: Option<Instant>,
    last: Look,
    remind: Option<Instant>,
}

#[derive(Debug)]
enum What {
    File(PathBuf),
    Glob {
        glob: Glob,
        known: BTreeSet<PathBuf>,
    },
    /// Asked about by `poll` while `armed`.
    Fd {
        fd: OwnedFd,
        armed: bool,
    },
}

/// Wakes a [`Watcher`] from another thread. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Waker(Arc<OwnedFd>);

impl Waker {
    /// Lets the current or next [`Watcher::wait`] return at once.
    pub fn wake(&self) {
        // Full counter: it is awake already. Nothing else can fail on an eventfd of our own.
        rustix::io::write(&*self.0, &1_u64.to_ne_bytes()).ok();
    }
}

/// Tells which files, globs and descriptors have something new.
///
/// Holds two descriptors (inotify, wake-up) and one per added descriptor.
#[derive(Debug)]
pub struct Watcher {
    inotify: Option<OwnedFd>,
    wake: Waker,
    entries: BTreeMap<ReadyId, Entry>,
    next_id: u32,
    /// Who is interested in the events of a watch descriptor.
    users: HashMap<i32, Vec<(ReadyId, Interest)>>,
    ready: BTreeSet<ReadyId>,
    /// To be walked again at that time.
    walk_again: BTreeMap<ReadyId, Instant>,
    last_return: Option<Instant>,
    why_no_inotify: Option<String>,
    interval: Duration,
    notes: Notes,
}

impl Watcher {
    /// A watcher of nothing yet.
    ///
    /// # Errors
    /// If not even a wake-up descriptor can be had. A missing inotify is no error.
    pub fn new(mode: Mode) -> Result<Watcher> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| Error::Io {
            what: "creation",
            path: "eventfd".into(),
            source: e.into(),
        })?;
        let (inotify, why) = match mode {
            Mode::Polling => (None, None),
            Mode::Auto => match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
                Ok(fd) => (Some(fd), None),
                Err(Errno::MFILE) => {
                    (None, Some("the limit of inotify instances (fs.inotify.max_user_instances) is reached".into()))
                }
                Err(e) => (None, Some(format!("inotify can't be had: {}", io::Error::from(e)))),
            },
        };
        Ok(Watcher {
            inotify,
            wake: Waker(Arc::new(wake)),
            entries: BTreeMap::new(),
            next_id: 0,
            users: HashMap::new(),
            ready: BTreeSet::new(),
            walk_again: BTreeMap::new(),
            last_return: None,
            why_no_inotify: why,
            interval: POLL_INTERVAL,
            notes: Notes::default(),
        })
    }

    /// How often a polled path is looked at, instead of [`POLL_INTERVAL`]; a glob four times less often.
    pub fn set_poll_interval(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// The inotify descriptor, for those who wait for it by other means than [`Self::wait`].
    pub(crate) fn inotify_fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(AsFd::as_fd)
    }

    /// What wakes this watcher.
    pub fn waker(&self) -> Waker {
        self.wake.clone()
    }

    /// Watches a log file, which may be missing. It is ready at once, and then whenever it should be
    /// read (or [`crate::FileReader::look`]ed at) again.
    pub fn add_file(&mut self, path: impl Into<PathBuf>) -> ReadyId {
        let path = path.into();
        let path = std::path::absolute(&path).unwrap_or(path);
        self.add(What::File(path))
    }

    /// Watches for files that match a glob. Ready whenever there may be new ones; see [`Self::new_files`].
    pub fn add_glob(&mut self, glob: Glob) -> ReadyId {
        self.add(What::Glob { glob, known: BTreeSet::new() })
    }

    /// Watches a descriptor for input, such as [`crate::Journal::as_fd`] (it is duplicated). Once
    /// reported it is left alone until [`Self::again`].
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn add_fd(&mut self, fd: BorrowedFd<'_>) -> Result<ReadyId> {
        let fd = fd.try_clone_to_owned().map_err(|source| Error::Io {
            what: "duplication",
            path: "a descriptor".into(),
            source,
        })?;
        Ok(self.add(What::Fd { fd, armed: true }))
    }

    /// Asks about a descriptor again after it was reported and read until nothing came.
    pub fn again(&mut self, id: ReadyId) {
        if let Some(Entry { what: What::Fd { armed, .. }, .. }) = self.entries.get_mut(&id) {
            *armed = true;
        }
    }

    /// Reports `id` at that time, whatever happens; `None` forgets it. For [`crate::FileReader::next_look`].
    /// A polled path is reported at each interval until then.
    pub fn remind(&mut self, id: ReadyId, at: Option<Instant>) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.remind = at;
        }
    }

    /// Stops watching. The id is never used again.
    pub fn remove(&mut self, id: ReadyId) {
        if let Some(entry) = self.entries.remove(&id) {
            for wd in entry.watches.iter().chain(&entry.old_watches).chain(&entry.log_watch) {
                self.leave(*wd, id);
            }
        }
        self.ready.remove(&id);
        self.walk_again.remove(&id);
    }

    /// Matches of a glob that were not there at the last call, sorted; all of them at the first.
    pub fn new_files(&mut self, id: ReadyId) -> Vec<PathBuf> {
        let Some(Entry { what: What::Glob { glob, known }, .. }) = self.entries.get_mut(&id) else {
            return Vec::new();
        };
        let now: BTreeSet<PathBuf> = glob.expand().into_iter().collect();
        let new = now.difference(known).cloned().collect();
        *known = now;
        new
    }

    /// Is this path looked at every so often, because inotify can't be used for it?
    pub fn is_polled(&self, id: ReadyId) -> bool {
        self.entries.get(&id).is_some_and(|e| e.polled.is_some())
    }

    /// What happened since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        self.notes.take()
    }

    /// Waits until something is ready, a [`Waker`] wakes it (then the list may be empty) or the time
    /// is over (then it is empty). Each id is listed once, in the order of the ids.
    ///
    /// # Errors
    /// If the system refuses to wait; nothing is lost.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Result<Vec<ReadyId>> {
        let give_up = timeout.and_then(|t| Instant::now().checked_add(t));
        let mut woken = false;
        loop {
            let now = Instant::now();
            while let Some((id, _)) = self.walk_again.iter().find(|(_, at)| **at <= now).map(|(id, at)| (*id, *at)) {
                self.walk_again.remove(&id);
                self.watch(id);
                self.ready.insert(id);
            }
            self.timers(now);
            let over = give_up.is_some_and(|at| at <= now);
            let at_once = woken || over || !self.ready.is_empty();
            let quiet_until = self.last_return.map(|at| at + GATHER).filter(|at| *at > now);
            let until =
                if at_once { Some(now) } else { [give_up, self.next_timer(), quiet_until].into_iter().flatten().min() };
            let events = self.poll_once(until.map(|at| at.saturating_duration_since(now)), quiet_until.is_none())?;
            woken |= events.woken;
            if events.inotify {
                self.take_events();
            }
            if at_once || woken {
                break;
            }
        }
        if !self.ready.is_empty() {
            self.last_return = Some(Instant::now());
        }
        Ok(std::mem::take(&mut self.ready).into_iter().collect())
    }

    /// One call of `poll`; marks descriptors that are ready.
    fn poll_once(&mut self, timeout: Option<Duration>, with_inotify: bool) -> Result<Events> {
        let timeout = timeout.map(|t| Timespec {
            tv_sec: i64::try_from(t.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(t.subsec_nanos()),
        });
        let mut fds = vec![PollFd::new(&*self.wake.0, PollFlags::IN)];
        let inotify_at = match &self.inotify {
            Some(fd) if with_inotify => {
                fds.push(PollFd::new(fd, PollFlags::IN));
                true
            }
            _ => false,
        };
        let mut ids = Vec::new();
        for (id, entry) in &self.entries {
            if let What::Fd { fd, armed: true } = &entry.what {
                fds.push(PollFd::new(fd, PollFlags::IN));
                ids.push(*id);
            }
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Error::Io { what: "poll", path: "log sources".into(), source: e.into() }),
        }
        let mut results = fds.iter().map(|fd| !fd.revents().is_empty());
        let woken = results.next().unwrap_or(false);
        let inotify = inotify_at && results.next().unwrap_or(false);
        let ready: Vec<ReadyId> = results.zip(ids).filter(|(r, _)| *r).map(|(_, id)| id).collect();
        drop(fds);
        if woken {
            rustix::io::read(&*self.wake.0, &mut [0; 8]).ok();
        }
        for id in ready {
            if let Some(Entry { what: What::Fd { armed, .. }, .. }) = self.entries.get_mut(&id) {
                *armed = false;
            }
            self.ready.insert(id);
        }
        Ok(Events { woken, inotify })
    }

    /// Due reminders and polled paths.
    fn timers(&mut self, now: Instant) {
        for (id, entry) in &mut self.entries {
            if entry.remind.is_some_and(|at| at <= now) {
                entry.remind = None;
                self.ready.insert(*id);
            }
            if entry.polled.is_some_and(|at| at <= now) {
                let (changed, interval) = match &entry.what {
                    What::File(path) => {
                        let look = look(path);
                        (std::mem::replace(&mut entry.last, look) != look, self.interval)
                    }
                    What::Glob { glob, known } => {
                        (glob.expand().iter().any(|p| !known.contains(p)), self.interval * GLOB_POLL_FACTOR)
                    }
                    What::Fd { .. } => (false, self.interval),
                };
                // While a reminder is pending a rotated file may still get lines, which the path does not show.
                if changed || entry.remind.is_some() {
                    self.ready.insert(*id);
                }
                entry.polled = Some(now + interval);
            }
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        let entries = self.entries.values().flat_map(|e| [e.remind, e.polled]).flatten();
        entries.chain(self.walk_again.values().copied()).min()
    }

    /// Reads all waiting inotify events.
    fn take_events(&mut self) {
        let mut moved = BTreeSet::new();
        let mut overflow = false;
        let mut ignored = Vec::new();
        if let Some(fd) = &self.inotify {
            let mut room = [MaybeUninit::uninit(); 16 << 10];
            let mut events = inotify::Reader::new(fd, &mut room);
            while let Ok(event) = events.next() {
                let flags = event.events();
                if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                    overflow = true;
                    continue;
                }
                let name = event.file_name().map(|n| n.to_bytes());
                for (id, interest) in self.users.get(&event.wd()).into_iter().flatten() {
                    let hit = match interest {
                        Interest::Itself => name.is_none(),
                        Interest::Name(wanted) => name.is_none_or(|n| n == wanted.as_bytes()),
                        Interest::Wild(wanted) => name.is_none_or(|n| wanted.matches(n)),
                    };
                    if hit {
                        self.ready.insert(*id);
                        if flags.bits() & !ReadFlags::MODIFY.bits() != 0 {
                            moved.insert(*id);
                        }
                    }
                }
                if flags.contains(ReadFlags::IGNORED) {
                    ignored.push(event.wd());
                }
            }
        }
        for wd in ignored {
            for (id, _) in self.users.remove(&wd).unwrap_or_default() {
                if let Some(entry) = self.entries.get_mut(&id) {
                    entry.watches.retain(|w| *w != wd);
                    entry.old_watches.retain(|w| *w != wd);
                    entry.log_watch = entry.log_watch.filter(|w| *w != wd);
                }
            }
        }
        if overflow {
            moved.extend(self.entries.keys());
            self.ready
                .extend(self.entries.iter().filter(|(_, e)| !matches!(e.what, What::Fd { .. })).map(|(id, _)| id));
        }
        for id in moved {
            self.watch(id);
        }
    }

    fn add(&mut self, what: What) -> ReadyId {
        let id = ReadyId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let is_fd = matches!(what, What::Fd { .. });
        let entry = Entry {
            what,
            watches: Vec::new(),
            log_watch: None,
            old_watches: Vec::new(),
            polled: None,
            last: None,
            remind: None,
        };
        self.entries.insert(id, entry);
        if !is_fd {
            self.watch(id);
            self.ready.insert(id);
        }
        id
    }

    /// Sets the watches of an entry to what its path looks like now.
    fn watch(&mut self, id: ReadyId) {
        let Some(mut points) = self.points(id) else { return };
        for _ in 0..WALKS_MAX {
            let complete = self.watch_points(id, &points);
            // What changed before the watches were there told nobody; what changes from now on will. A
            // directory that went away and came back in between looks the same, but could not be watched.
            match self.points(id) {
                Some(now) if now != points || !complete => points = now,
                _ => return,
            }
        }
        // It changes faster than it can be walked.
        self.walk_again.insert(id, Instant::now() + WALK_PAUSE);
    }

    fn points(&self, id: ReadyId) -> Option<Vec<Point>> {
        match &self.entries.get(&id)?.what {
            What::File(path) => Some(points::of_file(path)),
            What::Glob { glob, .. } => Some(points::of_glob(glob)),
            What::Fd { .. } => None,
        }
    }

    /// Sets the watches; `false` if something that was there a moment ago is not.
    fn watch_points(&mut self, id: ReadyId, points: &[Point]) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else { return true };
        let path = match &entry.what {
            What::File(path) => path.clone(),
            What::Glob { glob, .. } => PathBuf::from(glob.as_str()),
            What::Fd { .. } => return true,
        };
        let mut before = std::mem::take(&mut entry.watches);
        let log_before = entry.log_watch.take();
        let mut old_watches = std::mem::take(&mut entry.old_watches);
        for wd in &before {
            if let Some(users) = self.users.get_mut(wd) {
                users.retain(|(user, _)| *user != id);
            }
        }
        let mut now = Vec::new();
        let mut log_now = None;
        let mut why = self.why_no_inotify.clone();
        let mut complete = true;
        for point in points {
            match self.watch_point(id, point) {
                Ok(wd) if point.is_log => log_now = Some(wd),
                Ok(wd) => now.push(wd),
                Err(Unwatched::Impossible(text)) => why = Some(text),
                Err(Unwatched::Gone) => complete = false,
                Err(Unwatched::Refused) => {}
            }
        }
        // The watch on a file that was moved away stays for a while: it may still be written to.
        old_watches.extend(log_before);
        old_watches.retain(|wd| Some(*wd) != log_now && self.users.contains_key(wd));
        old_watches.dedup();
        let surplus = old_watches.len().saturating_sub(OLD_WATCHES_MAX);
        before.extend(old_watches.drain(..surplus));
        for wd in before {
            if !now.contains(&wd) && Some(wd) != log_now && !old_watches.contains(&wd) {
                self.leave(wd, id);
            }
        }
        let needs_polling = self.inotify.is_none() || why.is_some();
        let Some(entry) = self.entries.get_mut(&id) else { return true };
        entry.watches = now;
        entry.log_watch = log_now;
        entry.old_watches = old_watches;
        if needs_polling && entry.polled.is_none() {
            entry.polled = Some(Instant::now() + self.interval);
            entry.last = look(&path);
            if let Some(why) = why {
                self.notes.push(Note::Polled { path, why });
            }
        } else if !needs_polling {
            entry.polled = None;
        }
        complete
    }

    /// Adds one watch.
    fn watch_point(&mut self, id: ReadyId, point: &Point) -> std::result::Result<i32, Unwatched> {
        let Some(inotify) = &self.inotify else { return Err(Unwatched::Refused) };
        if (point.interest != Interest::Itself || point.is_log)
            && let Some(name) = remote_file_system(&point.path)
        {
            return Err(Unwatched::Impossible(format!("{name} does not tell what other machines write")));
        }
        let structure = WatchFlags::MOVE_SELF | WatchFlags::DELETE_SELF;
        let names = WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE
            | WatchFlags::ATTRIB;
        let flags = match (&point.interest, point.is_log) {
            (_, true) => WatchFlags::MODIFY | WatchFlags::ATTRIB | structure | WatchFlags::DONT_FOLLOW,
            (Interest::Itself, false) => structure | WatchFlags::ONLYDIR,
            (Interest::Name(_) | Interest::Wild(_), false) => names | structure | WatchFlags::ONLYDIR,
        };
        match inotify::add_watch(inotify, &point.path, flags | WatchFlags::MASK_ADD) {
            Ok(wd) => {
                let users = self.users.entry(wd).or_default();
                if !users.iter().any(|(user, interest)| *user == id && *interest == point.interest) {
                    users.push((id, point.interest.clone()));
                }
                Ok(wd)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(Unwatched::Gone),
            Err(Errno::ACCESS) => Err(Unwatched::Refused),
            Err(Errno::NOSPC) => Err(Unwatched::Impossible(
                "the limit of inotify watches (fs.inotify.max_user_watches) is reached".into(),
            )),
            Err(e) => {
                let why = format!("inotify refuses {}: {}", point.path.display(), io::Error::from(e));
                Err(Unwatched::Impossible(why))
            }
        }
    }

    /// `id` no longer needs that watch; the last one removes it.
    fn leave(&mut self, wd: i32, id: ReadyId) {
        let Some(users) = self.users.get_mut(&wd) else { return };
        users.retain(|(user, _)| *user != id);
        if users.is_empty() {
            self.users.remove(&wd);
            if let Some(inotify) = &self.inotify {
                // It may be gone with its inode already.
                inotify::remove_watch(inotify, wd).ok();
            }
        }
    }
}

/// Why a place is not watched.
enum Unwatched {
    /// It is no longer there: walk again.
    Gone,
    /// We may not read it; its directory tells when that changes.
    Refused,
    /// It has to be polled, for this reason.
    Impossible(String),
}

/// What one `poll` found, apart from descriptors.
struct Events {
    woken: bool,
    inotify: bool,
}

fn look(path: &Path) -> Look {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.size(), (meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec())))
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
