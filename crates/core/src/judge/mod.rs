//! The judge: failures, commands, answers and time become decisions.
//!
//! One value, [`Judge`], owns tallies, bans, their ends, ignore lists, history,
//! parked failures and timers. It is driven by one thread:
//!
//! ```text
//! let mut judge = Judge::new(seed, last decision number of the journal);
//! loop {
//!     wait for an event, at most until judge.next_deadline()   (then Event::Deadline)
//!     judge.step(now, event, &mut out);
//!     hand out's parts on; out.clear();
//! }
//! ```
//!
//! # How to drive it
//!
//! **Start**, in this order: [`Event::Server`], [`Event::Protected`],
//! [`Event::Config`] with all jails, [`Event::Restore`] with all rows of the
//! database (ended bans too: they are the history; a few thousand rows per
//! event), [`Judge::load`] with the last snapshot, then the silent replay
//! (batches with `replay` set) and after it the lines. A jail that is added
//! later gets its rows by another `Restore`; rows of ids that are banned
//! already make no decision. What [`Command::Allow`] allowed is part of
//! [`Judge::snapshot`], not of [`Judge::snapshot_jail`].
//!
//! **A turn.** `out.turn` goes to kernel and store at once and in parallel. What
//! the kernel sees is idempotent. Commands of actions wait for `out.release`:
//! all decisions up to that number may now run theirs. Store and kernel answer
//! with [`Event::Saved`] and [`Event::Applied`], each for all decisions up to a
//! number, in order. `out.log` and `out.changes` already stand in the order in
//! which they are to be shown.
//!
//! **Announcing.** Lines such as `Ban` and the changes for the read model come
//! out when both have answered, in sequence, or [`ANNOUNCE_AFTER`] after the
//! decision; replies to commands come behind the decisions that they caused.
//! `Found` lines come at once. Until then [`BanState`] of the ban says
//! `unsaved`, `unapplied`.
//!
//! **Failures** of the kernel (in `Applied`) and of actions ([`Event::Acted`])
//! are kept as [`Trouble`], shown, and tried again by `out.retries` after 1, 2,
//! 4 .. 300 s until [`Event::Reapplied`] or `Acted` says that it worked or the
//! ban is over.
//!
//! **Questions** in `out.asks` go to somebody who may look outside; the answer
//! comes as [`Event::Answer`]. Only the failure that needs it waits, and later
//! failures of the same id behind it; others overtake. If every failure comes in
//! a batch of its own and is answered before the next, order is the original's.
//! Unanswered after [`Bounds::parked_time`], or beyond [`Bounds::parked`], it
//! goes on as if the answer were "not ignored" or "no address".
//!
//! **Watermarks** in `out.turn` say that everything before a place has had its
//! full effect; a parked failure holds its batch's and all later ones.
//!
//! **Portions.** Expiries, lifting everything and following a changed `bantime`
//! are done in steps of [`Bounds::decisions`]; [`Judge::next_deadline`] is then
//! not later than now. An id that is touched in between is brought up to date
//! first, so nobody can see the difference.
//!
//! # Decisions worth knowing
//!
//! - [`DecisionKind::Lift`](crate::DecisionKind::Lift) with `count` 0 had no
//!   living ban: only the stored history is to be forgotten. Kernel and actions
//!   have nothing to do for it, and it is not announced.
//! - [`DecisionKind::Prolong`](crate::DecisionKind::Prolong) may also move an
//!   end nearer (a shorter `bantime`).
//! - [`DecisionKind::Withhold`](crate::DecisionKind::Withhold) comes once per
//!   spell: from the first ban withheld until that ban would have ended. When
//!   the protection ends the spell ends *without* a ban: who mistyped a
//!   password, logged in and logs out again is not locked out afterwards. New
//!   failures count anew.
//! - A protection by nature (own, loopback, gateway, name server) that comes up
//!   lifts living bans in jails with [`Guard::Refuse`] (so does switching to
//!   it); a login does not, it may be the attacker who guessed right, nor does
//!   what a log shows (a relay), which counts in that log's jail only.
//! - A manual ban of a protected address is withheld as well unless forced.
//! - [`Command::Allow`] lifts living bans; changes of `ignoreip` do not, as in
//!   the original.
//!
//! # Where it differs from the original
//!
//! On purpose (profiles.md): old counts are absent at once instead of up to 5 s
//! later; the increased ban time is known before actions run; bans end in the
//! order of their ends; control characters in the log are escaped. Besides:
//!
//! - the original's bonus for known offenders appends the matched lines a second
//!   time; here they are kept once;
//! - with increment, a line not newer than the last stored ban that bans again,
//!   and a ban whose increased time is over at once, are journalled, where the
//!   original keeps them from its database (the history kept here does as well);
//! - a prolonged ban, or one that follows a changed `bantime`, is stored with its
//!   new end; the original forgets that at a restart;
//! - a ban that was shortened ends on time; the original looks again only when
//!   the end comes that it had planned first.

