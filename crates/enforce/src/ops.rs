//! What is asked of the kernel's side, and what it answers.

use stockade_core::{Decision, DecisionKind, JailName, Net, Timestamp};

use crate::error::Error;
use crate::layout::Verdict;
use crate::ports::PortSpec;

/// One change of one jail's bans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetOp {
    /// The address or network is banned in this jail until `end`; a living ban gets this end.
    Ban {
        /// In which jail.
        jail: JailName,
        /// Whom.
        net: Net,
        /// Until when; [`Timestamp::MAX`] is for ever.
        end: Timestamp,
    },
    /// It is no longer banned in this jail.
    Unban {
        /// In which jail.
        jail: JailName,
        /// Whom.
        net: Net,
    },
}

impl SetOp {
    /// What a decision means for the kernel; `None` where it means nothing.
    pub fn of(decision: &Decision) -> Option<SetOp> {
        let (jail, net) = (decision.jail.clone(), decision.target()?);
        match decision.kind {
            DecisionKind::Ban | DecisionKind::Restore | DecisionKind::Prolong => {
                Some(SetOp::Ban { jail, net, end: decision.end })
            }
            DecisionKind::Unban | DecisionKind::Lift | DecisionKind::Repeal => Some(SetOp::Unban { jail, net }),
            DecisionKind::Withhold => None,
        }
    }

    /// Whose ban changes.
    pub fn net(&self) -> Net {
        match self {
            SetOp::Ban { net, .. } | SetOp::Unban { net, .. } => *net,
        }
    }

    /// In which jail.
    pub fn jail(&self) -> &JailName {
        match self {
            SetOp::Ban { jail, .. } | SetOp::Unban { jail, .. } => jail,
        }
    }
}

/// What became of some operations. Those not listed are in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Index of the operation, and why it is not in force. The ban is still
    /// wanted: [`crate::Kernel::retry`] and [`crate::Kernel::repair`] try it again.
    pub failed: Vec<(usize, Error)>,
    /// The table had vanished or was damaged and was made anew.
    pub repaired: bool,
}

/// How a restore, a new layout or a repair went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Elements put into the kernel.
    pub elements: usize,
    /// Elements that the kernel refused; see [`crate::Kernel::unsettled`].
    pub refused: usize,
}

/// Progress of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many elements are still to come; call again.
    Left(usize),
    /// All is in force, and what stood before is gone.
    Done(Loaded),
}

/// Is a ban in the kernel?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// The element is there.
    Held,
    /// It is not.
    Missing,
}

/// What one group of jails has refused so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupCount {
    /// The jails that share these sets.
    pub jails: Vec<JailName>,
    /// What they block.
    pub ports: PortSpec,
    /// How.
    pub verdict: Verdict,
    /// Refused packets since the group was made.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What happens to the bans in the kernel when we go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnClose {
    /// They stay and end by themselves.
    Keep,
    /// They are lifted.
    Lift,
}
