//! How urgent a line is.

/// How urgent a line is; ordered. Numbers are fail2ban's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// 5, shown as `HEAVY`.
    Heavydebug,
    /// 7, shown as `TRACE`.
    Tracedebug,
    /// 10.
    Debug,
    /// 18; fail2ban's own, between DEBUG and INFO.
    Msg,
    /// 20; the default threshold.
    Info,
    /// 25; bans and unbans.
    Notice,
    /// 30; we recovered, but look.
    Warning,
    /// 40; act now.
    Error,
    /// 50.
    Critical,
}

impl Level {
    const ALL: [Level; 9] = [
        Level::Heavydebug,
        Level::Tracedebug,
        Level::Debug,
        Level::Msg,
        Level::Info,
        Level::Notice,
        Level::Warning,
        Level::Error,
        Level::Critical,
    ];

    /// The level of that name (any case) or number; `None` if there is none.
    /// A number between two levels is the upper one.
    pub(crate) fn parse(text: &str) -> Option<Level> {
        if let Ok(number) = text.parse::<u32>() {
            return Some(Level::ALL.into_iter().find(|l| l.number() >= number).unwrap_or(Level::Critical));
        }
        Some(match text.to_ascii_uppercase().as_str() {
            "CRITICAL" | "FATAL" => Level::Critical,
            "ERROR" => Level::Error,
            "WARNING" | "WARN" => Level::Warning,
            "NOTICE" => Level::Notice,
            "INFO" => Level::Info,
            "MSG" => Level::Msg,
            "DEBUG" => Level::Debug,
            "TRACEDEBUG" => Level::Tracedebug,
            "HEAVYDEBUG" | "NOTSET" => Level::Heavydebug,
            _ => return None,
        })
    }

    /// fail2ban's number for it.
    pub(crate) fn number(self) -> u32 {
        match self {
            Level::Heavydebug => 5,
            Level::Tracedebug => 7,
            Level::Debug => 10,
            Level::Msg => 18,
            Level::Info => 20,
            Level::Notice => 25,
            Level::Warning => 30,
            Level::Error => 40,
            Level::Critical => 50,
        }
    }

    /// As the log shows it.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Level::Heavydebug => "HEAVY",
            Level::Tracedebug => "TRACE",
            Level::Debug => "DEBUG",
            Level::Msg => "MSG",
            Level::Info => "INFO",
            Level::Notice => "NOTICE",
            Level::Warning => "WARNING",
            Level::Error => "ERROR",
            Level::Critical => "CRITICAL",
        }
    }

    /// syslog's severity for it.
    pub(super) fn severity(self) -> u8 {
        match self {
            Level::Critical => 2,
            Level::Error => 3,
            Level::Warning => 4,
            Level::Notice => 5,
            Level::Msg | Level::Info => 6,
            Level::Debug | Level::Tracedebug | Level::Heavydebug => 7,
        }
    }
    /// The priority that the original's entries have in the journal: Python knows
    /// no NOTICE, and rounds it up.
    pub(super) fn journal_priority(self) -> u8 {
        match self {
            Level::Notice => 4,
            other => other.severity(),
        }
    }
}
