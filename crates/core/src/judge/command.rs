//! What people and programs want: ban, unban, attempt, allow, stop.

use std::net::IpAddr;

use super::bans::{Bans, History, Past};
use super::counting;
use super::desk::{Chore, Ending};
use super::event::{Command, CommandId, StoredBan, StoredTime};
use super::jail::{Banned, Ticket};
use super::log::{Level, LogLine, LogText, Logger};
use super::output::{Ask, Flush, Imported, Outcome, Outputs, Question};
use super::parking::WaitingUnban;
use super::{Change, Judge};
use crate::decision::{DecisionKind, Origin};
use crate::failure::Groups;
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::time::BanTime;

impl Judge {
    pub(super) fn command(&mut self, id: CommandId, command: Command, out: &mut Outputs) {
        let jail = match &command {
            Command::Ban { jail, .. } | Command::Attempt { jail, .. } | Command::Stop { jail } => Some(jail),
            Command::Unban { jail, .. }
            | Command::UnbanAll { jail }
            | Command::Repeal { jail }
            | Command::Allow { jail, .. }
            | Command::Disallow { jail, .. } => jail.as_ref(),
            Command::Import { .. } => None,
        };
        if let Some(name) = jail.filter(|name| self.position(name).is_none()) {
            let outcome = Outcome::UnknownJail((*name).clone());
            self.desk.announcer.reply(id, outcome, out);
            return;
        }
        match command {
            Command::Ban { jail, ids, bantime, force, origin } => {
                self.ban_ids(id, &jail, ids, (bantime, force, &origin), out);
            }
            Command::Import { bans } => self.import(id, bans, out),
            Command::Unban { jail, targets } => self.unban(id, jail, targets, out),
            Command::UnbanAll { jail } => self.end_all(id, jail.as_ref(), DecisionKind::Lift, out),
            Command::Repeal { jail } => self.end_all(id, jail.as_ref(), DecisionKind::Repeal, out),
            Command::Stop { jail } => self.remove_jail(&jail, Some((id, Outcome::Stopped)), out),
            Command::Attempt { jail, id: who, matches } => {
                self.take(counting::attempt(jail, who, self.desk.now, matches, id), out);
            }
            Command::Allow { jail, nets } => self.allow(id, jail.as_ref(), &nets, out),
            Command::Disallow { jail, nets } => self.disallow(id, jail.as_ref(), &nets, out),
        }
    }

    fn ban_ids(
        &mut self,
        command: CommandId,
        jail: &JailName,
        ids: Vec<FailureId>,
        (own, force, origin): (Option<BanTime>, bool, &Origin),
        out: &mut Outputs,
    ) {
        let (mut new, mut already, mut withheld) = (0, Vec::new(), Vec::new());
        let time = self.desk.now;
        let Some(at) = self.position(jail) else { return };
        for id in ids {
            let overall = self.overall(at, &id);
            let Judge { jails, desk, .. } = self;
            let Some(jail) = jails.get_mut(at) else { return };
            let ticket = Ticket {
                id: id.clone(),
                ip: None,
                time,
                own,
                failures: 0,
                earlier: 0,
                matches: Vec::new(),
                groups: Groups::default(),
                origin: origin.clone(),
                force,
            };
            match jail.ban(desk, ticket, overall, out) {
                Banned::New => new += 1,
                Banned::Already => already.push(id),
                Banned::Withheld(why) => withheld.push((id, why)),
                Banned::Expired => {}
            }
        }
        self.desk.announcer.reply(command, Outcome::Banned { new, already, withheld }, out);
    }

