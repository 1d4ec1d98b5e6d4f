//! Every option, in one table: the readers, `get` and `set`, the manual page
//! and the diagnostics are made from it.

/// In which file an option stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// `fail2ban.conf`, section `[Definition]`.
    Daemon,
    /// `jail.conf`, a jail's section or `[DEFAULT]`.
    Jail,
    /// `filter.d/*.conf`, section `[Definition]`; may also be set in a jail.
    Filter,
    /// `action.d/*.conf`, section `[Definition]`; may also be given as an argument.
    Action,
}

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A path from the root; empty is none.
    Path,
    /// True for `1 on true yes`, else false.
    Bool,
    /// A whole number.
    Int,
    /// A length of time such as `1h 30m`.
    Time,
    /// One item per line.
    Lines,
    /// Items between blanks, commas or line ends.
    Words,
    /// `name[option=value, ...]`, for actions several of them.
    Call,
    /// A shell command with tags.
    Command,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct OptionRow {
    /// Its name in the file, in lower case.
    pub name: &'static str,
    /// Where it stands.
    pub scope: Scope,
    /// What its value must look like.
    pub kind: Kind,
    /// What the reader takes if the tree does not set it; `None` sends nothing.
    pub default: Option<&'static str>,
    /// What holds if nothing is sent.
    pub otherwise: &'static str,
    /// The command that carries it; empty if it is only used while reading.
    pub command: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
}

/// One of our own options. The original ignores them.
#[derive(Clone, Copy, Debug)]
pub struct OwnRow {
    /// Name in the file; all begin with `stockade.`.
    pub name: &'static str,
    /// [`Scope::Daemon`] or [`Scope::Jail`].
    pub scope: Scope,
    /// What its value must look like.
    pub kind: Kind,
    /// Default in the drop-in profile.
    pub drop_in: &'static str,
    /// Default in our own profile.
    pub own: &'static str,
    /// What it does, in one line.
    pub doc: &'static str,
}

const fn row(
    name: &'static str,
    scope: Scope,
    kind: Kind,
    default: Option<&'static str>,
    otherwise: &'static str,
    command: &'static str,
    doc: &'static str,
) -> OptionRow {
    OptionRow { name, scope, kind, default, otherwise, command, doc }
}

use Kind::{Bool, Call, Choice, Command, Int, Lines, Path, Text, Time, Words};
use Scope::{Action, Daemon, Filter, Jail};

/// Names of log levels, from few to many lines.
pub const LEVELS: &[&str] = &["CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG", "TRACEDEBUG", "HEAVYDEBUG"];

/// Options of `fail2ban.conf`.
#[rustfmt::skip]
pub const DAEMON: &[OptionRow] = &[
    row("loglevel", Daemon, Choice(LEVELS), Some("INFO"), "INFO", "set loglevel", "which lines the own log gets; a number is taken too"),
    row("logtarget", Daemon, Text, Some("/var/log/fail2ban.log"), "STDERR", "set logtarget", "a file, STDOUT, STDERR, SYSLOG, SYSOUT or SYSTEMD-JOURNAL, with [option=value]"),
    row("syslogsocket", Daemon, Text, Some("auto"), "auto", "set syslogsocket", "socket for the target SYSLOG; auto is /dev/log"),
    row("socket", Daemon, Text, Some("/var/run/fail2ban/fail2ban.sock"), "", "", "the control socket"),
    row("pidfile", Daemon, Text, Some("/var/run/fail2ban/fail2ban.pid"), "", "", "file that holds the process id"),
    row("allowipv6", Daemon, Choice(&["auto", "yes", "no"]), Some("auto"), "auto", "set allowipv6", "are there IPv6 addresses on this host?"),
    row("dbfile", Daemon, Text, Some("/var/lib/fail2ban/fail2ban.sqlite3"), "none", "set dbfile", "the database; None switches it off"),
    row("dbmaxmatches", Daemon, Int, None, "10", "set dbmaxmatches", "matched lines kept per ban in the database"),
    row("dbpurgeage", Daemon, Time, Some("1d"), "1d", "set dbpurgeage", "bans that ended longer ago than this are forgotten"),
];

/// Options of section `[Thread]` of `fail2ban.conf`.
#[rustfmt::skip]
pub const THREAD: &[OptionRow] = &[
    row("stacksize", Daemon, Int, None, "0", "set thread", "stack size of threads in KiB; known, ignored"),
];

