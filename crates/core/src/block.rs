//! What sources hand to the matcher: blocks of whole lines with their places.

use std::fmt;
use std::sync::Arc;

use crate::time::Timestamp;

/// Which source a line came from, so exactly that a replay after a restart
/// recognises lines that already had their effect. Cheap to clone.
///
/// A file that is replaced or truncated gets a new generation; a renamed file
/// keeps its own until it is drained.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceKey {
    /// The path as configured, or `systemd-journal` with its matches.
    pub path: Arc<str>,
    /// Fingerprint of this incarnation of the file (inode and first line); 0 for the journal.
    pub generation: u64,
}

impl fmt::Display for SourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// A place in a source: everything before it has been read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// Byte offset of the next unread line of a file.
    Offset(u64),
    /// The journal's cursor of the last read entry, and that entry's time.
    Cursor {
        /// Opaque text, at most 1 KiB.
        cursor: Arc<str>,
        /// When the entry was made.
        at: Timestamp,
    },
}

/// Time and place of one journal entry inside a [`Block`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Offset in [`Block::text`] just behind the entry's line end.
    pub end: u32,
    /// When the entry was made.
    pub time: Timestamp,
    /// The entry's own cursor.
    pub cursor: Arc<str>,
}

/// A run of whole lines of one source, each with its `\n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where the lines came from.
    pub source: SourceKey,
    /// Place of the first byte of `text`.
    pub begin: Position,
    /// Place behind the last byte of `text`.
    pub end: Position,
    /// The lines, as bytes; at most 256 KiB unless one line is longer (see `stockade-source`).
    pub text: Box<[u8]>,
    /// One per line if the lines come from the journal and so carry their time, else empty.
    pub stamps: Box<[Stamp]>,
    /// Had the end of the source been reached before this block was read?
    /// Decides how old or odd dates are judged (fail2ban's "in operation").
    pub in_operation: bool,
    /// Read again only to rebuild tallies: its decisions were committed before.
    pub replay: bool,
}
