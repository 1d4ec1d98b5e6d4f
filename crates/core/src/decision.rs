//! What the judge decides, in the order in which it decides.

use std::sync::Arc;

use crate::block::{Position, SourceKey};
use crate::failure::GroupValue;
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::time::{BanTime, Timestamp};

/// Number of a decision; grows by one, never reused, kept in the journal. A
/// resume token for whoever follows the stream of decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// What made a decision come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A log line; the place is behind the line that completed the last failure.
    Log {
        /// Which source.
        source: SourceKey,
        /// Where in it.
        place: Position,
    },
    /// A person or program through the control socket.
    Manual,
    /// The database, at start.
    Restored,
    /// The end of the ban time.
    Expired,
    /// A change of configuration (a jail removed, an address allowed).
    Config,
    /// Another host of a fleet.
    Peer {
        /// Name of that host.
        node: Arc<str>,
        /// Its own number of the decision.
        seq: u64,
    },
    /// Several addresses of one network.
    Aggregate,
}

/// What was decided about one id in one jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecisionKind {
    /// A new ban.
    Ban,
    /// A stored ban taken up again at start.
    Restore,
    /// The end of a living ban moves to [`Decision::end`].
    Prolong,
    /// A ban ends because its time is over.
    Unban,
    /// A ban ends because somebody lifted it; it is also forgotten in the history.
    Lift,
    /// A ban leaves the firewall because its jail or the server stops; it stays stored.
    Repeal,
    /// Would have been a ban, but a guard rule protects the address.
    Withhold,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Its number.
    pub seq: Seq,
    /// What was decided.
    pub kind: DecisionKind,
    /// In which jail.
    pub jail: JailName,
    /// About whom.
    pub id: FailureId,
    /// The address for firewalls where the id is something else.
    pub ip: Option<Net>,
    /// When the ban starts (the time of the last counted failure), or when it ended.
    pub time: Timestamp,
    /// How long the ban lasts, as stored.
    pub bantime: BanTime,
    /// End of the ban; [`Timestamp::MAX`] if it has none.
    pub end: Timestamp,
    /// How often this id has been banned, this time included.
    pub count: u32,
    /// Counted failures; 0 for a manual ban.
    pub failures: u32,
    /// The last matched lines, oldest first, at most `maxmatches`.
    pub matches: Arc<[Box<str>]>,
    /// Captured groups of the first failure, sorted by name.
    pub groups: Arc<[(Arc<str>, GroupValue)]>,
    /// What made it come about.
    pub origin: Origin,
    /// Why, in words for the operator: the guard rule, or how the ban time came about. May be empty.
    pub why: Box<str>,
}

impl Decision {
    /// What firewalls act on: [`Decision::ip`], else the id if it is an address or network.
    pub fn target(&self) -> Option<Net> {
        self.ip.or_else(|| self.id.net())
    }
}

/// Every line of `source` before `to` has had its full effect on `jail`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Whose.
    pub jail: JailName,
    /// Which source.
    pub source: SourceKey,
    /// Up to where.
    pub to: Position,
}

/// All that one turn of the judge decided; saved in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// In order, with consecutive numbers.
    pub decisions: Vec<Decision>,
    /// The newest of each (jail, source) touched.
    pub watermarks: Vec<Watermark>,
}

/// Which decision something is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its number.
    pub seq: Seq,
    /// What was decided.
    pub kind: DecisionKind,
    /// In which jail.
    pub jail: JailName,
    /// About whom.
    pub id: FailureId,
}

impl From<&Decision> for Subject {
    fn from(decision: &Decision) -> Self {
        Subject { seq: decision.seq, kind: decision.kind, jail: decision.jail.clone(), id: decision.id.clone() }
    }
}
