//! The systemd journal, read from a long-lived `journalctl -o export --follow` child.
//!
//! The child reads and matches; what it writes is parsed here within bounds and made into the lines
//! that fail2ban makes. If it ends, it is started again behind the last entry, after a pause that
//! doubles from [`PAUSE_MIN`] to [`PAUSE_MAX`]. [`Journal::as_fd`] is one descriptor for everything
//! that can happen, the same over all restarts.

mod child;
mod export;
mod history;
mod line;
mod options;
mod roots;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::epoll;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use stockade_core::block::{Block, Position, SourceKey, Stamp};
use stockade_core::time::{Span, Timestamp};

use self::child::Child;
use self::export::{Entry, Field};
pub use self::history::History;
pub use self::options::JournalOptions;
use self::roots::Roots;
use crate::file::BLOCK_BYTES;
use crate::note::{Note, Notes};
use crate::{Error, Result};

/// The first pause before `journalctl` is started again.
pub const PAUSE_MIN: Duration = Duration::from_millis(200);
/// The longest pause.
pub const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Silence after which the end of the stored entries is taken as reached.
const SILENCE: Duration = Duration::from_secs(1);
/// A line made of one entry is at most this long: a message of nothing but line ends, and the rest.
const LINE_MAX: usize = 2 * export::MESSAGE_MAX + (8 << 10);
/// Bytes of a cursor.
const CURSOR_MAX: usize = 1 << 10;

/// Where reading the journal begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalStart {
    /// With the next new entry.
    Tail,
    /// With the first entry not older than that.
    Since(Timestamp),
    /// Behind an entry that was read before.
    After {
        /// Its cursor, from [`Position::Cursor`].
        cursor: Arc<str>,
        /// Its time: used if the cursor turns out to be of no use.
        at: Timestamp,
        /// If that is later than `at`, begin there instead (now - findtime).
        not_before: Option<Timestamp>,
    },
}

/// Reads the journal. Never blocks.
///
/// Holds six descriptors: the child's two pipes, a timer, an epoll set, and two to watch the journal's
/// directories; a [`crate::Watcher`] that waits for it has one more.
/// Source: fail2ban `server/filtersystemd.py`. DIVERGENCE (journal-cursors): it stores times; we store cursors, so
/// that entries of one microsecond are neither read twice nor skipped.
#[derive(Debug)]
pub struct Journal {
    options: JournalOptions,
    name: Arc<str>,
    start: JournalStart,
    child: Option<Child>,
    epoll: OwnedFd,
    timer: OwnedFd,
    roots: Option<Roots>,
    retry_at: Option<Instant>,
    attempts: u32,
    cursor: Arc<str>,
    at: Timestamp,
    /// Not read beyond the entry with this cursor.
    limit: Option<Arc<str>>,
    /// The entry that the child repeats first.
    repeated: Option<Arc<str>>,
    in_operation: bool,
    began: Timestamp,
    quiet_since: Option<Instant>,
    trouble: Option<Error>,
    told: bool,
    too_large: u64,
    untrusted: u64,
    timeless: u64,
    notes: Notes,
}