/// Options of a jail, in the order in which they are sent.
#[rustfmt::skip]
pub const JAIL: &[OptionRow] = &[
    row("enabled", Jail, Bool, Some("false"), "", "", "is the jail made at all?"),
    row("backend", Jail, Call, Some("auto"), "auto", "add", "auto, polling, pyinotify or systemd, with [option=value]"),
    row("maxretry", Jail, Int, None, "3", "set J maxretry", "this many failures within findtime lead to a ban"),
    row("maxmatches", Jail, Int, None, "5", "set J maxmatches", "matched lines kept per address"),
    row("findtime", Jail, Time, None, "10m", "set J findtime", "failures older than this do not count"),
    row("bantime", Jail, Time, None, "10m", "set J bantime", "how long a ban lasts; -1 for ever"),
    row("bantime.increment", Jail, Bool, None, "false", "set J bantime.increment", "longer bans for known offenders"),
    row("bantime.factor", Jail, Text, None, "1", "set J bantime.factor", "factor in the formula or of the multipliers"),
    row("bantime.formula", Jail, Text, None, "ban.Time * (1<<(ban.Count if ban.Count<20 else 20)) * banFactor", "set J bantime.formula", "how the next ban time is computed"),
    row("bantime.multipliers", Jail, Text, None, "", "set J bantime.multipliers", "factors of the first, second, .. ban; win over the formula"),
    row("bantime.maxtime", Jail, Time, None, "", "set J bantime.maxtime", "longest ban that the increment leads to"),
    row("bantime.rndtime", Jail, Time, None, "", "set J bantime.rndtime", "up to this much is added at random"),
    row("bantime.overalljails", Jail, Bool, None, "false", "set J bantime.overalljails", "count the bans of all jails for the increment"),
    row("ignorecommand", Jail, Command, None, "", "set J ignorecommand", "an address for which it exits with 0 is ignored"),
    row("ignoreself", Jail, Bool, None, "true", "set J ignoreself", "ignore the host's own addresses"),
    row("ignoreip", Jail, Words, None, "", "set J addignoreip", "addresses, networks, names, or file:PATH, that are never counted"),
    row("ignorecache", Jail, Text, None, "", "set J ignorecache", "cache of ignore decisions: key=\"<ip>\", max-count=100, max-time=5m"),
    row("filter", Jail, Call, Some(""), "", "", "the filter, with [option=value]"),
    row("logtimezone", Jail, Text, None, "", "set J logtimezone", "zone of dates without one: Z, UTC+hhmm, GMT-hhmm"),
    row("logencoding", Jail, Text, None, "auto", "set J logencoding", "encoding of the log; auto is the locale's"),
    row("logpath", Jail, Lines, None, "", "set J addlogpath", "log files or patterns, each with head or tail"),
    row("action", Jail, Call, Some(""), "", "set J addaction", "what is done about an address, with [option=value]"),
    row("skip_if_nologs", Jail, Bool, Some("false"), "", "", "leave the jail out if none of its logs is there"),
    row("systemd_if_nologs", Jail, Bool, Some("true"), "", "", "use the journal if none of its logs is there and journalmatch is set"),
];

/// Options of a filter, in the order in which they are sent.
#[rustfmt::skip]
pub const FILTER: &[OptionRow] = &[
    row("usedns", Filter, Choice(&["yes", "warn", "no", "raw"]), None, "warn", "set J usedns", "what becomes of host names in the log"),
    row("prefregex", Filter, Text, None, "", "set J prefregex", "must match first; its group content is what the others see"),
    row("ignoreregex", Filter, Lines, None, "", "set J addignoreregex", "lines that match are no failures"),
    row("failregex", Filter, Lines, None, "", "set J addfailregex", "lines that match are failures"),
    row("maxlines", Filter, Int, None, "1", "set J maxlines", "lines that are looked at together"),
    row("datepattern", Filter, Lines, None, "", "set J datepattern", "how the log writes dates"),
    row("journalmatch", Filter, Lines, None, "", "set J addjournalmatch", "which entries of the journal are read"),
];

/// Options of an action, in the order in which they are sent.
#[rustfmt::skip]
pub const ACTION: &[OptionRow] = &[
    row("actionstart", Action, Command, None, "", "set J action A", "run before the first ban"),
    row("actionstart_on_demand", Action, Bool, None, "", "set J action A", "run actionstart at the first ban and not at start"),
    row("actionstop", Action, Command, None, "", "set J action A", "run when the jail stops"),
    row("actionflush", Action, Command, None, "", "set J action A", "lifts all bans at once"),
    row("actionreload", Action, Command, None, "", "set J action A", "run after a reload"),
    row("actioncheck", Action, Command, None, "", "set J action A", "is the firewall still as we left it?"),
    row("actionrepair", Action, Command, None, "", "set J action A", "run if it is not, instead of stop and start"),
    row("actionrepair_on_unban", Action, Bool, None, "", "set J action A", "repair also before an unban"),
    row("actionban", Action, Command, None, "", "set J action A", "bans one address"),
    row("actionprolong", Action, Command, None, "", "set J action A", "lengthens a ban"),
    row("actionreban", Action, Command, None, "", "set J action A", "bans again after a repair; actionban if empty"),
    row("actionunban", Action, Command, None, "", "set J action A", "lifts one ban"),
    row("norestored", Action, Bool, None, "", "set J action A", "not run for bans that are taken up again at start"),
];

