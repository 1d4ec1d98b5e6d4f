//! What the judge is told about each jail and about the host: plain data.

use std::net::IpAddr;
use std::sync::Arc;

use super::formula::{Formula, Number};
use crate::id::Net;
use crate::jail::JailName;
use crate::time::{BanTime, Span};

/// All options of one jail that decide about counts and bans. Names are those
/// of `jail.conf`; defaults are those of the original's code.
#[derive(Clone, Debug, PartialEq)]
pub struct JailSpec {
    /// Name of the jail.
    pub name: JailName,
    /// Failures within `findtime` that lead to a ban; 0 counts as 1.
    pub maxretry: u32,
    /// Over which time failures are counted.
    pub findtime: Span,
    /// How long a ban lasts if nothing else says so.
    pub bantime: BanTime,
    /// How many matched lines a tally and a ban keep, the newest; 0 is none.
    pub maxmatches: u32,
    /// `bantime.increment` and its relatives.
    pub increment: Increment,
    /// Ignore the host's own addresses ([`ServerSpec::own`]).
    pub ignoreself: bool,
    /// Who is never counted, in the order of the option.
    pub ignoreip: Vec<IgnoreEntry>,
    /// A command that is asked about each failure; opaque to the judge.
    pub ignorecommand: Option<Box<str>>,
    /// Remember the answers of the ignore rules.
    pub ignorecache: Option<IgnoreCache>,
    /// What becomes of a captured host name.
    pub usedns: UseDns,
    /// The self-lockout guard.
    pub guard: Guard,
    /// Whether tallies go into snapshots.
    pub keepcounts: bool,
    /// Do commands at the end of a ban, or for one that is taken up again, tell
    /// of its lines and groups, or is there no database file? Only then a living
    /// ban keeps them in memory once it is saved. Where this becomes true,
    /// [`super::Event::Evidence`] gives them back to the bans that stand.
    pub evidence: bool,
    /// Batches of a jail of this name that were made before this epoch are
    /// dropped. Looked at when the jail is new, not when it changes.
    pub epoch: u64,
}

impl JailSpec {
    /// A jail with the defaults of the original's code and `jail.conf`.
    pub fn new(name: JailName) -> Self {
        JailSpec {
            name,
            maxretry: 5,
            findtime: Span::from_secs(600),
            bantime: BanTime::For(Span::from_secs(600)),
            maxmatches: 5,
            increment: Increment::default(),
            ignoreself: true,
            ignoreip: Vec::new(),
            ignorecommand: None,
            ignorecache: None,
            usedns: UseDns::Warn,
            guard: Guard::Warn,
            keepcounts: true,
            evidence: true,
            epoch: 0,
        }
    }
}

/// `bantime.increment` and its relatives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Increment {
    /// Master switch: known offenders are banned sooner and for longer.
    pub increment: bool,
    /// `bantime.factor`, evaluated; 1 if `None`.
    pub factor: Option<Number>,
    /// `bantime.formula`; doubling up to 2^20 if `None`.
    pub formula: Option<Formula>,
    /// `bantime.multipliers`; if not empty they replace the formula.
    pub multipliers: Vec<i64>,
    /// `bantime.maxtime`; negative means no limit when stored bans are restored.
    pub maxtime: Option<Span>,
    /// `bantime.rndtime`: at most this much is added by chance.
    pub rndtime: Option<Span>,
    /// `bantime.overalljails`: bans of all jails count.
    pub overalljails: bool,
}

/// One word of `ignoreip`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IgnoreEntry {
    /// An address or network.
    Net(Net),
    /// A host name; its addresses are asked for.
    Name(Box<str>),
    /// `file:PATH`: what the file held when it was last read.
    File {
        /// The path as shown to the operator.
        path: Arc<str>,
        /// Its addresses and networks; replaced by [`super::Event::FileSet`].
        nets: Arc<[Net]>,
    },
}