    fn import(&mut self, command: CommandId, bans: Vec<StoredBan>, out: &mut Outputs) {
        let mut imported = Imported::default();
        for ban in bans {
            let Some(at) = self.position(&ban.jail) else {
                *imported.unknown.entry(ban.jail).or_default() += 1;
                continue;
            };
            let overall = self.overall(at, &ban.id);
            let Judge { jails, desk, .. } = self;
            let Some(jail) = jails.get_mut(at) else { continue };
            let own = match ban.bantime {
                StoredTime::Known(bantime) => Some(bantime),
                StoredTime::Unknown => None,
                StoredTime::Kept => Some(BanTime::Permanent),
            };
            let end = own.unwrap_or(jail.spec.bantime).end(ban.start);
            if end < desk.now {
                imported.over += 1;
                continue;
            }
            if jail.bans.get(&ban.id).is_some_and(|living| living.end >= end) {
                imported.already += 1;
                continue;
            }
            let ticket = Ticket {
                id: ban.id,
                ip: ban.ip,
                time: ban.start.min(desk.now),
                own,
                failures: ban.failures,
                earlier: ban.count.saturating_sub(1),
                matches: ban.matches,
                groups: ban.groups.into_iter().collect(),
                origin: Origin::Manual,
                force: false,
            };
            match jail.ban(desk, ticket, overall, out) {
                // One that stood shorter stands longer now: that is news, too.
                Banned::New | Banned::Already => imported.new += 1,
                Banned::Withheld(_) => imported.withheld += 1,
                Banned::Expired => imported.over += 1,
            }
        }
        self.desk.announcer.reply(command, Outcome::Imported(imported), out);
    }

    /// Lifts what the targets name: ids first, then all bans within a network,
    /// then all bans of a host name's addresses.
    ///
    /// Source: fail2ban `server/actions.py`, `removeBannedIP`: the history goes
    /// even if there is no ban.
    fn unban(&mut self, command: CommandId, jail: Option<JailName>, targets: Vec<FailureId>, out: &mut Outputs) {
        let (mut count, mut absent, mut names) = (0, Vec::new(), Vec::new());
        for target in targets {
            let lifted = self.unban_one(jail.as_ref(), &target, out);
            count += lifted;
            if lifted == 0 && is_host_name(&target) {
                names.push(target);
            } else if lifted == 0 {
                self.not_banned(&target, out);
                absent.push(target);
            }
        }
        names.reverse();
        self.unban_next(WaitingUnban { command, jail, names, count, absent }, out);
    }

    /// Asks for the addresses of the next name, or replies when none is left.
    fn unban_next(&mut self, mut waiting: WaitingUnban, out: &mut Outputs) {
        loop {
            let Some(target) = waiting.names.last() else {
                let WaitingUnban { command, count, absent, .. } = waiting;
                self.desk.announcer.reply(command, Outcome::Unbanned { count, absent }, out);
                return;
            };
            let name = target.to_string();
            let Some(ips) = self.desk.names.get(&name, self.desk.now) else {
                let until = self.desk.now + self.desk.bounds.parked_time;
                if let Some(id) = self.parking.ask(Some(&name), until, |there| there.unbans.push(waiting)) {
                    out.asks.push(Ask { id, question: Question::Addresses { name: name.into() } });
                }
                return;
            };
            let ips = ips.to_vec();
            self.unban_name(&mut waiting, &ips, out);
        }
    }

    /// The name that an unban waited for has these addresses.
    pub(super) fn unban_resolved(&mut self, mut waiting: WaitingUnban, ips: &[IpAddr], out: &mut Outputs) {
        self.unban_name(&mut waiting, ips, out);
        self.unban_next(waiting, out);
    }

    fn unban_name(&mut self, waiting: &mut WaitingUnban, ips: &[IpAddr], out: &mut Outputs) {
        let Some(target) = waiting.names.pop() else { return };
        let jail = waiting.jail.as_ref();
        let lifted: u64 = ips.iter().map(|ip| self.unban_one(jail, &FailureId::from(*ip), out)).sum();
        waiting.count += lifted;
        if lifted == 0 {
            self.not_banned(&target, out);
            waiting.absent.push(target);
        }
    }

    fn not_banned(&mut self, target: &FailureId, out: &mut Outputs) {
        let text = LogText::NotBanned { id: target.clone() };
        let line = LogLine { logger: Logger::Actions, level: Level::Msg, jail: None, text };
        self.desk.announcer.say(line, out);
    }

