//! From a line without its date to hits.
//!
//! Source: fail2ban `server/filter.py`, `findFailure` and `_ignoreLine`.

use std::ops::Range;

use stockade_pattern::{Outcome, Whole};

use super::buffer::{Line, join, match_text, split};
use super::data::{Known, LineGroups};
use super::filter::{Filter, UseDns};
use super::lines::{Cut, Found, LineMode, LineReport, Matcher, Seen, When};
use super::name::Name;
use super::notes::{Daily, Level};
use super::pattern::Pattern;
use crate::failure::{Matches, Who};
use crate::id::{FailureId, Net};
use crate::text::repr;
use crate::time::Timestamp;

/// Most bytes of lines that `maxlines` keeps; the oldest lines go first.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// How to go on behind a hit.
enum Next {
    /// The line is done.
    Line,
    /// Try the other failregexes, too.
    Pattern,
    /// Try them on what is left of the line, which is nothing.
    PatternWithout,
}

/// Who a hit is about.
enum Identity {
    /// This.
    Known(Who),
    /// Somebody of whom a later line of the session may tell.
    Later,
    /// Nobody: a name, and names are off.
    Nobody,
    /// The pattern has no group for it that took part.
    Missing,
}

/// What is known of the line when the failregexes are tried.
struct Sight<'a> {
    cut: &'a Cut<'a>,
    when: When,
    mode: LineMode,
    /// The text that the prefregex matched, where its groups point to.
    whole: &'a str,
    /// Did a prefregex match?
    common: bool,
}

impl Matcher {
    /// Runs the patterns over one line, which is the last of the buffer if the filter sees several at
    /// once, and adds its hits to `report`.
    pub(super) fn find(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        cut: &Cut<'_>,
        when: When,
        mode: LineMode,
        report: &mut LineReport,
    ) {
        let (mut text, mut content) = (std::mem::take(&mut self.text), std::mem::take(&mut self.content));
        if filter.maxlines > 1 {
            join(&self.buffer, &mut text);
            if mode.show {
                report.show(cut, &text);
            }
            self.find_in_lines(filter, now, cut, when, mode, &text, &mut content, report);
        } else {
            let whole = match cut.ended {
                Some(ended) if cut.before.is_empty() => ended,
                _ => {
                    text.clear();
                    text.push_str(cut.before);
                    text.push_str(cut.behind);
                    text.push('\n');
                    &text
                }
            };
            if mode.show {
                report.show(cut, whole);
            }
            self.find_in_line(filter, now, cut, when, mode, whole, &mut content, report);
        }
        (self.text, self.content) = (text, content);
    }

    /// One line for itself. `whole` ends in its only line end of its own.
    #[expect(clippy::too_many_arguments, reason = "the state of one line, passed once")]
    fn find_in_line(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        cut: &Cut<'_>,
        when: When,
        mode: LineMode,
        whole: &str,
        content: &mut String,
        report: &mut LineReport,
    ) {
        let seen = if cut.ascii { Whole::of_ascii(whole).of_one_line() } else { Whole::new(whole) };
        if self.is_ignored_early(filter, now, seen, mode, report) {
            return;
        }
        let Ok(found) = self.prefix(filter, now, seen, report) else { return };
        let mut text = seen;
        if let Some(at) = found {
            // Mostly the content reaches to the line end, and that is in place, too.
            let tail = seen.behind(at.start);
            let ends = |tail: &Whole<'_>| tail.text().len() == at.len() + 1 && tail.text().ends_with('\n');
            text = tail.filter(ends).unwrap_or_else(|| {
                content.clear();
                content.push_str(whole.get(at).unwrap_or(""));
                content.push('\n');
                Whole::new(content)
            });
        }
        let sight = Sight { cut, when, mode, whole, common: filter.prefregex.is_some() };
        let these = filter.by_first().of(text.text());
        for index in these {
            let Some(pattern) = filter.failregex.get(*index as usize) else { continue };
            if these.len() > 1 && !pattern.may_match(text.text()) {
                continue;
            }
            if !self.hits(pattern, now, *index, text, report) {
                continue;
            }
            let mut hit = LineGroups::default();
            self.add_groups(filter, pattern, &sight, text.text(), &mut hit);
            if !filter.ignoreregex.is_empty() && self.is_ignored(filter, now, text, mode, report) {
                if mode.all {
                    continue;
                }
                return;
            }
            let line = || match_text(&[cut.before, &cut.date, cut.behind]);
            if when.missing && self.is_undated(now, &sight, &[line()]) {
                continue;
            }
            let add = |lines: &mut Vec<Box<str>>| {
                // Two lines of a connection make most failures of more than one.
                if lines.capacity() == 0 {
                    lines.reserve_exact(2);
                }
                lines.push(line());
            };
            match self.take_hit(filter, now, *index, &mut hit, add, &sight, report) {
                Next::Line => return,
                Next::Pattern => {}
                // The original has taken the line out of its buffer by now.
                Next::PatternWithout => text = Whole::new("\n"),
            }
        }
    }

