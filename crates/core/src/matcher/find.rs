//! From a line without its date to hits.
//!
//! Source: fail2ban `server/filter.py`, `findFailure` and `_ignoreLine`.

use stockade_pattern::Outcome;

use super::buffer::{Line, Split, join, match_text, split};
use super::data::{Data, Value};
use super::filter::{Filter, UseDns};
use super::lines::{Cut, Hit, LineMode, LineReport, Matcher, When};
use super::notes::{Daily, Level};
use super::sessions::Home;
use super::text::repr;
use crate::failure::Who;
use crate::id::{FailureId, Net};
use crate::time::Timestamp;

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

impl Matcher {
    /// Runs the patterns over one line and adds its hits to `report`.
    pub(super) fn find(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        cut: &Cut<'_>,
        when: When,
        mode: LineMode,
        report: &mut LineReport,
    ) {
        let multi = filter.maxlines > 1;
        let mut text = std::mem::take(&mut self.text);
        let lines = if multi {
            self.keep(filter, cut);
            join(&self.buffer, &mut text);
            self.buffer.clone()
        } else {
            text.clear();
            text.push_str(cut.before);
            text.push_str(cut.behind);
            text.push('\n');
            Vec::new()
        };
        self.find_in(filter, now, cut, when, mode, &lines, &mut text, report);
        self.text = text;
    }

    /// Adds the line to the buffer, which keeps the last `maxlines`.
    fn keep(&mut self, filter: &Filter, cut: &Cut<'_>) {
        self.buffer.push(Line {
            text: [cut.before, cut.behind].concat().into(),
            full: [cut.before, &cut.date, cut.behind].concat().into(),
        });
        let over = self.buffer.len().saturating_sub(filter.maxlines);
        self.buffer.drain(..over);
    }

    #[expect(clippy::too_many_arguments, reason = "the state of one line, passed once")]
    fn find_in(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        cut: &Cut<'_>,
        when: When,
        mode: LineMode,
        lines: &[Line],
        text: &mut String,
        report: &mut LineReport,
    ) {
        let multi = filter.maxlines > 1;
        // Few ignoreregexes are cheaper first.
        if !filter.ignoreregex.is_empty()
            && filter.ignoreregex.len() + 2 < filter.failregex.len()
            && self.is_ignored(filter, now, text, mode, report)
        {
            return;
        }
        let mut common = Data::default();
        if let Some(prefregex) = &filter.prefregex {
            match prefregex.search(&mut self.scratch, &mut self.slots, text) {
                Outcome::Match => {}
                Outcome::NoMatch => return,
                Outcome::Exhausted => {
                    report.undecided = true;
                    self.overrun(now, "prefregex", 0, &prefregex.text, text.len());
                    return;
                }
            }
            common = prefregex.groups(&self.slots, text);
            if let Some(content) = common.take("content").filter(Value::is_true) {
                let content = content.text();
                text.clear();
                text.push_str(&content);
                text.push('\n');
                if multi {
                    self.buffer = vec![Line { text: content.clone(), full: content }];
                }
            }
        }
        for (pattern, index) in filter.failregex.iter().zip(0_u32..) {
            match pattern.search(&mut self.scratch, &mut self.slots, text) {
                Outcome::Match => {}
                Outcome::NoMatch => continue,
                Outcome::Exhausted => {
                    report.undecided = true;
                    self.overrun(now, "failregex", usize::try_from(index).unwrap_or(0), &pattern.text, text.len());
                    continue;
                }
            }
            let hit = pattern.groups(&self.slots, text);
            let divided = if multi {
                let whole = self.slots.get(0).unwrap_or(0..0);
                let skipped: String = pattern.skipped(&self.slots).filter_map(|at| text.get(at)).collect();
                split(lines, text, whole.start, whole.end, &skipped)
            } else {
                Split::default()
            };
            if !filter.ignoreregex.is_empty() {
                let ignored = if multi {
                    let mut matched = String::new();
                    join(&divided.matched, &mut matched);
                    self.is_ignored(filter, now, &matched, mode, report)
                } else {
                    self.is_ignored(filter, now, text, mode, report)
                };
                if ignored {
                    if multi {
                        self.buffer = divided.unmatched;
                        join(&self.buffer, text);
                    }
                    if !mode.all {
                        return;
                    }
                    continue;
                }
            }
            let matched: Vec<Box<str>> = if multi {
                divided.matched.iter().map(|line| match_text(&[&line.full])).collect()
            } else {
                vec![match_text(&[cut.before, &cut.date, cut.behind])]
            };
            if when.missing {
                self.warn_undated(now, cut, &matched);
                if when.time.is_none() && mode.findtime {
                    continue;
                }
            }
            if multi {
                self.buffer = divided.unmatched;
                join(&self.buffer, text);
            }
            let hit = if common.groups.is_empty() {
                hit
            } else {
                let mut merged = common.clone();
                merged.overwrite(hit.groups);
                merged
            };
            if self.take_hit(filter, now, index, hit, matched, when, mode, report) {
                return;
            }
            if !mode.all && !multi {
                // The original has taken the line out of its buffer by now.
                text.clear();
                text.push('\n');
            }
        }
    }