mod announce;
mod bans;
mod command;
mod configure;
mod counting;
mod desk;
mod ends;
mod event;
pub mod formula;
mod hand;
mod ignore;
mod increase;
mod jail;
mod log;
mod netset;
mod output;
mod parking;
mod query;
mod recount;
mod snapshot;
mod spec;
mod table;
mod tally;
pub mod timespec;

use std::collections::BTreeMap;

pub use announce::{ANNOUNCE_AFTER, TROUBLES_MAX, Trouble};
pub use event::{Answer, AskId, Command, CommandId, Event, JailChange, StoredBan, StoredTime};
pub use jail::WITHHELD_MAX;
pub use log::{IgnoreSource, Level, LogLine, LogText, Logger, duration, local_time, span_text};
pub use output::{
    About, Ask, Change, Counters, Doubt, Flush, Imported, Outcome, Outputs, Question, Reply, Retry, RetryBy,
};
pub use query::{BanLine, BanState, BanView, Health, JailStatus, JailWhy, TallyView, Why};
pub use recount::{Enough, Recount};
pub use snapshot::{SNAPSHOT_DETAIL_BYTES_MAX, SNAPSHOT_TALLIES_MAX, SnapshotError};
pub use spec::{
    Bounds, Guard, IgnoreCache, IgnoreEntry, Increment, JailSpec, ProtectedAs, Protection, RELAY, ServerSpec, UseDns,
};

use announce::Announcer;
use bans::Past;
use desk::Desk;
use hand::Hand;
use jail::Jail;
use parking::{Marks, Parking};
use table::Seeded;

use crate::decision::{Seq, Subject};
use crate::id::FailureId;
use crate::jail::JailName;
use crate::time::{Span, Timestamp};

/// How long ended bans are remembered unless `dbpurgeage` says otherwise.
const PURGE_AGE: Span = Span::from_secs(86_400);
/// How often they are looked through.
const PURGE_EVERY: Span = Span::from_secs(3600);

/// Owner of all tallies, bans, ends, ignore lists, history and timers.
#[derive(Debug)]
pub struct Judge {
    /// In the order in which they were made.
    jails: Vec<Jail>,
    by_name: BTreeMap<JailName, usize>,
    desk: Desk,
    parking: Parking,
    marks: Marks,
    purge_at: Option<Timestamp>,
    /// Questions that were never answered or could not be asked.
    unasked: u64,
    dropped_batches: u64,
}

impl Judge {
    /// A judge without jails. `seed` feeds `rndtime` and the hash tables; the
    /// first decision gets the number after `last`.
    pub fn new(seed: u64, last: Seq) -> Self {
        let seeded = Seeded::new(seed);
        Judge {
            jails: Vec::new(),
            by_name: BTreeMap::new(),
            desk: Desk {
                now: Timestamp::default(),
                announcer: Announcer::starting_at(last),
                bounds: Bounds::default(),
                purge_age: PURGE_AGE,
                own: Default::default(),
                protections: Vec::new(),
                allowed: Default::default(),
                names: Default::default(),
                seeded,
                dice: seed,
                chores: Default::default(),
                orphans: BTreeMap::new(),
                bytes_room: 0,
                tally_room: 0,
                hand: Hand::default(),
            },
            parking: Parking::default(),
            marks: Marks::default(),
            purge_at: None,
            unasked: 0,
            dropped_batches: 0,
        }
    }

    /// Takes one event at the time `now` and adds what follows from it to `out`.
    ///
    /// Whatever is due by `now` happens first: bans that are over end in the
    /// order of their ends.
    pub fn step(&mut self, now: Timestamp, event: Event, out: &mut Outputs) {
        self.desk.now = now;
        self.desk.tally_room = 0;
        self.desk.bytes_room = self.desk.bounds.matches_bytes.saturating_sub(self.matches_bytes());
        self.due(out);
        match event {
            Event::Batch(batch) => self.batch(batch, out),
            Event::Config(changes) => self.config(changes, out),
            Event::Server(server) => self.server(&server),
            Event::Command { id, command } => self.command(id, command, out),
            Event::Answer { id, answer } => self.answer(id, &answer, out),
            Event::Saved(upto) => self.desk.announcer.saved(upto),
            Event::Unsaved { why, .. } => self.desk.announcer.unsaved = Some(why),
            Event::Applied { upto, failed } => self.desk.announcer.applied(now, upto, failed, out),
            Event::Reapplied { subject, result } => self.tried(subject, None, result, out),
            Event::Acted { subject, action, result } => self.tried(subject, Some(action), result, out),
            Event::Protected(list) => self.protect(list, out),
            Event::FileSet { path, nets } => {
                for jail in &mut self.jails {
                    jail.rules.file_read(&path, &nets);
                }
            }
            Event::Restore(rows) => self.restore(rows, out),
            Event::Evidence(rows) => self.give_evidence(rows),
            Event::Deadline => {}
        }
        self.desk.announcer.advance(now, out);
        self.let_go_of_evidence();
        self.tell(out);
    }

