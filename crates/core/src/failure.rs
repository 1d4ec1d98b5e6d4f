//! One counted attempt, and what the matcher hands to the judge.

use std::sync::Arc;

use crate::block::{Position, SourceKey};
use crate::id::{FailureId, Net};
use crate::jail::JailName;
use crate::time::Timestamp;

/// Who failed, as far as the line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Known from the line itself.
    Id(FailureId),
    /// A host name whose addresses must be asked for first (`usedns` yes or warn).
    Name(Box<str>),
}

/// The value of a captured group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupValue {
    /// One text.
    Text(Box<str>),
    /// Several, such as the users of one connection.
    List(Vec<Box<str>>),
}

/// One counted attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who failed.
    pub who: Who,
    /// The address for firewalls where the id is something else.
    pub ip: Option<Net>,
    /// When, as the log claims; never later than the time it was judged.
    pub time: Timestamp,
    /// 0-based index of the failregex that matched.
    pub regex: u32,
    /// Place behind the line that completed the failure.
    pub place: Position,
    /// The matched lines (oldest first) as they stood in the log, without line end.
    pub matches: Vec<Box<str>>,
    /// Captured groups by name, sorted by name; without the id groups' own copies.
    pub groups: Vec<(Arc<str>, GroupValue)>,
}

/// What one jail's matcher found in one block (or part of one).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose matcher.
    pub jail: JailName,
    /// Which source the block came from.
    pub source: SourceKey,
    /// Every line of the source before this place has been judged with this batch.
    pub to: Position,
    /// In line order.
    pub failures: Vec<Failure>,
    /// Number of lines looked at.
    pub lines: u32,
    /// Copied from [`crate::Block::replay`]: counts change, nothing is decided.
    pub replay: bool,
    /// Which compiled configuration of the jail made it; grows with each reload.
    pub epoch: u64,
}