    fn unban_one(&mut self, jail: Option<&JailName>, target: &FailureId, out: &mut Outputs) -> u64 {
        let mut count = 0;
        let Judge { jails, desk, .. } = self;
        for there in jails.iter_mut().filter(|there| jail.is_none_or(|jail| jail == there.name())) {
            if there.lift(desk, target, Origin::Manual, None, out) {
                count += 1;
                continue;
            }
            let Some(net) = target.net().filter(|net| !net.is_host()) else { continue };
            for id in there.bans_within(net) {
                count += u64::from(there.lift(desk, &id, Origin::Manual, None, out));
            }
        }
        // Also what jails that are gone have left in the database.
        if jail.is_none() {
            let found: Vec<(JailName, Past)> = desk
                .orphans
                .iter_mut()
                .filter_map(|(name, history)| Some((name.clone(), history.remove(target)?)))
                .collect();
            for (name, past) in found {
                desk.forget(name, target.clone(), past, Origin::Manual, out);
            }
        }
        count
    }

    /// Ends all bans of one or all jails; the jails go on.
    fn end_all(&mut self, command: CommandId, jail: Option<&JailName>, kind: DecisionKind, out: &mut Outputs) {
        let wanted = self.jails.iter().filter(|there| jail.is_none_or(|jail| jail == there.name()));
        let (names, counts): (Vec<JailName>, Vec<u64>) =
            wanted.map(|there| (there.name().clone(), there.bans.len() as u64)).unzip();
        let count = counts.iter().sum();
        let outcome = Outcome::Unbanned { count, absent: Vec::new() };
        let Some(last) = names.len().checked_sub(1) else {
            self.desk.announcer.reply(command, outcome, out);
            return;
        };
        for (n, name) in names.iter().enumerate() {
            let reply = (n == last).then(|| (command, outcome.clone()));
            self.end_jail(name, kind, Origin::Manual, reply, false, out);
        }
        if kind == DecisionKind::Lift && jail.is_none() {
            let orphans: Vec<JailName> = self.desk.orphans.keys().cloned().collect();
            for name in orphans {
                if let Some(history) = self.desk.orphans.remove(&name) {
                    let ending = Ending {
                        jail: name,
                        jail_bantime: BanTime::Permanent,
                        bans: Bans::new(self.desk.seeded.clone()),
                        history: Some(history),
                        kind,
                        origin: Origin::Manual,
                        reply: None,
                        removed: false,
                    };
                    // In front of the reply's chore, so that the reply comes last.
                    self.desk.chores.push_front(Chore::End(Box::new(ending)));
                }
            }
        }
        self.work(out);
    }

    /// Plans the end of all bans of a jail.
    pub(super) fn end_jail(
        &mut self,
        name: &JailName,
        kind: DecisionKind,
        origin: Origin,
        reply: Option<(CommandId, Outcome)>,
        removed: bool,
        out: &mut Outputs,
    ) {
        let Judge { jails, desk, .. } = self;
        let Some(jail) = jails.iter_mut().find(|jail| jail.name() == name) else { return };
        let bans = std::mem::replace(&mut jail.bans, Bans::new(desk.seeded.clone()));
        let history = (kind == DecisionKind::Lift)
            .then(|| std::mem::replace(&mut jail.history, History::new(desk.seeded.clone())));
        jail.withheld.clear();
        // Also without bans: what actions did may have outlived them.
        let after = desk.announcer.last;
        out.flushes.push(Flush { jail: name.clone(), kind, count: bans.len() as u64, after });
        let jail_bantime = jail.spec.bantime;
        let ending = Ending { jail: name.clone(), jail_bantime, bans, history, kind, origin, reply, removed };
        desk.chores.push_back(Chore::End(Box::new(ending)));
    }

