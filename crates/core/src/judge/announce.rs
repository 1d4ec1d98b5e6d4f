//! From decided to announced: waiting for store and kernel, in sequence; and
//! what failed on the way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::event::CommandId;
use super::log::{Level, LogLine, LogText, Logger};
use super::output::{Change, Outcome, Outputs, Reply, Retry, RetryBy};
use crate::decision::{Decision, DecisionKind, Seq, Subject};
use crate::id::FailureId;
use crate::jail::JailName;
use crate::time::{BanTime, Span, Timestamp};

/// After this long without an answer a decision is announced all the same.
pub const ANNOUNCE_AFTER: Span = Span::from_secs(2);
/// At most this many failures are remembered for retry; more are only logged.
pub const TROUBLES_MAX: usize = 65_536;
/// A failed unban is tried this often; a failed ban as long as it lives.
const UNBAN_TRIES_MAX: u32 = 20;

/// The increase of a ban time, for the lines behind `Ban`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Increased {
    pub(super) earlier: u32,
    pub(super) last: Timestamp,
    pub(super) from: BanTime,
    pub(super) to: BanTime,
    /// Is the failure later than the last ban?
    pub(super) fresh: bool,
}

#[derive(Debug)]
struct Waiting {
    seq: Seq,
    since: Timestamp,
    kind: DecisionKind,
    jail: JailName,
    id: FailureId,
    start: Timestamp,
    bantime: BanTime,
    end: Timestamp,
    count: u32,
    why: Box<str>,
    increased: Option<Increased>,
    /// Has the ban lines or groups to keep?
    evidence: bool,
}

/// Something to say or reply once everything before it has been announced.
#[derive(Debug)]
enum Behind {
    Line(LogLine),
    Reply(Reply),
    Change(Change),
}

/// What went wrong with a decision, until it is put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Of which decision.
    pub subject: Subject,
    /// Who failed: `None` is the kernel, else the action of that name.
    pub action: Option<Arc<str>>,
    /// What it said.
    pub why: Box<str>,
    /// How often it was tried.
    pub tries: u32,
    /// When it is tried next.
    pub next: Timestamp,
}

/// Acknowledgements, announcements and failures.
#[derive(Debug, Default)]
pub(super) struct Announcer {
    waiting: VecDeque<Waiting>,
    behind: VecDeque<(Seq, Behind)>,
    pub(super) last: Seq,
    pub(super) saved: Seq,
    pub(super) applied: Seq,
    /// Why saving lags, if the store said so.
    pub(super) unsaved: Option<Box<str>>,
    released: Seq,
    /// New bans that were announced and whose evidence the database has.
    pub(super) kept: Vec<(JailName, FailureId, Seq)>,
    /// Announced without the kernel's answer: whom its late answer is about.
    late: BTreeMap<Seq, Subject>,
    troubles: BTreeMap<(JailName, FailureId), Vec<Trouble>>,
    troubles_len: usize,
    /// Not before this is one of them due.
    retry_at: Option<Timestamp>,
    /// Failures that found no room in `troubles`.
    pub(super) troubles_dropped: u64,
}

impl Announcer {
    pub(super) fn starting_at(last: Seq) -> Self {
        Announcer { last, saved: last, applied: last, released: last, ..Announcer::default() }
    }

    /// Takes a decision that was just made; `seq` grows by one each time.
    pub(super) fn decided(&mut self, now: Timestamp, decision: &Decision, increased: Option<Increased>) {
        self.last = decision.seq;
        self.waiting.push_back(Waiting {
            seq: decision.seq,
            since: now,
            kind: decision.kind,
            jail: decision.jail.clone(),
            id: decision.id.clone(),
            start: decision.time,
            bantime: decision.bantime,
            end: decision.end,
            count: decision.count,
            why: decision.why.clone(),
            increased,
            evidence: decision.kind == DecisionKind::Ban
                && !(decision.matches.is_empty() && decision.groups.is_empty()),
        });
    }

    /// Says a line after everything decided so far has been announced.
    pub(super) fn say(&mut self, line: LogLine, out: &mut Outputs) {
        self.queue(Behind::Line(line), out);
    }

    /// Replies after everything decided so far has been announced.
    pub(super) fn reply(&mut self, id: CommandId, outcome: Outcome, out: &mut Outputs) {
        self.queue(Behind::Reply(Reply { id, outcome }), out);
    }

    pub(super) fn change(&mut self, change: Change, out: &mut Outputs) {
        self.queue(Behind::Change(change), out);
    }

    fn queue(&mut self, what: Behind, out: &mut Outputs) {
        if self.waiting.is_empty() && self.behind.is_empty() {
            what.emit(out);
        } else {
            self.behind.push_back((self.last, what));
        }
    }

