//! What is asked of a way of blocking: one change of one element.

use stockade_core::Net;

/// One element of one group's sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ElementOp {
    /// Index of the group in the layout that was built last.
    pub(crate) group: usize,
    pub(crate) net: Net,
    pub(crate) change: Change,
}

/// What happens to it. Times are milliseconds from now; `None` never ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is not there yet.
    Add(Option<u64>),
    /// It may be there with another end.
    Replace(Option<u64>),
    /// It may be there and shall not.
    Remove,
}

impl Change {
    /// The new time-out, for what adds.
    pub(crate) fn added(self) -> Option<Option<u64>> {
        match self {
            Change::Add(millis) | Change::Replace(millis) => Some(millis),
            Change::Remove => None,
        }
    }
}