    /// What the database has of a ban need not be kept here as well.
    fn let_go_of_evidence(&mut self) {
        for (jail, id, seq) in std::mem::take(&mut self.desk.announcer.kept) {
            let at = self.position(&jail);
            let jail = at.and_then(|at| self.jails.get_mut(at));
            if let Some(jail) = jail.filter(|jail| !jail.spec.evidence) {
                jail.bans.let_go_of_evidence(&id, seq);
            }
        }
    }

    /// When [`Event::Deadline`] is wanted at the latest; not later than the
    /// last step's time if there is work left to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if !self.desk.chores.is_empty() {
            return Some(self.desk.now);
        }
        let jails = self.jails.iter().flat_map(|jail| [jail.bans.deadline(), jail.tallies.deadline()]);
        jails
            .chain([
                self.desk.announcer.deadline(),
                self.parking.deadline(),
                self.purge_at.filter(|_| self.remembers()),
            ])
            .flatten()
            .min()
            .map(|at| at.max(self.desk.now))
    }

    /// Does what time alone brings about.
    fn due(&mut self, out: &mut Outputs) {
        let now = self.desk.now;
        self.work(out);
        let mut room = self.desk.bounds.decisions.saturating_sub(out.turn.decisions.len());
        // Ends over all jails, in their order.
        while room > 0 {
            let first = self
                .jails
                .iter()
                .enumerate()
                .filter_map(|(at, jail)| Some((jail.bans.deadline().filter(|end| *end <= now)?, at)))
                .min();
            let Some((_, at)) = first else { break };
            let Judge { jails, desk, .. } = self;
            let Some(jail) = jails.get_mut(at) else { break };
            room -= jail.expire(desk, 1, out).min(room);
        }
        let mut room = self.desk.bounds.decisions;
        for jail in &mut self.jails {
            jail.tallies.sweep(now, jail.spec.findtime, &mut room);
        }
        self.give_up(out);
        if self.purge_at.is_none_or(|at| at <= now) {
            if self.purge_at.is_some() {
                let age = self.desk.purge_age;
                let Judge { jails, desk, .. } = self;
                for history in jails.iter_mut().map(|jail| &mut jail.history).chain(desk.orphans.values_mut()) {
                    history.purge(now, age);
                }
                desk.orphans.retain(|_, history| history.len() > 0);
            }
            self.purge_at = Some(now + PURGE_EVERY);
        }
    }

    /// An action ended, or the kernel tried again.
    fn tried(
        &mut self,
        subject: Subject,
        action: Option<std::sync::Arc<str>>,
        result: Result<(), Box<str>>,
        out: &mut Outputs,
    ) {
        let Err(why) = result else {
            self.desk.announcer.put_right(&subject, action.as_ref());
            return;
        };
        let living = self.jail(&subject.jail).and_then(|jail| jail.bans.get(&subject.id));
        let matters = match announce::is_ban(subject.kind) {
            // The ban may be over, or another one by now.
            true => living.is_some_and(|ban| (ban.seq..=ban.last()).contains(&subject.seq)),
            // An unban that failed must not be tried against a new ban.
            false => living.is_none(),
        };
        if matters {
            self.desk.announcer.failed(subject, action, why, self.desk.now, out);
        }
    }

    /// Tells changed counters, once per step.
    fn tell(&mut self, out: &mut Outputs) {
        for jail in &mut self.jails {
            let counters = jail.counters();
            if counters != jail.told {
                jail.told = counters;
                out.changes.push(Change::Counters { jail: jail.name().clone(), counters });
            }
        }
    }

    /// Is there any history that could be purged?
    fn remembers(&self) -> bool {
        !self.desk.orphans.is_empty() || self.jails.iter().any(|jail| jail.history.len() > 0)
    }

    fn matches_bytes(&self) -> usize {
        self.jails.iter().map(|jail| jail.tallies.bytes() + jail.bans.bytes()).sum()
    }

    fn position(&self, jail: &JailName) -> Option<usize> {
        self.by_name.get(jail).copied()
    }

    fn jail(&self, jail: &JailName) -> Option<&Jail> {
        self.jails.get(self.position(jail)?)
    }

    /// Rebuilds the positions after jails came or went.
    fn index(&mut self) {
        self.by_name = self.jails.iter().enumerate().map(|(at, jail)| (jail.name().clone(), at)).collect();
    }

    /// What all jails together know of an id, if this jail wants to know.
    fn overall(&self, at: usize, id: &FailureId) -> Option<Past> {
        let jail = self.jails.get(at)?;
        if !(jail.spec.increment.increment && jail.spec.increment.overalljails) {
            return None;
        }
        let living = self.jails.iter().filter_map(|jail| jail.past(id));
        let gone = self.desk.orphans.values().filter_map(|history| history.get(id).copied());
        living.chain(gone).reduce(|a, b| Past {
            count: a.count.saturating_add(b.count),
            start: a.start.max(b.start),
            bantime: b.bantime,
        })
    }
}