    /// Number of decisions not yet announced.
    pub(super) fn outstanding(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn saved(&mut self, upto: Seq) {
        self.saved = self.saved.max(upto);
        if self.saved >= self.last {
            self.unsaved = None;
        }
    }

    pub(super) fn applied(&mut self, now: Timestamp, upto: Seq, failed: Vec<(Seq, Box<str>)>, out: &mut Outputs) {
        self.applied = self.applied.max(upto);
        for (seq, why) in failed {
            let Some(subject) = self.find(seq) else { continue };
            self.failed(subject, None, why, now, out);
        }
        while self.late.first_key_value().is_some_and(|(seq, _)| *seq <= upto) {
            self.late.pop_first();
        }
    }

    /// Whom a decision is about that the kernel has not answered before.
    fn find(&self, seq: Seq) -> Option<Subject> {
        if let Some(late) = self.late.get(&seq) {
            return Some(late.clone());
        }
        let first = self.waiting.front()?.seq;
        let waiting = self.waiting.get(usize::try_from(seq.0.checked_sub(first.0)?).ok()?)?;
        Some(waiting.subject())
    }

    /// Remembers a failure and plans its retry.
    pub(super) fn failed(
        &mut self,
        subject: Subject,
        action: Option<Arc<str>>,
        why: Box<str>,
        now: Timestamp,
        out: &mut Outputs,
    ) {
        let key = (subject.jail.clone(), subject.id.clone());
        let kind = subject.kind;
        let known = self.troubles.get_mut(&key);
        let old = known.and_then(|there| there.iter_mut().find(|t| t.action == action && t.subject.seq == subject.seq));
        if let Some(old) = old {
            old.tries = old.tries.saturating_add(1);
            old.why = why;
            old.next = now + backoff(old.tries);
            let next = old.next;
            if !is_ban(kind) && old.tries >= UNBAN_TRIES_MAX {
                self.put_right(&subject, action.as_ref());
            }
            self.plan(next);
            return;
        }
        let who = action.as_ref().map_or("the firewall".to_owned(), |name| format!("action {name}"));
        let what = if is_ban(kind) { "ban" } else { "unban" };
        out.log.push(LogLine {
            logger: Logger::Judge,
            level: Level::Error,
            jail: Some(subject.jail.clone()),
            text: LogText::Failed {
                id: subject.id.clone(),
                what: format!("{who} failed to {what}").into(),
                why: why.clone(),
            },
        });
        if self.troubles_len >= TROUBLES_MAX {
            self.troubles_dropped += 1;
            return;
        }
        let next = now + backoff(1);
        self.troubles_len += 1;
        self.troubles.entry(key).or_default().push(Trouble { subject, action, why, tries: 1, next });
        self.plan(next);
    }

    fn plan(&mut self, next: Timestamp) {
        self.retry_at = Some(self.retry_at.map_or(next, |at| at.min(next)));
    }

    /// Something that failed has worked now, or needs to work no more.
    pub(super) fn put_right(&mut self, subject: &Subject, action: Option<&Arc<str>>) {
        self.drop_troubles(&subject.jail, &subject.id, |t| t.subject.seq == subject.seq && t.action.as_ref() == action);
    }

    /// A ban is over: what failed to put it into force needs to work no more.
    pub(super) fn ban_over(&mut self, jail: &JailName, id: &FailureId) {
        self.drop_troubles(jail, id, |t| is_ban(t.subject.kind));
    }

    /// Somebody is banned anew: nothing old may be tried again, least of all an
    /// unban.
    pub(super) fn ban_anew(&mut self, jail: &JailName, id: &FailureId) {
        self.drop_troubles(jail, id, |_| true);
    }

    fn drop_troubles(&mut self, jail: &JailName, id: &FailureId, is_void: impl Fn(&Trouble) -> bool) {
        if self.troubles.is_empty() {
            return;
        }
        let key = (jail.clone(), id.clone());
        if let Some(there) = self.troubles.get_mut(&key) {
            let before = there.len();
            there.retain(|trouble| !is_void(trouble));
            self.troubles_len = self.troubles_len.saturating_sub(before - there.len());
            if there.is_empty() {
                self.troubles.remove(&key);
            }
        }
    }

    pub(super) fn troubles(&self) -> impl Iterator<Item = &Trouble> {
        self.troubles.values().flatten()
    }

    /// What failed for a living ban.
    pub(super) fn troubles_of(&self, jail: &JailName, id: &FailureId) -> Vec<Trouble> {
        if self.troubles.is_empty() {
            return Vec::new();
        }
        self.troubles.get(&(jail.clone(), id.clone())).cloned().unwrap_or_default()
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let late = self.waiting.front().map(|waiting| waiting.since + ANNOUNCE_AFTER);
        late.into_iter().chain(self.retry_at).min()
    }

    /// Releases commands, retries what is due and announces what is ready.
    pub(super) fn advance(&mut self, now: Timestamp, out: &mut Outputs) {
        self.retry(now, out);
        let late = now - ANNOUNCE_AFTER;
        let mut release = self.saved.min(self.last);
        while let Some(first) = self.waiting.front() {
            let waited = first.since <= late;
            if waited {
                release = release.max(first.seq);
            }
            if !waited && (first.seq > self.saved || first.seq > self.applied) {
                break;
            }
            let Some(first) = self.waiting.pop_front() else { break };
            let seq = first.seq;
            if seq > self.applied {
                self.late.insert(seq, first.subject());
                if self.late.len() > TROUBLES_MAX {
                    self.late.pop_first();
                }
            }
            if first.evidence && seq <= self.saved {
                self.kept.push((first.jail.clone(), first.id.clone(), seq));
            }
            first.announce(out);
            self.follow(seq, out);
        }
        if self.waiting.is_empty() {
            self.follow(self.last, out);
        }
        // What waits for the kernel only may still be released once it is saved.
        for waiting in self.waiting.iter().take_while(|waiting| waiting.since <= late) {
            release = release.max(waiting.seq);
        }
        if release > self.released {
            self.released = release;
            out.release = Some(release);
        }
    }

    fn follow(&mut self, announced: Seq, out: &mut Outputs) {
        while let Some((seq, _)) = self.behind.front() {
            if *seq > announced {
                break;
            }
            if let Some((_, what)) = self.behind.pop_front() {
                what.emit(out);
            }
        }
    }

    fn retry(&mut self, now: Timestamp, out: &mut Outputs) {
        if self.retry_at.is_none_or(|at| at > now) {
            return;
        }
        for trouble in self.troubles.values_mut().flatten().filter(|trouble| trouble.next <= now) {
            // If nobody answers, it is tried again after the same pause.
            trouble.next = now + backoff(trouble.tries);
            out.retries.push(Retry {
                subject: trouble.subject.clone(),
                by: trouble.action.clone().map_or(RetryBy::Kernel, RetryBy::Action),
            });
        }
        self.retry_at = self.troubles.values().flatten().map(|trouble| trouble.next).min();
    }
}

impl Behind {
    fn emit(self, out: &mut Outputs) {
        match self {
            Behind::Line(line) => out.log.push(line),
            Behind::Reply(reply) => out.replies.push(reply),
            Behind::Change(change) => out.changes.push(change),
        }
    }
}

pub(super) fn is_ban(kind: DecisionKind) -> bool {
    matches!(kind, DecisionKind::Ban | DecisionKind::Restore | DecisionKind::Prolong)
}

/// 1 s, doubling, at most 5 minutes.
fn backoff(tries: u32) -> Span {
    Span::from_secs((1i64 << tries.saturating_sub(1).min(9)).min(300))
}

impl Waiting {
    fn subject(&self) -> Subject {
        Subject { seq: self.seq, kind: self.kind, jail: self.jail.clone(), id: self.id.clone() }
    }

