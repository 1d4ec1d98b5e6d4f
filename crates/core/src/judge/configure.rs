//! Jails come, change and go; stored bans come back.

use super::bans::{Ban, History, Past, Rest};
use super::desk::{Chore, Desk};
use super::event::{CommandId, JailChange, StoredBan, StoredTime};
use super::ignore::{Rules, Surroundings, Verdict};
use super::jail::{Banned, Jail, Ticket};
use super::log::{Level, LogLine, LogText, Logger};
use super::output::{About, Counters, Outcome, Outputs};
use super::spec::{Guard, JailSpec, Protection, ServerSpec};
use super::tally::Tallies;
use super::{Change, Judge};
use crate::decision::{DecisionKind, Origin, Seq};
use crate::failure::Groups;
use crate::jail::JailName;
use crate::time::{BanTime, Span, Timestamp};

impl Judge {
    pub(super) fn config(&mut self, changes: Vec<JailChange>, out: &mut Outputs) {
        for change in changes {
            match change {
                JailChange::Put(spec) => self.put_jail(*spec, out),
                JailChange::Remove(name) => self.remove_jail(&name, None, out),
                JailChange::ForgetNames => self.desk.names.clear(),
            }
        }
        self.work(out);
    }

    fn put_jail(&mut self, mut spec: JailSpec, out: &mut Outputs) {
        let Judge { jails, desk, .. } = self;
        if let Some(jail) = jails.iter_mut().find(|jail| *jail.name() == spec.name) {
            jail.rules = Rules::new(&spec, std::mem::take(&mut jail.rules.allowed));
            spec.epoch = jail.spec.epoch;
            let old = std::mem::replace(&mut jail.spec, spec);
            if old.findtime != jail.spec.findtime {
                jail.tallies.findtime_changed(jail.spec.findtime);
            }
            if old.guard != jail.spec.guard {
                let all = desk.protections.clone();
                jail.lift_protected(desk, &all, out);
            }
            if old.bantime != jail.spec.bantime {
                desk.chores.push_back(Chore::Retime { jail: old.name, next: 0 });
            }
            return;
        }
        let name = spec.name.clone();
        let history = desk.orphans.remove(&name).unwrap_or_else(|| History::new(desk.seeded.clone()));
        jails.push(Jail {
            rules: Rules::new(&spec, Default::default()),
            tallies: Tallies::new(desk.seeded.clone()),
            bans: super::bans::Bans::new(desk.seeded.clone()),
            history,
            withheld: Default::default(),
            failed_total: 0,
            banned_total: 0,
            ignored_total: 0,
            evicted_total: 0,
            checked: Timestamp::from_micros(i64::MIN),
            told: Counters::default(),
            spec,
        });
        self.index();
        self.desk.announcer.change(Change::JailPut { jail: name }, out);
    }

    /// Takes a jail away; its bans leave the firewall and stay stored.
    pub(super) fn remove_jail(&mut self, name: &JailName, reply: Option<(CommandId, Outcome)>, out: &mut Outputs) {
        let Some(at) = self.position(name) else { return };
        self.end_jail(name, DecisionKind::Repeal, Origin::Config, reply, true, out);
        let gone = self.jails.remove(at);
        self.index();
        self.marks.forget(name);
        *self.desk.history_of(name) = gone.history;
        self.work(out);
    }

    pub(super) fn server(&mut self, server: &ServerSpec) {
        self.desk.own = server.own.iter().map(std::net::IpAddr::to_canonical).collect();
        self.desk.purge_age = server.dbpurgeage.unwrap_or(super::PURGE_AGE);
        self.desk.bounds = server.bounds.unwrap_or_default();
    }

    /// Takes the guard's new list. Spells of addresses that are no longer
    /// protected end without a ban; living bans of what is protected by its
    /// nature (not by a login or as a relay) are lifted where the guard refuses.
    pub(super) fn protect(&mut self, protections: Vec<Protection>, out: &mut Outputs) {
        let old = std::mem::replace(&mut self.desk.protections, protections);
        let Judge { jails, desk, .. } = self;
        let new: Vec<Protection> = desk.protections.iter().filter(|p| !old.contains(p)).cloned().collect();
        for jail in jails {
            let name = &jail.spec.name;
            jail.withheld.retain(|id, _| desk.protection(name, id.net()).is_some() || id.net().is_none());
            jail.lift_protected(desk, &new, out);
        }
    }

