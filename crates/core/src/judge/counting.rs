//! From a failure to a count: host names, ignore rules, the tally, the bonus of
//! known offenders.

use std::net::IpAddr;

use super::Judge;
use super::event::{Answer, AskId};
use super::ignore::{Surroundings, Verdict};
use super::increase;
use super::jail::Ticket;
use super::log::{Level, LogLine, LogText, Logger};
use super::output::{About, Ask, Outcome, Outputs, Question};
use super::parking::{Case, Lane, Purpose, Waiting};
use super::spec::UseDns;
use super::tally::{Added, WEIGHTS};
use crate::block::Position;
use crate::decision::{Origin, Watermark};
use crate::failure::{Batch, Failure, Groups, Who};
use crate::id::FailureId;
use crate::time::Timestamp;

/// What a try at a case came to.
enum Tried {
    Done,
    /// Only its answer leads on.
    Ask(Box<(Case, Question)>),
}

impl Judge {
    pub(super) fn batch(&mut self, batch: Batch, out: &mut Outputs) {
        let Batch { jail, source, to, failures, replay, epoch, .. } = batch;
        let usedns = match self.jail(&jail) {
            Some(there) if there.spec.epoch <= epoch => there.spec.usedns,
            _ => {
                self.dropped_batches += 1;
                return;
            }
        };
        let mark = if replay { 0 } else { self.marks.begin(jail.clone(), source.clone(), to) };
        let at = self.position(&jail);
        let mut purpose = match replay {
            true => Purpose::Replay,
            false => Purpose::Log { source: source.clone(), place: Position::Offset(0), mark },
        };
        for failure in failures {
            let Failure { who, ip, time, place, matches, groups, .. } = failure;
            let (id, name) = match who {
                Who::Id(id) => (id, None),
                Who::Name(name) => match usedns {
                    UseDns::No => continue,
                    UseDns::Raw => (FailureId::Text(name), None),
                    UseDns::Yes | UseDns::Warn => (FailureId::Text(name.clone()), Some(name)),
                },
            };
            if let Purpose::Log { place: behind, .. } = &mut purpose {
                *behind = place;
            }
            let about = About { id, ip, time, matches, groups };
            if let Some(at) = at.filter(|at| name.is_none() && self.counts_at_once(*at, &about)) {
                self.count(at, about, &purpose, out);
                continue;
            }
            let (jail, purpose) = (jail.clone(), purpose.clone());
            self.take(Case { jail, about, name, purpose, command: None, no_asking: replay }, out);
        }
        if !replay {
            let done = self.marks.close(&jail, &source, mark);
            push_watermark(done, out);
        }
    }

    /// Is there nothing to ask and nothing to wait for, and no rule that ignores the failure?
    fn counts_at_once(&self, at: usize, about: &About) -> bool {
        let Some(jail) = self.jails.get(at).filter(|jail| self.parking.is_idle() && jail.rules.forgets()) else {
            return false;
        };
        let desk = &self.desk;
        let around = Surroundings {
            own: &desk.own,
            names: &desk.names,
            allowed: &desk.allowed,
            now: desk.now,
            command: None,
            no_asking: false,
        };
        self.parking.len() < desk.bounds.parked && jail.rules.peek(about, &around) == Verdict::Count
    }

    /// Takes a new case; it may have to wait behind others of the same id.
    pub(super) fn take(&mut self, mut case: Case, out: &mut Outputs) {
        let full = self.parking.len() >= self.desk.bounds.parked;
        case.no_asking |= full;
        if full {
            self.unasked += 1;
        } else if !matches!(case.purpose, Purpose::Replay) {
            let lane = lane(&case);
            if self.parking.has(&lane) {
                self.hold(&case);
                self.parking.push(lane, case);
                return;
            }
        }
        match self.attempt_case(case, out) {
            Tried::Done => {}
            Tried::Ask(waits) => {
                let (case, question) = *waits;
                self.hold(&case);
                self.park(case, question, out);
            }
        }
    }

    fn hold(&mut self, case: &Case) {
        if let Purpose::Log { source, mark, .. } = &case.purpose {
            self.marks.hold(&case.jail, source, *mark);
        }
    }

    fn let_go(&mut self, jail: &crate::jail::JailName, purpose: &Purpose, out: &mut Outputs) {
        if let Purpose::Log { source, mark, .. } = purpose {
            let done = self.marks.close(jail, source, *mark);
            push_watermark(done, out);
        }
    }

