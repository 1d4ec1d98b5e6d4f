//! What the judge's jails share: the number of the next decision, the clock of
//! this step, who is protected, and work that is done in portions.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::announce::{Announcer, Increased};
use super::bans::{Ban, Bans, Evidence, History, Past};
use super::event::CommandId;
use super::hand::Hand;
use super::ignore::Names;
use super::jail::{self, Jail};
use super::netset::NetSet;
use super::output::{Outcome, Outputs};
use super::spec::{Bounds, Protection};
use super::table::{Seeded, Slot};
use crate::decision::{Decision, DecisionKind, Origin, Seq};
use crate::failure::GroupValue;
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::time::{BanTime, Span, Timestamp};

/// What the jails share.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) now: Timestamp,
    pub(super) announcer: Announcer,
    pub(super) bounds: Bounds,
    pub(super) purge_age: Span,
    pub(super) own: BTreeSet<IpAddr>,
    pub(super) protections: Vec<Protection>,
    /// `stockade allow` for all jails.
    pub(super) allowed: NetSet,
    pub(super) names: Names,
    pub(super) seeded: Seeded,
    /// State of the generator behind `rndtime`.
    pub(super) dice: u64,
    pub(super) chores: VecDeque<Chore>,
    /// History of jails that do not exist (any more).
    pub(super) orphans: BTreeMap<JailName, History>,
    /// Bytes of matches and groups that may still be kept.
    pub(super) bytes_room: usize,
    /// Tallies that may still be made without counting them all again.
    pub(super) tally_room: usize,
    /// Which tallies are looked at next when room is to be made.
    pub(super) hand: Hand,
}

/// Work that is done in portions, so that no step takes long.
#[derive(Debug)]
pub(super) enum Chore {
    /// All bans of a jail end.
    End(Box<Ending>),
    /// The ban time of a jail changed; bans without an own one follow.
    Retime { jail: JailName, next: Slot },
}

#[derive(Debug)]
pub(super) struct Ending {
    pub(super) jail: JailName,
    pub(super) jail_bantime: BanTime,
    pub(super) bans: Bans,
    /// Rows to forget, for a lift.
    pub(super) history: Option<History>,
    pub(super) kind: DecisionKind,
    pub(super) origin: Origin,
    pub(super) reply: Option<(CommandId, Outcome)>,
    pub(super) removed: bool,
}

impl Desk {
    /// Numbers a decision and hands it out.
    pub(super) fn decide(&mut self, mut decision: Decision, increased: Option<Increased>, out: &mut Outputs) -> Seq {
        let seq = Seq(self.announcer.last.0 + 1);
        decision.seq = seq;
        self.announcer.decided(self.now, &decision, increased);
        out.turn.decisions.push(decision);
        seq
    }

    /// Hands out the end of a ban.
    pub(super) fn ended(&mut self, mut decision: Decision, ban: &Ban, why: Option<Box<str>>, out: &mut Outputs) {
        // A ban that was over before it was noticed ended when it was over.
        decision.time = if decision.kind == DecisionKind::Unban { ban.end } else { self.now };
        if let Some(why) = why {
            decision.why = why;
        }
        self.announcer.ban_over(&decision.jail, &decision.id);
        self.decide(decision, None, out);
    }

    /// Hands out that the history of somebody not banned is forgotten: a lift
    /// of count 0.
    pub(super) fn forget(&mut self, jail: JailName, id: FailureId, past: Past, origin: Origin, out: &mut Outputs) {
        let decision = Decision {
            seq: Seq(0),
            kind: DecisionKind::Lift,
            jail,
            id,
            ip: None,
            time: self.now,
            bantime: past.bantime,
            end: past.bantime.end(past.start),
            count: 0,
            failures: 0,
            matches: Arc::default(),
            groups: Arc::default(),
            origin,
            why: "not banned, only remembered".into(),
        };
        self.decide(decision, None, out);
    }