    /// Does an ignoreregex hit? With [`LineMode::all`] each is tried.
    fn is_ignored(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        text: &str,
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
                    self.overrun(now, "ignoreregex", usize::try_from(index).unwrap_or(0), &pattern.text, text.len());
                }
            }
        }
        self.counters.ignored += u64::from(ignored);
        ignored
    }

    /// Says once a day that a line matched which has no date.
    fn warn_undated(&mut self, now: Timestamp, cut: &Cut<'_>, matched: &[Box<str>]) {
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
    }

    /// Makes one hit a report; true if no further failregex is to be tried.
    #[expect(clippy::too_many_arguments, reason = "the state of one hit, passed once")]
    fn take_hit(
        &mut self,
        filter: &Filter,
        now: Timestamp,
        regex: u32,
        mut hit: Data,
        matched: Vec<Box<str>>,
        when: When,
        mode: LineMode,
        report: &mut LineReport,
    ) -> bool {
        let session = hit.get("mlfid").map(Value::text);
        let (mut data, home) = match &session {
            Some(id) => self.sessions.merge(id, hit, &matched, now),
            None => {
                hit.matches = matched;
                (hit, Home::Nowhere)
            }
        };
        let nofail = session.is_some() && data.is_true("nofail");
        if nofail && !mode.all {
            self.sessions.put_back(home, data);
            return true;
        }
        let who = match identify(&mut data, filter.usedns, session.is_some()) {
            Identity::Known(who) => Some(who),
            Identity::Later => {
                data.pending = true;
                if !mode.all && !mode.pending {
                    self.sessions.put_back(home, data);
                    return true;
                }
                None
            }
            Identity::Nobody => {
                self.sessions.put_back(home, data);
                return !mode.all;
            }
            Identity::Missing => {
                self.counters.errors += 1;
                let text = format!("[{}] No group found in a hit of failregex {}", self.jail, regex + 1);
                self.notes.say(Level::Error, text);
                return false;
            }
        };
        let time = when.time.map(|time| if mode.findtime { time.min(now) } else { time });
        report.hits.push(Hit {
            regex,
            who,
            ip: data.ip.clone(),
            time,
            nofail,
            groups: data.report(mode != LineMode::DAEMON),
            matches: if session.is_some() { data.matches.clone() } else { std::mem::take(&mut data.matches) },
        });
        self.sessions.put_back(home, data);
        !mode.all
    }
}

/// Finds out who a hit is about; sets [`Data::ip`] where the id is not the address.
fn identify(data: &mut Data, usedns: UseDns, session: bool) -> Identity {
    let text = |name: &str| data.get(name).map(Value::text);
    let fid = text("fid");
    let cidr = data.get("cidr").filter(|v| v.is_true()).map(|v| prefix(&v.text()));
    let address = text("ip4").or_else(|| text("ip6"));
    let (shown, id) = match (address, text("dns")) {
        (Some(address), _) => {
            let id = network(&address, cidr);
            (address, id)
        }
        (None, Some(name)) => {
            // A name that is an address is that address, whatever `usedns` says.
            let id = FailureId::parse(&name);
            match (id, usedns) {
                (id @ FailureId::Net(_), UseDns::Raw) => (name, id),
                (id @ FailureId::Net(_), _) => return Identity::Known(Who::Id(id)),
                (id, UseDns::Raw) => (name, id),
                (_, UseDns::Yes | UseDns::Warn) => return Identity::Known(Who::Name(name)),
                (_, UseDns::No) => return Identity::Nobody,
            }
        }
        (None, None) => {
            return match fid {
                Some(fid) => Identity::Known(Who::Id(FailureId::parse(&fid))),
                None if session => Identity::Later,
                None => Identity::Missing,
            };
        }
    };
    match fid {
        Some(fid) if fid != shown => {
            data.ip = Some(id);
            Identity::Known(Who::Id(FailureId::parse(&fid)))
        }
        _ => Identity::Known(Who::Id(id)),
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
