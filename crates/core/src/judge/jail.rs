//! One jail's state, and what a ban in it takes.

use std::collections::BTreeMap;

use super::announce::Increased;
use super::bans::{Ban, Bans, History, Past, Rest};
use super::desk::Desk;
use super::ignore::Rules;
use super::increase;
use super::log::{Level, LogLine, LogText, Logger};
use super::output::{Counters, Doubt, Outputs};
use super::spec::{Guard, JailSpec, Protection};
use super::tally::{Limits, Tallies};
use crate::decision::{Decision, DecisionKind, Origin, Seq};
use crate::failure::Groups;
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::time::{BanTime, Span, Timestamp};

/// At most this many withheld bans are remembered per jail; a further one is
/// decided anew each time `maxretry` is reached.
pub const WITHHELD_MAX: usize = 10_000;

/// A ban younger than this raises no doubts, and they are raised no more often.
const DOUBT_AFTER: Span = Span::from_secs(3);

/// A ban that the guard withholds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Withheld {
    pub(super) seq: Seq,
    pub(super) since: Timestamp,
    pub(super) until: Timestamp,
    pub(super) failures: u32,
    pub(super) why: Box<str>,
}

/// Everything about one jail.
#[derive(Debug)]
pub(super) struct Jail {
    pub(super) spec: JailSpec,
    pub(super) rules: Rules,
    pub(super) tallies: Tallies,
    pub(super) bans: Bans,
    pub(super) history: History,
    pub(super) withheld: BTreeMap<FailureId, Withheld>,
    pub(super) failed_total: u64,
    pub(super) banned_total: u64,
    pub(super) ignored_total: u64,
    pub(super) evicted_total: u64,
    /// When actions were last to be checked because of a [`Doubt`].
    pub(super) checked: Timestamp,
    /// What clients were last told.
    pub(super) told: Counters,
}

/// Everything that a new ban starts from.
pub(super) struct Ticket {
    pub(super) id: FailureId,
    pub(super) ip: Option<Net>,
    pub(super) time: Timestamp,
    pub(super) own: Option<BanTime>,
    pub(super) failures: u32,
    /// Earlier bans, see [`super::tally::Tally`].
    pub(super) earlier: u32,
    pub(super) matches: Vec<Box<str>>,
    pub(super) groups: Groups,
    pub(super) origin: Origin,
    pub(super) force: bool,
}

/// What became of a ticket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Banned {
    New,
    Already,
    Expired,
    Withheld(Box<str>),
}

