//! Lines for the own log: typed here, turned into text where the zone is known.
//!
//! The texts are a contract (engine.md 9): `recidive`, dashboards and monitors
//! parse them.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use crate::id::FailureId;
use crate::jail::JailName;
use crate::text::push_escaped;
use crate::time::{BanTime, Span, Timestamp};

/// Who speaks, as in the third column of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logger {
    /// `fail2ban.filter`
    Filter,
    /// `fail2ban.actions`
    Actions,
    /// `fail2ban.observer`
    Observer,
    /// `fail2ban.jail`
    Jail,
    /// `stockade.judge`: what the original has no words for.
    Judge,
}

impl Logger {
    /// The name as it stands in the log.
    pub fn name(self) -> &'static str {
        match self {
            Logger::Filter => "fail2ban.filter",
            Logger::Actions => "fail2ban.actions",
            Logger::Observer => "fail2ban.observer",
            Logger::Jail => "fail2ban.jail",
            Logger::Judge => "stockade.judge",
        }
    }
}

/// How much the reader should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 10
    Debug,
    /// 18, shown as `MSG`
    Msg,
    /// 20
    Info,
    /// 25
    Notice,
    /// 30
    Warning,
    /// 40
    Error,
}

impl Level {
    /// The name as it stands in the log.
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "DEBUG",
            Level::Msg => "MSG",
            Level::Info => "INFO",
            Level::Notice => "NOTICE",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Who speaks.
    pub logger: Logger,
    /// How loud.
    pub level: Level,
    /// About which jail, if one.
    pub jail: Option<JailName>,
    /// What is said.
    pub text: LogText,
}

/// What an ignore rule went by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgnoreSource {
    /// The host's own addresses.
    IgnoreSelf,
    /// An address or network of `ignoreip`.
    Ip,
    /// A host name of `ignoreip`.
    Dns,
    /// A `file:` of `ignoreip`.
    File(Arc<str>),
    /// `ignorecommand`.
    Command,
    /// `stockade allow`.
    Allowed,
}

impl fmt::Display for IgnoreSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IgnoreSource::IgnoreSelf => f.write_str("ignoreself rule"),
            IgnoreSource::Ip => f.write_str("ip"),
            IgnoreSource::Dns => f.write_str("dns"),
            IgnoreSource::File(path) => write!(f, "file:{path}"),
            IgnoreSource::Command => f.write_str("command"),
            IgnoreSource::Allowed => f.write_str("allow"),
        }
    }
}

/// What a line says. Ids and names are attackers' text; they are escaped when
/// the line is rendered.
#[derive(Clone, Debug, PartialEq)]
pub enum LogText {
    /// `Found ID - T`
    Found {
        /// Who.
        id: FailureId,
        /// When, as the log claims.
        time: Timestamp,
    },
    /// `Attempt ID - T`
    Attempt {
        /// Who.
        id: FailureId,
        /// When.
        time: Timestamp,
    },
    /// `Ignore ID by SOURCE`
    Ignore {
        /// Who.
        id: FailureId,
        /// By which rule.
        source: IgnoreSource,
    },
    /// `Ban ID`
    Ban {
        /// Who.
        id: FailureId,
    },
    /// `Restore Ban ID`
    RestoreBan {
        /// Who.
        id: FailureId,
    },
    /// `Unban ID`
    Unban {
        /// Who.
        id: FailureId,
    },
    /// `Repeal Ban ID`
    RepealBan {
        /// Who.
        id: FailureId,
    },
    /// `ID already banned`
    AlreadyBanned {
        /// Who.
        id: FailureId,
    },
    /// `Ignore ID, expired bantime`
    ExpiredBantime {
        /// Who.
        id: FailureId,
    },
    /// `Found ID, bad - T, N # -> R` and perhaps `, Ban`
    FoundBad {
        /// Who.
        id: FailureId,
        /// When, as the log claims.
        time: Timestamp,
        /// Number of earlier bans.
        count: u32,
        /// What one failure counts.
        counts_as: f64,
        /// Was that cut to `maxretry` (a whole number then)?
        capped: bool,
        /// Does it ban at once?
        ban: bool,
    },
    /// `IP ID is bad: N # last T - incr D1 to D2`
    IsBad {
        /// Who.
        id: FailureId,
        /// Number of earlier bans.
        count: u32,
        /// When the last one began.
        last: Timestamp,
        /// The jail's ban time.
        from: BanTime,
        /// The ban time now.
        to: BanTime,
    },
    /// `Increase Ban ID (N # D -> T)`
    Increase {
        /// Who.
        id: FailureId,
        /// Number of bans, this one included.
        count: u32,
        /// The ban time now.
        bantime: BanTime,
        /// When it ends.
        end: Timestamp,
    },
    /// `ID is not banned`
    NotBanned {
        /// Who.
        id: FailureId,
    },
    /// `Determined IP using DNS Lookup: NAME = {..}`
    DeterminedIp {
        /// The name.
        name: Box<str>,
        /// Its addresses.
        ips: Vec<std::net::IpAddr>,
    },
    /// `Unable to find a corresponding IP address for NAME`
    NoAddress {
        /// The name.
        name: Box<str>,
    },
    /// `Ban of ID withheld: WHY`
    Withheld {
        /// Who.
        id: FailureId,
        /// Why.
        why: Box<str>,
    },
    /// `Ban of ID hits a protected address: WHY`
    GuardWarning {
        /// Who.
        id: FailureId,
        /// Why.
        why: Box<str>,
    },
    /// `WHAT ID: WHY`
    Failed {
        /// Who.
        id: FailureId,
        /// What failed.
        what: Box<str>,
        /// Why.
        why: Box<str>,
    },
    /// A sentence of ours, without attackers' text.
    Plain(Box<str>),
}