    /// The last lines together. `joined` is their text.
    #[expect(clippy::too_many_arguments, reason = "the state of one line, passed once")]
    fn find_in_lines(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        cut: &Cut<'_>,
        when: When,
        mode: LineMode,
        joined: &str,
        text: &mut String,
        report: &mut LineReport,
    ) {
        let all = Whole::new(joined);
        if self.is_ignored_early(filter, now, all, mode, report) {
            return;
        }
        let Ok(found) = self.prefix(filter, now, all, report) else { return };
        let lines = self.buffer.clone();
        text.clear();
        match found.and_then(|at| joined.get(at)) {
            Some(content) => {
                text.push_str(content);
                text.push('\n');
                self.buffer = vec![Line { text: content.into(), full: content.into(), matters: true }];
            }
            None => text.push_str(joined),
        }
        let sight = Sight { cut, when, mode, whole: joined, common: filter.prefregex.is_some() };
        for (pattern, index) in filter.failregex.iter().zip(0_u32..) {
            if !self.hits(pattern, now, index, Whole::new(text), report) {
                continue;
            }
            let seen = text.clone();
            let mut hit = LineGroups::default();
            self.add_groups(filter, pattern, &sight, &seen, &mut hit);
            let whole = self.slots.get(0).unwrap_or(0..0);
            let skipped: String = pattern.skipped(&self.slots).filter_map(|at| seen.get(at)).collect();
            let divided = split(&lines, &seen, whole.start, whole.end, &skipped);
            if !filter.ignoreregex.is_empty() {
                let mut matched = String::new();
                join(&divided.matched, &mut matched);
                if self.is_ignored(filter, now, Whole::new(&matched), mode, report) {
                    self.buffer = divided.unmatched;
                    join(&self.buffer, text);
                    if mode.all {
                        continue;
                    }
                    return;
                }
            }
            let mut matched: Vec<Box<str>> = divided.matched.iter().map(|line| match_text(&[&line.full])).collect();
            if self.is_undated(now, &sight, &matched) {
                continue;
            }
            self.buffer = divided.unmatched;
            join(&self.buffer, text);
            let add = |lines: &mut Vec<Box<str>>| lines.append(&mut matched);
            if let Next::Line = self.take_hit(filter, now, index, &mut hit, add, &sight, report) {
                return;
            }
        }
    }

    /// Adds the line to the buffer, which keeps the last `maxlines`, but at most [`BUFFER_BYTES_MAX`].
    pub(super) fn keep(&mut self, filter: &Filter, cut: &Cut<'_>, matters: bool) {
        self.buffer.push(Line {
            text: [cut.before, cut.behind].concat().into(),
            full: [cut.before, &cut.date, cut.behind].concat().into(),
            matters,
        });
        let mut bytes = 0;
        let fits = |line: &&Line| {
            bytes += line.text.len();
            bytes <= BUFFER_BYTES_MAX
        };
        let keep = self.buffer.iter().rev().take(filter.maxlines).take_while(fits).count().max(1);
        let over = self.buffer.len().saturating_sub(keep);
        self.buffer.drain(..over);
    }

    /// Tries the prefregex, whose groups go to `common`: where its content lies, if it has some.
    ///
    /// # Errors
    /// It does not match, so the line is no failure.
    fn prefix(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        text: Whole<'_>,
        report: &mut LineReport,
    ) -> Result<Option<Range<usize>>, ()> {
        let Some(prefregex) = &filter.prefregex else { return Ok(None) };
        match prefregex.search(&mut self.scratch, &mut self.common, text) {
            Outcome::Match => {
                report.prefregex = true;
                Ok(prefregex.content(&self.common))
            }
            Outcome::NoMatch => Err(()),
            Outcome::Exhausted => {
                report.undecided = true;
                self.overrun(now, "prefregex", 0, &prefregex.text, text.text().len());
                Err(())
            }
        }
    }