    /// Parks a case in front of its lane and asks.
    fn park(&mut self, case: Case, question: Question, out: &mut Outputs) {
        let lane = lane(&case);
        let until = self.desk.now + self.desk.bounds.parked_time;
        self.parking.push_front(lane.clone(), case);
        let name = match &question {
            Question::Addresses { name } => Some(&**name),
            Question::IgnoreCommand { .. } => None,
        };
        if let Some(id) = self.parking.ask(name, until, |waiting| waiting.lanes.push(lane)) {
            out.asks.push(Ask { id, question });
        }
    }

    /// Gives up on questions that nobody answered in time.
    pub(super) fn give_up(&mut self, out: &mut Outputs) {
        while let Some(id) = self.parking.overdue(self.desk.now) {
            self.unasked += 1;
            if let Some(waiting) = self.parking.answered(id) {
                self.resume(waiting, None, out);
            }
        }
    }

    pub(super) fn answer(&mut self, id: AskId, answer: &Answer, out: &mut Outputs) {
        if let Some(waiting) = self.parking.answered(id) {
            self.resume(waiting, Some(answer), out);
        }
    }

    fn resume(&mut self, waiting: Waiting, answer: Option<&Answer>, out: &mut Outputs) {
        let Waiting { lanes, unbans, name } = waiting;
        if let (Some(Answer::Addresses(ips)), Some(name)) = (answer, &name) {
            self.desk.names.set(name, ips.clone(), self.desk.now);
        }
        for lane in lanes {
            let Some(mut head) = self.parking.pop(&lane) else { continue };
            match answer {
                Some(Answer::Ignore(ignore)) if name.is_none() => head.command = Some(*ignore),
                Some(Answer::Addresses(_)) if name.is_some() => {}
                _ => head.no_asking = true,
            }
            let mut next = Some(head);
            while let Some(case) = next {
                let (jail, purpose) = (case.jail.clone(), case.purpose.clone());
                match self.attempt_case(case, out) {
                    Tried::Done => {
                        self.let_go(&jail, &purpose, out);
                        next = self.parking.pop(&lane);
                    }
                    Tried::Ask(waits) => {
                        let (case, question) = *waits;
                        self.park(case, question, out);
                        break;
                    }
                }
            }
        }
        for unban in unbans {
            let ips: Vec<IpAddr> = match answer {
                Some(Answer::Addresses(ips)) => ips.clone(),
                _ => Vec::new(),
            };
            self.unban_resolved(unban, &ips, out);
        }
    }

    /// Carries a case as far as it gets without asking.
    fn attempt_case(&mut self, mut case: Case, out: &mut Outputs) -> Tried {
        let quiet = matches!(case.purpose, Purpose::Replay);
        if let Some(name) = case.name.take() {
            return self.attempt_name(case, name, out);
        }
        let now = self.desk.now;
        let Some(at) = self.position(&case.jail) else {
            self.no_jail(&case, out);
            return Tried::Done;
        };
        let Judge { jails, desk, .. } = self;
        let Some(jail) = jails.get_mut(at) else { return Tried::Done };
        let around = Surroundings {
            own: &desk.own,
            names: &desk.names,
            allowed: &desk.allowed,
            now,
            command: case.command,
            no_asking: case.no_asking,
        };
        match jail.rules.judge(&case.about, &around) {
            Verdict::AskName(name) => return Tried::Ask(Box::new((case, Question::Addresses { name }))),
            Verdict::AskCommand(command) => {
                let about = Box::new(case.about.clone());
                let question = Question::IgnoreCommand { jail: case.jail.clone(), command, about };
                return Tried::Ask(Box::new((case, question)));
            }
            Verdict::Ignore(source) => {
                jail.ignored_total += 1;
                if !quiet {
                    let text = LogText::Ignore { id: case.about.id.clone(), source };
                    out.log.push(LogLine { logger: Logger::Filter, level: Level::Info, jail: Some(case.jail), text });
                }
            }
            Verdict::IgnoreSilently => jail.ignored_total += 1,
            Verdict::Count => {
                let Case { about, purpose, .. } = case;
                self.count(at, about, &purpose, out);
                return Tried::Done;
            }
        }
        if let Purpose::Attempt { command, .. } = case.purpose {
            self.desk.announcer.reply(command, Outcome::Attempted(false), out);
        }
        Tried::Done
    }

