//! The judge's thread: everything that happens comes in here, one event after
//! another, and what is decided goes out to those who carry it out.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use stockade_core::judge::{Change, CommandId, Event, Judge, LogText, Outcome, Outputs, RetryBy};
use stockade_core::{Batch, JailName, Seq, Timestamp, Watermark};
use stockade_store::Snapshot;

use super::actions::ActionsHandle;
use super::asker::Asker;
use super::blacklists::BlacklistHandle;
use super::inbox::{Inbox, Taken, Weighs};
use super::kernel::KernelHandle;
use super::store::{StoreHandle, StoreJob};
use crate::log::Log;

/// How many batches may wait for the judge; then matchers wait.
const BATCHES_MAX: usize = 1_024;

/// How many failures may wait for the judge in those batches (some 500 bytes each).
const FAILURES_MAX: usize = 32_768;

/// How many decisions may be on their way to kernel and store; then no further
/// batches are taken, while commands, deadlines and acknowledgements still are.
const OPEN_DECISIONS_MAX: u64 = 65_536;

/// How long decisions are gathered into one turn at most.
const TURN_MAX: Duration = Duration::from_millis(2);

/// Where a reply to a command goes.
pub(crate) type Reply = Box<dyn FnOnce(Outcome) + Send>;

/// A short look at the judge and the time.
pub(crate) type Look = Box<dyn FnOnce(&Judge, Timestamp) + Send>;

/// What comes on the lane that never waits.
pub(crate) enum JudgeControl {
    /// Something happened.
    Event(Event),
    /// A command with the way back for its reply.
    Command(stockade_core::judge::Command, Reply),
    /// Somebody wants to look; must be short.
    Look(Look),
    /// Up to where each jail has come.
    Places(Sender<HashMap<JailName, Vec<Watermark>>>),
    /// A jail's counts from a snapshot; after its configuration, before its first batch.
    Restore(JailName, Vec<u8>),
}

/// What comes on the lane that waits.
pub(crate) enum JudgeData {
    /// Failures of one jail.
    Batch(Batch),
    /// A matcher's state, behind all batches that led to it.
    Snapshot {
        /// Whose.
        jail: JailName,
        /// Opaque.
        blob: Vec<u8>,
    },
    /// Somebody wants to know up to where a jail has come with all batches before this.
    Places {
        /// Which.
        jail: JailName,
        /// The way back.
        reply: Sender<(JailName, Vec<Watermark>)>,
    },
}

impl Weighs for JudgeData {
    fn weight(&self) -> usize {
        match self {
            JudgeData::Batch(batch) => batch.failures.len(),
            JudgeData::Snapshot { .. } | JudgeData::Places { .. } => 1,
        }
    }
}

/// The way to the judge.
pub(crate) type JudgeInbox = Inbox<JudgeControl, JudgeData>;

/// An empty inbox of the right size.
pub(crate) fn inbox() -> Arc<JudgeInbox> {
    Arc::new(Inbox::new(BATCHES_MAX, FAILURES_MAX))
}

/// Those who carry decisions out.
pub(crate) struct Hands {
    pub(crate) store: StoreHandle,
    pub(crate) kernel: KernelHandle,
    pub(crate) actions: ActionsHandle,
    pub(crate) asker: Asker,
    pub(crate) blacklists: BlacklistHandle,
    pub(crate) log: Log,
}

/// The thread's state around the pure judge.
pub(crate) struct JudgeThread {
    judge: Judge,
    inbox: Arc<JudgeInbox>,
    hands: Hands,
    outputs: Outputs,
    replies: HashMap<CommandId, Reply>,
    next_command: u64,
    /// Up to where each jail has decided: the newest of each (jail, source).
    watermarks: HashMap<JailName, Vec<Watermark>>,
    /// Up to where each jail has counted. While lines are read again silently
    /// this lies before what is decided.
    counted: HashMap<JailName, Vec<Watermark>>,
    zone: jiff::tz::TimeZone,
    last_seq: Seq,
    last_saved: Seq,
    last_announced: Seq,
}

impl JudgeThread {
    /// A judge with nobody to judge yet.
    pub(crate) fn new(judge: Judge, inbox: Arc<JudgeInbox>, hands: Hands, zone: jiff::tz::TimeZone, last: Seq) -> Self {
        JudgeThread {
            judge,
            inbox,
            hands,
            outputs: Outputs::default(),
            replies: HashMap::new(),
            next_command: 0,
            watermarks: HashMap::new(),
            counted: HashMap::new(),
            zone,
            last_seq: last,
            last_saved: last,
            last_announced: last,
        }
    }