impl Journal {
    /// Starts reading. [`Self::trouble`] tells at once if there is no journal to read (yet).
    ///
    /// # Errors
    /// [`Error::BadMatch`], [`Error::BadOption`], [`Error::NoJournalctl`], or the lack of descriptors.
    pub fn open(options: JournalOptions, start: JournalStart) -> Result<Journal> {
        let name = options.name()?;
        let fail = |e: Errno| Error::Io { what: "set-up", path: "journal reader".into(), source: e.into() };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(fail)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(fail)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(0), epoll::EventFlags::IN).map_err(fail)?;
        let roots = Roots::of(&options)?;
        if let Some(fd) = roots.as_ref().and_then(Roots::fd) {
            epoll::add(&epoll, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN).map_err(fail)?;
        }
        let (cursor, at) = match &start {
            JournalStart::Tail => ("".into(), now()),
            JournalStart::Since(at) => ("".into(), *at),
            JournalStart::After { cursor, at, .. } => (cursor.clone(), *at),
        };
        let mut notes = Notes::default();
        if options.arguments()?.1.is_empty() {
            notes.push(Note::NoJournalMatch);
        }
        let mut this = Journal {
            options,
            name,
            in_operation: start == JournalStart::Tail,
            start,
            child: None,
            epoll,
            timer,
            roots,
            retry_at: None,
            attempts: 0,
            cursor,
            at,
            limit: None,
            repeated: None,
            began: now(),
            quiet_since: None,
            trouble: None,
            told: true,
            too_large: 0,
            untrusted: 0,
            timeless: 0,
            notes,
        };
        this.spawn()?;
        Ok(this)
    }

    /// Is there a journal that we may read, and are the matches accepted? Asks `journalctl` and waits
    /// for it, at most 10 s.
    ///
    /// # Errors
    /// As [`Self::open`], [`Error::NoJournal`] and [`Error::JournalEnded`].
    pub fn probe(options: &JournalOptions) -> Result<()> {
        child::probe(options)
    }

    /// Readable when [`Self::read`] has something to do. The same for the life of the reader; may be
    /// readable without yielding a line.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// `systemd-journal` and the words that choose its entries; generation 0.
    pub fn key(&self) -> SourceKey {
        SourceKey { path: self.name.clone(), generation: 0 }
    }

    /// The cursor of the last entry that was read; empty if there was none.
    pub fn cursor(&self) -> Arc<str> {
        Arc::clone(&self.cursor)
    }

    /// The last entry that was read.
    pub fn position(&self) -> Position {
        Position::Cursor { cursor: self.cursor.clone(), at: self.at }
    }

    /// Another reader of the same entries, which begins where this one stands: for a jail that fell behind.
    /// It has a child of its own.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn fork(&self) -> Result<Journal> {
        Journal::open(self.options.clone(), self.start_now())
    }

    /// Stops reading behind the entry with this cursor: [`Self::read`] yields `None` there, until the limit is
    /// lifted or moved. For a reader that is to meet the position of another one. An entry that is passed
    /// without being seen (the journal has lost it) is no limit.
    pub fn set_limit(&mut self, limit: Option<Arc<str>>) {
        self.limit = limit;
    }

    /// Does it stand at its limit?
    pub fn is_at_limit(&self) -> bool {
        self.limit.as_ref().is_some_and(|limit| same_cursor(limit, &self.cursor))
    }

    /// Have the stored entries been read?
    pub fn in_operation(&self) -> bool {
        self.in_operation
    }

    /// What keeps the journal from being read, if anything does.
    pub fn trouble(&self) -> Option<&Error> {
        self.trouble.as_ref()
    }

    /// What happened since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        let counts = [
            (&mut self.too_large, "too large"),
            (&mut self.untrusted, "of an origin that is not trusted"),
            (&mut self.timeless, "without a time"),
        ];
        for (count, why) in counts {
            if *count > 0 {
                self.notes.push(Note::EntryLeftOut { why, count: std::mem::take(count) });
            }
        }
        self.notes.take()
    }

    /// The next entries as lines, each with its stamp: what is there, at most [`BLOCK_BYTES`]. `None`:
    /// nothing now. A block may be empty: only the position moved.
    ///
    /// # Errors
    /// Each trouble once when it begins, then `None` while it lasts. The child is started again
    /// whenever that may help.
    pub fn read(&mut self) -> Result<Option<Block>> {
        // The timer has done its work by waking us.
        rustix::io::read(&self.timer, &mut [0; 8]).ok();
        if self.roots.as_mut().is_some_and(Roots::changed) {
            self.child = None;
            self.retry_at = None;
        }
        if self.child.is_none() {
            if self.retry_at.is_some_and(|at| at > Instant::now()) {
                return self.nothing();
            }
            if let Err(e) = self.spawn() {
                self.pause(e);
                return self.nothing();
            }
        }
        self.listen();
        if self.is_at_limit() {
            return self.nothing();
        }
        let begin = self.position();
        let mut out = Gathered::default();
        let ended = self.gather(&mut out);
        let end = self.position();
        if begin != end {
            return Ok(Some(Block {
                source: self.key(),
                begin,
                end,
                text: out.text.into_boxed_slice(),
                stamps: out.stamps.into_boxed_slice(),
                in_operation: out.in_operation,
                replay: false,
            }));
        }
        if let Some(damaged) = ended {
            self.ended(damaged);
        }
        self.nothing()
    }

    /// Ends the child. [`Self::read`] would start it again.
    pub fn stop(&mut self) {
        self.child = None;
        self.retry_at = None;
    }

    /// Reads and parses until the pipe is empty or the block is full. `Some` if the child is to be
    /// ended: `true` if it wrote what it should not.
    fn gather(&mut self, out: &mut Gathered) -> Option<bool> {
        let quiet = self.quiet_since.take().is_some_and(|at| at.elapsed() >= SILENCE);
        let mut first = true;
        out.in_operation = self.in_operation;
        loop {
            // The child is taken out so that its entries can be judged by the rest of us.
            let mut child = self.child.take()?;
            let parsed = self.take_entries(&mut child, out);
            let read = match parsed {
                Ok(true) => Some(child.fill()),
                Ok(false) => None,
                Err(export::Damaged) => {
                    self.child = Some(child);
                    return Some(true);
                }
            };
            self.child = Some(child);
            match read {
                None => return None,
                Some(Ok(0)) => return Some(false),
                Some(Ok(_)) => {
                    if std::mem::take(&mut first) && quiet {
                        self.in_operation = true;
                        out.in_operation = true;
                    }
                }
                Some(Err(Errno::AGAIN)) => {
                    self.quiet_since = Some(Instant::now());
                    return None;
                }
                Some(Err(Errno::INTR)) => {}
                Some(Err(_)) => return Some(false),
            }
        }
    }

    /// Makes lines of the entries that are whole. `false` if the block is full.
    fn take_entries(&mut self, child: &mut Child, out: &mut Gathered) -> std::result::Result<bool, export::Damaged> {
        loop {
            let full = out.text.len() + LINE_MAX > BLOCK_BYTES || out.in_operation != self.in_operation;
            if full || self.is_at_limit() {
                return Ok(false);
            }
            let Some(entry) = child.parser.next_entry()? else { return Ok(true) };
            let cursor = entry.get(Field::Cursor).and_then(|c| std::str::from_utf8(c).ok());
            let Some(cursor) = cursor.filter(|c| c.len() <= CURSOR_MAX) else {
                self.too_large += 1;
                continue;
            };
            if self.repeated.take().is_some_and(|r| same_cursor(&r, cursor)) {
                continue;
            }
            let Some(time) = entry.time() else {
                self.timeless += 1;
                continue;
            };
            self.cursor = cursor.into();
            self.at = time;
            self.attempts = 0;
            self.trouble = None;
            if entry.too_large {
                self.too_large += 1;
                continue;
            }
            if !trusted(entry, self.options.trusted_uids.as_deref()) {
                self.untrusted += 1;
                continue;
            }
            line::append(entry, &mut out.text);
            let end = u32::try_from(out.text.len()).unwrap_or(u32::MAX);
            out.stamps.push(Stamp { end, time, cursor: self.cursor.clone() });
            // An entry made after we began is new, so the stored ones are read.
            if time + Span::from_secs(1) >= self.began {
                self.in_operation = true;
            }
        }
    }

    /// Hears what the child says beside its entries, while it runs.
    fn listen(&mut self) {
        let Some(child) = &mut self.child else { return };
        child.hear(&self.epoll);
        if let Some(trouble) = child.complaint() {
            self.set_trouble(trouble);
        }
    }

    /// The child has ended or has to: what now?
    fn ended(&mut self, damaged: bool) {
        let Some(child) = self.child.take() else { return };
        let spoke = child.spoke();
        let (how, said) = child.end(&self.epoll);
        if !spoke && said.contains("seek to cursor") && matches!(self.start_now(), JournalStart::After { .. }) {
            self.notes.push(Note::CursorLost);
            self.start = JournalStart::Since(self.at);
            self.cursor = "".into();
        }
        let how = if damaged { "it wrote no export format".to_owned() } else { how };
        self.pause(child::trouble_of(how, said));
    }

    /// Notes the trouble and starts again later.
    fn pause(&mut self, trouble: Error) {
        self.set_trouble(trouble);
        let doublings = self.attempts.min(10);
        let pause = PAUSE_MIN.saturating_mul(1 << doublings).min(PAUSE_MAX);
        self.attempts = self.attempts.saturating_add(1);
        self.arm(pause);
    }

    fn arm(&mut self, pause: Duration) {
        self.retry_at = Instant::now().checked_add(pause);
        let at = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(pause.subsec_nanos()).max(1),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        // A relative time of ours can't be refused.
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once).ok();
    }

    /// Where the next child has to begin.
    fn start_now(&self) -> JournalStart {
        match &self.start {
            _ if !self.cursor.is_empty() => {
                let not_before = match &self.start {
                    JournalStart::After { not_before, .. } => *not_before,
                    JournalStart::Tail | JournalStart::Since(_) => None,
                };
                JournalStart::After { cursor: self.cursor.clone(), at: self.at, not_before }
            }
            JournalStart::Tail if self.attempts > 0 => JournalStart::Since(self.began),
            other => other.clone(),
        }
    }

    fn spawn(&mut self) -> Result<()> {
        let mut start = self.start_now();
        if let JournalStart::After { at, not_before: Some(limit), .. } = &start
            && limit > at
        {
            start = JournalStart::Since(*limit);
        }
        self.repeated = match &start {
            JournalStart::After { cursor, .. } => Some(cursor.clone()),
            JournalStart::Tail | JournalStart::Since(_) => None,
        };
        let child = Child::start(&self.options, &start, &self.epoll)?;
        self.child = Some(child);
        self.retry_at = None;
        if let Some(trouble) = self.roots.as_ref().and_then(Roots::trouble) {
            self.set_trouble(trouble);
        }
        if self.attempts == 1 {
            self.notes.push(Note::JournalRestarted { attempt: self.attempts });
        }
        Ok(())
    }

    fn set_trouble(&mut self, trouble: Error) {
        if !self.trouble.as_ref().is_some_and(|t| t.same_as(&trouble)) {
            self.trouble = Some(trouble);
            self.told = false;
        }
    }

    fn nothing(&mut self) -> Result<Option<Block>> {
        if std::mem::replace(&mut self.told, true) {
            return Ok(None);
        }
        match self.trouble.as_ref().map(child::copy_of) {
            Some(trouble) => Err(trouble),
            None => Ok(None),
        }
    }
}