    /// A captured host name becomes one case per address.
    fn attempt_name(&mut self, mut case: Case, name: Box<str>, out: &mut Outputs) -> Tried {
        let quiet = matches!(case.purpose, Purpose::Replay);
        let ips = match self.desk.names.get(&name, self.desk.now) {
            Some(ips) => ips.to_vec(),
            None if case.no_asking => Vec::new(),
            None => {
                case.name = Some(name.clone());
                return Tried::Ask(Box::new((case, Question::Addresses { name })));
            }
        };
        let usedns = self.jail(&case.jail).map(|jail| jail.spec.usedns);
        if !quiet && (ips.is_empty() || usedns == Some(UseDns::Warn)) {
            let text = if ips.is_empty() {
                LogText::NoAddress { name }
            } else {
                LogText::DeterminedIp { name, ips: ips.clone() }
            };
            let jail = Some(case.jail.clone());
            out.log.push(LogLine { logger: Logger::Filter, level: Level::Warning, jail, text });
        }
        for ip in ips {
            let about = About { id: FailureId::from(ip), ..case.about.clone() };
            let purpose = case.purpose.clone();
            self.take(
                Case { jail: case.jail.clone(), about, name: None, purpose, command: None, no_asking: case.no_asking },
                out,
            );
        }
        Tried::Done
    }

    /// The jail went while the case was parked.
    fn no_jail(&mut self, case: &Case, out: &mut Outputs) {
        if let Purpose::Attempt { command, .. } = case.purpose {
            self.desk.announcer.reply(command, Outcome::UnknownJail(case.jail.clone()), out);
        }
    }

    /// Counts a failure that nothing ignores, and bans when it is enough.
    fn count(&mut self, at: usize, about: About, purpose: &Purpose, out: &mut Outputs) {
        let About { id, ip, time, matches, groups } = about;
        self.make_room(at, &id);
        let Judge { jails, desk, .. } = self;
        let Some(jail) = jails.get_mut(at) else { return };
        let name = Some(jail.name().clone());
        let line = |jail, level, logger, text| LogLine { logger, level, jail, text };
        let (count, quiet) = match purpose {
            Purpose::Log { .. } => {
                out.log.push(line(name, Level::Info, Logger::Filter, LogText::Found { id: id.clone(), time }));
                (1, false)
            }
            Purpose::Replay => (1, true),
            Purpose::Attempt { count, .. } => {
                out.log.push(line(name, Level::Info, Logger::Filter, LogText::Attempt { id: id.clone(), time }));
                (*count, false)
            }
        };
        let limits = jail.limits(desk);
        let bytes = jail.tallies.bytes();
        let added = Added { time, ip, count, matches, groups };
        let mut retry = jail.tallies.count(desk.now, &id, added, limits);
        desk.bytes_room = (desk.bytes_room + bytes).saturating_sub(jail.tallies.bytes());
        jail.failed_total += 1;
        let maxretry = f64::from(jail.spec.maxretry);
        let mut ban = retry >= maxretry;

        // What the original's observer adds for known offenders.
        if jail.spec.increment.increment
            && let Some(past) = jail.past(&id).filter(|past| past.count > 0 && time > past.start)
        {
            let (counts_as, capped) = increase::counts_as(past.count, jail.spec.maxretry);
            if counts_as > 1.0 {
                if !quiet {
                    let bans = counts_as >= maxretry;
                    let text =
                        LogText::FoundBad { id: id.clone(), time, count: past.count, counts_as, capped, ban: bans };
                    out.log.push(line(Some(jail.name().clone()), Level::Info, Logger::Observer, text));
                }
                if !ban && let Some(more) = jail.tallies.add_bonus(&id, counts_as - 1.0, past.count) {
                    retry = more;
                    jail.failed_total += 1;
                    ban = retry >= maxretry;
                }
            }
        }
        if ban {
            self.ban_tally(at, &id, purpose, out);
        }
        if let Purpose::Attempt { command, .. } = purpose {
            self.desk.announcer.reply(*command, Outcome::Attempted(true), out);
        }
    }

    /// Turns a tally into a ban.
    fn ban_tally(&mut self, at: usize, id: &FailureId, purpose: &Purpose, out: &mut Outputs) {
        let overall = self.overall(at, id);
        let Judge { jails, desk, .. } = self;
        let Some(jail) = jails.get_mut(at) else { return };
        let Some(tally) = jail.tallies.remove(id) else { return };
        let detail = tally.detail.map(|detail| *detail).unwrap_or_default();
        desk.bytes_room += detail.bytes();
        let origin = match purpose {
            // Replay rebuilds tallies; this ban was decided in an earlier life.
            Purpose::Replay => return,
            Purpose::Log { source, place, .. } => Origin::Log { source: source.clone(), place: place.clone() },
            Purpose::Attempt { .. } => Origin::Manual,
        };
        let ticket = Ticket {
            id: id.clone(),
            ip: detail.ip,
            time: tally.last,
            own: None,
            failures: tally.failures,
            earlier: tally.earlier,
            matches: detail.matches,
            groups: detail.groups.to_list(),
            origin,
            force: false,
        };
        jail.ban(desk, ticket, overall, out);
    }