impl LogLine {
    /// The message as the log shows it, with local times of `zone`.
    pub fn message(&self, zone: &jiff::tz::TimeZone) -> String {
        let mut text = String::with_capacity(64);
        let bare =
            matches!(self.text, LogText::NotBanned { .. } | LogText::DeterminedIp { .. } | LogText::NoAddress { .. });
        if let Some(jail) = self.jail.as_ref().filter(|_| !bare) {
            text.push('[');
            push_escaped(&mut text, jail.as_str());
            text.push_str("] ");
        }
        self.text.push(&mut text, zone);
        text
    }
}

impl LogText {
    fn push(&self, out: &mut String, zone: &jiff::tz::TimeZone) {
        let time = |t: &Timestamp| local_time(*t, zone);
        let written = match self {
            LogText::Found { id, time: t } => write!(out, "Found {} - {}", Shown(id), time(t)),
            LogText::Attempt { id, time: t } => write!(out, "Attempt {} - {}", Shown(id), time(t)),
            LogText::Ignore { id, source } => write!(out, "Ignore {} by {source}", Shown(id)),
            LogText::Ban { id } => write!(out, "Ban {}", Shown(id)),
            LogText::RestoreBan { id } => write!(out, "Restore Ban {}", Shown(id)),
            LogText::Unban { id } => write!(out, "Unban {}", Shown(id)),
            LogText::RepealBan { id } => write!(out, "Repeal Ban {}", Shown(id)),
            LogText::AlreadyBanned { id } => write!(out, "{} already banned", Shown(id)),
            LogText::ExpiredBantime { id } => write!(out, "Ignore {}, expired bantime", Shown(id)),
            LogText::FoundBad { id, time: t, count, counts_as, capped, ban } => {
                let counts_as = if *capped { format!("{counts_as:.0}") } else { format!("{counts_as:.1}") };
                let ban = if *ban { ", Ban" } else { "" };
                write!(out, "Found {}, bad - {}, {count} # -> {counts_as}{ban}", Shown(id), time(t))
            }
            LogText::IsBad { id, count, last, from, to } => {
                let (from, to) = (duration(*from), duration(*to));
                write!(out, "IP {} is bad: {count} # last {} - incr {from} to {to}", Shown(id), time(last))
            }
            LogText::Increase { id, count, bantime: BanTime::Permanent, .. } => {
                write!(out, "Increase Ban {} ({count} # permanent -> infinite)", Shown(id))
            }
            LogText::Increase { id, count, bantime, end } => {
                write!(out, "Increase Ban {} ({count} # {} -> {})", Shown(id), duration(*bantime), time(end))
            }
            LogText::NotBanned { id } => write!(out, "{} is not banned", Shown(id)),
            LogText::DeterminedIp { name, ips } => {
                out.push_str("Determined IP using DNS Lookup: ");
                push_escaped(out, name);
                out.push_str(" = {");
                for (n, ip) in ips.iter().enumerate() {
                    write!(out, "{}'{ip}'", if n == 0 { "" } else { ", " }).ok();
                }
                out.write_str("}")
            }
            LogText::NoAddress { name } => {
                out.push_str("Unable to find a corresponding IP address for ");
                push_escaped(out, name);
                Ok(())
            }
            LogText::Withheld { id, why } => write!(out, "Withheld the ban of {}: {why}", Shown(id)),
            LogText::GuardWarning { id, why } => {
                write!(out, "The ban of {} hits a protected address: {why}", Shown(id))
            }
            LogText::Failed { id, what, why } => {
                let written = write!(out, "{what} {}: ", Shown(id));
                push_escaped(out, why);
                written
            }
            LogText::Plain(text) => out.write_str(text),
        };
        // Writing to a String never fails.
        written.ok();
    }
}