/// What one read brought.
#[derive(Default)]
struct Gathered {
    text: Vec<u8>,
    stamps: Vec<Stamp>,
    in_operation: bool,
}

/// Is the origin of an entry one that the jail trusts?
fn trusted(entry: &Entry, uids: Option<&[u32]>) -> bool {
    let Some(uids) = uids else { return true };
    match entry.get(Field::Uid) {
        Some(uid) => std::str::from_utf8(uid).ok().and_then(|u| u.parse().ok()).is_some_and(|uid| uids.contains(&uid)),
        None => entry.get(Field::Transport) == Some(b"kernel"),
    }
}

/// Do two cursors name one entry? File id and sequence number do, and so do boot, both clocks and the
/// sum over its fields: those stay when journald copies its files from `/run` to `/var`.
fn same_cursor(a: &str, b: &str) -> bool {
    let part = |cursor: &str, key: &str| cursor.split(';').find_map(|p| p.strip_prefix(key)).map(str::to_owned);
    let parts = |cursor: &str, keys: &[&str]| keys.iter().map(|key| part(cursor, key)).collect::<Option<Vec<_>>>();
    let same = |keys: &[&str]| matches!((parts(a, keys), parts(b, keys)), (Some(a), Some(b)) if a == b);
    a == b || same(&["s=", "i="]) || same(&["b=", "m=", "t=", "x="])
}

/// The wall clock.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_compared_by_what_names_an_entry() {
        assert!(same_cursor("s=a;i=1;b=x;m=1;t=2;x=3", "s=b;i=9;b=x;m=1;t=2;x=3"));
        assert!(!same_cursor("s=a;i=1;b=x;m=1;t=2;x=3", "s=b;i=9;b=x;m=1;t=2;x=4"));
        assert!(same_cursor("s=a;i=1;b=x;m=1;t=2;x=3", "s=a;i=1;b=x;m=1;t=2;x=4"));
        assert!(!same_cursor("s=a;i=1", "s=a;i=2"));
        assert!(!same_cursor("foo", "bar"));
        assert!(same_cursor("foo", "foo"));
    }
}