    /// At the bound of the tally table the lowest counts make room, 1/64 of the table at once: the lowest of
    /// the next part of it, so that no failure waits long for it.
    fn make_room(&mut self, at: usize, id: &FailureId) {
        let Judge { jails, desk, .. } = self;
        if desk.tally_room > 0 || jails.get(at).is_some_and(|jail| jail.tallies.get(id).is_some()) {
            desk.tally_room = desk.tally_room.saturating_sub(1);
            return;
        }
        let total: usize = jails.iter().map(|jail| jail.tallies.len()).sum();
        if total < desk.bounds.tallies {
            desk.tally_room = desk.bounds.tallies - total - 1;
            return;
        }
        let mut wanted = (total / 64).max(1).max(total.saturating_sub(desk.bounds.tallies) + 1);
        while wanted > 0 {
            wanted = wanted.saturating_sub(self.make_some_room(wanted));
        }
    }

    /// Lets the lowest counts of the next part of the table go, at most so many of them: how many went, at least one.
    fn make_some_room(&mut self, wanted: usize) -> usize {
        let Judge { jails, desk, .. } = self;
        let slots: usize = jails.iter().map(|jail| jail.tallies.slot_count() as usize).sum();
        let part = (wanted * ROOM_AMONG).max(ROOM_LEAST);
        let whole = part >= slots;
        let parts = desk.hand.next(jails.iter().map(|jail| jail.tallies.slot_count()), part.min(slots));
        let mut weights = [0u32; WEIGHTS];
        for (jail, slots) in parts.iter().filter_map(|(at, slots)| Some((jails.get(*at)?, slots))) {
            jail.tallies.weigh(slots.clone(), desk.now, jail.spec.findtime, &mut weights);
        }
        let live: usize = weights.iter().map(|weight| *weight as usize).sum();
        let most = if whole { live } else { (live / 4).max(1) };
        let mut equal = u32::try_from(wanted.min(most)).unwrap_or(u32::MAX);
        let limit = weights
            .iter()
            .position(|weight| {
                let enough = *weight >= equal;
                equal = if enough { equal } else { equal - *weight };
                enough
            })
            .unwrap_or(WEIGHTS);
        let mut all = 0;
        for (at, slots) in parts {
            let Some(jail) = jails.get_mut(at) else { continue };
            let bytes = jail.tallies.bytes();
            let gone = jail.tallies.evict(slots, desk.now, jail.spec.findtime, limit, &mut equal);
            desk.bytes_room += bytes.saturating_sub(jail.tallies.bytes());
            jail.evicted_total += gone;
            all += usize::try_from(gone).unwrap_or(usize::MAX);
        }
        // Nothing at all in the whole table: nothing is to make room.
        if whole && all == 0 { wanted } else { all }
    }
}

/// Of how many times as many the lowest counts are that make room.
const ROOM_AMONG: usize = 8;
/// They are the lowest of so many at least.
const ROOM_LEAST: usize = 4096;

fn lane(case: &Case) -> Lane {
    (case.jail.clone(), case.about.id.clone())
}

fn push_watermark(mark: Option<Watermark>, out: &mut Outputs) {
    let Some(mark) = mark else { return };
    let same = out.turn.watermarks.iter_mut().find(|w| w.jail == mark.jail && w.source == mark.source);
    match same {
        Some(same) => same.to = mark.to,
        None => out.turn.watermarks.push(mark),
    }
}

/// For a manual attempt: the case that counts `matches` now.
pub(super) fn attempt(
    jail: crate::jail::JailName,
    id: FailureId,
    now: Timestamp,
    matches: Vec<Box<str>>,
    command: super::event::CommandId,
) -> Case {
    let count = u32::try_from(matches.len()).unwrap_or(u32::MAX).max(1);
    let about = About { id, ip: None, time: now, matches: matches.into(), groups: Groups::default() };
    Case { jail, about, name: None, purpose: Purpose::Attempt { command, count }, command: None, no_asking: false }
}