    /// Works until the inbox is closed and empty.
    pub(crate) fn run(mut self) {
        loop {
            let open = self.last_seq.0.saturating_sub(self.last_saved.0) < OPEN_DECISIONS_MAX;
            match self.inbox.take(self.deadline(), open) {
                Taken::Closed => return,
                Taken::Late => self.step(Event::Deadline),
                Taken::Control(messages) => {
                    for message in messages {
                        self.control(message);
                    }
                }
                Taken::Data(first) => self.gather(first),
            }
            self.hand_out();
        }
    }

    /// Takes batches that are waiting anyway into the same turn, for a moment.
    fn gather(&mut self, first: JudgeData) {
        let until = Instant::now() + TURN_MAX;
        self.data(first);
        while Instant::now() < until && self.outputs.turn.decisions.len() < 4_096 {
            match self.inbox.take(Some(until.min(Instant::now())), true) {
                Taken::Data(data) => self.data(data),
                Taken::Control(messages) => {
                    for message in messages {
                        self.control(message);
                    }
                }
                Taken::Late | Taken::Closed => return,
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = self.judge.next_deadline()?;
        Some(Instant::now() + (deadline - super::now()).to_duration())
    }

    fn control(&mut self, message: JudgeControl) {
        match message {
            JudgeControl::Event(event) => {
                // What the store keeps in memory while the disk fails is in good hands, too.
                if let Event::Saved(seq) | Event::Unsaved { upto: seq, .. } = &event {
                    self.last_saved = (*seq).max(self.last_saved);
                }
                self.step(event);
            }
            JudgeControl::Command(command, reply) => {
                let id = CommandId(self.next_command);
                self.next_command += 1;
                self.replies.insert(id, reply);
                self.step(Event::Command { id, command });
            }
            JudgeControl::Look(look) => {
                // Who looks sees nothing that is not on its way already.
                self.hand_out();
                look(&self.judge, super::now());
            }
            JudgeControl::Places(reply) => drop(reply.send(self.watermarks.clone())),
            JudgeControl::Restore(jail, counts) => {
                if let Err(e) = self.judge.load(&counts) {
                    self.hands.log.warning(format!("[{jail}] the saved counts are of no use: {e}"));
                }
            }
        }
    }

    fn data(&mut self, data: JudgeData) {
        match data {
            JudgeData::Batch(batch) => {
                super::arrow::pass("source to judge");
                let again = batch.replay.then(|| Watermark {
                    jail: batch.jail.clone(),
                    source: batch.source.clone(),
                    to: batch.to.clone(),
                });
                self.step(Event::Batch(batch));
                if let Some(mark) = again {
                    // What was decided before this batch is counted before it.
                    self.remember_turn();
                    remember(&mut self.counted, &mark);
                }
            }
            JudgeData::Snapshot { jail, blob } => {
                self.remember_turn();
                self.hand_out();
                self.snapshot(&jail, &blob);
            }
            JudgeData::Places { jail, reply } => {
                self.remember_turn();
                let marks = self.watermarks.get(&jail).cloned().unwrap_or_default();
                reply.send((jail, marks)).unwrap_or_default();
            }
        }
    }

    fn step(&mut self, event: Event) {
        self.judge.step(super::now(), event, &mut self.outputs);
    }

    fn remember_turn(&mut self) {
        for mark in &self.outputs.turn.watermarks {
            remember(&mut self.watermarks, mark);
            remember(&mut self.counted, mark);
        }
    }

    /// Saves a matcher's and the judge's state of one jail with the places they belong to.
    fn snapshot(&mut self, jail: &JailName, matcher: &[u8]) {
        let marks = self.counted.get(jail).map(Vec::as_slice).unwrap_or_default();
        let data = super::snapshot::encode(marks, matcher, &self.judge.snapshot_jail(jail));
        super::arrow::pass("snapshot");
        let name = format!("jail/{jail}").into();
        self.hands.store.send(StoreJob::Snapshots(vec![Snapshot { name, data: data.into() }]));
    }

    /// Hands everything on that was brought forth.
    fn hand_out(&mut self) {
        self.remember_turn();
        let out = &mut self.outputs;
        let mut decided = None;
        for flush in &out.flushes {
            self.hands.kernel.flush(flush.jail.clone());
        }
        if !out.turn.decisions.is_empty() || !out.turn.watermarks.is_empty() {
            let turn = Arc::new(std::mem::take(&mut out.turn));
            if let Some(last) = turn.decisions.last() {
                self.last_seq = last.seq;
                super::arrow::pass("judge to kernel");
                self.hands.kernel.turn(Arc::clone(&turn));
                self.hands.blacklists.turn(&turn);
                decided = Some(Arc::clone(&turn));
            }
            super::arrow::pass("judge to store");
            self.hands.store.send(StoreJob::Turn(turn));
        }
        self.hands.actions.outputs(out, decided);
        for ask in out.asks.drain(..) {
            self.hands.asker.ask(ask);
        }
        let mut lines = Vec::new();
        for line in out.log.drain(..) {
            let (level, logger, text) = super::say(&line, &self.zone);
            match (&line.text, &line.jail) {
                (LogText::Found { .. }, Some(jail)) => {
                    self.hands.log.lines(std::mem::take(&mut lines));
                    self.hands.log.found(level, logger, jail.as_str(), text);
                }
                _ => lines.push((level, logger, text)),
            }
        }
        self.hands.log.lines(lines);
        for retry in out.retries.drain(..) {
            match retry.by {
                RetryBy::Kernel => self.hands.kernel.retry(retry),
                RetryBy::Action(_) => self.hands.actions.retry(retry),
            }
        }
        for doubt in out.doubts.drain(..) {
            if let Some(net) = doubt.id.net().filter(|_| doubt.check) {
                self.hands.kernel.doubt(doubt.jail.clone(), net);
            }
            self.hands.actions.doubt(doubt);
        }
        if let Some(seq) = newest_announced(&out.changes).filter(|seq| *seq > self.last_announced) {
            super::arrow::pass("announced");
            self.last_announced = seq;
            self.hands.store.announced(seq);
        }
        out.changes.clear();
        for reply in out.replies.drain(..) {
            if let Some(way) = self.replies.remove(&reply.id) {
                way(reply.outcome);
            }
        }
    }
}

/// How many incarnations of one log a place is kept of: a rotated file may
/// still get late lines while the new one is read.
const INCARNATIONS_MAX: usize = 4;

/// Replaces an older place in the same source.
fn remember(places: &mut HashMap<JailName, Vec<Watermark>>, mark: &Watermark) {
    let marks = places.entry(mark.jail.clone()).or_default();
    match marks.iter_mut().find(|m| m.source == mark.source) {
        Some(old) => old.to = mark.to.clone(),
        None => {
            let same_path = |m: &Watermark| m.source.path == mark.source.path;
            if marks.iter().filter(|m| same_path(m)).count() >= INCARNATIONS_MAX
                && let Some(oldest) = marks.iter().position(same_path)
            {
                marks.remove(oldest);
            }
            marks.push(mark.clone());
        }
    }
}

/// The newest decision that clients were told of.
fn newest_announced(changes: &[Change]) -> Option<Seq> {
    changes
        .iter()
        .filter_map(|change| match change {
            Change::Ban { seq, .. }
            | Change::Prolong { seq, .. }
            | Change::Unban { seq, .. }
            | Change::Withhold { seq, .. } => Some(*seq),
            Change::Counters { .. } | Change::JailPut { .. } | Change::JailRemoved { .. } => None,
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_a_rotated_log_are_kept_beside_the_new_ones() {
        let mark = |generation, to| Watermark {
            jail: JailName::new("sshd"),
            source: stockade_core::SourceKey { path: "/log".into(), generation },
            to: stockade_core::Position::Offset(to),
        };
        let mut places = HashMap::new();
        for generation in 1..=6 {
            remember(&mut places, &mark(generation, 10));
        }
        remember(&mut places, &mark(5, 20));
        let kept = &places[&JailName::new("sshd")];
        assert_eq!(*kept, [mark(3, 10), mark(4, 10), mark(5, 20), mark(6, 10)]);
    }

    #[test]
    fn the_newest_announcement_is_found() {
        let jail = JailName::new("sshd");
        let id = stockade_core::FailureId::parse("192.0.2.1");
        let kind = stockade_core::DecisionKind::Lift;
        let changes = [
            Change::JailPut { jail: jail.clone() },
            Change::Unban { seq: Seq(7), kind, jail: jail.clone(), id: id.clone() },
            Change::Unban { seq: Seq(5), kind, jail, id },
        ];
        assert_eq!(newest_announced(&changes), Some(Seq(7)));
        assert_eq!(newest_announced(&[]), None);
    }
}