    pub(super) fn restore(&mut self, rows: Vec<StoredBan>, out: &mut Outputs) {
        out.turn.decisions.reserve(rows.len());
        for row in rows {
            match self.position(&row.jail) {
                Some(at) => self.restore_row(at, row, out),
                None => {
                    let past = past_of(&row, BanTime::For(Span::ZERO));
                    self.desk.history_of(&row.jail).insert(row.id, past);
                }
            }
        }
        self.jails.iter_mut().for_each(|jail| jail.bans.came_together());
    }

    /// Gives standing bans what their rows have kept of them.
    pub(super) fn give_evidence(&mut self, rows: Vec<StoredBan>) {
        for row in rows {
            let Some(at) = self.position(&row.jail) else { continue };
            let Judge { jails, desk, .. } = self;
            if let Some(jail) = jails.get_mut(at) {
                give_evidence_back(jail, desk, row);
            }
        }
    }

    /// Takes up one stored ban, if it still counts.
    ///
    /// Source: fail2ban `server/jail.py`, `restoreCurrentBans`; `database.py`,
    /// `getCurrentBans`.
    fn restore_row(&mut self, at: usize, row: StoredBan, out: &mut Outputs) {
        let Judge { jails, desk, .. } = self;
        let Some(jail) = jails.get_mut(at) else { return };
        if !desk.chores.is_empty() || jail.bans.get(&row.id).is_some() {
            desk.settle(jail, &row.id, out);
            if jail.bans.get(&row.id).is_some() {
                return;
            }
        }
        let now = desk.now;
        let past = past_of(&row, jail.spec.bantime);
        let Some(bantime) = restored_time(&jail.spec, row.start, row.bantime, now) else {
            jail.history.insert(row.id, past);
            return;
        };
        let groups =
            if jail.spec.ignorecommand.is_some() { row.groups.iter().cloned().collect() } else { Groups::default() };
        let about = About { id: row.id, ip: row.ip, time: row.start, matches: row.matches.into(), groups };
        let around = Surroundings {
            own: &desk.own,
            names: &desk.names,
            allowed: &desk.allowed,
            now,
            command: None,
            no_asking: true,
        };
        let verdict = jail.rules.judge(&about, &around);
        if !matches!(verdict, Verdict::Count) {
            if let Verdict::Ignore(source) = verdict {
                let text = LogText::Ignore { id: about.id.clone(), source };
                let name = Some(jail.name().clone());
                out.log.push(LogLine { logger: Logger::Filter, level: Level::Info, jail: name, text });
            }
            jail.history.insert(about.id, past);
            return;
        }
        let About { id, ip, time, matches, .. } = about;
        let matches = matches.into_vec();
        let groups = row.groups;
        if jail.spec.guard == Guard::Refuse
            && let Some(why) = desk.protection(jail.name(), ip.or(id.net()))
        {
            jail.history.insert(id.clone(), past);
            let origin = Origin::Restored;
            let ticket = Ticket {
                id,
                ip,
                time,
                own: None,
                failures: row.failures,
                earlier: 0,
                matches,
                groups,
                origin,
                force: false,
            };
            let Banned::Withheld(_) = jail.withhold(desk, ticket, bantime, why, out) else { return };
            return;
        }
        let evidence = desk.evidence(ip, matches, groups, Box::default(), jail.spec.maxmatches);
        // Actions see one more than the database has; the row stays.
        let count = row.count.saturating_add(1);
        let as_stored = past == Past::new(count - 1, time, bantime);
        let ban = Ban {
            seq: Seq(0),
            later: 0,
            start: time,
            end: bantime.end(time),
            count,
            failures: row.failures,
            own: true,
            restored: true,
            as_stored,
            rest: Rest::of((!as_stored).then_some(past), evidence),
        };
        jail.put_ban(desk, id, ban, DecisionKind::Restore, Origin::Restored, None, out);
    }
}

