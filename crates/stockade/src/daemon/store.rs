//! The store's thread: the only one that writes the database.
//!
//! Everything that waits goes into one durable transaction (group commit), then
//! the judge is told. Places in logs that come without a decision wait up to ten
//! seconds for one, so that a quiet host does not write for every line.

use std::collections::HashMap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use stockade_core::judge::{Event, StoredBan, StoredTime};
use stockade_core::{BanTime, Decision, DecisionKind, JailName, Seq, SourceKey, Span, Timestamp, Turn};
use stockade_store::{Allow, Error, Evidence, FirstLine, Forget, Marks, Snapshot, Store};

use super::blacklists::Kept;
use super::judge::{JudgeControl, JudgeInbox};
use crate::log::{Level, Log};

/// How long watermarks wait for a decision to ride along with.
const WATERMARKS_WAIT: Duration = Duration::from_secs(10);
/// How long until a failing disk is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often the purge is looked at when nothing happens.
const PURGE_EVERY: Duration = Duration::from_secs(3_600);
/// Stored bans handed over at once.
pub(crate) const ROWS_AT_ONCE: usize = 4_096;
/// Turns of one transaction at most.
const TURNS_MAX: usize = 1_024;

/// What the store can be asked for. The number that wait is bounded by the
/// judge's credit: it stops deciding when too many decisions are open.
pub(crate) enum StoreJob {
    /// Save the decisions and places of one turn.
    Turn(Arc<Turn>),
    /// Keep opaque states.
    Snapshots(Vec<Snapshot>),
    /// A file is known by this first line.
    FirstLine {
        /// Which file.
        source: SourceKey,
        /// SHA-1 in hexadecimal.
        hash: String,
    },
    /// Clients have been told of everything up to here.
    Announced(Seq),
    /// Other marks.
    Marks(Box<Marks>),
    /// Keep bans so long after their end, and so many lines of each.
    Keep(Span, usize),
    /// Save now, and say when it is done.
    Sync(Sender<()>),
    /// All stored bans of these jails, some at a time.
    Bans(Wanted, SyncSender<Vec<StoredBan>>),
    /// Save everything, tidy up and end.
    Close(Sender<Result<(), String>>),
}

/// How the database is doing, for `status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoreState {
    /// Empty, or why decisions are not being saved.
    pub(crate) trouble: String,
    /// Decisions that wait in memory for the disk.
    pub(crate) unsaved: usize,
}

/// The way to the store's thread.
#[derive(Clone)]
pub(crate) struct StoreHandle {
    jobs: Sender<StoreJob>,
    state: Arc<Mutex<StoreState>>,
}

impl StoreHandle {
    /// Starts the thread on an open store.
    pub(crate) fn start(store: Store, judge: Arc<JudgeInbox>, log: Log) -> io::Result<StoreHandle> {
        let (jobs, receiver) = channel();
        let state = Arc::new(Mutex::default());
        let thread = Thread {
            store,
            jobs: receiver,
            judge,
            log,
            state: Arc::clone(&state),
            turns: Vec::new(),
            marks: Marks::default(),
            urgent: false,
            late: None,
            unsaved_upto: None,
        };
        std::thread::Builder::new().name("store".into()).spawn(move || thread.run())?;
        Ok(StoreHandle { jobs, state })
    }

    /// Asks for something; lost if the thread has gone.
    pub(crate) fn send(&self, job: StoreJob) {
        drop(self.jobs.send(job));
    }

    /// Clients have been told of everything up to here.
    pub(crate) fn announced(&self, seq: Seq) {
        self.send(StoreJob::Announced(seq));
    }

    /// Changes the operator's allow list.
    pub(crate) fn allow(&self, allow: Vec<Allow>) {
        self.send(StoreJob::Marks(Box::new(Marks { allow, ..Marks::default() })));
    }

    /// Forgets ids, banned or not.
    pub(crate) fn forget(&self, forget: Vec<Forget>) {
        self.send(StoreJob::Marks(Box::new(Marks { forget, ..Marks::default() })));
    }

    /// All stored bans of these jails, living or not, some at a time.
    pub(crate) fn bans(&self, wanted: Wanted) -> impl Iterator<Item = Vec<StoredBan>> + use<> {
        let (sender, rows) = sync_channel(2);
        self.send(StoreJob::Bans(wanted, sender));
        rows.into_iter()
    }

    /// Waits until what was sent before is on the disk (or kept for it, if the disk fails).
    pub(crate) fn sync(&self) {
        let (sender, receiver) = channel();
        self.send(StoreJob::Sync(sender));
        receiver.recv().unwrap_or_default();
    }