    /// Does a failregex match? Its groups are in `slots` then.
    fn hits(
        &mut self,
        pattern: &Pattern,
        now: Timestamp,
        index: u32,
        text: Whole<'_>,
        report: &mut LineReport,
    ) -> bool {
        match pattern.search(&mut self.scratch, &mut self.slots, text) {
            Outcome::Match => true,
            Outcome::NoMatch => false,
            Outcome::Exhausted => {
                report.undecided = true;
                self.overrun(now, "failregex", index as usize, &pattern.text, text.text().len());
                false
            }
        }
    }

    /// Adds the groups of the prefregex, overwritten by those of the failregex that are set.
    fn add_groups<'a>(
        &self,
        filter: &'a Filter,
        pattern: &'a Pattern,
        sight: &Sight<'a>,
        text: &'a str,
        groups: &mut LineGroups<'a>,
    ) {
        if let (true, Some(prefregex)) = (sight.common, &filter.prefregex) {
            prefregex.add_groups(&self.common, sight.whole, true, groups);
        }
        pattern.add_groups(&self.slots, text, false, groups);
    }

    /// Few ignoreregexes are tried before all else.
    fn is_ignored_early(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        text: Whole<'_>,
        mode: LineMode,
        report: &mut LineReport,
    ) -> bool {
        filter.ignores_early() && self.is_ignored(filter, now, text, mode, report)
    }

    /// Does an ignoreregex hit? With [`LineMode::all`] each is tried.
    fn is_ignored(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        text: Whole<'_>,
        mode: LineMode,
        report: &mut LineReport,
    ) -> bool {
        let mut ignored = false;
        for (pattern, index) in filter.ignoreregex.iter().zip(0_u32..) {
            match pattern.search(&mut self.scratch, &mut self.slots, text) {
                Outcome::Match => {
                    ignored = true;
                    report.ignored.push(index);
                    if !mode.all {
                        break;
                    }
                }
                Outcome::NoMatch => {}
                Outcome::Exhausted => {
                    report.undecided = true;
                    self.overrun(
                        now,
                        "ignoreregex",
                        usize::try_from(index).unwrap_or(0),
                        &pattern.text,
                        text.text().len(),
                    );
                }
            }
        }
        self.counters.ignored += u64::from(ignored);
        ignored
    }

    /// Has the hit no time, so that it does not count? Says once a day that a
    /// line matched which has no date.
    fn is_undated(&mut self, now: Timestamp, sight: &Sight<'_>, matched: &[Box<str>]) -> bool {
        let Sight { cut, when, mode, .. } = sight;
        if !when.missing {
            return false;
        }
        if self.notes.today(Daily::NoDate, now) {
            let jail = &self.jail;
            let texts = [
                format!("[{jail}] Found a match but no valid date/time found for {}.", repr(&cut.date)),
                format!("[{jail}] Match without a timestamp: {}", matched.join("\n")),
                format!("[{jail}] Please try setting a custom date pattern (see man page jail.conf(5))."),
            ];
            for text in texts {
                self.notes.say(Level::Warning, text);
            }
        }
        when.time.is_none() && mode.findtime
    }

    /// Makes one hit, whose lines `matched` adds to a list, a report; what is to be tried next.
    #[expect(clippy::too_many_arguments, reason = "the state of one hit, passed once")]
    fn take_hit(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        regex: u32,
        hit: &mut LineGroups<'_>,
        matched: impl FnOnce(&mut Vec<Box<str>>),
        sight: &Sight<'_>,
        report: &mut LineReport,
    ) -> Next {
        let mode = sight.mode;
        let next = if mode.all { Next::Pattern } else { Next::Line };
        let ids = !self.terse;
        let time = sight.when.time.map(|time| if mode.findtime { time.min(now) } else { time });
        let Some(id) = hit.part(&Name::MLFID).map(|id| id.shown()) else {
            let (identity, ip) = identity(&*hit, filter.usedns, false);
            let who = match identity {
                Identity::Known(who) => Some(who),
                Identity::Later => None,
                Identity::Nobody => return next,
                Identity::Missing => return self.no_group(regex, mode),
            };
            let groups = hit.pack(&mut self.packer, ids);
            matched(&mut self.matched);
            let matches = Matches::out_of(&mut self.matched);
            report.found.push(Found { regex, who, ip, time, nofail: false, groups, matches });
            return next;
        };
        let session_now = if mode.ageless { Timestamp::from_secs(0) } else { now };
        let (mut data, home) = self.sessions.merge(&id, hit, matched, session_now);
        let nofail = data.is_true(&Name::NOFAIL);
        if nofail && !mode.all {
            self.sessions.put_back(home, data);
            return next;
        }
        let (identity, ip) = identity(&*data, filter.usedns, true);
        if ip.is_some() {
            data.ip = ip;
        }
        let who = match identity {
            Identity::Known(who) => Some(who),
            Identity::Later => {
                data.pending = true;
                if !mode.all && !mode.pending {
                    self.sessions.put_back(home, data);
                    return next;
                }
                None
            }
            Identity::Nobody => {
                self.sessions.put_back(home, data);
                return next;
            }
            Identity::Missing => {
                self.sessions.put_back(home, data);
                return self.no_group(regex, mode);
            }
        };
        let groups = data.pack(&mut self.packer, ids);
        // What follows in the session asks for these lines only if they are no failure yet.
        let kept = nofail || data.pending || data.is_true(&Name::MLFGAINED);
        let matches = if kept { data.matches.clone().into() } else { Matches::out_of(&mut data.matches) };
        report.found.push(Found { regex, who, ip: data.ip.clone(), time, nofail, groups, matches });
        self.sessions.put_back(home, data);
        next
    }

    /// A hit that names nobody is an error.
    fn no_group(&mut self, regex: u32, mode: LineMode) -> Next {
        self.counters.errors += 1;
        let text = format!("[{}] No group found in a hit of failregex {}", self.jail, regex + 1);
        self.notes.say(Level::Error, text);
        if mode.all { Next::Pattern } else { Next::PatternWithout }
    }
}