/// `ignorecache`: remembered answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreCache {
    /// What answers are remembered by: a text with tags `<ip>`, `<fid>`,
    /// `<family>`, `<F-NAME>`.
    pub key: Box<str>,
    /// At most this many answers (`max-count`, 100).
    pub count_max: u32,
    /// For at most this long (`max-time`, 5 minutes).
    pub time_max: Span,
}

/// `usedns`, as far as it concerns a name that the matcher captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UseDns {
    /// Ask for its addresses; each is a failure.
    Yes,
    /// The same, with a warning in the log.
    Warn,
    /// Captured names are no failures.
    No,
    /// The name itself is the id.
    Raw,
}

/// `stockade.guard`: what happens when a ban would hit an address that the
/// operator needs (see [`Protection`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The ban is withheld.
    Refuse,
    /// The ban happens, with a warning.
    Warn,
    /// The ban happens.
    Off,
}

/// What concerns the whole host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerSpec {
    /// The host's own addresses, for `ignoreself`.
    pub own: Vec<IpAddr>,
    /// `dbpurgeage`: how long ended bans are remembered; `None` keeps the
    /// original's day.
    pub dbpurgeage: Option<Span>,
    /// The table bounds; `None` takes [`Bounds::default`].
    pub bounds: Option<Bounds>,
}

/// Upper bounds of the judge's tables, all counted over all jails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Tallies. At the bound the lowest counts, oldest first, make room (1/64
    /// of the table at once).
    pub tallies: usize,
    /// Bytes of matched lines and groups held by tallies and bans. At the bound
    /// new ones are not kept; counts are not affected.
    pub matches_bytes: usize,
    /// Parked failures. At the bound a question counts as answered: "not
    /// ignored" by the command or name, "no address" for a host name.
    pub parked: usize,
    /// How long an answer is waited for; then as at the bound.
    pub parked_time: Span,
    /// Decisions of one step; more work is done in further steps, at once.
    pub decisions: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            tallies: 1_000_000,
            matches_bytes: 64 << 20,
            parked: 10_000,
            parked_time: Span::from_secs(60),
            decisions: 4096,
        }
    }
}

/// An address or network that must not be locked out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protection {
    /// Who.
    pub net: Net,
    /// Why.
    pub reason: ProtectedAs,
}

/// How the reason of a [`ProtectedAs::Relay`] begins.
pub const RELAY: &str = "it forwards for others";

/// Why an address is protected by the guard.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProtectedAs {
    /// An address of this host.
    Own,
    /// The loopback networks.
    Loopback,
    /// A gateway.
    Gateway,
    /// A name server.
    Resolver,
    /// A live, successfully logged-in session, or the login that started the daemon.
    Login(Box<str>),
    /// It forwards for others, by what one jail's log shows: a proxy, a bridge of containers, a router. Counts in
    /// that jail only, so that it can't be a shield elsewhere.
    Relay {
        /// Whose log it is.
        jail: JailName,
        /// What the log shows, in words.
        seen: Box<str>,
    },
}

impl ProtectedAs {
    /// Does it count in that jail?
    pub fn concerns(&self, name: &JailName) -> bool {
        !matches!(self, ProtectedAs::Relay { jail, .. } if jail != name)
    }

    /// Is it protected whatever anybody does? What a log or a login tells may be an attacker's doing.
    pub fn is_by_nature(&self) -> bool {
        !matches!(self, ProtectedAs::Login(_) | ProtectedAs::Relay { .. })
    }
}

impl std::fmt::Display for ProtectedAs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ProtectedAs::Own => f.write_str("own address"),
            ProtectedAs::Loopback => f.write_str("loopback"),
            ProtectedAs::Gateway => f.write_str("gateway"),
            ProtectedAs::Resolver => f.write_str("name server"),
            ProtectedAs::Login(who) if who.is_empty() => f.write_str("live login"),
            ProtectedAs::Login(who) => write!(f, "live login of {who}"),
            ProtectedAs::Relay { seen, .. } => write!(f, "{RELAY}: {seen}"),
        }
    }
}
