//! What rides along with the decisions of a commit.

use stockade_core::{FailureId, JailName, Seq, SourceKey, Timestamp};

/// Everything but decisions and watermarks that a commit may carry. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Everything up to this decision has been announced.
    pub announced: Option<Seq>,
    /// The commands of everything up to this decision have been given out.
    pub issued: Option<Seq>,
    /// First lines of files that were opened, rotated or got their first whole line.
    pub firstlines: Vec<FirstLine>,
    /// Sources that a jail reads no more: their watermarks go.
    pub dropped: Vec<(JailName, SourceKey)>,
    /// Opaque states to be kept; one with the same name is replaced.
    pub snapshots: Vec<Snapshot>,
    /// Changes of the operator's allow list.
    pub allow: Vec<Allow>,
    /// Ids to be forgotten in bans and history as of this commit, banned or not.
    pub forget: Vec<Forget>,
    /// All jails that are enabled now, if that changed; others are marked as disabled.
    pub jails: Option<Vec<JailName>>,
}

impl Marks {
    /// Is there nothing to save?
    pub fn is_empty(&self) -> bool {
        *self == Marks::default()
    }
}

/// The first line's hash of a file, which the original keeps to recognise it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstLine {
    /// Which file; from now on the current one of its path.
    pub source: SourceKey,
    /// SHA-1 in hexadecimal of the first line with its `\n`; empty while there is
    /// no whole line. For the journal anything (the original writes a time there).
    pub hash: Box<str>,
}

/// An opaque state under a name, such as `matcher/sshd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name; at most 255 bytes make sense.
    pub name: Box<str>,
    /// Its content; empty removes it. At most 64 MiB are kept ([`Snapshot::DATA_MAX`]).
    pub data: Box<[u8]>,
}

impl Snapshot {
    /// The most bytes one snapshot may have; a larger one is not written (its old version goes).
    pub const DATA_MAX: usize = 64 << 20;
}

/// One entry of the operator's allow list, or its removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Only in this jail; `None`: in all.
    pub jail: Option<JailName>,
    /// Who is never banned.
    pub id: FailureId,
    /// When it was asked for; `None` removes the entry.
    pub since: Option<Timestamp>,
}

/// An id whose bans and history go.
///
/// Source: fail2ban's `unbanip` deletes the id from `bans` and `bips`, also if it is not banned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Forget {
    /// In this jail; `None`: in all.
    pub jail: Option<JailName>,
    /// Who.
    pub id: FailureId,
}