    fn announce(self, out: &mut Outputs) {
        let Waiting { seq, kind, jail, id, start, bantime, end, count, why, increased, .. } = self;
        let mut say = |logger, level, text| out.log.push(LogLine { logger, level, jail: Some(jail.clone()), text });
        let actions = |text| (Logger::Actions, Level::Notice, text);
        let line = match kind {
            DecisionKind::Ban => Some(actions(LogText::Ban { id: id.clone() })),
            DecisionKind::Restore => Some(actions(LogText::RestoreBan { id: id.clone() })),
            DecisionKind::Unban => Some(actions(LogText::Unban { id: id.clone() })),
            // A lift of count 0 had no living ban: nothing happens that anybody sees.
            DecisionKind::Lift if count == 0 => return,
            DecisionKind::Lift => Some(actions(LogText::Unban { id: id.clone() })),
            DecisionKind::Repeal => Some(actions(LogText::RepealBan { id: id.clone() })),
            DecisionKind::Withhold => {
                Some((Logger::Judge, Level::Warning, LogText::Withheld { id: id.clone(), why: why.clone() }))
            }
            DecisionKind::Prolong => None,
        };
        if let Some((logger, level, text)) = line {
            say(logger, level, text);
        }
        if let Some(Increased { earlier, last, from, to, fresh }) = increased {
            if fresh {
                let text = LogText::IsBad { id: id.clone(), count: earlier, last, from, to };
                say(Logger::Observer, Level::Info, text);
            }
            if from != to {
                let text = LogText::Increase { id: id.clone(), count, bantime: to, end };
                say(Logger::Observer, Level::Notice, text);
            }
        }
        out.changes.push(match kind {
            DecisionKind::Ban | DecisionKind::Restore => Change::Ban { seq, kind, jail, id, start, bantime, end },
            DecisionKind::Prolong => Change::Prolong { seq, jail, id, bantime, end },
            DecisionKind::Withhold => Change::Withhold { seq, jail, id, why },
            DecisionKind::Unban | DecisionKind::Lift | DecisionKind::Repeal => Change::Unban { seq, kind, jail, id },
        });
    }
}
