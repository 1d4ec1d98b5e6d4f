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

/// How lines end in the bytes of a log: a line feed in the log's encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LineEnd {
    /// One byte, as in UTF-8 and everything that has ASCII in it.
    #[default]
    Byte,
    /// Two bytes, low one first. Bytes are taken in pairs from the beginning of the log.
    Utf16Le,
    /// Two bytes, high one first, taken in pairs as well.
    Utf16Be,
}

impl LineEnd {
    /// The line end itself.
    pub const fn bytes(self) -> &'static [u8] {
        match self {
            LineEnd::Byte => b"\n",
            LineEnd::Utf16Le => b"\n\0",
            LineEnd::Utf16Be => b"\0\n",
        }
    }

    /// The length of the first line of `text` with its end; `None` if it has no end.
    pub fn first(self, text: &[u8]) -> Option<usize> {
        match self {
            LineEnd::Byte => memchr::memchr(b'\n', text).map(|at| at + 1),
            _ => self.pairs(memchr::memchr_iter(b'\n', text), text),
        }
    }

    /// The length of all whole lines of `text`; `None` if there is none.
    pub fn last(self, text: &[u8]) -> Option<usize> {
        match self {
            LineEnd::Byte => memchr::memrchr(b'\n', text).map(|at| at + 1),
            _ => self.pairs(memchr::memrchr_iter(b'\n', text), text),
        }
    }

    /// The lines of `text`, each with its end; the last one may have none.
    pub fn lines(self, text: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = text;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let (line, behind) = rest.split_at_checked(self.first(rest).unwrap_or(rest.len()))?;
            rest = behind;
            Some(line)
        })
    }

    /// The beginning of the character that this offset into a log stands in, where that is known by its place.
    pub const fn aligned(self, offset: u64) -> u64 {
        match self {
            LineEnd::Byte => offset,
            LineEnd::Utf16Le | LineEnd::Utf16Be => offset & !1,
        }
    }

    /// The end of the first of these line feeds that is a pair with its zero.
    fn pairs(self, mut at: impl Iterator<Item = usize>, text: &[u8]) -> Option<usize> {
        at.find_map(|at| {
            let begin = if self == LineEnd::Utf16Le { at } else { at.checked_sub(1)? };
            let pair = text.get(begin..begin + 2)?;
            (begin % 2 == 0 && pair == self.bytes()).then_some(begin + 2)
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_a_line_feed_of_the_encoding() {
        assert_eq!((LineEnd::Byte.first(b"a\nb\nc"), LineEnd::Byte.last(b"a\nb\nc")), (Some(2), Some(4)));
        // U+0A41, U+010A and U+0A00 hold the byte of a line feed, but none.
        let le = b"\x41\x0a\x0a\x01\x00\x0a\x0a\x00b\x00\x0a\x00c\x00";
        assert_eq!((LineEnd::Utf16Le.first(le), LineEnd::Utf16Le.last(le)), (Some(8), Some(12)));
        let be = b"\x0a\x41\x01\x0a\x0a\x00\x00\x0a\x00b\x00\x0a\x00c";
        assert_eq!((LineEnd::Utf16Be.first(be), LineEnd::Utf16Be.last(be)), (Some(8), Some(12)));
        assert_eq!(LineEnd::Utf16Be.first(b"\x00"), None);
        assert_eq!(LineEnd::Utf16Le.lines(le).map(<[u8]>::len).collect::<Vec<_>>(), [8, 4, 2]);
        assert_eq!(LineEnd::Byte.lines(b"a\n\nb").collect::<Vec<_>>(), [&b"a\n"[..], b"\n", b"b"]);
    }
}