impl LineReport {
    /// Keeps what the patterns see.
    #[cold]
    fn show(&mut self, cut: &Cut<'_>, text: &str) {
        let parts = [cut.before.into(), (&*cut.date).into(), cut.behind.into()];
        self.seen = Some(Box::new(Seen { parts, text: text.into() }));
    }
}

/// Who a hit is about, and the address where the id is something else.
fn identity(data: &impl Known, usedns: UseDns, session: bool) -> (Identity, Option<FailureId>) {
    let fid = data.text(&Name::FID);
    let own = |fid: &str| if usedns == UseDns::Raw { raw(fid) } else { FailureId::parse(fid) };
    let address = data.text(&Name::IP4).or_else(|| data.text(&Name::IP6));
    let name = if address.is_some() { None } else { data.text(&Name::DNS) };
    let (shown, id) = match (address, name) {
        (Some(address), _) => {
            let cidr = data.text(&Name::CIDR).filter(|cidr| !cidr.is_empty()).map(|cidr| prefix(&cidr));
            let id = network(&address, cidr);
            (address, id)
        }
        (None, Some(name)) if usedns == UseDns::Raw => {
            let id = raw(&name);
            (name, id)
        }
        (None, Some(name)) => {
            // A name that is an address is that address, whatever `usedns` says.
            let identity = match (FailureId::parse(&name), usedns) {
                (id @ FailureId::Net(_), _) => Identity::Known(Who::Id(id)),
                (_, UseDns::No) => Identity::Nobody,
                _ => Identity::Known(Who::Name(name.into())),
            };
            return (identity, None);
        }
        (None, None) => {
            let identity = match fid {
                Some(fid) => Identity::Known(Who::Id(own(&fid))),
                None if session => Identity::Later,
                None => Identity::Missing,
            };
            return (identity, None);
        }
    };
    match fid {
        Some(fid) if fid != shown => (Identity::Known(Who::Id(own(&fid))), Some(id)),
        _ => (Identity::Known(Who::Id(id)), None),
    }
}

/// An id that must be shown as it is: an address only if it is spelt as we spell it.
fn raw(text: &str) -> FailureId {
    match FailureId::parse(text) {
        id if id.to_string() == text => id,
        _ => FailureId::Text(text.into()),
    }
}

/// The length of a prefix; beyond any address if it is too large to read.
fn prefix(digits: &str) -> u8 {
    digits.parse().unwrap_or(u8::MAX)
}

/// An address with the length of its network, if the line has one. A length
/// that no address has is left out, as the original shows such ids.
fn network(address: &str, cidr: Option<u8>) -> FailureId {
    match (FailureId::parse(address), cidr) {
        (FailureId::Net(net), Some(prefix)) => match Net::new(net.addr(), prefix) {
            Some(net) => FailureId::Net(net),
            None => FailureId::Net(net),
        },
        (id, _) => id,
    }
}