/// An id as lines show it.
struct Shown<'a>(&'a FailureId);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            FailureId::Net(net) => net.fmt(f),
            FailureId::Text(name) => {
                let mut text = String::new();
                push_escaped(&mut text, name);
                f.write_str(&text)
            }
        }
    }
}

/// `YYYY-mm-dd HH:MM:SS` in `zone`; a time without end is `9999-12-31 23:59:59`.
pub fn local_time(time: Timestamp, zone: &jiff::tz::TimeZone) -> String {
    const NEVER: &str = "9999-12-31 23:59:59";
    let Ok(at) = jiff::Timestamp::from_second(time.secs()) else { return NEVER.to_owned() };
    at.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A length of time as the original's log has it: at most three units, rounded
/// the more the longer it is; `-1s` for "permanent" as it prints the number.
///
/// Source: fail2ban `server/mytime.py`, `seconds2str`.
pub fn duration(time: BanTime) -> String {
    match time {
        BanTime::Permanent => "-1s".to_owned(),
        BanTime::For(span) => span_text(span),
    }
}

/// As [`duration`], of a span.
pub fn span_text(span: Span) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const WEEK: i64 = 7 * DAY;
    const YEAR: i64 = 365 * DAY;
    let micros = span.micros();
    // Down to which unit, and which units are shown.
    let (unit, shown): (i64, &[(i64, char)]) = match micros {
        m if m >= YEAR * 1_000_000 => (DAY, &[(YEAR, 'y'), (WEEK, 'w'), (DAY, 'd')]),
        m if m >= WEEK * 1_000_000 => (HOUR, &[(WEEK, 'w'), (DAY, 'd'), (HOUR, 'h')]),
        m if m >= DAY * 1_000_000 => (MINUTE, &[(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm')]),
        m if m >= 3595 * 1_000_000 => (10, &[(HOUR, 'h'), (MINUTE, 'm')]),
        _ => return short_span_text(micros),
    };
    let unit_micros = unit * 1_000_000;
    let (floor, rest) = (micros.div_euclid(unit_micros), micros.rem_euclid(unit_micros) * 2);
    let up = rest > unit_micros || (rest == unit_micros && floor % 2 != 0);
    let mut rest = (floor + i64::from(up)) * unit;
    let mut text = String::new();
    for (first, (size, letter)) in shown.iter().enumerate() {
        let number = rest / size;
        rest %= size;
        if number > 0 || first == 0 {
            if !text.is_empty() {
                text.push(' ');
            }
            // Writing to a String never fails.
            write!(text, "{number}{letter}").ok();
        }
    }
    text
}

/// Minutes and seconds, with whatever fraction there is.
fn short_span_text(micros: i64) -> String {
    if micros == 0 {
        return "0".to_owned();
    }
    let minutes = if micros < 0 { 0 } else { micros / 60_000_000 };
    let rest = micros - minutes * 60_000_000;
    let mut text = if minutes > 0 { format!("{minutes}m") } else { String::new() };
    if rest != 0 {
        let sign = if rest < 0 { "-" } else { "" };
        let (whole, fraction) = (rest.unsigned_abs() / 1_000_000, rest.unsigned_abs() % 1_000_000);
        let fraction = format!(".{fraction:06}");
        let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
        let blank = if text.is_empty() { "" } else { " " };
        // Writing to a String never fails.
        write!(text, "{blank}{sign}{whole}{fraction}s").ok();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_as_in_the_original() {
        for (micros, text) in [
            (0, "0"),
            (400_000, "0.4s"),
            (1_500_000, "1.5s"),
            (59_000_000, "59s"),
            (60_000_000, "1m"),
            (61_000_000, "1m 1s"),
            (3_570_000_000, "59m 30s"),
            (3_590_000_000, "59m 50s"),
            (3_594_000_000, "59m 54s"),
            (3_595_000_000, "1h"),
            (3_630_000_000, "1h"),
            (3_659_000_000, "1h 1m"),
            (5_400_000_000, "1h 30m"),
            (7_199_000_000, "2h"),
            (86_399_000_000, "24h"),
            (86_399_500_000, "24h"),
            (86_400_000_000, "1d"),
            (90_059_000_000, "1d 1h 1m"),
            (176_399_000_000, "2d 1h"),
            (198_900_000_000, "2d 7h 15m"),
            (604_799_000_000, "7d"),
            (604_800_000_000, "1w"),
            (709_380_000_000, "1w 1d 5h"),
            (863_999_000_000, "1w 3d"),
            (2_007_100_000_000, "3w 2d 6h"),
            (3_024_000_000_000, "5w"),
            (31_535_999_000_000, "52w 1d"),
            (31_536_000_000_000, "1y"),
            (31_579_200_000_000, "1y 1d"),
            (31_795_200_000_000, "1y 3d"),
            (33_696_000_000_000, "1y 3w 4d"),
            (40_000_000_000_000, "1y 14w"),
            (629_145_600_000_000, "19y 49w 4d"),
            (35_999_000_000, "10h"),
            (35_969_000_000, "9h 59m"),
            (-600_000_000, "-600s"),
        ] {
            assert_eq!(span_text(Span::from_micros(micros)), text, "{micros}");
        }
        assert_eq!(duration(BanTime::Permanent), "-1s");
    }

    #[track_caller]
    fn check(text: LogText, expected: &str) {
        let line = LogLine { logger: Logger::Filter, level: Level::Info, jail: Some(JailName::new("sshd")), text };
        assert_eq!(line.message(&jiff::tz::TimeZone::fixed(jiff::tz::offset(1))), expected);
    }

    #[test]
    fn lines_are_those_that_others_parse() {
        let id = || FailureId::parse("192.0.2.1");
        let time = Timestamp::from_secs(1_795_358_651);
        let ten = BanTime::For(Span::from_secs(600));
        let twenty = BanTime::For(Span::from_secs(1200));
        check(LogText::Found { id: id(), time }, "[sshd] Found 192.0.2.1 - 2026-11-22 15:44:11");
        check(LogText::Attempt { id: id(), time }, "[sshd] Attempt 192.0.2.1 - 2026-11-22 15:44:11");
        check(
            LogText::Ignore { id: id(), source: IgnoreSource::IgnoreSelf },
            "[sshd] Ignore 192.0.2.1 by ignoreself rule",
        );
        check(
            LogText::Ignore { id: id(), source: IgnoreSource::File("/etc/x".into()) },
            "[sshd] Ignore 192.0.2.1 by file:/etc/x",
        );
        check(LogText::Ban { id: id() }, "[sshd] Ban 192.0.2.1");
        check(LogText::RestoreBan { id: id() }, "[sshd] Restore Ban 192.0.2.1");
        check(LogText::Unban { id: id() }, "[sshd] Unban 192.0.2.1");
        check(LogText::RepealBan { id: id() }, "[sshd] Repeal Ban 192.0.2.1");
        check(LogText::AlreadyBanned { id: id() }, "[sshd] 192.0.2.1 already banned");
        check(LogText::ExpiredBantime { id: id() }, "[sshd] Ignore 192.0.2.1, expired bantime");
        let bad = |counts_as, capped, ban| LogText::FoundBad { id: id(), time, count: 1, counts_as, capped, ban };
        check(bad(2.0, false, false), "[sshd] Found 192.0.2.1, bad - 2026-11-22 15:44:11, 1 # -> 2.0");
        check(bad(3.0, true, true), "[sshd] Found 192.0.2.1, bad - 2026-11-22 15:44:11, 1 # -> 3, Ban");
        check(
            LogText::IsBad { id: id(), count: 1, last: time, from: ten, to: twenty },
            "[sshd] IP 192.0.2.1 is bad: 1 # last 2026-11-22 15:44:11 - incr 10m to 20m",
        );
        check(
            LogText::Increase { id: id(), count: 2, bantime: twenty, end: time },
            "[sshd] Increase Ban 192.0.2.1 (2 # 20m -> 2026-11-22 15:44:11)",
        );
        check(
            LogText::Increase { id: id(), count: 2, bantime: BanTime::Permanent, end: Timestamp::MAX },
            "[sshd] Increase Ban 192.0.2.1 (2 # permanent -> infinite)",
        );
        check(LogText::NotBanned { id: id() }, "192.0.2.1 is not banned");
        check(
            LogText::DeterminedIp { name: "a.example".into(), ips: vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()] },
            "Determined IP using DNS Lookup: a.example = {'192.0.2.1', '192.0.2.2'}",
        );
    }

    #[test]
    fn attackers_text_cannot_make_a_line_of_its_own() {
        let id = FailureId::parse("x\n2026 fail2ban.actions [1]: NOTICE [t] Ban 192.0.2.66\u{2028}\u{1b}[0m");
        check(
            LogText::Ban { id },
            "[sshd] Ban x\\x0a2026 fail2ban.actions [1]: NOTICE [t] Ban 192.0.2.66\\u2028\\x1b[0m",
        );
    }
}