    /// Saves everything and closes the file.
    pub(crate) fn close(&self) -> Result<(), String> {
        let (sender, receiver) = channel();
        self.send(StoreJob::Close(sender));
        receiver.recv().unwrap_or(Ok(()))
    }

    /// How it is doing.
    pub(crate) fn state(&self) -> StoreState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Which stored bans are wanted, and how much of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Of these jails, and whether with their lines and groups.
    pub(crate) jails: HashMap<JailName, bool>,
    /// Of all others, too, as mere history.
    pub(crate) others: bool,
    /// When; who is not banned any more is mere history.
    pub(crate) at: Timestamp,
    /// Whose bans without an end stay without an end.
    pub(crate) kept: Kept,
}

impl Wanted {
    /// A stored ban as the judge wants it.
    pub(crate) fn take(&self, ban: stockade_store::StoredBan<'_>) -> Option<StoredBan> {
        let jail = self.jails.get(&ban.jail);
        if jail.is_none() && !self.others {
            return None;
        }
        let mut row = match jail {
            Some(true) if ban.stands(self.at) => stored(ban.evidence(), ban),
            Some(false) if ban.stands(self.at) => stored(ban.brief(), ban),
            _ => stored(Evidence::default(), ban),
        };
        if row.bantime == StoredTime::Known(BanTime::Permanent) && self.is_kept(&row) {
            row.bantime = StoredTime::Kept;
        }
        Some(row)
    }

    fn is_kept(&self, row: &StoredBan) -> bool {
        row.id.net().is_some_and(|net| self.kept.get(&row.jail).is_some_and(|nets| nets.contains(&net)))
    }
}

fn stored(evidence: Evidence, ban: stockade_store::StoredBan<'_>) -> StoredBan {
    StoredBan {
        jail: ban.jail.clone(),
        ip: evidence.ip,
        start: ban.time,
        // A lifted ban is history only.
        bantime: match ban.bantime {
            _ if ban.lifted => StoredTime::Known(BanTime::For(Span::ZERO)),
            Some(bantime) => StoredTime::Known(bantime),
            None => StoredTime::Unknown,
        },
        count: ban.count,
        failures: evidence.failures,
        matches: evidence.matches,
        groups: evidence.groups,
        id: ban.id,
    }
}

struct Thread {
    store: Store,
    jobs: Receiver<StoreJob>,
    judge: Arc<JudgeInbox>,
    log: Log,
    state: Arc<Mutex<StoreState>>,
    turns: Vec<Turn>,
    marks: Marks,
    /// Something waits that must not wait.
    urgent: bool,
    /// When what may wait has waited long enough.
    late: Option<Instant>,
    /// The newest decision that the judge was not told of as saved.
    unsaved_upto: Option<Seq>,
}

