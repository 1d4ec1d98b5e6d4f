//! What is known of each jail and each action.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use stockade_core::judge::Counters;
use stockade_core::{BanTime, FailureId, JailName};
use stockade_enforce::runner::ActionId;

use super::effects::Effect;

/// How many different complaints of one action are told.
const SAID_MAX: usize = 20;

/// One jail with actions.
pub(super) struct JailEntry {
    pub(super) name: JailName,
    /// Must the actions of one ban run one after the other?
    pub(super) strict: bool,
    pub(super) bantime: BanTime,
    /// In the order of the configuration.
    pub(super) actions: Vec<ActionId>,
    pub(super) counters: Counters,
    /// Grows when an action of the jail had to be repaired.
    pub(super) epoch: u64,
    /// The epoch of bans that are newer than the first repair.
    pub(super) epochs: HashMap<FailureId, u64>,
    /// Whose ban was taken up again at a start.
    pub(super) restored: HashSet<FailureId>,
    /// Who is being banned again because of an epoch.
    pub(super) rebanning: HashSet<FailureId>,
    pub(super) flush: Option<PendingFlush>,
    /// Its actions are being stopped.
    pub(super) stopped: bool,
}

/// All bans of the jail end, some by a flush.
pub(super) struct PendingFlush {
    /// How many single ends are still to come.
    pub(super) left: u64,
    /// Who was banned after it: their end is no part of it.
    pub(super) since: HashSet<FailureId>,
}

impl JailEntry {
    /// Is the end of this ban part of a flush?
    pub(super) fn ends_by_flush(&mut self, id: &FailureId) -> bool {
        let Some(flush) = &mut self.flush else { return false };
        if flush.since.remove(id) {
            return false;
        }
        flush.left = flush.left.saturating_sub(1);
        if flush.left == 0 {
            self.flush = None;
        }
        true
    }
}

/// One action of one jail.
pub(super) struct ActionEntry {
    pub(super) jail: u64,
    pub(super) lane: u32,
    /// Its texts, and what they did.
    pub(super) effect: Effect,
    /// Tags that its commands have.
    pub(super) wants: BTreeSet<String>,
    pub(super) epoch: u64,
    /// Is not run for bans that are taken up again.
    pub(super) norestored: bool,
    pub(super) prolongs: bool,
    /// Ends all bans at once.
    pub(super) flushes: bool,
    /// It is an ignore command.
    pub(super) asks: bool,
    pub(super) commands: u64,
    pub(super) failures: u64,
    /// The last failure; empty after a success.
    pub(super) trouble: String,
    /// What it wrote to standard error although it ended well.
    pub(super) said: BTreeSet<String>,
}

impl ActionEntry {
    /// Takes a complaint; true if it is a new one that should be told.
    pub(super) fn complains(&mut self, said: &str) -> bool {
        !said.is_empty() && self.said.len() < SAID_MAX && self.said.insert(said.to_owned())
    }

    pub(super) fn view(&self, waiting: usize, running: Option<Duration>) -> ActionView {
        ActionView {
            jail: self.effect.spec.jail.to_string(),
            name: self.effect.spec.name.to_string(),
            commands: self.commands,
            failures: self.failures,
            bans: self.effect.bans.len(),
            waiting,
            running_secs: running.map_or(0, |running| running.as_secs()),
            trouble: self.trouble.clone(),
            said: self.said.iter().next_back().cloned().unwrap_or_default(),
        }
    }
}

/// How one action is doing, for `status`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ActionView {
    /// Whose.
    pub(crate) jail: String,
    /// Its name.
    pub(crate) name: String,
    /// Commands that ran since the start.
    pub(crate) commands: u64,
    /// Steps that failed since the start.
    pub(crate) failures: u64,
    /// Bans that its commands have carried out and not undone.
    pub(crate) bans: usize,
    /// Steps that wait in its lane, which it may share with other jails.
    pub(crate) waiting: usize,
    /// How long the present step has been running.
    pub(crate) running_secs: u64,
    /// Why the last step failed; empty if it didn't.
    pub(crate) trouble: String,
    /// What a command wrote to standard error although it ended well.
    pub(crate) said: String,
}