impl Jail {
    pub(super) fn name(&self) -> &JailName {
        &self.spec.name
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            failed: self.tallies.len() as u64,
            failed_total: self.failed_total,
            banned: self.bans.len() as u64,
            banned_total: self.banned_total,
            ignored_total: self.ignored_total,
            withheld: self.withheld.len() as u64,
            evicted_total: self.evicted_total,
        }
    }

    pub(super) fn limits(&self, desk: &Desk) -> Limits {
        Limits {
            findtime: self.spec.findtime,
            maxmatches: usize::try_from(self.spec.maxmatches).unwrap_or(usize::MAX),
            bytes: desk.bytes_room,
        }
    }

    /// What the database has on an id: the living ban, else the last ended one.
    pub(super) fn past(&self, id: &FailureId) -> Option<Past> {
        self.bans.get(id).and_then(|ban| ban.past(self.spec.bantime)).or_else(|| self.history.get(id).copied())
    }

    fn line(&self, logger: Logger, level: Level, text: LogText) -> LogLine {
        LogLine { logger, level, jail: Some(self.name().clone()), text }
    }

    /// Bans, unless the ban would be over already, exists, or is withheld.
    ///
    /// `overall` is what all jails know of the id (`bantime.overalljails`).
    ///
    /// Source: fail2ban `server/actions.py`, `__checkBan`; `banmanager.py`,
    /// `addBanTicket`; `observer.py`, `banFound`.
    pub(super) fn ban(&mut self, desk: &mut Desk, ticket: Ticket, overall: Option<Past>, out: &mut Outputs) -> Banned {
        let now = desk.now;
        let mut bantime = ticket.own.unwrap_or(self.spec.bantime);
        if bantime.end(ticket.time) < now {
            let line = self.line(Logger::Actions, Level::Info, LogText::ExpiredBantime { id: ticket.id });
            desk.announcer.say(line, out);
            return Banned::Expired;
        }
        desk.settle(self, &ticket.id, out);
        if self.bans.get(&ticket.id).is_some() {
            self.ban_again(desk, &ticket, bantime, out);
            return Banned::Already;
        }
        if let Some(why) = desk.protection(self.name(), ticket.ip.or(ticket.id.net())) {
            match self.spec.guard {
                Guard::Refuse if !ticket.force => return self.withhold(desk, ticket, bantime, why, out),
                Guard::Refuse | Guard::Warn => {
                    let text = LogText::GuardWarning { id: ticket.id.clone(), why };
                    out.log.push(self.line(Logger::Judge, Level::Warning, text));
                }
                Guard::Off => {}
            }
        }
        self.withheld.remove(&ticket.id);

        // DIVERGENCE (first-ban-time):
        // computed before actions see the ban, not behind their back.
        let (mut count, mut own, mut increased) = (ticket.earlier.saturating_add(1), ticket.own, None);
        if let (None, BanTime::For(time), true) = (ticket.own, self.spec.bantime, self.spec.increment.increment)
            && time.micros() > 0
            && let Some(past) = overall.or_else(|| self.history.get(&ticket.id).copied())
        {
            count = past.count.max(ticket.earlier).saturating_add(1);
            let from = bantime;
            if past.count > 0 {
                match increase::bantime(&self.spec.increment, time, past.count, desk.chance()) {
                    Ok(longer) => bantime = longer,
                    Err(error) => {
                        let text = format!("bantime.formula has no value for ban {count}, bantime is used: {error}");
                        out.log.push(self.line(Logger::Judge, Level::Error, LogText::Plain(text.into())));
                    }
                }
            }
            own = Some(bantime);
            let fresh = ticket.time > past.start;
            increased = Some(Increased { earlier: past.count, last: past.start, from, to: bantime, fresh });
        }
        let why = match &increased {
            Some(i) if i.from != i.to => format!(
                "banned {} before: {} instead of {}",
                times(i.earlier),
                super::log::duration(i.to),
                super::log::duration(i.from)
            )
            .into(),
            _ => Box::default(),
        };
        let unstored = increased.as_ref().is_some_and(|i| !i.fresh) || bantime.end(ticket.time) < now;
        let other = self.history.get(&ticket.id).filter(|_| unstored).copied();
        let evidence = desk.evidence(ticket.ip, ticket.matches, ticket.groups.to_list(), why, self.spec.maxmatches);
        let ban = Ban {
            seq: Seq(0),
            later: 0,
            start: ticket.time,
            end: bantime.end(ticket.time),
            count,
            failures: ticket.failures,
            own: own.is_some(),
            restored: false,
            as_stored: !unstored,
            rest: Rest::of(other, evidence),
        };
        self.put_ban(desk, ticket.id, ban, DecisionKind::Ban, ticket.origin, increased, out);
        Banned::New
    }

    /// Decides a ban and puts it into the table.
    #[expect(clippy::too_many_arguments, reason = "the parts of one decision, from two callers")]
    pub(super) fn put_ban(
        &mut self,
        desk: &mut Desk,
        id: FailureId,
        mut ban: Ban,
        kind: DecisionKind,
        origin: Origin,
        increased: Option<Increased>,
        out: &mut Outputs,
    ) {
        self.history.remove(&id);
        self.banned_total += 1;
        let decision = self.decision(kind, &id, &ban, origin);
        desk.announcer.ban_anew(self.name(), &id);
        ban.seq = desk.decide(decision, increased, out);
        match kind {
            DecisionKind::Restore => self.bans.take_up(id, ban),
            _ => self.bans.insert(id, ban),
        }
    }

    fn decision(&self, kind: DecisionKind, id: &FailureId, ban: &Ban, origin: Origin) -> Decision {
        decision(self.name(), self.spec.bantime, kind, id, ban, origin)
    }

    /// A further ban of somebody banned: at most its end moves.
    fn ban_again(&mut self, desk: &mut Desk, ticket: &Ticket, bantime: BanTime, out: &mut Outputs) {
        let Some(living) = self.bans.get(&ticket.id) else { return };
        let late = ticket.time - living.start;
        let (seq, start, end) = (living.seq, living.start, living.end);
        let check = late > DOUBT_AFTER && desk.now > self.checked + DOUBT_AFTER;
        if check {
            self.checked = desk.now;
        }
        out.doubts.push(Doubt { seq, jail: self.name().clone(), id: ticket.id.clone(), check });
        if bantime.end(ticket.time) > end {
            let longer = match bantime {
                BanTime::Permanent => BanTime::Permanent,
                BanTime::For(time) if ticket.time > start => BanTime::For(time + (ticket.time - start)),
                BanTime::For(time) => BanTime::For(time),
            };
            self.retime(desk, &ticket.id, Some(longer), ticket.origin.clone(), out);
        }
        let level = match late.secs() {
            ..3 => Level::Debug,
            3..60 => Level::Notice,
            _ => Level::Warning,
        };
        let line = self.line(Logger::Actions, level, LogText::AlreadyBanned { id: ticket.id.clone() });
        desk.announcer.say(line, out);
    }

    /// Moves the end of a living ban.
    pub(super) fn retime(
        &mut self,
        desk: &mut Desk,
        id: &FailureId,
        own: Option<BanTime>,
        origin: Origin,
        out: &mut Outputs,
    ) {
        let jail = self.spec.bantime;
        let Some(ban) = self.bans.retime(id, own, jail).cloned() else { return };
        let decision = self.decision(DecisionKind::Prolong, id, &ban, origin);
        let seq = desk.decide(decision, None, out);
        self.bans.decided(id, seq);
    }

    /// Remembers that the guard withholds a ban; one decision per spell.
    pub(super) fn withhold(
        &mut self,
        desk: &mut Desk,
        ticket: Ticket,
        bantime: BanTime,
        why: Box<str>,
        out: &mut Outputs,
    ) -> Banned {
        let now = desk.now;
        if self.withheld.get(&ticket.id).is_some_and(|spell| spell.until >= now) {
            return Banned::Withheld(why);
        }
        let end = bantime.end(ticket.time);
        let evidence =
            desk.evidence(ticket.ip, ticket.matches, ticket.groups.to_list(), why.clone(), self.spec.maxmatches);
        let ban = Ban {
            seq: Seq(0),
            later: 0,
            start: ticket.time,
            end,
            count: 0,
            failures: ticket.failures,
            own: true,
            restored: false,
            as_stored: false,
            rest: Rest::of(None, evidence),
        };
        let decision = self.decision(DecisionKind::Withhold, &ticket.id, &ban, ticket.origin);
        let decision = Decision { why: why.clone(), ..decision };
        let seq = desk.decide(decision, None, out);
        self.withheld.retain(|_, spell| spell.until >= now);
        if self.withheld.len() < WITHHELD_MAX {
            let spell = Withheld { seq, since: now, until: end, failures: ticket.failures, why: why.clone() };
            self.withheld.insert(ticket.id, spell);
        }
        Banned::Withheld(why)
    }

    /// Ends bans whose time is over, at most `limit`; returns how many ended.
    pub(super) fn expire(&mut self, desk: &mut Desk, limit: usize, out: &mut Outputs) -> usize {
        let mut ended = 0;
        while ended < limit
            && let Some((id, ban)) = self.bans.pop_over(desk.now)
        {
            self.end_ban(desk, id, &ban, DecisionKind::Unban, Origin::Expired, None, out);
            ended += 1;
        }
        ended
    }

    /// Decides the end of a ban that was taken out of the table.
    #[expect(clippy::too_many_arguments, reason = "the parts of one decision")]
    pub(super) fn end_ban(
        &mut self,
        desk: &mut Desk,
        id: FailureId,
        ban: &Ban,
        kind: DecisionKind,
        origin: Origin,
        why: Option<Box<str>>,
        out: &mut Outputs,
    ) {
        let decision = self.decision(kind, &id, ban, origin);
        desk.ended(decision, ban, why, out);
        match ban.past(self.spec.bantime).filter(|_| kind != DecisionKind::Lift) {
            Some(past) => self.history.insert(id, past),
            None => {
                self.history.remove(&id);
            }
        }
    }

    /// Where the guard refuses: lifts living bans of what is protected by its
    /// nature. A login or a relay protects from new bans only, it may be the attacker's.
    pub(super) fn lift_protected(&mut self, desk: &mut Desk, protections: &[Protection], out: &mut Outputs) {
        if self.spec.guard != Guard::Refuse {
            return;
        }
        for protection in protections.iter().filter(|p| p.reason.is_by_nature()) {
            for id in self.bans_hitting(protection.net) {
                let why: Box<str> = format!("protected: {}", protection.reason).into();
                let text = LogText::Withheld { id: id.clone(), why: why.clone() };
                out.log.push(self.line(Logger::Judge, Level::Warning, text));
                self.lift(desk, &id, Origin::Config, Some(why), out);
            }
        }
    }

    /// Lifts the ban of one id and forgets its history; was it banned?
    pub(super) fn lift(
        &mut self,
        desk: &mut Desk,
        id: &FailureId,
        origin: Origin,
        why: Option<Box<str>>,
        out: &mut Outputs,
    ) -> bool {
        desk.settle(self, id, out);
        self.withheld.remove(id);
        if let Some((id, ban)) = self.bans.remove(id) {
            self.end_ban(desk, id, &ban, DecisionKind::Lift, origin, why, out);
            return true;
        }
        if let Some(past) = self.history.remove(id) {
            desk.forget(self.spec.name.clone(), id.clone(), past, origin, out);
        }
        false
    }

    /// Ids of the bans of which all addresses lie in `net`, in order of ban.
    pub(super) fn bans_within(&self, net: Net) -> Vec<FailureId> {
        self.ids_where(|target| net.contains(target))
    }

    /// Ids of the bans that touch `net`, in order of ban.
    pub(super) fn bans_hitting(&self, net: Net) -> Vec<FailureId> {
        self.ids_where(|target| net.contains(target) || target.contains(net))
    }

    fn ids_where(&self, wanted: impl Fn(Net) -> bool) -> Vec<FailureId> {
        let mut found: Vec<_> = self
            .bans
            .iter()
            .filter(|(id, ban)| ban.evidence().and_then(|e| e.ip).or(id.net()).is_some_and(&wanted))
            .map(|(id, ban)| (ban.seq, id.clone()))
            .collect();
        found.sort_by_key(|(seq, _)| *seq);
        found.into_iter().map(|(_, id)| id).collect()
    }
}

/// A decision about a ban, with the ban's own begin and evidence.
pub(super) fn decision(
    jail: &JailName,
    jail_bantime: BanTime,
    kind: DecisionKind,
    id: &FailureId,
    ban: &Ban,
    origin: Origin,
) -> Decision {
    let evidence = ban.evidence();
    Decision {
        seq: Seq(0),
        kind,
        jail: jail.clone(),
        id: id.clone(),
        ip: evidence.and_then(|e| e.ip),
        time: ban.start,
        bantime: ban.bantime(jail_bantime),
        end: ban.end,
        count: ban.count,
        failures: ban.failures,
        matches: evidence.map(|e| e.matches.clone()).unwrap_or_default(),
        groups: evidence.map(|e| e.groups.clone()).unwrap_or_default(),
        origin,
        why: evidence.map(|e| e.why.clone()).unwrap_or_default(),
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
