//! The judge: failures, commands, answers and time become decisions.

mod announce;
mod bans;
mod command;
mod configure;
mod counting;
mod desk;
mod event;
pub mod formula;
mod ignore;
mod increase;
mod jail;
mod log;
mod netset;
mod output;
mod parking;
mod query;
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
pub use output::{About, Ask, Change, Counters, Flush, Outcome, Outputs, Question, Reply, Retry, RetryBy};
pub use query::{BanState, BanView, Health, JailStatus, JailWhy, TallyView, Why};
pub use snapshot::{SNAPSHOT_DETAIL_BYTES_MAX, SnapshotError};
pub use spec::{
    Bounds, Guard, IgnoreCache, IgnoreEntry, Increment, JailSpec, ProtectedAs, Protection, ServerSpec, UseDns,
};

use announce::Announcer;
use bans::Past;
use desk::Desk;
use jail::Jail;
use parking::{Marks, Parking};
use table::Seeded;

use crate::decision::Seq;
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
            Event::Reapplied { seq, result } => self.retried(seq, None, result, out),
            Event::Acted { seq, action, result } => self.retried(seq, Some(action), result, out),
            Event::Protected(list) => self.protect(list, out),
            Event::FileSet { path, nets } => {
                for jail in &mut self.jails {
                    jail.rules.file_read(&path, &nets);
                }
            }
            Event::Restore(rows) => self.restore(rows, out),
            Event::Deadline => {}
        }
        self.desk.announcer.advance(now, out);
        self.tell(out);
    }

    /// When [`Event::Deadline`] is wanted at the latest; not later than the
    /// last step's time if there is work left to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if !self.desk.chores.is_empty() {
            return Some(self.desk.now);
        }
        let jails = self.jails.iter().flat_map(|jail| [jail.bans.deadline(), jail.tallies.deadline()]);
        jails
            .chain([self.desk.announcer.deadline(), self.parking.deadline(), self.purge_at])
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
        for jail in &mut self.jails {
            jail.tallies.sweep(now, jail.spec.findtime);
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

    fn retried(
        &mut self,
        seq: Seq,
        action: Option<std::sync::Arc<str>>,
        result: Result<(), Box<str>>,
        out: &mut Outputs,
    ) {
        let why = match result {
            Ok(()) => {
                self.desk.announcer.put_right(seq, action.as_ref());
                return;
            }
            Err(why) => why,
        };
        let announcer = &mut self.desk.announcer;
        let found = match announcer.trouble(seq, action.as_ref()) {
            Some(trouble) => Some((trouble.kind, trouble.jail.clone(), trouble.id.clone())),
            None => announcer.about(seq),
        };
        // A decision that is neither waiting nor troubled: look for its ban.
        let found = found.or_else(|| {
            self.jails.iter().find_map(|jail| {
                let (id, _) = jail.bans.iter().find(|(_, ban)| ban.seq == seq)?;
                Some((crate::decision::DecisionKind::Ban, jail.name().clone(), id.clone()))
            })
        });
        if let Some((kind, jail, id)) = found {
            let now = self.desk.now;
            let trouble = Trouble { seq, kind, jail, id, action, why, tries: 1, next: now };
            self.desk.announcer.failed(trouble, now, out);
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