impl Thread {
    fn run(mut self) {
        // Not while a start takes up what is stored.
        let mut next_tidy = None;
        loop {
            let wake = [self.late, next_tidy].into_iter().flatten().min();
            let first = match wake {
                Some(at) => self.jobs.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            let mut close = None;
            match first {
                Ok(job) => close = self.take(job),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            while close.is_none() && self.turns.len() < TURNS_MAX {
                let Ok(job) = self.jobs.try_recv() else { break };
                close = self.take(job);
            }
            let due = self.urgent || close.is_some() || self.late.is_some_and(|at| at <= Instant::now());
            if due && self.commit() {
                next_tidy = Some(Instant::now());
            }
            if let Some(done) = close {
                let closed = self.store.close(super::now()).map_err(|e| e.to_string());
                drop(done.send(closed));
                return;
            }
            if next_tidy.is_some_and(|at| at <= Instant::now()) {
                next_tidy = Some(Instant::now() + self.tidy());
            }
        }
    }

    /// Puts a job to what waits; the way to answer if it was the last one.
    fn take(&mut self, job: StoreJob) -> Option<Sender<Result<(), String>>> {
        match job {
            StoreJob::Turn(turn) => {
                if let Some(last) = turn.decisions.last() {
                    self.unsaved_upto = Some(last.seq);
                    self.urgent = true;
                }
                // A restore repeats what stands in the database already.
                let repeats = |decision: &Decision| decision.kind == DecisionKind::Restore;
                let turn = match turn.decisions.iter().any(repeats) {
                    true => Turn {
                        decisions: turn.decisions.iter().filter(|decision| !repeats(decision)).cloned().collect(),
                        watermarks: turn.watermarks.clone(),
                    },
                    false => Arc::unwrap_or_clone(turn),
                };
                if !turn.decisions.is_empty() || !turn.watermarks.is_empty() {
                    self.turns.push(turn);
                }
            }
            StoreJob::Snapshots(mut snapshots) => self.marks.snapshots.append(&mut snapshots),
            StoreJob::FirstLine { source, hash } => {
                self.marks.firstlines.push(FirstLine { source, hash: hash.into() });
            }
            StoreJob::Announced(seq) => self.marks.announced = Some(seq),
            StoreJob::Marks(marks) => {
                self.urgent = true;
                let Marks { jails, mut allow, mut forget, mut dropped, .. } = *marks;
                self.marks.jails = jails.or(self.marks.jails.take());
                self.marks.allow.append(&mut allow);
                self.marks.forget.append(&mut forget);
                self.marks.dropped.append(&mut dropped);
            }
            StoreJob::Keep(age, matches) => {
                self.store.set_bounds(age, matches);
                return None;
            }
            StoreJob::Sync(done) => {
                self.commit();
                done.send(()).unwrap_or_default();
                return None;
            }
            StoreJob::Bans(wanted, reply) => {
                self.commit();
                self.bans(&wanted, &reply);
                return None;
            }
            StoreJob::Close(done) => return Some(done),
        }
        if self.late.is_none() {
            self.late = Some(Instant::now() + WATERMARKS_WAIT);
        }
        None
    }

    fn bans(&mut self, wanted: &Wanted, reply: &SyncSender<Vec<StoredBan>>) {
        let mut rows = Vec::new();
        let read = self.store.each_ban(|ban| {
            rows.extend(wanted.take(ban));
            if rows.len() >= ROWS_AT_ONCE {
                drop(reply.send(std::mem::take(&mut rows)));
            }
        });
        drop(reply.send(rows));
        if let Err(e) = read {
            self.log.line(Level::Error, "fail2ban.database", format!("not all stored bans could be read: {e}"));
        }
    }

    /// Saves what waits; false if there was nothing to write.
    fn commit(&mut self) -> bool {
        let turns = std::mem::take(&mut self.turns);
        let marks = std::mem::take(&mut self.marks);
        (self.urgent, self.late) = (false, None);
        let nothing = turns.is_empty() && marks.is_empty();
        let result = if nothing { Ok(()) } else { self.store.commit(&turns, &marks) };
        if let Err(Error::Overflow { .. }) = &result {
            // Nothing was taken. Not telling the judge makes it stop deciding, so
            // that what waits stays bounded; nothing is lost.
            (self.turns, self.marks, self.urgent) = (turns, marks, true);
            std::thread::sleep(AGAIN_AFTER);
            return true;
        }
        self.tell(result.map_err(|e| e.to_string()));
        !nothing
    }

    /// Work that may wait; how long until there is more of it.
    fn tidy(&mut self) -> Duration {
        super::arrow::pass("projection");
        let waiting = self.store.catch_up(super::now());
        let more = waiting.as_ref().is_ok_and(|w| w.more);
        let failed = waiting.is_err();
        self.tell(waiting.map(drop).map_err(|e| e.to_string()));
        match (more, failed || self.store.degraded().is_some()) {
            (_, true) => AGAIN_AFTER,
            (true, false) => Duration::ZERO,
            (false, false) => PURGE_EVERY,
        }
    }

    /// Tells the judge, and the operator what is new.
    fn tell(&mut self, result: Result<(), String>) {
        let degraded = self.store.degraded();
        let trouble = match (result, degraded) {
            (Err(why), _) => why,
            (Ok(()), Some(degraded)) => degraded.why.to_string(),
            (Ok(()), None) => String::new(),
        };
        let unsaved = degraded.map_or(0, |d| d.rows);
        // Before the judge answers: who is told of a ban is told whether it is saved.
        let was = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, StoreState { trouble: trouble.clone(), unsaved }).trouble
        };
        if let Some(upto) = self.unsaved_upto {
            super::arrow::pass("store to judge");
            let event = if trouble.is_empty() {
                self.unsaved_upto = None;
                Event::Saved(upto)
            } else {
                Event::Unsaved { upto, why: trouble.clone().into() }
            };
            self.judge.control(JudgeControl::Event(event));
        }
        if was.is_empty() && !trouble.is_empty() {
            let text = format!("decisions are not being saved, only kept in memory: {trouble}");
            self.log.line(Level::Error, "fail2ban.database", text);
        } else if !was.is_empty() && trouble.is_empty() {
            self.log.line(
                Level::Notice,
                "fail2ban.database",
                "decisions are being saved again, what waited in memory too",
            );
        }
        for note in self.store.take_notes() {
            self.log.line(Level::Warning, "fail2ban.database", note.to_string());
        }
    }
}