/// Our own options: in `fail2ban.conf` those of scope [`Scope::Daemon`], in
/// `jail.conf` those of scope [`Scope::Jail`]. A jail's option may be set for
/// all jails in `[DEFAULT]`.
#[rustfmt::skip]
pub const OWN: &[OwnRow] = &[
    OwnRow { name: "stockade.profile", scope: Daemon, kind: Choice(&["drop-in", "own"]), drop_in: "drop-in", own: "own", doc: "which defaults hold: those of the original or ours" },
    OwnRow { name: "stockade.strict", scope: Daemon, kind: Bool, drop_in: "true", own: "false", doc: "refuse the whole configuration because of one broken jail, where the original does" },
    OwnRow { name: "stockade.readers", scope: Daemon, kind: Text, drop_in: "", own: "", doc: "a group whose members may look at status, bans and options through the control socket" },
    OwnRow { name: "stockade.actioncommands", scope: Daemon, kind: Bool, drop_in: "true", own: "true", doc: "may root change the commands of actions while the daemon runs?" },
    OwnRow { name: "stockade.foundlines", scope: Daemon, kind: Int, drop_in: "0", own: "100", doc: "lines about single failures per second in the own log; further ones are summed up; 0 writes all" },
    OwnRow { name: "stockade.onstop", scope: Jail, kind: Choice(&["lift", "keep"]), drop_in: "lift", own: "keep", doc: "are bans lifted when a client says stop?" },
    OwnRow { name: "stockade.watchglob", scope: Jail, kind: Bool, drop_in: "false", own: "true", doc: "take up new files that match a pattern of logpath" },
    OwnRow { name: "stockade.keepcounts", scope: Jail, kind: Bool, drop_in: "true", own: "true", doc: "keep the counts of failures over a restart (of a flood the 65,536 heaviest)" },
    OwnRow { name: "stockade.journalfirst", scope: Jail, kind: Bool, drop_in: "false", own: "true", doc: "with backend = auto and a journalmatch: read the journal where there is one, else the files" },
    OwnRow { name: "stockade.native", scope: Jail, kind: Choice(&["auto", "off"]), drop_in: "auto", own: "auto", doc: "do the work of well-known firewall actions without starting programs" },
    OwnRow { name: "stockade.guard", scope: Jail, kind: Choice(&["refuse", "warn", "off"]), drop_in: "warn", own: "refuse", doc: "what if a ban would lock out this host or its administrator?" },
    OwnRow { name: "stockade.actionorder", scope: Jail, kind: Choice(&["strict", "free"]), drop_in: "strict", own: "free", doc: "must the actions of one ban run one after the other?" },
    OwnRow { name: "stockade.blacklist", scope: Jail, kind: Path, drop_in: "", own: "", doc: "keep the jail's present bans in this file, and ban for good who stands in PATH.keep; <name> is the jail; may be written as blacklist" },
];

/// Own options that may also be written without `stockade.`: short name, name.
pub(crate) const SHORT: &[(&str, &str)] = &[("blacklist", "stockade.blacklist")];

/// Options that older versions had, or other tools have: old name, new name.
pub(crate) const OLD_OPTIONS: &[(&str, &str)] = &[
    ("maxfailures", "maxretry"),
    ("max_retry", "maxretry"),
    ("maxtry", "maxretry"),
    ("ban_time", "bantime"),
    ("find_time", "findtime"),
    ("ignore_ip", "ignoreip"),
    ("ignoreips", "ignoreip"),
    ("logfile", "logpath"),
    ("logfiles", "logpath"),
    ("log_path", "logpath"),
    ("enable", "enabled"),
    ("actions", "action"),
    ("filters", "filter"),
    ("fail_regex", "failregex"),
    ("timeregex", "datepattern"),
    ("timepattern", "datepattern"),
    ("fwstart", "actionstart"),
    ("fwend", "actionstop"),
    ("fwban", "actionban"),
    ("fwunban", "actionunban"),
    ("fwcheck", "actioncheck"),
];

/// Jails and filters that have been renamed: old name, new name.
pub(crate) const OLD_JAILS: &[(&str, &str)] = &[
    ("ssh", "sshd"),
    ("ssh-ddos", "sshd"),
    ("sshd-ddos", "sshd"),
    ("openssh", "sshd"),
    ("apache", "apache-auth"),
    ("apache-multiport", "apache-auth"),
    ("couriersmtp", "courier-smtp"),
    ("courierauth", "courier-auth"),
    ("courierpop3", "courier-auth"),
    ("sasl", "postfix-sasl"),
    ("postfix-rbl", "postfix"),
    ("named-refused-tcp", "named-refused"),
    ("named-refused-udp", "named-refused"),
    ("webmin", "webmin-auth"),
    ("mysqld", "mysqld-auth"),
    ("asterisk-tcp", "asterisk"),
    ("asterisk-udp", "asterisk"),
    ("lighttpd-fastcgi", "suhosin"),
];
