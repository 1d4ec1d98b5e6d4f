//! What commands are told about a ban: the values of their tags.
//!
//! Source: fail2ban `server/actions.py`, `ActionInfo`; `server/ticket.py`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use stockade_core::Subject;
use stockade_core::judge::{About, BanView, Counters};
use stockade_core::{BanTime, Decision, DecisionKind, FailureId, GroupValue, JailName, Net, Seq, Timestamp};
use stockade_enforce::runner::Values;
use stockade_wire::value::Value;

/// One ban, or its end, as actions see it.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) seq: Seq,
    pub(super) kind: DecisionKind,
    pub(super) jail: JailName,
    pub(super) id: FailureId,
    pub(super) ip: Option<Net>,
    pub(super) time: Timestamp,
    pub(super) bantime: BanTime,
    pub(super) count: u32,
    pub(super) failures: u32,
    pub(super) matches: Arc<[Box<str>]>,
    pub(super) groups: Arc<[(Arc<str>, GroupValue)]>,
    pub(super) restored: bool,
}

impl Ticket {
    /// Of a decision.
    pub(super) fn of(decision: &Decision) -> Ticket {
        let over = matches!(decision.kind, DecisionKind::Unban | DecisionKind::Lift | DecisionKind::Repeal);
        let time = match decision.bantime {
            // Actions are told when a ban began, also at its end.
            BanTime::For(span) if over => decision.end - span,
            _ => decision.time,
        };
        Ticket {
            seq: decision.seq,
            kind: decision.kind,
            jail: decision.jail.clone(),
            id: decision.id.clone(),
            ip: decision.ip,
            time,
            bantime: decision.bantime,
            count: decision.count,
            failures: decision.failures,
            matches: Arc::clone(&decision.matches),
            groups: Arc::clone(&decision.groups),
            restored: decision.kind == DecisionKind::Restore,
        }
    }

    /// Of a living ban.
    pub(super) fn of_view(jail: &JailName, ban: &BanView) -> Ticket {
        Ticket {
            seq: ban.seq,
            kind: if ban.restored { DecisionKind::Restore } else { DecisionKind::Ban },
            jail: jail.clone(),
            id: ban.id.clone(),
            ip: ban.ip,
            time: ban.start,
            bantime: ban.bantime,
            count: ban.count,
            failures: ban.failures,
            matches: Arc::clone(&ban.matches),
            groups: Arc::clone(&ban.groups),
            restored: ban.restored,
        }
    }

    /// The end of a ban of which only this much is known.
    pub(super) fn bare(jail: &JailName, id: &FailureId, ip: Option<Net>, now: Timestamp) -> Ticket {
        Ticket {
            seq: Seq(0),
            kind: DecisionKind::Unban,
            jail: jail.clone(),
            id: id.clone(),
            ip,
            time: now,
            bantime: BanTime::Permanent,
            count: 0,
            failures: 0,
            matches: Arc::default(),
            groups: Arc::default(),
            restored: false,
        }
    }

    /// Which decision it is about.
    pub(super) fn subject(&self) -> Subject {
        Subject { seq: self.seq, kind: self.kind, jail: self.jail.clone(), id: self.id.clone() }
    }

    fn target(&self) -> Option<Net> {
        self.ip.or_else(|| self.id.net())
    }

    /// The text of `<ip>`.
    pub(super) fn ip_text(&self) -> String {
        self.target().map_or_else(|| self.id.to_string(), |net| net.to_string())
    }

    /// The text of `<family>`.
    pub(super) fn family(&self) -> &'static str {
        self.target().map_or("None", |net| if net.is_ipv4() { "inet4" } else { "inet6" })
    }

    /// The values of the tags that are wanted; `ip` and `family` always.
    pub(super) fn values(&self, wants: &BTreeSet<String>, around: &Surroundings<'_>) -> Values {
        let mut values = Values::default();
        values.tag("ip", self.ip_text());
        values.tag("family", self.family());
        let wanted = wants.iter().filter(|tag| !matches!(tag.as_str(), "ip" | "family"));
        for tag in wanted {
            if let Some(text) = self.value(tag, around) {
                values.tag(tag, text);
            }
        }
        if wants.iter().any(|tag| tag.starts_with("F-")) {
            for (name, value) in self.groups.iter() {
                match value {
                    GroupValue::Text(text) => values.group(name, text.to_string()),
                    GroupValue::List(list) => values.group(name, list_repr(list)),
                }
            }
            values.group("matches", list_repr(&self.matches));
            values.group("failures", self.failures.to_string());
            if let Some(ip) = self.ip {
                values.group("fid", self.id.to_string());
                values.group("ip", ip.to_string());
            }
        }
        values
    }

    fn value(&self, tag: &str, around: &Surroundings<'_>) -> Option<String> {
        let counters = around.counters;
        Some(match tag {
            "fid" => self.id.to_string(),
            "ip-rev" => self.target().map_or_else(String::new, reversed),
            "failures" => self.failures.to_string(),
            "time" => time_text(self.time, self.restored),
            "bantime" => self.bantime.secs().to_string(),
            "bancount" => self.count.to_string(),
            "matches" => joined(&self.matches),
            "restored" => u8::from(self.restored).to_string(),
            "ipmatches" | "ipjailmatches" | "ipfailures" | "ipjailfailures" => {
                let merged = around.merged.and_then(|ask| ask(self, tag.starts_with("ipjail")));
                match (merged, tag.ends_with("matches")) {
                    (Some((matches, _)), true) => joined(&matches),
                    (Some((_, failures)), false) => failures.to_string(),
                    // What the database doesn't know the ban itself knows.
                    (None, true) => joined(&self.matches),
                    (None, false) => self.failures.to_string(),
                }
            }
            "jail.name" => self.jail.to_string(),
            "jail.banned" => counters.banned.to_string(),
            "jail.banned_total" => counters.banned_total.to_string(),
            "jail.found" => counters.failed.to_string(),
            "jail.found_total" => counters.failed_total.to_string(),
            "raw-ticket" => format!(
                "BanTicket: ip={} time={} bantime={} bancount={} #attempts={} matches={}",
                self.id,
                time_text(self.time, self.restored),
                self.bantime.secs(),
                self.count,
                self.failures,
                list_repr(&self.matches)
            ),
            _ => return None,
        })
    }
}