/// A living ban that let go of its lines and groups gets those of its row, if its jail keeps them now.
fn give_evidence_back(jail: &mut Jail, desk: &mut Desk, row: StoredBan) {
    let Some(ban) = jail.bans.get(&row.id).filter(|_| jail.spec.evidence) else { return };
    let kept = ban.evidence();
    // Else the row is an older ban's.
    let own = ban.start.secs_rounded() == row.start.secs_rounded();
    if !own || kept.is_some_and(|e| !e.matches.is_empty() || !e.groups.is_empty()) {
        return;
    }
    let (ip, why) = kept.map_or((row.ip, Box::default()), |kept| (kept.ip.or(row.ip), kept.why.clone()));
    let evidence = desk.evidence(ip, row.matches, row.groups, why, jail.spec.maxmatches);
    jail.bans.put_evidence(&row.id, evidence);
}

/// The ban time with which a stored ban lives on; `None` if it does not.
fn restored_time(spec: &JailSpec, start: Timestamp, stored: StoredTime, now: Timestamp) -> Option<BanTime> {
    let over = |time: BanTime| time != BanTime::Permanent && time.end(start) <= now;
    if matches!(stored, StoredTime::Known(time) if over(time)) {
        return None;
    }
    let increment = spec.increment.increment;
    if !increment && stored != StoredTime::Kept && over(spec.bantime) {
        return None;
    }
    let cut = match (increment, spec.bantime, spec.increment.maxtime) {
        (true, _, Some(maxtime)) if maxtime.micros() > 0 => Some(maxtime),
        (false, BanTime::For(bantime), _) if bantime.micros() > 0 => Some(bantime),
        _ => None,
    };
    let time = match (stored, cut) {
        (StoredTime::Unknown, _) => spec.bantime,
        (StoredTime::Known(BanTime::For(time)), Some(cut)) => BanTime::For(time.min(cut)),
        (StoredTime::Known(BanTime::Permanent), Some(cut)) => BanTime::For(cut),
        (StoredTime::Kept, _) => BanTime::Permanent,
        (StoredTime::Known(time), None) => time,
    };
    (!over(time)).then_some(time)
}

fn past_of(row: &StoredBan, unknown: BanTime) -> Past {
    let bantime = match row.bantime {
        StoredTime::Known(time) => time,
        StoredTime::Unknown => unknown,
        StoredTime::Kept => BanTime::Permanent,
    };
    Past::new(row.count, row.start, bantime)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// engine.md 5, the table of restored bans; `None` is "not restored".
    #[test]
    fn stored_bans_come_back_as_in_the_original() {
        const NO: Option<i64> = None;
        let rows: [(i64, i64, [Option<i64>; 5]); 9] = [
            (-100, 600, [Some(600), Some(600), Some(120), Some(600), Some(600)]),
            (-700, 3600, [NO, Some(3600), NO, Some(3600), Some(1000)]),
            (-500, -1, [Some(600), Some(-1), NO, Some(-1), Some(1000)]),
            (-100_000, -1, [NO, Some(-1), NO, Some(-1), NO]),
            (-100, 50, [NO, NO, NO, NO, NO]),
            (-100, -2, [Some(600), Some(-1), Some(120), Some(600), Some(600)]),
            (-600, 600, [NO, NO, NO, NO, NO]),
            (-599, 600, [Some(600), Some(600), NO, Some(600), Some(600)]),
            (-100, 3600, [Some(600), Some(3600), Some(120), Some(3600), Some(1000)]),
        ];
        let jail = |bantime: f64, increment: bool, maxtime: Option<i64>| {
            let mut spec = JailSpec::new(JailName::new("j"));
            spec.bantime = BanTime::from_secs_f64(bantime);
            spec.increment.increment = increment;
            spec.increment.maxtime = maxtime.map(Span::from_secs);
            spec
        };
        let jails = [
            jail(600.0, false, None),
            jail(-1.0, false, None),
            jail(120.0, false, None),
            jail(600.0, true, None),
            jail(600.0, true, Some(1000)),
        ];
        for (start, stored, expected) in rows {
            let time = match stored {
                -2 => StoredTime::Unknown,
                -1 => StoredTime::Known(BanTime::Permanent),
                secs => StoredTime::Known(BanTime::For(Span::from_secs(secs))),
            };
            for (jail, expected) in jails.iter().zip(expected) {
                let found = restored_time(jail, Timestamp::from_secs(start), time, Timestamp::from_secs(0));
                assert_eq!(found.map(BanTime::secs), expected, "{start} {stored} {:?}", jail.bantime);
            }
        }
    }
}