    fn allow(&mut self, command: CommandId, jail: Option<&JailName>, nets: &[Net], out: &mut Outputs) {
        let (mut entries, mut lifted) = (0, 0);
        for net in nets {
            entries += u64::from(match jail.and_then(|jail| self.position(jail)) {
                None => self.desk.allowed.insert(*net),
                Some(at) => self.jails.get_mut(at).is_some_and(|jail| jail.rules.allowed.insert(*net)),
            });
            let Judge { jails, desk, .. } = self;
            for there in jails.iter_mut().filter(|there| jail.is_none_or(|jail| jail == there.name())) {
                for id in there.bans_within(*net) {
                    let why = Some(format!("allowed by {net}").into());
                    lifted += u64::from(there.lift(desk, &id, Origin::Config, why, out));
                }
                there.tallies.remove(&FailureId::Net(*net));
            }
        }
        self.desk.announcer.reply(command, Outcome::Allowed { entries, lifted }, out);
    }

    fn disallow(&mut self, command: CommandId, jail: Option<&JailName>, nets: &[Net], out: &mut Outputs) {
        let mut entries = 0;
        for net in nets {
            entries += u64::from(match jail.and_then(|jail| self.position(jail)) {
                None => self.desk.allowed.remove(*net),
                Some(at) => self.jails.get_mut(at).is_some_and(|jail| jail.rules.allowed.remove(*net)),
            });
        }
        self.desk.announcer.reply(command, Outcome::Allowed { entries, lifted: 0 }, out);
    }

    /// Does a portion of the work that is waiting; true if some is left.
    pub(super) fn work(&mut self, out: &mut Outputs) -> bool {
        let mut room = self.desk.bounds.decisions.saturating_sub(out.turn.decisions.len()).max(1);
        while room > 0
            && let Some(chore) = self.desk.chores.pop_front()
        {
            let left = match chore {
                Chore::Retime { jail, next } => self.retime_some(&jail, next, &mut room, out),
                Chore::End(ending) => self.end_some(ending, &mut room, out),
            };
            if let Some(left) = left {
                self.desk.chores.push_front(left);
            }
        }
        !self.desk.chores.is_empty()
    }

    fn retime_some(&mut self, name: &JailName, next: u32, room: &mut usize, out: &mut Outputs) -> Option<Chore> {
        let Judge { jails, desk, .. } = self;
        let jail = jails.iter_mut().find(|jail| jail.name() == name)?;
        let (ids, next) = jail.bans.misfits(jail.spec.bantime, next, *room);
        *room = room.saturating_sub(ids.len().max(1));
        for id in ids {
            jail.retime(desk, &id, None, Origin::Config, out);
        }
        next.map(|next| Chore::Retime { jail: name.clone(), next })
    }

    fn end_some(&mut self, mut ending: Box<Ending>, room: &mut usize, out: &mut Outputs) -> Option<Chore> {
        let Judge { jails, desk, .. } = self;
        let mut jail = jails.iter_mut().find(|jail| *jail.name() == ending.jail);
        while *room > 0 {
            let Some((id, ban)) = ending.bans.pop() else { break };
            *room -= 1;
            let over = ban.end < desk.now;
            let kind = if over { DecisionKind::Unban } else { ending.kind };
            let origin = if over { Origin::Expired } else { ending.origin.clone() };
            match jail.as_deref_mut() {
                Some(jail) => jail.end_ban(desk, id, &ban, kind, origin, None, out),
                None => desk.end_orphan(&ending.jail, ending.jail_bantime, id, &ban, kind, origin, out),
            }
        }
        while *room > 0 {
            let Some((id, past)) = ending.history.as_mut().and_then(History::pop) else { break };
            *room -= 1;
            desk.forget(ending.jail.clone(), id, past, ending.origin.clone(), out);
        }
        if !ending.bans.is_empty() || ending.history.as_ref().is_some_and(|history| history.len() > 0) {
            return Some(Chore::End(ending));
        }
        if ending.removed {
            desk.announcer.change(Change::JailRemoved { jail: ending.jail.clone() }, out);
        }
        if let Some((command, outcome)) = ending.reply.take() {
            desk.announcer.reply(command, outcome, out);
        }
        None
    }
}

/// Could this id be a host name whose addresses are banned?
fn is_host_name(id: &FailureId) -> bool {
    let FailureId::Text(text) = id else { return false };
    text.len() <= 253
        && text.contains('.')
        && text.bytes().any(|b| b.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
}