/// The values of tags where there is no ban: for start, stop, flush.
pub(super) fn idle_values(
    jail: &JailName,
    bantime: BanTime,
    wants: &BTreeSet<String>,
    around: &Surroundings<'_>,
    now: Timestamp,
) -> Values {
    let nobody = Ticket { bantime, ..Ticket::bare(jail, &FailureId::Text("".into()), None, now) };
    let mut values = nobody.values(wants, &Surroundings { merged: None, ..*around });
    values.tags.retain(|(name, _)| name != "family" && name != "bantime");
    values.tag("bantime", bantime.secs().to_string());
    values
}

/// The values for an ignore command.
pub(super) fn about_values(
    jail: &JailName,
    about: &About,
    wants: &BTreeSet<String>,
    around: &Surroundings<'_>,
) -> Values {
    let ticket = Ticket {
        ip: about.ip,
        failures: u32::try_from(about.matches.len()).unwrap_or(u32::MAX),
        matches: about.matches.to_vec().into(),
        groups: about.groups.to_list().into(),
        ..Ticket::bare(jail, &about.id, about.ip, about.time)
    };
    ticket.values(wants, around)
}

/// Matched lines, oldest first, and failures of an address.
pub(super) type Memory = (Vec<Box<str>>, u64);

/// What the database remembers of a ticket's address; the second argument says
/// whether of this jail only.
pub(super) type Merged<'a> = &'a dyn Fn(&Ticket, bool) -> Option<Memory>;

/// What tags may tell beside the ban itself.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    /// The jail's counters.
    pub(super) counters: Counters,
    /// Asks the database; only called for tags that want it.
    pub(super) merged: Option<Merged<'a>>,
}

fn joined(matches: &[Box<str>]) -> String {
    matches.join("\n")
}

/// A list of texts as Python shows it.
fn list_repr(list: &[Box<str>]) -> String {
    Value::List(list.iter().map(|text| Value::Str(text.to_string())).collect()).repr()
}

/// A time as Python shows the number: with a fraction, or whole if it comes from the database.
fn time_text(time: Timestamp, restored: bool) -> String {
    if restored { time.secs().to_string() } else { Value::Float(time.as_secs_f64()).repr() }
}

/// An address as reverse name look-ups want it, with the last dot.
///
/// Source: fail2ban `server/ipdns.py`, `getPTR`: the parts of a network's text,
/// its length with the last octet.
fn reversed(net: Net) -> String {
    let mut out = String::new();
    match net.addr() {
        IpAddr::V4(_) => {
            for part in net.to_string().rsplit('.') {
                out.push_str(part);
                out.push('.');
            }
        }
        IpAddr::V6(addr) => {
            for octet in addr.octets().iter().rev() {
                out.push_str(&format!("{:x}.{:x}.", octet & 15, octet >> 4));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings<'static> {
        Surroundings { counters: Counters::default(), merged: None }
    }

    #[test]
    fn values_are_written_as_the_original_writes_them() {
        let mut ticket = Ticket::bare(
            &JailName::new("sshd"),
            &FailureId::parse("2001:db8::1"),
            None,
            Timestamp::from_micros(1_795_358_702_000_000),
        );
        ticket.matches = [Box::from("a"), Box::from("b'")].into();
        ticket.groups = [(Arc::from("user"), GroupValue::Text("bob".into()))].into();
        let wants: BTreeSet<String> =
            ["ip-rev", "time", "matches", "fid", "bantime", "F-USER", "unknown"].map(str::to_owned).into();
        let values = ticket.values(&wants, &around());
        let nibbles = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.";
        assert_eq!(values.get("ip-rev"), Some(nibbles));
        assert_eq!(values.get("time"), Some("1795358702.0"));
        assert_eq!((values.get("matches"), values.get("fid")), (Some("a\nb'"), Some("2001:db8::1")));
        assert_eq!(
            (values.get("family"), values.get("bantime"), values.get("unknown")),
            (Some("inet6"), Some("-1"), None)
        );
        assert!(values.groups.contains(&("matches".to_owned(), "['a', \"b'\"]".to_owned())), "{:?}", values.groups);
        ticket.restored = true;
        assert_eq!(ticket.values(&wants, &around()).get("time"), Some("1795358702"));
        ticket.id = FailureId::Text("bob".into());
        assert_eq!(ticket.values(&wants, &around()).get("family"), Some("None"));
        ticket.ip = FailureId::parse("192.0.2.1").net();
        assert_eq!(ticket.values(&wants, &around()).get("ip-rev"), Some("1.2.0.192."));
        assert_eq!(ticket.ip_text(), "192.0.2.1");
    }
}
