//! Everything that can happen to the judge.

use std::net::IpAddr;
use std::sync::Arc;

use super::spec::{JailSpec, Protection, ServerSpec};
use crate::decision::{Origin, Seq, Subject};
use crate::failure::{Batch, GroupValue};
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::time::{BanTime, Timestamp};

/// Number of a question; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// Number that the daemon gives a command, to find its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// One thing that happened. Closed: a reader of this enum has seen everything
/// that can change the judge's mind.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Failures of one jail from one source.
    Batch(Batch),
    /// The committed part of a configuration transaction, in order.
    Config(Vec<JailChange>),
    /// What concerns the whole host changed.
    Server(ServerSpec),
    /// A person or program wants something.
    Command {
        /// Comes back with the reply.
        id: CommandId,
        /// What is wanted.
        command: Command,
    },
    /// A question was answered.
    Answer {
        /// Which one.
        id: AskId,
        /// How.
        answer: Answer,
    },
    /// All decisions up to this one are durable.
    Saved(Seq),
    /// Decisions up to this one could not be made durable (yet).
    Unsaved {
        /// Up to which.
        upto: Seq,
        /// Why, for the operator.
        why: Box<str>,
    },
    /// The kernel has tried all decisions up to this one.
    Applied {
        /// Up to which.
        upto: Seq,
        /// Those that it refused, ascending, with the reason.
        failed: Vec<(Seq, Box<str>)>,
    },
    /// What the kernel refused was tried again ([`super::RetryBy::Kernel`]).
    Reapplied {
        /// As in the retry.
        subject: Subject,
        /// Did it work now?
        result: Result<(), Box<str>>,
    },
    /// An action command of a decision ended, at the first try or a later one.
    Acted {
        /// Of which decision.
        subject: Subject,
        /// Name of the action.
        action: Arc<str>,
        /// Did it work?
        result: Result<(), Box<str>>,
    },
    /// The guard's complete current list.
    Protected(Vec<Protection>),
    /// An `ignoreip` file was read (again); applies to all jails that name it.
    FileSet {
        /// As in [`super::IgnoreEntry::File`].
        path: Arc<str>,
        /// Its new content.
        nets: Arc<[Net]>,
    },
    /// Stored bans and history, at start or when a jail is added. Send them
    /// after the jail's configuration, at most a few thousand rows per event.
    /// An id that is banned already keeps its ban.
    Restore(Vec<StoredBan>),
    /// The rows of standing bans whose jail has come to keep evidence: those that let
    /// go of their lines and groups get them back. Makes no ban, and touches no history.
    Evidence(Vec<StoredBan>),
    /// The time of [`super::Judge::next_deadline`] has come.
    Deadline,
}

/// One step of a configuration transaction.
#[derive(Clone, Debug, PartialEq)]
pub enum JailChange {
    /// The jail is new, or gets these options. Tallies, bans and counters of a
    /// living jail stay; bans without a time of their own follow `bantime`.
    Put(Box<JailSpec>),
    /// The jail goes: its bans leave the firewall and stay stored.
    Remove(JailName),
    /// Looked-up host names are forgotten; a reload of everything does that.
    ForgetNames,
}

/// What a person or program can want.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `set JAIL banip`: ban, not asking the ignore rules.
    Ban {
        /// In which jail.
        jail: JailName,
        /// Whom.
        ids: Vec<FailureId>,
        /// For how long; `None` leaves it to the jail.
        bantime: Option<BanTime>,
        /// Ban even who the guard protects.
        force: bool,
        /// By whom: a person ([`Origin::Manual`]) or a list that the configuration names ([`Origin::Config`]).
        origin: Origin,
    },
    /// `stockade import`: bans that another guard or another host made. Those
    /// that are over by now, or stand already at least as long, are left out.
    Import {
        /// In any jails.
        bans: Vec<StoredBan>,
    },
    /// `unban`, `set JAIL unbanip`: lift bans and forget their history.
    Unban {
        /// In which jail; `None` is all.
        jail: Option<JailName>,
        /// Ids, networks (all bans within), or host names (asked for).
        targets: Vec<FailureId>,
    },
    /// `unban --all`: lift all bans and forget all history.
    UnbanAll {
        /// In which jail; `None` is all.
        jail: Option<JailName>,
    },
    /// Take all bans out of the firewall but keep them stored: a stop that lifts.
    Repeal {
        /// In which jail; `None` is all.
        jail: Option<JailName>,
    },
    /// `stop JAIL`: as [`JailChange::Remove`].
    Stop {
        /// Which.
        jail: JailName,
    },
    /// `set JAIL attempt`: count a failure now.
    Attempt {
        /// In which jail.
        jail: JailName,
        /// Whose.
        id: FailureId,
        /// The lines; their number (at least 1) is what it counts.
        matches: Vec<Box<str>>,
    },
    /// `stockade allow`: never count or ban these; living bans are lifted.
    Allow {
        /// In which jail; `None` is all.
        jail: Option<JailName>,
        /// Whom.
        nets: Vec<Net>,
    },
    /// `stockade disallow`: takes [`Command::Allow`] back.
    Disallow {
        /// As it was given.
        jail: Option<JailName>,
        /// Whom.
        nets: Vec<Net>,
    },
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The addresses of a host name; empty if it has none or the look-up failed.
    Addresses(Vec<IpAddr>),
    /// Whether the ignore command said "ignore" (exit 0). A command that failed
    /// did not.
    Ignore(bool),
}

/// How long a stored ban lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredTime {
    /// This long.
    Known(BanTime),
    /// From an upgraded database that did not know (`-2`): the jail decides.
    Unknown,
    /// For ever, whatever the jail says: the operator's own list has it.
    Kept,
}

/// The last stored ban of an id in a jail: one row of `bips`, ended or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBan {
    /// In which jail; it need not exist (any more).
    pub jail: JailName,
    /// Who.
    pub id: FailureId,
    /// The address for firewalls where the id is something else.
    pub ip: Option<Net>,
    /// When it began.
    pub start: Timestamp,
    /// How long it lasts.
    pub bantime: StoredTime,
    /// How often the id was banned.
    pub count: u32,
    /// How many failures led to it.
    pub failures: u32,
    /// The matched lines.
    pub matches: Vec<Box<str>>,
    /// Captured groups, sorted by name.
    pub groups: Vec<(Arc<str>, GroupValue)>,
}