    /// Brings the ban of one id up to date: ends that are due or pending.
    pub(super) fn settle(&mut self, jail: &mut Jail, id: &FailureId, out: &mut Outputs) {
        if !self.chores.is_empty() {
            let mut pending = Vec::new();
            for chore in &mut self.chores {
                if let Chore::End(ending) = chore
                    && ending.jail == *jail.name()
                {
                    let ban = ending.bans.remove(id).map(|(_, ban)| ban);
                    let past = ending.history.as_mut().and_then(|history| history.remove(id));
                    if ban.is_some() || past.is_some() {
                        pending.push((ban, past, ending.kind, ending.origin.clone()));
                    }
                }
            }
            for (ban, past, kind, origin) in pending {
                if let Some(ban) = ban {
                    jail.end_ban(self, id.clone(), &ban, kind, origin.clone(), None, out);
                }
                if let Some(past) = past {
                    self.forget(jail.name().clone(), id.clone(), past, origin, out);
                }
            }
        }
        if jail.bans.get(id).is_some_and(|ban| ban.end < self.now)
            && let Some((id, ban)) = jail.bans.remove(id)
        {
            jail.end_ban(self, id, &ban, DecisionKind::Unban, Origin::Expired, None, out);
        }
    }

    /// Why a target must not be banned, if it must not: it is, holds or lies in
    /// a protected address or network.
    pub(super) fn protection(&self, jail: &JailName, target: Option<Net>) -> Option<Box<str>> {
        self.protection_where(target, |p| p.reason.concerns(jail))
    }

    /// The same of all jails together.
    pub(super) fn protection_anywhere(&self, target: Option<Net>) -> Option<Box<str>> {
        self.protection_where(target, |_| true)
    }

    fn protection_where(&self, target: Option<Net>, counts: impl Fn(&Protection) -> bool) -> Option<Box<str>> {
        let target = target?;
        let touches = |p: &Protection| p.net.contains(target) || target.contains(p.net);
        let found = self.protections.iter().find(|p| touches(p) && counts(p))?;
        Some(if found.net == target {
            found.reason.to_string().into()
        } else {
            format!("{} {}", found.reason, found.net).into()
        })
    }

    /// A random number in `0.0..1.0` from the seed.
    #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
    pub(super) fn chance(&mut self) -> f64 {
        // splitmix64
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Evidence within the bounds of matches and memory.
    pub(super) fn evidence(
        &mut self,
        ip: Option<Net>,
        mut matches: Vec<Box<str>>,
        mut groups: Vec<(Arc<str>, GroupValue)>,
        why: Box<str>,
        maxmatches: u32,
    ) -> Option<Box<Evidence>> {
        let surplus = matches.len().saturating_sub(usize::try_from(maxmatches).unwrap_or(usize::MAX));
        matches.drain(..surplus);
        let found = Evidence::new(ip, std::mem::take(&mut matches), std::mem::take(&mut groups), why)?;
        if found.bytes > self.bytes_room {
            return Evidence::new(ip, matches, groups, found.why);
        }
        self.bytes_room -= found.bytes;
        Some(found)
    }

    /// The end of a ban of a jail that is gone.
    #[expect(clippy::too_many_arguments, reason = "the parts of one decision")]
    pub(super) fn end_orphan(
        &mut self,
        jail: &JailName,
        jail_bantime: BanTime,
        id: FailureId,
        ban: &Ban,
        kind: DecisionKind,
        origin: Origin,
        out: &mut Outputs,
    ) {
        let decision = jail::decision(jail, jail_bantime, kind, &id, ban, origin);
        self.ended(decision, ban, None, out);
        if let Some(past) = ban.past(jail_bantime).filter(|_| kind != DecisionKind::Lift) {
            self.history_of(jail).insert(id, past);
        }
    }

    pub(super) fn history_of(&mut self, jail: &JailName) -> &mut History {
        let Desk { orphans, seeded, .. } = self;
        orphans.entry(jail.clone()).or_insert_with(|| History::new(seeded.clone()))
    }
}
