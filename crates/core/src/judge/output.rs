//! Everything that the judge wants done or known.

use std::sync::Arc;

use super::event::{AskId, CommandId};
use super::log::LogLine;
use crate::decision::{DecisionKind, Seq, Subject, Turn};
use crate::failure::{Groups, Matches};
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::time::{BanTime, Timestamp};

/// What one step brought forth. The daemon hands the parts on and clears it for
/// the next step (or lets several steps add to it: all parts are in order).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outputs {
    /// Decisions and watermarks: at once to kernel and store.
    pub turn: Turn,
    /// Questions for the asker.
    pub asks: Vec<Ask>,
    /// Lines for the own log.
    pub log: Vec<LogLine>,
    /// Replies to commands.
    pub replies: Vec<Reply>,
    /// Commands of all decisions up to here may be started (they are saved, or
    /// have waited long enough); never goes back.
    pub release: Option<Seq>,
    /// What clients may now see, in order of decision.
    pub changes: Vec<Change>,
    /// All bans of these jails end: where a flush does that in one go, it
    /// should. The single decisions follow, in this and later steps.
    pub flushes: Vec<Flush>,
    /// What failed and should be tried again now.
    pub retries: Vec<Retry>,
    /// Bans that may not be in force.
    pub doubts: Vec<Doubt>,
}

impl Outputs {
    /// Empties all parts but keeps their memory.
    pub fn clear(&mut self) {
        self.turn.decisions.clear();
        self.turn.watermarks.clear();
        self.asks.clear();
        self.log.clear();
        self.replies.clear();
        self.release = None;
        self.changes.clear();
        self.flushes.clear();
        self.retries.clear();
        self.doubts.clear();
    }

    /// Is there nothing in it?
    pub fn is_empty(&self) -> bool {
        *self == Outputs::default()
    }
}

/// A question for somebody who may look outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Comes back with the answer.
    pub id: AskId,
    /// What is asked.
    pub question: Question,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The addresses of a host name.
    Addresses {
        /// The name.
        name: Box<str>,
    },
    /// Whether a failure is to be ignored.
    IgnoreCommand {
        /// Whose command.
        jail: JailName,
        /// The command as configured; tags are replaced by who runs it.
        command: Box<str>,
        /// The values for its tags.
        about: Box<About>,
    },
}

/// The failure that a question is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// Who failed.
    pub id: FailureId,
    /// The address where the id is something else.
    pub ip: Option<Net>,
    /// When.
    pub time: Timestamp,
    /// The matched lines.
    pub matches: Matches,
    /// Captured groups, sorted by name.
    pub groups: Groups,
}

/// The reply to a command. It comes once the decisions that the command caused
/// have been announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// To which command.
    pub id: CommandId,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is no such jail.
    UnknownJail(JailName),
    /// Of [`super::Command::Ban`].
    Banned {
        /// Number of new bans.
        new: u64,
        /// Who was banned already.
        already: Vec<FailureId>,
        /// Who the guard protects, and why.
        withheld: Vec<(FailureId, Box<str>)>,
    },
    /// Of [`super::Command::Import`].
    Imported(Imported),
    /// Of [`super::Command::Unban`] and its like: how many bans ended.
    Unbanned {
        /// Over all jails asked.
        count: u64,
        /// Targets that no ban was found for.
        absent: Vec<FailureId>,
    },
    /// Of [`super::Command::Attempt`]: was it counted (else it was ignored)?
    Attempted(bool),
    /// Of [`super::Command::Allow`] and `Disallow`: how many entries were new
    /// (or found), and how many bans were lifted.
    Allowed {
        /// Entries added or removed.
        entries: u64,
        /// Bans lifted.
        lifted: u64,
    },
    /// Of [`super::Command::Stop`].
    Stopped,
}

/// What became of imported bans; the numbers add up to what was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Number of new bans.
    pub new: u64,
    /// Stood already, at least as long.
    pub already: u64,
    /// Over by now.
    pub over: u64,
    /// Who the guard protects.
    pub withheld: u64,
    /// Of jails that there are not, by their names.
    pub unknown: std::collections::BTreeMap<JailName, u64>,
}

/// Something that clients see. Bans come here when they are announced, so that
/// who is told of a ban can rely on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The counters of a jail moved.
    Counters {
        /// Which jail.
        jail: JailName,
        /// All of them, as they are now.
        counters: Counters,
    },
    /// A ban is in force.
    Ban {
        /// Number of its decision.
        seq: Seq,
        /// `Ban` or `Restore`.
        kind: DecisionKind,
        /// In which jail.
        jail: JailName,
        /// Whose.
        id: FailureId,
        /// When it began.
        start: Timestamp,
        /// How long it lasts.
        bantime: BanTime,
        /// When it ends.
        end: Timestamp,
    },
    /// The end of a ban moved.
    Prolong {
        /// Number of the decision.
        seq: Seq,
        /// In which jail.
        jail: JailName,
        /// Whose.
        id: FailureId,
        /// How long it lasts now.
        bantime: BanTime,
        /// When it ends now.
        end: Timestamp,
    },
    /// A ban is over.
    Unban {
        /// Number of the decision.
        seq: Seq,
        /// `Unban`, `Lift` or `Repeal`.
        kind: DecisionKind,
        /// In which jail.
        jail: JailName,
        /// Whose.
        id: FailureId,
    },
    /// A ban was withheld by the guard.
    Withhold {
        /// Number of the decision.
        seq: Seq,
        /// In which jail.
        jail: JailName,
        /// Whose.
        id: FailureId,
        /// Why.
        why: Box<str>,
    },
    /// A jail exists (again).
    JailPut {
        /// Which.
        jail: JailName,
    },
    /// A jail is gone.
    JailRemoved {
        /// Which.
        jail: JailName,
    },
}

/// The counters of one jail, as `status` shows them, and ours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// "Currently failed": ids with a tally.
    pub failed: u64,
    /// "Total failed": failures counted since the jail was made.
    pub failed_total: u64,
    /// "Currently banned".
    pub banned: u64,
    /// "Total banned", restored ones included.
    pub banned_total: u64,
    /// Failures that the ignore rules set aside.
    pub ignored_total: u64,
    /// Bans that the guard withholds at present.
    pub withheld: u64,
    /// Tallies that had to make room at the bound.
    pub evicted_total: u64,
}

/// An order to empty what a jail's bans occupy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flush {
    /// Which jail.
    pub jail: JailName,
    /// `Lift` (somebody lifted all) or `Repeal` (the jail or server stops).
    pub kind: DecisionKind,
    /// How many single decisions follow; may be 0.
    pub count: u64,
    /// The last decision made before: the ends that follow have later numbers.
    pub after: Seq,
}

/// Something that failed before and should be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// What failed.
    pub subject: Subject,
    /// By whom it should be tried.
    pub by: RetryBy,
}

/// Somebody who is banned was about to be banned again: is the ban in force?
///
/// Source: fail2ban `server/actions.py`, `__checkBan`: then actions are checked,
/// and the ban is repeated by those that were repaired since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The decision of the living ban.
    pub seq: Seq,
    /// In which jail.
    pub jail: JailName,
    /// Whose.
    pub id: FailureId,
    /// Are the jail's actions to be checked now? At most every 3 seconds, and
    /// only more than 3 seconds after the ban.
    pub check: bool,
}

/// Who should try again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RetryBy {
    /// The kernel.
    Kernel,
    /// The action of this name.
    Action(Arc<str>),
}
